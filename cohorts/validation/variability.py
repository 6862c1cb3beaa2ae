"""Variability between patients: published spreads, simulated spreads, and a fit of the latter to the former.

A published mean with its SD (or SE and n), or a median with its quartiles, shows how patients differ. Each spread is
compared, as its logarithm, with that of a cohort of the same arm, measured with the same error:

- BMD: SD of the change, percentage points;
- markers and drug, as median and quartiles: SD of the logarithm, ln(Q3/Q1)/1.349;
- markers and drug, as mean and SD: coefficient of variation.

The relative measures do not depend on an error in the centre. In the cohort, the error of both measurements is included
exactly, so that spreads change smoothly with the fitted parameters: moments in closed form, quartiles as those of a
mixture of normal distributions, one around each patient [1]_. Scores are the fixed ones of `bands.scores_of` (common
random numbers).

The fit minimises squared errors of log spreads. The SD of a log SD is 1/sqrt(2(n - 1)), that of a log interquartile
range 1.17/sqrt(n) (normal samples [2]_). Rounding of the published figure is added, and `BETWEEN`, by which trials of
the same treatment differ. Points of one curve are correlated as in `evidence.errors`.

References
----------
.. [1] McLachlan G, Peel D. Finite Mixture Models. Wiley 2000. doi:10.1002/0471721182
.. [2] Kendall MG, Stuart A. The Advanced Theory of Statistics, vol. 1, sections 10.10 and 10.11. Griffin 1977.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtr
from scipy.stats import norm

from ranklsim.cohorts.validation.bands import RTOL, Row, cohort, measurement_error, statistic, statistic_of
from ranklsim.pkpd.biology.skeleton import NAMES
from ranklsim.pkpd.evidence.errors import CI95_WIDTH, IQR_WIDTH, RECALLED, RHO, blocks
from ranklsim.pkpd.evidence.predictions import Predictor
from ranklsim.pkpd.evidence.records import Evidence
from ranklsim.pkpd.fitting.fit import Problem, chosen_evidence
from ranklsim.pkpd.fitting.spec import Spec
from ranklsim.pkpd.parameters import ParameterTable, load_parameters

Array = NDArray[np.float64]

BETWEEN = 0.2  # SD of the log spread between trials of the same treatment
OF_ONE_PATIENT = (
    "percent_change", "percent_of_baseline", "concentration", "Cmax", "Tmax", "AUC", "half_life", "terminal_half_life",
)  # fmt: skip
SD, LOG, CV = "SD", "SD of the logarithm", "CV"
IQR_ERROR = 0.5 / norm.pdf(norm.ppf(0.75)) / IQR_WIDTH  # of a log interquartile range, times sqrt(n) [2]_
BISECTIONS = 40


def published_spreads(evidence: Evidence) -> pd.DataFrame:
    """The spread between patients behind each figure.

    Parameters
    ----------
    evidence : Evidence

    Returns
    -------
    DataFrame, a row an observation
        The observation's columns, ``patients`` (its n, or that of its arm where it has none), ``measure`` (`SD` in
        percentage points, `LOG`, `CV`), ``published`` (NaN where there is none), ``sd_log`` (of its logarithm, for a
        fit) and ``sampling`` (the part of that which is chance and rounding), ``reason`` why there is none.
    """
    rows = []
    for row in evidence.observations.to_dict("records"):
        n = row["n"] if row["n"] == row["n"] else evidence.arms[row["arm"]].n
        measure, found, error, reason = _published(row, n)
        rows.append(
            row
            | {"patients": np.nan if n is None else float(n), "measure": measure, "published": found}
            | {"sampling": error, "sd_log": np.hypot(error, BETWEEN), "reason": reason}
        )
    frame = pd.DataFrame(rows)
    frame.loc[frame["verification"] == "recalled", "sd_log"] *= np.sqrt(RECALLED)
    return frame


def _published(row: Row, n: float | None) -> tuple[str, float, float, str]:
    """Measure, spread, SD of its logarithm and why there is none."""
    kind, site = row["spread_type"], row["site_or_marker"]
    measure = SD if site in NAMES else LOG if kind in ("IQR", "range") or row["statistic"] == "geometric_mean" else CV
    nothing = (measure, np.nan, np.nan)
    if row["endpoint"] not in OF_ONE_PATIENT:
        return *nothing, "not a figure of single patients"
    if not kind:
        return *nothing, "no spread published"
    if n is None or n < 3:
        return *nothing, "number of patients not published"
    low, high = row["spread_low"], row["spread_high"]
    if measure == LOG:
        if low <= 0:
            return *nothing, "a spread of logarithms needs values above 0"
        low, high = np.log(low), np.log(high)
    width = {"IQR": IQR_WIDTH, "range": _range_width(n), "CI95": CI95_WIDTH / np.sqrt(n)}
    found = (
        row["spread"] * (np.sqrt(n) if kind == "SE" else 1.0) if kind in ("SE", "SD") else (high - low) / width[kind]
    )
    if measure == CV:
        found /= row["value"]
    if not found > 0:
        return *nothing, "a spread of 0"
    chance = {"IQR": IQR_ERROR / np.sqrt(n), "range": 0.8 / _range_width(n)}.get(kind, 1 / np.sqrt(2 * (n - 1)))
    return measure, float(found), float(np.hypot(chance, _rounding(row))), ""


def _range_width(n: float) -> float:
    """Expected range of n normal values, in SDs, by Blom's approximation of the largest of them."""
    return float(2 * norm.ppf((n - 0.375) / (n + 0.25)))


