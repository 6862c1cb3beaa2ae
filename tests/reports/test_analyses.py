"""Statistics of `ranklsim.reports.analyses` against closed forms.

Published worked examples are requirements of `ranklsim qualify` (`tests/reports/test_qualify.py`).
"""

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from scipy import optimize, stats
from statsmodels.stats.contingency_tables import StratifiedTable

from ranklsim.cohorts.statistics import claims, competing, multiplicity, proportions, rates, survival
from ranklsim.cohorts.statistics.ancova import ancova
from ranklsim.pkpd.errors import BadInput
from ranklsim.reports.analyses import interim, subgroups
from ranklsim.reports.qualify.statistics import UGDP, patients_of, remission

RNG = np.random.default_rng(7)

# -- proportions -------------------------------------------------------------------------------------------------------


def test_a_difference_without_any_event_has_an_interval_around_zero_and_p_1():
    found = proportions.risk_difference(0, 50, 0, 50)
    assert found["low"] < 0 < found["high"]
    assert found["low"] == pytest.approx(-found["high"])
    assert found["p"] == 1.0


@pytest.mark.parametrize("measure", proportions.MEASURES)
def test_the_score_of_no_effect_is_the_test_of_cochran_mantel_and_haenszel(measure):
    table = patients_of(UGDP)
    found = proportions.mantel_haenszel(table, "tolbutamide", "placebo", measure=measure)
    tables = [[[8, 98], [5, 115]], [[22, 76], [16, 69]]]
    expected = StratifiedTable([np.array(t) for t in tables]).test_null_odds().pvalue
    assert found["p"] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("measure", proportions.MEASURES)
@pytest.mark.parametrize("cells", [(0, 10), (10, 10), (3, 10), (0, 1)])
@pytest.mark.parametrize("others", [(0, 10), (10, 10), (5, 12), (1, 1)])
def test_a_score_interval_has_a_width_and_holds_no_effect_exactly_where_p_is_above_its_level(measure, cells, others):
    found = proportions.mantel_haenszel(
        patients_of({("a", "drug"): cells, ("a", "control"): others}), "drug", "control", measure=measure
    )
    none = 1.0 if measure == "risk ratio" else 0.0
    assert found["low"] < found["high"]
    assert (found["low"] <= none <= found["high"]) == (found["p"] > 0.05)


def test_the_odds_ratio_of_two_groups_is_the_cross_product_with_woolfs_interval():
    table = patients_of({("a", "drug"): (12, 100), ("a", "control"): (30, 110)})
    found = proportions.odds_ratio(table, "drug", "control")
    crude = (12 / 88) / (30 / 80)
    error = np.sqrt(1 / 12 + 1 / 88 + 1 / 30 + 1 / 80)
    assert found["estimate"] == pytest.approx(crude, rel=1e-6)
    assert found["low"] == pytest.approx(crude * np.exp(-1.959964 * error), rel=1e-5)


def test_without_an_event_in_an_arm_the_odds_ratio_is_0_with_a_limit_by_profile_likelihood_and_a_score_test():
    table = patients_of({("a", "drug"): (0, 100), ("a", "control"): (30, 110)})
    found = proportions.odds_ratio(table, "drug", "control")
    assert (found["estimate"], found["low"]) == (0.0, 0.0)
    assert found["p"] == pytest.approx(stats.chi2.sf(210 * (30 * 100) ** 2 / (100 * 110 * 30 * 180), 1))  # Pearson
    p0 = 30 / 110
    most = 110 * (p0 * np.log(p0) + (1 - p0) * np.log(1 - p0))

    def likelihood(odds):
        def at(base):
            return -(30 * base - 110 * np.logaddexp(0, base) - 100 * np.logaddexp(0, base + np.log(odds)))

        return -optimize.minimize_scalar(at, bounds=(-8, 4), method="bounded", options={"xatol": 1e-10}).fun

    assert 2 * (most - likelihood(found["high"])) == pytest.approx(stats.chi2.ppf(0.95, 1), rel=1e-4)


