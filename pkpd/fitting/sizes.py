"""Published sizes in mice, and in women after menopause, as part of what a fit compares.

The rows of ``data/genetics.toml`` that hold ``likely`` say which. A vector of parameters predicts them as it predicts
the trials (`mice.genetics`). A mouse is no woman: the variance of each size in mice is that of the experiment plus that
of a discrepancy, whose SD over normal is the parameter `transfer`, as of a model that is not the truth [1]_. It is
estimated from how well all of them agree, so that mice bind women as far as they deserve.

References
----------
.. [1] Kennedy MC, O'Hagan A. J R Stat Soc B 2001;63:425-64. doi:10.1111/1467-9868.00294
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ranklsim.pkpd.evidence.errors import RECALLED
from ranklsim.pkpd.mice.genetics import value_of
from ranklsim.pkpd.mice.laboratory import WOMEN, Laboratory, published
from ranklsim.pkpd.parameters import ParameterTable

Array = NDArray[np.float64]
TRANSFER = "transfer"


@dataclass(frozen=True)
class Size:
    """A published size.

    Attributes
    ----------
    row : mapping
        The row of the data file.
    mean, sd : float
        In the unit of its endpoint.
    span : float
        What is 1 in that unit: 100 of a percentage; 0 in women, who need no transfer.
    """

    row: dict[str, Any]
    mean: float
    sd: float
    span: float


@lru_cache(maxsize=1)
def sizes() -> tuple[Size, ...]:
    """Every published size, in the order of the data file; one from memory has twice the variance."""
    return tuple(
        Size(
            row,
            float(one["mean"]),
            float(one["sd"]) * (RECALLED**0.5 if row["basis"] == "C" else 1.0),
            0.0 if row["genotype"] == WOMEN else 100.0 if "%" in row["endpoint"] else 1.0,
        )
        for row in published()["row"]
        for one in row.get("likely", ())
    )


def misfits(vectors: pd.DataFrame, table: ParameterTable, rtol: float) -> Array:
    """Error over SD of each size; then the root of twice the logarithm of each SD over that without any discrepancy.

    The squares of both sum to minus twice the logarithm of the likelihood, but for a constant.

    Parameters
    ----------
    vectors : DataFrame, n rows
        As of `mice.laboratory.Laboratory`.
    table : ParameterTable
    rtol : float
        As of `simulate`.

    Returns
    -------
    ndarray, shape (n, 2 * len(sizes()))
        NaN where a vector gives no number.
    """
    laboratory, known = Laboratory(table, vectors, rtol=rtol), sizes()
    predicted = {id(size.row): value_of(laboratory, size.row) for size in known}
    error = np.column_stack([predicted[id(size.row)] - size.mean for size in known])
    own, span = np.array([s.sd for s in known]), np.array([s.span for s in known])
    sd = np.hypot(own, np.multiply.outer(np.broadcast_to(laboratory[TRANSFER], len(vectors)), span))
    return np.hstack([error / sd, np.sqrt(2 * np.log(sd / own))])
