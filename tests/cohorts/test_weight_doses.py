"""Doses by body weight and molar doses: how they are read, what each patient gets, and what is refused."""

import numpy as np
import pandas as pd
import pytest
from helpers import arm, check_sentence, evidence_folder, trial_file

from ranklsim import run, simulate
from ranklsim.cohorts.protocol.trial import Arm, load_trial
from ranklsim.pkpd.agents import load_agent
from ranklsim.pkpd.dosing import Dose, Regimen, parse_regimen
from ranklsim.pkpd.errors import BadInput, Caution
from ranklsim.pkpd.evidence.predictions import predict
from ranklsim.pkpd.evidence.records import load_evidence
from ranklsim.reports.design.question import chosen, dose_a_year

MASS = load_agent("denosumab").values["molar_mass"]
RESCUE = (
    'rescue = { when = ["T_TH < 5"], after = "6 mo", agent = "denosumab", dose = "2 mg/kg", cap = "130 mg", doses = 1 }'
)


def faults(folder, **step):
    path = trial_file(folder, arm=[arm("placebo"), arm("weight", **{"agent": "denosumab"} | step)])
    with pytest.raises(BadInput) as caught:
        load_trial(path)
    return caught.value.messages


@pytest.mark.parametrize(
    ("text", "regimen"),
    [
        ("denosumab 1mg/kg x1", Regimen("denosumab", 1.0, 0.0, 0.0, 1, per_kg=True)),
        ("denosumab 500ug/kg up to 0.1 g x1", Regimen("denosumab", 0.5, 0.0, 0.0, 1, per_kg=True, cap_mg=100.0)),
        ("denosumab 400nmol x1", Regimen("denosumab", 0.4 * MASS, 0.0, 0.0, 1)),
        ("denosumab 0.4 umol x1", Regimen("denosumab", 0.4 * MASS, 0.0, 0.0, 1)),
        ("denosumab 10nmol/kg up to 1umol x1", Regimen("denosumab", 0.01 * MASS, 0, 0, 1, per_kg=True, cap_mg=MASS)),
    ],
)
def test_a_dose_goes_by_weight_or_by_amount_of_substance(text, regimen):
    (found,) = parse_regimen(text)
    assert found.dose == pytest.approx(regimen.dose)
    (again,) = parse_regimen(f"denosumab {found.dose.words} x1")
    assert again.dose == pytest.approx(found.dose, rel=1e-5)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("denosumab 60mg up to 50mg x1", "a cap is for a dose by weight"),
        ("denosumab 1mg/kg up to 50mg up to 60mg x1", "has 2 caps"),
        ("denosumab 1mg/kg up to 50 x1", "has no unit"),
        ("denosumab -1mg/kg x1", "more than 0"),
        ("zoledronate 18umol x1", "zoledronate has no molar mass; give the dose in mg."),
        ("zoledronate 1umol/kg x1", "zoledronate has no molar mass"),
    ],
)
def test_a_faulty_dose_is_refused_in_one_sentence(text, part):
    with pytest.raises(BadInput) as caught:
        parse_regimen(text)
    (message,) = caught.value.messages
    check_sentence(message, part)


def test_the_typical_patient_gets_the_dose_of_her_weight():
    by_weight = simulate("denosumab 1mg/kg up to 70mg x1", covariates={"weight": 60.0})
    pd.testing.assert_frame_equal(by_weight, simulate("denosumab 60mg x1", covariates={"weight": 60.0}))
    capped = simulate(agent="denosumab", dose="1 mg/kg up to 70 mg", covariates={"weight": 80.0})
    pd.testing.assert_frame_equal(capped, simulate("denosumab 70mg x1", covariates={"weight": 80.0}))
    with pytest.warns(Caution, match=r"63000 mg of denosumab is 1,050 times the usual .* check the unit"):
        simulate("denosumab 1g/kg x1")


def test_a_trial_with_a_far_dose_by_weight_is_done_with_one_warning(tmp_path):
    path = trial_file(tmp_path, arm=[arm("placebo"), arm("far", "denosumab", dose="1 g/kg")])
    with pytest.warns(Caution, match=r"63000 mg of denosumab is 1,050 times the usual .* check the unit") as said:
        run(path, tmp_path / "run", patients=6)
    assert len([one for one in said if issubclass(one.category, Caution)]) == 1


