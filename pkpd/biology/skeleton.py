"""Bone by age of its mineral, at the sites where DXA looks.

Three templates, trabecular (T) and cortical (C) bone of spine and hip, and the cortical bone of the one-third radius
(R), are each kept as osteoid, young, middle and mature bone: resorption takes mineralised bone of any age, formation
lays osteoid, and mineral rises from primary (70 %) to full over years [1]_. Modelling-based formation needs no
resorption and no RANKL [2]_; it fades as mass rises (mechanostat, our assumption). A cycle of remodelling leaves a
deficit, so untreated bone is lost at turnover times deficit. A site is a mixture of templates; degenerative change
adds to the spine's projection.

A volume that starts at 1 drifts as exp(-g t) when untreated, g = k * dl (without fading exactly so): letting
resorption hit only mineralised bone, scaled by V / (V - N), is what makes the start analytic. Where hardly any is
mineralised (`SPARSE`), less is resorbed, so that no volume falls below 0.

Parameters read here, with unit and meaning:

    kT         1/yr   turnover of trabecular bone (spine and hip)
    kC         1/yr   turnover of cortical bone (spine and hip)
    kR         1/yr   turnover of cortical bone at the one-third radius
    dlT        1      trabecular bone missing after each remodelling cycle
    dlC        1      cortical bone missing after each remodelling cycle
    dlR        1      one-third radius bone missing after each remodelling cycle
    phT        1      trabecular modelling-based formation over turnover
    phC        1      cortical modelling-based formation over turnover
    phR        1      one-third radius modelling-based formation over turnover
    fade       1      fall of modelling as bone volume rises (modelling is multiplied by volume to the power -fade)
    tN         day    osteoid to primary mineral
    tP         day    first stage of secondary mineralisation
    tS         day    second stage of secondary mineralisation
    rho1       1      mineral of young bone over mature bone
    a_LS       %/yr   apparent spine gain from degenerative change
    f_LS       1      trabecular share of the lumbar spine DXA signal
    f_TH       1      trabecular share of the total hip DXA signal
    f_FN       1      trabecular share of the femoral neck DXA signal
    f_R13      1      trabecular share of the one-third radius DXA signal
    BMD0_LS    g/cm2  lumbar spine BMD at the start
    BMD0_TH    g/cm2  total hip BMD at the start
    BMD0_FN    g/cm2  femoral neck BMD at the start
    BMD0_R13   g/cm2  one-third radius BMD at the start
    REF_LS     g/cm2  young adult lumbar spine BMD (Hologic reference)
    REFSD_LS   g/cm2  its standard deviation
    REF_TH     g/cm2  young adult total hip BMD (NHANES III)
    REFSD_TH   g/cm2  its standard deviation
    REF_FN     g/cm2  young adult femoral neck BMD (NHANES III)
    REFSD_FN   g/cm2  its standard deviation
    REF_R13    g/cm2  young adult one-third radius BMD (Hologic-type reference)
    REFSD_R13  g/cm2  its standard deviation

References
----------
.. [1] Ruffoni D et al. Bone 2007;40:1308-19. doi:10.1016/j.bone.2006.11.012
.. [2] Dempster DW et al. J Bone Miner Res 2020;35:1282-8. doi:10.1002/jbmr.4006
"""

from __future__ import annotations

from typing import Any

from ranklsim.pkpd.biology.values import Values, at_least
from ranklsim.pkpd.units import DAYS_PER_YEAR

TEMPLATES = {"T": "T", "C": "C", "R": "C"}  # template -> compartment whose cells work on it
SITES = {"LS": ("T", "C"), "TH": ("T", "C"), "FN": ("T", "C"), "R13": ("T", "R")}
NAMES = {"LS": "lumbar spine", "TH": "total hip", "FN": "femoral neck", "R13": "1/3 radius"}

SPARSE = 1e-3
"""Mineralised share of a volume below which osteoclasts find less to resorb, so that no volume falls below 0."""

STATES = {
    f"{name}_{b}": ("1", f"{meaning} of template {b}, over its volume at the start")
    for b in TEMPLATES
    for name, meaning in {
        "osteoid": "unmineralised bone",
        "young": "young bone",
        "middle": "bone in secondary mineralisation",
        "mature": "fully mineralised bone",
        "modelled": "bone ever formed by modelling since the start",
    }.items()
}


def individual(p: Values) -> dict[str, Any]:
    """Turnover a day, and the untreated start of each template, which is analytic.

    Parameters
    ----------
    p : Values
        Parameters by symbol, and the agents' fields of each slot; floats or arrays over patients.
    """
    constants: dict[str, Any] = {}
    for b in TEMPLATES:
        turnover = p[f"k{b}"] / DAYS_PER_YEAR
        lost = turnover * p[f"dl{b}"]
        osteoid0 = turnover * (1 - p[f"dl{b}"]) / (1 / p.tN - lost)
        taken = turnover / (1 - osteoid0)
        young0 = osteoid0 / p.tN / (1 / p.tP + taken - lost)
        middle0 = young0 / p.tP / (1 / p.tS + taken - lost)
        mature0 = middle0 / p.tS / (taken - lost)
        constants |= {
            f"turnover_{b}": turnover,
            f"osteoid0_{b}": osteoid0,
            f"young0_{b}": young0,
            f"middle0_{b}": middle0,
            f"mature0_{b}": mature0,
            f"mineral0_{b}": p.rho1 * young0 + (1 + p.rho1) / 2 * middle0 + mature0,
        }
    return constants


