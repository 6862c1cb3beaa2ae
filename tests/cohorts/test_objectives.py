"""Endpoints, estimands and multiplicity of a trial file: what is read, and what is refused in which sentence."""

from pathlib import Path

import pytest
from helpers import arm, change, trial_file, trial_text

from ranklsim.cohorts.endpoints import Change, Durability, Estimand, Event, Rate, Responder
from ranklsim.cohorts.protocol.trial import Trial, load_trial
from ranklsim.pkpd.errors import BadInput

BASE = trial_text(
    months=48,
    visits={"BMD": [0, 12, 24, 36, 48], "markers": [0, 6, 24, 36, 48]},
    endpoint=[change(analysis="MMRM")],
)
CONDUCT = """
[conduct]
dropout   = "5 %/yr"
fractures = true
deaths    = true
"""


def endpoint(line: str, analysis: str, more: str = "") -> str:
    return f'[[endpoint]]\nname = "other"\nrole = "secondary"\n{line}\nanalysis = "{analysis}"\n{more}\n'


def estimand(more: str = "", *, of: str = "gain", events: str = '{ dropout = "treatment policy" }') -> str:
    return f'[[estimand]]\nname = "question"\nendpoint = "{of}"\nprimary = true\nevents = {events}\n{more}\n'


def read(folder: Path, *parts: str) -> Trial:
    path = folder / "questions.toml"
    path.write_text(BASE + "".join(parts) + CONDUCT, encoding="utf-8")
    return load_trial(path)


def refused(folder: Path, *parts: str) -> list[str]:
    with pytest.raises(BadInput) as caught:
        read(folder, *parts)
    return list(caught.value.messages)


@pytest.mark.parametrize(
    ("line", "analysis", "expected"),
    [
        ('responder = { of = "BMD_LS", at = "24 mo", gain = ">= 3 %" }', "Miettinen-Nurminen",
         Responder(name="other", role="secondary", analysis="Miettinen-Nurminen", measure="BMD_LS", from_month=0.0,
                   to_month=24.0, sign=">=", limit=3.0)),
        ('event = { of = "vertebral", from = "24 mo", by = "4 yr", least = 2 }', "Mantel-Haenszel",
         Event(name="other", role="secondary", analysis="Mantel-Haenszel", event="vertebral", from_month=24.0,
               by_month=48.0, least=2)),
        ('rate = { of = "nonvertebral", by = "48 mo" }', "negative binomial",
         Rate(name="other", role="secondary", analysis="negative binomial", event="nonvertebral", by_month=48.0)),
        ('durability = { of = "BMD_TH", what = "share kept", after = "12 mo" }', "bootstrap",
         Durability(name="other", role="secondary", analysis="bootstrap", measure="BMD_TH", what="share kept",
                    after=12.0)),
    ],
)  # fmt: skip
def test_an_endpoint_is_read_as_the_file_says_it(tmp_path, line, analysis, expected):
    trial = read(tmp_path, endpoint(line, analysis))
    assert trial.endpoints[1] == expected
    assert trial.changes == [trial.endpoints[0]]


def test_the_errors_of_a_mixed_model_are_read_and_refused_where_an_analysis_has_one_kind(tmp_path):
    line = 'change = { of = "BMD_TH", from = "0 mo", to = "24 mo" }'
    assert read(tmp_path, endpoint(line, "MMRM", 'errors = "jackknife"')).endpoints[1].errors == "jackknife"
    assert read(tmp_path, endpoint(line, "MMRM")).endpoints[1].errors == "model"
    (said,) = refused(tmp_path, endpoint(line, "ANCOVA", 'errors = "empirical"'))
    assert "ANCOVA has one kind of errors; leave errors out, or use 'MMRM'." in said
    (said,) = refused(tmp_path, endpoint(line, "MMRM", 'errors = "robust"'))
    assert '`errors` is "robust"' in said


def test_margin_and_covariates_of_an_endpoint_are_read_in_its_unit(tmp_path):
    line = 'change = { of = "CTX", from = "0 mo", to = "24 mo", as = "absolute" }'
    trial = read(tmp_path, endpoint(line, "ANCOVA", 'margin = "50 pg/mL"\ncovariates = ["age", "eGFR"]'))
    assert isinstance(trial.endpoints[1], Change)
    assert trial.endpoints[1].margin == pytest.approx(0.05)
    assert trial.endpoints[1].covariates == ("age", "eGFR")
    event = 'event = { of = "hip", by = "48 mo" }'
    assert read(tmp_path, endpoint(event, "Cox", 'margin = "1.3"')).endpoints[1].margin == 1.3
    assert read(tmp_path, endpoint(event, "cumulative incidence", 'margin = "2 %"')).endpoints[1].margin == 2.0


def test_an_estimand_has_its_attributes_and_sensible_defaults(tmp_path):
    found = read(tmp_path, estimand('population = { age = ">= 75 yr" }\nmissing = "J2R"')).estimands
    assert found == [
        Estimand("question", "gain", True, {"age": (75.0, None)}, ("denosumab",), {"dropout": "treatment policy"},
                 "J2R", "difference of means")
    ]  # fmt: skip
    composite = read(tmp_path, estimand(events='{ dropout = "composite" }')).estimands[0]
    assert composite.summary == "difference of medians"


