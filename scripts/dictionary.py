"""Write docs/dictionary.md, the data dictionary, from ``pkpd/data/dictionary.csv``: every column of every table.

.venv/bin/python scripts/dictionary.py
"""

from __future__ import annotations

from pathlib import Path

from ranklsim.pkpd.biology.model import OUTPUTS
from ranklsim.pkpd.results import ALL_TABLES, LIKE, dictionary

PAGE = Path(__file__).parents[1] / "docs" / "dictionary.md"
HEAD = """# Data dictionary

Every column of the tables that ranklsim returns and writes, with its unit. `1` is a number without dimension; no unit
means that the column is text, or yes or no. A name in braces stands for any: `C_{agent}` is `C_denosumab`, for example.
In Python, `result.units` and `result.columns_explained` say the same of a result, and `frame.meanings` of a frame.
Tables of a report (`report/tables`) have headings and footnotes of their own; CDISC data sets have their `define.xml`.

This page is written by `scripts/dictionary.py` from `pkpd/data/dictionary.csv`.

"""
NAMES = {
    ALL_TABLES: "Columns that several tables share",
    "simulate": "Course of a typical patient: `simulate`",
    "sweep": "Courses side by side: `sweep`",
}


def page() -> str:
    """The text of the page."""
    rows = dictionary()
    parts = [HEAD, "## Outputs of the model\n\n"]
    parts += [
        "They stand in tables of courses and visits. `true_` before a name means without measurement error, `_pct`\n"
        "after it: % of baseline for a marker, % change for BMD; `_low` and `_high` are the ends of the 90 %\n"
        "interval over parameter vectors. `C_{agent}` is the free concentration of an agent in serum (ug/mL).\n\n"
    ]
    parts += _table([(name, unit, meaning) for name, (unit, meaning) in OUTPUTS.items()])
    for table in dict.fromkeys(rows["table"]):
        own = rows[rows["table"] == table]
        parts.append(f"\n## {NAMES.get(table, f'`{table}`')}\n\n")
        if table in LIKE:
            parts.append(f"Besides, the columns of `{LIKE[table]}`.\n\n")
        parts += _table(own[["column", "unit", "meaning"]].itertuples(index=False, name=None))
    for table in [name for name in LIKE if name not in set(rows["table"])]:
        parts.append(f"\n## `{table}`\n\nThe columns of `{LIKE[table]}`.\n")
    return "".join(parts)


def _table(rows: object) -> list[str]:
    lines = ["| column | unit | meaning |\n", "| --- | --- | --- |\n"]
    return [*lines, *(f"| `{column}` | {unit} | {meaning} |\n" for column, unit, meaning in rows)]  # type: ignore[attr-defined]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
