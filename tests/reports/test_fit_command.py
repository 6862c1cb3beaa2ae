"""``ranklsim fit``: its files, resuming, and that what is not converged does not look converged."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import check_sentence, said, small_fit

from ranklsim import fit, simulate
from ranklsim.pkpd.errors import RunFailed
from ranklsim.pkpd.fitting import fit as fitting
from ranklsim.pkpd.parameters import load_parameters
from ranklsim.reports.cli import main as cli
from ranklsim.reports.pages import fit_report

pytestmark = pytest.mark.slow

FILES = "correlations estimates identifiability parameters profiles residuals starts".split()


def spec(folder: Path, starts: int = 1, most: int = 200, high: str = "") -> Path:
    return small_fit(folder, 'name = "denosumab.CL"', starts, most, high)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fit")
    assert cli.main(["fit", str(spec(folder, starts=2)), "-o", str(folder / "out")]) == 0
    return folder / "out"


def test_a_fit_writes_every_file_and_a_page_that_names_what_it_found(done: Path) -> None:
    for name in FILES:
        assert (done / f"{name}.csv").is_file(), name
    assert not (done / fit_report.NOT_CONVERGED).exists()
    facts = json.loads((done / "fit.json").read_text(encoding="utf-8"))
    assert facts["status"] == "converged"
    assert facts["seed"] == 3
    assert facts["on_bound"] == []
    assert set(facts["versions"]) >= {"ranklsim", "lmfit", "scipy", "numpy"}
    page = (done / "index.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 3  # profiles, correlations, residuals
    assert "What the data can&#39;t identify" in page
    assert "src=" not in page


def test_the_new_parameter_file_serves_every_parameters_option(
    done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = json.loads((done / "fit.json").read_text(encoding="utf-8"))
    table = load_parameters(done / "parameters.csv")
    for name, value in facts["parameters"].items():
        assert table[name] == pytest.approx(value, rel=1e-6)
    course = ("--agent", "denosumab", "--dose", "60mg", "--doses", "1", "--follow", "1mo")
    for name, extra in (("old", ()), ("new", ("--parameters", done / "parameters.csv"))):
        assert said(capsys, "simulate", *course, *extra, "-o", tmp_path / f"{name}.csv")[0] == 0
    old, new = (pd.read_csv(tmp_path / f"{name}.csv")["C_denosumab"].max() for name in ("old", "new"))
    assert old != new


def test_estimates_lie_in_their_intervals_and_residuals_are_those_of_the_estimate(done: Path) -> None:
    estimates = pd.read_csv(done / "estimates.csv")
    assert estimates["parameter"].tolist() == ["kT", "denosumab.CL"]
    assert (estimates["low"] < estimates["estimate"]).all()
    assert (estimates["estimate"] < estimates["high"]).all()
    correlations = pd.read_csv(done / "correlations.csv").set_index("parameter")
    assert np.allclose(np.diag(correlations), 1)
    residuals = pd.read_csv(done / "residuals.csv")
    facts = json.loads((done / "fit.json").read_text(encoding="utf-8"))
    assert len(residuals) == facts["figures"]
    assert np.sqrt((residuals["weighted"] ** 2).mean()) < 1.5


def test_resuming_goes_on_from_what_is_kept_and_ends_alike(
    done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in the second start: the first is kept, and the end is that of the fit never stopped."""
    path, out = spec(tmp_path, starts=2), tmp_path / "out"
    real = fitting._one_start

    def stops(problem, theta, number, progress):  # type: ignore[no-untyped-def]
        if number == 1:
            raise KeyboardInterrupt
        return real(problem, theta, number, progress)

    monkeypatch.setattr(fitting, "_one_start", stops)
    code, _, err = said(capsys, "fit", path, "-o", out)
    assert code == 130
    assert "--resume" in err[0]
    assert [p.name for p in (out / "work").iterdir()] == ["start-000.json"]
    began = []

    def counts(problem, theta, number, progress):  # type: ignore[no-untyped-def]
        began.append(number)
        return real(problem, theta, number, progress)

    monkeypatch.setattr(fitting, "_one_start", counts)
    assert said(capsys, "fit", path, "-o", out)[0] == 2
    assert said(capsys, "fit", path, "-o", out, "--resume")[0] == 0
    assert began == [1]
    for name in FILES:
        assert (out / f"{name}.csv").read_bytes() == (done / f"{name}.csv").read_bytes(), name


