"""True values behind the estimates of many studies, from each patient and her counterfactual twin under control.

A true effect is that of the same patients, those whom chance put into an arm, under its treatment and under the control
treatment: computed as the truth of an estimand is in a report (`estimands.outcome`, `estimands.contrast`), without
measurement error, over all studies of a vector. An endpoint has two: as planned (every dose given, nobody leaves) and
as run (whatever happened: treatment policy). An estimand has one, by its strategies. The truth of a durability is that
of the arm's mean (median) true curve, its error a delete-a-group jackknife [1]_.

References
----------
.. [1] Efron B, Tibshirani RJ. An Introduction to the Bootstrap, Chapman & Hall 1993, chapter 11.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ranklsim.cohorts.conduct.course import MEASURES
from ranklsim.cohorts.protocol.endpoints import Change, Durability, Endpoint, Estimand, Event, Rate, Responder
from ranklsim.cohorts.protocol.measures import BMD_MEASURES
from ranklsim.cohorts.running.replicates import AS_PLANNED, AS_RUN, CONTROL, OWN, Lived, Studies
from ranklsim.cohorts.statistics import survival
from ranklsim.pkpd.errors import BadInput, RunFailed
from ranklsim.reports.analyses import estimands, lasting, variables
from ranklsim.reports.analyses.effects import is_ratio, measure_of
from ranklsim.reports.pages.studies import DIFFERENCE, ESTIMAND, MEAN, SUBJECT, Protocol

TRUTHS = ("vector", *SUBJECT, "conduct", "patients", "value", "mc_se")
GROUPS = 50
"""Of patients, for the jackknife."""

BY_STRATEGY = "by its strategies"
"""Conduct of an estimand's true value."""

CONDUCTS = {AS_RUN: "real", AS_PLANNED: "ideal"}


@dataclass(frozen=True)
class Question:
    """What is true of an endpoint under a conduct, or of an estimand; `number` names its columns."""

    number: int
    endpoint: Endpoint
    estimand: Estimand
    conduct: str

    @property
    def of_estimand(self) -> bool:
        """Whether an estimand of the trial asks it."""
        return self.conduct == BY_STRATEGY

    def column(self, whose: str, field: str) -> str:
        """Name of a column of the outcomes."""
        return f"{self.number} {whose} {field}"


def questions(protocol: Protocol) -> list[Question]:
    """Everything whose true value is wanted; of a trial without control, the arms' own values only."""
    found: list[tuple[Endpoint, Estimand, str]] = []
    for spec in protocol.endpoints:
        found += [(spec, as_they_come(spec, protocol.others), conduct) for conduct in (AS_PLANNED, AS_RUN)]
    found += [(protocol.trial.endpoint(asked.endpoint), asked, BY_STRATEGY) for asked in protocol.estimands]
    return [Question(k, *asked) for k, asked in enumerate(found)]


def as_they_come(spec: Endpoint, arms: list[str]) -> Estimand:
    """The estimand behind an endpoint: everybody, whatever happens, by the measure that its analysis gives."""
    return Estimand(spec.name, spec.name, False, {}, tuple(arms), {}, "MAR", measure_of(spec))


# -- each patient ------------------------------------------------------------------------------------------------------


def outcomes(found: Studies, protocol: Protocol) -> pd.DataFrame:
    """What became of each patient in her own arm and under the control treatment, for every question.

    Returns
    -------
    DataFrame
        Columns `vector`, `arm`, `stratum`, and those of `estimands.outcome` (of a durability the course of the measure)
        for each question and treatment (`Question.column`).
    """
    people = found.patients.assign(patient=found.identity)
    columns: dict[str, np.ndarray] = {}
    for whose in dict.fromkeys(key[0] for key in found.true):
        courses, events = _tables(found, whose)
        worlds: dict[str, estimands.World] = {}  # many questions are about the same one
        for asked in questions(protocol):
            if isinstance(asked.endpoint, Durability):
                columns |= _course(found.true[whose, asked.conduct], asked, whose, protocol)
                continue
            estimand = asked.estimand
            key = repr((asked.conduct == AS_PLANNED, estimand.with_strategy("hypothetical"), estimand.population))
            if key not in worlds:
                some = variables.in_population(people, estimand)
                ideal = set(some["patient"]) if asked.conduct == AS_PLANNED else estimands.supposed(events, estimand)
                mine = courses if len(some) == len(people) else courses[courses["patient"].isin(some["patient"])]
                worlds[key] = estimands.world_of(some, whose, mine, events, ideal)
            world = worlds[key]
            known = estimands.outcome(world, asked.endpoint, estimand).drop(columns="stratum")
            row = np.searchsorted(found.identity, world[0]["patient"].to_numpy())
            for field in known:
                values = np.full(len(people), np.nan)
                values[row] = known[field].to_numpy(float)
                columns[asked.column(whose, field)] = values
    return pd.concat([people[["vector", "arm", "stratum"]], pd.DataFrame(columns, index=people.index)], axis="columns")


