"""The figures of a report as slides: a sentence as the title, the figure, where it comes from.

Made by python-pptx, an extra of the installation; the same run gives the same bytes.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ranklsim.pkpd.errors import BadInput
from ranklsim.reports.layout.cells import plain
from ranklsim.reports.layout.exhibit import Exhibit, Section
from ranklsim.reports.layout.word import PROPERTY, without_dates

WIDE, HIGH, MARGIN = 13.333, 7.5, 0.5
"""Inches of a slide of 16 to 9, and of its margins."""
TITLE = 2
"""Lines of a title, at most."""
LINE = 95
"""Characters of a line of a title."""


def write_slides(path: Path, title: str, meta: str, footer: str, started: str, sections: Sequence[Section]) -> None:
    """Write the figures of the core as slides; the first slide has the question and the answer.

    Parameters
    ----------
    path : Path
        File to write, ``.pptx``.
    title, meta : str
        Title of the report, and what stands below it.
    footer : str
        At the foot of every slide.
    started : str
        When the run was started (ISO 8601): the date of the file.
    sections : sequence of Section
        Those of the report; appendices are left out.

    Raises
    ------
    BadInput
        If python-pptx is not installed.
    """
    try:
        from pptx import Presentation
        from pptx.util import Inches
    except ImportError:
        raise BadInput("slides need python-pptx; `pip install 'ranklsim[slides]'` brings it.") from None
    deck = Presentation()
    deck.slide_width, deck.slide_height = Inches(WIDE), Inches(HIGH)
    core = [section for section in sections if not section.appendix]
    first = core[0]
    slide = _slide(deck, first.title, footer)
    _text(slide, f"{title}\n{meta}", (MARGIN, 1.5), 14, soft=True)
    _text(slide, "\n".join(plain(text) for text in first.key), (MARGIN, 2.4), 20)
    for figure in (e for section in core for e in section.exhibits if e.kind == "Figure"):
        _figure(deck, figure, footer)
    when = datetime.fromisoformat(started).astimezone(UTC).replace(tzinfo=None)
    said = deck.core_properties
    said.title, said.author, said.last_modified_by = title[:PROPERTY], "ranklsim", "ranklsim"
    said.subject, said.comments = "Simulated trial report", "Simulated data: no patient was treated."
    said.created = said.modified = when
    said.revision = 1
    buffer = io.BytesIO()
    deck.save(buffer)
    path.write_bytes(without_dates(buffer.getvalue()))


def sentence(exhibit: Exhibit) -> str:
    """The title of a figure's slide: what it shows in a sentence, or its title where nothing was computed.

    Parameters
    ----------
    exhibit : Exhibit
    """
    text = exhibit.headline or exhibit.title
    return text if text.endswith((".", "?", "!")) else f"{text}."


def _slide(deck: Any, title: str, footer: str) -> Any:
    """A new slide with a title and the mark that data are simulated."""
    slide = deck.slides.add_slide(deck.slide_layouts[5])  # title only
    shape = slide.shapes.title
    from pptx.enum.text import MSO_ANCHOR, PP_ALIGN
    from pptx.util import Inches, Pt

    shape.left, shape.top, shape.width, shape.height = (
        Inches(MARGIN), Inches(0.25), Inches(WIDE - 2 * MARGIN), Inches(1.2)
    )  # fmt: skip
    frame = shape.text_frame
    frame.word_wrap, frame.vertical_anchor = True, MSO_ANCHOR.TOP
    frame.text = title
    paragraph = frame.paragraphs[0]
    paragraph.alignment = PP_ALIGN.LEFT
    paragraph.font.size, paragraph.font.bold = Pt(26 if len(title) <= TITLE * LINE * 0.75 else 18), True
    _text(slide, f"Simulated data. {footer}", (MARGIN, HIGH - 0.45), 10, soft=True)
    return slide


def _text(slide: Any, text: str, at: tuple[float, float], size: int, *, soft: bool = False) -> None:
    from pptx.dml.color import RGBColor
    from pptx.util import Inches, Pt

    box = slide.shapes.add_textbox(Inches(at[0]), Inches(at[1]), Inches(WIDE - 2 * MARGIN), Inches(0.4))
    frame = box.text_frame
    frame.word_wrap = True
    for k, line in enumerate(text.split("\n")):
        paragraph = frame.paragraphs[0] if k == 0 else frame.add_paragraph()
        paragraph.text, paragraph.font.size = line, Pt(size)
        paragraph.font.color.rgb = RGBColor(0x52, 0x60, 0x6D) if soft else RGBColor(0x1F, 0x29, 0x33)
        paragraph.space_after = Pt(size / 2)


def _figure(deck: Any, exhibit: Exhibit, footer: str) -> None:
    """A slide with one figure as large as fits, its footnote among the notes."""
    from pptx.util import Inches

    if exhibit.picture is None:
        raise ValueError(f"Figure {exhibit.number} can't be drawn as a picture")
    slide = _slide(deck, sentence(exhibit), footer)
    picture = slide.shapes.add_picture(io.BytesIO(exhibit.picture("png")), 0, 0)
    room = Inches(WIDE - 2 * MARGIN), Inches(HIGH - 1.55 - 0.5)
    scale = min(room[0] / picture.width, room[1] / picture.height)
    picture.width, picture.height = int(picture.width * scale), int(picture.height * scale)
    picture.left, picture.top = int((Inches(WIDE) - picture.width) / 2), Inches(1.5)
    said = picture._element.nvPicPr.cNvPr
    said.set("descr", exhibit.alt)
    said.set("title", f"Figure {exhibit.number} {exhibit.title}")
    slide.notes_slide.notes_text_frame.text = f"Figure {exhibit.number} {exhibit.title}. {exhibit.footnote}"
