"""Courses of typical patients: a sweep is many simulations at once, and an interval is that of single simulations."""

from __future__ import annotations

import pickle
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import OWN_AGENT, arm, said, trial_text

from ranklsim import Agent, BadInput, RunFailed, report, run, simulate, sweep, trials
from ranklsim.cohorts.courses import LEVEL, Course
from ranklsim.cohorts.protocol.trial import load_trial
from ranklsim.cohorts.uncertainty import vectors_for
from ranklsim.pkpd.agents import load_agent
from ranklsim.pkpd.parameters import load_parameters

SIX = "denosumab 60mg every 6mo x4"


def test_an_interval_is_that_of_a_simulation_for_each_vector() -> None:
    course = simulate(SIX, draws=6)
    table = load_parameters()
    vectors = vectors_for(table, [load_agent("denosumab")], 6, 1).iloc[1:]
    single = [
        simulate(SIX, parameters=table.overlaid(vector.to_dict()))["BMD_LS_pct"] for _, vector in vectors.iterrows()
    ]
    low, high = np.quantile(single, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    assert course["BMD_LS_pct_low"].to_numpy() == pytest.approx(low, abs=1e-5)
    assert course["BMD_LS_pct_high"].to_numpy() == pytest.approx(high, abs=1e-5)
    assert course["BMD_LS_pct"].to_numpy() == pytest.approx(simulate(SIX)["BMD_LS_pct"].to_numpy(), abs=1e-9)


def test_a_sweep_is_the_simulations_that_it_stands_for() -> None:
    found = sweep(
        agents=["denosumab", "mrankl-selective"], every="6 mo", doses=4, over={"dose": ["30 mg", "60 mg"], "age": [60]},
        of=["BMD_LS_pct", "CTX", "C_denosumab"], draws=5, at=[6, 24], rtol=1e-6,
    )  # fmt: skip
    assert len(found) == 2 * 2 * 3 * 2
    one = simulate(agent="mrankl-selective", dose="30 mg", every="6 mo", doses=4, covariates={"age": 60}, draws=5)
    mine = found[(found["agent"] == "mrankl-selective") & (found["dose"] == "30 mg")]
    for name in ("BMD_LS_pct", "CTX"):
        rows = mine[mine["quantity"] == name].set_index("month")
        for column, end in (("value", ""), ("low", "_low"), ("high", "_high")):
            wanted = one.set_index("month").loc[[6, 24], name + end]
            assert rows[column].to_numpy() == pytest.approx(wanted.to_numpy(), abs=1e-6)
    assert (mine.loc[mine["quantity"] == "C_denosumab", "value"] == 0).all()


def test_a_quantity_of_a_sweep_is_read_off_its_course() -> None:
    of = ["change of BMD_LS at 24 mo", "highest CTX after treatment", "dose a year"]
    found = sweep(SIX, of=of, draws=0, follow="24 mo", rtol=1e-6).set_index("quantity")["value"]
    course = simulate(SIX, follow="24 mo", at=np.arange(0, 48, 0.5)).set_index("month")
    assert found[of[0]] == pytest.approx(course.loc[24, "BMD_LS_pct"], abs=1e-6)
    assert found[of[1]] == pytest.approx(course.loc[24:, "CTX_pct"].max(), abs=1e-6)
    assert found[of[2]] == pytest.approx(120, rel=1e-3)


def test_a_swept_parameter_has_its_value_in_every_draw() -> None:
    swept = sweep(SIX, parameters={"sig": [0.1, 0.4], "kT": 0.2}, of="BMD_LS_pct", at=[24], draws=8)
    for value, row in swept.groupby("sig"):
        alone = sweep(SIX, parameters={"sig": value, "kT": 0.2}, of="BMD_LS_pct", at=[24], draws=8)
        pd.testing.assert_frame_equal(
            row.drop(columns="sig").reset_index(drop=True), alone.to_frame(), check_names=False, rtol=1e-9
        )


def test_an_agent_as_an_object_a_mapping_or_a_file_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "abc-301.toml").write_text(OWN_AGENT)
    of_file = simulate("abc-301 60mg every 6mo x2")
    given = {"name": "abc-301", "label": "ABC-301", "like": "denosumab", "KD_sRANKL": "none"}
    (tmp_path / "abc-301.toml").unlink()
    own = Agent(**given)
    assert pickle.loads(pickle.dumps(own)) == own
    for same in (own, given):
        pd.testing.assert_frame_equal(simulate(agent=same, dose="60 mg", every="6 mo", doses=2), of_file)
        pd.testing.assert_frame_equal(simulate("abc-301 60mg every 6mo x2", agents=[same]), of_file)
    moved = simulate(agent=own, dose="60 mg", covariates={"abc-301.CL": 0.12})
    assert moved["C_abc-301"].iloc[1] < simulate(agent=own, dose="60 mg")["C_abc-301"].iloc[1]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ({"like": "denosumb"}, "agent abc: unknown agent 'denosumb'; did you mean 'denosumab'"),
        ({"like": "denosumab", "CL": 0.1}, "agent abc: CL"),
        ({"like": "denosumab", "KD_mRANKL": {"assay": "0.05 nM", "value": "1 nM"}}, "agent abc: KD_mRANKL"),
        ({"like": "denosumab", "CL": np.nan}, "agent abc, CL: nan is not a finite number"),
        ({"like": "denosumab", "clear": "1 L/day"}, "unknown field 'clear'"),
        ({"like": "denosumab", "CL": object}, "agent abc, CL: .* can't be used"),
    ],
)
def test_an_agent_that_is_wrong_is_refused_by_its_name(given: dict[str, object], part: str) -> None:
    with pytest.raises(BadInput, match=part):
        Agent("abc", **given)


