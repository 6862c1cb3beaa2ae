"""Renew the figures in docs/design.md: the dose that keeps 90 % of denosumab's gain, by the shipped ensemble.

.venv/bin/python scripts/design.py
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

import ranklsim

PAGE = Path(__file__).parents[1] / "docs" / "design.md"
MARKS = ("<!-- table: scripts/design.py -->", "<!-- end -->")
WANTED = "90 % of denosumab's BMD_LS at 36 mo"
OWN = ranklsim.Agent(
    "def-101", label="DEF-101", like="denosumab", KD_mRANKL={"assay": "0.05 nM", "like": "denosumab"}, KD_sRANKL="none"
)  # fmt: skip


def row(name: str, agent: str | ranklsim.Agent) -> str:
    """A row of the table: one agent, every 6 months."""
    cell = ranklsim.design(dose_for=WANTED, agent=agent, every="6 mo").cells.iloc[0]
    spread = f"{mg(cell['draw_low'])} to {mg(cell['draw_high'])}, median {mg(cell['draw_median'])}"
    none = f"{cell['never']} of {cell['draws']}"
    best = f"{100 * cell['best_probability']:.0f} % at {mg(cell['best_dose'])}"
    return f"| {name} | {mg(cell['default'])} | {mg(cell['dose'])} | {spread} | {none} | {best} |"


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
    lines += [row("mrankl-selective", "mrankl-selective"), row("def-101 (0.05 nM by assay)", OWN)]
    text = PAGE.read_text(encoding="utf-8")
    begin, end = text.index(MARKS[0]) + len(MARKS[0]), text.index(MARKS[1])
    PAGE.write_text(text[:begin] + "\n" + "\n".join(lines) + "\n" + text[end:], encoding="utf-8")


if __name__ == "__main__":
    main()
