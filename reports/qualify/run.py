"""``ranklsim qualify``: every requirement with its check, its acceptance rule and its result on this machine.

Requirements are rows of ``data/requirements.csv``. A check is a function of a module of this room, named
``module:function`` with its arguments behind it. It gives a `Finding`, or the values that ``data/statistics.csv``
expects, by quantity.
"""

from __future__ import annotations

import json
import math
import os
import platform
import re
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ranklsim import __version__
from ranklsim.pkpd import arguments
from ranklsim.pkpd.errors import BadInput, near
from ranklsim.pkpd.fitting.work import keep, kept
from ranklsim.pkpd.reading import parse_json, read_content
from ranklsim.reports.layout.exhibit import csv_text
from ranklsim.reports.layout.folders import work_folder
from ranklsim.reports.qualify import installation
from ranklsim.reports.qualify.finding import DOCUMENT, FAIL, NOT_RUN, PASS, Finding, NotRun, Qualification
from ranklsim.reports.qualify.show import write_qualification

DATA = Path(__file__).parent / "data"
RECORD, RESULTS = "qualification.json", "qualification.csv"
COLUMNS = ("requirement", "group", "text", "rule", "unit", "value", "result", "evidence", "source", "seconds")
_RULE = re.compile(r"(<=|>=|=) (\S+)")

Tell = Callable[[str], object]


@dataclass(frozen=True)
class Requirement:
    """A row of ``data/requirements.csv``."""

    requirement: str
    group: str
    text: str
    check: str
    rule: str
    unit: str
    source: str

    def met(self, value: float) -> bool:
        """Whether a value obeys the acceptance rule.

        Parameters
        ----------
        value : float
            In `unit`. NaN obeys none.
        """
        found = _RULE.fullmatch(self.rule)
        if found is None:
            raise ValueError(f"{self.requirement}: '{self.rule}' is no rule")
        limit = float(found[2])
        return {"<=": value <= limit, ">=": value >= limit, "=": value == limit}[found[1]]

    def run(self) -> Finding:
        """Make the check."""
        name, *words = self.check.split()
        module, _, function = name.partition(":")
        found = getattr(import_module(f"ranklsim.reports.qualify.{module}"), function)(*words)
        return found if isinstance(found, Finding) else beside(self.requirement, found)


def requirements() -> list[Requirement]:
    """Every requirement, in order."""
    rows = pd.read_csv(DATA / "requirements.csv", dtype=str).to_dict("records")
    return [Requirement(**{str(key): str(value) for key, value in row.items()}) for row in rows]


def beside(requirement: str, found: Mapping[str, float]) -> Finding:
    """Values beside those expected: the number outside their tolerance.

    Parameters
    ----------
    requirement : str
        Its identifier in ``data/statistics.csv``.
    found : mapping of str to float
        Quantity to value.
    """
    table = pd.read_csv(DATA / "statistics.csv", dtype={"quantity": str})
    table = table[table["requirement"] == requirement].drop(columns="requirement").reset_index(drop=True)
    table["found"] = [float(found.get(quantity, math.nan)) for quantity in table["quantity"]]
    table["within"] = (table["found"] - table["expected"]).abs() <= table["tolerance"]
    outside = table.loc[~table["within"], "quantity"].tolist()
    said = f"{len(table)} values, each within its tolerance." if not outside else f"Outside: {'; '.join(outside[:5])}."
    return Finding(len(outside), said, table)


