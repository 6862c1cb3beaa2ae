"""Facts about the model's text: steady state, balances, limits with a closed form."""

from __future__ import annotations

import helpers
import numpy as np
import pandas as pd
import pytest

from ranklsim.pkpd.agents import load_agent
from ranklsim.pkpd.biology import ligand, skeleton
from ranklsim.pkpd.biology.model import Model
from ranklsim.pkpd.biology.values import Slots, Values
from ranklsim.pkpd.parameters import load_parameters
from ranklsim.pkpd.simulation import Doses, outputs, patient_constants, simulate

TABLE = load_parameters()
NO_AGEING = TABLE.replace({"dlT": 0, "dlC": 0, "dlR": 0, "a_LS": 0})
DENOSUMAB = load_agent("denosumab")
YEARS = np.array([0.0, 1.0, 3.0, 10.0]) * 365.25


def test_start_is_the_zero_of_the_rates_except_for_ageing_bone() -> None:
    model, p, _ = patient_constants(TABLE, helpers.anyone(TABLE, 50), [DENOSUMAB])
    x = Values(model.start(p))
    rates = model.rates(x, p, [0.0])
    for name, rate in rates.items():
        if not name.endswith(("_T", "_C", "_R")):
            assert np.abs(rate).max() < 1e-12, f"{name} moves at {np.abs(rate).max():.1e} per day"


def test_t_score_and_bmd_are_inverse_and_zero_at_the_young_mean() -> None:
    for site in skeleton.SITES:
        assert skeleton.t_score(TABLE, site, TABLE[f"REF_{site}"]) == 0
        assert skeleton.t_score(TABLE, site, skeleton.bmd_from_t_score(TABLE, site, -2.5)) == pytest.approx(-2.5)


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
    assert ligand.gradient(p) * p.rho == pytest.approx(ligand.potency(p))


def test_every_output_has_unit_and_meaning() -> None:
    found = simulate(TABLE, pd.DataFrame(index=[0]), [DENOSUMAB], helpers.q6m(60, 1), np.array([0.0, 30.0]))
    assert set(found) == set(outputs([DENOSUMAB]))


def test_slots_name_their_states() -> None:
    states = Model(Slots(2, 1, 1)).states
    assert {"drug_2", "surface_1", "level_1"} <= set(states)
    assert "drug_3" not in states


def test_the_exposure_that_is_carried_along_is_the_integral_of_occupancy() -> None:
    days = np.unique(np.concatenate([np.arange(0.0, 400.0, 0.25), [0.02, 0.05, 0.1]]))
    zero = np.zeros(2, dtype=np.int64)
    doses = Doses(zero, np.array([0.0, helpers.INTERVAL]), zero, np.full(2, 60.0))
    found = simulate(TABLE, pd.DataFrame(index=[0]), [DENOSUMAB], doses, days)
    pairs = {"EXPOSURE_sRANKL": "OCC_sRANKL", "EXPOSURE_mRANKL_marrow": "OCC_mRANKL_marrow"}
    for exposure, occupancy in pairs.items():
        carried, share = found[exposure][0], found[occupancy][0] / 100
        by_hand = np.concatenate([[0.0], np.cumsum(np.diff(days) * (share[1:] + share[:-1]) / 2)])
        assert carried[-1] == pytest.approx(by_hand[-1], rel=2e-3)
        assert np.all(np.diff(carried) >= -1e-9)
        assert 0.5 < carried[-1] / days[-1] <= 1
