"""How many patients a trial of the chosen design needs: assurance against the number of patients.

Assurance is the probability that the trial shows its claim, over the parameter vectors. For each vector one study of
the greatest number of patients is simulated and observed, as `ranklsim replicate` does; its first n patients are the
same study with n. The share of studies that show the claim is smoothed by a probit regression on the logarithm of n,
whose solution is the number of patients. Its interval is by bootstrap over the vectors.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm

from ranklsim.cohorts.portions import Progress
from ranklsim.cohorts.protocol.design import Arm, Trial, Visits
from ranklsim.cohorts.statistics.proportions import proportion
from ranklsim.pkpd.parameters import ParameterTable
from ranklsim.reports.design.question import Size
from ranklsim.reports.design.search import LEVEL, RESAMPLES
from ranklsim.reports.replicate.analyse import DIFFERENCE, TRIAL
from ranklsim.reports.replicate.run import replicate

STEPS = 8
"""Numbers of patients at which each study is analysed."""


@dataclass(frozen=True)
class Sized:
    """The number of patients, and what it was read from.

    Attributes
    ----------
    size : Size
    against : str
        The arm that the claim is against.
    claim : str
        What is claimed.
    curve : DataFrame
        Columns `patients` (both arms), `shown` (share of the studies), `shown_low`, `shown_high` (Wilson), `studies`,
        `fitted` (probit).
    patients, low, high : float
        Number of patients at the wanted assurance, and its interval; NaN where no number in the range has it, inf for
        an upper end beyond the range.
    """

    size: Size
    against: str
    claim: str
    curve: pd.DataFrame
    patients: float
    low: float
    high: float


def sized_trial(trial: Trial, arms: list[Arm], size: Size) -> Trial:
    """The trial that is sized: two arms, one endpoint, until the last visit that it needs.

    Parameters
    ----------
    trial : Trial
        Its population, conduct and visits are kept.
    arms : list of Arm
        Of the trial and of the question, under the chosen design.
    size : Size
    """
    endpoint = next(e for e in trial.endpoints if e.name == size.endpoint)
    against = size.against or endpoint.against or str(trial.control)
    kept = [arm for arm in arms if arm.name in (size.arm, against)]
    last = max([*endpoint.months, 0.0]) or trial.months
    visits = Visits(
        BMD=tuple(m for m in trial.visits.BMD if m <= last),
        markers=tuple(m for m in trial.visits.markers if m <= last),
        drug=tuple(m for m in trial.visits.drug if m <= last),
        limits=trial.visits.limits,
    )
    population = replace(trial.population, ratio={arm.name: 1 for arm in kept}, patients=size.most)
    return replace(
        trial, arms=kept, control=against, months=last, visits=visits, population=population,
        endpoints=[replace(endpoint, against=None, arms=(), role="primary")],
        estimands=[], multiplicity=None, interim=None, tipping=None, per_protocol=None,
    )  # fmt: skip


def size_of(
    trial: Trial,
    arms: list[Arm],
    size: Size,
    parameters: ParameterTable,
    *,
    seed: int,
    workers: int = 1,
    progress: Progress | None = None,
    tell: Callable[[str], None] | None = None,
) -> Sized:
    """Find the number of patients at which the assurance is what is wanted.

    Parameters
    ----------
    trial : Trial
    arms : list of Arm
        Of the trial and of the question, under the chosen design.
    size : Size
    parameters : ParameterTable
    seed : int
        Of the patients, whom the search has not seen.
    workers : int
        Processors; the result does not depend on it.
    progress, tell : callable, optional
        As of `replicate`.
    """
    planned = sized_trial(trial, arms, size)
    sizes = sorted({2 * round(n / 2) for n in np.geomspace(size.least, size.most, STEPS)})
    found = replicate(
        planned, replicates=1, patients=[n for n in sizes if n >= 2], vectors=size.vectors, null=False, seed=seed,
        parameters=parameters, workers=workers, progress=progress, tell=tell,
    )  # fmt: skip
    own = found.estimates
    own = own[(own["vector"] > 0) & (own["design"] == TRIAL) & (own["quantity"] == DIFFERENCE)]
    shown = own.pivot(index="vector", columns="patients", values="shown").to_numpy(float) > 0.5
    patients = np.sort(own["patients"].unique()).astype(float)
    fitted = probit(patients, shown.mean(axis=0), len(shown))
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    solved = []
    for _ in range(RESAMPLES):
        again = shown[rng.integers(0, len(shown), len(shown))]
        solved.append(solution(probit(patients, again.mean(axis=0), len(shown)), size, patients[-1]))
    ends = [proportion(int(hits), len(shown), level=LEVEL) for hits in shown.sum(axis=0)]
    curve = pd.DataFrame(
        {
            "patients": patients, "shown": shown.mean(axis=0), "shown_low": [end["low"] for end in ends],
            "shown_high": [end["high"] for end in ends], "studies": len(shown),
            "fitted": norm.cdf(fitted[0] + fitted[1] * np.log(patients)),
        }
    )  # fmt: skip
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(solved, [tail, 1 - tail], method="nearest")
    best = solution(fitted, size, patients[-1])
    claim = found.plan.trial.endpoints[0].claim
    return Sized(
        size,
        str(planned.control),
        claim.kind,
        curve,
        best if math.isfinite(best) else math.nan,
        float(low),
        float(high),
    )


def probit(patients: NDArray[np.float64], share: NDArray[np.float64], studies: int) -> tuple[float, float]:
    """Intercept and slope of a probit regression on the logarithm of the number of patients.

    Parameters
    ----------
    patients, share : ndarray, shape (n_sizes,)
    studies : int
        Behind each share.
    """
    import statsmodels.api as sm

    if share.min() == share.max():  # all or none: no slope to be had
        return (math.inf if share[0] >= 0.5 else -math.inf), 0.0
    x = sm.add_constant(np.log(patients))
    counts = np.column_stack([share, 1 - share]) * studies
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = sm.GLM(counts, x, family=sm.families.Binomial(sm.families.links.Probit())).fit()
    return float(fit.params[0]), float(fit.params[1])


def solution(fitted: tuple[float, float], size: Size, most: float) -> float:
    """Number of patients at the wanted assurance; inf beyond the range, the least of the range below it.

    Parameters
    ----------
    fitted : tuple of float
        As from `probit`.
    size : Size
    most : float
        Greatest number that was simulated.
    """
    intercept, slope = fitted
    if not math.isfinite(intercept) or slope <= 0:
        reached = norm.cdf(intercept + (slope * math.log(most) if slope else 0.0)) >= size.assurance
        return float(size.least) if reached else math.inf
    n = math.exp((norm.ppf(size.assurance) - intercept) / slope)
    return math.inf if n > most else max(n, float(size.least))
