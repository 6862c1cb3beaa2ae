from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from ranklsim.cohorts.conduct.allocation import allocate, blocks, strata_of
from ranklsim.cohorts.protocol.trial import load_trial


def a_trial(ratio=None, strata=(), seed=1):
    trial = load_trial("freedom")
    who = replace(trial.population, ratio=ratio or {"placebo": 1, "denosumab": 1}, strata=list(strata))
    return replace(trial, population=who, seed=seed)


@pytest.mark.parametrize("ratio", [{"placebo": 1, "denosumab": 1}, {"placebo": 1, "denosumab": 3}])
def test_every_block_holds_the_ratio(ratio):
    trial = a_trial(ratio)
    for number in range(20):
        seats = Counter(blocks(trial, "all", np.array([number]))[0])
        assert seats["denosumab"] * ratio["placebo"] == seats["placebo"] * ratio["denosumab"]
        assert sum(seats.values()) >= 4


def test_blocks_differ_in_order():
    trial = a_trial()
    assert len({tuple(seats) for seats in blocks(trial, "all", np.arange(50))}) == 6  # all orders of two and two


def test_arms_are_balanced_within_each_stratum_at_any_moment():
    trial = a_trial()
    strata = np.where(np.arange(101) % 3 == 0, "young", "old")
    arms, after = allocate(trial, strata)
    assert after == {"old": 67, "young": 34}
    for stratum in ("young", "old"):
        own = arms[strata == stratum] == "placebo"
        ahead = np.abs(np.cumsum(own) - np.cumsum(~own))
        assert ahead.max() <= 2


def test_allocating_in_portions_changes_nothing():
    trial = a_trial({"placebo": 2, "denosumab": 1})
    strata = np.random.default_rng(0).choice(["a", "b", "c"], 100)
    at_once, after = allocate(trial, strata)
    first, between = allocate(trial, strata[:37])
    second, end = allocate(trial, strata[37:], between)
    assert np.array_equal(at_once, np.concatenate([first, second]))
    assert end == after


def test_the_seed_decides():
    strata = np.full(40, "all")
    assert not np.array_equal(allocate(a_trial(seed=1), strata)[0], allocate(a_trial(seed=2), strata)[0])


def test_strata_are_named_in_words():
    trial = a_trial(strata=["age >= 75 yr", "prevalent_fracture"])
    people = pd.DataFrame({"age": [70.0, 75.0], "prevalent_fracture": [1.0, 0.0]})
    assert strata_of(trial, people).tolist() == [
        "age >= 75 yr: no; prevalent_fracture: yes",
        "age >= 75 yr: yes; prevalent_fracture: no",
    ]
    assert strata_of(a_trial(), people).tolist() == ["all", "all"]
