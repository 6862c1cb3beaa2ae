"""The report of a qualification, as a page and as a Word document."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from ranklsim.reports.layout.cells import Text, code, tag
from ranklsim.reports.layout.exhibit import Exhibit, Section
from ranklsim.reports.layout.page import Page, table
from ranklsim.reports.layout.tables import sig
from ranklsim.reports.layout.word import write_word
from ranklsim.reports.qualify.finding import DOCUMENT, FAIL, NOT_RUN, PASS, Qualification

MARK = "ranklsim-qualification"
LOOKS = {PASS: "calibrated", FAIL: "predicted", NOT_RUN: "set"}
"""Class of the style of each result."""
ABOUT = {
    "installation": "The software on this machine is that of the release, whole and readable.",
    "solver": "The solver solves the equations that are written down, and the equations keep their balances.",
    "determinism": "The same input gives the same bytes.",
    "statistics": "The statistical methods give the values of published examples and of other software.",
    "published trials": "The model predicts published trials as this release does. The model was fitted to most of "
    "these figures, and the limits were set by the authors after the fit: they guard against change, they are no "
    "evidence from outside.",
}


def write_qualification(found: Qualification, folder: Path) -> None:
    """Write ``index.html`` with its tables, and ``qualification.docx``.

    Parameters
    ----------
    found : Qualification
    folder : Path
        An existing folder.
    """
    page = Page(
        mark=MARK,
        kind="Qualification",
        title=f"Qualification of ranklsim {found.facts['ranklsim']}",
        meta=f"{found.facts['machine']} · Python {found.facts['python']} · {found.facts['finished']}",
        keyhead="Result",
        footer=f"ranklsim {found.facts['ranklsim']}, installation {found.facts['fingerprint'][:12]}. All patients are "
        "simulated.",
    )
    parts = sections(found)
    page.write(folder, parts)
    write_word(folder / DOCUMENT, page.title, page.meta, page.footer, found.facts["finished"], parts,
               subject="Qualification of software")  # fmt: skip


def sections(found: Qualification) -> list[Section]:
    """The sections of the report.

    Parameters
    ----------
    found : Qualification
    """
    facts = found.facts
    first = Section("1", "Result", "result")
    first.key = [found.sentence()]
    first.paragraphs = [
        "Each requirement has an identifier, an acceptance rule and a source. Its check was made on this machine, by "
        f"the command {facts['command']}. A check that can't be made here is not run, and counts neither as pass nor "
        "as fail.",
        "The sentences and numbers of this report are computed from the checks; nobody typed them.",
    ]
    first.exhibits = [_machine(facts, "1.1"), _groups(found, "1.2"), _signatures("1.3")]
    out = [first]
    for k, (group, about) in enumerate(ABOUT.items(), 2):
        section = Section(str(k), group.capitalize(), group.replace(" ", "-"))
        section.paragraphs = [about]
        own = found.results[found.results["group"] == group]
        section.exhibits.append(results_table(own, f"{k}.1", f"Requirements: {group}"))
        numbered = enumerate(((name, found.tables[name]) for name in own["requirement"] if name in found.tables), 2)
        section.exhibits += [_values(name, values, f"{k}.{i}") for i, (name, values) in numbered]
        out.append(section)
    return out


def results_table(results: pd.DataFrame, number: str, title: str) -> Exhibit:
    """Requirements with rule and result, one row each.

    Parameters
    ----------
    results : DataFrame
        Rows of `Qualification.results`.
    number, title : str
        Of the exhibit.
    """

    def cells(row: dict[str, Any]) -> dict[str, Text]:
        return {
            "ID": row["requirement"],
            "Requirement": row["text"],
            "Accepted": f"{row['rule']} {row['unit']}".replace("<=", "≤").replace(">=", "≥"),
            "Found": sig(row["value"]),
            "Result": tag(row["result"], LOOKS[row["result"]]),
            "Evidence": row["evidence"],
            "Source": row["source"],
        }

    return table(number, title, results, cells, "Found: the value to which the acceptance rule applies.",
                 widths=(7, 20, 12, 9, 8, 27, 17))  # fmt: skip


def _machine(facts: dict[str, Any], number: str) -> Exhibit:
    rows = [
        ("Software", f"ranklsim {facts['ranklsim']}"),
        ("Installed in", facts["place"]),
        ("Hash of all code and data", facts["fingerprint"]),
        ("Python", facts["python"]),
        ("Machine", facts["machine"]),
        ("Processors", str(facts["processors"])),
        ("Finished", facts["finished"]),
    ]
    frame = pd.DataFrame(rows, columns=["item", "value"])
    return table(number, "What was qualified", frame, lambda r: {"Item": r["item"], "Value": code(r["value"])},
                 "The hash is SHA-256 over all files of the package and the versions of its libraries.")  # fmt: skip


def _groups(found: Qualification, number: str) -> Exhibit:
    results = found.results
    counts = results.groupby("group", sort=False)["result"].value_counts().unstack(fill_value=0)
    frame = counts.reindex(columns=[PASS, FAIL, NOT_RUN], fill_value=0).reset_index()
    frame["minutes"] = results.groupby("group", sort=False)["seconds"].sum().to_numpy() / 60

    def cells(row: dict[str, Any]) -> dict[str, Text]:
        counts = {name.capitalize(): str(row[name]) for name in (PASS, FAIL, NOT_RUN)}
        return {"Group": row["group"].capitalize(), **counts, "Minutes": f"{row['minutes']:.1f}"}

    heads = ("Pass", "Fail", "Not run", "Minutes")
    return table(number, "Results by group", frame, cells, "Number of requirements.", numeric=heads)


def _signatures(number: str) -> Exhibit:
    frame = pd.DataFrame({"role": ["Performed by", "Reviewed by", "Approved by"]})
    return table(number, "Signatures", frame,
                 lambda r: {"Role": r["role"], "Name": "", "Date": "", "Signature": ""},
                 "To be filled in by hand.")  # fmt: skip


def _values(name: str, values: pd.DataFrame, number: str) -> Exhibit:
    def cells(row: dict[str, Any]) -> dict[str, Text]:
        return {str(key).replace("_", " ").capitalize(): _shown(value) for key, value in row.items()}

    plain = [column for column in values if pd.api.types.is_numeric_dtype(values[column])]
    numeric = [str(column).replace("_", " ").capitalize() for column in plain if values[column].dtype != bool]
    return table(number, f"Values behind {name}", values, cells, "As computed on this machine.", numeric=numeric,
                 folded=len(values) > 12)  # fmt: skip


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return sig(value) if isinstance(value, float) else "–" if value is None else str(value)
