"""Marginal distributions of covariates: declared, matched to the women enrolled, or taken from a table.

A declared marginal describes the women enrolled. Inclusion criteria shift and narrow a distribution. Its location and
scale before inclusion are therefore found once, on a fixed cloud of persons, such that the included persons have the
published figures (`matched`). No weights are needed then: a cohort of n counts as n. An `Empirical` marginal is that of
real women; its normal scores are those of van der Waerden [1]_.

References
----------
.. [1] van der Waerden BL. Proc K Ned Akad Wet A 1952;55:453-8 (normal scores of ranks).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from ranklsim.pkpd.errors import BadInput

Array = NDArray[np.float64]
Shape = tuple[float, float]

CLOSE = 2e-3  # SDs, and logarithm of the spread, to which matching brings a marginal
FEWEST = 1000  # persons of the cloud who must be let in

DISTRIBUTIONS = {"normal": ("mean", "sd"), "lognormal": ("mean", "sd", "median", "cv"), "bernoulli": ("share",)}


@dataclass(frozen=True)
class Marginal:
    """Distribution of one covariate among those included; `targets` in canonical units (see the file's keys)."""

    covariate: str
    distribution: str
    targets: tuple[tuple[str, float], ...]
    low: float
    high: float
    origin: float  # of a lognormal: ln(x - origin) is normal
    status: str
    source: str
    doi: str

    def quantile(self, score: Array, shape: Shape, chance: Array | None = None) -> Array:
        """Values at normal scores, for a location and scale (of the logarithm where lognormal).

        Parameters
        ----------
        score : ndarray, shape (n,)
            Standard normal scores.
        shape : (float, float)
            Location and scale before the limits apply; of the logarithm if lognormal.
        chance : ndarray, shape (n,), optional
            ``ndtr(score)``, where it is known already.
        """
        location, scale = shape
        if self.distribution == "bernoulli":
            return (score + location > 0).astype(float)
        low, high = self.low, self.high
        if self.distribution == "lognormal":
            low, high = (float(np.log(end - self.origin)) if end > self.origin else -np.inf for end in (low, high))
        if np.isfinite(low) or np.isfinite(high):
            below, within = ndtr((low - location) / scale), ndtr((high - location) / scale)
            score = ndtri(below + (ndtr(score) if chance is None else chance) * (within - below))
        value = location + scale * score
        value = self.origin + np.exp(value) if self.distribution == "lognormal" else value
        return np.clip(value, self.low, self.high)  # of rounding only: the score is inside already

    @property
    def goal(self) -> Shape:
        """Wanted middle and spread on the scale on which the marginal is normal (probit of the share for yes/no)."""
        wanted = dict(self.targets)
        if self.distribution == "bernoulli":
            return float(ndtri(wanted["share"])), 1.0
        if self.distribution == "normal":
            return wanted["mean"], wanted["sd"]
        middle = wanted.get("mean", wanted.get("median", 0.0)) - self.origin
        sigma = float(np.sqrt(np.log1p(wanted.get("cv", wanted.get("sd", 0.0) / middle) ** 2)))
        return float(np.log(middle)) - (sigma**2 / 2 if "mean" in wanted else 0.0), sigma

    def moments(self, x: Array) -> Shape:
        """Middle and spread of values, on the scale of `goal`.

        Parameters
        ----------
        x : ndarray, shape (n,)
            Values of the covariate, in its canonical unit.
        """
        if self.distribution == "bernoulli":
            return float(ndtri(x.mean())), 1.0
        if self.distribution == "normal":
            return float(x.mean()), float(x.std())
        x = x - self.origin
        if "median" in dict(self.targets):
            return float(np.log(np.median(x))), float(np.log(x).std())
        sigma = float(np.sqrt(np.log1p((x.std() / x.mean()) ** 2)))
        return float(np.log(x.mean())) - sigma**2 / 2, sigma


def matched(
    label: str,
    marginals: tuple[Marginal, ...],
    scores: Array,
    let_in: Callable[[tuple[Shape, ...]], tuple[NDArray[np.bool_], Mapping[int, Array]]],
) -> tuple[Shape, ...]:
    """Location and scale of each marginal before inclusion, such that the included have the published figures.

    Parameters
    ----------
    label : str
        File, to begin a message with.
    marginals : tuple of Marginal
    scores : ndarray, shape (n, n_marginals)
        Correlated normal scores of the cloud.
    let_in : callable
        From shapes to who of the cloud is let in, shape (n,), and the values that say so, by place of the marginal.

    Raises
    ------
    BadInput
        If no distribution gives the figures of a marginal.
    """
    goals = [marginal.goal for marginal in marginals]
    shapes = list(goals)
    columns = np.ascontiguousarray(scores.T)
    chances = ndtr(columns)
    worst = 0
    for _ in range(200):
        who, known = let_in(tuple(shapes))
        if who.sum() < FEWEST:
            break
        rows, misfits = np.flatnonzero(who), []
        for k, marginal in enumerate(marginals):
            middle, spread = goals[k]
            location, scale = shapes[k]
            values = known[k][rows] if k in known else marginal.quantile(columns[k][rows], shapes[k], chances[k][rows])
            got = marginal.moments(values)
            if marginal.distribution == "bernoulli":
                misfits.append(abs(ndtr(got[0]) - ndtr(middle)) if np.isfinite(middle) else 0.0)
                shapes[k] = (location + 0.7 * (middle - got[0]) if np.isfinite(middle + got[0]) else location, scale)
                continue
            misfits.append(max(abs(got[0] - middle) / spread, abs(np.log(got[1] / spread))))
            shapes[k] = (location + 0.7 * (middle - got[0]), scale * (spread / got[1]) ** 0.7)
        worst = int(np.argmax(misfits))
        if misfits[worst] < CLOSE:
            return tuple(shapes)
        if not all(
            np.isfinite(shape).all() or m.distribution == "bernoulli"
            for m, shape in zip(marginals, shapes, strict=True)
        ):
            break
    marginal = marginals[worst]
    wish = " and ".join(f"{key} {value:g}" for key, value in marginal.targets)
    raise BadInput(
        f"{label}: no distribution of {marginal.covariate} gives {wish} among those that `inclusion` lets in; "
        "widen the inclusion, or bring the figures closer to what it allows."
    )


class Empirical:
    """The marginal of a sample with weights; missing values are left out.

    Parameters
    ----------
    values : ndarray, shape (n,)
        NaN where missing.
    weights : ndarray, shape (n,)
        At least one that is positive where `values` is known.
    """

    def __init__(self, values: Array, weights: Array) -> None:
        known = np.isfinite(values) & (weights > 0)
        self.values, inverse = np.unique(values[known], return_inverse=True)
        self._steps = self.values.size <= 2  # yes/no
        mass = np.bincount(inverse, weights[known], minlength=self.values.size)
        self._to = np.cumsum(mass) / mass.sum()
        self._to[-1] = 1.0
        self._from = np.concatenate([[0.0], self._to[:-1]])

    def scores(self, values: Array, inside: Array) -> Array:
        """Normal scores of values of the sample; `inside` (0 to 1) says where among those of equal value. NaN stays.

        Parameters
        ----------
        values : ndarray, shape (n,)
            Values that occur in the sample, or NaN.
        inside : ndarray, shape (n,)
            Position among equal values, 0 to 1.
        """
        found = np.full(values.shape, np.nan)
        known = np.isfinite(values)
        place = np.clip(np.searchsorted(self.values, values[known]), 0, self.values.size - 1)
        share = self._from[place] + inside[known] * (self._to[place] - self._from[place])
        found[known] = ndtri(np.clip(share, 1e-9, 1 - 1e-9))
        return found

    def quantile(self, scores: Array) -> Array:
        """Values at normal scores: between neighbours of the sample linear, never beyond its ends; steps if yes/no.

        Parameters
        ----------
        scores : ndarray, shape (n,)
            Standard normal scores.
        """
        share = ndtr(scores)
        if self._steps:
            return self.values[np.clip(np.searchsorted(self._to, share), 0, self.values.size - 1)]
        return np.interp(share, (self._from + self._to) / 2, self.values)
