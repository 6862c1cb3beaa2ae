"""Every parameter of the model, once: symbol, value, unit, range, spread between patients, source and status.

The table is ``data/parameters.csv``; no number of biology stands in code. A user's table may hold all columns or just
``symbol`` and ``value`` (what a fit writes); it is laid over the shipped one. It may also name a number of an agent, as
``denosumab.CL``, which then stands in place of the one in the agent's file, and the spread of a parameter between
patients, as ``tW.cv``, which stands in place of the table's column ``cv``. Units are checked here, at the edge.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ranklsim.pkpd.agents import FIELDS, REPLACED, Agent, agent_names, has_agent, load_agent
from ranklsim.pkpd.arguments import Kind, by_name, checked, instance, number, text
from ranklsim.pkpd.arguments import folder as existing_folder
from ranklsim.pkpd.arguments import path as argument_path
from ranklsim.pkpd.biology.model import Model
from ranklsim.pkpd.biology.values import Slots
from ranklsim.pkpd.errors import BadInput, near, option_prefix
from ranklsim.pkpd.limits import implausible, joint_limits, limit_of
from ranklsim.pkpd.reading import TOO_SMALL, Sheet, finite, first_faults, no_number, read_content, read_csv, unread
from ranklsim.pkpd.results import Frame
from ranklsim.pkpd.units import check_unit
from ranklsim.pkpd.variants import variant

SHIPPED = Path(__file__).parent / "data" / "parameters.csv"
COLUMNS = (
    "symbol group meaning value unit low high prior cv cv_source distribution status source doi note".split()  #
)
NUMERIC = ("value", "low", "high", "cv")
SPREAD = ".cv"  # what follows a symbol to mean its spread between patients
WIDEST = 2.0  # largest coefficient of variation that may be given
CHOICES = {
    "group": (
        "agent",
        "covariate",
        "pk",
        "ligand",
        "cells",
        "skeleton",
        "markers",
        "calcium",
        "mice",
        "measurement",
        "hazard",
    ),
    "prior": ("fixed", "uniform", "loguniform"),
    "distribution": ("none", "lognormal", "logitnormal", "normal"),
    "status": ("measured", "fitted", "assumed"),
}


@dataclass(frozen=True, eq=False)
class ParameterTable:
    """An immutable table of parameters.

    Parameters
    ----------
    frame : pandas.DataFrame
        One row a parameter, indexed by symbol, columns as in ``data/parameters.csv``.
    folder : Path, optional
        Where a user's own agents are, whose numbers are parameters like those of shipped agents.
    """

    frame: pd.DataFrame
    folder: Path | None = None

    @cached_property
    def values(self) -> dict[str, float]:
        """Symbol to value, each in the unit of its row."""
        return dict(zip(self.frame.index, self.frame["value"].astype(float), strict=True))

    @cached_property
    def hash(self) -> str:
        """Fingerprint of everything in the table (hexadecimal, 16 characters)."""
        return hashlib.blake2b(self.to_csv().encode(), digest_size=8).hexdigest()

    def __getitem__(self, symbol: str) -> float:
        return self.values[symbol] if symbol in self.values else float(self.row(symbol)["value"])

    def row(self, symbol: str, where: str = "parameters") -> pd.Series:
        """The row of `symbol`; that of an agent's number (``denosumab.CL``) is made from the agent's file.

        A parameter's spread between patients (``tW.cv``) has a row like any number.

        Parameters
        ----------
        symbol : str
            Of the table, ``AGENT.FIELD``, or with ``.cv``.
        where : str
            What a complaint names (a file, an option).

        Raises
        ------
        BadInput
            If there is no such symbol, or the parameter is one that has no distribution.
        """
        if symbol.endswith(SPREAD):
            return self._spread_row(symbol, where)
        if self.known(symbol, where) in self.frame.index:
            return self.frame.loc[symbol]
        return pd.Series(_agent_row(symbol, self.folder))

    def _spread_row(self, symbol: str, where: str) -> pd.Series:
        of = self.frame.loc[self.known(symbol.removesuffix(SPREAD), where)]
        kind = of["distribution"]
        if kind == "none":
            raise BadInput(f"{where}: {of.name} has no distribution between patients, so {symbol} can't be given.")
        row = of.copy()
        row["meaning"] = f"{'SD' if kind == 'normal' else 'CV'} between patients of: {of['meaning']}"
        row["value"], row["low"] = float(of["cv"]), 0.0
        row["high"] = float(of["high"] - of["low"]) if kind == "normal" else WIDEST
        row["unit"] = of["unit"] if kind == "normal" else "1"
        return row.rename(symbol)

    def apply(self, agent: Agent) -> Agent:
        """The agent with those of its numbers that this table holds, also where it takes them over from another.

        Parameters
        ----------
        agent : Agent
            As loaded from its file.
        """
        return agent.with_numbers({s: v for s, v in self.values.items() if "." in s})

    def known(self, symbol: str, where: str = "parameters") -> str:
        """Return `symbol` if the table has it.

        Parameters
        ----------
        symbol : str
            Of the table, or ``AGENT.FIELD``.
        where : str
            What a complaint names (a file, an option).

        Raises
        ------
        BadInput
            If it does not; names the closest one that exists.
        """
        if symbol in self.frame.index or _agent_row(symbol, self.folder) is not None:
            return symbol
        hint = near(symbol, self.frame.index, also=f"`ranklsim parameters` lists all {len(self.frame)}.")
        agent, _, field = symbol.partition(".")
        if field and has_agent(agent, self.folder):
            fields = FIELDS[load_agent(agent, folder=self.folder).kind]
            raise BadInput(f"{where}: agent '{agent}' has no number '{field}'; {near(field, fields)}")
        if field and not field.startswith("cv"):
            hint = f"there is no agent '{agent}'; {near(agent, agent_names(self.folder))}"
        raise BadInput(f"{where}: unknown parameter '{symbol}'; {hint}")

    def replace(self, values: Mapping[str, float], where: str = "parameters") -> ParameterTable:
        """Return a table with other values for some symbols.

        Parameters
        ----------
        values : mapping of str to float
            New values, in the unit of each symbol's row.
        where : str
            What to name in a complaint (a file, an option).

        Raises
        ------
        BadInput
            If a symbol is unknown, or a value is not finite or lies outside the row's plausible range.
        """
        if faults := self.faults(values, where):
            raise BadInput(*faults)
        frame = self.frame.copy()
        for symbol, value in values.items():
            if symbol.endswith(SPREAD):
                frame.loc[symbol.removesuffix(SPREAD), "cv"] = float(value)
                continue
            if symbol not in frame.index:
                frame.loc[symbol] = self.row(symbol, where)
            frame.loc[symbol, "value"] = float(value)
        return ParameterTable(frame, self.folder)

    def faults(self, values: Mapping[str, float], where: str = "parameters") -> list[str]:
        """The faults that `replace` would report, one sentence each.

        Parameters
        ----------
        values, where
            As of `replace`.
        """
        found: list[str] = []
        for symbol, value in values.items():
            try:
                row = self.row(symbol, where)
            except BadInput as fault:
                found += fault.messages
                continue
            if not (np.isfinite(value) and row["low"] <= value <= row["high"]):
                unit = "" if row["unit"] == "1" else f" {row['unit']}"
                found.append(
                    f"{where}: {symbol} = {value:g}{unit} is outside its range; "
                    f"give {row['low']:g} to {row['high']:g}{unit} ({row['meaning']})."
                )
        return found

    def overlaid(self, values: Mapping[str, float]) -> ParameterTable:
        """A table with other values, unchecked and without the cost of copying rows: for the inner loop of a fit.

        `frame`, `hash` and `to_csv` of what is returned still show this table's values, though its column ``cv`` is new
        where a spread is among `values`; use `replace` for one to keep.

        Parameters
        ----------
        values : mapping of str to float
            New values, in the unit of each symbol's row.
        """
        frame = self.frame
        spreads = {symbol.removesuffix(SPREAD): cv for symbol, cv in values.items() if symbol.endswith(SPREAD)}
        if spreads:
            frame = frame.assign(cv=frame["cv"].where(~frame.index.isin(spreads), frame.index.map(spreads)))
        table = ParameterTable(frame, self.folder)
        table.__dict__["values"] = self.values | {s: v for s, v in values.items() if not s.endswith(SPREAD)}
        return table

    def uncertain(self) -> list[str]:
        """Symbols whose value is drawn when parameter uncertainty is on."""
        return list(self.frame.index[self.frame["prior"] != "fixed"])

    def varying(self) -> list[str]:
        """Symbols that differ between patients."""
        return list(self.frame.index[self.frame["cv"] > 0])

    def implausible(self, vectors: pd.DataFrame, *, molecules: bool = False) -> NDArray[np.object_]:
        """Why numbers that are plausible one by one cannot belong together, for each vector; "" where they can.

        Parameters
        ----------
        vectors : DataFrame
            A row for each vector, a column for each symbol that it has otherwise than the table; symbols of agents have
            no part in this.
        molecules : bool
            As of `limits.implausible`.
        """
        own = {symbol: vectors[symbol].to_numpy(float) for symbol in vectors if symbol in self.frame.index}
        return implausible(Model(Slots()).constants(self.values | own), len(vectors), molecules=molecules)

    def together(self, where: str = "parameters", values: Mapping[str, float] | None = None) -> ParameterTable:
        """This table, if its numbers can belong together, those of one person laid over them.

        Parameters
        ----------
        where : str
            What a complaint names (a file, an option).
        values : mapping of str to float, optional
            Of the person, by symbol; those of agents have no part in this.

        Raises
        ------
        BadInput
            If they cannot (`implausible`).
        """
        if reason := self.implausible(pd.DataFrame([dict(values or {})], index=[0]))[0]:
            raise BadInput(f"{where}: {reason}; these numbers cannot belong together, so change one of them.")
        return self

    def shared_limits(self, symbol: str) -> list[str]:
        """Limits that a parameter keeps together with others, a sentence each.

        Parameters
        ----------
        symbol : str
            Of the table.
        """
        return [
            f"{text} (with {', '.join(s for s in self.frame.index if s in symbols and s != symbol)})"
            for text, symbols in _joint(tuple(self.frame.index)).items()
            if symbol in symbols
        ]

    def to_csv(self) -> str:
        """The table as text that `load_parameters` reads back."""
        return self.frame.reset_index()[list(COLUMNS)].to_csv(index=False, lineterminator="\n")


def _given(value: object) -> object:
    if isinstance(value, Mapping):
        return by_name(number(), '{"sig": 0.3}')(value)
    return instance(ParameterTable, or_else=argument_path)(value)


ParametersLike: TypeAlias = str | Path | Mapping[str, float] | ParameterTable | None
"""What a public function takes as parameters: values by symbol, a table, a file, the name of a variant."""

PARAMETERS: Kind = _given
"""Kind of an argument `parameters` (`pkpd.arguments`)."""


def load_parameters(
    path: ParametersLike = None, *, folder: Path | None = None, together: bool = True
) -> ParameterTable:
    """Load the shipped parameter table, or a structural variant or a user's file laid over it.

    Parameters
    ----------
    path : path, mapping or ParameterTable, optional
        Values by symbol (``{"sig": 0.3}``), the name of a structural variant (`variants`), or a CSV file with at least
        ``symbol`` and ``value``; other symbols keep their shipped values. A column ``cv`` is taken over too where it
        holds a number. A table is returned as it is, if it knows a folder of agents or none is given.
    folder : Path, optional
        Where a user's own agents are (``abc-301.KD_mRANKL`` is then a parameter).
    together : bool
        Whether values or a file are refused whose numbers cannot belong together (`ParameterTable.together`).

    Returns
    -------
    ParameterTable

    Raises
    ------
    BadInput
        If the file can't be read, misses a column, names an unknown symbol or unit, or holds a value outside its range;
        all faults of the file at once, each with its line. If its numbers cannot belong together.
    """
    if isinstance(path, ParameterTable):
        if path.folder or folder is None:
            return path
        table = ParameterTable(path.frame, folder)
        table.__dict__["values"] = path.values  # also those of `overlaid`
        return table
    shipped = _shipped() if folder is None else ParameterTable(_shipped().frame, folder)
    if path is None:
        return shipped
    if isinstance(path, Mapping):
        table = shipped.replace(path)
        return table.together() if together else table
    path = Path(path)
    if not path.suffix and not path.exists():
        return shipped.replace(variant(str(path)).values, str(path))
    faults: list[str] = []
    values: dict[str, float] = {}
    for row in _rows(path, ("symbol", "value")).rows():
        where, symbol = row.where, row.text("symbol")
        try:
            right = shipped.row(symbol, where)["unit"]
            if (unit := row.text("unit") or right) != right:
                raise BadInput(f"{where}: {symbol} has unit '{unit}'; give it in {right}.")
            if symbol in values:
                raise BadInput(f"{where}: {symbol} appears twice; keep one row.")
            found = {symbol: _number(row.text("value"), f"{where}: value of {symbol}")}
            if row.text("cv") and symbol in shipped.frame.index:
                cv = _number(row.text("cv"), f"{where}: cv of {symbol}")
                found |= {symbol + SPREAD: cv} if cv != shipped.frame.loc[symbol, "cv"] else {}
            faults += shipped.faults(found, where)
            values |= found
        except BadInput as fault:
            faults += fault.messages
        if last := unread(faults, where):
            faults += last
            break
    if faults:
        raise BadInput(*first_faults(str(path), faults))
    table = shipped.replace(values, str(path))
    return table.together(str(path)) if together else table


@checked(symbol=text, group=text, status=text, parameters=PARAMETERS, folder=existing_folder)
def parameters(
    symbol: str | None = None,
    *,
    group: str | None = None,
    status: str | None = None,
    parameters: ParametersLike = None,
    folder: str | Path | None = None,
) -> Frame:
    """The parameters of the model, or one of them.

    Parameters
    ----------
    symbol : str, optional
        Of the table, or a number of an agent (``denosumab.CL``).
    group, status : str, optional
        Only the parameters of a group (``pk``, ``ligand``, ``cells``, ...) or a status (measured, fitted, assumed).
    parameters : path, mapping or ParameterTable, optional
        Values other than the shipped ones.
    folder : path, optional
        Where your own agent files are; the working folder by default.

    Returns
    -------
    Frame
        One row for each parameter: symbol, group, meaning, value, unit, low, high, prior, cv, distribution, status,
        source, doi, note (docs/dictionary.md).

    Raises
    ------
    BadInput
        If there is no such symbol, group or status, or no parameter that has both.
    """
    table = load_parameters(parameters, folder=Path.cwd() if folder is None else Path(folder))
    frame = table.frame if symbol is None else table.row(symbol, "symbol").to_frame(symbol).T.rename_axis("symbol")
    for column, wanted in (("group", group), ("status", status)):
        if wanted is not None:
            known = list(dict.fromkeys(table.frame[column]))
            if wanted not in known:
                raise BadInput(f"{option_prefix()}{column}: '{wanted}' is unknown; give one of {', '.join(known)}.")
            frame = frame[frame[column] == wanted]
    if frame.empty:
        prefix = option_prefix()
        raise BadInput(
            f"no parameter of group '{group}' has the status '{status}'; leave out {prefix}group or {prefix}status."
        )
    frame = frame.reset_index()[list(COLUMNS)].astype(dict.fromkeys(NUMERIC, float))
    return Frame(frame, table="parameters")


@lru_cache(maxsize=1)
def _joint(symbols: tuple[str, ...]) -> dict[str, set[str]]:
    """`joint_limits` of parameters that are symbols."""
    import sympy as sp

    return joint_limits(Model(Slots()).constants({name: sp.Symbol(name, positive=True) for name in symbols}))


def _agent_row(symbol: str, folder: Path | None) -> dict[str, object] | None:
    """Row of an agent's number, from its file; None if `symbol` is not AGENT.FIELD.

    A number that its file gives without a range may have any value that a drug can have (`limits`).
    """
    name, dot, field = symbol.partition(".")
    if not dot or not any(field in fields for fields in FIELDS.values()) or not has_agent(name, folder):
        return None
    if folder is not None and not (folder / f"{name}.toml").is_file():
        return _agent_row(symbol, None)
    return _row_of_file(symbol, folder) if folder is not None else _row_of_shipped(symbol)


@lru_cache(maxsize=256)
def _row_of_shipped(symbol: str) -> dict[str, object] | None:
    return _row_of_file(symbol, None)


def _row_of_file(symbol: str, folder: Path | None) -> dict[str, object] | None:
    name, _, field = symbol.partition(".")
    agent = load_agent(name, folder=folder)
    for own in agent.provenance:
        if own.field == field:
            spec = FIELDS[agent.kind][field]
            limit = limit_of(f"{agent.kind}.{field}")
            least = max(limit.low, TOO_SMALL if spec.positive else spec.least)
            return {
                "group": "agent",
                "meaning": f"{agent.label}: {spec.meaning}",
                "value": own.value,
                "unit": own.unit,
                "low": least if own.low is None else own.low,
                "high": min(limit.high, spec.most) if own.high is None else own.high,
                "prior": "fixed",
                "cv": 0.0,
                "cv_source": "",
                "distribution": "none",
                "status": own.status,
                "source": own.source.removeprefix(REPLACED),  # of a frozen agent, beside the table that replaced it
                "doi": own.doi,
                "note": "",
            }
    return None


@lru_cache(maxsize=1)
def _shipped() -> ParameterTable:
    sheet = _rows(SHIPPED, COLUMNS)
    rows = pd.DataFrame(sheet.cells, columns=sheet.columns)
    faults = []
    for line, row in enumerate(rows.to_dict("records"), start=2):
        for column, allowed in CHOICES.items():
            if row[column] not in allowed:
                faults.append(f"{SHIPPED.name}:{line}: {column} is '{row[column]}'; give one of {', '.join(allowed)}.")
        for column in NUMERIC:
            _number(row[column], f"{SHIPPED.name}:{line}: {column} of {row['symbol']}")
        check_unit(row["unit"])
    frame = rows.set_index("symbol").astype(dict.fromkeys(NUMERIC, float))
    for symbol, row in frame.iterrows():
        if not row["low"] <= row["value"] <= row["high"]:
            faults.append(f"{SHIPPED.name}: {symbol} = {row['value']:g} is outside {row['low']:g} to {row['high']:g}.")
    if not frame.index.is_unique:
        faults.append(f"{SHIPPED.name}: a symbol appears twice: {', '.join(frame.index[frame.index.duplicated()])}.")
    if faults:
        raise BadInput(*faults)
    return ParameterTable(frame)


def _rows(path: Path, needed: Collection[str]) -> Sheet:
    sheet = read_csv(str(path), read_content(path, what="CSV file"), needed, comments=True)
    if sheet.faults:
        raise BadInput(*sheet.faults)
    return sheet


def _number(text: str, where: str) -> float:
    value = finite(text)
    if value is None:
        raise BadInput(f"{where}: {no_number(text)}.")
    return value
