"""Operating characteristics: what they are of known estimates, what a small trial's are, and ``ranklsim replicate``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import said

import ranklsim
from ranklsim.cohorts.running import replicates
from ranklsim.pkpd.errors import BadInput
from ranklsim.reports.cli import main as cli
from ranklsim.reports.pages import operating, replication
from ranklsim.reports.pages.operating import DIFFERENCE, NULL, TRIAL, Protocol, analysed

TRIAL_FILE = """
title   = "Small"
seed    = 11
months  = 12
control = "placebo"
[population]
name     = "postmenopausal-osteoporosis"
patients = 24
ratio    = { placebo = 1, denosumab = 1 }
[[arm]]
name    = "placebo"
regimen = [{ agent = "placebo", every = "6 mo", doses = 2 }]
[[arm]]
name    = "denosumab"
regimen = [{ agent = "denosumab", dose = "60 mg", every = "6 mo", doses = 2 }]
[visits]
BMD     = [0, 6, 12]
markers = [0, 12]
[[endpoint]]
name     = "Spine"
role     = "primary"
change   = { of = "BMD_LS", from = "0 mo", to = "12 mo", as = "percent" }
analysis = "ANALYSIS"
"""
KEY = ["vector", "replicate", "patients", "design", "endpoint", "arm", "quantity"]


def trial_file(folder: Path, analysis: str, more: str = "") -> Path:
    path = folder / "small.toml"
    path.write_text(TRIAL_FILE.replace("ANALYSIS", analysis) + more, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trial_file(tmp_path_factory.mktemp("trial"), "mean difference")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a small result with two sizes and two vectors; copy it before changing it."""
    folder = tmp_path_factory.mktemp("replicate")
    trial = trial_file(folder, "ANCOVA")
    words = ["replicate", str(trial), "--replicates", "4", "--patients", "24,12", "--vectors", "2", "--keep-patients"]
    assert cli.main([*words, "--workers", "1", "-o", str(folder / "out")]) == 0
    return folder / "out"


# -- measures of known estimates ---------------------------------------------------------------------------------------


def known(estimates: list[float], half: float, design: str = TRIAL) -> pd.DataFrame:
    """Estimates with standard error 1 and intervals of this half width."""
    frame = pd.DataFrame({"estimate": estimates, "se": 1.0, "replicate": range(len(estimates))})
    frame = frame.assign(low=frame["estimate"] - half, high=frame["estimate"] + half, p=np.nan, method="ANCOVA", n=9)
    facts = {"vector": 0, "patients": 20, "design": design, "endpoint": "E", "arm": "A", "quantity": DIFFERENCE}
    return frame.assign(**facts)[list(operating.ESTIMATES)]


def truth(value: float, error: float) -> pd.DataFrame:
    row = {"vector": 0, "endpoint": "E", "arm": "A", "quantity": DIFFERENCE, "conduct": "as planned", "patients": 9}
    return pd.DataFrame([row | {"value": value, "mc_se": error}])


def test_measures_are_those_of_morris_white_and_crowther() -> None:
    estimates = [0.5, 1.5, 2.5, 3.5]
    found = pd.concat([known(estimates, 1.2), known([0.0, 0.1, -2.0, 0.2], 1.2, NULL)])
    got = operating.operating(found, truth(1.0, 0.3)).set_index("measure")
    sd = np.std(estimates, ddof=1)
    assert got.loc["power", ["value", "mc_se"]].tolist() == [0.75, np.sqrt(0.75 * 0.25 / 4)]
    assert got.loc["type I error", "value"] == 0.25
    assert got.loc["bias", "value"] == 1.0
    assert got.loc["bias", "mc_se"] == pytest.approx(np.sqrt(sd**2 / 4 + 0.09))
    assert got.loc["coverage", "value"] == 0.5
    assert got.loc["empirical SE", ["value", "mc_se"]].tolist() == pytest.approx([sd, sd / np.sqrt(6)])
    assert got.loc["model SE", ["value", "mc_se"]].tolist() == [1.0, 0.0]
    assert got.loc["width", "value"] == pytest.approx(2.4)


def test_a_study_without_interval_finds_no_difference_and_is_counted() -> None:
    found = known([5.0, 5.0], 1.0)
    found.loc[1, ["low", "high", "se"]] = np.nan
    got = operating.operating(found, truth(5.0, 0.0)).set_index("measure")["value"]
    assert got["power"] == 0.5
    assert got["failed"] == 0.5
    assert got["coverage"] == 1.0


