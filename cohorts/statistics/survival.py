"""Time to an event: Kaplan-Meier, cumulative incidence beside a competing event, log-rank, Cox.

Intervals of curves are on the scale log(-log) of the curve itself [1]_, Cox's partial likelihood has Efron's ties [2]_.
With a competing event (death) Cox's hazard ratio is cause-specific: others leave the risk set. The absolute effect is
the difference of cumulative incidences (Aalen and Johansen [3]_) at a month; tests and ratios of them (Gray, Fine and
Gray) are in `competing`.

References
----------
.. [1] Kalbfleisch JD, Prentice RL. The Statistical Analysis of Failure Time Data, 2nd ed., Wiley 2002, section 1.4.
.. [2] Efron B. J Am Stat Assoc 1977;72:557-65. doi:10.1080/01621459.1977.10480613
.. [3] Aalen OO, Johansen S. Scand J Stat 1978;5:141-50.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from ranklsim.cohorts.statistics.likelihood import (
    NONE,
    Edge,
    bounded,
    end_of,
    highest,
    information_of_first,
    maximise,
    of_first,
)
from ranklsim.cohorts.statistics.proportions import FARTHEST, interval_of_score, model_matrix, no_ratio, score, wald
from ranklsim.cohorts.statistics.roots import root
from ranklsim.cohorts.statistics.tails import chi2_tail, normal_quantile, normal_tail
from ranklsim.pkpd.errors import BadInput

CURVE = ("month", "estimate", "low", "high", "std_error")


def kaplan_meier(time: np.ndarray, event: np.ndarray, *, level: float = 0.95) -> pd.DataFrame:
    """Share without the event.

    Parameters
    ----------
    time : ndarray, shape (n,)
        Months to the event, or until which a patient was seen without it.
    event : ndarray of bool, shape (n,)
    level : float

    Returns
    -------
    DataFrame
        Columns `month`, `estimate`, `low`, `high`, `std_error` (Greenwood): from month 0, a row each month at which
        an event happened, and the last month seen; interval on the scale log(-log), NaN before the first event.
    """
    curve = cumulative_incidence(time, np.asarray(event, int), level=level)
    share = {"estimate": 1 - curve["estimate"], "std_error": curve["std_error"]}
    low, high = _log_log(share["estimate"].to_numpy(), share["std_error"].to_numpy(), level)
    first = curve["estimate"].to_numpy() == 0
    ends = {"low": np.where(first, 1.0, low), "high": np.where(first, 1.0, high)}
    return curve.assign(**share, **ends)[list(CURVE)]


def _log_log(share: np.ndarray, error: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    z = normal_quantile(0.5 + level / 2)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        half = z * error / (share * np.abs(np.log(share)))
        low, high = share ** np.exp(half), share ** np.exp(-half)
    known = (share > 0) & (share < 1) & np.isfinite(error)
    return np.where(known, low, np.nan), np.where(known, high, np.nan)


def cumulative_incidence(time: np.ndarray, cause: np.ndarray, *, of: int = 1, level: float = 0.95) -> pd.DataFrame:
    """Share with one of several competing events (Aalen and Johansen), variance by the delta method.

    Parameters
    ----------
    time : ndarray, shape (n,)
    cause : ndarray of int, shape (n,)
        0 seen without any event, 1, 2, ... the event that came first.
    of : int
        Event asked for.
    level : float

    Returns
    -------
    DataFrame
        As from `kaplan_meier`, of the share with the event; `std_error` is that of Aalen (1978), which is the binomial
        one where nobody is censored.
    """
    time, cause = np.asarray(time, float), np.asarray(cause, int)
    if not time.size:
        return pd.DataFrame([], columns=list(CURVE))
    months = np.unique(time[cause > 0])
    at_risk = time.size - np.searchsorted(np.sort(time), months, side="left")
    every, own = (
        np.bincount(np.searchsorted(months, time[some]), minlength=months.size).astype(float)
        for some in (cause > 0, cause == of)
    )
    survival = np.cumprod(1 - every / at_risk)
    before = np.concatenate([[1.0], survival[:-1]])
    share = np.cumsum(before * own / at_risk)
    greenwood = np.where(at_risk > every, every / (at_risk * np.maximum(at_risk - every, 1.0)), 0.0)
    binomial, mixed = before**2 * own * (at_risk - own) / at_risk.astype(float) ** 3, before * own / at_risk**2
    # The sums over earlier times of (gap² greenwood + binomial - 2 gap mixed), with gap = share - earlier share.
    variance = share**2 * np.cumsum(greenwood) - 2 * share * np.cumsum(share * greenwood + mixed)
    variance += np.cumsum(share**2 * greenwood + binomial + 2 * share * mixed)
    # The sums cancel; what is left below their rounding is zero.
    error = np.sqrt(np.where(variance > 1e-14, variance, 0.0))
    low, high = _log_log(share, error, level)
    steps = np.column_stack([months, share, low, high, error])
    steps = np.concatenate([np.zeros((1, len(CURVE))), steps])
    if time.max() > steps[-1, 0]:
        steps = np.concatenate([steps, [[time.max(), *steps[-1, 1:]]]])
    return pd.DataFrame(steps, columns=list(CURVE))


def at_month(curve: pd.DataFrame, month: float) -> dict[str, float]:
    """The row of a step curve that holds at a month; NaN where nobody was seen that long.

    Parameters
    ----------
    curve : DataFrame
        Rows in order of `month`.
    month : float
        The month.
    """
    months = curve["month"].to_numpy(float)
    known = np.searchsorted(months, month + 1e-9, side="right")
    if not known or months[-1] < month - 1e-9:
        return dict.fromkeys(CURVE[1:], np.nan)
    return {name: float(curve[name].to_numpy()[known - 1]) for name in CURVE[1:]}


def numbers_at_risk(time: np.ndarray, months: Sequence[float]) -> np.ndarray:
    """Patients seen without the event up to each month (those who leave or have it at the month itself included).

    Parameters
    ----------
    time : ndarray, shape (n,)
        Months until the event or the end of follow-up of each patient.
    months : sequence of float
        When to count.
    """
    return np.array([int((np.asarray(time) >= month).sum()) for month in months])


def log_rank(table: pd.DataFrame, arms: Sequence[str], *, stratified: bool = False) -> dict[str, float]:
    """Log-rank test between arms, stratified if asked.

    Parameters
    ----------
    table : DataFrame
        A row a patient: `arm`, `time`, `event` (bool), and `stratum` if stratified.
    arms : sequence of str
        Two or more.
    stratified : bool

    Returns
    -------
    dict
        `chi2`, `df`, `p`; NaN where there is no event.

    Raises
    ------
    BadInput
        If an arm has no patient left.
    """
    own = table[table["arm"].isin(list(arms))]
    refuse_empty(own, arms)
    score, variance = np.zeros(len(arms)), np.zeros((len(arms), len(arms)))
    for part in strata_of(own, stratified):
        events, risk = _sets(part, arms)
        total, at_risk = events.sum(axis=1), risk.sum(axis=1)
        share = risk / at_risk[:, None]
        each = total * (at_risk - total) / np.maximum(at_risk - 1, 1)
        score += (events - total[:, None] * share).sum(axis=0)
        variance += np.diag((each[:, None] * share).sum(axis=0)) - (share * each[:, None]).T @ share
    out = {"chi2": np.nan, "df": float(len(arms) - 1), "p": np.nan}
    score, variance = score[:-1], variance[:-1, :-1]  # scores add up to zero
    if np.linalg.matrix_rank(variance) < len(score):
        return out
    chi2 = float(score @ np.linalg.solve(variance, score))
    return out | {"chi2": chi2, "p": float(chi2_tail(chi2, len(score)))}


def log_rank_ratio(
    table: pd.DataFrame, arm: str, control: str, *, stratified: bool = False, level: float = 0.95
) -> dict[str, Any]:
    """Hazard ratio of two arms with the interval of the log-rank test.

    The score of a hazard ratio is the log-rank statistic with expectations and variances under it (hypergeometric
    variance of ties). Of a ratio of 1 it is the log-rank test itself, so that the interval never contradicts the test,
    and an arm may have no event.

    Parameters
    ----------
    table, arm, control, stratified
        As for `cox`.
    level : float

    Returns
    -------
    dict
        `estimate` (where the score is zero), `low`, `high`, `p` of the log-rank test, and `z`, from a ratio to its
        signed score.

    Raises
    ------
    BadInput
        If an arm has no patient left.
    """
    own = table[table["arm"].isin([arm, control])]
    refuse_empty(own, (arm, control))
    pairs = [_sets(part, (arm, control)) for part in strata_of(own, stratified)]
    events, risk = (np.concatenate([pair[k] for pair in pairs]) for k in (0, 1))
    keep = (risk > 0).all(axis=1)  # with one arm left, a time says nothing
    z = partial(_log_rank_score, events[keep], risk[keep])
    seen = events[keep].sum(axis=0)
    if not seen.any():
        return no_ratio()
    low, high = interval_of_score(z, "risk ratio", level)
    estimate = 0.0 if not seen[0] else np.inf
    if seen.all() and abs(z(np.exp(-FARTHEST))) > 0:
        estimate = float(np.exp(root(lambda slope: z(np.exp(slope)), -FARTHEST, FARTHEST, 1e-12)))
    p = 2 * float(normal_tail(abs(z(1.0))))
    return {"estimate": estimate, "low": low, "high": high, "p": p, "z": z}


def _log_rank_score(events: np.ndarray, risk: np.ndarray, ratio: float) -> float:
    total, n = events.sum(axis=1), risk.sum(axis=1)
    share = ratio * risk[:, 0] / (ratio * risk[:, 0] + risk[:, 1])
    variance = float((total * (n - total) / np.maximum(n - 1, 1) * share * (1 - share)).sum())
    return float((events[:, 0] - total * share).sum()) / float(np.sqrt(variance)) if variance > 0 else 0.0


def _sets(table: pd.DataFrame, arms: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Events and patients at risk by event time and arm, shapes (n_times, n_arms)."""
    time, event = table["time"].to_numpy(float), table["event"].to_numpy(bool)
    group, at = table["arm"].to_numpy(str), np.unique(time[event])
    counts, risk = np.zeros((at.size, len(arms))), np.zeros((at.size, len(arms)))
    for k, name in enumerate(arms):
        mine = np.sort(time[group == name])
        risk[:, k] = mine.size - np.searchsorted(mine, at)
        counts[:, k] = np.bincount(np.searchsorted(at, time[(group == name) & event]), minlength=at.size)
    return counts, risk


