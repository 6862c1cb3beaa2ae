"""The verb ``ranklsim replicate``; the module registers it with `ranklsim.reports.cli.main` when it is imported."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from ranklsim.pkpd.errors import BadInput
from ranklsim.reports.cli import main
from ranklsim.reports.cli.main import FORCE, PARAMETERS, RESULT, RESUMABLE, LayerList, Tolerance, Whole, cli


class Sizes(click.ParamType):
    """Numbers of patients, parted by commas."""

    name = "patients"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[int]:
        if isinstance(value, list):
            return value
        try:
            sizes = [int(part) for part in value.split(",")]
        except ValueError:
            return self.fail(f"'{value}' is not a list of whole numbers, such as 25,50,100", param, ctx)
        if min(sizes) < 1:
            return self.fail(f"'{value}' holds a number below 1", param, ctx)
        return sizes


class Vectors(click.ParamType):
    """A number of parameter vectors, or ``all``."""

    name = "vectors"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        if isinstance(value, int) or value == "all":
            return value
        if not value.isdigit():
            return self.fail(f"'{value}' is neither a whole number nor 'all'", param, ctx)
        return int(value)


@cli.command(
    "replicate",
    short_help="Replicate a trial: power, type I error, bias, coverage, assurance.",
    epilog=f"Example: `ranklsim replicate freedom --replicates 100 --patients 50 -o runs/power`. {RESUMABLE}",
)
@click.argument("trial")
@RESULT
@click.option(
    "--replicates",
    type=Whole(1),
    metavar="R",
    default=100,
    show_default=True,
    help="Studies of each parameter vector, each with patients of its own.",
)
@click.option(
    "--patients",
    type=Sizes(),
    metavar="LIST",
    help="Patients of a study over all arms, or several such numbers (25,50,100).  [default: the trial's]",
)
@click.option(
    "--vectors",
    type=Vectors(),
    metavar="V",
    default=0,
    show_default=True,
    help="Parameter vectors that agree with published figures, besides the default values: so many, or all.",
)
@click.option("--no-null", is_flag=True, help="Leave out the studies without a difference, and so the type I error.")
@click.option("--keep-patients", is_flag=True, help="Write every study's patients, visits and events too.")
@click.option("--seed", type=Whole(0), metavar="S", help="Seed of every random number.  [default: the trial's]")
@click.option("--workers", type=Whole(1), metavar="W", help="Processors to use; changes no result.  [default: all]")
@click.option(
    "--layers",
    type=LayerList(),
    metavar="LIST",
    help="Sources of variation that are on: some of patients,residual,parameters.  [default: the trial's]",
)
@PARAMETERS
@click.option("--rtol", type=Tolerance(), metavar="X", help="Error allowed the integrator a step.  [default: 1e-5]")
@click.option("--resume", is_flag=True, help="Go on with the interrupted analysis in DIR.")
@FORCE
def replicate_command(trial: str, out: Path, no_null: bool, resume: bool, force: bool, **options: Any) -> None:
    """Run TRIAL many times and say how often it finds what is there, and how far its answers are off.

    Every endpoint, estimand, decision over several hypotheses and interim look is that of the trial's report. DIR then
    holds operating.csv, truth.csv, estimates.parquet (a row a study, endpoint and arm) and index.html, with vectors
    also assurance.csv; docs/replicates.md explains them.
    """
    if resume and force:
        raise BadInput("--resume goes on with the analysis in the folder, --force replaces it: give one of them.")
    from ranklsim import api

    words: list[str] = click.get_current_context().meta["ranklsim.words"]
    try:
        with main.progress_bar() as (progress, tell):
            api.replicate(
                trial,
                out,
                null=not no_null,
                resume=resume,
                force=force,
                progress=progress,
                tell=tell,
                command=shlex.join(["ranklsim", *words]),
                **{name: value for name, value in options.items() if value is not None},
            )
    except KeyboardInterrupt:
        again = [word for word in words if word not in ("--force", "--resume")]
        raise main.Interrupted(
            f"interrupted; what is finished is kept: go on with `{shlex.join(['ranklsim', *again, '--resume'])}`."
        ) from None
    click.echo(out / "index.html")
