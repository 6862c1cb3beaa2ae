"""One typical patient under a sequence of regimens: no variability between patients, no measurement error."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ranklsim.pkpd.agents import Agent, load_agent
from ranklsim.pkpd.biology.skeleton import NAMES
from ranklsim.pkpd.dosing import Dose, Regimen, above_zero, parse_regimen, read_dose
from ranklsim.pkpd.errors import BadInput, option_prefix
from ranklsim.pkpd.parameters import ParameterTable, load_parameters
from ranklsim.pkpd.reading import MOST_DOSES, MOST_MONTHS
from ranklsim.pkpd.simulation import MARKERS, Doses, covariate_symbols
from ranklsim.pkpd.simulation import simulate as simulate_persons
from ranklsim.pkpd.units import DAYS_PER_MONTH

_NOTHING = (np.empty(0),) * 5  # doses of nobody
OF_BASELINE = "_pct"
"""Ends the name of a marker as % of baseline, and of the % change of a BMD."""


@dataclass(frozen=True)
class Plan:
    """The regimens that one patient receives, their agents, and the last month of follow-up from the first dose."""

    regimens: list[Regimen]
    agents: list[Agent]
    months: float

    @property
    def end_month(self) -> float:
        """Month at which the interval of the last dose ends."""
        return max(part.end_day for part in self.regimens) / DAYS_PER_MONTH

    def months_of_interest(self, at: Iterable[float] | None) -> list[float]:
        """Every month of the course, and each of `at`.

        Parameters
        ----------
        at : iterable of float or None
            Months; they may lie beyond the end of the course.

        Raises
        ------
        BadInput
            If one is not between 0 and `MOST_MONTHS`.
        """
        wrong = [month for month in at or () if not 0 <= month <= MOST_MONTHS]
        if wrong:
            raise BadInput(f"at: {wrong[0]:g} is not a month from 0 to {MOST_MONTHS}.")
        monthly = range(math.ceil(self.months - 1e-9) + 1)
        return sorted({*map(float, monthly), *map(float, at or ())})

    def months_to_draw(self, rows: Sequence[float]) -> list[float]:
        """`rows`, and between them enough months for smooth curves, closer where a dose acts within days.

        Parameters
        ----------
        rows : sequence of float
            Months that must be among them.
        """
        end = max(self.months, *rows)
        steps = int(min(600, max(200, 10 * end)))
        grid = {end * step / steps for step in range(steps + 1)}
        for part in self.regimens:
            if part.doses <= 60:
                after = np.add.outer(part.times_days(), (0, 0.3, 1, 2, 4, 7, 14)) / DAYS_PER_MONTH
                grid |= set(after.ravel().tolist())
        return sorted({*rows, *(month for month in grid if month <= end)})


def plan_course(
    regimen: str | None,
    agent: str | None,
    dose: str | None,
    every: str | None,
    doses: int | None,
    follow: str,
    *,
    folder: Path | None = None,
) -> Plan:
    """Plan a course from text.

    Parameters
    ----------
    regimen : str or None
        A sequence of regimens (`dosing.parse_regimen`); or
    agent, dose, every, doses
        one regimen.
    follow : str
        Follow-up after the last dose's interval, with its unit.
    folder : Path, optional
        Where a user's own agent files are.

    Raises
    ------
    BadInput
        Everything that is wrong with the text, one sentence each.
    """
    faults: list[str] = []
    prefix = option_prefix()
    above_zero(follow, "day", f"{prefix}follow", faults, or_zero=True)
    one = {"agent": agent, "dose": dose, "every": every, "doses": doses}
    given = [prefix + name for name, value in one.items() if value is not None]
    regimens: list[Regimen] = []
    if regimen is not None and given:
        faults.append(
            f"{prefix}regimen is complete by itself: leave out {', '.join(given)}, or name the drug by {prefix}agent "
            f"instead of {prefix}regimen."
        )
    elif regimen is not None:
        try:
            regimens = parse_regimen(regimen, folder=folder, where=f"{prefix}regimen")
        except BadInput as error:
            faults += error.messages
    elif agent is None:
        faults.append(
            f"the patient receives nothing: give {prefix}agent and {prefix}dose, or {prefix}regimen "
            '"denosumab 60mg every 6mo x6".'
        )
    else:
        if agent.endswith(".toml"):
            folder, agent = Path(agent).parent, Path(agent).stem
        regimens = [_one_regimen(agent, dose, every, doses, folder, prefix, faults)]
    if faults:
        raise BadInput(*faults)
    return plan_of(regimens, follow, folder=folder)


def plan_of(regimens: list[Regimen], follow: str, *, folder: Path | None = None) -> Plan:
    """A course from regimens.

    Parameters
    ----------
    regimens : list of Regimen
        At least one.
    follow, folder
        As of `plan_course`.
    """
    faults: list[str] = []
    followed = above_zero(follow, "day", f"{option_prefix()}follow", faults, or_zero=True)
    if faults:
        raise BadInput(*faults)
    months = (max(part.end_day for part in regimens) + followed) / DAYS_PER_MONTH
    if months > MOST_MONTHS:
        raise BadInput(f"treatment and follow-up last {months:.6g} mo; give at most {MOST_MONTHS} mo in all.")
    names = dict.fromkeys(part.agent for part in regimens)
    return Plan(regimens, [load_agent(name, folder=folder) for name in names], months)


def _one_regimen(
    agent: str,
    dose: str | None,
    every: str | None,
    doses: int | None,
    folder: Path | None,
    prefix: str,
    faults: list[str],
) -> Regimen:
    """The regimen that the four arguments describe; what is wrong with them is added to `faults`."""
    inert, drug, amount = False, None, Dose()
    try:
        drug = load_agent(agent, folder=folder, where=f"{prefix}agent")
        inert = drug.kind == "none"
    except BadInput as error:
        faults += error.messages
    if dose is not None:
        amount = read_dose(dose, drug, f"{prefix}dose", faults)
        if drug and amount.mg and not amount.per_kg and (odd := drug.dose_fault(amount.mg)):
            faults.append(f"{prefix}dose: {odd}")
    elif not inert:
        faults.append(f'{prefix}dose is missing; give it with its unit, such as "60mg".')
    if doses is not None and not 1 <= doses <= MOST_DOSES:
        faults.append(f"{prefix}doses: {doses} is not a whole number from 1 to {MOST_DOSES}.")
        doses = 1
    if every is None and doses is not None and doses > 1:
        faults.append(f'{prefix}every is missing; {doses} doses need an interval, such as "6mo".')
    return Regimen(
        agent=agent,
        dose_mg=amount.mg,
        start_day=0.0,
        every_days=0.0 if every is None else above_zero(every, "day", f"{prefix}every", faults),
        doses=doses or 1,
        per_kg=amount.per_kg,
        cap_mg=amount.cap_mg,
    )


def simulate_typical(
    regimens: Sequence[Regimen],
    agents: Sequence[Agent] = (),
    *,
    months: Sequence[float],
    parameters: ParameterTable | None = None,
    covariates: Mapping[str, float] | None = None,
    where: str = "covariates",
    rtol: float = 1e-6,
    tell: Callable[[str], None] | None = None,
) -> pd.DataFrame:
    """Simulate the typical patient under planned regimens.

    Parameters
    ----------
    regimens : sequence of Regimen
        From `dosing.parse_regimen` or built; may be empty (untreated).
    agents : sequence of Agent
        Definitions to use for the names in `regimens`; shipped ones otherwise.
    months : sequence of float
        Sampling times, ascending; a value at a dose time is the trough before it.
    parameters : ParameterTable, optional
        Shipped parameters by default.
    covariates : mapping, optional
        See `simulation.covariate_symbols`.
    where : str
        What a message about a covariate begins with.
    rtol, tell
        As of `simulation.simulate`.

    Returns
    -------
    DataFrame
        One row for each month: ``month``, drug concentrations, occupancy of RANKL by form, markers in their units and
        as % of baseline (``CTX_pct``), BMD in g/cm2 and as % change (``BMD_LS_pct``).

    Raises
    ------
    BadInput
        If a covariate is unknown, out of its range, or a number of an agent that is not given.
    """
    table = parameters or load_parameters()
    known = {agent.name: agent for agent in agents}
    met = [known.get(name) or load_agent(name) for name in dict.fromkeys(part.agent for part in regimens)]
    symbols = symbols_for(table, met, covariates or {}, where)
    found = simulate_cases(
        [Case("", regimens, symbols)], met, months=months, parameters=table, rtol=rtol, tell=tell
    )  # fmt: skip
    return pd.DataFrame({"month": np.asarray(months, dtype=float)} | {name: v[0, 0] for name, v in found.items()})


def symbols_for(
    table: ParameterTable, agents: Sequence[Agent], covariates: Mapping[str, float], where: str = "covariates"
) -> dict[str, float]:
    """What differs from the typical woman, as parameter symbols, for the agents that she is given.

    Parameters
    ----------
    table : ParameterTable
    agents : sequence of Agent
        All that are given.
    covariates : mapping
        See `simulation.covariate_symbols`.
    where : str
        What a message begins with.

    Raises
    ------
    BadInput
        If one is unknown, out of its range, or a number of an agent that is not given.
    """
    symbols = covariate_symbols(table, covariates, where)
    used = {number for agent in agents for number in agent.numbers}
    if idle := [name for name in symbols if "." in name and name not in used]:
        raise BadInput(
            *(f"{where}: {name} changes nothing, since no given agent has this number; leave it out." for name in idle)
        )
    return symbols


@dataclass(frozen=True)
class Case:
    """A typical patient: a name for messages, what she receives, and her symbols that are not the table's."""

    name: str
    regimens: Sequence[Regimen]
    symbols: Mapping[str, float] = field(default_factory=dict)


