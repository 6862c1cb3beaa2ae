"""Endpoints analysed by MMRM: what is compared with what, and what is said where that cannot be done."""

from __future__ import annotations

from typing import Any

import formulaic
import numpy as np
import pandas as pd
import pytest
from helpers import check_sentence

from ranklsim.cohorts.endpoints import Change
from ranklsim.cohorts.statistics import mmrm, repeated, summaries
from ranklsim.cohorts.statistics.mmrm.data import Plain

ARMS = ["drug", "control"]
MONTHS = [0.0, 12.0, 24.0, 36.0]
Frames = tuple[pd.DataFrame, pd.DataFrame]


def spec(**changes: Any) -> Change:
    facts: dict[str, Any] = {"name": "BMD", "role": "primary", "measure": "BMD_LS", "from_month": 0.0, "to_month": 36.0}
    return Change(**facts | {"kind": "percent", "analysis": "MMRM"} | changes)


def trial(seed: int = 1, patients: int = 80) -> Frames:
    """Percent changes that grow under the drug; one visit in eight is missed."""
    rng = np.random.default_rng(seed)
    arm = np.resize(ARMS, patients)
    baseline = rng.normal(0.8, 0.1, patients)
    gain = np.outer(arm == "drug", [0, 3, 5, 7]) + rng.normal(0, 2, (patients, 1)) * [0, 1, 1, 1]
    value = baseline[:, None] * (1 + (gain + rng.normal(0, 1, gain.shape) * [0, 1, 1, 1]) / 100)
    value[:, 1:][rng.random((patients, 3)) < 0.125] = np.nan
    visits = pd.DataFrame(
        {
            "patient": np.repeat(np.arange(patients), 4),
            "arm": np.repeat(arm, 4),
            "month": np.tile(MONTHS, patients),
            "BMD_LS": value.ravel(),
        }
    )
    stratum = np.resize(["under 75", "under 75", "75 or over"], patients)
    return visits, pd.DataFrame({"patient": np.arange(patients), "arm": arm, "stratum": stratum})


@pytest.fixture(scope="module")
def frames() -> Frames:
    return trial()


def test_the_model_is_the_one_that_protocols_name(frames: Frames) -> None:
    visits, patients = frames
    found = repeated.analyse(visits, patients, spec(), ARMS, "control")
    table = summaries.change_from(visits, "BMD_LS")
    table = table[table["month"] > 0].merge(patients[["patient", "stratum"]])
    start = visits[visits["month"] == 0].set_index("patient")["BMD_LS"]
    table["baseline"] = table["patient"].map(start)
    table["arm"] = pd.Categorical(table["arm"], ["control", "drug"])
    model = mmrm.fit(
        "value ~ arm * month + baseline * month + stratum", table, subject="patient", visit="month", arm="arm"
    )
    seen = sorted(set(table["patient"]))
    expected = model.differences("control", weights="proportional", at={"baseline": start[seen].mean()})
    got = found.by_visit[found.by_visit["arm"] == "drug"]
    np.testing.assert_allclose(got["difference"], expected["estimate"], rtol=1e-10)
    np.testing.assert_allclose(got["p"], expected["p"], rtol=1e-8)
    np.testing.assert_allclose(got["difference_low"], expected["ci_low"], rtol=1e-10)
    assert found.patients == model.n_subjects == len(seen)
    assert found.method == "MMRM, unstructured covariance"
    assert found.terms() == "arm, visit, arm-by-visit, baseline, baseline-by-visit, strata"
    assert found.note == ""


def test_differences_are_near_the_truth_and_lie_inside_their_intervals(frames: Frames) -> None:
    at = repeated.analyse(*frames, spec(), ARMS, "control").endpoint().set_index("arm").loc["drug"]
    assert at["difference_low"] < 7.0 < at["difference_high"]
    assert at["difference_low"] < at["difference"] < at["difference_high"]
    assert at["p"] < 1e-10


