"""A run that is stopped, killed, starved or damaged ends with the bytes of one that was left alone."""

import errno
import json
import os
import re
import subprocess
import sys

import pytest
from helpers import table_bytes, two_arms

from ranklsim.cohorts import open_run, run
from ranklsim.cohorts.conduct import course as conduct
from ranklsim.cohorts.running import execution, places, scheduler, storage
from ranklsim.cohorts.running.execution import Interrupted
from ranklsim.cohorts.running.storage import MANIFEST
from ranklsim.pkpd.errors import BadInput, RunFailed


@pytest.fixture(scope="module")
def trial_file(tmp_path_factory):
    return two_arms(tmp_path_factory.mktemp("trial"))


@pytest.fixture(scope="module")
def whole(trial_file, tmp_path_factory):
    """Tables of an undisturbed run."""
    return table_bytes(run(trial_file, tmp_path_factory.mktemp("whole")).folder)


@pytest.fixture(autouse=True)
def small_portions(monkeypatch):
    """Three portions of the twelve patients: 5, 5 and 2."""
    monkeypatch.setattr(execution, "PORTION", 5)


@pytest.fixture
def simulated(monkeypatch):
    """Patients of every portion that is simulated."""
    seen, simulate = [], conduct.simulate

    def counting(parameters, persons, *args, **kwargs):
        seen.append(len(persons))
        return simulate(parameters, persons, *args, **kwargs)

    monkeypatch.setattr(conduct, "simulate", counting)
    return seen


