"""The table [interim] of a trial file."""

import pytest

from ranklsim.cohorts.protocol.endpoints import Futility, Interim
from ranklsim.cohorts.protocol.trial import load_trial
from ranklsim.pkpd.errors import BadInput

TRIAL = """\
title   = "Looks"
seed    = 4
months  = 24
control = "placebo"
[population]
name     = "postmenopausal-osteoporosis"
patients = 40
[[arm]]
name    = "placebo"
regimen = [{ agent = "placebo", every = "6 mo", doses = 4 }]
[[arm]]
name    = "denosumab"
regimen = [{ agent = "denosumab", dose = "60 mg", every = "6 mo", doses = 4 }]
[visits]
BMD     = [0, 12, 24]
markers = [0, 12, 24]
[[endpoint]]
name     = "gain"
role     = "primary"
change   = { of = "BMD_LS", from = "0 mo", to = "24 mo" }
analysis = "ANCOVA"
[[endpoint]]
name     = "CTX"
role     = "secondary"
change   = { of = "CTX", from = "0 mo", to = "12 mo" }
analysis = "median difference"
[[endpoint]]
name     = "hip"
role     = "secondary"
event    = { of = "hip", by = "24 mo" }
analysis = "Cox"
[[endpoint]]
name      = "responder"
role      = "secondary"
responder = { of = "BMD_LS", at = "24 mo", gain = ">= 3 %" }
analysis  = "Miettinen-Nurminen"
[conduct]
looks     = ["18 mo"]
fractures = true
[interim]
"""
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


def test_shares_are_given_in_percent(tmp_path):
    found = read(tmp_path, OBF + 'endpoint = "responder"\nplanned_error = "4 %"\neffect = "20 %"\n')
    assert (found.planned_error, found.effect) == pytest.approx((0.04, 0.2))


def test_alpha_is_that_of_the_multiplicity_where_there_is_one(tmp_path):
    text = OBF + '[multiplicity]\nmethod = "Holm"\nalpha = 0.02\norder = ["gain", "hip"]\n'
    assert read(tmp_path, text).alpha == 0.02


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "looks.toml:40: `spending` is missing"),
        ('spending = "OBF"', "looks.toml:41: `spending` is \"OBF\"; use 'O'Brien-Fleming' or 'Pocock'."),
        (OBF + 'endpoint = "gian"', "looks.toml:42: unknown endpoint 'gian'; did you mean 'gain'?"),
        (OBF + 'endpoint = "CTX"', "looks.toml:42: 'CTX' is a difference of medians, which has no test"),
        (OBF + "alpha = 0.7", "looks.toml:42: alpha = 0.7 is not possible"),
        (OBF + "planned_events = 9", "looks.toml:42: events are the information of the analyses Cox and log-rank"),
        (OBF + 'endpoint = "hip"\nplanned_events = 0', "looks.toml:43: planned_events = 0 is not positive"),
        (OBF + 'endpoint = "hip"\nplanned_error = "0.3"', "looks.toml:43: the information of 'hip', a hazard ratio"),
        (OBF + 'planned_error = "0 %"', 'looks.toml:42: planned_error = "0 %" is not positive'),
        (OBF + 'effect = "-1 %"', 'looks.toml:42: effect = "-1 %" is no benefit; give one above 0.'),
        (OBF + 'endpoint = "hip"\neffect = "1.5"', 'looks.toml:43: effect = "1.5" is no benefit; give one below 1.'),
        (OBF + 'endpoint = "hip"\neffect = "0"', 'looks.toml:43: effect = "0" is no ratio'),
        (OBF + 'futility = { below = "120 %" }', 'looks.toml:42: below = "120 %" is not possible'),
        (OBF + 'futility = { below = "9 %", under = "design" }', "looks.toml:42: conditional power under the design"),
        (OBF + 'arms = ["placebo"]', "looks.toml:42: 'placebo' is the control"),
        (OBF + "looks = 3", "looks.toml:42: unknown key 'looks'"),
    ],
)
def test_a_fault_is_said_in_one_sentence_with_its_line(tmp_path, text, fault):
    with pytest.raises(BadInput) as found:
        read(tmp_path, text)
    assert len(found.value.messages) == 1
    assert found.value.messages[0].startswith(fault)


def test_an_interim_test_needs_a_look(tmp_path):
    with pytest.raises(BadInput, match="there is no look to test at"):
        read(tmp_path, OBF, TRIAL.replace('looks     = ["18 mo"]\n', ""))