def test_without_any_event_a_ratio_is_not_estimable_and_shows_nothing():
    table = patients_of({("a", "drug"): (0, 100), ("a", "control"): (0, 110)})
    for found in (
        proportions.odds_ratio(table, "drug", "control"),
        proportions.mantel_haenszel(table, "drug", "control"),
        survival.cox(table.assign(time=1.0), "drug", "control"),
        survival.log_rank_ratio(table.assign(time=1.0), "drug", "control"),
        rates.rate_ratio(table.assign(count=0, years=1.0), "drug", "control"),
    ):
        effect = claims.Effect.of("risk ratio", {"method": ""} | found)
        assert (np.isnan(effect.value), effect.low, effect.high, effect.p) == (True, 0.0, np.inf, 1.0)
        assert not claims.Claim("non-inferiority", None, 1.3).shown(effect)


def test_a_stratum_of_one_arm_alone_does_not_keep_the_other_strata_from_a_limit():
    table = patients_of({("a", "drug"): (5, 5), ("a", "control"): (1, 4), ("b", "drug"): (3, 3)})
    alone = proportions.odds_ratio(table[table["stratum"] == "a"], "drug", "control")
    both = proportions.odds_ratio(table, "drug", "control")
    assert both["estimate"] == np.inf
    assert both["low"] == pytest.approx(alone["low"], rel=1e-4)


def test_an_arm_without_patients_is_refused():
    with pytest.raises(BadInput, match="no patient of other is left"):
        proportions.mantel_haenszel(patients_of({("a", "control"): (30, 110)}), "other", "control")


@pytest.mark.parametrize("ratio", [False, True])
def test_incidences_without_any_event_have_the_interval_of_the_score_and_no_claim(ratio):
    table = pd.DataFrame({"arm": ["A"] * 10 + ["B"] * 10, "time": 36.0, "cause": 0})
    found = survival.incidence_contrast(table, "A", "B", 36.0, ratio=ratio)
    assert (found["low"], found["high"]) == ((0, np.inf) if ratio else pytest.approx((-0.288, 0.288), abs=5e-4))
    assert found["p"] == 1.0


def test_incidences_of_all_against_none_are_those_of_the_score():
    table = pd.DataFrame({"arm": ["A"] * 10 + ["B"] * 10, "time": 36.0, "cause": [1] * 10 + [0] * 10})
    found = survival.incidence_contrast(table, "A", "B", 36.0)
    assert {name: found[name] for name in ("low", "high", "p")} == pytest.approx(
        {name: proportions.risk_difference(10, 10, 0, 10)[name] for name in ("low", "high", "p")}
    )
    assert found["low"] < 0.7


# -- time to event -----------------------------------------------------------------------------------------------------


def test_numbers_at_risk_count_those_who_leave_at_the_month_itself():
    own = remission().query("arm == 'mp'")
    assert survival.numbers_at_risk(own["time"], [0, 6, 10, 35, 36]).tolist() == [21, 21, 15, 1, 0]


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


def test_the_log_rank_ratio_of_6_mp_has_the_p_of_the_log_rank_test_and_nearly_the_ratio_of_cox():
    table = remission()
    found = survival.log_rank_ratio(table, "placebo", "mp")
    assert found["p"] == pytest.approx(survival.log_rank(table, ["mp", "placebo"])["p"])
    assert np.log(found["estimate"]) == pytest.approx(1.509, abs=0.02)  # Breslow's ties
    for end in ("low", "high"):
        assert abs(found["z"](found[end])) == pytest.approx(1.959964, abs=1e-6)


