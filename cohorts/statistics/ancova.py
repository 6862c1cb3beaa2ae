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
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

LEVEL = 0.95


def ancova_design(table: pd.DataFrame, arms: Sequence[str], covariates: Sequence[str] = ()) -> np.ndarray:
    """Design of `ancova`: an indicator for each of `arms`, then centred covariates as far as data determine them."""
    indicator = np.column_stack([(table["arm"] == arm).to_numpy(float) for arm in arms])
    values = [table[name].to_numpy(float) for name in ("baseline", *covariates)]
    values += [(table["stratum"] == s).to_numpy(float) for s in sorted(table["stratum"].unique())[1:]]
    columns = [c - c.mean() for c in values if np.ptp(c) > 1e-9 * max(1.0, abs(c).max())]
    matrix = np.column_stack([indicator, *columns])
    if np.linalg.matrix_rank(matrix) < matrix.shape[1] or len(table) <= matrix.shape[1]:
        return indicator  # too few patients for covariates
    return matrix


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

    A covariate that does not vary is left out.

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
        `difference_low`, `difference_high`, `p`; NaN errors and intervals where no degrees of freedom are left.
    """
    present = [arm for arm in arms if (table["arm"] == arm).any()]
    out: list[dict[str, object]] = []
    fit: Any = None
    if present:
        import statsmodels.api as sm  # slow to import, and needed only here

        fit = sm.OLS(table["value"].to_numpy(float), ancova_design(table, present, covariates)).fit()
        if fit.df_resid > 0:
            cov = fit.get_robustcov_results("HC3").cov_params() if robust else fit.cov_params()
    for arm in arms:
        row: dict[str, object] = {"arm": arm, "n": int((table["arm"] == arm).sum()), "estimate": np.nan}
        row |= dict.fromkeys(("std_error", "ci_low", "ci_high"), np.nan)
        row |= dict.fromkeys((*(f"difference{end}" for end in ("", "_std_error", "_low", "_high")), "p"), np.nan)
        out.append(row)
        if arm not in present:
            continue
        mean = np.zeros(fit.model.exog.shape[1])
        mean[present.index(arm)] = 1.0
        contrasts = {("estimate", "std_error", "ci_low", "ci_high"): mean}
        if control in present and arm != control:
            difference = mean.copy()
            difference[present.index(str(control))] = -1.0
            contrasts["difference", "difference_std_error", "difference_low", "difference_high"] = difference
        for (centre, spread, low, high), contrast in contrasts.items():
            value = float(contrast @ fit.params)
            row[centre] = value
            if fit.df_resid > 0:
                error = float(np.sqrt(contrast @ cov @ contrast))
                half = stats.t.ppf(0.5 + level / 2, fit.df_resid) * error
                row[spread], row[low], row[high] = error, value - half, value + half
                if centre == "difference" and error > 1e-9 * abs(value):  # else every patient is alike
                    row["p"] = 2 * float(stats.t.sf(abs(value) / error, fit.df_resid))
    return out
