"""Regimens: how they are read, when their doses fall, and which do not fit together."""

import numpy as np
import pytest
from helpers import check_sentence
from hypothesis import given
from hypothesis import strategies as st

from ranklsim.pkpd.dosing import Regimen, check_sequence, parse_regimen
from ranklsim.pkpd.errors import BadInput
from ranklsim.pkpd.units import DAYS_PER_MONTH

HALF_YEAR = 6 * DAYS_PER_MONTH


def faults(text, **options):
    with pytest.raises(BadInput) as caught:
        parse_regimen(text, **options)
    return caught.value.messages


def test_parts_follow_one_after_another():
    assert parse_regimen("denosumab 14mg every 6mo x4, denosumab 60mg every 6mo x4") == [
        Regimen("denosumab", 14.0, 0.0, HALF_YEAR, 4),
        Regimen("denosumab", 60.0, 4 * HALF_YEAR, HALF_YEAR, 4),
    ]


def test_doses_fall_on_the_months_of_visits():
    (regimen,) = parse_regimen("denosumab 60mg every 6mo x20")
    np.testing.assert_array_equal(regimen.times_days(), np.arange(0, 120, 6) * DAYS_PER_MONTH)
    assert regimen.end_day == 120 * DAYS_PER_MONTH


@pytest.mark.parametrize(
    "text",
    [
        "denosumab 60 mg every 6 mo x 4",
        "denosumab 0.06g every 26.08928571428571wk x4",
        "denosumab 60mg every 0.5yr for 2yr",
        "denosumab 60mg Every 6mo X4",
        "  denosumab   60mg  every 6 months ×4 ",
        "denosumab 60mg every 182.625 d for 24mo",
    ],
)
def test_the_way_of_writing_a_regimen_does_not_change_it(text):
    (regimen,) = parse_regimen(text)
    assert regimen == Regimen("denosumab", 60.0, 0.0, pytest.approx(HALF_YEAR, rel=1e-12), 4)


def test_an_agent_with_hyphens_is_one_agent():
    (regimen,) = parse_regimen("mrankl-selective-noshed 60mg every 6mo x6")
    assert regimen.agent == "mrankl-selective-noshed"


def test_nothing_is_a_gap():
    first, second = parse_regimen("nothing 3mo, denosumab 60mg every 6mo x2, nothing 12mo, denosumab 60mg every 6mo x2")
    assert (first.start_day, second.start_day) == (3 * DAYS_PER_MONTH, 27 * DAYS_PER_MONTH)


def test_a_length_is_filled_with_whole_intervals_and_lasts_in_full():
    daily, after = parse_regimen("teriparatide 20ug every 1day for 24mo, denosumab 60mg every 6mo x4")
    assert (daily.doses, daily.dose_mg) == (730, 0.02)
    assert after.start_day == 24 * DAYS_PER_MONTH


def test_a_part_with_another_begins_with_it_and_leaves_the_sequence_alone():
    regimens = parse_regimen(
        "nothing 6mo, denosumab 60mg every 6mo x4, with teriparatide 20ug every 1day for 36mo, zoledronate 5mg"
    )
    assert [regimen.start_day / DAYS_PER_MONTH for regimen in regimens] == [6, 6, 30]
    assert [regimen.together for regimen in regimens] == [False, True, False]
    check_sequence(regimens)


def test_a_single_dose_needs_neither_interval_nor_number():
    assert parse_regimen("zoledronate 5mg") == [Regimen("zoledronate", 5.0, 0.0, 0.0, 1)]
    assert parse_regimen("zoledronate 5mg")[0].times_days().tolist() == [0.0]


@pytest.mark.parametrize("text", ["placebo every 6mo x6", "placebo 0mg every 6mo x6"])
def test_placebo_needs_no_dose(text):
    assert parse_regimen(text) == [Regimen("placebo", 0.0, 0.0, HALF_YEAR, 6)]


def test_an_agent_next_to_the_trial_can_be_dosed(tmp_path):
    (tmp_path / "abc-301.toml").write_text('label = "ABC"\nhypothetical = true\nlike = "denosumab"\n')
    assert parse_regimen("abc-301 60mg", folder=tmp_path)[0].agent == "abc-301"
    assert "lists all 15" in faults("abc-301 60mg")[0]


