"""One endpoint of a trial, analysed as its file asks: a row an arm.

The report's results and the analyses at interim looks are both made here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from ranklsim.cohorts.durability import ends_of_treatment
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
from ranklsim.pkpd.errors import BadInput, RunFailed
from ranklsim.reports.analyses import estimands, proportions, repeated, summaries, survival, variables
from ranklsim.reports.analyses.effects import effect, is_ratio, margin_of, measure_of
from ranklsim.reports.analyses.lasting import lasting
from ranklsim.reports.analyses.margins import conclusion

COLUMNS = (
    *("endpoint", "role", "kind", "arm", "n", "events", "estimate", "low", "high"),
    *("effect", "effect_measure", "effect_low", "effect_high", "p", "margin", "conclusion", "method", "note"),
)
"""Columns of the analysed endpoints: `estimate` of the arm (shares as shares, rates a year), `effect` against control
with its `effect_measure`, what can be concluded, and `note` what a reader must know."""

KINDS: dict[type[Endpoint], str] = {
    Change: "change", Responder: "responder", Event: "event", Rate: "rate", Durability: "durability",
}  # fmt: skip


@dataclass(frozen=True)
class Tables:
    """Tables of a trial in memory, as analyses read them: all of a run's, or what a look or an analysis set leaves."""

    trial: Any
    manifest: Mapping[str, Any]
    tables: Mapping[str, pd.DataFrame]

    @property
    def patients(self) -> pd.DataFrame:
        """A row a patient."""
        return self.tables["patients"]

    @property
    def events(self) -> pd.DataFrame:
        """A row an event."""
        return self.tables["events"]

    def seen(self, *columns: str) -> pd.DataFrame:
        """Some columns of the visits, besides `patient`, `arm` and `month`."""
        return self.tables["visits"][["patient", "arm", "month", *columns]]


def alone(data: Any, spec: Endpoint, *, seed: int) -> list[dict[str, Any]]:
    """`of_endpoint` of an endpoint that nobody has analysed yet."""
    changes = pd.DataFrame()
    if isinstance(spec, Change):
        own = Tables(replace(data.trial, endpoints=[spec], estimands=[]), data.manifest, data.tables)
        changes = analysed_changes(own, [arm.name for arm in data.trial.arms])
    return of_endpoint(data, spec, changes, seed=seed)


def of_endpoint(
    data: Any, spec: Endpoint, changes: pd.DataFrame, *, seed: int, ends: Mapping[str, float] | None = None
) -> list[dict[str, Any]]:
    """One endpoint: a row an arm with `COLUMNS` and `effect_error`, the effect's standard error (log, for a ratio).

    Parameters
    ----------
    data
        As of `analyse`.
    spec : Endpoint
    changes : DataFrame
        As from `analysed_changes`, with the endpoint if it is a change.
    seed : int
        Of bootstraps.
    ends : mapping, optional
        Arm to the month at which its treatment ends, for a durability; that of its regimens if not given.
    """
    arms = [arm.name for arm in data.trial.arms]
    if isinstance(spec, Change):
        return _of_change(changes, spec, arms)
    if isinstance(spec, Durability):
        until = ends_of_treatment(data.trial.arms, data.agents) if ends is None else ends
        return _of_durability(data, spec, arms, until, seed)
    return _of_table(table_of(data, spec), spec, arms, data.trial.control)


def analysed_changes(data: Any, arms: Sequence[str]) -> pd.DataFrame:
    """Every endpoint that is a change, analysed as its file asks: columns `summaries.ENDPOINT_COLUMNS`."""
    frames = []
    for k, spec in enumerate(data.trial.changes):
        visits = data.seen(spec.measure)
        if spec.analysis == "MMRM":
            frames.append(repeated.analyse(visits, data.patients, spec, arms, data.trial.control).endpoint())
        else:
            seed = int(data.manifest["seed"]) + k
            frames.append(summaries.endpoint(visits, data.patients, spec, arms, data.trial.control, seed=seed))
    kept = [frame for frame in frames if len(frame)]
    columns = list(summaries.ENDPOINT_COLUMNS)
    return pd.concat(kept, ignore_index=True)[columns] if kept else pd.DataFrame(columns=columns)


def table_of(data: Any, spec: Endpoint) -> pd.DataFrame:
    """A row a patient of an endpoint that is no change: all that was seen counts."""
    if isinstance(spec, Responder):
        return variables.responders(data.seen(spec.measure), data.patients, spec)
    if isinstance(spec, Rate):
        return variables.counts(data.events, data.patients, spec)
    assert isinstance(spec, Event)
    table = variables.times(data.events, data.patients, spec)
    return estimands.found_at_visits(data.trial, spec, table)


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
    data: Any, spec: Durability, arms: Sequence[str], ends: Mapping[str, float], seed: int
) -> list[dict[str, Any]]:
    found = lasting(data.seen(spec.measure), spec, ends, arms, data.trial.control, seed=seed).set_index("arm")
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
