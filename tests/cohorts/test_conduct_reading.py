"""The table [conduct] of a trial's file: what it may say, and a sentence for each thing that it may not."""

import re

import pytest
from helpers import arm, change, trial_text

from ranklsim.cohorts.protocol.conduct import Adherence, Conduct, Delay, Enrolment, Hazard, Response, Rule, Trigger
from ranklsim.cohorts.protocol.trial import TRIALS, load_trial
from ranklsim.pkpd.errors import BadInput
from ranklsim.pkpd.units import DAYS_PER_MONTH

ORAL = {"agent": "alendronate", "dose": "70 mg", "every": "1 wk", "for": "36 mo"}
TRIAL = trial_text(
    "[conduct]\n",
    months=36,
    arm=[arm("placebo", doses=6), {"name": "oral", "regimen": [ORAL]}],
    visits={"BMD": [0, 12], "markers": [0, 12]},
    endpoint=[change(to=12)],
)


def read(folder, *lines):
    path = folder / "conduct.toml"
    path.write_text(TRIAL + "\n".join(lines) + "\n", encoding="utf-8")
    return load_trial(path)


def test_an_empty_table_is_a_trial_in_which_nothing_goes_otherwise_than_planned(tmp_path):
    assert read(tmp_path).conduct == Conduct()


def test_everything_that_can_be_said_is_understood(tmp_path):
    trial = read(
        tmp_path,
        'dropout = "6 %/yr"',
        "dropout_arms = { placebo = 1.3 }",
        'dropout_months = { "12 mo" = 0.7, "0 mo" = 2 }',
        'dropout_response = { of = "BMD_TH", per = "-3 %", ratio = 1.5, seen = "latent" }',
        "supplements = true",
        'stop_treatment = "4 %/yr"',
        "stop_arms = { oral = 2 }",
        'missed_doses = "3 %"',
        'late_doses = { share = "20 %", median = "3 wk", p95 = "4 mo", distribution = "gamma" }',
        'adherence = [{ agent = "alendronate", taken = "80 %", sd = "15 %", stop = "30 %/yr" }]',
        'visit_window = "1 wk"',
        'rescue = { when = ["T_TH < -3.5", "BMD_LS change < -7 %", "hip"], agent = "zoledronate", dose = "5 mg", '
        'every = "12 mo", after = "6 mo" }',
        'switch = [{ at = "24 mo", arms = ["placebo"], agent = "denosumab", dose = "60 mg", every = "6 mo", doses = 2, '
        'share = "50 %" }, { when = ["vertebral"] }]',
        'enrolment = { rate = "60 patients/mo", ramp_up = "6 mo" }',
        'looks = ["24 mo", "50 % completed", "60 hip"]',
        "fractures = true",
        "imaging = [24, 36]",
        "deaths = true",
        'life_table = "us-women-2009"',
        "mortality_ratio = 0.5",
        "hypocalcaemia = true",
    )
    triggers = (
        Trigger("T_TH < -3.5", measure="BMD_TH", kind="T", sign="<", limit=-3.5),
        Trigger("BMD_LS change < -7 %", measure="BMD_LS", kind="change", sign="<", limit=-0.07),
        Trigger("hip", event="hip"),
    )
    year, half = 12 * DAYS_PER_MONTH, 6 * DAYS_PER_MONTH
    assert trial.conduct == Conduct(
        dropout_per_year=0.06,
        supplements=True,
        dropout_arms={"placebo": 1.3},
        dropout_from=((0.0, 2.0), (12.0, 0.7)),
        dropout_response=Response("BMD_TH", -0.03, 1.5, observed=False),
        stop=Hazard(0.04, {"oral": 2.0}),
        missed=0.03,
        late=Delay(0.2, 21.0, 4 * DAYS_PER_MONTH, "gamma"),
        adherence={"alendronate": Adherence(0.8, 0.15, 0.3)},
        window_days=7,
        rules=(
            Rule("rescue", "zoledronate", 5.0, year, None, triggers=triggers, after=6.0),
            Rule("switch", "denosumab", 60.0, half, 2, month=24.0, arms=("placebo",), share=0.5),
            Rule("switch", None, 0.0, 0.0, None, triggers=(Trigger("vertebral", event="vertebral"),)),
        ),
        enrolment=Enrolment(60.0, 6.0),
        looks=(("month", 24.0), ("completed", 0.5), ("hip", 60.0)),
        fractures=True,
        imaging=(24.0, 36.0),
        deaths=True,
        mortality_ratio=0.5,
        hypocalcaemia=True,
    )
    assert trial.agent_names() == ["placebo", "alendronate", "zoledronate", "denosumab"]
    assert load_trial(tmp_path / "conduct.toml") == trial


def test_spine_images_are_yearly_if_not_said(tmp_path):
    assert read(tmp_path, "fractures = true").conduct.imaging == (12.0, 24.0, 36.0)


RULE = 'rescue = {{ {}, agent = "denosumab", dose = "60 mg", every = "6 mo" }}'


