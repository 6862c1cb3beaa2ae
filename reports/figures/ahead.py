"""Figures that painters draw while this process goes on."""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

from ranklsim.reports.figures.drawing import png, styled, svg_text
from ranklsim.reports.figures.painters import Painter, painters
from ranklsim.reports.layout.exhibit import Exhibit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEAST = 12
"""Figures that a painter draws sooner than this process has imported matplotlib and drawn half of them."""


@dataclass(frozen=True)
class Picture:
    """A figure that is drawn when it is wanted, here or by a painter.

    Attributes
    ----------
    draw : callable
        Makes the figure; a `functools.partial` of a function of a module, so that it can be pickled.
    anchor, alt : str
        As of `svg_text`.
    """

    draw: Callable[[], Figure]
    anchor: str
    alt: str

    def __call__(self, form: str) -> bytes:
        """The figure as "svg" or "png"."""
        return png(self.draw()) if form == "png" else svg_text(self.draw(), self.anchor, self.alt).encode()


class Ahead:
    """Draws figures beside the work that makes further ones, on the processors that this leaves idle.

    It is a context: where it ends, all figures are drawn. A figure that a painter can't draw is drawn here, where its
    fault is told. Painters take the figures from the front of the queue; when this process has nothing else to do, it
    helps them from the other end.
    """

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._waiting: deque[Exhibit] = deque()
        self._seen: set[int] = set()
        self._left: list[Exhibit] = []  # those that painters could not draw
        self._changed = threading.Condition()
        self._closed = self._style = False
        self._threads: list[threading.Thread] = []

    def draw(self, exhibits: Sequence[Exhibit]) -> None:
        """Draw the figures among some exhibits, now or later.

        Parameters
        ----------
        exhibits : sequence of Exhibit
            Those that were given before are left out.
        """
        new = [e for e in exhibits if e.picture is not None and "svg" not in e.__dict__ and id(e) not in self._seen]
        self._seen.update(map(id, new))
        if new and not self._threads:
            ready = self._stack.enter_context(painters())
            self._threads = [threading.Thread(target=self._feed, args=(painter,), daemon=True) for painter in ready]
            for thread in self._threads:
                thread.start()
        with self._changed:
            self._waiting += new
            self._changed.notify_all()

    def _feed(self, painter: Painter) -> None:
        """Give a painter the next figure as often as it is free."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    return
                figure = self._waiting.popleft()
            assert figure.picture is not None
            try:
                found = painter.draw(figure.picture)
            except Exception:  # a picture that can't be sent, or a painter that has ended
                found = None
            if found is None:
                self._left.append(figure)
            else:
                figure.__dict__["svg"] = found.decode()

    def _help(self) -> None:
        """Draw here while painters have more to do than they can before this process has imported matplotlib."""
        while True:
            least = 0 if "matplotlib.figure" in sys.modules else LEAST * len(self._threads)
            with self._changed:
                if len(self._waiting) <= least:
                    return
                figure = self._waiting.pop()
            self._draw_here(figure)

    def _draw_here(self, figure: Exhibit) -> None:
        """Draw a figure in this process, whose style is set once for all."""
        if not self._style:
            self._style = True
            self._stack.enter_context(styled())
        _ = figure.svg

    def finish(self) -> None:
        """Draw what is left, here and by painters; when this ends, all figures are drawn."""
        self._help()
        self._close()
        while self._left:
            self._draw_here(self._left.pop())

    def _close(self) -> None:
        """Have the threads end when nothing waits, and wait for them."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        with self._stack:
            try:
                if kind is None:
                    self.finish()
            finally:
                self._waiting.clear()
                self._close()
