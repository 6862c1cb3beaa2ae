"""Free drug in plasma when several drugs share several RANKL pools: the root of `ligand.free_equation`.

With one drug the balance is concave and increasing in free drug, so Newton steps from below approach the root and never
pass it. With several drugs, full Newton steps are used while they stay inside the physical range and reduce the misfit.
Otherwise a sweep of one-drug steps is used; from below, these can only increase (more of one drug frees the other).
"""

from __future__ import annotations

import numpy as np
from numba import njit

MAX_STEPS = 60


@njit(cache=True, nogil=True)
def free_drug(total, pool, soluble, am, asol, free, work):  # type: ignore[no-untyped-def]
    """Solve for free drug in place.

    Parameters
    ----------
    total : ndarray, shape (n_drugs,)
        Drug in plasma, free and bound, nmol/L.
    pool : ndarray, shape (n_sources,)
        Surface RANKL by source, nmol/L.
    soluble : float
        sRANKL, nmol/L.
    am : ndarray, shape (n_drugs, n_sources)
        Association constants to surface RANKL, L/nmol (0 for none).
    asol : ndarray, shape (n_drugs,)
        Association constants to sRANKL, L/nmol (0 for none).
    free : ndarray, shape (n_drugs,)
        Result, nmol/L.
    work : ndarray, shape (n_drugs, n_drugs + 2)
        Scratch space.
    """
    n, m = am.shape
    for k in range(n):
        held = asol[k] * soluble
        bound_most = soluble
        for j in range(m):
            held += am[k, j] * pool[j]
            bound_most += pool[j]
        linear = total[k] / (1.0 + held)  # all pools empty: below the root
        free[k] = max(linear, total[k] - bound_most)  # all pools full: below it too
    last = np.inf
    for _ in range(MAX_STEPS):
        worst = _misfit(total, pool, soluble, am, asol, free, work)
        if worst < 1e-15 or (worst < 1e-12 and worst >= last):  # as far as rounding lets it
            return
        last = worst
        if not _newton(total, pool, soluble, am, asol, free, work, worst):
            for k in range(n):
                _misfit(total, pool, soluble, am, asol, free, work)
                if total[k] > 0.0:
                    free[k] -= work[k, n] / work[k, k]


@njit(cache=True, nogil=True)
def free_drug_everywhere(total, pool, soluble, am, asol, free):  # type: ignore[no-untyped-def]
    """`free_drug` at each of n points; arrays as there, with a first axis of n.

    Parameters
    ----------
    total, pool, soluble, am, asol, free : ndarray, shape (n, ...)
        As of `free_drug`, at each point.
    """
    work = np.empty((total.shape[1], total.shape[1] + 2))
    for i in range(total.shape[0]):
        free_drug(total[i], pool[i], soluble[i], am[i], asol[i], free[i], work)


@njit(cache=True, nogil=True)
def _misfit(total, pool, soluble, am, asol, free, work):  # type: ignore[no-untyped-def]
    """Fill work[:, :n] with the Jacobian and work[:, n] with the misfit; return the largest relative misfit."""
    n, m = am.shape
    crowd_s = 1.0
    for k in range(n):
        crowd_s += asol[k] * free[k]
    for k in range(n):
        work[k, n] = 1.0 + asol[k] * soluble / crowd_s
        for i in range(n):
            work[k, i] = -free[k] * asol[k] * asol[i] * soluble / (crowd_s * crowd_s)
    for j in range(m):
        crowd = 1.0
        for k in range(n):
            crowd += am[k, j] * free[k]
        held = pool[j] / crowd
        for k in range(n):
            work[k, n] += am[k, j] * held
            for i in range(n):
                work[k, i] -= free[k] * am[k, j] * am[i, j] * held / crowd
    worst = 0.0
    for k in range(n):
        work[k, k] += work[k, n]
        work[k, n] = free[k] * work[k, n] - total[k]
        if total[k] > 0.0:
            worst = max(worst, abs(work[k, n]) / total[k])
    return worst


@njit(cache=True, nogil=True)
def _newton(total, pool, soluble, am, asol, free, work, worst):  # type: ignore[no-untyped-def]
    """Take a full Newton step if it stays in range and, for several drugs, shrinks the misfit; say whether it did."""
    n = free.shape[0]
    if n == 1:
        if total[0] <= 0.0:
            return True
        free[0] -= work[0, 1] / work[0, 0]
        return True
    old = np.empty(n)
    for k in range(n):
        old[k] = free[k]
    for k in range(n):  # Gaussian elimination; the diagonal dominates
        for i in range(k + 1, n):
            factor = work[i, k] / work[k, k]
            for c in range(k, n + 1):
                work[i, c] -= factor * work[k, c]
    for k in range(n - 1, -1, -1):
        step = work[k, n]
        for i in range(k + 1, n):
            step -= work[k, i] * work[i, n]
        work[k, n] = step / work[k, k]
    for k in range(n):
        if total[k] > 0.0:
            free[k] = old[k] - work[k, n]
            if free[k] < 0.0 or free[k] > total[k]:
                free[:] = old
                return False
    if _misfit(total, pool, soluble, am, asol, free, work) >= worst:
        free[:] = old
        return False
    return True
