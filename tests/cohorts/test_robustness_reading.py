"""The tables [tipping_point] and [per_protocol] of a trial file."""

import pytest

from ranklsim.cohorts.protocol.endpoints import PerProtocol, TippingPoint
from ranklsim.cohorts.protocol.trial import TRIALS, load_trial
from ranklsim.pkpd.errors import BadInput

FREEDOM = (TRIALS / "freedom.toml").read_text(encoding="utf-8")
SPINE = "Lumbar spine BMD over 36 months"


def read(folder, text):
    (folder / "firm.toml").write_text(FREEDOM + text, encoding="utf-8")
    return load_trial(folder / "firm.toml")


def test_without_the_tables_nothing_is_asked(tmp_path):
    trial = read(tmp_path, "")
    assert (trial.tipping, trial.per_protocol) == (None, None)


def test_the_tipping_point_is_that_of_the_primary_endpoint_unless_another_is_named(tmp_path):
    assert read(tmp_path, "[tipping_point]\n").tipping == TippingPoint("New vertebral fracture by month 36", "MAR")
    text = f'[tipping_point]\nendpoint = "{SPINE}"\nmissing = "J2R"\n'
    assert read(tmp_path, text).tipping == TippingPoint(SPINE, "J2R")


def test_every_deviation_is_read_in_its_unit(tmp_path):
    text = '[per_protocol]\nmissed_doses = "20 %"\nlate_dose = "2 mo"\nvisit = "1 mo"\nevents = ["stopped"]\n'
    assert read(tmp_path, text).per_protocol == PerProtocol(0.2, 2.0, 1.0, ("stopped",))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('[tipping_point]\nendpoint = "Lumbar"', "unknown endpoint 'Lumbar'"),
        (
            '[tipping_point]\nendpoint = "CTX at 1 month"',
            "'CTX at 1 month' has no tipping point",
        ),
        ('[tipping_point]\nmissing = "J2R"', 'missing = "J2R" is for a change only'),
        ("[per_protocol]", "no deviation is major"),
        ('[per_protocol]\nmissed_doses = "100 %"', 'missed_doses is "100 %"'),
        ('[per_protocol]\nlate_dose = "-1 mo"', 'late_dose is "-1 mo"'),
        ('[per_protocol]\nevents = ["stoped"]', "unknown event 'stoped'; did you mean 'stopped'?"),
        ('[per_protocol]\nevents = ["rescue"]', "the trial does not record 'rescue'"),
    ],
)
def test_a_fault_is_said_in_one_sentence_with_its_line(tmp_path, text, fault):
    with pytest.raises(BadInput) as found:
        read(tmp_path, text)
    (message,) = found.value.messages
    assert message.startswith("firm.toml:")
    assert fault in message
