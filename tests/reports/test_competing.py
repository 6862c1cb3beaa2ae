"""Competing events: Gray's test and Fine and Gray's model against closed forms and a known truth.

Those of R's cmprsk are requirements of `ranklsim qualify` (`tests/reports/test_qualify.py`).
"""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from statsmodels.duration.hazard_regression import PHReg

from ranklsim.cohorts.endpoints import Event
from ranklsim.cohorts.statistics import competing, survival
from ranklsim.pkpd.errors import BadInput
from ranklsim.reports.qualify.statistics import transplants


def drawn(n: int, seed: int, ratio: float = 1.0, *, others: bool = True, leaving: tuple = (0.3, 0.3)) -> pd.DataFrame:
    """Patients whose incidence follows Fine and Gray's model with this ratio: 1 - (1 - p(1 - exp(-t)))^ratio."""
    rng = np.random.default_rng(seed)
    arm = np.where(np.arange(n) % 2 == 0, "drug", "control")
    power, p = np.where(arm == "drug", ratio, 1.0), 0.5 if others else 1.0
    u = rng.uniform(size=n)
    mine = u < 1 - (1 - p) ** power
    with np.errstate(divide="ignore", invalid="ignore"):
        when = np.where(mine, -np.log(1 - (1 - (1 - u) ** (1 / power)) / p), rng.exponential(size=n))
    rate = np.where(arm == "drug", *leaving)
    left = rng.exponential(size=n) / np.where(rate > 0, rate, 1e-9)
    cause = np.where(left < when, 0, np.where(mine, 1, 2))
    table = pd.DataFrame({"arm": arm, "time": np.minimum(when, left), "cause": cause, "stratum": "one"})
    return table.assign(event=table["cause"] == 1)


def breslow(table: pd.DataFrame) -> PHReg:
    return PHReg(table["time"], (table["arm"] == "drug").to_numpy(float), table["cause"] == 1, ties="breslow").fit()


def test_without_a_competing_event_the_model_is_coxs_and_the_test_nearly_the_log_rank():
    table = drawn(600, 1, 0.6, others=False)
    assert not (table["cause"] == 2).any()
    fit, found = breslow(table), competing.fine_gray(table, "drug", "control")
    assert np.log(found["estimate"]) == pytest.approx(fit.params[0], abs=1e-7)
    assert found["std_error"] == pytest.approx(fit.bse[0], rel=0.05)  # robust, not model-based
    rank = survival.log_rank(table, ["drug", "control"])["chi2"]
    assert competing.gray(table, ["drug", "control"])["chi2"] == pytest.approx(rank, rel=0.03)


def test_without_censoring_the_model_is_coxs_with_the_dead_at_risk_to_the_end():
    table = drawn(500, 2, 0.6, leaving=(0.0, 0.0))
    assert (table["cause"] > 0).all()
    for_ever = table.assign(time=np.where(table["cause"] == 2, 1e6, table["time"]))
    found = competing.fine_gray(table, "drug", "control")
    assert np.log(found["estimate"]) == pytest.approx(breslow(for_ever).params[0], abs=1e-7)
    never = competing.fine_gray(for_ever.assign(cause=for_ever["cause"].replace(2, 0)), "drug", "control")
    assert found["std_error"] == pytest.approx(never["std_error"], rel=1e-9)


def test_the_true_ratio_is_found_though_one_arm_is_left_five_times_as_often():
    table = drawn(8000, 3, 0.6, leaving=(1.0, 0.2))
    found = competing.fine_gray(table, "drug", "control")
    assert abs(np.log(found["estimate"] / 0.6)) < 2.5 * found["std_error"]


@pytest.mark.slow
def test_the_sandwich_is_the_jackknife():
    table = drawn(400, 4, 0.6, leaving=(0.6, 0.2))
    found = competing.fine_gray(table, "drug", "control")
    slopes = [np.log(competing.fine_gray(table.drop(k), "drug", "control")["estimate"]) for k in table.index]
    jackknife = np.sqrt((len(table) - 1) / len(table) * np.sum((slopes - np.mean(slopes)) ** 2))
    assert found["std_error"] == pytest.approx(jackknife, rel=0.03)


