"""MCP-Mod: figures that the R packages DoseFinding 1.3 and MCPModGeneral print for their examples, and closed forms."""

from pathlib import Path

import numpy as np
import pytest
from helpers import arm, change, trial_file
from scipy import stats

import ranklsim
from ranklsim.cohorts.protocol.trial import load_trial
from ranklsim.cohorts.statistics import dose_response as mcp
from ranklsim.cohorts.statistics.dose_response import Largest, Shape
from ranklsim.pkpd.errors import BadInput
from ranklsim.reports.replicate.operating import Replicates

# Means and errors of `biom` (20 patients a dose) from the fits that DoseFinding prints for MCPMod(dose, resp, biom):
# those at 0, 0.2 and 1 as printed, at 0.6 from the interpolation at 0.4, at 0.05 from the fitted line.
DOSES = np.array([0.0, 0.05, 0.2, 0.6, 1.0])
MEANS = np.array([0.3449054, 0.4567544, 0.8103158, 0.9344368, 0.9487114])
ERRORS = np.eye(5) * 0.1592893**2
# `migraine` of DoseFinding, logits as MCPModGeneral prints them.
MIGRAINE = np.array([0, 2.5, 5, 10, 20, 50, 100, 200])
LOGITS = np.array([-2.2225424, -1.9459101, -2.0541237, -1.0775589, -1.4469190, -1.2927683, -1.1676052, -0.5663955])
VARIANCES = np.array([0.0852564, 0.2857133, 0.2256406, 0.0837766, 0.1029412, 0.09103641, 0.09365079, 0.07464607])


def test_contrasts_tests_and_their_correlation_are_those_of_dosefinding_for_biom():
    shapes = [Shape("linear"), Shape("Emax", (0.05,)), Shape("Emax", (0.2,))]
    found = mcp.signal(shapes, DOSES, MEANS, ERRORS, 95.0)
    printed = [[-0.437, -0.378, -0.201, 0.271, 0.743], [-0.799, -0.170, 0.207, 0.362, 0.399],
               [-0.643, -0.361, 0.061, 0.413, 0.530]]  # fmt: skip
    np.testing.assert_allclose(found.contrasts, printed, atol=5.1e-4)
    np.testing.assert_allclose(found.correlation[0], [1, 0.766, 0.912], atol=5.1e-4)
    np.testing.assert_allclose(found.t, [2.972, 3.339, 3.464], atol=5.1e-4)
    # The effect of the highest dose under a shape has the statistic of its contrast.
    np.testing.assert_allclose(found.test.sizes / found.test.errors, found.t)


def test_adjusted_p_values_are_those_that_dosefinding_prints_for_biom_and_ibscovars():
    four = np.array(
        [[1, 0.766, 0.912, 0.488], [0.766, 1, 0.949, 0.893], [0.912, 0.949, 1, 0.719], [0.488, 0.893, 0.719, 1]]
    )
    biom = Largest(four, 95.0)
    # DoseFinding integrates at random, to an absolute error of 0.001.
    assert [1 - biom.below(t) for t in (3.339, 2.972, 2.486)] == pytest.approx([0.00150, 0.00402, 0.01632], abs=6e-4)
    three = Largest(np.array([[1, 0.768, 0.843], [0.768, 1, 0.948], [0.843, 0.948, 1]]), 363.0)  # 369 patients, sex
    assert [1 - three.below(t) for t in (3.208, 3.083, 2.640)] == pytest.approx([0.00173, 0.00242, 0.00855], abs=3e-4)


def test_fitted_models_and_target_doses_are_those_of_dosefinding_for_biom():
    line, emax = (mcp.fit(kind, DOSES, MEANS, ERRORS) for kind in ("linear", "Emax"))
    assert (line.start, line.size, line.target(0.5)) == pytest.approx((0.4923408, 0.559, 0.8951), abs=5e-4)
    assert (emax.start, emax.size, *emax.parameters) == pytest.approx((0.322, 0.746, 0.142), abs=5.1e-4)
    assert emax.target(0.5) == pytest.approx(0.2886, abs=5.1e-5)
    fitted = emax.start + emax.above(np.array([0.0, 0.2, 0.4, 0.9, 1.0]))
    np.testing.assert_allclose(fitted, [0.3216107, 0.7578039, 0.8721944, 0.9660905, 0.9750049], atol=2e-6)


