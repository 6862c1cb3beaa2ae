"""Verbs that make a run or read one: run, simulate, report, cdisc, compare, bundle, reproduce."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import click

from ranklsim.pkpd.errors import BadInput, RunFailed
from ranklsim.reports.cli import shared
from ranklsim.reports.figures.painters import painters

STDOUT = Path("-")
PLOT_FORMATS = (".svg", ".pdf", ".png")


@shared.verb(
    "run",
    "Run a trial and write its report.",
    "run modality -o runs/modality --patients 400 --seed 7",
    shared.RESUMABLE,
)
@click.argument("trial")
@shared.option(
    "-o --out",
    shared.PLACE,
    "DIR",
    "Folder for the run, or a URL such as s3://bucket/run.  [default: runs/ and the trial's name]",
)
@shared.option("--patients", shared.whole(1), "N", "Patients over all arms.  [default: the trial's]")
@shared.SEED
@shared.WORKERS
@shared.LAYERS
@shared.PARAMETERS
@shared.ACCURACY
@shared.option(
    "--scheduler",
    str,
    "URL",
    "Dask cluster that runs the trial, such as tcp://host:8786. Its workers must see DIR. Changes no result.",
)
@shared.TRIAL_AGENTS
@shared.RESUME
@shared.FORCE
@shared.flag("--no-report", "Do not write the report; `ranklsim report DIR` writes it later.")
def _run(
    trial: str,
    out: str | Path | None,
    agents: Path | None,
    no_report: bool,
    resume: bool,
    force: bool,
    **options: Any,
) -> None:
    """Run TRIAL and write its report. TRIAL is the name of a shipped trial or a TOML file.

    DIR then contains manifest.json, trial.toml, patients, visits, doses and events as Parquet, and report/index.html.
    """
    # Painters import what they need while this process imports and runs; one processor leaves none for them.
    with painters(0 if no_report or options["workers"] == 1 else None):
        _run_and_report(trial, out, agents, no_report, resume, force, options)


def _run_and_report(
    trial: str,
    out: str | Path | None,
    agents: Path | None,
    no_report: bool,
    resume: bool,
    force: bool,
    options: dict[str, Any],
) -> None:
    from ranklsim import api
    from ranklsim.cohorts.running import execution

    try:
        with shared.resumable("run", resume, force), shared.progress_bar() as (progress, tell):
            if resume and tell is None:  # also without a terminal, report how much of the interrupted run is kept
                tell = partial(click.echo, err=True)
            run = api.run(
                shared.with_agents(trial, agents),
                out,
                resume=resume,
                force=force,
                progress=progress,
                tell=tell,
                command=shared.command_line(),
                **shared.given(options),
            )
    except execution.Interrupted as error:
        text = str(error).replace("continue with --resume", f"continue with `{shared.command_line(resume=True)}`")
        raise shared.Interrupted(text) from None
    if no_report:
        click.echo(run.folder)
        return
    try:
        page = api.report(run.folder)
        if run.was_replaced():
            raise RunFailed(f"{run.folder}: another process wrote a run here meanwhile; give each run its own folder.")
        click.echo(page)
    except KeyboardInterrupt:
        raise shared.Interrupted(
            f"interrupted; the run is complete without its report; write it with `ranklsim report {run.folder}`."
        ) from None


@click.command(
    "simulate",
    short_help="Simulate one typical patient.",
    epilog="Example: `ranklsim simulate --agent denosumab --dose 60mg --every 6mo --doses 6 --follow 24mo -o x.csv`. "
    + shared.EXIT_CODES,
)
@shared.option("--agent", str, "NAME", "Agent: a name from `ranklsim agents`, or your own file NAME.toml.")
@shared.option("--dose", str, "DOSE", "Amount of each dose, such as 60mg.")
@shared.option("--every", str, "TIME", "Interval between doses, such as 6mo, 1wk, 1yr; 1 mo is 30.4375 days.")
@shared.option("--doses", shared.whole(1), "N", "Number of doses.  [default: 1]")
@shared.option(
    "--regimen",
    str,
    "TEXT",
    'A sequence, in place of the four options above: "denosumab 14mg every 6mo x4, denosumab 60mg every 6mo x4".',
)
@shared.option(
    "--doses-from",
    shared.FILE,
    "FILE.csv",
    "A table of dosing records in place of the options above: TIME, AMT, RATE, II, ADDL, SS, EVID, AGENT (or --agent).",
)
@shared.option("--patient", str, "ID", "Patient of that table; needed if it has several.")
@shared.option("--time", click.Choice(["days", "hours"]), "", "Unit of times in that table.", default="days")
@shared.option("--follow", str, "TIME", "Follow-up after the interval of the last dose.", default="12mo")
@shared.option(
    "--set settings",
    shared.SETTING,
    "NAME=VALUE",
    "A value that differs from the typical patient: age, years_since_menopause (yr), weight (kg), height (cm), "
    "eGFR (mL/min/1.73m2), vitamin_D, CTX, P1NP (ng/mL), T_LS, T_TH, T_FN, T_R13, prevalent_fracture (0 or 1), "
    "a symbol from `ranklsim parameters`, or a symbol of an agent (denosumab.CL). A value may have a unit of its own "
    "(abc-301.KD_mRANKL=0.5nM). Can be repeated.",
    multiple=True,
)
@shared.option("--at", shared.MONTHS, "MONTHS", "Additional rows at these months, such as 0.1,1,6.")
@shared.PARAMETERS
@shared.option("--rtol", shared.TOLERANCE, "X", "Relative error of one integration step.", default="1e-6")
@shared.option(
    "--draws",
    shared.whole(0),
    "N",
    "Parameter vectors that agree with published figures: each output then has the ends of its 90 % interval over them "
    "(_low, _high), and the figure has bands.",
    default=0,
)
@shared.AGENTS
@shared.option("-o --out", shared.FILE, "FILE.csv", "Table to write, one row a month; - for the terminal.", default="-")
@shared.option("--plot", shared.FILE, "FILE.svg", "Figure to write (.svg, .pdf or .png).")
@shared.FORCE
def _simulate(settings: Sequence[tuple[str, str]], out: Path, plot: Path | None, force: bool, **options: Any) -> None:
    """Simulate one typical patient, without variability between patients and without measurement error.

    Columns: month, drug concentrations, occupancy of RANKL by form, markers (CTX_pct is % of baseline), BMD
    (BMD_LS_pct is % change). A value at the time of a dose is the trough just before the dose.
    """
    covariates = shared.settings(settings, options.get("folder"))
    if plot is not None and plot.suffix.lower() not in PLOT_FORMATS:
        raise BadInput(f"--plot: '{plot}' does not end in one of {', '.join(PLOT_FORMATS)}.")
    targets = [target for target in (out, plot) if target is not None and target != STDOUT]
    shared.check_targets(targets, force)
    from ranklsim import api

    with shared.progress_bar() as (_, tell):
        course = api.simulate(covariates=covariates, tell=tell, **shared.given(options))
    with shared.new_files(targets, force) as paths:
        wanted = course.to_frame().round(12) + 0.0  # no -3e-14 for a change that is none
        text = wanted.to_csv(index=False, float_format="%.8g", lineterminator="\n")
        if plot is not None:
            course.plot(paths[-1])
        if out == STDOUT:
            click.echo(text, nl=False)
            return
        paths[0].write_text(text, encoding="utf-8", newline="")
    for target in reversed(targets):
        click.echo(target)


@shared.verb("report", "Write the report of a run again.", "report runs/modality --format docx,rtf")
@shared.RUN
@shared.option(
    "--format formats",
    shared.NAMES,
    "LIST",
    "Formats besides the page, separated by commas: docx (report.docx, a Word document), rtf (rtf/, one file "
    "per table), pptx (slides.pptx, the figures of the core), parquet (the numbers of every table and figure).",
    default="html",
)
@shared.flag("--brief", "Only the core: the answer and some eight pages, without appendices.")
@shared.flag("--slides", "As --format pptx: the figures of the core as slides.")
def _report(folder: str | Path, formats: list[str], brief: bool, slides: bool) -> None:
    """Write the report of the run in DIR again: DIR/report/index.html, a single file that needs no other.

    DIR may be a URL, as in `ranklsim run -o`.
    """
    with painters():
        from ranklsim import api

        click.echo(api.report(folder, formats=[*formats, "pptx"] if slides else formats, brief=brief))


@shared.verb("cdisc", "Write a run's data as CDISC (ADaM) data sets.", "cdisc runs/modality -o runs/modality-adam")
@shared.RUN
@shared.option("-o --out", shared.FILE, "DIR", "Folder for the data sets.  [default: DIR of the run with -adam]")
@shared.option(
    "--format formats",
    shared.NAMES,
    "LIST",
    "Formats, separated by commas: parquet, xpt (SAS transport version 5), json (Dataset-JSON 1.1).",
    default="parquet,xpt,json",
)
@shared.option(
    "--first-day",
    shared.DAY,
    "YYYY-MM-DD",
    "Date on which the first patient is randomised; simulated time has no calendar.",
    default="2000-01-03",
)
@shared.FORCE
def _cdisc(folder: str | Path, out: Path | None, formats: list[str], first_day: date, force: bool) -> None:
    """Write the data of the run in DIR as ADSL, ADBMD, ADLB, ADTTE, ADEX, ADPC, ADPP and ADCE, with define.xml.

    The command first checks names, labels, lengths, keys, controlled terms, baselines and days. It writes nothing if a
    rule is broken. It says which data set has no record and is left out, and which label has letters that SAS transport
    files can't hold, so that the name stands for it.
    """
    from ranklsim import api

    tell = partial(click.echo, err=True)
    out = _beside(folder, out, "-adam")
    click.echo(api.cdisc(folder, out, formats=formats, first_day=first_day, force=force, tell=tell))


def _beside(folder: str | Path, out: Path | None, ending: str) -> Path:
    """Where a result goes that is made of a run: beside the run's folder, unless a place is given."""
    if out is not None:
        return out
    if not isinstance(folder, Path):
        raise BadInput(f"--out is missing; the run is at {folder}, and the result is written to this machine.")
    return folder.with_name(f"{folder.resolve().name}{ending}")


