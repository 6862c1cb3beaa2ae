"""Populations of one's own: a file, or a table of women, beside the trial."""

import pickle
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from helpers import arm, change, trial_file
from scipy.stats import spearmanr

from ranklsim.cohorts.conduct.patients import draw, population_of, typical
from ranklsim.cohorts.people.population_file import POPULATIONS, load_population
from ranklsim.cohorts.protocol.trial import load_trial
from ranklsim.cohorts.running.execution import run
from ranklsim.cohorts.running.storage import open_run
from ranklsim.pkpd.errors import BadInput, Caution
from ranklsim.pkpd.parameters import load_parameters

KNOWN = ["age", "years_since_menopause", "weight", "height", "eGFR", "T_LS", "T_TH", "prevalent_fracture", "CTX"]
FILE = """
title  = "Women of a clinic"
table  = "patients.csv"
like   = "low-bone-mass"
ignore = ["id"]
"""
OLDER = """
[[target]]
covariate = "age"
mean      = 63.0
sd        = 6.5
status    = "assumed"
source    = "a test"

[[target]]
covariate = "eGFR"
share     = 0.3
high      = 70
status    = "assumed"
source    = "a test"
"""


@pytest.fixture(scope="module")
def parameters():
    return load_parameters()


@pytest.fixture(scope="module")
def women():
    """120 women of a shipped population, to play the table."""
    people = load_population("low-bone-mass").enrolled.iloc[::70].head(120).reset_index(drop=True)
    table = people[KNOWN].round({"age": 1, "years_since_menopause": 1, "weight": 1, "height": 1, "eGFR": 0, "CTX": 3})
    return table.assign(prevalent_fracture=np.arange(120) % 5 == 0).astype({"prevalent_fracture": int})


def write(folder, women, more="", text=FILE):
    women.assign(id=[f"W{k}" for k in range(len(women))]).to_csv(folder / "patients.csv", index=False)
    (folder / "clinic.toml").write_text(text + more, encoding="utf-8")
    return load_population("clinic", folder)


def clinic():
    return replace(load_trial("modality").population, name="clinic", eligible={})


def drawn(folder, parameters, numbers):
    return draw(replace(load_trial("modality"), population=clinic(), populations=folder), parameters, numbers)


def test_without_smoothing_every_patient_is_a_woman_of_the_table(tmp_path, women, parameters):
    write(tmp_path, women)
    people = drawn(tmp_path, parameters, range(1, 400)).covariates
    own = {tuple(row) for row in women[["weight", "height", "eGFR", "T_LS", "T_TH", "CTX"]].to_numpy()}
    for row in people[["weight", "height", "eGFR", "T_LS", "T_TH", "CTX"]].to_numpy():
        assert tuple(row) in own
    assert people["P1NP"].nunique() == len(people)  # not in the table: drawn
    assert people["weight"].nunique() > 90


def test_smoothing_makes_new_women_with_the_marginals_and_correlations_of_the_table(tmp_path, women, parameters):
    write(tmp_path, women, "smoothing = 0.5\n")
    people = drawn(tmp_path, parameters, range(1, 4000)).covariates
    assert people["weight"].nunique() > 3000
    for name in KNOWN:
        spread = women[name].std()
        assert people[name].mean() == pytest.approx(women[name].mean(), abs=0.08 * spread), name
        assert people[name].std() == pytest.approx(spread, rel=0.12), name
        assert people[name].min() >= women[name].min() - (10 if name == "years_since_menopause" else 1e-9)
    for a, b in (("T_LS", "T_TH"), ("age", "eGFR"), ("height", "weight")):
        assert spearmanr(people[a], people[b])[0] == pytest.approx(spearmanr(women[a], women[b])[0], abs=0.12)


def test_what_the_table_lacks_goes_with_what_it_has_as_in_the_population_that_it_is_like(tmp_path, women, parameters):
    write(tmp_path, women)
    people = drawn(tmp_path, parameters, range(1, 4000))
    like = load_population("low-bone-mass").enrolled
    x = people.covariates
    assert x["P1NP"].median() == pytest.approx(like["P1NP"].median(), rel=0.06)
    assert spearmanr(x["CTX"], x["P1NP"])[0] == pytest.approx(spearmanr(like["CTX"], like["P1NP"])[0], abs=0.08)
    assert spearmanr(people.persons["CTX0"], people.persons["kT"])[0] == pytest.approx(0.58, abs=0.06)


