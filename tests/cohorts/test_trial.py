import copy
import re
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tomlkit
from helpers import check_sentence, trial_text
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ranklsim.cohorts.people.criteria import covariates, parse_range, parse_stratum
from ranklsim.cohorts.protocol.trial import TRIAL, Layers, list_trials, load_trial
from ranklsim.pkpd.errors import BadInput
from ranklsim.pkpd.units import DAYS_PER_MONTH

SHIPPED = ["biosimilar", "discontinuation", "dose_ranging", "exit", "freedom", "modality", "source"]

SWITCH = """\
title   = "Leaving denosumab"
seed    = 20260
months  = 48
control = "zol"
[population]
name     = "postmenopausal-osteoporosis"
patients = 400
eligible = { age = "60..85 yr", T_LS = "-4.0..-2.5", eGFR = ">= 35 mL/min/1.73m2" }
strata   = ["age >= 75 yr", "prevalent_fracture"]
ratio    = { zol = 1, selective = 2 }
[[arm]]
name    = "zol"
label   = "Denosumab, then zoledronate"
regimen = [
  { agent = "denosumab", dose = "60 mg", every = "6 mo", doses = 4 },
  { agent = "zoledronate", dose = "5 mg", start = "24 mo", doses = 1 },
]
[[arm]]
name    = "selective"
regimen = [
  { agent = "denosumab", dose = "60 mg", every = "6 mo", doses = 4 },
  { agent = "mrankl-selective", dose = "60 mg", start = "24 mo", every = "6 mo", doses = 2 },
]
[visits]
BMD     = [0, 12, 24, 36, 48]
markers = [0, 1, 6, 12, 48]
[[endpoint]]
name     = "TH BMD after the switch"
role     = "primary"
change   = { of = "BMD_TH", from = "24 mo", to = "48 mo", as = "percent" }
analysis = "ANCOVA"
[conduct]
dropout = "5 %/yr"
"""


