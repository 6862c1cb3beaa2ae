"""Statistics of the report against closed forms, hand calculations and scipy."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ranklsim.cohorts.durability import crossing_month
from ranklsim.cohorts.endpoints import Change, Durability
from ranklsim.cohorts.endpoints.durability import lasting
from ranklsim.cohorts.statistics import durability, summaries, tails
from ranklsim.reports.analyses import baseline
from ranklsim.reports.csr import unknowns
from ranklsim.reports.sensitivity.analyse import rank_correlations

ARMS = ["a", "b"]


def long(arms: dict[str, np.ndarray], months: list[float], measure: str = "BMD_LS") -> pd.DataFrame:
    """Visits in long form from one (patients x months) array an arm."""
    rows = []
    start = 0
    for arm, values in arms.items():
        for k, patient in enumerate(values):
            for month, value in zip(months, patient, strict=True):
                rows.append({"patient": start + k + 1, "arm": arm, "month": month, measure: value})
        start += len(values)
    return pd.DataFrame(rows)


def test_tails_and_quantiles_are_those_of_scipy_to_the_last_bit():
    for df, x in product((1, 2, 7), (0.0, 0.3, 4.0, 80.0)):
        assert tails.chi2_tail(x, df) == stats.chi2.sf(x, df)
    for df, q in product((1, 4, 2000), (0.01, 0.5, 0.975)):
        assert tails.chi2_quantile(q, df) == stats.chi2.ppf(q, df)
    assert np.isnan(tails.chi2_tail(1.0, 0))


@pytest.mark.parametrize("n", [1, 5, 6, 7, 50, 333])
def test_the_interval_of_a_median_takes_the_ranks_of_the_binomial_distribution(n):
    rank = int(stats.binom.ppf(0.025, n, 0.5))
    known = (float(rank), float(n + 1 - rank)) if rank else (np.nan, np.nan)
    assert summaries.median_interval(np.arange(n, 0, -1.0)) == pytest.approx(known, nan_ok=True)


def test_percent_change_is_of_the_patients_own_baseline_and_missing_visits_drop_out():
    visits = long({"a": np.array([[1.0, 1.1], [0.5, np.nan]]), "b": np.array([[np.nan, 2.0]])}, [0.0, 12.0])
    change = summaries.change_from(visits, "BMD_LS")
    assert change[change["month"] == 12]["value"].tolist() == pytest.approx([10.0])
    assert set(change["patient"]) == {1, 2}


def test_change_can_start_at_a_later_month():
    visits = long({"a": np.array([[1.0, 1.1, 0.99]])}, [0.0, 24.0, 48.0])
    change = summaries.change_from(visits, "BMD_LS", 24.0)
    assert change.set_index("month")["value"][48.0] == pytest.approx(-10.0)


def test_the_interval_of_a_mean_is_students():
    x = np.array([1.0, 2.0, 4.0, 8.0])
    got = summaries.mean_interval(x)
    low, high = stats.t.interval(0.95, 3, x.mean(), stats.sem(x))
    assert (got["ci_low"], got["ci_high"]) == pytest.approx((low, high))


def test_one_patient_has_a_mean_and_no_interval():
    got = summaries.mean_interval(np.array([3.0, np.nan]))
    assert got["n"] == 1
    assert got["mean"] == 3.0
    assert np.isnan(got["ci_low"])


def test_the_difference_of_means_is_welchs():
    rng = np.random.default_rng(1)
    a, b = rng.normal(5, 1, 30), rng.normal(4, 3, 12)
    got = summaries.welch_difference(a, b)
    test = stats.ttest_ind(a, b, equal_var=False)
    reference = test.confidence_interval()
    assert (got["difference_low"], got["difference_high"]) == pytest.approx((reference.low, reference.high))
    assert got["p"] == pytest.approx(test.pvalue)


def test_the_difference_between_arms_of_patients_who_are_all_alike_has_no_interval():
    got = summaries.welch_difference(np.full(5, 2.0), np.full(5, 1.0))
    assert got["difference"] == 1.0
    assert np.isnan([got["difference_low"], got["difference_high"], got["p"]]).all()


def test_the_interval_of_a_median_covers_at_least_its_level():
    ranks = np.arange(1.0, 21.0)
    low, high = summaries.median_interval(ranks)
    covered = stats.binom.cdf(high - 1, 20, 0.5) - stats.binom.cdf(low - 1, 20, 0.5)
    assert (low, high) == (6.0, 15.0)  # Conover 1999, table A3: ranks 6 and 15 of 20
    assert covered >= 0.95


def test_geometric_mean_ratio_of_equal_arms_is_one():
    x = np.array([[100.0, 40.0], [100.0, 90.0]])
    frame = summaries.median_by_visit(
        summaries.change_from(long({"a": x, "b": x}, [0.0, 6.0], "CTX"), "CTX", kind="of_baseline"), ARMS, "a"
    )
    assert frame[(frame["arm"] == "b") & (frame["month"] == 6)]["ratio"].item() == pytest.approx(1.0)


def test_an_arm_without_data_keeps_its_row():
    change = summaries.change_from(long({"a": np.array([[1.0, 1.1]])}, [0.0, 12.0]), "BMD_LS")
    frame = summaries.mean_by_visit(change, ARMS, "a")
    assert frame[frame["arm"] == "b"]["n"].tolist() == [0, 0]


def spec(analysis: str, kind: str = "percent") -> Change:
    return Change(
        name="e", role="primary", measure="BMD_LS", from_month=0.0, to_month=12.0, kind=kind, analysis=analysis
    )


@pytest.fixture
def trial() -> tuple[pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(5)
    arms = {}
    for arm, gain in (("a", 0.0), ("b", 0.06)):
        start = rng.normal(0.75, 0.08, 60)
        change = gain - 0.3 * (start - 0.75) + rng.normal(0, 0.02, 60)
        arms[arm] = np.column_stack([start, start * (1 + change)])
    visits = long(arms, [0.0, 12.0])
    patients = pd.DataFrame({"patient": np.arange(1, 121), "arm": np.repeat(ARMS, 60)})
    patients["stratum"] = np.where(patients["patient"] % 2 == 0, "old", "young")
    return visits, patients


def test_ancova_agrees_with_the_formula_interface_of_statsmodels(trial):
    import statsmodels.formula.api as smf

    visits, patients = trial
    frame = summaries.endpoint(visits, patients, spec("ANCOVA"), ARMS, "a").set_index("arm")
    change = summaries.change_from(visits, "BMD_LS")
    table = change[change["month"] == 12].merge(patients[["patient", "stratum"]], on="patient")
    table["baseline"] = table["patient"].map(visits[visits["month"] == 0].set_index("patient")["BMD_LS"])
    fit = smf.ols("value ~ arm + baseline + stratum", table).fit()
    assert frame.loc["b", "difference"] == pytest.approx(fit.params["arm[T.b]"])
    low, high = fit.conf_int().loc["arm[T.b]"]
    assert (frame.loc["b", "difference_low"], frame.loc["b", "difference_high"]) == pytest.approx((low, high))
    assert frame.loc["b", "p"] == pytest.approx(fit.pvalues["arm[T.b]"])


def test_ancova_without_baseline_imbalance_gives_the_plain_means():
    visits = long({"a": np.array([[1.0, 1.0], [1.0, 1.02]]), "b": np.array([[1.0, 1.1], [1.0, 1.12]])}, [0.0, 12.0])
    patients = pd.DataFrame({"patient": [1, 2, 3, 4], "arm": ["a", "a", "b", "b"], "stratum": ["x"] * 4})
    frame = summaries.endpoint(visits, patients, spec("ANCOVA"), ARMS, "a").set_index("arm")
    assert frame.loc["a", "estimate"] == pytest.approx(1.0)
    assert frame.loc["b", "difference"] == pytest.approx(10.0)


def test_difference_of_medians_has_an_interval_around_it(trial):
    frame = summaries.endpoint(*trial, spec("median difference"), ARMS, "a").set_index("arm")
    low, mid, high = frame.loc["b", ["difference_low", "difference", "difference_high"]]
    assert low < mid < high
    assert mid == pytest.approx(6.0, abs=1.5)


def test_disposition_adds_up():
    patients = pd.DataFrame({"patient": [1, 2, 3], "arm": ["a", "a", "b"]})
    events = pd.DataFrame(
        {
            "patient": [1, 2, 3, 1, 2, 3],
            "arm": ["a", "a", "b", "a", "a", "b"],
            "event": ["randomised"] * 3 + ["completed", "dropout", "completed"],
            "month": [0.0, 0, 0, 24, 7, 24],
        }
    )
    frame = summaries.disposition(patients, events, ARMS).set_index("arm")
    assert frame.loc["Total", ["randomised", "completed", "dropout", "other"]].tolist() == [3, 2, 1, 0]
    assert frame.loc["a", "dropout_month_median"] == 7.0


def test_exposure_counts_doses_that_were_not_given():
    doses = pd.DataFrame(
        {
            "patient": [1, 1, 2, 2],
            "arm": ["a"] * 4,
            "agent": ["denosumab"] * 4,
            "month": [0.0, 6, 0, 6],
            "amount_mg": [60.0] * 4,
            "given": [True, True, True, False],
        }
    )
    frame = summaries.exposure(doses, pd.DataFrame({"patient": [1, 2], "arm": ["a", "a"]}), ["a"])
    row = frame.iloc[0]
    assert (row["planned"], row["given"], row["per_patient"], row["total_mg"]) == (4, 3, 1.5, 90.0)


def test_contributions_sum_to_the_total():
    visits = pd.DataFrame(
        {
            "month": 12.0,
            "arm": "a",
            "true_LS_remodelling": [1.0, 1.0],
            "true_LS_mineralisation": [2.0, 2.0],
            "true_LS_modelling": [3.0, 3.0],
        }
    )
    frame = summaries.contributions(visits, "LS", ["a"], [12.0])
    assert frame["mean"].sum() == pytest.approx(frame["total"].iloc[0]) == pytest.approx(6.0)


# -- after the end of treatment ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("curve", "month"),
    [([0, 8, 4, 0, -1], 48.0), ([0, 8, 4, -4, -4], 42.0), ([0, 8, 6, 5, 4], np.inf), ([0, -1, -2, -3, -4], 24.0)],
)
def test_month_back_at_baseline_is_read_off_linearly(curve, month):
    months = np.array([0.0, 24, 36, 48, 60])
    assert crossing_month(months, np.array(curve, float), 24.0) == month


def test_share_kept_of_a_gain_that_halves_is_half():
    rng = np.random.default_rng(2)
    base = rng.normal(0.8, 0.05, (40, 1))
    visits = long({"a": base * (1 + np.array([[0.0, 0.08, 0.04, 0.0]]))}, [0.0, 24, 36, 48])
    change = summaries.change_from(visits, "BMD_LS")
    row = durability.retention(change, {"a": 24.0}).iloc[0]
    assert row["gain"] == pytest.approx(8.0)
    assert row["kept_12"] == pytest.approx(50.0)
    assert row["kept_24"] == pytest.approx(0.0, abs=1e-9)
    assert row["back_month"] == pytest.approx(48.0)


def test_an_arm_that_gained_nothing_has_nothing_to_keep():
    rng = np.random.default_rng(3)
    visits = long({"a": 0.8 * (1 + rng.normal(0, 0.02, (30, 4)))}, [0.0, 24, 36, 48])
    row = durability.retention(summaries.change_from(visits, "BMD_LS"), {"a": 24.0}).iloc[0]
    assert np.isnan(row["kept_12"])
    assert np.isnan(row["back_month"])


def test_durability_has_the_same_interval_wherever_the_report_asks():
    rng = np.random.default_rng(5)
    base = rng.normal(0.8, 0.05, (40, 1))
    gain = np.array([[0.0, 0.08, 0.04, 0.0]]) * rng.normal(1, 0.3, (40, 1))
    visits = long({"a": base, "b": base * (1 + gain)} | {"a": base * np.ones((1, 4))}, [0.0, 24, 36, 48])
    spec = Durability(
        name="", role="exploratory", analysis="bootstrap", measure="BMD_LS", what="share kept", after=12.0
    )
    ends = {"a": 24.0, "b": 24.0}
    whole = lasting(visits, spec, ends, ["a", "b"], "a", seed=7).set_index("arm").loc["b"]
    alone = lasting(visits, spec, ends, ["b"], None, seed=7).set_index("arm").loc["b"]
    kept = durability.retention(summaries.change_from(visits, "BMD_LS"), ends, seed=7).set_index("arm").loc["b"]
    assert (whole["low"], whole["high"]) == (alone["low"], alone["high"])
    assert (whole["low"], whole["high"]) == (kept["kept_12_low"], kept["kept_12_high"])
    assert whole["estimate"] == kept["kept_12"]


def test_the_safety_set_is_who_was_given_a_dose_and_who_was_to_have_none():
    patients = pd.DataFrame({"patient": [1, 2, 3], "arm": ["drug", "drug", "nothing"]})
    doses = pd.DataFrame({"patient": [1, 1, 2], "arm": "drug", "given": [False, True, False]})
    assert summaries.safety_set(patients, doses)["patient"].tolist() == [1, 3]


@pytest.mark.parametrize("values", [[3.0], [1.0, 4.0], [1.0, 2.0, 5.0], [1.0, 2.0, 5.0, 11.0]], ids=len)
def test_medians_of_resamples_come_as_often_as_among_all_resamples(values):
    drawn = summaries.resampled_medians(np.array(values), 40_000, np.random.default_rng(5))
    every = np.median(np.array(list(product(values, repeat=len(values)))), axis=1)
    for median in np.unique(every):
        share = (every == median).mean()
        assert (drawn == median).mean() == pytest.approx(share, abs=5 * np.sqrt(share * (1 - share) / drawn.size))
    assert np.isin(drawn, every).all()


def test_resamples_are_as_large_as_the_sample():
    times = summaries.resamples(7, 50, np.random.default_rng(5))
    assert times.shape == (50, 7)
    assert (times.sum(axis=1) == 7).all()
    assert times.mean(axis=0) == pytest.approx(np.ones(7), abs=0.7)


def test_bootstrap_means_centre_on_the_mean_and_repeat_with_their_seed():
    x = np.random.default_rng(4).normal(3, 1, (50, 2))
    x[0, 1] = np.nan
    one, two = (durability.bootstrap_means(x, (7, 0), 400) for _ in range(2))
    assert np.array_equal(one, two)
    assert one.mean(axis=0) == pytest.approx(np.nanmean(x, axis=0), abs=0.05)
    assert one[:, 0].std() == pytest.approx(x[:, 0].std(ddof=1) / np.sqrt(50), rel=0.15)


def test_the_peak_is_looked_for_after_the_end_of_treatment_only():
    medians = pd.DataFrame({"month": [0.0, 24, 30, 36], "arm": "a", "median": [500.0, 40, 160, 120]})
    medians = medians.assign(n=9, q1=0.0, q3=0.0, median_low=0.0, median_high=0.0)
    row = durability.peak_after(medians, {"a": 24.0}).iloc[0]
    assert (row["peak"], row["peak_month"], row["months_after_end"]) == (160.0, 30.0, 6.0)


# -- unknown parameters ------------------------------------------------------------------------------------------------


@pytest.fixture
def uncertainty() -> pd.DataFrame:
    rows = []
    for draw in range(101):
        sig = 0.1 if draw == 0 else draw / 200
        for arm, gain in (("a", -1.0), ("b", 10.0 * (1 - sig))):
            for month in (0.0, 36.0, 42.0, 48.0):
                bmd = {0.0: 0.0, 36.0: gain, 42.0: 0.75 * gain, 48.0: gain / 2}[month]
                ctx = {0.0: 100.0, 36.0: 20.0, 42.0: 150.0 + draw, 48.0: 120.0}[month]
                rows.append({"draw": draw, "arm": arm, "month": month, "BMD_LS_pct": bmd, "CTX_pct": ctx})
    return pd.DataFrame(rows)


def test_endpoint_by_draw_pairs_arms_within_a_draw(uncertainty):
    frame = unknowns.endpoint_by_draw(uncertainty, "BMD_LS", 0.0, 36.0, "a")
    drawn = frame[frame["arm"] == "b"].set_index("draw")
    assert drawn.loc[0, "difference"] == pytest.approx(9.0 + 1.0)
    assert drawn.loc[100, "value"] == pytest.approx(5.0)
    assert frame[frame["arm"] == "a"]["difference"].isna().all()


def test_change_of_a_marker_is_relative_to_its_first_month(uncertainty):
    frame = unknowns.endpoint_by_draw(uncertainty, "CTX", 0.0, 36.0, None)
    assert frame["value"].tolist() == pytest.approx([-80.0] * len(frame))


def test_rebound_and_share_kept_by_draw(uncertainty):
    frame = unknowns.after_end_by_draw(uncertainty, {"a": 36.0, "b": 36.0}).set_index(["draw", "arm"])
    assert frame.loc[(5, "b"), "peak_CTX"] == 155.0
    assert frame.loc[(5, "b"), "kept_12"] == pytest.approx(50.0)
    assert np.isnan(frame.loc[(5, "a"), "kept_12"])  # no gain


def test_the_parameter_that_decides_comes_first_and_noise_is_not_beyond_chance(uncertainty):
    result = unknowns.endpoint_by_draw(uncertainty, "BMD_LS", 0.0, 36.0, "a")
    result = result[result["arm"] == "b"].set_index("draw")["difference"]
    rng = np.random.default_rng(6)
    draws = pd.DataFrame({"noise": rng.uniform(size=101), "sig": np.r_[0.1, np.arange(1, 101) / 200], "fixed": 1.0})
    frame = rank_correlations(draws.drop(index=0), result)
    assert frame["symbol"].tolist() == ["sig", "noise"]
    assert frame["rho"].iloc[0] == pytest.approx(-1.0)
    assert frame["beyond_chance"].tolist() == [True, False]


def test_draw_zero_is_the_default_and_no_draw(uncertainty):
    frame = unknowns.fan(uncertainty, "BMD_LS_pct", ["b"]).set_index("month")
    assert frame.loc[36.0, "default"] == pytest.approx(9.0)
    assert frame.loc[36.0, "draws"] == 100


def test_baseline_correlations_stand_beside_those_of_the_population():
    x = np.arange(103.0)
    patients = pd.DataFrame({"age": x, "CTX": np.exp(x / 20), "T_LS": (x * 37) % 103})
    pairs = [("age", "CTX"), ("age", "T_LS")]
    expected = pd.DataFrame(pairs, columns=["first", "second"]).assign(declared=np.nan, enrolled=0.0)
    found = baseline.correlations(patients, expected)
    rho = stats.spearmanr(patients["age"], patients["T_LS"])[0]
    assert found["achieved"].to_numpy() == pytest.approx([1.0, rho])
    half = 1.96 * np.sqrt(1.06 / 100)
    assert np.arctanh(found["high"][1]) - np.arctanh(rho) == pytest.approx(half)
    assert baseline.correlations(patients.iloc[:3], expected)["achieved"].isna().all()


def test_baseline_targets_stand_beside_what_was_achieved_with_its_interval():
    score = stats.norm.ppf((np.arange(400) + 0.5) / 400)
    patients = pd.DataFrame({"age": 70 + 5 * score, "CTX": 0.5 * np.exp(0.4 * score)})
    patients["years_since_menopause"] = patients["age"] - 50
    patients["prevalent_fracture"] = (np.arange(400) < 100).astype(float)
    asked = [("age", "mean"), ("age", "sd"), ("age_at_menopause", "mean"), ("CTX", "median"), ("CTX", "cv")]
    published = pd.DataFrame([*asked, ("prevalent_fracture", "share")], columns=["covariate", "statistic"])
    published = published.assign(range_low=np.nan, range_high=np.nan, tolerance=1.0)
    found = baseline.targets(patients, published.assign(value=0.0))
    truth = [70, 5, 50, 0.5, np.sqrt(np.expm1(0.16)), 0.25]
    assert found["achieved"].to_numpy() == pytest.approx(truth, rel=0.02)
    assert (found["low"] <= np.array(truth) + 1e-9).all()
    assert (found["high"] >= np.array(truth) - 1e-9).all()
    assert found["high"][0] - found["achieved"][0] == pytest.approx(1.96 * 5 / 20, rel=0.01)
    alone = baseline.targets(patients.iloc[:1], published.assign(value=0.0))
    assert alone["achieved"].isna().all()
