from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from ranklsim.cohorts.conduct.course import MEASURES, intended, observe
from ranklsim.cohorts.conduct.doses import LATE, LEFT, STOPPED, finished
from ranklsim.cohorts.events import COMPLETED, DROPOUT, RANDOMISED, happened, table
from ranklsim.cohorts.measures import BMD_MEASURES
from ranklsim.cohorts.protocol.conduct import Conduct, Delay, Hazard
from ranklsim.cohorts.protocol.design import Visits
from ranklsim.cohorts.protocol.trial import load_trial
from ranklsim.pkpd.agents import load_agent
from ranklsim.pkpd.parameters import load_parameters

NUMBER = np.arange(1, 5001)


def a_trial(dropout=0.05, *, visits=None, months=36.0, **conduct):
    trial = load_trial("freedom")
    return replace(
        trial, visits=visits or trial.visits, months=months, conduct=Conduct(dropout_per_year=dropout, **conduct)
    )


def agents_of(trial):
    return [load_agent(name) for name in trial.agent_names()]


def someone(number, age=72.0):
    return pd.DataFrame({"patient": number, "age": age, "weight": 65.0, "prevalent_fracture": 0.0})


def settled(trial, arms=None, number=NUMBER, age=72.0):
    arms = np.full(number.size, "denosumab") if arms is None else arms
    return intended(trial, load_parameters(), agents_of(trial), someone(number, age), arms)


def read(trial, latent=1.0, number=NUMBER, last=None):
    shape = (number.size, len(trial.visits.months))
    last = np.full(number.size, float(trial.months)) if last is None else last
    truth = {measure: np.full(shape, latent) for measure in MEASURES}
    return observe(trial, load_parameters(), number, last, truth)


def test_dropout_is_exponential_with_the_hazard_given():
    last = settled(a_trial(0.06)).last
    stayed = (last == 36).mean()
    assert stayed == pytest.approx(np.exp(-0.18), abs=4 * np.sqrt(0.15 / NUMBER.size))
    assert (last > 0).all()


def test_without_hazard_everybody_stays():
    assert (settled(a_trial(0.0)).last == 36).all()


def test_a_lower_hazard_only_delays_the_same_dropouts():
    high, low = settled(a_trial(0.10)).last, settled(a_trial(0.05)).last
    assert (low >= high).all()


def test_a_ratio_of_one_arm_changes_nobody_in_the_other():
    arms = np.where(NUMBER % 2, "placebo", "denosumab")
    plain = settled(a_trial(), arms).last
    more = settled(a_trial(dropout_arms={"placebo": 2.0}), arms).last
    assert np.array_equal(plain[arms == "denosumab"], more[arms == "denosumab"])
    early = plain < 36
    assert more[early & (arms == "placebo")] == pytest.approx(plain[early & (arms == "placebo")] / 2)


def test_a_ratio_from_a_month_on_changes_nothing_before_it():
    plain = settled(a_trial()).last
    later = settled(a_trial(dropout_from=((12.0, 3.0),))).last
    assert np.array_equal(plain[plain < 12], later[plain < 12])
    moved = (plain > 12) & (plain < 36)
    assert later[moved] == pytest.approx(12 + (plain[moved] - 12) / 3)


def test_doses_after_leaving_are_not_given():
    intent = settled(a_trial(0.5))
    doses = finished(intent.plan)
    assert doses["month"].tolist() == [0, 6, 12, 18, 24, 30] * NUMBER.size
    last = intent.last[doses["patient"].to_numpy() - 1]
    assert np.array_equal(doses["given"], doses["month"] < last)
    assert (doses.loc[~doses["given"], "reason"] == LEFT).all()


def test_who_stops_treatment_gets_no_dose_and_stays():
    intent = settled(a_trial(0.0, stop=Hazard(0.3)))
    doses = finished(intent.plan)
    stopped = intent.stopped[doses["patient"].to_numpy() - 1]
    assert np.array_equal(doses["given"], doses["month"] < stopped)
    assert (doses.loc[~doses["given"], "reason"] == STOPPED).all()
    assert (intent.last == 36).all()


