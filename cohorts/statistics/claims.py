"""What an effect is to show against a comparator, and what it shows: one claim with a direction, one statistic.

A claim says between which limits the effect is to lie: superiority beyond no effect, non-inferiority beyond a margin
[1]_, equivalence between two margins by two one-sided tests [2]_. Its statistic is the distance of the effect from the
limit (the nearer of two) in standard errors, by the reference distribution of the analysis itself (Student's t with its
degrees of freedom, normal, or a score or likelihood as a function of the limit), as a normal quantile. The p value of a
claim is twice the one-sided one, so that it is compared with a two-sided level; harm has a p near 1. Decisions,
intervals, boundaries of interim looks, power and type I error all read this statistic.

Superiority after non-inferiority is tested without adjustment, since the two claims are nested [3]_.

References
----------
.. [1] Piaggio G et al. (CONSORT) JAMA 2012;308:2594-604. doi:10.1001/jama.2012.87802
.. [2] Schuirmann DJ. J Pharmacokinet Biopharm 1987;15:657-80. doi:10.1007/BF01068419
.. [3] EMA CPMP/EWP/482/99. Points to consider on switching between superiority and non-inferiority, 2000.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import special

from ranklsim.cohorts.statistics.ancova import LEVEL
from ranklsim.cohorts.statistics.proportions import interval_of_score
from ranklsim.cohorts.statistics.tails import normal_quantile, normal_tail, t_quantile, t_tail

SUPERIORITY, NON_INFERIORITY, EQUIVALENCE = "superiority", "non-inferiority", "equivalence"

NOT_ESTIMABLE = "no conclusion: not estimable"

_FARTHEST = 38.0
"""Normal quantile beyond which a probability is 0 in floating point."""


def is_ratio(measure: str) -> bool:
    """Whether no effect is 1.

    Parameters
    ----------
    measure : str
        A measure of effect, such as "risk ratio".
    """
    return measure.endswith("ratio")


@dataclass(frozen=True)
class Effect:
    """An effect of an arm against a comparator.

    Attributes
    ----------
    measure : str
        Such as "difference of means" or "hazard ratio".
    value, low, high : float
        With its 95 % interval; shares as shares.
    error : float
        Standard error, of the logarithm of a ratio; NaN where the analysis has none.
    df : float
        Degrees of freedom of the reference distribution; infinite for the normal distribution.
    p : float
        Two-sided, of no effect.
    method : str
    z : callable, optional
        From a limit to the signed normal quantile of the test that the effect is there, positive where the data lie
        above; (value - limit) / error with `df` if not given.
    """

    measure: str
    value: float
    low: float
    high: float
    error: float = np.nan
    df: float = np.inf
    p: float = np.nan
    method: str = ""
    z: Callable[[float], float] | None = None

    @classmethod
    def of(cls, measure: str, found: Mapping[str, Any]) -> Effect:
        """The effect that a statistical method gives.

        Parameters
        ----------
        measure : str
        found : mapping
            `estimate`, `low`, `high`, `p`, `method`; of the test `std_error` and `df`, or `z`. Without a `std_error`
            the error is the width of the interval over that of a normal one.
        """
        z, error = found.get("z"), found.get("std_error")
        if error is None:
            low, high = (np.log(found[end]) if is_ratio(measure) and found[end] > 0 else found[end] for end in ENDS)
            one_sided = is_ratio(measure) and not (found["low"] > 0 and np.isfinite(found["high"]))
            error = np.nan if one_sided else float(high - low) / (2 * float(normal_quantile(0.5 + LEVEL / 2)))
        return cls(
            measure, float(found["estimate"]), float(found["low"]), float(found["high"]), error=float(error),
            df=float(found.get("df", np.inf)), p=float(found["p"]), method=str(found.get("method", "")), z=z,
        )  # fmt: skip

    @property
    def none(self) -> float:
        """The value of no effect."""
        return 1.0 if is_ratio(self.measure) else 0.0

    @property
    def tested(self) -> bool:
        """Whether the analysis gives a test."""
        return self.z is not None or bool(self.error > 0)

    def above(self, limit: float) -> float:
        """Signed normal quantile of the test of a limit: positive where the effect lies above it; NaN without a test.

        Parameters
        ----------
        limit : float
        """
        if not self.tested:
            return np.nan
        if self.z is not None:
            return float(np.clip(self.z(limit), -_FARTHEST, _FARTHEST))
        gap = float(np.log(self.value / limit)) if is_ratio(self.measure) else self.value - limit
        t = gap / self.error
        with np.errstate(divide="ignore"):  # beyond what a floating-point number holds
            tail = np.log(t_tail(abs(t), self.df)) if np.isfinite(self.df) else special.log_ndtr(-abs(t))
        return float(np.sign(t) * np.clip(-special.ndtri_exp(tail), 0.0, _FARTHEST))

    def interval(self, level: float) -> tuple[float, float]:
        """Values that the test does not reject; NaN where the analysis has no test.

        Parameters
        ----------
        level : float
        """
        if self.z is not None:
            own = getattr(self.z, "interval", None)
            measure = "risk ratio" if is_ratio(self.measure) else "risk difference"
            return tuple(own(level)) if own is not None else interval_of_score(self.z, measure, level)
        tail = (1 - level) / 2
        if tail == 0.0:  # a boundary where next to nothing may be spent
            return (0.0 if is_ratio(self.measure) else -np.inf), np.inf
        half = float(-t_quantile(tail, self.df)) * self.error
        if is_ratio(self.measure):
            return self.value * float(np.exp(-half)), self.value * float(np.exp(half))
        return self.value - half, self.value + half

    def moved(self, by: float) -> Effect:
        """The same effect, larger by a constant; a ratio by a factor.

        Parameters
        ----------
        by : float
        """
        if is_ratio(self.measure):
            return replace(self, value=self.value * by, low=self.low * by, high=self.high * by)
        return replace(self, value=self.value + by, low=self.low + by, high=self.high + by)


ENDS = ("low", "high")


@dataclass(frozen=True)
class Claim:
    """What an effect is to show.

    Attributes
    ----------
    kind : str
        `SUPERIORITY`, `NON_INFERIORITY` or `EQUIVALENCE`.
    lower, upper : float or None
        Limits on the scale of `Effect`, between which the effect is claimed to lie; None where there is no limit.
    level : float
        Of the two-sided interval on which the claim rests by itself.
    """

    kind: str
    lower: float | None
    upper: float | None
    level: float = LEVEL

    @classmethod
    def superiority(cls, *, ratio: bool, higher_is_better: bool) -> Claim:
        """Better than the comparator.

        Parameters
        ----------
        ratio, higher_is_better : bool
        """
        none = 1.0 if ratio else 0.0
        return cls(SUPERIORITY, none if higher_is_better else None, None if higher_is_better else none)

    @property
    def critical(self) -> float:
        """Statistic from which on the claim is shown by itself."""
        return float(-normal_quantile((1 - self.level) / 2))

    @property
    def limits(self) -> tuple[float, ...]:
        """Those limits that there are."""
        return tuple(limit for limit in (self.lower, self.upper) if limit is not None)

    def statistic(self, effect: Effect) -> float:
        """Distance of an effect from the limit, the nearer of two, as a normal quantile; positive where it is inside.

        Parameters
        ----------
        effect : Effect
        """
        parts = [effect.above(self.lower)] if self.lower is not None else []
        parts += [-effect.above(self.upper)] if self.upper is not None else []
        return min(parts)

    def distance(self, value: float, ratio: bool) -> float:
        """Distance of a value from the limit, the nearer of two: logarithms of ratios; positive inside.

        Parameters
        ----------
        value : float
        ratio : bool
        """
        scale = np.log if ratio else float
        parts = [scale(value) - scale(self.lower)] if self.lower is not None else []
        return float(min([*parts, *([scale(self.upper) - scale(value)] if self.upper is not None else [])]))

    def p(self, effect: Effect) -> float:
        """Twice the one-sided p value of the claim, at most 1; NaN without a test.

        Parameters
        ----------
        effect : Effect
        """
        return float(min(1.0, 2 * normal_tail(self.statistic(effect))))

    def shown(self, effect: Effect) -> bool:
        """Whether the claim is shown by itself: by its statistic, without one by the 95 % interval.

        Parameters
        ----------
        effect : Effect
        """
        if effect.tested:
            return bool(self.statistic(effect) >= self.critical)
        return self._within(effect)

    def _within(self, effect: Effect) -> bool:
        low, high = effect.low, effect.high
        known = np.isfinite(low) and np.isfinite(high)
        above = self.lower is None or low > self.lower
        return bool(known and above and (self.upper is None or high < self.upper))

    def against(self, effect: Effect) -> bool:
        """Whether the opposite is shown: that the effect lies beyond the limit.

        Parameters
        ----------
        effect : Effect
        """
        if effect.tested:
            return bool(self.statistic(effect) <= -self.critical)
        out = (self.lower is not None and effect.high < self.lower) or (
            self.upper is not None and effect.low > self.upper
        )
        return bool(out and effect.low < effect.high)

    def conclusion(self, effect: Effect) -> str:
        """What an effect shows, by the claim alone, in words without the comparator.

        Parameters
        ----------
        effect : Effect

        Returns
        -------
        str
            Such as "superior", "superiority not shown" or "non-inferior; superiority not shown".
        """
        known = np.isfinite(effect.low) or np.isfinite(effect.high)
        if not effect.tested and not (known and effect.low < effect.high):
            return NOT_ESTIMABLE
        shown, against = self.shown(effect), self.against(effect)
        if self.kind == SUPERIORITY:
            return "superior" if shown else WORSE[self.kind] if against else not_shown(self.kind)
        if self.kind == EQUIVALENCE:
            return "equivalent" if shown else WORSE[self.kind] if against else not_shown(self.kind)
        if not shown:
            return WORSE[self.kind] if against else not_shown(self.kind)
        better = replace(self, kind=SUPERIORITY, lower=None if self.lower is None else effect.none,
                         upper=None if self.upper is None else effect.none)  # fmt: skip
        if better.shown(effect):
            return "non-inferior, and superior"
        return THOUGH_WORSE if better.against(effect) else "non-inferior; superiority not shown"

    def decided(self, shown: bool, why: str, alone: str) -> str:
        """The conclusion that a procedure over several hypotheses or looks comes to.

        Parameters
        ----------
        shown : bool
        why : str
            Such as "adjusted p 0.08"; stands in brackets.
        alone : str
            The conclusion by the claim alone. Harm that it tells is told here too.

        Returns
        -------
        str
            Such as "superior (adjusted p 0.012)" or "inferior; superiority not shown (adjusted p 1.000)".
        """
        said = SHOWN[self.kind] if shown else not_shown(self.kind)
        if shown and alone == THOUGH_WORSE:
            said = alone
        elif not shown and alone == WORSE[self.kind]:
            said = f"{alone}; {said}"
        return f"{said} ({why})" if why else said


SHOWN = {SUPERIORITY: "superior", NON_INFERIORITY: "non-inferior", EQUIVALENCE: "equivalent"}
"""A claim that is shown, in a word."""

WORSE = {SUPERIORITY: "inferior", NON_INFERIORITY: "inferior by more than the margin", EQUIVALENCE: "not equivalent"}
"""The opposite of a claim, shown by itself."""

THOUGH_WORSE = "non-inferior, though worse"


def not_shown(kind: str) -> str:
    """A claim that is not shown, in words.

    Parameters
    ----------
    kind : str
    """
    return f"{kind} not shown"
