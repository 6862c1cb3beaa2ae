"""Draws without some of the figures, held to normal models whose posterior is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from left_out import PAGE, TABLE, by_class, turned, units
from scipy.stats import multivariate_normal, norm

from ranklsim.pkpd.evidence.records import class_of, load_evidence
from ranklsim.pkpd.fitting.fit import Problem, make_problem
from ranklsim.pkpd.fitting.left_out import TRUSTED, band, moved, smoothed_weights
from ranklsim.pkpd.fitting.spec import load_spec

RNG = np.random.default_rng(1)
SLOPE, INTERCEPT = RNG.standard_normal((12, 3)), RNG.standard_normal(12)
LEFT = np.arange(12) >= 9
SLOPE[LEFT] *= 0.5


def posterior(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of scores with a standard normal prior, given residuals that are linear in them."""
    covariance = np.linalg.inv(np.eye(3) + SLOPE[rows].T @ SLOPE[rows])
    return -covariance @ SLOPE[rows].T @ INTERCEPT[rows], covariance


def test_weights_make_the_posterior_without_some_figures() -> None:
    draws = RNG.multivariate_normal(*posterior(np.ones(12, dtype=bool)), size=100_000)
    residual = draws @ SLOPE.T + INTERCEPT
    weight, k = smoothed_weights(np.square(residual[:, LEFT]).sum(axis=1) / 2)
    mean, covariance = posterior(~LEFT)
    assert k < TRUSTED
    assert weight.sum() == pytest.approx(1)
    np.testing.assert_allclose(weight @ draws, mean, atol=0.02)
    away = draws - weight @ draws
    np.testing.assert_allclose((away * weight[:, None]).T @ away, covariance, atol=0.02)


def test_moved_draws_are_those_of_the_posterior_without_some_figures() -> None:
    mean, covariance = posterior(np.ones(12, dtype=bool))
    wanted, spread = posterior(~LEFT)
    # Points that have exactly this mean and covariance: one on each side of each axis.
    axes = np.sqrt(3) * np.linalg.cholesky(covariance).T
    points = moved(np.concatenate([mean + axes, mean - axes]), SLOPE, LEFT, SLOPE @ mean + INTERCEPT)
    np.testing.assert_allclose(points.mean(axis=0), wanted, atol=1e-9)
    np.testing.assert_allclose(np.cov(points.T, bias=True), spread, atol=1e-9)


@pytest.mark.parametrize(
    ("seed", "scale", "n", "k", "most", "worth"),
    [
        (1, 0.5, 100, 0.38943774000201614, 0.02745743415327427, 85.47571686296797),
        (2, 1.5, 400, 0.4771847547203515, 0.06203094342798246, 69.55072903581276),
        (3, 4.0, 1000, 1.4255416022759677, 0.5532604182663496, 3.0331291634949067),
    ],
)
def test_weights_are_those_of_another_implementation(
    seed: int, scale: float, n: int, k: float, most: float, worth: float
) -> None:
    """As by `psislw` of arviz-stats 0.8.0, which is given a log likelihood, the negative of the log ratio."""
    weight, shape = smoothed_weights(scale * np.random.default_rng(seed).standard_normal(n))
    assert (shape, weight.max(), 1 / np.square(weight).sum()) == pytest.approx((k, most, worth), rel=1e-10)


def test_weights_of_equal_draws_are_equal() -> None:
    weight, k = smoothed_weights(np.zeros(50))
    np.testing.assert_allclose(weight, 1 / 50)
    assert k == np.inf


def test_the_interval_has_the_spread_of_draws_and_that_of_a_figure() -> None:
    values = norm.ppf((np.arange(4000) + 0.5) / 4000)[:, None] * 3 + np.array([5.0, -5.0])
    weight = np.full(4000, 1 / 4000)
    median, low, high = band(values, weight, np.array([4.0, 1e-6]), 0.9)
    np.testing.assert_allclose(median, [5, -5], atol=1e-9)
    half = 1.6448536 * np.array([5.0, 3.0])
    np.testing.assert_allclose([low, high], np.array([5, -5]) + np.array([-half, half]), atol=5e-3)


def test_figures_left_out_are_judged_given_the_rest() -> None:
    evidence = load_evidence()
    rows = evidence.observations
    some = evidence.subset(rows["arm"].isin(["data-denosumab", "data-teriparatide"]) & (rows["unit"] == "%"))
    problem = Problem(load_spec("default"), make_problem(load_spec("default")).table, some)
    away = RNG.standard_normal(len(problem.observed))
    left = (some.observations["month"] >= 12).to_numpy()  # points of a curve whose first points stay
    white = turned(problem, left) @ np.linalg.solve(np.linalg.cholesky(problem.covariance), away)
    np.testing.assert_allclose(turned(problem, left).T @ turned(problem, left), np.eye(len(left)), atol=1e-9)
    kept = problem.covariance[np.ix_(~left, ~left)]
    both = [multivariate_normal(cov=c).logpdf(x) for c, x in ((problem.covariance, away), (kept, away[~left]))]
    determinants = [np.linalg.slogdet(c)[1] for c in (problem.covariance, kept)]
    given = np.log(2 * np.pi) * left.sum() + determinants[0] - determinants[1]
    assert np.square(white[-left.sum() :]).sum() == pytest.approx(-2 * (both[0] - both[1]) - given)


def test_every_figure_is_left_out_once() -> None:
    evidence = make_problem(load_spec("ensemble")).evidence
    found = units(evidence)
    assert (np.sum([unit.predicted for unit in found], axis=0) == 1).all()
    assert all(unit.left[unit.predicted].all() for unit in found)
    # an agent that one trial alone has given is predicted from another of its arms
    name = "Recker2015, recker-180-q2w"
    assert {unit.name for unit in found} > {"FREEDOM", "PHASE2_20010223", "DATA", name, "DATA, data-combination"}


def test_papers_on_one_trial_are_one_study() -> None:
    study = {arm.id: arm.study for arm in load_evidence().arms.values()}
    assert study["freedom-extension"] == study["freedom-denosumab"]
    assert study["phase2-alendronate"] == study["phase2-210"]
    assert len({study[f"{name}-romosozumab"] for name in ("arch", "frame", "structure")}) == 3


def test_the_page_has_the_table_of_the_file() -> None:
    frame = pd.read_csv(TABLE)
    evidence = make_problem(load_spec("ensemble")).evidence
    assert list(frame["arm"]) == list(evidence.observations["arm"])
    assert list(frame["of"]) == [class_of(evidence, arm) for arm in frame["arm"]]
    assert by_class(frame) in PAGE.read_text("utf-8")
