"""The exceptions that ranklsim raises on purpose, and the words that its messages share.

A library call raises; only the command line turns an exception into one sentence on stderr and an exit code.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from contextvars import ContextVar


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
        self.messages = tuple(map(printable, messages))
        super().__init__("\n".join(self.messages))

    def __reduce__(self) -> tuple[type[BadInput], tuple[str, ...]]:
        return type(self), self.messages


def printable(message: str) -> str:
    """A message on one line of bounded length, whatever text of a user it repeats."""
    if len(message) > LONGEST_MESSAGE:
        message = f"{message[: LONGEST_MESSAGE // 2]} ... {message[-LONGEST_MESSAGE // 4 :]}"
    if message.isprintable():
        return message
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in message)


class RunFailed(RanklsimError):
    """A run that was well described but could not be finished (disk full, solver failure, worker lost)."""

    exit_code = 1


class Caution(UserWarning):
    """What was done as it was asked for, but may have been meant otherwise."""


FROM_COMMAND_LINE: ContextVar[bool] = ContextVar("FROM_COMMAND_LINE", default=False)
"""Whether the command line is the caller: messages then name its options, and the arguments of functions otherwise."""


def option_prefix() -> str:
    """What stands before the name of an argument in a message: ``--`` if the command line is the caller."""
    return "--" if FROM_COMMAND_LINE.get() else ""


def argument(name: str) -> str:
    """An argument as its caller writes it: ``--dose-for`` on the command line, ``dose_for`` in Python.

    Parameters
    ----------
    name : str
        Its name in Python.
    """
    return f"--{name.replace('_', '-')}" if FROM_COMMAND_LINE.get() else name


LONGEST_MESSAGE = 2000  # characters
LONGEST_NAME = 100  # characters; nothing longer is a misspelt name


def closest(name: str, known: Iterable[str]) -> str | None:
    """The known name that a misspelt one resembles most, None if none is near.

    Parameters
    ----------
    name : str
        As it was written; case and hyphens count only where that finds a name.
    known : iterable of str
        Names that would be right.
    """
    if len(name) > LONGEST_NAME:
        return None
    names = list(known)
    if close := difflib.get_close_matches(name, names, n=1):
        return close[0]
    folded = {_folded(candidate): candidate for candidate in names}
    close = difflib.get_close_matches(_folded(name), folded, n=1)
    return folded[close[0]] if close else None


def near(name: str, known: Iterable[str], otherwise: str = "", *, also: str = "") -> str:
    """The end of a message about an unknown name.

    Parameters
    ----------
    name : str
        As it was written.
    known : iterable of str
        Names that would be right.
    otherwise : str, optional
        What to say where no known name is near; by default, all of them.
    also : str, optional
        What to say in any case, after the nearest name.

    Returns
    -------
    str
        Such as "did you mean 'denosumab'?" or "use 'a' or 'b'."
    """
    names = list(known)
    if close := closest(name, names):
        return f"did you mean '{close}'? {also}".rstrip()
    return otherwise or also or f"use {one_of(names)}."


def counted(number: float, noun: str) -> str:
    """A number with its noun, in the singular after 1: "1 study" or "3 studies".

    Parameters
    ----------
    number : float
        A whole number.
    noun : str
        In the singular.
    """
    plural = f"{noun[:-1]}ies" if re.search("[^aeiou]y$", noun) else f"{noun}s"
    return f"{number:.0f} {noun if number == 1 else plural}"


def one_of(names: Iterable[str]) -> str:
    """Names as a list in words: "'a', 'b' or 'c'".

    Parameters
    ----------
    names : iterable of str
        At least one name.
    """
    quoted = [f"'{name}'" for name in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}" if quoted else "none"


def shown(value: object) -> str:
    """A value as a file has it, shortened: text in quotes, true or false, a number, "a table".

    Parameters
    ----------
    value : object
        A value as `tomllib` or `csv` read it.
    """
    if isinstance(value, bool):
        return str(value).lower()
    try:
        text = f'"{value}"' if isinstance(value, str) else "a table" if isinstance(value, dict) else str(value)
    except Exception:  # an object of a user's, or a number of more digits than Python writes
        text = f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."


def _folded(name: str) -> str:
    return name.casefold().replace("_", "-")
