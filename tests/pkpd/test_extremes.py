"""Any numbers within the table's ranges, alone or all at once, are integrated, or refused for a named reason."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import extremes
import helpers
import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ranklsim import api
from ranklsim.cohorts.protocol.trial import load_trial
from ranklsim.cohorts.running.execution import run
from ranklsim.pkpd.agents import load_agent
from ranklsim.pkpd.biology import cells, joint, ligand
from ranklsim.pkpd.biology.model import Model
from ranklsim.pkpd.biology.values import Slots, Values
from ranklsim.pkpd.dosing import parse_regimen
from ranklsim.pkpd.engine import reference
from ranklsim.pkpd.ensemble import ensemble
from ranklsim.pkpd.errors import BadInput, Caution, RunFailed
from ranklsim.pkpd.limits import first_breach, limit_of, limits
from ranklsim.pkpd.mice.steady import steady_state
from ranklsim.pkpd.parameters import load_parameters
from ranklsim.pkpd.simulation import Doses, covariate_symbols, patient_constants, simulate
from ranklsim.reports.qualify import solver

TABLE = load_parameters()
AGENTS = [load_agent(name) for name in ("denosumab", "opg-fc", "zoledronate", "romosozumab", "teriparatide")]
ENDS = solver.ranges(TABLE, AGENTS)
WILD = {"EGFR": 5.0, "make_marrow": 20.0, "tc": 40.0, "J_bone": 10.0, "e_ren": 0.0, "s_ren": 1.0}
TIMES = np.linspace(0, 5 * 365.25, 11)

shares = st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 1))
some = st.dictionaries(st.sampled_from(sorted(ENDS.index)), shares, max_size=8)
whole = st.lists(shares, min_size=len(ENDS), max_size=len(ENDS)).map(lambda u: dict(zip(ENDS.index, u, strict=True)))
steps = st.tuples(
    st.integers(0, len(AGENTS) - 1),
    st.floats(0.25, 4),  # of the reference dose
    st.floats(0.25, 4),  # of the reference interval
    st.floats(0, 3 * 365),  # first dose
    st.integers(1, 40),
)


def person(at: dict[str, float]) -> pd.DataFrame:
    """Numbers at shares of their ranges."""
    values = {s: ENDS.low[s] + (ENDS.high[s] - ENDS.low[s]) * share for s, share in at.items()}
    return pd.DataFrame([{s: round(v) if s in solver.WHOLE else v for s, v in values.items()}], index=[0])


def doses_of(steps: list[tuple[int, float, float, float, int]]) -> Doses:
    rows = []
    for a, dose, interval, first, count in steps:
        (one,) = parse_regimen(f"{AGENTS[a].name} {AGENTS[a].reference_regimen} x1")
        every = max(1.0, interval * one.every_days)
        rows += [(first + k * every, a, dose * one.dose_mg) for k in range(count)]
    day, agent, mg = (np.array(column) for column in zip(*rows, strict=True)) if rows else (np.empty(0),) * 3
    return Doses(np.zeros(len(rows), dtype=np.int64), day.astype(float), agent.astype(np.int64), mg.astype(float))


@pytest.mark.slow
@settings(max_examples=100, deadline=None, derandomize=True)
@example({}, [(0, 1.0, 1.0, 5e-324, 1)])  # an instant after the start is the start
@given(st.one_of(some, whole), st.lists(steps, max_size=1))
def test_any_vector_and_regimen_is_integrated_or_refused_for_a_reason(
    at: dict[str, float], steps: list[tuple[int, float, float, float, int]]
) -> None:
    reason, needed = "", AssertionError("the reference integrator was needed")
    try:
        with mock.patch.object(reference, "integrate", side_effect=needed):
            found = simulate(TABLE, person(at), AGENTS, doses_of(steps), TIMES, rtol=1e-5, atol=1e-7)
    except RunFailed as fault:
        reason, found = str(fault), {}
    assert not reason or re.match(r"patient 0: .* on day .* that are taken as possible", reason), reason
    for name, values in found.items():
        assert first_breach(name, values) is None, name


@pytest.fixture(scope="module")
def surveyed() -> dict[str, Any]:
    return extremes.survey(
        TABLE, ["denosumab", "zoledronate", "teriparatide"], 100, hardest=3
    )  # 10,000 and the 50 hardest of them: `scripts/extremes.py`


@pytest.mark.slow
@pytest.mark.parametrize("way", solver.WAYS)
def test_of_vectors_within_ranges_none_needs_the_reference(surveyed: dict[str, Any], way: str) -> None:
    assert not surveyed["shares"][way].get("reference", 0.0)


@pytest.mark.slow
def test_vectors_within_ranges_are_integrated_and_the_hardest_not_far_from_cvode(surveyed: dict[str, Any]) -> None:
    found, shares = surveyed, surveyed["shares"]
    assert shares["one to five"]["integrated"] > 0.98
    assert shares["uniform"]["integrated"] > 0.6
    assert len(found["errors"]) == 3
    assert max(found["errors"]) < 10  # of what is allowed: PTH where it is steepest in calcium


@pytest.mark.parametrize(
    ("regimen", "part"),
    [
        ("denosumab 60g every 6mo x2", "60000 mg of denosumab is 1,000 times the usual 60 mg"),
        ("opg-fc 1g/kg every 1mo x2", "63000 mg of opg-fc is 300 times the usual 210 mg"),
        ("denosumab 60ug every 6mo x2", "0.06 mg of denosumab is 1/1,000 of the usual 60 mg"),
        ("zoledronate 5g every 12mo x1", "5000 mg of zoledronate is 1,000 times the usual 5 mg"),
        ("alendronate 70ug every 1wk x9", "0.07 mg of alendronate is 1/1,000 of the usual 70 mg"),
    ],
)
def test_a_dose_far_from_the_usual_one_is_done_with_one_warning(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], regimen: str, part: str
) -> None:
    with pytest.warns(Caution, match=re.escape(part)) as warned:
        course = api.simulate(f"{regimen}, {regimen}")
    assert len(warned) == 1
    assert np.isfinite(course.to_numpy()).all()
    name, dose, *_ = regimen.split()
    step = {"agent": name, "dose": re.sub(r"(\d+)", r"\1 ", dose), "every": "1 mo", "doses": 2}
    file = helpers.trial_file(tmp_path, arm=[helpers.arm("placebo"), {"name": "other", "regimen": [step]}])
    with pytest.warns(Caution, match=re.escape(part)) as warned:
        api.run(file, tmp_path / "run", patients=2, layers=[])
    assert len(warned) == 1
    done, _, told = helpers.said(capfd, "simulate", "--regimen", regimen, "-o", tmp_path / "x.csv")
    assert (done, len(told)) == (0, 1)
    assert told[0].startswith(f"warning: {part}")


def test_a_dose_that_nobody_can_be_given_is_refused_wherever_doses_are_given(tmp_path: Path) -> None:
    part = "a dose of 300000 mg of denosumab is impossible; give at most 200000 mg."
    with pytest.raises(BadInput, match=part):
        parse_regimen("denosumab 300g every 6mo x2")
    with pytest.raises(BadInput, match=f"dose: {part}"):
        api.simulate(agent="denosumab", dose="300 g")
    step = {"agent": "denosumab", "dose": "300 g", "every": "1 mo", "doses": 2}
    file = helpers.trial_file(tmp_path, arm=[helpers.arm("placebo"), {"name": "other", "regimen": [step]}])
    with pytest.raises(BadInput, match=rf"trial.toml:\d+: .*{part}"):
        load_trial(file)
    one, drug = np.zeros(1, int), load_agent("denosumab")
    with pytest.raises(BadInput, match=part):
        simulate(TABLE, pd.DataFrame(index=[0]), [drug], Doses(one, np.zeros(1), one, np.array([3e5])), TIMES)


@pytest.mark.filterwarnings("ignore::ranklsim.pkpd.errors.Caution")
@pytest.mark.parametrize("regimen", ["teriparatide 20mg every 1day x900", "romosozumab 20g every 1mo x12"])
def test_a_dose_that_the_model_has_no_answer_to_ends_with_what_leaves_its_limits(regimen: str) -> None:
    with pytest.raises(RunFailed, match=r"effect of an anabolic agent reached \d+\S* times the licensed dose on day"):
        api.simulate(regimen)


@pytest.mark.parametrize(
    ("like", "number", "part"),
    [
        ("denosumab", 'CL = "89 L/h"', "CL is 2136 L/day; no drug lies outside 0.0001 to 1000 L/day"),
        ("denosumab", 'molar_mass = "147000 kDa"', "molar_mass is 147000 kDa; no drug lies outside 0.1 to 2000 kDa"),
        ("denosumab", 'KD_sRANKL = "1e-9 nmol/L"', "KD_sRANKL is 1e-09 nmol/L; no drug lies outside 1e-06"),
        ("teriparatide", 'gain = "2600 1/ug"', "gain is 2.6e+06 1/mg; no drug lies outside 0 to 100000 1/mg"),
        ("teriparatide", "e_rankl = 50", "e_rankl is 50; no drug lies outside -5 to 5"),
        ("zoledronate", 't_surface = "115 s"', "t_surface is 0.00133102 day; no drug lies outside 0.1 to"),
    ],
)
def test_a_slip_of_unit_in_an_agents_file_is_refused(tmp_path: Path, like: str, number: str, part: str) -> None:
    text = f'label = "X"\nhypothetical = true\nlike = "{like}"\n{number}\n'
    (tmp_path / "x.toml").write_text(text, encoding="utf-8")
    with pytest.raises(BadInput, match=rf"x.toml:4: {re.escape(part)}"):
        load_agent("x", folder=tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),  # m, pg/mL, mL/s, g, mg/dL, pg/mL, mg/cm2
    [("height", 1.6), ("CTX", 400), ("eGFR", 1.1), ("weight", 6e4), ("CA0", 9.4), ("PTH0", 40), ("BMD0_LS", 850)],
)
def test_a_covariate_in_another_unit_is_refused_with_its_range(name: str, value: float) -> None:
    with pytest.raises(BadInput, match=rf"{name}: .* is outside its range; give [\d.]+ to [\d.]+ "):
        covariate_symbols(TABLE, {name: value})


def test_a_menopause_in_childhood_is_refused() -> None:
    with pytest.raises(BadInput, match=r"years_since_menopause: 60 yr puts the menopause before the age of 20"):
        covariate_symbols(TABLE, {"age": 50, "years_since_menopause": 60})
    assert covariate_symbols(TABLE, {"age": 50, "years_since_menopause": 10}) == {"AGE": 50, "YSM": 10}


def test_an_effect_beyond_any_drugs_is_refused_on_its_day(tmp_path: Path) -> None:
    text = 'label = "X"\nhypothetical = true\nlike = "teriparatide"\ngain = "1e5 1/mg"\n'
    (tmp_path / "x.toml").write_text(text, encoding="utf-8")
    doses = Doses(np.zeros(1, int), np.array([30.0]), np.zeros(1, int), np.array([0.02]))
    agent = load_agent("x", folder=tmp_path)
    with pytest.raises(RunFailed, match=r"effect of an anabolic agent reached .* on day 30\.0"):
        simulate(TABLE, pd.DataFrame(index=[0]), [agent], doses, np.array([0.0, 60.0]))


@pytest.mark.parametrize(
    ("values", "part"),
    [
        ({"EGFR": 5, "make_marrow": 20, "tc": 40, "J_bone": 10, "e_ren": 0, "s_ren": 1}, "serum calcium reached 6"),
        ({"sRANKL_given": 13.3608, "Ka": 14.9537, "Kg": 4.5}, "osteoclasts at rest of trabecular bone would be"),
    ],
)
def test_one_patient_at_fault_is_named_with_what_is_unusual(values: dict[str, float], part: str) -> None:
    table = TABLE.replace(values)
    with pytest.raises(RunFailed, match=re.escape(part)) as fault:
        api.simulate("denosumab 60mg every 6mo x4", parameters=table)
    said = str(fault.value)
    assert re.match(r"the typical patient: .* on day \d", said)
    assert "farthest from typical are" in said
    assert max(values, key=lambda s: abs(values[s] - TABLE[s]) / (TABLE.row(s)["high"] - TABLE.row(s)["low"])) in said


def test_a_patient_of_a_run_is_named_by_number_with_day_limit_and_numbers(tmp_path: Path) -> None:
    table = TABLE.replace({"J_bone": 10, "J_gut": 3, "e_flux_EGFR": 1.5, "e_ren": 0.05, "e_gut": 0.02})
    trial = load_trial(helpers.trial_file(tmp_path))
    with pytest.raises(RunFailed, match=r"^patient \d+: serum calcium reached 0\.\d+ mmol/L on day \d+\.\d, ") as fault:
        run(trial, tmp_path / "run", parameters=table)
    said = str(fault.value)
    assert "calcium that gut and kidney can spare at half the normal serum calcium would be" in said
    assert "J_bone" in said
    assert said.endswith("change such numbers, who is eligible, or the doses.")


def test_who_is_refused_is_missing_and_leaves_the_others_as_they_are() -> None:
    fine = pd.DataFrame({"EGFR": [68.0, 40.0]})
    both = pd.concat([fine, pd.DataFrame([WILD])], ignore_index=True).fillna(TABLE.values)
    told: dict[int, str] = {}
    doses = Doses(np.arange(3), np.zeros(3), np.zeros(3, int), np.full(3, 60.0))
    found = simulate(TABLE, both, AGENTS[:1], doses, TIMES, refused=told.__setitem__)
    alone = simulate(TABLE, fine, AGENTS[:1], helpers.q6m(60, 1, patients=2), TIMES)
    assert list(told) == [2]
    assert "patient 2: serum calcium" in told[2]
    for name, values in alone.items():
        assert np.array_equal(found[name][:2], values), name
        assert np.isnan(found[name][2]).all(), name


def test_osteoclasts_and_time_of_waiting_at_rest_are_those_of_the_lifelong_steady_state() -> None:
    """Without drift, the closed forms are what `steady_state` finds with its own root."""
    persons = pd.DataFrame({
        "mix": 1.0, "make_osteocyte": [1.0, 2.0, 1.0, 1.0, 0.5], "OPG_local": [1.0, 1.0, 0.3, 1.0, 1.0],
        "sRANKL_given": [0.0, 0.0, 0.0, 0.5, 0.0], "RANK": [1.0, 1.0, 1.0, 1.0, 0.7],
        "anchor_marrow": [1.0, 1.0, 1.0, 0.5, 1.0], "shed_osteoblast": [1.0, 3.0, 1.0, 1.0, 0.2],
    })  # fmt: skip
    p = Model(Slots()).constants(TABLE.values | {symbol: persons[symbol].to_numpy() for symbol in persons})
    rest = steady_state(TABLE, persons)
    for c in "TC":
        assert joint.osteoclasts_at_rest(p, c) == pytest.approx(rest.states[f"OC_{c}"], rel=1e-6)
        used = 1 - p.f_om + p.f_om * rest.states[f"OC_{c}"]
        assert joint.wait_at_rest(p, c) == pytest.approx(24 * p.tW * rest.states[f"waiting_{c}"] / used, rel=1e-6)


@pytest.mark.parametrize("pool", [0.1, 10.0, 1e3])  # nmol/L of sRANKL, KD 1 pmol/L
def test_the_error_of_drug_weighs_as_it_is_felt_in_free_drug(pool: float) -> None:
    agents, none = [load_agent("denosumab")], {f"make_{source}": 0.0 for source in ligand.SOURCES}
    given = pool * min(TABLE["ksel"], TABLE["kcpx"])
    persons = pd.DataFrame([none | {"denosumab.KD_sRANKL": 1e-3, "sRANKL_given": given}])
    model, p, _ = patient_constants(TABLE, persons, agents)
    free = np.geomspace(1e-6, 10 * pool, 10_000)
    drug = free * (1 + pool * p.as_1 / (1 + p.as_1 * free))
    felt = (np.gradient(np.log(free)) / np.gradient(np.log(drug))).max()
    assert model.steepness(p)["drug_1"] == pytest.approx(max(1.0, felt / ligand.FELT), rel=0.1)


@pytest.mark.parametrize("name", solver.BINDERS)
def test_hardly_a_shipped_vector_has_a_pool_so_tight_that_errors_weigh_more(name: str) -> None:
    """One of 1,000, in which they weigh by 6 % more; the default is none."""
    vectors = ensemble()
    model, p, _ = patient_constants(TABLE, vectors, [load_agent(name)])
    for state in ("drug_1", "sRANKL", "mRANKL_osteocyte"):
        weights = np.broadcast_to(model.steepness(p)[state], len(vectors))
        assert (weights > 1).sum() <= 1
        assert weights.max() < 1.1
    model, p, _ = patient_constants(TABLE, pd.DataFrame(index=[0]), [load_agent(name)])
    assert np.all(model.steepness(p)["drug_1"] == 1)


@pytest.mark.parametrize("way", ["file", "values", "person"])
def test_given_numbers_that_cannot_belong_together_are_refused_in_one_sentence(tmp_path: Path, way: str) -> None:
    given = {"n": 5.0, "make_marrow": 20.0}
    file = tmp_path / "mine.csv"
    file.write_text("symbol,value\n" + "".join(f"{s},{v}\n" for s, v in given.items()), encoding="utf-8")
    taken: dict[str, Callable[[], Any]] = {
        "file": lambda: load_parameters(file),
        "values": lambda: load_parameters(given),
        "person": lambda: covariate_symbols(TABLE, given, "--set"),
    }
    hours = joint.wait_at_rest(Model(Slots()).constants(TABLE.values | given), "T")
    begin = {"file": re.escape(str(file)), "values": "parameters", "person": "--set"}
    said = rf"^{begin[way]}: time for which cells wait .* would be {hours:.3g} hours, not at least 1; .* one of them\.$"
    with pytest.raises(BadInput, match=said):
        taken[way]()


def test_few_waiting_cells_that_much_calls_are_counted_exactly() -> None:
    p, x = Values(TABLE.values | {"mix": 1.0, "n": 1.0, "Ka": 1.0}), Values(cells.start() | {"waiting_T": 3e-20})
    opened = 1 + p.tQ * cells.rates(x, p, "T", 1e20, 1.0, 1.0)["sites_T"]
    assert opened == pytest.approx(3 * 2 / (3 + 1), rel=1e-12)


@pytest.mark.slow
def test_shipped_parameters_belong_together_and_what_does_not_is_named() -> None:
    drawn = pd.DataFrame({
        "make_marrow": [1.0, 20.0, 1.0, 20.0], "Ka": [1.0, 20.0, 1.0, 1.0], "n": [1.0, 2.0, 1.0, 5.0],
        "e_gut": [1.0, 1.0, 0.0, 1.0],
    })  # fmt: skip
    first, second, third, fourth = TABLE.implausible(drawn)
    assert first == ""
    assert second.startswith("osteoclasts at rest of trabecular bone would be")
    assert third.startswith("calcium that gut and kidney can spare at half the normal serum calcium would be 1.45")
    assert fourth.startswith("time for which cells wait for RANKL at rest of trabecular bone would be 0.")
    assert fourth.endswith("hours, not at least 1")
    assert (TABLE.implausible(ensemble()) == "").all()
    assert [text for text in TABLE.shared_limits("make_marrow") if "f_om" in text and "20 times normal" in text]
    assert TABLE.shared_limits("kT") == []


def test_the_reference_solver_stops_at_its_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ranklsim.pkpd.simulation.MAX_STEPS", 5)
    monkeypatch.setattr(reference, "MOST_RATES", 50)
    with pytest.raises(
        RunFailed, match=r"patient 0: the reference solver has spent its 50 evaluations .* by day .* where "
    ):
        simulate(TABLE, pd.DataFrame(index=[0]), [AGENTS[0]], helpers.q6m(60, 1), np.array([0.0, 90.0]))


def test_the_reference_solver_returns_nothing_that_is_not_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model(Slots())
    p = model.constants(TABLE.values)
    rates, calls = reference.right_hand_side, iter(range(10**6))
    late = np.array([np.nan if name == "OC_C" else 1.0 for name in model.states])
    monkeypatch.setattr(reference, "right_hand_side", lambda *a: rates(*a) * (late if next(calls) > 9 else 1.0))
    with pytest.raises(RunFailed, match=r"^the reference solver finds no number from day \d+\.\d on"):
        reference.integrate(model, p, [], np.array([0.0, 100.0]))


def test_limits_hold_the_ranges_of_a_patients_start() -> None:
    """The table's ranges of values at the start lie within the limits, each of which has a source."""
    for start in ("CA0", "PTH0", "CTX0", "P1NP0", "BSAP0", "TRAP5B0", "BMD0_LS", "BMD0_TH", "BMD0_FN", "BMD0_R13"):
        row = TABLE.row(start)
        limit = limit_of(start.replace("0_", "_") if "_" in start else start[:-1])
        assert limit.low <= row["low"] < row["high"] <= limit.high, start
    assert len(limits()) > 10
