"""The course of typical patients under planned treatments, with intervals for what nobody knows.

A course is simulated with the default parameters, and again for each of some vectors of the ensemble, which all agree
with the published figures. All courses of a call are integrated together. Variability between patients and measurement
error are not included; `ranklsim.run` has them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ranklsim.cohorts.quantities import Quantity, parse_quantity_of_course
from ranklsim.cohorts.uncertainty import vectors_for
from ranklsim.pkpd import arguments
from ranklsim.pkpd.agents import Agent, load_agent
from ranklsim.pkpd.arguments import MONTHS, by_name, checked, number, one_or_several, text, whole
from ranklsim.pkpd.biology.model import OUTPUTS
from ranklsim.pkpd.dosing import warn_of_far_doses
from ranklsim.pkpd.errors import FROM_COMMAND_LINE, BadInput, argument, near, shown
from ranklsim.pkpd.given import AGENT, AGENTS, AgentLike, with_agents
from ranklsim.pkpd.machine import processors
from ranklsim.pkpd.parameters import PARAMETERS, ParametersLike, ParameterTable, load_parameters
from ranklsim.pkpd.reading import MOST_DOSES, MOST_MONTHS
from ranklsim.pkpd.records import load_records
from ranklsim.pkpd.results import Frame, of_model
from ranklsim.pkpd.typical import Case, Plan, plan_course, plan_of, simulate_cases, symbols_for
from ranklsim.pkpd.units import DAYS_PER_YEAR

Array = NDArray[np.float64]

LEVEL = 0.90
"""Of the intervals over parameter vectors."""
MOST_DRAWS, MOST_COURSES = 10_000, 200_000
"""Vectors of a call; vectors times courses."""
TOGETHER = 4096
"""Patients whose courses are kept at a time."""
USUAL = ("CTX_pct", "P1NP_pct", "BMD_LS_pct", "BMD_TH_pct", "OCC_mRANKL", "OCC_sRANKL")
"""What `sweep` gives of each course if it is not told."""
_OF_REGIMEN = ("dose", "every", "doses")
_COVARIATES = by_name(number(), '{"age": 63}')


@dataclass(frozen=True)
class About:
    """What a course was simulated from.

    Attributes
    ----------
    plan, parameters
    symbols : dict of str to float
        What differs from the table in this patient.
    vectors : DataFrame or None
        As from `uncertainty.vectors_for`.
    rtol, workers
        As of `simulate`.
    """

    plan: Plan
    parameters: ParameterTable
    symbols: dict[str, float]
    vectors: pd.DataFrame | None
    rtol: float
    workers: int

    def frame(self, months: Sequence[float], tell: Callable[[str], None] | None = None) -> pd.DataFrame:
        """The course at some months.

        Parameters
        ----------
        months : sequence of float
            Ascending.
        tell : callable, optional
            Called with a sentence when something slow begins.
        """
        found = simulate_cases(
            [Case("", self.plan.regimens, self.symbols)], self.plan.agents, months=months, parameters=self.parameters,
            vectors=self.vectors, rtol=self.rtol, workers=self.workers, tell=tell,
        )  # fmt: skip
        columns = {"month": np.asarray(months, dtype=float)}
        for name, values in found.items():
            columns[name] = values[0, 0]
            if self.vectors is not None:
                columns[f"{name}_low"], columns[f"{name}_high"] = interval(values[1:, 0])
        return pd.DataFrame(columns)


class Course(Frame):
    """What `simulate` returns: a row for each month; `plot` draws it."""

    FIGURE = "reports.figures.simulate:course_figure"

    def to_draw(self) -> pd.DataFrame:
        """The course at so many months that its curves are smooth."""
        about: About = self.about
        return about.frame(about.plan.months_to_draw(self["month"].tolist()))


def interval(values: Array) -> Array:
    """Ends of the `LEVEL` interval over the first axis, shape (2, ...).

    Parameters
    ----------
    values : ndarray, shape (n_draws, ...)
    """
    return np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)


@checked(
    regimen=text,
    agent=AGENT,
    dose=text,
    every=text,
    doses=whole(1, MOST_DOSES),
    doses_from=arguments.path,
    patient=text,
    time=text,
    follow=text,
    at=MONTHS,
    covariates=_COVARIATES,
    parameters=PARAMETERS,
    agents=AGENTS,
    folder=arguments.folder,
    draws=whole(0, MOST_DRAWS),
    seed=arguments.SEED,
    rtol=number(1e-12, 1e-3),
    workers=arguments.WORKERS,
    tell=arguments.callback,
)
def simulate(
    regimen: str | None = None,
    *,
    agent: AgentLike | None = None,
    dose: str | None = None,
    every: str | None = None,
    doses: int | None = None,
    doses_from: Path | str | None = None,
    patient: str | None = None,
    time: str = "days",
    follow: str = "12 mo",
    at: Iterable[float] | None = None,
    covariates: Mapping[str, float] | None = None,
    parameters: ParametersLike = None,
    agents: Iterable[AgentLike] | None = None,
    folder: Path | str | None = None,
    draws: int = 0,
    seed: int = 1,
    rtol: float = 1e-6,
    workers: int | None = None,
    tell: Callable[[str], None] | None = None,
) -> Course:
    """Simulate one typical patient under a sequence of regimens.

    There is no variability between patients and no measurement error.

    Parameters
    ----------
    regimen : str, optional
        A sequence of regimens, such as ``"denosumab 60mg every 6mo x4, nothing 12mo, zoledronate 5mg x1"``; or
    agent, dose, every, doses
        one regimen, such as ``agent="denosumab", dose="60 mg", every="6 mo", doses=6``. An agent is a name, an `Agent`,
        or a mapping with the keys of an agent's file and its ``name``.
    doses_from : path, optional
        In place of them, a table of dosing records (`pkpd.records`): ID, TIME, AMT, RATE, II, ADDL, SS, EVID, AGENT;
        without a column AGENT, `agent` says what is given.
    patient : str, optional
        ID in that table; needed where it has several.
    time : {"days", "hours"}
        Unit of TIME, II and RATE in that table.
    follow : str
        Follow-up after the last dose's interval, with its unit.
    at : iterable of float, optional
        Further months of interest; a value at a dose time is the one just before that dose.
    covariates : mapping, optional
        What differs from the typical woman: see `simulation.covariate_symbols`, or a number of an agent
        (``denosumab.CL``).
    parameters : path, mapping or ParameterTable, optional
        Another parameter table than the one that ships.
    agents : list, optional
        Agents that the regimen names and that no file describes.
    folder : path, optional
        Where your own agent files are; the working folder by default.
    draws : int
        Vectors of the ensemble over which each output has an interval; none by default.
    seed : int
        Of the draws of numbers of agents of your own.
    rtol : float
        Error allowed the integrator a step, relative.
    workers : int, optional
        Threads, as many as processors by default; the result does not depend on it.
    tell : callable, optional
        Called with a sentence when something slow begins.

    Returns
    -------
    Course
        A data frame with one row for each month (and for each of `at`), columns as from `simulate_cases`. With `draws`,
        each output has two columns more, ``_low`` and ``_high``: the ends of its 90 % interval.

    Raises
    ------
    BadInput
        If anything is unknown, without its unit or out of its range.
    RunFailed
        If the patient leaves the limits of a living patient, with the day and the quantity.

    Examples
    --------
    >>> course = simulate("denosumab 60mg every 6mo x4", follow="6 mo", draws=10)
    >>> bool(course["BMD_LS_pct"].max() > 5), course.units["CTX_pct"]
    (True, '% of baseline')
    """
    names, beside = with_agents([*_several(agents), *_several(agent)], None if folder is None else Path(folder))
    for name in names[: len(_several(agents))]:
        load_agent(name, folder=beside, where="agents")
    one = names[-1] if agent is not None else None
    if doses_from is None:
        plan = plan_course(regimen, one, dose, every, doses, follow, folder=beside)
    else:
        if told := [name for name, value in (("regimen", regimen), ("dose", dose), ("every", every), ("doses", doses))
                    if value is not None]:  # fmt: skip
            called = argument("doses_from")
            raise BadInput(f"{called} gives all doses: leave out {', '.join(told)}.")
        records = load_records(doses_from, time=time, agent=one, folder=beside)
        plan = plan_of(records.of(patient, argument("patient")), follow, folder=beside)
    months = plan.months_of_interest(at)
    table = load_parameters(parameters, folder=beside)
    met = [table.apply(drug) for drug in plan.agents]
    warn_of_far_doses(plan.regimens, met, table["WT"])
    where = "--set" if FROM_COMMAND_LINE.get() else "covariates"
    about = About(
        replace(plan, agents=met), table, symbols_for(table, met, covariates or {}, where),
        _vectors(table, met, draws, seed, parameters) if draws else None, rtol,
        processors() if workers is None else workers,
    )  # fmt: skip
    return Course(about.frame(months, tell), table="simulate", about=about)


def _vectors(table: ParameterTable, agents: list[Agent], draws: int, seed: int, given: object) -> pd.DataFrame:
    """Vectors for a call; a parameter that it gives has its value in all, also where that is the shipped one."""
    vectors = vectors_for(table, agents, draws, seed)
    return vectors.drop(columns=[name for name in (given if isinstance(given, Mapping) else ()) if name in vectors])


def _several(value: Any) -> list[Any]:
    """None as an empty list, one agent as a list."""
    return [] if value is None else [value] if isinstance(value, str | Agent) else list(value)


# --- many courses ---


class Sweep(Frame):
    """What `sweep` returns: a row for each course, month and quantity; `plot` draws it. `about`: the swept columns."""

    FIGURE = "reports.figures.simulate:sweep_figure"


def _regimens(value: Any) -> dict[str, str]:
    """Regimens by their label."""
    if isinstance(value, Mapping):
        return {str(key): each for key, each in by_name(text, '{"A": "denosumab 60mg every 6mo x4"}')(value).items()}
    found = one_or_several(text, '["denosumab 60mg every 6mo x4", "denosumab 60mg every 3mo x8"]')(value)
    return {each: each for each in ([found] if isinstance(found, str) else found)}


def _values(value: Any) -> list[Any]:
    """Values of a factor: texts or numbers."""
    kind = arguments.instance(str, or_else=number())
    found = one_or_several(kind, '["30 mg", "60 mg"]')(value)
    return found if isinstance(found, list) else [found]


def _agents(value: Any) -> list[str | Agent]:
    return [AGENT(value)] if isinstance(value, str | Agent | Mapping) else AGENTS(value)


def _swept_parameters(value: Any) -> Any:
    """Parameters, of which some may have several values."""
    if isinstance(value, Mapping):
        return by_name(one_or_several(number(), "[0.1, 0.3]"), '{"sig": [0.1, 0.3]}')(value)
    return PARAMETERS(value)


@checked(
    regimens=_regimens,
    agents=_agents,
    dose=text,
    every=text,
    doses=whole(1, MOST_DOSES),
    over=by_name(_values, '{"dose": ["30 mg", "60 mg"]}'),
    of=one_or_several(text, '["BMD_LS_pct", "highest CTX after treatment"]'),
    draws=whole(0, MOST_DRAWS),
    at=MONTHS,
    follow=text,
    covariates=_COVARIATES,
    parameters=_swept_parameters,
    folder=arguments.folder,
    seed=arguments.SEED,
    rtol=number(1e-12, 1e-3),
    workers=arguments.WORKERS,
)
def sweep(
    regimens: str | Sequence[str] | Mapping[str, str] | None = None,
    *,
    agents: AgentLike | Sequence[AgentLike] | None = None,
    dose: str | None = None,
    every: str | None = None,
    doses: int | None = None,
    over: Mapping[str, Sequence[Any]] | None = None,
    of: str | Sequence[str] = USUAL,
    draws: int = 200,
    at: Iterable[float] | None = None,
    follow: str = "12 mo",
    covariates: Mapping[str, float] | None = None,
    parameters: ParametersLike | Mapping[str, Sequence[float]] = None,
    folder: Path | str | None = None,
    seed: int = 1,
    rtol: float = 1e-5,
    workers: int | None = None,
) -> Sweep:
    """Simulate the typical patient under many treatments, agents or parameters, with intervals over the ensemble.

    Parameters
    ----------
    regimens : str, list or mapping, optional
        Sequences of regimens as of `simulate`, by label in a mapping; or
    agents, dose, every, doses
        one or several agents, each given in the same way. With `regimens`, agents that they name and that no file
        describes.
    over : mapping, optional
        Name to values, of which every combination is simulated: ``dose``, ``every`` and ``doses`` of `agents`,
        covariates, symbols of the parameter table, numbers of agents (``abc-301.KD_mRANKL``).
    of : str or list of str
        What is wanted of each course: outputs (``BMD_LS_pct``, ``C_denosumab``), which are given for each month, and
        quantities (``change of BMD_LS at 36 mo``, ``highest CTX after treatment``; docs/design.md).
    draws : int
        Vectors of the ensemble over which each number has its interval; 0 for none.
    at : iterable of float, optional
        Months of the outputs; every month by default.
    follow, covariates, folder, seed, rtol, workers
        As of `simulate`.
    parameters : path, mapping or ParameterTable, optional
        As of `simulate`; a symbol with several values is swept like those of `over`.

    Returns
    -------
    Sweep
        A data frame with one row for each course, quantity and month: a column for what differs between the courses;
        ``quantity``, ``unit``, ``month`` (NaN for what is one number of the whole course), ``value`` (with the default
        parameters), and, with `draws`, ``median``, ``low`` and ``high`` (90 % interval over the draws).

    Raises
    ------
    BadInput
        If anything is unknown, without its unit or out of its range.
    RunFailed
        If a patient leaves the limits of a living patient.

    Examples
    --------
    >>> found = sweep(agents="mrankl-selective", every="6 mo", doses=6, over={"dose": ["30 mg", "60 mg"]},
    ...               of="change of BMD_LS at 36 mo", draws=20)
    >>> list(found.columns)
    ['dose', 'quantity', 'unit', 'month', 'value', 'median', 'low', 'high']
    >>> bool(found["value"].iloc[0] < found["value"].iloc[1])
    True
    """
    factors: dict[str, Any] = dict(over or {})
    fixed: Any = parameters
    if isinstance(parameters, Mapping):
        moved = {name: value for name, value in parameters.items() if isinstance(value, list)}
        if both := [name for name in moved if name in factors]:
            raise BadInput(f"over: {both[0]} is in `parameters` too; give its values once.")
        factors |= moved
        fixed = {name: value for name, value in parameters.items() if name not in moved}
    names, beside = with_agents(_several(agents), None if folder is None else Path(folder))
    table = load_parameters(fixed, folder=beside)
    treatments = _treatments(regimens, names, {"dose": dose, "every": every, "doses": doses}, factors, follow, beside)
    drugs = {drug.name: table.apply(drug) for _, plan in treatments for drug in plan.agents}
    warn_of_far_doses([r for _, plan in treatments for r in plan.regimens], drugs.values(), table["WT"])
    last = max(plan.months for _, plan in treatments)
    outputs, quantities = _wanted(of, list(drugs.values()))
    rows = sorted({float(month) for month in (at if at is not None else range(int(np.ceil(last - 1e-9)) + 1))})
    if wrong := [month for month in rows if not 0 <= month <= MOST_MONTHS]:
        raise BadInput(f"at: {wrong[0]:g} is not a month from 0 to {MOST_MONTHS}.")
    others = {name: values for name, values in factors.items() if name not in _OF_REGIMEN}
    cases, labels = [], []
    for label, plan in treatments:
        for values in product(*others.values()):
            own = dict(zip(others, values, strict=True))
            if wrong_kind := [name for name, value in own.items() if isinstance(value, str)]:
                raise BadInput(f"over: {wrong_kind[0]} = {shown(own[wrong_kind[0]])} is not a number; give numbers.")
            symbols = symbols_for(table, list(drugs.values()), {**(covariates or {}), **own}, "over")
            said = ", ".join(str(value) for value in (label | own).values())
            cases.append((Case(said, plan.regimens, symbols), plan))
            labels.append(label | own)
    if len(cases) * (draws + 1) > MOST_COURSES:
        raise BadInput(
            f"over: {len(cases)} courses for {draws + 1} vectors are more than {MOST_COURSES} simulations; give fewer."
        )
    vectors = _vectors(table, list(drugs.values()), draws, seed, fixed)
    simulated = sorted({*rows, *_months(quantities, cases, last)})
    found = _simulated(
        cases, list(drugs.values()), simulated, rows, outputs, quantities, table, vectors, rtol,
        processors() if workers is None else workers,
    )  # fmt: skip
    return _tidy(labels, rows, outputs, quantities, found)


def _treatments(
    regimens: Any,
    agents: Sequence[str],
    given: Mapping[str, Any],
    factors: Mapping[str, Sequence[Any]],
    follow: str,
    folder: Path,
) -> list[tuple[dict[str, Any], Plan]]:
    """What is given in each course: its columns in the result, and its plan."""
    swept = {name: factors[name] for name in _OF_REGIMEN if name in factors}
    if regimens is not None:
        if wrong := [name for name in _OF_REGIMEN if given[name] is not None or name in swept]:
            raise BadInput(f"{wrong[0]}: regimens are complete by themselves; leave it out, or give agents.")
        plans = {
            name: plan_course(line, None, None, None, None, follow, folder=folder) for name, line in regimens.items()
        }
        return [({"regimen": name} if len(plans) > 1 else {}, plan) for name, plan in plans.items()]
    if not agents:
        raise BadInput('regimens is missing; give some, such as "denosumab 60mg every 6mo x6", or agents with a dose.')
    if twice := [name for name in swept if given[name] is not None]:
        raise BadInput(f"over: {twice[0]} is given as an argument too; give its values once.")
    found = []
    for name in agents:
        for values in product(*swept.values()):
            own = dict(zip(swept, values, strict=True))
            each = {**given, **own}
            if isinstance(each["doses"], float | str):
                each["doses"] = _whole(each["doses"])
            if wrong := [key for key in ("dose", "every") if isinstance(each[key], float)]:
                raise BadInput(f'over: {wrong[0]} = {each[wrong[0]]:g} has no unit; give text, such as "60 mg".')
            plan = plan_course(None, name, each["dose"], each["every"], each["doses"], follow, folder=folder)
            found.append((({"agent": name} if len(agents) > 1 else {}) | own, plan))
    return found


def _whole(value: float | str) -> int:
    if not str(value).removesuffix(".0").isdigit() or not 1 <= float(value) <= MOST_DOSES:
        raise BadInput(f"over: doses = {shown(value)} is not possible; give whole numbers from 1 to {MOST_DOSES}.")
    return int(float(value))


def _wanted(of: str | Sequence[str], agents: Sequence[Agent]) -> tuple[list[str], list[Quantity]]:
    """Outputs and quantities that are asked for."""
    asked = list(dict.fromkeys([of] if isinstance(of, str) else of))
    drug = [f"C_{agent.name}" for agent in agents if agent.kind == "binder"]
    known = [*OUTPUTS, *(f"{name}_pct" for name in OUTPUTS if of_model(f"{name}_pct") and _relative(name)), *drug]
    outputs = [name for name in asked if name in known]
    quantities: list[Quantity] = []
    faults: list[str] = []
    for line in asked:
        if line in known:
            continue
        try:
            quantities.append(parse_quantity_of_course(line, "of"))
        except BadInput as fault:
            one_word = " " not in line.strip()
            faults += [f"of: '{line}' is no output; {near(line, known)}"] if one_word else fault.messages
    if faults:
        raise BadInput(*faults)
    return outputs, quantities


def _relative(name: str) -> bool:
    return name.startswith("BMD_") or name in ("CTX", "P1NP", "BSAP", "TRAP5B", "CA", "PTH")


def _months(quantities: Sequence[Quantity], cases: Sequence[tuple[Case, Plan]], last: float) -> set[float]:
    """Months that quantities need: every half month for extremes, and their own."""
    if not quantities:
        return set()
    found = set(np.arange(0.0, last + 1e-9, 0.5).tolist()) | {last}
    for _, plan in cases:
        for quantity in quantities:
            found |= {float(month) for month in quantity.months(plan.end_month, last)}
    return found


def _simulated(
    cases: Sequence[tuple[Case, Plan]],
    agents: Sequence[Agent],
    months: Sequence[float],
    rows: Sequence[float],
    outputs: Sequence[str],
    quantities: Sequence[Quantity],
    table: ParameterTable,
    vectors: pd.DataFrame,
    rtol: float,
    workers: int,
) -> dict[str, Array]:
    """By output, shape (n_vectors, n_cases, n_rows), and by text of a quantity, shape (n_vectors, n_cases, 1)."""
    needed = {*outputs, *(quantity.of for quantity in quantities if quantity.of)} or {"CTX"}
    at, grid = np.searchsorted(months, rows), np.asarray(months)
    portion = max(1, TOGETHER // len(vectors))
    parts: dict[str, list[Array]] = {name: [] for name in [*outputs, *(q.text for q in quantities)]}
    for first in range(0, len(cases), portion):
        some = cases[first : first + portion]
        found = simulate_cases(
            [case for case, _ in some], agents, months=months, parameters=table, vectors=vectors, wanted=needed,
            rtol=rtol, workers=workers,
        )  # fmt: skip
        for name in outputs:
            parts[name].append(found[name][:, :, at])
        for quantity in quantities:
            own = [
                quantity.of_course(
                    grid, {name: values[:, k] for name, values in found.items()}, plan.end_month,
                    np.full(len(vectors), _dose_a_year(plan, case.symbols.get("WT", table["WT"]))),
                )
                for k, (case, plan) in enumerate(some)
            ]  # fmt: skip
            parts[quantity.text].append(np.stack(own, axis=1)[:, :, None])
    return {name: np.concatenate(each, axis=1) for name, each in parts.items()}


def _dose_a_year(plan: Plan, weight: float) -> float:
    """Planned amount of the first regimen (mg/yr) at a body weight (kg), over the time that it is given."""
    first = next((part for part in plan.regimens if part.dose_mg > 0), plan.regimens[0])
    return (
        float(first.dose.of(weight)) * first.doses * DAYS_PER_YEAR / (first.doses * first.every_days or DAYS_PER_YEAR)
    )


def _tidy(
    labels: Sequence[Mapping[str, Any]],
    rows: Sequence[float],
    outputs: Sequence[str],
    quantities: Sequence[Quantity],
    values: Mapping[str, Array],
) -> Sweep:
    """A row for each course, quantity and month."""
    units = {name: (of_model(name) or ("", ""))[0] for name in outputs} | {q.text: q.unit for q in quantities}
    parts = []
    for k, label in enumerate(labels):
        for name, found in values.items():
            months = rows if name in outputs else [np.nan]
            part: dict[str, Any] = {key: [each] * len(months) for key, each in label.items()}
            part |= {"quantity": name, "unit": units[name], "month": months, "value": found[0, k]}
            if len(found) > 1:
                low, high = interval(found[1:, k])
                part |= {"median": np.median(found[1:, k], axis=0), "low": low, "high": high}
            parts.append(pd.DataFrame(part))
    swept = list(labels[0])
    return Sweep(pd.concat(parts, ignore_index=True), table="sweep", about=swept)
