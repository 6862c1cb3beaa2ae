"""The command line: it turns words into calls, and each error into one sentence.

Modules that a verb needs are imported when the verb runs, so that ``ranklsim --help`` answers at once.
"""

from __future__ import annotations

import errno
import gc
import os
import platform
import sys
import traceback
import warnings
from collections.abc import Sequence

import click

from ranklsim import __version__
from ranklsim.pkpd.errors import FROM_COMMAND_LINE, BadInput, Caution, RanklsimError, printable
from ranklsim.reports.cli import explore, inputs, runs, studies
from ranklsim.reports.cli.shared import EXIT_CODES, Interrupted

DONE, RUN_FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
DEBUG = "RANKLSIM_DEBUG"
COMPLETE = "_RANKLSIM_COMPLETE"
"""Variable in which a shell asks for completions."""


def _say_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if not wanted:
        return
    click.echo(f"ranklsim {__version__}")
    if ctx.params["verbose"]:
        from ranklsim.cohorts.running.scheduler import LIBRARIES, versions
        from ranklsim.pkpd.engine.compiler import code_store
        from ranklsim.pkpd.machine import processors
        from ranklsim.pkpd.parameters import load_parameters

        found = versions()
        click.echo(f"Python {platform.python_version()}, {platform.platform()}, {processors()} processors")
        click.echo(", ".join(f"{name} {found[name]}" for name in LIBRARIES))
        click.echo(f"parameters {load_parameters().hash}; compiled solver in {code_store().base}")
    ctx.exit()


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110, "show_default": True},
    epilog=f"Start with `ranklsim run modality -o runs/modality`. {EXIT_CODES}",
)
@click.option("-v", "--verbose", is_flag=True, is_eager=True, help="With --version: also what it runs on.")
@click.option("--version", is_flag=True, callback=_say_version, expose_value=False, help="Show the version and exit.")
def cli(verbose: bool) -> None:
    """Simulate clinical trials of anti-RANKL drugs that tell membrane-bound from soluble RANKL."""


@click.command("completion", short_help="Print the completion of words for a shell.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a script that makes SHELL complete verbs, options and their values.

    For bash: `ranklsim completion bash > ~/.ranklsim-complete.bash`, and in ~/.bashrc `. ~/.ranklsim-complete.bash`.
    docs/usage.md has the lines for zsh and fish.
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(cli, {}, "ranklsim", COMPLETE).source())


cli.add_command(completion)
for verb in (*inputs.VERBS, *runs.VERBS, *studies.VERBS, *explore.VERBS):
    cli.add_command(verb)


def _explain_usage(error: click.UsageError) -> str:
    """A usage error of click, as one sentence."""
    verb = error.ctx.command_path if error.ctx is not None else "ranklsim"
    near = getattr(error, "possibilities", None)
    suggestion = f"did you mean '{near[0]}'? " if near else ""
    if isinstance(error, click.NoSuchOption):
        return f"{verb}: unknown option '{error.option_name}'; {suggestion}`{verb} --help` lists all."
    if isinstance(error, click.exceptions.NoSuchCommand):
        return f"{verb}: unknown verb '{error.command_name}'; {suggestion}`{verb} --help` lists all."
    if isinstance(error, click.BadParameter) and error.param is not None:
        param = error.param
        name = max(param.opts, key=len) if isinstance(param, click.Option) else param.human_readable_name
        if isinstance(error, click.MissingParameter):
            return f"{verb}: {name} is missing; `{verb} --help` explains what to give."
        return f"{verb}: {name}: {error.message.rstrip('.')}."
    text = error.format_message().rstrip(".")
    return f"{verb}: {text[:1].lower()}{text[1:]}; `{verb} --help` explains what to give."


def _explain_system(error: OSError) -> tuple[str, int]:
    """An error of the operating system, as one sentence, and its exit code."""
    where = f"{error.filename}: " if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{where}no space left on the disk; free some space, or give another path.", RUN_FAILED
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{where}permission denied; change the permissions, or give another path.", BAD_INPUT
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG):
        return f"{where}{(error.strerror or str(error)).lower()}; give another path.", BAD_INPUT
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
    if args is None:  # a process of its own, whose modules and cells are many and live until its end
        gc.set_threshold(100_000, 20, 100)
    if instruction := os.environ.get(COMPLETE):
        from click.shell_completion import shell_complete

        return shell_complete(cli, {}, "ranklsim", COMPLETE, instruction)
    token = FROM_COMMAND_LINE.set(True)
    try:
        with warnings.catch_warnings(), cli.make_context("ranklsim", list(words)) as ctx:
            warnings.simplefilter("always", Caution)
            warnings.showwarning = _warn  # type: ignore[assignment]
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
        return _fail(printable(_explain_usage(error)), BAD_INPUT)
    except BadInput as error:
        return _fail("\n".join(error.messages), BAD_INPUT)
    except RanklsimError as error:
        return _fail(str(error), error.exit_code)
    except Interrupted as error:
        return _fail(str(error), INTERRUPTED)
    except (KeyboardInterrupt, click.Abort):
        return _fail("interrupted; nothing was written.", INTERRUPTED)
    except BrokenPipeError:  # the reader of our output has ended, as in `ranklsim parameters | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except OSError as error:
        return _fail(*_explain_system(error))
    except MemoryError:
        return _fail("out of memory; use fewer --workers or --patients.", RUN_FAILED)
    except Exception as error:  # an internal error: one sentence for the user; the traceback is for developers
        if os.environ.get(DEBUG):
            traceback.print_exc()
        what = " ".join(str(error).split()) or "no text"
        return _fail(
            f"internal error of ranklsim ({type(error).__name__}: {what}); set {DEBUG}=1 to see the traceback.",
            RUN_FAILED,
        )
    finally:
        FROM_COMMAND_LINE.reset(token)


def _warn(message: Warning | str, category: type[Warning], filename: str, lineno: int, *more: object) -> None:
    """A warning of ranklsim as one sentence on stderr; those of other libraries as they are."""
    text = f"warning: {printable(str(message))}"
    click.echo(text if category is Caution else warnings.formatwarning(message, category, filename, lineno), err=True)


def _fail(text: str, code: int) -> int:
    click.echo("\n".join(map(printable, text.split("\n"))), err=True)
    return code
