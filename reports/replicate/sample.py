"""Replicates of a trial, each with its own patients, for one or for many parameter vectors.

A study is one replicate under one vector. Many studies are drawn, dosed and integrated together, in batches of
patients, like the patients of one trial. Each patient has her own number among all studies (`identity`), from which her
random numbers follow. Replicate 0 under vector 0, the default values, is the trial as `ranklsim run` runs it. No study
depends on the number of studies. The first n patients of a study are that study with n patients, so several sizes cost
as much as the largest.

Besides the observed data, a study holds true values: the course of each patient in her own arm and, for the same person
with the same random numbers, in the arm with which it is compared (a counterfactual twin). They exist as run, as
planned (every dose given, nobody leaves), and in each world of an estimand, from which only some events are taken
away. The twins give the true effect; the first studies of a vector are enough for it (`TRUE_OF`).

The null hypothesis takes the effect of the drug away and leaves the conduct of each arm: its dropout, stopping, rescue
and adherence. Patients are given the treatment of the control arm with the conduct of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ranklsim.cohorts import uncertainty
from ranklsim.cohorts.conduct.allocation import allocate, strata_of
from ranklsim.cohorts.conduct.course import MEASURES, Course, observe, play
from ranklsim.cohorts.conduct.enrolment import enrolled_months
from ranklsim.cohorts.conduct.patients import Patients, draw
from ranklsim.cohorts.endpoints import INTERCURRENT
from ranklsim.cohorts.endpoints.estimands import REAL
from ranklsim.cohorts.protocol.trial import Trial
from ranklsim.cohorts.running.portion import refuse_nan
from ranklsim.cohorts.running.twins import worlds
from ranklsim.pkpd import ensemble
from ranklsim.pkpd.agents import Agent
from ranklsim.pkpd.errors import BadInput
from ranklsim.pkpd.parameters import ParameterTable
from ranklsim.pkpd.reading import MOST_PATIENTS

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

OWN = "own"
"""Treatment of a patient's true course: that of her arm; others are named by the arm with which it is compared."""

TRUE_OF = 200_000
"""Patients of a vector from whom true values are known: those of its first studies."""

Array = NDArray[np.float64]
Whole = NDArray[np.int64]