@shared.verb("compare", "Compare several runs.", "compare runs/modality runs/seed0 -o runs/compared")
@click.argument("folders", metavar="DIR1 DIR2 ...", type=shared.PLACE, nargs=-1, required=True)
@shared.option("-o --out", shared.FILE, "DIR", "Folder for the result.", default="runs/compared")
@shared.FORCE
def _compare(folders: Sequence[str | Path], out: Path, force: bool) -> None:
    """Compare the runs in DIR1, DIR2, ...: differences between their inputs, endpoints, durability.

    Runs with the same seed and population contain the same patients; these are compared one by one with the first run.
    """
    from ranklsim import api

    click.echo(api.compare(folders, out, force=force, command=shared.command_line()))


@shared.verb("plan", "Write the model analysis plan of a trial, before its run.", "plan modality -o runs/plan")
@click.argument("trial")
@shared.RESULT
@shared.option("--patients", shared.whole(1), "N", "Patients over all arms.  [default: the trial's]")
@shared.SEED
@shared.LAYERS
@shared.PARAMETERS
@shared.FORCE
def _plan(trial: str, out: Path | None, force: bool, **options: Any) -> None:
    """Write the model analysis plan of TRIAL, with the table [midd] of its file, and the hash of all inputs.

    DIR then contains index.html, plan.docx, plan.json and the inputs. The hash is printed; file it elsewhere.
    docs/dossier.md explains the documents.
    """
    from ranklsim import api

    out = shared.result_folder(out, "plan", trial)
    made = api.plan(trial, out, force=force, command=shared.command_line(), **shared.given(options))
    click.echo(f"The hash of the plan is {made.hash}; file it elsewhere.")
    click.echo(out / "index.html")


