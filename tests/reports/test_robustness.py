"""Interim looks, tipping point and per-protocol set in the report of one small trial."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from helpers import arm, change, trial_file

import ranklsim
from ranklsim.cohorts.endpoints import Change
from ranklsim.cohorts.protocol.endpoints import PerProtocol
from ranklsim.cohorts.running.execution import run
from ranklsim.cohorts.running.storage import open_run
from ranklsim.cohorts.study import setting
from ranklsim.reports.analyses import per_protocol
from ranklsim.reports.csr.report import write_report

pytestmark = pytest.mark.slow

TABLES = {
    "seed": 4,
    "months": 12,
    "uncertainty_draws": 2,
    "twins": 30,
    "population": {"patients": 120},
    "arm": [arm("placebo", doses=2), arm("denosumab", doses=2)],
    "visits": {"BMD": [0, 6, 12], "markers": [0, 12]},
    "endpoint": [change(analysis="MMRM", to=12)],
    "estimand": [{"name": "policy", "endpoint": "gain", "primary": True, "events": {"dropout": "treatment policy"}}],
    "multiplicity": {"method": "Holm", "order": ["gain"]},
    "interim": {"spending": "Pocock", "effect": "3 %", "futility": {"below": "10 %"}},
    "tipping_point": {},
    "per_protocol": {"missed_doses": "20 %", "late_dose": "1 mo", "visit": "0.2 mo", "events": ["stopped"]},
    "conduct": {
        "dropout": "20 %/yr",
        "stop_treatment": "20 %/yr",
        "missed_doses": "10 %",
        "late_doses": {"share": "20 %", "median": "3 wk", "p95": "3 mo"},
        "visit_window": "10 day",
        "enrolment": {"rate": "10 patients/mo"},
        "looks": ["2 mo", "18 mo", "60 % completed", "9000 hip"],
        "fractures": True,
    },
}


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("robust")
    return run(trial_file(folder, **TABLES), folder / "run", workers=1).folder


@pytest.fixture(scope="module")
def page(done) -> str:
    return write_report(done).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def found(done):
    return ranklsim.analyse(done)


def section(page: str, anchor: str) -> str:
    start = page.index(f'<section id="{anchor}"')
    return page[start : page.index("</section>", start)]


def table(done: Path, number: str) -> pd.DataFrame:
    return pd.read_csv(next((done / "report" / "tables").glob(f"table-{number}-*.csv")))


# -- interim analyses --------------------------------------------------------------------------------------------------


def test_the_last_analysis_of_the_looks_is_that_of_the_endpoint(found):
    last = found.looks.iloc[-1]
    whole = found.endpoints.set_index("arm").loc["denosumab"]
    for name in ("effect", "effect_low", "effect_high", "p"):
        assert last[name] == pytest.approx(whole[name])


def test_the_section_says_every_look_that_could_not_be_tested_and_reads_the_rest_at_its_boundary(done, page, found):
    said = section(page, "interim")
    assert "11.4.2.3" in said
    assert "Look 1 (2 mo) was not tested" in said
    assert "(9000 hip) was not tested: never due in this trial." in said
    assert "gain, denosumab against placebo: " in said
    assert "gain, denosumab against placebo: " in section(page, "answer")
    shown = table(done, "14.2.13.2")
    assert shown["boundary_z"].notna().sum() == 3
    assert shown["decision"].tolist() == found.looks["decision"].tolist()


def test_the_endpoint_that_was_looked_at_says_where_its_test_is_read(page):
    assert "section 11.4.2.3 reads the result at the final boundary" in section(page, "endpoints")


def test_multiplicity_takes_the_p_of_the_whole_sequence(found):
    assert found.multiplicity["p"].iloc[0] == pytest.approx(found.stops["p_adjusted"].iloc[0])
    assert "all looks" in found.multiplicity["note"].iloc[0]


# -- missing data ------------------------------------------------------------------------------------------------------


def test_the_section_on_missing_data_sets_every_assumption_beside_what_really_became_of_patients(done, page):
    shown = table(done, "14.2.14.1")
    own = shown[shown["arm"] == "denosumab"]
    assert own["truth"].nunique() == 1
    assert own["gap"].to_numpy() == pytest.approx((own["difference"] - own["truth"]).to_numpy(), abs=1e-4)
    said = section(page, "missing")
    assert "the effect is gone at once" in said
    assert "the true difference of treatment policy at month 12" in said


def test_the_table_of_the_tipping_point_turns_from_held_to_lost(done, page):
    shown = table(done, "14.2.14.2")
    assert shown["holds"].iloc[0]
    assert not shown["holds"].iloc[-1]
    assert (np.diff(shown["holds"].astype(int)) <= 0).all()
    assert "tipping point" in section(page, "missing")


# -- per-protocol set --------------------------------------------------------------------------------------------------


def test_the_per_protocol_set_is_counted_by_arm_and_analysed(done, page):
    deviated = table(done, "14.1.4.1").set_index("arm")
    shown = table(done, "14.2.15.1").set_index(["set", "arm"])
    for name in ("placebo", "denosumab"):
        left = deviated.loc[name, "patients"] - deviated.loc[name, "any"]
        assert shown.loc[("Per-protocol set", name), "patients"] == left
        assert shown.loc[("Per-protocol set", name), "n"] <= left
    assert np.isfinite(shown.loc[("Per-protocol set", "denosumab"), "effect"])
    assert "Per-protocol set: " in section(page, "analysed")


SPEC = Change(name="gain", role="primary", analysis="ANCOVA", measure="BMD_LS", from_month=0.0, to_month=12.0)
RULES = PerProtocol(0.25, 2.0, 0.5, ("stopped",))


def world():
    """Patient 1 as planned; 2 misses a dose of three; 3 is late; 4 comes late to the visit; 5 stops; 6 does later."""
    patients = pd.DataFrame({"patient": range(1, 7), "arm": ["a", "b"] * 3, "stratum": ""})
    doses = pd.DataFrame(
        [(k, m, m, "") for k in range(1, 7) for m in (0.0, 6.0, 11.0)],
        columns=["patient", "planned_month", "month", "reason"],
    )
    doses.loc[4, "reason"] = "missed"
    doses.loc[7, ["month", "reason"]] = [8.5, "late"]
    doses = pd.concat(
        [doses, pd.DataFrame({"patient": [6, 5], "planned_month": [12.0, 6.0], "month": [99.0, 6.0],
                              "reason": ["late", "stopped"]})]
    )  # fmt: skip
    visits = pd.DataFrame({"patient": range(1, 7), "arm": ["a", "b"] * 3, "month": 12.0, "actual_month": 12.3})
    visits["BMD_LS"] = 1.0
    visits.loc[3, "actual_month"] = 13.0
    events = pd.DataFrame({"patient": [5, 6], "event": "stopped", "month": [3.0, 14.0]})
    return SimpleNamespace(
        patients=patients,
        doses=doses,
        events=events,
        seen=lambda *names: visits[["patient", "arm", "month", *names]],
    )


def test_each_major_deviation_is_found_in_the_patient_who_has_it_and_only_before_the_endpoint():
    found = per_protocol.major(RULES, world(), SPEC).set_index("patient")
    assert {name: found.index[found[name]].tolist() for name in found.columns[1:]} == {
        "missed_doses": [2], "late_dose": [3], "visit": [4], "stopped": [5], "any": [2, 3, 4, 5],
    }  # fmt: skip


def test_without_deviations_the_per_protocol_analysis_is_that_of_all(done):
    data = open_run(done)
    spec = data.trial.endpoints[0]
    nobody = per_protocol.major(PerProtocol(None, 99.0, None, ()), data, spec)
    subset = pd.DataFrame(per_protocol.analyse(data, spec, nobody))
    whole = pd.DataFrame(spec.analyse(data, setting(data, spec)).rows())
    pd.testing.assert_frame_equal(subset, whole)
