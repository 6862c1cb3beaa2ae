"""Schedulers run the tasks of a run: in threads of this process, or on a Dask cluster.

Results depend on neither. A scheduler gives notes in the order in which tasks end; a task that it has given is on disk.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import lru_cache
from typing import Any, Protocol

from ranklsim.cohorts.running import storage
from ranklsim.cohorts.running.pieces import Job, Note, Task, perform
from ranklsim.pkpd.errors import BadInput, RunFailed

TIMEOUT = 20
"""Seconds to wait for a cluster to answer."""

LIBRARIES = ("numpy", "scipy", "numba", "pandas", "pyarrow")
"""Libraries on whose versions results depend."""


class Scheduler(Protocol):
    """A scheduler of tasks."""

    slots: int
    """Tasks that are done at the same time."""

    def perform(
        self,
        job: Job,
        tasks: Sequence[Task],
        progress: Callable[[int], None],
        tell: Callable[[str], None] | None,
    ) -> Iterator[tuple[Task, Note]]:
        """Do tasks in any order; `progress` is called with the persons simulated since the last call.

        Parameters
        ----------
        job : Job
            The run.
        tasks : sequence of Task
            They do not depend on each other.
        progress : callable
            Takes the number of persons simulated since the last call.
        tell : callable, optional
            Takes a sentence for the user.
        """
        ...


class Threads:
    """Threads of this process.

    Parameters
    ----------
    workers : int
        Threads. Where there are fewer tasks, several work on one.
    """

    def __init__(self, workers: int) -> None:
        self.slots = workers

    def perform(
        self,
        job: Job,
        tasks: Sequence[Task],
        progress: Callable[[int], None],
        tell: Callable[[str], None] | None,
    ) -> Iterator[tuple[Task, Note]]:
        """Do tasks; see `Scheduler`.

        Parameters
        ----------
        job, tasks, progress, tell
            As of `Scheduler.perform`.
        """
        share = max(1, self.slots // max(1, len(tasks)))
        if self.slots == 1 or len(tasks) == 1:
            for task in tasks:
                yield task, perform(job, task, workers=share, progress=progress, tell=tell)
            return
        with ThreadPoolExecutor(self.slots) as pool:
            futures = {
                pool.submit(perform, job, task, workers=share, progress=progress, tell=tell): task for task in tasks
            }
            try:
                for future in as_completed(futures):
                    yield futures[future], future.result()
            finally:  # tasks that have begun are finished and kept, the others are not begun
                pool.shutdown(wait=True, cancel_futures=True)


class Dask:
    """The workers of a Dask cluster; each must see the run's folder and have the same versions installed.

    A worker that dies loses nothing but the task at hand, which another does again.

    Parameters
    ----------
    client : distributed.Client
    """

    def __init__(self, client: Any) -> None:
        self.client = client
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
        self.slots = max(1, sum(worker["nthreads"] for worker in workers))

    def perform(
        self,
        job: Job,
        tasks: Sequence[Task],
        progress: Callable[[int], None],
        tell: Callable[[str], None] | None,
    ) -> Iterator[tuple[Task, Note]]:
        """Do tasks; see `Scheduler`.

        Parameters
        ----------
        job, tasks, progress, tell
            As of `Scheduler.perform`.
        """
        import distributed

        futures = {self.client.submit(perform_elsewhere, job, task, pure=False): task for task in tasks}
        try:
            for future in distributed.as_completed(list(futures), loop=self.client.loop):
                note = future.result()
                progress(futures[future].persons)
                yield futures[future], note
        except distributed.KilledWorker as killed:
            raise RunFailed(
                f"{killed.task}: every worker that took it died, the last was {killed.last_worker.address}; give the "
                "workers more memory, then continue with --resume."
            ) from None
        except (distributed.CancelledError, OSError) as error:
            raise RunFailed(f"the Dask scheduler was lost ({error}); continue with --resume.") from None
        finally:
            with contextlib.suppress(Exception):  # not there any more
                self.client.cancel(list(futures))


def perform_elsewhere(job: Job, task: Task) -> Note:
    """`perform` on a worker of a cluster, after a look whether it is one that can.

    Parameters
    ----------
    job : Job
        The run.
    task : Task
        What the worker does.

    Raises
    ------
    BadInput
        If the worker has other versions, or does not see the run's folder.
    """
    import distributed

    address = distributed.get_worker().address
    mine = versions()
    for name, version in job.versions.items():
        if mine[name] != version:
            raise BadInput(f"worker {address} has {name} {mine[name]}, the run was started with {version}; "
                           "install the same versions everywhere.")  # fmt: skip
    try:
        seen = storage.read_manifest(job.folder)
    except BadInput:
        seen = {}
    if seen.get("run") != job.run:
        raise BadInput(f"worker {address} does not see {job.folder}; give a folder that all workers share, or a URL "
                       "such as s3://bucket/run.")  # fmt: skip
    return perform(job, task)


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """Versions of ranklsim and of the libraries on which results depend."""
    import ranklsim

    found = {name: importlib.metadata.version(name) for name in LIBRARIES}
    return {"ranklsim": ranklsim.__version__} | found


@contextlib.contextmanager
def chosen(wanted: Any, workers: int) -> Iterator[Scheduler]:
    """The scheduler that a user asks for.

    Parameters
    ----------
    wanted : None, str, distributed.Client or Scheduler
        None for threads; an address such as ``tcp://host:8786``.
    workers : int
        Threads, without a cluster.

    Raises
    ------
    BadInput
        If Dask is not installed, or nobody answers at the address.
    """
    if wanted is None:
        yield Threads(workers)
        return
    if not isinstance(wanted, str):
        yield Dask(wanted) if hasattr(wanted, "scheduler_info") else wanted
        return
    try:
        import distributed
    except ImportError:
        raise BadInput("--scheduler needs Dask; `pip install 'ranklsim[dask]'` brings it.") from None
    try:
        client = distributed.Client(wanted, timeout=TIMEOUT, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        reason = (str(error).splitlines() or ["no answer"])[0].rstrip(".")
        raise BadInput(
            f"no Dask scheduler answers at {wanted} ({reason}); give its address, such as tcp://host:8786."
        ) from None
    with client:
        yield Dask(client)
