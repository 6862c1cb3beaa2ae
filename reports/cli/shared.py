"""Code that all verbs of the command line share: options and their values, tables, progress, output files."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import re
import shlex
import shutil
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

import click
from click.types import FuncParamType

from ranklsim.pkpd.errors import BadInput
from ranklsim.pkpd.machine import unusable

EXIT_CODES = "Exit codes: 0 done, 1 run failed, 2 bad input, 130 interrupted."
RESUMABLE = EXIT_CODES.replace("interrupted.", "interrupted (continue with --resume).")
BETWEEN_LINES = 15.0
"""Seconds between lines on the progress of work whose stderr is not a terminal."""
_LAYERS = ("patients", "residual", "parameters")
Function = TypeVar("Function", bound=Callable[..., object])


class Interrupted(Exception):
    """An interruption from the keyboard; the text says what is kept and how to continue."""


# -- values of options -------------------------------------------------------------------------------------------------


def whole(least: int) -> Callable[[str], int]:
    """A reader of whole numbers.

    Parameters
    ----------
    least : int
        The smallest number allowed.
    """

    def read(value: str) -> int:
        with contextlib.suppress(ValueError):
            if int(value) >= least:
                return int(value)
        raise click.BadParameter(f"'{value}' is not a whole number of {least} or more")

    return read


def _tolerance(value: str) -> float:
    """Read a relative tolerance."""
    with contextlib.suppress(ValueError):
        if 1e-12 <= float(value) <= 1e-3:
            return float(value)
    raise click.BadParameter(f"'{value}' is not a number from 1e-12 to 0.001")


def _months(value: str) -> list[float]:
    """Read months, separated by commas."""
    try:
        found = [float(part) for part in value.split(",")]
    except ValueError:
        raise click.BadParameter(f"'{value}' is not a list of months, such as 0.1,1,6") from None
    if not all(0 <= month < float("inf") for month in found):
        raise click.BadParameter(f"'{value}' holds a month that is not 0 or more")
    return found


def _setting(value: str) -> tuple[str, str]:
    """Read NAME=VALUE; the value is a number in the unit that ``--help`` names, or one with a unit."""
    name, equals, number = (part.strip() for part in value.partition("="))
    if not (name and equals):
        raise click.BadParameter(f"'{value}' is not NAME=VALUE, such as age=63")
    if not re.match(r"[-+.\d]|nan$|inf$", number):
        raise click.BadParameter(f"{name} = '{number}' is not a number; give one, such as age=63 or age=63yr")
    return name, number


def _assay(value: str) -> tuple[str, str]:
    """Read FIELD=VALUE; the value is text with its unit."""
    name, equals, text = (part.strip() for part in value.partition("="))
    if not (name and equals and text):
        raise click.BadParameter(f"'{value}' is not FIELD=VALUE, such as KD_mRANKL=\"0.05 nM\"")
    return name, text


def _layers(value: str) -> tuple[str, ...]:
    """Read the sources of variation that are on: a list separated by commas, or ``none``."""
    found = () if value.strip() == "none" else tuple(part.strip() for part in value.split(","))
    for name in found:
        if name not in _LAYERS:
            raise click.BadParameter(f"unknown layer '{name}'; give one or more of {', '.join(_LAYERS)}, or none")
    return found


def _place(value: str) -> str | Path:
    """Read a folder: a path, or a URL that fsspec supports."""
    return value if "://" in str(value) else Path(value)


def _names(value: str) -> list[str]:
    """Read names, separated by commas."""
    found = [part.strip() for part in value.split(",") if part.strip()]
    if not found:
        raise click.BadParameter(f"'{value}' names nothing; give names separated by commas")
    return found


def _sizes(value: str) -> list[int]:
    """Read numbers of patients, separated by commas."""
    try:
        found = [int(part) for part in value.split(",")]
    except ValueError:
        raise click.BadParameter(f"'{value}' is not a list of whole numbers, such as 25,50,100") from None
    if min(found) < 1:
        raise click.BadParameter(f"'{value}' holds a number below 1")
    return found


def _vectors(value: str) -> int | str:
    """Read a number of parameter vectors, or ``all``."""
    if value == "all":
        return value
    if not str(value).isdigit():
        raise click.BadParameter(f"'{value}' is neither a whole number nor 'all'")
    return int(value)


def _day(value: str) -> date:
    """Read a date, such as 2000-01-03."""
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise click.BadParameter(f"'{value}' is not a date such as 2000-01-03") from None


TOLERANCE, MONTHS, SETTING, ASSAY, PLACE, NAMES, SIZES, VECTORS, DAY = (
    FuncParamType(read) for read in (_tolerance, _months, _setting, _assay, _place, _names, _sizes, _vectors, _day)
)
"""What a value may be, and how it is read."""


# -- verbs and options ------------------------------------------------------------------------------------------------


class _Listing(click.Group):
    """A verb that lists; ``VERB NAME`` means ``VERB show NAME``."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            args = ["show", *args]
        return super().resolve_command(ctx, args)


