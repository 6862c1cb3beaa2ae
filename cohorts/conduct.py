"""What happens during a trial: who stays, which doses are given, which visits are kept, what is read there.

Leaving has a constant hazard: the time of dropout is exponential, from the patient's own stream. After dropout no dose
is given and no visit is kept; what the body does then is still simulated (an unobserved truth). Dropout does not depend
on arm or response.

A measurement is the latent value with the error of its method: DXA and serum calcium are off by a normal error of
constant CV, other serum markers by a lognormal factor with median 1 and that CV (assay and within-subject variation
together). The error of a patient's measurement depends on the hour of the visit, not on its place in a schedule, so
two designs that share a visit share its error. CTX below the lower limit of quantitation is stored as the limit, with
``CTX_BLQ`` true, as in a laboratory data set (LBORRES "<0.049"). Without the trial's layer ``residual`` what is read is
the latent value, to the last bit and below any limit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ranklsim.cohorts import streams
from ranklsim.cohorts.schema import BMD_MEASURES, MARKER_MEASURES
from ranklsim.pkpd.parameters import ParameterTable
from ranklsim.pkpd.units import DAYS_PER_MONTH, DAYS_PER_YEAR

if TYPE_CHECKING:
    from ranklsim.cohorts.trial import Trial

MEASURES = (*BMD_MEASURES, *MARKER_MEASURES)

_ADDITIVE = (*BMD_MEASURES, "CA")  # errors small enough to be normal; the others are lognormal
_CV = {measure: f"CV_DXA_{measure.removeprefix('BMD_')}" for measure in BMD_MEASURES} | {
    measure: f"CV_{measure}" for measure in MARKER_MEASURES
}
_HOURS_PER_MONTH = 24 * DAYS_PER_MONTH


def last_months(trial: Trial, patients: NDArray[np.int64], replicate: int = 0) -> NDArray[np.float64]:
    """Month until which each patient is followed: dropout, or the end of the trial.

    Parameters
    ----------
    trial : Trial
        Its seed, length and hazard of dropout are used.
    patients : ndarray of int, shape (n,)
    replicate : int

    Returns
    -------
    ndarray, shape (n,)
        Months since randomisation, > 0.
    """
    hazard = trial.conduct.dropout_per_year * DAYS_PER_MONTH / DAYS_PER_YEAR  # a month
    if hazard == 0:
        return np.full(len(patients), float(trial.months))
    time = -np.log(streams.uniform(trial.seed, "dropout", patients, 0, replicate)) / hazard
    return np.minimum(time, trial.months)


def doses_of(trial: Trial, patients: NDArray[np.int64], arms: np.ndarray, last: NDArray[np.float64]) -> pd.DataFrame:
    """Every dose planned within the trial, and whether it was given.

    Parameters
    ----------
    trial : Trial
    patients : ndarray of int, shape (n,)
    arms : ndarray of str, shape (n,)
    last : ndarray, shape (n,)
        As from `last_months`.

    Returns
    -------
    DataFrame
        Columns `patient`, `arm`, `agent`, `month`, `day`, `amount_mg`, `given`, and `row`, the patient's place in
        `patients`; sorted by row, then time. A dose planned for the moment of the trial's end is not in it.
    """
    parts = []
    for arm in trial.arms:
        plan = arm.doses()
        plan = plan[plan["month"] < trial.months]
        rows = np.flatnonzero(arms == arm.name)
        part = plan.loc[np.tile(plan.index, rows.size)].reset_index(drop=True)
        part.insert(0, "row", np.repeat(rows, len(plan)))
        parts.append(part)
    doses = pd.concat(parts, ignore_index=True).sort_values("row", kind="stable", ignore_index=True)
    row = doses["row"].to_numpy(dtype=np.int64)
    doses["patient"], doses["arm"] = patients[row], arms[row]
    doses["given"] = doses["month"].to_numpy(dtype=float) < np.where(last < trial.months, last, np.inf)[row]
    return doses[["patient", "arm", "agent", "month", "day", "amount_mg", "given", "row"]]


def events_of(trial: Trial, patients: NDArray[np.int64], arms: np.ndarray, last: NDArray[np.float64]) -> pd.DataFrame:
    """What happened to each patient: randomised, then dropout or completed.

    Returns
    -------
    DataFrame
        Columns `patient`, `arm`, `event`, `month`; sorted by the order of `patients`, then month.
    """
    ends = np.where(last < trial.months, "dropout", "completed")
    return pd.DataFrame(
        {
            "patient": np.repeat(patients, 2),
            "arm": np.repeat(arms, 2),
            "event": np.column_stack([np.full(len(patients), "randomised"), ends]).reshape(-1),
            "month": np.column_stack([np.zeros(len(patients)), last]).reshape(-1),
        }
    )


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
