"""A run on disk: Parquet tables, the frozen inputs, and a manifest that is complete only when everything else is.

Tables have the same bytes whenever their content is the same (no times, no machine in them, row groups of a fixed
size): zstd, values as float32 in byte-stream-split encoding, months and covariates as float64.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ranklsim.cohorts.running.places import Written, is_local, place, replacing, sha256
from ranklsim.pkpd.errors import BadInput, RanklsimError, RunFailed, counted
from ranklsim.pkpd.reading import file_name, parse_json, read_content
from ranklsim.pkpd.results import Results

if TYPE_CHECKING:
    from ranklsim.cohorts.people.joint import Population
    from ranklsim.cohorts.protocol.trial import Trial
    from ranklsim.pkpd.agents import Agent
    from ranklsim.pkpd.parameters import ParameterTable

FORMAT = 4
MANIFEST = "manifest.json"
TABLES = ("patients", "visits", "doses", "events", "uncertainty", "uncertainty_draws", "variants")
TWIN_TABLES = ("twins", "twin_events")
"""Tables of a run whose trial has an estimand."""
CHUNKS = "chunks"

ROW_GROUP = 100_000
"""Rows of a row group: what a reader of one column holds at a time, whatever the portions were."""

MOST_HELD, HELD = 1_000_000, 64_000_000
"""Rows of the longest table whose columns are kept once they are read, and bytes that are kept of each."""


def write_table(path: Path, parts: Iterable[pa.Table]) -> Written:
    """Write tables of one schema, one after another, as one Parquet file.

    Parameters
    ----------
    path : Path
    parts : iterable of pyarrow.Table
        At least one. How the rows are shared out among them changes no byte.
    """
    rows = 0
    writer: pq.ParquetWriter | None = None
    with replacing(path) as file, contextlib.ExitStack() as opened:  # the writer closes before its file, always
        for group in _groups(parts):
            if writer is None:
                spread = [name for name in group.schema.names if _hardly_repeats(group.column(name))]
                writer = opened.enter_context(
                    pq.ParquetWriter(
                        file,
                        group.schema,
                        compression="zstd",
                        use_dictionary=[name for name in group.schema.names if name not in spread],
                        column_encoding=dict.fromkeys(spread, "BYTE_STREAM_SPLIT"),
                    )
                )
            writer.write_table(group, row_group_size=ROW_GROUP)
            rows += group.num_rows
    return file.written(rows)


def _groups(parts: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The rows of `parts` in tables of `ROW_GROUP` rows; the last may be shorter, or empty if all are.

    Each is one piece in memory: the pages of a column begin anew with each piece of it.
    """
    waiting: list[pa.Table] = []
    held = 0
    for part in parts:
        waiting.append(part)
        held += part.num_rows
        while held > ROW_GROUP:
            whole = pa.concat_tables(waiting)
            yield whole.slice(0, ROW_GROUP).combine_chunks()
            waiting, held = [whole.slice(ROW_GROUP)], held - ROW_GROUP
    yield pa.concat_tables(waiting).combine_chunks()


def _hardly_repeats(column: pa.ChunkedArray) -> bool:
    """Whether dictionary encoding of a column would not save space."""
    if column.type == pa.float32():
        return True
    few = column.slice(0, 1000)
    return bool(column.type == pa.float64()) and 2 * pc.count_distinct(few).as_py() > len(few)


def write_chunk(path: Path, content: pa.Table) -> Written:
    """Write a table of a portion: as it is in memory, for it is soon read once and then removed.

    Parameters
    ----------
    path : Path
        The Arrow file to write.
    content : Table
        The table of one portion.
    """
    with replacing(path, lasting=False) as file, pa.ipc.new_stream(file, content.schema) as writer:
        writer.write_table(content)
    return file.written(content.num_rows)


def read_chunk(path: Path, known: str) -> pa.Table:
    """Read a table of a portion whose SHA-256 is `known`.

    Parameters
    ----------
    path : Path
        A file of `write_chunk`.
    known : str
        SHA-256 (hexadecimal) of its content when it was written.

    Raises
    ------
    RunFailed
        If the file is not what was written.
    """
    try:
        content = path.read_bytes()
    except OSError:
        content = b""
    if hashlib.sha256(content).hexdigest() != known:
        raise RunFailed(f"{path}: was damaged after it was written; continue with --resume.")
    return pa.ipc.open_stream(content).read_all()


