"""Published evidence: what was done to whom, and what was seen, in two files that a person can fill in.

A folder of evidence holds ``arms.toml``, each study arm as a protocol that can be simulated, and ``observations.csv``,
one published group figure a row; ``not_used.csv`` may list what was left out and why. The format is described in
``docs/evidence.md``. Reading is strict: every fault of both files is reported at once with file, line and column,
since a figure misread by a fit is worse than one refused.

Numbers are raw, as published: no placebo is subtracted, a median stays a median. `evidence_predictions` simulates the
arms, `evidence_errors` says how far each figure can be trusted.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ranklsim.pkpd.agents import Agent, load_agent
from ranklsim.pkpd.arguments import checked, text
from ranklsim.pkpd.arguments import path as path_argument
from ranklsim.pkpd.biology.skeleton import NAMES
from ranklsim.pkpd.dosing import Regimen, check_sequence, parse_regimen
from ranklsim.pkpd.errors import BadInput, Caution, near, one_of
from ranklsim.pkpd.parameters import load_parameters
from ranklsim.pkpd.reading import (
    MOST_MONTHS,
    MOST_PATIENTS,
    Row,
    Shape,
    Sheet,
    Table,
    exchanged,
    first_faults,
    open_toml,
    read_content,
    read_csv,
    unread,
)
from ranklsim.pkpd.results import Frame
from ranklsim.pkpd.simulation import MARKERS, covariate_symbols
from ranklsim.pkpd.units import DAYS_PER_MONTH, check_unit, convert

SHIPPED = Path(__file__).parents[1] / "data" / "evidence"
SITES = tuple(NAMES)
MOST_VALUE = 1e6  # of a figure, in its unit; beyond this a number is a slip


class Endpoint(NamedTuple):
    """A kind of figure: its unit, what it can be of, what else a row must say, and which values are possible."""

    unit: str
    of: tuple[str, ...]  # some of "BMD", "marker", "agent"
    meaning: str
    month_from: bool = False
    control: bool = False
    above: float = 0.0


ENDPOINTS = {
    "percent_change": Endpoint(
        "%", ("BMD",), "change of BMD from month 0 to `month`, % of that at month 0", above=-100
    ),
    "percent_of_baseline": Endpoint("%", ("marker",), "a marker at `month`, % of that at month 0"),
    "difference_to_control": Endpoint(
        "%",
        ("BMD", "marker"),
        "% change (or % of baseline) of `arm` less that of `control` at `month`, percentage points",
        control=True,
        above=-MOST_VALUE,
    ),
    "change_between": Endpoint(
        "%",
        ("BMD", "marker"),
        "change from `month_from` to `month`, % of that at `month_from`",
        month_from=True,
        above=-100,
    ),
    "retained_gain": Endpoint(
        "%",
        ("BMD",),
        "share at `month` of the gain from month 0 to `month_from`, %",
        month_from=True,
        above=-MOST_VALUE,
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
LIMITED = ("concentration", "Cmax", "percent_of_baseline")
"""Endpoints of which a figure may be below a limit of quantitation, written as ``<0.02``."""
SHARES = ("percent_of_baseline", "retained_gain", "AUC_ratio")
"""Endpoints in % whose values are near 100 rather than near 0."""
SMALL_SHARE, SMALL_CHANGE, FEW = 2.0, 0.3, 3
"""All values (%) of an endpoint below these, of shares and of changes, are fractions rather than percent; `FEW` values
or more tell."""
STATISTICS = ("mean", "ls_mean", "geometric_mean", "median", "unstated", "typical")
SPREADS = {"SE": 1, "SD": 1, "CI95": 2, "IQR": 2, "range": 2}  # type -> how many numbers give it
PHASES = {
    "on": "under the effect of a drug that is being given",
    "off": "after the interval of the last dose",
    "untreated": "in an arm that is given nothing",
}
VERIFICATIONS = {
    "read": "seen in the named source",
    "recalled": "written from knowledge of the source",
    "derived": "computed from what is printed in the source, as the note says",
}

NEEDED = tuple(
    "study arm endpoint site_or_marker month value unit statistic phase source verification".split()  #
)
COLUMNS = tuple(
    "study arm control endpoint site_or_marker month_from month value unit statistic spread spread_type spread_low "
    "spread_high n phase curve source doi verification note origin".split()
)
NUMERIC_OF_OFFSETS = ("month_from", "month", "offset")
NUMERIC = ("month_from", "month", "value", "spread", "spread_low", "spread_high", "n")
FIGURE = ("arm", "control", "endpoint", "site_or_marker", "month_from", "month")
"""Columns that tell one figure from every other."""
NOT_USED_COLUMNS = tuple(
    "file line study arm endpoint site_or_marker time_months value unit why reason".split()  #
)

_COVARIATE_UNITS = {
    "age": "yr", "weight": "kg", "height": "cm", "eGFR": "mL/min/1.73m2", "vitamin_D": "ng/mL",
    "years_since_menopause": "yr", "prevalent_fracture": "1", "supplements": "1", "CTX": "ng/mL", "P1NP": "ng/mL",
} | {f"T_{site}": "1" for site in NAMES}  # fmt: skip
_FILE = Shape({"arm": "one or more tables [[arm]]"}, needed=("arm",))
_ARM = Shape(
    {
        "id": '"defend-denosumab"',
        "study": '"DEFEND"',
        "label": '"Denosumab 60 mg every 6 months"',
        "regimen": '"denosumab 60mg every 6mo x4", or "placebo every 6mo x4"',
        "follow_up": '"48 mo"',
        "population": '"postmenopausal women, low BMD"',
        "covariates": '{ age = "59.4 yr", T_LS = -1.6 }',
        "n": "166",
        "doi": '"10.1210/jc.2007-2814"',
        "note": '"dose assumed"',
    },
    needed=("id", "study", "label", "regimen", "follow_up"),
)
_COVARIATES = Shape(
    {name: "-1.6" if unit == "1" else f'"59.4 {unit}"' for name, unit in _COVARIATE_UNITS.items()}, called="covariate"
)
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
        One row a figure, columns as `COLUMNS`, ``line`` (of the file) and ``offset``: what the published kind of
        statistic of a cohort exceeds the arm's typical patient by (of offsets.csv; 0 without one). Numeric columns are
        float, NaN where empty; every value, spread and offset is in the unit of its endpoint.
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


def class_of(evidence: Evidence, arm: str) -> str:
    """What an arm was given, in a word.

    Parameters
    ----------
    evidence : Evidence
    arm : str
        Its id.

    Returns
    -------
    str
        Kind of its only agent that acts: ``denosumab`` (any binder), ``bisphosphonate``, ``anabolic``; ``placebo`` if
        none does, ``sequences`` if several do.
    """
    acting = [name for name in evidence.arms[arm].agent_names if evidence.agents[name].kind != "none"]
    if len(acting) > 1:
        return "sequences"
    kind = evidence.agents[acting[0]].kind if acting else "none"
    return {"none": "placebo", "binder": "denosumab"}.get(kind, kind)


@checked(folder=path_argument, table=text)
def evidence(folder: str | Path | None = None, *, table: str = "arms") -> Frame:
    """Published study arms and their figures, or those of a folder of your own.

    Parameters
    ----------
    folder : path, optional
        With ``arms.toml`` and ``observations.csv`` (docs/evidence.md); what ships by default.
    table : str
        ``arms``: a row for each arm, with the number of its figures; ``observations``: a row for each figure;
        ``not_used``: what a conversion left out, with the reason.

    Returns
    -------
    Frame

    Raises
    ------
    BadInput
        Every fault of the folder at once, with file, line and column; or if there is no such table.
    """
    if table not in ("arms", "observations", "not_used"):
        raise BadInput(f"table = '{table}' is not possible; give arms, observations or not_used.")
    found = load_evidence(folder)
    if table != "arms":
        return Frame(getattr(found, table), table=f"evidence/{table}")
    figures = found.observations["arm"].value_counts()
    rows = [(a.id, a.study, a.n, int(figures.get(a.id, 0)), a.follow_up, a.text) for a in found.arms.values()]
    columns = ["arm", "study", "n", "figures", "months", "regimen"]
    return Frame(rows, columns=columns, table="evidence/arms")


def load_evidence(path: str | Path | None = None) -> Evidence:
    """Read a folder of evidence, or what ships.

    Parameters
    ----------
    path : path, optional
        Folder with ``arms.toml`` and ``observations.csv``, own agent files if its arms need any, and ``offsets.csv``
        as `ranklsim validate` writes it, if there is one.

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
        observations = _read_observations(_sheet(folder / "observations.csv", NEEDED), arms, ids, agents, faults)
    except BadInput as fault:
        faults += fault.messages
    try:
        observations["offset"] = _read_offsets(folder / "offsets.csv", observations)
    except BadInput as fault:
        faults += fault.messages
    not_used = pd.DataFrame(columns=list(NOT_USED_COLUMNS))
    if (folder / "not_used.csv").is_file():
        try:
            not_used = _read_not_used(_sheet(folder / "not_used.csv", NOT_USED_COLUMNS))
        except BadInput as fault:
            faults += fault.messages
    if faults:
        raise BadInput(*faults)
    for doubt in _doubts(arms, observations):
        warnings.warn(doubt, Caution, stacklevel=2)
    return Evidence(folder, arms, observations, not_used, agents)


