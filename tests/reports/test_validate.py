"""``ranklsim validate``: a row a figure, the statistic that was published, intervals that mean what the page says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import evidence_folder

from ranklsim.cohorts.validation.bands import bands, cohort, statistic_of
from ranklsim.pkpd.evidence.predictions import Predictor, predict
from ranklsim.pkpd.evidence.records import Evidence, load_evidence
from ranklsim.pkpd.parameters import load_parameters
from ranklsim.reports.cli import main as cli
from ranklsim.reports.pages.validation import with_not_used

FIRST = "study arm endpoint site_or_marker time_months observed spread n predicted low high error used reason".split()

ARMS = """\
[[arm]]
id         = "placebo"
study      = "ABC-1"
label      = "Placebo"
regimen    = "placebo every 6mo x2"
follow_up  = "12 mo"
[[arm]]
id         = "denosumab"
study      = "ABC-1"
label      = "Denosumab 60 mg <Q6M> & off"
covariates = { age = "64 yr", weight = "66 kg", T_LS = -2.2 }
regimen    = "denosumab 60mg every 6mo x2"
follow_up  = "12 mo"
"""
ROWS = """\
ABC-1,denosumab,,percent_change,LS,,6,3.5,%,mean,,CI95,2.9,4.1,58,on,a/LS,Doe,,read,
ABC-1,denosumab,,percent_change,LS,,12,5.1,%,mean,,CI95,4.4,5.8,58,on,a/LS,Doe,,read,
ABC-1,denosumab,placebo,difference_to_control,TH,,12,3.9,%,ls_mean,0.5,SE,,,55,on,,Doe,,read,
ABC-1,denosumab,,percent_of_baseline,CTX,,6,31,%,median,,IQR,18,52,58,on,a/CTX,Doe,,read,
ABC-1,denosumab,,percent_of_baseline,CTX,,9,24,%,geometric_mean,,,,,58,on,,Doe,,read,
ABC-1,denosumab,,Cmax,denosumab,0,3,6.8,ug/mL,mean,1.9,SD,,,20,on,,Doe,,read,
ABC-1,placebo,,percent_of_baseline,CTX,,12,96,%,median,,IQR,70,125,60,untreated,p/CTX,Doe,,recalled,
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return evidence_folder(tmp_path_factory.mktemp("abc"), ARMS, ROWS)


@pytest.fixture(scope="module")
def evidence(folder: Path) -> Evidence:
    return load_evidence(folder)


