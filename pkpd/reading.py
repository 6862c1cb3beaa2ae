"""The one way to read a file that a user wrote: TOML by tables, CSV by rows, JSON; every fault with file and line.

A reader opens a file (`open_toml`, `read_csv`), declares the keys of each table (`Shape`) and asks for values by type,
unit and range (`Table`). What is wrong is noted in `Faults`, so that all faults of a file come out at once. Limits on
what a file may hold stand here, and only here: size, nesting, control characters, numbers that are not finite. The
limits on a trial or a patient stand here too; they hold for files, for the command line and for Python alike.
`pkpd.parquet` reads Parquet under the same limits.

    ARM = Shape({"name": '"denosumab"', "dose": '"60 mg"', "doses": "4"}, needed=("name",))
    arm = root.table("arm", ARM)
    dose = arm.quantity("dose", "mg", None, above=0)
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
import stat
import tomllib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import combinations
from pathlib import Path
from typing import Any, TypedDict, TypeVar, Unpack

import numpy as np

from ranklsim.pkpd.errors import BadInput, closest, near, shown
from ranklsim.pkpd.tomltext import MOST_DEPTH, Key, TooDeep, explain_syntax, lines_of, locate
from ranklsim.pkpd.units import parse_quantity

T = TypeVar("T")
D = TypeVar("D")

MOST_BYTES = 50_000_000
"""Size of a table; text that a person wrote is far smaller."""
MOST_TOML_BYTES = 2_000_000
MOST_CELLS, MOST_COLUMNS = 2_000_000, 2_000
"""Cells and columns of a table."""
LARGEST_WHOLE = 2**63
TOO_SMALL, TOO_LARGE = 1e-12, 1e9  # of a quantity in any unit that is asked for; beyond these a number is a slip
MOST_FAULTS = 20  # of one file, told one by one
MOST_COLLECTED = 300  # faults of a table, after which its rows are not read any more
MOST_ALIKE = 3  # rows of a table with the same fault, told one by one
NEXT_LINES = 8  # of further rows with the same fault, named

# Beyond these a number is a slip, wherever it is given.
MOST_MONTHS = 1200
MOST_DOSES = 50_000  # of one patient; twice a day for 68 years
MOST_PATIENTS = 10_000_000
MOST_ARMS = 100
MOST_VISITS = 1000  # of one kind

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufffe\uffff]")
_FILE_NAME = re.compile(r"[^\W_][\w. -]*")
_DECIMAL_COMMA = re.compile(r"\s*[+-]?\d+,\d+\s*")
_OF_A_ROW = re.compile(
    r"[^\n]*?(?::|, row )(?P<place>\d+): (?P<column>column (?:'[^']*'|[\w-]+):)?(?P<said>.*)", re.DOTALL
)
_VALUE = re.compile(r"'[^']*'|[-+]?\d[\d.]*(?:e[-+]?\d+)?")
_SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}
_OTHER_FORMATS = {
    b"PK\x03\x04": "an Excel workbook or another archive",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"\x1f\x8b": "a compressed file",
    b"%PDF": "a PDF",
    b"PAR1": "a Parquet file",
    b"BZh": "a compressed file",
    b"\xfd7zXZ": "a compressed file",
    b"\x28\xb5\x2f\xfd": "a compressed file",
    b"\xff\xfe": "text in UTF-16",
    b"\xfe\xff": "text in UTF-16",
}


# --- files ---


def read_content(path: Path | str, *, what: str = "file", most: int = MOST_BYTES) -> bytes:
    """The bytes of a file.

    Parameters
    ----------
    path : Path or str
    what : str
        What is wanted, for messages: "TOML file", "CSV file".
    most : int
        Largest size in bytes.

    Raises
    ------
    BadInput
        If the file is missing, is a folder, may not be read or is too large.
    """
    place = Path(path) if isinstance(path, str) else path
    try:
        # Opened without waiting: a named pipe has no end, and opening one waits for whoever writes to it.
        with open(place, "rb", opener=_at_once) if isinstance(place, Path) else place.open("rb") as file:
            if isinstance(place, Path) and not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise BadInput(f"{path}: this is a pipe or a device, not a file; save its content in a {what}.")
            content: bytes = file.read(most + 1)
        if len(content) > most:
            raise BadInput(f"{path}: the file has more than {most // 1_000_000} MB; no {what} of ranklsim needs that.")
        return content
    except FileNotFoundError:
        raise BadInput(f"{path}: there is no such file; check the path, or the folder that you are in.") from None
    except (IsADirectoryError, NotADirectoryError):
        raise BadInput(f"{path}: this is not a file; give the path of a {what}.") from None
    except PermissionError:
        found = f"this is a folder; give the path of a {what}" if place.is_dir() else "you may not read this file"
        raise BadInput(f"{path}: {found}.") from None
    except (OSError, ValueError) as fault:
        reason = getattr(fault, "strerror", None) or fault
        raise BadInput(f"{path}: the file cannot be read: {reason}.") from None


def _at_once(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def text_of(name: str, content: bytes) -> str:
    """Content as text; BadInput if it is not UTF-8 text, with what it is where that can be told.

    Parameters
    ----------
    name : str
        What messages call the file.
    content : bytes
        Content of the file.
    """
    for start, what in _OTHER_FORMATS.items():
        if content.startswith(start):
            raise BadInput(
                f"{name}: this is {what}, not plain text; save it as text (a table as CSV) with UTF-8 encoding."
            )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        line = content.count(b"\n", 0, fault.start) + 1
        raise BadInput(f"{name}:{line}: the text is not UTF-8; save the file with UTF-8 encoding.") from None


def load_toml(path: Path | str) -> tuple[dict[str, object], str]:
    """Read a TOML file without declaring its keys.

    Parameters
    ----------
    path : Path or str

    Returns
    -------
    data : dict
        What the file says.
    text : str
        The file's text as parsed, for `locate`.

    Raises
    ------
    BadInput
        If the file cannot be read, is not UTF-8 or not TOML, or breaks a limit of this module; with file and line.
    """
    path = Path(path)
    return parse_toml(path.name, read_content(path, what="TOML file", most=MOST_TOML_BYTES))


def parse_toml(name: str, content: bytes) -> tuple[dict[str, object], str]:
    """As `load_toml`, of content that was read already; `name` begins the messages.

    Parameters
    ----------
    name : str
        What messages call the file.
    content : bytes
        Content of the file.
    """
    text = text_of(name, content)
    too_deep = BadInput(f"{name}: brackets are nested too deeply; no file of ranklsim needs that.")
    try:
        lines_of(text)  # first, since it stops early where a hostile text would keep the parser busy
        data = tomllib.loads(text)
    except (TooDeep, RecursionError):
        raise too_deep from None
    except ValueError as fault:  # TOMLDecodeError, and what Python itself refuses (a number of thousands of digits)
        raise BadInput(explain_syntax(name, text, str(fault))) from None
    for path, value in _leaves(data):
        if len(path) > MOST_DEPTH:
            raise too_deep
        if any(isinstance(part, str) and _CONTROL.search(part) for part in (*path, value)):
            place = f"{name}:{locate(text, path)}"
            raise BadInput(f"{place}: the text has a control character; write plain text, such as \\n for a new line.")
    return data, text


def parse_json(name: str, content: bytes) -> object:
    """What a JSON file says.

    Parameters
    ----------
    name : str
        What messages call the file.
    content : bytes

    Raises
    ------
    BadInput
        If the content is not JSON, has a key twice in one object, a number that is not finite, or is nested too deeply.
    """

    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        for key, count in Counter(key for key, _ in pairs).items():
            if count > 1:
                raise ValueError(f"{shown(key)} stands twice in one object")
        return dict(pairs)

    def refuse(word: str) -> object:
        raise ValueError(f"{word} is not a finite number")

    try:
        data: object = json.loads(text_of(name, content), object_pairs_hook=once, parse_constant=refuse)
    except RecursionError:
        raise BadInput(f"{name}: brackets are nested too deeply; no file of ranklsim needs that.") from None
    except ValueError as fault:
        raise BadInput(f"{name}: this is not valid JSON ({fault}); write the file again.") from None
    if any(len(path) > MOST_DEPTH for path, _ in _leaves(data)):
        raise BadInput(f"{name}: brackets are nested too deeply; no file of ranklsim needs that.")
    return data


def control_character(text: str) -> re.Match[str] | None:
    """Where a text has a control character that no plain text has, None if it has none.

    Parameters
    ----------
    text : str
        Any text.
    """
    return _CONTROL.search(text)


def _leaves(data: object) -> Iterator[tuple[Key, object]]:
    """Every value that is no table or list, and every empty one, with its path."""
    waiting: list[tuple[Key, object]] = [((), data)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, dict) and value:
            waiting += [((*path, key), part) for key, part in value.items()]
        elif isinstance(value, list) and value and len(path) <= MOST_DEPTH:
            waiting += [((*path, index), part) for index, part in enumerate(value)]
        else:
            yield path, value


def file_name(text: str) -> bool:
    """Whether a text is the plain name of a file: no path, no sign that a system could read as more.

    Parameters
    ----------
    text : str
        Any text.
    """
    return bool(_FILE_NAME.fullmatch(text)) and ".." not in text and len(text) <= 255


def plain(value: Any, where: str, depth: int = 0) -> Any:
    """What a caller gives in place of a file, as the file would say it: mappings, lists, text, numbers, dates.

    Parameters
    ----------
    value : object
        Tuples, arrays, numbers of numpy and paths are taken for what they are.
    where : str
        What a message begins with.
    depth : int
        Of this value in what was given.

    Raises
    ------
    BadInput
        If it is something that no file says.
    """
    if depth > MOST_DEPTH:
        raise BadInput(f"{where}: is nested more than {MOST_DEPTH} times; give less.")
    if isinstance(value, Mapping):
        if wrong := [key for key in value if not isinstance(key, str)]:
            raise BadInput(f"{where}: {shown(wrong[0])} is not a key; give text.")
        return {key: plain(each, f"{where}, {key}" if depth < 3 else where, depth + 1) for key, each in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [plain(each, where, depth + 1) for each in value]
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, str) and control_character(value):
        raise BadInput(f"{where}: {shown(value)} has a control character; leave it out.")
    if isinstance(value, float) and not math.isfinite(value):
        raise BadInput(f"{where}: {value} is not a finite number.")
    if isinstance(value, str | bool | int | float | date):
        return value
    raise BadInput(f"{where}: {shown(value)} can't be used; give text, a number, a list or a mapping.")


# --- faults ---


class Faults:
    """The faults of one file, each a sentence that begins with file and line.

    Parameters
    ----------
    label : str
        What messages call the file.
    text : str
        Its text, where lines are looked up.
    data : dict
        What it says, where names of parts are looked up.
    named : collection of str
        Arrays of tables that messages call by name: ``("arm",)`` gives "arm 'selective', regimen 2".
    """

    def __init__(self, label: str, text: str, data: object = None, named: Collection[str] = ()) -> None:
        self.label, self.text, self.data, self.named = label, text, data, named
        self.answered: set[Key] = set()  # places whose fault is known: what follows from it is not said again
        self._found: list[tuple[int, str, Key]] = []

    def __len__(self) -> int:
        return len(self._found)

    def at(self, path: Key) -> str:
        """``file:line`` of what stands at `path`, or of the table that lacks it.

        Parameters
        ----------
        path : tuple
            Keys and positions, from the file to the value.
        """
        line = self.line(path)
        return f"{self.label}:{line}" if line else self.label

    def line(self, path: Key) -> int:
        """Line of what stands at `path`, or of the table that lacks it; 0 if the file has neither.

        Parameters
        ----------
        path : tuple
            Keys and positions, from the file to the value.
        """
        return locate(self.text, path)

    def touch(self, path: Key) -> bool:
        """Whether a fault is known at `path` or below it.

        Parameters
        ----------
        path : tuple
            Keys and positions, from the file to the value.
        """
        places = [*self.answered, *(place for _, _, place in self._found)]
        return any(place[: len(path)] == path for place in places)

    def where(self, path: Key, *, arm: bool = False) -> str:
        """``file:line: arm 'selective', regimen 2``: `at`, and the part of the file by its name (or its arm only).

        Parameters
        ----------
        path : tuple
            Keys and positions, from the file to the value.
        arm : bool
            Whether to name the arm only.
        """
        return ": ".join(part for part in (self.at(path), self.part(path[:2] if arm else path)) if part)

    def add(self, path: Key, sentence: str) -> None:
        """Note a fault at `path`, unless one is known; `sentence` follows the part of the file that it is about.

        Parameters
        ----------
        path : tuple
            Keys and positions, from the file to the value.
        sentence : str
            What is wrong and what would be right.
        """
        if path in self.answered:
            return
        part = self.part(path)
        joint = "" if not part else " " if sentence.startswith(("lasts ", "counts ", "names ")) else ", "
        self.add_message(path, f"{self.at(path)}: {part}{joint}{sentence}")

    def add_message(self, path: Key, message: str) -> None:
        """Note a fault whose message is already complete; BadInput if it is one more than `MOST_FAULTS`.

        Parameters
        ----------
        path : tuple
            Keys and positions, from the file to the value.
        message : str
            The message, which begins with file and line.
        """
        if any(message == known for _, known, _ in self._found):
            return
        if len(self._found) >= MOST_FAULTS:
            raise BadInput(*self.messages(), f"{self.label}: there are more faults; correct these first.")
        self._found.append((self.line(path), message, path))

    def attempt(self, path: Key, read: Callable[[str], T]) -> T | None:
        """What `read` makes of a place, or None with its faults noted; it is given `where` to begin messages with.

        Parameters
        ----------
        path : tuple
            Keys and positions, from the file to the value.
        read : callable
            Takes the beginning of its messages; raises BadInput.
        """
        try:
            return read(self.where(path))
        except BadInput as fault:
            for message in fault.messages:
                self.add_message(path, message)
            return None

    def messages(self) -> list[str]:
        """All messages, in the order of the file."""
        return [message for _, message, _ in sorted(self._found, key=lambda found: found[0])]

    def stop(self) -> None:
        """Raise BadInput if there is any fault."""
        if self._found:
            raise BadInput(*self.messages())

    def part(self, path: Key) -> str:
        """'arm 'selective', regimen 2', 'endpoint 'x'' or nothing.

        Parameters
        ----------
        path : tuple
            Keys and positions, from the file to the value.
        """
        if len(path) < 2 or path[0] not in self.named or not isinstance(path[1], int):
            return ""
        try:
            table = self.data[path[0]][path[1]]  # type: ignore[index]
        except (KeyError, IndexError, TypeError):
            table = None
        name = table.get("name", table.get("id")) if isinstance(table, dict) else None
        part = f"{path[0]} '{name}'" if isinstance(name, str) else f"{path[0]} {path[1] + 1}"
        if path[2:3] == ("regimen",) and len(path) > 3 and isinstance(path[3], int):
            part += f", regimen {path[3] + 1}"
        return part


# --- tables of a TOML file ---


@dataclass(frozen=True)
class Shape:
    """The keys that a table may have.

    Attributes
    ----------
    keys : mapping of str to str
        Each key with an example of its value, as it stands behind the equals sign, or in words ("a table [visits]").
    needed : collection of str
        Keys that the table cannot do without.
    called : str
        What messages call a key.
    """

    keys: Mapping[str, str]
    needed: Collection[str] = ()
    called: str = "key"

    def example(self, key: str) -> str:
        """What to write for a key.

        Parameters
        ----------
        key : str
            One of `keys`.
        """
        example = self.keys[key]
        return example if example.startswith(("a table", "one or more")) else f"{key} = {example}"


class Limits(TypedDict, total=False):
    """Ends of a range: `least` and `most` may be reached, `above` and `below` may not."""

    least: float
    most: float
    above: float
    below: float


class Table:
    """One table of a file: its values by key, type, unit and range.

    Every method takes the default that stands where the key is absent or its value is wrong; a wrong value is a fault.

    Parameters
    ----------
    faults : Faults
        Where faults are noted.
    data : object
        The table; anything else is a fault.
    shape : Shape
    path : tuple
        Where the table stands in its file; empty for the file itself.
    """

    def __init__(self, faults: Faults, data: object, shape: Shape, path: Key = ()) -> None:
        self.faults, self.shape, self.path = faults, shape, path
        self.data: dict[str, object] = data if isinstance(data, dict) else {}
        for key in self.data:
            if key not in shape.keys:
                here = (*path, key)
                faults.add(here, f"unknown {shape.called} '{key}'; {near(key, shape.keys)}")
                faults.answered.add(here)
                guess = closest(key, shape.keys)
                if guess is not None and guess not in self.data:
                    faults.answered.add((*path, guess))  # a misspelt key is not also a missing one
        for key in shape.needed:
            if key not in self.data:
                self.fault(key, f"`{key}` is missing; give {shape.example(key)}.")

    def __contains__(self, key: str) -> bool:
        return key in self.data

    def at(self, *keys: str | int) -> Key:
        """Path of a key, or of the table itself."""
        return (*self.path, *keys)

    def fault(self, key: str | tuple[str | int, ...], sentence: str) -> None:
        """Note a fault at a key, or at a place below one; an empty tuple is the table.

        Parameters
        ----------
        key : str or tuple
            The key, or keys and positions below the table.
        sentence : str
            What is wrong and what would be right.
        """
        self.faults.add(self.at(key) if isinstance(key, str) else self.at(*key), sentence)

    def wrong(self, key: str, *places: str | int, value: object = None) -> None:
        """Note that a value, or one below it, has not the form that the key asks for.

        Parameters
        ----------
        key : str
            A key of the table.
        *places : str or int
            Keys and positions below it.
        value : object
            The value there, if `places` are given.
        """
        value = self.data.get(key) if not places else value
        example, last = self.shape.example(key), next(k for k in (*reversed(places), key) if isinstance(k, str))
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if number and not abs(value) < LARGEST_WHOLE:  # type: ignore[arg-type]
            form = "is not a finite number" if value in (math.inf, -math.inf) or value != value else "is too large"
            sentence = f"{last} = {shown(value)} {form}; give {example}."
        else:
            is_quantity = number and re.search(r'"[^"]*\d[^"]* [^"]*"', example)
            form = "has no unit" if is_quantity else "has the wrong form"
            sentence = f"`{last}` = {shown(value)} {form}; give {example}."
        self.faults.add(self.at(key, *places), sentence)
        self.faults.answered |= {self.at(key, *places), self.at(key)}

    def value(self, key: str, kind: type[T], default: D) -> T | D:
        """A value of one type: str, bool, int or float (any finite number).

        Parameters
        ----------
        key : str
        kind : type
        default : object
            Returned where the key is absent or its value is of another type.
        """
        if key not in self.data:
            return default
        found = as_kind(self.data[key], kind)
        if found is None:
            self.wrong(key)
            return default
        return found

    def text(self, key: str, default: D) -> str | D:
        """Text, which is not empty where the key is needed.

        Parameters
        ----------
        key : str
            A key of the table.
        default : object
            Returned where the key is absent or its value is wrong.
        """
        text = self.value(key, str, default)
        if key in self.data and key in self.shape.needed and isinstance(text, str) and not text.strip():
            self.fault(key, f"`{key}` is empty; give {self.shape.example(key)}.")
            return default
        return text

    def flag(self, key: str, default: bool = False) -> bool:
        """True or false.

        Parameters
        ----------
        key : str
            A key of the table.
        default : bool
            Returned where the key is absent or its value is wrong.
        """
        return self.value(key, bool, default)

    def number(self, key: str, default: D, **limits: Unpack[Limits]) -> float | D:
        """A finite number.

        Parameters
        ----------
        key : str
        default : object
        **limits : float
            `Limits`.
        """
        value = self.value(key, float, None)
        return default if value is None or not self.within(key, value, **limits) else value

    def whole(self, key: str, default: D, *, least: int, most: int) -> int | D:
        """A whole number from `least` to `most`.

        Parameters
        ----------
        key : str
            A key of the table.
        default : object
            Returned where the key is absent or its value is wrong.
        least, most : int
            Ends of the range, both allowed.
        """
        given = self.data.get(key)
        value = given if type(given) is int else self.value(key, int, None)
        if value is None:
            return default
        if not least <= value <= most:
            self.fault(key, f"{key} = {shown(value)} is not possible; give a whole number from {least} to {most}.")
            return default
        return value

    def choice(self, key: str, choices: Collection[str], default: D) -> str | D:
        """One of some words.

        Parameters
        ----------
        key : str
            A key of the table.
        choices : collection of str
            The words.
        default : object
            Returned where the key is absent or its value is wrong.
        """
        value = self.data.get(key)
        if value is None:
            return default
        if isinstance(value, str) and value in choices:
            return value
        self.fault(key, f"`{key}` is {shown(value)}; {near(value if isinstance(value, str) else '', choices)}")
        self.faults.answered.add(self.at(key))
        return default

    def values(self, key: str, kind: type[T], default: D) -> list[T] | D:
        """A list of values of one type.

        Parameters
        ----------
        key : str
            A key of the table.
        kind : type
            str, bool, int, float, list or dict.
        default : object
            Returned where the key is absent or its value is wrong.
        """
        return self._each(key, self.data.get(key), kind, default)

    def rows(self, key: str, kind: type[T], default: D) -> list[list[T]] | D:
        """A list of lists of values of one type.

        Parameters
        ----------
        key : str
            A key of the table.
        kind : type
            str, bool, int or float.
        default : object
            Returned where the key is absent or its value is wrong.
        """
        found: list[list[object]] | None = self.values(key, list, None)
        if found is None:
            return default
        rows = [self._each(key, row, kind, None, k) for k, row in enumerate(found)]
        return default if None in rows else [row for row in rows if row is not None]

    def mapping(self, key: str, kind: type[T], default: D) -> dict[str, T] | D:
        """A table whose keys are names that the reader checks, with values of one type; wrong ones are left out.

        Parameters
        ----------
        key : str
            A key of the table.
        kind : type
            str, bool, int or float.
        default : object
            Returned where the key is absent or its value is no table.
        """
        table = self.value(key, dict, None)
        if table is None:
            return default
        found = {name: as_kind(value, kind) for name, value in table.items()}
        for name in [name for name, value in found.items() if value is None]:
            self.wrong(key, name, value=table[name])
        return {name: value for name, value in found.items() if value is not None}

    def quantity(self, key: str, unit: str, default: D, **limits: Unpack[Limits]) -> float | D:
        """A quantity in text, such as ``"60 mg"``, as the number of a unit.

        Parameters
        ----------
        key : str
        unit : str
            Unit of the result; for ``"1"`` a bare number will do.
        default : object
            In that unit.
        **limits : float
            As of `number`.
        """
        if unit == "1" and as_kind(self.data.get(key), float) is not None:
            return self.number(key, default, **limits)
        text = self.text(key, None)
        value = None if text is None else self.parsed((key,), text, unit)
        return default if value is None or not self.within(key, value, unit, **limits) else value

    def parsed(self, keys: tuple[str | int, ...], text: object, unit: str) -> float | None:
        """A quantity at a place of the table as the number of a unit; None, with the fault noted, if it is none.

        Parameters
        ----------
        keys : tuple
            Keys and positions below the table.
        text : object
            The value there, such as "60 mg".
        unit : str
            Unit of the result.
        """
        path, name = self.at(*keys), keys[-1]
        joint = ": " if self.faults.where(path) == self.faults.at(path) else ", "
        value = self.faults.attempt(path, lambda where: parse_quantity(text, unit, where=f"{where}{joint}{name}"))
        if value and not TOO_SMALL < abs(value) < TOO_LARGE:
            far = "large" if abs(value) > 1 else "small"
            self.faults.add(path, f"{name} is {shown(text)}, which is too {far}; check number and unit.")
            return None
        return value

    def within(
        self,
        key: str,
        value: float,
        unit: str = "",
        *,
        least: float = -math.inf,
        most: float = math.inf,
        above: float = -math.inf,
        below: float = math.inf,
    ) -> bool:
        """Whether a number read at `key` is within limits; a fault is noted if not.

        Parameters
        ----------
        key : str
            A key of the table.
        value : float
            The number.
        unit : str
            Its unit, for the message.
        least, most, above, below : float
            As of `Limits`.
        """
        if least <= value <= most and above < value < below:
            return True
        ends = [f"more than {above:g}"] * (above > -math.inf) + [f"at least {least:g}"] * (least > -math.inf)
        ends += [f"at most {most:g}"] * (most < math.inf) + [f"below {below:g}"] * (below < math.inf)
        span = " and ".join(ends) + ("" if unit in ("", "1") else f" {unit}")
        said = self.data.get(key, value)
        is_text = f'{key} is "{said}"' if isinstance(said, str) else f"{key} = {value:g} is not possible"
        self.fault(key, f"{is_text}; give {span}.")
        return False

    def table(self, key: str, shape: Shape) -> Table | None:
        """The table at a key; None where there is none.

        Parameters
        ----------
        key : str
            A key of the table.
        shape : Shape
            Keys of the table there.
        """
        data = self.value(key, dict, None)
        return None if data is None else Table(self.faults, data, shape, self.at(key))

    def tables(self, key: str, shape: Shape) -> list[Table]:
        """The tables of an array; those that are none are noted and left out.

        Parameters
        ----------
        key : str
            A key of the table.
        shape : Shape
            Keys of each table there.
        """
        found = self.data.get(key, [])
        if not isinstance(found, list):
            self.wrong(key)
            return []
        for index, part in enumerate(found):
            if not isinstance(part, dict):
                self.wrong(key, index, value=part)
        return [
            Table(self.faults, part, shape, self.at(key, k)) for k, part in enumerate(found) if isinstance(part, dict)
        ]

    def times(self, key: str, unit: str, default: D) -> list[float] | D:
        """A list of times: numbers in a unit, or text with a unit of its own, such as ``"26 wk"``.

        Parameters
        ----------
        key : str
            A key of the table.
        unit : str
            The unit of the result.
        default : object
            What stands for an absent key, and for a list with a fault.
        """
        given = self.data.get(key)
        if not isinstance(given, list) or not any(isinstance(value, str) and value[:1].isdigit() for value in given):
            return self.values(key, float, default)
        read: list[object] = [
            self.parsed((key, index), value, unit) if isinstance(value, str) and value[:1].isdigit() else value
            for index, value in enumerate(given)
        ]
        if None in read:
            return default
        found = self._each(key, read, float, default)
        return [round(value, 9) for value in found] if isinstance(found, list) else found

    def _each(self, key: str, values: object, kind: type[T], default: D, *places: int) -> list[T] | D:
        if values is None:
            return default
        if not isinstance(values, list):
            self.wrong(key, *places, value=values)
            return default
        found = [as_kind(value, kind) for value in values]
        for index, value in enumerate(found):
            if value is None:
                self.wrong(key, *places, index, value=values[index])
        return default if None in found else [value for value in found if value is not None]


def open_toml(name: str, content: bytes, shape: Shape, named: Collection[str] = ()) -> Table:
    """The table that a TOML file is.

    Parameters
    ----------
    name : str
        What messages call the file.
    content : bytes
    shape : Shape
        Its keys.
    named : collection of str
        As of `Faults`.

    Raises
    ------
    BadInput
        If the content is not TOML or breaks a limit; other faults are noted in the table's `faults`.
    """
    data, text = parse_toml(name, content)
    return Table(Faults(name, text, data, named), data, shape)


def as_kind(value: object, kind: type[T]) -> T | None:
    """A value if it is of a type; true is not a number, a whole number is one, and infinity and NaN are none.

    Parameters
    ----------
    value : object
        A value as `tomllib` read it.
    kind : type
        str, bool, int, float, list or dict.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind is float and number and abs(value) < LARGEST_WHOLE:  # type: ignore[arg-type]
        return float(value)  # type: ignore[arg-type,return-value]
    if kind is int:
        return value if number and isinstance(value, int) and abs(value) < LARGEST_WHOLE else None  # type: ignore[return-value]
    return value if kind is not float and isinstance(value, kind) else None


