"""Criteria on a patient's baseline, as a protocol states them: eligibility ranges and strata.

``age = "60..85 yr"``, ``eGFR = ">= 35 mL/min/1.73m2"`` and ``T_LS = "-4.0..-2.5"`` are ranges, both ends included;
``"age >= 75 yr"`` and ``"prevalent_fracture"`` are strata. Which covariates there are, in which unit, and what is
possible at all, stands in ``data/covariates.csv``.
"""

from __future__ import annotations

import csv
import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from ranklsim.pkpd.errors import BadInput, near
from ranklsim.pkpd.units import parse_quantity

Range = tuple[float | None, float | None]

LOWEST = {"T_lowest": ("T_LS", "T_TH")}  # covariates that are the lowest of others

_NUMBER = re.compile(r"\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\s*")
_RANGE = re.compile(r"(.*[^.\s])\s*\.\.\s*([^.].*|\.\d.*)")
_BOUND = re.compile(r"\s*(>=|<=|>|<|≥|≤|=+)\s*(.*)")
_STRATUM = re.compile(r"\s*([A-Za-z][A-Za-z0-9_]*)\s*(?:(>=|<=|>|<)\s*(.*?))?\s*")
_COMPARE = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}


@dataclass(frozen=True)
class Covariate:
    """A baseline value that criteria may name; `low` to `high` is what is possible, in `unit`."""

    name: str
    unit: str
    low: float
    high: float
    meaning: str

    @property
    def yes_no(self) -> bool:
        """Whether the covariate is yes (1) or no (0)."""
        return self.unit == "1" and (self.low, self.high) == (0, 1)

    def say(self, *values: float) -> str:
        """Values with the unit, such as '18..110 yr'."""
        text = "..".join(f"{value:g}" for value in values)
        return text if self.unit == "1" else f"{text} {self.unit}"


@dataclass(frozen=True)
class Stratum:
    """A yes/no split of the patients at randomisation."""

    text: str
    covariate: str
    sign: str
    cut: float

    def of(self, covariates: pd.DataFrame) -> np.ndarray:
        """Which patients are in the stratum.

        Parameters
        ----------
        covariates : DataFrame
            One row a patient, columns as in ``data/covariates.csv``.

        Returns
        -------
        ndarray of bool, shape (n_patients,)
        """
        return np.asarray(_COMPARE[self.sign](values_of(self.covariate, covariates), self.cut))


@lru_cache(maxsize=1)
def covariates() -> dict[str, Covariate]:
    """Every covariate that a criterion may name."""
    with open(Path(__file__).parents[1] / "data" / "covariates.csv", encoding="utf-8", newline="") as file:
        return {
            row["covariate"]: Covariate(
                row["covariate"], row["unit"], float(row["low"]), float(row["high"]), row["meaning"]
            )
            for row in csv.DictReader(file)
        }


def parts(name: str) -> tuple[str, ...]:
    """Covariates of which one is made: itself, or those that it is the lowest of.

    Parameters
    ----------
    name : str
        A covariate, such as T_LS, or T_lowest.
    """
    return LOWEST.get(name, (name,))


def values_of(name: str, frame: pd.DataFrame) -> np.ndarray:
    """One covariate of every patient, also where it is derived from others.

    Parameters
    ----------
    name : str
        A covariate of ``data/covariates.csv``.
    frame : DataFrame
        One row a patient.

    Returns
    -------
    ndarray, shape (n_patients,)
    """
    if name in LOWEST and name not in frame:
        return np.minimum.reduce([frame[part].to_numpy(dtype=float) for part in LOWEST[name]])
    return frame[name].to_numpy(dtype=float)


def admitted(eligible: Mapping[str, Range], frame: pd.DataFrame) -> np.ndarray:
    """Which patients fulfil every criterion.

    Parameters
    ----------
    eligible : mapping
        Covariate to closed range in its unit, None for an open end.
    frame : DataFrame
        One row a patient.

    Returns
    -------
    ndarray of bool, shape (n_patients,)
    """
    admits = np.ones(len(frame), dtype=bool)
    for name, (low, high) in eligible.items():
        values = values_of(name, frame)
        if low is not None:
            admits &= values >= low
        if high is not None:
            admits &= values <= high
    return admits


