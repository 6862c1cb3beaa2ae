"""Sections of the report on fractures, estimands, subgroups, multiplicity and durability, of a small run."""

from pathlib import Path

import pandas as pd
import pytest
from helpers import arm, change, endpoint, trial_file

import ranklsim
from ranklsim.cohorts.running.execution import run
from ranklsim.reports.csr.report import write_report

pytestmark = pytest.mark.slow

TABLES = {
    "seed": 11,
    "months": 36,
    "twins": 20,
    "uncertainty_draws": 3,
    "population": {"patients": 60, "strata": ["age >= 75 yr"]},
    "arm": [arm("placebo"), arm("denosumab"), arm("selective", "mrankl-selective")],
    "visits": {"BMD": [0, 12, 24, 36], "markers": [0, 6, 24, 30, 36]},
    "endpoint": [
        endpoint("fracture", "Mantel-Haenszel", "primary", event={"of": "vertebral", "by": "24 mo"}),
        endpoint("hip", "Cox", event={"of": "hip", "by": "36 mo"}),
        endpoint("any bone", "Gray", event={"of": "nonvertebral", "by": "36 mo"}),
        change("gain", "MMRM", "key secondary", margin="1 %"),
        endpoint("kept", "bootstrap", durability={"of": "BMD_LS", "what": "share kept", "after": "12 mo"}),
    ],
    "estimand": [
        {
            "name": "if all had stayed",
            "endpoint": "gain",
            "primary": True,
            "events": {"dropout": "hypothetical", "death": "hypothetical"},
        }
    ],
    "multiplicity": {"method": "Holm", "order": ["fracture", "gain"]},
    "conduct": {"dropout": "10 %/yr", "fractures": True, "deaths": True},
}


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("outcomes")
    return run(trial_file(folder, **TABLES), folder / "run").folder


@pytest.fixture(scope="module")
def page(done) -> str:
    return write_report(done).read_text(encoding="utf-8")


def table(done: Path, number: str) -> pd.DataFrame:
    return pd.read_csv(next((done / "report" / "tables").glob(f"table-{number}-*.csv")))


def test_python_and_the_report_give_the_same_numbers(done, page):
    found = ranklsim.analyse(done)
    shown = table(done, "14.2.10.1")
    assert shown["estimate"].to_numpy() == pytest.approx(found.estimands["estimate"].to_numpy(float), rel=1e-5)
    assert shown["truth"].to_numpy() == pytest.approx(found.estimands["truth"].to_numpy(float), rel=1e-5)
    assert len(table(done, "14.2.9.1")) == 4  # two endpoints, two arms against control


def test_an_estimate_of_many_percent_is_beside_its_truth(done, page):
    own = table(done, "14.2.10.1").set_index("arm").loc["denosumab"]
    assert own["twins"] == 20
    assert abs(own["bias"]) < 4
    assert 4 < own["truth"] < 14


def test_the_answer_begins_with_the_primary_endpoint_though_it_is_no_change(page):
    start = page.index('id="answer"')
    assert page.index("fracture, denosumab against placebo:", start) < page.index("lumbar spine BMD changed by", start)


def test_a_margin_is_concluded_in_words(done, page):
    own = table(done, "14.2.8.1").query("endpoint == 'gain' and arm == 'denosumab'").iloc[0]
    assert own["conclusion"] == "non-inferior (adjusted p <0.001)"


def test_an_endpoint_with_too_few_events_shows_nothing_and_says_so(done, page):
    hips = table(done, "14.2.8.1").query("endpoint == 'hip' and arm != 'placebo'")
    assert (hips["claim"] == "superiority").all()
    assert hips["conclusion"].eq("superiority not shown").all()
    assert hips["p_claim"].notna().all()


def test_durability_of_each_arm_and_of_the_predicted_one_over_the_ensemble_is_there(done, page):
    own = table(done, "14.2.12.1")
    assert set(own["arm"]) == {"placebo", "denosumab", "selective"}
    over = table(done, "14.2.12.2").set_index("outcome")
    assert set(over["reference"]) == {"denosumab"}
    assert over.loc["peak_CTX", "low"] <= over.loc["peak_CTX", "median"] <= over.loc["peak_CTX", "high"]
    assert "sign is" in page


def test_every_forest_plot_names_its_subgroups_and_the_numbers_at_risk_stand_below_the_curves(done, page):
    forests = [path for path in (done / "report" / "figures").iterdir() if "-14.2.11." in path.name]
    assert len(forests) == 4
    for path in forests:
        text = path.read_text(encoding="utf-8")
        for words in ("Age", "Lowest T-score", "Prevalent vertebral fracture", "eGFR"):
            assert words in text
    curve = next(p for p in (done / "report" / "figures").iterdir() if "-14.2.8." in p.name)
    assert "Patients at risk" in curve.read_text(encoding="utf-8")
