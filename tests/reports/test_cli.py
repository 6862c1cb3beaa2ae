"""The command line: what it prints, writes and returns, and one sentence for each thing that is wrong."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from helpers import change, check_sentence, said, trial_text, two_arms

from ranklsim import Agent, api
from ranklsim.pkpd import machine
from ranklsim.pkpd.agents import load_agent
from ranklsim.reports.cli import main as cli

COURSE = ("--agent", "denosumab", "--dose", "60mg", "--every", "6mo", "--doses", "2", "--follow", "6mo")

TRIAL = trial_text(
    title="A small trial for tests",
    seed=3,
    months=12,
    uncertainty_draws=2,
    population={"patients": 8, "eligible": {"age": "60..85 yr"}, "ratio": {"placebo": 1, "active": 1}},
    arm=[
        {"name": "placebo", "label": "Placebo", "regimen": [{"agent": "placebo", "every": "6 mo", "doses": 1}]},
        {
            "name": "active",
            "label": "Denosumab 60 mg Q6M",
            "regimen": [{"agent": "denosumab", "dose": "60 mg", "doses": 1}],
        },
    ],
    visits={"BMD": [0, 12], "markers": [0, 6, 12]},
    endpoint=[change("Lumbar spine BMD", to=12)],
    conduct={"dropout": "5 %/yr"},
)


@dataclass
class Said:
    """What a command returned and said."""

    code: int
    out: str
    err: str

    @property
    def result(self) -> str:
        """The last line of stdout: the path of the result."""
        return self.out.splitlines()[-1]

    @property
    def faults(self) -> list[str]:
        return self.err.splitlines()


@pytest.fixture
def ranklsim(capsys, monkeypatch, tmp_path):
    """The command, run in an empty folder in this process."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str | Path) -> Said:
        capsys.readouterr()
        code = cli.main([str(word) for word in words])
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return Said(code, said.out, said.err)

    return run


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A folder with a small trial and its run, to be copied by tests that change it."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "small.toml").write_text(TRIAL, encoding="utf-8")
    assert cli.main(["run", str(folder / "small.toml"), "-o", str(folder / "run"), "--no-report"]) == 0
    return folder


def refused(said: Said, *parts: str, faults: int = 1) -> None:
    """One sentence a fault, which names `parts`; nothing on stdout; exit code 2."""
    assert said.code == 2, said.err
    assert said.out == ""
    assert len(said.faults) == faults, said.err
    for fault in said.faults:
        assert re.search(r"[.?]$", fault), f"not a sentence: {fault}"
    for part in parts:
        assert part in said.err, f"{part!r} is not in: {said.err}"