def test_strata_that_are_copies_of_each_other_say_the_same_twice():
    table = drawn(200, 5, 0.6)
    twice = pd.concat([table, table.assign(stratum="other", time=table["time"] * 3)], ignore_index=True)
    one, two = (competing.gray(t, ["drug", "control"], stratified=True)["chi2"] for t in (table, twice))
    assert two == pytest.approx(2 * one)
    one, two = (competing.fine_gray(t, "drug", "control", stratified=True) for t in (table, twice))
    assert two["estimate"] == pytest.approx(one["estimate"])
    assert two["std_error"] == pytest.approx(one["std_error"] / np.sqrt(2))


def test_rows_in_another_order_and_time_in_another_unit_change_nothing():
    table = transplants("LOW", "HIGH")
    other = table.sample(frac=1, random_state=1).assign(time=lambda t: t["time"] / 365.25)
    one, two = (competing.fine_gray(t, "LOW", "HIGH", stratified=True) for t in (table, other))
    assert two == pytest.approx(one)
    assert competing.gray(other, ["LOW", "HIGH"]) == pytest.approx(competing.gray(table, ["LOW", "HIGH"]))


def test_an_arm_without_event_has_a_ratio_of_0_and_one_without_patients_is_refused():
    table = drawn(60, 6)
    silent = table.assign(cause=np.where((table["cause"] == 1) & (table["arm"] == "drug"), 0, table["cause"]))
    found = competing.fine_gray(silent, "drug", "control")
    assert (found["estimate"], found["low"]) == (0.0, 0.0)
    assert found["p"] == pytest.approx(competing.gray(silent, ["drug", "control"])["p"])
    assert (found["high"] < 1) == (found["p"] < 0.05)
    with pytest.raises(BadInput, match="no patient of other is left"):
        competing.gray(table, ["drug", "other"])
    nothing = competing.gray(table.assign(cause=0), ["drug", "control"])
    assert np.isnan(nothing["p"])


def test_an_endpoint_analysed_so_has_the_ratio_with_the_p_of_its_own_analysis():
    table = transplants("LOW", "HIGH")
    gray = Event(name="relapse", role="primary", analysis="Gray", event="hip", by_month=3000.0)
    found = gray.effect(table, "LOW", "HIGH", "subdistribution hazard ratio")
    assert found["p"] == pytest.approx(0.001208563353, rel=1e-9)
    assert found["method"] == "Fine-Gray, stratified; p of Gray's test, stratified"
    wald = replace(gray, analysis="Fine-Gray").effect(table, "LOW", "HIGH", "subdistribution hazard ratio")
    assert wald["estimate"] == found["estimate"]
    assert wald["p"] != found["p"]


@pytest.mark.parametrize("side", ["a", "b"])
def test_a_ratio_that_the_strata_leave_without_end_is_0_or_infinite(side: str) -> None:
    # In stratum s only one arm has an event; the event of the other arm comes in t, where nobody else is at risk.
    other = "b" if side == "a" else "a"
    rows = [(side, "s", 1, 1), (side, "s", 9, 0), (other, "s", 9, 0), (other, "s", 9, 0)]
    rows += [(other, "t", 3, 1), (other, "t", 9, 0), (side, "t", 1, 0), (side, "t", 2, 0)]
    table = pd.DataFrame(rows, columns=["arm", "stratum", "time", "cause"]).assign(patient=range(8))
    table["event"] = table["cause"] == 1
    for found in (f(table, "a", "b", stratified=True) for f in (competing.fine_gray, survival.cox)):
        ends = found["estimate"], found["low"], found["high"]
        assert ends == ((np.inf, ends[1], np.inf) if side == "a" else (0.0, 0.0, ends[2]))
        assert 0 <= ends[1] <= 1 <= ends[2]
        assert found["p"] == pytest.approx(survival.log_rank(table, ["a", "b"], stratified=True)["p"])
