"""One portion of a trial's patients, from drawn patients to their tables, without access to a folder or to other
portions.

The only input from earlier portions is the number of patients allocated in each stratum.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

from ranklsim.cohorts.conduct.allocation import allocate, strata_of
from ranklsim.cohorts.conduct.course import observe, play
from ranklsim.cohorts.conduct.enrolment import enrolled_months
from ranklsim.cohorts.conduct.patients import Patients
from ranklsim.cohorts.protocol.trial import Trial
from ranklsim.cohorts.running import storage
from ranklsim.cohorts.running.twins import twins_of
from ranklsim.pkpd.agents import Agent
from ranklsim.pkpd.errors import RunFailed
from ranklsim.pkpd.parameters import ParameterTable


@dataclass(frozen=True)
class Portion:
    """Tables of some patients, by name, and whom the reference integrated."""

    tables: dict[str, pa.Table]
    retried: list[int]


def portion(
    trial: Trial,
    parameters: ParameterTable,
    agents: Sequence[Agent],
    people: Patients,
    enrolled: Mapping[str, int],
    *,
    rtol: float,
    workers: int = 1,
    progress: Callable[[int], None] | None = None,
    tell: Callable[[str], None] | None = None,
) -> Portion:
    """Randomise, simulate and observe some patients.

    Parameters
    ----------
    trial : Trial
    parameters : ParameterTable
    agents : sequence of Agent
        Those of ``trial.agent_names()``, in that order.
    people : Patients
        As drawn, in order of their numbers.
    enrolled : mapping
        Patients of each stratum who were allocated before.
    rtol : float
        Error allowed the integrator a step, relative.
    workers : int
        Threads; no result depends on it.
    progress, tell : callable, optional
        As of `simulate`.

    Raises
    ------
    RunFailed
        If a patient cannot be integrated.
    """
    number = people.covariates["patient"].to_numpy()
    strata = strata_of(trial, people.covariates)
    arms, _ = allocate(trial, strata, enrolled)
    retried: list[int] = []
    course = play(
        trial, parameters, agents, people, number, arms,
        rtol=rtol, workers=workers, progress=progress, tell=tell, retried=retried.append,
    )  # fmt: skip
    latent = course.latent
    refuse_nan(latent, number, "patient")
    seen = observe(trial, parameters, number, course.last, latent, kept=course.kept)
    months = np.asarray(trial.visits.months, dtype=float)
    n, m = number.size, months.size
    names, code = np.unique(arms, return_inverse=True)
    visits = {
        "patient": np.repeat(number, m),
        "arm": pd.Categorical.from_codes(np.repeat(code, m), names),
        "visit": np.tile(np.arange(m), n),
        "month": np.tile(months, n),
        "actual_month": course.kept.reshape(-1),
        **{name: values.reshape(-1) for name, values in seen.items()},
        **{f"true_{name}": values.reshape(-1) for name, values in latent.items()},
    }
    narrow = [*(name for name, values in seen.items() if values.dtype == float)]
    narrow += [f"true_{name}" for name in latent]
    tables = {
        "patients": storage.to_arrow(_patients(people, arms, strata, course.last, enrolled_months(trial, number))),
        "visits": storage.to_arrow(visits, narrow),
        "doses": storage.to_arrow(course.doses),
        "events": storage.to_arrow(course.events),
    }
    if trial.estimands:
        tables |= twins_of(
            trial, parameters, agents, people, number, arms, course,
            rtol=rtol, workers=workers, progress=progress, tell=tell,
        )  # fmt: skip
    return Portion(tables, sorted(retried))


def _patients(
    people: Patients, arms: np.ndarray, strata: np.ndarray, last: np.ndarray, enrolled_month: np.ndarray
) -> pd.DataFrame:
    frame = people.covariates.copy()
    frame.insert(1, "arm", arms)
    frame.insert(2, "stratum", strata)
    frame["enrolled_month"] = enrolled_month
    frame["last_month"] = last
    own = people.persons.add_prefix("param_").reset_index(drop=True)
    return pd.concat([frame.reset_index(drop=True), own], axis="columns")


def refuse_nan(latent: Mapping[str, np.ndarray], number: np.ndarray, what: str) -> None:
    """No value that is not a number reaches a table.

    Parameters
    ----------
    latent : mapping of str to ndarray, shape (n, times)
        Output to its values.
    number : ndarray of int, shape (n,)
        Patient numbers, for the message.
    what : str
        What was computed, for the message.
    """
    for name, values in latent.items():
        wrong = ~np.isfinite(values).all(axis=1)
        if wrong.any():
            raise RunFailed(
                f"{what} {number[np.argmax(wrong)]}: the simulation gave a {name} that is not a finite number; "
                "look at her parameters, and report the case with the run's manifest."
            )
