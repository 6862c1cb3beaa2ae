"""All analyses of a finished trial in one place, as tidy frames: what the report shows and Python gets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ranklsim.cohorts.protocol.endpoints import Change, Durability, Endpoint, Event
from ranklsim.cohorts.protocol.trial import Trial
from ranklsim.cohorts.running.storage import open_run
from ranklsim.cohorts.statistics import multiplicity, summaries, survival
from ranklsim.cohorts.statistics.ancova import ancova
from ranklsim.cohorts.study import Study
from ranklsim.pkpd.errors import BadInput
from ranklsim.reports.analyses import estimands, monitoring, subgroups
from ranklsim.reports.analyses.effects import effect, is_ratio, measure_of
from ranklsim.reports.analyses.single import COLUMNS, analysed_changes, of_endpoint, table_of

FORESTS = ("primary", "key secondary")
"""Roles of the endpoints that are analysed in subgroups."""


@dataclass(frozen=True)
class Analyses:
    """Results of a trial.

    Attributes
    ----------
    endpoints : DataFrame
        Columns `single.COLUMNS`, a row an endpoint and arm.
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
    looks : DataFrame
        Columns of `monitoring.COLUMNS`: the endpoint of [interim] at every look; none without that table.
    stops : DataFrame
        Columns of `monitoring.OUTCOME`: what became of each arm at the looks.
    """

    endpoints: pd.DataFrame
    curves: pd.DataFrame
    at_risk: pd.DataFrame
    subgroups: pd.DataFrame
    multiplicity: pd.DataFrame
    estimands: pd.DataFrame
    looks: pd.DataFrame
    stops: pd.DataFrame


def analyse(study: Study | str | Path, changes: pd.DataFrame | None = None) -> Analyses:
    """Analyse a trial as its file asks.

    Parameters
    ----------
    study : Study or path
        Such as a finished run, or the folder of one.
    changes : DataFrame, optional
        Endpoints that are a change, as analysed already (columns of `summaries.ENDPOINT_COLUMNS`).

    Returns
    -------
    Analyses
    """
    study = open_run(study) if isinstance(study, str | Path) else study
    trial = study.trial
    arms = [arm.name for arm in trial.arms]
    endpoints = endpoint_table(study, analysed_changes(study) if changes is None else changes)
    curves, risks = [], []
    for spec in trial.endpoints:
        if isinstance(spec, Event) and not spec.grouped:
            curve, risk = _curves(table_of(study, spec), spec, arms, trial.visits.months)
            curves.append(curve)
            risks.append(risk)
    seen = _monitored(study)
    return Analyses(
        endpoints[list(COLUMNS)],
        _joined(curves, ["endpoint", "arm", *survival.CURVE]),
        _joined(risks, ["endpoint", "arm", "month", "n"]),
        _joined(
            [
                _forest(study, spec, arm, str(trial.control))
                for spec in trial.endpoints
                if spec.role in FORESTS
                for arm in _others(trial)
            ],
            ["endpoint", "arm", "effect_measure", *subgroups.COLUMNS],
        ),
        decisions(trial, endpoints, seen.outcome),
        estimands.estimate_all(study),
        seen.looks,
        seen.outcome,
    )


def endpoint_table(study: Study, changes: pd.DataFrame, *, ends: Mapping[str, float] | None = None) -> pd.DataFrame:
    """Every endpoint of a trial by arm, analysed as its file asks.

    Parameters
    ----------
    study, changes
        As of `analyse`.
    ends : mapping, optional
        Arm to the month at which its treatment ends, for durabilities; that of its regimens if not given.

    Returns
    -------
    DataFrame
        Columns `single.COLUMNS` and `effect_error`, a row an endpoint and arm.
    """
    rows = [row for spec in study.trial.endpoints for row in of_endpoint(study, spec, changes, ends=ends)]
    return pd.DataFrame(rows, columns=[*COLUMNS, "effect_error"])


def _monitored(study: Study) -> monitoring.Monitored:
    """The trial at its looks; empty where the file does not say how they are tested."""
    plan = study.trial.interim
    if plan is None:
        columns = (monitoring.COLUMNS, monitoring.OUTCOME)
        return monitoring.Monitored(*(pd.DataFrame(columns=list(names)) for names in columns))
    return monitoring.monitor(study)


def _joined(frames: Sequence[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    kept = [frame for frame in frames if len(frame)]
    return pd.concat(kept, ignore_index=True)[columns] if kept else pd.DataFrame(columns=columns)


def _others(trial: Trial) -> list[str]:
    return [arm.name for arm in trial.arms if arm.name != trial.control] if trial.control is not None else []


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


def _forest(study: Study, spec: Endpoint, arm: str, control: str) -> pd.DataFrame:
    """Effect of an endpoint in subgroups; none for a durability, which has no row a patient."""
    if isinstance(spec, Durability):
        return pd.DataFrame()
    groups = subgroups.groups_of(study.patients)
    measure = "difference of means" if isinstance(spec, Change) else measure_of(spec)
    effect_of: Callable[[pd.DataFrame], Any]
    if isinstance(spec, Change):
        visits = study.seen(spec.measure)
        change = summaries.change_from(visits, spec.measure, spec.from_month, kind=spec.kind)
        change = change[change["month"] == spec.to_month]
        table = summaries.with_covariates(change, visits, study.patients, spec)
        effect_of = partial(_mean_difference, arm=arm, control=control, covariates=spec.covariates)
    else:
        table = table_of(study, spec)
        effect_of = partial(effect, spec, arm=arm, control=control, measure=measure)
    found = subgroups.forest(table, arm, control, groups, effect_of, ratio=is_ratio(measure))
    return found.assign(endpoint=spec.name, arm=arm, effect_measure=measure)


def _mean_difference(table: pd.DataFrame, arm: str, control: str, covariates: Sequence[str]) -> dict[str, Any]:
    """ANCOVA at the endpoint's visit."""
    row = ancova(table, [control, arm], control, covariates)[1]
    if not np.isfinite(float(str(row["difference"]))):
        raise BadInput("an arm has no patient left.")
    return {"estimate": row["difference"], "low": row["difference_low"], "high": row["difference_high"]}


