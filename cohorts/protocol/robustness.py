"""Reading [tipping_point] and [per_protocol] of a trial's file: how robust its result is to be shown to be."""

from __future__ import annotations

from collections.abc import Sequence

from ranklsim.cohorts.endpoints import Endpoint
from ranklsim.cohorts.protocol.endpoints import DEVIATING, PerProtocol, TippingPoint
from ranklsim.cohorts.protocol.objectives import MISSING, Objectives
from ranklsim.pkpd.errors import near
from ranklsim.pkpd.reading import Shape

TIPPING = Shape({"endpoint": '"Lumbar spine BMD over 36 months"', "missing": '"MAR"'})
PER_PROTOCOL = Shape(
    {"missed_doses": '"20 %"', "late_dose": '"2 mo"', "visit": '"1 mo"', "events": '["stopped", "rescue"]'}
)


def read_tipping(of: Objectives, endpoints: Sequence[Endpoint]) -> TippingPoint | None:
    """The endpoint of the tipping point, by default the first that can have one.

    Parameters
    ----------
    of : Objectives
    endpoints : sequence of Endpoint
        Those without fault.

    Returns
    -------
    TippingPoint or None
        None without the table, or where a fault hides what it is about.
    """
    table = of.root.table("tipping_point", TIPPING)
    if table is None:
        return None
    if of.control is None:
        table.fault((), "a tipping point is one of a difference; name the trial's control.")
    name, missing = of.named(table, "endpoint"), table.choice("missing", MISSING, "MAR")
    possible = [e for e in endpoints if e.tips]
    possible.sort(key=lambda endpoint: endpoint.role != "primary")
    if "endpoint" not in table:
        found = next(iter(possible), None)
        if found is None and len(endpoints) == len(of.known):
            table.fault((), "no endpoint has a tipping point: a change by MMRM, a responder or an event.")
    else:
        found = next((endpoint for endpoint in endpoints if endpoint.name == name), None)
    if found is None:
        return None
    if found not in possible:
        said = f"'{found.name}' has no tipping point"
        table.fault("endpoint", f"{said}; name a change by MMRM, a responder or an event.")
    elif not found.imputes and missing != "MAR":
        table.fault("missing", f'missing = "{missing}" is for a change only; leave it out.')
    return TippingPoint(found.name, missing)


def read_per_protocol(of: Objectives) -> PerProtocol | None:
    """Major deviations from the protocol; None without the table.

    Parameters
    ----------
    of : Objectives
    """
    table = of.root.table("per_protocol", PER_PROTOCOL)
    if table is None:
        return None
    missed = table.quantity("missed_doses", "%", None, least=0, below=100)
    late, visit = (table.quantity(key, "mo", None, least=0) for key in ("late_dose", "visit"))
    events = table.values("events", str, [])
    for index, event in enumerate(events):
        if event not in DEVIATING:
            table.fault(("events", index), f"unknown event '{event}'; {near(event, DEVIATING)}")
        elif event not in of.plan.recorded:
            said = f"the trial does not record '{event}'"
            table.fault(("events", index), f"{said}; leave it out, or have [conduct] let it happen.")
    if missed is late is visit is None and not events and not of.faults.touch(table.path):
        table.fault((), 'no deviation is major; give missed_doses = "20 %", late_dose, visit or events.')
    return PerProtocol(None if missed is None else missed / 100, late, visit, tuple(events))
