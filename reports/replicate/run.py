"""``ranklsim replicate``: studies simulated and analysed batch by batch, kept, and made into operating characteristics.

Files: operating.csv, truth.csv, assurance.csv and vectors.csv (with vectors), estimates.parquet, looks.parquet (of
interim analyses), patients.parquet, visits.parquet and events.parquet (if asked for), trial.toml, parameters.csv,
replicates.json, index.html.

A batch that is finished is on disk with its hashes, so an interrupted analysis goes on where it stopped; what is
written at the end depends on no batch's size, on no number of workers and on no interruption.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ranklsim.cohorts.conduct.patients import typical, with_population
from ranklsim.cohorts.protocol.trial import TRIAL_LIKE, Trial, TrialLike, load_trial
from ranklsim.cohorts.running import places, storage
from ranklsim.cohorts.running.execution import RTOL
from ranklsim.cohorts.statistics.proportions import proportion
from ranklsim.pkpd import arguments
from ranklsim.pkpd.errors import BadInput, argument
from ranklsim.pkpd.machine import processors
from ranklsim.pkpd.parameters import PARAMETERS, ParametersLike, load_parameters
from ranklsim.pkpd.units import parse_quantity
from ranklsim.reports.layout.folders import fingerprint, work_folder, write_result
from ranklsim.reports.replicate import analyse as analyses
from ranklsim.reports.replicate import operating, show, truth
from ranklsim.reports.replicate.analyse import Protocol
from ranklsim.reports.replicate.operating import Replicates
from ranklsim.reports.replicate.sample import ALL, AS_RUN, MOST_REPLICATES, OWN, Replication, replication, studies

VERB = "replicate"
LIBRARIES = ("numpy", "scipy", "numba", "pandas", "pyarrow", "statsmodels")
KEPT = ("patients", "visits", "events")
PRIMARY = "primary"
NOMINAL = 0.025
"""Type I error of a claim, of which `precision` is asked."""
FILES = {f"{name}.csv" for name in ("operating", "assurance", "truth", "vectors", "parameters")} | {
    *(f"{name}.parquet" for name in ("estimates", "looks", *KEPT)),
    "trial.toml",
    "replicates.json",
}

Progress = Callable[[int, int], object]


@dataclass(frozen=True)
class _Job:
    """What is done with each batch, and where it is kept."""

    plan: Replication
    protocol: Protocol
    null: bool
    keep: bool
    work: Path

    @property
    def tables(self) -> tuple[str, ...]:
        looks = ("looks",) if self.plan.trial.interim is not None else ()
        return ("estimates", "outcomes", *looks, *(KEPT if self.keep else ()))


@arguments.checked(
    trial=TRIAL_LIKE,
    out=arguments.path,
    replicates=arguments.whole(1, MOST_REPLICATES),
    precision=lambda value: arguments.text(value) if isinstance(value, str) else arguments.number(0.0, 0.5)(value),
    endpoints=arguments.text,
    patients=arguments.one_or_several(arguments.PATIENTS, "[50, 100]"),
    vectors=lambda value: value if value == ALL else arguments.whole(0, MOST_REPLICATES)(value),
    null=arguments.flag,
    keep_patients=arguments.flag,
    seed=arguments.SEED,
    layers=arguments.NAMES,
    parameters=PARAMETERS,
    workers=arguments.WORKERS,
    rtol=arguments.number(1e-12, 1e-3),
    resume=arguments.flag,
    force=arguments.flag,
    progress=arguments.callback,
    tell=arguments.callback,
    command=arguments.COMMAND,
)
def replicate(
    trial: TrialLike,
    out: str | Path | None = None,
    *,
    replicates: int | None = None,
    precision: float | str | None = None,
    endpoints: str = ALL,
    patients: int | Sequence[int] | None = None,
    vectors: int | str = 0,
    null: bool = True,
    keep_patients: bool = False,
    seed: int | None = None,
    layers: Sequence[str] | None = None,
    parameters: ParametersLike = None,
    workers: int | None = None,
    rtol: float = RTOL,
    resume: bool = False,
    force: bool = False,
    progress: Progress | None = None,
    tell: Callable[[str], None] | None = None,
    command: str = "",
) -> Replicates:
    """Run a trial many times: power, type I error, bias, coverage, and assurance over what is not known.

    Parameters
    ----------
    trial : str or path
        The name of a trial that ships, or a TOML file.
    out : path, optional
        Folder for tables and a page with figures; nothing is written without it.
    replicates : int
        Studies of each parameter vector, each with patients of its own; replicate 0 is the trial as `run` runs it. 100
        if neither this nor `precision` is given.
    precision : float or str, optional
        Half the width of Wilson's 95 % interval of a type I error of 2.5 %, as a share or such as ``"0.5 %"``; it
        chooses the number of replicates.
    endpoints : str
        ``"all"``, or ``"primary"`` for the primary endpoints alone, with their estimands and looks.
    patients : int or sequence of int, optional
        Patients of a study over all arms, instead of the trial's own; several for power against their number.
    vectors : int or "all"
        Parameter vectors besides the default values: so many of the shipped ensemble, or all of it.
    null : bool
        Whether to simulate and analyse each study also without the effect of the drug, for the type I error.
    keep_patients : bool
        Whether to write the patients, visits and events of every study, not only its estimates.
    seed : int, optional
        Instead of the trial's own.
    layers : sequence of str, optional
        The sources of variation that are on, instead of the trial's own: some of patients, residual, parameters.
    parameters : path, mapping or ParameterTable, optional
        Parameter values other than the shipped ones (CSV with symbol and value).
    workers : int, optional
        Processors to use, all of this machine's by default; no result depends on it.
    rtol : float
        Error allowed the integrator a step, relative.
    resume, force : bool
        Go on with the interrupted analysis in `out`; replace the one in `out`.
    progress : callable, optional
        Called with patients done and patients in all.
    tell : callable, optional
        Called with a sentence when something slow begins.
    command : str
        What the user typed, for the record.

    Returns
    -------
    Replicates
        Its tables as data frames: ``operating``, ``truth``, ``assurance``, ``estimates``, ``looks``.

    Raises
    ------
    BadInput
        If the trial, a number or the folder can't be used as it is.
    RunFailed
        If a patient can't be integrated.
    """
    design = load_trial(trial)
    sizes = _sizes(design, patients)
    if keep_patients and out is None:
        raise BadInput("patients can be kept in a folder only; name one by out.")
    on = None if layers is None else dict.fromkeys(vars(design.layers), False) | dict.fromkeys(layers, True)
    design = _only(design.with_overrides(patients=sizes[-1], seed=seed, layers=on), endpoints)
    _refuse_hindsight(design)
    if replicates is not None and precision is not None:
        raise BadInput("both replicates and precision are given; leave one of them out.")
    replicates = 100 if replicates is None else replicates
    replicates = replicates if precision is None else replicates_for(precision)
    if not design.endpoints:
        raise BadInput(f"{design.name} has no endpoint; add a table [[endpoint]].")
    if not (design.layers.patients or design.layers.residual):
        raise BadInput(
            "the layers 'patients' and 'residual' are both off, so every study would be the same; switch one on."
        )
    table = load_parameters(parameters, folder=design.folder)
    agents = design.load_agents(table)
    design = with_population(design)
    plan = replication(design, table, agents, replicates=replicates, vectors=vectors, rtol=rtol)
    typical(design, table)  # refuses criteria that hardly anyone fulfils
    protocol = Protocol.of(design, agents, sizes)
    threads = processors() if workers is None else workers
    if out is None:
        with tempfile.TemporaryDirectory(prefix="ranklsim-") as temporary:
            job = _Job(plan, protocol, null, False, Path(temporary))
            _work(job, threads, progress, tell)
            return _found(job)
    folder = Path(out)
    options = {"replicates": replicates, "sizes": sizes, "rtol": rtol, "null": null, "keep": keep_patients}
    options |= {"endpoints": [spec.name for spec in design.endpoints]}
    asked = (json.dumps(options, sort_keys=True), plan.vectors.to_csv(index=False))
    identity = fingerprint(design, table, agents, *asked)
    work = work_folder(folder, VERB, "its trial, parameters or options", identity, resume, force, FILES)
    job = _Job(plan, protocol, null, keep_patients, work)
    _work(job, threads, progress, tell)
    found = _found(job)
    _write(job, found, folder, command)
    shutil.rmtree(work)
    return found


def _sizes(trial: Trial, patients: int | Sequence[int] | None) -> tuple[int, ...]:
    """Numbers of patients, increasing, each once."""
    given = [trial.population.patients] if patients is None else [patients] if isinstance(patients, int) else patients
    sizes = tuple(sorted(set(given)))
    if not sizes:
        raise BadInput("patients is empty; give a number of patients, or several.")
    if twice := [size for size in sizes if list(given).count(size) > 1]:
        raise BadInput(*(f"{argument('patients')}: {size} is given more than once; give it once." for size in twice))
    for size in sizes:
        trial.with_overrides(patients=size)  # refuses what is not possible
    return sizes


def _only(trial: Trial, which: str) -> Trial:
    """The trial with its primary endpoints alone, and what is asked of them, where these are asked for."""
    if which == ALL:
        return trial
    if which != PRIMARY:
        raise BadInput(f"endpoints = '{which}' is neither '{ALL}' nor '{PRIMARY}'.")
    kept = [spec for spec in trial.endpoints if spec.role == "primary"]
    names = {spec.name for spec in kept}
    plan, looks = trial.multiplicity, trial.interim
    return replace(
        trial,
        endpoints=kept,
        estimands=[asked for asked in trial.estimands if asked.endpoint in names],
        multiplicity=plan if plan is not None and {name for name, _ in plan.hypotheses} <= names else None,
        interim=looks if looks is not None and looks.endpoint in names else None,
    )


def _refuse_hindsight(trial: Trial) -> None:
    """Refuse looks whose share of the information is known only once the trial has ended."""
    plan, enrolment = trial.interim, trial.conduct.enrolment
    if plan is None or plan.planned_events is not None or plan.planned_error is not None:
        return
    # No look later than ten times the expected enrolment is ever due.
    longest = 0.0
    if enrolment is not None:
        slowest = min(rate for rate in (enrolment.per_month, *(rate for _, rate in enrolment.steps)) if rate > 0)
        last = max((month for month, _ in enrolment.steps), default=enrolment.ramp_months)
        longest = last + 10 * trial.population.patients / slowest
    if all(kind == "month" and month > trial.months + longest for kind, month in trial.conduct.looks):
        return
    spec = trial.endpoint(plan.endpoint)
    ask = "planned_events = 90" if spec.of_hazard else 'planned_error = "0.5 %"'
    raise BadInput(
        f"{trial.name}: [interim] does not plan the information of '{spec.name}', so that its share at a look is known "
        f"only in hindsight, and power can't be counted by such looks; give a plan, such as {ask}."
    )


def replicates_for(precision: float | str) -> int:
    """The least number of replicates with which a type I error of 2.5 % is known so well.

    Parameters
    ----------
    precision : float or str
        Half the width of Wilson's 95 % interval, as a share or such as ``"0.5 %"``.

    Raises
    ------
    BadInput
        If it is no such number, or asks for too many replicates.
    """
    if isinstance(precision, str):
        share = parse_quantity(precision, "%", where="precision") / 100
    else:
        share = precision
    if not 0 < share < 0.5:
        raise BadInput(f"precision = {precision} is not possible; give a share such as '0.5 %'.")

    def half(n: int) -> float:
        ends = proportion(NOMINAL * n, n)
        return (ends["high"] - ends["low"]) / 2

    low, high = 1, MOST_REPLICATES
    if half(high) > share:
        raise BadInput(f"precision = {precision} asks for more than {high} replicates; give a larger one.")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if half(middle) <= share else (middle, high)
    return high


# -- batches -----------------------------------------------------------------------------------------------------------


def _work(job: _Job, workers: int, progress: Progress | None, tell: Callable[[str], None] | None) -> None:
    """Simulate, analyse and write every batch that is not there yet."""
    plan = job.plan
    total = 2 * plan.count * plan.patients  # each patient is simulated, then analysed
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        if progress:
            progress(done // 2, total // 2)

    advance(0)
    for leftover in job.work.glob(".*.tmp"):
        leftover.unlink()
    pending = [(k, study) for k, study in enumerate(plan.batches()) if not _finished(job, k)]
    advance(total - 2 * plan.patients * sum(study.size for _, study in pending))
    if workers == 1 or len(pending) < 2 * workers:
        for k, study in pending:
            _batch(job, k, study, workers, advance, tell)
        return
    # Whole batches side by side: each process simulates and analyses with one thread.
    pool = joblib.Parallel(n_jobs=workers, backend="loky", return_as="generator_unordered")
    for size in pool(joblib.delayed(_batch)(job, k, study) for k, study in pending):
        advance(2 * plan.patients * size)


def _batch(
    job: _Job,
    k: int,
    study: NDArray[np.int64],
    workers: int = 1,
    advance: Callable[[int], None] | None = None,
    tell: Callable[[str], None] | None = None,
) -> int:
    """Simulate, analyse and write one batch; returns how many studies it has."""
    seen = studies(job.plan, study, null=job.null, workers=workers, progress=advance, tell=tell)
    found = analyses.analyse(seen, job.protocol, null=job.null, workers=workers, progress=advance)
    tables = {"estimates": found.estimates, "outcomes": truth.outcomes(seen, job.protocol)}
    if job.plan.trial.interim is not None:
        tables["looks"] = found.looks
    if job.keep:
        latent = {f"true_{name}": values for name, values in seen.true[OWN, AS_RUN].true.items()}
        visits = seen.visits(seen.seen, latent)
        tables |= {"patients": seen.people(seen.seen), "visits": visits, "events": seen.events(seen.seen)}
    hashes = {}
    for name, table in tables.items():
        path = job.work / f"{k:06d}-{name}.parquet"
        hashes[path.name] = storage.write_table(path, [storage.to_arrow(table)]).sha256
    places.write_json(job.work / f"{k:06d}.json", hashes)
    return study.size


def _finished(job: _Job, batch: int) -> bool:
    """Whether a batch is whole on disk."""
    try:
        hashes = json.loads((job.work / f"{batch:06d}.json").read_text(encoding="utf-8"))
        named = {f"{batch:06d}-{name}.parquet" for name in job.tables}
        return set(hashes) == named and all(places.sha256(job.work / name) == known for name, known in hashes.items())
    except (OSError, ValueError, AttributeError, TypeError):
        return False


def _by_vector(job: _Job, table: str) -> Iterator[pd.DataFrame]:
    """A table of all batches, one vector after another."""
    waiting: list[pd.DataFrame] = []
    for path in sorted(job.work.glob(f"*-{table}.parquet")):
        for vector, part in pq.read_table(path).to_pandas().groupby("vector", sort=True):
            if waiting and waiting[0]["vector"].iloc[0] != vector:
                yield pd.concat(waiting, ignore_index=True)
                waiting = []
            waiting.append(part)
    if waiting:
        yield pd.concat(waiting, ignore_index=True)


def _outcomes(job: _Job, vector: int) -> Callable[[truth.Question], pd.DataFrame]:
    """The outcomes of all patients of a vector, of one question at a time so that they take little memory."""
    paths = [
        job.work / f"{k:06d}-outcomes.parquet"
        for k, study in enumerate(job.plan.batches())
        if (job.plan.vector_of(study) == vector).any()
    ]

    def of(asked: truth.Question) -> pd.DataFrame:
        names = [name for name in pq.read_schema(paths[0]).names if name.startswith(f"{asked.number} ")]
        columns = ["vector", "arm", "stratum", *names]
        parts = [pq.read_table(path, columns=columns, filters=[("vector", "==", vector)]) for path in paths]
        return pd.concat([part.to_pandas() for part in parts], ignore_index=True)

    return of


def _found(job: _Job) -> Replicates:
    """What all batches say together; vector by vector, so that memory does not grow with their number."""
    true, found = [], []
    for vector, estimates in enumerate(_by_vector(job, "estimates")):
        true.append(truth.truths(vector, job.protocol, _outcomes(job, vector)))
        found.append(operating.operating(estimates, true[-1], job.protocol))
    looks = pd.concat(_by_vector(job, "looks"), ignore_index=True) if "looks" in job.tables else pd.DataFrame()
    measures = pd.concat([*found, operating.of_looks(looks, job.protocol)], ignore_index=True)
    everything = pd.concat(_by_vector(job, "estimates"), ignore_index=True)
    return Replicates(
        job.plan,
        job.protocol,
        measures,
        pd.concat(true, ignore_index=True),
        operating.assurance(measures),
        everything,
        looks,
    )


def _write(job: _Job, found: Replicates, folder: Path, command: str) -> None:
    """Every file of a finished analysis into `folder`."""
    plan = job.plan
    for name in (table for table in job.tables if table != "outcomes"):
        parts = (storage.to_arrow(part) for part in _by_vector(job, name))
        storage.write_table(folder / f"{name}.parquet", parts)
    places.write_bytes(folder / "trial.toml", plan.trial.to_toml().encode())
    places.write_bytes(folder / "parameters.csv", plan.parameters.to_csv().encode())
    frames: dict[str, pd.DataFrame] = {"operating": found.operating, "truth": found.truth}
    if len(plan.vectors) > 1:
        frames |= {"assurance": found.assurance, "vectors": plan.vectors.rename(columns={"draw": "vector"})}
    facts: Mapping[str, Any] = {
        "simulated": "All data of this folder are simulated; no patient took part.",
        "trial": plan.trial.name,
        "seed": plan.trial.seed,
        "replicates": plan.replicates,
        "patients": list(job.protocol.sizes),
        "endpoints": [spec.name for spec in job.protocol.endpoints],
        "estimands": [spec.name for spec in job.protocol.estimands],
        "vectors": len(plan.vectors) - 1,
        "vectors_from": plan.source,
        "null": job.null,
        "layers": dict(vars(plan.trial.layers)),
        "rtol": plan.rtol,
        "parameters_hash": plan.parameters.hash,
    }
    write_result(folder, "replicates", frames, facts, LIBRARIES, command)
    page, sections = show.compose(found)
    page.write(folder, sections)
