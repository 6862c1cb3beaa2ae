"""How a trial is run, as its table [conduct] says: leaving, stopping, doses late or missed, rescue, events counted.

Everything is off by default. Times are months, hazards 1/yr, ratios multiply a hazard.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ranklsim.cohorts import events

AT_VISITS = 27.0
"""Days; a shorter interval is for doses taken at home."""

LIFE_TABLES = Path(__file__).parents[1] / "data" / "life_tables"


def life_tables() -> list[str]:
    """Names of the life tables that ship."""
    return sorted(path.stem for path in LIFE_TABLES.glob("*.toml"))


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
        `every_days` 0 for a single dose.
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


@dataclass(frozen=True)
class Enrolment:
    """Patients come at `per_month` once the sites are open, which takes `ramp_months` (rate rising linearly)."""

    per_month: float
    ramp_months: float = 0.0


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

    @property
    def dropout(self) -> Hazard:
        """Hazard of leaving, but for what depends on response."""
        return Hazard(self.dropout_per_year, self.dropout_arms, self.dropout_from)
