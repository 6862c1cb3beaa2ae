"""A trial at its interim looks: boundaries, decisions, and the type-I error of the whole."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ranklsim.cohorts.conduct.enrolment import cut
from ranklsim.cohorts.endpoints import Effect, Event
from ranklsim.cohorts.protocol.endpoints import Futility, Interim
from ranklsim.cohorts.protocol.trial import load_trial
from ranklsim.cohorts.statistics import survival
from ranklsim.cohorts.study import StudyTables
from ranklsim.pkpd.errors import BadInput
from ranklsim.reports.analyses import interim
from ranklsim.reports.analyses.monitoring import COLUMNS, CROSSED, FUTILE, NOT_CROSSED, ON, decide, monitor, outcome_of
from ranklsim.reports.csr import monitoring as report_monitoring

HIP = Event(name="hip", role="primary", analysis="log-rank", event="hip", by_month=36.0)
PLAN = Interim("hip", ("drug",), "O'Brien-Fleming", 0.05)


def paths(information, count, drift=0.0, seed=1):
    """Statistics of Brownian motions at shares of information."""
    t = np.asarray(information, float)
    steps = np.random.default_rng(seed).standard_normal((count, t.size)) * np.sqrt(np.diff(t, prepend=0.0))
    return (np.cumsum(steps, axis=1) + drift * t) / np.sqrt(t)


def looks_of(z, information):
    rows = [
        {"arm": "drug", "look": k + 1, "z": z[k], "information": n, "note": "", "effect_measure": "hazard ratio",
         "effect": np.exp(-z[k] / np.sqrt(n / 4)), "effect_error": 2 / np.sqrt(n), "p": 2 * stats.norm.sf(abs(z[k])),
         "enrolled": 100,
         "found": Effect("hazard ratio", np.exp(-z[k] / np.sqrt(n / 4)), 0.0, 9.0, error=2 / np.sqrt(n))}
        for k, n in enumerate(information)
    ]  # fmt: skip
    return rows


# -- the procedure -----------------------------------------------------------------------------------------------------


def test_boundaries_of_hwang_shih_and_decani_are_those_of_gsdesign():
    # gsDesign(k = 3, test.type = 1), whose default is sfHSD with gamma = -4 at a one-sided alpha of 2.5 %.
    found = interim.boundaries([1 / 3, 2 / 3, 1.0], kind="Hwang-Shih-DeCani", shape=(-4.0,))["z"]
    assert found.tolist() == pytest.approx([3.0107, 2.5465, 1.9992], abs=2e-4)


def test_spending_functions_meet_where_they_are_the_same():
    share = np.array([0.2, 0.5, 1.0])
    own = interim.spent(share, 0.025, "own", (0.2, 0.5, 0.2, 0.5))
    for other in (
        interim.spent(share, 0.025, "power", (1.0,)),
        interim.spent(share, 0.025, "Hwang-Shih-DeCani", (1e-9,)),
    ):
        assert other == pytest.approx(own, rel=1e-6)
    assert own == pytest.approx(0.025 * share)


@pytest.mark.parametrize("kind", ["O'Brien-Fleming", "Pocock"])
@pytest.mark.parametrize(
    ("information", "time"),
    [([0.2, 0.35, 0.8, 1.0], None), ([0.5, 0.7, 1.0], [0.3, 0.5, 1.0]), ([0.4, 0.8, 1.0], [0.6, 1.0, 1.0])],
)
def test_the_type_one_error_of_all_looks_together_is_alpha(kind, information, time):
    limits = interim.boundaries(information, alpha=0.05, kind=kind, time=time)["z"].to_numpy()
    z = paths(information, 200_000)
    crossed = (np.abs(z) >= limits).any(axis=1)
    assert crossed.mean() == pytest.approx(0.05, abs=4 * np.sqrt(0.05 * 0.95 / len(z)))


@pytest.mark.slow
def test_the_procedure_rejects_as_its_boundaries_say_path_by_path():
    information = [40.0, 90.0, 100.0]
    limits = interim.boundaries([0.4, 0.9, 1.0])["z"].to_numpy()
    for z in paths([0.4, 0.9, 1.0], 300, drift=2.0):
        rows = looks_of(z, information)
        decide(rows, PLAN, HIP, 0.5)
        out = outcome_of(rows, PLAN, adjusted=False)
        first = np.flatnonzero(np.abs(z) >= limits)
        assert out["rejected"] == (first.size > 0 and z[first[0]] > 0)
        assert out["looks"] == (first[0] + 1 if first.size else 3)


def test_power_of_an_early_stop_is_that_of_the_simulated_paths():
    # At the drift that gives a single test 90 % power, O'Brien-Fleming costs little of it.
    limits = interim.boundaries([0.5, 1.0])["z"].to_numpy()
    z = paths([0.5, 1.0], 200_000, drift=stats.norm.isf(0.025) + stats.norm.isf(0.1))
    assert (z >= limits).any(axis=1).mean() == pytest.approx(0.898, abs=0.004)


@pytest.mark.parametrize("drift", [None, 2.5])
def test_conditional_power_is_the_share_of_paths_that_end_above_the_boundary(drift):
    z, share, final = 1.4, 0.6, 1.98
    rest = np.random.default_rng(3).standard_normal(400_000) * np.sqrt(1 - share)
    slope = z / np.sqrt(share) if drift is None else drift
    end = z * np.sqrt(share) + slope * (1 - share) + rest
    assert interim.conditional_power(z, share, final, drift) == pytest.approx((end >= final).mean(), abs=0.003)


@pytest.mark.parametrize(("under", "drift"), [("trend", None), ("design", 3.0)])
def test_conditional_power_at_the_limit_of_futility_is_that_of_the_rule(under, drift):
    limit = interim.futility_limit(0.5, 1.97, Futility(0.2, under, False), drift)
    assert interim.conditional_power(limit, 0.5, 1.97, drift) == pytest.approx(0.2)


@pytest.mark.parametrize("kind", ["O'Brien-Fleming", "Pocock"])
def test_p_of_a_sequence_is_the_level_at_which_it_just_crosses(kind):
    information, z = [0.3, 0.7, 1.0], [1.0, 2.1, 2.2]
    p = interim.p_of_sequence(z, information, kind=kind)
    at = [interim.boundaries(information, alpha=p * k, kind=kind)["z"].to_numpy() for k in (0.999, 1.001)]
    assert (np.array(z) < at[0]).all()
    assert (np.array(z) >= at[1]).any()


def test_p_of_one_look_is_the_plain_one():
    assert interim.p_of_sequence([2.0], [1.0]) == pytest.approx(2 * stats.norm.sf(2.0), rel=1e-3)


def test_a_look_with_next_to_no_information_can_not_reject():
    found = interim.boundaries([0.01, 1.0])
    assert np.isinf(found["z"].iloc[0])
    assert found["z"].iloc[1] == pytest.approx(1.959964, abs=1e-4)


def test_futility_that_binds_ends_the_test_and_other_futility_does_not():
    z, information = [-0.5, 2.5], [50.0, 100.0]
    for binding in (True, False):
        plan = replace(PLAN, futility=Futility(0.2, "trend", binding))
        rows = looks_of(z, information)
        decide(rows, plan, HIP, 0.5)
        assert [row["decision"] for row in rows] == [FUTILE, CROSSED]
        out = outcome_of(rows, plan)
        assert out["rejected"] == (not binding)
        assert out["looks"] == (1 if binding else 2)


def test_alpha_is_shared_by_the_arms():
    plan = replace(PLAN, arms=("drug", "other"))
    rows = looks_of([1.0, 1.0], [50.0, 100.0])
    decide(rows, plan, HIP, 0.5)
    half = interim.boundaries([0.5, 1.0], alpha=0.025)
    assert [row["boundary_z"] for row in rows] == pytest.approx(half["z"].to_list())


def test_the_last_analysis_spends_what_is_left_whether_the_plan_was_missed_or_not():
    for planned in (80.0, 150.0):
        rows = looks_of([1.0, 1.0], [60.0, 100.0])
        decide(rows, replace(PLAN, planned_events=planned), HIP, 0.5)
        assert rows[-1]["alpha_spent"] == pytest.approx(0.05)
        assert rows[0]["share"] == pytest.approx(60 / planned)
        first = interim.spent(np.array([60 / planned]), 0.025, "O'Brien-Fleming")[0]
        assert rows[0]["alpha_spent"] == pytest.approx(2 * first)


def test_looks_without_more_information_than_the_one_before_are_not_tested_and_spend_nothing():
    rows = looks_of([1.0, 1.2, 1.5], [50.0, 50.0, 100.0])
    decide(rows, PLAN, HIP, 0.5)
    assert "no more information" in rows[1]["note"]
    assert np.isnan(rows[1]["boundary_z"])
    assert rows[-1]["boundary_z"] == pytest.approx(interim.boundaries([0.5, 1.0])["z"].iloc[-1])


def test_repeated_intervals_hold_no_effect_exactly_where_the_boundary_is_not_crossed():
    for z in (1.9, 2.1):
        rows = looks_of([1.0, z], [50.0, 100.0])
        decide(rows, PLAN, HIP, 0.5)
        inside = rows[1]["repeated_low"] < 1 < rows[1]["repeated_high"]
        assert inside == (rows[1]["decision"] == NOT_CROSSED)


# -- on the tables of a study ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trial():
    found = load_trial("freedom")
    spec = next(e for e in found.endpoints if isinstance(e, Event) and e.event == "nonvertebral")
    conduct = replace(found.conduct, looks=(("month", 1.0), ("nonvertebral", 60.0), ("month", 40.0), ("hip", 9999.0)))
    plan = Interim(spec.name, ("denosumab",), "O'Brien-Fleming", 0.05, effect=0.6)
    return replace(found, conduct=conduct, interim=plan)


@pytest.fixture(scope="module")
def tables():
    """A study of 900 women, hazard ratio 0.5."""
    rng, n = np.random.default_rng(5), 900
    arm = np.where(np.arange(n) % 2, "denosumab", "placebo")
    when = rng.exponential(np.where(arm == "placebo", 180.0, 360.0))
    left = np.minimum(rng.exponential(200.0, n), 36.0)
    came = np.sort(rng.uniform(0, 20, n)) + 0.5
    patients = pd.DataFrame(
        {"patient": np.arange(1, n + 1), "arm": arm, "stratum": "", "enrolled_month": came, "last_month": left}
    )
    seen = when <= left
    broke = pd.DataFrame({"patient": patients["patient"][seen], "event": "nonvertebral", "month": when[seen]})
    gone = pd.DataFrame(
        {"patient": patients["patient"], "event": np.where(left < 36, "dropout", "completed"), "month": left}
    )
    events = pd.concat([broke, gone], ignore_index=True).assign(count=1, detail="")
    return {"patients": patients, "events": events.sort_values(["patient", "month"], ignore_index=True)}


@pytest.fixture(scope="module")
def found(trial, tables):
    return monitor(StudyTables(trial, {}, tables))


def test_every_look_and_the_last_analysis_has_a_row(found):
    assert list(found.looks) == list(COLUMNS)
    assert found.looks["due"].tolist() == ["1 mo", "60 nonvertebral", "40 mo", "9999 hip", "last analysis"]


def test_a_look_counts_what_was_known_then(found, tables):
    look = found.looks.iloc[1]
    assert look["events"] == look["information"] == 60
    calendar = tables["patients"].set_index("patient")["enrolled_month"]
    broke = tables["events"].query("event == 'nonvertebral'")
    assert look["month"] == pytest.approx(np.sort(calendar[broke["patient"]].to_numpy() + broke["month"])[59])
    assert look["enrolled"] == (calendar <= look["month"]).sum()


def test_the_last_analysis_is_that_of_the_trial_and_of_a_cut_at_its_last_month(trial, tables, found):
    spec = trial.endpoint(trial.interim.endpoint)
    last = found.looks.iloc[-1]
    for known in (tables, cut(tables, 1000.0)):
        table = spec.times(known["events"], known["patients"])
        ratio = survival.cox(table, "denosumab", "placebo", stratified=True)
        assert last["effect"] == pytest.approx(ratio["estimate"])
        assert last["p"] == pytest.approx(ratio["p"])
    assert last["share"] == 1


def test_a_benefit_has_a_positive_statistic(found):
    last = found.looks.iloc[-1]
    assert last["effect"] < 1
    assert last["z"] == pytest.approx(stats.norm.isf(last["p"] / 2))


def test_looks_that_can_not_be_tested_say_why_and_spend_nothing(found):
    never = found.looks[found.looks["due"] == "9999 hip"].iloc[0]
    assert "Never due" in never["note"]
    early = found.looks[found.looks["due"] == "1 mo"].iloc[0]
    assert early["note"]
    kept = found.looks[found.looks["boundary_z"].notna()]
    assert len(kept) == 3
    expected = interim.boundaries(kept["share"].to_list())
    assert kept["boundary_z"].to_numpy() == pytest.approx(expected["z"].to_numpy())


def test_the_outcome_is_that_of_the_first_crossing(found):
    out = found.outcome.iloc[0]
    first = found.looks[found.looks["decision"] == CROSSED].iloc[0]
    assert out["rejected"]
    assert (out["look"], out["month"]) == (first["look"], first["month"])
    assert out["p_adjusted"] <= 0.05
    assert out["p_adjusted"] >= out["p"]


def test_design_effects_nearer_to_none_give_less_conditional_power(trial, tables):
    strong, weak = (
        monitor(
            StudyTables(replace(trial, interim=replace(trial.interim, effect=effect)), {}, tables), adjusted=False
        ).looks
        for effect in (0.5, 0.9)
    )
    known = strong["power_design"].notna()
    assert (strong.loc[known, "power_design"] > weak.loc[known, "power_design"]).all()
    assert strong["power_trend"].equals(weak["power_trend"])


def test_tables_are_not_altered(trial, tables):
    before = {name: table.copy() for name, table in tables.items()}
    monitor(StudyTables(trial, {}, tables), adjusted=False)
    assert all(before[name].equals(table) for name, table in tables.items())


def test_without_a_plan_there_is_nothing_to_test(trial, tables):
    with pytest.raises(BadInput, match="no table \\[interim\\]"):
        monitor(StudyTables(replace(trial, interim=None), {}, tables))


def test_the_statistic_of_a_margin_is_the_distance_from_it(trial, tables):
    spec = replace(trial.endpoint(trial.interim.endpoint), margin=1.3)
    other = replace(trial, endpoints=[spec])
    last = monitor(StudyTables(other, {}, tables), adjusted=False).looks.iloc[-1]
    assert last["z"] == pytest.approx(-(np.log(last["effect"]) - np.log(1.3)) / last["effect_error"])
    assert spec.claim.upper == 1.3
    assert ON != last["decision"]


def test_a_futility_rule_that_does_not_bind_is_told_where_it_was_met():
    looks = pd.DataFrame(
        {"look": [1, 2, 3, 4], "decision": [report_monitoring.FUTILE, "goes on", report_monitoring.FUTILE, "x"]}
    )
    assert report_monitoring._advised(looks) == " The futility rule, which does not bind, was met at looks 1 and 3."
    assert report_monitoring._advised(looks[looks["look"] < 3]).endswith("was met at look 1.")
    assert report_monitoring._advised(looks[looks["look"] == 2]) == ""
