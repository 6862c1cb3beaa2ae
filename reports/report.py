"""The report of a finished run: one self-contained HTML page, and the numbers behind every exhibit as CSV.

`write_report` opens a run folder, has its sections composed, and writes them. Each exhibit is drawn or tabulated from
the frame that is exported beside it (`ranklsim.reports.exhibit`). The same run gives the same bytes. Sections and
numbers follow ICH E3 (9 design, 10 patients, 11 efficacy, 12 safety, 16 appendices; tables and figures 14.1 to 14.3).
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import jinja2
from markupsafe import Markup

from ranklsim.pkpd.errors import BadInput
from ranklsim.reports import appendix, efficacy, mechanism, overview
from ranklsim.reports.context import Context, Section, read

TEMPLATES = Path(__file__).parent / "templates"
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
    appendix.safety,
    appendix.assumptions,
    appendix.reproducibility,
)


def write_report(run_folder: str | os.PathLike[str], *, out: str | os.PathLike[str] | None = None) -> Path:
    """Write the report of a finished run.

    Parameters
    ----------
    run_folder : path
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
    data = read(run_folder)
    target = Path(out) if out is not None else Path(run_folder) / "report"
    _check_target(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=".report-", dir=target.parent))
    except OSError as fault:
        raise BadInput(_cannot_write(target, fault)) from fault
    try:
        context = Context(data)
        sections = [section(context) for section in SECTIONS]
        page = render(context, sections)
        work.chmod(0o755)
        for name in ("tables", "figures"):
            (work / name).mkdir()
        for exhibit in (e for section in sections for e in section.exhibits):
            (work / "tables" / f"{exhibit.stem}.csv").write_text(exhibit.csv(), encoding="utf-8", newline="")
            if exhibit.kind == "Figure":
                (work / "figures" / f"{exhibit.stem}.svg").write_text(exhibit.body + "\n", encoding="utf-8", newline="")
        (work / "index.html").write_text(page, encoding="utf-8", newline="")
        if target.exists():
            shutil.rmtree(target)
        os.replace(work, target)
    except OSError as fault:
        raise BadInput(_cannot_write(target, fault)) from fault
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return target / "index.html"


def _check_target(target: Path) -> None:
    if target.exists() and not target.is_dir():
        raise BadInput(f"{target}: is a file; give a folder for the report.")
    if target.is_dir() and any(target.iterdir()):
        index = target / "index.html"
        if not index.is_file() or MARK not in index.read_text(encoding="utf-8", errors="replace")[:2000]:
            raise BadInput(f"{target}: holds something other than a report; give an empty or a new folder.")
        ours = {".html": "", ".csv": "tables", ".svg": "figures"}
        for path in sorted(target.rglob("*")):
            if path.is_file() and ours.get(path.suffix) != path.relative_to(target).parent.as_posix().replace(".", ""):
                raise BadInput(f"{path}: is no part of a report, and the folder is made anew; move it elsewhere first.")


def _cannot_write(target: Path, fault: OSError) -> str:
    return f"{target}: the report can't be written there ({fault.strerror}); give a folder that you may write to."


def render(context: Context, sections: Sequence[Section]) -> str:
    """The page as HTML text."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    css = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    return environment.get_template("report.html").render(
        c=context,
        sections=sections,
        css=Markup(css),
        mark=MARK,
        trial=context.trial,
        synopsis_rows=overview.synopsis_rows(context),
        safe=Markup,
    )
