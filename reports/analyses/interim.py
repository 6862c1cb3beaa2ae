"""Group-sequential boundaries by alpha spending (Lan and DeMets [1]_), of O'Brien-Fleming and of Pocock type.

Boundaries come from the recursion of Armitage, McPherson and Rowe [2]_ over the density of the score process, which has
independent normal increments with the information as variance.

References
----------
.. [1] Lan KKG, DeMets DL. Biometrika 1983;70:659-63. doi:10.1093/biomet/70.3.659
.. [2] Armitage P, McPherson CK, Rowe BC. J R Stat Soc A 1969;132:235-44. doi:10.2307/2343787
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import optimize, stats

SPENDING = ("O'Brien-Fleming", "Pocock")
_GRID = 1201


def spent(share: np.ndarray, alpha: float, kind: str) -> np.ndarray:
    """One-sided alpha spent at shares (0 to 1) of the final information."""
    share = np.asarray(share, float)
    if kind == "O'Brien-Fleming":
        return np.asarray(2 * stats.norm.sf(stats.norm.isf(alpha / 2) / np.sqrt(share)))
    if kind == "Pocock":
        return np.asarray(alpha * np.log1p((np.e - 1) * share))
    raise ValueError(f"unknown spending function {kind!r}; use one of {', '.join(SPENDING)}")


def boundaries(information: Sequence[float], *, alpha: float = 0.05, kind: str = "O'Brien-Fleming") -> pd.DataFrame:
    """Symmetric two-sided boundaries.

    Parameters
    ----------
    information : sequence of float
        Shares of the final information at the looks, increasing, the last 1.
    alpha : float
        Two-sided.
    kind : {"O'Brien-Fleming", "Pocock"}

    Returns
    -------
    DataFrame
        A row a look: `look`, `information`, `alpha_spent` (two-sided), `z`, `p` (nominal two-sided).

    Raises
    ------
    ValueError
        If the shares do not increase to 1.
    """
    t = np.asarray(information, float)
    if t.size == 0 or (np.diff(t) <= 0).any() or t[0] <= 0 or abs(t[-1] - 1) > 1e-9:
        raise ValueError("shares of information must increase, from above 0, to 1")
    side = spent(t, alpha / 2, kind)
    step = np.diff(np.concatenate([[0.0], side]))
    limits, grid, density = [], np.zeros(1), np.ones(1)
    weights = np.ones(1)
    for k in range(t.size):
        sd = np.sqrt(t[k] - (t[k - 1] if k else 0.0))

        z = optimize.brentq(_excess, 0.0, 12.0, args=(grid, weights * density, np.sqrt(t[k]), sd, step[k]), xtol=1e-10)
        limits.append(z)
        edge = z * np.sqrt(t[k])
        new = np.linspace(-edge, edge, _GRID)
        density = (stats.norm.pdf((new[:, None] - grid[None, :]) / sd) / sd) @ (weights * density)
        grid = new
        weights = np.full(_GRID, 2.0)
        weights[1::2] = 4.0
        weights[[0, -1]] = 1.0
        weights *= (new[1] - new[0]) / 3  # Simpson
    z = np.array(limits)
    frame = {"look": np.arange(1, t.size + 1), "information": t, "alpha_spent": 2 * side, "z": z}
    return pd.DataFrame(frame | {"p": 2 * stats.norm.sf(z)})


def _excess(z: float, grid: np.ndarray, mass: np.ndarray, scale: float, sd: float, wanted: float) -> float:
    """Probability of crossing z at this look after none before, minus the alpha there is to spend."""
    return float((mass * stats.norm.sf((z * scale - grid) / sd)).sum()) - wanted
