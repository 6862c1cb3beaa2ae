"""The report as a Word document: real headings, captions with numbers, editable tables, figures with alternative text.

Made by python-docx from the same sections and exhibits as the page; figures are drawn again as pictures. The same run
gives the same bytes.
"""

from __future__ import annotations

import io
import re
import unicodedata
import zipfile
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from docx import Document
from docx.document import Document as DocumentObject
from docx.enum.section import WD_ORIENT, WD_SECTION
from docx.enum.style import WD_STYLE_TYPE
from docx.opc.constants import RELATIONSHIP_TYPE
from docx.opc.packuri import PackURI
from docx.opc.part import Part
from docx.oxml import OxmlElement, parse_xml
from docx.oxml.ns import nsdecls, qn
from docx.oxml.xmlchemy import BaseOxmlElement
from docx.section import Section as PageSection
from docx.shared import Cm, Emu, Pt, RGBColor
from docx.text.paragraph import Paragraph
from matplotlib.font_manager import findfont, get_font

from ranklsim.reports.layout.cells import Line, Table, plain
from ranklsim.reports.layout.exhibit import Exhibit, Section

PAGE = (Cm(21.0), Cm(29.7))
MARGIN = Cm(2.0)
KEPT = 8
"""Rows. A group of at most this length stays on one page."""
WIDE = 8
"""Columns. A wider table stands on a landscape page of its own."""

PROPERTY = 255
"""Characters. A property of a Word document is at most this long; the title stands whole on the first page."""

INK, SOFT = RGBColor(0x1F, 0x29, 0x33), RGBColor(0x52, 0x60, 0x6D)
FONT = "Calibri"
_TWIPS = 635  # EMU


def write_word(
    path: Path, title: str, meta: str, footer: str, started: str, sections: Sequence[Section], *,
    subject: str = "Simulated trial report",
) -> None:  # fmt: skip
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
    subject : str
        Subject among the document's properties.
    """
    document = Document()
    _styles(document)
    _page(document.sections[0])
    _properties(document, title, started, subject)
    document.add_paragraph(title, style="Title")
    document.add_paragraph(meta, style="Subtitle")
    _contents(document, "Contents", r'TOC \o "1-3" \h \z \u', [s.heading for s in sections])
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
    path.write_bytes(without_dates(buffer.getvalue()))


# -- document ----------------------------------------------------------------------------------------------------------


def _styles(document: DocumentObject) -> None:
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
        ("Heading 5", 10.5),
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


def _page(section: PageSection, turned: bool = False) -> None:
    short, long = PAGE
    section.orientation = WD_ORIENT.LANDSCAPE if turned else WD_ORIENT.PORTRAIT
    section.page_width, section.page_height = (long, short) if turned else (short, long)
    section.left_margin = section.right_margin = section.top_margin = section.bottom_margin = MARGIN


def _room(document: DocumentObject) -> int:
    """EMU between the margins of the last pages."""
    return (document.sections[-1].page_width or PAGE[0]) - 2 * MARGIN


def _properties(document: DocumentObject, title: str, started: str, subject: str) -> None:
    when = datetime.fromisoformat(started).astimezone(UTC).replace(tzinfo=None)
    said = document.core_properties
    said.title, said.author = title[:PROPERTY], "ranklsim"
    said.subject, said.language = subject, "en"
    said.created = said.modified = when
    said.last_modified_by, said.comments, said.revision = "ranklsim", "Simulated data: no patient was treated.", 1


def _foot(section: PageSection, text: str) -> None:
    paragraph = section.footer.paragraphs[0]
    paragraph.style = "Basis"
    paragraph.add_run(f"{text}  Page ")
    _field(paragraph, "PAGE", "1")


def without_dates(content: bytes) -> bytes:
    """The archive with the same date for every member, so that the same run gives the same bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            member = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            member.compress_type, member.external_attr = zipfile.ZIP_DEFLATED, 0o600 << 16
            target.writestr(member, source.read(name))
    return out.getvalue()


# -- fields ------------------------------------------------------------------------------------------------------------


def _mark(kind: str, dirty: bool = False) -> BaseOxmlElement:
    run, mark = OxmlElement("w:r"), OxmlElement("w:fldChar")
    mark.set(qn("w:fldCharType"), kind)
    if dirty:
        mark.set(qn("w:dirty"), "true")
    run.append(mark)
    return run


