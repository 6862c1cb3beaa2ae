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
    return Markup(_words(text))


def _words(text: Text) -> str:
    # Strings are put together as such: the formatting of markupsafe takes a third of the time of a page.
    match text:
        case str():
            return str(escape(text)).replace("\n", "<br>").replace("\u200b", "<wbr>")
        case Span():
            return _TAGS[text.style].format(escape(text.text), escape(text.target))
        case Bullets():
            return f"<ul>{''.join(f'<li>{_words(item)}</li>' for item in text.items)}</ul>"
        case _:
            return "".join(map(_words, text))


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
    columns = "".join(f'<col style="width:{c.width}%">' for c in table.columns if c.width)
    columns = f"<colgroup>{columns}</colgroup>" if columns else ""
    number, title = escape(exhibit.number), escape(exhibit.title)
    over = f'<span class="population">{escape(exhibit.population)}</span>' if exhibit.population else ""
    head = f"<tr>{''.join(map(_head, table.columns))}</tr>" if table.heads else ""
    return Markup(
        f'<div class="scroll" role="region" aria-label="Table {number}: {title}" tabindex="0">'
        f'<table class="{css}"><caption><span class="cap"><span class="number">Table {number}</span> {title}{over}'
        f"</span></caption>{columns}<thead>{head}</thead>{''.join(_group(table, group) for group in table.groups)}"
        "</table></div>"
    )


def _head(column: Column) -> str:
    css = ' class="num"' if column.right else ""
    return f'<th scope="col"{css}>{_words(column.head)}</th>' if column.head else "<td></td>"


def _group(table: Table, group: Group) -> str:
    title, rows = _words(group.title), []
    if title and not table.beside:
        whole = f'<th scope="rowgroup" colspan="{len(table.columns)}">{title}</th>'
        rows.append(f'<tr class="group">{whole}</tr>')
    for k, row in enumerate(group.rows):
        beside = f'<th scope="rowgroup" rowspan="{len(group.rows)}">{title}</th>'
        rows.append(_row(table, row, beside if table.beside and k == 0 else ""))
    return f"<tbody>{''.join(rows)}</tbody>"


def _row(table: Table, row: Row, beside: str) -> str:
    first, *others = row.cells
    stat = ' class="stat"' if table.look.startswith("arms") else ""
    columns = table.columns[len(table.columns) - len(others) :]
    inside = "".join(_cell(table, column, cell) for column, cell in zip(columns, others, strict=True))
    css = "" if row.kind == "body" else f' class="{row.kind}"'
    return f'<tr{css}>{beside}<th scope="row"{stat}>{_words(first.text)}</th>{inside}</tr>'


def _cell(table: Table, column: Column, cell: Cell) -> str:
    css = "" if table.look != "listing" else f' class="{"num" if column.right else "text"}"'
    return f"<td{css}>{_words(cell.text)}</td>"
