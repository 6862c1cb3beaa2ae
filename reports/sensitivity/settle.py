"""What would settle an answer: how much narrower an experiment would make its interval.

Each vector of the ensemble predicts an answer and the outcome of an experiment. With an error of measurement added, the
outcome is what one would see, and quantile regression [1]_ of the answer on it gives the 90 % interval that one would
then state. The mean width of these intervals, against the width without the experiment, is what is expected of it: the
expected value of sample information by regression on draws [2]_, for a decision that pays by the width. Regression on
noise also gains something by chance. The width without the experiment is therefore that of the same regression after
the outcomes have been permuted.

Answers and experiments stand in ``pkpd/data/settle.toml``; ``scripts/settle.py`` writes the tables of
docs/sensitivity.md.

References
----------
.. [1] Koenker R, Bassett G. Econometrica 1978;46:33-50. doi:10.2307/1913643
.. [2] Strong M, Oakley JE, Brennan A, Breeze P. Med Decis Making 2015;35:570-83. doi:10.1177/0272989X15575286
"""

from __future__ import annotations

import tomllib
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.interpolate import BSpline
from scipy.optimize import linprog

from ranklsim.cohorts import streams
from ranklsim.pkpd.fitting.sizes import TRANSFER
from ranklsim.pkpd.mice.genetics import value_of
from ranklsim.pkpd.mice.laboratory import SHIPPED as GENETICS
from ranklsim.pkpd.mice.laboratory import WOMEN, Laboratory
from ranklsim.pkpd.parameters import ParameterTable

Array = NDArray[np.float64]

SHIPPED = GENETICS.with_name("settle.toml")
LEVEL = 0.90
KNOTS = 3
"""Inner knots of the splines, at equal shares of the draws: 5 % of a thousand draws bear no more."""
REPEATS = 8
"""Realisations of the errors, and permutations."""
RTOL = 1e-5
ALL = "all"


@lru_cache(maxsize=1)
def questions() -> dict[str, Any]:
    """Contents of ``data/settle.toml``: lists ``answer`` and ``experiment``."""
    with SHIPPED.open("rb") as file:
        return tomllib.load(file)


def quantile_regression(basis: Array, y: Array, share: float) -> Array:
    """Fitted quantiles of `y`.

    Parameters
    ----------
    basis : ndarray, shape (n, p)
    y : ndarray, shape (n,)
    share : float
        Of the quantile, 0 to 1.

    Returns
    -------
    ndarray, shape (n,)
        `basis` times the coefficients that make the least of the check loss, by the dual linear programme: maximise
        y'a with basis'a = (1 - share) basis'1 and a in [0, 1]; its multipliers are the coefficients.
    """
    told = linprog(-y, A_eq=basis.T, b_eq=(1 - share) * basis.sum(axis=0), bounds=(0, 1), method="highs")
    if told.status:
        raise ArithmeticError(f"quantile regression: {told.message}")
    return np.asarray(basis @ -told.eqlin.marginals, dtype=float)


