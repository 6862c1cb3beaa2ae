"""The tables of docs/genetics.md: published mice beside the model.

.venv/bin/python scripts/genetics.py
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ranklsim.pkpd.ensemble import ensemble
from ranklsim.pkpd.mice.genetics import VECTORS, counts, genetics_table, run_genetics
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
        what = [f"`{symbol}` x {_fold(value)}" for symbol, value in part.get("times", {}).items()]
        what += [f"rise of `{symbol}` in proportion to `{to}`" for symbol, to in part.get("needs", {}).items()]
        what += [f"`{symbol}` = {value:g}" for symbol, value in part.get("set", {}).items()]
        if "serum_sRANKL" in part:
            what.append(f"serum sRANKL times `{part['serum_sRANKL']}`, for {part.get('dose', 1):g} of its dose")
        what += [f"`{symbol}` from {value:g} to the women's" for symbol, value in part.get("before", {}).items()]
        why = "; ".join(text for text in (part["source"], part.get("note", "")) if text)
        rows.append((part["label"], ", ".join(what), why))
    return _table(("intervention", "change", "evidence"), rows)


def _fold(value: float | str) -> str:
    """A multiple, or the symbol of one and its value."""
    return f"`{value}` ({load_parameters()[value]:g})" if isinstance(value, str) else f"{value:g}"


def _rows(results: pd.DataFrame) -> list[str]:
    table = genetics_table(results)
    return _table(tuple(table.columns), list(table.itertuples(index=False)))


def _table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    cells = [heads, ("---",) * len(heads), *rows]
    return ["| " + " | ".join(str(cell).replace("|", "/") for cell in row) + " |" for row in cells]


if __name__ == "__main__":
    PAGE.write_text(page(run_genetics(vectors=ensemble().head(VECTORS))), encoding="utf-8")
