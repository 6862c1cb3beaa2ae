"""True values behind the estimates of many studies, from each patient and her counterfactual twin in the other arm.

A true effect is that of the same patients, those whom chance put into an arm, under its treatment and under that of the
comparator: computed as the truth of an estimand is in a report (`estimands.outcome`, `estimands.contrast`), without
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

from ranklsim.cohorts.endpoints import Endpoint, Estimand, is_ratio
from ranklsim.cohorts.endpoints.base import World
from ranklsim.cohorts.endpoints.estimands import REAL, in_population
from ranklsim.pkpd.errors import BadInput, RunFailed
from ranklsim.reports.analyses import estimands
from ranklsim.reports.replicate.analyse import DIFFERENCE, ESTIMAND, MEAN, SUBJECT, Protocol
from ranklsim.reports.replicate.sample import AS_PLANNED, AS_RUN, OWN, Studies

TRUTHS = ("vector", *SUBJECT, "conduct", "patients", "value", "mc_se")
BY_STRATEGY = "by its strategies"
"""Conduct of an estimand's true value."""


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

    @property
    def world(self) -> str:
        """The world that it is about."""
        if not self.of_estimand:
            return self.conduct
        return AS_RUN if self.estimand.world == REAL else self.estimand.world

    def column(self, whose: str, field: str) -> str:
        """Name of a column of the outcomes."""
        return f"{self.number} {'own' if whose == OWN else 'other'} {field}"


def questions(protocol: Protocol) -> list[Question]:
    """Everything whose true value is wanted; of a trial without control, the arms' own values only.

    Parameters
    ----------
    protocol : Protocol
        What is analysed.
    """
    found: list[tuple[Endpoint, Estimand, str]] = []
    for spec in protocol.endpoints:
        found += [(spec, _as_they_come(spec, protocol.others(spec)), conduct) for conduct in (AS_PLANNED, AS_RUN)]
    found += [(protocol.trial.endpoint(asked.endpoint), asked, BY_STRATEGY) for asked in protocol.estimands]
    return [Question(k, *asked) for k, asked in enumerate(found)]


def _as_they_come(spec: Endpoint, arms: list[str]) -> Estimand:
    """The estimand behind an endpoint: everybody, whatever happens, by the measure that its analysis gives."""
    return Estimand(spec.name, spec.name, False, {}, tuple(arms), {}, "MAR", spec.effect_measure)


# -- each patient ------------------------------------------------------------------------------------------------------


def outcomes(found: Studies, protocol: Protocol) -> pd.DataFrame:
    """What became of each patient in her own arm and under the control treatment, for every question.

    Parameters
    ----------
    found : Studies
        Simulated studies.
    protocol : Protocol
        What is analysed.

    Returns
    -------
    DataFrame
        Of the patients whose true courses are known: columns `vector`, `arm`, `stratum`, and those of
        `estimands.outcome` (of a durability the course of the measure) for each question and treatment
        (`Question.column`).
    """
    people = found.patients.assign(patient=found.identity)[found.known]
    identity = people["patient"].to_numpy()
    columns: dict[str, np.ndarray] = {}
    held: dict[str, World] = {}  # many questions are about the same one
    for asked in questions(protocol):
        estimand, against = asked.estimand, protocol.trial.comparator(asked.endpoint)
        for whose in (OWN, *([against] if protocol.trial.compared(asked.endpoint) else [])):
            key = repr((whose, asked.world, estimand.population))
            if key not in held:
                courses, events = _tables(found, str(whose), asked.world)
                some = in_population(people, estimand)
                mine = courses if len(some) == len(people) else courses[courses["patient"].isin(some["patient"])]
                held[key] = estimands.world_of(some, str(whose), mine, events)
            world = held[key]
            known = asked.endpoint.outcome(world, estimand)
            row = np.searchsorted(identity, world[0]["patient"].to_numpy())
            for field in known:
                values = np.full(len(people), np.nan)
                values[row] = known[field].to_numpy(float)
                columns[asked.column(str(whose), field)] = values
    return pd.concat([people[["vector", "arm", "stratum"]], pd.DataFrame(columns, index=people.index)], axis="columns")


def _tables(found: Studies, whose: str, world: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Visits and events of everybody under a treatment in one world, as of a run's tables of twins."""
    lived, keep = found.true[whose, world], found.known
    n, m = int(keep.sum()), found.months.size
    # As a run's folder keeps them, so that the truth is that of its report to the last digit.
    values = {f"true_{name}": lived.true[name][keep].reshape(-1).astype(np.float32) for name in lived.true}
    place = {"patient": np.repeat(found.identity[keep], m), "arm": whose, "month": np.tile(found.months, n)}
    events = lived.events[lived.events["patient"].isin(found.identity[keep])]
    return pd.DataFrame(place | values), events


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
    compared = arm in protocol.trial.compared(spec)
    measure = asked.estimand.summary
    here = _outcome(asked, own, OWN)
    if not asked.of_estimand:
        yield MEAN, "", n, *spec.level(here, protocol.ends[arm])
    if compared:
        against = str(protocol.trial.comparator(spec))
        ends = (protocol.ends[arm], protocol.ends[against])
        try:
            value, error = spec.contrast(measure, here, _outcome(asked, own, against), ends)
        except (BadInput, RunFailed):
            value, error = np.nan, np.nan
        if is_ratio(measure):
            error *= value  # of the logarithm
        yield (ESTIMAND if asked.of_estimand else DIFFERENCE), measure, n, value, error


def _outcome(asked: Question, own: pd.DataFrame, whose: str) -> pd.DataFrame:
    """One question's outcomes under a treatment, of the patients whom it is about."""
    start = asked.column(whose, "")
    mine = own[[name for name in own if name.startswith(start)]].rename(columns=lambda name: name.removeprefix(start))
    return mine.assign(stratum=own["stratum"])
