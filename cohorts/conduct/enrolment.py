"""Enrolment over calendar time, and interim looks: the data known in a calendar month.

Patients enrol as a Poisson process. Its rate rises linearly while sites open, and is then constant until the trial is
full. Months count from the enrolment of the first patient.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ranklsim.cohorts.conduct.hazards import thresholds
from ranklsim.cohorts.events import COMPLETED, ENDS
from ranklsim.cohorts.protocol.conduct import Enrolment

if TYPE_CHECKING:
    from ranklsim.cohorts.protocol.trial import Trial

Array = NDArray[np.float64]


def enrolled_months(trial: Trial, number: NDArray[np.int64], replicate: int = 0) -> Array:
    """Calendar month at which each patient is enrolled, from that of patient 1 on.

    Parameters
    ----------
    trial : Trial
        Its seed and enrolment are used; without one, all are enrolled at once.
    number : ndarray of int, shape (n,)
        Patient numbers, from 1: the order in which they come.
    replicate : int

    Returns
    -------
    ndarray, shape (n,)
    """
    if trial.conduct.enrolment is None or not number.size:
        return np.zeros(number.size)
    everybody = np.arange(1, int(number.max()) + 1)
    expected = np.cumsum(thresholds(trial.seed, "enrolment", everybody, 0, replicate))  # whose rate is 1
    months = _month_of(trial.conduct.enrolment, expected)
    return np.asarray((months - months[0])[number - 1])


def _month_of(enrolment: Enrolment, expected: Array) -> Array:
    """Month after opening at which so many patients are expected: the inverse of the cumulative rate."""
    rate, ramp = enrolment.per_month, enrolment.ramp_months
    if enrolment.steps:
        starts = np.array([0.0, *(month for month, _ in enrolment.steps)])
        rates = np.array([rate, *(later for _, later in enrolment.steps)])
        by_then = np.concatenate([[0.0], np.cumsum(rates[:-1] * np.diff(starts))])  # patients expected at each start
        spell = np.searchsorted(by_then, expected, side="right") - 1  # of equal ones the last, which is after a pause
        return np.asarray(starts[spell] + (expected - by_then[spell]) / rates[spell])
    if ramp == 0:
        return expected / rate
    early = np.sqrt(2 * ramp * expected / rate)  # the rate at month t of the ramp is rate * t / ramp
    return np.where(early <= ramp, early, ramp / 2 + expected / rate)


def looks(trial: Trial, patients: pd.DataFrame, events: pd.DataFrame) -> pd.DataFrame:
    """The interim looks of a trial: when each is due, and what is known then.

    Parameters
    ----------
    trial : Trial
        Its `looks`: calendar months, shares of the patients who have completed, numbers of patients with a fracture.
    patients, events : DataFrame
        Tables of a run.

    Returns
    -------
    DataFrame
        Columns `look` (from 1, by month), `text`, `month` (calendar; NaN if it is never due), `enrolled`, `ended`
        (patients who have completed, left or died), `completed`; rows by month.
    """
    calendar = _calendar(patients, events)
    enrolled = patients["enrolled_month"].to_numpy(dtype=float)
    rows = []
    for kind, value in trial.conduct.looks:
        if kind == "month":
            month, text = value, f"{value:g} mo"
        else:
            first = calendar[events["event"].to_numpy() == kind].groupby(events["patient"]).min().sort_values()
            count = int(np.ceil(value * len(patients))) if kind == COMPLETED else int(value)
            month = float(first.iloc[count - 1]) if 0 < count <= len(first) else float("nan")
            text = f"{100 * value:g} % completed" if kind == COMPLETED else f"{value:g} {kind}"
        known = calendar <= month
        rows.append(
            {
                "text": text,
                "month": month,
                "enrolled": int((enrolled <= month).sum()),
                "ended": int((known & events["event"].isin(ENDS)).sum()),
                "completed": int((known & (events["event"] == COMPLETED)).sum()),
            }
        )
    table = pd.DataFrame(rows, columns=["text", "month", "enrolled", "ended", "completed"])
    table = table.sort_values("month", kind="stable", ignore_index=True)
    table.insert(0, "look", np.arange(1, len(table) + 1))
    return table


def cut(tables: Mapping[str, pd.DataFrame], month: float) -> dict[str, pd.DataFrame]:
    """The data of a trial that are known in a calendar month.

    Parameters
    ----------
    tables : mapping of str to DataFrame
        ``patients``, and any of ``visits``, ``doses``, ``events`` of a run.
    month : float
        Calendar month, from the first patient's enrolment.

    Returns
    -------
    dict of str to DataFrame
        The same tables without patients enrolled later, and without visits, doses and events later than that month;
        `last_month` of a patient is no later than she has been followed.
    """
    patients = tables["patients"]
    patients = patients[patients["enrolled_month"] <= month].copy()
    patients["last_month"] = np.minimum(patients["last_month"], month - patients["enrolled_month"])
    found = {"patients": patients.reset_index(drop=True)}
    for name, table in tables.items():
        if name == "patients":
            continue
        own = table[table["patient"].isin(patients["patient"])]
        known = _calendar(tables["patients"], own, name) <= month
        found[name] = own[known].reset_index(drop=True)
    return found


def _calendar(patients: pd.DataFrame, table: pd.DataFrame, name: str = "events") -> pd.Series:
    """Calendar month of each row of a table; a visit's is when it was kept, on time where the table does not say."""
    start = patients.set_index("patient")["enrolled_month"]
    when = table["actual_month"] if name == "visits" and "actual_month" in table else table["month"]
    return start.reindex(table["patient"]).to_numpy() + when