def test_missing_values_are_drawn_given_the_rest(tmp_path, women, parameters):
    holes = women.astype(object)
    holes.loc[np.arange(120) % 3 == 0, "T_TH"] = ""
    population = write(tmp_path, holes)
    people = drawn(tmp_path, parameters, range(1, 3000)).covariates
    seen = women["T_TH"][np.arange(120) % 3 > 0]
    filled = people[~people["T_TH"].isin(seen)]
    assert 0.25 < len(filled) / len(people) < 0.42
    assert spearmanr(filled["T_TH"], filled["T_LS"])[0] == pytest.approx(spearmanr(women.T_TH, women.T_LS)[0], abs=0.25)
    assert "40 missing values drawn given the rest" in population.method


def test_a_value_below_the_limit_stands_at_its_quantile(tmp_path, women):
    known = women["CTX"].to_numpy(float)
    limit = float(np.quantile(known, 0.3))
    cells = [f"<{limit:.3f}" if x < limit else f"{x:.6f}" for x in known]
    population = write(tmp_path, women.assign(CTX=cells))
    below = known < limit
    placed = population.table["CTX"].to_numpy(float)
    np.testing.assert_allclose(placed[~below], known[~below], rtol=1e-4)
    assert (placed[below] <= limit + 1e-3).all()
    assert np.log(placed).mean() == pytest.approx(np.log(known).mean(), abs=0.05)
    assert np.log(placed).std() == pytest.approx(np.log(known).std(), rel=0.1)
    assert f"{below.sum()} below {limit:.3g}" in population.method.replace(f"{limit:.3f}", f"{limit:.3g}")


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({0: "<0.2", 1: "<0.3"}, r"patients\.csv: column 'CTX': has limits from 0.2 to 0.3"),
        ({0: "<0.9"}, r"has values below its limit of 0.9 ng/mL; write those too as <0.9"),
        (dict.fromkeys(range(200), "<2"), "values are below the limit, too many"),
    ],
)
def test_values_below_a_limit_that_say_too_little_are_refused(tmp_path, women, cells, message):
    column = [cells.get(k, f"{x:.6f}") for k, x in enumerate(women["CTX"])]
    with pytest.raises(BadInput, match=message):
        write(tmp_path, women.assign(CTX=column))


def test_weights_bring_the_table_to_targets_and_say_what_they_cost(tmp_path, women, parameters):
    population = write(tmp_path, women, OLDER)
    size, n = population.effective_size
    assert n == 120
    assert 20 < size < 110
    assert f"effective sample size {size:.0f} (Kish)" in population.method
    people = drawn(tmp_path, parameters, range(1, 6000)).covariates
    assert people["age"].mean() == pytest.approx(63.0, abs=0.3)
    assert people["age"].std() == pytest.approx(6.5, abs=0.3)
    assert (people["eGFR"] <= 70).mean() == pytest.approx(0.3, abs=0.025)


@pytest.mark.parametrize("more", ["", "smoothing = 0.4\n"])
def test_a_patient_of_a_table_depends_on_nobody_else(tmp_path, women, parameters, more):
    holes = women.astype(object)
    holes.loc[::4, "CTX"] = ""
    write(tmp_path, holes, more + OLDER)
    among = drawn(tmp_path, parameters, range(1, 300))
    alone = drawn(tmp_path, parameters, [77])
    assert (alone.covariates.iloc[0] == among.covariates.iloc[76]).all()
    assert (alone.persons.iloc[0] == among.persons.iloc[76]).all()


def test_a_table_in_parquet_or_under_other_headings_and_units_is_the_same(tmp_path, women, parameters):
    write(tmp_path, women)
    plain = drawn(tmp_path, parameters, range(1, 50))
    (tmp_path / "other").mkdir()
    women.assign(H=women["height"] / 100).drop(columns="height").to_parquet(tmp_path / "other" / "t.parquet")
    text = 'table = "t.parquet"\nlike = "low-bone-mass"\ncolumns = { height = "H" }\nunits = { height = "m" }\n'
    (tmp_path / "other" / "clinic.toml").write_text(text, encoding="utf-8")
    other = drawn(tmp_path / "other", parameters, range(1, 50))
    pd.testing.assert_frame_equal(plain.covariates, other.covariates)


def test_a_declared_population_is_tilted_to_further_targets_and_keeps_the_rest(tmp_path):
    text = (POPULATIONS / "low-bone-mass.toml").read_text(encoding="utf-8")
    (tmp_path / "clinic.toml").write_text(
        text + '[[target]]\ncovariate = "age"\nshare = 0.2\nlow = 70\nstatus = "assumed"\nsource = "a test"\n'
    )
    before, after = load_population("low-bone-mass").enrolled, load_population("clinic", tmp_path).enrolled
    assert (before["age"] >= 70).mean() < 0.13
    assert (after["age"] >= 70).mean() == pytest.approx(0.2, abs=0.01)
    for name in ("age", "T_LS", "CTX", "eGFR"):
        assert after[name].mean() == pytest.approx(before[name].mean(), abs=0.05 * before[name].std()), name
    assert "Kish" in load_population("clinic", tmp_path).method