def _rounding(row: Row) -> float:
    """SD of a spread's logarithm from the last digit that is printed: a uniform error of half a unit of it."""
    if row["spread_type"] in ("SE", "SD"):
        return _last_digit(row["spread"]) / np.sqrt(12) / row["spread"]
    unit = min(_last_digit(row["spread_low"]), _last_digit(row["spread_high"]))
    return float(unit / np.sqrt(6) / (row["spread_high"] - row["spread_low"]))


def _last_digit(value: float) -> float:
    text = f"{value:.10g}"
    return float(10.0 ** -(len(text.split(".")[1]) if "." in text else 0))


def cohort_spreads(drawn: Array, rows: pd.DataFrame, parameters: ParameterTable) -> Array:
    """The same spreads in cohorts, measurement error included.

    Parameters
    ----------
    drawn : ndarray, shape (n_patients, n_rows)
        The figure of each patient, as from `Predictor.of_persons`; NaN where she has none.
    rows : DataFrame
        As from `published_spreads`; its `measure` says which spread.
    parameters : ParameterTable
        Whose measurement errors hold.

    Returns
    -------
    ndarray, shape (n_rows,)
        NaN where fewer than half of the patients have the figure.
    """
    base = np.where(rows["site_or_marker"].isin(list(NAMES)), 100.0, 0.0)
    error = np.array([measurement_error(row, parameters) for row in rows.to_dict("records")])
    missing = np.isnan(drawn).mean(axis=0) > 0.5
    level = np.where(missing, 1.0, drawn + base)
    mean = np.nanmean(level, axis=0) * np.exp(error**2 / 2)
    variance = np.nanmean(level**2, axis=0) * np.exp(2 * error**2) - mean**2
    found = np.sqrt(np.maximum(variance, 0.0))
    measure = rows["measure"].to_numpy()
    found = np.where(measure == CV, found / np.where(mean == 0, np.nan, mean), found)
    in_logs = np.flatnonzero((measure == LOG) & ~missing)
    if in_logs.size:
        ends = quantiles(drawn[:, in_logs], error[in_logs], np.array([0.25, 0.75]))
        found[in_logs] = np.log(ends[1] / ends[0]) / IQR_WIDTH
    return np.where(missing, np.nan, found)


def quantiles(values: Array, error: Array, shares: Array) -> Array:
    """Quantiles of what is measured in patients with these true values.

    Parameters
    ----------
    values : ndarray, shape (n_patients, n_rows)
        Above 0; NaN where there is none.
    error : ndarray, shape (n_rows,)
        SD of the logarithm of the measured over the true value; 0 for none.
    shares : ndarray, shape (n_shares,)

    Returns
    -------
    ndarray, shape (n_shares, n_rows)
        Of the mixture of lognormals around the patients, by bisection; plain quantiles where there is no error.
    """
    logs = np.log(values)
    found = np.nanquantile(logs, shares, axis=0)
    erring = np.flatnonzero(error > 0)
    if erring.size:
        mine, sd = logs[:, erring], error[erring]
        for k, share in enumerate(shares):
            low, high = np.nanmin(mine, axis=0) - 6 * sd, np.nanmax(mine, axis=0) + 6 * sd
            for _ in range(BISECTIONS):
                middle = (low + high) / 2
                below = np.nanmean(ndtr((middle - mine) / sd), axis=0) < share
                low, high = np.where(below, middle, low), np.where(below, high, middle)
            found[k, erring] = (low + high) / 2
    return np.exp(found)


