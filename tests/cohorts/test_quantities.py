"""Quantities of a course: what their words mean, by closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from ranklsim.cohorts.quantities import parse_quantity_of_course
from ranklsim.pkpd.errors import BadInput

MONTHS = np.arange(0.0, 61.0)
COURSE = {
    "BMD_LS": np.vstack([1.0 + 0.001 * MONTHS, 2.0 - 0.002 * MONTHS]),
    "CTX": np.vstack([0.5 * (1 + np.sin(np.pi * MONTHS / 60)), np.full(61, 0.4)]),
    "OCC_mRANKL": np.vstack([MONTHS, 60.0 - MONTHS]),
}
DOSE = np.array([120.0, 60.0])


@pytest.mark.parametrize(
    ("text", "values", "unit"),
    [
        ("change of BMD_LS at 36 mo", [3.6, -3.6], "%"),
        ("change of BMD_LS at 3 yr", [3.6, -3.6], "%"),
        ("change of BMD_LS from 20 mo to 40 mo", [100 * (1.04 / 1.02 - 1), 100 * (1.92 / 1.96 - 1)], "%"),
        ("change of BMD_LS from end of treatment to 12 mo after treatment", [100 * (1.048 / 1.036 - 1), None], "%"),
        ("highest CTX after treatment", [100 * (1 + np.sin(np.pi * 36 / 60)), 100.0], "% of baseline"),
        ("peak of CTX after the last dose", [100 * (1 + np.sin(np.pi * 36 / 60)), 100.0], "% of baseline"),
        ("peak of CTX from 0 mo to 60 mo", [200.0, 100.0], "% of baseline"),
        ("lowest CTX from 0 mo to 30 mo", [100.0, 100.0], "% of baseline"),
        ("CTX at 30 mo", [200.0, 100.0], "% of baseline"),
        ("OCC_mRANKL at 6 mo", [6.0, 54.0], "%"),
        ("mean OCC_mRANKL from 0 mo to 60 mo", [30.0, 30.0], "%"),
        ("dose a year", [120.0, 60.0], "mg/yr"),
    ],
)
def test_words_mean_these_numbers(text: str, values: list[float | None], unit: str) -> None:
    quantity = parse_quantity_of_course(text)
    found = quantity.of_course(MONTHS, COURSE, 36.0, DOSE)
    assert quantity.unit == unit
    for number, value in zip(found, values, strict=True):
        if value is not None:
            assert number == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("gain of bone", "not a quantity"),
        ("change of BMD_L5 at 36 mo", "'BMD_LS'"),
        ("change of BMD_LS at 36", "no unit"),
        ("change of BMD_LS at -3 mo", "before the first dose"),
        ("mean CTX after treatment", "two times"),
    ],
)
def test_words_that_say_nothing_are_refused(text: str, part: str) -> None:
    with pytest.raises(BadInput, match=part):
        parse_quantity_of_course(text, "question.toml:3")


def test_a_time_that_is_not_simulated_is_refused() -> None:
    with pytest.raises(BadInput, match="ends at month 60"):
        parse_quantity_of_course("BMD_LS at 48 mo after treatment").months(36.0, 60.0)
    with pytest.raises(BadInput, match="begins at month 40"):
        parse_quantity_of_course("change of BMD_LS from 40 mo to 20 mo").months(36.0, 60.0)
