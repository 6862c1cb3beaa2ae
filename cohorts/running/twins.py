"""Counterfactual twins: the same patients in every arm, with the conduct of the trial and with doses as planned.

A twin is the patient with all of her random numbers. Only the arm differs, or the conduct (`play` with ``ideal``). The
real twin of a patient in her own arm is the patient herself. If the trial has an estimand, twins are simulated for the
first ``trial.twins`` patients. Ideal twins are simulated only if an estimand has a hypothetical strategy, the only one
that uses them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from ranklsim.cohorts.conduct.course import MEASURES, Course, play
from ranklsim.cohorts.conduct.patients import Patients
from ranklsim.cohorts.protocol.trial import Trial
from ranklsim.cohorts.running import storage
from ranklsim.pkpd.agents import Agent
from ranklsim.pkpd.parameters import ParameterTable

REAL, IDEAL = "real", "ideal"


def _conducts(trial: Trial) -> tuple[str, ...]:
    """Which twins the trial's estimands need: none, real, or real and ideal."""
    if not trial.estimands:
        return ()
    supposed = any(estimand.with_strategy("hypothetical") for estimand in trial.estimands)
    return (REAL, IDEAL) if supposed else (REAL,)


def persons(trial: Trial, number: NDArray[np.int64]) -> int:
    """Number of courses of twins for these patients, without those that a decision adds.

    Parameters
    ----------
    trial : Trial
        Its estimands decide which twins there are.
    number : ndarray of int, shape (n,)
        Patient numbers.
    """
    each = len(trial.arms) * len(_conducts(trial)) - 1
    return int((number <= trial.twins).sum()) * each if trial.estimands else 0


def twins_of(
    trial: Trial,
    parameters: ParameterTable,
    agents: Sequence[Agent],
    people: Patients,
    number: NDArray[np.int64],
    arms: np.ndarray,
    course: Course,
    *,
    rtol: float,
    workers: int = 1,
    progress: Callable[[int], None] | None = None,
    tell: Callable[[str], None] | None = None,
) -> dict[str, pa.Table]:
    """Tables `twins` and `twin_events` of some patients.

    Parameters
    ----------
    trial, parameters, agents, people, number
        As of `play`.
    arms : ndarray of str, shape (n,)
        Arms of the patients.
    course : Course
        What happened to them there.
    rtol, workers, progress, tell
        As of `play`.

    Returns
    -------
    dict
        `twins`: columns `patient`, `arm`, `conduct`, `visit`, `month`, `treated` (followed and still on treatment),
        ``true_...`` of `MEASURES`; `twin_events`: the columns of `events` and `conduct`. By conduct, arm, patient.
    """
    twin = number <= trial.twins
    parts = [_part(trial, number[:0], arms[:0], REAL, _rows(course, np.zeros(number.size, bool)))]  # holds the types
    for conduct in _conducts(trial) if twin.any() else ():
        for arm in trial.arms:
            own = twin & (arms == arm.name) & (conduct == REAL)
            other = twin & ~own
            pieces = []
            if own.any():
                pieces.append(_part(trial, number[own], arms[own], conduct, _rows(course, own, number)))
            if other.any():
                there = np.full(int(other.sum()), arm.name, dtype=arms.dtype if arms.dtype.kind == "O" else None)
                played = play(
                    trial, parameters, agents, _those(people, other), number[other], there, ideal=conduct == IDEAL,
                    rtol=rtol, workers=workers, progress=progress, tell=tell,
                )  # fmt: skip
                pieces.append(_part(trial, number[other], there, conduct, _rows(played)))
            parts += [_by_patient(pieces)]
    visits = pd.concat([part[0] for part in parts], ignore_index=True)
    events = pd.concat([part[1] for part in parts], ignore_index=True)
    return {
        "twins": storage.to_arrow(visits, [f"true_{name}" for name in MEASURES]),
        "twin_events": storage.to_arrow(events),
    }


Rows = tuple[dict[str, NDArray[np.float64]], NDArray[np.float64], NDArray[np.float64], pd.DataFrame]


def _rows(course: Course, keep: np.ndarray | None = None, number: NDArray[np.int64] | None = None) -> Rows:
    """Latent values, months followed, month of stopping and events of a course, or of some of its patients."""
    if keep is None:
        return course.latent, course.last, course.stopped, course.events
    events = course.events[course.events["patient"].isin([] if number is None else number[keep])]
    return (
        {name: values[keep] for name, values in course.latent.items()},
        course.last[keep],
        course.stopped[keep],
        events,
    )


def _part(
    trial: Trial, number: NDArray[np.int64], arms: np.ndarray, conduct: str, rows: Rows
) -> tuple[pd.DataFrame, pd.DataFrame]:
    latent, last, stopped, events = rows
    months = np.asarray(trial.visits.months, dtype=float)
    n, m = number.size, months.size
    treated = months[None, :] <= np.minimum(last, stopped)[:, None]
    visits = pd.DataFrame(
        {
            "patient": np.repeat(number, m),
            "arm": np.repeat(arms, m),
            "conduct": np.full(n * m, conduct, dtype=object),
            "visit": np.tile(np.arange(m), n),
            "month": np.tile(months, n),
            "treated": treated.reshape(-1),
            **{f"true_{name}": latent[name].reshape(-1) for name in MEASURES},
        }
    )
    return visits, events.assign(conduct=conduct)


def _by_patient(pieces: list[tuple[pd.DataFrame, pd.DataFrame]]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Patients of one arm and conduct in the order of their numbers."""
    frames = [pd.concat([piece[k] for piece in pieces], ignore_index=True) for k in (0, 1)]
    visits, events = (frame.sort_values("patient", kind="stable", ignore_index=True) for frame in frames)
    return visits, events


def _those(people: Patients, keep: np.ndarray) -> Patients:
    """Some of the patients."""
    return Patients(people.covariates[keep].reset_index(drop=True), people.persons[keep].reset_index(drop=True))
