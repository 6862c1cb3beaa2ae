"""Small inputs on which earlier versions went wrong, each with its right value."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import arm, change, trial_file
from scipy import optimize, special

import ranklsim
from ranklsim.cohorts.endpoints import Event
from ranklsim.cohorts.statistics import competing, proportions, rates, survival
from ranklsim.cohorts.statistics.survival import _log_log
from ranklsim.pkpd.errors import BadInput
from ranklsim.reports.analyses import interim
from ranklsim.reports.analyses.monitoring import CROSSED

CASES = Path(__file__).parent / "cases"


def test_a_small_dispersion_is_at_the_maximum_of_the_likelihood():
    """MASS::glm.nb stops at 0.003005 (log ratio -1.1229070), an earlier version at 0.001747; the maximum is at 0.00157.

    The profile is so flat there that 40-digit arithmetic was used to settle it: log likelihood -126.526112787 at
    0.0015731, -126.526112906 at 0.001747 and -126.526120836 at 0.003005.
    """
    table = pd.read_csv(CASES / "small_dispersion.csv")
    found = rates.rate_ratio(table, "A", "B")
    y, years, here = table["count"].to_numpy(float), table["years"].to_numpy(), (table["arm"] == "A").to_numpy(float)

    def likelihood(slope: np.ndarray, a: float) -> float:
        mean = years * np.exp(slope[0] + slope[1] * here)
        products = sum(np.log1p(a * j) * (y > j) for j in range(int(y.max())))
        return float((products - special.gammaln(y + 1) + y * np.log(mean) - (y + 1 / a) * np.log1p(a * mean)).sum())

    def profile(a: float) -> tuple[float, float]:
        best = optimize.minimize(
            lambda slope: -likelihood(slope, a), [-1.3, -1.1], method="BFGS", options={"gtol": 1e-9}
        )
        return -float(best.fun), float(best.x[1])

    assert found["dispersion"] == pytest.approx(0.0015731, abs=2e-5)
    assert np.log(found["estimate"]) == pytest.approx(-1.1228465, abs=1e-6)
    assert profile(0.003005)[1] == pytest.approx(-1.1229070, abs=1e-6)  # R's ratio, at R's dispersion
    assert profile(found["dispersion"])[0] > profile(0.003005)[0] + 5e-6
    assert profile(found["dispersion"])[0] > profile(0.0008)[0]


def test_the_interval_of_an_incidence_is_on_the_scale_of_the_incidence_itself():
    """mgus2 of R's survival, women at month 60: survfit gives 0.0266 to 0.0575, that of 1 - F 0.0272 to 0.0587."""
    z = 1.959963984540054
    upper, lower = (np.log(-np.log(1 - end)) for end in (0.0587, 0.0272))
    left = np.exp(-np.exp((upper + lower) / 2))  # 1 - F, and the error of F, that the wrong interval rests on
    error = (upper - lower) / 2 * left * abs(np.log(left)) / z
    low, high = _log_log(np.array([1 - left]), np.array([error]), 0.95)
    assert (low[0], high[0]) == pytest.approx((0.0266, 0.0575), abs=6e-5)


def test_two_looks_at_nearly_the_same_information_leave_the_last_boundary_as_it_is():
    found = interim.boundaries([0.5, 0.50001, 1.0], alpha=0.05, kind="O'Brien-Fleming")["z"].to_numpy()
    assert found[-1] == pytest.approx(1.9686, abs=2e-4)
    alone = interim.boundaries([0.5, 1.0], alpha=0.05, kind="O'Brien-Fleming")["z"].to_numpy()
    assert found[-1] == pytest.approx(alone[-1], abs=2e-4)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("model", [survival.cox, competing.fine_gray, proportions.odds_ratio, rates.rate_ratio])