def listing(name: str, summary: str) -> Callable[[Callable[..., None]], click.Group]:
    """Make a function a verb that lists and may have further verbs; it runs if none of these is given.

    Parameters
    ----------
    name, summary : str
        The verb and the sentence that `ranklsim --help` shows.
    """

    def make(show: Callable[..., None]) -> click.Group:
        @functools.wraps(show)
        def run(**options: object) -> None:
            if click.get_current_context().invoked_subcommand is None:
                show(**options)

        return click.group(name, cls=_Listing, invoke_without_command=True, short_help=summary)(run)

    return make


def verb(
    name: str, summary: str, example: str, codes: str = EXIT_CODES
) -> Callable[[Callable[..., None]], click.Command]:
    """Make a function a verb of the command line.

    Parameters
    ----------
    name, summary : str
        The verb and the sentence that `ranklsim --help` shows.
    example : str
        An example without `ranklsim`, for the end of the verb's help.
    codes : str
        The exit codes.
    """
    return click.command(name, short_help=summary, epilog=f"Example: `ranklsim {example}`. {codes}")


def option(
    names: str, kind: click.ParamType | Callable[[str], object], metavar: str, text: str, **more: Any
) -> Callable[[Function], Function]:
    """Make an option that has a value; `click` shows the default, if there is one.

    Parameters
    ----------
    names : str
        Its names, separated by spaces.
    kind : click type or callable
        How the value is read.
    metavar, text : str
        What stands for the value in the help, and the help.
    **more
        Further arguments of `click.option`.
    """
    return click.option(*names.split(), type=kind, metavar=metavar, help=text, **more)


def flag(name: str, text: str) -> Callable[[Function], Function]:
    """Make an option without a value.

    Parameters
    ----------
    name, text : str
        Its name and its help.
    """
    return click.option(name, is_flag=True, help=text)


FILE = click.Path(path_type=Path)
RUN = click.argument("folder", metavar="DIR", type=PLACE)
PARAMETERS = option(
    "--parameters",
    FILE,
    "FILE.csv|NAME",
    "Parameter values that replace the shipped ones: a structural variant from `ranklsim variants`, or a CSV file "
    "with the columns symbol and value. A symbol may belong to an agent, such as denosumab.CL.",
)
AGENTS = option(
    "--agents folder",
    click.Path(path_type=Path),
    "DIR",
    "Folder of your own agent files.  [default: the working folder]",
)
TRIAL_AGENTS = option(
    "--agents",
    click.Path(path_type=Path),
    "DIR",
    "Folder of your own agent files.  [default: that of the trial's file]",
)
RESULT = option("-o --out", FILE, "DIR", "Folder for the result.  [default: runs/ with the verb and the name]")
RESUME = flag("--resume", "Continue the interrupted work in DIR.")
FORCE = flag("--force", "Replace an earlier result.")
WORKERS = option("--workers", whole(1), "W", "Number of processors; changes no result.  [default: all]")
SEED = option("--seed", whole(0), "S", "Seed of every random number.  [default: the trial's]")
LAYERS = option(
    "--layers",
    FuncParamType(_layers),
    "LIST",
    "Sources of variation: one or more of patients,residual,parameters, or none for the typical patient.  "
    "[default: the trial's]",
)
ACCURACY = option("--rtol", TOLERANCE, "X", "Relative error of one integration step.  [default: 1e-5]")


