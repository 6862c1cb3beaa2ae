"""Reading the table [interim] of a trial's file: how the looks of [conduct] test an endpoint."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from ranklsim.cohorts.endpoints import Endpoint, is_ratio
from ranklsim.cohorts.protocol.conduct import Conduct
from ranklsim.cohorts.protocol.endpoints import SHAPES, SPENDING, Futility, Interim, Multiplicity
from ranklsim.cohorts.protocol.objectives import Objectives
from ranklsim.pkpd.reading import Shape, Table

ALPHA = 0.05
"""Two-sided type-I error where neither [interim] nor [multiplicity] says it."""

MOST_EVENTS = 10_000_000
LEAST_ERROR = 1e-6  # of an effect, in its unit; no trial is as exact

INTERIM = Shape(
    {
        "endpoint": '"Time to first hip fracture"',
        "arms": '["denosumab"]',
        "spending": '"O\'Brien-Fleming"',
        "parameter": "-4",
        "information": "[0.5, 0.75]",
        "spent": "[0.1, 0.5]",
        "alpha": "0.05",
        "planned_events": "250",
        "planned_error": '"0.3 %"',
        "effect": '"0.6"',
        "futility": '{ below = "20 %", binding = false }',
    },
    needed=("spending",),
)
FUTILITY = Shape({"below": '"20 %"', "under": '"trend"', "binding": "true or false"}, needed=("below",))


def read_interim(
    of: Objectives, endpoints: Sequence[Endpoint], multiplicity: Multiplicity | None, conduct: Conduct
) -> Interim | None:
    """How the looks test an endpoint, as far as it can be read.

    Parameters
    ----------
    of : Objectives
    endpoints : sequence of Endpoint
        Those without fault.
    multiplicity : Multiplicity or None
        Whose type-I error counts where the table gives none.
    conduct : Conduct
        With the looks.

    Returns
    -------
    Interim or None
        None without the table, or where a fault hides what it is about.
    """
    table = of.root.table("interim", INTERIM)
    if table is None:
        return None
    if not conduct.looks and not of.faults.touch(("conduct", "looks")):
        table.fault((), 'there is no interim look; give [conduct] looks = ["24 mo", "50 % completed"].')
    endpoint = _endpoint(of, table, endpoints)
    comparator = of.control if endpoint is None else endpoint.against or of.control
    if comparator is None:
        table.fault((), "looks compare with control; name the trial's control.")
    arms = of.arms(table, "arms", comparator)
    if "arms" not in table and endpoint is not None and endpoint.arms:
        arms = endpoint.arms
    spending = table.choice("spending", SPENDING, None)
    alpha = table.number("alpha", ALPHA if multiplicity is None else multiplicity.alpha, above=0, below=0.5)
    futility = None if endpoint is None else _futility(table, endpoint)
    if endpoint is None:
        return None
    events, error = _information(table, endpoint)
    effect = _effect(table, endpoint)
    shape = None if spending is None else _shape(table, spending)
    if spending is None or shape is None:
        return None
    return Interim(endpoint.name, arms, spending, alpha, events, error, effect, futility, shape)


def _shape(table: Table, spending: str) -> tuple[float, ...] | None:
    """Parameter of the spending function, or the points of an own one; None where it has a fault."""
    parameter = table.number("parameter", SHAPES.get(spending))
    if "parameter" in table and spending not in SHAPES:
        table.fault("parameter", f"the spending function {spending} has no parameter; leave it out.")
    if parameter is not None and (parameter == 0 or (spending == "power" and parameter < 0)):
        table.fault("parameter", f"parameter = {parameter:g} is not possible; give one such as {SHAPES[spending]:g}.")
        return None
    points = table.values("information", float, None), table.values("spent", float, None)
    if spending != "own":
        for key in ("information", "spent"):
            if key in table:
                table.fault(
                    key, f'{key} is of a spending function of your own; give spending = "own", or leave it out.'
                )
        return () if parameter is None else (parameter,)
    shares, alphas = points
    if shares is None or alphas is None:
        key = "information" if shares is None else "spent"
        if key not in table:
            table.fault(
                (), f"`{key}` is missing; an own spending function needs information = [0.5] and spent = [0.2]."
            )
        return None
    for key, values in (("information", shares), ("spent", alphas)):
        path = [0.0, *values, 1.0]
        if not values or any(b <= a for a, b in pairwise(path)) or len(values) != len(shares):
            rule = "as many in information as in spent, increasing, above 0 and below 1"
            table.fault(key, f"{key} are shares, {rule}.")
            return None
    return (*shares, *alphas)


def _endpoint(of: Objectives, table: Table, endpoints: Sequence[Endpoint]) -> Endpoint | None:
    """The endpoint named, else the first primary one; it must have a test."""
    named = of.named(table, "endpoint")
    if "endpoint" in table:
        found = next((endpoint for endpoint in endpoints if endpoint.name == named), None)
    else:
        found = next((endpoint for endpoint in endpoints if endpoint.role == "primary"), None)
    if found is not None and not found.tested:
        what = f"a {found.effect_measure if found.of_patients else found.key}"
        place = "endpoint" if "endpoint" in table else ()
        table.fault(place, f"'{found.name}' is {what}, which has no test; name another endpoint.")
        return None
    return found


def _information(table: Table, endpoint: Endpoint) -> tuple[float | None, float | None]:
    """Planned information: events of a hazard ratio, the effect's standard error of anything else."""
    if endpoint.of_hazard:
        if "planned_error" in table:
            said = f"the information of '{endpoint.name}', a hazard ratio, is its events"
            table.fault("planned_error", f"{said}; give planned_events.")
        return table.whole("planned_events", None, least=1, most=MOST_EVENTS), None
    if "planned_events" in table:
        said = f"events are the information of the analyses Cox and log-rank, and '{endpoint.name}' has another"
        table.fault("planned_events", f"{said}; give planned_error.")
    error = table.quantity("planned_error", endpoint.effect_unit, None, least=LEAST_ERROR)
    return None, None if error is None else endpoint.on_scale(error)


def _effect(table: Table, endpoint: Endpoint) -> float | None:
    """The design's effect: a benefit, unless the endpoint has a margin, within which it may lie."""
    ratio = is_ratio(endpoint.effect_measure)
    value = table.quantity("effect", endpoint.effect_unit, None)
    if value is None:
        return None
    said = f'effect = "{table.data["effect"]}"'
    if ratio and value <= 0:
        table.fault("effect", f'{said} is not a ratio; give one such as effect = "0.6".')
        return None
    claim, on_scale = endpoint.claim, endpoint.on_scale(value)
    for limit, better in ((claim.lower, "above"), (claim.upper, "below")):
        if limit is not None and (on_scale <= limit if better == "above" else on_scale >= limit):
            end = f"{limit:g}" if ratio else f"{limit * endpoint.factor:g} {endpoint.effect_unit}"
            table.fault("effect", f"{said} is not a benefit; give one {better} {end}.")
            return None
    return endpoint.on_scale(value)


def _futility(interim: Table, endpoint: Endpoint) -> Futility | None:
    table = interim.table("futility", FUTILITY)
    if table is None:
        return None
    below = table.quantity("below", "%", None, above=0, below=100)
    under, binding = table.choice("under", ("trend", "design"), "trend"), table.flag("binding")
    if under == "design" and "effect" not in interim:
        example = "0.6" if is_ratio(endpoint.effect_measure) else f"2 {endpoint.effect_unit}"
        table.fault("under", f'conditional power under the design needs its effect; give effect = "{example}".')
    return None if below is None else Futility(below / 100, under, binding)
