"""Group-sequential boundaries by alpha spending (Lan and DeMets [1]_), of O'Brien-Fleming and of Pocock type.

Boundaries come from the recursion of Armitage, McPherson and Rowe [2]_ over the density of the score process, which has
independent normal increments with the information as variance. The same process gives conditional power [3]_, repeated
confidence intervals [4]_ and the p-value of a whole sequence of looks [5]_.

References
----------
.. [1] Lan KKG, DeMets DL. Biometrika 1983;70:659-63. doi:10.1093/biomet/70.3.659
.. [2] Armitage P, McPherson CK, Rowe BC. J R Stat Soc A 1969;132:235-44. doi:10.2307/2343787
.. [3] Lan KKG, Wittes J. Biometrics 1988;44:579-85. doi:10.2307/2531870
.. [4] Jennison C, Turnbull BW. J R Stat Soc B 1989;51:305-61. doi:10.1111/j.2517-6161.1989.tb01433.x
.. [5] Liu A, Anderson KM. J Am Stat Assoc 2008;103:1621-30 (recalled: the least level at which a sequence rejects)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import pandas as pd
from scipy import optimize, special, stats

from ranklsim.cohorts.protocol.endpoints import SPENDING, Futility

_GRID = 401
_FARTHEST = 9.0
"""Boundary beyond which no more probability is left than rounding; a look that may spend less rejects nothing."""
_LEVELS = (1e-12, 0.999)
"""Between these a p-value of a sequence is looked for."""


def spent(share: np.ndarray, alpha: float, kind: str) -> np.ndarray:
    """One-sided alpha spent at shares (0 to 1) of the final information."""
    share = np.asarray(share, float)
    if kind == "O'Brien-Fleming":
        return np.asarray(2 * stats.norm.sf(stats.norm.isf(alpha / 2) / np.sqrt(share)))
    if kind == "Pocock":
        return np.asarray(alpha * np.log1p((math.e - 1) * share))
    raise ValueError(f"unknown spending function {kind!r}; use one of {', '.join(SPENDING)}")


def boundaries(
    information: Sequence[float],
    *,
    alpha: float = 0.05,
    kind: str = "O'Brien-Fleming",
    time: Sequence[float] | None = None,
) -> pd.DataFrame:
    """Symmetric two-sided boundaries.

    Parameters
    ----------
    information : sequence of float
        Shares of the final information at the looks, increasing, the last 1.
    alpha : float
        Two-sided.
    kind : {"O'Brien-Fleming", "Pocock"}
    time : sequence of float, optional
        Shares by which alpha is spent, not decreasing, the last 1: those of the information planned, where it is not
        what was reached. `information` if not given.

    Returns
    -------
    DataFrame
        A row a look: `look`, `information`, `alpha_spent` (two-sided), `z` (infinite where there is nothing to
        spend), `p` (nominal two-sided).

    Raises
    ------
    ValueError
        If the shares do not increase to 1.
    """
    t = np.asarray(information, float)
    if t.size == 0 or (np.diff(t) <= 0).any() or t[0] <= 0 or abs(t[-1] - 1) > 1e-9:
        raise ValueError("shares of information must increase, from above 0, to 1")
    clock = t if time is None else np.asarray(time, float)
    if clock.shape != t.shape or (np.diff(clock) < 0).any() or clock[0] <= 0 or abs(clock[-1] - 1) > 1e-9:
        raise ValueError("shares by which alpha is spent must go up to 1, one for each look")
    side = spent(clock, alpha / 2, kind)
    z = np.array(_limits(tuple(t.tolist()), tuple(np.diff(side, prepend=0.0).tolist())))
    frame = {"look": np.arange(1, t.size + 1), "information": t, "alpha_spent": 2 * side, "z": z}
    return pd.DataFrame(frame | {"p": 2 * stats.norm.sf(z)})


@lru_cache(maxsize=1024)
def _limits(information: tuple[float, ...], step: tuple[float, ...]) -> tuple[float, ...]:
    """Boundaries of which each is crossed with a probability of `step` on either side, none having been before."""
    limits, grid, mass = [], np.zeros(1), np.ones(1)
    before = 0.0
    for now, wanted in zip(information, step, strict=True):
        sd, scale = np.sqrt(now - before), np.sqrt(now)
        before = now
        z = np.inf
        if _excess(_FARTHEST, grid, mass, scale, sd, wanted) < 0:
            z = optimize.brentq(_excess, 0.0, _FARTHEST, args=(grid, mass, scale, sd, wanted), xtol=1e-10)
        limits.append(float(z))
        edge = min(z, _FARTHEST) * scale
        new = np.linspace(-edge, edge, _GRID)
        apart = (new[:, None] - grid[None, :]) / sd
        density = np.exp(-0.5 * apart**2) @ mass / (sd * np.sqrt(2 * np.pi))
        weights = np.full(_GRID, 2.0)
        weights[1::2] = 4.0
        weights[[0, -1]] = 1.0
        grid, mass = new, density * weights * (new[1] - new[0]) / 3  # Simpson
    return tuple(limits)


def _excess(z: float, grid: np.ndarray, mass: np.ndarray, scale: float, sd: float, wanted: float) -> float:
    """Probability of crossing z at this look after none before, minus the alpha there is to spend."""
    return float(mass @ special.ndtr((grid - z * scale) / sd)) - wanted


def conditional_power(z: float, share: float, final: float, drift: float | None = None) -> float:
    """Probability that the last analysis ends above its boundary, given what a look shows; looks between are ignored.

    Parameters
    ----------
    z : float
        Statistic at the look, positive for a benefit.
    share : float
        Of the final information, below 1.
    final : float
        Boundary of the last analysis.
    drift : float, optional
        Mean of the last statistic under the effect that the data to come are thought to have; the effect seen so far
        (`z` over the root of `share`) if not given.
    """
    rest = 1 - share
    drift = z / np.sqrt(share) if drift is None else drift
    return float(stats.norm.sf((final - z * np.sqrt(share) - drift * rest) / np.sqrt(rest)))


def futility_limit(share: float, final: float, rule: Futility, drift: float | None = None) -> float:
    """Statistic below which `conditional_power` is below that of a rule; `drift` as planned, for "design"."""
    rest = 1 - share
    reach = final - stats.norm.isf(rule.below) * np.sqrt(rest)
    if rule.under == "trend":
        return float(reach * np.sqrt(share))
    assert drift is not None
    return float((reach - drift * rest) / np.sqrt(share))


def p_of_sequence(
    z: Sequence[float],
    information: Sequence[float],
    *,
    kind: str = "O'Brien-Fleming",
    time: Sequence[float] | None = None,
) -> float:
    """The least two-sided alpha at which one of the looks crosses its boundary [5]_.

    Parameters
    ----------
    z : sequence of float
        Statistics of the looks, of as many of the first ones as were taken.
    information, kind, time
        As for `boundaries`: of all looks and the last analysis.
    """
    seen = np.abs(np.asarray(z, float))

    def crossed(level: float) -> bool:
        limits = boundaries(information, alpha=level, kind=kind, time=time)["z"].to_numpy()
        return bool((seen >= limits[: seen.size]).any())

    low, high = np.log(_LEVELS[0]), np.log(_LEVELS[1])
    if not crossed(float(np.exp(high))):
        return 1.0
    while high - low > 1e-4:
        middle = (low + high) / 2
        low, high = (low, middle) if crossed(float(np.exp(middle))) else (middle, high)
    return float(np.exp(high))
