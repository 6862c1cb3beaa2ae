"""The cache of compiled code: damage is found and mended, a folder that others can write is not used."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ranklsim.pkpd.engine import store as stores
from ranklsim.pkpd.engine.store import KEPT_DAYS, Store

CONTENT = b"compiled " * 100
RUN = """
import numpy as np, pandas as pd
from ranklsim.pkpd.simulation import Doses, simulate
from ranklsim.pkpd.agents import load_agent
from ranklsim.pkpd.parameters import load_parameters
doses = Doses(np.zeros(1, int), np.zeros(1), np.zeros(1, int), np.full(1, 60.0))
found = simulate(load_parameters(), pd.DataFrame(index=[0]), [load_agent("denosumab")], doses, np.array([0.0, 30.0]))
print(float(found["BMD_LS"][0, 1]).hex(), float(found["CTX"][0, 1]).hex())
"""


@pytest.fixture(autouse=True)
def _anew():
    """Every test hears every sentence."""
    stores.say.cache_clear()


def test_what_is_kept_is_read_back_and_what_was_made_from_another_text_is_not(tmp_path, capsys):
    store = Store(tmp_path / "cache")
    store.write("k/text", "one", CONTENT)
    assert Store(tmp_path / "cache").read("k/text", "one") == CONTENT
    assert store.read("k/other", "one") is None
    assert capsys.readouterr().err == ""
    assert store.read("k/text", "two") is None


@pytest.mark.parametrize("damage", [b"", b"x", lambda b: b[:-1], lambda b: b[:40] + b"!" + b[41:]],
                         ids=["empty", "one byte", "cut off", "one byte changed"])  # fmt: skip
def test_a_damaged_file_counts_as_absent_and_is_named_once(tmp_path, capsys, damage):
    store = Store(tmp_path)
    store.write("k/text", "one", CONTENT)
    path = tmp_path / "kernels" / "k" / "text"
    path.write_bytes(damage(path.read_bytes()) if callable(damage) else damage)
    assert store.read("k/text", "one") is None
    assert store.read("k/text", "one") is None
    said = capsys.readouterr().err.splitlines()
    assert said == [f"ranklsim: {path} is damaged; what it holds is compiled again."]
    store.write("k/text", "one", CONTENT)
    assert store.read("k/text", "one") == CONTENT


def test_a_file_under_the_name_of_another_is_not_taken_for_it(tmp_path):
    store = Store(tmp_path)
    store.write("k/one", "text", CONTENT)
    (tmp_path / "kernels" / "k" / "one").rename(tmp_path / "kernels" / "k" / "two")
    assert store.read("k/two", "text") is None


def test_the_folder_is_private(tmp_path):
    os.umask(os.umask(0o022))
    Store(tmp_path / "cache").write("k/text", "one", CONTENT)
    assert (tmp_path / "cache" / "kernels").stat().st_mode & 0o777 == 0o700
    (tmp_path / "cache" / "kernels").chmod(0o755)
    assert Store(tmp_path / "cache").read("k/text", "one") == CONTENT
    assert (tmp_path / "cache" / "kernels").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(("place", "mode"), [("kernels", 0o777), ("kernels", 0o770), (".", 0o777)])
def test_a_folder_that_others_can_write_is_not_used(tmp_path, capsys, place, mode):
    base = tmp_path / "cache"
    Store(base).write("k/text", "one", CONTENT)
    (base / place).chmod(mode)
    store = Store(base)
    assert store.read("k/text", "one") is None
    said = capsys.readouterr().err
    assert "others can write to" in said
    assert "a private temporary folder stands in for it" in said
    store.write("k/text", "one", b"mine")
    assert store.read("k/text", "one") == b"mine"
    assert store.temporary.stat().st_mode & 0o777 == 0o700
    assert not list(base.rglob("*.tmp"))


def test_a_link_in_place_of_the_folder_is_not_used(tmp_path, capsys):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "kernels").symlink_to(tmp_path / "elsewhere")
    Store(tmp_path / "cache").write("k/text", "one", CONTENT)
    assert not list((tmp_path / "elsewhere").iterdir())
    assert "is no folder of its own" in capsys.readouterr().err


def test_a_file_in_place_of_the_folder_is_not_touched(tmp_path, capsys):
    (tmp_path / "cache").write_text("mine")
    store = Store(tmp_path / "cache")
    store.write("k/text", "one", CONTENT)
    assert store.read("k/text", "one") == CONTENT
    assert (tmp_path / "cache").read_text() == "mine"
    assert "can't be made" in capsys.readouterr().err


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EROFS, errno.EACCES], ids=["full", "read-only", "forbidden"])
def test_where_nothing_can_be_written_a_temporary_folder_stands_in(tmp_path, capsys, monkeypatch, fault):
    store = Store(tmp_path)
    real = os.fsync

    def fsync(handle: int) -> None:
        if str(tmp_path) in os.readlink(f"/proc/self/fd/{handle}"):
            raise OSError(fault, os.strerror(fault))
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    store.write("k/text", "one", CONTENT)
    store.write("k/more", "one", CONTENT)
    assert store.read("k/text", "one") == CONTENT
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert os.strerror(fault) in said[0]
    assert not list(tmp_path.rglob("*.tmp")), "nothing half-written is left"
    assert not list(tmp_path.rglob("text"))


def test_where_nothing_can_be_written_anywhere_work_goes_on(tmp_path, capsys, monkeypatch):
    store = Store(tmp_path)

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    store.write("k/text", "one", CONTENT)
    assert store.read("k/text", "one") is None
    assert "it is compiled at every start" in capsys.readouterr().err


def test_kernels_of_earlier_versions_are_removed_a_month_after_their_last_use(tmp_path):
    store = Store(tmp_path)
    for name in ("old", "recent", "mine"):
        store.write(f"{name}/text", "one", CONTENT)
    long_ago = time.time() - (KEPT_DAYS + 1) * 86400
    for name in ("old", "mine"):
        os.utime(tmp_path / "kernels" / name, (long_ago, long_ago))
    for name, when in (("a.tmp", long_ago), ("b.tmp", time.time())):  # of a process killed long ago, and of one at work
        (tmp_path / "kernels" / "mine" / name).touch()
        os.utime(tmp_path / "kernels" / "mine" / name, (when, when))
    store.used("mine")
    assert {path.name for path in (tmp_path / "kernels" / "mine").iterdir()} == {"text", "b.tmp"}
    assert {path.name for path in (tmp_path / "kernels").iterdir()} == {"recent", "mine"}
    assert (tmp_path / "kernels" / "mine").stat().st_mtime > long_ago


def _simulated(folder: Path) -> tuple[str, str]:
    done = subprocess.run(
        [sys.executable, "-c", RUN], env=os.environ | {"RANKLSIM_CACHE": str(folder)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


@pytest.mark.slow
def test_a_damaged_kernel_is_made_again_and_gives_the_same_numbers(tmp_path):
    expected, said = _simulated(tmp_path)
    assert said == ""
    files = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert _simulated(tmp_path) == (expected, "")
    text = next(path for path in files if path.name == "text")
    text.write_bytes(text.read_bytes().replace(b"FIRST_STEP = 0.5", b"FIRST_STEP = 9.5"))
    largest = max(files, key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-100])
    again, said = _simulated(tmp_path)
    assert again == expected
    assert [line.count("is damaged") for line in said.splitlines()] == [1, 1]
    assert _simulated(tmp_path) == (expected, "")
