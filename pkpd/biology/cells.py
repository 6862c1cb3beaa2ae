"""Bone cells: cells that wait, sites that resorb, osteoclasts, and the osteoblasts that follow them.

The rebound is in the states. Cells that wait for RANKL (RANK+ precursors, osteomorphs, primed sites) are used up only
by the signal, so they gather while it is blocked [1]_ [2]_; and while formation is low the RANKL/OPG balance drifts
[3]_. Denosumab data can't tell these two stores apart, so the model holds a mixture of them (`mix`, 1 to 0).
Osteoclasts live 11 days, under one day without RANKL [4]_. Osteoblasts follow resorption through a matrix-borne
signal in three steps. Everything is 1 at the untreated start, and stands once for trabecular (T) and once for
cortical (C) bone, which hear different sources of RANKL.

Parameters read here, with unit and meaning:

    mix   1      share of the rebound store that is waiting cells (1: waiting cells only; 0: RANKL/OPG drift only)
    n     1      steepness of site activation in the signal
    Ka    1      signal (to the power n) times waiting cells at which activation of sites is half of its most
    r     1      share of the resting loss of waiting cells that is activation
    tW    day    time scale of the waiting pool
    f_om  1      share of the waiting pool's inflow that is osteomorphs (osteoclast fission)
    gU    1      rise of the RANKL/OPG drift when formation stops
    tU    day    time scale of the RANKL/OPG drift
    tQ    day    life of an active resorption site
    kd    1/day  death rate of osteoclasts at rest
    Kd    1      signal at which osteoclast survival is half saturated
    dm    1      lowest death rate of osteoclasts over that at rest
    Kg    1      signal at which osteoclast formation from sites is half saturated
    tc    day    each of three steps from resorption to formation

References
----------
.. [1] Mizoguchi T et al. J Cell Biol 2009;184:541-54. doi:10.1083/jcb.200806139
.. [2] McDonald MM et al. Cell 2021;184:1330-47. doi:10.1016/j.cell.2021.02.002
.. [3] Fu Q et al. JCI Insight 2023;8:e167790. doi:10.1172/jci.insight.167790
.. [4] Manolagas SC. Endocr Rev 2000;21:115-37. doi:10.1210/edrv.21.2.0395 (life); the rest is our assumption, fitted
   to CTX.
"""

from __future__ import annotations

from ranklsim.pkpd.biology.ligand import COMPARTMENTS
from ranklsim.pkpd.biology.values import Values, at_least

LEAST_SIGNAL = 1e-9
"""Signal over untreated below which activation falls no further, so that its slope is finite where RANK is missing."""

STATES = {
    f"{name}_{c}": ("1", f"{meaning}, {'trabecular' if c == 'T' else 'cortical'}, over untreated")
    for c in COMPARTMENTS
    for name, meaning in {
        "waiting": "waiting cells (precursors, osteomorphs, primed sites)",
        "sites": "active resorption sites",
        "OC": "osteoclasts",
        "drift": "drift of the RANKL/OPG balance",
        "matrix1": "coupling signal, first step",
        "matrix2": "coupling signal, second step",
        "OB": "osteoblasts",
    }.items()
}


def whole_body(x: Values, p: Values, name: str) -> float:
    """Average of a compartment state, weighted by share of whole-body turnover.

    Parameters
    ----------
    x, p : Values
        States and the patient's constants.
    name : str
        State without its compartment, such as OC.
    """
    return p.turn_T * x[f"{name}_T"] + (1 - p.turn_T) * x[f"{name}_C"]


def rates(x: Values, p: Values, c: str, activation: float, survival: float, kill: float) -> dict[str, float]:
    """Time derivatives (1/day) in compartment `c`.

    Parameters
    ----------
    x, p : Values
        States and the patient's constants.
    c : str
        Compartment, ``T`` or ``C``.
    activation, survival : float
        Signal at RANK (1 untreated) that activates waiting cells, and that makes and keeps osteoclasts.
    kill : float
        Osteoclast death over normal (bisphosphonates).
    """
    waiting, sites, OC, OB = x[f"waiting_{c}"], x[f"sites_{c}"], x[f"OC_{c}"], x[f"OB_{c}"]
    A = at_least(activation, LEAST_SIGNAL) ** p.n
    inflow = 1 - p.f_om + p.f_om * OC  # osteomorphs come from osteoclasts by fission
    called = A * (1 - p.mix + p.mix * waiting)  # exact where few cells wait
    opened = called * (1 + p.Ka) / (called + p.Ka)  # ASSUMED: bounded, since only so many surfaces can be activated
    made = survival * (1 + p.Kg) / (survival + p.Kg)
    death = p.kd * (p.dm + (1 - p.dm) * (1 + p.Kd) / (survival + p.Kd)) * kill
    return {
        f"waiting_{c}": (inflow - waiting * (1 - p.r + p.r * A)) / p.tW,
        f"sites_{c}": (opened - sites) / p.tQ,
        f"OC_{c}": p.kd * made * sites - death * OC,
        f"drift_{c}": ((1 + p.gU) ** (1 - OB) - x[f"drift_{c}"]) / p.tU,  # positive however much bone is formed
        f"matrix1_{c}": (OC - x[f"matrix1_{c}"]) / p.tc,
        f"matrix2_{c}": (x[f"matrix1_{c}"] - x[f"matrix2_{c}"]) / p.tc,
        f"OB_{c}": (x[f"matrix2_{c}"] - OB) / p.tc,
    }


def start() -> dict[str, float]:
    """Untreated: all cells at 1."""
    return dict.fromkeys(STATES, 1.0)
