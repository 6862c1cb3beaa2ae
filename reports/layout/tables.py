"""Tables of the report as cells, each made from the frame that is exported beside it, with the arms as columns.

Numbers follow the style of a clinical study report: means get one decimal more than the data, SD and SE two;
medians with quartiles; counts with one-decimal percentages. A value that cannot be estimated is an en dash.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from ranklsim.cohorts.words import month_text
from ranklsim.reports.layout.arms import PREDICTED, ArmView
from ranklsim.reports.layout.cells import Cell, Column, Group, Kind, Row, Span, Table, Text, tag, unbroken

DASH = "–"
TOTAL = "Total"

# -- numbers -----------------------------------------------------------------------------------------------------------


def num(value: float, decimals: int = 2, *, sign: bool = False) -> str:
    """A number with a true minus sign; an en dash where there is none, "0" never as "-0".

    Parameters
    ----------
    value : float
    decimals : int
    sign : bool
        Whether a plus stands before a positive number.
    """
    if value is None or not np.isfinite(value):
        return DASH
    text = f"{value:.{decimals}f}"
    if float(text) == 0:
        return text.replace("-", "")
    return ("+" if sign and value > 0 else "") + text.replace("-", "−")


def interval(low: float, high: float, decimals: int = 2) -> str:
    """``low, high`` or an en dash.

    Parameters
    ----------
    low, high : float
        Limits; NaN gives a dash.
    decimals : int
        Digits after the point.
    """
    if not (np.isfinite(low) and np.isfinite(high)):
        return DASH
    return f"{num(low, decimals)}, {num(high, decimals)}"


def with_interval(value: float, low: float, high: float, decimals: int = 2) -> str:
    """``value (low, high)``; the value alone where there is no interval; an en dash where there is no value.

    Parameters
    ----------
    value, low, high : float
        Estimate and limits; NaN where there is none.
    decimals : int
        Digits after the point.
    """
    if not np.isfinite(value):
        return DASH
    inside = interval(low, high, decimals)
    return num(value, decimals) if inside == DASH else f"{num(value, decimals)} ({inside})"


def p_value(value: float) -> str:
    """``0.012``, ``<0.001``, or an en dash where there is none.

    Parameters
    ----------
    value : float
        NaN gives a dash.
    """
    if not np.isfinite(value):
        return DASH
    return "<0.001" if value < 0.0005 else num(value, 3)


def share(count: int, of: int) -> str:
    """``n (x.x%)``.

    Parameters
    ----------
    count, of : int
        Number of patients with the event, and of all.
    """
    return f"{count} ({100 * count / of:.1f}%)" if of else DASH


def sig(value: float, digits: int = 4) -> str:
    """A parameter value with up to so many significant digits; infinite (a KD of no binding) is "none".

    Parameters
    ----------
    value : float
        In the unit of the parameter table.
    digits : int
        Significant digits.
    """
    if np.isnan(value):
        return DASH
    return "none" if np.isinf(value) else f"{float(f'{value:.{digits}g}'):.10g}".replace("-", "−")


def unit_words(unit: object) -> str:
    """A unit in print: g/cm², mL/min/1.73 m², µg/mL. A number without a unit has an en dash.

    Parameters
    ----------
    unit : object
        A unit as the parameter table writes it.
    """
    text = str(unit)
    if text in ("1", "", "nan", "None"):
        return DASH
    return re.sub(r"\bug\b", "µg", re.sub(r"(?<=m)2\b", "²", text)).replace("1.73m", "1.73 m")


def doi_link(source: object, doi: object) -> Text:
    """A source with its DOI or PMID as a link, where it has one.

    Parameters
    ----------
    source : str or NaN
    doi : str or NaN
        ``10....`` or ``PMID ...``.
    """
    words = "" if source is None or pd.isna(source) else re.sub("`([^`]*)`", r"“\1”", str(source))
    mark = "" if doi is None or pd.isna(doi) else str(doi).strip()
    if not mark:
        return words
    if mark.startswith("10."):
        return (f"{words} ", Span(f"doi:{mark}", "link", f"https://doi.org/{mark}"))
    if mark.upper().startswith("PMID"):
        digits = "".join(c for c in mark if c.isdigit())
        return (f"{words} ", Span(mark, "link", f"https://pubmed.ncbi.nlm.nih.gov/{digits}/"))
    return f"{words} {mark}"


# -- cells and rows ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Show:
    """Format of a line of a table: the columns of the frame, and the function that turns them into text.

    The arm `reference`, with which others are compared, shows `instead`.
    """

    columns: tuple[str, ...]
    text: Callable[..., Text]
    reference: str = ""
    instead: str = ""
    kind: Kind = "body"

    def __call__(self, record: Mapping[str, Any] | None) -> Cell:
        if record is None:
            return Cell(DASH)
        values = tuple(record[column] for column in self.columns)
        instead = bool(self.reference) and record["arm"] == self.reference
        return Cell(self.instead if instead else self.text(*values), values, self.columns)


Records = Mapping[str, Mapping[str, Any]]
"""The row of each arm."""
Lines = Sequence[tuple[Text, Records, Show]]
"""Head of each line, the rows of the arms, and how they are shown."""


def count(column: str = "n") -> Show:
    """A whole number.

    Parameters
    ----------
    column : str
        Column of the frame.
    """
    return Show((column,), lambda n: f"{int(n)}")


def shares(column: str, of: str) -> Show:
    """``n (x.x%)`` of the patients in column `of`.

    Parameters
    ----------
    column, of : str
        Columns with the count and the number of patients.
    """
    return Show((column, of), lambda n, total: share(int(n), int(total)))


def number(column: str, decimals: int = 2) -> Show:
    """A number with `decimals`.

    Parameters
    ----------
    column : str
        Column of the frame.
    decimals : int
        Digits after the point.
    """
    return Show((column,), partial(num, decimals=decimals))


def estimate(
    value: str, low: str, high: str, decimals: int = 2, *, reference: str = "", instead: str = "", kind: Kind = "body"
) -> Show:
    """A value with its interval or its quartiles; the arm `reference` shows `instead`.

    Parameters
    ----------
    value, low, high : str
        Columns of the frame.
    decimals : int
    reference, instead : str
        An arm, and the text that it shows.
    kind : str
        Kind of the line.
    """
    return Show((value, low, high), partial(with_interval, decimals=decimals), reference, instead, kind)


def spread(value: str, other: str, decimals: int = 2) -> Show:
    """``mean (SD)`` or ``mean (SE)`` of the patients in column `n`; a dash where there is none.

    Parameters
    ----------
    value, other : str
        Columns of the frame.
    decimals : int
    """
    return Show((value, other, "n"), lambda a, b, n: f"{num(a, decimals)} ({num(b, decimals)})" if n else DASH)


def limits(low: str, high: str, decimals: int = 2, kind: Kind = "body") -> Show:
    """``low, high``.

    Parameters
    ----------
    low, high : str
        Columns of the frame.
    decimals : int
    kind : str
        Kind of the line.
    """
    return Show((low, high), partial(interval, decimals=decimals), kind=kind)


def by_arm(rows: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Rows by their arm.

    Parameters
    ----------
    rows : iterable of dict
        One for each arm, with a key "arm".
    """
    return {row["arm"]: row for row in rows}


