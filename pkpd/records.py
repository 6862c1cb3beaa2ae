"""Tables of dosing and observation records, as NONMEM, nlmixr2 and Monolix read them.

A row is a dose or an observation of a patient, told by the field's usual columns: ID, TIME, AMT, RATE, II, ADDL, SS,
EVID, MDV, DV, DVID, CMT, CENS; further columns are covariates. Times are days, or hours on request; amounts are mg.
A column AGENT names what is given. Doses at equal intervals are one row: ADDL further ones, II apart. RATE above 0
(mg per unit of time) makes an infusion that lasts AMT / RATE. SS 1 says that doses alike, II apart, were given before
the patient's first one until a steady state was reached.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ranklsim.pkpd.agents import Agent, load_agent
from ranklsim.pkpd.dosing import Regimen, course_faults
from ranklsim.pkpd.errors import BadInput, counted, near, one_of, option_prefix
from ranklsim.pkpd.reading import MOST_DOSES, MOST_MONTHS, Row, Sheet, finite, first_faults, read_content, read_csv
from ranklsim.pkpd.units import DAYS_PER_MONTH

UNITS = {"days": 1.0, "hours": 24.0}
"""Units of time, and how many there are in a day."""

COLUMNS = "ID TIME AMT RATE II ADDL SS EVID MDV DV DVID DVNAME CMT CENS AGENT ARM".split()
"""Columns that are no covariates."""

_KINDS = {3: "reset", 4: "reset and dose"}
_SAME = 1e-6  # days
MISSING = "."


@dataclass(frozen=True)
class Records:
    """What a table of records holds.

    Attributes
    ----------
    doses : dict of str to list of Regimen
        By patient, in order of time.
    observations : DataFrame
        ID, day, name (DVNAME, else DVID, else ``DV``), value, below_limit.
    covariates : DataFrame
        A row a patient (index ID), the first value of each further column.
    """

    doses: dict[str, list[Regimen]]
    observations: pd.DataFrame
    covariates: pd.DataFrame

    def of(self, patient: str | None, where: str) -> list[Regimen]:
        """The doses of one patient.

        Parameters
        ----------
        patient : str or None
            Its ID; the only one if None.
        where : str
            What a message begins with.
        """
        if patient is None and len(self.doses) > 1:
            more = "" if option_prefix() else ' In an arm of a trial, each = "ID" or each = "turn" takes all of them.'
            raise BadInput(
                f"{where}: the table has {counted(len(self.doses), 'patient')}; name one of them by its ID.{more}"
            )
        if patient is not None and patient not in self.doses:
            raise BadInput(f"{where}: the table has no patient '{patient}'; {near(patient, list(self.doses))}")
        found = next(iter(self.doses.values())) if patient is None else self.doses[patient]
        if not found:
            raise BadInput(f"{where}: this patient is given nothing in the table; name another one.")
        return found

    def as_text(self) -> str:
        """The doses as such a table (days), with a row of EVID 2 for a patient who is given nothing."""
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow("ID TIME AMT RATE II ADDL SS EVID AGENT".split())
        for who, regimens in self.doses.items():
            table.writerows([
                (who, float(r.start_day), r.dose_mg, r.dose_mg / r.infusion_days if r.infusion_days else 0,
                 float(r.every_days), r.doses - 1, int(r.steady), 1, r.agent)
                for r in regimens
            ] or [(who, 0, MISSING, 0, 0, 0, 0, 2, MISSING)])  # fmt: skip
        return text.getvalue()


def load_records(
    path: Path | str,
    *,
    time: str = "days",
    agent: str | None = None,
    folder: Path | None = None,
    content: bytes | None = None,
) -> Records:
    """Read a table of records.

    Parameters
    ----------
    path : path
        CSV file.
    time : {"days", "hours"}
        Unit of TIME and II, and of RATE (mg for each).
    agent : str, optional
        What is given, where the table has no column AGENT.
    folder : Path, optional
        Where own agent files are.
    content : bytes, optional
        The table itself, where it is in no file; `path` is then its name in messages.

    Raises
    ------
    BadInput
        With every fault, each with file, line and column: a dose before day 0, times that do not ascend, doses that
        overlap, infusions and steady states that are incomplete or impossible, and resets, which no patient can have.
    """
    name = Path(path).name
    sheet = read_csv(name, read_content(path) if content is None else content)
    head = f"{name}:{sheet.head}"
    columns = [column.upper() for column in sheet.columns]
    sheet = Sheet(sheet.name, sheet.head, [c if c in COLUMNS else own for c, own in zip(columns, sheet.columns,
                  strict=True)], sheet.lines, [["" if cell == MISSING else cell for cell in row]
                  for row in sheet.cells], sheet.faults)  # fmt: skip
    faults = list(sheet.faults)
    for column in ("TIME", "AMT"):
        if column not in sheet.columns:
            faults.append(f"{head}: there is no column {column}; a table of doses has ID, TIME, AMT, II, ADDL, EVID.")
    if time not in UNITS:
        faults.append(f"time: '{time}' is not a unit of time here; give {one_of(UNITS)}.")
    if "AGENT" not in sheet.columns and agent is None:
        faults.append(f"{head}: no column AGENT says what is given; add one, or name the agent beside the table.")
    if faults:
        raise BadInput(*first_faults(name, faults))
    reader = _Reader(sheet, UNITS[time], agent, folder)
    return reader.records()


class _Reader:
    """One table on its way in."""

    def __init__(self, sheet: Sheet, per_day: float, agent: str | None, folder: Path | None) -> None:
        self.sheet, self.per_day, self.agent, self.folder = sheet, per_day, agent, folder
        self.unit = next(unit.removesuffix("s") for unit, each in UNITS.items() if each == per_day)
        self.faults: list[str] = []
        self.known: dict[str, Agent | None] = {}
        self.doses: dict[str, list[Regimen]] = {}
        self.last: dict[str, float] = {}
        self.seen: list[tuple[str, float, str, float, bool]] = []

    def records(self) -> Records:
        """All of it, or all faults."""
        own = [column for column in self.sheet.columns if column not in COLUMNS]
        covariates: dict[str, dict[str, float]] = {}
        for row in self.sheet.rows():
            self._row(row)
            self.faults += row.faults
            values = {name: finite(row.text(name)) for name in own}
            kept = covariates.setdefault(row.text("ID") or "1", {})
            for name, value in values.items():
                kept.setdefault(name, math.nan if value is None else value)
        if not self.sheet.lines:
            self.faults.append(f"{self.sheet.name}: there is no record; give a dose or an observation a row.")
        if self.faults:
            raise BadInput(*first_faults(self.sheet.name, self.faults))
        frame = pd.DataFrame(self.seen, columns=["ID", "day", "name", "value", "below_limit"])
        return Records(self.doses, frame, pd.DataFrame.from_dict(covariates, orient="index").rename_axis("ID"))

    def _row(self, row: Row) -> None:
        who = row.text("ID") or "1"
        day = row.number("TIME", needed=True) / self.per_day
        amount, event = row.number("AMT"), row.number("EVID")
        if math.isnan(event):
            event = 1.0 if amount > 0 else 0.0
        if math.isnan(day) or row.faults:
            return
        self.doses.setdefault(who, [])
        if day < 0:
            row.fault("TIME", f"{row.text('TIME')} is before the start of treatment (0); give 0 or later.")
        elif day > MOST_MONTHS * DAYS_PER_MONTH:
            row.fault("TIME", f"{day:g} days are more than {MOST_MONTHS} months; is the table in hours?")
        elif day < self.last.get(who, 0.0) - _SAME:
            row.fault("TIME", f"patient {who} has an earlier time than in the row before; sort the records by time.")
        self.last[who] = max(day, self.last.get(who, 0.0))
        if event in (3, 4):
            said = "would undo what treatment did to her bone, which no patient can have"
            row.fault("EVID", f"{event:g} ({_KINDS[int(event)]}) {said}; give a new ID, or EVID 1.")
        elif event == 1:
            self._dose(row, who, day, amount)
        elif event == 0:
            for name in ("AMT", "RATE", "ADDL", "SS"):
                if (told := row.number(name)) and not math.isnan(told):
                    row.fault(name, f"{told:g} is of a dose, and this row is none; give AMT and EVID 1, or 0 here.")
            value, hidden = row.number("DV"), row.number("MDV")
            if not math.isnan(value) and not hidden == 1:
                name = row.text("DVNAME") or row.text("DVID") or "DV"
                self.seen.append((who, day, name, value, row.number("CENS") == 1))
        elif event != 2:
            row.fault("EVID", f"{row.text('EVID')} is no kind of record; give 0 (observation), 1 (dose) or 2.")

    def _dose(self, row: Row, who: str, day: float, amount: float) -> None:
        name = row.text("AGENT") or self.agent or ""
        more, every = row.number("ADDL"), row.number("II") / self.per_day
        more, every = (0.0 if math.isnan(value) else value for value in (more, every))
        rate, steady = (0.0 if math.isnan(value) else value for value in (row.number("RATE"), row.number("SS")))
        if rate < 0:
            said = "leaves the rate or the duration to a parameter, and there is none"
            row.fault("RATE", f"{rate:g} {said}; give the rate in mg per {self.unit}, or 0.")
        if steady not in (0, 1):
            row.fault(
                "SS", f"{row.text('SS')} is not possible; give 1 (a steady state is reached before this dose) or 0."
            )
        elif steady and self.doses[who]:
            row.fault("SS", f"patient {who} has an earlier dose; a steady state is where a patient starts, so give 0.")
        if every < 0:
            row.fault("II", f"{every * self.per_day:g} is no interval; give 0 or more.")
        if not amount > 0:
            row.fault("AMT", f"{row.text('AMT') or 'nothing'} is no dose; give more than 0 mg, or EVID 0.")
        if more != int(more) or not 0 <= more < MOST_DOSES:
            row.fault("ADDL", f"{more:g} is not a whole number from 0 to {MOST_DOSES - 1}.")
        elif more and every == 0:
            row.fault("II", f"{more:g} additional doses need an interval above 0.")
        if not name:
            row.fault("AGENT", "it is empty; name what is given.")
        elif name not in self.known:
            self.known[name] = None
            try:
                self.known[name] = load_agent(name, folder=self.folder)
            except BadInput as fault:
                row.faults.extend(f"{row.where}: column AGENT: {message}" for message in fault.messages)
        if row.faults:
            return
        before = [given for given in self.doses[who] if given.agent == name]
        if before and before[-1].times_days()[-1] + before[-1].infusion_days > day + _SAME:
            until = (before[-1].times_days()[-1] + before[-1].infusion_days) * self.per_day
            what = (
                "additional doses of an earlier row go" if before[-1].doses > 1 else "infusion of an earlier row goes"
            )
            row.fault("TIME", f"the {what} on until {until:g}, beyond this dose; they overlap.")
            return
        interval = every if more or steady else 0.0
        together = day < max((given.end_day for given in self.doses[who]), default=0.0) - _SAME
        infusion = amount / rate / self.per_day if rate else 0.0
        regimen = Regimen(name, amount, day, interval, int(more) + 1, together, infusion_days=infusion,
                          steady=bool(steady))  # fmt: skip
        drug = self.known[name]
        for what, sentence in () if drug is None else course_faults(regimen, drug):
            row.fault({"infusion": "RATE", "steady": "SS"}[what], sentence)
        self.doses[who].append(regimen)


def as_steps(regimens: Sequence[Regimen]) -> list[dict[str, object]]:
    """Regimens as a trial file writes them.

    Parameters
    ----------
    regimens : sequence of Regimen
    """
    return [
        {"agent": r.agent, "dose": f"{r.dose_mg!r} mg", "start": f"{float(r.start_day)!r} day"}
        | ({"every": f"{r.every_days!r} day", "doses": r.doses} if r.doses > 1 or r.steady else {})
        | ({"over": f"{r.infusion_days!r} day"} if r.infusion_days else {})
        | ({"steady": True} if r.steady else {})
        | ({"together": True} if r.together else {})
        for r in regimens
    ]


def joined(doses: pd.DataFrame, shortest: float) -> pd.DataFrame:
    """Doses of one patient with those at equal short intervals in one row.

    Parameters
    ----------
    doses : DataFrame
        agent, day, amount_mg, rate (mg a day of an infusion, else 0); in order of time.
    shortest : float
        Interval in days from which on each dose keeps a row of its own.

    Returns
    -------
    DataFrame
        The same with ``II`` (days) and ``ADDL``.
    """
    rows = []
    for (agent, amount, rate), part in doses.groupby(["agent", "amount_mg", "rate"], sort=False):
        days, i = part["day"].to_numpy(dtype=float), 0
        while i < len(days):
            gap = days[i + 1] - days[i] if i + 1 < len(days) else math.inf
            j = i
            while gap < shortest and j + 1 < len(days) and abs(days[j + 1] - days[i] - (j + 1 - i) * gap) < _SAME:
                j += 1
            rows.append((agent, days[i], amount, rate, gap if j > i else 0.0, j - i))
            i = j + 1
    columns = ["agent", "day", "amount_mg", "rate", "II", "ADDL"]
    return pd.DataFrame(rows, columns=columns).sort_values("day", kind="stable")
