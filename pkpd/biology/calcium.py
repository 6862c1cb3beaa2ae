"""Serum calcium and PTH: what stops when resorption stops, and how gut and kidney make up for it.

Resorption gives calcium, mineralising osteoid takes it, gut and kidney balance at rest. When a drug stops resorption,
formation goes on for weeks, calcium falls to a nadir at about ten days [1]_, PTH rises steeply, the kidney spares
calcium and the gut, through calcitriol, takes up more. Poor renal function deepens the nadir [2]_ and makes it later:
calcitriol answers less, and little passes gut and kidney at rest [3]_, so that there is little to spare. Low vitamin D
weakens the answer, too. All relative to the patient's own start. The lumped form is our assumption.

Trials give calcium and vitamin D to every arm. Where they are new to a patient they lower bone turnover: on placebo,
CTX and P1NP fall by a tenth. That effect on the signal at RANK is ours, fitted to the markers of placebo arms.

Parameters read here, with unit and meaning:

    EGFR         mL/min/1.73m2  estimated glomerular filtration rate
    VITD         ng/mL          serum 25-OH vitamin D
    SUPP         1              starts calcium and vitamin D on day 0 (0 no or 1 yes)
    e_sup        1              fall of the signal at RANK under calcium and vitamin D
    t_sup        day            time scale of that fall
    J_bone       mmol/day       calcium moved by resorption and by formation at rest
    J_gut        mmol/day       calcium absorbed and excreted at rest
    CAP          mmol           rapidly exchangeable calcium
    h_PTH        1              steepness of PTH against serum calcium
    e_ren        1              exponent of PTH on renal calcium loss
    s_ren        1              exponent of serum calcium on renal calcium loss
    e_gut        1              exponent of PTH on calcitriol and so on absorption
    t_gut        day            time scale of the calcitriol response
    EGFR_ref     mL/min/1.73m2  eGFR at which calcitriol answers PTH as typical
    VITD_ref     ng/mL          25-OH-D at which calcitriol answers PTH as typical
    e_gut_EGFR   1              exponent of eGFR (over 68) on the calcitriol response
    e_flux_EGFR  1              exponent of eGFR (over 68) on calcium absorbed and excreted at rest
    e_gut_VITD   1              exponent of 25-OH-D (over 23 ng/mL) on the calcitriol response

References
----------
.. [1] Prolia (denosumab) US prescribing information, BLA125320 (nadir about day 10).
.. [2] Block GA et al. J Bone Miner Res 2012;27:1471-9. doi:10.1002/jbmr.1613
.. [3] Liu J et al. J Clin Endocrinol Metab 2022;107:e281-92. doi:10.1210/clinem/dgab574
"""

from __future__ import annotations

from typing import Any

from ranklsim.pkpd.biology.values import Values

STATES = {
    "calcium": ("1", "serum calcium over the patient's start"),
    "calcitriol": ("1", "calcitriol effect on gut absorption over the patient's start"),
    "supplement": ("1", "calcium and vitamin D that have become effective, 0 to 1"),
}


def individual(p: Values) -> dict[str, Any]:
    """How well calcitriol answers PTH (1 at the reference eGFR and 25-OH-D); what passes gut and kidney, mmol/day.

    Parameters
    ----------
    p : Values
        Parameters by symbol, and the agents' fields of each slot; floats or arrays over patients.
    """
    function = p.EGFR / p.EGFR_ref
    return {
        "answer": function**p.e_gut_EGFR * (p.VITD / p.VITD_ref) ** p.e_gut_VITD,
        "passing": p.J_gut * function**p.e_flux_EGFR,
    }


def relative_PTH(x: Values, p: Values) -> Any:
    """PTH over the patient's start: steep in calcium.

    Parameters
    ----------
    x, p : Values
        States and the patient's constants.
    """
    return x.calcium**-p.h_PTH


def steepness(p: Values) -> dict[str, Any]:
    """How many times the relative error of a state is felt where the state is read, for an integrator.

    Parameters
    ----------
    p : Values
        The patient's constants.
    """
    return {"calcium": 2 * p.h_PTH * (1 + p.e_gut)}  # twice, as values between steps are less exact than steps


def rates(x: Values, p: Values, resorption: Any, mineralisation: Any) -> dict[str, Any]:
    """Time derivatives (1/day), with whole-body resorption and mineralisation of osteoid over untreated.

    Parameters
    ----------
    x, p : Values
        States and the patient's constants.
    resorption, mineralisation : float
        Whole-body resorption, and mineralisation of osteoid, over untreated.
    """
    pth = relative_PTH(x, p)
    from_bone = p.J_bone * (resorption - mineralisation)
    from_gut = p.passing * x.calcitriol
    to_urine = p.passing * x.calcium**p.s_ren * pth**-p.e_ren
    return {
        "calcium": (from_bone + from_gut - to_urine) / p.CAP,
        "calcitriol": (1 + p.answer * (pth**p.e_gut - 1) - x.calcitriol) / p.t_gut,
        "supplement": (p.SUPP - x.supplement) / p.t_sup,
    }


def start() -> dict[str, float]:
    """Untreated: 1, and no supplements yet."""
    return dict.fromkeys(STATES, 1.0) | {"supplement": 0.0}


def spared(x: Values, p: Values) -> Any:
    """Signal at RANK over that without calcium and vitamin D.

    Parameters
    ----------
    x, p : Values
        States and the patient's constants.
    """
    return 1 - p.e_sup * x.supplement
