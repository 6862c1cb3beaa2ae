"""Arguments of the public functions, checked before anything is built on them: type, range, finiteness, text.

`checked` gives a function one kind for each argument. A kind takes what the caller gave and returns what the function
may rely on: Python's own numbers for those of numpy, a list for anything that can be gone through once, a copy for what
the caller may change later. What cannot be used is a `BadInput` that names the argument. Messages of deeper code that
speak of options of the command line speak of arguments here, unless the command line itself is the caller.

    @checked(regimen=TEXT, doses=whole(1, MOST_DOSES), at=NUMBERS)
    def simulate(regimen=None, *, doses=None, at=None): ...
"""

from __future__ import annotations

import functools
import inspect
import math
import numbers
import os
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np

from ranklsim.pkpd.errors import FROM_COMMAND_LINE, BadInput, RanklsimError, argument, near, shown
from ranklsim.pkpd.reading import MOST_CELLS, MOST_PATIENTS, control_character

P = ParamSpec("P")
R = TypeVar("R")

LONGEST_TEXT = 100_000  # characters
MOST_WORKERS = 1024
_COMMAND = re.compile(r"`ranklsim ([a-z]+)([^`]*)`")
_OPTION = re.compile(r"--([a-z][a-z-]*[a-z])")
_FLAGS = ("force", "resume", "second_order", "keep_patients", "brief")


class Wrong(Exception):
    """What an argument was not; the text follows ``NAME = VALUE``."""


Kind = Callable[[Any], Any]
"""From what was given to what the function may rely on; raises `Wrong`."""


def checked(**kinds: Kind) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Check the arguments of a public function.

    Parameters
    ----------
    **kinds : callable
        One for each argument. None passes for an argument whose default is None.

    Returns
    -------
    callable
        A decorator. The function that it makes raises BadInput for every misuse, all at once.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def call(*given: P.args, **more: P.kwargs) -> R:
            if unknown := [name for name in more if name not in signature.parameters]:
                raise BadInput(*(f"unknown argument '{name}'; {near(name, signature.parameters)}" for name in unknown))
            try:
                bound = signature.bind(*given, **more)
            except TypeError as fault:
                needed = [n for n, p in signature.parameters.items() if p.default is p.empty]
                needs = (
                    f"it needs {', '.join(needed)}"
                    if needed
                    else "no argument is needed, and each is given by its name"
                )
                raise BadInput(f"{fault}; {needs}.") from None
            faults = []
            for name, value in bound.arguments.items():
                if name not in kinds or (value is None and signature.parameters[name].default is None):
                    continue
                try:
                    bound.arguments[name] = kinds[name](value)
                except Wrong as wrong:
                    said = argument(name) if signature.parameters[name].kind is inspect.Parameter.KEYWORD_ONLY else name
                    faults.append(f"{said}{'' if isinstance(value, Mapping) else f' = {shown(value)}'} {wrong}")
            if faults:
                raise BadInput(*faults)
            try:
                return function(*bound.args, **bound.kwargs)
            except RanklsimError as fault:
                if not FROM_COMMAND_LINE.get():
                    _speak_python(fault)
                raise

        call.__kinds__ = kinds  # type: ignore[attr-defined]
        return call

    return decorate


def _speak_python(fault: RanklsimError) -> None:
    """Put arguments in the place of options in what an error says."""

    def options(text: str) -> str:
        def argument(found: re.Match[str]) -> str:
            name = found[1].replace("-", "_")
            return f"{name}=True" if name in _FLAGS else name

        return _OPTION.sub(argument, text)

    def command(found: re.Match[str]) -> str:
        flags = [name for name in _FLAGS if f"--{name.replace('_', '-')}" in found[2]]
        return f"`ranklsim.{found[1]}({', '.join(['...', *(f'{name}=True' for name in flags)])})`"

    def said(text: str) -> str:
        return options(_COMMAND.sub(command, text)) if "--" in text else text

    if isinstance(fault, BadInput):
        fault.messages = tuple(map(said, fault.messages))
        fault.args = ("\n".join(fault.messages),)
    else:
        fault.args = tuple(said(part) if isinstance(part, str) else part for part in fault.args)


# --- kinds ---


def flag(value: Any) -> bool:
    """True or False, also of numpy."""
    if isinstance(value, bool | np.bool_):
        return bool(value)
    raise Wrong("is neither True nor False; give one of them.")


def text(value: Any) -> str:
    """Text of one line or more, without control characters."""
    if not isinstance(value, str):
        number = isinstance(value, numbers.Number) and not isinstance(value, bool)
        hint = ', such as "60 mg" or "12 mo" for a quantity' if number else ""
        raise Wrong(f"is not text; give text in quotes{hint}.")
    if len(value) > LONGEST_TEXT:
        raise Wrong(f"has more than {LONGEST_TEXT} characters; give less.")
    if control_character(value):
        raise Wrong("has a control character; leave it out.")
    return str(value)


def path(value: Any) -> str | os.PathLike[str]:
    """A path or a URL; not empty."""
    if not isinstance(value, str | os.PathLike) or isinstance(value, bytes):
        raise Wrong('is not a path; give text such as "runs/one", or a Path.')
    try:
        said = os.fspath(value)
    except (TypeError, NotImplementedError, ValueError):
        said = str(value)  # a URL of fsspec
    if not isinstance(said, str):
        raise Wrong('is a path of bytes; give text such as "runs/one", or a Path.')
    if not said.strip() or len(said) > 4096 or control_character(said):
        raise Wrong('is not a path; give text such as "runs/one", or a Path.')
    return value


