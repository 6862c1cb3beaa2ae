"""Randomisation by stratified permuted blocks [1]_.

Patients of one stratum are allocated in order of enrolment. Each block of a stratum contains every arm in the ratio of
the trial, in an order from its own random stream. The arms therefore stay balanced within strata at any time. The arm
of a patient depends only on the patients enrolled before her, so patients can be allocated in portions.

References
----------
.. [1] ICH E9 Statistical Principles for Clinical Trials (1998), section 2.3.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import gcd
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ranklsim.cohorts import streams

if TYPE_CHECKING:
    from ranklsim.cohorts.protocol.trial import Trial

ALL = "all"
"""Stratum of everybody where the trial has no strata."""

_LEAST = 4  # seats of a block; fewer would let the last ones be guessed


def strata_of(trial: Trial, covariates: pd.DataFrame) -> np.ndarray:
    """Stratum of each patient, in words.

    Parameters
    ----------
    trial : Trial
    covariates : DataFrame
        One row a patient.

    Returns
    -------
    ndarray of str, shape (n,)
        Such as ``"age >= 75 yr: no; prevalent_fracture: yes"``; ``"all"`` if the trial has no strata.
    """
    labels = np.full(len(covariates), "", dtype=object)
    for split in trial.population.splits:
        joint = np.where(labels == "", "", "; ")
        labels = labels + joint + np.where(split.of(covariates), f"{split.text}: yes", f"{split.text}: no")
    return np.where(labels == "", ALL, labels).astype(str)


def blocks(trial: Trial, stratum: str, number: NDArray[np.int64], replicate: int = 0) -> np.ndarray:
    """Arms of blocks of a stratum, in order of allocation; shape (n_blocks, seats).

    Parameters
    ----------
    trial : Trial
        Its seed and ratio are used.
    stratum : str
        As from `strata_of`.
    number : ndarray of int, shape (n_blocks,)
        Which blocks of the stratum, from 0.
    replicate : int
        Number of the trial's replicate.
    """
    shares = {arm: round(share) for arm, share in trial.population.ratio.items()}
    common = gcd(*shares.values())
    times = -(-_LEAST * common // sum(shares.values()))
    seats = np.array([arm for arm, share in shares.items() for _ in range(times * share // common)], dtype=object)
    lots = streams.uniform(trial.seed, f"allocation.{stratum}", number[:, None], np.arange(seats.size), replicate)
    return seats[np.argsort(lots, axis=1, kind="stable")]


def allocate(
    trial: Trial, strata: np.ndarray, before: Mapping[str, int] | None = None, replicate: int = 0
) -> tuple[np.ndarray, dict[str, int]]:
    """Allocate patients, in order of enrolment, to arms.

    Parameters
    ----------
    trial : Trial
        Its seed, arms and ratio are used.
    strata : ndarray of str, shape (n,)
        As from `strata_of`.
    before : mapping, optional
        Patients of each stratum who were allocated earlier.
    replicate : int
        Number of the trial's replicate.

    Returns
    -------
    arms : ndarray of str, shape (n,)
    after : dict
        Patients of each stratum allocated so far, to go on from.
    """
    after = dict(before or {})
    arms = np.empty(len(strata), dtype=object)
    for stratum in sorted(set(strata)):
        members = np.flatnonzero(strata == stratum)
        first = after.get(stratum, 0)
        size = blocks(trial, stratum, np.zeros(1, dtype=np.int64), replicate).size
        last = first + members.size
        order = blocks(trial, stratum, np.arange(first // size, -(-last // size)), replicate).reshape(-1)
        skip = first % size
        arms[members] = order[skip : skip + members.size]
        after[stratum] = last
    return arms.astype(str), after
