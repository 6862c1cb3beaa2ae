"""Draws from posteriors whose answer is known in closed form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.special import ndtr, ndtri

from ranklsim.pkpd.fitting import posterior
from ranklsim.pkpd.fitting.spec import Fitted
from ranklsim.pkpd.fitting.surrogate import Surrogate

# Linear models with normal errors. Figures tell of the third parameter only through what the first two can't take up.
DESIGN = np.array([[2.0, 0.0, 0.5], [1.0, 1.0, 0.0], [0.0, 3.0, -0.5], [1.0, -1.0, 1.0], [0.5, 0.5, 0.5]])
OBSERVED = np.array([1.0, 0.3, -0.4, 0.8, 0.5])
PARAMETERS = tuple(Fitted(name, "none", 0.0, -low, low) for name, low in (("a", 9.0), ("b", 9.0), ("s", 8.0)))
INFORMATION = DESIGN.T @ DESIGN
MEAN = np.linalg.solve(INFORMATION, DESIGN.T @ OBSERVED)
COVARIANCE = np.linalg.inv(INFORMATION)


def residuals(theta: np.ndarray) -> np.ndarray:
    return theta @ DESIGN.T - OBSERVED


def test_draws_and_evidence_of_a_linear_model_are_those_in_closed_form(tmp_path: Path) -> None:
    found = posterior.sample(residuals, PARAMETERS, np.zeros(3), DESIGN, particles=2000, seed=3)
    assert found.effective > 1000
    assert found.trouble() == ""
    sd = np.sqrt(np.diag(COVARIANCE))
    assert np.abs((found.theta.mean(axis=0) - MEAN) / sd).max() < 4 / np.sqrt(found.effective)
    assert np.abs(found.theta.std(axis=0) / sd - 1).max() < 4 / np.sqrt(2 * found.effective)
    correlation = COVARIANCE / np.outer(sd, sd)
    assert np.corrcoef(found.theta.T) == pytest.approx(correlation, abs=4 / np.sqrt(found.effective))
    least = OBSERVED @ OBSERVED - OBSERVED @ DESIGN @ MEAN
    volume = np.prod([p.high - p.low for p in PARAMETERS])
    exact = -0.5 * least + 0.5 * np.linalg.slogdet(2 * np.pi * COVARIANCE)[1] - np.log(volume)
    assert found.log_evidence == pytest.approx(exact, abs=0.15)


def test_draws_that_begin_around_earlier_ones_are_of_the_same_posterior() -> None:
    """The earlier ones lie a standard deviation off and are half as wide."""
    rng = np.random.default_rng(5)
    earlier = MEAN + np.sqrt(np.diag(COVARIANCE)) + 0.5 * rng.multivariate_normal(np.zeros(3), COVARIANCE, size=400)
    found = posterior.sample(residuals, PARAMETERS, np.zeros(3), DESIGN, particles=2000, around=earlier, seed=3)
    assert found.effective > 1000
    sd = np.sqrt(np.diag(COVARIANCE))
    assert np.abs((found.theta.mean(axis=0) - MEAN) / sd).max() < 4 / np.sqrt(found.effective)
    assert np.abs(found.theta.std(axis=0) / sd - 1).max() < 4 / np.sqrt(2 * found.effective)
    begun_at_estimate = posterior.sample(residuals, PARAMETERS, MEAN, DESIGN, particles=2000, seed=3)
    assert found.log_evidence == pytest.approx(begun_at_estimate.log_evidence, abs=0.2)


def test_quantiles_and_evidence_in_ten_dimensions_are_those_in_closed_form() -> None:
    """Thirty figures that tell some directions a hundred times better than others."""
    rng = np.random.default_rng(11)
    turned, _ = np.linalg.qr(rng.standard_normal((10, 10)))
    design = np.linalg.qr(rng.standard_normal((30, 10)))[0] @ np.diag(np.geomspace(100, 1, 10)) @ turned
    observed = design @ rng.uniform(-0.5, 0.5, 10) + rng.standard_normal(30)
    flat = tuple(Fitted(f"x{k}", "none", 0.0, -9.0, 9.0) for k in range(10))
    covariance = np.linalg.inv(design.T @ design)
    mean, sd = covariance @ design.T @ observed, np.sqrt(np.diag(covariance))
    found = posterior.sample(lambda theta: theta @ design.T - observed, flat, mean, design, particles=1000, seed=4)
    assert found.effective > 500
    for share in (0.05, 0.5, 0.95):
        exact = mean + ndtri(share) * sd
        assert (np.abs(np.quantile(found.theta, share, axis=0) - exact) / sd).max() < 0.25
    least = float(np.square(design @ mean - observed).sum())
    exact = -0.5 * least + 0.5 * np.linalg.slogdet(2 * np.pi * covariance)[1] - 10 * np.log(18)
    assert found.log_evidence == pytest.approx(exact, abs=0.15)


def test_evidence_counts_a_prior_as_a_distribution() -> None:
    """One figure y = x + e, e of SD 1, x of prior mean 0.5 and SD 2: y is normal with variance 5."""
    prior = (Fitted("x", "none", 0.0, -30.0, 30.0, prior_mean=0.5, prior_sd=2.0),)

    def both(theta: np.ndarray) -> np.ndarray:
        return np.column_stack([theta[:, 0] - 1.7, (theta[:, 0] - 0.5) / 2])

    found = posterior.sample(both, prior, np.array([1.0]), np.array([[1.0], [0.5]]), particles=1000, seed=1)
    exact = -0.5 * np.log(5.0) - 0.5 * (1.7 - 0.5) ** 2 / 5
    assert found.log_evidence == pytest.approx(exact, abs=0.1)
    assert found.theta.mean() == pytest.approx(0.5 + 1.2 * 4 / 5, abs=0.15)


def test_two_modes_keep_their_shares() -> None:
    """A mixture of a mode of weight 0.7 at -1 and one of 0.3 at +1, started from the smaller one."""
    one = (Fitted("x", "none", 0.0, -3.0, 3.0), Fitted("y", "none", 0.0, -3.0, 3.0))

    def two(theta: np.ndarray) -> np.ndarray:
        x, y = theta.T
        left, right = 0.7 * np.exp(-0.5 * ((x + 1) / 0.2) ** 2), 0.3 * np.exp(-0.5 * ((x - 1) / 0.2) ** 2)
        return np.column_stack([np.sqrt(-2 * np.log(left + right + 1e-300)), y])

    found = posterior.sample(two, one, np.array([0.5, 0.0]), np.array([[0.6, 0.0], [0.0, 1.0]]), particles=2000, seed=2)
    assert (found.theta[:, 0] < 0).mean() == pytest.approx(0.7, abs=0.05)
    area = np.sqrt(2 * np.pi) * 0.2 / 6 * np.sqrt(2 * np.pi) * (2 * ndtr(3.0) - 1) / 6
    assert found.log_evidence == pytest.approx(np.log(area), abs=0.1)


def test_draws_go_on_where_they_stopped(tmp_path: Path) -> None:
    whole = posterior.sample(residuals, PARAMETERS, np.zeros(3), DESIGN, particles=200, seed=3, kept=tmp_path / "a.npz")

    class Stopped(Exception):
        pass

    def stop(what: str, _: float) -> None:
        if what.endswith("move 2"):
            raise Stopped

    with pytest.raises(Stopped):
        posterior.sample(
            residuals, PARAMETERS, np.zeros(3), DESIGN, particles=200, seed=3, kept=tmp_path / "b.npz", progress=stop
        )
    again = posterior.sample(residuals, PARAMETERS, np.zeros(3), DESIGN, particles=200, seed=3, kept=tmp_path / "b.npz")
    assert np.array_equal(whole.theta, again.theta)
    assert whole.log_evidence == again.log_evidence


def test_a_polynomial_of_second_degree_is_found_again_with_its_slope() -> None:
    rng = np.random.default_rng(1)
    linear, bent = rng.normal(size=(3, 6)), 0.1 * rng.normal(size=(3, 3, 6))

    def objective(z: np.ndarray) -> np.ndarray:
        return np.square(1 + z @ linear + np.einsum("ni,nj,ijk->nk", z, z, bent)).sum(axis=1)

    z = rng.normal(size=(400, 3))
    residual = 1 + z @ linear + np.einsum("ni,nj,ijk->nk", z, z, bent)
    found = Surrogate(z, residual)
    near, step = z[:5], 1e-5
    value, slope = found.objective(near)
    constant = value - objective(near)
    assert constant == pytest.approx(constant[0], abs=0.5)
    for i in range(3):
        up, down = (objective(near + sign * step * np.eye(3)[i]) for sign in (1, -1))
        assert slope[:, i] == pytest.approx((up - down) / (2 * step), rel=0.1, abs=0.5)


def test_draws_are_right_however_wrong_the_polynomial_is() -> None:
    """A density far from a normal one in both directions: exp(-cosh) of a shear."""

    def sheared(theta: np.ndarray) -> np.ndarray:
        x, y = theta.T
        return np.column_stack([2 * np.sinh(x), y - 2 * x**2])

    flat = tuple(Fitted(name, "none", 0.0, -9.0, 9.0) for name in "xy")
    found = posterior.sample(sheared, flat, np.zeros(2), np.array([[2.0, 0.0], [0.0, 1.0]]), particles=3000, seed=5)
    x = np.linspace(-3, 3, 2001)
    weight = np.exp(-2 * np.sinh(x) ** 2)
    spread, mean = np.average(x**2, weights=weight), np.average(2 * x**2, weights=weight)
    assert found.theta[:, 0].var() == pytest.approx(spread, rel=0.1)
    assert found.theta[:, 1].mean() == pytest.approx(mean, abs=0.08)


def test_the_centre_of_draws_of_a_bent_model_predicts_what_they_do_in_the_middle() -> None:
    """And that of draws of which nothing is predicted is their mean in normal scores."""
    flat = tuple(Fitted(name, "none", 0.0, -1.0, 1.0) for name in "xy")
    theta = np.random.default_rng(4).uniform(-0.98, 0.98, size=(300, 2))

    def bent(here: np.ndarray) -> np.ndarray:
        return np.column_stack([10 * np.exp(here.sum(axis=1)), 5 * here[:, 0]])

    def slope(here: np.ndarray) -> np.ndarray:
        up = [10 * np.exp(here.sum())] * 2
        return np.array([up, [5.0, 0.0]])

    found = posterior.centre(theta, flat, bent, slope)
    middle = np.median(bent(theta), axis=0)
    assert bent(found[None])[0] == pytest.approx(middle, abs=0.2)
    straight = posterior.centre(theta, flat, lambda here: 0 * here, lambda here: np.zeros((2, 2)))
    assert ndtri((straight + 1) / 2) == pytest.approx(ndtri((theta + 1) / 2).mean(axis=0))


def test_few_particles_say_so() -> None:
    found = posterior.sample(residuals, PARAMETERS, np.zeros(3), DESIGN, particles=40)
    assert "more particles are needed" in found.trouble()
