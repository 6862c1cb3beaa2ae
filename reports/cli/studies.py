"""Verbs that study the model or a trial's design: replicate, sensitivity, validate, fit, genetics."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from ranklsim.reports.cli import shared


@click.command(
    "replicate",
    short_help="Replicate a trial: power, type I error, bias, coverage, assurance.",
    epilog=f"Example: `ranklsim replicate freedom --replicates 100 --patients 50 -o runs/power`. {shared.RESUMABLE}",
)
@click.argument("trial")
@shared.RESULT
@click.option(
    "--replicates",
    type=shared.whole(1),
    metavar="R",
    default=100,
    show_default=True,
    help="Studies of each parameter vector, each with patients of its own.",
)
@click.option(
    "--patients",
    type=shared.sizes,
    metavar="LIST",
    help="Patients of a study over all arms, or several such numbers (25,50,100).  [default: the trial's]",
)
@click.option(
    "--vectors",
    type=shared.vectors,
    metavar="V",
    default=0,
    show_default=True,
    help="Parameter vectors that agree with published figures, besides the default values: so many, or all.",
)
@click.option("--no-null", is_flag=True, help="Leave out the studies without a difference, and so the type I error.")
@click.option("--keep-patients", is_flag=True, help="Write every study's patients, visits and events too.")
@shared.SEED
@shared.WORKERS
@click.option(
    "--layers",
    type=shared.layers,
    metavar="LIST",
    help="Sources of variation that are on: some of patients,residual,parameters.  [default: the trial's]",
)
@shared.PARAMETERS
@shared.ACCURACY
@click.option("--resume", is_flag=True, help="Go on with the interrupted analysis in DIR.")
@shared.FORCE
def replicate_command(trial: str, out: Path, no_null: bool, resume: bool, force: bool, **options: Any) -> None:
    """Run TRIAL many times and say how often it finds what is there, and how far its answers are off.

    Every endpoint, estimand, decision over several hypotheses and interim look is that of the trial's report. DIR then
    holds operating.csv, truth.csv, estimates.parquet (a row a study, endpoint and arm) and index.html, with vectors
    also assurance.csv; docs/replicates.md explains them.
    """
    from ranklsim import api

    with shared.resumable("analysis", resume, force), shared.progress_bar() as (progress, tell):
        api.replicate(
            trial,
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


@click.command(
    "sensitivity",
    short_help="Ask which unknown decides a trial's answer.",
    epilog=f"Example: `ranklsim sensitivity modality -o runs/sensitivity`. {shared.RESUMABLE}",
)
@click.argument("trial")
@shared.RESULT
@click.option(
    "--only",
    type=shared.names,
    metavar="LIST",
    help="Parameters to move: symbols (kT,denosumab.CL) or kinds (open, fitted, assumed, measured).  "
    "[default: open,fitted,assumed]",
)
@click.option("--exclude", type=shared.names, metavar="LIST", help="Parameters not to move: symbols or kinds.")
@click.option(
    "--trajectories", type=shared.whole(2), metavar="R", default=40, show_default=True, help="Morris trajectories."
)
@click.option(
    "--samples",
    type=shared.whole(2),
    metavar="N",
    default=512,
    show_default=True,
    help="N of the Sobol indices, a power of two: N (K + 2) vectors.",
)
@click.option(
    "--keep",
    type=shared.whole(2),
    metavar="K",
    default=20,
    show_default=True,
    help="Parameters that pass the screening.",
)
@click.option("--second-order", is_flag=True, help="Interactions of pairs too: N (2 K + 2) vectors.")
@click.option(
    "--ensemble",
    type=shared.FILE,
    metavar="shared.FILE.csv",
    default="shipped",
    help="Vectors of values that fit the data together, a column a symbol: rank correlations over them; or none.  "
    "[default: the shipped ensemble]",
)
@click.option(
    "--intervals",
    type=shared.FILE,
    metavar="shared.FILE.csv",
    help="Intervals of fitted parameters: the estimates.csv of your fit.  [default: 95 % of the shipped ensemble]",
)
@shared.PARAMETERS
@click.option("--seed", type=shared.whole(0), metavar="S", help="Seed of the samples.  [default: the trial's]")
@shared.WORKERS
@click.option("--resume", is_flag=True, help="Go on with the interrupted analysis in DIR.")
@shared.FORCE
def sensitivity_command(trial: str, out: Path, resume: bool, force: bool, **options: Any) -> None:
    """Ask on which parameters the durability and the rebound of TRIAL's arms depend, and what to measure next.

    Morris screening of all, then Sobol indices of those that matter, for one typical patient. DIR then holds
    morris.csv, sobol.csv, outcomes.csv, samples.parquet and index.html; docs/sensitivity.md explains them.
    """
    from ranklsim import api

    with shared.resumable("analysis", resume, force), shared.progress_bar() as (progress, _):
        api.sensitivity(
            trial,
            out,
            resume=resume,
            force=force,
            progress=progress,
            command=shared.command_line(),
            **shared.given(options),
        )
    click.echo(out / "index.html")


@click.command(
    "validate",
    short_help="Put every published figure beside its prediction.",
    epilog=f"Example: `ranklsim validate -o runs/validation`. {shared.EXIT_CODES}",
)
@click.option(
    "--evidence",
    type=shared.FILE,
    metavar="DIR",
    help="Folder with arms.toml and observations.csv.  [default: what ships]",
)
@shared.PARAMETERS
@click.option(
    "-o",
    "--out",
    type=shared.FILE,
    metavar="DIR",
    default="runs/validation",
    show_default=True,
    help="Folder for the result.",
)
@click.option(
    "--patients",
    type=shared.whole(0),
    metavar="N",
    default=200,
    show_default=True,
    help="Virtual patients of each arm; 0 for its typical patient alone, without intervals.",
)
@click.option(
    "--seed", type=shared.whole(0), metavar="S", default=1, show_default=True, help="Seed of the virtual patients."
)
@shared.FORCE
def validate_command(
    evidence: Path | None, parameters: Path | None, out: Path, patients: int, seed: int, force: bool
) -> None:
    """Predict every figure of the evidence by a cohort of its arm.

    DIR then holds predictions.csv, summary.csv and index.html with the figures.
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


