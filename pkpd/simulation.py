"""Simulation of patients: from persons and doses to outputs at given times."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ranklsim.pkpd import limits
from ranklsim.pkpd.agents import FIELDS, Agent
from ranklsim.pkpd.biology.model import EMPTY, KINDS, OUTPUTS, Model
from ranklsim.pkpd.biology.skeleton import NAMES, bmd_from_t_score, t_score
from ranklsim.pkpd.biology.values import Slots, Values
from ranklsim.pkpd.engine import reference
from ranklsim.pkpd.engine.compiler import compiled
from ranklsim.pkpd.errors import BadInput, RunFailed, near
from ranklsim.pkpd.parameters import ParameterTable, load_parameters
from ranklsim.pkpd.units import DAYS_PER_MONTH, DAYS_PER_YEAR

BATCH, LEAST = 512, 64  # patients a task of a thread: at most, and at least
MAX_STEPS = 100_000  # some 50 a year are needed
SETTLED, LEAP, MOST_YEARS = 1e-5, 5, 500
"""A steady state: no state changes by more than this share of it and of its untreated size (1 for drug) in a year."""
COVARIATES = {
    "age": "AGE", "years_since_menopause": "YSM", "weight": "WT", "height": "HT", "eGFR": "EGFR", "vitamin_D": "VITD",
    "prevalent_fracture": "PVFX", "CTX": "CTX0", "P1NP": "P1NP0",
}  # fmt: skip
"""Parameter that a covariate sets; T-scores set BMD0_LS and its like by their references."""
EARLIEST_MENOPAUSE = 20
"""Age in years before which nobody's menopause is believed."""
CONDUCT = {"supplements": "SUPP"}
"""Parameter that the conduct of a trial sets."""

MARKERS = ("CTX", "P1NP", "BSAP", "TRAP5B", "CA", "PTH")

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Doses:
    """Doses of many patients, in any order; four arrays of equal length.

    Parameters
    ----------
    patient : ndarray of int
        Row of `persons`.
    time : ndarray
        Day, >= 0.
    agent : ndarray of int
        Position in `agents`.
    amount : ndarray
        mg, > 0.
    steady : ndarray, optional
        Interval (days) of doses alike before this one, after which the patient is in a steady state on day 0; 0 for
        none. The dose is earlier than one interval; parts of one dose have the same.
    """

    patient: NDArray[np.int64]
    time: Array
    agent: NDArray[np.int64]
    amount: Array
    steady: Array | None = None


def outputs(agents: Sequence[Agent]) -> dict[str, tuple[str, str]]:
    """Outputs of `simulate`: name to unit and meaning.

    Parameters
    ----------
    agents : sequence of Agent
        All agents that patients receive.
    """
    return {
        f"C_{agent.name}": ("ug/mL", f"free serum {agent.label}") for agent in agents if agent.kind == "binder"
    } | OUTPUTS


