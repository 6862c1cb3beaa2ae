"""Tables of the report as RTF files, one a table, as they are submitted, set by rtflite."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ranklsim.pkpd.errors import BadInput
from ranklsim.reports.layout.cells import Line
from ranklsim.reports.layout.exhibit import Exhibit, Section

LANDSCAPE = 5  # more columns than this are turned
WIDTHS = {"portrait": 6.5, "landscape": 9.0}
ROWS = {"portrait": 50, "landscape": 30}  # of a page, head and notes with it


def write_rtf(folder: Path, sections: Sequence[Section], source: str) -> list[Path]:
    """Make `folder` and write one ``TABLE.rtf`` for each table.

    Parameters
    ----------
    folder : Path
        A folder that does not exist yet.
    sections : sequence of Section
        Sections of the report, with their tables.
    source : str
        Seed and model, at the foot of every table, since each file stands alone.

    Returns
    -------
    list of Path
    """
    folder.mkdir()
    paths = []
    for exhibit in (e for section in sections for e in section.exhibits if e.kind == "Table"):
        path = folder / f"{exhibit.stem}.rtf"
        path.write_text(rtf_text(exhibit, source), encoding="ascii", newline="")
        paths.append(path)
    return paths


def rtf_text(exhibit: Exhibit, source: str = "") -> str:
    """A table as one RTF document: title, population, head repeated on every page, rows, notes.

    Parameters
    ----------
    exhibit : Exhibit
        A table.
    source : str
        As of `write_rtf`.

    Returns
    -------
    str
        ASCII; other letters as RTF writes them (``\\uc1\\u8722*`` for a minus sign).

    Raises
    ------
    BadInput
        If rtflite is not installed.
    """
    try:
        import polars as pl
        import rtflite as rtf
    except ImportError:
        raise BadInput("RTF needs rtflite; `pip install 'ranklsim[rtf]'` brings it.") from None

    table = exhibit.table
    body, columns = table.lines(), len(table.columns)
    # Bold stands in the text: rtflite counts the formats of rows anew on every page.
    cells = [
        [
            f"{{\\b {_escaped(text)}}}" if text and line.kind == "group" else _escaped(text)
            for text in _filled(line, columns)
        ]
        for line in body
    ]
    side = "landscape" if columns > LANDSCAPE else "portrait"
    widths = table.widths()
    frame = pl.DataFrame(
        {f"c{k}": [line[k] for line in cells] for k in range(columns)},
        schema={f"c{k}": pl.String for k in range(columns)},
    )
    aligned = ["l", *["l" if _worded(body, k) else "c" for k in range(1, columns)]]
    lines = [f"Table {exhibit.number}", exhibit.title, *([exhibit.population] if exhibit.population else [])]
    document = rtf.RTFDocument(
        df=frame,
        rtf_page=rtf.RTFPage(
            orientation=side, col_width=WIDTHS[side], nrow=ROWS[side], border_first="single", border_last="single"
        ),
        rtf_page_footer=rtf.RTFPageFooter(text="Simulated data", text_font_size=[8]),
        rtf_title=rtf.RTFTitle(text=[_escaped(line) for line in lines], text_convert=[False]),
        rtf_column_header=[
            rtf.RTFColumnHeader(
                text=[_escaped(head) for head in table.heads] or [""] * columns,
                col_rel_width=widths,
                text_justification=[aligned],
                text_format=["b"],
                text_font_size=[8],
                text_convert=[False],
                border_bottom=[["single"] * columns],
            )
        ],
        rtf_body=rtf.RTFBody(
            col_rel_width=widths,
            text_justification=[aligned] * len(cells),
            text_font_size=[8],
            text_convert=[[False] * columns] * len(cells),
        ),
        rtf_footnote=rtf.RTFFootnote(
            text=[_escaped(f"{exhibit.footnote} {source}".strip())], text_font_size=[8], text_convert=[[False]]
        ),
    )
    return str(document.rtf_encode())


def _filled(line: Line, columns: int) -> list[str]:
    """The text of every column. A cell that continues the one above is empty."""
    return [text or "" for text in line.texts] + [""] * (columns - len(line.texts))


def _worded(body: Sequence[Line], column: int) -> bool:
    """Whether a column holds sentences, which are set flush left."""
    texts = [text for line in body if len(line.texts) > column and (text := line.texts[column]) is not None]
    return sum(len(text) > 24 for text in texts) * 4 > len(texts)


def _escaped(text: str) -> str:
    """Text in RTF: control signs escaped, letters beyond ASCII by number, line breaks as ``\\line``."""
    out = []
    for sign in text:
        code = ord(sign)
        if sign in "\\{}":
            out.append("\\" + sign)
        elif sign == "\n":
            out.append("\\line ")
        elif code < 128:
            out.append(sign)
        else:
            units = sign.encode("utf-16-le")
            for k in range(0, len(units), 2):
                unit = int.from_bytes(units[k : k + 2], "little")
                out.append(f"\\uc1\\u{unit - 65536 if unit > 32767 else unit}*")
    return "".join(out)
