"""The shape of a trial file: its tables, their keys and types, and a sentence for every departure from them.

Shape only: what the texts mean (quantities, agents, ranges) and whether they fit together is checked in `trial`,
on whatever part of the file has the right shape, so that all faults of a file come out at once. For that, every key
may be absent here; `needed` marks those that must not be.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ranklsim.pkpd.errors import closest, near, one_of, shown
from ranklsim.pkpd.reading import Faults
from ranklsim.pkpd.tomltext import Key

__all__ = ["Faults", "Key", "near", "one_of"]

BMD_MEASURES = ("BMD_LS", "BMD_TH", "BMD_FN", "BMD_R13")
MARKER_MEASURES = ("CTX", "P1NP", "TRAP5B", "BSAP", "CA", "PTH")

Role = Literal["primary", "key secondary", "secondary", "exploratory"]
Change = Literal["percent", "absolute"]
Analysis = Literal[
    "ANCOVA", "MMRM", "mean difference", "median difference", "logistic", "Mantel-Haenszel", "Miettinen-Nurminen",
    "Cox", "log-rank", "Fine-Gray", "Gray", "cumulative incidence", "negative binomial", "bootstrap",
]  # fmt: skip
Strategy = Literal["treatment policy", "hypothetical", "while on treatment", "composite"]
Missing = Literal["MAR", "J2R", "CIR", "CR"]
Summary = Literal[
    "difference of means", "difference of medians", "risk difference", "risk ratio", "odds ratio", "hazard ratio",
    "subdistribution hazard ratio", "rate ratio",
]  # fmt: skip
Correction = Literal["fixed sequence", "Bonferroni", "Holm", "Hochberg", "graphical"]
Spending = Literal["O'Brien-Fleming", "Pocock"]
Outcome = Literal["months back", "share kept", "area", "peak", "peak month"]


@dataclass(frozen=True)
class Says:
    """What a key is to look like, as it would stand in the file."""

    example: str
    needed: bool = False


def needed(example: str) -> Says:
    """Mark a key that every file of this kind must have."""
    return Says(example, needed=True)


class Table(BaseModel):
    """A table of the file: unknown keys are faults, and text, numbers and true/false are never converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class StepTable(Table):
    """One regimen of an arm."""

    agent: Annotated[str | None, needed('agent = "denosumab"')] = None
    dose: Annotated[str | None, Says('dose = "60 mg"')] = None
    every: Annotated[str | None, Says('every = "6 mo"')] = None
    doses: Annotated[int | None, Says("doses = 4")] = None
    for_: Annotated[str | None, Says('for = "24 mo"')] = Field(None, alias="for")
    start: Annotated[str | None, Says('start = "24 mo"')] = None
    together: Annotated[bool, Says("together = true or false")] = False


class ArmTable(Table):
    """One arm: regimens in order of time; an empty list is an arm that is given nothing."""

    name: Annotated[str | None, needed('name = "denosumab"')] = None
    label: Annotated[str | None, Says('label = "Denosumab 60 mg Q6M"')] = None
    regimen: Annotated[
        list[StepTable] | None,
        needed('regimen = [{ agent = "denosumab", dose = "60 mg", every = "6 mo", doses = 4 }]'),
    ] = None


class PopulationTable(Table):
    """Who is enrolled and how they are shared out."""

    name: Annotated[str | None, needed('name = "postmenopausal-osteoporosis"')] = None
    patients: Annotated[int | None, needed("patients = 400")] = None
    eligible: Annotated[dict[str, str] | None, Says('eligible = { age = "60..85 yr", T_LS = "-4.0..-2.5" }')] = None
    strata: Annotated[list[str] | None, Says('strata = ["age >= 75 yr", "prevalent_fracture"]')] = None
    ratio: Annotated[dict[str, int] | None, Says("ratio = { placebo = 1, denosumab = 2 }")] = None


class VisitsTable(Table):
    """When BMD and blood markers are measured, in months."""

    BMD: Annotated[list[float] | None, needed("BMD = [0, 12, 24]")] = None
    markers: Annotated[list[float] | None, needed("markers = [0, 1, 6, 12, 24]")] = None


class ChangeTable(Table):
    """What an endpoint compares."""

    of: Annotated[str | None, needed('of = "BMD_LS"')] = None
    from_: Annotated[str | None, needed('from = "0 mo"')] = Field(None, alias="from")
    to: Annotated[str | None, needed('to = "36 mo"')] = None
    as_: Annotated[Change, Says('as = "percent"')] = Field("percent", alias="as")


