import errno
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import two_arms

from ranklsim.cohorts import run
from ranklsim.cohorts.running import places, storage
from ranklsim.cohorts.running.places import write_bytes, write_json
from ranklsim.cohorts.running.storage import MANIFEST, open_run, to_arrow, write_table
from ranklsim.pkpd.errors import BadInput, RunFailed


@pytest.fixture
def folder(tmp_path):
    """A run folder as far as storage is concerned: two files and a manifest."""
    frame = pd.DataFrame({"patient": [1, 2], "arm": ["a", "b"], "CTX": [0.5, np.nan]})
    write_table(tmp_path / "visits.parquet", [to_arrow(frame, ["CTX"])])
    write_bytes(tmp_path / "trial.toml", b"seed = 1\n")
    files = {
        path.name: {"sha256": places.sha256(path), "bytes": path.stat().st_size}
        for path in (tmp_path / "visits.parquet", tmp_path / "trial.toml")
    }
    manifest = {"format": storage.FORMAT, "complete": True, "trial": "x", "patients": 2, "files": files}
    write_json(tmp_path / MANIFEST, manifest | {"checksum": storage.checksum(manifest)})
    return tmp_path


def change_manifest(folder, **changes):
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest |= changes
    (folder / MANIFEST).write_text(json.dumps(manifest | {"checksum": storage.checksum(manifest)}))


def test_a_table_comes_back_as_it_was(folder):
    run = open_run(folder)
    assert run.visits["CTX"].dtype == np.float32
    assert run.visits["CTX"].tolist()[0] == 0.5
    assert run.visits["CTX"].isna().tolist() == [False, True]
    assert run.read("visits", ["arm"])["arm"].tolist() == ["a", "b"]


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b[:40] + bytes([b[40] ^ 1]) + b[41:], lambda b: b""])
def test_a_truncated_or_altered_file_is_named(folder, damage):
    path = folder / "visits.parquet"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(BadInput, match=r"visits\.parquet: is truncated or altered") as refused:
        open_run(folder)
    assert len(refused.value.messages) == 1


def test_every_faulty_file_is_named_at_once(folder):
    (folder / "visits.parquet").unlink()
    (folder / "trial.toml").write_text("seed = 2\n")
    with pytest.raises(BadInput) as refused:
        open_run(folder)
    assert [message.split(": ")[1].split(";")[0] for message in refused.value.messages] == [
        "is missing",
        "is truncated or altered",
    ]


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(BadInput, match=r"holds no manifest\.json, so it is not a run"):
        open_run(tmp_path)
    with pytest.raises(BadInput, match="no such folder"):
        open_run(tmp_path / "nowhere")
    (tmp_path / MANIFEST).write_text('{"name": "my web app"}')
    with pytest.raises(BadInput, match="was not written by ranklsim"):
        open_run(tmp_path)


def test_a_truncated_manifest_is_refused(folder):
    text = (folder / MANIFEST).read_text()
    (folder / MANIFEST).write_text(text[: len(text) // 2])
    with pytest.raises(BadInput, match=r"manifest\.json: is truncated or altered"):
        open_run(folder)


def test_an_unfinished_run_is_refused(folder):
    change_manifest(folder, complete=False)
    with pytest.raises(BadInput, match=r"not finished.*--resume"):
        open_run(folder)


def test_a_run_of_another_format_is_refused(folder):
    change_manifest(folder, format=99, ranklsim="7.0")
    with pytest.raises(BadInput, match=r"has format 99, this ranklsim reads 4; .*7\.0"):
        open_run(folder)


def test_equal_tables_have_equal_bytes_and_parts_are_joined(tmp_path):
    frame = pd.DataFrame({"patient": np.arange(10), "x": np.linspace(0, 1, 10)})
    for name in ("a", "b"):
        written = write_table(tmp_path / name, [to_arrow(frame[:4], ["x"]), to_arrow(frame[4:], ["x"])])
        assert written.rows == 10
        assert written.sha256 == places.sha256(tmp_path / name)
        assert written.bytes == (tmp_path / name).stat().st_size
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert pq.read_table(tmp_path / "a").column("patient").to_pylist() == list(range(10))


def test_how_rows_are_shared_out_among_parts_changes_no_byte_of_a_table(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "ROW_GROUP", 7)
    table = to_arrow(pd.DataFrame({"arm": list("abcab") * 4, "x": np.arange(20.0)}), ["x"])
    found = set()
    for size in (1, 3, 7, 20, 50):
        written = write_table(tmp_path / "t", (table.slice(at, size) for at in range(0, 20, size)))
        found.add(written.sha256)
    assert len(found) == 1
    groups = pq.ParquetFile(tmp_path / "t").metadata
    assert [groups.row_group(k).num_rows for k in range(groups.num_row_groups)] == [7, 7, 6]
    assert pq.read_table(tmp_path / "t").equals(table)


def test_an_empty_table_is_written_with_its_columns(tmp_path):
    empty = to_arrow(pd.DataFrame({"arm": ["a"], "x": [1.0]})).slice(0, 0)
    assert write_table(tmp_path / "t", [empty, empty]).rows == 0
    assert pq.read_table(tmp_path / "t").schema == empty.schema


def test_columns_have_plain_types():
    frame = pd.DataFrame({"patient": [1], "arm": ["a"], "month": [0.5], "x": [0.5], "given": [True]})
    types = dict(zip(frame.columns, to_arrow(frame, ["x"]).schema.types, strict=True))
    assert types == {
        "patient": pa.int32(),
        "arm": pa.string(),
        "month": pa.float64(),
        "x": pa.float32(),
        "given": pa.bool_(),
    }


def test_an_empty_table_keeps_its_types():
    frame = pd.DataFrame({"patient": [1], "agent": ["a"], "given": [True]})
    assert to_arrow(frame[:0]).schema == to_arrow(frame).schema


def test_a_fault_while_writing_leaves_the_old_file(tmp_path):
    write_bytes(tmp_path / "x", b"old")
    with pytest.raises(TypeError), places.replacing(tmp_path / "x") as file:
        [file.write(part) for part in (b"new", None)]
    assert (tmp_path / "x").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize(
    ("number", "kind", "message"),
    [
        (errno.ENOSPC, RunFailed, "no space left"),
        (errno.EDQUOT, RunFailed, "no space left"),
        (errno.EROFS, BadInput, "writing here is not allowed"),
        (errno.ENAMETOOLONG, BadInput, "no file can be made here"),
        (errno.EIO, RunFailed, "can't be written"),
    ],
)
def test_what_the_system_says_becomes_a_sentence(tmp_path, number, kind, message):
    with pytest.raises(kind, match=message), places.explained(tmp_path):
        raise OSError(number, "said the system")


def test_a_manifest_that_says_something_else_is_refused(folder):
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    (folder / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    open_run(folder)  # another layout says the same
    for change in ({"seed": 7}, {"files": {}}, {"patients": "x"}):
        (folder / MANIFEST).write_text(json.dumps(manifest | change), encoding="utf-8")
        with pytest.raises(BadInput, match=r"manifest.json: is altered"):
            open_run(folder)


def test_a_run_knows_that_another_took_its_place(tmp_path):
    trial = two_arms(tmp_path)
    first = run(trial, tmp_path / "run", seed=1)
    assert not first.was_replaced()
    run(trial, tmp_path / "run", seed=2, force=True)
    assert first.was_replaced()
    (tmp_path / "run" / MANIFEST).unlink()
    assert first.was_replaced()