def strata_of(table: pd.DataFrame, stratified: bool) -> list[pd.DataFrame]:
    """The parts of a table in which patients are compared.

    Parameters
    ----------
    table : DataFrame
    stratified : bool
        Whether by column `stratum`.
    """
    return [part for _, part in table.groupby("stratum", observed=True)] if stratified else [table]


def cox(
    table: pd.DataFrame,
    arm: str,
    control: str,
    covariates: Sequence[str] = (),
    *,
    stratified: bool = False,
    level: float = 0.95,
) -> dict[str, Any]:
    """Hazard ratio of an arm to control.

    Where an arm has no event the ratio is 0 or infinite, with the interval of the profile likelihood and the score
    test.

    Parameters
    ----------
    table : DataFrame
        As for `log_rank`, with `covariates` (numbers, entered linearly).
    arm, control : str
    covariates : sequence of str
    stratified : bool
        Whether each stratum has a baseline hazard of its own.
    level : float

    Returns
    -------
    dict
        `estimate`, `low`, `high` (Wald, on the log scale), `p`, `std_error` of the logarithm; with an infinite estimate
        `z` in its place.

    Raises
    ------
    BadInput
        If an arm has no patient left.
    RunFailed
        If the model does not converge.
    """
    own = of_two_arms(table, arm, control, covariates)
    group, event = np.asarray(own["arm"], dtype=object), own["event"].to_numpy(bool)
    seen = {name: bool(event[group == name].any()) for name in (arm, control)}
    if not any(seen.values()):
        return no_ratio()
    matrix = model_matrix(own[["arm", *covariates]], arm, covariates)
    time, strata = own["time"].to_numpy(float), np.zeros(len(own), dtype=np.int64)
    if stratified:
        strata = pd.factorize(np.asarray(own["stratum"], dtype=object), sort=True)[0]
    places = [np.flatnonzero(strata == k) for k in range(strata.max() + 1)]
    parts = [_Risks(time[some], event[some], matrix[some]) for some in places]

    def look(slope: np.ndarray, offset: float = 0.0, first: int = 0) -> tuple[float, np.ndarray, np.ndarray]:
        found = [part.look(slope, offset, first) for part in parts]
        return sum(f[0] for f in found), sum(f[1] for f in found), sum(f[2] for f in found)  # type: ignore[return-value]

    failed, k = "the Cox model does not converge: the strata leave too few events.", matrix.shape[1]
    if all(seen.values()) and (found := of_first(look, np.zeros(k), failed)):
        slope, _, information = found
        return wald(float(slope[0]), float(np.sqrt(1 / information_of_first(information))), level)

    def profile(slope: float) -> float:
        return highest(lambda rest: look(rest, slope, 1), np.zeros(k - 1), failed)

    rest = maximise(lambda rest: look(rest, 0.0, 1), np.zeros(k - 1), failed, determined=False)[0]
    _, score, information = look(np.concatenate([[0.0], rest]))
    variance, side = information_of_first(information), end_of(profile, list(seen.values()))
    if not (variance > NONE and side):
        return no_ratio()  # the strata leave no event to compare
    return Edge(profile, side, float(score[0] / np.sqrt(variance))).found(level)


