"""Responders: patients whose percent change of a measure is on the right side of a limit."""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from ranklsim.cohorts.endpoints.base import (
    BetweenVisits,
    Data,
    Endpoint,
    Setting,
    World,
    adjusted_for,
    mean_of,
    of_values,
)
from ranklsim.cohorts.endpoints.estimands import SOON, Estimand, failures, masked, of_patients, people
from ranklsim.cohorts.endpoints.reading import Plan, between
from ranklsim.cohorts.statistics import proportions
from ranklsim.cohorts.statistics.summaries import change_from
from ranklsim.cohorts.words import MEASURES, month_text
from ranklsim.pkpd.reading import Shape, Table

_LIMIT = re.compile(r"\s*(>=|<=|>|<)\s*(.+)")
_COMPARE = {">=": operator.ge, ">": operator.gt, "<=": operator.le, "<": operator.lt}


@dataclass(frozen=True, kw_only=True)
class Responder(BetweenVisits):
    """Whether the percent change of a measure is on the right side of a limit (`sign` one of >=, >, <=, <)."""

    key = "responder"
    plural = "Responders"
    analyses: ClassVar[Mapping[str, str]] = {
        "Miettinen-Nurminen": "risk difference", "Mantel-Haenszel": "risk ratio", "logistic": "odds ratio",
    }  # fmt: skip
    factor = 100.0
    failure = "not to have responded"
    measures = ("risk difference", "risk ratio", "odds ratio")
    shape = Shape(
        {"of": '"BMD_LS"', "from": '"0 mo"', "at": '"36 mo"', "gain": '">= 3 %"'}, needed=("of", "at", "gain")
    )
    example = '{ of = "BMD_LS", at = "36 mo", gain = ">= 3 %" }'

    sign: str
    limit: float

    @classmethod
    def read(cls, table: Table, plan: Plan) -> dict[str, Any] | None:
        found, gain = between(table, plan, "at"), table.text("gain", None)
        if gain is None:
            return None
        parts = _LIMIT.fullmatch(gain)
        if not parts:
            table.fault("gain", f'gain = "{gain}" has no sign; write it as in gain = ">= 3 %".')
            return None
        limit = table.parsed(("gain",), parts[2], "%")
        return None if found is None or limit is None else found | {"sign": parts[1], "limit": limit}

    @property
    def digits(self) -> int:
        return 1

    @property
    def higher_is_better(self) -> bool:
        return True

    @property
    def described(self) -> str:
        sign, limit = {">=": "≥", "<=": "≤"}.get(self.sign, self.sign), f"{self.limit:.1f}".replace("-", "−")
        return f"{MEASURES[self.measure]} change {sign} {limit}% at month {month_text(self.to_month)}"

    def table(
        self, data: Data, setting: Setting, patients: pd.DataFrame | None = None, estimand: Estimand | None = None
    ) -> pd.DataFrame:
        """A row for each patient with both values, or failed by the composite strategy; `event` is the response."""
        patients = data.patients if patients is None else patients
        visits = data.seen(self.measure)
        visits = of_patients(visits, patients)
        if estimand is not None:
            visits = masked(visits, data.events, self.measure, (self.from_month, self.to_month), estimand)
        change = self._change(visits)
        met = _COMPARE[self.sign](change["value"].to_numpy(float), self.limit)
        own = people(patients, self.covariates)
        place = pd.Index(own["patient"].to_numpy()).get_indexer(change["patient"].to_numpy())
        found = own.take(place).reset_index(drop=True)
        found.insert(1, "event", met)
        if estimand is None:
            return found
        failed = failures(data.events, patients, estimand, self.to_month)
        lost = failed[failed].index
        if not len(lost):
            return found
        more = people(patients[patients["patient"].isin(lost)], self.covariates).assign(event=False)
        return pd.concat([found[~found["patient"].isin(lost)], more], ignore_index=True)

    def _change(self, visits: pd.DataFrame) -> pd.DataFrame:
        change = change_from(visits, self.measure, self.from_month)
        return change[np.abs(change["month"] - self.to_month) < SOON]

    def alone(self, own: pd.DataFrame) -> dict[str, Any]:
        return share_of(own)

    def effect(self, table: pd.DataFrame, arm: str, comparator: str, measure: str) -> dict[str, Any]:
        return effect_of_shares(self, table, arm, comparator, measure)

    def left(self, table: pd.DataFrame, patients: pd.DataFrame, arm: str) -> pd.DataFrame:
        """Patients who were not seen at the visit."""
        everyone = people(patients, self.covariates)
        unseen = (everyone["arm"] == arm) & ~everyone["patient"].isin(table["patient"])
        return everyone[unseen].sort_values("patient").assign(event=False)

    def outcome(self, world: World, estimand: Estimand) -> pd.DataFrame:
        """Column `value`: 1 of those who responded, else 0."""
        patients, visits, happened = world
        seen = masked(visits, happened, self.measure, (self.from_month, self.to_month), estimand)
        value = self._change(seen).set_index("patient")["value"].reindex(patients["patient"])
        met = _COMPARE[self.sign](value, self.limit).astype(float).where(value.notna())
        failed = failures(happened, patients, estimand, self.to_month).reindex(value.index)
        return met.where(~failed, 0.0).to_frame("value")

    def level(self, own: pd.DataFrame, end: float) -> tuple[float, float]:
        return mean_of(own["value"].dropna().to_numpy(float))

    def contrast(
        self, summary: str, here: pd.DataFrame, there: pd.DataFrame, ends: tuple[float, float] = (np.nan, np.nan)
    ) -> tuple[float, float]:
        return of_values(here["value"].to_numpy(float), there["value"].to_numpy(float), summary)


def share_of(own: pd.DataFrame) -> dict[str, Any]:
    """Share of the patients of an arm with the event, with Wilson's interval.

    Parameters
    ----------
    own : DataFrame
        Column `event`.
    """
    events = int(own["event"].sum())
    return proportions.proportion(events, len(own)) | {"events": events, "method": "share with Wilson's interval"}


def effect_of_shares(spec: Endpoint, table: pd.DataFrame, arm: str, comparator: str, measure: str) -> dict[str, Any]:
    """One measure of the effect on a share.

    Parameters
    ----------
    spec : Endpoint
        Its analysis and covariates.
    table : DataFrame
        Columns `arm`, `stratum`, `event` and covariates.
    arm, comparator : str
    measure : str
        Risk difference, risk ratio or odds ratio.

    Raises
    ------
    BadInput
        If an arm has no patient left.
    RunFailed
        If a model does not converge, or has no finite answer.
    """
    if measure == "odds ratio":
        found: dict[str, Any] = dict(proportions.odds_ratio(table, arm, comparator, spec.covariates))
        return found | {"method": f"logistic, strata{adjusted_for(spec.covariates)}"}
    if measure == "risk difference" and spec.analysis == "Miettinen-Nurminen":
        group, event = np.asarray(table["arm"], dtype=object), table["event"].to_numpy(bool)
        (x1, n1), (x0, n0) = ((int(event[group == a].sum()), int((group == a).sum())) for a in (arm, comparator))
        return proportions.risk_difference(x1, n1, x0, n0) | {"method": "Miettinen-Nurminen score"}
    pooled = proportions.mantel_haenszel(table, arm, comparator, measure=measure)
    return pooled | {"method": "Mantel-Haenszel over strata"}
