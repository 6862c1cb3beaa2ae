"""Each estimand of a trial: its estimate from what was seen, beside the truth from counterfactual twins.

A twin is the same patient, with the same random numbers, put in each arm (table `twins` of a run): once as things
happen to her there ("real"), once with doses as planned and no intercurrent event ("ideal"). The truth under each
strategy:

================== ===========================================================================================
treatment policy   her real course, seen or not
hypothetical       her ideal course if the event happens to her, else the real one
while on treatment her real course up to the event
composite          failure if the event happens to her
================== ===========================================================================================

It is a mean (or median, ratio) over all twins with a Monte-Carlo error. Fractures are recorded while a patient is in
the study, so that the truth of a time to event takes those who leave as censored at random, as the estimate does. An
odds ratio is that of the shares of all patients together, whereas the estimate is conditional on strata.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from ranklsim.cohorts.protocol.endpoints import (
    EVENT_WORDS,
    Change,
    Endpoint,
    Estimand,
    Event,
    Rate,
    Responder,
    higher_is_better,
)
from ranklsim.cohorts.protocol.trial import Trial
from ranklsim.cohorts.statistics import competing, summaries, survival
from ranklsim.cohorts.statistics.ancova import ancova
from ranklsim.cohorts.statistics.imputation import STRATEGIES
from ranklsim.cohorts.study import Study
from ranklsim.pkpd.errors import BadInput, RunFailed
from ranklsim.reports.analyses import repeated, variables
from ranklsim.reports.analyses.effects import effect

COLUMNS = (
    *("estimand", "primary", "endpoint", "summary", "strategies", "arm", "n", "n_control"),
    *("estimate", "low", "high", "p", "method", "truth", "truth_error", "bias", "covered", "twins", "note"),
)
"""Columns of `estimate_all`; shares are shares, `truth_error` is the standard error of `truth`, `bias` their gap."""

ENDS = ("completed", "dropout", "death")


def estimate_all(study: Study, comparator: str | None = None) -> pd.DataFrame:
    """Estimates and truths of all estimands of a trial.

    Parameters
    ----------
    study : Study
        The truth is NaN without twins.
    comparator : str, optional
        The arm that others are compared with; the trial's control if not given.

    Returns
    -------
    DataFrame
        Columns `COLUMNS`, a row an estimand and arm that is compared with control. What could not be estimated is NaN,
        and `note` says why.
    """
    control = comparator or str(study.trial.control)
    rows = []
    twins = study.twins if study.trial.estimands else pd.DataFrame()
    for estimand in study.trial.estimands:
        endpoint = study.trial.endpoint(estimand.endpoint)
        facts = {
            "estimand": estimand.name,
            "primary": estimand.primary,
            "endpoint": endpoint.name,
            "summary": estimand.summary,
            "strategies": strategies_in_words(estimand),
        }
        by_arm = estimate(study, endpoint, estimand, control)
        for arm in estimand.arms:
            row: dict[str, Any] = (
                dict.fromkeys(COLUMNS, np.nan) | facts | {"arm": arm, "note": "", "method": ""} | by_arm[arm]
            )
            if len(twins):
                row |= truth(study, endpoint, estimand, (arm, control), twins, study.twin_events)
                row["bias"] = row["estimate"] - row["truth"]
                known = np.isfinite([row["low"], row["high"], row["truth"]]).all()
                row["covered"] = float(row["low"] <= row["truth"] <= row["high"]) if known else np.nan
            rows.append(row)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def strategies_in_words(estimand: Estimand) -> str:
    """Such as "stopping treatment: treatment policy; death: composite"."""
    return "; ".join(f"{EVENT_WORDS[event]}: {how}" for event, how in estimand.events.items())


# -- estimates ---------------------------------------------------------------------------------------------------------


def estimate(study: Study, endpoint: Endpoint, estimand: Estimand, control: str) -> dict[str, dict[str, Any]]:
    """Estimate of each arm: `n`, `n_control`, `estimate`, `low`, `high`, `p`, `method`, `note`."""
    patients = variables.in_population(study.patients, estimand)
    none = _never(study.events, patients, estimand)
    if isinstance(endpoint, Change):
        found = _changes(study, endpoint, estimand, patients, control)
    else:
        table = _table(study, endpoint, estimand, patients)
        found = {arm: _effect(endpoint, table, arm, control, estimand.summary) for arm in estimand.arms}
    for row in found.values():
        row["note"] = " ".join(part for part in (row.get("note", ""), none) if part)
    return found


def _never(events: pd.DataFrame, patients: pd.DataFrame, estimand: Estimand) -> str:
    """Which intercurrent events happened to nobody, in a sentence."""
    seen = set(events.loc[events["patient"].isin(patients["patient"]), "event"])
    absent = [EVENT_WORDS[event] for event in estimand.events if event not in seen]
    return f"Happened to nobody: {', '.join(absent)}." if absent else ""


def _table(study: Study, endpoint: Endpoint, estimand: Estimand, patients: pd.DataFrame) -> pd.DataFrame:
    """A row a patient of what is no change."""
    if isinstance(endpoint, Responder):
        visits = _visits_of(study, endpoint, patients)
        seen = variables.masked(visits, study.events, endpoint, estimand)
        return _with_failures(
            variables.responders(seen, patients, endpoint), study.events, patients, endpoint, estimand
        )
    if isinstance(endpoint, Rate):
        return variables.counts(study.events, patients, endpoint, estimand)
    assert isinstance(endpoint, Event)
    table = variables.times(study.events, patients, endpoint, estimand)
    return found_at_visits(study.trial, endpoint, table)


def _visits_of(study: Study, endpoint: Change | Responder, patients: pd.DataFrame) -> pd.DataFrame:
    visits = study.seen(endpoint.measure)
    return visits[visits["patient"].isin(patients["patient"])]


def found_at_visits(trial: Trial, endpoint: Event, table: pd.DataFrame) -> pd.DataFrame:
    """Of a grouped endpoint on vertebral fractures, the patients who had an image at all."""
    imaging = [m for m in trial.conduct.imaging if m > endpoint.from_month]
    if not endpoint.grouped or endpoint.event != "vertebral" or not imaging:
        return table
    return variables.found_by_visit(table, min(imaging) - endpoint.from_month)


def _with_failures(
    table: pd.DataFrame, events: pd.DataFrame, patients: pd.DataFrame, endpoint: Responder, estimand: Estimand
) -> pd.DataFrame:
    """Responders, those who failed by the composite strategy among the others, with or without a value."""
    failed = variables.failures(events, patients, estimand, endpoint.to_month)
    lost = failed[failed].index
    if not len(lost):
        return table
    own = variables.people(patients[patients["patient"].isin(lost)], endpoint.covariates).assign(event=False)
    return pd.concat([table[~table["patient"].isin(lost)], own], ignore_index=True)


def _effect(endpoint: Endpoint, table: pd.DataFrame, arm: str, control: str, measure: str) -> dict[str, Any]:
    sizes = {"n": int((table["arm"] == arm).sum()), "n_control": int((table["arm"] == control).sum())}
    try:
        found = effect(endpoint, table, arm, control, measure)
    except (BadInput, RunFailed) as why:
        return sizes | {"note": in_a_sentence(why)}
    return sizes | {name: found[name] for name in ("estimate", "low", "high", "p", "method")}


def in_a_sentence(why: Exception) -> str:
    text = str(why)
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def _changes(
    study: Study, endpoint: Change, estimand: Estimand, patients: pd.DataFrame, control: str
) -> dict[str, dict[str, Any]]:
    """Estimates of a change from a visit."""
    arms = [control, *estimand.arms]
    patients = patients[patients["arm"].isin(arms)]
    visits = _visits_of(study, endpoint, patients)
    seen = variables.masked(visits, study.events, endpoint, estimand)
    if estimand.summary == "difference of medians":
        return _medians(study, endpoint, estimand, patients, seen, control)
    if estimand.missing != "MAR" or (endpoint.analysis == "MMRM" and not estimand.with_strategy("while on treatment")):
        return _by_model(study, endpoint, estimand, patients, seen, arms)
    change = summaries.change_from(seen, endpoint.measure, endpoint.from_month, kind=endpoint.kind)
    table = summaries.with_covariates(change[change["month"] == endpoint.to_month], seen, patients, endpoint)
    found: dict[str, dict[str, Any]] = {
        str(row["arm"]): row for row in ancova(table, arms, control, endpoint.covariates)
    }
    note = ""
    if endpoint.analysis == "MMRM":
        note = ("'While on treatment' ends a patient with her last value, for which a mixed model has no place: only "
                "those with a value are compared.")  # fmt: skip
    return {arm: _against(found[arm], int(found[control]["n"]), "ANCOVA at the visit", note) for arm in estimand.arms}


def _against(row: Mapping[str, Any], n_control: int, method: str, note: str = "") -> dict[str, Any]:
    out = {"n": int(row["n"]), "n_control": n_control, "method": method, "note": note, "p": row["p"]}
    out |= {"estimate": row["difference"], "low": row["difference_low"], "high": row["difference_high"]}
    if not out["n"] or not n_control:
        out["note"] = f"No patient of {'this arm' if n_control else 'control'} is left for the analysis. {note}".strip()
    return out


def _by_model(
    study: Study, endpoint: Change, estimand: Estimand, patients: pd.DataFrame, seen: pd.DataFrame, arms: list[str]
) -> dict[str, dict[str, Any]]:
    """Mixed model of all visits; imputation from it where values that were not seen are not missing at random."""
    control = arms[0]
    found = repeated.analyse(seen, patients, replace(endpoint, analysis="MMRM"), arms, control)
    rows = {str(row["arm"]): row for row in found.endpoint().to_dict("records")}
    if estimand.missing != "MAR" and found.fit is not None and control in set(found.table["arm"]):
        seed = study.trial.seed
        strategies = (estimand.missing,)
        frame, _ = repeated.sensitivity(found, seen, patients, control, seed=seed, strategies=strategies)
        rows = {str(row["arm"]): row for row in frame.to_dict("records")}
        method = f"multiple imputation ({STRATEGIES[estimand.missing]}) and ANCOVA"
    else:
        method = found.method
    empty = dict.fromkeys(("difference", "difference_low", "difference_high", "p"), np.nan) | {"n": 0}
    n_control = int(rows.get(control, empty)["n"])
    return {arm: _against(rows.get(arm, empty), n_control, method, found.note) for arm in estimand.arms}


def _medians(
    study: Study, endpoint: Change, estimand: Estimand, patients: pd.DataFrame, seen: pd.DataFrame, control: str
) -> dict[str, dict[str, Any]]:
    """Differences of medians, with failures below (or above) every value."""
    change = summaries.change_from(seen, endpoint.measure, endpoint.from_month, kind=endpoint.kind)
    value = change[change["month"] == endpoint.to_month].set_index("patient")["value"]
    values = _ranked(value.reindex(patients["patient"]), study.events, patients, endpoint, estimand)
    by_arm = {arm: own[~np.isnan(own)] for arm, own in _split(values, patients).items()}
    reference = by_arm.get(control, np.empty(0))
    out = {}
    for k, arm in enumerate(estimand.arms):
        own = by_arm.get(arm, np.empty(0))
        row: dict[str, Any] = {"n": own.size, "n_control": reference.size, "method": "medians, bootstrap", "note": ""}
        with np.errstate(invalid="ignore"):
            gap = summaries.median_difference(own, reference, (study.trial.seed, k))
        row |= {"estimate": gap["difference"], "low": gap["difference_low"], "high": gap["difference_high"]}
        if not (own.size and reference.size):
            row["note"] = "No patient of an arm is left for the analysis."
        elif not np.isfinite(row["estimate"]):
            row |= dict.fromkeys(("estimate", "low", "high"), np.nan)
            row["note"] = "Half of an arm or more had an event that counts as failure, so that there is no median."
        out[arm] = row
    return out


def _ranked(
    value: pd.Series, events: pd.DataFrame, patients: pd.DataFrame, endpoint: Change, estimand: Estimand
) -> pd.Series:
    """Values, infinite on the bad side for those who failed."""
    failed = variables.failures(events, patients, estimand, endpoint.to_month)
    return value.where(~failed.reindex(value.index), -np.inf if higher_is_better(endpoint) else np.inf)


def _split(values: pd.Series, patients: pd.DataFrame) -> dict[str, np.ndarray]:
    arms = patients.set_index("patient")["arm"].reindex(values.index)
    return {str(arm): own.to_numpy(float) for arm, own in values.groupby(arms.to_numpy())}


# -- truth -------------------------------------------------------------------------------------------------------------


def truth(
    study: Study,
    endpoint: Endpoint,
    estimand: Estimand,
    arms: tuple[str, str],
    twins: pd.DataFrame,
    twin_events: pd.DataFrame,
) -> dict[str, Any]:
    """True value of an estimand over all twins.

    Parameters
    ----------
    study : Study
        Its patients.
    endpoint : Endpoint
    estimand : Estimand
    arms : (str, str)
        The arm, and that with which it is compared.
    twins, twin_events : DataFrame
        As in a run folder.

    Returns
    -------
    dict
        `truth`, `truth_error` (of the logarithm of a ratio), `twins` (patients), and `note` where there is none.
    """
    everyone = study.patients[study.patients["patient"].isin(set(twins["patient"]))]
    everyone = variables.in_population(everyone, estimand)
    out: dict[str, Any] = {"truth": np.nan, "truth_error": np.nan, "twins": len(everyone)}
    if everyone.empty:
        return out
    worlds = [_world(everyone, estimand, name, twins, twin_events) for name in arms]
    try:
        value, error = contrast(endpoint, estimand.summary, *(outcome(world, endpoint, estimand) for world in worlds))
    except (BadInput, RunFailed):
        return out
    return out | {"truth": value, "truth_error": error}


World = tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]  # patients, visits, events, as in a run folder, in one arm


def _world(
    everyone: pd.DataFrame, estimand: Estimand, arm: str, twins: pd.DataFrame, twin_events: pd.DataFrame
) -> World:
    """All patients in one arm, with the ideal course of whom a hypothetical event happens to there."""
    courses = twins[(twins["arm"] == arm) & twins["patient"].isin(everyone["patient"])]
    happened = twin_events[(twin_events["arm"] == arm) & twin_events["patient"].isin(everyone["patient"])]
    return world_of(everyone, arm, courses, happened, supposed(happened, estimand))


def supposed(happened: pd.DataFrame, estimand: Estimand) -> set[int]:
    """Patients to whom an event of the hypothetical strategy happens really."""
    real = happened[happened["conduct"] == "real"]
    return set(real.loc[real["event"].isin(list(estimand.with_strategy("hypothetical"))), "patient"])


def world_of(
    everyone: pd.DataFrame, arm: str, courses: pd.DataFrame, happened: pd.DataFrame, ideal: Collection[int]
) -> World:
    """Patients in one arm, those of `ideal` as things would go ideally; courses and events of that arm."""
    visits, events = (
        frame[(frame["conduct"] == "ideal") == frame["patient"].isin(ideal)] for frame in (courses, happened)
    )
    last = events[events["event"].isin(ENDS)].groupby("patient")["month"].max()
    patients = everyone.assign(arm=arm, last_month=everyone["patient"].map(last).to_numpy(float))
    measures = {name: name.removeprefix("true_") for name in visits.columns if name.startswith("true_")}
    return patients, visits.rename(columns=measures), events


def outcome(world: World, endpoint: Endpoint, estimand: Estimand) -> pd.DataFrame:
    """What became of each patient of a world, which is all that the truth needs to know of her.

    Returns
    -------
    DataFrame
        A row a patient, in their order: `stratum`, and `value` of a change (0 or 1 of a responder), `count` and
        `years` of a rate, or `time`, `event` and `cause` of an event; NaN of those who don't count.
    """
    patients, _, events = world
    if isinstance(endpoint, Rate):
        found = variables.counts(events, patients, endpoint, estimand).set_index("patient")[["count", "years"]]
        out = found.reindex(patients["patient"]).fillna(0.0)
    elif isinstance(endpoint, Event):
        found = variables.times(events, patients, endpoint, estimand).set_index("patient")
        out = found[["time", "event", "cause"]].astype(float).reindex(patients["patient"])
    else:
        assert isinstance(endpoint, Change | Responder)
        out = _value(world, endpoint, estimand).to_frame("value")
    return out.assign(stratum=patients["stratum"].to_numpy()).reset_index(drop=True)


def _value(world: World, endpoint: Change | Responder, estimand: Estimand) -> pd.Series:
    """Each patient's change, or whether she responded (0 or 1)."""
    patients, visits, events = world
    seen = variables.masked(visits, events, endpoint, estimand)
    kind = endpoint.kind if isinstance(endpoint, Change) else "percent"
    change = summaries.change_from(seen, endpoint.measure, endpoint.from_month, kind=kind)
    value = change[np.abs(change["month"] - endpoint.to_month) < 1e-9].set_index("patient")["value"]
    value = value.reindex(patients["patient"])
    if isinstance(endpoint, Change):
        return _ranked(value, events, patients, endpoint, estimand)
    met = variables.COMPARE[endpoint.sign](value, endpoint.limit).astype(float).where(value.notna())
    failed = variables.failures(events, patients, estimand, endpoint.to_month).reindex(value.index)
    return met.where(~failed, 0.0)


