"""Run a trial: draw, randomise, simulate and observe its patients in portions, and write down all of it.

Patients are worked off in portions of a fixed size, by number. A finished portion is on disk with its hashes, so an
interrupted run goes on where it stopped and ends with the same bytes; the number of workers changes nothing but time.
Everything that can be wrong with the input is found before the output folder is touched.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import platform
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256 as hash_of
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

import ranklsim
from ranklsim.cohorts import storage, uncertainty
from ranklsim.cohorts.population import POPULATIONS, typical
from ranklsim.cohorts.portion import portion, refuse_nan
from ranklsim.cohorts.storage import CHUNKS, MANIFEST, TABLES, Run
from ranklsim.cohorts.trial import Trial, load_trial
from ranklsim.pkpd.agents import Agent, load_agent
from ranklsim.pkpd.agents import to_toml as agent_text
from ranklsim.pkpd.errors import BadInput, RanklsimError
from ranklsim.pkpd.parameters import ParameterTable, load_parameters

PORTION = 500
"""Patients simulated and written at a time."""

RTOL = 1e-5
"""Error allowed a step, relative; bone stays within 0.0001 percentage points of the reference (docs/engine.md)."""

Progress = Callable[[int, int], object]

_LIBRARIES = ("numpy", "scipy", "numba", "pandas", "pyarrow")
_ENSEMBLE = "ensemble"
_OF_ENSEMBLE = ("uncertainty", "uncertainty_draws", "variants")


class Interrupted(RanklsimError):
    """A run that was stopped from outside and can be resumed."""

    exit_code = 130


@dataclass(frozen=True)
class _Plan:
    """A run as decided before anything is written."""

    trial: Trial
    parameters: ParameterTable
    agents: list[Agent]
    frozen: dict[str, bytes]  # files of the run folder that hold the inputs
    identity: dict[str, Any]  # what a resumed run must have in common
    draws: pd.DataFrame  # parameter vectors, as from `uncertainty.draws_of`
    draws_from: str

    @property
    def rtol(self) -> float:
        """Error allowed the integrator a step."""
        return float(self.identity["rtol"])

    @property
    def portions(self) -> list[np.ndarray]:
        """Patient numbers, from 1, of each portion."""
        number = np.arange(1, self.trial.population.patients + 1, dtype=np.int64)
        return [number[first : first + PORTION] for first in range(0, number.size, PORTION)]


def run(
    trial: Trial | str | Path,
    out: str | Path | None = None,
    *,
    patients: int | None = None,
    seed: int | None = None,
    workers: int | None = 1,
    layers: Mapping[str, bool] | Sequence[str] | None = None,
    parameters: ParameterTable | str | Path | None = None,
    rtol: float = RTOL,
    resume: bool = False,
    force: bool = False,
    progress: Progress | None = None,
    tell: Callable[[str], None] | None = None,
    command: str | None = None,
) -> Run:
    """Run a trial and write its run folder.

    Parameters
    ----------
    trial : Trial, str or Path
        A trial, the name of a shipped one, or the path of its file.
    out : path, optional
        Folder of the run; it must be empty or new, or hold this run (`resume`) or an older one (`force`).
        ``runs/NAME`` by default.
    patients, seed : int, optional
        Instead of the trial's; 0 is a seed.
    workers : int, optional
        Threads; all processors if None. No result depends on it.
    layers : mapping or sequence of str, optional
        Sources of variation: a mapping switches those that it names, a sequence names all that are on.
    parameters : ParameterTable or path, optional
        The shipped table by default.
    rtol : float
        Error allowed the integrator a step, relative; 1e-12 to 0.001.
    resume : bool
        Go on with this run if the folder holds it unfinished; start it if the folder is empty.
    force : bool
        Replace a run that the folder holds.
    progress : callable, optional
        Called with (done, total), in simulated persons: the patients, and the typical patient's ensemble.
    tell : callable, optional
        Called with a sentence when something slow begins.
    command : str, optional
        What the user typed, for the manifest.

    Returns
    -------
    Run
        The finished run, opened.

    Raises
    ------
    BadInput
        If the input is wrong, or the folder holds something else.
    RunFailed
        If a patient cannot be integrated, or the disk is full; `resume` goes on.
    Interrupted
        If it was stopped by the keyboard; `resume` goes on.
    """
    started = time.monotonic()
    if resume and force:
        raise BadInput("resume and force exclude each other: go on with the run in the folder, or replace it.")
    if workers is not None and workers < 1:
        raise BadInput(f"workers = {workers} is not positive; give 1 or more.")
    if not 1e-12 <= rtol <= 1e-3:
        raise BadInput(f"rtol = {rtol:g} is no useful tolerance; give 1e-12 to 0.001.")
    if workers is None:
        workers = processors()
    folder: Path | None = None
    state = _State(0, 0)
    try:
        plan = _prepare(trial, patients, seed, layers, parameters, rtol)
        folder = Path("runs") / plan.trial.name if out is None else Path(out)
        before = _look_at(folder, plan, resume, force)
        if before is not None and before["complete"] is True:
            finished = storage.open_run(folder)
            _remove_chunks(folder)
            if progress:
                progress(plan.trial.population.patients, plan.trial.population.patients)
            return finished
        manifest = _begin(folder, plan, before, command)
        _work(folder, plan, workers, progress, tell, state)
        return _finish(folder, plan, manifest, time.monotonic() - started)
    except KeyboardInterrupt:
        if folder is None or not (folder / MANIFEST).is_file():
            raise Interrupted("interrupted before the first patient; nothing was written.") from None
        raise Interrupted(
            f"{folder}: interrupted after {state.patients} of {state.total} patients; go on with --resume."
        ) from None


@dataclass
class _State:
    """How far a run has come: patients whose portion is written, of how many."""

    patients: int
    total: int


def processors() -> int:
    import os

    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on this system
        return os.cpu_count() or 1


# -- before anything is written ----------------------------------------------------------------------------------------


def _prepare(
    trial: Trial | str | Path,
    patients: int | None,
    seed: int | None,
    layers: Mapping[str, bool] | Sequence[str] | None,
    parameters: ParameterTable | str | Path | None,
    rtol: float,
) -> _Plan:
    """Read and check all of the input."""
    trial = trial if isinstance(trial, Trial) else load_trial(trial)
    if layers is not None and not isinstance(layers, Mapping):
        unknown = [name for name in layers if name not in vars(trial.layers)]
        layers = dict.fromkeys(vars(trial.layers), False) | dict.fromkeys(layers, True)
        if unknown:
            raise BadInput(f"unknown layer '{unknown[0]}'; there are {', '.join(vars(trial.layers))}.")
    trial = trial.with_overrides(patients=patients, seed=seed, layers=layers)
    table = parameters if isinstance(parameters, ParameterTable) else load_parameters(parameters)
    agents = [table.apply(load_agent(name, folder=trial.folder)) for name in trial.agent_names()]
    typical(trial, table)  # refuses criteria that hardly anyone fulfils
    frozen = {
        "trial.toml": trial.to_toml().encode(),
        "population.toml": (POPULATIONS / f"{trial.population.name}.toml").read_bytes(),
        "parameters.csv": table.to_csv().encode(),
    } | {f"agents/{agent.name}.toml": agent_text(agent).encode() for agent in agents}
    identity = {
        "trial": trial.name,
        "seed": trial.seed,
        "patients": trial.population.patients,
        "layers": dict(vars(trial.layers)),
        "rtol": rtol,
        "inputs": {name: hash_of(content).hexdigest() for name, content in frozen.items()},
        "ranklsim": ranklsim.__version__,
        "libraries": {name: importlib.metadata.version(name) for name in _LIBRARIES},
        "portion": PORTION,
    }
    return _Plan(trial, table, agents, frozen, identity, *uncertainty.draws_of(trial, table, agents))


def _look_at(folder: Path, plan: _Plan, resume: bool, force: bool) -> dict[str, Any] | None:
    """Refuse a folder that must not be written to; return the manifest of a run that is to be resumed."""
    if not folder.exists():
        return None
    if not folder.is_dir():
        raise BadInput(f"{folder}: is a file, not a folder; give another folder.")
    with storage.explained(folder):
        held = sorted(path.name for path in folder.iterdir() if not path.name.endswith(".tmp"))
    if not held:
        return None
    if MANIFEST not in held:
        raise BadInput(f"{folder}: holds files that are no run of ranklsim ({held[0]}); give an empty or new folder.")
    if force:
        if not storage.was_ours(folder):
            raise BadInput(f"{folder}: its {MANIFEST} is not that of a run of ranklsim; give an empty or new folder.")
        return None
    old = storage.read_manifest(folder)
    finished = old["complete"] is True
    if not resume:
        what = "a finished run" if finished else "an unfinished run"
        way = "give another folder, or replace it with --force"
        way = way if finished else f"go on with --resume, {way}"
        raise BadInput(f"{folder}: holds {what} of '{old['trial']}' ({old['patients']} patients); {way}.")
    difference = _difference(old, plan.identity)
    if difference:
        raise BadInput(
            f"{folder}: holds another run: {difference}; give what it was started with, or start again with --force."
        )
    return old


def _difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str | None:
    """First thing in which two runs differ, in words."""
    for key, name in (("trial", "trial"), ("seed", "seed"), ("patients", "patients"), ("layers", "layers"),
                      ("rtol", "rtol")):  # fmt: skip
        if old.get(key) != new[key]:
            return f"its {name} is {_shown(old.get(key))}, not {_shown(new[key])}"
    for file in sorted({*old.get("inputs", {}), *new["inputs"]}):
        if old.get("inputs", {}).get(file) != new["inputs"].get(file):
            return f"its {file} has another content"
    if old.get("ranklsim") != new["ranklsim"]:
        return f"it was started with ranklsim {old.get('ranklsim')}, this is {new['ranklsim']}"
    for library, version in new["libraries"].items():
        if (was := old.get("libraries", {}).get(library)) != version:
            return f"it was started with {library} {was}, this is {version}"
    return None if old.get("portion") == new["portion"] else "it has portions of another size"


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "+".join(name for name, on in value.items() if on) or "none"
    return f"'{value}'" if isinstance(value, str) else str(value)


# -- the run -----------------------------------------------------------------------------------------------------------


def _begin(folder: Path, plan: _Plan, before: dict[str, Any] | None, command: str | None) -> dict[str, Any]:
    """Make the folder ready: manifest (unfinished), frozen inputs; an older run is removed."""
    with storage.explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    if before is not None:
        for leftover in folder.glob("**/.*.tmp"):
            leftover.unlink()
        storage.write_json(folder / MANIFEST, before | {"resumed": before["resumed"] + 1})
        return before | {"resumed": before["resumed"] + 1}
    manifest = {
        "format": storage.FORMAT,
        "complete": False,
        "simulated": "All data of this folder are simulated; no patient took part.",
        **plan.identity,
        "title": plan.trial.title,
        "variability": _variability(plan.trial),
        "draws": plan.draws_from,
        "parameters_hash": plan.parameters.hash,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "command": command or f"ranklsim.cohorts.run({plan.trial.name!r})",
        "started": _now(),
        "resumed": 0,
    }
    storage.write_json(folder / MANIFEST, manifest)  # from here on an older run in the folder is no longer complete
    with storage.explained(folder):
        for name in ("report", "agents", CHUNKS):
            if (folder / name).is_dir():
                shutil.rmtree(folder / name)
        for table in TABLES:
            (folder / f"{table}.parquet").unlink(missing_ok=True)
        for name in ("agents", CHUNKS):
            (folder / name).mkdir()
    for name, content in plan.frozen.items():
        storage.write_bytes(folder / name, content)
    return manifest


def _variability(trial: Trial) -> str:
    """The layers that are on, as a sentence."""
    layers = trial.layers
    people = "patients differ" if layers.patients else "every patient is the trial's typical patient"
    residual = "measurements carry assay and precision error" if layers.residual else "measurements have no error"
    unknown = "unknown parameters are drawn" if layers.parameters else "parameters have their default values"
    return f"{people}; {residual}; {unknown} in the uncertainty tables."


def _work(
    folder: Path,
    plan: _Plan,
    workers: int,
    progress: Progress | None,
    tell: Callable[[str], None] | None,
    state: _State,
) -> None:
    """Simulate and write every portion that is not there yet."""
    chunks = folder / CHUNKS
    with storage.explained(chunks):
        chunks.mkdir(exist_ok=True)
    draws = plan.draws
    total = plan.trial.population.patients + len(draws) * len(plan.trial.arms)
    state.total = plan.trial.population.patients
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        if progress:
            progress(done, total)

    if progress:
        progress(0, total)
    enrolled: dict[str, int] = {}
    for k, number in enumerate(plan.portions):
        piece = f"{k:06d}"
        note = _finished(chunks, piece)
        if note is None:
            made = portion(plan.trial, plan.parameters, plan.agents, number, enrolled, rtol=plan.rtol, workers=workers,
                           progress=advance, tell=tell)  # fmt: skip
            enrolled = made.enrolled
            _write_piece(chunks, piece, made.tables, {"enrolled": enrolled, "retried": made.retried})
        else:
            enrolled = note["enrolled"]
            advance(number.size)
        state.patients += number.size
    if _finished(chunks, _ENSEMBLE) is None:
        frame = uncertainty.ensemble(plan.trial, plan.parameters, plan.agents, draws, workers=workers, progress=advance,
                                     rtol=plan.rtol)  # fmt: skip
        values = [name for name in frame.columns if name not in ("draw", "arm", "month")]
        refuse_nan({name: frame[name].to_numpy()[:, None] for name in values}, frame["draw"].to_numpy(), "draw")
        other = uncertainty.by_variant(plan.trial, plan.parameters, plan.agents, workers=workers, rtol=plan.rtol)
        tables = {
            "uncertainty": storage.to_arrow(frame, values),
            "uncertainty_draws": storage.to_arrow(draws),
            "variants": storage.to_arrow(other, values),
        }
        _write_piece(chunks, _ENSEMBLE, tables, {})
    else:
        advance(len(draws) * len(plan.trial.arms))


# -- portions on disk --------------------------------------------------------------------------------------------------


def _write_piece(chunks: Path, piece: str, tables: Mapping[str, pa.Table], note: Mapping[str, Any]) -> None:
    """Write a portion's tables, and last the note that they are whole."""
    hashes = {}
    for table, content in tables.items():
        path = chunks / f"{piece}-{table}.parquet"
        storage.write_table(path, [content])
        hashes[path.name] = storage.sha256(path)
    storage.write_json(chunks / f"{piece}.json", {"files": hashes, **note})


