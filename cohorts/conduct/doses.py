"""Doses as the arms plan them, and as each patient gets them.

Injections and infusions at intervals of four weeks or more are given at visits; all other doses are taken at home. A
dose at a visit may be late or missed. A late dose delays all later ones, because intervals count from the dose actually
given; a missed dose does not. At home, each dose is taken or not with the patient's own adherence, until she
discontinues the agent. The random numbers depend only on patient and planned time, so a woman is late for the same
visit in every arm.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import betaincinv, gammaincinv, ndtri

from ranklsim.cohorts import streams
from ranklsim.cohorts.conduct.hazards import thresholds
from ranklsim.cohorts.protocol.conduct import AT_VISITS, Adherence, Delay
from ranklsim.pkpd.agents import Agent
from ranklsim.pkpd.dosing import moments
from ranklsim.pkpd.simulation import Doses
from ranklsim.pkpd.units import DAYS_PER_MONTH, DAYS_PER_YEAR

if TYPE_CHECKING:
    from ranklsim.cohorts.protocol.trial import Trial

LATE, MISSED, STOPPED, LEFT = "late", "missed", "stopped", "left"
COLUMNS = ("patient", "arm", "agent", "planned_month", "month", "amount_mg", "mg_per_kg", "given", "reason")

_HOURS_PER_MONTH = 24 * DAYS_PER_MONTH
_P95 = 1.6448536269514722  # normal score of the 95th percentile

Array = NDArray[np.float64]


def planned(
    trial: Trial,
    patients: NDArray[np.int64],
    arms: np.ndarray,
    weight: Array | None = None,
    each: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Every dose planned within the trial, as if all were given on their day.

    Parameters
    ----------
    trial : Trial
    patients : ndarray of int, shape (n,)
    arms : ndarray of str, shape (n,)
    weight : ndarray, shape (n,), optional
        Body weight at baseline, kg. Without it the amount of a dose by weight is NaN.
    each : DataFrame, n rows, optional
        Covariates; with them a patient of an arm whose patients have doses of their own gets hers. Without them she
        gets those of the typical patient.

    Returns
    -------
    DataFrame
        `COLUMNS`, and `row`, the patient's place in `patients`; `day`, of the dose; `clinic`, whether it is given at
        a visit if its agent allows; `added`, by a rescue or switch; `infusion_days` and `steady`, as of `Arm.doses`.
        Sorted by row, then time. A dose planned for the moment of the trial's end is not in it.
    """
    parts = []
    for k, arm in enumerate(trial.arms):
        rows = np.flatnonzero(arms == arm.name)
        if k and not rows.size:
            continue  # but one part there must be
        plan, course = arm.doses().assign(course=0), np.zeros(rows.size, dtype=np.int64)
        if arm.courses is not None and each is not None:
            plan, course = arm.courses.planned, arm.courses.of(each.iloc[rows])
        plan = plan[plan["month"] < trial.months]
        begins, ends = (np.searchsorted(plan["course"], course, side) for side in ("left", "right"))
        many = ends - begins
        at = np.repeat(begins - np.r_[0, np.cumsum(many)[:-1]], many) + np.arange(many.sum())
        part = plan.iloc[at].reset_index(drop=True)
        part.insert(0, "row", np.repeat(rows, many))
        parts.append(part)
    doses = pd.concat(parts, ignore_index=True).sort_values("row", kind="stable", ignore_index=True)
    row = doses["row"].to_numpy(dtype=np.int64)
    doses["patient"], doses["arm"] = patients[row], arms[row]
    by_weight = np.minimum(doses["mg_per_kg"] * (np.nan if weight is None else weight[row]), doses["cap_mg"])
    doses["amount_mg"] = doses["amount_mg"].where(doses["mg_per_kg"].isna(), by_weight)
    doses["planned_month"] = doses["month"]
    doses["given"], doses["reason"], doses["added"] = True, "", False
    doses["clinic"] = (doses["every_days"] == 0) | (doses["every_days"] >= AT_VISITS)
    return doses[[*COLUMNS, "row", "day", "clinic", "added", "infusion_days", "steady"]]


