"""Trials played for small groups: what patients decide changes their doses from then on, and nothing before."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from ranklsim.cohorts.conduct import decisions
from ranklsim.cohorts.conduct.course import observe, play
from ranklsim.cohorts.conduct.patients import draw
from ranklsim.cohorts.conduct.visits import MEASURES, off_days
from ranklsim.cohorts.events import COMPLETED, DEATH, DROPOUT, FRACTURES, RESCUE, STOPPED, SWITCH
from ranklsim.cohorts.protocol.conduct import Adherence, Conduct, Delay, Hazard, Response, Rule, Trigger
from ranklsim.cohorts.protocol.design import Visits
from ranklsim.cohorts.protocol.trial import load_trial
from ranklsim.pkpd.agents import load_agent
from ranklsim.pkpd.parameters import load_parameters
from ranklsim.pkpd.units import DAYS_PER_MONTH

TABLE = load_parameters()
NUMBER = np.arange(1, 41)
DENOSUMAB = {"agent": "denosumab", "dose_mg": 60.0, "every_days": 6 * DAYS_PER_MONTH, "doses": None}


def a_trial(name="freedom", **conduct):
    return replace(load_trial(name), conduct=Conduct(**conduct))


def played(trial, arm="placebo", number=NUMBER, **how):
    people = draw(trial, TABLE, number)
    agents = [TABLE.apply(load_agent(name)) for name in trial.agent_names()]
    return play(trial, TABLE, agents, people, number, np.full(number.size, arm, dtype=object), rtol=1e-5, **how)


def of(course, event):
    return course.events[course.events["event"] == event]


def test_without_anything_happening_real_is_ideal():
    trial = a_trial(fractures=True, imaging=(12.0, 24.0, 36.0))
    real, ideal = played(trial), played(trial, ideal=True)
    pd.testing.assert_frame_equal(real.doses, ideal.doses)
    pd.testing.assert_frame_equal(real.events, ideal.events)
    assert all(np.array_equal(real.latent[name], ideal.latent[name]) for name in real.latent)


def test_in_the_ideal_course_nobody_leaves_stops_or_is_rescued():
    rule = Rule(RESCUE, **DENOSUMAB, triggers=(Trigger("", measure="BMD_TH", kind="T", limit=0.0),))
    trial = a_trial(
        dropout_per_year=0.5, stop=Hazard(0.5), deaths=True, mortality_ratio=20.0, missed=0.3, window_days=7,
        late=Delay(0.5, 20, 90), rules=(rule,), fractures=True, imaging=(36.0,),
    )  # fmt: skip
    ideal = played(trial, ideal=True)
    assert not ideal.events["event"].isin([DROPOUT, DEATH, STOPPED, RESCUE, SWITCH]).any()
    assert (of(ideal, COMPLETED)["month"] == 36).all()
    assert ideal.doses["given"].all()
    real = played(trial)
    assert {DROPOUT, DEATH, RESCUE} <= set(real.events["event"])


def test_rescue_gives_another_drug_from_the_visit_that_triggers_it_on():
    limit = -2.6
    rule = Rule(RESCUE, **DENOSUMAB, triggers=(Trigger("T_TH", measure="BMD_TH", kind="T", limit=limit),), after=6.0)
    trial = a_trial(rules=(rule,))
    course, plain = played(trial), played(a_trial())
    rescued = of(course, RESCUE).set_index("patient")["month"]
    assert 0 < rescued.size < NUMBER.size
    seen = observe(trial, TABLE, NUMBER, plain.last, plain.latent)
    T = (seen["BMD_TH"] - TABLE["REF_TH"]) / TABLE["REFSD_TH"]
    months = np.array(trial.visits.months)
    met = (T < limit) & (months >= 6) & (months < 36)
    first = pd.Series(np.where(met.any(axis=1), months[met.argmax(axis=1)], np.nan), index=NUMBER).dropna()
    assert rescued.to_dict() == first.to_dict()
    doses = course.doses
    for patient, month in rescued.items():
        own = doses[doses["patient"] == patient]
        assert (
            own.loc[own["agent"] == "placebo", "given"] == (own.loc[own["agent"] == "placebo", "month"] < month)
        ).all()
        given = own.loc[own["agent"] == "denosumab", "month"].to_numpy()
        assert given == pytest.approx(np.arange(month, 36, 6))
        before = months <= month
        row = patient - 1
        assert course.latent["BMD_TH"][row, before] == pytest.approx(plain.latent["BMD_TH"][row, before], rel=1e-5)
        assert course.latent["BMD_TH"][row, -1] > plain.latent["BMD_TH"][row, -1]
    others = ~np.isin(NUMBER, rescued.index)
    assert np.array_equal(course.latent["CTX"][others], plain.latent["CTX"][others])


def test_a_fracture_can_set_off_a_switch_of_some_arms_only():
    rule = Rule(SWITCH, **DENOSUMAB, triggers=(Trigger("nonvertebral", event="nonvertebral"),), arms=("placebo",))
    trial = a_trial(rules=(rule,), fractures=True, imaging=(12.0, 24.0, 36.0))
    number = np.arange(1, 121)
    course = played(trial, number=number)
    first = of(course, "nonvertebral").groupby("patient")["month"].min()
    switched = of(course, SWITCH).set_index("patient")["month"]
    assert first.size > 3
    assert switched.to_dict() == pytest.approx(first.to_dict(), abs=1e-3)
    assert not len(of(played(trial, "denosumab", number), SWITCH))


def test_a_switch_at_a_month_is_for_the_share_given():
    number = np.arange(1, 2001)
    rule = Rule(SWITCH, None, 0.0, 0.0, None, month=12.0, share=0.3)
    mine = decisions.concerned(rule, 0, 1, number, np.full(number.size, "placebo"), 0)
    assert mine.mean() == pytest.approx(0.3, abs=0.04)
    course = played(a_trial(rules=(replace(rule, share=1.0),)), "denosumab")
    assert (course.doses["given"] == (course.doses["planned_month"] < 12)).all()
    assert (of(course, SWITCH)["month"] == 12).all()
    assert (course.stopped == 12).all()


def test_dropout_after_a_loss_follows_what_was_seen_or_what_is_true():
    number = np.arange(1, 301)
    plain = {"dropout_per_year": 0.2}
    for observed in (True, False):
        response = Response("BMD_TH", -0.01, 3.0, observed)
        course = played(a_trial(**plain, dropout_response=response), number=number)
        even = played(a_trial(**plain, dropout_response=replace(response, ratio=1.0)), number=number)
        truth = even.latent["BMD_TH"]
        loss = truth[:, 3] / truth[:, 0] - 1  # at month 12
        assert len(of(course, DROPOUT)) > len(of(even, DROPOUT))
        gone, stayed = course.last < 36, course.last == 36
        assert loss[gone].mean() < loss[stayed].mean()
        flat = played(a_trial(**plain), number=number)
        assert even.last == pytest.approx(flat.last, rel=1e-9)


def test_a_change_seen_holds_until_the_next_reading():
    read = {"BMD_TH": np.array([[1.0, np.nan, 0.9, 0.8]])}
    seen = decisions.Seen(np.arange(6.0), {}, np.array([[0.0, 1.0, 2.0, 4.0]]), read, [])
    assert decisions.observed_change("BMD_TH", seen) == pytest.approx(np.array([[0, 0, -0.1, -0.1, -0.2, -0.2]]))


def test_oral_doses_are_taken_by_each_patients_own_adherence_until_she_gives_up():
    habit = Adherence(0.8, 0.15, 0.3)
    trial = a_trial("exit", adherence={"alendronate": habit})
    number = np.arange(1, 301)
    course = played(trial, "alendronate", number)
    own = course.doses[course.doses["agent"] == "alendronate"]
    assert (course.doses.loc[course.doses["agent"] == "denosumab", "given"]).all()
    quits = of(course, STOPPED).set_index("patient")["month"]
    assert quits.size / number.size == pytest.approx(1 - np.exp(-0.3), abs=0.09)
    while_on = own[own["planned_month"] < own["patient"].map(quits).fillna(np.inf)]
    share = while_on.groupby("patient")["given"].mean()
    assert share.mean() == pytest.approx(0.8, abs=0.03)
    assert 0.1 < share.std() < 0.2
    assert set(own.loc[~own["given"], "reason"]) == {"missed", "stopped"}


def test_visits_within_a_window_are_read_on_their_own_day_and_doses_move_along():
    trial = a_trial(window_days=7)
    course = played(trial, "denosumab")
    off = off_days(trial, NUMBER)
    months = np.array(trial.visits.months)
    assert np.abs(off).max() <= 7
    assert (off[:, 0] == 0).all()
    assert off.std() > 1
    assert course.kept == pytest.approx(months + off / DAYS_PER_MONTH)
    at_six = course.doses[course.doses["planned_month"] == 6]["month"].to_numpy()
    assert at_six == pytest.approx(course.kept[:, 2])
    day = replace(trial, visits=Visits((0.0,), (0.0, float(course.kept[4, 1]))), conduct=Conduct())
    alone = played(day, "denosumab", NUMBER[4:5])
    assert alone.latent["CTX"][0, 1] == pytest.approx(course.latent["CTX"][4, 1], rel=1e-6)


def test_visits_keep_their_order_however_close():
    close = replace(a_trial(window_days=30), visits=Visits((0.0, 0.1, 0.2, 1.0), (0.0, 0.1, 0.2, 1.0)))
    kept = np.array(close.visits.months) * DAYS_PER_MONTH + off_days(close, np.arange(1, 500))
    assert (np.diff(kept, axis=1) > 0).all()


def test_nobody_is_changed_by_the_company_she_is_played_in():
    rule = Rule(RESCUE, **DENOSUMAB, triggers=(Trigger("", measure="BMD_TH", kind="T", limit=-2.2),))
    trial = a_trial(
        rules=(rule,), dropout_per_year=0.1, dropout_response=Response("CTX", 0.5, 1.5, True), window_days=5,
        late=Delay(0.3, 20, 90), fractures=True, imaging=(12.0, 24.0, 36.0), deaths=True, hypocalcaemia=True,
    )  # fmt: skip
    together, alone = played(trial, number=NUMBER), played(trial, number=NUMBER[::3], workers=2)
    mine = together.events["patient"].isin(NUMBER[::3])
    pd.testing.assert_frame_equal(together.events[mine].reset_index(drop=True), alone.events)
    for measure in MEASURES:
        assert np.array_equal(together.latent[measure][::3], alone.latent[measure])


def test_who_left_is_recorded_no_more():
    trial = a_trial(dropout_per_year=0.5, fractures=True, imaging=(12.0, 24.0, 36.0), deaths=True, mortality_ratio=10.0)
    course = played(trial, number=np.arange(1, 301))
    last = pd.Series(course.last, index=np.arange(1, 301))
    assert (course.events["month"] <= course.events["patient"].map(last)).all()
    ends = course.events[course.events["event"].isin([COMPLETED, DROPOUT, DEATH])]
    assert len(ends) == 300
    assert course.events["event"].isin(FRACTURES).any()


def test_denosumab_prevents_vertebral_fractures_through_bone_and_resorption_alone():
    trial = a_trial(fractures=True, imaging=(12.0, 24.0, 36.0))
    number = np.arange(1, 1201)
    rate = {arm: of(played(trial, arm, number), "vertebral")["patient"].nunique() for arm in ("placebo", "denosumab")}
    assert 0.045 < rate["placebo"] / 1200 < 0.105  # 7.2 % in FREEDOM
    assert 0.2 < rate["denosumab"] / rate["placebo"] < 0.6  # 0.32; about 25 women on denosumab have one


def test_calcium_falls_to_a_grade_after_denosumab_and_hardly_ever_on_placebo():
    trial = a_trial(hypocalcaemia=True)
    number = np.arange(1, 201)
    low, none = played(trial, "denosumab", number), played(trial, number=number)
    found = of(low, "hypocalcaemia")
    assert len(of(none, "hypocalcaemia")) < 0.1 * len(found)
    assert all(re.fullmatch(r"grade [1-4]", grade) for grade in found["detail"])
    assert (found["month"] < 2).mean() > 0.6
