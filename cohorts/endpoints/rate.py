"""Rates: how many of an event a patient and year."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from ranklsim.cohorts.endpoints.base import Data, Endpoint, Setting, World, adjusted_for
from ranklsim.cohorts.endpoints.estimands import SOON, Estimand, first_month, people
from ranklsim.cohorts.endpoints.reading import Plan, counted
from ranklsim.cohorts.statistics import rates
from ranklsim.cohorts.statistics.tails import chi2_quantile
from ranklsim.cohorts.words import EVENT_WORDS, month_text
from ranklsim.pkpd.errors import RunFailed
from ranklsim.pkpd.reading import Shape, Table

MONTHS_PER_YEAR = 12.0


@dataclass(frozen=True, kw_only=True)
class Rate(Endpoint):
    """How many of an event a patient and year, between two months."""

    key = "rate"
    plural = "Rates"
    analyses: ClassVar[Mapping[str, str]] = {"negative binomial": "rate ratio"}
    factor = 100.0
    measures = ("rate ratio",)
    shape = Shape({"of": '"vertebral"', "from": '"0 mo"', "by": '"36 mo"'}, needed=("of", "by"))
    example = '{ of = "vertebral", by = "36 mo" }'

    event: str
    by_month: float
    from_month: float = 0.0

    @classmethod
    def read(cls, table: Table, plan: Plan) -> dict[str, Any] | None:
        return counted(table, plan)

    @property
    def last_month(self) -> float:
        return self.by_month

    @property
    def higher_is_better(self) -> bool:
        return False

    @property
    def unit(self) -> str:
        return "per 100 patient-years"

    @property
    def described(self) -> str:
        return f"{EVENT_WORDS[self.event]}, months {month_text(self.from_month)} to {month_text(self.by_month)}"

    def counted(self, events: float, n: int) -> str:
        return f"{int(events)}"

    def table(
        self, data: Data, setting: Setting, patients: pd.DataFrame | None = None, estimand: Estimand | None = None
    ) -> pd.DataFrame:
        return self.counts(data.events, data.patients if patients is None else patients, estimand)

    def counts(self, happened: pd.DataFrame, patients: pd.DataFrame, estimand: Estimand | None = None) -> pd.DataFrame:
        """How many events each patient had, and in how many years: `count`, `years` beside the columns of `people`.

        A composite event counts as one event at its month, after which the patient is followed no more.

        Parameters
        ----------
        happened, patients : DataFrame
            As in a run folder.
        estimand : Estimand, optional
            Whose strategies are applied.
        """
        own = people(patients, self.covariates)
        last = np.minimum(own["last_month"].to_numpy(float), self.by_month)
        extra = np.zeros(len(own))
        if estimand is not None:
            limit = ("hypothetical", "while on treatment", "composite")
            names = [event for how in limit for event in estimand.with_strategy(how)]
            last = np.minimum(last, first_month(happened, names, own["patient"]))
            failed = first_month(happened, estimand.with_strategy("composite"), own["patient"])
            extra = ((failed <= last + SOON) & (failed > self.from_month)).astype(float)
        until = pd.Series(last, index=own["patient"].to_numpy())
        seen = happened[happened["event"] == self.event]
        inside = (seen["month"] > self.from_month + SOON) & (
            seen["month"] <= seen["patient"].map(until).fillna(-1.0) + SOON
        )
        total = own["patient"].map(seen[inside].groupby("patient")["count"].sum()).fillna(0.0).to_numpy(float)
        found = own.assign(count=total + extra, years=(last - self.from_month) / MONTHS_PER_YEAR)
        return found[found["years"] > 0].reset_index(drop=True)

    def alone(self, own: pd.DataFrame) -> dict[str, Any]:
        events, years = float(own["count"].sum()), float(own["years"].sum())
        low = chi2_quantile(0.025, 2 * events) / 2 if events else 0.0
        high = chi2_quantile(0.975, 2 * events + 2) / 2
        out = {"estimate": events / years, "low": low / years, "high": high / years}
        return out | {"events": events, "method": "exact Poisson interval"}

    def effect(self, table: pd.DataFrame, arm: str, comparator: str, measure: str) -> dict[str, Any]:
        found: dict[str, Any] = rates.rate_ratio(table, arm, comparator, self.covariates)
        if found["method"].startswith("exact"):
            return found
        return found | {"method": f"{found['method']}, strata{adjusted_for(self.covariates)}"}

    def outcome(self, world: World, estimand: Estimand) -> pd.DataFrame:
        """Columns `count` and `years`."""
        patients, _, happened = world
        found = self.counts(happened, patients, estimand).set_index("patient")[["count", "years"]]
        return found.reindex(patients["patient"]).fillna(0.0)

    def level(self, own: pd.DataFrame, end: float) -> tuple[float, float]:
        own = own.dropna(subset=["count"])  # patients outside of the population
        count, years = own["count"].to_numpy(float), own["years"].to_numpy(float)
        rate = count.sum() / years.sum() if years.sum() > 0 else np.nan
        return float(rate), float(np.sqrt(count.size) * (count - rate * years).std(ddof=1) / years.sum())

    def contrast(
        self, summary: str, here: pd.DataFrame, there: pd.DataFrame, ends: tuple[float, float] = (np.nan, np.nan)
    ) -> tuple[float, float]:
        """Ratio of the rates; its error by linearisation, which knows that the patients are pairs."""
        parts = []
        for outcomes in (here, there):
            own = outcomes[["count", "years"]].dropna().to_numpy(float)
            total, years = own.sum(axis=0)
            if total == 0:
                raise RunFailed("no event.")
            parts.append((total / years, (own[:, 0] - own[:, 1] * total / years) / total))
        (rate, a), (reference, b) = parts
        return rate / reference, float(np.sqrt(a.size) * (a - b).std(ddof=1))
