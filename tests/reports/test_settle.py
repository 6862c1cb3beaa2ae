"""What an experiment would tell: closed forms of the regression, and the shipped table."""

from __future__ import annotations

import helpers
import numpy as np
import pandas as pd
import pytest

from ranklsim.pkpd.ensemble import ensemble
from ranklsim.pkpd.parameters import load_parameters
from ranklsim.reports.sensitivity.settle import ALL, mean_width, narrowing, quantile_regression, questions, settle

RNG = np.random.default_rng(5)
ANSWER = RNG.standard_normal(1000)
script = helpers.script("settle")


def column(values: np.ndarray) -> np.ndarray:
    return np.asarray(values, dtype=float)[:, None]


def test_a_regression_on_a_constant_is_the_quantile() -> None:
    for share in (0.05, 0.5, 0.95):
        fitted = quantile_regression(np.ones((999, 1)), ANSWER[:999], share)
        assert np.ptp(fitted) < 1e-9
        below = (ANSWER[:999] < fitted[0] - 1e-9).sum(), (ANSWER[:999] <= fitted[0] + 1e-9).sum()
        assert below[0] <= 999 * share <= below[1]


def test_a_perfect_measure_of_the_answer_leaves_no_interval() -> None:
    assert narrowing(column(3 * ANSWER - 7), column(0 * ANSWER), ANSWER, 1) == pytest.approx(1, abs=1e-6)


def test_what_has_nothing_to_do_with_the_answer_tells_nothing() -> None:
    assert narrowing(column(RNG.standard_normal(1000)), column(0 * ANSWER), ANSWER, 1) < 0.03
    assert narrowing(column(0 * ANSWER), column(0 * ANSWER + 1), ANSWER, 1) < 0.03


def test_an_outcome_that_does_not_differ_leaves_the_whole_interval() -> None:
    low, high = np.quantile(ANSWER, [0.05, 0.95])
    assert mean_width(column(0 * ANSWER), ANSWER) == pytest.approx(high - low, rel=0.02)


@pytest.mark.parametrize("sd", [0.3, 1.0, 3.0])
def test_a_normal_answer_measured_with_error_keeps_the_sd_of_bayes_theorem(sd: float) -> None:
    """Prior variance 1, error variance s: the posterior SD is s / root(1 + s squared), that of prior and data."""
    expected = 1 - sd / np.hypot(1, sd)
    assert narrowing(column(ANSWER), column(np.full(1000, sd)), ANSWER, 2) == pytest.approx(expected, abs=0.04)


def test_two_measures_tell_what_their_sum_of_information_does() -> None:
    both = np.column_stack([ANSWER, ANSWER])
    expected = 1 - 1 / np.sqrt(1 + 2)
    assert narrowing(both, np.ones_like(both), ANSWER, 3) == pytest.approx(expected, abs=0.05)


def test_every_experiment_says_what_it_measures_and_why_so_exactly() -> None:
    asked = questions()
    assert {one["name"] for one in asked["experiment"]} == {"ovariectomy", "free-sRANKL", "biopsies"}
    for one in asked["experiment"]:
        assert all(measure["sd"] > 0 and measure["reason"] for measure in one["measure"])


def test_the_page_shows_the_table_of_the_data_file() -> None:
    assert script.page(pd.read_csv(script.TABLE)) == script.PAGE.read_text("utf-8"), "run scripts/settle.py"


@pytest.mark.slow
def test_the_shipped_table_is_what_the_shipped_ensemble_says() -> None:
    """With a fifth of the vectors, and so about."""
    shipped = pd.read_csv(script.TABLE).set_index(["answer", "experiment"])
    few = settle(ensemble().head(250), load_parameters()).set_index(["answer", "experiment"])
    assert list(few.index) == list(shipped.index)
    assert (few["width"] / shipped["width"]).between(0.7, 1.4).all()
    assert (few["narrower"] - shipped["narrower"]).abs().max() < 0.15
    assert (few.xs(ALL, level="experiment")["narrower"] > 0).any()
