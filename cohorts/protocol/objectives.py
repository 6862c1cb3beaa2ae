"""Reading what a protocol wants to know from a trial file: endpoints, estimands, multiplicity.

As in `trial`, every fault is noted in one sentence and reading goes on with what is left.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any

from ranklsim.cohorts.people.criteria import Range, covariates, parse_range
from ranklsim.cohorts.protocol.design import Visits
from ranklsim.cohorts.protocol.endpoints import (
    COUNTED,
    DURABILITY,
    INTERCURRENT,
    STRATEGIES,
    Change,
    Durability,
    Endpoint,
    Estimand,
    Event,
    Multiplicity,
    Rate,
    Responder,
)
from ranklsim.cohorts.protocol.measures import BMD_MEASURES, MARKER_MEASURES, MEASURES, UNITS
from ranklsim.pkpd.errors import near, one_of
from ranklsim.pkpd.reading import Shape, Table
from ranklsim.pkpd.units import DAYS_PER_MONTH

_Made = tuple[type[Endpoint], dict[str, Any]]  # a kind of endpoint and what is its own

ROLES = ("primary", "key secondary", "secondary", "exploratory")
MISSING = ("MAR", "J2R", "CIR", "CR")
CORRECTIONS = ("fixed sequence", "Bonferroni", "Holm", "Hochberg", "graphical")

KINDS = {
    "change": Shape(
        {"of": '"BMD_LS"', "from": '"0 mo"', "to": '"36 mo"', "as": '"percent"'}, needed=("of", "from", "to")
    ),
    "responder": Shape(
        {"of": '"BMD_LS"', "from": '"0 mo"', "at": '"36 mo"', "gain": '">= 3 %"'}, needed=("of", "at", "gain")
    ),
    "event": Shape({"of": '"vertebral"', "from": '"0 mo"', "by": '"36 mo"', "least": "2"}, needed=("of", "by")),
    "rate": Shape({"of": '"vertebral"', "from": '"0 mo"', "by": '"36 mo"'}, needed=("of", "by")),
    "durability": Shape({"of": '"BMD_TH"', "what": '"share kept"', "after": '"12 mo"'}, needed=("of", "what")),
}
"""Kinds of endpoint, each with the keys of its table."""

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

ENDPOINT = Shape(
    {
        "name": '"Lumbar spine BMD over 36 months"',
        "role": '"primary"',
        "change": '{ of = "BMD_LS", from = "0 mo", to = "36 mo", as = "percent" }',
        "responder": '{ of = "BMD_LS", at = "36 mo", gain = ">= 3 %" }',
        "event": '{ of = "vertebral", by = "36 mo" }',
        "rate": '{ of = "vertebral", by = "36 mo" }',
        "durability": '{ of = "BMD_TH", what = "share kept", after = "12 mo" }',
        "analysis": '"ANCOVA"',
        "margin": '"1 %"',
        "covariates": '["age", "eGFR"]',
    },
    needed=("name", "role", "analysis"),
)
ESTIMAND = Shape(
    {
        "name": '"Effect if all had stayed on treatment"',
        "endpoint": '"Lumbar spine BMD over 36 months"',
        "primary": "true or false",
        "population": '{ age = ">= 75 yr" }',
        "treatment": '["denosumab"]',
        "events": '{ stopped = "treatment policy", rescue = "hypothetical" }',
        "missing": '"MAR"',
        "summary": '"difference of means"',
    },
    needed=("name", "endpoint", "events"),
)
MULTIPLICITY = Shape(
    {
        "method": '"fixed sequence"',
        "alpha": "0.05",
        "order": '["Lumbar spine BMD over 36 months"]',
        "arms": '["denosumab"]',
        "weights": "[0.5, 0.5]",
        "transitions": "[[0.0, 1.0], [1.0, 0.0]]",
    },
    needed=("method", "order"),
)

_LIMIT = re.compile(r"\s*(>=|<=|>|<)\s*(.+)")
_SAME_DAY = 1e-6  # days; rounding of a time that was converted between units


def effect_scale(made: type[Endpoint], analysis: str, kind: str | None, measure: str | None) -> tuple[str, bool]:
    """Unit in which an analysis gives its effect (shares in percent), and whether that is a ratio."""
    difference = {Event: "cumulative incidence", Responder: "Miettinen-Nurminen"}.get(made)
    ratio = made is not Change and analysis != difference
    if made is Change and kind == "absolute":
        return UNITS[str(measure)], ratio
    return "1" if ratio else "%", ratio


class Objectives:
    """Endpoints, estimands and multiplicity of one file.

    Parameters
    ----------
    root : Table
        The file.
    names : sequence of str
        Arms.
    control : str or None
    visits : Visits
    months : float or None
        Length of the trial.
    recorded : collection of str
        Events that the trial records, as `Conduct.recorded`.
    """

    def __init__(
        self,
        root: Table,
        names: Sequence[str],
        control: str | None,
        visits: Visits,
        months: float | None,
        recorded: Collection[str],
    ) -> None:
        self.root, self.faults, self.names, self.control = root, root.faults, list(names), control
        self.visits, self.months, self.recorded = visits, months, recorded
        self.tables = root.tables("endpoint", ENDPOINT)
        self.known = [name for table in self.tables if (name := table.text("name", None)) is not None]

    # endpoints

    def endpoints(self) -> list[Endpoint]:
        """Those without fault."""
        found = [self._endpoint(table) for table in self.tables]
        roles = [table.choice("role", ROLES, None) for table in self.tables]
        if "endpoint" in self.root and None not in roles and "primary" not in roles:
            self.root.fault("endpoint", 'no endpoint is primary; give one role = "primary".')
        self._names_once("endpoint", self.tables)
        return [endpoint for endpoint in found if endpoint is not None]

    def named(self, table: Table, key: str) -> str | None:
        """Name of an endpoint at a key of a table; None where it has none, or an unknown one, which is a fault."""
        name = table.text(key, None)
        if name is None or name in self.known:
            return name
        table.fault(key, f"unknown endpoint '{name}'; {near(name, self.known)}")
        return None

    def _names_once(self, what: str, tables: Sequence[Table]) -> None:
        names = [table.text("name", None) for table in tables]
        for index, name in enumerate(names):
            if name is not None and name in names[:index]:
                tables[index].fault("name", f"this name is used twice; give each {what} its own.")

    def _endpoint(self, table: Table) -> Endpoint | None:
        given = [kind for kind in KINDS if kind in table]
        if len(given) != 1:
            if given:
                table.fault(given[1], f"both {given[0]} and {given[1]} are given; leave one of them out.")
            elif not any(self.faults.touch(table.at(kind)) for kind in KINDS):
                others = "or one of responder, event, rate, durability."
                table.fault((), f"`change` is missing; give {ENDPOINT.example('change')} {others}")
            return None
        kind = given[0]
        name, role = table.text("name", None), table.choice("role", ROLES, None)
        every = list(dict.fromkeys(analysis for kind in ANALYSES.values() for analysis in kind))
        analysis = table.choice("analysis", every, None)
        if analysis is not None and analysis not in ANALYSES[kind]:
            table.fault("analysis", f"{analysis} is not an analysis of a {kind}; use {one_of(ANALYSES[kind])}.")
        adjusted = table.values("covariates", str, [])
        for index, covariate in enumerate(adjusted):
            if covariate not in covariates():
                hint = near(covariate, covariates())
                table.fault(("covariates", index), f"unknown covariate '{covariate}'; {hint}")
        inner = table.table(kind, KINDS[kind])
        own = None if inner is None else getattr(self, f"_{kind}")(inner)
        if own is None or name is None or role is None or analysis is None:
            return None
        made, values = own
        margin = self._margin(table, made, values, analysis)
        return made(name=name, role=role, analysis=analysis, margin=margin, covariates=tuple(adjusted), **values)

    def _between(self, t: Table, last: str) -> tuple[str, float, float] | None:
        """A measure and two of its visits, the first before the second."""
        of, start, end = t.choice("of", MEASURES, None), t.text("from", "0 mo"), t.text(last, None)
        planned = () if of is None else self.visits.BMD if of in BMD_MEASURES else self.visits.markers
        kind = "BMD" if of in BMD_MEASURES else "markers"
        first, second = self._visit(t, "from", start, planned, kind), self._visit(t, last, end, planned, kind)
        if first is not None and second is not None and first >= second:
            t.fault(last, f"{last} = {second:g} mo is not after from = {first:g} mo; swap or change them.")
        return None if of is None or first is None or second is None else (of, first, second)

    def _change(self, t: Table) -> _Made | None:
        kind, found = t.choice("as", ("percent", "absolute"), "percent"), self._between(t, "to")
        if found is None:
            return None
        return Change, {"measure": found[0], "from_month": found[1], "to_month": found[2], "kind": kind}

    def _responder(self, t: Table) -> _Made | None:
        found, gain = self._between(t, "at"), t.text("gain", None)
        if gain is None:
            return None
        parts = _LIMIT.fullmatch(gain)
        if not parts:
            t.fault("gain", f'gain = "{gain}" has no sign; write it as in gain = ">= 3 %".')
            return None
        limit = t.parsed(("gain",), parts[2], "%")
        if found is None or limit is None:
            return None
        return Responder, {
            "measure": found[0], "from_month": found[1], "to_month": found[2], "sign": parts[1], "limit": limit,
        }  # fmt: skip

    def _event(self, t: Table) -> _Made | None:
        found, least = self._counted(t), t.whole("least", 1, least=1, most=1000)
        return None if found is None else (Event, found | {"least": least})

    def _rate(self, t: Table) -> _Made | None:
        found = self._counted(t)
        return None if found is None else (Rate, found)

    def _counted(self, t: Table) -> dict[str, Any] | None:
        """An event that the trial records, and the months between which it counts."""
        of = t.text("of", None)
        if of is not None and of not in COUNTED:
            t.fault("of", f"unknown event '{of}'; {near(of, COUNTED)}")
            of = None
        elif of is not None and of not in self.recorded:
            t.fault("of", f"counts '{of}', which the trial does not record; {_how(of)}")
            of = None
        start, end = t.quantity("from", "mo", 0.0), t.quantity("by", "mo", None)
        if end is not None and not 0 <= start < end:
            t.fault("by", f"by = {end:g} mo is not after from = {start:g} mo; swap or change them.")
            return None
        if end is not None and self.months is not None and end > self.months + _SAME_DAY:
            ends = f"is after the trial ends at {self.months:g} mo"
            t.fault("by", f'by = "{end:g} mo" {ends}; give an earlier month.')
            return None
        return None if of is None or end is None else {"event": of, "from_month": start, "by_month": end}

    def _durability(self, t: Table) -> _Made | None:
        what, of = t.choice("what", tuple(DURABILITY), None), t.text("of", None)
        after = t.quantity("after", "mo", None, above=0)
        if what is None or of is None:
            return None
        known = {"peak": MARKER_MEASURES, "peak month": MARKER_MEASURES, "area": MEASURES}.get(what, BMD_MEASURES)
        if of not in known:
            t.fault("of", f"'{of}' has no {what}; use {one_of(known)}.")
        elif what == "share kept" and "after" not in t:
            t.fault((), '`after` is missing; give after = "12 mo".')
        elif what != "share kept" and "after" in t:
            t.fault("after", f"{what} needs no after; leave it out.")
        return Durability, {"measure": of, "what": what, "after": after}

    def _margin(self, table: Table, made: type[Endpoint], values: dict[str, Any], analysis: str) -> float | None:
        """A margin of non-inferiority in the unit of the difference; for a ratio, a number above 1."""
        if "margin" not in table:
            return None
        if made is Durability or analysis == "median difference":
            table.fault("margin", "a margin has no meaning for this analysis; leave it out.")
            return None
        unit, ratio = effect_scale(made, analysis, values.get("kind"), values.get("measure"))
        value = table.quantity("margin", unit, None)
        if value is not None and value <= (1 if ratio else 0):
            right = 'a ratio above 1, such as margin = "1.3"' if ratio else 'the largest loss, such as margin = "1 %"'
            table.fault("margin", f'margin = "{table.data["margin"]}" is not a margin; give {right}.')
        return value

    def _visit(self, t: Table, key: str, text: str | None, planned: tuple[float, ...], kind: str) -> float | None:
        """The visit of an endpoint, as the visits have it."""
        month = None if text is None else t.parsed((key,), text, "mo")
        if month is None or not planned:
            return month
        nearest = min(planned, key=lambda visit: abs(visit - month))
        if abs(nearest - month) * DAYS_PER_MONTH <= _SAME_DAY:
            return nearest
        hint = f'add {month:g} to visits, or use "{nearest:g} mo".'
        t.fault(key, f'{key} = "{text}" is not a visit of {kind}; {hint}')
        return None

    # estimands

    def estimands(self, endpoints: Sequence[Endpoint]) -> list[Estimand]:
        """Those without fault."""
        tables = self.root.tables("estimand", ESTIMAND)
        found = [self._estimand(table, endpoints) for table in tables]
        self._names_once("estimand", tables)
        primary = [table for table in tables if table.flag("primary")]
        if tables and not primary:
            self.root.fault("estimand", "no estimand is primary; give one primary = true.")
        for table in primary[1:]:
            table.fault("primary", "a second estimand is primary; leave one of them so.")
        if tables and self.control is None:
            self.root.fault("estimand", "an estimand compares with control; name the trial's control.")
        return [estimand for estimand in found if estimand is not None]

    def _estimand(self, table: Table, endpoints: Sequence[Endpoint]) -> Estimand | None:
        name, of = table.text("name", None), self.named(table, "endpoint")
        endpoint = next((e for e in endpoints if e.name == of), None)
        population: dict[str, Range] = {}
        for covariate, text in table.mapping("population", str, {}).items():
            limits = read_range(table, ("population", covariate), covariate, text)
            if limits is not None:
                population[covariate] = limits
        arms = self.arms(table, "treatment")
        missing = table.choice("missing", MISSING, "MAR")
        every = tuple(dict.fromkeys(summary for kind in SUMMARIES.values() for summary in kind))
        asked = table.choice("summary", every, None)
        events = table.mapping("events", str, None)
        for event, strategy in (events or {}).items():
            self._intercurrent(table, event, strategy)
        if endpoint is None or name is None or events is None:
            return None
        choices = SUMMARIES.get(type(endpoint))
        if isinstance(endpoint, Event) and endpoint.grouped:
            choices = ("risk ratio", "risk difference")
        elif isinstance(endpoint, Event) and endpoint.of_incidence:
            choices = ("subdistribution hazard ratio", "hazard ratio", "risk ratio", "risk difference")
        if choices is None:
            table.fault("endpoint", f"'{endpoint.name}' is a durability, of which no estimand is computed.")
            return None
        composite = isinstance(endpoint, Change) and "composite" in events.values()
        summary = asked or ("difference of medians" if composite else choices[0])
        if summary not in choices:
            table.fault("summary", f"'{endpoint.name}' has no {summary}; use {one_of(choices)}.")
        if composite and summary == "difference of means":
            table.fault(
                "summary",
                "the composite strategy ranks an event below every value, so that there is no mean; "
                'use summary = "difference of medians".',
            )
        if missing != "MAR" and isinstance(endpoint, Change) and summary == "difference of medians":
            table.fault("missing", f'missing = "{missing}" needs a difference of means; leave it out.')
        if missing != "MAR" and not isinstance(endpoint, Change):
            table.fault("missing", f'missing = "{missing}" is for a change only; leave it out.')
        return Estimand(name, endpoint.name, table.flag("primary"), population, arms, events, missing, summary)

    def arms(self, table: Table, key: str) -> tuple[str, ...]:
        """Treatments named at a key of a table, all but control if none is."""
        others = [name for name in self.names if name != self.control]
        names = table.values(key, str, None)
        if names is None:
            return tuple(others)
        for index, name in enumerate(names):
            if name == self.control:
                table.fault((key, index), f"'{name}' is the control; name what is compared with it.")
            elif name not in self.names and self.names:
                table.fault((key, index), f"'{name}' is not an arm; {near(name, others)}")
        if not names:
            table.fault(key, f"{key} is empty; name an arm, or leave it out for all of them.")
        return tuple(name for name in others if name in names)

    def _intercurrent(self, table: Table, event: str, strategy: str) -> None:
        if event not in INTERCURRENT:
            table.fault(("events", event), f"unknown event '{event}'; {near(event, INTERCURRENT)}")
        elif event not in self.recorded:
            table.fault(("events", event), f"names the event '{event}', which the trial does not record; {_how(event)}")
        if strategy not in STRATEGIES:
            table.fault(("events", event), f'`{event}` is "{strategy}"; {near(strategy, STRATEGIES)}')

    # multiplicity

    def multiplicity(self, endpoints: Sequence[Endpoint]) -> Multiplicity | None:
        """How the type-I error is kept; None if the file does not say."""
        table = self.root.table("multiplicity", MULTIPLICITY)
        if table is None:
            return None
        method, order = table.choice("method", CORRECTIONS, None), table.values("order", str, [])
        untested = [e.name for e in endpoints if e.analysis == "median difference"]
        for index, name in enumerate(order):
            here = ("order", index)
            if name not in self.known:
                table.fault(here, f"unknown endpoint '{name}'; {near(name, self.known)}")
            elif name in order[:index]:
                table.fault(here, f"order has '{name}' twice; give it once.")
            elif name in untested:
                table.fault(here, f"'{name}' is a difference of medians, which has no test; leave it out.")
        if table.data.get("order") == []:
            table.fault("order", "order is empty; name the endpoints in the order of their tests.")
        alpha = table.number("alpha", 0.05, above=0, below=0.5)
        arms = self.arms(table, "arms")
        if self.control is None:
            table.fault((), "hypotheses compare with control; name the trial's control.")
        hypotheses = tuple((name, arm) for name in order for arm in arms)
        if method is None:
            return None
        return Multiplicity(method, alpha, hypotheses, *self._graph(table, method, len(hypotheses)))

    def _graph(self, table: Table, method: str, count: int) -> tuple[tuple[float, ...], tuple[tuple[float, ...], ...]]:
        weights, moves = table.values("weights", float, None), table.rows("transitions", float, None)
        if method != "graphical":
            for key in [key for key in ("weights", "transitions") if key in table]:
                table.fault(key, f"{key} belong to the graphical method; leave them out.")
            return (), ()
        each = f"one for each of the {count} hypotheses (endpoints, and within them arms)"
        if weights is None or moves is None:
            key = "weights" if weights is None else "transitions"
            if key not in table:
                table.fault((), f"`{key}` is missing; the graphical method needs {each}.")
            return (), ()
        if len(weights) != count or min(weights, default=0) < 0 or sum(weights) > 1 + 1e-9:
            table.fault("weights", f"weights are {each}, none negative, with a sum of at most 1.")
        square = len(moves) == count and all(len(row) == count for row in moves)
        if not square or any(min(row) < 0 or sum(row) > 1 + 1e-9 or row[k] != 0 for k, row in enumerate(moves)):
            rule = f"rows, {each}, none negative, 0 to itself, each row with a sum of at most 1."
            table.fault("transitions", f"transitions are {rule}")
        return tuple(weights), tuple(map(tuple, moves))


def read_range(table: Table, keys: tuple[str | int, ...], covariate: str, text: str) -> Range | None:
    """A criterion on a covariate at a place of a table; None, with the fault noted, if it is none.

    Parameters
    ----------
    table : Table
    keys : tuple
        Where in the table.
    covariate, text : str
        As of `parse_range`.
    """
    return table.faults.attempt(table.at(*keys), lambda where: parse_range(covariate, text, where=where))


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
