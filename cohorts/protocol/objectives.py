"""Reading what a protocol wants to know from a trial file: endpoints, estimands, multiplicity.

As in `trial`, every fault is noted in one sentence and reading goes on with what is left.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from ranklsim.cohorts.endpoints import INTERCURRENT, KINDS, STRATEGIES, Endpoint, Estimand, is_ratio
from ranklsim.cohorts.endpoints.reading import Plan, how_recorded
from ranklsim.cohorts.measures import LIMITED
from ranklsim.cohorts.people.criteria import Range, covariates, parse_range
from ranklsim.cohorts.protocol.design import Visits
from ranklsim.cohorts.protocol.endpoints import Multiplicity
from ranklsim.pkpd.errors import near, one_of
from ranklsim.pkpd.reading import Shape, Table

ROLES = ("primary", "key secondary", "secondary", "exploratory")
MISSING = ("MAR", "J2R", "CIR", "CR")
WITHOUT_COVARIATES = (
    "log-rank",
    "Gray",
    "Miettinen-Nurminen",
    "Mantel-Haenszel",
    "mean difference",
    "median difference",
)
"""Analyses that adjust for strata at most."""
CORRECTIONS = ("fixed sequence", "Bonferroni", "Holm", "Hochberg", "graphical")

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


CLAIM = {
    "against": '"denosumab"',
    "arms": '["mrankl"]',
    "margin": '"1 %"',
    "equivalence": '["-1.5 %", "1.5 %"]',
    "interval": '"95 %"',
}
"""Keys of what an endpoint, or a further comparison of one, claims."""

COMPARISON = Shape(
    {"name": '"Spine, against denosumab"', "endpoint": '"Lumbar spine BMD over 36 months"', "role": '"secondary"'}
    | CLAIM,
    needed=("endpoint", "against"),
)


def _shape_of_endpoints() -> Shape:
    """Keys of a table [[endpoint]]: one for each kind that is registered."""
    kinds = {name: kind.example for name, kind in KINDS.items()}
    more = {"analysis": '"ANCOVA"', "covariates": '["age", "eGFR"]', "errors": '"empirical"'} | CLAIM
    first = {"name": '"Lumbar spine BMD over 36 months"', "role": '"primary"'}
    return Shape(first | kinds | more, needed=("name", "role", "analysis"))


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
    drugs : mapping of str to tuple of str
        As of `Plan`.
    """

    def __init__(
        self,
        root: Table,
        names: Sequence[str],
        control: str | None,
        visits: Visits,
        months: float | None,
        recorded: Collection[str],
        drugs: Mapping[str, tuple[str, ...]],
    ) -> None:
        self.root, self.faults, self.names, self.control = root, root.faults, list(names), control
        limited = {*LIMITED, *visits.limits}
        self.plan = Plan(visits.BMD, visits.markers, months, recorded, visits.drug, drugs, limited, tuple(self.names))
        self.tables = root.tables("endpoint", _shape_of_endpoints())
        self.comparisons = root.tables("comparison", COMPARISON)
        self.known = [name for table in self.tables if (name := table.text("name", None)) is not None]
        self.known += [name for table in self.comparisons if (name := self._name_of(table)) is not None]

    # endpoints

    def endpoints(self) -> list[Endpoint]:
        """Those without fault: each [[endpoint]], then each [[comparison]] as an endpoint with another comparator."""
        found = [self._endpoint(table) for table in self.tables]
        roles = [table.choice("role", ROLES, None) for table in self.tables]
        if "endpoint" in self.root and None not in roles and "primary" not in roles:
            self.root.fault("endpoint", 'no endpoint is primary; give one role = "primary".')
        self._names_once("endpoint", self.tables)
        first = [endpoint for endpoint in found if endpoint is not None]
        compared = [self._comparison(table, first) for table in self.comparisons]
        names = [endpoint.name for endpoint in first]
        for table, made in zip(self.comparisons, compared, strict=True):
            if made is not None and made.name in names:
                table.fault("name", f"'{made.name}' is the name of another endpoint; give each comparison its own.")
            names += [] if made is None else [made.name]
        return first + [endpoint for endpoint in compared if endpoint is not None]

    def _name_of(self, table: Table) -> str | None:
        """Name of a comparison: its own, or that of its endpoint with the comparator."""
        of, against = table.text("endpoint", None), table.text("against", None)
        return table.text("name", None if of is None or against is None else f"{of}, against {against}")

    def _comparison(self, table: Table, endpoints: Sequence[Endpoint]) -> Endpoint | None:
        """An endpoint with another comparator, or another claim."""
        name, of, role = self._name_of(table), table.text("endpoint", None), table.choice("role", ROLES, "secondary")
        base = next((endpoint for endpoint in endpoints if endpoint.name == of), None)
        if of is not None and base is None:
            known = [each for t in self.tables if (each := t.text("name", None)) is not None]
            if of not in known:
                table.fault("endpoint", f"unknown endpoint '{of}'; {near(of, known)}")
        if base is None or name is None or role is None:
            return None
        plain = replace(base, name=name, role=role, margin=None, equivalence=None, against=None, arms=())
        return self._claimed(table, plain)

    def named(self, table: Table, key: str) -> str | None:
        """Name of an endpoint at a key of a table; None where it has none, or an unknown one, which is a fault.

        Parameters
        ----------
        table : Table
            A table of the trial file.
        key : str
            The key that names an endpoint.
        """
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
                first, *others = KINDS
                said = f"`{first}` is missing; give {first} = {KINDS[first].example}"
                table.fault((), f"{said} or one of {', '.join(others)}.")
            return None
        kind = KINDS[given[0]]
        name, role = table.text("name", None), table.choice("role", ROLES, None)
        every = list(dict.fromkeys(analysis for each in KINDS.values() for analysis in each.analyses))
        analysis = table.choice("analysis", every, None)
        if analysis is not None and analysis not in kind.analyses:
            known = one_of(tuple(kind.analyses))
            table.fault("analysis", f"{analysis} is not an analysis of a {kind.key}; use {known}.")
            analysis = None
        adjusted = table.values("covariates", str, [])
        for index, covariate in enumerate(adjusted):
            if covariate not in covariates():
                hint = near(covariate, covariates())
                table.fault(("covariates", index), f"unknown covariate '{covariate}'; {hint}")
        inner = table.table(kind.key, kind.shape)
        own = None if inner is None else kind.read(inner, self.plan)
        if "errors" in table and analysis is not None:
            errors = table.choice("errors", kind.errors_of[analysis], None) if analysis in kind.errors_of else None
            if analysis not in kind.errors_of:
                several = [each for other in KINDS.values() for each in other.errors_of]
                table.fault("errors", f"{analysis} has one kind of errors; leave errors out, or use {one_of(several)}.")
            own = own if own is None or errors is None else own | {"errors": errors}
        if own is None or name is None or role is None or analysis is None:
            return None
        if analysis in WITHOUT_COVARIATES and adjusted:
            table.fault("covariates", f"{analysis} takes no covariates; leave them out, or use another analysis.")
        return self._claimed(table, kind(name=name, role=role, analysis=analysis, covariates=tuple(adjusted), **own))

    def _claimed(self, table: Table, spec: Endpoint) -> Endpoint:
        """An endpoint with its comparator and what it claims."""
        against = table.text("against", None)
        if against is not None and against not in self.names and self.names:
            table.fault("against", f"'{against}' is not an arm; {near(against, self.names)}")
        comparator = against or self.control
        arms = spec.usual_arms
        if "arms" in table:
            arms = self.arms(table, "arms", comparator)
        named = [*(["against"] if against is not None or arms else []), "arms"]
        for place, arm in ((named[0], comparator), *(("arms", arm) for arm in arms)):
            if arm in self.names and (why := spec.unfit(arm)):
                table.fault(place if place in table else (), f"{why}; compare arms that are, by against and arms.")
        margin, equivalence = self._margin(table, spec), self._equivalence(table, spec)
        if "margin" in table and "equivalence" in table:
            table.fault("equivalence", "both margin and equivalence are given; leave one of them out.")
        if comparator is None:
            for key in ("margin", "equivalence"):
                if key in table:
                    table.fault(key, f"{key} is of a comparison; name the trial's control, or leave it out.")
        level = table.quantity("interval", "%", 95.0, least=50, below=100)
        if "interval" in table and not spec.tested:
            table.fault("interval", "the interval of this analysis is one of 95 %; leave it out.")
        return replace(spec, against=against, arms=arms, margin=margin, equivalence=equivalence, confidence=level / 100)

    def _equivalence(self, table: Table, spec: Endpoint) -> tuple[float, float] | None:
        """The two limits of an equivalence claim, on either side of no effect."""
        given = table.values("equivalence", str, None)
        if given is None:
            return None
        ratio = is_ratio(spec.effect_measure)
        example = '["80 %", "125 %"]' if ratio else '["-1.5 %", "1.5 %"]'
        if not spec.tested or spec.superiority_only:
            table.fault("equivalence", "equivalence has no meaning for this analysis; leave it out.")
            return None
        if len(given) != 2:
            table.fault("equivalence", f"equivalence needs two limits, and has {len(given)}; write {example}.")
            return None
        low, high = (table.parsed(("equivalence", k), text, spec.effect_unit) for k, text in enumerate(given))
        none = 1.0 if ratio else 0.0
        if low is not None and high is not None and not (low < none < high and (low > 0 or not ratio)):
            said = f"equivalence from {given[0]} to {given[1]} does not hold no effect ({none:g})"
            table.fault("equivalence", f"{said}; give a limit on either side, as in equivalence = {example}.")
        return None if low is None or high is None else (low, high)

    def _margin(self, table: Table, spec: Endpoint) -> float | None:
        """A margin of non-inferiority in the unit of the difference; for a ratio, a number above 1."""
        if "margin" not in table:
            return None
        if not spec.tested or spec.superiority_only:
            table.fault("margin", "a margin has no meaning for this analysis; leave it out.")
            return None
        ratio = is_ratio(spec.effect_measure)
        value = table.quantity("margin", spec.effect_unit, None)
        if value is not None and value <= (1 if ratio else 0):
            right = 'a ratio above 1, such as margin = "1.3"' if ratio else 'the largest loss, such as margin = "1 %"'
            table.fault("margin", f'margin = "{table.data["margin"]}" is not a margin; give {right}.')
        return value

    # estimands

    def estimands(self, endpoints: Sequence[Endpoint]) -> list[Estimand]:
        """Those without fault.

        Parameters
        ----------
        endpoints : sequence of Endpoint
            Endpoints of the trial.
        """
        tables = self.root.tables("estimand", ESTIMAND)
        found = [self._estimand(table, endpoints) for table in tables]
        self._names_once("estimand", tables)
        primary = [table for table in tables if table.flag("primary")]
        if tables and not primary:
            self.root.fault("estimand", "no estimand is primary; give one primary = true.")
        for table in primary[1:]:
            table.fault("primary", "a second estimand is primary; leave one of them so.")
        if tables and self.control is None and not any(endpoint.against for endpoint in endpoints):
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
        comparator = None if endpoint is None else endpoint.against or self.control
        arms = self.arms(table, "treatment", comparator)
        if "treatment" not in table and endpoint is not None and endpoint.arms:
            arms = endpoint.arms
        missing = table.choice("missing", MISSING, "MAR")
        every = tuple(dict.fromkeys(summary for kind in KINDS.values() for summary in kind.measures))
        asked = table.choice("summary", every, None)
        events = table.mapping("events", str, None)
        for event, strategy in (events or {}).items():
            self._intercurrent(table, event, strategy)
        if endpoint is None or name is None or events is None:
            return None
        choices = endpoint.summaries
        if not choices:
            table.fault("endpoint", f"'{endpoint.name}' is a {endpoint.key}, of which no estimand is computed.")
            return None
        for event, how in events.items():
            if how in STRATEGIES and how not in endpoint.strategies:
                said = f"the strategy of {event} is {how}, which no {endpoint.key} has"
                table.fault(("events", event), f"{said}; use {one_of(endpoint.strategies)}.")
        composite = endpoint.imputes and "composite" in events.values()
        summary = asked or ("difference of medians" if composite else choices[0])
        if summary not in choices:
            table.fault("summary", f"'{endpoint.name}' has no {summary}; use {one_of(choices)}.")
        if composite and summary == "difference of means":
            table.fault(
                "summary",
                "the composite strategy ranks an event below every value, so that there is no mean; "
                'use summary = "difference of medians".',
            )
        if missing != "MAR" and endpoint.imputes and summary == "difference of medians":
            table.fault("missing", f'missing = "{missing}" needs a difference of means; leave it out.')
        if missing != "MAR" and not endpoint.imputes:
            table.fault("missing", f'missing = "{missing}" is for a change only; leave it out.')
        return Estimand(name, endpoint.name, table.flag("primary"), population, arms, events, missing, summary)

    def arms(self, table: Table, key: str, comparator: str | None) -> tuple[str, ...]:
        """Arms named at a key of a table that are compared with another; all others if none is named.

        Parameters
        ----------
        table : Table
            A table of the trial file.
        key : str
            The key that names arms.
        comparator : str, optional
            The arm that they are compared with.
        """
        others = [name for name in self.names if name != comparator]
        names = table.values(key, str, None)
        if names is None:
            return tuple(others)
        for index, name in enumerate(names):
            if name == comparator:
                said = "the control" if name == self.control else "what is compared with"
                table.fault((key, index), f"'{name}' is {said}, and an arm is not compared with itself; name another.")
            elif name not in self.names and self.names:
                table.fault((key, index), f"'{name}' is not an arm; {near(name, others)}")
        if not names:
            table.fault(key, f"{key} is empty; name an arm, or leave it out for all of them.")
        return tuple(name for name in others if name in names)

    def _intercurrent(self, table: Table, event: str, strategy: str) -> None:
        if event not in INTERCURRENT:
            table.fault(("events", event), f"unknown event '{event}'; {near(event, INTERCURRENT)}")
        elif event not in self.plan.recorded:
            table.fault(
                ("events", event), f"names the event '{event}', which the trial does not record; {how_recorded(event)}"
            )
        if strategy not in STRATEGIES:
            table.fault(("events", event), f'`{event}` is "{strategy}"; {near(strategy, STRATEGIES)}')

    # multiplicity

    def multiplicity(self, endpoints: Sequence[Endpoint]) -> Multiplicity | None:
        """How the type-I error is kept; None if the file does not say.

        Parameters
        ----------
        endpoints : sequence of Endpoint
            Endpoints of the trial.
        """
        table = self.root.table("multiplicity", MULTIPLICITY)
        if table is None:
            return None
        method, order = table.choice("method", CORRECTIONS, None), table.values("order", str, [])
        untested = [e.name for e in endpoints if e.of_patients and not e.tested]
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
        specs = {endpoint.name: endpoint for endpoint in endpoints}
        against = {name: spec.against or self.control for name, spec in specs.items()}
        if self.control is None and None in against.values():
            table.fault((), "hypotheses compare with control; name the trial's control.")
        named = self.arms(table, "arms", None) if "arms" in table else tuple(self.names)
        if self.control in named and "arms" in table and set(against.values()) == {self.control}:
            place = table.values("arms", str, []).index(str(self.control))
            said = f"'{self.control}' is the control, and an arm is not compared with itself"
            table.fault(("arms", place), f"{said}; name another.")
        hypotheses = tuple(
            (name, arm)
            for name in order
            for arm in named
            if arm != against.get(name, self.control)
            and (name not in specs or not specs[name].arms or arm in specs[name].arms)
        )
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
