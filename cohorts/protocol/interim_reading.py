"""Reading the table [interim] of a trial's file: how the looks of [conduct] test an endpoint."""

from __future__ import annotations

from collections.abc import Sequence

from ranklsim.cohorts.protocol.endpoints import (
    Durability,
    Endpoint,
    Event,
    Futility,
    Interim,
    Responder,
    higher_is_better,
)
from ranklsim.cohorts.protocol.objectives import Objectives, effect_scale
from ranklsim.cohorts.protocol.schema import FutilityTable, InterimTable, Key, near

ALPHA = 0.05
"""Two-sided type-I error where neither [interim] nor [multiplicity] says it."""

_PATH: Key = ("interim",)


def read_interim(of: Objectives, endpoints: Sequence[Endpoint]) -> Interim | None:
    """What the table says, as far as it can be read; None without one, or where a fault hides what it is about."""
    table, faults = of.tables.interim, of.faults
    if table is None:
        return None
    if not of.tables.conduct.looks and ("conduct", "looks") not in faults.answered:
        faults.add(_PATH, 'there is no look to test at; give [conduct] looks = ["24 mo", "50 % completed"].')
    if of.control is None:
        faults.add(_PATH, "looks compare with control; name the trial's control.")
    arms = of.arms((*_PATH, "arms"), table.arms)
    endpoint = _endpoint(of, table, endpoints)
    shared = of.tables.multiplicity.alpha if of.tables.multiplicity is not None else ALPHA
    alpha = shared if table.alpha is None else table.alpha
    if not 0 < alpha < 0.5:
        faults.add((*_PATH, "alpha"), f"alpha = {alpha:g} is not possible; give a number such as 0.05.")
    futility = _futility(of, table.futility)
    if endpoint is None:
        return None
    events, error = _information(of, table, endpoint)
    effect = _effect(of, table, endpoint)
    if table.spending is None:
        return None
    return Interim(endpoint.name, arms, table.spending, alpha, events, error, effect, futility)


def _endpoint(of: Objectives, table: InterimTable, endpoints: Sequence[Endpoint]) -> Endpoint | None:
    """The endpoint named, else the first primary one; it must have a test."""
    known = [t.name for t in of.tables.endpoint or [] if t.name is not None]
    if table.endpoint is not None and table.endpoint not in known:
        of.faults.add((*_PATH, "endpoint"), f"unknown endpoint '{table.endpoint}'; {near(table.endpoint, known)}")
    wanted = table.endpoint or next((t.name for t in of.tables.endpoint or [] if t.role == "primary"), None)
    found = next((endpoint for endpoint in endpoints if endpoint.name == wanted), None)
    if found is not None and (isinstance(found, Durability) or found.analysis == "median difference"):
        what = "a durability" if isinstance(found, Durability) else "a difference of medians"
        path = _PATH if table.endpoint is None else (*_PATH, "endpoint")
        of.faults.add(path, f"'{found.name}' is {what}, which has no test; name another endpoint.")
        return None
    return found


def _information(of: Objectives, table: InterimTable, endpoint: Endpoint) -> tuple[float | None, float | None]:
    """Planned information: events of a hazard ratio, the effect's standard error of anything else."""
    counted = endpoint.of_hazard
    if table.planned_events is not None and not counted:
        of.faults.add(
            (*_PATH, "planned_events"),
            f"events are the information of the analyses Cox and log-rank, and '{endpoint.name}' has another; "
            "give planned_error.",
        )
    elif table.planned_events is not None and table.planned_events < 1:
        of.faults.add(
            (*_PATH, "planned_events"), f"planned_events = {table.planned_events} is not positive; give 1 or more."
        )
    if table.planned_error is None:
        return table.planned_events, None
    if counted:
        of.faults.add(
            (*_PATH, "planned_error"),
            f"the information of '{endpoint.name}', a hazard ratio, is its events; give planned_events.",
        )
        return table.planned_events, None
    unit, _ = _scale(endpoint)
    error = of.quantity((*_PATH, "planned_error"), table.planned_error, unit)
    if error is not None and error <= 0:
        of.faults.add(
            (*_PATH, "planned_error"), f'planned_error = "{table.planned_error}" is not positive; give more than 0.'
        )
        return None, None
    return None, None if error is None else _on_scale(endpoint, error)


def _effect(of: Objectives, table: InterimTable, endpoint: Endpoint) -> float | None:
    """The design's effect: a benefit, unless the endpoint has a margin, within which it may lie."""
    if table.effect is None:
        return None
    path: Key = (*_PATH, "effect")
    unit, ratio = _scale(endpoint)
    value = of.quantity(path, table.effect, unit)
    if value is None:
        return None
    if ratio and value <= 0:
        of.faults.add(path, f'effect = "{table.effect}" is no ratio; give one such as effect = "0.6".')
        return None
    better = higher_is_better(endpoint)
    none = 1.0 if ratio else 0.0
    if endpoint.margin is not None:
        none = 1 / endpoint.margin if ratio and better else endpoint.margin * (1 if ratio or not better else -1)
    if not (value > none if better else value < none):
        side = "above" if better else "below"
        of.faults.add(path, f'effect = "{table.effect}" is no benefit; give one {side} {none:g}.')
        return None
    return _on_scale(endpoint, value)


def _scale(endpoint: Endpoint) -> tuple[str, bool]:
    return effect_scale(
        type(endpoint), endpoint.analysis, getattr(endpoint, "kind", None), getattr(endpoint, "measure", None)
    )


def _on_scale(endpoint: Endpoint, value: float) -> float:
    """Shares stand in percent in the file, and as shares in analyses."""
    return value / 100 if isinstance(endpoint, Responder | Event) and _scale(endpoint)[0] == "%" else value


def _futility(of: Objectives, table: FutilityTable | None) -> Futility | None:
    path: Key = (*_PATH, "futility")
    if table is None or table.below is None:
        return None
    percent = of.quantity((*path, "below"), table.below, "%")
    if percent is not None and not 0 < percent < 100:
        of.faults.add((*path, "below"), f'below = "{table.below}" is not possible; give more than 0 and below 100 %.')
        return None
    given = of.tables.interim is not None and of.tables.interim.effect is not None
    if table.under == "design" and not given:
        of.faults.add((*path, "under"), 'conditional power under the design needs its effect; give effect = "0.6".')
        return None
    return None if percent is None else Futility(percent / 100, table.under, table.binding)