@arguments.checked(
    out=arguments.path,
    only=arguments.NAMES,
    resume=arguments.flag,
    force=arguments.flag,
    tell=arguments.callback,
    command=arguments.COMMAND,
)
def qualify(
    out: str | os.PathLike[str],
    *,
    only: Sequence[str] | None = None,
    resume: bool = False,
    force: bool = False,
    tell: Tell | None = None,
    command: str = "",
) -> Qualification:
    """Verify this installation on this machine, and write a report that a quality unit can file.

    Parameters
    ----------
    out : path
        Folder of the report: ``index.html``, ``qualification.docx``, ``qualification.csv`` (one row for each
        requirement), ``qualification.json`` and ``tables/``.
    only : sequence of str, optional
        Requirements (``"SV-01"``) or groups (``"SV"``) to check; the others count as not run.
    resume, force : bool
        Go on with the interrupted qualification in `out`; replace the one in `out`.
    tell : callable, optional
        Called with a sentence for each result.
    command : str
        What the user typed, for the record.

    Returns
    -------
    Qualification

    Raises
    ------
    BadInput
        If a name is no requirement, or the folder can't be used.
    """
    every = requirements()
    known = [each.requirement for each in every]
    groups = list(dict.fromkeys(name.partition("-")[0] for name in known))
    unknown = [name for name in only or () if name not in (*known, *groups)]
    if unknown:
        raise BadInput(*(f"only: '{name}' is no requirement; {near(name, [*groups, *known])}" for name in unknown))
    wanted = [name for name in known if not only or name in only or name.partition("-")[0] in only]
    print_ = installation.fingerprint()
    files = {RECORD, RESULTS, DOCUMENT}
    folder = Path(out)
    work = work_folder(folder, "qualify", "its installation or requirements", f"{print_} {' '.join(wanted)}",
                       resume, force, files)  # fmt: skip
    rows, tables = [], {}
    for k, each in enumerate(every, 1):
        row = kept(work / f"{each.requirement}.json")
        if row is None:
            row = _checked(each) if each.requirement in wanted else _row(each, NOT_RUN, "It was not asked for.")
            keep(work / f"{each.requirement}.json", row)
        if table := row.pop("table", None):
            tables[each.requirement] = pd.DataFrame(table)
        rows.append(row)
        if tell and each.requirement in wanted:
            value = "" if row["value"] is None else f" {row['value']:.3g} ({each.rule} {each.unit})"
            tell(f"{k:>2} of {len(every)}  {each.requirement}  {row['result']}{value}  {each.text}")
    results = pd.DataFrame(rows)[list(COLUMNS)].astype({"value": float})
    found = Qualification(results, tables, _facts(print_, command))
    write_qualification(found, folder)
    said = found.facts | {"results": json.loads(results.to_json(orient="records", double_precision=15))}
    (folder / RESULTS).write_text(csv_text(results), encoding="utf-8", newline="")
    (folder / RECORD).write_text(json.dumps(said, indent=1, ensure_ascii=False) + "\n", encoding="utf-8", newline="")
    shutil.rmtree(work)
    return found


def read_qualification(folder: Path) -> Qualification:
    """The results in a folder of `qualify`, without their tables.

    Parameters
    ----------
    folder : Path

    Raises
    ------
    BadInput
        If the folder holds no finished qualification.
    """
    path = folder / RECORD
    if not path.is_file():
        raise BadInput(f"{folder}: holds no finished qualification; make one: `ranklsim qualify -o DIR`.")
    said = parse_json(str(path), read_content(path))
    wrong = BadInput(f"{path}: was not written by `ranklsim qualify`; make it again: `ranklsim qualify -o DIR`.")
    if not isinstance(said, dict) or not isinstance(said.get("results"), list) or "fingerprint" not in said:
        raise wrong
    rows = [row for row in said.pop("results") if isinstance(row, dict) and set(row) == set(COLUMNS)]
    if not rows:
        raise wrong
    return Qualification(pd.DataFrame(rows)[list(COLUMNS)].astype({"value": float}), {}, said)


def _checked(each: Requirement) -> dict[str, Any]:
    """The row of a requirement whose check is made now. Whatever goes wrong in the check is a failure."""
    began = time.monotonic()
    try:
        found = each.run()
    except NotRun as why:
        return _row(each, NOT_RUN, str(why))
    except Exception as fault:
        words = " ".join(str(fault).split()) or "no text"
        return _row(each, FAIL, f"The check ended with an error ({type(fault).__name__}: {words}).")
    row = _row(each, PASS if each.met(found.value) else FAIL, found.evidence)
    table = json.loads(found.table.to_json(orient="records", double_precision=15)) if len(found.table) else None
    value = float(found.value) if np.isfinite(found.value) else None
    return row | {"value": value, "seconds": round(time.monotonic() - began, 1), "table": table}


def _row(each: Requirement, result: str, evidence: str) -> dict[str, Any]:
    said = {name: getattr(each, name) for name in ("requirement", "group", "text", "rule", "unit", "source")}
    return said | {"value": None, "result": result, "evidence": evidence, "seconds": 0.0}


def _facts(fingerprint: str, command: str) -> dict[str, Any]:
    return {
        "ranklsim": __version__,
        "fingerprint": fingerprint,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processors": os.cpu_count(),
        "place": str(installation.ROOT),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command or "ranklsim.qualify(...)",
    }
