"""Texts, tables and whole pages as HTML."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import jinja2
from markupsafe import Markup, escape

from ranklsim.reports.layout.cells import Bullets, Cell, Column, Group, Row, Span, Table, Text
from ranklsim.reports.layout.exhibit import Exhibit, Section

TEMPLATES = Path(__file__).parents[1] / "templates"
LONG = 24
"""Rows. A longer listing may break between printed pages."""

_TAGS = {
    "strong": "<strong>{}</strong>",
    "code": "<code>{}</code>",
    "note": '<span class="note">{}</span>',
    "size": '<span class="n">{}</span>',
    "tag": '<span class="tag {1}">{0}</span>',
    "swatch": '<span class="swatch" style="background:{1}"></span>{0}',
    "link": '<a href="{1}">{0}</a>',
}


_FIGURE = re.compile("\0([^\0]*)\0")
"""The place of a figure in a page: no text that a user gives can hold this character."""


def render(template: str, sections: Sequence[Section], **values: object) -> str:
    """A page of `sections` from a template, with the common style sheet; `with_figures` then sets its figures.

    Parameters
    ----------
    template : str
        File of `TEMPLATES`.
    sections : sequence of Section
    values
        What else the template names.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    css = Markup((TEMPLATES / "report.css").read_text(encoding="utf-8"))
    return environment.get_template(template).render(sections=sections, css=css, words=words, body=body, **values)


def with_figures(page: str, exhibits: Sequence[Exhibit]) -> str:
    """A page with the figures that `render` left out, since they may still be drawn meanwhile.

    Parameters
    ----------
    page : str
        As of `render`.
    exhibits : sequence of Exhibit
        All of its sections.
    """
    figures = {exhibit.anchor: exhibit for exhibit in exhibits if isinstance(exhibit.body, str)}
    return _FIGURE.sub(lambda mark: figures[mark[1]].svg, page)


def words(text: Text) -> Markup:
    """A text with its emphasis.

    Parameters
    ----------
    text : Text
        Spans with their emphasis, or a str.
    """
    match text:
        case str():
            return escape(text).replace("\n", Markup("<br>")).replace("\u200b", Markup("<wbr>"))
        case Span():
            return Markup(_TAGS[text.style]).format(text.text, text.target)
        case Bullets():
            return Markup("<ul>{}</ul>").format(_joined("<li>{}</li>", text.items))
        case _:
            return Markup("").join(words(piece) for piece in text)


def body(exhibit: Exhibit) -> Markup:
    """The place of a figure (`with_figures`), or a table inside a region that scrolls sideways on a narrow screen.

    Parameters
    ----------
    exhibit : Exhibit
        The figure or table.
    """
    if isinstance(exhibit.body, str):
        return Markup(f"\0{exhibit.anchor}\0")
    table = exhibit.body
    rows = sum(len(group.rows) for group in table.groups)
    css = f"{table.look}{' fixed' if any(c.width for c in table.columns) else ''}"
    css += " long" if table.look == "listing" and rows > LONG else ""
    columns = Markup("").join(Markup('<col style="width:{}%">').format(c.width) for c in table.columns if c.width)
    over = Markup('<span class="population">{}</span>').format(exhibit.population) if exhibit.population else ""
    head = Markup("<tr>{}</tr>").format(Markup("").join(map(_head, table.columns))) if table.heads else ""
    return Markup(
        '<div class="scroll" role="region" aria-label="Table {0}: {1}" tabindex="0"><table class="{2}"><caption>'
        '<span class="cap"><span class="number">Table {0}</span> {1}{3}</span></caption>{4}<thead>{5}</thead>{6}'
        "</table></div>"
    ).format(
        exhibit.number,
        exhibit.title,
        css,
        over,
        Markup("<colgroup>{}</colgroup>").format(columns) if columns else "",
        head,
        Markup("").join(_group(table, group) for group in table.groups),
    )


def _joined(form: str, texts: Sequence[Text]) -> Markup:
    return Markup("").join(Markup(form).format(words(text)) for text in texts)


def _head(column: Column) -> Markup:
    if not column.head:
        return Markup("<td></td>")
    css = Markup(' class="num"') if column.right else ""
    return Markup('<th scope="col"{}>{}</th>').format(css, words(column.head))


def _group(table: Table, group: Group) -> Markup:
    title, rows = words(group.title), []
    if title and not table.beside:
        whole = '<tr class="group"><th scope="rowgroup" colspan="{}">{}</th></tr>'
        rows.append(Markup(whole).format(len(table.columns), title))
    for k, row in enumerate(group.rows):
        beside = Markup('<th scope="rowgroup" rowspan="{}">{}</th>').format(len(group.rows), title)
        rows.append(_row(table, row, beside if table.beside and k == 0 else Markup("")))
    return Markup("<tbody>{}</tbody>").format(Markup("").join(rows))


def _row(table: Table, row: Row, beside: Markup) -> Markup:
    first, *others = row.cells
    stat = Markup(' class="stat"') if table.look.startswith("arms") else ""
    columns = table.columns[len(table.columns) - len(others) :]
    inside = Markup("").join(_cell(table, column, cell) for column, cell in zip(columns, others, strict=True))
    css = "" if row.kind == "body" else Markup(' class="{}"').format(row.kind)
    return Markup('<tr{}>{}<th scope="row"{}>{}</th>{}</tr>').format(css, beside, stat, words(first.text), inside)


def _cell(table: Table, column: Column, cell: Cell) -> Markup:
    css = "" if table.look != "listing" else Markup(' class="{}"').format("num" if column.right else "text")
    return Markup("<td{}>{}</td>").format(css, words(cell.text))
