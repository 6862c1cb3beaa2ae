"""Published evidence: what was done to whom, and what was seen, in two files that a person can fill in.

A folder of evidence holds ``arms.toml``, each study arm as a protocol that can be simulated, and ``observations.csv``,
one published group figure a row; ``not_used.csv`` may list what was left out and why. The format is described in
``docs/evidence.md``. Reading is strict: every fault of both files is reported at once with file, line and column,
since a figure misread by a fit is worse than one refused.

Numbers are raw, as published: no placebo is subtracted, a median stays a median. `evidence_predictions` simulates the
arms, `evidence_errors` says how far each figure can be trusted.
"""

from __future__ import annotations

import csv
import difflib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from ranklsim.pkpd.agents import Agent, load_agent
from ranklsim.pkpd.biology.skeleton import NAMES
from ranklsim.pkpd.dosing import Regimen, check_sequence, parse_regimen
from ranklsim.pkpd.errors import BadInput
from ranklsim.pkpd.parameters import load_parameters
from ranklsim.pkpd.reading import load_toml
from ranklsim.pkpd.simulation import MARKERS, covariate_symbols
from ranklsim.pkpd.tomltext import locate
from ranklsim.pkpd.units import DAYS_PER_MONTH, check_unit, convert, parse_quantity

SHIPPED = Path(__file__).parents[1] / "data" / "evidence"
SITES = tuple(NAMES)


class Endpoint(NamedTuple):
    """A kind of figure: its unit, what it can be of, and what else a row must say."""

    unit: str
    of: tuple[str, ...]  # some of "BMD", "marker", "agent"
    meaning: str
    month_from: bool = False
    control: bool = False


ENDPOINTS = {
    "percent_change": Endpoint("%", ("BMD",), "change of BMD from month 0 to `month`, % of that at month 0"),
    "percent_of_baseline": Endpoint("%", ("marker",), "a marker at `month`, % of that at month 0"),
    "difference_to_control": Endpoint(
        "%",
        ("BMD", "marker"),
        "% change (or % of baseline) of `arm` less that of `control` at `month`, percentage points",
        control=True,
    ),
    "change_between": Endpoint(
        "%", ("BMD", "marker"), "change from `month_from` to `month`, % of that at `month_from`", month_from=True
    ),
    "retained_gain": Endpoint(
        "%", ("BMD",), "share at `month` of the gain from month 0 to `month_from`, %", month_from=True
    ),
    "concentration": Endpoint("ug/mL", ("agent",), "free drug in serum at `month`"),
    "Cmax": Endpoint("ug/mL", ("agent",), "highest free drug between `month_from` and `month`", month_from=True),
    "Tmax": Endpoint("day", ("agent",), "days from `month_from` to that highest value", month_from=True),
    "AUC": Endpoint("ug*day/mL", ("agent",), "area under free drug from `month_from` to `month`", month_from=True),
    "AUC_ratio": Endpoint("%", ("agent",), "that area of `arm`, % of that of `control`", month_from=True, control=True),
    "half_life": Endpoint(
        "day", ("agent",), "from the slope of ln free drug between `month_from` and `month`", month_from=True
    ),
    "terminal_half_life": Endpoint(
        "day", ("agent",), "the same, of values between 1 and 0.1 ug/mL in that time only", month_from=True
    ),
    "time_of_nadir": Endpoint(
        "day", ("marker",), "days from `month_from` to the lowest value until `month`", month_from=True
    ),
}
STATISTICS = ("mean", "ls_mean", "geometric_mean", "median", "unstated")
SPREADS = {"SE": 1, "SD": 1, "CI95": 2, "IQR": 2, "range": 2}  # type -> how many numbers give it
PHASES = {
    "on": "under the effect of a drug that is being given",
    "off": "after the interval of the last dose",
    "untreated": "in an arm that is given nothing",
}
VERIFICATIONS = {"read": "seen in the named source", "recalled": "written from knowledge of the source"}