@pytest.mark.parametrize(
    "line, sentence",
    [
        ('dropout = "6"', "'6' has no unit"),
        ('dropout = "120 %/yr"', 'dropout is "120 %/yr"'),
        ("dropouts = 1", "unknown key 'dropouts'; did you mean 'dropout'?"),
        (
            'dropout = "5 %/yr"\ndropout_arms = { placeb = 2 }',
            "dropout_arms names 'placeb', which is not an arm; did you",
        ),
        (
            'dropout = "5 %/yr"\ndropout_arms = { oral = -1 }',
            "dropout_arms oral = -1 is not a ratio of hazards",
        ),
        (
            'dropout = "5 %/yr"\ndropout_months = { "40 mo" = 2 }',
            '"40 mo" is not within the trial',
        ),
        ("dropout_arms = { oral = 2 }", "dropout_arms has ratios, but dropout is 0"),
        (
            'dropout_response = { of = "BMD_TH", per = "-3 %", ratio = 2 }',
            "dropout_response multiplies dropout, which is 0",
        ),
        (
            'dropout = "5 %/yr"\ndropout_response = { of = "BMD_XX", per = "-3 %", ratio = 2 }',
            '`of` is "BMD_XX"',
        ),
        (
            'dropout = "5 %/yr"\ndropout_response = { of = "BMD_TH", per = "0 %", ratio = 2 }',
            "per is 0 %",
        ),
        ('missed_doses = "100 %"', 'missed_doses is "100 %"'),
        ('late_doses = { share = "10 %", median = "3 wk" }', '`p95` is missing; give p95 = "4 mo".'),
        ('late_doses = { share = "10 %", median = "3 mo", p95 = "3 wk" }', 'p95 = "3 wk" is not above median = "3 mo"'),
        ('late_doses = { share = "10 %", median = "3 wk", p95 = "3 mo", distribution = "normal" }', "lognormal"),
        (
            'adherence = [{ agent = "alendronat", taken = "80 %" }]',
            "adherence names 'alendronat', which no arm is given",
        ),
        (
            'adherence = [{ agent = "placebo", taken = "80 %" }]',
            "placebo is given at visits",
        ),
        (
            'adherence = [{ agent = "alendronate", taken = "120 %" }]',
            'taken is "120 %"',
        ),
        ('adherence = [{ agent = "alendronate", taken = "90 %", sd = "40 %" }]', 'sd = "40 %" is too large for shares'),
        ('visit_window = "2.5 day"', 'visit_window is "2.5 day"'),
        (RULE.format('at = "12 mo", when = ["hip"]'), 'rescue needs one of when = ["T_TH < -3.5"] and at = "24 mo".'),
        (RULE.format('when = ["hip"]'), '"hip" is a fracture, and none are counted'),
        (RULE.format('when = ["T_TH below -3"]'), '"T_TH below -3" is not a trigger'),
        (RULE.format('when = ["BMD_XX change < -7 %"]'), "unknown measure 'BMD_XX'"),
        (RULE.format('at = "36 mo"'), '"36 mo" is not within the trial'),
        ('switch = [{ at = "12 mo", agent = "denosumb", dose = "60 mg" }]', "did you mean 'denosumab'?"),
        ('switch = [{ at = "12 mo", agent = "denosumab" }]', "dose is missing"),
        ('switch = [{ at = "12 mo", dose = "60 mg" }]', "switch has dose, but no agent"),
        (
            'switch = [{ at = "12 mo", arms = ["orl"] }]',
            "switch names 'orl', which is not an arm; did you mean 'oral'?",
        ),
        (
            'switch = [{ at = "12 mo", agent = "denosumab", dose = "60 mg", doses = 3 }]',
            "every is missing",
        ),
        ('enrolment = { rate = "60 patients" }', "60"),
        ('looks = ["soon"]', '"soon" is not a look'),
        ('looks = ["60 hips"]', "counts 'hips'; did you mean 'hip'?"),
        ('fractures = true\nlooks = ["0 hip"]', 'look "0 hip" is not possible; give more than 0 events.'),
        ('looks = ["12 mo", "24 mo", "12 mo"]', 'look "12 mo" is given twice; give it once.'),
        ('looks = ["60 hip"]', 'look "60 hip" counts fractures, and none happen'),
        ("imaging = [12]", "imaging finds vertebral fractures"),
        ("fractures = true\nimaging = [0, 12]", "imaging has 0 mo"),
        ("fractures = true\nimaging = [24, 48]", "imaging has 48 mo, but the trial ends at 36 mo."),
        ('life_table = "us-women"', "did you mean 'us-women-2009'?"),
        ("mortality_ratio = -1", "mortality_ratio = -1 is not possible"),
    ],
)
def test_a_fault_is_one_sentence_with_file_and_line(tmp_path, line, sentence):
    with pytest.raises(BadInput) as fault:
        read(tmp_path, line)
    assert len(fault.value.messages) == 1, fault.value.messages
    message = fault.value.messages[0]
    number = int(re.match(r"conduct\.toml:(\d+): ", message)[1])
    assert number >= TRIAL.count("\n"), message  # in the table, or at its head
    assert sentence in message


def test_a_faulty_rate_is_not_also_an_event_that_the_trial_does_not_record(tmp_path):
    text = (TRIALS / "freedom.toml").read_text(encoding="utf-8")
    assert "dropout" in text
    path = tmp_path / "mine.toml"
    path.write_text(re.sub(r'^dropout += "[^"]*"', 'dropout = "10 %"', text, flags=re.MULTILINE), encoding="utf-8")
    with pytest.raises(BadInput) as refused:
        load_trial(path)
    assert len(refused.value.messages) == 1
    assert "dropout" in refused.value.messages[0]