def test_20_of_200_against_none_have_a_hazard_ratio_of_0_with_a_limit_and_a_p():
    time = np.concatenate([np.full(200, 36.0), np.linspace(1, 35, 20), np.full(180, 36.0)])
    cause = np.concatenate([np.zeros(200, int), np.ones(20, int), np.zeros(180, int)])
    table = pd.DataFrame({"arm": ["drug"] * 200 + ["placebo"] * 200, "time": time, "cause": cause, "stratum": "all"})
    table["event"] = table["cause"] == 1
    risk = 200 - np.arange(20)

    def drop(ratio):  # of the log partial likelihood from a ratio of 0
        return np.log1p(200 * ratio / risk).sum()

    high = optimize.brentq(lambda ratio: 2 * drop(ratio) - stats.chi2.ppf(0.95, 1), 1e-4, 1)
    p = survival.log_rank(table, ["drug", "placebo"])["p"]
    assert p == pytest.approx(5e-6, rel=0.2)
    gray = competing.gray(table, ["drug", "placebo"])["p"]
    for method, tested in ((survival.cox, p), (competing.fine_gray, gray)):
        found = method(table, "drug", "placebo", stratified=True)
        assert (found["estimate"], found["low"]) == (0.0, 0.0)
        assert found["high"] == pytest.approx(high, rel=1e-6)
        assert found["p"] == pytest.approx(tested)
    other = survival.cox(table, "placebo", "drug", stratified=True)
    assert other["estimate"] == np.inf
    assert other["low"] == pytest.approx(1 / high, rel=1e-6)


def test_the_interval_of_an_incidence_is_on_the_scale_log_log_of_the_incidence_itself():
    time, cause = np.arange(1.0, 41.0), np.array([1, 2, 0, 0] * 10)
    at = survival.at_month(survival.cumulative_incidence(time, cause), 30.0)
    share, half = at["estimate"], 1.959964 * at["std_error"] / (at["estimate"] * abs(np.log(at["estimate"])))
    assert (at["low"], at["high"]) == pytest.approx((share ** np.exp(half), share ** np.exp(-half)), rel=1e-6)


# -- rates -------------------------------------------------------------------------------------------------------------


def test_with_equal_times_at_risk_the_rate_ratio_is_that_of_the_mean_counts():
    counts = {"drug": RNG.negative_binomial(1.0, 0.4, 300), "control": RNG.negative_binomial(1.0, 0.25, 300)}
    table = pd.concat([pd.DataFrame({"arm": arm, "count": c, "years": 3.0}) for arm, c in counts.items()])
    found = rates.rate_ratio(table, "drug", "control")
    assert found["estimate"] == pytest.approx(counts["drug"].mean() / counts["control"].mean(), rel=1e-3)
    assert found["method"] == "negative binomial"
    a = found["dispersion_of_error"]
    error = np.sqrt(sum((1 / c.mean() + a) / 300 for c in counts.values()))  # of the NB2 with a mean of each group
    assert found["std_error"] == pytest.approx(error, rel=1e-9)
    assert np.log(found["high"] / found["estimate"]) == pytest.approx(stats.t.ppf(0.975, 598) * error, rel=1e-9)
    assert found["dispersion"] < a < 1.02 * found["dispersion"]  # many patients


def test_in_a_small_trial_the_error_of_a_rate_ratio_is_that_of_the_adjusted_profile_likelihood():
    """R 4: MASS::glm.nb, and glm with negative.binomial(1/a) at the a at which optimize finds the adjusted maximum."""
    counts = [0, 1, 0, 10, 6, 0, 1, 1, 4, 2, 0, 3, 3, 1, 2, 0, 1, 3, 2, 0, 0, 0, 4, 6]
    years = np.ones(24)
    years[[0, 1, 9, 10, 13, 14, 15, 18, 22]] = [1.25, 1.52, 0.91, 0.58, 0.74, 0.51, 1.28, 0.63, 1.01]
    table = pd.DataFrame({"arm": np.repeat(["a", "b"], 12), "stratum": np.tile(["x", "y"], 12)})
    found = rates.rate_ratio(table.assign(count=counts, years=years), "b", "a")
    assert np.log(found["estimate"]) == pytest.approx(-0.11852342843, rel=1e-8)
    assert found["dispersion"] == pytest.approx(1.050459735, rel=1e-7)
    assert found["dispersion_of_error"] == pytest.approx(1.346795757, rel=1e-6)
    assert found["std_error"] == pytest.approx(0.5530642814, rel=1e-7)
    assert (found["p"], found["low"], found["high"]) == pytest.approx(
        (0.832377881, 0.2812015618, 2.805654116), rel=1e-6
    )


