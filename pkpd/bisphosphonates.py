"""Bisphosphonates: taken up by bone surfaces, buried by formation, set free again by resorption.

Plasma drug is bound to bone or excreted within a day [1]_, so a dose goes straight to the active surface. There it
makes osteoclasts die sooner; it leaves as the surface is covered by new bone, and what is buried comes back when that
bone is resorbed. Amounts in mg. The one-surface, one-depot form and its turnover dependence are our assumption.

References
----------
.. [1] Zometa label: 39 % of a dose in urine within 24 h; Khan SA et al. J Bone Miner Res 1997;12:1700-7 (alendronate).
"""

from __future__ import annotations

from math import log

from ranklsim.pkpd.values import Slots, Values

LN2 = log(2.0)


def states(slots: Slots) -> dict[str, tuple[str, str]]:
    """Unit and meaning of each state."""
    named = {}
    for k in range(1, slots.bisphosphonates + 1):
        named[f"surface_{k}"] = ("mg", "bisphosphonate on active bone surfaces")
        named[f"buried_{k}"] = ("mg", "bisphosphonate buried in bone")
    return named


def dose(agent: Values, amount_mg: float, route: str) -> tuple[str, float]:
    """State that a dose enters and how much it adds (mg on bone)."""
    return "surface", agent.F * agent.f_bone * amount_mg


def kill(x: Values, p: Values, slots: Slots) -> float:
    """Osteoclast death over normal, 1 without drug: rises by `potency` a mg on the surface, by `max_kill` at most."""
    added = 0
    for k in range(1, slots.bisphosphonates + 1):
        linear = p[f"potency_{k}"] * x[f"surface_{k}"]
        added = added + linear / (1 + linear / p[f"max_kill_{k}"])
    return 1 + added


def rates(x: Values, p: Values, osteoclasts: float, osteoblasts: float, slots: Slots) -> dict[str, float]:
    """Time derivatives of `states` (mg/day), with whole-body osteoclasts and osteoblasts over normal."""
    change = {}
    for k in range(1, slots.bisphosphonates + 1):
        covered = LN2 / p[f"t_surface_{k}"] * (p.bp_rest + (1 - p.bp_rest) * osteoblasts) * x[f"surface_{k}"]
        freed = LN2 / p[f"t_deep_{k}"] * osteoclasts * x[f"buried_{k}"]
        change[f"surface_{k}"] = freed - covered
        change[f"buried_{k}"] = p[f"f_deep_{k}"] * covered - freed
    return change
