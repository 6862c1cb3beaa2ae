"""What parameters that are plausible one by one must be together: a patient who can live and be treated.

Each quantity follows from several parameters in closed form. Its lowest and highest value stand in ``data/limits.csv``,
and samplers draw only parameters that keep within them (`ParameterTable.implausible`).

Osteoclasts at rest, and the time for which cells wait there, are those of the balance of `cells.rates`, where the RANKL
pools are as `ligand.rates` leaves them without drug. Formation is taken as normal, so that nothing has drifted. What
gut and kidney can spare or shed is the balance of `calcium.rates` at half and at twice the patient's serum calcium.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ranklsim.pkpd.biology.cells import LEAST_SIGNAL
from ranklsim.pkpd.biology.ligand import SOURCES, gradient
from ranklsim.pkpd.biology.values import Values, at_least


def signals_at_rest(p: Values, c: str) -> tuple[Any, Any]:
    """Signal at RANK in compartment `c` at rest, over that of a normal genotype: for activation, and for survival.

    Parameters
    ----------
    p : Values
        The patient's constants.
    c : str
        Compartment, ``T`` or ``C``.
    """
    pool = {s: p[f"make_{s}"] * p[f"anchor_{s}"] / (1 - p.fsh + p.fsh * p[f"shed_{s}"]) for s in SOURCES}
    released = sum(
        p[f"M0_{s}"] * (p[f"make_{s}"] * (1 - p[f"anchor_{s}"]) + p.fsh * p[f"shed_{s}"] * pool[s]) for s in SOURCES
    )
    soluble = (p.sRANKL_given + p.kdeg * released) / (p.ksel_i * p.S0)
    heard = {"act": "a" if c == "T" else "w", "keep": "w"}
    surface = {
        step: sum(p[f"{w}_{s}_{c}"] * pool[s] for s in SOURCES) / sum(p[f"{w}_{s}_{c}"] for s in SOURCES)
        for step, w in heard.items()
    }
    activation, survival = (
        at_least(p.RANK * ((1 - share) * surface[step] * p.hm + share * soluble * p.hs), LEAST_SIGNAL)
        for step, share in (("act", p.sig_act), ("keep", p.sig))
    )
    return activation, survival


def wait_at_rest(p: Values, c: str) -> Any:
    """Hours for which a cell of the waiting pool of compartment `c` waits at rest.

    Parameters
    ----------
    p : Values
        The patient's constants.
    c : str
        Compartment, ``T`` or ``C``.
    """
    activation, _ = signals_at_rest(p, c)
    return 24 * p.tW / (1 - p.r + p.r * activation**p.n)


def osteoclasts_at_rest(p: Values, c: str) -> Any:
    """Osteoclasts of compartment `c` at rest, over those of a normal genotype.

    Parameters
    ----------
    p : Values
        The patient's constants.
    c : str
        Compartment, ``T`` or ``C``.
    """
    activation, survival = signals_at_rest(p, c)
    A = activation**p.n
    each = survival * (1 + p.Kg) / (survival + p.Kg)  # osteoclasts of a site, over normal
    each = each / (p.dm + (1 - p.dm) * (1 + p.Kd) / (survival + p.Kd))
    # Sites are (1 + Ka) y / (y + Ka), where y = still + again * osteoclasts: osteomorphs among the waiting cells.
    used = 1 - p.r + p.r * A
    again = A * p.mix * p.f_om / used
    still = A * (1 - p.mix + p.mix * (1 - p.f_om) / used)
    most = (1 + p.Ka) * each
    half = (still + p.Ka - most * again) / 2
    return most * still / (half + (half**2 + again * most * still) ** 0.5)


def calcium_spared(p: Values) -> Any:
    """Calcium that gut and kidney gain at half the patient's serum calcium, over what bone takes at rest.

    Parameters
    ----------
    p : Values
        The patient's constants.
    """
    gained = p.answer * (2 ** (p.h_PTH * p.e_gut) - 1)
    return p.passing * (1 + gained - 2 ** -(p.s_ren + p.h_PTH * p.e_ren)) / p.J_bone


def calcium_shed(p: Values) -> Any:
    """Calcium that the kidney sheds at twice the patient's serum calcium, over what bone gives at rest.

    Parameters
    ----------
    p : Values
        The patient's constants.
    """
    return p.passing * (2 ** (p.s_ren + p.h_PTH * p.e_ren) - 1) / p.J_bone


MOLECULES: dict[str, Callable[[Values], Any]] = {"gradient": gradient}
"""What a fit of `rho` holds besides: the share of sRANKL (`sig`) is one that molecules can have."""

QUANTITIES: dict[str, Callable[[Values], Any]] = {
    "wait_T": lambda p: wait_at_rest(p, "T"),
    "wait_C": lambda p: wait_at_rest(p, "C"),
    "rest_T": lambda p: osteoclasts_at_rest(p, "T"),
    "rest_C": lambda p: osteoclasts_at_rest(p, "C"),
    "spared": calcium_spared,
    "shed": calcium_shed,
}
"""Name in ``limits.csv`` (what precedes ``_``) to formula, from the constants of `Model.constants`."""
