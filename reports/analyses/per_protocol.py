"""The per-protocol set: patients without a major deviation from the protocol, and endpoints analysed in them.

Which deviations are major is what the trial file says (ICH E9 [1]_, section 5.2.2: criteria named before). All of them
are looked for up to the last month of the endpoint only. Patients are left out for what happened after randomisation,
so that the arms of the set are not those that were randomised: it is a supplement to the full analysis set, not an
estimate of what treatment does in those who take it.

References
----------
.. [1] ICH E9 Statistical Principles for Clinical Trials, 5 February 1998.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from ranklsim.cohorts.conduct.doses import LATE, MISSED
from ranklsim.cohorts.endpoints import Endpoint
from ranklsim.cohorts.protocol.endpoints import PerProtocol
from ranklsim.cohorts.study import Study, in_memory, setting

_SOON = 1e-9
_DUE = ("", LATE, MISSED)
"""Reasons of doses that were due: not those that nobody expected any more (left, stopped)."""


def major(rules: PerProtocol, study: Study, spec: Endpoint) -> pd.DataFrame:
    """Who deviated from the protocol, and how.

    Parameters
    ----------
    rules : PerProtocol
    study : Study
    spec : Endpoint
        Up to whose last month deviations count; the visit is its own.

    Returns
    -------
    DataFrame
        Columns `patient`, `arm` and, for each deviation asked for, a bool column: `missed_doses`, `late_dose`, `visit`
        and the events; then `any`.
    """
    until = spec.last_month
    patients = study.patients
    found: dict[str, set[Any]] = {}
    doses = study.doses[(study.doses["planned_month"] < until - _SOON) & study.doses["reason"].isin(_DUE)]
    if rules.missed is not None:
        share = (doses["reason"] == MISSED).groupby(doses["patient"]).mean()
        found["missed_doses"] = set(share.index[share > rules.missed + _SOON])
    if rules.late_months is not None:
        late = (doses["reason"] == LATE) & (doses["month"] - doses["planned_month"] > rules.late_months + _SOON)
        found["late_dose"] = set(doses.loc[late, "patient"])
    if rules.visit_months is not None:
        found["visit"] = set()
        if spec.visit is not None:
            measure, month = spec.visit
            visits = study.seen("actual_month", measure)
            at = (visits["month"] - month).abs() < _SOON
            off = (visits["actual_month"] - visits["month"]).abs() > rules.visit_months + _SOON
            found["visit"] = set(visits.loc[at & off & visits[measure].notna(), "patient"])
    events = study.events[study.events["month"] < until - _SOON]
    for name in rules.events:
        found[name] = set(events.loc[events["event"] == name, "patient"])
    table = patients[["patient", "arm"]].reset_index(drop=True)
    for name, who in found.items():
        table[name] = table["patient"].isin(who)
    return table.assign(any=table[list(found)].any(axis=1))


def analyse(study: Study, spec: Endpoint, deviations: pd.DataFrame) -> list[dict[str, Any]]:
    """An endpoint in the per-protocol set: rows as of `Analysed.rows`.

    Parameters
    ----------
    study : Study
    spec : Endpoint
        Not a durability, which is of arms.
    deviations : DataFrame
        As from `major`.
    """
    kept = set(deviations.loc[~deviations["any"], "patient"])
    own = in_memory(study, *(("actual_month", *spec.columns) if spec.columns else ()), patients=kept)
    return spec.analyse(own, setting(own, spec)).rows()
