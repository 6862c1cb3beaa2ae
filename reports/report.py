"""The report of a finished run: one self-contained HTML page, and the numbers behind every exhibit as CSV.

`write_report` opens a run folder, has its sections composed, and writes them. Each exhibit is drawn or tabulated from
the frame that is exported beside it (`ranklsim.reports.exhibit`). The same run gives the same bytes. Sections and
numbers follow ICH E3 (9 design, 10 patients, 11 efficacy, 12 safety, 16 appendices; tables and figures 14.1 to 14.3).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ranklsim.cohorts import storage
from ranklsim.pkpd.errors import BadInput
from ranklsim.reports import appendix, efficacy, lasting, mechanism, outcomes, overview
from ranklsim.reports.context import Context, Section, read
from ranklsim.reports.page import new_folder, refuse_foreign, render, write_page

MARK = "ranklsim-report"

SECTIONS = (
    overview.synopsis,
    overview.design,
    overview.patients,
    efficacy.efficacy,
    efficacy.endpoint_section,
    efficacy.bmd,
    efficacy.markers,
    efficacy.after,
    mechanism.ligand,
    mechanism.contributions,
    mechanism.uncertainty,
    lasting.durable,
    outcomes.outcomes,
    outcomes.decisions,
    outcomes.questions,
    outcomes.forests,
    appendix.safety,
    appendix.assumptions,
    appendix.reproducibility,
)


def write_report(run_folder: str | os.PathLike[str], *, out: str | os.PathLike[str] | None = None) -> Path:
    """Write the report of a finished run.

    Parameters
    ----------
    run_folder : path or URL
        A folder written by ``ranklsim run``.
    out : path, optional
        Folder of the report; ``<run_folder>/report`` by default. An earlier report there is replaced, any other
        folder that is not empty is refused.

    Returns
    -------
    Path
        ``index.html``, which needs no other file; beside it ``tables/`` with one CSV and ``figures/`` with one SVG
        an exhibit.

    Raises
    ------
    BadInput
        If the run is incomplete or altered, or the folder can't be written or holds something else.
    """
    target = Path(out) if out is not None else storage.place(run_folder) / "report"
    if not storage.is_local(target):
        with tempfile.TemporaryDirectory(prefix="ranklsim-") as here:
            write_report(run_folder, out=Path(here) / "report")
            storage.upload(Path(here) / "report", target)
        return target / "index.html"
    data = read(run_folder)
    _check_target(target)
    try:
        with new_folder(target) as work:
            context = Context(data)
            sections = [section(context) for section in SECTIONS]
            write_page(work, render_report(context, sections), sections)
    except OSError as fault:
        raise BadInput(_cannot_write(target, fault)) from fault
    return target / "index.html"


def _check_target(target: Path) -> None:
    if target.exists() and not target.is_dir():
        raise BadInput(f"{target}: is a file; give a folder for the report.")
    if target.is_dir() and any(target.iterdir()):
        index = target / "index.html"
        if not index.is_file() or MARK not in index.read_text(encoding="utf-8", errors="replace")[:2000]:
            raise BadInput(f"{target}: holds something other than a report; give an empty or a new folder.")
        refuse_foreign(target, {"index.html"})


def _cannot_write(target: Path, fault: OSError) -> str:
    return f"{target}: the report can't be written there ({fault.strerror}); give a folder that you may write to."


def render_report(context: Context, sections: Sequence[Section]) -> str:
    """The page as HTML text."""
    size = f"{context.n} simulated patients · {len(context.arms)} arms · {context.trial.months:g} months"
    return render(
        "report.html",
        sections,
        c=context,
        mark=MARK,
        title=context.trial.title,
        meta=f"{size} · seed {context.seed} · {context.model}",
        keyhead="Key result",
        footer=f"Simulated data throughout: no patient was treated. {context.model}, seed {context.seed}.",
        synopsis_rows=overview.synopsis_rows(context),
    )
