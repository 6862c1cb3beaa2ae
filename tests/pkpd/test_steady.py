"""Facts about lifelong steady states: they do not move, whatever the genotype; where there is none, that is said."""

from __future__ import annotations

import helpers
import numpy as np
import pandas as pd
import pytest

from ranklsim.pkpd.agents import load_agent
from ranklsim.pkpd.biology import ligand
from ranklsim.pkpd.biology.skeleton import volume
from ranklsim.pkpd.biology.values import Values
from ranklsim.pkpd.errors import BadInput
from ranklsim.pkpd.mice.steady import courses, steady_state
from ranklsim.pkpd.parameters import load_parameters
from ranklsim.pkpd.simulation import patient_constants, simulate

TABLE = load_parameters()
CELLS = ("waiting", "sites", "OC", "drift", "matrix1", "matrix2", "OB")
NULL = {f"make_{source}": 0.0 for source in ligand.SOURCES}
DECADE = np.array([0.0, 3652.5])


def genotypes(n: int, seed: int, persons: pd.DataFrame | None = None) -> pd.DataFrame:
    """Any synthesis, shedding, anchoring, OPG and RANK, and modelling on every template; `persons` for the rest."""
    rng = np.random.default_rng(seed)
    persons = pd.DataFrame(index=range(n)) if persons is None else persons
    for source in ligand.SOURCES:
        persons[f"make_{source}"] = rng.choice([0.0, 0.5, 1.0, 3.0], n)
        persons[f"shed_{source}"] = rng.choice([0.0, 1.0, 2.0], n)
        persons[f"anchor_{source}"] = rng.uniform(0.2, 1, n)
    persons["make_osteocyte"] = persons["make_osteocyte"] + 0.1  # none without any source
    persons["OPG_local"], persons["OPG_serum"] = rng.uniform(0, 3, n), rng.uniform(0, 3, n)
    persons["RANK"] = rng.uniform(0.5, 1.5, n)
    persons["fade"] = rng.uniform(0.5, 4, n)
    for b in "TCR":
        persons[f"ph{b}"], persons[f"dl{b}"] = rng.uniform(0.02, 0.15, n), rng.uniform(0, 0.1, n)
    return persons


def extremes(n: int, seed: int) -> pd.DataFrame:
    """`genotypes` of anyone, with any drift and any share of osteomorphs that leaves osteoclasts bounded."""
    rng = np.random.default_rng(seed)
    persons = genotypes(n, seed, helpers.anyone(TABLE, n, seed))
    persons["drift_OPG"], persons["f_om"] = rng.choice([0.0, 0.5, 1.0], n), rng.uniform(0, 0.15, n)
    return persons


@pytest.mark.slow
def test_steady_state_of_any_genotype_is_a_zero_of_the_rates_whatever_the_parameters() -> None:
    persons = extremes(60, seed=11)
    steady = steady_state(TABLE, persons)
    model, p, _ = patient_constants(TABLE, persons, [])
    still = {name: np.zeros(len(persons)) for name in model.states}
    rates = model.rates(Values(still | steady.states), p, [still["drug_1"]])
    for name, rate in rates.items():
        if not name.startswith("modelled"):
            assert np.abs(rate).max() < 1e-12, f"{name} moves at {np.abs(rate).max():.1e} per day"


def test_lifelong_steady_state_of_any_genotype_does_not_move_in_ten_years() -> None:
    persons = genotypes(40, seed=11)
    mature = np.max([steady_state(TABLE, persons).states[f"mature_{b}"] for b in "TCR"], axis=0)
    persons = persons[mature < 5]  # more bone than is taken as possible is refused
    assert len(persons) > 35
    steady = steady_state(TABLE, persons)
    x = courses(TABLE, persons, DECADE, start=steady.states, rtol=1e-9)
    for name, values in x.items():
        if not name.startswith(("modelled", "depot", "drug", "tissue")):
            drift = np.abs(values[:, 1] - values[:, 0]) / np.maximum(np.abs(values[:, 0]), 1e-3)
            assert drift.max() < 1e-6, f"{name} drifts by {drift.max():.1e}"
    for b in "TCR":
        assert np.allclose(steady.volume[b], volume(x, b)[:, 0], rtol=1e-12)
        assert not steady.drift[b].any()


@pytest.mark.slow
def test_cells_of_the_normal_genotype_rest_at_one_whatever_its_parameters() -> None:
    steady = steady_state(TABLE, helpers.anyone(TABLE, 30))
    for name in CELLS:
        for c in ligand.COMPARTMENTS:
            assert np.allclose(steady.states[f"{name}_{c}"], 1, atol=1e-12), name
    model = steady_state(TABLE).states
    assert model["sRANKL"] == pytest.approx(TABLE["fsh"] * TABLE["kdeg"] * TABLE["M0"] / TABLE["ksel"])


