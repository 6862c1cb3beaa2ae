"""Renew what the README shows of the model: its table of figures, from docs/published.csv and the model as it is."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

import ranklsim

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PUBLISHED = ROOT / "docs" / "published.csv"
BEGIN, END = "<!-- figures: scripts/readme.py -->", "<!-- end of figures -->"

LAST_DOSE = 18  # month, of the course that is stopped
COURSES = {
    "on": ("denosumab 60mg every 6mo x20", "0 mo"),
    "off": ("denosumab 60mg every 6mo x4", "24 mo"),
}


def figures() -> Iterator[tuple[dict[str, str], str]]:
    """Each row of docs/published.csv, and what the typical patient has, as text."""
    frames = {
        name: ranklsim.simulate(course, follow=follow, covariates={"supplements": 1})  # as trials give them
        for name, (course, follow) in COURSES.items()
    }
    with open(PUBLISHED, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            yield row, shown(frames[row["regimen"]], row)


def shown(frame: pd.DataFrame, row: dict[str, str]) -> str:
    """One figure of the model, with as many decimals as the field prints."""
    curve = frame.set_index("month")[row["column"]]
    if row["month"] == "peak month":
        return f"{curve.idxmax() - LAST_DOSE:.0f}"
    value = curve.max() if row["month"] == "peak" else curve[float(row["month"])]
    text = f"{value:.0f}" if row["column"].startswith("CTX") else f"{value:.1f}"
    return text.replace("-", "−") if float(text) else text.lstrip("-")


def table() -> str:
    """The README's table of figures."""
    lines = [
        "| Denosumab 60 mg every 6 months | unit | published | model | source |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row, model in figures():
        published = row["published"].replace("-", "−")
        lines.append(f"| {row['quantity']} | {row['unit']} | {published} | {model} | {row['source']} |")
    return "\n".join(lines)


def put(text: str, block: str) -> str:
    """The README's text with another table between the marks."""
    renewed, times = re.subn(f"{BEGIN}.*?{END}", lambda _: f"{BEGIN}\n{block}\n{END}", text, flags=re.DOTALL)
    if times != 1:
        raise SystemExit(f"{README} holds {BEGIN} ... {END} {times} times; it must be there once.")
    return renewed


def main() -> None:
    """Renew the table."""
    README.write_text(put(README.read_text(encoding="utf-8"), table()), encoding="utf-8")


if __name__ == "__main__":
    main()
