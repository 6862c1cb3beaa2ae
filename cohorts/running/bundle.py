"""A run in one file that others can run again: its folder, the versions that made it, and the command to repeat it.

A bundle is a ZIP archive. `bundle.json` holds size and SHA-256 of every other member, and nothing is used before it
agrees. Tables are stored as they are, so that no member can become larger than the archive says.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ranklsim.cohorts.running import places
from ranklsim.cohorts.running.execution import Interrupted, Progress, run
from ranklsim.cohorts.running.scheduler import versions
from ranklsim.cohorts.running.storage import MANIFEST, Run, open_run
from ranklsim.cohorts.words import listed
from ranklsim.pkpd import arguments
from ranklsim.pkpd.errors import BadInput, counted
from ranklsim.pkpd.machine import unusable
from ranklsim.pkpd.reading import MOST_BYTES, file_name, parse_json

CONTENTS, LOCK, README, RUN = "bundle.json", "lock.txt", "README.txt", "run/"
FORMAT = 1
_DATE = (1980, 1, 1, 0, 0, 0)
_BLOCK = 1 << 20

_TEXT = """This is a simulated clinical trial: no patient took part.

Trial      {trial}: {title}
Patients   {patients}
Seed       {seed}
ranklsim   {ranklsim}
Checksum   {checksum}

To run it again and compare every file with what this archive holds:

    pip install -r lock.txt ranklsim=={ranklsim}
    ranklsim reproduce {name}