def test_another_spec_is_refused_in_the_folder_of_a_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert said(capsys, "fit", spec(tmp_path), "-o", out, "--no-profile")[0] == 0
    before = {path.name for path in out.iterdir()}
    code, _, err = said(capsys, "fit", spec(tmp_path, most=150), "-o", out, "--resume")
    assert code == 2
    assert "another fit" in err[0]
    assert {path.name for path in out.iterdir()} == before
    (out / "thesis.txt").write_text("mine", encoding="utf-8")
    code, _, err = said(capsys, "fit", spec(tmp_path, most=150), "-o", out, "--force", "--no-profile")
    assert code == 2
    assert "thesis.txt: is no part of a report" in err[0]
    (out / "thesis.txt").unlink()
    assert said(capsys, "fit", spec(tmp_path, most=150), "-o", out, "--force", "--no-profile")[0] == 0


def test_a_folder_that_holds_something_else_is_never_touched(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "fingerprint").write_text("of a thumb", encoding="utf-8")
    code, _, err = said(capsys, "fit", spec(tmp_path), "-o", tmp_path / "mine", "--force")
    assert code == 2
    assert "something other than a fit" in err[0]
    assert (tmp_path / "mine" / "fingerprint").read_text(encoding="utf-8") == "of a thumb"


def test_a_fit_that_does_not_converge_does_not_look_converged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    code, said_out, err = said(capsys, "fit", spec(tmp_path, most=2), "-o", out, "--no-profile")
    assert code == 1
    assert len(err) == 1
    assert "did not converge" in err[0]
    assert said_out[-1] == str(out / "index.html")
    assert not (out / "parameters.csv").exists()
    assert (out / "parameters-not-converged.csv").is_file()
    assert json.loads((out / "fit.json").read_text(encoding="utf-8"))["status"] == "not converged"
    assert "Not converged: do not use these values" in (out / "index.html").read_text(encoding="utf-8")


def test_a_coarse_search_that_ends_beside_the_minimum_does_not_look_converged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A grid search has no tolerance of its own to fail; a step downhill gives it away."""
    path = spec(tmp_path)
    text = path.read_text(encoding="utf-8").replace("seed    = 3", 'seed = 3\nmethod = "brute"')
    path.write_text(text.replace("{ max_nfev = 200 }", "{ Ns = 3 }"), encoding="utf-8")
    code, _, err = said(capsys, "fit", path, "-o", tmp_path / "out", "--no-profile")
    assert code == 1
    assert "lies near the estimate" in err[0]
    assert not (tmp_path / "out" / "parameters.csv").exists()


def test_an_estimate_on_a_bound_is_named_with_the_bound(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Figures want kT near 0.2, the spec lets it go down to 0.3 only."""
    out = tmp_path / "out"
    code, _, err = said(capsys, "fit", spec(tmp_path, high="low = 0.3"), "-o", out, "--no-profile")
    assert code == 0
    assert len(err) == 1
    assert "ends on a bound, kT at its lower bound 0.3" in err[0]
    assert (out / "parameters.csv").is_file()
    page = (out / "index.html").read_text(encoding="utf-8")
    assert "kT at its lower bound 0.3" in page
    assert "kT: the estimate stands on a bound" in page


