"""What happens after the end of treatment: rebound of markers, share of the BMD gain kept, time back at baseline.

Ratios and crossing times get percentile bootstrap intervals over patients [1]_, with a seed of their own, so that the
same run gives the same interval.

References
----------
.. [1] Efron B, Tibshirani RJ. An Introduction to the Bootstrap, Chapman & Hall 1993, chapter 13.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ranklsim.cohorts.durability import crossing_month
from ranklsim.reports.analyses.ancova import LEVEL
from ranklsim.reports.analyses.summaries import BOOTSTRAPS


def bootstrap_means(values: np.ndarray, seed: Sequence[int], replicates: int = BOOTSTRAPS) -> np.ndarray:
    """Means by visit of `replicates` resamples of the patients (rows).

    Parameters
    ----------
    values : ndarray, shape (n_patients, n_visits)
        NaN where a visit was missed; means are over those present.
    seed : sequence of int
        Of the resampling only; equal seeds give equal intervals.

    Returns
    -------
    ndarray, shape (replicates, n_visits)
        NaN where a resample holds no value at that visit.
    """
    n = len(values)
    rng = np.random.default_rng(list(seed))
    present = np.isfinite(values).astype(float)
    filled = np.where(present > 0, values, 0.0)
    out = np.empty((replicates, values.shape[1]))
    for start in range(0, replicates, 100):  # bounds memory for large trials
        size = min(100, replicates - start)
        weight = rng.multinomial(n, np.full(n, 1.0 / n), size=size).astype(float)
        with np.errstate(invalid="ignore"):
            out[start : start + size] = (weight @ filled) / (weight @ present)
    return out


def retention(
    change: pd.DataFrame,
    ends: Mapping[str, float],
    *,
    later: Sequence[float] = (12.0, 24.0),
    seed: int = 0,
) -> pd.DataFrame:
    """What is left of each arm's mean gain after the end of treatment, and when it is gone.

    The gain is the mean change from baseline at the end of treatment. An arm whose gain is not above zero
    (interval of its mean includes zero or lies below) has nothing to keep: its shares and month are NaN.

    Parameters
    ----------
    change : DataFrame
        As from ``change_from(kind="percent")``.
    ends : mapping
        Arm -> month at which its treatment ends (the last dose's interval is over).
    later : sequence of float
        Months after that end at which the share kept is asked; between visits the mean is read off linearly, and
        beyond the last visit the share is NaN.
    seed : int
        Of the bootstrap over patients.

    Returns
    -------
    DataFrame
        Columns `arm`, `end_month`, `n`, `gain`, `gain_low`, `gain_high`, then for each of `later` (as in
        ``kept_12``): `change_12` (percentage points since the end), `kept_12`, `kept_12_low`, `kept_12_high` [% of
        the gain]; `back_month`, `back_low`, `back_high` (inf: not back by the last visit); `last_month`.
    """
    rows = []
    for k, (arm, end) in enumerate(ends.items()):
        wide = change[change["arm"] == arm].pivot(index="patient", columns="month", values="value").sort_index(axis=1)
        months = wide.columns.to_numpy(float)
        row: dict[str, object] = {"arm": arm, "end_month": float(end)}
        names = [
            f"{a}_{m:g}{b}"
            for m in later
            for a, b in (("change", ""), ("kept", ""), ("kept", "_low"), ("kept", "_high"))
        ]
        row |= dict.fromkeys(
            ["n", "gain", "gain_low", "gain_high", *names, "back_month", "back_low", "back_high"], np.nan
        )
        row["last_month"] = months.max() if months.size else np.nan
        rows.append(row)
        if not months.size or end > months.max() or end < months.min():
            continue
        values = wide.to_numpy(float)
        mean = np.nanmean(values, axis=0)
        gain = float(np.interp(end, months, mean))
        at_end = int(np.isfinite(values[:, np.abs(months - end).argmin()]).sum())
        resampled = bootstrap_means(values, (seed, k))
        resampled = resampled[np.isfinite(resampled).all(axis=1)]
        gains = np.array([np.interp(end, months, r) for r in resampled])
        tail = [50 * (1 - LEVEL), 100 - 50 * (1 - LEVEL)]
        enough = len(values) > 1 and len(gains) > 0
        low, high = np.percentile(gains, tail) if enough else (np.nan, np.nan)
        row |= {"n": at_end, "gain": gain, "gain_low": low, "gain_high": high}
        for m in later:
            if end + m <= months.max():
                row[f"change_{m:g}"] = float(np.interp(end + m, months, mean)) - gain
        if not (gain > 0 and not low <= 0):
            continue
        for m in later:
            if end + m > months.max():
                continue
            row[f"kept_{m:g}"] = 100.0 * float(np.interp(end + m, months, mean)) / gain
            if enough:
                share = 100.0 * np.array([np.interp(end + m, months, r) for r in resampled]) / gains
                row[f"kept_{m:g}_low"], row[f"kept_{m:g}_high"] = np.percentile(share, tail)
        row["back_month"] = float(crossing_month(months, mean, end))
        if enough:
            crossings = np.sort(crossing_month(months, resampled, end))
            pick = [int(np.floor((len(crossings) - 1) * q / 100)) for q in tail]
            row["back_low"], row["back_high"] = (float(crossings[j]) for j in pick)
    return pd.DataFrame(rows)


def peak_after(medians: pd.DataFrame, ends: Mapping[str, float]) -> pd.DataFrame:
    """Highest median of a marker among the visits from the end of treatment on, by arm.

    Parameters
    ----------
    medians : DataFrame
        As from `median_by_visit`.
    ends : mapping
        Arm -> month at which its treatment ends.

    Returns
    -------
    DataFrame
        Columns `arm`, `end_month`, `peak` (% of baseline), `peak_q1`, `peak_q3` (patients' quartiles), `peak_low`,
        `peak_high` (95 % interval of that median), `peak_month`, `months_after_end`, `n`; NaN where no visit follows.
    """
    rows = []
    for arm, end in ends.items():
        own = medians[(medians["arm"] == arm) & (medians["month"] > end) & medians["median"].notna()]
        row: dict[str, object] = {"arm": arm, "end_month": float(end)}
        row |= dict.fromkeys(("peak", "peak_q1", "peak_q3", "peak_low", "peak_high", "peak_month"), np.nan)
        row |= {"months_after_end": np.nan, "n": 0}
        if len(own):
            top = own.loc[own["median"].idxmax()]
            row |= {"peak": top["median"], "peak_q1": top["q1"], "peak_q3": top["q3"], "peak_low": top["median_low"]}
            row |= {"peak_high": top["median_high"], "peak_month": top["month"], "n": int(top["n"])}
            row["months_after_end"] = float(top["month"]) - float(end)
        rows.append(row)
    return pd.DataFrame(rows)