def interrupted(trial_file, folder, portions, monkeypatch):
    """Press Ctrl-C when so many portions are done."""
    simulate, done = conduct.simulate, []

    def some(*args, **kwargs):
        if len(done) == portions:
            raise KeyboardInterrupt
        done.append(1)
        return simulate(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(conduct, "simulate", some)
        with pytest.raises(Interrupted) as stop:
            run(trial_file, folder)
    with pytest.raises(BadInput, match="not finished"):
        open_run(folder)
    return stop.value


def resumed(trial_file, folder, **options):
    """Go on; the run, and what it said."""
    said = []
    return run(trial_file, folder, resume=True, tell=said.append, **options), said


def test_an_interrupted_run_resumes_to_the_same_bytes_without_redoing_what_was_done(
    trial_file, tmp_path, monkeypatch, simulated, whole
):
    stop = interrupted(trial_file, tmp_path / "b", 2, monkeypatch)
    assert re.search("interrupted after 10 of 12 patients; .*resume=True", str(stop))
    assert stop.exit_code == 130
    simulated.clear()
    found, said = resumed(trial_file, tmp_path / "b", workers=2)
    assert simulated == [2]
    assert [line.partition(" portions")[0] for line in said] == [f"{tmp_path / 'b'}: 2 of 3"]
    assert found.manifest["resumed"] == 1
    assert found.manifest["recovered"] == "2 of 3 portions were complete."
    assert table_bytes(open_run(found.folder).folder) == whole


def test_what_was_written_before_it_was_heard_of_counts_when_a_run_is_interrupted(trial_file, tmp_path, monkeypatch):
    perform = scheduler.Threads.perform

    def stopped(who, job, tasks, *args):
        done = list(perform(who, job, tasks, *args))
        if any(task.name == "000000" for task in tasks):
            raise KeyboardInterrupt
        yield from done

    monkeypatch.setattr(scheduler.Threads, "perform", stopped)
    with pytest.raises(Interrupted, match="interrupted after 12 of 12 patients"):
        run(trial_file, tmp_path / "b")


def test_a_run_goes_on_with_the_portions_that_it_began_with(trial_file, tmp_path, monkeypatch, simulated, whole):
    interrupted(trial_file, tmp_path / "b", 1, monkeypatch)
    simulated.clear()
    monkeypatch.setattr(execution, "PORTION", 3)
    found, _ = resumed(trial_file, tmp_path / "b")
    assert sorted(simulated) == [2, 5]
    assert table_bytes(found.folder) == whole


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def alter(path):
    note = json.loads(path.read_text())
    path.write_text(json.dumps(note | {key: {} for key in ("strata", "retried") if key in note}))


@pytest.mark.slow
@pytest.mark.parametrize("damage", [cut, flip, lambda path: path.unlink(), lambda path: path.write_bytes(b"")])
def test_a_damaged_portion_is_done_again_and_no_other(
    trial_file, tmp_path, monkeypatch, simulated, whole, damage
):  # fmt: skip
    interrupted(trial_file, tmp_path / "b", 2, monkeypatch)
    damage(tmp_path / "b" / "chunks" / "000001-visits.arrow")
    simulated.clear()
    found, said = resumed(trial_file, tmp_path / "b")
    assert sorted(simulated) == [2, 5]
    assert len(said) == 1
    assert re.search("1 of 3 portions .*1 was damaged", said[0])
    assert table_bytes(found.folder) == whole


@pytest.mark.slow
@pytest.mark.parametrize("name", ["000000", "people-000000"])
@pytest.mark.parametrize("damage", [cut, flip, alter])
def test_a_damaged_note_is_not_believed(trial_file, tmp_path, monkeypatch, whole, name, damage):
    interrupted(trial_file, tmp_path / "b", 2, monkeypatch)
    damage(tmp_path / "b" / "chunks" / f"{name}.json")
    found, _ = resumed(trial_file, tmp_path / "b")
    assert table_bytes(found.folder) == whole


def test_a_portion_that_is_damaged_before_it_is_joined_is_not_taken_over(trial_file, tmp_path, monkeypatch, whole):
    write_table = storage.write_table

    def late(path, parts):
        if path.name == "visits.parquet":
            flip(tmp_path / "b" / "chunks" / "000001-visits.arrow")
        return write_table(path, parts)

    with monkeypatch.context() as patch:
        patch.setattr(storage, "write_table", late)
        with pytest.raises(RunFailed, match=r"000001-visits\.arrow: was damaged after it was written; .*resume=True"):
            run(trial_file, tmp_path / "b")
    found, said = resumed(trial_file, tmp_path / "b")
    assert re.search("2 of 3 portions .*1 was damaged", said[0])
    assert table_bytes(found.folder) == whole


@pytest.mark.parametrize("damage", [cut, lambda path: path.unlink(), lambda path: path.write_text("{}")])
def test_a_damaged_manifest_costs_no_portion(trial_file, tmp_path, monkeypatch, simulated, whole, damage):
    interrupted(trial_file, tmp_path / "b", 2, monkeypatch)
    damage(tmp_path / "b" / MANIFEST)
    with pytest.raises(BadInput):
        open_run(tmp_path / "b")
    simulated.clear()
    found, said = resumed(trial_file, tmp_path / "b")
    assert len(simulated) == 1  # which of the portions depends on threads
    assert re.search("2 of 3 portions .*manifest was damaged", said[0])
    assert table_bytes(open_run(found.folder).folder) == whole


def test_portions_of_another_run_are_not_taken_over_when_the_manifest_is_damaged(trial_file, tmp_path, monkeypatch):
    interrupted(trial_file, tmp_path / "b", 2, monkeypatch)
    cut(tmp_path / "b" / MANIFEST)
    with pytest.raises(BadInput, match=r"manifest\.json: is truncated or altered"):
        run(trial_file, tmp_path / "b", seed=12, resume=True)


def test_a_damaged_input_is_written_anew(trial_file, tmp_path, monkeypatch, whole):
    interrupted(trial_file, tmp_path / "b", 1, monkeypatch)
    cut(tmp_path / "b" / "parameters.csv")
    found, _ = resumed(trial_file, tmp_path / "b")
    assert table_bytes(open_run(found.folder).folder) == whole


FILES = (
    *("parameters.csv", "people-000001-persons.arrow", "people-000001.json", "000000-visits.arrow", "000001.json"),
    *("ensemble-variants.arrow", "ensemble.json", "patients.parquet", "visits.parquet", "variants.parquet", MANIFEST),
)
"""Files during whose writing a run is stopped, from first to last; the last manifest is the one that says complete."""


@pytest.mark.slow
def test_a_disk_that_is_full_at_any_moment_leaves_nothing_half_written(trial_file, tmp_path, monkeypatch, whole):
    folder, write = tmp_path / "b", places._Hashing.write
    for name in FILES:
        seen = set()

        def full(file, content, name=name, seen=seen):
            if f".{name}." in file.file.name:
                seen.add(file.file.name)
                if len(seen) == 1 + (name == MANIFEST):
                    file.file.write(bytes(content)[:50])
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return write(file, content)

        with monkeypatch.context() as patch:
            patch.setattr(places._Hashing, "write", full)
            with pytest.raises(RunFailed, match=f"{name}: no space left on the disk; .*resume=True"):
                run(trial_file, folder, resume=True, workers=1)  # one by one: a second thread might be past the file
        assert not list(folder.glob("**/.*.tmp"))
        with pytest.raises(BadInput, match="not finished"):
            open_run(folder)
    assert table_bytes(run(trial_file, folder, resume=True).folder) == whole


KILLED = """
import os, signal, sys
from ranklsim.cohorts.running import execution, storage

trial, folder, *names = sys.argv[1:]
execution.PORTION = 5
execution.run(trial, folder + "-warm", patients=2)  # so that children find all imported and compiled
replace = os.replace

for name in names:
    pid = os.fork()
    if not pid:
        seen = []
        def killing(source, target):
            seen.append(os.path.basename(target))
            if seen[-1] == name and (name != "manifest.json" or seen.count(name) > 1):
                with open(source, "r+b") as file:
                    file.truncate(100)  # as if killed in the middle of it
                os.kill(os.getpid(), signal.SIGKILL)
            replace(source, target)
        os.replace = killing
        execution.run(trial, folder, resume=True, workers=1)  # in this order: a second thread might be past the file
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status), f"{name} was never written"
    try:
        storage.open_run(folder)
    except execution.BadInput as fault:
        print(name, fault)
    else:
        raise AssertionError(f"killed while {name} was written, and yet complete")
"""


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_ends_with_the_same_bytes(trial_file, tmp_path, simulated, whole):
    folder = tmp_path / "b"
    words = [sys.executable, "-c", KILLED, trial_file, folder, *FILES]
    told = subprocess.run([*map(str, words)], capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    assert told.stdout.count("its run is not finished") == len(FILES)
    assert list(folder.glob("**/.*.tmp"))
    found, said = resumed(trial_file, folder)
    assert "3 of 3 portions" in said[0]
    assert not simulated
    assert not list(folder.glob("**/.*.tmp"))
    assert table_bytes(open_run(found.folder).folder) == whole


@pytest.mark.parametrize(
    ("number", "kind", "message"),
    [
        (errno.ENOSPC, RunFailed, "no space left on the disk; .*resume=True"),
        (errno.EACCES, BadInput, "writing here is not allowed"),
    ],
)
def test_a_disk_that_refuses_is_explained(trial_file, tmp_path, monkeypatch, number, kind, message):
    replace = os.replace

    def refuse(source, target):
        if str(target).endswith("000000-visits.arrow"):
            raise OSError(number, os.strerror(number), str(target))
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", refuse)
        with pytest.raises(kind, match=message):
            run(trial_file, tmp_path / "b", patients=4)
    assert not list((tmp_path / "b").glob("**/*.tmp"))
    assert not list((tmp_path / "b").glob("**/*visits*"))
    assert run(trial_file, tmp_path / "b", patients=4, resume=True).manifest["complete"]


def test_two_processes_do_not_write_one_run(trial_file, tmp_path, monkeypatch, whole):
    folder = tmp_path / "run"
    interrupted(trial_file, folder, 1, monkeypatch)
    files = {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    with places.held(folder), pytest.raises(BadInput, match=r"run: another process is writing this run"):
        run(trial_file, folder, resume=True)
    assert {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()} == files
    assert table_bytes(run(trial_file, folder, resume=True).folder) == whole
