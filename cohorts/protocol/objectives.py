"""Reading what a protocol wants to know from a trial file: endpoints, estimands, multiplicity.

As in `trial`, every fault is noted in one sentence and reading goes on with what is left.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Sequence
from typing import Any

from ranklsim.cohorts.people.criteria import Range, covariates, parse_range
from ranklsim.cohorts.protocol.design import Visits
from ranklsim.cohorts.protocol.endpoints import (
    COUNTED,
    DURABILITY,
    INTERCURRENT,
    Change,
    Durability,
    Endpoint,
    Estimand,
    Event,
    Multiplicity,
    Rate,
    Responder,
)
from ranklsim.cohorts.protocol.schema import (
    BMD_MEASURES,
    MARKER_MEASURES,
    ChangeTable,
    DurabilityTable,
    EndpointTable,
    EstimandTable,
    EventTable,
    Faults,
    Key,
    RateTable,
    ResponderTable,
    TrialTable,
    near,
    one_of,
)
from ranklsim.pkpd.errors import BadInput
from ranklsim.pkpd.units import DAYS_PER_MONTH

_Made = tuple[type[Endpoint], dict[str, Any]]  # a kind of endpoint and what is its own

KINDS = ("change", "responder", "event", "rate", "durability")

ANALYSES = {
    "change": ("MMRM", "ANCOVA", "mean difference", "median difference"),
    "responder": ("Miettinen-Nurminen", "Mantel-Haenszel", "logistic"),
    "event": ("Cox", "log-rank", "Fine-Gray", "Gray", "cumulative incidence", "Mantel-Haenszel", "logistic"),
    "rate": ("negative binomial",),
    "durability": ("bootstrap",),
}
"""Analyses of each kind of endpoint."""

SUMMARIES: dict[type[Endpoint], tuple[str, ...]] = {
    Change: ("difference of means", "difference of medians"),
    Responder: ("risk difference", "risk ratio", "odds ratio"),
    Event: ("hazard ratio", "subdistribution hazard ratio", "risk ratio", "risk difference"),
    Rate: ("rate ratio",),
}
"""Summary measures of each kind of endpoint, the usual one first."""

_UNITS = {**dict.fromkeys(BMD_MEASURES, "g/cm2"), "CTX": "ng/mL", "P1NP": "ng/mL", "BSAP": "ng/mL"}
_UNITS |= {"TRAP5B": "U/L", "CA": "mmol/L", "PTH": "pmol/L"}
_LIMIT = re.compile(r"\s*(>=|<=|>|<)\s*(.+)")
_SAME_DAY = 1e-6  # days; rounding of a time that was converted between units


def effect_scale(made: type[Endpoint], analysis: str, kind: str | None, measure: str | None) -> tuple[str, bool]:
    """Unit in which an analysis gives its effect (shares in percent), and whether that is a ratio."""
    difference = {Event: "cumulative incidence", Responder: "Miettinen-Nurminen"}.get(made)
    ratio = made is not Change and analysis != difference
    if made is Change and kind == "absolute":
        return _UNITS[str(measure)], ratio
    return "1" if ratio else "%", ratio


class Objectives:
    """Endpoints, estimands and multiplicity of one file.

    Parameters
    ----------
    tables : TrialTable
    faults : Faults
        To which every fault is added.
    names : sequence of str
        Arms.
    control : str or None
    visits : Visits
    months : float or None
        Length of the trial.
    quantity : callable
        (path, text, unit) to the number, None with the fault noted.
    recorded : collection of str
        Events that the trial records, as `Conduct.recorded`.
    """

    def __init__(
        self,
        tables: TrialTable,
        faults: Faults,
        names: Sequence[str],
        control: str | None,
        visits: Visits,
        months: float | None,
        quantity: Callable[[Key, str, str], float | None],
        recorded: Collection[str],
    ) -> None:
        self.tables, self.faults, self.names, self.control = tables, faults, list(names), control
        self.visits, self.months, self.quantity = visits, months, quantity
        self.recorded = recorded

    # endpoints

    def endpoints(self) -> list[Endpoint]:
        """Those without fault."""
        tables = self.tables.endpoint
        if tables is None:
            return []
        found = [self._endpoint(("endpoint", index), table) for index, table in enumerate(tables)]
        roles_known = all(table.role is not None for table in tables)
        if roles_known and not any(table.role == "primary" for table in tables):
            self.faults.add(("endpoint",), 'no endpoint is primary; give one role = "primary".')
        self._names_once("endpoint", [table.name for table in tables])
        return [endpoint for endpoint in found if endpoint is not None]

    def _names_once(self, what: str, names: Sequence[str | None]) -> None:
        for index, name in enumerate(names):
            if name is not None and name in names[:index]:
                self.faults.add((what, index, "name"), f"this name is used twice; give each {what} its own.")

    def _endpoint(self, path: Key, table: EndpointTable) -> Endpoint | None:
        given = [kind for kind in KINDS if getattr(table, kind) is not None]
        wrong = any((*path, kind) in self.faults.answered for kind in KINDS)
        if len(given) != 1:
            if given:
                self.faults.add((*path, given[1]), f"both {given[0]} and {given[1]} are given; leave one of them out.")
            elif not wrong:
                self.faults.add(
                    path,
                    '`change` is missing; give change = { of = "BMD_LS", from = "0 mo", to = "36 mo", as = "percent" } '
                    "or one of responder, event, rate, durability.",
                )
            return None
        kind = given[0]
        if table.analysis is not None and table.analysis not in ANALYSES[kind]:
            self.faults.add(
                (*path, "analysis"), f"{table.analysis} is no analysis of a {kind}; use {one_of(ANALYSES[kind])}."
            )
        for index, name in enumerate(table.covariates):
            if name not in covariates():
                known = list(covariates())
                self.faults.add((*path, "covariates", index), f"unknown covariate '{name}'; {near(name, known)}")
        own = getattr(self, f"_{kind}")((*path, kind), getattr(table, kind))
        if own is None or table.name is None or table.role is None or table.analysis is None:
            return None
        made, values = own
        margin = self._margin((*path, "margin"), table.margin, made, values, table.analysis)
        return made(
            name=table.name,
            role=table.role,
            analysis=table.analysis,
            margin=margin,
            covariates=tuple(table.covariates),
            **values,
        )

    def _measure(self, path: Key, name: str | None, known: Sequence[str]) -> tuple[float, ...]:
        """Visits of a measure; none where it is unknown."""
        if name is None:
            return ()
        if name not in known:
            self.faults.add((*path, "of"), f"unknown measure '{name}'; {near(name, known)}")
            return ()
        return self.visits.BMD if name in BMD_MEASURES else self.visits.markers

    def _between(
        self, path: Key, of: str | None, start: str | None, end: str | None, last: str
    ) -> tuple[float, float] | None:
        """Two visits of a measure, the first before the second."""
        measures = (*BMD_MEASURES, *MARKER_MEASURES)
        planned = self._measure(path, of, measures)
        kind = "BMD" if of in BMD_MEASURES else "markers"
        first = self._visit((*path, "from"), start, planned, kind)
        second = self._visit((*path, last), end, planned, kind)
        if first is not None and second is not None and first >= second:
            self.faults.add(
                (*path, last), f"{last} = {second:g} mo is not after from = {first:g} mo; swap or change them."
            )
        if of is None or first is None or second is None:
            return None
        return first, second

    def _change(self, path: Key, t: ChangeTable) -> _Made | None:
        months = self._between(path, t.of, t.from_, t.to, "to")
        if months is None:
            return None
        return Change, {"measure": t.of, "from_month": months[0], "to_month": months[1], "kind": t.as_}

    def _responder(self, path: Key, t: ResponderTable) -> _Made | None:
        months = self._between(path, t.of, t.from_, t.at, "at")
        if t.gain is None:
            return None
        found = _LIMIT.fullmatch(t.gain)
        if not found:
            self.faults.add((*path, "gain"), f'gain = "{t.gain}" has no sign; write it as in gain = ">= 3 %".')
            return None
        limit = self.quantity((*path, "gain"), found[2], "%")
        if months is None or limit is None:
            return None
        return Responder, {
            "measure": t.of, "from_month": months[0], "to_month": months[1], "sign": found[1], "limit": limit,
        }  # fmt: skip

    def _event(self, path: Key, t: EventTable) -> _Made | None:
        found = self._counted(path, t)
        if not t.least >= 1:
            self.faults.add((*path, "least"), f"least = {t.least} is not positive; give 1 or more.")
            return None
        return None if found is None else (Event, found | {"least": t.least})

    def _rate(self, path: Key, t: RateTable) -> _Made | None:
        found = self._counted(path, t)
        return None if found is None else (Rate, found)

    def _counted(self, path: Key, t: EventTable | RateTable) -> dict[str, Any] | None:
        """An event that the trial records, and the months between which it counts."""
        of = t.of
        if of is not None and of not in COUNTED:
            self.faults.add((*path, "of"), f"unknown event '{of}'; {near(of, COUNTED)}")
            of = None
        elif of is not None and of not in self.recorded:
            self.faults.add((*path, "of"), f"counts '{of}', which the trial does not record; {_how(of)}")
            of = None
        start = self.quantity((*path, "from"), t.from_, "mo")
        end = None if t.by is None else self.quantity((*path, "by"), t.by, "mo")
        if start is not None and end is not None and not 0 <= start < end:
            self.faults.add((*path, "by"), f"by = {end:g} mo is not after from = {start:g} mo; swap or change them.")
            return None
        if end is not None and self.months is not None and end > self.months + _SAME_DAY:
            self.faults.add(
                (*path, "by"),
                f'by = "{end:g} mo" is after the trial ends at {self.months:g} mo; give an earlier month.',
            )
            return None
        if of is None or start is None or end is None:
            return None
        return {"event": of, "from_month": start, "by_month": end}

    def _durability(self, path: Key, t: DurabilityTable) -> _Made | None:
        if t.what is None or t.of is None:
            return None
        known = {"peak": MARKER_MEASURES, "peak month": MARKER_MEASURES, "area": (*BMD_MEASURES, *MARKER_MEASURES)}.get(
            t.what, BMD_MEASURES
        )
        if t.of not in known:
            self.faults.add((*path, "of"), f"'{t.of}' has no {t.what}; use {one_of(known)}.")
            return None
        after = None
        if t.what == "share kept":
            if t.after is None:
                self.faults.add(path, '`after` is missing; give after = "12 mo".')
                return None
            after = self.quantity((*path, "after"), t.after, "mo")
            if after is None or after <= 0:
                self.faults.add((*path, "after"), f'after = "{t.after}" is not positive; give more than 0 mo.')
                return None
        elif t.after is not None:
            self.faults.add((*path, "after"), f"{t.what} needs no after; leave it out.")
            return None
        assert t.what in DURABILITY
        return Durability, {"measure": t.of, "what": t.what, "after": after}

    def _margin(
        self, path: Key, text: str | None, made: type[Endpoint], values: dict[str, Any], analysis: str
    ) -> float | None:
        """A margin of non-inferiority in the unit of the difference; for a ratio, a number above 1."""
        if text is None:
            return None
        if made is Durability or analysis == "median difference":
            self.faults.add(path, "a margin has no meaning for this analysis; leave it out.")
            return None
        unit, ratio = effect_scale(made, analysis, values.get("kind"), values.get("measure"))
        value = self.quantity(path, text, unit)
        if value is None:
            return None
        if value <= (1 if ratio else 0) or not math.isfinite(value):
            right = 'a ratio above 1, such as margin = "1.3"' if ratio else 'the largest loss, such as margin = "1 %"'
            self.faults.add(path, f'margin = "{text}" is no margin; give {right}.')
            return None
        return value

    def _visit(self, path: Key, text: str | None, planned: tuple[float, ...], kind: str) -> float | None:
        """The visit of an endpoint, as the visits have it."""
        month = None if text is None else self.quantity(path, text, "mo")
        if month is None or not planned:
            return month
        nearest = min(planned, key=lambda visit: abs(visit - month))
        if abs(nearest - month) * DAYS_PER_MONTH > _SAME_DAY:
            self.faults.add(
                path,
                f'{path[-1]} = "{text}" is not a visit of {kind}; add {month:g} to visits, or use "{nearest:g} mo".',
            )
            return None
        return nearest

    # estimands

    def estimands(self, endpoints: Sequence[Endpoint]) -> list[Estimand]:
        """Those without fault."""
        tables = self.tables.estimand
        found = [self._estimand(("estimand", index), table, endpoints) for index, table in enumerate(tables)]
        self._names_once("estimand", [table.name for table in tables])
        primary = [index for index, table in enumerate(tables) if table.primary]
        if tables and not primary:
            self.faults.add(("estimand",), "no estimand is primary; give one primary = true.")
        for index in primary[1:]:
            self.faults.add(("estimand", index, "primary"), "a second estimand is primary; leave one of them so.")
        if tables and self.control is None:
            self.faults.add(("estimand",), "an estimand compares with control; name the trial's control.")
        return [estimand for estimand in found if estimand is not None]

    def _estimand(self, path: Key, table: EstimandTable, endpoints: Sequence[Endpoint]) -> Estimand | None:
        known = [t.name for t in self.tables.endpoint or [] if t.name is not None]
        if table.endpoint is not None and table.endpoint not in known:
            self.faults.add((*path, "endpoint"), f"unknown endpoint '{table.endpoint}'; {near(table.endpoint, known)}")
        endpoint = next((e for e in endpoints if e.name == table.endpoint), None)
        population: dict[str, Range] = {}
        for name, text in (table.population or {}).items():
            where: Key = (*path, "population", name)
            try:
                population[name] = parse_range(name, text, where=self.faults.where(where))
            except BadInput as fault:
                for message in fault.messages:
                    self.faults.add_message(where, message)
        arms = self.arms((*path, "treatment"), table.treatment)
        for event in table.events or {}:
            self._intercurrent((*path, "events", event), event)
        if endpoint is None or table.name is None or table.events is None:
            return None
        choices = SUMMARIES.get(type(endpoint))
        if isinstance(endpoint, Event) and endpoint.grouped:
            choices = ("risk ratio", "risk difference")
        elif isinstance(endpoint, Event) and endpoint.of_incidence:
            choices = ("subdistribution hazard ratio", "hazard ratio", "risk ratio", "risk difference")
        if choices is None:
            self.faults.add(
                (*path, "endpoint"), f"'{endpoint.name}' is a durability, of which no estimand is computed."
            )
            return None
        composite = isinstance(endpoint, Change) and "composite" in table.events.values()
        summary = table.summary or ("difference of medians" if composite else choices[0])
        if summary not in choices:
            self.faults.add((*path, "summary"), f"'{endpoint.name}' has no {summary}; use {one_of(choices)}.")
        if composite and summary == "difference of means":
            self.faults.add(
                (*path, "summary"),
                "the composite strategy ranks an event below every value, so that there is no mean; "
                'use summary = "difference of medians".',
            )
        if isinstance(endpoint, Change) and summary == "difference of medians" and table.missing != "MAR":
            self.faults.add(
                (*path, "missing"), f'missing = "{table.missing}" needs a difference of means; leave it out.'
            )
        if not isinstance(endpoint, Change) and table.missing != "MAR":
            self.faults.add((*path, "missing"), f'missing = "{table.missing}" is for a change only; leave it out.')
        return Estimand(
            table.name, endpoint.name, table.primary, population, arms, dict(table.events), table.missing, summary
        )

    def arms(self, path: Key, names: list[str] | None) -> tuple[str, ...]:
        """Treatments named, all but control if none is."""
        others = [name for name in self.names if name != self.control]
        if names is None:
            return tuple(others)
        for index, name in enumerate(names):
            if name == self.control:
                self.faults.add((*path, index), f"'{name}' is the control; name what is compared with it.")
            elif name not in self.names and self.names:
                self.faults.add((*path, index), f"'{name}' is not an arm; {near(name, others)}")
        if not names:
            self.faults.add(path, f"{path[-1]} is empty; name an arm, or leave it out for all of them.")
        return tuple(name for name in others if name in names)

    def _intercurrent(self, path: Key, event: str) -> None:
        if event not in INTERCURRENT:
            self.faults.add(path, f"unknown event '{event}'; {near(event, INTERCURRENT)}")
        elif event not in self.recorded:
            self.faults.add(path, f"names the event '{event}', which the trial does not record; {_how(event)}")

    # multiplicity

    def multiplicity(self, endpoints: Sequence[Endpoint]) -> Multiplicity | None:
        """How the type-I error is kept; None if the file does not say."""
        table, path = self.tables.multiplicity, ("multiplicity",)
        if table is None:
            return None
        known = [t.name for t in self.tables.endpoint or [] if t.name is not None]
        order = table.order or []
        for index, name in enumerate(order):
            if name not in known:
                self.faults.add((*path, "order", index), f"unknown endpoint '{name}'; {near(name, known)}")
            elif name in order[:index]:
                self.faults.add((*path, "order", index), f"order has '{name}' twice; give it once.")
        if table.order == []:
            self.faults.add((*path, "order"), "order is empty; name the endpoints in the order of their tests.")
        if not 0 < table.alpha < 0.5:
            self.faults.add((*path, "alpha"), f"alpha = {table.alpha:g} is not possible; give a number such as 0.05.")
        untested = [
            e.name for e in endpoints if isinstance(e, Change | Durability) and e.analysis == "median difference"
        ]
        for index, name in enumerate(order):
            if name in untested:
                self.faults.add(
                    (*path, "order", index), f"'{name}' is a difference of medians, which has no test; leave it out."
                )
        arms = self.arms((*path, "arms"), table.arms)
        if self.control is None:
            self.faults.add(path, "hypotheses compare with control; name the trial's control.")
        hypotheses = tuple((name, arm) for name in order for arm in arms)
        if table.method is None:
            return None
        weights, transitions = self._graph(path, table.method, len(hypotheses))
        return Multiplicity(table.method, table.alpha, hypotheses, weights, transitions)

    def _graph(self, path: Key, method: str, count: int) -> tuple[tuple[float, ...], tuple[tuple[float, ...], ...]]:
        table = self.tables.multiplicity
        assert table is not None
        weights, moves = table.weights, table.transitions
        if method != "graphical":
            for key, value in (("weights", weights), ("transitions", moves)):
                if value is not None:
                    self.faults.add((*path, key), f"{key} belong to the graphical method; leave them out.")
            return (), ()
        each = f"one for each of the {count} hypotheses (endpoints, and within them arms)"
        if weights is None or moves is None:
            key = "weights" if weights is None else "transitions"
            self.faults.add(path, f"`{key}` is missing; the graphical method needs {each}.")
            return (), ()
        if len(weights) != count or min(weights, default=0) < 0 or sum(weights) > 1 + 1e-9:
            self.faults.add((*path, "weights"), f"weights are {each}, none negative, with a sum of at most 1.")
        square = len(moves) == count and all(len(row) == count for row in moves)
        if not square or any(min(row) < 0 or sum(row) > 1 + 1e-9 or row[k] != 0 for k, row in enumerate(moves)):
            self.faults.add(
                (*path, "transitions"),
                f"transitions are rows, {each}, none negative, 0 to itself, each row with a sum of at most 1.",
            )
        return tuple(weights), tuple(map(tuple, moves))


def _how(event: str) -> str:
    """What makes a trial record an event."""
    key = {
        "dropout": 'dropout = "5 %/yr"',
        "stopped": 'stop_treatment = "3 %/yr"',
        "rescue": "rescue",
        "switch": "switch",
        "death": "deaths = true",
        "hypocalcaemia": "hypocalcaemia = true",
    }.get(event, "fractures = true")
    return f"set {key} in [conduct], or leave it out."