def everything(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_table_of_variants_says_why_a_negative_rise_does_not_make_a_default(ranklsim) -> None:
    said = ranklsim("variants")
    assert said.code == 0
    assert re.search(r"^constant-modelling .* -\d", said.out, re.MULTILINE)
    assert "A negative rise is a better fit." in said.out
    assert said.out.endswith("docs/calibration.md explains both.\n")


# --- what it does -----------------------------------------------------------------------------------------------------


def test_help_names_every_verb_and_the_exit_codes(ranklsim) -> None:
    said = ranklsim("--help")
    assert said.code == 0
    for word in ("run", "simulate", "report", "trials", "agents", "parameters", "130"):
        assert word in said.out


@pytest.mark.parametrize("verb", ["run", "simulate", "report", "trials", "agents", "parameters"])
def test_help_of_a_verb_explains_every_option(ranklsim, verb: str) -> None:
    said = ranklsim(verb, "--help")
    assert said.code == 0
    for param in cli.cli.commands[verb].params:
        if param.param_type_name == "option":
            assert param.help, f"{verb} {param.opts} has no help"
            assert max(param.opts, key=len) in said.out


@pytest.mark.parametrize(
    "verb", ["run", "simulate", "report", "compare", "replicate", "fit", "sensitivity", "validate"]
)
def test_help_speaks_of_resuming_where_a_verb_can(ranklsim, verb: str) -> None:
    can = any("--resume" in param.opts for param in cli.cli.commands[verb].params)
    assert ("--resume" in ranklsim(verb, "--help").out) == can


@pytest.mark.slow
def test_what_the_check_of_a_population_imports_is_what_it_needs() -> None:
    code = "import sys; import ranklsim.reports.analyses.baseline, ranklsim.reports.layout.wording; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"statsmodels", "matplotlib"} & set(loaded)


def test_help_of_simulate_names_every_covariate_that_can_be_set(ranklsim) -> None:
    from ranklsim.pkpd.biology.skeleton import NAMES
    from ranklsim.pkpd.simulation import COVARIATES

    words = re.findall(r"\w+", ranklsim("simulate", "--help").out)
    assert {*COVARIATES, *(f"T_{site}" for site in NAMES)} <= set(words)


def test_trials_lists_the_five_that_ship(ranklsim) -> None:
    said = ranklsim("trials")
    assert said.code == 0
    listed = {line.split()[0] for line in said.out.splitlines()[1:]}
    assert {"modality", "freedom", "discontinuation", "exit", "dose_ranging", "source"} <= listed


def test_trials_show_prints_a_file_that_runs_as_it_is(ranklsim, tmp_path: Path) -> None:
    from ranklsim.cohorts.protocol.trial import load_trial

    (tmp_path / "freedom.toml").write_text(ranklsim("trials", "show", "freedom").out, encoding="utf-8")
    assert load_trial(tmp_path / "freedom.toml") == load_trial("freedom")


def test_agents_lists_all_and_shows_one_with_unit_and_source(ranklsim) -> None:
    said = ranklsim("agents")
    assert said.code == 0
    for name in (
        "placebo",
        "denosumab",
        "mrankl-selective",
        "srankl-selective",
        "opg-fc",
        "zoledronate",
        "alendronate",
    ):
        assert re.search(rf"^{name}\s", said.out, re.MULTILINE)
    shown = ranklsim("agents", "show", "denosumab")
    assert shown.code == 0
    for part in ("KD_mRANKL", "KD_sRANKL", "nmol/L", "L/day", "measured"):
        assert part in shown.out
    assert ranklsim("agents", "denosumab").out == shown.out


def test_agents_shows_an_agent_from_a_file(ranklsim, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(
        'name = "mine"\nlabel = "Mine"\nlike = "denosumab"\nhypothetical = true\n', encoding="utf-8"
    )
    for name in ("mine", "mine.toml", tmp_path / "mine.toml"):
        said = ranklsim("agents", "show", name)
        assert said.code == 0, said.err
        assert "Mine" in said.out


@pytest.mark.slow
def test_parameters_lists_every_symbol_and_explains_one(ranklsim) -> None:
    from ranklsim.pkpd.parameters import load_parameters

    table = load_parameters().frame
    listed = [line.split()[0] for line in ranklsim("parameters").out.splitlines()[1:] if not line.startswith(" ")]
    assert listed == list(table.index)
    said = ranklsim("parameters", "show", "sig")
    for part in (str(table.loc["sig", "meaning"]), f"{table.loc['sig', 'value']:g}", "assumed"):
        assert part in re.sub(r"\s+", " ", said.out)


def test_parameters_can_be_listed_by_group_and_status(ranklsim) -> None:
    from ranklsim.pkpd.parameters import load_parameters

    table = load_parameters().frame
    said = ranklsim("parameters", "--group", "ligand", "--status", "assumed")
    wanted = table.index[(table["group"] == "ligand") & (table["status"] == "assumed")]
    assert [line.split()[0] for line in said.out.splitlines()[1:] if not line.startswith(" ")] == list(wanted)


def test_simulate_writes_a_row_a_month_and_says_where(ranklsim, tmp_path: Path) -> None:
    said = ranklsim("simulate", *COURSE, "-o", "x.csv")
    assert said.code == 0, said.err
    assert said.result == "x.csv"
    table = pd.read_csv(tmp_path / "x.csv")
    assert list(table["month"]) == list(range(19))
    for column in ("C_denosumab", "OCC_mRANKL", "OCC_sRANKL", "CTX_pct", "P1NP_pct", "BMD_LS_pct", "BMD_TH_pct"):
        assert column in table
    start = table.iloc[0]
    assert start["CTX_pct"] == pytest.approx(100)
    assert start["BMD_LS_pct"] == pytest.approx(0, abs=1e-9)
    assert start["C_denosumab"] == 0  # just before the first dose


def test_simulate_at_adds_rows_and_changes_none(ranklsim, tmp_path: Path) -> None:
    ranklsim("simulate", *COURSE, "-o", "plain.csv")
    ranklsim("simulate", *COURSE, "--at", "0.1,6,12.5", "-o", "more.csv")
    plain, more = pd.read_csv(tmp_path / "plain.csv"), pd.read_csv(tmp_path / "more.csv")
    assert sorted(set(more["month"]) - set(plain["month"])) == [0.1, 12.5]
    pd.testing.assert_frame_equal(
        more[more["month"].isin(plain["month"])].reset_index(drop=True), plain, check_dtype=False, rtol=1e-5
    )


def test_simulate_takes_a_sequence_and_the_four_options_are_its_short_form(ranklsim, tmp_path: Path) -> None:
    assert ranklsim("simulate", *COURSE, "-o", "a.csv").code == 0
    said = ranklsim("simulate", "--regimen", "denosumab 60mg every 6mo x2", "--follow", "6mo", "-o", "b.csv")
    assert said.code == 0, said.err
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    said = ranklsim("simulate", "--regimen", "denosumab 14mg every 6mo x2, denosumab 60mg every 6mo x2", "-o", "c.csv")
    assert said.code == 0, said.err
    table = pd.read_csv(tmp_path / "c.csv").set_index("month")
    assert table.loc[13, "C_denosumab"] > 3 * table.loc[1, "C_denosumab"]


def test_simulate_placebo_needs_no_dose_and_leaves_bone_turnover_alone(ranklsim, tmp_path: Path) -> None:
    said = ranklsim("simulate", "--agent", "placebo", "--every", "6mo", "--doses", "2", "-o", "x.csv")
    assert said.code == 0, said.err
    table = pd.read_csv(tmp_path / "x.csv")
    assert (abs(table["CTX_pct"] - 100) < 5).all()
    assert (table["OCC_mRANKL"] == 0).all()


def test_simulate_set_changes_the_patient(ranklsim, tmp_path: Path) -> None:
    ranklsim("simulate", *COURSE, "-o", "typical.csv")
    said = ranklsim("simulate", *COURSE, "--set", "weight=100", "--set", "T_LS=-3", "-o", "heavy.csv")
    assert said.code == 0, said.err
    typical, heavy = pd.read_csv(tmp_path / "typical.csv"), pd.read_csv(tmp_path / "heavy.csv")
    assert heavy["C_denosumab"][1] < typical["C_denosumab"][1]
    assert heavy["BMD_LS"][0] != typical["BMD_LS"][0]


def test_simulate_takes_parameters_from_a_file(ranklsim, tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("symbol,value\nsig,0.5\n", encoding="utf-8")
    selective = ("--agent", "mrankl-selective", "--dose", "60mg", "--every", "6mo", "--doses", "2")
    ranklsim("simulate", *selective, "-o", "a.csv")
    said = ranklsim("simulate", *selective, "--parameters", "p.csv", "-o", "b.csv")
    assert said.code == 0, said.err
    a, b = pd.read_csv(tmp_path / "a.csv"), pd.read_csv(tmp_path / "b.csv")
    assert b["CTX_pct"].min() > a["CTX_pct"].min()  # more of the signal is sRANKL, which stays free


def test_simulate_set_changes_the_drug(ranklsim, tmp_path: Path) -> None:
    ranklsim("simulate", *COURSE, "-o", "typical.csv")
    said = ranklsim("simulate", *COURSE, "--set", "denosumab.CL=0.12", "-o", "fast.csv")
    assert said.code == 0, said.err
    typical, fast = pd.read_csv(tmp_path / "typical.csv"), pd.read_csv(tmp_path / "fast.csv")
    assert (fast["C_denosumab"][1:7] < typical["C_denosumab"][1:7]).all()


def test_simulate_draws_what_it_writes_and_says_that_nothing_varies(ranklsim, tmp_path: Path) -> None:
    plain = ranklsim("simulate", *COURSE, "-o", "a.csv")
    said = ranklsim("simulate", *COURSE, "-o", "b.csv", "--plot", "b.svg")
    assert plain.code == said.code == 0, said.err
    assert said.out.splitlines() == ["b.svg", "b.csv"]
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "a.csv"), pd.read_csv(tmp_path / "b.csv"), rtol=1e-5)
    assert (tmp_path / "b.svg").read_text(encoding="utf-8").count("<svg") == 1


def test_run_writes_what_was_promised_and_says_where(finished: Path, ranklsim) -> None:
    run = finished / "run"
    for name in (
        "manifest.json",
        "trial.toml",
        "patients.parquet",
        "visits.parquet",
        "doses.parquet",
        "events.parquet",
    ):
        assert (run / name).stat().st_size > 0


@pytest.mark.slow
def test_run_ends_with_its_report_and_report_writes_the_same_again(finished: Path, ranklsim, tmp_path: Path) -> None:
    said = ranklsim("run", finished / "small.toml", "-o", "r")
    assert said.code == 0, said.err
    page = tmp_path / "r" / "report" / "index.html"
    assert tmp_path / said.result == page
    before = page.read_bytes()
    again = ranklsim("report", "r")
    assert (again.code, again.result) == (0, said.result)
    assert page.read_bytes() == before
    assert not list((tmp_path / "r").glob(".*"))


def test_run_takes_patients_and_seed_from_the_options(finished: Path, ranklsim, tmp_path: Path) -> None:
    said = ranklsim("run", finished / "small.toml", "-o", "r", "--patients", "6", "--seed", "0", "--no-report")
    assert said.code == 0, said.err
    assert said.result == "r"
    assert len(pd.read_parquet(tmp_path / "r" / "patients.parquet")) == 6
    assert json.loads((tmp_path / "r" / "manifest.json").read_text(encoding="utf-8"))["seed"] == 0
    assert not (tmp_path / "r" / "report").exists()


def test_run_without_variation_between_patients_gives_equal_patients(finished: Path, ranklsim, tmp_path: Path) -> None:
    said = ranklsim("run", finished / "small.toml", "-o", "r", "--layers", "none", "--no-report")
    assert said.code == 0, said.err
    assert pd.read_parquet(tmp_path / "r" / "patients.parquet")["age"].nunique() == 1


def test_run_does_not_depend_on_workers(finished: Path, ranklsim, tmp_path: Path) -> None:
    for workers in (1, 2):
        said = ranklsim("run", finished / "small.toml", "-o", f"w{workers}", "--workers", str(workers), "--no-report")
        assert said.code == 0, said.err
    for table in ("patients", "visits", "doses", "events"):
        one, two = (pd.read_parquet(tmp_path / folder / f"{table}.parquet") for folder in ("w1", "w2"))
        pd.testing.assert_frame_equal(one, two, check_exact=True)


# --- what is wrong with the words -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words, parts",
    [
        (["rnu"], ["'rnu'", "did you mean 'run'"]),
        (["run"], ["TRIAL is missing"]),
        (["run", "modality", "--pateints", "4"], ["'--pateints'", "did you mean '--patients'"]),
        (["run", "modality", "--patients", "0"], ["--patients", "'0'", "1 or more"]),
        (["run", "modality", "--patients", "many"], ["--patients", "'many'", "1 or more"]),
        (["run", "modality", "--patients", "1.5"], ["--patients", "'1.5'"]),
        (["run", "modality", "--workers", "-1"], ["--workers", "'-1'"]),
        (["run", "modality", "--seed", "-1"], ["--seed", "'-1'", "0 or more"]),
        (["run", "modality", "--seed", str(2**63)], [f"--seed = {2**63} is not possible", "from 0 to"]),
        (["run", "modality", "--layers", "patient"], ["--layers", "'patient'", "patients, residual, parameters"]),
        (["run", "modality", "--resume", "--force"], ["--resume", "--force"]),
        (["replicate", "modality", "--patients", "4,8,4"], ["--patients", "4", "more than once"]),
        (["reproduce", "."], [".: this is a folder", "give the file of a bundle"]),
        (["run", "modality", "freedom"], ["freedom"]),
        (["report"], ["DIR is missing"]),
        (["plan", "modalty"], ["did you mean 'modality'"]),  # with a folder for the result though none is given
        (["dossier", "nowhere", "--plan", "plan"], ["plan: holds no plan"]),
        (["qualify", "--only", "ST-99"], ["'ST-99' is no requirement"]),
        (["design"], ["give one question", "--dose-for with --agent"]),
        (["simulate", *COURSE, "-o", "x.csv", "--at", "1,soon"], ["--at", "1,soon", "0.1,1,6"]),
        (["simulate", *COURSE, "-o", "x.csv", "--at", "-1"], ["--at", "-1"]),
        (["simulate", *COURSE, "-o", "x.csv", "--set", "teriparatide.gain=2.5"], ["teriparatide.gain changes nothing"]),
        (["simulate", "--agent", "denosumab", "--dose", "1e300mg", "-o", "x.csv"], ["--dose", "too large"]),
        (["simulate", "--regimen", "denosumab 1e9g x1", "-o", "x.csv"], ["--regimen", "too large"]),
        (["simulate", *COURSE, "--follow", "1e200mo", "-o", "x.csv"], ["--follow", "too large"]),
        (["simulate", *COURSE, "-o", "x.csv", "--set", "age"], ["--set", "'age'", "age=63"]),
        (["simulate", *COURSE, "-o", "x.csv", "--set", "age=old"], ["--set", "'old'", "number"]),
        (["simulate", *COURSE, "-o", "x.csv", "--set", "age=63", "--set", "age=64"], ["--set age", "once"]),
        (["simulate", *COURSE, "-o", "x.csv", "--plot", "x.docx"], ["--plot", "x.docx", ".svg"]),
        (["simulate", *COURSE, "-o", "x.svg", "--plot", "x.svg"], ["x.svg", "two names"]),
        (["simulate", *COURSE, "--regimen", "denosumab 60mg x1", "-o", "x.csv"], ["--regimen", "--agent"]),
        (["simulate", "-o", "x.csv"], ["--agent", "--regimen"]),
        (["simulate", "--agent", "denosumab", "-o", "x.csv"], ["--dose is missing", "60mg"]),
        (["simulate", "--agent", "denosumab", "--dose", "60mg", "--doses", "2", "-o", "x.csv"], ["--every is missing"]),
        (["agents", "show", "denosumb"], ["'denosumb'", "did you mean 'denosumab'"]),
        (["trials", "show", "modalty"], ["modalty", "did you mean 'modality'"]),
        (["parameters", "show", "sgi"], ["'sgi'", "did you mean 'sig'"]),
        (["parameters", "--group", "bones"], ["--group", "'bones'", "skeleton"]),
    ],
)
def test_a_wrong_word_is_named_in_one_sentence(ranklsim, tmp_path: Path, words: list[str], parts: list[str]) -> None:
    refused(ranklsim(*words), *parts)
    assert list(tmp_path.iterdir()) == []


