"""Figures that forked processes draw while this one goes on."""

from __future__ import annotations

import gc
import os
import pickle
import sys
import tempfile
import threading
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Self

from ranklsim.reports.layout.exhibit import Exhibit

LEAST = 3
"""Figures for a process: fewer are drawn sooner than it is forked."""


@dataclass
class _Child:
    """A process that draws, and the file to which it writes their texts."""

    process: int
    file: IO[bytes]
    figures: list[Exhibit]


class Ahead:
    """Draws figures beside the work that makes further ones, on the processors that this leaves idle.

    It is a context: where it ends, all figures are drawn. Only a Linux process without other threads can be forked;
    elsewhere, and where a process fails, each figure is drawn in its turn.
    """

    def __init__(self) -> None:
        from ranklsim.pkpd.simulation import processors  # not for a page without figures

        able = sys.platform == "linux" and threading.active_count() == 1
        self._free = processors() - 1 if able else 0
        self._waiting: list[Exhibit] = []
        self._seen: set[int] = set()
        self._children: list[_Child] = []

    def draw(self, exhibits: Sequence[Exhibit]) -> None:
        """Draw the figures among some exhibits, now or later.

        Parameters
        ----------
        exhibits : sequence of Exhibit
            Those that were given before are left out.
        """
        new = [e for e in exhibits if e.picture is not None and "svg" not in e.__dict__ and id(e) not in self._seen]
        self._seen.update(map(id, new))
        self._waiting += new
        self._collect(os.WNOHANG)
        if self._free > len(self._children) and len(self._waiting) >= LEAST:
            self._fork(len(self._waiting))

    def _fork(self, count: int) -> None:
        """Have a process draw some of the figures that wait."""
        figures, self._waiting = self._waiting[:count], self._waiting[count:]
        file = tempfile.TemporaryFile()  # closed when its process has ended
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of idle threads of linear algebra
            process = os.fork()
        if process:
            self._children.append(_Child(process, file, figures))
            return
        failed = 1
        try:
            gc.disable()
            pickle.dump([figure.svg for figure in figures], file)
            file.flush()
            failed = 0
        finally:
            os._exit(failed)  # before anything that this process inherited is closed a second time

    def _collect(self, how: int = 0) -> None:
        """Take the texts of processes that have ended; by default wait for all of them."""
        for child in list(self._children):
            process, status = os.waitpid(child.process, how)
            if not process:
                continue
            self._children.remove(child)
            with child.file as file:
                if status == 0:
                    file.seek(0)
                    for figure, text in zip(child.figures, pickle.load(file), strict=True):
                        figure.__dict__["svg"] = text
                else:
                    self._waiting += child.figures  # drawn here, so that a fault is told as everywhere

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            while self._waiting:
                self._collect(os.WNOHANG)
                share = len(self._waiting) // (1 + self._free)
                if self._free > len(self._children) and share >= LEAST:
                    self._fork(share)
                else:
                    _ = self._waiting.pop(0).svg
        self._collect()
        if kind is None:
            for figure in self._waiting:
                _ = figure.svg
