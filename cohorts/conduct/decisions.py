"""Decisions that depend on the response of a patient: dropout, rescue, and switches on a trigger.

A decision is searched on the simulated course of a patient, from her latest decision on. Earlier decisions cannot
change. Simulating again every patient with a new decision, until there is none, therefore ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ranklsim.cohorts import streams
from ranklsim.cohorts.conduct import doses
from ranklsim.cohorts.conduct.hazards import cumulative, month_reached
from ranklsim.cohorts.events import Happened
from ranklsim.cohorts.protocol.conduct import AT_VISITS, Hazard, Response, Rule, Trigger
from ranklsim.pkpd.biology.skeleton import t_score
from ranklsim.pkpd.parameters import ParameterTable
from ranklsim.pkpd.units import DAYS_PER_MONTH

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Seen:
    """Courses of some patients, as if nobody left.

    Attributes
    ----------
    months : ndarray, shape (m,)
        Grid.
    latent : mapping of str to ndarray, shape (n, m)
    visits : ndarray, shape (n, v)
        Month of each visit, as kept.
    read : mapping of str to ndarray, shape (n, v)
        Measured values, NaN where not due.
    fractures : sequence of Happened
    """

    months: Array
    latent: Mapping[str, Array]
    visits: Array
    read: Mapping[str, Array]
    fractures: Sequence[Happened]


def leaving(hazard: Hazard, response: Response, arms: np.ndarray, used: Array, seen: Seen) -> Array:
    """Month at which each patient leaves, for a hazard that depends on her response; inf for never.

    The change that counts is that at the beginning of each step of the grid: the true one, or that at her latest
    visit at which the measure was read.

    Parameters
    ----------
    hazard : Hazard
    response : Response
    arms : ndarray of str, shape (n,)
    used : ndarray, shape (n,)
        Cumulative hazard at which she leaves.
    seen : Seen
    """
    months = seen.months
    change = observed_change(response.measure, seen) if response.observed else _true_change(response.measure, seen)
    spell = np.ones(months.size)
    for start, ratio in hazard.from_month:
        spell[months >= start - 1e-9] = ratio
    own = np.array([hazard.arms.get(arm, 1.0) for arm in arms], dtype=float)
    # Beyond a hundredfold, which nobody measured, the hazard does not change any more.
    factor = np.exp(np.clip(np.log(response.ratio) * change / response.per, -np.log(100), np.log(100)))
    return month_reached(months, cumulative(months, hazard.per_year * own[:, None] * spell * factor), used)


def observed_change(measure: str, seen: Seen) -> Array:
    """Change of a measure from its first to its latest reading, a fraction, at each month of the grid; 0 before any.

    Parameters
    ----------
    measure : str
        One that is read at visits.
    seen : Seen
        What is known of the patients.
    """
    read = seen.read[measure]
    change = read / read[:, :1] - 1
    grid = np.zeros((len(read), seen.months.size))
    for k in range(1, read.shape[1]):
        after = (seen.months[None, :] >= seen.visits[:, k : k + 1] - 1e-9) & np.isfinite(change[:, k : k + 1])
        grid = np.where(after, change[:, k : k + 1], grid)
    return grid


def _true_change(measure: str, seen: Seen) -> Array:
    value = seen.latent[measure]
    return np.asarray(value / value[:, :1] - 1)


def triggered(rule: Rule, parameters: ParameterTable, seen: Seen, since: Array) -> Array:
    """First month, at or after `since`, at which a rule is set off; inf if it never is.

    Parameters
    ----------
    rule : Rule
    parameters : ParameterTable
        Young adult BMD.
    seen : Seen
    since : ndarray, shape (n,)
    """
    since = np.maximum(since, rule.after)
    first = np.full(since.size, np.inf)
    for trigger in rule.triggers:
        first = np.minimum(first, _first(trigger, parameters, seen, since))
    return first


def _first(trigger: Trigger, parameters: ParameterTable, seen: Seen, since: Array) -> Array:
    if trigger.event:
        first = np.full(since.size, np.inf)
        for part in seen.fractures:
            if part.event == trigger.event:
                late = part.month >= since[part.row] - 1e-9
                np.minimum.at(first, part.row[late], part.month[late])
        return first
    value = seen.read[trigger.measure]
    if trigger.kind == "T":
        value = t_score(parameters, trigger.measure.removeprefix("BMD_"), value)
    else:
        value = value / value[:, :1] - 1
    met = value < trigger.limit if trigger.sign == "<" else value > trigger.limit
    met &= seen.visits >= since[:, None] - 1e-9
    return np.where(met.any(axis=1), np.take_along_axis(seen.visits, met.argmax(axis=1)[:, None], axis=1)[:, 0], np.inf)


def concerned(
    rule: Rule, number: int, seed: int, patients: NDArray[np.int64], arms: np.ndarray, replicate: int
) -> NDArray[np.bool_]:
    """Whether a rule of the trial, given by its number, applies to each patient: by her arm and by chance.

    Parameters
    ----------
    rule : Rule
        Its arms and share are used.
    number : int
        Place of the rule in the trial.
    seed, replicate : int
        Address of the random numbers.
    patients : ndarray of int, shape (n,)
        Patient numbers.
    arms : ndarray of str, shape (n,)
        Arm of each.
    """
    mine = np.isin(arms, rule.arms) if rule.arms else np.ones(arms.size, dtype=bool)
    if rule.share < 1:
        mine &= streams.uniform(seed, f"rule.{number}", patients, 0, replicate) < rule.share
    return mine


def replace_treatment(
    plan: pd.DataFrame,
    rule: Rule,
    rows: NDArray[np.int64],
    month: Array,
    patients: NDArray[np.int64],
    arms: np.ndarray,
    months: float,
    weight: Array,
) -> pd.DataFrame:
    """The plan with all doses from a month on withheld from some patients, and the rule's agent in their place.

    Parameters
    ----------
    plan : DataFrame
        As from ``doses.planned``; changed in place as to what is withheld.
    rule : Rule
    rows : ndarray of int, shape (k,)
        Places of the patients.
    month : ndarray, shape (k,)
        When, for each of them.
    patients, arms : ndarray, shape (k,)
        Their numbers and arms.
    months : float
        Length of the trial.
    weight : ndarray, shape (k,)
        Their body weights, kg.

    Returns
    -------
    plan : DataFrame
        Same columns; the new doses come last and have the rule's event as their reason.
    """
    highest = max(int(plan["row"].max()) if len(plan) else -1, int(rows.max(initial=-1)))
    until = np.full(highest + 1, np.inf)
    until[rows] = month
    doses.cut(plan, until, rule.event)
    if rule.agent is None:
        return plan
    most = rule.doses or (1 if rule.every_days == 0 else int(np.ceil(months * DAYS_PER_MONTH / rule.every_days)))
    place, turn = np.repeat(np.arange(rows.size), most), np.tile(np.arange(most), rows.size)
    day = month[place] * DAYS_PER_MONTH + turn * rule.every_days
    inside = day < months * DAYS_PER_MONTH
    place, turn, day = place[inside], turn[inside], day[inside]
    when = np.where(turn == 0, month[place], day / DAYS_PER_MONTH)
    new = pd.DataFrame(
        {
            "patient": patients[place],
            "arm": arms[place],
            "agent": rule.agent,
            "planned_month": when,
            "month": when,
            "amount_mg": rule.dose.of(weight[place]),
            "mg_per_kg": rule.dose_mg if rule.per_kg else np.nan,
            "given": True,
            "reason": rule.event,
            "row": rows[place],
            "day": day,
            "clinic": rule.every_days == 0 or rule.every_days >= AT_VISITS,
            "added": True,
            "infusion_days": 0.0,
            "steady": 0.0,
        }
    )
    return pd.concat([plan, new], ignore_index=True) if len(new) else plan
