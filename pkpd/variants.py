"""Structural variants of the model, each with a fit of its own.

A variant answers one question of structure differently from the default (what stores the rebound, which form of RANKL
activates remodelling, what happens to bound ligand). All other values are fitted again around that answer, to the same
figures. The values ship as data (``data/variants.csv``) and are made again by ``make refit``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import cast

import pandas as pd

from ranklsim.pkpd.arguments import checked
from ranklsim.pkpd.errors import BadInput, near
from ranklsim.pkpd.reading import load_toml
from ranklsim.pkpd.results import Frame

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
    """The variant of a name.

    Parameters
    ----------
    name : str

    Raises
    ------
    BadInput
        If there is none; names the closest one that exists.
    """
    for one in variants():
        if one.name == name:
            return one
    names = [one.name for one in variants()]
    hint = near(name, names, also=f"`ranklsim variants` lists all {len(names)}, and a file is named with its .csv.")
    raise BadInput(f"parameters: '{name}' is neither a file nor a structural variant; {hint}")


def fits() -> pd.DataFrame:
    """Quality of the fit of each variant: columns `variant`, `objective` (whitened squares and priors), `figures`."""
    return pd.read_csv(DATA / "variant_fits.csv")


@checked()
def variant_table() -> Frame:
    """The structural variants that published figures cannot distinguish from the default.

    Returns
    -------
    Frame
        One row for each variant: `name` (for the argument ``parameters``), `question`, `structure`, `misfit` (the
        objective of its own fit to the same figures).
    """
    misfit = fits().set_index("variant")["objective"]
    rows = [(v.name, v.question, v.label, float(misfit[v.name])) for v in variants()]
    return Frame(rows, columns=["name", "question", "structure", "misfit"], table="variants_list")
