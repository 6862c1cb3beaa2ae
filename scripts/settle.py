"""What three experiments would tell: docs/settle.csv, and its table in docs/sensitivity.md. About a minute.

.venv/bin/python scripts/settle.py
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ranklsim.pkpd.ensemble import ensemble
from ranklsim.pkpd.parameters import load_parameters
from ranklsim.reports.sensitivity.settle import ALL, questions, settle

DOCS = Path(__file__).parent.parent / "docs"
TABLE, PAGE = DOCS / "settle.csv", DOCS / "sensitivity.md"
LITTLE = 0.05  # narrowing that is called none
MARKS = ("<!-- table: scripts/settle.py -->", "<!-- end -->")


def page(found: pd.DataFrame) -> str:
    """The text of docs/sensitivity.md with these results (`settle`)."""
    text = PAGE.read_text(encoding="utf-8")
    begin = text.index(MARKS[0])
    end = text.index(MARKS[1], begin)
    asked = questions()
    heads = [f"{one['label']}" for one in asked["answer"]]
    names = [one["name"] for one in asked["answer"]]
    lines = ["| experiment | " + " | ".join(heads) + " |", "| --- |" + " --- |" * len(names)]
    cells = found.set_index(["answer", "experiment"])
    first = asked["experiment"][0]["name"]
    now = [cells.loc[(name, first)] for name in names]
    lines.append(
        "| without any: median (90 %) | "
        + " | ".join(f"{_number(r['median'])} ({_number(r['low'])} to {_number(r['high'])}) {r['unit']}" for r in now)
        + " |"
    )
    for name, label in [*((one["name"], one["label"]) for one in asked["experiment"]), (ALL, "all of them")]:
        rows = [cells.loc[(answer, name)] for answer in names]
        told = [f"{100 * r['narrower']:.0f} % ({100 * r['narrower_perfect']:.0f} %)" for r in rows]
        lines.append(f"| {label} | " + " | ".join(told) + " |")
    best = found[found["experiment"] != ALL].sort_values("narrower", ascending=False).drop_duplicates("answer")
    labels = {one["name"]: one["label"] for one in (*asked["experiment"], *asked["answer"])}
    lines.append("")
    for row in best.set_index("answer").loc[names].itertuples():
        told = f"{labels[row.Index]}: the most telling of the three is *{labels[row.experiment]}*; the interval would "
        told += f"be {_number(row.width_after)} {row.unit} wide in place of {_number(row.width)}."
        if row.narrower < LITTLE:
            told = f"{labels[row.Index]}: none of the three narrows the interval by {100 * LITTLE:.0f} %."
        lines.append(f"- {told}")
    lines += ["", "| experiment | measured | standard error | predicted: median (90 %) |", "| --- | --- | --- | --- |"]
    for one in asked["experiment"]:
        for measure in one["measure"]:
            row = found[found["experiment"] == one["name"]].iloc[0]
            k = one["measure"].index(measure)
            band = [row[f"seen_{end}_{k}"] for end in ("median", "low", "high")]
            lines.append(
                f"| {one['label']} | {measure['label']} | {measure['sd']:g} ({measure['reason']}) | "
                f"{band[0]:.0f} ({band[1]:.0f} to {band[2]:.0f}) |"
            )
    return "\n".join([text[: begin + len(MARKS[0])], *lines, text[end:]])


def _number(value: float) -> str:
    return f"{value:.2g}".replace("-", "−") if abs(value) < 10 else f"{value:.0f}".replace("-", "−")


if __name__ == "__main__":
    results = settle(ensemble(), load_parameters())
    results.to_csv(TABLE, index=False, float_format="%.4g", lineterminator="\n")
    PAGE.write_text(page(pd.read_csv(TABLE)), encoding="utf-8")