class ResponderTable(Table):
    """Which patients an endpoint counts as responders: percent change of a measure between two visits."""

    of: Annotated[str | None, needed('of = "BMD_LS"')] = None
    from_: Annotated[str, Says('from = "0 mo"')] = Field("0 mo", alias="from")
    at: Annotated[str | None, needed('at = "36 mo"')] = None
    gain: Annotated[str | None, needed('gain = ">= 3 %"')] = None


class EventTable(Table):
    """Which event an endpoint waits for."""

    of: Annotated[str | None, needed('of = "vertebral"')] = None
    from_: Annotated[str, Says('from = "0 mo"')] = Field("0 mo", alias="from")
    by: Annotated[str | None, needed('by = "36 mo"')] = None
    least: Annotated[int, Says("least = 2")] = 1


class RateTable(Table):
    """Which event an endpoint counts."""

    of: Annotated[str | None, needed('of = "vertebral"')] = None
    from_: Annotated[str, Says('from = "0 mo"')] = Field("0 mo", alias="from")
    by: Annotated[str | None, needed('by = "36 mo"')] = None


class DurabilityTable(Table):
    """What an endpoint asks of the time after the end of treatment."""

    of: Annotated[str | None, needed('of = "BMD_TH"')] = None
    what: Annotated[Outcome | None, needed('what = "share kept"')] = None
    after: Annotated[str | None, Says('after = "12 mo"')] = None


class EndpointTable(Table):
    """One endpoint: exactly one of `change`, `responder`, `event`, `rate` and `durability`."""

    name: Annotated[str | None, needed('name = "Lumbar spine BMD over 36 months"')] = None
    role: Annotated[Role | None, needed('role = "primary"')] = None
    change: Annotated[
        ChangeTable | None, Says('change = { of = "BMD_LS", from = "0 mo", to = "36 mo", as = "percent" }')
    ] = None
    responder: Annotated[
        ResponderTable | None, Says('responder = { of = "BMD_LS", at = "36 mo", gain = ">= 3 %" }')
    ] = None
    event: Annotated[EventTable | None, Says('event = { of = "vertebral", by = "36 mo" }')] = None
    rate: Annotated[RateTable | None, Says('rate = { of = "vertebral", by = "36 mo" }')] = None
    durability: Annotated[
        DurabilityTable | None, Says('durability = { of = "BMD_TH", what = "share kept", after = "12 mo" }')
    ] = None
    analysis: Annotated[Analysis | None, needed('analysis = "ANCOVA"')] = None
    margin: Annotated[str | None, Says('margin = "1 %"')] = None
    covariates: Annotated[list[str], Says('covariates = ["age", "eGFR"]')] = []


class EstimandTable(Table):
    """One question after ICH E9(R1)."""

    name: Annotated[str | None, needed('name = "Effect if all had stayed on treatment"')] = None
    endpoint: Annotated[str | None, needed('endpoint = "Lumbar spine BMD over 36 months"')] = None
    primary: Annotated[bool, Says("primary = true or false")] = False
    population: Annotated[dict[str, str] | None, Says('population = { age = ">= 75 yr" }')] = None
    treatment: Annotated[list[str] | None, Says('treatment = ["denosumab"]')] = None
    events: Annotated[
        dict[str, Strategy] | None, needed('events = { stopped = "treatment policy", rescue = "hypothetical" }')
    ] = None
    missing: Annotated[Missing, Says('missing = "MAR"')] = "MAR"
    summary: Annotated[Summary | None, Says('summary = "difference of means"')] = None


class MultiplicityTable(Table):
    """How the type-I error over several hypotheses is kept."""

    method: Annotated[Correction | None, needed('method = "fixed sequence"')] = None
    alpha: Annotated[float, Says("alpha = 0.05")] = 0.05
    order: Annotated[list[str] | None, needed('order = ["Lumbar spine BMD over 36 months"]')] = None
    arms: Annotated[list[str] | None, Says('arms = ["denosumab"]')] = None
    weights: Annotated[list[float] | None, Says("weights = [0.5, 0.5]")] = None
    transitions: Annotated[list[list[float]] | None, Says("transitions = [[0.0, 1.0], [1.0, 0.0]]")] = None


class FutilityTable(Table):
    """When going on is in vain."""

    below: Annotated[str | None, needed('below = "20 %"')] = None
    under: Annotated[Literal["trend", "design"], Says('under = "trend"')] = "trend"
    binding: Annotated[bool, Says("binding = true or false")] = False


