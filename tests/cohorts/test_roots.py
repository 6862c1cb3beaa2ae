"""The root of a function of one number, against scipy's."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import brentq

from ranklsim.cohorts.statistics.roots import root


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("f", "low", "high"),
    [
        (lambda x: math.cos(x) - x, 0.0, 1.0),
        (lambda x: math.exp(x) - 1e-9, -50.0, 10.0),
        (lambda x: math.atan(1e6 * (x - 0.3)), -1.0, 1.0),
        (lambda x: -1.0 if x < 1e-7 else 1.0, -1.0, 2.0),
        (lambda x: x**3 - 2 * x - 5, 2.0, 3.0),
        (lambda x: math.tanh(x - 7), -1e3, 1e4),
    ],
)
def test_a_root_is_where_scipy_finds_it(f, low: float, high: float, turned: bool) -> None:
    calls: list[float] = []

    def counted(x: float) -> float:
        calls.append(x)
        return f(x)

    found = root(counted, *((high, low) if turned else (low, high)), 1e-12)
    assert found == pytest.approx(brentq(f, low, high, xtol=1e-12), abs=3e-12)
    assert len(calls) < 70


def test_a_root_of_high_order_is_found_within_what_the_numbers_hold() -> None:
    assert root(lambda x: (x - 1.5) ** 9, -20.0, 20.0, 1e-12) == pytest.approx(1.5, abs=1e-12)


def test_an_end_that_is_a_root_or_infinite_and_no_root_at_all() -> None:
    assert root(lambda x: x, 0.0, 1.0, 1e-9) == 0.0
    assert root(lambda x: x - 1, 0.0, 1.0, 1e-9) == 1.0
    assert root(lambda x: -np.inf if x < 0.1 else np.log(x), 0.0, 2.0, 1e-12) == pytest.approx(1.0, abs=1e-12)
    for f in (lambda x: 1.0, lambda x: np.nan):
        with pytest.raises(ValueError, match="no root"):
            root(f, 0.0, 1.0, 1e-9)
