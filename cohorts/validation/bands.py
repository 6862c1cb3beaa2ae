"""Cohorts for published figures: the interval in which the mean or median of n patients should lie.

A published figure is a statistic of a group. Every arm of the evidence therefore gets a cohort of virtual patients
around its typical one. Its figure is compared with the same statistic of the cohort: a mean with the mean, a median
with the median, a geometric mean with the geometric mean. A figure of unstated type is compared with the median, and
one of the typical patient of a population model with the typical patient.

Variability between patients is drawn by the rules of `population`, with the correlations of the population `USUAL`,
because the protocol of an arm gives none. Scores are a Latin hypercube [1]_ with those correlations, induced by its
ranks [2]_, so that few patients give a stable mean. The interval is that of groups of the published size drawn from the
cohort, each patient measured with the table's error at each visit. It contains sampling and measurement error only.
Studies differ by more. A second interval is that of a new study of this size: its women have a target pool and a
turnover of their own, and it differs in what these do not explain (`evidence.studies`). Parameters are uncertain too.

References
----------
.. [1] McKay MD, Beckman RJ, Conover WJ. Technometrics 1979;21:239-45. doi:10.1080/00401706.1979.10489755
.. [2] Iman RL, Conover WJ. Commun Stat Simul Comput 1982;11:311-34. doi:10.1080/03610918208812265
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtri

from ranklsim.cohorts import streams
from ranklsim.cohorts.conduct.patients import around
from ranklsim.cohorts.people.population_file import load_population
from ranklsim.pkpd.biology.skeleton import NAMES
from ranklsim.pkpd.errors import BadInput
from ranklsim.pkpd.evidence.errors import ASSUMED_N
from ranklsim.pkpd.evidence.predictions import Predictor, predict
from ranklsim.pkpd.evidence.records import Arm, Evidence, gap
from ranklsim.pkpd.evidence.studies import new_study_sd
from ranklsim.pkpd.parameters import ParameterTable
from ranklsim.pkpd.simulation import covariate_symbols

Array = NDArray[np.float64]
Row = dict[str, Any]

USUAL = "postmenopausal-osteoporosis"
LEVEL = 0.90
RESAMPLES = 400
RTOL = 1e-4  # of a cohort: what it errs by is far below what 200 patients do
CHUNK = 50  # patients of each arm at once
PERCENT = ("percent_change", "percent_of_baseline", "change_between")  # ratios of two measurements
DRAWN = ("percent_change", "percent_of_baseline", "concentration")  # endpoints that are points of a curve
COURSE = "study arm endpoint site_or_marker month typical predicted low high low_study high_study n statistic".split()
EARLY = (0.1, 0.25, 0.5)  # months at which a curve of a marker is drawn besides whole ones


@dataclass(frozen=True)
class Bands:
    """Predictions by cohorts.

    Attributes
    ----------
    predictions : DataFrame
        As from `evidence_predictions.predict`, with ``predicted``, ``low``, ``high`` of the cohort, ``typical`` the
        prediction of the arm's typical patient, and ``low_study``, ``high_study``: the interval for a new
        study, NaN where the figure has no value in a study one SD away.
    courses : DataFrame
        Columns `COURSE`: the curve on which the points of one arm, endpoint and site lie.
    patients : int
        Of each arm; 0 for the typical patient alone, and then there is no interval.
    drawn : ndarray, shape (patients, n_observations)
        True value of each figure in each patient; NaN where a figure is of two groups or a patient has none.
    """

    predictions: pd.DataFrame
    courses: pd.DataFrame
    patients: int
    drawn: Array


def bands(
    evidence: Evidence,
    parameters: ParameterTable,
    *,
    patients: int = 200,
    seed: int = 1,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Bands:
    """Predict every observation by a cohort of its arm, with the interval for a group of its size.

    Parameters
    ----------
    evidence : Evidence
    parameters : ParameterTable
    patients : int
        Of each arm; 0 or at least 10.
    seed : int
        Of the cohort and of the groups drawn from it.
    workers : int
        Threads; the result does not depend on it.
    progress : callable, optional
        Called with patients done and in all.

    Raises
    ------
    BadInput
        If there are 1 to 9 patients: no interval can be read off so few.
    """
    if 0 < patients < 10:
        raise BadInput(f"patients = {patients} are too few for an interval; give 10 or more, or 0.")
    observed = evidence.observations
    sets = [_parts(row) for row in observed.drop(columns="offset").to_dict("records")]
    grid = _grid(evidence)
    parts = pd.DataFrame([part for those in sets for part in those] + grid)
    single = Predictor(replace(evidence, observations=parts), parameters)
    many = Predictor(replace(evidence, observations=parts), parameters, rtol=RTOL)
    drawn: Array = np.empty((0, len(parts)))
    if patients:
        everyone = cohort(evidence, parameters, patients, seed)
        total = patients * len(everyone)
        found = []
        for first in range(0, patients, CHUNK):
            some = {name: rows.iloc[first : first + CHUNK] for name, rows in everyone.items()}
            found.append(many.of_persons(some, parameters, workers=workers))
            if progress:
                progress(min(first + CHUNK, patients) * len(everyone), total)
        drawn = np.concatenate(found)
    frame = predict(evidence, parameters)
    typical = single(parameters)
    groups = _Groups(drawn, parts, parameters, seed)
    at = 0
    rows = []
    for row, those in zip(observed.to_dict("records"), sets, strict=True):
        places = list(range(at, at + len(those)))
        at += len(those)
        rows.append(groups.figure(row, places))
    points = pd.DataFrame(rows, columns=["predicted", "low", "high"])
    courses = pd.DataFrame([{name: row.get(name) for name in COURSE} for row in grid], columns=COURSE)
    if patients:
        curve = [groups.figure(row, [at + k]) for k, row in enumerate(grid)]
        courses[["predicted", "low", "high"]] = np.array(curve).reshape(-1, 3)
        points_of = pd.DataFrame(grid).assign(value=courses["predicted"])
        _widen(courses, Predictor(replace(evidence, observations=points_of), parameters), parameters)
        frame = frame.assign(**{name: points[name] for name in points})
        frame["predicted"] = frame["predicted"].where(frame["statistic"] != "typical", frame["typical"])
        frame["used"] = np.isfinite(frame["predicted"])
        frame["reason"] = np.where(frame["used"], "", "the endpoint does not exist in the simulated courses")
    else:
        courses[["low", "high", "low_study", "high_study"]] = np.nan
        courses["predicted"] = typical[at:]
    courses["typical"] = typical[at:]
    seen = frame["observed"].to_numpy(float), frame["below"].to_numpy(bool)
    frame["error"] = gap(frame["predicted"].to_numpy(float), *seen)
    _widen(frame, Predictor(evidence, parameters), parameters)
    single_group = np.array([len(those) == 1 for those in sets])
    starts = np.cumsum([0, *(len(those) for those in sets)])[:-1]
    of_one = np.where(single_group, drawn[:, starts], np.nan) if patients else np.empty((0, len(frame)))
    return Bands(frame, courses, patients, of_one)


def _widen(frame: pd.DataFrame, predictor: Predictor, parameters: ParameterTable) -> None:
    """Set ``low_study`` and ``high_study``: an interval, and the difference between studies, as of normal errors."""
    between = float(ndtri(0.5 + LEVEL / 2)) * new_study_sd(predictor, parameters)
    for side, sign in (("low", -1), ("high", 1)):
        frame[f"{side}_study"] = frame["predicted"] + sign * np.hypot(frame[side] - frame["predicted"], between)


def cohort(evidence: Evidence, parameters: ParameterTable, patients: int, seed: int) -> dict[str, pd.DataFrame]:
    """Virtual patients of every arm.

    Parameters
    ----------
    evidence : Evidence
    parameters : ParameterTable
    patients : int
        Of each arm.
    seed : int

    Returns
    -------
    dict of str to DataFrame, `patients` rows each
        Arm id to parameter symbols: what the arm tells of its patients, and every parameter that varies between
        patients, drawn around the arm's typical value. Patient k has the same scores in every arm.
    """
    scores = scores_of(parameters, patients, seed)
    return {arm.id: _persons(arm, parameters, scores, patients) for arm in evidence.arms.values()}


def scores_of(parameters: ParameterTable, patients: int, seed: int) -> dict[str, Array]:
    """Normal scores of every parameter that varies, each shape (patients,) and evenly spread.

    The scores do not depend on the value or the spread of any parameter, so a cohort moves smoothly with both.

    Parameters
    ----------
    parameters : ParameterTable
    patients : int
    seed : int
    """
    number = np.arange(patients)
    scores = {}
    for symbol in parameters.varying():
        place = streams.uniform(seed, f"bands.place.{symbol}", number).argsort(kind="stable")
        inside = streams.uniform(seed, f"bands.inside.{symbol}", number)
        scores[symbol] = ndtri((place + inside) / patients)
    wanted = load_population(USUAL).effect_correlation()
    together = [symbol for symbol in wanted.index if symbol in scores]
    if len(together) > 1:
        own = np.column_stack([scores[symbol] for symbol in together])
        by_chance = np.linalg.cholesky(np.corrcoef(own.T))
        mixed = np.linalg.solve(by_chance, own.T).T @ np.linalg.cholesky(wanted.loc[together, together].to_numpy()).T
        ranks = mixed.argsort(axis=0, kind="stable").argsort(axis=0, kind="stable")
        scores |= dict(zip(together, np.take_along_axis(np.sort(own, axis=0), ranks, axis=0).T, strict=True))
    return scores


def _persons(arm: Arm, parameters: ParameterTable, scores: Mapping[str, Array], patients: int) -> pd.DataFrame:
    own = covariate_symbols(parameters, arm.covariates)
    persons = {symbol: np.full(patients, value) for symbol, value in own.items()}
    for symbol, score in scores.items():
        row = parameters.frame.loc[symbol].copy()
        row["value"] = own.get(symbol, row["value"])
        persons[symbol] = around(row, score)
    return pd.DataFrame(persons, index=range(patients))


def statistic_of(stated: str) -> str:
    """The statistic of a cohort that a published one is compared with: mean, median or geometric_mean.

    Parameters
    ----------
    stated : str
        Column `statistic` of the evidence.
    """
    return {"ls_mean": "mean", "unstated": "median", "typical": "median"}.get(stated, stated)


def _parts(row: Row) -> list[Row]:
    """The figures of single patients that a published figure is made of, each a statistic of its own group."""
    endpoint = row["endpoint"]
    if endpoint == "difference_to_control":
        kind = "percent_change" if row["site_or_marker"] in NAMES else "percent_of_baseline"
        one = row | {"endpoint": kind, "control": ""}
        return [one, one | {"arm": row["control"]}]
    if endpoint == "AUC_ratio":
        one = row | {"endpoint": "AUC", "control": ""}
        return [one, one | {"arm": row["control"]}]
    if endpoint == "retained_gain":
        one = row | {"endpoint": "percent_change", "month_from": np.nan}
        return [one, one | {"month": row["month_from"]}]
    return [row]


def _combined(endpoint: str, values: list[Array]) -> Array:
    """A published figure from the statistics of its parts."""
    if endpoint == "difference_to_control":
        return values[0] - values[1]
    if endpoint in ("AUC_ratio", "retained_gain"):
        return 100 * values[0] / values[1]
    return values[0]


class _Groups:
    """Statistics of a cohort, and of groups drawn from it."""

    def __init__(self, drawn: Array, parts: pd.DataFrame, parameters: ParameterTable, seed: int) -> None:
        self.drawn, self.seed = drawn, seed
        # what has to be added to a figure to make it a ratio: a change of 5 % is 105 % of what was
        self.bases = [100.0 if kind in ("percent_change", "change_between") else 0.0 for kind in parts["endpoint"]]
        self.errors = [measurement_error(part, parameters) for part in parts.to_dict("records")]
        self._kept: dict[tuple[int, int], tuple[Array, Array]] = {}

    def figure(self, row: Row, places: list[int]) -> tuple[float, float, float]:
        """Statistic of the cohort and both ends of the interval for a group of the row's n."""
        kind = statistic_of(row["statistic"])
        n = int(row["n"]) if row["n"] == row["n"] else ASSUMED_N
        middles, around_them = [], []
        for which, place in enumerate(places):
            values = self.drawn[:, place]
            values = values[np.isfinite(values)]
            if len(values) < max(1, len(self.drawn) / 2):
                return np.nan, np.nan, np.nan
            middle = statistic(values[None, :], kind, self.bases[place])
            middles.append(middle)
            around_them.append(middle + self._deviations(values, kind, n, place, which))
        middle = _combined(row["endpoint"], middles)
        low, high = np.quantile(_combined(row["endpoint"], around_them), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return float(middle[0]), float(low), float(high)

    def _deviations(self, values: Array, kind: str, n: int, place: int, which: int) -> Array:
        """Deviations of groups of n measured patients from the cohort; scaled by the root of n above its size."""
        size = min(n, len(values))
        if (size, which) not in self._kept:
            rng = np.random.Generator(np.random.Philox(key=[self.seed, 2 * size + which]))
            self._kept[size, which] = rng.uniform(size=(RESAMPLES, size)), rng.standard_normal((RESAMPLES, size))
        u, z = self._kept[size, which]
        seen = values[(u * len(values)).astype(np.int64)]
        base = self.bases[place]
        if self.errors[place]:
            seen = (seen + base) * np.exp(self.errors[place] * z) - base
        found = statistic(seen, kind, base)
        return (found - found.mean()) * np.sqrt(size / n)


def measurement_error(part: Row, parameters: ParameterTable) -> float:
    """Standard deviation of the logarithm of a ratio of two measurements; 0 where there is no second one.

    Parameters
    ----------
    part : mapping
        A row of the evidence.
    parameters : ParameterTable
        With the measurement errors.
    """
    if part["endpoint"] not in PERCENT or part["month"] == 0:
        return 0.0
    site = part["site_or_marker"]
    return float(np.sqrt(2) * parameters.values[f"CV_DXA_{site}" if site in NAMES else f"CV_{site}"])


def statistic(values: Array, kind: str, base: float) -> Array:
    """Median, mean or geometric mean of each row.

    Parameters
    ----------
    values : ndarray, shape (n_rows, n)
    kind : str
        "median", "mean" or "geometric_mean".
    base : float
        A geometric mean is that of `values` + `base`, less `base`.

    Returns
    -------
    ndarray, shape (n_rows,)
    """
    if kind == "median":
        return np.median(values, axis=1)
    if kind == "geometric_mean":
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.exp(np.log(values + base).mean(axis=1)) - base
    return values.mean(axis=1)


def _grid(evidence: Evidence) -> list[Row]:
    """Rows at many months for each curve that has a published point."""
    seen = evidence.observations
    rows: list[Row] = []
    for (arm, endpoint, site), mine in seen.groupby(["arm", "endpoint", "site_or_marker"], sort=False):
        if endpoint not in DRAWN:
            continue
        last = float(mine["month"].max())
        step = 1.0 if last <= 36 else 2.0 if last <= 72 else 3.0
        even = np.arange(0.0, last + step / 2, step).clip(max=last) if last >= 3 else np.linspace(0.0, last, 13)
        months = {*even.tolist(), *mine["month"].tolist()}
        if site not in NAMES:
            months |= {month for month in EARLY if month < last}
        n = mine["n"].median() if mine["n"].notna().any() else np.nan
        shared = mine.iloc[0].to_dict() | {
            "study": evidence.arms[str(arm)].study,
            "n": n,
            "statistic": mine["statistic"].mode().iloc[0],
            "control": "",
            "month_from": np.nan,
        }
        rows += [shared | {"month": month} for month in sorted(months)]
    return rows
