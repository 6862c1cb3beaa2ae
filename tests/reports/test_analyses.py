"""Statistics of `ranklsim.reports.analyses` against closed forms and published worked examples."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from scipy import stats

from ranklsim.cohorts.statistics import margins, multiplicity, proportions, rates, survival
from ranklsim.cohorts.statistics.ancova import ancova
from ranklsim.pkpd.errors import BadInput, RunFailed
from ranklsim.reports.analyses import interim, subgroups

RNG = np.random.default_rng(7)

# Remission in weeks of 42 children with leukaemia, 6-MP and placebo; a plus is a child still in remission.
# Freireich EJ et al. Blood 1963;21:699-716, as in Kalbfleisch and Prentice and most textbooks.
MP = "6 6 6 6+ 7 9+ 10 10+ 11+ 13 16 17+ 19+ 20+ 22 23 25+ 32+ 32+ 34+ 35+"
PLACEBO = "1 1 2 2 3 4 4 5 5 8 8 8 8 11 11 12 12 15 17 22 23"


def remission() -> pd.DataFrame:
    rows = [("mp", word) for word in MP.split()] + [("placebo", word) for word in PLACEBO.split()]
    frame = pd.DataFrame(rows, columns=["arm", "word"])
    return frame.assign(
        time=frame["word"].str.rstrip("+").astype(float), event=~frame["word"].str.endswith("+"), stratum="all"
    )


def patients_of(cells: dict[tuple[str, str], tuple[int, int]]) -> pd.DataFrame:
    """A row a patient from (stratum, arm): (events, n)."""
    parts = [pd.DataFrame({"stratum": s, "arm": a, "event": np.arange(n) < x}) for (s, a), (x, n) in cells.items()]
    return pd.concat(parts, ignore_index=True)


# University Group Diabetes Program: deaths under tolbutamide and placebo below and from 55 years of age on;
# Rothman KJ, Greenland S. Modern Epidemiology, table 15-1, with pooled risk difference 0.035 and ratio 1.33 (recalled).
UGDP = {
    ("<55", "tolbutamide"): (8, 106), ("<55", "placebo"): (5, 120),
    (">=55", "tolbutamide"): (22, 98), (">=55", "placebo"): (16, 85),
}  # fmt: skip


# -- proportions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "n", "method", "low", "high"),
    [(81, 263, "wilson", 0.2553, 0.3662), (15, 148, "wilson", 0.0624, 0.1605), (0, 20, "wilson", 0, 0.1611),
     (81, 263, "exact", 0.2527, 0.3676), (15, 148, "exact", 0.0578, 0.1617), (0, 20, "exact", 0, 0.1684)],
)  # fmt: skip
def test_intervals_of_a_share_are_those_of_newcombe_1998_table_1(x, n, method, low, high):
    found = proportions.proportion(x, n, method=method)
    assert found["low"] == pytest.approx(low, abs=6e-5)
    assert found["high"] == pytest.approx(high, abs=6e-5)


@pytest.mark.parametrize(
    ("method", "low", "high"), [("miettinen-nurminen", 0.0528, 0.3382), ("newcombe", 0.0524, 0.3339)]
)
def test_the_difference_56_of_70_minus_48_of_80_has_newcombes_published_intervals(method, low, high):
    found = proportions.risk_difference(56, 70, 48, 80, method=method)
    assert (found["low"], found["high"]) == pytest.approx((low, high), abs=6e-5)


def test_a_difference_without_any_event_has_an_interval_around_zero_and_p_1():
    found = proportions.risk_difference(0, 50, 0, 50)
    assert found["low"] < 0 < found["high"]
    assert found["low"] == pytest.approx(-found["high"])
    assert found["p"] == 1.0


def test_pooled_risks_of_the_ugdp_trial_are_those_of_the_textbook():
    table = patients_of(UGDP)
    difference = proportions.mantel_haenszel(table, "tolbutamide", "placebo", measure="risk difference")
    ratio = proportions.mantel_haenszel(table, "tolbutamide", "placebo", measure="risk ratio")
    assert difference["estimate"] == pytest.approx(0.035, abs=0.0006)
    assert ratio["estimate"] == pytest.approx(1.33, abs=0.006)


def test_in_a_single_stratum_the_pooled_ratio_is_the_crude_one_with_katz_interval():
    table = patients_of({("a", "drug"): (12, 100), ("a", "control"): (30, 110)})
    found = proportions.mantel_haenszel(table, "drug", "control", measure="risk ratio")
    crude = (12 / 100) / (30 / 110)
    error = np.sqrt(1 / 12 - 1 / 100 + 1 / 30 - 1 / 110)
    assert found["estimate"] == pytest.approx(crude)
    assert found["high"] == pytest.approx(crude * np.exp(1.959964 * error), rel=1e-6)


def test_in_a_single_stratum_the_pooled_difference_has_the_wald_interval():
    table = patients_of({("a", "drug"): (12, 100), ("a", "control"): (30, 110)})
    found = proportions.mantel_haenszel(table, "drug", "control", measure="risk difference")
    a, b = 0.12, 30 / 110
    error = np.sqrt(a * (1 - a) / 100 + b * (1 - b) / 110)
    assert found["estimate"] == pytest.approx(a - b)
    assert (found["high"] - found["low"]) / 2 == pytest.approx(1.959964 * error, rel=1e-6)


def test_the_odds_ratio_of_two_groups_is_the_cross_product_with_woolfs_interval():
    table = patients_of({("a", "drug"): (12, 100), ("a", "control"): (30, 110)})
    found = proportions.odds_ratio(table, "drug", "control")
    pooled = proportions.mantel_haenszel(table, "drug", "control", measure="odds ratio")
    crude = (12 / 88) / (30 / 80)
    error = np.sqrt(1 / 12 + 1 / 88 + 1 / 30 + 1 / 80)
    assert found["estimate"] == pytest.approx(crude, rel=1e-6)
    assert found["low"] == pytest.approx(crude * np.exp(-1.959964 * error), rel=1e-5)
    assert pooled["low"] == pytest.approx(found["low"], rel=1e-5)


def test_an_odds_ratio_that_is_not_finite_is_refused_in_a_sentence_and_so_is_an_empty_arm():
    table = patients_of({("a", "drug"): (0, 100), ("a", "control"): (30, 110)})
    with pytest.raises(RunFailed, match="no patient of drug had the event"):
        proportions.odds_ratio(table, "drug", "control")
    with pytest.raises(BadInput, match="no patient of other is left"):
        proportions.mantel_haenszel(table, "other", "control")


# -- time to event -----------------------------------------------------------------------------------------------------


def test_kaplan_meier_of_6_mp_has_the_textbook_steps_and_log_log_interval():
    own = remission().query("arm == 'mp'")
    curve = survival.kaplan_meier(own["time"], own["event"])
    for month, share in ((6, 0.857), (7, 0.807), (10, 0.753), (13, 0.690), (16, 0.627), (22, 0.538), (23, 0.448)):
        assert survival.at_month(curve, month)["estimate"] == pytest.approx(share, abs=6e-4)
    at_6 = survival.at_month(curve, 6)
    assert (at_6["low"], at_6["high"]) == pytest.approx((0.6197, 0.9516), abs=1e-4)  # as SAS prints it
    assert np.isnan(survival.at_month(curve, 36)["estimate"])


def test_numbers_at_risk_count_those_who_leave_at_the_month_itself():
    own = remission().query("arm == 'mp'")
    assert survival.numbers_at_risk(own["time"], [0, 6, 10, 35, 36]).tolist() == [21, 21, 15, 1, 0]


def test_log_rank_and_cox_of_6_mp_are_the_textbooks():
    table = remission()
    found = survival.log_rank(table, ["mp", "placebo"])
    assert found["chi2"] == pytest.approx(16.79, abs=0.005)
    ratio = survival.cox(table, "placebo", "mp")
    assert np.log(ratio["estimate"]) == pytest.approx(1.572, abs=0.001)  # Efron's ties


def test_stratified_log_rank_over_copies_of_a_trial_adds_up():
    table = remission()
    twice = pd.concat([table, table.assign(stratum="other", time=table["time"] * 3)], ignore_index=True)
    one = survival.log_rank(table, ["mp", "placebo"])["chi2"]
    assert survival.log_rank(twice, ["mp", "placebo"], stratified=True)["chi2"] == pytest.approx(2 * one)


def test_without_censoring_cumulative_incidence_is_a_share_with_the_binomial_error():
    time, cause = RNG.exponential(size=80), RNG.choice([1, 2], size=80, p=[0.3, 0.7])
    curve = survival.cumulative_incidence(time, cause)
    for row in curve.iloc[1:-3:7].itertuples():
        share = np.mean((time <= row.month) & (cause == 1))
        assert row.estimate == pytest.approx(share)
        assert row.std_error == pytest.approx(np.sqrt(share * (1 - share) / 80), abs=1e-12)


def test_without_a_competing_event_incidence_and_survival_add_up_to_one_and_share_greenwoods_error():
    own = remission().query("arm == 'mp'")
    curve = survival.cumulative_incidence(own["time"], own["event"].astype(int))
    survived = survival.kaplan_meier(own["time"], own["event"])
    for month in (6, 10, 22, 30):
        here, there = survival.at_month(curve, month), survival.at_month(survived, month)
        assert here["estimate"] == pytest.approx(1 - there["estimate"])
        assert here["std_error"] == pytest.approx(there["std_error"])


def test_incidences_of_all_causes_and_survival_add_up_to_one():
    time, cause = RNG.exponential(size=200), RNG.choice([0, 1, 2], size=200)
    parts = [survival.at_month(survival.cumulative_incidence(time, cause, of=k), 1.0)["estimate"] for k in (1, 2)]
    none = survival.at_month(survival.kaplan_meier(time, cause > 0), 1.0)["estimate"]
    assert sum(parts) + none == pytest.approx(1.0)


def test_cox_without_events_in_an_arm_says_so():
    table = remission()
    table.loc[table["arm"] == "mp", "event"] = False
    with pytest.raises(RunFailed, match="no patient of mp had the event"):
        survival.cox(table, "mp", "placebo")


# -- rates -------------------------------------------------------------------------------------------------------------


def test_with_equal_times_at_risk_the_rate_ratio_is_that_of_the_mean_counts():
    counts = {"drug": RNG.negative_binomial(1.0, 0.4, 300), "control": RNG.negative_binomial(1.0, 0.25, 300)}
    table = pd.concat([pd.DataFrame({"arm": arm, "count": c, "years": 3.0}) for arm, c in counts.items()])
    found = rates.rate_ratio(table, "drug", "control")
    assert found["estimate"] == pytest.approx(counts["drug"].mean() / counts["control"].mean(), rel=1e-3)
    assert found["method"] == "negative binomial"
    a = found["dispersion"]
    error = np.sqrt(sum((1 / c.mean() + a) / 300 for c in counts.values()))  # of the NB2 with a mean of each group
    assert np.log(found["high"] / found["estimate"]) == pytest.approx(1.959964 * error, rel=0.01)


def test_without_overdispersion_the_poisson_limit_is_taken_with_its_closed_form():
    table = pd.DataFrame({"arm": ["drug"] * 50 + ["control"] * 50, "years": np.tile([1.0, 2.0], 50)})
    table["count"] = np.tile([0, 1], 50)
    found = rates.rate_ratio(table, "drug", "control")
    assert str(found["method"]).startswith("Poisson")
    assert found["estimate"] == pytest.approx(1.0)
    assert np.log(found["high"]) == pytest.approx(1.959964 * np.sqrt(1 / 25 + 1 / 25), rel=1e-6)


# -- ANCOVA ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("robust", [False, True])
def test_ancova_with_covariates_agrees_with_statsmodels_formulas(robust):
    n = 120
    table = pd.DataFrame({"arm": np.repeat(["a", "b"], n // 2), "baseline": RNG.normal(size=n)})
    table["stratum"], table["age"] = np.tile(["x", "y", "z"], n // 3), RNG.normal(70, 5, n)
    table["value"] = table["baseline"] + 0.1 * table["age"] + (table["arm"] == "b") + RNG.normal(size=n)
    row = ancova(table, ["a", "b"], "a", ["age"], robust=robust)[1]
    fit = smf.ols("value ~ arm + baseline + stratum + age", table).fit(**({"cov_type": "HC3"} if robust else {}))
    assert row["difference"] == pytest.approx(fit.params["arm[T.b]"])
    half = stats.t.ppf(0.975, fit.df_resid) * fit.bse["arm[T.b]"]
    assert row["difference_high"] == pytest.approx(fit.params["arm[T.b]"] + half)


# -- margins, subgroups ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "options", "words"),
    [
        (0.2, 1.0, {}, "superior to control"),
        (-0.8, 0.3, {"margin": 1.0}, "non-inferior to control; superiority not shown"),
        (-0.8, -0.3, {"margin": 1.0}, "non-inferior to control, though worse"),
        (0.1, 0.3, {"margin": 1.0}, "non-inferior to control, and superior"),
        (-1.2, 0.3, {"margin": 1.0}, "non-inferiority not shown"),
        (-3.2, -1.3, {"margin": 1.0}, "inferior to control by more than the margin"),
        (0.5, 0.9, {"ratio": True, "higher_is_better": False}, "superior to control"),
        (0.8, 1.2, {"ratio": True, "higher_is_better": False, "margin": 1.3},
         "non-inferior to control; superiority not shown"),
        (0.8, 1.4, {"ratio": True, "higher_is_better": False, "margin": 1.3}, "non-inferiority not shown"),
        (0.8, 1.2, {"ratio": True, "margin": 1.3}, "non-inferior to control; superiority not shown"),
    ],
)  # fmt: skip
def test_conclusions_follow_from_where_the_interval_lies(low, high, options, words):
    assert margins.conclusion(low, high, **options) == words


def test_interaction_p_of_two_subgroups_is_the_z_test_of_their_difference():
    rows = pd.DataFrame({"estimate": [1.0, 2.0], "low": [0.5, 1.2], "high": [1.5, 2.8]})
    z = 1.0 / np.hypot(0.5 / 1.959964, 0.8 / 1.959964)
    assert subgroups.heterogeneity(rows) == pytest.approx(2 * stats.norm.sf(z), rel=1e-5)


def test_a_subgroup_in_which_an_arm_has_nobody_says_so_and_the_others_stay():
    table = pd.DataFrame({"patient": range(6), "arm": ["a", "a", "b", "b", "b", "b"], "event": [1, 0, 1, 0, 0, 0]})
    label = pd.Series(pd.Categorical(["x", "x", "x", "x", "y", "y"]), index=range(6))

    def effect(own):
        return proportions.mantel_haenszel(own.assign(stratum=""), "a", "b", measure="risk difference")

    found = subgroups.forest(table, "a", "b", {"factor": label}, effect).set_index("level")
    assert "no patient of a" in found.loc["y", "note"]
    assert np.isfinite(found.loc["x", "estimate"])


# -- multiplicity ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_graph_that_shares_alpha_equally_is_holms_procedure():
    for _ in range(20):
        p, n = RNG.uniform(0, 0.1, 4), 4
        even = (np.ones((n, n)) - np.eye(n)) / (n - 1)
        assert multiplicity.graphical(p, [1 / n] * n, even) == pytest.approx(multiplicity.adjusted(p, "Holm"))


def test_a_graph_that_is_a_chain_is_the_fixed_sequence():
    p = [0.01, 0.04, 0.002, 0.2]
    assert multiplicity.graphical(p, [1, 0, 0, 0], np.eye(4, k=1)) == pytest.approx([0.01, 0.04, 0.04, 0.2])
    assert multiplicity.adjusted(p, "fixed sequence") == pytest.approx([0.01, 0.04, 0.04, 0.2])


def test_two_doses_and_two_endpoints_by_the_graph_of_bretz_2009_worked_by_hand():
    # Each dose's primary passes half of its alpha to the other primary and half to its secondary, which passes all on
    # to the other dose's primary. H1 at p/w = 0.01/0.5; H2 then has weight 0.75, H3 0.25.
    moves = [[0, 0.5, 0.5, 0], [0.5, 0, 0, 0.5], [0, 1, 0, 0], [1, 0, 0, 0]]
    found = multiplicity.graphical([0.01, 0.03, 0.004, 0.5], [0.5, 0.5, 0, 0], moves)
    # After H1: w2 = 0.5 + 0.5*0.5 = 0.75, w3 = 0.25. H3: 0.004/0.25 = 0.016 < 0.02, so that 0.02 stands. After H3 the
    # weight of H3 goes to H2: 1. H2: 0.03/1. After H2, H4 has all that is left: 0.5/1.
    assert found == pytest.approx([0.02, 0.03, 0.02, 0.5])


def test_a_hypothesis_that_could_not_be_tested_stops_a_fixed_sequence():
    assert multiplicity.adjusted([0.01, np.nan, 0.001], "fixed sequence").tolist() == [0.01, 1.0, 1.0]


def test_hochberg_rejects_all_where_the_largest_p_is_below_alpha():
    assert (multiplicity.adjusted([0.049, 0.045, 0.04], "Hochberg") <= 0.05).all()


# -- interim looks -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "published"),
    [("O'Brien-Fleming", [4.8769, 3.3569, 2.6803, 2.2898, 2.0310]),
     ("Pocock", [2.4380, 2.4268, 2.4101, 2.3966, 2.3859])],
)  # fmt: skip
def test_boundaries_of_five_equal_looks_are_the_published_ones_of_lan_and_demets(kind, published):
    # As the program of Reboussin, DeMets, Kim and Lan prints them (Control Clin Trials 2000;21:190-207; recalled).
    found = interim.boundaries([0.2, 0.4, 0.6, 0.8, 1.0], alpha=0.05, kind=kind)
    assert found["z"].to_numpy() == pytest.approx(published, abs=2e-4)
    assert found["alpha_spent"].iloc[-1] == pytest.approx(0.05)


def test_one_look_at_the_end_is_the_plain_test():
    assert interim.boundaries([1.0])["z"].iloc[0] == pytest.approx(1.959964, abs=1e-6)