def test_a_stratum_without_events_says_nothing_of_a_ratio():
    silent = pd.DataFrame({"arm": ["a"] * 4 + ["b"] * 5, "count": 0, "years": 1.0, "stratum": "z", "event": False})
    table = pd.DataFrame({"arm": ["a"] * 20 + ["b"] * 20, "years": 1.0, "stratum": ["x", "y"] * 20})
    table["count"] = [0, 1, 2, 0, 3] * 4 + [0, 0, 1, 0, 1] * 4
    table["event"] = table["count"] > 0
    more = pd.concat([table, silent], ignore_index=True)
    full = pd.concat([table, silent.assign(event=True)], ignore_index=True)
    assert rates.rate_ratio(more, "a", "b") == pytest.approx(rates.rate_ratio(table, "a", "b"))
    alone = pd.concat([table[table["arm"] == "a"], silent], ignore_index=True)  # nowhere are both arms together
    assert np.isnan(rates.rate_ratio(alone, "a", "b")["estimate"])
    assert proportions.odds_ratio(alone, "a", "b")["p"] == 1.0
    for other in (more, full):
        assert proportions.odds_ratio(other, "a", "b") == pytest.approx(proportions.odds_ratio(table, "a", "b"))


@pytest.mark.slow
def test_a_rate_ratio_of_few_patients_holds_its_level():
    """Eight patients an arm, a mean of 3 and dispersion of 1.5: over 2,000 studies 5.3 %, and 9.5 % by Wald's test."""
    rng, wrong = np.random.default_rng(20), np.zeros(2)
    table = pd.DataFrame({"arm": np.repeat(["a", "b"], 8), "years": 1.0})
    for _ in range(400):
        counts = rng.negative_binomial(1 / 1.5, 1 / 5.5, (2, 8))
        found = rates.rate_ratio(table.assign(count=counts.ravel()), "b", "a")
        error = np.sqrt((1 / counts.mean(axis=1) + found["dispersion"]).sum() / 8)
        wrong += found["p"] < 0.05, abs(np.log(found["estimate"])) > 1.96 * error
    assert wrong[0] < 0.07 * 400
    assert wrong[1] > 1.3 * wrong[0]


def test_without_overdispersion_the_poisson_limit_is_taken_with_its_closed_form():
    table = pd.DataFrame({"arm": ["drug"] * 50 + ["control"] * 50, "years": np.tile([1.0, 2.0], 50)})
    table["count"] = np.tile([0, 1], 50)
    found = rates.rate_ratio(table, "drug", "control")
    assert str(found["method"]).startswith("Poisson")
    assert found["estimate"] == pytest.approx(1.0)
    assert np.log(found["high"]) == pytest.approx(stats.t.ppf(0.975, 98) * np.sqrt(1 / 25 + 1 / 25), rel=1e-6)


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


