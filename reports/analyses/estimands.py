"""Each estimand of a trial: its estimate from what was seen, beside the truth from counterfactual twins.

A twin is the same patient, with the same random numbers, put in each arm (table `twins` of a run): once as things
happen to her there (the real world), and once for each set of events that a hypothetical strategy supposes away: in
that world only these events never happen, and all else happens as it would. The truth under each strategy:

================== ===========================================================================================
treatment policy   her real course, seen or not
hypothetical       her course in the world without the event
while on treatment her course up to the event
composite          failure if the event happens to her
================== ===========================================================================================

A mixture of strategies is read in the world of its hypothetical events. It is a mean (or median, ratio) over all twins
with a Monte-Carlo error. Fractures are recorded while a patient is in the study, so that the truth of a time to event
takes those who leave as censored at random, as the estimate does. An odds ratio is that of the shares of all patients
together, whereas the estimate is conditional on strata.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from ranklsim.cohorts.endpoints import Effect, Endpoint, Estimand
from ranklsim.cohorts.endpoints.base import World
from ranklsim.cohorts.endpoints.estimands import in_population
from ranklsim.cohorts.statistics.claims import SUPERIORITY
from ranklsim.cohorts.study import Study, setting
from ranklsim.cohorts.words import EVENT_WORDS
from ranklsim.pkpd.errors import BadInput, RunFailed

COLUMNS = (
    *("estimand", "primary", "endpoint", "summary", "strategies", "arm", "against", "n", "n_control"),
    *(
        "estimate",
        "low",
        "high",
        "std_error",
        "p",
        "method",
        "truth",
        "truth_error",
        "bias",
        "covered",
        "twins",
        "note",
    ),
)
"""Columns of `estimate_all`; shares are shares, `truth_error` is the standard error of `truth`, `bias` their gap."""

ENDS = ("completed", "dropout", "death")


def estimate_all(study: Study) -> pd.DataFrame:
    """Estimates and truths of all estimands of a trial.

    Parameters
    ----------
    study : Study
        The truth is NaN without twins.

    Returns
    -------
    DataFrame
        Columns `COLUMNS`, a row an estimand and arm that is compared with another. What could not be estimated is NaN,
        and `note` says why.
    """
    return pd.DataFrame(estimated(study), columns=list(COLUMNS))


def estimated(study: Study, *, at_margin: bool = False) -> list[dict[str, Any]]:
    """Rows of `estimate_all`, with `p_claim`, `shown` and `harm` by what the endpoint claims (`Claim`).

    They are NaN where a margin is of another measure than the estimand's.

    Parameters
    ----------
    study : Study
        With an effect, or without for `at_margin`.
    at_margin : bool
        Whether a claim with a margin is asked of a true effect that is the margin. It is known where the estimate moves
        by a constant if the value of everybody in an arm does, which imputation from control does not; else NaN.
    """
    rows = []
    twins = study.twins if study.trial.estimands else pd.DataFrame()
    for estimand in study.trial.estimands:
        endpoint = study.trial.endpoint(estimand.endpoint)
        control = str(endpoint.against or study.trial.control)
        facts = {
            "against": control,
            "estimand": estimand.name,
            "primary": estimand.primary,
            "endpoint": endpoint.name,
            "summary": estimand.summary,
            "strategies": _strategies_in_words(estimand),
        }
        by_arm = estimate(study, endpoint, estimand, control)
        true = truths(study, endpoint, estimand, control, twins, study.twin_events) if len(twins) else {}
        for arm in estimand.arms:
            row: dict[str, Any] = (
                dict.fromkeys(COLUMNS, np.nan) | facts | {"arm": arm, "note": "", "method": ""} | by_arm[arm]
            )
            row |= _claimed(endpoint, estimand, row.pop("effect", None), at_margin)
            if arm in true:
                row |= true[arm]
                row["bias"] = row["estimate"] - row["truth"]
                known = np.isfinite([row["low"], row["high"], row["truth"]]).all()
                row["covered"] = float(row["low"] <= row["truth"] <= row["high"]) if known else np.nan
            rows.append(row)
    return rows


def _claimed(endpoint: Endpoint, estimand: Estimand, effect: Effect | None, at_margin: bool) -> dict[str, float]:
    """What the estimate shows of the endpoint's claim, as 0, 1 or NaN, and p of the claim."""
    claim = endpoint.claim_on(estimand.summary)
    moves = endpoint.moves and estimand.missing == "MAR"
    if claim is None or (at_margin and claim.kind != SUPERIORITY and not moves):
        return dict.fromkeys(("p_claim", "shown", "harm"), np.nan)
    if effect is None:
        return {"p_claim": np.nan, "shown": 0.0, "harm": 0.0}
    if at_margin and claim.kind != SUPERIORITY:
        effect = effect.moved(claim.limits[-1])
    return {
        "p_claim": claim.p(effect), "shown": float(claim.shown(effect)), "harm": float(claim.against(effect)),
    }  # fmt: skip