NEEDED = tuple(
    "study arm endpoint site_or_marker month value unit statistic phase source verification".split()  #
)
COLUMNS = tuple(
    "study arm control endpoint site_or_marker month_from month value unit statistic spread spread_type spread_low "
    "spread_high n phase curve source doi verification note origin".split()
)
NUMERIC = ("month_from", "month", "value", "spread", "spread_low", "spread_high", "n")
NOT_USED_COLUMNS = tuple(
    "file line study arm endpoint site_or_marker time_months value unit why reason".split()  #
)

_COVARIATE_UNITS = {
    "age": "yr", "weight": "kg", "height": "cm", "eGFR": "mL/min/1.73m2", "vitamin_D": "ng/mL",
    "years_since_menopause": "yr", "prevalent_fracture": "1", "supplements": "1", "CTX": "ng/mL", "P1NP": "ng/mL",
} | {f"T_{site}": "1" for site in NAMES}  # fmt: skip
_ARM_KEYS = {
    "id": 'id = "defend-denosumab"',
    "study": 'study = "DEFEND"',
    "label": 'label = "Denosumab 60 mg every 6 months"',
    "regimen": 'regimen = "denosumab 60mg every 6mo x4", or "placebo every 6mo x4"',
    "follow_up": 'follow_up = "48 mo"',
    "population": 'population = "postmenopausal women, low BMD"',
    "covariates": 'covariates = { age = "59.4 yr", T_LS = -1.6 }',
    "n": "n = 166",
    "doi": 'doi = "10.1210/jc.2007-2814"',
    "note": 'note = "dose assumed"',
}
_ARM_NEEDED = ("id", "study", "label", "regimen", "follow_up")
_SAME_DAY = 0.01  # days; less than this and a sample is meant to be at the dose


@dataclass(frozen=True)
class Arm:
    """One study arm as a protocol.

    Attributes
    ----------
    id, study, label, population, doi, note : str
        `id` is what observations call it.
    text : str
        The regimen as written.
    regimens : list of Regimen
        The same, read.
    covariates : dict of str to float
        What is known of its patients, by the names of `simulation.covariate_symbols`; all else is as in the
        parameter table.
    follow_up : float
        Months until which it was watched.
    n : int or None
        Patients.
    """

    id: str
    study: str
    label: str
    text: str
    regimens: list[Regimen]
    covariates: dict[str, float]
    follow_up: float
    population: str = ""
    n: int | None = None
    doi: str = ""
    note: str = ""
    placebo: bool = False  # nothing that acts is given

    @property
    def agent_names(self) -> list[str]:
        """Names of the agents given, in the order of first use."""
        return list(dict.fromkeys(regimen.agent for regimen in self.regimens))

    def snapped(self, month: float) -> float:
        """`month` in days; exactly a day of dosing, if it is meant to be one."""
        day = month * DAYS_PER_MONTH
        for regimen in self.regimens:
            for dose in regimen.times_days():
                if abs(dose - day) < _SAME_DAY:
                    return float(dose)
        return day


@dataclass(frozen=True, eq=False)
class Evidence:
    """Arms, and what was observed in them.

    Attributes
    ----------
    path : Path
        The folder.
    arms : dict of str to Arm
        By id.
    observations : DataFrame
        One row a figure, columns as `COLUMNS` and ``line`` (of the file). Numeric columns are float, NaN where
        empty; every value and spread is in the unit of its endpoint.
    not_used : DataFrame
        What a conversion left out, columns as `NOT_USED_COLUMNS`; empty if there is no such file.
    agents : dict of str to Agent
        Every agent that an arm names.
    """

    path: Path
    arms: dict[str, Arm]
    observations: pd.DataFrame
    not_used: pd.DataFrame
    agents: dict[str, Agent] = field(default_factory=dict)

    def subset(self, keep: pd.Series) -> Evidence:
        """The same evidence with the observations where `keep` is true."""
        rows = self.observations[keep].reset_index(drop=True)
        return Evidence(self.path, self.arms, rows, self.not_used, self.agents)


