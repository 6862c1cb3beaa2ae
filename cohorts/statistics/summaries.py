"""Statistics of a finished run, as data frames: what the report tabulates, plots and exports.

Every function takes frames of a run folder (columns as in ``visits.parquet`` and its neighbours) and returns a
tidy frame; none knows a file, a colour or a sentence. Methods are the plain ones of a trial table: arithmetic
means with t intervals, differences between arms with Welch's interval [1]_, medians with quartiles, an
order-statistic interval for a median [2]_, percentile bootstrap over patients for differences of medians [3]_.
All intervals here describe the sampling of *patients*; what the *unknown parameters* leave open is in
`ranklsim.reports.csr.unknowns`, and the two are never mixed.

References
----------
.. [1] Welch BL. Biometrika 1947;34:28-35. doi:10.1093/biomet/34.1-2.28
.. [2] Conover WJ. Practical Nonparametric Statistics, 3rd ed., Wiley 1999, section 3.2.
.. [3] Efron B, Tibshirani RJ. An Introduction to the Bootstrap, Chapman & Hall 1993, chapter 13.
.. [4] David HA, Nagaraja HN. Order Statistics, 3rd ed., Wiley 2003, section 2.1.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import bdtrik

from ranklsim.cohorts.events import DEATH, ENDS, RESCUE, STOPPED, SWITCH
from ranklsim.cohorts.people.criteria import values_of
from ranklsim.cohorts.statistics.ancova import ALIKE, LEVEL, ancova
from ranklsim.cohorts.statistics.tails import t_quantile, t_tail

BOOTSTRAPS = 1000
"""Resamples behind every bootstrap interval."""

UNITS = {
    "BMD_LS": "g/cm²",
    "BMD_TH": "g/cm²",
    "BMD_FN": "g/cm²",
    "BMD_R13": "g/cm²",
    "CTX": "ng/mL",
    "P1NP": "ng/mL",
    "BSAP": "ng/mL",
    "TRAP5B": "U/L",
    "CA": "mmol/L",
    "PTH": "pmol/L",
}
"""Units of the measurements in ``visits.parquet``."""


QUARTILES = (0.25, 0.5, 0.75)


def quantiles(values: np.ndarray, shares: Sequence[float]) -> list[float]:
    """Quantiles of a few numbers, linear between them, as of `numpy.quantile`, which takes ten times as long for it.

    Parameters
    ----------
    values : ndarray, shape (n,)
        Known numbers.
    shares : sequence of float
        From 0 to 1.

    Returns
    -------
    list of float
        NaN without values.
    """
    if not values.size:
        return [float("nan")] * len(shares)
    x, found = np.sort(values), []
    for share in shares:
        place = (x.size - 1) * share
        below = int(place)
        low, high, part = float(x[below]), float(x[min(below + 1, x.size - 1)]), place - below
        found.append(low + (high - low) * part if part < 0.5 else high - (high - low) * (1 - part))
    return found


def change_from(visits: pd.DataFrame, measure: str, from_month: float = 0.0, *, kind: str = "percent") -> pd.DataFrame:
    """Each patient's change of `measure` since `from_month`.

    Parameters
    ----------
    visits : DataFrame
        Columns `patient`, `arm`, `month` and `measure`; NaN where nothing was measured.
    measure : str
        A column, such as ``"BMD_LS"``.
    from_month : float
        Month of the reference visit; patients without a value there drop out.
    kind : {"percent", "absolute", "of_baseline"}
        Change in percent, change in the measure's own unit, or the value in percent of the reference.

    Returns
    -------
    DataFrame
        Columns `patient`, `arm`, `month`, `value`; one row a patient and visit with both values.

    Raises
    ------
    ValueError
        If `kind` is none of the three.
    """
    columns = changes(visits, measure, from_month, kind=kind)
    del columns["baseline"]
    return pd.DataFrame(columns, copy=False)


def changes(
    visits: pd.DataFrame,
    measure: str,
    from_month: float = 0.0,
    *,
    kind: str = "percent",
    months: tuple[float, float] = (-np.inf, np.inf),
) -> dict[str, Any]:
    """The columns of `change_from` as arrays, with `baseline`, the value at `from_month`.

    Parameters
    ----------
    visits, measure, from_month, kind
        As in `change_from`.
    months : (float, float)
        Only visits after the first and up to the second.
    """
    if kind not in ("percent", "absolute", "of_baseline"):
        raise ValueError(f"kind {kind!r}: use 'percent', 'absolute' or 'of_baseline'")
    values, month, who = visits[measure].to_numpy(), visits["month"].to_numpy(), visits["patient"].to_numpy()
    known = ~np.isnan(values)
    first = np.flatnonzero(known & (month == from_month))
    place = pd.Index(who[first]).get_indexer(who)
    rows = np.flatnonzero(known & (place >= 0) & (month > months[0]) & (month <= months[1]))
    seen, start = values[rows], values[first[place[rows]]]
    if kind == "percent":
        value = 100.0 * (seen / start - 1.0)
    elif kind == "of_baseline":
        value = 100.0 * seen / start
    else:
        value = seen - start
    found = {"patient": who[rows], "arm": visits["arm"].array[rows], "month": month[rows], "value": value}
    return found | {"baseline": start}


def rows_by_visit(frame: pd.DataFrame, arms: Sequence[str]) -> dict[tuple[float, str], np.ndarray]:
    """Where the rows of each visit and arm are.

    Parameters
    ----------
    frame : DataFrame
        Columns `month` and `arm`.
    arms : sequence of str

    Returns
    -------
    dict of (float, str) to ndarray
        Places of the rows, by month (ascending) and arm (as given); empty where an arm has none at a visit.
    """
    months, visit = np.unique(frame["month"].to_numpy(float), return_inverse=True)
    arm = pd.Index(list(arms)).get_indexer(pd.Index(frame["arm"]))
    last = len(months) * len(arms)  # whoever is in none of the arms
    cell = np.where(arm >= 0, visit * len(arms) + arm, last).astype(np.min_scalar_type(last))  # sorted in one pass
    order = np.argsort(cell, kind="stable")
    parts = np.split(order, np.searchsorted(cell[order], np.arange(1, last + 1)))
    return dict(zip(itertools.product(months.tolist(), arms), parts, strict=False))


def mean_interval(values: np.ndarray, level: float = LEVEL) -> dict[str, float]:
    """Mean, SD, SE and t interval of `values` (1-d, NaN ignored); NaN where too few values allow none.

    Parameters
    ----------
    values : ndarray, shape (n,)
        Values of patients.
    level : float
        Coverage, 0 to 1.

    Returns
    -------
    dict
        `n`, `mean`, `sd`, `se`, `ci_low`, `ci_high`, in the unit of `values`.
    """
    x = np.asarray(values, float)
    x = x[np.isfinite(x)]
    n = x.size
    if n == 0:
        return {"n": 0, "mean": np.nan, "sd": np.nan, "se": np.nan, "ci_low": np.nan, "ci_high": np.nan}
    mean = float(x.mean())
    if n == 1:
        return {"n": 1, "mean": mean, "sd": np.nan, "se": np.nan, "ci_low": np.nan, "ci_high": np.nan}
    sd = float(x.std(ddof=1))
    se = sd / np.sqrt(n)
    half = float(t_quantile(0.5 + level / 2, n - 1)) * se
    return {"n": n, "mean": mean, "sd": sd, "se": float(se), "ci_low": mean - half, "ci_high": mean + half}


def welch_difference(a: np.ndarray, b: np.ndarray, level: float = LEVEL) -> dict[str, float]:
    """Mean of `a` minus mean of `b` with Welch's interval [1]_.

    Parameters
    ----------
    a, b : ndarray
    level : float

    Returns
    -------
    dict
        `difference`, `difference_std_error`, `difference_df`, `difference_low`, `difference_high`, `p` (two-sided); but
        for the first NaN where either has fewer than two values, or no value differs from the others of its arm.
    """
    one, two = mean_interval(a), mean_interval(b)
    difference = one["mean"] - two["mean"]
    va, vb = one["se"] ** 2, two["se"] ** 2
    error = float(np.sqrt(va + vb))
    half, p, df = np.nan, np.nan, np.nan
    if error <= ALIKE * max(abs(one["mean"]), abs(two["mean"])):
        error = np.nan  # every patient is alike, so that nothing says how far the means are off
    elif np.isfinite(error):
        df = (va + vb) ** 2 / (va**2 / (one["n"] - 1) + vb**2 / (two["n"] - 1))
        half = float(t_quantile(0.5 + level / 2, df)) * error
        p = 2 * float(t_tail(abs(difference) / error, df))
    ends = {"difference_low": difference - half, "difference_high": difference + half}
    return {"difference": difference, "difference_std_error": error, "difference_df": df} | ends | {"p": p}


def mean_by_visit(change: pd.DataFrame, arms: Sequence[str], control: str | None) -> pd.DataFrame:
    """Mean change by visit and arm, with its interval and its difference to the control arm.

    Parameters
    ----------
    change : DataFrame
        As from `change_from`.
    arms : sequence of str
        Arm names in the order of the trial; an arm without data at a visit gets a row with n = 0.
    control : str or None
        Reference of the differences; None leaves them empty.

    Returns
    -------
    DataFrame
        Columns `month`, `arm`, `n`, `mean`, `sd`, `se`, `ci_low`, `ci_high`, `difference`, `difference_low`,
        `difference_high`.
    """
    known = change["value"].to_numpy(float)
    values = {cell: known[rows] for cell, rows in rows_by_visit(change, arms).items()}
    rows = []
    for (month, arm), own in values.items():
        row = {"month": month, "arm": arm, **mean_interval(own)}
        if control is None or arm == control:
            row |= dict.fromkeys(("difference", "difference_low", "difference_high"), np.nan)
        else:
            row |= welch_difference(own, values.get((month, control), np.empty(0)))
        rows.append(row)
    columns = ["month", "arm", "n", "mean", "sd", "se", "ci_low", "ci_high"]
    return pd.DataFrame(rows, columns=[*columns, "difference", "difference_low", "difference_high"])


def median_interval(values: np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """Order-statistic (binomial) interval for the median [2]_; NaN where `values` are too few for the level.

    Parameters
    ----------
    values : ndarray, shape (n,)
        Values of patients.
    level : float
        Coverage, 0 to 1.
    """
    x = np.sort(np.asarray(values, float)[np.isfinite(values)])
    rank = max(0, int(np.ceil(bdtrik((1 - level) / 2, x.size, 0.5)))) if x.size else 0
    if rank == 0:
        return float("nan"), float("nan")
    return float(x[rank - 1]), float(x[x.size - rank])


def median_by_visit(change: pd.DataFrame, arms: Sequence[str], control: str | None = None) -> pd.DataFrame:
    """Median, quartiles and the interval of the median by visit and arm; geometric mean ratio to control.

    Parameters
    ----------
    change : DataFrame
        As from `change_from` (with ``kind="of_baseline"`` for markers).
    arms, control
        As in `mean_by_visit`.

    Returns
    -------
    DataFrame
        Columns `month`, `arm`, `n`, `median`, `q1`, `q3`, `median_low`, `median_high`, `geometric_mean`, `ratio`,
        `ratio_low`, `ratio_high`; the last three compare geometric means with control and are NaN where a value
        is not positive.
    """
    known = change["value"].to_numpy(float)
    values = {cell: known[rows] for cell, rows in rows_by_visit(change, arms).items()}
    rows = []
    for (month, arm), own in values.items():
        x = own[np.isfinite(own)]
        q1, median, q3 = quantiles(x, QUARTILES)
        low, high = median_interval(x)
        log_x = np.log(x) if x.size and (x > 0).all() else np.empty(0)
        row = {"month": month, "arm": arm, "n": x.size, "median": median, "q1": q1, "q3": q3}
        row |= {"median_low": low, "median_high": high}
        row["geometric_mean"] = float(np.exp(log_x.mean())) if log_x.size else np.nan
        row |= dict.fromkeys(("ratio", "ratio_low", "ratio_high"), np.nan)
        if control is not None and arm != control:
            y = values.get((month, control), np.empty(0))
            if log_x.size and y.size and (y > 0).all():
                gap = welch_difference(log_x, np.log(y))
                row |= {f"ratio{end}": float(np.exp(gap[f"difference{end}"])) for end in ("", "_low", "_high")}
        rows.append(row)
    columns = ["month", "arm", "n", "median", "q1", "q3", "median_low", "median_high"]
    return pd.DataFrame(rows, columns=[*columns, "geometric_mean", "ratio", "ratio_low", "ratio_high"])


ENDPOINT_COLUMNS = (
    "endpoint",
    "role",
    "measure",
    "from_month",
    "to_month",
    "unit",
    "method",
    "statistic",
    "arm",
    "n",
    "estimate",
    "std_error",
    "ci_low",
    "ci_high",
    "difference",
    "difference_std_error",
    "difference_df",
    "difference_low",
    "difference_high",
    "p",
    "note",
)
"""Columns of an analysed endpoint: a row an arm; `p` of the difference to control, `note` what a reader must know.

