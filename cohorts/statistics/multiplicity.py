"""Several hypotheses with one type-I error: fixed sequence, Bonferroni, Holm, Hochberg and graphs.

Adjusted p values are those at which a hypothesis is just rejected; a decision is adjusted p <= alpha. Holm [1]_ steps
down from the smallest p value, Hochberg [2]_ up from the largest. Holm and the fixed sequence are also graphs [3]_,
which the tests use.

References
----------
.. [1] Holm S. Scand J Stat 1979;6:65-70.
.. [2] Hochberg Y. Biometrika 1988;75:800-2. doi:10.1093/biomet/75.4.800
.. [3] Bretz F, Maurer W, Brannath W, Posch M. Stat Med 2009;28:586-604. doi:10.1002/sim.3495
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

STEPWISE = ("Bonferroni", "Holm", "Hochberg")


def adjusted(
    p: Sequence[float] | np.ndarray,
    method: str,
    *,
    weights: Sequence[float] = (),
    transitions: Sequence[Sequence[float]] = (),
) -> np.ndarray:
    """Adjusted p values.

    Parameters
    ----------
    p : sequence of float
        In the order of the tests; NaN (a hypothesis that could not be tested) counts as 1.
    method : {"fixed sequence", "Bonferroni", "Holm", "Hochberg", "graphical"}
    weights, transitions
        Of the graphical method: shares of alpha, and where each goes when its hypothesis is rejected.

    Returns
    -------
    ndarray, shape (n,)

    Raises
    ------
    ValueError
        If the method is unknown.
    """
    values = np.asarray(p, float)
    values = np.where(np.isfinite(values), values, 1.0)
    if not values.size:
        return values
    if method == "fixed sequence":
        return np.maximum.accumulate(values)
    if method == "graphical":
        return graphical(values, weights, transitions)
    if method not in STEPWISE:
        raise ValueError(f"unknown method {method!r}")
    if method == "Bonferroni":
        return np.minimum(values.size * values, 1.0)
    order = np.argsort(values, kind="stable")
    each = values[order] * np.arange(values.size, 0, -1)
    out = np.empty_like(values)
    if method == "Holm":
        out[order] = np.maximum.accumulate(each)
    else:
        out[order] = np.minimum.accumulate(each[::-1])[::-1]
    return np.minimum(out, 1.0)


def graphical(
    p: Sequence[float] | np.ndarray, weights: Sequence[float], transitions: Sequence[Sequence[float]]
) -> np.ndarray:
    """Adjusted p values of a sequentially rejective graph (algorithm 2 of Bretz et al. [3]_).

    Parameters
    ----------
    p : sequence of float, length n
    weights : sequence of float, length n
        Sum at most 1.
    transitions : sequence of sequences, n x n
        Rows with a sum of at most 1, zero diagonal.
    """
    raw = np.asarray(p, float)
    w, g = np.array(weights, float), np.array(transitions, float)
    left = list(range(raw.size))
    out = np.ones(raw.size)
    before = 0.0
    while left:
        with np.errstate(divide="ignore", invalid="ignore"):
            need = np.array([raw[j] / w[j] if w[j] > 0 else np.inf for j in left])
        j = left[int(need.argmin())]
        before = min(1.0, max(before, float(need.min())))
        out[j] = before
        left.remove(j)
        if not np.isfinite(need.min()):
            break
        w_new, g_new = w.copy(), np.zeros_like(g)
        for i in left:
            w_new[i] = w[i] + w[j] * g[j, i]
            for k in left:
                loop = g[i, j] * g[j, i]
                if i != k and loop < 1:
                    g_new[i, k] = (g[i, k] + g[i, j] * g[j, k]) / (1 - loop)
        w, g = w_new, g_new
    return out
