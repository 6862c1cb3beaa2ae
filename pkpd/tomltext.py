"""The line on which each value of a TOML text stands, and what is wrong with a text that is no TOML.

The standard library parses TOML but keeps no positions, so a fault found later (a dose without unit, an unknown
agent) could not say where it is. `locate` finds the line of any key or array element in the text that was parsed.
"""

from __future__ import annotations

import json
import re
import tomllib
from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache

Key = tuple[str | int, ...]
"""Keys and array positions from the top of a file, such as ``("arm", 1, "regimen", 0, "dose")``."""

MOST_DEPTH = 20
"""Tables and arrays within each other; files of ranklsim need 6."""

_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_BARE_VALUE = re.compile(r"[^,\]}\n#]+")
_STRINGS = (
    re.compile(r'"""(?:[^\\]|\\.)*?"{3,5}', re.DOTALL),
    re.compile(r"'''.*?'{3,5}", re.DOTALL),
    re.compile(r'"(?:[^"\\\n]|\\.)*"'),
    re.compile(r"'[^'\n]*'"),
)
_AT_LINE = re.compile(r"\s*\(at line (\d+), column (\d+)\)$")
_AT_END = re.compile(r"\s*\(at end of document\)$")


def locate(text: str, path: Sequence[str | int]) -> int:
    """Line of the text, counted from 1, on which the value at `path` is defined.

    Parameters
    ----------
    text : str
        TOML text. Where it is not valid TOML, what comes before the first fault is still found.
    path : sequence of str and int
        Keys and array positions from the top, such as ``("arm", 1, "regimen", 0, "dose")``.

    Returns
    -------
    int
        The line. If the text does not hold the path (a field that is missing), the line where the innermost
        table or array that it does hold begins; 0 if it holds not even the first key.
    """
    lines = lines_of(text)
    wanted = tuple(path)
    for length in range(len(wanted), 0, -1):
        if wanted[:length] in lines:
            return lines[wanted[:length]]
    return 0


def quoted(text: str) -> str:
    """Text as a TOML basic string, which for text without control characters is that of JSON.

    Parameters
    ----------
    text : str
    """
    return json.dumps(text, ensure_ascii=False)


def explain_syntax(name: str, text: str, fault: str) -> str:
    """The fault of a text that is not TOML, in a sentence that begins with file and line.

    Parameters
    ----------
    name, text : str
        What to call the file, and its text.
    fault : str
        What the standard library's parser says.
    """
    line, column = text.count("\n") + 1, 0
    if at := _AT_LINE.search(fault):
        line, column = int(at[1]), int(at[2])
    reason = _AT_END.sub("", _AT_LINE.sub("", fault))
    rows = text.split("\n")
    row = rows[line - 1].rstrip("\r") if line <= len(rows) else ""
    at_text = f", column {column} of `{row.strip()}`" if column and row.strip() else ""
    hint = "; check the quotes, brackets and equals signs of that line and of the one before"
    if "overwrite" in reason or "twice" in reason or "duplicate" in reason.lower():
        hint = "; remove one of the two definitions of the same key"
    elif re.search(r"[=,\[{]\s*[+-]?[\d.]+\s*[A-Za-zµμ%]", row) or re.search(r"=\s*[A-Za-z]", row):
        hint = '; text and quantities stand in quotes, such as "60 mg"'
    return f"{name}:{line}: this is not valid TOML ({reason}{at_text}){hint}."


@lru_cache(maxsize=32)
def lines_of(text: str) -> dict[Key, int]:
    """Line of every key and array element of a TOML text; `TooDeep` if they nest more than `MOST_DEPTH` deep.

    Parameters
    ----------
    text : str
        Content of a TOML file that `tomllib` can read.
    """
    scanner = _Scanner(text.removeprefix("\ufeff"))
    try:
        scanner.document()
    except _StopScan:
        pass  # the parser has its own words for what is wrong here; positions up to this point are right
    return scanner.lines


class TooDeep(Exception):
    """Tables and arrays are nested deeper than any file needs."""


class _StopScan(Exception):
    """The text stops being TOML here."""


