"""A table of real women's covariates, CSV or Parquet, as a population resamples it: read, checked, made complete.

Columns are named as in ``data/covariates.csv`` and hold values in its units, unless the population's file gives another
heading (`columns`) or unit (`units`). What is neither a covariate nor named under `ignore` is refused, so that a
misspelt heading is not lost in silence. An empty cell, NA, NaN or a full stop is a missing value. Faults are told with
file, line and column, all at once.

A value below the limit of its assay is written as ``<0.03``. Such values are put at the quantiles for which they stand,
by regression on order statistics: the logarithms of the values above the limit are a straight line over their normal
scores, which goes on below it [1]_.

References
----------
.. [1] Helsel DR, Cohn TA. Water Resour Res 1988;24:1997-2004. doi:10.1029/WR024i012p01997
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtri

from ranklsim.cohorts.people.criteria import covariates
from ranklsim.pkpd.errors import BadInput, Caution, near, one_of
from ranklsim.pkpd.parquet import read_parquet
from ranklsim.pkpd.reading import finite, first_faults, no_number, read_csv
from ranklsim.pkpd.records import COLUMNS as RECORD_COLUMNS
from ranklsim.pkpd.simulation import EARLIEST_MENOPAUSE
from ranklsim.pkpd.units import convert

AT_MENOPAUSE = "age_at_menopause"
DERIVED = ("T_lowest",)
FEWEST = 20  # rows
BODY = 0.03  # share by which BMI may differ from weight over squared height, for rounding

_NUMBERS_WOMEN = re.compile(r"u?subj(ect)?_?(id|no)?|id|pat(ient)?_?(id|no|number)?|pid|record_?id", re.IGNORECASE)
_MEASURED = ("CTX", "P1NP", "vitamin_D")  # by an assay that cannot find 0
_MOST_BELOW = 0.5  # share of values below the limit; with more, a line has too little to go on
_MISSING = {"", "na", "nan", "n/a", "null", "none", "."}
_DOUBTFUL = {
    "T": (-np.inf, 1.0, "a T-score below the mean of the young is negative, such as -2.5"),
    "weight": (-np.inf, 110.0, "weight is in kg; give another unit under `units`"),
    "vitamin_D": (-np.inf, 50.0, "vitamin D is in ng/mL, and 1 ng/mL is 2.5 nmol/L"),
    "CTX": (0.02, np.inf, "CTX is in ng/mL; give another unit under `units`"),
}
"""Covariate to the range in which the median of a group of women lies, and what is said where it does not."""
_YES_NO = {"yes": 1.0, "no": 0.0, "y": 1.0, "n": 0.0, "true": 1.0, "false": 0.0}


@dataclass(frozen=True)
class Layout:
    """Meaning of the columns of a table.

    `columns` maps a covariate to its heading, `units` to the unit of its values; `ignore` names headings that are no
    covariates. With `records`, rows are records of doses and observations: a woman's covariates are those of her first
    one.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    ignore: Sequence[str] = ()
    records: bool = False


def unit_of(covariate: str) -> str:
    """Canonical unit of a covariate, that of the age at menopause among them.

    Parameters
    ----------
    covariate : str
        Name of the covariate.
    """
    return "yr" if covariate == AT_MENOPAUSE else covariates()[covariate].unit


def read_table(name: str, content: bytes, layout: Layout) -> pd.DataFrame:
    """Covariates of the women of a table.

    Parameters
    ----------
    name : str
        The file's name; ``.parquet`` is Parquet, everything else CSV.
    content : bytes
    layout : Layout

    Returns
    -------
    DataFrame
        One row a woman; a column for each covariate that the table has, in canonical units, NaN where missing.
        Age at menopause takes the place of years since menopause, and of weight, height and BMI at most two stay.
        ``attrs["below"]`` says in words which values were below a limit, ``attrs["ids"]`` the ID of each (None if the
        table has none).

    Raises
    ------
    BadInput
        With every fault, each with file, line and column.
    """
    places, cells = _parquet(name, content) if name.endswith(".parquet") else _csv(name, content)
    ids = _identities(cells)
    if layout.records:
        places, cells = _first_records(places, cells)
        ids = tuple(dict.fromkeys(ids or ()))
    faults = _one_row_each(places.rows, cells)
    named = {layout.columns.get(covariate, covariate): covariate for covariate in (*covariates(), AT_MENOPAUSE)}
    for heading in cells:
        if heading in layout.ignore:
            continue
        if heading not in named or named[heading] in DERIVED:
            faults.append(
                f"{places.head}: column '{heading}' is not a covariate; {near(heading, list(named))} "
                "Name what is not to be used under `ignore`."
            )
    for wanted in (*layout.columns.values(), *layout.ignore):
        if wanted not in cells:
            faults.append(f"{places.head}: there is no column '{wanted}'; {near(wanted, list(cells))}")
    if len(places.rows) < FEWEST:
        faults.append(f"{name}: holds {len(places.rows)} women; give at least {FEWEST}.")
    found, below = {}, []
    for heading, column in cells.items():
        if heading in named and heading not in layout.ignore and named[heading] not in DERIVED:
            covariate = named[heading]
            values, low = _numbers(places.rows, heading, covariate, column, layout, faults)
            found[covariate], words = _placed(values, low, f"{name}: column '{heading}'", unit_of(covariate), faults)
            below += [f"{covariate}: {words}"] if words else []
    frame = pd.DataFrame(found)
    if not faults:
        _consistent(name, places.rows, frame, faults)
    if not faults and not len(frame.columns):
        faults.append(f"{name}: has no column of a covariate; {near('', list(covariates()))}")
    if faults:
        raise BadInput(*first_faults(name, faults))
    for doubt in _doubts(name, frame, layout):
        warnings.warn(doubt, Caution, stacklevel=2)
    frame = _coordinates(frame)
    frame.attrs |= {"below": below, "ids": ids}
    return frame