Medians and their differences have no standard error, only intervals.
"""


def endpoint(
    visits: pd.DataFrame, patients: pd.DataFrame, spec: Any, arms: Sequence[str], control: str | None, *, seed: int = 0
) -> pd.DataFrame:
    """One endpoint of the protocol by arm, analysed as its trial file asks.

    Parameters
    ----------
    visits, patients : DataFrame
        As stored in a run folder; `patients` with `stratum`.
    spec : ranklsim.cohorts.protocol.trial.Endpoint
        ``analysis`` is "ANCOVA", "mean difference" or "median difference"; "MMRM" is of `repeated`.
    arms, control
        As in `mean_by_visit`.
    seed : int
        Of the bootstrap that gives differences of medians their interval.

    Returns
    -------
    DataFrame
        Columns `ENDPOINT_COLUMNS`; one row an arm, no row where the measure was not taken at both months.

    Raises
    ------
    ValueError
        If the analysis is none of the three.
    """
    rows = endpoint_rows(visits, patients, spec, arms, control, seed=seed)
    return pd.DataFrame(rows, columns=list(ENDPOINT_COLUMNS))


def endpoint_rows(
    visits: pd.DataFrame, patients: pd.DataFrame, spec: Any, arms: Sequence[str], control: str | None, *, seed: int = 0
) -> list[dict[str, Any]]:
    """The rows of `endpoint`, one by one.

    Parameters
    ----------
    visits, patients, spec, arms, control, seed
        As in `endpoint`.
    """
    change = change_from(visits, spec.measure, spec.from_month, kind=spec.kind)
    change = change[change["month"] == spec.to_month]
    fixed = endpoint_facts(spec)
    values = {arm: change.loc[change["arm"] == arm, "value"].to_numpy(float) for arm in arms}
    none = dict.fromkeys(("difference", "difference_low", "difference_high"), np.nan)
    rows: list[dict[str, object]] = []
    if spec.analysis == "ANCOVA":
        table = with_covariates(change, visits, patients, spec)
        fixed |= {"method": "ANCOVA", "statistic": "LS mean"}
        rows = [fixed | row for row in ancova(table, arms, control, spec.covariates)]
    elif spec.analysis == "median difference":
        for k, arm in enumerate(arms):
            x = values[arm]
            low, high = median_interval(x)
            row = {"arm": arm, "n": x.size, "estimate": float(np.median(x)) if x.size else np.nan}
            row |= {"ci_low": low, "ci_high": high} | none
            if control is not None and arm != control:
                row |= median_difference(x, values[control], (seed, k))
            rows.append(fixed | {"method": "difference of medians", "statistic": "Median"} | row)
    elif spec.analysis == "mean difference":
        for arm in arms:
            at = mean_interval(values[arm])
            row = {"arm": arm, "n": at["n"], "estimate": at["mean"], "std_error": at["se"]}
            row |= {"ci_low": at["ci_low"], "ci_high": at["ci_high"]}
            row |= none if control is None or arm == control else welch_difference(values[arm], values[control])
            rows.append(fixed | {"method": "difference of means", "statistic": "Mean"} | row)
    else:
        raise ValueError(f"summaries.endpoint does not know the analysis {spec.analysis!r}")
    blank = dict.fromkeys(ENDPOINT_COLUMNS, np.nan)
    return [blank | row for row in rows] if len(change) else []


def endpoint_facts(spec: Any) -> dict[str, object]:
    """The columns of an analysed endpoint that are the same for all arms.

    Parameters
    ----------
    spec : Endpoint
        The endpoint.
    """
    unit = "%" if spec.kind == "percent" else UNITS.get(spec.measure, "")
    facts: dict[str, object] = {"endpoint": spec.name, "role": spec.role, "measure": spec.measure, "unit": unit}
    return facts | {"from_month": float(spec.from_month), "to_month": float(spec.to_month), "note": ""}


def with_covariates(change: pd.DataFrame, visits: pd.DataFrame, patients: pd.DataFrame, spec: Any) -> pd.DataFrame:
    """Changes of an endpoint with the value that they start from (`baseline`), the patient's `stratum`, covariates.

    Parameters
    ----------
    change : DataFrame
        One row for each patient, with the `value` of the change.
    visits : DataFrame
        Visits of the measure.
    patients : DataFrame
        One row for each patient.
    spec : Endpoint
        Its measure, months and covariates.
    """
    who, month = change["patient"].to_numpy(), visits["month"].to_numpy()
    first = np.flatnonzero(month == spec.from_month)
    place = pd.Index(visits["patient"].to_numpy()[first]).get_indexer(who)
    found: dict[str, Any] = {"baseline": _taken(visits[spec.measure].to_numpy()[first], place)}
    person = pd.Index(patients["patient"].to_numpy()).get_indexer(who)
    found["stratum"] = patients["stratum"].array.take(person, allow_fill=True) if "stratum" in patients else ""
    found |= {name: _taken(values_of(name, patients), person) for name in spec.covariates}
    return change.assign(**found)


def _taken(values: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Values at some places; NaN where the place is -1."""
    taken = values[place] if values.size else np.full(place.size, np.nan)
    return np.where(place >= 0, taken, np.nan).astype(taken.dtype, copy=False) if (place < 0).any() else taken


