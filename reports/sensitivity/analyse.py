"""Effect of each parameter on each outcome: Morris screening, Sobol indices, rank correlations.

All parameters are screened by Morris trajectories. Those with most of the effect are sampled again for Sobol indices;
the others stay at their values. Both methods are by SALib [1]_ and need parameters that vary independently. Rank
correlations take vectors with the correlations that they have, such as an ensemble that fits the data.

References
----------
.. [1] Iwanaga T, Usher W, Herman J. Socio-Environ Syst Model 2022;4:18155. doi:10.18174/sesmo.18155
.. [2] Campolongo F, Cariboni J, Saltelli A. Environ Model Softw 2007;22:1509-18. doi:10.1016/j.envsoft.2006.10.004
.. [3] Saltelli A et al. Comput Phys Commun 2010;181:259-70. doi:10.1016/j.cpc.2009.09.018
.. [4] Fieller EC, Hartley HO, Pearson ES. Biometrika 1957;44:470-81. doi:10.1093/biomet/44.3-4.470
.. [5] Marino S et al. J Theor Biol 2008;254:178-96. doi:10.1016/j.jtbi.2008.04.011 (partial rank correlation)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtri

from ranklsim.cohorts.portions import Portions, Progress
from ranklsim.pkpd.errors import BadInput, RunFailed
from ranklsim.pkpd.ranges import natural
from ranklsim.pkpd.results import Results
from ranklsim.reports.sensitivity.sample import (
    LEVELS,
    Array,
    Question,
    Settings,
    evaluate,
    farthest,
    morris_sample,
    salib_seed,
    sobol_sample,
    unit_cube,
)

LEVEL = 0.95
RESAMPLES = 200
FLAT = 1e-3
"""SD, in an outcome's unit, below which it does not vary: the size of the integrator's error."""
SCREENED, ENOUGH = 0.5, 0.9
"""Share of the Morris trajectories, and of the Sobol blocks, that must have a value of an outcome (our choice)."""
RANKED = tuple("symbol rho low high share beyond_chance partial partial_low partial_high draws".split())


def morris_indices(symbols: Sequence[str], unit: Array, y: Array, seed: int) -> pd.DataFrame:
    """Elementary effects of each parameter over its whole range.

    Parameters
    ----------
    symbols : sequence of str
    unit : ndarray, shape (n, n_symbols)
        From `morris_sample`.
    y : ndarray, shape (n,)
        Outcome at each point; a trajectory with a NaN is left out.
    seed : int
        Seed of the bootstrap over trajectories.

    Returns
    -------
    DataFrame
        Columns `symbol`; `mu` and `mu_star`, mean effect and mean absolute effect [2]_; `mu_star_conf`, half-width of
        the 95 % interval of `mu_star`; `sigma`, SD of the effect (nonlinearity, interactions). In the unit of `y`.
    """
    from SALib.analyze import morris

    use = np.repeat(complete(y, len(symbols) + 1), len(symbols) + 1)
    found = morris.analyze(
        unit_cube(symbols),
        unit[use],
        y[use],
        num_levels=LEVELS,
        num_resamples=RESAMPLES,
        conf_level=LEVEL,
        seed=salib_seed(seed),
    )
    columns = ("mu", "mu_star", "mu_star_conf", "sigma")
    return pd.DataFrame({"symbol": list(symbols)} | {name: np.asarray(found[name], float) for name in columns})


def sobol_indices(symbols: Sequence[str], y: Array, second_order: bool, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """First, total and second order indices with bootstrap intervals [3]_.

    Parameters
    ----------
    symbols : sequence of str
    y : ndarray, shape (n,)
        Outcome at each point of `sobol_sample`; not constant. A block (a point of "A" and the points derived from it)
        with a NaN is left out.
    second_order : bool
        Whether the sample was made for second order.
    seed : int
        Seed of the bootstrap.

    Returns
    -------
    indices : DataFrame
        Columns `symbol`; `S1`, `S1_low`, `S1_high`: share of the variance that knowledge of the parameter would remove;
        `ST`, `ST_low`, `ST_high`: share that would remain if all others were known; intervals are 95 % percentiles
        over resamples; `first`: share of the resamples in which this parameter has the greatest `ST`.
    pairs : DataFrame
        Columns `symbol`, `other`, `S2`, `S2_low`, `S2_high` (normal interval); empty without `second_order`.
    """
    from SALib.analyze import sobol

    size = (2 if second_order else 1) * len(symbols) + 2
    found = sobol.analyze(
        unit_cube(symbols),
        y[np.repeat(complete(y, size), size)],
        calc_second_order=second_order,
        num_resamples=RESAMPLES,
        conf_level=LEVEL,
        keep_resamples=True,
        seed=salib_seed(seed),
    )
    tail = [50 * (1 - LEVEL), 100 - 50 * (1 - LEVEL)]
    columns: dict[str, object] = {"symbol": list(symbols)}
    for order in ("S1", "ST"):
        low, high = np.percentile(found[f"{order}_conf_all"], tail, axis=0)
        columns |= {order: np.asarray(found[order], float), f"{order}_low": low, f"{order}_high": high}
    winner = found["ST_conf_all"].argmax(axis=1)
    columns["first"] = np.bincount(winner, minlength=len(symbols)) / len(winner)
    rows = []
    for i, j in combinations(range(len(symbols) if second_order else 0), 2):
        s2, half = float(found["S2"][i, j]), float(found["S2_conf"][i, j])
        rows.append({"symbol": symbols[i], "other": symbols[j], "S2": s2, "S2_low": s2 - half, "S2_high": s2 + half})
    return pd.DataFrame(columns), pd.DataFrame(rows, columns=["symbol", "other", "S2", "S2_low", "S2_high"])


def complete(y: Array, size: int) -> NDArray[np.bool_]:
    """Which trajectories or blocks of `size` points have no missing value.

    Parameters
    ----------
    y : ndarray, shape (n,)
    size : int
        Divides n.

    Returns
    -------
    ndarray of bool, shape (n / size,)
    """
    return np.asarray(np.isfinite(y).reshape(-1, size).all(axis=1))


def rank_correlations(draws: pd.DataFrame, result: pd.Series) -> pd.DataFrame:
    """Rank correlation and partial rank correlation of each parameter with a result, the strongest first.

    Parameters
    ----------
    draws : DataFrame
        One row for each vector, one column for each parameter; constant columns are left out. The vectors may be
        correlated.
    result : Series
        Same index; vectors without a finite result are left out.

    Returns
    -------
    DataFrame
        Columns `symbol`, `rho`, `low`, `high` (Spearman; 95 %, Fisher's z with the 1.06 of [4]_), `share` (rho squared,
        %: share of the variance of the ranks that goes with the parameter and with what is correlated with it),
        `beyond_chance` (Bonferroni at 5 % over all parameters), `partial`, `partial_low`, `partial_high` (given the
        ranks of all other parameters [5]_; NaN unless there are more vectors than parameters), `draws`.
    """
    y = result[np.isfinite(result.to_numpy(float))].astype(float)
    common = draws.index.intersection(y.index, sort=False)
    y, shown = y.loc[common], draws.loc[common].astype(float)
    varying = [c for c, many in zip(draws.columns, shown.nunique() > 1, strict=True) if many]
    n, k = len(common), len(varying)
    if n <= 3 or not k or np.ptp(y) == 0:
        return pd.DataFrame(columns=RANKED)
    ranks = np.column_stack([shown[varying].rank(), y.rank()])
    matrix = np.corrcoef(ranks, rowvar=False)
    rho = matrix[:-1, -1]
    partial = np.full(k, np.nan)
    if n > k + 3 and np.linalg.matrix_rank(matrix) == k + 1:
        precision = np.linalg.inv(matrix)
        partial = -precision[:-1, -1] / np.sqrt(np.diag(precision)[:-1] * precision[-1, -1])
    low, high = _fisher(rho, n - 3)
    partial_low, partial_high = _fisher(partial, max(n - 3 - (k - 1), 1))
    beyond = np.abs(rho) > np.tanh(ndtri(1 - 0.025 / k) * np.sqrt(1.06 / (n - 3)))
    columns = (varying, rho, low, high, 100 * rho**2, beyond, partial, partial_low, partial_high, n)
    frame = pd.DataFrame(dict(zip(RANKED, columns, strict=True)))
    order = frame["rho"].abs().sort_values(ascending=False, kind="stable").index
    return frame.loc[order].reset_index(drop=True)


def _fisher(rho: Array, freedom: int) -> tuple[Array, Array]:
    """Ends of the interval of rank correlations; `freedom`: number of vectors, less 3, less parameters held."""
    mid = np.arctanh(np.clip(rho, -0.999999, 0.999999))
    half = ndtri(0.5 + LEVEL / 2) * np.sqrt(1.06 / freedom)
    return np.tanh(mid - half), np.tanh(mid + half)


@dataclass(frozen=True, repr=False)
class Sensitivity(Results):
    """Result of a sensitivity analysis.

    Attributes
    ----------
    question, settings
    outcomes : DataFrame
        `Question.outcomes`, with `unit`, `meaning`; `default` (at the parameters' values), `mean`, `sd`, `low`,
        `median`, `high` (5th, 50th and 95th percentile over the Sobol sample); `censored` (%: vectors in which BMD was
        not back at baseline by the last month, counted as that month); `undefined` (%: vectors without a value); `used`
        (%: blocks of the Sobol sample without an undefined value, which give the indices); `status` ("ok",
        "constant", "undefined"); `left_out` (%: share of the squared Morris effects of the parameters that were
        screened out).
    morris, sobol, pairs : DataFrame
        `outcome`, then as from `morris_indices` and `sobol_indices`.
    correlations : DataFrame
        `outcome`, then as from `rank_correlations`; empty without an ensemble.
    samples : DataFrame
        One row for each vector: `stage`, `matrix`, values of the parameters, and each arm's outcomes.
    """

    SOURCE = "sensitivity/"
    FIGURE = "reports.sensitivity.show:figure"

    question: Question
    settings: Settings
    outcomes: pd.DataFrame
    morris: pd.DataFrame
    sobol: pd.DataFrame
    pairs: pd.DataFrame
    correlations: pd.DataFrame
    samples: pd.DataFrame

    def tables(self) -> dict[str, pd.DataFrame]:
        """Every table by its name, the main one first."""
        named = ("outcomes", "sobol", "morris", "pairs", "correlations", "samples")
        return {name: table for name in named if len(table := getattr(self, name))}

    def heading(self) -> str:
        """What the result is, in one line."""
        asked = f"{len(self.outcomes)} outcomes to {len(self.question.moved)} parameters"
        return f"{self.question.trial.title}: sensitivity of {asked}"

    @property
    def kept(self) -> list[str]:
        """Parameters that passed the screening, the strongest first."""
        return list(dict.fromkeys(self.sobol["symbol"]))


def analyse(
    question: Question,
    settings: Settings,
    *,
    ensemble: pd.DataFrame | None = None,
    work: Path | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> Sensitivity:
    """Screen all parameters, then estimate the indices of those that matter.

    Parameters
    ----------
    question : Question
    settings : Settings
    ensemble : DataFrame, optional
        Correlated vectors of parameter values, as from `ranges.read_vectors`.
    work : path, optional
        Folder in which finished portions are kept, and found again.
    workers : int
        Threads; the result does not depend on it.
    progress : callable, optional
        Called with (done, total), in typical patients.

    Raises
    ------
    BadInput
        If the settings can't be used.
    RunFailed
        If a vector can't be integrated, or no outcome varies.
    """
    settings.check()
    moved = question.moved
    symbols = list(moved["symbol"])
    keep = min(settings.keep, len(symbols))
    unit = morris_sample(symbols, settings.trajectories, settings.seed)
    vectors = 1 + len(unit) + settings.samples * ((2 if settings.second_order else 1) * keep + 2)
    vectors += 0 if ensemble is None else len(ensemble)
    portions = Portions(
        lambda some, tell: evaluate(question, some, workers=workers, progress=tell),
        len(question.arms),
        vectors * len(question.arms),
        work=work,
        progress=progress,
        culprit=lambda vector: farthest(moved, vector),
    )

    def simulated(stage: str, some: pd.DataFrame) -> pd.DataFrame:
        if reasons := [reason for reason in question.parameters.implausible(some) if reason]:
            raise BadInput(f"sensitivity: {reasons[0]}, in {len(reasons)} of {len(some)} vectors; narrow the ranges.")
        whole = pd.concat([some.reset_index(drop=True), portions.run(stage, some)], axis=1)
        whole.insert(0, "stage", stage)
        return whole

    here = pd.DataFrame([dict(zip(symbols, moved["value"], strict=True))])
    screening = pd.DataFrame(natural(unit, moved), columns=symbols)
    frames = [simulated("default", here), simulated("morris", screening)]
    default = outcome_values(question, frames[0]).iloc[0]
    y = outcome_values(question, frames[1])
    names = list(y.columns)
    steps = len(symbols) + 1
    usable = [n for n in names if _status(y[n], steps, SCREENED) == "ok"]
    morris = _by_outcome({n: morris_indices(symbols, unit, y[n].to_numpy(), settings.seed) for n in usable})
    if morris.empty:
        raise RunFailed(
            f"{question.trial.name}: no outcome varies, or all lack a value in some vector; move other parameters."
        )
    squares = morris.assign(square=morris["mu_star"] ** 2).pivot(index="outcome", columns="symbol", values="square")
    shares = squares.div(squares.sum(axis=1), axis=0)[symbols]
    score = shares.mean()
    best = list(score.sort_values(ascending=False, kind="stable").index[:keep])

    chosen = moved.set_index("symbol").loc[best].reset_index()
    unit, matrix = sobol_sample(best, settings.samples, settings.second_order, settings.seed)
    frames.append(simulated("sobol", pd.DataFrame(natural(unit, chosen), columns=best)))
    y = outcome_values(question, frames[2])
    block = len(unit) // settings.samples
    facts = _facts(question, frames[2], y, default, np.isin(matrix, ("A", "B")), block)
    usable = list(facts.loc[facts["status"] == "ok", "outcome"])
    found = {n: sobol_indices(best, y[n].to_numpy(), settings.second_order, settings.seed) for n in usable}
    facts["left_out"] = facts["outcome"].map(100 * shares.drop(columns=best).sum(axis=1))

    correlations = pd.DataFrame()
    if ensemble is not None:
        frames.append(simulated("ensemble", ensemble))
        z = outcome_values(question, frames[3])
        by_name = {n: rank_correlations(ensemble, z[n]) for n in names if np.ptp(z[n].dropna()) > FLAT}
        correlations = _by_outcome(by_name)
    matrices = [np.array([""]), np.full(len(screening), ""), matrix, np.full(len(frames[-1]), "")]
    parts = []
    for frame, label in zip(frames, matrices, strict=False):
        whole = frame.copy()
        for symbol, value in zip(symbols, moved["value"], strict=True):
            if symbol not in whole:
                whole[symbol] = value
        whole.insert(1, "matrix", label)
        parts.append(whole)
    extra = [] if ensemble is None else [c for c in ensemble if c not in symbols]
    samples = pd.concat(parts, ignore_index=True)
    raw = [column for column in frames[0] if column not in ("stage", *symbols)]
    return Sensitivity(
        question,
        settings,
        facts,
        morris,
        _by_outcome({n: indices for n, (indices, _) in found.items()}),
        _by_outcome({n: pairs for n, (_, pairs) in found.items()}),
        correlations,
        samples[["stage", "matrix", *symbols, *extra, *raw]],
    )


def outcome_values(question: Question, raw: pd.DataFrame) -> pd.DataFrame:
    """Outcomes as they are analysed: differences between arms taken, times back at baseline cut at the last month.

    Parameters
    ----------
    question : Question
    raw : DataFrame
        As from `evaluate`, more columns allowed.

    Returns
    -------
    DataFrame
        One row for each row of `raw`, one column for each outcome.
    """
    columns = {}
    for row in question.outcomes.to_dict("records"):
        values = [
            raw[f"{arm}.{row['measure']}"].to_numpy(float).clip(max=_most(question, arm, row["measure"]))
            for arm in (row["arm"], row["versus"])
            if arm
        ]
        columns[row["outcome"]] = values[0] - values[1] if len(values) == 2 else values[0]
    return pd.DataFrame(columns)


def _most(question: Question, arm: str, measure: str) -> float:
    """Follow-up of an arm after treatment (months) if the measure is a time that may lie beyond it; else no limit."""
    return float(question.trial.months) - question.ends[arm] if measure.startswith("back_") else np.inf


def _status(y: pd.Series, size: int, least: float) -> str:
    """Whether an outcome allows indices, from trajectories or blocks of `size` vectors."""
    whole = complete(y.to_numpy(float), size)
    if whole.sum() < 2 or whole.mean() < least:
        return "undefined"
    return "ok" if float(y[np.repeat(whole, size)].std(ddof=0)) > FLAT else "constant"


def _by_outcome(frames: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The frames of all outcomes below each other, with the column `outcome` first."""
    parts = [pd.DataFrame({"outcome": name}, index=frame.index).join(frame) for name, frame in frames.items()]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _facts(
    question: Question, raw: pd.DataFrame, y: pd.DataFrame, default: pd.Series, plain: np.ndarray, block: int
) -> pd.DataFrame:
    """`Sensitivity.outcomes` but for `left_out`; `plain`: rows of the independent samples, `block`: their step."""
    rows = []
    for row in question.outcomes.to_dict("records"):
        measure = question.measures[row["measure"]]
        values = y.loc[plain, row["outcome"]]
        known = values.dropna().to_numpy()
        low, median, high = np.percentile(known, [5, 50, 95]) if len(known) else (np.nan,) * 3
        sides = [raw.loc[plain, f"{arm}.{row['measure']}"] for arm in (row["arm"], row["versus"]) if arm]
        censored = np.any([np.isinf(side) for side in sides], axis=0)
        rows.append(
            row
            | {
                "unit": measure.unit,
                "meaning": measure.meaning,
                "default": float(default[row["outcome"]]),
                "mean": known.mean() if len(known) else np.nan,
                "sd": known.std() if len(known) else np.nan,
                "low": low,
                "median": median,
                "high": high,
                "censored": 100 * float(censored.mean()),
                "undefined": 100 * float(values.isna().mean()),
                "used": 100 * float(complete(y[row["outcome"]].to_numpy(float), block).mean()),
                "status": _status(y[row["outcome"]], block, ENOUGH),
            }
        )
    return pd.DataFrame(rows)