def mean_width(seen: Array, answer: Array) -> float:
    """Mean width of the interval of an answer that is stated when an outcome is known.

    Parameters
    ----------
    seen : ndarray, shape (n, n_measures)
        What each draw would show; the effects of several measures add.
    answer : ndarray, shape (n,)

    Returns
    -------
    float
        In the unit of the answer; that of a draw whose quantiles cross is 0.
    """
    basis = np.hstack([np.ones((len(answer), 1)), *(_spline(column) for column in seen.T)])
    low, high = (quantile_regression(basis, answer, share) for share in ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return float(np.maximum(high - low, 0.0).mean())


def _spline(x: Array) -> Array:
    """Cubic B-splines of one measure, but for the first, which the constant stands for; none where it is constant."""
    if np.ptp(x) == 0:
        return np.empty((len(x), 0))
    x = (x - x.min()) / np.ptp(x)
    inner = np.unique(np.quantile(x, np.linspace(0, 1, KNOTS + 2)[1:-1]))
    knots = np.r_[[0.0] * 4, inner[(inner > 0) & (inner < 1)], [1.0] * 4]
    return np.asarray(BSpline.design_matrix(x, knots, 3).toarray()[:, 1:], dtype=float)


def narrowing(outcomes: Array, sd: Array, answer: Array, seed: int) -> float:
    """Share by which the interval of an answer is expected to become narrower: 0 (nothing) to 1 (the answer is known).

    Parameters
    ----------
    outcomes : ndarray, shape (n, n_measures)
        True outcome of each draw.
    sd : ndarray, shape (n, n_measures)
        Standard error of the measurement under each draw.
    answer : ndarray, shape (n,)
    seed : int
        Of errors and permutations.
    """
    n, count = outcomes.shape
    known, unknown = [], []
    for k in range(REPEATS):
        noise = np.column_stack([streams.normal(seed, f"settle.{k}.{j}", np.arange(n)) for j in range(count)])
        order = streams.uniform(seed, f"settle.order.{k}", np.arange(n)).argsort(kind="stable")
        seen = outcomes + sd * noise
        unknown.append(mean_width(seen[order], answer))
        if k == 0 or sd.any():
            known.append(mean_width(seen, answer))
    return float(np.clip(1 - np.mean(known) / np.mean(unknown), 0.0, 1.0))


def settle(vectors: pd.DataFrame, parameters: ParameterTable, *, seed: int = 1) -> pd.DataFrame:
    """What each experiment is expected to do to the interval of each answer.

    Parameters
    ----------
    vectors : DataFrame, n rows
        Such as the shipped ensemble; at least 200, since 5 % of them have to tell a curve.
    parameters : ParameterTable
        Values of what the vectors do not hold.
    seed : int
        Of errors and permutations.

    Returns
    -------
    DataFrame
        One row an answer and experiment (``all`` is all of them together): ``answer``, ``experiment`` (names),
        ``unit``, ``draws`` (vectors with all numbers), ``low``, ``median``, ``high`` (of the answer without the
        experiment, 90 %), ``width``, ``narrower`` (share, with the errors of the experiment) and ``narrower_perfect``
        (without any error), ``width_after``; ``seen_low_k``, ``seen_median_k``, ``seen_high_k``: 90 % of the true
        outcome of measure k over the draws.
    """
    laboratory = Laboratory(parameters, vectors, rtol=RTOL)
    asked = questions()
    answers = {one["name"]: value_of(laboratory, {"genotype": WOMEN, **one}) for one in asked["answer"]}
    outcomes, errors = {}, {}
    for one in asked["experiment"]:
        mice = 0.0 if one["genotype"] == WOMEN else 100.0 * np.broadcast_to(laboratory[TRANSFER], len(vectors))
        rows = [{"genotype": one["genotype"], **measure} for measure in one["measure"]]
        outcomes[one["name"]] = np.column_stack([value_of(laboratory, row) for row in rows])
        errors[one["name"]] = np.column_stack([np.full(len(vectors), np.hypot(row["sd"], mice)) for row in rows])
    outcomes[ALL], errors[ALL] = (np.hstack(list(parts.values())) for parts in (outcomes, errors))
    whole = np.isfinite(np.column_stack([*answers.values(), outcomes[ALL]])).all(axis=1)
    found = []
    for answer in asked["answer"]:
        y = answers[answer["name"]][whole]
        low, median, high = np.quantile(y, [(1 - LEVEL) / 2, 0.5, (1 + LEVEL) / 2])
        for name, outcome in outcomes.items():
            seen, sd = outcome[whole], errors[name][whole]
            share = narrowing(seen, sd, y, seed)
            bands = (
                np.quantile(seen, [(1 - LEVEL) / 2, 0.5, (1 + LEVEL) / 2], axis=0) if name != ALL else np.empty((3, 0))
            )
            found.append(
                {"answer": answer["name"], "experiment": name, "unit": answer["unit"], "draws": int(whole.sum()),
                 "low": low, "median": median, "high": high, "width": high - low, "narrower": share,
                 "narrower_perfect": narrowing(seen, 0 * sd, y, seed), "width_after": (1 - share) * (high - low)}
                | {f"seen_{end}_{k}": x for end, some in zip(("low", "median", "high"), bands, strict=True)
                   for k, x in enumerate(some)}
            )  # fmt: skip
    return pd.DataFrame(found)
