"""Reference-based multiple imputation: an endpoint's ANCOVA under other assumptions on what was not seen.

A model of all visits (`statistics.mmrm`) gives every patient a joint normal distribution. Visits missed before the last
one seen are always imputed at random (MAR) within the arm. What the means are after the last visit seen is
the assumption [1]_:

=========== ==================================================================================================
MAR         those of the patient's arm: as if treatment went on
J2R         jump to reference: those of the reference arm; the effect is gone at once
CIR         copy increments in reference: the arm's mean at the last visit seen, then changing as the reference
CR          copy reference: those of the reference arm throughout, earlier visits included
=========== ==================================================================================================

Values are drawn given those seen, from draws of the model's parameters, so that imputation is proper [2]_; each
completed set is analysed by the ANCOVA of the endpoint's visit, and results are combined by Rubin's rules [2]_ with the
degrees of freedom of Barnard and Rubin [3]_. Rubin's variance under J2R and CIR treats what is assumed as information
lost, not gained; it is larger than the variance over repeated trials [4]_.

References
----------
.. [1] Carpenter JR, Roger JH, Kenward MG. J Biopharm Stat 2013;23:1352-71. doi:10.1080/10543406.2013.834911
.. [2] Rubin DB. Multiple Imputation for Nonresponse in Surveys. Wiley 1987. doi:10.1002/9780470316696
.. [3] Barnard J, Rubin DB. Biometrika 1999;86:948-55. doi:10.1093/biomet/86.4.948
.. [4] Cro S, Carpenter JR, Kenward MG. J R Stat Soc A 2019;182:623-45. doi:10.1111/rssa.12423
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from ranklsim.cohorts.statistics import mmrm
from ranklsim.cohorts.statistics.ancova import LEVEL, ancova_design
from ranklsim.cohorts.statistics.mmrm.criterion import distinct_rows
from ranklsim.cohorts.statistics.tails import t_quantile, t_tail
from ranklsim.pkpd.errors import BadInput

STRATEGIES = {
    "MAR": "missing at random",
    "J2R": "jump to reference",
    "CIR": "copy increments in reference",
    "CR": "copy reference",
}
IMPUTATIONS = 100
"""Completed data sets behind every result."""
SLICE = 5000
"""Patients completed at a time, which bounds the memory."""

COLUMNS = (
    *("strategy", "arm", "n", "imputed", "estimate", "std_error", "df", "ci_low", "ci_high"),
    *("difference", "difference_std_error", "difference_df", "difference_low", "difference_high", "p", "lost"),
)


def impute(
    fit: mmrm.Fit, wide: pd.DataFrame, patients: pd.DataFrame, reference: str, strategy: str, count: int, seed: int
) -> np.ndarray:
    """Completed responses.

    Parameters
    ----------
    fit : Fit
        Model of all visits with factors `arm` and `month` and no `group`; its other variables are columns of
        `patients`.
    wide : DataFrame
        Responses, index the patients, columns the visits of the model in order; NaN where not seen.
    patients : DataFrame
        Index as `wide`; `arm` and the covariates of the model, none missing.
    reference : str
        Reference arm.
    strategy : str
        One of `STRATEGIES`.
    count : int
        Completed sets.
    seed : int

    Returns
    -------
    ndarray, shape (count, patients, visits)
        Seen values as they are.

    Raises
    ------
    BadInput
        If the strategy is unknown, or the model has a covariance matrix for each group or no such reference arm.
    """
    out = np.repeat(wide.to_numpy(float)[None], count, axis=0)
    for rows, gone, drawn in _imputed(fit, wide, patients, reference, strategy, count, seed):
        out[:, rows[:, None], np.flatnonzero(gone)] = drawn
    return out


def _imputed(
    fit: mmrm.Fit, wide: pd.DataFrame, patients: pd.DataFrame, reference: str, strategy: str, count: int, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Rows of patients who miss the same visits, which these are, and what `impute` puts there, `SLICE` at a time."""
    if strategy not in STRATEGIES:
        raise BadInput(f"imputation: strategy = {strategy!r} is unknown; use one of {', '.join(STRATEGIES)}.")
    if isinstance(fit.covariance.index, pd.MultiIndex):
        raise BadInput("imputation: the model has a covariance matrix for each group; fit one for all arms.")
    if reference not in set(patients["arm"]):
        raise BadInput(f"imputation: no patient is in the reference arm {reference!r}.")
    estimates, covariances = _parameters(fit, count, seed)
    rng = np.random.default_rng([seed, 1 + list(STRATEGIES).index(strategy)])
    for first in range(0, len(wide), SLICE):
        values = wide.iloc[first : first + SLICE].to_numpy(float)
        seen = ~np.isnan(values)
        some = np.flatnonzero(~seen.all(axis=1))
        if not some.size:
            continue
        them = patients.iloc[first + some]
        own = fit.means_at(them, wide.columns, estimates)
        other = own if strategy == "MAR" else fit.means_at(them.assign(arm=reference), wide.columns, estimates)
        values, seen = values[some], seen[some]
        last = np.where(seen.any(axis=1), seen.shape[1] - 1 - seen[:, ::-1].argmax(axis=1), -1)
        patterns, member_of = distinct_rows(seen)
        for k, pattern in enumerate(patterns):
            members = np.flatnonzero(member_of == k)
            mean = _assumed(own[:, members], other[:, members], int(last[members[0]]), strategy)
            yield first + some[members], ~pattern, _drawn(values[members], mean, covariances, pattern, rng)


