"""Time to an event: Kaplan-Meier, cumulative incidence beside a competing event, log-rank, Cox.

Estimators are those of statsmodels; intervals of curves are on the scale log(-log) [1]_, Cox's partial likelihood has
Efron's ties [2]_. With a competing event (death) Cox's hazard ratio is cause-specific: others leave the risk set. The
absolute effect is the difference of cumulative incidences (Aalen and Johansen [3]_) at a month; tests and ratios of
them (Gray, Fine and Gray) are in `competing`.

References
----------
.. [1] Kalbfleisch JD, Prentice RL. The Statistical Analysis of Failure Time Data, 2nd ed., Wiley 2002, section 1.4.
.. [2] Efron B. J Am Stat Assoc 1977;72:557-65. doi:10.1080/01621459.1977.10480613
.. [3] Aalen OO, Johansen S. Scand J Stat 1978;5:141-50.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from ranklsim.cohorts.statistics.proportions import model_matrix
from ranklsim.pkpd.errors import BadInput, RunFailed

CURVE = ("month", "estimate", "low", "high", "std_error")


def kaplan_meier(time: np.ndarray, event: np.ndarray, *, level: float = 0.95) -> pd.DataFrame:
    """Share without the event.

    Parameters
    ----------
    time : ndarray, shape (n,)
        Months to the event, or until which a patient was seen without it.
    event : ndarray of bool, shape (n,)
    level : float

    Returns
    -------
    DataFrame
        Columns `month`, `estimate`, `low`, `high`, `std_error` (Greenwood): from month 0, a row each month at which
        an event happened, and the last month seen; interval on the scale log(-log), NaN before the first event.
    """
    time, event = np.asarray(time, float), np.asarray(event, bool)
    start = {"month": 0.0, "estimate": 1.0, "low": 1.0, "high": 1.0, "std_error": 0.0}
    if not time.size:
        return pd.DataFrame([], columns=list(CURVE))
    if not event.any():
        return pd.DataFrame([start, start | {"month": float(time.max())}], columns=list(CURVE))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a last patient with an event has no standard error
        from statsmodels.duration.survfunc import SurvfuncRight  # slow to import, as all of statsmodels

        curve = SurvfuncRight(time, event.astype(int))
        months, share, error = curve.surv_times, curve.surv_prob, curve.surv_prob_se
    low, high = _log_log(share, error, level)
    frame = pd.DataFrame({"month": months, "estimate": share, "low": low, "high": high, "std_error": error})
    frame = pd.concat([pd.DataFrame([start]), frame], ignore_index=True)
    if time.max() > months.max():
        frame = pd.concat([frame, frame.tail(1).assign(month=float(time.max()))], ignore_index=True)
    return frame


def _log_log(share: np.ndarray, error: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    z = stats.norm.ppf(0.5 + level / 2)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        half = z * error / (share * np.abs(np.log(share)))
        low, high = share ** np.exp(half), share ** np.exp(-half)
    known = (share > 0) & (share < 1) & np.isfinite(error)
    return np.where(known, low, np.nan), np.where(known, high, np.nan)


def cumulative_incidence(time: np.ndarray, cause: np.ndarray, *, of: int = 1, level: float = 0.95) -> pd.DataFrame:
    """Share with one of several competing events (Aalen and Johansen), variance by the delta method.

    Parameters
    ----------
    time : ndarray, shape (n,)
    cause : ndarray of int, shape (n,)
        0 seen without any event, 1, 2, ... the event that came first.
    of : int
        Event asked for.
    level : float

    Returns
    -------
    DataFrame
        As from `kaplan_meier`, of the share with the event; `std_error` is that of Aalen (1978), which is the binomial
        one where nobody is censored.
    """
    time, cause = np.asarray(time, float), np.asarray(cause, int)
    rows = [{"month": 0.0, "estimate": 0.0, "low": 0.0, "high": 0.0, "std_error": 0.0}]
    if not time.size:
        return pd.DataFrame([], columns=list(CURVE))
    months = np.unique(time[cause > 0])
    at_risk = time.size - np.searchsorted(np.sort(time), months, side="left")
    every, own = (
        np.bincount(np.searchsorted(months, time[some]), minlength=months.size).astype(float)
        for some in (cause > 0, cause == of)
    )
    survival = np.cumprod(1 - every / at_risk)
    before = np.concatenate([[1.0], survival[:-1]])
    share = np.cumsum(before * own / at_risk)
    with np.errstate(divide="ignore", invalid="ignore"):
        greenwood = np.where(at_risk > every, every / (at_risk * np.maximum(at_risk - every, 1)), 0.0)
        for k in range(months.size):
            gap = share[k] - share[: k + 1]
            b = before[: k + 1]
            n, d = at_risk[: k + 1], own[: k + 1]
            variance = (gap**2 * greenwood[: k + 1]).sum() + (b**2 * d * (n - d) / n**3).sum()
            variance -= 2 * (gap * b * d / n**2).sum()
            rows.append(
                {"month": float(months[k]), "estimate": share[k], "std_error": float(np.sqrt(max(variance, 0)))}
            )
    frame = pd.DataFrame(rows, columns=list(CURVE))
    low, high = _log_log(1 - frame["estimate"].to_numpy(), frame["std_error"].to_numpy(), level)
    frame["low"], frame["high"] = 1 - high, 1 - low
    if time.max() > frame["month"].max():
        frame = pd.concat([frame, frame.tail(1).assign(month=float(time.max()))], ignore_index=True)
    return frame


def at_month(curve: pd.DataFrame, month: float) -> dict[str, float]:
    """The row of a step curve that holds at a month; NaN where nobody was seen that long."""
    known = curve[curve["month"] <= month + 1e-9]
    if known.empty or curve["month"].max() < month - 1e-9:
        return dict.fromkeys(CURVE[1:], np.nan)
    return {name: float(known.iloc[-1][name]) for name in CURVE[1:]}


def numbers_at_risk(time: np.ndarray, months: Sequence[float]) -> np.ndarray:
    """Patients seen without the event up to each month (those who leave or have it at the month itself included)."""
    return np.array([int((np.asarray(time) >= month).sum()) for month in months])


def log_rank(table: pd.DataFrame, arms: Sequence[str], *, stratified: bool = False) -> dict[str, float]:
    """Log-rank test between arms, stratified if asked.

    Parameters
    ----------
    table : DataFrame
        A row a patient: `arm`, `time`, `event` (bool), and `stratum` if stratified.
    arms : sequence of str
        Two or more.

    Returns
    -------
    dict
        `chi2`, `df`, `p`; NaN where there is no event.

    Raises
    ------
    BadInput
        If an arm has no patient left.
    """
    own = table[table["arm"].isin(list(arms))]
    refuse_empty(own, arms)
    out = {"chi2": np.nan, "df": float(len(arms) - 1), "p": np.nan}
    if not own["event"].any():
        return out
    strata = {}
    if stratified:
        counts = own.groupby("stratum", observed=True)["event"].transform("sum")
        own = own[counts > 0]  # a stratum without event says nothing
        own = own[own.groupby("stratum", observed=True)["arm"].transform("nunique") > 1]
        strata = {"strata": own["stratum"].astype(str).to_numpy()}
    if own["arm"].nunique() < 2 or not own["event"].any():
        return out
    from statsmodels.duration.survfunc import survdiff

    chi2, p = survdiff(own["time"].to_numpy(float), own["event"].to_numpy(int), own["arm"].to_numpy(str), **strata)
    return out | {"chi2": float(chi2), "p": float(p)}


def cox(
    table: pd.DataFrame,
    arm: str,
    control: str,
    covariates: Sequence[str] = (),
    *,
    stratified: bool = False,
    level: float = 0.95,
) -> dict[str, float]:
    """Hazard ratio of an arm to control.

    Parameters
    ----------
    table : DataFrame
        As for `log_rank`, with `covariates` (numbers, entered linearly).
    arm, control : str
    covariates : sequence of str
    stratified : bool
        Whether each stratum has a baseline hazard of its own.
    level : float

    Returns
    -------
    dict
        `estimate`, `low`, `high` (Wald, on the log scale), `p`.

    Raises
    ------
    BadInput
        If an arm has no patient left.
    RunFailed
        If an arm has no event, or the model does not converge.
    """
    own = of_two_arms(table, arm, control, covariates, "Cox")
    strata = own["stratum"].astype(str).to_numpy() if stratified and own["stratum"].nunique() > 1 else None
    matrix = model_matrix(own.drop(columns="stratum", errors="ignore"), arm, covariates)
    try:
        from statsmodels.duration.hazard_regression import PHReg

        model = PHReg(own["time"].to_numpy(float), matrix, own["event"].to_numpy(int), strata=strata, ties="efron")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fit = model.fit(disp=0)
    except (np.linalg.LinAlgError, ValueError) as fault:
        raise RunFailed(f"the Cox model can't be fitted ({fault}).") from None
    slope, error = float(fit.params[0]), float(fit.bse[0])
    if not (np.isfinite(slope) and np.isfinite(error)) or error > 20:
        raise RunFailed("the Cox model does not converge: the strata leave too few events.")
    return wald(slope, error, level)


def of_two_arms(table: pd.DataFrame, arm: str, control: str, covariates: Sequence[str], model: str) -> pd.DataFrame:
    """Patients of two arms whose covariates are known; complains where a model has no finite hazard ratio."""
    own = table[table["arm"].isin([arm, control])].dropna(subset=list(covariates)).reset_index(drop=True)
    refuse_empty(own, (arm, control))
    for name in (arm, control):
        if not own.loc[own["arm"] == name, "event"].any():
            raise RunFailed(f"the {model} model has no finite hazard ratio: no patient of {name} had the event.")
    return own


def wald(slope: float, error: float, level: float) -> dict[str, float]:
    """A ratio from its logarithm and the error of that: `estimate`, `low`, `high`, `p`."""
    half = stats.norm.ppf(0.5 + level / 2) * error
    p = 2 * float(stats.norm.sf(abs(slope) / error))
    return {"estimate": np.exp(slope), "low": np.exp(slope - half), "high": np.exp(slope + half), "p": p}


def incidence_contrast(
    table: pd.DataFrame, arm: str, control: str, month: float, *, ratio: bool = False, level: float = 0.95
) -> dict[str, float]:
    """Cumulative incidence at a month, of an arm against that of control: difference, or ratio.

    Parameters
    ----------
    table : DataFrame
        A row a patient: `arm`, `time`, `cause` (0 none, 1 the event, 2 a competing one).
    arm, control : str
    month : float
    ratio : bool
        Whether the ratio is asked, with its interval on the log scale.
    level : float

    Returns
    -------
    dict
        `estimate`, `low`, `high`, `p` (Wald), `std_error` (of the logarithm of a ratio).

    Raises
    ------
    BadInput
        If an arm has no patient left, or nobody of it was followed so long.
    RunFailed
        If a ratio is asked and an arm has no event.
    """
    refuse_empty(table, (arm, control))
    found = {}
    for name in (arm, control):
        own = table[table["arm"] == name]
        found[name] = at_month(cumulative_incidence(own["time"].to_numpy(), own["cause"].to_numpy()), month)
        if np.isnan(found[name]["estimate"]):
            raise BadInput(f"no patient of {name} was followed for {month:g} months.")
        if ratio and found[name]["estimate"] == 0:
            raise RunFailed(f"the risk ratio is not finite: no patient of {name} had the event.")
    here, there = found[arm], found[control]
    z = stats.norm.ppf(0.5 + level / 2)
    if ratio:
        gap = float(np.log(here["estimate"] / there["estimate"]))
        error = float(np.hypot(here["std_error"] / here["estimate"], there["std_error"] / there["estimate"]))
        out = {"estimate": np.exp(gap), "low": np.exp(gap - z * error), "high": np.exp(gap + z * error)}
    else:
        gap = here["estimate"] - there["estimate"]
        error = float(np.hypot(here["std_error"], there["std_error"]))
        out = {"estimate": gap, "low": gap - z * error, "high": gap + z * error}
    p = 2 * float(stats.norm.sf(abs(gap) / error)) if error > 0 else np.nan
    return out | {"p": p, "std_error": error}


def refuse_empty(table: pd.DataFrame, arms: Sequence[str]) -> None:
    """Complain of an arm that has no patient."""
    for name in arms:
        if not (table["arm"] == name).any():
            raise BadInput(f"no patient of {name} is left for the analysis.")