def load_evidence(path: str | Path | None = None) -> Evidence:
    """Read a folder of evidence, or what ships.

    Parameters
    ----------
    path : path, optional
        Folder with ``arms.toml`` and ``observations.csv``, and own agent files if its arms need any.

    Returns
    -------
    Evidence

    Raises
    ------
    BadInput
        Every fault of the folder at once, each ``file:line: column X: what is wrong; what would be right``.
    """
    folder = SHIPPED if path is None else Path(path)
    if not folder.is_dir():
        raise BadInput(f"{folder}: there is no such folder; give one that holds arms.toml and observations.csv.")
    faults: list[str] = []
    arms: dict[str, Arm] = {}
    agents: dict[str, Agent] = {}
    ids: set[str] | None = None  # of all arms; None if their file can't be read at all
    try:
        arms, ids = _read_arms(folder, faults, agents)
    except BadInput as fault:
        faults += fault.messages
    observations = pd.DataFrame(columns=[*COLUMNS, "line"])
    try:
        observations = _read_observations(folder / "observations.csv", arms, ids, agents, faults)
    except BadInput as fault:
        faults += fault.messages
    not_used = pd.DataFrame(columns=list(NOT_USED_COLUMNS))
    if (folder / "not_used.csv").is_file():
        try:
            not_used = _read_not_used(folder / "not_used.csv")
        except BadInput as fault:
            faults += fault.messages
    if faults:
        raise BadInput(*faults)
    return Evidence(folder, arms, observations, not_used, agents)


# --- arms ---


def _read_arms(folder: Path, faults: list[str], agents: dict[str, Agent]) -> tuple[dict[str, Arm], set[str]]:
    """Arms without fault, and the ids of all: an observation in a faulty arm is not in an unknown one."""
    path = folder / "arms.toml"
    data, text = load_toml(path)
    for key in data:
        if key != "arm":
            faults.append(
                f"{path.name}:{locate(text, (key,))}: unknown key '{key}'; the file holds tables [[arm]] only."
            )
    tables = data.get("arm")
    if not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
        faults.append(f"{path.name}: there is no arm; give one or more tables [[arm]].")
        return {}, set()
    arms: dict[str, Arm] = {}
    first: dict[str, int] = {}
    for position, table in enumerate(tables):
        so_far = len(faults)
        arm = _ArmReader(folder, position, table, text, faults, agents).arm()
        name = table.get("id")
        if isinstance(name, str) and name in first:
            here = locate(text, ("arm", position, "id"))
            faults.append(
                f"{path.name}:{here}: arm '{name}' stands twice, first in line {first[name]}; give each its own id."
            )
        elif isinstance(name, str):
            first[name] = locate(text, ("arm", position, "id"))
        if len(faults) == so_far:
            arms[arm.id] = arm
    return arms, set(first)


