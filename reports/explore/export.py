"""The page as a file: a grid of regimens is computed beforehand, and the script looks answers up in it."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from ranklsim.pkpd.agents import Agent, load_agent
from ranklsim.pkpd.dosing import parse_regimen
from ranklsim.pkpd.errors import BadInput
from ranklsim.pkpd.parameters import load_parameters
from ranklsim.pkpd.units import parse_quantity
from ranklsim.reports.explore.course import Asked, course, rounded, women
from ranklsim.reports.explore.page import config, page

FACTORS = (0.25, 0.5, 1.0, 2.0)
"""Doses of the file, over the usual dose of the agent."""
EVERY = ("3mo", "6mo", "12mo")
LENGTHS = (12, 36, 60)
"""Months of treatment."""
MONTHS = 60
"""Months that a course of the file shows at least."""
THEN = ("", "zoledronate 5mg every 12mo for 12mo")
"""What may follow the last interval."""
LEVELS = (0.0, 0.5, 1.0)
"""Of the range of the assumption that moves, besides its default."""
READ_OFF = 12
"""Months between those at which the file knows the cohort."""
QUANTILES, DIGITS = 201, 3


def grid_of(regimens: Sequence[str], vary: str) -> dict[str, Any]:
    """What the file lets a reader choose.

    Parameters
    ----------
    regimens : sequence of str
        Their agents are offered.
    vary : str
        The parameter that moves.

    Returns
    -------
    dict
        ``agents`` (name to ``factors``, ``every`` and ``length``), ``then``, and ``set`` (symbol to values).

    Raises
    ------
    BadInput
        If a regimen or the parameter cannot be used.
    """
    names = dict.fromkeys(part.agent for text in regimens for part in parse_regimen(text, folder=Path.cwd()))
    row = load_parameters(folder=Path.cwd()).row(vary, "--vary")
    if not row["low"] < row["high"]:
        raise BadInput(f"--vary: {vary} has no range; give one that has, such as sig.")
    low, high = float(row["low"]), float(row["high"])
    values = {float(row["value"])} | {float(f"{low + share * (high - low):.3g}") for share in LEVELS}
    return {
        "agents": {name: _choices(load_agent(name, folder=Path.cwd())) for name in names},
        "then": list(THEN),
        "set": {vary: sorted(values)},
    }


def _choices(agent: Agent) -> dict[str, Any]:
    """Doses, intervals and lengths of an agent; only the usual ones where it is not given every few months."""
    dose, every = _usual(agent)
    months = every.endswith("mo")
    factors = [] if not dose else list(FACTORS) if months else [1.0]
    return {"factors": factors, "every": list(EVERY) if months and dose else [every], "length": list(LENGTHS)}


def _usual(agent: Agent) -> tuple[str, str]:
    """Dose ("" of a placebo) and interval of an agent's reference regimen, without spaces."""
    dose, _, every = agent.reference_regimen.rpartition("every ")
    return dose.replace(" ", ""), every.replace(" ", "")


def regimens_of(grid: Mapping[str, Any]) -> list[str]:
    """Every regimen of the file, written as the page writes it.

    Parameters
    ----------
    grid : mapping
        As from `grid_of`.
    """
    found = []
    for name, choice in grid["agents"].items():
        dose, _ = _usual(load_agent(name, folder=Path.cwd()))
        amount = dose.rstrip("abcdefghijklmnopqrstuvwxyz")
        doses = [f" {float(f'{factor * float(amount):.3g}'):g}{dose[len(amount) :]}" for factor in choice["factors"]]
        for one, every, length, then in product(doses or [""], choice["every"], choice["length"], grid["then"]):
            if parse_quantity(every, "mo", where="every") <= length:
                found.append(f"{name}{one} every {every} for {length}mo{', ' * bool(then)}{then}")
    return found


def export(regimens: Sequence[str], vary: str, draws: int, progress: Callable[[int, int], None] | None = None) -> str:
    """The page as one file that needs no server.

    Parameters
    ----------
    regimens : sequence of str
        Those that it shows first; their agents are offered.
    vary : str
        The parameter that moves.
    draws : int
        Vectors of the ensemble behind a band.
    progress : callable, optional
        Called with the number of patients done and in all.

    Raises
    ------
    BadInput
        If a regimen or the parameter cannot be used.
    """
    grid = grid_of(regimens, vary)
    asked = [Asked(text, MONTHS) for text in regimens_of(grid)]
    known = config(_first(regimens, asked), draws)
    default = load_parameters(folder=Path.cwd()).row(vary)["value"]
    cells, done = {}, 0
    work = list(product(asked, grid["set"][vary]))
    for one, value in work:
        usual = value == default
        cell = course(one if usual else replace(one, settings=((vary, value),)), draws)
        cells[one.regimen + ("" if usual else f"|{grid['set'][vary].index(value)}")] = _thinned(cell) | (
            _women(one) if usual else {}
        )
        done += 1
        if progress:
            progress(done * (draws + 1), len(work) * (draws + 1))
    packed = base64.b64encode(gzip.compress(json.dumps(cells, separators=(",", ":")).encode(), 9, mtime=0)).decode()
    return page(known | {"grid": grid | {"cells": packed, "read_off": READ_OFF}})


def _first(regimens: Sequence[str], asked: Sequence[Asked]) -> list[str]:
    """The regimens to show first: those of the file that are given, else one of the same agent."""
    known = [one.regimen for one in asked]
    return [
        text if text in known else next(other for other in known if other.split()[0] == text.split()[0])
        for text in regimens
    ]  # fmt: skip


def _thinned(cell: dict[str, Any]) -> dict[str, Any]:
    """A course at whole months."""
    keep = [k for k, month in enumerate(cell["months"]) if month == int(month)]
    curves = {
        name: [rounded(np.array(row)[keep], DIGITS) for row in rows] for name, rows in cell["curves"].items()
    }  # fmt: skip
    return cell | {"months": [cell["months"][k] for k in keep], "curves": curves}


def _women(asked: Asked) -> dict[str, Any]:
    """Quantiles of the women's changes every `READ_OFF` months."""
    months = [float(month) for month in range(READ_OFF, MONTHS + 1, READ_OFF)]
    found = women(asked, months)
    share = np.linspace(0, 1, QUANTILES)
    return {
        "women": {
            str(int(month)): {name: rounded(np.quantile(found[name][:, k], share), DIGITS) for name in found}
            for k, month in enumerate(months)
        }
    }
