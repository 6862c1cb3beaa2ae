"""A trial at its interim looks: one endpoint analysed on what is known at each, and what the design then decides.

At every look of the trial file the tables are cut to that calendar month (`cohorts.conduct.enrolment.cut`) and the
endpoint is analysed by the function that also makes its final analysis. The statistic z is that of the endpoint's claim
(`cohorts.statistics.claims`): the normal quantile of its one-sided p [1]_, positive where the effect lies inside the
limits claimed. It is read at the boundaries of `interim`, and the repeated interval holds what the same test does not
reject there.

Information is the number of patients with the event, for a hazard ratio (Schoenfeld [2]_), and otherwise the inverse
squared standard error of the effect (of its logarithm, for a ratio). Its share is of what was planned where the trial
file says so, else of what the last analysis holds, which is known in hindsight only: no trial could be conducted so,
and `ranklsim replicate` refuses to count power by it. Where the plan was missed, alpha is spent by the share of the
plan and boundaries stand at the information that was reached; the last analysis spends all that is left [1]_.

Boundaries ignore futility rules, so that alpha is kept whether these are followed or not. Conditional power is that of
the last analysis at the boundary that it would have without a further look.

References
----------
.. [1] Jennison C, Turnbull BW. Group Sequential Methods with Applications to Clinical Trials. Chapman and Hall 2000,
   chapters 3.8 (p-values), 7 (unplanned information), 10 (conditional power) (recalled).
.. [2] Schoenfeld D. Biometrika 1981;68:316-9. doi:10.1093/biomet/68.1.316
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from ranklsim.cohorts.conduct import enrolment
from ranklsim.cohorts.endpoints import Endpoint, is_ratio
from ranklsim.cohorts.endpoints.base import in_a_sentence
from ranklsim.cohorts.events import COMPLETED
from ranklsim.cohorts.protocol.endpoints import Futility, Interim
from ranklsim.cohorts.statistics.tails import normal_tail
from ranklsim.cohorts.study import Study, StudyTables, in_memory, setting
from ranklsim.pkpd.errors import BadInput, RunFailed
from ranklsim.reports.analyses import interim

CROSSED, HARM, FUTILE, ON, NOT_CROSSED, UNTESTED = (
    "boundary crossed", "boundary crossed by harm", "futility", "go on", "boundary not crossed", "not tested",
)  # fmt: skip
"""Decisions: the first two end the test, and a futility that binds; the last analysis ends in one of the others."""

COLUMNS = (
    *("look", "due", "month", "enrolled", "completed", "arm", "n", "events", "effect_measure", "effect"),
    *("effect_low", "effect_high", "effect_error", "p", "z", "information", "share", "alpha_spent"),
    *("boundary_z", "boundary_p", "repeated_low", "repeated_high", "power_trend", "power_design", "futility_z"),
    *("decision", "note"),
)
"""Columns of the looks: a row a look and arm, the last look being the last analysis (`month` infinite)."""

OUTCOME = (
    *("arm", "alpha", "rejected", "decision", "look", "looks", "month", "enrolled", "share"),
    *("effect_measure", "effect", "p", "p_adjusted", "boundary_p"),
)
"""Columns of what became of each arm: when its test ended, and p of the whole sequence up to there."""


@dataclass(frozen=True)
class Monitored:
    """A trial at its looks.

    Attributes
    ----------
    looks : DataFrame
        Columns `COLUMNS`. `n` and `events` are of the arm and control together; `share` is of the information,
        `boundary_p` nominal and two-sided, `repeated_low` and `repeated_high` the repeated confidence interval;
        `decision` is what the look itself says, also after the test has ended, with `note` saying why not.
    outcome : DataFrame
        Columns `OUTCOME`, a row an arm: `rejected` whether a benefit is shown, `decision` that with which the test
        ended, at `look`, after `looks` that were tested; `month` is the calendar month (of the last visit or event,
        for the last analysis) and `enrolled` the patients by then; `effect`, `p` are those seen there, `p_adjusted`
        that of the sequence (`interim.p_of_sequence`), `boundary_p` the nominal level at which the test ended.
    """

    looks: pd.DataFrame
    outcome: pd.DataFrame


def monitor(study: Study, *, adjusted: bool = True, at_margin: bool = False) -> Monitored:
    """One study at the looks of its trial file, tested as its [interim] says.

    Parameters
    ----------
    study : Study
        Of a trial with [interim], a control arm and looks. Its tables are not altered.
    adjusted : bool
        Whether `p_adjusted` is asked for, which takes longer than all else; without it, conditional power only where a
        rule of futility needs it.
    at_margin : bool
        Whether effects are moved as by `Analysed.at_margin`.

    Returns
    -------
    Monitored

    Raises
    ------
    BadInput
        If the trial file has no [interim].
    """
    trial, plan = study.trial, study.trial.interim
    if plan is None:
        raise BadInput(f"{trial.name}: the trial file has no table [interim], which says how its looks are tested.")
    spec = trial.endpoint(plan.endpoint)
    visits = ("actual_month", *spec.columns) if spec.columns else ()
    held = in_memory(study, *visits)
    patients, events = held.patients, held.events
    due = enrolment.looks(trial, patients, events).to_dict("records")
    end = {
        "look": len(due) + 1, "text": "last analysis", "month": np.inf, "enrolled": len(patients),
        "completed": int((events["event"] == COMPLETED).sum()),
    }  # fmt: skip
    rows: list[dict[str, Any]] = []
    for look in (*due, end):
        last = look is end
        shared = {"look": look["look"], "due": look["text"], "month": look["month"]}
        shared |= {name: look[name] for name in ("enrolled", "completed")}
        found = _analysed(held if last else cut(held, look["month"]), spec, plan.arms, at_margin)
        rows += [shared | row for row in found]
    frames, ends = [], []
    for arm in plan.arms:
        own = [row for row in rows if row["arm"] == arm]
        decide(own, plan, spec, _allocation(patients, arm, str(trial.comparator(spec))), ahead=adjusted)
        frames += own
        ends.append(outcome_of(own, plan, adjusted=adjusted) | {"month": _month_of_end(own, plan, patients)})
    looks = pd.DataFrame(frames, columns=list(COLUMNS)).sort_values("look", kind="stable", ignore_index=True)
    return Monitored(looks, pd.DataFrame(ends, columns=list(OUTCOME)))


def cut(study: StudyTables, month: float) -> StudyTables | None:
    """What is known of a study in a calendar month; None where the month never comes.

    Parameters
    ----------
    study : StudyTables
    month : float
        Since the first patient's enrolment.
    """
    return replace(study, tables=enrolment.cut(study.tables, month)) if np.isfinite(month) else None


def _month_of_end(rows: Sequence[Mapping[str, Any]], plan: Interim, patients: pd.DataFrame) -> float:
    """Calendar month at which a test ended; that of the last observation, where it went on to the last analysis."""
    observed = float((patients["enrolled_month"] + patients["last_month"]).max())
    kept, at = _course(rows, plan)
    return min(float(kept[at]["month"]), observed) if kept else observed


def _allocation(patients: pd.DataFrame, arm: str, control: str) -> float:
    """Share of the arm among those compared."""
    here, there = ((patients["arm"] == name).sum() for name in (arm, control))
    return float(here / (here + there)) if here + there else np.nan


# -- the analysis of one look ------------------------------------------------------------------------------------------


def _analysed(study: StudyTables | None, spec: Endpoint, arms: Sequence[str], at_margin: bool) -> list[dict[str, Any]]:
    """What is known of each arm, as far as there are data: of `COLUMNS` those from `arm` to `information`."""
    empty: dict[str, Any] = {"n": 0, "events": np.nan, "effect_measure": spec.effect_measure, "note": "", "found": None}
    empty |= dict.fromkeys(("effect", "effect_low", "effect_high", "effect_error", "p", "z", "information"), np.nan)
    if study is None:
        return [empty | {"arm": arm, "note": "Never due in this trial."} for arm in arms]
    try:
        found = spec.analyse(study, setting(study, spec))
        found = found.at_margin() if at_margin else found
    except (BadInput, RunFailed) as why:
        return [empty | {"arm": arm, "note": in_a_sentence(why)} for arm in arms]
    results = {result.arm: result for result in found.results}
    control = results[str(found.against)]
    out = []
    for arm in arms:
        row, own = empty | {"arm": arm}, results[arm]
        row["n"], row["events"] = own.n + control.n, own.events + control.events
        effect = own.effect
        if effect is not None:
            row |= {"effect": effect.value, "effect_low": effect.low, "effect_high": effect.high, "found": effect}
            row |= {"effect_error": effect.error, "p": effect.p, "z": spec.claim.statistic(effect)}
        row["information"] = _information(spec, row)
        row["note"] = own.note or ("" if np.isfinite(row["z"]) else "There are too few data for a test.")
        if not (own.n and control.n):
            row["note"] = "No patient of an arm has the data that the analysis needs."
        out.append(row)
    return out


def _information(spec: Endpoint, row: Mapping[str, Any]) -> float:
    if spec.of_hazard:
        return float(row["events"])
    error = row["effect_error"]
    return float(1 / error**2) if error > 0 else np.nan


# -- the procedure -----------------------------------------------------------------------------------------------------


def decide(rows: list[dict[str, Any]], plan: Interim, spec: Endpoint, allocation: float, *, ahead: bool = True) -> None:
    """Read each look of one arm at its boundary: fills `COLUMNS` from `share` on.

    Parameters
    ----------
    rows : list of dict
        Looks in order, the last analysis last, with `z`, `information`, `note`, and `effect`, `effect_error`.
    plan : Interim
    spec : Endpoint
    allocation : float
        Share of the arm among those compared: what an event says of a hazard ratio that was planned.
    ahead : bool
        Whether conditional power is asked for where no rule of futility needs it.
    """
    alpha = plan.alpha / max(len(plan.arms), 1)
    last = rows[-1]
    planned = _planned(plan)
    whole = last["information"] if planned is None else planned
    for row in rows:
        row |= dict.fromkeys(
            ("alpha_spent", "repeated_low", "repeated_high", "power_trend", "power_design", "futility_z"), np.nan
        )
        row |= {"share": row["information"] / whole if whole else np.nan, "boundary_z": np.nan, "boundary_p": np.nan}
        row["decision"] = UNTESTED
    kept = _increasing(rows)
    if not kept:
        return
    information = [row["information"] / kept[-1]["information"] for row in kept]
    clock = [min(row["share"], 1.0) for row in kept[:-1]] + [1.0] if kept[-1] is last else None
    if clock is None:  # the last analysis could not be made: looks stand at their share of the plan, and alpha is left
        information = [*(row["share"] for row in kept), 1.0]
        clock = information
    limits = interim.boundaries(information, alpha=alpha, kind=plan.spending, time=clock, shape=plan.shape)
    drift = _drift(plan, spec, whole, allocation)
    for k, row in enumerate(kept):
        row["boundary_z"], row["boundary_p"] = float(limits["z"][k]), float(limits["p"][k])
        row["alpha_spent"] = float(limits["alpha_spent"][k])
        row["repeated_low"], row["repeated_high"] = _repeated(row)
        if row is not last and clock[k] < 1 and (ahead or plan.futility is not None):
            _look_ahead(row, [*clock[: k + 1], 1.0], alpha, plan, drift)
        row["decision"] = _decision(row, plan.futility, last=row is last)


def _planned(plan: Interim) -> float | None:
    """Information planned for the end."""
    if plan.planned_events is not None:
        return float(plan.planned_events)
    return None if plan.planned_error is None else plan.planned_error**-2


def _increasing(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The looks that can be tested: each with more information than the one before and less than the last analysis."""
    last = rows[-1]
    final = last["information"] if np.isfinite(last["z"]) else np.inf
    kept: list[dict[str, Any]] = []
    before = 0.0
    for row in rows:
        if not (np.isfinite(row["z"]) and np.isfinite(row["share"]) and row["information"] > 0):
            row["note"] = row["note"] or "There are too few data for a test."
        elif row is not last and row["information"] >= final:
            row["note"] = row["note"] or "It holds no less information than the last analysis."
        elif row is not last and not np.isfinite(final) and row["share"] >= 1:
            row["note"] = row["note"] or "The information planned is reached, but the last analysis could not be made."
        elif row["information"] <= before:
            row["note"] = row["note"] or "It holds no more information than the look before."
        else:
            kept.append(row)
            before = row["information"]
    return kept