@click.command(
    "fit",
    short_help="Fit parameters to published figures.",
    epilog=f"Example: `ranklsim fit my-fit.toml -o runs/my-fit`. {shared.RESUMABLE}",
)
@click.argument("spec")
@shared.RESULT
@shared.PARAMETERS
@click.option("--resume", is_flag=True, help="Go on with the interrupted fit in DIR.")
@shared.FORCE
@click.option("--no-profile", is_flag=True, help="Leave out the profiles: intervals come from the curvature then.")
def fit_command(spec: str, out: Path, parameters: Path | None, resume: bool, force: bool, no_profile: bool) -> None:
    """Fit parameters as SPEC says, a TOML file or the name of a shipped fit (default, between_patient).

    DIR then holds parameters.csv, which every --parameters takes, and index.html, which says how far to believe it;
    docs/fitting.md describes SPEC.
    """
    from ranklsim import api

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


@click.command(
    "genetics",
    short_help="Put virtual knock-outs beside published mice.",
    epilog=f"Example: `ranklsim genetics -o genetics.csv`. {shared.EXIT_CODES}",
)
@click.option("-o", "--out", type=shared.FILE, metavar="shared.FILE.csv", help="Table to write, a row a statement.")
@shared.PARAMETERS
@shared.FORCE
def genetics_command(out: Path | None, parameters: Path | None, force: bool) -> None:
    """Predict every published knock-out, transgenic and ovariectomy that the model can express: pass or fail.

    A test that fails is reported as failing and changes no exit code.
    """
    if out is not None:
        shared.check_targets([out], force)
    from ranklsim.pkpd.mice.genetics import describe_genetics, run_genetics
    from ranklsim.pkpd.parameters import load_parameters

    frame = run_genetics(load_parameters(parameters))
    click.echo(describe_genetics(frame).rstrip("\n"))
    if out is not None:
        with shared.new_files([out], force) as (path,):
            frame.to_csv(path, index=False, float_format="%.6g", lineterminator="\n")
        click.echo(out)


@contextlib.contextmanager
def _status() -> Iterator[Callable[[str, float], None] | None]:
    """A function that shows the state of a fit on one line of stderr; None if stderr is no terminal."""
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
