"""Reading a trial: from a TOML file that a clinician can check against a protocol synopsis to a `Trial`.

All faults of a file are found before the first patient runs and reported together, each in one sentence that says
file and line, what is wrong and what would be right.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, overload

import pandas as pd
import tomlkit

from ranklsim.cohorts import events
from ranklsim.cohorts.measures import DRUG, MARKER_MEASURES, UNITS
from ranklsim.cohorts.people.criteria import Stratum, parse_stratum
from ranklsim.cohorts.people.population_file import find_population, list_populations, load_population
from ranklsim.cohorts.protocol.conduct import CONDUCT, RULE, Conduct, dose_of, read_conduct
from ranklsim.cohorts.protocol.design import (
    EACH,
    SEEDS,
    Arm,
    Courses,
    Layers,
    Population,
    Trial,
    Visits,
    bad_patients,
)
from ranklsim.cohorts.protocol.interim import read_interim
from ranklsim.cohorts.protocol.midd import read_midd
from ranklsim.cohorts.protocol.objectives import Objectives, read_range
from ranklsim.cohorts.protocol.robustness import read_per_protocol, read_tipping
from ranklsim.pkpd import given
from ranklsim.pkpd.agents import Agent, load_agent
from ranklsim.pkpd.arguments import Kind, checked, instance
from ranklsim.pkpd.arguments import path as argument_path
from ranklsim.pkpd.arguments import text as argument_text
from ranklsim.pkpd.dosing import Regimen, check_sequence, course_faults
from ranklsim.pkpd.errors import BadInput, closest, near
from ranklsim.pkpd.parameters import load_parameters
from ranklsim.pkpd.reading import (
    MOST_ARMS,
    MOST_DOSES,
    MOST_MONTHS,
    MOST_PATIENTS,
    MOST_TOML_BYTES,
    MOST_VISITS,
    Faults,
    Shape,
    Table,
    load_toml,
    parse_toml,
)
from ranklsim.pkpd.records import as_steps, load_records
from ranklsim.pkpd.results import Frame
from ranklsim.pkpd.units import DAYS_PER_MONTH

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

TRIALS = Path(__file__).parents[1] / "data" / "trials"
MOST_DRAWS = 100_000
LARGEST_SHARE = 1000
NODES = 400
"""Different days of doses that an exposure endpoint can follow, where each patient has her own."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_SAME_DAY = 1e-6  # days; rounding of a time that was converted between units
_UNKNOWN = Regimen("", 0.0, 0.0, 0.0, 1, together=True)  # keeps the count where a regimen is faulty; overlaps nothing

TRIAL = Shape(
    {
        "name": '"freedom"',
        "title": '"Denosumab against placebo, 36 months"',
        "description": '"What denosumab does to bone density."',
        "sources": '["Cummings SR et al. 2009. doi:10.1056/NEJMoa0809493"]',
        "seed": "20260",
        "months": "36",
        "control": '"placebo"',
        "uncertainty_draws": "200",
        "population": "a table [population]",
        "arm": "one or more tables [[arm]]",
        "visits": "a table [visits]",
        "endpoint": "one or more tables [[endpoint]]",
        "comparison": "one or more tables [[comparison]]",
        "estimand": "one or more tables [[estimand]]",
        "multiplicity": "a table [multiplicity]",
        "interim": "a table [interim]",
        "tipping_point": "a table [tipping_point]",
        "per_protocol": "a table [per_protocol]",
        "midd": "a table [midd]",
        "twins": "2000",
        "conduct": "a table [conduct]",
        "layers": "a table [layers]",
    },
    needed=("title", "seed", "months", "population", "arm", "visits", "endpoint"),
)
ARM = Shape(
    {
        "name": '"denosumab"',
        "label": '"Denosumab 60 mg Q6M"',
        "doses_from": '{ table = "doses.csv", each = "ID" }',
        "regimen": '[{ agent = "denosumab", dose = "60 mg", every = "6 mo", doses = 4 }]',
    },
    needed=("name", "regimen"),
)
STEP = Shape(
    {
        "agent": '"denosumab"',
        "dose": '"60 mg"',
        "cap": '"120 mg"',
        "every": '"6 mo"',
        "doses": "4",
        "for": '"24 mo"',
        "start": '"24 mo"',
        "over": '"15 min"',
        "steady": "true or false",
        "together": "true or false",
    },
    needed=("agent",),
)
DOSES_FROM = Shape(
    {
        "table": '"doses.csv"',
        "patient": '"1"',
        "each": '"ID" or "turn"',
        "time": '"days" or "hours"',
        "agent": '"denosumab"',
        "records": "the table itself, as a run keeps it",
    }
)
POPULATION = Shape(
    {
        "name": '"postmenopausal-osteoporosis"',
        "patients": "400",
        "eligible": '{ age = "60..85 yr", T_LS = "-4.0..-2.5" }',
        "strata": '["age >= 75 yr", "prevalent_fracture"]',
        "ratio": "{ placebo = 1, denosumab = 2 }",
    },
    needed=("name", "patients"),
)
VISITS = Shape(
    {
        "BMD": "[0, 12, 24]",
        "markers": "[0, 1, 6, 12, 24]",
        "drug": '[0, "7 day", "14 day", 1, 3, 6]',
        "limits": '{ CTX = "0.03 ng/mL", drug = "20 ng/mL" }',
    },
    needed=("BMD", "markers"),
)
LAYERS = Shape(dict.fromkeys(("patients", "residual", "parameters"), "true or false"))


