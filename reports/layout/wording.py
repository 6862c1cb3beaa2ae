"""Sentences of the report, each computed from the frames of `ranklsim.reports.analyses.summaries`.

A sentence never says more than its numbers: an interval over patients is called 95% CI, one over unknown
parameters is called by that name, and an effect whose interval includes zero is not called an effect.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ranklsim.cohorts.durability import LEAST_GAIN
from ranklsim.reports.layout.arms import CALIBRATED, LITERATURE, PREDICTED, ArmView, month_text
from ranklsim.reports.layout.tables import num

MEASURES = {
    "BMD_LS": "lumbar spine BMD",
    "BMD_TH": "total hip BMD",
    "BMD_FN": "femoral neck BMD",
    "BMD_R13": "1/3 radius BMD",
    "CTX": "serum CTX",
    "P1NP": "serum P1NP",
    "BSAP": "serum BSAP",
    "TRAP5B": "serum TRAP5b",
    "CA": "serum calcium",
    "PTH": "plasma PTH",
}


def listed(words: Sequence[str]) -> str:
    """``a``, ``a and b`` or ``a, b and c``."""
    words = list(words)
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""


def first_upper(text: str) -> str:
    """The text with its first letter in upper case, the rest as it is; eGFR and its like stay."""
    return text if text[1:2].isupper() else text[:1].upper() + text[1:]


def first_lower(text: str) -> str:
    """The text with its first letter in lower case, unless it is an abbreviation."""
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]


def to_interval(low: float, high: float, decimals: int) -> str:
    """``1.2 to 3.4`` with true minus signs."""
    return f"{num(low, decimals)} to {num(high, decimals)}"


def within(low: float, high: float, unit: str) -> str:
    """The range of a share, such as ' 15 to 60 mL/min/1.73m2', to follow its name; empty where there is none (NaN)."""
    if np.isnan(low) and np.isnan(high):
        return ""
    text = f"up to {high:g}" if np.isnan(low) else f"from {low:g}" if np.isnan(high) else f"{low:g} to {high:g}"
    return f" {text} {unit}".rstrip()


def moved(value: float, unit: str = "%", decimals: int = 1) -> str:
    """``rose by 9.6%``, ``fell by 0.9%`` or ``did not change``."""
    if not np.isfinite(value):
        return "was not observed"
    shown = num(abs(value), decimals)
    gap = "" if unit == "%" else " "
    if float(shown) == 0:
        return "did not change"
    return f"{'rose' if value > 0 else 'fell'} by {shown}{gap}{unit}"


def basis(arms: Sequence[ArmView]) -> str:
    """Which arms are calibrated, set from literature, and predicted."""
    groups = {kind: [arm.label for arm in arms if arm.basis == kind] for kind in (CALIBRATED, LITERATURE, PREDICTED)}
    parts = [f"{first_upper(kind)}: {', '.join(labels)}." for kind, labels in groups.items() if labels]
    return " ".join(parts)


def span_words(spec: Mapping[str, Any]) -> str:
    """``from baseline to month 36`` or ``from month 24 to month 48``."""
    start = "baseline" if spec["from_month"] == 0 else f"month {month_text(spec['from_month'])}"
    return f"from {start} to month {month_text(spec['to_month'])}"


def _difference(row: Mapping[str, Any], control: ArmView) -> str:
    unit = "percentage points" if row["unit"] == "%" else row["unit"]
    digits = 1 if row["unit"] == "%" else 3
    text = f"{num(row['difference'], digits, sign=True)} {unit} against {control.label}"
    if np.isfinite(row["difference_low"]):
        text += f" (95% CI {to_interval(row['difference_low'], row['difference_high'], digits)})"
    return text


def endpoint_sentence(row: Mapping[str, Any], arm: ArmView, control: ArmView | None, *, lead: bool) -> str:
    """One arm's result on an endpoint and its difference to control; `lead` names endpoint and months."""
    digits = 1 if row["unit"] == "%" else 3
    did = moved(row["estimate"], row["unit"], digits)
    text = f"under {arm.label} it {did}"
    if lead:
        what = MEASURES.get(row["measure"], row["measure"])
        text = f"{first_upper(span_words(row))} {what} {did} under {arm.label}"
    if control is not None and arm is not control:
        return f"{text}, {_difference(row, control)}"
    if np.isfinite(row["ci_low"]):
        text += f" (95% CI {to_interval(row['ci_low'], row['ci_high'], digits)})"
    return text


