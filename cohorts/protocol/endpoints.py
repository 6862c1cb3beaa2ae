"""What a protocol wants to know: endpoints, estimands, interim analyses and multiplicity, as a trial file states them.

An estimand has the five attributes of ICH E9(R1) [1]_: population, treatment, variable (an endpoint), intercurrent
events each with its strategy, and the summary measure.

References
----------
.. [1] ICH E9(R1) Addendum on estimands and sensitivity analysis in clinical trials, step 4, 20 November 2019.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ranklsim.cohorts import events
from ranklsim.cohorts.people.criteria import Range

STRATEGIES = ("treatment policy", "hypothetical", "while on treatment", "composite")
"""What may be done with an intercurrent event (ICH E9(R1)); principal stratum is not offered."""

COUNTED = (*events.FRACTURES, events.HYPOCALCAEMIA, events.DEATH)
"""Events that an endpoint may count."""

INTERCURRENT = (events.STOPPED, events.DROPOUT, events.RESCUE, events.SWITCH, events.DEATH)
"""Events that an estimand may have a strategy for."""

EVENT_WORDS = {
    "vertebral": "new vertebral fracture",
    "clinical_vertebral": "clinical vertebral fracture",
    "hip": "hip fracture",
    "nonvertebral": "nonvertebral fracture",
    "hypocalcaemia": "hypocalcaemia",
    "death": "death",
    "stopped": "stopping treatment",
    "dropout": "leaving the study",
    "rescue": "rescue treatment",
    "switch": "switch of treatment",
}

DURABILITY = {
    "months back": ("mo", "months from the end of treatment until BMD is back at baseline"),
    "share kept": ("%", "share of the gain in BMD that is kept"),
    "area": ("%-months", "area of BMD (or a marker) above baseline after the end of treatment"),
    "peak": ("%", "highest marker after the end of treatment, percent of baseline"),
    "peak month": ("mo", "months from the end of treatment to the highest marker"),
}
"""What may be asked of the time after the end of treatment: unit and meaning."""


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """What every endpoint has.

    `role` is primary, key secondary, secondary or exploratory. `margin` is the largest loss against control that a
    non-inferiority claim allows (> 0, in the unit of the difference; for a ratio the largest ratio, > 1), None where
    superiority is asked. `covariates` enter the model beside arm, baseline and strata.
    """

    name: str
    role: str
    analysis: str
    margin: float | None = None
    covariates: tuple[str, ...] = ()

    @property
    def months(self) -> tuple[float, ...]:
        """Months that the endpoint names."""
        return ()

    @property
    def of_hazard(self) -> bool:
        """Whether arms are compared by a hazard ratio, whose information is counted in events."""
        return self.analysis in ("Cox", "log-rank")


@dataclass(frozen=True, kw_only=True)
class Change(Endpoint):
    """A change of one measure between two of its visits; `kind` is percent or absolute.

    `analysis` is ANCOVA, MMRM, mean difference or median difference.
    """

    measure: str
    from_month: float
    to_month: float
    kind: str = "percent"

    @property
    def months(self) -> tuple[float, ...]:
        return (self.from_month, self.to_month)


@dataclass(frozen=True, kw_only=True)
class Responder(Endpoint):
    """Whether the percent change of a measure is on the right side of a limit (`sign` one of >=, >, <=, <)."""

    measure: str
    from_month: float
    to_month: float
    sign: str
    limit: float

    @property
    def months(self) -> tuple[float, ...]:
        return (self.from_month, self.to_month)


@dataclass(frozen=True, kw_only=True)
class Event(Endpoint):
    """Whether and when something happened, after `from_month` and by `by_month`; at least `least` of it summed up."""

    event: str
    by_month: float
    from_month: float = 0.0
    least: int = 1

    @property
    def grouped(self) -> bool:
        """Whether the event is found at planned visits, so that only the interval in which it happened is known."""
        return self.analysis in ("Mantel-Haenszel", "logistic")

    @property
    def of_incidence(self) -> bool:
        """Whether arms are compared by their cumulative incidence, so that a competing event counts against it."""
        return self.analysis in ("Fine-Gray", "Gray")


@dataclass(frozen=True, kw_only=True)
class Rate(Endpoint):
    """How many of an event a patient and year, between two months."""

    event: str
    by_month: float
    from_month: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Durability(Endpoint):
    """One of `DURABILITY` of a measure; `after` is months since the end of treatment, for a share kept."""

    measure: str
    what: str
    after: float | None = None


def higher_is_better(endpoint: Endpoint) -> bool:
    """Which side of control a benefit is on: more BMD, calcium and responders; less turnover, fewer events."""
    if isinstance(endpoint, Event | Rate):
        return False
    measure = str(getattr(endpoint, "measure", ""))
    return isinstance(endpoint, Responder) or measure.startswith("BMD") or measure == "CA"


@dataclass(frozen=True)
class Estimand:
    """A question after ICH E9(R1).

    Attributes
    ----------
    name : str
    endpoint : str
        Variable: the endpoint's name.
    primary : bool
    population : dict
        Covariate to closed range; empty for all patients randomised.
    arms : tuple of str
        Treatments that are compared with control.
    events : dict
        Intercurrent event to one of `STRATEGIES`.
    missing : str
        How values that were not seen are imputed: MAR, J2R, CIR or CR.
    summary : str
        Difference of means, difference of medians, risk difference, risk ratio, odds ratio, hazard ratio,
        subdistribution hazard ratio, rate ratio.
    """

    name: str
    endpoint: str
    primary: bool
    population: dict[str, Range]
    arms: tuple[str, ...]
    events: dict[str, str]
    missing: str
    summary: str

    def with_strategy(self, strategy: str) -> tuple[str, ...]:
        """Events that are handled so."""
        return tuple(event for event, how in self.events.items() if how == strategy)


@dataclass(frozen=True)
class Multiplicity:
    """How the type-I error over several hypotheses is kept; a hypothesis is an endpoint in an arm against control.

    `weights` and `transitions` are those of the graphical method, empty otherwise.
    """

    method: str
    alpha: float
    hypotheses: tuple[tuple[str, str], ...]
    weights: tuple[float, ...] = field(default=())
    transitions: tuple[tuple[float, ...], ...] = field(default=())


SPENDING = ("O'Brien-Fleming", "Pocock")
"""How alpha is spent over looks: the spending functions of Lan and DeMets that are near these designs."""


@dataclass(frozen=True)
class Futility:
    """When a look says that going on is in vain: conditional power below `below` (0 to 1).

    `under` says which effect the data to come are thought to have: "trend" that seen so far, "design" the planned one.
    A `binding` rule ends the test; one that is not binding is advice, and a later crossing still counts.
    """

    below: float
    under: str
    binding: bool


@dataclass(frozen=True)
class Interim:
    """How the looks of a trial test one endpoint.

    Attributes
    ----------
    endpoint : str
    arms : tuple of str
        Compared with control, each at an equal share of `alpha`.
    spending : str
        One of `SPENDING`.
    alpha : float
        Two-sided, over all looks and arms.
    planned_events : float or None
        Patients with the event at which all information is there; None for as many as the trial ends with.
    planned_error : float or None
        Standard error of the effect (of its logarithm, for a ratio) at which all information is there.
    effect : float or None
        Effect that the trial was designed for, on the scale of the effect; shares as shares.
    futility : Futility or None
    """

    endpoint: str
    arms: tuple[str, ...]
    spending: str
    alpha: float
    planned_events: float | None = None
    planned_error: float | None = None
    effect: float | None = None
    futility: Futility | None = None


@dataclass(frozen=True)
class TippingPoint:
    """How bad the unseen values of an endpoint must be for its result to be lost; `missing` is what stands for them."""

    endpoint: str
    missing: str


@dataclass(frozen=True)
class PerProtocol:
    """Major deviations from the protocol, each None or empty if it is not one.

    Attributes
    ----------
    missed : float or None
        Share of the doses at visits that were due, above which too many were missed.
    late_months : float or None
        A dose later than this after its month.
    visit_months : float or None
        The visit of a change or responder further than this from its month.
    events : tuple of str
        Of `DEVIATING`, before the endpoint's last month.
    """

    missed: float | None
    late_months: float | None
    visit_months: float | None
    events: tuple[str, ...]


DEVIATING = (events.STOPPED, events.RESCUE, events.SWITCH)
"""Events after which a patient is no longer treated as the protocol has it."""
