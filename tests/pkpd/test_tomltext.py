"""Lines of a TOML text: where a fault will be reported."""

import os

import pytest

from ranklsim.pkpd.errors import BadInput
from ranklsim.pkpd.reading import load_toml
from ranklsim.pkpd.tomltext import locate

TEXT = '''# a trial
title = "not [[arm]]"   # nor [[arm]]
"odd key".b = 1
[population]
note = """
[visits]
BMD = [
"""
eligible = { age = "60..85 yr", deep = { list = [1, 2,
 3] } }
[[arm]]
name = "a"
regimen = [
  { agent = "d", dose = "60 mg" },  # ]
  # a comment between
  { agent = "e", dose = '5 mg' },
]
[[arm]]
[[arm.regimen]]
agent = "q"
[arm.regimen.sub]
day = 1979-05-27T07:32:00Z
[[arm.regimen]]
agent = "r"
[visits]
BMD = [0, 12,
  24]
a.b.c = 3
'''


@pytest.mark.parametrize(
    "path, line",
    [
        (("title",), 'title = "not'),
        (("odd key", "b"), '"odd key"'),
        (("population",), "[population]"),
        (("population", "eligible", "age"), "eligible"),
        (("population", "eligible", "deep", "list", 2), " 3]"),
        (("arm", 0, "regimen", 0, "dose"), '  { agent = "d"'),
        (("arm", 0, "regimen", 1), '  { agent = "e"'),
        (("arm", 0, "regimen", 1, "dose"), '  { agent = "e"'),
        (("arm", 1, "regimen", 0, "sub", "day"), "day = 1979"),
        (("arm", 1, "regimen", 1, "agent"), 'agent = "r"'),
        (("visits",), "[visits]"),
        (("visits", "BMD", 2), "  24]"),
        (("visits", "a", "b", "c"), "a.b.c"),
    ],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_value_is_found_on_its_line(path, line, newline):
    text = TEXT.replace("\n", newline)
    number = locate(text, path)
    assert text.split("\n")[number - 1].startswith(line)
    if path == ("visits",):
        assert number > 20, "the header inside the multi-line text is not a header"


def test_a_missing_field_is_placed_where_its_table_begins():
    lines = TEXT.split("\n")
    assert lines[locate(TEXT, ("arm", 0, "label")) - 1] == "[[arm]]"
    assert locate(TEXT, ("arm", 1, "label")) > locate(TEXT, ("arm", 0, "label"))
    assert locate(TEXT, ("arm", 1, "regimen", 1, "dose")) == locate(TEXT, ("arm", 1, "regimen", 1))


def test_what_the_text_does_not_hold_has_no_line():
    assert locate(TEXT, ("seed",)) == 0
    assert locate("", ("seed",)) == 0


def test_positions_before_a_fault_are_still_found():
    assert locate("a = 1\nb = 2\nc = = 3\n", ("b",)) == 2


def test_the_file_loads_as_data_and_text(tmp_path):
    (tmp_path / "trial.toml").write_bytes(b"\xef\xbb\xbf" + TEXT.encode())
    data, text = load_toml(tmp_path / "trial.toml")
    assert text == TEXT
    assert data["arm"][1]["regimen"][1] == {"agent": "r"}


@pytest.mark.parametrize(
    "text, message",
    [
        (b'a = "x"\ndose = 60 mg\n', r"^t\.toml:2: .*quotes, such as \"60 mg\"\.$"),
        (b"a = { b = 0.1 L/day }\n", r"^t\.toml:1: .*quotes, such as \"60 mg\"\.$"),
        (b"a = 1\nb = 2\na = 3\n", r"^t\.toml:3: .*remove one of the two"),
        (b"[arm\n", r"^t\.toml:1: .*brackets"),
        (b"a = [1,\n2\n", r"^t\.toml:3: .*brackets"),
        (b"a = 1\nb = '\xff'\n", r"^t\.toml:2: .*UTF-8"),
        (b"a = " + b"[" * 100_000, r"^t\.toml: .*nested too deeply"),
    ],
)
def test_a_file_that_is_not_toml_is_refused_with_its_line(tmp_path, text, message):
    (tmp_path / "t.toml").write_bytes(text)
    with pytest.raises(BadInput, match=message):
        load_toml(tmp_path / "t.toml")


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(BadInput, match="no such file"):
        load_toml(tmp_path / "exit.toml")
    with pytest.raises(BadInput, match="give the path of a TOML file"):
        load_toml(tmp_path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may read everything")
def test_a_file_that_may_not_be_read_is_refused(tmp_path):
    (tmp_path / "t.toml").write_text("a = 1\n")
    (tmp_path / "t.toml").chmod(0)
    with pytest.raises(BadInput, match="may not read"):
        load_toml(tmp_path / "t.toml")
