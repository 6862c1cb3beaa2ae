"""The command line: verb, object, options. It turns text into calls, and what goes wrong into one sentence a fault.

What a verb needs is imported when the verb runs, so that ``ranklsim --help`` answers at once.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
import shutil
import sys
import tempfile
import textwrap
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click

from ranklsim import __version__
from ranklsim.pkpd.errors import BadInput, RanklsimError, RunFailed

DONE, RUN_FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
EXIT_CODES = "Exit codes: 0 done, 1 run failed, 2 bad input, 130 interrupted."
RESUMABLE = EXIT_CODES.replace("interrupted.", "interrupted (go on with --resume).")
LAYERS = ("patients", "residual", "parameters")
PLOT_FORMATS = (".svg", ".pdf", ".png")
DEBUG = "RANKLSIM_DEBUG"


class Interrupted(Exception):
    """Stopped from the keyboard; the text says what is kept and how to go on."""


class Whole(click.ParamType):
    """A whole number of `least` or more."""

    name = "whole number"

    def __init__(self, least: int) -> None:
        self.least = least

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        with contextlib.suppress(ValueError):
            if int(value) >= self.least:
                return int(value)
        return self.fail(f"'{value}' is not a whole number of {self.least} or more", param, ctx)


class Tolerance(click.ParamType):
    """A relative tolerance."""

    name = "tolerance"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        with contextlib.suppress(ValueError):
            if 1e-12 <= float(value) <= 1e-3:
                return float(value)
        return self.fail(f"'{value}' is not a number from 1e-12 to 0.001", param, ctx)


class Months(click.ParamType):
    """Months, parted by commas."""

    name = "months"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[float]:
        if isinstance(value, list):
            return value
        try:
            months = [float(part) for part in value.split(",")]
        except ValueError:
            return self.fail(f"'{value}' is not a list of months, such as 0.1,1,6", param, ctx)
        if not all(0 <= month < float("inf") for month in months):
            return self.fail(f"'{value}' holds a month that is not 0 or more", param, ctx)
        return months


class Setting(click.ParamType):
    """NAME=VALUE, the value a number in the unit that ``--help`` names."""

    name = "setting"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, float]:
        if isinstance(value, tuple):
            return value
        name, equals, number = (part.strip() for part in value.partition("="))
        if not (name and equals):
            return self.fail(f"'{value}' is not NAME=VALUE, such as age=63", param, ctx)
        try:
            return name, float(number)
        except ValueError:
            return self.fail(f"{name} = '{number}' is not a number; give it without unit, such as age=63", param, ctx)


class LayerList(click.ParamType):
    """Which sources of variation are on: a list parted by commas, or ``none``."""

    name = "layers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        names = [] if value.strip() == "none" else [part.strip() for part in value.split(",")]
        for name in names:
            if name not in LAYERS:
                self.fail(f"unknown layer '{name}'; give some of {', '.join(LAYERS)}, or none", param, ctx)
        return tuple(names)


class Place(click.ParamType):
    """A folder: a path, or a URL that fsspec knows."""

    name = "folder"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str | Path:
        return value if "://" in str(value) else Path(value)


class Names(click.ParamType):
    """Names, parted by commas."""

    name = "names"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[str]:
        if isinstance(value, list):
            return value
        names = [part.strip() for part in value.split(",") if part.strip()]
        return names or self.fail(f"'{value}' names nothing; give names parted by commas", param, ctx)


class Listing(click.Group):
    """A verb that lists; ``VERB NAME`` means ``VERB show NAME``."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            args = ["show", *args]
        return super().resolve_command(ctx, args)


