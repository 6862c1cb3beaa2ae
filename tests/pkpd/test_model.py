"""Facts about the model's text: steady state, balances, limits with a closed form."""

from __future__ import annotations

import helpers
import numpy as np
import pandas as pd
import pytest

from ranklsim.pkpd.agents import load_agent
from ranklsim.pkpd.biology import ligand, pharmacokinetics, skeleton
from ranklsim.pkpd.biology.model import OUTPUTS, Model
from ranklsim.pkpd.biology.values import Slots, Values
from ranklsim.pkpd.engine.reference import integrate
from ranklsim.pkpd.parameters import load_parameters
from ranklsim.pkpd.simulation import dose_event, outputs, patient_constants, simulate

TABLE = load_parameters()
NO_AGEING = TABLE.replace({"dlT": 0, "dlC": 0, "dlR": 0, "a_LS": 0})
DENOSUMAB = load_agent("denosumab")
YEARS = np.array([0.0, 1.0, 3.0, 10.0]) * 365.25


def test_untreated_patient_without_ageing_stays_at_its_steady_state_whatever_its_parameters() -> None:
    persons = helpers.anyone(NO_AGEING, 40).drop(columns=["dlT", "dlC", "dlR", "a_LS"])
    found = simulate(NO_AGEING, persons, [DENOSUMAB], helpers.NO_DOSES, YEARS, rtol=1e-9)
    for name, values in found.items():
        if name in OUTPUTS and not name.startswith(("LS_", "TH_", "FN_", "R13_", "OCC_")):
            drift = np.abs(values - values[:, :1]) / np.abs(values[:, :1])
            assert drift.max() < 1e-6, f"{name} drifts by {drift.max():.1e} in ten years"


def test_start_is_the_zero_of_the_rates_except_for_ageing_bone() -> None:
    model, p, _ = patient_constants(TABLE, helpers.anyone(TABLE, 50), [DENOSUMAB])
    x = Values(model.start(p))
    rates = model.rates(x, p, [0.0])
    for name, rate in rates.items():
        if not name.endswith(("_T", "_C", "_R")):
            assert np.abs(rate).max() < 1e-12, f"{name} moves at {np.abs(rate).max():.1e} per day"


def test_untreated_bone_is_lost_at_turnover_times_deficit_when_modelling_does_not_fade() -> None:
    table = TABLE.replace({"fade": 0, "a_LS": 0})
    years = 10.0
    found = simulate(table, pd.DataFrame(index=[0]), [], helpers.NO_DOSES, np.array([0, years * 365.25]))
    for site, (inner, outer) in skeleton.SITES.items():
        left = {b: np.exp(-table[f"k{b}"] * table[f"dl{b}"] * years) for b in (inner, outer)}
        f = table[f"f_{site}"]
        expected = f * left[inner] + (1 - f) * left[outer]
        bmd = found[f"BMD_{site}"][0]
        assert bmd[1] / bmd[0] == pytest.approx(expected, rel=1e-6), site


def test_contributions_to_bmd_sum_to_its_percent_change() -> None:
    found = simulate(TABLE, pd.DataFrame(index=[0]), [DENOSUMAB], helpers.q6m(60, 6), YEARS)
    for site in skeleton.SITES:
        parts = sum(v[0] for name, v in found.items() if name.startswith(f"{site}_"))
        change = 100 * (found[f"BMD_{site}"][0] / found[f"BMD_{site}"][0, 0] - 1)
        assert np.allclose(parts, change, atol=1e-10)


def test_t_score_and_bmd_are_inverse_and_zero_at_the_young_mean() -> None:
    for site in skeleton.SITES:
        assert skeleton.t_score(TABLE, site, TABLE[f"REF_{site}"]) == 0
        assert skeleton.t_score(TABLE, site, skeleton.bmd_from_t_score(TABLE, site, -2.5)) == pytest.approx(-2.5)


