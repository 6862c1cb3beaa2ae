"""What happens during a trial: who stays, which doses are given, which visits are kept, what is read there.

`play` conducts a trial for some patients, in whichever arm each is put. What does not depend on how she does (dropout
at a given rate, death, doses late or missed, stopping) is decided first; then she is simulated; then fractures and
other events follow from her own course. Everybody is simulated to the trial's end: what the body does after she has
left, stopped or died is an unobserved truth.

A measurement is the latent value with the error of its method: DXA and serum calcium are off by a normal error of
constant CV, other serum markers by a lognormal factor with median 1 and that CV (assay and within-subject variation
together). The error of a patient's measurement depends on the hour of the planned visit, not on its place in a
schedule, so two designs that share a visit share its error. CTX below the lower limit of quantitation is stored as the
limit, with ``CTX_BLQ`` true, as in a laboratory data set (LBORRES "<0.049"). Without the trial's layer ``residual``
what is read is the latent value, to the last bit and below any limit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ranklsim.cohorts import deaths, doses, events, fractures, streams
from ranklsim.cohorts.event_numbers import event_numbers
from ranklsim.cohorts.events import Happened, happened
from ranklsim.cohorts.population import Patients
from ranklsim.cohorts.schema import BMD_MEASURES, MARKER_MEASURES
from ranklsim.cohorts.waiting import by_spells, patience
from ranklsim.pkpd.agents import Agent
from ranklsim.pkpd.parameters import ParameterTable
from ranklsim.pkpd.simulation import simulate
from ranklsim.pkpd.units import DAYS_PER_MONTH

if TYPE_CHECKING:
    from ranklsim.cohorts.trial import Trial

MEASURES = (*BMD_MEASURES, *MARKER_MEASURES)

_ADDITIVE = (*BMD_MEASURES, "CA")  # errors small enough to be normal; the others are lognormal
_CV = {measure: f"CV_DXA_{measure.removeprefix('BMD_')}" for measure in BMD_MEASURES} | {
    measure: f"CV_{measure}" for measure in MARKER_MEASURES
}
_HOURS_PER_MONTH = 24 * DAYS_PER_MONTH

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Course:
    """How a trial went for some patients.

    Attributes
    ----------
    doses : DataFrame
        Columns of ``doses.COLUMNS``; by patient, then planned month.
    events : DataFrame
        Columns of ``events.COLUMNS``.
    last : ndarray, shape (n,)
        Month until which each is followed.
    stopped : ndarray, shape (n,)
        Month from which she is no longer given what her arm is given; inf if never, or not before she leaves.
    latent : dict of str to ndarray, shape (n, n_visits)
        True values of everything that `simulate` returns, at her visits.
    """

    doses: pd.DataFrame
    events: pd.DataFrame
    last: Array
    stopped: Array
    latent: dict[str, Array]


def play(
    trial: Trial,
    parameters: ParameterTable,
    agents: Sequence[Agent],
    people: Patients,
    number: NDArray[np.int64],
    arms: np.ndarray,
    *,
    replicate: int = 0,
    ideal: bool = False,
    rtol: float = 1e-6,
    workers: int = 1,
    progress: Callable[[int], None] | None = None,
    tell: Callable[[str], None] | None = None,
    retried: Callable[[int], None] | None = None,
) -> Course:
    """Conduct a trial for some patients.

    Parameters
    ----------
    trial : Trial
    parameters : ParameterTable
    agents : sequence of Agent
        Those of ``trial.agent_names()``, in that order.
    people : Patients
        As from `draw`, of ``number``.
    number : ndarray of int, shape (n,)
        Patient numbers, from 1: they choose the random numbers.
    arms : ndarray of str, shape (n,)
        Arm that each is put in; a patient has the same random numbers in every arm.
    replicate : int
    ideal : bool
        Doses as planned, every visit on its day, nobody leaves, stops, is rescued or dies; fractures and other
        outcomes happen.
    rtol : float
        Error allowed the integrator a step, relative.
    workers : int
        Threads; no result depends on it.
    progress, tell, retried : callable, optional
        As of `simulate`.

    Returns
    -------
    Course

    Raises
    ------
    RunFailed
        If a patient cannot be integrated.
    """
    conduct, n = trial.conduct, number.size
    intent = intended(trial, agents, people.covariates, arms, replicate, ideal)
    plan, last, stopped = intent.plan, intent.last, intent.stopped
    visits = np.asarray(trial.visits.months, dtype=float)
    months = _grid(trial)
    latent = simulate(
        parameters,
        people.persons.set_axis(number, axis="index"),  # so that a complaint names the patient
        agents,
        doses.as_doses(plan, agents),
        months * DAYS_PER_MONTH,
        rtol=rtol,
        atol=rtol / 100,
        workers=workers,
        progress=progress,
        tell=tell,
        retried=None if retried is None else lambda row: retried(int(number[row])),
    )
    parts: list[Happened] = []
    if conduct.fractures:
        found = fractures.happen(parameters, people.covariates, months, latent, trial.seed, replicate)
        parts += fractures.recorded(found, np.asarray(conduct.imaging), last)
    has_stopped = np.flatnonzero((stopped < last) & _had_more(plan, stopped))
    parts.append(happened(events.STOPPED, has_stopped, stopped[has_stopped], "own decision"))
    parts += _ends(last, intent.died, float(trial.months))
    at_visits = np.searchsorted(months, visits)
    return Course(
        doses=doses.finished(plan),
        events=events.table(parts, number, arms),
        last=last,
        stopped=np.where(np.isin(np.arange(n), has_stopped), stopped, np.inf),
        latent={name: values[:, at_visits] for name, values in latent.items()},
    )


@dataclass(frozen=True)
class Intent:
    """What is settled before anything is known of how a patient does: arrays of shape (n,), inf for never.

    `plan` as from ``doses.planned``, `last` the month until which she is followed, `died` and `stopped` months.
    """

    plan: pd.DataFrame
    last: Array
    died: Array
    stopped: Array


def intended(
    trial: Trial,
    agents: Sequence[Agent],
    covariates: pd.DataFrame,
    arms: np.ndarray,
    replicate: int = 0,
    ideal: bool = False,
) -> Intent:
    """Doses, leaving, stopping and death, as far as they do not depend on the course.

    Parameters
    ----------
    trial, agents, arms, replicate, ideal
        As of `play`.
    covariates : DataFrame, n rows
        `patient` and `age`.

    Returns
    -------
    Intent
    """
    conduct, number = trial.conduct, covariates["patient"].to_numpy(dtype=np.int64)
    plan = doses.planned(trial, number, arms)
    end, never = np.full(number.size, float(trial.months)), np.full(number.size, np.inf)
    if ideal:
        return Intent(plan, end, never, never)
    plan = doses.postpone(plan, trial, agents, None, replicate)
    left = by_spells(conduct.dropout, arms, patience(trial.seed, "dropout", number, 0, replicate))
    stopped = by_spells(conduct.stop, arms, patience(trial.seed, "stop", number, 0, replicate))
    died = never
    if conduct.deaths:
        ratio = event_numbers().mortality_ratio if conduct.mortality_ratio is None else conduct.mortality_ratio
        age = covariates["age"].to_numpy(dtype=float)
        died = deaths.months_until(conduct.life_table, ratio, age, patience(trial.seed, "death", number, 0, replicate))
    last = np.minimum(np.minimum(left, died), end)
    doses.cut(plan, stopped, doses.STOPPED)
    doses.cut(plan, np.where(last < end, last, np.inf), doses.LEFT)
    return Intent(plan, last, died, stopped)


def _grid(trial: Trial) -> Array:
    """Months at which patients are looked at: visits, and every month if events follow from the course between them."""
    visits = np.asarray(trial.visits.months, dtype=float)
    if not trial.conduct.fractures:
        return visits
    whole = np.arange(np.floor(trial.months) + 1)
    return np.unique(np.concatenate([visits, whole, [float(trial.months)]]))


def _had_more(plan: pd.DataFrame, stopped: Array) -> NDArray[np.bool_]:
    """Whether each patient was to be given anything from the month on at which she stopped."""
    more = np.zeros(stopped.size, dtype=bool)
    row = plan["row"].to_numpy(dtype=np.int64)
    more[row[plan["month"].to_numpy(dtype=float) >= stopped[row]]] = True
    return more


def _ends(last: Array, died: Array, months: float) -> list[Happened]:
    """Everybody's first and last event: randomised, then completed, dropout or death."""
    everybody = np.arange(last.size)
    death = np.flatnonzero((died <= last) & (last < months))
    dropout = np.flatnonzero((died > last) & (last < months))
    stayed = np.flatnonzero(last >= months)
    return [
        happened(events.RANDOMISED, everybody, 0.0),
        happened(events.DEATH, death, last[death]),
        happened(events.DROPOUT, dropout, last[dropout], "withdrew"),
        happened(events.COMPLETED, stayed, last[stayed]),
    ]


