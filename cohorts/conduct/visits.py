"""Visits: planned times, actual times within a window, and measurements.

A visit deviates from its plan by whole days, with a normal distribution whose SD is half the window. The deviation is
limited to the window, and to less than half the time to the neighbouring visits. The visit at randomisation has no
deviation. The deviation depends only on patient and planned hour.

A measurement is the latent value with the error of its method. DXA and serum calcium have a normal error with constant
CV. Other serum markers have a lognormal factor with median 1 and that CV (assay and within-subject variation together).
The error depends on the hour of the planned visit, not on its place in a schedule, so two designs that share a visit
share its error. A value below the lower limit of quantitation is stored as the limit, with a flag (``CTX_BLQ``), as in
a laboratory data set (LBORRES "<0.049"); CTX and drugs have such a limit, other markers where the trial file gives one.
The concentration of a drug has an error like that of a marker. Without the layer ``residual`` of the trial, a
measurement is exactly the latent value, also below the limit.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from ranklsim.cohorts import streams
from ranklsim.cohorts.measures import BMD_MEASURES, LIMITED, MARKER_MEASURES, MEASURES
from ranklsim.pkpd.parameters import ParameterTable
from ranklsim.pkpd.units import DAYS_PER_MONTH

if TYPE_CHECKING:
    from ranklsim.cohorts.protocol.trial import Trial


_ADDITIVE = (*BMD_MEASURES, "CA")  # errors small enough to be normal; the others are lognormal
_CV = {measure: f"CV_DXA_{measure.removeprefix('BMD_')}" for measure in BMD_MEASURES} | {
    measure: f"CV_{measure}" for measure in MARKER_MEASURES
}
_HOURS_PER_MONTH = 24 * DAYS_PER_MONTH

Array = NDArray[np.float64]


def off_days(trial: Trial, patients: NDArray[np.int64], replicate: int = 0) -> Array:
    """By how many days each visit is off, whole; 0 without a window.

    Parameters
    ----------
    trial : Trial
        Its visits, window and seed are used.
    patients : ndarray of int, shape (n,)
        Patient numbers.
    replicate : int
        Number of the trial's replicate.

    Returns
    -------
    ndarray, shape (n, n_visits)
    """
    months = np.asarray(trial.visits.months, dtype=float)
    window = trial.conduct.window_days
    if window == 0:
        return np.zeros((patients.size, months.size))
    hour = np.round(months * _HOURS_PER_MONTH).astype(np.int64)
    share = streams.uniform(trial.seed, "visit.day", patients[:, None], hour[None, :], replicate)
    edge = ndtr(2.0)  # the window is two SD
    days = np.round(window / 2 * ndtri((1 - edge) + share * (2 * edge - 1)))
    gap = np.diff(months, prepend=-np.inf, append=np.inf) * DAYS_PER_MONTH
    room = np.floor((np.minimum(gap[:-1], gap[1:]) - 1) / 2)  # so that visits stay in order, a day apart
    return np.asarray(np.where(months > 0, np.clip(days, -room, room), 0.0))


def observe(
    trial: Trial,
    parameters: ParameterTable,
    patients: NDArray[np.int64],
    last: Array,
    latent: dict[str, Array],
    replicate: int = 0,
    kept: Array | None = None,
) -> dict[str, NDArray]:
    """Measurements at the visits.

    Parameters
    ----------
    trial : Trial
        Its visits, seed and the layer ``residual`` are used.
    parameters : ParameterTable
        CVs (``CV_DXA_LS``, ``CV_CTX``, ...) and limits (``LLOQ_CTX``, ``LLOQ_C``).
    patients : ndarray of int, shape (n,)
    last : ndarray, shape (n,)
        Month until which each is followed; who is followed to the trial's end attends the last visit even if it is
        a few days after that.
    latent : dict of ndarray, shape (n, n_visits)
        True values of at least `MEASURES`, when each visit is kept; of drugs (``C_AGENT``) where they are measured.
    replicate : int
    kept : ndarray, shape (n, n_visits), optional
        Month at which each visit is kept; as planned if not given.

    Returns
    -------
    dict of ndarray, shape (n, n_visits)
        Each of `MEASURES` and of the drugs (NaN where missed or not due), a flag for each that has a limit
        (``CTX_BLQ``, bool), and ``attended`` (bool).
    """
    months = np.asarray(trial.visits.months, dtype=float)
    when = np.broadcast_to(months, (patients.size, months.size)) if kept is None else kept
    attended = (when <= last[:, None]) | (last >= trial.months)[:, None]
    hour = np.round(months * _HOURS_PER_MONTH).astype(np.int64)
    seen: dict[str, NDArray] = {}
    limits = limits_of(trial, parameters, latent)
    for measure in (*MEASURES, *(name for name in latent if name.startswith("C_"))):
        value = latent[measure]
        if trial.layers.residual:
            cv = parameters[_CV.get(measure, "CV_C")]
            score = streams.normal(trial.seed, f"residual.{measure}", patients[:, None], hour[None, :], replicate)
            error = 1 + cv * score if measure in _ADDITIVE else np.exp(np.sqrt(np.log1p(cv**2)) * score)
            value = value * error
        seen[measure] = np.where(attended & np.isin(months, trial.visits.of(measure)), value, np.nan)
    for measure, limit in limits.items():
        below = seen[measure] < (limit if trial.layers.residual else 0.0)
        seen[measure] = np.where(below, limit, seen[measure])
        seen[f"{measure}_BLQ"] = below
    seen["attended"] = attended
    return seen


def limits_of(trial: Trial, parameters: ParameterTable, measured: Collection[str]) -> dict[str, float]:
    """Lower limits of quantitation, by measure and drug: those of the trial file before those of the parameter table.

    Parameters
    ----------
    trial : Trial
    parameters : ParameterTable
    measured : collection of str
        Names of what is measured, such as CTX and C_denosumab.
    """
    own = trial.visits.limits
    drug = own.get("drug", parameters["LLOQ_C"])
    limits = {name: parameters[f"LLOQ_{name}"] for name in LIMITED} | {
        name: limit for name, limit in own.items() if name != "drug"
    }
    return limits | {name: drug for name in measured if name.startswith("C_")}