def contrast(endpoint: Endpoint, summary: str, here: pd.DataFrame, there: pd.DataFrame) -> tuple[float, float]:
    """Summary measure of the same patients in two arms, and its standard error (of the logarithm of a ratio).

    Parameters
    ----------
    endpoint : Endpoint
    summary : str
        As of `Estimand`.
    here, there : DataFrame
        As from `outcome`, under treatment and control; rows are the same patients.

    Raises
    ------
    BadInput, RunFailed
        If there is no such value.
    """
    if isinstance(endpoint, Rate):
        return _from_counts(here, there)
    if isinstance(endpoint, Event):
        return _from_times(here, there, endpoint, summary)
    return _from_values(here["value"].to_numpy(float), there["value"].to_numpy(float), summary)


def _from_values(here: np.ndarray, there: np.ndarray, summary: str) -> tuple[float, float]:
    """Difference of means, medians or shares, or a ratio of shares, of the same patients in two arms."""
    known = ~np.isnan(here) & ~np.isnan(there)
    here, there = here[known], there[known]
    n = here.size
    if n < 2:
        raise BadInput("too few twins.")
    if summary == "difference of medians":
        return _median_truth(here, there)
    a, b = float(here.mean()), float(there.mean())
    if summary in ("difference of means", "risk difference"):
        return a - b, float((here - there).std(ddof=1) / np.sqrt(n))
    if not (0 < a < 1 and 0 < b < 1):
        raise RunFailed("no finite ratio.")
    if summary == "risk ratio":
        return a / b, float((here / a - there / b).std(ddof=1) / np.sqrt(n))
    odds = a * (1 - b) / (b * (1 - a))
    return odds, float((here / (a * (1 - a)) - there / (b * (1 - b))).std(ddof=1) / np.sqrt(n))


