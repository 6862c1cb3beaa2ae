"""Waiting times: when a cumulative hazard, constant by periods or known on a grid, reaches an exponential number."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranklsim.cohorts import streams
from ranklsim.cohorts.protocol.terms import Hazard
from ranklsim.pkpd.units import DAYS_PER_MONTH, DAYS_PER_YEAR

PER_MONTH = DAYS_PER_MONTH / DAYS_PER_YEAR
"""1/month in 1/yr."""

Array = NDArray[np.float64]


def patience(seed: int, purpose: str, patients: NDArray[np.int64], index: Any = 0, replicate: int = 0) -> Array:
    """Unit exponential numbers, one a patient: the cumulative hazard at which it happens to her."""
    return -np.log(streams.uniform(seed, purpose, patients, index, replicate))


def by_spells(hazard: Hazard, arms: np.ndarray, used: Array) -> Array:
    """Months at which each patient's cumulative hazard reaches `used`; inf where it never does.

    Parameters
    ----------
    hazard : Hazard
    arms : ndarray of str, shape (n,)
    used : ndarray, shape (n,)
        As from `patience`.
    """
    ratio = np.array([hazard.arms.get(arm, 1.0) for arm in arms], dtype=float)
    months = np.full(used.shape, np.inf)
    spells = hazard.from_month if hazard.from_month and hazard.from_month[0][0] == 0 else (
        (0.0, 1.0), *hazard.from_month
    )  # fmt: skip
    before = np.zeros(used.shape)
    for k, (start, factor) in enumerate(spells):
        rate = hazard.per_year * DAYS_PER_MONTH / DAYS_PER_YEAR * factor * ratio
        end = spells[k + 1][0] if k + 1 < len(spells) else np.inf
        with np.errstate(divide="ignore", invalid="ignore"):
            when = start + (used - before) / rate
        mine = np.isinf(months) & (rate > 0) & (when <= end)
        months[mine] = when[mine]
        if np.isfinite(end):
            before = before + rate * (end - start)
    return months


def cumulative(months: Array, rate: Array) -> Array:
    """Cumulative hazard on a grid of months; `rate` 1/yr, shape (n, n_months).

    The hazard of a step is that at its beginning, so that what is decided within a step changes nothing before it.
    """
    steps = rate[:, :-1] * np.diff(months) * PER_MONTH
    return np.concatenate([np.zeros((len(rate), 1)), np.cumsum(steps, axis=1)], axis=1)


def crossing(months: Array, total: Array, level: Array) -> Array:
    """Month at which each row of a cumulative hazard reaches its level, linear between grid points; inf if never.

    Parameters
    ----------
    months : ndarray, shape (m,)
    total : ndarray, shape (n, m)
        Not decreasing in a row, from 0.
    level : ndarray, shape (n,)
    """
    after = (total < level[:, None]).sum(axis=1)
    found = after < months.size
    k = np.clip(after, 1, months.size - 1)
    row = np.arange(len(level))
    low, high = total[row, k - 1], total[row, k]
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(high > low, (level - low) / (high - low), 0.0)
    return np.where(found, months[k - 1] + np.clip(share, 0, 1) * (months[k] - months[k - 1]), np.inf)


def at(months: Array, total: Array, when: Array) -> Array:
    """Value of each row of `total` at its own month, linear between grid points and flat beyond them."""
    k = np.clip(np.searchsorted(months, when, side="right"), 1, months.size - 1)
    row = np.arange(len(when))
    share = np.clip((when - months[k - 1]) / (months[k] - months[k - 1]), 0, 1)
    return total[row, k - 1] + share * (total[row, k] - total[row, k - 1])
