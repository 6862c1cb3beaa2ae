"""Verbs that study the model or a trial's design: replicate, sensitivity, design, validate, fit, qualify, genetics."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from ranklsim.reports.cli import shared


@shared.verb(
    "replicate",
    "Run a trial many times: power, type I error, bias, coverage.",
    "replicate freedom --replicates 100 --patients 50 -o runs/power",
    shared.RESUMABLE,
)
@click.argument("trial")
@shared.RESULT
@shared.option(
    "--replicates",
    shared.whole(1),
    "R",
    "Number of studies for each parameter vector, each with new patients.  [default: 100]",
)
@shared.option(
    "--precision",
    str,
    "P",
    "Choose the number of studies: half the width of Wilson's 95 % interval of a type I error of 2.5 %, such as 0.5%.",
)
@shared.option("--endpoints", str, "WHICH", "all, or primary for the primary endpoints alone.", default="all")
@shared.option(
    "--patients",
    shared.SIZES,
    "LIST",
    "Patients of a study over all arms; one number or several (25,50,100).  [default: the trial's]",
)
@shared.option(
    "--vectors",
    shared.VECTORS,
    "V",
    "Number of parameter vectors that agree with published figures, in addition to the default values, or all.",
    default=0,
)
@shared.flag("--no-null", "Do not simulate the null hypothesis; gives no type I error.")
@shared.flag("--keep-patients", "Also write the patients, visits and events of every study.")
@shared.SEED
@shared.WORKERS
@shared.LAYERS
@shared.PARAMETERS
@shared.ACCURACY
@shared.TRIAL_AGENTS
@shared.RESUME
@shared.FORCE
def _replicate(
    trial: str, out: Path | None, agents: Path | None, no_null: bool, resume: bool, force: bool, **options: Any
) -> None:
    """Run TRIAL many times and estimate power, type I error, bias and coverage of its analyses.

    Endpoints, estimands, multiplicity and interim looks are analysed as in the report of the trial. DIR then contains
    operating.csv, truth.csv, estimates.parquet (one row for each study, endpoint and arm) and index.html; with vectors
    also assurance.csv. docs/replicates.md explains the files.
    """
    from ranklsim import api

    out = shared.result_folder(out, "replicate", trial)
    with shared.resumable("analysis", resume, force), shared.progress_bar() as (progress, tell):
        api.replicate(
            shared.with_agents(trial, agents),
            out,
            null=not no_null,
            resume=resume,
            force=force,
            progress=progress,
            tell=tell,
            command=shared.command_line(),
            **shared.given(options),
        )
    click.echo(out / "index.html")


@shared.verb(
    "sensitivity",
    "Find the unknown parameters that matter most.",
    "sensitivity modality -o runs/sensitivity",
    shared.RESUMABLE,
)
@click.argument("trial")
@shared.RESULT
@shared.option(
    "--only",
    shared.NAMES,
    "LIST",
    "Parameters to vary: symbols (kT,denosumab.CL) or kinds (open, fitted, assumed, measured, hazard).  "
    "[default: open,fitted,assumed]",
)
@shared.option("--exclude", shared.NAMES, "LIST", "Parameters not to vary: symbols or kinds.")
@shared.option(
    "--endpoint endpoints",
    str,
    "NAME",
    "An endpoint of the trial, besides durability and rebound. Can be repeated.  [default: all that are measured]",
    multiple=True,
)
@shared.option("--trajectories", shared.whole(2), "R", "Morris trajectories.", default=40)
@shared.option(
    "--samples",
    shared.whole(2),
    "N",
    "N of the Sobol indices, a power of two; N (K + 2) vectors are simulated.",
    default=512,
)
@shared.option("--keep", shared.whole(2), "K", "Parameters kept after screening.", default=20)
@shared.flag("--second-order", "Also pairs of parameters; N (2 K + 2) vectors.")
@shared.option(
    "--ensemble",
    shared.FILE,
    "FILE.csv",
    "Parameter vectors that fit the data, one column for each symbol, for rank correlations; or none.  "
    "[default: the shipped ensemble]",
    default="shipped",
    show_default=False,
)
@shared.option(
    "--intervals",
    shared.FILE,
    "FILE.csv",
    "Intervals of fitted parameters: the estimates.csv of a fit.  [default: 95 % of the shipped ensemble]",
)
@shared.PARAMETERS
@shared.SEED
@shared.WORKERS
@shared.TRIAL_AGENTS
@shared.RESUME
@shared.FORCE
def _sensitivity(
    trial: str,
    out: Path | None,
    agents: Path | None,
    resume: bool,
    force: bool,
    endpoints: tuple[str, ...],
    **options: Any,
) -> None:
    """Find the parameters on which the endpoints of TRIAL, durability and rebound depend, and what to measure next.

    The command screens all parameters (Morris), then estimates Sobol indices of those that matter, in one typical
    patient. DIR then contains morris.csv, sobol.csv, outcomes.csv, samples.parquet and index.html.
    docs/sensitivity.md explains them.
    """
    from ranklsim import api

    out = shared.result_folder(out, "sensitivity", trial)
    with shared.resumable("analysis", resume, force), shared.progress_bar() as (progress, _):
        api.sensitivity(
            shared.with_agents(trial, agents),
            out,
            endpoints=endpoints or None,
            resume=resume,
            force=force,
            progress=progress,
            command=shared.command_line(),
            **shared.given(options),
        )
    click.echo(out / "index.html")


@shared.verb(
    "design",
    "Find the dose, interval, duration or exit that meets what is required.",
    'design --dose-for "90 % of denosumab\'s BMD_LS at 36 mo" --agent mrankl-selective --every 6mo -o runs/dose',
    shared.RESUMABLE,
)
@click.argument("question", required=False)
@shared.RESULT
@shared.option("--dose-for", str, "TEXT", 'What the dose must keep, such as "90 % of denosumab\'s BMD_LS at 36 mo".')
@shared.option("--agent", str, "NAME|FILE.toml", "With --dose-for: the agent whose dose is searched.")
@shared.option("--every", shared.NAMES, "LIST", "With --dose-for: intervals, such as 3mo,6mo.  [default: 6mo]")
@shared.option("--doses", str, "RANGE", 'With --dose-for: the range of doses, such as "10..240 mg".')
@shared.option("--draws", shared.whole(10), "N", "Parameter vectors.  [default: the question's, or all that ship]")
@shared.PARAMETERS
@shared.WORKERS
@shared.AGENTS
@shared.RESUME
@shared.FORCE
def _design(question: str | None, out: Path | None, resume: bool, force: bool, **options: Any) -> None:
    """Answer QUESTION, a TOML file or the name of a shipped question, or the question of --dose-for.

    The answer is given over parameter vectors that agree with the published figures, and checked in virtual patients.
    DIR then contains cells.csv, designs.csv, patients.csv, unknowns.csv and index.html. docs/design.md explains them.
    """
    from ranklsim import api
    from ranklsim.reports.design.show import sentences

    out = shared.result_folder(out, "design", question or options.get("agent") or "dose")
    with shared.resumable("analysis", resume, force), shared.progress_bar() as (progress, _):
        found = api.design(
            question,
            out,
            resume=resume,
            force=force,
            progress=progress,
            command=shared.command_line(),
            **shared.given(options),
        )
    for sentence in sentences(found):
        click.echo(sentence)
    click.echo(out / "index.html")


@shared.verb("validate", "Compare every published figure with its prediction.", "validate -o runs/validation")
@shared.option("--evidence", shared.FILE, "DIR", "Folder with arms.toml and observations.csv.  [default: shipped]")
@shared.PARAMETERS
@shared.option("-o --out", shared.FILE, "DIR", "Folder for the result.", default="runs/validation")
@shared.option(
    "--patients",
    shared.whole(0),
    "N",
    "Virtual patients in each arm; 0 simulates only its typical patient, without intervals.",
    default=200,
)
@shared.option("--seed", shared.whole(0), "S", "Seed of the virtual patients.", default=1)
@shared.FORCE
def _validate(evidence: Path | None, parameters: Path | None, out: Path, patients: int, seed: int, force: bool) -> None:
    """Predict every figure of the evidence from a simulated cohort of its arm.

    DIR then contains predictions.csv, summary.csv and index.html with plots.
    """
    from ranklsim import api

    with shared.progress_bar() as (progress, _):
        page = api.validate(
            out,
            evidence=evidence,
            parameters=parameters,
            patients=patients,
            seed=seed,
            force=force,
            progress=progress,
            command=shared.command_line(),
        )
    click.echo(page)


@shared.verb("fit", "Fit parameters to published figures.", "fit my-fit.toml -o runs/my-fit", shared.RESUMABLE)
@click.argument("spec")
@shared.RESULT
@shared.PARAMETERS
@shared.RESUME
@shared.FORCE
@shared.flag("--no-profile", "Skip profile likelihoods; intervals use the curvature.")
def _fit(spec: str, out: Path | None, parameters: Path | None, resume: bool, force: bool, no_profile: bool) -> None:
    """Fit parameters to published figures. SPEC is a TOML file or the name of a shipped fit (default, between_patient).

    DIR then contains parameters.csv, for use with --parameters, and index.html, which reports how reliable the
    estimates are. docs/fitting.md describes SPEC.
    """
    from ranklsim import api

    out = shared.result_folder(out, "fit", spec)
    with shared.resumable("fit", resume, force), _status() as tell:
        result = api.fit(
            spec,
            out,
            parameters=parameters,
            profiles=not no_profile,
            resume=resume,
            force=force,
            progress=tell,
            command=shared.command_line(),
        )
    for sentence in result.warnings:
        click.echo(sentence, err=True)
    click.echo(out / "index.html")
    if not result.converged:
        raise click.exceptions.Exit(1)


@shared.verb("qualify", "Verify this installation on this machine.", "qualify -o runs/qualification", shared.RESUMABLE)
@shared.option("-o --out", shared.FILE, "DIR", "Folder for the result.", default="runs/qualification")
@shared.option("--only", shared.NAMES, "LIST", "Requirements or groups to check, such as IQ,SV-01.  [default: all]")
@shared.RESUME
@shared.FORCE
def _qualify(out: Path, only: list[str] | None, resume: bool, force: bool) -> None:
    """Check installation, solver, determinism, statistics and published trials, each by requirements with a rule.

    DIR then contains index.html and qualification.docx for a quality unit, and qualification.csv with one row for each
    requirement. The exit code is 1 if one fails. docs/qualify.md lists the requirements.
    """
    from ranklsim import api

    with shared.resumable("qualification", resume, force):
        found = api.qualify(out, only=only, resume=resume, force=force, tell=click.echo, command=shared.command_line())
    click.echo(found.sentence())
    click.echo(out / "index.html")
    if not found.passed:
        raise click.exceptions.Exit(1)


@shared.verb("genetics", "Compare virtual knock-outs with published mice.", "genetics -o genetics.csv")
@shared.option("-o --out", shared.FILE, "FILE.csv", "Table to write; one row per published finding.")
@shared.option("--page", shared.FILE, "DIR", "Folder for a page of the table.")
@shared.PARAMETERS
@shared.FORCE
def _genetics(out: Path | None, page: Path | None, parameters: Path | None, force: bool) -> None:
    """Predict every published knock-out, transgenic and ovariectomy that the model can express: pass or fail.

    Beside the prediction stand the median and the middle 90 % over vectors of the ensemble. A failed test is reported
    and does not change the exit code.
    """
    if out is not None:
        shared.check_targets([out], force)
    from ranklsim.reports.pages.genetics import check_page, write_page

    if page is not None:
        check_page(page, force=force)
    from ranklsim.pkpd.ensemble import ensemble, fit_for
    from ranklsim.pkpd.mice.genetics import VECTORS, describe_genetics, run_genetics
    from ranklsim.pkpd.parameters import load_parameters

    table = load_parameters(parameters)
    frame = run_genetics(table, vectors=fit_for(ensemble().head(VECTORS), table, []))
    click.echo(describe_genetics(frame).rstrip("\n"))
    if page is not None:
        click.echo(write_page(page, frame, force=force, command=shared.command_line()))
    if out is not None:
        with shared.new_files([out], force) as (path,):
            frame.to_csv(path, index=False, float_format="%.6g", lineterminator="\n")
        click.echo(out)


@contextlib.contextmanager
def _status() -> Iterator[Callable[[str, float], None] | None]:
    """Yield a function that shows the state of a fit on one line of stderr, or None without a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    began = time.monotonic()

    def tell(text: str, objective: float) -> None:
        line = f"{text}: objective {objective:.6g}, {time.monotonic() - began:.0f} s"
        sys.stderr.write("\r\033[K" + line[: shared.width() - 1])
        sys.stderr.flush()

    try:
        yield tell
    finally:
        sys.stderr.write("\r\033[K")
        sys.stderr.flush()


VERBS = (_replicate, _sensitivity, _design, _validate, _fit, _qualify, _genetics)
