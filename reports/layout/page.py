"""A page of sections and exhibits, and the folder that it is written into with the numbers behind every exhibit.

The trial report (`ranklsim.reports.csr.report`) and what `validate` and `fit` write share this; a `Page` is one of the
latter.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from ranklsim import __version__
from ranklsim.pkpd.errors import BadInput
from ranklsim.reports.layout.cells import Record, listing
from ranklsim.reports.layout.exhibit import FLOAT_FORMAT, Exhibit, Section
from ranklsim.reports.layout.html import render

FINGERPRINT = "fingerprint"
"""Name of the file that records which input the result in a folder belongs to."""


def write_result(
    folder: Path, name: str, frames: Mapping[str, pd.DataFrame], facts: Mapping[str, Any], libraries: Sequence[str],
    command: str,
) -> None:  # fmt: skip
    """Write an analysis into `folder`: each frame as ``FRAME.csv``, and `facts` with every version as ``NAME.json``.

    Parameters
    ----------
    folder : Path
    name : str
        Of the JSON file, without its ending.
    frames : mapping of str to DataFrame
        By the name of the file, without its ending.
    facts : mapping
        What can be written as JSON.
    libraries : sequence of str
        Distributions whose versions are recorded.
    command : str
        What was typed.
    """
    for frame, table in frames.items():
        table.to_csv(folder / f"{frame}.csv", index=False, float_format=FLOAT_FORMAT, lineterminator="\n")
    versions = {"ranklsim": __version__, "python": platform.python_version()}
    said = {**facts, "versions": versions | {library: version(library) for library in libraries}, "command": command}
    (folder / f"{name}.json").write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8", newline="")


@dataclass(frozen=True)
class Page:
    """What a page says besides its sections.

    Attributes
    ----------
    mark : str
        Name of the generator; a folder is replaced only if its page bears it.
    kind, title, meta, keyhead, footer : str
        Above the title, the title, below it, over the key result, at the end.
    """

    mark: str
    kind: str
    title: str
    meta: str
    keyhead: str
    footer: str

    def write(self, folder: Path, sections: Sequence[Section], template: str = "page.html", **values: object) -> None:
        """Write ``index.html``, with ``tables/`` and ``figures/`` beside it.

        Parameters
        ----------
        folder : Path
            An existing folder.
        sections : sequence of Section
            Those of "page.html" are numbered as they come, since one may be left out.
        template : str
            File of `html.TEMPLATES`.
        values
            What else the template names.
        """
        if template == "page.html":
            sections = [replace(section, number=str(k)) for k, section in enumerate(sections, 1)]
        text = render(template, sections, **vars(self), **values)
        for name in ("tables", "figures"):
            shutil.rmtree(folder / name, ignore_errors=True)
            (folder / name).mkdir()
        for exhibit in (e for section in sections for e in section.exhibits):
            (folder / "tables" / f"{exhibit.stem}.csv").write_text(exhibit.csv(), encoding="utf-8", newline="")
            if isinstance(exhibit.body, str):
                path = folder / "figures" / f"{exhibit.stem}.svg"
                path.write_text(exhibit.body + "\n", encoding="utf-8", newline="")
        (folder / "index.html").write_text(text, encoding="utf-8", newline="")


def table(
    number: str,
    title: str,
    frame: pd.DataFrame,
    rows: Sequence[Record] | Callable[[dict[str, Any]], Record],
    footnote: str,
    *,
    headline: str = "",
    numeric: Sequence[str] = (),
    group: str | None = None,
    folded: bool = False,
) -> Exhibit:
    """A listing as an exhibit.

    Parameters
    ----------
    number, title, footnote, headline, folded
        As in `Exhibit`.
    frame : DataFrame
        What is exported.
    rows : sequence of mapping, or callable
        Head to text of each row; or the function that makes them of a row of `frame`.
    numeric, group
        As in `cells.listing`.

    Returns
    -------
    Exhibit
    """
    records = frame.to_dict("records") if callable(rows) else ()
    made = [rows(record) for record in records] if callable(rows) else rows
    body = listing(made, records=records, numeric=numeric, group=group)
    return Exhibit("Table", number, title, frame, body, footnote, headline, folded)


def _refuse_foreign(folder: Path, top: Set[str]) -> None:
    """Refuse to replace a folder with a file that no page of ours has; `top` are the files at its top level."""
    ours = {("tables", ".csv"), ("tables", ".parquet"), ("figures", ".svg"), ("rtf", ".rtf")}
    for path in sorted(folder.rglob("*")):
        place = path.relative_to(folder)
        if path.is_file() and place.as_posix() not in top and (place.parent.as_posix(), path.suffix) not in ours:
            raise BadInput(f"{path}: is no part of a report, and the folder is made anew; move it elsewhere first.")


def check_folder(target: Path, mark: str, top: Set[str], force: bool) -> None:
    """Refuse a folder that holds something, unless it is an earlier page of ours and `force` is given.

    Parameters
    ----------
    target : Path
        Folder of the page.
    mark : str
        Name of the generator that such a page bears.
    top : set of str
        Files that such a folder has beside ``tables/``, ``figures/`` and ``rtf/``.
    force : bool
        Whether an earlier page may be replaced.

    Raises
    ------
    BadInput
        If it can't be made, holds something, or is no folder.
    """
    if target.exists() and not target.is_dir():
        raise BadInput(f"{target}: is a file; give a folder.")
    near = next(place for place in (target, *target.absolute().parents) if place.is_dir())
    if not os.access(near, os.W_OK):
        raise BadInput(f"{target}: no permission to write in {near}; give another path.")
    if target.is_dir() and any(target.iterdir()):
        index = target / "index.html"
        if not index.is_file() or f'content="{mark}"' not in index.read_text("utf-8", errors="replace")[:2000]:
            raise BadInput(f"{target} holds something other than a report; give an empty or a new folder.")
        if not force:
            raise BadInput(f"{target} holds an earlier result; give another folder, or --force to replace it.")
        _refuse_foreign(target, top)


def work_folder(
    out: Path,
    verb: str,
    identity: str,
    fingerprint: str,
    resume: bool,
    force: bool,
    top: Callable[[Path], Set[str]] | None = None,
) -> Path:
    """Make the folder for completed work inside `out`. An earlier `out` is continued or replaced.

    Parameters
    ----------
    out : Path
        Folder of the result.
    verb : str
        What writes it, such as "fit"; folders of another verb are not touched.
    identity : str
        What a result must have in common with one that goes on, in words.
    fingerprint : str
        The same as a hash.
    resume, force : bool
        Whether to go on with what is there, or to replace it.
    top : callable, optional
        Files that such a folder may hold beside its own folders, from its path; with `force`, all go if not given.

    Raises
    ------
    BadInput
        If `out` holds something that may not be touched.
    """
    mark, work, ours = out / FINGERPRINT, out / "work", f"ranklsim {verb} "
    noun = "a fit" if verb == "fit" else "an analysis"
    if out.exists() and not out.is_dir():
        raise BadInput(f"{out}: is a file; give a folder.")
    kept = mark.read_text(encoding="utf-8", errors="replace").strip() if mark.is_file() else ""
    if out.is_dir() and any(out.iterdir()):
        if not kept.startswith(ours):
            raise BadInput(f"{out} holds something other than {noun}; give an empty or a new folder.")
        if not (resume or force):
            raise BadInput(f"{out} holds {noun}; give another folder, --resume to continue, or --force to replace it.")
        if resume and kept != ours + fingerprint:
            raise BadInput(
                f"{out} holds another {noun.split()[1]} ({identity} differ); "
                "give another folder, or --force to replace it."
            )
        if force:
            if top is not None:
                _refuse_foreign(out, top(out))
            shutil.rmtree(out)
    elif resume:
        raise BadInput(f"{out} holds no {noun.split()[1]} to continue; leave out --resume.")
    work.mkdir(parents=True, exist_ok=True)
    mark.write_text(ours + fingerprint + "\n", encoding="utf-8")
    return work


@contextlib.contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A temporary folder. It replaces `target` when everything is written, and is removed if something fails.

    Parameters
    ----------
    target : Path
        The folder to write or to replace.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".ranklsim-", dir=target.parent))
    try:
        yield work
        work.chmod(0o755)
        if target.exists():
            shutil.rmtree(target)
        os.replace(work, target)
    finally:
        shutil.rmtree(work, ignore_errors=True)
