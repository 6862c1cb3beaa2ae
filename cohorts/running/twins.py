"""Counterfactual twins: the same patients in every arm, as things go and without the events that estimands suppose
away.

A twin is the patient with all of her random numbers. Only the arm differs, or the world: the real one, or one in which
the events of an estimand's hypothetical strategy never happen and all else happens as it would (doses are late or
missed, other events come). The real twin of a patient in her own arm is the patient herself, and who has none of the
events has the same course without them. If the trial has an estimand, twins are simulated for the first
``trial.twins`` patients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from ranklsim.cohorts.conduct.course import MEASURES, Course, play
from ranklsim.cohorts.conduct.patients import Patients
from ranklsim.cohorts.endpoints.estimands import REAL
from ranklsim.cohorts.protocol.trial import Trial
from ranklsim.cohorts.running import storage
from ranklsim.pkpd.agents import Agent
from ranklsim.pkpd.parameters import ParameterTable


def worlds(trial: Trial) -> dict[str, tuple[str, ...]]:
    """Which worlds the trial's estimands need, each with the events that never happen in it; the real one first.

    Parameters
    ----------
    trial : Trial
    """
    if not trial.estimands:
        return {}
    return {REAL: ()} | {
        each.world: each.with_strategy("hypothetical") for each in trial.estimands if each.world != REAL
    }


def persons(trial: Trial, number: NDArray[np.int64]) -> int:
    """Number of courses of twins for these patients, without those that a decision adds.

    Parameters
    ----------
    trial : Trial
        Its estimands decide which twins there are.
    number : ndarray of int, shape (n,)
        Patient numbers.
    """
    each = len(trial.arms) * len(worlds(trial)) - 1
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
        ``true_...`` of `MEASURES` and of ``Trial.exposures``; `twin_events`: the columns of `events` and `conduct`.
        `conduct` is the world. By patient, arm, world, so that the order of rows does not depend on the portions.
    """
    twin = number <= trial.twins
    parts = [_part(trial, number[:0], arms[:0], REAL, _rows(course, np.zeros(number.size, bool)))]  # holds the types

    def played(rows: np.ndarray, arm: str, world: str, names: tuple[str, ...]) -> Frames:
        there = np.full(int(rows.sum()), arm, dtype=arms.dtype if arms.dtype.kind == "O" else None)
        found = play(
            replace(trial, conduct=trial.conduct.without(names)), parameters, agents, _those(people, rows),
            number[rows], there, rtol=rtol, workers=workers, progress=progress, tell=tell,
        )  # fmt: skip
        return _part(trial, number[rows], there, world, _rows(found))

    for arm in trial.arms if twin.any() else ():
        own = twin & (arms == arm.name)
        pieces = [_part(trial, number[own], arms[own], REAL, _rows(course, own, number))] if own.any() else []
        if (twin & ~own).any():
            pieces.append(played(twin & ~own, arm.name, REAL, ()))
        real = _by_patient(pieces)
        parts.append(real)
        for world, names in worlds(trial).items():
            if world == REAL:
                continue
            hit = np.isin(number, real[1].loc[real[1]["event"].isin(names), "patient"].unique())
            same = tuple(frame[~frame["patient"].isin(number[hit])].assign(conduct=world) for frame in real)
            pieces = [(same[0], same[1])]
            if hit.any():
                pieces.append(played(hit, arm.name, world, names))
            if progress:
                progress(int((twin & ~hit).sum()))
            parts.append(_by_patient(pieces))
    visits, events = _by_patient(parts)
    return {
        "twins": storage.to_arrow(visits, [f"true_{name}" for name in (*MEASURES, *trial.exposures)]),
        "twin_events": storage.to_arrow(events),
    }


Frames = tuple[pd.DataFrame, pd.DataFrame]
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
            **{f"true_{name}": latent[name].reshape(-1) for name in (*MEASURES, *trial.exposures)},
        }
    )
    return visits, events.assign(conduct=conduct)


def _by_patient(pieces: list[tuple[pd.DataFrame, pd.DataFrame]]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows in the order of the numbers of patients, and else as they come."""
    frames = [pd.concat([piece[k] for piece in pieces], ignore_index=True) for k in (0, 1)]
    visits, events = (frame.sort_values("patient", kind="stable", ignore_index=True) for frame in frames)
    return visits, events


def _those(people: Patients, keep: np.ndarray) -> Patients:
    """Some of the patients."""
    return Patients(people.covariates[keep].reset_index(drop=True), people.persons[keep].reset_index(drop=True))
