"""A polynomial in place of the model, to propose where a sampler goes next: long moves at the cost of one evaluation.

Residuals of points that were evaluated are fitted by a polynomial of second degree, of their principal components in
coordinates in which the points have unit covariance. Hamiltonian trajectories [1]_ leave what the polynomial would make
the posterior invariant, so that their ends are proposals that the model has only to accept or refuse [2]_: the result
is right however wrong the polynomial is, which decides only how many are accepted.

References
----------
.. [1] Neal RM. In: Handbook of Markov Chain Monte Carlo. Chapman and Hall 2011:113-62. doi:10.1201/b10905-6
.. [2] Christen JA, Fox C. J Comput Graph Stat 2005;14:795-810. doi:10.1198/106186005X76983
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

Array = NDArray[np.float64]

OUTPUTS = 120  # principal components of the residuals, at most
HELD_OUT = 0.15  # share of the points that chooses the penalty
PENALTIES = (10.0, 300.0)  # of second-degree terms
LINEAR = 1e-2  # penalty of first-degree terms
STEPS = 6  # of a trajectory


def _ridge(features: Array, target: Array, weight: Array) -> Array:
    """Coefficients that make the least of squared errors plus weighted squares; by the smaller of two systems."""
    if len(features) > len(weight):
        gram = features.T @ features
        gram[np.diag_indices_from(gram)] += weight
        return np.asarray(cho_solve(cho_factor(gram, overwrite_a=True), features.T @ target), dtype=float)
    scaled = features / weight
    gram = features @ scaled.T
    gram[np.diag_indices_from(gram)] += 1.0
    return np.asarray(scaled.T @ cho_solve(cho_factor(gram, overwrite_a=True), target), dtype=float)


class Surrogate:
    """Objective of the polynomial through evaluated points.

    Parameters
    ----------
    z : ndarray, shape (n, d)
        Points.
    residual : ndarray, shape (n, m)
        Their residuals, whose squares sum to the objective.
    """

    def __init__(self, z: Array, residual: Array) -> None:
        n, d = z.shape
        self.mean = z.mean(axis=0)
        self.root = np.linalg.cholesky(np.cov(z.T) + 1e-9 * np.eye(d))
        self.inverse = np.linalg.inv(self.root)
        w = (z - self.mean) @ self.inverse.T
        middle = residual.mean(axis=0)
        away = residual - middle
        _, vectors = np.linalg.eigh(away.T @ away)
        vectors = vectors[:, ::-1][:, : min(OUTPUTS, d + 40, n - 1)]
        self.offset = vectors.T @ middle
        target = away @ vectors
        self._upper = np.triu_indices(d)
        features = np.hstack([np.ones((n, 1)), w, w[:, self._upper[0]] * w[:, self._upper[1]]])
        weight = np.full(features.shape[1], LINEAR)
        cut = int(n * (1 - HELD_OUT))
        rest, objective = features[cut:], np.square(target[cut:] + self.offset).sum(axis=1)
        errors = []
        for size in PENALTIES:
            weight[d + 1 :] = size
            found = _ridge(features[:cut], target[:cut], weight)
            errors.append(np.std(np.square(rest @ found + self.offset).sum(axis=1) - objective) / 2)
        self.error = float(np.min(errors))
        weight[d + 1 :] = PENALTIES[int(np.argmin(errors))]
        beta = _ridge(features, target, weight)
        self.constant, self.first = beta[0] + self.offset, beta[1 : d + 1]
        second = np.zeros((d, d, beta.shape[1]))
        second[self._upper] = beta[d + 1 :] / 2
        self.second = (second + second.transpose(1, 0, 2)).reshape(d, -1)

    def objective(self, z: Array) -> tuple[Array, Array]:
        """Objective at points, shape (n,), but for a constant; and its gradient, shape (n, d).

        Parameters
        ----------
        z : ndarray, shape (n, d)
        """
        w = (z - self.mean) @ self.inverse.T
        n, d = w.shape
        bent = (w @ self.second).reshape(n, d, -1)
        found = self.constant + w @ self.first + np.einsum("nd,ndk->nk", w, bent)
        slope = 2 * (found @ self.first.T + 2 * np.einsum("nk,ndk->nd", found, bent))
        return np.square(found).sum(axis=1), slope @ self.inverse

    def travel(
        self, z: Array, log_target: Callable[[Array], tuple[Array, Array]], stride: float, rng: np.random.Generator
    ) -> tuple[Array, Array, Array, float]:
        """Ends of Hamiltonian trajectories that leave a density invariant.

        Parameters
        ----------
        z : ndarray, shape (n, d)
            Where they start.
        log_target : callable
            From points to the logarithm of the density, and its gradient.
        stride : float
            Size of a step, in standard deviations of the points that the polynomial was fitted to.
        rng : Generator

        Returns
        -------
        end : ndarray, shape (n, d)
        before, after : ndarray, shape (n,)
            Logarithm of the density at both ends.
        accepted : float
            Mean share of trajectories that were accepted.
        """
        n, d = z.shape
        before, slope = log_target(z)
        speed = rng.standard_normal((n, d))
        step = stride * rng.uniform(0.7, 1.3, size=(n, 1))
        here, v = z, speed + step / 2 * (slope @ self.root)
        for k in range(STEPS):
            here = here + step * v @ self.root.T
            after, slope = log_target(here)
            v = v + (step if k < STEPS - 1 else step / 2) * (slope @ self.root)
        with np.errstate(invalid="ignore", over="ignore"):
            rise = after - before + 0.5 * (np.square(speed).sum(axis=1) - np.square(v).sum(axis=1))
        taken = np.log(rng.uniform(size=n)) < rise
        end, last = np.where(taken[:, None], here, z), np.where(taken, after, before)
        return end, before, last, float(taken.mean())
