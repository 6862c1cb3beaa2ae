"""Replicates of a trial: the same patients whichever way they are asked for, others in every study."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from helpers import check_sentence

from ranklsim.cohorts.conduct.course import MEASURES, play
from ranklsim.cohorts.conduct.patients import draw
from ranklsim.cohorts.protocol.design import MOST_PATIENTS, Trial
from ranklsim.cohorts.protocol.trial import load_trial
from ranklsim.cohorts.running.portion import portion
from ranklsim.pkpd.agents import load_agent
from ranklsim.pkpd.ensemble import ensemble
from ranklsim.pkpd.errors import BadInput
from ranklsim.pkpd.parameters import load_parameters
from ranklsim.reports.replicate import sample as module
from ranklsim.reports.replicate.sample import (
    AS_PLANNED,
    AS_RUN,
    OWN,
    Replication,
    Studies,
    replication,
    studies,
)

RTOL = 1e-5
N = 8


def plan_of(trial: Trial, replicates: int, vectors: int | str = 0) -> Replication:
    table = load_parameters()
    agents = [load_agent(name) for name in trial.agent_names()]
    return replication(trial, table, agents, replicates=replicates, vectors=vectors, rtol=RTOL)


@pytest.fixture(scope="module")
def trial() -> Trial:
    """The shipped `freedom`, small, with so many who leave that doses are missed."""
    shipped = load_trial("freedom").with_overrides(patients=N)
    return replace(shipped, conduct=replace(shipped.conduct, dropout_per_year=0.5))


@pytest.fixture(scope="module")
def three(trial: Trial) -> tuple[Replication, Studies]:
    """Replicates 0, 1, 2 under the default values and one vector."""
    plan = plan_of(trial, 3, 1)
    return plan, studies(plan, np.arange(6))


def rows(found: Studies, vector: int, replicate: int) -> np.ndarray:
    people = found.patients
    return np.flatnonzero((people["vector"] == vector) & (people["replicate"] == replicate))


def same(a: Studies, of_a: np.ndarray, b: Studies, of_b: np.ndarray) -> None:
    for name in (*MEASURES, "CTX_BLQ", "attended"):
        assert np.array_equal(a.seen.values[name][of_a], b.seen.values[name][of_b], equal_nan=True), name
        assert a.null is not None
        assert b.null is not None
        assert np.array_equal(a.null.values[name][of_a], b.null.values[name][of_b], equal_nan=True), name
    for key in a.true:
        for name in MEASURES:
            assert np.array_equal(a.true[key].true[name][of_a], b.true[key].true[name][of_b]), (key, name)
    drop = ["vector", "replicate"]
    left, right = a.patients.iloc[of_a].drop(columns=drop), b.patients.iloc[of_b].drop(columns=drop)
    assert left.reset_index(drop=True).equals(right.reset_index(drop=True))


def test_replicate_0_under_the_default_values_is_the_plain_run(three: tuple[Replication, Studies]) -> None:
    plan, found = three
    people = draw(plan.trial, plan.parameters, np.arange(1, N + 1))
    run = portion(plan.trial, plan.parameters, plan.agents, people, {}, rtol=RTOL).tables
    visits, patients = run["visits"].to_pandas(), run["patients"].to_pandas()
    mine = rows(found, 0, 0)
    for name in MEASURES:
        assert np.array_equal(
            found.seen.values[name][mine].reshape(-1).astype(np.float32), visits[name].to_numpy(), equal_nan=True
        )
        true = found.true[OWN, AS_RUN].true[name][mine].reshape(-1).astype(np.float32)
        assert np.array_equal(true, visits[f"true_{name}"].to_numpy())
    people = found.people(found.seen)
    for name in ("patient", "arm", "stratum", "age", "last_month", "enrolled_month"):
        assert list(people[name].iloc[mine]) == list(patients[name]), name
    events = found.events(found.seen)
    own = events[(events["vector"] == 0) & (events["replicate"] == 0)].drop(columns=["vector", "replicate"])
    pd.testing.assert_frame_equal(own.reset_index(drop=True), run["events"].to_pandas(), check_dtype=False)


def test_a_study_depends_neither_on_how_many_there_are_nor_on_which_are_simulated_with_it(
    three: tuple[Replication, Studies], trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, found = three
    monkeypatch.setattr(module, "BATCH", 5)
    other = plan_of(trial, 7, 2)
    alone = studies(other, np.array([7 + 2]))  # vector 1, replicate 2
    same(found, rows(found, 1, 2), alone, np.arange(N))


def test_the_first_patients_of_a_study_are_that_study_with_fewer(
    three: tuple[Replication, Studies], trial: Trial
) -> None:
    _, found = three
    few = studies(plan_of(trial.with_overrides(patients=5), 3), np.array([1]))
    same(found, rows(found, 0, 1)[:5], few, np.arange(5))


def test_replicates_and_vectors_have_patients_of_their_own(three: tuple[Replication, Studies]) -> None:
    _, found = three
    ages = [tuple(found.patients["age"].iloc[rows(found, v, r)]) for v in (0, 1) for r in (0, 1, 2)]
    assert len({age for study in ages for age in study}) == 6 * N
    scores = {tuple(np.round(found.seen.values["BMD_LS"][rows(found, v, r), 0], 9)) for v in (0, 1) for r in (0, 1, 2)}
    assert len(scores) == 6


def test_a_study_under_a_vector_is_the_trial_with_these_parameter_values(three: tuple[Replication, Studies]) -> None:
    plan, found = three
    mine = rows(found, 1, 0)
    table = plan.parameters.replace(ensemble().iloc[0].to_dict())
    who = module.identity(np.full(N, 1), np.full(N, 0), np.arange(1, N + 1))
    people = draw(plan.trial, table, who)
    agents = [table.apply(agent) for agent in plan.agents]
    arms = found.patients["arm"].to_numpy()[mine].astype(str)
    course = play(plan.trial, table, agents, people, who, arms, rtol=RTOL)
    for name in MEASURES:
        assert found.true[OWN, AS_RUN].true[name][mine] == pytest.approx(course.latent[name], rel=1e-9), name


def test_twins_are_the_same_women_under_the_control_treatment(three: tuple[Replication, Studies]) -> None:
    plan, found = three
    mine = rows(found, 0, 1)
    number = np.arange(1, N + 1)
    who = module.identity(np.zeros(N, dtype=np.int64), np.full(N, 1), number)
    people = draw(plan.trial, plan.parameters, who)
    control = np.full(N, plan.trial.control)
    for conduct in (AS_RUN, AS_PLANNED):
        ideal = conduct == AS_PLANNED
        course = play(plan.trial, plan.parameters, plan.agents, people, who, control, ideal=ideal, rtol=RTOL)
        for name in MEASURES:
            assert np.array_equal(found.true["placebo", conduct].true[name][mine], course.latent[name]), (conduct, name)
        events = found.true["placebo", conduct].events
        same_events = events[events["patient"].isin(who)].reset_index(drop=True)
        pd.testing.assert_frame_equal(same_events, course.events, check_dtype=False)
        assert np.array_equal(found.true["placebo", conduct].last[mine], course.last)


def test_as_planned_and_as_run_differ_in_those_only_who_missed_doses(three: tuple[Replication, Studies]) -> None:
    plan, found = three
    treated = (found.patients["arm"] == "denosumab").to_numpy()
    last_dose = max(arm.last_dose_month or 0.0 for arm in plan.trial.arms)
    missed = treated & (found.seen.last <= last_dose)
    assert 0 < missed.sum() < treated.sum()
    differ = found.true[OWN, AS_RUN].true["BMD_LS"] != found.true[OWN, AS_PLANNED].true["BMD_LS"]
    assert np.array_equal(differ.any(axis=1), missed)
    assert (
        found.true[OWN, AS_RUN].true["BMD_LS"][missed, -1] < found.true[OWN, AS_PLANNED].true["BMD_LS"][missed, -1]
    ).all()


def test_a_trial_without_control_has_no_null_and_no_twins(trial: Trial) -> None:
    one = replace(
        trial, arms=[trial.arm("denosumab")], control=None, population=replace(trial.population, ratio={"denosumab": 1})
    )
    found = studies(plan_of(one, 2), np.arange(2))
    assert found.null is None
    assert {whose for whose, _ in found.true} == {OWN}


def test_identities_of_all_studies_that_may_be_asked_for_are_different_numbers() -> None:
    vectors, last = 100_000, module.MOST_REPLICATES - 1
    ends = [(v, r, p) for v in (0, 1, vectors) for r in (0, 1, last) for p in (1, 2, MOST_PATIENTS)]
    found = [int(module.identity(*(np.array(x, dtype=np.int64) for x in end))) for end in ends]
    assert len(set(found)) == len(ends)
    assert min(found) == 1
    assert max(found) < 2**63


@pytest.mark.parametrize(
    ("replicates", "vectors", "sentence"),
    [
        (0, 0, "replicates = 0 is not possible"),
        (5, -1, "vectors = -1 is not possible"),
        (5, "some", "vectors = 'some' is neither a number nor 'all'"),
        (5, 5000, "vectors = 5000, but the ensemble holds 1000"),
    ],
)
def test_what_is_not_possible_is_said_in_a_sentence(
    trial: Trial, replicates: int, vectors: int | str, sentence: str
) -> None:
    with pytest.raises(BadInput) as fault:
        plan_of(trial, replicates, vectors)
    (message,) = fault.value.messages
    check_sentence(message, sentence)


def test_vectors_need_the_layer_parameters(trial: Trial) -> None:
    with pytest.raises(BadInput, match="the trial's layer 'parameters' is off"):
        plan_of(trial.with_overrides(layers={"parameters": False}), 2, 3)


def test_the_null_takes_the_effect_away_and_keeps_the_dropout_of_the_arm(trial: Trial) -> None:
    conduct = replace(trial.conduct, dropout_per_year=0.05, dropout_arms={"denosumab": 20.0}, deaths=False)
    found = studies(plan_of(replace(trial, conduct=conduct).with_overrides(patients=60), 1), np.arange(1))
    assert found.null is not None
    drug = (found.patients["arm"] == "denosumab").to_numpy()
    assert np.array_equal(found.null.last, found.seen.last)  # nobody leaves earlier or later than in her own arm
    assert (found.null.last[drug] < 36).mean() > 0.6 > 0.4 > (found.null.last[~drug] < 36).mean()
    placebo = found.true["placebo", AS_RUN].true["BMD_LS"]
    seen = found.null.values["BMD_LS"]
    change = {name: np.nanmean(seen[mine, -1] / seen[mine, 0]) for name, mine in (("drug", drug), ("none", ~drug))}
    assert change["drug"] == pytest.approx(change["none"], abs=0.03)
    assert np.nanmean(placebo[drug, -1] / placebo[drug, 0]) == pytest.approx(change["none"], abs=0.03)


def test_a_comparator_other_than_control_has_twins_of_its_own(trial: Trial) -> None:
    shipped = load_trial("modality").with_overrides(patients=8)
    spec = next(each for each in shipped.endpoints if each.against == "denosumab")
    found = studies(plan_of(replace(shipped, endpoints=[spec], estimands=[], multiplicity=None), 1), np.arange(1))
    assert {whose for whose, _ in found.true} == {OWN, "denosumab"}
    mine = (found.patients["arm"] == "denosumab").to_numpy()
    for name in ("BMD_LS", "CTX"):
        own, other = (found.true[whose, AS_RUN].true[name] for whose in (OWN, "denosumab"))
        assert np.array_equal(own[mine], other[mine])
        assert not np.allclose(own[~mine], other[~mine])
