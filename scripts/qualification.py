"""Renew what a release says about itself: its misfit to published trials, and the table of docs/qualify.md.

    .venv/bin/python scripts/qualification.py            after a change of data or equations: misfit.csv
    .venv/bin/python scripts/qualification.py --page     for a release: qualifies this machine, and renews the page too

The first takes a minute, the second three.
"""

from __future__ import annotations

import argparse
import re
import tempfile
from pathlib import Path

import pandas as pd

from ranklsim.reports.qualify import published
from ranklsim.reports.qualify.run import Qualification, qualify

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "qualify.md"


def rows(found: Qualification) -> str:
    """The table of the page."""
    lines = ["| ID | requirement | accepted | found | result |", "| --- | --- | --- | --- | --- |"]
    for row in found.results.itertuples():
        value = "–" if pd.isna(row.value) else f"{row.value:.3g}"
        lines.append(f"| {row.requirement} | {row.text} | {row.rule} {row.unit} | {value} | {row.result} |")
    return "\n".join(lines)


def main() -> None:
    """Write what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", action="store_true", help="qualify this machine and renew docs/qualify.md")
    asked = parser.parse_args()
    published.figures().to_csv(published.RELEASE, index=False, lineterminator="\n")
    print(published.RELEASE)
    if asked.page:
        with tempfile.TemporaryDirectory() as folder:
            found = qualify(Path(folder) / "out", tell=print)
        minutes = found.results["seconds"].sum() / 60
        head = f"{found.sentence()} ({found.facts['machine'].split()[0]}, {minutes:.1f} minutes of checks.)\n\n"
        text = PAGE.read_text(encoding="utf-8")
        whole = re.compile(r"(?<=<!-- results -->\n).*?(?=<!-- end of results -->)", re.DOTALL)
        PAGE.write_text(whole.sub(lambda _: f"{head}{rows(found)}\n", text), encoding="utf-8", newline="")
        print(PAGE)


if __name__ == "__main__":
    main()