def folder(value: Any) -> Path:
    """A folder of this machine that is there."""
    found = Path(path(value))
    if not found.is_dir():
        raise Wrong("is not a folder; give the path of one.")
    return found


def whole(least: int, most: int) -> Kind:
    """A whole number in a range, also of numpy; True is none.

    Parameters
    ----------
    least, most : int
        Ends of the range, both possible.
    """

    def read(value: Any) -> int:
        if isinstance(value, np.ndarray) and value.shape == ():
            value = value[()]
        number = isinstance(value, numbers.Integral) and not isinstance(value, bool | np.bool_)
        if not number or not least <= int(value) <= most:
            raise Wrong(f"is not possible; give a whole number from {least} to {most}.")
        return int(value)

    return read


def number(least: float = -math.inf, most: float = math.inf) -> Kind:
    """A finite number in a range, also of numpy; True is none.

    Parameters
    ----------
    least, most : float
        Ends of the range, both possible.
    """

    def read(value: Any) -> float:
        found = _finite(value)
        if found is None or not least <= found <= most:
            span = f" from {least:g} to {most:g}" if math.isfinite(least) and math.isfinite(most) else ""
            raise Wrong(f"is not possible; give a finite number{span}.")
        return found

    return read


def several(kind: Kind, example: str, *, none_empty: bool = False) -> Kind:
    """A list of values of a kind, from anything that can be gone through; text is one value and no list.

    Parameters
    ----------
    kind : Kind
    example : str
        Of such a list.
    none_empty : bool
        Whether an empty list is refused.
    """

    def read(value: Any) -> list[Any]:
        if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
            raise Wrong(f"is not a list; give one, such as {example}.")
        found: list[Any] = []
        try:
            for each in value:
                if len(found) >= MOST_CELLS:
                    raise Wrong(f"has no end; give at most {MOST_CELLS} values.")
                found.append(kind(each))
        except Wrong as wrong:
            if "no end" in str(wrong):
                raise
            raise Wrong(f"has a value, {shown(each)}, that {wrong}") from None
        except TypeError:  # an array without dimension
            raise Wrong(f"is not a list; give one, such as {example}.") from None
        if none_empty and not found:
            raise Wrong(f"is empty; give at least one value, such as {example}.")
        return found

    return read


def by_name(kind: Kind, example: str) -> Kind:
    """A mapping of names to values of a kind; the copy is the function's own.

    Parameters
    ----------
    kind : Kind
    example : str
        Of such a mapping.
    """

    def read(value: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise Wrong(f"is not a mapping of names to values; give one, such as {example}.")
        found = {}
        for name, each in value.items():
            if not isinstance(name, str):
                raise Wrong(f"has the name {shown(name)}, which is not text; give {example}.")
            try:
                found[name] = kind(each)
            except Wrong as wrong:
                raise Wrong(f"has {name} = {shown(each)}, which {wrong}") from None
        return found

    return read


def callback(value: Any) -> Any:
    """Something to call."""
    if not callable(value):
        raise Wrong("cannot be called; give a function.")
    return value


def day(value: Any) -> date:
    """A calendar day of this or the neighbouring centuries."""
    if isinstance(value, datetime):
        value = value.date()
    if not isinstance(value, date) or not 1900 <= value.year <= 2199:
        raise Wrong("is not possible; give a date from 1900 to 2199, such as datetime.date(2000, 1, 3).")
    return value


def instance(*classes: type, or_else: Kind | None = None, give: str = "") -> Kind:
    """A value of a class, or of another kind.

    Parameters
    ----------
    *classes : type
    or_else : Kind, optional
        For what is of none of the classes.
    give : str
        What would be right, where there is no other kind.
    """

    def read(value: Any) -> Any:
        if isinstance(value, classes):
            return value
        if or_else is None:
            raise Wrong(f"is not possible; give {give}.")
        return or_else(value)

    return read


def one_or_several(kind: Kind, example: str) -> Kind:
    """One value of a kind, or a list of at least one.

    Parameters
    ----------
    kind : Kind
    example : str
        Of a list.
    """
    many = several(kind, example, none_empty=True)

    def read(value: Any) -> Any:
        a_list = isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping)
        return many(value) if a_list and np.ndim(value) else kind(value)

    return read


def optional(kind: Kind) -> Kind:
    """None, or a value of a kind: for an argument whose default is something else.

    Parameters
    ----------
    kind : Kind
    """
    return lambda value: None if value is None else kind(value)


def layers(value: Any) -> dict[str, bool] | list[str]:
    """Sources of variation: those that are on, or a mapping that switches them."""
    switches = by_name(flag, '{"patients": True}')
    found: dict[str, bool] | list[str] = switches(value) if isinstance(value, Mapping) else NAMES(value)
    return found


def _finite(value: Any) -> float | None:
    if isinstance(value, np.ndarray) and value.shape == ():
        value = value[()]
    if not isinstance(value, numbers.Real) or isinstance(value, bool | np.bool_):
        return None
    try:
        found = float(value)
    except (OverflowError, ValueError, TypeError):
        return None
    return found if math.isfinite(found) else None


WORKERS = whole(1, MOST_WORKERS)
PATIENTS = whole(1, MOST_PATIENTS)
SEED = whole(0, 2**63 - 1)
COMMAND = instance(str, give="text")
NAMES = several(text, '["a", "b"]')
MONTHS: Kind = several(number(), "[0.5, 1, 6]")
"""Kinds of arguments that several functions have."""
