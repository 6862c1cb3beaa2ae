"""Non-compartmental analysis: areas and highest values from samples, as a sponsor computes them.

Areas are by the trapezoidal rule, linear where values rise and logarithmic where they fall [1]_. Samples below the
limit of quantitation count as 0 before the first quantifiable one, are left out between quantifiable ones, and end the
area after the last quantifiable one (AUClast) [2]_.

References
----------
.. [1] Gabrielsson J, Weiner D. Pharmacokinetic and Pharmacodynamic Data Analysis, 5th ed., 2016, section 2.8.
.. [2] Denney W, Duvvuri S, Buckeridge C. J Pharmacokinet Pharmacodyn 2015;42:S65 (the package PKNCA of R).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

LEAST_SAMPLES = 3
"""Samples that an area needs."""


def area(days: Array, values: Array, below: NDArray[np.bool_] | None = None, *, log_down: bool = True) -> Array:
    """Area under each patient's samples.

    Parameters
    ----------
    days : ndarray, shape (n, m)
        When samples were taken, increasing.
    values : ndarray, shape (n, m)
        NaN where there is no sample.
    below : ndarray of bool, shape (n, m), optional
        Samples below the limit of quantitation.
    log_down : bool
        Whether falling stretches are logarithmic; linear otherwise, as for a change that can be negative.

    Returns
    -------
    ndarray, shape (n,)
        In the unit of the values times days; 0 where no sample is quantifiable, NaN with fewer than `LEAST_SAMPLES`.

    Examples
    --------
    >>> area(np.array([[0.0, 1.0, 2.0, 3.0]]), np.array([[0.0, 4.0, 2.0, 1.0]])).round(6)
    array([6.328085])
    """
    out = np.full(len(values), np.nan)
    none = np.zeros(values.shape, dtype=bool) if below is None else below
    for i, (day, value, low) in enumerate(zip(days, values, none, strict=True)):
        there = ~np.isnan(value)
        if there.sum() >= LEAST_SAMPLES:
            out[i] = _area_of(day[there], np.where(low, 0.0, value)[there], low[there], log_down)
    return out


def _area_of(day: Array, value: Array, low: NDArray[np.bool_], log_down: bool) -> float:
    seen = np.flatnonzero(~low)
    if not seen.size:
        return 0.0
    kept = ~low | (np.arange(low.size) < seen[0])
    day, value = day[kept], value[kept]
    a, b, step = value[:-1], value[1:], np.diff(day)
    parts = step * (a + b) / 2
    falls = (b < a) & (b > 0) if log_down else np.zeros(a.size, dtype=bool)
    parts[falls] = (step * (a - b))[falls] / np.log(a[falls] / b[falls])
    return float(parts.sum())
