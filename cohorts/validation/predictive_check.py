"""A visual predictive check for published groups: the interval in which their quartiles and centre should lie.

Data of single patients are not public, only those of groups: a median with its quartiles, or a mean with its SD. The
check [1]_ therefore uses these three figures. Groups of the size of the study are drawn from the cohort of the arm,
each patient measured with error. The figure of the study is compared with the 90 % interval of the same figure over
these groups. A mean stands with mean -+ 0.674 SD, the quartiles of a normal distribution, in published and in drawn
groups.

Prediction correction [2]_ puts arms with other doses, populations and visits into one panel. Within a bin (site or
marker, phase, whole month), every value is multiplied by the median of the typical patient's prediction over the arms
of the bin, divided by the prediction of its own arm. BMD is corrected as a share of baseline (a change of 5 % is 105),
so the correction is small there.

References
----------
.. [1] Holford N. The visual predictive check: superiority to standard diagnostic plots. PAGE 2005;14:738.
.. [2] Bergstrand M, Hooker AC, Wallin JE, Karlsson MO. AAPS J 2011;13:143-51. doi:10.1208/s12248-011-9255-z
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ranklsim.cohorts.validation.bands import LEVEL, RESAMPLES, Bands, Row, measurement_error, statistic_of
from ranklsim.cohorts.validation.variability import published_spreads, quantiles
from ranklsim.pkpd.biology.skeleton import NAMES
from ranklsim.pkpd.evidence.errors import IQR_WIDTH
from ranklsim.pkpd.evidence.records import Evidence
from ranklsim.pkpd.parameters import ParameterTable

Array = NDArray[np.float64]

ENDPOINTS = {
    "LS": "percent_change",
    "TH": "percent_change",
    "CTX": "percent_of_baseline",
    "P1NP": "percent_of_baseline",
}
KINDS = ("binder", "none")  # of agent: arms that are given antibodies or nothing
SHARES = np.array([0.05, 0.25, 0.5, 0.75, 0.95])
FIGURES = ("lower", "middle", "upper")


def predictive_check(
    found: Bands, evidence: Evidence, parameters: ParameterTable, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Published groups beside the same figures of drawn groups, prediction-corrected.

    Parameters
    ----------
    found : Bands
        Of this evidence, with patients.
    evidence : Evidence
    parameters : ParameterTable
    seed : int
        Of the groups.

    Returns
    -------
    groups : DataFrame
        A row a published figure of `ENDPOINTS` in arms that got antibodies or nothing: ``study, arm, site_or_marker,
        phase, month`` (the bin's), ``time_months, n, statistic, factor`` (of the correction), and for each of
        `FIGURES` ``observed_X``, ``low_X``, ``high_X`` (90 % interval over groups of n patients) and ``inside_X``; all
        corrected; lower and upper are NaN where no spread with n was published.
    patients : DataFrame
        A row a bin: ``site_or_marker, phase, month, p5, p25, p50, p75, p95`` of corrected measured values, the arms
        of the bin counting alike.
    """
    seen = evidence.observations
    wanted = np.zeros(len(seen), dtype=bool)
    for site, endpoint in ENDPOINTS.items():
        wanted |= ((seen["site_or_marker"] == site) & (seen["endpoint"] == endpoint)).to_numpy()
    kinds = {arm.id: {evidence.agents[name].kind for name in arm.agent_names} for arm in evidence.arms.values()}
    wanted &= np.array([kinds[arm] <= set(KINDS) for arm in seen["arm"]], dtype=bool)
    wanted &= found.predictions["used"].to_numpy(bool)
    spreads = published_spreads(evidence)
    rows: list[dict[str, object]] = []
    pooled: dict[tuple[str, str, float], list[tuple[Array, float, float]]] = {}
    for place in np.flatnonzero(wanted):
        row = seen.iloc[place].to_dict()
        base = 100.0 if row["site_or_marker"] in NAMES else 0.0
        error = measurement_error(row, parameters)
        values = found.drawn[:, place] + base
        typical = float(found.predictions["typical"].iloc[place]) + base
        spread = spreads.iloc[place]
        n = int(spread["patients"]) if np.isfinite(spread["patients"]) else 0
        kind = statistic_of(row["statistic"])
        figures = _of_groups(values, error, max(n, 1), seed, kind) if n else np.full((2, 3), np.nan)
        month = float(np.round(row["month"])) if row["month"] >= 1 else float(np.round(row["month"], 1))
        key = (row["site_or_marker"], row["phase"], month)
        pooled.setdefault(key, []).append((values, error, typical))
        rows.append(
            {"study": row["study"], "arm": row["arm"]}
            | dict(zip(("site_or_marker", "phase", "month"), key, strict=True))
            | {"time_months": row["month"], "n": n or np.nan, "statistic": row["statistic"], "typical": typical}
            | dict(zip((f"observed_{x}" for x in FIGURES), _published(row, spread, base), strict=True))
            | dict(zip((f"low_{x}" for x in FIGURES), figures[0], strict=True))
            | dict(zip((f"high_{x}" for x in FIGURES), figures[1], strict=True))
            | {"base": base}
        )
    groups = pd.DataFrame(rows)
    if groups.empty:
        return groups, pd.DataFrame()
    bins = groups.groupby(["site_or_marker", "phase", "month"])["typical"]
    groups["factor"] = bins.transform("median") / groups["typical"]
    for x in FIGURES:
        for name in (f"observed_{x}", f"low_{x}", f"high_{x}"):
            groups[name] = groups[name] * groups["factor"] - groups["base"]
        known = groups[f"observed_{x}"].notna() & groups[f"low_{x}"].notna()
        inside = groups[f"observed_{x}"].between(groups[f"low_{x}"], groups[f"high_{x}"])
        groups[f"inside_{x}"] = inside.astype(float).where(known)
    return groups.drop(columns=["typical", "base"]), _patients(pooled)


