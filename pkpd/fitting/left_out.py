"""What draws from a posterior would be without some of the figures, at no cost of a fit.

A vector drawn with all figures stands for one drawn without some of them if it is weighted by one over their
likelihood. A few draws with very large weights then decide. Pareto smoothed importance sampling [1]_ puts the quantiles
of a generalised Pareto distribution, fitted to the largest ratios [2]_, in place of these. Its shape k says whether
that can be trusted: above 0.7 no reweighting of so few draws will do.

Figures that say much need more than weights. All draws are then moved by the Gauss-Newton step from the estimate with
these figures to that without, in normal scores of the prior. In directions in which the figures left out bound the
draws, these also move apart, by the linear map that turns a normal distribution with the information of all figures
into one with the information of the rest. That is exact where residuals are linear in the scores.

References
----------
.. [1] Vehtari A, Simpson D, Gelman A, Yao Y, Gabry J. J Mach Learn Res 2024;25(72):1-58.
.. [2] Zhang J, Stephens MA. Technometrics 2009;51:316-25. doi:10.1198/tech.2009.08017
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Array = NDArray[np.float64]

TRUSTED = 0.7
"""Shape k above which weights can't be trusted."""
LEAST = 5  # ratios in a tail to which a distribution can be fitted
GUESS = 10  # ratios that a guess of k = 0.5 counts for
SURE, HALVINGS = 10.0, 40  # SDs beyond all draws within which an end lies; steps towards it


def smoothed_weights(log_ratio: Array) -> tuple[Array, float]:
    """Weights of draws, and how far they can be trusted.

    Parameters
    ----------
    log_ratio : ndarray, shape (n,)
        Logarithm of the wanted density over that of the draws, but for a constant.

    Returns
    -------
    weight : ndarray, shape (n,)
        Of sum 1.
    k : float
        Shape of the tail of the ratios; infinite where the draws are too few, or the largest are all equal.
    """
    n = len(log_ratio)
    ratio = np.exp(log_ratio - log_ratio.max())
    size = int(min(n / 5, 3 * np.sqrt(n)))
    order = np.argsort(ratio, kind="stable")
    tail, k = order[n - size :], np.inf
    over = ratio[tail] - ratio[order[n - size - 1]]
    if size >= LEAST and over[0] < over[-1]:
        k, scale = _pareto(np.maximum(over, np.finfo(float).tiny))
        place = (np.arange(size) + 0.5) / size
        spread = np.expm1(-k * np.log1p(-place)) / k if k else -np.log1p(-place)
        ratio[tail] = np.minimum(ratio[order[n - size - 1]] + scale * spread, 1.0)  # at most the largest there was
    return ratio / ratio.sum(), float(k)


def _pareto(x: Array) -> tuple[float, float]:
    """Shape and scale of the generalised Pareto distribution of ascending values.

    The likelihood, profiled over the shape, is averaged over a prior that follows the data; the shape is then drawn
    towards 0.5, as few values say little of it.
    """
    n = len(x)
    m = 30 + int(np.sqrt(n))
    quartile = x[int(n / 4 + 0.5) - 1]
    b = 1 / x[-1] + (1 - np.sqrt(m / (np.arange(m) + 0.5))) / (3 * quartile)
    shape = np.log1p(-np.multiply.outer(b, x)).mean(axis=1)
    height = n * (np.log(-b / shape) - shape - 1)
    weight = np.exp(height - height.max())
    middle = float(b @ weight / weight.sum())
    k = float(np.log1p(-middle * x).mean())
    return (n * k + GUESS * 0.5) / (n + GUESS), -k / middle


def moved(z: Array, slope: Array, left: NDArray[np.bool_], residual: Array) -> Array:
    """Draws without some of the residuals, from draws with all of them.

    Parameters
    ----------
    z : ndarray, shape (n, d)
        Draws in normal scores of the prior, whose squares, with those of the residuals, sum to the objective.
    slope : ndarray, shape (m, d)
        Jacobian of all residuals in these scores.
    left : ndarray of bool, shape (m,)
        Residuals that do not count.
    residual : ndarray, shape (m,)
        In the middle of the draws; only those that do not count are read.

    Returns
    -------
    ndarray, shape (n, d)
    """
    root = np.linalg.cholesky(slope.T @ slope + np.eye(z.shape[1]))
    own = np.linalg.solve(root, slope[left].T)
    share, across = np.linalg.eigh(np.eye(len(root)) - own @ own.T)  # of the information that stays
    share = np.maximum(share, np.finfo(float).eps)
    shift = across @ ((across.T @ (own @ residual[left])) / share)
    wider = (across / np.sqrt(share)) @ across.T
    middle = z.mean(axis=0)
    apart = root.T @ (z - middle).T
    return np.asarray(middle + np.linalg.solve(root.T, wider @ apart + shift[:, None]).T, dtype=float)


def band(values: Array, weight: Array, sd: Array, level: float) -> tuple[Array, Array, Array]:
    """Median over weighted draws, and both ends of the interval of a figure that errs by `sd` around one of them.

    Parameters
    ----------
    values : ndarray, shape (n, m)
        Predictions of m figures by n draws.
    weight : ndarray, shape (n,)
        Of the draws, of sum 1.
    sd : ndarray, shape (m,)
        Of the normal error of each figure, above 0.
    level : float
        Of the interval.

    Returns
    -------
    median, low, high : ndarray, shape (m,)
    """
    ends = []
    for wanted in ((1 - level) / 2, (1 + level) / 2):
        low, high = values.min(axis=0) - SURE * sd, values.max(axis=0) + SURE * sd
        for _ in range(HALVINGS):
            half = (low + high) / 2
            short = weight @ ndtr((half - values) / sd) < wanted
            low, high = np.where(short, half, low), np.where(short, high, half)
        ends.append(half)
    return _quantile(values, weight, 0.5), ends[0], ends[1]


def _quantile(values: Array, weight: Array, level: float) -> Array:
    """Quantile of each column of weighted rows, linear between the middles of their weights."""
    order = np.argsort(values, axis=0)
    ordered, own = np.take_along_axis(values, order, axis=0), weight[order]
    below = np.cumsum(own, axis=0) - own / 2
    return np.array([np.interp(level, p, x) for p, x in zip(below.T, ordered.T, strict=True)])