def test_what_the_data_leave_open_is_said_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """BMD and markers say nothing of calcium fluxes, which do not feed back on bone."""
    path = tmp_path / "open.toml"
    text = small_fit(tmp_path, 'name = "J_gut"').read_text(encoding="utf-8")
    path.write_text(text + '[[parameter]]\nname = "J_bone"\n', encoding="utf-8")
    code, _, _ = said(capsys, "fit", path, "-o", tmp_path / "out", "--no-profile")
    assert code == 0
    facts = json.loads((tmp_path / "out" / "fit.json").read_text(encoding="utf-8"))
    assert {"J_gut", "J_bone"} <= set(facts["not_identified"]) | set(facts["on_bound"])
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "2 of 3 directions in which the parameters can move together change no figure" in page


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        ('name  = "kT"', 'name  = "kTT"', "did you mean 'kT'?"),
        ("start = 0.35", "low = 0.5\nhigh = 0.2", "the wrong way round"),
        ("seed    = 3", 'method = "simplex"', '`method` is "simplex"; use '),
        ('arm = ["freedom-denosumab", "freedom-placebo"]', 'arm = "nobody"', "no row of the evidence is left"),
        (
            'arm = ["freedom-denosumab", "freedom-placebo"]',
            'endpoint = "terminal_half_life"',
            "2 parameters are more than the 1 rows",
        ),
        ("seed    = 3", 'evidence = "nowhere"', "there is no such folder"),
    ],
)
def test_a_faulty_spec_gets_one_sentence_and_no_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, part: str
) -> None:
    path = spec(tmp_path)
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    code, out, err = said(capsys, "fit", path, "-o", tmp_path / "out")
    assert (code, out, len(err)) == (2, [], 1), err
    assert part in err[0]
    assert not (tmp_path / "out").exists()


def test_a_fit_of_spreads_writes_the_new_cv_and_sets_published_beside_simulated(tmp_path: Path) -> None:
    path = tmp_path / "spreads.toml"
    path.write_text(
        'kind = "between-patient"\npatients = 20\noptions = { ftol = 1e-2 }\n'
        '[[parameter]]\nname = "kT.cv"\nlow = 0.1\nhigh = 1.5\nstart = 0.4\n'
        '[[include]]\narm = ["freedom-denosumab"]\nsite_or_marker = ["LS"]\n',
        encoding="utf-8",
    )
    out = tmp_path / "out"
    assert cli.main(["fit", str(path), "-o", str(out), "--no-profile"]) == 0
    facts = json.loads((out / "fit.json").read_text(encoding="utf-8"))
    assert facts["figures"] == 5
    table = load_parameters(out / "parameters.csv")
    assert table.frame.loc["kT", "cv"] == pytest.approx(facts["parameters"]["kT.cv"])
    assert table.values == load_parameters().values
    spreads = pd.read_csv(out / "residuals.csv")
    assert np.allclose(spreads["ratio"], spreads["predicted"] / spreads["observed"], rtol=1e-4)
    assert {"value", "cohort", "typical", "low", "high", "patients"} <= set(spreads)
    page = (out / "index.html").read_text(encoding="utf-8")
    assert "Published and simulated spreads" in page
    assert "5 spreads" in page