@pytest.mark.parametrize("values", [NULL, {"RANK": 0.0}], ids=["RANKL-null", "RANK-null"])
def test_without_ligand_or_receptor_there_are_no_osteoclasts_and_bone_only_grows(values: dict[str, float]) -> None:
    steady = steady_state(TABLE, pd.DataFrame([values]))
    for c in ligand.COMPARTMENTS:
        assert steady.states[f"OC_{c}"] == 0
        assert steady.states[f"OB_{c}"] == 0
    assert np.isnan(steady.volume["T"])
    assert steady.drift["T"] == pytest.approx(TABLE["kT"] * TABLE["phT"])


def test_trabecular_volume_is_where_modelling_makes_good_what_remodelling_loses() -> None:
    steady = steady_state(TABLE, pd.DataFrame([{}, {"make_osteocyte": 0.0}], dtype=float).fillna(1.0))
    OC, V = steady.states["OC_T"], steady.volume["T"]
    assert np.allclose(TABLE["phT"] * V ** -TABLE["fade"], (TABLE["dlT"] + TABLE["phT"]) * OC, rtol=1e-12)
    assert V[1] / V[0] == pytest.approx(OC[1] ** (-1 / TABLE["fade"]))


def test_bone_without_modelling_has_no_fixed_volume_and_is_lost_at_the_rate_that_is_told() -> None:
    table = TABLE.replace({"phC": 0})
    steady = steady_state(table)
    assert np.isnan(steady.volume["C"])
    assert steady.drift["C"] == pytest.approx(-table["kC"] * table["dlC"])
    x = courses(table, pd.DataFrame(index=[0]), DECADE, start=steady.states, rtol=1e-9)
    lost = np.log(volume(x, "C")[0, 1] / volume(x, "C")[0, 0]) / 10
    assert lost == pytest.approx(float(steady.drift["C"][0]), rel=1e-6)
    for layer in ("osteoid", "young", "middle"):  # composition by age stays while volume falls
        share = x[f"{layer}_C"] / volume(x, "C")
        assert share[0, 1] == pytest.approx(share[0, 0], rel=1e-6)


def test_the_whole_simulation_starts_from_a_lifelong_state() -> None:
    values = pd.DataFrame([{"OPG_local": 0.0, "phC": 0.05, "phR": 0.1}])
    steady = steady_state(TABLE, values)
    denosumab = load_agent("denosumab")
    found = simulate(TABLE, values, [denosumab], helpers.NO_DOSES, DECADE, start=steady.states, rtol=1e-9)
    for name in ("CTX", "P1NP", "BSAP", "TRAP5B", "CA", "PTH", "sRANKL_free", "SIGNAL_T", "BMD_TH"):
        assert found[name][0, 1] == pytest.approx(found[name][0, 0], rel=1e-6), name


@pytest.mark.slow
def test_steady_state_of_many_is_that_of_each() -> None:
    persons = extremes(6, seed=3)
    together = steady_state(TABLE, persons).states
    for i in range(len(persons)):
        alone = steady_state(TABLE, persons.iloc[[i]]).states
        for name, values in together.items():
            assert values[i] == pytest.approx(alone[name][0], rel=1e-9, abs=1e-14), name


def test_osteoclasts_have_a_bound_though_they_return_as_waiting_cells_without_one() -> None:
    """No more sites than 1 + Ka can be opened, however many cells wait."""
    values = {"f_om": 0.5, "mix": 1.0, "dm": 0.2, "Kg": 5.0, "Ka": 3.0}
    made = [steady_state(TABLE, pd.DataFrame([values | {"make_marrow": fold}])) for fold in (20.0, 2e4)]
    for steady in made:
        assert 1 < steady.states["sites_T"][0] < 1 + values["Ka"]
    assert made[1].states["sites_T"][0] > made[0].states["sites_T"][0]


def test_an_unknown_symbol_is_named() -> None:
    with pytest.raises(BadInput, match="did you mean 'make_osteocyte'"):
        steady_state(TABLE, pd.DataFrame([{"make_osteocite": 0.0}]))


def test_calcium_balances_where_turnover_is_another() -> None:
    steady = steady_state(TABLE, pd.DataFrame([{"OPG_local": 0.0}]))
    x = Values(steady.states)
    assert 0.99 < float(x.calcium[0]) < 1.01
    assert float(x.OC_T[0]) > 1.3
