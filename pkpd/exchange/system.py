"""The model of one patient under a plan of doses as one system of named equations, ready to be printed for other tools.

Constants, start values, steps, rates and outputs are those of `Model`, traced by `tracing`. Free drug is the root of a
balance without closed form, which other tools cannot be asked to solve. Here it is a state: the balance F(free, x) = 0
is differentiated, and the linear system

    dF/dfree * d(free)/dt = -dF/dx * dx/dt - RETURN * F

is solved by elimination. The first term keeps F at zero exactly (index reduction); the second takes F back to zero
within minutes where a solver's error, or a dose into a vein, has moved it [1]_ [2]_.

References
----------
.. [1] Gear CW. SIAM J Sci Stat Comput 1988;9:39-47. doi:10.1137/0909004 (index reduction)
.. [2] Baumgarte J. Comput Methods Appl Mech Eng 1972;1:1-16. doi:10.1016/0045-7825(72)90018-7 (stabilisation)
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd
import sympy as sp

from ranklsim.pkpd.agents import FIELDS, Agent, Number
from ranklsim.pkpd.biology import ligand
from ranklsim.pkpd.biology.model import EMPTY, KINDS, OUTPUTS
from ranklsim.pkpd.biology.values import Slots, Values
from ranklsim.pkpd.dosing import Regimen
from ranklsim.pkpd.exchange.tracing import Notes
from ranklsim.pkpd.parameters import ParameterTable
from ranklsim.pkpd.simulation import numbers_of

RETURN = 1000.0
"""Rate (1/day) with which the balance of free drug returns to zero: a time constant of 86 seconds."""

TIME = "time"


class Quantity(NamedTuple):
    """A number of the file, and where it is from."""

    value: float
    unit: str
    meaning: str
    status: str = ""
    source: str = ""
    doi: str = ""


class Given(NamedTuple):
    """Doses of one regimen: the names of its parameters, and the state that a dose enters by a formula of them."""

    agent: Agent
    amount: str
    first: str
    every: str
    number: str
    state: str
    added: sp.Expr
    regimen: Regimen


@dataclass
class System:
    """One patient's equations by name.

    Attributes
    ----------
    parameters : dict of str to Quantity
        Every number that the equations read.
    constants : dict of str to expression
        What follows from the parameters before time starts, in the order of computation.
    states : dict of str to (unit, meaning)
    start, rates : dict of str to expression
        Of each state; rates are per day.
    steps : dict of str to expression
        What changes with time, in the order of computation.
    outputs : dict of str to (unit, meaning)
        Each is a state, or a step of that name.
    doses : list of Given
    agents : dict of str to (Agent, kind, slot)
        By name.
    """

    parameters: dict[str, Quantity]
    constants: dict[str, sp.Expr]
    states: dict[str, tuple[str, str]]
    start: dict[str, sp.Expr]
    steps: dict[str, sp.Expr]
    rates: dict[str, sp.Expr]
    outputs: dict[str, tuple[str, str]]
    doses: list[Given] = field(default_factory=list)
    agents: dict[str, tuple[Agent, str, int]] = field(default_factory=dict)


def identifier(name: str) -> str:
    """A name as other tools allow it: letters, digits and underscores.

    Parameters
    ----------
    name : str
        Such as ``abc-301``.
    """
    return re.sub(r"[^A-Za-z0-9_]", "_", name)


def field_name(kind: str, name: str, k: int) -> str:
    """How the equations call a number of an agent; one that only doses and concentrations read has its kind, too.

    Parameters
    ----------
    kind, name : str
        Kind of agent, and field of it.
    k : int
        Slot of the agent, from 1.
    """
    return f"{name}_{k}" if name in EMPTY[kind] else f"{name}_{kind}_{k}"


def symbol(name: str) -> sp.Symbol:
    """The symbol of a name.

    Parameters
    ----------
    name : str
    """
    return sp.Symbol(name, real=True)


class _Symbols(Values):
    """Values in which every name is its symbol, if it is one that the model knows."""

    def __missing__(self, name: str) -> sp.Symbol:
        return symbol(name)

    def __getattr__(self, name: str) -> sp.Symbol:
        if name.startswith("__"):
            raise AttributeError(name)
        return self[name]


def make_system(
    table: ParameterTable,
    agents: Sequence[Agent],
    regimens: Sequence[Regimen] = (),
    own: Mapping[str, float] | None = None,
) -> System:
    """The equations of one patient who may receive `agents`.

    Parameters
    ----------
    table : ParameterTable
    agents : sequence of Agent
        Those that act each get a set of states of their own.
    regimens : sequence of Regimen
        Doses that the file gives, of these agents.
    own : mapping of str to float, optional
        Symbols and agents' numbers that the patient has otherwise than typical (`simulation.covariate_symbols`).
    """
    acting = [table.apply(agent) for agent in agents if agent.kind != "none"]
    named = {kind: [agent for agent in acting if agent.kind == kind] for kind in KINDS}
    slots = Slots(*(len(named[kind]) for kind in KINDS))
    placed = {agent.name: (agent, kind, k) for kind in KINDS for k, agent in enumerate(named[kind], start=1)}
    free = [symbol(f"free_{k}") for k in range(1, slots.binders + 1)]
    notes = Notes(symbol)
    model = notes.model()(slots)
    states = dict(model.states)
    for agent, kind, k in placed.values():
        if kind == "binder":
            states[f"free_{k}"] = ("nmol/L", f"free {agent.label} in plasma")
    fields = [field_name(kind, name, k) for _, kind, k in placed.values() for name in FIELDS[kind]]
    known = [*table.values, *fields]
    notes.reserved = {*states, *known, TIME}
    p = model.constants(_Symbols({name: symbol(name) for name in known}))
    constants = (
        _followers(placed)
        | dict(notes.found)
        | {n: v for n, v in p.items() if isinstance(v, sp.Expr) and v != symbol(n)}
    )
    notes.reserved |= set(constants)
    notes.found.clear()

    x, p = _Symbols(), _Symbols()
    rates = model.rates(x, p, free)
    start = {name: sp.sympify(value) for name, value in model.start(p).items()} | {str(f): sp.Integer(0) for f in free}
    outputs, found = {}, model.outputs(x, p, symbol(TIME), free)
    steps = notes.found
    for agent, kind, k in placed.values():
        if kind == "binder":
            outputs[f"C_{identifier(agent.name)}"] = ("ug/mL", f"free serum {agent.label}")
            found[f"C_{identifier(agent.name)}"] = free[k - 1] * symbol(field_name(kind, "molar_mass", k)) / 1000
    outputs |= OUTPUTS
    for name in outputs:
        if steps.setdefault(name, value := sp.sympify(found[name])) != value and value != symbol(name):
            raise ValueError(f"{name} is a step and another output; give the step another name")
    _free_drug(steps, rates, x, p, free, slots)
    system = System({}, constants, states, start, steps, rates, outputs, [], placed)
    _prune(system)
    given = _doses(system, regimens)
    values, sources = dict(table.values) | dict(own or {}), _sources(placed, own or {})
    read = set().union(
        *(
            e.free_symbols
            for part in (system.constants, system.start, system.steps, system.rates)
            for e in part.values()
        ),
        *(dose.added.free_symbols for dose in given),
    )
    for name in sorted({str(s) for s in read} - {*states, *system.steps, *system.constants, TIME}):
        if name in sources:
            system.parameters[name] = sources[name]
        elif name in table.values:
            row = table.row(name)
            differs = values[name] != row["value"]
            system.parameters[name] = Quantity(
                float(values[name]), row["unit"], row["meaning"], row["status"],
                "given for this patient" if differs and name in (own or {}) else row["source"], row["doi"],
            )  # fmt: skip
    for dose in given:
        system.parameters |= _of_dose(dose, float(values["WT"]))
    system.doses = given
    return system


def _followers(placed: Mapping[str, tuple[Agent, str, int]]) -> dict[str, sp.Expr]:
    """Numbers of agents that are those of another agent here, times a factor (`Agent.followed`)."""
    found = {}
    for agent, kind, k in placed.values():
        for name, own, factor in agent.followed:
            leader, _, number = name.partition(".")
            if leader not in placed or leader == agent.name:
                continue
            other, _, slot = placed[leader]
            if math.isclose(agent.values[own], factor * other.values[number], rel_tol=1e-12):  # none was changed
                found[field_name(kind, own, k)] = factor * symbol(field_name(kind, number, slot))
    return found


def _free_drug(
    steps: dict[str, sp.Expr],
    rates: dict[str, sp.Expr],
    x: Values,
    p: Values,
    free: Sequence[sp.Symbol],
    slots: Slots,
) -> None:
    """Add the rate of free drug: the derivative of its balance, solved by elimination without pivoting.

    The diagonal dominates each column (more of one drug frees less of another than it adds), so no pivot is needed.
    """
    balance = [sp.sympify(term) for term in ligand.free_equation(x, p, list(free), slots)]
    moving = sorted({s for term in balance for s in term.free_symbols} & {symbol(n) for n in rates}, key=str)
    for state in moving:
        steps[f"rate_{state}"] = sp.sympify(rates[str(state)])
        rates[str(state)] = symbol(f"rate_{state}")
    slope, right = {}, {}
    n = range(1, len(free) + 1)
    for k in n:
        steps[f"balance_{k}"] = balance[k - 1]
        for i in n:
            steps[f"slope_{k}_{i}"] = balance[k - 1].diff(free[i - 1])
            slope[k, i] = symbol(f"slope_{k}_{i}")
        drift = sum(balance[k - 1].diff(s) * symbol(f"rate_{s}") for s in moving)
        steps[f"right_{k}"] = -drift - RETURN * symbol(f"balance_{k}")
        right[k] = symbol(f"right_{k}")
    for k in n:  # Gaussian elimination, then back substitution
        for i in range(k + 1, len(free) + 1):
            steps[f"factor_{i}_{k}"] = slope[i, k] / slope[k, k]
            factor = symbol(f"factor_{i}_{k}")
            for c in range(k + 1, len(free) + 1):
                steps[f"slope_{i}_{c}_{k}"] = slope[i, c] - factor * slope[k, c]
                slope[i, c] = symbol(f"slope_{i}_{c}_{k}")
            steps[f"right_{i}_{k}"] = right[i] - factor * right[k]
            right[i] = symbol(f"right_{i}_{k}")
    for k in reversed(n):
        left = sum(slope[k, i] * symbol(f"rate_free_{i}") for i in range(k + 1, len(free) + 1))
        steps[f"rate_free_{k}"] = (right[k] - left) / slope[k, k]
        rates[f"free_{k}"] = symbol(f"rate_free_{k}")


def needed(steps: Mapping[str, sp.Expr], formulas: Iterable[sp.Expr]) -> dict[str, sp.Expr]:
    """Those of some steps that formulas read, directly or through other steps; in their order.

    Parameters
    ----------
    steps : mapping of str to expression
        In the order of computation.
    formulas : iterable of expression
    """
    wanted = {str(s) for formula in formulas for s in sp.sympify(formula).free_symbols}
    found = []
    for name in reversed(list(steps)):
        if name in wanted:
            wanted |= {str(s) for s in steps[name].free_symbols}
            found.append(name)
    return {name: steps[name] for name in reversed(found)}


def _prune(system: System) -> None:
    """Leave out what neither a rate, a start value nor an output reads."""
    system.rates = {name: sp.sympify(rate) for name, rate in system.rates.items()}
    system.steps = needed(system.steps, [*system.rates.values(), *map(symbol, system.outputs)])
    read = [*system.steps.values(), *system.rates.values(), *system.start.values()]
    system.constants = needed(system.constants, read)


def _doses(system: System, regimens: Iterable[Regimen]) -> list[Given]:
    """Doses of the regimens that act, with the names of their parameters."""
    given = []
    for i, regimen in enumerate((r for r in regimens if r.agent in system.agents and r.dose_mg > 0), start=1):
        agent, kind, k = system.agents[regimen.agent]
        fields = Values({name: symbol(field_name(kind, name, k)) for name in FIELDS[kind]})
        fields["Vc_i"] = symbol(f"Vc_i_{k}")
        state, added = KINDS[kind].dose(fields, symbol(f"dose_{i}"), agent.route)
        names = (f"dose_{i}", f"first_{i}", f"every_{i}", f"number_{i}")
        given.append(Given(agent, *names, f"{state}_{k}", sp.sympify(added), regimen))
    return given


def _of_dose(dose: Given, weight: float) -> dict[str, Quantity]:
    regimen, label = dose.regimen, dose.agent.label
    mg, words = float(regimen.dose.of(weight)), f"planned: {regimen.dose.words}"
    return {
        dose.amount: Quantity(mg, "mg", f"each dose of {label}", words),
        dose.first: Quantity(regimen.start_day, "day", f"day of the first of these doses of {label}", "planned"),
        dose.every: Quantity(regimen.every_days or 1.0, "day", f"interval of these doses of {label}", "planned"),
        dose.number: Quantity(float(regimen.doses), "1", f"number of these doses of {label}", "planned"),
    }


def _sources(placed: Mapping[str, tuple[Agent, str, int]], own: Mapping[str, float]) -> dict[str, Quantity]:
    """Numbers of the agents by their names in the equations."""
    person = pd.DataFrame([dict(own)])
    found = {}
    for agent, _, k in placed.values():
        values = {name: float(np.ravel(value)[0]) for name, value in numbers_of(agent, person).items()}
        about: dict[str, Number] = {number.field: number for number in agent.provenance}
        for name, value in values.items():
            n = about[name]
            meaning = FIELDS[agent.kind][name].meaning
            found[field_name(agent.kind, name, k)] = Quantity(
                value, n.unit, f"{agent.label}: {meaning}", n.status, n.source, n.doi
            )
    return found
