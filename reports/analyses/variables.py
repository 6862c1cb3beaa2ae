"""From a run's tables to a row a patient: the variable of an endpoint, intercurrent events handled as an estimand asks.

The same functions make the estimate (from what was seen) and the truth (from courses that were simulated without
anything missing). What each strategy of ICH E9(R1) [1]_ does:

================== ===========================================================================================
treatment policy   nothing: all that was seen counts, whatever happened before
hypothetical       what was seen after the event is set missing (a time to event is censored there)
while on treatment the last value up to the event stands for the endpoint's visit (a time to event ends there)
composite          the event is a failure: below every value, no responder, the event itself
================== ===========================================================================================

References
----------
.. [1] ICH E9(R1) Addendum on estimands and sensitivity analysis in clinical trials, step 4, 20 November 2019.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ranklsim.cohorts.people.criteria import admitted, values_of
from ranklsim.cohorts.protocol.endpoints import Change, Estimand, Event, Rate, Responder
from ranklsim.cohorts.statistics import summaries

COMPARE = {">=": operator.ge, ">": operator.gt, "<=": operator.le, "<": operator.lt}
MONTHS_PER_YEAR = 12.0
_TOLERANCE = 1e-9


def first_month(events: pd.DataFrame, names: Sequence[str], patients: pd.Series) -> np.ndarray:
    """Month of each patient's first event of those named, infinite if none; shape (n_patients,)."""
    own = events[events["event"].isin(list(names))]
    return patients.map(own.groupby("patient")["month"].min()).fillna(np.inf).to_numpy(float)


def in_population(patients: pd.DataFrame, estimand: Estimand) -> pd.DataFrame:
    """Patients of an estimand's population."""
    return patients[admitted(estimand.population, patients)] if estimand.population else patients


def masked(
    visits: pd.DataFrame, events: pd.DataFrame, endpoint: Change | Responder, estimand: Estimand
) -> pd.DataFrame:
    """Visits in which the measure of an endpoint is what the estimand lets count, but for the composite strategy.

    Parameters
    ----------
    visits : DataFrame
        Columns `patient`, `arm`, `month` and the measure.
    events : DataFrame
        As in a run folder.
    endpoint, estimand

    Returns
    -------
    DataFrame
        A copy, sorted as `visits`.
    """
    measure = endpoint.measure
    out = visits[["patient", "arm", "month", measure]].copy()
    gone = first_month(events, estimand.with_strategy("hypothetical"), out["patient"])
    out.loc[out["month"].to_numpy(float) > gone + _TOLERANCE, measure] = np.nan
    last = first_month(events, estimand.with_strategy("while on treatment"), out["patient"])
    if np.isfinite(last).any():
        month = out["month"].to_numpy(float)
        seen = out[(month <= last + _TOLERANCE) & (month >= endpoint.from_month) & out[measure].notna()]
        final = seen.sort_values("month").groupby("patient")[measure].last()
        at_end = (np.abs(month - endpoint.to_month) < _TOLERANCE) & (last < endpoint.to_month - _TOLERANCE)
        out.loc[(month > last + _TOLERANCE) & ~at_end, measure] = np.nan
        out.loc[at_end, measure] = out.loc[at_end, "patient"].map(final)
    return out


def failures(events: pd.DataFrame, patients: pd.DataFrame, estimand: Estimand, month: float) -> pd.Series:
    """Which patients had an event of the composite strategy up to a month; index the patient."""
    first = first_month(events, estimand.with_strategy("composite"), patients["patient"])
    return pd.Series(first <= month + _TOLERANCE, index=patients["patient"].to_numpy())


def responders(visits: pd.DataFrame, patients: pd.DataFrame, endpoint: Responder) -> pd.DataFrame:
    """Whether each patient responded: columns `patient`, `arm`, `stratum`, `event`; no row without both values."""
    change = summaries.change_from(visits, endpoint.measure, endpoint.from_month)
    change = change[np.abs(change["month"] - endpoint.to_month) < _TOLERANCE]
    met = COMPARE[endpoint.sign](change["value"].to_numpy(float), endpoint.limit)
    own = people(patients, endpoint.covariates).set_index("patient")
    table = change[["patient"]].assign(event=met)
    return table.join(own, on="patient").reset_index(drop=True)


