"""Bisphosphonates: bound where bone is turned over, buried by formation, set free again by resorption.

What reaches the blood is bound to bone or excreted within a day or two [1]_. Bone takes it up in proportion to its
turnover [2]_ and the kidney takes the rest, so that a dose given while turnover is low, as at the end of a denosumab
interval, binds less. On the active surface it makes osteoclasts die sooner; it leaves as the surface is covered by new
bone, and what is buried comes back when that bone is resorbed. Osteoclasts adapt over years (they grow in number and
size under long treatment [3]_): in FLEX, CTX returns from 24 to 60 % of baseline on unchanged alendronate. Amounts in
mg. The one-surface, one-depot form and the form of adaptation are our assumption.

Parameters read here, with unit and meaning:

    bp_rest      1     share of bisphosphonate loss from the surface that needs no bone formation
    t_bp_blood   day   half-life of bisphosphonate in blood before bone or urine has it
    bp_adapt     1     adaptation of osteoclasts: under a bisphosphonate, the rise of their death is divided by 1 +
                       bp_adapt times its long-term mean
    t_bp_adapt   day   half-life of that long-term mean
    F_k          1     share of a dose that reaches the blood
    potency_k    1/mg  relative rise of osteoclast death per mg on the active surface
    max_kill_k   1     relative rise of osteoclast death that no amount exceeds
    f_bone_k     1     share of what reaches the blood that binds to bone at normal turnover
    t_surface_k  day   half-life on the active surface at normal turnover
    t_deep_k     day   half-life of buried drug at normal turnover
    f_deep_k     1     share of what leaves the surface that is buried, not lost

References
----------
.. [1] Zometa label: 39 % of a dose in urine within 24 h; Khan SA et al. J Bone Miner Res 1997;12:1700-7 (alendronate).
.. [2] Fogelman I et al. J Nucl Med 1978;19:270-5: whole-body retention of diphosphonate rises with turnover (recalled).
.. [3] Weinstein RS et al. N Engl J Med 2009;360:53-62. doi:10.1056/NEJMoa0802633 (recalled)
"""

from __future__ import annotations

from math import log

from ranklsim.pkpd.biology.values import Slots, Values

LN2 = log(2.0)


def states(slots: Slots) -> dict[str, tuple[str, str]]:
    """Unit and meaning of each state.

    Parameters
    ----------
    slots : Slots
        Number of agents of each kind.
    """
    named = {}
    for k in range(1, slots.bisphosphonates + 1):
        named[f"blood_{k}"] = ("mg", "bisphosphonate in blood")
        named[f"surface_{k}"] = ("mg", "bisphosphonate on active bone surfaces")
        named[f"buried_{k}"] = ("mg", "bisphosphonate buried in bone")
    if slots.bisphosphonates:
        named["resistance"] = ("1", "adaptation of osteoclasts to bisphosphonates")
    return named


def dose(agent: Values, amount_mg: float, route: str) -> tuple[str, float]:
    """State that a dose enters and how much it adds (mg).

    Parameters
    ----------
    agent : Values
        Fields of the agent, and the patient's constants of its slot.
    amount_mg : float
        Dose, mg.
    route : str
        How it is given, such as SC or IV.
    """
    return "blood", agent.F * amount_mg


def _attack(x: Values, p: Values, slots: Slots) -> float:
    """Rise of osteoclast death before adaptation: by `potency` a mg on the surface, by `max_kill` at most."""
    drugs = range(1, slots.bisphosphonates + 1)
    linear = {k: p[f"potency_{k}"] * x[f"surface_{k}"] for k in drugs}
    return sum(linear[k] / (1 + linear[k] / p[f"max_kill_{k}"]) for k in drugs)


def kill(x: Values, p: Values, slots: Slots) -> float:
    """Osteoclast death over normal, 1 without drug.

    Parameters
    ----------
    x, p : Values
        States and the patient's constants.
    slots : Slots
        Number of agents of each kind.
    """
    if not slots.bisphosphonates:
        return 1
    return 1 + _attack(x, p, slots) / (1 + p.bp_adapt * x.resistance)


def rates(x: Values, p: Values, osteoclasts: float, formation: float, slots: Slots) -> dict[str, float]:
    """Time derivatives of `states` (per day), with whole-body osteoclasts and bone formation over normal.

    Parameters
    ----------
    x, p : Values
        States and the patient's constants.
    osteoclasts, formation : float
        Whole-body osteoclasts and bone formation, over untreated.
    slots : Slots
        Number of agents of each kind.
    """
    change = {}
    for k in range(1, slots.bisphosphonates + 1):
        cleared = LN2 / p.t_bp_blood * x[f"blood_{k}"]
        uptake = p[f"f_bone_{k}"] * formation  # against renal loss, which does not depend on turnover
        covered = LN2 / p[f"t_surface_{k}"] * (p.bp_rest + (1 - p.bp_rest) * formation) * x[f"surface_{k}"]
        freed = LN2 / p[f"t_deep_{k}"] * osteoclasts * x[f"buried_{k}"]
        change[f"blood_{k}"] = -cleared
        change[f"surface_{k}"] = cleared * uptake / (uptake + 1 - p[f"f_bone_{k}"]) + freed - covered
        change[f"buried_{k}"] = p[f"f_deep_{k}"] * covered - freed
    if slots.bisphosphonates:
        change["resistance"] = LN2 / p.t_bp_adapt * (_attack(x, p, slots) - x.resistance)
    return change
