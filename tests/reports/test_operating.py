"""Operating characteristics: what they are of known estimates, what a small trial's are, and ``ranklsim replicate``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import arm, change, said, trial_file

import ranklsim
from ranklsim.cohorts.protocol.trial import load_trial
from ranklsim.cohorts.statistics.proportions import proportion
from ranklsim.pkpd.errors import BadInput
from ranklsim.reports.cli import main as cli
from ranklsim.reports.replicate import analyse as studies
from ranklsim.reports.replicate import operating
from ranklsim.reports.replicate import run as replication
from ranklsim.reports.replicate import sample as replicates
from ranklsim.reports.replicate.analyse import DIFFERENCE, NULL, TRIAL, Protocol

KEY = ["vector", "replicate", "patients", "design", "endpoint", "arm", "quantity"]
SUBJECT = {"endpoint": "Spine", "estimand": "", "arm": "denosumab", "quantity": DIFFERENCE}
MEANS, RATIO = "difference of means", "hazard ratio"


def small_file(folder: Path, analysis: str) -> Path:
    return trial_file(
        folder,
        stem="small",
        seed=11,
        months=12,
        population={"patients": 24},
        arm=[arm("placebo", doses=2), arm("denosumab", doses=2)],
        visits={"BMD": [0, 6, 12], "markers": [0, 12]},
        endpoint=[change("Spine", analysis, to=12)],
    )


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_file(tmp_path_factory.mktemp("trial"), "mean difference")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a small result with two sizes and two vectors; copy it before changing it."""
    folder = tmp_path_factory.mktemp("replicate")
    trial = small_file(folder, "ANCOVA")
    words = ["replicate", str(trial), "--replicates", "4", "--patients", "24,12", "--vectors", "2", "--keep-patients"]
    assert cli.main([*words, "--workers", "1", "-o", str(folder / "out")]) == 0
    return folder / "out"


# -- measures of known estimates ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def protocol(small: Path) -> Protocol:
    return Protocol(load_trial(small), {}, (20,))


def known(estimates: list[float], half: float, design: str = TRIAL, measure: str = MEANS) -> pd.DataFrame:
    """Estimates with standard error 1 and intervals of this half width; of ratios, of the logarithm."""
    x = np.asarray(estimates)
    ends = {"estimate": x, "low": x - half, "high": x + half}
    if measure == RATIO:
        ends = {name: np.exp(values) for name, values in ends.items()}
    none = 1.0 if measure == RATIO else 0.0
    ends |= {"shown": (ends["low"] > none).astype(float), "harm": (ends["high"] < none).astype(float)}
    facts = {"se": 1.0, "replicate": range(len(x)), "p": np.nan, "p_claim": np.nan, "adjusted": np.nan, "n": 9}
    frame = pd.DataFrame(ends | facts)
    facts = SUBJECT | {"effect_measure": measure, "vector": 0, "patients": 20, "design": design}
    return frame.assign(**facts, method="ANCOVA")[list(studies.ESTIMATES)]


def truth(value: float, error: float, measure: str = MEANS) -> pd.DataFrame:
    row = SUBJECT | {"effect_measure": measure, "vector": 0, "conduct": "as planned", "patients": 9}
    return pd.DataFrame([row | {"value": value, "mc_se": error}])


def test_measures_are_those_of_morris_white_and_crowther(protocol: Protocol) -> None:
    estimates = [0.5, 1.5, 2.5, 3.5]
    found = pd.concat([known(estimates, 1.2), known([0.0, 0.1, -2.0, 0.2], 1.2, NULL)])
    got = operating.operating(found, truth(1.0, 0.3), protocol).set_index("measure")
    sd = np.std(estimates, ddof=1)
    assert got.loc["power", ["value", "mc_se"]].tolist() == [0.75, np.sqrt(0.75 * 0.25 / 4)]
    assert got.loc["type I error", "value"] == 0.0  # harm is no success
    assert got.loc["harm without effect", "value"] == 0.25
    assert got.loc["power", ["low", "high"]].tolist() == pytest.approx([0.3006, 0.9544], abs=1e-4)  # Wilson
    assert got.loc["bias", "value"] == 1.0
    assert got.loc["bias", "mc_se"] == pytest.approx(np.sqrt(sd**2 / 4 + 0.09))
    assert got.loc["coverage", "value"] == 0.5
    assert got.loc["empirical SE", ["value", "mc_se"]].tolist() == pytest.approx([sd, sd / np.sqrt(6)])
    assert got.loc["model SE", ["value", "mc_se"]].tolist() == [1.0, 0.0]
    assert got.loc["width", "value"] == pytest.approx(2.4)


def test_a_study_without_interval_finds_no_difference_and_is_counted(protocol: Protocol) -> None:
    found = known([5.0, 5.0], 1.0)
    found.loc[1, ["low", "high", "se"]], found.loc[1, "shown"] = np.nan, 0.0
    got = operating.operating(found, truth(5.0, 0.0), protocol).set_index("measure")["value"]
    assert got["power"] == 0.5
    assert got["failed"] == 0.5
    assert got["coverage"] == 1.0


