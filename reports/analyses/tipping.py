"""Tipping points: how much worse patients who were not seen must have done for a result to be lost.

Of a change by MMRM: values of the last visit that were not seen are imputed as in `imputation`; those of one arm are
then moved by delta to the side of no benefit, in every completed set, and the ANCOVA of the last visit is repeated
(delta adjustment, Ratitch, O'Kelly and Tosiello [1]_; as a stress test, Permutt [2]_). Values of the other arms stay as
they were imputed. As the ANCOVA is linear, its estimate and its residual sum of squares are exact in delta without a
new fit.

Of a responder or an event: patients of one arm who left are made failures, one after another, and the endpoint's own
analysis is repeated.

References
----------
.. [1] Ratitch B, O'Kelly M, Tosiello R. Pharm Stat 2013;12:337-47. doi:10.1002/pst.1549
.. [2] Permutt T. Stat Med 2016;35:2876-9. doi:10.1002/sim.6753 (both recalled)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from ranklsim.cohorts.endpoints import Effect, Endpoint
from ranklsim.cohorts.statistics import mmrm
from ranklsim.cohorts.statistics.ancova import ancova_design
from ranklsim.cohorts.statistics.claims import Claim
from ranklsim.cohorts.statistics.imputation import IMPUTATIONS, last_visit, rubin
from ranklsim.cohorts.statistics.roots import root
from ranklsim.cohorts.statistics.tails import t_quantile, t_tail
from ranklsim.pkpd.errors import BadInput, RunFailed

CURVE = ("arm", "delta", "difference", "low", "high", "p", "holds")
POINTS = ("arm", "n", "imputed", "difference", "p", "delta", "ratio", "imputed_mean", "seen_mean", "note")

NOTHING_TO_LOSE = "What is claimed is not shown, so that there is nothing to lose."
"""Why a result tips before anything is changed."""

_STEPS = 5.0
"""Steps of delta from 0 to the tipping point, at least."""
_FARTHEST = 1e4
"""Of the difference or the SD of residuals, whichever is more: beyond this delta nothing tips."""


@dataclass(frozen=True)
class Tipping:
    """Tipping points of one endpoint.

    Attributes
    ----------
    curve : DataFrame
        Columns `CURVE`: the difference to the reference arm with its interval at even steps of delta (0 or more, taken
        to the side of no benefit), and whether the result still `holds`.
    points : DataFrame
        Columns `POINTS`, a row an arm: `delta` the least at which the result is lost (NaN where there is none, with
        `note`), `ratio` that over the difference, `imputed_mean` of the imputed values at that delta beside
        `seen_mean`, adjusted for nothing.
    """

    curve: pd.DataFrame
    points: pd.DataFrame


def tipping(
    fit: mmrm.Fit,
    wide: pd.DataFrame,
    patients: pd.DataFrame,
    arms: Sequence[str],
    reference: str,
    claim: Claim,
    *,
    higher_is_better: bool = True,
    level: float = 0.05,
    strategy: str = "MAR",
    count: int = IMPUTATIONS,
    seed: int = 0,
) -> Tipping:
    """Tipping point of every arm against the reference.

    Parameters
    ----------
    fit, wide, patients, arms, reference, count, seed
        As for `imputation.analyse`.
    claim : Claim
        Of a difference of means.
    higher_is_better : bool
    level : float
        Two-sided significance level at which the result must hold.
    strategy : str
        Of `imputation.STRATEGIES`: what stands for unseen values before delta.
    """
    y = last_visit(fit, wide, patients, reference, strategy, count, seed)
    gone = wide.iloc[:, -1].isna().to_numpy()
    side = 1.0 if higher_is_better else -1.0
    curves, points = [], []
    for arm in arms:
        if arm == reference:
            continue
        here = (patients["arm"] == arm).to_numpy()
        line = _line(y, patients, arms, (arm, reference), -side * (here & gone))
        imputed = int((here & gone).sum())

        def room(delta: float, line: _Line = line) -> float:
            found = line.at(delta, level)
            return min(
                np.inf if claim.lower is None else found["low"] - claim.lower,
                np.inf if claim.upper is None else claim.upper - found["high"],
            )

        start = line.at(0.0, level)
        scale = max(abs(start["difference"]), line.residual)
        delta, note = _point(room, imputed, scale)
        step = _nice((delta if delta > 0 else scale) / _STEPS)
        end = 1.4 * delta if delta > 0 else scale
        for value in step * np.arange(int(np.ceil(end / step)) + 1 if imputed else 1):
            found = line.at(float(value), level)
            curves.append({"arm": arm, "delta": float(value), **found, "holds": room(float(value)) > 0})
        means = [float(y[here & some].mean()) if (here & some).any() else np.nan for some in (gone, ~gone)]
        points.append(
            {"arm": arm, "n": int(here.sum()), "imputed": imputed, "difference": start["difference"],
             "p": start["p"], "delta": delta, "ratio": delta / abs(start["difference"]),
             "imputed_mean": means[0] - side * delta, "seen_mean": means[1], "note": note}
        )  # fmt: skip
    return Tipping(pd.DataFrame(curves, columns=list(CURVE)), pd.DataFrame(points, columns=list(POINTS)))


@dataclass(frozen=True)
class _Line:
    """A difference of completed sets as a line in delta: `estimates` + delta `slope`, and its variance, a parabola."""

    estimates: np.ndarray
    slope: float
    variance: tuple[np.ndarray, np.ndarray, float]
    residual: float
    df: float

    def at(self, delta: float, level: float) -> dict[str, float]:
        """Difference, its interval and p by Rubin's rules."""
        still, tilt, bend = self.variance
        found = rubin(self.estimates + delta * self.slope, still + 2 * delta * tilt + delta**2 * bend, self.df)
        gap, error = found["estimate"], found["std_error"]
        half = float(t_quantile(1 - level / 2, found["df"])) * error
        p = 2 * float(t_tail(abs(gap) / error, found["df"]))
        return {"difference": gap, "low": gap - half, "high": gap + half, "p": p}