def _tables(found: Studies, whose: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Visits and events of everybody under a treatment, real and ideal, as of a run's tables of twins."""
    n, m = found.identity.size, found.months.size
    visits, events = [], []
    for conduct, name in CONDUCTS.items():
        lived = found.true[whose, conduct]
        # As a run's folder keeps them, so that the truth is that of its report to the last digit.
        values = {f"true_{name}": lived.true[name].reshape(-1).astype(np.float32) for name in MEASURES}
        place = {"patient": np.repeat(found.identity, m), "arm": whose, "month": np.tile(found.months, n)}
        visits.append(pd.DataFrame(place | {"conduct": name} | values))
        events.append(lived.events.assign(conduct=name))
    return pd.concat(visits, ignore_index=True), pd.concat(events, ignore_index=True)


def _course(lived: Lived, asked: Question, whose: str, protocol: Protocol) -> dict[str, np.ndarray]:
    """Course of a durability's measure at the visits at which it is taken, as `lasting.outcome` wants it."""
    spec = asked.endpoint
    assert isinstance(spec, Durability)
    place, _ = _visits_of(spec, protocol)
    values = lived.true[spec.measure][:, place]
    share = 100.0 * values / values[:, :1]
    curve = share - 100.0 if spec.measure in BMD_MEASURES else share
    return {asked.column(whose, str(j)): curve[:, j] for j in range(place.size)}


def _visits_of(spec: Durability, protocol: Protocol) -> tuple[np.ndarray, np.ndarray]:
    """Place and month of the visits at which a measure is taken."""
    visits = protocol.trial.visits
    months = np.asarray(visits.months, dtype=float)
    place = np.flatnonzero(np.isin(months, visits.BMD if spec.measure in BMD_MEASURES else visits.markers))
    return place, months[place]


# -- all of them -------------------------------------------------------------------------------------------------------


def truths(vector: int, protocol: Protocol, outcomes_of: Callable[[Question], pd.DataFrame]) -> pd.DataFrame:
    """True values of one vector, with their Monte-Carlo standard error.

    Parameters
    ----------
    vector : int
    protocol : Protocol
    outcomes_of : callable
        `vector`, `arm`, `stratum` and a question's columns of all patients of the vector, as from `outcomes`.

    Returns
    -------
    DataFrame
        Columns `TRUTHS`; `patients` is how many the value rests on. `mc_se` is on the scale of `value`.
    """
    rows = []
    for asked in questions(protocol):
        table = outcomes_of(asked)
        shared = {"vector": vector, "endpoint": asked.endpoint.name, "conduct": asked.conduct}
        shared |= {"estimand": asked.estimand.name if asked.of_estimand else ""}
        for arm in asked.estimand.arms if asked.of_estimand else protocol.arms:
            for quantity, measure, count, value, error in _values(asked, table[table["arm"] == arm], arm, protocol):
                row = {"arm": arm, "quantity": quantity, "effect_measure": measure, "patients": count}
                rows.append(shared | row | {"value": value, "mc_se": error})
    return pd.DataFrame(rows, columns=list(TRUTHS))


def _values(
    asked: Question, own: pd.DataFrame, arm: str, protocol: Protocol
) -> Iterator[tuple[str, str, int, float, float]]:
    """Quantity, measure of effect, patients, true value and its error, of one question in one arm."""
    spec, n = asked.endpoint, len(own)
    compared = protocol.control is not None and arm != protocol.control
    measure = asked.estimand.summary
    if isinstance(spec, Durability):
        curves = {whose: own.filter(regex=f"^{asked.column(whose, '')}").to_numpy(float) for whose in (OWN, CONTROL)}
        _, months = _visits_of(spec, protocol)
        ends = protocol.ends
        yield MEAN, "", n, *_jackknife(lambda rows: _lasting(spec, months, curves[OWN][rows], ends[arm]), n)
        if compared:
            control = ends[str(protocol.control)]
            yield (
                DIFFERENCE,
                measure,
                n,
                *_jackknife(
                    lambda rows: (
                        _lasting(spec, months, curves[OWN][rows], ends[arm])
                        - _lasting(spec, months, curves[CONTROL][rows], control)
                    ),
                    n,
                ),
            )
        return
    here = _outcome(asked, own, OWN)
    if not asked.of_estimand:
        yield MEAN, "", n, *_level(spec, here)
    if compared:
        try:
            value, error = estimands.contrast(spec, measure, here, _outcome(asked, own, CONTROL))
        except (BadInput, RunFailed):
            value, error = np.nan, np.nan
        if is_ratio(measure):
            error *= value  # of the logarithm
        yield (ESTIMAND if asked.of_estimand else DIFFERENCE), measure, n, value, error


def _outcome(asked: Question, own: pd.DataFrame, whose: str) -> pd.DataFrame:
    """One question's outcomes under a treatment, of the patients whom it is about."""
    start = asked.column(whose, "")
    mine = own[[name for name in own if name.startswith(start)]].rename(columns=lambda name: name.removeprefix(start))
    if isinstance(asked.endpoint, Rate):
        mine = mine.dropna()  # others have counts, if of no time
    return mine.assign(stratum=own["stratum"])


def _level(spec: Endpoint, own: pd.DataFrame) -> tuple[float, float]:
    """True value of an arm by itself, and its standard error."""
    if isinstance(spec, Rate):
        count, years = own["count"].to_numpy(float), own["years"].to_numpy(float)
        rate = count.sum() / years.sum() if years.sum() > 0 else np.nan
        return float(rate), float(np.sqrt(count.size) * (count - rate * years).std(ddof=1) / years.sum())
    if isinstance(spec, Event):
        known = own.dropna(subset=["time"])
        curve = survival.cumulative_incidence(known["time"].to_numpy(float), known["cause"].to_numpy(int))
        if curve.empty:
            return np.nan, np.nan
        at = survival.at_month(curve, spec.by_month - spec.from_month)
        return at["estimate"], at["std_error"]
    assert isinstance(spec, Change | Responder)
    values = own["value"].dropna().to_numpy(float)
    if values.size < 2:
        return (float(values.mean()) if values.size else np.nan), np.nan
    if spec.analysis == "median difference":
        return _jackknife(lambda rows: float(np.median(values[rows])), values.size)
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(values.size))


def _lasting(spec: Durability, months: np.ndarray, curves: np.ndarray, end: float) -> float:
    """A durability of an arm's mean (median) curve; NaN where no visit follows the end of treatment."""
    if not months[0] <= end < months[-1] - 1e-9:
        return np.nan
    middle = np.mean(curves, axis=0) if spec.measure in BMD_MEASURES else np.median(curves, axis=0)
    return float(lasting.outcome(months, middle[None, :], spec, end)[0])


def _jackknife(value_of: Callable[[np.ndarray], float], n: int) -> tuple[float, float]:
    """A value of n patients, given those who count, and its delete-a-group standard error [1]_."""
    if n == 0:
        return np.nan, np.nan
    everyone, groups = np.arange(n), min(GROUPS, n)
    value = value_of(everyone)
    if groups < 2 or not np.isfinite(value):
        return value, np.nan
    left_out = np.array([value_of(everyone[everyone % groups != group]) for group in range(groups)])
    return value, float(np.sqrt((groups - 1) / groups * ((left_out - left_out.mean()) ** 2).sum()))
