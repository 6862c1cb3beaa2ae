"""What lasts after the end of treatment: BMD and markers of each arm, compared with control.

Everything is read off an arm's mean BMD (median marker) by visit, linear between visits, as
`ranklsim.cohorts.durability` defines it; intervals are percentiles of a bootstrap over patients [1]_, those of a
difference from independent resamples of the two arms.

References
----------
.. [1] Efron B, Tibshirani RJ. An Introduction to the Bootstrap, Chapman & Hall 1993, chapter 13.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ranklsim.cohorts.durability import RISE, at_month, crossing_month, share_kept
from ranklsim.cohorts.protocol.endpoints import Durability
from ranklsim.cohorts.protocol.measures import BMD_MEASURES
from ranklsim.cohorts.statistics import summaries
from ranklsim.cohorts.statistics.durability import bootstrap_means, percentiles, resampling
from ranklsim.cohorts.statistics.summaries import BOOTSTRAPS

COLUMNS = ("arm", "n", "estimate", "low", "high", "effect", "effect_low", "effect_high", "note")


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
        wide = change[change["arm"] == arm].pivot(index="patient", columns="month", values="value").sort_index(axis=1)
        months = wide.columns.to_numpy(float)
        if wide.empty:
            row["note"] = "No patient of this arm is left for the analysis."
            continue
        if not (months[0] <= ends[arm] < months[-1] - 1e-9):
            row["note"] = "No visit follows the end of treatment."
            continue
        values = wide.to_numpy(float)
        middle = np.nanmedian(values, axis=0) if marker else np.nanmean(values, axis=0)
        resampled = (bootstrap_medians if marker else bootstrap_means)(values, resampling(seed, arm))
        every = outcome(months, np.vstack([middle, resampled]), spec, ends[arm])
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
    rng = np.random.default_rng(list(seed))
    order = np.argsort(values, axis=0)  # NaN last
    present = np.isfinite(values).sum(axis=0)
    out = np.full((replicates, visits), np.nan)
    for start in range(0, replicates, 100):  # bounds memory for large trials
        size = min(100, replicates - start)
        times = summaries.resamples(n, size, rng).astype(np.int32)
        for j in range(visits):
            rank = order[: present[j], j]
            upto = times[:, rank].cumsum(axis=1, dtype=np.int32)
            drawn = upto[:, -1] if rank.size else np.zeros(size, int)
            known = np.flatnonzero(drawn)
            middle = [(upto[known] < wanted[known, None]).sum(axis=1) for wanted in ((drawn + 1) // 2, drawn // 2 + 1)]
            out[start + known, j] = (values[rank[middle[0]], j] + values[rank[middle[1]], j]) / 2
    return out


def _why_none(spec: Durability) -> str:
    return {
        "share kept": "There is no gain to keep, or no visit as late.",
        "peak month": "The marker does not rise above baseline.",
    }.get(spec.what, "There is no value.")
