"""Events: whether and when something happened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from ranklsim.cohorts import events
from ranklsim.cohorts.endpoints.base import Data, Endpoint, Setting, World, adjusted_for
from ranklsim.cohorts.endpoints.estimands import SOON, Estimand, earliest, first_month, people
from ranklsim.cohorts.endpoints.reading import Plan, counted
from ranklsim.cohorts.endpoints.responder import effect_of_shares, share_of
from ranklsim.cohorts.statistics import competing, proportions, survival
from ranklsim.cohorts.statistics.ancova import LEVEL
from ranklsim.cohorts.statistics.claims import is_ratio
from ranklsim.cohorts.statistics.tails import normal_quantile, normal_tail
from ranklsim.cohorts.words import EVENT_WORDS, month_text
from ranklsim.pkpd.reading import Shape, Table


@dataclass(frozen=True, kw_only=True)
class Event(Endpoint):
    """Whether and when something happened, after `from_month` and by `by_month`; at least `least` of it summed up."""

    key = "event"
    plural = "Events"
    analyses: ClassVar[Mapping[str, str]] = {
        "Cox": "hazard ratio", "log-rank": "hazard ratio", "Fine-Gray": "subdistribution hazard ratio",
        "Gray": "subdistribution hazard ratio", "cumulative incidence": "risk difference",
        "Mantel-Haenszel": "risk ratio", "logistic": "odds ratio",
    }  # fmt: skip
    factor = 100.0
    failure = "to have had the event when they left"
    measures = ("hazard ratio", "subdistribution hazard ratio", "risk ratio", "risk difference")
    shape = Shape({"of": '"vertebral"', "from": '"0 mo"', "by": '"36 mo"', "least": "2"}, needed=("of", "by"))
    example = '{ of = "vertebral", by = "36 mo" }'

    event: str
    by_month: float
    from_month: float = 0.0
    least: int = 1

    @classmethod
    def read(cls, table: Table, plan: Plan) -> dict[str, Any] | None:
        found, least = counted(table, plan), table.whole("least", 1, least=1, most=1000)
        return None if found is None else found | {"least": least}

    @property
    def last_month(self) -> float:
        return self.by_month

    @property
    def digits(self) -> int:
        return 1

    @property
    def higher_is_better(self) -> bool:
        return False

    @property
    def grouped(self) -> bool:
        """Whether the event is found at planned visits, so that only the interval in which it happened is known."""
        return self.analysis in ("Mantel-Haenszel", "logistic")

    @property
    def summaries(self) -> tuple[str, ...]:
        if self.grouped:
            return ("risk ratio", "risk difference")
        if self.analysis in ("Fine-Gray", "Gray"):  # a competing event counts against the arm
            return ("subdistribution hazard ratio", "hazard ratio", "risk ratio", "risk difference")
        return self.measures

    @property
    def described(self) -> str:
        least = f"at least {self.least} of " if self.least > 1 else ""
        span = f"{month_text(self.from_month)} to {month_text(self.by_month)}"
        return f"{least}{EVENT_WORDS[self.event]}, months {span}"

    @property
    def notes(self) -> tuple[str, ...]:
        if self.grouped:
            return (
                "An event found at planned images is analysed as yes or no by the last of them, among patients with an "
                "image, strata pooled.",
            )
        return (
            "Death without the event is a competing event. A hazard ratio is cause-specific: who died is at risk no "
            "more; a subdistribution hazard ratio (Fine-Gray) compares cumulative incidences: who died stays at risk.",
        )

    def table(
        self, data: Data, setting: Setting, patients: pd.DataFrame | None = None, estimand: Estimand | None = None
    ) -> pd.DataFrame:
        """As `times`; of a grouped endpoint on vertebral fractures, only the patients who had an image at all."""
        found = self.times(data.events, data.patients if patients is None else patients, estimand)
        imaging = [month for month in setting.imaging if month > self.from_month]
        if not self.grouped or self.event != events.VERTEBRAL or not imaging:
            return found
        return found_by_visit(found, min(imaging) - self.from_month)

    def times(self, happened: pd.DataFrame, patients: pd.DataFrame, estimand: Estimand | None = None) -> pd.DataFrame:
        """Time to the event for each patient.

        Parameters
        ----------
        happened : DataFrame
            Columns `patient`, `event`, `month`, `count`.
        patients : DataFrame
            With `last_month`, until which each was followed.
        estimand : Estimand, optional
            Whose strategies are applied; without one, all that was seen counts.

        Returns
        -------
        DataFrame
            Columns `patient`, `arm`, `stratum`, covariates, `time` (months since `from_month`), `event` (bool), `cause`
            (0 none, 1 the event, 2 what ends the question without it: death, or an event of the strategy while on
            treatment); patients who had left by `from_month` have no row.
        """
        own = people(patients, self.covariates)
        last = np.minimum(own["last_month"].to_numpy(float), self.by_month)
        hit = self._reached(happened, own["patient"])
        ends = [] if self.event == events.DEATH else [events.DEATH]  # after which the event cannot come any more
        if estimand is not None:
            composite = estimand.with_strategy("composite")
            last = np.minimum(last, first_month(happened, estimand.with_strategy("hypothetical"), own["patient"]))
            failed = first_month(happened, composite, own["patient"])
            hit = np.minimum(hit, np.where(failed > self.from_month + SOON, failed, np.inf))
            ends = [name for name in ends if estimand.events.get(name) not in ("hypothetical", "composite")]
            ends += estimand.with_strategy("while on treatment")
        over = first_month(happened, ends, own["patient"])
        time = np.minimum(np.minimum(hit, last), over)
        event = (hit <= last + SOON) & (hit <= over)
        cause = np.where(event, 1, np.where(over <= last + SOON, 2, 0))
        time = time - self.from_month
        here = np.flatnonzero(time > 0)
        columns: dict[str, Any] = {name: own[name].array.take(here) for name in own}
        return pd.DataFrame(columns | {"time": time[here], "event": event[here], "cause": cause[here]}, copy=False)

    def _reached(self, happened: pd.DataFrame, patients: pd.Series) -> np.ndarray:
        """Month at which each patient's count of the event reaches `least`; infinite if never."""
        month = happened["month"].to_numpy(float)
        hit = (month > self.from_month + SOON) & (month <= self.by_month + SOON)
        hit &= np.asarray(happened["event"], dtype=object) == self.event
        if self.least == 1:
            return earliest(happened["patient"].to_numpy()[hit], month[hit], patients)
        own = happened[hit].sort_values(["patient", "month"], kind="stable")
        own = own[own.groupby("patient")["count"].cumsum() >= self.least]
        return earliest(own["patient"].to_numpy(), own["month"].to_numpy(float), patients)

    @property
    def _span(self) -> float:
        return self.by_month - self.from_month

    def alone(self, own: pd.DataFrame) -> dict[str, Any]:
        if self.grouped:
            return share_of(own)
        curve = survival.cumulative_incidence(own["time"].to_numpy(), own["cause"].to_numpy())
        at = survival.at_month(curve, self._span)
        out = {name: at[name] for name in ("estimate", "low", "high")}
        if at["std_error"] == 0:  # no event or nothing but events: the share of those followed so long
            known = int(((own["time"] >= self._span - SOON) | (own["cause"] > 0)).sum())
            out = proportions.proportion(round(at["estimate"]) * known, known)
        return out | {"events": int(own["event"].sum()), "method": "cumulative incidence (Aalen-Johansen)"}

    def effect(self, table: pd.DataFrame, arm: str, comparator: str, measure: str) -> dict[str, Any]:
        if self.grouped:
            return effect_of_shares(self, table, arm, comparator, measure)
        adjusted = adjusted_for(self.covariates)
        pair = (table, arm, comparator)
        if measure == "hazard ratio" and self.analysis == "log-rank":
            found = survival.log_rank_ratio(*pair, stratified=True)
            return found | {"method": "log-rank, stratified, with the interval of its score"}
        if measure == "hazard ratio":
            return survival.cox(*pair, self.covariates, stratified=True) | {"method": f"Cox, stratified{adjusted}"}
        if measure == "subdistribution hazard ratio":
            ratio = competing.fine_gray(*pair, self.covariates, stratified=True)
            words = "Fine-Gray, stratified"
            if self.analysis == "Gray" and "std_error" in ratio:
                tested = competing.gray(table, [arm, comparator], stratified=True)
                if "z" in tested:
                    ratio, words = _by_test(ratio, tested["z"]), f"{words}; p of Gray's test, stratified"
                else:  # a ratio by Fine and Gray has a test of its own
                    words = f"{words}; Gray's test cannot be made"
            return ratio | {"method": words + adjusted}
        found = survival.incidence_contrast(table, arm, comparator, self._span, ratio=is_ratio(measure))
        return found | {"method": "cumulative incidence (Aalen-Johansen)"}

    def curves(self, data: Data, setting: Setting, visits: Sequence[float]) -> tuple[pd.DataFrame, pd.DataFrame] | None:
        """Cumulative incidence and numbers at risk of each arm; months since randomisation."""
        if self.grouped:
            return None
        months = sorted({self.from_month, self.by_month, *(m for m in visits if self.from_month < m < self.by_month)})
        table, found, risks = self.table(data, setting), [], []
        for arm in setting.arms:
            own = table[table["arm"] == arm]
            curve = survival.cumulative_incidence(own["time"].to_numpy(), own["cause"].to_numpy())
            found.append(curve.assign(endpoint=self.name, arm=arm, month=curve["month"] + self.from_month))
            counts = survival.numbers_at_risk(own["time"].to_numpy(), [m - self.from_month for m in months])
            risks.append(pd.DataFrame({"endpoint": self.name, "arm": arm, "month": months, "n": counts}))
        return pd.concat(found, ignore_index=True), pd.concat(risks, ignore_index=True)

    def left(self, table: pd.DataFrame, patients: pd.DataFrame, arm: str) -> pd.DataFrame:
        """Patients who were not followed to the end."""
        short = (table["arm"] == arm) & (table["cause"] == 0) & (table["time"] < self._span - 1e-6)
        return table[short].sort_values("patient").assign(event=True, cause=1)

    def outcome(self, world: World, estimand: Estimand) -> pd.DataFrame:
        """Columns `time`, `event` and `cause`."""
        patients, _, happened = world
        found = self.times(happened, patients, estimand).set_index("patient")
        return found[["time", "event", "cause"]].astype(float).reindex(patients["patient"])

    def level(self, own: pd.DataFrame, end: float) -> tuple[float, float]:
        known = own.dropna(subset=["time"])
        curve = survival.cumulative_incidence(known["time"].to_numpy(float), known["cause"].to_numpy(int))
        if curve.empty:
            return np.nan, np.nan
        at = survival.at_month(curve, self._span)
        return at["estimate"], at["std_error"]

    def contrast(
        self, summary: str, here: pd.DataFrame, there: pd.DataFrame, ends: tuple[float, float] = (np.nan, np.nan)
    ) -> tuple[float, float]:
        """Hazard ratio, or risks by the end; its error is as if the patients were not the same."""
        both = pd.concat([here.assign(arm="here"), there.assign(arm="there")], ignore_index=True)
        table = both.dropna(subset=["time"]).astype({"event": bool, "cause": int})
        if summary == "hazard ratio":
            found = survival.cox(table, "here", "there", stratified=True)
        elif summary == "subdistribution hazard ratio":
            found = competing.fine_gray(table, "here", "there", stratified=True)
        else:
            found = survival.incidence_contrast(table, "here", "there", self._span, ratio=summary == "risk ratio")
        return found["estimate"], found.get("std_error", np.nan)


