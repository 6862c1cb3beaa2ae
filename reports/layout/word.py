"""The report as a Word document: real headings, captions with numbers, tables that can be edited, figures that speak.

Made by python-docx from the same sections and exhibits as the page. Tables are taken from the page's own text
(`ranklsim.reports.layout.grid`), figures are drawn again as pictures. The same run gives the same bytes.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from docx import Document
from docx.enum.section import WD_ORIENT, WD_SECTION
from docx.enum.style import WD_STYLE_TYPE
from docx.oxml import OxmlElement, parse_xml
from docx.oxml.ns import nsdecls, qn
from docx.shared import Cm, Emu, Pt, RGBColor

from ranklsim.reports.csr.context import Section
from ranklsim.reports.figures.drawing import pictures
from ranklsim.reports.layout.exhibit import Exhibit
from ranklsim.reports.layout.grid import Grid, Row, plain, read_grid
from ranklsim.reports.layout.rtf_tables import column_widths

PAGE = (Cm(21.0), Cm(29.7))
MARGIN = Cm(2.0)
KEPT = 8
"""Rows of a group that stays on one page."""
WIDE = 8
"""More columns than this stand on a page of their own that is turned."""

INK, SOFT = RGBColor(0x1F, 0x29, 0x33), RGBColor(0x52, 0x60, 0x6D)
FONT = "Calibri"
_TWIPS = 635  # EMU


def write_word(path: Path, title: str, meta: str, footer: str, started: str, sections: Sequence[Section]) -> None:
    """Write the report as a Word document.

    Parameters
    ----------
    path : Path
        File to write, ``.docx``.
    title, meta : str
        Title of the report, and what stands below it.
    footer : str
        At the foot of every page, before its number.
    started : str
        When the run was started (ISO 8601): the document's date.
    sections : sequence of Section
    """
    document = Document()
    _styles(document)
    _page(document.sections[0])
    _properties(document, title, started)
    document.add_paragraph(title, style="Title")
    document.add_paragraph(meta, style="Subtitle")
    _contents(document, "Contents", r'TOC \o "1-3" \h \z \u', [f"{s.number} {s.title}" for s in sections])
    every = [exhibit for section in sections for exhibit in section.exhibits]
    for kind in ("Table", "Figure"):
        lines = [f"{kind} {e.number} {e.title}" for e in every if e.kind == kind]
        if lines:
            _contents(document, f"List of {kind.lower()}s", rf'TOC \h \z \c "{kind}"', lines)
    _foot(document.sections[0], footer)
    for section in sections:
        _add_section(document, section)
    buffer = io.BytesIO()
    document.save(buffer)
    path.write_bytes(_without_dates(buffer.getvalue()))


# -- document ----------------------------------------------------------------------------------------------------------


def _styles(document: Any) -> None:
    styles = document.styles
    normal = styles["Normal"]
    normal.font.name, normal.font.size = FONT, Pt(10.5)
    normal.element.rPr.rFonts.set(qn("w:eastAsia"), FONT)
    normal.paragraph_format.space_after = Pt(6)
    for name, size in (
        ("Title", 20),
        ("Subtitle", 10),
        ("Heading 1", 16),
        ("Heading 2", 13),
        ("Heading 3", 11.5),
        ("Heading 4", 10.5),
    ):
        style = styles[name]
        style.font.name, style.font.size, style.font.color.rgb = FONT, Pt(size), INK
        style.font.italic = False
        for theme in ("w:asciiTheme", "w:hAnsiTheme", "w:eastAsiaTheme", "w:cstheme"):
            style.element.rPr.rFonts.attrib.pop(qn(theme), None)  # else the theme's font wins over the name
    caption = styles["Caption"]
    caption.font.name, caption.font.size, caption.font.color.rgb, caption.font.bold = FONT, Pt(10.5), INK, True
    caption.paragraph_format.keep_with_next = True
    caption.paragraph_format.space_before = Pt(12)
    for name, size in (("Table Text", 8), ("Table Note", 8), ("Basis", 8.5)):
        style = styles.add_style(name, WD_STYLE_TYPE.PARAGRAPH)
        style.base_style = normal
        style.font.size = Pt(size)
        style.paragraph_format.space_after = Pt(0 if name == "Table Text" else 8)
        style.paragraph_format.space_before = Pt(3 if name == "Table Note" else 0)
    styles["Basis"].font.color.rgb = SOFT


def _page(section: Any, turned: bool = False) -> None:
    short, long = PAGE
    section.orientation = WD_ORIENT.LANDSCAPE if turned else WD_ORIENT.PORTRAIT
    section.page_width, section.page_height = (long, short) if turned else (short, long)
    section.left_margin = section.right_margin = section.top_margin = section.bottom_margin = MARGIN


def _properties(document: Any, title: str, started: str) -> None:
    when = datetime.fromisoformat(started).astimezone(UTC).replace(tzinfo=None)
    said = document.core_properties
    said.title, said.author, said.subject, said.language = title, "ranklsim", "Simulated trial report", "en"
    said.created = said.modified = when
    said.last_modified_by, said.comments, said.revision = "ranklsim", "Simulated data: no patient was treated.", 1


def _foot(section: Any, text: str) -> None:
    paragraph = section.footer.paragraphs[0]
    paragraph.style = "Basis"
    paragraph.add_run(f"{text}  Page ")
    _field(paragraph, "PAGE", "1")


def _without_dates(content: bytes) -> bytes:
    """The archive with every member dated alike, so that the same run gives the same bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            member = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            member.compress_type, member.external_attr = zipfile.ZIP_DEFLATED, 0o600 << 16
            target.writestr(member, source.read(name))
    return out.getvalue()


