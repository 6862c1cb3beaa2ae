"""Parameter uncertainty: the typical patient of each arm, for many parameter vectors and for each structural variant.

Vectors come from the shipped ensemble, which agrees with the published figures, correlations included
(`ranklsim.pkpd.ensemble`). Numbers that a hypothetical agent has of its own are drawn over the ranges in its file. If
a user has changed a parameter or an agent of the ensemble, it no longer applies. Then the parameters whose prior is
not fixed are drawn over their plausible ranges, each from its own stream. Every arm uses the same vectors, so
differences between arms are paired. Variability between patients and residual error are not included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ranklsim.cohorts import streams
from ranklsim.cohorts.conduct import patients
from ranklsim.cohorts.conduct.doses import as_doses, planned
from ranklsim.pkpd.agents import Agent
from ranklsim.pkpd.ensemble import ensemble as shipped_ensemble
from ranklsim.pkpd.ensemble import fit_for, holds_for, of_variants
from ranklsim.pkpd.errors import BadInput
from ranklsim.pkpd.parameters import ParameterTable
from ranklsim.pkpd.ranges import natural, ranges
from ranklsim.pkpd.simulation import simulate
from ranklsim.pkpd.units import DAYS_PER_MONTH

if TYPE_CHECKING:
    from ranklsim.cohorts.protocol.trial import Trial

MOST_ATTEMPTS = 100
"""Times that a draw is made again whose numbers cannot belong together."""
RARE, SOON = 60.0, 3.0
"""Days between doses from which on the course has a point after each of them, and days from the dose to that point."""
OF_BASELINE = ("CTX", "P1NP")
CHANGE = ("BMD_LS", "BMD_TH", "BMD_FN", "BMD_R13")
AS_IS = ("OCC_mRANKL", "OCC_sRANKL", "SIGNAL_T")


def draws_of(trial: Trial, parameters: ParameterTable, agents: list[Agent]) -> tuple[pd.DataFrame, str]:
    """Parameter vectors for a trial.

    Parameters
    ----------
    trial : Trial
        Its seed, `uncertainty_draws` and the layer ``parameters`` are used.
    parameters : ParameterTable
    agents : list of Agent
        All that the trial's arms name.

    Returns
    -------
    draws : DataFrame
        Column `draw` and one a symbol (``kT``, ``denosumab.CL``). Draw 0 has the table's values.
    source : str
        ``ensemble``, ``ranges``, or ``none`` where the layer is off.

    Raises
    ------
    BadInput
        If more draws are asked for than the ensemble holds.
    """

    def typical(symbols: Iterable[str]) -> pd.DataFrame:
        return pd.DataFrame([{symbol: float(parameters.row(symbol)["value"]) for symbol in symbols}])

    if not trial.layers.parameters:
        return typical(parameters.uncertain()).assign(draw=0)[["draw", *parameters.uncertain()]], "none"
    shipped = shipped_ensemble()
    n = trial.uncertainty_draws
    own = own_draws(parameters, agents, np.arange(n + 1), trial.seed)
    if holds_for(parameters, agents):
        if n > len(shipped):
            raise BadInput(
                f"uncertainty_draws = {n}, but the ensemble holds {len(shipped)} vectors; give at most that."
            )
        vectors = pd.concat([typical(shipped.columns), shipped.head(n)], ignore_index=True)
        return pd.concat([pd.DataFrame({"draw": np.arange(n + 1)}), vectors, own], axis="columns"), "ensemble"
    draw = np.arange(n + 1)
    drawn: dict[str, np.ndarray] = {"draw": draw}
    again, attempt = draw >= 0, 0
    while again.any():  # what cannot belong together is drawn again
        for symbol in parameters.uncertain():
            row = parameters.frame.loc[symbol]
            u = streams.uniform(trial.seed, f"uncertainty.{symbol}", draw, attempt)
            low, high = float(row["low"]), float(row["high"])
            value = low * (high / low) ** u if row["prior"] == "loguniform" else low + (high - low) * u
            value = np.where(draw == 0, float(row["value"]), value)
            drawn[symbol] = np.where(again, value, drawn.get(symbol, value))
        again = (parameters.implausible(pd.DataFrame(drawn)) != "") & (draw > 0)
        attempt += 1
        if attempt > MOST_ATTEMPTS:
            raise BadInput(f"uncertainty: {parameters.implausible(pd.DataFrame(drawn))[again][0]} in nearly all draws.")
    return pd.concat([pd.DataFrame(drawn), own], axis="columns"), "ranges"


def vectors_for(parameters: ParameterTable, agents: Sequence[Agent], draws: int, seed: int) -> pd.DataFrame:
    """Parameter vectors over which an answer has its interval.

    Parameters
    ----------
    parameters : ParameterTable
    agents : sequence of Agent
        All that are given.
    draws : int
        Vectors besides the default.
    seed : int
        Of the draws of numbers of own agents.

    Returns
    -------
    DataFrame
        The first row has the values of the table and of the agents' files. The others are vectors of the ensemble,
        without the symbols that the table or an agent's file has otherwise. Numbers of hypothetical agents that have a
        range are drawn over it (`own_draws`), independent of the rest.

    Raises
    ------
    BadInput
        If more are asked for than the ensemble holds.
    """
    if draws > len(shipped_ensemble()):
        raise BadInput(f"draws = {draws}, but the ensemble holds {len(shipped_ensemble())} vectors; give at most that.")
    vectors = fit_for(shipped_ensemble(), parameters, list(agents)).head(draws)
    typical = pd.DataFrame([{symbol: parameters[symbol] for symbol in vectors}])
    whole = pd.concat([typical, vectors], ignore_index=True)
    return pd.concat([whole, own_draws(parameters, agents, np.arange(draws + 1), seed)], axis="columns")


def own_draws(parameters: ParameterTable, agents: Sequence[Agent], draw: NDArray[np.int64], seed: int) -> pd.DataFrame:
    """Draws of the numbers that hypothetical agents have of their own, each over the range that its file gives.

    Parameters
    ----------
    parameters : ParameterTable
        A number that it holds has that value in every draw.
    agents : sequence of Agent
    draw : ndarray of int, shape (n,)
        Draw 0 has the agents' values.
    seed : int

    Returns
    -------
    DataFrame
        A row for each draw, a column for each number (``abc-301.KD_mRANKL``): uniform, or log-uniform over a range that
        `ranges` puts on the logarithm. Independent of each other and of the ensemble. No column for what the ensemble
        holds.
    """
    names = {
        f"{agent.name}.{number.field}"
        for agent in agents if agent.hypothetical for number in agent.provenance
        if number.origin == agent.name and number.low is not None
    }  # fmt: skip
    names -= {*parameters.values, *shipped_ensemble().columns}
    if not names:
        return pd.DataFrame(index=range(len(draw)))
    rows = ranges(parameters, agents)
    rows = rows[rows["symbol"].isin(names)].reset_index(drop=True)
    unit = np.column_stack([streams.uniform(seed, f"uncertainty.{s}", draw) for s in rows["symbol"]])
    values = np.where((draw == 0)[:, None], rows["value"].to_numpy(float), natural(unit, rows))
    return pd.DataFrame(values, columns=rows["symbol"].tolist())


def by_variant(
    trial: Trial, parameters: ParameterTable, agents: list[Agent], *, workers: int = 1, rtol: float = 1e-6
) -> pd.DataFrame:
    """The typical patient under each arm and structural variant.

    Parameters
    ----------
    trial, parameters, agents, workers, rtol
        As of `ensemble`.

    Returns
    -------
    DataFrame
        Column `variant` (its name) and those of `ensemble` but for `draw`; empty where the layer ``parameters`` is off.
    """
    vectors = of_variants(parameters, agents)
    names = vectors.index.to_numpy()
    draws = vectors.reset_index(drop=True).rename_axis("draw").reset_index()
    frame = ensemble(trial, parameters, agents, draws, workers=workers, rtol=rtol)
    frame.insert(0, "variant", names[frame.pop("draw").to_numpy(dtype=int)])
    return frame if trial.layers.parameters else frame.iloc[:0]


def _months_of(trial: Trial) -> np.ndarray:
    """Every month of the trial, its visits, the months that its endpoints name, and soon after doses that are rare."""
    named = [month for endpoint in trial.endpoints for month in endpoint.months]
    whole = range(int(np.floor(trial.months)) + 1)
    rare = [r for arm in trial.arms for r in arm.regimens if r.every_days >= RARE]
    peaks = {round((float(day) + SOON) / DAYS_PER_MONTH, 4) for regimen in rare for day in regimen.times_days()}
    peaks = {month for month in peaks if month < trial.months}
    return np.array(sorted({*map(float, whole), *map(float, trial.visits.months), *map(float, named), *peaks}))


def ensemble(
    trial: Trial,
    parameters: ParameterTable,
    agents: list[Agent],
    draws: pd.DataFrame,
    *,
    workers: int = 1,
    progress: Callable[[int], None] | None = None,
    rtol: float = 1e-6,
) -> pd.DataFrame:
    """The typical patient under each arm, for each draw.

    Parameters
    ----------
    trial : Trial
    parameters : ParameterTable
    agents : list of Agent
        All that the trial's arms name.
    draws : DataFrame
        As from `draws_of`.
    workers : int
        Threads; the result does not depend on it.
    progress : callable, optional
        Called with the number of (draw, arm) pairs done since the last call.
    rtol : float
        Error allowed the integrator a step, relative.

    Returns
    -------
    DataFrame
        Columns `draw`, `arm`, `month`; CTX_pct, P1NP_pct (% of baseline); BMD_LS_pct, ... (% change); OCC_mRANKL,
        OCC_sRANKL (% of the pool), SIGNAL_T (% of baseline).
    """
    names = [arm.name for arm in trial.arms]
    months = _months_of(trial)
    symbols = draws.drop(columns="draw")
    found = courses(trial, parameters, agents, symbols, names, months, rtol=rtol, workers=workers, progress=progress)
    n = len(draws) * len(names)
    frame = pd.DataFrame(
        {
            "draw": np.repeat(draws["draw"].to_numpy(), len(names) * months.size),
            "arm": np.repeat(np.tile(names, len(draws)), months.size),
            "month": np.tile(months, n),
        }
    )
    for name in OF_BASELINE:
        frame[f"{name}_pct"] = (100 * found[name] / found[name][..., :1]).reshape(-1)
    for name in CHANGE:
        frame[f"{name}_pct"] = (100 * (found[name] / found[name][..., :1] - 1)).reshape(-1)
    for name in AS_IS:
        frame[name] = found[name].reshape(-1)
    return frame


def courses(
    trial: Trial,
    parameters: ParameterTable,
    agents: list[Agent],
    vectors: pd.DataFrame,
    arms: Sequence[str],
    months: np.ndarray,
    *,
    rtol: float = 1e-6,
    workers: int = 1,
    progress: Callable[[int], None] | None = None,
) -> dict[str, np.ndarray]:
    """The typical patient under each arm, for each vector of parameter values.

    Parameters
    ----------
    trial : Trial
    parameters : ParameterTable
        Values of everything that `vectors` does not hold.
    agents : list of Agent
        All that `arms` are given.
    vectors : DataFrame
        A row a vector, a column a symbol of the table or a number of an agent (``denosumab.CL``).
    arms : sequence of str
        Names of the arms to simulate.
    months : ndarray, shape (n_months,)
        Increasing; should begin with 0.
    rtol, workers, progress
        As of `ensemble`.

    Returns
    -------
    dict of str to ndarray, shape (n_vectors, n_arms, n_months)
        Everything that `simulate` returns.
    """
    one = patients.typical(trial, parameters).persons
    n = len(vectors) * len(arms)
    columns = {symbol: np.full(n, float(one[symbol].iloc[0])) for symbol in one}
    columns |= {symbol: np.repeat(vectors[symbol].to_numpy(float), len(arms)) for symbol in vectors}
    plan = planned(trial, np.arange(n), np.tile(np.array(arms), len(vectors)), columns["WT"])
    found = simulate(
        parameters,
        pd.DataFrame(columns, index=[f"vector {k} under arm '{arm}'" for k in range(len(vectors)) for arm in arms]),
        agents,
        as_doses(plan, agents),
        months * DAYS_PER_MONTH,
        rtol=rtol,
        atol=rtol / 100,
        workers=workers,
        progress=progress,
    )
    return {name: values.reshape(len(vectors), len(arms), months.size) for name, values in found.items()}
