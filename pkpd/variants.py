"""Structural variants of the model, each with a fit of its own.

A variant answers one question of structure differently from the default (what stores the rebound, which form of RANKL
activates remodelling, what happens to bound ligand). All other values are fitted again around that answer, to the same
figures. The values ship as data (``data/variants.csv``) and are made again by ``make refit``. How much worse a variant
fits than the default decides whether it is still open: at equal priors, and with as many parameters as the default, the
odds against it are exp(rise / 2), where the rise is that of -2 ln of likelihood and prior [1]_.

References
----------
.. [1] Kass RE, Raftery AE. J Am Stat Assoc 1995;90:773-95. doi:10.1080/01621459.1995.10476572
"""

from __future__ import annotations

import math
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
REFUTED = 2 * math.log(100)
"""Rise of the objective above which a structure counts as refuted: odds of 1 to 100 against the default."""


@dataclass(frozen=True)
class Variant:
    """A structure that was fitted in the place of the default.

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
    rise : float
        Of the objective of its fit over that of the default structure, to the same figures and mice.
    """

    name: str
    label: str
    question: str
    values: dict[str, float]
    rise: float

    @property
    def refuted(self) -> bool:
        """Whether the data speak against it by odds of more than 100 to 1."""
        return self.rise > REFUTED


@lru_cache(maxsize=1)
def variants() -> tuple[Variant, ...]:
    """The variants that ship, question by question."""
    told, _ = load_toml(DATA / "variants.toml")
    values, rise = pd.read_csv(DATA / "variants.csv", index_col="symbol"), fits().set_index("variant")["rise"]
    return tuple(
        Variant(row["name"], row["label"], row["question"], values[row["name"]].dropna().to_dict(), rise[row["name"]])
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
    """Quality of the fits: columns `variant`, `objective` (whitened squares and priors) and `rise` (`Variant.rise`).

    The rows ``default`` and ``women`` are the default structure, fitted to all data and to those of women.
    """
    return pd.read_csv(DATA / "variant_fits.csv")


@checked()
def variant_table() -> Frame:
    """Other structures of the model, and how much worse than the default each fits.

    Returns
    -------
    Frame
        One row for each variant: `name` (for the argument ``parameters``), `question`, `structure`, `rise` (of -2 ln
        of likelihood and prior over the default, each at its own best fit) and `refuted` (odds of more than 100 to 1
        against it).
    """
    rows = [(v.name, v.question, v.label, v.rise, v.refuted) for v in variants()]
    return Frame(rows, columns=["name", "question", "structure", "rise", "refuted"], table="variants_list")
