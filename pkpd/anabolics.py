"""Bone-forming agents (teriparatide, anti-sclerostin antibodies) as an effect level with tolerance.

Their plasma kinetics (an hour for teriparatide) are far faster than bone, so a dose adds to an effect level that
decays over days; the reference regimen holds it near 1. The effect wears down as tolerance builds. The form is our
assumption; it serves published sequences, not dose finding of these agents.
"""

from __future__ import annotations

from math import e as E

from ranklsim.pkpd.bisphosphonates import LN2
from ranklsim.pkpd.values import Slots, Values


def states(slots: Slots) -> dict[str, tuple[str, str]]:
    """Unit and meaning of each state."""
    named = {}
    for k in range(1, slots.anabolics + 1):
        named[f"level_{k}"] = ("1", "effect level of an anabolic agent")
        named[f"adaptation_{k}"] = ("1", "adaptation to it")
    return named


def dose(agent: Values, amount_mg: float, route: str) -> tuple[str, float]:
    """State that a dose enters and how much it adds (effect level)."""
    return "level", agent.F * agent.gain * amount_mg


def individual(p: Values, slots: Slots) -> dict[str, float]:
    """Constants of the effect: RANKL synthesis multiplies by a fixed fold a unit of effect."""
    return {f"rankl_fold_{k}": E ** p[f"e_rankl_{k}"] for k in range(1, slots.anabolics + 1)}


def _effect(x: Values, p: Values, k: int) -> float:
    return x[f"level_{k}"] / (1 + p[f"tolerance_{k}"] * x[f"adaptation_{k}"])


def matrix(x: Values, p: Values, slots: Slots) -> float:
    """Collagen laid down by each osteoblast over normal, as P1NP and BSAP see it.

    ASSUMED: markers see this and `modelling` adds lasting bone, each without the other. Were they one, P1NP at 2.8
    times normal would add 25 % of spine a year, and teriparatide could not add bone under denosumab with P1NP low.
    """
    return 1 + sum(p[f"e_formation_{k}"] * _effect(x, p, k) for k in range(1, slots.anabolics + 1))


def modelling(x: Values, p: Values, slots: Slots) -> float:
    """Modelling-based formation that the agent adds, over resting turnover."""
    return sum(p[f"e_modelling_{k}"] * _effect(x, p, k) for k in range(1, slots.anabolics + 1))


def synthesis(x: Values, p: Values, slots: Slots) -> float:
    """RANKL synthesis over normal."""
    fold = 1
    for k in range(1, slots.anabolics + 1):
        fold = fold * p[f"rankl_fold_{k}"] ** _effect(x, p, k)
    return fold


def rates(x: Values, p: Values, slots: Slots) -> dict[str, float]:
    """Time derivatives of `states` (1/day)."""
    change = {}
    for k in range(1, slots.anabolics + 1):
        change[f"level_{k}"] = -LN2 / p[f"t_effect_{k}"] * x[f"level_{k}"]
        change[f"adaptation_{k}"] = LN2 / p[f"t_tolerance_{k}"] * (x[f"level_{k}"] - x[f"adaptation_{k}"])
    return change
