"""Every kind of endpoint, decision and estimand in studies that are repeated: as the report of one of them has it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import arm, change, endpoint, trial_file

import ranklsim
from ranklsim.cohorts.endpoints import Durability, durability
from ranklsim.cohorts.endpoints.base import jackknife
from ranklsim.cohorts.protocol.trial import Trial, load_trial
from ranklsim.cohorts.running.execution import RTOL
from ranklsim.cohorts.statistics import multiplicity
from ranklsim.cohorts.study import StudyTables
from ranklsim.pkpd.agents import load_agent
from ranklsim.pkpd.parameters import load_parameters
from ranklsim.reports.analyses import estimands
from ranklsim.reports.analyses.monitoring import monitor
from ranklsim.reports.replicate import analyse as studies
from ranklsim.reports.replicate import operating
from ranklsim.reports.replicate import sample as replicates
from ranklsim.reports.replicate import truth as truths
from ranklsim.reports.replicate.analyse import DIFFERENCE, ESTIMAND, MEAN, NULL, TRIAL, Protocol
from ranklsim.reports.replicate.sample import OWN, Studies, replication

pytestmark = pytest.mark.slow

TABLES = {
    "title": "Every kind of endpoint",
    "seed": 5,
    "population": {"patients": 90, "eligible": {"age": "75..90 yr"}, "strata": ["age >= 80 yr"]},
    "arm": [arm("placebo", doses=2), arm("denosumab", doses=2)],
    "visits": {"markers": [0, 12, 18, 24]},
    "endpoint": [
        change("Spine", to=12, margin="1 %"),
        change("CTX", "median difference", "secondary", "CTX", 12),
        endpoint(
            "Responders",
            "Miettinen-Nurminen",
            "key secondary",
            responder={"of": "BMD_LS", "at": "12 mo", "gain": ">= 3 %"},
        ),
        endpoint("New vertebral fracture", "Mantel-Haenszel", event={"of": "vertebral", "by": "24 mo"}, margin="1.5"),
        endpoint("First fracture", "Cox", "key secondary", event={"of": "nonvertebral", "by": "24 mo"}),
        endpoint("Fractures a year", "negative binomial", rate={"of": "nonvertebral", "by": "24 mo"}),
        endpoint("Rebound", "bootstrap", "exploratory", durability={"of": "CTX", "what": "peak"}),
    ],
    "estimand": [
        {
            "name": "Fracture, whatever happens",
            "endpoint": "New vertebral fracture",
            "primary": True,
            "events": {"dropout": "treatment policy"},
        },
        {
            "name": "Spine, had all stayed",
            "endpoint": "Spine",
            "events": {"stopped": "hypothetical", "dropout": "hypothetical"},
        },
        {
            "name": "Old women who respond and stay",
            "endpoint": "Responders",
            "population": {"age": ">= 80 yr"},
            "events": {"stopped": "composite", "dropout": "composite"},
        },
        {"name": "Rate on treatment", "endpoint": "Fractures a year", "events": {"stopped": "while on treatment"}},
    ],
    "multiplicity": {
        "method": "graphical",
        "order": ["Spine", "Responders", "First fracture"],
        "weights": [0.5, 0.5, 0.0],
        "transitions": [[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]],
    },
    "interim": {"endpoint": "Spine", "spending": "O'Brien-Fleming", "planned_error": "1 %"},
    "conduct": {
        "enrolment": {"rate": "6 patients/mo"},
        "looks": ["20 mo", "30 % completed"],
        "dropout": "20 %/yr",
        "stop_treatment": "15 %/yr",
        "fractures": True,
        "imaging": [12, 24],
        "deaths": True,
    },
}
SAME = ["estimate", "low", "high", "p"]


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trial_file(tmp_path_factory.mktemp("trial"), **TABLES)


@pytest.fixture(scope="module")
def run(trial: Path, tmp_path_factory: pytest.TempPathFactory) -> ranklsim.Run:
    out = tmp_path_factory.mktemp("run") / "out"
    return ranklsim.run(trial, out, layers=["patients", "residual"], workers=1, rtol=RTOL)


@pytest.fixture(scope="module")
def protocol(trial: Path) -> Protocol:
    design: Trial = load_trial(trial).with_overrides(layers={"parameters": False})
    return Protocol.of(design, [load_agent(name) for name in design.agent_names()], (90,))


@pytest.fixture(scope="module")
def both(protocol: Protocol) -> Studies:
    """Replicates 0 and 1."""
    agents = [protocol.agents[name] for name in protocol.trial.agent_names()]
    plan = replication(protocol.trial, load_parameters(), agents, replicates=2, rtol=RTOL)
    return replicates.studies(plan, np.arange(2))


@pytest.fixture(scope="module")
def everything(both: Studies, protocol: Protocol) -> studies.Analysed:
    return studies.analyse(both, protocol)


@pytest.fixture(scope="module")
def found(everything: studies.Analysed) -> pd.DataFrame:
    return everything.estimates


def of(found: pd.DataFrame, **wanted: object) -> pd.DataFrame:
    for name, value in wanted.items():
        found = found[found[name] == value]
    return found


# -- the analyses ------------------------------------------------------------------------------------------------------


def test_a_study_is_analysed_to_the_last_digit_as_the_run_with_its_patients_is(
    run: ranklsim.Run, found: pd.DataFrame
) -> None:
    whole = ranklsim.analyse(run)
    first = of(found, replicate=0, design=TRIAL)
    mine = of(first, quantity=DIFFERENCE)
    theirs = whole.endpoints[whole.endpoints["arm"] == "denosumab"]
    assert mine["endpoint"].tolist() == theirs["endpoint"].tolist()
    columns = ["effect", "effect_low", "effect_high", "p"]
    np.testing.assert_array_equal(mine[SAME].to_numpy(float), theirs[columns].to_numpy(float))
    single = ["CTX", "New vertebral fracture", "Fractures a year"]  # by no look and no procedure
    shown = mine.set_index("endpoint")["shown"].astype(bool)
    for row in theirs[theirs["endpoint"].isin(single)].to_dict("records"):
        words = f"{row['conclusion']};".replace(",", ";")
        assert shown[row["endpoint"]] == words.startswith(("superior;", "non-inferior;"))
    means = of(first, quantity=MEAN)
    np.testing.assert_array_equal(means[SAME[:3]].to_numpy(float), whole.endpoints[SAME[:3]].to_numpy(float))
    asked = of(first, quantity=ESTIMAND)
    np.testing.assert_array_equal(asked[SAME].to_numpy(float), whole.estimands[SAME].to_numpy(float))
    decided = mine.dropna(subset=["adjusted"])
    np.testing.assert_array_equal(decided["adjusted"], whole.multiplicity["adjusted"])


def test_the_graph_is_followed_in_each_study_as_by_hand(found: pd.DataFrame, protocol: Protocol) -> None:
    plan = protocol.trial.multiplicity
    assert plan is not None
    for _, study in of(found, quantity=DIFFERENCE).groupby(["replicate", "design"]):
        by_name = study.set_index("endpoint")
        p = by_name["p_claim"].reindex(["Spine", "Responders", "First fracture"]).fillna(1.0).tolist()
        want = set()
        left, alpha, moves = [0, 1, 2], list(np.multiply(plan.weights, plan.alpha)), np.array(plan.transitions)
        while hit := [j for j in left if p[j] <= alpha[j] and alpha[j] > 0]:  # algorithm 1 of Bretz et al. 2009
            j = hit[0]
            want.add(j)
            left.remove(j)
            after = moves.copy()
            for i in left:
                alpha[i] += alpha[j] * moves[j, i]
                for k in left:
                    loop = moves[i, j] * moves[j, i]
                    after[i, k] = (moves[i, k] + moves[i, j] * moves[j, k]) / (1 - loop) if i != k and loop < 1 else 0
            moves = after
        got = study.set_index("endpoint")["adjusted"].reindex(["Spine", "Responders", "First fracture"])
        assert {k for k, value in enumerate(got) if value <= plan.alpha} == want


def test_any_and_all_are_counted_study_by_study(found: pd.DataFrame, protocol: Protocol) -> None:
    plan = protocol.trial.multiplicity
    assert plan is not None
    mine = of(found, quantity=DIFFERENCE).dropna(subset=["adjusted"])
    mine = pd.concat([mine.assign(replicate=mine["replicate"] + 2 * k) for k in range(4)])
    rng = np.random.default_rng(1)
    mine = mine.assign(adjusted=rng.choice([0.01, 0.2], len(mine)))
    rejected = {
        design: (own.pivot(index="replicate", columns="endpoint", values="adjusted") <= 0.05).to_numpy()
        for design, own in mine.groupby("design")
    }
    got = operating._families(mine, protocol).set_index("measure")["value"]
    assert got["disjunctive power"] == rejected[TRIAL].any(axis=1).mean()
    assert got["conjunctive power"] == rejected[TRIAL].all(axis=1).mean()
    assert got["family-wise error"] == rejected[NULL].any(axis=1).mean()
    assert 0 < got["conjunctive power"] < got["disjunctive power"]


def test_no_adjusted_p_is_below_its_own(found: pd.DataFrame) -> None:
    mine = of(found, quantity=DIFFERENCE).dropna(subset=["adjusted", "p_claim"])
    assert len(mine)
    assert (mine["adjusted"] >= mine["p_claim"] - 1e-12).all()
    assert multiplicity.adjusted([0.01], "fixed sequence")[0] == 0.01


def test_under_the_null_all_are_compared_from_the_same_end_of_treatment(protocol: Protocol) -> None:
    shifted = replace(protocol)
    shifted.__dict__["ends"] = {"placebo": 0.0, "denosumab": 12.0}
    assert shifted.ends_of(TRIAL) == {"placebo": 0.0, "denosumab": 12.0}
    assert shifted.ends_of(NULL) == {"placebo": 0.0, "denosumab": 0.0}


def test_moved_to_the_margin_a_study_is_non_inferior_where_its_interval_is_above_zero(
    both: Studies, protocol: Protocol
) -> None:
    assert both.null is not None
    spec = protocol.trial.endpoint("Spine")
    for study in studies.apart_of(both, both.null, protocol):
        plain = of(studies.analysed(study, protocol, NULL).estimates, endpoint="Spine", quantity=DIFFERENCE).iloc[0]
        for shift in (plain["low"] - 0.01, plain["low"] + 0.01):  # an interval that just is, or just isn't, above
            moved = _moved(study, -float(spec.margin or 0.0) - shift)
            got = of(studies.analysed(moved, protocol, NULL).estimates, endpoint="Spine", quantity=DIFFERENCE).iloc[0]
            assert bool(got["shown"]) == (plain["low"] - shift - float(spec.margin or 0.0) > 0)


def _moved(study: StudyTables, points: float) -> StudyTables:
    """The study with the spine change at month 12 of everybody on denosumab moved by percentage points."""
    visits = study.tables["visits"].astype({"BMD_LS": float})
    start = visits["patient"].map(visits[visits["month"] == 0].set_index("patient")["BMD_LS"])
    mine = (visits["arm"] == "denosumab") & (visits["month"] == 12)
    visits["BMD_LS"] += np.where(mine, start * points / 100, 0.0)
    return replace(study, tables={**study.tables, "visits": visits})


def test_the_looks_of_a_study_end_as_those_of_the_run_with_its_patients(
    run: ranklsim.Run, everything: studies.Analysed
) -> None:
    want = monitor(run, adjusted=False).outcome
    columns = ["arm", "rejected", "decision", "look", "month", "enrolled", "effect", "p"]
    got = of(everything.looks, replicate=0, design=TRIAL)[columns].reset_index(drop=True)
    pd.testing.assert_frame_equal(got, want[columns], check_dtype=False)
    assert len(of(everything.looks, design=NULL)) == 2


def test_a_test_ends_at_one_look_or_goes_on(everything: studies.Analysed, protocol: Protocol) -> None:
    looks = everything.looks.assign(look=[1, 3, 2, 3], decision=["boundary crossed", "boundary not crossed"] * 2)
    looks = looks.assign(design=[TRIAL, TRIAL, NULL, NULL], rejected=[True, False] * 2, month=[20.0, 36.0, 24.0, 36.0])
    got = operating.of_looks(looks, protocol).set_index("measure")["value"]
    assert [got[f"ended at look {k}"] for k in (1, 2, 3)] == [0.5, 0.0, 0.5]
    assert [got[f"ended at look {k}, null"] for k in (1, 2, 3)] == [0.0, 0.5, 0.5]
    assert (got["power over all looks"], got["type I error over all looks"]) == (0.5, 0.5)
    harmed = looks.assign(decision="boundary crossed by harm", rejected=False)
    margin = operating.of_looks(harmed, protocol).set_index("measure")["value"]
    assert margin["type I error over all looks"] == 0.0  # non-inferiority has one side
    assert margin["harm over all looks"] == 1.0
    assert (got["months"], got["months, null"]) == (28.0, 30.0)


def test_moved_to_the_margin_a_study_ends_at_the_look_at_which_it_ends_for_a_difference_from_zero(
    both: Studies, protocol: Protocol
) -> None:
    assert both.null is not None
    spec = protocol.trial.endpoint("Spine")
    ended = []
    for study in studies.apart_of(both, both.null, protocol):
        for push in (0.0, 3.0):  # points, so that some test is decided early
            moved = studies.monitored(_moved(study, push - float(spec.margin or 0.0)), protocol, TRIAL).outcome
            still = studies.monitored(_moved(study, push), protocol, NULL).outcome
            shared = ["arm", "rejected", "decision", "look", "month", "enrolled"]
            pd.testing.assert_frame_equal(moved[shared], still[shared])
            ended += moved["look"].tolist()
    assert min(ended) < max(ended)


# -- what is true ------------------------------------------------------------------------------------------------------


def test_the_truth_of_an_estimand_is_that_of_the_report_of_the_same_twins(
    run: ranklsim.Run, both: Studies, protocol: Protocol
) -> None:
    table = truths.outcomes(both, protocol)
    first = (both.patients["replicate"] == 0).to_numpy()
    got = truths.truths(0, protocol, lambda asked: table[first]).query("quantity == 'estimand'")
    arm = set(run.patients.loc[run.patients["arm"] == "denosumab", "patient"])
    twins, events = (frame[frame["patient"].isin(arm)] for frame in (run.twins, run.twin_events))
    assert len(got) == 4
    for row in got.to_dict("records"):
        asked = next(e for e in run.trial.estimands if e.name == row["estimand"])
        want = estimands.truths(run, run.trial.endpoint(asked.endpoint), asked, "placebo", twins, events)["denosumab"]
        assert row["value"] == pytest.approx(want["truth"], rel=1e-12, nan_ok=True), row["estimand"]
        error = row["mc_se"] / (row["value"] if row["effect_measure"].endswith("ratio") else 1.0)
        assert error == pytest.approx(want["truth_error"], rel=1e-9, nan_ok=True), row["estimand"]
    assert got["value"].notna().sum() >= 3


def test_an_endpoint_as_run_is_true_as_under_treatment_policy(both: Studies, protocol: Protocol) -> None:
    table = truths.outcomes(both, protocol)
    got = truths.truths(0, protocol, lambda asked: table)
    policy = of(got, estimand="Fracture, whatever happens")["value"].iloc[0]
    as_run = of(got, endpoint="New vertebral fracture", quantity=DIFFERENCE, conduct="as run")["value"].iloc[0]
    assert as_run == policy


def test_a_rate_as_planned_counts_everybody_for_two_years(both: Studies, protocol: Protocol) -> None:
    table = truths.outcomes(both, protocol)
    asked = next(q for q in truths.questions(protocol) if q.endpoint.name == "Fractures a year")
    assert asked.conduct == "as planned"
    assert (table[asked.column(OWN, "years")] == 2.0).all()
    of_run = next(q for q in truths.questions(protocol) if q.endpoint is asked.endpoint and q.conduct == "as run")
    assert table[of_run.column(OWN, "years")].min() < 1.0


def test_the_truth_of_a_durability_is_that_of_the_mean_course(both: Studies, protocol: Protocol) -> None:
    table = truths.outcomes(both, protocol)
    got = truths.truths(0, protocol, lambda asked: table)
    row = of(got, endpoint="Rebound", quantity=MEAN, conduct="as planned", arm="denosumab").iloc[0]
    ctx = both.true[OWN, "as planned"].true["CTX"][(both.patients["arm"] == "denosumab").to_numpy()]
    spec = protocol.trial.endpoint("Rebound")
    assert isinstance(spec, Durability)
    curve = np.median(100 * ctx / ctx[:, :1], axis=0)
    want = durability.outcome(both.months, curve[None, :], spec, protocol.ends["denosumab"])[0]
    assert row["value"] == pytest.approx(want)
    assert want == curve[both.months >= 12].max()


def test_the_error_of_a_true_value_is_the_standard_error_of_a_mean() -> None:
    values = np.random.default_rng(1).normal(3.0, 2.0, 50)
    value, error = jackknife(lambda rows: float(values[rows].mean()), 50)
    assert value == pytest.approx(values.mean())
    assert error == pytest.approx(values.std(ddof=1) / np.sqrt(50))


# -- all together ------------------------------------------------------------------------------------------------------


def test_nothing_depends_on_batches_workers_or_sizes_beside(
    trial: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"replicates": 2, "layers": ["patients", "residual"]}
    one = ranklsim.replicate(trial, patients=[30, 60], workers=1, **options)
    monkeypatch.setattr(replicates, "BATCH", 60)
    monkeypatch.setattr(studies, "FEW", 0)
    monkeypatch.setattr(studies, "AT_ONCE", 1)
    two = ranklsim.replicate(trial, tmp_path / "out", patients=[60], workers=2, **options)
    both = one.estimates.query("patients == 60").reset_index(drop=True)
    pd.testing.assert_frame_equal(both, two.estimates)
    pd.testing.assert_frame_equal(one.truth, two.truth)
    pd.testing.assert_frame_equal(one.looks.query("patients == 60").reset_index(drop=True), two.looks)
    kept = one.operating.query("patients == 60").reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, two.operating)
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "nan" not in page.lower().replace("nanomol", "")
    for title in ("Several hypotheses", "Estimands against their true values", "Interim looks"):
        assert title in page
    measures = set(two.operating["measure"])
    assert {"power", "harm", "disjunctive power"} <= measures
    errors = two.operating[(two.operating["measure"] == "type I error") & (two.operating["estimand"] == "")]
    margins = {spec.name for spec in two.protocol.endpoints if spec.margin is not None}
    assert margins & set(errors["endpoint"]) == {"Spine"}  # not of a risk ratio