def _doubts(arms: Mapping[str, Arm], observations: pd.DataFrame) -> list[str]:
    """Sentences on columns whose values all lie where another unit, or another sign, would put them."""
    said = []
    for name, own in observations.groupby("endpoint", sort=False):
        low, high = own["value"].min(), own["value"].max()
        small = SMALL_SHARE if name in SHARES else SMALL_CHANGE
        if ENDPOINTS[str(name)].unit == "%" and len(own) >= FEW and max(-low, high) < small:
            said.append(
                f"observations.csv: column value: the {len(own)} figures of {name} are all from {low:g} to {high:g} %; "
                "5 % is written as 5 with unit %, or as 0.05 with unit 1."
            )
    scores = [value for arm in arms.values() for name, value in arm.covariates.items() if name.startswith("T_")]
    if scores and min(scores) > 0:
        said.append(
            f"arms.toml: the T-scores of all arms are above 0, from {min(scores):g} to {max(scores):g}; that of low "
            "BMD is negative, such as -2.5."
        )
    return said


# --- arms ---


def _read_arms(folder: Path, faults: list[str], agents: dict[str, Agent]) -> tuple[dict[str, Arm], set[str]]:
    """Arms without fault, and the ids of all: an observation in a faulty arm is not in an unknown one."""
    path = folder / "arms.toml"
    root = open_toml(path.name, read_content(path, what="TOML file"), _FILE, named=("arm",))
    arms: dict[str, Arm] = {}
    first: dict[str, int] = {}
    tables = root.tables("arm", _ARM)
    if root.data.get("arm") == []:
        root.fault("arm", "there is no arm; give one or more tables [[arm]].")
    for table in tables:
        arm = _arm(table, folder, agents)
        if arm.id in first:
            table.fault("id", f"this id appears twice, first in line {first[arm.id]}; give each arm its own.")
        elif arm.id:
            first[arm.id] = root.faults.line(table.at("id"))
        if not root.faults.touch(table.path):
            arms[arm.id] = arm
    faults += root.faults.messages()
    return arms, set(first)


