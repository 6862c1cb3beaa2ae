"""Sections of a page and their numbered exhibits. An exhibit shows the data frame that is exported beside it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import pandas as pd

from ranklsim.reports.layout.cells import Table, Text

FLOAT_FORMAT = "%.6g"
"""Digits of the exported numbers; figures are drawn from the same rounded frame."""


FORMULA = re.compile(r"\s*[=+\-@]")
"""How a text begins that a spreadsheet takes for a formula."""


def csv_text(frame: pd.DataFrame) -> str:
    """A frame as CSV with LF line ends. A text that a spreadsheet would run as a formula has an apostrophe before it.

    Parameters
    ----------
    frame : DataFrame
    """
    shown = frame.copy()
    for column in frame.columns:
        if frame[column].dtype.kind not in "biufcmM":
            shown[column] = [_inert(value) for value in frame[column]]
    return shown.to_csv(index=False, float_format=FLOAT_FORMAT, lineterminator="\n")


def _inert(value: object) -> object:
    """The value, or a text that begins like a formula and is no number, with an apostrophe before it."""
    if not isinstance(value, str) or not FORMULA.match(value) or re.fullmatch(r"[+-]?\d[\d.e+-]*", value.strip()):
        return value
    return f"'{value}"


@dataclass(frozen=True)
class Exhibit:
    """A table or figure.

    Attributes
    ----------
    kind : str
        "Table" or "Figure".
    number : str
        ICH E3 style, such as "14.2.1.1".
    title : str
        What is shown, without the number.
    frame : DataFrame
        The numbers: what is drawn or tabulated is made from it, and it is what the CSV holds.
    body : Table or str
        The cells of a table, or the SVG of a figure, made from `frame`; "" for a figure that `picture` draws, and where
        the study has nothing to show.
    footnote : str
        Method, population, source.
    headline : str
        One sentence computed from `frame`; empty for none.
    folded : bool
        Whether the page shows it on demand only.
    population : str
        The patients it is about, with their number; empty for none.
    picture : callable, optional
        Draws a figure when it is wanted, as "svg" or "png" (bytes).
    alt : str
        The text that a screen reader says for a figure.
    """

    kind: Literal["Table", "Figure"]
    number: str
    title: str
    frame: pd.DataFrame
    body: Table | str
    footnote: str
    headline: str = ""
    folded: bool = False
    population: str = ""
    picture: Callable[[str], bytes] | None = field(default=None, compare=False, repr=False)
    alt: str = ""

    @property
    def void(self) -> bool:
        """Whether it has nothing to show: no row, no drawing."""
        return not (self.body.lines() if isinstance(self.body, Table) else self.body or self.picture)

    @cached_property
    def svg(self) -> str:
        """The SVG of a figure, drawn once."""
        if isinstance(self.body, Table):
            raise TypeError(f"{self.kind} {self.number} is no figure")
        return self.body if self.picture is None else self.picture("svg").decode()

    @property
    def table(self) -> Table:
        """The cells of a table.

        Raises
        ------
        TypeError
            If the exhibit is a figure.
        """
        if not isinstance(self.body, Table):
            raise TypeError(f"{self.kind} {self.number} has no cells")
        return self.body

    @property
    def anchor(self) -> str:
        """Identifier inside the page, such as ``figure-14-2-1-1``."""
        return f"{self.kind.lower()}-{self.number.replace('.', '-')}"

    @property
    def stem(self) -> str:
        """File name without ending, such as ``figure-14.2.1.1-lumbar-spine-bmd``."""
        words = re.sub(r"[^a-z0-9]+", "-", self.title.lower().replace("µ", "u")).strip("-")
        return f"{self.kind.lower()}-{self.number}-{words[:60].strip('-')}"

    def csv(self) -> str:
        """The frame as CSV text with LF line ends."""
        return csv_text(self.frame)


@dataclass
class Section:
    """A section: heading, sentences, exhibits in order.

    `appendix` says that it stands behind the core of a report, `short` what the contents call it if not its title.
    """

    number: str
    title: str
    anchor: str
    level: int = 2
    paragraphs: list[Any] = field(default_factory=list)  # of Text; a list of str is one too
    exhibits: list[Exhibit] = field(default_factory=list)
    key: list[Text] = field(default_factory=list)
    appendix: bool = False
    short: str = ""

    @property
    def heading(self) -> str:
        """Number and title."""
        return f"{self.number} {self.title}".strip()