class _ArmReader:
    """One table [[arm]]."""

    def __init__(
        self,
        folder: Path,
        position: int,
        table: dict[str, Any],
        text: str,
        faults: list[str],
        agents: dict[str, Agent],
    ) -> None:
        self.folder, self.position, self.table, self.text = folder, position, table, text
        self.faults, self.agents = faults, agents
        name = table.get("id")
        self.name = f"arm '{name}'" if isinstance(name, str) else f"arm {position + 1}"

    def arm(self) -> Arm:
        for key in self.table:
            if key not in _ARM_KEYS:
                self._fault(
                    (key,), f"unknown key '{key}'; {_near(key, _ARM_KEYS, 'an arm has ' + ', '.join(_ARM_KEYS))}"
                )
        for key in _ARM_NEEDED:
            if key not in self.table:
                self._fault((), f"`{key}` is missing; give {_ARM_KEYS[key]}.")
        words = {
            key: self._words(key)
            for key in ("id", "study", "label", "population", "doi", "note", "regimen", "follow_up")
        }
        regimens = self._regimens(words["regimen"]) if words["regimen"] else []
        follow_up = self._quantity("follow_up", words["follow_up"], "mo") if words["follow_up"] else 0.0
        last = max((r.times_days()[-1] for r in regimens), default=0.0) / DAYS_PER_MONTH
        if words["follow_up"] and follow_up == follow_up and follow_up < last - 1e-6:
            self._fault(("follow_up",), f"`follow_up` ends at {follow_up:g} mo, before the last dose at {last:.4g} mo.")
        n = self.table.get("n")
        if n is not None and (not isinstance(n, int) or isinstance(n, bool) or n < 1):
            self._fault(
                ("n",), f"`n` is {n!r}; give the number of patients, such as {_ARM_KEYS['n']}, or leave it out."
            )
            n = None
        kinds = {self.agents[r.agent].kind for r in regimens if r.agent in self.agents}
        return Arm(
            words["id"],
            words["study"],
            words["label"],
            words["regimen"],
            regimens,
            self._covariates(),
            follow_up,
            words["population"],
            n,
            words["doi"],
            words["note"],
            placebo=kinds <= {"none"},
        )

    def _place(self, key: tuple[str, ...]) -> str:
        return f"arms.toml:{locate(self.text, ('arm', self.position, *key))}"

    def _fault(self, key: tuple[str, ...], sentence: str) -> None:
        self.faults.append(f"{self._place(key)}: {self.name}: {sentence}")

    def _words(self, key: str) -> str:
        value = self.table.get(key, "")
        if not isinstance(value, str):
            self._fault((key,), f"`{key}` is {value!r}; give text, such as {_ARM_KEYS[key]}.")
            return ""
        if key in self.table and key in _ARM_NEEDED and not value.strip():
            self._fault((key,), f"`{key}` is empty; give {_ARM_KEYS[key]}.")
        return value.strip()

    def _quantity(self, key: str, value: object, unit: str) -> float:
        try:
            return parse_quantity(value, unit, where=f"{self._place((key,))}: {self.name}: {key}")
        except BadInput as fault:
            self.faults += fault.messages
            return math.nan

    def _regimens(self, text: str) -> list[Regimen]:
        where = f"{self._place(('regimen',))}: {self.name}"
        try:
            regimens = parse_regimen(text, folder=self.folder, where=where)
            check_sequence(regimens, where)
        except BadInput as fault:
            self.faults += fault.messages
            return []
        for regimen in regimens:
            if regimen.agent not in self.agents:
                self.agents[regimen.agent] = load_agent(regimen.agent, folder=self.folder, where=where)
        return regimens

    def _covariates(self) -> dict[str, float]:
        table = self.table.get("covariates", {})
        if not isinstance(table, dict):
            self._fault(("covariates",), f"`covariates` is {table!r}; give {_ARM_KEYS['covariates']}.")
            return {}
        values = {}
        for name, given in table.items():
            key = ("covariates", name)
            if name not in _COVARIATE_UNITS:
                names = ", ".join(_COVARIATE_UNITS)
                self._fault(key, f"unknown covariate '{name}'; {_near(name, _COVARIATE_UNITS, f'use one of {names}')}")
                continue
            where = f"{self._place(key)}: {self.name}"
            try:
                values[name] = parse_quantity(given, _COVARIATE_UNITS[name], where=f"{where}: {name}")
                covariate_symbols(load_parameters(), {name: values[name]}, where)
            except BadInput as fault:
                self.faults += fault.messages
        return values


# --- observations ---


