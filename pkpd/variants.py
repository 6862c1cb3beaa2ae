"""What the data cannot decide, as values: structural variants with a fit of their own each, and an ensemble of vectors.

A *variant* answers one question of structure otherwise than the default does (what stores the rebound, what activation
hears, what becomes of bound ligand); everything else is fitted again around that answer, to the same figures. The
*ensemble* is drawn from the posterior of the spec ``ensemble``: vectors that agree with the figures, over the ranges of
what no human data inform. Both ship as data (``data/variants.csv``, ``data/ensemble.csv``) and are made again by
``make refit``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd

from ranklsim.pkpd.agents import Agent, load_agent
from ranklsim.pkpd.errors import BadInput, near
from ranklsim.pkpd.parameters import ParameterTable, load_parameters
from ranklsim.pkpd.reading import load_toml

DATA = Path(__file__).parent / "data"


@dataclass(frozen=True)
class Variant:
    """A structure that the data cannot tell from the default.

    Attributes
    ----------
    name : str
        As ``--parameters`` takes it.
    label : str
        In words.
    question : str
        What it answers otherwise than the default.
    values : dict
        Symbol to value, where it differs from the shipped table.
    """

    name: str
    label: str
    question: str
    values: dict[str, float]

    @property
    def parameters(self) -> ParameterTable:
        """The shipped table under this variant."""
        return load_parameters().replace(self.values, self.name)


@lru_cache(maxsize=1)
def variants() -> tuple[Variant, ...]:
    """The variants that ship, question by question."""
    told, _ = load_toml(DATA / "variants.toml")
    values = pd.read_csv(DATA / "variants.csv", index_col="symbol")
    return tuple(
        Variant(row["name"], row["label"], row["question"], values[row["name"]].dropna().to_dict())
        for row in cast("list[dict[str, str]]", told["variant"])
    )


def variant(name: str) -> Variant:
    """The variant of this name.

    Raises
    ------
    BadInput
        If there is none.
    """
    for one in variants():
        if one.name == name:
            return one
    names = [one.name for one in variants()]
    hint = near(name, names, also=f"`ranklsim variants` lists all {len(names)}, and a file is named with its .csv.")
    raise BadInput(f"parameters: '{name}' is neither a file nor a structural variant; {hint}")


def fits() -> pd.DataFrame:
    """How well each variant fits: columns `variant`, `objective` (whitened squares and priors), `figures`."""
    return pd.read_csv(DATA / "variant_fits.csv")


@lru_cache(maxsize=1)
def ensemble() -> pd.DataFrame:
    """The shipped ensemble: a row a vector in no particular order, columns are symbols (``kT``, ``denosumab.CL``)."""
    return pd.read_csv(DATA / "ensemble.csv")


def fit_for(vectors: pd.DataFrame, parameters: ParameterTable, agents: list[Agent]) -> pd.DataFrame:
    """Vectors without what a user has set to a value of their own, which a vector must not undo.

    Parameters
    ----------
    vectors : DataFrame
        Columns are symbols; made around the shipped values.
    parameters : ParameterTable
    agents : list of Agent
        All that will be given.

    Returns
    -------
    DataFrame
        Without the columns of symbols whose value in `parameters`, or in the file of an agent, is not the shipped one.
    """
    shipped = load_parameters()
    own = [symbol for symbol, value in parameters.values.items() if value != shipped.row(symbol)["value"]]
    for agent in agents:
        for number in agent.provenance:
            symbol = f"{number.origin}.{number.field}"
            if symbol in vectors and number.value != load_agent(number.origin).values[number.field]:
                own.append(symbol)
    return vectors.drop(columns=[symbol for symbol in dict.fromkeys(own) if symbol in vectors])


def as_vectors(parameters: ParameterTable, agents: list[Agent]) -> pd.DataFrame:
    """The variants as vectors for `parameters` and `agents`: index is the name, columns are symbols."""
    rows = pd.DataFrame({variant.name: variant.values for variant in variants()}).T
    typical = {symbol: parameters.row(symbol)["value"] for symbol in rows}
    return fit_for(rows.fillna(typical), parameters, agents).astype(np.float64)
