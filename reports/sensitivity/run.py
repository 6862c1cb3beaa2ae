"""``ranklsim sensitivity``: the effect of unknown parameters on the outcomes of a trial, and what to measure next.

Files: morris.csv, sobol.csv, outcomes.csv, ranges.csv, samples.parquet, sensitivity.json, index.html; pairs.csv with
second-order indices, correlations.csv with an ensemble.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from ranklsim.cohorts.conduct.patients import with_population
from ranklsim.cohorts.portions import Progress
from ranklsim.cohorts.protocol.trial import TRIAL_LIKE, TrialLike, load_trial
from ranklsim.pkpd import arguments
from ranklsim.pkpd.agents import Agent
from ranklsim.pkpd.ensemble import ensemble as shipped_ensemble
from ranklsim.pkpd.ensemble import fit_for
from ranklsim.pkpd.machine import processors
from ranklsim.pkpd.parameters import PARAMETERS, ParametersLike, ParameterTable, load_parameters
from ranklsim.pkpd.ranges import chosen, ranges, read_vectors
from ranklsim.reports.layout.folders import fingerprint, work_folder, write_result
from ranklsim.reports.sensitivity.analyse import Sensitivity, analyse
from ranklsim.reports.sensitivity.sample import Settings, ask
from ranklsim.reports.sensitivity.show import compose

VERB = "sensitivity"
SHIPPED, NONE = "shipped", "none"  # what may stand for the file of an ensemble
LIBRARIES = ("SALib", "numpy", "scipy", "numba", "pandas")
FILES = {f"{name}.csv" for name in ("morris", "sobol", "outcomes", "ranges", "pairs", "correlations")}
FILES |= {"samples.parquet", "sensitivity.json"}


@arguments.checked(
    trial=TRIAL_LIKE,
    out=arguments.path,
    only=arguments.NAMES,
    exclude=arguments.NAMES,
    endpoints=arguments.one_or_several(arguments.text, '["Lumbar spine BMD"]'),
    trajectories=arguments.whole(2, 10_000),
    samples=arguments.whole(2, 2**20),
    keep=arguments.whole(2, 1000),
    second_order=arguments.flag,
    ensemble=arguments.optional(arguments.path),
    intervals=arguments.path,
    parameters=PARAMETERS,
    seed=arguments.SEED,
    workers=arguments.WORKERS,
    resume=arguments.flag,
    force=arguments.flag,
    progress=arguments.callback,
    command=arguments.COMMAND,
)
def sensitivity(
    trial: TrialLike,
    out: str | Path | None = None,
    *,
    only: Sequence[str] | None = None,
    exclude: Sequence[str] | None = None,
    endpoints: str | Sequence[str] | None = None,
    trajectories: int = 40,
    samples: int = 512,
    keep: int = 20,
    second_order: bool = False,
    ensemble: str | Path | None = SHIPPED,
    intervals: str | Path | None = None,
    parameters: ParametersLike = None,
    seed: int | None = None,
    workers: int | None = None,
    resume: bool = False,
    force: bool = False,
    progress: Progress | None = None,
    command: str = "",
) -> Sensitivity:
    """Ask on which parameters the endpoints of a trial, durability and rebound depend.

    Parameters
    ----------
    trial : str, path, mapping or Trial
        As of `run`.
    out : path, optional
        Folder for tables and a page with figures; nothing is written without it.
    only, exclude : sequence of str, optional
        Parameters to move, or not: symbols (``"kT"``, ``"denosumab.CL"``) or kinds ("open", "fitted", "assumed",
        "measured", "hazard"). All but the last two kinds by default.
    endpoints : str or list of str, optional
        Names of endpoints of the trial, besides durability and rebound; all that a typical patient has a value of by
        default. Of a responder, it is the change that is compared with its limit.
    trajectories : int
        Morris trajectories of the screening.
    samples : int
        N of the Sobol indices, a power of two; N (keep + 2) vectors are simulated.
    keep : int
        Parameters that pass the screening.
    second_order : bool
        Whether to estimate interactions of pairs; N (2 keep + 2) vectors then.
    ensemble : path, optional
        CSV of vectors that fit the data together, a column a symbol, which also give rank correlations; the shipped
        ensemble by default, none with None.
    intervals : path, optional
        Intervals of fitted parameters, such as a fit's ``estimates.csv``; 95 % of the shipped ensemble by default.
    parameters : path, mapping or ParameterTable, optional
        Parameter values other than the shipped ones (CSV with symbol and value).
    seed : int, optional
        Seed of the samples; the trial's by default.
    workers : int, optional
        Processors to use, all of this machine's by default; no result depends on it.
    resume, force : bool
        Go on with the interrupted analysis in `out`; replace the one in `out`.
    progress : callable, optional
        Called with the number of typical patients done, and of all.
    command : str
        What the user typed, for the record.

    Returns
    -------
    Sensitivity
        Its tables are data frames: ``morris``, ``sobol``, ``outcomes``, ``samples``, ``pairs``, ``correlations``.

    Raises
    ------
    BadInput
        If the trial, a name, a number or the folder can't be used as it is.
    RunFailed
        If a vector can't be integrated, or no outcome varies.
    """
    design = with_population(load_trial(trial))
    options = Settings(trajectories, samples, keep, second_order, design.seed if seed is None else seed)
    options.check()
    values = load_parameters(parameters, folder=design.folder)
    agents = design.load_agents(values)
    moved = chosen(ranges(values, agents, intervals), only, exclude)
    question = ask(design, values, agents, moved, [endpoints] if isinstance(endpoints, str) else endpoints)
    vectors = _vectors(ensemble, values, agents)
    threads = processors() if workers is None else workers
    if out is None:
        return analyse(question, options, ensemble=vectors, workers=threads, progress=progress)
    folder = Path(out)
    asked = (
        moved.to_csv(index=False),
        json.dumps([asdict(options), [e.name for e in question.endpoints]], sort_keys=True),
    )
    identity = fingerprint(design, values, agents, *asked, "" if vectors is None else vectors.to_csv(index=False))
    work = work_folder(folder, VERB, "its trial, parameters or options", identity, resume, force, FILES)
    found = analyse(question, options, ensemble=vectors, work=work, workers=threads, progress=progress)
    write_sensitivity(found, folder, command)
    shutil.rmtree(work)
    return found


def _vectors(named: str | Path | None, values: ParameterTable, agents: list[Agent]) -> pd.DataFrame | None:
    """The ensemble of this name or file; None if none is wanted."""
    if named is None or str(named) == NONE:
        return None
    if str(named) == SHIPPED:
        return fit_for(shipped_ensemble(), values, agents)
    return read_vectors(named, values)


def write_sensitivity(found: Sensitivity, folder: Path, command: str) -> None:
    """Write every file of an analysis.

    Parameters
    ----------
    found : Sensitivity
    folder : Path
        Exists.
    command : str
        What the user typed, for the record.
    """
    frames = {
        "morris": found.morris,
        "sobol": found.sobol,
        "outcomes": found.outcomes,
        "ranges": found.question.moved.assign(kept=found.question.moved["symbol"].isin(found.kept)),
    }
    if len(found.pairs):
        frames["pairs"] = found.pairs
    if len(found.correlations):
        frames["correlations"] = found.correlations
    found.samples.to_parquet(folder / "samples.parquet", index=False)
    facts = {
        "trial": found.question.trial.name,
        "settings": asdict(found.settings),
        "moved": list(found.question.moved["symbol"]),
        "kept": found.kept,
        "compared": found.question.compared,
        "parameters_hash": found.question.parameters.hash,
    }
    write_result(folder, "sensitivity", frames, facts, LIBRARIES, command)
    page, sections = compose(found)
    page.write(folder, sections)
