"""Maximum likelihood by Newton's method, and what a likelihood says of an effect that has no finite estimate.

Where an arm has no event (or nothing but events), or has all of them before, or after, the other arm's, the likelihood
of a ratio rises without end as the ratio falls to 0 (or rises). Its interval is then one-sided: the ratios whose signed
root of the likelihood ratio, over all other parameters, is not beyond the normal quantile (profile likelihood [1]_).
The hypothesis of no effect is tested by the score [2]_; an end of the interval never contradicts that test.

References
----------
.. [1] Venzon DJ, Moolgavkar SH. Appl Stat 1988;37:87-94. doi:10.2307/2347496
.. [2] Cox DR, Hinkley DV. Theoretical Statistics, Chapman & Hall 1974, section 9.3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ranklsim.cohorts.statistics.roots import root
from ranklsim.cohorts.statistics.tails import normal_quantile, normal_tail
from ranklsim.pkpd.errors import RunFailed

Look = Callable[[np.ndarray], tuple[float, np.ndarray, np.ndarray]]
"""From parameters to log likelihood, score and information."""

MOST_STEPS = 50
CLOSE = 1e-9
"""Of a step, in the unit of its standard error."""
FAR = 30.0
"""Logarithm of a ratio that stands for an infinite one."""


def highest(look: Look, start: np.ndarray, failed: str) -> float:
    """The highest log likelihood, where some parameters may not be determined or go without end.

    Parameters
    ----------
    look, start, failed
        As for `maximise`.
    """
    return maximise(look, start, failed, determined=False)[1]


def maximise(
    look: Look, start: np.ndarray, failed: str, *, determined: bool = True
) -> tuple[np.ndarray, float, np.ndarray]:
    """Parameters at which a log likelihood is highest, its value, and the information there.

    Parameters
    ----------
    look : callable
        As `Look`.
    start : ndarray, shape (k,)
    failed : str
        Message where there is no finite maximum.
    determined : bool
        Whether every parameter must be determined.

    Returns
    -------
    ndarray, float, ndarray
        Of shapes (k,), (), (k, k).

    Raises
    ------
    RunFailed
        If the search does not end, or the data do not determine a parameter.
    """
    at, found = start, look(start)
    for _ in range(MOST_STEPS):
        likelihood, score, information = found
        if not at.size:
            return at, likelihood, information
        if not np.isfinite(information).all() or (determined and np.linalg.cond(information) > 1e12):
            raise RunFailed(failed)
        step = np.linalg.solve(information, score) if determined else np.linalg.pinv(information) @ score
        if score @ step < CLOSE**2 or (not determined and np.abs(score).max() < CLOSE):
            return at, likelihood, information
        trial = look(at + step)
        while not trial[0] >= likelihood - 1e-9 * abs(likelihood) and np.abs(step).max() > 1e-8:
            step = step / 2
            trial = look(at + step)
        at, found = at + step, trial
    if not determined:
        return at, found[0], found[2]  # a parameter goes on without end, and the likelihood no more than by rounding
    raise RunFailed(failed)


def of_first(look: Look, start: np.ndarray, failed: str) -> tuple[np.ndarray, float, np.ndarray] | None:
    """As `maximise`, but parameters after the first may go without end; None where the first one does.

    The coefficient of a covariate is infinite where all events are on one side of it. The patients on the other side
    then say nothing of the first parameter, and the rest tell it as ever.

    Parameters
    ----------
    look, start, failed
        As for `maximise`.
    """
    try:
        found = maximise(look, start, failed)
    except RunFailed:
        found = maximise(look, start, failed, determined=False)
    return found if abs(found[0][0]) < ENDLESS and information_of_first(found[2]) > TOO_WIDE**-2 else None


ENDLESS = 20.0
"""Logarithm of a ratio beyond which the likelihood rises without end."""
TOO_WIDE = 20.0
"""Standard error of the logarithm of a ratio beyond which a model has found no maximum."""
NONE = 1e-9
"""Information up to which the data say nothing of a parameter, but for rounding."""


def bounded(predictor: np.ndarray) -> np.ndarray:
    """Logarithms of hazards within what is far enough to be 0 or infinite, so that no sum overflows.

    Parameters
    ----------
    predictor : ndarray
    """
    return np.clip(predictor, -300.0, 300.0)


def information_of_first(information: np.ndarray) -> float:
    """Information on the first parameter when the others are estimated beside it; 0 where it is not determined.

    Parameters
    ----------
    information : ndarray, shape (k, k)
    """
    if not np.isfinite(information).all():
        return 0.0
    return float(information[0, 0] - information[1:, 0] @ of_others(information))


def of_others(information: np.ndarray) -> np.ndarray:
    """What of the first score the others tell: its regression on them, shape (k - 1,).

    It is solved for, since the entries of an inverse are large and rounded where a parameter goes without end.

    Parameters
    ----------
    information : ndarray, shape (k, k)
    """
    return np.asarray(np.linalg.lstsq(information[1:, 1:], information[1:, 0], rcond=1e-15)[0])


def end_of(profile: Callable[[float], float], seen: Sequence[bool]) -> float:
    """The side of an `Edge`: 1 or -1, or 0 where the likelihood prefers none.

    Parameters
    ----------
    profile : callable
        As that of an `Edge`.
    seen : sequence of bool
        Whether the arm, and control, have events.
    """
    if not all(seen):
        return 1.0 if seen[0] else -1.0
    rise = profile(FAR) - profile(-FAR)
    return float(np.sign(rise)) if abs(rise) > 1e-6 else 0.0


@dataclass(frozen=True)
class Edge:
    """A ratio whose estimate is 0 or infinite.

    Attributes
    ----------
    profile : callable
        From the logarithm of the ratio to the log likelihood, highest over all other parameters.
    side : float
        -1 where the estimate is 0, 1 where it is infinite.
    score : float
        z of the score test of a ratio of 1, positive above it.
    """

    profile: Callable[[float], float]
    side: float
    score: float

    @cached_property
    def _best(self) -> float:
        return self.profile(self.side * FAR)

    def __call__(self, ratio: float) -> float:
        """Signed z of a ratio: positive where the data lie above it."""
        slope = float(np.log(ratio))
        return self.score if abs(slope) < 1e-12 else self._root(slope)

    def _root(self, slope: float) -> float:
        return self.side * float(np.sqrt(2 * max(self._best - self.profile(slope), 0.0)))

    def found(self, level: float) -> dict[str, Any]:
        """`estimate`, `low`, `high`, `p` and `z`, this object.

        Parameters
        ----------
        level : float
        """
        low, high = self.interval(level)
        p = 2 * float(normal_tail(abs(self.score)))
        return {"estimate": 0.0 if self.side < 0 else np.inf, "low": low, "high": high, "p": p, "z": self}

    def interval(self, level: float) -> tuple[float, float]:
        """The one-sided interval.

        Parameters
        ----------
        level : float
        """
        z = float(normal_quantile(0.5 + level / 2))
        far, near = self.side * FAR, -self.side * FAR
        end = near
        if abs(self._root(near)) > z:
            end = root(lambda slope: abs(self._root(slope)) - z, far, near, 1e-10)
        limit = float(np.exp(end)) if end != near else (0.0 if near < 0 else np.inf)
        holds = abs(self.score) < z
        if holds and -self.side * end < 0:
            limit = 1.0
        elif not holds and -self.side * end >= 0:
            limit = float(np.nextafter(1.0, 0.0 if self.side < 0 else 2.0))
        return (0.0, limit) if self.side < 0 else (limit, np.inf)