def _groups(frame: pd.DataFrame, by: str, *, sort: bool) -> list[tuple[Any, list[dict[str, Any]]]]:
    """Rows of a frame by their value in a column, in its order or that of the rows; those without one are left out."""
    found: dict[Any, list[dict[str, Any]]] = {}
    for row in frame.to_dict("records"):
        if not pd.isna(row[by]):
            found.setdefault(row[by], []).append(row)
    return sorted(found.items()) if sort else list(found.items())


def label_of(arms: Sequence[ArmView], name: str) -> str:
    """The label of an arm.

    Parameters
    ----------
    arms : sequence of ArmView
        The arms of the trial.
    name : str
        The arm's name in the trial file.
    """
    return next(arm.label for arm in arms if arm.name == name)


# -- tables ------------------------------------------------------------------------------------------------------------


def _arm_table(
    arms: Sequence[ArmView],
    counts: Mapping[str, int],
    groups: Iterable[tuple[Text, object, Lines]],
    *,
    heads: Sequence[str] = ("",),
    total: bool = False,
    complete: bool = False,
) -> Table:
    """A table whose columns are the arms with their numbers of patients (`counts`), and with `total` all together.

    `groups` have title, key and lines. With two `heads` before those of the arms, titles stand in the first column.
    Lines that say nothing about any arm are left out unless the table is `complete`.
    """
    columns = [Column(head) for head in heads]
    for arm in arms:
        mark = (tag(PREDICTED),) if arm.basis == PREDICTED else ()
        size = Span(f"(N={counts.get(arm.name, 0)})", "size")
        columns.append(Column((Span("", "swatch", arm.color), f"{arm.label} ", size, *mark), arm.name))
    names = [arm.name for arm in arms]
    if total:
        columns.append(Column((f"{TOTAL} ", Span(f"(N={sum(counts.values())})", "size")), TOTAL))
        names.append(TOTAL)
    beside = len(heads) > 1
    made = []
    for title, key, lines in groups:
        rows: list[Row] = []
        for head, records, show in lines:
            cells = [show(records.get(name)) for name in names]
            if (
                total and not complete
            ):  # the columns are narrow: a cell breaks before an interval, not before a percentage
                cells = [cell if "," in str(cell.text) else _whole(cell) for cell in cells]
            if complete or (beside and not rows) or any(cell.text not in (DASH, "") for cell in cells):
                rows.append(Row((Cell(head), *cells), show.kind))
        made.append(Group(tuple(rows), title, key))
    return Table(tuple(columns), tuple(made), "arms narrow" if total else "arms", beside)


