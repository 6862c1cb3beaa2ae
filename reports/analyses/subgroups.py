"""Effects in subgroups of the patients, for a forest plot, and whether they differ by more than chance.

The p value of interaction is that of Cochran's Q [1]_ over the subgroups' estimates on the scale on which they are
normal (logarithms of ratios): with independent subgroups it is the Wald test of arm by subgroup.

References
----------
.. [1] Cochran WG. Biometrics 1954;10:101-29. doi:10.2307/3001666
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from ranklsim.cohorts.endpoints import Effect
from ranklsim.cohorts.people.criteria import values_of
from ranklsim.cohorts.statistics.tails import chi2_tail
from ranklsim.pkpd.errors import BadInput, RunFailed

COLUMNS = ("factor", "level", "n", "n_control", "estimate", "low", "high", "std_error", "p_interaction", "note")

CUTS: dict[str, tuple[str, tuple[float, ...], tuple[str, ...]]] = {
    "age": ("Age", (65.0, 75.0), ("<65 yr", "65 to <75 yr", "≥75 yr")),
    "T_lowest": ("Lowest T-score, spine or hip", (-3.0,), ("<−3.0", "≥−3.0")),
    "prevalent_fracture": ("Prevalent vertebral fracture", (0.5,), ("no", "yes")),
    "eGFR": ("eGFR", (60.0,), ("<60 mL/min/1.73 m²", "≥60 mL/min/1.73 m²")),
}
"""Covariate: name, cuts, and names of the groups between them (a value at a cut belongs above it)."""


def groups_of(patients: pd.DataFrame) -> dict[str, pd.Series]:
    """Subgroup of every patient by each factor of `CUTS`: factor name to labels, index the patient.

    Parameters
    ----------
    patients : DataFrame
        One row for each patient.
    """
    found = {}
    for covariate, (name, cuts, labels) in CUTS.items():
        values = values_of(covariate, patients)
        at = np.searchsorted(np.array(cuts), values, side="right")
        found[name] = pd.Series(pd.Categorical.from_codes(at, list(labels)), index=patients["patient"].to_numpy())
    return found


def forest(
    table: pd.DataFrame,
    arm: str,
    control: str,
    groups: Mapping[str, pd.Series],
    effect: Callable[[pd.DataFrame], Mapping[str, Any]],
    *,
    ratio: bool = False,
) -> pd.DataFrame:
    """Effect overall and in each subgroup.

    Parameters
    ----------
    table : DataFrame
        A row a patient: `patient`, `arm` and what `effect` needs.
    arm, control : str
    groups : mapping
        Factor to the label of each patient (index).
    effect : callable
        From such a table to what `Effect.of` takes; may raise `BadInput` or `RunFailed`.
    ratio : bool
        Whether the effect is a ratio, normal on the log scale.

    Returns
    -------
    DataFrame
        Columns `COLUMNS`; first the row of all patients, factor "All". `p_interaction` stands in the first row of each
        factor; NaN where fewer than two subgroups have an interval. `note` says why a subgroup has no estimate.
    """
    both = table[table["arm"].isin([arm, control])]
    measure = "ratio" if ratio else "difference"
    rows = [_row("All", "", both, arm, control, effect, measure)]
    for factor, label_of in groups.items():
        labels = both["patient"].map(label_of.astype(object))
        levels = [str(level) for level in label_of.cat.categories if (labels == level).any()]
        own = [_row(factor, level, both[labels == level], arm, control, effect, measure) for level in levels]
        if own:
            own[0]["p_interaction"] = heterogeneity(pd.DataFrame(own), ratio=ratio)
        rows += own
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _row(
    factor: str,
    level: str,
    table: pd.DataFrame,
    arm: str,
    control: str,
    effect: Callable[[pd.DataFrame], Mapping[str, Any]],
    measure: str,
) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(COLUMNS, np.nan) | {"factor": factor, "level": level, "note": ""}
    row |= {"n": int((table["arm"] == arm).sum()), "n_control": int((table["arm"] == control).sum())}
    try:
        found = effect(table)
    except (BadInput, RunFailed) as why:
        return row | {"note": str(why)}
    known = Effect.of(measure, found)
    return row | {"estimate": known.value, "low": known.low, "high": known.high, "std_error": known.error}


def heterogeneity(rows: pd.DataFrame, *, ratio: bool = False) -> float:
    """p of Cochran's Q over estimates with standard errors; NaN for fewer than two.

    Parameters
    ----------
    rows : DataFrame
        Columns `estimate` and `std_error`, of the logarithm of a ratio.
    ratio : bool
        Whether the estimates are ratios.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        centre = np.log(rows["estimate"].to_numpy(float)) if ratio else rows["estimate"].to_numpy(float)
    error = rows["std_error"].to_numpy(float)
    known = np.isfinite(centre) & np.isfinite(error) & (error > 0)
    if known.sum() < 2:
        return float("nan")
    centre, weight = centre[known], error[known] ** -2.0
    mean = (weight * centre).sum() / weight.sum()
    return float(chi2_tail((weight * (centre - mean) ** 2).sum(), known.sum() - 1))
