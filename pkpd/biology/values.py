"""Named values in the text of the equations: ``name`` for a single value, ``name_1`` for the first of several.

The same text is run on floats (reference), on arrays over patients (start values, outputs) and on symbols (Jacobian and
compiled kernel), so it uses arithmetic and powers only, and never asks the value of a state with ``if``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


class Slots(NamedTuple):
    """How many different agents of each kind one patient may meet; the model has that many sets of drug states."""

    binders: int = 0
    bisphosphonates: int = 0
    anabolics: int = 0

    def __str__(self) -> str:
        return f"{self.binders}-{self.bisphosphonates}-{self.anabolics}"


class Values(dict[str, Any]):
    """Named values, read as ``x.drug_1`` or ``x["drug_1"]``."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


def at_least(value: Any, floor: float) -> Any:
    """`value`, but not below `floor`; numbers, arrays or symbols."""
    if hasattr(value, "free_symbols"):
        from sympy import Max

        return Max(value, floor)
    return np.maximum(value, floor)


def each(values: Values, name: str, count: int) -> list[Any]:
    """The values ``name_1`` to ``name_count``.

    Parameters
    ----------
    values : Values
        Holds the names.
    name : str
        Name without its number.
    count : int
        How many there are.
    """
    return [values[f"{name}_{k}"] for k in range(1, count + 1)]