def _drift(plan: Interim, spec: Endpoint, whole: float, allocation: float) -> float | None:
    """Mean of the last statistic under the effect of the design."""
    if plan.effect is None:
        return None
    gap = spec.claim.distance(plan.effect, is_ratio(spec.effect_measure))
    information = whole * allocation * (1 - allocation) if spec.of_hazard else whole
    return float(gap * np.sqrt(information))


def _look_ahead(row: dict[str, Any], clock: list[float], alpha: float, plan: Interim, drift: float | None) -> None:
    """Conditional power at a look, and below which statistic a futility rule holds."""
    share = clock[-2]
    final = float(interim.boundaries(clock, alpha=alpha, kind=plan.spending, shape=plan.shape)["z"].iloc[-1])
    row["power_trend"] = interim.conditional_power(row["z"], share, final)
    if drift is not None:
        row["power_design"] = interim.conditional_power(row["z"], share, final, drift)
    if plan.futility is not None:
        row["futility_z"] = interim.futility_limit(share, final, plan.futility, drift)


def _repeated(row: Mapping[str, Any]) -> tuple[float, float]:
    """Repeated confidence interval: what the test does not reject at the level of the boundary."""
    found = row.get("found")
    if found is None or not np.isfinite(row["boundary_z"]):
        return np.nan, np.nan
    return tuple(found.interval(1 - 2 * float(normal_tail(row["boundary_z"]))))


