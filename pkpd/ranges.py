"""Over what each parameter may be moved when one asks what an answer depends on.

Five kinds of parameter have a range, each from its own place:

open
    drawn in every run, because no datum fixes it (`ParameterTable.uncertain`): the range of its prior;
fitted
    the central 95 % of the shipped ensemble (`ensemble.ensemble`), or the interval of a fit of one's own;
assumed
    the plausible range of the table or of the agent's file, where the value is assumed, or set from literature
    without an interval of its own;
measured
    the same, where the value was measured;
hazard
    the plausible range of the numbers behind fractures and deaths. BMD and markers do not depend on them, so that they
    move only if they are named.

Left out is what is no property of the biology that a trial's answer could depend on: covariates and start values of a
patient, references of a scale, measurement error, genotypes (whose value 1 is a definition), and markers' and calcium's
own constants unless they are fitted, since nothing feeds back from them on bone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ranklsim.pkpd.agents import FIELDS, Agent
from ranklsim.pkpd.biology.skeleton import NAMES
from ranklsim.pkpd.ensemble import ensemble
from ranklsim.pkpd.errors import BadInput, near, shown
from ranklsim.pkpd.parameters import ParameterTable, load_parameters
from ranklsim.pkpd.reading import finite, first_faults, read_content, read_csv, unread
from ranklsim.pkpd.simulation import COVARIATES

EXPERIMENTS = Path(__file__).parent / "data" / "experiments.csv"
KINDS = ("open", "fitted", "assumed", "measured", "hazard")
COLUMNS = ("symbol", "kind", "meaning", "value", "unit", "low", "high", "scale", "status", "source")
DECADE = 10.0
"""A positive range of at least this ratio is moved over on the logarithm (our choice; a prior says so itself)."""

_BIOLOGY = ("ligand", "cells", "skeleton", "hazard")
_START = {*COVARIATES.values(), *(f"BMD0_{site}" for site in NAMES)}


def ranges(
    parameters: ParameterTable, agents: Sequence[Agent] = (), intervals: str | Path | None = None
) -> pd.DataFrame:
    """Everything that has a range, a row a parameter.

    Parameters
    ----------
    parameters : ParameterTable
        Values, priors and plausible ranges.
    agents : sequence of Agent
        Whose numbers to add, as ``AGENT.FIELD``; one that several take over from AGENT stands once and moves all.
    intervals : path, optional
        Intervals of a fit instead of the shipped ensemble's: its ``estimates.csv``, or any CSV with `symbol`, `low`,
        `high`.

    Returns
    -------
    DataFrame
        Columns `COLUMNS`: `kind` as above, `low` to `high` in `unit`, `scale` "linear" or "log". In the order of the
        table, then of the agents.

    Raises
    ------
    BadInput
        If the intervals can't be read, or one does not hold the parameter's value.
    """
    found = of_ensemble() if intervals is None else _read_intervals(intervals, parameters)
    rows = []
    for symbol, row in parameters.frame.iterrows():
        if "." in str(symbol):  # a number of an agent, laid over by the user: with the agents, below
            continue
        if row["prior"] != "fixed":
            scale = "log" if row["prior"] == "loguniform" else "linear"
            rows.append(_row(str(symbol), "open", row, float(row["low"]), float(row["high"]), scale))
        elif symbol in found:
            rows.append(_row(str(symbol), "fitted", row, *found[str(symbol)]))
        elif _is_biology(str(symbol), row):
            kind = "hazard" if row["group"] == "hazard" else "measured" if row["status"] == "measured" else "assumed"
            rows.append(_row(str(symbol), kind, row, float(row["low"]), float(row["high"])))
    seen = {row["symbol"] for row in rows}
    for agent in agents:
        for number in parameters.apply(agent).provenance:
            symbol = f"{number.origin}.{number.field}"
            if symbol in seen or number.low is None or number.high is None or not number.low < number.high:
                continue
            if not math.isfinite(number.value):
                continue
            seen.add(symbol)
            facts = {
                "meaning": f"{number.origin}: {FIELDS[agent.kind][number.field].meaning}",
                "value": number.value,
                "unit": number.unit,
                "status": number.status,
                "source": number.source,
            }
            if symbol in found:
                rows.append(_row(symbol, "fitted", facts, *found[symbol]))
            else:
                kind = "measured" if number.status == "measured" else "assumed"
                rows.append(_row(symbol, kind, facts, number.low, number.high))
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    outside = frame[(frame["value"] < frame["low"]) | (frame["value"] > frame["high"])]
    if len(outside):
        raise BadInput(
            *(
                f"{row['symbol']} = {row['value']:g} lies outside {row['low']:g} to {row['high']:g}, its interval in "
                f"{intervals or 'the shipped ensemble'}; give the intervals of the fit that these parameters are from."
                for row in outside.to_dict("records")
            )
        )
    return frame


def of_ensemble() -> dict[str, tuple[float, float]]:
    """Central 95 % of each fitted parameter over the shipped ensemble, made as wide as to hold its shipped value."""
    vectors, shipped = ensemble(), load_parameters()
    found = {}
    for symbol in vectors:
        row = shipped.row(str(symbol))
        if row["status"] == "fitted" and row["prior"] == "fixed":
            low, high = np.percentile(vectors[symbol], [2.5, 97.5])
            found[str(symbol)] = float(min(low, row["value"])), float(max(high, row["value"]))
    return found


def chosen(frame: pd.DataFrame, only: Sequence[str] | None, exclude: Sequence[str] | None) -> pd.DataFrame:
    """Rows of `ranges` that are to be moved.

    Parameters
    ----------
    frame : DataFrame
        As from `ranges`.
    only, exclude : sequence of str, optional
        Symbols or `KINDS`; without `only` all kinds but "measured" and "hazard".

    Raises
    ------
    BadInput
        If a word is neither, or fewer than two parameters are left.
    """
    faults = []
    for option, words in (("only", only), ("exclude", exclude)):
        for word in words or ():
            if word not in KINDS and word not in set(frame["symbol"]):
                hint = near(word, [*frame["symbol"], *KINDS], also="see docs/sensitivity.md for what has a range.")
                faults.append(
                    f"{option}: '{word}' is no parameter with a range here, nor one of {', '.join(KINDS)}; {hint}"
                )
    if faults:
        raise BadInput(*faults)
    keep = ~frame["kind"].isin(["measured", "hazard"])
    if only is not None:
        keep = frame["symbol"].isin(only) | frame["kind"].isin(only)
    if exclude is not None:
        keep &= ~(frame["symbol"].isin(exclude) | frame["kind"].isin(exclude))
    left = int(keep.sum())
    if left < 2:
        raise BadInput(f"{left} parameter{'s' * (left != 1)} left to move; a comparison needs at least two.")
    return frame[keep].reset_index(drop=True)


def natural(unit: NDArray[np.float64], frame: pd.DataFrame) -> NDArray[np.float64]:
    """Values of the parameters at points of the unit cube.

    Parameters
    ----------
    unit : ndarray, shape (n, n_parameters)
        0 is `low`, 1 is `high`, in between on the parameter's `scale`.
    frame : DataFrame, n_parameters rows
        As from `ranges`.

    Returns
    -------
    ndarray, shape (n, n_parameters)
        Each in its `unit`.
    """
    low, high = frame["low"].to_numpy(float), frame["high"].to_numpy(float)
    log = (frame["scale"] == "log").to_numpy()
    ratio = np.where(log, high / np.where(log, low, 1.0), 1.0)
    return np.clip(np.where(log, low * ratio**unit, low + (high - low) * unit), low, high)


def _read_intervals(path: str | Path, parameters: ParameterTable) -> dict[str, tuple[float, float]]:
    """Symbol to the ends of its interval."""
    path = Path(path)
    sheet = read_csv(str(path), read_content(path, what="CSV file"), ("low", "high"), comments=True)
    name = "parameter" if "parameter" in sheet.columns and "symbol" not in sheet.columns else "symbol"
    if name not in sheet.columns:
        raise BadInput(f"{path}:{sheet.head}: column {name} is missing; the header needs symbol, low, high.")
    found: dict[str, tuple[float, float]] = {}
    faults = list(sheet.faults)
    for row in sheet.rows():
        if last := unread(faults, row.where):
            faults += last
            break
        try:
            symbol = parameters.known(row.text(name), row.where)
        except BadInput as fault:
            faults += fault.messages
            continue
        low, high = row.number("low", needed=True), row.number("high", needed=True)
        if symbol in found:
            row.fault(name, f"{symbol} appears twice; keep one row.")
        elif not row.faults and not low < high:
            row.fault("low", f"{low:g} to {high:g} is no interval; low must be below high.")
        faults += row.faults
        found[symbol] = low, high
    if faults:
        raise BadInput(*first_faults(str(path), faults))
    return found


def _is_biology(symbol: str, row: pd.Series) -> bool:
    defined = str(row["source"]).startswith("definition")
    return row["group"] in _BIOLOGY and row["low"] < row["high"] and symbol not in _START and not defined


def _row(
    symbol: str, kind: str, facts: pd.Series | dict[str, object], low: float, high: float, scale: str | None = None
) -> dict[str, object]:
    if scale is None:
        scale = "log" if low > 0 and high / low >= DECADE else "linear"
    named = {name: facts[name] for name in ("meaning", "value", "unit", "status", "source")}
    return {"symbol": symbol, "kind": kind, "low": low, "high": high, "scale": scale} | named


def read_vectors(path: str | Path, parameters: ParameterTable) -> pd.DataFrame:
    """Vectors of parameter values that belong together, such as an ensemble that fits the data.

    Parameters
    ----------
    path : path
        CSV with a row a vector and a column a symbol (``kT``, ``denosumab.CL``), in the unit of the table.
    parameters : ParameterTable

    Returns
    -------
    DataFrame
        As in the file.

    Raises
    ------
    BadInput
        If the file can't be read; if a column is no parameter, or holds what is no number or outside the plausible
        range, one sentence a column.
    """
    path = Path(path)
    sheet = read_csv(str(path), read_content(path, what="CSV file"), comments=True)
    faults = list(sheet.faults)
    frame = {}
    if not sheet.cells:
        faults.append(f"{path}: there is no vector below the heading; give one a row.")
    for symbol in sheet.columns:
        if last := unread(faults, f"{path}:{sheet.head}"):
            faults += last
            break
        try:
            row = parameters.row(symbol, f"{path}:{sheet.head}")
        except BadInput as fault:
            faults += fault.messages
            continue
        texts = sheet.column(symbol)
        frame[symbol] = [math.nan if (value := finite(text)) is None else value for text in texts]
        wrong = [k for k, value in enumerate(frame[symbol]) if not row["low"] <= value <= row["high"]]
        if wrong:
            faults.append(
                f"{path}:{sheet.lines[wrong[0]]}: {symbol} = {shown(texts[wrong[0]])} is no number from "
                f"{row['low']:g} to {row['high']:g}, its range."
            )
    if not faults:
        reasons = parameters.implausible(pd.DataFrame(frame))
        faults = [f"{path}:{sheet.lines[k]}: {reason}." for k, reason in enumerate(reasons) if reason]
    if faults:
        raise BadInput(*first_faults(str(path), faults))
    return pd.DataFrame(frame)


def experiment(symbol: str) -> str:
    """The experiment that would measure a parameter (``data/experiments.csv``); empty if none is known.

    Parameters
    ----------
    symbol : str
        Of the table, or ``AGENT.FIELD``.
    """
    return _experiments().get(symbol) or _experiments().get("*." + symbol.rpartition(".")[2], "")


@lru_cache(maxsize=1)
def _experiments() -> dict[str, str]:
    rows = pd.read_csv(EXPERIMENTS, dtype=str)
    return {
        name: text for names, text in zip(rows["symbols"], rows["experiment"], strict=True) for name in names.split()
    }