def write(folder, text, name="switch.toml"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def changed(*replacements):
    """`SWITCH` with lines changed; each replacement must be there exactly once."""
    text = SWITCH
    for old, new in replacements:
        assert text.count(old) == 1, f"{old!r} is in the text {text.count(old)} times"
        text = text.replace(old, new)
    return text


def faults(folder, text):
    with pytest.raises(BadInput) as caught:
        load_trial(write(folder, text))
    return list(caught.value.messages)


# -- what a good file becomes ------------------------------------------------------------------------------------------


def test_the_shipped_trials_are_the_six_and_load():
    assert [trial.name for trial in list_trials()] == SHIPPED


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_trial_says_after_whom_it_is_modelled_with_dois(name):
    trial = load_trial(name)
    comment = "".join(line for line in trial.source_text.splitlines() if line.startswith("#"))
    dois = [re.search(r"doi:(10\.\d{4,}/\S+)", source) for source in trial.sources]
    assert dois
    assert all(doi and doi[1] in comment for doi in dois)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_trial_has_a_primary_endpoint_and_its_control_among_the_arms(name):
    trial = load_trial(name)
    assert [endpoint.role for endpoint in trial.endpoints].count("primary") == 1
    assert trial.control in [arm.name for arm in trial.arms]


def test_modality_is_four_arms_of_100_with_six_doses_and_36_months_after_the_treatment_period():
    trial = load_trial("modality")
    assert trial.agent_names() == ["placebo", "denosumab", "mrankl-selective", "srankl-selective"]
    assert trial.population.patients == 400
    assert list(trial.population.ratio.values()) == [1, 1, 1, 1]
    for arm in trial.arms:
        assert arm.doses()["month"].tolist() == [0, 6, 12, 18, 24, 30]
        assert max(regimen.end_day for regimen in arm.regimens) == 36 * DAYS_PER_MONTH
    assert trial.months == 72


def test_a_step_without_start_follows_the_one_before(tmp_path):
    text = changed(('dose = "60 mg", start = "24 mo", every', 'dose = "60 mg", every'))
    doses = load_trial(write(tmp_path, text)).arm("selective").doses()
    assert doses["month"].tolist() == [0, 6, 12, 18, 24, 30]
    assert doses["agent"].tolist() == ["denosumab"] * 4 + ["mrankl-selective"] * 2


def test_doses_and_the_time_that_they_fill_say_the_same(tmp_path):
    by_time = changed(('start = "24 mo", every = "6 mo", doses = 2', 'start = "24 mo", every = "6 mo", for = "12 mo"'))
    assert load_trial(write(tmp_path, by_time)) == load_trial(write(tmp_path, SWITCH))


def test_weekly_tablets_for_a_year_are_52(tmp_path):
    weekly = 'agent = "alendronate", dose = "70 mg", start = "24 mo", every = "1 wk", for = "12 mo"'
    text = changed(('agent = "zoledronate", dose = "5 mg", start = "24 mo", doses = 1', weekly))
    doses = load_trial(write(tmp_path, text)).arm("zol").doses()
    tablets = doses[doses["agent"] == "alendronate"]
    assert len(tablets) == 52
    assert np.allclose(np.diff(tablets["day"]), 7)


def test_a_month_is_30_4375_days_and_units_of_time_are_interchangeable(tmp_path):
    weeks = changed(('start = "24 mo", every = "6 mo"', 'start = "2 yr", every = "182.625 day"'))
    assert load_trial(write(tmp_path, weeks)) == load_trial(write(tmp_path, SWITCH))
    assert load_trial("modality").arm("denosumab").doses()["day"].iloc[-1] == 30 * DAYS_PER_MONTH


def test_two_agents_at_once_are_said_with_together(tmp_path):
    both = changed(('start = "24 mo", every = "6 mo", doses = 2', 'every = "6 mo", doses = 4, together = true'))
    doses = load_trial(write(tmp_path, both)).arm("selective").doses()
    assert doses["month"].tolist() == [0, 0, 6, 6, 12, 12, 18, 18]


def test_a_placebo_needs_no_dose_and_has_no_amount():
    assert load_trial("freedom").arm("placebo").doses()["amount_mg"].tolist() == [0.0] * 6


def test_an_arm_may_be_given_nothing(tmp_path):
    text = re.sub(r"regimen = \[\n.*?\n\]", "regimen = []", SWITCH, count=1, flags=re.DOTALL)
    arm = load_trial(write(tmp_path, text)).arm("zol")
    assert arm.doses().empty
    assert arm.last_dose_month is None


def test_what_a_file_leaves_out_has_its_default(tmp_path):
    text = changed(
        ("ratio    = { zol = 1, selective = 2 }\n", ""),
        ('eligible = { age = "60..85 yr", T_LS = "-4.0..-2.5", eGFR = ">= 35 mL/min/1.73m2" }\n', ""),
        ('strata   = ["age >= 75 yr", "prevalent_fracture"]\n', ""),
        ('[conduct]\ndropout = "5 %/yr"\n', ""),
    )
    trial = load_trial(write(tmp_path, text))
    assert trial.population.ratio == {"zol": 1, "selective": 1}
    assert (trial.population.eligible, trial.population.strata) == ({}, [])
    assert trial.conduct.dropout_per_year == 0
    assert trial.layers == Layers(patients=True, residual=True, parameters=True)
    assert trial.uncertainty_draws == 200
    assert trial.name == "switch"
    assert trial.arm("selective").label == "selective"


def test_criteria_come_in_the_covariates_own_units(tmp_path):
    text = changed(('age = "60..85 yr"', 'age = "720..1020 mo", weight = "<= 100000 g", prevalent_fracture = "no"'))
    eligible = load_trial(write(tmp_path, text)).population.eligible
    assert eligible["age"] == pytest.approx((60, 85))
    assert eligible["weight"] == (None, pytest.approx(100))
    assert eligible["T_LS"] == (-4.0, -2.5)
    assert eligible["eGFR"] == (35, None)
    assert eligible["prevalent_fracture"] == (0, 0)


def test_freedoms_t_score_criterion_admits_low_spine_or_low_hip_and_neither_below_minus_4():
    women = pd.DataFrame(
        {"age": 70.0, "vitamin_D": 25.0, "T_LS": [-2.6, -1.0, -2.0, -4.1, -2.5], "T_TH": [-1.0, -3.9, -2.4, -3.0, 0.0]}
    )
    assert load_trial("freedom").population.admits(women).tolist() == [True, True, False, False, True]


def test_a_stratum_splits_at_its_cut():
    women = pd.DataFrame({"age": [74.9, 75.0], "prevalent_fracture": [1.0, 0.0]})
    assert parse_stratum("age >= 75 yr", where="").of(women).tolist() == [False, True]
    assert parse_stratum("age < 900 mo", where="").of(women).tolist() == [True, False]
    assert parse_stratum("prevalent_fracture", where="").of(women).tolist() == [True, False]


@given(st.sampled_from(sorted(covariates())), st.floats(0, 1), st.floats(0, 1))
def test_a_range_reads_back_as_it_is_written(name, first, second):
    covariate = covariates()[name]
    low, high = (covariate.low + (covariate.high - covariate.low) * share for share in sorted((first, second)))
    if not covariate.yes_no:
        unit = "" if covariate.unit == "1" else f" {covariate.unit}"
        assert parse_range(name, f"{low!r}..{high!r}{unit}", where="x") == (low, high)


# -- overrides and the frozen copy -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHIPPED)
def test_the_frozen_copy_loads_to_the_same_trial(name, tmp_path):
    trial = load_trial(name).with_overrides(patients=97, seed=0, layers={"residual": False})
    assert load_trial(write(tmp_path, trial.to_toml(), "trial.toml")) == trial


def test_the_frozen_copy_keeps_the_files_comments_and_marks_what_was_overridden():
    trial = load_trial("modality")
    kept = [line for line in trial.source_text.splitlines() if line.startswith("#")]
    frozen = trial.with_overrides(patients=40).to_toml()
    assert [line for line in frozen.splitlines() if line.startswith("#")] == kept
    assert "patients = 40 # for this run; 400 in the trial's file" in frozen


def test_a_copy_of_the_copy_is_the_copy(tmp_path):
    frozen = load_trial("exit").with_overrides(seed=5).to_toml()
    again = load_trial(write(tmp_path, frozen, "trial.toml"))
    assert again.to_toml() == frozen


def test_overrides_change_nothing_else():
    trial = load_trial("exit")
    other = trial.with_overrides(patients=8, seed=0)
    assert (other.population.patients, other.seed) == (8, 0)
    assert other.with_overrides(patients=400, seed=trial.seed) == trial


@pytest.mark.parametrize(
    "override, words",
    [
        ({"patients": 0}, "patients = 0 is not positive"),
        ({"patients": 3}, "fewer than the 4 arms; give at least 4"),
        ({"seed": -1}, "seed = -1 is not possible"),
        ({"layers": {"noise": False}}, "unknown layer 'noise'"),
    ],
)
def test_an_impossible_override_is_refused(override, words):
    with pytest.raises(BadInput, match=re.escape(words)):
        load_trial("modality").with_overrides(**override)


# -- what is wrong with a bad file -------------------------------------------------------------------------------------

SELECTIVE = 'dose = "60 mg", start = "24 mo", every = "6 mo", doses = 2'
BAD = [
    (("mrankl-selective", "mrankl-selectve"), 22,
     ["unknown agent 'mrankl-selectve'; did you mean 'mrankl-selective'?"]),
    (('dose = "5 mg"', 'dose = "60"'), 16, ["arm 'zol', regimen 2", "'60' has no unit", '"60 mg"']),
    (('dose = "5 mg"', "dose = 60"), 16, ["arm 'zol', regimen 2", "has no unit", '"60 mg"']),
    (('dose = "5 mg"', 'dose = "60 kg"'), 16, ["arm 'zol', regimen 2", '"mg"']),
    (('dose = "5 mg"', 'dose = "60 mo"'), 16, ["arm 'zol', regimen 2", '"mg"']),
    (('dose = "5 mg"', 'dose = "0 mg"'), 16, ['dose is "0 mg"', "more than 0"]),
    (('dose = "5 mg"', 'dose = "-5 mg"'), 16, ['dose is "-5 mg"', "more than 0"]),
    (('dose = "5 mg", ', ""), 16, ["dose is missing", '"60 mg"']),
    ((SELECTIVE, SELECTIVE.replace("24 mo", "12 mo")), 22,
     ["arm 'selective', regimen 2 starts at 12 mo, before regimen 1 ends at 24 mo; start it at 24 mo or later"]),
    ((SELECTIVE, SELECTIVE.replace("24 mo", "-1 mo")), 22, ["before randomisation"]),
    ((SELECTIVE, SELECTIVE.replace("doses = 2", "doses = 5")), 22, ["lasts until 54 mo", "ends at 48 mo", "54"]),
    ((SELECTIVE, SELECTIVE.replace("doses = 2", "doses = 0")), 22, ["doses = 0", "from 1 to"]),
    ((SELECTIVE, SELECTIVE.replace("doses = 2", "doses = 2.5")), 22, ["`doses` = 2.5", "doses = 4"]),
    ((SELECTIVE, SELECTIVE.replace(", doses = 2", "")), 22, ["doses is missing"]),
    ((SELECTIVE, SELECTIVE + ', for = "12 mo"'), 22, ["both doses and for"]),
    ((SELECTIVE, SELECTIVE.replace('every = "6 mo", ', "")), 22, ["every is missing"]),
    ((SELECTIVE, SELECTIVE.replace("6 mo", "6 M")), 22, ["'M' is ambiguous", '"mo"']),
    ((SELECTIVE, SELECTIVE.replace("doses = 2", 'for = "3 mo"')), 22, ["shorter than one interval"]),
    ((SELECTIVE, SELECTIVE.replace("6 mo", "1e-9 mo").replace("doses = 2", 'for = "1 mo"')), 22,
     ["more than 50000 doses"]),
    ((SELECTIVE, SELECTIVE.replace("24 mo", "1e308 mo")), 22, ['"1e308 mo", which is too large']),
    ((SELECTIVE, SELECTIVE.replace("dose =", "dosage =")), 22, ["unknown key 'dosage'; did you mean 'dose'?"]),
    (('name    = "selective"', 'name    = "zol"'), 19, ["arm name 'zol' is used twice"]),
    (('name    = "selective"', 'name    = "the new one"'), 19, ["'the new one' is not usable"]),
    (("selective = 2", "selectiv = 2"), 10, ["'selectiv', which is not an arm; did you mean 'selective'?"]),
    (("selective = 2", "selective = 0"), 10, ["ratio selective = 0 is not positive"]),
    (("selective = 2", "selective = -1"), 10, ["ratio selective = -1 is not positive"]),
    (("selective = 2", "selective = 1.5"), 10, ["`selective` = 1.5", "ratio = {"]),
    ((", selective = 2", ""), 10, ["leaves out arm 'selective'"]),
    (('control = "zol"', 'control = "zoll"'), 4, ["control 'zoll' is not an arm; did you mean 'zol'?"]),
    (('control = "zol"', 'contrl = "zol"'), 4, ["unknown key 'contrl'; did you mean 'control'?"]),
    (("patients = 400", "patients = 0"), 7, ["patients = 0 is not positive"]),
    (("patients = 400", "patients = 1000000000000"), 7, ["too many; give at most 10000000"]),
    (("selective = 2", "selective = 1000000000000"), 10, ["too large; give at most 1000"]),
    (("patients = 400", "patients = 1"), 7, ["fewer than the 2 arms"]),
    (("patients = 400", 'patients = "many"'), 7, ['`patients` = "many"']),
    (("seed    = 20260", "seed    = -1"), 2, ["seed = -1"]),
    (("months  = 48", "months  = -48"), 3, ["months = -48"]),
    (("months  = 48", "months  = nan"), 3, ["months = nan"]),
    (("months  = 48", "months  = true"), 3, ["`months` = true"]),
    (("postmenopausal-osteoporosis", "postmenopausal-osteoporoses"), 6,
     ["unknown population", "did you mean 'postmenopausal-osteoporosis'?"]),
    (("age = ", "agee = "), 8, ["unknown covariate 'agee'; did you mean 'age'?"]),
    (("60..85 yr", "60..850 yr"), 8, ["age = 850 yr is outside what is possible", "18..110 yr"]),
    (("60..85 yr", "60..85"), 8, ["has no unit"]),
    (("60..85 yr", "60..85 kg"), 8, ["eligible age", "yr"]),
    (("60..85 yr", "85..60 yr"), 8, ["ends below its start", "60..85 yr"]),
    (("60..85 yr", "old"), 8, ['eligible age is "old", which is not a range']),
    ((">= 35", "> 35"), 8, ['write ">=" or "<="']),
    (("age >= 75 yr", "age >= 750 yr"), 9, ["stratum age = 750 yr is outside what is possible"]),
    (("age >= 75 yr", "age"), 9, ['stratum "age" has no cut']),
    (("age >= 75 yr", "prevalent_fracture"), 9, ['stratum "prevalent_fracture" is there twice']),
    (("age >= 75 yr", "colour"), 9, ["unknown covariate 'colour'"]),
    (("BMD     = [0, 12, 24, 36, 48]", "BMD     = [0, 24, 12, 36, 48]"), 25, ["BMD has 12 after 24", "in order"]),
    (("BMD     = [0, 12, 24, 36, 48]", "BMD     = [0, 12, 24, 24, 48]"), 25, ["BMD has 24 after 24"]),
    (("BMD     = [0, 12, 24, 36, 48]", "BMD     = [0, 12, 24, 48, 60]"), 25, ["at 60 mo", "trial ends at 48 mo"]),
    (("markers = [0, 1,", "markers = [-1, 0, 1,"), 26, ["markers has a visit at -1 mo"]),
    (("markers = [0, 1,", "markers = [1,"), 26, ["markers has no baseline"]),
    (("markers = [0, 1,", 'markers = [0, "one",'), 26, ['`markers` = "one"']),
    (("markers = [0, 1, 6, 12, 48]\n", ""), 24, ["`markers` is missing; give markers = ["]),
    (('of = "BMD_TH"', 'of = "BMD_HT"'), 30, ["`of` is \"BMD_HT\"; did you mean 'BMD_TH'?"]),
    (('from = "24 mo", to', 'from = "25 mo", to'), 30, ['from = "25 mo" is not a visit of BMD', '"24 mo"']),
    (('to = "48 mo"', 'to = "12 mo"'), 30, ["to = 12 mo is not after from = 24 mo"]),
    (('of = "BMD_TH"', 'of = "CTX"'), 30, ['from = "24 mo" is not a visit of markers']),
    (('as = "percent"', 'as = "per cent"'), 30, ["did you mean 'percent'?"]),
    (('role     = "primary"', 'role     = "main"'), 29, ['`role` is "main"; use \'primary\'']),
    (('role     = "primary"', 'role     = "secondary"'), 27, ["no endpoint is primary"]),
    (('analysis = "ANCOVA"', 'analysis = "ANOVA"'), 31, ["did you mean 'ANCOVA'?"]),
    (("5 %/yr", "5 %"), 33, ["dropout", "%/yr"]),
    (("5 %/yr", "5"), 33, ["dropout", "no unit", "%/yr"]),
    (("5 %/yr", "-5 %/yr"), 33, ["dropout", "at least 0"]),
    (("5 %/yr", "100 %/yr"), 33, ["dropout", "below 100 %/yr"]),
    (('dropout = "5 %/yr"', 'dropuot = "5 %/yr"'), 33, ["unknown key 'dropuot'; did you mean 'dropout'?"]),
]  # fmt: skip


@pytest.mark.parametrize("change, line, words", BAD, ids=[f"{line}-{new[-30:]}" for (_, new), line, _ in BAD])
def test_one_fault_is_one_sentence_with_its_line_and_what_would_be_right(change, line, words, tmp_path):
    messages = faults(tmp_path, changed(change))
    assert len(messages) == 1, messages
    assert messages[0].startswith(f"switch.toml:{line}: ")
    check_sentence(messages[0], *words)


def test_an_unknown_arm_count_without_control_asks_for_it(tmp_path):
    (message,) = faults(tmp_path, changed(('control = "zol"\n', "")))
    check_sentence(message, "switch.toml: control is missing", 'control = "zol"')


def test_all_faults_of_a_file_come_at_once_in_the_order_of_the_file(tmp_path):
    several = [BAD[0], BAD[1], BAD[21], BAD[36], BAD[48], BAD[55], BAD[63], BAD[29]]
    messages = faults(tmp_path, changed(*(change for change, _, _ in several)))
    lines = [int(message.split(":")[1]) for message in messages]
    assert lines == sorted(line for _, line, _ in several)


def test_a_file_with_nothing_in_it_is_told_everything_that_it_needs(tmp_path):
    messages = faults(tmp_path, "")
    missing = {re.findall(r"`(\w+)`", message)[0] for message in messages}
    assert missing == {"title", "seed", "months", "population", "arm", "visits", "endpoint"}


def test_an_unknown_trial_gets_the_nearest_name():
    with pytest.raises(BadInput, match=r"^unknown trial 'fredom'; did you mean 'freedom'\? `ranklsim trials`"):
        load_trial("fredom")


@pytest.mark.parametrize(
    "content", [b'title = "x"\nseed = 1\nmonths 48\n', b"title = 60 mg\n", b"\xff\xf0\x00", b"[[arm]\n"]
)
def test_what_is_no_toml_is_refused_in_words(content, tmp_path):
    (tmp_path / "x.toml").write_bytes(content)
    with pytest.raises(BadInput, match=r"x\.toml:\d+: "):
        load_trial(tmp_path / "x.toml")


def test_a_missing_file_and_a_folder_are_refused_in_words(tmp_path):
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(BadInput, match=re.escape(str(path))):
            load_trial(path)


def test_a_users_own_agent_next_to_the_trial_is_found_and_its_faults_are_told(tmp_path):
    text = SWITCH.replace('"mrankl-selective"', '"abc-301"')
    write(tmp_path, 'name = "abc-301"\nlike = "denosumab"\nlabel = "ABC-301"\nhypothetical = true\n', "abc-301.toml")
    assert load_trial(write(tmp_path, text)).agent_names() == ["denosumab", "zoledronate", "abc-301"]
    write(tmp_path, 'name = "abc-301"\nlabel = "ABC-301"\nkind = "binder"\nroute = "SC"\n', "abc-301.toml")
    assert any(message.startswith("abc-301.toml") and "KD_mRANKL" in message for message in faults(tmp_path, text))


# -- whatever a file holds, it is a trial or it is refused in words ----------------------------------------------------

BASE = tomllib.loads(SWITCH)
STRANGE = [None, True, 0, -1, 10**30, 0.5, float("nan"), float("inf"), "", "x", "60", "60 kg", "1..2", "1e308 mo",
           "1e-308 mg", [], [1], [[]], ["x"], {}, {"x": 1}, [{}], [{"x": {}}]]  # fmt: skip


def places(data, path=()):
    children = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in children:
        yield (*path, key)
        yield from places(value, (*path, key))


@pytest.mark.slow
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(list(places(BASE))), st.sampled_from(STRANGE)), min_size=1, max_size=3))
def test_no_value_anywhere_makes_anything_but_a_trial_or_sentences_with_the_files_name(tmp_path, changes):
    data = copy.deepcopy(BASE)
    for path, value in changes:
        holder = data
        try:
            for key in path[:-1]:
                holder = holder[key]
            if isinstance(holder, dict) != isinstance(path[-1], str):  # a change before put another kind there
                continue
            if value is None:
                del holder[path[-1]]
            else:
                holder[path[-1]] = copy.deepcopy(value)
        except (KeyError, IndexError, TypeError):
            continue
    messages = ["switch.toml: none"]
    try:
        load_trial(write(tmp_path, tomlkit.dumps(data)))
    except BadInput as fault:
        messages = list(fault.messages)
    assert messages
    assert [message for message in messages if not re.fullmatch(r"switch\.toml(:\d+)?: \S.*", message)] == []