def _decision(row: Mapping[str, Any], rule: Futility | None, *, last: bool) -> str:
    if row["z"] >= row["boundary_z"]:
        return CROSSED
    if row["z"] <= -row["boundary_z"]:
        return HARM
    if last:
        return NOT_CROSSED
    return FUTILE if rule is not None and row["z"] < row["futility_z"] else ON


def _course(rows: Sequence[Mapping[str, Any]], plan: Interim) -> tuple[list[Mapping[str, Any]], int]:
    """The looks that were tested, and the place of that with which the test ended."""
    binding = plan.futility is not None and plan.futility.binding
    stops = (CROSSED, HARM, FUTILE) if binding else (CROSSED, HARM)
    kept = [row for row in rows if row["decision"] != UNTESTED]
    return kept, next((k for k, row in enumerate(kept) if row["decision"] in stops), len(kept) - 1)


@dataclass(frozen=True)
class Stop:
    """When a trial stopped early: at which look, in which calendar month."""

    look: int
    month: float


def stopped(seen: Monitored, plan: Interim | None) -> Stop | None:
    """When the looks ended the trial: once the test of every arm has ended; None where it went on to its end.

    Parameters
    ----------
    seen : Monitored
    plan : Interim or None
    """
    if plan is None or seen.looks.empty:
        return None
    ends = (CROSSED, HARM, FUTILE) if plan.futility is not None and plan.futility.binding else (CROSSED, HARM)
    last, outcome = int(seen.looks["look"].max()), seen.outcome
    if not outcome["decision"].isin(ends).all() or (outcome["look"] == last).any():
        return None
    final = outcome.loc[outcome["month"].astype(float).idxmax()]
    return Stop(int(final["look"]), float(final["month"]))


