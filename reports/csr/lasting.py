"""Section 11.4, durability: effects that remain after treatment in each arm, and their range over the unknown."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from ranklsim.cohorts.durability import LEAST_GAIN, MEASURES
from ranklsim.cohorts.endpoints import Event
from ranklsim.cohorts.statistics.summaries import BOOTSTRAPS
from ranklsim.cohorts.words import first_upper, month_text
from ranklsim.reports.csr import unknowns
from ranklsim.reports.csr.contents import report_section
from ranklsim.reports.csr.context import SITES, Context
from ranklsim.reports.csr.happenings import poisson_interval
from ranklsim.reports.layout.arms import CALIBRATED, PREDICTED, ArmView
from ranklsim.reports.layout.exhibit import Section
from ranklsim.reports.layout.tables import num, share, with_interval

SITES_SHOWN = ("LS", "TH")
ON = "Treated further: no durability."
MULTIPLE = "Patients with two or more new vertebral fractures after treatment"


@report_section("11.4.7", "Durability and rebound by arm", "durable")
def _durable(c: Context, section: Section) -> None:
    """Durability and rebound by arm, with an interval over patients and one over unknown parameters."""
    arms = [arm for arm in c.arms if arm.name in c.ends]
    if not arms:
        section.paragraphs.append("The trial ends with the treatment, so it gives no information on durability.")
        return
    frame = by_arm(c, arms)
    section.exhibits.append(
        c.listing(
            "14.2.12.1",
            f"Durability and rebound after {c.end_words}",
            frame,
            lambda row: _cells(c, row),
            group="Outcome",
            numeric=["n"],
            who=c.population,
            note=(
                "Arms that are treated further show what that treatment keeps, not durability. "
                if any(map(c.goes_on, arms))
                else ""
            )
            + "From the arm's mean BMD and median CTX by visit, linear between visits; percentile bootstrap "
            f"over patients ({BOOTSTRAPS} resamples), of a difference from independent resamples. n: patients with a "
            "value at the last visit (followed after treatment, for fractures). Months back: 0 where the mean is not "
            f"above baseline when treatment ends, “>” where it still is at the last visit. No share is given for a "
            f"gain of {LEAST_GAIN:g}% or less. Multiple fractures: patients per 100 patient-years, exact Poisson "
            "interval.",
        )
    )
    over = _over_ensemble(c, arms)
    if over.empty:
        return
    section.paragraphs += [_sentence(c, row) for row in over.to_dict("records") if row["outcome"] in _SAID]
    section.exhibits.append(
        c.listing(
            "14.2.12.2",
            "Durability and rebound: predicted arms minus a calibrated one, over unknown parameters",
            over,
            lambda row: _ensemble_cells(c, row),
            group="Arms",
            numeric=["Draws"],
            who=c.typical,
            note=f"Typical patient under each of {c.vectors}: median and 90% interval of the difference. "
            "The interval does not depend on the number of patients. Draws without a value in one of the arms (no "
            "gain, or not back at baseline by the last month) are excluded; column Draws counts the others. "
            f"{c.on_highest}",
        )
    )


_SAID = ("kept_LS_12", "peak_CTX")


def _questions_of(c: Context) -> list[tuple[str, tuple[str, str, float | None]]]:
    """The measures of durability that are estimated for every arm: name in words; measure, what, months after."""
    asked: list[tuple[str, tuple[str, str, float | None]]] = []
    for site in SITES_SHOWN:
        measure, words = f"BMD_{site}", f"{SITES[site].lower()} BMD"
        if c.data.seen(measure)[measure].notna().any():
            asked.append((f"Months until mean {words} is back at baseline", (measure, "months back", None)))
            for after in (12.0, 24.0):
                text = f"Share of the gain in {words} kept {after:g} months on (%)"
                asked.append((text, (measure, "share kept", after)))
            asked.append((f"Area of mean {words} above baseline (%-months)", (measure, "area", None)))
    if c.data.seen("CTX")["CTX"].notna().any():
        asked.append(("Highest median CTX (% of baseline)", ("CTX", "peak", None)))
        asked.append(("Months until it is highest", ("CTX", "peak month", None)))
        asked.append(("Area of median CTX above baseline (%-months)", ("CTX", "area", None)))
    return asked


def by_arm(c: Context, arms: list[ArmView]) -> pd.DataFrame:
    """Columns `outcome`, and those of `analyses.lasting.COLUMNS`; a row an outcome and arm.

    Parameters
    ----------
    c : Context
    arms : list of ArmView
        Those whose treatment ends before the trial.
    """
    names = [arm.name for arm in arms]
    parts = [c.lasts(*asked).assign(outcome=words) for words, asked in _questions_of(c)]
    if c.trial.conduct.fractures:
        parts.append(_multiple(c, names).assign(outcome=MULTIPLE))
    return pd.concat(parts, ignore_index=True)


def _multiple(c: Context, names: list[str]) -> pd.DataFrame:
    """Patients with two or more new vertebral fractures after the end of treatment, per 100 patient-years."""
    rows = []
    for arm in names:
        spec = Event(name="", role="exploratory", analysis="Cox", event="vertebral", from_month=c.ends[arm],
                     by_month=float(c.trial.months), least=2)  # fmt: skip
        own = spec.times(c.data.events, c.data.patients[c.data.patients["arm"] == arm])
        events, years = int(own["event"].sum()), float(own["time"].sum()) / 12
        row: dict[str, Any] = {"arm": arm, "n": len(own), "estimate": np.nan, "low": np.nan, "high": np.nan}
        if years > 0:
            ends = (100 * n / years for n in (events, *poisson_interval(events)))
            row |= dict(zip(("estimate", "low", "high"), ends, strict=True))
        said = f"{share(events, len(own))} patients." if len(own) else "No patient is left after the end of treatment."
        rows.append(row | {"effect": np.nan, "effect_low": np.nan, "effect_high": np.nan, "note": said})
    return pd.DataFrame(rows)


def _cells(c: Context, row: dict[str, Any]) -> dict[str, object]:
    decimals = 2 if row["outcome"] == MULTIPLE else 1
    last = c.last_month - c.ends[row["arm"]]
    return {
        "Outcome": row["outcome"],
        "Arm": c.by_name[row["arm"]].label,
        "n": row["n"],
        "Estimate (95% CI)": _within(row["estimate"], row["low"], row["high"], decimals, last),
        "Difference to control (95% CI)": _within(row["effect"], row["effect_low"], row["effect_high"], decimals, last),
        "Note": " ".join(part for part in (ON if c.goes_on(c.by_name[row["arm"]]) else "", row["note"]) if part),
    }


def _within(value: float, low: float, high: float, decimals: int, last: float) -> str:
    """A value with its interval; a value beyond the last visit is shown as ">" and the month of that visit."""
    if not np.isinf([value, low, high]).any():
        return with_interval(value, low, high, decimals)
    beyond = f">{month_text(last)}"
    ends = {np.inf: beyond, -np.inf: f"<−{month_text(last)}"}
    texts = [ends.get(x) or num(x, decimals) for x in (value, low, high)]
    return texts[0] if texts[1] == texts[2] else f"{texts[0]} ({texts[1]}, {texts[2]})"


# -- over unknown parameters -------------------------------------------------------------------------------------------


def _over_ensemble(c: Context, arms: list[ArmView]) -> pd.DataFrame:
    """Difference of the typical patient between each predicted arm and a calibrated one, over the draws.

    Returns
    -------
    DataFrame
        Columns `arm`, `reference`, `outcome` (of `durability.MEASURES`), `default` (draw 0), `draws`, `median`, `low`,
        `high`; empty without such arms or draws.
    """
    columns = ["arm", "reference", "outcome", "default", "draws", "median", "q1", "q3", "low", "high"]
    arms = [arm for arm in arms if not c.goes_on(arm)]
    known = [arm for arm in arms if arm.basis == CALIBRATED and arm.treated and arm.name != c.control]
    known = known or [arm for arm in arms if arm.basis == CALIBRATED and arm.treated]
    predicted = [arm for arm in arms if arm.basis == PREDICTED]
    if not known or not predicted or not c.n_draws:
        return pd.DataFrame(columns=columns)
    reference = known[0]
    courses, sites = c.data.uncertainty, [f"BMD_{site}" for site in SITES_SHOWN]
    values = {
        arm.name: unknowns.outcomes_after(courses[courses["arm"] == arm.name], c.ends[arm.name], sites)
        for arm in (reference, *predicted)
    }
    rows = []
    for arm in predicted:
        with np.errstate(invalid="ignore"):
            gap = values[arm.name] - values[reference.name]
        for outcome in gap.columns:
            over = unknowns.interval_over_draws(gap.loc[gap.index != 0, outcome].to_numpy(float))
            facts = {"arm": arm.name, "reference": reference.name, "outcome": outcome}
            rows.append(facts | {"default": float(gap.loc[0, outcome])} | over)
    return pd.DataFrame(rows, columns=columns)


def _ensemble_cells(c: Context, row: dict[str, Any]) -> dict[str, object]:
    measure = MEASURES[row["outcome"]]
    return {
        "Arms": f"{c.by_name[row['arm']].label} minus {c.by_name[row['reference']].label}",
        "Outcome": f"{first_upper(measure.meaning)} ({measure.unit})",
        "Default values": num(row["default"], 1),
        "Median (90% interval)": with_interval(row["median"], row["low"], row["high"], 1),
        "Draws": int(row["draws"]),
    }


def _sentence(c: Context, row: dict[str, Any]) -> str:
    measure = MEASURES[row["outcome"]]
    if not np.isfinite(row["median"]):
        return f"{first_upper(measure.meaning)}: no draw allows {c.by_name[row['arm']].label} to be compared."
    sure = "the sign is the same in nearly all draws" if row["low"] * row["high"] > 0 else "the sign is open"
    return (
        f"{first_upper(measure.meaning)}, {c.by_name[row['arm']].label} minus {c.by_name[row['reference']].label}: "
        f"{num(row['median'], 1)} ({measure.unit}; 90% interval over unknown parameters {num(row['low'], 1)} to "
        f"{num(row['high'], 1)}): {sure}."
    )