TrialLike: TypeAlias = str | Path | Mapping[str, Any] | Trial
"""What a public function takes as a trial: a shipped trial's name, a file, the keys of such a file, or a `Trial`."""

TRIAL_LIKE: Kind = instance(Trial, Mapping, or_else=argument_path)
"""Kind of an argument `trial` (`pkpd.arguments`)."""


def load_trial(trial: TrialLike, *, folder: Path | None = None, populations: Path | None = None) -> Trial:
    """Read and check a trial.

    Parameters
    ----------
    trial : str, Path, mapping or Trial
        A shipped trial's name (`list_trials`), or the path of a TOML file; what ends in ``.toml`` or names a folder
        is a path. Or the keys of such a file, in which an `Agent` or the keys of an agent's file may stand for an
        agent's name, and a data frame or the keys of a population's file for a population's.
    folder : Path, optional
        Where the user's own agents are; the folder of the file if not given, the working folder for a mapping.
    populations : Path, optional
        Where the user's own populations are; the folder of the file if not given, the working folder for a mapping.

    Returns
    -------
    Trial

    Raises
    ------
    BadInput
        With one message a fault, all of the file's at once.
    """
    if isinstance(trial, Trial):
        return trial
    if isinstance(trial, Mapping):
        return _given(trial, folder, populations)
    text = str(trial)
    is_path = isinstance(trial, Path) or text.endswith(".toml") or "/" in text or "\\" in text
    path = Path(trial) if is_path else TRIALS / f"{text}.toml"
    if not is_path and text not in shipped():
        hint = f"`ranklsim trials` lists all {len(shipped())}, or give the path of a TOML file."
        raise BadInput(f"unknown trial '{text}'; {near(text, shipped(), also=hint)}")
    return _Reader(path, folder or path.parent, populations or path.parent).trial()


def _given(data: Mapping[str, Any], folder: Path | None, populations: Path | None) -> Trial:
    """A trial from the keys of its file."""
    agents: list[str | Agent] = []
    data = given.without_agents(data, agents)
    beside = Path.cwd() if populations is None else populations
    population = data.get("population")
    if isinstance(population, Mapping) and isinstance(who := population.get("name"), Mapping | pd.DataFrame):
        name, files = given.population_files(who)
        beside, data = given.place(files), {**data, "population": {**population, "name": name}}
    _, folder = given.with_agents(agents, folder)
    return _Reader(Path("trial.toml"), folder, beside, given.as_toml(data, "trial")).trial()


def shipped() -> list[str]:
    """Names of the trials that come with ranklsim."""
    return sorted(path.stem for path in TRIALS.glob("*.toml"))


def list_trials() -> list[Trial]:
    """The trials that come with ranklsim, by name."""
    return [load_trial(name) for name in shipped()]