def outcome_of(rows: Sequence[Mapping[str, Any]], plan: Interim, *, adjusted: bool = True) -> dict[str, Any]:
    """What became of one arm, whose looks were read by `decide`: `OUTCOME` but for the month.

    Parameters
    ----------
    rows : sequence of mapping
        Looks of the arm, from `decide`.
    plan : Interim
        The looks of the trial file.
    adjusted : bool
        Whether to compute the p of the sequence.
    """
    kept, at = _course(rows, plan)
    row = kept[at] if kept else rows[-1]
    out = {"arm": row["arm"], "alpha": plan.alpha / max(len(plan.arms), 1), "rejected": row["decision"] == CROSSED}
    names = ("decision", "look", "enrolled", "share", "effect_measure", "effect", "p", "boundary_p")
    out |= {name: row[name] for name in names} | {"looks": at + 1}
    return out | {"p_adjusted": _sequence_p(rows, kept, at, plan) if kept and adjusted else np.nan}


def _sequence_p(rows: Sequence[Mapping[str, Any]], kept: Sequence[Mapping[str, Any]], at: int, plan: Interim) -> float:
    """p of the looks up to `at`."""
    complete = kept[-1] is rows[-1]
    final = kept[-1]["information"] if complete else kept[-1]["information"] / kept[-1]["share"]
    information = [row["information"] / final for row in kept]
    clock = [min(row["share"], 1.0) for row in kept]
    if complete:
        clock[-1] = 1.0
    else:
        information.append(1.0)
        clock.append(1.0)
    z, alpha = [row["z"] for row in kept[: at + 1]], plan.alpha / max(len(plan.arms), 1)
    return interim.p_of_sequence(z, information, kind=plan.spending, time=clock, alpha=alpha, shape=plan.shape)