def decisions(trial: Trial, endpoints: pd.DataFrame, stops: pd.DataFrame) -> pd.DataFrame:
    """Adjusted p and decision of every hypothesis.

    The p of a difference that was tested at interim looks is that of the sequence, so that the procedure keeps its
    level over looks too (Maurer W, Bretz F. Stat Biopharm Res 2013;5:311-20, recalled); others, and differences where
    the looks test a margin, are tested once, at the end.
    """
    columns = ["endpoint", "arm", "p", "adjusted", "rejected", "note"]
    plan = trial.multiplicity
    if plan is None:
        return pd.DataFrame(columns=columns)
    known = endpoints.set_index(["endpoint", "arm"])
    p = np.array([float(known.loc[pair, "p"]) for pair in plan.hypotheses])
    over_looks = stops.set_index("arm")["p_adjusted"].astype(float).to_dict()
    looked_at = trial.interim.endpoint if trial.interim is not None else None
    differs = looked_at is not None and trial.endpoint(looked_at).margin is None
    at_looks = [
        differs and name == looked_at and np.isfinite(over_looks.get(arm, np.nan)) for name, arm in plan.hypotheses
    ]
    p = np.where(at_looks, [over_looks.get(arm, np.nan) for _, arm in plan.hypotheses], p)
    adjusted = multiplicity.adjusted(p, plan.method, weights=plan.weights, transitions=plan.transitions)
    notes = [
        "p over all looks." if looked else "" if np.isfinite(value) else "Could not be tested; counts as p = 1."
        for value, looked in zip(p, at_looks, strict=True)
    ]
    rows = zip(*zip(*plan.hypotheses, strict=True), p, adjusted, adjusted <= plan.alpha, notes, strict=True)
    return pd.DataFrame(rows, columns=columns)
