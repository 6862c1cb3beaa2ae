"""Shares of patients: the interval of one; difference, ratio and odds ratio of two, crude or stratified.

Intervals of one share are Wilson's or exact (Clopper and Pearson). A difference or ratio of two is estimated over
strata with the weights of Mantel and Haenszel [1]_, and its test and interval are those of Miettinen and Nurminen's
score [2]_, stratified as by Gart and Nam [3]_: of no effect it is the test of Cochran, Mantel and Haenszel, and its
interval has a width and never contradicts that test, also without an event.

References
----------
.. [1] Mantel N, Haenszel W. J Natl Cancer Inst 1959;22:719-48.
.. [2] Miettinen O, Nurminen M. Stat Med 1985;4:213-26. doi:10.1002/sim.4780040211
.. [3] Gart JJ, Nam J. Biometrics 1988;44:323-38. doi:10.2307/2531848
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from ranklsim.cohorts.statistics.likelihood import Edge, end_of, highest, information_of_first, maximise, of_first
from ranklsim.cohorts.statistics.roots import root
from ranklsim.cohorts.statistics.tails import normal_quantile, normal_tail, t_quantile, t_tail
from ranklsim.pkpd.errors import BadInput

MEASURES = ("risk difference", "risk ratio")


def proportion(events: float, n: int, *, method: str = "wilson", level: float = 0.95) -> dict[str, float]:
    """A share with its interval.

    Parameters
    ----------
    events, n : int
    method : {"wilson", "exact"}
    level : float

    Returns
    -------
    dict
        `estimate`, `low`, `high`, all from 0 to 1; NaN where n = 0.
    """
    if n == 0:
        return dict.fromkeys(("estimate", "low", "high"), np.nan)
    share = events / n
    if method == "exact":
        low = special.betaincinv(events, n - events + 1, (1 - level) / 2) if events else 0.0
        high = special.betaincinv(events + 1, n - events, (1 + level) / 2) if events < n else 1.0
        return {"estimate": share, "low": float(low), "high": float(high)}
    if method != "wilson":
        raise ValueError(f"unknown method {method!r}")
    z2 = float(normal_quantile(0.5 + level / 2)) ** 2
    centre, half = share + z2 / (2 * n), np.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n**2)))
    low, high = (centre - half) / (1 + z2 / n), (centre + half) / (1 + z2 / n)
    # Exactly 0 and 1 at the ends, where rounding leaves an interval without its estimate.
    return {"estimate": share, "low": float(low) if events else 0.0, "high": float(high) if events < n else 1.0}


def risk_difference(
    events: float, n: float, control_events: float, control_n: float, *, level: float = 0.95
) -> dict[str, Any]:
    """Share of one group minus that of another, by the score of Miettinen and Nurminen.

    Parameters
    ----------
    events, n, control_events, control_n : float
        Numbers of patients, or effective ones.
    level : float

    Returns
    -------
    dict
        As from `score`; NaN where a group is empty.
    """
    if not n or not control_n:
        return dict.fromkeys(("estimate", "low", "high", "p"), np.nan)
    return score(*(np.array([float(k)]) for k in (events, n, control_events, control_n)), level=level)


# -- the score ---------------------------------------------------------------------------------------------------------


def score(
    x1: np.ndarray,
    n1: np.ndarray,
    x0: np.ndarray,
    n0: np.ndarray,
    *,
    measure: str = "risk difference",
    level: float = 0.95,
) -> dict[str, Any]:
    """Difference or ratio of shares over strata, with the interval of its score.

    Parameters
    ----------
    x1, n1, x0, n0 : ndarray, shape (strata,)
        Events and patients of an arm and of control.
    measure : {"risk difference", "risk ratio"}
    level : float

    Returns
    -------
    dict
        `estimate` (NaN for a ratio without any event), `low`, `high`, two-sided `p` of no effect, and `z`: from a value
        of the measure to the signed score, positive where the data lie above it.
    """
    z = partial(_score, x1, n1, x0, n0, measure == "risk ratio")
    weight = n1 * n0 / (n1 + n0)
    here, there = (weight * x1 / n1).sum(), (weight * x0 / n0).sum()
    if measure == "risk ratio":
        none, estimate = 1.0, here / there if there else np.inf if here else np.nan
    else:
        none, estimate = 0.0, (here - there) / weight.sum()
    low, high = interval_of_score(z, measure, level)
    p = 2 * float(normal_tail(abs(z(none))))
    return {"estimate": float(estimate), "low": low, "high": high, "p": p, "z": z}


def interval_of_score(z: Any, measure: str, level: float) -> tuple[float, float]:
    """Values of a measure whose score is not beyond the normal quantile.

    Parameters
    ----------
    z : callable
        As from `score`; it falls as the value rises.
    measure : str
    level : float
    """
    limit = float(normal_quantile(0.5 + level / 2))
    ratio = measure == "risk ratio"
    least, most = (-FARTHEST, FARTHEST) if ratio else (-1 + EDGE, 1 - EDGE)

    def of(value: float) -> float:
        return float(z(np.exp(value) if ratio else value))

    ends = []
    for side, farthest in ((1, least), (-1, most)):
        if side * of(farthest) <= limit:
            ends.append((0.0 if side == 1 else np.inf) if ratio else -float(side))
            continue
        end = root(partial(_beyond, of, side * limit), least, most, 1e-13)
        ends.append(float(np.exp(end)) if ratio else float(end))
    return ends[0], ends[1]


def _beyond(score: Callable[[float], float], limit: float, value: float) -> float:
    return score(value) - limit


FARTHEST = 20.0
"""Logarithm of the farthest ratio that is looked at."""
EDGE = 1e-9
"""How near to 1 a difference of shares may come."""


def _score(x1: np.ndarray, n1: np.ndarray, x0: np.ndarray, n0: np.ndarray, ratio: bool, value: float) -> float:
    """Signed score of a difference or ratio; shares under it by equations 4, 10 and 27 of [2]_."""
    n, x = n1 + n0, x1 + x0
    if ratio:
        a, b = n * value, n1 * value + x1 + n0 + x0 * value
        p0 = np.clip((b - np.sqrt(np.maximum(b**2 - 4 * a * x, 0.0))) / (2 * a), 0.0, 1.0)
        p1, times = np.clip(value * p0, 0.0, 1.0), value
        gap = x1 / n1 - value * x0 / n0
    else:
        b = (n1 + 2 * n0) * value - n - x
        c, d = (n0 * value - n - 2 * x0) * value + x, x0 * value * (1 - value)
        q = b**3 / (3 * n) ** 3 - b * c / (6 * n**2) + d / (2 * n)
        r = np.copysign(np.sqrt(np.maximum(b**2 / (3 * n) ** 2 - c / (3 * n), 0.0)), q)
        turn = np.divide(q, r**3, out=np.zeros_like(q), where=r != 0)
        angle = np.where(r == 0, np.pi, np.pi + np.arccos(np.clip(turn, -1, 1)))
        p0 = np.clip(2 * r * np.cos(angle / 3) - b / (3 * n), 0, 1)
        p1, times = np.clip(p0 + value, 0.0, 1.0), 1.0
        gap = x1 / n1 - x0 / n0 - value
    weight = n1 * n0 / n
    each = (p1 * (1 - p1) / n1 + times**2 * p0 * (1 - p0) / n0) * n / np.maximum(n - 1, EDGE)
    top, variance = float((weight * gap).sum()), float((weight**2 * each).sum())
    if variance <= 1e-15 * float(weight.sum()) ** 2 * max(times, 1.0) ** 2:
        return 0.0 if abs(top) < EDGE * float(weight.sum()) * max(times, 1.0) else float(np.copysign(np.inf, top))
    return top / float(np.sqrt(variance))


def mantel_haenszel(
    table: pd.DataFrame, arm: str, control: str, *, measure: str = "risk ratio", level: float = 0.95
) -> dict[str, Any]:
    """A difference or ratio of shares pooled over strata.

    Parameters
    ----------
    table : DataFrame
        A row a patient: columns `arm`, `event` (bool), `stratum`.
    arm, control : str
    measure : {"risk difference", "risk ratio"}
    level : float

    Returns
    -------
    dict
        As from `score`; `p` is that of the Cochran-Mantel-Haenszel test without continuity correction. Strata without
        patients of both arms say nothing and are left out.

    Raises
    ------
    BadInput
        If no stratum holds patients of both arms.
    """
    group, event = np.asarray(table["arm"], dtype=object), table["event"].to_numpy(float)
    code, strata = pd.factorize(np.asarray(table["stratum"], dtype=object))
    counts = []
    for name in (arm, control):
        mine = group == name
        if not mine.any():
            raise BadInput(f"no patient of {name} is left for the analysis.")
        counts += [np.bincount(code[mine], weight, minlength=len(strata)) for weight in (event[mine], None)]
    x1, n1, x0, n0 = (own.astype(float) for own in counts)
    keep = (n1 > 0) & (n0 > 0)
    if not keep.any():
        raise BadInput(f"no stratum holds patients of both {arm} and {control}.")
    return score(x1[keep], n1[keep], x0[keep], n0[keep], measure=measure, level=level)


# -- the logistic model ------------------------------------------------------------------------------------------------


def odds_ratio(
    table: pd.DataFrame, arm: str, control: str, covariates: Sequence[str] = (), *, level: float = 0.95
) -> dict[str, Any]:
    """Odds ratio by logistic regression on arm, stratum and covariates (maximum likelihood, Wald interval).

    Where an arm has no event, or nothing but events, the estimate is 0 or infinite, with the interval of the profile
    likelihood and the score test. A stratum without an event, or of nothing but events, says nothing of the ratio and
    is left out.

    Parameters
    ----------
    table : DataFrame
        A row a patient: columns `arm`, `event` (bool), optionally `stratum`, and `covariates`.
    arm, control : str
    covariates : sequence of str
        Numbers, entered linearly.
    level : float

    Returns
    -------
    dict
        `estimate`, `low`, `high`, `p`, `std_error` of the logarithm; with an infinite estimate `z` in its place.

    Raises
    ------
    BadInput
        If an arm has no patient left.
    RunFailed
        If the model does not converge, or both arms have no event, or nothing but events.
    """
    both = table[table["arm"].isin([arm, control])].dropna(subset=list(covariates))
    for name in (arm, control):
        if not (both["arm"] == name).any():
            raise BadInput(f"no patient of {name} is left for the analysis.")
    if both["event"].nunique() > 1:
        both = telling(both, both["event"].astype(bool), every=True)
    if both["arm"].nunique() < 2:
        return no_ratio()
    matrix = model_matrix(both, arm, covariates)
    event, mine = both["event"].to_numpy(float), matrix[:, 0] == 1
    rest = np.column_stack([np.ones(len(matrix)), matrix[:, 1:]])
    failed = "the logistic model does not converge: some patients' outcome is determined by the covariates."

    shares = event[mine].mean(), event[~mine].mean()
    certain = [share in (0.0, 1.0) for share in shares]
    none = np.zeros(len(matrix))
    if all(certain) and shares[0] == shares[1]:
        return no_ratio()
    whole, k = np.column_stack([matrix[:, :1], rest]), rest.shape[1]
    if not any(certain) and (found := of_first(lambda b: _logistic(b, whole, event, none), np.zeros(k + 1), failed)):
        slope, _, information = found
        return wald(float(slope[0]), float(np.sqrt(1 / information_of_first(information))), level)
    slope = maximise(lambda b: _logistic(b, rest, event, none), np.zeros(k), failed, determined=False)[0]
    z = _score_of_arm(rest, mine, event, special.expit(rest @ slope))

    def profile(slope: float) -> float:
        offset = slope * matrix[:, 0]
        return highest(lambda b: _logistic(b, rest, event, offset), np.zeros(k), failed)

    side = end_of(profile, [True, True] if not any(certain) else [shares[0] > shares[1], shares[0] < shares[1]])
    return Edge(profile, side, z).found(level) if side else no_ratio()


def no_ratio() -> dict[str, Any]:
    """A ratio of which the data say nothing: no estimate, every ratio possible, p = 1."""
    return {"estimate": np.nan, "low": 0.0, "high": np.inf, "p": 1.0, "z": nothing}


def nothing(value: float) -> float:
    """z of any value where the data say nothing.

    Parameters
    ----------
    value : float
        Any effect.
    """
    return 0.0


def wald(slope: float, error: float, level: float, *, df: float = np.inf) -> dict[str, float]:
    """A ratio from its logarithm and the error of that: `estimate`, `low`, `high`, `p`, `std_error`, `df`.

    Parameters
    ----------
    slope, error, level, df : float
        Infinite degrees of freedom stand for the normal distribution.
    """
    half = float(t_quantile(0.5 + level / 2, df)) * error
    p = 2 * float(t_tail(abs(slope) / error, df))
    ends = {"estimate": float(np.exp(slope)), "low": float(np.exp(slope - half)), "high": float(np.exp(slope + half))}
    return ends | {"p": p, "std_error": error, "df": df}


def _logistic(
    slope: np.ndarray, design: np.ndarray, event: np.ndarray, offset: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    """Log likelihood, score and information of a logistic model."""
    linear = design @ slope + offset
    share = 1 / (1 + np.exp(-np.clip(linear, -700, 700)))
    likelihood = float((event * linear - np.logaddexp(0.0, linear)).sum())
    return likelihood, design.T @ (event - share), (design * (share * (1 - share))[:, None]).T @ design


def _score_of_arm(rest: np.ndarray, mine: np.ndarray, event: np.ndarray, share: np.ndarray) -> float:
    """z of the score test of the arm beside the other columns."""
    whole = np.column_stack([mine, rest])
    variance = information_of_first((whole * (share * (1 - share))[:, None]).T @ whole)
    return float((event - share)[mine].sum() / np.sqrt(variance)) if variance > 1e-9 else 0.0


def model_matrix(table: pd.DataFrame, arm: str, covariates: Sequence[str] = ()) -> np.ndarray:
    """Indicator of the arm, then strata and centred covariates as far as they vary and add something; shape (n, k).

    Parameters
    ----------
    table : DataFrame
        Columns `arm`, optionally `stratum`, and `covariates`.
    arm : str
    covariates : sequence of str
    """
    columns = [(table["arm"] == arm).to_numpy(float)]
    if "stratum" in table:
        strata = table["stratum"].astype(str).to_numpy()
        columns += [(strata == level).astype(float) for level in np.unique(strata)[1:]]
    for name in covariates:
        values = table[name].to_numpy(float)
        if np.ptp(values) > 0:
            columns.append((values - values.mean()) / values.std())
    return np.column_stack([columns[k] for k in independent(columns, 1)])


def telling(table: pd.DataFrame, event: pd.Series, *, every: bool = False) -> pd.DataFrame:
    """The patients whose stratum says something of a ratio: in the others the coefficient of the stratum is infinite.

    Parameters
    ----------
    table : DataFrame
        Optionally with the column `stratum`.
    event : Series of bool
        Whether a patient has an event; some do.
    every : bool
        Whether a stratum in which every patient has one says nothing either.
    """
    if "stratum" not in table:
        return table
    share = event.groupby(table["stratum"].to_numpy()).transform("mean")
    return table[(share > 0) & ((share < 1) | (not every))]


def independent(columns: Sequence[np.ndarray], first: int) -> list[int]:
    """Places of the columns that add something to a constant and the columns before; the first ones always stay.

    Parameters
    ----------
    columns : sequence of ndarray, shape (n,)
    first : int
        How many are not asked.
    """
    kept = list(range(first))
    n = len(columns[0])
    basis = np.empty((len(columns) + 1, n))
    basis[0] = np.ones(n) / np.sqrt(n)
    size = 1
    for k, column in enumerate(columns):
        left = column.astype(float)
        for _ in range(2):  # twice is enough for orthogonality to rounding
            left -= (basis[:size] @ left) @ basis[:size]
        length = float(np.linalg.norm(left))
        if length <= 1e-8 * max(float(np.linalg.norm(column)), 1e-300):
            continue
        basis[size] = left / length
        size += 1
        if k >= first:
            kept.append(k)
    return kept
