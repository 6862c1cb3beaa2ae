"""What a protocol does with its endpoints: multiplicity, interim analyses, tipping point and per-protocol set."""

from __future__ import annotations

from dataclasses import dataclass, field

from ranklsim.cohorts import events


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


SPENDING = ("O'Brien-Fleming", "Pocock", "Hwang-Shih-DeCani", "power", "own")
"""How alpha is spent over looks: the spending functions of Lan and DeMets that are near the first two designs, the
families of Hwang, Shih and DeCani and of Kim and DeMets, and one of the trial's own."""

SHAPES = {"Hwang-Shih-DeCani": -4.0, "power": 3.0}
"""Usual parameter of those that have one: gamma (not 0), and the power of the information (above 0)."""


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
    shape : tuple of float
        Parameter of the spending function; of an own one, shares of the information and then the shares of alpha spent
        by them, between which it is linear.
    """

    endpoint: str
    arms: tuple[str, ...]
    spending: str
    alpha: float
    planned_events: float | None = None
    planned_error: float | None = None
    effect: float | None = None
    futility: Futility | None = None
    shape: tuple[float, ...] = ()


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
