"""All analyses of a finished trial in one place, as tidy frames: what the report shows and Python gets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from ranklsim.cohorts.endpoints import Analysed, Endpoint, is_ratio
from ranklsim.cohorts.endpoints.base import COLUMNS, ERRORS
from ranklsim.cohorts.protocol.trial import Trial
from ranklsim.cohorts.running.storage import open_run
from ranklsim.cohorts.statistics import multiplicity, survival
from ranklsim.cohorts.study import Study, setting
from ranklsim.reports.analyses import estimands, monitoring, subgroups

FORESTS = ("primary", "key secondary")
"""Roles of the endpoints that are analysed in subgroups."""


@dataclass(frozen=True)
class Analyses:
    """Results of a trial.

    Attributes
    ----------
    endpoints : DataFrame
        Columns `cohorts.endpoints.base.COLUMNS`, a row an endpoint and arm.
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


def analyse(study: Study | str | Path, analysed: Sequence[Analysed] | None = None) -> Analyses:
    """Analyse a trial as its file asks.

    Parameters
    ----------
    study : Study or path
        Such as a finished run, or the folder of one.
    analysed : sequence of Analysed, optional
        Every endpoint, if they have been analysed already (`analysed_endpoints`).

    Returns
    -------
    Analyses
    """
    study = open_run(study) if isinstance(study, str | Path) else study
    trial = study.trial
    arms = [arm.name for arm in trial.arms]
    endpoints = endpoint_table(analysed_endpoints(study) if analysed is None else analysed)
    curves, risks = [], []
    for spec in trial.endpoints:
        found = spec.curves(study, setting(study, spec), trial.visits.months)
        if found is not None:
            curves.append(found[0])
            risks.append(found[1])
    seen = _monitored(study)
    forests = [
        _forest(study, spec, arm, str(trial.control))
        for spec in trial.endpoints
        if spec.role in FORESTS and spec.of_patients and trial.control is not None
        for arm in arms
        if arm != trial.control
    ]
    return Analyses(
        endpoints[list(COLUMNS)],
        _joined(curves, ["endpoint", "arm", *survival.CURVE]),
        _joined(risks, ["endpoint", "arm", "month", "n"]),
        _joined(forests, ["endpoint", "arm", "effect_measure", *subgroups.COLUMNS]),
        decisions(trial, endpoints, seen.outcome),
        estimands.estimate_all(study),
        seen.looks,
        seen.outcome,
    )


def analysed_endpoints(study: Study, *, ends: Mapping[str, float] | None = None) -> list[Analysed]:
    """Every endpoint of a study, analysed as the trial file asks.

    Parameters
    ----------
    study : Study
    ends : mapping of str to float, optional
        Month at which the treatment of each arm ends, for durabilities; that of its regimens if not given.
    """
    return [spec.analyse(study, setting(study, spec, ends=ends)) for spec in study.trial.endpoints]


def endpoint_table(analysed: Sequence[Analysed]) -> pd.DataFrame:
    """Analysed endpoints as a table with columns `COLUMNS` and `ERRORS`, a row an endpoint and arm.

    Parameters
    ----------
    analysed : sequence of Analysed
    """
    return pd.DataFrame([row for each in analysed for row in each.rows()], columns=[*COLUMNS, *ERRORS])


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


# -- subgroups and decisions -------------------------------------------------------------------------------------------


def _forest(study: Study, spec: Endpoint, arm: str, comparator: str) -> pd.DataFrame:
    """Effect of an endpoint in subgroups."""
    measure = spec.subgroup_measure
    effect = partial(spec.effect, arm=arm, comparator=comparator, measure=measure)
    table, groups = spec.table(study, setting(study, spec)), subgroups.groups_of(study.patients)
    found = subgroups.forest(table, arm, comparator, groups, effect, ratio=is_ratio(measure))
    return found.assign(endpoint=spec.name, arm=arm, effect_measure=measure)


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
