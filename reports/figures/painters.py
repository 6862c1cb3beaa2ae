"""Processes that draw figures beside the one that makes them.

A painter is another Python, which is given pictures through its standard input and returns them through its standard
output. It is started before the first picture is known, since importing matplotlib takes as long as drawing ten. It
ends when its input ends, thus also with a process that is killed. Nothing of a result depends on painters: where none
can be started, or one fails, this process draws.

The module imports nothing that takes long, so that the command line can start painters first of all.
"""

from __future__ import annotations

import gc
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import IO, Any

from ranklsim.pkpd.machine import processors

MOST = 2
"""With more painters, the process that makes the figures is slower than they."""

PATIENCE = 120.0
"""Seconds for a picture, the start of the painter included, after which it hangs: its pictures are drawn elsewhere."""

_ENTRY = "from ranklsim.reports.figures.painters import serve; serve()"


class Painter:
    """A process that draws one picture at a time."""

    def __init__(self) -> None:
        # -P: the working folder may hold a file that is named like a module. It imports from where this process does.
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _ENTRY],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )

    def draw(self, picture: Callable[[str], bytes]) -> bytes | None:
        """The SVG of a picture, or None if it could not be drawn.

        Parameters
        ----------
        picture : callable
            Can be pickled.

        Raises
        ------
        Exception
            If the picture can't be sent, or if the painter has ended; it is ended if it takes longer than `PATIENCE`.
        """
        task = pickle.dumps(picture)
        watch = threading.Timer(PATIENCE, self._process.kill)
        watch.daemon = True
        watch.start()
        try:
            pickle.dump(task, self._stream(self._process.stdin))
            self._stream(self._process.stdin).flush()
            found: bytes | None = pickle.load(self._stream(self._process.stdout))
        finally:
            watch.cancel()
        return found

    @staticmethod
    def _stream(stream: IO[bytes] | None) -> IO[bytes]:
        assert stream is not None, "both are pipes"
        return stream

    def end(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            with suppress(OSError):  # what was to be written has nobody to read it
                self._stream(stream).close()


_HELD: ContextVar[list[Painter] | None] = ContextVar("_HELD", default=None)
"""Painters of the outer context. Another thread has its own."""


@contextmanager
def painters(most: int | None = None) -> Iterator[list[Painter]]:
    """Painters for the figures that are made inside; those of an outer context, if there is one.

    Parameters
    ----------
    most : int, optional
        How many at the most, `MOST` by default; as many are started as there are processors besides this process's.
    """
    if (held := _HELD.get()) is not None:
        yield held
        return
    held, most = [], MOST if most is None else most
    mark = _HELD.set(held)
    try:
        with suppress(OSError):  # no further process is allowed here
            while sys.executable and len(held) < min(most, processors() - 1):
                held.append(Painter())
        yield held
    finally:
        _HELD.reset(mark)
        while held:
            held.pop().end()


def serve() -> None:
    """Draw what comes through the standard input, until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that is interrupted ends its painters
    gc.set_threshold(100_000, 20, 100)  # as the command line does
    tasks, answers = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what is printed is no answer
    from ranklsim.reports.figures.drawing import styled

    with styled():
        _warm_up()
        while True:
            try:
                task = pickle.load(tasks)
            except EOFError:
                return
            pickle.dump(_drawn(task), answers)
            answers.flush()


def _drawn(task: bytes) -> bytes | None:
    """The SVG of a picture; None where this process can't draw it, so that another tells the fault."""
    try:
        picture: Any = pickle.loads(task)
        return bytes(picture("svg"))
    except Exception:
        return None


def _warm_up() -> None:
    """Import what pictures need and measure a text, while nothing is asked."""
    from ranklsim.pkpd import dosing  # noqa: F401  (doses of arms)
    from ranklsim.reports.figures import analyses, patients, trial  # noqa: F401
    from ranklsim.reports.figures.drawing import drawing, svg_text

    with drawing(1.0, 1.0) as figure:
        figure.subplots().set_title("a", weight="bold")
        svg_text(figure, "warm", "")
