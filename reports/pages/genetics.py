"""The page of ``ranklsim genetics``: published mice beside the default and the middle 90 % of the ensemble."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ranklsim import __version__
from ranklsim.pkpd.mice.genetics import changes, counts, genetics_table
from ranklsim.pkpd.mice.laboratory import published
from ranklsim.pkpd.parameters import load_parameters
from ranklsim.reports.layout.cells import Record, Text, code
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
        "Predicted: by the default parameters. Median (90%): of parameter vectors of the ensemble. By construction: "
        "the genotype or the agent is defined so that the model must agree. Chosen: the size was used when the "
        "parameters were set. Basis: R, we read it at its source; C, we recall it; P, we predict it for a "
        "hypothetical agent. Table 2 has the parameters of each genotype."
    )
    weighed = ["" if one else "by construction, or chosen" for one in _ordered(results)["independent"]]
    records = shown.assign(Test=shown["Test"].replace("-", "further"), Independent=weighed)
    rows: list[Record] = [
        {
            "Test": f"Test {row['Test']}" if row["Test"] != "further" else "Further experiments",
            "Genotype and endpoint": f"{row['Genotype']}: {row['Endpoint']}".removeprefix("-: "),
            "Published": _minus(row["Published"]),
            "Agrees if": _minus(row["Agrees if"]),
            "Predicted": _minus(row["Predicted"]),
            "Median (90% of vectors)": _minus(row["Median (90 % of vectors)"]),
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
        "A virtual genotype is the typical woman with other values of a few parameters, on the time scale of a mouse. "
        "For example, a knock-out of RANKL sets its synthesis to 0. No genotype has parameters of its own. We chose "
        "the bounds within which a prediction agrees."
    ]
    parts = [*published()["genotype"].values(), *published()["intervention"].values()]
    parameters = load_parameters()
    changed: list[Record] = [
        {"Genotype or intervention": part["label"], "Parameters that it changes": _code(changes(part, parameters))}
        for part in parts
    ]
    frame = pd.DataFrame(
        [(part["label"], ", ".join(changes(part, parameters)).replace("`", "")) for part in parts],
        columns=["label", "changes"],
    )
    of_each = table(
        "2", "Genotypes and interventions", frame, changed,
        "SOURCE stands for osteocyte, marrow, osteoblast and lymphocyte. 0: none; 1: normal. `ranklsim parameters "
        "show NAME` explains a parameter.",
    )  # fmt: skip
    with new_folder(folder) as work:
        page.write(work, [Section("1", "Result", "result", key=key, paragraphs=[*how], exhibits=[exhibit, of_each])])
    return folder / "index.html"


def _minus(text: str) -> str:
    """A text whose negative numbers have a true minus sign."""
    return re.sub(r"(?<!\w)-(?=\d)", "−", text)


def _code(texts: Sequence[str]) -> Text:
    """Texts as a list in one line, with what stands in backquotes as code."""
    pieces = (", ".join(texts) or "nothing").split("`")
    return tuple(code(piece) if k % 2 else piece for k, piece in enumerate(pieces))


def _ordered(results: pd.DataFrame) -> pd.DataFrame:
    """Rows in the order of `genetics_table`."""
    return results.sort_values("test", kind="stable", key=lambda test: test.where(test > 0, float("inf")))
