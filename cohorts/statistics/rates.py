"""Numbers of events a patient and year: negative binomial regression with the time at risk as offset."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from ranklsim.cohorts.statistics.likelihood import TOO_WIDE, Edge, information_of_first, maximise
from ranklsim.cohorts.statistics.proportions import model_matrix, no_ratio, telling, wald
from ranklsim.cohorts.statistics.roots import root
from ranklsim.cohorts.statistics.tails import normal_quantile, normal_tail
from ranklsim.pkpd.errors import BadInput, RunFailed

POISSON = "Poisson, the limit of the negative binomial without overdispersion"
FEW = 10
"""Events of both arms together below which their ratio is exact: so few say nothing of a dispersion (our choice)."""
FAILED = "the negative binomial model does not converge."
_LEAST, _MOST = np.log(1e-8), np.log(1e6)
"""Logarithms of the dispersions between which the best is looked for."""


def rate_ratio(
    table: pd.DataFrame, arm: str, control: str, covariates: Sequence[str] = (), *, level: float = 0.95
) -> dict[str, Any]:
    """Ratio of the rates of an arm and control.

    The counts have variance m + a m² [1]_ (NB2) and mean m = years x rate; where they are not more spread than
    Poisson's (a = 0 fits best) the Poisson model is the limit, and `method` says so. Ratio and a are those of maximum
    likelihood. In small samples that a is too small, as a variance is by n in place of n - k; the standard error is
    therefore the one at the a of Cox and Reid's adjusted profile likelihood [2]_ [3]_, and its test and interval are
    Student's with patients less coefficients as degrees of freedom. Where an arm has no event the ratio is 0 or
    infinite, with interval and test of the profile likelihood. Fewer than `FEW` events in both arms are compared by
    `exact_ratio`, without strata and covariates. A stratum without an event says nothing of the ratio and is left out.

    Parameters
    ----------
    table : DataFrame
        A row a patient: `arm`, `count`, `years` (> 0), optionally `stratum`, and `covariates`.
    arm, control : str
    covariates : sequence of str
        Numbers, entered linearly.
    level : float

    Returns
    -------
    dict
        `estimate`, `low`, `high`, `p` (log scale), `std_error` of the logarithm, `df`, `method`, `dispersion` (a),
        `dispersion_of_error`; with an infinite estimate `z` in place of the error.

    Raises
    ------
    BadInput
        If an arm has no patient left.
    RunFailed
        If the model does not converge.

    References
    ----------
    .. [1] Cameron AC, Trivedi PK. Regression Analysis of Count Data, 2nd ed., Cambridge 2013, section 3.3.
    .. [2] Cox DR, Reid N. J R Stat Soc B 1987;49:1-39. doi:10.1111/j.2517-6161.1987.tb01422.x
    .. [3] McCarthy DJ, Chen Y, Smyth GK. Nucleic Acids Res 2012;40:4288-97. doi:10.1093/nar/gks042
    """
    own = table[table["arm"].isin([arm, control]) & (table["years"] > 0)].dropna(subset=list(covariates))
    events, years = [], []
    for name in (arm, control):
        here = own[own["arm"] == name]
        if here.empty:
            raise BadInput(f"no patient of {name} is left for the analysis.")
        events.append(int(here["count"].sum()))
        years.append(float(here["years"].sum()))
    if not any(events):
        return no_ratio() | {"method": POISSON, "dispersion": np.nan}
    if sum(events) < FEW:
        return exact_ratio((events[0], events[1]), (years[0], years[1]), level=level)
    own = telling(own, own["count"] > 0)
    if own["arm"].nunique() < 2:
        return no_ratio() | {"method": POISSON, "dispersion": np.nan}
    matrix = model_matrix(own, arm, covariates)
    rest = np.column_stack([np.ones(len(own)), matrix[:, 1:]])
    count, time = own["count"].to_numpy(float), np.log(own["years"].to_numpy(float))
    if not all(events):
        side = 1.0 if events[0] else -1.0

        def profile(slope: float) -> float:
            return _fit(count, rest, time + slope * matrix[:, 0], determined=False).likelihood

        edge = Edge(profile, side, np.nan)
        edge = Edge(profile, side, edge._root(0.0))
        return edge.found(level) | {"method": "negative binomial, profile likelihood", "dispersion": np.nan}
    whole = np.column_stack([matrix[:, :1], rest])
    try:
        found = _fit(count, whole, time)
    except RunFailed:  # a covariate is without any event on one side, and its coefficient infinite
        found = _fit(count, whole, time, determined=False)
    spread = found.adjusted()
    known = information_of_first(found.expected(spread))
    if not known > TOO_WIDE**-2:
        raise RunFailed(FAILED)
    error = float(np.sqrt(1 / known))
    method = "negative binomial" if max(found.dispersion, spread) else POISSON
    more = {"method": method, "dispersion": found.dispersion, "dispersion_of_error": spread}
    return wald(float(found.slope[0]), error, level, df=float(len(own) - found.slope.size)) | more


@dataclass(frozen=True)
class _Exact:
    """The test of a ratio of two Poisson rates given their sum of events: signed normal quantile, and its interval."""

    events: tuple[int, int]
    years: tuple[float, float]

    def __call__(self, ratio: float) -> float:
        """Positive where the data lie above `ratio`.

        Parameters
        ----------
        ratio : float
        """
        x, n = self.events[0], sum(self.events)
        share = ratio * self.years[0] / (ratio * self.years[0] + self.years[1])
        if x > n * share:
            return max(0.0, -float(normal_quantile(special.betainc(x, n - x + 1, share))))
        return -max(0.0, -float(normal_quantile(special.betaincc(x + 1, n - x, share)))) if x < n else 0.0

    def interval(self, level: float) -> tuple[float, float]:
        """Ratios that a two-sided test does not reject.

        Parameters
        ----------
        level : float
        """
        (x, other), tail = self.events, (1 - level) / 2
        low = float(special.betaincinv(x, other + 1, tail)) if x else 0.0
        high = float(special.betainccinv(x + 1, other, tail)) if other else 1.0
        scale = self.years[1] / self.years[0]
        return scale * low / (1 - low), scale * high / (1 - high) if high < 1 else np.inf


def exact_ratio(events: tuple[int, int], years: tuple[float, float], *, level: float = 0.95) -> dict[str, Any]:
    """Ratio of two Poisson rates, exact given the sum of both counts [4]_, which is binomial (Clopper and Pearson).

    Parameters
    ----------
    events : tuple of int
        Of the arm and of control; at least one of both.
    years : tuple of float
    level : float

    Returns
    -------
    dict
        `estimate`, `low`, `high`, `p` (two-sided: twice the smaller tail), `z` (a function of the ratio), `method`.

    References
    ----------
    .. [4] Przyborowski J, Wilenski H. Biometrika 1940;31:313-23. doi:10.1093/biomet/31.3-4.313
    """
    test = _Exact(events, years)
    low, high = test.interval(level)
    estimate = events[0] * years[1] / (events[1] * years[0]) if events[1] else np.inf
    p = min(1.0, 2 * float(normal_tail(abs(test(1.0)))))
    method = f"exact, of Poisson counts given their sum of {sum(events)}"
    return {"estimate": estimate, "low": low, "high": high, "p": p, "z": test, "method": method, "dispersion": np.nan}


class _fit:
    """The best negative binomial model of counts: `slope`, `dispersion`, `likelihood`."""

    def __init__(self, count: np.ndarray, design: np.ndarray, offset: np.ndarray, *, determined: bool = True) -> None:
        self.determined = determined
        self.count, self.design, self.offset = count, design, offset
        self._whole = count.astype(int)
        self._counts = np.arange(self._whole.max() + 1)  # few, so that a function of a count is taken from a table
        start = np.zeros(design.shape[1])
        start[(design == 1).all(axis=0)] = np.log(count.sum() / np.exp(offset).sum())
        self.slope, self.likelihood, _ = self._at(0.0, start)
        self.dispersion = self._highest(self._score)
        if self.dispersion:
            self.slope, self.likelihood, _ = self._at(self.dispersion, self.slope)

    def adjusted(self) -> float:
        """The dispersion at which the profile likelihood, less half the logarithm of |X'WX|, is highest."""
        return self._highest(lambda a, slope: self._score(a, slope) + self._adjustment(a, slope))

    def expected(self, a: float) -> np.ndarray:
        """The expected information X'WX on the slopes, at a dispersion."""
        weight = 1 / (1 / np.exp(self.design @ self.slope + self.offset) + a)
        return np.asarray((self.design * weight[:, None]).T @ self.design)

    def _highest(self, score: Callable[[float, np.ndarray], float]) -> float:
        """The dispersion at which a derivative by it, at the best slopes, falls through zero; 0 if it never rises."""
        held = [self.slope]

        def at(log: float) -> float:
            held[0] = self._at(float(np.exp(log)), held[0])[0]
            return score(float(np.exp(log)), held[0])

        grid = np.linspace(_LEAST, _MOST, 33)
        if at(grid[0]) <= 0:
            return 0.0
        for before, after in itertools.pairwise(grid):
            if at(after) <= 0:
                return float(np.exp(root(at, before, after, 1e-12)))
        return 0.0  # beyond all bounds

    def _at(self, a: float, start: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
        return maximise(lambda slope: self._look(a, slope), start, FAILED, determined=self.determined)

    def _look(self, a: float, slope: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        y, linear = self.count, np.clip(self.design @ slope + self.offset, -700, 700)
        mean = np.exp(linear)
        spread = 1 + a * mean
        constant = -special.gammaln(self._counts + 1.0)
        if a == 0:
            likelihood = y * linear - mean + constant[self._whole]
        else:
            constant += special.gammaln(self._counts + 1 / a) - special.gammaln(1 / a)
            likelihood = constant[self._whole] + y * (linear + np.log(a)) - (y + 1 / a) * np.log1p(a * mean)
        weight = (mean / spread) * ((1 + a * y) / spread)
        score = self.design.T @ ((y - mean) / spread)
        return float(likelihood.sum()), score, (self.design * weight[:, None]).T @ self.design

    def _score(self, a: float, slope: np.ndarray) -> float:
        """Derivative of the log likelihood by the dispersion."""
        y, mean = self.count, np.exp(self.design @ slope + self.offset)
        spread = 1 + a * mean
        # digamma(y + 1/a) - digamma(1/a), a sum over 0 ... y - 1, which is exact for whole counts
        steps = np.concatenate([[0.0], np.cumsum(a / (1 + a * self._counts[:-1]))])[self._whole]
        return float(((np.log1p(a * mean) - steps) / a**2 + (y - mean) / (a * spread)).sum())

    def _adjustment(self, a: float, slope: np.ndarray) -> float:
        """Derivative of -log|X'WX| / 2 by the dispersion, while the slopes follow as the best ones."""
        x, mean = self.design, np.exp(self.design @ slope + self.offset)
        weight = mean / (1 + a * mean)
        observed = self._look(a, slope)[2]
        follow = np.linalg.pinv(observed) @ (x.T @ ((mean - self.count) * weight / (1 + a * mean)))
        change = weight / (1 + a * mean) * (x @ follow) - weight**2
        leverage = ((x @ np.linalg.pinv((x * weight[:, None]).T @ x)) * x).sum(axis=1)
        return float(-0.5 * (leverage * change).sum())
