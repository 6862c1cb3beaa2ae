"""The contents of the report: each section is filled by the function that is registered for its number of ICH E3."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ranklsim.cohorts.words import listed
from ranklsim.reports.csr.context import Context
from ranklsim.reports.layout.exhibit import Section

Fill = Callable[[Context, Section], None]

_FILLS: dict[tuple[int, ...], tuple[Callable[[], Section], Fill]] = {}
"""Number of a section to its heading and to the function that fills it."""


def report_section(number: str, title: str, anchor: str, *, level: int = 0) -> Callable[[Fill], Fill]:
    """Register the function that fills a section of the report.

    Parameters
    ----------
    number, title : str
        As in ICH E3. Sections stand in the order of their numbers.
    anchor : str
        Identifier inside the page.
    level : int
        Level of the heading in HTML; by default it follows from the number.

    Returns
    -------
    callable
        A decorator, which leaves the function as it is.
    """
    places = tuple(map(int, number.split(".")))

    def register(fill: Fill) -> Fill:
        _FILLS[places] = (partial(Section, number, title, anchor, level or len(places) + 1), fill)
        return fill

    return register


def compose(c: Context) -> list[Section]:
    """All sections of one report, in order. An exhibit without content is left out, and a sentence says so.

    Parameters
    ----------
    c : Context

    Returns
    -------
    list of Section
    """
    sections = []
    for _, (empty, fill) in sorted(_FILLS.items(), key=lambda item: item[0]):
        section = empty()
        fill(c, section)
        void = [f"{exhibit.kind} {exhibit.number} ({exhibit.title})" for exhibit in section.exhibits if exhibit.void]
        if void:
            section.exhibits = [exhibit for exhibit in section.exhibits if not exhibit.void]
            section.paragraphs.append(f"Left out, since this trial has no value to show there: {listed(void)}.")
        sections.append(section)
    return sections


for _number, _title, _anchor in (
    ("10", "Trial patients", "patients"),
    ("11", "Efficacy", "efficacy"),
    ("11.4", "Efficacy results", "results"),
    ("11.4.2", "Statistical and analytical issues", "issues"),
):
    report_section(_number, _title, _anchor)(lambda _c, _section: None)  # a heading alone
