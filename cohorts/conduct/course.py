"""The course of a trial: follow-up, doses as given, and events.

`play` simulates some patients of a trial, in any arm. It first draws what does not depend on the response (dropout at a
given rate, death, late or missed doses, stopping). It then simulates the patients. Fractures and other events follow
from each simulated course. A decision that depends on the course (rescue, a switch on a trigger, dropout after a poor
response) changes later doses; the patient is then simulated again, until no new decision occurs. Every patient is
simulated to the end of the trial. The course after she has left, stopped or died is an unobserved true value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ranklsim.cohorts import events
from ranklsim.cohorts.conduct import deaths, decisions, doses, exposure, fractures, hypocalcaemia
from ranklsim.cohorts.conduct.hazards import months_by_spells, thresholds
from ranklsim.cohorts.conduct.patients import Patients
from ranklsim.cohorts.conduct.visits import observe, off_days
from ranklsim.cohorts.events import Happened, happened
from ranklsim.cohorts.measures import MEASURES
from ranklsim.cohorts.protocol.conduct import Rule
from ranklsim.pkpd.agents import Agent
from ranklsim.pkpd.parameters import ParameterTable
from ranklsim.pkpd.simulation import simulate
from ranklsim.pkpd.units import DAYS_PER_MONTH

if TYPE_CHECKING:
    from ranklsim.cohorts.protocol.trial import Trial

__all__ = ["MEASURES", "Course", "Intent", "intended", "observe", "play"]

OWN_DECISION, NOT_PERSISTENT, WITHDREW = "own decision", "not persistent", "withdrew"
"""Details of stopping and of dropout."""

STEP = 0.5
"""Months between looks at what hazards follow."""

AFTER_DOSE = (3.0, 7.0, 10.0, 14.0, 21.0)
"""Days after a dose at a visit at which serum calcium is looked at; its nadir is at about ten days."""

ALL = slice(None)

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Course:
    """The course of a trial in some patients.

    Attributes
    ----------
    doses : DataFrame
        Columns of ``doses.COLUMNS``; by patient, then planned month.
    events : DataFrame
        Columns of ``events.COLUMNS``.
    last : ndarray, shape (n,)
        Month until which each is followed.
    stopped : ndarray, shape (n,)
        Month from which she is no longer given what her arm is given; inf if never, or not before she leaves.
    kept : ndarray, shape (n, n_visits)
        Month at which each visit is kept, or would have been.
    latent : dict of str to ndarray, shape (n, n_visits)
        True values of everything that `simulate` returns, and of ``Trial.exposures``, when her visits are kept.
    """

    doses: pd.DataFrame
    events: pd.DataFrame
    last: Array
    stopped: Array
    kept: Array
    latent: dict[str, Array]


def play(
    trial: Trial,
    parameters: ParameterTable,
    agents: Sequence[Agent],
    people: Patients,
    number: NDArray[np.int64],
    arms: np.ndarray,
    *,
    given: np.ndarray | None = None,
    replicate: int = 0,
    ideal: bool = False,
    rtol: float = 1e-6,
    workers: int = 1,
    progress: Callable[[int], None] | None = None,
    tell: Callable[[str], None] | None = None,
    retried: Callable[[int], None] | None = None,
) -> Course:
    """Conduct a trial for some patients.

    Parameters
    ----------
    trial : Trial
    parameters : ParameterTable
    agents : sequence of Agent
        Those of ``trial.agent_names()``, in that order.
    people : Patients
        As from `draw`, of ``number``.
    number : ndarray of int, shape (n,)
        Patient numbers, from 1: they choose the random numbers.
    arms : ndarray of str, shape (n,)
        Arm that each is put in; a patient has the same random numbers in every arm.
    given : ndarray of str, shape (n,), optional
        Arm whose treatment each is given in place of her own, with the conduct of her own (`treated_as`).
    replicate : int
    ideal : bool
        Doses as planned, every visit on its day, nobody leaves, stops, is rescued or dies; fractures and other
        outcomes happen.
    rtol : float
        Error allowed the integrator a step, relative.
    workers : int
        Threads; no result depends on it.
    progress, tell, retried : callable, optional
        As of `simulate`; `retried` is called with the patient's number.

    Returns
    -------
    Course

    Raises
    ------
    RunFailed
        If a patient cannot be integrated.
    """
    plan_of, void = treated_as(trial, agents, arms, given)
    intent = intended(trial, parameters, agents, people.covariates, arms, replicate, ideal, plan_of)
    run = _Run(trial, parameters, agents, people, number, arms, replicate, intent)

    def simulated(rows: NDArray[np.int64]) -> dict[str, Array]:
        return simulate(
            parameters,
            people.persons.iloc[rows].set_axis(number[rows], axis="index"),  # so that a complaint names the patient
            agents,
            doses.as_doses(_with_effect(run.plan_of(rows), void[rows]), agents),
            run.days,
            throughout=run.throughout,
            rest_at=run.visit_columns,
            rtol=rtol,
            atol=rtol / 100,
            workers=workers,
            progress=progress if rows.size == number.size else None,
            tell=tell,
            retried=None if retried is None else lambda row: retried(int(number[rows[row]])),
        )

    pending = np.arange(number.size)
    while pending.size:
        run.store(pending, simulated(pending))
        pending = np.empty(0, dtype=np.int64) if ideal else run.decide(pending)
    return run.course()


def treated_as(
    trial: Trial, agents: Sequence[Agent], arms: np.ndarray, given: np.ndarray | None
) -> tuple[np.ndarray, NDArray[np.bool_]]:
    """Whose plan of doses each patient follows, and whether the doses of her own plan have no effect.

    A treatment that does nothing (placebo) takes the effect of the own doses away and leaves their plan, so that all
    conduct is that of the own arm. Another treatment comes with its plan.

    Parameters
    ----------
    trial : Trial
    agents : sequence of Agent
        Those of the trial.
    arms, given : ndarray of str, shape (n,)
        Arm of each, and the arm whose treatment she is given in place of it; None for her own.

    Returns
    -------
    ndarray of str, ndarray of bool
        Of shape (n,).
    """
    if given is None:
        return arms, np.zeros(arms.size, dtype=bool)
    idle = {agent.name for agent in agents if agent.kind == "none"}
    nothing = [arm.name for arm in trial.arms if all(regimen.agent in idle for regimen in arm.planned)]
    void = np.isin(given, nothing) & (given != arms)
    return np.where(void, arms, given), void


def _with_effect(plan: pd.DataFrame, void: NDArray[np.bool_]) -> pd.DataFrame:
    """The doses of a plan that have an effect: of patients whose own have none, those that a rule added."""
    if not void.any():
        return plan
    return plan[plan["added"].to_numpy(dtype=bool) | ~void[plan["row"].to_numpy(dtype=np.int64)]]


@dataclass(frozen=True)
class Intent:
    """Facts that are drawn before the response of a patient is known.

    `plan` as from ``doses.planned``; arrays of shape (n,), months or inf for never: `last` until which she is
    followed, `died`, `stopped` treatment, `detail` why; `off`, shape (n, n_visits), days by which visits are off.
    """

    plan: pd.DataFrame
    last: Array
    died: Array
    stopped: Array
    detail: NDArray[np.object_]
    off: Array
    switches: list[Happened]


def intended(
    trial: Trial,
    parameters: ParameterTable,
    agents: Sequence[Agent],
    covariates: pd.DataFrame,
    arms: np.ndarray,
    replicate: int = 0,
    ideal: bool = False,
    plan_of: np.ndarray | None = None,
) -> Intent:
    """Doses, leaving, stopping, switches at months and death, as far as they do not depend on the course.

    Parameters
    ----------
    trial, parameters, agents, arms, replicate, ideal
        As of `play`.
    covariates : DataFrame, n rows
        `patient`, `age` and `weight`; ``source_id`` where arms have doses by ID.
    plan_of : ndarray of str, shape (n,), optional
        Arm whose doses each is planned to get; her own if not given.

    Returns
    -------
    Intent
    """
    conduct, number = trial.conduct, covariates["patient"].to_numpy(dtype=np.int64)
    n = number.size
    weight = covariates["weight"].to_numpy(dtype=float)
    plan = doses.planned(trial, number, arms if plan_of is None else plan_of, weight, covariates)
    end, never = np.full(n, float(trial.months)), np.full(n, np.inf)
    detail = np.full(n, OWN_DECISION, dtype=object)
    if ideal:
        return Intent(plan, end, never, never, detail, np.zeros((n, len(trial.visits.months))), [])
    off = off_days(trial, number, replicate)
    plan = doses.postpone(plan, trial, agents, off if conduct.window_days else None, replicate)
    plan, given_up = doses.at_home(plan, trial, agents, n, replicate)
    left, died = never, never
    if conduct.dropout_response is None:
        left = months_by_spells(conduct.dropout, arms, thresholds(trial.seed, "dropout", number, 0, replicate))
    stopped = months_by_spells(conduct.stop, arms, thresholds(trial.seed, "stop", number, 0, replicate))
    if conduct.deaths:
        ratio = parameters["mortality_ratio"] if conduct.mortality_ratio is None else conduct.mortality_ratio
        age = covariates["age"].to_numpy(dtype=float)
        fatal = thresholds(trial.seed, "death", number, 0, replicate)
        died = deaths.months_until(conduct.life_table, ratio, age, fatal)
    last = np.minimum(np.minimum(left, died), end)
    doses.cut(plan, stopped, doses.STOPPED)
    detail = np.where(given_up < stopped, NOT_PERSISTENT, detail)
    stopped = np.minimum(stopped, given_up)
    switches: list[Happened] = []
    for k, rule in enumerate(conduct.rules):
        if rule.month is None:
            continue
        rows = np.flatnonzero(decisions.concerned(rule, k, trial.seed, number, arms, replicate) & (rule.month < last))
        month = np.full(rows.size, rule.month)
        plan = _replaced(plan, rule, rows, month, trial, agents, number, arms, weight, replicate)
        switches.append(happened(rule.event, rows, month, rule.agent or ""))
        stopped[rows] = np.minimum(stopped[rows], month)
    doses.cut(plan, np.where(last < end, last, np.inf), doses.LEFT)
    return Intent(plan, last, died, stopped, detail, off, switches)


class _Run:
    """Some patients on their way through a trial: plan, course and decisions so far."""

    def __init__(
        self,
        trial: Trial,
        parameters: ParameterTable,
        agents: Sequence[Agent],
        people: Patients,
        number: NDArray[np.int64],
        arms: np.ndarray,
        replicate: int,
        intent: Intent,
    ) -> None:
        self.trial, self.parameters, self.agents, self.people = trial, parameters, agents, people
        self.number, self.arms, self.replicate, self.intent = number, arms, replicate, intent
        self.plan, self.last, self.stopped = intent.plan, intent.last.copy(), intent.stopped.copy()
        self.parts: list[Happened] = list(intent.switches)
        planned = np.asarray(trial.visits.months, dtype=float) * DAYS_PER_MONTH
        visit_days = planned + intent.off
        months = np.broadcast_to(np.asarray(trial.visits.months, dtype=float), visit_days.shape)
        self.kept = np.where(intent.off == 0, months, visit_days / DAYS_PER_MONTH)
        grid = _grid(trial, agents) * DAYS_PER_MONTH
        self.visit_days = visit_days
        self.throughout: tuple[str, ...] = MEASURES
        self.dosed = self.fine = np.empty(0)  # the grid of exposures is the same whoever else is in the portion
        if trial.exposures:
            binders = [agent.name for agent in agents if agent.kind == "binder"]
            self.throughout = (*MEASURES, *(f"C_{name}" for name in binders))
            self.dosed = trial.dosing_days(binders)
            last = max(spec.last_month for spec in trial.endpoints if spec.latent)
            self.fine = exposure.grid(self.dosed, last * DAYS_PER_MONTH + trial.conduct.window_days)
        self.days = np.unique(np.concatenate([grid, visit_days.reshape(-1), self.fine]))
        self.months = grid / DAYS_PER_MONTH  # on which events are looked for: the same whoever else is in the portion
        self.at_visits = np.searchsorted(self.days, visit_days)
        self.on_grid = ALL if grid.size == self.days.size else np.searchsorted(self.days, grid)
        self.visit_columns = np.unique(self.at_visits)  # which is all that is kept of what no decision looks at
        self.among_visits = np.searchsorted(self.visit_columns, self.at_visits)
        self.latent: dict[str, Array] = {}
        self.since = np.zeros(number.size)
        self.open = [
            decisions.concerned(rule, k, trial.seed, number, arms, replicate) & bool(rule.triggers)
            for k, rule in enumerate(trial.conduct.rules)
        ]

    def plan_of(self, rows: NDArray[np.int64]) -> pd.DataFrame:
        """The plan of some patients (in ascending order), whose places are counted among them."""
        if rows.size == self.number.size:
            return self.plan
        mine = self.plan[np.isin(self.plan["row"].to_numpy(), rows)].copy()
        mine["row"] = np.searchsorted(rows, mine["row"].to_numpy())
        return mine

    def store(self, rows: NDArray[np.int64], found: dict[str, Array]) -> None:
        """Keep the course of some patients."""
        if rows.size == self.number.size:
            self.latent = found
            return
        for name, values in found.items():
            self.latent[name][rows] = values

    def when_visited(self, name: str, rows: NDArray[np.int64] | slice = ALL) -> Array:
        """True values of some patients at the actual times of their visits."""
        at = self.at_visits if name in self.throughout else self.among_visits
        return np.take_along_axis(self.latent[name][rows], at[rows], axis=1)

    def at_every_visit(self) -> dict[str, Array]:
        """True values when visits are kept, and exposures between them."""
        there = {name: self.when_visited(name) for name in self.latent}
        if not self.trial.exposures:
            return there
        at = np.searchsorted(self.days, self.fine)
        course = {name: self.latent[name][:, at] for name in self.throughout}
        return there | exposure.exposures(self.trial.exposures, self.fine, self.dosed, course, self.visit_days, there)

    def seen(self, rows: NDArray[np.int64]) -> decisions.Seen:
        """Observable values of some patients, as if nobody left."""
        visits = {name: self.when_visited(name, rows) for name in MEASURES}
        latent = {name: self.latent[name][rows][:, self.on_grid] for name in MEASURES}
        stays = np.full(rows.size, np.inf)
        read = observe(self.trial, self.parameters, self.number[rows], stays, visits, self.replicate)
        broken: list[Happened] = []
        if self.trial.conduct.fractures:
            broken = fractures.recorded(
                fractures.happen(
                    self.parameters, self.people.covariates.iloc[rows], self.months, latent, self.trial.seed,
                    self.replicate,
                ),
                np.asarray(self.trial.conduct.imaging), stays,
            )  # fmt: skip
        return decisions.Seen(self.months, latent, self.kept[rows], read, broken)

    def decide(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Take each patient's next decision, if she has one; returns those whose doses it changes."""
        conduct, trial = self.trial.conduct, self.trial
        if conduct.dropout_response is None and not any(mine[rows].any() for mine in self.open):
            return np.empty(0, dtype=np.int64)
        seen, n = self.seen(rows), rows.size
        when, which = np.full(n, np.inf), np.full(n, -1)
        if conduct.dropout_response is not None:
            used = thresholds(trial.seed, "dropout", self.number[rows], 0, self.replicate)
            left = decisions.leaving(conduct.dropout, conduct.dropout_response, self.arms[rows], used, seen)
            when = np.maximum(left, self.since[rows])
        for k, rule in enumerate(conduct.rules):
            first = decisions.triggered(rule, self.parameters, seen, self.since[rows])
            first = np.where(self.open[k][rows], first, np.inf)
            which, when = np.where(first < when, k, which), np.minimum(first, when)
        decided = when < self.last[rows]
        leaves = decided & (which < 0)
        changed = np.zeros(n, dtype=bool)
        if leaves.any():
            gone = rows[leaves]
            self.last[gone] = when[leaves]
            until = np.full(self.number.size, np.inf)
            until[gone] = when[leaves]
            before = self.plan["given"].to_numpy(dtype=bool)
            doses.cut(self.plan, until, doses.LEFT)
            lost = self.plan["row"].to_numpy()[before & ~self.plan["given"].to_numpy(dtype=bool)]
            changed |= np.isin(rows, lost)
        for k, rule in enumerate(conduct.rules):
            mine = decided & (which == k)
            if not mine.any():
                continue
            who, month = rows[mine], when[mine]
            self.plan = _replaced(
                self.plan, rule, who, month, trial, self.agents, self.number, self.arms,
                self.people.covariates["weight"].to_numpy(dtype=float), self.replicate,
            )  # fmt: skip
            doses.cut(self.plan, np.where(self.last < trial.months, self.last, np.inf), doses.LEFT)
            self.open[k][who] = False
            self.since[who] = month
            self.stopped[who] = np.minimum(self.stopped[who], month)
            self.parts.append(happened(rule.event, who, month, rule.agent or ""))
            changed |= mine
        return rows[changed]

    def course(self) -> Course:
        """The end of it."""
        conduct, trial, last = self.trial.conduct, self.trial, self.last
        n = self.number.size
        latent = {name: self.latent[name][:, self.on_grid] for name in MEASURES}
        if conduct.fractures:
            found = fractures.happen(
                self.parameters, self.people.covariates, self.months, latent, trial.seed, self.replicate
            )
            self.parts += fractures.recorded(found, np.asarray(conduct.imaging), last)
        if conduct.hypocalcaemia:
            self.parts += hypocalcaemia.recorded(self.parameters, self.months, latent["CA"], last)
        replaced = np.full(n, np.inf)
        for part in self.parts:
            if part.event in (events.RESCUE, events.SWITCH):
                np.minimum.at(replaced, part.row, part.month)
        own = self.intent.stopped
        more = _had_more(self.plan, own)
        quits = np.flatnonzero((own < last) & (own < replaced) & more)
        self.parts.append(happened(events.STOPPED, quits, own[quits], self.intent.detail[quits]))
        self.parts += _ends(last, self.intent.died, float(trial.months))
        ended = np.where((self.stopped < last) & (more | np.isfinite(replaced)), self.stopped, np.inf)
        return Course(
            doses=doses.finished(self.plan, trial.infused),
            events=events.table(self.parts, self.number, self.arms),
            last=last,
            stopped=ended,
            kept=self.kept,
            latent=self.at_every_visit(),
        )


