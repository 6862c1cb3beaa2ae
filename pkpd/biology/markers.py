"""Bone turnover markers in serum.

CTX and P1NP last hours in serum, short against bone, so they follow osteoclasts and formation at once; BSAP trails
formation by late osteoblasts and its own life of 1-2 days [1]_, and part of it is made by the lining cells of surfaces
at rest, which gather where little bone is formed; TRAP5b trails osteoclasts by a day. Each keeps a part
that does not come from remodelling bone (`c0`, `p0`, `b0`, `t0`), which also stands for the assay's floor. Assay
error is added where a trial measures, not here.

Parameters read here, with unit and meaning:

    c0       1      serum CTX that does not follow osteoclasts
    p0       1      serum P1NP that does not follow osteoblasts
    b0       1      serum BSAP that does not follow bone formation
    t0       1      serum TRAP5b that does not follow osteoclasts
    gL       1      rise of BSAP from lining cells when formation stops
    tL       day    time scale of lining cells
    tB       day    late osteoblasts behind BSAP
    tT       day    serum half-life of TRAP5b
    CTX0     ng/mL  serum CTX at the start
    P1NP0    ng/mL  serum P1NP at the start
    BSAP0    ng/mL  serum BSAP at the start
    TRAP5B0  U/L    serum TRAP5b at the start

References
----------
.. [1] Crofton (1987) via kinetics of serum bone alkaline phosphatase; form and floors are our assumption, fitted.
   Lining cells: ours too, since BSAP rises from 34 to 71 % of baseline between months 9 and 48 of denosumab 60 mg, and
   from 30 to 50 % under 210 mg with CTX at its floor, while P1NP stays (PHASE2_20010223; DEFEND, DATA).
"""

from __future__ import annotations

from typing import Any

from ranklsim.pkpd.biology.bisphosphonates import LN2
from ranklsim.pkpd.biology.values import Values

STATES = {
    "late_OB": ("1", "late osteoblasts behind BSAP, over untreated"),
    "lining": ("1", "lining cells that make BSAP, over untreated"),
    "TRAP": ("1", "osteoclast-derived serum TRAP5b, over untreated"),
}


def rates(x: Values, p: Values, osteoclasts: Any, formation: Any) -> dict[str, Any]:
    """Time derivatives (1/day), with whole-body osteoclasts and formation over untreated.

    Parameters
    ----------
    x, p : Values
        States and the patient's constants.
    osteoclasts, formation : float
        Whole-body osteoclasts and bone formation, over untreated.
    """
    return {
        "late_OB": (formation - x.late_OB) / p.tB,
        "lining": (lining_cells(p, formation) - x.lining) / p.tL,
        "TRAP": (osteoclasts - x.TRAP) * LN2 / p.tT,
    }


def lining_cells(p: Values, formation: Any) -> Any:
    """Lining cells that belong to this much formation: 1 at rest, never negative however much bone is formed.

    Parameters
    ----------
    p : Values
        The patient's constants.
    formation : float
        Whole-body bone formation over untreated.
    """
    return (1 + p.gL) / (1 + p.gL * formation)


def at_rest(p: Values, turnover: Any) -> dict[str, Any]:
    """States where whole-body turnover (over normal) has long been this.

    Parameters
    ----------
    p : Values
        The patient's constants.
    turnover : float
        Whole-body turnover over normal.
    """
    return {"late_OB": turnover, "lining": lining_cells(p, turnover), "TRAP": turnover}


def start() -> dict[str, float]:
    """Untreated: 1."""
    return dict.fromkeys(STATES, 1.0)


def serum(x: Values, p: Values, osteoclasts: Any, formation: Any) -> dict[str, Any]:
    """CTX, P1NP, BSAP (ng/mL) and TRAP5b (U/L) as the serum truly holds them.

    Parameters
    ----------
    x, p : Values
        States and the patient's constants.
    osteoclasts, formation : float
        Whole-body osteoclasts and bone formation, over untreated.
    """
    return {
        "CTX": p.CTX0 * (p.c0 + (1 - p.c0) * osteoclasts),
        "P1NP": p.P1NP0 * (p.p0 + (1 - p.p0) * formation),
        "BSAP": p.BSAP0 * (p.b0 * x.lining + (1 - p.b0) * x.late_OB),
        "TRAP5B": p.TRAP5B0 * (p.t0 + (1 - p.t0) * x.TRAP),
    }
