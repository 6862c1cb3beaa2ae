"""The table [interim] of a trial file."""

import pytest
from helpers import change, endpoint, trial_text

from ranklsim.cohorts.protocol.endpoints import Futility, Interim
from ranklsim.cohorts.protocol.trial import load_trial
from ranklsim.pkpd.errors import BadInput

ENDPOINTS = [
    change(),
    change("CTX", "median difference", "secondary", "CTX", 12),
    endpoint("hip", "Cox", event={"of": "hip", "by": "24 mo"}),
    endpoint("responder", "Miettinen-Nurminen", responder={"of": "BMD_LS", "at": "24 mo", "gain": ">= 3 %"}),
]
WITHOUT_LOOKS = {"endpoint": ENDPOINTS, "visits": {"markers": [0, 12, 24]}, "conduct": {"fractures": True}}
TRIAL = trial_text("[interim]\n", **WITHOUT_LOOKS | {"conduct": {"looks": ["18 mo"], "fractures": True}})
OBF = 'spending = "O\'Brien-Fleming"\n'


def read(folder, text, trial=TRIAL):
    (folder / "looks.toml").write_text(trial + text, encoding="utf-8")
    return load_trial(folder / "looks.toml").interim


def test_the_primary_endpoint_is_tested_at_five_percent_unless_the_file_says_otherwise(tmp_path):
    assert read(tmp_path, OBF) == Interim("gain", ("denosumab",), "O'Brien-Fleming", 0.05)


def test_every_key_is_read(tmp_path):
    text = 'spending = "Pocock"\nalpha = 0.01\nendpoint = "hip"\nplanned_events = 90\neffect = "0.6"\n'
    text += 'futility = { below = "20 %", under = "design", binding = true }\narms = ["denosumab"]\n'
    expected = Interim("hip", ("denosumab",), "Pocock", 0.01, 90, None, 0.6, Futility(0.2, "design", True))
    assert read(tmp_path, text) == expected


def test_spending_functions_have_their_parameters(tmp_path):
    assert read(tmp_path, 'spending = "Hwang-Shih-DeCani"\n').shape == (-4.0,)
    assert read(tmp_path, 'spending = "power"\nparameter = 1.5\n').shape == (1.5,)
    own = read(tmp_path, 'spending = "own"\ninformation = [0.4, 0.8]\nspent = [0.1, 0.5]\n')
    assert own.shape == (0.4, 0.8, 0.1, 0.5)


def test_shares_are_given_in_percent(tmp_path):
    found = read(tmp_path, OBF + 'endpoint = "responder"\nplanned_error = "4 %"\neffect = "20 %"\n')
    assert (found.planned_error, found.effect) == pytest.approx((0.04, 0.2))


def test_alpha_is_that_of_the_multiplicity_where_there_is_one(tmp_path):
    text = OBF + '[multiplicity]\nmethod = "Holm"\nalpha = 0.02\norder = ["gain", "hip"]\n'
    assert read(tmp_path, text).alpha == 0.02


@pytest.mark.parametrize(
    ("text", "place", "fault"),
    [
        ("", 0, "`spending` is missing"),
        ('spending = "OBF"', 1, '`spending` is "OBF"'),
        ('spending = "OBF"\nparameter = 0', 1, '`spending` is "OBF"'),
        (OBF + 'endpoint = "gian"', 2, "unknown endpoint 'gian'; did you mean 'gain'?"),
        (OBF + 'endpoint = "CTX"', 2, "'CTX' is a difference of medians, which has no test"),
        (OBF + "alpha = 0.7", 2, "alpha = 0.7 is not possible"),
        (OBF + "parameter = 1", 2, "the spending function O'Brien-Fleming has no parameter"),
        ('spending = "Hwang-Shih-DeCani"\nparameter = 0', 2, "parameter = 0 is not possible; give one such as -4."),
        ('spending = "own"\nspent = [0.2]', 0, "`information` is missing; an own spending function needs"),
        ('spending = "own"\ninformation = [0.5, 0.4]\nspent = [0.1, 0.2]', 2, "information are shares"),
        (OBF + "spent = [0.2]", 2, "spent is of a spending function of your own"),
        (OBF + "planned_events = 9", 2, "events are the information of the analyses Cox and log-rank"),
        (
            OBF + 'endpoint = "hip"\nplanned_events = 0',
            3,
            "planned_events = 0 is not possible; give a whole number from 1",
        ),
        (OBF + 'endpoint = "hip"\nplanned_error = "0.3"', 3, "the information of 'hip', a hazard ratio"),
        (OBF + 'planned_error = "0 %"', 2, 'planned_error is "0 %"'),
        (OBF + 'planned_error = "1e-300 %"', 2, "planned_error"),
        (OBF + 'effect = "-1 %"', 2, 'effect = "-1 %" is not a benefit; give one above 0 %'),
        (OBF + 'endpoint = "hip"\neffect = "1.5"', 3, 'effect = "1.5" is not a benefit'),
        (OBF + 'endpoint = "hip"\neffect = "0"', 3, 'effect = "0" is not a ratio'),
        (OBF + 'futility = { below = "120 %" }', 2, 'below is "120 %"; give more than 0 and below 100 %.'),
        (
            OBF + 'futility = { below = "9 %", under = "design" }',
            2,
            'conditional power under the design needs its effect; give effect = "2 %".',
        ),
        (OBF + 'arms = ["placebo"]', 2, "'placebo' is the control"),
        (OBF + "looks = 3", 2, "unknown key 'looks'"),
    ],
)
def test_a_fault_is_said_in_one_sentence_with_its_line(tmp_path, text, place, fault):
    with pytest.raises(BadInput) as found:
        read(tmp_path, text)
    (message,) = found.value.messages
    assert message.startswith(f"looks.toml:{TRIAL.count(chr(10)) + place}: {fault}")


def test_an_interim_test_needs_a_look(tmp_path):
    with pytest.raises(BadInput, match="there is no interim look"):
        read(tmp_path, OBF, trial_text("[interim]\n", **WITHOUT_LOOKS))
