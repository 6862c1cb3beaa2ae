"""A table of the report as cells, read from the HTML that the page shows: what Word and RTF are made from.

There is one text of every table, the body of its `layout.exhibit.Exhibit`; this module takes it apart, so
that no format can say anything else than the page.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

BREAK = "\n"
_SPACES = re.compile(r"[ \t\r\n]+")
_VOID = {"br"}
_SKIPPED = {"caption"}


@dataclass(frozen=True)
class Cell:
    """One cell: text (`BREAK` between lines), how many columns and rows it covers, and how it is set."""

    text: str
    columns: int = 1
    rows: int = 1
    head: bool = False
    right: bool = False


@dataclass(frozen=True)
class Row:
    """Cells that begin in this row, with the column at which each stands; `kind` is "row", "group" or "sum"."""

    cells: tuple[tuple[int, Cell], ...]
    kind: str = "row"


@dataclass(frozen=True)
class Grid:
    """A table: rows of the head, rows of the body, number of columns, and the rows at which a group begins."""

    head: tuple[Row, ...]
    body: tuple[Row, ...]
    columns: int
    starts: frozenset[int] = frozenset()

    def filled(self, rows: tuple[Row, ...] | None = None) -> list[list[str]]:
        """Text of every place, row by row of the body (or of `rows`): a cell's text stands where it begins."""
        out = []
        for row in self.body if rows is None else rows:
            line = [""] * self.columns
            for at, cell in row.cells:
                line[at] = cell.text
            out.append(line)
        return out


def read_grid(html: str) -> Grid:
    """The first ``<table>`` in `html`.

    Parameters
    ----------
    html : str
        As the functions of `ranklsim.reports.layout.tables` write it.

    Returns
    -------
    Grid

    Raises
    ------
    ValueError
        If there is no table, or cells of one row overlap.
    """
    reader = _Reader()
    reader.feed(html)
    reader.close()
    if not reader.rows:
        raise ValueError("no table in the HTML of an exhibit")
    head = tuple(_placed([raw for raw in reader.rows if raw.part == "thead"]))
    bodies: list[Row] = []
    starts = set()
    for number in sorted({raw.group for raw in reader.rows if raw.part != "thead"}):
        own = [raw for raw in reader.rows if raw.part != "thead" and raw.group == number]
        starts.add(len(bodies))
        bodies += _placed(own)
    columns = max(at + cell.columns for row in (*head, *bodies) for at, cell in row.cells)
    return Grid(head, tuple(bodies), columns, frozenset(starts))


def plain(html: object) -> str:
    """Text of a fragment of HTML, or text as it is if it holds no tag."""
    reader = _Reader()
    reader.feed(f"<table><tr><td>{html}</td></tr></table>")
    reader.close()
    return reader.rows[0].cells[0].text


@dataclass
class _Raw:
    part: str
    group: int
    kind: str
    cells: list[Cell] = field(default_factory=list)


def _placed(rows: list[_Raw]) -> Iterator[Row]:
    """Rows of one group with the column of each cell, given those that reach down from above."""
    taken: dict[int, int] = {}  # column -> rows for which it is still covered
    for raw in rows:
        at, cells = 0, []
        covered = {column for column, left in taken.items() if left > 0}
        taken = {column: left - 1 for column, left in taken.items() if left > 1}
        for cell in raw.cells:
            while at in covered:
                at += 1
            own = set(range(at, at + cell.columns))
            if own & covered:
                raise ValueError("cells of a table overlap")
            cells.append((at, cell))
            if cell.rows > 1:
                taken |= dict.fromkeys(own, cell.rows - 1)
            at += cell.columns
        yield Row(tuple(cells), raw.kind)


class _Reader(HTMLParser):
    """Collects the rows of the first table."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.rows: list[_Raw] = []
        self._part, self._group, self._done = "tbody", 0, False
        self._skip = 0
        self._cell: dict[str, str | None] | None = None
        self._head = False
        self._text: list[str] = []
        self._open: list[str] = []  # what an inline element adds when it ends

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        css = (found.get("class") or "").split()
        if self._done:
            return
        if tag in _SKIPPED:
            self._skip += 1
        elif tag in ("thead", "tbody"):
            self._part, self._group = tag, self._group + 1
        elif tag == "tr":
            kind = next((name for name in ("group", "sum") if name in css), "row")
            self.rows.append(_Raw(self._part, self._group, kind))
        elif tag in ("th", "td"):
            self._cell, self._head, self._text, self._open = found, tag == "th", [], []
        elif self._cell is not None:
            self._inline(tag, css)

    def _inline(self, tag: str, css: list[str]) -> None:
        if tag == "br":
            self._text.append(BREAK)
        elif tag == "li":
            self._text.append(f"{BREAK}• ")
        elif tag in ("p", "ul", "ol", "div"):
            self._text.append(BREAK)
        if tag not in _VOID:
            # A coloured label stands apart from the words before it; without colour, brackets say so.
            label = tag == "span" and "tag" in css
            self._text.append(" [" if label else " " if "note" in css else "")
            self._open.append("] " if label else "")

    def handle_endtag(self, tag: str) -> None:
        if self._done:
            return
        if tag in _SKIPPED:
            self._skip -= 1
        elif tag in ("th", "td") and self._cell is not None:
            numeric = "num" in (self._cell.get("class") or "").split()
            self.rows[-1].cells.append(
                Cell(
                    _tidy("".join(self._text)),
                    int(self._cell.get("colspan") or 1),
                    int(self._cell.get("rowspan") or 1),
                    self._head,
                    numeric,
                )
            )
            self._cell = None
        elif tag == "table":
            self._done = True
        elif self._cell is not None and tag not in _VOID and self._open:
            self._text.append(self._open.pop())

    def handle_data(self, data: str) -> None:
        if self._cell is not None and not self._skip and not self._done:
            self._text.append(_SPACES.sub(" ", data))


def _tidy(text: str) -> str:
    """Lines without space at their ends, and none that is empty."""
    lines = (re.sub(r" {2,}", " ", line).strip(" ") for line in text.split(BREAK))
    return BREAK.join(line for line in lines if line)
