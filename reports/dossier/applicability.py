"""How far outside the evidence a trial is: agents, doses, durations, population, each beside the published figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from ranklsim.cohorts.running.storage import Run
from ranklsim.pkpd.errors import counted
from ranklsim.pkpd.evidence.records import Evidence, load_evidence
from ranklsim.pkpd.units import DAYS_PER_MONTH
from ranklsim.reports.layout.tables import sig

INSIDE, OUTSIDE, NONE = "inside", "outside", "no evidence"
COVARIATES = ("age", "weight", "eGFR", "T_LS", "T_TH")


def applicability(run: Run) -> pd.DataFrame:
    """Agents, doses and durations of every arm, and the population, beside the range of the evidence.

    Parameters
    ----------
    run : Run

    Returns
    -------
    DataFrame
        Columns `part`, `of`, `asked`, `evidence`, `verdict` (inside, outside, no evidence).
    """
    evidence = load_evidence()
    rows = [row for arm in run.trial.arms for row in _of_arm(run, arm.name, evidence)]
    rows += _of_population(run, evidence)
    return pd.DataFrame(rows, columns=["part", "of", "asked", "evidence", "verdict"]).drop_duplicates(ignore_index=True)


def _of_arm(run: Run, name: str, evidence: Evidence) -> list[tuple[str, str, str, str, str]]:
    """Rows for each agent of an arm."""
    arm, rows = run.trial.arm(name), []
    for agent, doses in arm.doses().groupby("agent", sort=False):
        known = run.agents[str(agent)]
        label = known.label
        if known.kind == "none":
            continue
        studied = {key: one for key, one in evidence.arms.items() if agent in one.agent_names}
        seen = evidence.observations[evidence.observations["arm"].isin(list(studied))]
        if seen.empty:
            why = "hypothetical: no such agent exists" if known.hypothetical else "no published figure ships"
            rows.append(("agent", label, "given", why, NONE))
            continue
        count = f"{counted(len(seen), 'figure')} of {counted(seen['study'].nunique(), 'study')}"
        rows.append(("agent", label, "given", count, INSIDE))
        given = np.concatenate([[r.dose_mg for r in one.regimens if r.agent == agent] for one in studied.values()])
        rows.append(_range("dose (mg)", label, doses["amount_mg"].min(), doses["amount_mg"].max(), given))
        spans = [max(float(r.end_day) for r in one.regimens if r.agent == agent) / DAYS_PER_MONTH
                 for one in studied.values()]  # fmt: skip
        end = float(doses["month"].max() + doses["every_days"].iloc[-1] / DAYS_PER_MONTH)
        rows.append(_most("months of treatment", label, end, max(spans)))
        off = [
            one.follow_up - max(float(r.end_day) for r in one.regimens if r.agent == agent) / DAYS_PER_MONTH
            for key, one in studied.items()
            if (seen["phase"][seen["arm"] == key] == "off").any()
        ]
        after = run.trial.months - end
        if after > 0:
            rows.append(_most("months after treatment", label, after, max(off, default=0.0)))
    return rows


def _of_population(run: Run, evidence: Evidence) -> list[tuple[str, str, str, str, str]]:
    rows = []
    for name in COVARIATES:
        means = np.array([one.covariates[name] for one in evidence.arms.values() if name in one.covariates])
        if name in run.patients and means.size:
            mean = float(run.patients[name].mean())
            rows.append(_range("population (mean)", name, mean, mean, means))
    return rows


def _range(part: str, of: str, low: float, high: float, known: Any) -> tuple[str, str, str, str, str]:
    least, most = float(np.min(known)), float(np.max(known))
    asked = sig(low) if low == high else f"{sig(low)} to {sig(high)}"
    verdict = INSIDE if least <= low and high <= most else OUTSIDE
    return part, of, asked, f"{sig(least)} to {sig(most)}", verdict


def _most(part: str, of: str, asked: float, most: float) -> tuple[str, str, str, str, str]:
    return part, of, sig(asked), f"up to {sig(most)}", INSIDE if asked <= most + 0.5 else OUTSIDE


def sentence(found: pd.DataFrame) -> str:
    """The verdicts in words.

    Parameters
    ----------
    found : DataFrame
        As from `applicability`.
    """
    counts: Mapping[str, int] = found["verdict"].value_counts().to_dict()
    outside = found[found["verdict"] != INSIDE]
    named = "; ".join(f"{row.of}: {row.part} {row.asked} ({row.verdict})" for row in outside.itertuples())
    said = f"Of {len(found)} comparisons with the evidence, {counts.get(INSIDE, 0)} are inside it."
    return f"{said} Not inside: {named}." if named else said
