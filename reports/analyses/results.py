"""All analyses of a finished trial in one place, as tidy frames: what the report shows and Python gets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from ranklsim.cohorts.durability import ends_of_treatment
from ranklsim.cohorts.protocol.endpoints import Change, Durability, Endpoint, Event, Rate, Responder
from ranklsim.cohorts.protocol.schema import BMD_MEASURES
from ranklsim.pkpd.errors import BadInput, RunFailed
from ranklsim.reports.analyses import (
    estimands,
    multiplicity,
    proportions,
    repeated,
    subgroups,
    summaries,
    survival,
    variables,
)
from ranklsim.reports.analyses.ancova import ancova
from ranklsim.reports.analyses.effects import MEASURE, effect, higher_is_better, is_ratio
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
FORESTS = ("primary", "key secondary")
"""Roles of the endpoints that are analysed in subgroups."""


@dataclass(frozen=True)
class Analyses:
    """Results of a trial.

    Attributes
    ----------
    endpoints : DataFrame
        Columns `COLUMNS`, a row an endpoint and arm.
    curves : DataFrame
        Columns `endpoint`, `arm`, `month`, `estimate`, `low`, `high`, `std_error`: share with the event by month.
    at_risk : DataFrame
        Columns `endpoint`, `arm`, `month`, `n`: patients seen without the event up to there.
    subgroups : DataFrame
        Columns `endpoint`, `arm`, `effect_measure` and those of `subgroups.COLUMNS`.
    multiplicity : DataFrame
        Columns `endpoint`, `arm`, `p`, `adjusted`, `rejected`, `note`, in the order of the tests.
    estimands : DataFrame
        Columns of `estimands.COLUMNS`.
    """

    endpoints: pd.DataFrame
    curves: pd.DataFrame
    at_risk: pd.DataFrame
    subgroups: pd.DataFrame
    multiplicity: pd.DataFrame
    estimands: pd.DataFrame


def analyse(data: Any, changes: pd.DataFrame | None = None) -> Analyses:
    """Analyse a trial as its file asks.

    Parameters
    ----------
    data : Run or RunData
        `trial`, `patients`, `visits`, `events`, `manifest`, and `twins`, `twin_events` where there is an estimand.
    changes : DataFrame, optional
        Endpoints that are a change, as analysed already (columns of `summaries.ENDPOINT_COLUMNS`).

    Returns
    -------
    Analyses
    """
    trial = data.trial
    arms = [arm.name for arm in trial.arms]
    if changes is None:
        changes = analysed_changes(data, arms)
    frames, curves, risks = [], [], []
    for spec in trial.endpoints:
        if isinstance(spec, Change):
            frames.append(_of_change(changes, spec, arms))
        elif isinstance(spec, Durability):
            frames.append(_of_durability(data, spec, arms, seed=int(data.manifest["seed"])))
        else:
            table = table_of(data, spec)
            frames.append(_of_table(table, spec, arms, trial.control))
            if isinstance(spec, Event) and not spec.grouped:
                curve, risk = _curves(table, spec, arms, trial.visits.months)
                curves.append(curve)
                risks.append(risk)
    endpoints = pd.DataFrame([row for rows in frames for row in rows], columns=list(COLUMNS))
    twins = (data.twins, data.twin_events) if trial.estimands and len(data.twins) else None
    return Analyses(
        endpoints,
        _joined(curves, ["endpoint", "arm", *survival.CURVE]),
        _joined(risks, ["endpoint", "arm", "month", "n"]),
        _joined(
            [_forest(data, spec, arm) for spec in trial.endpoints if spec.role in FORESTS for arm in _others(trial)],
            ["endpoint", "arm", "effect_measure", *subgroups.COLUMNS],
        ),
        _decisions(trial, endpoints),
        estimands.estimate_all(data, twins),
    )


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
    return _joined(frames, list(summaries.ENDPOINT_COLUMNS))


def table_of(data: Any, spec: Endpoint) -> pd.DataFrame:
    """A row a patient of an endpoint that is no change: all that was seen counts."""
    if isinstance(spec, Responder):
        return variables.responders(data.seen(spec.measure), data.patients, spec)
    if isinstance(spec, Rate):
        return variables.counts(data.events, data.patients, spec)
    assert isinstance(spec, Event)
    table = variables.times(data.events, data.patients, spec)
    return estimands.found_at_visits(data.trial, spec, table)


def _joined(frames: Sequence[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    kept = [frame for frame in frames if len(frame)]
    return pd.concat(kept, ignore_index=True)[columns] if kept else pd.DataFrame(columns=columns)


def _others(trial: Any) -> list[str]:
    return [arm.name for arm in trial.arms if arm.name != trial.control] if trial.control is not None else []


# -- endpoints ---------------------------------------------------------------------------------------------------------


def _facts(spec: Endpoint, arm: str, measure: str) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(COLUMNS, np.nan)
    margin = np.nan if spec.margin is None else spec.margin
    return row | {
        "endpoint": spec.name, "role": spec.role, "kind": KINDS[type(spec)], "arm": arm, "n": 0, "margin": margin,
        "effect_measure": measure, "conclusion": "", "method": "", "note": "",
    }  # fmt: skip


def _concluded(row: dict[str, Any], spec: Endpoint) -> dict[str, Any]:
    words = conclusion(
        row["effect_low"], row["effect_high"], margin=spec.margin, ratio=is_ratio(row["effect_measure"]),
        higher_is_better=higher_is_better(spec),
    )  # fmt: skip
    return row | {"conclusion": words}


def _of_change(changes: pd.DataFrame, spec: Change, arms: Sequence[str]) -> list[dict[str, Any]]:
    own = changes[changes["endpoint"] == spec.name].set_index("arm")
    medians = spec.analysis == "median difference"
    rows = []
    for arm in arms:
        row = _facts(spec, arm, "difference of medians" if medians else "difference of means")
        if arm not in own.index or not own.loc[arm, "n"]:
            rows.append(row | {"note": "No patient of this arm is left for the analysis."})
            continue
        found = own.loc[arm]
        row |= {"n": int(found["n"]), "estimate": found["estimate"], "low": found["ci_low"], "high": found["ci_high"]}
        row |= {"method": found["method"], "note": found["note"], "p": found["p"], "effect": found["difference"]}
        row |= {"effect_low": found["difference_low"], "effect_high": found["difference_high"]}
        rows.append(_concluded(row, spec) if np.isfinite(row["effect"]) else row)
    return rows


def _of_durability(data: Any, spec: Durability, arms: Sequence[str], seed: int) -> list[dict[str, Any]]:
    trial = data.trial
    ends = ends_of_treatment(trial.arms, data.agents)
    found = lasting(data.seen(spec.measure), spec, ends, arms, trial.control, seed=seed).set_index("arm")
    middle = "mean" if spec.measure in BMD_MEASURES else "median"
    method = f"bootstrap of the arm's {middle} curve"
    names = ("n", "estimate", "low", "high", "effect", "effect_low", "effect_high", "note")
    return [
        _facts(spec, arm, "difference") | {name: found.loc[arm, name] for name in names} | {"method": method}
        for arm in arms
    ]


def _of_table(table: pd.DataFrame, spec: Endpoint, arms: Sequence[str], control: str | None) -> list[dict[str, Any]]:
    """Each arm's share, incidence or rate, and its effect against control."""
    measure = MEASURE[spec.analysis]
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
                row |= {"p": found["p"], "method": found["method"]}
                row = _concluded(row, spec)
            except (BadInput, RunFailed) as why:
                row["note"] = estimands.in_a_sentence(why)
        rows.append(row)
    return rows


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


