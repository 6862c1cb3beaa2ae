"""Folders of results: which may be written or replaced, what an interrupted analysis continues, and its records."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence, Set
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from ranklsim import __version__
from ranklsim.cohorts.protocol.trial import Trial
from ranklsim.pkpd.agents import Agent, to_toml
from ranklsim.pkpd.errors import BadInput
from ranklsim.pkpd.machine import unwritable
from ranklsim.pkpd.parameters import ParameterTable
from ranklsim.reports.layout.exhibit import csv_text

FINGERPRINT = "fingerprint"
"""Name of the file that records which input the result in a folder belongs to."""


def write_result(
    folder: Path, name: str, frames: Mapping[str, pd.DataFrame], facts: Mapping[str, Any], libraries: Sequence[str],
    command: str,
) -> None:  # fmt: skip
    """Write an analysis into `folder`: each frame as ``FRAME.csv``, and `facts` with every version as ``NAME.json``.

    Parameters
    ----------
    folder : Path
    name : str
        Of the JSON file, without its ending.
    frames : mapping of str to DataFrame
        By the name of the file, without its ending.
    facts : mapping
        What can be written as JSON.
    libraries : sequence of str
        Distributions whose versions are recorded.
    command : str
        What was typed.
    """
    for frame, table in frames.items():
        (folder / f"{frame}.csv").write_text(csv_text(table), encoding="utf-8", newline="")
    versions = {"ranklsim": __version__, "python": platform.python_version()}
    said = {**facts, "versions": versions | {library: version(library) for library in libraries}, "command": command}
    (folder / f"{name}.json").write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8", newline="")


def _refuse_foreign(folder: Path, files: Set[str]) -> None:
    """Refuse to replace a folder with a file that no result of ours has; `files` are those at its top level."""
    ours = {("tables", ".csv"), ("tables", ".parquet"), ("figures", ".svg"), ("rtf", ".rtf")}
    ours |= {("work", suffix) for suffix in (".parquet", ".json", ".csv", ".npz", ".part", ".tmp")}
    for path in sorted(folder.rglob("*")):
        place = path.relative_to(folder)
        if path.is_file() and place.as_posix() not in files and (place.parent.as_posix(), path.suffix) not in ours:
            raise BadInput(f"{path}: is no part of a report, and the folder is made anew; move it elsewhere first.")


def check_place(target: Path) -> None:
    """Refuse a folder that can't be made or written, before any work is done.

    Parameters
    ----------
    target : Path
        Folder of the result.

    Raises
    ------
    BadInput
        If a file is in its place or in that of a folder above it, or no file can be made there.
    """
    near = next(place for place in (target, *target.absolute().parents) if os.path.lexists(place))
    if not near.is_dir():
        own = near == target
        raise BadInput(f"{target}: {'' if own else f'{near} '}is a file; give {'a folder' if own else 'another path'}.")
    if why := unwritable(near):
        raise BadInput(f"{target}: {why}; give another path.")


def _holds_something(target: Path) -> bool:
    """Whether a folder is there and not empty; refused if it can't be made or written."""
    check_place(target)
    return target.is_dir() and any(not path.name.endswith(".tmp") for path in target.iterdir())


def check_folder(
    target: Path, mark: str, files: Set[str], force: bool, *, index: str = "index.html", noun: str = "a report"
) -> None:
    """Refuse a folder that holds something, unless it is an earlier result of ours and `force` is given.

    Parameters
    ----------
    target : Path
        Folder of the result.
    mark : str
        Text within the first 2000 characters of `index` by which a result of ours is known.
    files : set of str
        Files that such a folder has beside ``tables/``, ``figures/`` and ``rtf/``.
    force : bool
        Whether an earlier result may be replaced.
    index, noun : str
        Name of its main file, and what it is in words.

    Raises
    ------
    BadInput
        If it can't be made, holds something, or is no folder.
    """
    if _holds_something(target):
        main = target / index
        if not main.is_file() or mark not in main.read_text("utf-8", errors="replace")[:2000]:
            raise BadInput(f"{target} holds something other than {noun}; give an empty or a new folder.")
        if not force:
            raise BadInput(f"{target} holds an earlier result; give another folder, or --force to replace it.")
        _refuse_foreign(target, files)


def fingerprint(trial: Trial, parameters: ParameterTable, agents: Sequence[Agent], *more: str) -> str:
    """Hash (hexadecimal) of what an analysis of a trial depends on: work that has it can be continued.

    Parameters
    ----------
    trial : Trial
        With the files of its population.
    parameters : ParameterTable
        All values.
    agents : sequence of Agent
        Those of the trial.
    *more : str
        The options of the analysis, as text.
    """
    files = [content.decode(errors="surrogateescape") for _, content in sorted(trial.population_files.items())]
    parts = [__version__, trial.to_toml(), parameters.to_csv(), *files, *map(to_toml, agents), *more]
    return hashlib.blake2b("\0".join(parts).encode(errors="surrogateescape"), digest_size=8).hexdigest()


def work_folder(
    out: Path, verb: str, identity: str, fingerprint: str, resume: bool, force: bool, files: Set[str]
) -> Path:
    """Make the folder for completed work inside `out`. An earlier `out` is continued or replaced.

    Parameters
    ----------
    out : Path
        Folder of the result.
    verb : str
        What writes it, such as "fit"; folders of another verb are not touched.
    identity : str
        What a result must have in common with one that goes on, in words.
    fingerprint : str
        The same as a hash.
    resume, force : bool
        Whether to go on with what is there, or to replace it.
    files : set of str
        Files that such a folder may hold beside its own folders.

    Raises
    ------
    BadInput
        If `out` holds something that may not be touched.
    """
    mark, work, ours = out / FINGERPRINT, out / "work", f"ranklsim {verb} "
    noun = "fit" if verb == "fit" else "analysis"
    a = "a" if verb == "fit" else "an"
    if _holds_something(out):
        kept = mark.read_text(encoding="utf-8", errors="replace").strip() if mark.is_file() else ""
        if not kept.startswith(ours):
            raise BadInput(f"{out} holds something other than {a} {noun}; give an empty or a new folder.")
        if not force and (out / "index.html").is_file() and not work.exists():
            raise BadInput(f"{out} holds a finished {noun}; give another folder, or --force to replace it.")
        if not (resume or force):
            raise BadInput(
                f"{out} holds {a} {noun}; give another folder, --resume to continue, or --force to replace it."
            )
        if resume and kept != ours + fingerprint:
            raise BadInput(
                f"{out} holds another {noun} ({identity} differ); give another folder, or --force to replace it."
            )
        if force:
            _refuse_foreign(out, {FINGERPRINT, "index.html"} | files)
            shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    temporary = mark.with_name(f"{FINGERPRINT}.tmp")
    temporary.write_text(ours + fingerprint + "\n", encoding="utf-8", newline="")
    os.replace(temporary, mark)  # whole before there is work, so that an interruption at any moment can be continued
    work.mkdir(exist_ok=True)
    return work


@contextlib.contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A temporary folder. It replaces `target` when everything is written, and is removed if something fails.

    Parameters
    ----------
    target : Path
        The folder to write or to replace.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".ranklsim-", dir=target.parent))
    try:
        yield work
        work.chmod(0o755)
        if target.exists():
            shutil.rmtree(target)
        os.replace(work, target)
    finally:
        shutil.rmtree(work, ignore_errors=True)