FILE = click.Path(path_type=Path)
PARAMETERS = click.option(
    "--parameters",
    type=FILE,
    metavar="FILE.csv|NAME",
    help="Parameter values other than the shipped ones: a structural variant of `ranklsim variants`, or a CSV file "
    "with the columns symbol and value; a symbol may be an agent's, such as denosumab.CL.",
)
RESULT = click.option("-o", "--out", type=FILE, metavar="DIR", required=True, help="Folder for the result.")
FORCE = click.option("--force", is_flag=True, help="Replace an earlier result that is in the way.")


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog=f"Start with `ranklsim run modality -o runs/modality`. {EXIT_CODES}",
)
@click.version_option(__version__, message="ranklsim %(version)s")
def cli() -> None:
    """Simulate clinical trials of anti-RANKL drugs that tell membrane-bound from soluble RANKL."""


@cli.command(
    "run",
    short_help="Run a trial and write its report.",
    epilog=f"Example: `ranklsim run modality -o runs/modality --patients 400 --seed 7`. {RESUMABLE}",
)
@click.argument("trial")
@click.option(
    "-o",
    "--out",
    type=Place(),
    metavar="DIR",
    help="Folder for the run, or a URL such as s3://bucket/run.  [default: runs/ and the trial's name]",
)
@click.option("--patients", type=Whole(1), metavar="N", help="Patients over all arms.  [default: the trial's]")
@click.option("--seed", type=Whole(0), metavar="S", help="Seed of every random number.  [default: the trial's]")
@click.option("--workers", type=Whole(1), metavar="W", help="Processors to use; changes no result.  [default: all]")
@click.option(
    "--layers",
    type=LayerList(),
    metavar="LIST",
    help="Sources of variation that are on: some of patients,residual,parameters, or none for the typical patient.  "
    "[default: the trial's]",
)
@PARAMETERS
@click.option("--rtol", type=Tolerance(), metavar="X", help="Error allowed the integrator a step.  [default: 1e-5]")
@click.option(
    "--scheduler",
    metavar="URL",
    help="Dask cluster that does the work, such as tcp://host:8786; its workers must see DIR. Changes no result.",
)
@click.option("--resume", is_flag=True, help="Go on with the interrupted run in DIR.")
@FORCE
@click.option("--no-report", is_flag=True, help="Leave out the report; `ranklsim report DIR` writes it later.")
def run_command(trial: str, out: str | Path | None, no_report: bool, resume: bool, force: bool, **options: Any) -> None:
    """Run TRIAL, a shipped trial's name or a TOML file, and write its report.

    DIR then holds manifest.json, trial.toml, patients, visits, doses and events as Parquet, and report/index.html.
    """
    if resume and force:
        raise BadInput("--resume goes on with the run in the folder, --force replaces it: give one of them.")
    from ranklsim import api
    from ranklsim.cohorts.running import execution

    command = shlex.join(["ranklsim", *words()])
    options = {name: value for name, value in options.items() if value is not None}
    try:
        with progress_bar() as (progress, tell):
            if resume and tell is None:  # what is left of the interrupted run is said anywhere
                tell = partial(click.echo, err=True)
            run = api.run(
                trial, out, resume=resume, force=force, progress=progress, tell=tell, command=command, **options
            )
    except execution.Interrupted as error:
        going_on = shlex.join(["ranklsim", *(word for word in words() if word not in ("--force", "--resume"))])
        text = str(error).replace("go on with --resume", f"go on with `{going_on} --resume`")
        raise Interrupted(text) from None
    if no_report:
        click.echo(run.folder)
        return
    try:
        page = api.report(run.folder)
        if run.was_replaced():
            raise RunFailed(f"{run.folder}: another process wrote a run here meanwhile; give each a folder of its own.")
        click.echo(page)
    except KeyboardInterrupt:
        raise Interrupted(
            f"interrupted; the run is complete, only its report is missing: `ranklsim report {run.folder}` writes it."
        ) from None


