"""Renew pkpd/data/intervals.csv from the folder of a finished fit: `python scripts/keep_intervals.py runs/default-fit`.

The file holds the 95 % intervals, by profile likelihood, of what the default fit (pkpd/data/fits/default.toml) fitted;
`ranklsim sensitivity` moves fitted parameters within them.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

TARGET = Path(__file__).parent.parent / "pkpd" / "data" / "intervals.csv"


def main(folder: Path) -> None:
    """Write the intervals of the fit in `folder`."""
    estimates = pd.read_csv(folder / "estimates.csv")
    frame = estimates.rename(columns={"parameter": "symbol"})[["symbol", "unit", "low", "high"]]
    frame.to_csv(TARGET, index=False, float_format="%.4g", lineterminator="\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