@pytest.mark.slow
def test_a_trial_as_a_mapping_with_an_agent_and_patients_as_objects_is_the_trial_of_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    own = Agent("abc-301", label="ABC-301", like="denosumab", KD_sRANKL="none")
    age = np.linspace(60, 80, 30)
    women = pd.DataFrame({"age": age, "T_LS": np.linspace(-3.5, -1.5, 30), "weight": 65 + 8 * np.sin(np.arange(30))})
    (tmp_path / "abc-301.toml").write_text(OWN_AGENT)
    (tmp_path / "population.toml").write_text('table = "population.csv"\nlike = "postmenopausal-osteoporosis"\n')
    women.to_csv(tmp_path / "population.csv", index=False)
    arms = [arm("placebo"), arm("own", agent="abc-301")]
    text = trial_text(arm=arms, population={"name": "population", "patients": 6}, months=24)
    (tmp_path / "trial.toml").write_text(text)
    files = run("trial.toml", "files", layers=["patients", "residual"])
    for name in ("abc-301.toml", "population.toml", "population.csv"):
        (tmp_path / name).unlink()
    given = tomllib.loads(text)
    given["population"]["name"] = women
    given["arm"][1]["regimen"][0]["agent"] = own
    objects = run(given, "objects", layers=["patients", "residual"])
    for table in ("patients", "visits", "doses"):
        pd.testing.assert_frame_equal(getattr(files, table), getattr(objects, table))
    assert Path(report("objects")).is_file()
    assert run(files.trial, "again", layers=["patients", "residual"]).visits.equals(files.visits)
    del given["seed"]
    with pytest.raises(BadInput, match="trial: `seed` is missing"):
        run(given, "faulty")
    given |= {"seed": 1, "population": {"name": women.assign(age="old"), "patients": 6}}
    with pytest.raises(BadInput, match=r"population.csv:2: "):
        run(given, "faulty")
    assert not (tmp_path / "faulty").exists()


def test_the_content_of_a_shipped_trial_is_that_trial() -> None:
    assert load_trial(trials("exit") | {"name": "exit"}) == load_trial("exit")
    with pytest.raises(BadInput, match="unknown trial 'exi'; did you mean 'exit'"):
        trials("exi")