class InterimTable(Table):
    """How the looks of [conduct] test an endpoint."""

    endpoint: Annotated[str | None, Says('endpoint = "Time to first hip fracture"')] = None
    arms: Annotated[list[str] | None, Says('arms = ["denosumab"]')] = None
    spending: Annotated[Spending | None, needed('spending = "O\'Brien-Fleming"')] = None
    alpha: Annotated[float | None, Says("alpha = 0.05")] = None
    planned_events: Annotated[int | None, Says("planned_events = 250")] = None
    planned_error: Annotated[str | None, Says('planned_error = "0.3 %"')] = None
    effect: Annotated[str | None, Says('effect = "0.6"')] = None
    futility: Annotated[FutilityTable | None, Says('futility = { below = "20 %", binding = false }')] = None


class TippingTable(Table):
    """How bad unseen values must be for a result to be lost."""

    endpoint: Annotated[str | None, Says('endpoint = "Lumbar spine BMD over 36 months"')] = None
    missing: Annotated[Missing, Says('missing = "MAR"')] = "MAR"


class PerProtocolTable(Table):
    """Which deviations from the protocol are major."""

    missed_doses: Annotated[str | None, Says('missed_doses = "20 %"')] = None
    late_dose: Annotated[str | None, Says('late_dose = "2 mo"')] = None
    visit: Annotated[str | None, Says('visit = "1 mo"')] = None
    events: Annotated[list[str], Says('events = ["stopped", "rescue"]')] = []


class LateTable(Table):
    """How many doses are late, and by how much."""

    share: Annotated[str | None, needed('share = "10 %"')] = None
    median: Annotated[str | None, needed('median = "3 wk"')] = None
    p95: Annotated[str | None, needed('p95 = "4 mo"')] = None
    distribution: Annotated[Literal["lognormal", "gamma"], Says('distribution = "lognormal"')] = "lognormal"


class ResponseTable(Table):
    """How dropout depends on response."""

    of: Annotated[str | None, needed('of = "BMD_TH"')] = None
    per: Annotated[str | None, needed('per = "-3 %"')] = None
    ratio: Annotated[float | None, needed("ratio = 1.5")] = None
    seen: Annotated[Literal["observed", "latent"], Says('seen = "observed"')] = "observed"


class AdherenceTable(Table):
    """How an agent is taken at home."""

    agent: Annotated[str | None, needed('agent = "alendronate"')] = None
    taken: Annotated[str | None, needed('taken = "80 %"')] = None
    sd: Annotated[str, Says('sd = "15 %"')] = "0 %"
    stop: Annotated[str, Says('stop = "30 %/yr"')] = "0 %/yr"


class RuleTable(Table):
    """Another treatment from a month or a trigger on."""

    when: Annotated[list[str] | None, Says('when = ["T_TH < -3.5", "hip"]')] = None
    at: Annotated[str | None, Says('at = "24 mo"')] = None
    agent: Annotated[str | None, Says('agent = "zoledronate"')] = None
    dose: Annotated[str | None, Says('dose = "5 mg"')] = None
    every: Annotated[str | None, Says('every = "12 mo"')] = None
    doses: Annotated[int | None, Says("doses = 1")] = None
    after: Annotated[str, Says('after = "12 mo"')] = "0 mo"
    arms: Annotated[list[str] | None, Says('arms = ["placebo"]')] = None
    share: Annotated[str, Says('share = "50 %"')] = "100 %"


class EnrolmentTable(Table):
    """How fast patients come."""

    rate: Annotated[str | None, needed('rate = "60 patients/mo"')] = None
    ramp_up: Annotated[str, Says('ramp_up = "6 mo"')] = "0 mo"