def test_an_estimate_on_the_end_of_a_range_is_a_result_with_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The prior draws kT below 0.08, the end of its range, whose logarithm and exponential lie outside it."""
    path, out = spec(tmp_path), tmp_path / "out"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("{ mean = 0.25, sd = 1.0 }", "{ mean = 0.02, sd = 0.01 }"), encoding="utf-8")
    code, _, err = said(capsys, "fit", path, "-o", out, "--no-profile")
    assert code == 0
    assert "kT at its lower bound 0.08" in err[0]
    assert load_parameters(out / "parameters.csv")["kT"] == 0.08
    files = {name.name: name.read_bytes() for name in out.glob("*.csv")}
    assert said(capsys, "fit", path, "-o", out, "--no-profile", "--resume")[0] == 0
    assert files == {name.name: name.read_bytes() for name in out.glob("*.csv")}


@pytest.mark.parametrize("moment", [1, 2, 3, 9, 20, 31, 44, 54])
def test_a_fit_killed_at_any_write_or_evaluation_goes_on_to_the_same_bytes(
    done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    """Evaluations and replacements of files are counted together; with `--resume` from the first, as scripts do."""
    path, out = spec(tmp_path, starts=2), tmp_path / "out"
    count = 0

    def counted(real):  # type: ignore[no-untyped-def]
        def call(*given, **more):  # type: ignore[no-untyped-def]
            nonlocal count
            count += 1
            if count == moment:
                raise KeyboardInterrupt
            return real(*given, **more)

        return call

    with monkeypatch.context() as patched:
        for name in ("predict", "residuals_of"):
            patched.setattr(fitting.Problem, name, counted(getattr(fitting.Problem, name)))
        patched.setattr("os.replace", counted(os.replace))
        assert said(capsys, "fit", path, "-o", out, "--resume")[0] == 130
    assert said(capsys, "fit", path, "-o", out, "--resume")[0] == 0
    for name in FILES:
        assert (out / f"{name}.csv").read_bytes() == (done / f"{name}.csv").read_bytes(), name
    assert not list(out.rglob("*.tmp"))


def test_a_fit_that_cannot_begin_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise RunFailed("the patient cannot be simulated")

    monkeypatch.setattr(fitting.Problem, "predict", fails)
    code, out, err = said(capsys, "fit", spec(tmp_path), "-o", tmp_path / "out")
    assert (code, out, len(err)) == (1, [], 1)
    assert not (tmp_path / "out").exists()


def test_a_parameter_on_which_no_figure_depends_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = small_fit(tmp_path, 'name = "zoledronate.potency"')
    code, _, err = said(capsys, "fit", path, "-o", tmp_path / "out")
    assert code == 2
    check_sentence(err[0], "zoledronate.potency changes no figure", "cannot be identified")
    assert not (tmp_path / "out").exists()


OWN_FIT = """title = "The affinity of a molecule of one's own"
evidence = "ev"
method = "least_squares"
starts = 1
[[parameter]]
name = "abc-301.KD_mRANKL"
transform = "log"
"""


def test_the_affinity_of_an_own_agent_is_recovered_from_a_made_up_phase_2(tmp_path: Path) -> None:
    truth, doses = 0.35, (15, 30, 60, 120)
    folder = tmp_path / "ev"
    folder.mkdir()
    (folder / "abc-301.toml").write_text(
        'label = "ABC-301"\nlike = "denosumab"\nhypothetical = true\nKD_sRANKL = "none"\n'
        'KD_mRANKL = { value = "0.1 nM", low = 0.02, high = 5, status = "assumed", source = "a guess" }\n'
    )
    (folder / "arms.toml").write_text("".join(
        f'[[arm]]\nid = "d{mg}"\nstudy = "ABC-1"\nlabel = "{mg} mg"\nregimen = "abc-301 {mg}mg every 6mo x2"\n'
        'follow_up = "12 mo"\nn = 50\n' for mg in doses
    ))  # fmt: skip
    (tmp_path / "own.toml").write_text(OWN_FIT)
    rng = np.random.default_rng(1)
    rows = [
        "study,arm,endpoint,site_or_marker,month,value,unit,statistic,spread,spread_type,n,phase,source,verification"
    ]
    for mg in doses:
        told = {"abc-301.KD_mRANKL": truth}
        course = simulate(f"abc-301 {mg}mg every 6mo x2", follow="0 mo", folder=folder, covariates=told).set_index(
            "month"
        )
        for month in (1, 3, 6, 12):
            value = course.loc[month, "CTX_pct"]
            noisy = value * (1 + 0.1 * rng.standard_normal())
            figures = f"CTX,{month},{noisy:.6g},%,median,{0.1 * value:.4g},SE,50"
            rows.append(f"ABC-1,d{mg},percent_of_baseline,{figures},on,made up,read")
    (folder / "observations.csv").write_text("\n".join(rows) + "\n")
    found = fit(tmp_path / "own.toml", tmp_path / "out", profiles=False)
    row = found.estimates.iloc[0]
    assert row["low"] <= truth <= row["high"]
    assert row["estimate"] == pytest.approx(truth, rel=0.5)
    assert any("ev has no offsets.csv, so means and medians" in said for said in found.warnings)
    assert load_parameters(tmp_path / "out" / "parameters.csv", folder=folder)["abc-301.KD_mRANKL"] == row["estimate"]
