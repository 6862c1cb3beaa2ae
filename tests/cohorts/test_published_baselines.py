"""Shipped populations beside published baseline tables: among those enrolled, tolerance as stated in the report."""

import numpy as np
import pytest

from ranklsim.cohorts.people.population_file import contradiction, list_populations, load_population

FREEDOM, DEFEND, CKD = "postmenopausal-osteoporosis", "low-bone-mass", "chronic-kidney-disease"

PUBLISHED = [  # population, figure, its function of those enrolled, published, tolerance
    (FREEDOM, "mean age, yr (Cummings 2009)", lambda p: p["age"].mean(), 72.3, 0.3),
    (FREEDOM, "SD of age, yr (Cummings 2009; recalled)", lambda p: p["age"].std(), 5.2, 0.3),
    (FREEDOM, "BMI, kg/m2 (Cummings 2009; recalled)", lambda p: p["BMI"].mean(), 26.0, 0.3),
    (FREEDOM, "years since menopause (recalled)", lambda p: p["years_since_menopause"].mean(), 24.2, 0.4),
    (FREEDOM, "their SD (recalled)", lambda p: p["years_since_menopause"].std(), 7.4, 0.4),
    (FREEDOM, "T-score LS (Cummings 2009)", lambda p: p["T_LS"].mean(), -2.82, 0.04),
    (FREEDOM, "its SD (recalled)", lambda p: p["T_LS"].std(), 0.70, 0.04),
    (FREEDOM, "T-score TH (Cummings 2009; recalled)", lambda p: p["T_TH"].mean(), -1.90, 0.05),
    (FREEDOM, "its SD (recalled)", lambda p: p["T_TH"].std(), 0.81, 0.04),
    (FREEDOM, "T-score FN (Cummings 2009; recalled)", lambda p: p["T_FN"].mean(), -2.15, 0.05),
    (FREEDOM, "prevalent vertebral fracture (recalled)", lambda p: p["prevalent_fracture"].mean(), 0.236, 0.02),
    (FREEDOM, "25-OH-D, ng/mL (recalled)", lambda p: p["vitamin_D"].mean(), 23.1, 0.7),
    (FREEDOM, "median CTX, ng/mL (Eastell 2011)", lambda p: p["CTX"].median(), 0.50, 0.02),
    (FREEDOM, "chronic kidney disease 3 or 4 (Jamal 2011)", lambda p: (p["eGFR"] < 60).mean(), 2890 / 7808, 0.02),
    (FREEDOM, "stage 4 (Jamal 2011)", lambda p: (p["eGFR"] < 30).mean(), 73 / 7808, 0.004),
    (DEFEND, "mean age, yr (Bone 2008)", lambda p: p["age"].mean(), 59.4, 0.4),
    (DEFEND, "T-score LS (Bone 2008)", lambda p: p["T_LS"].mean(), -1.6, 0.03),
    (DEFEND, "median CTX, ng/mL (Bone 2008)", lambda p: p["CTX"].median(), 0.53, 0.02),
    (CKD, "mean age, yr (stages 3 and 4 pooled, Hara 2021)", lambda p: p["age"].mean(), 75.2, 0.3),
    (CKD, "stage 4 (Jamal 2011)", lambda p: (p["eGFR"] < 30).mean(), 73 / 2890, 0.006),
    ("after-bisphosphonates", "mean age at the switch, yr (STAND)", lambda p: p["age"].mean() + 2, 67.6, 0.4),
]  # fmt: skip


@pytest.mark.parametrize("row", PUBLISHED, ids=lambda row: f"{row[0]}: {row[1]}")
def test_those_enrolled_look_like_the_published_table(row):
    name, _, figure, published, tolerance = row
    assert figure(load_population(name).enrolled) == pytest.approx(published, abs=tolerance)


@pytest.mark.parametrize("name", list_populations())
def test_every_target_of_a_shipped_population_is_within_its_tolerance(name):
    from ranklsim.reports.analyses.baseline import targets

    population = load_population(name)
    found = targets(population.enrolled, population.published())
    assert found["within"].all(), found[~found["within"]]
    size, n = population.effective_size
    assert size > 0.9 * n


def test_baseline_markers_have_their_published_median_and_quartiles_and_hang_on_turnover_not_on_age():
    """CV 0.43 about the median: quartiles at -25 and +33 %, as 0.28-0.49 about 0.37 ng/mL (2,251 women)."""
    people = load_population(FREEDOM).enrolled
    low, middle, high = people["CTX"].quantile([0.25, 0.5, 0.75])
    assert low / middle == pytest.approx(0.28 / 0.37, abs=0.04)
    assert high / middle == pytest.approx(0.49 / 0.37, abs=0.04)
    assert np.log(people[["CTX", "P1NP"]]).corr().iloc[0, 1] == pytest.approx(0.68, abs=0.05)
    assert abs(np.corrcoef(np.log(people["CTX"]), people["age"])[0, 1]) < 0.1


def test_a_contradiction_names_the_pairs_and_what_they_leave_each_other():
    r = np.eye(4)
    r[0, 1] = r[1, 0] = -0.87
    r[0, 2] = r[2, 0] = 0.65
    r[1, 2] = r[2, 1] = 0.60
    said = contradiction(r, ["T_TH", "T_FN", "T_LS", "age"])
    edge = 0.65 * 0.6 - np.sqrt((1 - 0.65**2) * (1 - 0.6**2))
    assert (
        f"T_TH with T_FN is -0.87, but T_TH with T_LS 0.65 and T_FN with T_LS 0.6 leave it {edge:.2f} to 1.00" in said
    )


def test_a_contradiction_of_more_than_three_names_the_pair_that_has_to_change_least():
    n = 5
    r = np.full((n, n), -0.3) + 1.3 * np.eye(n)  # any three can stand together, five can't (-1/(n - 1) is the limit)
    r[0, 1] = r[1, 0] = -0.31
    said = contradiction(r, list("abcde"))
    assert "contradict each other" in said
    assert "-0.3" in said