def test_a_covariate_that_repeats_another_is_left_out_alone_and_named():
    n = 60
    table = pd.DataFrame({"arm": np.repeat(["a", "b"], n // 2), "baseline": RNG.normal(size=n)})
    table["stratum"], table["age"] = np.tile(["x", "y"], n // 2), RNG.normal(70, 5, n)
    table["group"] = 5.0 * (table["stratum"] == "y") - 2.0
    table["value"] = table["baseline"] + (table["arm"] == "b") + RNG.normal(size=n)
    with_it, without = (ancova(table, ["a", "b"], "a", names)[1] for names in (["age", "group"], ["age"]))
    assert with_it["difference_std_error"] == pytest.approx(without["difference_std_error"])
    assert with_it["note"] == ("The data do not determine group beside the other terms, so the model leaves group out.")
    assert without["note"] == ""
    assert without["difference_df"] == n - 5


def test_patients_who_are_all_alike_give_no_interval():
    table = pd.DataFrame({"arm": ["a", "a", "b", "b"], "value": [1.0, 1.0, 3.0, 3.0], "baseline": 1.0, "stratum": ""})
    row = ancova(table, ["a", "b"], "a")[1]
    assert row["difference"] == 2.0
    assert np.isnan([row["difference_low"], row["difference_high"], row["p"]]).all()


# -- claims, subgroups -------------------------------------------------------------------------------------------------


def claim_of(margin=None, ratio=False, better=True):
    """A claim as an endpoint makes it."""
    if margin is None:
        return claims.Claim.superiority(ratio=ratio, higher_is_better=better)
    worst = (1 / margin if better else margin) if ratio else -margin if better else margin
    return claims.Claim(claims.NON_INFERIORITY, worst if better else None, None if better else worst)


def effect_of(low, high, ratio=False, df=np.inf):
    """An effect with a symmetric interval."""
    ends = np.log([low, high]) if ratio else np.array([low, high])
    centre, error = ends.mean(), np.ptp(ends) / 2 / stats.t.ppf(0.975, df)
    return claims.Effect("ratio" if ratio else "difference", np.exp(centre) if ratio else centre, low, high, error, df)


@pytest.mark.parametrize("df", [3.0, np.inf])
@pytest.mark.parametrize(
    ("low", "high", "options", "words"),
    [
        (0.2, 1.0, {}, "superior"),
        (-0.2, 1.0, {}, "superiority not shown"),
        (-1.0, -0.2, {}, "inferior"),
        (-0.8, 0.3, {"margin": 1.0}, "non-inferior; superiority not shown"),
        (-0.8, -0.3, {"margin": 1.0}, "non-inferior, though worse"),
        (0.1, 0.3, {"margin": 1.0}, "non-inferior, and superior"),
        (-1.2, 0.3, {"margin": 1.0}, "non-inferiority not shown"),
        (-3.2, -1.3, {"margin": 1.0}, "inferior by more than the margin"),
        (0.5, 0.9, {"ratio": True, "better": False}, "superior"),
        (0.8, 1.2, {"ratio": True, "better": False, "margin": 1.3}, "non-inferior; superiority not shown"),
        (0.8, 1.4, {"ratio": True, "better": False, "margin": 1.3}, "non-inferiority not shown"),
        (0.8, 1.2, {"ratio": True, "margin": 1.3}, "non-inferior; superiority not shown"),
    ],
)  # fmt: skip
def test_conclusions_follow_from_where_the_interval_lies(low, high, options, words, df):
    claim, effect = claim_of(**options), effect_of(low, high, options.get("ratio", False), df)
    assert claim.conclusion(effect) == words
    shown = words.startswith(("superior", "non-inferior")) and not words.startswith(claims.not_shown(claim.kind))
    assert (claim.p(effect) <= 0.05) == shown


@pytest.mark.parametrize(
    ("low", "high", "margin", "shown", "words"),
    [
        (-1.0, -0.2, None, False, "inferior; superiority not shown (p 1.000)"),
        (-0.2, 1.0, None, False, "superiority not shown (p 1.000)"),
        (0.2, 1.0, None, True, "superior (p 1.000)"),
        (-0.8, -0.3, 1.0, True, "non-inferior, though worse (p 1.000)"),
        (-3.2, -1.3, 1.0, False, "inferior by more than the margin; non-inferiority not shown (p 1.000)"),
    ],
)
def test_harm_is_told_where_a_procedure_over_several_hypotheses_decides(low, high, margin, shown, words):
    claim, effect = claim_of(margin=margin), effect_of(low, high)
    assert claim.decided(shown, "p 1.000", claim.conclusion(effect)) == words


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [(-1.0, 1.2, "equivalent"), (-1.0, 1.6, "equivalence not shown"), (1.6, 2.0, "not equivalent"),
     (-2.0, -1.6, "not equivalent"), (-2.0, 2.0, "equivalence not shown")],
)  # fmt: skip
def test_equivalence_is_shown_where_the_whole_interval_lies_between_its_margins(low, high, words):
    assert claims.Claim(claims.EQUIVALENCE, -1.5, 1.5).conclusion(effect_of(low, high)) == words


def test_equivalence_by_two_one_sided_tests_at_5_percent_is_the_90_percent_interval():
    claim, effect = claims.Claim(claims.EQUIVALENCE, 0.8, 1.25, 0.9), effect_of(0.79, 1.2, ratio=True, df=20.0)
    low, high = effect.interval(0.9)
    assert claim.shown(effect) == (0.8 < low and high < 1.25)


def test_the_p_of_a_claim_is_twice_the_one_sided_one_of_the_analysis_own_distribution():
    effect = claims.Effect("difference", 1.5, -1.0, 4.0, error=0.7, df=7.0)
    p = 2 * stats.t.sf(1.5 / 0.7, 7)
    assert claim_of().p(effect) == pytest.approx(p)
    assert claim_of(margin=1.0).p(effect) == pytest.approx(2 * stats.t.sf(2.5 / 0.7, 7))
    assert claim_of(better=False).p(effect) == 1.0  # harm


def test_interaction_p_of_two_subgroups_is_the_z_test_of_their_difference_by_their_own_errors():
    rows = pd.DataFrame({"estimate": [1.0, 2.0], "std_error": [0.25, 0.4]})
    z = 1.0 / np.hypot(0.25, 0.4)
    assert subgroups.heterogeneity(rows) == pytest.approx(2 * stats.norm.sf(z), rel=1e-12)


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


@pytest.mark.parametrize(
    ("method", "name"), [("Bonferroni", "bonferroni"), ("Holm", "holm"), ("Hochberg", "simes-hochberg")]
)
def test_adjusted_p_values_are_those_of_statsmodels(method, name):
    from statsmodels.stats.multitest import multipletests

    for n in range(1, 7):
        p = np.round(RNG.uniform(0, 1, n) ** 3, 2)  # with ties
        assert multiplicity.adjusted(p, method) == pytest.approx(multipletests(p, method=name)[1], rel=1e-14)


def test_a_graph_that_is_a_chain_is_the_fixed_sequence():
    p = [0.01, 0.04, 0.002, 0.2]
    assert multiplicity.graphical(p, [1, 0, 0, 0], np.eye(4, k=1)) == pytest.approx([0.01, 0.04, 0.04, 0.2])
    assert multiplicity.adjusted(p, "fixed sequence") == pytest.approx([0.01, 0.04, 0.04, 0.2])


def test_a_hypothesis_that_could_not_be_tested_stops_a_fixed_sequence():
    assert multiplicity.adjusted([0.01, np.nan, 0.001], "fixed sequence").tolist() == [0.01, 1.0, 1.0]


def test_hochberg_rejects_all_where_the_largest_p_is_below_alpha():
    assert (multiplicity.adjusted([0.049, 0.045, 0.04], "Hochberg") <= 0.05).all()


# -- interim looks -----------------------------------------------------------------------------------------------------


def test_one_look_at_the_end_is_the_plain_test():
    assert interim.boundaries([1.0])["z"].iloc[0] == pytest.approx(1.959964, abs=1e-6)


def test_few_events_are_compared_exactly_as_poisson_counts_given_their_sum():
    from scipy.stats import binomtest

    table = pd.DataFrame({"arm": ["a"] * 100 + ["b"] * 100, "count": 0, "years": [1.9] * 100 + [2.0] * 100})
    table.loc[[3, 4, 150, 151, 152], "count"] = 1
    found = rates.rate_ratio(table, "a", "b")
    inside = binomtest(2, 5, 190 / 390).proportion_ci(0.95, "exact")
    ends = [end / (1 - end) * 200 / 190 for end in inside]
    assert found["method"] == "exact, of Poisson counts given their sum of 5"
    assert (found["low"], found["high"]) == pytest.approx(tuple(ends))  # 0.059 to 6.126, as poisson.test of R
    assert [found["z"](end) for end in ends] == pytest.approx([1.959964, -1.959964], rel=1e-5)
    table.loc[[3, 4], "count"] = 0
    none = rates.rate_ratio(table, "a", "b")
    assert (none["estimate"], none["low"]) == (0.0, 0.0)
    assert none["high"] == pytest.approx((1 - 0.025 ** (1 / 3)) / 0.025 ** (1 / 3) * 200 / 190)
