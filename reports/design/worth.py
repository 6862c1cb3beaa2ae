"""What each unknown is worth: how much the probability of a suitable design would rise if it were known.

The decision is which design to take, or none. The value of a design is the probability that it is suitable. If a
parameter were known, one could choose the design by its value; the mean gain over the draws is the expected value of
partial perfect information (EVPPI). The probability of being suitable, given the parameter, is found by regression on
the draws, with cubic B-splines, for all designs at once [1]_. If the parameter were measured with an error, the
regression is on the measurement, which gives the expected value of sample information (EVSI [2]_). Regression on noise
gains something by chance; the mean gain over permuted parameters is therefore taken off.

References
----------
.. [1] Strong M, Oakley JE, Brennan A. Med Decis Making 2014;34:311-26. doi:10.1177/0272989X13505910
.. [2] Strong M, Oakley JE, Brennan A, Breeze P. Med Decis Making 2015;35:570-83. doi:10.1177/0272989X15575286
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.interpolate import BSpline

from ranklsim.cohorts import streams
from ranklsim.pkpd.errors import BadInput, near
from ranklsim.pkpd.parameters import ParameterTable
from ranklsim.reports.design.question import Pilot
from ranklsim.reports.design.search import Searched

Array = NDArray[np.float64]

KNOTS = 8
"""Inner knots of the splines, at equal shares of the draws (our choice; eight follow a threshold well enough)."""
PERMUTATIONS = 100
POINTS = 24
"""Doses of each cell among which the decision chooses."""
EDGE = 0.2
"""Share of the draws at each end of a parameter in which its design is looked at."""


def options(found: Searched) -> tuple[NDArray[np.bool_], list[tuple[int, int]]]:
    """The designs among which the decision chooses.

    Parameters
    ----------
    found : Searched

    Returns
    -------
    suitable : ndarray of bool, shape (n_draws, n_options)
    where : list of (cell, position of the dose)
    """
    cells, doses = found.suitable.shape[1:]
    at = np.unique(np.linspace(0, doses - 1, min(POINTS, doses)).round().astype(int))
    where = [(cell, int(j)) for cell in range(cells) for j in at]
    return np.stack([found.suitable[:, cell, j] for cell, j in where], axis=1), where


class Regression:
    """Regression of suitability on a signal: on the rank of the signal, so that its basis stands once.

    Parameters
    ----------
    suitable : ndarray of bool, shape (n_draws, n_options)
    seed : int
        Of the permutations that say what is gained by chance.
    """

    def __init__(self, suitable: NDArray[np.bool_], seed: int) -> None:
        self.suitable = suitable.astype(float)
        n = len(suitable)
        knots = np.r_[[0.0] * 4, np.linspace(0, 1, KNOTS + 2)[1:-1], [1.0] * 4]
        self.basis = BSpline.design_matrix((np.arange(n) + 0.5) / n, knots, 3).toarray()
        self.inverse = np.linalg.pinv(self.basis)
        self.best = float(self.suitable.mean(axis=0).max())
        rng = np.random.default_rng(np.random.SeedSequence(seed))
        gains = [self._gain(rng.permutation(n)) for _ in range(PERMUTATIONS)]
        self.mean, self.chance = float(np.mean(gains)), float(np.std(gains))

    def _gain(self, order: NDArray[np.int64]) -> float:
        fitted = np.clip(self.basis @ (self.inverse @ self.suitable[order]), 0.0, 1.0)
        return float(fitted.max(axis=1).mean()) - self.best

    def gain(self, signal: Array) -> float:
        """Gain in the probability of a suitable design if a signal were known, less what chance gains; 0 or more.

        Parameters
        ----------
        signal : ndarray, shape (n_draws,)
            A parameter, or a measurement of it.
        """
        return max(self._gain(np.argsort(signal, kind="stable")) - self.mean, 0.0)


def worth(found: Searched, parameters: ParameterTable, seed: int) -> pd.DataFrame:
    """The worth of knowing each parameter that differs between the draws.

    Parameters
    ----------
    found : Searched
    parameters : ParameterTable
    seed : int

    Returns
    -------
    DataFrame
        Columns `symbol`, `meaning`, `unit`; `low`, `high` (range that holds 90 % of the draws); `evppi` (gain in
        probability, 0 to 1, chance taken off) and `chance` (SD of the gain by chance); `design_low`, `design_high` (the
        best design in the fifth of the draws with the lowest and the highest values, as cell and dose position) and
        `probability_low`, `probability_high` there. The most valuable first. Attribute ``evpi``: the gain if everything
        were known.
    """
    suitable, where = options(found)
    regression = Regression(suitable, seed)
    values = regression.suitable
    evpi = float(values.max(axis=1).mean() - values.mean(axis=0).max())
    rows = []
    draws = found.vectors.iloc[1:]
    for symbol in draws:
        signal = draws[symbol].to_numpy(float)
        if np.ptp(signal) == 0:
            continue
        row = parameters.row(symbol)
        order = np.argsort(signal, kind="stable")
        part = max(1, round(EDGE * len(order)))
        ends: dict[str, object] = {}
        for end, some in (("low", order[:part]), ("high", order[-part:])):
            share = values[some].mean(axis=0)
            ends[f"design_{end}"], ends[f"probability_{end}"] = where[int(share.argmax())], float(share.max())
        low, high = np.quantile(signal, [0.05, 0.95])
        rows.append(
            {"symbol": symbol, "meaning": row["meaning"], "unit": row["unit"], "low": low, "high": high,
             "evppi": regression.gain(signal), "chance": regression.chance} | ends
        )  # fmt: skip
    frame = pd.DataFrame(rows)
    frame["evppi"] = np.minimum(frame["evppi"], evpi)  # no part of knowledge is worth more than all
    frame = frame.sort_values("evppi", ascending=False, kind="stable", ignore_index=True)
    frame.attrs["evpi"] = evpi
    return frame


def pilots(found: Searched, parameters: ParameterTable, seed: int) -> pd.DataFrame:
    """The worth of each pilot that the question names.

    Parameters
    ----------
    found : Searched
    parameters : ParameterTable
    seed : int

    Returns
    -------
    DataFrame
        Columns `name`, `symbol`, `unit`, `sd` (standard error of the pilot), `spread` (SD over the draws), `evsi`,
        `chance`, `evppi` (the same with a perfect measurement).

    Raises
    ------
    BadInput
        If a pilot measures what does not differ between the draws.
    """
    regression = Regression(options(found)[0], seed)
    draws = found.vectors.iloc[1:]
    rows = []
    for k, pilot in enumerate(found.question.pilots):
        if pilot.parameter not in draws or np.ptp(draws[pilot.parameter]) == 0:
            differs = [symbol for symbol in draws if np.ptp(draws[symbol]) > 0]
            raise BadInput(
                f"learn: '{pilot.parameter}' does not differ between the draws; {near(pilot.parameter, differs)}"
            )
        signal = draws[pilot.parameter].to_numpy(float)
        sd = _sd(pilot, float(found.vectors[pilot.parameter].iloc[0]))
        noise = streams.normal(seed, f"design.pilot.{k}", np.arange(len(signal)))
        unit = parameters.row(pilot.parameter)["unit"]
        rows.append(
            {"name": pilot.name, "symbol": pilot.parameter, "unit": unit, "sd": sd, "spread": float(signal.std()),
             "evsi": regression.gain(signal + sd * noise), "chance": regression.chance,
             "evppi": regression.gain(signal)}
        )  # fmt: skip
    return pd.DataFrame(rows, columns=["name", "symbol", "unit", "sd", "spread", "evsi", "chance", "evppi"])


def _sd(pilot: Pilot, value: float) -> float:
    """Standard error of a pilot; one given as a share of the value is kept as a negative share."""
    return pilot.sd if pilot.sd > 0 else -pilot.sd * abs(value)
