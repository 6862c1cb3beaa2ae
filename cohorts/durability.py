"""Durability: when treatment ends, when the gain in BMD is gone, how high CTX rebounds.

Each quantity has one definition, for the means of patients in the report and for the typical patient under many
parameter vectors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

LEAST_GAIN = 1.0
"""Gain in BMD (%) from which on a share of it means something (our choice: about the precision of DXA)."""
LATER = (12, 24)
"""Months after the end of treatment at which the share of the gain kept is asked."""
RISE = 5.0
"""Rise of CTX over baseline (%) from which on its peak has a month (our choice: a third of the assay's CV)."""


@dataclass(frozen=True)
class Measure:
    """An outcome: its unit, what it is, and whether it needs time after the end of treatment."""

    unit: str
    meaning: str
    after: float | None = None


MEASURES: dict[str, Measure] = {
    f"gain_{site}": Measure("%", f"gain in {words} BMD at the end of treatment")
    for site, words in {"LS": "lumbar spine", "TH": "total hip"}.items()
}
MEASURES |= {
    f"left_{site}_12": Measure("%", f"{words} BMD gain left after 12 months", 12.0)
    for site, words in {"LS": "lumbar spine", "TH": "total hip"}.items()
}
MEASURES |= {
    f"kept_{site}_{later}": Measure("% of the gain", f"{words} gain kept after {later} months", float(later))
    for site, words in {"LS": "lumbar spine", "TH": "total hip"}.items()
    for later in LATER
}
MEASURES |= {
    f"back_{site}": Measure("months", f"months until {words} BMD is back at baseline", 0.0)
    for site, words in {"LS": "lumbar spine", "TH": "total hip"}.items()
}
MEASURES |= {
    "peak_CTX": Measure("% of baseline", "highest CTX after treatment", 0.0),
    "peak_CTX_month": Measure("months", "months until CTX is highest", 0.0),
    "area_CTX": Measure("%-months", "area of CTX above baseline after treatment", 0.0),
}
"""Outcomes of `after_treatment`, in the order in which people ask for them; months count from the end of treatment."""


def crossing_month(months: np.ndarray, curve: np.ndarray, from_month: float) -> np.ndarray:
    """First month from `from_month` on at which `curve` is back at zero, linear between visits.

    Parameters
    ----------
    months : ndarray, shape (n_visits,)
        Increasing.
    curve : ndarray, shape (n_visits,) or (n_curves, n_visits)
        Change from baseline; a curve that is not above zero at `from_month` is back there already.

    Returns
    -------
    ndarray, shape () or (n_curves,)
        Month; inf where the curve stays above zero to the last visit, NaN where it holds a NaN.
    """
    curves = np.atleast_2d(np.asarray(curve, float))
    keep = months > from_month
    grid = np.concatenate([[from_month], months[keep]])
    path = np.column_stack([at_month(months, curves, from_month), curves[:, keep]])
    below = path <= 0.0
    first, back, known = below.argmax(axis=1), below.any(axis=1), np.isfinite(path).all(axis=1)
    month = np.where(known, np.where(back, from_month, np.inf), np.nan)
    k = np.flatnonzero(known & back & (first > 0))
    j = first[k]
    high, low = path[k, j - 1], path[k, j]
    month[k] = grid[j - 1] + (grid[j] - grid[j - 1]) * high / (high - low)
    return month if np.ndim(curve) == 2 else month[0]


def at_month(months: np.ndarray, curves: np.ndarray, month: float) -> np.ndarray:
    """Value of each curve at a month, linear between visits; beyond the first or last visit its value there.

    Parameters
    ----------
    months : ndarray, shape (n_visits,)
        Increasing.
    curves : ndarray, shape (n_curves, n_visits)
    month : float

    Returns
    -------
    ndarray, shape (n_curves,)
    """
    j = int(np.clip(np.searchsorted(months, month), 1, len(months) - 1)) if len(months) > 1 else 0
    if j == 0:
        return np.asarray(curves[:, 0], float)
    share = float(np.clip((month - months[j - 1]) / (months[j] - months[j - 1]), 0.0, 1.0))
    return (1 - share) * curves[:, j - 1] + share * curves[:, j]


def share_kept(months: np.ndarray, change: np.ndarray, end: float, later: float) -> np.ndarray:
    """Share of each curve's gain at `end` that is left `later` months on (%).

    Parameters
    ----------
    months : ndarray, shape (n_months,)
    change : ndarray, shape (n_curves, n_months)
        Change from baseline (%).

    Returns
    -------
    ndarray, shape (n_curves,)
        NaN where the gain is not above `LEAST_GAIN`, or the months do not reach as far.
    """
    gain = at_month(months, change, end)
    if end + later > months[-1] + 1e-9:
        return np.full(len(change), np.nan)
    left = at_month(months, change, end + later)
    return np.where(gain > LEAST_GAIN, 100.0 * left / np.where(gain > LEAST_GAIN, gain, 1.0), np.nan)


def after_treatment(
    months: np.ndarray, change: Mapping[str, np.ndarray], ctx: np.ndarray, end: float
) -> dict[str, np.ndarray]:
    """Durability and rebound of latent curves.

    Parameters
    ----------
    months : ndarray, shape (n_months,)
        Increasing, from 0; those around the peak of CTX should be close.
    change : mapping of str to ndarray, shape (n_curves, n_months)
        Site ("LS", "TH") to the change of its BMD from baseline (%).
    ctx : ndarray, shape (n_curves, n_months)
        CTX, % of baseline.
    end : float
        Month at which treatment ends.

    Returns
    -------
    dict of str to ndarray, shape (n_curves,)
        Those of `MEASURES` that the months reach. A share kept is NaN without a gain to keep (`share_kept`), the month
        of the peak is NaN where CTX rises by less than `RISE`; months back are inf where BMD is above baseline at the
        last month.
    """
    end = min(end, float(months[-1]))
    left = float(months[-1]) - end
    found = {f"gain_{site}": at_month(months, curves, end) for site, curves in change.items()}
    if left <= 1e-9:
        return found
    for site, curves in change.items():
        for later in LATER:
            if later <= left + 1e-9:
                found[f"kept_{site}_{later}"] = share_kept(months, curves, end, later)
        if left >= 12.0 - 1e-9:
            found[f"left_{site}_12"] = at_month(months, curves, end + 12.0)
        found[f"back_{site}"] = crossing_month(months, curves, end) - end
    after = months >= end - 1e-9
    late, tail = months[after], ctx[:, after]
    found["peak_CTX"] = tail.max(axis=1)
    when = late[tail.argmax(axis=1)] - end
    found["peak_CTX_month"] = np.where(found["peak_CTX"] > 100 + RISE, when, np.nan)
    found["area_CTX"] = np.trapezoid(np.clip(tail - 100.0, 0.0, None), late, axis=1)
    return {name: found[name] for name in MEASURES if name in found}
