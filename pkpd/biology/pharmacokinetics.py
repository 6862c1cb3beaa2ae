"""Drugs that bind RANKL: depot, plasma and tissue, linear clearance and loss with the target.

Two compartments with first-order absorption. Free drug is eliminated linearly and, for a drug that has such a path
(OPG-Fc [3]_), also by a saturable clearance. Bound drug is internalised with surface RANKL or cleared with soluble
RANKL, at quasi-equilibrium [1]_ [2]_. Time in days, amounts in nmol, concentrations in nmol/L. Drug in plasma is
counted as total (free and bound to either RANKL pool, per litre of Vc), because only the total moves slowly; `ligand`
gives the free part.

Parameters read here, with unit and meaning:

    WT            kg        body weight
    WT_ref        kg        body weight to which the PK constants refer
    exp_CL_WT     1         exponent of body weight on CL and Q
    exp_V_WT      1         exponent of body weight on Vc and Vp
    fold_CL       1         a patient's CL over the typical one (all binders)
    fold_V        1         a patient's Vc and Vp over the typical ones
    fold_ka       1         a patient's ka over the typical one
    fsh           1         share of surface RANKL turnover that is shedding
    kcpx          1/day     loss of drug-sRANKL complex from serum
    Vc_k          L         central volume
    ka_k          1/day     absorption from the injection site
    CL_k          L/day     linear clearance
    Vmax_k        nmol/day  most that a saturable path of elimination takes
    Q_k           L/day     flow between central and peripheral volume
    Vp_k          L         peripheral volume
    F_k           1         share of a dose that reaches the blood
    molar_mass_k  kDa       mass of one molecule
    Km_k          nmol/L    free drug at which it takes half of that

References
----------
.. [1] Sutjandra L et al. Clin Pharmacokinet 2011;50:793-807. doi:10.2165/11594240-000000000-00000
.. [2] Gibiansky L et al. Clin Pharmacokinet 2012;51:247-60. doi:10.2165/11598090-000000000-00000
.. [3] Zierhut ML et al. J Pharmacokinet Pharmacodyn 2008;35:379-99. doi:10.1007/s10928-008-9093-5
"""

from __future__ import annotations

from ranklsim.pkpd.biology.values import Slots, Values


def states(slots: Slots) -> dict[str, tuple[str, str]]:
    """Unit and meaning of each state.

    Parameters
    ----------
    slots : Slots
        Number of agents of each kind.
    """
    named = {}
    for k in range(1, slots.binders + 1):
        named[f"depot_{k}"] = ("nmol", "drug under the skin")
        named[f"drug_{k}"] = ("nmol/L", "drug in plasma, free and bound")
        named[f"tissue_{k}"] = ("nmol/L", "drug in the peripheral compartment")
    return named


def individual(p: Values, slots: Slots) -> dict[str, float]:
    """One patient's constants from body weight and the patient's own folds of the typical drug.

    Parameters
    ----------
    p : Values
        Parameters by symbol, and the agents' fields of each slot; floats or arrays over patients.
    slots : Slots
        Number of agents of each kind.
    """
    clearance = (p.WT / p.WT_ref) ** p.exp_CL_WT  # ASSUMED: Q scales as CL
    volume = (p.WT / p.WT_ref) ** p.exp_V_WT
    constants = {}
    for k in range(1, slots.binders + 1):
        Vc_i = p[f"Vc_{k}"] * volume * p.fold_V
        constants[f"Vc_i_{k}"] = Vc_i
        constants[f"kabs_{k}"] = p[f"ka_{k}"] * p.fold_ka
        constants[f"kel_{k}"] = p[f"CL_{k}"] * clearance * p.fold_CL / Vc_i
        # ASSUMED: the saturable path differs between patients as linear clearance does.
        constants[f"most_{k}"] = p[f"Vmax_{k}"] * clearance * p.fold_CL / Vc_i
        constants[f"kout_{k}"] = p[f"Q_{k}"] * clearance / Vc_i
        constants[f"kback_{k}"] = p[f"Q_{k}"] * clearance / (p[f"Vp_{k}"] * volume * p.fold_V)
    return constants


def dose(agent: Values, amount_mg: float, route: str) -> tuple[str, float]:
    """State that a dose enters and how much it adds: nmol to the depot, or nmol/L straight to plasma for IV.

    One antibody counts as one binding site, so mg become nmol by the molar mass (kDa) alone.

    Parameters
    ----------
    agent : Values
        Fields of the agent, and the patient's constants of its slot.
    amount_mg : float
        Dose, mg.
    route : str
        How it is given, such as SC or IV.
    """
    nmol = agent.F * amount_mg * 1e3 / agent.molar_mass
    return ("drug", nmol / agent.Vc_i) if route == "IV" else ("depot", nmol)


def losses(x: Values, p: Values, bound: Values, k: int) -> tuple[float, float, float]:
    """Elimination of drug `k` from plasma (nmol/L/day): of free drug, with surface RANKL, with soluble RANKL.

    Parameters
    ----------
    x, p : Values
        States and the patient's constants.
    bound : Values
        Free and bound drug, as from `ligand.binding`.
    k : int
        Slot of the drug, from 1.
    """
    free = bound[f"free_{k}"]
    alone = p[f"kel_{k}"] * free + p[f"most_{k}"] * free / (p[f"Km_{k}"] + free)
    with_surface = p.kint * (1 - p.fsh) * bound[f"on_surface_{k}"]
    with_soluble = p.kcpx * bound[f"on_soluble_{k}"]
    return alone, with_surface, with_soluble


def rates(x: Values, p: Values, bound: Values, slots: Slots) -> dict[str, float]:
    """Time derivatives of `states`; `bound` holds free and bound drug from `ligand.binding`.

    Parameters
    ----------
    x, p : Values
        States and the patient's constants.
    bound : Values
        Free and bound drug, as from `ligand.binding`.
    slots : Slots
        Number of agents of each kind.
    """
    change = {}
    for k in range(1, slots.binders + 1):
        free = bound[f"free_{k}"]
        absorbed = p[f"kabs_{k}"] * x[f"depot_{k}"]
        change[f"depot_{k}"] = -absorbed
        to_tissue = free - x[f"tissue_{k}"]
        change[f"drug_{k}"] = absorbed / p[f"Vc_i_{k}"] - p[f"kout_{k}"] * to_tissue - sum(losses(x, p, bound, k))
        change[f"tissue_{k}"] = p[f"kback_{k}"] * to_tissue
    return change