class ConductTable(Table):
    """What goes otherwise than planned."""

    dropout: Annotated[str, Says('dropout = "5 %/yr"')] = "0 %/yr"
    dropout_arms: Annotated[dict[str, float], Says("dropout_arms = { placebo = 1.3 }")] = {}
    dropout_months: Annotated[dict[str, float], Says('dropout_months = { "12 mo" = 0.7 }')] = {}
    dropout_response: Annotated[
        ResponseTable | None, Says('dropout_response = { of = "BMD_TH", per = "-3 %", ratio = 1.5 }')
    ] = None
    supplements: Annotated[bool, Says("supplements = true or false")] = False
    stop_treatment: Annotated[str, Says('stop_treatment = "3 %/yr"')] = "0 %/yr"
    stop_arms: Annotated[dict[str, float], Says("stop_arms = { placebo = 0.8 }")] = {}
    stop_months: Annotated[dict[str, float], Says('stop_months = { "12 mo" = 0.5 }')] = {}
    missed_doses: Annotated[str, Says('missed_doses = "3 %"')] = "0 %"
    late_doses: Annotated[LateTable | None, Says('late_doses = { share = "10 %", median = "3 wk", p95 = "4 mo" }')] = (
        None
    )
    adherence: Annotated[
        list[AdherenceTable] | None, Says('adherence = [{ agent = "alendronate", taken = "80 %" }]')
    ] = None
    visit_window: Annotated[str, Says('visit_window = "7 day"')] = "0 day"
    rescue: Annotated[
        RuleTable | None, Says('rescue = { when = ["T_TH < -3.5"], agent = "zoledronate", dose = "5 mg", doses = 1 }')
    ] = None
    switch: Annotated[
        list[RuleTable] | None, Says('switch = [{ at = "24 mo", agent = "zoledronate", dose = "5 mg", doses = 1 }]')
    ] = None
    enrolment: Annotated[EnrolmentTable | None, Says('enrolment = { rate = "60 patients/mo" }')] = None
    looks: Annotated[list[str] | None, Says('looks = ["24 mo", "50 % completed", "60 hip"]')] = None
    fractures: Annotated[bool, Says("fractures = true or false")] = False
    imaging: Annotated[list[float] | None, Says("imaging = [12, 24, 36]")] = None
    deaths: Annotated[bool, Says("deaths = true or false")] = False
    life_table: Annotated[str, Says('life_table = "us-women-2009"')] = "us-women-2009"
    mortality_ratio: Annotated[float | None, Says("mortality_ratio = 0.4")] = None
    hypocalcaemia: Annotated[bool, Says("hypocalcaemia = true or false")] = False


class LayersTable(Table):
    """Sources of variation that may be switched off."""

    patients: Annotated[bool, Says("patients = true or false")] = True
    residual: Annotated[bool, Says("residual = true or false")] = True
    parameters: Annotated[bool, Says("parameters = true or false")] = True


class TrialTable(Table):
    """The whole file."""

    name: Annotated[str | None, Says('name = "freedom"')] = None
    title: Annotated[str | None, needed('title = "Denosumab against placebo, 36 months"')] = None
    description: Annotated[str, Says('description = "What denosumab does to bone density."')] = ""
    sources: Annotated[list[str], Says('sources = ["Cummings SR et al. 2009. doi:10.1056/NEJMoa0809493"]')] = []
    seed: Annotated[int | None, needed("seed = 20260")] = None
    months: Annotated[float | None, needed("months = 36")] = None
    control: Annotated[str | None, Says('control = "placebo"')] = None
    uncertainty_draws: Annotated[int, Says("uncertainty_draws = 200")] = 200
    population: Annotated[PopulationTable | None, needed("a table [population]")] = None
    arm: Annotated[list[ArmTable] | None, needed("one or more tables [[arm]]")] = None
    visits: Annotated[VisitsTable | None, needed("a table [visits]")] = None
    endpoint: Annotated[list[EndpointTable] | None, needed("one or more tables [[endpoint]]")] = None
    estimand: Annotated[list[EstimandTable], Says("a table [[estimand]]")] = []
    multiplicity: Annotated[MultiplicityTable | None, Says("a table [multiplicity]")] = None
    interim: Annotated[InterimTable | None, Says("a table [interim]")] = None
    tipping_point: Annotated[TippingTable | None, Says("a table [tipping_point]")] = None
    per_protocol: Annotated[PerProtocolTable | None, Says("a table [per_protocol]")] = None
    twins: Annotated[int, Says("twins = 2000")] = 2000
    conduct: Annotated[ConductTable, Says("a table [conduct]")] = ConductTable()
    layers: Annotated[LayersTable, Says("a table [layers]")] = LayersTable()


def check_shape(data: dict[str, Any], faults: Faults) -> TrialTable:
    """The file as tables, without the values that have the wrong shape; each of those is added to `faults`."""
    wrong: set[Key] = set()
    while True:
        try:
            tables = TrialTable.model_validate(_without(data, wrong))
            break
        except ValidationError as found:
            for error in found.errors():
                path = _key_of(error["loc"])
                holder = _model_at(path)
                faults.add(path, _sentence(path, holder, error))
                wrong.add(path)
                faults.answered.update(_answered(path, holder, error["type"]))
    for path, says in _absent(tables, ()):
        faults.add(path, f"`{path[-1]}` is missing; give {says.example}.")
    return tables


