"""What a reader sees of numbers: decimals, units, what is too small to be shown, what stays on one line."""

from __future__ import annotations

import io
import re

import numpy as np
import pandas as pd
import pytest

from ranklsim.reports.csr import outcomes
from ranklsim.reports.csr.mechanism import _latent, alike
from ranklsim.reports.layout import tables
from ranklsim.reports.layout.cells import listing, unbroken
from ranklsim.reports.layout.exhibit import Exhibit, csv_text
from ranklsim.reports.layout.html import body
from ranklsim.reports.layout.rtf import rtf_text


@pytest.mark.parametrize(
    ("unit", "words"),
    [
        ("1", "–"),
        ("g/cm2", "g/cm²"),
        ("mL/min/1.73m2", "mL/min/1.73 m²"),
        ("ug/mL", "µg/mL"),
        ("1/day", "1/day"),
        ("kg/m2", "kg/m²"),
    ],
)
def test_units_are_set_as_a_reader_sets_them(unit, words):
    assert tables.unit_words(unit) == words


@pytest.mark.parametrize(
    ("value", "text"),
    [(10000.0, "10000"), (123456.0, "123500"), (0.00012345, "0.0001234"), (-2.5, "−2.5"), (np.inf, "none")],
)
def test_parameters_have_four_digits_and_no_power_of_ten(value, text):
    assert tables.sig(value) == text


def test_an_interval_stays_on_one_line_and_other_text_may_break():
    assert unbroken("rate ratio 2.26 (1.13, 4.51)") == "rate ratio 2.26 (1.13,\u00a04.51)"
    assert unbroken("12.1 (−10.4, >36)") == "12.1 (−10.4,\u00a0>36)"
    assert unbroken("Smith (London, 1854)") == "Smith (London, 1854)"


def latent(**values: tuple[float, float, float]) -> pd.DataFrame:
    rows = [
        {"output": output, "month": 6.0, "arm": "a", "n": 9, "median": median, "q1": q1, "q3": q3, "mean": median}
        for output, (median, q1, q3) in values.items()
    ]
    return pd.DataFrame(rows)


def test_what_is_too_small_to_be_shown_is_said_to_be_and_nothing_is_nothing():
    from types import SimpleNamespace

    arm = SimpleNamespace(name="a", label="A", color="#000000", basis="calibrated")
    frame = latent(x=(0.001, 0.0004, 0.004), y=(0.0, 0.0, 0.0), z=(0.001, 0.0, 0.02))
    names = {"x": "X", "y": "Y", "z": "Z"}
    table = tables.by_part(frame, [arm], {}, **_latent(names, 2))
    cells = [line.texts[-1] for line in table.lines()]
    assert cells == ["<0.01", "0.00 (0.00, 0.00)", "0.00 (0.00, 0.02)"]


def test_sources_are_alike_where_every_digit_shown_is():
    same = latent(x=(11.12, 5.0, 30.0), y=(11.14, 5.02, 29.98))
    assert alike(same)
    assert not alike(latent(x=(11.1, 5.0, 30.0), y=(11.1, 5.0, 30.2)))


def test_a_listing_of_given_widths_is_a_table_of_those_widths():
    rows = [{"Symbol": "kT", "Value": "1"}, {"Symbol": "kC", "Value": "2"}]
    html = body(Exhibit("Table", "1.1", "", pd.DataFrame(), listing(rows, numeric=["Value"], widths=(70, 30)), ""))
    assert re.findall(r'<col style="width:(\d+)%">', html) == ["70", "30"]
    assert 'class="listing fixed"' in html
    many = body(Exhibit("Table", "1.1", "", pd.DataFrame(), listing(rows * 20), ""))
    assert 'class="listing long"' in many


def test_why_subgroups_have_no_estimate_is_said_once():
    gaps = outcomes._gaps
    same = pd.DataFrame({"factor": ["All", "Age"], "level": ["", "<65 yr"], "note": ["No event.", "No event."]})
    assert gaps(same) == ["No event."]
    some = pd.DataFrame(
        {"factor": ["All", "Age", "Age"], "level": ["", "<65 yr", "≥65 yr"], "note": ["", "No event.", "No event."]}
    )
    assert gaps(some) == ["Age <65 yr and Age ≥65 yr: no event."]


def test_in_rtf_the_heads_of_groups_are_bold_on_every_page_and_nothing_else():
    rows = [{"Group": f"Group {g}", "A": f"row {g}.{k}", "B": str(k)} for g in range(12) for k in range(9)]
    text = rtf_text(Exhibit("Table", "1.1", "Rows", pd.DataFrame(rows), listing(rows, group="Group"), "Note."))
    assert "\\page" in text
    body = text[text.index("row 0.0") - 600 :]
    bold = re.findall(r"\\b (?:\\f\d )?([^{}\\]*)}", body)
    assert [words for words in bold if words not in ("A", "B")] == [f"Group {g}" for g in range(12)]


def test_a_text_that_a_spreadsheet_would_run_has_an_apostrophe_and_a_number_has_none():
    texts = ["=1+1", "+SUM(A1)", "-2+3+cmd|' /C calc'!A0", "@SUM(1)", " =A1", "-2.5", "+1e-3", "plain", "−3", None, ""]
    frame = pd.DataFrame({"text": texts, "value": [-1.5] * len(texts)})
    back = pd.read_csv(io.StringIO(csv_text(frame)), keep_default_na=False, dtype=str)
    assert back["text"].tolist() == [
        "'=1+1", "'+SUM(A1)", "'-2+3+cmd|' /C calc'!A0", "'@SUM(1)", "' =A1", "-2.5", "+1e-3", "plain", "−3", "", "",
    ]  # fmt: skip
    assert set(back["value"]) == {"-1.5"}
    assert frame["text"].tolist()[:9] == texts[:9]