def test_the_band_of_a_single_line_is_that_of_its_slope_and_the_averaged_curve_reaches_the_target_at_its_dose():
    line, emax = (mcp.fit(kind, DOSES, MEANS, ERRORS) for kind in ("linear", "Emax"))
    doses, effect, low, high = mcp.course([line], DOSES, MEANS, ERRORS, seed=1)
    np.testing.assert_allclose(effect, line.size * doses, atol=1e-9)
    design = np.column_stack([np.ones(DOSES.size), DOSES])
    error = np.sqrt(np.linalg.inv(design.T @ np.linalg.inv(ERRORS) @ design)[1, 1])
    np.testing.assert_allclose(high - effect, 1.96 * error * doses, rtol=0.12, atol=1e-9)
    np.testing.assert_allclose(effect - low, 1.96 * error * doses, rtol=0.12, atol=1e-9)
    doses, effect, low, high = mcp.course([line, emax], DOSES, MEANS, ERRORS, seed=1)
    target = mcp.target_dose([line, emax], DOSES, MEANS, ERRORS, 0.4, seed=1)
    assert np.interp(target.dose, doses, effect) == pytest.approx(0.4, abs=1e-3)
    assert np.interp(target.low, doses, high) >= 0.4 - 5e-3  # the same draws
    assert np.interp(target.high, doses, low) >= 0.4 - 5e-3 or np.isinf(target.high)


def test_the_generalised_approach_is_that_of_mcpmodgeneral_for_migraine():
    covariance = np.diag(VARIANCES)
    shapes = [Shape("linear"), Shape("Emax", (1.0,)), Shape("quadratic", (125.0,))]  # delta = -0.004
    found = mcp.signal(shapes, MIGRAINE, LOGITS, covariance)
    np.testing.assert_allclose(found.t, [3.703, 3.636, 3.079], atol=5.1e-4)
    assert found.p[2] == pytest.approx(0.00278, rel=0.03)
    models = mcp.chosen(found, MIGRAINE, LOGITS, covariance)
    line, emax, square = models
    assert (line.start, line.size) == pytest.approx((-1.710, 0.006), abs=5.1e-4)
    assert (emax.start, emax.size, *emax.parameters) == pytest.approx((-2.219, 1.387, 8.473), abs=5.1e-4)
    assert (square.start, square.size) == pytest.approx((-1.776, 0.010), abs=5.1e-4)
    weights = mcp.weights_of(np.array([model.gaic for model in models]))
    np.testing.assert_allclose(weights, [0.3388, 0.5071, 0.1541], atol=5.1e-5)
    np.testing.assert_allclose([model.target(0.2) for model in models], [33.8758, 1.4274, 20.9810], atol=5.1e-5)


@pytest.mark.parametrize("kind", ["sigmoid Emax", "exponential", "logistic", "beta"])
def test_means_on_a_curve_are_fitted_by_its_family_without_misfit(kind: str):
    doses = np.array([0.0, 10.0, 25.0, 50.0, 75.0, 100.0])
    guess = {"sigmoid Emax": (30.0, 3.0), "exponential": (60.0,), "logistic": (45.0, 12.0), "beta": (0.8, 0.6)}[kind]
    means = 1.0 + 2.0 * Shape(kind, guess).at(doses, 100.0)
    model = mcp.fit(kind, doses, means, np.eye(6) * 0.01)
    assert model.misfit < 1e-6
    np.testing.assert_allclose(model.parameters, guess, rtol=2e-3)
    np.testing.assert_allclose(model.above(doses), means - means[0], atol=1e-3)


@pytest.mark.parametrize("df", [12.0, np.inf])
def test_the_largest_of_several_statistics_has_the_multivariate_t_distribution(df: float):
    correlation = mcp.signal([Shape("linear"), Shape("Emax", (10.0,)), Shape("sigmoid Emax", (30.0, 4.0))],
                             MIGRAINE, LOGITS, np.diag(VARIANCES)).correlation  # fmt: skip
    largest = Largest(correlation, df)
    for t in (-0.5, 1.0, 2.3):
        law = stats.multivariate_t(np.zeros(3), correlation, df=df if np.isfinite(df) else 1e9, seed=1)
        assert largest.below(t) == pytest.approx(law.cdf(np.full(3, t), maxpts=400_000), abs=2e-4)
    alone = Largest(np.eye(1), df)
    assert alone.critical(0.025) == pytest.approx(stats.t.isf(0.025, df if np.isfinite(df) else 1e12), abs=1e-6)
    twice = Largest(np.ones((2, 2)), df)  # one statistic, written twice
    assert twice.critical(0.025) == pytest.approx(alone.critical(0.025), abs=1e-6)


