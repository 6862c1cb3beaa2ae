"""Simulate patients: from persons and doses to everything that can be known of them at given times."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ranklsim.pkpd.agents import Agent, load_agent
from ranklsim.pkpd.compiler import compiled
from ranklsim.pkpd.dosing import Regimen
from ranklsim.pkpd.errors import BadInput, RunFailed
from ranklsim.pkpd.model import EMPTY, KINDS, OUTPUTS, Model
from ranklsim.pkpd.parameters import ParameterTable, load_parameters
from ranklsim.pkpd.skeleton import NAMES, bmd_from_t_score
from ranklsim.pkpd.units import DAYS_PER_MONTH
from ranklsim.pkpd.values import Slots, Values

BATCH = 32  # patients a task of a thread
MAX_STEPS = 2_000_000
COVARIATES = {
    "age": "AGE", "years_since_menopause": "YSM", "weight": "WT", "height": "HT", "eGFR": "EGFR", "vitamin_D": "VITD",
    "prevalent_fracture": "PVFX", "CTX": "CTX0", "P1NP": "P1NP0",
}  # fmt: skip
"""Parameter that a covariate sets; T-scores set BMD0_LS and its like by their references."""
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
    """

    patient: NDArray[np.int64]
    time: Array
    agent: NDArray[np.int64]
    amount: Array


