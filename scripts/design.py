"""Renew the figures in docs/design.md: the dose that keeps 90 % of denosumab's gain, by the shipped ensemble.

.venv/bin/python scripts/design.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

import ranklsim
from ranklsim.reports.design.show import Answer

PAGE = Path(__file__).parents[1] / "docs" / "design.md"
MARKS = ("<!-- table: scripts/design.py -->", "<!-- end -->")
WANTED = "90 % of denosumab's BMD_LS at 36 mo"
OWN = ranklsim.Agent(
    "def-101", label="DEF-101", like="denosumab", KD_mRANKL={"assay": "0.05 nM", "like": "denosumab"}, KD_sRANKL="none"
)  # fmt: skip


def row(name: str, found: Answer) -> str:
    """A row of the table: one agent, every 6 months."""
    cell = found.cells.iloc[0]
    spread = f"{mg(cell['draw_low'])} to {mg(cell['draw_high'])}, median {mg(cell['draw_median'])}"
    none = f"{cell['never']} of {cell['draws']}"
    best = f"{100 * cell['best_probability']:.0f} % at {mg(cell['best_dose'])}"
    return f"| {name} | {mg(cell['default'])} | {mg(cell['dose'])} | {spread} | {none} | {best} |"


def why(found: Answer) -> str:
    """The unknowns that go with the dose most; a vector without a sufficient dose counts as the highest."""
    vectors = found.found.vectors.iloc[1:].reset_index(drop=True)
    least = pd.Series(found.found.least(found.found.suitable[:, 0]))
    rho = vectors.rank().corrwith(least.fillna(np.inf).rank()).abs().sort_values(ascending=False)
    parts = [f"`{symbol}` ({value:.2f})" for symbol, value in rho.head(4).items()]
    return f"Rank correlation of the least dose of `mrankl-selective` with unknowns: {', '.join(parts)}."


def mg(dose: float) -> str:
    """A dose in words."""
    return "none" if pd.isna(dose) else f"{dose:.0f} mg"


def main() -> None:
    """Write the table."""
    head = [
        "agent",
        "default",
        "with 80 %",
        "middle 90 % of vectors that have one",
        "none up to 240 mg",
        "most probable",
    ]
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    shipped, own = (ranklsim.design(dose_for=WANTED, agent=agent, every="6 mo") for agent in ("mrankl-selective", OWN))
    lines += [row("mrankl-selective", shipped), row("def-101 (0.05 nM by assay)", own), "", why(shipped)]
    text = PAGE.read_text(encoding="utf-8")
    begin, end = text.index(MARKS[0]) + len(MARKS[0]), text.index(MARKS[1])
    PAGE.write_text(text[:begin] + "\n" + "\n".join(lines) + "\n" + text[end:], encoding="utf-8")


if __name__ == "__main__":
    main()
