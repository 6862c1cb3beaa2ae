"""All analyses of a finished trial in one place, as tidy frames: what the report shows and Python gets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from ranklsim.cohorts.endpoints import Analysed, Endpoint, is_ratio
from ranklsim.cohorts.endpoints.base import COLUMNS, ERRORS
from ranklsim.cohorts.protocol.trial import Trial
from ranklsim.cohorts.running.storage import open_run
from ranklsim.cohorts.statistics import multiplicity, survival
from ranklsim.cohorts.study import Study, in_memory, setting
from ranklsim.pkpd import arguments
from ranklsim.pkpd.errors import BadInput, RunFailed, counted
from ranklsim.pkpd.results import Results
from ranklsim.reports.analyses import estimands, monitoring, subgroups
from ranklsim.reports.layout.tables import p_value

FORESTS = ("primary", "key secondary")
"""Roles of the endpoints that are analysed in subgroups."""


@dataclass(frozen=True, repr=False)
class Analyses(Results):
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
        Columns `endpoint`, `arm`, `against`, `effect_measure` and those of `subgroups.COLUMNS`.
    multiplicity : DataFrame
        Columns `HYPOTHESES`, in the order of the tests.
    estimands : DataFrame
        Columns of `estimands.COLUMNS`.
    looks : DataFrame
        Columns of `monitoring.COLUMNS`: the endpoint of [interim] at every look; none without that table.
    stops : DataFrame
        Columns of `monitoring.OUTCOME`: what became of each arm at the looks.
    """

    SOURCE = "analyses/"
    FIGURE = "reports.figures.analyses:endpoints_figure"
    PRINTED: ClassVar = {
        "endpoints": ("endpoint", "arm", "n", "estimate", "effect", "effect_low", "effect_high", "p", "conclusion"),
        "estimands": ("estimand", "endpoint", "arm", "n", "estimate", "low", "high", "truth"),
        "multiplicity": ("endpoint", "arm", "against", "claim", "p", "adjusted", "rejected"),
    }

    endpoints: pd.DataFrame
    curves: pd.DataFrame
    at_risk: pd.DataFrame
    subgroups: pd.DataFrame
    multiplicity: pd.DataFrame
    estimands: pd.DataFrame
    looks: pd.DataFrame
    stops: pd.DataFrame

    def tables(self) -> dict[str, pd.DataFrame]:
        """Every table by its name, the main one first."""
        named = ("endpoints", "estimands", "multiplicity", "subgroups", "curves", "at_risk", "looks", "stops")
        found = {name: getattr(self, name) for name in named}
        return {name: table for name, table in found.items() if len(table)}

    def heading(self) -> str:
        """What the result is, in one line."""
        number = self.endpoints[["endpoint", "arm"]].nunique()
        return f"Analyses of {counted(number['endpoint'], 'endpoint')} in {counted(number['arm'], 'arm')}"


def _study(value: Any) -> Any:
    """A study, or the folder of a run."""
    has_tables = all(hasattr(type(value), name) or hasattr(value, name) for name in ("trial", "patients", "seen"))
    return value if has_tables else arguments.path(value)