# --- tables of rows ---


@dataclass(frozen=True)
class Sheet:
    """The heading and rows of a CSV file, as text without outer blanks.

    Attributes
    ----------
    name : str
        What messages call the file.
    head : int
        Line of the heading.
    columns : list of str
    lines : list of int
        Line on which each row begins.
    cells : list of list of str
        Each as long as `columns`; a cell that a row lacks is empty.
    faults : list of str
        Rows with more or fewer cells than the heading.
    """

    name: str
    head: int
    columns: list[str]
    lines: list[int] = field(default_factory=list)
    cells: list[list[str]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def rows(self) -> Iterator[Row]:
        """The rows one by one."""
        for line, cells in zip(self.lines, self.cells, strict=True):
            yield Row(f"{self.name}:{line}", line, dict(zip(self.columns, cells, strict=True)))

    def column(self, name: str) -> list[str]:
        """The cells of a column.

        Parameters
        ----------
        name : str
            One of `columns`.
        """
        at = self.columns.index(name)
        return [cells[at] for cells in self.cells]


@dataclass(frozen=True)
class Row:
    """One row of a `Sheet` on its way in; `where` is its file and line, `faults` gains a sentence a fault."""

    where: str
    line: int
    cells: dict[str, str]
    faults: list[str] = field(default_factory=list)

    def fault(self, column: str, sentence: str) -> None:
        """Note what is wrong with the cell of a column.

        Parameters
        ----------
        column : str
            Name of the column.
        sentence : str
            What is wrong and what would be right.
        """
        self.faults.append(f"{self.where}: column {column}: {sentence}")

    def text(self, column: str) -> str:
        """A cell; empty where the file lacks the column.

        Parameters
        ----------
        column : str
            Name of the column.
        """
        return self.cells.get(column, "")

    def number(self, column: str, needed: bool = False) -> float:
        """The finite number of a cell; NaN where it is empty, or is none, which is a fault.

        Parameters
        ----------
        column : str
            Name of the column.
        needed : bool
            Whether an empty cell is a fault.
        """
        text = self.text(column)
        if not text:
            if needed:
                self.fault(column, "it is empty; give a number.")
            return math.nan
        value = finite(text)
        if value is None:
            self.fault(column, f"{no_number(text)}, without unit.")
        return math.nan if value is None else value

    def choice(self, column: str, choices: Collection[str]) -> bool:
        """Whether the cell is one of some words; it is a fault if not.

        Parameters
        ----------
        column : str
            Name of the column.
        choices : collection of str
            The words.
        """
        text = self.text(column)
        if text in choices:
            return True
        names = f"give one of {', '.join(choices)}."
        said = f"unknown {column} '{text}'; {near(text, choices, names)}" if text else f"it is empty; {names}"
        self.fault(column, said)
        return False


def read_csv(name: str, content: bytes, needed: Collection[str] = (), *, comments: bool = False) -> Sheet:
    """The rows of a CSV file; tabs, semicolons or bars may take the place of commas.

    Parameters
    ----------
    name : str
        What messages call the file.
    content : bytes
    needed : collection of str
        Columns that it cannot do without.
    comments : bool
        Whether a line that begins with ``#`` is left out.

    Returns
    -------
    Sheet

    Raises
    ------
    BadInput
        If the content is not such a table, has a column twice or lacks one, or breaks a limit of this module.
    """
    text = text_of(name, content)
    text = text.replace("\r\n", "\n").replace("\r", "\n")  # the latter of an old Macintosh
    if found := _CONTROL.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise BadInput(f"{name}:{line}: the text has a control character; remove it.")
    if comments:
        text = re.sub(r"(?m)^[ \t]*#.*$", "", text)  # the line stays, so that those below keep their numbers
    first, second = ([line for line in text.split("\n", 200)[:200] if line.strip(", \t;")] + ["", ""])[:2]
    separator = next((sign for sign in _SEPARATORS if sign in first), " ")
    if separator == " " and len(first.split()) > 1 and len(second.split()) > 1:
        raise BadInput(f"{name}: the table is separated by blanks; save it with its cells separated by commas.")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator.replace(" ", ","))
    sheet: Sheet | None = None
    begin = 1
    try:
        for cells in reader:
            begin, line = reader.line_num + 1, begin
            cells = [cell.strip() for cell in cells]
            if not any(cells):
                continue
            if sheet is None:
                sheet = Sheet(name, line, cells)
                check_columns(f"{name}:{line}", cells)
                continue
            if len(cells) != len(sheet.columns):
                sheet.faults.append(
                    f"{name}:{line}: the row has {len(cells)} cells, the heading {len(sheet.columns)}; "
                    "put text with commas in quotes."
                )
                if len(sheet.faults) > MOST_FAULTS:
                    raise BadInput(*first_faults(name, sheet.faults))
            if (len(sheet.cells) + 1) * len(sheet.columns) > MOST_CELLS:
                raise BadInput(f"{name}: the table has more than {MOST_CELLS} cells; leave out what is not needed.")
            sheet.lines.append(line)
            sheet.cells.append([*cells, *[""] * len(sheet.columns)][: len(sheet.columns)])
    except csv.Error as fault:
        raise BadInput(f"{name}:{begin}: this is not CSV ({fault}); check the quotes of that line.") from None
    if sheet is None:
        raise BadInput(f"{name}:1: the file is empty; it begins with the names of its columns.")
    if separator not in ", " and any(_DECIMAL_COMMA.fullmatch(cell) for cells in sheet.cells for cell in cells):
        raise BadInput(
            f"{name}: the table is separated by {_SEPARATORS[separator]} and has decimal commas; save it with decimal "
            "points, separated by commas."
        )
    if missing := [column for column in needed if column not in sheet.columns]:
        raise BadInput(
            f"{name}:{sheet.head}: column {', '.join(missing)} is missing; the header needs {', '.join(needed)}."
        )
    return sheet


