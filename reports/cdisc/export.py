"""A run's ADaM data sets in a folder, checked: Parquet, SAS transport 5 and Dataset-JSON 1.1, with define.xml 2.1."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ranklsim.cohorts.running import places, storage
from ranklsim.pkpd import arguments
from ranklsim.pkpd.agents import load_agent
from ranklsim.pkpd.errors import BadInput, RunFailed
from ranklsim.reports.cdisc.datasets import EPOCH, FIRST_DAY, build, iso, plain_names
from ranklsim.reports.cdisc.define import length, write_define
from ranklsim.reports.cdisc.metadata import DATE, LABELS, TEXT, Variable, keys, present
from ranklsim.reports.cdisc.rules import check
from ranklsim.reports.layout.folders import check_folder, new_folder

FORMATS = ("parquet", "xpt", "json")
DEFINE = "define.xml"
FILES = {DEFINE} | {f"{name.lower()}.{suffix}" for name in LABELS for suffix in FORMATS}

_STAMP = re.compile(rb"\d\d[A-Z]{3}\d\d:\d\d:\d\d:\d\d")


@arguments.checked(
    run_folder=arguments.path,
    out=arguments.path,
    formats=arguments.several(arguments.text, '["parquet", "xpt"]', none_empty=True),
    first_day=arguments.day,
    force=arguments.flag,
    tell=arguments.callback,
)
def write_cdisc(
    run_folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    formats: Sequence[str] = FORMATS,
    first_day: date = FIRST_DAY,
    force: bool = False,
    tell: Callable[[str], object] | None = None,
) -> Path:
    """Write a run's ADaM data sets and their define.xml. A data set without a record is left out.

    Parameters
    ----------
    run_folder : path or URL
        A finished run.
    out : path
        Folder to write; made, and made anew with `force` if it holds data sets.
    formats : sequence of str
        Some of "parquet", "xpt" (SAS transport version 5), "json" (Dataset-JSON 1.1).
    first_day : date
        On which the first patient is randomised: simulated time has no calendar.
    force : bool
    tell : callable, optional
        Called with a sentence for each text that is replaced and each data set that is left out.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    BadInput
        If a format is unknown, the run can't be read, or the folder holds something.
    RunFailed
        If a data set breaks a rule of `ranklsim.reports.cdisc.rules`: nothing is written then.
    """
    unknown = [name for name in formats if name not in FORMATS]
    if unknown:
        raise BadInput(*(f"unknown format '{name}'; give some of {', '.join(FORMATS)}." for name in unknown))
    target = Path(out)
    check_folder(target, 'Originator="ranklsim"', FILES, force, index=DEFINE, noun="data sets")
    run = storage.open_run(run_folder)
    folder = places.place(run_folder) / "agents"
    agents = {name: load_agent(name, folder=folder) for name in run.trial.agent_names()}
    datasets = build(run, agents, first_day)
    faults = check(datasets)
    if faults:
        raise RunFailed(f"the data sets break rules of CDISC, nothing was written: {' '.join(faults)}")
    empty = [name for name, frame in datasets.items() if frame.empty]
    said = [*plain_names(run, agents).replaced, *(f"{name} has no record and is left out." for name in empty)]
    if tell is not None:
        for sentence in said:
            tell(sentence)
    datasets = {name: frame for name, frame in datasets.items() if name not in empty}
    when = _stamp(str(run.manifest["started"]))
    with new_folder(target) as work:
        for name, frame in datasets.items():
            path = work / name.lower()
            if "parquet" in formats:
                _write_parquet(path.with_suffix(".parquet"), name, frame)
            if "xpt" in formats:
                _write_xpt(path.with_suffix(".xpt"), name, frame, when)
            if "json" in formats:
                _write_json(path.with_suffix(".json"), name, frame, when, str(run.manifest["ranklsim"]))
        suffix = "xpt" if "xpt" in formats else formats[0]
        write_define(work / DEFINE, datasets, str(run.trial.title), when, f".{suffix}")
    return target


def _write_parquet(path: Path, name: str, frame: pd.DataFrame) -> None:
    """One data set as Parquet: dates as dates, whole numbers as such, null as null; labels in the columns' metadata."""
    fields, columns = [], []
    for variable in present(name, frame):
        column = frame[variable.name]
        if variable.type == TEXT:
            array = pa.array(column.where(column != "", None), type=pa.string())
        elif variable.type == DATE:
            shifted = column - (datetime(1970, 1, 1).date() - EPOCH).days
            array = pa.array(shifted.astype("Int64"), type=pa.int32()).cast(pa.date32())
        else:
            whole = variable.type == "integer"
            array = pa.array(column.astype("Int64") if whole else column, type=pa.int32() if whole else pa.float64(),
                             from_pandas=True)  # fmt: skip
        fields.append(pa.field(variable.name, array.type, metadata={"label": variable.label}))
        columns.append(array)
    schema = pa.schema(fields, metadata={"name": name, "label": LABELS[name]})
    pq.write_table(pa.Table.from_arrays(columns, schema=schema), path, compression="zstd")


