"""A trial run again and again: replicates with patients of their own, for one or for many parameter vectors.

A study is one replicate under one vector. Many studies are drawn, dosed and integrated together, in batches of
patients, as the patients of one trial are: each patient has a number of her own among all studies (`identity`), from
which her random numbers follow. Replicate 0 under vector 0, the default values, is the trial as `ranklsim run` runs it;
no study depends on how many there are; and the first n patients of a study are that study with n patients, so that
several sizes cost as much as the largest.

Beside what is seen, a study holds what nobody sees: each patient's true course in her own arm and, the same person with
the same random numbers, under the control treatment (a counterfactual twin), both as it happened and as planned (every
dose given, nobody leaves). The twins give the true effect. Studied as if they were the patients, with the arms that
they were randomised to, they are the study under the null hypothesis, in which every arm is given the control
treatment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ranklsim.cohorts.conduct.allocation import allocate, strata_of
from ranklsim.cohorts.conduct.course import MEASURES, Course, observe, play
from ranklsim.cohorts.people.population import Patients, draw
from ranklsim.cohorts.protocol.design import MOST_PATIENTS
from ranklsim.cohorts.protocol.trial import Trial
from ranklsim.cohorts.running.portion import refuse_nan
from ranklsim.cohorts.unknowns import uncertainty
from ranklsim.pkpd import variants
from ranklsim.pkpd.agents import Agent
from ranklsim.pkpd.errors import BadInput
from ranklsim.pkpd.parameters import ParameterTable

BATCH = 2000
"""Patients simulated at a time, of as many studies as they belong to."""

MOST_REPLICATES = 2**22
"""Replicates of a vector at most: a patient's identity has room for so many."""

_ROOM = 2**24  # for the patients of a study in an identity
assert _ROOM > MOST_PATIENTS

ALL = "all"
"""Asks for every vector of the shipped ensemble."""

AS_RUN, AS_PLANNED = "as run", "as planned"
"""Conduct of a patient's true course: what happened, or every dose given and nobody leaving."""

OWN, CONTROL = "own", "control"
"""Treatment of a patient's true course: that of her arm, or that of the control arm."""

Array = NDArray[np.float64]
Whole = NDArray[np.int64]


