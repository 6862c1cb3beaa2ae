"""Counts of what happened: deviations, intercurrent events, events per patient-year, exposure of tissues."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import poisson

from ranklsim.reports.csr import happenings

ARMS = ["a", "b"]
PATIENTS = pd.DataFrame({"patient": [1, 2, 3, 4], "arm": ["a", "a", "b", "b"], "last_month": [12.0, 24.0, 24.0, 6.0]})


def events(*rows: tuple) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["patient", "arm", "event", "month", "detail", "count"])


def test_deviations_count_what_was_due_and_not_what_came_after_leaving():
    doses = pd.DataFrame(
        [
            (1, "a", 0.0, 0.0, True, ""),
            (1, "a", 6.0, 6.0, False, "missed"),
            (1, "a", 18.0, 18.0, False, "left"),
            (2, "a", 6.0, 8.5, True, "late"),
            (2, "a", 30.0, 37.5, False, "late"),  # the trial ends before she would have had it
            (3, "b", 6.0, 6.5, True, "late"),
            (3, "b", 12.0, 12.0, False, "stopped"),
        ],
        columns=["patient", "arm", "planned_month", "month", "given", "reason"],
    )
    visits = pd.DataFrame(
        [(1, "a", 6.0, False), (1, "a", 18.0, False), (4, "b", 6.0, True)],
        columns=["patient", "arm", "month", "attended"],
    )
    frame = happenings.deviations(doses, visits, PATIENTS, ARMS).set_index("arm")
    assert frame.loc["a", ["any", "missed_dose", "late_dose", "missed_visit"]].tolist() == [2, 1, 1, 1]
    assert frame.loc["b", ["any", "missed_dose", "late_dose", "missed_visit"]].tolist() == [1, 0, 1, 0]
    assert frame.loc["Total", "any"] == 3
    assert frame["lost_dose"].tolist() == [1, 0, 1]
    also = happenings.deviations(doses, visits, PATIENTS, ARMS, major={3, 4}).set_index("arm")
    assert also["any"].tolist() == [2, 2, 4]
    assert frame.loc["Total", ["delay_median", "delay_max"]].tolist() == [1.5, 2.5]


def test_a_patient_with_two_events_counts_once_and_her_events_twice():
    seen = events((1, "a", "vertebral", 12.0, "", 1), (1, "a", "vertebral", 24.0, "", 3), (3, "b", "hip", 2.0, "", 1))
    frame = happenings.counted(seen, PATIENTS, ARMS, ["vertebral", "death"]).set_index(["event", "arm"])
    row = frame.loc[("vertebral", "a")]
    assert (row["patients"], row["events"], row["count"], row["percent"]) == (1, 2, 4, 50.0)
    assert row["rate"] == pytest.approx(100 * 2 / 3.0)  # 36 months followed in the arm
    assert frame.loc[("vertebral", "b"), "patients"] == 0
    assert frame.loc[("death", "Total"), ["patients", "events"]].tolist() == [0, 0]  # looked for, none


def test_a_detail_has_a_row_of_its_own_only_where_there_are_several():
    one = events((1, "a", "dropout", 12.0, "withdrew", 1))
    assert set(happenings.counted(one, PATIENTS, ARMS, ["dropout"])["detail"]) == {""}
    two = events((1, "a", "dropout", 12.0, "withdrew", 1), (4, "b", "dropout", 6.0, "moved", 1))
    frame = happenings.counted(two, PATIENTS, ARMS, ["dropout"])
    assert list(frame["detail"].unique()) == ["", "moved", "withdrew"]
    total = frame[frame["arm"] == "Total"].set_index("detail")["patients"]
    assert total[""] == total["moved"] + total["withdrew"]


@pytest.mark.parametrize("n", [0, 1, 7, 120])
def test_the_ends_of_the_poisson_interval_leave_two_and_a_half_percent_on_each_side(n):
    low, high = happenings.poisson_interval(n)
    assert poisson.cdf(n, high) == pytest.approx(0.025)
    assert low == 0 if n == 0 else poisson.sf(n - 1, low) == pytest.approx(0.025)


def test_mean_occupancy_is_the_integral_at_the_last_visit_over_its_day():
    visits = pd.DataFrame(
        {
            "patient": [1, 1, 1, 2, 2, 3],
            "arm": ["a", "a", "a", "a", "a", "b"],
            "month": [0.0, 6.0, 24.0, 0.0, 12.0, 0.0],
            "actual_month": [0.0, 5.0, 24.0, 0.0, 12.0, 0.0],
            "true_E": [0.0, 0.4 * 5 * 30.4375, 700.0, 0.0, 0.6 * 12 * 30.4375, 0.0],
        }
    )
    frame = happenings.exposure_to(visits, ["E"], ARMS, until=12.0).set_index("arm")
    assert frame.loc["a", "n"] == 2
    assert frame.loc["a", "median"] == pytest.approx(50.0)  # 40 over five months, 60 over twelve
    assert frame.loc["b", "n"] == 0
    assert np.isnan(frame.loc["b", "median"])


def test_time_followed_is_that_of_the_patients():
    frame = happenings.followed(PATIENTS, ARMS).set_index("arm")
    assert frame.loc["Total", "patient_years"] == pytest.approx(66 / 12)
    assert frame.loc["a", "months_mean"] == 18.0
