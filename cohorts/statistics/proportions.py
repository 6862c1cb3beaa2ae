"""Shares of patients: intervals of one, difference, ratio and odds ratio of two, crude or stratified.

Intervals of one share are Wilson's or exact (Clopper and Pearson); of a difference Miettinen and Nurminen's score
interval [1]_ or Newcombe's hybrid [2]_. Strata are pooled by Mantel and Haenszel [3]_ with the variances of Greenland
and Robins [4]_ (ratio), Robins, Breslow and Greenland [5]_ (odds ratio) and Sato [6]_ (difference).

References
----------
.. [1] Miettinen O, Nurminen M. Stat Med 1985;4:213-26. doi:10.1002/sim.4780040211
.. [2] Newcombe RG. Stat Med 1998;17:873-90.
.. [3] Mantel N, Haenszel W. J Natl Cancer Inst 1959;22:719-48.
.. [4] Greenland S, Robins JM. Biometrics 1985;41:55-68. doi:10.2307/2530643
.. [5] Robins J, Breslow N, Greenland S. Biometrics 1986;42:311-23. doi:10.2307/2531052
.. [6] Sato T. Biometrics 1989;45:1323-4.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import optimize, stats

from ranklsim.pkpd.errors import BadInput, RunFailed

INTERVALS = {"wilson": "wilson", "exact": "beta"}
MEASURES = ("risk difference", "risk ratio", "odds ratio")


def proportion(events: int, n: int, *, method: str = "wilson", level: float = 0.95) -> dict[str, float]:
    """A share with its interval.

    Parameters
    ----------
    events, n : int
    method : {"wilson", "exact"}
    level : float

    Returns
    -------
    dict
        `estimate`, `low`, `high`, all from 0 to 1; NaN where n = 0.
    """
    if n == 0:
        return dict.fromkeys(("estimate", "low", "high"), np.nan)
    from statsmodels.stats.proportion import proportion_confint  # slow to import, as all of statsmodels

    low, high = proportion_confint(events, n, alpha=1 - level, method=INTERVALS[method])
    return {"estimate": events / n, "low": float(low), "high": float(high)}


def risk_difference(
    events: int, n: int, control_events: int, control_n: int, *, method: str = "miettinen-nurminen", level: float = 0.95
) -> dict[str, float]:
    """Share of one group minus that of another.

    Parameters
    ----------
    events, n, control_events, control_n : int
    method : {"miettinen-nurminen", "newcombe"}
    level : float

    Returns
    -------
    dict
        `estimate`, `low`, `high` and the two-sided `p` of the score test; NaN where a group is empty.
    """
    if not n or not control_n:
        return dict.fromkeys(("estimate", "low", "high", "p"), np.nan)
    counts = (events, n, control_events, control_n)
    if method == "miettinen-nurminen":
        low, high = _score_interval(counts, float(stats.norm.ppf(0.5 + level / 2)))
    else:
        from statsmodels.stats.proportion import confint_proportions_2indep

        low, high = confint_proportions_2indep(*counts, method="newcomb", compare="diff", alpha=1 - level)
    p = 2 * float(stats.norm.sf(abs(_score(counts, 0.0))))
    return {"estimate": events / n - control_events / control_n, "low": float(low), "high": float(high), "p": p}


def _score_interval(counts: tuple[int, int, int, int], z: float) -> tuple[float, float]:
    """Differences whose score is -z and z."""
    x1, n1, x0, n0 = counts
    gap, edge = x1 / n1 - x0 / n0, 1 - 1e-9
    ends = []
    for sign in (1, -1):  # the score falls as the difference rises
        far = -sign * edge
        inside = sign * _score(counts, far) > z
        ends.append(optimize.brentq(lambda d, s=sign: s * _score(counts, d) - z, far, gap) if inside else -float(sign))
    return ends[0], ends[1]


def _score(counts: tuple[int, int, int, int], difference: float) -> float:
    """Score statistic of a difference, its variance with the shares that fit it best (equations 4 and 27 of [1]_)."""
    x1, n1, x0, n0 = counts
    n, x = n1 + n0, x1 + x0
    gap = x1 / n1 - x0 / n0 - difference
    a, b = n, (n1 + 2 * n0) * difference - n - x
    c, d = (n0 * difference - n - 2 * x0) * difference + x, x0 * difference * (1 - difference)
    q = b**3 / (3 * a) ** 3 - b * c / (6 * a**2) + d / (2 * a)
    r = np.copysign(np.sqrt(max(b**2 / (3 * a) ** 2 - c / (3 * a), 0.0)), q)
    angle = np.pi if r == 0 else np.pi + np.arccos(np.clip(q / r**3, -1, 1))
    low = float(np.clip(2 * r * np.cos(angle / 3) - b / (3 * a), 0, 1))
    high = min(max(low + difference, 0.0), 1.0)
    variance = (high * (1 - high) / n1 + low * (1 - low) / n0) * n / (n - 1)
    if variance <= 1e-15:
        return 0.0 if abs(gap) < 1e-9 else float(np.copysign(np.inf, gap))
    return float(gap / np.sqrt(variance))


def mantel_haenszel(
    table: pd.DataFrame, arm: str, control: str, *, measure: str = "risk ratio", level: float = 0.95
) -> dict[str, float]:
    """A difference, ratio or odds ratio of shares pooled over strata.

    Parameters
    ----------
    table : DataFrame
        A row a patient: columns `arm`, `event` (bool), `stratum`.
    arm, control : str
    measure : {"risk difference", "risk ratio", "odds ratio"}
    level : float

    Returns
    -------
    dict
        `estimate`, `low`, `high`, and two-sided `p` of the Cochran-Mantel-Haenszel test without continuity correction.
        Strata without patients of both arms say nothing and are left out; NaN where no event allows a ratio.

    Raises
    ------
    BadInput
        If no stratum holds patients of both arms.
    """
    both = table[table["arm"].isin([arm, control])]
    cells = both.groupby(["stratum", "arm"], observed=True)["event"].agg(["sum", "size"]).unstack("arm", fill_value=0)
    if not {arm, control} <= set(both["arm"]):
        raise BadInput(f"no patient of {arm if arm not in set(both['arm']) else control} is left for the analysis.")
    x1, n1 = cells["sum"][arm].to_numpy(float), cells["size"][arm].to_numpy(float)
    x0, n0 = cells["sum"][control].to_numpy(float), cells["size"][control].to_numpy(float)
    keep = (n1 > 0) & (n0 > 0)
    if not keep.any():
        raise BadInput(f"no stratum holds patients of both {arm} and {control}.")
    x1, n1, x0, n0 = x1[keep], n1[keep], x0[keep], n0[keep]
    n = n1 + n0
    z = stats.norm.ppf(0.5 + level / 2)
    out = dict.fromkeys(("estimate", "low", "high", "p"), np.nan)
    if 0 < (x1 + x0).sum() < n.sum():
        variance = (n1 * n0 * (x1 + x0) * (n - x1 - x0) / (n**2 * np.maximum(n - 1, 1))).sum()
        if variance > 0:
            chi2 = (x1 - n1 * (x1 + x0) / n).sum() ** 2 / variance
            out["p"] = float(stats.chi2.sf(chi2, 1))
    elif measure == "risk difference":
        out["p"] = 1.0
    if measure == "risk difference":
        weight = n1 * n0 / n
        estimate = ((x1 * n0 - x0 * n1) / n).sum() / weight.sum()
        p_part = (n1**2 * x0 - n0**2 * x1 + n1 * n0 * (n0 - n1) / 2) / n**2
        q_part = (x1 * (n0 - x0) / n + x0 * (n1 - x1) / n) / 2
        error = np.sqrt(max((estimate * p_part.sum() + q_part.sum()) / weight.sum() ** 2, 0.0))
        return out | {"estimate": estimate, "low": estimate - z * error, "high": estimate + z * error}
    if measure == "risk ratio":
        top, bottom = (x1 * n0 / n).sum(), (x0 * n1 / n).sum()
        if bottom == 0:
            return out
        if top == 0:
            return out | {"estimate": 0.0}
        spread = ((x1 + x0) * n1 * n0 / n**2 - x1 * x0 / n).sum() / (top * bottom)
        return out | _ratio(top / bottom, np.sqrt(spread), z)
    tables = [np.array([[a, b - a], [c, d - c]]) for a, b, c, d in zip(x1, n1, x0, n0, strict=True)]
    from statsmodels.stats.contingency_tables import StratifiedTable

    pooled = StratifiedTable(tables)
    if not (x1 * (n0 - x0)).any() or not (x0 * (n1 - x1)).any():
        return out
    return out | _ratio(float(pooled.oddsratio_pooled), float(pooled.logodds_pooled_se), z)


def _ratio(ratio: float, error: float, z: float) -> dict[str, float]:
    return {"estimate": ratio, "low": ratio * np.exp(-z * error), "high": ratio * np.exp(z * error)}


def odds_ratio(
    table: pd.DataFrame, arm: str, control: str, covariates: Sequence[str] = (), *, level: float = 0.95
) -> dict[str, float]:
    """Odds ratio by logistic regression on arm, stratum and covariates (maximum likelihood, Wald interval).

    Parameters
    ----------
    table : DataFrame
        A row a patient: columns `arm`, `event` (bool), optionally `stratum`, and `covariates`.
    arm, control : str
    covariates : sequence of str
        Numbers, entered linearly.
    level : float

    Returns
    -------
    dict
        `estimate`, `low`, `high`, `p`.

    Raises
    ------
    BadInput
        If an arm has no patient left.
    RunFailed
        If the model does not converge, as where an arm has no event or nothing but events.
    """
    both = table[table["arm"].isin([arm, control])].dropna(subset=list(covariates))
    for name in (arm, control):
        own = both.loc[both["arm"] == name, "event"]
        if own.empty:
            raise BadInput(f"no patient of {name} is left for the analysis.")
        if own.nunique() == 1:
            what = "every patient" if bool(own.iloc[0]) else "no patient"
            raise RunFailed(f"the logistic model has no finite odds ratio: {what} of {name} had the event.")
    matrix = model_matrix(both, arm, covariates)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import statsmodels.api as sm

            fit = sm.Logit(both["event"].to_numpy(float), sm.add_constant(matrix)).fit(disp=0, maxiter=100)
        except (np.linalg.LinAlgError, ValueError) as fault:
            raise RunFailed(f"the logistic model can't be fitted ({fault}).") from None
    error = float(fit.bse[1])
    if not fit.mle_retvals["converged"] or not np.isfinite(error) or error > 20:
        raise RunFailed("the logistic model does not converge: some patients' outcome is determined by the covariates.")
    z = stats.norm.ppf(0.5 + level / 2)
    return _ratio(float(np.exp(fit.params[1])), error, z) | {"p": float(fit.pvalues[1])}


def model_matrix(table: pd.DataFrame, arm: str, covariates: Sequence[str] = ()) -> np.ndarray:
    """Indicator of the arm, then strata and centred covariates as far as they vary; shape (n, k)."""
    columns = [(table["arm"] == arm).to_numpy(float)]
    if "stratum" in table:
        strata = table["stratum"].astype(str)
        columns += [(strata == level).to_numpy(float) for level in sorted(strata.unique())[1:]]
    for name in covariates:
        values = table[name].to_numpy(float)
        if np.ptp(values) > 0:
            columns.append((values - values.mean()) / values.std())
    kept = [columns[0]]
    for column in columns[1:]:
        trial = np.column_stack([np.ones(len(table)), *kept, column])
        if np.linalg.matrix_rank(trial) == trial.shape[1]:
            kept.append(column)
    return np.column_stack(kept)