def test_assurance_is_the_mean_power_of_the_vectors_drawn_and_its_spread_leaves_out_chance() -> None:
    rows = {"patients": 20, "endpoint": "E", "arm": "A", "quantity": DIFFERENCE, "conduct": "", "measure": "power"}
    values = pd.DataFrame({"vector": [0, 1, 2, 3], "value": [0.0, 0.4, 0.6, 0.8], "mc_se": [0.0, 0.1, 0.1, 0.1]})
    got = operating.assurance(values.assign(**rows, studies=25)).iloc[0]
    assert got["mean"] == pytest.approx(0.6)
    assert got["vectors"] == 3
    assert got["mc_se"] == pytest.approx(0.2 / np.sqrt(3))
    assert got["sd"] == pytest.approx(np.sqrt(0.04 - 0.01))


def test_the_error_of_a_true_mean_is_the_standard_error_of_the_mean() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(3.0, 2.0, 50)
    value, error = operating._jackknife(np.mean, [(values, np.arange(50), 1.0)])
    assert value == pytest.approx(values.mean())
    assert error == pytest.approx(values.std(ddof=1) / np.sqrt(50))


def test_the_error_of_a_true_difference_knows_that_twins_go_together() -> None:
    own = np.random.default_rng(2).normal(0.0, 5.0, 200)
    value, error = operating._jackknife(np.mean, [(own + 1.0, np.arange(200), 1.0), (own, np.arange(200), -1.0)])
    assert value == pytest.approx(1.0)
    assert error == pytest.approx(0.0, abs=1e-12)


# -- a small trial -----------------------------------------------------------------------------------------------------


def test_type_I_error_and_coverage_are_near_what_they_should_be(small: Path) -> None:
    found = ranklsim.replicate(small, replicates=80, workers=1)
    got = found.operating[found.operating["quantity"] == DIFFERENCE].set_index(["measure", "conduct"])["value"]
    four = 4 * np.sqrt(0.05 * 0.95 / 80)
    assert abs(got["type I error", ""] - 0.05) < four
    assert abs(got["coverage", "as planned"] - 0.95) < four
    bias = found.operating[(found.operating["measure"] == "bias") & (found.operating["quantity"] == DIFFERENCE)]
    assert (bias["value"].abs() < 4 * bias["mc_se"]).all()
    assert got["power", ""] > 0.8
    assert got["model SE", ""] == pytest.approx(got["empirical SE", ""], rel=0.2)


def test_replicate_0_is_analysed_as_the_plain_run_is(finished: Path, tmp_path: Path) -> None:
    trial = trial_file(tmp_path, "ANCOVA")
    run = ranklsim.run(trial, tmp_path / "run", layers=["patients", "residual"], workers=1)
    protocol = Protocol.of(run.trial, [24])
    plain = analysed(run.visits, run.patients, protocol)
    found = pd.read_parquet(finished / "estimates.parquet")
    mine = found[(found["vector"] == 0) & (found["replicate"] == 0) & (found["patients"] == 24)]
    mine = mine[mine["design"] == TRIAL].reset_index(drop=True)
    assert list(mine["quantity"]) == list(plain["quantity"])
    for column in ("estimate", "se", "low", "high", "p"):
        assert mine[column].to_numpy() == pytest.approx(plain[column].to_numpy(float), rel=1e-3, nan_ok=True), column


def test_under_the_null_the_control_arm_is_the_same_and_the_others_are_given_its_treatment(finished: Path) -> None:
    found = pd.read_parquet(finished / "estimates.parquet")
    own = found[found["quantity"] == "mean"].pivot_table(
        index=["vector", "replicate", "patients", "arm"], columns="design", values="n", aggfunc="first"
    )
    assert (own[TRIAL] == own[NULL]).all()
    gaps = found[found["quantity"] == DIFFERENCE].groupby("design")["estimate"].mean()
    assert gaps[TRIAL] > 3.0
    assert abs(gaps[NULL]) < 2.0


# -- the verb ----------------------------------------------------------------------------------------------------------


