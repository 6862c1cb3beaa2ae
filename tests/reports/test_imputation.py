"""Reference-based multiple imputation against closed forms, and tipping points against fits one by one."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf

from ranklsim.cohorts.statistics import imputation, mmrm
from ranklsim.cohorts.statistics.claims import EQUIVALENCE, NON_INFERIORITY, SUPERIORITY, Claim
from ranklsim.cohorts.statistics.mmrm.criterion import NotConverged
from ranklsim.pkpd.errors import BadInput, RunFailed
from ranklsim.reports.analyses.tipping import Tipping, tipping

Frames = tuple[mmrm.Fit, pd.DataFrame, pd.DataFrame]
EFFECT = np.array([2.0, 4.0, 6.0])
ARMS = ["placebo", "drug"]


BETTER = Claim(SUPERIORITY, 0.0, None)


def trial(seed: int, patients: int, leave: float, visits: int = 3, missed: float = 0.0) -> Frames:
    """Effects of `EFFECT` at three visits; patients leave at random before a visit, or miss single ones."""
    rng = np.random.default_rng(seed)
    arm = np.resize(ARMS, patients)
    baseline = rng.normal(0, 1, patients)
    root = np.linalg.cholesky(0.5 + 0.5 * np.eye(3))
    y = rng.normal(size=(patients, 3)) @ root.T + baseline[:, None] + np.outer(arm == "drug", EFFECT)
    gone = np.cumsum(rng.random((patients, 3)) < leave, axis=1) > 0
    y[gone | (rng.random((patients, 3)) < missed)] = np.nan
    wide = pd.DataFrame(y, columns=[6, 12, 18]).iloc[:, :visits]
    people = pd.DataFrame({"arm": arm, "baseline": baseline, "stratum": np.resize(["a", "b", "b"], patients)})
    long = (
        people.join(wide).reset_index().melt(["index", "arm", "baseline", "stratum"], var_name="month", value_name="y")
    )
    long = long.rename(columns={"index": "patient"}).astype({"month": int, "y": float})
    long["arm"] = pd.Categorical(long["arm"], ARMS)
    formula = "y ~ arm * month + baseline * month + stratum" if visits > 1 else "y ~ arm + baseline + stratum"
    return mmrm.fit(formula, long, subject="patient", visit="month", arm="arm"), wide, people


def differences(frames: Frames, **options: object) -> pd.Series:
    table = imputation.analyse(*frames, ARMS, "placebo", **options)  # type: ignore[arg-type]
    return table[table["arm"] == "drug"].set_index("strategy")["difference"]


@pytest.fixture(scope="module")
def large() -> Frames:
    return trial(1, 3000, leave=0.15, missed=0.05)


def test_without_missing_values_every_strategy_is_the_ancova() -> None:
    fit, wide, people = trial(2, 60, leave=0.0)
    ols = smf.ols(
        "y ~ arm + baseline + stratum", people.assign(y=wide[18], arm=pd.Categorical(people["arm"], ARMS))
    ).fit()
    table = imputation.analyse(fit, wide, people, ARMS, "placebo", strategies=list(imputation.STRATEGIES), count=5)
    for _, row in table[table["arm"] == "drug"].iterrows():
        low, high = ols.conf_int().loc["arm[T.drug]"]
        found = (row["difference"], row["difference_low"], row["difference_high"], row["p"], row["difference_df"])
        expected = (ols.params["arm[T.drug]"], low, high, ols.pvalues["arm[T.drug]"], ols.df_resid)
        assert found == pytest.approx(expected, rel=1e-9)
        assert (row["lost"], row["imputed"]) == (pytest.approx(0.0, abs=1e-12), 0)


def test_imputation_at_random_agrees_with_the_mixed_model_in_a_large_trial(large: Frames) -> None:
    table = imputation.analyse(*large, ARMS, "placebo", strategies=["MAR"], count=200).set_index("arm").loc["drug"]
    model = large[0].differences("placebo").iloc[-1]
    assert table["difference"] == pytest.approx(model["estimate"], abs=0.15 * model["std_error"])
    assert table["difference_std_error"] == pytest.approx(model["std_error"], rel=0.05)
    assert 0.05 < table["lost"] < 0.5


@pytest.mark.slow
def test_jump_to_reference_keeps_the_effect_of_those_who_were_seen_only() -> None:
    """One visit, nothing to condition on but covariates: the effect is diluted by the share that is missing."""
    frames = trial(3, 4000, leave=0.3, visits=1)
    fit, wide, people = frames
    full = fit.table.set_index("term").loc["arm[T.drug]", "estimate"]
    seen = wide[6].notna()[people["arm"] == "drug"].mean()
    found = differences(frames, count=400)
    assert found["J2R"] == pytest.approx(seen * full, abs=0.01)
    assert found["CIR"] == pytest.approx(seen * full, abs=0.01)  # nobody was seen before: increments since the start
    assert found["MAR"] == pytest.approx(full, abs=0.01)


def conditional(frames: Frames, strategy: str) -> np.ndarray:
    """Expected last value of every patient of the drug arm under a strategy, at the estimates of the model."""
    fit, wide, people = frames
    sigma = fit.covariance.to_numpy()
    mean = {}
    for arm in ARMS:
        rows = people.loc[people.index.repeat(3)].assign(arm=arm, month=np.tile([6, 12, 18], len(people)))
        mean[arm] = fit.means(rows.reset_index(drop=True)).reshape(-1, 3)
    out = []
    for k in np.flatnonzero(people["arm"] == "drug"):
        y = wide.to_numpy()[k]
        seen = np.isfinite(y)
        last = np.flatnonzero(seen).max(initial=-1)
        mu = mean["placebo" if strategy == "CR" else "drug"][k].copy()
        if strategy in ("J2R", "CIR"):
            mu[last + 1 :] = mean["placebo"][k][last + 1 :]
        if strategy == "CIR" and last >= 0:
            mu[last + 1 :] += mean["drug"][k][last] - mean["placebo"][k][last]
        if seen[2]:
            out.append(y[2])
        else:
            slope = np.linalg.solve(sigma[np.ix_(seen, seen)], sigma[seen, 2]) if seen.any() else np.zeros(0)
            out.append(mu[2] + slope @ (y[seen] - mu[seen]))
    return np.array(out)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", imputation.STRATEGIES)
def test_imputed_values_are_on_average_the_conditional_means_of_the_strategy(large: Frames, strategy: str) -> None:
    fit, wide, people = large
    drug = (people["arm"] == "drug").to_numpy()
    imputed = imputation.impute(fit, wide, people, "placebo", strategy, 300, 1)[:, drug, -1].mean(axis=0)
    expected = conditional(large, strategy)
    gone = wide[18].isna().to_numpy()[drug]
    np.testing.assert_allclose(imputed[~gone], expected[~gone], rtol=1e-12)
    assert (imputed - expected)[gone].mean() == pytest.approx(0.0, abs=0.01)
    assert (imputed - expected)[gone].std() == pytest.approx(1 / np.sqrt(300), rel=0.5)  # noise of the draws alone


@pytest.mark.slow
def test_the_strategies_lie_in_the_order_of_what_they_take_from_the_effect(large: Frames) -> None:
    found = differences(large, strategies=["MAR", "CIR", "J2R"])
    assert found["MAR"] > found["CIR"] > found["J2R"] > 0


@pytest.mark.slow
def test_the_reference_arm_is_imputed_at_random_whatever_the_strategy(large: Frames) -> None:
    table = imputation.analyse(*large, ARMS, "placebo", strategies=list(imputation.STRATEGIES))
    means = table[table["arm"] == "placebo"].set_index("strategy")["estimate"]
    np.testing.assert_allclose(means, means["MAR"], atol=0.02)


def test_the_same_seed_gives_the_same_bytes_and_another_one_does_not(large: Frames) -> None:
    one, two, three = (imputation.impute(*large, "placebo", "J2R", 3, seed) for seed in (7, 7, 8))
    assert one.tobytes() == two.tobytes() != three.tobytes()
    seen = large[1].notna().to_numpy()
    assert (one[:, seen] == large[1].to_numpy()[seen]).all()
    assert np.isfinite(one).all()


@pytest.mark.slow
def test_draws_scatter_as_the_model_says(large: Frames) -> None:
    fit = large[0]
    estimates, covariances = fit.draws(1500, np.random.default_rng(1))
    np.testing.assert_allclose(estimates.std(axis=0), fit.table["std_error"], rtol=0.1)
    np.testing.assert_allclose(covariances.mean(axis=0)[0], fit.covariance, rtol=0.02)
    # Variance of a sample variance, 2 s⁴ / df, is reached at the first visit, where hardly anyone is missing.
    first = covariances[:, 0, 0, 0]
    assert first.std() == pytest.approx(np.sqrt(2 / large[1][6].notna().sum()) * fit.covariance.iloc[0, 0], rel=0.1)


def test_what_cannot_be_imputed_is_refused_in_one_sentence(large: Frames) -> None:
    fit, wide, people = large
    with pytest.raises(BadInput, match="strategy = 'LOCF' is unknown; use one of MAR, J2R, CIR, CR"):
        imputation.impute(fit, wide, people, "placebo", "LOCF", 2, 0)
    with pytest.raises(BadInput, match="no patient is in the reference arm 'zoledronate'"):
        imputation.impute(fit, wide, people, "zoledronate", "J2R", 2, 0)


def test_data_that_allow_hardly_any_draw_are_refused(large: Frames, monkeypatch: pytest.MonkeyPatch) -> None:
    def improper(*_: object) -> None:
        raise NotConverged("the covariance matrix becomes singular")

    monkeypatch.setattr("ranklsim.cohorts.statistics.mmrm.model.refuse_improper", improper)
    monkeypatch.setattr("ranklsim.cohorts.statistics.mmrm.criterion._singular", lambda given: np.array([True]))
    with pytest.raises(RunFailed, match="the data are too few to draw covariance parameters"):
        large[0].draws(2, np.random.default_rng(0))


def test_a_small_trial_is_imputed_with_finite_intervals() -> None:
    table = imputation.analyse(*trial(0, 16, leave=0.2), ARMS, "placebo", count=20)
    assert np.isfinite(table[["estimate", "ci_low", "ci_high"]]).all(axis=None)


# -- tipping points ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def frames() -> Frames:
    return trial(3, 120, leave=0.12)


@pytest.fixture(scope="module")
def found(frames: Frames) -> Tipping:
    return tipping(*frames, ARMS, "placebo", BETTER, count=20, seed=2)


@pytest.mark.parametrize("place", [0, 3])
def test_a_difference_is_that_of_moved_values_fitted_set_by_set(frames: Frames, found: Tipping, place: int) -> None:
    fit, wide, people = frames
    row = found.curve.iloc[place]
    y = imputation.last_visit(fit, wide, people, "placebo", "MAR", 20, 2)
    moved = ((people["arm"] == "drug") & wide[18].isna()).to_numpy(float)
    design = people.assign(arm=pd.Categorical(people["arm"], ARMS))
    fits = [
        smf.ols("y ~ arm + baseline + stratum", design.assign(y=y[:, k] - row["delta"] * moved)).fit()
        for k in range(20)
    ]
    name = "arm[T.drug]"
    pooled = imputation.rubin(
        np.array([f.params[name] for f in fits]), np.array([f.bse[name] ** 2 for f in fits]), fits[0].df_resid
    )
    assert row["difference"] == pytest.approx(pooled["estimate"], rel=1e-9)
    assert (row["high"] - row["low"]) / 2 > 1.9 * pooled["std_error"]


def test_at_the_tipping_point_the_interval_ends_at_no_difference_and_p_is_the_level(
    frames: Frames, found: Tipping
) -> None:
    point = found.points.iloc[0]
    assert point["delta"] > 0
    _, wide, people = frames
    values = wide[18].to_numpy().copy()
    assert point["imputed"] == int((np.isnan(values) & (people["arm"] == "drug")).sum())
    before, after = (found.curve[found.curve["holds"] == held] for held in (True, False))
    assert before["delta"].max() < point["delta"] <= after["delta"].min()
    assert (before["low"] > 0).all()
    assert (after["low"] <= 0).all()
    assert (before["p"] < 0.05).all()


def test_a_margin_or_a_higher_level_moves_the_point_outwards_and_a_stricter_one_inwards(
    frames: Frames, found: Tipping
) -> None:
    plain = found.points["delta"].iloc[0]
    wider = (
        tipping(*frames, ARMS, "placebo", Claim(NON_INFERIORITY, -1.0, None), count=20, seed=2).points["delta"].iloc[0]
    )
    stricter = tipping(*frames, ARMS, "placebo", BETTER, count=20, seed=2, level=0.005).points["delta"].iloc[0]
    assert stricter < plain < wider


@pytest.mark.parametrize(("upper", "holds"), [(8.0, True), (6.2, False)])
def test_an_equivalence_has_a_point_only_if_both_of_its_limits_are_kept(
    frames: Frames, found: Tipping, upper: float, holds: bool
) -> None:
    start = found.curve.iloc[0]
    assert 0.0 < start["low"] < start["high"] < 8.0
    assert start["high"] > 6.2
    both = tipping(*frames, ARMS, "placebo", Claim(EQUIVALENCE, 0.0, upper), count=20, seed=2)
    assert both.points["delta"].iloc[0] == pytest.approx(found.points["delta"].iloc[0] if holds else 0.0)
    assert bool(both.curve["holds"].iloc[0]) is holds


def test_a_benefit_below_zero_mirrors_one_above(frames: Frames, found: Tipping) -> None:
    fit, wide, people = frames
    other = tipping(
        fit, wide, people, ARMS, "placebo", Claim(SUPERIORITY, None, 0.0), count=20, seed=2, higher_is_better=False
    )
    assert other.points["delta"].iloc[0] == 0
    assert "nothing to lose" in other.points["note"].iloc[0]


def test_a_result_of_patients_who_were_all_seen_has_no_tipping_point() -> None:
    found = tipping(*trial(2, 60, leave=0.0), ARMS, "placebo", BETTER, count=5)
    assert np.isnan(found.points["delta"].iloc[0])
    assert "imputed" in found.points["note"].iloc[0]
    assert len(found.curve) == 1


def test_imputation_towards_control_has_less_room_than_imputation_at_random(frames: Frames, found: Tipping) -> None:
    jump = tipping(*frames, ARMS, "placebo", BETTER, count=20, seed=2, strategy="J2R").points.iloc[0]
    assert jump["delta"] < found.points["delta"].iloc[0]
    assert jump["imputed_mean"] == pytest.approx(found.points["imputed_mean"].iloc[0], abs=1.5)