def volume(x: Values, b: str) -> Any:
    """Bone volume of template `b` over its start, osteoid included.

    Parameters
    ----------
    x : Values
        States.
    b : str
        Template, one of `TEMPLATES`.
    """
    return x[f"osteoid_{b}"] + x[f"young_{b}"] + x[f"middle_{b}"] + x[f"mature_{b}"]


def rates(x: Values, p: Values, b: str, OC: Any, OB: Any, modelling: Any) -> dict[str, Any]:
    """Time derivatives (1/day) of template `b`.

    Parameters
    ----------
    x, p : Values
        States and the patient's constants.
    b : str
        Template.
    OC : float
        Osteoclasts of its compartment over untreated.
    OB : float
        Formation at remodelling sites of its compartment over untreated.
    modelling : float
        Modelling-based formation that an anabolic agent adds, over resting turnover.
    """
    k, V = p[f"turnover_{b}"], volume(x, b)
    osteoid, young, middle, mature = x[f"osteoid_{b}"], x[f"young_{b}"], x[f"middle_{b}"], x[f"mature_{b}"]
    by_modelling = k * (p[f"ph{b}"] * V**-p.fade + modelling) * V
    formed = k * (1 - p[f"dl{b}"] - p[f"ph{b}"]) * OB * V + by_modelling
    mineralised = at_least(V - osteoid - SPARSE * V, 0.0) + SPARSE * V
    taken = k * OC * V / mineralised
    return {
        f"osteoid_{b}": formed - osteoid / p.tN,
        f"young_{b}": osteoid / p.tN - young * (1 / p.tP + taken),
        f"middle_{b}": young / p.tP - middle * (1 / p.tS + taken),
        f"mature_{b}": middle / p.tS - mature * taken,
        f"modelled_{b}": by_modelling,
    }


def start(p: Values) -> dict[str, Any]:
    """Untreated composition of each template; volumes sum to 1.

    Parameters
    ----------
    p : Values
        The patient's constants.
    """
    layers = ("osteoid", "young", "middle", "mature")
    composition = {f"{layer}_{b}": p[f"{layer}0_{b}"] for b in TEMPLATES for layer in layers}
    return composition | {f"modelled_{b}": 0.0 for b in TEMPLATES}


def mineral(x: Values, p: Values, b: str) -> Any:
    """Mineral of template `b` over that at the start.

    Parameters
    ----------
    x, p : Values
        States and the patient's constants; scalars or arrays of one shape.
    b : str
        Template, one of `TEMPLATES`.
    """
    return (p.rho1 * x[f"young_{b}"] + (1 + p.rho1) / 2 * x[f"middle_{b}"] + x[f"mature_{b}"]) / p[f"mineral0_{b}"]


def rebased(x: Values, p: Values) -> dict[str, Any]:
    """`STATES` with bone of the same age and of as much mineral as at the start, from which changes are counted.

    Parameters
    ----------
    x, p : Values
        States and the patient's constants; scalars or arrays of one shape.
    """
    layers = ("osteoid", "young", "middle", "mature")
    bone = {f"{layer}_{b}": x[f"{layer}_{b}"] / mineral(x, p, b) for b in TEMPLATES for layer in layers}
    return bone | {f"modelled_{b}": 0.0 * x[f"modelled_{b}"] for b in TEMPLATES}


def bone_mineral(x: Values, p: Values, t: Any) -> dict[str, Any]:
    """Areal BMD and what its change is made of.

    Parameters
    ----------
    x, p : Values
        States and the patient's constants; scalars or arrays of one shape.
    t : float or array
        Days since the start (the spine artefact grows with it).

    Returns
    -------
    dict
        ``BMD_SITE`` in g/cm2 and, in percentage points of the BMD at the start, ``SITE_remodelling`` (volume:
        remodelling space and balance, age-related loss included), ``SITE_mineralisation`` (mineral per volume),
        ``SITE_modelling`` and for the spine ``LS_artefact``; for each site they sum to its percent change.
    """
    volumes = {b: volume(x, b) for b in TEMPLATES}
    minerals = {b: mineral(x, p, b) for b in TEMPLATES}
    out: dict[str, Any] = {}
    for site, (inner, outer) in SITES.items():
        f = p[f"f_{site}"]
        parts = {
            "remodelling": [volumes[b] - 1 - x[f"modelled_{b}"] for b in (inner, outer)],
            "mineralisation": [minerals[b] - volumes[b] for b in (inner, outer)],
            "modelling": [x[f"modelled_{b}"] for b in (inner, outer)],
        }
        points = {f"{site}_{name}": 100 * (f * both[0] + (1 - f) * both[1]) for name, both in parts.items()}
        if site == "LS":
            points["LS_artefact"] = p.a_LS * t / DAYS_PER_YEAR
        change = sum(points.values())
        out |= points | {f"BMD_{site}": p[f"BMD0_{site}"] * (1 + change / 100)}
    return out


def t_score(parameters: Any, site: str, bmd: Any) -> Any:
    """T-score of a BMD (g/cm2) at `site` on the named reference of the parameter table.

    Parameters
    ----------
    parameters : ParameterTable or Values
        Holds the mean and SD of the young reference.
    site : str
        One of `SITES`.
    bmd : float or array
        g/cm2.
    """
    return (bmd - parameters[f"REF_{site}"]) / parameters[f"REFSD_{site}"]


def bmd_from_t_score(parameters: Any, site: str, t: Any) -> Any:
    """BMD (g/cm2) of a T-score at `site`: the inverse of `t_score`.

    Parameters
    ----------
    parameters, site
        As of `t_score`.
    t : float or array
        T-score.
    """
    return parameters[f"REF_{site}"] + t * parameters[f"REFSD_{site}"]