@overload
def trials(name: None = None) -> pd.DataFrame: ...
@overload
def trials(name: str) -> dict[str, Any]: ...
@checked(name=argument_text)
def trials(name: str | None = None) -> pd.DataFrame | dict[str, Any]:
    """The trials that ship, or the content of one, to change and to give to `run`.

    Parameters
    ----------
    name : str, optional
        Of a trial that ships, or the path of a file.

    Returns
    -------
    DataFrame or dict
        The keys of the trial's file; or one row for each trial: name, title, arms, patients, months.

    Raises
    ------
    BadInput
        If there is no such trial, or its file is at fault.
    """
    if name is not None:
        return tomllib.loads(load_trial(name).source_text)
    rows = [(t.name, t.title, len(t.arms), t.population.patients, t.months) for t in list_trials()]
    return Frame(rows, columns=["name", "title", "arms", "patients", "months"], table="trials")


def _with_tables(
    data: dict[str, Any], text: str, label: str, beside: Path, folder: Path
) -> tuple[dict[str, Any], str, dict[int, Courses]]:
    """A trial's data and text with the doses of a table of records in place of its name, on the same line.

    So a run keeps the doses themselves, and the table may change or go. Also the courses of single patients, by
    position of their arm, whose regimen in the data is then the middle one of them. `beside` has the tables, `folder`
    agents.
    """
    arms: Any = data.get("arm")
    arms = arms if isinstance(arms, list) else []
    named = [k for k, arm in enumerate(arms) if isinstance(arm, dict) and "doses_from" in arm]
    courses: dict[int, Courses] = {}
    if not named:
        return data, text, courses
    faults, lines = Faults(label, text, data, named=("arm",)), text.split("\n")
    for k in named:
        table = Table(faults, arms[k]["doses_from"], DOSES_FROM, ("arm", k, "doses_from"))
        name, kept = table.text("table", ""), table.text("records", "")
        line = faults.line(("arm", k, "doses_from")) - 1
        each = table.choice("each", EACH, "")
        if bool(name) == bool(kept):
            table.fault((), 'give table = "doses.csv".')
        if each and "patient" in table:
            table.fault("each", "both each and patient are given; leave one of them out.")
        if "regimen" in arms[k]:
            table.fault((), "both regimen and doses_from are given; leave one of them out.")
        if not re.fullmatch(r"\s*doses_from\s*=\s*\{.*\}\s*(#.*)?", lines[line]):
            table.fault((), 'write it on one line, such as doses_from = { table = "doses.csv" }.')
        if faults.touch(table.path):
            continue
        patient, agent = table.text("patient", "") or None, table.text("agent", "") or None
        where = faults.where(("arm", k, "doses_from"))
        records = load_records(
            beside / name if name else label, time=table.text("time", "days"), agent=agent, folder=folder,
            content=kept.encode() if kept else None,
        )  # fmt: skip
        if not each:
            lines[line] = _regimen_line(as_steps(records.of(patient, where)))
            continue
        if not any(records.doses.values()):
            raise BadInput(f"{where}: no patient is given anything in the table.")
        courses[k] = Courses(each, records.doses)
        lines[line] = f"doses_from = {{ each = {_toml(each)}, records = {_toml(records.as_text())} }}"
    faults.stop()
    content = "\n".join(lines).encode()
    if len(content) > MOST_TOML_BYTES:
        raise BadInput(f"{label}: the doses of all patients are {len(content)} bytes; give at most {MOST_TOML_BYTES}.")
    data, text = parse_toml(label, content)
    arms = data["arm"]
    for k, own in courses.items():
        arms[k]["regimen"] = as_steps(own.middle)
    return data, text, courses


def _toml(value: object) -> str:
    """A value as TOML, on one line."""
    return str(tomlkit.item(value).as_string())


def _regimen_line(steps: list[dict[str, object]]) -> str:
    """Regimens as one line of TOML."""
    tables = (", ".join(f"{key} = {_toml(value)}" for key, value in step.items()) for step in steps)
    return "regimen = [" + ", ".join(f"{{ {table} }}" for table in tables) + "]"


