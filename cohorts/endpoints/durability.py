"""Durability: what lasts of a gain in BMD, or how high a marker rises, after the end of treatment.

Everything is read off an arm's mean BMD (median marker) by visit, linear between visits, as
`ranklsim.cohorts.durability` defines it; intervals are percentiles of a bootstrap over patients [1]_, those of a
difference from independent resamples of the two arms. The truth is that of the arm's mean (median) true curve, its
error a delete-a-group jackknife.

References
----------
.. [1] Efron B, Tibshirani RJ. An Introduction to the Bootstrap, Chapman & Hall 1993, chapter 13.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from ranklsim.cohorts.durability import RISE, at_month, crossing_month, share_kept
from ranklsim.cohorts.endpoints.base import Analysed, Data, Endpoint, Result, Setting, World, jackknife
from ranklsim.cohorts.endpoints.estimands import Estimand
from ranklsim.cohorts.endpoints.reading import Plan
from ranklsim.cohorts.measures import BMD_MEASURES, MARKER_MEASURES
from ranklsim.cohorts.measures import MEASURES as MEASURED
from ranklsim.cohorts.statistics import summaries
from ranklsim.cohorts.statistics.claims import Effect
from ranklsim.cohorts.statistics.durability import bootstrap_means, curves_of, once, percentiles, resampled, resampling
from ranklsim.cohorts.statistics.summaries import BOOTSTRAPS
from ranklsim.cohorts.words import MEASURES
from ranklsim.pkpd.errors import one_of
from ranklsim.pkpd.reading import Shape, Table

COLUMNS = ("arm", "n", "estimate", "low", "high", "effect", "effect_low", "effect_high", "note")

DURABILITY = {
    "months back": ("mo", "months from the end of treatment until BMD is back at baseline"),
    "share kept": ("%", "share of the gain in BMD that is kept"),
    "area": ("%-months", "area of BMD (or a marker) above baseline after the end of treatment"),
    "peak": ("%", "highest marker after the end of treatment, percent of baseline"),
    "peak month": ("mo", "months from the end of treatment to the highest marker"),
}
"""What may be asked of the time after the end of treatment: unit and meaning."""

_UNIT_OF = {
    "months back": "months after the end of treatment",
    "share kept": "% of the gain",
    "area": "%-months",
    "peak": "% of baseline",
    "peak month": "months after the end of treatment",
}


@dataclass(frozen=True, kw_only=True)
class Durability(Endpoint):
    """One of `DURABILITY` of a measure; `after` is months since the end of treatment, for a share kept."""

    key = "durability"
    plural = "Durability"
    analyses: ClassVar[Mapping[str, str]] = {"bootstrap": "difference"}
    of_patients = False
    after_treatment = True
    concludes = False
    shape = Shape({"of": '"BMD_TH"', "what": '"share kept"', "after": '"12 mo"'}, needed=("of", "what"))
    example = '{ of = "BMD_TH", what = "share kept", after = "12 mo" }'

    measure: str
    what: str
    after: float | None = None

    @classmethod
    def read(cls, table: Table, plan: Plan) -> dict[str, Any] | None:
        what, of = table.choice("what", tuple(DURABILITY), None), table.text("of", None)
        after = table.quantity("after", "mo", None, above=0)
        if what is None or of is None:
            return None
        known = {"peak": MARKER_MEASURES, "peak month": MARKER_MEASURES, "area": MEASURED}.get(what, BMD_MEASURES)
        if of not in known:
            table.fault("of", f"'{of}' has no {what}; use {one_of(known)}.")
        elif what == "share kept" and "after" not in table:
            table.fault((), '`after` is missing; give after = "12 mo".')
        elif what != "share kept" and "after" in table:
            table.fault("after", f"{what} needs no after; leave it out.")
        return {"measure": of, "what": what, "after": after}

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.measure,)

    @property
    def digits(self) -> int:
        return 1

    @property
    def higher_is_better(self) -> bool:
        return self.measure.startswith("BMD") or self.measure == "CA"

    @property
    def tested(self) -> bool:
        return False

    @property
    def unit(self) -> str:
        unit = DURABILITY[self.what][0]
        return "months" if unit == "mo" else unit

    @property
    def in_points(self) -> bool:
        return False

    @property
    def described(self) -> str:
        middle = "mean" if self.measure in BMD_MEASURES else "median"
        return f"{middle} {MEASURES[self.measure]}; {_UNIT_OF[self.what]}"

    def table(
        self, data: Data, setting: Setting, patients: pd.DataFrame | None = None, estimand: Estimand | None = None
    ) -> pd.DataFrame:
        raise TypeError("a durability is of arms, not of patients")

    def alone(self, own: pd.DataFrame) -> dict[str, Any]:
        raise TypeError("a durability is of arms, not of patients")

    def effect(self, table: pd.DataFrame, arm: str, comparator: str, measure: str) -> dict[str, Any]:
        raise TypeError("a durability is of arms, not of patients")

    def analyse(self, data: Data, setting: Setting) -> Analysed:
        visits = data.seen(self.measure)
        found = lasting(visits, self, setting.ends, setting.arms, setting.comparator, seed=setting.seed)
        middle = "mean" if self.measure in BMD_MEASURES else "median"
        method = f"bootstrap of the arm's {middle} curve"
        results = []
        for row in found.to_dict("records"):
            effect = Effect(
                self.effect_measure, row["effect"], row["effect_low"], row["effect_high"], df=np.nan, method=method
            )
            own = {name: row[name] for name in ("arm", "n", "estimate", "low", "high", "note")}
            compared = setting.compares(str(row["arm"]))
            results.append(Result(**own, effect=effect if compared else None, method=method))
        return Analysed(self, tuple(results), against=setting.comparator)

    def outcome(self, world: World, estimand: Estimand) -> pd.DataFrame:
        """The course of the measure: a column for each visit at which it is taken, named by its month."""
        patients, visits, _ = world
        wide = visits.pivot(index="patient", columns="month", values=self.measure).reindex(patients["patient"])
        share = 100.0 * wide.div(wide.iloc[:, 0], axis=0)
        curve = share - 100.0 if self.measure in BMD_MEASURES else share
        return curve.rename(columns=lambda month: repr(float(month)))

    def level(self, own: pd.DataFrame, end: float) -> tuple[float, float]:
        months, curves = _courses(own)
        return jackknife(lambda rows: self._of_middle(months, curves[rows], end), len(own))

    def contrast(
        self, summary: str, here: pd.DataFrame, there: pd.DataFrame, ends: tuple[float, float] = (np.nan, np.nan)
    ) -> tuple[float, float]:
        (months, a), (_, b) = _courses(here), _courses(there)

        def gap(rows: np.ndarray) -> float:
            return self._of_middle(months, a[rows], ends[0]) - self._of_middle(months, b[rows], ends[1])

        return jackknife(gap, len(here))

    def _of_middle(self, months: np.ndarray, curves: np.ndarray, end: float) -> float:
        """The outcome of the mean (median) curve; NaN where no visit follows the end of treatment."""
        if not months[0] <= end < months[-1] - 1e-9:
            return np.nan
        middle = np.mean(curves, axis=0) if self.measure in BMD_MEASURES else np.median(curves, axis=0)
        return float(outcome(months, middle[None, :], self, end)[0])


def _courses(own: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Months and curves of an `outcome`."""
    names = [name for name in own if name != "stratum"]
    return np.array([float(name) for name in names]), own[names].to_numpy(float)


