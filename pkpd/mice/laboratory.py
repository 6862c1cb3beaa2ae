"""Genotypes and interventions in the model: lifelong steady states, and experiments in adults.

``data/genetics.toml`` gives the settings of each genotype and intervention, and the time scale of the mouse. A germline
genotype starts from its own lifelong steady state (`steady`). An intervention is integrated from that state, next to
the same genotype without it. The genotype ``women`` has the human time scale and starts as the typical woman.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ranklsim.pkpd.agents import Agent, load_agent
from ranklsim.pkpd.biology.ligand import SOURCES
from ranklsim.pkpd.biology.skeleton import volume
from ranklsim.pkpd.biology.values import Values
from ranklsim.pkpd.dosing import parse_regimen
from ranklsim.pkpd.mice.steady import Steady, courses, steady_state
from ranklsim.pkpd.parameters import ParameterTable
from ranklsim.pkpd.typical import Case, simulate_cases

Array = NDArray[np.float64]

SHIPPED = Path(__file__).parents[1] / "data" / "genetics.toml"
WOMEN = "women"
TYPICAL_RTOL = 1e-6  # of courses of the typical woman
LAYERS = ("osteoid", "young", "middle", "mature")


@lru_cache(maxsize=1)
def published() -> dict[str, Any]:
    """Contents of ``data/genetics.toml``."""
    with SHIPPED.open("rb") as file:
        return tomllib.load(file)


class Laboratory:
    """Runs genotypes under some vectors of parameters at once, and remembers what it has run.

    Parameters
    ----------
    table : ParameterTable
        The women's parameters.
    vectors : DataFrame, n rows, optional
        Columns are symbols in which each vector differs from the table; the table alone by default. What cannot be
        integrated for the table is an error, and is NaN for one of the vectors.
    rtol : float
        As of `simulate`.
    """

    def __init__(self, table: ParameterTable, vectors: pd.DataFrame | None = None, *, rtol: float = 1e-7) -> None:
        self.table, self.rtol, self.alone = table, rtol, vectors is None
        self.vectors = pd.DataFrame(index=[0]) if vectors is None else vectors.reset_index(drop=True)
        mouse = published()["mouse"]
        self.mouse = {symbol: self[symbol] * mouse["times"] for symbol in mouse["faster"]} | {
            symbol: self[symbol] / mouse["times"] for symbol in mouse["shorter"]
        }
        self.mouse |= mouse["set"]
        self._known: dict[Any, Any] = {}
        self._variants: dict[tuple[tuple[str, float], ...], Laboratory] = {}

    def __getitem__(self, symbol: str) -> Any:
        """The women's value of a symbol: a number, or an array over the vectors."""
        return self.vectors[symbol].to_numpy(float) if symbol in self.vectors else self.table[symbol]

    def with_variant(self, values: Mapping[str, float]) -> Laboratory:
        """The same laboratory with some of the women's parameters changed.

        Parameters
        ----------
        values : mapping of str to float
            Symbol to value, in the unit of the table.
        """
        if not values:
            return self
        key = tuple(sorted(values.items()))
        if key not in self._variants:
            kept = self.vectors.drop(columns=[symbol for symbol in values if symbol in self.vectors])
            table = self.table.replace(values, "genetics.toml")
            self._variants[key] = Laboratory(table, None if self.alone else kept, rtol=self.rtol)
        return self._variants[key]

    def symbols(self, genotype: str, intervention: str | None = None) -> dict[str, Any]:
        """Parameter symbols that differ from the women's: time scale, genotype, then intervention.

        Parameters
        ----------
        genotype : str
            Its name in ``genetics.toml``.
        intervention : str, optional
            What is done to the adult; its name there.
        """
        values: dict[str, Any] = {} if genotype == WOMEN else dict(self.mouse)
        change: dict[str, Any] = published()["intervention"][intervention] if intervention else {}
        for part in (published()["genotype"][genotype], change):
            values |= _spread(part.get("set", {}))
            for symbol, times in part.get("times", {}).items():  # a number, or the symbol of one
                fold = self[times] if isinstance(times, str) else times
                if needed := part.get("needs", {}).get(symbol):  # the rise is in proportion to another
                    fold = 1 + (fold - 1) * values.get(needed, self[needed])
                values[symbol] = values.get(symbol, self[symbol]) * fold
            if "serum_sRANKL" in part:  # over normal: add to what the normal surface sheds
                shed = self["fsh"] * self["kdeg"] * self["M0"]
                values["sRANKL_given"] = part.get("dose", 1.0) * (self[part["serum_sRANKL"]] - 1) * shed
        return values

    def before(self, intervention: str) -> dict[str, float]:
        """Symbols that held until the intervention began.

        Parameters
        ----------
        intervention : str
            Its name in ``genetics.toml``.
        """
        return dict(published()["intervention"][intervention].get("before", {}))

    def persons(self, values: Mapping[str, Any]) -> pd.DataFrame:
        """One patient of each vector, with these symbols.

        Parameters
        ----------
        values : mapping of str to float or array
            What differs from the women.
        """
        return pd.DataFrame({**self.vectors, **values}, index=self.vectors.index).astype(float)  # `assign` is slow

    def lifelong(self, genotype: str, held: Mapping[str, float] | None = None) -> Steady:
        """Steady state of a genotype.

        Parameters
        ----------
        genotype : str
            Its name in ``genetics.toml``.
        held : mapping of str to float, optional
            Symbols that have other values for all its life.
        """
        key = ("lifelong", genotype, *sorted((held or {}).items()))
        if key not in self._known:
            people = self.persons(self.symbols(genotype) | dict(held or {}))
            self._known[key] = steady_state(self.table, people, alone=self.alone)
        return self._known[key]

    def rest(self, genotype: str) -> Readings:
        """Values of a lifelong steady state.

        Parameters
        ----------
        genotype : str
            Its name in ``genetics.toml``.
        """
        steady = self.lifelong(genotype)
        return Readings(self, self.symbols(genotype), Values(steady.states), steady)

    def after(
        self, genotype: str, intervention: str | None, days: float, doses: tuple[tuple[Agent, float, float], ...] = ()
    ) -> Readings:
        """Values of `genotype` after `days` of an intervention (or of doses: agent, day, mg) in the adult.

        Parameters
        ----------
        genotype, intervention
            As of `symbols`.
        days : float
            Time since the intervention or the first dose.
        doses : tuple of (Agent, float, float)
            Agent, day and mg of each dose.
        """
        given = tuple((agent.name, tuple(sorted(agent.values.items())), day, mg) for agent, day, mg in doses)
        key = ("after", genotype, intervention, days, given)
        if key not in self._known:
            values = self.symbols(genotype) | (self.symbols(genotype, intervention) if intervention else {})
            self._known[key] = self._course(genotype, intervention, values, days, doses)
        return self._known[key]

    def untouched(self, genotype: str, intervention: str, days: float) -> Readings:
        """Values of `genotype` after `days` without the intervention, from the state before it.

        Parameters
        ----------
        genotype, intervention, days
            As of `after`.
        """
        held = self.before(intervention)
        key = ("untouched", genotype, intervention if held else None, days)
        if key not in self._known:
            self._known[key] = self._course(genotype, intervention, self.symbols(genotype) | held, days)
        return self._known[key]

    def _course(
        self,
        genotype: str,
        intervention: str | None,
        values: Mapping[str, Any],
        days: float,
        doses: tuple[tuple[Agent, float, float], ...] = (),
    ) -> Readings:
        """Values after `days` with some symbols, from the state of the adult before the intervention."""
        people = self.persons(values)
        x = courses(
            self.table,
            people,
            np.array([float(days)]),
            start=None if genotype == WOMEN else self._adult(genotype, intervention),
            agents=list({agent.name: agent for agent, *_ in doses}.values()),
            doses=[(day, agent.name, mg) for agent, day, mg in doses],
            rtol=self.rtol,
            alone=self.alone,
        )
        return Readings(self, values, Values({name: v[:, -1] for name, v in x.items()}))

    def begin(self, genotype: str, intervention: str) -> Readings:
        """Values of a genotype other than that of women at the start of the intervention.

        Parameters
        ----------
        genotype, intervention
            As of `symbols`.
        """
        values = self.symbols(genotype) | self.before(intervention)
        return Readings(self, values, Values(self._adult(genotype, intervention)))

    def _adult(self, genotype: str, intervention: str | None) -> dict[str, Any]:
        """States of the genotype when the intervention begins: lifelong, but cortical volume at 1.

        Cortical bone would take longer than a life to reach a fixed volume, if it has one.
        """
        held = self.before(intervention) if intervention else {}
        states = dict(self.lifelong(genotype, held).states)
        for b in ("C", "R"):
            size = volume(Values(states), b)
            states |= {f"{layer}_{b}": states[f"{layer}_{b}"] / size for layer in LAYERS}
        return states

    def treated(
        self, regimen: str, months: tuple[float, ...], by: str | None = None, values: Mapping[str, float] | None = None
    ) -> dict[str, Array]:
        """The typical woman of each vector under a regimen (text as for a trial; empty for none).

        Parameters
        ----------
        regimen : str
            As in a trial file; empty for no treatment.
        months : tuple of float
            When the woman is read.
        by : str, optional
            What happened to her on day 0; its name in ``genetics.toml``.
        values : mapping of str to float, optional
            Parameters in which she differs.

        Returns
        -------
        dict of str to ndarray, shape (n, len(months))
            As the columns of `typical.simulate_typical`.
        """
        key = ("treated", regimen, months, by, tuple(sorted((values or {}).items())))
        if key not in self._known:
            plan = parse_regimen(regimen) if regimen else []
            changed = (self.symbols(WOMEN, by) if by else {}) | dict(values or {})
            people = self.persons(changed)
            found = simulate_cases(
                [Case("", plan)],
                [load_agent(name) for name in dict.fromkeys(part.agent for part in plan)],
                months=months,
                parameters=self.table,
                vectors=people,
                rtol=max(self.rtol, TYPICAL_RTOL),
                refused=None if self.alone else lambda *_: None,
            )
            self._known[key] = {name: values[:, 0] for name, values in found.items()}
        return self._known[key]