# --- section by section: bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes, parts",
    [
        ({"--agent": "denosumb"}, ["'denosumb'", "did you mean 'denosumab'"]),
        ({"--dose": "0mg"}, ["--dose", "0mg"]),
        ({"--dose": "-60mg"}, ["--dose", "-60mg"]),
        ({"--dose": "60"}, ["--dose", "60", "unit"]),
        ({"--dose": "60 kg"}, ["--dose", "60 kg"]),
        ({"--dose": "60 mL"}, ["--dose", "mL"]),
        ({"--dose": "much"}, ["--dose", "much"]),
        ({"--every": "6"}, ["--every", "6", "unit"]),
        ({"--every": "6M"}, ["--every", "6M"]),
        ({"--every": "6mg"}, ["--every", "mg"]),
        ({"--every": "0mo"}, ["--every", "0mo"]),
        ({"--doses": "0"}, ["--doses", "'0'"]),
        ({"--follow": "-2mo"}, ["--follow", "-2mo"]),
        ({"--follow": "24"}, ["--follow", "24", "unit"]),
        ({"--follow": "200yr"}, ["mo", "1200"]),
        ({"--at": "1201"}, ["1201", "1200"]),
        ({"--set": "age=7"}, ["--set", "7", "yr"]),
        ({"--set": "T_LS=9"}, ["--set T_LS", "9"]),
        ({"--set": "weight=nan"}, ["--set weight", "nan", "number"]),
        ({"--set": "sig=inf"}, ["--set sig", "inf", "number"]),
        ({"--set": "agee=63"}, ["--set", "'agee'", "did you mean 'age'"]),
        ({"--set": "denosumab.CL=9"}, ["--set", "denosumab.CL", "9"]),
        ({"--set": "denosumab.Cl=0.1"}, ["--set", "has no number 'Cl'"]),
        ({"--set": "sig=0.9"}, ["--set", "sig", "0.9", "0 to 0.5"]),
        ({"--parameters": "nowhere.csv"}, ["nowhere.csv"]),
        ({"-o": "nowhere/x.csv"}, ["nowhere"]),
        ({"-o": "."}, ["folder"]),
    ],
)
def test_simulate_refuses_bad_input_and_writes_nothing(ranklsim, tmp_path, changes: dict[str, str], parts) -> None:
    given = dict(zip(COURSE[::2], COURSE[1::2], strict=True)) | {"-o": "x.csv"} | changes
    refused(ranklsim("simulate", *(word for pair in given.items() for word in pair)), *parts)
    assert list(tmp_path.iterdir()) == []


