"""The page: one file with its style, script and what the script must know; nothing is loaded from elsewhere."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ranklsim import __version__
from ranklsim.cohorts.courses import LEVEL
from ranklsim.cohorts.people.population_file import find_population, list_populations
from ranklsim.pkpd.agents import Agent, list_agents
from ranklsim.pkpd.parameters import ParameterTable, load_parameters
from ranklsim.pkpd.ranges import DECADE
from ranklsim.reports.explore import texts
from ranklsim.reports.explore.course import DRAWS, LONGEST
from ranklsim.reports.layout.html import TEMPLATES

STATE = 1
"""Version of the links that restore a page."""
MOST = 4
"""Regimens side by side."""
START = ("denosumab 60mg every 6mo for 36mo", "mrankl-selective 60mg every 6mo for 36mo")
MOVED = ("KD_mRANKL", "KD_sRANKL", "block_shedding", "reach_osteocyte", "reach_osteoblast", "reach_marrow",
         "reach_lymphocyte")  # fmt: skip
"""Numbers of an agent that the page moves: affinity, shedding, reach."""


def _control(parameters: ParameterTable, symbol: str, group: str) -> dict[str, Any]:
    """A slider of one parameter."""
    row = parameters.row(symbol)
    low, high, value = (float(row[name]) for name in ("low", "high", "value"))
    log = row["prior"] == "loguniform" or (row["prior"] == "fixed" and low > 0 and high / low >= DECADE)
    return {"symbol": symbol, "group": group, "meaning": row["meaning"], "unit": row["unit"], "value": value,
            "low": low, "high": high, "log": bool(log), "status": row["status"]}  # fmt: skip


def _agent(agent: Agent) -> dict[str, Any]:
    """What the page knows of an agent."""
    return {"name": agent.name, "label": agent.label, "kind": agent.kind, "regimen": agent.reference_regimen,
            "hypothetical": agent.hypothetical}  # fmt: skip


def _title(population: str) -> str:
    """Title of a population, without the work of building it."""
    path = find_population(population)
    return str(tomllib.loads(path.read_text(encoding="utf-8"))["title"]) if path else population


def config(regimens: Sequence[str] = START, draws: int = DRAWS) -> dict[str, Any]:
    """What the script of the page must know.

    Parameters
    ----------
    regimens : sequence of str
        Those that are shown first.
    draws : int
        Vectors behind a band.
    """
    parameters = load_parameters(folder=Path.cwd())
    drugs = list_agents(Path.cwd(), leave_out=True)
    controls = [_control(parameters, symbol, "") for symbol in parameters.uncertain()]
    for drug in drugs:
        has = {number.field: number.value for number in drug.provenance}
        controls += [
            _control(parameters, f"{drug.name}.{name}", drug.name)
            for name in MOVED if name in has and has[name] < float("inf")
        ]  # fmt: skip
    return {
        "version": __version__, "state": STATE, "draws": draws, "most": MOST, "longest": LONGEST,
        "level": round(100 * LEVEL), "patients": texts.PATIENTS, "regimens": list(regimens),
        "agents": [_agent(drug) for drug in drugs],
        "controls": controls, "trial": texts.TRIAL, "estimand": texts.ESTIMAND, "seed": texts.SEED,
        "visits": texts.VISITS,
        "populations": [{"name": name, "title": _title(name)} for name in list_populations()],
    }  # fmt: skip


def page(values: dict[str, Any]) -> str:
    """The page as one file.

    Parameters
    ----------
    values : dict
        As from `config`.
    """
    parts = {name: (TEMPLATES / f"explore.{name}").read_text(encoding="utf-8") for name in ("html", "css", "js")}
    known = json.dumps(values, separators=(",", ":"), allow_nan=False).replace("</", "<\\/")
    text = parts["html"]
    for mark, part in (("/*CSS*/", parts["css"]), ("/*CONFIG*/", known), ("/*JS*/", parts["js"])):
        before, _, after = text.partition(mark)
        text = before + part + after
    return text
