"""What the figures of one study have in common."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers import small_fit
from scipy.stats import multivariate_normal, norm

from ranklsim.pkpd.errors import BadInput, RunFailed
from ranklsim.pkpd.evidence.errors import RHO, cov
from ranklsim.pkpd.evidence.predictions import Predictor
from ranklsim.pkpd.evidence.records import Evidence, load_evidence
from ranklsim.pkpd.evidence.studies import EFFECTS, study_cov, study_effects
from ranklsim.pkpd.fitting.fit import Problem, make_problem
from ranklsim.pkpd.fitting.posterior import Scores
from ranklsim.pkpd.fitting.spec import load_spec
from ranklsim.pkpd.parameters import load_parameters

TABLE = load_parameters()


def evidence_of(*arms: str) -> Evidence:
    shipped = load_evidence()
    rows = shipped.observations
    return shipped.subset(rows["arm"].isin(arms) & rows["endpoint"].isin(["percent_change", "percent_of_baseline"]))


def spec_with(folder: Path, more: str) -> Path:
    path = small_fit(folder, 'name  = "kC"\n[[parameter]]\nname = "kR"')
    path.write_text(more + path.read_text("utf-8"), "utf-8")
    return path


def test_the_likelihood_is_the_integral_over_the_effects_of_a_study() -> None:
    shipped = evidence_of("freedom-denosumab")
    predictor = Predictor(shipped.subset(shipped.observations["month"] == 12), TABLE, rtol=1e-7)
    seen = predictor.evidence.observations
    assert len(set(seen["study"])) > 1, "also papers on the same women"
    away = (seen["value"] - seen["offset"]).to_numpy() - predictor(TABLE)
    change = study_effects(predictor, TABLE)
    score = np.linspace(-8, 8, 161)
    first, second = (axis.ravel() for axis in np.meshgrid(score, score))
    given = multivariate_normal(cov=cov(seen, RHO, TABLE["study_rest"])).pdf(
        away - np.outer(first, change[:, 0]) - np.outer(second, change[:, 1])
    )
    integral = np.sum(given * norm.pdf(first) * norm.pdf(second)) * (score[1] - score[0]) ** 2
    assert np.log(integral) == pytest.approx(
        multivariate_normal(cov=study_cov(predictor, TABLE)).logpdf(away), abs=1e-6
    )


def test_without_effects_nothing_changes(tmp_path: Path) -> None:
    table = TABLE.replace({"study_M0": 0.0, "study_turnover": 0.0, "study_rest": 1.0, "study_rest_anabolic": 1.0})
    found = []
    for more in ("", "studies = true\n"):
        problem = make_problem(load_spec(spec_with(tmp_path, more)), table)
        theta = np.array([p.start for p in problem.spec.parameters])
        found += [problem.residuals(theta), problem.residuals_of(theta[None], rtol=1e-7)[0]]
    np.testing.assert_allclose(found[2], found[0], rtol=1e-12)
    np.testing.assert_allclose(found[3], found[1], rtol=1e-12)


def test_figures_of_a_study_move_together_and_those_of_two_studies_do_not() -> None:
    predictor = Predictor(evidence_of("freedom-denosumab", "decide-denosumab"), TABLE)
    seen = predictor.evidence.observations
    more = study_cov(predictor, TABLE) - cov(seen, RHO, TABLE["study_rest"])
    change = study_effects(predictor, TABLE)
    own = (seen["arm"] == "freedom-denosumab").to_numpy()
    assert own.any()
    assert (~own).any()
    assert not more[np.ix_(own, ~own)].any()
    np.testing.assert_allclose(more[np.ix_(own, own)], (change @ change.T)[np.ix_(own, own)], atol=1e-9)
    assert (np.linalg.eigvalsh(more) > -1e-9).all()


def test_an_effect_is_the_change_of_a_figure_where_its_parameters_are_one_sd_away() -> None:
    predictor = Predictor(evidence_of("freedom-denosumab"), TABLE, rtol=1e-7)
    change = study_effects(predictor, TABLE)
    for k, (sd, names) in enumerate(EFFECTS.items()):
        up, down = (predictor(TABLE.replace({n: TABLE[n] * np.exp(s * TABLE[sd]) for n in names})) for s in (1, -1))
        np.testing.assert_allclose(change[:, k], (up - down) / 2, rtol=1e-3, atol=1e-4)


def test_studies_that_contradict_each_other_leave_the_typical_patient_in_the_middle(tmp_path: Path) -> None:
    """FREEDOM has twice the figures of the other: it outvotes it, unless each study is one voice."""
    evidence = evidence_of("freedom-denosumab", "decide-denosumab")
    rows = evidence.observations
    large = (rows["arm"] == "freedom-denosumab").to_numpy()
    assert large.sum() > 1.5 * (~large).sum()
    names, off = EFFECTS["study_turnover"], 0.2
    up, down = (
        Predictor(evidence, TABLE, rtol=1e-7)(TABLE.replace({n: TABLE[n] * np.exp(s * off) for n in names}))
        for s in (1, -1)
    )
    rows["value"] = np.where(large, up, down) + rows["offset"]
    table = TABLE.replace({"study_M0": 0.0, "study_turnover": 0.5})
    middle = []
    for more in ("", "studies = true\n"):
        text = spec_with(tmp_path, more).read_text("utf-8").replace("prior = { mean = 0.25, sd = 1.0 }\n", "")
        (tmp_path / "two.toml").write_text(text, "utf-8")
        problem = Problem(load_spec(tmp_path / "two.toml"), table, evidence)
        theta = start = np.log([TABLE[p.name] for p in problem.spec.parameters])
        for _ in range(3):
            slope = problem.jacobian(theta)
            theta = theta - np.linalg.lstsq(slope, problem.residuals(theta), rcond=None)[0]
        middle.append((theta - start) / off)
    outvoted, fair = middle
    assert outvoted[0] > 0.5
    assert np.abs(fair).max() < 0.15


def test_the_sds_of_the_effects_are_those_of_the_shipped_figures() -> None:
    """By restricted likelihood (Patterson and Thompson 1971, doi:10.1093/biomet/58.3.545), over all figures.

    The parameters are integrated out, with residuals linear in the normal scores of their priors: estimates that have
    followed the figures make studies look more alike than they are. `study_M0` is assumed, within what they allow.
    """
    spec = load_spec("default")
    problem = make_problem(spec)
    n, predictor = len(problem.observed), Predictor(problem.evidence, TABLE)
    theta = np.array([p.start for p in spec.parameters])
    scores = Scores.of(spec.parameters)
    z, whole = scores.scores(theta), np.linalg.cholesky(problem.covariance)
    slope, here = problem.jacobian(theta) * scores.slope(scores.scores(theta)), problem.residuals(theta)
    prior, at = np.vstack([slope[n:], np.eye(len(z))]), np.concatenate([here[n:], z])
    slope, away = whole @ slope[:n], whole @ here[:n]

    def minus_twice(covariance: np.ndarray) -> float:
        root = np.linalg.cholesky(covariance)
        own, seen = np.linalg.solve(root, slope), np.linalg.solve(root, away)
        information = prior.T @ prior + own.T @ own
        pull = prior.T @ at + own.T @ seen
        determinants = 2 * np.log(np.diag(root)).sum() + np.linalg.slogdet(information)[1]
        return float(determinants + seen @ seen + at @ at - pull @ np.linalg.solve(information, pull))

    def with_sds(**changed: float) -> float:
        return minus_twice(study_cov(predictor, TABLE.replace(changed)))

    best = with_sds()
    assert best < minus_twice(problem.covariance) - 40
    assert best < with_sds(study_rest_anabolic=TABLE["study_rest"]) - 15
    for name in ("study_turnover", "study_rest", "study_rest_anabolic"):
        for factor in (0.6, 1.6):
            assert best < with_sds(**{name: factor * TABLE[name]}), (name, factor)
    assert best < with_sds(study_M0=0.0) - 3.84
    assert best < with_sds(study_M0=0.42) + 3.84


def test_a_figure_without_a_value_in_a_neighbouring_study_is_named() -> None:
    predictor = Predictor(evidence_of("freedom-denosumab"), TABLE)
    predictor.of_vectors = lambda moved, table: np.full((len(moved), len(predictor.evidence.observations)), np.nan)
    with pytest.raises(RunFailed, match=r"observations\.csv:\d+: .* one SD away"):
        study_cov(predictor, TABLE)


def test_studies_are_no_matter_of_spreads_between_patients(tmp_path: Path) -> None:
    path = tmp_path / "spread.toml"
    path.write_text('kind = "between-patient"\nstudies = true\n[[parameter]]\nname = "kT.cv"\nstart = 0.5\n', "utf-8")
    with pytest.raises(BadInput, match=r"spread\.toml:2: studies differ in typical values"):
        load_spec(path)