def test_simulate_names_every_fault_at_once(ranklsim) -> None:
    given = {"--agent": "denosumb", "--dose": "60", "--every": "6kg", "--doses": "2", "--follow": "x", "-o": "x.csv"}
    said = ranklsim("simulate", *(word for pair in given.items() for word in pair))
    refused(said, "denosumb", "--dose", "--every", "--follow", faults=4)


@pytest.mark.parametrize(
    "text, parts",
    [
        ("denosumb 60mg every 6mo x2", ["'denosumb'", "did you mean 'denosumab'"]),
        ("denosumab 60 every 6mo x2", ["60"]),
        ("denosumab 0mg every 6mo x2", ["0"]),
        ("denosumab 60mg every 6kg x2", ["6kg"]),
        ("denosumab 60mg every 6mo", ["denosumab", "x4"]),
    ],
)
def test_simulate_refuses_a_bad_sequence(ranklsim, tmp_path: Path, text: str, parts: list[str]) -> None:
    refused(ranklsim("simulate", "--regimen", text, "-o", "x.csv"), *parts)
    assert list(tmp_path.iterdir()) == []


def test_a_parameter_outside_its_range_is_refused_with_file_and_line(ranklsim, tmp_path: Path, finished: Path) -> None:
    (tmp_path / "p.csv").write_text("symbol,value\nsig,0.1\nfsh,7\nsgi,1\n", encoding="utf-8")
    for words in (["simulate", *COURSE, "-o", "x.csv"], ["run", finished / "small.toml", "-o", "r"]):
        said = ranklsim(*words, "--parameters", "p.csv")
        refused(said, "p.csv:3", "fsh", "0.01 to 0.5", "p.csv:4", "'sgi'", faults=2)
    assert [path.name for path in tmp_path.iterdir()] == ["p.csv"]