@pytest.mark.parametrize(
    ("row", "column", "value", "message"),
    [
        (3, "age", "172", r"patients\.csv:5: column 'age': 172 yr is outside what is possible, 18 to 110"),
        (0, "CTX", "low", r"patients\.csv:2: column 'CTX': 'low' is not a number"),
        (7, "prevalent_fracture", "2", r"patients\.csv:9: column 'prevalent_fracture': 2 is neither yes"),
        (2, "years_since_menopause", "55", r"patients\.csv:4: .*puts the menopause before the age of 20"),
    ],
)
def test_a_faulty_cell_is_refused_with_its_line_and_column(tmp_path, women, row, column, value, message):
    faulty = women.astype(object)
    faulty.loc[row, column] = value
    with pytest.raises(BadInput, match=message):
        write(tmp_path, faulty)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (FILE.replace('["id"]', "[]"), r"patients\.csv:1: column 'id' is not a covariate"),
        (FILE.replace('["id"]', '["id", "site"]'), r"patients\.csv:1: there is no column 'site'"),
        (FILE.replace("patients.csv", "women.csv"), r"clinic\.toml:3: table 'women.csv' beside .* no such file"),
        (FILE.replace("patients.csv", "../patients.csv"), r"clinic\.toml:3: table is .*name a file in"),
        (FILE.replace("patients.csv", "a\\u0000"), r"clinic\.toml:3: the text has a control character"),
        (FILE.replace("low-bone-mass", "../low-bone-mass"), r"clinic\.toml:4: .*fills what the table lacks"),
        (
            FILE.replace("low-bone-mass", "low-bonemass"),
            r"clinic\.toml:4: `like` is \"low-bonemass\".*lacks; did you mean 'low-bone-mass'",
        ),
        (FILE.replace('"low-bone-mass"', "5"), r"clinic\.toml:4: `like` is 5; it names the population"),
        (FILE.replace('like   = "low-bone-mass"\n', ""), r"clinic\.toml.*: `like` is missing; it names"),
        (FILE + "target = 3\n", r"clinic\.toml:6: `target` = 3 has the wrong form"),
        (FILE + "smoothing = 3\n", r"clinic\.toml:6: smoothing = 3 is not possible"),
        (FILE + "smooth = 0.3\n", r"clinic\.toml:6: unknown key 'smooth'; did you mean 'smoothing'"),
        (FILE + 'units = { height = "kg" }\n', r"clinic\.toml:6: height: \"kg\" cannot be turned into"),
        (FILE + OLDER.replace("mean      = 63.0\n", ""), r"clinic\.toml:7: age: give mean, mean and sd"),
        (FILE + OLDER.replace("high      = 70\n", ""), r"eGFR: a share of whom\? Give low, high or both"),
        (FILE + OLDER.replace("63.0", "90.0"), r"clinic\.toml:7: no weighting of women .* gives age mean = 90"),
        (
            FILE + OLDER.replace("eGFR", "years_since_menopause").replace("0.3", "0.99").replace("= 70", "= 2"),
            r"no weighting of women .* share of years_since_menopause <= 2",
        ),
    ],
)  # fmt: skip
def test_a_faulty_file_of_a_table_is_refused_with_its_line(tmp_path, women, text, message):
    with pytest.raises(BadInput, match=message):
        write(tmp_path, women, text=text)


def test_weights_that_lean_on_a_few_women_are_refused(tmp_path, women):
    with pytest.raises(BadInput, match=r"the targets lean on few women: of 120 in patients\.csv .* worth \d\.\d"):
        write(tmp_path, women, OLDER.replace("63.0", "76.0").replace("6.5", "3.0").replace("0.3", "0.9"))


def resaved(folder, women, *, sep=",", decimal=".", **columns):
    """The population of a clinic, its table saved in another way."""
    table = women.assign(id=[f"W{k}" for k in range(len(women))]).assign(**columns)
    table.to_csv(folder / "patients.csv", index=False, sep=sep, decimal=decimal)
    (folder / "clinic.toml").write_text(FILE, encoding="utf-8")
    return load_population("clinic", folder)