def coverage(groups: pd.DataFrame) -> pd.DataFrame:
    """Coverage of published figures by the 90 % interval.

    Parameters
    ----------
    groups : DataFrame
        As from `predictive_check`.

    Returns
    -------
    DataFrame
        By ``site_or_marker`` and ``phase``: ``n`` and ``inside`` (%) of each of `FIGURES`, as ``n_lower, inside_lower``
        and so on.
    """
    rows = []
    for (site, phase), part in groups.groupby(["site_or_marker", "phase"], sort=False):
        row: dict[str, object] = {"site_or_marker": site, "phase": phase}
        for x in FIGURES:
            known = part[f"inside_{x}"].dropna()
            row |= {f"n_{x}": len(known), f"inside_{x}": 100 * known.mean() if len(known) else np.nan}
        rows.append(row)
    return pd.DataFrame(rows)


def _published(row: Row, spread: pd.Series, base: float) -> tuple[float, float, float]:
    """Lower, middle and upper figure of the published group, over baseline; ends are NaN without spread."""
    middle = float(row["value"]) + base
    if row["spread_type"] == "IQR":
        return float(row["spread_low"]) + base, middle, float(row["spread_high"]) + base
    sd = spread["published"] * (1.0 if spread["measure"] == "SD" else middle)  # a CV of a marker
    if statistic_of(row["statistic"]) != "mean" or spread["measure"] == "SD of the logarithm":
        sd = np.nan
    return middle - sd * IQR_WIDTH / 2, middle, middle + sd * IQR_WIDTH / 2


def _of_groups(values: Array, error: float, n: int, seed: int, kind: str) -> Array:
    """Both ends of the 90 % interval of lower, middle and upper figure over groups of n; shape (2, 3).

    Groups larger than the cohort are drawn at its size, and their deviations scaled by the root of n.
    """
    values = values[np.isfinite(values)]
    size = min(n, len(values))
    rng = np.random.Generator(np.random.Philox(key=[seed, size]))
    measured = values[rng.integers(0, len(values), (RESAMPLES, size))]
    measured = measured * np.exp(error * rng.standard_normal(measured.shape))
    if kind == "mean":
        middle = measured.mean(axis=1)
        half = measured.std(axis=1, ddof=1) * IQR_WIDTH / 2 if size > 1 else np.full(RESAMPLES, np.nan)
        found = np.column_stack([middle - half, middle, middle + half])
    else:
        found = np.quantile(measured, [0.25, 0.5, 0.75], axis=1).T
        if kind == "geometric_mean":
            found[:, 1] = np.exp(np.log(measured).mean(axis=1))
    centre = found.mean(axis=0)
    found = centre + (found - centre) * np.sqrt(size / n)
    return np.asarray(np.quantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0))


def _patients(pooled: dict[tuple[str, str, float], list[tuple[Array, float, float]]]) -> pd.DataFrame:
    """Percentiles of measured patients by bin."""
    rows = []
    for (site, phase, month), arms in pooled.items():
        base = 100.0 if site in NAMES else 0.0
        target = float(np.median([typical for _, _, typical in arms]))
        everyone = np.concatenate([values * target / typical for values, _, typical in arms])
        error = np.array([arms[0][1]])
        found = quantiles(everyone[:, None], error, SHARES)[:, 0] - base
        rows.append(
            {"site_or_marker": site, "phase": phase, "month": month}
            | {f"p{round(100 * share)}": value for share, value in zip(SHARES, found, strict=True)}
        )
    return pd.DataFrame(rows).sort_values(["site_or_marker", "phase", "month"], ignore_index=True)
