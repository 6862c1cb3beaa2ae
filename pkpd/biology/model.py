"""The whole model of one patient: what an agent binds, what is left free, cells, bone, markers.

This file only puts the parts together, in the order in which cause runs; the equations stand in the parts, once.
`Model.rates` is the text that scipy integrates as the reference (`reference`), and from which Jacobian and compiled
kernel are generated (`compiler`).

Parameters read here, with unit and meaning:

    M0         nmol/L  surface RANKL that serum drug can reach (per litre of Vc)
    os         1       sRANKL held by OPG over free sRANKL at rest
    OPG_serum  1       circulating OPG over normal
    turn_T     1       share of trabecular bone in whole-body turnover
    fade       1       fall of modelling as bone volume rises (modelling is multiplied by volume to the power -fade)
    OPG0       pmol/L  serum OPG at the start
    CA0        mmol/L  serum total calcium at the start
    PTH0       pmol/L  plasma intact PTH at the start
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from ranklsim.pkpd.biology import (
    anabolics,
    bisphosphonates,
    calcium,
    cells,
    ligand,
    markers,
    pharmacokinetics,
    skeleton,
)
from ranklsim.pkpd.biology.binding import free_drug_everywhere
from ranklsim.pkpd.biology.ligand import COMPARTMENTS, SOURCES, TISSUES
from ranklsim.pkpd.biology.skeleton import TEMPLATES
from ranklsim.pkpd.biology.values import Slots, Values, at_least, each

KINDS = {"binder": pharmacokinetics, "bisphosphonate": bisphosphonates, "anabolic": anabolics}

NO_POOL = 1e-30
"""Share of the resting surface RANKL that counts as none, so that a patient without any has no occupancy either."""

# What a slot holds while no agent is in it: nothing enters, nothing binds, nothing acts.
EMPTY = {
    "binder": dict.fromkeys(
        ("ka", "CL", "Vmax", "Q", "block_shedding", *(f"reach_{source}" for source in SOURCES)), 0.0
    )
    | dict.fromkeys(("Vc", "Vp", "Km"), 1.0)
    | dict.fromkeys(("KD_mRANKL", "KD_sRANKL"), np.inf),
    "bisphosphonate": dict.fromkeys(("f_bone", "potency", "f_deep"), 0.0)
    | {"max_kill": 1.0, "t_surface": np.inf, "t_deep": np.inf},
    "anabolic": dict.fromkeys(("e_formation", "e_modelling", "e_rankl", "e_signal", "saturation", "tolerance"), 0.0)
    | dict.fromkeys(("t_effect", "t_rise", "t_tolerance"), np.inf),
}


class Model:
    """States, start values, rates and outputs for patients who meet at most `slots` agents of each kind.

    Parameters
    ----------
    slots : Slots
        Number of binders, bisphosphonates and anabolics.
    """

    def __init__(self, slots: Slots) -> None:
        self.slots = slots
        self.states: dict[str, tuple[str, str]] = (
            pharmacokinetics.states(slots)
            | bisphosphonates.states(slots)
            | anabolics.states(slots)
            | ligand.STATES
            | cells.STATES
            | markers.STATES
            | skeleton.STATES
            | calcium.STATES
        )

    @cached_property
    def index(self) -> dict[str, int]:
        """Position of each state in a state vector."""
        return {name: i for i, name in enumerate(self.states)}

    def constants(self, p: Mapping[str, Any]) -> Values:
        """A patient's constants: the parameters and all that follows from them before time starts.

        Parameters
        ----------
        p : mapping
            Every symbol of the parameter table, and for slot k of a kind its agent's fields as ``FIELD_k``; floats or
            arrays over patients.
        """
        p = Values(p)
        p |= pharmacokinetics.individual(p, self.slots)
        p |= ligand.individual(p, self.slots)
        p |= anabolics.individual(p, self.slots)
        p |= skeleton.individual(p)
        p |= calcium.individual(p)
        return p

    def start(self, p: Values) -> dict[str, Any]:
        """Untreated start of every state, analytic, from `constants`.

        Parameters
        ----------
        p : Values
            The patient's constants.
        """
        known = ligand.start(p) | cells.start() | markers.start() | skeleton.start(p) | calcium.start()
        return {name: known.get(name, 0.0) for name in self.states}

    def rebased(self, x: Values, p: Values) -> dict[str, Any]:
        """States from which a course begins anew: bone has its mineral of the start, sums over time are 0.

        Parameters
        ----------
        x, p : Values
            States and the patient's constants.
        """
        return {**x, **skeleton.rebased(x, p), **{name: 0.0 * x[name] for name in ligand.EXPOSURES}}

    def steepness(self, p: Values) -> dict[str, Any]:
        """How many times the relative error of each state is felt where the state is read; from `constants`.

        Parameters
        ----------
        p : Values
            The patient's constants.
        """
        return dict.fromkeys(self.states, 1.0) | ligand.steepness(p, self.slots) | calcium.steepness(p)

    def rates(self, x: Values, p: Values, free: Sequence[Any]) -> dict[str, Any]:
        """Time derivative (per day) of every state; `free` is free drug of each binder (nmol/L), see `ligand`.

        Parameters
        ----------
        x, p : Values
            States and the patient's constants.
        free : sequence
            Free drug of each binder, nmol/L.
        """
        slots = self.slots
        bound = ligand.binding(x, p, list(free), slots)
        kill = bisphosphonates.kill(x, p, slots)
        overfill, modelled = self._added(x, p)
        osteoclasts, formation = cells.whole_body(x, p, "OC"), self._formation(x, p)

        change = pharmacokinetics.rates(x, p, bound, slots)
        change |= bisphosphonates.rates(x, p, osteoclasts, formation, slots)
        change |= anabolics.rates(x, p, slots)
        change |= ligand.rates(x, p, bound, anabolics.synthesis(x, p, formation, slots), slots)
        restraint = anabolics.restraint(x, p, slots) * calcium.spared(x, p)
        for c in COMPARTMENTS:
            activation = ligand.signal(x, p, bound, c, "act") * restraint
            survival = ligand.signal(x, p, bound, c, "keep") * restraint
            change |= cells.rates(x, p, c, activation, survival, kill)
        change |= markers.rates(x, p, osteoclasts, formation)
        laid, added = {"T": x.OB_T * overfill, "C": x.OB_C}, {"T": modelled, "C": 0.0}
        for b, c in TEMPLATES.items():
            change |= skeleton.rates(x, p, b, x[f"OC_{c}"], laid[c], added[c])
        change |= calcium.rates(x, p, *self._calcium_traffic(x, p))
        return {name: change[name] for name in self.states}

    def _formation(self, x: Values, p: Values) -> Any:
        """Whole-body bone formation over untreated, as P1NP and BSAP see it."""
        overfill, modelled = self._added(x, p)
        return p.turn_T * (x.OB_T * overfill + modelled) + (1 - p.turn_T) * x.OB_C

    def _added(self, x: Values, p: Values) -> tuple[Any, Any]:
        """Bone laid by a trabecular osteoblast over normal, and modelling, as anabolic agents raise both.

        What an agent adds fades as trabecular volume rises above that at the start, as untreated modelling does
        (mechanostat). Where bone is lost, there is no more surface to add to.
        """
        room = at_least(skeleton.volume(x, "T"), 1.0) ** -p.fade
        return anabolics.matrix(x, p, room, self.slots), anabolics.modelling(x, p, room, self.slots)

    def _calcium_traffic(self, x: Values, p: Values) -> tuple[Any, Any]:
        """Whole-body resorption and mineralisation of osteoid, over untreated."""
        share = {"T": p.turn_T, "C": 1 - p.turn_T}
        resorbed = sum(share[c] * x[f"OC_{c}"] * skeleton.volume(x, c) for c in COMPARTMENTS)
        mineralised = sum(share[c] * x[f"osteoid_{c}"] / p[f"osteoid0_{c}"] for c in COMPARTMENTS)
        return resorbed, mineralised

    def free(self, x: Values, p: Values) -> list[np.ndarray]:
        """Free drug of each binder (nmol/L), by solving the binding equilibrium; same shape as the states.

        Parameters
        ----------
        x, p : Values
            States and the patient's constants.
        """
        n = self.slots.binders
        if n == 0:
            return []
        named = [*each(x, "drug", n), *(x[f"mRANKL_{s}"] for s in SOURCES), x.sRANKL, *each(p, "as", n)]
        named += [p[f"am_{s}_{k}"] for k in range(1, n + 1) for s in SOURCES]
        shape = np.broadcast_shapes(*(np.shape(value) for value in named))
        columns = np.stack([np.broadcast_to(value, shape).ravel() for value in named], axis=-1).astype(float)
        total, pool, soluble, asol, am = np.split(columns, np.cumsum([n, len(SOURCES), 1, n]), axis=1)
        free = np.zeros(total.shape)
        free_drug_everywhere(
            np.ascontiguousarray(total),
            np.ascontiguousarray(pool),
            soluble.ravel(),
            np.ascontiguousarray(am).reshape(-1, n, len(SOURCES)),
            np.ascontiguousarray(asol),
            free,
        )
        return [free[:, k].reshape(shape) for k in range(n)]

    def outputs(self, x: Values, p: Values, t: Any, free: Sequence[Any] | None = None) -> dict[str, Any]:
        """What can be known of a patient at time `t` (days): see `OUTPUTS` for names, units and meaning.

        Free drug (nmol/L) is solved for unless given. It comes back as ``free_k``; `simulation` turns it into a
        concentration by the agent's molar mass.

        Parameters
        ----------
        x, p : Values
            States and the patient's constants.
        t : float or array
            Days since the start.
        free : sequence, optional
            Free drug of each binder, nmol/L.
        """
        slots = self.slots
        free = self.free(x, p) if free is None else list(free)
        bound = ligand.binding(x, p, free, slots)
        pools = {source: x[f"mRANKL_{source}"] for source in SOURCES}
        total = sum(pools[s] for s in SOURCES)
        osteoclasts, osteoblasts = cells.whole_body(x, p, "OC"), cells.whole_body(x, p, "OB")
        out: dict[str, Any] = {f"free_{k + 1}": free[k] for k in range(slots.binders)}
        for source in SOURCES:
            out[f"OCC_mRANKL_{source}"] = 100 * (1 - bound[f"open_{source}"])
        carried = sum(pools[s] * (1 - bound[f"open_{s}"]) for s in SOURCES)
        out["OCC_mRANKL"] = 100 * carried / (total + NO_POOL * p.M0)
        out["OCC_sRANKL"] = 100 * (1 - bound.open_s)
        for tissue in TISSUES:
            out[f"EXPOSURE_mRANKL_{tissue}"] = x[f"exposure_{tissue}"]
        out["EXPOSURE_sRANKL"] = x.exposure_s
        out["mRANKL_total"] = 100 * total / p.M0
        out["mRANKL_free"] = 100 * p.hm * sum(pools[s] * bound[f"open_{s}"] for s in SOURCES) / p.M0
        out["sRANKL_total"] = 1e3 * x.sRANKL
        out["sRANKL_free"] = 1e3 * x.sRANKL * bound.open_s / (1 + p.os * p.OPG_bone)
        out["OPG"] = p.OPG0 * p.OPG_serum
        restraint = anabolics.restraint(x, p, slots) * calcium.spared(x, p)
        for c in COMPARTMENTS:
            out[f"SIGNAL_{c}"] = 100 * ligand.signal(x, p, bound, c, "keep") * restraint
            out[f"RESERVOIR_{c}"] = 100 * x[f"waiting_{c}"]
            out[f"DRIFT_{c}"] = 100 * x[f"drift_{c}"]
        out["OC"] = 100 * osteoclasts
        out["OB"] = 100 * osteoblasts
        out |= markers.serum(x, p, osteoclasts, self._formation(x, p))
        out["CA"] = p.CA0 * x.calcium
        out["PTH"] = p.PTH0 * calcium.relative_PTH(x, p)
        out |= skeleton.bone_mineral(x, p, t)
        return out


OUTPUTS: dict[str, tuple[str, str]] = (
    {"OCC_mRANKL": ("%", "surface RANKL that carries drug")}
    | {f"OCC_mRANKL_{s}": ("%", f"surface RANKL of the {s} source that carries drug") for s in SOURCES}
    | {
        "OCC_sRANKL": ("%", "soluble RANKL that carries drug"),
        "EXPOSURE_mRANKL_marrow": ("day", "time integral of the share of marrow surface RANKL that carries drug"),
        "EXPOSURE_mRANKL_lymphocyte": (
            "day",
            "time integral of the share of lymphocyte surface RANKL that carries drug",
        ),
        "EXPOSURE_sRANKL": ("day", "time integral of the share of soluble RANKL that carries drug"),
        "mRANKL_total": ("% of baseline", "surface RANKL, free and bound"),
        "mRANKL_free": ("% of baseline", "surface RANKL bound neither by drug nor by OPG"),
        "sRANKL_total": ("pmol/L", "serum sRANKL, free, held by OPG and drug-bound"),
        "sRANKL_free": ("pmol/L", "serum sRANKL bound neither by drug nor by OPG"),
        "OPG": ("pmol/L", "serum OPG"),
        "SIGNAL_T": ("% of baseline", "osteoclastogenic signal at RANK, trabecular bone"),
        "SIGNAL_C": ("% of baseline", "osteoclastogenic signal at RANK, cortical bone"),
        "RESERVOIR_T": ("% of baseline", "waiting cells, trabecular bone"),
        "RESERVOIR_C": ("% of baseline", "waiting cells, cortical bone"),
        "DRIFT_T": ("% of baseline", "drift of the RANKL/OPG balance, trabecular bone"),
        "DRIFT_C": ("% of baseline", "drift of the RANKL/OPG balance, cortical bone"),
        "OC": ("% of baseline", "osteoclasts, whole body"),
        "OB": ("% of baseline", "osteoblasts, whole body"),
        "CTX": ("ng/mL", "serum CTX"),
        "P1NP": ("ng/mL", "serum P1NP"),
        "BSAP": ("ng/mL", "serum BSAP"),
        "TRAP5B": ("U/L", "serum TRAP5b"),
        "CA": ("mmol/L", "serum total calcium"),
        "PTH": ("pmol/L", "plasma intact PTH"),
    }
    | {f"BMD_{site}": ("g/cm2", f"{name} BMD") for site, name in skeleton.NAMES.items()}
    | {
        f"{site}_{part}": ("percentage points", f"{meaning} in the change of {name} BMD")
        for site, name in skeleton.NAMES.items()
        for part, meaning in {
            "remodelling": "remodelling space and balance",
            "mineralisation": "mineral per volume",
            "modelling": "modelling-based formation",
            "artefact": "degenerative change",
        }.items()
        if part != "artefact" or site == "LS"
    }
)
