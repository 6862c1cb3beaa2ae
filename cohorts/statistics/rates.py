"""Numbers of events a patient and year: negative binomial regression with the time at risk as offset."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from ranklsim.cohorts.statistics.proportions import model_matrix
from ranklsim.pkpd.errors import BadInput, RunFailed


def rate_ratio(
    table: pd.DataFrame, arm: str, control: str, covariates: Sequence[str] = (), *, level: float = 0.95
) -> dict[str, float | str]:
    """Ratio of the rates of an arm and control.

    The counts have variance m + a m² [1]_ (NB2) and mean m = years x rate; where they are not more spread than
    Poisson's (a = 0 fits best) the Poisson model is the limit, and `method` says so.

    Parameters
    ----------
    table : DataFrame
        A row a patient: `arm`, `count`, `years` (> 0), optionally `stratum`, and `covariates`.
    arm, control : str
    covariates : sequence of str
        Numbers, entered linearly.
    level : float

    Returns
    -------
    dict
        `estimate`, `low`, `high`, `p` (Wald, log scale), `method`, `dispersion` (a).

    Raises
    ------
    BadInput
        If an arm has no patient left.
    RunFailed
        If an arm has no event, or the model does not converge.

    References
    ----------
    .. [1] Cameron AC, Trivedi PK. Regression Analysis of Count Data, 2nd ed., Cambridge 2013, section 3.3.
    """
    own = table[table["arm"].isin([arm, control]) & (table["years"] > 0)].dropna(subset=list(covariates))
    for name in (arm, control):
        counts = own.loc[own["arm"] == name, "count"]
        if counts.empty:
            raise BadInput(f"no patient of {name} is left for the analysis.")
        if counts.sum() == 0:
            raise RunFailed(f"the rate ratio is not finite: no patient of {name} had the event.")
    import statsmodels.api as sm  # slow to import, and needed only here

    matrix = sm.add_constant(model_matrix(own, arm, covariates), has_constant="add")
    count, offset = own["count"].to_numpy(float), np.log(own["years"].to_numpy(float))
    method, dispersion = "negative binomial", np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            plain = sm.Poisson(count, matrix, offset=offset).fit(disp=0, maxiter=200)
            fit = plain
            if _overdispersed(count, plain.predict()):
                fit = sm.NegativeBinomial(count, matrix, offset=offset).fit(
                    start_params=[*plain.params, 0.5], disp=0, maxiter=500, method="bfgs"
                )
                dispersion = float(fit.params[-1])
            else:
                method, dispersion = "Poisson, the limit of the negative binomial without overdispersion", 0.0
        except (np.linalg.LinAlgError, ValueError) as fault:
            raise RunFailed(f"the model of rates can't be fitted ({fault}).") from None
    slope, error = float(fit.params[1]), float(fit.bse[1])
    if not fit.mle_retvals["converged"] or not np.isfinite(error) or error > 20:
        raise RunFailed("the negative binomial model does not converge.")
    half = stats.norm.ppf(0.5 + level / 2) * error
    p = 2 * float(stats.norm.sf(abs(slope) / error))
    out: dict[str, float | str] = {"estimate": np.exp(slope), "low": np.exp(slope - half), "high": np.exp(slope + half)}
    return out | {"p": p, "method": method, "dispersion": dispersion}


def _overdispersed(count: np.ndarray, mean: np.ndarray) -> bool:
    """Whether the likelihood of the negative binomial rises from the Poisson's limit: sum((y - m)² - y) > 0."""
    return bool(((count - mean) ** 2 - count).sum() > 0)