def predicted_sentence(row: Mapping[str, Any], control: ArmView | None) -> str:
    """A hypothetical arm's result at default parameter values."""
    digits = 1 if row["unit"] == "%" else 3
    text = f"{MEASURES.get(row['measure'], row['measure'])} {moved(row['estimate'], row['unit'], digits)}"
    if control is not None and np.isfinite(row["difference"]):
        text += f", {_difference(row, control)}"
        if row["difference_low"] <= 0 <= row["difference_high"]:
            text += ", an interval that includes no difference"
    return f"If the default values of all parameters are true, {text}."


def unknowns_sentence(row: Mapping[str, Any], control: ArmView | None, vectors: str, structures: str) -> str:
    """What is not known about one arm's headline: the range over everything first.

    `vectors` says what was drawn; `structures` what other structures of the model say, a clause or nothing.
    """
    what = MEASURES.get(row["measure"], row["measure"])
    differs = f"differs from that under {control.label} by" if control is not None else "is"
    unit = " percentage points" if control is not None else "%"
    low, high = ("unknown_low", "unknown_high") if structures else ("parameter_low", "parameter_high")
    drawn = f"90% of {int(row['parameter_draws'])} {vectors}, median {num(row['parameter_median'], 1)}"
    inside = to_interval(row["parameter_low"], row["parameter_high"], 1)
    whole = to_interval(row[low], row[high], 1)
    return (
        f"Over all that is not known, the typical patient's change in {what} {differs} {whole}{unit} "
        f"({drawn if inside == whole else f'{inside} in {drawn}'}{f'; {structures}' if structures else ''})."
    )


def depends_sentence(strongest: pd.DataFrame) -> str:
    """On which unknown parameters a headline depends most."""
    if strongest.empty:
        return "No single parameter stands out from chance."
    said = [f"the {row.meaning} ({row.symbol}, rank correlation {num(row.rho, 2)})" for row in strongest.itertuples()]
    return f"It depends most on {', then on '.join(said[:2])}."


def by_visit_headline(frame: pd.DataFrame, arms: Sequence[ArmView], what: str, month: float) -> str:
    """What all arms had reached at a month: ``At month 36 lumbar spine BMD had changed by +9.6% ...``."""
    at = frame[(frame["month"] == month) & frame["mean"].notna()].set_index("arm")
    parts = [f"{num(at.loc[arm.name, 'mean'], 1, sign=True)}% ({arm.label})" for arm in arms if arm.name in at.index]
    return f"At month {month_text(month)} {what} had changed from baseline by {listed(parts)}."


def marker_headline(frame: pd.DataFrame, arms: Sequence[ArmView], what: str, month: float) -> str:
    """Medians of all arms at a month, in percent of baseline."""
    at = frame[(frame["month"] == month) & frame["median"].notna()].set_index("arm")
    parts = [f"{num(at.loc[arm.name, 'median'], 0)}% ({arm.label})" for arm in arms if arm.name in at.index]
    return f"At month {month_text(month)} median {what} was {listed(parts)} of baseline."


def peak_headline(frame: pd.DataFrame, arms: Sequence[ArmView], what: str, end: str) -> str:
    """How high a marker rose after `end` (such as "the end of treatment"), arm by arm, the highest first."""
    by_name = {arm.name: arm for arm in arms}
    rows = frame[frame["peak"].notna()].sort_values("peak", ascending=False, kind="stable")
    parts = [
        f"{num(r['peak'], 0)}% of baseline at month {month_text(r['peak_month'])} ({by_name[r['arm']].label})"
        for r in rows.to_dict("records")
        if r["arm"] in by_name
    ]
    return f"After {end} the highest median {what} was {listed(parts)}." if parts else ""


