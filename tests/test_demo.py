"""`make demo` may be said again and again, and never replaces a run that somebody else made."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import trial_file

DEMO = Path(__file__).resolve().parent.parent / "scripts" / "demo"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a space in its name, and a small trial in it."""
    (tmp_path / "a place").mkdir()
    trial_file(tmp_path / "a place", stem="small", population={"patients": 8}, uncertainty_draws=1)
    return tmp_path / "a place"


def demo(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [str(DEMO), str(Path(sys.executable).parent), "small.toml", "runs/small"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.mark.slow
def test_a_demo_says_where_its_report_is_runs_again_and_goes_on_with_one_that_was_interrupted(folder: Path) -> None:
    manifest = folder / "runs" / "small" / "manifest.json"
    for resumed in (0, 0, 1):
        if resumed:
            half = json.loads(manifest.read_text(encoding="utf-8")) | {"complete": False}
            manifest.write_text(json.dumps(half, indent=2), encoding="utf-8")
        done = demo(folder)
        assert done.returncode == 0, done.stderr
        report = Path(done.stdout.splitlines()[-1].strip())
        assert report == folder / "runs" / "small" / "report" / "index.html"
        assert report.is_file()
        assert json.loads(manifest.read_text(encoding="utf-8"))["resumed"] == resumed


@pytest.mark.slow
def test_a_demo_keeps_the_run_of_somebody_else(folder: Path) -> None:
    command = [str(Path(sys.executable).parent / "ranklsim"), "run", "small.toml", "-o", "runs/small", "--seed", "5"]
    subprocess.run([*command, "--no-report"], cwd=folder, check=True, capture_output=True)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    done = demo(folder)
    assert done.returncode == 2
    assert re.fullmatch(r"runs/small holds a run that `make demo` did not make; .*\n", done.stderr)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