def _instruction(text: str) -> BaseOxmlElement:
    run, words = OxmlElement("w:r"), OxmlElement("w:instrText")
    words.set(qn("xml:space"), "preserve")
    words.text = f" {text} "
    run.append(words)
    return run


def _field(paragraph: Paragraph, instruction: str, result: str) -> None:
    """A field with its current result."""
    for part in (_mark("begin"), _instruction(instruction), _mark("separate")):
        paragraph._p.append(part)
    paragraph.add_run(result)
    paragraph._p.append(_mark("end"))


def _contents(document: DocumentObject, title: str, instruction: str, lines: Sequence[str]) -> None:
    """A list that Word updates when the document is opened. Before that it shows `lines` without page numbers."""
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


def _caption(document: DocumentObject, exhibit: Exhibit) -> None:
    """``Table 14.2.1.`` and a SEQ field with the last part, so that Word lists it and refers to it."""
    front, dot, last = exhibit.number.rpartition(".")
    paragraph = document.add_paragraph(f"{exhibit.kind} {front}{dot}", style="Caption")
    # Reset to its own number: renewing the fields never changes which table is which.
    _field(paragraph, rf"SEQ {exhibit.kind} \* ARABIC \r {last}", last)
    paragraph.add_run(f" {exhibit.title}")


# -- content -----------------------------------------------------------------------------------------------------------


def _add_section(document: DocumentObject, section: Section) -> None:
    document.add_heading(section.heading, level=section.level - 1)
    for words in (*section.key, *section.paragraphs):
        document.add_paragraph(plain(words))
    for exhibit in section.exhibits:
        if exhibit.headline:
            document.add_paragraph(exhibit.headline).paragraph_format.keep_with_next = True
        if exhibit.kind == "Figure":
            _caption(document, exhibit)
            _add_figure(document, exhibit)
            document.add_paragraph(exhibit.footnote, style="Table Note")
        else:
            _add_table(document, exhibit)


def _add_figure(document: DocumentObject, exhibit: Exhibit) -> None:
    """The figure as a picture with its alternative text.

    Raises
    ------
    ValueError
        If it can't be drawn again.
    """
    if exhibit.picture is None:
        raise ValueError(f"Figure {exhibit.number} can't be drawn as a picture")
    document.add_picture(io.BytesIO(exhibit.picture("png")))
    picture = document.inline_shapes[-1]
    widest = _room(document)
    if picture.width > widest:
        picture.height, picture.width = Emu(int(picture.height * widest / picture.width)), Emu(widest)
    said = picture._inline.docPr
    said.set("descr", exhibit.alt)
    said.set("title", f"{exhibit.kind} {exhibit.number}")
    if _beyond_font(exhibit.svg):
        _add_svg(document, picture._inline, exhibit)
    document.paragraphs[-1].paragraph_format.keep_with_next = True


def _beyond_font(svg: str) -> bool:
    """Whether a picture can't show the letters of a figure: its font lacks one, or does not join or turn it."""
    font = get_font(findfont("DejaVu Sans"))
    return any(
        font.get_char_index(ord(c)) == 0 or unicodedata.bidirectional(c) in ("R", "AL") or unicodedata.combining(c)
        for c in set(re.sub(r"<[^>]*>|\s", "", svg))
        if not c.isascii()
    )


def _add_svg(document: DocumentObject, inline: Any, exhibit: Exhibit) -> None:
    """The figure as SVG beside its picture: Word 2016 and later show it, with fonts of the reader's machine."""
    place = PackURI(f"/word/media/{exhibit.anchor}.svg")
    kept = {part.partname: part for part in document.part.package.iter_parts()}  # a figure may stand twice
    part = kept.get(place) or Part(place, "image/svg+xml", exhibit.svg.encode(), document.part.package)
    known = document.part.relate_to(part, RELATIONSHIP_TYPE.IMAGE)
    inline.graphic.graphicData.pic.blipFill.blip.append(
        parse_xml(
            f'<a:extLst {nsdecls("a", "r")}><a:ext uri="{{96DAC541-7B7A-43D3-8B79-37D633B846F1}}"><asvg:svgBlip '
            'xmlns:asvg="http://schemas.microsoft.com/office/drawing/2016/SVG/main" '
            f'r:embed="{known}"/></a:ext></a:extLst>'
        )
    )