def as_doses(plan: pd.DataFrame, agents: Sequence[Agent]) -> Doses:
    """Doses given, of agents that do something, as `simulate` takes them; `plan` as from `planned`.

    Parameters
    ----------
    plan : DataFrame
        As from `planned`.
    agents : sequence of Agent
        Those of the trial; a dose holds an agent's place among them.
    """
    place = {agent.name: k for k, agent in enumerate(agents)}
    idle = [agent.name for agent in agents if agent.kind == "none"]
    given = plan[plan["given"] & ~plan["agent"].isin(idle)]
    later, share = np.zeros(1), np.ones(1)
    if given["infusion_days"].any():
        infused, which = np.unique(given["infusion_days"].to_numpy(dtype=float), return_inverse=True)
        parts = [moments(float(days)) for days in infused]
        many = np.array([len(part) for part in parts])[which]
        given = given.iloc[np.repeat(np.arange(len(given)), many)]
        later, share = np.concatenate([parts[k] for k in which]), np.repeat(1 / many, many)
    return Doses(
        patient=given["row"].to_numpy(dtype=np.int64),
        time=given["day"].to_numpy(dtype=float) + later,
        agent=given["agent"].map(place).to_numpy(dtype=np.int64),
        amount=given["amount_mg"].to_numpy(dtype=float) * share,
        steady=given["steady"].to_numpy(dtype=float),
    )


def at_visits(plan: pd.DataFrame, agents: Sequence[Agent]) -> NDArray[np.bool_]:
    """Which doses are given at visits.

    Parameters
    ----------
    plan : DataFrame
        As from `planned`.
    agents : sequence of Agent
        Those of the trial.
    """
    swallowed = [agent.name for agent in agents if agent.route == "PO"]
    return np.asarray(plan["clinic"] & ~plan["agent"].isin(swallowed), dtype=bool)


def _delay_days(delay: Delay, share: Array) -> Array:
    """Days by which a late dose is late, at a share (0 to 1) of the distribution.

    Lognormal: the median and 95th percentile give both of its numbers. Gamma: its shape is that at which the two
    percentiles have the ratio given, found by bisection.
    """
    if delay.distribution == "lognormal":
        return np.asarray(delay.median * np.exp(np.log(delay.p95 / delay.median) / _P95 * ndtri(share)))
    low, high = 1e-3, 1e6
    for _ in range(100):  # the ratio falls as the shape rises
        middle = np.sqrt(low * high)
        ratio = gammaincinv(middle, 0.95) / gammaincinv(middle, 0.5)
        low, high = (middle, high) if ratio > delay.p95 / delay.median else (low, middle)
    return np.asarray(delay.median / gammaincinv(low, 0.5) * gammaincinv(low, share))


def postpone(
    plan: pd.DataFrame, trial: Trial, agents: Sequence[Agent], off: Array | None = None, replicate: int = 0
) -> pd.DataFrame:
    """The plan with doses late, missed or moved along with their visit.

    Parameters
    ----------
    plan : DataFrame
        As from `planned`.
    trial : Trial
    agents : sequence of Agent
    off : ndarray, shape (n, n_visits), optional
        By how many days each patient's visits are off; doses at a visit move with it.
    replicate : int

    Returns
    -------
    DataFrame
        Same rows and columns.
    """
    conduct = trial.conduct
    if not (conduct.missed or conduct.late or off is not None):
        return plan
    plan = plan.copy()
    patient, row = plan["patient"].to_numpy(dtype=np.int64), plan["row"].to_numpy(dtype=np.int64)
    month = plan["planned_month"].to_numpy(dtype=float)
    hour = np.round(month * _HOURS_PER_MONTH).astype(np.int64)
    clinic = at_visits(plan, agents)
    later = clinic & (month > 0)
    missed = later & (streams.uniform(trial.seed, "dose.missed", patient, hour, replicate) < conduct.missed)
    pushed = np.zeros(len(plan))
    if conduct.late:
        late = later & ~missed
        late &= streams.uniform(trial.seed, "dose.late", patient, hour, replicate) < conduct.late.share
        days = _delay_days(conduct.late, streams.uniform(trial.seed, "dose.delay", patient, hour, replicate))
        first = np.flatnonzero(np.r_[True, row[1:] != row[:-1]]) if len(row) else np.empty(0, dtype=np.int64)
        own = np.where(late, days, 0.0)
        # Doses of one day wait for each other: the longest of their delays counts, once.
        spell = np.r_[True, (row[1:] != row[:-1]) | (hour[1:] != hour[:-1])] if len(row) else np.empty(0, dtype=bool)
        group = np.cumsum(spell) - 1
        longest = np.zeros(int(spell.sum()))
        np.maximum.at(longest, group, own)
        total = np.cumsum(longest)
        begins = group[first]
        before = np.where(begins > 0, total[begins - 1], 0.0)
        pushed = total[group] - np.repeat(before, np.diff(np.r_[first, len(row)]))
    moved = pushed > 0
    if off is not None:
        for visit, planned_month in enumerate(trial.visits.months):
            here = clinic & ~moved & (np.abs(month - planned_month) < 1e-9)
            pushed[here] = off[row[here], visit]
    plan["day"] = plan["day"].to_numpy(dtype=float) + pushed
    plan["month"] = np.where(pushed == 0, month, plan["day"] / DAYS_PER_MONTH)
    plan["reason"] = np.where(moved, LATE, plan["reason"])
    _withhold(plan, missed, MISSED)
    _withhold(plan, plan["day"].to_numpy(dtype=float) >= trial.months * DAYS_PER_MONTH, LATE)
    return plan


