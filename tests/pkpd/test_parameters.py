"""The parameter table: complete, in range, sourced; users' tables checked line by line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ranklsim.pkpd.agents import load_agent
from ranklsim.pkpd.errors import BadInput
from ranklsim.pkpd.parameters import COLUMNS, SHIPPED, load_parameters
from ranklsim.pkpd.simulation import covariate_symbols

TABLE = load_parameters()


def test_every_row_says_unit_range_status_and_source() -> None:
    frame = TABLE.frame.reset_index()
    for column in ("symbol", "meaning", "unit", "status", "source"):
        assert (frame[column].str.len() > 0).all(), column
    assert (frame["low"] <= frame["value"]).all()
    assert (frame["value"] <= frame["high"]).all()


def test_what_is_measured_names_its_source_and_what_is_assumed_says_so() -> None:
    frame = TABLE.frame
    measured = frame[frame["status"] == "measured"]
    assert not measured["source"].str.contains("our assumption").any()


def test_what_differs_between_patients_says_how() -> None:
    frame = TABLE.frame
    assert ((frame["cv"] > 0) == (frame["distribution"] != "none")).all()


def test_code_reads_every_parameter_and_no_other() -> None:
    """A row that nothing reads would be a claim without effect."""
    import ranklsim.cohorts
    import ranklsim.pkpd

    text = "".join(
        path.read_text(encoding="utf-8")
        for package in (ranklsim.pkpd, ranklsim.cohorts)
        for path in [
            *Path(package.__file__).parent.rglob("*.py"),
            *Path(package.__file__).parent.glob("data/**/*.toml"),
        ]
    )
    by_part = {
        "make_{source}",
        "shed_{source}",
        "anchor_{source}",
        "w_{source}_{c}",
        "a_{source}_{c}",
        "k{b}",
        "dl{b}",
        "ph{b}",
        "f_{site}",
        "BMD0_{site}",
        "REF_{site}",
        "REFSD_{site}",
        "T_ref_{bone}",
    }
    by_part |= {f"{name}_{{site}}" for name in ("level", "age", "prior", "BMD", "CTX")}
    for symbol in TABLE.frame.index:
        stem = re.sub(r"_?(osteocyte|marrow|osteoblast|lymphocyte)_(T|C)$", "_{source}_{c}", symbol)
        stem = re.sub(r"^(make|shed|anchor)_(osteocyte|marrow|osteoblast|lymphocyte)$", r"\1_{source}", stem)
        stem = re.sub(r"^T_ref_(LS|TH)$", "T_ref_{bone}", stem)
        stem = re.sub(r"_(LS|TH|FN|R13|vertebral|hip|other)$", "_{site}", stem)
        stem = re.sub(r"^(k|dl|ph)[TCR]$", r"\1{b}", stem)
        known = stem in by_part or re.search(rf"\b{re.escape(symbol)}\b", text) or symbol.startswith("CV_")
        assert known, f"{symbol} is read nowhere"


def test_table_survives_being_written_and_read(tmp_path: Path) -> None:
    path = tmp_path / "parameters.csv"
    changed = TABLE.replace({"sig": 0.25, "kT": 0.3})
    path.write_text(changed.to_csv(), encoding="utf-8")
    again = load_parameters(path)
    assert again.values == changed.values
    assert again.hash == changed.hash != TABLE.hash


def test_a_users_table_may_hold_two_columns(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("symbol,value\nsig,0.3\n", encoding="utf-8")
    assert load_parameters(path)["sig"] == 0.3
    assert load_parameters(path)["kT"] == TABLE["kT"]


def test_a_table_may_name_a_number_of_an_agent_which_then_holds_for_all_that_take_it_over(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("symbol,value\ndenosumab.CL,0.08\n", encoding="utf-8")
    table = load_parameters(path)
    assert table["denosumab.CL"] == 0.08
    for name in ("denosumab", "mrankl-selective"):
        assert load_agent(name).values["CL"] != 0.08
        assert table.apply(load_agent(name)).values["CL"] == 0.08
    assert table.apply(load_agent("opg-fc")) == load_agent("opg-fc")
    path.write_text(table.to_csv(), encoding="utf-8")
    assert load_parameters(path).hash == table.hash != TABLE.hash


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("symbol,value\ndenosumab.CL,9\n", r"mine\.csv:2: denosumab\.CL = 9 L/day .* 0\.073 to"),
        ("symbol,value\ndenosumab.CLL,9\n", "agent 'denosumab' has no number 'CLL'"),
        ("symbol,value\nsigg,0.3\n", r"mine\.csv:2: unknown parameter 'sigg'; did you mean 'sig'\?"),
        ("symbol,value\nsig,0.9\n", r"mine\.csv:2: sig = 0\.9 .* 0 to 0\.5"),
        (
            "symbol,value\nsig,much\n",
            "mine.csv:2: value of sig: 'much' is not a number; give one number with a decimal point.",
        ),
        (
            'symbol,value\nsig,"0,1"\n',
            "mine.csv:2: value of sig: '0,1' has a comma; give one number with a decimal point, such as 0.5.",
        ),
        (
            "symbol value\nsig 0.1\n",
            "mine.csv: the table is separated by blanks; save it with its cells separated by commas.",
        ),
        ("symbol,value\nsig,nan\n", "mine.csv:2: value of sig: 'nan'"),
        ("symbol,value,unit\nkT,0.2,1/day\n", r"mine\.csv:2: kT has unit '1/day'.* 1/yr"),
        ("symbol,value\nsig,0.1\nsig,0.2\n", "mine.csv:3: sig appears twice"),
        ("name,value\nsig,0.1\n", "mine.csv:1: column symbol is missing"),
        ("", "mine.csv:1: the file is empty"),
    ],
)
def test_bad_tables_are_told_by_line(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadInput) as fault:
        load_parameters(path)
    assert re.search(sentence, str(fault.value))


def test_all_faults_of_a_table_are_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("symbol,value\nsigg,0.3\nsig,9\nkT,x\n", encoding="utf-8")
    with pytest.raises(BadInput) as fault:
        load_parameters(path)
    assert len(fault.value.messages) == 3


def test_covariates_have_peoples_names_and_ranges() -> None:
    named = covariate_symbols(TABLE, {"age": 63, "weight": 60, "T_LS": -2.5, "sig": 0.2})
    assert named["AGE"] == 63
    assert named["BMD0_LS"] == pytest.approx(TABLE["REF_LS"] - 2.5 * TABLE["REFSD_LS"])
    with pytest.raises(BadInput, match=r"WT = 6 kg .* 30 to 180 kg"):
        covariate_symbols(TABLE, {"weight": 6})
    with pytest.raises(BadInput, match="unknown covariate 'wieght'; did you mean 'weight'"):
        covariate_symbols(TABLE, {"wieght": 60})


def test_the_shipped_header_is_the_documented_one() -> None:
    assert SHIPPED.read_text(encoding="utf-8").splitlines()[0].split(",") == list(COLUMNS)


def test_values_by_symbol_are_a_table_with_these_values() -> None:
    table = load_parameters({"sig": 0.3, "denosumab.CL": 0.1})
    assert (table["sig"], table["denosumab.CL"], table["kT"]) == (0.3, 0.1, load_parameters()["kT"])
    with pytest.raises(BadInput, match="did you mean 'sig'"):
        load_parameters({"sigg": 0.3})