def test_an_agent_file_with_a_missing_affinity_is_refused(ranklsim, tmp_path: Path) -> None:
    from ranklsim.pkpd.agents import load_agent

    text = load_agent("denosumab").path.read_text(encoding="utf-8").replace('"denosumab"', '"abc-301"')
    (tmp_path / "abc-301.toml").write_text(re.sub(r"(?m)^KD_mRANKL\b.*$", "", text), encoding="utf-8")
    for words in (
        ["simulate", "--agent", "abc-301.toml", "--dose", "60mg", "-o", "x.csv"],
        ["simulate", "--agent", "abc-301", "--dose", "60mg", "-o", "x.csv"],
        ["agents", "show", "abc-301.toml"],
    ):
        refused(ranklsim(*words), "abc-301.toml", "KD_mRANKL is missing", "nmol/L", '"none"')


def test_an_unknown_trial_is_refused_with_the_closest_one(ranklsim, tmp_path: Path) -> None:
    refused(ranklsim("run", "modalty", "-o", "r"), "modalty", "did you mean 'modality'")
    refused(ranklsim("run", "missing.toml", "-o", "r"), "missing.toml")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "old, new, parts",
    [
        ('agent = "denosumab"', 'agent = "denosumb"', ["'denosumb'", "did you mean 'denosumab'"]),
        ('control = "placebo"', 'control = "placbo"', ["placbo", "placebo"]),
        ("active = 1 }", "actve = 1 }", ["actve"]),
        ('dose = "60 mg"', 'dose = "0 mg"', ["0 mg"]),
        ('dose = "60 mg"', 'dose = "-60 mg"', ["-60 mg"]),
        ('dose = "60 mg"', 'dose = "60"', ["60", "unit"]),
        ('dose = "60 mg"', 'dose = "60 kg"', ["60 kg"]),
        ('dose = "60 mg"', "dose = 60", ["60"]),
        ("BMD = [0, 12]", "BMD = [12, 0]", ["12", "0"]),
        ("active = 1 }", "active = 0 }", ["active", "0"]),
        ("active = 1 }", "active = -1 }", ["active", "-1"]),
        ('age = "60..85 yr"', 'age = "600..850 yr"', ["age", "850 yr", "18..110 yr"]),
        ('age = "60..85 yr"', 'age = "60..85"', ["age", "unit"]),
        ("patients = 8", "patients = 0", ["patients", "0"]),
        ("seed = 3", "sead = 3", ["sead", "seed"]),
        ("months = 12", "months = ", [":3"]),
        ('"postmenopausal-osteoporosis"', '"postmenopausal"', ["postmenopausal-osteoporosis"]),
        (
            '{ agent = "denosumab", dose = "60 mg", doses = 1 }',
            '{ agent = "denosumab", dose = "60 mg", every = "6 mo", doses = 2 }, '
            '{ agent = "mrankl-selective", dose = "60 mg", start = "6 mo", every = "6 mo", doses = 1 }',
            ["active", "6 mo", "12 mo"],
        ),
    ],
)
def test_a_bad_trial_file_is_refused_with_its_line(ranklsim, tmp_path, old: str, new: str, parts: list[str]) -> None:
    assert TRIAL.count(old) == 1
    (tmp_path / "t.toml").write_text(TRIAL.replace(old, new), encoding="utf-8")
    said = ranklsim("run", "t.toml", "-o", "r")
    assert said.code == 2, said.err
    for fault in said.faults:
        assert re.match(r"t\.toml:\d+: .*[.?]$", fault), fault
    for part in parts:
        assert part in said.err
    assert [path.name for path in tmp_path.iterdir()] == ["t.toml"]


