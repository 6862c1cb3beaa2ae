"""The shipped ensemble: parameter vectors that all agree with the published figures, correlations included.

It is drawn from the posterior of the fit ``ensemble``, over the ranges of what no human data inform. It ships as data
(``data/ensemble.csv``) and is made again by ``make refit``.
"""

from __future__ import annotations

from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from ranklsim.pkpd.agents import Agent, load_agent
from ranklsim.pkpd.parameters import ParameterTable, load_parameters
from ranklsim.pkpd.variants import variants

DATA = Path(__file__).parent / "data"


@lru_cache(maxsize=1)
def ensemble() -> pd.DataFrame:
    """The shipped ensemble: one row for each vector in random order, columns are symbols (``kT``, ``denosumab.CL``)."""
    return pd.read_csv(DATA / "ensemble.csv")


def fit_for(vectors: pd.DataFrame, parameters: ParameterTable, agents: list[Agent]) -> pd.DataFrame:
    """Vectors without the symbols that a user has set to own values, which a vector must not undo.

    Parameters
    ----------
    vectors : DataFrame
        Columns are symbols; made around the shipped values.
    parameters : ParameterTable
    agents : list of Agent
        All agents that will be given.

    Returns
    -------
    DataFrame
        Without the columns of symbols whose value in `parameters`, or in the file of an agent, is not the shipped one.
    """
    shipped, original = load_parameters(), cache(load_agent)
    own = [s for s, value in parameters.values.items() if s in vectors and value != shipped.row(s)["value"]]
    for agent in agents:
        for number in agent.provenance:
            symbol = f"{number.origin}.{number.field}"
            if symbol in vectors and number.value != original(number.origin).values[number.field]:
                own.append(symbol)
    return vectors.drop(columns=[symbol for symbol in dict.fromkeys(own) if symbol in vectors])


def holds_for(parameters: ParameterTable, agents: list[Agent]) -> bool:
    """Whether the whole ensemble holds for these parameters and agents.

    Parameters
    ----------
    parameters, agents
        As of `fit_for`.
    """
    return len(fit_for(ensemble(), parameters, agents).columns) == len(ensemble().columns)


def of_variants(parameters: ParameterTable, agents: list[Agent]) -> pd.DataFrame:
    """The structural variants as vectors.

    Parameters
    ----------
    parameters, agents
        As of `fit_for`.

    Returns
    -------
    DataFrame
        Index is the name of the variant, columns are symbols.
    """
    rows = pd.DataFrame({variant.name: variant.values for variant in variants()}).T
    typical = {symbol: parameters.row(symbol)["value"] for symbol in rows}
    return fit_for(rows.fillna(typical), parameters, agents).astype(np.float64)
