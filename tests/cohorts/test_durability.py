"""Durability and rebound of curves whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from ranklsim.cohorts.durability import after_treatment, share_kept
from ranklsim.cohorts.protocol.design import ends_of_treatment, turning_month
from ranklsim.cohorts.protocol.trial import load_trial
from ranklsim.pkpd.agents import load_agent

MONTHS = np.arange(0.0, 60.1, 0.5)


def tent(peak: float, end: float, slope: float) -> np.ndarray:
    """Rises to `peak` at `end`, then falls by `slope` a month."""
    return np.where(MONTHS <= end, peak * MONTHS / end, peak - slope * (MONTHS - end))


def test_a_gain_that_falls_by_a_twelfth_a_month_is_gone_after_a_year() -> None:
    change = tent(6.0, 36.0, 0.5)[None]
    found = after_treatment(MONTHS, {"LS": change}, np.full((1, MONTHS.size), 100.0), 36.0)
    assert found["gain_LS"] == pytest.approx(6.0)
    assert found["left_LS_12"] == pytest.approx(0.0)
    assert found["kept_LS_12"] == pytest.approx(0.0)
    assert found["kept_LS_24"] == pytest.approx(-100.0)
    assert found["back_LS"] == pytest.approx(12.0)


def test_a_gain_that_lasts_is_not_back_and_one_that_is_none_has_no_share() -> None:
    change = np.vstack([tent(6.0, 36.0, 0.05), tent(0.9, 36.0, 0.05), tent(-2.0, 36.0, 0.0)])
    found = after_treatment(MONTHS, {"TH": change}, np.full((3, MONTHS.size), 50.0), 36.0)
    assert found["back_TH"][0] == np.inf
    assert found["back_TH"][2] == 0.0
    assert found["kept_TH_12"][0] == pytest.approx(90.0)
    assert np.isnan(found["kept_TH_12"][1:]).all()


def test_peak_and_area_of_a_triangle() -> None:
    ctx = 40.0 + np.interp(MONTHS, [0, 36, 42, 54, 60], [0, 0, 120, 60, 60])
    found = after_treatment(MONTHS, {}, np.vstack([ctx, np.full(MONTHS.size, 102.0)]), 36.0)
    assert found["peak_CTX"] == pytest.approx([160.0, 102.0])
    assert found["peak_CTX_month"][0] == 6.0
    assert np.isnan(found["peak_CTX_month"][1])  # a rise within the assay's error has no month
    assert found["area_CTX"] == pytest.approx([60 * 3 / 2 + 60 * 12 / 2, 2.0 * 24])


def test_without_months_after_treatment_only_the_gain_is_known() -> None:
    found = after_treatment(MONTHS, {"LS": tent(6.0, 60.0, 0.0)[None]}, np.full((1, MONTHS.size), 50.0), 66.0)
    assert list(found) == ["gain_LS"]
    short = after_treatment(MONTHS, {"LS": tent(6.0, 54.0, 0.1)[None]}, np.full((1, MONTHS.size), 50.0), 54.0)
    assert "kept_LS_12" not in short
    assert {"back_LS", "peak_CTX"} <= set(short)
    assert np.isnan(share_kept(MONTHS, np.full((1, MONTHS.size), 5.0), 54.0, 12.0)).all()


def test_treatment_ends_with_the_last_interval_or_where_all_arms_switch() -> None:
    for name, end in (("modality", 36.0), ("freedom", 36.0)):
        trial = load_trial(name)
        agents = {a: load_agent(a) for a in trial.agent_names()}
        assert set(ends_of_treatment(trial.arms, agents).values()) == {end}
        assert turning_month(trial.arms) is None
    trial = load_trial("exit")
    agents = {a: load_agent(a) for a in trial.agent_names()}
    assert turning_month(trial.arms) == pytest.approx(24.0)
    assert set(ends_of_treatment(trial.arms, agents).values()) == {24.0}
