"""The family of exceptions that ranklsim raises on purpose.

A library call raises; only the command line turns an exception into one sentence on stderr and an exit code.
"""

from __future__ import annotations


class RanklsimError(Exception):
    """Any fault that ranklsim explains in words; ``exit_code`` is what the command line returns for it."""

    exit_code = 1


class BadInput(RanklsimError):
    """Input that cannot be used as it is.

    Parameters
    ----------
    *messages : str
        One sentence a fault: where it is, what is wrong, what would be right.
    """

    exit_code = 2

    def __init__(self, *messages: str) -> None:
        self.messages = tuple(messages)
        super().__init__("\n".join(messages))


class RunFailed(RanklsimError):
    """A run that was well described but could not be finished (disk full, solver failure, worker lost)."""

    exit_code = 1