def to_arrow(frame: Mapping[str, Any] | pd.DataFrame, narrow: Iterable[str] = ()) -> pa.Table:
    """Columns of equal length as a table of plain types.

    Parameters
    ----------
    frame : DataFrame, or mapping of str to ndarray or Categorical
    narrow : iterable of str
        Columns that become float32; others int32, text, bool or float64.
    """
    narrow = set(narrow)
    columns = {}
    for name, column in frame.items():
        if isinstance(column, pd.Categorical):
            texts = pa.array(column.categories.to_numpy(dtype=object), type=pa.string())
            columns[str(name)] = pa.DictionaryArray.from_arrays(pa.array(column.codes), texts).cast(pa.string())
            continue
        values = column.to_numpy() if isinstance(column, pd.Series) else column
        if name in narrow:
            kind, values = pa.float32(), values.astype(np.float32)
        elif values.dtype.kind == "f":
            kind = pa.float64()
        elif values.dtype.kind in "iu":
            kind = pa.int32()
        else:
            kind = pa.bool_() if values.dtype.kind == "b" else pa.string()
        columns[str(name)] = pa.array(values, type=kind, from_pandas=False)
    return pa.table(columns)


def tables_of(trial: Trial) -> tuple[str, ...]:
    """Names of the tables of a run of this trial.

    Parameters
    ----------
    trial : Trial
        Its layers and estimands decide which tables there are.
    """
    return (*TABLES, *TWIN_TABLES) if trial.estimands else TABLES


