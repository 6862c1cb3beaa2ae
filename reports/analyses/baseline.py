"""Baseline characteristics by arm, with the targets and correlations of the population."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ranklsim.cohorts.people.joint import coordinate
from ranklsim.cohorts.statistics.summaries import QUARTILES, quantiles


def characteristics(
    patients: pd.DataFrame, arms: Sequence[str], variables: Mapping[str, tuple[str, str, str]]
) -> pd.DataFrame:
    """Baseline characteristics by arm and in total.

    Parameters
    ----------
    patients : DataFrame
        Column `arm` and the columns named by `variables`.
    arms : sequence of str
    variables : mapping
        Column -> (label, unit, kind); kind "mean" gives mean and SD, "median" median and quartiles, "count" the
        number and percentage of patients whose value is above zero.

    Returns
    -------
    DataFrame
        Columns `variable`, `label`, `unit`, `kind`, `arm` ("Total" last), `n`, `a`, `b`, `c`: mean, SD, - or
        median, Q1, Q3 or count, percent, -.
    """
    rows = []
    of_arm = patients["arm"].to_numpy(object)
    members = {arm: of_arm == arm for arm in arms} | {"Total": np.ones(len(patients), bool)}
    for column, (label, unit, kind) in variables.items():
        if column not in patients:
            continue
        everybody = patients[column].to_numpy(float)
        for arm, own in members.items():
            x = everybody[own & np.isfinite(everybody)]
            a = b = c = np.nan
            if kind == "mean" and x.size:
                a, b = x.mean(), x.std(ddof=1) if x.size > 1 else np.nan
            elif kind == "median" and x.size:
                b, a, c = quantiles(x, QUARTILES)
            elif kind == "count" and x.size:
                a, b = (x > 0).sum(), 100.0 * (x > 0).mean()
            row = {"variable": column, "label": label, "unit": unit, "kind": kind, "arm": arm, "n": x.size}
            rows.append(row | {"a": float(a), "b": float(b), "c": float(c)})
    return pd.DataFrame(rows, columns=["variable", "label", "unit", "kind", "arm", "n", "a", "b", "c"])


def targets(patients: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Targets of a population's file, with the values that the patients have.

    Parameters
    ----------
    patients : DataFrame
        Columns of covariates.
    published : DataFrame
        From `Population.published`.

    Returns
    -------
    DataFrame
        The columns of `published`, and ``achieved``, ``low`` and ``high`` (its 95 % interval by the number of
        patients: normal for means and shares, for medians of a lognormal as for a normal, 1.96/sqrt(2n) of the value
        for spreads); NaN where there are fewer than two patients. ``within``: whether what was achieved is within the
        target's tolerance.
    """
    rows = []
    for row in published.to_dict("records"):
        name, kind = row["covariate"], row["statistic"]
        x = coordinate(name, patients)
        ends = np.array([row["range_low"], row["range_high"]], dtype=float)
        if kind == "share" and np.isfinite(ends).any():
            x = ((x >= np.nan_to_num(ends[0], nan=-np.inf)) & (x <= np.nan_to_num(ends[1], nan=np.inf))).astype(float)
        n = x.size
        achieved = half = np.nan
        if n > 1:
            if kind in ("mean", "share"):
                achieved, half = x.mean(), 1.96 * x.std(ddof=1) / np.sqrt(n)
            elif kind == "median":
                achieved = np.median(x)
                half = 1.96 * np.sqrt(np.pi / 2) * np.log(x).std(ddof=1) * achieved / np.sqrt(n)
            else:
                achieved = x.std(ddof=1) if kind == "sd" else np.sqrt(np.expm1(np.log(x).std(ddof=1) ** 2))
                half = 1.96 * achieved / np.sqrt(2 * n)
        within = abs(achieved - row["value"]) <= row["tolerance"]
        rows.append(
            row
            | {"achieved": float(achieved), "low": float(achieved - half), "high": float(achieved + half)}
            | {"within": bool(within)}
        )
    return pd.DataFrame(rows)


def correlations(patients: pd.DataFrame, expected: pd.DataFrame) -> pd.DataFrame:
    """Rank correlations of the patients' covariates, with those of their population.

    Parameters
    ----------
    patients : DataFrame
        Columns of covariates.
    expected : DataFrame
        From `Population.correlations`.

    Returns
    -------
    DataFrame
        The columns of `expected`, and ``achieved`` (Spearman), ``low`` and ``high`` (its 95 % interval by Fisher's z
        with the variance 1.06/(n - 3), Fieller 1957); NaN for fewer than five patients, or where a covariate does not
        vary.
    """
    n = len(patients)
    ranks = patients[list(dict.fromkeys([*expected["first"], *expected["second"]]))].rank().corr()
    achieved = np.array([ranks.loc[a, b] for a, b in zip(expected["first"], expected["second"], strict=True)])
    if n < 5:
        achieved = np.full(achieved.size, np.nan)
    half = 1.96 * np.sqrt(1.06 / max(n - 3, 1))
    z = np.arctanh(np.clip(achieved, -0.999999, 0.999999))
    return expected.assign(achieved=achieved, low=np.tanh(z - half), high=np.tanh(z + half))