def test_each_patient_of_a_trial_gets_the_dose_of_her_weight_up_to_the_cap(tmp_path):
    arms = [
        arm("placebo"),
        arm("weight", "denosumab", dose="1 mg/kg", cap="65 mg"),
        arm("mole", "denosumab", dose="400 nmol"),
    ]
    path = trial_file(tmp_path, RESCUE, arm=arms, conduct={"supplements": True})
    assert load_trial(path).arm("weight").regimens[0].dose.words == "1 mg/kg up to 65 mg"
    found = run(path, tmp_path / "run", patients=30)
    doses = found.doses.merge(found.patients[["patient", "weight"]], on="patient")
    own = doses[(doses["arm"] == "weight") & (doses["reason"] != "rescue")]
    np.testing.assert_allclose(own["amount_mg"], np.minimum(own["weight"], 65.0))
    assert (own["amount_mg"] < 65).any()
    assert (own["amount_mg"] == 65).any()
    rescued = doses[(doses["reason"] == "rescue") & doses["given"].astype(bool)]
    np.testing.assert_allclose(rescued["amount_mg"], np.minimum(2 * rescued["weight"], 130.0))
    assert len(rescued)
    assert rescued["mg_per_kg"].eq(2).all()
    molar = doses[(doses["arm"] == "mole") & (doses["reason"] != "rescue")]
    np.testing.assert_allclose(molar["amount_mg"], 0.4 * MASS)
    assert molar["mg_per_kg"].isna().all()


@pytest.mark.parametrize(
    ("step", "parts"),
    [
        ({"dose": "1 mg/kg", "cap": "20 mg"}, ["cap is 20 mg", "lightest patient", "raise it"]),
        ({"dose": "60 mg", "cap": "120 mg"}, ["cap is for a dose by weight"]),
        ({"dose": "1 mg/kg", "cap": "0 mg"}, ['cap is "0 mg"', "more than 0"]),
        ({"dose": "1 mg/kg", "cap": "120 day"}, ["cap", '"mg"']),
        ({"dose": "0 mg/kg"}, ['dose is "0 mg/kg"', "more than 0"]),
        ({"agent": "zoledronate", "dose": "18 umol"}, ["zoledronate has no molar mass"]),
    ],
)
def test_a_trial_with_a_faulty_dose_is_refused_in_one_sentence(tmp_path, step, parts):
    (message,) = faults(tmp_path, **step)
    check_sentence(message, "trial.toml:", "arm 'weight', regimen 1", *parts)


def test_the_lightest_patient_is_the_lightest_who_is_eligible(tmp_path):
    arms = [arm("placebo"), arm("weight", "denosumab", dose="1 mg/kg", cap="55 mg")]
    assert load_trial(trial_file(tmp_path, arm=arms)).arm("weight").regimens[0].cap_mg == 55.0
    heavy = {"eligible": {"weight": "60..90 kg"}}
    with pytest.raises(BadInput, match=r"\(60 kg\) is due 60 mg"):
        load_trial(trial_file(tmp_path, arm=arms, population=heavy))


def test_a_rule_with_a_cap_below_everybody_is_refused(tmp_path):
    path = trial_file(tmp_path, RESCUE.replace("130 mg", "30 mg"), conduct={"supplements": True})
    with pytest.raises(BadInput, match="lightest patient"):
        load_trial(path)


def test_a_design_gives_a_year_the_dose_of_the_weight_and_a_factor_takes_its_place(tmp_path):
    own = Arm("a", "a", parse_regimen("denosumab 1mg/kg up to 60mg every 6mo x4"))
    agents = {"denosumab": load_agent("denosumab")}
    assert dose_a_year(own, agents, 50.0) == pytest.approx(100.0)
    assert dose_a_year(own, agents, 80.0) == pytest.approx(120.0)
    assert chosen(own, {"dose": 30.0}, agents, tmp_path).regimens[0].dose == Dose(30.0)
    assert chosen(own, {"every": 365.25}, agents, tmp_path).regimens[0].dose == own.regimens[0].dose


def test_an_arm_of_the_evidence_is_dosed_by_its_own_weight(tmp_path):
    def predicted(folder, regimen):
        folder.mkdir()
        arms = (
            f'[[arm]]\nid = "a"\nstudy = "s"\nlabel = "l"\nregimen = "{regimen}"\nfollow_up = "12 mo"\n'
            'covariates = { weight = "50 kg" }\n'
        )
        row = {"study": "s", "arm": "a", "endpoint": "concentration", "site_or_marker": "denosumab", "month": "1"}
        row |= {
            "value": "4",
            "unit": "ug/mL",
            "statistic": "mean",
            "phase": "on",
            "source": "x",
            "verification": "read",
        }
        return predict(load_evidence(evidence_folder(folder, arms, row)))["predicted"].item()

    assert predicted(tmp_path / "kg", "denosumab 1mg/kg x1") == predicted(tmp_path / "mg", "denosumab 50mg x1")
