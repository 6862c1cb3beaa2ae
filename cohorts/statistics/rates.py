"""Numbers of events a patient and year: negative binomial regression with the time at risk as offset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import optimize, special, stats

from ranklsim.cohorts.statistics.likelihood import Edge, maximise
from ranklsim.cohorts.statistics.proportions import model_matrix, no_ratio, wald
from ranklsim.pkpd.errors import BadInput

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
    Poisson's (a = 0 fits best) the Poisson model is the limit, and `method` says so. Where an arm has no event the
    ratio is 0 or infinite, with interval and test of the profile likelihood. Fewer than `FEW` events in both arms are
    compared by `exact_ratio`, without strata and covariates.

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
        `estimate`, `low`, `high`, `p` (Wald, log scale), `std_error` of the logarithm, `method`, `dispersion` (a); with
        an infinite estimate `z` in place of the error.

    Raises
    ------
    BadInput
        If an arm has no patient left.
    RunFailed
        If the model does not converge.

    References
    ----------
    .. [1] Cameron AC, Trivedi PK. Regression Analysis of Count Data, 2nd ed., Cambridge 2013, section 3.3.
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
    found = _fit(count, np.column_stack([matrix[:, :1], rest]), time)
    method = "negative binomial" if found.dispersion else POISSON
    error = float(np.sqrt(np.linalg.inv(found.information)[0, 0]))
    return wald(float(found.slope[0]), error, level) | {"method": method, "dispersion": found.dispersion}


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
            return max(0.0, float(stats.norm.isf(stats.binom.sf(x - 1, n, share))))
        return -max(0.0, float(stats.norm.isf(stats.binom.cdf(x, n, share))))

    def interval(self, level: float) -> tuple[float, float]:
        """Ratios that a two-sided test does not reject.

        Parameters
        ----------
        level : float
        """
        (x, other), tail = self.events, (1 - level) / 2
        low = float(stats.beta.ppf(tail, x, other + 1)) if x else 0.0
        high = float(stats.beta.isf(tail, x + 1, other)) if other else 1.0
        scale = self.years[1] / self.years[0]
        return scale * low / (1 - low), scale * high / (1 - high) if high < 1 else np.inf


def exact_ratio(events: tuple[int, int], years: tuple[float, float], *, level: float = 0.95) -> dict[str, Any]:
    """Ratio of two Poisson rates, exact given the sum of both counts [2]_, which is binomial (Clopper and Pearson).

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
    .. [2] Przyborowski J, Wilenski H. Biometrika 1940;31:313-23. doi:10.1093/biomet/31.3-4.313
    """
    test = _Exact(events, years)
    low, high = test.interval(level)
    estimate = events[0] * years[1] / (events[1] * years[0]) if events[1] else np.inf
    p = min(1.0, 2 * float(stats.norm.sf(abs(test(1.0)))))
    method = f"exact, of Poisson counts given their sum of {sum(events)}"
    return {"estimate": estimate, "low": low, "high": high, "p": p, "z": test, "method": method, "dispersion": np.nan}


class _fit:
    """The best negative binomial model of counts: `slope`, `dispersion`, `likelihood`, `information` (observed)."""

    def __init__(self, count: np.ndarray, design: np.ndarray, offset: np.ndarray, *, determined: bool = True) -> None:
        self.determined = determined
        self.count, self.design, self.offset = count, design, offset
        start = np.zeros(design.shape[1])
        start[(design == 1).all(axis=0)] = np.log(count.sum() / np.exp(offset).sum())
        self.slope, self.likelihood, self.information = self._at(0.0, start)
        self.dispersion = 0.0
        mean = np.exp(design @ self.slope + offset)
        if not ((count - mean) ** 2 - count).sum() > 0:  # the likelihood does not rise from that of the Poisson limit
            return
        held = [self.slope]

        def score(log: float) -> float:
            held[0] = self._at(float(np.exp(log)), held[0])[0]
            return self._score(float(np.exp(log)), held[0])

        grid = np.linspace(_LEAST, _MOST, 33)
        values = [score(log) for log in grid[:2]]
        place = 1
        while values[-1] > 0 and place + 1 < grid.size:
            place += 1
            values.append(score(grid[place]))
        if values[0] <= 0 or values[-1] > 0:
            return  # so near to the Poisson limit, or beyond all bounds
        self.dispersion = float(np.exp(optimize.brentq(score, grid[place - 1], grid[place], xtol=1e-12)))
        self.slope, self.likelihood, inner = self._at(self.dispersion, held[0])
        # The information on the slopes is what is left of the joint one beside the dispersion.
        h = 1e-4 * self.dispersion
        ends = [self._gradient(self.dispersion + step, self.slope) for step in (h, -h)]
        curve = -(ends[0] - ends[1]) / (2 * h)
        self.information = inner - np.outer(curve[:-1], curve[:-1]) / curve[-1]

    def _at(self, a: float, start: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
        return maximise(lambda slope: self._look(a, slope), start, FAILED, determined=self.determined)

    def _look(self, a: float, slope: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        y, linear = self.count, np.clip(self.design @ slope + self.offset, -700, 700)
        mean = np.exp(linear)
        spread = 1 + a * mean
        if a == 0:
            likelihood = y * linear - mean - special.gammaln(y + 1)
        else:
            likelihood = special.gammaln(y + 1 / a) - special.gammaln(1 / a) - special.gammaln(y + 1)
            likelihood += y * (linear + np.log(a)) - (y + 1 / a) * np.log1p(a * mean)
        weight = (mean / spread) * ((1 + a * y) / spread)
        score = self.design.T @ ((y - mean) / spread)
        return float(likelihood.sum()), score, (self.design * weight[:, None]).T @ self.design

    def _score(self, a: float, slope: np.ndarray) -> float:
        """Derivative of the log likelihood by the dispersion."""
        y, mean = self.count, np.exp(self.design @ slope + self.offset)
        spread = 1 + a * mean
        # digamma(y + 1/a) - digamma(1/a), a sum over 0 ... y - 1, which is exact for whole counts
        most = int(y.max())
        steps = np.concatenate([[0.0], np.cumsum(a / (1 + a * np.arange(most)))])[y.astype(int)]
        return float(((np.log1p(a * mean) - steps) / a**2 + (y - mean) / (a * spread)).sum())

    def _gradient(self, a: float, slope: np.ndarray) -> np.ndarray:
        return np.concatenate([self._look(a, slope)[1], [self._score(a, slope)]])