def median_difference(a: np.ndarray, b: np.ndarray, seed: Sequence[int]) -> dict[str, float]:
    """Median of `a` minus median of `b` with a percentile bootstrap interval (patients resampled within arms) [3]_.

    Parameters
    ----------
    a, b : ndarray, shape (n,)
        Values of the patients of two arms.
    seed : sequence of int
        Seed of the resamples.
    """
    none = {"difference": np.nan, "difference_low": np.nan, "difference_high": np.nan}
    if not a.size or not b.size:
        return none
    none["difference"] = float(np.median(a) - np.median(b))
    if min(a.size, b.size) < 2:
        return none
    rng = np.random.default_rng(list(seed))
    gaps = resampled_medians(a, BOOTSTRAPS, rng) - resampled_medians(b, BOOTSTRAPS, rng)
    low, high = np.percentile(gaps, [50 * (1 - LEVEL), 100 - 50 * (1 - LEVEL)])
    if low == high:
        return none  # patients are all alike, so that resamples do not say how far the medians are off
    return none | {"difference_low": float(low), "difference_high": float(high)}


def resampled_medians(values: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Medians of bootstrap resamples, without the resamples; shape (size,).

    A resample's k-th smallest value is that at the rank ceil(n u), u being the k-th smallest of n uniform numbers,
    which is beta distributed [4]_.

    Parameters
    ----------
    values : ndarray, shape (n,)
        Values of patients.
    size : int
        Number of resamples.
    rng : Generator
        Random numbers.
    """
    x, n = np.sort(values), values.size
    middle = (n + 1) // 2
    u = rng.beta(middle, n - middle + 1, size)
    low = x[np.minimum((n * u).astype(int), n - 1)]
    if n % 2:
        return low
    u += (1 - u) * rng.beta(1, n - middle, size)  # the next one: the smallest of those above
    return (low + x[np.minimum((n * u).astype(int), n - 1)]) / 2


def resamples(n: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """How often each of `n` patients is in each of `size` bootstrap resamples; shape (size, n).

    Parameters
    ----------
    n : int
        Number of patients.
    size : int
        Number of resamples.
    rng : Generator
        Random numbers.
    """
    drawn = rng.integers(n, size=(size, n)) + n * np.arange(size)[:, None]
    return np.bincount(drawn.reshape(-1), minlength=size * n).reshape(size, n)


def disposition(patients: pd.DataFrame, events: pd.DataFrame, arms: Sequence[str]) -> pd.DataFrame:
    """Patients randomised, treated to the end and dropped out, by arm and in total.

    Parameters
    ----------
    patients : DataFrame
        Columns `patient`, `arm`.
    events : DataFrame
        Columns `patient`, `arm`, `event`, `month`, with events "randomised", "completed", "dropout", ...
    arms : sequence of str

    Returns
    -------
    DataFrame
        Columns `arm` ("Total" last), `randomised`, `completed`, `dropout`, each of death, stopped, rescue and switch
        that was recorded (patients with at least one), `dropout_month_median`, `other` (no end recorded).
    """
    rows = []
    kinds = [event for event in (DEATH, STOPPED, RESCUE, SWITCH) if (events["event"] == event).any()]
    for arm in [*arms, "Total"]:
        members = patients if arm == "Total" else patients[patients["arm"] == arm]
        own = events if arm == "Total" else events[events["arm"] == arm]
        with_event = own.groupby("event")["patient"].nunique().to_dict()
        dropout_months = own.loc[own["event"] == "dropout", "month"]
        row: dict[str, Any] = {"arm": arm, "randomised": len(members)}
        row |= {event: with_event.get(event, 0) for event in ("completed", "dropout", *kinds)}
        row["dropout_month_median"] = float(dropout_months.median()) if len(dropout_months) else np.nan
        row["other"] = row["randomised"] - sum(with_event.get(end, 0) for end in ENDS)
        rows.append(row)
    return pd.DataFrame(rows)


def safety_set(patients: pd.DataFrame, doses: pd.DataFrame) -> pd.DataFrame:
    """Rows of `patients` who were given at least one dose, and all of an arm for which none is planned.

    Parameters
    ----------
    patients : DataFrame
        One row for each patient.
    doses : DataFrame
        One row for each dose.
    """
    given = doses.loc[doses["given"].astype(bool), "patient"]
    return patients[patients["patient"].isin(given) | ~patients["arm"].isin(doses["arm"].unique())]


def exposure(doses: pd.DataFrame, patients: pd.DataFrame, arms: Sequence[str]) -> pd.DataFrame:
    """Doses planned and given by arm and agent.

    Parameters
    ----------
    doses : DataFrame
        Columns `patient`, `arm`, `agent`, `month`, `amount_mg`, `given` (bool), one row a planned dose.
    patients : DataFrame
        Columns `patient`, `arm`.
    arms : sequence of str

    Returns
    -------
    DataFrame
        Columns `arm`, `agent`, `randomised`, `treated` (patients with a dose), `planned`, `given` (doses),
        `given_percent`, `per_patient` (mean doses a treated patient), `total_mg` (mean amount a treated patient),
        `first_month`, `last_month` (of a dose given).
    """
    randomised = patients["arm"].value_counts()
    rows = []
    for arm in arms:
        for agent, own in doses[doses["arm"] == arm].groupby("agent", sort=False):
            given = own[own["given"].astype(bool)]
            treated = given["patient"].nunique()
            rows.append(
                {
                    "arm": arm,
                    "agent": agent,
                    "randomised": int(randomised.get(arm, 0)),
                    "treated": treated,
                    "planned": len(own),
                    "given": len(given),
                    "given_percent": 100.0 * len(given) / len(own),
                    "per_patient": len(given) / treated if treated else np.nan,
                    "total_mg": given["amount_mg"].sum() / treated if treated else np.nan,
                    "first_month": float(given["month"].min()) if treated else np.nan,
                    "last_month": float(given["month"].max()) if treated else np.nan,
                }
            )
    columns = ["arm", "agent", "randomised", "treated", "planned", "given", "given_percent", "per_patient", "total_mg"]
    return pd.DataFrame(rows, columns=[*columns, "first_month", "last_month"])


def latent_by_visit(visits: pd.DataFrame, outputs: Sequence[str], arms: Sequence[str]) -> pd.DataFrame:
    """Median and quartiles over patients of latent outputs (``true_...`` columns) by visit and arm.

    Parameters
    ----------
    visits : DataFrame
        Columns `month`, `arm` and ``true_<output>`` for each of `outputs`.
    outputs : sequence of str
        Names without ``true_``.
    arms : sequence of str

    Returns
    -------
    DataFrame
        Columns `output`, `month`, `arm`, `n`, `median`, `q1`, `q3`, `mean`.
    """
    rows, cells = [], rows_by_visit(visits, arms)
    for output in outputs:
        values = visits[f"true_{output}"].to_numpy(float)
        for (month, arm), own in cells.items():
            x = values[own]
            x = x[np.isfinite(x)]
            if x.size:
                q1, median, q3 = quantiles(x, QUARTILES)
                row = {"output": output, "month": month, "arm": arm, "n": x.size, "median": median}
                rows.append(row | {"q1": q1, "q3": q3, "mean": x.mean()})
    return pd.DataFrame(rows, columns=["output", "month", "arm", "n", "median", "q1", "q3", "mean"])


def contributions(visits: pd.DataFrame, site: str, arms: Sequence[str], months: Sequence[float]) -> pd.DataFrame:
    """Mean contributions to the BMD change of a site, in percentage points of baseline BMD.

    Parameters
    ----------
    visits : DataFrame
        Columns `month`, `arm`, ``true_<site>_remodelling`` and so on.
    site : str
        "LS", "TH", "FN" or "R13".
    arms : sequence of str
    months : sequence of float
        Visits to show; those without rows are left out.

    Returns
    -------
    DataFrame
        Columns `month`, `arm`, `n`, `part` ("remodelling", "mineralisation", "modelling", "artefact"), `mean`, `total`.
    """
    parts = [p for p in ("remodelling", "mineralisation", "modelling", "artefact") if f"true_{site}_{p}" in visits]
    columns = [f"true_{site}_{part}" for part in parts]
    rows, values, cells = [], visits[columns].to_numpy(float), rows_by_visit(visits, arms)
    for cell in itertools.product(map(float, months), arms):
        own = values[cells.get(cell, [])]
        own = own[~np.isnan(own).any(axis=1)]
        if len(own):
            means = own.mean(axis=0)
            for part, mean in zip(parts, means, strict=True):
                row = {"month": cell[0], "arm": cell[1], "n": len(own), "part": part}
                rows.append(row | {"mean": float(mean), "total": float(means.sum())})
    return pd.DataFrame(rows, columns=["month", "arm", "n", "part", "mean", "total"])


def over_control(parts: pd.DataFrame, control: str) -> pd.DataFrame:
    """`contributions` of each other arm minus those of `control`; same columns, `n` of the arm.

    Parameters
    ----------
    parts : DataFrame
        From `contributions`.
    control : str
        Name of the control arm.
    """
    reference = parts[parts["arm"] == control].set_index(["month", "part"])
    other = parts[parts["arm"] != control].set_index(["month", "part"])
    out = other.assign(**{c: other[c] - reference[c].reindex(other.index) for c in ("mean", "total")})
    return out.reset_index().dropna(subset=["mean"])[list(parts.columns)].reset_index(drop=True)
