"""The report of a finished run: one self-contained HTML page, and the numbers behind every exhibit as CSV.

`write_report` opens a run folder, has its sections composed, and writes them, as Word and RTF too if asked. Each
exhibit is drawn or tabulated from the frame that is exported beside it (`layout.exhibit`). The same run gives
the same bytes. Sections and numbers follow ICH E3 (2 synopsis, 9 design, 10 patients, 11 efficacy, 12 safety, 16
appendices; tables and figures 14.1 to 14.3).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ranklsim.cohorts.running import places
from ranklsim.pkpd.errors import BadInput
from ranklsim.reports.csr import (  # noqa: F401  (each registers its sections)
    appendix,
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
from ranklsim.reports.csr.contents import compose
from ranklsim.reports.csr.context import Context, read
from ranklsim.reports.layout.exhibit import Section
from ranklsim.reports.layout.html import render
from ranklsim.reports.layout.page import new_folder, refuse_foreign, write_page

MARK = "ranklsim-report"

FORMATS = ("html", "docx", "rtf", "parquet")
"""What a report can be written as; the page is always among them."""

DOCUMENT = "report.docx"


def write_report(
    run_folder: str | os.PathLike[str],
    *,
    out: str | os.PathLike[str] | None = None,
    formats: Sequence[str] = ("html",),
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
        table, "parquet" for the numbers behind every exhibit as Parquet too.

    Returns
    -------
    Path
        ``index.html``, which needs no other file; beside it ``tables/`` with one CSV and ``figures/`` with one SVG
        an exhibit, and ``report.docx`` and ``rtf/`` if asked for.

    Raises
    ------
    BadInput
        If the run is incomplete or altered, a format is none of `FORMATS`, or the folder can't be written or holds
        something else.
    """
    check_formats(formats)
    target = Path(out) if out is not None else places.place(run_folder) / "report"
    if not places.is_local(target):
        with tempfile.TemporaryDirectory(prefix="ranklsim-") as here:
            write_report(run_folder, out=Path(here) / "report", formats=formats)
            places.upload(Path(here) / "report", target)
        return target / "index.html"
    data = read(run_folder)
    _check_target(target)
    try:
        with new_folder(target) as work:
            context = Context(data)
            sections = compose(context)
            write_page(work, render_report(context, sections), sections)
            _write_formats(work, context, sections, formats)
    except OSError as fault:
        raise BadInput(_cannot_write(target, fault)) from fault
    return target / "index.html"


def check_formats(formats: Sequence[str]) -> None:
    """Refuse a format that is none of `FORMATS`.

    Raises
    ------
    BadInput
        One sentence for each.
    """
    unknown = [name for name in formats if name not in FORMATS]
    if unknown:
        raise BadInput(*(f"unknown format '{name}'; give some of {', '.join(FORMATS)}." for name in unknown))


def _write_formats(folder: Path, context: Context, sections: Sequence[Section], formats: Sequence[str]) -> None:
    """What is asked for besides the page."""
    if "docx" in formats:
        from ranklsim.reports.layout.word import write_word

        title, meta, foot = title_lines(context)
        write_word(folder / DOCUMENT, title, meta, foot, str(context.data.manifest["started"]), sections)
    if "rtf" in formats:
        from ranklsim.reports.layout.rtf import write_rtf

        write_rtf(folder / "rtf", sections)
    if "parquet" in formats:
        for exhibit in (e for section in sections for e in section.exhibits):
            exhibit.frame.to_parquet(folder / "tables" / f"{exhibit.stem}.parquet", index=False)


def title_lines(context: Context) -> tuple[str, str, str]:
    """Title, what stands below it, and what stands at the end."""
    size = f"{context.n} simulated patients · {len(context.arms)} arms · {context.trial.months:g} months"
    return (
        context.trial.title,
        f"{size} · seed {context.seed} · {context.model}",
        f"Simulated data throughout: no patient was treated. {context.model}, seed {context.seed}.",
    )


def _check_target(target: Path) -> None:
    if target.exists() and not target.is_dir():
        raise BadInput(f"{target}: is a file; give a folder for the report.")
    if target.is_dir() and any(target.iterdir()):
        index = target / "index.html"
        if not index.is_file() or MARK not in index.read_text(encoding="utf-8", errors="replace")[:2000]:
            raise BadInput(f"{target}: holds something other than a report; give an empty or a new folder.")
        refuse_foreign(target, {"index.html", DOCUMENT})


def _cannot_write(target: Path, fault: OSError) -> str:
    return f"{target}: the report can't be written there ({fault.strerror}); give a folder that you may write to."


def render_report(context: Context, sections: Sequence[Section]) -> str:
    """The page as HTML text."""
    title, meta, footer = title_lines(context)
    return render(
        "report.html",
        sections,
        c=context,
        mark=MARK,
        title=title,
        meta=meta,
        keyhead="Key result",
        footer=footer,
    )