def test_drug_without_target_follows_the_closed_form_of_two_compartments() -> None:
    """Linear limit: no binding, one dose; the solution is a sum of three exponentials."""
    agent = helpers.other_affinities(DENOSUMAB, KD_mRANKL=np.inf, KD_sRANKL=np.inf)
    times = np.array([0.0, 0.5, 2, 7, 14, 30, 60, 120, 180])
    found = simulate(TABLE, pd.DataFrame(index=[0]), [agent], helpers.q6m(60, 1), times, rtol=1e-9, atol=1e-11)
    _, p, _ = patient_constants(TABLE, pd.DataFrame(index=[0]), [agent])
    ka, ke, kout, kback = (np.asarray(p[f"{name}_1"]).item() for name in ("kabs", "kel", "kout", "kback"))
    total, product = ke + kout + kback, ke * kback
    fast = (total + np.sqrt(total**2 - 4 * product)) / 2
    slow = product / fast
    nmol_per_L = agent.values["F"] * 60e3 / agent.values["molar_mass"] / np.asarray(p["Vc_i_1"]).item()
    concentration = (
        nmol_per_L
        * ka
        * (
            (kback - ka) / ((fast - ka) * (slow - ka)) * np.exp(-ka * times)
            + (kback - fast) / ((ka - fast) * (slow - fast)) * np.exp(-fast * times)
            + (kback - slow) / ((ka - slow) * (fast - slow)) * np.exp(-slow * times)
        )
    )
    assert np.allclose(found["C_denosumab"][0], concentration * agent.values["molar_mass"] / 1e3, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("name", ["denosumab", "mrankl-selective", "srankl-selective", "opg-fc"])
def test_drug_absorbed_is_drug_eliminated_plus_drug_present(name: str) -> None:
    """The eliminated amount is integrated beside the model's own states, with fluxes from the same text."""
    agent = load_agent(name)
    model, p, slot = patient_constants(TABLE, pd.DataFrame(index=[0]), [agent])
    p = Values({key: float(np.asarray(v).item()) for key, v in p.items()})

    class Counting(Model):
        def __init__(self) -> None:
            super().__init__(model.slots)
            self.states = self.states | {"gone": ("nmol", "eliminated")}

        def rates(self, x, p, free):  # type: ignore[no-untyped-def]
            bound = ligand.binding(x, p, list(free), self.slots)
            gone = p.Vc_i_1 * sum(pharmacokinetics.losses(x, p, bound, 1))
            own = Values({k: v for k, v in x.items() if k != "gone"})
            change = model.rates(own, p, free)
            return change | {"gone": gone}

        def start(self, p):  # type: ignore[no-untyped-def]
            return model.start(p) | {"gone": 0.0}

    event = dose_event(model, p, slot[name], agent, 60.0)
    times = np.array([3.0, 30.0, 90.0, 180.0])
    states = integrate(Counting(), p, [(0.0, *event)], times, rtol=1e-9, atol=1e-11)
    x = Values(zip(Counting().states, states.T, strict=True))
    tissue = p.kout_1 * p.Vc_i_1 / p.kback_1  # volume of the peripheral compartment
    present = x.depot_1 + x.drug_1 * p.Vc_i_1 + x.tissue_1 * tissue
    assert np.allclose(present + x.gone, event[1], rtol=1e-6)
    assert x.gone[-1] > 0.5 * event[1]


def test_surface_ligand_made_is_internalised_shed_or_present() -> None:
    """At every state: synthesis = change + internalisation + shedding, and what is shed is what arrives in serum."""
    model, p, _ = patient_constants(TABLE, helpers.anyone(TABLE, 20), [DENOSUMAB])
    rng = np.random.default_rng(3)
    x = Values({k: np.broadcast_to(v, 20) * rng.uniform(0.2, 3, 20) for k, v in model.start(p).items()})
    x["drug_1"] = rng.uniform(0, 80, 20)
    bound = ligand.binding(x, p, model.free(x, p), model.slots)
    change = ligand.rates(x, p, bound, 1.0, model.slots)
    made = (
        p.kdeg * p.M0 * (1 + (1 - p.drift_OPG) * (1 - p.mix) * (p.turn_T * x.drift_T + (1 - p.turn_T) * x.drift_C - 1))
    )
    pool = {s: x[f"mRANKL_{s}"] for s in ligand.SOURCES}
    free = sum(pool[s] * bound[f"open_{s}"] for s in ligand.SOURCES)
    held = sum(pool[s] * bound[f"held_{s}_1"] for s in ligand.SOURCES)
    internalised = (1 - p.fsh) * (p.kdeg * free + p.kint * held)
    arrived = change["sRANKL"] + (p.ksel * bound.open_s + p.kcpx * bound.held_s_1) * x.sRANKL
    assert np.allclose(made, sum(change[f"mRANKL_{s}"] for s in ligand.SOURCES) + internalised + arrived, rtol=1e-12)


def test_mineral_that_leaves_or_enters_bone_is_what_osteoclasts_take_and_osteoid_becomes() -> None:
    """Volume balance of each template: change = formation - resorption, whatever the composition."""
    model, p, _ = patient_constants(TABLE, pd.DataFrame(index=[0]), [])
    rng = np.random.default_rng(5)
    x = Values(model.start(p))
    for b in skeleton.TEMPLATES:
        for layer in ("osteoid", "young", "middle", "mature"):
            x[f"{layer}_{b}"] = x[f"{layer}_{b}"] * rng.uniform(0.5, 1.5)
        change = skeleton.rates(x, p, b, 1.7, 0.6, 0.2)
        V, k = skeleton.volume(x, b), p[f"turnover_{b}"]
        gained = sum(change[f"{layer}_{b}"] for layer in ("osteoid", "young", "middle", "mature"))
        by_modelling = change[f"modelled_{b}"]
        by_remodelling = k * (1 - p[f"dl{b}"] - p[f"ph{b}"]) * 0.6 * V
        assert gained == pytest.approx(by_modelling + by_remodelling - k * 1.7 * V, abs=1e-15)


def test_share_of_sRANKL_and_its_potency_per_molecule_say_the_same() -> None:
    _, p, _ = patient_constants(TABLE, pd.DataFrame(index=[0]), [])
    free_soluble, free_surface = p.S0 / (1 + p.os), p.M0 / (1 + p.om)
    drive = ligand.potency(p) * free_soluble
    assert drive / (drive + free_surface) == pytest.approx(p.sig)


def test_every_output_has_unit_and_meaning() -> None:
    found = simulate(TABLE, pd.DataFrame(index=[0]), [DENOSUMAB], helpers.q6m(60, 1), np.array([0.0, 30.0]))
    assert set(found) == set(outputs([DENOSUMAB]))


def test_slots_name_their_states() -> None:
    states = Model(Slots(2, 1, 1)).states
    assert {"drug_2", "surface_1", "level_1"} <= set(states)
    assert "drug_3" not in states
