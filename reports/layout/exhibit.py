"""A numbered exhibit of the report: one data frame that is shown and exported, so that the two cannot differ."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

import pandas as pd

FLOAT_FORMAT = "%.6g"
"""Digits of the exported numbers; figures are drawn from the same rounded frame."""


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
    body : str
        SVG or HTML made from `frame`.
    footnote : str
        Method, population, source; HTML.
    headline : str
        One sentence computed from `frame`, HTML; empty for none.
    folded : bool
        Whether the page shows it on demand only.
    population : str
        Whom it is about, with their number; empty for nobody.
    redraw : callable, optional
        Draws a figure again and gives the same `body`: for formats that need it as a picture
        (`ranklsim.reports.figures.drawing.pictures`).
    alt : str
        What a figure says to those who don't see it.
    """

    kind: str
    number: str
    title: str
    frame: pd.DataFrame
    body: str
    footnote: str
    headline: str = ""
    folded: bool = False
    population: str = ""
    redraw: Callable[[], str] | None = field(default=None, compare=False, repr=False)
    alt: str = ""

    @property
    def anchor(self) -> str:
        """Identifier inside the page, such as ``figure-14-2-1-1``."""
        return f"{self.kind.lower()}-{self.number.replace('.', '-')}"

    @property
    def stem(self) -> str:
        """File name without ending, such as ``figure-14.2.1.1-lumbar-spine-bmd``."""
        words = re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")
        return f"{self.kind.lower()}-{self.number}-{words[:60].strip('-')}"

    def csv(self) -> str:
        """The frame as CSV text with LF line ends."""
        return self.frame.to_csv(index=False, float_format=FLOAT_FORMAT, lineterminator="\n")
