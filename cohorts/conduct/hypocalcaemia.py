"""Hypocalcaemia: serum calcium falls to a grade that the patient did not have before treatment.

Grades follow CTCAE v5.0 [1]_ for albumin-adjusted calcium: below the lower limit of normal, 2.0, 1.75 and 1.5 mmol/L.
The calcium of the model counts as albumin-adjusted. An episode lasts while the grade is above that of the start. Its
grade is the worst one, and its month is that of its first day. Episodes use true calcium, without regard to samples.
This is our assumption; it leaves out random error and day-to-day variation, which add episodes to both groups of a
trial.

References
----------
.. [1] Common Terminology Criteria for Adverse Events v5.0, US National Cancer Institute 2017 (recalled).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ranklsim.cohorts import events
from ranklsim.cohorts.events import Happened, happened
from ranklsim.pkpd.parameters import ParameterTable

LIMITS = ("CA_grade_1", "CA_grade_2", "CA_grade_3", "CA_grade_4")
"""Symbols of the limits, mmol/L: a grade is how many of them calcium is below."""

Array = NDArray[np.float64]


def grades(parameters: ParameterTable, calcium: Array) -> NDArray[np.int64]:
    """Grade (0 for none, to 4) of serum calcium.

    Parameters
    ----------
    parameters : ParameterTable
        Holds `LIMITS`.
    calcium : ndarray
        Albumin-adjusted serum calcium, mmol/L, of any shape.
    """
    return np.sum([calcium < parameters[limit] for limit in LIMITS], axis=0, dtype=np.int64)


def recorded(parameters: ParameterTable, months: Array, calcium: Array, followed: Array) -> list[Happened]:
    """Episodes that begin while a patient is followed.

    Parameters
    ----------
    parameters : ParameterTable
        Holds `LIMITS`.
    months : ndarray, shape (m,)
        Grid, increasing.
    calcium : ndarray, shape (n, m)
        True serum calcium, mmol/L.
    followed : ndarray, shape (n,)
        Month until which each patient is followed.

    Returns
    -------
    list of Happened
        One kind, `detail` such as "grade 2".
    """
    grade = grades(parameters, calcium)
    below = (grade > grade[:, :1]) & (months[None, :] <= followed[:, None])
    begins = below & ~np.concatenate([np.zeros((len(below), 1), dtype=bool), below[:, :-1]], axis=1)
    row, first = np.nonzero(begins)
    episode = np.cumsum(begins.reshape(-1)).reshape(begins.shape) - 1
    worst = np.zeros(row.size, dtype=np.int64)
    np.maximum.at(worst, episode[below], grade[below])
    return [happened(events.HYPOCALCAEMIA, row, months[first], np.array([f"grade {g}" for g in worst], dtype=object))]
