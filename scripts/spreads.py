"""Renew the table of docs/calibration.md that sets a run of the trial `freedom` beside published spreads.

.venv/bin/ranklsim run freedom -o runs/freedom --no-report
.venv/bin/python scripts/spreads.py runs/freedom
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from pages import put

from ranklsim.cohorts.running.storage import Run, open_run
from ranklsim.cohorts.validation.variability import LOG, published_spreads
from ranklsim.pkpd.biology.skeleton import NAMES
from ranklsim.pkpd.evidence.errors import IQR_WIDTH
from ranklsim.pkpd.evidence.records import load_evidence

PAGE = Path(__file__).resolve().parent.parent / "docs" / "calibration.md"
MONTHS = (1.0, 6.0, 12.0, 24.0, 36.0)
ARMS = {"denosumab": "60 mg Q6M", "placebo": "placebo"}
SUBSTITUTE = "defend"  # where FREEDOM published no spread
Z = 1.645  # of a 90 % interval


def compared(run: Run) -> pd.DataFrame:
    """Each published spread of these arms and months beside that of the run's patients.

    Returns
    -------
    DataFrame
        arm, site_or_marker, month, study, measure, published (SD in points, or quartiles in words), simulated, ratio,
        low, high (90 %, from both numbers of patients and rounding).
    """
    published = published_spreads(load_evidence())
    visits = run.visits.set_index(["patient", "month"])
    rows = []
    for arm in ARMS:
        for site in (*NAMES, "CTX", "P1NP", "BSAP"):
            kind = "percent_change" if site in NAMES else "percent_of_baseline"
            for month in MONTHS:
                mine = published[
                    published["published"].notna()
                    & published["arm"].isin([f"freedom-{arm}", f"{SUBSTITUTE}-{arm}"])
                    & (published["endpoint"] == kind)
                    & (published["site_or_marker"] == site)
                    & (published["month"] == month)
                    & (published["phase"] != "off")
                ].sort_values("arm", ascending=False)  # FREEDOM first
                if mine.empty:
                    continue
                row = mine.iloc[0]
                measured = visits.loc[visits["arm"] == arm, f"BMD_{site}" if site in NAMES else site].unstack()
                level = (100 * measured[month] / measured[0.0]).dropna()
                first, last = level.quantile([0.25, 0.75])
                in_logs = row["measure"] == LOG
                found = float(np.log(last / first) / IQR_WIDTH) if in_logs else float(level.std())
                chance = np.hypot(row["sampling"], (1.17 if in_logs else np.sqrt(0.5)) / np.sqrt(len(level)))
                ratio = found / row["published"]
                said = [f"{row['published']:.1f}", f"{found:.1f}"]
                if in_logs:
                    said = [f"{row['spread_low']:.0f}-{row['spread_high']:.0f}", f"{first:.0f}-{last:.0f}"]
                rows.append(
                    {
                        "arm": arm,
                        "site": site,
                        "month": month,
                        "study": row["arm"].split("-")[0].upper(),
                        "ratio": ratio,
                    }
                    | {"published": said[0], "simulated": said[1]}
                    | {"low": ratio * np.exp(-Z * chance), "high": ratio * np.exp(Z * chance)}
                )
    return pd.DataFrame(rows)


def table(frame: pd.DataFrame) -> str:
    """The comparison in Markdown, a line an arm and measure."""
    lines = [
        "| arm | figure | published in | months | published | simulated | ratio |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for (arm, site, study), own in frame.groupby(["arm", "site", "study"], sort=False):
        ratios = [
            f"{r.ratio:.2f}" if r.low <= 1 <= r.high else f"**{r.ratio:.2f}**" for r in own.itertuples(index=False)
        ]
        months = " / ".join(f"{month:g}" for month in own["month"])
        what = f"BMD {site}, SD of change" if site in NAMES else f"{site}, quartiles"
        columns = (" / ".join(own[column]) for column in ("published", "simulated"))
        lines.append(f"| {ARMS[arm]} | {what} | {study} | {months} | {' | '.join(columns)} | {' / '.join(ratios)} |")
    inside = ((frame["low"] <= 1) & (frame["high"] >= 1)).sum()
    middle = float(np.exp(np.log(frame["ratio"]).mean()))
    lines += [
        "",
        f"Of {len(frame)} spreads {inside} are within chance of the published one; the geometric mean of the ratios is "
        f"{middle:.2f}.",
    ]
    return "\n".join(lines)


def main() -> None:
    block = f"\n{table(compared(open_run(sys.argv[1])))}\n"
    PAGE.write_text(put(PAGE.read_text(encoding="utf-8"), "freedom", "spreads", block), encoding="utf-8")


if __name__ == "__main__":
    main()
