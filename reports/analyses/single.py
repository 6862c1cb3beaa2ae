"""One endpoint of a trial, analysed as its file asks: a row an arm.

The report's results and the analyses at interim looks are both made here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from ranklsim.cohorts.protocol.design import ends_of_treatment
from ranklsim.cohorts.protocol.endpoints import (
    Change,
    Durability,
    Endpoint,
    Event,
    Rate,
    Responder,
    higher_is_better,
)
from ranklsim.cohorts.protocol.measures import BMD_MEASURES
from ranklsim.cohorts.statistics import proportions, summaries, survival
from ranklsim.cohorts.statistics.margins import conclusion
from ranklsim.cohorts.study import Study
from ranklsim.pkpd.errors import BadInput, RunFailed
from ranklsim.reports.analyses import estimands, repeated, variables
from ranklsim.reports.analyses.effects import effect, is_ratio, margin_of, measure_of
from ranklsim.reports.analyses.lasting import lasting

COLUMNS = (
    *("endpoint", "role", "kind", "arm", "n", "events", "estimate", "low", "high"),
    *("effect", "effect_measure", "effect_low", "effect_high", "p", "margin", "conclusion", "method", "note"),
)
"""Columns of the analysed endpoints: `estimate` of the arm (shares as shares, rates a year), `effect` against control
with its `effect_measure`, what can be concluded, and `note` what a reader must know."""

KINDS: dict[type[Endpoint], str] = {
    Change: "change", Responder: "responder", Event: "event", Rate: "rate", Durability: "durability",
}  # fmt: skip


def alone(study: Study, spec: Endpoint) -> list[dict[str, Any]]:
    """`of_endpoint` of an endpoint that has not been analysed yet.

    Parameters
    ----------
    study : Study
    spec : Endpoint
    """
    changes = analysed_change(study, spec, study.trial.seed) if isinstance(spec, Change) else pd.DataFrame()
    return of_endpoint(study, spec, changes)


def of_endpoint(
    study: Study, spec: Endpoint, changes: pd.DataFrame, *, ends: Mapping[str, float] | None = None
) -> list[dict[str, Any]]:
    """One endpoint: a row an arm with `COLUMNS` and `effect_error`, the effect's standard error (log, for a ratio).

    Parameters
    ----------
    study : Study
    spec : Endpoint
    changes : DataFrame
        As from `analysed_changes`, with the endpoint if it is a change.
    ends : mapping, optional
        Arm to the month at which its treatment ends, for a durability; that of its regimens if not given.
    """
    arms = [arm.name for arm in study.trial.arms]
    if isinstance(spec, Change):
        return _of_change(changes, spec, arms)
    if isinstance(spec, Durability):
        until = ends_of_treatment(study.trial.arms, study.agents) if ends is None else ends
        return _of_durability(study, spec, arms, until, study.trial.seed)
    return _of_table(table_of(study, spec), spec, arms, study.trial.control)


def analysed_change(study: Study, spec: Change, seed: int) -> pd.DataFrame:
    """A change analysed as its file asks: columns `summaries.ENDPOINT_COLUMNS`.

    Parameters
    ----------
    study : Study
    spec : Change
    seed : int
        Of the bootstrap of a difference of medians.
    """
    visits, arms, control = study.seen(spec.measure), [arm.name for arm in study.trial.arms], study.trial.control
    if spec.analysis == "MMRM":
        return repeated.analyse(visits, study.patients, spec, arms, control).endpoint()
    return summaries.endpoint(visits, study.patients, spec, arms, control, seed=seed)


def analysed_changes(study: Study) -> pd.DataFrame:
    """Every endpoint that is a change, analysed as its file asks: columns `summaries.ENDPOINT_COLUMNS`.

    Parameters
    ----------
    study : Study
    """
    frames = [analysed_change(study, spec, study.trial.seed + k) for k, spec in enumerate(study.trial.changes)]
    kept = [frame for frame in frames if len(frame)]
    columns = list(summaries.ENDPOINT_COLUMNS)
    return pd.concat(kept, ignore_index=True)[columns] if kept else pd.DataFrame(columns=columns)


def table_of(study: Study, spec: Endpoint) -> pd.DataFrame:
    """A row a patient of an endpoint that is no change: all that was seen counts."""
    if isinstance(spec, Responder):
        return variables.responders(study.seen(spec.measure), study.patients, spec)
    if isinstance(spec, Rate):
        return variables.counts(study.events, study.patients, spec)
    assert isinstance(spec, Event)
    table = variables.times(study.events, study.patients, spec)
    return estimands.found_at_visits(study.trial, spec, table)


def _facts(spec: Endpoint, arm: str, measure: str) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(COLUMNS, np.nan)
    margin = np.nan if spec.margin is None else spec.margin
    row["effect_error"] = np.nan
    return row | {
        "endpoint": spec.name, "role": spec.role, "kind": KINDS[type(spec)], "arm": arm, "n": 0, "margin": margin,
        "effect_measure": measure, "conclusion": "", "method": "", "note": "",
    }  # fmt: skip


def _concluded(row: dict[str, Any], spec: Endpoint) -> dict[str, Any]:
    words = conclusion(
        row["effect_low"], row["effect_high"], margin=margin_of(spec), ratio=is_ratio(row["effect_measure"]),
        higher_is_better=higher_is_better(spec),
    )  # fmt: skip
    return row | {"conclusion": words}


def _of_change(changes: pd.DataFrame, spec: Change, arms: Sequence[str]) -> list[dict[str, Any]]:
    own = changes[changes["endpoint"] == spec.name].set_index("arm")
    rows = []
    for arm in arms:
        row = _facts(spec, arm, measure_of(spec))
        if arm not in own.index or not own.loc[arm, "n"]:
            rows.append(row | {"note": "No patient of this arm is left for the analysis."})
            continue
        found = own.loc[arm]
        row |= {"n": int(found["n"]), "estimate": found["estimate"], "low": found["ci_low"], "high": found["ci_high"]}
        row |= {"method": found["method"], "note": found["note"], "p": found["p"], "effect": found["difference"]}
        row |= {"effect_low": found["difference_low"], "effect_high": found["difference_high"]}
        row["effect_error"] = found["difference_std_error"]
        rows.append(_concluded(row, spec) if np.isfinite(row["effect"]) else row)
    return rows


def _of_durability(
    study: Study, spec: Durability, arms: Sequence[str], ends: Mapping[str, float], seed: int
) -> list[dict[str, Any]]:
    found = lasting(study.seen(spec.measure), spec, ends, arms, study.trial.control, seed=seed).set_index("arm")
    middle = "mean" if spec.measure in BMD_MEASURES else "median"
    method = f"bootstrap of the arm's {middle} curve"
    names = ("n", "estimate", "low", "high", "effect", "effect_low", "effect_high", "note")
    return [
        _facts(spec, arm, "difference") | {name: found.loc[arm, name] for name in names} | {"method": method}
        for arm in arms
    ]


def _of_table(table: pd.DataFrame, spec: Endpoint, arms: Sequence[str], control: str | None) -> list[dict[str, Any]]:
    """Each arm's share, incidence or rate, and its effect against control."""
    measure = measure_of(spec)
    rows = []
    for arm in arms:
        own = table[table["arm"] == arm]
        row = _facts(spec, arm, measure) | {"n": len(own)}
        if own.empty:
            rows.append(row | {"note": "No patient of this arm is left for the analysis."})
            continue
        row |= _alone(own, spec)
        if control is not None and arm != control:
            try:
                found = effect(spec, table, arm, control, measure)
                row |= {"effect": found["estimate"], "effect_low": found["low"], "effect_high": found["high"]}
                row |= {"p": found["p"], "method": found["method"], "effect_error": _error(found, is_ratio(measure))}
                row = _concluded(row, spec)
            except (BadInput, RunFailed) as why:
                row["note"] = estimands.in_a_sentence(why)
        rows.append(row)
    return rows