def _arm(table: Table, folder: Path, agents: dict[str, Agent]) -> Arm:
    """One arm; its faults are noted."""
    text = table.text("regimen", "")
    regimens = _regimens(table, text, folder, agents) if text else []
    follow_up = table.quantity("follow_up", "mo", math.nan, least=0, most=MOST_MONTHS)
    last = max((r.times_days()[-1] for r in regimens), default=0.0) / DAYS_PER_MONTH
    if follow_up < last - 1e-6:
        table.fault("follow_up", f"`follow_up` ends at {follow_up:g} mo, before the last dose at {last:.4g} mo.")
    kinds = {agents[r.agent].kind for r in regimens if r.agent in agents}
    return Arm(
        id=table.text("id", "").strip(),
        study=table.text("study", "").strip(),
        label=table.text("label", "").strip(),
        text=text.strip(),
        regimens=regimens,
        covariates=_covariates(table),
        follow_up=follow_up,
        population=table.text("population", "").strip(),
        n=table.whole("n", None, least=1, most=MOST_PATIENTS),
        doi=table.text("doi", "").strip(),
        note=table.text("note", "").strip(),
        placebo=kinds <= {"none"},
    )


def _regimens(table: Table, text: str, folder: Path, agents: dict[str, Agent]) -> list[Regimen]:
    def read(where: str) -> list[Regimen]:
        regimens = parse_regimen(text, folder=folder, where=where)
        check_sequence(regimens, where)
        for regimen in regimens:
            if regimen.agent not in agents:
                agents[regimen.agent] = load_agent(regimen.agent, folder=folder, where=where)
        return regimens

    return table.faults.attempt(table.at("regimen"), read) or []