def lasting(
    visits: pd.DataFrame,
    spec: Durability,
    ends: Mapping[str, float],
    arms: Sequence[str],
    control: str | None,
    *,
    seed: int = 0,
) -> pd.DataFrame:
    """One outcome of the time after treatment, by arm.

    Parameters
    ----------
    visits : DataFrame
        As in a run folder.
    spec : Durability
    ends : mapping
        Arm to the month at which its treatment ends.
    arms, control
        Arm names in the order of the trial; reference of the differences.
    seed : int
        Of the bootstrap.

    Returns
    -------
    DataFrame
        Columns `COLUMNS`; months back are infinite where the mean is above baseline at the last visit.
    """
    marker = spec.measure not in BMD_MEASURES
    change = summaries.change_from(visits, spec.measure, kind="of_baseline" if marker else "percent")
    rows, draws = [], {}
    for arm in arms:
        row: dict[str, object] = dict.fromkeys(COLUMNS, np.nan) | {"arm": arm, "n": 0, "note": ""}
        rows.append(row)
        months, values = curves_of(change, arm)
        if not values.size:
            row["note"] = "No patient of this arm is left for the analysis."
            continue
        if not (months[0] <= ends[arm] < months[-1] - 1e-9):
            row["note"] = "No visit follows the end of treatment."
            continue
        middle = np.nanmedian(values, axis=0) if marker else np.nanmean(values, axis=0)
        curves = once(bootstrap_medians if marker else bootstrap_means, values, resampling(seed, arm))
        every = outcome(months, np.vstack([middle, curves]), spec, ends[arm])
        row |= {"n": int(np.isfinite(values[:, -1]).sum()), "estimate": float(every[0])}
        draws[arm] = every
        row["low"], row["high"] = percentiles(every[1:])
        if np.isnan(every[0]):
            row["note"] = _why_none(spec)
    for row in rows:
        if control is None or row["arm"] == control or row["arm"] not in draws or control not in draws:
            continue
        with np.errstate(invalid="ignore"):
            gap = draws[str(row["arm"])] - draws[control]
        row["effect"] = float(gap[0])
        row["effect_low"], row["effect_high"] = percentiles(gap[1:])
    return pd.DataFrame(rows, columns=list(COLUMNS))