class _Risks:
    """Patients who share a baseline hazard: Cox's partial likelihood with Efron's ties [2]_.

    Parameters
    ----------
    time, event : ndarray, shape (n,)
    Z : ndarray, shape (n, k)
    """

    def __init__(self, time: np.ndarray, event: np.ndarray, Z: np.ndarray) -> None:
        order = np.argsort(-time, kind="stable")
        time, event, self.Z = time[order], event[order], Z[order]
        self.event = event
        at, place, count = np.unique(time[event], return_inverse=True, return_counts=True)
        self.place, self.at = place, at
        self.risk = np.searchsorted(-time, -at, side="right")  # how many have a time as late, the latest first
        before = np.zeros(at.size, dtype=int)
        self.spell = np.repeat(np.arange(at.size), count)
        before[1:] = np.cumsum(count)[:-1]
        self.tied = (np.arange(self.spell.size) - before[self.spell]) / count[self.spell]

    def look(self, slope: np.ndarray, offset: float, first: int) -> tuple[float, np.ndarray, np.ndarray]:
        """Log likelihood, score and information of the columns from `first` on; `offset` is the slope of the first."""
        Z = self.Z[:, first:]
        predictor = bounded(Z @ slope + (offset * self.Z[:, 0] if first else 0.0))
        e, k = np.exp(predictor), Z.shape[1]
        products = np.column_stack([np.ones(len(Z)), Z, (Z[:, :, None] * Z[:, None, :]).reshape(len(Z), k * k)])
        weighted = e[:, None] * products
        total = np.concatenate([np.zeros((1, weighted.shape[1])), np.cumsum(weighted, axis=0)])[self.risk]
        died = np.zeros((self.at.size, weighted.shape[1]))
        np.add.at(died, self.place, weighted[self.event])
        sums = total[self.spell] - self.tied[:, None] * died[self.spell]
        zero = sums[:, 0]
        mean = sums[:, 1 : k + 1] / zero[:, None]
        square = (sums[:, k + 1 :] / zero[:, None]).reshape(len(sums), k, k)
        likelihood = float(predictor[self.event].sum() - np.log(zero).sum())
        score = Z[self.event].sum(axis=0) - mean.sum(axis=0)
        return likelihood, score, square.sum(axis=0) - mean.T @ mean


