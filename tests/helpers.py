"""Builders that tests share: files of trials and fits, doses, patients, and what the command line says."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import re
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ranklsim.cohorts.running.storage import TABLES
from ranklsim.pkpd.errors import BadInput
from ranklsim.pkpd.evidence.records import load_evidence
from ranklsim.reports.qualify.solver import NO_DOSES, anyone, other_affinities, q6m, together  # noqa: F401  (shared)

INTERVAL = 6 * 30.4375


def script(name: str) -> ModuleType:
    """The module ``scripts/NAME.py``, imported anew."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parents[1] / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def trial_text(more: str = "", **tables: Any) -> str:
    """TOML of a small trial: placebo and denosumab for two years, spine BMD as the primary endpoint.

    Parameters
    ----------
    more : str
        Lines at the end, as they are.
    **tables
        Keys and tables of the file, as the reader names them; see `arm` and `endpoint`. The keys of ``population``
        and ``visits`` replace single defaults, every other table replaces the whole default, and None leaves it out.
    """
    defaults = {
        "title": "A trial for tests",
        "seed": 1,
        "months": 24,
        "control": "placebo",
        "arm": [arm("placebo"), arm("denosumab")],
        "endpoint": [change()],
    }
    population = {"name": "postmenopausal-osteoporosis", "patients": 40, **tables.pop("population", {})}
    visits = {"BMD": [0, 12, 24], "markers": [0, 6, 12, 24], **tables.pop("visits", {})}
    keys, below = [], []
    for name, value in {**defaults, "population": population, "visits": visits, **tables}.items():
        if value is None:
            continue
        if isinstance(value, dict):
            below += [f"[{name}]", *(f"{key} = {_toml(item)}" for key, item in value.items())]
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for table in value:
                below += [f"[[{name}]]", *(f"{key} = {_toml(item)}" for key, item in table.items())]
        else:
            keys.append(f"{name} = {_toml(value)}")
    return "\n".join([*keys, *below, more])