def _by_test(ratio: dict[str, Any], z: float) -> dict[str, Any]:
    """A ratio with the p of a rank test, and the interval of ratios that the test, moved by the model's error, allows.

    The statistic of a ratio is that of the test less the logarithm of the ratio in standard errors of the model, so
    that interval and test never contradict each other; the two statistics agree but for terms of a lower order.
    """
    test = RankTest(z, ratio["std_error"])
    low, high = test.interval(LEVEL)
    return ratio | {"p": 2 * float(normal_tail(abs(z))), "z": test, "low": low, "high": high}


@dataclass(frozen=True)
class RankTest:
    """Signed z of a ratio: `z` of no effect, moved by `error` of the logarithm."""

    z: float
    error: float

    def __call__(self, ratio: float) -> float:
        return self.z - float(np.log(ratio)) / self.error

    def interval(self, level: float) -> tuple[float, float]:
        """Ratios that are not rejected.

        Parameters
        ----------
        level : float
        """
        half = float(normal_quantile(0.5 + level / 2))
        return float(np.exp((self.z - half) * self.error)), float(np.exp((self.z + half) * self.error))


def found_by_visit(table: pd.DataFrame, first: float) -> pd.DataFrame:
    """Patients who were followed up to the first visit at which the event can be found.

    Parameters
    ----------
    table : DataFrame
        As from `Event.times`.
    first : float
        Months of that visit since `from_month`.
    """
    seen = table["event"].to_numpy(bool) | (table["time"].to_numpy() >= first - SOON)
    return table if seen.all() else pd.DataFrame({name: table[name].array[seen] for name in table}, copy=False)