@shared.verb(
    "dossier",
    "Write the evidence assessment and the model analysis report of a run.",
    "dossier runs/modality --plan runs/plan --qualification runs/qualification -o runs/dossier",
)
@shared.RUN
@shared.RESULT
@shared.option("--plan", shared.FILE, "DIR", "Folder of the plan of the run.", required=True)
@shared.option("--qualification", shared.FILE, "DIR", "Folder of `ranklsim qualify`, for verification and validation.")
@shared.option("--replicates", shared.FILE, "DIR", "Folder of `ranklsim replicate`, for operating characteristics.")
@shared.option("--hash", str, "HASH", "Hash of the plan as it was filed; another plan is refused.")
@shared.FORCE
def _dossier(folder: str | Path, out: Path | None, force: bool, **options: Any) -> None:
    """Write the dossier of the run in DIR: assessment of the evidence, report, deviations from the plan, archive.

    Every criterion of the plan is given with pass or fail. What is missing is marked. docs/dossier.md explains it.
    """
    from ranklsim import api

    out = shared.result_folder(out, "dossier", str(folder))
    click.echo(api.dossier(folder, out, force=force, command=shared.command_line(), **shared.given(options)))


@shared.verb("bundle", "Write a run as one file that others can run again.", "bundle runs/modality -o modality.zip")
@shared.RUN
@shared.option("-o --out", shared.FILE, "FILE.zip", "Archive to write.  [default: DIR of the run with .zip]")
@shared.FORCE
def _bundle(folder: str | Path, out: Path | None, force: bool) -> None:
    """Write the run in DIR with its inputs, seed, versions and hashes as one archive, for `ranklsim reproduce`."""
    from ranklsim import api

    click.echo(api.bundle(folder, _beside(folder, out, ".zip"), force=force))


