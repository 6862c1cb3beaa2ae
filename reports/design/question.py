"""A question to the design desk: a trial's arms, what may be chosen, what is required, what is preferred.

A question is a TOML file:

    title = "A dose that keeps 90 % of denosumab's gain and rebounds no more"
    trial = "modality"

    [[factor]]
    arm  = "mrankl"
    dose = "10..120 mg"

    [[factor]]
    arm   = "mrankl"
    every = ["3 mo", "6 mo"]

    [[require]]
    quantity = "change of BMD_LS at 36 mo"
    of       = "mrankl"
    against  = "denosumab"
    at_least = "90 %"
    with     = "80 %"

    [[prefer]]
    quantity = "dose a year"
    least    = true

A factor changes the first regimen of its arm that does something: its ``dose``, its interval ``every`` (it is then
given for as long as before), its length ``for``, or what follows it, ``then``. A dose, an interval or a length has a
list of values or a range. Along the first range of a dose all doses are read off; what else has a range is searched by
an optimiser (`optimise`). An ``arm`` that the trial does not have may be the name of an agent: it is then given
like the first arm of the trial that does something.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, overload

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ranklsim.cohorts.protocol.design import Arm, Trial
from ranklsim.cohorts.protocol.trial import load_trial
from ranklsim.cohorts.quantities import Quantity, parse_quantity_of_course
from ranklsim.pkpd import given
from ranklsim.pkpd.agents import Agent, cautions, has_agent, load_agent
from ranklsim.pkpd.arguments import checked
from ranklsim.pkpd.arguments import text as text_argument
from ranklsim.pkpd.dosing import Regimen, parse_regimen
from ranklsim.pkpd.ensemble import ensemble
from ranklsim.pkpd.errors import BadInput, near
from ranklsim.pkpd.reading import MOST_MONTHS, Faults, Shape, Table, load_toml, parse_toml
from ranklsim.pkpd.results import Frame
from ranklsim.pkpd.tomltext import quoted
from ranklsim.pkpd.units import DAYS_PER_MONTH, DAYS_PER_YEAR

Array = NDArray[np.float64]

SHIPPED = Path(__file__).parent / "data"
DEFAULT_PROBABILITY = 0.8
MOST_CELLS = 200
"""Combinations of the factors that have lists."""
MOST_SIZE = 20_000
"""Patients of a trial that is sized."""
MOST_RANGES = 4
"""Factors with a range."""
WIDEST = 1e4
"""Ratio of the ends of a range of doses."""
A_DECADE = 8
"""Doses simulated for each factor of ten; between them curves are interpolated."""
LEAST_DOSES, FINE = 7, 400
"""Doses simulated at least, and doses at which the interpolated curves are read."""
SAME = 1e-6

QUESTION = Shape(
    {
        "title": '"A dose that keeps 90 % of denosumab\'s gain"',
        "trial": '"modality"',
        "months": "72",
        "draws": "1000",
        "seed": "1",
        "factor": "one or more tables [[factor]]",
        "require": "one or more tables [[require]]",
        "prefer": "one or more tables [[prefer]]",
        "learn": "one or more tables [[learn]]",
        "size": "a table [size]",
    },
    needed=("title", "factor", "require"),
)
FACTOR = Shape(
    {
        "arm": '"denosumab"',
        "dose": '"10..120 mg", or ["30 mg", "60 mg"]',
        "every": '["3 mo", "6 mo"], or "2..12 mo"',
        "for": '["24 mo", "36 mo"], or "12..60 mo"',
        "then": '["nothing", "zoledronate 5mg x1"]',
    },
    needed=("arm",),
)
REQUIRE = Shape(
    {
        "quantity": '"change of BMD_LS at 36 mo"',
        "of": '"mrankl"',
        "against": '"denosumab"',
        "at_least": '"90 %"',
        "at_most": '"150 % of baseline"',
        "with": '"80 %"',
    },
    needed=("quantity",),
)
PREFER = Shape(
    {"quantity": '"dose a year"', "of": '"mrankl"', "least": "true", "most": "true"},
    needed=("quantity",),
)
LEARN = Shape(
    {"parameter": '"sig"', "sd": '0.05, or "20 %" of its value', "name": '"A pilot in 30 mice"'},
    needed=("parameter", "sd"),
)
SIZE = Shape(
    {
        "endpoint": '"Lumbar spine BMD over 36 months of treatment"',
        "arm": '"mrankl"',
        "against": '"denosumab"',
        "assurance": '"80 %"',
        "patients": '"100..2000"',
        "vectors": "100",
    },
    needed=("endpoint", "patients"),
)
KEYS = ("dose", "every", "for", "then")
_RANGE = re.compile(r"(.+?)\s*\.\.\s*(.+)")
_NUMBER = re.compile(r"[-+\d.eE]+")
_LIMIT = re.compile(r"(?P<number>[-+−]?\s*[\d.eE+-]+)\s*(?P<unit>.*)")


def three_digits(value: float) -> str:
    """A number with three significant digits, without an exponent where people write none.

    Parameters
    ----------
    value : float
    """
    return f"{float(f'{value:.3g}'):g}"


@dataclass(frozen=True)
class Factor:
    """What may be chosen for one arm.

    Attributes
    ----------
    arm : str
    key : str
        One of `KEYS`.
    values : tuple
        Doses in mg, lengths in days, or texts of regimens, in the order given.
    spans : bool
        Whether the factor has a range: the values are its grid.
    """

    arm: str
    key: str
    values: tuple[float | str, ...]
    spans: bool = False

    @property
    def name(self) -> str:
        """Column of the tables, such as ``mrankl.dose``."""
        return f"{self.arm}.{self.key}"

    def say(self, value: float | str) -> str:
        """A value in words.

        Parameters
        ----------
        value : float or str
            One of `values`.
        """
        if self.key == "dose":
            return f"{three_digits(float(value))} mg"
        if self.key == "then":
            return f"then {value}"
        months = float(value) / DAYS_PER_MONTH
        said = f"{months:.3g} mo" if abs(months - round(months)) < SAME else f"{float(value):.4g} day"
        return f"every {said}" if self.key == "every" else f"for {said}"


@dataclass(frozen=True)
class Requirement:
    """What a design must do.

    Attributes
    ----------
    quantity : Quantity
    of : str
        Arm.
    against : str
        The arm that it is compared with; "" for none.
    least : bool
        Whether the limit is the least or the most.
    limit : float
        A share of the comparator's value if `share`, else a difference from it, or a value in the quantity's unit.
    share : bool
    probability : float
        Share of the draws in which it must hold.
    text : str
        The limit as written.
    """

    quantity: Quantity
    of: str
    against: str
    least: bool
    limit: float
    share: bool
    probability: float
    text: str

    def margin(self, own: Array, other: Array | float) -> Array:
        """By how much the requirement is met, in the quantity's unit; negative where it is not.

        Parameters
        ----------
        own, other : ndarray
            Values of the arm and of the one it is compared with, of shapes that broadcast.
        """
        bound = self.limit * other if self.share else self.limit + (other if self.against else 0.0)
        return (own - bound) if self.least else (bound - own)


@dataclass(frozen=True)
class Preference:
    """What is better among the designs that meet every requirement."""

    quantity: Quantity
    of: str
    least: bool


@dataclass(frozen=True)
class Pilot:
    """A measurement that could be made first: of a parameter, with a standard error in its unit."""

    name: str
    parameter: str
    sd: float


@dataclass(frozen=True)
class Size:
    """A trial whose number of patients is asked.

    Attributes
    ----------
    endpoint : str
        Of the question's trial, with its claim.
    arm, against : str
        The arms of the trial; `against` is "" for the comparator of the endpoint.
    assurance : float
        Probability of showing the claim, over the parameter vectors.
    least, most : int
        Patients of both arms.
    vectors : int
        Parameter vectors, one study each.
    """

    endpoint: str
    arm: str
    against: str
    assurance: float
    least: int
    most: int
    vectors: int


@dataclass(frozen=True)
class Question:
    """A question, checked.

    Attributes
    ----------
    title : str
    trial : Trial
        Its population gives the typical patient. Its arms are those that the question needs, as the trial gives them.
    months : float
        Until then courses are simulated.
    draws, seed : int
    factors : list of Factor
        Those with lists, then those with ranges that are searched, then the one with the range of doses that are read
        off, if there is one.
    requirements : list of Requirement
    preferences : list of Preference
    pilots : list of Pilot
    size : Size, optional
    design : list of Arm
        All arms of the trial and of the question, as they are without a choice.
    agents : list of Agent
        All that any design gives.
    notes : list of str
        What was added to what the file says.
    text : str
        The file.
    tried : list of tuple
        Values of `free`, a tuple for each point that is simulated; the ends of the ranges until they are searched.
    """

    title: str
    trial: Trial
    months: float
    draws: int
    seed: int
    factors: list[Factor]
    requirements: list[Requirement]
    preferences: list[Preference]
    pilots: list[Pilot]
    size: Size | None
    design: list[Arm]
    agents: list[Agent]
    notes: list[str]
    text: str
    tried: list[tuple[float, ...]] = field(default_factory=list)

    @property
    def axis(self) -> Factor | None:
        """The factor with the range of doses along which all are read off."""
        return self.factors[-1] if self.factors[-1].spans and self.factors[-1].key == "dose" else None

    @property
    def lists(self) -> list[Factor]:
        """The factors of a cell: all but the axis."""
        return self.factors if self.axis is None else self.factors[:-1]

    @property
    def free(self) -> list[Factor]:
        """The factors with a range that are searched."""
        return [factor for factor in self.lists if factor.spans]

    @property
    def cells(self) -> list[tuple[float | str, ...]]:
        """Every combination of the values of `lists`; of those that are searched, the points that were tried."""
        listed = list(product(*(factor.values for factor in self.lists if not factor.spans)))
        if not self.free:
            return listed
        tried: list[tuple[float | str, ...]] = [*self.tried] or list(
            product(*((factor.values[0], factor.values[-1]) for factor in self.free))
        )
        return [(*cell, *point) for cell in listed for point in tried]

    @property
    def fixed(self) -> list[Arm]:
        """Arms that no factor changes."""
        changed = {factor.arm for factor in self.factors}
        return [arm for arm in self.trial.arms if arm.name not in changed]

    @property
    def extreme_doses(self) -> list[Regimen]:
        """The least and the greatest dose of each factor that chooses one."""
        return [
            Regimen(self.main_agent(factor.arm).name, float(dose), 0.0, 0.0, 1)
            for factor in self.factors if factor.key == "dose"
            for dose in (min(factor.values), max(factor.values))
        ]  # fmt: skip

    def main_agent(self, name: str) -> Agent:
        """The agent of an arm's regimen that the factors change.

        Parameters
        ----------
        name : str
            Of the arm.
        """
        agents = {agent.name: agent for agent in self.agents}
        arm = self.trial.arm(name)
        return agents[arm.regimens[_main(arm, {name: agent.kind for name, agent in agents.items()})].agent]

    def arm_of(self, name: str, choice: Mapping[str, float | str]) -> Arm:
        """An arm under one choice.

        Parameters
        ----------
        name : str
        choice : mapping
            Factor's name to value.

        Raises
        ------
        BadInput
            If the choice is impossible.
        """
        own = [factor for factor in self.factors if factor.arm == name]
        mine = {factor.key: choice[factor.name] for factor in own}
        whole = not any(factor.spans for factor in own if factor.key in ("every", "for"))
        agents = {agent.name: agent for agent in self.agents}
        return chosen(self.trial.arm(name), mine, agents, self.trial.folder, whole=whole)

    def end_of(self, arm: Arm) -> float:
        """Month at which the treatment of an arm ends: of the changed regimen if something else may follow it.

        Parameters
        ----------
        arm : Arm
        """
        kinds = {agent.name: agent.kind for agent in self.agents}
        main = _main(arm, kinds)
        if any(factor.arm == name_of(arm) and factor.key == "then" for factor in self.factors):
            return arm.regimens[main].end_day / DAYS_PER_MONTH
        active = [r for r in arm.regimens if kinds[r.agent] != "none"] or list(arm.regimens)
        return max(regimen.end_day for regimen in active) / DAYS_PER_MONTH


def name_of(arm: Arm) -> str:
    """Name that an arm has in the trial; under a design it is followed by the design's position.

    Parameters
    ----------
    arm : Arm
    """
    return arm.name.split("|")[0]


def _main(arm: Arm, kinds: Mapping[str, str]) -> int:
    """Position of the first regimen that does something."""
    return next((k for k, regimen in enumerate(arm.regimens) if kinds[regimen.agent] != "none"), 0)


def chosen(
    arm: Arm, choice: Mapping[str, float | str], agents: Mapping[str, Agent], folder: Path, *, whole: bool = True
) -> Arm:
    """An arm whose main regimen is changed.

    Parameters
    ----------
    arm : Arm
    choice : mapping of str to value
        By key: ``dose`` (mg; also in place of a dose by weight), ``every`` (day), ``for`` (day), ``then`` (text of
        regimens, or "nothing").
    agents : mapping of str to Agent
    folder : Path
        Where a user's agents are.
    whole : bool
        Whether the length must be a whole number of intervals; if not, the nearest number of doses is given.

    Raises
    ------
    BadInput
        If the length is no whole number of intervals.
    """
    if arm.courses is not None and choice:
        raise BadInput(f"{arm.name}: its patients have doses of their own, which a factor cannot change; leave it out.")
    main = _main(arm, {name: agent.kind for name, agent in agents.items()})
    old = arm.regimens[main]
    dose, every = float(choice.get("dose", old.dose_mg)), float(choice.get("every", old.every_days))
    length = float(choice.get("for", old.every_days * old.doses))
    doses = old.doses
    if every and ("every" in choice or "for" in choice):
        doses = round(length / every) if whole else max(1, round(length / every))
        if whole and (doses < 1 or abs(doses * every - length) > SAME * length):
            raise BadInput(
                f"{arm.name}: {length / DAYS_PER_MONTH:.4g} mo of treatment is no whole number of intervals of "
                f"{every / DAYS_PER_MONTH:.4g} mo; give intervals that divide it, or other lengths with `for`."
            )
    new = replace(old, dose_mg=dose, every_days=every, doses=doses)
    if "dose" in choice:
        new = replace(new, per_kg=False, cap_mg=math.inf)
    later = new.end_day - old.end_day
    after = [replace(r, start_day=r.start_day + later) for r in arm.regimens[main + 1 :] if not r.together]
    beside = [r for r in arm.regimens[main + 1 :] if r.together]
    if "then" in choice:
        text = str(choice["then"]).strip()
        parts = [] if text == "nothing" else parse_regimen(text, folder=folder, where=f"{arm.name}, then")
        after = [replace(part, start_day=part.start_day + new.end_day) for part in parts]
    return replace(arm, regimens=[*arm.regimens[:main], new, *beside, *after])


def dose_a_year(
    arm: Arm, agents: Mapping[str, Agent], weight: NDArray[np.float64] | float
) -> NDArray[np.float64] | float:
    """Planned amount of an arm's main regimen (mg/yr), over the time that it is given.

    Parameters
    ----------
    arm : Arm
    agents : mapping of str to Agent
    weight : ndarray or float
        Body weight, kg, by which doses per kg are given.
    """
    regimen = arm.regimens[_main(arm, {name: agent.kind for name, agent in agents.items()})]
    span = regimen.doses * regimen.every_days or DAYS_PER_YEAR
    return regimen.dose.of(weight) * regimen.doses * DAYS_PER_YEAR / span


def load_question(path: str | Path | Mapping[str, Any]) -> Question:
    """Read and check a question.

    Parameters
    ----------
    path : path or mapping
        A TOML file, the name of a question that ships, or the keys of such a file. In a mapping, an `Agent` may stand
        for an agent's name, and a mapping with the keys of a trial's file for the trial.

    Raises
    ------
    BadInput
        With one message a fault, all of the file's at once.
    """
    if isinstance(path, Mapping):
        return _given(path)
    place = find_question(path)
    data, text = load_toml(place)
    return _Reader(Faults(place.name, text, data), data, text, place.parent).question()


def _given(data: Mapping[str, Any]) -> Question:
    """A question from the keys of its file."""
    agents: list[str | Agent] = []
    named = given.without_agents(data, agents)
    trial = named.pop("trial", None)
    own = load_trial(trial) if isinstance(trial, Mapping | Trial) else None
    if own is None and trial is not None:
        named["trial"] = trial
    _, folder = given.with_agents(agents, None if own is None else own.folder)
    content, text = parse_toml("question", given.as_toml(named, "question").encode())
    return _Reader(Faults("question", "", content), content, text, folder, own).question()


@overload
def questions(name: None = None) -> pd.DataFrame: ...
@overload
def questions(name: str) -> dict[str, Any]: ...
@checked(name=text_argument)
def questions(name: str | None = None) -> pd.DataFrame | dict[str, Any]:
    """The design questions that ship, or the content of one, to change and to give to `design`.

    Parameters
    ----------
    name : str, optional
        Of a question that ships, or the path of a file.

    Returns
    -------
    DataFrame or dict
        The keys of the question's file; or one row for each question: `name`, `title`, `factors`.

    Raises
    ------
    BadInput
        If there is no such question, or its file is at fault.
    """
    if name is not None:
        return tomllib.loads(load_question(name).text)
    rows = []
    for path in sorted(SHIPPED.glob("*.toml")):
        found = load_question(path)
        rows.append((path.stem, found.title, ", ".join(factor.name for factor in found.factors)))
    return Frame(rows, columns=["name", "title", "factors"], table="questions")


def find_question(path: str | Path) -> Path:
    """The file of a question.

    Parameters
    ----------
    path : path
        A TOML file, or the name of a question that ships.

    Raises
    ------
    BadInput
        If no question has the name.
    """
    text = str(path)
    if isinstance(path, Path) or text.endswith(".toml") or "/" in text or "\\" in text:
        return Path(path)
    known = sorted(place.stem for place in SHIPPED.glob("*.toml"))
    if text not in known:
        hint = "`ranklsim questions` lists all, or give the path of a TOML file."
        raise BadInput(f"unknown question '{text}'; {near(text, known, also=hint)}")
    return SHIPPED / f"{text}.toml"


_DOSE_FOR = re.compile(
    r"(?P<share>[\d.]+)\s*% of (?P<of>\S+?)(?:'s)? (?:gain (?:of|in) )?(?P<what>[A-Za-z0-9_]+ at .+)"
)


def dose_for(wanted: str, agent: str, every: Sequence[str], *, folder: Path, doses: str | None = None) -> str:
    """The text of the commonest question: which dose of an agent keeps a share of what another arm gains.

    Parameters
    ----------
    wanted : str
        Such as ``90 % of denosumab's BMD_LS at 36 mo``; the arm is one of the trial ``modality``.
    agent : str
        The agent whose dose is searched.
    every : sequence of str
        Intervals, each with its unit.
    folder : Path
        Where a user's agents are.
    doses : str, optional
        The range of doses, such as ``10..240 mg``; from a sixth to four times the comparator's dose by default.

    Raises
    ------
    BadInput
        If the text has another form, or names what does not exist.
    """
    found = _DOSE_FOR.fullmatch(" ".join(wanted.split()))
    if not found:
        raise BadInput(
            f"dose_for: '{wanted}' is not understood; write it like \"90 % of denosumab's BMD_LS at 36 mo\"."
        )
    trial = load_trial("modality")
    names = [arm.name for arm in trial.arms]
    if found["of"] not in names:
        raise BadInput(f"dose_for: '{found['of']}' is no arm of modality; {near(found['of'], names)}")
    label = load_agent(agent, folder=folder, where="agent").label
    dose = max(regimen.dose_mg for regimen in trial.arm(found["of"]).regimens)
    if doses is None and not dose:
        raise BadInput(f"dose_for: {found['of']} is given no dose; name an arm with a drug, or give a range of doses.")
    quantity = f"change of {found['what']}"
    rows = [
        ("title", f"Dose of {label} that keeps {found['share']} % of the {quantity} of {found['of']}"),
        ("trial", "modality"),
    ]
    lines = [f"{key} = {quoted(value)}" for key, value in rows]
    lines += [
        "",
        "[[factor]]",
        f"arm  = {quoted(agent)}",
        f"dose = {quoted(doses or f'{dose / 6:g}..{4 * dose:g} mg')}",
    ]
    lines += ["", "[[factor]]", f"arm   = {quoted(agent)}", f"every = [{', '.join(map(quoted, every))}]"]
    lines += ["", "[[require]]", f"quantity = {quoted(quantity)}", f"of       = {quoted(agent)}"]
    lines += [f"against  = {quoted(found['of'])}", f"at_least = {quoted(found['share'] + ' %')}"]
    lines += ["", "[[prefer]]", 'quantity = "dose a year"', "least    = true", ""]
    return "\n".join(lines)


def parse_question(text: str, folder: Path, name: str = "question.toml") -> Question:
    """Read a question from text.

    Parameters
    ----------
    text : str
        TOML.
    folder : Path
        Where a user's trials and agents are.
    name : str
        What messages call it.

    Raises
    ------
    BadInput
        With one message a fault.
    """
    data, text = parse_toml(name, text.encode())
    return _Reader(Faults(name, text, data), data, text, folder).question()


class _Reader:
    """One file on its way to a question."""

    def __init__(
        self, faults: Faults, data: dict[str, object], text: str, folder: Path, trial: Trial | None = None
    ) -> None:
        self.faults, self.text, self.folder, self.given = faults, text, folder, trial
        self.root = Table(faults, data, QUESTION)
        self.notes: list[str] = []
        self.arms: dict[str, Arm] = {}
        self.sized: list[str] = []  # arms of [size]

    def question(self) -> Question:
        root = self.root
        title = root.text("title", "")
        trial = self.given or self._trial(root.text("trial", "modality"))
        self.trial = trial
        draws = root.whole("draws", len(ensemble()), least=10, most=len(ensemble()))
        seed = root.whole("seed", 1, least=0, most=2**63 - 1)
        months = root.number("months", trial.months, above=0, most=MOST_MONTHS)
        tables = [(table, self._key(table)) for table in root.tables("factor", FACTOR)]
        if not tables and "factor" in root:
            root.fault("factor", "there is no factor; give one or more tables [[factor]].")
        self.base = next((arm for arm in trial.arms if any(self._kind(r.agent) != "none" for r in arm.regimens)), None)
        factors = [factor for table, key in tables if key and (factor := self._factor(table, key))]
        self._twice(factors)
        requirements = [r for table in root.tables("require", REQUIRE) if (r := self._requirement(table, factors))]
        preferences = [each for table in root.tables("prefer", PREFER) if (each := self._preference(table, factors))]
        pilots = [pilot for table in root.tables("learn", LEARN) if (pilot := self._pilot(table))]
        size = self._size(factors)
        self._contradictions(requirements)
        self.faults.stop()
        axis = next((factor for factor in factors if factor.spans and factor.key == "dose"), None)
        factors.sort(key=lambda factor: 2 if factor is axis else int(factor.spans))
        known = {arm.name: arm for arm in trial.arms} | self.arms
        asked = [*self.arms.values(), *(known[name] for name in self.sized if name in known)]
        names = list(dict.fromkeys([r.agent for arm in asked for r in arm.regimens]))
        for factor in factors:
            if factor.key == "then":
                for value in factor.values:
                    parts = [] if value == "nothing" else parse_regimen(str(value), folder=self.folder)
                    names += [part.agent for part in parts if part.agent not in names]
        agents = [load_agent(name, folder=self.folder) for name in names]
        self.notes += [sentence for agent in agents for sentence in cautions(agent)]
        question = Question(
            title=title, trial=replace(trial, arms=list(self.arms.values()), folder=self.folder), months=months,
            draws=draws, seed=seed, factors=factors, requirements=requirements, preferences=preferences,
            pilots=pilots, size=size, design=list(known.values()), agents=agents, notes=self.notes, text=self.text,
        )  # fmt: skip
        self._possible(question)
        self.faults.stop()
        return question

    def _trial(self, name: str) -> Trial:
        where = self.root.at("trial")
        found = self.faults.attempt(where, lambda _: load_trial(self._beside(name), folder=self.folder))
        if found is None:
            self.faults.stop()
        assert found is not None
        return found

    def _beside(self, name: str) -> str | Path:
        """A trial's file is named as it lies beside the question's."""
        return self.folder / name if name.endswith(".toml") else name

    def _kind(self, agent: str) -> str:
        return load_agent(agent, folder=self.folder).kind

    def _key(self, table: Table) -> str:
        keys = [key for key in KEYS if key in table]
        if len(keys) != 1:
            said = f"names {', '.join(keys)}" if keys else "says nothing that may be chosen"
            table.fault((), f"a factor {said}; give one of dose, every, for and then.")
            return ""
        return keys[0]

    def _arm(self, table: Table, key: str) -> str:
        """The arm that a table names; one of an agent's name is added."""
        name = table.text(key, "")
        if not name or name in self.arms:
            return name
        known = {arm.name: arm for arm in self.trial.arms}
        if name in known:
            self.arms[name] = known[name]
        elif self.base is not None and has_agent(name, self.folder):
            label = load_agent(name, folder=self.folder).label
            regimens = [replace(r, agent=name) if self._kind(r.agent) != "none" else r for r in self.base.regimens]
            self.arms[name] = Arm(name, label, regimens)
            self.notes.append(
                f"{label} is no arm of {self.trial.name}; it is given like {self.base.label}, but for the factors."
            )
        else:
            hint = "or the name of an agent whose file lies beside the question."
            table.fault(key, f"'{name}' is not an arm of {self.trial.name}; {near(name, known, also=hint)}")
            return ""
        return name

    def _factor(self, table: Table, key: str) -> Factor | None:
        arm = self._arm(table, "arm")
        given = table.data[key]
        unit = {"dose": "mg", "every": "day", "for": "day"}.get(key, "")
        if unit and isinstance(given, str) and (ends := _RANGE.fullmatch(given)):
            return self._span(table, arm, key, ends)
        texts = table.values(key, str, None) if isinstance(given, list) else None
        if not texts:
            table.wrong(key)
            return None
        values: list[float | str] = []
        for index, text in enumerate(texts):
            if key == "then":
                if text.strip() != "nothing":
                    self.faults.attempt(table.at(key, index), partial(_regimen, text, self.folder))
                values.append(text.strip())
            elif (value := table.parsed((key, index), text, unit)) is not None:
                if value <= 0:
                    table.fault((key, index), f"{key} is {text}; give more than 0.")
                values.append(value)
        if len(set(values)) < len(values):
            table.fault(key, f"{key} names a value twice; give each once.")
        return Factor(arm, key, tuple(values)) if arm and len(values) == len(texts) else None

    def _span(self, table: Table, arm: str, key: str, ends: re.Match[str]) -> Factor | None:
        first, last = ends[1], ends[2]
        if _NUMBER.fullmatch(first):
            first = f"{first} {re.sub(r'^[-+.0-9eE ]+', '', last)}"
        unit = "mg" if key == "dose" else "day"
        low = table.parsed((key,), first, unit)
        high = None if low is None else table.parsed((key,), last, unit)
        if low is None or high is None:
            return None
        if not 0 < low < high or high / low > WIDEST:
            table.fault(key, f"{key} is {ends[0]}; give a range from more than 0, up to {WIDEST:g} times as much.")
            return None
        count = max(LEAST_DOSES, math.ceil(A_DECADE * math.log10(high / low)) + 1)
        return Factor(arm, key, tuple(np.geomspace(low, high, count).tolist()), spans=True) if arm else None

    def _twice(self, factors: Sequence[Factor]) -> None:
        for k, factor in enumerate(factors):
            if factor.name in [other.name for other in factors[:k]]:
                self.root.fault(("factor", k), f"{factor.key} of {factor.arm} is chosen twice; keep one table.")
        if sum(factor.spans for factor in factors) > MOST_RANGES:
            self.root.fault("factor", f"more than {MOST_RANGES} factors have a range; give lists in place of some.")
        cells = math.prod(len(factor.values) for factor in factors if not factor.spans)
        if cells > MOST_CELLS:
            self.root.fault("factor", f"the factors make {cells} combinations; give at most {MOST_CELLS}.")

    def _of(self, table: Table, factors: Sequence[Factor]) -> str:
        """The arm that a table is about; the only one with factors if it is not said."""
        if "of" in table:
            return self._arm(table, "of")
        arms = list(dict.fromkeys(factor.arm for factor in factors))
        if len(arms) == 1:
            return arms[0]
        if arms:
            table.fault("of", f"`of` is missing; name one of the arms {', '.join(arms)}.")
        return ""

    def _quantity(self, table: Table) -> Quantity | None:
        text = table.text("quantity", None)
        if text is None:
            return None
        return self.faults.attempt(table.at("quantity"), lambda where: parse_quantity_of_course(text, where))

    def _requirement(self, table: Table, factors: Sequence[Factor]) -> Requirement | None:
        quantity, of = self._quantity(table), self._of(table, factors)
        against = self._arm(table, "against") if "against" in table else ""
        ends = [key for key in ("at_least", "at_most") if key in table]
        if len(ends) != 1:
            said = "has both at_least and at_most" if ends else "has no limit"
            table.fault((), f"a requirement {said}; give one of at_least and at_most.")
        if against and against == of:
            table.fault("against", f"{of} is compared with itself; name another arm.")
        probability = self._share(table, "with", DEFAULT_PROBABILITY)
        if quantity is None or len(ends) != 1 or not of:
            return None
        text = table.text(ends[0], None)
        read = None if text is None else self._limit(table, ends[0], text, quantity, against)
        if read is None or text is None:
            return None
        limit, share = read
        return Requirement(quantity, of, against, ends[0] == "at_least", limit, share, probability, text)

    def _share(self, table: Table, key: str, default: float) -> float:
        """A probability, as ``"80 %"``, ``"80 % probability"`` or 0.8."""
        if isinstance(text := table.data.get(key), str):
            value = table.parsed((key,), text.replace("probability", "").strip(), "1")
        else:
            value = table.number(key, default)
        if value is not None and not 0 < value < 1:
            table.fault(key, f'{key} is {text!r}; give a probability above 0 and below 1, such as "80 %".')
            return default
        return default if value is None else float(value)

    def _limit(self, table: Table, key: str, text: str, quantity: Quantity, against: str) -> tuple[float, bool] | None:
        """A limit, and whether it is a share of the comparator's value."""
        found = _LIMIT.fullmatch(text.strip())
        unit = found["unit"].removesuffix("of baseline").strip() if found else ""
        share = bool(against) and unit == "%"
        points = unit in ("point", "points", "percentage points") and quantity.unit.startswith(("%", "percentage"))
        if found is None or (points and not against):
            example = '"90 %" or "-0.5 points"' if against else f'"5 {quantity.unit}"'
            table.fault(key, f'{key} is "{text}"; write a number and its unit, such as {example}.')
            return None
        number = found["number"].replace("−", "-").replace(" ", "")
        if share or points or (unit == "%" and quantity.unit.startswith("%")):
            value = table.parsed((key,), number, "1")
            return None if value is None else (value / 100 if share else value, share)
        value = table.parsed((key,), f"{number} {unit}".strip(), quantity.unit.removesuffix(" of baseline"))
        return None if value is None else (value, False)

    def _preference(self, table: Table, factors: Sequence[Factor]) -> Preference | None:
        quantity, of = self._quantity(table), self._of(table, factors)
        ways = [key for key in ("least", "most") if table.flag(key)]
        if len(ways) != 1:
            table.fault((), "a preference has one direction; give least = true, or most = true.")
            return None
        return Preference(quantity, of, ways[0] == "least") if quantity is not None and of else None

    def _pilot(self, table: Table) -> Pilot | None:
        symbol = table.text("parameter", "")
        given = table.data.get("sd")
        if isinstance(given, str) and given.strip().endswith("%"):
            share = table.parsed(("sd",), given, "1")
            sd = None if share is None else -share  # of the value, which is known with the draws
        else:
            sd = table.number("sd", None, above=0)
        if sd is None or not symbol:
            return None
        return Pilot(table.text("name", "") or f"{symbol} measured", symbol, sd)

    def _size(self, factors: Sequence[Factor]) -> Size | None:
        table = self.root.table("size", SIZE)
        if table is None:
            return None
        name = table.text("endpoint", "")
        endpoints = {endpoint.name: endpoint for endpoint in self.trial.endpoints}
        if name and name not in endpoints:
            table.fault("endpoint", f"'{name}' is no endpoint of {self.trial.name}; {near(name, endpoints)}")
            return None
        arms = list(dict.fromkeys(factor.arm for factor in factors))
        arm = self._arm(table, "arm") if "arm" in table else arms[0] if len(arms) == 1 else ""
        if not arm and arms and "arm" not in table:
            table.fault("arm", f"`arm` is missing; name one of the arms {', '.join(arms)}.")
        against = table.text("against", "")
        comparator = against or (endpoints[name].against if name else None) or self.trial.control or ""
        known = [each.name for each in self.trial.arms]
        if comparator not in known:
            table.fault("against", f"'{comparator}' is not an arm of {self.trial.name}; {near(comparator, known)}")
        elif comparator == arm:
            table.fault("against", f"{arm} is compared with itself; name another arm.")
        span = _RANGE.fullmatch(table.text("patients", ""))
        ends = [int(end) if end.isdigit() else 0 for end in span.groups()] if span else [0, 0]
        if not 4 <= ends[0] < ends[1] <= MOST_SIZE:
            given = table.data.get("patients")
            table.fault("patients", f'patients is {given!r}; give a range within 4 and {MOST_SIZE}, as "100..2000".')
            return None
        self.sized = [comparator]
        vectors = table.whole("vectors", 100, least=20, most=len(ensemble()))
        return Size(name, arm, against, self._share(table, "assurance", 0.8), ends[0], ends[1], vectors)

    def _contradictions(self, requirements: Sequence[Requirement]) -> None:
        for k, one in enumerate(requirements):
            for other in requirements[:k]:
                same = (one.quantity, one.of, one.against, one.share) == (
                    other.quantity, other.of, other.against, other.share,
                )  # fmt: skip
                low, high = (one, other) if one.least else (other, one)
                if same and one.least != other.least and low.limit > high.limit:
                    self.root.fault(
                        ("require", k),
                        f"{one.quantity.label} of {one.of} must be at least {low.text} and at most {high.text}, which "
                        "contradict each other; change one.",
                    )

    def _possible(self, question: Question) -> None:
        """Every design can be given, and every time that is asked for is simulated."""
        seen = set()
        for regimen in question.extreme_doses:
            agent = next(agent for agent in question.agents if agent.name == regimen.agent)
            if fault := agent.dose_fault(regimen.dose_mg):
                self.root.fault("factor", fault)
        for cell in question.cells:
            choice = dict(zip((factor.name for factor in question.lists), cell, strict=True))
            if question.axis:
                choice[question.axis.name] = question.axis.values[0]
            try:
                arms = [question.arm_of(arm.name, choice) for arm in question.trial.arms]
            except BadInput as fault:
                for message in fault.messages:
                    if message not in seen:
                        seen.add(message)
                        self.root.fault("factor", message)
                continue
            ends = {arm.name: question.end_of(arm) for arm in arms}
            given = max((r.end_day for arm in arms for r in arm.regimens), default=0.0) / DAYS_PER_MONTH
            if given > question.months + SAME:
                message = (
                    f"treatment lasts until {given:.4g} mo, and the simulation ends at {question.months:g} mo; "
                    f"set months = {math.ceil(given - SAME)} or more."
                )
                if message not in seen:
                    seen.add(message)
                    self.root.fault("months", message)
                continue
            asked = [(r.quantity, name) for r in question.requirements for name in (r.of, r.against) if name]
            asked += [(p.quantity, p.of) for p in question.preferences]
            for quantity, name in asked:
                try:
                    quantity.months(ends[name], question.months)
                except BadInput as fault:
                    if fault.messages[0] not in seen:
                        seen.add(fault.messages[0])
                        self.root.fault("months", fault.messages[0])


def _regimen(text: str, folder: Path, where: str) -> list[Regimen]:
    return parse_regimen(text, folder=folder, where=where)
