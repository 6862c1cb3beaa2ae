"""ranklsim from Python, in a few lines: the same things that the command line does.

Imports stand inside the functions, so that ``import ranklsim`` and ``ranklsim --help`` do not wait for them.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ranklsim.pkpd.errors import BadInput

if TYPE_CHECKING:
    import pandas as pd

    from ranklsim.cohorts.running.storage import Run
    from ranklsim.cohorts.unknowns.sensitivity import Sensitivity
    from ranklsim.pkpd.agents import Agent
    from ranklsim.pkpd.dosing import Regimen
    from ranklsim.pkpd.parameters import ParameterTable
    from ranklsim.reports.analyses.results import Analyses
    from ranklsim.reports.pages.replication import Replicates

LONGEST = 1200
"""Months that a patient can be watched."""

__all__ = ["agents", "analyse", "replicate", "report", "run", "sensitivity", "simulate", "trials"]


@dataclass(frozen=True)
class Course:
    """What one patient is given, and until when it is watched (months since the first dose)."""

    regimens: list[Regimen]
    agents: list[Agent]
    months: float


def plan_course(
    regimen: str | None,
    agent: str | None,
    dose: str | None,
    every: str | None,
    doses: int | None,
    follow: str,
    *,
    folder: Path | None = None,
    prefix: str = "",
) -> Course:
    """Regimens, their agents and the last month, from the texts that a person gives.

    Parameters
    ----------
    regimen : str or None
        A sequence, such as ``"denosumab 14mg every 6mo x4, denosumab 60mg every 6mo x4"``; or else
    agent, dose, every, doses
        one regimen: an agent's name or its file, texts with units, and a number of doses (1 if None).
    follow : str
        Time that is watched after the last dose's interval, with its unit.
    folder : Path, optional
        Where a user's own agent files are.
    prefix : str
        What stands before an argument's name in a message (``--`` on the command line).

    Raises
    ------
    BadInput
        Everything that is wrong with the texts, one sentence each.
    """
    from ranklsim.pkpd.agents import load_agent
    from ranklsim.pkpd.dosing import TOO_LARGE, parse_regimen
    from ranklsim.pkpd.units import DAYS_PER_MONTH

    faults: list[str] = []
    watched_days = _quantity(follow, "day", f"{prefix}follow", faults, or_zero=True)
    one = {"agent": agent, "dose": dose, "every": every, "doses": doses}
    given = [prefix + name for name, value in one.items() if value is not None]
    regimens: list[Regimen] = []
    if regimen is not None and given:
        faults.append(f"{prefix}regimen says it all: leave out {', '.join(given)}.")
    elif regimen is not None:
        try:
            regimens = parse_regimen(regimen, folder=folder, where=f"{prefix}regimen")
        except BadInput as error:
            faults += error.messages
    elif agent is None:
        faults.append(
            f"nothing is given to the patient: say {prefix}agent and {prefix}dose, or {prefix}regimen "
            '"denosumab 60mg every 6mo x6".'
        )
    else:
        if agent.endswith(".toml"):
            folder, agent = Path(agent).parent, Path(agent).stem
        regimens = [_one_regimen(agent, dose, every, doses, folder, prefix, faults)]
    faults += [
        f"{prefix}{'dose' if regimen is None else 'regimen'}: {part.dose_mg:g} mg of {part.agent} is too large; "
        "check number and unit."
        for part in regimens
        if not part.dose_mg < TOO_LARGE
    ]
    if faults:
        raise BadInput(*faults)
    names = dict.fromkeys(part.agent for part in regimens)
    months = (max(part.end_day for part in regimens) + watched_days) / DAYS_PER_MONTH
    if months > LONGEST:
        raise BadInput(f"treatment and follow-up last {months:.6g} mo; give at most {LONGEST} mo in all.")
    return Course(regimens, [load_agent(name, folder=folder) for name in names], months)


def _one_regimen(
    agent: str,
    dose: str | None,
    every: str | None,
    doses: int | None,
    folder: Path | None,
    prefix: str,
    faults: list[str],
) -> Regimen:
    """The regimen that the four arguments describe; what is wrong with them is added to `faults`."""
    from ranklsim.pkpd.agents import load_agent
    from ranklsim.pkpd.dosing import Regimen

    inert = False
    try:
        inert = load_agent(agent, folder=folder, where=f"{prefix}agent").kind == "none"
    except BadInput as error:
        faults += error.messages
    if dose is None and not inert:
        faults.append(f'{prefix}dose is missing; give it with its unit, such as "60mg".')
    if doses is not None and doses < 1:
        faults.append(f"{prefix}doses: {doses} is not a whole number of 1 or more.")
    if every is None and doses is not None and doses > 1:
        faults.append(f'{prefix}every is missing; {doses} doses need an interval, such as "6mo".')
    return Regimen(
        agent=agent,
        dose_mg=_quantity(dose, "mg", f"{prefix}dose", faults, or_zero=inert),
        start_day=0.0,
        every_days=_quantity(every, "day", f"{prefix}every", faults),
        doses=doses or 1,
    )


def _quantity(text: str | None, unit: str, where: str, faults: list[str], or_zero: bool = False) -> float:
    """A quantity above zero, 0 if it is not given; what is wrong with it is added to `faults`."""
    from ranklsim.pkpd.units import parse_quantity

    if text is None:
        return 0.0
    try:
        value = parse_quantity(text, unit, where=where)
    except BadInput as error:
        faults += error.messages
        return 0.0
    if value < 0 or (value == 0 and not or_zero):
        faults.append(f"{where}: {text} is not {'0 or more' if or_zero else 'more than 0'}; give a positive amount.")
    return value


def simulate(
    regimen: str | None = None,
    *,
    agent: str | None = None,
    dose: str | None = None,
    every: str | None = None,
    doses: int | None = None,
    follow: str = "12 mo",
    at: Iterable[float] | None = None,
    covariates: Mapping[str, float] | None = None,
    parameters: Path | str | ParameterTable | None = None,
    folder: Path | str | None = None,
) -> pd.DataFrame:
    """One typical patient under a sequence of regimens: no variability between patients, no measurement error.

    Parameters
    ----------
    regimen : str, optional
        A sequence of regimens, such as ``"denosumab 60mg every 6mo x4, nothing 12mo, zoledronate 5mg x1"``; or
    agent, dose, every, doses
        one regimen, such as ``agent="denosumab", dose="60 mg", every="6 mo", doses=6``.
    follow : str
        How long the patient is watched after the last dose's interval.
    at : iterable of float, optional
        Further months of interest; a value at a dose time is the one just before that dose.
    covariates : mapping, optional
        What differs from the typical woman: age [yr], weight [kg], height [cm], eGFR [mL/min/1.73m2],
        vitamin_D [ng/mL], T_LS, T_TH, T_FN, T_R13, or the symbol of any parameter, also an agent's (denosumab.CL).
    parameters : path or ParameterTable, optional
        Another parameter table than the one that ships.
    folder : path, optional
        Where your own agent files are.

    Returns
    -------
    DataFrame
        A row a month (and for each of `at`): ``month``, drug concentrations, occupancy of RANKL by form, markers in
        their units and as % of baseline (``CTX_pct``), BMD in g/cm2 and as % change (``BMD_LS_pct``).

    Raises
    ------
    BadInput
        If anything is unknown, without its unit or out of its range.
    """
    course = plan_course(regimen, agent, dose, every, doses, follow, folder=None if folder is None else Path(folder))
    return simulate_course(course, months_of_interest(course, at), covariates, parameters)


def months_of_interest(course: Course, at: Iterable[float] | None) -> list[float]:
    """Every month of the course, and each of `at` (which may lie beyond its end)."""
    monthly = [float(month) for month in range(math.ceil(course.months - 1e-9) + 1)]
    wrong = [month for month in at or () if not 0 <= month <= LONGEST]
    if wrong:
        raise BadInput(f"at: {wrong[0]:g} is not a month from 0 to {LONGEST}.")
    return sorted({*monthly, *(float(month) for month in at or ())})


def months_to_draw(course: Course, rows: Sequence[float]) -> list[float]:
    """`rows`, and between them enough months for smooth curves, closer where a dose acts within days."""
    from ranklsim.pkpd.units import DAYS_PER_MONTH

    end = max(course.months, *rows)
    steps = int(min(600, max(200, 10 * end)))
    grid = {end * step / steps for step in range(steps + 1)}
    for part in course.regimens:
        if part.doses <= 60:
            grid |= {
                float(day + after) / DAYS_PER_MONTH for day in part.times_days() for after in (0, 0.3, 1, 2, 4, 7, 14)
            }
    return sorted({*rows, *(month for month in grid if month <= end)})


def simulate_course(
    course: Course,
    months: Sequence[float],
    covariates: Mapping[str, float] | None = None,
    parameters: Path | str | ParameterTable | None = None,
    where: str = "covariates",
    tell: Callable[[str], None] | None = None,
    rtol: float = 1e-6,
) -> pd.DataFrame:
    """The typical patient under a planned course, at `months`; see `simulate`."""
    from ranklsim.pkpd.parameters import load_parameters
    from ranklsim.pkpd.simulation import simulate_typical

    table = load_parameters(parameters) if parameters is None or isinstance(parameters, str | Path) else parameters
    of_agents = {name: value for name, value in (covariates or {}).items() if "." in name}
    of_patient = {name: value for name, value in (covariates or {}).items() if "." not in name}
    table = table.replace(of_agents, where)
    used = {name for agent in course.agents for name in agent.numbers}
    idle = [
        f"{where}: {name} changes nothing, since no agent that is given has this number; leave it out."
        for name in of_agents
        if name not in used
    ]
    if idle:
        raise BadInput(*idle)
    symbols = checked_covariates(table, of_patient, where)
    given = [part for part in course.regimens if part.dose_mg > 0]  # a placebo is given nothing
    return simulate_typical(
        given, course.agents, months=list(months), parameters=table, covariates=symbols, rtol=rtol, tell=tell
    )


def checked_covariates(table: ParameterTable, covariates: Mapping[str, float], where: str) -> dict[str, float]:
    """Symbols and values of `covariates`; every unknown name and every value out of range is named, as it was given."""
    from ranklsim.pkpd.biology.skeleton import NAMES, t_score
    from ranklsim.pkpd.simulation import CONDUCT, COVARIATES, covariate_symbols

    known = [*COVARIATES, *CONDUCT, *(f"T_{site}" for site in NAMES), *table.frame.index]
    symbols: dict[str, float] = {}
    faults: list[str] = []
    for name, value in covariates.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"did you mean '{near[0]}'? " if near else ""
            faults.append(f"{where}: unknown covariate '{name}'; {hint}`ranklsim simulate --help` names them.")
            continue
        try:
            symbols |= covariate_symbols(table, {name: value}, f"{where} {name}")
        except BadInput as error:
            site = name.removeprefix("T_")
            if name not in table.frame.index and site in NAMES:
                low, high = (t_score(table, site, table.frame.loc[f"BMD0_{site}", end]) for end in ("low", "high"))
                faults.append(f"{where} {name}: {value:g} is outside its range; give {low:.1f} to {high:.1f}.")
            else:
                faults += error.messages
    if faults:
        raise BadInput(*faults)
    return symbols


def run(
    trial: str | Path,
    out: str | Path | None = None,
    *,
    patients: int | None = None,
    seed: int | None = None,
    layers: Iterable[str] | None = None,
    parameters: Path | str | ParameterTable | None = None,
    workers: int | None = None,
    rtol: float | None = None,
    resume: bool = False,
    force: bool = False,
    scheduler: Any = None,
    progress: Callable[[int, int], object] | None = None,
    tell: Callable[[str], None] | None = None,
    command: str | None = None,
) -> Run:
    """Run a trial into a folder.

    Parameters
    ----------
    trial : str or path
        The name of a trial that ships, or a TOML file.
    out : path or URL, optional
        Folder for the run, ``runs/NAME`` by default; it may not hold anything, unless `resume` or `force`. A URL is one
        that fsspec knows, such as ``s3://bucket/run``.
    patients, seed : int, optional
        Instead of the trial's own.
    layers : iterable of str, optional
        The sources of variation that are on, instead of the trial's own: some of patients, residual, parameters.
    parameters : path or ParameterTable, optional
        Parameter values other than the shipped ones (CSV with symbol and value).
    workers : int, optional
        Processors to use, all of this machine's by default; no result depends on it.
    rtol : float, optional
        Error allowed the integrator a step, relative; 1e-5 by default.
    resume : bool
        Go on with the interrupted run in `out`.
    force : bool
        Replace the run in `out`.
    scheduler : str or distributed.Client, optional
        Dask cluster that does the work, by address (``tcp://host:8786``) or client; no result depends on it.
    progress : callable, optional
        Called with persons done and persons in all.
    tell : callable, optional
        Called with a sentence when something slow begins, and with what a resumed run found.
    command : str, optional
        What the user typed, for the manifest.

    Returns
    -------
    Run
        The run, with its tables as data frames: ``patients``, ``visits``, ``doses``, ``events``.

    Raises
    ------
    BadInput
        If the trial, a parameter or the folder can't be used as it is.
    RunFailed
        If the run can't be finished.
    """
    from ranklsim.cohorts.running import execution

    return execution.run(
        trial,
        out,
        patients=patients,
        seed=seed,
        layers=None if layers is None else list(layers),
        parameters=parameters,
        workers=workers,
        rtol=execution.RTOL if rtol is None else rtol,
        resume=resume,
        force=force,
        scheduler=scheduler,
        progress=progress,
        tell=tell,
        command=command,
    )


def report(folder: str | Path, *, formats: Sequence[str] = ("html",)) -> Path:
    """Write the report of the run in `folder`.

    Parameters
    ----------
    folder : path or URL
    formats : sequence of str
        Some of "html" (always written), "docx", "rtf" and "parquet".

    Returns
    -------
    Path
        ``report/index.html`` in `folder`; ``report.docx`` and ``rtf/`` lie beside it.
    """
    from ranklsim.reports.csr.report import write_report

    return write_report(folder, formats=formats)


def cdisc(
    folder: str | Path,
    out: str | Path,
    *,
    formats: Sequence[str] = ("parquet", "xpt", "json"),
    first_day: date | None = None,
    force: bool = False,
) -> Path:
    """Write the data of the run in `folder` as ADaM data sets with define.xml into `out`.

    Parameters
    ----------
    folder : path or URL
    out : path
    formats : sequence of str
        Some of "parquet", "xpt" (SAS transport version 5) and "json" (Dataset-JSON 1.1).
    first_day : date, optional
        On which the first patient is randomised; 2000-01-03 by default.
    force : bool
        Whether to replace earlier data sets in `out`.

    Returns
    -------
    Path
        `out`.
    """
    from ranklsim.reports.cdisc.datasets import FIRST_DAY
    from ranklsim.reports.cdisc.export import write_cdisc

    return write_cdisc(folder, out, formats=formats, first_day=first_day or FIRST_DAY, force=force)


def analyse(run: Run | str | Path) -> Analyses:
    """Analyse a finished run as its trial file asks.

    Parameters
    ----------
    run : Run or path
        As `run` returns, or its folder.

    Returns
    -------
    ranklsim.reports.analyses.results.Analyses
        Data frames: `endpoints` (estimate, interval, p and conclusion by arm), `estimands` (estimates beside the truth
        from counterfactual twins), `curves` and `at_risk` of times to event, `subgroups`, `multiplicity`.
    """
    from ranklsim.cohorts.running.storage import open_run
    from ranklsim.reports.analyses import results

    return results.analyse(open_run(Path(run)) if isinstance(run, str | Path) else run)


def compare(folders: Sequence[str | Path], out: str | Path, *, force: bool = False, command: str = "") -> Path:
    """Set finished runs side by side in one page; the first is the one that others are compared with.

    Parameters
    ----------
    folders : sequence of path or URL
        Two runs or more.
    out : path
    force : bool
        Whether to replace an earlier comparison in `out`.
    command : str
        What was typed, for the page.

    Returns
    -------
    Path
        ``index.html`` in `out`.
    """
    from ranklsim.reports.pages.compare import write_comparison

    return write_comparison(folders, out, force=force, command=command)


def replicate(
    trial: str | Path,
    out: str | Path | None = None,
    *,
    replicates: int = 100,
    patients: int | Sequence[int] | None = None,
    vectors: int | str = 0,
    null: bool = True,
    keep_patients: bool = False,
    seed: int | None = None,
    layers: Iterable[str] | None = None,
    parameters: Path | str | ParameterTable | None = None,
    workers: int | None = None,
    rtol: float | None = None,
    resume: bool = False,
    force: bool = False,
    progress: Callable[[int, int], object] | None = None,
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
        Studies of each parameter vector, each with patients of its own; replicate 0 is the trial as `run` runs it.
    patients : int or sequence of int, optional
        Patients of a study over all arms, instead of the trial's own; several for power against their number.
    vectors : int or "all"
        Parameter vectors besides the default values: so many of the shipped ensemble, or all of it.
    null : bool
        Whether to analyse each study also with the control treatment in every arm, for the type I error.
    keep_patients : bool
        Whether to write the patients, visits and events of every study, not only its estimates.
    seed : int, optional
        Instead of the trial's own.
    layers : iterable of str, optional
        The sources of variation that are on, instead of the trial's own: some of patients, residual, parameters.
    parameters : path or ParameterTable, optional
        Parameter values other than the shipped ones (CSV with symbol and value).
    workers : int, optional
        Processors to use, all of this machine's by default; no result depends on it.
    rtol : float, optional
        Error allowed the integrator a step, relative; 1e-5 by default.
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
    from ranklsim.cohorts.running.execution import processors
    from ranklsim.reports.pages import replication

    return replication.replicate(
        trial,
        out,
        replicates=replicates,
        patients=patients,
        vectors=vectors,
        null=null,
        keep_patients=keep_patients,
        seed=seed,
        layers=None if layers is None else list(layers),
        parameters=parameters,
        workers=processors() if workers is None else workers,
        rtol=rtol,
        resume=resume,
        force=force,
        progress=progress,
        tell=tell,
        command=command,
    )


def sensitivity(
    trial: str | Path,
    out: str | Path | None = None,
    *,
    only: Iterable[str] | None = None,
    exclude: Iterable[str] | None = None,
    trajectories: int = 40,
    samples: int = 512,
    keep: int = 20,
    second_order: bool = False,
    ensemble: str | Path | None = "shipped",
    intervals: str | Path | None = None,
    parameters: Path | str | ParameterTable | None = None,
    seed: int | None = None,
    workers: int | None = None,
    resume: bool = False,
    force: bool = False,
    progress: Callable[[int, int], object] | None = None,
    command: str = "",
) -> Sensitivity:
    """Ask on which parameters the durability and the rebound of a trial's arms depend.

    Parameters
    ----------
    trial : str or path
        The name of a trial that ships, or a TOML file.
    out : path, optional
        Folder for tables and a page with figures; nothing is written without it.
    only, exclude : iterable of str, optional
        Parameters to move, or not: symbols (``"kT"``, ``"denosumab.CL"``) or kinds ("open", "fitted", "assumed",
        "measured"). All but the measured ones by default.
    trajectories : int
        Morris trajectories of the screening.
    samples : int
        N of the Sobol indices, a power of two; N (keep + 2) vectors are simulated.
    keep : int
        Parameters that pass the screening.
    second_order : bool
        Whether to ask for interactions of pairs; N (2 keep + 2) vectors then.
    ensemble : path, optional
        CSV of vectors that fit the data together, a column a symbol, of which rank correlations are found besides the
        indices; the ensemble that ships by default, none with None.
    intervals : path, optional
        Intervals of fitted parameters, such as a fit's ``estimates.csv``; 95 % of the shipped ensemble by default.
    parameters : path or ParameterTable, optional
        Parameter values other than the shipped ones (CSV with symbol and value).
    seed : int, optional
        Of the samples; the trial's by default.
    workers : int, optional
        Processors to use, all of this machine's by default; no result depends on it.
    resume, force : bool
        Go on with the interrupted analysis in `out`; replace the one in `out`.
    progress : callable, optional
        Called with persons done and persons in all.
    command : str
        What the user typed, for the record.

    Returns
    -------
    Sensitivity
        Its tables as data frames: ``morris``, ``sobol``, ``outcomes``, ``samples``, ``pairs``, ``correlations``.

    Raises
    ------
    BadInput
        If the trial, a name, a number or the folder can't be used as it is.
    RunFailed
        If a vector can't be integrated, or no outcome varies.
    """
    from ranklsim.cohorts.running.execution import processors
    from ranklsim.reports.pages import sensitivity_report

    return sensitivity_report.sensitivity(
        trial,
        out,
        trajectories=trajectories,
        samples=samples,
        keep=keep,
        second_order=second_order,
        seed=seed,
        only=None if only is None else list(only),
        exclude=None if exclude is None else list(exclude),
        ensemble=ensemble,
        intervals=intervals,
        parameters=parameters,
        workers=processors() if workers is None else workers,
        resume=resume,
        force=force,
        progress=progress,
        command=command,
    )


def trials() -> pd.DataFrame:
    """The trials that ship, a row each: name, title, arms, patients, months."""
    import pandas as pd

    from ranklsim.cohorts.protocol.trial import list_trials

    rows = [
        {
            "name": trial.name,
            "title": trial.title,
            "arms": len(trial.arms),
            "patients": trial.population.patients,
            "months": trial.months,
        }
        for trial in list_trials()
    ]
    return pd.DataFrame(rows)


def agents(folder: str | Path | None = None) -> pd.DataFrame:
    """The agents that ship (and those in `folder`), a row each: name, label, kind, route, and whether hypothetical."""
    import pandas as pd

    from ranklsim.pkpd.agents import list_agents

    fields = ("name", "label", "kind", "route", "hypothetical", "reference_regimen", "description")
    found = list_agents(None if folder is None else Path(folder))
    return pd.DataFrame([{field: getattr(agent, field) for field in fields} for agent in found])
