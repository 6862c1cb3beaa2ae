"""Errors of published figures in a fit: their standard deviations and correlations.

The variance of a figure is its sampling variance, from its own spread and n, plus the variance between studies of the
same treatment, because a fit describes a typical woman and not one trial. A figure written from memory has twice the
variance. Nothing here depends on a model: a figure does not get less weight because it does not fit.

The points of one curve come from the same patients in the same trial. They are not independent: `cov` gives each curve
compound symmetry, with correlation `rho` for every pair of its points, as from a shared study effect.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ranklsim.pkpd.biology.skeleton import NAMES

Array = NDArray[np.float64]

CI95_WIDTH = 2 * 1.959964  # in standard errors
IQR_WIDTH = 2 * 0.674490  # in standard deviations of a normal
RANGE_WIDTH = 4.0  # in standard deviations: the width expected of a range of about 30
MEDIAN = np.sqrt(np.pi / 2)  # standard error of a median over that of a mean, of a normal
RECALLED = 2.0  # variance of a figure from memory over that of one read
RHO = 0.5  # correlation between points of one curve
ASSUMED_N = 40  # patients where no n is given


class Scale(NamedTuple):
    """Spread of one kind of figure: absolute, and as a share of the value up to `cap` and of its rise over `above`.

    The three are added in quadrature.
    """

    absolute: float
    relative: float = 0.0
    cap: float = np.inf
    above: float = np.inf

    def _at(self, value: float) -> float:
        parts = (self.absolute, self.relative * min(abs(value), self.cap), self.relative * max(value - self.above, 0.0))
        return float(np.linalg.norm(parts))


# The trials of 60 mg Q6M that ship (FREEDOM, DEFEND, DECIDE, DAPS, DATA, phase 2) differ at the same visit by an SD of
# 0.57 at the spine, 0.51 at the hip, 0.55 at the femoral neck (percentage points), and for CTX, P1NP and BSAP by 22, 23
# and 18 % of their level. Less the sampling error of each, that leaves 0.45 points and 17 %. Markers not suppressed
# differ less in proportion: by about 10 points at 80 to 110 % of baseline. A rise over baseline, as under bone-forming
# agents or after the last dose, is as uncertain in proportion as what is left of a fall. Kinetics: 10 %. Both: assumed.
BETWEEN = {
    "percent_change": Scale(0.45),
    "percent_of_baseline": Scale(1.0, 0.17, 60.0, 100.0),
    "difference_to_control": Scale(0.5),
    "change_between": Scale(0.6),
    "retained_gain": Scale(10.0),
    "concentration": Scale(0.0, 0.1),
    "Cmax": Scale(0.0, 0.1),
    "Tmax": Scale(1.0, 0.1),
    "AUC": Scale(0.0, 0.1),
    "AUC_ratio": Scale(0.0, 0.1),
    "half_life": Scale(0.0, 0.1),
    "terminal_half_life": Scale(0.0, 0.2),
    "time_of_nadir": Scale(2.0),
}
BETWEEN_MARKER = {"difference_to_control": Scale(6.0), "change_between": Scale(2.0, 0.17, 60.0)}
# Between patients, where a row gives no spread: BMD as in the trials that ship (SD 2.4 to 5.2 points), markers as there
# (SD from the IQR, 0.3 to 0.9 of the median), kinetics as in the label (28 to 33 %).
PATIENTS = {
    "percent_change": Scale(3.5),
    "percent_of_baseline": Scale(2.0, 0.55),
    "difference_to_control": Scale(5.0),
    "change_between": Scale(3.5),
    "retained_gain": Scale(60.0),
    "concentration": Scale(0.0, 0.6),
    "Cmax": Scale(0.0, 0.3),
    "Tmax": Scale(0.0, 0.5),
    "AUC": Scale(0.0, 0.3),
    "AUC_ratio": Scale(0.0, 0.4),
    "half_life": Scale(0.0, 0.35),
    "terminal_half_life": Scale(0.0, 0.5),
    "time_of_nadir": Scale(0.0, 0.5),
}
PATIENTS_MARKER = {"difference_to_control": Scale(30.0), "change_between": Scale(10.0, 0.55)}


def sampling_se(observations: pd.DataFrame) -> Array:
    """Standard error of each figure from its own spread and n.

    Parameters
    ----------
    observations : DataFrame, n rows
        As in `Evidence.observations`.

    Returns
    -------
    ndarray, shape (n,)
        In the unit of the row. An SE as it is; SD / sqrt(n); width of a 95 % interval / 3.92; width of an IQR / 1.35
        (range: 4) / sqrt(n); from an SD, IQR or range of a median 1.25 times that. Without spread, the SD usual for
        such a figure stands in; without n, 40 patients do.
    """
    return np.array([_sampling(row) for row in observations.to_dict("records")], dtype=float)


def _sampling(row: dict) -> float:
    kind = row["spread_type"]
    if kind == "SE":
        return float(row["spread"])
    width = row["spread_high"] - row["spread_low"]
    if kind == "CI95":
        return float(width / CI95_WIDTH)
    if kind == "SD":
        sd = row["spread"]
    elif kind:
        sd = width / (IQR_WIDTH if kind == "IQR" else RANGE_WIDTH)
    else:
        sd = _scale(row, PATIENTS, PATIENTS_MARKER)._at(row["value"])
    n = row["n"] if row["n"] == row["n"] else ASSUMED_N
    return float(sd / np.sqrt(n) * (MEDIAN if row["statistic"] == "median" else 1.0))


def _scale(row: dict, usual: dict[str, Scale], of_markers: dict[str, Scale]) -> Scale:
    name = row["endpoint"]
    return usual[name] if row["site_or_marker"] in NAMES else of_markers.get(name, usual[name])


def error_sd(observations: pd.DataFrame, rest: float | Array = 1.0) -> Array:
    """Standard deviation that a fit should give each figure.

    Parameters
    ----------
    observations : DataFrame, n rows
        As in `Evidence.observations`.
    rest : float or ndarray, shape (n,)
        Factor of the variance between studies, of each row or of all.

    Returns
    -------
    ndarray, shape (n,)
        In the unit of the row: root of sampling variance (`sampling_se`) plus variance between studies (`BETWEEN`),
        the sum doubled where `verification` is recalled.
    """
    factor = np.where(observations["verification"] == "recalled", RECALLED, 1.0)
    return np.sqrt(factor * (sampling_se(observations) ** 2 + rest * between_sd(observations) ** 2))


def between_sd(observations: pd.DataFrame) -> Array:
    """SD between studies of the same treatment (`BETWEEN`).

    Parameters
    ----------
    observations : DataFrame, n rows
        As in `Evidence.observations`.

    Returns
    -------
    ndarray, shape (n,)
        In the unit of the row.
    """
    rows = observations.to_dict("records")
    return np.array([_scale(row, BETWEEN, BETWEEN_MARKER)._at(row["value"]) for row in rows], dtype=float)


def blocks(observations: pd.DataFrame) -> NDArray[np.int64]:
    """Number of the curve that each figure lies on, from 0 in order of first use.

    Parameters
    ----------
    observations : DataFrame, n rows
        As in `Evidence.observations`; a row that names no curve is a block of its own.

    Returns
    -------
    ndarray of int, shape (n,)
    """
    seen: dict[str | int, int] = {}
    keys = (name or row for row, name in enumerate(observations["curve"]))
    return np.array([seen.setdefault(key, len(seen)) for key in keys], dtype=np.int64)


def cov(observations: pd.DataFrame, rho: float = RHO, rest: float | Array = 1.0) -> Array:
    """Covariance of all figures: blocks of compound symmetry.

    Parameters
    ----------
    observations : DataFrame, n rows
        As in `Evidence.observations`.
    rho : float
        Correlation between any two points of one curve, 0 to below 1.
    rest : float or ndarray, shape (n,)
        As of `error_sd`.

    Returns
    -------
    ndarray, shape (n, n)
        ``sd[i] * sd[j] * rho`` for two points of one curve, ``sd[i] ** 2`` on the diagonal, 0 elsewhere, with `sd`
        from `error_sd`; positive definite.

    Raises
    ------
    ValueError
        If `rho` is not in [0, 1).
    """
    if not 0 <= rho < 1:
        raise ValueError(f"rho is {rho:g}; give 0 or more and less than 1.")
    sd, block = error_sd(observations, rest), blocks(observations)
    correlation = np.where(block[:, None] == block[None, :], rho, 0.0)
    np.fill_diagonal(correlation, 1.0)
    return correlation * np.outer(sd, sd)
