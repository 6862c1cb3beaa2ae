import numpy as np
import pandas as pd
import pytest

from ranklsim.cohorts.people.weighting import Target, effective, tilted


@pytest.fixture
def people():
    rng = np.random.default_rng(5)
    return pd.DataFrame(
        {
            "age": rng.normal(70, 6, 4000),
            "eGFR": rng.normal(65, 18, 4000),
            "prevalent_fracture": rng.random(4000) < 0.25,
        }
    ).astype(float)


def weights_to(people, *targets):
    tilt = tilted(people, targets, np.ones(len(people)))
    assert not tilt.contradicting
    return np.exp(tilt.logs(people)), tilt


def test_weights_give_mean_sd_median_and_shares(people):
    targets = (
        Target("age", "mean", 72.3),
        Target("age", "sd", 5.2, about=72.3),
        Target("eGFR", "median", 60.0),
        Target("eGFR", "share", 0.02, high=30.0),
        Target("prevalent_fracture", "share", 0.4),
    )
    w, _ = weights_to(people, *targets)
    for target in targets:
        assert target.achieved(people, w) == pytest.approx(target.value, rel=2e-3), target.name


def test_tilting_a_normal_to_another_mean_is_the_exponential_family_in_closed_form(people):
    """Tilting N(m, s^2) to mean m + d has slope d/s^2; the weights are worth n exp(-d^2/s^2)."""
    grid = pd.DataFrame({"age": np.linspace(30, 110, 20001)})
    start = np.exp(-(((grid["age"].to_numpy() - 70) / 6) ** 2) / 2)
    tilt = tilted(grid, [Target("age", "mean", 73.0)], start)
    assert tilt.slopes[0] == pytest.approx(3 / 36, rel=1e-3)
    w, _ = weights_to(people, Target("age", "mean", people["age"].mean() + 3))
    assert effective(w) / len(people) == pytest.approx(np.exp(-9 / 36), abs=0.03)


def test_targets_that_hold_already_cost_nothing(people):
    w, _ = weights_to(people, Target("age", "mean", people["age"].mean()))
    assert effective(w) == pytest.approx(len(people), rel=1e-6)
    assert effective(np.array([1.0, 1.0, 0.0])) == 2
    assert effective(np.array([1.0, 0.0])) == 1


def test_no_weight_exceeds_one_so_that_weights_are_chances(people):
    w, _ = weights_to(people, Target("age", "mean", 74.0), Target("prevalent_fracture", "share", 0.1))
    assert w.max() == pytest.approx(1.0)


def test_targets_that_contradict_each_other_are_the_ones_named(people):
    people = people.assign(years_since_menopause=people["age"] - 50)
    targets = (
        Target("eGFR", "mean", 64.0),
        Target("age", "mean", 72.0),
        Target("years_since_menopause", "mean", 15.0),
    )
    assert sorted(tilted(people, targets, np.ones(len(people))).contradicting) == [1, 2]
    beyond = tilted(people, (Target("age", "mean", 120.0), Target("eGFR", "mean", 64.0)), np.ones(len(people)))
    assert beyond.contradicting[0] == 0
