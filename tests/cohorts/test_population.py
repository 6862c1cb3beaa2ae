import pickle
import re
from dataclasses import replace

import numpy as np
import pytest
import threadpoolctl
from scipy.special import ndtri
from scipy.stats import qmc

from ranklsim.cohorts.conduct.patients import draw, typical
from ranklsim.cohorts.people import population_file
from ranklsim.cohorts.people.criteria import admitted
from ranklsim.cohorts.people.joint import COLUMNS, POINTS, sobol
from ranklsim.cohorts.people.population_file import POPULATIONS, list_populations, load_population
from ranklsim.cohorts.protocol.trial import load_trial
from ranklsim.pkpd.biology.skeleton import NAMES, t_score
from ranklsim.pkpd.errors import BadInput
from ranklsim.pkpd.parameters import ParameterTable, load_parameters
from ranklsim.pkpd.simulation import COVARIATES


@pytest.fixture(scope="module")
def parameters():
    return load_parameters()


def a_trial(name="postmenopausal-osteoporosis", *, eligible=None, **overrides):
    trial = load_trial("modality")
    who = replace(trial.population, name=name, eligible=eligible or {})
    return replace(trial, population=who).with_overrides(**overrides)


@pytest.mark.parametrize("dimensions", [1, 2, 7, len(COLUMNS)])
def test_the_cloud_of_persons_is_the_sobol_sequence_of_scipy_to_the_last_bit(dimensions):
    known = ndtri(qmc.Sobol(dimensions, scramble=False).random(POINTS) + 0.5 / POINTS)
    assert np.array_equal(sobol(dimensions), known)


@pytest.mark.slow
@pytest.mark.parametrize("name", list_populations())
def test_the_included_look_as_published(name, parameters):
    n = 8000
    people = draw(a_trial(name), parameters, range(1, n + 1)).covariates
    for row in load_population(name).published().itertuples():
        if row.covariate == "age_at_menopause":
            continue  # given within the years since menopause
        x = people[row.covariate]
        if row.statistic == "share" and row.range_high == row.range_high:
            x = (x <= row.range_high).astype(float)
        got = {
            "mean": x.mean,
            "sd": x.std,
            "median": x.median,
            "share": x.mean,
            "cv": lambda x=x: np.sqrt(np.expm1(np.log(x).std() ** 2)),
        }[row.statistic]()
        error = max(x.std(), 1e-9) / np.sqrt(n)
        off = 0.01 * x.std() if row.statistic != "cv" else 0.01
        assert abs(got - row.value) < 4.5 * error + off, f"{row.covariate} {row.statistic} is {got:.3g}"


@pytest.mark.slow
def test_a_patient_depends_on_nobody_else(parameters):
    trial = a_trial()
    among = draw(trial, parameters, [9, 700, 3, *range(1000, 1300)])
    for place in range(0, 303, 13):
        alone = draw(trial, parameters, [among.covariates["patient"].iloc[place]])
        assert (alone.covariates.iloc[0] == among.covariates.iloc[place]).all()
        assert (alone.persons.iloc[0] == among.persons.iloc[place]).all()


def test_who_is_eligible_anyway_is_not_changed_by_a_criterion(parameters):
    number = range(1, 400)
    wide = draw(a_trial(), parameters, number)
    criteria = {"age": (65.0, None), "T_LS": (None, -2.5)}
    narrow = draw(a_trial(eligible=criteria), parameters, number)
    kept = admitted(criteria, wide.covariates)
    assert 0.2 < kept.mean() < 0.9
    assert (wide.covariates[kept] == narrow.covariates[kept]).all(axis=None)
    assert (wide.persons[kept] == narrow.persons[kept]).all(axis=None)
    assert admitted(criteria, narrow.covariates).all()


def test_the_part_of_a_parameter_that_covariates_do_not_explain_is_the_same_under_any_criterion(parameters):
    number = range(1, 200)
    wide = draw(a_trial(), parameters, number).persons
    narrow = draw(a_trial(eligible={"age": (80.0, None)}), parameters, number).persons
    assert (wide["fold_CL"] == narrow["fold_CL"]).all()
    assert np.corrcoef(np.log(wide["kT"]), np.log(narrow["kT"]))[0, 1] > 0.4


