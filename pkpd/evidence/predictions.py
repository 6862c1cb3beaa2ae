"""Predictions of published figures: every arm is simulated once, in its own population, at its own visits.

The simulated patient of an arm is the typical one of its population. A published mean or median is that of a cohort,
which departs from the typical patient; `Evidence` holds by how much (``offset``), and it is added. Arms with the
same agents are simulated in one call, with one row of `persons` for each arm. All shipped evidence therefore takes well
under a second, which a fit needs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ranklsim.pkpd.biology.skeleton import NAMES
from ranklsim.pkpd.errors import BadInput
from ranklsim.pkpd.evidence.errors import error_sd, sampling_se
from ranklsim.pkpd.evidence.records import Arm, Evidence, gap
from ranklsim.pkpd.parameters import ParameterTable, load_parameters
from ranklsim.pkpd.simulation import Doses, covariate_symbols, simulate

Array = NDArray[np.float64]

# Days between samples where a figure is read off a curve (Cmax, AUC, a nadir): after a dose, and later.
DENSE, THEN, AFTER_DOSE = 0.5, 2.0, 21.0
TERMINAL = (0.1, 1.0)  # ug/mL between which the terminal phase is measured, as the endpoint defines it
WINDOWED = ("Cmax", "Tmax", "AUC", "AUC_ratio", "half_life", "terminal_half_life", "time_of_nadir")
COLUMNS = (
    "study arm endpoint site_or_marker time_months observed spread n predicted low high error used reason "
    "typical unit month_from control statistic phase verification curve sd agent dose_mg origin line below".split()
)


@dataclass
class _Group:
    """Arms that are simulated together."""

    arms: list[Arm]
    names: list[str]  # of the agents
    doses: Doses
    days: Array  # sampling days of all of them
    persons: pd.DataFrame  # what differs from the table; NaN where nothing does


class Predictor:
    """Evidence made ready to be predicted many times, as a fit does.

    Parameters
    ----------
    evidence : Evidence
    parameters : ParameterTable, optional
        Where T-scores of arms are turned into BMD; the shipped table by default.
    rtol : float
        As of `simulate`.
    """

    def __init__(self, evidence: Evidence, parameters: ParameterTable | None = None, *, rtol: float = 1e-6) -> None:
        self.evidence, self.rtol = evidence, rtol
        table = parameters or load_parameters()
        rows = evidence.observations.to_dict("records")
        days: dict[str, set[float]] = {}
        dense: set[str] = set()
        for row in rows:
            for name in filter(None, (row["arm"], row["control"])):
                arm = evidence.arms[name]
                wanted = days.setdefault(name, {0.0})
                wanted.add(arm.snapped(row["month"]))
                if row["month_from"] == row["month_from"]:
                    wanted.add(arm.snapped(row["month_from"]))
                if row["endpoint"] in WINDOWED:
                    dense.add(name)
                    begin, end = arm.snapped(row["month_from"]), arm.snapped(row["month"])
                    grid = np.arange(np.ceil(begin / DENSE), np.floor(end / DENSE) + 1) * DENSE  # shared by all arms
                    since = np.min([np.where(grid >= d, grid - d, np.inf) for d in _dose_days(arm)], axis=0)
                    wanted.update(grid[(since <= AFTER_DOSE) | (grid % THEN == 0)].tolist())
        # Arms that are looked at day by day share their days only with those that are dosed on the same ones.
        together: dict[tuple[float, ...], list[Arm]] = {}
        for name in days:
            arm = evidence.arms[name]
            together.setdefault(_dose_days(arm) if name in dense else (), []).append(arm)
        self._groups: list[_Group] = []
        self._place: dict[str, tuple[int, int]] = {}
        for arms in together.values():
            met = {agent for arm in arms for agent in arm.agent_names}
            names = sorted(agent for agent in met if evidence.agents[agent].kind != "none")
            union = np.array(sorted(set().union(*(days[arm.id] for arm in arms))))
            persons = pd.DataFrame([covariate_symbols(table, arm.covariates) for arm in arms])
            for i, arm in enumerate(arms):
                self._place[arm.id] = (len(self._groups), i)
            weight = persons["WT"] if "WT" in persons else pd.Series(table["WT"], index=persons.index)
            doses = _doses(arms, names, weight.fillna(table["WT"]).to_numpy(float))
            self._groups.append(_Group(arms, names, doses, union, persons))
        self._rows = [self._reader(row) for row in rows]

    def __call__(self, parameters: ParameterTable | None = None) -> Array:
        """Every figure of the typical patient of its arm, without the offset of a cohort.

        Parameters
        ----------
        parameters : ParameterTable, optional
            The shipped table by default.

        Returns
        -------
        ndarray, shape (n_observations,)
            In the unit and order of `Evidence.observations`; NaN where the endpoint does not exist in the simulated
            course (no free drug in the window).
        """
        return self._predict(parameters or load_parameters(), {}, 1, 1)[0]

    def of_vectors(
        self,
        vectors: pd.DataFrame,
        parameters: ParameterTable | None = None,
        *,
        rtol: float | None = None,
        workers: int = 1,
    ) -> Array:
        """Predict every observation under each of several parameter vectors.

        Parameters
        ----------
        vectors : DataFrame, n rows
            Columns are symbols of the table, or an agent's (``denosumab.CL``); what they do not hold is the table's.
        parameters : ParameterTable, optional
            The shipped table by default.
        rtol : float, optional
            In place of the predictor's own.
        workers : int
            Threads; the result does not depend on it.

        Returns
        -------
        ndarray, shape (n, n_observations)
            Each row as from a call with a table that holds that vector; NaN for an arm whose patient is refused.
        """
        rows = vectors.reset_index(drop=True)
        persons = {}
        for group in self._groups:
            for i, arm in enumerate(group.arms):
                own = group.persons.iloc[[i] * len(rows)].reset_index(drop=True).dropna(axis=1)
                persons[arm.id] = pd.DataFrame({**rows, **own}, index=own.index)  # `assign` is slow
        return self._predict(parameters or load_parameters(), persons, len(rows), workers, rtol, lambda *_: None)

    def of_persons(
        self, persons: Mapping[str, pd.DataFrame], parameters: ParameterTable | None = None, *, workers: int = 1
    ) -> Array:
        """Predict every observation for each of several persons in every arm.

        Parameters
        ----------
        persons : mapping of str to DataFrame, n rows each
            Arm id to parameter symbols of its persons that differ from the table; nothing else is known of an arm's
            patients, so `Arm.covariates` have to be among them.
        parameters : ParameterTable, optional
            The shipped table by default.
        workers : int
            Threads; the result does not depend on it.

        Returns
        -------
        ndarray, shape (n, n_observations)
            As from a call, a row a person; a figure of two arms pairs person k of one with person k of the other.
        """
        n = len(next(iter(persons.values())))
        return self._predict(parameters or load_parameters(), persons, n, workers)

    def _predict(
        self,
        table: ParameterTable,
        persons: Mapping[str, pd.DataFrame],
        n: int,
        workers: int,
        rtol: float | None = None,
        refused: Callable[[int, str], None] | None = None,
    ) -> Array:
        """Every observation for `n` persons of each arm (its own one where `persons` is empty), shape (n, rows)."""
        courses = []
        for group in self._groups:
            everyone = (
                pd.concat([persons[arm.id] for arm in group.arms], ignore_index=True) if persons else group.persons
            )
            everyone = everyone.fillna({symbol: table.values[symbol] for symbol in everyone if symbol in table.values})
            if not len(everyone.columns):
                everyone = pd.DataFrame(index=range(n * len(group.arms)))
            given = group.doses
            doses = Doses(
                (given.patient[:, None] * n + np.arange(n)).ravel(),
                np.repeat(given.time, n),
                np.repeat(given.agent, n),
                np.repeat(given.amount, n),
            )
            used = [self.evidence.agents[name] for name in group.names]
            found = simulate(
                table, everyone, used, doses, group.days, rtol=rtol or self.rtol, workers=workers, refused=refused
            )
            courses.append({name: values.reshape(len(group.arms), n, -1) for name, values in found.items()})
        return np.column_stack([read(courses) for read in self._rows])

    def _reader(self, row: dict) -> Callable[[list[dict[str, Array]]], Array]:
        """Value of one observation in the simulated courses, for every person of its arm."""
        endpoint, site = row["endpoint"], row["site_or_marker"]
        arm = self._course(row["arm"], row)
        if endpoint == "concentration":
            return lambda courses: arm(courses).at
        if endpoint == "percent_change":
            return lambda courses: arm(courses).change
        if endpoint == "percent_of_baseline":
            return lambda courses: 100 + arm(courses).change
        if endpoint == "difference_to_control":
            other = self._course(row["control"], row)
            return lambda courses: arm(courses).change - other(courses).change
        if endpoint == "change_between":
            return lambda courses: 100 * (arm(courses).at / arm(courses).begin - 1)
        if endpoint == "retained_gain":
            return lambda courses: (
                100 * (arm(courses).at - arm(courses).start) / (arm(courses).begin - arm(courses).start)
            )
        if endpoint == "AUC_ratio":
            other = self._course(row["control"], row)
            return lambda courses: 100 * _read_curve("AUC", arm(courses)) / _read_curve("AUC", other(courses))
        if endpoint in WINDOWED:
            return lambda courses: _read_curve(endpoint, arm(courses))
        raise BadInput(f"endpoint '{endpoint}' of {site} has no prediction.")

    def _course(self, name: str, row: dict) -> Callable[[list[dict[str, Array]]], _Course]:
        site = row["site_or_marker"]
        g, i = self._place[name]
        days, arm = self._groups[g].days, self.evidence.arms[name]
        concentration = site in self.evidence.agents and f"C_{site}"
        output = concentration or (f"BMD_{site}" if site in NAMES else site)

        def index(month: float) -> int:
            return int(np.searchsorted(days, arm.snapped(month)))

        end = index(row["month"])
        begin = index(row["month_from"]) if row["month_from"] == row["month_from"] else 0
        start = index(0.0)
        return lambda courses: _Course(days, courses[g][output][i], start, begin, end)


@dataclass(frozen=True)
class _Course:
    """One output of all persons of one arm (persons, days), and where its row looks."""

    days: Array
    values: Array
    i_start: int
    i_begin: int
    i_end: int

    @property
    def start(self) -> Array:
        return self.values[:, self.i_start]

    @property
    def begin(self) -> Array:
        return self.values[:, self.i_begin]

    @property
    def at(self) -> Array:
        return self.values[:, self.i_end]

    @property
    def change(self) -> Array:
        return 100 * (self.at / self.start - 1)


def _read_curve(endpoint: str, course: _Course) -> Array:
    """An endpoint that needs the whole curve between two times, for every person."""
    window = slice(course.i_begin, course.i_end + 1)
    return np.array([_off_curve(endpoint, course.days[window], y) for y in course.values[:, window]])


def _off_curve(endpoint: str, t: Array, y: Array) -> float:
    if endpoint == "AUC":
        return float(np.trapezoid(y, t))
    if endpoint in ("Cmax", "Tmax"):
        day, highest = _peak(t, y)
        return highest if endpoint == "Cmax" else day - t[0]
    if endpoint == "time_of_nadir":
        return _peak(t, -y)[0] - t[0]
    if endpoint == "terminal_half_life":
        t, y = _terminal(t, y)
    seen = y > 0
    if seen.sum() < 3:
        return float("nan")
    slope = np.polyfit(t[seen], np.log(y[seen]), 1)[0]
    return float(-np.log(2) / slope) if slope < 0 else float("nan")


def _terminal(t: Array, y: Array) -> tuple[Array, Array]:
    """The fall after the peak between the levels `TERMINAL`, on an even grid between the moments they are crossed.

    Whole samples would come and go as parameters move, and the slope through them would jump. A curve that is not as
    low by its end is taken up to there, one that begins lower from its peak; empty where it does not reach the levels.
    """
    peak = int(y.argmax())
    below = np.flatnonzero(y[peak:] < TERMINAL[0])
    fall = slice(peak, peak + below[0] + 1 if below.size else len(y))
    if not TERMINAL[0] < y[peak] or not y[fall][-1] < TERMINAL[1]:
        return np.empty(0), np.empty(0)
    height = np.log(np.maximum(y[fall], np.finfo(float).tiny))
    begin, end = (np.interp(-np.log(level), -height, t[fall]) for level in reversed(TERMINAL))
    grid = np.linspace(begin, end, 25)
    return grid, np.exp(np.interp(grid, t[fall], height))


def _peak(t: Array, y: Array) -> tuple[float, float]:
    """Day and height of the highest point, by a parabola through it and its neighbours, so that both move smoothly."""
    i = int(y.argmax())
    if i in (0, len(y) - 1):
        return float(t[i]), float(y[i])
    a, b, c = np.polyfit(t[i - 1 : i + 2] - t[i], y[i - 1 : i + 2], 2)
    if a >= 0:
        return float(t[i]), float(y[i])
    return float(t[i] - b / (2 * a)), float(c - b * b / (4 * a))


def _dose_days(arm: Arm) -> tuple[float, ...]:
    return tuple(sorted({0.0, *(float(day) for regimen in arm.regimens for day in regimen.times_days())}))


def _doses(arms: list[Arm], names: list[str], weight: Array) -> Doses:
    """Doses of all arms, at the body weight of each (kg); those of a placebo are none."""
    given = [
        (i, float(day), names.index(regimen.agent), float(regimen.dose.of(weight[i])))
        for i, arm in enumerate(arms)
        for regimen in arm.regimens
        if regimen.agent in names
        for day in regimen.times_days()
    ]
    who, day, which, mg = (np.array(column) for column in zip(*given, strict=True)) if given else (np.empty(0),) * 4
    return Doses(who.astype(np.int64), day.astype(float), which.astype(np.int64), mg.astype(float))


def predict(
    evidence: Evidence,
    parameters: ParameterTable | None = None,
    *,
    rtol: float = 1e-6,
) -> pd.DataFrame:
    """Every observation beside the prediction of the model.

    Parameters
    ----------
    evidence : Evidence
    parameters : ParameterTable, optional
        The shipped table by default.
    rtol : float
        As of `simulate`.

    Returns
    -------
    DataFrame
        One row an observation: ``study, arm, endpoint, site_or_marker, time_months, observed`` (in ``unit``),
        ``spread`` (its standard error), ``n``, ``typical`` (the typical patient of the arm), ``predicted`` (with the
        offset of a cohort), ``low, high`` (NaN),
        ``error`` (predicted less observed), ``used``, ``reason`` (why not), and what a summary or a figure asks for:
        ``month_from, control, statistic, phase, verification, curve``, ``sd`` (of `error_sd`), ``agent`` and
        ``dose_mg`` (the last dose before the visit, per kg where it goes by weight), ``origin, line``, and ``below``
        (the figure is only known to be below `observed`, its limit).
    """
    seen = evidence.observations
    typical = Predictor(evidence, parameters, rtol=rtol)(parameters)
    predicted = typical + seen["offset"].to_numpy()
    last = [_last_dose(evidence.arms[arm], month) for arm, month in zip(seen["arm"], seen["month"], strict=True)]
    return seen.rename(columns={"month": "time_months", "value": "observed"}).assign(
        spread=sampling_se(seen),
        typical=typical,
        predicted=predicted,
        low=np.nan,
        high=np.nan,
        error=gap(predicted, seen["value"].to_numpy(float), seen["below"].to_numpy(bool)),
        used=np.isfinite(predicted),
        reason=np.where(np.isfinite(predicted), "", "the endpoint does not exist in the simulated course"),
        sd=error_sd(seen),
        agent=[name for name, _ in last],
        dose_mg=[mg for _, mg in last],
    )[list(COLUMNS)]


def _last_dose(arm: Arm, month: float) -> tuple[str, float]:
    """Agent and mg of the last dose before a visit, of the sequence itself and not of what runs beside it."""
    day = arm.snapped(month)
    given = [
        (float(dose), regimen.agent, regimen.dose_mg)
        for regimen in arm.regimens
        if not regimen.together
        for dose in regimen.times_days()
        if dose < day
    ]
    _, name, mg = max(given, default=(0.0, "", np.nan))
    return name, mg


def summary(predictions: pd.DataFrame, by: Sequence[str] = ("endpoint", "site_or_marker", "phase")) -> pd.DataFrame:
    """Misfit of the rows that are used, by kind.

    Parameters
    ----------
    predictions : DataFrame
        From `predict`.
    by : sequence of str
        Columns to group by.

    Returns
    -------
    DataFrame
        ``by``, ``n``, ``RMSE``, ``bias`` (mean of predicted less observed), ``RMSE_relative`` (of error over observed,
        %; NaN where the figure is itself in %), ``misfit`` (root mean square of error over `sd`) and ``inside``
        (share between `low` and `high`, %; NaN without them).
    """
    rows = []
    for key, part in predictions[predictions["used"].astype(bool)].groupby(list(by), sort=True):
        error = part["error"].to_numpy(float)
        banded = part[part["low"].notna() & part["high"].notna()]
        inside = (banded["observed"] >= banded["low"]) & (banded["observed"] <= banded["high"])
        relative = np.where(part["unit"] == "%", np.nan, error) / part["observed"].to_numpy(float)
        rows.append(
            dict(zip(by, key, strict=True))
            | {
                "n": len(part),
                "RMSE": np.sqrt(np.mean(error**2)),
                "bias": np.mean(error),
                "RMSE_relative": 100 * np.sqrt(np.mean(relative**2)),
                "misfit": np.sqrt(np.mean((error / part["sd"].to_numpy(float)) ** 2)),
                "inside": 100 * inside.mean() if len(banded) else np.nan,
            }
        )
    return pd.DataFrame(rows, columns=[*by, "n", "RMSE", "bias", "RMSE_relative", "misfit", "inside"])