def test_a_trial_file_with_several_faults_names_them_all(ranklsim, tmp_path: Path) -> None:
    text = TRIAL.replace('dose = "60 mg"', 'dose = "60"').replace("active = 1 }", "active = 0 }")
    (tmp_path / "t.toml").write_text(text, encoding="utf-8")
    refused(ranklsim("run", "t.toml", "-o", "r"), "60", "active", faults=2)


def test_an_output_file_that_exists_is_kept_without_force(ranklsim, tmp_path: Path) -> None:
    for name in ("x.csv", "x.svg"):
        (tmp_path / name).write_text("my own", encoding="utf-8")
    said = ranklsim("simulate", *COURSE, "-o", "x.csv", "--plot", "x.svg")
    refused(said, "x.csv exists", "x.svg exists", "--force", faults=2)
    assert {path.read_text(encoding="utf-8") for path in tmp_path.iterdir()} == {"my own"}
    assert ranklsim("simulate", *COURSE, "-o", "x.csv", "--plot", "x.svg", "--force").code == 0
    assert "my own" not in (tmp_path / "x.csv").read_text(encoding="utf-8")


def test_an_output_folder_that_holds_another_run_is_kept_without_force(ranklsim, tmp_path, finished: Path) -> None:
    shutil.copytree(finished / "run", tmp_path / "r")
    before = everything(tmp_path)
    refused(ranklsim("run", finished / "small.toml", "-o", "r", "--seed", "4"), "r", "--force")
    assert everything(tmp_path) == before
    said = ranklsim("run", finished / "small.toml", "-o", "r", "--seed", "4", "--force", "--no-report")
    assert said.code == 0, said.err
    assert json.loads((tmp_path / "r" / "manifest.json").read_text(encoding="utf-8"))["seed"] == 4


def test_resume_refuses_the_run_of_another_trial(ranklsim, tmp_path: Path, finished: Path) -> None:
    shutil.copytree(finished / "run", tmp_path / "r")
    before = everything(tmp_path)
    refused(ranklsim("run", finished / "small.toml", "-o", "r", "--seed", "4", "--resume"), "r")
    assert everything(tmp_path) == before


