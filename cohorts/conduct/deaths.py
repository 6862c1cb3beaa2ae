"""Deaths from a published life table, scaled to women who volunteer for trials.

The hazard is constant within a year of age, ``-ln(1 - q)``, times a mortality ratio, because trial participants die
less often than others of their age. Neither drug nor fracture changes the hazard. This is our assumption: no trial of
these drugs was large enough to show an effect.
"""

from __future__ import annotations

import math
import tomllib
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ranklsim.cohorts.protocol.conduct import LIFE_TABLES
from ranklsim.pkpd.units import DAYS_PER_MONTH, DAYS_PER_YEAR


@lru_cache(maxsize=8)
def _hazards(name: str) -> tuple[int, tuple[float, ...]]:
    """First age, and hazard (1/yr) of each year of age from there on."""
    data = tomllib.loads((LIFE_TABLES / f"{name}.toml").read_text(encoding="utf-8"))
    return int(data["age"]), tuple(-math.log1p(-min(float(q), 1 - 1e-9)) for q in data["q"])


def hazard(name: str, age: NDArray[np.float64]) -> NDArray[np.float64]:
    """Hazard of death at an age, 1/yr; beyond the table's ages that of its first or last.

    Parameters
    ----------
    name : str
        Life table.
    age : ndarray
        yr.
    """
    first, rates = _hazards(name)
    year = np.clip(np.floor(age).astype(int) - first, 0, len(rates) - 1)
    return np.array(rates)[year]


def months_until(name: str, ratio: float, age: NDArray[np.float64], used: NDArray[np.float64]) -> NDArray[np.float64]:
    """Months after randomisation at which each patient dies.

    Parameters
    ----------
    name : str
        Life table.
    ratio : float
        Mortality over that of the table.
    age : ndarray, shape (n,)
        At randomisation, yr.
    used : ndarray, shape (n,)
        Cumulative hazard at which she dies, unit exponential.

    Returns
    -------
    ndarray, shape (n,)
        > 0; the table's last hazard goes on for ever, so that everybody dies.
    """
    first, rates = _hazards(name)
    table = ratio * np.array(rates)
    edges = first + np.arange(len(rates))  # start of each year of age
    total = np.concatenate([[0.0], np.cumsum(table)])[:-1]  # cumulative hazard from the first age to each edge

    def until(years: NDArray[np.float64]) -> NDArray[np.float64]:
        k = np.clip(np.floor(years).astype(int) - first, 0, len(rates) - 1)
        return total[k] + table[k] * (years - edges[k])

    level = until(age) + used
    k = np.clip(np.searchsorted(total, level, side="right") - 1, 0, len(rates) - 1)
    with np.errstate(divide="ignore"):
        years = edges[k] + (level - total[k]) / table[k]
    return (years - age) * DAYS_PER_YEAR / DAYS_PER_MONTH