def _curves(
    table: pd.DataFrame, spec: Event, arms: Sequence[str], visits: Sequence[float]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Cumulative incidence and numbers at risk of each arm; months since randomisation."""
    months = sorted({spec.from_month, spec.by_month, *(m for m in visits if spec.from_month < m < spec.by_month)})
    curves, risks = [], []
    for arm in arms:
        own = table[table["arm"] == arm]
        curve = survival.cumulative_incidence(own["time"].to_numpy(), own["cause"].to_numpy())
        curves.append(curve.assign(endpoint=spec.name, arm=arm, month=curve["month"] + spec.from_month))
        counts = survival.numbers_at_risk(own["time"].to_numpy(), [m - spec.from_month for m in months])
        risks.append(pd.DataFrame({"endpoint": spec.name, "arm": arm, "month": months, "n": counts}))
    return pd.concat(curves, ignore_index=True), pd.concat(risks, ignore_index=True)


# -- subgroups and decisions -------------------------------------------------------------------------------------------


def _forest(data: Any, spec: Endpoint, arm: str) -> pd.DataFrame:
    """Effect of an endpoint in subgroups; none for a durability, which has no row a patient."""
    if isinstance(spec, Durability):
        return pd.DataFrame()
    control = data.trial.control
    groups = subgroups.groups_of(data.patients)
    effect_of: Callable[[pd.DataFrame], Any]
    if isinstance(spec, Change):
        measure = "difference of means"
        visits = data.seen(spec.measure)
        change = summaries.change_from(visits, spec.measure, spec.from_month, kind=spec.kind)
        change = change[change["month"] == spec.to_month]
        table = summaries.with_covariates(change, visits, data.patients, spec)
        effect_of = partial(_mean_difference, arm=arm, control=control, covariates=spec.covariates)
    else:
        measure = MEASURE[spec.analysis]
        table = table_of(data, spec)
        effect_of = partial(effect, spec, arm=arm, control=control, measure=measure)
    found = subgroups.forest(table, arm, control, groups, effect_of, ratio=is_ratio(measure))
    return found.assign(endpoint=spec.name, arm=arm, effect_measure=measure)


def _mean_difference(table: pd.DataFrame, arm: str, control: str, covariates: Sequence[str]) -> dict[str, Any]:
    """ANCOVA at the endpoint's visit."""
    row = ancova(table, [control, arm], control, covariates)[1]
    if not np.isfinite(float(str(row["difference"]))):
        raise BadInput("an arm has no patient left.")
    return {"estimate": row["difference"], "low": row["difference_low"], "high": row["difference_high"]}


def _decisions(trial: Any, endpoints: pd.DataFrame) -> pd.DataFrame:
    """Adjusted p and decision of every hypothesis."""
    columns = ["endpoint", "arm", "p", "adjusted", "rejected", "note"]
    plan = trial.multiplicity
    if plan is None:
        return pd.DataFrame(columns=columns)
    known = endpoints.set_index(["endpoint", "arm"])
    p = np.array([float(known.loc[pair, "p"]) for pair in plan.hypotheses])
    adjusted = multiplicity.adjusted(p, plan.method, weights=plan.weights, transitions=plan.transitions)
    notes = ["" if np.isfinite(value) else "Could not be tested; counts as p = 1." for value in p]
    rows = zip(*zip(*plan.hypotheses, strict=True), p, adjusted, adjusted <= plan.alpha, notes, strict=True)
    return pd.DataFrame(rows, columns=columns)
