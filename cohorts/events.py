"""Events of patients in a trial: the vocabulary of the table `events` of a run.

One row is one event during follow-up. `month` is the time of the event; for a morphometric vertebral fracture, it is
the visit whose image shows the fracture. `count` is the number of vertebrae, and 1 for other events. `detail` gives the
reason for leaving or stopping, the rescue agent, or the grade of hypocalcaemia; otherwise it is empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

RANDOMISED = "randomised"
COMPLETED = "completed"
DROPOUT = "dropout"  # leaves the study
DEATH = "death"
STOPPED = "stopped"  # stops treatment, stays in the study
RESCUE = "rescue"
SWITCH = "switch"
VERTEBRAL = "vertebral"  # new morphometric vertebral fracture, clinical or not
CLINICAL_VERTEBRAL = "clinical_vertebral"
HIP = "hip"
NONVERTEBRAL = "nonvertebral"  # a hip fracture is one of them and has both rows
HYPOCALCAEMIA = "hypocalcaemia"

FRACTURES = (VERTEBRAL, CLINICAL_VERTEBRAL, HIP, NONVERTEBRAL)
ENDS = (COMPLETED, DROPOUT, DEATH)
EVENTS = (RANDOMISED, *FRACTURES, HYPOCALCAEMIA, STOPPED, RESCUE, SWITCH, *ENDS)
"""Every event, in the order in which those of one patient and month are listed."""

COLUMNS = ("patient", "arm", "event", "month", "detail", "count")


@dataclass(frozen=True)
class Happened:
    """Events of one kind: position of the patient, month, detail and count of each; arrays of equal length."""

    event: str
    row: NDArray[np.int64]
    month: NDArray[np.float64]
    detail: NDArray[np.object_]
    count: NDArray[np.int64]


def happened(event: str, row: ArrayLike, month: ArrayLike, detail: ArrayLike = "", count: ArrayLike = 1) -> Happened:
    """Events of one kind.

    Parameters
    ----------
    event : str
        One of `EVENTS`.
    row, month : array_like, shape (n,)
        Position of the patient, and time of each event.
    detail, count : array_like
        One for each event, or one for all.

    Raises
    ------
    ValueError
        If the event is none of `EVENTS`.
    """
    if event not in EVENTS:
        raise ValueError(f"'{event}' is not an event of a trial")
    rows = np.asarray(row, dtype=np.int64)
    return Happened(
        event,
        rows,
        np.broadcast_to(np.asarray(month, dtype=float), rows.shape),
        np.broadcast_to(np.asarray(detail, dtype=object), rows.shape),
        np.broadcast_to(np.asarray(count, dtype=np.int64), rows.shape),
    )


def table(parts: Sequence[Happened], patients: NDArray[np.int64], arms: np.ndarray) -> pd.DataFrame:
    """The table `events` of some patients.

    Parameters
    ----------
    parts : sequence of Happened
    patients : ndarray of int, shape (n,)
    arms : ndarray of str, shape (n,)

    Returns
    -------
    DataFrame
        Columns `COLUMNS`; by place of the patient, then month, then the order of `EVENTS`.
    """
    row = np.concatenate([part.row for part in parts])
    kind = np.concatenate([np.full(part.row.size, EVENTS.index(part.event)) for part in parts])
    month = np.concatenate([part.month for part in parts])
    order = np.lexsort((kind, month, row))
    return pd.DataFrame(
        {
            "patient": patients[row[order]],
            "arm": arms[row[order]],
            "event": np.array(EVENTS, dtype=object)[kind[order]],
            "month": month[order],
            "detail": np.concatenate([part.detail for part in parts])[order],
            "count": np.concatenate([part.count for part in parts]).astype(np.int32)[order],
        }
    )