def _median_truth(here: np.ndarray, there: np.ndarray) -> tuple[float, float]:
    with np.errstate(invalid="ignore"):
        value = float(np.median(here) - np.median(there))
    if not np.isfinite(value):
        raise RunFailed("no median.")
    rng = np.random.default_rng(here.size)
    gaps = np.empty(200)
    for k in range(gaps.size):  # bounds memory for many twins
        picks = rng.integers(0, here.size, here.size)
        with np.errstate(invalid="ignore"):
            gaps[k] = np.median(here[picks]) - np.median(there[picks])
    return value, float(gaps[np.isfinite(gaps)].std(ddof=1))


def _from_counts(here: pd.DataFrame, there: pd.DataFrame) -> tuple[float, float]:
    """Ratio of the rates of the same patients in two arms; error by linearisation, which knows that they are pairs."""
    parts = []
    for outcomes in (here, there):
        own = outcomes[["count", "years"]].to_numpy(float)
        total, years = own.sum(axis=0)
        if total == 0:
            raise RunFailed("no event.")
        parts.append((total / years, (own[:, 0] - own[:, 1] * total / years) / total))
    (rate, a), (reference, b) = parts
    return rate / reference, float(np.sqrt(a.size) * (a - b).std(ddof=1))


def _from_times(here: pd.DataFrame, there: pd.DataFrame, endpoint: Event, summary: str) -> tuple[float, float]:
    """Hazard ratio, or risks by the end, of the same patients in two arms (error as if they were not the same)."""
    table = pd.concat([here.assign(arm="here"), there.assign(arm="there")], ignore_index=True).dropna(subset=["time"])
    table = table.astype({"event": bool, "cause": int})
    if summary == "hazard ratio":
        found = survival.cox(table, "here", "there", stratified=True)
        return found["estimate"], float(np.log(found["high"] / found["low"]) / (2 * 1.959963984540054))
    if summary == "subdistribution hazard ratio":
        found = competing.fine_gray(table, "here", "there", stratified=True)
        return found["estimate"], found["std_error"]
    span = endpoint.by_month - endpoint.from_month
    found = survival.incidence_contrast(table, "here", "there", span, ratio=summary == "risk ratio")
    return found["estimate"], found["std_error"]
