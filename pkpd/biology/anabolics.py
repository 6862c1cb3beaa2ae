"""Bone-forming agents (teriparatide, anti-sclerostin antibodies) as an effect level that bone adapts to.

A dose adds to an effect level that decays over days; the reference regimen holds it near 1. The effect saturates in the
level (`saturation`), and osteoblasts are recruited to it with a lag (`t_rise`). They lay down more bone at remodelling
sites than was resorbed, and form bone on surfaces at rest without resorption before it [1]_ [2]_. Both are on
trabecular bone, and what they form is what P1NP sees. As surfaces and precursors are used up and bone answers with
inhibitors, all trabecular formation wears down (`tolerance`): it recovers slowly, so formation falls below normal after
the last dose, as it does after an antibody against sclerostin [4]_. What an agent adds fades as trabecular volume rises
(`Model`). Two effects are on resorption. The signal at RANK changes at once, as when the osteoblast lineage makes more
OPG (`e_signal`). RANKL synthesis of osteocytes and osteoblasts [5]_ rises (PTH) or falls with the bone that is formed
but not without bound (`Kf`): resorption follows formation after a delay, the anabolic window, and does not where
denosumab keeps formation low [3]_. Our assumptions: the form of adaptation, that formation makes the RANKL, and that
cortical bone gains none.

Parameters read here, with unit and meaning:

    Kf             1     bone formation over normal at which an anabolic agent's effect on RANKL is half of its most
    e_rankl_k      1     change of ln RANKL synthesis per unit of effect at normal formation
    e_signal_k     1     change of ln signal at RANK per unit of effect, at once
    F_k            1     share of a dose that reaches the blood
    gain_k         1/mg  effect level added per mg that reaches the blood
    e_formation_k  1     bone laid down at trabecular remodelling sites, relative rise per unit of effect
    tolerance_k    1     trabecular formation is divided by 1 + tolerance x adaptation
    e_modelling_k  1     modelling-based trabecular formation over resting turnover per unit of effect
    saturation_k   1     the effect is level x (1 + saturation) / (1 + saturation x level)
    t_effect_k     day   half-life of the effect level
    t_rise_k       day   half-life with which osteoblasts are recruited
    t_tolerance_k  day   half-life with which adaptation nears what is recruited

References
----------
.. [1] Dempster DW et al. J Bone Miner Res 2018;33:298-306 (teriparatide: most at remodelling sites; recalled).
.. [2] Chavassieux P et al. J Bone Miner Res 2019;34:1597-608 (romosozumab: early modelling; recalled).
.. [3] Leder BZ et al. J Clin Endocrinol Metab 2014;99:1694-700. doi:10.1210/jc.2013-4440
.. [4] Recker RR et al. J Bone Miner Res 2015;30:216-24. doi:10.1002/jbmr.2351; its year off treatment: Recknor 2015.
.. [5] Xiong J et al. Bone 2014;66:146-54. doi:10.1016/j.bone.2014.06.006 (PTH acts through osteocyte RANKL; recalled)
"""

from __future__ import annotations

from math import e as E
from math import prod

from ranklsim.pkpd.biology.bisphosphonates import LN2
from ranklsim.pkpd.biology.values import Slots, Values


def states(slots: Slots) -> dict[str, tuple[str, str]]:
    """Unit and meaning of each state.

    Parameters
    ----------
    slots : Slots
        Number of agents of each kind.
    """
    named = {}
    for k in range(1, slots.anabolics + 1):
        named[f"level_{k}"] = ("1", "effect level of an anabolic agent")
        named[f"recruited_{k}"] = ("1", "osteoblasts that the agent has recruited, over those at effect 1")
        named[f"adaptation_{k}"] = ("1", "adaptation of formation to it")
    return named


def dose(agent: Values, amount_mg: float, route: str) -> tuple[str, float]:
    """State that a dose enters and how much it adds (effect level).

    Parameters
    ----------
    agent : Values
        Fields of the agent, and the patient's constants of its slot.
    amount_mg : float
        Dose, mg.
    route : str
        How it is given, such as SC or IV.
    """
    return "level", agent.F * agent.gain * amount_mg


