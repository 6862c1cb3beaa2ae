"""Tables of records: a run as one, and such a table as doses, observations and population; the round trip is exact."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import arm, check_sentence, endpoint, trial_file
from helpers import said as spoken

import ranklsim
from ranklsim import BadInput
from ranklsim.cohorts.people.population_file import load_population
from ranklsim.cohorts.protocol.trial import load_trial
from ranklsim.cohorts.running.storage import open_run
from ranklsim.pkpd.agents import load_agent
from ranklsim.pkpd.parameters import load_parameters
from ranklsim.pkpd.records import load_records
from ranklsim.pkpd.units import DAYS_PER_MONTH
from ranklsim.reports.cdisc.datasets import build
from ranklsim.reports.exchange.nonmem import COVARIATES, MEASURES

HEAD = "ID,TIME,AMT,II,ADDL,EVID,AGENT\n"
WIDE = "ID,TIME,AMT,RATE,SS,II,ADDL,EVID,AGENT\n"


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


# --- infusions and steady states ---
INTRAVENOUS = """
label     = "IV antibody"
hypothetical = true
kind      = "binder"
like      = "denosumab"
route     = "IV"
F         = 1.0
CL        = "0.1 L/day"
Q         = "0 L/day"
KD_mRANKL = "none"
KD_sRANKL = "none"
"""


def test_an_infusion_of_an_antibody_is_that_of_the_closed_form(tmp_path: Path) -> None:
    """One compartment without target: C = R / CL (1 - exp(-k t)) at the end, then exp(-k t); to 1e-5."""
    (tmp_path / "iv.toml").write_text(INTRAVENOUS)
    drug = load_agent("iv", folder=tmp_path)
    path = table(tmp_path, "1,0,600,100,0,.,.,1,iv", head=WIDE)  # 6 h at 100 mg/h
    hours = np.array([6.0, 12.0, 48.0, 240.0])
    months, of = hours / 24 / DAYS_PER_MONTH, {"weight": load_parameters()["WT_ref"]}
    found = ranklsim.simulate(doses_from=path, time="hours", folder=tmp_path, at=months, covariates=of, rtol=1e-9)
    seen = found.set_index("month").loc[months, "C_iv"].to_numpy()
    k = drug.values["CL"] / drug.values["Vc"] / 24
    expected = 100 / (drug.values["CL"] / 24) * (1 - np.exp(-6 * k)) * np.exp(-k * (hours - 6))
    np.testing.assert_allclose(seen, expected, rtol=1e-5)


def test_the_parts_of_an_infusion_are_as_near_as_their_documentation_says(tmp_path: Path) -> None:
    """Against 40 times as many parts: off by at most (k h)^2 / 24 when it is over, k of zoledronate in blood."""
    rate = 5 / (1.5 / 24)
    at = np.array([3, 30, 365]) / DAYS_PER_MONTH
    path = table(tmp_path, f"1,0,5,{rate},0,.,.,1,zoledronate", head=WIDE)
    found = ranklsim.simulate(doses_from=path, at=at, rtol=1e-9).set_index("month").loc[at, ["CTX", "OC"]]
    fine = table(tmp_path, *(f"1,{(j + 0.5) / 120 * 1.5 / 24},{5 / 120},0,0,.,.,1,zoledronate" for j in range(120)),
                 head=WIDE)  # fmt: skip
    exact = ranklsim.simulate(doses_from=fine, at=at, rtol=1e-9).set_index("month").loc[at, ["CTX", "OC"]]
    k = np.log(2) / load_parameters()["t_bp_blood"]
    np.testing.assert_allclose(found, exact, rtol=(k / 48) ** 2 / 24)


def test_a_steady_state_is_that_of_a_long_sequence_of_doses(tmp_path: Path) -> None:
    """After 40 years of denosumab nothing but bone changes any more; drug, RANKL and markers agree to 1e-4."""
    every, many = 182.625, 80
    long = ranklsim.simulate(f"denosumab 60mg every {every}day x{many + 2}", rtol=1e-8,
                             at=[(many * every + day) / DAYS_PER_MONTH for day in (0, 10, 90)])  # fmt: skip
    path = table(tmp_path, f"1,0,60,0,1,{every},1,1,denosumab", head=WIDE)
    steady = ranklsim.simulate(doses_from=path, at=[day / DAYS_PER_MONTH for day in (0, 10, 90)], rtol=1e-8)
    names = ["C_denosumab", "OCC_mRANKL", "OCC_sRANKL", "sRANKL_total", "RESERVOIR_T", "CTX", "P1NP", "TRAP5B"]
    for day in (0, 10, 90):
        there = long[np.isclose(long["month"], (many * every + day) / DAYS_PER_MONTH)][names]
        here = steady[np.isclose(steady["month"], day / DAYS_PER_MONTH)][names]
        np.testing.assert_allclose(here.to_numpy(), there.to_numpy(), rtol=1e-4, atol=1e-6)
    assert steady["BMD_LS"].iloc[0] == pytest.approx(ranklsim.simulate("placebo x1", follow="1 mo")["BMD_LS"].iloc[0])
    assert steady["CTX_pct"].iloc[0] == 100.0


def test_a_steady_state_lasts_and_does_not_depend_on_when_the_next_dose_is(tmp_path: Path) -> None:
    """Teriparatide every day from day 0 on, or from half a day later: the curve goes on as it was, while bone grows."""
    first = table(tmp_path, "1,0,0.02,0,1,1,30,1,teriparatide", head=WIDE)
    at = np.array([5.2, 6.2, 20.2]) / DAYS_PER_MONTH
    now = ranklsim.simulate(doses_from=first, at=at, rtol=1e-9).set_index("month").loc[at, ["P1NP", "CTX", "SIGNAL_T"]]
    np.testing.assert_allclose(now.iloc[1:], np.tile(now.iloc[0], (2, 1)), rtol=5e-3)
    later = table(tmp_path, "1,0.5,0.02,0,1,1,30,1,teriparatide", head=WIDE)
    shifted = ranklsim.simulate(doses_from=later, at=at + 0.5 / DAYS_PER_MONTH, rtol=1e-9).set_index("month")
    np.testing.assert_allclose(shifted.loc[at + 0.5 / DAYS_PER_MONTH, ["P1NP", "CTX", "SIGNAL_T"]], now, rtol=2e-4)


def test_a_dose_that_never_becomes_steady_ends_in_one_sentence(tmp_path: Path) -> None:
    path = table(tmp_path, "1,0,3,0,1,1,.,1,teriparatide", head=WIDE)
    with pytest.raises(ranklsim.RanklsimError) as fault:
        ranklsim.simulate(doses_from=path)
    assert "the typical patient" in str(fault.value)


# --- each patient of an arm with doses of her own ---
def own_doses(folder: Path, *rows: str, each: str = "turn", head: str = HEAD, **changes: object) -> Path:
    """A trial of a year whose second arm takes the doses of a table, each patient hers."""
    table(folder, *rows, head=head)
    both = [arm("placebo", doses=2), {"name": "own", "doses_from": {"table": "doses.csv", "each": each}}]
    return trial_file(folder, **{
        "months": 12, "arm": both, "visits": {"BMD": [0, 12], "markers": [0, 6, 12]},
        "population": {"patients": 8}, "uncertainty_draws": 1,
        "endpoint": [endpoint("gain", "ANCOVA", "primary", change={"of": "BMD_LS", "from": "0 mo", "to": "12 mo"})],
    } | changes)  # fmt: skip


@pytest.mark.slow
def test_the_patients_of_an_arm_get_the_courses_of_a_table_in_turn(tmp_path: Path) -> None:
    rows = ["a,0,60,.,.,1,denosumab", "a,182.4,60,.,.,1,denosumab", "b,0,60,182.625,1,1,denosumab",
            "c,3,5,.,.,1,zoledronate"]  # fmt: skip
    trial = load_trial(own_doses(tmp_path, *rows))
    run = ranklsim.run(trial, tmp_path / "run")
    given = run.doses[run.doses["arm"] == "own"]
    plan = {0: [("denosumab", 0.0), ("denosumab", 182.4)], 1: [("denosumab", 0.0), ("denosumab", 182.625)],
            2: [("zoledronate", 3.0)]}  # fmt: skip
    for patient, own in given.groupby("patient"):
        there = list(zip(own["agent"], (own["month"] * DAYS_PER_MONTH).round(9), strict=True))
        assert there == plan[(int(patient) - 1) % 3]
    assert given["given"].all()
    # The run keeps the doses: it is the same trial when the table is gone, and the other arm has its own plan.
    (tmp_path / "doses.csv").unlink()
    again = load_trial(run.folder / "trial.toml")
    assert again.arms == trial.arms
    assert ranklsim.run(again, tmp_path / "again").doses.equals(run.doses)
    # The typical patient has the course in the middle, by number of doses and the time of the last.
    assert trial.arm("own").regimens == trial.arm("own").courses.doses["a"]
    page = ranklsim.report(run.folder).read_text(encoding="utf-8")
    assert "doses of single patients, 3 courses; the typical patient: Denosumab 60 mg at months 0, 5.99" in page
    # A sample at the visit of month 6 is taken 0.2 days after one patient's dose, just before another's.
    adpc = pd.read_parquet(ranklsim.cdisc(run.folder, tmp_path / "adam", formats=["parquet"]) / "adpc.parquet")
    assert set(adpc.loc[adpc["AVISITN"] == 6, "ATPT"]) == {"1 DAYS POSTDOSE", "PREDOSE"}


def test_doses_by_id_are_those_of_the_woman_of_the_population(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    weights = {f"W{k}": 50.0 + k for k in range(24)}
    lines = [f"{who},{rng.normal(70, 4):.1f},{weight},{rng.normal(160, 5):.0f},-2.5" for who, weight in weights.items()]
    (tmp_path / "women.csv").write_text("subject,age,weight,height,T_LS\n" + "\n".join(lines) + "\n")
    (tmp_path / "women.toml").write_text(
        'title = "Ours"\ntable = "women.csv"\nlike = "postmenopausal-osteoporosis"\nignore = ["subject"]\n'
    )
    rows = [f"{who},{k},{40 + k},.,.,1,denosumab" for k, who in enumerate(weights)]
    path = own_doses(tmp_path, *rows, each="ID", population={"name": "women", "patients": 30})
    run = ranklsim.run(path, tmp_path / "run")
    given = run.doses[run.doses["arm"] == "own"].merge(run.patients, on="patient")
    assert len(given) == (run.patients["arm"] == "own").sum()
    # Without smoothing a patient has the weight of her woman, which tells whose doses she was given.
    np.testing.assert_allclose(given["weight"] - 50.0, given["amount_mg"] - 40.0, atol=1e-9)
    np.testing.assert_allclose(given["month"] * DAYS_PER_MONTH, given["amount_mg"] - 40.0, atol=1e-9)
    assert (given["source_id"] == "W" + (given["weight"] - 50).round().astype(int).astype(str)).all()

    for change, said in (
        (rows[1:], "the table has no patient W0, who can be enrolled; give her a row"),
        ([*rows, "W99,0,60,.,.,1,denosumab"], "no patient of population 'women' has the ID W99"),
    ):
        with pytest.raises(BadInput) as fault:
            load_trial(own_doses(tmp_path, *change, each="ID", population={"name": "women", "patients": 30}))
        assert len(fault.value.messages) == 1
        check_sentence(fault.value.messages[0], "trial.toml:", "arm 'own'", said)


def test_an_infusion_is_in_the_tables_of_a_run_and_comes_back(tmp_path: Path) -> None:
    trial = own_doses(tmp_path, "1,0,5,480,0,.,.,1,zoledronate", "2,1,5,240,0,100,1,1,zoledronate", head=WIDE)
    run = ranklsim.run(trial, tmp_path / "run")
    given = run.doses[run.doses["agent"] == "zoledronate"]
    assert set(given["infusion_h"].round(9)) == {0.25, 0.5}
    path = ranklsim.export(run.folder, tmp_path / "run.csv", format="nonmem", time="hours")
    back = load_records(path, time="hours")
    hours = [24 * regimen.infusion_days for own in back.doses.values() for regimen in own]
    np.testing.assert_allclose(sorted(hours), sorted(given["infusion_h"]), rtol=1e-12)
    adex = build(run, run.agents)["ADEX"]
    infused = adex[adex["EXTRT"].str.contains("ZOLEDRON")]
    assert set(infused["ADURN"]) == {0.25, 0.5}
    assert set(adex.loc[~adex.index.isin(infused.index), "ADURN"]) == {0.0}


@pytest.mark.parametrize(
    "rows, changes, said",
    [
        (["1,0,60,.,.,1,denosumab"], {"each": "ID"}, "is no table with an ID of each patient; say each"),
        (["1,0,60,.,.,1,denosumab"], {"each": "both"}, "`each` is \"both\"; use 'ID' or 'turn'"),
        (["1,0,.,.,.,0,."], {}, "no patient is given anything in the table"),
        (
            ["1,0,60,.,.,1,denosumab", "2,500,60,.,.,1,denosumab"],
            {},
            "patient 2 has a dose at 16.43 mo, after the trial",
        ),
        (["1,0,60,.,.,1,denosumab", "2,-1,60,.,.,1,denosumab"], {}, "doses.csv:3: column TIME: -1 is before the start"),
    ],
)
def test_doses_of_single_patients_that_cannot_be_are_said_in_one_sentence(
    tmp_path, capsys, rows, changes, said
) -> None:
    path = own_doses(tmp_path, *rows, **changes)
    with pytest.raises(BadInput) as fault:
        load_trial(path)
    assert len(fault.value.messages) == 1
    check_sentence(fault.value.messages[0], said)
    code, out, told = spoken(capsys, "run", path, "-o", tmp_path / "run")
    assert (code, out, len(told)) == (2, [], 1)
    assert not (tmp_path / "run").exists()


def test_a_regimen_of_a_trial_can_be_infused_or_begin_in_a_steady_state(tmp_path: Path) -> None:
    steps = [{"agent": "zoledronate", "dose": "5 mg", "over": "15 min", "every": "12 mo", "doses": 1}]
    path = trial_file(tmp_path, arm=[arm("placebo"), {"name": "zol", "regimen": steps}])
    assert load_trial(path).arm("zol").regimens[0].infusion_days == pytest.approx(15 / 1440)
    steady = load_trial(trial_file(tmp_path, arm=[arm("placebo"), arm("denosumab", steady=True)])).arm("denosumab")
    assert steady.doses()["steady"].tolist() == [182.625, 0, 0, 0]
    for step, said in (
        ({"over": "15 min"}, "denosumab is given SC"),
        ({"steady": True, "start": "7 mo"}, "give it at time 0"),
    ):
        with pytest.raises(BadInput, match=said):
            load_trial(trial_file(tmp_path, arm=[arm("placebo"), arm("denosumab", doses=2, **step)]))


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
        (["1,0,60,182,3,1,denosumab", "1,300,60,.,.,1,denosumab"], "go on until 546, beyond this dose; they overlap"),
        (["1,0,0,.,.,1,denosumab"], "column AMT: 0 is no dose"),
        (["1,0,60,.,3,1,denosumab"], "column II: 3 additional doses need an interval above 0."),
        (["1,0,60,182,2.5,1,denosumab"], "column ADDL: 2.5 is not a whole number"),
        (["1,0,60,.,.,3,denosumab"], "column EVID: 3 (reset) would undo what treatment did to her bone"),
        (["1,0,60,.,.,4,denosumab"], "column EVID: 4 (reset and dose) would undo what treatment did"),
        (["1,0,60,.,.,0,denosumab"], "column AMT: 60 is of a dose, and this row is none"),
        (["1,0,60,-5,1,1,denosumab"], "column II: -5 is no interval"),
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


@pytest.mark.parametrize(
    "rows, said",
    [
        (
            ["1,0,60,5,0,.,.,1,denosumab"],
            "column RATE: denosumab is given SC, and only what is given IV can be infused",
        ),
        (["1,0,5,-1,0,.,.,1,zoledronate"], "column RATE: -1 leaves the rate or the duration to a parameter"),
        (["1,0,5,-2,0,.,.,1,zoledronate"], "column RATE: -2 leaves the rate or the duration to a parameter"),
        (["1,0,.,20,0,.,.,.,zoledronate"], "column RATE: 20 is of a dose, and this row is none; give AMT"),
        (["1,0,5,0.1,0,.,.,1,zoledronate"], "column RATE: an infusion of 50 days is longer than 28; check its unit"),
        (["1,0,5,1,0,2,3,1,zoledronate"], "column RATE: infusions of 5 days every 2 days overlap"),
        (["1,0,5,1,0,.,.,1,zoledronate", "1,3,5,1,0,.,.,1,zoledronate"], "the infusion of an earlier row goes on"),
        (["1,0,60,0,1,.,.,1,denosumab"], "column SS: a steady state needs the interval of the doses before it"),
        (["1,200,60,0,1,182,.,1,denosumab"], "column SS: the dose before, 182 days earlier, would fall into the time"),
        (["1,0,60,0,2,182,.,1,denosumab"], "column SS: 2 is not possible; give 1"),
        (["1,0,60,0,0,.,.,1,denosumab", "1,9,5,0,1,99,.,1,zoledronate"], "patient 1 has an earlier dose; a steady"),
        (["1,0,.,0,1,182,.,0,denosumab"], "column SS: 1 is of a dose, and this row is none"),
    ],
)
def test_an_infusion_or_a_steady_state_that_cannot_be_is_said_in_one_sentence(tmp_path, capsys, rows, said) -> None:
    path = table(tmp_path, *rows, head=WIDE)
    with pytest.raises(BadInput) as fault:
        load_records(path)
    assert len(fault.value.messages) == 1
    check_sentence(fault.value.messages[0], f"doses.csv:{len(rows) + 1}: column ", said)
    code, out, told = spoken(capsys, "simulate", "--doses-from", path, "-o", tmp_path / "x.csv")
    assert (code, out, len(told)) == (2, [], 1)
    assert said in told[0]
    assert not (tmp_path / "x.csv").exists()


def test_what_a_course_cannot_hold_is_named(tmp_path: Path) -> None:
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
