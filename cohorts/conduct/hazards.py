"""Hazards: the month at which a cumulative hazard reaches a patient's threshold.

The threshold is a unit exponential number, so that the event time has the hazard given. A hazard is constant by
spells, or known on a grid of months.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ranklsim.cohorts import streams
from ranklsim.cohorts.protocol.conduct import Hazard
from ranklsim.pkpd.units import DAYS_PER_MONTH, DAYS_PER_YEAR

PER_MONTH = DAYS_PER_MONTH / DAYS_PER_YEAR
"""1/month in 1/yr."""

Array = NDArray[np.float64]


def thresholds(
    seed: int, purpose: str, patients: NDArray[np.int64], index: int | NDArray[np.int64] = 0, replicate: int = 0
) -> Array:
    """Unit exponential numbers: the cumulative hazard at which the event happens to each patient.

    Parameters
    ----------
    seed, purpose, patients, index, replicate
        Address of the random numbers, as of `streams.uniform`.
    """
    return -np.log(streams.uniform(seed, purpose, patients, index, replicate))


def months_by_spells(hazard: Hazard, arms: np.ndarray, threshold: Array) -> Array:
    """Months at which each patient's cumulative hazard reaches her threshold; inf where it never does.

    Parameters
    ----------
    hazard : Hazard
        Constant by spells, with a ratio for each arm.
    arms : ndarray of str, shape (n,)
        Arm of each patient.
    threshold : ndarray, shape (n,)
        As from `thresholds`.
    """
    ratio = np.array([hazard.arms.get(arm, 1.0) for arm in arms], dtype=float)
    months = np.full(threshold.shape, np.inf)
    spells = hazard.from_month if hazard.from_month and hazard.from_month[0][0] == 0 else (
        (0.0, 1.0), *hazard.from_month
    )  # fmt: skip
    before = np.zeros(threshold.shape)
    for k, (start, factor) in enumerate(spells):
        rate = hazard.per_year * DAYS_PER_MONTH / DAYS_PER_YEAR * factor * ratio
        end = spells[k + 1][0] if k + 1 < len(spells) else np.inf
        with np.errstate(divide="ignore", invalid="ignore"):
            when = start + (threshold - before) / rate
        mine = np.isinf(months) & (rate > 0) & (when <= end)
        months[mine] = when[mine]
        if np.isfinite(end):
            before = before + rate * (end - start)
    return months


def cumulative(months: Array, rate: Array) -> Array:
    """Cumulative hazard on a grid of months, shape (n, m).

    The hazard of a step is that at its beginning, so that a decision within a step changes nothing before it.

    Parameters
    ----------
    months : ndarray, shape (m,)
        Grid, increasing.
    rate : ndarray, shape (n, m)
        Hazard at each month, 1/yr.
    """
    steps = rate[:, :-1] * np.diff(months) * PER_MONTH
    return np.concatenate([np.zeros((len(rate), 1)), np.cumsum(steps, axis=1)], axis=1)


def month_reached(months: Array, total: Array, level: Array) -> Array:
    """Month at which each row of a cumulative hazard reaches its level, linear between grid points; inf if never.

    Parameters
    ----------
    months : ndarray, shape (m,)
        Grid, increasing.
    total : ndarray, shape (n, m)
        Cumulative hazard: from 0, not decreasing in a row.
    level : ndarray, shape (n,)
        Value to be reached.
    """
    after = (total < level[:, None]).sum(axis=1)
    found = after < months.size
    k = np.clip(after, 1, months.size - 1)
    row = np.arange(len(level))
    low, high = total[row, k - 1], total[row, k]
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(high > low, (level - low) / (high - low), 0.0)
    return np.where(found, months[k - 1] + np.clip(share, 0, 1) * (months[k] - months[k - 1]), np.inf)


def interpolated(months: Array, values: Array, when: Array) -> Array:
    """Value of each row at its own month, linear between grid points and flat beyond them.

    Parameters
    ----------
    months : ndarray, shape (m,)
        Grid, increasing.
    values : ndarray, shape (n, m)
        Values on the grid.
    when : ndarray, shape (n,)
        Month at which each row is asked for.
    """
    k = np.clip(np.searchsorted(months, when, side="right"), 1, months.size - 1)
    row = np.arange(len(when))
    share = np.clip((when - months[k - 1]) / (months[k] - months[k - 1]), 0, 1)
    return values[row, k - 1] + share * (values[row, k] - values[row, k - 1])