def simulate_cases(
    cases: Sequence[Case],
    agents: Sequence[Agent],
    *,
    months: Sequence[float],
    parameters: ParameterTable,
    vectors: pd.DataFrame | None = None,
    wanted: Collection[str] | None = None,
    rtol: float = 1e-6,
    workers: int = 1,
    tell: Callable[[str], None] | None = None,
    refused: Callable[[int, str], None] | None = None,
) -> dict[str, NDArray[np.float64]]:
    """Simulate typical patients under planned regimens, each for many parameter vectors, all at once.

    Parameters
    ----------
    cases : sequence of Case
        A symbol of a case takes precedence over the vectors.
    agents : sequence of Agent
        All that the regimens name.
    months : sequence of float
        Sampling times, ascending; a value at a dose time is the trough before it.
    parameters : ParameterTable
    vectors : DataFrame, optional
        A row a vector, a column a symbol; one vector, the table's values, by default.
    wanted : collection of str, optional
        Names of what is returned; everything by default.
    rtol, workers, tell, refused
        As of `simulation.simulate`.

    Returns
    -------
    dict of str to ndarray, shape (n_vectors, n_cases, n_months)
        Drug concentrations, occupancy of RANKL by form, markers in their units and as % of baseline (``CTX_pct``), BMD
        in g/cm2 and as % change (``BMD_LS_pct``).

    Raises
    ------
    RunFailed
        If a patient leaves the limits of a living patient.
    """
    n_vectors, n_cases = 1 if vectors is None else len(vectors), len(cases)
    shape = (n_vectors, n_cases)
    columns: dict[str, NDArray[np.float64]] = {}
    for name in dict.fromkeys([*(vectors if vectors is not None else ()), *(s for c in cases for s in c.symbols)]):
        own = [parameters[name]] if vectors is None or name not in vectors else vectors[name].to_numpy(float)[:, None]
        columns[name] = np.broadcast_to(own, shape).copy()
        for k, case in enumerate(cases):
            if name in case.symbols:
                columns[name][:, k] = case.symbols[name]
    persons = pd.DataFrame({name: values.ravel() for name, values in columns.items()}, index=range(n_vectors * n_cases))
    persons.index = pd.Index(
        ["the typical patient"]
        if len(persons) == 1
        else [f"vector {k}{f' under {case.name}' * bool(case.name)}" for k in range(n_vectors) for case in cases]
    )
    names = [agent.name for agent in agents]
    rows = [
        (k, float(day), names.index(part.agent), mg, part.every_days if part.steady and turn == 0 else 0.0)
        for k, case in enumerate(cases)
        for whole in case.regimens
        if whole.dose_mg > 0  # a placebo has no dose
        for part in whole.boluses()
        for mg in [_amount(part, agents, case.symbols.get("WT", parameters["WT"]))]
        for turn, day in enumerate(part.times_days())
    ]
    who, day, which, mg, steady = (np.array(column) for column in zip(*rows, strict=True)) if rows else _NOTHING
    again = n_cases * np.repeat(np.arange(n_vectors), len(rows))
    doses = Doses(
        again + np.tile(who, n_vectors).astype(np.int64), np.tile(day, n_vectors).astype(float),
        np.tile(which, n_vectors).astype(np.int64), np.tile(mg, n_vectors).astype(float),
        np.tile(steady, n_vectors).astype(float),
    )  # fmt: skip
    times = np.concatenate([[0.0], np.asarray(months, dtype=float) * DAYS_PER_MONTH])
    found = simulate_persons(
        parameters, persons, agents, doses, times, rtol=rtol, atol=rtol / 100, workers=workers, tell=tell,
        refused=refused,
        throughout=None if wanted is None else {name.removesuffix(OF_BASELINE) for name in wanted},
        rest_at=None if wanted is None else np.zeros(1, dtype=np.int64),
    )  # fmt: skip
    for name in MARKERS:
        found[name + OF_BASELINE] = 100 * found[name] / found[name][:, :1]
    for name in (f"BMD_{site}" for site in NAMES):
        found[name + OF_BASELINE] = 100 * (found[name] / found[name][:, :1] - 1)
    return {
        name: values[:, 1:].reshape(*shape, -1)
        for name, values in found.items()
        if wanted is None or name in wanted
    }  # fmt: skip


def _amount(part: Regimen, agents: Sequence[Agent], weight: float) -> float:
    """Each dose of a regimen (mg) at a body weight (kg)."""
    mg = float(part.dose.of(weight))
    drug = next(agent for agent in agents if agent.name == part.agent)
    if part.per_kg and (odd := drug.dose_fault(mg)):
        raise BadInput(f"{part.dose.words} at {weight:g} kg: {odd}")
    return mg
