"""Reading [tipping_point] and [per_protocol] of a trial's file: how robust its result is to be shown to be."""

from __future__ import annotations

from collections.abc import Sequence

from ranklsim.cohorts.protocol.endpoints import DEVIATING, Endpoint, Event, PerProtocol, Responder, TippingPoint
from ranklsim.cohorts.protocol.objectives import Objectives
from ranklsim.cohorts.protocol.schema import Key, near


def read_tipping(of: Objectives, endpoints: Sequence[Endpoint]) -> TippingPoint | None:
    """Endpoint of the tipping point, the first one that can have one if none is named; None without the table."""
    table, path = of.tables.tipping_point, ("tipping_point",)
    if table is None:
        return None
    if of.control is None:
        of.faults.add(path, "a tipping point is one of a difference; name the trial's control.")
    names = [t.name for t in of.tables.endpoint or [] if t.name is not None]
    if table.endpoint is not None and table.endpoint not in names:
        of.faults.add((*path, "endpoint"), f"unknown endpoint '{table.endpoint}'; {near(table.endpoint, names)}")
        return None
    possible = [e for e in endpoints if isinstance(e, Responder | Event) or e.analysis == "MMRM"]
    possible.sort(key=lambda endpoint: endpoint.role != "primary")
    if table.endpoint is None and not possible:
        if len(endpoints) == len(names):
            of.faults.add(path, "no endpoint has a tipping point: a change by MMRM, a responder or an event.")
        return None
    found = possible[0] if table.endpoint is None else next((e for e in endpoints if e.name == table.endpoint), None)
    if found is None:
        return None
    if found not in possible:
        of.faults.add(
            (*path, "endpoint"),
            f"'{found.name}' has no tipping point; name a change by MMRM, a responder or an event.",
        )
        return None
    if found.analysis != "MMRM" and table.missing != "MAR":
        of.faults.add((*path, "missing"), f'missing = "{table.missing}" is for a change only; leave it out.')
    return TippingPoint(found.name, table.missing)


def read_per_protocol(of: Objectives) -> PerProtocol | None:
    """Major deviations; None without the table."""
    table, path = of.tables.per_protocol, ("per_protocol",)
    if table is None:
        return None
    missed = None
    if table.missed_doses is not None:
        missed = of.quantity((*path, "missed_doses"), table.missed_doses, "%")
        if missed is not None and not 0 <= missed < 100:
            of.faults.add(
                (*path, "missed_doses"), f'missed_doses is "{table.missed_doses}"; give at least 0 and below 100 %.'
            )
    months = {key: _months(of, (*path, key), getattr(table, key)) for key in ("late_dose", "visit")}
    for index, event in enumerate(table.events):
        here: Key = (*path, "events", index)
        if event not in DEVIATING:
            of.faults.add(here, f"unknown event '{event}'; {near(event, DEVIATING)}")
        elif event not in of.recorded:
            of.faults.add(here, f"the trial does not record '{event}'; leave it out, or have [conduct] let it happen.")
    asked = (table.missed_doses, table.late_dose, table.visit)
    if all(value is None for value in asked) and not table.events and not of.faults.answered & _keys(path):
        of.faults.add(path, 'no deviation is major; give missed_doses = "20 %", late_dose, visit or events.')
    share = None if missed is None else missed / 100
    return PerProtocol(share, months["late_dose"], months["visit"], tuple(table.events))


def _keys(path: Key) -> set[Key]:
    return {(*path, key) for key in ("missed_doses", "late_dose", "visit", "events")}


def _months(of: Objectives, path: Key, text: str | None) -> float | None:
    months = None if text is None else of.quantity(path, text, "mo")
    if months is not None and months < 0:
        of.faults.add(path, f'{path[-1]} is "{text}"; give 0 mo or more.')
    return months