def test_the_endpoint_is_the_row_of_its_own_visit_in_the_order_of_the_arms(frames: Frames) -> None:
    found = repeated.analyse(*frames, spec(), ARMS, "control")
    rows = found.endpoint()
    assert tuple(rows.columns) == summaries.ENDPOINT_COLUMNS
    assert rows["arm"].tolist() == ARMS
    last = found.by_visit[found.by_visit["month"] == 36].set_index("arm")
    assert rows.set_index("arm")["estimate"].to_dict() == last["estimate"].to_dict()
    visits = frames[0].dropna()
    assert rows.set_index("arm")["n"].to_dict() == visits[visits["month"] == 36]["arm"].value_counts().to_dict()


def test_a_change_from_a_later_visit_uses_the_visits_after_it(frames: Frames) -> None:
    found = repeated.analyse(*frames, spec(from_month=12.0), ARMS, "control")
    assert found.by_visit["month"].unique().tolist() == [24.0, 36.0]
    assert repeated.analyse(*frames, spec(to_month=24.0), ARMS, "control").by_visit["month"].max() == 24.0


def test_without_control_there_are_least_squares_means_and_no_differences(frames: Frames) -> None:
    found = repeated.analyse(*frames, spec(), ARMS, None)
    assert found.by_visit["estimate"].notna().all()
    assert found.by_visit["difference"].isna().all()


def test_an_arm_without_values_is_left_out_and_named(frames: Frames) -> None:
    visits, patients = frames
    gone = visits.assign(BMD_LS=visits["BMD_LS"].where((visits["arm"] != "drug") | (visits["month"] < 36)))
    found = repeated.analyse(gone, patients, spec(), ARMS, "control")
    check_sentence(found.note, "drug", "month 36")
    assert found.endpoint()["n"].tolist()[0] == 0
    assert np.isnan(found.endpoint()["estimate"].iloc[0])
    assert np.isfinite(found.endpoint()["estimate"].iloc[1])
    other = repeated.analyse(gone, patients, spec(), ARMS, "drug")
    check_sentence(other.note, "drug", "no differences")


def test_a_visit_at_which_an_arm_has_no_value_is_left_out_and_named(frames: Frames) -> None:
    visits, patients = frames
    gone = visits.assign(BMD_LS=visits["BMD_LS"].where((visits["arm"] != "drug") | (visits["month"] != 12)))
    found = repeated.analyse(gone, patients, spec(), ARMS, "control")
    check_sentence(found.note, "onth 12")
    assert found.by_visit["month"].unique().tolist() == [24.0, 36.0]


def test_one_visit_gives_the_analysis_of_covariance_and_says_so(frames: Frames) -> None:
    visits, patients = frames
    found = repeated.analyse(visits, patients, spec(to_month=12.0), ARMS, "control")
    check_sentence(found.note, "one visit", "analysis of covariance")
    other = summaries.endpoint(visits, patients, spec(to_month=12.0, analysis="ANCOVA"), ARMS, "control")
    for column in ("estimate", "ci_low", "difference", "difference_low", "p"):
        np.testing.assert_allclose(found.endpoint()[column], other[column], rtol=1e-6)


def test_a_measure_that_nobody_had_gives_no_row(frames: Frames) -> None:
    visits, patients = frames
    found = repeated.analyse(visits.assign(BMD_LS=np.nan), patients, spec(), ARMS, "control")
    assert found.endpoint().empty
    assert (found.patients, found.fit) == (0, None)
    check_sentence(found.note)


def test_patients_who_are_all_alike_get_means_without_intervals_and_a_sentence(frames: Frames) -> None:
    visits, patients = frames
    alike = visits.assign(BMD_LS=0.8 + 0.01 * visits["month"] * (visits["arm"] == "drug"))
    found = repeated.analyse(alike, patients, spec(), ARMS, "control")
    assert found.fit is None
    check_sentence(found.note, "No model", "responses do not vary", "plain means", "without intervals")
    rows = found.endpoint().set_index("arm")
    assert rows.loc["drug", "difference"] == pytest.approx(45.0)
    assert np.isnan(rows.loc["drug", "difference_low"])


def test_strata_that_hold_no_information_are_left_out(frames: Frames) -> None:
    visits, patients = frames
    found = repeated.analyse(visits, patients.assign(stratum="all"), spec(), ARMS, "control")
    assert found.formula == "value ~ arm * month + baseline * month"
    same_as_arm = repeated.analyse(visits, patients.assign(stratum=patients["arm"]), spec(), ARMS, "control")
    assert same_as_arm.formula == found.formula
    check_sentence(same_as_arm.note, "strata")