def individual(p: Values, slots: Slots) -> dict[str, float]:
    """Constants of the effect: what RANKL synthesis and the signal at RANK are multiplied by for a unit of effect.

    Parameters
    ----------
    p : Values
        Parameters by symbol, and the agents' fields of each slot; floats or arrays over patients.
    slots : Slots
        Number of agents of each kind.
    """
    agents = range(1, slots.anabolics + 1)
    return {f"rankl_fold_{k}": E ** p[f"e_rankl_{k}"] for k in agents} | {
        f"signal_fold_{k}": E ** p[f"e_signal_{k}"] for k in agents
    }


def _effect(x: Values, p: Values, k: int) -> float:
    """Effect of agent `k`, 1 at level 1."""
    return x[f"level_{k}"] * (1 + p[f"saturation_{k}"]) / (1 + p[f"saturation_{k}"] * x[f"level_{k}"])


def _wear(x: Values, p: Values, k: int) -> float:
    """What trabecular formation is divided by."""
    return 1 + p[f"tolerance_{k}"] * x[f"adaptation_{k}"]


def matrix(x: Values, p: Values, room: float, slots: Slots) -> float:
    """Bone laid down by each trabecular osteoblast over normal; below 1 while what has worn down recovers.

    Parameters
    ----------
    x, p : Values
        States and the patient's constants.
    room : float
        What multiplies the additions of agents: they fade as trabecular volume rises.
    slots : Slots
        Number of agents of each kind.
    """
    agents = range(1, slots.anabolics + 1)
    return prod((1 + p[f"e_formation_{k}"] * x[f"recruited_{k}"] * room) / _wear(x, p, k) for k in agents)


def modelling(x: Values, p: Values, room: float, slots: Slots) -> float:
    """Modelling-based formation that the agent adds on trabecular bone, over resting turnover.

    Parameters
    ----------
    x, p, room, slots
        As of `matrix`.
    """
    agents = range(1, slots.anabolics + 1)
    return room * sum(p[f"e_modelling_{k}"] * x[f"recruited_{k}"] / _wear(x, p, k) for k in agents)


def synthesis(x: Values, p: Values, formation: float, slots: Slots) -> float:
    """RANKL synthesis of osteocytes and osteoblasts over normal, with whole-body bone formation over normal.

    Parameters
    ----------
    x, p : Values
        States and the patient's constants.
    formation : float
        Whole-body bone formation over untreated.
    slots : Slots
        Number of agents of each kind.
    """
    felt = (1 + p.Kf) * formation / (p.Kf + formation)  # ASSUMED: bounded, as only so many cells can make RANKL
    return prod(p[f"rankl_fold_{k}"] ** (x[f"recruited_{k}"] * felt) for k in range(1, slots.anabolics + 1))


def restraint(x: Values, p: Values, slots: Slots) -> float:
    """What the signal at RANK is multiplied by at once (OPG of the osteoblast lineage).

    Parameters
    ----------
    x, p : Values
        States and the patient's constants.
    slots : Slots
        Number of agents of each kind.
    """
    agents = range(1, slots.anabolics + 1)
    return prod(p[f"signal_fold_{k}"] ** _effect(x, p, k) for k in agents)


def rates(x: Values, p: Values, slots: Slots) -> dict[str, float]:
    """Time derivatives of `states` (1/day).

    Parameters
    ----------
    x, p : Values
        States and the patient's constants.
    slots : Slots
        Number of agents of each kind.
    """
    change = {}
    for k in range(1, slots.anabolics + 1):
        effect = _effect(x, p, k)
        change[f"level_{k}"] = -LN2 / p[f"t_effect_{k}"] * x[f"level_{k}"]
        change[f"recruited_{k}"] = LN2 / p[f"t_rise_{k}"] * (effect - x[f"recruited_{k}"])
        change[f"adaptation_{k}"] = LN2 / p[f"t_tolerance_{k}"] * (x[f"recruited_{k}"] - x[f"adaptation_{k}"])
    return change