def of_two_arms(table: pd.DataFrame, arm: str, control: str, covariates: Sequence[str]) -> pd.DataFrame:
    """Patients of two arms whose covariates are known.

    Parameters
    ----------
    table : DataFrame
    arm, control : str
    covariates : sequence of str

    Raises
    ------
    BadInput
        If an arm has no patient left.
    """
    own = table
    if set(table["arm"].unique()) != {arm, control}:
        own = table[table["arm"].isin([arm, control])]
    own = own.dropna(subset=list(covariates)) if covariates else own
    refuse_empty(own, (arm, control))
    return own.reset_index(drop=True)


def incidence_contrast(
    table: pd.DataFrame, arm: str, control: str, month: float, *, ratio: bool = False, level: float = 0.95
) -> dict[str, Any]:
    """Cumulative incidence at a month, of an arm against that of control: difference, or ratio.

    Where an arm has no event, or nothing but events, an incidence has no standard error. The test and the interval are
    then those of Miettinen and Nurminen's score, with the effective number of patients of each arm: that of a share
    with the same variance, or those followed up to the month.

    Parameters
    ----------
    table : DataFrame
        A row a patient: `arm`, `time`, `cause` (0 none, 1 the event, 2 a competing one).
    arm, control : str
    month : float
    ratio : bool
        Whether the ratio is asked, with its interval on the log scale.
    level : float

    Returns
    -------
    dict
        `estimate`, `low`, `high`, `p`, and `std_error` (of the logarithm of a ratio) of the Wald test, or `z` of the
        score.

    Raises
    ------
    BadInput
        If an arm has no patient left, or nobody of it was followed so long.
    """
    refuse_empty(table, (arm, control))
    found, size = {}, {}
    for name in (arm, control):
        own = table[table["arm"] == name]
        time = own["time"].to_numpy(float)
        found[name] = at_month(cumulative_incidence(time, own["cause"].to_numpy()), month)
        if np.isnan(found[name]["estimate"]):
            raise BadInput(f"no patient of {name} was followed for {month:g} months.")
        share, error = found[name]["estimate"], found[name]["std_error"]
        followed = (time >= month - 1e-9) | (own["cause"].to_numpy() > 0)
        size[name] = share * (1 - share) / error**2 if error > 0 else float(followed.sum())
    here, there = found[arm], found[control]
    measure = "risk ratio" if ratio else "risk difference"
    if not (here["std_error"] > 0 and there["std_error"] > 0):
        x1, n1, x0, n0 = (
            np.array([k]) for name in (arm, control) for k in (size[name] * found[name]["estimate"], size[name])
        )
        return score(x1, n1, x0, n0, measure=measure, level=level)
    if ratio:
        gap = float(np.log(here["estimate"] / there["estimate"]))
        relative = [at["std_error"] / at["estimate"] for at in (here, there)]
        return wald(gap, float(np.linalg.norm(relative)), level)
    gap, error = here["estimate"] - there["estimate"], float(np.hypot(here["std_error"], there["std_error"]))
    half = float(normal_quantile(0.5 + level / 2)) * error
    p = 2 * float(normal_tail(abs(gap) / error))
    return {"estimate": gap, "low": gap - half, "high": gap + half, "p": p, "std_error": error}


def refuse_empty(table: pd.DataFrame, arms: Sequence[str]) -> None:
    """Complain of an arm that has no patient.

    Parameters
    ----------
    table : DataFrame
        One row for each patient, with `arm`.
    arms : sequence of str
        Arms that must have a patient.
    """
    here = set(table["arm"].unique())
    for name in arms:
        if name not in here:
            raise BadInput(f"no patient of {name} is left for the analysis.")