def times(
    events: pd.DataFrame, patients: pd.DataFrame, endpoint: Event, estimand: Estimand | None = None
) -> pd.DataFrame:
    """Time to an event for each patient.

    Parameters
    ----------
    events : DataFrame
        Columns `patient`, `event`, `month`, `count`.
    patients : DataFrame
        With `last_month`, until which each was followed.
    endpoint : Event
    estimand : Estimand, optional
        Whose strategies are applied; without one all that was seen counts.

    Returns
    -------
    DataFrame
        Columns `patient`, `arm`, `stratum`, covariates, `time` (months since `from_month`), `event` (bool), `cause`
        (0 none, 1 the event, 2 what ends the question without it: death, or an event of the strategy while on
        treatment); patients who had left by `from_month` have no row.
    """
    own = people(patients, endpoint.covariates)
    last = np.minimum(own["last_month"].to_numpy(float), endpoint.by_month)
    hit = _reached(events, own["patient"], endpoint)
    ends = [] if endpoint.event == "death" else ["death"]  # after which the event asked for cannot come any more
    if estimand is not None:
        composite = estimand.with_strategy("composite")
        last = np.minimum(last, first_month(events, estimand.with_strategy("hypothetical"), own["patient"]))
        hit = np.minimum(hit, _after(first_month(events, composite, own["patient"]), endpoint.from_month))
        ends = [name for name in ends if estimand.events.get(name) not in ("hypothetical", "composite")]
        ends += estimand.with_strategy("while on treatment")
    over = first_month(events, ends, own["patient"])
    time = np.minimum(np.minimum(hit, last), over)
    event = (hit <= last + _TOLERANCE) & (hit <= over)
    cause = np.where(event, 1, np.where(over <= last + _TOLERANCE, 2, 0))
    table = own.assign(time=time - endpoint.from_month, event=event, cause=cause)
    return table[table["time"] > 0].reset_index(drop=True)


def _after(months: np.ndarray, start: float) -> np.ndarray:
    return np.where(months > start + _TOLERANCE, months, np.inf)


def _reached(events: pd.DataFrame, patients: pd.Series, endpoint: Event) -> np.ndarray:
    """Month at which each patient's count of the event, from `from_month` on, reaches `least`; infinite if never."""
    window = (events["month"] > endpoint.from_month + _TOLERANCE) & (events["month"] <= endpoint.by_month + _TOLERANCE)
    own = events[(events["event"] == endpoint.event) & window].sort_values(["patient", "month"], kind="stable")
    total = own.groupby("patient")["count"].cumsum()
    return first_month(own[total >= endpoint.least], [endpoint.event], patients)


def found_by_visit(table: pd.DataFrame, first: float) -> pd.DataFrame:
    """Of a table from `times`, those followed up to the first visit at which the event can be found."""
    return table[table["event"] | (table["time"] >= first - _TOLERANCE)].reset_index(drop=True)


def counts(
    events: pd.DataFrame, patients: pd.DataFrame, endpoint: Rate, estimand: Estimand | None = None
) -> pd.DataFrame:
    """How many events each patient had, and in how many years: `count`, `years` beside the columns of `people`.

    A composite event counts as one event at its month, after which the patient is followed no more.
    """
    own = people(patients, endpoint.covariates)
    last = np.minimum(own["last_month"].to_numpy(float), endpoint.by_month)
    extra = np.zeros(len(own))
    if estimand is not None:
        limit = ("hypothetical", "while on treatment", "composite")
        names = [event for how in limit for event in estimand.with_strategy(how)]
        last = np.minimum(last, first_month(events, names, own["patient"]))
        failed = first_month(events, estimand.with_strategy("composite"), own["patient"])
        extra = ((failed <= last + _TOLERANCE) & (failed > endpoint.from_month)).astype(float)
    until = pd.Series(last, index=own["patient"].to_numpy())
    seen = events[events["event"] == endpoint.event]
    inside = (seen["month"] > endpoint.from_month + _TOLERANCE) & (
        seen["month"] <= seen["patient"].map(until).fillna(-1.0) + _TOLERANCE
    )
    total = own["patient"].map(seen[inside].groupby("patient")["count"].sum()).fillna(0.0).to_numpy(float)
    years = (last - endpoint.from_month) / MONTHS_PER_YEAR
    table = own.assign(count=total + extra, years=years)
    return table[table["years"] > 0].reset_index(drop=True)


def people(patients: pd.DataFrame, covariates: Sequence[str] = ()) -> pd.DataFrame:
    """Columns `patient`, `arm`, `stratum`, `last_month` where known, and covariates."""
    columns = [name for name in ("patient", "arm", "stratum", "last_month") if name in patients]
    more: Mapping[str, np.ndarray] = {name: values_of(name, patients) for name in covariates}
    return patients[columns].assign(**more).reset_index(drop=True)