class _Reader:
    """One file on its way to a trial; every method that finds a fault notes it and goes on with what is left."""

    def __init__(self, path: Path, folder: Path, populations: Path, given: str | None = None) -> None:
        self.path, self.folder, self.populations = path, folder, populations
        data, self.text = load_toml(path) if given is None else parse_toml("trial", given.encode())
        name = path.name if given is None else "trial"
        data, self.text, self.courses = _with_tables(data, self.text, name, path.parent, folder)
        label, lines = (path.name, self.text) if given is None else ("trial", "")  # nobody has seen the lines
        self.faults = Faults(label, lines, data, named=("arm", "endpoint", "comparison", "estimand"))
        self.root = Table(self.faults, data, TRIAL)
        self.arms = self.root.tables("arm", ARM)
        self.names_known = True  # false once an arm's name is missing, unusable or used twice

    def trial(self) -> Trial:
        root = self.root
        name = self._name()
        title = root.text("title", "")
        seed = root.whole("seed", 0, least=0, most=SEEDS - 1)
        length = root.quantity if isinstance(root.data.get("months"), str) else None
        months = (
            root.number("months", None, above=0, most=MOST_MONTHS)
            if length is None
            else length("months", "mo", None, above=0, most=MOST_MONTHS)
        )
        months = None if months is None else round(months, 9)
        arms = [self._arm(table, months) for table in self.arms]
        names = self._arm_names()
        control = self._control(names)
        population = self._population(names)
        visits = self._visits(months)
        conduct, recorded = self._conduct(arms, months)
        self._caps(population)
        self._matched(population)
        objectives = Objectives(root, names, control, visits, months, recorded, self._drugs(arms))
        endpoints = objectives.endpoints()
        estimands = objectives.estimands(endpoints)
        multiplicity = objectives.multiplicity(endpoints)
        interim = read_interim(objectives, endpoints, multiplicity, conduct)
        tipping = read_tipping(objectives, endpoints)
        per_protocol = read_per_protocol(objectives)
        midd = read_midd(root, names, endpoints, estimands)
        layers = root.table("layers", LAYERS)
        trial = Trial(
            name=name,
            title=title,
            description=root.text("description", ""),
            sources=root.values("sources", str, []),
            seed=seed,
            months=months or 0.0,
            control=control,
            population=population,
            arms=arms,
            visits=visits,
            endpoints=endpoints,
            conduct=conduct,
            layers=Layers() if layers is None else Layers(**{key: layers.flag(key, True) for key in LAYERS.keys}),
            uncertainty_draws=root.whole("uncertainty_draws", 200, least=1, most=MOST_DRAWS),
            estimands=estimands,
            multiplicity=multiplicity,
            interim=interim,
            tipping=tipping,
            per_protocol=per_protocol,
            midd=midd,
            twins=root.whole("twins", 2000, least=1, most=MOST_PATIENTS),
            source_text=self.text,
            folder=self.folder,
            populations=self.populations,
        )
        if trial.exposures and self.courses and not self.faults.touch(("arm",)):
            days = len(trial.dosing_days(trial.agent_names()))
            if days > NODES:
                self.faults.add(("arm", min(self.courses), "doses_from"),
                                f"doses on {days} different days are too many for an exposure endpoint, which follows "
                                f"all of them; give at most {NODES}, or leave that endpoint out.")  # fmt: skip
        self.faults.stop()
        return trial

    # the whole

    def _name(self) -> str:
        name = self.root.text("name", self.path.stem)
        if "name" in self.root and not _NAME.fullmatch(name):
            self.root.fault("name", f"name '{name}' is not usable; use letters, digits, '_' and '-'.")
        return name

    def _control(self, names: list[str]) -> str | None:
        control = self.root.text("control", None)
        if control is None and len(names) > 1:
            self.root.fault(
                "control",
                f'control is missing; name the arm that all are compared with, such as control = "{names[0]}".',
            )
        elif control is not None and names and control not in names and self.names_known:
            self.root.fault("control", f"control '{control}' is not an arm; {near(control, names)}")
        return control

    def _conduct(self, arms: list[Arm], months: float | None) -> tuple[Conduct, Collection[str]]:
        """How the trial is run, and the events that it records; all events where a fault hides which."""
        table = self.root.table("conduct", CONDUCT) or Table(self.faults, {}, CONDUCT, ("conduct",))
        given = {arm.name: arm.planned for arm in arms} if self.names_known else {}
        conduct = read_conduct(table, given, months, self.folder)
        return conduct, events.EVENTS if self.faults.touch(("conduct",)) else conduct.recorded

    # arms

    def _arm_names(self) -> list[str]:
        """Names of the arms, each once; notes those that are missing, unusable or used twice."""
        if self.root.data.get("arm") == []:
            self.root.fault("arm", "there is no arm; give one or more tables [[arm]].")
        if len(self.arms) > MOST_ARMS:
            self.root.fault("arm", f"there are {len(self.arms)} arms; give at most {MOST_ARMS}.")
        names: list[str] = []
        for table in self.arms:
            name = table.text("name", None)
            if name is not None and not _NAME.fullmatch(name):
                fault = "is not usable; use letters, digits, '_' and '-', and say the rest in label."
            elif name in names:
                fault = "is used twice; give each arm its own."
            else:
                names += [name] if name is not None else []
                self.names_known &= name is not None
                continue
            self.names_known = False
            path = table.at("name")
            self.faults.add_message(path, f"{self.faults.at(path)}: arm name '{name}' {fault}")
        return names

    def _arm(self, arm: Table, months: float | None) -> Arm:
        regimens: list[Regimen] = []
        begin: float | None = 0.0  # day of the last step's first dose; None where a fault hides it
        end: float | None = 0.0  # day from which nothing is planned
        single = 0  # number of the last step, if it is a single dose of which nothing says how long it counts
        for number, step in enumerate(arm.tables("regimen", STEP)):
            together = step.flag("together")
            if number and step.flag("steady"):
                step.fault("steady", "only the first regimen can begin in a steady state; leave it out here.")
            if single and "start" not in step and not together:
                step.fault(
                    "start", f"start is missing; give one, since regimen {single} is a single dose without `every`."
                )
            start = begin if together else end
            if "start" in step:
                start = step.quantity("start", "day", None)
                if start is not None and start < 0:
                    said = f'start is "{step.data["start"]}", before randomisation'
                    step.fault("start", f"{said}; start at 0 mo or later.")
                    start = None
            regimen, length = self._step(step, start, together)
            regimens.append(regimen or _UNKNOWN)
            if regimen is not None:
                self._ends_with_trial(step, regimen, None if "doses_from" in arm else months)
            if not together:
                begin = None if regimen is None else regimen.start_day
                end = None if regimen is None else max(regimen.end_day, regimen.start_day + length)
                single = number + 1 if regimen is not None and regimen.every_days == 0 else 0
        doses = sum(regimen.doses for regimen in regimens)
        if doses > MOST_DOSES:
            arm.fault("regimen", f"the regimens have {doses} doses; give at most {MOST_DOSES} in all.")
        try:
            check_sequence(regimens, lambda number: self.faults.where(arm.at("regimen", number, "start"), arm=True))
        except BadInput as fault:
            for message in fault.messages:
                self.faults.add_message(arm.path, message)
        name = arm.text("name", "") or str(int(arm.path[1]) + 1)
        courses = self.courses.get(int(arm.path[1]))
        for who, own in ({} if courses is None else courses.doses).items():
            end = max((float(r.times_days()[-1]) for r in own), default=0.0)
            if months is not None and end > months * DAYS_PER_MONTH + _SAME_DAY:
                told = (
                    f"patient {who} has a dose at {end / DAYS_PER_MONTH:.4g} mo, after the trial ends at {months:g} mo"
                )
                arm.fault(
                    "doses_from", f"{told}; leave such doses out, or set months = {math.ceil(end / DAYS_PER_MONTH)}."
                )
                break
        return Arm(name, arm.text("label", "") or name, regimens, courses)

    def _step(self, step: Table, start_day: float | None, together: bool) -> tuple[Regimen | None, float]:
        """A regimen, None if it has a fault, and the days that it is said to last (0 if that is not said)."""
        agent = step.text("agent", None)
        drug, dose = dose_of(step, agent, self.folder)
        every, length, over = (step.quantity(key, "day", 0.0, above=0) for key in ("every", "for", "over"))
        doses, steady = self._doses(step, every, length), step.flag("steady")
        if agent is None or doses is None or start_day is None or drug is None or self.faults.touch(step.path):
            return None, 0.0
        regimen = Regimen(agent, dose.mg, start_day, every, doses, together, dose.per_kg, dose.cap_mg, over, steady)
        for what, sentence in course_faults(regimen, drug):
            step.fault("over" if what == "infusion" else what, sentence)
        return (None if self.faults.touch(step.path) else regimen), length

    def _doses(self, step: Table, every: float, length: float) -> int | None:
        """How many doses: as given, as many as fill the time given, or a single one."""
        doses = step.whole("doses", None, least=1, most=MOST_DOSES)
        if self.faults.touch(step.at("doses")) or self.faults.touch(step.at("for")):
            return None
        if doses is not None and length:
            step.fault("for", "both doses and for are given; leave one of them out.")
            return None
        if doses is None and not length:
            if "every" not in step:
                return 1
            step.fault((), 'doses is missing; say doses = 4, or for = "24 mo" to fill that time.')
            return None
        if "every" not in step and doses != 1:
            step.fault("every", 'every is missing; say how often, such as every = "6 mo".')
            return None
        if doses is not None or not every:
            return doses
        fill = length / every * (1 + 1e-12)
        if fill > MOST_DOSES:
            said = f'every = "{step.data["every"]}" gives more than {MOST_DOSES} doses'
            step.fault("every", f"{said}; give fewer.")
            return None
        if fill < 1:
            said = f'for = "{step.data["for"]}" is shorter than one interval, "{step.data["every"]}".'
            step.fault("for", said)
            return None
        return math.floor(fill)

    def _ends_with_trial(self, step: Table, regimen: Regimen, months: float | None) -> None:
        if months is not None and regimen.end_day > months * DAYS_PER_MONTH + _SAME_DAY:
            needed = math.ceil(regimen.end_day / DAYS_PER_MONTH - _SAME_DAY)
            step.fault(
                (),
                f"lasts until {regimen.end_day / DAYS_PER_MONTH:.4g} mo, but the trial ends at {months:g} mo; "
                f"set months = {needed} or more, or give fewer doses.",
            )

    def _drugs(self, arms: list[Arm]) -> dict[str, tuple[str, ...]]:
        """The drugs that have a concentration, by arm; agents with faults are left out."""
        found: dict[str, tuple[str, ...]] = {}
        for arm in arms:
            names = dict.fromkeys(regimen.agent for regimen in arm.planned if regimen.agent)
            found[arm.name] = tuple(name for name in names if load_agent(name, folder=self.folder).kind == "binder")
        return found

    def _caps(self, population: Population) -> None:
        """Refuse a cap below the dose of the lightest patient who can be enrolled: it would be everybody's dose."""
        steps = [step for arm in self.arms for step in arm.tables("regimen", STEP)]
        conduct = self.root.table("conduct", CONDUCT)
        if conduct is not None:
            rescue = conduct.table("rescue", RULE)
            steps += [*([] if rescue is None else [rescue]), *conduct.tables("switch", RULE)]
        steps = [step for step in steps if "cap" in step and not self.faults.touch(step.path)]
        if not steps or self.faults.touch(("population",)):
            return
        criteria = (load_population(population.name, self.populations).inclusion, population.eligible)
        lows = [low for ranges in criteria if (low := ranges.get("weight", (None, None))[0]) is not None]
        lightest = max([load_parameters().row("WT")["low"], *lows])
        for step in steps:
            _, dose = dose_of(step, step.text("agent", None), self.folder)
            if dose.per_kg and dose.cap_mg < dose.mg * lightest:
                step.fault(
                    "cap",
                    f"cap is {dose.cap_mg:g} mg, and the lightest patient who can be enrolled ({lightest:g} kg) is due "
                    f"{dose.mg * lightest:g} mg, so that all would be given the cap; raise it, or give one dose in mg.",
                )

    # population

    def _matched(self, population: Population) -> None:
        """Refuse doses by ID that are not those of the patients of the population."""
        by_id = [k for k, own in self.courses.items() if own.each == "ID"]
        if not by_id or self.faults.touch(("population",)):
            return
        known = load_population(population.name, self.populations).identities
        for k in by_id:
            own, place = self.courses[k].doses, ("arm", k, "doses_from")
            said = f"population '{population.name}' is "
            if known is None:
                message = f'{said}no table with an ID of each patient; say each = "turn", or take one that is.'
            elif strange := [who for who in own if who not in known]:
                message = (
                    f"no patient of {said.removesuffix(' is ')} has the ID {strange[0]}; {near(strange[0], known)}"
                )
            elif missing := [who for who in dict.fromkeys(known) if who not in own]:
                message = (
                    f"the table has no patient {missing[0]}, who can be enrolled; give her a row, EVID 2 if no dose."
                )
            else:
                continue
            self.faults.add_message(place, f"{self.faults.where(place)}: {message}")

    def _population(self, names: list[str]) -> Population:
        table = self.root.table("population", POPULATION) or Table(self.faults, {}, Shape({}), ("population",))
        name, patients = table.text("name", ""), table.value("patients", int, None)
        if name and find_population(name, self.populations) is None:
            known = list_populations()
            hint = f"{near(name, known)} One of your own is a file beside the trial's, {name}.toml."
            table.fault("name", f"unknown population '{name}'; {hint}")
        for sentence in [] if patients is None else bad_patients(patients, len(names)):
            table.fault("patients", sentence)
        eligible = {
            covariate: found
            for covariate, text in table.mapping("eligible", str, {}).items()
            if (found := read_range(table, ("eligible", covariate), covariate, text)) is not None
        }
        strata = table.values("strata", str, [])
        for index, text in enumerate(strata):
            self.faults.attempt(table.at("strata", index), partial(_stratum, text))
            if text in strata[:index]:
                table.fault(("strata", index), f'stratum "{text}" is there twice; give it once.')
        return Population(name, patients or 0, eligible, strata, self._ratio(table, names))

    def _ratio(self, table: Table, names: list[str]) -> dict[str, float]:
        if "ratio" not in table:
            return dict.fromkeys(names, 1)
        ratio = table.mapping("ratio", int, {})
        misspelt = set()
        for name, share in ratio.items():
            if name not in names and names and self.names_known:
                misspelt.add(closest(name, names))
                table.fault(("ratio", name), f"ratio names '{name}', which is not an arm; {near(name, names)}")
            if share < 1:
                said = f"ratio {name} = {share} is not positive"
                table.fault(("ratio", name), f"{said}; give a whole number of at least 1.")
            elif share > LARGEST_SHARE:
                table.fault(("ratio", name), f"ratio {name} = {share} is too large; give at most {LARGEST_SHARE}.")
        for name in names:
            told = name in misspelt or self.faults.touch(table.at("ratio", name))
            if name not in ratio and not told and self.names_known:
                table.fault("ratio", f"ratio leaves out arm '{name}'; add {name} = 1.")
        return {name: ratio[name] for name in names if name in ratio}

    # visits

    def _visits(self, months: float | None) -> Visits:
        table = self.root.table("visits", VISITS)
        found: dict[str, tuple[float, ...]] = {}
        for kind in ("BMD", "markers", "drug"):
            times = None if table is None else table.times(kind, "mo", None)
            if table is not None and times is not None:
                self._times(table, kind, times, months)
            found[kind] = tuple(times or ())
        return Visits(**found, limits={} if table is None else self._limits(table))

    def _limits(self, table: Table) -> dict[str, float]:
        """Limits of quantitation, in the unit of the measure."""
        known, found = {name: UNITS[name] for name in MARKER_MEASURES} | {"drug": UNITS[DRUG]}, {}
        for name, text in table.mapping("limits", str, {}).items():
            if name not in known:
                table.fault(("limits", name), f"limits names '{name}'; {near(name, known)}")
            elif (limit := table.parsed(("limits", name), text, known[name])) is not None:
                if limit <= 0:
                    table.fault(("limits", name), f"limits {name} is {text}; give more than 0.")
                found[name] = limit
        return found

    def _times(self, table: Table, kind: str, times: list[float], months: float | None) -> None:
        if len(times) > MOST_VISITS:
            table.fault(kind, f"visits {kind} has {len(times)} visits; give at most {MOST_VISITS}.")
            return
        if not times or times[0] > 0:
            table.fault(kind, f"visits {kind} has no baseline; begin with 0.")
        for index, month in enumerate(times):
            here = (kind, index)
            said = f"visits {kind} has a visit at {month:g} mo"
            if month < 0:
                table.fault(here, f"{said}; give months of at least 0.")
            elif months is not None and month > months:
                ends = f"but the trial ends at {months:g} mo"
                table.fault(here, f"{said}, {ends}; leave it out or set months = {month:g}.")
            if index and month <= times[index - 1]:
                after = f"visits {kind} has {month:g} after {times[index - 1]:g}"
                table.fault(here, f"{after}; put the months in order, each once.")


def _stratum(text: str, where: str) -> Stratum:
    return parse_stratum(text, where=where)
