"""The verb that opens a page in the browser: explore."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from ranklsim.pkpd.errors import BadInput
from ranklsim.reports.cli import shared

PORTS = 65535


@shared.verb("explore", "Move doses and assumptions on a page in the browser.", "explore --port 8765")
@click.argument("regimens", metavar="[REGIMEN]...", nargs=-1)
@shared.option(
    "--host", str, "NAME", "Address to listen on; any other machine is kept out by default.", default="127.0.0.1"
)
@shared.option("--port", shared.whole(0), "P", "Port to listen on; 0 for any that is free.", default="8765")
@shared.option("--draws", shared.whole(1), "N", "Vectors of the ensemble behind a band.", default="100")
@shared.option("--export", shared.FILE, "FILE.html", "Write a page that needs no server, with a grid of regimens.")
@shared.option("--vary", str, "SYMBOL", "The parameter that moves in an exported page.", default="sig")
@shared.FORCE
def _explore(
    regimens: Sequence[str], host: str, port: int, draws: int, export: Path | None, vary: str, force: bool
) -> None:
    """Open a page on which regimens and unknown parameters are moved, until Ctrl-C ends it.

    REGIMEN is one to four sequences, such as "denosumab 60mg every 6mo for 36mo". The page is served to this machine
    only, and loads nothing from elsewhere.
    """
    from ranklsim.pkpd.ensemble import ensemble
    from ranklsim.reports.explore import page
    from ranklsim.reports.explore.course import Asked, course

    if port > PORTS:
        raise BadInput(f"--port: {port} is no port; give one from 0 to {PORTS}.")
    if draws > len(ensemble()):
        raise BadInput(f"--draws: {draws}, but the ensemble holds {len(ensemble())} vectors; give at most that.")
    if len(regimens) > page.MOST:
        raise BadInput(f"there are {len(regimens)} regimens; give at most {page.MOST}.")
    texts = [" ".join(text.split()) for text in regimens] or list(page.START)
    for text in texts:
        Asked(text, 1.0).plan()
    if export is not None:
        from ranklsim.reports.explore.export import export as exported

        shared.check_targets([export], force)
        if export.suffix.lower() not in (".html", ".htm"):
            raise BadInput(f"--export: {export} does not end in .html; the page is one HTML file.")
        with shared.progress_bar(lines=True) as (progress, _):
            html = exported(texts, vary, draws, progress)
        with shared.new_files([export], force) as (path,):
            path.write_text(html, encoding="utf-8", newline="")
        click.echo(export)
        return
    from ranklsim.reports.explore.serve import open_server

    with open_server(host, port, page.page(page.config(texts, draws)), draws) as server:
        for text in texts:  # the first answers are ready, and the solver is compiled, when the page opens
            course(Asked(text, 60.0), draws)
        if not server.is_private:
            click.echo(f"anybody who reaches {host} can use this page; leave out --host to keep it here.", err=True)
        click.echo(f"{server.address} (Ctrl-C ends it)")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            click.echo("ended.")


VERBS = (_explore,)
