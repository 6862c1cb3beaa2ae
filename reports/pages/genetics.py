"""The page of ``ranklsim genetics``: published mice beside the default and the middle 90 % of the ensemble."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ranklsim import __version__
from ranklsim.pkpd.mice.genetics import counts, genetics_table
from ranklsim.reports.layout.cells import Record, Text
from ranklsim.reports.layout.exhibit import Section
from ranklsim.reports.layout.folders import check_folder, new_folder
from ranklsim.reports.layout.page import Page, table

MARK = "ranklsim-genetics"
TOP = frozenset({"index.html"})


def check_page(folder: Path, *, force: bool = False) -> None:
    """Refuse a folder that the page can't be written to.

    Parameters
    ----------
    folder : Path
        Of the result.
    force : bool
        Whether to replace an earlier result.

    Raises
    ------
    BadInput
        If the folder can't be made, or holds something else.
    """
    check_folder(folder, f'content="{MARK}"', TOP, force)


def write_page(folder: Path, results: pd.DataFrame, *, force: bool = False, command: str = "") -> Path:
    """Write the page.

    Parameters
    ----------
    folder : Path
        Of the result: ``index.html`` with ``tables/``.
    results : DataFrame
        As from `run_genetics`.
    force : bool
        Whether to replace an earlier result.
    command : str
        What the user typed, for the page.

    Returns
    -------
    Path
        ``index.html``.

    Raises
    ------
    BadInput
        If the folder holds something else.
    """
    check_page(folder, force=force)
    shown = genetics_table(results)
    key: list[Text] = list(counts(results))
    footnote = (
        "Predicted: by the default parameters. Median and middle 90%: of vectors of the ensemble. By construction: the "
        "model cannot but agree. Chosen: shares of sources and folds were set with this size in view. Basis: R read at "
        "its source, C recalled, P prediction for a hypothetical agent."
    )
    weighed = ["" if one else "by construction, or chosen" for one in _ordered(results)["independent"]]
    records = shown.assign(Test=shown["Test"].replace("-", "further"), Independent=weighed)
    rows: list[Record] = [
        {
            "Test": f"Test {row['Test']}" if row["Test"] != "further" else "Further experiments",
            "Genotype and endpoint": f"{row['Genotype']}: {row['Endpoint']}".removeprefix("-: "),
            "Published": row["Published"],
            "Agrees if": row["Agrees if"].replace("-", "−"),
            "Predicted": row["Predicted"].replace("-", "−"),
            "Median (90% of vectors)": row["Median (90 % of vectors)"].replace("-", "−"),
            "Result": " ".join(
                text for text in (row["Result"], row["Independent"] and f"({row['Independent']})") if text
            ),
            "Source": f"{row['Basis']}: {row['Source']}",
        }
        for row in records.to_dict("records")
    ]
    page = Page(
        MARK,
        "Published mice",
        "Virtual knock-outs beside published mice",
        f"ranklsim {__version__}{'; ' + command if command else ''}",
        "How many statements agree",
        f"Bounds of agreement are ours. ranklsim {__version__}.",
    )
    exhibit = table("1", "Every statement", records, rows, footnote, numeric=["Predicted"], group="Test")
    how = [
        "Every genotype is the typical woman with synthesis, shedding, anchoring, OPG or RANK set to none or to a "
        "multiple, on the time scale of a mouse."
    ]
    with new_folder(folder) as work:
        page.write(work, [Section("1", "Result", "result", key=key, paragraphs=[*how], exhibits=[exhibit])])
    return folder / "index.html"


def _ordered(results: pd.DataFrame) -> pd.DataFrame:
    """Rows in the order of `genetics_table`."""
    return results.sort_values("test", kind="stable", key=lambda test: test.where(test > 0, float("inf")))
