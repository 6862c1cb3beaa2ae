"""Arms of a trial in the report: names, colours and markers, dosing months, and the basis of each arm's result.

Colours follow the agent, so that an agent looks alike in every report; where several arms share an agent
(dose ranging) they become shades of its colour, and marker and dash differ as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, TypeAlias

from ranklsim.pkpd.units import DAYS_PER_MONTH

if TYPE_CHECKING:  # a painter draws arms without reading trials
    from ranklsim.cohorts.protocol.design import Arm
    from ranklsim.pkpd.agents import Agent
    from ranklsim.pkpd.dosing import Dose, Regimen

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
Dash: TypeAlias = "str | tuple[float, tuple[float, ...]]"
DASHES: tuple[Dash, ...] = ("-", (0, (6, 2)), (0, (2, 1.4)), (0, (7, 2, 1.5, 2)), (0, (4, 1, 1, 1, 1, 1)))

CALIBRATED, LITERATURE, PREDICTED = "calibrated", "set from literature", "predicted"
BASIS_MEANING = {
    CALIBRATED: "the model was fitted to, or compared with, published trials of this agent",
    LITERATURE: "the agent's effect was set from published results, not fitted jointly with the model",
    PREDICTED: "no human data exist for this kind of agent: the result follows from the model and its assumptions",
}


@dataclass(frozen=True)
class Course:
    """One regimen of an arm in months: `start`, last dose `last`, end of the last interval `end`.

    `color` is the arm's own where the regimen's agent gives the arm its colour, else that of the agent.
    """

    agent: str
    label: str
    kind: str
    dose: Dose
    start: float
    last: float
    end: float
    every: float
    months: tuple[float, ...]
    color: str
    infusion_h: float = 0.0
    steady: bool = False

    @property
    def words(self) -> str:
        """The regimen as a protocol would put it, such as ``60 mg Q6M x 6``."""
        amount = "" if self.kind == "none" else f"{self.dose.words} "
        amount += f"over {self.infusion_h:.3g} h " if self.infusion_h else ""
        if self.steady:
            return f"{self.label} {amount}{interval_words(self.every)} × {len(self.months)}, from a steady state on"
        count = len(self.months)
        if count == 1:
            return f"{self.label} {amount}once".replace("  ", " ")
        return f"{self.label} {amount}{interval_words(self.every)} × {count}"


@dataclass(frozen=True)
class ArmView:
    """An arm as every figure and table of one report shows it."""

    name: str
    label: str
    color: str
    marker: str
    dash: Dash
    basis: str
    courses: tuple[Course, ...]
    last_dose: float
    end: float
    treated: bool
    own: int = 0
    """How many different courses its patients are given, each her own; 0 where all are given the same."""

    @property
    def words(self) -> str:
        """All its regimens in words."""
        parts: list[str] = []
        for (label, dose), alike in groupby(self.courses, key=lambda course: (course.label, course.dose)):
            some = list(alike)
            single = len(some) > 1 and all(len(course.months) == 1 for course in some)
            when = ", ".join(f"{course.start:.3g}" for course in some)
            parts += [f"{label} {dose.words} at months {when}"] if single else [course.words for course in some]
        said = "; ".join(parts) or "nothing"
        return f"doses of single patients, {self.own} courses; the typical patient: {said}" if self.own else said


def interval_words(months: float) -> str:
    """A dosing interval in a trial team's words: daily, QW, Q4W, Q6M.

    Parameters
    ----------
    months : float
        Length of the interval; 1 month is 30.4375 days.
    """
    days = months * DAYS_PER_MONTH
    if abs(months - round(months)) < 1e-6 and months > 0.99:
        return f"Q{months:.0f}M"
    if abs(days - 1) < 1e-6:
        return "daily"
    if abs(days / 7 - round(days / 7)) < 1e-6:
        return "QW" if round(days / 7) == 1 else f"Q{days / 7:.0f}W"
    return f"every {days:.4g} days"


def _basis(agents: Sequence[Agent]) -> str:
    if any(agent.hypothetical for agent in agents):
        return PREDICTED
    if all(agent.kind in ("none", "binder") for agent in agents):
        return CALIBRATED
    return LITERATURE


def _shades(color: str, count: int) -> list[str]:
    if count == 1:
        return [color]
    from matplotlib.colors import to_hex, to_rgb  # slow to import, and needed only here

    out = []
    for k in range(count):
        x = 1 - 2 * k / (count - 1)  # 1 light .. -1 dark
        target, share = ((1, 1, 1), 0.5 * x) if x > 0 else ((0, 0, 0), -0.45 * x)
        out.append(to_hex([(1 - share) * c + share * t for c, t in zip(to_rgb(color), target, strict=True)]))
    return out


def _course(regimen: Regimen, agent: Agent, look: str, color: str) -> Course:
    months = tuple(round(float(day) / DAYS_PER_MONTH, 6) for day in regimen.times_days())
    return Course(
        agent=regimen.agent,
        label=agent.label,
        kind=agent.kind,
        dose=regimen.dose,
        start=months[0],
        last=months[-1],
        end=round(float(regimen.end_day) / DAYS_PER_MONTH, 6),
        every=float(regimen.every_days) / DAYS_PER_MONTH,
        months=months,
        color=color if agent.color == look else agent.color,
        infusion_h=24 * regimen.infusion_days,
        steady=regimen.steady,
    )


def view_arms(arms: Sequence[Arm], agents: Mapping[str, Agent]) -> list[ArmView]:
    """Arms of a trial with looks and months.

    Parameters
    ----------
    arms : sequence of Arm
    agents : mapping of str to Agent
        Every agent that a regimen names.

    Returns
    -------
    list of ArmView
        In the order of the trial. `end` is the month at which treatment ends (`durability.ends_of_treatment`); for an
        arm that is given nothing, that of the others.
    """
    from ranklsim.cohorts.protocol.design import ends_of_treatment

    ends = ends_of_treatment(arms, agents)
    looks: list[str] = []
    for arm in arms:
        used = [agents[r.agent] for r in arm.planned]
        active = [agent for agent in used if agent.kind != "none"] or used
        looks.append(active[-1].color if active else "#4D4D4D")
    shades = {color: iter(_shades(color, looks.count(color))) for color in set(looks)}
    views = []
    for k, arm in enumerate(arms):
        used = [agents[r.agent] for r in arm.planned]
        color = next(shades[looks[k]])
        courses = [_course(regimen, agents[regimen.agent], looks[k], color) for regimen in arm.regimens]
        treated = any(agent.kind != "none" for agent in used)
        decisive = [c for c in courses if c.kind != "none"] or courses
        last = max((c.last for c in decisive), default=0.0)
        views.append(
            ArmView(
                name=arm.name,
                label=arm.label or arm.name,
                color=color,
                marker=MARKERS[k % len(MARKERS)],
                dash=DASHES[k % len(DASHES)],
                basis=_basis(used),
                courses=tuple(courses),
                last_dose=last,
                end=ends[arm.name],
                treated=treated,
                own=0 if arm.courses is None else len(arm.courses.doses),
            )
        )
    latest = max((view.end for view in views), default=0.0)
    return [view if view.courses else replace(view, end=latest) for view in views]


def shifted(arm: ArmView, months: float) -> ArmView:
    """The arm as seen from a clock that starts `months` later.

    Parameters
    ----------
    arm : ArmView
        The arm on the clock of the trial.
    months : float
        Start of the new clock, in months since randomisation.
    """
    courses = tuple(
        replace(
            c,
            start=c.start - months,
            last=c.last - months,
            end=c.end - months,
            months=tuple(m - months for m in c.months),
        )
        for c in arm.courses
    )
    return replace(arm, courses=courses, last_dose=arm.last_dose - months, end=arm.end - months)
