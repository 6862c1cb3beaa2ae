"""Bone-forming agents (teriparatide, anti-sclerostin antibodies) as an effect level that bone adapts to.

Their plasma kinetics (an hour for teriparatide) are far faster than bone, so a dose adds to an effect level that decays
over days; the reference regimen holds it near 1. Osteoblasts at remodelling sites lay down more bone than was resorbed,
and surfaces at rest form bone without resorption before it [1]_ [2]_. Both are on trabecular bone and what they form
is what P1NP sees: with the turnover of the skeleton model, P1NP of 1.5 to 2.5 times normal and the gain at the spine
agree. Formation wears down as its surfaces and precursors are used up (`tolerance`), and fades as
trabecular volume rises (`Model`). RANKL is raised (PTH) or lowered (anti-sclerostin) in the osteoblast lineage, with
the bone that it forms but not without bound (`Kf`): resorption follows formation after a delay, the anabolic window,
and does not where denosumab keeps formation low [3]_. Our assumptions: the form of adaptation, that formation makes the
RANKL, and that cortical bone gains none; it serves published sequences, not dose finding of these agents.

Parameters read here, with unit and meaning:

    Kf             1     bone formation over normal at which an anabolic agent's effect on RANKL is half of its most
    e_rankl_k      1     change of ln RANKL synthesis per effect level at normal formation
    F_k            1     share of a dose that reaches the blood
    gain_k         1/mg  effect level added per mg that reaches the blood
    e_formation_k  1     bone laid down at trabecular remodelling sites, relative rise per effect level
    tolerance_k    1     effects on formation are divided by 1 + tolerance x adaptation, which nears the level with
                         t_tolerance
    e_modelling_k  1     modelling-based trabecular formation over resting turnover per effect level
    t_effect_k     day   half-life of the effect level
    t_tolerance_k  day   half-life with which adaptation nears the effect level

References
----------
.. [1] Dempster DW et al. J Bone Miner Res 2018;33:298-306 (teriparatide: most at remodelling sites; recalled).
.. [2] Chavassieux P et al. J Bone Miner Res 2019;34:1597-608 (romosozumab: early modelling; recalled).
.. [3] Leder BZ et al. J Clin Endocrinol Metab 2014;99:1694-700. doi:10.1210/jc.2013-4440
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
    """Constants of the effect: RANKL synthesis multiplies by a fixed fold a unit of effect.

    Parameters
    ----------
    p : Values
        Parameters by symbol, and the agents' fields of each slot; floats or arrays over patients.
    slots : Slots
        Number of agents of each kind.
    """
    return {f"rankl_fold_{k}": E ** p[f"e_rankl_{k}"] for k in range(1, slots.anabolics + 1)}


def _effect(x: Values, p: Values, k: int) -> float:
    return x[f"level_{k}"] / (1 + p[f"tolerance_{k}"] * x[f"adaptation_{k}"])


def matrix(x: Values, p: Values, slots: Slots) -> float:
    """Bone laid down by each trabecular osteoblast over normal.

    Parameters
    ----------
    x, p : Values
        States and the patient's constants.
    slots : Slots
        Number of agents of each kind.
    """
    return 1 + sum(p[f"e_formation_{k}"] * _effect(x, p, k) for k in range(1, slots.anabolics + 1))


def modelling(x: Values, p: Values, slots: Slots) -> float:
    """Modelling-based formation that the agent adds on trabecular bone, over resting turnover.

    Parameters
    ----------
    x, p : Values
        States and the patient's constants.
    slots : Slots
        Number of agents of each kind.
    """
    return sum(p[f"e_modelling_{k}"] * _effect(x, p, k) for k in range(1, slots.anabolics + 1))


def synthesis(x: Values, p: Values, formation: float, slots: Slots) -> float:
    """RANKL synthesis over normal, with whole-body bone formation over normal.

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
    return prod(p[f"rankl_fold_{k}"] ** (x[f"level_{k}"] * felt) for k in range(1, slots.anabolics + 1))


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
        change[f"level_{k}"] = -LN2 / p[f"t_effect_{k}"] * x[f"level_{k}"]
        change[f"adaptation_{k}"] = LN2 / p[f"t_tolerance_{k}"] * (x[f"level_{k}"] - x[f"adaptation_{k}"])
    return change