def test_a_patient_in_two_arms_gives_no_model_and_is_named(frames: Frames) -> None:
    visits, patients = frames
    wrong = visits.assign(arm=visits["arm"].where(visits.index != 2, "control"))
    found = repeated.analyse(wrong, patients, spec(), ARMS, "control")
    assert found.fit is None
    assert "patient 0 is in more than one arm (control, drug)" in found.note


def test_sensitivity_covers_everyone_with_a_baseline_and_dilutes_the_effect(frames: Frames) -> None:
    visits, patients = frames
    gone = visits["patient"].isin([0, 2, 4, 1, 3]) & (visits["month"] > 0)
    visits = visits.assign(BMD_LS=visits["BMD_LS"].mask(gone))
    found = repeated.analyse(visits, patients, spec(), ARMS, "control")
    table, people = repeated.sensitivity(found, visits, patients, "control", seed=1)
    assert people == len(patients) == found.patients + 5
    assert table.groupby("strategy")["n"].sum().eq(people).all()
    seen = visits.loc[visits["month"] == 36, "BMD_LS"].notna().sum()
    assert table.groupby("strategy")["imputed"].sum().eq(people - seen).all()
    gap = table[table["arm"] == "drug"].set_index("strategy")["difference"]
    model = found.endpoint().set_index("arm").loc["drug", "difference"]
    assert gap["MAR"] == pytest.approx(model, abs=0.3)
    assert gap["MAR"] > gap["CIR"] >= gap["J2R"] > 0
    again, _ = repeated.sensitivity(found, visits, patients, "control", seed=1)
    pd.testing.assert_frame_equal(table, again)


def test_a_stratum_in_which_nobody_was_seen_again_is_not_imputed(frames: Frames) -> None:
    visits, patients = frames
    lost = patients.assign(stratum=patients["stratum"].where(patients["patient"] != 7, "alone"))
    visits = visits.assign(BMD_LS=visits["BMD_LS"].mask((visits["patient"] == 7) & (visits["month"] > 0)))
    found = repeated.analyse(visits, lost, spec(), ARMS, "control")
    assert repeated.sensitivity(found, visits, lost, "control", seed=1)[1] == len(patients) - 1


@pytest.mark.parametrize(
    "formula",
    [
        "value ~ arm * month + baseline * month + stratum + age",
        "value ~ arm + baseline",
        "value ~ arm * month * baseline",
    ],
)
def test_the_design_of_a_plain_formula_is_that_of_formulaic_to_the_last_digit_and_name(formula):
    rng, n = np.random.default_rng(2), 80
    table = pd.DataFrame(
        {"arm": pd.Categorical(rng.choice(list("abc"), n)), "month": pd.Categorical(rng.choice([6.0, 12.0, 24.0], n)),
         "stratum": pd.Categorical(rng.choice(list("xyz"), n)), "baseline": rng.normal(size=n),
         "age": rng.normal(size=n), "value": rng.normal(size=n)}
    )  # fmt: skip
    expected = formulaic.Formula(formula).get_model_matrix(table).rhs
    plain = Plain.read(formula, table)
    _, matrix, names = plain.fitted(table)
    assert names == list(expected.columns)
    assert (matrix == expected.to_numpy(float)).all()
    assert (plain.matrix(table.iloc[:7]) == matrix[:7]).all()
    assert Plain.read("value ~ log(baseline) + arm", table) is None


def test_a_model_asked_for_again_is_the_same_and_another_table_has_another_model():
    rng, n = np.random.default_rng(4), 40
    table = pd.DataFrame(
        {"patient": np.arange(n), "arm": pd.Categorical(np.tile(["a", "b"], n // 2)), "month": 12.0,
         "stratum": pd.Categorical(["all"] * n),
         "baseline": rng.normal(size=n), "value": rng.normal(size=n)}
    )  # fmt: skip
    turned = table.assign(value=-table["value"])
    one, again, other = (repeated._fitted(t, (), ["a", "b"], "a") for t in (table, table.copy(), turned))
    assert again[0] is one[0]
    gaps = [found[3]["difference"][1] for found in (one, again, other)]
    assert gaps[0] == gaps[1] == pytest.approx(-gaps[2])
