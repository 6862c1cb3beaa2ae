"""A run on disk: Parquet tables, the frozen inputs, and a manifest that is complete only when everything else is.

Every file is written under a temporary name, flushed to the disk and renamed, so that a name either holds a whole file
or does not exist. Tables have the same bytes whenever their content is the same (no times, no machine in them):
zstd, values as float32 in byte-stream-split encoding, months and covariates as float64.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ranklsim.pkpd.errors import BadInput, RanklsimError, RunFailed

if TYPE_CHECKING:
    from ranklsim.cohorts.trial import Trial

FORMAT = 3
MANIFEST = "manifest.json"
TABLES = ("patients", "visits", "doses", "events", "uncertainty", "uncertainty_draws", "variants")
CHUNKS = "chunks"

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NOT_ALLOWED = {errno.EACCES, errno.EPERM, errno.EROFS}


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what the system says about writing to `path` into one sentence.

    Raises
    ------
    BadInput
        If writing there is not allowed.
    RunFailed
        If there is no space left, or the disk fails otherwise.
    """
    try:
        yield
    except OSError as error:
        raise _explain(error, path) from None


def _explain(error: OSError, path: Path) -> RanklsimError:
    if error.errno in _NO_ROOM:
        return RunFailed(f"{path}: no space left on the disk; make room, then go on with --resume.")
    if error.errno in _NOT_ALLOWED:
        return BadInput(f"{path}: writing here is not allowed; give another folder, or change its permissions.")
    if error.errno in (errno.ENOENT, errno.ENAMETOOLONG):
        return BadInput(f"{path}: no file can be made here; give another folder.")
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return BadInput(f"{path}: a file stands where a folder is needed; give another folder.")
    return RunFailed(f"{path}: can't be written ({error.strerror or error}); try again with --resume.")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Any]:
    """A file open for writing that takes the name `path` when it is whole; on any fault nothing of it remains."""
    temporary = path.with_name(f".{path.name}.tmp")
    with explained(path):
        try:
            with open(temporary, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise


def write_bytes(path: Path, content: bytes) -> str:
    """Write a file whole or not at all; returns its SHA-256."""
    with replacing(path) as file:
        file.write(content)
    return hashlib.sha256(content).hexdigest()


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file whole or not at all."""
    write_bytes(path, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())


def sha256(path: Path) -> str:
    """SHA-256 of a file (hexadecimal)."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_table(path: Path, parts: Iterable[pa.Table]) -> int:
    """Write tables of one schema, one after another, as one Parquet file; returns the number of rows.

    Parameters
    ----------
    path : Path
    parts : iterable of pyarrow.Table
        At least one; each becomes a row group.
    """
    rows = 0
    writer: pq.ParquetWriter | None = None
    with replacing(path) as file:
        for part in parts:
            if writer is None:
                narrow = [f.name for f in part.schema if f.type == pa.float32()]
                writer = pq.ParquetWriter(
                    file,
                    part.schema,
                    compression="zstd",
                    use_dictionary=[name for name in part.schema.names if name not in narrow],
                    column_encoding=dict.fromkeys(narrow, "BYTE_STREAM_SPLIT"),
                )
            writer.write_table(part, row_group_size=max(1, part.num_rows))
            rows += part.num_rows
        if writer is not None:
            writer.close()
    return rows


def to_arrow(frame: pd.DataFrame, narrow: Iterable[str] = ()) -> pa.Table:
    """A data frame as a table of plain types: int32, text, bool, float64, and float32 for the columns `narrow`."""
    narrow = set(narrow)
    columns = {}
    for name in frame.columns:
        values = frame[name].to_numpy()
        if name in narrow:
            kind = pa.float32()
        elif values.dtype.kind == "f":
            kind = pa.float64()
        elif values.dtype.kind in "iu":
            kind = pa.int32()
        else:
            kind = pa.bool_() if values.dtype.kind == "b" else pa.string()
        columns[str(name)] = pa.array(values, type=pa.float64() if name in narrow else kind, from_pandas=False)
        if name in narrow:
            columns[str(name)] = columns[str(name)].cast(pa.float32(), safe=False)
    return pa.table(columns)


class Run:
    """A finished run. Tables are read when they are first asked for.

    Attributes
    ----------
    folder : Path
    manifest : dict
        Inputs, versions, seed, file hashes, counts and times.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        self.folder, self.manifest = folder, manifest

    def __repr__(self) -> str:
        return f"Run('{self.folder}': {self.manifest['trial']}, {self.manifest['patients']} patients)"

    @cached_property
    def trial(self) -> Trial:
        """The trial as it was run."""
        from ranklsim.cohorts.trial import load_trial

        return load_trial(self.folder / "trial.toml", folder=self.folder / "agents")

    @cached_property
    def parameters(self) -> Any:
        """The parameter table of the run."""
        from ranklsim.pkpd.parameters import load_parameters

        return load_parameters(self.folder / "parameters.csv")

    def read(self, table: str, columns: list[str] | None = None) -> pd.DataFrame:
        """Read a table, or some columns of it.

        Parameters
        ----------
        table : str
            One of patients, visits, doses, events, uncertainty, uncertainty_draws, variants.
        columns : list of str, optional

        Returns
        -------
        DataFrame
            Missed measurements are NaN.
        """
        return pq.read_table(self.folder / f"{table}.parquet", columns=columns).to_pandas()

    @cached_property
    def patients(self) -> pd.DataFrame:
        """One row a patient: arm, stratum, covariates at baseline, `last_month`, and her parameters (`param_...`)."""
        return self.read("patients")

    @cached_property
    def visits(self) -> pd.DataFrame:
        """One row a patient and planned visit: what was read, and the truth behind it (`true_...`)."""
        return self.read("visits")

    @cached_property
    def doses(self) -> pd.DataFrame:
        """One row a dose planned or added by rescue: when it was planned, when given, and why not or why otherwise."""
        return self.read("doses")

    @cached_property
    def events(self) -> pd.DataFrame:
        """One row an event that the trial records: patient, arm, event, month, detail, count (see `cohorts.events`)."""
        return self.read("events")

    @cached_property
    def uncertainty(self) -> pd.DataFrame:
        """The typical patient under each arm by draw of the uncertain parameters; draw 0 has the default values."""
        return self.read("uncertainty")

    @cached_property
    def uncertainty_draws(self) -> pd.DataFrame:
        """The uncertain parameters of each draw."""
        return self.read("uncertainty_draws")

    @cached_property
    def variants(self) -> pd.DataFrame:
        """The typical patient under each arm by structural variant of the model."""
        return self.read("variants")


def read_manifest(folder: Path) -> dict[str, Any]:
    """Manifest of a run folder, finished or not.

    Raises
    ------
    BadInput
        If the folder holds no run that this version of ranklsim can read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise BadInput(f"{folder}: there is no such folder; give the folder of a run (`ranklsim run TRIAL -o DIR`).")
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(
            f"{folder}: holds no {MANIFEST}, so it is no run of ranklsim; give the folder of a run."
        ) from None
    except OSError as error:
        raise BadInput(f"{path}: can't be read ({error.strerror}); check its permissions.") from None
    except ValueError:
        raise BadInput(f"{path}: is truncated or altered; run the trial again with --force.") from None
    if not isinstance(manifest, dict) or "format" not in manifest or "complete" not in manifest:
        raise BadInput(f"{path}: was not written by ranklsim; give the folder of a run.")
    if manifest["format"] != FORMAT:
        raise BadInput(
            f"{path}: has format {manifest['format']}, this ranklsim reads {FORMAT}; "
            f"use ranklsim {manifest.get('ranklsim', 'of then')}, or run the trial again."
        )
    return manifest


def checksum(manifest: dict[str, Any]) -> str:
    """Hash of everything that a manifest says, but for the hash itself."""
    said = {key: value for key, value in manifest.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def was_ours(folder: Path) -> bool:
    """Whether `folder` holds a run of ranklsim, of any version, even a truncated one, that may be replaced."""
    try:
        text = (folder / MANIFEST).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return ('"format"' in text and '"ranklsim"' in text) or (folder / "trial.toml").is_file()


def open_run(folder: str | Path, *, verify: bool = True) -> Run:
    """Open a finished run.

    Parameters
    ----------
    folder : path
    verify : bool
        Whether to compare every file with its hash in the manifest.

    Returns
    -------
    Run

    Raises
    ------
    BadInput
        If the folder holds no run, an unfinished one, or one of which a file is missing, truncated or altered
        (every such file is named).
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    if manifest["complete"] is not True:
        raise BadInput(f"{folder}: its run is not finished; go on with it: `ranklsim run ... -o {folder} --resume`.")
    if manifest.get("checksum") != checksum(manifest):
        raise BadInput(f"{folder / MANIFEST}: is altered; bring the original back, or run again with --force.")
    faults = []
    for name, written in manifest["files"].items():
        path = folder / name
        if not path.is_file():
            faults.append(f"{path}: is missing; bring it back, or run the trial again with --force.")
        elif path.stat().st_size != written["bytes"] or (verify and sha256(path) != written["sha256"]):
            faults.append(f"{path}: is truncated or altered; bring the original back, or run again with --force.")
    if faults:
        raise BadInput(*faults)
    return Run(folder, manifest)
