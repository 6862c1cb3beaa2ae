"""Analysis of covariance of logarithms where some values lie below a limit of quantitation.

A censored value enters the likelihood as the probability of lying below its limit (Tobit [1]_, method M3 of population
pharmacokinetics [2]_). The variance is that of maximum likelihood times n over the residual degrees of freedom, and
intervals are Student's with these, so that the result is that of ordinary least squares where nothing is censored.

References
----------
.. [1] Tobin J. Econometrica 1958;26:24-36. doi:10.2307/1907382
.. [2] Beal SL. J Pharmacokinet Pharmacodyn 2001;28:481-504. doi:10.1023/A:1012299115260
.. [3] Olsen RJ. Econometrica 1978;46:1211-5 (its parameters, in which the likelihood is concave).
       doi:10.2307/1911445
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from ranklsim.cohorts.statistics.ancova import ALIKE, LEVEL, ancova_design, left_out
from ranklsim.cohorts.statistics.summaries import rows_by_visit
from ranklsim.cohorts.statistics.tails import t_quantile, t_tail
from ranklsim.pkpd.errors import BadInput, RunFailed

Array = NDArray[np.float64]

MOST_STEPS = 100
CLOSE = 1e-9


@dataclass(frozen=True)
class Censored:
    """A linear model of values some of which are only known to be small.

    Attributes
    ----------
    slope : ndarray, shape (k,)
    covariance : ndarray, shape (k, k)
        Of `slope`.
    sd : float
        Residual, with `df` as divisor.
    df : int
        Residual degrees of freedom.
    """

    slope: Array
    covariance: Array
    sd: float
    df: int

    def of(self, contrast: Array, level: float = LEVEL) -> dict[str, float]:
        """A linear combination of the coefficients: `estimate`, `low`, `high`, `std_error`, `df`, `p`.

        Parameters
        ----------
        contrast : ndarray, shape (k,)
        level : float
        """
        value, error = float(contrast @ self.slope), float(np.sqrt(contrast @ self.covariance @ contrast))
        half = float(t_quantile(0.5 + level / 2, self.df)) * error
        p = 2 * float(t_tail(abs(value) / error, self.df)) if error > 0 else np.nan
        out = {"estimate": value, "low": value - half, "high": value + half, "std_error": error, "df": float(self.df)}
        return out | {"p": p}


NO_MAXIMUM = "the likelihood of censored values has no maximum."


def fit(matrix: Array, value: Array, below: NDArray[np.bool_]) -> Censored:
    """Maximum likelihood of normal values with a common variance, some below a limit.

    Parameters
    ----------
    matrix : ndarray, shape (n, k)
        Of full rank.
    value : ndarray, shape (n,)
        The limit where `below`.
    below : ndarray of bool, shape (n,)

    Returns
    -------
    Censored

    Raises
    ------
    RunFailed
        If no degree of freedom is left, all are alike, or the values that are not censored do not determine the model.

    Notes
    -----
    Newton's method in the parameters of Olsen, slope over SD and one over SD, from least squares.
    """
    n, k = matrix.shape
    df = n - k
    seen = ~below
    if df < 1 or np.linalg.matrix_rank(matrix[seen]) < k:
        raise RunFailed("too few values above the limit of quantitation.")
    start, *_ = np.linalg.lstsq(matrix, value, rcond=None)
    sd = float(np.sqrt(np.mean((value - matrix @ start) ** 2)))
    if sd <= ALIKE * max(1.0, float(np.abs(value).max())):
        raise RunFailed("every patient is alike, so that no error can be estimated.")
    at = np.append(start, 1.0) / sd
    whole = np.column_stack([-matrix, value])  # (value - mean) / SD is linear in `at`
    for _ in range(MOST_STEPS):
        z = whole @ at
        hazard = np.exp(-(z**2) / 2 - np.log(2 * np.pi) / 2 - special.log_ndtr(z))  # of values below z
        slope = np.where(seen, -z, hazard)
        curve = np.where(seen, -1.0, -hazard * (z + hazard))
        gradient = whole.T @ slope
        gradient[-1] += seen.sum() / at[-1]
        hessian = (whole * curve[:, None]).T @ whole
        hessian[-1, -1] -= seen.sum() / at[-1] ** 2
        try:
            step = np.linalg.solve(hessian, -gradient)
        except np.linalg.LinAlgError:  # the SD goes to 0: the values seen lie on the model, and the others below it
            raise RunFailed(NO_MAXIMUM) from None
        if float(np.abs(step).max()) <= CLOSE * float(np.abs(at).max()):
            break
        pace, reached = 1.0, _likelihood(at, whole, seen) - CLOSE
        while pace > CLOSE and not _likelihood(at + pace * step, whole, seen) >= reached:
            pace /= 2
        at = at + pace * step
    else:
        raise RunFailed(NO_MAXIMUM)
    # From slope / SD and 1 / SD to slope, by the chain rule.
    sd = 1.0 / float(at[-1])
    moves = np.column_stack([np.eye(k) * sd, -at[:-1] * sd**2])
    scale = n / df
    covariance = moves @ np.linalg.inv(-hessian) @ moves.T * scale
    return Censored(at[:-1] * sd, covariance, sd * float(np.sqrt(scale)), df)


def _likelihood(at: Array, whole: Array, seen: NDArray[np.bool_]) -> float:
    """Logarithm of the likelihood; minus infinity where the SD is not positive."""
    if at[-1] <= 0:
        return -np.inf
    z = whole @ at
    return float(np.where(seen, np.log(at[-1]) - z**2 / 2, special.log_ndtr(z)).sum())


def contrast_of_arms(
    table: pd.DataFrame, arm: str, comparator: str, covariates: Sequence[str] = (), *, level: float = LEVEL
) -> tuple[dict[str, float], str]:
    """Difference of two arms from value ~ arm + baseline + stratum + covariates, as `ancova` where none is censored.

    Parameters
    ----------
    table : DataFrame
        Columns `arm`, `value`, `below`, `baseline`, `stratum` and `covariates`; a row a patient.
    arm, comparator : str
    covariates : sequence of str
    level : float

    Returns
    -------
    dict
        As from `Censored.of`.
    str
        Covariates that the model leaves out, in a sentence.

    Raises
    ------
    BadInput
        If an arm has no patient.
    RunFailed
        As of `fit`.
    """
    both = table[table["arm"].isin([arm, comparator])]
    for name in (arm, comparator):
        if not (both["arm"] == name).any():
            raise BadInput("an arm has no patient left.")
    matrix, redundant = ancova_design(both, [comparator, arm], covariates)
    model = fit(matrix, both["value"].to_numpy(float), both["below"].to_numpy(bool))
    difference = np.zeros(matrix.shape[1])
    difference[:2] = -1.0, 1.0
    return model.of(difference, level), left_out(redundant)


def mean(value: Array, below: NDArray[np.bool_], *, level: float = LEVEL) -> dict[str, float]:
    """Mean of values some of which are below a limit, as from `Censored.of`, with their `sd`.

    Parameters
    ----------
    value : ndarray, shape (n,)
    below : ndarray of bool, shape (n,)
    level : float

    Raises
    ------
    RunFailed
        As of `fit`.
    """
    model = fit(np.ones((value.size, 1)), value, below)
    return model.of(np.ones(1), level) | {"sd": model.sd}


def by_visit(visits: pd.DataFrame, column: str, arms: Sequence[str]) -> pd.DataFrame:
    """Geometric means of a measurement with a limit of quantitation, by visit.

    Parameters
    ----------
    visits : DataFrame
        Columns `arm`, `month`, `column` (the limit where it is below it, NaN where nothing was measured) and
        ``column_BLQ``.
    column : str
    arms : sequence of str

    Returns
    -------
    DataFrame
        `month`, `arm`, `n`, `below` (patients below the limit), `mean`, `ci_low`, `ci_high` (geometric mean with its
        95 % interval) and `cv` (geometric, %), NaN where fewer than two values are above the limit, all are alike, or
        one is 0 (as without measurement error);
        `limit`, `median`, `lowest`, `highest`, of which those below the limit are 0.
    """
    rows = []
    seen = visits[visits[column].notna()]
    values, limited = seen[column].to_numpy(float), seen[f"{column}_BLQ"].to_numpy(bool)
    for (month, arm), own in rows_by_visit(seen, arms).items():
        value, below = values[own], limited[own]
        if not value.size:
            continue
        row: dict[str, object] = {"month": month, "arm": arm, "n": value.size, "below": int(below.sum())}
        row |= dict.fromkeys(("mean", "ci_low", "ci_high", "cv"), np.nan)
        try:
            found = mean(np.log(value), below) if (~below).sum() > 1 and value.min() > 0 else None
        except RunFailed:
            found = None
        if found is not None:
            row |= {name: np.exp(found[end]) for name, end in ENDS.items()}
            row["cv"] = 100 * np.sqrt(np.expm1(found["sd"] ** 2))
        shown = np.where(below, 0.0, value)
        row |= {"limit": value[below].max(initial=0.0), "median": float(np.median(shown))}
        rows.append(row | {"lowest": shown.min(), "highest": shown.max()})
    columns = ["month", "arm", "n", "below", "mean", "ci_low", "ci_high", "cv", "limit", "median", "lowest", "highest"]
    return pd.DataFrame(rows, columns=columns)


ENDS = {"mean": "estimate", "ci_low": "low", "ci_high": "high"}