@dataclass(frozen=True)
class _Places:
    """The beginning of a message on the heading, and of one on each row."""

    head: str
    rows: list[str]


def _csv(name: str, content: bytes) -> tuple[_Places, dict[str, list[object]]]:
    sheet = read_csv(name, content)
    if sheet.faults:
        raise BadInput(*first_faults(name, sheet.faults))
    columns: dict[str, list[object]] = {heading: list(sheet.column(heading)) for heading in sheet.columns}
    return _Places(f"{name}:{sheet.head}", [f"{name}:{line}" for line in sheet.lines]), columns


def _first_records(places: _Places, cells: Mapping[str, list[object]]) -> tuple[_Places, dict[str, list[object]]]:
    """The first row of each patient of a table of records, without the columns of records."""
    number = next((heading for heading in cells if _NUMBERS_WOMEN.fullmatch(heading)), None)
    if number is None:
        raise BadInput(f"{places.head}: records = true, but no column ID tells whose a record is; add one.")
    first: dict[str, int] = {}
    for k, cell in enumerate(cells[number]):
        first.setdefault(str(cell).strip(), k)
    kept = {heading: [column[k] for k in first.values()] for heading, column in cells.items()
            if heading.upper() not in RECORD_COLUMNS and heading != number}  # fmt: skip
    return _Places(places.head, [places.rows[k] for k in first.values()]), kept


def _identities(cells: Mapping[str, Sequence[object]]) -> tuple[str, ...] | None:
    """What the column of identifiers, if there is one, says of each row."""
    number = next((heading for heading in cells if _NUMBERS_WOMEN.fullmatch(heading)), None)
    return None if number is None else tuple("" if cell is None else str(cell).strip() for cell in cells[number])


def _one_row_each(places: list[str], cells: Mapping[str, Sequence[object]]) -> list[str]:
    """The fault of a column of identifiers, also an ignored one, that contains an identifier twice."""
    for heading, column in cells.items():
        first: dict[str, int] = {}
        for k, cell in enumerate(column if _NUMBERS_WOMEN.fullmatch(heading) else ()):
            number = "" if cell is None else str(cell).strip()
            if number and number in first:
                said = f"{places[k]}: column '{heading}': {number} appears in {places[first[number]]} too"
                return [
                    f"{said}; give one row for each woman, not one for each of her records, or "
                    "say records = true to take her first one."
                ]
            first[number] = k
    return []


def _parquet(name: str, content: bytes) -> tuple[_Places, dict[str, list[object]]]:
    columns = read_parquet(name, content)
    rows = len(next(iter(columns.values()), ()))
    return _Places(name, [f"{name}, row {k}" for k in range(1, rows + 1)]), columns


