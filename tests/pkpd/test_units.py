"""Quantities: what is read, and what is refused."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranklsim.pkpd.errors import BadInput
from ranklsim.pkpd.units import DAYS_PER_MONTH, DAYS_PER_YEAR, check_unit, convert, parse_quantity, unit_of


@pytest.mark.parametrize(
    "text, unit, value",
    [
        ("60 mg", "mg", 60.0),
        ("60mg", "mg", 60.0),
        (" 6e1  mg ", "mg", 60.0),
        ("20 ug", "mg", 0.02),
        ("20 µg", "mg", 0.02),
        ("6 mo", "day", 6 * DAYS_PER_MONTH),
        ("6 months", "day", 6 * DAYS_PER_MONTH),
        ("1 wk", "day", 7.0),
        ("2 yr", "mo", 24.0),
        ("24 h", "day", 1.0),
        ("3 d", "day", 3.0),
        ("0.62", "1", 0.62),
        (0.62, "1", 0.62),
        ("62 %", "1", 0.62),
        ("5 %/yr", "1/yr", 0.05),
        ("0.27 1/day", "1/day", 0.27),
        ("0.27/day", "1/day", 0.27),
        ("3.25 mL/h", "L/day", 0.078),
        ("3 pmol/L", "nmol/L", 0.003),
        ("60 mL/min/1.73m2", "mL/min/1.73m2", 60.0),
        ("60 mL/min/1.73 m2", "mL/min/1.73m2", 60.0),
        ("0.9 g/cm**2", "g/cm2", 0.9),
        ("0.9 g/cm^2", "g/cm2", 0.9),
        ("0.9 g/(cm*cm)", "g/cm2", 0.9),
        ("160 cm", "m", 1.6),
        ("-1 day", "day", -1.0),
    ],
)
def test_a_quantity_is_read_in_the_unit_asked_for(text, unit, value):
    assert parse_quantity(text, unit, where="here") == value


@pytest.mark.parametrize(
    "text, unit, message",
    [
        ("60", "mg", r"'60' has no unit; write it with one, such as \"60 mg\"\.$"),
        (60, "mg", r"'60' has no unit"),
        ("6", "day", r"such as \"6 mo\"\.$"),
        ("60 kg", "mg", r"\"kg\" is far from the \"mg\""),
        ("60 mL", "mg", r"\"mL\" cannot be turned into \"mg\""),
        ("6 M", "day", r"'M' is ambiguous; write \"mo\" for month"),
        ("6 m", "day", r"a month is \"mo\""),
        ("60 Mg", "mg", r"M means mega; did you mean \"mg\"\?$"),
        ("6 monts", "day", r"'monts' is not known; did you mean \"mo\"\?$"),
        ("60 mgg", "mg", r"did you mean \"mg\"\?$"),
        ("60 mL/min", "mL/min/1.73m2", r"give it in \"mL/min/1.73m2\""),
        ("5 mg", "1", r"give a number without unit"),
        ("0.5", "day", r"has no unit"),
        ("1,5 mg", "mg", r"has a comma in its number"),
        ("mg", "mg", r"does not begin with a number"),
        ("", "mg", r"does not begin with a number"),
        ("nan mg", "mg", r"does not begin with a number"),
        ("1e999 mg", "mg", r"does not begin with a number"),
        ("60 mg mg", "mg", r"'mg mg' is not a unit"),
        ("60 mg x4", "mg", r"'mg x4' is not a unit"),
        ("60 (mg", "mg", r"is not a unit"),
        ("60 mg/", "mg", r"is not a unit"),
        ("60 3mg", "mg", r"is not a unit"),
        ("37 degC", "1", r"'degC' is not known"),
        (True, "mg", r"True is not a quantity"),
        (None, "1", r"None is not a quantity"),
    ],
)
def test_what_is_no_such_quantity_is_refused_with_place_and_remedy(text, unit, message):
    with pytest.raises(BadInput, match=message) as caught:
        parse_quantity(text, unit, where="exit.toml:12: dose")
    assert len(caught.value.messages) == 1
    assert str(caught.value).startswith("exit.toml:12: dose: ")


@given(st.text(max_size=30), st.sampled_from(["mg", "day", "1", "L/day", "mL/min/1.73m2"]))
def test_any_text_is_a_number_or_a_named_fault(text, unit):
    try:
        outcome = repr(math.isfinite(parse_quantity(text, unit, where="here")))
    except BadInput as fault:
        outcome = str(fault)
    assert outcome == "True" or outcome.startswith("here: ")


@given(st.text("mgkLday/*()1 23.^-%Mo", max_size=20))
def test_any_text_is_a_unit_or_a_named_fault(text):
    try:
        outcome = convert(1.0, text, text)
    except BadInput as fault:
        outcome = len(fault.messages)
    assert outcome == 1


@pytest.mark.parametrize(
    "unit",
    [
        "1",
        "mg",
        "g/cm2",
        "g/cm**2",
        "mL/min/1.73m2",
        "nmol/L",
        "pmol/L",
        "U/L",
        "ng/mL",
        "1/day",
        "L/day",
        "1/mg",
        "kDa",
        "kg",
        "cm",
        "yr",
        "mo",
        "wk",
        "day",
        "%",
        "%/yr",
        "mmol/L",
        "um",
    ],
)
def test_the_units_of_the_field_are_known(unit):
    check_unit(unit)
    assert convert(1.0, unit, unit) == 1.0


def test_a_month_is_a_twelfth_of_a_julian_year_to_the_last_bit():
    assert convert(1.0, "mo", "day") == DAYS_PER_MONTH
    assert convert(1.0, "yr", "day") == DAYS_PER_YEAR
    for months in range(1, 241):
        assert parse_quantity(f"{months} mo", "day", where="") == months * DAYS_PER_MONTH


@given(st.floats(-1e6, 1e6))
def test_converting_there_and_back_changes_nothing_that_counts(value):
    there_and_back = convert(convert(value, "mL/h", "L/day"), "L/day", "mL/h")
    assert math.isclose(there_and_back, value, rel_tol=1e-15, abs_tol=1e-300)


def test_infinity_stays_infinite():
    assert convert(math.inf, "pmol/L", "nmol/L") == math.inf


def test_a_kilodalton_per_molecule_is_a_kilogram_per_mole():
    assert convert(1.0, "kDa", "g") * 6.02214076e23 == pytest.approx(1000.0, rel=1e-8)


def test_the_unit_of_a_quantity_is_what_stands_behind_the_number():
    assert [unit_of(text) for text in ("60 mg", "0.27 1/day", "0.62", "none")] == ["mg", "1/day", "1", "1"]


def test_names_that_mean_something_elsewhere_are_unknown():
    assert convert(1.0, "lb", "kg") == 0.45359237
    for name in ("count", "parsec", "e9", "RR"):
        with pytest.raises(BadInput, match=r"is not known|is not a unit"):
            check_unit(name)


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("3 nM", "nmol/L", 3.0),
        ("3 pM", "nmol/L", 0.003),
        ("1 uM", "nmol/L", 1000.0),
        ("2e5 1/(M*s)", "L/nmol/day", 2e5 * 86400e-9),
        ("2e5 1/M/s", "L/nmol/day", 2e5 * 86400e-9),
        ("2e5 M-1 s-1", "L/nmol/day", 2e5 * 86400e-9),
        ("1e-5 1/s", "1/day", 0.864),
    ],
)
def test_molar_with_a_prefix_and_in_an_on_rate_is_what_a_laboratory_means(text: str, unit: str, value: float) -> None:
    assert parse_quantity(text, unit, where="") == pytest.approx(value, rel=1e-12)