def outcome(months: np.ndarray, curves: np.ndarray, spec: Durability, end: float) -> np.ndarray:
    """One of `DURABILITY` for each curve.

    Parameters
    ----------
    months : ndarray, shape (n_months,)
        Increasing.
    curves : ndarray, shape (n_curves, n_months)
        Change from baseline (%) of BMD, percent of baseline of a marker.
    spec : Durability
    end : float
        Month at which treatment ends.

    Returns
    -------
    ndarray, shape (n_curves,)
    """
    late = months >= end - 1e-9
    if spec.what == "months back":
        return np.asarray(crossing_month(months, curves, end)) - end
    if spec.what == "share kept":
        return share_kept(months, curves, end, float(spec.after or 0.0))
    if spec.what == "area":
        after = months > end + 1e-9
        grid = np.concatenate([[end], months[after]])
        path = np.column_stack([at_month(months, curves, end), curves[:, after]])
        baseline = 0.0 if spec.measure in BMD_MEASURES else 100.0
        return np.asarray(np.trapezoid(np.clip(path - baseline, 0.0, None), grid, axis=1))
    tail = curves[:, late]
    peak = tail.max(axis=1)
    if spec.what == "peak":
        return np.asarray(peak)
    return np.where(peak > 100 + RISE, months[late][tail.argmax(axis=1)] - end, np.nan)


def bootstrap_medians(values: np.ndarray, seed: Sequence[int], replicates: int = BOOTSTRAPS) -> np.ndarray:
    """Medians by visit of `replicates` resamples of the patients (rows).

    Parameters
    ----------
    values : ndarray, shape (n_patients, n_visits)
        NaN where a visit was missed; medians are over those present.
    seed : sequence of int
        Of the resampling only.
    replicates : int

    Returns
    -------
    ndarray, shape (replicates, n_visits)
        NaN where a resample holds no value at that visit.
    """
    n, visits = values.shape
    order = np.argsort(values, axis=0)  # NaN last
    place = np.empty_like(order)
    np.put_along_axis(place, order, np.arange(n)[:, None], axis=0)
    present = np.isfinite(values).sum(axis=0)
    near = int(NEAR * np.sqrt(n))
    low, high = np.maximum(present // 2 - near, 0), np.minimum(present // 2 + near, present)
    asked = np.hstack([place < low, place < present]).astype(np.float32)  # which holds counts of patients exactly
    out = np.full((replicates, visits), np.nan)
    for rows, times in resampled(n, seed, replicates):
        below, drawn = np.hsplit((times.astype(np.float32) @ asked).astype(np.int32), 2)
        for j in range(visits):
            known = np.flatnonzero(drawn[:, j])
            if not known.size:
                continue
            total, first = drawn[known, j], low[j]
            middle = (total + 1) // 2, total // 2 + 1
            upto = _upto(times, order[first : high[j], j])[known] + below[known, j, None]
            if (below[known, j] >= middle[0]).any() or (upto[:, -1] < middle[1]).any():  # a median is further away
                first, upto = 0, _upto(times, order[: present[j], j])[known]
            lower, upper = (order[first + _reached(upto, wanted), j] for wanted in middle)
            out[rows.start + known, j] = (values[lower, j] + values[upper, j]) / 2
    return out


NEAR = 3.0
"""Places, over the root of the patients, from the middle one among which the median of a resample is looked for first.

The place has a standard deviation of half of that root.
"""


def _upto(times: np.ndarray, rank: np.ndarray) -> np.ndarray:
    """How often the patients of a rank and those before are in each resample."""
    return times.take(rank, axis=1).cumsum(axis=1, dtype=np.int32)


def _reached(upto: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Place in each rising row at which it reaches what is wanted; long rows are searched by bisection."""
    if upto.shape[1] < 1000:
        return np.asarray((upto < wanted[:, None]).sum(axis=1))
    return np.array([row.searchsorted(value) for row, value in zip(upto, wanted, strict=True)], dtype=int)


def _why_none(spec: Durability) -> str:
    return {
        "share kept": "There is no gain to keep, or no visit as late.",
        "peak month": "The marker does not rise above baseline.",
    }.get(spec.what, "There is no value.")
