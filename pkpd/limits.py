"""Limits of a living patient's states and outputs (``data/limits.csv``), and the sentence when one is left.

The limits lie far outside what patients have. They keep nonsense out of tables: parameters or doses that are plausible
one by one may make a patient together who could not live, and whose numbers would mean nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ranklsim.pkpd.biology.joint import MOLECULES, QUANTITIES
from ranklsim.pkpd.biology.values import Values

LIMITS = Path(__file__).parent / "data" / "limits.csv"
SLACK = 1e-3  # below a limit of 0, for errors of integration
MEASURED_AS = {"calcium": ("CA", "CA0")}
"""States that are relative to the patient's start: the quantity that has the limits, and the parameter of the start."""

Array = NDArray[np.float64]


class Limit(NamedTuple):
    """Lowest and highest value of a quantity."""

    meaning: str
    unit: str
    low: float
    high: float


@lru_cache(maxsize=1)
def limits() -> dict[str, Limit]:
    """Quantity (a state, an output, or what their names begin with up to ``_``) to its limits."""
    rows = pd.read_csv(LIMITS).to_dict("records")
    return {row["quantity"]: Limit(row["meaning"], row["unit"], row["low"], row["high"]) for row in rows}


def limit_of(name: str) -> Limit:
    """Limits of a state or output; endless where the table has none."""
    known, quantity = limits(), MEASURED_AS.get(name, (name,))[0]
    return known.get(quantity) or known.get("".join(quantity.partition("_")[:2])) or Limit(name, "", -np.inf, np.inf)


def of_states(states: Sequence[str], p: Values, n: int) -> tuple[Array, Array]:
    """Lowest and highest value of each state of `n` patients, each of shape (n, n_states), in the states' own units."""
    low, high = np.empty((n, len(states))), np.empty((n, len(states)))
    for s, name in enumerate(states):
        limit, scale = limit_of(name), _scale(name, p)
        low[:, s] = (limit.low or -SLACK) / scale
        high[:, s] = limit.high / scale
    return low, high


def _scale(state: str, p: Values) -> float | Array:
    return p[MEASURED_AS[state][1]] if state in MEASURED_AS else 1.0


def _place(name: str) -> str:
    places = {"T": " of trabecular bone", "C": " of cortical bone", "R": " of the radius"}
    return places.get(name.rpartition("_")[2], "")


def breach(name: str, value: float, day: float, p: Values | None = None) -> str:
    """What to say of an output, or a state of the patient with constants `p`, outside its limits on a day."""
    limit, scale = limit_of(name), 1.0 if p is None else float(_scale(name, p))
    unit = f" {limit.unit}" if limit.unit else ""
    place = _place(name)
    if not np.isfinite(value):
        return f"{limit.meaning}{place} is not a number on day {day:.1f}"
    return (
        f"{limit.meaning}{place} reached {value * scale:.3g}{unit} on day {day:.1f}, outside the {limit.low:g} to "
        f"{limit.high:g}{unit} that are taken as possible"
    )


def implausible(constants: Values, n: int, *, molecules: bool = False) -> NDArray[np.object_]:
    """Why the numbers of each of `n` patients cannot belong together, as `joint` says; "" where they can.

    Parameters
    ----------
    constants : Values
        From `Model.constants`; numbers or arrays of shape (n,).
    n : int
        Number of patients.
    molecules : bool
        Whether the share of sRANKL has to be one that molecules can have (`joint.MOLECULES`).
    """
    held = QUANTITIES | (MOLECULES if molecules else {})
    found = np.full(n, "", dtype=object)
    with np.errstate(all="ignore"):  # what overflows is outside
        for name, formula in reversed(held.items()):
            limit, values = limit_of(name), np.broadcast_to(np.asarray(formula(constants), dtype=float), n)
            for i in np.flatnonzero(~((values >= limit.low) & (values <= limit.high))):
                found[i] = f"{limit.meaning}{_place(name)} would be {values[i]:.3g} {limit.unit}, not {_bounds(limit)}"
    return found


def _bounds(limit: Limit) -> str:
    if np.isinf(limit.high):
        return f"at least {limit.low:g}"
    return f"{limit.low:g} to {limit.high:g}"


def joint_limits(constants: Values) -> dict[str, set[str]]:
    """Limits of what several parameters are together, in words, to the symbols in their formulas.

    Parameters
    ----------
    constants : Values
        From `Model.constants` of SymPy symbols.
    """
    found: dict[str, set[str]] = {}
    for name, formula in QUANTITIES.items():
        limit = limit_of(name)
        text = f"{limit.meaning}: {_bounds(limit)} {limit.unit}"
        found.setdefault(text, set()).update(symbol.name for symbol in formula(constants).free_symbols)
    return found


def first_breach(name: str, values: Array) -> tuple[int, int] | None:
    """Patient and time at which values (n, n_times) of an output first leave its limits or are no number; or None."""
    limit = limit_of(name)
    if not values.size:
        return None
    lowest = limit.low or -SLACK
    if values.min() >= lowest and values.max() <= min(limit.high, sys.float_info.max):  # false of what is no number
        return None
    wrong = ~(np.isfinite(values) & (values >= lowest) & (values <= limit.high))
    i, j = np.argwhere(wrong)[0]
    return int(i), int(j)