@dataclass(frozen=True)
class Readings:
    """Quantities that follow from the states of one patient of each vector."""

    laboratory: Laboratory
    values: Mapping[str, Any]
    x: Values
    steady: Steady | None = None

    def __getitem__(self, of: str) -> Any:
        """Value of a reading.

        Parameters
        ----------
        of : str
            ``OC_T``, ``OC_C``, ``OB_T`` (over normal); ``V_T``, ``V_C`` (volume; NaN where a lifelong state has none);
            ``resorption`` (trabecular bone resorbed in a time), ``eroded_T`` (surface resorbed and not yet under
            formation: what stands in the steps of coupling, over normal), ``sRANKL``, ``mRANKL`` (nmol/L), ``OPG``
            (serum, over normal), ``TRAP5B`` (serum, over normal).
        """
        x = self.x
        if of.startswith("V_"):
            return self.steady.volume[of[2:]] if self.steady else volume(x, of[2:])
        if of == "resorption":
            return x.OC_T * volume(x, "T")
        if of == "eroded_T":
            return (x.matrix1_T + x.matrix2_T + x.OB_T) / 3
        if of == "mRANKL":
            return sum(x[f"mRANKL_{source}"] for source in SOURCES)
        if of == "OPG":
            return self.values.get("OPG_serum", 1.0)
        if of == "TRAP5B":
            return self.laboratory["t0"] + (1 - self.laboratory["t0"]) * x.TRAP
        return x[of]


def _spread(symbols: Mapping[str, float]) -> dict[str, float]:
    """Symbols with ``SOURCE`` written out for every source."""
    return {
        name: float(value)
        for symbol, value in symbols.items()
        for name in ([symbol.replace("SOURCE", source) for source in SOURCES] if "SOURCE" in symbol else [symbol])
    }