def _line(
    y: np.ndarray, patients: pd.DataFrame, arms: Sequence[str], pair: tuple[str, str], moved: np.ndarray
) -> _Line:
    """ANCOVA of `y` + delta `moved` in every completed set: the first arm of `pair` against the second."""
    matrix, _ = ancova_design(patients, arms)
    inverse = np.linalg.inv(matrix.T @ matrix)
    df = float(len(matrix) - matrix.shape[1])
    contrast = np.zeros(matrix.shape[1])
    contrast[list(arms).index(pair[0])], contrast[list(arms).index(pair[1])] = 1.0, -1.0
    beta, slope = inverse @ matrix.T @ y, inverse @ matrix.T @ moved
    rest, bend = y - matrix @ beta, moved - matrix @ slope
    squares = (rest**2).sum(axis=0)
    unit = float(contrast @ inverse @ contrast) / df
    variance = (squares * unit, (bend @ rest) * unit, float(bend @ bend) * unit)
    return _Line(contrast @ beta, float(contrast @ slope), variance, float(np.sqrt(squares.mean() / df)), df)


# -- of patients who left ----------------------------------------------------------------------------------------------


FAILURES = ("arm", "failures", "effect", "low", "high", "p", "holds")


@dataclass(frozen=True)
class Failures:
    """How many of those who left must have failed.

    Attributes
    ----------
    curve : DataFrame
        Columns `FAILURES`: the effect with so many of an arm's patients who left as failures.
    points : DataFrame
        Columns `arm`, `left` (patients who left without an answer), `failures` (the least number that loses the result;
        NaN where none does), `note`.
    effect_measure : str
    """

    curve: pd.DataFrame
    points: pd.DataFrame
    effect_measure: str


def failures(
    spec: Endpoint,
    table: pd.DataFrame,
    patients: pd.DataFrame,
    arms: Sequence[str],
    control: str,
    *,
    level: float = 0.05,
) -> Failures:
    """How many patients of an arm who left must be failures, and none of control, for the result to be lost.

    Those who left are failures one after another, in the order of their numbers: at first as the analysis has them. A
    failure is the event, at the time of leaving; of a responder, not to have responded.

    Parameters
    ----------
    spec : Endpoint
        A kind with a tipping point by failures
    table : DataFrame
        As from `Endpoint.table`.
    patients : DataFrame
        Of the analysis set, as in a run folder.
    arms : sequence of str
    control : str
    level : float
        Two-sided significance level at which the claim must hold.
    """
    measure = spec.effect_measure
    curves, points = [], []
    for arm in (name for name in arms if name != control):
        left = spec.left(table, patients, arm)

        def row(count: int, arm: str = arm, left: pd.DataFrame = left) -> dict[str, object]:
            try:
                found = spec.effect(_with_failures(table, left, count), arm, control, measure)
            except (BadInput, RunFailed):
                found = dict.fromkeys(("estimate", "low", "high", "p"), np.nan)
            out = {"arm": arm, "failures": count, "effect": found["estimate"], "low": found["low"]}
            return out | {"high": found["high"], "p": found["p"], "holds": _holds(spec, measure, found, level)}

        most = len(left)
        note, count = "", np.nan
        if not row(0)["holds"]:
            note, count = NOTHING_TO_LOSE, 0.0
        elif not most:
            note = "Nobody of this arm left without an answer."
        elif row(most)["holds"]:
            note = f"The result holds even if all {most} patients of this arm who left are failures."
        else:
            low, high = 0, most
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if row(middle)["holds"] else (low, middle)
            count = float(high)
        end = most if not count > 0 else min(most, int(np.ceil(1.4 * count)))
        places = {int(k) for k in np.linspace(0, end, 8).round()} | (
            {int(count) - 1, int(count)} if count > 0 else set()
        )
        curves += [row(k) for k in sorted(places)]
        points.append({"arm": arm, "left": most, "failures": count, "note": note})
    names = ["arm", "left", "failures", "note"]
    return Failures(pd.DataFrame(curves, columns=list(FAILURES)), pd.DataFrame(points, columns=names), measure)


def _with_failures(table: pd.DataFrame, left: pd.DataFrame, count: int) -> pd.DataFrame:
    failed = left.iloc[:count]
    return pd.concat([table[~table["patient"].isin(failed["patient"])], failed], ignore_index=True)


def _holds(spec: Endpoint, measure: str, found: Mapping[str, Any], level: float) -> bool:
    """Whether what is claimed is shown at a two-sided level."""
    return np.isfinite(found["p"]) and replace(spec.claim, level=1 - level).shown(Effect.of(measure, found))


def _point(room: Callable[[float], float], imputed: int, scale: float) -> tuple[float, str]:
    """The least delta at which no room is left, or why there is none."""
    if room(0.0) <= 0:
        return 0.0, NOTHING_TO_LOSE
    if imputed == 0:
        return np.nan, "No value of this arm is imputed."
    low, high = 0.0, 0.1 * scale
    while room(high) > 0:
        low, high = high, 1.5 * high
        if high > _FARTHEST * scale:
            return np.nan, f"The result holds for every delta up to {low:.3g}."
    return root(room, low, high, 1e-6 * scale), ""


def _nice(step: float) -> float:
    """1, 2 or 5 times a power of ten, the nearest that is not more."""
    power = 10.0 ** np.floor(np.log10(step) + 1e-9)
    return float(power * next(k for k in (5, 2, 1) if k * power <= step * (1 + 1e-9)))
