"""The one reader of users' files: what it refuses before anything is built on it, and in which words."""

import gc
import io
import math
import os
import re
import socket
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ranklsim.cohorts.people.population_file import load_population
from ranklsim.cohorts.protocol.trial import load_trial
from ranklsim.pkpd.agents import load_agent
from ranklsim.pkpd.errors import BadInput, closest, near
from ranklsim.pkpd.fitting.spec import load_spec
from ranklsim.pkpd.parameters import load_parameters
from ranklsim.pkpd.parquet import page_sizes, read_parquet
from ranklsim.pkpd.ranges import ranges, read_vectors
from ranklsim.pkpd.reading import (
    MOST_FAULTS,
    MOST_TOML_BYTES,
    Faults,
    Shape,
    Table,
    load_toml,
    parse_json,
    read_content,
    read_csv,
)

DOSE = Shape(
    {"dose": '"60 mg"', "doses": "4", "share": '"5 %"', "name": '"a"', "on": "true or false"}, needed=("name",)
)


def seconds(work) -> float:
    """Processor time of `work`, in that of counting to forty million just before: a second of a usual machine.

    The least of three tries, where the first takes more than one: a busy machine passes, a slow reader does not.
    """

    def took(work):
        begun = time.process_time()
        work()
        return time.process_time() - begun

    def count():
        for _ in range(2_000_000):
            pass

    def ratio():
        second = 20 * took(count)
        return took(work) / second

    return min(first, ratio(), ratio()) if (first := ratio()) > 1 else first


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

    def read():
        with pytest.raises(BadInput) as refused:
            load_toml(tmp_path / "x.toml")
        assert says in str(refused.value)

    assert seconds(read) < 1


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    (tmp_path / "x.toml").write_bytes(b"#" * (MOST_TOML_BYTES + 1))
    with pytest.raises(BadInput, match="has more than 2 MB"):
        load_toml(tmp_path / "x.toml")
    with pytest.raises(BadInput, match="pipe or a device"):
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
        ({"doses": 2**63}, "doses = 9223372036854775808 is not possible; give a whole number from 1 to 9."),
        ({"doses": 10**400}, "... is not possible; give a whole number from 1 to 9."),
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
        (b"a\tb\n1,5\t2\n", "separated by tabs and has decimal commas"),
        (b"a b\n1,5 2\n", "separated by blanks; save it with its cells separated by commas"),
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


@pytest.mark.parametrize("separator", ["\n", "\r\n", "\r"])
def test_line_ends_and_a_mark_of_byte_order_are_no_part_of_a_table(separator):
    sheet = read_csv("t.csv", f"\ufeffa,b{separator}1,2{separator}".encode())
    assert (sheet.columns, sheet.cells) == (["a", "b"], [["1", "2"]])


def test_bars_may_separate_and_a_printed_minus_is_one():
    (row,) = read_csv("t.csv", "a|b\n−2.5|1_000\n".encode()).rows()
    assert row.number("a") == -2.5
    assert row.number("b") != 1000
    assert "'1_000' is not a number" in row.faults[0]


def test_a_decimal_comma_in_quotes_is_told():
    (row,) = read_csv("t.csv", b'a,b\n"2,5",1\n').rows()
    assert math.isnan(row.number("a"))
    assert row.faults == ["t.csv:2: column a: '2,5' has a comma; give one number with a decimal point, such as 0.5, "
                          "without unit."]  # fmt: skip


def test_a_comment_is_left_out_and_the_lines_below_keep_their_numbers():
    sheet = read_csv("t.csv", b"# one, two\na,b\n1,2\n  # three\n3,#4\n", comments=True)
    assert [(row.line, row.cells["b"]) for row in sheet.rows()] == [(3, "2"), (5, "#4")]


