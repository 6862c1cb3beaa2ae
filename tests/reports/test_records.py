"""Tables of records: a run as one, and such a table as doses, observations and population; the round trip is exact."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import arm, trial_file

import ranklsim
from ranklsim import BadInput
from ranklsim.cohorts.people.population_file import load_population
from ranklsim.cohorts.protocol.trial import load_trial
from ranklsim.cohorts.running.storage import open_run
from ranklsim.pkpd.records import load_records
from ranklsim.pkpd.units import DAYS_PER_MONTH
from ranklsim.reports.exchange.nonmem import COVARIATES, MEASURES

HEAD = "ID,TIME,AMT,II,ADDL,EVID,AGENT\n"


def table(folder: Path, *rows: str, head: str = HEAD) -> Path:
    path = folder / "doses.csv"
    path.write_text(head + "\n".join(rows) + "\n", encoding="utf-8")
    return path


# --- out and back ---
@pytest.mark.parametrize("time", ["days", "hours"])
def test_a_run_comes_back_from_its_table_of_records(small_run: Path, tmp_path: Path, time: str) -> None:
    run, factor = open_run(small_run), 24.0 if time == "hours" else 1.0
    path = ranklsim.export(small_run, tmp_path / "run.csv", format="nonmem", time=time)
    frame = pd.read_csv(path, na_values=".")
    found = load_records(path, time=time)

    acting = [name for name, agent in run.agents.items() if agent.kind != "none"]
    given = run.doses[run.doses["given"] & run.doses["agent"].isin(acting)]
    back = [
        (int(who), regimen.agent, day, regimen.dose_mg)
        for who, regimens in found.doses.items() for regimen in regimens for day in regimen.times_days()
    ]  # fmt: skip
    doses = pd.DataFrame(back, columns=["patient", "agent", "day", "mg"]).sort_values(["patient", "agent", "day"])
    given = given.sort_values(["patient", "agent", "month"])
    assert doses["patient"].tolist() == given["patient"].tolist()
    assert doses["agent"].tolist() == given["agent"].tolist()
    np.testing.assert_allclose(doses["day"], given["month"] * DAYS_PER_MONTH, atol=1e-6)
    np.testing.assert_array_equal(doses["mg"], given["amount_mg"])

    visits = run.visits[run.visits["attended"]]
    for name in MEASURES:
        seen = visits[visits[name].notna()].sort_values(["patient", "actual_month"])
        here = found.observations[found.observations["name"] == name]
        np.testing.assert_array_equal(here["value"], seen[name].astype(float))
        np.testing.assert_allclose(here["day"], seen["actual_month"] * DAYS_PER_MONTH, atol=1e-9)
    blq = found.observations[found.observations["name"] == "CTX"]["below_limit"].to_numpy()
    ordered = visits[visits["CTX"].notna()].sort_values(["patient", "actual_month"])
    np.testing.assert_array_equal(blq, ordered["CTX_BLQ"])

    people = run.patients.set_index("patient")
    for column, name in COVARIATES.items():
        np.testing.assert_array_equal(found.covariates[column].to_numpy(), people[name].to_numpy())

    # A trough stands before the dose of its moment, and all but three columns are numbers.
    for _, part in frame.groupby("ID"):
        assert (part["TIME"].diff().dropna() >= 0).all()
        same = part["TIME"].diff() == 0
        assert (part["EVID"].diff()[same] >= 0).all()
    assert [name for name in frame if frame[name].dtype.kind not in "if"] == ["AGENT", "DVNAME", "ARM"]
    assert frame["TIME"].max() > 20 * 30 * factor


def test_doses_taken_at_home_are_joined_by_their_interval(tmp_path: Path) -> None:
    steps = {"agent": "teriparatide", "dose": "20 ug", "every": "1 day", "doses": 300}
    trial = trial_file(tmp_path, arm=[{"name": "teriparatide", "regimen": [steps]}], control=None, months=12,
                       visits={"BMD": [0, 12], "markers": [0, 12]}, population={"patients": 2},
                       endpoint=[{"name": "gain", "role": "primary", "analysis": "ANCOVA",
                                  "change": {"of": "BMD_LS", "from": "0 mo", "to": "12 mo"}}])  # fmt: skip
    run = ranklsim.run(trial, tmp_path / "run")
    path = ranklsim.export(run.folder, tmp_path / "run.csv", format="nonmem")
    frame = pd.read_csv(path, na_values=".")
    doses = frame[frame["EVID"] == 1]
    assert len(doses) < run.doses["given"].sum()
    assert (doses["ADDL"] + 1).sum() == run.doses["given"].sum()
    assert set(doses.loc[doses["ADDL"] > 0, "II"].round(6)) >= {1.0}


# --- a table as doses ---
def test_a_course_from_a_table_is_that_of_the_same_regimen(tmp_path: Path) -> None:
    path = table(tmp_path, "7,0,60,182.625,3,1,denosumab", "7,900,5,0,0,1,zoledronate")
    found = ranklsim.simulate(doses_from=path, follow="12 mo", at=[40])
    line = "denosumab 60mg every 6mo x4, nothing 169.5day, zoledronate 5mg x1"
    expected = ranklsim.simulate(line, follow="12 mo", at=[40])
    months = sorted(set(found["month"]) & set(expected["month"]))
    both = [frame.set_index("month").loc[months, "CTX"] for frame in (found, expected)]
    np.testing.assert_allclose(*both, rtol=1e-6)


def test_late_and_missed_doses_count_as_they_were(tmp_path: Path) -> None:
    path = table(tmp_path, "a,0,60,.,.,1,denosumab", "a,230,60,.,.,1,denosumab", "b,0,60,182.625,1,1,denosumab")
    late = ranklsim.simulate(doses_from=path, patient="a", at=[7.5]).set_index("month")
    on_time = ranklsim.simulate(doses_from=path, patient="b", at=[7.5]).set_index("month")
    assert late.loc[7.5, "CTX"] > 1.5 * on_time.loc[7.5, "CTX"]
    hours = table(tmp_path, "a,0,60,.,.,1,denosumab", f"a,{230 * 24},60,.,.,1,denosumab")
    again = ranklsim.simulate(doses_from=hours, time="hours", at=[7.5]).set_index("month")
    assert again.loc[7.5, "CTX"] == pytest.approx(late.loc[7.5, "CTX"], rel=1e-12)


def test_an_arm_of_a_trial_takes_its_doses_from_a_table_and_keeps_them(tmp_path: Path) -> None:
    path = table(tmp_path, "1,0,60,182.625,1,1,.", "1,400,60,.,.,1,.")
    arms = [arm("placebo"), {"name": "denosumab", "doses_from": {"table": "doses.csv", "agent": "denosumab"}}]
    trial = load_trial(trial_file(tmp_path, arm=arms))
    path.unlink()
    assert trial.arm("denosumab").doses()["day"].tolist() == [0.0, 182.625, 400.0]
    assert load_trial(trial_file(tmp_path, stem="again", arm=[arm("placebo"), arm("denosumab")])) != trial
    copy = tmp_path / "copy.toml"
    copy.write_text(trial.source_text, encoding="utf-8")
    assert load_trial(copy).arms == trial.arms


# --- a table as a population ---
def test_the_first_record_of_each_woman_is_a_row_of_the_population(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    women = [(k, rng.normal(70, 5), rng.normal(65, 8), rng.normal(160, 5), rng.normal(-2.5, 0.5)) for k in range(40)]
    rows = [
        f"{k},{day},{amount},{event},{age},{weight},{height},{t},{t + 0.5}"
        for k, age, weight, height, t in women for day, amount, event in ((0, 60, 1), (30, ".", 0))
    ]  # fmt: skip
    (tmp_path / "women.csv").write_text("ID,TIME,AMT,EVID,AGE,WT,HT,T_LS,T_TH\n" + "\n".join(rows) + "\n")
    text = """title = "Women of our clinic"
