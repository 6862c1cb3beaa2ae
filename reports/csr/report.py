"""The report of a finished run: one self-contained HTML page, and the numbers behind every exhibit as CSV.

`write_report` opens a run folder, has its sections composed, and writes them, as Word and RTF too if asked. Each
exhibit is drawn or tabulated from the frame that is exported beside it (`layout.exhibit`). The same run gives
the same bytes. Sections and numbers follow ICH E3 (2 synopsis, 9 design, 10 patients, 11 efficacy, 12 safety, 16
appendices; tables and figures 14.1 to 14.3).
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import threadpoolctl

from ranklsim.cohorts.running import places
from ranklsim.cohorts.running.storage import open_run
from ranklsim.pkpd import arguments
from ranklsim.pkpd.errors import BadInput, counted
from ranklsim.reports.csr import (  # noqa: F401  (each registers its sections)
    appendix,
    concentrations,
    core,
    efficacy,
    lasting,
    mechanism,
    monitoring,
    outcomes,
    overview,
    patients,
    robustness,
    safety,
)
from ranklsim.reports.csr.ars import reporting_event
from ranklsim.reports.csr.contents import compose
from ranklsim.reports.csr.context import Context
from ranklsim.reports.figures.ahead import Ahead
from ranklsim.reports.layout.exhibit import Section
from ranklsim.reports.layout.folders import check_folder, new_folder
from ranklsim.reports.layout.page import Page

MARK = "ranklsim-report"

FORMATS = ("html", "docx", "rtf", "pptx", "parquet")
"""What a report can be written as; the page is always among them."""

DOCUMENT, SLIDES, RESULTS = "report.docx", "slides.pptx", "ars.json"


@arguments.checked(run_folder=arguments.path, out=arguments.path, formats=arguments.NAMES, brief=arguments.flag)
def write_report(
    run_folder: str | os.PathLike[str],
    *,
    out: str | os.PathLike[str] | None = None,
    formats: Sequence[str] = ("html",),
    brief: bool = False,
) -> Path:
    """Write the report of a finished run.

    Parameters
    ----------
    run_folder : path or URL
        A folder written by ``ranklsim run``.
    out : path, optional
        Folder of the report; ``<run_folder>/report`` by default. An earlier report there is replaced, any other
        folder that is not empty is refused.
    formats : sequence of str
        Some of `FORMATS`: the page ("html", always written), "docx" for a Word document, "rtf" for one RTF file a
        table, "pptx" for the figures of the core as slides, "parquet" for the numbers behind every exhibit as Parquet
        too.
    brief : bool
        Whether the core of the report stands alone, without appendices.

    Returns
    -------
    Path
        ``index.html``, which needs no other file; beside it ``tables/`` with one CSV and ``figures/`` with one SVG
        an exhibit, ``ars.json`` with the results of the tables as CDISC ARS 1.0, and ``report.docx`` and ``rtf/`` if
        asked for.

    Raises
    ------
    BadInput
        If the run is incomplete or altered, a format is none of `FORMATS` or needs an extra that is not installed, or
        the folder can't be written or holds
        something else.
    """
    unknown = [name for name in formats if name not in FORMATS]
    if unknown:
        raise BadInput(*(f"unknown format '{name}'; give some of {', '.join(FORMATS)}." for name in unknown))
    target = Path(out) if out is not None else places.place(run_folder) / "report"
    if not places.is_local(target):
        with tempfile.TemporaryDirectory(prefix="ranklsim-") as here:
            write_report(run_folder, out=Path(here) / "report", formats=formats, brief=brief)
            places.upload(Path(here) / "report", target)
        return target / "index.html"
    data = open_run(run_folder)
    check_folder(target, f'content="{MARK}"', {"index.html", DOCUMENT, SLIDES, RESULTS}, force=True)
    try:
        # Sums of the linear algebra do not depend on the machine's processors, which painters have a use for.
        # Texts of many small frames are compared and taken sooner as Python's than as Arrow's.
        texts = pd.option_context("mode.string_storage", "python")
        with threadpoolctl.threadpool_limits(1), texts, new_folder(target) as work:
            context = Context(data)
            page = _page(context)
            with Ahead() as ahead:
                sections = compose(context, brief=brief, begin=ahead.draw)
                event = json.dumps(
                    reporting_event(context, sections), ensure_ascii=False, separators=(",", ":"), allow_nan=False
                )
                (work / RESULTS).write_text(event + "\n", encoding="utf-8", newline="")
                page.write(work, sections, "report.html", drawn=ahead.finish, basis=context.basis_line, brief=brief)
            _write_formats(work, page, str(data.manifest["started"]), sections, formats)
    except OSError as fault:
        why = f"{target}: the report can't be written there ({fault.strerror}); give a folder that you may write to."
        raise BadInput(why) from fault
    return target / "index.html"


def _write_formats(folder: Path, page: Page, started: str, sections: Sequence[Section], formats: Sequence[str]) -> None:
    """Write the formats other than the page."""
    if "docx" in formats:
        from ranklsim.reports.layout.word import write_word

        write_word(folder / DOCUMENT, page.title, page.meta, page.footer, started, sections)
    if "pptx" in formats:
        from ranklsim.reports.layout.slides import write_slides

        write_slides(folder / SLIDES, page.title, page.meta, page.footer, started, sections)
    if "rtf" in formats:
        from ranklsim.reports.layout.rtf import write_rtf

        write_rtf(folder / "rtf", sections, page.footer)
    if "parquet" in formats:
        for exhibit in (e for section in sections for e in section.exhibits):
            exhibit.frame.to_parquet(folder / "tables" / f"{exhibit.stem}.parquet", index=False)


def _page(c: Context) -> Page:
    """The parts of the page other than its sections."""
    size = f"{counted(c.n, 'simulated patient')} · {counted(len(c.arms), 'arm')} · {c.trial.months:g} months"
    return Page(
        mark=MARK,
        kind="Trial report",
        title=c.trial.title,
        meta=f"{size} · seed {c.seed} · {c.model}",
        keyhead="",
        footer=f"Simulated data throughout: no patient was treated. {c.model}, seed {c.seed}.",
    )