class Run(Results):
    """A finished run. Tables are read when they are first asked for.

    Attributes
    ----------
    folder : Path
    manifest : dict
        Inputs, versions, seed, file hashes, counts and times.
    """

    SOURCE = "run/"
    FIGURE = "reports.csr.efficacy:figure"

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        self.folder, self.manifest = folder, manifest

    def tables(self) -> dict[str, pd.DataFrame]:
        """Every table by its name, the main one first."""
        return {name: table for name in tables_of(self.trial) if len(table := getattr(self, name))}

    def heading(self) -> str:
        """What the result is, in one line."""
        return repr(self)

    def __repr__(self) -> str:
        return f"Run('{self.folder}': {self.manifest['trial']}, {counted(self.manifest['patients'], 'patient')})"

    __str__ = __repr__

    def was_replaced(self) -> bool:
        """Whether another run has replaced this one in the folder."""
        try:
            return bool(read_manifest(self.folder).get("checksum") != self.manifest["checksum"])
        except RanklsimError:
            return True

    @cached_property
    def inputs(self) -> Path:
        """A folder of this machine with the frozen inputs: the run's own, or a copy of those behind a URL."""
        if is_local(self.folder):
            return self.folder
        self._copy = tempfile.TemporaryDirectory(prefix="ranklsim-")  # there as long as this run
        for name in self.manifest["files"]:
            if "/" in name or not name.endswith(".parquet"):
                copy = Path(self._copy.name) / name
                copy.parent.mkdir(exist_ok=True)
                copy.write_bytes((self.folder / name).read_bytes())
        return Path(self._copy.name)

    @cached_property
    def trial(self) -> Trial:
        """The trial as it was run."""
        from ranklsim.cohorts.protocol.trial import load_trial

        return load_trial(
            self.inputs / "trial.toml", folder=self.inputs / "agents", populations=self.inputs / "population"
        )

    @cached_property
    def parameters(self) -> ParameterTable:
        """The parameter table of the run."""
        from ranklsim.pkpd.parameters import load_parameters

        return load_parameters(self.inputs / "parameters.csv", folder=self.inputs / "agents", together=False)

    @cached_property
    def population(self) -> Population:
        """The population that patients were drawn from."""
        from ranklsim.cohorts.conduct.patients import population_of

        return population_of(self.trial)

    @cached_property
    def months(self) -> list[float]:
        """Months of the visits, ascending."""
        first = self.first("visits", len(self.trial.visits.months))
        return [float(month) for month in np.unique(first["month"])]

    @cached_property
    def agents(self) -> dict[str, Agent]:
        """The agents of the run, by name."""
        from ranklsim.pkpd.agents import load_agent

        return {name: load_agent(name, folder=self.inputs / "agents") for name in self.trial.agent_names()}

    def read(
        self,
        table: str,
        columns: list[str] | None = None,
        only: list[tuple[str, str, Any]] | None = None,
    ) -> pd.DataFrame:
        """Read a table, or some columns and rows of it.

        Parameters
        ----------
        table : str
            One of patients, visits, doses, events, uncertainty, uncertainty_draws, variants.
        columns : list of str, optional
            With these, text comes as categories, which take a byte a row.
        only : list of (column, operator, value), optional
            Rows that fulfil all of them, as ``("month", "in", [0, 12])``.

        Returns
        -------
        DataFrame
            Missed measurements are NaN.
        """
        with self._opened(table) as file:
            asked = [*(columns or ()), *(name for name, _, _ in only or ())]
            if columns and (held := self._held(table, file, asked)) is not None:
                rows = held.filter(pq.filters_to_expression(only)) if only else held
                return rows.select(columns).to_pandas(split_blocks=True)
            # Column by column and without a copy of what pandas has taken over: half the memory.
            return self._read(file, columns or [], filters=only).to_pandas(split_blocks=True, self_destruct=True)

    @staticmethod
    def _read(file: Any, columns: list[str], **options: Any) -> pa.Table:
        """Columns of a file, texts as categories; all of them as they are if none is named."""
        texts = [field.name for field in pq.read_schema(file) if field.type == pa.string() and field.name in columns]
        return pq.read_table(
            file, columns=columns or None, read_dictionary=texts, pre_buffer=False, use_threads=False, **options
        )

    def _held(self, table: str, file: Any, columns: list[str]) -> pa.Table | None:
        """Columns of a table, which are kept since an analysis reads them many times; None of a table of many rows.

        A table of one row group is read whole. Of a longer one, those asked for last are kept.
        """
        if table not in self._kept:
            about = pq.read_metadata(file)
            self._kept[table] = {} if about.num_rows <= MOST_HELD else None
            if about.num_rows <= ROW_GROUP:
                columns = [*columns, *about.schema.names]
        if (kept := self._kept[table]) is None:
            return None
        if missing := [name for name in dict.fromkeys(columns) if name not in kept]:
            kept |= zip(missing, self._read(file, missing).columns, strict=True)
        kept |= {name: kept.pop(name) for name in dict.fromkeys(columns)}
        found = pa.table({name: kept[name] for name in columns})
        while missing and len(kept) > 1 and sum(column.nbytes for column in kept.values()) > HELD:
            del kept[next(iter(kept))]
        return found

    @cached_property
    def _kept(self) -> dict[str, dict[str, pa.ChunkedArray] | None]:
        return {}

    def seen(self, *columns: str, attended: bool = False, months: Collection[float] | None = None) -> pd.DataFrame:
        """Some columns of the visits, read anew at each call so that they need not be kept.

        Parameters
        ----------
        *columns : str
            Such as ``"BMD_LS"`` or ``"true_SIGNAL_T"``, besides `patient`, `arm` (categories) and `month`.
        attended : bool
            Only the visits that the patient came to.
        months : collection of float, optional
            Only the visits of these months.

        Returns
        -------
        DataFrame
            In the order of patients and visits; measurements as float32, NaN where missed.
        """
        only: list[tuple[str, str, Any]] = [("attended", "==", True)] if attended else []
        only += [("month", "in", list(months))] if months is not None else []
        return self.read("visits", ["patient", "arm", "month", *columns], only or None)

    def columns(self, table: str) -> list[str]:
        """Names of a table's columns.

        Parameters
        ----------
        table : str
            Such as "visits".
        """
        with self._opened(table) as file:
            return list(pq.read_schema(file).names)

    def first(self, table: str, rows: int) -> pd.DataFrame:
        """The first rows of a table.

        Parameters
        ----------
        table : str
            Such as "visits".
        rows : int
            How many rows at most.
        """
        with self._opened(table) as file:
            batch = next(pq.ParquetFile(file).iter_batches(max(1, rows)), None)
        return self.read(table).iloc[:0] if batch is None else batch.to_pandas()

    @contextlib.contextmanager
    def _opened(self, table: str) -> Iterator[Any]:
        path = self.folder / f"{table}.parquet"
        try:
            with path.open("rb") as file:
                yield file
        except (pa.ArrowException, OSError) as error:
            said = (str(error).strip() or "damaged").splitlines()[0]
            raise BadInput(
                f"{path}: cannot be read as Parquet ({said}); make it again: `ranklsim run --force`."
            ) from None

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
    def twins(self) -> pd.DataFrame:
        """One row a counterfactual patient and visit: the truth in each arm; no row without an estimand."""
        return self._twin_table("twins")

    @cached_property
    def twin_events(self) -> pd.DataFrame:
        """Events of the counterfactual patients; no row without an estimand."""
        return self._twin_table("twin_events")

    def _twin_table(self, table: str) -> pd.DataFrame:
        return self.read(table) if self.trial.estimands else pd.DataFrame(columns=["patient", "arm", "conduct"])

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

    Parameters
    ----------
    folder : Path
        The run folder.

    Raises
    ------
    BadInput
        If the folder holds no run that this version of ranklsim can read.
    """
    folder = place(folder)
    if not folder.is_dir():
        raise BadInput(f"{folder}: there is no such folder; give the folder of a run (`ranklsim run TRIAL -o DIR`).")
    path = folder / MANIFEST
    if not path.exists():
        raise BadInput(f"{folder}: holds no {MANIFEST}, so it is not a run of ranklsim; give the folder of a run.")
    content = read_content(path, what="manifest")
    try:
        manifest = parse_json(str(path), content)
    except BadInput:
        raise BadInput(f"{path}: is truncated or altered; make the run again: `ranklsim run --force`.") from None
    if not isinstance(manifest, dict) or "format" not in manifest or "complete" not in manifest:
        raise BadInput(f"{path}: was not written by ranklsim; give the folder of a run.")
    if manifest["format"] != FORMAT:
        raise BadInput(
            f"{path}: has format {manifest['format']}, this ranklsim reads {FORMAT}; "
            f"use ranklsim {manifest.get('ranklsim', 'of then')}, or run the trial again."
        )
    files = manifest.get("files", {})
    if not isinstance(files, dict) or not all(_is_noted(name, noted) for name, noted in files.items()):
        raise BadInput(f"{path}: names files that no run of ranklsim has; give the folder of a run.")
    return manifest


def _is_noted(name: str, noted: object) -> bool:
    """Whether a manifest's note on a file is one of ours: a name inside the folder, its size and its hash."""
    parts = name.split("/")
    inside = len(parts) <= 2 and all(file_name(part) for part in parts)
    return (
        inside
        and isinstance(noted, dict)
        and isinstance(noted.get("bytes"), int)
        and isinstance(noted.get("sha256"), str)
    )