table = "women.csv"
like = "postmenopausal-osteoporosis"
smoothing = 0.0
columns = { age = "AGE", weight = "WT", height = "HT" }
"""
    (tmp_path / "women.toml").write_text(text)
    with pytest.raises(BadInput, match=r"0 appears in women.csv:2 too; give one row for each woman.*records = true"):
        load_population("women", tmp_path)
    (tmp_path / "women.toml").write_text(text + "records = true\n")
    people = load_population("women", tmp_path).enrolled
    assert set(people["age"].round(6)) <= {round(age, 6) for _, age, *_ in women}


# --- what can't be read ---
@pytest.mark.parametrize(
    "rows, said",
    [
        (["1,-5,60,.,.,1,denosumab"], "doses.csv:2: column TIME: -5 is before the start of treatment (0)"),
        (["1,0,60,.,.,1,denosumab", "1,-0.5,60,.,.,1,denosumab"], "before the start of treatment"),
        (["1,9,60,.,.,1,denosumab", "1,3,60,.,.,1,denosumab"], "doses.csv:3: column TIME: patient 1 has an earlier"),
        (["1,0,60,182,3,1,denosumab", "1,300,60,.,.,1,denosumab"], "go on until 546; they overlap this dose"),
        (["1,0,0,.,.,1,denosumab"], "column AMT: 0 is no dose"),
        (["1,0,60,.,3,1,denosumab"], "column II: 3 additional doses need an interval above 0."),
        (["1,0,60,182,2.5,1,denosumab"], "column ADDL: 2.5 is not a whole number"),
        (["1,0,60,.,.,4,denosumab"], "column EVID: 4 (reset and dose) sets a patient back"),
        (["1,0,60,.,.,7,denosumab"], "column EVID: 7 is no kind of record"),
        (["1,0,60,.,.,1,denosumb"], "column AGENT: unknown agent 'denosumb'; did you mean 'denosumab'?"),
        (["1,0,sixty,.,.,1,denosumab"], "column AMT: 'sixty' is not a number"),
        (["1,99999,60,.,.,1,denosumab"], "is the table in hours?"),
        (["1,0,60,.,.,1,denosumab", "2,0,60,.,.,1,denosumab"], "the table has 2 patients; name one of them by its ID"),
        (["1,0,.,.,.,0,."], "this patient is given nothing in the table"),
    ],
)
def test_a_table_that_is_wrong_is_said_in_one_sentence(tmp_path: Path, rows: list[str], said: str) -> None:
    with pytest.raises(BadInput) as fault:
        ranklsim.simulate(doses_from=table(tmp_path, *rows))
    assert said in str(fault.value)
    assert len(fault.value.messages) == 1


def test_what_a_course_cannot_hold_is_named(tmp_path: Path) -> None:
    head = "ID,TIME,AMT,RATE,SS,II,ADDL,EVID,AGENT\n"
    for row, said in (
        ("1,0,60,5,0,.,.,1,denosumab", "column RATE: 5 is an infusion"),
        ("1,0,60,0,1,182,.,1,denosumab", "column SS: a steady state is not held"),
    ):
        with pytest.raises(BadInput, match=said):
            load_records(table(tmp_path, row, head=head))
    with pytest.raises(BadInput, match="no column AGENT"):
        load_records(table(tmp_path, "1,0,60", head="ID,TIME,AMT\n"))
    with pytest.raises(BadInput, match="there is no column AMT"):
        load_records(table(tmp_path, "1,0", head="ID,TIME\n"), agent="denosumab")
    with pytest.raises(BadInput, match="leave out regimen"):
        ranklsim.simulate("denosumab 60mg x1", doses_from=table(tmp_path, "1,0,60,.,.,1,denosumab"))
    with pytest.raises(BadInput, match="is of the patients of a run"):
        ranklsim.export("denosumab 60mg x1", tmp_path / "x.csv", format="nonmem")


def test_an_arm_with_a_faulty_table_is_named(tmp_path: Path) -> None:
    table(tmp_path, "1,0,60,.,.,1,.", "2,0,60,.,.,1,.")
    both = {"name": "denosumab", "regimen": [], "doses_from": {"table": "doses.csv", "agent": "denosumab"}}
    for extra, said in (
        ({"doses_from": {"table": "doses.csv", "agent": "denosumab"}}, "the table has 2 patients"),
        ({"doses_from": {"table": "doses.csv", "agent": "denosumab", "patient": "3"}}, "no patient '3'"),
        ({"doses_from": {"tabel": "doses.csv"}}, "did you mean 'table'"),
        (both, "both regimen and doses_from"),
    ):
        with pytest.raises(BadInput) as fault:
            load_trial(trial_file(tmp_path, arm=[arm("placebo"), {"name": "denosumab", **extra}]))
        assert said in str(fault.value)
