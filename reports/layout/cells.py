"""Tables as typed cells. `layout.html`, `layout.word` and `layout.rtf` write them; nothing parses what these wrote.

A text is a string, a `Span` with an emphasis, `Bullets`, or a tuple of such pieces. A line feed begins a new line, and
a zero-width space marks where a long word may be broken.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Style = Literal["strong", "code", "note", "size", "tag", "swatch", "link"]
Kind = Literal["body", "group", "sum", "unknown"]
Look = Literal["arms", "arms narrow", "listing", "synopsis"]
Text: TypeAlias = "str | Span | Bullets | tuple[Text, ...]"
Record: TypeAlias = "Mapping[str, object]"

ONE_LINE = 26
"""Characters. A cell of at most this length stays on one line."""


@dataclass(frozen=True)
class Span:
    """Text with an emphasis; `target` is the colour of a swatch, the class of a tag, or the address of a link."""

    text: str
    style: Style
    target: str = ""


@dataclass(frozen=True)
class Bullets:
    """A list of items."""

    items: tuple[Text, ...]


@dataclass(frozen=True)
class Cell:
    """The text of a cell, with the raw `values` that it shows and the names of their columns in the frame."""

    text: Text
    values: tuple[object, ...] = ()
    measures: tuple[str, ...] = ()


@dataclass(frozen=True)
class Row:
    """A row of cells; `record` is the row of the exported frame that a row of a listing was made from."""

    cells: tuple[Cell, ...]
    kind: Kind = "body"
    record: Record = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True)
class Group:
    """Rows under one title; `key` is the value of the frame's column that they have in common."""

    rows: tuple[Row, ...]
    title: Text = ""
    key: object = None


@dataclass(frozen=True)
class Column:
    """A column: its head, its arm, whether it is set flush right, and its width in percent (0: by content)."""

    head: Text
    arm: str = ""
    right: bool = False
    width: int = 0


@dataclass(frozen=True)
class Line:
    """A row as plain text by column. None continues the cell above; a single text spans all columns.

    `begins` and `ends` mark the first and the last line of a group of `size` lines.
    """

    kind: Kind
    texts: tuple[str | None, ...]
    begins: bool
    ends: bool
    size: int


@dataclass(frozen=True)
class Table:
    """Columns and groups of rows. The titles of groups stand in the first column (`beside`) or in rows of their own."""

    columns: tuple[Column, ...]
    groups: tuple[Group, ...]
    look: Look
    beside: bool = False

    @property
    def heads(self) -> tuple[str, ...]:
        """Heads of the columns as plain text; empty where no column has one."""
        heads = tuple(plain(column.head) for column in self.columns)
        return heads if any(heads) else ()

    def lines(self) -> list[Line]:
        """The body as plain text, line by line."""
        out = []
        for group in self.groups:
            title = plain(group.title)
            own: list[tuple[Kind, tuple[str | None, ...]]] = []
            if title and not self.beside:
                own.append(("group", (title,)))
            for k, row in enumerate(group.rows):
                lead = () if not self.beside else (title,) if k == 0 else (None,)
                own.append((row.kind, (*lead, *(plain(cell.text) for cell in row.cells))))
            size = len(own)
            out += [Line(kind, texts, k == 0, k == size - 1, size) for k, (kind, texts) in enumerate(own)]
        return out

    def widths(self) -> list[float]:
        """Relative widths of the columns (sum 1), from the longest word and the median length of their texts."""
        lines = [line.texts for line in self.lines() if line.kind != "group"]
        wanted = []
        for k in range(len(self.columns)):
            body = [part for texts in lines if (text := texts[k]) is not None for part in text.split("\n")]
            head = self.heads[k].split("\n") if self.heads else []
            word = max((len(word) for text in (*head, *body) for word in text.split()), default=1)
            longest, usual = max(map(len, body), default=1), sorted(map(len, body))[len(body) // 2] if body else 1
            fits = longest if longest <= ONE_LINE else max(ONE_LINE, usual, longest / 3)
            wanted.append(min(max(word + 3.0, fits + 1.0), 48.0))
        return [width / sum(wanted) for width in wanted]


def plain(text: Text) -> str:
    """The text without emphasis. Tags are put in brackets, items behind bullets, and empty lines are left out.

    Parameters
    ----------
    text : Text
        Spans with their emphasis, or a str.
    """
    lines = (re.sub(r"[ \t]{2,}", " ", line).strip(" ") for line in _pieces(text).split("\n"))
    return "\n".join(line for line in lines if line)


def _pieces(text: Text) -> str:
    match text:
        case str():
            return text.replace("\u200b", "")
        case Span(style="tag"):
            return f" [{text.text}] "
        case Span(style="note"):
            return f" {text.text}"
        case Span():
            return text.text
        case Bullets():
            return "".join(f"\n• {_pieces(item)}" for item in text.items)
        case _:
            return "".join(_pieces(piece) for piece in text)


def code(text: object) -> Span:
    """A symbol, a file name or a hash.

    Parameters
    ----------
    text : object
        It is shown as `str` writes it.
    """
    return Span(str(text), "code")


def tag(word: str, look: str = "") -> Span:
    """A small label, coloured by `look`, or else by its first word.

    Parameters
    ----------
    word : str
    look : str
        Class of the page's style, such as "predicted"; the first word by default.
    """
    return Span(word, "tag", look or word.split()[0])


def listing(
    rows: Sequence[Record],
    *,
    records: Sequence[Record] = (),
    numeric: Sequence[str] = (),
    group: str | None = None,
    widths: Sequence[int] = (),
) -> Table:
    """A table of rows. The keys of the first row are the heads of the columns; the first column is the head of its row.

    Parameters
    ----------
    rows : sequence of mapping
        Head to `Cell`, text or number, for each row.
    records : sequence of mapping
        The row of the exported frame behind each row, where known.
    numeric : sequence of str
        Heads of the columns that are set flush right.
    group : str, optional
        Head whose value stands over rows that follow each other with the same one, not in a column.
    widths : sequence of int
        Widths of the columns in percent, where their text should not decide.

    Returns
    -------
    Table
    """
    heads = [head for head in rows[0] if head != group]
    columns = [
        Column(head, right=head in numeric, width=width)
        for head, width in zip(heads, widths or [0] * len(heads), strict=True)
    ]
    groups: list[tuple[str, list[Row]]] = []
    for k, row in enumerate(rows):
        title = "" if group is None else str(row[group])
        if not groups or groups[-1][0] != title:
            groups.append((title, []))
        cells = tuple(_cell(row[head]) for head in heads)
        groups[-1][1].append(Row(cells, record=records[k] if records else {}))
    made = tuple(Group(tuple(own), title, title or None) for title, own in groups)
    return Table(tuple(columns), made, "listing")


_INTERVAL = re.compile(r"\([-−<>.\d]+%?, [-−<>.\d]+%?\)")


def unbroken(text: str) -> str:
    """A text whose intervals, such as ``(1.2, 3.4)``, stay on one line.

    Parameters
    ----------
    text : str
        Text of a cell.
    """
    return _INTERVAL.sub(lambda found: found[0].replace(", ", ",\u00a0"), text)


def _cell(shown: object) -> Cell:
    match shown:
        case Cell():
            return shown
        case str():
            return Cell(unbroken(shown))
        case Span() | Bullets() | tuple():
            return Cell(shown)
        case _:
            return Cell(str(shown), (shown,))