@arguments.checked(
    study=_study,
    analysed=arguments.several(
        arguments.instance(Analysed, give="what analysed_endpoints returns"), "analysed_endpoints(study)"
    ),
)
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
    analysed = analysed_endpoints(study) if analysed is None else analysed
    endpoints = endpoint_table(analysed)
    curves, risks, drawn = [], [], set()
    for spec in trial.endpoints:
        same = repr(replace(spec, name="", role="", margin=None, equivalence=None, against=None, arms=()))
        found = None if same in drawn else spec.curves(study, setting(study, spec), trial.visits.months)
        drawn.add(same)
        if found is not None:
            curves.append(found[0])
            risks.append(found[1])
    seen = _monitored(study)
    forests = [
        _forest(study, spec, arm)
        for spec in trial.endpoints
        if spec.role in FORESTS and spec.of_patients
        for arm in (each.name for each in trial.arms)
        if setting(study, spec).compares(arm)
    ]
    decided = decisions(study, analysed, seen)
    return Analyses(
        concluded(trial, endpoints, decided, seen.outcome)[list(COLUMNS)],
        _joined(curves, ["endpoint", "arm", *survival.CURVE]),
        _joined(risks, ["endpoint", "arm", "month", "n"]),
        _joined(forests, ["endpoint", "arm", "against", "effect_measure", *subgroups.COLUMNS]),
        decided,
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
    return unmonitored() if study.trial.interim is None else monitoring.monitor(study)


@lru_cache(maxsize=1)
def unmonitored() -> monitoring.Monitored:
    """A trial without looks that are tested."""
    columns = (monitoring.COLUMNS, monitoring.OUTCOME)
    return monitoring.Monitored(*(pd.DataFrame(columns=list(names)) for names in columns))


def _joined(frames: Sequence[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    kept = [frame for frame in frames if len(frame)]
    return pd.concat(kept, ignore_index=True)[columns] if kept else pd.DataFrame(columns=columns)


# -- subgroups and decisions -------------------------------------------------------------------------------------------


def _forest(study: Study, spec: Endpoint, arm: str) -> pd.DataFrame:
    """Effect of an endpoint in subgroups."""
    measure, asked = spec.subgroup_measure, setting(study, spec)
    comparator = str(asked.comparator)
    effect = partial(spec.effect, arm=arm, comparator=comparator, measure=measure)
    table, groups = spec.table(study, asked), subgroups.groups_of(study.patients)
    found = subgroups.forest(table, arm, comparator, groups, effect, ratio=is_ratio(measure))
    return found.assign(endpoint=spec.name, arm=arm, against=comparator, effect_measure=measure)


HYPOTHESES = ("endpoint", "arm", "against", "claim", "p", "adjusted", "rejected", "note")
"""Columns of the decisions over several hypotheses: `p` is that of the claim (twice the one-sided one), so that a
hypothesis is rejected for what is claimed and never for harm."""


def decisions(
    study: Study, analysed: Sequence[Analysed], seen: monitoring.Monitored, *, at_margin: bool = False
) -> pd.DataFrame:
    """Adjusted p and decision of every hypothesis, each the claim of an endpoint in an arm against its comparator.

    The p of a claim that was tested at interim looks is that of the sequence, so that the procedure keeps its level
    over looks too (Maurer W, Bretz F. Stat Biopharm Res 2013;5:311-20, recalled). Where the looks ended the trial, the
    other hypotheses are tested on the data that the stopped trial would have.

    Parameters
    ----------
    study : Study
    analysed : sequence of Analysed
        Every endpoint, as from `analysed_endpoints`.
    seen : Monitored
        The trial at its looks; empty where none is tested.
    at_margin : bool
        Whether effects at a stop are moved as by `Analysed.at_margin`; the other two are given so.

    Returns
    -------
    DataFrame
        Columns `HYPOTHESES`.
    """
    trial, plan = study.trial, study.trial.multiplicity
    if plan is None:
        return pd.DataFrame(columns=list(HYPOTHESES))
    looked_at = "" if trial.interim is None else trial.interim.endpoint
    over_looks = seen.outcome.set_index("arm")["p_adjusted"].astype(float).to_dict() if len(seen.outcome) else {}
    known = {(row["endpoint"], row["arm"]): row["p_claim"] for each in analysed for row in each.rows()}
    stopped = monitoring.stopped(seen, trial.interim)
    early: dict[str, pd.DataFrame] = {}
    if stopped is not None:
        names = {name for name, _ in plan.hypotheses if name != looked_at}
        early = _at_the_stop(study, [spec for spec in trial.endpoints if spec.name in names], stopped, at_margin)
    rows = []
    for name, arm in plan.hypotheses:
        spec, note = trial.endpoint(name), ""
        if name == looked_at and np.isfinite(over_looks.get(arm, np.nan)):
            p, note = over_looks[arm], "p over all looks."
        elif stopped is not None and name in early:
            p, note = float(early[name].loc[arm, "p_claim"]), f"On the data at the stop (look {stopped.look})."
        else:
            p = float(known[name, arm])
        if not np.isfinite(p):
            note = f"{note} Could not be tested; counts as p = 1.".strip()
        rows.append((name, arm, spec.against or trial.control, spec.claim.kind, p, note))
    frame = pd.DataFrame(rows, columns=[name for name in HYPOTHESES if name not in ("adjusted", "rejected")])
    adjusted = multiplicity.adjusted(frame["p"], plan.method, weights=plan.weights, transitions=plan.transitions)
    return frame.assign(adjusted=adjusted, rejected=adjusted <= plan.alpha)[list(HYPOTHESES)]


def _at_the_stop(
    study: Study, specs: Sequence[Endpoint], stop: monitoring.Stop, at_margin: bool
) -> dict[str, pd.DataFrame]:
    """Endpoints analysed on what was known when the trial stopped, by name; rows by arm."""
    columns = dict.fromkeys(column for spec in specs for column in spec.columns)
    held = monitoring.cut(in_memory(study, "actual_month", *columns), stop.month)
    found: dict[str, pd.DataFrame] = {}
    if held is None:
        return found
    for spec in specs:
        try:
            analysed = spec.analyse(held, setting(held, spec))
            rows = (analysed.at_margin() if at_margin else analysed).rows()
        except (BadInput, RunFailed):
            rows = [{"arm": arm.name, "p_claim": np.nan} for arm in study.trial.arms]
        found[spec.name] = pd.DataFrame(rows).set_index("arm")
    return found


def concluded(trial: Trial, endpoints: pd.DataFrame, decided: pd.DataFrame, stops: pd.DataFrame) -> pd.DataFrame:
    """The endpoints with the conclusion that counts: that of the procedure over looks or hypotheses, if there is one.

    Parameters
    ----------
    trial : Trial
    endpoints : DataFrame
        As from `endpoint_table`.
    decided : DataFrame
        As from `decisions`.
    stops : DataFrame
        Columns of `monitoring.OUTCOME`.
    """
    out = endpoints.set_index(["endpoint", "arm"])
    said: dict[tuple[str, str], tuple[bool, str]] = {}
    if trial.interim is not None:
        for row in stops.to_dict("records"):
            said[trial.interim.endpoint, row["arm"]] = row["rejected"], row["decision"]
    for row in decided.to_dict("records"):
        said[row["endpoint"], row["arm"]] = row["rejected"], f"adjusted p {p_value(row['adjusted'])}"
    for here, (shown, why) in said.items():
        if out.loc[here, "claim"]:
            alone = str(out.loc[here, "conclusion"])
            out.loc[here, "conclusion"] = trial.endpoint(here[0]).claim.decided(shown, why, alone)
    return out.reset_index()[list(endpoints.columns)]