def test_seed_and_replicate_give_other_people(parameters):
    base = draw(a_trial(), parameters, range(1, 50)).covariates
    seed = draw(a_trial(seed=0), parameters, range(1, 50)).covariates
    replicate = draw(a_trial(), parameters, range(1, 50), replicate=1).covariates
    assert not np.isin(seed["age"], base["age"]).any()
    assert not np.isin(replicate["age"], base["age"]).any()


def test_covariates_set_the_parameters_of_the_same_meaning(parameters):
    people = draw(a_trial(), parameters, range(1, 50))
    for covariate, symbol in COVARIATES.items():
        assert (people.persons[symbol] == people.covariates[covariate]).all()
    for site in NAMES:
        assert t_score(parameters, site, people.persons[f"BMD0_{site}"]).to_numpy() == pytest.approx(
            people.covariates[f"T_{site}"].to_numpy()
        )
    x = people.covariates
    assert x["BMI"].to_numpy() == pytest.approx((x["weight"] / (x["height"] / 100) ** 2).to_numpy())
    assert list(x.columns) == ["patient", *COLUMNS]


def test_turnover_goes_with_the_baseline_markers(parameters):
    people = draw(a_trial(), parameters, range(1, 4000))
    log = np.log(people.persons[["CTX0", "P1NP0", "kT", "kC"]]).corr()
    assert log.loc["CTX0", "P1NP0"] == pytest.approx(0.70, abs=0.05)
    assert log.loc["CTX0", "kT"] == pytest.approx(0.60, abs=0.05)
    assert log.loc["kT", "kC"] == pytest.approx(0.60, abs=0.05)
    assert abs(np.corrcoef(np.log(people.persons["fold_CL"]), log_ctx(people))[0, 1]) < 0.06


def log_ctx(people):
    return np.log(people.persons["CTX0"])


def test_parameters_spread_as_their_rows_say(parameters):
    persons = draw(a_trial(), parameters, range(1, 8001)).persons
    set_by_covariates = {*COVARIATES.values()}
    for symbol in set(parameters.varying()) - set_by_covariates:
        row = parameters.frame.loc[symbol]
        x = persons[symbol]
        assert x.median() == pytest.approx(row["value"], rel=0.02, abs=0.05 * x.std()), symbol
        if row["distribution"] == "lognormal":
            assert np.sqrt(np.expm1(np.log(x).std() ** 2)) == pytest.approx(row["cv"], rel=0.05), symbol
        elif row["distribution"] == "logitnormal":
            assert x.between(0, 1, inclusive="neither").all()
            assert x.std() / x.mean() == pytest.approx(row["cv"], rel=0.15), symbol


def test_only_a_hard_bound_truncates(parameters):
    def with_note(note):
        frame = parameters.frame.copy()
        frame.loc["tW", ["low", "high", "note"]] = [200.0, 230.0, note]
        return draw(a_trial(), ParameterTable(frame), range(1, 500)).persons["tW"]

    free, bound = with_note(""), with_note("hard bound: a test")
    assert free.min() < 200 < 230 < free.max()
    assert bound.between(200, 230).all()
    assert bound.nunique() == bound.size  # truncated, not clipped
    assert (bound.rank() == free.rank()).all()


def test_without_the_layer_everybody_is_the_typical_patient(parameters):
    trial = a_trial(layers={"patients": False})
    people = draw(trial, parameters, [4, 7])
    assert people.covariates["patient"].tolist() == [4, 7]
    assert (people.persons.nunique() == 1).all()
    one = typical(trial, parameters)
    assert (people.persons.iloc[0] == one.persons.iloc[0]).all()
    assert "kT" not in people.persons  # typical, as the table has it
    assert one.covariates["age"].iloc[0] == pytest.approx(72.2, abs=0.5)