def test_a_table_with_tabs_or_with_y_and_n_is_the_same(tmp_path, women):
    plain = resaved(tmp_path, women).enrolled
    pd.testing.assert_frame_equal(resaved(tmp_path, women, sep="\t").enrolled, plain)
    letters = np.where(women["prevalent_fracture"] == 1, "Y", "N")
    pd.testing.assert_frame_equal(resaved(tmp_path, women, prevalent_fracture=letters).enrolled, plain)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"sep": ";", "decimal": ","}, r"patients\.csv: the table is separated by semicolons and has decimal commas"),
        (
            {"id": ["W1"] * 120},
            r"patients\.csv:3: column 'id': W1 appears in patients\.csv:2 too; give one row for each",
        ),
        ({"sep": "\t", "decimal": ","}, r"patients\.csv: the table is separated by tabs and has decimal commas"),
        ({"prevalent_fracture": "ja"}, r"patients\.csv:2: column 'prevalent_fracture': 'ja' is neither yes"),
        ({"CTX": 0.0}, r"patients\.csv:2: column 'CTX': 0 is below the limit of every assay; write < and that limit"),
    ],
)
def test_a_table_of_another_kind_is_told_what_it_is(tmp_path, women, how, message):
    with pytest.raises(BadInput, match=message):
        resaved(tmp_path, women, **how)


@pytest.mark.parametrize(
    ("column", "factor", "said"),
    [("T_LS", -1, "negative"), ("weight", 2.0, "in kg"), ("CTX", 1e-3, "in ng/mL")],
)
def test_a_column_in_another_unit_or_of_the_other_sign_is_warned_of(tmp_path, women, column, factor, said):
    women = women.assign(T_LS=-women["T_LS"].abs().clip(lower=1.1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write(tmp_path, women)
    with pytest.warns(Caution, match=rf"patients\.csv: column '{column}': half of the values are .*{said}") as caught:
        write(tmp_path, women.assign(**{column: women[column] * factor}))
    assert len(caught) == 1


def test_a_table_of_few_women_is_refused(tmp_path, women):
    with pytest.raises(BadInput, match=r"patients\.csv: holds 12 women"):
        write(tmp_path, women.head(12))


def test_ones_own_file_comes_before_one_that_ships(tmp_path, women):
    write(tmp_path, women)
    (tmp_path / "low-bone-mass.toml").write_text(FILE.replace("low-bone-mass", "postmenopausal-osteoporosis"))
    assert load_population("low-bone-mass", tmp_path).title == "Women of a clinic"


def six_months(folder):
    return trial_file(
        folder,
        stem="six",
        months=6,
        control=None,
        uncertainty_draws=1,
        population={"name": "clinic", "patients": 6},
        arm=[arm("denosumab", doses=1)],
        visits={"BMD": [0, 6], "markers": [0, 6]},
        endpoint=[change("CTX", "mean difference", of="CTX", to=6)],
        layers={"parameters": False},
    )


def test_a_run_keeps_the_table_so_that_it_can_be_read_without_it(tmp_path, women):
    write(tmp_path, women, OLDER)
    found = run(six_months(tmp_path), tmp_path / "run")
    table = (tmp_path / "patients.csv").read_bytes()
    (tmp_path / "patients.csv").unlink()
    (tmp_path / "clinic.toml").unlink()
    assert (found.folder / "population" / "patients.csv").read_bytes() == table
    assert {f"population/{name}" for name in ("clinic.toml", "patients.csv", "low-bone-mass.toml")} <= set(
        found.manifest["files"]
    )
    again = population_of(open_run(found.folder).trial)
    assert "patients.csv (120 women" in again.method
    assert set(found.patients["weight"]) <= set(women["weight"])


def test_a_trial_without_its_population_says_where_one_belongs(tmp_path):
    with pytest.raises(BadInput, match=r"six\.toml:\d+: unknown population 'clinic'; .* clinic\.toml"):
        load_trial(six_months(tmp_path))


def test_a_correlation_with_an_effect_of_no_parameter_is_refused(tmp_path, women, parameters):
    pair = '[[correlation]]\nstatus = "assumed"\nsource = "a test"\npairs = [["CTX", "eta_kTT", 0.1]]\n'
    write(tmp_path, women, pair)
    with pytest.raises(BadInput, match=r"clinic\.toml: 'eta_kTT' names no parameter; did you mean"):
        typical(replace(load_trial("modality"), population=clinic(), populations=tmp_path), parameters)


def test_a_trial_that_carries_its_population_draws_the_same_women_where_no_file_is(tmp_path, women, parameters):
    population = write(tmp_path, women)
    here = drawn(tmp_path, parameters, range(1, 20))
    carried = replace(
        load_trial("modality"), population=clinic(), populations=tmp_path / "gone", population_files=population.files
    )
    there = draw(pickle.loads(pickle.dumps(carried)), parameters, range(1, 20))
    pd.testing.assert_frame_equal(here.covariates, there.covariates)
    pd.testing.assert_frame_equal(here.persons, there.persons)
