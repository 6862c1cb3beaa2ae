"""Reading a trial: from a TOML file that a clinician can check against a protocol synopsis to a `Trial`.

All faults of a file are found before the first patient runs and reported together, each in one sentence that says
file and line, what is wrong and what would be right.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from ranklsim.cohorts import events
from ranklsim.cohorts.people.criteria import Range, Stratum, parse_range, parse_stratum
from ranklsim.cohorts.people.population_file import find_population, list_populations
from ranklsim.cohorts.protocol.conduct_reading import ConductReading
from ranklsim.cohorts.protocol.design import (
    MOST_PATIENTS,
    Arm,
    Layers,
    Population,
    Trial,
    Visits,
    bad_patients,
    bad_seed,
)
from ranklsim.cohorts.protocol.interim_reading import read_interim
from ranklsim.cohorts.protocol.objectives import Objectives
from ranklsim.cohorts.protocol.robustness_reading import read_per_protocol, read_tipping
from ranklsim.cohorts.protocol.schema import (
    ArmTable,
    PopulationTable,
    StepTable,
    TrialTable,
    check_shape,
)
from ranklsim.cohorts.protocol.terms import Conduct
from ranklsim.pkpd.agents import load_agent
from ranklsim.pkpd.dosing import Regimen, check_sequence
from ranklsim.pkpd.errors import BadInput, closest, near
from ranklsim.pkpd.reading import TOO_LARGE, Faults, load_toml
from ranklsim.pkpd.tomltext import Key
from ranklsim.pkpd.units import DAYS_PER_MONTH, parse_quantity

__all__ = [
    "Arm",
    "Conduct",
    "Layers",
    "Population",
    "Trial",
    "Visits",
    "list_trials",
    "load_trial",
    "trials",
]

T = TypeVar("T")

TRIALS = Path(__file__).parents[1] / "data" / "trials"
LONGEST = 1200.0  # months; like the limits below, beyond this a number is a slip
MOST_DOSES = 50_000  # of one regimen; twice a day for 68 years
MOST_DRAWS = 100_000
LARGEST_SHARE = 1000

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_SAME_DAY = 1e-6  # days; rounding of a time that was converted between units
_UNKNOWN = Regimen("", 0.0, 0.0, 0.0, 1, together=True)  # keeps the count where a regimen is faulty; overlaps nothing


def load_trial(trial: str | Path, *, folder: Path | None = None, populations: Path | None = None) -> Trial:
    """Read and check a trial.

    Parameters
    ----------
    trial : str or Path
        A shipped trial's name (`list_trials`), or the path of a TOML file; what ends in ``.toml`` or names a folder
        is a path.
    folder : Path, optional
        Where the user's own agents are; the folder of the file if not given.
    populations : Path, optional
        Where the user's own populations are; the folder of the file if not given.

    Returns
    -------
    Trial

    Raises
    ------
    BadInput
        With one message a fault, all of the file's at once.
    """
    text = str(trial)
    is_path = isinstance(trial, Path) or text.endswith(".toml") or "/" in text or "\\" in text
    path = Path(trial) if is_path else TRIALS / f"{text}.toml"
    if not is_path and text not in shipped():
        hint = f"`ranklsim trials` lists all {len(shipped())}, or give the path of a TOML file."
        raise BadInput(f"unknown trial '{text}'; {near(text, shipped(), ' ')} {hint}".replace(";   `", "; `"))
    data, source = load_toml(path)
    return _Reading(data, source, path, folder or path.parent, populations or path.parent).trial()


def shipped() -> list[str]:
    """Names of the trials that come with ranklsim."""
    return sorted(path.stem for path in TRIALS.glob("*.toml"))


def list_trials() -> list[Trial]:
    """The trials that come with ranklsim, by name."""
    return [load_trial(name) for name in shipped()]


def trials() -> pd.DataFrame:
    """The trials that ship, one row each: name, title, arms, patients, months."""
    rows = [(t.name, t.title, len(t.arms), t.population.patients, t.months) for t in list_trials()]
    return pd.DataFrame(rows, columns=["name", "title", "arms", "patients", "months"])


class _Reading:
    """One file on its way to a trial; every method that finds a fault notes it and goes on with what is left."""

    def __init__(self, data: dict[str, Any], text: str, path: Path, folder: Path, populations: Path) -> None:
        self.text, self.path, self.folder, self.populations = text, path, folder, populations
        self.faults = Faults(path.name, text, data, ("arm", "endpoint", "estimand"))
        self.tables = check_shape(data, self.faults)
        self.names_known = True  # false once an arm's name is missing, unusable or used twice

    def trial(self) -> Trial:
        tables = self.tables
        name = self._name(tables)
        months = self._months(tables.months)
        self._whole(("uncertainty_draws",), tables.uncertainty_draws, MOST_DRAWS)
        if tables.seed is not None:
            self._each(("seed",), bad_seed(tables.seed))
        if tables.title is not None and not tables.title.strip():
            self.faults.add(("title",), "title is empty; say in a line what the trial compares.")
        arms = [self._arm(index, arm, months) for index, arm in enumerate(tables.arm or [])]
        names = self._arm_names()
        control = self._control(tables.control, names)
        population = self._population(tables.population, names)
        visits = self._visits(months)
        known = len(self.faults.messages())
        conduct = ConductReading(
            self.faults, self._quantity, tables.conduct, arms if self.names_known else [], months, self.folder
        ).conduct()
        wrong = len(self.faults.messages()) > known or any(path[0] == "conduct" for path in self.faults.answered)
        recorded = events.EVENTS if wrong else conduct.recorded  # what a faulty table would record is not known
        objectives = Objectives(tables, self.faults, names, control, visits, months, self._quantity, recorded)
        endpoints = objectives.endpoints()
        estimands = objectives.estimands(endpoints)
        multiplicity = objectives.multiplicity(endpoints)
        interim = read_interim(objectives, endpoints)
        tipping = read_tipping(objectives, endpoints)
        per_protocol = read_per_protocol(objectives)
        self._whole(("twins",), tables.twins, MOST_PATIENTS)
        if messages := self.faults.messages():
            raise BadInput(*messages)
        assert tables.title is not None  # these four are needed, so that there would have been a fault
        assert tables.seed is not None
        assert months is not None
        assert population is not None
        return Trial(
            name=name,
            title=tables.title,
            description=tables.description,
            sources=tables.sources,
            seed=tables.seed,
            months=months,
            control=control,
            population=population,
            arms=arms,
            visits=visits,
            endpoints=endpoints,
            conduct=conduct,
            layers=Layers(**tables.layers.model_dump()),
            uncertainty_draws=tables.uncertainty_draws,
            estimands=estimands,
            multiplicity=multiplicity,
            interim=interim,
            tipping=tipping,
            per_protocol=per_protocol,
            twins=tables.twins,
            source_text=self.text,
            folder=self.folder,
            populations=self.populations,
        )

    # the whole

    def _name(self, tables: TrialTable) -> str:
        name = self.path.stem if tables.name is None else tables.name
        if tables.name is not None and not _NAME.fullmatch(name):
            self.faults.add(("name",), f"name '{name}' is not usable; use letters, digits, '_' and '-'.")
        return name

    def _months(self, months: float | None) -> float | None:
        if months is None:
            return None
        if not 0 < months <= LONGEST:
            self.faults.add(("months",), f"months = {months:g} is not possible; give a number up to {LONGEST:g}.")
            return None
        return float(months)

    def _control(self, control: str | None, names: list[str]) -> str | None:
        if control is None and len(names) > 1:
            self.faults.add(
                ("control",),
                f'control is missing; name the arm that all are compared with, such as control = "{names[0]}".',
            )
        elif control is not None and names and control not in names and self.names_known:
            self.faults.add(("control",), f"control '{control}' is not an arm; {near(control, names)}")
        return control

    # arms

    def _arm_names(self) -> list[str]:
        """Names of the arms, each once; notes those that are missing, unusable or used twice."""
        if self.tables.arm is not None and not self.tables.arm:
            self.faults.add(("arm",), "there is no arm; give one or more tables [[arm]].")
        names: list[str] = []
        for index, arm in enumerate(self.tables.arm or []):
            at = self.faults.at(("arm", index, "name"))
            if arm.name is not None and not _NAME.fullmatch(arm.name):
                fault = "is not usable; use letters, digits, '_' and '-', and say the rest in label."
            elif arm.name in names:
                fault = "is used twice; give each arm its own."
            else:
                if arm.name is not None:
                    names.append(arm.name)
                self.names_known &= arm.name is not None
                continue
            self.names_known = False
            self.faults.add_message(("arm", index, "name"), f"{at}: arm name '{arm.name}' {fault}")
        return names

    def _arm(self, index: int, arm: ArmTable, months: float | None) -> Arm:
        path: Key = ("arm", index)
        regimens: list[Regimen] = []
        begin: float | None = 0.0  # day of the last step's first dose; None where a fault hides it
        end: float | None = 0.0  # day from which nothing is planned
        single = 0  # number of the last step, if it is a single dose of which nothing says how long it counts
        for number, step in enumerate(arm.regimen or []):
            here: Key = (*path, "regimen", number)
            if single and step.start is None and not step.together:
                self.faults.add(
                    (*here, "start"),
                    f"start is missing; give one, since regimen {single} is a single dose without `every`.",
                )
            start = begin if step.together else end
            if step.start is not None:
                start = self._quantity((*here, "start"), step.start, "day")
                if start is not None and start < 0:
                    self.faults.add(
                        (*here, "start"), f'start is "{step.start}", before randomisation; start at 0 mo or later.'
                    )
                    start = None
            regimen, length = self._step(here, step, start)
            regimens.append(regimen or _UNKNOWN)
            if regimen is not None:
                self._ends_with_trial(here, regimen, months)
            if not step.together:
                begin = None if regimen is None else regimen.start_day
                end = None if regimen is None else max(regimen.end_day, regimen.start_day + length)
                single = number + 1 if regimen is not None and regimen.every_days == 0 else 0
        try:
            check_sequence(regimens, lambda number: self.faults.where((*path, "regimen", number, "start"), arm=True))
        except BadInput as fault:
            for message in fault.messages:
                self.faults.add_message(path, message)
        name = arm.name or str(index + 1)
        return Arm(name, arm.label or name, regimens)

    def _step(self, path: Key, step: StepTable, start_day: float | None) -> tuple[Regimen | None, float]:
        """A regimen, None if it has a fault, and the days that it is said to last (0 if that is not said)."""
        kind = None
        if step.agent is not None:
            try:
                kind = load_agent(step.agent, folder=self.folder, where=self.faults.at((*path, "agent"))).kind
            except BadInput as fault:
                for message in fault.messages:
                    self.faults.add_message((*path, "agent"), message)
        dose: float | None = 0.0
        if step.dose is not None:
            dose = self._positive((*path, "dose"), step.dose, "mg")
        elif kind != "none":
            dose = None
            if kind is not None:
                self.faults.add((*path, "dose"), 'dose is missing; give it with its unit, such as dose = "60 mg".')
        every = 0.0 if step.every is None else self._positive((*path, "every"), step.every, "day")
        length = 0.0 if step.for_ is None else self._positive((*path, "for"), step.for_, "day")
        doses = self._doses(path, step, every, length)
        wrong = any(told[: len(path)] == path for told in self.faults.answered)
        if kind is None or dose is None or every is None or length is None or doses is None or wrong:
            return None, 0.0
        if step.agent is None or start_day is None:
            return None, 0.0
        return Regimen(step.agent, dose, start_day, every, doses, together=step.together), length

    def _doses(self, path: Key, step: StepTable, every: float | None, length: float | None) -> int | None:
        """How many doses: as given, as many as fill the time given, or a single one."""
        if {(*path, "doses"), (*path, "for")} & self.faults.answered:
            return None
        if step.doses is not None and step.for_ is not None:
            self.faults.add((*path, "for"), "both doses and for are given; leave one of them out.")
            return None
        if step.doses is None and step.for_ is None:
            if step.every is None:
                return 1
            self.faults.add(path, 'doses is missing; say doses = 4, or for = "24 mo" to fill that time.')
            return None
        if step.doses is not None and not self._whole((*path, "doses"), step.doses, MOST_DOSES):
            return None
        if step.every is None and step.doses != 1:
            self.faults.add((*path, "every"), 'every is missing; say how often, such as every = "6 mo".')
            return None
        if step.doses is not None or not every or not length:
            return step.doses
        fill = length / every * (1 + 1e-12)
        if fill > MOST_DOSES:
            self.faults.add((*path, "every"), f'every = "{step.every}" gives more than {MOST_DOSES} doses; give fewer.')
            return None
        doses = math.floor(fill)
        if doses < 1:
            self.faults.add((*path, "for"), f'for = "{step.for_}" is shorter than one interval, "{step.every}".')
            return None
        return doses

    def _ends_with_trial(self, path: Key, regimen: Regimen, months: float | None) -> None:
        if months is not None and regimen.end_day > months * DAYS_PER_MONTH + _SAME_DAY:
            needed = math.ceil(regimen.end_day / DAYS_PER_MONTH - _SAME_DAY)
            self.faults.add(
                path,
                f"lasts until {regimen.end_day / DAYS_PER_MONTH:.4g} mo, but the trial ends at {months:g} mo; "
                f"set months = {needed} or more, or give fewer doses.",
            )

    # population

    def _population(self, table: PopulationTable | None, names: list[str]) -> Population | None:
        if table is None:
            return None
        if table.name is not None and find_population(table.name, self.populations) is None:
            known = list_populations()
            hint = f"{near(table.name, known)} One of your own is a file beside the trial's, {table.name}.toml."
            self.faults.add(("population", "name"), f"unknown population '{table.name}'; {hint}")
        if table.patients is not None:
            self._each(("population", "patients"), bad_patients(table.patients, len(names)))
        eligible = {}
        for covariate, text in (table.eligible or {}).items():
            found = self._try(("population", "eligible", covariate), partial(_range_at, covariate=covariate, text=text))
            if found is not None:
                eligible[covariate] = found
        strata = table.strata or []
        for index, text in enumerate(strata):
            path: Key = ("population", "strata", index)
            self._try(path, partial(_stratum_at, text=text))
            if text in strata[:index]:
                self.faults.add(path, f'stratum "{text}" is there twice; give it once.')
        ratio = self._ratio(table.ratio, names)
        if table.name is None or table.patients is None:
            return None
        return Population(table.name, table.patients, eligible, strata, ratio)

    def _ratio(self, ratio: dict[str, int] | None, names: list[str]) -> dict[str, float]:
        if ratio is None:
            return dict.fromkeys(names, 1)
        misspelt = set()
        for name, share in ratio.items():
            path: Key = ("population", "ratio", name)
            if name not in names and names and self.names_known:
                misspelt.add(closest(name, names))
                self.faults.add(path, f"ratio names '{name}', which is not an arm; {near(name, names)}")
            if share < 1:
                self.faults.add(path, f"ratio {name} = {share} is not positive; give a whole number of at least 1.")
            elif share > LARGEST_SHARE:
                self.faults.add(path, f"ratio {name} = {share} is too large; give at most {LARGEST_SHARE}.")
        for name in names:
            told = name in misspelt or ("population", "ratio", name) in self.faults.answered
            if name not in ratio and not told and self.names_known:
                self.faults.add(("population", "ratio"), f"ratio leaves out arm '{name}'; add {name} = 1.")
        return {name: ratio[name] for name in names if name in ratio}

    # visits

    def _visits(self, months: float | None) -> Visits:
        found: dict[str, tuple[float, ...]] = {}
        for kind in ("BMD", "markers"):
            times = None if self.tables.visits is None else getattr(self.tables.visits, kind)
            if times is not None:
                self._times(("visits", kind), times, months)
            found[kind] = tuple(float(month) for month in times or ())
        return Visits(**found)

    def _times(self, path: Key, times: list[float], months: float | None) -> None:
        kind = path[-1]
        if not times or times[0] > 0:
            self.faults.add(path, f"visits {kind} has no baseline; begin with 0.")
        for index, month in enumerate(times):
            here = (*path, index)
            if not math.isfinite(month) or month < 0:
                self.faults.add(here, f"visits {kind} has a visit at {month:g} mo; give months of at least 0.")
            elif months is not None and month > months:
                self.faults.add(
                    here,
                    f"visits {kind} has a visit at {month:g} mo, but the trial ends at {months:g} mo; "
                    f"leave it out or set months = {month:g}.",
                )
            if index and month <= times[index - 1]:
                self.faults.add(
                    here,
                    f"visits {kind} has {month:g} after {times[index - 1]:g}; put the months in order, each once.",
                )

    # small things

    def _quantity(self, path: Key, text: str, unit: str) -> float | None:
        joint = ": " if self.faults.where(path) == self.faults.at(path) else ", "
        value = self._try(path, lambda where: parse_quantity(text, unit, where=f"{where}{joint}{path[-1]}"))
        if value is not None and not abs(value) < TOO_LARGE:
            self.faults.add(path, f'{path[-1]} is "{text}", which is too large; check number and unit.')
            return None
        return value

    def _positive(self, path: Key, text: str, unit: str) -> float | None:
        value = self._quantity(path, text, unit)
        if value is not None and value <= 0:
            self.faults.add(path, f'{path[-1]} is "{text}", which is not positive; give more than 0.')
            return None
        return value

    def _whole(self, path: Key, value: int, most: int) -> bool:
        if 1 <= value <= most:
            return True
        self.faults.add(path, f"{path[-1]} = {value} is not possible; give a whole number from 1 to {most}.")
        return False

    def _each(self, path: Key, sentences: list[str]) -> None:
        for sentence in sentences:
            self.faults.add(path, sentence)

    def _try(self, path: Key, read: Callable[[str], T]) -> T | None:
        """What `read` makes of a place's text, or None with the faults noted."""
        try:
            return read(self.faults.where(path))
        except BadInput as fault:
            for message in fault.messages:
                self.faults.add_message(path, message)
            return None


def _range_at(where: str, covariate: str, text: str) -> Range:
    return parse_range(covariate, text, where=where)


def _stratum_at(where: str, text: str) -> Stratum:
    return parse_stratum(text, where=where)