def _write_xpt(path: Path, name: str, frame: pd.DataFrame, when: datetime) -> None:
    """One data set as SAS transport file version 5; `when` is the time that it bears."""
    import pyreadstat

    own = present(name, frame)
    pyreadstat.write_xport(
        frame,
        str(path),
        file_label=LABELS[name],
        column_labels=[variable.label for variable in own],
        table_name=name,
        file_format_version=5,
        variable_format={variable.name: "DATE9." for variable in own if variable.type == DATE},
    )
    # The library writes the clock; the same run has to give the same bytes. All its stamps stand in the head.
    content = path.read_bytes()
    stamp = when.strftime("%d%b%y:%H:%M:%S").upper().encode("ascii")
    path.write_bytes(_STAMP.sub(stamp, content[:2000]) + content[2000:])


def _write_json(path: Path, name: str, frame: pd.DataFrame, when: datetime, version: str) -> None:
    """One data set as Dataset-JSON 1.1, a record a line; dates as ISO 8601, to be integers in SAS."""
    study = str(frame["STUDYID"].iloc[0]) if len(frame) else ""
    order = {key: place for place, key in enumerate(keys(name), 1)}
    said = {
        "datasetJSONCreationDateTime": when.strftime("%Y-%m-%dT%H:%M:%S"),
        "datasetJSONVersion": "1.1.0",
        "fileOID": f"ranklsim.{study}.{name}",
        "dbLastModifiedDateTime": when.strftime("%Y-%m-%dT%H:%M:%S"),
        "originator": "ranklsim (simulated data)",
        "sourceSystem": {"name": "ranklsim", "version": version},
        "studyOID": f"STUDY.{study}",
        "metaDataVersionOID": f"MDV.{study}",
        "metaDataRef": DEFINE,
        "itemGroupOID": f"IG.{name}",
        "records": len(frame),
        "name": name,
        "label": LABELS[name],
        "columns": [_json_column(name, variable, frame, order) for variable in present(name, frame)],
    }
    columns = [_json_values(variable, frame[variable.name]) for variable in present(name, frame)]
    head = json.dumps(said, indent=1)
    with open(path, "w", encoding="utf-8", newline="") as file:
        file.write(f'{head[:-2]},\n "rows": [')
        for number, row in enumerate(zip(*columns, strict=True)):
            file.write(("," if number else "") + "\n  " + json.dumps(row))
        file.write("\n ]\n}\n")


def _json_column(name: str, variable: Variable, frame: pd.DataFrame, order: Mapping[str, int]) -> dict[str, object]:
    kind = {TEXT: "string", DATE: "date"}.get(variable.type, variable.type)
    column: dict[str, object] = {
        "itemOID": f"IT.{name}.{variable.name}",
        "name": variable.name,
        "label": variable.label,
        "dataType": kind,
    }
    if variable.type == DATE:
        column |= {"targetDataType": "integer", "displayFormat": "DATE9."}
    if variable.type == TEXT:
        column["length"] = length(frame[variable.name])
    if variable.name in order:
        column["keySequence"] = order[variable.name]
    return column


def _json_values(variable: Variable, column: pd.Series) -> list[object]:
    if variable.type == TEXT:
        return list(column)
    if variable.type == DATE:
        return [None if np.isnan(day) else iso(day) for day in column]
    whole = variable.type == "integer"
    return [None if np.isnan(x) else int(x) if whole else float(x) for x in column]


def _stamp(started: str) -> datetime:
    """When a run was started, in UTC, to the second."""
    return datetime.fromisoformat(started).astimezone(UTC).replace(tzinfo=None, microsecond=0)