def at_home(
    plan: pd.DataFrame, trial: Trial, agents: Sequence[Agent], n: int, replicate: int = 0
) -> tuple[pd.DataFrame, Array]:
    """The plan with doses at home missed, and the month at which each patient gives such an agent up.

    Parameters
    ----------
    plan : DataFrame
        As from `planned`.
    trial : Trial
        Its conduct and seed are used.
    agents : sequence of Agent
        Those of the trial.
    n : int
        Number of patients.
    replicate : int
        Number of the trial's replicate.

    Returns
    -------
    plan : DataFrame
        Same rows and columns.
    given_up : ndarray, shape (n,)
        Month of each of the `n` patients, inf if never.
    """
    conduct = trial.conduct
    given_up = np.full(n, np.inf)
    if not conduct.adherence:
        return plan, given_up
    plan = plan.copy()
    home = ~at_visits(plan, agents)
    patient, row = plan["patient"].to_numpy(dtype=np.int64), plan["row"].to_numpy(dtype=np.int64)
    hour = np.round(plan["planned_month"].to_numpy(dtype=float) * _HOURS_PER_MONTH).astype(np.int64)
    for agent, habit in conduct.adherence.items():
        mine = home & (plan["agent"] == agent).to_numpy()
        taken = _own_adherence(habit, streams.uniform(trial.seed, f"adherence.{agent}", patient, 0, replicate))
        forgotten = mine & (streams.uniform(trial.seed, f"taken.{agent}", patient, hour, replicate) > taken)
        _withhold(plan, forgotten, MISSED)
        start = np.full(n, np.inf)
        np.minimum.at(start, row[mine], plan["month"].to_numpy(dtype=float)[mine])
        rate = habit.stop_per_year * DAYS_PER_MONTH / DAYS_PER_YEAR
        wait = thresholds(trial.seed, f"persistence.{agent}", patient, 0, replicate) / rate if rate else np.inf
        until = start[row] + wait
        np.minimum.at(given_up, row[mine], until[mine])
        _withhold(plan, mine & (plan["month"].to_numpy(dtype=float) >= until), STOPPED)
    return plan, given_up


def _own_adherence(habit: Adherence, share: Array) -> Array:
    """A patient's share of doses taken, at a share (0 to 1) of the beta distribution with the habit's mean and SD."""
    if habit.sd == 0:
        return np.full(np.shape(share), habit.taken)
    size = habit.taken * (1 - habit.taken) / habit.sd**2 - 1
    return np.asarray(betaincinv(habit.taken * size, (1 - habit.taken) * size, share))


def finished(plan: pd.DataFrame, infused: bool = False) -> pd.DataFrame:
    """The run's table of doses: a dose that was not given stands at its planned month.

    Parameters
    ----------
    plan : DataFrame
        As from `planned`, after all decisions.
    infused : bool
        Whether a column ``infusion_h`` says how long each dose took.
    """
    plan = plan.iloc[np.lexsort((plan["planned_month"], plan["row"]))]
    table = plan[list(COLUMNS)].reset_index(drop=True)
    if infused:
        table["infusion_h"] = 24 * plan["infusion_days"].to_numpy(dtype=float)
    table["month"] = np.where(table["given"], table["month"], table["planned_month"])
    return table


def cut(plan: pd.DataFrame, until: Array, reason: str) -> None:
    """Withhold, in place, every dose at or after each patient's month `until`, shape (n,); inf withholds none.

    Parameters
    ----------
    plan : DataFrame
        As from `planned`; changed in place.
    until : ndarray, shape (n,)
        Month of each patient, inf for never.
    reason : str
        Written beside each dose that is withheld.
    """
    _withhold(plan, plan["month"].to_numpy(dtype=float) >= until[plan["row"].to_numpy(dtype=np.int64)], reason)


def _withhold(plan: pd.DataFrame, which: NDArray[np.bool_], reason: str) -> None:
    """Mark doses as not given, for a reason; a later reason takes the place of an earlier one."""
    plan["reason"] = np.where(which, reason, plan["reason"])
    plan["given"] = plan["given"].to_numpy(dtype=bool) & ~which