def is_readable(folder: Path) -> bool:
    """Whether a run folder has a readable manifest.

    Parameters
    ----------
    folder : Path
        The run folder.
    """
    try:
        read_manifest(folder)
    except BadInput:
        return False
    return True


def checksum(manifest: dict[str, Any]) -> str:
    """Hash of everything that a manifest says, but for the hash itself.

    Parameters
    ----------
    manifest : dict
        As read from JSON.
    """
    said = {key: value for key, value in manifest.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def was_ours(folder: Path) -> bool:
    """Whether `folder` holds a run of ranklsim, of any version, even a truncated one, that may be replaced.

    Parameters
    ----------
    folder : Path
        A folder that exists or not.
    """
    try:
        text = read_content(folder / MANIFEST).decode("utf-8", errors="replace")
    except BadInput:
        return False
    return ('"format"' in text and '"ranklsim"' in text) or (folder / "trial.toml").is_file()


def open_run(folder: str | os.PathLike[str], *, verify: bool = True) -> Run:
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
    folder = place(folder)
    manifest = read_manifest(folder)
    if manifest["complete"] is not True:
        raise BadInput(f"{folder}: its run is not finished; continue it: `ranklsim run ... -o {folder} --resume`.")
    if manifest.get("checksum") != checksum(manifest):
        raise BadInput(
            f"{folder / MANIFEST}: is altered; bring the original back, or make the run again: `ranklsim run --force`."
        )
    faults = []
    for name, written in manifest["files"].items():
        path = folder / name
        if not path.is_file():
            faults.append(f"{path}: is missing; bring it back, or make the run again: `ranklsim run --force`.")
        elif path.stat().st_size != written["bytes"] or (verify and sha256(path) != written["sha256"]):
            faults.append(
                f"{path}: is truncated or altered; bring the original back, or make it again: `ranklsim run --force`."
            )
    if faults:
        raise BadInput(*faults)
    return Run(folder, manifest)