def _read_observations(
    path: Path, arms: dict[str, Arm], ids: set[str] | None, agents: dict[str, Agent], faults: list[str]
) -> pd.DataFrame:
    header, lines = read_csv(path)
    missing = [column for column in NEEDED if column not in header]
    if missing:
        raise BadInput(f"{path.name}:1: column {missing[0]} is missing; the header needs {', '.join(NEEDED)}.")
    for column in header:
        if column not in COLUMNS:
            hint = _near(column, COLUMNS, f"the columns are {', '.join(COLUMNS)}")
            faults.append(f"{path.name}:1: column {column}: there is no such column; {hint}")
    rows = []
    first: dict[tuple[str, ...], int] = {}
    for line, cells in lines:
        reader = _RowReader(f"{path.name}:{line}", cells, arms, ids, agents)
        row = reader.row()
        faults += reader.faults
        key = tuple(cells.get(c, "") for c in ("arm", "control", "endpoint", "site_or_marker")) + tuple(
            f"{row[c]:g}" for c in ("month_from", "month")
        )
        if not reader.faults and key in first:
            faults.append(
                f"{path.name}:{line}: column value: the same figure (arm, endpoint, site_or_marker, month) stands in "
                f"line {first[key]}; keep one of the two."
            )
        first.setdefault(key, line)
        rows.append(row | {"line": line})
    if not rows:
        faults.append(f"{path.name}:2: there is no observation; give one figure a row.")
    frame = pd.DataFrame(rows, columns=[*COLUMNS, "line"])
    return frame.astype(dict.fromkeys(NUMERIC, float))


