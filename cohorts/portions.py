"""Work on many parameter vectors in portions, each of which is kept on disk when it is finished."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from ranklsim.pkpd.errors import RunFailed
from ranklsim.pkpd.fitting.work import keep_arrays, kept_arrays

PORTION = 256
"""Vectors simulated and kept at a time."""

Progress = Callable[[int, int], object]
Evaluate = Callable[[pd.DataFrame, Callable[[int], None] | None], pd.DataFrame]


class Portions:
    """Evaluates vectors in portions, and keeps each finished portion.

    Parameters
    ----------
    evaluate : callable
        Takes vectors (a row each) and a function that is told the number of typical patients done since the last call;
        returns one row of numbers for each vector.
    persons : int
        Typical patients of one vector.
    total : int
        Typical patients of all stages.
    work : Path or None
        Folder for finished portions, which are found again there; one that is damaged is done again.
    progress : callable or None
        Called with (done, total), in typical patients.
    culprit : callable
        Names a vector that can't be integrated: from its row to words.
    """

    def __init__(
        self,
        evaluate: Evaluate,
        persons: int,
        total: int,
        *,
        work: Path | None,
        progress: Progress | None,
        culprit: Callable[[pd.Series], str],
    ) -> None:
        self.evaluate, self.persons, self.total = evaluate, persons, total
        self.work, self.progress, self.culprit = work, progress, culprit
        self.done = 0

    def run(self, stage: str, vectors: pd.DataFrame) -> pd.DataFrame:
        """The results of `evaluate` for every vector, in their order.

        Parameters
        ----------
        stage : str
            Part of the name of each portion's file.
        vectors : DataFrame

        Raises
        ------
        RunFailed
            If a vector can't be integrated; the message names it.
        """
        parts = []
        for first in range(0, len(vectors), PORTION):
            portion = vectors.iloc[first : first + PORTION].reset_index(drop=True)
            place = None if self.work is None else self.work / f"{stage}-{first // PORTION:05d}.npz"
            if place is not None and (kept := kept_arrays(place)) is not None:
                parts.append(pd.DataFrame(kept["values"], columns=kept["columns"].tolist()))
                self._tell(len(portion) * self.persons)
                continue
            try:
                found = self.evaluate(portion, self._tell)
            except RunFailed as fault:
                raise RunFailed(self._which(stage, first, portion, fault)) from fault
            if place is not None:
                keep_arrays(place, columns=np.array(found.columns, dtype=str), values=found.to_numpy(float))
            parts.append(found)
        return pd.concat(parts, ignore_index=True)

    def _tell(self, persons: int) -> None:
        self.done += persons
        if self.progress:
            self.progress(self.done, self.total)

    def _which(self, stage: str, first: int, portion: pd.DataFrame, fault: RunFailed) -> str:
        """Message that names the failed vector."""
        for k in range(len(portion)):
            try:
                self.evaluate(portion.iloc[[k]].reset_index(drop=True), None)
            except RunFailed as one:
                return (
                    f"vector {first + k} of stage {stage} can't be integrated ({self.culprit(portion.iloc[k])}): {one}"
                )
        return str(fault)
