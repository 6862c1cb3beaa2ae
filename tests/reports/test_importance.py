"""Importance measures through our wrappers: functions whose indices are known in closed form."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ranklsim.reports.sensitivity.analyse import (
    complete,
    morris_indices,
    rank_correlations,
    sobol_indices,
)
from ranklsim.reports.sensitivity.sample import morris_sample, sobol_sample

SLOPES = np.array([4.0, -2.0, 1.0, 0.0])
NAMES = ["a", "b", "c", "d"]


def ishigami(unit: np.ndarray) -> np.ndarray:
    """sin x1 + 7 sin^2 x2 + 0.1 x3^4 sin x1 on -pi to pi; Ishigami and Homma, ISUMA 1990."""
    x = -np.pi + 2 * np.pi * unit
    return np.sin(x[:, 0]) + 7 * np.sin(x[:, 1]) ** 2 + 0.1 * x[:, 2] ** 4 * np.sin(x[:, 0])


def test_sobol_indices_of_ishigami_are_the_known_ones() -> None:
    names = ["x1", "x2", "x3"]
    unit, _ = sobol_sample(names, 2048, True, 0)
    indices, pairs = sobol_indices(names, ishigami(unit), True, 0)
    indices = indices.set_index("symbol")
    assert indices["S1"].to_numpy() == pytest.approx([0.3139, 0.4424, 0.0], abs=0.02)
    assert indices["ST"].to_numpy() == pytest.approx([0.5576, 0.4424, 0.2437], abs=0.03)
    assert (indices["ST_low"] < indices["ST"]).all()
    assert (indices["ST"] < indices["ST_high"]).all()
    assert indices["first"]["x1"] > 0.95
    assert indices["first"].sum() == pytest.approx(1.0)
    s2 = pairs.set_index(["symbol", "other"])
    assert s2.loc[("x1", "x3"), "S2"] == pytest.approx(0.2437, abs=0.03)
    assert s2.loc[("x1", "x2"), "S2_low"] < 0 < s2.loc[("x1", "x2"), "S2_high"]


def test_a_linear_model_has_equal_first_and_total_order_in_proportion_to_the_squared_slopes() -> None:
    unit, matrix = sobol_sample(NAMES, 1024, False, 3)
    assert (matrix == "A").sum() == (matrix == "B").sum() == 1024
    indices, pairs = sobol_indices(NAMES, unit @ SLOPES, False, 3)
    share = SLOPES**2 / (SLOPES**2).sum()
    assert indices["ST"].to_numpy() == pytest.approx(share, abs=0.02)
    assert indices["S1"].to_numpy() == pytest.approx(share, abs=0.03)
    assert pairs.empty


def test_morris_effects_of_a_linear_model_are_its_slopes_without_spread() -> None:
    unit = morris_sample(NAMES, 10, 0)
    assert unit.shape == (50, 4)
    assert set(np.round(3 * unit.ravel(), 9)) == {0.0, 1.0, 2.0, 3.0}
    found = morris_indices(NAMES, unit, unit @ SLOPES, 0).set_index("symbol")
    assert found["mu"].to_numpy() == pytest.approx(SLOPES)
    assert found["mu_star"].to_numpy() == pytest.approx(np.abs(SLOPES))
    assert found[["sigma", "mu_star_conf"]].to_numpy() == pytest.approx(0.0, abs=1e-12)


def test_an_interaction_shows_as_spread_of_the_morris_effects() -> None:
    unit = morris_sample(NAMES, 40, 1)
    found = morris_indices(NAMES, unit, unit[:, 0] * unit[:, 1] + unit[:, 2], 1).set_index("symbol")
    assert found.loc[["a", "b"], "sigma"].min() > 0.2
    assert found.loc[["c", "d"], "sigma"].max() < 1e-12


@pytest.mark.parametrize("seed", [0, 1])
def test_the_same_seed_gives_the_same_numbers_also_seed_zero(seed: int) -> None:
    def once() -> tuple[bytes, bytes]:
        unit, _ = sobol_sample(NAMES, 64, False, seed)
        walk = morris_sample(NAMES, 8, seed)
        found = [sobol_indices(NAMES, np.exp(unit @ SLOPES), False, seed)[0]]
        found.append(morris_indices(NAMES, walk, np.exp(walk @ SLOPES), seed))
        return unit.tobytes() + walk.tobytes(), "".join(frame.to_csv() for frame in found).encode()

    first = once()
    assert once() == first
    assert sobol_sample(NAMES, 64, False, seed + 10)[0].tobytes() != first[0]


def test_a_block_with_a_missing_value_is_left_out_and_no_other() -> None:
    unit, _ = sobol_sample(NAMES, 64, False, 2)
    y = unit @ SLOPES
    holed = y.copy()
    holed[[7, 200]] = np.nan  # one vector each of the blocks 1 and 33
    keep = np.repeat(complete(holed, 6), 6)
    assert (~keep).sum() == 12
    with_holes, _ = sobol_indices(NAMES, holed, False, 2)
    without, _ = sobol_indices(NAMES, y[keep], False, 2)
    pd.testing.assert_frame_equal(with_holes, without)
    walk = morris_sample(NAMES, 10, 2)
    y = walk @ SLOPES
    y[3] = np.nan
    found = morris_indices(NAMES, walk, y, 2)
    assert found["mu_star"].to_numpy() == pytest.approx(np.abs(SLOPES))


def test_partial_rank_correlation_tells_a_cause_from_what_only_moves_along() -> None:
    """For a normal trio with y = x + e, the partial correlation of x is 1/sqrt(1 + var(e)/var(x | z)); of z, 0."""
    rng = np.random.default_rng(4)
    z, own, noise, idle = rng.normal(size=(4, 4000))
    x = 0.8 * z + 0.6 * own  # correlated 0.8 with z, which does nothing by itself
    frame = rank_correlations(pd.DataFrame({"z": z, "x": x, "idle": idle}), pd.Series(x + 0.5 * noise))
    found = frame.set_index("symbol")
    assert found.loc["z", "rho"] > 0.6
    assert bool(found.loc["z", "beyond_chance"])
    assert found.loc["z", "partial_low"] < 0.05
    assert abs(found.loc["z", "partial"]) < 0.06
    assert found.loc["x", "partial"] == pytest.approx(1 / np.sqrt(1 + 0.25 / 0.36), abs=0.03)
    assert not found.loc["idle", "beyond_chance"]
    assert list(frame["symbol"]) == ["x", "z", "idle"]


def test_rank_correlations_do_not_change_when_a_result_is_bent() -> None:
    rng = np.random.default_rng(5)
    draws = pd.DataFrame(rng.uniform(size=(60, 3)), columns=["a", "b", "c"])
    result = pd.Series(draws.to_numpy() @ [3.0, 1.0, 0.0])
    pd.testing.assert_frame_equal(rank_correlations(draws, result), rank_correlations(draws, np.exp(result)))


def test_fewer_vectors_than_parameters_give_no_partial_correlation() -> None:
    rng = np.random.default_rng(6)
    draws = pd.DataFrame(rng.uniform(size=(6, 8)), columns=list("abcdefgh"))
    assert rank_correlations(draws, draws["a"])["partial"].isna().all()
    assert rank_correlations(draws.iloc[:3], draws["a"]).empty