def settings(given: Sequence[tuple[str, str]], folder: Path | None) -> dict[str, float]:
    """Values of --set by name; one that has a unit is turned into the unit of its name.

    Parameters
    ----------
    given : sequence of (str, str)
        Names and values.
    folder : Path or None
        What --agents says.
    """
    from ranklsim.cohorts.people.criteria import covariates
    from ranklsim.pkpd.parameters import load_parameters
    from ranklsim.pkpd.simulation import covariate_symbols
    from ranklsim.pkpd.units import parse_quantity

    names = [name for name, _ in given]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise BadInput(*(f"--set {name} is given more than once; give it once." for name in twice))
    found, table = {}, load_parameters(folder=folder or Path.cwd())
    for name, value in given:
        try:
            found[name] = float(value)
            if not math.isfinite(found[name]):
                raise BadInput(f"--set {name}: {value} is not a finite number; give one, such as age=63 or age=63yr.")
        except ValueError:
            own = covariates().get(name)
            if own is None and "." not in name and name not in table.frame.index:
                covariate_symbols(table, {name: 1.0}, "--set")  # refuses the name
            unit = own.unit if own else str(table.row(name, "--set")["unit"])
            found[name] = parse_quantity(value, unit, where=f"--set {name}")
    return found


def with_agents(trial: str, folder: Path | None) -> Any:
    """A trial with its agents from a folder; its name or path, as it is, where none is given.

    Parameters
    ----------
    trial : str
        Name or path.
    folder : Path or None
        What --agents says.
    """
    from ranklsim.cohorts.protocol.trial import load_trial

    if folder is None:
        return trial
    if not folder.is_dir():
        raise BadInput(f"--agents: there is no folder {folder}; give one with files of agents.")
    return load_trial(trial, folder=folder)


