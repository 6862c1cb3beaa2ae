"""Tipping points against imputations that are moved and fitted again one by one."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf

from ranklsim.reports.analyses import imputation
from ranklsim.reports.analyses.tipping import tipping
from tests.reports.test_imputation import ARMS, trial


@pytest.fixture(scope="module")
def frames():
    return trial(3, 120, leave=0.12)


@pytest.fixture(scope="module")
def found(frames):
    return tipping(*frames, ARMS, "placebo", count=20, seed=2)


@pytest.mark.parametrize("place", [0, 3])
def test_a_difference_is_that_of_moved_values_fitted_set_by_set(frames, found, place):
    fit, wide, people = frames
    row = found.curve.iloc[place]
    y = imputation.last_visit(fit, wide, people, "placebo", "MAR", 20, 2)
    moved = ((people["arm"] == "drug") & wide[18].isna()).to_numpy(float)
    design = people.assign(arm=pd.Categorical(people["arm"], ARMS))
    fits = [
        smf.ols("y ~ arm + baseline + stratum", design.assign(y=y[:, k] - row["delta"] * moved)).fit()
        for k in range(20)
    ]
    name = "arm[T.drug]"
    pooled = imputation.rubin(
        np.array([f.params[name] for f in fits]), np.array([f.bse[name] ** 2 for f in fits]), fits[0].df_resid
    )
    assert row["difference"] == pytest.approx(pooled["estimate"], rel=1e-9)
    assert (row["high"] - row["low"]) / 2 > 1.9 * pooled["std_error"]


def test_at_the_tipping_point_the_interval_ends_at_no_difference_and_p_is_the_level(frames, found):
    point = found.points.iloc[0]
    assert point["delta"] > 0
    _, wide, people = frames
    values = wide[18].to_numpy().copy()
    assert point["imputed"] == int((np.isnan(values) & (people["arm"] == "drug")).sum())
    before, after = (found.curve[found.curve["holds"] == held] for held in (True, False))
    assert before["delta"].max() < point["delta"] <= after["delta"].min()
    assert (before["low"] > 0).all()
    assert (after["low"] <= 0).all()
    assert (before["p"] < 0.05).all()


def test_a_margin_or_a_higher_level_moves_the_point_outwards_and_a_stricter_one_inwards(frames, found):
    plain = found.points["delta"].iloc[0]
    wider = tipping(*frames, ARMS, "placebo", count=20, seed=2, margin=1.0).points["delta"].iloc[0]
    stricter = tipping(*frames, ARMS, "placebo", count=20, seed=2, level=0.005).points["delta"].iloc[0]
    assert stricter < plain < wider


def test_a_benefit_below_zero_mirrors_one_above(frames, found):
    fit, wide, people = frames
    other = tipping(fit, wide, people, ARMS, "placebo", count=20, seed=2, higher_is_better=False)
    assert other.points["delta"].iloc[0] == 0
    assert "does not hold" in other.points["note"].iloc[0]


def test_a_result_of_patients_who_were_all_seen_has_no_tipping_point():
    found = tipping(*trial(2, 60, leave=0.0), ARMS, "placebo", count=5)
    assert np.isnan(found.points["delta"].iloc[0])
    assert found.points["note"].iloc[0] == "No value of this arm is imputed."
    assert len(found.curve) == 1


def test_imputation_towards_control_has_less_room_than_imputation_at_random(frames, found):
    jump = tipping(*frames, ARMS, "placebo", count=20, seed=2, strategy="J2R").points.iloc[0]
    assert jump["delta"] < found.points["delta"].iloc[0]
    assert jump["imputed_mean"] == pytest.approx(found.points["imputed_mean"].iloc[0], abs=1.5)