@dataclass(frozen=True)
class Replication:
    """The plan of a replication.

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
        """Vector of each study; studies are numbered vector by vector.

        Parameters
        ----------
        study : ndarray of int
            Numbers of studies, from 0.
        """
        return study // self.replicates

    def replicate_of(self, study: Whole) -> Whole:
        """Replicate of each study.

        Parameters
        ----------
        study : ndarray of int
            Numbers of studies, from 0.
        """
        return study % self.replicates

    def batches(self) -> Iterator[Whole]:
        """Studies in order, as many at a time as have about `BATCH` patients."""
        at_once = max(1, BATCH // self.patients)
        for first in range(0, self.count, at_once):
            yield np.arange(first, min(first + at_once, self.count), dtype=np.int64)

    def typical_values(self, vector: Whole) -> pd.DataFrame | None:
        """Values of the vector of each patient; None where there is but the table's.

        Parameters
        ----------
        vector : ndarray of int, shape (n,)
            Number of the vector of each patient.
        """
        if len(self.vectors) == 1:
            return None
        return self.vectors.drop(columns="draw").iloc[vector].reset_index(drop=True)


@dataclass(frozen=True)
class Lived:
    """True courses of some patients, seen or not, under one treatment and conduct.

    Attributes
    ----------
    true : dict
        `MEASURES` at the visits, shape (n, n_visits), and what endpoints of exposure need.
    last : ndarray, shape (n,)
        Month until which each is followed.
    kept : ndarray, shape (n, n_visits)
        Month at which each visit is kept, or would have been.
    events : DataFrame
        As of `Course`; `patient` is the identity.
    undisturbed : ndarray of bool, shape (n,)
        Whose doses, visits and stay were as planned, so that what is planned is what happened.
    """

    true: dict[str, Array]
    last: Array
    kept: Array
    events: pd.DataFrame
    undisturbed: NDArray[np.bool_]


@dataclass(frozen=True)
class Observed:
    """The data that a trial obtains from some patients.

    Attributes
    ----------
    values : dict
        `MEASURES`, `CTX_BLQ` and `attended` as read at the visits, shape (n, n_visits).
    last, kept, events
        As of `Lived`.
    """

    values: dict[str, NDArray]
    last: Array
    kept: Array
    events: pd.DataFrame


@dataclass(frozen=True)
class Studies:
    """Some studies, patient by patient; rows are those of `patients`, study after study.

    Attributes
    ----------
    patients : DataFrame
        `vector`, `replicate`, `patient`, `arm`, `stratum`, covariates, `enrolled_month`.
    identity : ndarray of int, shape (n,)
        Number of each patient among those of all studies, increasing.
    seen, null : Observed
        As randomised, and without the effect of the drug (None where it is not asked for, or no arms are compared).
    true : dict
        (`OWN` or the name of a comparator, world) to the true courses; worlds are `AS_RUN`, `AS_PLANNED` and those of
        the estimands.
    known : ndarray of bool, shape (n,)
        Whose true courses are there, but for those as run in her own arm.
    months : ndarray, shape (n_visits,)
    """

    patients: pd.DataFrame
    identity: Whole
    seen: Observed
    null: Observed | None
    true: dict[tuple[str, str], Lived]
    known: NDArray[np.bool_]
    months: Array

    def people(self, of: Observed) -> pd.DataFrame:
        """A table as of a run's ``patients.parquet``, with `vector` and `replicate`.

        Parameters
        ----------
        of : Observed
            What was seen under the trial's design, or under the null hypothesis.
        """
        return self.patients.assign(last_month=of.last)

    def visits(self, of: Observed, more: dict[str, NDArray] | None = None) -> pd.DataFrame:
        """A table as of a run's ``visits.parquet``, with `vector` and `replicate`, and further columns.

        Parameters
        ----------
        of : Observed
            What was seen under the trial's design, or under the null hypothesis.
        more : dict of str to ndarray, shape (n, visits), optional
            Further columns.
        """
        n, m = len(self.patients), self.months.size
        keys = {name: np.repeat(self.patients[name].to_numpy(), m) for name in ("vector", "replicate", "patient")}
        names, code = np.unique(self.patients["arm"].to_numpy(str), return_inverse=True)
        arm = pd.Categorical.from_codes(np.repeat(code, m), names)
        place = {"visit": np.tile(np.arange(m), n), "month": np.tile(self.months, n)}
        values = {
            name: x.reshape(-1).astype(np.float32) if x.dtype == float else x.reshape(-1)  # as a run's folder keeps it
            for name, x in (of.values | (more or {})).items()
        }
        return pd.DataFrame(keys | {"arm": arm} | place | {"actual_month": of.kept.reshape(-1)} | values)

    def events(self, of: Observed) -> pd.DataFrame:
        """A table as of a run's ``events.parquet``, with `vector` and `replicate`; `arm` as randomised.

        Parameters
        ----------
        of : Observed
            What was seen under the trial's design, or under the null hypothesis.
        """
        row = np.searchsorted(self.identity, of.events["patient"].to_numpy(dtype=np.int64))
        own = {name: self.patients[name].to_numpy()[row] for name in ("vector", "replicate", "patient", "arm")}
        return of.events.assign(**own)[["vector", "replicate", *of.events.columns]]


def label(vector: int, replicate: int) -> int:
    """A study's number among all studies of all vectors; 0 for replicate 0 under the default values.

    Parameters
    ----------
    vector : int
        Number of the parameter vector, 0 for the default values.
    replicate : int
        Number of the replicate, from 0.
    """
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
    held = len(ensemble.ensemble())
    count = held if vectors == ALL else int(vectors)
    if count > held and ensemble.holds_for(parameters, agents):
        raise BadInput(f"vectors = {count}, but the ensemble holds {held}; give at most that.")
    draws, source = uncertainty.draws_of(replace(trial, uncertainty_draws=max(count, 1)), parameters, agents)
    draws = draws.iloc[: count + 1]
    return Replication(trial, parameters, agents, replicates, draws, source if count else "none", rtol)


def studies(
    plan: Replication,
    study: Whole,
    *,
    null: bool = True,
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
    null : bool
        Whether the null hypothesis is asked for.
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

    exposed, kept = bool(trial.exposures), {*MEASURES, *trial.exposures}

    def course(rows: Whole, in_arm: NDArray, of: Trial = trial, *, count: bool = False, **how: Any) -> Lived:
        parts = []
        for first in range(0, rows.size, BATCH):
            some, there = rows[first : first + BATCH], in_arm[first : first + BATCH]
            more = {name: x[first : first + BATCH] if name == "given" else x for name, x in how.items()}
            group = Patients(people.covariates.iloc[some], people.persons.iloc[some])
            found = play(
                of, plan.parameters, plan.agents, group, who[some], there,
                rtol=plan.rtol, workers=workers, progress=progress if count else None, tell=tell, **more,
            )  # fmt: skip
            refuse_nan(found.latent, number[some], "a study, patient")
            true = {
                name: values for name, values in found.latent.items() if name in kept or (exposed and name[:2] == "C_")
            }
            parts.append(Lived(true, found.last, found.kept, found.events, _undisturbed(trial, found, who[some])))
        return _joined(parts, trial.visits.months)

    def read(of: Lived) -> Observed:
        values = observe(trial, plan.parameters, who, of.last, of.true, kept=of.kept)
        return Observed(values, of.last, of.kept, of.events)

    everyone, known = np.arange(number.size), replicate < max(TRUE_OF // n, 1)
    comparators = list(dict.fromkeys(str(trial.comparator(spec)) for spec in trial.endpoints if trial.compared(spec)))
    own = course(everyone, arms, count=True)
    true = {(OWN, AS_RUN): own}
    for name in comparators:
        others, there = np.flatnonzero((arms != name) & known), np.full(number.size, name)
        true[name, AS_RUN] = _with_rows(who, own, others, course(others, there[others]))
    asked: dict[str, tuple[str, ...]] = {AS_PLANNED: (), **{w: e for w, e in worlds(trial).items() if w != REAL}}
    for (whose, _), lived in list(true.items()):
        there = arms if whose == OWN else np.full(number.size, whose)
        elsewhere = known & ((arms != whose) | (whose == OWN))
        mine = np.flatnonzero(known & ~elsewhere)  # who is in this arm anyway
        for world, names in asked.items():
            of = trial if world == AS_PLANNED else replace(trial, conduct=trial.conduct.without(names))
            hit = np.isin(who, lived.events.loc[lived.events["event"].isin(names), "patient"].unique())
            rows = np.flatnonzero((~lived.undisturbed if world == AS_PLANNED else hit) & elsewhere)
            changed = _with_rows(who, lived, rows, course(rows, there[rows], of, ideal=world == AS_PLANNED))
            if mine.size:
                changed = _with_rows(who, changed, mine, _rows(who, true[OWN, world], mine))
            true[whose, world] = changed
    nothing = None
    if null and comparators:
        control = comparators[0] if trial.control not in comparators else str(trial.control)
        others, given = np.flatnonzero(arms != control), np.full(number.size, control)
        if trial.conduct.of_arms or not known.all():
            nothing = read(_with_rows(who, own, others, course(others, arms[others], given=given[others])))
        else:
            nothing = read(true[control, AS_RUN])
    told = people.covariates.reset_index(drop=True)
    told["patient"] = number
    told.insert(0, "vector", vector)
    told.insert(1, "replicate", replicate)
    told.insert(3, "arm", arms)
    told.insert(4, "stratum", strata)
    told["enrolled_month"] = np.concatenate(
        [
            enrolled_months(trial, number[k : k + n], replicate=label(int(vector[k]), int(replicate[k])))
            for k in range(0, number.size, n)
        ]
    )
    return Studies(told, who, read(own), nothing, true, known, np.asarray(trial.visits.months, dtype=float))


def _with_vectors(people: Patients, values: pd.DataFrame | None) -> Patients:
    """Persons with a column for every symbol of the vectors: the vector's value of what patients do not vary in."""
    if values is None:
        return people
    others = values[[symbol for symbol in values if symbol not in people.persons]]
    return Patients(people.covariates, pd.concat([people.persons, others], axis="columns"))


