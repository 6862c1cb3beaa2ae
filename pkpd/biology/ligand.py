"""RANKL by cellular source and modality, OPG, and the signal that reaches RANK.

Each source carries a surface pool (mRANKL) that sheds into one circulating pool (sRANKL). Drugs and OPG compete for
both at quasi-equilibrium [1]_. Bound surface ligand is internalised, or still shed unless the agent hinders the
sheddase. The signal is the free ligand at RANK over its untreated value, with an explicit share `sig` for sRANKL.
Pools are totals, free plus bound, in nmol per litre of the drug's central volume: an effective capacity [2]_, not a
serum level, for the surface.

Parameters read here, with unit and meaning:

    M0                nmol/L      surface RANKL that serum drug can reach (per litre of Vc)
    kdeg              1/day       turnover of unbound surface RANKL
    rint              1           removal of drug-bound surface RANKL by internalisation, over that of free
    fsh               1           share of surface RANKL turnover that is shedding
    ksel              1/day       loss of sRANKL not bound to drug (free and held by OPG)
    kcpx              1/day       loss of drug-sRANKL complex from serum
    om                1           RANKL held by OPG over free RANKL on the surface at rest
    os                1           sRANKL held by OPG over free sRANKL at rest
    OPG_local         1           OPG made in bone over normal
    OPG_serum         1           circulating OPG over normal
    f_OPG_serum       1           share of OPG in bone that comes from the circulation
    q_OPG             1           share of the loss of sRANKL that goes with circulating OPG
    RANK              1           receptor on precursors and osteoclasts over normal
    sRANKL_given      nmol/L/day  sRANKL infused
    make_j            1           RANKL made by source j over normal
    shed_j            1           shedding of RANKL by source j over normal
    anchor_j          1           share of RANKL made by source j that is held in the membrane
    sig               1           share of sRANKL in the resting osteoclastogenic signal
    d_act             1           extra share of sRANKL in the signal that activates sites (0: same as at the
                                  osteoclast; 1: wholly sRANKL)
    a_j_T             1           share of source j in the mRANKL signal that activates waiting cells of trabecular bone
    w_j_T             1           share of source j in the mRANKL signal that makes and keeps osteoclasts of trabecular
                                  bone
    w_j_C             1           share of source j in the mRANKL signal of cortical bone
    mix               1           share of the rebound store that is waiting cells (1: waiting cells only; 0: RANKL/OPG
                                  drift only)
    drift_OPG         1           what drifts while formation is low (1: OPG falls or sensitivity rises; 0: RANKL
                                  synthesis rises)
    turn_T            1           share of trabecular bone in whole-body turnover
    reach_j_k         1           drug concentration at RANKL of source j over that in plasma
    KD_mRANKL_k       nmol/L      equilibrium constant of binding membrane-bound RANKL
    KD_sRANKL_k       nmol/L      equilibrium constant of binding soluble RANKL
    block_shedding_k  1           share of the shedding of bound mRANKL that the drug hinders

References
----------
.. [1] Mager DE, Krzyzanski W. Pharm Res 2005;22:1589-96. doi:10.1007/s11095-005-6650-0
.. [2] Gibiansky L et al. Clin Pharmacokinet 2012;51:247-60. doi:10.2165/11598090-000000000-00000
.. [3] Xiong J et al. PLoS ONE 2015;10:e0138189. doi:10.1371/journal.pone.0138189 (osteocytes: -67 % osteoclasts)
.. [4] Yu W et al. J Clin Invest 2021;131:e140214. doi:10.1172/JCI140214 (marrow adipogenic cells; recalled)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ranklsim.pkpd.biology.values import Slots, Values, at_least

SOURCES = ("osteocyte", "marrow", "osteoblast", "lymphocyte")
LINEAGE = ("osteocyte", "osteoblast")  # the sources whose synthesis bone-forming agents change
COMPARTMENTS = ("T", "C")  # trabecular and cortical bone: they hear the sources in different shares
HEARD = (("w", "T"), ("a", "T"), ("w", "C"))  # shares of the sources: of making and keeping (w), of activation (a)

STATES = {f"mRANKL_{source}": ("nmol/L", f"surface RANKL of the {source} source") for source in SOURCES} | {
    "sRANKL": ("nmol/L", "soluble RANKL, free, held by OPG and drug-bound")
}
TISSUES = ("marrow", "lymphocyte")  # sources outside bone, whose exposure a trial reports
EXPOSURES = {f"exposure_{tissue}": ("day", f"time integral of the share of {tissue} surface RANKL that carries drug")
             for tissue in TISSUES}  # fmt: skip
EXPOSURES |= {"exposure_s": ("day", "time integral of the share of soluble RANKL that carries drug")}
STATES |= EXPOSURES
FELT = 11
"""Times that the relative error of a state may be felt in free drug before it weighs more (`steepness`)."""


def individual(p: Values, slots: Slots) -> dict[str, float]:
    """Normalised source shares, resting pools, association constants as OPG leaves them.

    Parameters
    ----------
    p : Values
        Parameters by symbol, and the agents' fields of each slot; floats or arrays over patients.
    slots : Slots
        Number of agents of each kind.
    """
    constants, share, total = {}, {}, {}
    for weight, c in HEARD:
        total[weight, c] = sum(p[f"{weight}_{source}_{c}"] for source in SOURCES)
        for source in SOURCES:
            share[weight, source, c] = p[f"{weight}_{source}_{c}"] / total[weight, c]
    for source in SOURCES:
        # ASSUMED: a source has as much RANKL as its mean share in the two steps of trabecular bone, and drug meets each
        # compartment's ligand in proportion to its share of whole-body turnover.
        trabecular = (share["w", source, "T"] + share["a", source, "T"]) / 2
        rest = p.M0 * (p.turn_T * trabecular + (1 - p.turn_T) * share["w", source, "C"])
        constants[f"M0_{source}"] = rest
        some = rest + 1 * (rest == 0)  # no pool, no signal: 0, not 0/0
        for c in COMPARTMENTS:
            constants[f"keep_{source}_{c}"] = share["w", source, c] / some
            # ASSUMED: cortical bone has no marrow at its surfaces, so that both steps hear the same cells.
            constants[f"act_{source}_{c}"] = share["a" if c == "T" else "w", source, c] / some
    constants["S0"] = p.fsh * p.kdeg * p.M0 / p.ksel
    # ASSUMED: circulating OPG carries part of sRANKL out of the serum (OPG-null mice have far more of it).
    constants["ksel_i"] = p.ksel * (1 - p.q_OPG * (1 - p.OPG_serum))
    constants["kint"] = p.rint * p.kdeg
    constants["sig_act"] = p.sig + p.d_act * (1 - p.sig)
    # OPG over normal in bone; KD and the signal are defined at normal OPG, where it holds om (os) parts for one free.
    OPG_bone = (1 - p.f_OPG_serum) * p.OPG_local + p.f_OPG_serum * p.OPG_serum
    constants["OPG_bone"] = OPG_bone
    constants["hm"] = (1 + p.om) / (1 + p.om * OPG_bone)
    constants["hs"] = (1 + p.os) / (1 + p.os * OPG_bone)
    for k in range(1, slots.binders + 1):
        for source in SOURCES:
            constants[f"am_{source}_{k}"] = p[f"reach_{source}_{k}"] * constants["hm"] / p[f"KD_mRANKL_{k}"]
        constants[f"as_{k}"] = constants["hs"] / p[f"KD_sRANKL_{k}"]
    return constants


def potency(p: Values) -> float:
    """Osteoclastogenic potency of one free sRANKL molecule of the serum over one free mRANKL molecule, at rest.

    Follows from the share `sig` and the sizes of the two free pools: sig = potency S / (potency S + M), with S free
    sRANKL in serum and M free mRANKL. It is the product of the potency at RANK (`rho`) and the `gradient`.

    Parameters
    ----------
    p : Values
        The patient's constants.
    """
    free_soluble = p.fsh * p.kdeg * p.M0 / p.ksel / (1 + p.os)
    free_surface = p.M0 / (1 + p.om)
    return (p.sig / free_soluble) / ((1 - p.sig) / free_surface)


def gradient(p: Values) -> float:
    """Free sRANKL in marrow over that in serum: what the share `sig` needs where the potency of a molecule is `rho`.

    Parameters
    ----------
    p : Values
        The patient's constants.
    """
    return potency(p) / p.rho


def free_equation(x: Values, p: Values, free: list[float], slots: Slots) -> list[float]:
    """Mass balance of each drug in plasma: zero at quasi-equilibrium (nmol/L).

    Parameters
    ----------
    x, p : Values
        States and the patient's constants.
    free : sequence
        Free drug of each binder, nmol/L.
    slots : Slots
        Number of agents of each kind.
    """
    binders = range(1, slots.binders + 1)
    crowd = {source: sum(p[f"am_{source}_{k}"] * free[k - 1] for k in binders) for source in SOURCES}
    crowd_s = sum(p[f"as_{k}"] * free[k - 1] for k in binders)
    balance = []
    for k in binders:
        on_cells = sum(p[f"am_{source}_{k}"] * x[f"mRANKL_{source}"] / (1 + crowd[source]) for source in SOURCES)
        held = on_cells + p[f"as_{k}"] * x.sRANKL / (1 + crowd_s)
        balance.append(free[k - 1] * (1 + held) - x[f"drug_{k}"])
    return balance


def free_at_least(x: Values, p: Values, slots: Slots, largest: Callable[[Any, Any], Any]) -> list[Any]:
    """What of each drug is free for certain (nmol/L): with all pools empty of any drug, or with all of them full.

    Parameters
    ----------
    x, p : Values
        States and the patient's constants.
    slots : Slots
        Number of agents of each kind.
    largest : callable
        Gives the larger of two values, of the kind that `x` holds.
    """
    pools = sum(x[f"mRANKL_{source}"] for source in SOURCES) + x.sRANKL
    found = []
    for k in range(1, slots.binders + 1):
        held = sum(p[f"am_{source}_{k}"] * x[f"mRANKL_{source}"] for source in SOURCES) + p[f"as_{k}"] * x.sRANKL
        found.append(largest(x[f"drug_{k}"] / (1 + held), x[f"drug_{k}"] - pools))
    return found


def binding(x: Values, p: Values, free: list[Any], slots: Slots) -> Values:
    """Who holds whom, from free drug `free` (nmol/L).

    Parameters
    ----------
    x, p : Values
        States and the patient's constants.
    free : sequence
        Free drug of each binder, nmol/L.
    slots : Slots
        Number of agents of each kind.

    Returns
    -------
    Values
        ``free_k``, ``on_surface_k``, ``on_soluble_k`` (nmol/L of drug k free, on surface RANKL, on sRANKL);
        ``open_SOURCE`` and ``open_s`` (share of a pool without drug); ``held_SOURCE_k``, ``held_s_k`` (share of a pool
        that carries drug k).
    """
    binders = range(1, slots.binders + 1)
    out = Values()
    for source in SOURCES:
        out[f"open_{source}"] = 1 / (1 + sum(p[f"am_{source}_{k}"] * free[k - 1] for k in binders))
    out["open_s"] = 1 / (1 + sum(p[f"as_{k}"] * free[k - 1] for k in binders))
    for k in binders:
        for source in SOURCES:
            out[f"held_{source}_{k}"] = p[f"am_{source}_{k}"] * free[k - 1] * out[f"open_{source}"]
        out[f"held_s_{k}"] = p[f"as_{k}"] * free[k - 1] * out["open_s"]
        out[f"free_{k}"] = free[k - 1]
        out[f"on_surface_{k}"] = sum(out[f"held_{source}_{k}"] * x[f"mRANKL_{source}"] for source in SOURCES)
        out[f"on_soluble_{k}"] = out[f"held_s_{k}"] * x.sRANKL
    return out


def signal(x: Values, p: Values, bound: Values, c: str, step: str = "keep") -> float:
    """Osteoclastogenic signal at RANK in compartment `c`, 1 untreated, as a step of the osteoclast's life hears it.

    Drug not bound; OPG not bound; summed over sources. The drift of OPG (or sensitivity) multiplies the whole. What
    activates waiting cells and what makes and keeps osteoclasts hear the sources in shares of their own [3]_ [4]_, and
    the two steps multiply: so each of two sources can carry more than half of the osteoclasts.

    Parameters
    ----------
    x, p : Values
        States and the patient's constants.
    bound : Values
        Free and bound drug, as from `ligand.binding`.
    c : str
        Compartment, ``T`` or ``C``.
    step : str
        ``act`` for activation, ``keep`` for making and keeping osteoclasts.
    """
    share = p.sig_act if step == "act" else p.sig
    surface = sum(p[f"{step}_{source}_{c}"] * x[f"mRANKL_{source}"] * bound[f"open_{source}"] for source in SOURCES)
    soluble = x.sRANKL / p.S0 * bound.open_s
    less_OPG = 1 + p.drift_OPG * (1 - p.mix) * (x[f"drift_{c}"] - 1)
    return p.RANK * ((1 - share) * surface * p.hm + share * soluble * p.hs) * less_OPG


def rates(x: Values, p: Values, bound: Values, synthesis: float, slots: Slots) -> dict[str, float]:
    """Time derivatives of `STATES` (nmol/L/day); `synthesis` is that of `LINEAGE` over normal (anabolic agents).

    Parameters
    ----------
    x, p : Values
        States and the patient's constants.
    bound : Values
        Free and bound drug, as from `ligand.binding`.
    synthesis : float
        RANKL made by each source of `LINEAGE` over normal; bone-forming agents change it.
    slots : Slots
        Number of agents of each kind.
    """
    binders = range(1, slots.binders + 1)
    drift = p.turn_T * x.drift_T + (1 - p.turn_T) * x.drift_C
    made = 1 + (1 - p.drift_OPG) * (1 - p.mix) * (drift - 1)
    change, released = {}, {}
    for source in SOURCES:
        pool, production = x[f"mRANKL_{source}"], p.kdeg * p[f"M0_{source}"] * p[f"make_{source}"] * made
        if source in LINEAGE:
            production = production * synthesis
        # Bound ligand is internalised at rint of the free rate; it still sheds unless the agent hinders the sheddase.
        shed_share = bound[f"open_{source}"] + sum(
            bound[f"held_{source}_{k}"] * (1 - p[f"block_shedding_{k}"]) for k in binders
        )
        internalised = (1 - p.fsh) * (
            p.kdeg * bound[f"open_{source}"] + p.kint * sum(bound[f"held_{source}_{k}"] for k in binders)
        )
        shedding = p.kdeg * p.fsh * p[f"shed_{source}"] * shed_share
        change[f"mRANKL_{source}"] = p[f"anchor_{source}"] * production - (internalised + shedding) * pool
        released[source] = (1 - p[f"anchor_{source}"]) * production + shedding * pool
    into_serum = p.sRANKL_given + sum(released[source] for source in SOURCES)
    held_s = sum(bound[f"held_s_{k}"] for k in binders)
    change["sRANKL"] = into_serum - (p.ksel_i * bound.open_s + p.kcpx * held_s) * x.sRANKL
    change |= {f"exposure_{tissue}": 1 - bound[f"open_{tissue}"] for tissue in TISSUES}
    change["exposure_s"] = 1 - bound.open_s
    return change


def steepness(p: Values, slots: Slots) -> dict[str, Any]:
    """How many times the relative error of a state is felt, for an integrator: none of `EXPOSURES`, more of what binds.

    Of a drug that nearly fills a tight pool, free drug is the small difference of drug and pool. A relative error of
    either is felt at most about sqrt(pool / KD) / 2 times in it. Up to `FELT` times needs no care.

    Parameters
    ----------
    p : Values
        The patient's constants.
    slots : Slots
        Number of agents of each kind.
    """
    pool = settled(p)
    surface, soluble = at_least(1 / p.rint, 1.0), at_least(p.ksel_i / p.kcpx, 1.0)  # pools grow under drug
    found, most = dict.fromkeys(EXPOSURES, 0.0), 1.0
    for k in range(1, slots.binders + 1):
        tight = surface * sum(p[f"am_{source}_{k}"] * pool[f"mRANKL_{source}"] for source in SOURCES)
        felt = (tight + soluble * p[f"as_{k}"] * pool["sRANKL"]) ** 0.5 / 2
        found[f"drug_{k}"] = at_least(felt / FELT, 1.0)
        most = at_least(most, found[f"drug_{k}"])
    return found | {name: most for name in pool}


def start(p: Values) -> dict[str, float]:
    """Untreated pools of a normal genotype, in closed form.

    Parameters
    ----------
    p : Values
        The patient's constants.
    """
    return {f"mRANKL_{source}": p[f"M0_{source}"] for source in SOURCES} | {"sRANKL": p.S0}


def settled(p: Values, made: float = 1.0) -> dict[str, float]:
    """Untreated pools where the genotype (`make_`, `shed_`, `anchor_`, OPG) has always been as in `p`, in closed form.

    Parameters
    ----------
    p : Values
        The patient's constants.
    made : float
        RANKL synthesis over that of the genotype (drift).
    """
    pools = {}
    into_serum = p.sRANKL_given
    for source in SOURCES:
        production = p.kdeg * p[f"M0_{source}"] * p[f"make_{source}"] * made
        shedding = p.kdeg * p.fsh * p[f"shed_{source}"]
        pool = p[f"anchor_{source}"] * production / (p.kdeg * (1 - p.fsh) + shedding)
        pools[f"mRANKL_{source}"] = pool
        into_serum = into_serum + (1 - p[f"anchor_{source}"]) * production + shedding * pool
    return pools | {"sRANKL": into_serum / p.ksel_i}