class _RowReader:
    """One row of observations.csv."""

    def __init__(
        self, where: str, cells: dict[str, str], arms: dict[str, Arm], ids: set[str] | None, agents: dict[str, Agent]
    ) -> None:
        self.where, self.cells, self.arms, self.ids, self.agents = where, cells, arms, ids, agents
        self.faults: list[str] = []

    def row(self) -> dict[str, Any]:
        cells = self.cells
        if "" in cells:  # more cells than columns
            self._fault("value", "the row has more cells than the header; put text with commas in quotes.")
        row: dict[str, Any] = {column: cells.get(column, "") for column in COLUMNS}
        for column in NUMERIC:
            row[column] = self._number(column, needed=column in ("month", "value"))
        for column in ("study", "source"):
            if not row[column]:
                self._fault(column, "it is empty; say which.")
        self._choice("statistic", STATISTICS)
        self._choice("phase", PHASES)
        self._choice("verification", VERIFICATIONS)
        arm = self._arm("arm", needed=True)
        endpoint = ENDPOINTS[row["endpoint"]] if self._choice("endpoint", ENDPOINTS) else None
        if endpoint:
            self._subject(row, endpoint, arm)
            self._control(row, endpoint)
            self._months(row, endpoint, arm)
            self._spread(row, endpoint)
            self._unit(row, endpoint)
        if row["n"] == row["n"] and (row["n"] < 1 or row["n"] != int(row["n"])):
            self._fault("n", f"{cells['n']} is no number of patients; give a whole number of 1 or more, or nothing.")
        if arm and row["phase"] in PHASES:
            self._phase(row, arm)
        return row

    def _fault(self, column: str, sentence: str) -> None:
        self.faults.append(f"{self.where}: column {column}: {sentence}")

    def _number(self, column: str, needed: bool) -> float:
        text = self.cells.get(column, "")
        if not text:
            if needed:
                self._fault(column, "it is empty; give a number.")
            return math.nan
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            self._fault(column, f"'{text}' is not a number; give one number with a decimal point, without unit.")
            return math.nan
        return value

    def _choice(self, column: str, choices: Iterable[str]) -> bool:
        text = self.cells.get(column, "")
        if text in choices:
            return True
        names = f"give one of {', '.join(choices)}"
        self._fault(
            column, f"unknown {column} '{text}'; {_near(text, choices, names)}" if text else f"it is empty; {names}."
        )
        return False

    def _arm(self, column: str, needed: bool) -> Arm | None:
        name = self.cells.get(column, "")
        if self.ids is None or name in self.ids or not (name or needed):
            return self.arms.get(name)
        if name:
            hint = _near(name, self.ids, "give the id of an arm of arms.toml")
            self._fault(column, f"unknown arm '{name}'; {hint}")
        else:
            self._fault(column, "it is empty; give the id of an arm of arms.toml.")
        return None

    def _subject(self, row: dict[str, Any], endpoint: Endpoint, arm: Arm | None) -> None:
        name = row["site_or_marker"]
        known: list[str] = []
        if "BMD" in endpoint.of:
            known += SITES
        if "marker" in endpoint.of:
            known += MARKERS
        if "agent" in endpoint.of:
            if not arm:
                return
            known += [a for a in arm.agent_names if a in self.agents and self.agents[a].kind == "binder"]
        if name not in known:
            what = {"BMD": "site", "marker": "marker", "agent": "antibody of this arm"}
            kinds = " or ".join(what[kind] for kind in endpoint.of)
            names = f"{row['endpoint']} is of {', '.join(known) or 'an antibody, and this arm is given none'}"
            self._fault("site_or_marker", f"unknown {kinds} '{name}'; {_near(name, known, names)}")

    def _control(self, row: dict[str, Any], endpoint: Endpoint) -> None:
        if endpoint.control and not row["control"]:
            self._fault("control", f"it is empty; {row['endpoint']} needs the id of the arm compared with.")
        elif not endpoint.control and row["control"]:
            self._fault("control", f"{row['endpoint']} is compared with no other arm; leave it empty.")
        elif endpoint.control:
            control = self._arm("control", needed=False)
            if control and row["control"] == row["arm"]:
                self._fault("control", "it is the arm itself; give the id of another.")
            elif control and row["month"] > control.follow_up + 1e-6:
                self._late("month", row["month"], control)

    def _months(self, row: dict[str, Any], endpoint: Endpoint, arm: Arm | None) -> None:
        begin, month = row["month_from"], row["month"]
        if endpoint.month_from and not self.cells.get("month_from"):
            self._fault("month_from", f"it is empty; {row['endpoint']} needs the month from which.")
        elif not endpoint.month_from and self.cells.get("month_from"):
            self._fault("month_from", f"{row['endpoint']} is counted from month 0; leave it empty.")
        if begin < 0:
            self._fault("month_from", f"{begin:g} lies before the first dose at month 0; give 0 or later.")
        if month < 0 or (month == 0 and "agent" not in endpoint.of):
            self._fault("month", f"{month:g} is not after month 0, to which all is compared; leave the row out.")
        elif begin >= month:
            self._fault("month_from", f"{begin:g} is not before month {month:g}; exchange the two if that is meant.")
        if arm and month > arm.follow_up + 1e-6:
            self._late("month", month, arm)

    def _late(self, column: str, month: float, arm: Arm) -> None:
        self._fault(
            column,
            f"{month:g} is beyond the protocol of '{arm.id}', which is followed for {arm.follow_up:g} mo; "
            "correct one of the two.",
        )

    def _spread(self, row: dict[str, Any], endpoint: Endpoint) -> None:
        given, kind = row["spread"], row["spread_type"]
        low, high = row["spread_low"], row["spread_high"]
        ends = [c for c in ("spread_low", "spread_high") if self.cells.get(c)]
        if not kind:
            for column in [c for c in ("spread", *ends) if self.cells.get(c)][:1]:
                self._fault("spread_type", f"it is empty, but {column} is given; say {', '.join(SPREADS)}.")
            return
        if not self._choice("spread_type", SPREADS):
            return
        if SPREADS[kind] == 1:
            if given <= 0:
                self._fault("spread", f"{given:g} is not above 0; correct it, or leave spread and spread_type empty.")
            elif not self.cells.get("spread"):
                self._fault("spread", f"it is empty; give the {kind}, or leave spread_type empty too.")
            for column in ends[:1]:
                self._fault(
                    column, f"an {kind} is one number in column spread; leave spread_low and spread_high empty."
                )
            return
        if self.cells.get("spread"):
            self._fault("spread", f"{kind} is two numbers; give them as spread_low and spread_high.")
        if len(ends) < 2:
            missing = "spread_high" if ends == ["spread_low"] else "spread_low"
            self._fault(missing, f"it is empty; give both ends of the {kind}.")
        elif low >= high:
            self._fault("spread_low", f"{low:g} is not below spread_high {high:g}; exchange the two.")
        elif not low <= row["value"] <= high and row["value"] == row["value"]:
            self._fault("value", f"{row['value']:g} lies outside its own {kind} of {low:g} to {high:g}; correct one.")

    def _unit(self, row: dict[str, Any], endpoint: Endpoint) -> None:
        if row["unit"] == endpoint.unit:
            return
        if not row["unit"]:
            self._fault("unit", f"it is empty; {row['endpoint']} is given in '{endpoint.unit}'.")
            return
        right = f"{row['endpoint']} is given in '{endpoint.unit}'"
        try:
            check_unit(row["unit"])
        except BadInput as fault:
            self._fault("unit", f"{fault.messages[0].rstrip('.')} ({right}).")
            return
        try:
            for column in ("value", "spread", "spread_low", "spread_high"):
                row[column] = convert(row[column], row["unit"], endpoint.unit)
        except BadInput:
            self._fault("unit", f"'{row['unit']}' can't be turned into '{endpoint.unit}'; {right}.")
        row["unit"] = endpoint.unit

    def _phase(self, row: dict[str, Any], arm: Arm) -> None:
        phase = row["phase"]
        ended = max(regimen.end_day for regimen in arm.regimens) / DAYS_PER_MONTH
        if (phase == "untreated") != arm.placebo:
            right = "'untreated'" if arm.placebo else "'on' or 'off'"
            self._fault("phase", f"it is '{phase}', but '{arm.id}' is given {arm.text}; write {right}.")
        elif phase == "off" and row["month"] < ended - 1e-6:
            self._fault(
                "phase", f"it is 'off' at month {row['month']:g}, but the last interval ends at {ended:.4g} mo."
            )


