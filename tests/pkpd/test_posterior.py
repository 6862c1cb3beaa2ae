"""Draws from posteriors whose answer is known in closed form: linear models with normal errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ranklsim.pkpd.errors import BadInput
from ranklsim.pkpd.fitting import posterior
from ranklsim.pkpd.fitting.spec import Fitted

# Two fitted parameters and an assumed one; figures tell of the third only through what the first two can't take up.
DESIGN = np.array([[2.0, 0.0, 0.5], [1.0, 1.0, 0.0], [0.0, 3.0, -0.5], [1.0, -1.0, 1.0], [0.5, 0.5, 0.5]])
OBSERVED = np.array([1.0, 0.3, -0.4, 0.8, 0.5])
PARAMETERS = tuple(Fitted(name, "none", 0.0, -low, low) for name, low in (("a", 9.0), ("b", 9.0), ("s", 8.0)))
ASSUMED = np.array([False, False, True])
INFORMATION = DESIGN.T @ DESIGN
MEAN = np.linalg.solve(INFORMATION, DESIGN.T @ OBSERVED)
COVARIANCE = np.linalg.inv(INFORMATION)


def residuals(theta: np.ndarray) -> np.ndarray:
    return theta @ DESIGN.T - OBSERVED


def check(theta: np.ndarray, effective: float) -> None:
    sd = np.sqrt(np.diag(COVARIANCE))
    assert np.abs((theta.mean(axis=0) - MEAN) / sd).max() < 4 / np.sqrt(effective)
    ratio = theta.std(axis=0) / sd
    assert np.abs(ratio - 1).max() < 4 / np.sqrt(2 * effective)
    assert np.corrcoef(theta.T) == pytest.approx(COVARIANCE / np.outer(sd, sd), abs=4 / np.sqrt(effective))


def test_importance_draws_of_a_linear_model_are_its_posterior(tmp_path: Path) -> None:
    found = posterior.importance(
        residuals, PARAMETERS, np.zeros(3), DESIGN, ASSUMED, candidates=4000, keep=2000, seed=3, kept=tmp_path / "c.npz"
    )
    assert found.effective > 500
    check(found.theta, min(found.effective, 2000))
    least = OBSERVED @ OBSERVED - OBSERVED @ DESIGN @ MEAN
    assert found.least == pytest.approx(least, abs=0.01)
    again = posterior.importance(
        residuals, PARAMETERS, np.zeros(3), DESIGN, ASSUMED, candidates=4000, keep=2000, seed=3, kept=tmp_path / "c.npz"
    )
    assert np.array_equal(found.theta, again.theta)
    assert found.trouble(["a", "b", "s"]) == ""


def test_importance_that_rests_on_few_candidates_says_so() -> None:
    found = posterior.importance(
        lambda theta: 50 * residuals(theta), PARAMETERS, np.zeros(3), 50 * DESIGN, ASSUMED, candidates=200, keep=50
    )
    assert "more are needed" in found.trouble(["a", "b", "s"])


def test_the_walk_of_a_linear_model_is_its_posterior_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    def walk(steps: int, name: str) -> posterior.Walk:
        return posterior.sample(
            residuals, PARAMETERS, np.zeros(3), DESIGN, anywhere=ASSUMED, walkers=40, steps=steps, burn=100, seed=2,
            kept=tmp_path / name,
        )  # fmt: skip

    whole = walk(600, "whole.npz")
    assert whole.trouble(["a", "b", "s"]) == ""
    check(whole.flat, float(whole.effective.min()))
    walk(125, "parts.npz")
    assert np.array_equal(walk(600, "parts.npz").chain, whole.chain)


def test_draws_of_a_walk_come_from_every_walker() -> None:
    chain = np.arange(200 * 10, dtype=float).reshape(200, 10, 1)
    drawn, _ = posterior.Walk(chain, np.zeros((200, 10)), 0.3).draws(100)
    assert set((drawn[:, 0] % 10).astype(int)) == set(range(10))


def test_too_few_walkers_and_a_burn_in_without_end_are_refused() -> None:
    with pytest.raises(BadInput, match="4 walkers for 3 parameters"):
        posterior.sample(residuals, PARAMETERS, np.zeros(3), DESIGN, walkers=4)
    with pytest.raises(BadInput, match="burn is 10 of 10 steps"):
        posterior.sample(residuals, PARAMETERS, np.zeros(3), DESIGN, steps=10, burn=10)