def test_the_folder_holds_the_tables_and_a_page_that_answers(finished: Path) -> None:
    names = {path.name for path in finished.iterdir()}
    assert names == {
        "assurance.csv", "estimates.parquet", "figures", "fingerprint", "index.html", "operating.csv", "parameters.csv",
        "patients.parquet", "replicates.json", "tables", "trial.toml", "truth.csv", "vectors.csv", "visits.parquet",
    }  # fmt: skip
    facts = json.loads((finished / "replicates.json").read_text(encoding="utf-8"))
    assert (facts["replicates"], facts["patients"], facts["vectors"]) == (4, [12, 24], 2)
    estimates = pd.read_parquet(finished / "estimates.parquet")
    assert not estimates.duplicated(KEY).any()
    assert len(estimates) == 3 * 4 * 2 * 2 * 3  # vectors, replicates, sizes, designs, two means and a difference
    assert len(pd.read_parquet(finished / "patients.parquet")) == 3 * 4 * 24
    assert len(pd.read_parquet(finished / "visits.parquet")) == 3 * 4 * 24 * 3
    page = (finished / "index.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 4
    assert "Assurance, the power averaged over 2 parameter vectors" in page
    assert "nan" not in page.lower()


@pytest.mark.parametrize("change", ["interrupted", "workers", "batches"])
def test_the_bytes_are_the_same_however_it_was_run(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    out = tmp_path / "out"
    options = {"replicates": 4, "patients": [12, 24], "vectors": 2, "keep_patients": True}
    trial = finished.parent / "small.toml"
    if change == "workers":
        monkeypatch.setattr(operating, "FEW", 0)
        monkeypatch.setattr(operating, "AT_ONCE", 2)
        ranklsim.replicate(trial, out, workers=2, **options)
    elif change == "batches":
        monkeypatch.setattr(replicates, "BATCH", 50)
        ranklsim.replicate(trial, out, workers=1, **options)
    else:
        monkeypatch.setattr(replicates, "BATCH", 100)

        def stop(done: int, total: int) -> None:
            if done > total // 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            ranklsim.replicate(trial, out, workers=1, progress=stop, **options)
        kept = sorted((out / "work").glob("*-estimates.parquet"))
        assert kept
        kept[0].write_bytes(b"damaged")
        assert not (out / "index.html").exists()
        ranklsim.replicate(trial, out, workers=1, resume=True, **options)
    for name in ("estimates.parquet", "patients.parquet", "visits.parquet", "operating.csv", "assurance.csv"):
        assert (out / name).read_bytes() == (finished / name).read_bytes(), name
    assert not (out / "work").exists()


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--patients", "1"], "patients = 1 are fewer than the 2 arms; give at least 2."),
        (["--patients", "ten"], "'ten' is not a list of whole numbers, such as 25,50,100"),
        (["--patients", "10,0"], "'10,0' holds a number below 1"),
        (["--vectors", "many"], "'many' is neither a whole number nor 'all'"),
        (["--vectors", "5000"], "vectors = 5000, but the ensemble holds"),
        (["--replicates", "0"], "'0' is not a whole number of 1 or more"),
        (["--layers", "none"], "every study would be the same"),
        (["--vectors", "3", "--layers", "patients"], "the trial's layer 'parameters' is off"),
        (["--resume", "--force"], "give one of them"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence_and_nothing_is_written(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], part: str
) -> None:
    out = tmp_path / "out"
    code, _, told = said(capsys, "replicate", small, "-o", out, *words)
    assert code == 2
    assert len(told) == 1
    assert part in told[0]
    assert not out.exists()


def test_a_finished_result_is_replaced_only_by_force(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    words = ("replicate", finished.parent / "small.toml", "--replicates", "4", "-o", out)
    code, _, told = said(capsys, *words)
    assert (code, len(told)) == (2, 1)
    assert "--force" in told[0]
    (out / "mine.txt").write_text("keep", encoding="utf-8")
    code, _, told = said(capsys, *words, "--force")
    assert code == 2
    assert "mine.txt" in told[0]


def test_endpoints_that_are_not_analysed_are_named(tmp_path: Path) -> None:
    more = '[[endpoint]]\nname = "Gain"\nrole = "secondary"\n'
    more += 'responder = { of = "BMD_LS", at = "12 mo", gain = ">= 3 %" }\nanalysis = "logistic"\n'
    found = ranklsim.replicate(trial_file(tmp_path, "ANCOVA", more), replicates=2, workers=1, null=False)
    assert found.left_out == "Not analysed, for they are no change of a measure between two visits: Gain."
    assert set(found.estimates["design"]) == {TRIAL}


def test_patients_are_kept_in_a_folder_only(small: Path) -> None:
    with pytest.raises(BadInput, match="name one by out"):
        replication.replicate(small, replicates=2, keep_patients=True)