def _whole(cell: Cell) -> Cell:
    return replace(cell, text=str(cell.text).replace(" ", "\u00a0"))


def crossed(
    frame: pd.DataFrame,
    arms: Sequence[ArmView],
    counts: Mapping[str, int],
    *,
    shows: Mapping[str, Show],
    by: str = "",
    titles: Mapping[str, str] | None = None,
    total: bool = False,
) -> Table:
    """A table with one line for each of `shows`, made from the arms' rows of `frame`.

    Parameters
    ----------
    frame : DataFrame
        Column `arm`, and those that `shows` names.
    arms : sequence of ArmView
        The columns.
    counts : mapping
        Arm to its number of patients.
    shows : mapping
        Head of each line to what it shows.
    by : str
        Column whose values make the groups of rows. Months stand in a column of their own.
    titles : mapping, optional
        Value of `by` to the title of its group; the value itself by default.
    total : bool
        Whether the row of all arms together has a column too.

    Returns
    -------
    Table
    """
    months, groups = by == "month", []
    for key, at in _groups(frame, by, sort=months) if by else [("", frame.to_dict("records"))]:
        records = by_arm(at)
        title = titles[str(key)] if titles else month_text(float(str(key))) if months else str(key)
        groups.append((title, key, [(head, records, show) for head, show in shows.items()]))
    return _arm_table(arms, counts, groups, heads=("Month", "") if months else ("",), total=total)


def by_part(
    frame: pd.DataFrame,
    arms: Sequence[ArmView],
    counts: Mapping[str, int],
    *,
    column: str,
    names: Mapping[str, str],
    shows: Mapping[str, Show],
    head: str,
    total: Show | None = None,
) -> Table:
    """A table with a group of rows for each month and a line for each value of `column` in `names`.

    Parameters
    ----------
    frame : DataFrame
        Columns `month`, `arm`, `column`, and those that `shows` name.
    names : mapping
        Value of `column` to the head of its line.
    shows : mapping
        Value of `column` to how it is shown.
    head : str
        Head of the lines.
    total : Show, optional
        How the sum of the parts is shown, which every row of the frame holds.
    arms, counts
        As in `crossed`.

    Returns
    -------
    Table
    """
    groups = []
    for month, at in _groups(frame, "month", sort=True):
        parts = {key: by_arm(row for row in at if str(row[column]) == key) for key in names}
        lines: list[tuple[Text, Records, Show]] = [(names[key], parts[key], shows[key]) for key in names if parts[key]]
        if total is not None:
            lines.append(("sum", by_arm(at), total))
        groups.append((month_text(float(str(month))), month, lines))
    return _arm_table(arms, counts, groups, heads=("Month", head))


def against(label: str, control: str, decimals: int = 2) -> dict[str, Show]:
    """The line with the difference to the control arm.

    Parameters
    ----------
    label : str
        Of the control arm.
    control : str
    decimals : int
    """
    show = estimate("difference", "difference_low", "difference_high", decimals, reference=control)
    return {f"Difference to {label} (95% CI)": show}


def means(arms: Sequence[ArmView], control: str | None, decimals: int = 2) -> dict[str, Show]:
    """Lines of `summaries.mean_by_visit`.

    Parameters
    ----------
    arms : sequence of ArmView
    control : str or None
    decimals : int
    """
    own = {"n": count(), "Mean (SD)": spread("mean", "sd", decimals), "95% CI": limits("ci_low", "ci_high", decimals)}
    return own if control is None else own | against(label_of(arms, control), control, decimals)


def medians(arms: Sequence[ArmView], control: str | None, decimals: int = 1) -> dict[str, Show]:
    """Lines of `summaries.median_by_visit`.

    Parameters
    ----------
    arms : sequence of ArmView
    control : str or None
    decimals : int
        Of the medians.
    """
    own = {"n": count(), "Median (Q1, Q3)": estimate("median", "q1", "q3", decimals)}
    if control is None:
        return own
    ratio = estimate("ratio", "ratio_low", "ratio_high", reference=control)
    return own | {f"Geometric mean ratio to {label_of(arms, control)} (95% CI)": ratio}