@cli.command(
    "simulate",
    short_help="Simulate one typical patient.",
    epilog="Example: `ranklsim simulate --agent denosumab --dose 60mg --every 6mo --doses 6 --follow 24mo -o x.csv`. "
    + EXIT_CODES,
)
@click.option("--agent", metavar="NAME", help="Agent: one that `ranklsim agents` lists, or your own file NAME.toml.")
@click.option("--dose", metavar="DOSE", help="Amount of a dose, such as 60mg.")
@click.option("--every", metavar="TIME", help="Interval between doses, such as 6mo, 1wk, 1yr; 1 mo is 30.4375 days.")
@click.option("--doses", type=Whole(1), metavar="N", help="Number of doses.  [default: 1]")
@click.option(
    "--regimen",
    metavar="TEXT",
    help='A sequence instead of the four options above: "denosumab 14mg every 6mo x4, denosumab 60mg every 6mo x4".',
)
@click.option(
    "--follow", metavar="TIME", default="12mo", show_default=True, help="Time after the last dose's interval."
)
@click.option(
    "--set",
    "settings",
    type=Setting(),
    multiple=True,
    metavar="NAME=VALUE",
    help="The patient, where not typical: age, years_since_menopause (yr), weight (kg), height (cm), "
    "eGFR (mL/min/1.73m2), vitamin_D, CTX, P1NP (ng/mL), T_LS, T_TH, T_FN, T_R13, prevalent_fracture (0 or 1), or a "
    "symbol that `ranklsim parameters` lists, or an agent's (denosumab.CL). Can be repeated.",
)
@click.option("--at", type=Months(), metavar="MONTHS", help="Rows at these months too, such as 0.1,1,6.")
@PARAMETERS
@click.option(
    "--rtol",
    type=Tolerance(),
    metavar="X",
    default="1e-6",
    show_default=True,
    help="Error allowed the integrator a step, relative.",
)
@click.option("-o", "--out", type=FILE, metavar="FILE.csv", required=True, help="Table to write, a row a month.")
@click.option("--plot", type=FILE, metavar="FILE.svg", help="Figure to write (.svg, .pdf or .png).")
@FORCE
def simulate_command(
    agent: str | None,
    dose: str | None,
    every: str | None,
    doses: int | None,
    regimen: str | None,
    follow: str,
    settings: Sequence[tuple[str, float]],
    at: list[float] | None,
    parameters: Path | None,
    rtol: float,
    out: Path,
    plot: Path | None,
    force: bool,
) -> None:
    """Simulate one typical patient: no variability between patients, no measurement error.

    Columns: month, drug concentrations, occupancy of RANKL by form, markers (CTX_pct is % of baseline), BMD
    (BMD_LS_pct is % change). A value at the time of a dose is the trough just before it.
    """
    twice = {name for name, _ in settings if sum(name == other for other, _ in settings) > 1}
    if twice:
        raise BadInput(*(f"--set {name} is given more than once; give it once." for name in sorted(twice)))
    if plot is not None and plot.suffix.lower() not in PLOT_FORMATS:
        raise BadInput(f"--plot: '{plot}' does not end in one of {', '.join(PLOT_FORMATS)}.")
    targets = [out] if plot is None else [out, plot]
    check_targets(targets, force)
    from ranklsim.pkpd.parameters import load_parameters
    from ranklsim.pkpd.typical import plan_course, simulate_typical

    course = plan_course(regimen, agent, dose, every, doses, follow, folder=Path.cwd(), prefix="--")
    rows = course.months_of_interest(at)
    with progress_bar() as (_, tell):
        frame = simulate_typical(
            course.regimens,
            course.agents,
            months=rows if plot is None else course.months_to_draw(rows),
            parameters=load_parameters(parameters),
            covariates=dict(settings),
            where="--set",
            rtol=rtol,
            tell=tell,
        )
    with new_files(targets, force) as paths:
        wanted = frame[frame["month"].isin(rows)].round(12) + 0.0  # no -3e-14 for a change that is none
        wanted.to_csv(paths[0], index=False, float_format="%.8g", lineterminator="\n")
        if plot is not None:
            from ranklsim.reports.figures.simulate import draw_simulation

            draw_simulation(frame, course.regimens, course.agents, paths[1])
    for target in reversed(targets):
        click.echo(target)


