"""Tables of the report as RTF, one file a table, as they are submitted: what the page shows, set by rtflite."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ranklsim.reports.csr.context import Section
from ranklsim.reports.layout.exhibit import Exhibit
from ranklsim.reports.layout.grid import Grid, plain, read_grid

LANDSCAPE = 5  # more columns than this are turned
ONE_LINE = 26  # characters: a cell no longer than that is not broken
WIDTHS = {"portrait": 6.5, "landscape": 9.0}
ROWS = {"portrait": 50, "landscape": 30}  # of a page, head and notes with it


def write_rtf(folder: Path, sections: Sequence[Section]) -> list[Path]:
    """One ``TABLE.rtf`` a table into `folder`, which is made.

    Returns
    -------
    list of Path
    """
    folder.mkdir()
    paths = []
    for exhibit in (e for section in sections for e in section.exhibits if e.kind == "Table"):
        path = folder / f"{exhibit.stem}.rtf"
        path.write_text(rtf_text(exhibit), encoding="ascii", newline="")
        paths.append(path)
    return paths


def rtf_text(exhibit: Exhibit) -> str:
    """A table as one RTF document: title, population, head repeated on every page, rows, notes.

    Parameters
    ----------
    exhibit : Exhibit
        A table.

    Returns
    -------
    str
        ASCII; other letters as RTF writes them (``\\uc1\\u8722*`` for a minus sign).
    """
    import polars as pl
    import rtflite as rtf

    grid = read_grid(exhibit.body)
    # Bold stands in the text: rtflite counts the formats of rows anew on every page.
    cells = [
        [f"{{\\b {_escaped(text)}}}" if text and _is_group(grid, k) else _escaped(text) for text in line]
        for k, line in enumerate(grid.filled())
    ]
    heads = [[_escaped(text) for text in line] for line in grid.filled(grid.head)] or [[""] * grid.columns]
    side = "landscape" if grid.columns > LANDSCAPE else "portrait"
    widths = column_widths(grid)
    frame = pl.DataFrame(
        {f"c{k}": [line[k] for line in cells] for k in range(grid.columns)},
        schema={f"c{k}": pl.String for k in range(grid.columns)},
    )
    aligned = ["l", *["l" if _worded(grid, k) else "c" for k in range(1, grid.columns)]]
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
                text=head,
                col_rel_width=widths,
                text_justification=[aligned],
                text_format=["b"],
                text_font_size=[8],
                text_convert=[False],
                border_bottom=[["single" if k == len(heads) - 1 else ""] * grid.columns],
            )
            for k, head in enumerate(heads)
        ],
        rtf_body=rtf.RTFBody(
            col_rel_width=widths,
            text_justification=[aligned] * len(cells),
            text_font_size=[8],
            text_convert=[[False] * grid.columns] * len(cells),
        ),
        rtf_footnote=rtf.RTFFootnote(
            text=[_escaped(plain(exhibit.footnote))], text_font_size=[8], text_convert=[[False]]
        ),
    )
    return str(document.rtf_encode())


def column_widths(grid: Grid) -> list[float]:
    """Relative widths: by the longest word and the usual length of what stands in a column.

    Returns
    -------
    list of float
        Sum 1.
    """
    wanted = []
    for column in range(grid.columns):
        body, head = (
            [line for row in rows for at, cell in row.cells if at == column and cell.columns == 1
             for line in cell.text.split("\n")]
            for rows in (grid.body, grid.head)
        )  # fmt: skip
        word = max((len(word) for text in (*head, *body) for word in text.split()), default=1)
        longest, usual = max(map(len, body), default=1), sorted(map(len, body))[len(body) // 2] if body else 1
        fits = longest if longest <= ONE_LINE else max(ONE_LINE, usual, longest / 3)
        wanted.append(min(max(word + 3.0, fits + 1.0), 48.0))
    return [width / sum(wanted) for width in wanted]


def _worded(grid: Grid, column: int) -> bool:
    """Whether a column holds sentences, which are set flush left."""
    texts = [cell.text for row in grid.body for at, cell in row.cells if at == column]
    return sum(len(text) > 24 for text in texts) * 4 > len(texts)


def _is_group(grid: Grid, row: int) -> bool:
    return grid.body[row].kind == "group"


def _escaped(text: str) -> str:
    """Text as RTF has it: control signs escaped, letters beyond ASCII by number, line breaks as ``\\line``."""
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