@pytest.mark.parametrize("name", ["pipe", "folder", "missing", "link", "socket"])
def test_what_is_no_file_is_refused_at_once(tmp_path, name):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "socket"))
    begun = time.monotonic()
    with pytest.raises(BadInput, match=name):
        read_content(tmp_path / name)
    assert time.monotonic() - begun < 1
    server.close()


def test_a_link_to_a_file_is_the_file(tmp_path):
    (tmp_path / "x.toml").write_text("a = 1")
    (tmp_path / "link").symlink_to(tmp_path / "x.toml")
    assert load_toml(tmp_path / "link")[0] == {"a": 1}


def test_the_twenty_first_fault_ends_the_reading_of_a_file():
    with pytest.raises(BadInput) as refused:
        table(**{f"key{number}": 1 for number in range(10_000)})
    assert len(refused.value.messages) == MOST_FAULTS + 1
    assert refused.value.messages[-1] == "x.toml: there are more faults; correct these first."


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'{"a": 1, "a": 2}', '"a" stands twice'),
        (b'{"a": NaN}', "not a finite number"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[" * 30 + b"]" * 30, "nested too deeply"),
        (b'{"a": ', "not valid JSON"),
        (b"9" * 100_000, "not valid JSON"),
        (b"\xff\xfe{", "UTF-16"),
    ],
)
def test_json_has_the_same_limits(content, says):
    with pytest.raises(BadInput) as refused:
        parse_json("x.json", content)
    assert says in str(refused.value)
    assert len(str(refused.value)) < 300


def parquet(columns, **options):
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out, **options)
    return out.getvalue()


@pytest.mark.parametrize("compression", ["none", "snappy", "zstd", "gzip"])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_a_parquet_file_of_plain_values_is_read_whatever_its_encoding(compression, version):
    columns = {
        "age": [70.5, None, 63.0] * 9,
        "n": [1, 2, 3] * 9,
        "id": ["a", "b", None] * 9,
        "on": [True, False, None] * 9,
    }
    content = parquet(columns, compression=compression, data_page_version=version, row_group_size=10)
    assert read_parquet("t.parquet", content) == columns