def _toml(value: Any) -> str:
    """A value as TOML, on one line."""
    if isinstance(value, dict):
        keys = {key: key if re.fullmatch(r"[\w-]+", key) else json.dumps(key) for key in value}
        return "{ " + ", ".join(f"{keys[key]} = {_toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def trial_file(folder: Path, more: str = "", *, stem: str = "trial", **tables: Any) -> Path:
    """File of the trial that `trial_text` describes."""
    path = folder / f"{stem}.toml"
    path.write_text(trial_text(more, **tables), encoding="utf-8")
    return path


def arm(name: str, agent: str = "", doses: int = 4, **step: Any) -> dict[str, Any]:
    """Arm that gets its agent every six months, 60 mg of it unless it is placebo; `step` changes the regimen."""
    amount = {} if name == "placebo" else {"dose": "60 mg"}
    return {"name": name, "regimen": [{"agent": agent or name, **amount, "every": "6 mo", "doses": doses, **step}]}


def endpoint(name: str, analysis: str, role: str = "secondary", **more: Any) -> dict[str, Any]:
    """Endpoint of any kind; `more` holds the kind with its table, and a margin."""
    return {"name": name, "role": role, "analysis": analysis, **more}


def change(
    name: str = "gain", analysis: str = "ANCOVA", role: str = "primary", of: str = "BMD_LS", to: int = 24, **more: Any
) -> dict[str, Any]:
    """Endpoint: change from baseline to month `to`."""
    return endpoint(name, analysis, role, change={"of": of, "from": "0 mo", "to": f"{to} mo"}, **more)


OWN_AGENT = """
label        = "ABC-301"
hypothetical = true
like         = "denosumab"
KD_sRANKL    = "none"
"""


def two_arms(folder: Path, stem: str = "two", **changes: Any) -> Path:
    """File of a trial of a year with an agent of the user's own, 12 patients in two strata."""
    tables = {
        "seed": 11,
        "months": 12,
        "uncertainty_draws": 2,
        "population": {"patients": 12, "strata": ["age >= 72 yr"]},
        "arm": [arm("placebo", doses=2), arm("own", "abc-301", doses=2)],
        "visits": {"BMD": [0, 6, 12], "markers": [0, 1, 6, 12]},
        "endpoint": [change("Lumbar spine", to=12)],
        "conduct": {"dropout": "30 %/yr"},
    }
    (folder / "abc-301.toml").write_text(OWN_AGENT, encoding="utf-8")
    return trial_file(folder, stem=stem, **tables | changes)


def table_bytes(folder: Path) -> dict[str, bytes]:
    """The tables of a run folder, byte by byte."""
    return {table: (folder / f"{table}.parquet").read_bytes() for table in TABLES}


EVIDENCE_COLUMNS = (
    "study,arm,control,endpoint,site_or_marker,month_from,month,value,unit,statistic,spread,spread_type,spread_low,"
    "spread_high,n,phase,curve,source,doi,verification,note"
)


def evidence_folder(folder: Path, arms: str, *rows: str | dict[str, str], columns: str = EVIDENCE_COLUMNS) -> Path:
    """Folder of evidence with these arms and figures: lines of text, or tables in which a column may be missing."""
    (folder / "arms.toml").write_text(arms, encoding="utf-8")
    with (folder / "observations.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns.split(","), extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        for row in rows:
            if isinstance(row, str):
                file.write(row)
            else:
                writer.writerow(row)
    return folder


SMALL_FIT = """
title   = "Small"
seed    = 3
starts  = {starts}
options = {{ max_nfev = {most} }}

[[parameter]]
name  = "kT"
start = 0.35{more}
prior = {{ mean = 0.25, sd = 1.0 }}
[[parameter]]
{second}

[[include]]
arm = ["freedom-denosumab", "freedom-placebo"]
[[exclude]]
endpoint = "difference_to_control"
reason   = "to keep the test small"
"""


def small_fit(folder: Path, second: str, starts: int = 1, most: int = 200, more: str = "") -> Path:
    """A fit of kT, of which `more` may be said, and of a `second` parameter to FREEDOM's figures."""
    path = folder / "small.toml"
    path.write_text(
        SMALL_FIT.format(second=second, starts=starts, most=most, more=more and f"\n{more}"), encoding="utf-8"
    )
    return path


def check_sentence(message: str, *parts: str) -> None:
    """One sentence that holds `parts`: where the fault is, what it is, what would be right."""
    assert message.endswith((".", "?")), message
    assert "\n" not in message
    for part in parts:
        assert part in message


def said(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, list[str], list[str]]:
    """Exit code of ``ranklsim WORDS``, and the lines on stdout and stderr; a traceback is never among them."""
    from ranklsim.reports.cli import main as cli

    capsys.readouterr()
    code = cli.main([str(word) for word in words])
    both = capsys.readouterr()
    assert "Traceback" not in both.err
    return code, both.out.splitlines(), both.err.splitlines()


def offset(arm: str, column: str, month: float) -> float:
    """What the published statistic of a cohort exceeds the typical patient of a shipped arm by."""
    rows = load_evidence().observations
    name = column.removesuffix("_pct").removeprefix("BMD_")
    here = (rows["arm"] == arm) & (rows["site_or_marker"] == name) & (rows["month"] == month)
    return rows.loc[here & rows["endpoint"].str.startswith("percent"), "offset"].item()


def drawn_by(k: int, home: int, fault: str, form: str) -> bytes:
    """A picture for the tests of painters: its number and the process that drew it, or the fault of that place.

    Parameters
    ----------
    k : int
    home : int
        The process of the test.
    fault : str
        Where it can't be drawn: "" for nowhere, "away" for other processes, "everywhere"; "asleep" is never drawn away.
    form : str
        "svg".
    """
    if fault == "everywhere" or (fault == "away" and os.getpid() != home):
        raise BadInput("no such arm.")
    if fault == "asleep" and os.getpid() != home:
        time.sleep(3600)
    return f"{k} by {os.getpid()} as {form}".encode()
