"""Spreads between patients: read off publications, off cohorts, and fitted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ranklsim.cohorts.people.population_file import load_population
from ranklsim.cohorts.validation import variability
from ranklsim.cohorts.validation.bands import bands, scores_of
from ranklsim.cohorts.validation.predictive_check import coverage, predictive_check
from ranklsim.pkpd.errors import BadInput
from ranklsim.pkpd.evidence.records import Evidence, load_evidence
from ranklsim.pkpd.fitting import fit as fitting
from ranklsim.pkpd.fitting.spec import load_spec
from ranklsim.pkpd.parameters import load_parameters

SMALL = """
title    = "Small"
kind     = "between-patient"
patients = 20
seed     = 3

[[parameter]]
name  = "c0.cv"
start = 0.3
low   = 0.05
high  = 1.5
prior = { mean = 0.4, sd = 2.0 }
[[parameter]]
name  = "kT.cv"
start = 0.3
low   = 0.05
high  = 1.5

[[include]]
arm = ["defend-denosumab"]
site_or_marker = ["LS", "CTX"]
phase = "on"
"""


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    return load_evidence()


@pytest.fixture
def spec_file(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(SMALL, encoding="utf-8")
    return path


def of(evidence: Evidence, **columns: object) -> pd.Series:
    rows = evidence.observations
    return np.logical_and.reduce([rows[name] == value for name, value in columns.items()])


def published(evidence: Evidence, **columns: object) -> pd.Series:
    return variability.published_spreads(evidence.subset(of(evidence, **columns))).iloc[0]


def test_a_published_spread_is_read_from_sd_interval_or_quartiles(evidence: Evidence) -> None:
    label = published(evidence, arm="label-single", endpoint="AUC")
    assert (label["measure"], label["published"]) == ("CV", pytest.approx(101 / 316))
    spine = published(evidence, arm="defend-denosumab", site_or_marker="LS", month=12.0)
    width = spine["spread_high"] - spine["spread_low"]
    assert (spine["measure"], spine["published"]) == ("SD", pytest.approx(width / 3.919928 * np.sqrt(142)))
    ctx = published(evidence, arm="defend-denosumab", site_or_marker="CTX", month=12.0)
    assert ctx["published"] == pytest.approx(np.log(55.4 / 13.7) / 1.34898)
    assert ctx["sampling"] == pytest.approx(1.1664 / np.sqrt(142), rel=0.01)
    assert ctx["sd_log"] > variability.BETWEEN


def test_what_has_no_spread_of_single_patients_says_why(evidence: Evidence) -> None:
    rows = variability.published_spreads(evidence)
    none = rows[rows["published"].isna()]
    assert (none["reason"] != "").all()
    assert (rows.loc[rows["published"].notna(), "reason"] == "").all()
    assert none.loc[none["endpoint"] == "difference_to_control", "reason"].eq("not a figure of single patients").all()


def test_rounding_tells_more_than_the_number_of_patients_in_a_big_trial(evidence: Evidence) -> None:
    """TH at month 12 of FREEDOM: 3.2 (3.1 to 3.3) in 3,902 women is an SD known to a fifth, not to a hundredth."""
    row = published(evidence, arm="freedom-denosumab", site_or_marker="TH", month=12.0)
    assert 0.15 < row["sampling"] < 0.25


def test_error_of_measurement_is_folded_in_as_it_would_be_drawn() -> None:
    """Moments and quartiles of measured values against a large sample."""
    rng = np.random.default_rng(1)
    true = np.exp(rng.normal(3.0, 0.5, (300, 1)))
    rows = pd.DataFrame(
        {
            "site_or_marker": "CTX",
            "endpoint": "percent_of_baseline",
            "month": 12.0,
            "measure": ["CV", "SD of the logarithm"],
        }
    )
    table = load_parameters()
    measured = true * np.exp(np.sqrt(2) * table["CV_CTX"] * rng.standard_normal((300, 4000)))
    found = variability.cohort_spreads(np.column_stack([true, true]), rows, table)
    low, high = np.quantile(measured, [0.25, 0.75])
    assert found[0] == pytest.approx(measured.std() / measured.mean(), rel=0.01)
    assert found[1] == pytest.approx(np.log(high / low) / 1.34898, rel=0.01)


def test_a_spread_is_missing_where_most_patients_have_no_figure() -> None:
    rows = pd.DataFrame({"site_or_marker": ["denosumab"], "endpoint": "half_life", "month": 3.0, "measure": "CV"})
    drawn = np.array([[20.0], [np.nan], [np.nan]])
    assert np.isnan(variability.cohort_spreads(drawn, rows, load_parameters())[0])


def test_scores_have_the_correlations_of_the_population_and_even_margins() -> None:
    table = load_parameters()
    scores = scores_of(table, 400, seed=1)
    wanted = load_population("postmenopausal-osteoporosis").effect_correlation()
    got = pd.DataFrame(scores)[list(wanted.index)].corr()
    assert np.abs(got - wanted).to_numpy().max() < 0.03
    for symbol, score in scores.items():
        assert abs(score.mean()) < 0.01, symbol
        assert score.std() == pytest.approx(1, abs=0.02), symbol


@pytest.mark.slow
def test_spreads_made_by_the_model_give_back_their_cvs(spec_file: Path) -> None:
    spec = load_spec(spec_file)
    problem = variability.make_problem(spec)
    truth = np.log([0.6, 0.5])
    problem.observed = problem.predict(truth)
    found = fitting.fit(spec, problem=problem)
    assert found.converged
    assert problem.natural(found.theta) == pytest.approx({"c0.cv": 0.6, "kT.cv": 0.5}, rel=0.02)


def test_a_spread_grows_with_its_cv_and_the_typical_patient_does_not_move(spec_file: Path) -> None:
    problem = variability.make_problem(load_spec(spec_file))
    narrow, wide = (problem.predict(np.log([0.3, cv])) for cv in (0.2, 0.6))
    spine = (problem.rows["site_or_marker"] == "LS").to_numpy()
    assert (wide[spine] > narrow[spine]).all()
    one, two = (problem.compared(np.log([0.3, cv])) for cv in (0.2, 0.6))
    assert one["typical"].equals(two["typical"])
    assert not one["cohort"].equals(two["cohort"])


def test_a_cv_is_a_number_of_the_table_that_files_and_fits_may_set(tmp_path: Path) -> None:
    table = load_parameters()
    assert table.replace({"kT.cv": 0.7}).frame.loc["kT", "cv"] == 0.7
    assert table.overlaid({"kT.cv": 0.7, "kT": 0.3}).frame.loc["kT", "cv"] == 0.7
    assert table.frame.loc["kT", "cv"] != 0.7
    assert "kT" not in table.replace({"kT.cv": 0.0}).varying()
    path = tmp_path / "own.csv"
    path.write_text("symbol,value,cv\nkT,0.3,0.7\ntW.cv,0.9,\nM0,3,\n", encoding="utf-8")
    mine = load_parameters(path)
    assert (mine["kT"], mine.frame.loc["kT", "cv"], mine.frame.loc["tW", "cv"]) == (0.3, 0.7, 0.9)
    assert mine.frame.loc["M0", "cv"] == table.frame.loc["M0", "cv"]
    path.write_text(mine.to_csv(), encoding="utf-8")
    assert load_parameters(path).hash == mine.hash


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('kind     = "between-patient"\npatients = 20', "", "kT.cv is a spread"),
        ('"between-patient"', '"between"', "did you mean 'between-patient'"),
        ("patients = 20", "patients = 3", "patients = 3 is not possible"),
        ('"kT.cv"', '"gU.cv"', "gU has no distribution between patients"),
        ('"kT.cv"', '"kX.cv"', "unknown parameter 'kX'"),
        ("high  = 1.5\n\n", "high  = 9\n\n", "leave its plausible range"),
    ],
)
def test_a_faulty_spec_of_spreads_is_refused(spec_file: Path, old: str, new: str, message: str) -> None:
    text = spec_file.read_text(encoding="utf-8")
    assert old in text
    spec_file.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(BadInput) as fault:
        load_spec(spec_file)
    assert message in str(fault.value)


def test_mice_have_no_spreads(spec_file: Path) -> None:
    spec_file.write_text("mice = true\n" + spec_file.read_text("utf-8"), "utf-8")
    with pytest.raises(BadInput, match="mice are compared with typical values"):
        load_spec(spec_file)


def test_evidence_without_spreads_is_refused(spec_file: Path) -> None:
    text = spec_file.read_text(encoding="utf-8").replace('"defend-denosumab"', '"phase2-placebo"')
    spec_file.write_text(text, encoding="utf-8")
    with pytest.raises(BadInput, match="no spread of the evidence is left"):
        variability.make_problem(load_spec(spec_file))


def test_the_shipped_fit_starts_from_the_shipped_spreads_and_the_table_says_which_they_are() -> None:
    spec, table = load_spec("between_patient"), load_parameters()
    fitted = {p.name for p in spec.parameters}
    for p in spec.parameters:
        assert p.natural(p.start) == pytest.approx(table.row(p.name)["value"]), p.name
    said = table.frame["cv_source"].str.contains("between_patient")
    assert {f"{symbol}.cv" for symbol in table.frame.index[said]} == {name for name in fitted if name.endswith(".cv")}
    assert (table.frame.loc[table.frame["cv"] > 0, "cv_source"] != "").all()


@pytest.mark.slow
def test_shipped_spreads_are_the_best_of_the_shipped_fit_with_a_fifth_of_its_patients() -> None:
    """Along two lines through them the objective is least within 15 % of where they stand."""
    spec = replace(load_spec("between_patient"), patients=40)
    problem = variability.make_problem(spec)
    shipped = np.array([p.start for p in spec.parameters])
    for pattern in (np.ones(len(shipped)), np.where(np.arange(len(shipped)) % 2, 1.0, -1.0)):
        here, up, down = (float(r @ r) for r in (problem.residuals(shipped + 0.3 * k * pattern) for k in (0, 1, -1)))
        assert up > here < down
        vertex = 0.3 * 0.5 * (down - up) / (up + down - 2 * here)  # of the parabola through the three
        assert abs(vertex) < 0.15


@pytest.fixture(scope="module")
def checked(evidence: Evidence) -> tuple[pd.DataFrame, pd.DataFrame, Evidence]:
    part = evidence.subset(
        of(evidence, site_or_marker="CTX")
        & evidence.observations["arm"].isin(["defend-denosumab", "phase2-14-60", "freedom-denosumab"])
        & evidence.observations["month"].isin([12.0, 24.0, 36.0])
    )
    table = load_parameters()
    groups, patients = predictive_check(bands(part, table, patients=60), part, table, seed=1)
    return groups, patients, part


def test_correction_brings_arms_of_one_bin_to_one_typical_level_and_leaves_a_lone_arm_alone(
    checked: tuple[pd.DataFrame, pd.DataFrame, Evidence],
) -> None:
    groups, patients, part = checked
    alone = groups[(groups["phase"] == "off") | (groups.groupby(["phase", "month"])["arm"].transform("size") == 1)]
    assert (alone["factor"] == 1).all()
    published = part.observations.set_index(["arm", "month"])["value"]
    for row in groups.itertuples():
        assert row.observed_middle == pytest.approx(published[row.arm, row.time_months] * row.factor)
    low_dose = groups[(groups["arm"] == "phase2-14-60") & (groups["month"] == 24)].iloc[0]
    assert low_dose["factor"] < 0.6  # typical CTX is near baseline there, and a third of it in the other arms
    assert len(patients) == groups.groupby(["phase", "month"]).ngroups
    assert (patients["p5"] < patients["p25"]).all()
    assert (patients["p75"] < patients["p95"]).all()


def test_coverage_counts_published_figures_inside_their_interval(
    checked: tuple[pd.DataFrame, pd.DataFrame, Evidence],
) -> None:
    groups, _, _ = checked
    row = coverage(groups).set_index("phase").loc["on"]
    mine = groups[groups["phase"] == "on"]
    inside = mine["observed_middle"].between(mine["low_middle"], mine["high_middle"])
    assert row["n_middle"] == len(mine)
    assert row["inside_middle"] == pytest.approx(100 * inside.mean())


def test_a_published_group_drawn_from_the_cohort_itself_lies_in_its_interval_nine_times_in_ten() -> None:
    from ranklsim.cohorts.validation.predictive_check import _of_groups

    rng = np.random.default_rng(3)
    cohort = np.exp(rng.normal(3, 0.6, 400))
    ends = _of_groups(cohort, 0.2, 80, 1, "median")
    drawn = rng.choice(cohort, (2000, 80)) * np.exp(0.2 * rng.standard_normal((2000, 80)))
    found = np.quantile(drawn, [0.25, 0.5, 0.75], axis=1).T
    assert ((found > ends[0]) & (found < ends[1])).mean(axis=0) == pytest.approx(0.9, abs=0.04)
