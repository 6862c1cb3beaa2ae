"""Weights for which a sample has the figures of a published baseline table: entropy balancing [1]_.

Of all weights that meet the targets, those closest (Kullback-Leibler) to the initial weights are given by exponential
tilting [2]_: w proportional to q * exp(sum of lambda_j g_j(x)), with one constraint g_j for each figure. Lambda is the
minimum of a convex function, found by Newton's method. A small ridge (`RIDGE`) keeps it finite if targets contradict
each other; the remaining deviation then shows which. Kish's effective sample size [3]_ measures the loss of information
by weighting.

References
----------
.. [1] Hainmueller J. Polit Anal 2012;20:25-46. doi:10.1093/pan/mpr025
.. [2] Csiszar I. Ann Probab 1975;3:146-58. doi:10.1214/aop/1176996454
.. [3] Kish L. Survey Sampling. Wiley 1965, section 11.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ranklsim.cohorts.people.criteria import values_of

Array = NDArray[np.float64]

RIDGE = 1e-5  # penalty of lambda, in SDs of a constraint
REACHED = 0.01  # SDs within which a weighted figure is taken to be the target
STEPS = 200


@dataclass(frozen=True)
class Target:
    """One figure that those enrolled are to have, in the canonical unit of its covariate.

    `statistic` is mean, sd (about `about`, the target's mean), median, or share (of those within `low` to `high`).
    """

    covariate: str
    statistic: str
    value: float
    about: float = np.nan
    low: float = -np.inf
    high: float = np.inf
    status: str = ""
    source: str = ""
    doi: str = ""
    line: int = 0

    @property
    def name(self) -> str:
        """In words, such as 'age mean' or 'share of eGFR 15 to 60'."""
        if self.statistic != "share" or not (np.isfinite(self.low) or np.isfinite(self.high)):
            return f"{self.covariate} {self.statistic}"
        if np.isfinite(self.low) and np.isfinite(self.high):
            return f"share of {self.covariate} {self.low:g} to {self.high:g}"
        side = f">= {self.low:g}" if np.isfinite(self.low) else f"<= {self.high:g}"
        return f"share of {self.covariate} {side}"

    def of(self, people: pd.DataFrame) -> Array:
        """Contribution of each person, shape (n,); the figure is its mean (for an SD, the root of its mean).

        Parameters
        ----------
        people : DataFrame
            One row for each person, a column for each covariate in canonical units.
        """
        x = values_of(self.covariate, people)
        if self.statistic == "sd":
            return (x - self.about) ** 2
        if self.statistic == "median":
            return (x <= self.value).astype(float)
        if self.statistic == "share":
            within = (x >= self.low) & (x <= self.high)
            return (within if np.isfinite(self.low) or np.isfinite(self.high) else x > 0.5).astype(float)
        return x

    @property
    def wanted(self) -> float:
        """Target of the mean of `of`."""
        return {"sd": self.value**2, "median": 0.5}.get(self.statistic, self.value)

    def achieved(self, people: pd.DataFrame, weights: Array | None = None) -> float:
        """The figure of weighted people.

        Parameters
        ----------
        people : DataFrame
            One row for each person.
        weights : ndarray, shape (n,), optional
            Weight of each person; equal if not given.
        """
        x = values_of(self.covariate, people)
        w = np.full(x.size, 1.0 / x.size) if weights is None else weights / weights.sum()
        if self.statistic == "sd":
            middle = float(w @ x)
            return float(np.sqrt(w @ (x - middle) ** 2))
        if self.statistic == "median":
            order = np.argsort(x, kind="stable")
            return float(x[order][np.searchsorted(np.cumsum(w[order]), 0.5)])
        return float(w @ self.of(people))


@dataclass(frozen=True)
class Tilt:
    """Exponential tilting to targets.

    Attributes
    ----------
    targets : tuple of Target
    slopes : ndarray, shape (n_targets,)
        Lambda of each constraint, over its SD.
    top : float
        Largest logarithm of a weight among those it was found on.
    missed : ndarray, shape (n_targets,)
        What is left of each constraint, in its SDs; 0 is reached.
    """

    targets: tuple[Target, ...]
    slopes: Array
    top: float
    missed: Array

    def logs(self, people: pd.DataFrame) -> Array:
        """Logarithm of the weight of each person, at most 0 for those it was found on; shape (n,).

        Parameters
        ----------
        people : DataFrame
            One row for each person.
        """
        total = np.full(len(people), -self.top)
        for target, slope in zip(self.targets, self.slopes, strict=True):
            total += slope * (target.of(people) - target.wanted)
        return total

    @property
    def contradicting(self) -> list[int]:
        """Places of the targets that no weighting reaches together, the worst first."""
        worst = np.argsort(-np.abs(self.missed), kind="stable")
        return [int(k) for k in worst if abs(self.missed[k]) > REACHED]


def tilted(people: pd.DataFrame, targets: Sequence[Target], start: Array) -> Tilt:
    """Tilting that brings weighted people to targets.

    Parameters
    ----------
    people : DataFrame
        One row a person, covariates as columns.
    targets : sequence of Target
    start : ndarray, shape (n,)
        Weights to start from, at least 0.

    Returns
    -------
    Tilt
        Also where the targets contradict each other: see `Tilt.contradicting`.
    """
    rows = np.column_stack([target.of(people) - target.wanted for target in targets])
    q = start / start.sum()
    scale = np.sqrt(q @ (rows - q @ rows) ** 2)
    scale = np.where(scale > 1e-12, scale, np.maximum(np.abs(rows[0]), 1.0))  # a figure that nobody can change
    rows = rows / scale
    slopes = np.zeros(len(targets))

    def value(at: Array) -> float:
        logs = rows @ at
        top = logs[q > 0].max()
        return float(np.log(q @ np.exp(logs - top)) + top + RIDGE * at @ at / 2)

    now = value(slopes)
    for _ in range(STEPS):
        logs = rows @ slopes
        w = q * np.exp(logs - logs[q > 0].max())
        w /= w.sum()
        mean = w @ rows
        gradient = mean + RIDGE * slopes
        if np.abs(gradient).max() < 1e-10:
            break
        centred = rows - mean
        hessian = (centred * w[:, None]).T @ centred + RIDGE * np.eye(slopes.size)
        step = np.linalg.solve(hessian, gradient)
        length = 1.0
        while (then := value(slopes - length * step)) > now - 1e-4 * length * gradient @ step and length > 1e-12:
            length /= 2
        if then >= now:
            break
        slopes, now = slopes - length * step, then
    logs = rows @ slopes
    w = q * np.exp(logs - logs[q > 0].max())
    missed = (w @ rows) / w.sum()
    return Tilt(tuple(targets), slopes / scale, float(logs[q > 0].max()), missed)


def effective(weights: Array) -> float:
    """Kish's effective sample size of weights: (sum of w)^2 / sum of w^2.

    Parameters
    ----------
    weights : ndarray, shape (n,)
        Weights, at least 0.
    """
    return float(weights.sum() ** 2 / (weights**2).sum())