def outputs(agents: Sequence[Agent]) -> dict[str, tuple[str, str]]:
    """Name, unit and meaning of everything that `simulate` returns for these agents."""
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
    progress: Callable[[int], None] | None = None,
    tell: Callable[[str], None] | None = None,
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
    progress : callable, optional
        Called with the number of patients done since the last call.
    tell : callable, optional
        Called with a sentence when something slow begins (a first compilation).

    Returns
    -------
    dict of str to ndarray, shape (n_persons, n_times)
        Everything in `outputs`.

    Raises
    ------
    BadInput
        If a column is no parameter, a dose is not positive, or times do not ascend.
    RunFailed
        If a patient can't be integrated.
    """
    times = np.asarray(times, dtype=float)
    agents = [parameters.apply(agent) for agent in agents]
    _check(parameters, persons, agents, doses, times)
    unknown = set(start or ()) - set(Model(Slots()).states)
    if unknown:
        raise BadInput(f"start: unknown state '{min(unknown)}'; give states of the untreated model.")
    n = len(persons)
    result = {name: np.zeros((n, len(times))) for name in outputs(agents)}
    order = np.lexsort((doses.agent, doses.time, doses.patient))
    patient, time, agent, amount = (column[order] for column in (doses.patient, doses.time, doses.agent, doses.amount))
    first = np.searchsorted(patient, np.arange(n + 1))

    groups: dict[tuple[int, ...], list[int]] = {}  # patients who meet the same agents, in the order met
    for i in range(n):
        met = tuple(dict.fromkeys(agent[first[i] : first[i + 1]].tolist()))
        groups.setdefault(met, []).append(i)
    tasks = []
    for met, rows in groups.items():
        used = [agents[a] for a in met if agents[a].kind != "none"]
        job = _Job(parameters, used, times, rtol, atol, tell)
        for cut in range(0, len(rows), BATCH):
            tasks.append((job, rows[cut : cut + BATCH]))

    def do(task: tuple[_Job, list[int]]) -> int:
        job, rows = task
        events = []
        for i in rows:
            mine = slice(first[i], first[i + 1])
            named = [
                (float(t), agents[a], float(mg)) for t, a, mg in zip(time[mine], agent[mine], amount[mine], strict=True)
            ]
            events.append([event for event in named if event[1].kind != "none"])
        mine_start = {name: np.asarray(values, float)[rows] for name, values in (start or {}).items()}
        for name, values in job.run(persons.iloc[rows], events, mine_start).items():
            result[name][rows] = values
        return len(rows)

    if workers == 1:
        for task in tasks:
            done = do(task)
            if progress:
                progress(done)
    else:
        with ThreadPoolExecutor(workers) as pool:
            for done in pool.map(do, tasks):
                if progress:
                    progress(done)
    return result


def patient_constants(
    parameters: ParameterTable, persons: pd.DataFrame, agents: Sequence[Agent]
) -> tuple[Model, Values, dict[str, tuple[str, int]]]:
    """Model, constants and slots for patients who meet `agents`.

    Returns
    -------
    model : Model
    constants : Values
        From `Model.constants`; arrays of shape (n_persons,) or scalars. An agent's numbers that no equation reads (F,
        molar mass) are there as ``KIND.FIELD_k``.
    slot : dict
        Agent name to its kind and slot number, from 1.
    """
    named: dict[str, list[Agent]] = {kind: [a for a in agents if a.kind == kind] for kind in KINDS}
    # At least one binder slot, so that placebo and active arms share one compiled kernel.
    model = Model(Slots(max(1, len(named["binder"])), len(named["bisphosphonate"]), len(named["anabolic"])))
    p: dict[str, object] = {**parameters.values, **{symbol: persons[symbol].to_numpy(float) for symbol in persons}}
    slot = {}
    for kind, count in zip(KINDS, model.slots, strict=True):
        for k in range(1, count + 1):
            agent = named[kind][k - 1] if k <= len(named[kind]) else None
            if agent:
                slot[agent.name] = (kind, k)
            for field, value in (numbers(agent, persons) if agent else EMPTY[kind]).items():
                p[f"{field}_{k}" if field in EMPTY[kind] else f"{kind}.{field}_{k}"] = value
    return model, model.constants(p), slot


def numbers(agent: Agent, persons: pd.DataFrame) -> dict[str, float | Array]:
    """Every number of `agent`; an array over `persons` where they have a column ``ORIGIN.FIELD`` for it."""
    own = {field: persons[name].to_numpy(float) for name, field in agent.numbers.items() if name in persons}
    return agent.values | own


def dose_event(
    model: Model, constants: Values, slot: tuple[str, int], agent: Agent, mg: float, i: int = 0
) -> tuple[int, float]:
    """State index that a dose of `mg` enters in patient `i` of `constants`, and how much it adds there."""
    kind, k = slot
    names = {field: f"{field}_{k}" if field in EMPTY[kind] else f"{kind}.{field}_{k}" for field in agent.values}
    if kind == "binder":
        names["Vc_i"] = f"Vc_i_{k}"
    own = Values({field: np.atleast_1d(constants[name]).take(i, mode="clip") for field, name in names.items()})
    state, amount = KINDS[kind].dose(own, mg, agent.route)
    return model.index[f"{state}_{k}"], float(amount)


class _Job:
    """Patients who meet the same agents: one compiled kernel, one parameter layout."""

    def __init__(
        self,
        parameters: ParameterTable,
        agents: Sequence[Agent],
        times: Array,
        rtol: float,
        atol: float,
        tell: Callable[[str], None] | None,
    ) -> None:
        self.parameters, self.agents, self.times, self.rtol, self.atol = parameters, agents, times, rtol, atol
        self.model = patient_constants(parameters, pd.DataFrame(index=[0]), agents)[0]
        self.kernel = compiled(self.model.slots, tell)

    def run(
        self, persons: pd.DataFrame, events: list[list[tuple[float, Agent, float]]], start_other: Mapping[str, Array]
    ) -> dict[str, Array]:
        """Outputs of one batch; `events` holds each patient's (day, agent, mg), by time."""
        n, m = len(persons), len(self.times)
        model, constants, slot = patient_constants(self.parameters, persons, self.agents)
        start = np.column_stack([np.broadcast_to(v, n) for v in (model.start(constants) | dict(start_other)).values()])
        start = start.astype(float)
        p = np.column_stack([np.broadcast_to(constants[name], n) for name in self.kernel.PARAMETERS]).astype(float)
        flat = [
            (day, *dose_event(model, constants, slot[agent.name], agent, mg, i))
            for i, mine in enumerate(events)
            for day, agent, mg in mine
        ]
        first = np.cumsum([0] + [len(mine) for mine in events])
        columns = np.array(flat, dtype=float).reshape(-1, 3)
        states = np.empty((n, m, start.shape[1]))
        status = np.zeros(n, dtype=np.int64)
        self.kernel.integrate(
            start, p, first, columns[:, 0].copy(), columns[:, 1].astype(np.int64), columns[:, 2].copy(), self.times,
            self.rtol, self.atol, MAX_STEPS, states, status,
        )  # fmt: skip
        if status.any():
            bad = int(np.flatnonzero(status)[0])
            raise RunFailed(
                f"patient in row {persons.index[bad]} can't be integrated at rtol {self.rtol:g}; "
                "its parameters are extreme: look at that row of persons."
            )
        x = Values({name: states[:, :, i] for i, name in enumerate(model.states)})
        wide = Values({name: v[:, None] if np.ndim(v) else v for name, v in constants.items()})
        out = {name: np.broadcast_to(v, (n, m)) for name, v in model.outputs(x, wide, self.times[None, :]).items()}
        for agent in self.agents:
            if agent.kind == "binder":
                k = slot[agent.name][1]  # nmol/L times kDa is ug/L
                out[f"C_{agent.name}"] = out[f"free_{k}"] * wide[f"binder.molar_mass_{k}"] / 1e3
        return {name: values for name, values in out.items() if not name.startswith("free_")}


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
    if len(doses.time) and (doses.time.min() < 0 or not np.isfinite(doses.time).all()):
        raise BadInput("doses: a dose can't be given before day 0.")
    if len(doses.patient) and not (0 <= doses.patient.min() and doses.patient.max() < len(persons)):
        raise BadInput(f"doses: a dose names a patient outside 0 to {len(persons) - 1}.")
    if len(doses.agent) and not (0 <= doses.agent.min() and doses.agent.max() < len(agents)):
        raise BadInput(f"doses: a dose names an agent outside 0 to {len(agents) - 1}.")


