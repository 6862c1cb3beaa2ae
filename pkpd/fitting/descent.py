"""Least squares of several vectors at once by damped Gauss-Newton steps from their present values.

All vectors start from one Jacobian, which Broyden's update [1]_ [2]_ maintains. A step therefore costs one evaluation
of each vector.

References
----------
.. [1] Broyden CG. Math Comput 1965;19:577-93. doi:10.1090/S0025-5718-1965-0198670-6
.. [2] Levenberg K. Q Appl Math 1944;2:164-8. doi:10.1090/qam/10666 (damping)
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

TINY = 1e-9  # damping that is always there, against directions that move nothing
FAR = 1e3  # residual that stands for one without a value


def descend(
    residuals: Callable[[Array], Array],
    theta: Array,
    slope: Array,
    low: Array,
    high: Array,
    scale: Array,
    *,
    steps: int,
    enough: float,
    damping: float,
    firmer: float,
) -> tuple[Array, Array, Array]:
    """Move each vector downhill, inside the bounds.

    Parameters
    ----------
    residuals : callable
        From vectors (m, parameters) to residuals (m, n_residuals); NaN where there is none.
    theta : ndarray, shape (n, parameters)
        Where to start.
    slope : ndarray, shape (n, n_residuals, parameters)
        Jacobian there, each parameter in units of `scale`; one of slope 0 does not move.
    low, high, scale : ndarray, shape (parameters,)
    steps : int
        At most.
    enough : float
        Fall of the sum of squares below which a vector is done.
    damping, firmer : float
        Of the first step, and the least after a step that went uphill.

    Returns
    -------
    theta, residual (n, n_residuals), slope (n, n_residuals, parameters)
    """
    n, theta = len(theta), theta.copy()
    slopes, damped, active = slope.copy(), np.full(n, damping), np.arange(n)
    current = np.nan_to_num(residuals(theta), nan=FAR)
    for _ in range(steps):
        trial = theta[active].copy()
        for a, k in enumerate(active):
            square = slopes[k].T @ slopes[k] + (damped[k] + TINY) * np.eye(len(scale))
            trial[a] -= np.linalg.solve(square, slopes[k].T @ current[k]) * scale
        trial = np.clip(trial, low, high)
        new = residuals(trial)
        going = []
        for a, k in enumerate(active):
            moved = (trial[a] - theta[k]) / scale
            fall = current[k] @ current[k] - new[a] @ new[a]
            if np.isfinite(fall) and moved.any():
                slopes[k] += np.outer(new[a] - current[k] - slopes[k] @ moved, moved) / (moved @ moved)
            if fall > 0:
                theta[k], current[k], damped[k] = trial[a], new[a], 0.2 * damped[k]
            else:
                damped[k] = max(4 * damped[k], firmer)
            if moved.any() and not 0 < fall < enough:
                going.append(k)
        active = np.array(going, dtype=np.int64)
        if not active.size:
            break
    return theta, current, slopes
