"""Write a run's ADaM data sets into a folder, checked, in each format that is asked for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from ranklsim.cohorts.running import places, storage
from ranklsim.pkpd.agents import load_agent
from ranklsim.pkpd.errors import BadInput, RunFailed
from ranklsim.reports.cdisc.datasets import FIRST_DAY, build
from ranklsim.reports.cdisc.files import DEFINE, FORMATS, stamp, write_define, write_json, write_parquet, write_xpt
from ranklsim.reports.cdisc.metadata import LABELS
from ranklsim.reports.cdisc.rules import check
from ranklsim.reports.layout.page import new_folder

SUFFIXES = {"parquet": ".parquet", "xpt": ".xpt", "json": ".json"}


def write_cdisc(
    run_folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    formats: Sequence[str] = FORMATS,
    first_day: date = FIRST_DAY,
    force: bool = False,
) -> Path:
    """Write a run's ADaM data sets and their define.xml.

    Parameters
    ----------
    run_folder : path or URL
        A finished run.
    out : path
        Folder to write; made, and made anew with `force` if it holds data sets.
    formats : sequence of str
        Some of "parquet", "xpt" (SAS transport version 5), "json" (Dataset-JSON 1.1).
    first_day : date
        On which the first patient is randomised: simulated time has no calendar.
    force : bool

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    BadInput
        If a format is unknown, the run can't be read, or the folder holds something.
    RunFailed
        If a data set breaks a rule of `ranklsim.reports.cdisc.rules`: nothing is written then.
    """
    unknown = [name for name in formats if name not in FORMATS]
    if unknown:
        raise BadInput(*(f"unknown format '{name}'; give some of {', '.join(FORMATS)}." for name in unknown))
    target = Path(out)
    _check_target(target, force)
    run = storage.open_run(run_folder)
    folder = places.place(run_folder) / "agents"
    datasets = build(run, {name: load_agent(name, folder=folder) for name in run.trial.agent_names()}, first_day)
    faults = check(datasets)
    if faults:
        raise RunFailed(f"the data sets break rules of CDISC, nothing was written: {' '.join(faults)}")
    when = stamp(str(run.manifest["started"]))
    with new_folder(target) as work:
        for name, frame in datasets.items():
            path = work / name.lower()
            if "parquet" in formats:
                write_parquet(path.with_suffix(".parquet"), name, frame)
            if "xpt" in formats and len(frame):
                write_xpt(path.with_suffix(".xpt"), name, frame, when)
            if "json" in formats:
                write_json(path.with_suffix(".json"), name, frame, when, str(run.manifest["ranklsim"]))
        suffix = SUFFIXES["xpt" if "xpt" in formats else formats[0]]
        write_define(work / DEFINE, datasets, str(run.trial.title), when, suffix)
    return target


def _check_target(target: Path, force: bool) -> None:
    if target.exists() and not target.is_dir():
        raise BadInput(f"{target}: is a file; give a folder.")
    if not target.is_dir() or not any(target.iterdir()):
        return
    ours = {DEFINE} | {f"{name.lower()}{suffix}" for name in LABELS for suffix in SUFFIXES.values()}
    strange = sorted(path.name for path in target.iterdir() if path.name not in ours)
    if strange:
        raise BadInput(f"{target} holds something other than data sets ({strange[0]}); give an empty or a new folder.")
    if not force:
        raise BadInput(f"{target} holds earlier data sets; give another folder, or --force to replace them.")
