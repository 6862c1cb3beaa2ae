"""Section 11.4.5.1: serum concentrations of drugs by visit."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ranklsim.cohorts.statistics import censored
from ranklsim.cohorts.words import month_text
from ranklsim.reports.csr.contents import report_section
from ranklsim.reports.csr.context import Context
from ranklsim.reports.figures import trial as figures
from ranklsim.reports.layout import tables
from ranklsim.reports.layout.exhibit import Section
from ranklsim.reports.layout.tables import DASH, num, with_interval

NOTE = (
    "As measured, with the error of the assay; a sample on the day of a dose is taken before it. Geometric means by "
    "maximum likelihood, in which values below the limit of quantitation are censored (lognormal distribution); none "
    "where fewer than two values are quantifiable."
)


BELOW = 0.1
"""Share of the limit of quantitation at which the axis of a figure ends."""


@report_section("11.4.5.1", "Serum concentrations of drugs", "concentrations")
def _concentrations(c: Context, section: Section) -> None:
    """Concentrations of each drug by arm and visit."""
    drugs = [agent for agent in c.data.agents.values() if agent.kind == "binder"]
    given = {drug.name: [arm.name for arm in c.trial.arms if any(r.agent == drug.name for r in arm.planned)]
             for drug in drugs}  # fmt: skip
    frames = {
        drug.label: censored.by_visit(
            c.data.seen(f"C_{drug.name}", f"C_{drug.name}_BLQ"), f"C_{drug.name}", given[drug.name]
        )
        for drug in drugs
        if given[drug.name]
    }
    if not frames:
        section.paragraphs.append("No arm is given a drug whose concentration is measured.")
        return
    every = [name for names in given.values() for name in names]
    if len(frames) > 1 and len(set(every)) == len(every):  # one drug an arm
        frames = {"the drug of each arm": pd.concat(frames.values(), ignore_index=True)}
    for k, (label, frame) in enumerate(frames.items(), start=1):
        number, title = f"14.2.16.{k}", f"Serum concentration of {label} by visit"
        known = frame[frame["mean"].notna()].reset_index(drop=True)
        # Where most values are below the limit, the mean is that of values which nobody has measured.
        floor = BELOW * frame["limit"].where(frame["limit"] > 0).min()
        ends = known["ci_low"].min() < floor
        if len(known):
            section.exhibits.append(
                c.figure(
                    number,
                    title,
                    known,
                    figures.by_visit,
                    ylabel="Serum concentration (µg/mL)",
                    bars="bars: 95% CI of the geometric mean (patients)",
                    log=True,
                    floor=floor if ends else None,
                    note=NOTE + (f" The axis ends at {BELOW:g} times the limit of quantitation." if ends else ""),
                    alt=f"Geometric means of {label} by visit and arm.",
                )
            )
        section.exhibits.append(
            c.listing(
                number,
                f"{title} (µg/mL)",
                frame.sort_values(["arm", "month"], key=lambda x: x.map(c.names.index) if x.name == "arm" else x),
                lambda row: {"Arm": c.by_name[row["arm"]].label, "Month": month_text(row["month"])} | _cells(row),
                group="Arm",
                numeric=("n",),
                who=c.population,
                note=NOTE,
            )
        )


def _cells(row: dict[str, Any]) -> dict[str, object]:
    """One arm at one visit."""
    known = row["mean"] == row["mean"]
    return {
        "n": str(row["n"]),
        "Below limit, n (%)": tables.share(row["below"], row["n"]),
        "Geometric mean (95% CI)": with_interval(row["mean"], row["ci_low"], row["ci_high"], 3) if known else DASH,
        "Geometric CV, %": num(row["cv"], 0) if known else DASH,
        "Median": _limited(row["median"], row["limit"]),
        "Lowest, highest": f"{_limited(row['lowest'], row['limit'])}, {_limited(row['highest'], row['limit'])}",
    }


def _limited(value: float, limit: float) -> str:
    """A value, or that it is below the limit of quantitation."""
    return f"<{limit:g}" if value < limit else num(value, 3)
