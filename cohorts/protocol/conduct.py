"""How a trial is run, and the reading of its table [conduct]: leaving, stopping, late doses, rescue, events counted.

Everything is off by default. Times are months, hazards 1/yr, ratios multiply a hazard.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ranklsim.cohorts import events
from ranklsim.cohorts.events import COMPLETED, FRACTURES, RESCUE, SWITCH
from ranklsim.cohorts.measures import MEASURES
from ranklsim.pkpd.agents import Agent, load_agent
from ranklsim.pkpd.dosing import NO_MASS, Dose, Regimen, dose_unit, mg_of
from ranklsim.pkpd.errors import near
from ranklsim.pkpd.parameters import load_parameters
from ranklsim.pkpd.reading import MOST_DOSES, Shape, Table
from ranklsim.pkpd.tomltext import Key

IMAGED_EVERY = 12.0
"""Months between spine images if the file does not name them."""

AT_VISITS = 27.0
"""Days; a shorter interval is for doses taken at home."""

LIFE_TABLES = Path(__file__).parents[1] / "data" / "life_tables"

LARGEST_RATIO = 100.0


@dataclass(frozen=True)
class Hazard:
    """A rate at which patients leave or stop.

    Attributes
    ----------
    per_year : float
        Hazard, 1/yr, before any ratio.
    arms : mapping of str to float
        Ratio of an arm; 1 where it is not named.
    from_month : tuple of (float, float)
        Month and the ratio that holds from then on, increasing; 1 before the first.
    """

    per_year: float = 0.0
    arms: Mapping[str, float] = field(default_factory=dict)
    from_month: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Response:
    """How the hazard of dropout depends on a measure's change from baseline.

    The hazard is multiplied by ``ratio ** (change / per)``. `observed` says which change: that between her first and
    her latest readings (missing at random), or the present true one, which nobody has seen (not at random).
    """

    measure: str
    per: float  # a fraction, such as -0.05 for a loss of 5 %
    ratio: float
    observed: bool


@dataclass(frozen=True)
class Delay:
    """A share of the doses given at visits is late, by a time of this median and 95th percentile (days)."""

    share: float
    median: float
    p95: float
    distribution: str = "lognormal"  # or gamma


@dataclass(frozen=True)
class Adherence:
    """How an agent is taken at home.

    `taken` is the mean share of doses taken while she persists, `sd` its SD over patients (beta distribution);
    `stop_per_year` the hazard of giving the agent up, 1/yr.
    """

    taken: float
    sd: float
    stop_per_year: float


@dataclass(frozen=True)
class Trigger:
    """What sets off a rescue or a switch: an event, or a reading below (or above) a limit.

    Attributes
    ----------
    text : str
        As the file says it.
    event : str
        An event of ``events``, or "" for a reading.
    measure : str
        Of BMD; compared as T-score (`kind` "T") or as change from baseline, a fraction (`kind` "change").
    kind : str
    sign : str
        "<" or ">".
    limit : float
    """

    text: str
    event: str = ""
    measure: str = ""
    kind: str = ""
    sign: str = "<"
    limit: float = 0.0


@dataclass(frozen=True)
class Rule:
    """A patient's treatment is replaced, at a month or on a trigger.

    Attributes
    ----------
    event : str
        "rescue" or "switch".
    agent : str or None
        What she is given; None for nothing.
    dose_mg, every_days : float
        `every_days` 0 for a single dose; `dose_mg` for each kg of body weight where `per_kg`.
    doses : int or None
        How many; None for as many as the trial lasts.
    month : float or None
        When, unless a trigger says so.
    triggers : tuple of Trigger
        Any of them sets it off.
    after : float
        Month before which nothing is triggered.
    arms : tuple of str
        Arms it is for; empty for all.
    share : float
        Of the patients concerned, those in whom it is done.
    per_kg : bool
    cap_mg : float
        Largest dose by weight, mg.
    """

    event: str
    agent: str | None
    dose_mg: float
    every_days: float
    doses: int | None
    month: float | None = None
    triggers: tuple[Trigger, ...] = ()
    after: float = 0.0
    arms: tuple[str, ...] = ()
    share: float = 1.0
    per_kg: bool = False
    cap_mg: float = math.inf

    @property
    def dose(self) -> Dose:
        """Each dose."""
        return Dose(self.dose_mg, self.per_kg, self.cap_mg)


@dataclass(frozen=True)
class Enrolment:
    """Patients come at `per_month` once the sites are open, which takes `ramp_months` (rate rising linearly).

    `steps` are later months with the rate from then on, increasing.
    """

    per_month: float
    ramp_months: float = 0.0
    steps: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Conduct:
    """How the trial is run.

    `dropout_per_year` is the hazard of leaving, 1/yr, before the ratios of `dropout`; `supplements` whether all start
    calcium and vitamin D; `missed` the share of doses at visits that is not given; `window_days` by how much a visit
    may be off; `imaging` the months of spine images; `looks` calendar months, or fractions of the patients who have
    completed, at which the data are cut.
    """

    dropout_per_year: float = 0.0
    supplements: bool = False
    dropout_arms: Mapping[str, float] = field(default_factory=dict)
    dropout_from: tuple[tuple[float, float], ...] = ()
    dropout_response: Response | None = None
    stop: Hazard = Hazard()
    missed: float = 0.0
    late: Delay | None = None
    adherence: Mapping[str, Adherence] = field(default_factory=dict)
    window_days: int = 0
    rules: tuple[Rule, ...] = ()
    enrolment: Enrolment | None = None
    looks: tuple[tuple[str, float], ...] = ()  # ("month" or "completed", value)
    fractures: bool = False
    imaging: tuple[float, ...] = ()
    deaths: bool = False
    life_table: str = "us-women-2009"
    mortality_ratio: float | None = None
    hypocalcaemia: bool = False

    @property
    def recorded(self) -> set[str]:
        """Events of `events` that such a trial may record, besides randomised and completed."""
        found = {rule.event for rule in self.rules}
        leaving = self.dropout_per_year > 0
        stopping = self.stop.per_year > 0 or any(a.stop_per_year > 0 for a in self.adherence.values())
        for event, on in (
            (events.DROPOUT, leaving),
            (events.STOPPED, stopping),
            (events.DEATH, self.deaths),
            (events.HYPOCALCAEMIA, self.hypocalcaemia),
            *((event, self.fractures) for event in events.FRACTURES),
        ):
            if on:
                found.add(event)
        return found

    def without(self, names: Collection[str]) -> Conduct:
        """The same conduct in which some events never happen, and all else happens as it would.

        Parameters
        ----------
        names : collection of str
            Of dropout, stopped, rescue, switch and death.
        """
        found = replace(self, rules=tuple(replace(r, share=0.0) if r.event in names else r for r in self.rules))
        if events.DROPOUT in names:
            found = replace(found, dropout_per_year=0.0, dropout_response=None)
        if events.STOPPED in names:
            taken = {agent: replace(habit, stop_per_year=0.0) for agent, habit in self.adherence.items()}
            found = replace(found, stop=Hazard(), adherence=taken)
        return replace(found, deaths=False) if events.DEATH in names else found

    @property
    def of_arms(self) -> bool:
        """Whether anything but the doses differs between arms."""
        return bool(self.dropout_arms or self.stop.arms or self.adherence or any(rule.arms for rule in self.rules))

    @property
    def dropout(self) -> Hazard:
        """Hazard of leaving, but for what depends on response."""
        return Hazard(self.dropout_per_year, self.dropout_arms, self.dropout_from)


# --- reading ---

_READING = re.compile(
    r"(?:T_(?P<site>LS|TH|FN|R13)|(?P<measure>\w+)\s+change)\s*(?P<sign>[<>])\s*(?P<number>[+-]?\d+(?:\.\d+)?)(?(measure)\s*%)"
)
_SHARE_LOOK = re.compile(r"(\d+(?:\.\d+)?)\s*% completed")
_EVENT_LOOK = re.compile(r"(\d+)\s+([a-z_]{3,})")

CONDUCT = Shape(
    {
        "dropout": '"5 %/yr"',
        "dropout_arms": "{ placebo = 1.3 }",
        "dropout_months": '{ "12 mo" = 0.7 }',
        "dropout_response": '{ of = "BMD_TH", per = "-3 %", ratio = 1.5 }',
        "supplements": "true or false",
        "stop_treatment": '"3 %/yr"',
        "stop_arms": "{ placebo = 0.8 }",
        "stop_months": '{ "12 mo" = 0.5 }',
        "missed_doses": '"3 %"',
        "late_doses": '{ share = "10 %", median = "3 wk", p95 = "4 mo" }',
        "adherence": '[{ agent = "alendronate", taken = "80 %" }]',
        "visit_window": '"7 day"',
        "rescue": '{ when = ["T_TH < -3.5"], agent = "zoledronate", dose = "5 mg", doses = 1 }',
        "switch": '[{ at = "24 mo", agent = "zoledronate", dose = "5 mg", doses = 1 }]',
        "enrolment": '{ rate = "60 patients/mo" }',
        "looks": '["24 mo", "50 % completed", "60 hip"]',
        "fractures": "true or false",
        "imaging": "[12, 24, 36]",
        "deaths": "true or false",
        "life_table": '"us-women-2009"',
        "mortality_ratio": "0.4",
        "hypocalcaemia": "true or false",
    }
)
RESPONSE = Shape(
    {"of": '"BMD_TH"', "per": '"-3 %"', "ratio": "1.5", "seen": '"observed"'}, needed=("of", "per", "ratio")
)
LATE = Shape(
    {"share": '"10 %"', "median": '"3 wk"', "p95": '"4 mo"', "distribution": '"lognormal"'},
    needed=("share", "median", "p95"),
)
ADHERENCE = Shape(
    {"agent": '"alendronate"', "taken": '"80 %"', "sd": '"15 %"', "stop": '"30 %/yr"'}, needed=("agent", "taken")
)
RULE = Shape(
    {
        "when": '["T_TH < -3.5", "hip"]',
        "at": '"24 mo"',
        "agent": '"zoledronate"',
        "dose": '"5 mg"',
        "cap": '"120 mg"',
        "every": '"12 mo"',
        "doses": "1",
        "after": '"12 mo"',
        "arms": '["placebo"]',
        "share": '"50 %"',
    }
)
ENROLMENT = Shape(
    {"rate": '"60 patients/mo"', "ramp_up": '"6 mo"', "rates": '{ "6 mo" = "90 patients/mo" }'}, needed=("rate",)
)


def read_conduct(table: Table, arms: Mapping[str, Sequence[Regimen]], months: float | None, folder: Path) -> Conduct:
    """What the table [conduct] of a trial's file says, as far as it can be read.

    Parameters
    ----------
    table : Table
        Of shape `CONDUCT`.
    arms : mapping of str to sequence of Regimen
        What each arm is given; empty where a fault hides an arm.
    months : float or None
        Length of the trial.
    folder : Path
        Where the user's own agents are.
    """
    return _Reader(table, arms, months, folder).conduct()


class _Reader:
    """The table [conduct] on its way to a `Conduct`; notes faults and goes on."""

    def __init__(self, table: Table, arms: Mapping[str, Sequence[Regimen]], months: float | None, folder: Path) -> None:
        self.table, self.arms, self.months, self.folder = table, arms, months, folder
        self.fractures = table.flag("fractures")

    def conduct(self) -> Conduct:
        table = self.table
        rules = self._rules()
        dropout = self._hazard("dropout", "dropout")
        return Conduct(
            dropout_per_year=dropout.per_year,
            supplements=table.flag("supplements"),
            dropout_arms=dropout.arms,
            dropout_from=dropout.from_month,
            stop=self._hazard("stop_treatment", "stop"),
            dropout_response=self._response(dropout.per_year),
            missed=table.quantity("missed_doses", "%", 0.0, least=0, below=100) / 100,
            late=self._late(),
            adherence=self._adherence(rules),
            window_days=self._window(),
            rules=rules,
            enrolment=self._enrolment(),
            looks=tuple(self._looks()),
            fractures=self.fractures,
            imaging=self._imaging(),
            deaths=table.flag("deaths"),
            life_table=table.choice("life_table", _life_tables(), "us-women-2009"),
            mortality_ratio=table.number("mortality_ratio", None, least=0, most=LARGEST_RATIO),
            hypocalcaemia=table.flag("hypocalcaemia"),
        )

    def _hazard(self, key: str, stem: str) -> Hazard:
        rate = self.table.quantity(key, "%/yr", 0.0, least=0, below=100)
        arms = self.table.mapping(f"{stem}_arms", float, {})
        months = self.table.mapping(f"{stem}_months", float, {})
        for arm in arms:
            self._arm((f"{stem}_arms", arm), f"{stem}_arms", arm)
        spells = []
        for start, ratio in months.items():
            month = self._month((f"{stem}_months", start), start)
            if month is not None:
                spells.append((month, ratio))
        for where, given in ((f"{stem}_arms", arms), (f"{stem}_months", months)):
            for name, ratio in given.items():
                if not 0 <= ratio <= LARGEST_RATIO:
                    said = f"{where} {name} = {ratio:g} is not a ratio of hazards"
                    self.table.fault((where, name), f"{said}; give 0 to {LARGEST_RATIO:g}.")
            if given and rate == 0 and not self.table.faults.touch(self.table.at(key)):
                self.table.fault(where, f"{where} has ratios, but {key} is 0; give {key} a rate.")
        return Hazard(rate / 100, arms, tuple(sorted(spells)))

    def _arm(self, keys: tuple[str | int, ...], what: str, arm: str) -> None:
        if self.arms and arm not in self.arms:
            self.table.fault(keys, f"{what} names '{arm}', which is not an arm; {near(arm, self.arms)}")

    def _month(self, keys: tuple[str | int, ...], text: str) -> float | None:
        """A month of the trial, before its end."""
        month = self.table.parsed(keys, text, "mo")
        if month is None or self.months is None or 0 <= month < self.months:
            return month
        give = f"give a month from 0 to below {self.months:g} mo."
        self.table.fault(keys, f'"{text}" is not within the trial; {give}')
        return None

    def _late(self) -> Delay | None:
        table = self.table.table("late_doses", LATE)
        if table is None:
            return None
        share = table.quantity("share", "%", 0.0, least=0, below=100) / 100
        median, p95 = (table.quantity(key, "day", None, above=0) for key in ("median", "p95"))
        distribution = table.choice("distribution", ("lognormal", "gamma"), "lognormal")
        if median is None or p95 is None:
            return None
        if p95 <= median:
            said = f'p95 = "{table.data["p95"]}" is not above median = "{table.data["median"]}"'
            table.fault("p95", f"{said}; give more.")
        return Delay(share, median, p95, distribution)

    def _imaging(self) -> tuple[float, ...]:
        images = self.table.times("imaging", "mo", None)
        if images is None:
            last = math.floor((self.months or 0) / IMAGED_EVERY)
            return tuple(IMAGED_EVERY * k for k in range(1, last + 1)) if self.fractures else ()
        if not self.fractures:
            self.table.fault("imaging", "imaging finds vertebral fractures; set fractures = true, or leave it out.")
        if not images:
            self.table.fault("imaging", "imaging is empty; name a month, or leave it out for an image a year.")
        for index, month in enumerate(images):
            here = ("imaging", index)
            if month <= 0:
                self.table.fault(here, f"imaging has {month:g} mo; give months after 0.")
            elif self.months is not None and month > self.months:
                self.table.fault(here, f"imaging has {month:g} mo, but the trial ends at {self.months:g} mo.")
            if index and month <= images[index - 1]:
                said = f"imaging has {month:g} after {images[index - 1]:g}"
                self.table.fault(here, f"{said}; put the months in order, each once.")
        return tuple(images)

    def _response(self, rate: float) -> Response | None:
        table = self.table.table("dropout_response", RESPONSE)
        if table is None:
            return None
        of = table.choice("of", MEASURES, None)
        per = table.quantity("per", "%", None)
        ratio = table.number("ratio", None, above=0, most=LARGEST_RATIO)
        seen = table.choice("seen", ("observed", "latent"), "observed")
        if per == 0:
            table.fault("per", 'per is 0 %; give the change that the ratio is for, such as "-3 %".')
        if rate == 0:
            table.fault((), 'dropout_response multiplies dropout, which is 0; give dropout a rate, as in "5 %/yr".')
        if of is None or per is None or ratio is None:
            return None
        return Response(of, per / 100, ratio, seen == "observed")

    def _adherence(self, rules: Sequence[Rule]) -> dict[str, Adherence]:
        found: dict[str, Adherence] = {}
        for table in self.table.tables("adherence", ADHERENCE):
            agent = table.text("agent", "")
            taken = table.quantity("taken", "%", None, above=0, most=100)
            sd = table.quantity("sd", "%", 0.0, least=0, below=100) / 100
            stop = table.quantity("stop", "%/yr", 0.0, least=0) / 100
            if not agent or taken is None:
                continue
            if agent in found:
                table.fault("agent", f"adherence to '{agent}' is given twice; give it once.")
            self._taken_at_home(table, agent, rules)
            share = taken / 100
            if sd > 0 and sd**2 >= share * (1 - share):
                said = f'sd = "{table.data["sd"]}" is too large for shares around {taken:g} %'
                table.fault("sd", f"{said}; give less.")
            found[agent] = Adherence(share, sd, stop)
        return found

    def _taken_at_home(self, table: Table, name: str, rules: Sequence[Rule]) -> None:
        """Refuse an agent that nobody is given, or that is given at visits."""
        every = [r.every_days for regimens in self.arms.values() for r in regimens if r.agent == name]
        every += [r.every_days for r in rules if r.agent == name]
        if not every:
            if self.arms:
                known = sorted({r.agent for regimens in self.arms.values() for r in regimens if r.agent})
                table.fault("agent", f"adherence names '{name}', which no arm is given; {near(name, known)}")
            return
        swallowed = load_agent(name, folder=self.folder).route == "PO"
        if not swallowed and all(days == 0 or days >= AT_VISITS for days in every):
            table.fault("agent", f"{name} is given at visits; use missed_doses and late_doses for it.")

    def _window(self) -> int:
        days = self.table.quantity("visit_window", "day", 0.0)
        if 0 <= days <= 60 and days.is_integer():
            return int(days)
        said = self.table.data["visit_window"]
        self.table.fault("visit_window", f'visit_window is "{said}"; give whole days, from 0 to 60.')
        return 0

    def _rules(self) -> tuple[Rule, ...]:
        rescue = self.table.table("rescue", RULE)
        parts = [] if rescue is None else [(RESCUE, rescue)]
        parts += [(SWITCH, table) for table in self.table.tables("switch", RULE)]
        return tuple(rule for event, table in parts if (rule := self._rule(event, table)) is not None)

    def _rule(self, event: str, table: Table) -> Rule | None:
        """One rescue or switch."""
        before = len(table.faults)
        if ("when" in table) == ("at" in table):
            table.fault((), f'{event} needs one of when = ["T_TH < -3.5"] and at = "24 mo".')
            return None
        month, after = (self._month_of(table, key) for key in ("at", "after"))
        texts = table.values("when", str, None)
        triggers = [self._trigger(table.at("when", k), text) for k, text in enumerate(texts or [])]
        if texts == []:
            table.fault("when", 'when is empty; name a trigger, such as "T_TH < -3.5" or "hip".')
        arms = table.values("arms", str, [])
        for index, arm in enumerate(arms):
            self._arm((*table.path[1:], "arms", index), event, arm)
        share = table.quantity("share", "%", 100.0, above=0, most=100) / 100
        agent = table.text("agent", None)
        doses = table.whole("doses", None, least=1, most=MOST_DOSES)
        every = table.quantity("every", "day", 0.0, above=0)
        drug, dose = dose_of(table, agent, self.folder)
        if agent is None:
            for key in [key for key in ("dose", "cap", "every", "doses") if key in table]:
                table.fault(key, f"{event} has {key}, but no agent; name it, or leave {key} out.")
        elif drug and "every" not in table and doses not in (None, 1):
            table.fault("every", 'every is missing; say how often, such as every = "6 mo".')
        if len(table.faults) > before or None in triggers:
            return None
        kept = tuple(trigger for trigger in triggers if trigger is not None)
        own = (month, kept, after or 0.0, tuple(arms), share)
        return Rule(event, agent, dose.mg, every, doses, *own, dose.per_kg, dose.cap_mg)

    def _month_of(self, table: Table, key: str) -> float | None:
        text = table.text(key, None)
        return None if text is None else self._month((*table.path[1:], key), text)

    def _trigger(self, path: Key, text: str) -> Trigger | None:
        if text in FRACTURES:
            if not self.fractures:
                self._fault(path, f'"{text}" is a fracture, and none are counted; set fractures = true.')
            return Trigger(text, event=text)
        found = _READING.fullmatch(text)
        if found is None:
            known = ", ".join(FRACTURES)
            said = f'"{text}" is not a trigger; write "T_TH < -3.5", "BMD_LS change < -7 %" or one of {known}.'
            self._fault(path, said)
            return None
        sign, number = found["sign"], float(found["number"])
        if found["site"]:
            return Trigger(text, measure=f"BMD_{found['site']}", kind="T", sign=sign, limit=number)
        if found["measure"] not in MEASURES:
            self._fault(path, f"unknown measure '{found['measure']}'; {near(found['measure'], MEASURES)}")
            return None
        return Trigger(text, measure=found["measure"], kind="change", sign=sign, limit=number / 100)

    def _fault(self, path: Key, sentence: str) -> None:
        self.table.faults.add(path, sentence)

    def _enrolment(self) -> Enrolment | None:
        table = self.table.table("enrolment", ENROLMENT)
        if table is None:
            return None
        text = table.text("rate", None)
        rate = None if text is None else table.parsed(("rate",), re.sub(r"patients?", "1", text), "1/mo")
        ramp = table.quantity("ramp_up", "mo", 0.0, least=0)
        steps: list[tuple[float, float]] = []
        for when, much in table.mapping("rates", str, {}).items():
            month = table.parsed(("rates", when), when, "mo")
            later = table.parsed(("rates", when), re.sub(r"patients?", "1", much), "1/mo")
            if month is not None and later is not None:
                if month <= 0 or later < 0:
                    table.fault(
                        ("rates", when), f'rates has "{when}" = "{much}"; give a month after 0 and a rate of 0 or more.'
                    )
                steps.append((month, later))
        steps.sort()
        if steps and steps[-1][1] <= 0:
            table.fault("rates", "the last of rates is 0, so that enrolment would never end; give a rate above 0.")
            return None
        if steps and ramp:
            table.fault("ramp_up", "both ramp_up and rates are given; leave one of them out.")
        if rate is None or not table.within("rate", rate, "patients/mo", above=0):
            return None
        return Enrolment(rate, ramp, tuple(steps))

    def _looks(self) -> Iterator[tuple[str, float]]:
        looks = self.table.values("looks", str, [])
        for index, text in enumerate(looks):
            path = self.table.at("looks", index)
            if text in looks[:index]:
                self._fault(path, f'look "{text}" is given twice; give it once.')
            if found := _SHARE_LOOK.fullmatch(text):
                share = float(found[1])
                if not 0 < share <= 100:
                    self._fault(path, f'look "{text}" is not possible; give more than 0 and up to 100 % completed.')
                yield COMPLETED, share / 100
            elif found := _EVENT_LOOK.fullmatch(text):
                if float(found[1]) <= 0:
                    self._fault(path, f'look "{text}" is not possible; give more than 0 events.')
                if found[2] not in FRACTURES:
                    self._fault(path, f"look \"{text}\" counts '{found[2]}'; {near(found[2], FRACTURES)}")
                elif not self.fractures:
                    self._fault(path, f'look "{text}" counts fractures, and none happen; set fractures = true.')
                yield found[2], float(found[1])
            elif "mo" in text:
                month = self.table.parsed(("looks", index), text, "mo")
                if month is not None and month <= 0:
                    self._fault(path, f'look "{text}" is not possible; give more than 0 mo.')
                yield "month", month or 1.0
            else:
                self._fault(path, f'"{text}" is not a look; write "24 mo", "50 % completed" or "60 hip".')


def _life_tables() -> list[str]:
    return sorted(path.stem for path in LIFE_TABLES.glob("*.toml"))


def dose_of(table: Table, name: str | None, folder: Path) -> tuple[Agent | None, Dose]:
    """Agent and dose that the keys `agent`, `dose` and `cap` of a table give.

    Faults are noted; so is a dose that is missing, or that cannot be meant.

    Parameters
    ----------
    table : Table
    name : str or None
        Name of the agent.
    folder : Path
        Where the user's own agents are.

    Returns
    -------
    Agent or None
        None where there is none, or it cannot be read.
    Dose
        0 mg where there is none, or it has a fault.
    """
    place, agent = table.faults.at(table.at("agent")), None
    if name is not None:
        agent = table.faults.attempt(table.at("agent"), lambda _: load_agent(name, folder=folder, where=place))
    units = {key: dose_unit(str(table.data.get(key, ""))) for key in ("dose", "cap")}
    mg = {"dose": 0.0, "cap": math.inf}
    per_kg, units["cap"] = units["dose"].endswith("/kg"), units["cap"].removesuffix("/kg")
    for key, unit in units.items():
        factor = 1.0 if agent is None else mg_of(unit, agent)
        if agent is not None and math.isnan(factor):
            table.fault(key, f'{key} is "{table.data[key]}", and {agent.name} {NO_MASS}')
        mg[key] = table.quantity(key, unit, mg[key], above=0) * factor
    if "cap" in table and not per_kg:
        table.fault("cap", 'cap is for a dose by weight, such as dose = "1 mg/kg"; leave it out.')
    if agent is not None and "dose" not in table and agent.kind != "none":
        table.fault("dose", 'dose is missing; give it with its unit, such as dose = "60 mg".')
    if table.faults.touch(table.at("dose")) or table.faults.touch(table.at("cap")):
        return agent, Dose()
    dose = Dose(mg["dose"], per_kg, mg["cap"])
    if agent is not None and dose.mg and (fault := agent.dose_fault(float(dose.of(load_parameters()["WT"])))):
        table.fault("dose", f"{dose.words} for a typical patient: {fault}" if per_kg else fault)
    return agent, dose
