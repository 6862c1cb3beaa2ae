"""The tasks of a run. Each can run on any machine that sees the run's folder, in any order, and more than once.

A run is divided into portions of patients by number. The arm of a patient depends on how many patients of her stratum
were enrolled before her. A portion of a trial with strata therefore takes two tasks. The first, which is cheap, draws
its patients and counts them by stratum. When all are counted, the second randomises, simulates and observes the
portion. One more task is the ensemble over unknown parameters.

A task writes its tables into the run's folder, and at the end a note with their hashes, which it also returns. A task
with a valid note is never repeated. The result of a task depends only on the job and the task.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ranklsim.cohorts import events, uncertainty
from ranklsim.cohorts.conduct.allocation import ALL, strata_of
from ranklsim.cohorts.conduct.patients import Patients, draw
from ranklsim.cohorts.protocol.trial import Trial
from ranklsim.cohorts.running import places, portion, storage, twins
from ranklsim.cohorts.running.storage import CHUNKS
from ranklsim.pkpd.agents import Agent
from ranklsim.pkpd.errors import RunFailed
from ranklsim.pkpd.parameters import ParameterTable

Note = dict[str, Any]

_PEOPLE = ("covariates", "persons")
_OF_ENSEMBLE = ("uncertainty", "uncertainty_draws", "variants")


@dataclass(frozen=True)
class Job:
    """The common data of all tasks of a run; it can be sent to another machine."""

    folder: Path
    run: str  # hash of everything on which results depend
    versions: Mapping[str, str]  # of ranklsim and the libraries on which they depend
    trial: Trial
    parameters: ParameterTable
    agents: list[Agent]
    rtol: float
    size: int  # patients of a portion

    @property
    def chunks(self) -> Path:
        """Folder of the tasks' tables and notes."""
        return self.folder / CHUNKS

    @property
    def portions(self) -> int:
        return -(-self.trial.population.patients // self.size)

    def number(self, k: int) -> NDArray[np.int64]:
        """Patient numbers, from 1, of portion `k`, from 0.

        Parameters
        ----------
        k : int
            Number of the portion, from 0.
        """
        last = min((k + 1) * self.size, self.trial.population.patients)
        return np.arange(k * self.size + 1, last + 1, dtype=np.int64)


@dataclass(frozen=True)
class Task:
    """A part of the work."""

    name: str
    do: Callable[..., tuple[dict[str, pa.Table], Note]]
    persons: int = 0  # simulated, for the progress
    patients: int = 0  # of the trial
    k: int = 0
    before: Mapping[str, int] | None = None  # patients of each stratum in the portions before
    drawn: Note | None = None  # note of the task that drew this portion's patients
    draws: pd.DataFrame | None = None  # parameter vectors of the ensemble


def draw_tasks(job: Job) -> list[Task]:
    """Tasks that draw patients and count their strata; none where everybody is in the same stratum.

    Parameters
    ----------
    job : Job
        The run.
    """
    if not job.trial.population.splits:
        return []
    return [Task(f"people-{k:06d}", _draw, k=k) for k in range(job.portions)]


def portion_tasks(job: Job, drawn: list[Note]) -> list[Task]:
    """Tasks that simulate the portions, when `draw_tasks` have been done; and their names, for whoever joins them.

    Parameters
    ----------
    job : Job
    drawn : list of Note
        What `draw_tasks` gave, in order.
    """
    tasks, before = [], dict.fromkeys(sorted({s for note in drawn for s in note["strata"]}), 0)
    for k in range(job.portions):
        number = job.number(k)
        n, persons = number.size, number.size + twins.persons(job.trial, number)
        if drawn:
            task = Task(f"{k:06d}", _simulate, persons, n, k, dict(before), drawn[k])
            for stratum, count in drawn[k]["strata"].items():
                before[stratum] += count
        else:
            task = Task(f"{k:06d}", _simulate, persons, n, k, {ALL: k * job.size})
        tasks.append(task)
    return tasks


def ensemble_task(job: Job, draws: pd.DataFrame) -> Task:
    """The task that simulates the typical patient for every parameter vector (`uncertainty.draws_of`) and structure.

    Parameters
    ----------
    job : Job
        The run.
    draws : DataFrame
        One row for each vector, a column for each symbol.
    """
    return Task("ensemble", _ensemble, persons=len(draws) * len(job.trial.arms), draws=draws)


def perform(
    job: Job,
    task: Task,
    *,
    workers: int = 1,
    progress: Callable[[int], None] | None = None,
    tell: Callable[[str], None] | None = None,
) -> Note:
    """Do a task and write what it gives.

    Parameters
    ----------
    job : Job
    task : Task
    workers : int
        Threads; no result depends on it.
    progress, tell : callable, optional
        As of `simulate`.

    Returns
    -------
    dict
        ``files`` (name to SHA-256), what `portion_tasks` or the manifest needs besides (``strata``; ``retried``,
        ``counts``), and which run it belongs to.

    Raises
    ------
    RunFailed
        If a patient can't be integrated or the disk is full.
    BadInput
        If writing is not allowed.
    """
    tables, more = task.do(job, task, workers=workers, progress=progress, tell=tell)
    files = {}
    for table, content in tables.items():
        path = job.chunks / f"{task.name}-{table}.arrow"
        files[path.name] = storage.write_chunk(path, content).sha256
    note = {"run": job.run, "size": job.size, "files": files, **more}
    note["checksum"] = storage.checksum(note)
    places.write_json(job.chunks / f"{task.name}.json", note, lasting=False)
    return note


def look_at(job: Job, name: str) -> tuple[Note | None, bool]:
    """The note of a task if all that it wrote is whole, else None; and whether there was a note at all.

    Parameters
    ----------
    job : Job
        The run.
    name : str
        Name of the task.
    """
    try:
        text = (job.chunks / f"{name}.json").read_bytes()
    except OSError:
        return None, False
    try:
        note = json.loads(text)
        sound = note["checksum"] == storage.checksum(note) and (note["run"], note["size"]) == (job.run, job.size)
        whole = sound and all(places.sha256(job.chunks / file) == known for file, known in note["files"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None, True
    return (note if whole else None), True


def size_of(chunks: Path, run: str) -> int | None:
    """Patients a portion in the notes of a run; None if there is no note of it.

    Parameters
    ----------
    chunks : Path
        Folder of the notes of tasks.
    run : str
        Identity of the run.
    """
    if chunks.is_dir():
        for path in sorted(chunks.iterdir(), key=str):
            if path.name.endswith(".json"):
                try:
                    note = json.loads(path.read_bytes())
                    if note["run"] == run and note["checksum"] == storage.checksum(note):
                        return int(note["size"])
                except (OSError, ValueError, KeyError, TypeError, AttributeError):
                    continue
    return None


def parts(job: Job, table: str, names: list[str], notes: Mapping[str, Note]) -> Iterator[pa.Table]:
    """The parts of a table that these tasks wrote, in order.

    Parameters
    ----------
    job : Job
        The run.
    table : str
        Name of a table, such as "visits".
    names : list of str
        Names of the tasks, in the order of portions.
    notes : mapping of str to dict
        The note of each task.
    """
    for name in ["ensemble"] if table in _OF_ENSEMBLE else names:
        file = f"{name}-{table}.arrow"
        yield storage.read_chunk(job.chunks / file, notes[name]["files"][file])


# -- what is done ------------------------------------------------------------------------------------------------------


def _draw(job: Job, task: Task, **_: Any) -> tuple[dict[str, pa.Table], Note]:
    people = draw(job.trial, job.parameters, job.number(task.k))
    strata, counts = np.unique(strata_of(job.trial, people.covariates), return_counts=True)
    tables = {name: pa.Table.from_pandas(getattr(people, name), preserve_index=False) for name in _PEOPLE}
    return tables, {"strata": dict(zip(strata.tolist(), counts.tolist(), strict=True))}


def _drawn(job: Job, task: Task) -> Patients:
    """Patients of a portion, as another task drew them, or drawn here."""
    if task.drawn is not None:
        files = {name: f"people-{task.name}-{name}.arrow" for name in _PEOPLE}
        try:
            return Patients(**{
                name: storage.read_chunk(job.chunks / file, task.drawn["files"][file]).to_pandas()
                for name, file in files.items()
            })  # fmt: skip
        except RunFailed:
            pass  # damaged since: she is the same person if she is drawn again
    return draw(job.trial, job.parameters, job.number(task.k))


def _simulate(job: Job, task: Task, **how: Any) -> tuple[dict[str, pa.Table], Note]:
    assert task.before is not None
    made = portion.portion(
        job.trial, job.parameters, job.agents, _drawn(job, task), task.before, rtol=job.rtol, **how
    )  # fmt: skip
    return made.tables, {"retried": made.retried, "counts": _counts(job, made.tables)}


def _counts(job: Job, tables: Mapping[str, pa.Table]) -> dict[str, Any]:
    """Patients by arm, those who dropped out, and doses given, as the manifest has them."""
    arm = tables["patients"].column("arm").to_numpy()
    left = tables["events"].filter(pc.equal(tables["events"]["event"], events.DROPOUT)).column("arm").to_numpy()
    given = tables["doses"].column("given").to_numpy()
    return {
        "patients": {one.name: int((arm == one.name).sum()) for one in job.trial.arms},
        "dropouts": {one.name: int((left == one.name).sum()) for one in job.trial.arms},
        "doses_planned": int(given.size),
        "doses_given": int(given.sum()),
    }


def _ensemble(job: Job, task: Task, *, workers: int, **how: Any) -> tuple[dict[str, pa.Table], Note]:
    assert task.draws is not None
    frame = uncertainty.ensemble(job.trial, job.parameters, job.agents, task.draws, workers=workers, rtol=job.rtol,
                                 progress=how["progress"])  # fmt: skip
    values = [name for name in frame.columns if name not in ("draw", "arm", "month")]
    portion.refuse_nan({name: frame[name].to_numpy()[:, None] for name in values}, frame["draw"].to_numpy(), "draw")
    other = uncertainty.by_variant(job.trial, job.parameters, job.agents, workers=workers, rtol=job.rtol)
    return {
        "uncertainty": storage.to_arrow(frame, values),
        "uncertainty_draws": storage.to_arrow(task.draws),
        "variants": storage.to_arrow(other, values),
    }, {}
