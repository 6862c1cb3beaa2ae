"""The typical patient against published figures, each with its tolerance and source.

The tolerance is the spread between trials that measured the same thing, and never tighter than 0.5 percentage points of
BMD or 5 points of a marker. A median or mean of a trial is not the typical patient, so like is compared with like: the
offset of the evidence between the two is added.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from helpers import offset

from ranklsim.pkpd.agents import load_agent
from ranklsim.pkpd.dosing import parse_regimen
from ranklsim.pkpd.parameters import load_parameters
from ranklsim.pkpd.typical import simulate_typical

EASTELL, DEFEND, DEFEND_OFF = "10.1002/jbmr.251", "10.1210/jc.2007-2814", "10.1210/jc.2010-1502"
FREEDOM, EXTENSION, LABEL = "10.1056/NEJMoa0809493", "10.1007/s00198-015-3234-7", "BLA125320"


def course(regimen: str, months: list[float], **covariates: float) -> pd.DataFrame:
    regimens = parse_regimen(regimen) if regimen else []
    return simulate_typical(regimens, months=months, covariates=covariates).set_index("month")


ARMS = {EASTELL: "freedom-denosumab", FREEDOM: "freedom-denosumab", EXTENSION: "freedom-extension",
        DEFEND: "defend-denosumab"}  # fmt: skip
HIP = pytest.mark.xfail(strict=True, reason="the hip gains too little after year 3: docs/calibration.md, misfits")
LONG = course("denosumab 60mg every 6mo x10", [0.1, 1, 6, 12, 24, 36, 60], supplements=1)
STOPPED = course("denosumab 60mg every 6mo x4", list(range(49)), supplements=1)
UNTREATED = course("", [12, 24, 36, 48], supplements=1)


@pytest.mark.parametrize(
    ("column", "month", "published", "tolerance", "source"),
    [
        ("CTX_pct", 0.1, 15, 6, LABEL),  # -85 % by day 3
        ("CTX_pct", 1, 10.5, 5, EASTELL),
        ("CTX_pct", 6, 24, 9, EASTELL),
        ("CTX_pct", 12, 31, 8, DEFEND),
        ("CTX_pct", 36, 44, 13, EASTELL),  # 32 % here, 57 % in phase 2 (10.1016/j.bone.2008.04.007): between the two
        ("BMD_LS_pct", 12, 5.0, 0.7, FREEDOM),
        ("BMD_LS_pct", 24, 7.7, 0.9, FREEDOM),
        ("BMD_LS_pct", 36, 9.4, 0.8, FREEDOM),
        ("BMD_LS_pct", 60, 13.7, 1.2, EXTENSION),
        ("BMD_TH_pct", 12, 3.0, 0.6, FREEDOM),
        ("BMD_TH_pct", 24, 4.0, 0.7, FREEDOM),
        ("BMD_TH_pct", 36, 5.0, 0.6, FREEDOM),
        pytest.param("BMD_TH_pct", 60, 7.0, 0.8, EXTENSION, marks=HIP),
        ("BMD_FN_pct", 24, 3.4, 0.8, FREEDOM),
        ("BMD_R13_pct", 24, 1.4, 0.5, DEFEND),
    ],
)
def test_60_mg_every_6_months(column: str, month: float, published: float, tolerance: float, source: str) -> None:
    cohort = LONG.loc[month, column] + (offset(ARMS[source], column, month) if source in ARMS else 0.0)
    assert cohort == pytest.approx(published, abs=tolerance), source


@pytest.mark.parametrize(
    ("column", "month", "published", "tolerance"),
    [
        ("CTX_pct", 27, 127, 20),
        ("CTX_pct", 30, 162, 12),
        ("CTX_pct", 36, 136, 12),
        ("CTX_pct", 42, 107, 15),
        ("P1NP_pct", 30, 143, 12),
        ("P1NP_pct", 36, 147, 16),
        ("BMD_TH_pct", 30, 1.4, 0.7),
        ("BMD_TH_pct", 36, 0.0, 0.7),
        ("BMD_TH_pct", 48, -0.7, 0.7),
    ],
)
def test_after_the_last_of_four_doses_turnover_overshoots_and_bone_is_lost(
    column: str, month: float, published: float, tolerance: float
) -> None:
    """Patients overshoot at different times, so the median of a cohort peaks lower than the typical patient."""
    median = STOPPED.loc[month, column] + offset("defend-denosumab", column, month)
    assert median == pytest.approx(published, abs=tolerance), DEFEND_OFF


@pytest.mark.parametrize(
    ("column", "month", "published", "tolerance"),
    [
        ("BMD_LS_pct", 24, -0.6, 0.6),
        ("BMD_TH_pct", 24, -1.1, 0.5),
        ("BMD_TH_pct", 36, -1.5, 0.5),
        ("BMD_R13_pct", 24, -2.1, 0.5),
        ("CTX_pct", 12, 93, 8),
        ("P1NP_pct", 12, 89, 8),
    ],
)
def test_untreated(column: str, month: float, published: float, tolerance: float) -> None:
    cohort = UNTREATED.loc[month, column] + offset("defend-placebo", column, month)
    assert cohort == pytest.approx(published, abs=tolerance), DEFEND


def test_exposure_after_one_dose_is_the_labels() -> None:
    days = np.arange(0, 112.5, 0.5)
    c = course("denosumab 60mg x1", list(days / 30.4375), weight=66)["C_denosumab"].to_numpy()
    assert c.max() == pytest.approx(6.75, rel=0.15), LABEL
    assert np.trapezoid(c, days) == pytest.approx(316, rel=0.15), LABEL


@pytest.mark.xfail(strict=True, reason="the label has 25 days, Choi 2025 over the same time 32: docs/calibration.md")
def test_half_life_from_month_1_to_3_is_the_labels() -> None:
    days = np.arange(30, 90.5, 0.5)
    c = course("denosumab 60mg x1", list(days / 30.4375), weight=66)["C_denosumab"].to_numpy()
    half_life = np.log(2) / -np.polyfit(days, np.log(c), 1)[0]
    assert half_life == pytest.approx(25.4, rel=0.15), LABEL


@pytest.mark.parametrize(("weight", "exposure"), [(45, 1.48), (120, 0.54)])
def test_exposure_follows_body_weight(weight: float, exposure: float) -> None:
    days = np.arange(0, 183, 1.0)
    area = {
        kg: np.trapezoid(course("denosumab 60mg x1", list(days / 30.4375), weight=kg)["C_denosumab"], days)
        for kg in (66, weight)
    }
    assert area[weight] / area[66] == pytest.approx(exposure, abs=0.15)


def test_calcium_falls_by_a_few_percent_to_a_nadir_at_about_ten_days_and_deeper_in_poor_renal_function() -> None:
    days = np.arange(0, 60, 1.0)
    normal, poor = (course("denosumab 60mg x1", list(days / 30.4375), eGFR=value)["CA_pct"] for value in (80, 20))
    assert 5 <= days[normal.to_numpy().argmin()] <= 18, LABEL
    assert 94 < normal.min() < 98.5
    assert poor.min() < normal.min() - 3
    assert days[poor.to_numpy().argmin()] > days[normal.to_numpy().argmin()] + 2  # Dave 2015: day 21 in renal failure
    assert course("denosumab 60mg x1", [1])["PTH_pct"].iloc[0] == pytest.approx(130, abs=30)


CELLS_ALONE = pytest.mark.xfail(strict=True, reason="waiting cells alone overshoot by 4.8 % after one dose, not 5 %")


@pytest.mark.parametrize("mix", [0, 0.5, pytest.param(1, marks=CELLS_ALONE)])
def test_rebound_grows_with_treatment_and_either_store_alone_makes_it(mix: float) -> None:
    peaks = [
        course(f"denosumab 60mg every 6mo x{doses}", list(range(6 * doses, 6 * doses + 24)), mix=mix)["CTX_pct"].max()
        for doses in (1, 4, 10)
    ]
    assert 105 < peaks[0] < peaks[1] < peaks[2] < 260


def test_without_either_store_nothing_overshoots() -> None:
    """The rebound is in the states: no rule knows that a drug was stopped."""
    table = load_parameters().replace({"mix": 0, "gU": 0})
    frame = simulate_typical(parse_regimen("denosumab 60mg every 6mo x4"), months=list(range(60)), parameters=table)
    assert frame["CTX_pct"].max() < 100.5


def test_selective_agents_part_the_signal_as_the_share_of_sRANKL_says() -> None:
    months = [36.0, 42.0, 48.0]
    regimen = "{} 60mg every 6mo x6"
    both, surface, soluble, sealed = (
        course(regimen.format(name), months, sig=0.1)  # by molecule it is next to nothing
        for name in ("denosumab", "mrankl-selective", "srankl-selective", "mrankl-selective-noshed")
    )
    nothing = simulate_typical([], months=months).set_index("month")
    gain = {name: arm.loc[36, "BMD_LS_pct"] - nothing.loc[36, "BMD_LS_pct"] for name, arm in
            {"both": both, "surface": surface, "soluble": soluble, "sealed": sealed}.items()}  # fmt: skip
    assert gain["surface"] > 0.7 * gain["both"]
    assert gain["soluble"] < 0.25 * gain["both"]
    assert gain["sealed"] > gain["surface"]
    assert surface.loc[36, "OCC_sRANKL"] == 0
    assert soluble.loc[36, "OCC_mRANKL"] == 0


def test_a_bisphosphonate_after_denosumab_lowers_the_rebound() -> None:
    alone = STOPPED.loc[30, "CTX_pct"]
    covered = course("denosumab 60mg every 6mo x4, zoledronate 5mg x1", [30]).loc[30, "CTX_pct"]
    assert covered < alone - 40


def test_a_drug_against_a_target_that_is_not_there_does_nothing() -> None:
    agent = load_agent("denosumab")
    from dataclasses import replace

    blank = replace(agent, values=agent.values | {"KD_mRANKL": np.inf, "KD_sRANKL": np.inf})
    frame = simulate_typical(parse_regimen("denosumab 60mg every 6mo x4"), [blank], months=[12, 24])
    untreated = simulate_typical([], months=[12, 24])
    assert np.allclose(frame["CTX_pct"], untreated["CTX_pct"], atol=1e-4)