def given(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that were given; the functions have the defaults of the others.

    Parameters
    ----------
    options : mapping
        Name to value, None where an option was left out.
    """
    return {name: value for name, value in options.items() if value is not None}


def result_folder(out: Path | None, verb: str, name: str) -> Path:
    """The folder for a result; ``runs/VERB-NAME`` if none was given.

    Parameters
    ----------
    out : Path or None
        As given.
    verb, name : str
        The name may be the path of a file.
    """
    return Path("runs") / f"{verb}-{Path(name).stem}" if out is None else out


def own_file(name: str) -> tuple[str, Path]:
    """Return the name of an agent or a population, and the folder that is searched before the shipped ones.

    Parameters
    ----------
    name : str
        A name, or the path of a TOML file.
    """
    path = Path(name)
    return (path.stem, path.parent) if path.suffix == ".toml" else (name, Path.cwd())


# -- the command ----------------------------------------------------------------------------------------------------


def command_line(*, resume: bool = False) -> str:
    """Return the command as it was typed, or as the user must type it to continue.

    Parameters
    ----------
    resume : bool
        Whether to remove ``--resume`` and ``--force``, and to put ``--resume`` at the end.
    """
    words: list[str] = click.get_current_context().meta["ranklsim.words"]
    if resume:
        words = [*(word for word in words if word not in ("--force", "--resume")), "--resume"]
    return shlex.join(["ranklsim", *words])


@contextlib.contextmanager
def resumable(noun: str, resume: bool, force: bool) -> Iterator[None]:
    """Run work that can be interrupted and resumed.

    Parameters
    ----------
    noun : str
        Content of the folder, such as "fit".
    resume, force : bool
        The two options, which exclude each other.
    """
    if resume and force:
        raise BadInput(f"--resume continues the {noun} in the folder, --force replaces it; give one of them.")
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(
            f"interrupted; completed work is kept; continue with `{command_line(resume=True)}`."
        ) from None


# -- the terminal ------------------------------------------------------------------------------------------------------


def width() -> int:
    """Width of the terminal in columns; 120 if there is none."""
    return shutil.get_terminal_size((120, 24)).columns


def print_table(rows: Iterable[Mapping[str, object]]) -> None:
    """Print rows as aligned columns; the last column wraps to the terminal.

    Parameters
    ----------
    rows : iterable of mapping
        At least one row; all have the same keys.
    """
    cells = [{name: _cell(value) for name, value in row.items()} for row in rows]
    columns = list(cells[0])
    wide = {name: max(len(name), *(len(row[name]) for row in cells)) for name in columns[:-1]}
    indent = sum(wide.values()) + 2 * len(wide)
    for row in [{name: name.replace("_", " ") for name in columns}, *cells]:
        head = "".join(f"{row[name]:<{wide[name] + 2}}" for name in columns[:-1])
        lines = textwrap.wrap(row[columns[-1]], max(30, width() - indent)) or [""]
        click.echo("\n".join([head + lines[0], *(" " * indent + line for line in lines[1:])]))


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


@contextlib.contextmanager
def progress_bar(
    *, lines: bool = False
) -> Iterator[tuple[Callable[[int, int], None] | None, Callable[[str], None] | None]]:
    """Yield two functions for a terminal; both are None if stderr is not a terminal.

    The first takes the numbers of patients done and in all, and draws a bar on stderr. The second prints a sentence.

    Parameters
    ----------
    lines : bool
        Whether the first prints a line every `BETWEEN_LINES` seconds if stderr is not a terminal.
    """
    if not sys.stderr.isatty():
        yield _progress_lines() if lines else None, None
        return
    from tqdm import tqdm

    layout = "{percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} patients, {rate_noinv_fmt}, {remaining} left"
    with tqdm(total=0, unit=" patients", bar_format=layout, leave=False, ncols=min(width(), 100)) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield progress, lambda text: bar.write(text, file=sys.stderr)


def _progress_lines() -> Callable[[int, int], None]:
    """A function that prints from time to time how many patients are done, and about how long the others take."""
    began = told = time.monotonic()

    def progress(done: int, total: int) -> None:
        nonlocal told
        now = time.monotonic()
        if now - told >= BETWEEN_LINES and 0 < done < total:
            told = now
            left = (now - began) * (total - done) / done
            click.echo(f"{100 * done / total:.0f}% of {total} patients, about {left:.0f} s left", err=True)

    return progress


# -- files -------------------------------------------------------------------------------------------------------------


def check_targets(targets: Sequence[Path], force: bool) -> None:
    """Refuse target files that exist or cannot be written, before any work is done.

    Parameters
    ----------
    targets : sequence of Path
    force : bool
        Whether files that exist may be replaced.

    Raises
    ------
    BadInput
        One sentence for each file that cannot be used.
    """
    faults = [fault for target in targets if (fault := unusable(target, force))]
    if len(set(targets)) < len(targets):
        faults.append(f"{targets[0]} cannot be both the table and the figure; give two names.")
    if faults:
        raise BadInput(*faults)


@contextlib.contextmanager
def new_files(targets: Sequence[Path], force: bool) -> Iterator[list[Path]]:
    """Yield temporary paths that become `targets` once all are written, and are removed after an error.

    Parameters
    ----------
    targets, force
        As of `check_targets`.
    """
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
    except OSError as error:  # name the target file, not the temporary one
        raise OSError(error.errno, error.strerror, " and ".join(str(target) for target in targets)) from None