@cli.group(cls=Listing, invoke_without_command=True, short_help="List trials, or show one's file.")
@click.pass_context
def trials(ctx: click.Context) -> None:
    """List the trials that ship; `trials show NAME` prints one's file, to read or to start your own from."""
    if ctx.invoked_subcommand is None:
        from ranklsim import api

        shown = api.trials()
        print_table(shown[["name", "arms", "patients", "months", "title"]].to_dict("records"))


@trials.command("show")
@click.argument("name")
def show_trial(name: str) -> None:
    """Print the file of the trial NAME."""
    from ranklsim.cohorts.protocol.trial import load_trial

    click.echo(load_trial(name).source_text.rstrip("\n"))


@cli.group(cls=Listing, invoke_without_command=True, short_help="List agents, or explain one.")
@click.pass_context
def agents(ctx: click.Context) -> None:
    """List the agents that ship; `agents show NAME` explains one, or your own file NAME.toml."""
    if ctx.invoked_subcommand is None:
        from ranklsim import api

        shown = api.agents()
        print_table(shown[["name", "kind", "route", "hypothetical", "reference_regimen", "label"]].to_dict("records"))


@agents.command("show")
@click.argument("name")
def show_agent(name: str) -> None:
    """Explain the agent NAME: every value with its unit, range, status and source."""
    from ranklsim.pkpd.agents import describe, load_agent

    path = Path(name)
    folder, stem = (path.parent, path.stem) if path.suffix == ".toml" else (Path.cwd(), name)
    click.echo(describe(load_agent(stem, folder=folder)).rstrip("\n"))


@cli.group(cls=Listing, invoke_without_command=True, short_help="List the model's parameters, or explain some.")
@click.option("--group", metavar="GROUP", help="Only the parameters of one group, such as pk, ligand, cells.")
@click.option("--status", metavar="STATUS", help="Only those that are measured, fitted or assumed.")
@click.pass_context
def parameters(ctx: click.Context, group: str | None, status: str | None) -> None:
    """List the model's parameters: value, unit, range, status; `parameters show SYMBOL` adds meaning and source."""
    if ctx.invoked_subcommand is not None:
        return
    from ranklsim.pkpd.parameters import load_parameters

    frame = load_parameters().frame
    for column, wanted in (("group", group), ("status", status)):
        if wanted is not None:
            known = list(dict.fromkeys(load_parameters().frame[column]))
            if wanted not in known:
                raise BadInput(f"--{column}: '{wanted}' is not one; give one of {', '.join(known)}.")
            frame = frame[frame[column] == wanted]
    print_table(
        {
            "symbol": symbol,
            "value": f"{row['value']:g}",
            "unit": row["unit"],
            "range": f"{row['low']:g} to {row['high']:g}",
            "status": row["status"],
            "meaning": row["meaning"],
        }
        for symbol, row in frame.iterrows()
    )


@parameters.command("show")
@click.argument("symbols", metavar="SYMBOL...", nargs=-1, required=True)
def show_parameters(symbols: Sequence[str]) -> None:
    """Explain parameters, also those of an agent (denosumab.CL): meaning, range, how it varies, status and source."""
    from ranklsim.pkpd.parameters import load_parameters

    table = load_parameters()
    for number, symbol in enumerate(symbols):
        row = table.row(symbol)
        spread = "none" if row["cv"] == 0 else f"{row['distribution']}, {row['cv']:g}"
        facts = {
            "meaning": row["meaning"],
            "value": f"{row['value']:g} {row['unit']}".removesuffix(" 1"),
            "range": f"{row['low']:g} to {row['high']:g}",
            "drawn": f"{row['prior']} over the range" if row["prior"] != "fixed" else "fixed",
            "between patients": spread,
            "status": row["status"],
            "source": ", ".join(part for part in (row["source"], row["doi"] and f"doi:{row['doi']}") if part),
            "note": row["note"],
            "group": row["group"],
        }
        click.echo(("\n" if number else "") + symbol)
        if symbol == "sig":
            from ranklsim.reports.csr.appendix import potency_in_words

            facts["potency"] = potency_in_words(table.values)
        for name, text in facts.items():
            if text:
                click.echo(textwrap.fill(f"  {name:<17} {text}", width(), subsequent_indent=" " * 20))


