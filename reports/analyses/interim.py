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
.. [6] Hwang IK, Shih WJ, De Cani JS. Stat Med 1990;9:1439-45. doi:10.1002/sim.4780091207
.. [7] Kim K, DeMets DL. Biometrika 1987;74:149-54. doi:10.1093/biomet/74.1.149
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
import pandas as pd
import scipy
from scipy import special

from ranklsim.cohorts.protocol.endpoints import SPENDING, Futility
from ranklsim.cohorts.statistics.roots import root
from ranklsim.cohorts.statistics.tails import normal_quantile, normal_tail

_POINTS, _KERNEL_POINTS = 321, 64
_REACH = 9.0
"""Standard deviations of an increment, beyond which no more probability is left than rounding."""
_FARTHEST = 9.0
"""Boundary beyond which no more probability is left than rounding; a look that may spend less rejects nothing."""
_LEVELS = (1e-12, 0.999)
"""Between these a p-value of a sequence is looked for."""


@lru_cache(maxsize=2)
def _gauss(points: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of Gauss and Legendre, which take a tenth of a second: not before they are wanted."""
    return np.polynomial.legendre.leggauss(points)


def spent(share: np.ndarray, alpha: float, kind: str, shape: Sequence[float] = ()) -> np.ndarray:
    """One-sided alpha spent at shares (0 to 1) of the final information.

    Parameters
    ----------
    share : ndarray
        Shares of the information at the looks.
    alpha : float
        One-sided level over all looks.
    kind : str
        Kind of the spending function, one of `SPENDING`.
    shape : sequence of float
        Its parameter; of an own one, shares of the information and then the shares of alpha spent by them.
    """
    share = np.asarray(share, float)
    if kind == "O'Brien-Fleming":
        return np.asarray(2 * normal_tail(-normal_quantile(alpha / 2) / np.sqrt(share)))
    if kind == "Pocock":
        return np.asarray(alpha * np.log1p((math.e - 1) * share))
    if kind == "Hwang-Shih-DeCani":  # [6]_
        return np.asarray(alpha * np.expm1(-shape[0] * share) / np.expm1(-shape[0]))
    if kind == "power":  # [7]_
        return np.asarray(alpha * share ** shape[0])
    if kind == "own":
        half = len(shape) // 2
        return np.asarray(alpha * np.interp(share, [0.0, *shape[:half], 1.0], [0.0, *shape[half:], 1.0]))
    raise ValueError(f"unknown spending function {kind!r}; use one of {', '.join(SPENDING)}")


def boundaries(
    information: Sequence[float],
    *,
    alpha: float = 0.05,
    kind: str = "O'Brien-Fleming",
    time: Sequence[float] | None = None,
    shape: Sequence[float] = (),
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
    shape : sequence of float
        As for `spent`.

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
    side = spent(clock, alpha / 2, kind, shape)
    z = np.array(_limits(tuple(t.tolist()), tuple(np.diff(side, prepend=0.0).tolist())))
    frame = {"look": np.arange(1, t.size + 1), "information": t, "alpha_spent": 2 * side, "z": z}
    return pd.DataFrame(frame | {"p": 2 * normal_tail(z)})


@lru_cache(maxsize=1024)
def _limits(information: tuple[float, ...], step: tuple[float, ...]) -> tuple[float, ...]:
    """Boundaries of which each is crossed with a probability of `step` on either side, none having been before."""
    limits: list[float] = []
    inside: _Inside | None = None
    before = 0.0
    for now, wanted in zip(information, step, strict=True):
        scale = float(np.sqrt(now))
        following = _Step(inside, float(np.sqrt(now - before)))
        before, z = now, np.inf
        if following.above(_FARTHEST * scale) < wanted:
            z = root(partial(_excess, following, scale, wanted), 0.0, _FARTHEST, 1e-10)
        limits.append(float(z))
        edge = min(z, _FARTHEST) * scale
        inside = _Inside(edge, following.density(edge * _gauss(_POINTS)[0]))
    return tuple(limits)


class _Inside:
    """Density of the score process within the boundaries of a look, none having been crossed.

    It is known at Gauss-Legendre nodes, which lie close at the boundaries, where a look soon after the one before
    leaves a density that falls steeply.
    """

    def __init__(self, edge: float, values: np.ndarray) -> None:
        self.edge = edge
        self.curve = scipy.interpolate.CubicSpline(edge * _gauss(_POINTS)[0], values)
        self.upto = self.curve.antiderivative()
        self.mass = float(edge * _gauss(_POINTS)[1] @ values)

    def above(self, at: np.ndarray) -> np.ndarray:
        """Mass above some values."""
        last = self.edge * _gauss(_POINTS)[0][-1]
        return np.where(at >= last, 0.0, np.where(at <= -last, self.mass, self.upto(last) - self.upto(at)))


def _excess(step: _Step, scale: float, wanted: float, z: float) -> float:
    return step.above(z * scale) - wanted


@dataclass(frozen=True)
class _Step:
    """The score process at the next look: a normal increment with a standard deviation after `inside`, or after 0."""

    inside: _Inside | None
    sd: float

    def above(self, limit: float) -> float:
        """Probability to be above a limit."""
        if self.inside is None:
            return float(special.ndtr(-limit / self.sd))
        # Normal increments t between which the way to the limit leads from within the boundaries.
        low, high = ((limit - side * self.inside.edge) / self.sd for side in (1.0, -1.0))
        low, high = np.clip([low, high], -_REACH, _REACH)
        nodes, weights = _gauss(_KERNEL_POINTS)
        t = (low + high) / 2 + (high - low) / 2 * nodes
        within = (high - low) / 2 * float(weights @ (_normal(t) * self.inside.above(limit - self.sd * t)))
        return within + self.inside.mass * float(special.ndtr(-high))

    def density(self, at: np.ndarray) -> np.ndarray:
        """Density at some values."""
        if self.inside is None:
            return _normal(at / self.sd) / self.sd
        low, high = ((at - side * self.inside.edge) / self.sd for side in (1.0, -1.0))
        low, high = np.clip(low, -_REACH, _REACH), np.clip(high, -_REACH, _REACH)
        nodes, weights = _gauss(_KERNEL_POINTS)
        t = ((low + high) / 2)[:, None] + ((high - low) / 2)[:, None] * nodes
        values = _normal(t) * self.inside.curve(at[:, None] - self.sd * t)
        return np.asarray((high - low) / 2 * (values @ weights))


def _normal(x: np.ndarray) -> np.ndarray:
    return np.exp(-0.5 * x**2) / np.sqrt(2 * np.pi)


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
    return float(normal_tail((final - z * np.sqrt(share) - drift * rest) / np.sqrt(rest)))


def futility_limit(share: float, final: float, rule: Futility, drift: float | None = None) -> float:
    """Statistic below which `conditional_power` is below that of a rule; `drift` as planned, for "design".

    Parameters
    ----------
    share : float
        Share of the final information at the look.
    final : float
        Boundary of the final analysis.
    rule : Futility
        Its least conditional power and assumed effect.
    drift : float, optional
        Mean of the final statistic under the design.
    """
    rest = 1 - share
    reach = final + normal_quantile(rule.below) * np.sqrt(rest)
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
    alpha: float | None = None,
    shape: Sequence[float] = (),
) -> float:
    """The least two-sided alpha at which one of the looks crosses its upper boundary [5]_.

    Parameters
    ----------
    z : sequence of float
        Statistics of the looks, of as many of the first ones as were taken.
    information, kind, time, shape
        As for `boundaries`: of all looks and the last analysis.
    alpha : float, optional
        A level of which p must say rightly whether it is reached.
    """
    seen = np.asarray(z, float)

    def crossed(level: float) -> bool:
        limits = boundaries(information, alpha=level, kind=kind, time=time, shape=shape)["z"].to_numpy()
        return bool((seen >= limits[: seen.size]).any())

    low, high = np.log(_LEVELS[0]), np.log(_LEVELS[1])
    if not crossed(float(np.exp(high))):
        return 1.0
    if alpha is not None:
        low, high = (low, np.log(alpha)) if crossed(alpha) else (np.log(alpha), high)
    while high - low > 1e-4:
        middle = (low + high) / 2
        low, high = (low, middle) if crossed(float(np.exp(middle))) else (middle, high)
    return float(np.exp(high)) if alpha is None or high != np.log(alpha) else alpha
