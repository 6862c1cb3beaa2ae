"""Fitting: a known truth is found again, specs are checked by line, what is not converged does not look converged."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import small_fit
from scipy import stats
from scipy.stats import norm

from ranklsim.pkpd.ensemble import ensemble
from ranklsim.pkpd.errors import BadInput, RunFailed
from ranklsim.pkpd.evidence.errors import cov
from ranklsim.pkpd.evidence.predictions import Predictor
from ranklsim.pkpd.evidence.records import load_evidence
from ranklsim.pkpd.fitting import fit as fitting
from ranklsim.pkpd.fitting import work
from ranklsim.pkpd.fitting.posterior import centre
from ranklsim.pkpd.fitting.sizes import misfits, sizes
from ranklsim.pkpd.fitting.spec import Fitted, load_spec, methods, transformed
from ranklsim.pkpd.mice.genetics import value_of
from ranklsim.pkpd.mice.laboratory import Laboratory
from ranklsim.pkpd.parameters import load_parameters
from ranklsim.pkpd.ranges import natural, ranges


def small(folder: Path, starts: int = 1, most: int = 200) -> Path:
    return small_fit(folder, 'name  = "c0"\nstart = 0.2', starts, most)


POSTERIOR = 'method = "posterior"\noptions = {{ {} }}'


@pytest.fixture(scope="module")
def truth_found(tmp_path_factory: pytest.TempPathFactory) -> tuple[fitting.Fit, pd.DataFrame]:
    """A fit to figures that the model itself made at kT = 0.25, c0 = 0.12."""
    folder = tmp_path_factory.mktemp("truth")
    spec = load_spec(small(folder))
    problem = fitting.make_problem(spec)
    made = Predictor(problem.evidence, rtol=1e-7)(load_parameters().replace({"kT": 0.25, "c0": 0.12}))
    problem.evidence.observations["value"] = made
    problem.observed = made
    row = fitting._one_start(problem, np.array([p.start for p in spec.parameters]), 0, None)
    theta = np.array([row["theta_kT"], row["theta_c0"]])
    found = fitting.Fit(
        problem, theta, row["objective"], row["converged"], row["message"], pd.DataFrame([row]), problem.jacobian(theta)
    )
    return found, fitting.profile(found, points=4)


def test_figures_made_by_the_model_give_back_their_parameters(truth_found: tuple[fitting.Fit, pd.DataFrame]) -> None:
    found, _ = truth_found
    values = found.problem.natural(found.theta)
    assert found.converged
    assert values["kT"] == pytest.approx(0.25, rel=1e-3)
    assert values["c0"] == pytest.approx(0.12, rel=1e-3)
    assert found.objective < 1e-4
    assert found.on_bound() == []


def test_profiles_rise_from_the_estimate_and_their_intervals_hold_the_truth(
    truth_found: tuple[fitting.Fit, pd.DataFrame],
) -> None:
    found, profiles = truth_found
    for name, mine in profiles.groupby("parameter"):
        least = mine["rise"].to_numpy().argmin()
        assert (np.diff(mine["rise"].to_numpy()[: least + 1]) <= 1e-9).all(), name
        assert (np.diff(mine["rise"].to_numpy()[least:]) >= -1e-9).all(), name
    table = fitting.intervals(found, profiles).set_index("parameter")
    assert table.loc["kT", "low"] < 0.25 < table.loc["kT", "high"]
    assert table["identified"].all()


def test_profile_interval_is_that_of_the_parabola_where_the_misfit_is_nearly_one(
    truth_found: tuple[fitting.Fit, pd.DataFrame],
) -> None:
    found, profiles = truth_found
    table = fitting.intervals(found, profiles).set_index("parameter")
    sd = np.sqrt(found.covariance[1, 1])  # c0 is fitted as it is
    assert (table.loc["c0", "high"] - table.loc["c0", "low"]) / 2 == pytest.approx(1.96 * sd, rel=0.1)


def test_information_and_correlation_have_the_shape_of_the_parameters(
    truth_found: tuple[fitting.Fit, pd.DataFrame],
) -> None:
    found, _ = truth_found
    assert np.allclose(np.diag(found.correlation), 1)
    assert (found.eigenvalues()["eigenvalue"] > 0).all()


def test_same_seed_same_result_and_a_resumed_fit_ends_alike(tmp_path: Path) -> None:
    spec = load_spec(small(tmp_path, starts=2, most=30))
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir(), second.mkdir()
    one = fitting.fit(spec, folder=first)
    (second / "start-000.json").write_bytes((first / "start-000.json").read_bytes())
    two = fitting.fit(spec, folder=second)
    assert np.array_equal(one.theta, two.theta)
    assert one.starts.equals(two.starts)


def test_a_fit_that_ran_out_of_evaluations_says_so(tmp_path: Path) -> None:
    found = fitting.fit(load_spec(small(tmp_path, most=2)))
    assert not found.converged
    assert "evaluations" in found.message


def test_points_of_one_curve_do_not_count_as_independent(tmp_path: Path) -> None:
    """Twice the same curve would halve the variance of independent points; a shared study effect keeps most of it."""
    problem = fitting.make_problem(load_spec(small(tmp_path)))
    covariance = np.linalg.inv(problem._whiten.T @ problem._whiten)
    curve = problem.evidence.observations["curve"]
    i, j = np.flatnonzero(curve == curve[curve != ""].iloc[0])[:2]
    assert covariance[i, j] == pytest.approx(0.5 * np.sqrt(covariance[i, i] * covariance[j, j]))


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('name  = "kT"', 'name  = "kTT"', "small.toml:8: unknown parameter 'kTT'; did you mean 'kT'?"),
        ("start = 0.35", "start = 0.35\nlow = 0.5\nhigh = 0.2", "small.toml:10: bounds of kT are the wrong way round"),
        ("start = 0.35", "start = 0.35\nhigh = 9.0", "0.08 to 0.6"),
        ("start = 0.35", "start = 0.05", "small.toml:9: start of kT is 0.05, outside its bounds"),
        ("start = 0.35", 'transform = "ln"', "\"ln\"; use 'none', 'log' or 'logit'"),
        ("mean = 0.25, sd = 1.0", "mean = 0.25, sd = -1", "prior of kT"),
        ("seed    = 3", 'method = "least_square"', "`method` is \"least_square\"; did you mean 'least_squares'?"),
        ("seed    = 3", "sede = 3", "small.toml:3: unknown key 'sede'; did you mean 'seed'?"),
        ("starts  = 1", "starts = 0", "starts = 0"),
        ("max_nfev", "max_nfevs", "takes no option 'max_nfevs'"),
        ('reason   = "to keep the test small"', "", '`reason` is missing; give reason = "no raw value"'),
        ('name  = "c0"', 'name  = "kT"', "kT appears twice"),
        ("seed    = 3", "parameter = [3]", "this is not valid TOML"),
        ("options = {", "options = { ftol = nan,", "ftol is nan; give text, a finite number or true."),
        ("{ max_nfev", '{ ftol = "little", max_nfev', "small.toml:5: method 'least_squares' does not run"),
        ("{ max_nfev", '{ loss = "soft", max_nfev', "small.toml:5: method 'least_squares' does not run"),
        ("{ max_nfev", '{ method = "lm", max_nfev', "small.toml:5: method 'least_squares' takes no option 'method'"),
        ("{ max_nfev", "{ verbose = 2, max_nfev", "small.toml:5: method 'least_squares' takes no option 'verbose'"),
        ("seed    = 3", 'method = "dogleg"', "method 'dogleg' does not run"),
        ("options = {", 'method = "nelder"\noptions = { fatal = 1.0,', "method 'nelder' does not run"),
        ("options = {", 'method = "brute"\noptions = { Ns = 5000,', "would try 2.5e+07 points"),
        ("options = { max_nfev = 200 }", POSTERIOR.format("particles = 3"), "6: 3 particles for 2 parameters"),
        ("options = { max_nfev = 200 }", POSTERIOR.format("particles = 9000000"), "give 20 to 6250000"),
        ("options = { max_nfev = 200 }", POSTERIOR.format("walkers = 30"), "takes no option 'walkers'"),
        ("starts  = 1", 'around = "old.csv"', "small.toml:4: earlier draws are where method"),
        ("sd = 1.0", "sd = inf", "sd = inf is not a finite number"),
        ("sd = 1.0", "sd = 1e300", "sd = 1e+300 is too large"),
        ("starts  = 1", "starts  = true", "`starts` = true has the wrong form; give starts = 3."),
    ],
)
def test_a_faulty_spec_is_told_by_line(tmp_path: Path, old: str, new: str, sentence: str) -> None:
    path = small(tmp_path)
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")
    with pytest.raises(BadInput) as fault:
        load_spec(path)
    assert sentence in str(fault.value)


def test_more_parameters_than_rows_and_no_rows_are_refused(tmp_path: Path) -> None:
    path = small(tmp_path)
    text = path.read_text("utf-8")
    path.write_text(
        text.replace('["freedom-denosumab", "freedom-placebo"]', '["label-single"]\nendpoint = "Cmax"'), "utf-8"
    )
    with pytest.raises(BadInput, match="2 parameters are more than the 1 rows"):
        fitting.make_problem(load_spec(path))
    path.write_text(text.replace('["freedom-denosumab", "freedom-placebo"]', '["no-such-arm"]'), "utf-8")
    with pytest.raises(BadInput, match="no row of the evidence is left"):
        fitting.make_problem(load_spec(path))


def test_the_shipped_spec_reads_and_the_shipped_values_are_what_it_starts_from() -> None:
    spec, table = load_spec("default"), load_parameters()
    for p in spec.parameters:
        assert p.natural(p.start) == pytest.approx(table[p.name]), p.name
    assert fitting.make_problem(spec).observed.size > 200


def test_every_method_offered_is_one_of_lmfit_or_draws_from_the_posterior() -> None:
    import lmfit

    assert {"least_squares", "posterior"} <= set(methods())
    for name in set(methods()) - {"posterior"}:
        minimiser = getattr(lmfit.Minimizer, name, None)
        assert minimiser is not None or name in lmfit.minimizer.SCALAR_METHODS


def test_evidence_of_the_default_fit_leaves_out_only_agents_of_other_kinds_and_calcium() -> None:
    rows = load_evidence().observations
    left_out = rows[~load_spec("default").chosen(rows)]
    arms = load_evidence().arms
    for row in left_out.to_dict("records"):
        others = {r.agent for r in arms[row["arm"]].regimens} - {"denosumab", "placebo"}
        assert others or row["endpoint"] == "time_of_nadir", row


@pytest.mark.slow
def test_the_default_values_are_the_centre_of_the_ensemble() -> None:
    spec, drawn = load_spec("ensemble"), ensemble()
    problem = fitting.make_problem(spec)
    theta = np.array([[transformed(x, p.transform) for x in drawn[p.name]] for p in spec.parameters]).T
    start = np.array([p.start for p in spec.parameters])
    found = centre(theta, spec.parameters, problem.residuals_of, problem.jacobian)
    assert np.abs((found - start) / theta.std(axis=0)).max() < 0.02
    low, high = np.quantile(theta, [0.25, 0.75], axis=0)
    outside = [p.name for p, inside in zip(spec.parameters, (low < start) & (start < high), strict=True) if not inside]
    assert not outside, "a parameter lies outside the central half of its draws"


def test_a_spec_that_is_like_another_takes_what_it_does_not_say_from_it(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('like = "default"\nfixed = { rint = 2.0 }\nscenario = []\n[[parameter]]\nname = "sig"\n', "utf-8")
    mine, default = load_spec(path), load_spec("default")
    assert {p.name for p in mine.parameters} == {p.name for p in default.parameters} - {"rint"} | {"sig"}
    assert [s.fixed for s in mine.scenarios] == [{}]
    assert mine.exclude == default.exclude
    path.write_text('like = "mine.toml"\n', "utf-8")
    with pytest.raises(BadInput, match="comes back to a fit that is like this one"):
        load_spec(path)
    path.write_text('like = "nothing"\n', "utf-8")
    with pytest.raises(BadInput, match="like is 'nothing'"):
        load_spec(path)


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ("kT,c0\n" + "0.3,0.1\n" * 3, "old.csv: 3 draws of 2 parameters; give at least 4."),
        (
            "kT,c0\n" + "0.3,0.1\n" * 4 + "9,0.1\n",
            "old.csv:6: column kT: 9 is beyond the bounds of the fit, 0.08 to 0.6.",
        ),
        ("kT,c0\n" + "0.3,0.1\n" * 4 + "0.3,\n", "old.csv:6: column c0: it is empty; give a number."),
        ("kT\n0.3\n", "old.csv:1: column c0 is missing"),
        ("kT,c0\n" + "0.3,0.1\n0.2,0.1\n" * 4, "old.csv: in these draws c0 never differs; give draws in which every"),
        (
            "kT,c0\n" + "".join(f"{0.2 * 1.1**k},{0.05 * k}\n" for k in range(1, 6)),
            "old.csv: in these draws some parameters follow from the others",
        ),
    ],
)
def test_earlier_draws_that_the_fit_cannot_begin_around_are_told_by_line(
    tmp_path: Path, rows: str, sentence: str
) -> None:
    path = small(tmp_path)
    text = path.read_text("utf-8").replace("options = { max_nfev = 200 }", 'method = "posterior"\naround = "old.csv"')
    path.write_text(text, "utf-8")
    (tmp_path / "old.csv").write_text(rows, "utf-8")
    with pytest.raises(BadInput, match=re.escape(sentence)):
        fitting.earlier_draws(load_spec(path))


def test_earlier_draws_of_a_fit_that_another_is_like_are_where_that_one_says(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('like = "ensemble"\ntitle = "Mine"\n', "utf-8")
    around = load_spec(path).around
    assert around is not None
    assert around.samefile(load_spec("ensemble").around)
    path.write_text('like = "ensemble"\naround = ""\n', "utf-8")
    assert load_spec(path).around is None


def test_draws_from_the_posterior_are_of_typical_values_only(tmp_path: Path) -> None:
    path = tmp_path / "spreads.toml"
    path.write_text('like = "between_patient"\nmethod = "posterior"\n', "utf-8")
    with pytest.raises(BadInput, match=r"spreads\.toml:2: posterior draws typical values"):
        load_spec(path)


@pytest.mark.parametrize("transform", ["none", "log", "logit"])
def test_every_end_of_a_range_is_itself_after_the_way_to_the_fitted_scale_and_back(transform: str) -> None:
    """exp(log(0.08)) is less than 0.08, and 43 of 184 ends round outwards like it."""
    seen = 0
    for name, row in load_parameters().frame.iterrows():
        low, high = float(row["low"]), float(row["high"])
        if not low < high or (transform != "none" and low <= 0) or (transform == "logit" and high >= 1):
            continue
        ends = [transformed(x, transform) for x in (low, high)]
        one = Fitted(str(name), transform, ends[0], *ends, within=(low, high))
        assert (one.natural(ends[0]), one.natural(ends[1])) == (low, high), name
        inside = np.concatenate([np.nextafter(ends, ends[::-1]), np.linspace(*ends, 50)])
        assert all(low <= one.natural(float(x)) <= high for x in inside), name
        seen += 1
    assert seen > 10


def test_no_value_that_is_studied_leaves_its_range() -> None:
    frame = ranges(load_parameters())
    for share in (0.0, 1e-17, 0.5, 1.0):
        assert (natural(np.full(len(frame), share), frame) >= frame["low"]).all()
        assert (natural(np.full(len(frame), share), frame) <= frame["high"]).all()


def cut(problem: fitting.Problem, above: float) -> fitting.Problem:
    """The problem where no vector with kT above a value can be simulated."""
    real = problem.predict

    def predict(theta: np.ndarray, fixed: dict[str, float] | None = None) -> np.ndarray:
        if problem.natural(theta)["kT"] > above:
            raise RunFailed("the patient cannot be simulated")
        return real(theta, fixed)

    problem.predict = predict  # type: ignore[method-assign]
    return problem


def test_a_search_goes_round_what_cannot_be_simulated_and_keeps_its_best(tmp_path: Path) -> None:
    """The optimum of kT lies near 0.2; nothing above 0.36, right beside the start, can be simulated."""
    spec = load_spec(small(tmp_path))
    free = fitting.fit(spec)
    walled = fitting.fit(spec, problem=cut(fitting.make_problem(spec), 0.36))
    assert walled.objective == pytest.approx(free.objective, rel=1e-3)
    fitting.profile(walled, points=2)


def test_a_fit_of_which_no_vector_can_be_simulated_says_why(tmp_path: Path) -> None:
    spec = load_spec(small(tmp_path))
    with pytest.raises(RunFailed, match=r"small\.toml: no start could be evaluated; the patient cannot be simulated"):
        fitting.fit(spec, problem=cut(fitting.make_problem(spec), 0.0))


@pytest.mark.parametrize("damage", [b"", b"{", b"0" * 32 + b"\n{}"])
def test_kept_work_that_is_damaged_is_done_again(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "start-000.json"
    work.keep(path, {"a": [1.5, None]})
    assert work.kept(path) == {"a": [1.5, None]}
    path.write_bytes(damage)
    assert work.kept(path) is None
    work.keep_arrays(path, a=np.arange(3))
    assert work.kept_arrays(path)["a"].tolist() == [0, 1, 2]
    path.write_bytes(path.read_bytes()[:-9])
    assert work.kept_arrays(path) is None
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_a_figure_below_its_limit_counts_by_the_probability_that_it_is(tmp_path: Path) -> None:
    problem = fitting.make_problem(load_spec(small(tmp_path)))
    row = problem.evidence.observations.index[0]
    problem.evidence.observations.loc[row, "below"] = True
    censored = fitting.Problem(problem.spec, problem.table, problem.evidence)
    sd = float(np.sqrt(cov(problem.evidence.observations, fitting.RHO)[0, 0]))
    for off in (-3.0, -0.5, 0.0, 2.0):
        predicted = problem.observed + off * sd
        found = censored.misfit(predicted.copy())
        assert (found[0] / sd) ** 2 == pytest.approx(-2 * stats.norm.logcdf(-off))
        np.testing.assert_allclose(found[1:], problem.misfit(predicted)[1:])


def test_two_fits_to_mice_differ_by_the_likelihood_of_the_sizes(tmp_path: Path) -> None:
    """Squares of a size and of the root of twice the logarithm of its SD: a normal density, but for a constant."""
    table = load_parameters()
    found = misfits(pd.DataFrame({"transfer": [0.1, 0.4]}), table, 1e-5)
    n = len(sizes())
    assert found.shape == (2, 2 * n)
    laboratory = Laboratory(table, pd.DataFrame(index=range(1)))
    error = np.array([value_of(laboratory, size.row)[0] - size.mean for size in sizes()])
    minus_twice = []
    for transfer in (0.1, 0.4):
        sd = np.array([np.hypot(size.sd, transfer * size.span) for size in sizes()])
        minus_twice.append(-2 * norm.logpdf(error, 0, sd).sum())
    assert np.diff(np.square(found).sum(axis=1)) == pytest.approx(np.diff(minus_twice), rel=1e-3)


def test_a_fit_by_molecule_refuses_a_share_that_needs_another_gradient(tmp_path: Path) -> None:
    path = tmp_path / "by-molecule.toml"
    rows = 'name = "sig"\ntransform = "logit"\nlow = 1e-6\nstart = {}\n[[parameter]]\nname = "rho"\n'
    include = '[[include]]\narm = ["label-single"]\n'
    for start, possible in ((0.02, True), (0.45, False)):
        path.write_text("mice = true\n" + include + "[[parameter]]\n" + rows.format(start), "utf-8")
        problem = fitting.make_problem(load_spec(path))
        theta = np.array([p.start for p in problem.spec.parameters])
        together = problem.residuals_of(theta[None])[0]
        assert np.isfinite(together).all() == possible
        if possible:
            assert problem.residuals(theta) == pytest.approx(together, rel=1e-2, abs=1e-2)
        else:
            with pytest.raises(RunFailed, match="free sRANKL in marrow over that in serum"):
                problem.residuals(theta)