@pytest.mark.parametrize(
    "text, parts",
    [
        ("denosumb 60mg every 6mo x4", ["unknown agent 'denosumb'", "did you mean 'denosumab'?", "`ranklsim agents`"]),
        ("denosumab 0mg every 6mo x4", ["dose of denosumab is 0mg", "more than 0", "'placebo'"]),
        ("denosumab -60mg every 6mo x4", ["dose of denosumab is -60mg", "more than 0", "'placebo'"]),
        ("placebo -1mg every 6mo x4", ["dose of placebo is -1mg", "0 or more"]),
        ("denosumab 60 every 6mo x4", ["dose of denosumab: '60' has no unit", '"60 mg"']),
        ("denosumab 60kg every 6mo x4", ["dose of denosumab: '60kg'", '"mg"']),
        ("denosumab 60mg every 6 x4", ["interval of denosumab: '6' has no unit", '"6 mo"']),
        ("denosumab 60mg every 6M x4", ["interval of denosumab: '6M'", "'M' is ambiguous", '"mo"', '"mol/L"']),
        ("denosumab 60mg every 0mo x4", ["interval of denosumab is 0mo", "more than 0"]),
        ("denosumab every 6mo x4", ["denosumab has no dose", '"60 mg"']),
        ("denosumab 60mg every 6mo", ["denosumab every 6mo has no end", "x4", "'for 24mo'"]),
        ("denosumab 60mg x4", ["4 doses of denosumab have no interval", "'every 6mo'"]),
        ("denosumab 60mg for 24mo", ["denosumab for 24mo has no interval", "'every 6mo'"]),
        ("denosumab 60mg every 6mo for 3mo", ["denosumab for 3mo", "interval of 6mo", "x1"]),
        ("denosumab 60mg every 6mo x0", ["number of doses of denosumab is '0'", "x4"]),
        ("denosumab 60mg every 6mo x1.5", ["number of doses of denosumab is '1.5'", "x4"]),
        ("60mg denosumab every 6mo x4", ['"60mg denosumab every 6mo x4"', "'denosumab 60mg every 6mo x4'"]),
        (" , ", ["empty", "'denosumab 60mg every 6mo x4'"]),
        ("denosumab 60mg,", ['"denosumab 60mg,"', "comma"]),
        ("nothing 12mo", ["'nothing 12mo'", "no drug", "'placebo'"]),
        ("nothing 12, denosumab 60mg", ["gap 'nothing 12': '12' has no unit", '"12 mo"']),
        ("nothing 0mo, denosumab 60mg", ["gap 'nothing 0mo' is 0mo", "more than 0"]),
        ("with denosumab 60mg", ["'with denosumab 60mg'", "leave out 'with'"]),
        ("zoledronate 5mg, denosumab 60mg", ["zoledronate", "'denosumab 60mg'", "'every 12mo x1'", "'nothing 12mo'"]),
    ],
)
def test_what_is_no_regimen_is_refused_with_its_remedy(text, parts):
    (message,) = faults(text)
    check_sentence(message, *parts)
    assert faults(text, where="--regimen") == (f"--regimen: {message}",)


def test_the_faults_of_all_parts_are_told_at_once():
    assert len(faults("denosumb 60mg every 6mo x4, denosumab 0mg every 6 x4, nothing")) == 4


@given(st.text(" denosumabwithplaceboevery60mgx4for,nothing-", max_size=40))
def test_any_text_is_regimens_or_named_faults(text):
    try:
        read = parse_regimen(text)
    except BadInput:
        read = []
    assert read or all(message.startswith("here: ") for message in faults(text, where="here"))


def test_an_overlap_is_refused_in_months():
    regimens = [Regimen("denosumab", 60, 0, HALF_YEAR, 4), Regimen("mrankl-selective", 60, 2 * HALF_YEAR, HALF_YEAR, 2)]
    with pytest.raises(BadInput) as caught:
        check_sequence(regimens, "exit.toml:27: arm 'selective'")
    check_sentence(
        str(caught.value), "exit.toml:27: arm 'selective', regimen 2 starts at 12 mo", "regimen 1 ends at 24 mo"
    )
    with pytest.raises(BadInput, match=r"^line 2, regimen 2 starts"):
        check_sequence(regimens, lambda position: f"line {position + 1}")


def test_an_overlap_with_an_earlier_but_longer_regimen_is_found():
    regimens = [
        Regimen("denosumab", 60, 0, HALF_YEAR, 8),
        Regimen("zoledronate", 5, HALF_YEAR, 0, 1),
        Regimen("alendronate", 70, 3 * HALF_YEAR, 7, 10),
    ]
    with pytest.raises(BadInput) as caught:
        check_sequence(regimens)
    assert [message.split(";")[0] for message in caught.value.messages] == [
        "regimen 2 starts at 6 mo, before regimen 1 ends at 48 mo",
        "regimen 3 starts at 18 mo, before regimen 1 ends at 48 mo",
    ]


def test_regimens_that_touch_or_are_meant_together_fit():
    denosumab = Regimen("denosumab", 60, 0, HALF_YEAR, 4)
    check_sequence([denosumab, Regimen("zoledronate", 5, 4 * HALF_YEAR, 0, 1)])
    check_sequence([denosumab, Regimen("teriparatide", 0.02, 0, 1, 730, together=True)])
    check_sequence([])