def simulate(
    parameters: ParameterTable,
    persons: pd.DataFrame,
    agents: Sequence[Agent],
    doses: Doses,
    times: Array,
    *,
    rtol: float = 1e-6,
    atol: float = 1e-8,
    workers: int = 1,
    start: Mapping[str, Array] | None = None,
    throughout: Collection[str] | None = None,
    rest_at: NDArray[np.int64] | None = None,
    progress: Callable[[int], None] | None = None,
    tell: Callable[[str], None] | None = None,
    retried: Callable[[int], None] | None = None,
    refused: Callable[[int, str], None] | None = None,
    integrator: Callable[..., Array] | None = None,
) -> dict[str, Array]:
    """Integrate patients from their untreated steady state.

    Parameters
    ----------
    parameters : ParameterTable
        Typical values.
    persons : DataFrame, n_persons rows
        Columns are symbols of the table that a patient has otherwise than typical, in the table's unit; also numbers
        of agents (``denosumab.CL``), which an agent that takes over that number (``like``) follows.
    agents : sequence of Agent
        All agents that `doses` names.
    doses : Doses
        Who receives what, when.
    times : ndarray, shape (n_times,)
        Sampling days, ascending, >= 0; a sample at a dose time is the value just before it.
    rtol, atol : float
        Error allowed a step: relative, and over each state's untreated size.
    workers : int
        Threads; the result does not depend on it.
    start : mapping of str to ndarray, shape (n_persons,), optional
        States that start otherwise than in the untreated steady state of a normal genotype.
    throughout : collection of str, optional
        Outputs that are wanted at every time; all by default.
    rest_at : ndarray of int, optional
        Positions in `times` at which the other outputs are wanted; all by default.
    progress : callable, optional
        Called with the number of patients done since the last call.
    tell : callable, optional
        Called with a sentence when something slow begins (a first compilation).
    retried : callable, optional
        Called with the row of each patient whom the engine could not integrate and the reference integrator did.
    refused : callable, optional
        Called with the row of each patient who leaves the limits of a living patient (`limits`) or can't be integrated,
        and the reason; all that is found of the patient is then NaN. Without it, the first such patient ends all.
    integrator : callable, optional
        Takes the engine's place, one patient at a time, for checks: called with the compiled module, start, parameter
        vector, events (day, state, amount), times, and ``rtol``, ``atol``; returns states, shape (n_times, n_states).

    Returns
    -------
    dict of str to ndarray, shape (n_persons, n_times)
        Everything in `outputs`; shape (n_persons, n_rest_at) of what is wanted at `rest_at` only.

    Raises
    ------
    BadInput
        If a column is no parameter, a dose is not positive, or times do not ascend.
    RunFailed
        If a patient leaves the limits of a living patient, or can't be integrated, by the reference integrator neither;
        the message names the patient by the index of `persons`, the day, what left its limits, and what to change.
    """
    times = np.asarray(times, dtype=float)
    agents = [parameters.apply(agent) for agent in agents]
    _check(parameters, persons, agents, doses, times)
    unknown = set(start or ()) - set(Model(Slots()).states)
    if unknown:
        raise BadInput(f"start: unknown state '{min(unknown)}'; give states of the untreated model.")
    n, names, all_times = len(persons), list(outputs(agents)), np.arange(len(times))
    wanted = dict.fromkeys(names, all_times)
    if throughout is not None and rest_at is not None:
        wanted |= {name: rest_at for name in names if name not in throughout}
    found = {name: np.zeros((n, len(at))) for name, at in wanted.items()}
    met = _Meetings(agents, doses, n)

    def do(task: tuple[_Group, slice]) -> int:
        group, part = task
        rows = group.rows[part]
        left: dict[int, str] = {}  # patients who are refused, and why

        def refuse(i: int, fault: RunFailed) -> None:
            if refused is None:
                raise fault
            left[i], states[i] = str(fault), group.start[part.start + i]

        states, outside, again = group.integrated(part, times, rtol, atol, integrator)
        for i, reason in outside.items():
            refuse(i, group.impossible(part.start + i, reason))
        for i in map(int, again):
            try:
                states[i] = group.by_reference(part.start + i, times, rtol, atol)
            except RunFailed as fault:
                refuse(i, fault)
                continue
            if retried:
                retried(rows[i])
        place = slice(rows[0], rows[-1] + 1) if rows[-1] - rows[0] + 1 == len(rows) else rows  # a slice is faster
        for at in (all_times, rest_at):
            if at is not None:
                some = [name for name in names if wanted[name] is at]
                for name, block in group.outputs(part, states, times, at, some).items():
                    while breach := limits.first_breach(name, block):
                        i, j = breach
                        reason = limits.breach(name, block[i, j], times[at[j]])
                        refuse(i, group.impossible(part.start + i, reason))
                        block[i] = block[i, 0]
                    found[name][place] = block
        for i, reason in left.items():
            for values in found.values():
                values[rows[i]] = np.nan
            if refused:
                refused(int(rows[i]), reason)
        return len(rows)

    tasks = []
    for slots, rows in met.groups():
        group = _Group(parameters, persons, met, slots, rows, start or {}, compiled(slots, tell))
        size = max(LEAST, min(BATCH, -(-len(rows) // workers)))
        tasks += [(group, slice(cut, min(cut + size, len(rows)))) for cut in range(0, len(rows), size)]
    if workers == 1 or len(tasks) == 1:
        for task in tasks:
            done = do(task)
            if progress:
                progress(done)
    else:
        with ThreadPoolExecutor(workers) as pool:
            for done in pool.map(do, tasks):
                if progress:
                    progress(done)
    return found


class _Meetings:
    """Slots of the agents of each patient (first, second, ... of its kind), and the doses of active agents in order."""

    def __init__(self, agents: Sequence[Agent], doses: Doses, n: int) -> None:
        self.agents, self.n = agents, n
        acts = np.array([agent.kind != "none" for agent in agents], dtype=bool)
        order = np.lexsort((doses.agent, doses.time, doses.patient))
        order = order[acts[doses.agent[order]]] if len(order) else order
        self.patient, self.time = doses.patient[order], doses.time[order]
        self.agent, self.amount = doses.agent[order], doses.amount[order]
        self.steady = np.zeros(len(order)) if doses.steady is None else doses.steady[order]
        pair = self.patient * max(1, len(agents)) + self.agent
        first = np.sort(np.unique(pair, return_index=True)[1])  # of each agent in each patient, in the order met
        kinds = list(KINDS)
        kind = np.array([kinds.index(agent.kind) if agent.kind in kinds else -1 for agent in agents], dtype=int)
        self.slot = np.zeros((n, len(agents)), dtype=int)  # from 1; 0 if a patient does not meet the agent
        self.count = np.zeros((n, len(kinds)), dtype=int)
        who, what = self.patient[first], self.agent[first]
        round_ = np.arange(len(first)) - np.searchsorted(who, who)  # how many agents the patient has met before
        for turn in range(int(round_.max(initial=-1)) + 1):
            i, a = who[round_ == turn], what[round_ == turn]
            self.count[i, kind[a]] += 1
            self.slot[i, a] = self.count[i, kind[a]]

    def groups(self) -> list[tuple[Slots, NDArray[np.int64]]]:
        """Patients who share a kernel."""
        # At least one binder slot, so that placebo and active arms share it.
        need = np.maximum(self.count, [1, 0, 0])
        return [
            (Slots(*map(int, kind)), np.flatnonzero((need == kind).all(axis=1)))
            for kind in np.unique(need, axis=0)
        ]  # fmt: skip


class _Group:
    """Patients who share a kernel: constants, start and events of all of them."""

    def __init__(
        self,
        parameters: ParameterTable,
        persons: pd.DataFrame,
        met: _Meetings,
        slots: Slots,
        rows: NDArray[np.int64],
        start_other: Mapping[str, Array],
        kernel: Any,
    ) -> None:
        self.agents, self.rows, self.kernel, self.model = met.agents, rows, kernel, Model(slots)
        self.slot = met.slot[rows]
        persons = persons.iloc[rows]
        self.names, self.persons, self.parameters = persons.index, persons, parameters
        n = len(rows)
        self.placed = {(kind, k): np.full(n, -1) for kind, count in zip(KINDS, slots, strict=True)
                       for k in range(1, count + 1)}  # fmt: skip
        for a, drug in enumerate(self.agents):
            for k in np.unique(self.slot[self.slot[:, a] > 0, a]):
                self.placed[drug.kind, int(k)][self.slot[:, a] == k] = a
        self.constants = _constants(parameters, persons, self.model, self.agents, self.placed)
        other = {name: np.asarray(values, float)[rows] for name, values in start_other.items()}
        begin = self.model.start(self.constants) | other
        self.start = _table(list(begin.values()), n)
        self.steep, self.low, self.high = judged(self.model, self.constants, n)
        self.p = _table([self.constants[name] for name in kernel.PARAMETERS], n)
        for values, names in ((self.p, kernel.PARAMETERS), (self.start, kernel.STATES)):
            wrong = np.isnan(values) if values is self.p else ~np.isfinite(values)  # no agent: an affinity without end
            if wrong.any():
                i, k = np.argwhere(wrong)[0]
                raise self.impossible(i, f"{names[k]} is not a number at the start")
        inside = np.full(met.n, -1)
        inside[rows] = np.arange(n)
        mine = inside[met.patient] >= 0
        i, self.time, agent, mg = inside[met.patient[mine]], met.time[mine], met.agent[mine], met.amount[mine]
        self.steady = met.steady[mine]
        self.first = np.searchsorted(i, np.arange(n + 1))
        self.state, self.added = np.zeros(len(i), dtype=np.int64), np.zeros(len(i))
        for a, drug in enumerate(self.agents):
            for k in np.unique(self.slot[i[agent == a], a]):
                at = np.flatnonzero((agent == a) & (self.slot[i, a] == k))
                entered, added = _dose_events(self.model, self.constants, (drug.kind, int(k)), drug, mg[at], i[at])
                self.state[at], self.added[at] = entered, added

    def integrated(
        self, part: slice, times: Array, rtol: float, atol: float, integrator: Callable[..., Array] | None
    ) -> tuple[Array, dict[int, str], NDArray[np.int64]]:
        """States (n, n_times, n_states) of some patients; who left the limits, and how; who can't be integrated.

        Patients are positions in `part`.
        """
        restless = self._settle(part, rtol, atol)
        if integrator:
            states = np.array([
                integrator(self.kernel, self.start[i], self.p[i], self._events(i), times, rtol=rtol, atol=atol)
                for i in range(part.start, part.stop)
            ])  # fmt: skip
            return states, restless, np.empty(0, dtype=np.int64)
        n = part.stop - part.start
        first = self.first[part.start : part.stop + 1]
        events = slice(first[0], first[-1])
        states, status = np.empty((n, len(times), self.start.shape[1])), np.zeros(n, dtype=np.int64)
        halt = np.zeros((n, 3))
        self.kernel.integrate(
            self.start[part], self.p[part], self.steep[part], self.low[part], self.high[part], first - first[0],
            self.time[events], self.state[events], self.added[events], times, rtol, atol, MAX_STEPS, states, status,
            halt,
        )  # fmt: skip
        outside = {
            int(i): limits.breach(self.kernel.STATES[int(halt[i, 1])], halt[i, 2], halt[i, 0],
                                  self._constants_of(part.start + i))
            for i in np.flatnonzero(status == self.kernel.OUTSIDE)
        }  # fmt: skip
        again = (status != self.kernel.DONE) & (status != self.kernel.OUTSIDE)
        again[list(restless)] = False
        return states, outside | restless, np.flatnonzero(again)

    def _settle(self, part: slice, rtol: float, atol: float) -> dict[int, str]:
        """Let patients whose first dose follows a steady state begin in it; who reaches none, and why.

        From the untreated start, years of doses are repeated until nothing changes from one year to the next
        (`SETTLED`); every `LEAP` years the slowest change is taken to its end, as a geometric series. Bone itself never
        settles, as its balance stays off zero: it keeps the mineral that the patient's covariates say, and has the age
        that it has under these doses (`Model.rebased`, at each dose, or each month of frequent ones).
        """
        if not self.steady.any():
            return {}
        owner = np.repeat(np.arange(len(self.rows)), np.diff(self.first))
        mine = (self.steady > 0) & (owner >= part.start) & (owner < part.stop)
        failed: dict[int, str] = {}
        scale, last = reference.scales(self.start), np.zeros_like(self.start)
        for every in np.unique(self.steady[mine]):
            here = mine & (self.steady == every)
            many = max(1, round(DAYS_PER_MONTH / every))
            turns = max(1, round(DAYS_PER_YEAR / (many * every)))
            who, years = np.unique(owner[here]), 0
            while who.size and years < MOST_YEARS:
                years += 1
                events = [np.flatnonzero(here & (owner == i)) for i in who]
                now, reached = self.start[who], np.ones(who.size, dtype=bool)
                for _ in range(turns):
                    now, there = self._repeated(who, now, events, every, many, rtol / 10, atol / 10)
                    reached &= there
                now[np.abs(now) < atol * scale[who]] = 0.0
                size = np.abs(now) + scale[who]
                step, before = (now - self.start[who]) / size, last[who] / size
                done = (np.abs(step) <= SETTLED).all(axis=1)
                last[who] = step * size
                if years % LEAP == 0:
                    ratio = (step * before).sum(axis=1) / np.maximum((before * before).sum(axis=1), 1e-300)
                    ratio = np.where(~done & (ratio > 0.5) & (ratio < 0.99), ratio, 0.0)
                    now = np.maximum(now + (ratio / (1 - ratio))[:, None] * last[who], 0.0)
                self.start[who] = np.where(reached[:, None], now, self.start[who])
                failed |= {int(i) - part.start: f"year {years} of the doses cannot be followed" for i in who[~reached]}
                who = who[~done & reached]
            failed |= {int(i) - part.start: f"nothing is steady after {years} years of the doses" for i in who}
        return failed

    def _repeated(
        self,
        who: NDArray[np.int64],
        start: Array,
        events: Sequence[NDArray[np.int64]],
        every: float,
        many: int,
        rtol: float,
        atol: float,
    ) -> tuple[Array, NDArray[np.bool_]]:
        """States (n, n_states) of patients after so many intervals with their events in each, and who gets there."""
        turns = every * np.arange(many)
        first = np.cumsum([0, *(len(own) * many for own in events)])
        time = np.concatenate([np.add.outer(turns, self.time[own]).ravel() for own in events])
        which = np.concatenate([np.tile(own, many) for own in events])
        states, status, halt = (
            np.empty((who.size, 1, start.shape[1])),
            np.zeros(who.size, np.int64),
            np.zeros((who.size, 3)),
        )
        self.kernel.integrate(
            start, self.p[who], self.steep[who], self.low[who], self.high[who], first, time, self.state[which],
            self.added[which], np.array([many * every]), rtol, atol, MAX_STEPS, states, status, halt,
        )  # fmt: skip
        constants = {name: np.broadcast_to(value, len(self.rows))[who] for name, value in self.constants.items()}
        found = self.model.rebased(Values(dict(zip(self.model.states, states[:, 0].T, strict=True))), Values(constants))
        return _table(list(found.values()), who.size), status == self.kernel.DONE

    def outputs(
        self, part: slice, states: Array, times: Array, at: NDArray[np.int64], names: Sequence[str]
    ) -> dict[str, Array]:
        """Outputs `names`, each (n, n_at), of some patients from their states at positions `at` of `times`."""
        drugs = [carrier for carrier in self._carriers(part) if f"C_{self.agents[carrier[0]].name}" in names]
        free = list(dict.fromkeys(f"free_{k}" for _, k, _ in drugs))
        read = [*(name for name in names if name in OUTPUTS), *free]
        if not read:
            return {}
        if len(at) < len(times):
            states, times = states.take(at, axis=1), times[at]
        values = np.empty((len(read), *states.shape[:2]))
        places = np.array([self.kernel.OUTPUTS.index(name) for name in read])
        self.kernel.read(states, self.p[part], times, places, values)
        every = dict(zip(read, values, strict=True))
        found = {name: every[name] for name in read if name not in free}
        for a, k, mass in drugs:  # nmol/L times kDa is ug/L
            name = f"C_{self.agents[a].name}"
            found[name] = found.get(name, 0.0) + every[f"free_{k}"] * mass[:, None] / 1e3
        return found

    def _events(self, i: int) -> list[tuple[float, int, float]]:
        mine = slice(self.first[i], self.first[i + 1])
        return list(zip(self.time[mine], self.state[mine], self.added[mine], strict=True))

    def _constants_of(self, i: int) -> Values:
        """One patient's constants."""
        return Values({name: float(np.broadcast_to(v, len(self.rows))[i]) for name, v in self.constants.items()})

    def impossible(self, i: int, reason: str) -> RunFailed:
        """The exception for a patient with whom the model can't go on; it says what is most unusual in the patient."""
        name, own, shipped = self.names[i], self.persons.iloc[i], load_parameters()
        values = self.parameters.values | own.to_dict()
        rows = shipped.frame[shipped.frame["low"] < shipped.frame["high"]].to_dict("index")
        away = {s: abs(values[s] - row["value"]) / (row["high"] - row["low"]) for s, row in rows.items()
                if values[s] != row["value"]}  # fmt: skip
        far = ", ".join(
            f"{s} {values[s]:.3g} ({shipped[s]:.3g})"
            for s in sorted(away, key=lambda s: -np.nan_to_num(away[s], nan=np.inf))[:4]
        )
        told = [reason, self.parameters.implausible(own.to_frame().T)[0], far and f"farthest from typical are {far}"]
        return RunFailed(
            f"{name if isinstance(name, str) else f'patient {name}'}: {'; '.join(filter(None, told))}; change such "
            "numbers, who is eligible, or the doses."
        )

    def by_reference(self, i: int, times: Array, rtol: float, atol: float) -> Array:
        """States (n_times, n_states) of one patient, integrated by `reference`."""
        try:
            return reference.integrate(
                self.model, self._constants_of(i), self._events(i), times, rtol=rtol, atol=atol, start=self.start[i],
                low=self.low[i], high=self.high[i],
            )  # fmt: skip
        except RunFailed as fault:
            raise self.impossible(i, str(fault)) from fault

    def _carriers(self, part: slice) -> list[tuple[int, int, Array]]:
        """Binders in slots: agent, slot, and molar mass (kDa) in the patients who have it there, else 0."""
        return [
            (a, k, np.where(who[part] == a, self.constants[f"binder.molar_mass_{k}"][part], 0.0))
            for (kind, k), who in self.placed.items()
            if kind == "binder"
            for a in np.unique(who[part])
            if a >= 0
        ]


def judged(model: Model, constants: Values, n: int) -> tuple[Array, Array, Array]:
    """By what the engine judges the states of `n` patients: weight of the error, lowest value, highest value.

    Parameters
    ----------
    model : Model
    constants : Values
        From `Model.constants`.
    n : int
        Number of patients.

    Returns
    -------
    tuple of three ndarray, shape (n, n_states)
    """
    steep = _table(list(model.steepness(constants).values()), n)
    return steep, *limits.of_states(list(model.states), constants, n)


def _table(columns: Sequence[Any], n: int) -> Array:
    """Columns, numbers or arrays of length `n`, side by side."""
    table = np.empty((n, len(columns)))
    for k, column in enumerate(columns):
        table[:, k] = column
    return table


def _constants(
    parameters: ParameterTable,
    persons: pd.DataFrame,
    model: Model,
    agents: Sequence[Agent],
    placed: Mapping[tuple[str, int], NDArray[np.int64]],
) -> Values:
    """Constants of patients whose slots hold agents as in `placed` (position in `agents`, -1 for none)."""
    n = len(persons)
    # Powers of strided columns differ from those of contiguous ones in the last bit.
    own = {symbol: np.ascontiguousarray(persons[symbol].to_numpy(float)) for symbol in persons}
    p: dict[str, Any] = parameters.values | own
    for (kind, k), who in placed.items():
        fields = {field: np.full(n, EMPTY[kind].get(field, np.nan)) for field in FIELDS[kind]}
        for a in np.unique(who[who >= 0]):
            mine = who == a
            for field, value in numbers_of(agents[a], persons).items():
                fields[field][mine] = np.broadcast_to(value, n)[mine]
        # An agent's numbers that no equation reads are kept by kind.
        p |= {f"{field}_{k}" if field in EMPTY[kind] else f"{kind}.{field}_{k}": v for field, v in fields.items()}
    return model.constants(p)


def patient_constants(
    parameters: ParameterTable, persons: pd.DataFrame, agents: Sequence[Agent]
) -> tuple[Model, Values, dict[str, tuple[str, int]]]:
    """Model, constants and slots for patients who receive `agents`.

    Parameters
    ----------
    parameters : ParameterTable
    persons : DataFrame
        As of `simulate`.
    agents : sequence of Agent

    Returns
    -------
    model : Model
    constants : Values
        From `Model.constants`; arrays of shape (n_persons,) or scalars. An agent's numbers that no equation reads (F,
        molar mass) are there as ``KIND.FIELD_k``.
    slot : dict
        Agent name to its kind and slot number, from 1.
    """
    named = {kind: [a for a, agent in enumerate(agents) if agent.kind == kind] for kind in KINDS}
    slots = Slots(max(1, len(named["binder"])), len(named["bisphosphonate"]), len(named["anabolic"]))
    model, n = Model(slots), len(persons)
    slot = {agents[a].name: (kind, k) for kind in KINDS for k, a in enumerate(named[kind], start=1)}
    placed = {
        (kind, k): np.full(n, named[kind][k - 1] if k <= len(named[kind]) else -1)
        for kind, count in zip(KINDS, slots, strict=True)
        for k in range(1, count + 1)
    }
    return model, _constants(parameters, persons, model, agents, placed), slot


def numbers_of(agent: Agent, persons: pd.DataFrame) -> dict[str, float | Array]:
    """Every number of an agent.

    Parameters
    ----------
    agent : Agent
    persons : DataFrame
        A column ``ORIGIN.FIELD`` replaces a number by an array over the persons (`Agent.followed`).
    """
    own = {f: factor * persons[name].to_numpy(float) for name, f, factor in agent.followed if name in persons}
    return agent.values | own


def _dose_events(
    model: Model, constants: Values, slot: tuple[str, int], agent: Agent, mg: Array, i: NDArray[np.int64]
) -> tuple[int, Array]:
    """State index that doses of `mg` enter, and how much each adds there in patient `i` of `constants`."""
    kind, k = slot
    names = {field: f"{field}_{k}" if field in EMPTY[kind] else f"{kind}.{field}_{k}" for field in FIELDS[kind]}
    if kind == "binder":
        names["Vc_i"] = f"Vc_i_{k}"
    own = Values({field: np.atleast_1d(constants[name]).take(i, mode="clip") for field, name in names.items()})
    state, amount = KINDS[kind].dose(own, mg, agent.route)
    return model.index[f"{state}_{k}"], amount


def dose_event(
    model: Model, constants: Values, slot: tuple[str, int], agent: Agent, mg: float, i: int = 0
) -> tuple[int, float]:
    """State index that one dose enters, and how much it adds there.

    Parameters
    ----------
    model : Model
    constants : Values
        From `patient_constants`, as `slot` is.
    slot : tuple of (str, int)
        Kind and number of the agent's slot.
    agent : Agent
    mg : float
        The dose.
    i : int
        Row of the patient.
    """
    state, amount = _dose_events(model, constants, slot, agent, np.array([mg]), np.array([i]))
    return state, float(amount[0])


def _check(
    parameters: ParameterTable, persons: pd.DataFrame, agents: Sequence[Agent], doses: Doses, times: Array
) -> None:
    own = {number for agent in agents for number in agent.numbers}
    for symbol in persons.columns:
        if symbol not in own:
            parameters.known(symbol, "persons")
    if len(times) == 0 or times[0] < 0 or not (np.diff(times) >= 0).all() or not np.isfinite(times).all():
        raise BadInput("times: sampling times must be finite, start at 0 or later and ascend.")
    if not (doses.amount > 0).all() or not np.isfinite(doses.amount).all():
        raise BadInput("doses: every dose must be positive, in mg.")
    for a, agent in enumerate(agents):
        given = doses.amount[doses.agent == a]
        if len(given) and (fault := agent.dose_fault(float(given.max()))):
            raise BadInput(f"doses: {fault}")
    if len(doses.time) and (doses.time.min() < 0 or not np.isfinite(doses.time).all()):
        raise BadInput("doses: a dose can't be given before day 0.")
    if len(doses.patient) and not (0 <= doses.patient.min() and doses.patient.max() < len(persons)):
        raise BadInput(f"doses: a dose names a patient outside 0 to {len(persons) - 1}.")
    if len(doses.agent) and not (0 <= doses.agent.min() and doses.agent.max() < len(agents)):
        raise BadInput(f"doses: a dose names an agent outside 0 to {len(agents) - 1}.")


def covariate_symbols(
    parameters: ParameterTable, covariates: Mapping[str, float], where: str = "covariates"
) -> dict[str, float]:
    """Convert named covariates, such as weight, into parameter symbols.

    Parameters
    ----------
    parameters : ParameterTable
    covariates : mapping
        ``age`` (yr), ``weight`` (kg), ``height`` (cm), ``eGFR`` (mL/min/1.73 m2), ``vitamin_D`` (ng/mL), ``CTX``,
        ``P1NP`` (ng/mL), ``T_LS``, ``T_TH``, ``T_FN``, ``T_R13`` (T-scores), ``supplements`` (1: starts calcium and
        vitamin D on day 0), any symbol of the parameter table, or a number of an agent (``denosumab.CL``).
    where : str
        What a message begins with.

    Raises
    ------
    BadInput
        One sentence for each name that is unknown and each value out of its range; or one, if they are plausible one by
        one and cannot belong together.
    """
    named = COVARIATES | CONDUCT | {f"T_{site}": f"BMD0_{site}" for site in NAMES}
    symbols, faults = {}, []
    for name, value in covariates.items():
        site, symbol = name.removeprefix("T_"), named.get(name, name)
        scored = symbol != name and site in NAMES
        symbols[symbol] = float(bmd_from_t_score(parameters, site, value) if scored else value)
        if name not in named and name not in parameters.frame.index and "." not in name:
            hint = near(name, [*named, *parameters.frame.index], also="`ranklsim simulate --help` names them.")
            faults.append(f"{where}: unknown covariate '{name}'; {hint}")
        elif wrong := parameters.faults({symbol: symbols[symbol]}, f"{where} {name}"):
            if scored:
                low, high = (t_score(parameters, site, parameters.frame.loc[symbol, end]) for end in ("low", "high"))
                wrong = [f"{where} {name}: {value:g} is outside its range; give {low:.1f} to {high:.1f}."]
            faults += wrong
    if {"AGE", "YSM"} <= set(symbols) and symbols["AGE"] - symbols["YSM"] < EARLIEST_MENOPAUSE:
        faults.append(
            f"{where} years_since_menopause: {symbols['YSM']:g} yr puts the menopause before the age of "
            f"{EARLIEST_MENOPAUSE}; put it or the age ({symbols['AGE']:g} yr) right."
        )
    if faults:
        raise BadInput(*faults)
    if symbols:
        parameters.together(where, symbols)
    return symbols
