"""Analysis of covariance at one visit: least-squares means and differences to control.

Covariates enter centred, so that an LS mean is that of an arm at their means and at the strata as they were found
(observed margins). Intervals are Student's with the residual degrees of freedom; the errors are those of ordinary least
squares or, on request, HC3 [1]_, which allow variances that differ between patients.

References
----------
.. [1] MacKinnon JG, White H. J Econometrics 1985;29:305-25. doi:10.1016/0304-4076(85)90158-7
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ranklsim.cohorts.statistics.proportions import independent
from ranklsim.cohorts.statistics.tails import t_quantile, t_tail
from ranklsim.cohorts.words import listed

LEVEL = 0.95

ALIKE = 1e-9
"""Standard error, relative to the values, that is rounding: every patient of an arm is alike."""


def ancova_design(
    table: pd.DataFrame, arms: Sequence[str], covariates: Sequence[str] = ()
) -> tuple[np.ndarray, list[str]]:
    """Design of `ancova`, and what it leaves out.

    Parameters
    ----------
    table, arms, covariates
        As for `ancova`, without arms that have nobody.

    Returns
    -------
    matrix : ndarray, shape (n, k)
        An indicator for each of `arms`, then centred covariates as far as data determine them.
    redundant : list of str
        Names of those that vary, but add nothing to arm, baseline, strata and the covariates before.
    """
    indicator = np.column_stack([(table["arm"] == arm).to_numpy(float) for arm in arms])
    columns = {name: [table[name].to_numpy(float)] for name in ("baseline", *covariates)}
    strata = table["stratum"].to_numpy()
    columns["stratum"] = [(strata == s).astype(float) for s in sorted(set(strata))[1:]]
    varying = {name: [c for c in own if np.ptp(c) > 1e-9 * max(1.0, abs(c).max())] for name, own in columns.items()}
    # The strata of the randomisation come before covariates when it is asked what adds something.
    asked = [
        (name, k) for name in dict.fromkeys(["baseline", "stratum", *covariates]) for k in range(len(varying[name]))
    ]
    values = [*indicator.T, *(varying[name][k] for name, k in asked)]
    kept = {asked[k - len(arms)] for k in independent(values, len(arms)) if k >= len(arms)}
    lost = [name for name in dict.fromkeys(name for name, k in asked if (name, k) not in kept)]
    laid = [(name, k) for name, own in varying.items() for k in range(len(own)) if (name, k) in kept]
    matrix = np.column_stack([indicator, *(varying[name][k] - varying[name][k].mean() for name, k in laid)])
    if len(table) <= matrix.shape[1]:  # too few patients for covariates
        return indicator, [name for name, own in varying.items() if own]
    return matrix, lost


def left_out(redundant: Sequence[str]) -> str:
    """A sentence on covariates that a model leaves out; empty without any.

    Parameters
    ----------
    redundant : sequence of str
    """
    if not redundant:
        return ""
    names = listed(["the strata" if name == "stratum" else name.replace("_", " ") for name in redundant])
    return f"The data do not determine {names} beside the other terms, so the model leaves {names} out."


def ancova(
    table: pd.DataFrame,
    arms: Sequence[str],
    control: str | None,
    covariates: Sequence[str] = (),
    *,
    robust: bool = False,
    level: float = LEVEL,
) -> list[dict[str, object]]:
    """Least-squares means and differences from value ~ arm + baseline + stratum + covariates.

    A covariate that does not vary is left out, and one that adds nothing to the others is left out and named.

    Parameters
    ----------
    table : DataFrame
        Columns `arm`, `value`, `baseline`, `stratum` and `covariates`; a row a patient.
    arms : sequence of str
        Arm names in the order of the trial.
    control : str or None
        Reference of the differences; None leaves them empty.
    covariates : sequence of str
        Further columns, numbers.
    robust : bool
        HC3 errors instead of ordinary ones.
    level : float

    Returns
    -------
    list of dict
        `arm`, `n`, `estimate`, `std_error`, `ci_low`, `ci_high`, `difference`, `difference_std_error`,
        `difference_df`, `difference_low`, `difference_high`, `p`, `note`; NaN errors and intervals where no degrees of
        freedom are left, or every patient is alike. `note` names covariates that add nothing and are left out.
    """
    present = [arm for arm in arms if (table["arm"] == arm).any()]
    out: list[dict[str, object]] = []
    df, note = 0, ""
    if present:
        matrix, redundant = ancova_design(table, present, covariates)
        note, df, y = left_out(redundant), len(matrix) - matrix.shape[1], table["value"].to_numpy(float)
        q, r = np.linalg.qr(matrix)
        slope = np.linalg.solve(r, q.T @ y)
        left, half = y - matrix @ slope, np.linalg.inv(r)
        if df > 0 and robust:
            lever = np.minimum((q**2).sum(axis=1), 1 - 1e-12)
            covariance = half @ ((q * (left / (1 - lever))[:, None] ** 2).T @ q) @ half.T
        elif df > 0:
            covariance = half @ half.T * float(left @ left) / df
    for arm in arms:
        row: dict[str, object] = {"arm": arm, "n": int((table["arm"] == arm).sum()), "estimate": np.nan, "note": note}
        row |= dict.fromkeys(("std_error", "ci_low", "ci_high"), np.nan)
        row |= dict.fromkeys((*(f"difference{end}" for end in ("", "_std_error", "_df", "_low", "_high")), "p"), np.nan)
        out.append(row)
        if arm not in present:
            continue
        mean = np.zeros(matrix.shape[1])
        mean[present.index(arm)] = 1.0
        contrasts = {("estimate", "std_error", "ci_low", "ci_high"): mean}
        if control in present and arm != control:
            difference = mean.copy()
            difference[present.index(str(control))] = -1.0
            contrasts["difference", "difference_std_error", "difference_low", "difference_high"] = difference
        for (centre, spread, low, high), contrast in contrasts.items():
            value = float(contrast @ slope)
            row[centre] = value
            error = float(np.sqrt(contrast @ covariance @ contrast)) if df > 0 else 0.0
            if error <= ALIKE * max(abs(value), float(np.abs(y).max())):
                continue  # no degrees of freedom, or every patient alike: no error can be estimated
            half_width = float(t_quantile(0.5 + level / 2, df)) * error
            row[spread], row[low], row[high] = error, value - half_width, value + half_width
            if centre == "difference":
                row["p"], row["difference_df"] = 2 * float(t_tail(abs(value) / error, df)), float(df)
    return out