def _known_covariate(name: str) -> Covariate:
    """The covariate of that name; BadInput, without a place, if there is none."""
    if name not in covariates():
        raise BadInput(f"unknown covariate '{name}'; {near(name, covariates())}")
    return covariates()[name]


def parse_range(name: str, text: str, *, where: str) -> Range:
    """Read an eligibility criterion.

    Parameters
    ----------
    name : str
        A covariate.
    text : str
        ``"60..85 yr"``, ``">= 35 mL/min/1.73m2"``, ``"<= 80 yr"``; ``"yes"`` or ``"no"`` for a fact.
    where : str
        File and line, to begin a message with.

    Returns
    -------
    low, high : float or None
        In the covariate's unit; None is an open end.

    Raises
    ------
    BadInput
        For an unknown covariate, text of another form, a wrong unit, or a value that is not possible.
    """
    try:
        covariate = _known_covariate(name)
    except BadInput as fault:
        raise BadInput(*(f"{where}: {message}" for message in fault.messages)) from None
    here = f"{where}: eligible {name}"
    if covariate.yes_no:
        if text.strip() not in ("yes", "no"):
            raise BadInput(f'{here} is "{text}"; write "yes" or "no".')
        return (1.0, 1.0) if text.strip() == "yes" else (0.0, 0.0)
    form = f'write it like "{covariate.say(covariate.low, covariate.high)}" or ">= {covariate.say(covariate.low)}"'
    if bound := _BOUND.fullmatch(text):
        sign, quantity = bound[1], bound[2]
        if sign not in (">=", "<=", "≥", "≤"):
            raise BadInput(f'{here} is "{text}", but the ends of a range are included; write ">=" or "<=".')
        value = _possible(covariate, quantity, here)
        return (value, None) if sign in (">=", "≥") else (None, value)
    if not (ends := _RANGE.fullmatch(text)):
        raise BadInput(f'{here} is "{text}", which is not a range; {form}.')
    high = _possible(covariate, ends[2], here)
    unit = ends[2][number.end() :] if (number := _NUMBER.match(ends[2])) else ""
    low = _possible(covariate, f"{ends[1]} {unit}".rstrip() if _NUMBER.fullmatch(ends[1]) else ends[1], here)
    if low > high:
        raise BadInput(f'{here} is "{text}", which ends below its start; write "{covariate.say(high, low)}".')
    return low, high


def parse_stratum(text: str, *, where: str) -> Stratum:
    """Read a stratum.

    Parameters
    ----------
    text : str
        ``"age >= 75 yr"``, or the name of a fact such as ``"prevalent_fracture"``.
    where : str
        File and line, to begin a message with; empty for none.

    Returns
    -------
    Stratum

    Raises
    ------
    BadInput
        For an unknown covariate, text of another form, a wrong unit, or a cut that is not possible.
    """
    here = f"{where}: stratum" if where else "stratum"
    found = _STRATUM.fullmatch(text)
    if not found:
        raise BadInput(f'{here} "{text}" is not a criterion; write it like "age >= 75 yr".')
    name, sign, cut = found[1], found[2], found[3]
    try:
        covariate = _known_covariate(name)
    except BadInput as fault:
        raise BadInput(*(f'{here} "{text}": {message}' for message in fault.messages)) from None
    if sign is None:
        if not covariate.yes_no:
            middle = round((covariate.low + covariate.high) / 2)
            raise BadInput(f'{here} "{text}" has no cut; write it like "{name} >= {covariate.say(middle)}".')
        return Stratum(text, name, ">=", 1.0)
    return Stratum(text, name, sign, _possible(covariate, cut, f"{here} {name}"))


def _possible(covariate: Covariate, text: str, where: str) -> float:
    """A quantity of the covariate, refused where nobody has such a value."""
    value = parse_quantity(text, covariate.unit, where=where)
    if not covariate.low <= value <= covariate.high:
        raise BadInput(
            f"{where} = {covariate.say(value)} is outside what is possible; "
            f"give a value within {covariate.say(covariate.low, covariate.high)}."
        )
    return value