def width() -> int:
    """Columns of the terminal, or enough for a file."""
    return shutil.get_terminal_size((120, 24)).columns


def print_table(rows: Any) -> None:
    """Print rows (dicts of equal keys) as aligned columns; the last column wraps to the terminal."""
    cells = [{name: _cell(value) for name, value in row.items()} for row in rows]
    names = list(cells[0])
    wide = {name: max(len(name), *(len(row[name]) for row in cells)) for name in names[:-1]}
    indent = sum(wide.values()) + 2 * len(wide)
    for row in [{name: name.replace("_", " ") for name in names}, *cells]:
        head = "".join(f"{row[name]:<{wide[name] + 2}}" for name in names[:-1])
        lines = textwrap.wrap(row[names[-1]], max(30, width() - indent)) or [""]
        click.echo("\n".join([head + lines[0], *(" " * indent + line for line in lines[1:])]))


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


@contextlib.contextmanager
def progress_bar() -> Iterator[tuple[Callable[[int, int], None] | None, Callable[[str], None] | None]]:
    """Two functions for a terminal: of persons done and in all, which draws a bar on stderr, and of a sentence.

    Both are None if stderr is no terminal.
    """
    if not sys.stderr.isatty():
        yield None, None
        return
    from tqdm import tqdm

    layout = "{percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} patients, {rate_noinv_fmt}, {remaining} left"
    with tqdm(total=0, unit=" patients", bar_format=layout, leave=False, ncols=min(width(), 100)) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield progress, lambda text: bar.write(text, file=sys.stderr)


def check_targets(targets: Sequence[Path], force: bool) -> None:
    """Refuse files that can't be written, or that hold something, before any work is done."""
    faults = []
    for target in targets:
        if target.is_dir():
            faults.append(f"{target} is a folder; give a file in it, such as {target / 'typical.csv'}.")
        elif not target.parent.is_dir():
            faults.append(f"{target}: there is no folder {target.parent}; make it, or give another place.")
        elif not os.access(target.parent, os.W_OK):
            faults.append(f"{target}: no permission to write in {target.parent}; give another place.")
        elif target.exists() and not force:
            faults.append(f"{target} exists; give another name, or --force to replace it.")
    if len(set(targets)) < len(targets):
        faults.append(f"{targets[0]} can't be both the table and the figure; give two names.")
    if faults:
        raise BadInput(*faults)


@contextlib.contextmanager
def new_files(targets: Sequence[Path], force: bool) -> Iterator[list[Path]]:
    """Places to write to that become `targets` when all is written, or vanish if something fails."""
    check_targets(targets, force)
    try:
        with contextlib.ExitStack() as stack:
            paths = []
            for target in targets:
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix=".ranklsim-", dir=target.parent))
                paths.append(Path(folder) / target.name)
            yield paths
            for path, target in zip(paths, targets, strict=True):
                os.replace(path, target)
    except OSError as error:  # named after the file that was asked for, not the one on its way
        raise OSError(error.errno, error.strerror, " and ".join(str(target) for target in targets)) from None


def words() -> list[str]:
    """What was typed after ``ranklsim``."""
    typed: list[str] = click.get_current_context().meta["ranklsim.words"]
    return typed


