"""Renew the example of docs/sensitivity.md, table and pictures, from a run of the command that the page shows.

.venv/bin/ranklsim sensitivity modality -o runs/sensitivity
.venv/bin/python scripts/sensitivity.py runs/sensitivity
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pandas as pd
from pages import put, table

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGE = DOCS / "sensitivity.md"
OUTCOMES = {
    "mrankl-denosumab.gain_LS": "mRANKL-selective less denosumab, spine gain",
    "mrankl-denosumab.peak_CTX": "the same, highest CTX",
    "mrankl-denosumab.kept_LS_12": "the same, spine gain kept at 12 months",
    "srankl-denosumab.gain_LS": "sRANKL-selective less denosumab, spine gain",
    "srankl-denosumab.peak_CTX": "the same, highest CTX",
    "denosumab.peak_CTX": "denosumab, highest CTX",
    "denosumab.left_LS_12": "denosumab, what is left of the spine gain at 12 months",
}
PICTURES = {"figure-1-*.svg": "sensitivity-indices.svg", "figure-2-*.svg": "sensitivity-curves.svg"}
LEAST, MOST = 0.15, 3  # total-order index from which a parameter is named; parameters named, at most
CORRELATED = 2  # parameters named of the ensemble: those of the largest partial correlation


def example(folder: Path) -> str:
    """The sentence on the settings, and a row for each outcome."""
    settings = json.loads((folder / "sensitivity.json").read_text("utf-8"))["settings"]
    outcomes = pd.read_csv(folder / "outcomes.csv").set_index("outcome")
    sobol, ranked = (pd.read_csv(folder / f"{name}.csv") for name in ("sobol", "correlations"))
    screened = pd.read_csv(folder / "ranges.csv")
    rows = []
    for name, words in OUTCOMES.items():
        spread = outcomes.loc[name]
        unit = spread["unit"] if not isinstance(spread["versus"], str) else "points"
        by = sobol[(sobol["outcome"] == name) & (sobol["ST"] >= LEAST)].nlargest(MOST, "ST")
        own = ranked[(ranked["outcome"] == name) & ranked["beyond_chance"]]
        own = own.loc[own["partial"].abs().nlargest(CORRELATED).index]
        rows.append(
            (
                f"{words}: {_size(spread['low'])} to {_size(spread['high'])} {unit}",
                ", ".join(f"`{r.symbol}` {r.ST:.2f} ({r.ST_low:.2f} to {r.ST_high:.2f})" for r in by.itertuples()),
                ", ".join(f"{x:.2f}".replace("-", "−") for x in by["S1"]),
                ", ".join(f"`{r.symbol}` {r.rho:.2f} ({r.partial:.2f})".replace("-", "−") for r in own.itertuples()),
            )
        )
    head = ("outcome, central 90 % of the vectors", "most important: total order (95 % interval)", "first order",
            "rank correlation over the ensemble (partial)")  # fmt: skip
    k = sobol["symbol"].nunique()
    counts = f"{len(screened)} parameters, {settings['trajectories']} trajectories, N = {settings['samples']}, K = {k}"
    return f"{counts}, seed of the trial. The last column is over the shipped ensemble.\n\n{table(head, rows)}"


def _size(value: float) -> str:
    return f"{value:.{1 if abs(value) < 20 else 0}f}".replace("-", "−")


def main() -> None:
    """Put the table between its marks, and the pictures beside the others."""
    folder = Path(sys.argv[1])
    PAGE.write_text(put(PAGE.read_text("utf-8"), "example", "sensitivity", example(folder)), encoding="utf-8")
    for pattern, name in PICTURES.items():
        (found,) = (folder / "figures").glob(pattern)
        (DOCS / "images" / name).write_bytes(found.read_bytes())


if __name__ == "__main__":
    main()
