"""What public functions return knows itself: the unit and meaning of each column, its page in a notebook, its figure.

The data dictionary (``data/dictionary.csv``) has one row for each column of each table that ranklsim returns or writes;
docs/dictionary.md is made from it. A name in it may hold placeholders, such as ``C_{agent}``. Outputs of the model, and
what is derived from them, are explained by `OUTPUTS`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache, lru_cache
from html import escape
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DICTIONARY = Path(__file__).parent / "data" / "dictionary.csv"
ALL_TABLES, TRUE = "*", "true_"
"""Table of the columns that several tables share; what precedes a value without measurement error."""
LIKE = {
    **{f"replicate/{name}": f"run/{name}" for name in ("patients", "visits", "events")},
    "replicate/vectors": "run/uncertainty_draws",
    **{f"{verb}/parameters": "parameters" for verb in ("run", "replicate", "fit")},
    "fit/residuals": "validate/predictions",
}
"""Tables that have the columns of another one besides their own."""
SHOWN = 12
"""Rows of a table that a page shows."""
_PLACEHOLDER = re.compile(r"\{\w+\}")
_DERIVED = {
    "_low": "lower end of the 90 % interval over parameter vectors: ",
    "_high": "upper end of the 90 % interval over parameter vectors: ",
    "_pct": "",
}


@lru_cache(maxsize=1)
def dictionary() -> pd.DataFrame:
    """The data dictionary: columns `table`, `column`, `unit`, `meaning`; a row a column of a table."""
    return pd.read_csv(DICTIONARY, dtype=str, keep_default_na=False)


@cache
def _patterns(table: str, whole: bool) -> list[tuple[re.Pattern[str], str, str]]:
    """Columns of a table as patterns, with unit and meaning: those with a whole name, or those with placeholders."""
    rows = dictionary()
    rows = rows[(rows["table"] == table) & (rows["column"].str.contains("{", regex=False) != whole)]
    return [
        (re.compile(".+".join(map(re.escape, _PLACEHOLDER.split(row.column)))), row.unit, row.meaning)
        for row in rows.itertuples()
    ]


def explain(table: str, column: str) -> tuple[str, str] | None:
    """Unit and meaning of a column; None if neither the dictionary nor the model knows it.

    Parameters
    ----------
    table : str
        Name of the table in the dictionary, such as ``visits`` or ``design/cells``.
    column : str
    """
    tables = [table, LIKE.get(table, ""), ALL_TABLES]
    for pattern, unit, meaning in [row for name in tables for row in _patterns(name, whole=True)]:
        if pattern.fullmatch(column):
            return unit, meaning
    if found := of_model(column.removeprefix(TRUE)):
        return found[0], found[1] + (", without measurement error" if column.startswith(TRUE) else "")
    for pattern, unit, meaning in [row for name in tables for row in _patterns(name, whole=False)]:
        if pattern.fullmatch(column):
            return unit, meaning
    return None


def of_model(column: str) -> tuple[str, str] | None:
    """Unit and meaning of an output of the model, or of what is derived from it; None if it is neither.

    Parameters
    ----------
    column : str
        Such as ``CTX``, ``BMD_LS_pct``, ``CTX_pct_low`` or ``C_denosumab``.
    """
    from ranklsim.pkpd.biology.model import OUTPUTS  # with numba; a drawn table needs no meaning of its columns

    if column in OUTPUTS:
        return OUTPUTS[column]
    if column.startswith("C_"):
        name = column[2:]
        for end in ("_low", "_high"):
            if name.endswith(end):
                return "ug/mL", f"{_DERIVED[end]}free serum {name.removesuffix(end)}"
        return "ug/mL", f"free serum {name}"
    for end, words in _DERIVED.items():
        if column.endswith(end) and (found := of_model(column.removesuffix(end))):
            if end != "_pct":
                return found[0], words + found[1]
            change = column.startswith("BMD_")
            return "%" if change else "% of baseline", f"{'change of ' * change}{found[1]}"
    return None


class Drawn:
    """What has a figure: `FIGURE` names the function that draws it, which takes the object; empty for none."""

    FIGURE: ClassVar[str] = ""

    def plot(self, path: str | Path | None = None) -> Figure:
        """The figure of the report.

        Parameters
        ----------
        path : path, optional
            File to write it to as well (.svg, .pdf or .png).

        Raises
        ------
        BadInput
            If there is no figure, or the file's format is unknown.
        """
        return draw(self, self.FIGURE, path)


class Results(Drawn):
    """What a public function returns.

    A class that inherits from it has tables, and may have a figure.
    """

    SOURCE: ClassVar[str] = ""  # what the dictionary's names of its tables begin with
    PRINTED: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """Tables that `print` shows, and which columns of them; all of all where it is empty."""

    def tables(self) -> Mapping[str, pd.DataFrame]:
        """Every table by its name, the main one first."""
        raise NotImplementedError

    def heading(self) -> str:
        """What the result is, in one line."""
        return type(self).__name__

    @property
    def columns_explained(self) -> pd.DataFrame:
        """Columns `table`, `column`, `unit`, `meaning`: a row for each column of each table."""
        rows = [
            (name, str(column), *(explain(self.SOURCE + name, str(column)) or ("", "")))
            for name, table in self.tables().items()
            for column in table.columns
        ]
        return pd.DataFrame(rows, columns=["table", "column", "unit", "meaning"])

    @property
    def units(self) -> dict[str, str]:
        """Column to its unit, of all tables; "1" is a number without dimension, "" what is no number."""
        found = self.columns_explained
        return dict(zip(found["column"][::-1], found["unit"][::-1], strict=True))

    def to_frame(self, table: str | None = None) -> pd.DataFrame:
        """A table as a plain data frame.

        Parameters
        ----------
        table : str, optional
            Its name; the main table by default.

        Raises
        ------
        BadInput
            If there is no table of that name.
        """
        from ranklsim.pkpd.errors import BadInput, near

        tables = self.tables()
        name = next(iter(tables)) if table is None else table
        if not isinstance(name, str) or name not in tables:
            raise BadInput(f"table = {name!r} is not here; {near(str(name), tables)}")
        return pd.DataFrame(tables[name]).copy()

    def __str__(self) -> str:
        lines, others = [self.heading()], []
        for name, table in self.tables().items():
            if self.PRINTED and name not in self.PRINTED:
                others.append(f"{name} ({len(table)} rows)")
                continue
            some = table[list(self.PRINTED.get(name, table.columns))].head(SHOWN)
            lines += ["", f"{name}: {len(table)} rows", some.to_string(max_cols=10, float_format="%.4g", na_rep="")]
            lines += [f"... and {len(table) - SHOWN} more"] * (len(table) > SHOWN)
        if others:
            lines += ["", f"More tables, as in `.to_frame('{others[0].split()[0]}')`: {', '.join(others)}."]
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """The same page for a notebook; a pointer over the heading of a column shows its unit and meaning."""
        return page(self.heading(), self.SOURCE, self.tables())


def page(heading: str, source: str, tables: Mapping[str, pd.DataFrame], of: str = "") -> str:
    """Tables as HTML; the title of each column's heading is its unit and meaning.

    Parameters
    ----------
    heading : str
    source : str
        What the dictionary's names of the tables begin with.
    tables : mapping of str to DataFrame
    of : str
        The dictionary's name of a table that has none here.
    """
    parts = [f"<h4>{escape(heading)}</h4>"]
    for name, table in tables.items():
        heads = []
        for column in map(str, table.columns):
            unit, meaning = explain(source + (name or of), column) or ("", "")
            heads.append(f'<th title="{escape(f"{meaning} ({unit})" if unit else meaning)}">{escape(column)}</th>')
        rows = "".join(
            "<tr>" + "".join(f"<td>{escape(_cell(value))}</td>" for value in row) + "</tr>"
            for row in table.head(SHOWN).itertuples(index=False)
        )
        more = f"<p>{len(table) - SHOWN} more rows</p>" if len(table) > SHOWN else ""
        title = f"<p><b>{escape(name)}</b></p>" if name else ""
        parts.append(f"{title}<table><tr>{''.join(heads)}</tr>{rows}</table>{more}")
    return "<div>" + "".join(parts) + "</div>"


def _cell(value: object) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def draw(result: object, figure: str, path: str | Path | None) -> Figure:
    """Draw a result, and write its figure if a path is given.

    Parameters
    ----------
    result : object
    figure : str
        ``module:function`` below `ranklsim`; it takes the result and returns a figure. A string, because figures stand
        in a layer above.
    path : path or None
    """
    from ranklsim.pkpd.errors import BadInput

    if not figure:
        raise BadInput(f"{type(result).__name__} has no figure of its own; see its page, or plot its tables.")
    if path is not None and Path(path).suffix.lower() not in FORMATS:
        raise BadInput(f"path = {str(path)!r} does not end in one of {', '.join(FORMATS)}.")
    module, _, function = figure.partition(":")
    drawn = getattr(import_module(f"ranklsim.{module}"), function)(result)
    if path is not None:
        save(drawn, Path(path))
    return drawn


FORMATS = (".svg", ".pdf", ".png")


def save(figure: Figure, path: Path) -> None:
    """Write a figure.

    Parameters
    ----------
    figure : Figure
    path : Path
        Its suffix is one of `FORMATS`.
    """
    from matplotlib import rc_context

    with rc_context({"svg.fonttype": "path", "svg.hashsalt": "ranklsim"}):
        figure.savefig(path, metadata={"Date": None} if path.suffix.lower() == ".svg" else {}, dpi=200)


class Frame(Drawn, pd.DataFrame):
    """A data frame that a public function returns: it also has `units`, a page with meanings, and a figure.

    What is cut out of it is a plain data frame.
    """

    _metadata: ClassVar[list[str]] = ["table", "about"]

    def __init__(self, data: Any = None, *args: Any, table: str = "", about: Any = None, **more: Any) -> None:
        super().__init__(data, *args, **more)
        object.__setattr__(self, "table", table)  # its name in the dictionary
        object.__setattr__(self, "about", about)  # what its figure needs

    @property
    def _constructor(self) -> type[pd.DataFrame]:
        return pd.DataFrame

    @property
    def units(self) -> dict[str, str]:
        """Column to its unit; "1" is a number without dimension, "" what is no number."""
        return {column: (explain(self.table, column) or ("", ""))[0] for column in map(str, self.columns)}

    @property
    def meanings(self) -> dict[str, str]:
        """Column to its meaning."""
        return {column: (explain(self.table, column) or ("", ""))[1] for column in map(str, self.columns)}

    def to_frame(self) -> pd.DataFrame:
        """The same as a plain data frame."""
        return pd.DataFrame(self)

    def __repr__(self) -> str:
        if len(self.columns) > SHOWN:
            return super().__repr__()
        # Of few columns none is left out, however narrow the terminal is thought to be.
        with pd.option_context("display.max_columns", SHOWN, "display.width", None):
            return super().__repr__()

    __str__ = __repr__

    def _repr_html_(self) -> str:
        return page(self.table, "", {"": self}, self.table)


def unexplained(table: str, columns: Iterable[str]) -> list[str]:
    """Columns that the dictionary does not explain.

    Parameters
    ----------
    table : str
    columns : iterable of str
    """
    return [column for column in columns if explain(table, column) is None]
