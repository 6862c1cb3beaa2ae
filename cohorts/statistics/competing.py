"""Comparison of arms beside a competing event: Gray's test, Fine and Gray's regression.

Both ask about the subdistribution hazard of an event, the hazard that its cumulative incidence alone implies:
whoever had a competing event (death) stays at risk, so that an effect on it is an effect on how many ever have the
event. Gray's test [1]_ compares it between arms, Fine and Gray's model [2]_ estimates its ratio. Who stays at risk
after a competing event at u counts at t > u with weight G(t-) / G(u-), where G is the Kaplan-Meier curve of being
still followed: how likely she would not have left in the meantime. G is that of the patient's arm and stratum, since
arms may be left at different rates. With strata each has a baseline of its own [3]_. The variance is the sandwich
that knows that G is estimated (equations 7 and 8 of [2]_); ties are Breslow's, as in R's cmprsk, with which estimates,
errors and tests agree. statsmodels (0.15.0) has the cumulative incidence, and no weights in its Cox model.

References
----------
.. [1] Gray RJ. Ann Stat 1988;16:1141-54. doi:10.1214/aos/1176350951
.. [2] Fine JP, Gray RJ. J Am Stat Assoc 1999;94:496-509. doi:10.1080/01621459.1999.10474144
.. [3] Zhou B, Latouche A, Rocha V, Fine J. Biometrics 2011;67:661-70. doi:10.1111/j.1541-0420.2010.01493.x
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ranklsim.cohorts.statistics.likelihood import (
    NONE,
    Edge,
    bounded,
    end_of,
    highest,
    information_of_first,
    maximise,
    of_first,
    of_others,
)
from ranklsim.cohorts.statistics.proportions import model_matrix, no_ratio, wald
from ranklsim.cohorts.statistics.survival import of_two_arms, refuse_empty, strata_of
from ranklsim.cohorts.statistics.tails import chi2_tail

Array = NDArray[np.float64]


def gray(table: pd.DataFrame, arms: Sequence[str], *, stratified: bool = False) -> dict[str, float]:
    """Gray's test that an event has the same cumulative incidence in every arm (rho = 0).

    Parameters
    ----------
    table : DataFrame
        A row a patient: `arm`, `time`, `cause` (0 none, 1 the event, 2 a competing one), and `stratum` if stratified.
    arms : sequence of str
        Two or more.
    stratified : bool
        Whether scores and variances are those within strata, added up.

    Returns
    -------
    dict
        `chi2`, `df`, `p`; NaN where there is no event, or no two arms are at risk together; `z` of two arms, positive
        where the first has more events.

    Raises
    ------
    BadInput
        If an arm has no patient left.
    """
    own = table[table["arm"].isin(list(arms))]
    refuse_empty(own, arms)
    score, variance = np.zeros(len(arms)), np.zeros((len(arms), len(arms)))
    for part in strata_of(own, stratified):
        group = part["arm"].map({name: k for k, name in enumerate(arms)}).to_numpy(int)
        more = _gray_score(part["time"].to_numpy(float), part["cause"].to_numpy(int), group, len(arms))
        score, variance = score + more[0], variance + more[1]
    score, variance = score[:-1], variance[:-1, :-1]  # scores add up to zero
    out = {"chi2": np.nan, "df": float(len(arms) - 1), "p": np.nan}
    if not (np.isfinite(variance).all() and variance.any() and np.linalg.matrix_rank(variance) == len(variance)):
        return out
    chi2 = float(score @ np.linalg.solve(variance, score))
    z = {"z": float(score[0] / np.sqrt(variance[0, 0]))} if len(arms) == 2 else {}
    return out | {"chi2": chi2, "p": float(chi2_tail(chi2, len(score)))} | z


def _gray_score(time: Array, cause: NDArray[np.int64], group: NDArray[np.int64], n: int) -> tuple[Array, Array]:
    """Score of each group and its variance in one stratum (section 2 and appendix of Gray 1988)."""
    at = np.unique(time[cause > 0])
    if not at.size:
        return np.zeros(n), np.zeros((n, n))

    def counts(which: NDArray[np.bool_], of: int) -> Array:
        return np.bincount(np.searchsorted(at, time[which & (group == of)]), minlength=at.size)[: at.size].astype(float)

    own = np.column_stack([counts(cause == 1, g) for g in range(n)])  # events at each time, by group
    other = np.column_stack([counts(cause > 1, g) for g in range(n)])
    risk = np.column_stack([(group == g).sum() - np.searchsorted(np.sort(time[group == g]), at) for g in range(n)])
    seen = risk > 0
    step = np.divide(own + other, risk, out=np.zeros(own.shape), where=seen)
    after = np.cumprod(1 - step, axis=0)  # without any event, just after
    before = np.vstack([np.ones(n), after[:-1]])
    incidence = np.cumsum(np.divide(before * own, risk, out=np.zeros(own.shape), where=seen), axis=0)
    incidence = np.vstack([np.zeros(n), incidence[:-1]])  # just before
    h = np.divide(risk, before, out=np.zeros(own.shape), where=seen)
    at_risk, total = h * (1 - incidence), h.sum(axis=1)  # of the subdistribution by group; sum of h
    events = own.sum(axis=1)
    score = (own - at_risk * (events / at_risk.sum(axis=1))[:, None]).sum(axis=0)

    pooled = np.cumsum(events / total)  # incidence under the hypothesis
    earlier = np.concatenate([[0.0], pooled[:-1]])
    a = h[:, :, None] * (np.eye(n) - (h / total[:, None])[:, None, :])
    with np.errstate(divide="ignore", invalid="ignore"):  # where an arm has lost everybody, it may pass 1: no test
        c = np.cumsum(a * (events / (total * (1 - earlier)))[:, None, None], axis=0)
    rest = c[-1] - c  # still to come
    share = np.divide((1 - pooled)[:, None], after, out=np.zeros(own.shape), where=after > 0)
    b = a + (1 - share)[:, None, :] * rest
    b_other = share[:, None, :] * rest
    # Variance of each step of the two incidences, less what is tied.
    expected = before**2 * np.divide(h, total[:, None] * risk.astype(float) ** 2, out=np.zeros(own.shape), where=seen)
    tied = _untied(events[:, None], total[:, None] * before)
    found = np.einsum("tik,tjk,tk->ij", b, b, expected * events[:, None] * tied)
    spread = np.divide(before**2 * other, risk.astype(float) ** 2, out=np.zeros(own.shape), where=seen & (after > 0))
    return score, found + np.einsum("tik,tjk,tk->ij", b_other, b_other, spread * _untied(other, risk))


def _untied(events: Array, risk: Array) -> Array:
    """Share of a binomial variance that is left where several happen at once."""
    shape = np.broadcast_shapes(events.shape, risk.shape)
    return 1 - np.divide(events - 1, risk - 1.0, out=np.zeros(shape), where=(events > 1) & (risk > 1))


def fine_gray(
    table: pd.DataFrame,
    arm: str,
    control: str,
    covariates: Sequence[str] = (),
    *,
    stratified: bool = False,
    left_alike: bool = False,
    level: float = 0.95,
) -> dict[str, Any]:
    """Ratio of the subdistribution hazards of an arm and control.

    As `survival.cox` in what it takes (with `cause`, as for `gray`) and gives. Where an arm has no event, the ratio is
    0 or infinite, with the interval of the profile likelihood and Gray's test.

    Parameters
    ----------
    table, arm, control, covariates, stratified, level
        As for `survival.cox`.
    left_alike : bool
        Whether both arms share one curve of being still followed, as R's cmprsk has it unless told otherwise.
    """
    own = of_two_arms(table, arm, control, covariates)
    matrix = model_matrix(own.drop(columns="stratum", errors="ignore"), arm, covariates)
    parts = [
        _Stratum(
            part["time"].to_numpy(float),
            part["cause"].to_numpy(int),
            matrix[part.index],
            (part["arm"] == arm).to_numpy(int) * (not left_alike),
        )
        for part in strata_of(own, stratified)
    ]
    parts = [part for part in parts if part.at.size]
    seen = [bool(((own["arm"] == name) & (own["cause"] == 1)).any()) for name in (arm, control)]
    if not any(seen):
        return no_ratio()
    k, failed = matrix.shape[1], "the Fine-Gray model does not converge: the strata leave too few events."

    def look(slope: Array) -> tuple[float, Array, Array]:
        found = [part.look(slope) for part in parts]
        return sum(f[0] for f in found), sum(f[1] for f in found), sum(f[2] for f in found)  # type: ignore[return-value]

    def beside(slope: float, rest: Array) -> tuple[float, Array, Array]:
        likelihood, score, information = look(np.concatenate([[slope], rest]))
        return likelihood, score[1:], information[1:, 1:]

    if all(seen) and (found := of_first(look, np.zeros(k), failed)):
        slope, _, information = found
        influence = np.concatenate([part.influence(slope) for part in parts])
        own = influence[:, 0] - influence[:, 1:] @ of_others(information)
        error = float(np.linalg.norm(own)) / information_of_first(information)
        if error > 0:
            return wald(float(slope[0]), error, level)

    def profile(slope: float) -> float:
        return highest(lambda rest: beside(slope, rest), np.zeros(k - 1), failed)

    tested, side = gray(table, [arm, control], stratified=stratified), end_of(profile, seen)
    if "z" not in tested:  # the model's own score, at no effect of the arm
        rest = maximise(lambda rest: beside(0.0, rest), np.zeros(k - 1), failed, determined=False)[0]
        _, score, information = look(np.concatenate([[0.0], rest]))
        known = information_of_first(information)
        tested["z"] = float(score[0] / np.sqrt(known)) if known > NONE else np.nan
    return Edge(profile, side, tested["z"]).found(level) if side and np.isfinite(tested["z"]) else no_ratio()


class _Stratum:
    """Patients who share a baseline: weighted partial likelihood of Fine and Gray.

    Parameters
    ----------
    time : ndarray, shape (n,)
    cause : ndarray of int, shape (n,)
    Z : ndarray, shape (n, k)
    group : ndarray of int, shape (n,)
        Patients who leave alike.
    """

    def __init__(self, time: Array, cause: NDArray[np.int64], Z: Array, group: NDArray[np.int64]) -> None:
        self.time, self.cause, self.Z = time, cause, Z
        self.at, self.place = np.unique(time[cause == 1], return_inverse=True)
        self.events = np.bincount(self.place, minlength=self.at.size).astype(float)
        self.groups = [np.flatnonzero(group == g) for g in np.unique(group)]
        self.staying = [_followed(time[rows], cause[rows] == 0) for rows in self.groups]

    def _sums(self, weight: Array) -> Array:
        """Of a quantity, over those at risk at each event time; shape (n_events, ...)."""
        out = np.zeros((self.at.size, *weight.shape[1:]))
        for rows, stay in zip(self.groups, self.staying, strict=True):
            order = rows[np.argsort(self.time[rows], kind="stable")]
            out += _from_above(self.time[order], weight[order], self.at)
            gone = order[self.cause[order] > 1]
            if gone.size:
                kept = weight[gone] / _wide(stay(self.time[gone]), weight)
                out += _wide(stay(self.at), weight) * _below(self.time[gone], kept, self.at)
        return out

    def look(self, slope: Array) -> tuple[float, Array, Array]:
        """Log likelihood, score and information at a slope."""
        predictor = bounded(self.Z @ slope)
        e = np.exp(predictor)
        own = self.cause == 1
        zero = self._sums(e)
        mean = self._sums(e[:, None] * self.Z) / zero[:, None]
        square = self._sums(e[:, None, None] * self.Z[:, :, None] * self.Z[:, None, :]) / zero[:, None, None]
        likelihood = predictor[own].sum() - self.events @ np.log(zero)
        score = self.Z[own].sum(axis=0) - self.events @ mean
        information = np.einsum("t,tij->ij", self.events, square - mean[:, :, None] * mean[:, None, :])
        return float(likelihood), score, information

    def influence(self, slope: Array) -> Array:
        """What each patient adds to the score, with what she adds through the weights; shape (n, k)."""
        e = np.exp(self.Z @ slope)
        zero = self._sums(e)
        mean = self._sums(e[:, None] * self.Z) / zero[:, None]
        own = self.cause == 1
        hazard = self.events / zero  # step of the baseline
        step = hazard[:, None] * np.column_stack([np.ones(self.at.size), mean])
        total = _since_start(step)
        upto = total[np.searchsorted(self.at, self.time, side="right")]
        out = -e[:, None] * (self.Z * upto[:, :1] - upto[:, 1:])
        out[own] += self.Z[own] - mean[self.place]
        for rows, stay in zip(self.groups, self.staying, strict=True):
            total = _since_start(stay(self.at)[:, None] * step)

            gone = rows[self.cause[rows] > 1]
            kept = e[gone] / stay(self.time[gone])
            later = total[-1] - total[np.searchsorted(self.at, self.time[gone], side="right")]
            out[gone] -= kept[:, None] * (self.Z[gone] * later[:, :1] - later[:, 1:])
            left = np.unique(self.time[rows[self.cause[rows] == 0]])
            if not (left.size and gone.size):
                continue
            # How the score moves with the hazard of leaving at each time (q of the paper), over those at risk.
            order = gone[np.argsort(self.time[gone], kind="stable")]
            kept = e[order] / stay(self.time[order])
            sums = _below(self.time[order], kept[:, None] * np.column_stack([np.ones(order.size), self.Z[order]]), left)
            later = total[-1] - total[np.searchsorted(self.at, left, side="left")]
            q = sums[:, 1:] * later[:, :1] - sums[:, :1] * later[:, 1:]
            times = np.sort(self.time[rows])
            risk = times.size - np.searchsorted(times, left)
            number = np.bincount(np.searchsorted(left, self.time[rows[self.cause[rows] == 0]]), minlength=left.size)
            drift = _since_start(q * (number / risk.astype(float) ** 2)[:, None])
            out[rows] -= drift[np.searchsorted(left, self.time[rows], side="right")]
            leavers = rows[self.cause[rows] == 0]
            k = np.searchsorted(left, self.time[leavers])
            out[leavers] += q[k] / risk[k][:, None]
        return out


class _followed:
    """Kaplan-Meier share of those still followed, just before a time; censoring comes after events at the same time."""

    def __init__(self, time: Array, left: NDArray[np.bool_]) -> None:
        self.at = np.unique(time[left])
        order = np.sort(time)
        risk = time.size - np.searchsorted(order, self.at)
        number = np.bincount(np.searchsorted(self.at, time[left]), minlength=self.at.size)
        self.share = np.concatenate([[1.0], np.cumprod(1 - number / risk)])

    def __call__(self, when: Array) -> Array:
        return self.share[np.searchsorted(self.at, when, side="left")]


def _wide(values: Array, like: Array) -> Array:
    """Values in the first dimension of an array with as many as `like`."""
    return values.reshape(-1, *[1] * (like.ndim - 1))


def _since_start(step: Array) -> Array:
    """Sums of the first 0, 1, 2, ... rows."""
    return np.concatenate([np.zeros((1, *step.shape[1:])), np.cumsum(step, axis=0)])


def _below(time: Array, weight: Array, at: Array) -> Array:
    """Sum of `weight`, in the order of `time`, before each time."""
    return _since_start(weight)[np.searchsorted(time, at, side="left")]


def _from_above(time: Array, weight: Array, at: Array) -> Array:
    """Sum of `weight`, in the order of `time`, at each time or later."""
    total = _since_start(weight[::-1])  # from the last, since a difference of sums would lose what is small
    return total[time.size - np.searchsorted(time, at, side="left")]