def observe(
    trial: Trial,
    parameters: ParameterTable,
    patients: NDArray[np.int64],
    last: NDArray[np.float64],
    latent: dict[str, NDArray[np.float64]],
    replicate: int = 0,
) -> dict[str, NDArray]:
    """What is read at the visits.

    Parameters
    ----------
    trial : Trial
        Its visits, seed and the layer ``residual`` are used.
    parameters : ParameterTable
        CVs (``CV_DXA_LS``, ``CV_CTX``, ...) and ``LLOQ_CTX``.
    patients : ndarray of int, shape (n,)
    last : ndarray, shape (n,)
        Month until which each is followed.
    latent : dict of ndarray, shape (n, n_visits)
        True values of at least `MEASURES`, at ``trial.visits.months``.
    replicate : int

    Returns
    -------
    dict of ndarray, shape (n, n_visits)
        Each of `MEASURES` (NaN where missed or not due), ``CTX_BLQ`` (bool) and ``attended`` (bool).
    """
    months = np.asarray(trial.visits.months, dtype=float)
    attended = months[None, :] <= last[:, None]
    hour = np.round(months * _HOURS_PER_MONTH).astype(np.int64)
    seen: dict[str, NDArray] = {}
    for measure in MEASURES:
        value = latent[measure]
        if trial.layers.residual:
            cv = parameters[_CV[measure]]
            score = streams.normal(trial.seed, f"residual.{measure}", patients[:, None], hour[None, :], replicate)
            error = 1 + cv * score if measure in _ADDITIVE else np.exp(np.sqrt(np.log1p(cv**2)) * score)
            value = value * error
        due = np.isin(months, trial.visits.BMD if measure in BMD_MEASURES else trial.visits.markers)
        seen[measure] = np.where(attended & due, value, np.nan)
    limit = parameters["LLOQ_CTX"] if trial.layers.residual else 0.0
    below = seen["CTX"] < limit
    seen["CTX"] = np.where(below, limit, seen["CTX"])
    seen["CTX_BLQ"] = below
    seen["attended"] = attended
    return seen