def _finished(chunks: Path, piece: str) -> dict[str, Any] | None:
    """The note of a portion that is whole on disk; None if it has to be simulated (again)."""
    try:
        note = json.loads((chunks / f"{piece}.json").read_text(encoding="utf-8"))
        whole = all(storage.sha256(chunks / name) == known for name, known in note["files"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return note if whole else None


def _finish(folder: Path, plan: _Plan, manifest: dict[str, Any], seconds: float) -> Run:
    """Join the portions, hash every file, and only then call the run complete."""
    chunks = folder / CHUNKS
    pieces = [f"{k:06d}" for k in range(len(plan.portions))]
    rows = {}
    for table in TABLES:
        parts = [_ENSEMBLE] if table in _OF_ENSEMBLE else pieces
        rows[table] = storage.write_table(folder / f"{table}.parquet", _parts(chunks, parts, table))
    files = {}
    with storage.explained(folder):
        for name in [*plan.frozen, *(f"{table}.parquet" for table in TABLES)]:
            path = folder / name
            files[name] = {"sha256": storage.sha256(path), "bytes": path.stat().st_size}
            if (table := path.stem) in rows:
                files[name]["rows"] = rows[table]
    manifest = manifest | {
        "files": files,
        "counts": _counts(folder, plan) | {"integrated_by_reference": _retried(chunks, pieces)},
        "finished": _now(),
        "seconds": round(seconds, 1),
    }
    manifest["complete"] = True
    manifest["checksum"] = storage.checksum(manifest)
    storage.write_json(folder / MANIFEST, manifest)
    _remove_chunks(folder)
    return Run(folder, manifest)


def _parts(chunks: Path, pieces: list[str], table: str) -> Iterator[pa.Table]:
    for piece in pieces:
        yield pq.read_table(chunks / f"{piece}-{table}.parquet")


def _retried(chunks: Path, pieces: list[str]) -> int:
    """Patients whom the engine could not integrate and the reference integrator did."""
    notes = (json.loads((chunks / f"{piece}.json").read_text(encoding="utf-8")) for piece in pieces)
    return sum(len(note["retried"]) for note in notes)


def _counts(folder: Path, plan: _Plan) -> dict[str, Any]:
    """Patients by arm, those who dropped out, and doses given."""
    people = pq.read_table(folder / "patients.parquet", columns=["arm", "last_month"]).to_pandas()
    left = people["last_month"] < plan.trial.months
    given = pq.read_table(folder / "doses.parquet", columns=["given"]).column("given").to_numpy()
    return {
        "patients": {arm.name: int((people["arm"] == arm.name).sum()) for arm in plan.trial.arms},
        "dropouts": {arm.name: int((left & (people["arm"] == arm.name)).sum()) for arm in plan.trial.arms},
        "doses_planned": int(given.size),
        "doses_given": int(given.sum()),
    }


def _remove_chunks(folder: Path) -> None:
    with contextlib.suppress(OSError):  # they are of no use any more, and in nobody's way
        shutil.rmtree(folder / CHUNKS)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
