"""Statistics over draws of the unknown parameters (and never over patients).

The frames are those of ``uncertainty.parquet`` (the typical patient under every arm, for each draw; draw 0 has the
default values) and ``uncertainty_draws.parquet`` (the values drawn).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ranklsim.cohorts.durability import after_treatment
from ranklsim.cohorts.endpoints import Change
from ranklsim.cohorts.statistics.summaries import QUARTILES, quantiles

PARAMETER_LEVEL = 0.90
"""Level of every interval over the draws of the unknown parameters."""


def interval_over_draws(values: np.ndarray, level: float = PARAMETER_LEVEL) -> dict[str, float]:
    """Median, quartiles and central interval of `values` over parameter draws (NaN ignored).

    Parameters
    ----------
    values : ndarray, shape (draws,)
        A result under each parameter vector.
    level : float
        Share of the draws inside `low` to `high`, 0 to 1.

    Returns
    -------
    dict
        `draws`, `median`, `q1`, `q3`, `low`, `high`.
    """
    x = np.asarray(values, float)
    x = x[np.isfinite(x)]
    if not x.size:
        return {"draws": 0} | dict.fromkeys(("median", "q1", "q3", "low", "high"), np.nan)
    tail = 0.5 * (1 - level)
    low, q1, median, q3, high = quantiles(x, [tail, *QUARTILES, 1 - tail])
    return {"draws": x.size, "median": median, "q1": q1, "q3": q3, "low": low, "high": high}


def endpoint_by_draw(
    uncertainty: pd.DataFrame,
    measure: str,
    from_month: float,
    to_month: float,
    control: str | None,
    compared: Sequence[str] = (),
) -> pd.DataFrame:
    """The typical patient's percent change of `measure` between two months, for each parameter draw and arm.

    Parameters
    ----------
    uncertainty : DataFrame
        Columns `draw`, `arm`, `month` and `<measure>_pct`: percent *change* from baseline for BMD, percent *of*
        baseline for markers. Draw 0 is the default parameter values.
    measure : str
        Such as "BMD_LS" or "CTX".
    from_month, to_month : float
        Months that must be among those of `uncertainty`.
    control : str or None
    compared : sequence of str
        Arms that are compared with it; empty for all others.

    Returns
    -------
    DataFrame
        Columns `draw`, `arm`, `value` [%], `difference` to control [percentage points; NaN for control itself].

    Raises
    ------
    KeyError
        If `measure` has no column, or a month no row.
    """
    column = f"{measure}_pct"
    needed = uncertainty[uncertainty["month"].isin([from_month, to_month])]
    wide = needed.pivot(index=["draw", "arm"], columns="month", values=column)
    ratio = wide / 100.0 + (1.0 if measure.startswith("BMD") else 0.0)
    value = 100.0 * (ratio[float(to_month)] / ratio[float(from_month)] - 1.0)
    return with_difference(value.rename("value").reset_index(), control, compared)


def with_difference(values: pd.DataFrame, control: str | None, compared: Sequence[str] = ()) -> pd.DataFrame:
    """The typical patient's change with its difference to another arm.

    Parameters
    ----------
    values : DataFrame
        Columns `draw`, `arm`, `value`.
    control, compared
        As of `endpoint_by_draw`.

    Returns
    -------
    DataFrame
        As from `endpoint_by_draw`.
    """
    frame = values.assign(difference=np.nan)
    if control is not None:
        reference = frame.loc[frame["arm"] == control].set_index("draw")["value"]
        other = (frame["arm"] != control) & (frame["arm"].isin(compared) if compared else True)
        frame.loc[other, "difference"] = frame["value"] - frame["draw"].map(reference)
    return frame


def after_end_by_draw(uncertainty: pd.DataFrame, ends: Mapping[str, float], site: str = "BMD_LS") -> pd.DataFrame:
    """Rebound and durability of the typical patient for each parameter draw and arm.

    Parameters
    ----------
    uncertainty : DataFrame
        As ``uncertainty.parquet``.
    ends : mapping
        Arm to the month at which its treatment ends.
    site : str

    Returns
    -------
    DataFrame
        Columns `draw`, `arm`, `peak_CTX` (highest CTX after the end of treatment, % of baseline) and `kept_12`
        (share of the gain in `site` left 12 months later, %), as `ranklsim.cohorts.durability` defines them.
    """
    wanted = {"peak_CTX": "peak_CTX", f"kept_{site.removeprefix('BMD_')}_12": "kept_12"}
    columns = ["draw", "arm", *wanted.values()]
    frames = [
        outcomes_after(own, ends[str(arm)], [site]).reindex(columns=list(wanted)).assign(arm=arm).reset_index()
        for arm, own in uncertainty.groupby("arm", sort=True)
    ]
    frame = pd.concat(frames, ignore_index=True).rename(columns=wanted) if frames else pd.DataFrame(columns=columns)
    return frame.sort_values(["draw", "arm"], ignore_index=True)[columns]


def outcomes_after(courses: pd.DataFrame, end: float, sites: Sequence[str]) -> pd.DataFrame:
    """Outcomes of `ranklsim.cohorts.durability.after_treatment` for the typical patient in one arm.

    Parameters
    ----------
    courses : DataFrame
        Rows of one arm: columns `draw`, `month`, `CTX_pct` (% of baseline), ``BMD_<site>_pct`` (% change).
    end : float
        Month at which treatment ends.
    sites : sequence of str
        Such as "BMD_LS".

    Returns
    -------
    DataFrame
        A row a draw, a column an outcome.
    """
    wide = courses.pivot(index="draw", columns="month", values=[*(f"{s}_pct" for s in sites), "CTX_pct"])
    wide = wide.sort_index(axis=1)
    change = {site.removeprefix("BMD_"): wide[f"{site}_pct"].to_numpy(float) for site in sites}
    months, ctx = wide["CTX_pct"].columns.to_numpy(float), wide["CTX_pct"].to_numpy(float)
    return pd.DataFrame(after_treatment(months, change, ctx, end), index=wide.index)


def endpoint_words(spec: Change, reference: str | None) -> str:
    """Name of an endpoint among the headline results.

    Parameters
    ----------
    spec : Change
        The endpoint.
    reference : str, optional
        The arm that others are compared with.
    """
    return f"{spec.name}: {'%' if reference is None else 'difference, percentage points'}"


def headlines(
    courses: pd.DataFrame,
    endpoints: Sequence[tuple[Change, str | None, pd.DataFrame]],
    ends: Mapping[str, float],
    end_words: str,
) -> pd.DataFrame:
    """Headline results of the typical patient for each parameter vector (or structure) and arm.

    Parameters
    ----------
    courses : DataFrame
        As ``uncertainty.parquet``; `draw` may be any label.
    endpoints : sequence of (Change, str or None, DataFrame)
        Of the trial, those that the courses hold, each with the arm that others are compared with and its
        `endpoint_by_draw`.
    ends : mapping
        Arm to the month at which its treatment ends, where it ends before the trial does.
    end_words : str
        How the end of treatment is called.

    Returns
    -------
    DataFrame
        Columns `draw`, `result` (words), `arm`, `value`: each endpoint (difference to control where there is one),
        highest CTX after the end, and share of the spine's gain kept 12 months later.
    """
    parts = []
    for spec, reference, own in endpoints:
        column = "value" if reference is None else "difference"
        parts.append(own.assign(result=endpoint_words(spec, reference), value=own[column]))
    if ends:
        later = after_end_by_draw(courses[courses["arm"].isin(list(ends))], ends)
        parts.append(later.assign(result=f"Highest CTX after {end_words}, % of baseline", value=later["peak_CTX"]))
        words = f"Share of the lumbar spine gain kept 12 months after {end_words}, %"
        parts.append(later.assign(result=words, value=later["kept_12"]))
    columns = ["draw", "result", "arm", "value"]
    return pd.concat([part[columns] for part in parts], ignore_index=True) if parts else pd.DataFrame(columns=columns)


def whole_range(drawn: np.ndarray, structures: np.ndarray) -> dict[str, float]:
    """Range of one result over parameter vectors and structures.

    Parameters
    ----------
    drawn : ndarray
        The result under each vector.
    structures : ndarray
        The result under each other structure, at its own fit.

    Returns
    -------
    dict
        `draws`, `median`, `q1`, `q3`, `low`, `high` of `interval_over_draws`; `structure_low`, `structure_high`: the
        least and the most under any other structure; `both_low`, `both_high`: the range that holds both; NaN where
        there is none.
    """
    over, value = interval_over_draws(drawn), structures[np.isfinite(structures)]
    least, most = (float(value.min()), float(value.max())) if value.size else (np.nan, np.nan)
    ends = {"both_low": float(np.fmin(over["low"], least)), "both_high": float(np.fmax(over["high"], most))}
    return over | {"structure_low": least, "structure_high": most} | ends


def fan(uncertainty: pd.DataFrame, column: str, arms: Sequence[str]) -> pd.DataFrame:
    """Interval over draws by month and arm: `arm`, `month`, `default` (draw 0), then as `interval_over_draws`.

    Parameters
    ----------
    uncertainty : DataFrame
        As ``uncertainty.parquet``.
    column : str
    arms : sequence of str
    """
    rows = []
    names, draws = uncertainty["arm"].to_numpy(object), uncertainty["draw"].to_numpy()
    months, values = uncertainty["month"].to_numpy(float), uncertainty[column].to_numpy(float)
    for arm in arms:
        mine = np.flatnonzero(names == arm)
        mine = mine[np.argsort(months[mine], kind="stable")]
        parts = np.split(mine, np.flatnonzero(np.diff(months[mine])) + 1) if mine.size else []
        for part in parts:
            default, drawn = values[part][draws[part] == 0], values[part][draws[part] != 0]
            if drawn.size:
                row = {"arm": arm, "month": months[part[0]], "default": default[0] if default.size else np.nan}
                rows.append(row | interval_over_draws(drawn))
    return pd.DataFrame(rows, columns=["arm", "month", "default", "draws", "median", "q1", "q3", "low", "high"])
