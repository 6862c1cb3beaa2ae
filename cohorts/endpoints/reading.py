"""Reading what kinds of endpoint share in a trial file: a measure between two visits, and an event that is counted."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from ranklsim.cohorts import events
from ranklsim.cohorts.measures import BMD_MEASURES, MEASURES
from ranklsim.pkpd.errors import near
from ranklsim.pkpd.reading import Table
from ranklsim.pkpd.units import DAYS_PER_MONTH

COUNTED = (*events.FRACTURES, events.HYPOCALCAEMIA, events.DEATH)
"""Events that an endpoint may count."""

_SAME_DAY = 1e-6  # days; rounding of a time that was converted between units


@dataclass(frozen=True)
class Plan:
    """What the trial plans, as far as endpoints depend on it.

    Attributes
    ----------
    bmd, markers : tuple of float
        Months of the visits at which they are measured.
    months : float or None
        Length of the trial; None where it could not be read.
    recorded : collection of str
        Events that the trial records.
    drug : tuple of float
        Months of the samples for the concentration of drugs; those of `markers` where it is empty.
    drugs : mapping of str to tuple of str
        Arm to the drugs with a concentration that it is given.
    limited : collection of str
        Markers with a limit of quantitation.
    arms : tuple of str
        Names of the arms.
    """

    bmd: tuple[float, ...]
    markers: tuple[float, ...]
    months: float | None
    recorded: Collection[str]
    drug: tuple[float, ...] = ()
    drugs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    limited: Collection[str] = ()
    arms: tuple[str, ...] = ()


def between(t: Table, plan: Plan, last: str) -> dict[str, Any] | None:
    """A measure and two of its visits, the first before the second.

    Parameters
    ----------
    t : Table
        With the keys ``of``, ``from`` and `last`.
    plan : Plan
    last : str
        Key of the later visit.

    Returns
    -------
    dict or None
        `measure`, `from_month`, `to_month`.
    """
    of, start, end = t.choice("of", MEASURES, None), t.text("from", "0 mo"), t.text(last, None)
    planned = () if of is None else plan.bmd if of in BMD_MEASURES else plan.markers
    kind = "BMD" if of in BMD_MEASURES else "markers"
    first, second = visit(t, "from", start, planned, kind), visit(t, last, end, planned, kind)
    if first is not None and second is not None and first >= second:
        t.fault(last, f"{last} = {second:g} mo is not after from = {first:g} mo; swap or change them.")
    if of is None or first is None or second is None:
        return None
    return {"measure": of, "from_month": first, "to_month": second}


def visit(t: Table, key: str, text: str | None, planned: tuple[float, ...], kind: str) -> float | None:
    """The visit of an endpoint, as the visits have it; None, with the fault noted, if it is none of them.

    Parameters
    ----------
    t : Table
    key : str
    text : str or None
        Its month.
    planned : tuple of float
        Months of the visits.
    kind : str
        Key of these visits in the trial file.
    """
    month = None if text is None else t.parsed((key,), text, "mo")
    if month is None or not planned:
        return month
    nearest = min(planned, key=lambda each: abs(each - month))
    if abs(nearest - month) * DAYS_PER_MONTH <= _SAME_DAY:
        return nearest
    hint = f'add {month:g} to visits, or use "{nearest:g} mo".'
    t.fault(key, f'{key} = "{text}" is not a visit of {kind}; {hint}')
    return None


def counted(t: Table, plan: Plan) -> dict[str, Any] | None:
    """An event that the trial records, and the months between which it counts.

    Parameters
    ----------
    t : Table
        With the keys ``of``, ``from`` and ``by``.
    plan : Plan

    Returns
    -------
    dict or None
        `event`, `from_month`, `by_month`.
    """
    of = t.text("of", None)
    if of is not None and of not in COUNTED:
        t.fault("of", f"unknown event '{of}'; {near(of, COUNTED)}")
        of = None
    elif of is not None and of not in plan.recorded:
        t.fault("of", f"counts '{of}', which the trial does not record; {how_recorded(of)}")
        of = None
    start, end = t.quantity("from", "mo", 0.0), t.quantity("by", "mo", None)
    if end is not None and not 0 <= start < end:
        t.fault("by", f"by = {end:g} mo is not after from = {start:g} mo; swap or change them.")
        return None
    if end is not None and plan.months is not None and end > plan.months + _SAME_DAY:
        ends = f"is after the trial ends at {plan.months:g} mo"
        t.fault("by", f'by = "{end:g} mo" {ends}; give an earlier month.')
        return None
    return None if of is None or end is None else {"event": of, "from_month": start, "by_month": end}


def how_recorded(event: str) -> str:
    """What makes a trial record an event.

    Parameters
    ----------
    event : str
    """
    key = {
        "dropout": 'dropout = "5 %/yr"',
        "stopped": 'stop_treatment = "3 %/yr"',
        "rescue": "rescue",
        "switch": "switch",
        "death": "deaths = true",
        "hypocalcaemia": "hypocalcaemia = true",
    }.get(event, "fractures = true")
    return f"set {key} in [conduct], or leave it out."