@shared.verb("reproduce", "Run a bundle again and compare every file.", "reproduce modality.zip")
@click.argument("file", metavar="FILE.zip", type=shared.FILE)
@shared.option("-o --out", shared.FILE, "DIR", "Folder that keeps the new run.  [default: none is kept]")
@shared.WORKERS
@shared.RESUME
@shared.FORCE
def _reproduce(file: Path, resume: bool, force: bool, **options: Any) -> None:
    """Run the trial in FILE.zip again, and say of each file whether it has the same bytes, or by how much it differs.

    The exit code is 1 if a file differs.
    """
    from ranklsim import api

    with shared.progress_bar() as (progress, tell):
        found = api.reproduce(file, resume=resume, force=force, progress=progress, tell=tell, **shared.given(options))
    for sentence in found.sentences():
        click.echo(sentence)
    if not found.same:
        raise click.exceptions.Exit(1)


@shared.verb(
    "export",
    "Write the model or data in the format of another tool.",
    'export "denosumab 60mg every 6mo x8" --format sbml -o denosumab.xml',
)
@click.argument("source", metavar="REGIMEN|TRIAL|DIR|FIT")
@shared.option(
    "--format",
    str,
    "NAME",
    "sbml (SBML level 3), r (a script for R's deSolve), nonmem (records of a run's patients) or petab (a fit, such as "
    "default).",
    required=True,
)
@shared.option("--time", click.Choice(["days", "hours"]), "", "Unit of times in a table of records.", default="days")
@shared.option("-o --out", shared.FILE, "FILE", "File to write.  [default: named after what it holds]")
@shared.option("--arm", str, "NAME", "Arm of the trial; needed if it has several.")
@shared.option("--follow", str, "TIME", "Follow-up after the interval of the last dose of a regimen.", default="12mo")
@shared.option(
    "--set settings",
    shared.SETTING,
    "NAME=VALUE",
    "A value that differs from the typical patient, as for `ranklsim simulate`. Can be repeated.",
    multiple=True,
)
@shared.PARAMETERS
@shared.AGENTS
@shared.FORCE
def _export(source: str, settings: Sequence[tuple[str, str]], **options: Any) -> None:
    """Write the typical patient under a REGIMEN, or under an arm of a TRIAL, the patients of the run in DIR, or a FIT.

    A file of the typical patient has all states, outputs, doses, and parameters with their units and sources.
    docs/exchange.md says what each format holds, what it cannot hold, and how closely other engines agree.
    """
    from ranklsim import api

    click.echo(api.export(source, covariates=shared.settings(settings, options.get("folder")), **shared.given(options)))


VERBS = (_run, _simulate, _report, _cdisc, _compare, _plan, _dossier, _bundle, _reproduce, _export)
