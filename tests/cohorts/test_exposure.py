"""Exposure: areas and peaks, as they truly are and as samples show them, and their comparison on the log scale."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from helpers import arm, change, check_sentence, endpoint, trial_file
from scipy import optimize, stats

from ranklsim import analyse, run
from ranklsim.cohorts.conduct import exposure
from ranklsim.cohorts.protocol.trial import load_trial
from ranklsim.cohorts.running import execution
from ranklsim.cohorts.statistics import censored
from ranklsim.cohorts.statistics.ancova import ancova
from ranklsim.cohorts.statistics.noncompartmental import area
from ranklsim.cohorts.study import setting
from ranklsim.pkpd.agents import load_agent
from ranklsim.pkpd.errors import BadInput, RunFailed
from ranklsim.pkpd.parameters import load_parameters
from ranklsim.reports.cdisc.export import write_cdisc
from ranklsim.reports.csr.report import write_report

DRUG = [0, 0.1, 0.25, 0.5, 0.75, 1, 2, 3, 4, 5, 6]

# -- as it is --


def bateman(days, doses, ka=0.2, k=0.04):
    """One compartment after injections of 1 (per volume), and its area from day 0 on."""
    t = np.clip(np.asarray(days)[..., None] - np.asarray(doses), 0.0, None)
    curve = ka / (ka - k) * (np.exp(-k * t) - np.exp(-ka * t))
    whole = ka / (ka - k) * ((1 - np.exp(-k * t)) / k - (1 - np.exp(-ka * t)) / ka)
    return curve.sum(axis=-1), whole.sum(axis=-1)


@pytest.mark.parametrize(("late", "tolerance"), [(0.0, 1e-5), (0.37, 1e-3)])
def test_area_and_peak_are_those_of_the_curve(late, tolerance):
    doses, visits = np.array([0.0, 91.0]), np.array([[0.0, 3.4, 30.0, 91.0, 130.6, 200.0]])
    given = doses + np.array([0.0, late])
    days = exposure.grid(doses, 200.0)
    course, there = ({"C_x": bateman(at, given)[0]} for at in (days[None, :], visits))
    names = ("AUC_DRUG", "CMAX_C_x", "DRUG")
    found = exposure.exposures(names, days, doses, course, visits, there)
    whole = bateman(visits[0], given)[1]
    np.testing.assert_allclose(np.cumsum(found["AUC_DRUG"]), whole, atol=tolerance * whole[-1])
    np.testing.assert_array_equal(found["DRUG"], there["C_x"])
    fine = np.linspace(0, 200, 200_001)
    curve = bateman(fine, given)[0]
    peaks = [curve[(fine >= a) & (fine <= b)].max() for a, b in zip(visits[0], visits[0, 1:], strict=False)]
    np.testing.assert_allclose(found["CMAX_C_x"][0, 1:], peaks, rtol=2e-3)


def test_an_infusion_is_at_its_peak_the_moment_after_it():
    days = exposure.grid(np.array([10.0]), 100.0)
    k, visits = 0.05, np.array([[0.0, 10.0, 40.0, 100.0]])

    def curve(at):
        return np.where(at > 10.0, 3.0 * np.exp(-k * (at - 10.0)), 0.0)

    course, there = ({"C_x": curve(at)} for at in (days[None, :], visits))
    found = exposure.exposures(("AUC_DRUG", "CMAX_DRUG"), days, np.array([10.0]), course, visits, there)
    areas = [0, 0, 60 * (1 - np.exp(-1.5)), 60 * (np.exp(-1.5) - np.exp(-4.5))]
    np.testing.assert_allclose(found["AUC_DRUG"][0], areas, rtol=1e-5)
    np.testing.assert_allclose(found["CMAX_DRUG"][0], [0.0, 0.0, 3.0, 3.0 * np.exp(-1.5)], rtol=1e-6)


FREE = """
label = "Free"
hypothetical = true
like = "denosumab"
KD_mRANKL = "none"
KD_sRANKL = "none"
"""


def doses(*named):
    """Arms of a drug without target, each with its dose."""
    return [arm(name, "free", doses=1, dose=dose) for name, dose in named]


def auc(**more):
    return endpoint("area", "ANCOVA", exposure={"what": "AUC", "to": "18 mo"}, **more)


@pytest.fixture(scope="module")
def linear(tmp_path_factory):
    """A run of two doses of a drug without target, one twice the other, until all of it is gone."""
    folder = tmp_path_factory.mktemp("linear")
    (folder / "free.toml").write_text(FREE)
    path = trial_file(
        folder,
        months=18,
        control="one",
        population={"patients": 12},
        arm=doses(("one", "60 mg"), ("two", "120 mg")),
        visits={"BMD": [0, 12], "markers": [0, 12], "drug": [*DRUG, 12, 18], "limits": {"drug": "0.1 ng/mL"}},
        endpoint=[
            change(to=12),
            auc(),
            endpoint("peak", "ANCOVA", exposure={"what": "Cmax", "to": "3 mo", "of": "free"}),
            endpoint("trough", "ANCOVA", exposure={"what": "trough", "to": "6 mo"}),
        ],
        estimand=[
            {"name": f"true {name}", "endpoint": name, "primary": name == "area", "events": {"dropout": "hypothetical"}}
            for name in ("area", "peak", "trough")
        ],
        conduct={
            **{"dropout": "5 %/yr", "visit_window": "3 day"},
            "late_doses": {"share": "50 %", "median": "3 wk", "p95": "4 mo"},
        },
    )
    return run(path, folder / "run")


def test_the_area_of_a_drug_without_target_is_dose_times_availability_over_clearance(linear):
    table, drug = load_parameters(), load_agent("free", folder=linear.trial.folder)
    people = linear.patients.set_index("patient")
    scale = (people["param_WT"] / table["WT_ref"]) ** table["exp_CL_WT"] * people["param_fold_CL"]
    dose = people["arm"].map({"one": 60.0, "two": 120.0})
    wanted = drug.values["F"] * dose * 1e3 / (drug.values["CL"] * scale) / 1e3  # mg / L is ug/mL
    true = linear.visits.groupby("patient")["true_AUC_DRUG"].sum()
    gone = linear.visits.groupby("patient")["true_C_free"].last() < 1e-3
    assert gone.sum() > 3
    np.testing.assert_allclose(true[gone], wanted[gone], rtol=2e-4)


def test_twice_the_dose_of_such_a_drug_is_twice_the_exposure(linear):
    found = analyse(linear)
    np.testing.assert_allclose(found.estimands["truth"], 2.0, rtol=1e-4)
    assert (found.estimands["covered"] == 1).all()
    rows = found.endpoints.query("arm == 'two' and kind == 'exposure'")
    assert ((rows["effect_low"] < 2.0) & (rows["effect_high"] > 2.0)).all()


def test_samples_give_the_area_up_to_the_error_of_the_assay(linear):
    spec = linear.trial.endpoint("area")
    table = spec.table(linear, setting(linear, spec)).set_index("patient")
    true = linear.visits.groupby("patient")["true_AUC_DRUG"].sum().loc[table.index]
    assert np.abs(table["value"] - np.log(true)).max() < 0.25
    assert np.abs((table["value"] - np.log(true)).mean()) < 0.08


def test_a_drug_is_measured_with_error_and_limit(linear):
    visits, limit = linear.visits, 1e-4
    seen = visits[visits["C_free"].notna()]
    assert set(seen["month"]) <= {*DRUG, 12, 18}
    below = seen["C_free_BLQ"].astype(bool)
    np.testing.assert_allclose(seen.loc[below, "C_free"], limit, rtol=1e-6)
    assert below[seen["month"] == 0].all()
    above = seen[~below]
    errors = np.log(above["C_free"] / above["true_C_free"])
    assert np.sqrt(np.mean(errors**2)) == pytest.approx(load_parameters()["CV_C"], rel=0.2)


def test_exposures_do_not_depend_on_who_is_simulated_together(linear, tmp_path, monkeypatch):
    monkeypatch.setattr(execution, "PORTION", 5)
    (tmp_path / "free.toml").write_text(FREE)
    path = tmp_path / "trial.toml"
    path.write_bytes((linear.folder / "trial.toml").read_bytes())
    again = run(path, tmp_path / "run")
    assert again.manifest["portion"] == 5
    for table in ("visits", "twins"):
        pd.testing.assert_frame_equal(getattr(again, table), getattr(linear, table))


# -- from samples --


@pytest.mark.parametrize(
    ("values", "below", "wanted"),
    [
        ([0, 4, 2, 1], [True, False, False, False], 2 + 3 / np.log(2)),  # linear up, logarithmic down
        ([0.1, 4, 2, 0.1], [True, False, False, True], 2 + 2 / np.log(2)),  # ends with the last quantifiable
        ([0.1, 4, 0.1, 1], [True, False, True, False], 2 + 2 * 3 / np.log(4)),  # left out in between
        ([0.1, 0.1, 4, 2], [True, True, False, False], 2 + 2 / np.log(2)),  # 0 before the first
        ([0.1, 0.1, 0.1, 0.1], [True] * 4, 0.0),
        ([0.0, 4, np.nan, np.nan], [True, False, False, False], np.nan),
    ],
)
def test_an_area_is_linear_up_and_logarithmic_down(values, below, wanted):
    found = area(np.array([[0.0, 1.0, 2.0, 3.0]]), np.array([values], float), np.array([below]))
    np.testing.assert_allclose(found, wanted)


def test_the_logarithmic_rule_is_exact_for_an_exponential():
    days = np.array([[0.0, 1.0, 7.0, 30.0]])
    np.testing.assert_allclose(area(days, np.exp(-0.1 * days)), 10 * (1 - np.exp(-3.0)))


# -- on the log scale --


@pytest.fixture
def table():
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(
        {"arm": np.repeat(["a", "b"], 40), "baseline": rng.normal(size=80), "stratum": ["x", "y"] * 40}
    )
    return frame.assign(value=rng.normal(size=80) + 0.5 * frame["baseline"], below=False)


def test_without_censored_values_it_is_analysis_of_covariance(table):
    found, left = censored.contrast_of_arms(table, "b", "a")
    row = ancova(table, ["a", "b"], "a")[1]
    for mine, theirs in {
        "estimate": "difference",
        "std_error": "difference_std_error",
        "p": "p",
        "low": "difference_low",
    }.items():
        assert found[mine] == pytest.approx(row[theirs])
    assert left == ""


def test_with_censored_values_it_is_the_maximum_of_the_likelihood(table):
    below = (table["value"] < -0.4).to_numpy()
    value = np.where(below, -0.4, table["value"])
    matrix = np.column_stack([np.ones(80), table["baseline"]])
    found = censored.fit(matrix, value, below)

    def loss(at):
        z = (value - matrix @ at[:2]) / np.exp(at[2])
        return -np.where(below, stats.norm.logcdf(z), stats.norm.logpdf(z) - at[2]).sum()

    best = optimize.minimize(loss, [0.0, 0.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12}).x
    np.testing.assert_allclose(found.slope, best[:2], atol=1e-6)
    assert found.sd == pytest.approx(np.exp(best[2]) * np.sqrt(80 / 78))
    step = 1e-4 * np.eye(3)
    curve = [
        [(loss(best + a + b) - loss(best + a - b) - loss(best - a + b) + loss(best - a - b)) / 4e-8 for b in step]
        for a in step
    ]
    np.testing.assert_allclose(found.covariance, np.linalg.inv(curve)[:2, :2] * 80 / 78, rtol=1e-4)


def test_a_censored_mean_has_no_bias_where_half_is_below_the_limit():
    rng = np.random.default_rng(3)
    found = [censored.mean(np.maximum(x, 0.0), x < 0.0) for x in rng.normal(size=(2000, 60))]
    middle = np.array([each["estimate"] for each in found])
    assert abs(middle.mean()) < 4 * middle.std() / np.sqrt(2000) + 0.01
    covered = np.mean([each["low"] < 0.0 < each["high"] for each in found])
    assert 0.93 < covered < 0.965


def test_values_all_below_the_limit_are_not_estimable(table):
    with pytest.raises(RunFailed, match="above the limit of quantitation"):
        censored.contrast_of_arms(table.assign(below=table["arm"] == "b"), "b", "a")


# -- trial files --


def faults(folder, *exposures, visits=None, **more):
    endpoints = [change(), *(endpoint(f"e{k}", "ANCOVA", exposure=each, **more) for k, each in enumerate(exposures))]
    arms = [arm("placebo"), arm("denosumab"), arm("half", "denosumab", dose="30 mg")]
    with pytest.raises(BadInput) as caught:
        load_trial(trial_file(folder, arm=arms, visits={"drug": [0, 1, 2, 6]} | (visits or {}), endpoint=endpoints))
    return caught.value.messages


AGAINST = {"against": "denosumab", "arms": ["half"]}


@pytest.mark.parametrize(
    ("given", "more", "parts"),
    [
        ({"what": "AUC", "to": "6 mo"}, {}, ["arm 'placebo' is given no drug whose AUC this is"]),
        ({"what": "AUC", "to": "6 mo"}, {"against": "denosumab", "arms": ["placebo"]}, ["arm 'placebo'", "no drug"]),
        ({"what": "AUC", "to": "5 mo"}, AGAINST, ["is not a visit of drug", '"6 mo"']),
        ({"what": "AUC", "to": "1 mo"}, AGAINST, ["at least 3 samples from 0 to 1 mo", "has 2"]),
        ({"what": "AUC", "from": "6 mo", "to": "1 mo"}, AGAINST, ["is not after from"]),
        ({"what": "trough", "from": "1 mo", "to": "6 mo"}, AGAINST, ["leave from out"]),
        ({"what": "AUEC", "to": "24 mo"}, {}, ["'drug' has no AUEC", "CTX"]),
        ({"what": "AUC", "of": "CTX", "to": "6 mo"}, AGAINST, ["'CTX' has no AUC"]),
        ({"what": "Cmin", "to": "6 mo"}, AGAINST, ["Cmin", "Cmax"]),
    ],
)
def test_an_exposure_that_cannot_be_is_refused_in_one_sentence(tmp_path, given, more, parts):
    (message,) = faults(tmp_path, given, **more)
    check_sentence(message, "trial.toml:", *parts)


@pytest.mark.parametrize(
    ("limits", "part"),
    [
        ({"CTX": "0 ng/mL"}, "more than 0"),
        ({"CTX": "20 mg"}, "ng/mL"),
        ({"BMD_LS": "1 g/cm2"}, "limits names 'BMD_LS'"),
        ({"drug": "20"}, "has no unit"),
    ],
)
def test_a_limit_that_cannot_be_is_refused_in_one_sentence(tmp_path, limits, part):
    (message,) = faults(tmp_path, visits={"limits": limits})
    check_sentence(message, part)


def test_a_composite_strategy_has_no_geometric_mean(tmp_path):
    asked = {"name": "a", "endpoint": "area", "primary": True, "events": {"dropout": "composite"}}
    spec = endpoint("area", "ANCOVA", exposure={"of": "CTX", "what": "AUEC", "to": "24 mo"})
    path = trial_file(tmp_path, endpoint=[change(), spec], estimand=[asked], conduct={"dropout": "5 %/yr"})
    with pytest.raises(BadInput, match="which no exposure has"):
        load_trial(path)


def test_limits_of_the_file_stand_before_those_of_the_table(tmp_path):
    more = {"visits": {"limits": {"CTX": "0.2 ng/mL", "P1NP": "30 ng/mL"}}, "population": {"patients": 20}}
    found = run(trial_file(tmp_path, **more), tmp_path / "run").visits
    for marker, limit in {"CTX": 0.2, "P1NP": 30.0}.items():
        below = found[f"{marker}_BLQ"].astype(bool)
        assert below.any()
        assert found.loc[below, marker].to_numpy() == pytest.approx(limit)
        assert (found.loc[~below, marker].dropna() >= limit * (1 - 1e-6)).all()


def test_an_effect_of_a_ratio_moves_by_a_factor(linear):
    spec = replace(linear.trial.endpoint("area"), equivalence=(0.8, 1.25), confidence=0.9)
    found = spec.analyse(linear, setting(linear, spec))
    before, after = (each.effect("two") for each in (found, found.at_margin()))
    assert after.value == pytest.approx(1.25 * before.value)
    assert after.error == before.error
    row = found.rows()[1]
    half = stats.t.ppf(0.95, before.df) * before.error
    assert row["claim_low"] == pytest.approx(before.value * np.exp(-half))
    assert row["conclusion"] == "not equivalent"


def test_a_level_below_the_limit_is_censored_and_the_ratio_that_of_the_truth(tmp_path):
    level = endpoint("level", "ANCOVA", exposure={"of": "CTX", "what": "level", "to": "1 mo"})
    asked = {"name": "all", "endpoint": "level", "primary": True, "events": {"dropout": "treatment policy"}}
    path = trial_file(
        tmp_path, months=12, arm=[arm("placebo", doses=2), arm("denosumab", doses=2)], population={"patients": 60},
        visits={"BMD": [0, 12], "markers": [0, 1, 6]}, endpoint=[change(to=12), level], estimand=[asked],
        conduct={"dropout": "5 %/yr"},
    )  # fmt: skip
    found = analyse(run(path, tmp_path / "run"))
    row = found.endpoints.query("endpoint == 'level' and arm == 'denosumab'").iloc[0]
    assert "below the limit of quantitation (censored)" in row["method"]
    assert row["conclusion"] == "superior"
    assert found.estimands["covered"].item() == 1
    assert row["effect"] == pytest.approx(found.estimands["truth"].item(), rel=0.15)


# -- report and data sets --


@pytest.mark.slow
def test_the_report_says_how_many_are_below_the_limit_and_the_data_sets_hold_the_exposures(linear, tmp_path):
    folder = write_report(linear.folder).parent / "tables"
    (table,) = folder.glob("table-14.2.16.1*.csv")
    shown = pd.read_csv(table)
    at = shown[(shown["arm"] == "one") & (shown["month"] == 18)].iloc[0]
    seen = linear.visits.query("arm == 'one' and month == 18")
    assert at["below"] == seen["C_free_BLQ"].astype(bool).sum()
    assert at["n"] == seen["C_free"].notna().sum()
    write_cdisc(linear.folder, tmp_path / "adam", formats=["parquet"])
    found = pd.read_parquet(tmp_path / "adam" / "adpp.parquet").set_index(["PARAMCD", "USUBJID"])["AVAL"]
    for name, code in {"area": "AUCINT", "peak": "CMAX", "trough": "CTROUGH"}.items():
        spec = linear.trial.endpoint(name)
        wanted = np.exp(spec.table(linear, setting(linear, spec))["value"].to_numpy())
        np.testing.assert_allclose(found[code], wanted)


def test_geometric_means_by_visit_are_those_of_a_lognormal(table):
    visits = table.assign(month=6.0, C=np.exp(table["value"]), C_BLQ=False)
    row = censored.by_visit(visits, "C", ["a"]).iloc[0]
    own = table.loc[table["arm"] == "a", "value"]
    assert row["mean"] == pytest.approx(np.exp(own.mean()))
    assert row["ci_low"] == pytest.approx(np.exp(own.mean() - stats.t.ppf(0.975, 39) * own.std() / np.sqrt(40)))
    assert row["cv"] == pytest.approx(100 * np.sqrt(np.exp(own.var()) - 1))
    none = censored.by_visit(visits.assign(C=0.02, C_BLQ=True), "C", ["a"]).iloc[0]
    assert none["below"] == none["n"] == 40
    assert np.isnan(none["mean"])
    assert none["highest"] < none["limit"]


def test_values_that_lie_on_the_model_beside_others_below_the_limit_have_no_likeliest_error():
    """Three values determine the three coefficients exactly; the fourth is below its limit, and the SD falls to 0."""
    matrix = np.array([[1.0, 0.0, 0.3], [1.0, 0.0, 0.8], [0.0, 1.0, 0.7], [0.0, 1.0, 0.9]])
    with pytest.raises(RunFailed, match="has no maximum"):
        censored.fit(matrix, np.array([0.4, -1.3, 1.1, 0.3]), np.array([False, True, False, False]))