def _undisturbed(trial: Trial, course: Course, who: Whole) -> NDArray[np.bool_]:
    """Patients whose doses, visits and follow-up were all as planned."""
    if trial.conduct.window_days > 0:
        return np.zeros(who.size, dtype=bool)
    doses, events = course.doses, course.events
    off = ~doses["given"] | (doses["month"] != doses["planned_month"]) | (doses["reason"] != "")
    disturbed = [doses.loc[off, "patient"], events.loc[events["event"].isin(INTERCURRENT), "patient"]]
    return ~np.isin(who, np.concatenate([part.to_numpy(dtype=np.int64) for part in disturbed]))


def _with_rows(who: Whole, course: Lived, rows: Whole, other: Lived) -> Lived:
    """A course in which some patients have another."""
    if not rows.size:
        return course
    true = {name: values.copy() for name, values in course.true.items()}
    last, kept, undisturbed = course.last.copy(), course.kept.copy(), course.undisturbed.copy()
    for name, values in other.true.items():
        true[name][rows] = values
    last[rows], kept[rows], undisturbed[rows] = other.last, other.kept, other.undisturbed
    left = course.events[~course.events["patient"].isin(who[rows])]
    events = pd.concat([left, other.events]).sort_values("patient", kind="stable", ignore_index=True)
    return Lived(true, last, kept, events, undisturbed)


def _rows(who: Whole, course: Lived, rows: Whole) -> Lived:
    true = {name: x[rows] for name, x in course.true.items()}
    events = course.events[course.events["patient"].isin(who[rows])]
    return Lived(true, course.last[rows], course.kept[rows], events, course.undisturbed[rows])


def _joined(parts: list[Lived], months: Sequence[float]) -> Lived:
    if not parts:
        return Lived({}, np.empty(0), np.empty((0, len(months))), pd.DataFrame(), np.empty(0, dtype=bool))
    return Lived(
        {name: np.concatenate([part.true[name] for part in parts]) for name in parts[0].true},
        np.concatenate([part.last for part in parts]),
        np.concatenate([part.kept for part in parts]),
        pd.concat([part.events for part in parts], ignore_index=True),
        np.concatenate([part.undisturbed for part in parts]),
    )