def test_the_typical_patient_is_eligible(parameters):
    for eligible in ({"age": (80.0, None)}, {"weight": (None, 50.0)}, {"T_LS": (-1.9, None)}):
        trial = a_trial(eligible=eligible)
        assert admitted(eligible, typical(trial, parameters).covariates).all(), eligible


def test_criteria_that_hardly_anyone_fulfils_are_refused(parameters):
    trial = a_trial(eligible={"age": (60.0, 61.0), "T_TH": (0.5, None)})
    with pytest.raises(BadInput, match=r"fewer than 1 in 2000 of population 'postmenopausal-osteoporosis'.*widen age"):
        draw(trial, parameters, [1])


def test_criteria_that_nobody_fulfils_are_found_by_file_and_line(parameters, tmp_path):
    text = load_trial("freedom").source_text
    line = next(k for k, words in enumerate(text.splitlines(), 1) if words.startswith("eligible"))
    text = re.sub(r"(?m)^eligible.*$", 'eligible = { age = "60..61 yr", T_TH = ">= 0.5" }', text)
    (tmp_path / "nobody.toml").write_text(text, encoding="utf-8")
    with pytest.raises(BadInput, match=rf"^nobody\.toml:{line}: eligible: fewer than 1 in 2000"):
        draw(load_trial(tmp_path / "nobody.toml"), parameters, [1])


@pytest.mark.parametrize("name", ["postmenopausal-osteoporosis", "chronic-kidney-disease"])
def test_a_population_does_not_depend_on_the_number_of_threads(name):
    found = []
    for threads in (1, 2):
        population_file._declared.cache_clear()
        with threadpoolctl.threadpool_limits(threads):
            found.append(load_population(name).tilt)
    assert pickle.dumps(found[0]) == pickle.dumps(found[1])


def test_an_unknown_population_gets_the_closest_name():
    with pytest.raises(BadInput, match="did you mean 'low-bone-mass'"):
        load_population("low-bonemass")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            '["T_TH", "T_FN", 0.87]',
            '["T_TH", "T_FN", -0.87]',
            r"x\.toml:\d+: .*contradict each other: T_TH with T_FN is -0.87",
        ),
        ('["T_TH", "T_FN", 0.87]', '["T_TH", "T_FN", 1.87]', r"x\.toml:\d+: T_TH with T_FN: 1.87 is not a correlation"),
        ('["T_TH", "T_FN", 0.87]', '["T_TH", "T_HF", 0.87]', r"'T_HF' has no marginal; did you mean 'T_TH'"),
        ("mean         = -2.8", "mean         = -2.45", r"no distribution of \S+ gives .* among those"),
        ("mean         = 72.3", "mena         = 72.3", r"x\.toml:\d+: unknown key 'mena'; did you mean 'mean'"),
        ('unit         = "kg/m2"', 'unit         = "kg"', r"x\.toml:\d+: BMI: \"kg\" cannot be turned into"),
        ('covariate    = "eGFR"', 'covariate    = "GFR"', r"unknown covariate 'GFR'; did you mean 'eGFR'"),
        ("sd           = 5.2", "sd           = -5.2", r"x\.toml:\d+: age: give a positive spread"),
        ("share        = 0.236", "share        = 23.6", r"a share lies within 0 to 1"),
    ],
)
def test_a_faulty_population_file_is_refused_with_its_line(tmp_path, old, new, message):
    text = (POPULATIONS / "postmenopausal-osteoporosis.toml").read_text()
    assert old in text
    (tmp_path / "x.toml").write_text(text.replace(old, new))
    with pytest.raises(BadInput, match=message):
        load_population("x", tmp_path)


def test_women_with_kidney_disease_have_a_low_egfr_and_are_older(parameters):
    ckd, freedom = (
        draw(a_trial(name), parameters, range(1, 400)).covariates
        for name in ("chronic-kidney-disease", "postmenopausal-osteoporosis")
    )
    assert ckd["eGFR"].between(15, 60).all()
    assert ckd["age"].mean() > freedom["age"].mean() + 2
