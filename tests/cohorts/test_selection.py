"""Why T-scores of spine and hip go against each other among women included by the lower of the two."""

import numpy as np
import pytest
from scipy.optimize import least_squares

PUBLISHED = (-2.82, 0.70, -1.90, 0.81)  # FREEDOM: mean and SD of spine and hip (population postmenopausal-osteoporosis)


@pytest.mark.parametrize(("before", "after"), [(0.3, -0.35), (0.65, -0.27), (0.5, -0.30)])
def test_no_correlation_before_inclusion_makes_that_of_the_enrolled_positive(before, after):
    grid = np.arange(-6, 2, 0.08) + 0.04
    spine, hip = np.meshgrid(grid, grid, indexing="ij")
    let_in = (np.minimum(spine, hip) <= -2.5) & (np.minimum(spine, hip) >= -4.0)

    def enrolled(of):
        u, v = (spine - of[0]) / np.exp(of[1]), (hip - of[2]) / np.exp(of[3])
        weight = np.exp(-(u**2 - 2 * before * u * v + v**2) / (2 * (1 - before**2))) * let_in
        weight /= weight.sum()
        means = [(weight * x).sum() for x in (spine, hip)]
        sds = [np.sqrt((weight * (x - m) ** 2).sum()) for x, m in zip((spine, hip), means, strict=True)]
        together = (weight * (spine - means[0]) * (hip - means[1])).sum() / (sds[0] * sds[1])
        return np.array([means[0], sds[0], means[1], sds[1]]), together

    found = least_squares(lambda of: enrolled(of)[0] - PUBLISHED, [-2.4, -0.1, -1.6, -0.1])
    assert np.abs(found.fun).max() < 1e-6  # the published means and SDs are met
    assert enrolled(found.x)[1] == pytest.approx(after, abs=0.03)