def test_a_covariate_without_an_event_on_one_side_leaves_the_ratio_of_the_other_side(model):
    """Its coefficient is infinite, and who has it says nothing of the arms; earlier versions gave no ratio and no p."""
    rng = np.random.default_rng(5)
    table = pd.DataFrame({"arm": np.repeat(["A", "B"], 60), "time": rng.exponential(20, 120).clip(max=36).round(1)})
    table["fracture"] = (rng.random(120) < 0.2).astype(float)
    table["event"] = rng.random(120) < np.where(table["arm"] == "A", 0.3, 0.5) * (table["fracture"] == 0)
    table = table.assign(years=1.0, cause=table["event"].astype(int), count=table["event"] * rng.poisson(2.0, 120))
    found, alone = model(table, "A", "B", ["fracture"]), model(table[table["fracture"] == 0], "A", "B")
    for name in ("estimate", "low", "high", "p"):
        # The error of a rate has more patients in its adjustment for the coefficients.
        assert found[name] == pytest.approx(alone[name], rel=2e-2 if model is rates.rate_ratio else 1e-6)


@pytest.mark.filterwarnings("error")
def test_a_ratio_is_infinite_where_all_events_of_an_arm_come_before_the_others():
    times = {"A": [1, 2, 3, 4, 5], "B": [6, 7, 8, 9, 10]}
    table = pd.DataFrame([(arm, time) for arm, own in times.items() for time in own], columns=["arm", "time"])
    table = table.assign(event=True, cause=1)
    test = survival.log_rank(table, ["A", "B"])["p"]
    found = survival.cox(table, "A", "B")
    assert (found["estimate"], found["high"]) == (np.inf, np.inf)
    assert found["low"] > 1
    assert found["p"] == pytest.approx(test)  # the score test of Cox's model, without ties


@pytest.mark.filterwarnings("error")
def test_an_incidence_of_1_under_the_hypothesis_leaves_no_test_of_gray_and_is_no_fault():
    table = pd.DataFrame({"arm": list("AABB"), "time": [1, 2, 3, 4], "event": True, "cause": 1, "stratum": "all"})
    assert np.isnan(competing.gray(table, ["A", "B"])["p"])
    event = Event(name="hip", role="primary", analysis="Gray", event="hip", by_month=36.0)
    found = event.effect(table, "A", "B", "subdistribution hazard ratio")
    assert found["p"] == pytest.approx(survival.log_rank(table, ["A", "B"])["p"])
    assert (found["estimate"], found["method"]) == (np.inf, "Fine-Gray, stratified")


@pytest.mark.parametrize("n", range(1, 60))
def test_the_interval_of_no_event_and_of_nothing_but_events_ends_at_its_estimate(n):
    assert proportions.proportion(0, n)["low"] == 0
    assert proportions.proportion(n, n)["high"] == 1


def pocock(folder: Path, **plan: str) -> Path:
    """Denosumab 60 against 20 mg, one look, boundaries of Pocock."""
    return trial_file(
        folder, months=12, control="test", population={"patients": 24}, visits={"BMD": [0, 12], "markers": [0, 12]},
        arm=[arm("test", "denosumab", doses=2, dose="20 mg"), arm("denosumab", doses=2)],
        endpoint=[change("Spine", to=12)], interim={"spending": "Pocock"} | plan,
        conduct={"enrolment": {"rate": "40 patients/mo"}, "looks": ["50 % completed"]},
    )  # fmt: skip


def test_replicate_refuses_looks_whose_information_is_known_in_hindsight_only(tmp_path: Path):
    with pytest.raises(BadInput, match=r'does not plan the information of .Spine.*planned_error = "0.5 %"'):
        ranklsim.replicate(pocock(tmp_path), replicates=2)


@pytest.mark.slow
def test_with_planned_information_no_study_is_superior_beside_a_boundary_that_is_not_crossed(tmp_path: Path):
    found = ranklsim.replicate(pocock(tmp_path, planned_error="0.9 %"), replicates=40, workers=1)
    looks = found.looks
    assert len(looks) == 80
    assert (looks["rejected"].astype(bool) == (looks["decision"] == CROSSED)).all()
    shares = found.operating.set_index("measure")["value"]
    assert shares["power over all looks"] == looks.loc[looks["design"] == "trial", "rejected"].mean()