def test_an_output_folder_that_holds_something_else_is_never_replaced(ranklsim, tmp_path: Path, finished: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.txt").write_text("years of work", encoding="utf-8")
    for more in ([], ["--force"], ["--resume"]):
        refused(ranklsim("run", finished / "small.toml", "-o", "thesis", *more), "thesis")
    assert (tmp_path / "thesis" / "chapter1.txt").read_text(encoding="utf-8") == "years of work"


@pytest.mark.parametrize("table", ["patients", "visits", "doses", "events"])
def test_a_truncated_result_is_refused(ranklsim, tmp_path: Path, finished: Path, table: str) -> None:
    shutil.copytree(finished / "run", tmp_path / "r", ignore=shutil.ignore_patterns("report"))
    path = tmp_path / "r" / f"{table}.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    refused(ranklsim("report", "r"), f"{table}.parquet")
    assert not (tmp_path / "r" / "report").exists()


def test_an_altered_result_is_refused(ranklsim, tmp_path: Path, finished: Path) -> None:
    shutil.copytree(finished / "run", tmp_path / "r", ignore=shutil.ignore_patterns("report"))
    path = tmp_path / "r" / "patients.parquet"
    frame = pd.read_parquet(path)
    frame.loc[0, "age"] = 61.0
    frame.to_parquet(path)
    refused(ranklsim("report", "r"), "patients.parquet")


@pytest.mark.parametrize("what", ["missing", "a file", "empty", "foreign manifest", "no JSON"])
def test_report_refuses_a_folder_that_is_no_run(ranklsim, tmp_path: Path, what: str) -> None:
    folder = tmp_path / "r"
    if what == "a file":
        folder.write_text("", encoding="utf-8")
    elif what != "missing":
        folder.mkdir()
    if what == "foreign manifest":
        (folder / "manifest.json").write_text('{"name": "a web app"}', encoding="utf-8")
    if what == "no JSON":
        (folder / "manifest.json").write_text("{", encoding="utf-8")
    refused(ranklsim("report", "r"), "r")


def test_an_incomplete_run_is_refused_by_report(ranklsim, tmp_path: Path, finished: Path) -> None:
    shutil.copytree(finished / "run", tmp_path / "r", ignore=shutil.ignore_patterns("report"))
    path = tmp_path / "r" / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8")) | {"complete": False}
    path.write_text(json.dumps(manifest), encoding="utf-8")
    refused(ranklsim("report", "r"), "r", "--resume")


def test_a_run_that_another_process_replaced_is_not_shown_as_ones_own(ranklsim, finished: Path, monkeypatch) -> None:
    def replaced(folder: Path) -> Path:
        assert cli.main(["run", trial, "-o", str(folder), "--seed", "8", "--force", "--no-report"]) == 0
        return folder / "report" / "index.html"

    trial = str(finished / "small.toml")
    monkeypatch.setattr(api, "report", replaced)
    said = ranklsim("run", trial, "-o", "twice", "--seed", "7")
    assert said.code == 1
    (fault,) = said.faults
    check_sentence(fault, "twice: another process")
    assert "index.html" not in said.out


def test_no_permission_is_said_in_one_sentence(ranklsim, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    refused(ranklsim("simulate", *COURSE, "-o", "x.csv"), "x.csv", "no permission")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "verb",
    [
        "genetics --page",
        "genetics -o",
        "validate -o",
        "fit women -o",
        "cdisc run -o",
        "plan modality -o",
        "export modality --arm denosumab --format r -o",
        "export women --format petab -o",
    ],
)
@pytest.mark.parametrize(("place", "why"), [("file/x", "file is a file;"), ("new", "no file can be made in")])
def test_a_place_that_cannot_be_written_is_refused_before_any_work(
    ranklsim, tmp_path: Path, finished: Path, monkeypatch, verb: str, place: str, why: str
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))

    (tmp_path / "file").touch()
    monkeypatch.setattr(machine.tempfile, "TemporaryFile", full)
    words = [str(finished / word) if word == "run" else word for word in verb.split()]
    refused(ranklsim(*words, place), place, why)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_no_permission_for_a_run_is_said_in_one_sentence(ranklsim, tmp_path: Path, finished: Path, monkeypatch) -> None:
    def refuse(self: Path, *args: object, **options: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    monkeypatch.setattr(os, "mkdir", refuse)
    refused(ranklsim("run", finished / "small.toml", "-o", "r"), "r", "not allowed")
    monkeypatch.undo()
    assert not (tmp_path / "r").exists()


def test_no_space_is_said_in_one_sentence_and_leaves_the_earlier_file(ranklsim, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "x.csv").write_text("earlier", encoding="utf-8")

    def full(*args: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "x.csv")

    monkeypatch.setattr(pd.DataFrame, "to_csv", full)
    said = ranklsim("simulate", *COURSE, "-o", "x.csv", "--force")
    assert said.code == 1
    (fault,) = said.faults
    check_sentence(fault, "x.csv: no space left")
    assert [path.name for path in tmp_path.iterdir()] == ["x.csv"]
    assert (tmp_path / "x.csv").read_text(encoding="utf-8") == "earlier"


def test_no_space_for_a_run_is_said_in_one_sentence(ranklsim, tmp_path: Path, finished: Path, monkeypatch) -> None:
    def full(*args: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", full)
        said = ranklsim("run", finished / "small.toml", "-o", "r", "--no-report")
    assert said.code == 1
    assert len(said.faults) == 1
    assert "no space left" in said.err
    assert list((tmp_path / "r").rglob("*")) == []
    assert ranklsim("run", finished / "small.toml", "-o", "r", "--no-report").code == 0


def test_a_fault_of_our_own_is_one_sentence_too(ranklsim, monkeypatch) -> None:
    from ranklsim import api

    def broken(*args: object, **options: object) -> None:
        raise ZeroDivisionError("division\nby zero")

    monkeypatch.setattr(api, "trials", broken)
    said = ranklsim("trials")
    assert said.code == 1
    (fault,) = said.faults
    check_sentence(fault, "ZeroDivisionError: division by zero", "RANKLSIM_DEBUG=1")


@pytest.mark.slow
def test_an_interrupted_run_says_how_to_go_on_and_goes_on(finished: Path, tmp_path: Path) -> None:
    command = [
        Path(sys.executable).parent / "ranklsim",
        "run",
        finished / "small.toml",
        "-o",
        "r",
        "--patients",
        "3000",
    ]
    command += ["--no-report", "--workers", "1"]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # tests run in the background inherit "ignore"
    )
    until = time.monotonic() + 120
    while process.poll() is None and not list((tmp_path / "r").glob("chunks/*")) and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert out == ""
    assert len(err.splitlines()) == 1
    assert "--resume" in err
    assert "Traceback" not in err
    done = subprocess.run([*command, "--resume"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(pd.read_parquet(tmp_path / "r" / "patients.parquet")) == 3000


@pytest.mark.slow
def test_a_reader_that_goes_away_is_no_fault() -> None:
    command = f'"{Path(sys.executable).parent / "ranklsim"}" parameters | head -n 1'
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True)
    assert done.stderr == ""
    assert done.stdout.startswith("symbol")


def test_the_table_of_a_patient_goes_to_the_terminal_as_to_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert said(capsys, "simulate", *COURSE, "-o", "course.csv")[0] == 0
    for more in ([], ["-o", "-"], ["-o", "-", "--plot", "course.svg"]):
        code, out, err = said(capsys, "simulate", *COURSE, *more)
        assert (code, err) == (0, [])
        assert "\n".join([*out, ""]) == Path("course.csv").read_text(encoding="utf-8")
    assert Path("course.svg").is_file()


def test_a_new_agent_has_the_affinity_that_a_laboratory_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("agents", "new", "def-101", "--assay", "KD_mRANKL=0.05 nM", "--assay", "KD_sRANKL=none")
    assert said(capsys, *words)[0] == 0
    made = load_agent("def-101", folder=tmp_path)
    written = Agent("def-101", label="DEF-101", like="denosumab", KD_mRANKL={"assay": "0.05 nM", "like": "denosumab"})
    assert made.values["KD_mRANKL"] == written.values["KD_mRANKL"]
    assert made.values["KD_sRANKL"] == float("inf")
    for wrong, part in (
        ("KD=1", "'KD' is no constant"),
        ("KD_mRANKL=0.05 mg", "cannot be turned"),
        ("KD_mRANKL", "FIELD"),
    ):
        code, _, err = said(capsys, "agents", "new", "def-102", "--assay", wrong)
        assert (code, len(err)) == (2, 1)
        assert part in err[0]
    assert [path.name for path in tmp_path.iterdir()] == ["def-101.toml"]


def test_every_verb_that_writes_has_a_default_for_where() -> None:
    outs = [option for verb in cli.cli.commands.values() for option in verb.params if option.name == "out"]
    assert len(outs) >= 10
    for option in outs:
        assert not option.required
        assert option.default or "[default: " in option.help or option.metavar == "FILE.csv"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_verbs_and_options(shell: str, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    code, script, _ = said(capsys, "completion", shell)
    assert code == 0
    assert any("_RANKLSIM_COMPLETE" in line for line in script)
    words = {"COMP_WORDS": "ranklsim simulate --dr", "COMP_CWORD": "--dr" if shell == "fish" else "2"}
    for name, value in (words | {"_RANKLSIM_COMPLETE": f"{shell}_complete"}).items():
        monkeypatch.setenv(name, value)
    assert any("--draws" in line for line in said(capsys)[1])


@pytest.mark.slow
def test_agents_lie_where_the_option_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    trial, folder = two_arms(tmp_path), tmp_path / "drugs"
    folder.mkdir()
    (tmp_path / "abc-301.toml").rename(folder / "abc-301.toml")
    code, out, _ = said(capsys, "parameters", "show", "abc-301.CL", "--agents", folder)
    assert (code, out[0]) == (0, "abc-301.CL")
    assert said(capsys, "run", trial, "-o", tmp_path / "run", "--no-report")[0] == 2
    assert said(capsys, "run", trial, "-o", tmp_path / "run", "--no-report", "--agents", folder)[0] == 0
    for verb in ("run", "replicate", "sensitivity"):
        code, out, err = said(capsys, verb, trial, "-o", tmp_path / "x", "--agents", tmp_path / "none")
        assert (code, out, len(err)) == (2, [], 1)
        assert "--agents: there is no folder" in err[0]
    assert not (tmp_path / "x").exists()


def test_a_setting_may_have_a_unit_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    plain = said(capsys, "simulate", *COURSE, "--set", "weight=60", "--set", "denosumab.KD_mRANKL=0.05")
    other = said(capsys, "simulate", *COURSE, "--set", "weight=60000 g", "--set", "denosumab.KD_mRANKL=50pM")
    assert plain[0] == other[0] == 0
    assert other[1] == plain[1]
    for wrong, part in (
        ("weight=60mo", "cannot be turned into"),
        ("KD=3nM", "did you mean 'Kd'?"),
        ("wieght=60kg", "--set: unknown covariate 'wieght'; did you mean 'weight'?"),
    ):
        code, out, err = said(capsys, "simulate", *COURSE, "--set", wrong)
        assert (code, out, len(err)) == (2, [], 1)
        check_sentence(err[0], part)