def test_bias_errors_and_widths_of_ratios_are_those_of_their_logarithm(protocol: Protocol) -> None:
    estimates = [-1.5, -0.5, -1.0]
    found = known(estimates, 0.6, measure=RATIO)
    got = operating.operating(found, truth(np.exp(-0.8), 0.1 * np.exp(-0.8), RATIO), protocol).set_index("measure")
    assert got.loc["estimate", "value"] == pytest.approx(np.exp(-1.0))
    assert got.loc["bias", ["value", "mc_se"]].tolist() == pytest.approx([-0.2, np.sqrt(0.25 / 3 + 0.01)])
    assert got.loc["truth", "value"] == pytest.approx(np.exp(-0.8))
    assert got.loc["width", "value"] == pytest.approx(1.2)
    assert got.loc["harm", "value"] == pytest.approx(2 / 3)  # those whose interval leaves out 1
    assert got.loc["coverage", "value"] == pytest.approx(2 / 3)


def test_a_study_without_event_has_no_part_in_the_bias_but_in_power_and_failures(protocol: Protocol) -> None:
    found = known([-1.0, -1.0, -1.0], 0.5, measure=RATIO)
    found.loc[0, ["estimate", "low", "high"]] = [0.0, np.nan, np.nan]  # no event in the arm
    found.loc[1, ["estimate", "low", "high"]] = np.nan  # nor in control
    got = operating.operating(found, truth(np.exp(-1.0), 0.0, RATIO), protocol).set_index("measure")
    assert got.loc["bias", "value"] == pytest.approx(0.0)
    assert got.loc["bias", "studies"] == 1
    assert got.loc["failed", "value"] == pytest.approx(2 / 3)
    assert got.loc["harm", ["value", "studies"]].tolist() == pytest.approx([1.0, 3])


def test_assurance_is_the_mean_power_of_the_vectors_drawn_and_its_spread_leaves_out_chance() -> None:
    rows = SUBJECT | {"effect_measure": MEANS, "patients": 20, "conduct": "", "measure": "power"}
    values = pd.DataFrame({"vector": [0, 1, 2, 3], "value": [0.0, 0.4, 0.6, 0.8], "mc_se": [0.0, 0.1, 0.1, 0.1]})
    got = operating.assurance(values.assign(**rows, studies=25)).iloc[0]
    assert got["mean"] == pytest.approx(0.6)
    assert got["vectors"] == 3
    assert got["mc_se"] == pytest.approx(0.2 / np.sqrt(3))
    assert got["sd"] == pytest.approx(np.sqrt(0.04 - 0.01))


# -- a small trial -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
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
        "assurance.csv", "estimates.parquet", "events.parquet", "figures",
        "fingerprint", "index.html", "operating.csv", "parameters.csv",
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


@pytest.mark.slow
@pytest.mark.parametrize("change", ["interrupted", "workers", "batches"])
def test_the_bytes_are_the_same_however_it_was_run(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    out = tmp_path / "out"
    options = {"replicates": 4, "patients": [12, 24], "vectors": 2, "keep_patients": True}
    trial = finished.parent / "small.toml"
    if change == "workers":
        monkeypatch.setattr(studies, "FEW", 0)
        monkeypatch.setattr(studies, "AT_ONCE", 2)
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
        (["--precision", "0 %"], "precision = 0 % is not possible; give a share such as '0.5 %'."),
        (["--precision", "0.5%", "--replicates", "9"], "both replicates and precision are given"),
        (["--endpoints", "some"], "endpoints = 'some' is neither 'all' nor 'primary'."),
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


def test_looks_without_planned_information_are_refused_unless_none_can_be_due(tmp_path: Path) -> None:
    def design(look: str, **plan: str) -> Path:
        conduct = {"enrolment": {"rate": "40 patients/mo"}, "looks": [look]}
        return trial_file(
            tmp_path, months=12, visits={"BMD": [0, 12], "markers": [0, 12]}, endpoint=[change(to=12)],
            arm=[arm("placebo", doses=2), arm("denosumab", doses=2)], conduct=conduct,
            interim={"spending": "Pocock", **plan}, population={"patients": 12},
        )  # fmt: skip

    with pytest.raises(BadInput, match="known only in hindsight"):
        replication.replicate(design("50 % completed"), replicates=2)
    never = replication.replicate(design("200 mo"), replicates=2, workers=1)
    planned = replication.replicate(design("50 % completed", planned_error="1 %"), replicates=2, workers=1)
    assert len(never.looks) == len(planned.looks) == 4


def test_precision_chooses_the_number_of_replicates_by_wilsons_interval() -> None:
    n = replication.replicates_for("0.5 %")
    halves = [(p["high"] - p["low"]) / 2 for p in (proportion(0.025 * k, k) for k in (n - 1, n))]
    assert halves[0] > 0.005 >= halves[1]
    assert n == replication.replicates_for(0.005) == pytest.approx(3800, rel=0.03)


def test_primary_endpoints_alone_give_what_they_give_beside_the_others(tmp_path: Path) -> None:
    more = trial_file(
        tmp_path, months=12, visits={"BMD": [0, 12], "markers": [0, 12]}, population={"patients": 20},
        arm=[arm("placebo", doses=2), arm("denosumab", doses=2)],
        endpoint=[change(to=12), change("hip", role="secondary", of="BMD_TH", to=12)],
    )  # fmt: skip
    one, two = (replication.replicate(more, replicates=3, workers=1, endpoints=e) for e in ("primary", "all"))
    assert set(one.estimates["endpoint"]) == {"gain"}
    both = two.estimates[two.estimates["endpoint"] == "gain"].reset_index(drop=True)
    pd.testing.assert_frame_equal(one.estimates, both)


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


def test_patients_are_kept_in_a_folder_only(small: Path) -> None:
    with pytest.raises(BadInput, match="name one by out"):
        replication.replicate(small, replicates=2, keep_patients=True)