def _covariates(arm: Table) -> dict[str, float]:
    table = arm.table("covariates", _COVARIATES)
    values: dict[str, float] = {}
    for name in [] if table is None else [name for name in table.data if name in _COVARIATE_UNITS]:
        assert table is not None
        value = table.quantity(name, _COVARIATE_UNITS[name], None)
        if value is not None:
            values[name] = value
            here, where = table.at(name), table.faults.where(table.at(name))
            try:
                covariate_symbols(load_parameters(), {name: value}, where)
            except BadInput as fault:
                for message in fault.messages:
                    table.faults.add_message(here, message)
    return values


# --- observations ---


def _read_observations(
    sheet: Sheet, arms: dict[str, Arm], ids: set[str] | None, agents: dict[str, Agent], faults: list[str]
) -> pd.DataFrame:
    for column in sheet.columns:
        if column not in COLUMNS:
            hint = near(column, COLUMNS, f"the columns are {', '.join(COLUMNS)}.")
            faults.append(f"{sheet.name}:{sheet.head}: column {column}: there is no such column; {hint}")
    named = {
        "endpoint": ENDPOINTS,
        "site_or_marker": (*SITES, *MARKERS, *agents),
        "statistic": STATISTICS,
        "phase": PHASES,
    }
    if turned := exchanged(sheet, named | {"verification": VERIFICATIONS, "arm": ids or ()}):
        raise BadInput(*turned)
    rows, wrong = [], list(sheet.faults)
    first: dict[tuple[object, ...], int] = {}
    for row in sheet.rows():
        figure = _Figure(row, arms, ids, agents)
        figure.check()
        key = (*map(row.text, ("arm", "control", "endpoint", "site_or_marker")), *map(str, figure.months()))
        if not row.faults and key in first:
            row.fault(
                "value",
                f"the same figure (arm, endpoint, site_or_marker, month) stands in line {first[key]}; "
                "keep one of the two.",
            )
        wrong += row.faults
        if last := unread(wrong, row.where):
            wrong += last
            break
        first.setdefault(key, row.line)
        own = figure.numbers | {"unit": figure.unit, "line": row.line, "below": figure.below}
        rows.append(dict.fromkeys(COLUMNS, "") | row.cells | own)
    faults += first_faults(sheet.name, wrong)
    if not rows:
        faults.append(f"{sheet.name}:2: there is no observation; give one figure a row.")
    frame = pd.DataFrame(rows, columns=[*COLUMNS, "line", "below"])
    return frame.astype(dict.fromkeys(NUMERIC, float) | {"below": bool})