def test_an_own_agent_with_the_name_of_a_shipped_one_is_refused() -> None:
    with pytest.raises(BadInput, match="has the name of an agent that ships, and is another"):
        simulate(agent=Agent("denosumab", like="opg-fc"), dose="60 mg")


def test_a_course_knows_its_units_survives_pickling_and_what_is_cut_out_is_a_plain_frame(tmp_path: Path) -> None:
    course = simulate(SIX, draws=3)
    again = pickle.loads(pickle.dumps(course))
    assert isinstance(again, Course)
    assert type(again[["month"]]) is type(again.to_frame()) is pd.DataFrame
    pd.testing.assert_frame_equal(again, course)
    assert again.units["BMD_LS_pct_low"] == "%"
    assert all(course.meanings.values())
    assert 'title="serum CTX (ng/mL)"' in course._repr_html_()
    for path in (tmp_path / "a.svg", tmp_path / "b.svg"):
        again.plot(path)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    with pytest.raises(BadInput, match="does not end in one of"):
        course.plot("a.doc")


def test_the_command_line_writes_the_bands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, plot = tmp_path / "x.csv", tmp_path / "x.svg"
    code, printed, _ = said(capsys, "simulate", "--regimen", SIX, "--draws", "4", "-o", out, "--plot", plot)
    assert (code, printed[-1]) == (0, str(out))
    frame = pd.read_csv(out)
    assert frame["CTX_pct_low"].to_numpy() == pytest.approx(simulate(SIX, draws=4)["CTX_pct_low"].to_numpy(), rel=1e-6)
    alone = tmp_path / "y.svg"
    simulate(SIX).plot(alone)
    assert "PolyCollection" in plot.read_text()
    assert plot.read_text().count("PolyCollection") > alone.read_text().count("PolyCollection")


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ({"regimens": SIX, "dose": "60 mg"}, "dose: regimens are complete by themselves"),
        ({"agents": "denosumab", "dose": "60 mg", "over": {"dose": ["30 mg"]}}, "over: dose is given as an argument"),
        ({"agents": "denosumab", "over": {"dose": [30]}}, 'over: dose = 30 has no unit; give text, such as "60 mg"'),
        ({"regimens": SIX, "over": {"sig": [0.1]}, "parameters": {"sig": [0.2, 0.3]}}, "over: sig is in `parameters`"),
        ({"regimens": SIX, "over": {"age": ["old"]}}, "over: age = .* is not a number"),
        ({"regimens": SIX, "over": {"age": [500]}}, "over age"),
        ({"regimens": SIX, "over": {"opg-fc.CL": [4]}}, "opg-fc.CL changes nothing"),
        ({"regimens": SIX, "of": "BMD_LS_pc"}, "'BMD_LS_pc' is no output; did you mean 'BMD_LS_pct'"),
        ({"regimens": SIX, "of": "CTX at 900 mo"}, "the simulation ends at month 36"),
        ({"regimens": SIX, "over": {"age": range(50, 80), "weight": range(50, 90)}}, "more than 200000 simulations"),
        ({"regimens": SIX, "draws": 5000}, "the ensemble holds"),
        ({}, "regimens is missing"),
    ],
)  # fmt: skip
def test_what_cannot_be_swept_is_refused_with_the_argument(given: dict[str, object], part: str) -> None:
    with pytest.raises(BadInput, match=part):
        sweep(**given)


@pytest.mark.filterwarnings("ignore::ranklsim.pkpd.errors.Caution")
def test_a_sweep_that_leaves_the_limits_says_in_which_course() -> None:
    with pytest.raises(RunFailed, match="vector 0 under 20 mg: effect of an anabolic agent reached"):
        sweep(agents="teriparatide", over={"dose": ["20 ug", "20 mg"]}, every="1 day", doses=30, draws=0)