def _error(found: dict[str, Any], ratio: bool) -> float:
    """Standard error of an effect from its interval, which is the normal one on its scale."""
    low, high = (np.log(found[end]) if ratio else found[end] for end in ("low", "high"))
    return float(high - low) / (2 * float(stats.norm.ppf(0.975)))


def _alone(own: pd.DataFrame, spec: Endpoint) -> dict[str, Any]:
    """What one arm shows by itself."""
    if isinstance(spec, Rate):
        events, years = float(own["count"].sum()), float(own["years"].sum())
        low = stats.chi2.ppf(0.025, 2 * events) / 2 if events else 0.0
        out = {
            "estimate": events / years,
            "low": low / years,
            "high": stats.chi2.ppf(0.975, 2 * events + 2) / 2 / years,
        }
        return out | {"events": events, "method": "exact Poisson interval"}
    events = int(own["event"].sum())
    if isinstance(spec, Event) and not spec.grouped:
        curve = survival.cumulative_incidence(own["time"].to_numpy(), own["cause"].to_numpy())
        at = survival.at_month(curve, spec.by_month - spec.from_month)
        out = {name: at[name] for name in ("estimate", "low", "high")}
        return out | {"events": events, "method": "cumulative incidence (Aalen-Johansen)"}
    return proportions.proportion(events, len(own)) | {"events": events, "method": "share with Wilson's interval"}
