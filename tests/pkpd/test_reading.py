"""The one reader of users' files: what it refuses before anything is built on it, and in which words."""

import time

import pytest

from ranklsim.pkpd.errors import BadInput, closest, near
from ranklsim.pkpd.reading import MOST_TOML_BYTES, Faults, Shape, Table, load_toml, read_content, read_csv

DOSE = Shape(
    {"dose": '"60 mg"', "doses": "4", "share": '"5 %"', "name": '"a"', "on": "true or false"}, needed=("name",)
)


def table(**data):
    return Table(Faults("x.toml", "", data), data, DOSE)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"a = " + b"[" * 100_000, "nested too deeply"),
        (b".".join([b"a"] * 50_000) + b" = 1", "nested too deeply"),
        (b"a = " + b"{ b = " * 50_000, "nested too deeply"),
        (b'a = 1\nb = "x\\u0000"', "x.toml:2: the text has a control character"),
        ('a = "one\u2028two"'.encode(), "x.toml:1: the text has a control character"),
        (b"PK\x03\x04rest", "an Excel workbook"),
        (b"\x1f\x8brest", "a compressed file"),
        (b"a = 1\na = 2\n", "x.toml:2: "),
        (b"a = " + b"9" * 5000, "x.toml:1: "),
    ],
    ids=range(9),
)
def test_a_hostile_text_is_refused_in_a_sentence_and_at_once(tmp_path, content, says):
    (tmp_path / "x.toml").write_bytes(content)
    begun = time.process_time()
    with pytest.raises(BadInput) as refused:
        load_toml(tmp_path / "x.toml")
    assert time.process_time() - begun < 1
    assert says in str(refused.value)


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    (tmp_path / "x.toml").write_bytes(b"#" * (MOST_TOML_BYTES + 1))
    with pytest.raises(BadInput, match="has more than 2 MB"):
        load_toml(tmp_path / "x.toml")
    with pytest.raises(BadInput, match="has more than 2 MB"):  # it says that it has no size, and never ends
        load_toml("/dev/zero")
    with pytest.raises(BadInput, match="cannot be read"):
        read_content("a\0b")


@pytest.mark.parametrize("choices", [("a", "b"), {"a": 1, "b": 2}, {"a", "b"}])
@pytest.mark.parametrize("value", [[], ["a"], {}, 5, "c"])
def test_what_is_none_of_the_choices_is_a_fault_whatever_its_type(choices, value):
    of = table(name=value)
    assert of.choice("name", choices, "default") == "default"
    assert len(of.faults) == 1


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"dose": 60}, '`dose` = 60 has no unit; give dose = "60 mg".'),
        ({"dose": True}, '`dose` = true has the wrong form; give dose = "60 mg".'),
        ({"dose": "60 kg"}, "dose: "),
        ({"dose": "1e12 mg"}, "too large"),
        ({"dose": "1e-300 mg"}, "too small"),
        ({"dose": "0 mg"}, 'dose is "0 mg"; give more than 0 mg.'),
        ({"doses": 2.5}, "`doses` = 2.5 has the wrong form; give doses = 4."),
        ({"doses": True}, "`doses` = true has the wrong form"),
        ({"doses": 0}, "doses = 0 is not possible; give a whole number from 1 to 9."),
        ({"on": 1}, "`on` = 1 has the wrong form"),
        ({"nmae": "a", "name": "a"}, "unknown key 'nmae'; did you mean 'name'?"),
        ({"name": " "}, '`name` is empty; give name = "a".'),
        ({"name": 3}, "`name` = 3 has the wrong form"),
    ],
)
def test_a_wrong_value_is_one_sentence_that_shows_a_right_one(data, says):
    read = table(**({"name": "a"} | data))
    assert read.quantity("dose", "mg", 0.0, above=0) == 0.0
    read.whole("doses", None, least=1, most=9)
    read.flag("on")
    read.text("name", None)
    (message,) = read.faults.messages()
    assert says in message


def test_a_misspelt_key_is_not_also_a_missing_one():
    (message,) = table(nmae="a").faults.messages()
    assert "unknown key" in message


@pytest.mark.parametrize("value", [float("nan"), float("inf"), True, "1", 10**400])
def test_what_is_no_finite_number_is_none(value):
    read = table(name="a", doses=value)
    assert read.number("doses", None) is None
    assert len(read.faults) == 1


def test_the_nearest_name_is_told_by_case_first_and_not_for_a_novel():
    assert closest("kTT", ["tT", "kT"]) == "kT"
    assert closest("MRANKL_SELECTIVE", ["mrankl-selective", "denosumab"]) == "mrankl-selective"
    assert closest("x" * 100_000, ["x"]) is None
    assert near("zzz", ["a", "b"]) == "use 'a' or 'b'."
    assert near("denosumb", ["denosumab"], also="More.") == "did you mean 'denosumab'? More."


def test_a_row_has_its_line_also_after_a_cell_of_two_lines():
    sheet = read_csv("t.csv", b'a,b\n"one\ntwo",2\n\n3,4\n')
    assert [(row.line, row.cells) for row in sheet.rows()] == [
        (2, {"a": "one\ntwo", "b": "2"}), (5, {"a": "3", "b": "4"}),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "the file is empty"),
        (b"a,a\n1,2\n", "column 'a' appears twice"),
        (b"b,c\n1,2\n", "column a is missing"),
        (b"a;b\n1,5;2\n", "separated by semicolons and has decimal commas"),
        (b"a,b\n1,\x00\n", "t.csv:2: the text has a control character"),
        (b"a,b\n1,\xff\n", "t.csv:2: the text is not UTF-8"),
        (b"PK\x03\x04", "an Excel workbook"),
    ],
)
def test_what_is_no_table_is_refused(content, says):
    with pytest.raises(BadInput) as refused:
        read_csv("t.csv", content, needed=("a",))
    assert says in str(refused.value)


def test_a_row_with_too_many_cells_is_a_fault():
    (fault,) = read_csv("t.csv", b"a,b\n1,2,3\n").faults
    assert fault.startswith("t.csv:2: the row has 3 cells")