_LATEST: list[tuple[mmrm.Fit, int, int, tuple[np.ndarray, np.ndarray]]] = []


def _parameters(fit: mmrm.Fit, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws of coefficients and covariance matrix; those of the latest model are kept, as all strategies share them."""
    for known, many, other, drawn in _LATEST:
        if known is fit and (many, other) == (count, seed):
            return drawn
    estimates, covariances = fit.draws(count, np.random.default_rng([seed, 0]))
    _LATEST[:] = [(fit, count, seed, (estimates, covariances[:, 0]))]
    return _LATEST[0][3]


def _assumed(own: np.ndarray, reference: np.ndarray, last: int, strategy: str) -> np.ndarray:
    """Means under a strategy, for patients last seen at position `last` (-1: never after the start)."""
    if strategy == "MAR":
        return own
    if strategy == "CR":
        return reference
    mean = own.copy()
    mean[:, :, last + 1 :] = reference[:, :, last + 1 :]
    if strategy == "CIR" and last >= 0:  # who was never seen has the increments since the start: the reference's means
        mean[:, :, last + 1 :] += own[:, :, [last]] - reference[:, :, [last]]
    return mean


def _drawn(
    values: np.ndarray, mean: np.ndarray, covariances: np.ndarray, seen: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Missing values given those seen, shape (draws, patients, missing)."""
    gone = ~seen
    slope = np.zeros((len(covariances), gone.sum(), seen.sum()))
    spread = covariances[:, gone][:, :, gone]
    if seen.any():
        across = covariances[:, gone][:, :, seen]
        slope = np.linalg.solve(covariances[:, seen][:, :, seen], across.transpose(0, 2, 1)).transpose(0, 2, 1)
        spread = spread - slope @ across.transpose(0, 2, 1)
    centre = mean[:, :, gone] + (values[:, seen] - mean[:, :, seen]) @ slope.transpose(0, 2, 1)
    noise = rng.standard_normal((len(covariances), len(values), gone.sum()))
    return np.asarray(centre + noise @ np.linalg.cholesky(spread).transpose(0, 2, 1))


def rubin(estimates: np.ndarray, variances: np.ndarray, df: float) -> dict[str, float]:
    """Estimates of completed sets combined by Rubin's rules.

    Parameters
    ----------
    estimates, variances : ndarray, shape (count,)
        Of each completed set.
    df : float
        Degrees of freedom of each without missing values.

    Returns
    -------
    dict
        `estimate`, `std_error`, `df` (Barnard and Rubin; those of complete data where nothing varies), `lost`: share of
        the variance that is due to missing values.
    """
    count = len(estimates)
    within, between = float(variances.mean()), float(estimates.var(ddof=1)) if count > 1 else 0.0
    extra = (1 + 1 / count) * between
    total = within + extra
    lost = extra / total if total > 0 else 0.0
    out = {"estimate": float(estimates.mean()), "std_error": float(np.sqrt(total)), "df": df, "lost": lost}
    if lost > 1e-12:
        seen = (df + 1) / (df + 3) * df * (1 - lost)
        out["df"] = 1 / (lost**2 / (count - 1) + 1 / seen)
    return out


def last_visit(
    fit: mmrm.Fit, wide: pd.DataFrame, patients: pd.DataFrame, reference: str, strategy: str, count: int, seed: int
) -> np.ndarray:
    """Completed responses at the last visit, shape (patients, count); parameters as of `impute`.

    Parameters
    ----------
    fit : Fit
        The mixed model.
    wide : DataFrame
        One row for each patient, one column for each visit.
    patients : DataFrame
        One row for each patient.
    reference : str
        The reference arm.
    strategy : str
        Such as "J2R".
    count, seed : int
        Number of imputations, and their seed.
    """
    out = np.repeat(wide.iloc[:, -1].to_numpy(float)[None], count, axis=0)
    for rows, gone, drawn in _imputed(fit, wide, patients, reference, strategy, count, seed):
        if gone[-1]:
            out[:, rows] = drawn[:, :, -1]
    return out.T


def analyse(
    fit: mmrm.Fit,
    wide: pd.DataFrame,
    patients: pd.DataFrame,
    arms: Sequence[str],
    reference: str,
    *,
    strategies: Sequence[str] = ("MAR", "J2R", "CIR"),
    count: int = IMPUTATIONS,
    seed: int = 0,
) -> pd.DataFrame:
    """ANCOVA of the last visit under each strategy.

    Parameters
    ----------
    fit, wide, patients, reference, count, seed
        As in `impute`; `patients` with `baseline` and `stratum`, the covariates of the ANCOVA.
    arms : sequence of str
        Arms in the order of the table, all of them with patients.
    strategies : sequence of str
        Of `STRATEGIES`.

    Returns
    -------
    DataFrame
        Columns `COLUMNS`, a row a strategy and arm: patients, those imputed at the last visit, LS mean and difference
        to the reference arm, with `lost` the share of the difference's (or of the mean's) variance due to missing
        values.
    """
    matrix, _ = ancova_design(patients, arms)
    inverse = np.linalg.inv(matrix.T @ matrix)
    df = float(len(matrix) - matrix.shape[1])
    gone = wide.iloc[:, -1].isna().to_numpy()
    rows = []
    for strategy in strategies:
        y = last_visit(fit, wide, patients, reference, strategy, count, seed)
        beta = inverse @ matrix.T @ y
        variance = ((y - matrix @ beta) ** 2).sum(axis=0) / df
        for k, arm in enumerate(arms):
            contrast = np.eye(matrix.shape[1])[k]
            here = (patients["arm"] == arm).to_numpy()
            row: dict[str, object] = {"strategy": strategy, "arm": arm, "n": int(here.sum())}
            row["imputed"] = int((here & gone).sum())
            row |= _with_interval(rubin(contrast @ beta, variance * (contrast @ inverse @ contrast), df), "")
            if arm != reference:
                contrast[list(arms).index(reference)] = -1.0
                gap = rubin(contrast @ beta, variance * (contrast @ inverse @ contrast), df)
                row |= _with_interval(gap, "difference")
                row["p"] = 2 * float(t_tail(abs(gap["estimate"]) / gap["std_error"], gap["df"]))
            rows.append(row)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _with_interval(found: dict[str, float], name: str) -> dict[str, object]:
    half = float(t_quantile(0.5 + LEVEL / 2, found["df"])) * found["std_error"]
    low, high = found["estimate"] - half, found["estimate"] + half
    if not name:
        return {**found, "ci_low": low, "ci_high": high}
    out: dict[str, object] = {name: found["estimate"], f"{name}_low": low, f"{name}_high": high, "lost": found["lost"]}
    return out | {f"{name}_std_error": found["std_error"], f"{name}_df": found["df"]}
