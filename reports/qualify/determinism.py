"""The same input gives the same bytes: for any order, number of workers, after an interruption, from a bundle."""

from __future__ import annotations

import contextlib
import tempfile
from functools import cache
from pathlib import Path

import numpy as np

from ranklsim.cohorts.running.bundle import bundle, compare_runs, reproduce
from ranklsim.cohorts.running.execution import Interrupted, run
from ranklsim.cohorts.running.storage import Run
from ranklsim.pkpd.agents import load_agent
from ranklsim.pkpd.parameters import load_parameters
from ranklsim.pkpd.simulation import Doses, simulate
from ranklsim.reports.qualify.finding import Finding
from ranklsim.reports.qualify.solver import DAYS, anyone, q6m

TRIAL, PATIENTS = "freedom", 1020
"""Trial whose runs are compared: two portions of patients."""


def order() -> Finding:
    """Number of outputs that depend on order, batch or threads."""
    n, table, drug = 75, load_parameters(), [load_agent("denosumab")]  # more than two batches
    persons, doses = anyone(table, n, seed=2), q6m(60, 2, patients=n)
    whole = simulate(table, persons, drug, doses, DAYS)
    threaded = simulate(table, persons, drug, doses, DAYS, workers=2)
    backwards = simulate(table, persons[::-1], drug, doses, DAYS)
    alone = simulate(table, persons.iloc[[40]], drug, q6m(60, 2), DAYS)
    shuffled = np.random.default_rng(0).permutation(len(doses.time))
    fields = (getattr(doses, name)[shuffled] for name in ("patient", "time", "agent", "amount"))
    mixed = simulate(table, persons, drug, Doses(*fields), DAYS)
    differ = [
        name
        for name, values in whole.items()
        if not (
            np.array_equal(values, threaded[name])
            and np.array_equal(values, backwards[name][::-1])
            and np.array_equal(values[40], alone[name][0])
            and np.array_equal(values, mixed[name])
        )
    ]
    return Finding(
        len(differ), f"{len(whole)} outputs of {n} patients: in two threads, backwards, one alone, doses shuffled."
    )


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    """A folder for the runs, which goes with the process."""
    return tempfile.TemporaryDirectory(prefix="ranklsim-")


@cache
def _once() -> Run:
    return run(TRIAL, Path(_folder().name) / "once", patients=PATIENTS, workers=1)


def _differing(other: Run, how: str) -> Finding:
    found = compare_runs(_once(), other)
    said = f"Trial {TRIAL}, {PATIENTS} patients: {how}. {' '.join(found.sentences())}"
    return Finding(int((~found.files["same"]).sum()), said)


def workers() -> Finding:
    """Number of files of a run that depend on the number of threads."""
    return _differing(run(TRIAL, Path(_folder().name) / "two", patients=PATIENTS, workers=2), "one and two threads")


def resumed() -> Finding:
    """Number of files of a run that depend on an interruption."""
    folder = Path(_folder().name) / "stopped"

    def stop(done: int, total: int) -> None:
        if done > 0.6 * total:
            raise KeyboardInterrupt

    with contextlib.suppress(Interrupted):
        run(TRIAL, folder, patients=PATIENTS, workers=1, progress=stop, force=folder.exists())
    other = run(TRIAL, folder, patients=PATIENTS, workers=1, resume=True)
    if not other.manifest["resumed"]:
        return Finding(np.inf, "The run could not be interrupted.")
    how = f"interrupted, then continued ({other.manifest['recovered'].rstrip('.')})"
    return _differing(other, how)


def bundled() -> Finding:
    """Number of files that differ where a run is repeated from its bundle."""
    path = Path(_folder().name) / "run.zip"
    found = reproduce(bundle(_once().folder, path, force=True), workers=2)
    return Finding(int((~found.files["same"]).sum()), f"The bundle of that run. {' '.join(found.sentences())}")


def seeds() -> Finding:
    """Number of patients that runs of two seeds have in common."""
    other = run(TRIAL, Path(_folder().name) / "other", patients=60, seed=1, layers=["patients"])
    ages = set(_once().patients["age"])
    same = sum(age in ages for age in other.patients["age"])
    return Finding(same, "Ages of 60 patients of another seed among those of the run, to the last digit.")