def _strategies_in_words(estimand: Estimand) -> str:
    """Such as "stopping treatment: treatment policy; death: composite"."""
    return "; ".join(f"{EVENT_WORDS[event]}: {how}" for event, how in estimand.events.items())


def estimate(study: Study, endpoint: Endpoint, estimand: Estimand, comparator: str) -> dict[str, dict[str, Any]]:
    """Estimate of each arm, as of `Endpoint.estimates`.

    Parameters
    ----------
    study : Study
    endpoint : Endpoint
    estimand : Estimand
    comparator : str
        The arm that others are compared with.
    """
    patients = in_population(study.patients, estimand)
    none = _never(study.events, patients, estimand)
    # The seed of estimands is that of the trial: an estimand is none of the endpoints in their order.
    asked = replace(setting(study, endpoint, comparator=comparator), seed=study.trial.seed)
    found = endpoint.estimates(study, asked, estimand, patients)
    for row in found.values():
        row["note"] = " ".join(part for part in (row.get("note", ""), none) if part)
    return found


def _never(events: pd.DataFrame, patients: pd.DataFrame, estimand: Estimand) -> str:
    """Which intercurrent events happened to nobody, in a sentence."""
    mine = np.isin(events["patient"].to_numpy(), patients["patient"].to_numpy())
    seen = set(np.asarray(events["event"], dtype=object)[mine])
    absent = [EVENT_WORDS[event] for event in estimand.events if event not in seen]
    return f"Happened to nobody: {', '.join(absent)}." if absent else ""


# -- truth -------------------------------------------------------------------------------------------------------------


def truths(
    study: Study,
    endpoint: Endpoint,
    estimand: Estimand,
    against: str,
    twins: pd.DataFrame,
    twin_events: pd.DataFrame,
) -> dict[str, dict[str, Any]]:
    """True value of an estimand over all twins, in each of its arms.

    Parameters
    ----------
    study : Study
        Its patients.
    endpoint : Endpoint
    estimand : Estimand
    against : str
        The arm with which they are compared.
    twins, twin_events : DataFrame
        As in a run folder.

    Returns
    -------
    dict of str to dict
        By arm: `truth`, `truth_error` (of the logarithm of a ratio), NaN where there is none, and `twins` (patients).
    """
    everyone = study.patients[study.patients["patient"].isin(set(twins["patient"]))]
    everyone = in_population(everyone, estimand)
    found = {arm: {"truth": np.nan, "truth_error": np.nan, "twins": len(everyone)} for arm in estimand.arms}
    if everyone.empty:
        return found
    members = [
        frame[(frame["conduct"] == estimand.world) & frame["patient"].isin(everyone["patient"])]
        for frame in (twins, twin_events)
    ]

    @cache
    def outcome(arm: str) -> pd.DataFrame:
        courses, happened = (frame[frame["arm"] == arm] for frame in members)
        return _outcome(world_of(everyone, arm, courses, happened), endpoint, estimand)

    for arm, row in found.items():
        with suppress(BadInput, RunFailed):
            row["truth"], row["truth_error"] = endpoint.contrast(estimand.summary, outcome(arm), outcome(against))
    return found


def world_of(everyone: pd.DataFrame, arm: str, courses: pd.DataFrame, happened: pd.DataFrame) -> World:
    """Patients in one arm, with their courses and events there.

    Parameters
    ----------
    everyone : DataFrame
    arm : str
    courses, happened : DataFrame
        Rows of a table of twins, and of their events, of one arm and world.
    """
    last = happened[happened["event"].isin(ENDS)].groupby("patient")["month"].max()
    patients = everyone.assign(arm=arm, last_month=everyone["patient"].map(last).to_numpy(float))
    measures = {name: name.removeprefix("true_") for name in courses.columns if name.startswith("true_")}
    return patients, courses.rename(columns=measures), happened


def _outcome(world: World, endpoint: Endpoint, estimand: Estimand) -> pd.DataFrame:
    """The outcome of each patient of a world, with `stratum`."""
    found = endpoint.outcome(world, estimand)
    return found.assign(stratum=world[0]["stratum"].to_numpy()).reset_index(drop=True)