def explain_usage(error: click.UsageError) -> str:
    """What is wrong with the words of a command, as one sentence."""
    verb = error.ctx.command_path if error.ctx is not None else "ranklsim"
    near = getattr(error, "possibilities", None)
    suggestion = f"did you mean '{near[0]}'? " if near else ""
    if isinstance(error, click.NoSuchOption):
        return f"{verb}: unknown option '{error.option_name}'; {suggestion}`{verb} --help` lists all."
    if isinstance(error, click.exceptions.NoSuchCommand):
        return f"{verb}: unknown verb '{error.command_name}'; {suggestion}`{verb} --help` lists all."
    if isinstance(error, click.MissingParameter) and error.param is not None:
        param = error.param
        name = max(param.opts, key=len) if isinstance(param, click.Option) else param.human_readable_name
        return f"{verb}: {name} is missing; `{verb} --help` says what to give."
    if isinstance(error, click.BadParameter) and error.param is not None:
        param = error.param
        name = max(param.opts, key=len) if isinstance(param, click.Option) else param.human_readable_name
        return f"{verb}: {name}: {error.message.rstrip('.')}."
    text = error.format_message().rstrip(".")
    return f"{verb}: {text[:1].lower()}{text[1:]}; `{verb} --help` says what to give."


def explain_system(error: OSError) -> tuple[str, int]:
    """What the operating system refused, as one sentence, and the exit code that goes with it."""
    where = f"{error.filename}: " if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{where}no space left on the disk; make room, or give another place.", RUN_FAILED
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{where}no permission for it; change its permissions, or give another place.", BAD_INPUT
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG):
        return f"{where}{(error.strerror or str(error)).lower()}; give another place.", BAD_INPUT
    return f"{where}{(error.strerror or str(error)).lower()}.", RUN_FAILED


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    args : sequence of str, optional
        Words after ``ranklsim``; those of the process if not given.

    Returns
    -------
    int
        Exit code: 0 done, 1 run failed, 2 bad input, 130 interrupted.
    """
    words = list(sys.argv[1:] if args is None else args)
    try:
        with cli.make_context("ranklsim", list(words)) as ctx:
            ctx.meta["ranklsim.words"] = words
            cli.invoke(ctx)
            sys.stdout.flush()
        return DONE
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except click.exceptions.NoArgsIsHelpError as help_wanted:
        click.echo(help_wanted.message, err=True)
        return BAD_INPUT
    except click.UsageError as error:
        return _fail(explain_usage(error), BAD_INPUT)
    except BadInput as error:
        return _fail("\n".join(error.messages), BAD_INPUT)
    except RanklsimError as error:
        return _fail(str(error), error.exit_code)
    except Interrupted as error:
        return _fail(str(error), INTERRUPTED)
    except (KeyboardInterrupt, click.Abort):
        return _fail("interrupted; nothing was written.", INTERRUPTED)
    except BrokenPipeError:  # the reader of our output has gone, as in `ranklsim parameters | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except OSError as error:
        return _fail(*explain_system(error))
    except MemoryError:
        return _fail("out of memory; give fewer --workers or --patients.", RUN_FAILED)
    except Exception as error:  # a fault of ours: still one sentence, the rest is for whoever mends it
        if os.environ.get(DEBUG):
            traceback.print_exc()
        what = " ".join(str(error).split()) or "no text"
        return _fail(
            f"ranklsim failed on a fault of its own ({type(error).__name__}: {what}); {DEBUG}=1 shows where.",
            RUN_FAILED,
        )


def _fail(text: str, code: int) -> int:
    click.echo(text, err=True)
    return code


# At the end: they add their verbs to `cli`.
from ranklsim.reports.cli import populations as populations  # noqa: E402
from ranklsim.reports.cli import replicate as replicate  # noqa: E402
from ranklsim.reports.cli import reports as reports  # noqa: E402
from ranklsim.reports.cli import science as science  # noqa: E402
