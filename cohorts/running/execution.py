"""Run a trial: draw, randomise, simulate and observe its patients in portions, and write the result.

Portions are tasks (`pieces`) that a scheduler (`scheduler`) runs in threads or on other machines. A finished portion is
on disk with its hashes, so an interrupted run can continue and ends with the same bytes. Neither the size of a portion
nor the machine that ran it changes a result. All input is checked before the output folder is touched.
"""

from __future__ import annotations

import contextlib
import json
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256 as hash_of
from pathlib import Path
from threading import Lock
from typing import Any

import pandas as pd

from ranklsim.cohorts import uncertainty
from ranklsim.cohorts.conduct.patients import typical, with_population
from ranklsim.cohorts.protocol.trial import TRIAL_LIKE, Trial, TrialLike, load_trial
from ranklsim.cohorts.running import pieces, places, storage, twins
from ranklsim.cohorts.running.pieces import Job, Note, Task
from ranklsim.cohorts.running.scheduler import LIBRARIES, Scheduler, versions
from ranklsim.cohorts.running.scheduler import chosen as choose
from ranklsim.cohorts.running.storage import CHUNKS, MANIFEST, TABLES, TWIN_TABLES, Run
from ranklsim.pkpd import arguments
from ranklsim.pkpd.agents import Agent
from ranklsim.pkpd.agents import to_toml as agent_text
from ranklsim.pkpd.errors import BadInput, RanklsimError
from ranklsim.pkpd.machine import processors
from ranklsim.pkpd.parameters import PARAMETERS, ParametersLike, ParameterTable, load_parameters

PORTION, LEAST = 5000, 500
"""Patients of a portion: at most, and at least where there are as many workers as portions."""

ROWS = 100_000
"""Visits of a portion, at most: what a task holds in memory."""

RTOL = 1e-5
"""Error allowed a step, relative; bone stays within 0.0001 percentage points of the reference (docs/engine.md)."""

Progress = Callable[[int, int], object]


class Interrupted(RanklsimError):
    """A run that was stopped from outside and can be resumed."""

    exit_code = 130