@dataclass(frozen=True)
class Replication:
    """What is to be run.

    Attributes
    ----------
    trial : Trial
        With as many patients as the largest study has.
    parameters : ParameterTable
    agents : list of Agent
        Those of ``trial.agent_names()``, in that order.
    replicates : int
        Studies of each vector.
    vectors : DataFrame
        As from `uncertainty.draws_of`; draw 0 has the table's values.
    source : str
        Where the vectors come from: ``none`` (default values alone), ``ensemble`` or ``ranges``.
    rtol : float
        Error allowed the integrator a step, relative.
    """

    trial: Trial
    parameters: ParameterTable
    agents: list[Agent]
    replicates: int
    vectors: pd.DataFrame
    source: str
    rtol: float

    @property
    def patients(self) -> int:
        """Patients of a study."""
        return self.trial.population.patients

    @property
    def count(self) -> int:
        """Studies in all."""
        return self.replicates * len(self.vectors)

    def vector_of(self, study: Whole) -> Whole:
        """Vector of each study; studies are numbered vector by vector."""
        return study // self.replicates

    def replicate_of(self, study: Whole) -> Whole:
        """Replicate of each study."""
        return study % self.replicates

    def batches(self) -> Iterator[Whole]:
        """Studies in order, as many at a time as have about `BATCH` patients."""
        at_once = max(1, BATCH // self.patients)
        for first in range(0, self.count, at_once):
            yield np.arange(first, min(first + at_once, self.count), dtype=np.int64)

    def typical_values(self, vector: Whole) -> pd.DataFrame | None:
        """Values of the vector of each patient; None where there is but the table's."""
        if len(self.vectors) == 1:
            return None
        return self.vectors.drop(columns="draw").iloc[vector].reset_index(drop=True)


@dataclass(frozen=True)
class Studies:
    """Some studies, patient by patient; rows are those of `patients`, study after study.

    Attributes
    ----------
    patients : DataFrame
        `vector`, `replicate`, `patient`, `arm`, `stratum`, covariates, `last_month`.
    seen, null : dict
        `MEASURES`, `CTX_BLQ` and `attended` as read at the visits, shape (n, n_visits): as randomised, and with the
        control treatment for all (None without a control arm).
    true : dict
        (`OWN` or `CONTROL`, `AS_RUN` or `AS_PLANNED`) to the true `MEASURES` at the visits; no `CONTROL` without a
        control arm.
    months : ndarray, shape (n_visits,)
    """

    patients: pd.DataFrame
    seen: dict[str, NDArray]
    null: dict[str, NDArray] | None
    true: dict[tuple[str, str], dict[str, Array]]
    months: Array

    def visits(self, values: dict[str, NDArray]) -> pd.DataFrame:
        """Values as in ``visits.parquet``: `vector`, `replicate`, `patient`, `arm`, `visit`, `month`, each value."""
        n, m = len(self.patients), self.months.size
        keys = {name: np.repeat(self.patients[name].to_numpy(), m) for name in ("vector", "replicate", "patient")}
        place = {"visit": np.tile(np.arange(m), n), "month": np.tile(self.months, n)}
        arm = np.repeat(self.patients["arm"].to_numpy(), m)
        return pd.DataFrame(keys | {"arm": arm} | place | {name: x.reshape(-1) for name, x in values.items()})


@dataclass(frozen=True)
class _Course:
    """True measures at the visits, months followed, and whose doses and visits were as planned."""

    true: dict[str, Array]
    last: Array
    undisturbed: NDArray[np.bool_]


def label(vector: int, replicate: int) -> int:
    """A study's number among all studies of all vectors; 0 for replicate 0 under the default values."""
    return vector * MOST_REPLICATES + replicate


def identity(vector: Whole, replicate: Whole, patient: Whole) -> Whole:
    """A patient's number among those of all studies; her number in the trial for replicate 0 under the default values.

    Parameters
    ----------
    vector, replicate, patient : ndarray of int
        `patient` from 1.
    """
    return (vector * MOST_REPLICATES + replicate) * _ROOM + patient


def replication(
    trial: Trial,
    parameters: ParameterTable,
    agents: list[Agent],
    *,
    replicates: int,
    vectors: int | str = 0,
    rtol: float,
) -> Replication:
    """Check what is asked for.

    Parameters
    ----------
    trial : Trial
        With as many patients as the largest study has.
    parameters, agents
        As of `Replication`.
    replicates : int
    vectors : int or "all"
        Vectors beside the default values: so many, or the whole shipped ensemble.
    rtol : float

    Raises
    ------
    BadInput
        If a number is not possible, or there are no vectors to be had.
    """
    faults = []
    if not 1 <= replicates <= MOST_REPLICATES:
        faults.append(f"replicates = {replicates} is not possible; give 1 to {MOST_REPLICATES}.")
    if isinstance(vectors, str) and vectors != ALL:
        faults.append(f"vectors = '{vectors}' is neither a number nor '{ALL}'; give 20, or '{ALL}' for the ensemble.")
    elif not isinstance(vectors, str) and vectors < 0:
        faults.append(f"vectors = {vectors} is not possible; give 0 or more.")
    if vectors != 0 and not trial.layers.parameters:
        faults.append("vectors are asked for, but the trial's layer 'parameters' is off; switch it on.")
    if faults:
        raise BadInput(*faults)
    held = len(variants.ensemble())
    count = held if vectors == ALL else int(vectors)
    fits = len(variants.fit_for(variants.ensemble(), parameters, agents).columns) == len(variants.ensemble().columns)
    if fits and count > held:
        raise BadInput(f"vectors = {count}, but the ensemble holds {held}; give at most that.")
    draws, source = uncertainty.draws_of(replace(trial, uncertainty_draws=max(count, 1)), parameters, agents)
    draws = draws.iloc[: count + 1]
    return Replication(trial, parameters, agents, replicates, draws, source if count else "none", rtol)


def studies(
    plan: Replication,
    study: Whole,
    *,
    workers: int = 1,
    progress: Callable[[int], None] | None = None,
    tell: Callable[[str], None] | None = None,
) -> Studies:
    """Draw, randomise, simulate and observe some studies.

    Parameters
    ----------
    plan : Replication
    study : ndarray of int
        Their numbers; no study depends on which others are simulated with it.
    workers : int
        Threads; no result depends on it.
    progress : callable, optional
        Called with the number of patients done in their own arm since the last call.
    tell : callable, optional
        As of `simulate`.

    Raises
    ------
    RunFailed
        If a patient cannot be integrated.
    """
    trial, n = plan.trial, plan.patients
    number = np.tile(np.arange(1, n + 1, dtype=np.int64), study.size)
    vector, replicate = np.repeat(plan.vector_of(study), n), np.repeat(plan.replicate_of(study), n)
    who = identity(vector, replicate, number)
    values = plan.typical_values(vector)
    people = _with_vectors(draw(trial, plan.parameters, who, typical_values=values), values)
    strata = strata_of(trial, people.covariates)
    arms = np.concatenate(
        [
            allocate(trial, strata[k : k + n], replicate=label(int(vector[k]), int(replicate[k])))[0]
            for k in range(0, number.size, n)
        ]
    )

    def course(rows: Whole, treated: NDArray, *, planned: bool, count: bool = False) -> _Course:
        parts = []
        for first in range(0, rows.size, BATCH):
            some = rows[first : first + BATCH]
            group = Patients(people.covariates.iloc[some], people.persons.iloc[some])
            found = play(
                trial, plan.parameters, plan.agents, group, who[some], treated[first : first + BATCH],
                ideal=planned, rtol=plan.rtol, workers=workers, progress=progress if count else None, tell=tell,
            )  # fmt: skip
            refuse_nan(found.latent, number[some], "a study, patient")
            true = {name: found.latent[name] for name in MEASURES}
            parts.append(_Course(true, found.last, _undisturbed(trial, found, who[some])))
        return _joined(parts)

    def read(of: _Course) -> dict[str, NDArray]:
        return observe(trial, plan.parameters, who, of.last, of.true)

    def as_planned(of: _Course, treated: NDArray) -> dict[str, Array]:
        again = np.flatnonzero(~of.undisturbed)
        return _with_rows(of, again, course(again, treated[again], planned=True)).true

    everyone = np.arange(number.size)
    own = course(everyone, arms, planned=False, count=True)
    true = {(OWN, AS_RUN): own.true, (OWN, AS_PLANNED): as_planned(own, arms)}
    null = None
    if trial.control is not None:
        others = np.flatnonzero(arms != trial.control)
        control = np.full(number.size, trial.control)
        as_control = _with_rows(own, others, course(others, control[others], planned=False))
        null = read(as_control)
        true[CONTROL, AS_RUN] = as_control.true
        # The planned courses of the control arm are known already: only those of the others are simulated.
        known = _Course(true[OWN, AS_PLANNED], own.last, np.ones(number.size, dtype=bool))
        known = _with_rows(known, others, _rows(as_control, others))
        true[CONTROL, AS_PLANNED] = as_planned(known, control)
    told = people.covariates.reset_index(drop=True)
    told["patient"] = number
    told.insert(0, "vector", vector)
    told.insert(1, "replicate", replicate)
    told.insert(3, "arm", arms)
    told.insert(4, "stratum", strata)
    months = np.asarray(trial.visits.months, dtype=float)
    return Studies(told.assign(last_month=own.last), read(own), null, true, months)


def _with_vectors(people: Patients, values: pd.DataFrame | None) -> Patients:
    """Persons with a column for every symbol of the vectors: the vector's value of what patients do not vary in."""
    if values is None:
        return people
    others = values[[symbol for symbol in values if symbol not in people.persons]]
    return Patients(people.covariates, pd.concat([people.persons, others], axis="columns"))


def _undisturbed(trial: Trial, course: Course, who: Whole) -> NDArray[np.bool_]:
    """Whose doses and visits were as the protocol plans them, so that what is planned is what happened."""
    if trial.conduct.window_days > 0:
        return np.zeros(who.size, dtype=bool)
    doses = course.doses
    off = ~doses["given"] | (doses["month"] != doses["planned_month"]) | (doses["reason"] != "")
    return ~np.isin(who, doses.loc[off, "patient"].to_numpy(dtype=np.int64))


def _with_rows(course: _Course, rows: Whole, other: _Course) -> _Course:
    """A course in which some patients have another."""
    true = {name: values.copy() for name, values in course.true.items()}
    last, undisturbed = course.last.copy(), course.undisturbed.copy()
    if rows.size:
        for name, values in other.true.items():
            true[name][rows] = values
        last[rows], undisturbed[rows] = other.last, other.undisturbed
    return _Course(true, last, undisturbed)


def _rows(course: _Course, rows: Whole) -> _Course:
    return _Course({name: x[rows] for name, x in course.true.items()}, course.last[rows], course.undisturbed[rows])


def _joined(parts: list[_Course]) -> _Course:
    if not parts:
        return _Course({}, np.empty(0), np.empty(0, dtype=bool))
    names = parts[0].true
    return _Course(
        {name: np.concatenate([part.true[name] for part in parts]) for name in names},
        np.concatenate([part.last for part in parts]),
        np.concatenate([part.undisturbed for part in parts]),
    )
