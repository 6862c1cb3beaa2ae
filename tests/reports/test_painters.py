"""Figures drawn by other processes: the same bytes with and without, faults told here, no process left behind."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
from helpers import drawn_by

from ranklsim.cohorts.running.storage import open_run
from ranklsim.pkpd.errors import BadInput
from ranklsim.reports.csr.contents import compose
from ranklsim.reports.csr.context import Context
from ranklsim.reports.csr.report import write_report
from ranklsim.reports.figures import painters
from ranklsim.reports.figures.ahead import Ahead
from ranklsim.reports.layout.exhibit import Exhibit

HERE = os.getpid()


@pytest.fixture
def two_painters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(painters, "MOST", 2)
    monkeypatch.setattr(painters, "processors", lambda: 3)


def figures(count: int, fault: str = "") -> list[Exhibit]:
    frame = pd.DataFrame({"x": [1.0]})
    return [
        Exhibit("Figure", f"14.{k}", "Anything", frame, "", "", picture=partial(drawn_by, k, HERE, fault))
        for k in range(count)
    ]


def places(drawn: list[Exhibit]) -> list[tuple[str, str]]:
    return [tuple(figure.svg.removesuffix(" as svg").split(" by ")) for figure in drawn]


@pytest.mark.slow
def test_figures_are_drawn_in_other_processes_while_this_one_goes_on(two_painters, monkeypatch) -> None:
    monkeypatch.setattr("ranklsim.reports.figures.ahead.Ahead._help", lambda self: None)
    drawn = figures(20)
    with Ahead() as ahead:
        ahead.draw(drawn[:8])
        ahead.draw(drawn[:12])
        ahead.draw(drawn)
    assert [k for k, _ in places(drawn)] == [str(k) for k in range(20)]
    assert str(HERE) not in {who for _, who in places(drawn)}
    with Ahead() as again:
        again.draw(drawn)  # nothing is left to do
    assert not again._threads


@pytest.mark.slow
def test_a_figure_that_cannot_be_drawn_elsewhere_is_drawn_here_with_its_fault(two_painters) -> None:
    drawn = figures(6, "away")
    drawn[3] = Exhibit(
        "Figure", "14.3", "", drawn[3].frame, "", "", picture=lambda form: f"3 by {HERE} as svg".encode()
    )
    with Ahead() as ahead:
        ahead.draw(drawn)
    assert places(drawn) == [(str(k), str(HERE)) for k in range(6)]
    with pytest.raises(BadInput, match="no such arm"), Ahead() as ahead:
        ahead.draw(figures(6, "everywhere"))
    assert not any(thread.is_alive() for thread in ahead._threads)


@pytest.mark.slow
def test_a_painter_that_hangs_is_ended_and_its_figures_are_drawn_here(two_painters, monkeypatch) -> None:
    monkeypatch.setattr(painters, "PATIENCE", 1.0)
    drawn = figures(6, "asleep")
    with Ahead() as ahead:
        ahead.draw(drawn)
    assert places(drawn) == [(str(k), str(HERE)) for k in range(6)]
    assert not any(thread.is_alive() for thread in ahead._threads)


@pytest.mark.slow
def test_the_report_has_the_same_bytes_with_painters_and_whatever_formats_are_written_beside_the_page(
    small_run: Path, small_report: Path, tmp_path, two_painters
) -> None:
    again, first = write_report(small_run, out=tmp_path / "with", formats=["html", "docx", "pptx"]), small_report
    files, before = ({p.relative_to(at.parent) for p in at.parent.rglob("*.*")} for at in (again, first))
    assert len(files) > 50
    assert files <= before
    assert {name.suffix for name in before - files} == {".rtf", ".parquet"}
    for name in files:
        assert (again.parent / name).read_bytes() == (first.parent / name).read_bytes(), name


def test_every_figure_of_a_report_can_be_sent_to_a_painter(small_run: Path) -> None:
    sections = compose(Context(open_run(small_run)))
    for exhibit in (e for section in sections for e in section.exhibits if e.picture is not None):
        pickle.dumps(exhibit.picture)


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_process_that_is_ended_leaves_no_painter_behind(how: signal.Signals) -> None:
    code = (
        "import time; from ranklsim.reports.figures import painters; painters.processors = lambda: 3\n"
        "with painters.painters() as held:\n"
        "    print(*(p._process.pid for p in held), flush=True); time.sleep(600)"
    )
    held = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert held.stdout is not None
    ids = [int(word) for word in held.stdout.readline().split()]
    assert len(ids) == 2
    held.send_signal(how)
    held.wait(60)
    until = time.monotonic() + 60
    while any(Path(f"/proc/{number}").exists() for number in ids) and time.monotonic() < until:
        time.sleep(0.05)
    assert not [number for number in ids if Path(f"/proc/{number}").exists()]


def test_where_no_process_can_be_started_this_one_draws(two_painters, monkeypatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no further process")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    drawn = figures(3)
    with Ahead() as ahead:
        ahead.draw(drawn)
    assert places(drawn) == [(str(k), str(HERE)) for k in range(3)]


@pytest.mark.slow
def test_a_painter_imports_nothing_from_the_working_folder(two_painters, tmp_path, monkeypatch) -> None:
    (tmp_path / "gc.py").touch()
    (tmp_path / "matplotlib.py").write_text("raise SystemExit(1)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")
    with painters.painters() as held:
        assert held[0].draw(partial(drawn_by, 1, HERE, "")) != drawn_by(1, HERE, "", "svg")