@pytest.fixture(scope="module")
def written(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("validated") / "out"
    assert cli.main(["validate", "--evidence", str(folder), "-o", str(out), "--patients", "40"]) == 0
    return out


def test_predictions_hold_a_row_a_figure_with_the_agreed_columns_first(written: Path) -> None:
    frame = pd.read_csv(written / "predictions.csv")
    assert list(frame.columns[: len(FIRST)]) == FIRST
    assert len(frame) == ROWS.count("\n")
    assert frame["used"].all()
    assert (frame["low"] < frame["predicted"]).all()
    assert (frame["predicted"] < frame["high"]).all()
    assert np.allclose(frame["error"], frame["predicted"] - frame["observed"], atol=1e-4)
    assert (frame["low_study"] < frame["low"]).all()


def test_summary_is_by_endpoint_site_and_phase(written: Path) -> None:
    frame = pd.read_csv(written / "summary.csv")
    predictions = pd.read_csv(written / "predictions.csv")
    for column in ("endpoint", "site_or_marker", "phase", "n", "RMSE", "bias", "inside"):
        assert column in frame
    row = frame[(frame["endpoint"] == "percent_change") & (frame["site_or_marker"] == "LS")].iloc[0]
    mine = predictions[(predictions["endpoint"] == "percent_change") & (predictions["site_or_marker"] == "LS")]
    assert row["n"] == 2
    assert row["RMSE"] == pytest.approx(np.sqrt((mine["error"] ** 2).mean()), rel=1e-4)
    assert row["inside"] == pytest.approx(100 * mine["observed"].between(mine["low"], mine["high"]).mean())


def test_the_page_shows_every_arm_and_needs_no_other_file(written: Path) -> None:
    page = (written / "index.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 5  # agreement, predictive check on and off treatment, lumbar spine, CTX
    assert "Visual predictive check" in page
    assert "median with its median" in page
    assert "<Q6M>" not in page
    assert "src=" not in page
    for link in ("figure-1-observed-against-predicted", "figure-4-lumbar-spine-bmd-change-from-baseline"):
        assert (written / "tables" / f"{link}.csv").is_file()
        assert (written / "figures" / f"{link}.svg").is_file()


def test_a_mean_is_compared_with_the_mean_and_a_median_with_the_median(evidence: Evidence) -> None:
    """CTX at month 6 of the very persons of the cohort, by each statistic in turn."""
    table = load_parameters()
    single = Predictor(evidence.subset(evidence.observations["endpoint"] == "percent_of_baseline"), table)
    values = single.of_persons(cohort(evidence, table, 60, seed=1), table)[:, 0]
    wanted = {"mean": values.mean(), "median": np.median(values), "geometric_mean": np.exp(np.log(values).mean())}
    assert wanted["geometric_mean"] < wanted["mean"] - 0.1
    for statistic, value in wanted.items():
        rows = evidence.observations.assign(statistic=statistic)
        same = Evidence(evidence.path, evidence.arms, rows, evidence.not_used, evidence.agents)
        assert bands(same, table, patients=60).predictions["predicted"][3] == pytest.approx(value, rel=1e-4)
    assert statistic_of("ls_mean") == "mean"
    assert statistic_of("unstated") == "median"


def test_a_figure_of_the_typical_patient_is_compared_with_the_typical_patient(evidence: Evidence) -> None:
    rows = evidence.observations.assign(statistic="typical")
    same = Evidence(evidence.path, evidence.arms, rows, evidence.not_used, evidence.agents)
    found = bands(same, load_parameters(), patients=60).predictions
    assert found["predicted"].equals(found["typical"])


def test_offsets_that_validate_writes_bring_the_typical_patient_to_the_cohort(folder: Path, written: Path) -> None:
    (folder / "offsets.csv").write_bytes((written / "offsets.csv").read_bytes())
    found = predict(load_evidence(folder))
    (folder / "offsets.csv").unlink()
    cohorts = pd.read_csv(written / "predictions.csv")["predicted"].to_numpy()
    assert found["predicted"].to_numpy() == pytest.approx(cohorts, abs=1e-2)
    assert found["typical"].to_numpy() == pytest.approx(predict(load_evidence(folder))["predicted"].to_numpy())
    assert not np.allclose(found["typical"], cohorts, atol=0.1)


@pytest.mark.slow
def test_the_offsets_that_ship_are_those_of_cohorts_at_the_shipped_values() -> None:
    """Between two stages of the refit they may lag: by less than a third of the SD that the fit gives a figure."""
    evidence, table = load_evidence(), load_parameters()
    arms = ["defend-denosumab", "defend-placebo", "phase2-60", "freedom-denosumab", "choi-single"]
    some = evidence.subset(evidence.observations["arm"].isin(arms))
    found = bands(some, table, patients=100).predictions
    lag = (found["predicted"] - found["typical"] - some.observations["offset"]) / found["sd"]
    assert np.sqrt(np.mean(lag**2)) < 0.2
    assert lag.abs().max() < 1.0


def test_an_interval_shrinks_with_the_root_of_n(evidence: Evidence) -> None:
    many = evidence.observations.assign(n=evidence.observations["n"] * 100)
    more = Evidence(evidence.path, evidence.arms, many, evidence.not_used, evidence.agents)
    few, lots = (bands(e, load_parameters(), patients=60).predictions for e in (evidence, more))
    ratio = ((few["high"] - few["low"]) / (lots["high"] - lots["low"])).to_numpy()
    assert np.all((ratio > 8) & (ratio < 12.5)), ratio


def test_an_interval_of_a_mean_is_that_of_its_standard_error(evidence: Evidence) -> None:
    """Spine BMD of 58 women: the spread of the cohort and two DXA errors, over the root of 58."""
    table = load_parameters()
    found = bands(evidence, table, patients=200).predictions.iloc[1]
    width = found["high"] - found["low"]
    least = 2 * 1.645 * 100 * np.sqrt(2) * table["CV_DXA_LS"] * 1.05 / np.sqrt(58)  # if patients did not differ
    assert least < width < 3 * least


def test_cohort_is_drawn_around_the_arm_and_a_longer_one_has_the_same_spread(evidence: Evidence) -> None:
    table = load_parameters()
    persons = cohort(evidence, table, 400, seed=1)
    own = persons["denosumab"]
    assert own["WT"].median() == pytest.approx(66, rel=0.01)
    assert set(table.varying()) <= set(own.columns)
    assert np.log(own["kT"]).mean() == pytest.approx(np.log(table["kT"]), abs=0.01)
    assert np.log(own["kT"]).std() == pytest.approx(np.sqrt(np.log1p(table.frame.loc["kT", "cv"] ** 2)), rel=0.03)
    assert abs(np.corrcoef(own["kT"], own["fold_CL"])[0, 1]) < 0.15
    assert persons["placebo"]["kT"].equals(own["kT"])


def test_without_a_cohort_the_prediction_is_the_typical_patients(evidence: Evidence) -> None:
    found = bands(evidence, load_parameters(), patients=0)
    assert found.predictions["predicted"].equals(predict(evidence)["predicted"])
    assert found.predictions["low"].isna().all()


def test_curves_pass_through_the_predictions(evidence: Evidence) -> None:
    found = bands(evidence, load_parameters(), patients=20)
    curve = found.courses[(found.courses["endpoint"] == "percent_change")].set_index("month")["predicted"]
    for row in found.predictions[found.predictions["endpoint"] == "percent_change"].itertuples():
        assert curve[row.time_months] == pytest.approx(row.predicted, rel=1e-9)
    assert curve[0.0] == pytest.approx(0)


def test_same_seed_same_bands_whatever_the_workers_and_another_seed_other_bands(evidence: Evidence) -> None:
    table = load_parameters()
    one = bands(evidence, table, patients=20, seed=5, workers=1).predictions
    two = bands(evidence, table, patients=20, seed=5, workers=2).predictions
    other = bands(evidence, table, patients=20, seed=6).predictions
    assert one.equals(two)
    assert not one["predicted"].equals(other["predicted"])


@pytest.mark.slow
def test_a_parameter_file_changes_what_is_predicted(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("symbol,value\nc0,0.2\n", encoding="utf-8")
    words = ["validate", "--evidence", str(folder), "--patients", "0"]
    assert cli.main([*words, "-o", str(tmp_path / "a")]) == 0
    assert cli.main([*words, "-o", str(tmp_path / "b"), "--parameters", str(tmp_path / "p.csv")]) == 0
    one, two = (pd.read_csv(tmp_path / name / "predictions.csv")["predicted"] for name in ("a", "b"))
    assert two[3] > one[3] + 5


@pytest.mark.slow
def test_an_earlier_result_is_replaced_by_force_only_and_nothing_else_ever(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["validate", "--evidence", str(folder), "--patients", "0", "-o", str(tmp_path / "out")]
    assert cli.main(words) == 0
    before = (tmp_path / "out" / "index.html").read_bytes()
    assert cli.main(words) == 2
    assert "--force" in capsys.readouterr().err
    assert cli.main([*words, "--force"]) == 0
    assert len((tmp_path / "out" / "index.html").read_bytes()) == len(before) + len(" --force")
    (tmp_path / "out" / "thesis.txt").write_text("mine", encoding="utf-8")
    assert cli.main([*words, "--force"]) == 2
    assert "thesis.txt: is no part of a report" in capsys.readouterr().err
    assert (tmp_path / "out" / "thesis.txt").read_text(encoding="utf-8") == "mine"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear", encoding="utf-8")
    assert cli.main([*words[:-1], str(tmp_path / "mine"), "--force"]) == 2
    assert "holds something other than a report" in capsys.readouterr().err
    assert (tmp_path / "mine" / "letter.txt").read_text(encoding="utf-8") == "dear"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.slow
def test_rows_that_a_conversion_left_out_are_listed_with_their_reason() -> None:
    shipped = load_evidence()
    found = predict(shipped).assign(typical=np.nan, low_study=np.nan, high_study=np.nan)
    full = with_not_used(shipped, found)
    assert len(full) == len(shipped.observations) + len(shipped.not_used)
    assert (full[~full["used"].astype(bool)]["reason"] != "").all()