def endpoint_digits(row: Mapping[str, Any]) -> int:
    """Decimals of an endpoint: two for percentages of BMD, one for those of markers (more scatter), three otherwise.

    Parameters
    ----------
    row : mapping
        A row of the endpoints, with `unit` and `measure`.
    """
    return 3 if row["unit"] != "%" else 2 if str(row["measure"]).startswith("BMD") else 1


def endpoint_table(
    frame: pd.DataFrame, arms: Sequence[ArmView], counts: Mapping[str, int], *, against: Mapping[str, str | None]
) -> Table:
    """The endpoints (`summaries.endpoint` with the columns ``parameter_...``), a group of rows each.

    Parameters
    ----------
    frame : DataFrame
    arms, counts
        As in `crossed`.
    against : mapping
        Endpoint to the arm that others are compared with in it.
    """
    groups = []
    for name, at in _groups(frame, "endpoint", sort=False):
        control = against[str(name)]
        records = by_arm(at)
        some = next(iter(records.values()))
        unit, digits = some["unit"], endpoint_digits(some)
        shows = {
            "n": count(),
            f"{some['statistic']} ({unit}; 95% CI)": estimate("estimate", "ci_low", "ci_high", digits),
        }
        if control is not None:
            points = "percentage points" if unit == "%" else unit
            shows[f"Difference to {label_of(arms, control)} ({points}; 95% CI)"] = estimate(
                "difference", "difference_low", "difference_high", digits, reference=control, instead="reference"
            )
            shows["p"] = Show(("p",), p_value, control)
        shows["Same over unknown parameters: median (90% interval)"] = estimate(
            "parameter_median", "parameter_low", "parameter_high", digits, kind="unknown"
        )
        shows["Range over these and other structures of the model"] = limits(
            "unknown_low", "unknown_high", digits, kind="unknown"
        )
        title = (f"{name} ", Span(f"({some['role']}; {some['method']})", "size"))
        groups.append((title, name, [(head, records, show) for head, show in shows.items()]))
    return _arm_table(arms, counts, groups)


def baseline_table(frame: pd.DataFrame, arms: Sequence[ArmView], counts: Mapping[str, int]) -> Table:
    """Table of `baseline.characteristics`.

    Parameters
    ----------
    frame : DataFrame
    arms, counts
        As in `crossed`.
    """
    what = {"mean": "mean (SD)", "median": "median (Q1, Q3)", "count": "n (%)"}
    lines: list[tuple[Text, Records, Show]] = []
    for _, at in _groups(frame, "variable", sort=False):
        records = by_arm(at)
        some = records[TOTAL]
        largest = max((abs(r["a"]) for r in records.values() if np.isfinite(r["a"])), default=0.0)
        digits = 3 if largest < 2 and some["unit"] != "T-score" else 2 if largest < 10 else 1
        unit = f" ({some['unit']})" if some["unit"] else ""
        head = (f"{some['label']}{unit}", Span(f", {what[some['kind']]}", "size"))
        lines.append(
            (head, records, Show(("a", "b", "c", "n"), partial(_baseline_cell, kind=some["kind"], digits=digits)))
        )
    groups = [("", None, lines)]
    return _arm_table(arms, counts, groups, heads=("Characteristic",), total=True, complete=True)


def _baseline_cell(a: float, b: float, c: float, n: int, *, kind: str, digits: int) -> str:
    if not n:
        return DASH
    if kind == "count":
        return f"{int(a)} ({b:.1f}%)"
    if kind == "median":  # breaks before the parenthesis, not within it
        return unbroken(with_interval(a, b, c, digits))
    return f"{num(a, digits)} ({num(b, digits)})"


def _month_or_later(month: float, last: float) -> str:
    return f">{month_text(last)}" if np.isinf(month) else num(month, 1)


def back_words(row: Mapping[str, Any]) -> str:
    """The month at which a mean is back at baseline, with its interval; ">72" where it is not by the last visit.

    Parameters
    ----------
    row : mapping
        With `back_month`, `back_low`, `back_high` and `last_month`, in months.
    """
    month, last = row["back_month"], row["last_month"]
    if np.isnan(month):
        return DASH
    low, high = row["back_low"], row["back_high"]
    text = _month_or_later(month, last)
    if np.isnan(low) or np.isnan(high) or (np.isinf(low) and np.isinf(high)):
        return text
    return f"{text} ({_month_or_later(low, last)}, {_month_or_later(high, last)})"
