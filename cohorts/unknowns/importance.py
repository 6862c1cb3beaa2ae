"""How much of an outcome each parameter decides: Morris screening, Sobol indices, rank correlations.

The first two are by SALib [1]_ and need parameters that vary independently: they are sampled in the unit cube, and the
caller turns a point of it into values. Rank correlations take vectors as they are, with the correlations that they
have among each other.

References
----------
.. [1] Iwanaga T, Usher W, Herman J. Socio-Environ Syst Model 2022;4:18155. doi:10.18174/sesmo.18155
.. [2] Morris MD. Technometrics 1991;33:161-74. doi:10.1080/00401706.1991.10484804
.. [3] Campolongo F, Cariboni J, Saltelli A. Environ Model Softw 2007;22:1509-18. doi:10.1016/j.envsoft.2006.10.004
.. [4] Saltelli A et al. Comput Phys Commun 2010;181:259-70. doi:10.1016/j.cpc.2009.09.018
.. [5] Fieller EC, Hartley HO, Pearson ES. Biometrika 1957;44:470-81. doi:10.1093/biomet/44.3-4.470
.. [6] Marino S et al. J Theor Biol 2008;254:178-96. doi:10.1016/j.jtbi.2008.04.011 (partial rank correlation)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]

LEVEL = 0.95
LEVELS = 4
"""Levels of the Morris grid, the usual number [2]_."""
RESAMPLES = 200


def morris_sample(symbols: Sequence[str], trajectories: int, seed: int) -> Array:
    """Points of the unit cube along Morris trajectories [2]_.

    Returns
    -------
    ndarray, shape (trajectories * (n_symbols + 1), n_symbols)
        On the grid 0, 1/3, 2/3, 1; in each trajectory a step changes one coordinate.
    """
    from SALib.sample import morris

    return morris.sample(_problem(symbols), trajectories, num_levels=LEVELS, seed=_seed(seed))


def morris_indices(symbols: Sequence[str], unit: Array, y: Array, seed: int) -> pd.DataFrame:
    """Elementary effects of each parameter, over its whole range.

    Parameters
    ----------
    symbols : sequence of str
    unit : ndarray, shape (n, n_symbols)
        From `morris_sample`.
    y : ndarray, shape (n,)
        Outcome at each point; a trajectory with a NaN is left out.
    seed : int
        Of the bootstrap over trajectories.

    Returns
    -------
    DataFrame
        Columns `symbol`; `mu` and `mu_star`, mean effect and mean absolute effect [3]_; `mu_star_conf`, half-width of
        the latter's 95 % interval; `sigma`, SD of the effect (nonlinearity, interactions). In the unit of `y`.
    """
    from SALib.analyze import morris

    use = np.repeat(complete(y, len(symbols) + 1), len(symbols) + 1)
    found = morris.analyze(
        _problem(symbols),
        unit[use],
        y[use],
        num_levels=LEVELS,
        num_resamples=RESAMPLES,
        conf_level=LEVEL,
        seed=_seed(seed),
    )
    columns = ("mu", "mu_star", "mu_star_conf", "sigma")
    return pd.DataFrame({"symbol": list(symbols)} | {name: np.asarray(found[name], float) for name in columns})


def sobol_sample(symbols: Sequence[str], samples: int, second_order: bool, seed: int) -> tuple[Array, NDArray[np.str_]]:
    """Points of the unit cube for Sobol indices [4]_, from a scrambled Sobol sequence.

    Returns
    -------
    unit : ndarray, shape (n, n_symbols)
        n = samples * (n_symbols + 2), or samples * (2 * n_symbols + 2) with `second_order`.
    matrix : ndarray of str, shape (n,)
        "A" and "B" for the two independent samples, "AB" and "BA" for those with a column exchanged.
    """
    from SALib.sample import sobol

    unit = sobol.sample(_problem(symbols), samples, calc_second_order=second_order, seed=_seed(seed))
    k = len(symbols)
    block = ["A", *["AB"] * k, *(["BA"] * k if second_order else []), "B"]
    return unit, np.array(block * samples)


def sobol_indices(symbols: Sequence[str], y: Array, second_order: bool, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """First, total and second order indices with bootstrap intervals [4]_.

    Parameters
    ----------
    symbols : sequence of str
    y : ndarray, shape (n,)
        Outcome at each point of `sobol_sample`; not constant. A block (a point of "A" with all that go with it) with a
        NaN is left out.
    second_order : bool
        As the sample was made.
    seed : int
        Of the bootstrap.

    Returns
    -------
    indices : DataFrame
        Columns `symbol`; `S1`, `S1_low`, `S1_high`: share of the variance that would go if the parameter were known;
        `ST`, `ST_low`, `ST_high`: share that would be left if all others were; intervals are 95 % percentiles over
        resamples; `first`: share of the resamples in which this parameter has the greatest `ST`.
    pairs : DataFrame
        Columns `symbol`, `other`, `S2`, `S2_low`, `S2_high` (normal interval); empty without `second_order`.
    """
    from SALib.analyze import sobol

    size = (2 if second_order else 1) * len(symbols) + 2
    found = sobol.analyze(
        _problem(symbols),
        y[np.repeat(complete(y, size), size)],
        calc_second_order=second_order,
        num_resamples=RESAMPLES,
        conf_level=LEVEL,
        keep_resamples=True,
        seed=_seed(seed),
    )
    tail = [50 * (1 - LEVEL), 100 - 50 * (1 - LEVEL)]
    columns: dict[str, Any] = {"symbol": list(symbols)}
    for order in ("S1", "ST"):
        low, high = np.percentile(found[f"{order}_conf_all"], tail, axis=0)
        columns |= {order: np.asarray(found[order], float), f"{order}_low": low, f"{order}_high": high}
    winner = found["ST_conf_all"].argmax(axis=1)
    columns["first"] = np.bincount(winner, minlength=len(symbols)) / len(winner)
    rows = []
    if second_order:
        for i in range(len(symbols)):
            for j in range(i + 1, len(symbols)):
                s2, half = float(found["S2"][i, j]), float(found["S2_conf"][i, j])
                pair = {"symbol": symbols[i], "other": symbols[j], "S2": s2, "S2_low": s2 - half, "S2_high": s2 + half}
                rows.append(pair)
    return pd.DataFrame(columns), pd.DataFrame(rows, columns=["symbol", "other", "S2", "S2_low", "S2_high"])


def complete(y: Array, size: int) -> NDArray[np.bool_]:
    """Which trajectories, or blocks, of `size` points each have every value."""
    return np.asarray(np.isfinite(y).reshape(-1, size).all(axis=1))


def rank_correlations(draws: pd.DataFrame, result: pd.Series) -> pd.DataFrame:
    """Rank correlation of each parameter with a result, as it is and with all others held, the strongest first.

    Parameters
    ----------
    draws : DataFrame
        One row a vector, one column a parameter; constant columns are left out. The vectors may be correlated.
    result : Series
        Same index; vectors without a finite result are left out.

    Returns
    -------
    DataFrame
        Columns `symbol`, `rho`, `low`, `high` (Spearman; 95 %, Fisher's z with the 1.06 of [5]_), `share` (rho squared,
        %: share of the variance of the ranks that goes with the parameter, and with what moves along with it),
        `beyond_chance` (Bonferroni at 5 % over all parameters), `partial`, `partial_low`, `partial_high` (the ranks of
        all other parameters held [6]_; NaN where there are not more vectors than parameters), `draws`.
    """
    common = [d for d in draws.index if d in result.index and np.isfinite(result.loc[d])]
    y = result.loc[common].to_numpy(float)
    varying = [c for c in draws.columns if draws.loc[common, c].nunique() > 1]
    n, k = len(common), len(varying)
    columns = [
        "symbol",
        "rho",
        "low",
        "high",
        "share",
        "beyond_chance",
        "partial",
        "partial_low",
        "partial_high",
        "draws",
    ]
    if n <= 3 or not k or np.ptp(y) == 0:
        return pd.DataFrame(columns=columns)
    ranks = stats.rankdata(np.column_stack([draws.loc[common, varying].to_numpy(float), y]), axis=0)
    matrix = np.corrcoef(ranks, rowvar=False)
    rho = matrix[:-1, -1]
    partial = np.full(k, np.nan)
    if n > k + 3 and np.linalg.matrix_rank(matrix) == k + 1:
        precision = np.linalg.inv(matrix)
        partial = -precision[:-1, -1] / np.sqrt(np.diag(precision)[:-1] * precision[-1, -1])
    low, high = _fisher(rho, n - 3)
    partial_low, partial_high = _fisher(partial, max(n - 3 - (k - 1), 1))
    cut = np.tanh(stats.norm.ppf(1 - 0.025 / k) * np.sqrt(1.06 / (n - 3)))
    frame = pd.DataFrame(
        {
            "symbol": varying,
            "rho": rho,
            "low": low,
            "high": high,
            "share": 100 * rho**2,
            "beyond_chance": np.abs(rho) > cut,
            "partial": partial,
            "partial_low": partial_low,
            "partial_high": partial_high,
            "draws": n,
        },
        columns=columns,
    )
    order = frame["rho"].abs().sort_values(ascending=False, kind="stable").index
    return frame.loc[order].reset_index(drop=True)


def _fisher(rho: Array, freedom: int) -> tuple[Array, Array]:
    """Ends of the interval of rank correlations; `freedom` is the number of vectors less 3 and what is held."""
    mid = np.arctanh(np.clip(rho, -0.999999, 0.999999))
    half = stats.norm.ppf(0.5 + LEVEL / 2) * np.sqrt(1.06 / freedom)
    return np.tanh(mid - half), np.tanh(mid + half)


def _problem(symbols: Sequence[str]) -> dict[str, Any]:
    """The unit cube as SALib describes a problem."""
    return {"num_vars": len(symbols), "names": list(symbols), "bounds": [[0.0, 1.0]] * len(symbols)}


def _seed(seed: int) -> int:
    """A seed that SALib does not take for "none": it does so with 0."""
    return int(np.random.SeedSequence(seed).generate_state(1)[0]) + 1
