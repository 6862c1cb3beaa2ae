"""Tipping points of responders and events: how many of those who left must have failed."""

import numpy as np
import pandas as pd
import pytest

from ranklsim.cohorts.endpoints import Event, Responder
from ranklsim.reports.analyses.tipping import failures

ARMS = ["placebo", "drug"]
GAIN = Responder(
    name="gain", role="primary", analysis="Miettinen-Nurminen", measure="BMD_LS", from_month=0.0, to_month=12.0,
    sign=">=", limit=3.0,
)  # fmt: skip
HIP = Event(name="hip", role="primary", analysis="Cox", event="hip", by_month=24.0)


@pytest.fixture(scope="module")
def patients():
    n = 400
    rng = np.random.default_rng(8)
    left = rng.random(n) < 0.45
    return pd.DataFrame(
        {"patient": np.arange(1, n + 1), "arm": np.resize(ARMS, n), "stratum": "",
         "last_month": np.where(left, rng.uniform(2, 20, n), 24.0)}
    )  # fmt: skip


@pytest.fixture(scope="module")
def responders(patients):
    own = patients[patients["last_month"] >= 12].reset_index(drop=True)
    chance = np.where(own["arm"] == "drug", 0.52, 0.4)
    return own.assign(event=np.random.default_rng(1).random(len(own)) < chance)


@pytest.fixture(scope="module")
def times(patients):
    rng = np.random.default_rng(2)
    when = rng.exponential(np.where(patients["arm"] == "drug", 300.0, 80.0))
    hip = pd.DataFrame({"patient": patients["patient"], "event": "hip", "month": when, "count": 1})
    return HIP.times(hip[when <= patients["last_month"]], patients)


def test_the_least_number_of_responders_lost_is_the_first_at_which_the_result_is_lost(patients, responders):
    found = failures(GAIN, responders, patients, ARMS, "placebo").points.iloc[0]
    missing = patients[(patients["arm"] == "drug") & ~patients["patient"].isin(responders["patient"])]
    assert found["left"] == len(missing)
    p = []
    for count in range(len(missing) + 1):
        table = pd.concat([responders, missing.iloc[:count].assign(event=False)], ignore_index=True)
        p.append(GAIN.effect(table, "drug", "placebo", "risk difference")["p"])
    assert found["failures"] == np.flatnonzero(np.array(p) >= 0.05)[0]


@pytest.mark.slow
def test_a_failure_of_an_event_is_one_at_the_time_of_leaving(patients, times):
    found = failures(HIP, times, patients, ARMS, "placebo")
    left = times[(times["arm"] == "drug") & (times["cause"] == 0) & (times["time"] < 24)].sort_values("patient")
    count = int(found.points["failures"].iloc[0])
    assert 0 < count <= len(left)
    table = times.copy()
    table.loc[left.index[:count], ["event", "cause"]] = [True, 1]
    expected = HIP.effect(table, "drug", "placebo", "hazard ratio")
    row = found.curve.set_index("failures").loc[count]
    assert row["effect"] == pytest.approx(expected["estimate"])
    assert expected["p"] >= 0.05
    assert not row["holds"]
    assert found.curve.set_index("failures").loc[count - 1, "holds"]


def test_a_result_that_does_not_hold_tips_at_once_and_one_without_losses_never(patients, responders):
    none = responders.assign(event=np.arange(len(responders)) % 4 < 2)
    assert failures(GAIN, none, patients, ARMS, "placebo").points["failures"].iloc[0] == 0
    whole = patients[patients["patient"].isin(responders["patient"])]
    found = failures(GAIN, responders, whole, ARMS, "placebo").points.iloc[0]
    assert np.isnan(found["failures"])
    assert "Nobody" in found["note"]