run/ is the folder of the run: its inputs, its tables, and manifest.json with the SHA-256 of each.
lock.txt holds the versions of the libraries, bundle.json the SHA-256 of every member of this archive.
"""


class Comparison(NamedTuple):
    """A run that was made again beside its original.

    Attributes
    ----------
    files : DataFrame
        One row for each file: `file`, `same` (bool), `difference` (a sentence; empty where the bytes are the same).
    versions : list of str
        Versions that differ from those of the original, in words.
    """

    files: pd.DataFrame
    versions: list[str]

    @property
    def same(self) -> bool:
        """Whether every file has the same bytes."""
        return bool(self.files["same"].all())

    def sentences(self) -> list[str]:
        """What was found: one sentence if all is the same, else one for each file that differs."""
        if self.same:
            return [f"The same bytes in all {counted(len(self.files), 'file')}."]
        differ = self.files[~self.files["same"]]
        other = [f"Versions differ from those of the original: {listed(self.versions)}."] if self.versions else []
        return [f"{row.file}: {row.difference}" for row in differ.itertuples()] + other


@arguments.checked(run_folder=arguments.path, out=arguments.path, force=arguments.flag)
def bundle(run_folder: str | os.PathLike[str], out: str | os.PathLike[str], *, force: bool = False) -> Path:
    """Write a finished run as one file that others can run again.

    Parameters
    ----------
    run_folder : path or URL
        A folder written by ``ranklsim run``. Every file is compared with its hash first.
    out : path
        The ZIP archive to write. The same run gives the same bytes on the same installation.
    force : bool
        Whether a file of that name may be replaced.

    Returns
    -------
    Path
        The archive.

    Raises
    ------
    BadInput
        If the run is unfinished or altered, or the file can't be written.
    """
    target = Path(out)
    if target.suffix != ".zip":
        raise BadInput(f"{target}: a bundle is a ZIP archive; give a name that ends in .zip.")
    if fault := unusable(target, force):
        raise BadInput(fault)
    data = open_run(run_folder)
    said = {key: data.manifest[key] for key in ("trial", "title", "patients", "seed", "ranklsim", "checksum")}
    texts = {README: _TEXT.format(**said, name=target.name), LOCK: lock(data.manifest)}
    manifest = (data.folder / MANIFEST).read_bytes()
    noted = {name: _noted(content) for name, content in ((RUN + MANIFEST, manifest), *_encoded(texts))}
    noted |= {RUN + name: {key: kept[key] for key in ("bytes", "sha256")} for name, kept in _files(data).items()}
    contents = json.dumps({"format": FORMAT, "members": noted}, indent=1, sort_keys=True) + "\n"
    with places.replacing(target) as file, zipfile.ZipFile(file, "w") as archive:  # type: ignore[call-overload]
        for name, content in (*_encoded({CONTENTS: contents, **texts}), (RUN + MANIFEST, manifest)):
            archive.writestr(_member(name, len(content)), content)
        for name, kept in _files(data).items():
            with (data.folder / name).open("rb") as source:
                with archive.open(_member(RUN + name, kept["bytes"]), "w") as member:
                    shutil.copyfileobj(source, member, _BLOCK)
    return target


def lock(manifest: Mapping[str, Any]) -> str:
    """The version of every library that ranklsim needs, one a line, as pip reads it.

    Parameters
    ----------
    manifest : mapping
        Of the run; its versions stand before those installed.
    """
    found: dict[str, str] = {}
    waiting = ["ranklsim"]
    while waiting:
        try:
            own = importlib.metadata.distribution(waiting.pop())
        except importlib.metadata.PackageNotFoundError:  # needed on another system only
            continue
        name = re.sub(r"[-_.]+", "-", own.metadata["Name"]).lower()
        if name not in found:
            found[name] = own.version
            waiting += [_name(text) for text in own.requires or () if "extra ==" not in text]
    found |= manifest["libraries"]
    return "".join(f"{name}=={found[name]}\n" for name in sorted(found) if name != "ranklsim")


@arguments.checked(
    file=arguments.path,
    out=arguments.path,
    workers=arguments.WORKERS,
    resume=arguments.flag,
    force=arguments.flag,
    progress=arguments.callback,
    tell=arguments.callback,
)
def reproduce(
    file: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    workers: int | None = None,
    resume: bool = False,
    force: bool = False,
    progress: Progress | None = None,
    tell: Callable[[str], None] | None = None,
) -> Comparison:
    """Run the trial of a bundle again, and compare every file with the original.

    Parameters
    ----------
    file : path
        An archive of `bundle`.
    out : path, optional
        Folder that keeps the new run; a temporary one by default.
    workers : int, optional
        Threads; all processors by default. No result depends on it.
    resume, force : bool
        As of `ranklsim.run`, for `out`.
    progress, tell : callable, optional
        As of `ranklsim.run`.

    Returns
    -------
    Comparison

    Raises
    ------
    BadInput
        If the file is no bundle, is damaged, or has a member outside its folder. Nothing is written then.
    """
    with tempfile.TemporaryDirectory(prefix="ranklsim-") as here:
        original = unpack(Path(file), Path(here) / "original")
        try:
            made = run(
                original.trial,
                Path(here) / "again" if out is None else places.place(out),
                parameters=original.parameters,
                rtol=original.manifest["rtol"],
                workers=workers,
                resume=resume,
                force=force,
                progress=progress,
                tell=tell,
            )
        except Interrupted:
            if out is not None:
                raise
            raise Interrupted("interrupted; nothing was kept; with -o DIR it can be continued.") from None
        return compare_runs(original, made)


def unpack(file: Path, folder: Path) -> Run:
    """Check a bundle, and write its run into a new folder.

    Parameters
    ----------
    file : Path
        An archive of `bundle`.
    folder : Path
        A folder that does not exist. It is not made if the archive is refused.

    Raises
    ------
    BadInput
        As of `reproduce`.
    """
    again = "make it again: `ranklsim bundle RUN -o FILE.zip`"
    if not file.is_file():
        found = "this is a folder, not a bundle" if file.is_dir() else "there is no such file"
        raise BadInput(f"{file}: {found}; give the file of a bundle ({again}).")
    damaged = f"is damaged; bring the original back, or {again}."
    try:
        with zipfile.ZipFile(file) as archive:
            noted = _contents(file, archive)
            for info in archive.infolist():  # all of them, before the first is written
                if info.filename != CONTENTS and not _agrees(archive, info, noted[info.filename]):
                    raise BadInput(f"{file}: its member {info.filename} {damaged}")
            for name in noted:
                if name.startswith(RUN):
                    path = folder / name.removeprefix(RUN)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    with archive.open(name) as source, path.open("wb") as target:
                        shutil.copyfileobj(source, target, _BLOCK)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, UnicodeDecodeError):
        raise BadInput(f"{file}: {damaged}") from None
    try:
        return open_run(folder)
    except BadInput as fault:
        shutil.rmtree(folder)
        raise BadInput(f"{file}: {' '.join(fault.messages).replace(f'{folder}{os.sep}', RUN)}") from None


def compare_runs(original: Run, made: Run) -> Comparison:
    """Compare the files of two runs of one trial, byte by byte, and the values of the tables that differ.

    Parameters
    ----------
    original, made : Run

    Returns
    -------
    Comparison
    """
    rows = []
    for name in sorted({*_files(original), *_files(made)}):
        first, second = (_files(one).get(name) for one in (original, made))
        if first is None or second is None:
            difference = f"is only in the {'new run' if first is None else 'original'}."
        elif first["sha256"] == second["sha256"]:
            difference = ""
        elif name.endswith(".parquet"):
            difference = _difference(original, made, name.removesuffix(".parquet"))
        else:
            difference = "has another content."
        rows.append((name, not difference, difference))
    here = {"python": made.manifest["python"], "machine": made.manifest["machine"], **versions()}
    was = {**original.manifest, **original.manifest["libraries"]}
    others = [f"{name} {was.get(name)}, here {own}" for name, own in here.items() if was.get(name) != own]
    return Comparison(pd.DataFrame(rows, columns=["file", "same", "difference"]), others)


def _difference(original: Run, made: Run, table: str) -> str:
    """In what a table differs, as a sentence: columns, rows, or the column with the largest difference."""
    columns = original.columns(table)
    if (others := made.columns(table)) != columns:
        return f"has other columns: {listed(sorted({*columns} ^ {*others}) or ['their order'])}."
    worst, rows, differ = ("", 0.0, 0.0), 0, []
    for column in columns:
        first, second = (one.read(table, [column])[column] for one in (original, made))
        if len(first) != len(second):
            return f"has {counted(len(second), 'row')} in place of {len(first)}."
        if not pd.api.types.is_numeric_dtype(first) or not pd.api.types.is_numeric_dtype(second):
            other = first.astype(object).ne(second.astype(object)) & ~(first.isna() & second.isna())
            size = 0.0
        else:
            x, y = first.to_numpy(float), second.to_numpy(float)
            other = pd.Series((x != y) & ~(np.isnan(x) & np.isnan(y)))
            size = float(np.nanmax(np.abs(x - y), initial=0.0)) if other.any() else 0.0
            scale = float(np.nanmax(np.abs(x), initial=0.0))
            worst = max(worst, (column, size, size / scale if scale else 0.0), key=lambda one: one[2])
        if other.any():
            differ.append(column)
            rows = max(rows, int(other.sum()))
    if not differ:
        return "has the same values in other bytes."
    largest = f"; the largest difference is {worst[1]:.3g} in {worst[0]} ({100 * worst[2]:.2g} % of its largest value)"
    return f"differs in {counted(rows, 'row')} of {listed(differ)}{largest if worst[0] else ''}."


def _files(one: Run) -> dict[str, dict[str, Any]]:
    files: dict[str, dict[str, Any]] = one.manifest["files"]
    return files


def _noted(content: bytes) -> dict[str, Any]:
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _encoded(texts: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    return ((name, text.encode()) for name, text in texts.items())


def _member(name: str, size: int) -> zipfile.ZipInfo:
    """A member without date and owner, stored as it is: tables are compressed already, and texts are small."""
    info = zipfile.ZipInfo(name, _DATE)
    info.external_attr, info.file_size = 0o644 << 16, size
    return info


def _name(requirement: str) -> str:
    return re.split(r"[\s;<>=!~\[(]", requirement, maxsplit=1)[0]


def _contents(file: Path, archive: zipfile.ZipFile) -> dict[str, dict[str, Any]]:
    """Size and hash of every member, from `bundle.json`, once the names are known to be those of a bundle."""
    names = archive.namelist()
    for name in names:
        parts = name.removeprefix(RUN).split("/")
        if not (name in (CONTENTS, LOCK, README) or (name.startswith(RUN) and _inside(parts))):
            why = "leaves the folder" if ".." in name or name.startswith(("/", "\\")) else "belongs to no bundle"
            raise BadInput(f"{file}: its member '{name[:200]}' {why}; give a file of `ranklsim bundle`.")
    wrong = BadInput(f"{file}: is no bundle of ranklsim; give a file of `ranklsim bundle`.")
    if names.count(CONTENTS) != 1 or archive.getinfo(CONTENTS).file_size > MOST_BYTES:
        raise wrong
    said = parse_json(f"{file}: {CONTENTS}", archive.read(CONTENTS))
    if not isinstance(said, dict) or said.get("format") != FORMAT or not isinstance(said.get("members"), dict):
        raise wrong
    members: dict[str, dict[str, Any]] = said["members"]
    if sorted(names) != sorted([*members, CONTENTS]) or not all(isinstance(one, dict) for one in members.values()):
        other = sorted({*names} ^ {*members, CONTENTS}) or [name for name in names if names.count(name) > 1] or names
        raise BadInput(
            f"{file}: {CONTENTS} and the archive do not agree on the member {other[0]}; "
            "bring the original back, or make it again: `ranklsim bundle RUN -o FILE.zip`."
        )
    return members


def _inside(parts: list[str]) -> bool:
    """Whether the parts of a path stay in a folder of a run."""
    return len(parts) <= 2 and all(file_name(part) for part in parts)


def _agrees(archive: zipfile.ZipFile, info: zipfile.ZipInfo, noted: Mapping[str, Any]) -> bool:
    """Whether a member is stored plainly and is what was written."""
    if info.compress_type != zipfile.ZIP_STORED or info.file_size != noted.get("bytes"):
        return False
    seen = hashlib.sha256()
    with archive.open(info) as member:
        while block := member.read(_BLOCK):
            seen.update(block)
    return seen.hexdigest() == noted.get("sha256")