def test_every_key_of_a_trial_shows_an_example_of_itself():
    assert all(key in TRIAL.example(key) for key in TRIAL.keys)


def test_from_python_a_trial_is_an_object_with_the_protocol_in_it():
    trial = load_trial("exit")
    assert trial.arm("zoledronate").label == "Denosumab, then zoledronate"
    assert trial.arm("zoledronate").last_dose_month == 24
    assert trial.visits.months == tuple(sorted({*trial.visits.BMD, *trial.visits.markers}))
    with pytest.raises(KeyError, match="exit has no arm 'oestrogen'"):
        trial.arm("oestrogen")


def test_the_trial_knows_its_folder_and_text(tmp_path):
    path = write(tmp_path, SWITCH)
    trial = load_trial(str(path))
    assert (trial.folder, trial.source_text) == (Path(tmp_path), SWITCH)


def test_visits_and_the_length_of_a_trial_may_be_given_in_weeks(tmp_path):
    text = (
        trial_text()
        .replace("months = 24", 'months = "104 wk"')
        .replace("BMD = [0, 12, 24]", 'BMD = [0, "52 wk", "104 wk"]')
    )
    text = text.replace("markers = [0, 6, 12, 24]", 'markers = ["0 wk", "26 wk", "104 wk"]').replace(
        '"24 mo"', '"104 wk"'
    )
    (tmp_path / "weeks.toml").write_text(
        text.replace('every = "6 mo", doses = 4', 'every = "26 wk", doses = 4'), encoding="utf-8"
    )
    trial = load_trial(tmp_path / "weeks.toml")
    week = 7 / 30.4375
    assert trial.visits.BMD == pytest.approx((0, 52 * week, 104 * week))
    assert trial.months == pytest.approx(104 * week)
    assert trial.endpoints[0].to_month == trial.visits.BMD[-1]
