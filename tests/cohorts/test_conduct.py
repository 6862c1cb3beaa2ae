from dataclasses import replace

import numpy as np
import pytest

from ranklsim.cohorts.conduct import MEASURES, doses_of, events_of, last_months, observe
from ranklsim.cohorts.design import Conduct, Visits
from ranklsim.cohorts.schema import BMD_MEASURES
from ranklsim.cohorts.trial import load_trial
from ranklsim.pkpd.parameters import load_parameters

NUMBER = np.arange(1, 5001)


def a_trial(dropout=0.05, **changes):
    return replace(load_trial("freedom"), conduct=Conduct(dropout_per_year=dropout), **changes)


def read(trial, latent=1.0, number=NUMBER, last=None):
    shape = (number.size, len(trial.visits.months))
    last = np.full(number.size, float(trial.months)) if last is None else last
    truth = {measure: np.full(shape, latent) for measure in MEASURES}
    return observe(trial, load_parameters(), number, last, truth)


def test_dropout_is_exponential_with_the_hazard_given():
    last = last_months(a_trial(0.06), NUMBER)
    stayed = (last == 36).mean()
    assert stayed == pytest.approx(np.exp(-0.18), abs=4 * np.sqrt(0.15 / NUMBER.size))
    assert (last > 0).all()


def test_without_hazard_everybody_stays():
    assert (last_months(a_trial(0.0), NUMBER) == 36).all()


def test_a_lower_hazard_only_delays_the_same_dropouts():
    high, low = last_months(a_trial(0.10), NUMBER), last_months(a_trial(0.05), NUMBER)
    assert (low >= high).all()


def test_doses_after_dropout_are_not_given():
    trial = a_trial()
    arms = np.array(["denosumab", "placebo"])
    doses = doses_of(trial, np.array([3, 8]), arms, np.array([12.0, 36.0]))
    assert doses["month"].tolist() == [0, 6, 12, 18, 24, 30] * 2
    assert doses.loc[doses["patient"] == 3, "given"].tolist() == [True, True, False, False, False, False]
    assert doses.loc[doses["patient"] == 8, "given"].all()
    assert doses.loc[doses["patient"] == 3, "agent"].unique().tolist() == ["denosumab"]


def test_no_dose_is_planned_at_the_end_of_the_trial_or_later():
    doses = doses_of(a_trial(months=30.0), np.array([1]), np.array(["denosumab"]), np.array([30.0]))
    assert doses["month"].max() == 24


def test_events_tell_who_left():
    events = events_of(a_trial(), np.array([3, 8]), np.array(["a", "b"]), np.array([12.5, 36.0]))
    assert events.to_dict("list") == {
        "patient": [3, 3, 8, 8],
        "arm": ["a", "a", "b", "b"],
        "event": ["randomised", "dropout", "randomised", "completed"],
        "month": [0.0, 12.5, 0.0, 36.0],
    }


def test_visits_after_dropout_are_missed():
    last = np.array([12.0, 11.9])
    seen = read(a_trial(), number=np.array([1, 2]), last=last)
    assert seen["attended"].tolist() == [[True] * 4 + [False] * 2, [True] * 3 + [False] * 3]
    for measure in MEASURES:
        assert np.array_equal(np.isfinite(seen[measure]), seen["attended"])


def test_only_what_is_due_is_measured():
    seen = read(a_trial(visits=Visits(BMD=(0.0, 12.0), markers=(0.0, 1.0))))
    assert np.isfinite(seen["BMD_LS"]).all(axis=0).tolist() == [True, False, True]
    assert np.isfinite(seen["CTX"]).all(axis=0).tolist() == [True, True, False]
    assert np.isnan(seen["CTX"][:, 2]).all()


@pytest.mark.parametrize("measure", MEASURES)
def test_errors_have_median_one_and_the_cv_of_the_table(measure):
    seen = read(a_trial())[measure][:, 0]
    name = f"CV_DXA_{measure[4:]}" if measure in BMD_MEASURES else f"CV_{measure}"
    assert np.median(seen) == pytest.approx(1, abs=0.01)
    assert seen.std() / seen.mean() == pytest.approx(load_parameters()[name], rel=0.05)
    assert (seen > 0).all()


def test_errors_of_visits_and_measures_are_independent():
    seen = read(a_trial())
    assert abs(np.corrcoef(seen["BMD_LS"][:, 0], seen["BMD_LS"][:, 1])[0, 1]) < 0.06
    assert abs(np.corrcoef(seen["BMD_LS"][:, 0], seen["BMD_TH"][:, 0])[0, 1]) < 0.06


def test_designs_that_share_a_visit_share_its_error():
    often = a_trial(visits=Visits(BMD=(0.0, 3.0, 6.0, 12.0), markers=(0.0,)))
    seldom = a_trial(visits=Visits(BMD=(0.0, 12.0), markers=(0.0,)))
    assert np.array_equal(read(often)["BMD_TH"][:, 3], read(seldom)["BMD_TH"][:, 1])


def test_without_residual_error_the_truth_is_read():
    trial = a_trial().with_overrides(layers={"residual": False})
    seen = read(trial, latent=0.01)
    assert all((seen[measure] == 0.01).all() for measure in MEASURES)
    assert not seen["CTX_BLQ"].any()


def test_ctx_below_the_limit_is_stored_as_the_limit_and_flagged():
    limit = load_parameters()["LLOQ_CTX"]
    seen = read(a_trial(), latent=limit)
    below = seen["CTX_BLQ"]
    assert 0.4 < below.mean() < 0.6
    assert (seen["CTX"][below] == limit).all()
    assert (seen["CTX"][~below] >= limit).all()
