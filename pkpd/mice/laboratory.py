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
from numpy.typing import ArrayLike

from ranklsim.pkpd.agents import Agent
from ranklsim.pkpd.biology.ligand import SOURCES
from ranklsim.pkpd.biology.skeleton import volume
from ranklsim.pkpd.biology.values import Values
from ranklsim.pkpd.dosing import parse_regimen
from ranklsim.pkpd.mice.steady import Steady, courses, steady_state
from ranklsim.pkpd.parameters import ParameterTable
from ranklsim.pkpd.typical import simulate_typical

SHIPPED = Path(__file__).parents[1] / "data" / "genetics.toml"
WOMEN = "women"
LAYERS = ("osteoid", "young", "middle", "mature")


@lru_cache(maxsize=1)
def published() -> dict[str, Any]:
    """Contents of ``data/genetics.toml``."""
    with SHIPPED.open("rb") as file:
        return tomllib.load(file)


class Laboratory:
    """Runs genotypes under one set of parameters and remembers what it has run.

    Parameters
    ----------
    table : ParameterTable
        The women's parameters.
    """

    def __init__(self, table: ParameterTable) -> None:
        self.table = table
        mouse = published()["mouse"]
        self.mouse = {symbol: table[symbol] * mouse["times"] for symbol in mouse["faster"]} | {
            symbol: table[symbol] / mouse["times"] for symbol in mouse["shorter"]
        }
        self._known: dict[Any, Any] = {}
        self._variants: dict[tuple[tuple[str, float], ...], Laboratory] = {}

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
            self._variants[key] = Laboratory(self.table.replace(values, "genetics.toml"))
        return self._variants[key]

    def symbols(self, genotype: str, intervention: str | None = None) -> dict[str, float]:
        """Parameter symbols that differ from the women's: time scale, genotype, then intervention.

        Parameters
        ----------
        genotype : str
            Its name in ``genetics.toml``.
        intervention : str, optional
            What is done to the adult; its name there.
        """
        values = {} if genotype == WOMEN else dict(self.mouse)
        change: dict[str, Any] = published()["intervention"][intervention] if intervention else {}
        for part in (published()["genotype"][genotype], change):
            values |= _spread(part.get("set", {}))
            for symbol, times in _spread(part.get("times", {})).items():
                values[symbol] = values.get(symbol, self.table[symbol]) * times
            if "serum_sRANKL" in part:  # over normal: add to what the normal surface sheds
                shed = self.table["fsh"] * self.table["kdeg"] * self.table["M0"]
                values["sRANKL_given"] = (part["serum_sRANKL"] - 1) * shed
        return values

    def before(self, intervention: str) -> dict[str, float]:
        """Symbols that held until the intervention began.

        Parameters
        ----------
        intervention : str
            Its name in ``genetics.toml``.
        """
        return dict(published()["intervention"][intervention].get("before", {}))

    def lifelong(self, values: Mapping[str, float]) -> Steady:
        """Steady state of a patient with these symbols.

        Parameters
        ----------
        values : mapping of str to float
            Symbols that differ from the women's table.
        """
        key = ("lifelong", *sorted(values.items()))
        if key not in self._known:
            self._known[key] = steady_state(self.table, pd.DataFrame([values], dtype=float))
        return self._known[key]

    def rest(self, genotype: str) -> Readings:
        """Values of a lifelong steady state.

        Parameters
        ----------
        genotype : str
            Its name in ``genetics.toml``.
        """
        steady = self.lifelong(self.symbols(genotype))
        return Readings(self.table, self.symbols(genotype), Values(steady.states), steady)

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
        values: Mapping[str, float],
        days: float,
        doses: tuple[tuple[Agent, float, float], ...] = (),
    ) -> Readings:
        """Values after `days` with some symbols, from the state of the adult before the intervention."""
        x = courses(
            self.table,
            pd.DataFrame([values], index=[0], dtype=float),
            np.array([float(days)]),
            start=None if genotype == WOMEN else self._adult(genotype, intervention),
            agents=list({agent.name: agent for agent, *_ in doses}.values()),
            doses=[(day, agent.name, mg) for agent, day, mg in doses],
        )
        return Readings(self.table, values, Values({name: v[:, -1] for name, v in x.items()}))

    def begin(self, genotype: str, intervention: str) -> Readings:
        """Values of a genotype other than that of women at the start of the intervention.

        Parameters
        ----------
        genotype, intervention
            As of `symbols`.
        """
        values = self.symbols(genotype) | self.before(intervention)
        return Readings(self.table, values, Values(self._adult(genotype, intervention)))

    def _adult(self, genotype: str, intervention: str | None) -> dict[str, Any]:
        """States of the genotype when the intervention begins: lifelong, but cortical volume at 1.

        Cortical bone would take longer than a life to reach a fixed volume, if it has one.
        """
        held = self.before(intervention) if intervention else {}
        states = dict(self.lifelong(self.symbols(genotype) | held).states)
        for b in ("C", "R"):
            size = volume(Values(states), b)
            states |= {f"{layer}_{b}": states[f"{layer}_{b}"] / size for layer in LAYERS}
        return states

    def treated(
        self, regimen: str, months: tuple[float, ...], values: Mapping[str, float] | None = None
    ) -> pd.DataFrame:
        """The typical woman under a regimen (text as for a trial; empty for none).

        Parameters
        ----------
        regimen : str
            As in a trial file; empty for no treatment.
        months : tuple of float
            When the woman is read.
        values : mapping of str to float, optional
            Parameters in which she differs from the table.
        """
        key = ("treated", regimen, months, tuple(sorted((values or {}).items())))
        if key not in self._known:
            plan = parse_regimen(regimen) if regimen else []
            self._known[key] = simulate_typical(plan, months=months, parameters=self.table, covariates=values)
        return self._known[key]


@dataclass(frozen=True)
class Readings:
    """Quantities that follow from the states of one patient."""

    table: ParameterTable
    values: Mapping[str, float]
    x: Values
    steady: Steady | None = None

    def __getitem__(self, of: str) -> float:
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
            return number(self.steady.volume[of[2:]] if self.steady else volume(x, of[2:]))
        if of == "resorption":
            return number(x.OC_T * volume(x, "T"))
        if of == "eroded_T":
            return number(x.matrix1_T + x.matrix2_T + x.OB_T) / 3
        if of == "mRANKL":
            return number(sum(x[f"mRANKL_{source}"] for source in SOURCES))
        if of == "OPG":
            return self.values.get("OPG_serum", 1.0)
        if of == "TRAP5B":
            return self.table["t0"] + (1 - self.table["t0"]) * number(x.TRAP)
        return number(x[of])


def _spread(symbols: Mapping[str, float]) -> dict[str, float]:
    """Symbols with ``SOURCE`` written out for every source."""
    return {
        name: float(value)
        for symbol, value in symbols.items()
        for name in ([symbol.replace("SOURCE", source) for source in SOURCES] if "SOURCE" in symbol else [symbol])
    }


def number(value: ArrayLike) -> float:
    """The one value of an array of one patient.

    Parameters
    ----------
    value : array_like, shape (1,)
    """
    return float(np.asarray(value).ravel()[0])