def _key_of(loc: tuple[str | int, ...]) -> Key:
    """pydantic's place of an error as a path in the file."""
    return tuple(part for part in loc if part != "[key]")


def _without(data: Any, wrong: set[Key], path: Key = ()) -> Any:
    """A copy of the data without the wrong values; of a list of plain values, all are left out or none."""
    if isinstance(data, dict):
        return {
            key: _without(value, wrong, (*path, key))
            for key, value in data.items()
            if (*path, key) not in wrong and not _list_with(value, wrong, (*path, key))
        }
    if isinstance(data, list):
        return [_without(value, wrong, (*path, index)) for index, value in enumerate(data)]
    return data


def _list_with(value: Any, wrong: set[Key], path: Key) -> bool:
    return isinstance(value, list) and any((*path, index) in wrong for index in range(len(value)))


def _absent(table: Table, path: Key) -> Iterator[tuple[Key, Says]]:
    """Needed keys that the file lacks."""
    for name, spec in type(table).model_fields.items():
        here = (*path, spec.alias or name)
        says = next(note for note in spec.metadata if isinstance(note, Says))
        value = getattr(table, name)
        if value is None and says.needed:
            yield here, says
        elif isinstance(value, Table):
            yield from _absent(value, here)
        elif isinstance(value, list):
            for index, part in enumerate(value):
                if isinstance(part, Table):
                    yield from _absent(part, (*here, index))


def _model_at(path: Key) -> tuple[type[Table], str] | None:
    """The table that holds `path`, and the key of that table under which it stands."""
    model: type[Table] = TrialTable
    for position, key in enumerate(path):
        if isinstance(key, int):
            continue
        spec = next((f for name, f in model.model_fields.items() if (f.alias or name) == key), None)
        if spec is None:
            return (model, key) if position == len(path) - 1 else None
        inner = _table_in(spec.annotation)
        if inner is None or all(isinstance(rest, int) for rest in path[position + 1 :]):
            return model, key
        model = inner
    return None


def _table_in(annotation: Any) -> type[Table] | None:
    if isinstance(annotation, type) and issubclass(annotation, Table):
        return annotation
    return next((found for part in get_args(annotation) if (found := _table_in(part))), None)


def _keys(model: type[Table]) -> dict[str, Any]:
    return {spec.alias or name: spec for name, spec in model.model_fields.items()}


def _answered(path: Key, holder: tuple[type[Table], str] | None, kind: str) -> Iterator[Key]:
    """Where no further fault is to be looked for once the value at `path` has been found wrong."""
    yield path
    if kind == "extra_forbidden" and holder is not None:  # a misspelt key is not also a missing one
        if guess := closest(str(path[-1]), _keys(holder[0])):
            yield (*path[:-1], guess)
    for length in range(len(path) - 1, 0, -1):  # one wrong element, and the list has not been read
        if not isinstance(path[length], int):
            break
        yield path[:length]


def _sentence(path: Key, holder: tuple[type[Table], str] | None, error: Any) -> str:
    """What is wrong with the shape of the value at `path`, and what would be right."""
    key = next(str(part) for part in reversed(path) if isinstance(part, str))
    if holder is None:
        return f"`{key}` has the wrong form ({error['msg']})."
    model, table_key = holder
    if error["type"] == "extra_forbidden":
        return f"unknown key '{key}'; {near(key, _keys(model))}"
    spec, value = _keys(model)[table_key], error["input"]
    says = next(note for note in spec.metadata if isinstance(note, Says))
    if error["type"] == "literal_error":
        choices = list(_choices(spec.annotation))
        return f"`{key}` is {shown(value)}; {near(value if isinstance(value, str) else '', choices)}"
    number = isinstance(value, int | float) and not isinstance(value, bool)
    is_quantity = re.search(r'"[^"]*\d[^"]* [^"]*"', says.example) is not None
    what = "has no unit" if number and is_quantity else "has the wrong form"
    return f"`{key}` = {shown(value)} {what}; give {says.example}."


def _choices(annotation: Any) -> Iterator[str]:
    for part in get_args(annotation):
        if isinstance(part, str):
            yield part
        else:
            yield from _choices(part)
