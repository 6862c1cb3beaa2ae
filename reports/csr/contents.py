"""The contents of the report: each section is filled by the function that is registered for its number of ICH E3."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from ranklsim.cohorts.words import listed
from ranklsim.reports.csr.context import Context
from ranklsim.reports.layout.cells import Span, Text
from ranklsim.reports.layout.exhibit import Exhibit, Section

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
        Level of the heading among the appendices, 2 for the highest; by default it follows from the number.

    Returns
    -------
    callable
        A decorator, which leaves the function as it is.
    """
    places = tuple(map(int, number.split(".")))

    def register(fill: Fill) -> Fill:
        _FILLS[places] = (partial(Section, number, title, anchor, (level or len(places) + 1) + 1, appendix=True), fill)
        return fill

    return register


class Behind:
    """The sections that stand behind the core, from which the core takes exhibits."""

    def __init__(self, sections: Sequence[Section]) -> None:
        self.sections = sections

    def take(self, kind: str, *numbers: str) -> list[Exhibit]:
        """Exhibits, which then stand in the core only; a link in their section leads there.

        Parameters
        ----------
        kind : str
            "Table" or "Figure".
        *numbers : str
            Those that the trial does not have are left out.
        """
        taken = []
        for number in numbers:
            for section in self.sections:
                for exhibit in [e for e in section.exhibits if (e.kind, e.number) == (kind, number)]:
                    section.exhibits.remove(exhibit)
                    words = Span(f"{kind} {number}", "link", f"#{exhibit.anchor}")
                    section.paragraphs.append((words, f" ({exhibit.title}) stands in the core of the report."))
                    taken.append(exhibit)
        return taken

    def said(self, number: str) -> list[Text]:
        """What a section says before its exhibits.

        Parameters
        ----------
        number : str
            Number of the section.
        """
        return [text for s in self.sections if s.number == number for text in s.paragraphs if isinstance(text, str)]


Part = Callable[[Context, Section, Behind], None]

_CORE: list[tuple[str, str, tuple[str, ...], Part]] = []


def core_part(title: str, anchor: str, *sources: str) -> Callable[[Part], Part]:
    """Register the function that fills a part of the core; parts stand in the order in which they are registered.

    Parameters
    ----------
    title, anchor : str
        Heading, and identifier inside the page.
    *sources : str
        Numbers of the sections from which it takes exhibits.

    Returns
    -------
    callable
        A decorator, which leaves the function as it is.
    """

    def register(fill: Part) -> Part:
        _CORE.append((title, anchor, sources, fill))
        return fill

    return register


def compose(c: Context, *, brief: bool = False, begin: Callable[[Sequence[Exhibit]], object] = len) -> list[Section]:
    """All sections of one report: the core, then the appendices by number.

    An exhibit without content is left out, and a sentence says so.

    Parameters
    ----------
    c : Context
    brief : bool
        Whether the core stands alone.
    begin : callable, optional
        Is told of exhibits as soon as it is certain that they stand in the report.

    Returns
    -------
    list of Section
    """
    needed = {number for _, _, sources, _ in _CORE for number in sources}
    behind = []
    # From the last section on: few of its figures need an analysis, so that painters begin while analyses are made.
    for _, (empty, fill) in sorted(_FILLS.items(), key=lambda item: item[0], reverse=True):
        section = empty()
        if brief and section.number not in needed:
            continue
        fill(c, section)
        _leave_out_void(section)
        behind.append(section)
        if not brief:
            begin(section.exhibits)
    behind.reverse()
    core, pool = [], Behind(behind)
    for title, anchor, _, part in _CORE:
        core.append(Section("", title, anchor))
        part(c, core[-1], pool)
        _leave_out_void(core[-1])
        begin(core[-1].exhibits)
    core = [section for section in core if section.paragraphs or section.exhibits or section.key]
    return core if brief else [*core, Section("", "Appendices", "appendices", paragraphs=[_NUMBERED]), *behind]


def _leave_out_void(section: Section) -> None:
    """Take exhibits without content out of a section, and say so."""
    void = [f"{exhibit.kind} {exhibit.number} ({exhibit.title})" for exhibit in section.exhibits if exhibit.void]
    if void:
        section.exhibits = [exhibit for exhibit in section.exhibits if not exhibit.void]
        section.paragraphs.append(f"Left out, since this trial has no value to show there: {listed(void)}.")


_NUMBERED = (
    "Sections and numbers follow ICH E3. Each section opens on a click. A table or figure that stands in the core is "
    "not repeated."
)


for _number, _title, _anchor in (
    ("9", "Investigational plan", "plan"),
    ("10", "Trial patients", "patients"),
    ("11", "Efficacy", "efficacy"),
    ("11.4", "Efficacy results", "results"),
    ("11.4.2", "Statistical and analytical issues", "issues"),
):
    report_section(_number, _title, _anchor)(lambda _c, _section: None)  # a heading alone
