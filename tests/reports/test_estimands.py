"""Estimands: each strategy on patients whose answer is known, and the truth from twins."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers import check_sentence

from ranklsim.cohorts.endpoints import Change, Durability, Estimand, Event, Rate, Responder, durability
from ranklsim.cohorts.protocol.endpoints import Multiplicity
from ranklsim.cohorts.statistics import summaries
from ranklsim.reports.analyses import estimands, results

MONTHS = [0.0, 12.0, 24.0]
GAIN = Change(name="gain", role="primary", analysis="ANCOVA", measure="BMD_LS", from_month=0.0, to_month=24.0)
RESPONSE = Responder(name="response", role="secondary", analysis="Miettinen-Nurminen", measure="BMD_LS",
                     from_month=0.0, to_month=24.0, sign=">=", limit=3.0)  # fmt: skip
FRACTURE = Event(name="fracture", role="secondary", analysis="Cox", event="hip", by_month=24.0)
RATE = Rate(name="rate", role="secondary", analysis="negative binomial", event="vertebral", by_month=24.0)


def question(endpoint: Any, events: dict[str, str], summary: str, **more: Any) -> Estimand:
    return replace(Estimand("q", endpoint.name, True, {}, ("drug",), events, "MAR", summary), **more)


def course(patients: np.ndarray, arm: Any, gains: np.ndarray) -> pd.DataFrame:
    """Visits whose BMD is 1 at baseline and grows by `gains` (%), shape (n, 2)."""
    value = 1 + np.column_stack([np.zeros(len(patients)), gains]) / 100
    return pd.DataFrame(
        {"patient": np.repeat(patients, 3), "arm": np.repeat(np.broadcast_to(arm, len(patients)), 3),
         "month": np.tile(MONTHS, len(patients)), "BMD_LS": value.ravel()}
    )  # fmt: skip


def happened(rows: list[tuple[int, str, str, float]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["patient", "arm", "event", "month"])
    return frame.assign(detail="", count=1)


@pytest.fixture
def world() -> SimpleNamespace:
    """Forty women; those with numbers divisible by four stop the drug at month 13 and lose what they had gained."""
    number = np.arange(40)
    arm = np.where(number % 2 == 0, "drug", "placebo")
    stops = number % 4 == 0
    spread = np.where(number % 8 < 4, 0.5, -0.5)[:, None]  # patients differ, equally in both arms
    ideal = np.array([4.0, 8.0]) + spread
    real = np.where(stops[:, None], np.array([4.0, 0.0]) + spread, ideal)
    nothing = np.array([0.0, 0.0]) + spread
    seen = np.where((arm == "drug")[:, None], real, nothing)
    patients = pd.DataFrame({"patient": number, "arm": arm, "stratum": "all", "last_month": 24.0, "age": 60.0 + number})
    stopped = [(int(k), "drug", "stopped", 13.0) for k in number[stops & (arm == "drug")]]
    twins, twin_events = [], []
    for conduct, there in (("real", real), ("without stopped", ideal)):
        for name, gains in (("drug", there), ("placebo", nothing)):
            twins.append(course(number, name, gains).rename(columns={"BMD_LS": "true_BMD_LS"}).assign(conduct=conduct))
            ends = happened([(int(k), name, "completed", 24.0) for k in number]).assign(conduct=conduct)
            twin_events.append(ends)
    twin_events.append(happened([(int(k), "drug", "stopped", 13.0) for k in number[stops]]).assign(conduct="real"))
    trial = SimpleNamespace(
        control="placebo", conduct=SimpleNamespace(imaging=()), endpoints=[GAIN, RESPONSE, FRACTURE, RATE],
        arms=[SimpleNamespace(name="placebo"), SimpleNamespace(name="drug")], multiplicity=None, interim=None,
        changes=[GAIN], seed=1,
    )  # fmt: skip
    trial.endpoint = {e.name: e for e in trial.endpoints}.__getitem__
    found = SimpleNamespace(
        trial=trial, patients=patients, visits=course(number, arm, seen), events=happened(stopped),
        twins=pd.concat(twins), twin_events=pd.concat(twin_events),
    )  # fmt: skip
    found.seen = lambda measure: found.visits.copy()
    return found


def answer(world: SimpleNamespace, estimand: Estimand) -> dict[str, Any]:
    world.trial.estimands = [estimand]
    return dict(estimands.estimate_all(world).iloc[0])


@pytest.mark.parametrize(
    ("strategy", "analysis", "estimate", "truth"),
    [  # half of the drug arm stops: 20 women, of whom those divisible by four are half; of all women a quarter
        ("treatment policy", "ANCOVA", 4.0, 6.0), ("hypothetical", "ANCOVA", 8.0, 8.0),
        ("hypothetical", "MMRM", 8.0, 8.0), ("while on treatment", "MMRM", 6.0, 7.0),
    ],
)  # fmt: skip
def test_each_strategy_answers_its_own_question(world, strategy, analysis, estimate, truth):
    world.trial.endpoint = {"gain": replace(GAIN, analysis=analysis)}.__getitem__
    row = answer(world, question(GAIN, {"stopped": strategy}, "difference of means"))
    assert row["estimate"] == pytest.approx(estimate, abs=1e-6)
    assert row["truth"] == pytest.approx(truth)
    assert row["bias"] == pytest.approx(estimate - truth, abs=1e-6)
    assert ("a mixed model has no place" in row["note"]) == (strategy == "while on treatment")


@pytest.mark.parametrize(
    ("claim", "shown", "at_margin"),
    [  # the estimate is 8.0 points with next to no error
        ({}, 1, 1), ({"margin": 1.0}, 1, 1), ({"equivalence": (-2.0, 2.0)}, 0, 0), ({"equivalence": (-9.0, 9.0)}, 1, 0),
        ({"equivalence": (2.0, 9.0)}, 1, 0),
    ],
)  # fmt: skip
def test_an_estimand_shows_what_its_endpoint_claims_and_nothing_else(world, claim, shown, at_margin):
    spec = replace(GAIN, **claim)
    world.trial.endpoint = {"gain": spec}.__getitem__
    world.trial.estimands = [question(GAIN, {"stopped": "hypothetical"}, "difference of means")]
    (row,) = estimands.estimated(world)
    assert (row["shown"], row["harm"]) == (shown, 1 - shown)
    assert (row["p_claim"] < 0.05) == bool(shown)
    (moved,) = estimands.estimated(world, at_margin=True)  # of 8 points and the limit together
    assert moved["shown"] == at_margin
    world.trial.estimands = [question(GAIN, {"stopped": "hypothetical"}, "difference of means", missing="J2R")]
    assert np.isnan(estimands.estimated(world, at_margin=True)[0]["shown"]) == bool(claim)


def test_a_margin_of_one_measure_says_nothing_of_another(world):
    spec = replace(RESPONSE, margin=10.0)
    world.trial.endpoint = {"response": spec}.__getitem__
    shown = []
    for summary in ("risk difference", "risk ratio"):
        world.trial.estimands = [question(RESPONSE, {"stopped": "treatment policy"}, summary)]
        shown.append(estimands.estimated(world)[0]["shown"])
    assert shown[0] == 1.0
    assert np.isnan(shown[1])


def test_a_truth_that_is_the_same_for_every_patient_has_no_monte_carlo_error(world):
    row = answer(world, question(GAIN, {"stopped": "hypothetical"}, "difference of means"))
    assert row["truth_error"] == pytest.approx(0.0, abs=1e-12)
    row = answer(world, question(GAIN, {"stopped": "treatment policy"}, "difference of means"))
    gains = np.where(np.arange(40) % 4 == 0, 0.0, 8.0)
    assert row["truth_error"] == pytest.approx(gains.std(ddof=1) / np.sqrt(40))


def test_the_composite_strategy_makes_a_failure_of_every_responder_who_stops(world):
    as_seen = answer(world, question(RESPONSE, {"stopped": "treatment policy"}, "risk difference"))
    failed = answer(world, question(RESPONSE, {"stopped": "composite"}, "risk difference"))
    assert as_seen["estimate"] == pytest.approx(0.5)
    assert failed["estimate"] == pytest.approx(0.5)
    assert failed["truth"] == pytest.approx(0.75)
    kept = answer(world, question(RESPONSE, {"stopped": "while on treatment"}, "risk difference"))
    assert kept["estimate"] == pytest.approx(1.0)  # at the last visit on treatment all had gained 3 %


def test_a_composite_change_is_a_difference_of_medians_with_failures_below_all(world):
    row = answer(world, question(GAIN, {"stopped": "composite"}, "difference of medians"))
    assert np.isnan(row["estimate"])
    assert "there is no median" in row["note"]
    assert row["truth"] == pytest.approx(8.0, abs=1.0)  # of all women only a quarter stops


def test_reference_based_imputation_lies_between_the_arms(world):
    world.visits.loc[(world.visits["month"] > 13) & world.visits["patient"].isin(world.events["patient"]), "BMD_LS"] = (
        np.nan
    )
    world.visits["BMD_LS"] *= 1 + np.random.default_rng(3).normal(0, 0.003, len(world.visits))
    row = answer(world, question(GAIN, {"stopped": "treatment policy"}, "difference of means", missing="J2R"))
    assert row["method"] == "multiple imputation (jump to reference) and ANCOVA"
    assert 2 < row["estimate"] < 7


def test_a_population_is_those_who_fulfil_its_criteria(world):
    estimand = question(GAIN, {"stopped": "treatment policy"}, "difference of means", population={"age": (80.0, None)})
    row = answer(world, estimand)
    assert (row["n"], row["n_control"], row["twins"]) == (10, 10, 20)


def test_an_event_that_happened_to_nobody_is_said(world):
    row = answer(world, question(GAIN, {"rescue": "hypothetical"}, "difference of means"))
    assert row["note"].endswith("Happened to nobody: rescue treatment.")


def test_an_arm_without_patients_and_a_model_without_answer_are_said_in_a_sentence(world):
    row = answer(world, question(FRACTURE, {"stopped": "hypothetical"}, "hazard ratio"))
    check_sentence(row["note"], "Not estimable", "no patient of either arm")
    assert np.isnan(row["estimate"])
    assert row["p"] == 1.0
    nobody = question(GAIN, {"stopped": "hypothetical"}, "difference of means", population={"age": (200.0, None)})
    assert "is left for the analysis" in answer(world, nobody)["note"]


def test_times_and_counts_end_at_the_event_of_their_strategy(world):
    events = happened([(0, "drug", "hip", 20.0), (0, "drug", "stopped", 13.0), (2, "drug", "death", 6.0),
                       (6, "drug", "vertebral", 12.0), (6, "drug", "vertebral", 24.0)])  # fmt: skip
    seen = FRACTURE.times(events, world.patients).set_index("patient")
    assert seen.loc[0, ["time", "event", "cause"]].tolist() == [20.0, True, 1]
    assert seen.loc[2, ["time", "event", "cause"]].tolist() == [6.0, False, 2]
    for how, expected in (("hypothetical", [13.0, False, 0]), ("while on treatment", [13.0, False, 2]),
                          ("composite", [13.0, True, 1])):  # fmt: skip
        own = FRACTURE.times(events, world.patients, question(FRACTURE, {"stopped": how}, "hazard ratio"))
        assert own.set_index("patient").loc[0, ["time", "event", "cause"]].tolist() == expected
    counted = RATE.counts(events, world.patients).set_index("patient")
    assert counted.loc[6, ["count", "years"]].tolist() == [2.0, 2.0]
    several = replace(FRACTURE, event="vertebral", least=2)
    assert several.times(events, world.patients).set_index("patient").loc[6, "time"] == 24.0


def test_the_true_rate_ratio_is_that_of_all_twins(world):
    hits = [(k, "placebo", "vertebral", 12.0) for k in range(20)] + [(k, "drug", "vertebral", 12.0) for k in range(5)]
    world.twin_events = pd.concat([world.twin_events, happened(hits).assign(conduct="real")])
    row = answer(world, question(RATE, {"stopped": "treatment policy"}, "rate ratio"))
    assert row["truth"] == pytest.approx(0.25)
    assert row["truth_error"] == pytest.approx(np.sqrt(1 / 5 - 1 / 20), rel=0.05)  # the five are among the twenty


def test_the_true_subdistribution_hazard_ratio_of_equal_incidences_is_one_though_deaths_differ(world):
    hits = [(k, arm, "hip", 12.0 + k / 10) for k in range(20) for arm in ("placebo", "drug")]
    dead = [(k, "drug", "death", 6.0) for k in range(20, 40)]
    world.twin_events = pd.concat([world.twin_events, happened(hits + dead).assign(conduct="real")])
    incidence = answer(world, question(FRACTURE, {"stopped": "treatment policy"}, "subdistribution hazard ratio"))
    hazard = answer(world, question(FRACTURE, {"stopped": "treatment policy"}, "hazard ratio"))
    assert incidence["truth"] == pytest.approx(1.0)
    assert 0.1 < incidence["truth_error"] < 0.5
    assert hazard["truth"] > 1.5  # of those alive


# -- all analyses ------------------------------------------------------------------------------------------------------


def test_all_endpoints_of_a_trial_come_out_in_one_frame_with_decisions(world):
    world.trial.estimands = []
    world.trial.endpoints = [replace(GAIN, margin=1.0), RESPONSE, FRACTURE]
    world.trial.changes = world.trial.endpoints[:1]
    world.trial.visits = SimpleNamespace(months=MONTHS)
    world.trial.multiplicity = Multiplicity("fixed sequence", 0.05, (("gain", "drug"), ("fracture", "drug"),
                                                                     ("response", "drug")))  # fmt: skip
    world.patients = world.patients.assign(T_LS=-3.0, T_TH=-2.0, prevalent_fracture=0, eGFR=70.0)
    found = results.analyse(world)
    row = found.endpoints.set_index(["endpoint", "arm"]).loc[("gain", "drug")]
    assert row["effect"] == pytest.approx(4.0)
    assert row["conclusion"] == "superior (adjusted p <0.001)"  # the trial's own endpoint has no margin
    assert found.endpoints["events"].notna().sum() == 4
    decided = found.multiplicity.set_index("endpoint")
    assert decided["rejected"].to_dict() == {"gain": True, "fracture": False, "response": False}
    assert decided.loc["fracture", "p"] == 1.0
    assert found.at_risk.query("arm == 'drug' and month == 24")["n"].iloc[0] == 20
    forest = found.subgroups
    assert set(forest.loc[forest["factor"] == "Age", "level"]) == {"<65 yr", "65 to <75 yr", "≥75 yr"}
    assert forest.loc[forest["factor"] == "All", "estimate"].iloc[0] == pytest.approx(4.0)


def test_subgroups_of_an_endpoint_of_medians_show_differences_of_medians(world):
    rng = np.random.default_rng(3)
    arms = world.patients["arm"].to_numpy()
    values = pd.DataFrame({"patient": world.patients["patient"], "arm": arms, "value": rng.lognormal(size=len(arms))})
    spec = replace(GAIN, analysis="median difference")
    found = spec.effect(values, "drug", "placebo", spec.subgroup_measure)
    middle = values.groupby("arm")["value"].median()
    assert found["estimate"] == pytest.approx(middle["drug"] - middle["placebo"])
    assert found["low"] < found["estimate"] < found["high"]
    assert found["std_error"] == pytest.approx((found["high"] - found["low"]) / (2 * 1.959964), rel=1e-6)


# -- durability --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("what", "expected"), [("months back", 12.0), ("share kept", 50.0), ("area", 6 * 12 / 2)])
def test_a_gain_that_is_lost_in_a_year_has_the_durability_of_a_triangle(what, expected):
    spec = Durability(name="", role="secondary", analysis="bootstrap", measure="BMD_LS", what=what,
                      after=6.0 if what == "share kept" else None)  # fmt: skip
    months = np.array([0.0, 24.0, 36.0, 48.0])
    assert durability.outcome(months, np.array([[0.0, 6.0, 0.0, -2.0]]), spec, 24.0)[0] == pytest.approx(expected)


@pytest.mark.parametrize(("what", "expected"), [("peak", 160.0), ("peak month", 12.0), ("area", 60 * 12)])
def test_a_rebound_has_its_peak_month_and_area_over_baseline(what, expected):
    spec = Durability(name="", role="secondary", analysis="bootstrap", measure="CTX", what=what)
    months, course = np.array([0.0, 24.0, 36.0, 48.0]), np.array([[100.0, 100.0, 160.0, 100.0]])
    assert durability.outcome(months, course, spec, 24.0)[0] == pytest.approx(expected)


def test_the_difference_between_arms_that_are_alike_is_about_zero():
    rng = np.random.default_rng(2)
    number = np.arange(200)
    gains = np.array([6.0, 3.0]) + rng.normal(0, 1, (200, 2))
    visits = course(number, np.where(number % 2 == 0, "a", "b"), gains)
    spec = Durability(name="", role="secondary", analysis="bootstrap", measure="BMD_LS", what="share kept", after=12.0)
    found = durability.lasting(visits, spec, {"a": 12.0, "b": 12.0}, ["a", "b"], "a").set_index("arm")
    assert found.loc["a", "estimate"] == pytest.approx(50.0, abs=3)
    assert found.loc["b", "effect_low"] < 0 < found.loc["b", "effect_high"]
    assert np.isnan(found.loc["a", "effect"])


def test_bootstrap_medians_are_medians_of_the_resampled_patients():
    rng = np.random.default_rng(4)
    values = rng.normal(size=(25, 3))
    values[::4, 1] = np.nan
    values[:, 2] = np.nan
    found = durability.bootstrap_medians(values, (1, 2), replicates=120)
    times = summaries.resamples(25, 100, np.random.default_rng([1, 2]))
    for row, weights in zip(found, times, strict=False):
        drawn = np.repeat(values, weights, axis=0)
        assert row[:2] == pytest.approx(np.nanmedian(drawn[:, :2], axis=0))
    assert np.isnan(found[:, 2]).all()


def test_bootstrap_medians_of_many_patients_are_medians_of_the_resampled_patients():
    values = np.random.default_rng(5).normal(size=(1500, 1))
    found = durability.bootstrap_medians(values, (1, 2), replicates=20)
    times = summaries.resamples(1500, 20, np.random.default_rng([1, 2]))
    known = [np.median(np.repeat(values[:, 0], weights)) for weights in times]
    assert found[:, 0] == pytest.approx(known, abs=1e-15)