# -- fields ------------------------------------------------------------------------------------------------------------


def _mark(kind: str, dirty: bool = False) -> Any:
    run, mark = OxmlElement("w:r"), OxmlElement("w:fldChar")
    mark.set(qn("w:fldCharType"), kind)
    if dirty:
        mark.set(qn("w:dirty"), "true")
    run.append(mark)
    return run


def _instruction(text: str) -> Any:
    run, words = OxmlElement("w:r"), OxmlElement("w:instrText")
    words.set(qn("xml:space"), "preserve")
    words.text = f" {text} "
    run.append(words)
    return run


def _field(paragraph: Any, instruction: str, result: str) -> None:
    """A field with the result that it has now."""
    for part in (_mark("begin"), _instruction(instruction), _mark("separate")):
        paragraph._p.append(part)
    paragraph.add_run(result)
    paragraph._p.append(_mark("end"))


def _contents(document: Any, title: str, instruction: str, lines: Sequence[str]) -> None:
    """A list that Word makes anew when the document is opened; until then it has `lines` without page numbers."""
    heading = document.add_paragraph(style="Subtitle")
    heading.add_run(title).bold = True
    paragraphs = [document.add_paragraph(style="Basis") for _ in lines]
    for paragraph, line in zip(paragraphs, lines, strict=True):
        paragraph.paragraph_format.space_after = Pt(1)
        if paragraph is paragraphs[0]:
            for part in (_mark("begin", dirty=True), _instruction(instruction), _mark("separate")):
                paragraph._p.append(part)
        paragraph.add_run(line)
    paragraphs[-1]._p.append(_mark("end"))


def _caption(document: Any, exhibit: Exhibit) -> None:
    """``Table 14.2.1.`` and a SEQ field with the last part, so that Word lists it and refers to it."""
    front, dot, last = exhibit.number.rpartition(".")
    paragraph = document.add_paragraph(f"{exhibit.kind} {front}{dot}", style="Caption")
    # Reset to its own number: renewing the fields never changes which table is which.
    _field(paragraph, rf"SEQ {exhibit.kind} \* ARABIC \r {last}", last)
    paragraph.add_run(f" {exhibit.title}")


# -- content -----------------------------------------------------------------------------------------------------------


def _add_section(document: Any, section: Section) -> None:
    document.add_heading(f"{section.number} {section.title}", level=section.level - 1)
    for words in (*section.key, *section.paragraphs):
        document.add_paragraph(plain(words))
    for exhibit in section.exhibits:
        if exhibit.headline:
            document.add_paragraph(plain(exhibit.headline)).paragraph_format.keep_with_next = True
        if exhibit.kind == "Figure":
            _caption(document, exhibit)
            _add_figure(document, exhibit)
            document.add_paragraph(plain(exhibit.footnote), style="Table Note")
        else:
            _add_table(document, exhibit)


def _add_figure(document: Any, exhibit: Exhibit) -> None:
    """The figure as a picture with its alternative text.

    Raises
    ------
    ValueError
        If it can't be drawn again.
    """
    if exhibit.redraw is None:
        raise ValueError(f"Figure {exhibit.number} can't be drawn as a picture")
    with pictures() as kept:
        exhibit.redraw()
    document.add_picture(io.BytesIO(kept[-1]))
    picture = document.inline_shapes[-1]
    widest = document.sections[-1].page_width - 2 * MARGIN
    if picture.width > widest:
        picture.height, picture.width = Emu(int(picture.height * widest / picture.width)), widest
    said = picture._inline.docPr
    said.set("descr", exhibit.alt)
    said.set("title", f"{exhibit.kind} {exhibit.number}")
    document.paragraphs[-1].paragraph_format.keep_with_next = True


def _add_table(document: Any, exhibit: Exhibit) -> None:
    grid = read_grid(exhibit.body)
    turned = grid.columns > WIDE
    if turned:
        _page(document.add_section(WD_SECTION.NEW_PAGE), turned=True)
    _caption(document, exhibit)
    if exhibit.population:
        document.add_paragraph(exhibit.population, style="Basis").paragraph_format.keep_with_next = True
    section = document.sections[-1]
    room = (section.page_width - 2 * MARGIN) // _TWIPS
    widths = [round(room * share) for share in column_widths(grid)]
    last = document.add_paragraph(plain(exhibit.footnote), style="Table Note")
    last._p.addprevious(parse_xml(_table_xml(grid, widths, f"{exhibit.kind} {exhibit.number}", exhibit.title)))
    if turned:
        _page(document.add_section(WD_SECTION.NEW_PAGE))


