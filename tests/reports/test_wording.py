"""Sentences of the report say what their numbers say, also where these have an unusual sign."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ranklsim.pkpd.errors import counted
from ranklsim.reports.csr import efficacy, mechanism
from ranklsim.reports.layout.tables import sig

ARMS: Any = [SimpleNamespace(name=name, label=name.upper(), treated=True) for name in ("a", "b", "c")]


def test_a_part_larger_than_its_sum_is_not_said_to_be_a_share_of_it() -> None:
    parts = {"a": (3.4, -2.7), "b": (3.0, 1.0)}
    rows = [
        {"arm": arm, "month": 36.0, "part": part, "mean": value, "total": sum(values)}
        for arm, values in parts.items()
        for part, value in zip(("mineralisation", "remodelling"), values, strict=True)
    ]
    names = {"mineralisation": "mineralisation", "remodelling": "remodelling space"}
    said = mechanism._parts_headline(pd.DataFrame(rows), ARMS, names, 36.0)
    assert "mineralisation +3.4, with −2.7 by the others (A)" in said
    assert "mineralisation 3.0 of 4.0 (B)" in said
    assert "3.4 of 0.7" not in said


def test_a_gain_that_became_a_loss_is_not_a_negative_share() -> None:
    frame = pd.DataFrame({"arm": ["a", "b", "c"], "kept_12": [24.0, -37.0, np.nan], "gain": [8.0, 1.2, 0.5]})
    said = efficacy._retention_headline(frame, ARMS, "lumbar spine BMD", "the end of treatment")
    assert "was 24% (A)." in said
    assert "Nothing was left 12 months after the end of treatment under B: mean lumbar spine BMD was below" in said
    assert "C had no gain to keep (mean change 1% or less)." in said
    assert "−37" not in said


@pytest.mark.parametrize(
    ("number", "noun", "said"),
    [(1, "study", "1 study"), (3, "study", "3 studies"), (1, "day", "1 day"), (0, "day", "0 days"),
     (2.0, "arm", "2 arms"), (1, "parameter vector", "1 parameter vector")],
)  # fmt: skip
def test_a_noun_is_in_the_singular_after_one(number: float, noun: str, said: str) -> None:
    assert counted(number, noun) == said


@pytest.mark.parametrize(("value", "digits", "said"), [(-0.12345, 3, "−0.123"), (-2e-7, 3, "−2e−07")])
def test_a_number_of_some_digits_has_a_true_minus_sign(value: float, digits: int, said: str) -> None:
    assert sig(value, digits) == said
