"""What several tests share: one small finished run and its report, made once whatever the number of workers."""

from __future__ import annotations

import fcntl
import gc
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ranklsim.cohorts.protocol.trial import load_trial
from ranklsim.cohorts.running.execution import run
from ranklsim.cohorts.running.storage import Run
from ranklsim.reports.figures import painters

if TYPE_CHECKING:
    from playwright.sync_api import Browser

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
QUIET = ("--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run")

painters.MOST = 0  # the tests share the processors already


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of a file on one worker, so that its fixtures are made once (``--dist loadgroup``).

    The tests that read `small_report` stay together too. Slow tests without a fixture of their file go to any worker.
    Groups with slow tests come first, so that all workers end at nearly the same time.
    """
    group, slow = {}, set()
    for item in items:
        is_slow = item.get_closest_marker("slow") is not None
        group[item] = item.nodeid
        if mark := item.get_closest_marker("xdist_group"):
            group[item] = mark.args[0]
        elif "small_report" in item.fixturenames:
            group[item] = "small_report"
        elif not is_slow or any(hasattr(item.module, name) for name in item.fixturenames):
            group[item] = item.path.stem
        if not mark and group[item] != item.nodeid:
            item.add_marker(pytest.mark.xdist_group(group[item]))
        if is_slow:
            slow.add(group[item])
    items.sort(key=lambda item: group[item] not in slow)


def pytest_collection_finish() -> None:
    """Whatever is imported stays, and is no more looked through for garbage, which took a fifth of the time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], object]], Path]:
    """Function that returns the folder `name` of this test session, which the first worker that asks for it makes."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent

    def folder(name: str, make: Callable[[Path], object]) -> Path:
        path = root / "made-once" / name
        path.parent.mkdir(exist_ok=True)
        with open(path.with_name(f"{name}.lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            done = path.with_name(f"{name}.done")
            if not done.exists():
                make(path)
                done.touch()
        return path

    return folder


@pytest.fixture(scope="session")
def small_run(made_once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """Folder of the shipped `modality` trial with 24 patients and 40 parameter draws. Copy it before changing it."""
    trial = replace(load_trial("modality"), uncertainty_draws=40)
    return made_once("run", lambda folder: run(trial, folder, patients=24))


@pytest.fixture(scope="session")
def small_report(small_run: Path, made_once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """Page of the report of `small_run`, with every other format beside it. Copy it before changing it.

    It is made without ever holding all columns of the visits, which would not fit for a large run.
    """

    from ranklsim.reports.csr.report import FORMATS, write_report

    def make(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.delattr(Run, "visits")
            write_report(small_run, out=folder, formats=FORMATS)

    return made_once("report", make) / "index.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A real browser: the system's Chromium (``apt-get install chromium``), or playwright's own."""
    from playwright.sync_api import Error, sync_playwright

    found = next((place for name in BROWSERS if (place := shutil.which(name))), None)
    with sync_playwright() as play:
        try:
            started = play.chromium.launch(executable_path=found, args=["--no-sandbox", *QUIET])
        except Error as fault:
            pytest.skip(f"no Chromium to look at pages with ({str(fault).splitlines()[0]}); apt-get install chromium")
        yield started
        started.close()