def gap(predicted: NDArray[np.float64], observed: NDArray[np.float64], below: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Predicted less observed; 0 where the figure is only known to be below its limit, and the prediction is.

    Parameters
    ----------
    predicted : ndarray, shape (..., n)
    observed : ndarray, shape (n,)
        The limit where `below`.
    below : ndarray of bool, shape (n,)
    """
    found = predicted - observed
    return np.where(below, np.maximum(found, 0.0), found)


class _Figure:
    """One row of observations.csv: its numbers, and the checks that it must pass."""

    def __init__(self, row: Row, arms: dict[str, Arm], ids: set[str] | None, agents: dict[str, Agent]) -> None:
        self.row, self.arms, self.ids, self.agents = row, arms, ids, agents
        self.below = row.text("value").startswith("<")
        if self.below:
            row.cells["value"] = row.text("value").lstrip("<= ")
        self.numbers = {column: row.number(column, needed=column in ("month", "value")) for column in NUMERIC}
        self.unit = row.text("unit")

    def months(self) -> tuple[float, float]:
        return self.numbers["month_from"], self.numbers["month"]

    def check(self) -> None:
        """Note every fault, and bring the numbers to the unit of their endpoint."""
        row, n = self.row, self.numbers["n"]
        for column in ("study", "source"):
            if not row.text(column):
                row.fault(column, "it is empty; say which.")
        row.choice("statistic", STATISTICS)
        phased = row.choice("phase", PHASES)
        row.choice("verification", VERIFICATIONS)
        arm = self._arm("arm", needed=True)
        if row.choice("endpoint", ENDPOINTS):
            endpoint = ENDPOINTS[row.text("endpoint")]
            self._subject(endpoint, arm)
            self._control(endpoint)
            self._months(endpoint, arm)
            self._spread()
            self._unit(endpoint)
            value = self.numbers["value"]
            if self.below and row.text("endpoint") not in LIMITED:
                row.fault("value", f"only {one_of(LIMITED)} can be below a limit; give the number without '<'.")
            elif value == 0 and row.text("endpoint") in LIMITED:
                row.fault(
                    "value", "0 is below the limit of every assay; give more than 0, or < and that limit, as in <0.02."
                )
            elif not math.isnan(value) and not endpoint.above < value < MOST_VALUE:
                ends = f"give more than {endpoint.above:g} and less than {MOST_VALUE:g} {endpoint.unit}"
                row.fault("value", f"{value:g} {endpoint.unit} is not possible; {ends}.")
        if n == n and (n < 1 or n != int(n)):
            row.fault("n", f"{row.text('n')} is not a number of patients; give a whole number, or nothing.")
        if arm and phased:
            self._phase(arm)

    def _arm(self, column: str, needed: bool) -> Arm | None:
        name = self.row.text(column)
        if self.ids is None or name in self.ids or not (name or needed):
            return self.arms.get(name)
        give = "give the id of an arm of arms.toml."
        said = f"unknown arm '{name}'; {near(name, self.ids, give)}" if name else f"it is empty; {give}"
        self.row.fault(column, said)
        return None

    def _subject(self, endpoint: Endpoint, arm: Arm | None) -> None:
        name = self.row.text("site_or_marker")
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
            names = f"{self.row.text('endpoint')} is of {', '.join(known) or 'an antibody, and this arm is given none'}"
            self.row.fault("site_or_marker", f"unknown {kinds} '{name}'; {near(name, known, f'{names}.')}")

    def _control(self, endpoint: Endpoint) -> None:
        row, name = self.row, self.row.text("control")
        kind = row.text("endpoint")
        if endpoint.control and not name:
            row.fault("control", f"it is empty; {kind} needs the id of the arm compared with.")
        elif not endpoint.control and name:
            row.fault("control", f"{kind} is compared with no other arm; leave it empty.")
        elif endpoint.control:
            control = self._arm("control", needed=False)
            if control and name == row.text("arm"):
                row.fault("control", "it is the arm itself; give the id of another.")
            elif control and self.numbers["month"] > control.follow_up + 1e-6:
                self._late(self.numbers["month"], control)

    def _months(self, endpoint: Endpoint, arm: Arm | None) -> None:
        begin, month = self.numbers["month_from"], self.numbers["month"]
        if endpoint.month_from and not self.row.text("month_from"):
            self.row.fault("month_from", f"it is empty; {self.row.text('endpoint')} needs the month from which.")
        elif not endpoint.month_from and self.row.text("month_from"):
            self.row.fault("month_from", f"{self.row.text('endpoint')} is counted from month 0; leave it empty.")
        if begin < 0:
            self.row.fault("month_from", f"{begin:g} lies before the first dose at month 0; give 0 or later.")
        if month < 0 or (month == 0 and "agent" not in endpoint.of):
            self.row.fault("month", f"{month:g} is not after month 0, to which all is compared; leave the row out.")
        elif begin >= month:
            self.row.fault("month_from", f"{begin:g} is not before month {month:g}; exchange the two if that is meant.")
        if arm and month > arm.follow_up + 1e-6:
            self._late(month, arm)

    def _late(self, month: float, arm: Arm) -> None:
        self.row.fault(
            "month",
            f"{month:g} is beyond the protocol of '{arm.id}', which is followed for {arm.follow_up:g} mo; "
            "correct one of the two.",
        )

    def _spread(self) -> None:
        given, kind, value = self.numbers["spread"], self.row.text("spread_type"), self.numbers["value"]
        low, high = self.numbers["spread_low"], self.numbers["spread_high"]
        ends = [c for c in ("spread_low", "spread_high") if self.row.text(c)]
        if not kind:
            for column in [c for c in ("spread", *ends) if self.row.text(c)][:1]:
                self.row.fault("spread_type", f"it is empty, but {column} is given; say {', '.join(SPREADS)}.")
            return
        if not self.row.choice("spread_type", SPREADS):
            return
        if SPREADS[kind] == 1:
            if given <= 0:
                self.row.fault(
                    "spread", f"{given:g} is not above 0; correct it, or leave spread and spread_type empty."
                )
            elif not self.row.text("spread"):
                self.row.fault("spread", f"it is empty; give the {kind}, or leave spread_type empty too.")
            for column in ends[:1]:
                self.row.fault(
                    column, f"an {kind} is one number in column spread; leave spread_low and spread_high empty."
                )
            return
        if self.row.text("spread"):
            self.row.fault("spread", f"{kind} is two numbers; give them as spread_low and spread_high.")
        if len(ends) < 2:
            missing = "spread_high" if ends == ["spread_low"] else "spread_low"
            self.row.fault(missing, f"it is empty; give both ends of the {kind}.")
        elif low >= high:
            self.row.fault("spread_low", f"{low:g} is not below spread_high {high:g}; exchange the two.")
        elif not low <= value <= high and not math.isnan(value):
            self.row.fault("value", f"{value:g} lies outside its own {kind} of {low:g} to {high:g}; correct one.")

    def _unit(self, endpoint: Endpoint) -> None:
        if self.unit == endpoint.unit:
            return
        if not self.unit:
            self.row.fault("unit", f"it is empty; {self.row.text('endpoint')} is given in '{endpoint.unit}'.")
            return
        right = f"{self.row.text('endpoint')} is given in '{endpoint.unit}'"
        try:
            check_unit(self.unit)
        except BadInput as fault:
            self.row.fault("unit", f"{fault.messages[0].rstrip('.')} ({right}).")
            return
        try:
            for column in ("value", "spread", "spread_low", "spread_high"):
                self.numbers[column] = convert(self.numbers[column], self.unit, endpoint.unit)
        except BadInput:
            self.row.fault("unit", f"'{self.unit}' can't be turned into '{endpoint.unit}'; {right}.")
        self.unit = endpoint.unit

    def _phase(self, arm: Arm) -> None:
        phase, month = self.row.text("phase"), self.numbers["month"]
        ended = max(regimen.end_day for regimen in arm.regimens) / DAYS_PER_MONTH
        if (phase == "untreated") != arm.placebo:
            right = "'untreated'" if arm.placebo else "'on' or 'off'"
            self.row.fault("phase", f"it is '{phase}', but '{arm.id}' is given {arm.text}; write {right}.")
        elif phase == "off" and month < ended - 1e-6:
            self.row.fault("phase", f"it is 'off' at month {month:g}, but the last interval ends at {ended:.4g} mo.")


def _read_offsets(path: Path, observations: pd.DataFrame) -> pd.Series:
    """Offset of each observation; 0 where the file has none. Rows of other figures are passed over."""
    if not path.is_file():
        return pd.Series(0.0, index=observations.index)
    sheet = _sheet(path, (*FIGURE, "offset"))
    rows, faults = [], list(sheet.faults)
    for row in sheet.rows():
        numbers = {column: row.number(column, needed=column == "offset") for column in NUMERIC_OF_OFFSETS}
        rows.append({column: row.text(column) for column in FIGURE} | numbers)
        faults += row.faults
    if faults:
        raise BadInput(*first_faults(sheet.name, faults))
    offsets = pd.DataFrame(rows, columns=[*FIGURE, "offset"]).drop_duplicates(list(FIGURE))
    return observations[list(FIGURE)].merge(offsets, how="left", on=list(FIGURE))["offset"].fillna(0.0).astype(float)


def _read_not_used(sheet: Sheet) -> pd.DataFrame:
    rows = list(sheet.rows())
    for row in rows:
        if not row.text("reason"):
            row.fault("reason", "it is empty; say why.")
    if faults := [*sheet.faults, *(fault for row in rows for fault in row.faults)]:
        raise BadInput(*first_faults(sheet.name, faults))
    return pd.DataFrame([row.cells for row in rows], columns=list(NOT_USED_COLUMNS))


def _sheet(path: Path, needed: tuple[str, ...]) -> Sheet:
    return read_csv(path.name, read_content(path, what="CSV file"), needed)