def _numbers(
    places: list[str],
    heading: str,
    covariate: str,
    column: Iterable[object],
    layout: Layout,
    faults: list[str],
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Values of a column in the canonical unit, and which are limits; notes every cell that cannot be."""
    canonical = unit_of(covariate)
    unit = layout.units.get(covariate, canonical)
    known = covariates().get(covariate)
    low, high = (known.low, known.high) if known else (20.0, 65.0)
    values, below = np.full(len(places), np.nan), np.zeros(len(places), dtype=bool)
    for k, cell in enumerate(column):
        text = "" if cell is None else str(cell).strip().lower()
        if text in _MISSING:
            continue
        here = f"{places[k]}: column '{heading}'"
        below[k] = text.startswith("<")
        if below[k]:
            text = text.lstrip("<= ")
            if covariate not in _MEASURED:
                faults.append(f"{here}: {cell} is no number; only {one_of(_MEASURED)} can be below a limit.")
                continue
        number = _YES_NO.get(text, finite(text)) if known and known.yes_no else finite(text)
        if number is None:
            yes_no = f"{str(cell)!r} is neither yes (1) nor no (0); give one of them"
            said = yes_no if known and known.yes_no else no_number(str(cell))
            faults.append(f"{here}: {said}, or leave the cell empty if it is missing.")
            continue
        value = convert(number, unit, canonical)
        if value == 0 and covariate in _MEASURED:
            said = "write < and that limit if she was below it, as in <0.03"
            faults.append(f"{here}: 0 is below the limit of every assay; {said}, or leave the cell empty.")
        elif known and known.yes_no and value not in (0.0, 1.0):
            faults.append(f"{here}: {cell} is neither yes (1) nor no (0); give one of them.")
        elif not low <= value <= high:
            said = f"{value:g}" + ("" if canonical == "1" else f" {canonical}")
            faults.append(
                f"{here}: {said} is outside what is possible, {low:g} to {high:g}; put it right, or leave it empty."
            )
        else:
            values[k] = value
    return values, below


def _placed(
    values: NDArray[np.float64], below: NDArray[np.bool_], where: str, unit: str, faults: list[str]
) -> tuple[NDArray[np.float64], str]:
    """Values with those below the limit at their quantiles, and in words which those are."""
    known = np.isfinite(values)
    below = below & known
    if not below.any():
        return values, ""
    limits, count, n = np.unique(values[below]), int(below.sum()), int(known.sum())
    limit = float(limits[-1])
    if len(limits) > 1:
        said = f"has limits from {limits[0]:g} to {limit:g} {unit}"
        faults.append(f"{where}: {said}; write all values below the highest as <{limit:g}.")
    elif (values[known & ~below] < limit).any():
        faults.append(f"{where}: has values below its limit of {limit:g} {unit}; write those too as <{limit:g}.")
    elif count > _MOST_BELOW * n or np.unique(values[known & ~below]).size < 2:
        faults.append(f"{where}: {count} of {n} values are below the limit, too many; leave the column out.")
    if faults:
        return values, ""
    scores = ndtri((np.arange(n) + 0.5) / n)
    slope, middle = np.polyfit(scores[count:], np.log(np.sort(values[known & ~below])), 1)
    placed = values.copy()
    placed[below] = np.minimum(np.exp(middle + slope * scores[:count]), limit)
    return placed, f"{count} below {limit:g} {unit}"


def _consistent(name: str, places: list[str], frame: pd.DataFrame, faults: list[str]) -> None:
    """Note women whose values cannot all be true."""
    if {"weight", "height", "BMI"} <= set(frame):
        off = np.abs(frame["weight"] / (frame["height"] / 100) ** 2 / frame["BMI"] - 1) > BODY
        faults += [
            f"{places[k]}: BMI {frame['BMI'][k]:g} is not weight over squared height; put one of the three right."
            for k in np.flatnonzero(off)
        ]
    if {"years_since_menopause", AT_MENOPAUSE} <= set(frame):
        faults.append(f"{name}: has years_since_menopause and {AT_MENOPAUSE}; keep one, the other follows.")
    if "years_since_menopause" in frame and "age" not in frame:
        faults.append(f"{name}: years_since_menopause needs a column age beside it.")
    elif "years_since_menopause" in frame:
        early = frame["age"] - frame["years_since_menopause"] < EARLIEST_MENOPAUSE
        faults += [
            f"{places[k]}: column 'years_since_menopause': {frame['years_since_menopause'][k]:g} yr puts the "
            f"menopause before the age of {EARLIEST_MENOPAUSE}; put it or the age ({frame['age'][k]:g} yr) right."
            for k in np.flatnonzero(early)
        ]


def _doubts(name: str, frame: pd.DataFrame, layout: Layout) -> list[str]:
    """Sentences on columns whose median lies where another unit, or another sign, would put it."""
    said = []
    for covariate in frame:
        values = frame[covariate].dropna()
        least, most, meant = _DOUBTFUL.get("T" if covariate.startswith("T_") else str(covariate), (-np.inf, np.inf, ""))
        if len(values) < FEWEST or covariate in layout.units or least <= values.median() <= most:
            continue
        said.append(
            f"{name}: column '{layout.columns.get(str(covariate), covariate)}': half of the values are "
            f"{'above' if values.median() > most else 'below'} {most if values.median() > most else least:g} "
            f"(they go from {values.min():g} to {values.max():g}); {meant}."
        )
    return said


def _coordinates(frame: pd.DataFrame) -> pd.DataFrame:
    """The columns that are drawn: those from which the others follow."""
    frame = frame.copy()
    if "years_since_menopause" in frame:
        frame[AT_MENOPAUSE] = frame["age"] - frame.pop("years_since_menopause")
    if {"weight", "height", "BMI"} <= set(frame):
        metres = frame["height"] / 100
        frame["BMI"] = frame["BMI"].fillna(frame["weight"] / metres**2)
        frame["height"] = frame["height"].fillna(100 * np.sqrt(frame["weight"] / frame["BMI"]))
        frame = frame.drop(columns="weight")
    return frame