def check_columns(where: str, columns: Sequence[str]) -> None:
    """Refuse the columns of a table of any format.

    Parameters
    ----------
    where : str
        What a message begins with.
    columns : sequence of str

    Raises
    ------
    BadInput
        If there are more than `MOST_COLUMNS`, or one appears twice.
    """
    if len(columns) > MOST_COLUMNS:
        raise BadInput(f"{where}: the table has {len(columns)} columns; give at most {MOST_COLUMNS}.")
    if twice := sorted(column for column, count in Counter(columns).items() if count > 1):
        raise BadInput(f"{where}: column '{twice[0]}' appears twice; keep one.")


def first_faults(name: str, faults: Sequence[str]) -> list[str]:
    """The first `MOST_FAULTS` of a table's faults, and how many more there are.

    A fault that more than `MOST_ALIKE` rows have, such as each row of a column in the place of another, is told once.

    Parameters
    ----------
    name : str
        What messages call the file.
    faults : sequence of str
        All of them, each beginning with the place of its row.
    """
    alike: dict[str, list[str]] = {}
    for fault in faults:
        alike.setdefault(_kind_of(fault), []).append(fault)
    told = [fault for same in alike.values() for fault in (same if len(same) <= MOST_ALIKE else [_together(same)])]
    more = len(told) - MOST_FAULTS
    return [
        *told[:MOST_FAULTS],
        *([f"{name}: there are {more} more faults; correct these first."] if more > 0 else []),
    ]


