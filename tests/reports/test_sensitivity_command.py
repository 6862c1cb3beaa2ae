"""``ranklsim sensitivity``: files, page, resume, and one sentence for each thing that is wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from helpers import said

import ranklsim
from ranklsim.pkpd.ensemble import ensemble
from ranklsim.reports.cli import main as cli
from ranklsim.reports.sensitivity import run as sensitivity_run

pytestmark = pytest.mark.slow

SMALL = ("--ensemble", "none", "--trajectories", "2", "--samples", "8", "--keep", "2", "--only", "rint,fsh,sig,mix")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a small analysis of two arms; copy it before changing it."""
    folder = tmp_path_factory.mktemp("sensitivity")
    vectors = folder / "vectors.csv"
    rows = [f"{0.01 * k},{0.16 + 0.004 * ((7 * k) % 25)}" for k in range(25)]
    vectors.write_text("\n".join(["sig,kT", *rows]) + "\n", encoding="utf-8")
    words = ["sensitivity", "discontinuation", "-o", str(folder / "out"), *SMALL, "--second-order"]
    assert cli.main([*words, "--ensemble", str(vectors), "--workers", "2"]) == 0
    return folder / "out"


def test_the_folder_holds_the_tables_and_a_page_that_answers(finished: Path) -> None:
    names = {path.name for path in finished.iterdir()}
    assert names == {
        "correlations.csv", "figures", "fingerprint", "index.html", "morris.csv", "outcomes.csv", "pairs.csv",
        "ranges.csv", "samples.parquet", "sensitivity.json", "sobol.csv", "tables",
    }  # fmt: skip
    facts = json.loads((finished / "sensitivity.json").read_text(encoding="utf-8"))
    assert facts["moved"] == ["rint", "fsh", "sig", "mix"]
    assert facts["settings"]["samples"] == 8
    sobol = pd.read_csv(finished / "sobol.csv")
    assert set(sobol["symbol"]) == set(facts["kept"])
    assert len(pd.read_parquet(finished / "samples.parquet")) == 1 + 2 * 5 + 8 * 6 + 25
    page = (finished / "index.html").read_text(encoding="utf-8")
    top = sobol[sobol["outcome"].isin(["denosumab.kept_LS_12", "denosumab.peak_CTX"])]
    first = top.groupby("symbol")["ST"].mean().idxmax()
    assert f"<p>{first} (" in page
    assert "matters most" in page
    assert "Worth measuring first" in page
    assert "varied within its own interval, without correlations" in page
    assert page.count("<svg") == 4
    assert "nan" not in page.lower().replace("governance", "")


def test_python_finds_the_same_for_any_number_of_workers(finished: Path) -> None:
    found = ranklsim.sensitivity(
        "discontinuation",
        trajectories=2,
        samples=8,
        keep=2,
        only=["rint", "fsh", "sig", "mix"],
        second_order=True,
        ensemble=None,
        workers=1,
    )
    written = pd.read_parquet(finished / "samples.parquet")
    same = written[written["stage"] != "ensemble"].reset_index(drop=True)
    pd.testing.assert_frame_equal(found.samples, same[list(found.samples)], check_exact=True)


def test_correlations_are_over_the_shipped_ensemble_unless_told_otherwise() -> None:
    found = ranklsim.sensitivity("discontinuation", only=["sig", "mix"], trajectories=2, samples=8, keep=2)
    drawn = found.samples[found.samples["stage"] == "ensemble"].reset_index(drop=True)
    pd.testing.assert_frame_equal(drawn[["sig", "mix"]], ensemble()[["sig", "mix"]])
    assert set(found.correlations["symbol"]) <= set(ensemble())


def test_an_interrupted_analysis_goes_on_to_the_same_bytes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    words = ("sensitivity", "discontinuation", *SMALL, "--workers", "1", "-o")
    assert said(capsys, *words, tmp_path / "whole")[0] == 0
    real = sensitivity_run.write_sensitivity

    def stopped(*_: object) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(sensitivity_run, "write_sensitivity", stopped)
    code, out, err = said(capsys, *words, tmp_path / "cut")
    assert (code, out) == (130, [])
    assert "--resume" in err[0]
    code, out, err = said(capsys, *words, tmp_path / "cut")
    assert code == 2
    assert "--resume to continue" in err[0]
    code, _, err = said(capsys, *words, tmp_path / "cut", "--seed", "5", "--resume")
    assert code == 2
    assert "its trial, parameters or options differ" in err[0]
    monkeypatch.setattr(sensitivity_run, "write_sensitivity", real)
    code, out, _ = said(capsys, *words, tmp_path / "cut", "--resume")
    assert (code, out) == (0, [str(tmp_path / "cut" / "index.html")])
    for path in sorted((tmp_path / "whole").rglob("*")):
        other = tmp_path / "cut" / path.relative_to(tmp_path / "whole")
        if path.is_file() and path.name != "sensitivity.json":  # which holds the command
            assert other.read_bytes() == path.read_bytes(), path.name
    code, _, err = said(capsys, *words, tmp_path / "cut", "--resume")
    assert code == 2
    assert "finished" in err[0]


def test_a_folder_is_replaced_only_with_force_and_only_if_it_is_ours(
    capsys: pytest.CaptureFixture[str], finished: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    shutil.copytree(finished, mine)
    words = ("sensitivity", "discontinuation", *SMALL, "-o")
    assert said(capsys, *words, mine)[0] == 2
    (mine / "notes.txt").write_text("mine", encoding="utf-8")
    code, _, err = said(capsys, *words, mine, "--force")
    assert code == 2
    assert "notes.txt" in err[0]
    assert (mine / "sobol.csv").is_file()
    (mine / "notes.txt").unlink()
    assert said(capsys, *words, mine, "--force")[0] == 0
    assert not (mine / "pairs.csv").exists()
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "x.txt").write_text("x", encoding="utf-8")
    for more in ((), ("--force",), ("--resume",)):
        code, _, err = said(capsys, *words, foreign, *more)
        assert code == 2
        assert "something other than an analysis" in err[0]


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("modality", "--only", "sigg,mix"), "did you mean 'sig'?"),
        (("modality", "--only", ","), "names nothing"),
        (("modality", "--samples", "100"), "not a power of two"),
        (("modality", "--keep", "1"), "'1' is not a whole number of 2 or more"),
        (("modalty",), "did you mean 'modality'?"),
        (("modality", "--ensemble", "nowhere.csv"), "nowhere.csv"),
        (("modality", "--intervals", "nowhere.csv"), "nowhere.csv"),
        (("modality", "--resume", "--force"), "give one of them"),
        (("placebo.toml",), "no arm is given an active agent"),
    ],
)
def test_bad_words_get_one_sentence(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    words: tuple[str, ...],
    part: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    text = (Path(sensitivity_run.__file__).parents[2] / "cohorts" / "data" / "trials" / "freedom.toml").read_text()
    (tmp_path / "placebo.toml").write_text(text.replace('agent = "denosumab", dose = "60 mg"', 'agent = "placebo"'))
    code, out, err = said(capsys, "sensitivity", *words, "-o", "out")
    assert (code, out, len(err)) == (2, [], 1), err
    assert part in err[0]
    assert not (tmp_path / "out").exists()