@dataclass
class _SpreadProblem(Problem):
    """A fit of between-patient variability made ready: the "figures" are logarithms of spreads.

    `evidence` holds only observations with a spread.
    """

    workers: int = 1

    def __post_init__(self) -> None:
        self._predictor = Predictor(self.evidence, self.table, rtol=RTOL)
        self.rows = published_spreads(self.evidence)
        sd, block = self.rows["sd_log"].to_numpy(), blocks(self.evidence.observations)
        correlation = np.where(block[:, None] == block[None, :], RHO, 0.0)
        np.fill_diagonal(correlation, 1.0)
        self._whiten = np.linalg.inv(np.linalg.cholesky(correlation * np.outer(sd, sd)))
        self.observed = np.log(self.rows["published"].to_numpy(float))
        self._below = np.empty(0, dtype=np.int64)  # no spread is below a limit of quantitation

    def predict(self, theta: Array, fixed: dict[str, float] | None = None) -> Array:
        """Logarithm of every spread, shape (n_observations,)."""
        self.evaluations += 1
        table = self.table.overlaid(self.spec.fixed | self.natural(theta) | (fixed or {}))
        return np.log(cohort_spreads(self._drawn(table), self.rows, table))

    def residuals_of(self, thetas: Array, workers: int = 1, rtol: float = RTOL) -> Array:
        """`residuals` of several vectors, one after another."""
        return np.array([self.try_residuals(theta) for theta in thetas])

    def _drawn(self, table: ParameterTable) -> Array:
        people = cohort(self.evidence, table, self.spec.patients, self.spec.seed)
        return self._predictor.of_persons(people, table, workers=self.workers)

    def compared(self, theta: Array) -> pd.DataFrame:
        """Each published spread beside the cohort's: `spread_table` under the first scenario."""
        table = self.table.overlaid(self.spec.fixed | self.natural(theta) | self.spec.scenarios[0].fixed)
        return spread_table(self.rows, self._drawn(table), self._predictor(table), table)


def make_problem(spec: Spec, parameters: ParameterTable | None = None, workers: int = 1) -> Problem:
    """Read the evidence that `spec` names and choose the rows that have a spread.

    Parameters
    ----------
    spec : Spec
    parameters : ParameterTable, optional
        Values of everything that is not fitted; the shipped ones by default.
    workers : int
        Threads; the result does not depend on it.

    Raises
    ------
    BadInput
        As from `fitting.chosen_evidence`.
    """

    def usable(evidence: Evidence) -> pd.Series:
        return published_spreads(evidence)["published"].notna()

    evidence = chosen_evidence(spec, usable, what="spread")
    return _SpreadProblem(spec, parameters or load_parameters(), evidence, workers=workers)


def spread_table(rows: pd.DataFrame, drawn: Array, typical: Array, parameters: ParameterTable) -> pd.DataFrame:
    """Published spreads beside those of cohorts, and the middle of each beside the typical patient.

    Parameters
    ----------
    rows, drawn, parameters
        As of `cohort_spreads`.
    typical : ndarray, shape (n_rows,)
        The figure of each arm's typical patient.

    Returns
    -------
    DataFrame
        One row of `rows` each: ``study, arm, endpoint, site_or_marker, time_months, phase, statistic, patients,
        measure``, ``observed`` and ``predicted`` spread, ``ratio`` (predicted over observed) with ``low`` and ``high``,
        its 90 % interval from n and rounding, ``sd`` (of the log spread in a fit) and ``weighted`` (log ratio over
        it); ``value`` as published, ``cohort`` (the same statistic of the cohort) and ``typical``; ``quartile_1`` and
        ``quartile_3`` of the cohort as measured beside the published ``spread_low`` and ``spread_high``.
    """
    predicted = cohort_spreads(drawn, rows, parameters)
    records = rows.to_dict("records")
    error = np.array([measurement_error(row, parameters) for row in records])
    base = np.where(rows["site_or_marker"].isin(list(NAMES)), 100.0, 0.0)
    seen = np.asarray(np.isfinite(drawn).any(axis=0), dtype=bool)
    ends = np.full((2, len(rows)), np.nan)
    ends[:, seen] = quantiles(drawn[:, seen] + base[seen], error[seen], np.array([0.25, 0.75])) - base[seen]
    kinds = [statistic_of(row["statistic"]) for row in records]
    middle = [
        statistic(column[np.isfinite(column)][None, :], kind, b)[0] if ok else np.nan
        for column, kind, b, ok in zip(drawn.T, kinds, base, seen, strict=True)
    ]
    z = norm.ppf(0.95)
    ratio = predicted / rows["published"]
    kept = "study arm endpoint site_or_marker month phase statistic patients measure published value".split()
    frame = rows[[*kept, "spread_low", "spread_high"]].rename(columns={"month": "time_months", "published": "observed"})
    return frame.assign(
        predicted=predicted,
        ratio=ratio,
        low=ratio * np.exp(-z * rows["sampling"]),
        high=ratio * np.exp(z * rows["sampling"]),
        sd=rows["sd_log"],
        weighted=np.log(ratio) / rows["sd_log"],
        cohort=middle,
        typical=typical,
        quartile_1=ends[0],
        quartile_3=ends[1],
    )