def covariate_symbols(
    parameters: ParameterTable, covariates: Mapping[str, float], where: str = "covariates"
) -> dict[str, float]:
    """Turn covariates, named as people name them, into parameter symbols.

    Parameters
    ----------
    covariates : mapping
        ``age`` (yr), ``weight`` (kg), ``height`` (cm), ``eGFR`` (mL/min/1.73 m2), ``vitamin_D`` (ng/mL), ``CTX``,
        ``P1NP`` (ng/mL), ``T_LS``, ``T_TH``, ``T_FN``, ``T_R13`` (T-scores), ``supplements`` (1: starts calcium and
        vitamin D on day 0), or any symbol of the parameter table.

    Raises
    ------
    BadInput
        If a name is unknown or a value out of range.
    """
    values = {}
    for name, value in covariates.items():
        site = name.removeprefix("T_")
        if name.startswith("T_") and site in NAMES:
            values[f"BMD0_{site}"] = float(bmd_from_t_score(parameters, site, value))
        else:
            values[(COVARIATES | CONDUCT).get(name, name)] = float(value)
    parameters.replace(values, where)
    return values


def simulate_typical(
    regimens: Sequence[Regimen],
    agents: Sequence[Agent] | None = None,
    *,
    months: Sequence[float],
    parameters: ParameterTable | None = None,
    covariates: Mapping[str, float] | None = None,
    rtol: float = 1e-6,
    tell: Callable[[str], None] | None = None,
) -> pd.DataFrame:
    """One typical patient under a sequence of regimens: no variability between patients, no measurement error.

    Parameters
    ----------
    regimens : sequence of Regimen
        From `dosing.parse_regimen` or built; may be empty (untreated).
    agents : sequence of Agent, optional
        Definitions to use for the names in `regimens`; shipped ones by default.
    months : sequence of float
        Sampling times, ascending; a value at a dose time is the trough before it.
    parameters : ParameterTable, optional
        Shipped parameters by default.
    covariates : mapping, optional
        See `covariate_symbols`.
    rtol, tell
        As of `simulate`.

    Returns
    -------
    DataFrame
        One row a month: ``month``, every output, each marker also as ``MARKER_pct`` (% of baseline) and each site as
        ``BMD_SITE_pct`` (% change).
    """
    table = parameters or load_parameters()
    known = {agent.name: agent for agent in agents or ()}
    names = list(dict.fromkeys(regimen.agent for regimen in regimens))
    used = [known.get(name) or load_agent(name) for name in names]
    persons = pd.DataFrame([covariate_symbols(table, covariates or {})])
    rows = [
        (float(day), names.index(regimen.agent), regimen.dose_mg)
        for regimen in regimens
        for day in regimen.times_days()
    ]
    day, which, mg = (np.array(column) for column in zip(*rows, strict=True)) if rows else (np.empty(0),) * 3
    doses = Doses(np.zeros(len(rows), dtype=np.int64), day.astype(float), which.astype(np.int64), mg.astype(float))
    times = np.asarray(months, dtype=float) * DAYS_PER_MONTH
    found = simulate(table, persons, used, doses, np.concatenate([[0.0], times]), rtol=rtol, tell=tell)
    frame = pd.DataFrame({"month": np.asarray(months, dtype=float)} | {name: v[0, 1:] for name, v in found.items()})
    for marker in MARKERS:
        frame[f"{marker}_pct"] = 100 * frame[marker] / found[marker][0, 0]
    for site in NAMES:
        frame[f"BMD_{site}_pct"] = 100 * (frame[f"BMD_{site}"] / found[f"BMD_{site}"][0, 0] - 1)
    return frame