def test_without_an_effect_the_signal_is_found_in_one_of_forty_trials_on_either_side():
    rng, n, df = np.random.default_rng(5), 40_000, 40.0
    doses, shapes = (
        np.array([0.0, 14.0, 60.0, 210.0]),
        [Shape("linear"), Shape("Emax", (10.0,)), Shape("beta", (0.5, 0.5))],
    )
    covariance = np.diag([0.3, 0.2, 0.25, 0.3])
    found = mcp.signal(shapes, doses, np.zeros(4), covariance, df)
    means = rng.multivariate_normal(np.zeros(4), covariance, n) / np.sqrt(rng.chisquare(df, n) / df)[:, None]
    t = means @ found.contrasts.T / np.sqrt(np.einsum("mk,kl,ml->m", found.contrasts, covariance, found.contrasts))
    for side in (t, -t):
        assert (side.max(axis=1) >= found.critical).mean() == pytest.approx(0.025, abs=3 * np.sqrt(0.025 * 0.975 / n))


@pytest.mark.slow
def test_claim_interval_and_p_of_a_dose_response_never_contradict():
    rng, doses = np.random.default_rng(6), np.array([0.0, 14.0, 60.0, 210.0])
    shapes = [Shape("linear"), Shape("Emax", (10.0,)), Shape("quadratic", (90.0,)), Shape("exponential", (60.0,))]
    for _ in range(200):
        means = rng.normal(0, 1.2, 4)
        test = mcp.signal(shapes, doses, means, np.eye(4) * 0.2, float(rng.integers(5, 60))).test
        (low, high), z = test.interval(0.95), test(0.0)
        assert (low > 0) == (z >= stats.norm.isf(0.025) - 1e-9)
        assert (high < 0) == (z <= -stats.norm.isf(0.025) + 1e-9)
        assert low < test.sizes[test.best] < high


RESPONSE = {
    "name": "response", "role": "key secondary", "analysis": "MCP-Mod",
    "dose_response": {
        "of": "BMD_LS", "to": "12 mo", "doses": {"low": "14 mg", "high": "60 mg"},
        "shapes": ["linear", "Emax 10 mg"], "target": "2 %",
    },
}  # fmt: skip


def written(folder: Path, **changes: object) -> Path:
    arms = [arm("low", "denosumab", dose="14 mg"), arm("high", "denosumab", dose="60 mg")]
    inner = RESPONSE["dose_response"] | changes
    return trial_file(folder, arm=[arm("placebo"), *arms], endpoint=[change(), RESPONSE | {"dose_response": inner}])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"shapes": ["Emax"]}, "'Emax' is not complete; write it as in \"Emax 20 mg\""),
        ({"shapes": ["cubic"]}, "'cubic' is no shape"),
        ({"shapes": ["linear 3"]}, "'linear 3' has too much"),
        ({"shapes": []}, "no shape is named"),
        ({"doses": {"low": "14 mg"}}, "needs two arms or more"),
        ({"doses": {"low": "14 mg", "hihg": "60 mg"}}, "'hihg' is not an arm"),
        ({"doses": {"low": "14 mg", "high": "14 mg"}}, "each with a dose of its own"),
        ({"target": "-2 %"}, "target"),
    ],
)
def test_a_dose_response_that_cannot_be_is_refused(tmp_path: Path, changes: dict[str, object], said: str):
    with pytest.raises(BadInput) as caught:
        load_trial(written(tmp_path, **changes))
    assert any(said in message for message in caught.value.messages), caught.value.messages


def test_a_margin_has_no_meaning_for_a_dose_response_and_only_the_highest_dose_is_compared(tmp_path: Path):
    path = written(tmp_path)
    trial = load_trial(path)
    assert trial.compared(trial.endpoint("response")) == ["high"]
    for line, said in (('margin = "1 %"', "a margin has no meaning"), ('arms = ["low"]', "highest dose, arm 'high'")):
        text = path.read_text(encoding="utf-8").replace('analysis = "MCP-Mod"', f'analysis = "MCP-Mod"\n{line}')
        other = tmp_path / "other.toml"
        other.write_text(text, encoding="utf-8")
        with pytest.raises(BadInput) as caught:
            load_trial(other)
        assert any(said in message for message in caught.value.messages), caught.value.messages


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Replicates:
    return ranklsim.replicate(written(tmp_path_factory.mktemp("trial")), replicates=3, patients=60, workers=1)


def test_a_replicate_counts_the_signal_and_keeps_the_target_dose(shown: Replicates):
    own = shown.estimates[shown.estimates["endpoint"] == "response"]
    gap = own[(own["quantity"] == "difference") & (own["design"] == "trial")]
    assert set(gap["arm"]) == {"high"}
    assert (gap["shown"] == (gap["low"] > 0)).all()
    target = own[own["quantity"] == "target dose"].set_index(["design", "replicate"])
    assert len(target) == 6
    found = target.loc["trial", "estimate"].to_numpy()
    assert ((found > 0) & (found <= 60)).any()
    table = shown.operating[shown.operating["endpoint"] == "response"].set_index(["quantity", "measure"])["value"]
    assert table.loc[[("difference", "power")]].item() == gap["shown"].mean()
    assert ("target dose", "power") not in table.index
