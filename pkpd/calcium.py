"""Serum calcium and PTH: what stops when resorption stops, and how gut and kidney make up for it.

Resorption gives calcium, mineralising osteoid takes it, gut and kidney balance at rest. When a drug stops resorption,
formation goes on for weeks, calcium falls to a nadir at about ten days [1]_, PTH rises steeply, the kidney spares
calcium and the gut, through calcitriol, takes up more; poor renal function or low vitamin D weakens that last step
and deepens the nadir [2]_. All relative to the patient's own start. The lumped form is our assumption.

References
----------
.. [1] Prolia (denosumab) US prescribing information, BLA125320 (nadir about day 10).
.. [2] Block GA et al. J Bone Miner Res 2012;27:1471-9. doi:10.1002/jbmr.1613
"""

from __future__ import annotations

from typing import Any

from ranklsim.pkpd.values import Values

STATES = {
    "calcium": ("1", "serum calcium over the patient's start"),
    "calcitriol": ("1", "calcitriol effect on gut absorption over the patient's start"),
}


def individual(p: Values) -> dict[str, Any]:
    """How well calcitriol answers PTH in this patient (1 at the reference eGFR and 25-OH-D)."""
    return {"answer": (p.EGFR / p.EGFR_ref) ** p.e_gut_EGFR * (p.VITD / p.VITD_ref) ** p.e_gut_VITD}


def PTH(x: Values, p: Values) -> Any:
    """PTH over the patient's start: steep in calcium."""
    return x.calcium**-p.h_PTH


def rates(x: Values, p: Values, resorption: Any, mineralisation: Any) -> dict[str, Any]:
    """Time derivatives (1/day), with whole-body resorption and mineralisation of osteoid over untreated."""
    pth = PTH(x, p)
    from_bone = p.J_bone * (resorption - mineralisation)
    from_gut = p.J_gut * x.calcitriol
    to_urine = p.J_gut * x.calcium**p.s_ren * pth**-p.e_ren
    return {
        "calcium": (from_bone + from_gut - to_urine) / p.CAP,
        "calcitriol": (1 + p.answer * (pth**p.e_gut - 1) - x.calcitriol) / p.t_gut,
    }


def start() -> dict[str, float]:
    """Untreated: 1."""
    return dict.fromkeys(STATES, 1.0)
