"""Estimands: a question after ICH E9(R1), and what its strategies make of what was seen of a patient.

The same functions make the estimate (from what was seen) and the truth (from courses that were simulated without
anything missing). What each strategy of ICH E9(R1) [1]_ does:

================== ===========================================================================================
treatment policy   nothing: all that was seen counts, whatever happened before
hypothetical       what was seen after the event is set missing (a time to event is censored there)
while on treatment the last value up to the event stands for the endpoint's visit (a time to event ends there)
composite          the event is a failure: below every value, no responder, the event itself
================== ===========================================================================================

An estimand has the five attributes of [1]_: population, treatment, variable (an endpoint), intercurrent events each
with its strategy, and the summary measure.

References
----------
.. [1] ICH E9(R1) Addendum on estimands and sensitivity analysis in clinical trials, step 4, 20 November 2019.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ranklsim.cohorts import events
from ranklsim.cohorts.people.criteria import Range, admitted, values_of

STRATEGIES = ("treatment policy", "hypothetical", "while on treatment", "composite")
"""What may be done with an intercurrent event (ICH E9(R1)); principal stratum is not offered."""

INTERCURRENT = (events.STOPPED, events.DROPOUT, events.RESCUE, events.SWITCH, events.DEATH)
"""Events that an estimand may have a strategy for."""

REAL = "real"
"""Name of the world in which everything happens as it does."""

SOON = 1e-9
"""Months that are the same but for rounding."""


@dataclass(frozen=True)
class Estimand:
    """A question after ICH E9(R1).

    Attributes
    ----------
    name : str
    endpoint : str
        Variable: the endpoint's name.
    primary : bool
    population : dict
        Covariate to closed range; empty for all patients randomised.
    arms : tuple of str
        Treatments that are compared with control.
    events : dict
        Intercurrent event to one of `STRATEGIES`.
    missing : str
        How values that were not seen are imputed: MAR, J2R, CIR or CR.
    summary : str
        Difference of means, difference of medians, risk difference, risk ratio, odds ratio, hazard ratio,
        subdistribution hazard ratio, rate ratio.
    """

    name: str
    endpoint: str
    primary: bool
    population: dict[str, Range]
    arms: tuple[str, ...]
    events: dict[str, str]
    missing: str
    summary: str

    @property
    def world(self) -> str:
        """Name of the world that its truth is about: `REAL`, or one without the events of the hypothetical strategy."""
        return world_without(self.with_strategy("hypothetical"))

    def with_strategy(self, strategy: str) -> tuple[str, ...]:
        """Events that are handled so.

        Parameters
        ----------
        strategy : str
            Such as "hypothetical".
        """
        return tuple(event for event, how in self.events.items() if how == strategy)


def world_without(names: Collection[str]) -> str:
    """Name of a world in which some events never happen.

    Parameters
    ----------
    names : collection of str
        Of `INTERCURRENT`.
    """
    return f"without {', '.join(name for name in INTERCURRENT if name in names)}" if names else REAL


def first_month(happened: pd.DataFrame, names: Sequence[str], patients: pd.Series) -> np.ndarray:
    """Month of each patient's first event of those named, infinite if none; shape (n_patients,).

    Parameters
    ----------
    happened : DataFrame
        Intercurrent events: `patient`, `event`, `month`.
    names : sequence of str
        Events that count.
    patients : Series
        Patient numbers, in the order of the result.
    """
    if not names or not len(happened):
        return np.full(len(patients), np.inf)
    event = np.asarray(happened["event"], dtype=object)
    hit = np.logical_or.reduce([event == name for name in names])
    return earliest(happened["patient"].to_numpy()[hit], happened["month"].to_numpy(float)[hit], patients)


def earliest(who: np.ndarray, when: np.ndarray, patients: pd.Series) -> np.ndarray:
    """The earliest of the months of each patient, infinite if there is none; shape (n_patients,).

    Parameters
    ----------
    who : ndarray of int, shape (n,)
    when : ndarray, shape (n,)
        Months.
    patients : Series
        Patient numbers, in the order of the result.
    """
    out = np.full(len(patients), np.inf)
    if not who.size:
        return out
    known, code = np.unique(who, return_inverse=True)
    first = np.full(known.size, np.inf)
    np.minimum.at(first, code, when)
    number = patients.to_numpy()
    place = np.searchsorted(known, number)
    there = place < known.size
    there[there] = known[place[there]] == number[there]
    out[there] = first[place[there]]
    return out


def in_population(patients: pd.DataFrame, estimand: Estimand) -> pd.DataFrame:
    """Patients of an estimand's population.

    Parameters
    ----------
    patients : DataFrame
        One row for each patient.
    estimand : Estimand
        Its population is a range of covariates.
    """
    return patients[admitted(estimand.population, patients)] if estimand.population else patients


def of_patients(visits: pd.DataFrame, patients: pd.DataFrame) -> pd.DataFrame:
    """Visits of some patients.

    Parameters
    ----------
    visits, patients : DataFrame
        Both with `patient`.
    """
    mine = np.isin(visits["patient"].to_numpy(), patients["patient"].to_numpy())
    return visits if mine.all() else visits[mine]


def masked(
    visits: pd.DataFrame, happened: pd.DataFrame, measure: str, months: tuple[float, float], estimand: Estimand
) -> pd.DataFrame:
    """Visits in which a measure is what the estimand lets count, but for the composite strategy.

    Parameters
    ----------
    visits : DataFrame
        Columns `patient`, `arm`, `month` and the measure.
    happened : DataFrame
        Events, as in a run folder.
    measure : str
    months : (float, float)
        Between which the measure changes; the last value on treatment stands for the later one.
    estimand : Estimand

    Returns
    -------
    DataFrame
        A copy, sorted as `visits`.
    """
    start, end = months
    values, month = visits[measure].to_numpy(), visits["month"].to_numpy(float)
    gone = first_month(happened, estimand.with_strategy("hypothetical"), visits["patient"])
    values = np.where(month > gone + SOON, np.array(np.nan, values.dtype), values)
    own = {name: visits[name].array for name in ("patient", "arm", "month")}
    out = pd.DataFrame(own | {measure: values}, index=visits.index, copy=False)
    last = first_month(happened, estimand.with_strategy("while on treatment"), out["patient"])
    if np.isfinite(last).any():
        seen = out[(month <= last + SOON) & (month >= start) & out[measure].notna()]
        final = seen.sort_values("month").groupby("patient")[measure].last()
        at_end = (np.abs(month - end) < SOON) & (last < end - SOON)
        out.loc[(month > last + SOON) & ~at_end, measure] = np.nan
        out.loc[at_end, measure] = out.loc[at_end, "patient"].map(final)
    return out


def failures(happened: pd.DataFrame, patients: pd.DataFrame, estimand: Estimand, month: float) -> pd.Series:
    """Which patients had an event of the composite strategy up to a month; index the patient.

    Parameters
    ----------
    happened : DataFrame
        Intercurrent events: `patient`, `event`, `month`.
    patients : DataFrame
        One row for each patient.
    estimand : Estimand
        Which events are failures.
    month : float
        Events later than this do not count.
    """
    first = first_month(happened, estimand.with_strategy("composite"), patients["patient"])
    return pd.Series(first <= month + SOON, index=patients["patient"].to_numpy())


def people(patients: pd.DataFrame, covariates: Sequence[str] = ()) -> pd.DataFrame:
    """Columns `patient`, `arm`, `stratum`, `last_month` where known, and covariates.

    Parameters
    ----------
    patients : DataFrame
        One row for each patient.
    covariates : sequence of str
        Further columns to keep.
    """
    columns = [name for name in ("patient", "arm", "stratum", "last_month") if name in patients]
    more: Mapping[str, np.ndarray] = {name: values_of(name, patients) for name in covariates}
    return pd.DataFrame({name: patients[name].array for name in columns} | dict(more), copy=False)
