"""The tables of docs/genetics.md: published mice beside the model.

.venv/bin/python scripts/genetics.py
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ranklsim.pkpd.ensemble import ensemble
from ranklsim.pkpd.mice.genetics import VECTORS, changes, counts, genetics_table, run_genetics
from ranklsim.pkpd.mice.laboratory import published
from ranklsim.pkpd.parameters import load_parameters

PAGE = Path(__file__).parent.parent / "docs" / "genetics.md"
MARKS = ("<!-- table: scripts/genetics.py -->", "<!-- end -->")


def page(results: pd.DataFrame) -> str:
    """The text of docs/genetics.md with counts and tables of these results (`run_genetics`)."""
    text = PAGE.read_text(encoding="utf-8")
    begin, end = (text.index(mark) for mark in MARKS)
    lines = [*(f"- {line}" for line in counts(results)), "", *_interventions(), "", *_rows(results)]
    return "\n".join([text[: begin + len(MARKS[0])], *lines, text[end:]])


def _interventions() -> list[str]:
    rows = []
    for part in published()["intervention"].values():
        why = "; ".join(text for text in (part["source"], part.get("note", "")) if text)
        rows.append((part["label"], ", ".join(changes(part, load_parameters())), why))
    return _table(("intervention", "change", "evidence"), rows)


def _rows(results: pd.DataFrame) -> list[str]:
    table = genetics_table(results)
    return _table(tuple(table.columns), list(table.itertuples(index=False)))


def _table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    cells = [heads, ("---",) * len(heads), *rows]
    return ["| " + " | ".join(str(cell).replace("|", "/") for cell in row) + " |" for row in cells]


if __name__ == "__main__":
    PAGE.write_text(page(run_genetics(vectors=ensemble().head(VECTORS))), encoding="utf-8")