def loss_headline(frame: pd.DataFrame, arms: Sequence[ArmView], what: str, month: float, end: str) -> str:
    """Mean change since `end` at `month` months after it."""
    at = frame[(frame["month"] == month) & frame["mean"].notna()].set_index("arm")
    parts = [f"{num(at.loc[arm.name, 'mean'], 1, sign=True)}% ({arm.label})" for arm in arms if arm.name in at.index]
    return f"In the {month_text(month)} months after {end} {what} changed by {listed(parts)}." if parts else ""


def retention_headline(frame: pd.DataFrame, arms: Sequence[ArmView], what: str, end: str, later: int = 12) -> str:
    """Share of the gain kept `later` months after `end`, arm by arm."""
    rows = frame.set_index("arm")
    parts, gone, none = [], [], []
    for arm in arms:
        if not arm.treated:
            continue
        kept = rows.loc[arm.name, f"kept_{later}"]
        if kept < 0:
            gone.append(arm.label)
        elif np.isfinite(kept):
            parts.append(f"{num(kept, 0)}% ({arm.label})")
        elif not rows.loc[arm.name, "gain"] > LEAST_GAIN:
            none.append(arm.label)
    said = []
    if parts:
        said.append(f"Of the gain in {what}, the share left {later} months after {end} was {listed(parts)}.")
    if gone:
        said.append(
            f"Nothing was left {later} months after {end} under {listed(gone)}: mean {what} was below baseline."
        )
    if none:
        said.append(f"{listed(none)} had no gain to keep (mean change {num(LEAST_GAIN, 0)}% or less).")
    return " ".join(said)


def parts_headline(
    frame: pd.DataFrame, arms: Sequence[ArmView], names: Mapping[str, str], month: float, over: str = ""
) -> str:
    """Largest contribution to each arm's change at a month, or to its gain over another arm, `over`."""
    out = []
    for arm in arms:
        own = frame[(frame["arm"] == arm.name) & (frame["month"] == month)]
        if not arm.treated or own.empty or own["total"].iloc[0] <= 0.05:
            continue
        top = own.loc[own["mean"].idxmax()]
        rest = top["total"] - top["mean"]
        size = f"{num(top['mean'], 1)} of {num(top['total'], 1)}"
        if rest < -0.05:  # the other parts take some of it away: it is no share of the total
            size = f"{num(top['mean'], 1, sign=True)}, with {num(rest, 1)} by the others"
        out.append(f"{names[top['part']]} {size} ({arm.label})")
    what = f"gain over {over}" if over else "change"
    return (
        f"Largest part of the {what} at month {month_text(month)}, in percentage points: {listed(out)}." if out else ""
    )


def fan_headline(frame: pd.DataFrame, arms: Sequence[ArmView], noun: str, month: float) -> str:
    """Interval over unknown parameters at a month, for the arms that have one."""
    at = frame[frame["month"] == month].set_index("arm")
    at = at[at["high"] - at["low"] > 0.05]
    parts = [
        f"{to_interval(at.loc[a.name, 'low'], at.loc[a.name, 'high'], 1)}% ({a.label})"
        for a in arms
        if a.name in at.index
    ]
    return f"90% interval of the {noun} at month {month_text(month)}: {listed(parts)}." if parts else ""


def importance_headline(frame: pd.DataFrame, arms: Sequence[ArmView], most: int = 4) -> str:
    """The parameters beyond chance by arm, with their rank correlations."""
    said = []
    for arm in arms:
        own = frame[(frame["arm"] == arm.name) & frame["beyond_chance"].astype(bool)].head(most)
        parts = [f"{symbol} ({num(rho, 2)})" for symbol, rho in zip(own["symbol"], own["rho"], strict=True)]
        if parts:
            said.append(f"{arm.label}: {listed(parts)}")
    return f"Rank correlations beyond chance: {'; '.join(said)}." if said else "No parameter stands out from chance."
