"""Verbs that read finished runs: the report in its formats, data sets of CDISC, several runs side by side.

The module registers them with `ranklsim.reports.cli.main` when it is imported.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import click

from ranklsim.reports.cli.main import EXIT_CODES, FILE, FORCE, Names, Place, cli, words


@cli.command(
    "report",
    short_help="Write the report of a run again.",
    epilog=f"Example: `ranklsim report runs/modality --format docx,rtf`. {EXIT_CODES}",
)
@click.argument("folder", metavar="DIR", type=Place())
@click.option(
    "--format",
    "formats",
    type=Names(),
    metavar="LIST",
    default="html",
    show_default=True,
    help="Formats besides the page, parted by commas: docx (report.docx, a Word document), rtf (rtf/, a file a table), "
    "parquet (the numbers behind every exhibit, beside the CSV).",
)
def report_command(folder: str | Path, formats: list[str]) -> None:
    """Write the report of the run in DIR (again): DIR/report/index.html, one file that needs no other.

    DIR may be a URL, as of `ranklsim run -o`.
    """
    from ranklsim import api

    click.echo(api.report(folder, formats=formats))


class Day(click.ParamType):
    """A day, as in 2000-01-03."""

    name = "day"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        if isinstance(value, date):
            return value
        try:
            return date.fromisoformat(value)
        except ValueError:
            return self.fail(f"'{value}' is not a day such as 2000-01-03", param, ctx)


@cli.command(
    "cdisc",
    short_help="Write a run's data as CDISC (ADaM) data sets.",
    epilog=f"Example: `ranklsim cdisc runs/modality -o runs/modality-adam`. {EXIT_CODES}",
)
@click.argument("folder", metavar="DIR", type=Place())
@click.option("-o", "--out", type=FILE, metavar="DIR", required=True, help="Folder for the data sets.")
@click.option(
    "--format",
    "formats",
    type=Names(),
    metavar="LIST",
    default="parquet,xpt,json",
    show_default=True,
    help="Formats, parted by commas: parquet, xpt (SAS transport version 5), json (Dataset-JSON 1.1).",
)
@click.option(
    "--first-day",
    type=Day(),
    metavar="YYYY-MM-DD",
    default="2000-01-03",
    show_default=True,
    help="Day on which the first patient is randomised: simulated time has no calendar.",
)
@FORCE
def cdisc_command(folder: str | Path, out: Path, formats: list[str], first_day: date, force: bool) -> None:
    """Write the data of the run in DIR as ADSL, ADBMD, ADLB, ADTTE, ADEX and ADPC, with define.xml.

    Names, labels, lengths, keys, controlled terms, baselines and days are checked first; nothing is written if a rule
    is broken.
    """
    from ranklsim import api

    click.echo(api.cdisc(folder, out, formats=formats, first_day=first_day, force=force))


@cli.command(
    "compare",
    short_help="Set several runs side by side.",
    epilog=f"Example: `ranklsim compare runs/modality runs/seed0 -o runs/compared`. {EXIT_CODES}",
)
@click.argument("folders", metavar="DIR1 DIR2 ...", type=Place(), nargs=-1, required=True)
@click.option("-o", "--out", type=FILE, metavar="DIR", required=True, help="Folder for the page and its tables.")
@FORCE
def compare_command(folders: Sequence[str | Path], out: Path, force: bool) -> None:
    """Set the runs in DIR1, DIR2, ... side by side: what differs in what went in, endpoints, durability.

    Runs with the same seed and population are of the same patients, and are compared patient by patient with the first.
    """
    from ranklsim import api

    command = shlex.join(["ranklsim", *words()])
    click.echo(api.compare(folders, out, force=force, command=command))