def unread(faults: Sequence[str], where: str) -> list[str]:
    """The last fault of a table that has so many that the rows below are not read; empty if it has fewer.

    Parameters
    ----------
    faults : sequence of str
        Those of the rows up to this one.
    where : str
        File and line of the row.
    """
    return [f"{where}: the rows below were not read; correct those above first."] * (len(faults) >= MOST_COLLECTED)


def _kind_of(fault: str) -> str:
    """A fault of a row without its row, its values and its remedy; any other fault is of its own kind."""
    found = _OF_A_ROW.fullmatch(fault)
    if found is None:
        return fault
    return f"{found['column']} {_VALUE.sub('', found['said'].partition(';')[0])}"


def _together(same: Sequence[str]) -> str:
    """Faults of one kind as one: the first, how many there are, and where the next ones are."""
    places = [found["place"] for fault in same[1:] if (found := _OF_A_ROW.fullmatch(fault))]
    more = ", and so on" if len(places) > NEXT_LINES else ""
    return f"{same[0]} This is the first of {len(same)} such rows; the next are {', '.join(places[:NEXT_LINES])}{more}."


def exchanged(sheet: Sheet, words: Mapping[str, Collection[str]]) -> list[str]:
    """Faults of pairs of columns each of which holds the words of the other in every row.

    Parameters
    ----------
    sheet : Sheet
    words : mapping
        Column to the words that it may hold.
    """
    cells = {column: set(sheet.column(column)) - {""} for column in words if column in sheet.columns}
    return [
        f"{sheet.name}:{sheet.head}: columns {one} and {other} are exchanged: every cell of each is a word of the "
        "other; exchange the two names."
        for one, other in combinations(cells, 2)
        if cells[one] and cells[other]
        if cells[one] <= set(words[other]) - set(words[one]) and cells[other] <= set(words[one]) - set(words[other])
    ]


def no_number(text: str) -> str:
    """What to say of text that is no number, without the end of the sentence.

    Parameters
    ----------
    text : str
        A cell of which `finite` gives None.
    """
    if _DECIMAL_COMMA.fullmatch(text):
        return f"'{text}' has a comma; give one number with a decimal point, such as 0.5"
    return f"'{text}' is not a number; give one number with a decimal point"


def finite(text: str) -> float | None:
    """The finite number that a text is, None if it is none.

    Parameters
    ----------
    text : str
        A number with a decimal point, without unit; its minus may be the sign of that name, as in printed tables.
    """
    try:
        value = float(text.replace("−", "-"))
    except ValueError:
        return None
    return value if math.isfinite(value) and "_" not in text else None