def _add_table(document: DocumentObject, exhibit: Exhibit) -> None:
    table = exhibit.table
    turned = len(table.columns) > WIDE
    if turned:
        _page(document.add_section(WD_SECTION.NEW_PAGE), turned=True)
    _caption(document, exhibit)
    if exhibit.population:
        document.add_paragraph(exhibit.population, style="Basis").paragraph_format.keep_with_next = True
    widths = [round(_room(document) // _TWIPS * share) for share in table.widths()]
    last = document.add_paragraph(exhibit.footnote, style="Table Note")
    last._p.addprevious(parse_xml(_table_xml(table, widths, f"{exhibit.kind} {exhibit.number}: {exhibit.title}")))
    if turned:
        _page(document.add_section(WD_SECTION.NEW_PAGE))


def _table_xml(table: Table, widths: Sequence[int], name: str) -> str:
    """A table in Word: fixed widths, a repeated head row, spanning cells, lines above and below."""
    columns = "".join(f'<w:gridCol w:w="{width}"/>' for width in widths)
    quoted = escape(name, {'"': "&quot;"})
    line = 'w:val="single" w:sz="8" w:space="0" w:color="1F2933"'
    head = [
        _cell_xml(text, width, bold=True, right=column.right, below=True)
        for text, width, column in zip(table.heads, widths, table.columns, strict=False)
    ]
    rows = [_row_xml(head, "<w:tblHeader/>")] if head else []
    rows += [_line_xml(table, own, widths, first=k == 0) for k, own in enumerate(table.lines())]
    return (
        f'<w:tbl {nsdecls("w")}><w:tblPr><w:tblW w:w="{sum(widths)}" w:type="dxa"/>'
        f"<w:tblBorders><w:top {line}/><w:bottom {line}/></w:tblBorders>"
        '<w:tblLayout w:type="fixed"/><w:tblCellMar><w:left w:w="40" w:type="dxa"/><w:right w:w="60" w:type="dxa"/>'
        f'</w:tblCellMar><w:tblLook w:firstRow="1" w:firstColumn="1" w:noHBand="1" w:noVBand="1"/>'
        f'<w:tblCaption w:val="{quoted}"/></w:tblPr><w:tblGrid>{columns}</w:tblGrid>{"".join(rows)}</w:tbl>'
    )


def _row_xml(cells: Sequence[str], properties: str = "") -> str:
    return f"<w:tr><w:trPr><w:cantSplit/>{properties}</w:trPr>{''.join(cells)}</w:tr>"


def _line_xml(table: Table, line: Line, widths: Sequence[int], *, first: bool) -> str:
    """A row of the body. Rows of a short group stay on one page."""
    set_ = partial(_cell_xml, above=line.begins and not first, kept=not line.ends and line.size <= KEPT)
    bold = line.kind in ("group", "sum")
    if line.kind == "group":
        return _row_xml([set_(line.texts[0] or "", sum(widths), len(widths), bold=True)])
    cells = []
    for k, (text, width, column) in enumerate(zip(line.texts, widths, table.columns, strict=True)):
        spans = table.beside and k == 0 and line.size > 1
        merge = "" if not spans else "continue" if text is None else "restart"
        strong = bold or merge == "restart"
        cells.append(set_(text or "", width, merge=merge, bold=strong, right=column.right))
    return _row_xml(cells)


def _cell_xml(
    text: str,
    width: int,
    wide: int = 1,
    *,
    merge: str = "",
    bold: bool = False,
    right: bool = False,
    above: bool = False,
    below: bool = False,
    kept: bool = False,
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
    set_ = ("<w:keepNext/>" if kept else "") + ('<w:jc w:val="right"/>' if right else "")
    runs = "<w:r><w:br/></w:r>".join(
        f'<w:r>{look}<w:t xml:space="preserve">{escape(line)}</w:t></w:r>' for line in text.split("\n")
    )
    return (
        f'<w:tc><w:tcPr><w:tcW w:w="{width}" w:type="dxa"/>{span}{down}{borders}</w:tcPr>'
        f'<w:p><w:pPr><w:pStyle w:val="TableText"/>{set_}</w:pPr>{runs if text else ""}</w:p></w:tc>'
    )
