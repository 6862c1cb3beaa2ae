"""What happens after the end of treatment: rebound of markers, share of the BMD gain kept, time back at baseline.

Ratios and crossing times get percentile bootstrap intervals over patients [1]_, with a seed of their own, so that the
same run gives the same interval.

References
----------
.. [1] Efron B, Tibshirani RJ. An Introduction to the Bootstrap, Chapman & Hall 1993, chapter 13.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache

import numpy as np
import pandas as pd

from ranklsim.cohorts.durability import LEAST_GAIN, at_month, crossing_month, share_kept
from ranklsim.cohorts.statistics.ancova import LEVEL
from ranklsim.cohorts.statistics.summaries import BOOTSTRAPS, resamples


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
    present = np.isfinite(values)
    filled, known = np.where(present, values, 0.0), present.astype(float)
    out = np.empty((replicates, values.shape[1]))
    for rows, times in resampled(len(values), seed, replicates):
        weight = times.astype(float)
        with np.errstate(invalid="ignore"):
            out[rows] = (weight @ filled) / (weight @ known)
    return out


PORTION = 100
"""Resamples made at once, which bounds the memory for large trials."""

MOST_TIMES = 16_000_000
"""Patients times resamples that are kept, a byte each, for the next measure of the arm."""


def resampled(n: int, seed: Sequence[int], replicates: int) -> Iterator[tuple[slice, np.ndarray]]:
    """How often each of `n` patients is in each resample, a portion of the resamples at a time.

    All measures of an arm have the same resamples, which are therefore kept unless they are too many.

    Parameters
    ----------
    n, replicates : int
    seed : sequence of int

    Yields
    ------
    rows : slice
        Numbers of the resamples.
    times : ndarray, shape (resamples, n)
        Not to be written to.
    """
    drawn = _kept if n * replicates <= MOST_TIMES else _drawn
    starts = range(0, replicates, PORTION)
    for start, times in zip(starts, drawn(n, tuple(seed), replicates), strict=True):
        yield slice(start, start + len(times)), times


def _drawn(n: int, seed: tuple[int, ...], replicates: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(list(seed))
    for start in range(0, replicates, PORTION):
        yield resamples(n, min(PORTION, replicates - start), rng)


@lru_cache(maxsize=8)
def _kept(n: int, seed: tuple[int, ...], replicates: int) -> list[np.ndarray]:
    return [times.astype(np.uint8 if times.max() < 256 else np.int64) for times in _drawn(n, seed, replicates)]


_KEPT: dict[bytes, np.ndarray] = {}
MOST_KEPT = 64
"""Bootstraps of an arm and measure: each outcome after treatment is read off the same one."""


def once(bootstrap: Callable[..., np.ndarray], values: np.ndarray, seed: Sequence[int]) -> np.ndarray:
    """A bootstrap, made once for the same values and seed.

    Parameters
    ----------
    bootstrap : callable
        `bootstrap_means`, or another function of values and seed.
    values : ndarray, shape (n_patients, n_visits)
    seed : sequence of int

    Returns
    -------
    ndarray
        Not to be written to.
    """
    what = repr((values.shape, list(seed), bootstrap.__name__)).encode()
    key = hashlib.blake2b(np.ascontiguousarray(values).tobytes() + what, digest_size=16).digest()
    if key not in _KEPT:
        if len(_KEPT) >= MOST_KEPT:
            _KEPT.clear()
        _KEPT[key] = bootstrap(values, seed)
    return _KEPT[key]


def retention(
    change: pd.DataFrame,
    ends: Mapping[str, float],
    *,
    later: Sequence[float] = (12.0, 24.0),
    seed: int = 0,
) -> pd.DataFrame:
    """What is left of each arm's mean gain after the end of treatment, and when it is gone.

    The gain is the mean change from baseline at the end of treatment. An arm whose gain is not above `LEAST_GAIN`
    has nothing to keep: its shares and month are NaN.

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
    for arm, end in ends.items():
        months, values = curves_of(change, arm)
        names = [
            f"{a}_{m:g}{b}"
            for m in later
            for a, b in (("change", ""), ("kept", ""), ("kept", "_low"), ("kept", "_high"))
        ]
        row: dict[str, object] = {"arm": arm, "end_month": float(end)}
        row |= dict.fromkeys(
            ["n", "gain", "gain_low", "gain_high", *names, "back_month", "back_low", "back_high"], np.nan
        )
        row["last_month"] = months.max() if months.size else np.nan
        rows.append(row)
        if not months.size or end > months.max() or end < months.min():
            continue
        curves = np.vstack([np.nanmean(values, axis=0), once(bootstrap_means, values, resampling(seed, arm))])
        gains = at_month(months, curves, end)
        row["n"] = int(np.isfinite(values[:, np.abs(months - end).argmin()]).sum())
        row["gain"], (row["gain_low"], row["gain_high"]) = float(gains[0]), percentiles(gains[1:])
        for m in later:
            if end + m <= months.max():
                row[f"change_{m:g}"] = float(at_month(months, curves[:1], end + m)[0] - gains[0])
            share = share_kept(months, curves, end, m)
            if np.isfinite(share[0]):
                row[f"kept_{m:g}"] = float(share[0])
                row[f"kept_{m:g}_low"], row[f"kept_{m:g}_high"] = percentiles(share[1:])
        if gains[0] > LEAST_GAIN:
            back = np.asarray(crossing_month(months, curves, end))
            row["back_month"], (row["back_low"], row["back_high"]) = float(back[0]), percentiles(back[1:])
    return pd.DataFrame(rows)


def curves_of(change: pd.DataFrame, arm: str) -> tuple[np.ndarray, np.ndarray]:
    """The courses of an arm's patients.

    Parameters
    ----------
    change : DataFrame
        As from `change_from`.
    arm : str

    Returns
    -------
    months : ndarray, shape (n_visits,)
        Ascending.
    values : ndarray, shape (n_patients, n_visits)
        Patients in order of their names; NaN where a visit was missed.
    """
    own = change[(change["arm"] == arm).to_numpy()]
    rows, patients = pd.factorize(own["patient"], sort=True)
    months, columns = np.unique(own["month"].to_numpy(float), return_inverse=True)
    values = np.full((len(patients), len(months)), np.nan)
    values[rows, columns] = own["value"].to_numpy(float)
    return months, values


def resampling(seed: int, arm: str) -> tuple[int, int]:
    """Seed of the resamples of an arm: the same wherever a report asks, so that its intervals agree with each other.

    Parameters
    ----------
    seed : int
        Seed of the trial.
    arm : str
        Name of the arm.
    """
    return seed, zlib.crc32(arm.encode())


def percentiles(draws: np.ndarray) -> tuple[float, float]:
    """Interval of resampled values, NaN where more than a draw in twenty has no value.

    The ends are order statistics, so that infinite months need no interpolation.

    Parameters
    ----------
    draws : ndarray, shape (resamples,)
        One value for each resample; infinite months are allowed.
    """
    known = np.sort(draws[~np.isnan(draws)])
    if known.size < LEVEL * draws.size or known.size < 2:
        return float("nan"), float("nan")
    tail = (1 - LEVEL) / 2
    return float(known[int(tail * (known.size - 1))]), float(known[int(np.ceil((1 - tail) * (known.size - 1)))])


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
