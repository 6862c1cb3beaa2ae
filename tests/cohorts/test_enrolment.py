from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from ranklsim.cohorts.conduct.enrolment import cut, enrolled_months, looks
from ranklsim.cohorts.conduct.hypocalcaemia import grades, recorded
from ranklsim.cohorts.protocol.conduct import Conduct, Enrolment
from ranklsim.cohorts.protocol.trial import load_trial
from ranklsim.pkpd.parameters import load_parameters

NUMBER = np.arange(1, 3001)


def a_trial(enrolment=None, looks=()):
    return replace(load_trial("freedom"), conduct=Conduct(enrolment=enrolment, looks=looks))


def test_without_enrolment_all_come_at_once():
    assert (enrolled_months(a_trial(), NUMBER) == 0).all()


def test_patients_come_one_after_another_at_the_rate_given():
    month = enrolled_months(a_trial(Enrolment(50.0)), NUMBER)
    assert month[0] == 0
    assert (np.diff(month) > 0).all()
    assert month[-1] == pytest.approx(60, rel=0.08)
    counts = np.histogram(month, np.arange(55))[0]
    assert counts.var() / counts.mean() == pytest.approx(1, abs=0.6)  # a Poisson process


def test_a_ramp_costs_half_its_length():
    plain, ramp = (enrolled_months(a_trial(Enrolment(50.0, length)), NUMBER) for length in (0.0, 12.0))
    assert ramp[-1] - plain[-1] == pytest.approx(6, abs=1.5)
    assert (ramp < 6).sum() == pytest.approx(50 * 6**2 / (2 * 12), rel=0.5)


def test_enrolment_by_pieces_has_the_rate_of_each_and_pauses_where_it_is_0():
    steps = ((6.0, 0.0), (9.0, 200.0), (15.0, 100.0))
    month = enrolled_months(a_trial(Enrolment(100.0, steps=steps)), NUMBER)
    counts = [((month >= a) & (month < b)).sum() for a, b in ((0, 6), (9, 15), (15, 20))]
    assert counts == pytest.approx([600, 1200, 500], rel=0.12)
    start = month[0]  # counted from the first patient on
    assert ((month > 6) & (month < 9 - 0.2)).sum() == 0 or start > 0.05


def test_a_patient_comes_when_she_comes_whoever_is_asked_for():
    trial = a_trial(Enrolment(50.0, 3.0))
    assert enrolled_months(trial, NUMBER[700:900]) == pytest.approx(enrolled_months(trial, NUMBER)[700:900])


PATIENTS = pd.DataFrame({"patient": [1, 2, 3], "enrolled_month": [0.0, 10.0, 30.0], "last_month": [36.0, 12.0, 36.0]})
EVENTS = pd.DataFrame(
    {
        "patient": [1, 1, 2, 2, 3],
        "event": ["hip", "completed", "hip", "dropout", "completed"],
        "month": [20.0, 36.0, 5.0, 12.0, 36.0],
    }
)


def test_looks_come_when_their_month_or_count_is_reached():
    trial = a_trial(looks=(("month", 25.0), ("completed", 0.5), ("hip", 2.0), ("hip", 9.0)))
    found = looks(trial, PATIENTS, EVENTS)
    assert found["text"].tolist() == ["2 hip", "25 mo", "50 % completed", "9 hip"]
    assert found["month"].tolist()[:3] == [20.0, 25.0, 66.0]
    assert np.isnan(found["month"].iloc[3])
    assert found["enrolled"].tolist()[:3] == [2, 2, 3]
    assert found["ended"].tolist()[:3] == [0, 1, 3]


def test_a_cut_holds_what_is_known_at_its_month():
    visits = pd.DataFrame({"patient": [1, 2, 3], "month": [24.0, 12.0, 0.0], "actual_month": [24.1, 12.0, 0.0]})
    known = cut({"patients": PATIENTS, "events": EVENTS, "visits": visits}, 24.0)
    assert known["patients"]["patient"].tolist() == [1, 2]
    assert known["patients"]["last_month"].tolist() == [24.0, 12.0]
    assert known["events"]["event"].tolist() == ["hip", "hip", "dropout"]
    assert known["visits"]["patient"].tolist() == [2]


def test_grades_are_those_of_ctcae():
    assert grades(load_parameters(), np.array([2.35, 2.11, 1.9, 1.7, 1.4])).tolist() == [0, 1, 2, 3, 4]


def test_an_episode_has_its_worst_grade_and_first_month():
    calcium = np.array([[2.3, 2.1, 1.9, 2.3, 2.05], [2.1, 2.1, 1.9, 2.1, 2.3], [2.3, 2.3, 2.3, 2.3, 1.2]])
    part = recorded(load_parameters(), np.arange(5.0), calcium, np.array([9.0, 9.0, 3.0]))[0]
    assert part.row.tolist() == [0, 0, 1]
    assert part.month.tolist() == [1.0, 4.0, 2.0]
    assert part.detail.tolist() == ["grade 2", "grade 1", "grade 2"]