def test_an_estimand_of_an_endpoint_compared_by_incidence_is_a_subdistribution_hazard_ratio(tmp_path):
    fracture = endpoint('event = { of = "hip", by = "48 mo" }', "Gray", 'margin = "1.3"')
    asked = '[[estimand]]\nname = "q"\nendpoint = "other"\nprimary = true\nevents = { dropout = "hypothetical" }\n'
    trial = read(tmp_path, fracture + asked)
    assert trial.endpoints[1].margin == 1.3
    assert trial.estimands[0].summary == "subdistribution hazard ratio"
    other = read(tmp_path, fracture.replace("Gray", "Cox") + asked + 'summary = "subdistribution hazard ratio"\n')
    assert other.estimands[0].summary == "subdistribution hazard ratio"
    assert read(tmp_path, fracture.replace("Gray", "Cox") + asked).estimands[0].summary == "hazard ratio"


def test_hypotheses_are_endpoints_and_within_them_arms(tmp_path):
    plan = read(tmp_path, '[multiplicity]\nmethod = "Holm"\nalpha = 0.05\norder = ["gain"]\n').multiplicity
    assert plan.hypotheses == (("gain", "denosumab"),)
    graph = '[multiplicity]\nmethod = "graphical"\norder = ["gain"]\nweights = [1.0]\ntransitions = [[0.0]]\n'
    assert read(tmp_path, graph).multiplicity.weights == (1.0,)


def test_a_file_without_questions_is_the_trial_that_it_was(tmp_path):
    trial = read(tmp_path)
    assert trial.estimands == []
    assert trial.multiplicity is None


@pytest.mark.parametrize(
    ("part", "place", "sentence"),
    [
        (endpoint('event = { of = "hypocalcaemia", by = "12 mo" }', "Cox"), 4,
         "endpoint 'other' counts 'hypocalcaemia', which the trial does not record; set hypocalcaemia = true in "
         "[conduct], or leave it out."),
        (endpoint('event = { of = "spine", by = "12 mo" }', "Cox"), 4, "unknown event 'spine'"),
        (endpoint('event = { of = "hip", by = "60 mo" }', "Cox"), 4, "after the trial ends at 48 mo"),
        (endpoint('responder = { of = "BMD_LS", at = "24 mo", gain = "3 %" }', "logistic"), 4, "has no sign"),
        (endpoint('responder = { of = "BMD_LS", at = "25 mo", gain = ">3 %" }', "logistic"), 4,
         "is not a visit of BMD"),
        (endpoint('rate = { of = "hip", by = "48 mo" }', "MMRM"), 5,
         "MMRM is not an analysis of a rate"),
        (endpoint('rate = { of = "hip", by = "48 mo" }', "negative binomial", 'margin = "0.8"'), 6,
         "give a ratio above 1"),
        (endpoint('durability = { of = "CTX", what = "months back" }', "bootstrap"), 4, "'CTX' has no months back"),
        (endpoint('durability = { of = "BMD_LS", what = "share kept" }', "bootstrap"), 4, '`after` is missing'),
        (endpoint('rate = { of = "hip", by = "4 mo" }\nevent = { of = "hip", by = "4 mo" }', "Cox"), 4,
         "both event and rate are given"),
        (endpoint("", "Cox"), 1, "or one of responder, event, rate, durability, exposure, dose_response."),
        (endpoint('rate = { of = "hip", by = "4 mo" }', "negative binomial", 'covariates = ["weigth"]'), 6,
         "unknown covariate 'weigth'; did you mean 'weight'?"),
        (estimand(events='{ rescue = "hypothetical" }'), 5,
         "estimand 'question' names the event 'rescue', which the trial does not record; set rescue in [conduct], or "
         "leave it out."),
        (estimand(events='{ drpout = "hypothetical" }'), 5, "unknown event 'drpout'; did you mean 'dropout'?"),
        (estimand(events='{ dropout = "treatment-policy" }'), 5, "did you mean 'treatment policy'?"),
        (estimand(of="gian"), 3, "unknown endpoint 'gian'; did you mean 'gain'?"),
        (estimand('summary = "hazard ratio"'), 6, "'gain' has no hazard ratio"),
        (estimand('summary = "difference of means"', events='{ dropout = "composite" }'), 6,
         "so that there is no mean"),
        (estimand('treatment = ["placebo"]'), 6, "'placebo' is the control"),
        (estimand() + estimand().replace("question", "second"), 10, "a second estimand is primary"),
        (estimand().replace("primary = true\n", ""), 1, "no estimand is primary"),
        ('[multiplicity]\nmethod = "Holm"\norder = ["gian"]\n', 3, "unknown endpoint 'gian'; did you mean 'gain'?"),
        ('[multiplicity]\nmethod = "Holm"\norder = ["gain"]\nweights = [1.0]\n', 4, "belong to the graphical method"),
        ('[multiplicity]\nmethod = "graphical"\norder = ["gain"]\nweights = [0.7, 0.7]\ntransitions = [[0.0]]\n', 4,
         "with a sum of at most 1"),
        ('[multiplicity]\nmethod = "Holm"\nalpha = 5.0\norder = ["gain"]\n', 3, "alpha = 5 is not possible"),
    ],
)  # fmt: skip
def test_a_fault_is_one_sentence_with_its_line(tmp_path, part, place, sentence):
    messages = refused(tmp_path, part)
    assert len(messages) == 1, messages
    assert sentence in messages[0]
    line = BASE.count("\n") + place  # of the lines that were added
    assert messages[0].startswith(f"questions.toml:{line}: "), messages[0]


@pytest.mark.parametrize("claim", [{"margin": "1 %"}, {"equivalence": ["-1 %", "1 %"]}])
def test_a_claim_with_margins_is_of_a_comparison(tmp_path, claim):
    path = trial_file(tmp_path, control=None, arm=[arm("denosumab", doses=2)], endpoint=[change(**claim)])
    with pytest.raises(BadInput, match="is of a comparison; name the trial's control, or leave it out"):
        load_trial(path)