def test_no_dose_is_planned_at_the_end_of_the_trial_or_later():
    doses = settled(a_trial(months=30.0), number=np.array([1])).plan
    assert doses["month"].max() == 24


def test_a_missed_dose_does_not_move_the_next():
    doses = finished(settled(a_trial(0.0, missed=0.2)).plan)
    assert (doses["month"] == doses["planned_month"]).all()
    later = doses["planned_month"] > 0
    assert (~doses["given"])[later].mean() == pytest.approx(0.2, abs=0.015)
    assert doses["given"][~later].all()


@pytest.mark.parametrize("distribution", ["lognormal", "gamma"])
def test_late_doses_have_the_quantiles_given_and_push_the_next_ones_back(distribution):
    late = Delay(0.3, 20.0, 90.0, distribution)
    doses = finished(settled(a_trial(0.0, late=late)).plan)
    first = doses[doses["planned_month"] == 6]
    days = (first["month"] - 6) * 30.4375
    assert (days > 0).mean() == pytest.approx(0.3, abs=0.02)
    assert (days[days > 0] <= 20).mean() == pytest.approx(0.5, abs=0.04)
    assert (days[days > 0] <= 90).mean() == pytest.approx(0.95, abs=0.02)
    delay = (doses["month"] - doses["planned_month"]).where(doses["given"])
    assert (delay.groupby(doses["patient"]).diff().dropna() > -1e-9).all()
    assert (doses.loc[delay > 0, "reason"] == LATE).all()
    assert (doses.loc[~doses["given"], "reason"] == LATE).all()  # pushed beyond the trial's end


def test_however_late_a_dose_is_the_next_is_as_far_from_it_as_planned():
    doses = finished(settled(a_trial(0.0, late=Delay(1.0, 300.0, 900.0, "lognormal"))).plan)
    given = doses[doses["given"]]
    apart = given.groupby("patient")["month"].diff().dropna()
    assert (apart >= 6 - 1e-9).all()
    assert (given["month"] < 36).all()


def test_nobody_is_late_or_leaves_where_all_is_ideal():
    late = a_trial(0.5, late=Delay(0.5, 20, 90), missed=0.2, stop=Hazard(0.5), deaths=True)
    ideal = intended(
        late, load_parameters(), agents_of(late), someone(NUMBER), np.full(NUMBER.size, "denosumab"), ideal=True
    )
    assert ideal.plan["given"].all()
    assert (ideal.plan["month"] == ideal.plan["planned_month"]).all()
    assert (ideal.last == 36).all()
    assert np.isinf(ideal.stopped).all()


def test_deaths_follow_the_life_table():
    trial = a_trial(0.0, deaths=True, mortality_ratio=1.0)
    died = settled(trial, age=72.0).died
    survival = np.prod([1 - 0.020019, 1 - 0.022003, 1 - 0.024173])  # ages 72, 73 and 74
    assert (died >= 36).mean() == pytest.approx(survival, abs=0.01)
    assert np.median(settled(trial, age=60.5).died) > np.median(died)


def test_events_are_listed_by_patient_then_month():
    parts = [
        happened(RANDOMISED, [0, 1], 0.0),
        happened(COMPLETED, [1], 36.0),
        happened(DROPOUT, [0], 12.5, "withdrew"),
    ]
    assert table(parts, np.array([3, 8]), np.array(["a", "b"])).to_dict("list") == {
        "patient": [3, 3, 8, 8],
        "arm": ["a", "a", "b", "b"],
        "event": ["randomised", "dropout", "randomised", "completed"],
        "month": [0.0, 12.5, 0.0, 36.0],
        "detail": ["", "withdrew", "", ""],
        "count": [1, 1, 1, 1],
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