class _Scanner:
    """Walks through TOML text and notes where each key and each array element begins."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[Key, int] = {}
        self._breaks = [i for i, character in enumerate(text) if character == "\n"]
        self._tables_of: dict[Key, int] = {}  # arrays of tables: how many tables so far

    def document(self) -> None:
        table: Key = ()
        while True:
            self._skip(_BLANK)
            if self.at >= len(self.text):
                return
            if self._peek("[["):
                table = self._array_header()
            elif self._peek("["):
                table = self._table_header()
            else:
                self._pair(table)

    def _array_header(self) -> Key:
        start = self.at
        self._expect("[[")
        keys = self._keys()
        self._expect("]]")
        parent = self._resolve(keys[:-1], start)
        array = (*parent, keys[-1])
        index = self._tables_of.get(array, 0)
        self._tables_of[array] = index + 1
        self._note(array, start)
        self._note((*array, index), start)
        return (*array, index)

    def _table_header(self) -> Key:
        start = self.at
        self._expect("[")
        keys = self._keys()
        self._expect("]")
        table = self._resolve(keys, start)
        self.lines[table] = self._line(start)  # the header itself, even if a table inside it came first
        return table

    def _resolve(self, keys: list[str], start: int) -> Key:
        """Absolute path of a header's keys: a key that names an array of tables means its last table."""
        path: Key = ()
        for key in keys:
            path = (*path, key)
            self._note(path, start)
            if path in self._tables_of:
                path = (*path, self._tables_of[path] - 1)
        return path

    def _pair(self, table: Key) -> None:
        start = self.at
        path = table
        for key in self._keys():
            path = (*path, key)
            self._note(path, start)
        self._expect("=")
        self._value(path)

    def _value(self, path: Key) -> None:
        self._skip(_SPACE)
        if self._peek("["):
            self._expect("[")
            index = 0
            while not self._closes("]"):
                self._note((*path, index), self.at)
                self._value((*path, index))
                index += 1
                self._separator("]")
        elif self._peek("{"):
            self._expect("{")
            while not self._closes("}"):
                self._pair(path)
                self._separator("}")
        elif not self._string():
            if not (bare := _BARE_VALUE.match(self.text, self.at)):
                raise _StopScan
            self.at = bare.end()

    def _closes(self, bracket: str) -> bool:
        self._skip(_BLANK)
        if self.at >= len(self.text):
            raise _StopScan
        if self._peek(bracket):
            self.at += 1
            return True
        return False

    def _separator(self, bracket: str) -> None:
        self._skip(_BLANK)
        if self._peek(","):
            self.at += 1
        elif not self._peek(bracket):
            raise _StopScan

    def _keys(self) -> list[str]:
        keys: list[str] = []
        while True:
            self._skip(_SPACE)
            start = self.at
            if len(keys) > MOST_DEPTH:
                raise TooDeep
            if bare := _BARE_KEY.match(self.text, self.at):
                self.at = bare.end()
                keys.append(bare[0])
            elif self._string():
                keys.append(_unquote(self.text[start : self.at]))
            else:
                raise _StopScan
            self._skip(_SPACE)
            if not self._peek("."):
                return keys
            self.at += 1

    def _string(self) -> bool:
        for string in _STRINGS:
            if found := string.match(self.text, self.at):
                self.at = found.end()
                return True
        return False

    def _peek(self, what: str) -> bool:
        return self.text.startswith(what, self.at)

    def _expect(self, what: str) -> None:
        self._skip(_SPACE)
        if not self._peek(what):
            raise _StopScan
        self.at += len(what)

    def _skip(self, what: re.Pattern[str]) -> None:
        if found := what.match(self.text, self.at):
            self.at = found.end()

    def _line(self, position: int) -> int:
        return bisect_right(self._breaks, position - 1) + 1

    def _note(self, path: Key, position: int) -> None:
        if len(path) > MOST_DEPTH:
            raise TooDeep
        self.lines.setdefault(path, self._line(position))


def _unquote(key: str) -> str:
    """A quoted key as the parser reads it."""
    try:
        return next(iter(tomllib.loads(f"{key} = 0")))
    except tomllib.TOMLDecodeError:
        raise _StopScan from None