@dataclass(frozen=True)
class Prepared:
    """A run as decided before anything is written."""

    trial: Trial
    parameters: ParameterTable
    agents: list[Agent]
    frozen: dict[str, bytes]  # files of the run folder that hold the inputs
    identity: dict[str, Any]  # what a resumed run must have in common
    draws: pd.DataFrame  # parameter vectors, as from `uncertainty.draws_of`
    draws_from: str

    @property
    def run(self) -> str:
        """Hash of what a resumed run must have in common."""
        return hash_of(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()

    def job(self, folder: Path, size: int) -> Job:
        """The job of its tasks, for portions of this size."""
        versions = {"ranklsim": self.identity["ranklsim"], **self.identity["libraries"]}
        rtol = float(self.identity["rtol"])
        return Job(folder, self.run, versions, self.trial, self.parameters, self.agents, rtol, size)


def _cluster(value: Any) -> Any:
    """Address of a Dask cluster, a client, or a `scheduler.Scheduler`."""
    if isinstance(value, str):
        return arguments.text(value)
    if not any(callable(getattr(value, name, None)) for name in ("submit", "perform")):
        raise arguments.Wrong('is no cluster; give its address, such as "tcp://host:8786", or a distributed.Client.')
    return value


@arguments.checked(
    trial=TRIAL_LIKE,
    out=arguments.path,
    patients=arguments.PATIENTS,
    seed=arguments.SEED,
    workers=arguments.WORKERS,
    layers=arguments.layers,
    parameters=PARAMETERS,
    rtol=arguments.number(1e-12, 1e-3),
    resume=arguments.flag,
    force=arguments.flag,
    scheduler=_cluster,
    progress=arguments.callback,
    tell=arguments.callback,
    command=arguments.COMMAND,
)
def run(
    trial: TrialLike,
    out: str | Path | None = None,
    *,
    patients: int | None = None,
    seed: int | None = None,
    workers: int | None = None,
    layers: Mapping[str, bool] | Sequence[str] | None = None,
    parameters: ParametersLike = None,
    rtol: float = RTOL,
    resume: bool = False,
    force: bool = False,
    scheduler: Any = None,
    progress: Progress | None = None,
    tell: Callable[[str], None] | None = None,
    command: str | None = None,
) -> Run:
    """Run a trial and write its run folder.

    Parameters
    ----------
    trial : str, path, mapping or Trial
        The name of a trial that ships, a TOML file, or the keys of such a file (`trials("modality")` gives those of
        one that ships). In a mapping, an `Agent` may stand for an agent's name, and a data frame of patients for the
        name of the population.
    out : path or URL, optional
        Folder of the run; it must be empty or new, or hold this run (`resume`) or an older one (`force`).
        ``runs/NAME`` by default. A URL is one that fsspec knows, such as ``s3://bucket/run``.
    patients, seed : int, optional
        Instead of the trial's; 0 is a seed.
    workers : int, optional
        Threads; all processors of this machine by default. No result depends on it.
    layers : mapping or sequence of str, optional
        Sources of variation: a mapping switches those that it names, a sequence names all that are on.
    parameters : ParameterTable or path, optional
        Parameter values other than the shipped ones (CSV with symbol and value).
    rtol : float
        Error allowed the integrator a step, relative; 1e-12 to 0.001.
    resume : bool
        Go on with this run if the folder holds it unfinished; start it if the folder is empty.
    force : bool
        Replace a run that the folder holds.
    scheduler : str or distributed.Client, optional
        Dask cluster that does the work instead of `workers`, by address (``tcp://host:8786``) or client. Its workers
        write to `out`, which they must see under the same name. No result depends on it.
    progress : callable, optional
        Called with (done, total), in simulated persons: the patients, their twins, and the typical patient's ensemble.
    tell : callable, optional
        Called with a sentence when something slow begins, and with what a resumed run found.
    command : str, optional
        What the user typed, for the manifest.

    Returns
    -------
    Run
        The finished run, opened: its tables are data frames, ``patients``, ``visits``, ``doses``, ``events``.

    Raises
    ------
    BadInput
        If the input is wrong, or the folder holds something else or is being written by another process.
    RunFailed
        If a patient cannot be integrated, or the disk is full; `resume` goes on.
    Interrupted
        If it was stopped by the keyboard; `resume` goes on.
    """
    started = time.monotonic()
    if resume and force:
        raise BadInput("resume and force exclude each other: continue the run in the folder, or replace it.")
    folder: Path | None = None
    state = _State(0, 0)
    try:
        plan = prepare(trial, patients, seed, layers, parameters, rtol)
        folder = places.place(Path("runs") / plan.trial.name if out is None else out)
        before = _look_at(folder, plan, resume, force)
        if resume and before is None and tell:
            tell(f"{folder}: holds no run to continue; a new run starts.")
        if before is not None and before["complete"] is True:
            finished = storage.open_run(folder)
            _remove_chunks(folder)
            if progress:
                progress(plan.trial.population.patients, plan.trial.population.patients)
            return finished
        with choose(scheduler, processors() if workers is None else workers) as who, places.held(folder):
            manifest = _begin(folder, plan, before, command, _portion_size(plan.trial, who.slots))
            job = plan.job(folder, manifest["portion"])
            state.job = job
            names, notes = _work(job, plan, who, progress, tell, state, manifest)
            return _finish(job, plan, manifest, names, notes, time.monotonic() - started)
    except KeyboardInterrupt:
        if folder is None or not (folder / MANIFEST).is_file():
            raise Interrupted("interrupted before the first patient; nothing was written.") from None
        raise Interrupted(
            f"{folder}: interrupted after {state.written()} of {state.total} patients; continue with --resume."
        ) from None


@dataclass
class _State:
    """Progress of a run: patients in written portions, and patients in all."""

    patients: int
    total: int
    job: Job | None = None

    def written(self) -> int:
        """Patients whose portion is written, also of those that had not been heard of when the run was stopped."""
        if self.job is None:
            return self.patients
        chunks, there = self.job.chunks, range(self.job.portions)
        noted = sum(self.job.number(k).size for k in there if (chunks / f"{k:06d}.json").is_file())
        return max(self.patients, noted)


# -- before anything is written ----------------------------------------------------------------------------------------


def prepare(
    trial: TrialLike,
    patients: int | None,
    seed: int | None,
    layers: Mapping[str, bool] | Sequence[str] | None,
    parameters: ParametersLike,
    rtol: float = RTOL,
) -> Prepared:
    """Read and check all of the input of a run.

    Parameters
    ----------
    trial, patients, seed, layers, parameters, rtol
        As of `run`.

    Raises
    ------
    BadInput
        If something in it is wrong.
    """
    trial = load_trial(trial)
    if layers is not None and not isinstance(layers, Mapping):
        unknown = [name for name in layers if name not in vars(trial.layers)]
        layers = dict.fromkeys(vars(trial.layers), False) | dict.fromkeys(layers, True)
        if unknown:
            raise BadInput(f"unknown layer '{unknown[0]}'; there are {', '.join(vars(trial.layers))}.")
    trial = trial.with_overrides(patients=patients, seed=seed, layers=layers)
    table = load_parameters(parameters, folder=trial.folder)
    agents = trial.load_agents(table)
    trial = with_population(trial)
    typical(trial, table)  # refuses criteria that hardly anyone fulfils
    frozen = {
        "trial.toml": trial.to_toml().encode(),
        "parameters.csv": table.to_csv().encode(),
        **{f"population/{name}": content for name, content in trial.population_files.items()},
        **{f"agents/{agent.name}.toml": agent_text(agent).encode() for agent in agents},
    }
    identity = {
        "trial": trial.name,
        "seed": trial.seed,
        "patients": trial.population.patients,
        "layers": dict(vars(trial.layers)),
        "rtol": rtol,
        "inputs": {name: hash_of(content).hexdigest() for name, content in frozen.items()},
        "ranklsim": versions()["ranklsim"],
        "libraries": {name: versions()[name] for name in LIBRARIES},
    }
    return Prepared(trial, table, agents, frozen, identity, *uncertainty.draws_of(trial, table, agents))


def _look_at(folder: Path, plan: Prepared, resume: bool, force: bool) -> dict[str, Any] | None:
    """Refuse a folder that must not be written to; return the manifest of a run that is to be resumed.

    A damaged manifest beside portions of this run is no reason to lose them: what is returned then is an empty one.
    """
    if not folder.exists():
        return None
    if not folder.is_dir():
        raise BadInput(f"{folder}: is a file, not a folder; give another folder.")
    with places.explained(folder):
        held = sorted(path.name for path in folder.iterdir() if not path.name.endswith(".tmp"))
    if not held:
        return None
    if resume and pieces.size_of(folder / CHUNKS, plan.run) is not None and not storage.is_readable(folder):
        return {"complete": False, "resumed": 0, "damaged": True}
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
        way = way if finished else f"continue with --resume, {way}"
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
        if old.get(key) != new[key] and key == "patients":
            return f"it has {old.get(key)} patients, not {new[key]}"
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
    return None


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "+".join(name for name, on in value.items() if on) or "none"
    return f"'{value}'" if isinstance(value, str) else str(value)


# -- the run -----------------------------------------------------------------------------------------------------------


def _portion_size(trial: Trial, slots: int) -> int:
    """Patients a portion: two portions for each of `slots`, within the bounds above."""
    most = max(1, min(PORTION, ROWS // len(trial.visits.months)))
    return max(min(LEAST, most), min(most, -(-trial.population.patients // (2 * slots))))


def _begin(
    folder: Path, plan: Prepared, before: dict[str, Any] | None, command: str | None, size: int
) -> dict[str, Any]:
    """Make the folder ready: manifest (unfinished), frozen inputs; an older run is removed."""
    places.make_folder(folder)
    manifest = {
        "format": storage.FORMAT,
        "complete": False,
        "simulated": "All data of this folder are simulated; no patient took part.",
        **plan.identity,
        "run": plan.run,
        "portion": size,
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
    if before is not None:
        size = before.get("portion") or pieces.size_of(folder / CHUNKS, plan.run) or size
        manifest |= before | {"portion": size, "resumed": before["resumed"] + 1}
    said = {key: value for key, value in manifest.items() if key != "damaged"}
    places.write_json(folder / MANIFEST, said)  # from here on an older run in the folder is no longer complete
    with places.explained(folder):
        if before is None:
            for name in ("report", "agents", "population", CHUNKS):
                places.remove_folder(folder / name)
            for table in (*TABLES, *TWIN_TABLES):
                (folder / f"{table}.parquet").unlink(missing_ok=True)
        else:
            for leftover in [*folder.glob(".*.tmp"), *folder.glob("*/.*.tmp")]:
                leftover.unlink()
    for name in ("agents", "population", CHUNKS):
        places.make_folder(folder / name)
    for name, content in plan.frozen.items():
        places.write_bytes(folder / name, content)
    return manifest


def _variability(trial: Trial) -> str:
    """The layers that are on, as a sentence."""
    layers = trial.layers
    people = "patients differ" if layers.patients else "every patient is the trial's typical patient"
    residual = "measurements carry assay and precision error" if layers.residual else "measurements have no error"
    unknown = "unknown parameters are drawn" if layers.parameters else "parameters have their default values"
    return f"{people}; {residual}; {unknown} in the uncertainty tables."


def _work(
    job: Job,
    plan: Prepared,
    who: Scheduler,
    progress: Progress | None,
    tell: Callable[[str], None] | None,
    state: _State,
    manifest: dict[str, Any],
) -> tuple[list[str], dict[str, Note]]:
    """Have every task done that is not done yet; names of the portions in order, and the notes of all tasks."""
    ensemble = pieces.ensemble_task(job, plan.draws)
    state.total = job.trial.population.patients
    more = sum(twins.persons(job.trial, job.number(k)) for k in range(job.portions))
    total, done, lock = state.total + more + ensemble.persons, 0, Lock()

    def advance(count: int) -> None:
        nonlocal done
        with lock:
            done += count
            if progress:
                progress(done, total)

    found = _found(job) if manifest["resumed"] else {}
    if manifest["resumed"]:
        manifest["recovered"] = _recovered(job, found, "damaged" in manifest)
        manifest.pop("damaged", None)
        if tell:
            tell(f"{job.folder}: {manifest['recovered']}")
    notes: dict[str, Note] = {}

    def have_done(tasks: list[Task]) -> None:
        waiting = []
        for task in tasks:
            if note := found.get(task.name, (None, False))[0]:
                notes[task.name] = note
                state.patients += task.patients
                advance(task.persons)
            else:
                waiting.append(task)
        for task, note in who.perform(job, waiting, advance, tell):
            notes[task.name] = note
            state.patients += task.patients

    if progress:
        progress(0, total)
    first = pieces.draw_tasks(job)
    have_done(first)
    tasks = pieces.portion_tasks(job, [notes[task.name] for task in first])
    have_done([*tasks, ensemble])
    return [task.name for task in tasks], notes


def _found(job: Job) -> dict[str, tuple[Note | None, bool]]:
    """State of each task after an interruption; see `pieces.look_at`."""
    names = [f"{kind}{k:06d}" for kind in ("people-", "") for k in range(job.portions)]
    return {name: pieces.look_at(job, name) for name in [*names, "ensemble"]}


def _recovered(job: Job, found: Mapping[str, tuple[Note | None, bool]], manifest_damaged: bool) -> str:
    """A sentence about the portions that a resumed run found."""
    portions = [found[f"{k:06d}"] for k in range(job.portions)]
    complete = sum(note is not None for note, _ in portions)
    damaged = sum(note is None and there for note, there in portions)
    text = f"{complete} of {job.portions} portions {'was' if complete == 1 else 'were'} complete"
    if damaged:
        text += (
            f", {damaged} {'was' if damaged == 1 else 'were'} damaged and {'is' if damaged == 1 else 'are'} repeated"
        )
    return text + ("; the manifest was damaged and is written again." if manifest_damaged else ".")


# -- the end -----------------------------------------------------------------------------------------------------------


def _finish(
    job: Job, plan: Prepared, manifest: dict[str, Any], names: list[str], notes: Mapping[str, Note], seconds: float
) -> Run:
    """Join the portions, hash every file, and only then call the run complete."""
    folder = job.folder
    files: dict[str, Any] = {}
    for name, content in plan.frozen.items():
        files[name] = {"sha256": hash_of(content).hexdigest(), "bytes": len(content)}
    for table in storage.tables_of(job.trial):
        written = storage.write_table(folder / f"{table}.parquet", pieces.parts(job, table, names, notes))
        files[f"{table}.parquet"] = written._asdict()
    manifest = manifest | {
        "files": files,
        "counts": _sum([notes[name]["counts"] for name in names])
        | {"integrated_by_reference": sum(len(notes[name]["retried"]) for name in names)},
        "finished": _now(),
        "seconds": round(seconds, 1),
    }
    manifest["complete"] = True
    manifest["checksum"] = storage.checksum(manifest)
    places.write_json(folder / MANIFEST, manifest)
    _remove_chunks(folder)
    return Run(folder, manifest)


def _sum(counts: list[dict[str, Any]]) -> dict[str, Any]:
    """Sums, key by key, also within tables."""
    first = counts[0]
    return {
        key: _sum([one[key] for one in counts]) if isinstance(first[key], dict) else sum(one[key] for one in counts)
        for key in first
    }


def _remove_chunks(folder: Path) -> None:
    with contextlib.suppress(Exception):  # they are of no use any more, and in nobody's way
        places.remove_folder(folder / CHUNKS)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