def _read_not_used(path: Path) -> pd.DataFrame:
    header, lines = read_csv(path)
    missing = [column for column in NOT_USED_COLUMNS if column not in header]
    if missing:
        raise BadInput(
            f"{path.name}:1: column {missing[0]} is missing; the header needs {', '.join(NOT_USED_COLUMNS)}."
        )
    faults = [f"{path.name}:{n}: column reason: it is empty; say why." for n, cells in lines if not cells["reason"]]
    if faults:
        raise BadInput(*faults)
    return pd.DataFrame([cells for _, cells in lines], columns=list(NOT_USED_COLUMNS))


def read_csv(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Header, and every row that is not blank with the line on which it begins; cells without outer blanks.

    A cell beyond the header stands under the empty name; one that is not there is empty.
    """
    try:
        text = path.read_text("utf-8-sig")
    except OSError as fault:
        raise BadInput(f"{path}: the file can't be read ({fault.strerror}); give a CSV file.") from None
    except UnicodeDecodeError:
        raise BadInput(f"{path.name}: the text is not UTF-8; save the file with UTF-8 encoding.") from None
    reader = csv.reader(text.splitlines(keepends=True))
    header: list[str] = []
    rows: list[tuple[int, dict[str, str]]] = []
    line = 1
    try:
        for cells in reader:
            begin, line = line, reader.line_num + 1
            cells = [cell.strip() for cell in cells]
            if not any(cells):
                continue
            if not header:
                header = cells
                twice = sorted({column for column in header if header.count(column) > 1})
                if twice:
                    raise BadInput(f"{path.name}:{begin}: column {twice[0]} stands twice; keep one.")
                continue
            row = dict.fromkeys(header, "") | dict(zip(header, cells, strict=False))
            if len(cells) > len(header):
                row[""] = ",".join(cells[len(header) :])
            rows.append((begin, row))
    except csv.Error as fault:
        raise BadInput(f"{path.name}:{line}: this is not CSV ({fault}); check the quotes of that line.") from None
    if not header:
        raise BadInput(f"{path.name}:1: the file is empty; it begins with the names of its columns.")
    return header, rows


def _near(name: str, known: Iterable[str], otherwise: str) -> str:
    """'did you mean 'x'?', or what to say where nothing is near."""
    names: Sequence[str] = list(known)
    folded = {candidate.casefold(): candidate for candidate in names}
    close = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.6)
    return f"did you mean '{folded[close[0]]}'?" if close else f"{otherwise}."