def _grid(trial: Trial, agents: Sequence[Agent]) -> Array:
    """Months at which everybody is looked at: planned visits, and those between them if events follow the course."""
    conduct, end = trial.conduct, float(trial.months)
    parts = [np.asarray(trial.visits.months, dtype=float)]
    if conduct.fractures or conduct.dropout_response:
        parts.append(np.array([*np.arange(0.0, end, STEP), end]))
        parts.append(np.array([start for start, _ in conduct.dropout_from]))
    if conduct.hypocalcaemia:
        parts.append(np.arange(0.0, end, 7.0 / DAYS_PER_MONTH))
        one_each = np.array([arm.name for arm in trial.arms])
        plan = doses.planned(trial, np.arange(one_each.size), one_each)
        dosed = np.unique(plan["planned_month"].to_numpy(dtype=float)[doses.at_visits(plan, agents)])
        parts.append((dosed[:, None] + np.array(AFTER_DOSE) / DAYS_PER_MONTH).reshape(-1))
    months = np.unique(np.concatenate(parts))
    return months[months <= end]


def _replaced(
    plan: pd.DataFrame,
    rule: Rule,
    rows: NDArray[np.int64],
    month: Array,
    trial: Trial,
    agents: Sequence[Agent],
    number: NDArray[np.int64],
    arms: np.ndarray,
    weight: Array,
    replicate: int,
) -> pd.DataFrame:
    """The plan after a rule, with what is taken at home taken as she takes such things."""
    known = len(plan)
    who = (number[rows], arms[rows])
    plan = decisions.replace_treatment(plan, rule, rows, month, *who, float(trial.months), weight[rows])
    added, _ = doses.at_home(plan.iloc[known:], trial, agents, number.size, replicate)
    return pd.concat([plan.iloc[:known], added], ignore_index=True) if len(added) else plan


def _had_more(plan: pd.DataFrame, stopped: Array) -> NDArray[np.bool_]:
    """Whether the arm of each patient had planned doses from the month of stopping on."""
    more = np.zeros(stopped.size, dtype=bool)
    row = plan["row"].to_numpy(dtype=np.int64)
    more[row[(plan["month"].to_numpy(dtype=float) >= stopped[row]) & ~plan["added"].to_numpy(dtype=bool)]] = True
    return more


def _ends(last: Array, died: Array, months: float) -> list[Happened]:
    """Everybody's first and last event: randomised, then completed, dropout or death."""
    everybody = np.arange(last.size)
    death = np.flatnonzero((died <= last) & (last < months))
    dropout = np.flatnonzero((died > last) & (last < months))
    stayed = np.flatnonzero(last >= months)
    return [
        happened(events.RANDOMISED, everybody, 0.0),
        happened(events.DEATH, death, last[death]),
        happened(events.DROPOUT, dropout, last[dropout], WITHDREW),
        happened(events.COMPLETED, stayed, last[stayed]),
    ]