def _table_xml(grid: Grid, widths: Sequence[int], name: str, title: str) -> str:
    """A table as Word has it: fixed widths, head rows that repeat, cells that span, lines above and below."""
    columns = "".join(f'<w:gridCol w:w="{width}"/>' for width in widths)
    quoted = escape(f"{name}: {title}", {'"': "&quot;"})
    line = 'w:val="single" w:sz="8" w:space="0" w:color="1F2933"'
    rows = [_row_xml(row, grid, widths, head=True, last=row is grid.head[-1]) for row in grid.head]
    down: dict[int, tuple[int, int]] = {}  # column -> rows left, columns covered
    for number, row in enumerate(grid.body):
        rule = number in grid.starts and number > 0
        rows.append(_row_xml(row, grid, widths, down=down, rule=rule, kept=_goes_on(grid, number)))
        down = {at: (left - 1, wide) for at, (left, wide) in down.items() if left > 1}
        down |= {at: (cell.rows - 1, cell.columns) for at, cell in row.cells if cell.rows > 1}
    return (
        f'<w:tbl {nsdecls("w")}><w:tblPr><w:tblW w:w="{sum(widths)}" w:type="dxa"/>'
        f"<w:tblBorders><w:top {line}/><w:bottom {line}/></w:tblBorders>"
        '<w:tblLayout w:type="fixed"/><w:tblCellMar><w:left w:w="40" w:type="dxa"/><w:right w:w="60" w:type="dxa"/>'
        f'</w:tblCellMar><w:tblLook w:firstRow="1" w:firstColumn="1" w:noHBand="1" w:noVBand="1"/>'
        f'<w:tblCaption w:val="{quoted}"/></w:tblPr><w:tblGrid>{columns}</w:tblGrid>{"".join(rows)}</w:tbl>'
    )


def _goes_on(grid: Grid, number: int) -> bool:
    """Whether a row of the body stays on the page of the next: they belong to one group, and it is short."""
    edges = [*sorted(grid.starts), len(grid.body)]
    begin, end = next((a, b) for a, b in pairwise(edges) if a <= number < b)
    return number < end - 1 and end - begin <= KEPT


def _row_xml(
    row: Row,
    grid: Grid,
    widths: Sequence[int],
    *,
    head: bool = False,
    last: bool = False,
    rule: bool = False,
    kept: bool = False,
    down: dict[int, tuple[int, int]] | None = None,
) -> str:
    whole = "<w:trPr><w:cantSplit/>{}</w:trPr>".format("<w:tblHeader/>" if head else "")
    placed = dict(row.cells)
    bold = head or row.kind in ("group", "sum")
    cells, at = [], 0
    while at < grid.columns:
        if at in (down or {}):  # a cell from above goes on
            wide = (down or {})[at][1]
            cells.append(_cell_xml("", sum(widths[at : at + wide]), wide, merge="continue", above=rule))
        elif at in placed:
            cell = placed[at]
            wide = cell.columns
            strong = bold or (cell.head and cell.rows > 1)
            cells.append(
                _cell_xml(
                    cell.text, sum(widths[at : at + wide]), wide, merge="restart" if cell.rows > 1 else "",
                    bold=strong, right=cell.right, above=rule, below=last,
                )
            )  # fmt: skip
        else:
            wide = 1
            cells.append(_cell_xml("", widths[at], 1, above=rule, below=last))
        at += wide
    text = "".join(cells)
    if kept:
        text = text.replace('<w:pStyle w:val="TableText"/>', '<w:pStyle w:val="TableText"/><w:keepNext/>')
    return f"<w:tr>{whole}{text}</w:tr>"


def _cell_xml(
    text: str,
    width: int,
    wide: int,
    *,
    merge: str = "",
    bold: bool = False,
    right: bool = False,
    above: bool = False,
    below: bool = False,
) -> str:
    span = f'<w:gridSpan w:val="{wide}"/>' if wide > 1 else ""
    down = {"": "", "restart": '<w:vMerge w:val="restart"/>', "continue": "<w:vMerge/>"}[merge]
    lines = "".join(
        f'<w:{side} w:val="single" w:sz="4" w:space="0" w:color="9AA5B1"/>'
        for side, wanted in (("top", above), ("bottom", below))
        if wanted
    )
    borders = f"<w:tcBorders>{lines}</w:tcBorders>" if lines else ""
    look = "<w:rPr><w:b/></w:rPr>" if bold else ""
    set_ = '<w:jc w:val="right"/>' if right else ""
    runs = "<w:r><w:br/></w:r>".join(
        f'<w:r>{look}<w:t xml:space="preserve">{escape(line)}</w:t></w:r>' for line in text.split("\n")
    )
    return (
        f'<w:tc><w:tcPr><w:tcW w:w="{width}" w:type="dxa"/>{span}{down}{borders}</w:tcPr>'
        f'<w:p><w:pPr><w:pStyle w:val="TableText"/>{set_}</w:pPr>{runs if text else ""}</w:p></w:tc>'
    )
