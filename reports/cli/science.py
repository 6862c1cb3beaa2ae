"""Verbs of the model's science: published evidence, how well it is predicted, fits to it, virtual knock-outs.

The module registers them with `ranklsim.reports.cli.main` when it is imported.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from ranklsim.pkpd.errors import BadInput, RunFailed
from ranklsim.reports.cli import main
from ranklsim.reports.cli.main import EXIT_CODES, FILE, FORCE, PARAMETERS, RESULT, RESUMABLE, Names, Whole, cli

EVIDENCE = click.option(
    "--evidence", type=FILE, metavar="DIR", help="Folder with arms.toml and observations.csv.  [default: what ships]"
)


@cli.group(short_help="Check a folder of published figures, or list its arms.")
def evidence() -> None:
    """Published (or your own) figures in the form that ranklsim simulates: a folder with arms.toml, observations.csv.

    docs/evidence.md describes the format.
    """


@evidence.command("check", epilog=f"Example: `ranklsim evidence check my-evidence`. {EXIT_CODES}")
@click.argument("folder", metavar="DIR", type=FILE)
def check_evidence(folder: Path) -> None:
    """Check the evidence in DIR and count what it holds; every fault is told with file, line and column."""
    from ranklsim.pkpd.evidence.records import load_evidence

    found = load_evidence(folder)
    seen = found.observations
    studies = len({arm.study for arm in found.arms.values()})
    idle = [name for name in found.arms if not seen[["arm", "control"]].eq(name).any(axis=None)]
    click.echo(
        f"{folder}: {_count(len(found.arms), 'arm')} of {_count(studies, 'study')}, {_count(len(seen), 'figure')}."
    )
    counts = seen.groupby(["endpoint", "site_or_marker", "phase"], sort=True).agg(
        figures=("value", "size"),
        arms=("arm", "nunique"),
        recalled=("verification", lambda v: int((v == "recalled").sum())),
    )
    if len(counts):
        main.print_table(counts.reset_index().astype({"figures": str, "arms": str}).to_dict("records"))
    if len(found.not_used):
        click.echo(f"{_count(len(found.not_used), 'row')} in not_used.csv, each with its reason.")
    if idle:
        click.echo(f"No figure is of {', '.join(idle)}.")


@evidence.command("list", epilog=f"Example: `ranklsim evidence list`. {EXIT_CODES}")
@click.argument("folder", metavar="[DIR]", type=FILE, required=False)
def list_evidence(folder: Path | None) -> None:
    """List the arms of the evidence that ships, or of the evidence in DIR."""
    from ranklsim.pkpd.evidence.records import load_evidence

    found = load_evidence(folder)
    figures = found.observations["arm"].value_counts()
    main.print_table(
        {
            "arm": arm.id,
            "study": arm.study,
            "n": "" if arm.n is None else str(arm.n),
            "figures": str(figures.get(arm.id, 0)),
            "months": f"{arm.follow_up:g}",
            "regimen": arm.text,
        }
        for arm in found.arms.values()
    )


@cli.command(
    "variants",
    short_help="List structures of the model that fit as well.",
    epilog=f"Example: `ranklsim variants`. {EXIT_CODES}",
)
def variants_command() -> None:
    """List the structural variants that the published figures cannot tell from the default, for --parameters.

    Misfit: weighted squares and priors of each one's own fit to the same figures; lower by 4 is a difference that
    figures can see, if the rest of the model is right.
    """
    from ranklsim.pkpd.variants import fits, variants

    misfit = fits().set_index("variant")["objective"]
    main.print_table(
        {"name": v.name, "question": v.question, "structure": v.label, "misfit": f"{misfit[v.name]:.1f}"}
        for v in variants()
    )


@cli.command(
    "genetics",
    short_help="Put virtual knock-outs beside published mice.",
    epilog=f"Example: `ranklsim genetics -o genetics.csv`. {EXIT_CODES}",
)
@click.option("-o", "--out", type=FILE, metavar="FILE.csv", help="Table to write, a row a statement.")
@PARAMETERS
@FORCE
def genetics_command(out: Path | None, parameters: Path | None, force: bool) -> None:
    """Predict every published knock-out, transgenic and ovariectomy that the model can express: pass or fail.

    A test that fails is reported as failing and changes no exit code.
    """
    if out is not None:
        main.check_targets([out], force)
    from ranklsim.pkpd.mice.genetics import describe_genetics, run_genetics
    from ranklsim.pkpd.parameters import load_parameters

    frame = run_genetics(load_parameters(parameters))
    click.echo(describe_genetics(frame).rstrip("\n"))
    if out is not None:
        with main.new_files([out], force) as (path,):
            frame.to_csv(path, index=False, float_format="%.6g", lineterminator="\n")
        click.echo(out)


@cli.command(
    "validate",
    short_help="Put every published figure beside its prediction.",
    epilog=f"Example: `ranklsim validate -o runs/validation`. {EXIT_CODES}",
)
@EVIDENCE
@PARAMETERS
@click.option(
    "-o", "--out", type=FILE, metavar="DIR", default="runs/validation", show_default=True, help="Folder for the result."
)
@click.option(
    "--patients",
    type=Whole(0),
    metavar="N",
    default=200,
    show_default=True,
    help="Virtual patients of each arm; 0 for its typical patient alone, without intervals.",
)
@click.option("--seed", type=Whole(0), metavar="S", default=1, show_default=True, help="Seed of the virtual patients.")
@FORCE
def validate_command(
    evidence: Path | None, parameters: Path | None, out: Path, patients: int, seed: int, force: bool
) -> None:
    """Predict every figure of the evidence by a cohort of its arm.

    DIR then holds predictions.csv, summary.csv and index.html with the figures.
    """
    from ranklsim.pkpd.evidence.records import load_evidence
    from ranklsim.pkpd.parameters import load_parameters
    from ranklsim.reports.layout.page import check_folder
    from ranklsim.reports.pages.validation import MARK, TOP, write_validation

    check_folder(out, MARK, TOP, force)
    if 0 < patients < 10:
        raise BadInput(f"--patients {patients}: so few give no interval; give 10 or more, or 0.")
    table, found = load_parameters(parameters), load_evidence(evidence)
    with main.progress_bar() as (progress, _):
        click.echo(
            write_validation(
                found,
                table,
                out,
                patients=patients,
                seed=seed,
                workers=os.cpu_count() or 1,
                progress=progress,
                command=shlex.join(["ranklsim", *words()]),
            )
        )


@cli.command(
    "fit",
    short_help="Fit parameters to published figures.",
    epilog=f"Example: `ranklsim fit my-fit.toml -o runs/my-fit`. {RESUMABLE}",
)
@click.argument("spec")
@RESULT
@PARAMETERS
@click.option("--resume", is_flag=True, help="Go on with the interrupted fit in DIR.")
@FORCE
@click.option("--no-profile", is_flag=True, help="Leave out the profiles: intervals come from the curvature then.")
def fit_command(spec: str, out: Path, parameters: Path | None, resume: bool, force: bool, no_profile: bool) -> None:
    """Fit parameters as SPEC says, a TOML file or the name of a shipped fit (default, between_patient).

    DIR then holds parameters.csv, which every --parameters takes, and index.html, which says how far to believe it;
    docs/fitting.md describes SPEC.
    """
    if resume and force:
        raise BadInput("--resume goes on with the fit in the folder, --force replaces it: give one of them.")
    from ranklsim.cohorts.validation import variability
    from ranklsim.pkpd.fitting import fit as fitting
    from ranklsim.pkpd.fitting.spec import load_spec
    from ranklsim.pkpd.parameters import load_parameters
    from ranklsim.reports.layout.page import work_folder
    from ranklsim.reports.pages.fit_report import finish, warnings_of, write_fit

    table = load_parameters(parameters)
    plan = load_spec(spec, table)
    if plan.kind == "between-patient":
        problem: fitting.Problem = variability.make_problem(plan, table, workers=os.cpu_count() or 1)
    else:
        problem = fitting.make_problem(plan, table)
    work = work_folder(out, "fit", "its spec, parameters or evidence", fitting.fingerprint(problem), resume, force)
    try:
        with _status() as tell, warnings.catch_warnings(record=True) as noticed:
            found = fitting.fit(plan, problem=problem, folder=work, workers=os.cpu_count() or 1, progress=tell)
            result = finish(found, work, not no_profile, tell)
    except (TypeError, ValueError) as fault:  # of lmfit or scipy: an option's value, a search that can't begin
        raise RunFailed(f"{plan.path}: {plan.method} stopped ({' '.join(str(fault).split()).rstrip('.')}).") from fault
    except KeyboardInterrupt:
        raise _interrupted() from None
    page = write_fit(result, out, shlex.join(["ranklsim", *words()]))
    of_lmfit = {" ".join(str(w.message).split()) for w in noticed if "lmfit" in w.filename}
    for sentence in [*sorted(f"{plan.path}: {text.rstrip('.')}." for text in of_lmfit), *warnings_of(result)]:
        click.echo(sentence, err=True)
    click.echo(page)
    if not result.converged:
        raise click.exceptions.Exit(main.RUN_FAILED)


@cli.command(
    "sensitivity",
    short_help="Ask which unknown decides a trial's answer.",
    epilog=f"Example: `ranklsim sensitivity modality -o runs/sensitivity`. {RESUMABLE}",
)
@click.argument("trial")
@RESULT
@click.option(
    "--only",
    type=Names(),
    metavar="LIST",
    help="Parameters to move: symbols (kT,denosumab.CL) or kinds (open, fitted, assumed, measured).  "
    "[default: open,fitted,assumed]",
)
@click.option("--exclude", type=Names(), metavar="LIST", help="Parameters not to move: symbols or kinds.")
@click.option("--trajectories", type=Whole(2), metavar="R", default=40, show_default=True, help="Morris trajectories.")
@click.option(
    "--samples",
    type=Whole(2),
    metavar="N",
    default=512,
    show_default=True,
    help="N of the Sobol indices, a power of two: N (K + 2) vectors.",
)
@click.option(
    "--keep", type=Whole(2), metavar="K", default=20, show_default=True, help="Parameters that pass the screening."
)
@click.option("--second-order", is_flag=True, help="Interactions of pairs too: N (2 K + 2) vectors.")
@click.option(
    "--ensemble",
    type=FILE,
    metavar="FILE.csv",
    default="shipped",
    help="Vectors of values that fit the data together, a column a symbol: rank correlations over them; or none.  "
    "[default: the shipped ensemble]",
)
@click.option(
    "--intervals",
    type=FILE,
    metavar="FILE.csv",
    help="Intervals of fitted parameters: the estimates.csv of your fit.  [default: 95 % of the shipped ensemble]",
)
@PARAMETERS
@click.option("--seed", type=Whole(0), metavar="S", help="Seed of the samples.  [default: the trial's]")
@click.option("--workers", type=Whole(1), metavar="W", help="Processors to use; changes no result.  [default: all]")
@click.option("--resume", is_flag=True, help="Go on with the interrupted analysis in DIR.")
@FORCE
def sensitivity_command(trial: str, out: Path, resume: bool, force: bool, **options: Any) -> None:
    """Ask on which parameters the durability and the rebound of TRIAL's arms depend, and what to measure next.

    Morris screening of all, then Sobol indices of those that matter, for one typical patient. DIR then holds
    morris.csv, sobol.csv, outcomes.csv, samples.parquet and index.html; docs/sensitivity.md explains them.
    """
    if resume and force:
        raise BadInput("--resume goes on with the analysis in the folder, --force replaces it: give one of them.")
    from ranklsim import api

    try:
        with main.progress_bar() as (progress, _):
            api.sensitivity(
                trial,
                out,
                resume=resume,
                force=force,
                progress=progress,
                command=shlex.join(["ranklsim", *words()]),
                **options,
            )
    except KeyboardInterrupt:
        raise _interrupted() from None
    click.echo(out / "index.html")


@contextlib.contextmanager
def _status() -> Iterator[Callable[[str, float], None] | None]:
    """A function that shows what a fit is at, on one line of a terminal's stderr; None if stderr is none."""
    if not sys.stderr.isatty():
        yield None
        return
    began = time.monotonic()

    def tell(text: str, objective: float) -> None:
        line = f"{text}: objective {objective:.6g}, {time.monotonic() - began:.0f} s"
        sys.stderr.write("\r\033[K" + line[: main.width() - 1])
        sys.stderr.flush()

    try:
        yield tell
    finally:
        sys.stderr.write("\r\033[K")
        sys.stderr.flush()


def _interrupted() -> main.Interrupted:
    """What an interrupted verb that can resume says."""
    again = [word for word in words() if word not in ("--force", "--resume")]
    return main.Interrupted(
        f"interrupted; what is finished is kept: go on with `{shlex.join(['ranklsim', *again, '--resume'])}`."
    )


def words() -> list[str]:
    """What was typed after ``ranklsim``."""
    typed: list[str] = click.get_current_context().meta["ranklsim.words"]
    return typed


def _count(number: int, noun: str) -> str:
    plural = noun.removesuffix("y") + "ies" if noun.endswith("y") else noun + "s"
    return f"{number} {noun if number == 1 else plural}"