BOMBS = {
    "one long text": lambda: parquet({"age": ["a" * 70_000_000]}, compression="zstd"),
    "texts of a dictionary": lambda: parquet({"age": pa.array(["a" * 10_000]).take(pa.array([0] * 100_000))}),
    "rows of nothing": lambda: parquet({"age": pa.nulls(50_000_000, pa.float64())}),
    "numbers": lambda: parquet({"age": pa.array([0.0]).take(pa.array([0] * 3_000_000))}, use_dictionary=False),
    "columns": lambda: parquet({f"c{k}": [1.0] for k in range(3000)}),
    "lists": lambda: parquet({"age": [[1.0] * 1000]}),
    "tables": lambda: parquet({"age": [{"a": 1}]}),
    "control character": lambda: parquet({"id": ["a\x07"]}),
    "half a file": lambda: parquet({"age": [1.0] * 1000})[:-300],
    "no Parquet": lambda: b"PAR1" * 25_000,
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", BOMBS)
def test_a_parquet_file_that_unpacks_to_too_much_is_refused_before_it_is_unpacked(kind):
    content = BOMBS[kind]()

    def read():
        before = peak_memory(anew=True)
        with pytest.raises(BadInput, match=r"^t\.parquet"):
            read_parquet("t.parquet", content)
        assert peak_memory() - before < 100

    assert seconds(read) < 1


def test_every_size_in_the_header_of_a_page_counts_and_not_what_the_footer_says():
    def field(number):  # a 32-bit integer of the Thrift compact protocol, one field after the last
        zigzag, found = number << 1, b"\x15"
        while zigzag > 0x7F:
            found, zigzag = found + bytes([zigzag & 0x7F | 0x80]), zigzag >> 7
        return found + bytes([zigzag])

    def page(size, packed, count):
        return field(0) + field(size) + field(packed) + b"\x2c" + field(count) + b"\x00\x00" + b"x" * packed

    pages = page(2_000_000_000, 3, 7) + page(8, 1, 1)
    assert list(page_sizes(pages, 0, len(pages))) == [(2_000_000_000, 7), (8, 1)]
    for broken in (page(8, 9, 1)[:-1], b"\x15" + b"\xff" * 20, b"\x1c" * 1000, b"\x19\x00"):
        with pytest.raises(ValueError):
            list(page_sizes(broken, 0, len(broken)))


def peak_memory(anew=False):
    """Most megabytes that this process had so far, or since it was last asked `anew`."""
    if anew and os.access("/proc/self/clear_refs", os.W_OK):
        with open("/proc/self/clear_refs", "w") as refs:
            refs.write("5")
    with open("/proc/self/status") as status:
        return int(re.search(r"VmHWM:\s*(\d+)", status.read())[1]) / 1000


HOSTILE = {
    "deep arrays": b"a = " + b"[" * 50_000 + b"]" * 50_000,
    "deep headers": b"[" + b"a." * 49_000 + b"a]",
    "many headers": b"".join(b"[t%d.a.b.c.d.e.f]\n" % k for k in range(4000)),
    "many tables": b"[[arm]]\n" * 12_000,
    "many keys": b"".join(b"k%d=1\n" % k for k in range(11_000)),
    "one line": b"a = [" + b"1," * 49_000 + b"]",
    "one text": b'a = "' + b"x" * 99_000 + b'"',
    "open texts": b'a = """' + b'\\"""' * 24_000,
    "quotes": b'"' * 100_000,
    "escapes": b'a = "' + b"\\u0041" * 16_000 + b'"',
    "repeated keys": b"a = 1\n" * 16_000,
    "inline tables": b"a = [" + b"{b={c={d=1}}}," * 7_000 + b"]",
    "long numbers": b"a = [" + b"9" * 4000 + b"," + b"9" * 90_000 + b"]",
    "blanks": b" " * 100_000,
    "comments": b"#\n" * 50_000,
    "dots": b"a" + b" . a" * 18 + b" = 1\n" + b"." * 90_000,
    "commas": b"," * 100_000,
    "columns": b",".join(b"c%d" % k for k in range(17_000)) + b"\n1",
    "short rows": b",".join(b"c%d" % k for k in range(1500)) + b"\n" + b"1\n" * 45_000,
    "long rows": b"symbol,value\n" + b"1,2,3\n" * 16_000,
    "unknown symbols": b"symbol,value\n" + b"".join(b"kTT%d,1\n" % k for k in range(9_000)),
    "one cell": b'symbol,value\n"' + b"x\n" * 49_000,
    "nothing": b"",
    "nul": b"\x00" * 100_000,
    "utf-16": "symbol,value\nkT,0.2\n".encode("utf-16") * 2000,
    "carriage returns": b"symbol,value\rkT,0.2\r" * 4000,
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hundred_kilobytes_take_less_than_a_second_and_a_hundred_megabytes(tmp_path, kind):
    readers = {
        "x.toml": [
            load_trial,
            load_spec,
            lambda path: load_agent("x", folder=path.parent),
            lambda path: load_population("x", path.parent),
        ],
        "x.csv": [
            load_parameters,
            lambda path: read_vectors(path, load_parameters()),
            lambda path: ranges(load_parameters(), intervals=path),
        ],
        "x.json": [lambda path: parse_json("x.json", read_content(path))],
    }
    load_parameters()
    gc.collect()
    gc.freeze()  # what the tests before have left is not the reader's to collect
    for name, some in readers.items():
        path = tmp_path / name
        path.write_bytes(HOSTILE[kind])
        for read in some:

            def refuse(read=read, path=path):
                before = peak_memory(anew=True)
                with pytest.raises(BadInput) as refused:
                    read(path)
                assert peak_memory() - before < 100
                assert all(len(message) <= 8000 and message.isprintable() for message in refused.value.messages)

            assert seconds(refuse) < 1
