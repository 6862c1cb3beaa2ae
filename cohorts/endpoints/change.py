"""Changes of a measure between two visits: MMRM, analysis of covariance, differences of means or medians."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from ranklsim.cohorts.endpoints.base import (
    NOBODY,
    Analysed,
    BetweenVisits,
    Data,
    Result,
    Setting,
    World,
    jackknife,
    mean_of,
    of_values,
)
from ranklsim.cohorts.endpoints.estimands import SOON, Estimand, failures, masked, of_patients
from ranklsim.cohorts.endpoints.reading import Plan, between
from ranklsim.cohorts.measures import BMD_MEASURES, UNITS
from ranklsim.cohorts.statistics import mmrm, repeated, summaries
from ranklsim.cohorts.statistics.ancova import LEVEL, ancova
from ranklsim.cohorts.statistics.claims import Effect
from ranklsim.cohorts.statistics.imputation import STRATEGIES
from ranklsim.cohorts.statistics.tails import normal_quantile
from ranklsim.cohorts.words import MEASURES, month_text
from ranklsim.pkpd.errors import BadInput
from ranklsim.pkpd.reading import Shape, Table


@dataclass(frozen=True)
class ChangeDetail:
    """What the tables of a change show besides its results.

    Attributes
    ----------
    rows : list of dict
        Of `summaries.ENDPOINT_COLUMNS`, one for each arm.
    model : Repeated or None
        The mixed model, where the analysis is one.
    """

    rows: list[dict[str, Any]]
    model: repeated.Repeated | None

    @property
    def table(self) -> pd.DataFrame:
        """The rows as a table."""
        return pd.DataFrame(self.rows, columns=list(summaries.ENDPOINT_COLUMNS))


@dataclass(frozen=True, kw_only=True)
class Change(BetweenVisits):
    """A change of one measure between two of its visits; `kind` is percent or absolute.

    `analysis` is ANCOVA, MMRM, mean difference or median difference; `errors` are those of an MMRM.
    """

    key = "change"
    plural = "Changes"
    analyses: ClassVar[Mapping[str, str]] = {
        "MMRM": "difference of means", "ANCOVA": "difference of means", "mean difference": "difference of means",
        "median difference": "difference of medians",
    }  # fmt: skip
    moves = True
    imputes = True
    errors_of: ClassVar[Mapping[str, tuple[str, ...]]] = {"MMRM": mmrm.ERRORS}
    measures = ("difference of means", "difference of medians")
    shape = Shape({"of": '"BMD_LS"', "from": '"0 mo"', "to": '"36 mo"', "as": '"percent"'}, needed=("of", "from", "to"))
    example = '{ of = "BMD_LS", from = "0 mo", to = "36 mo", as = "percent" }'

    kind: str = "percent"
    errors: str = mmrm.MODEL

    @classmethod
    def read(cls, table: Table, plan: Plan) -> dict[str, Any] | None:
        kind, found = table.choice("as", ("percent", "absolute"), "percent"), between(table, plan, "to")
        return None if found is None else found | {"kind": kind}

    @property
    def higher_is_better(self) -> bool:
        return self.measure.startswith("BMD") or self.measure == "CA"

    @property
    def tested(self) -> bool:
        return self.analysis != "median difference"

    @property
    def tips(self) -> bool:
        return self.analysis == "MMRM"

    @property
    def effect_unit(self) -> str:
        return "%" if self.kind == "percent" else UNITS[self.measure]

    @property
    def unit(self) -> str:
        return "%" if self.kind == "percent" else summaries.UNITS.get(self.measure, "")

    @property
    def typical_unit(self) -> str:
        return self.unit

    @property
    def digits(self) -> int:
        return 4 if self.kind != "percent" else 2 if self.measure in BMD_MEASURES else 1

    @property
    def described(self) -> str:
        span = f"months {month_text(self.from_month)} to {month_text(self.to_month)}"
        return f"{MEASURES[self.measure]} change, {span}"

    # -- analysis --

    def table(
        self, data: Data, setting: Setting, patients: pd.DataFrame | None = None, estimand: Estimand | None = None
    ) -> pd.DataFrame:
        """A row for each patient with both values: `value`, `baseline`, `stratum` and covariates."""
        patients = data.patients if patients is None else patients
        visits = data.seen(self.measure)
        visits = of_patients(visits, patients)
        if estimand is not None:
            visits = self._masked(visits, data.events, estimand)
        return summaries.with_covariates(self._at_end(visits), visits, patients, self)

    def _masked(self, visits: pd.DataFrame, happened: pd.DataFrame, estimand: Estimand) -> pd.DataFrame:
        return masked(visits, happened, self.measure, (self.from_month, self.to_month), estimand)

    def _at_end(self, visits: pd.DataFrame) -> pd.DataFrame:
        change = summaries.change_from(visits, self.measure, self.from_month, kind=self.kind)
        return change[np.abs(change["month"] - self.to_month) < SOON]

    def alone(self, own: pd.DataFrame) -> dict[str, Any]:
        """The arm's mean."""
        found = summaries.mean_interval(own["value"].to_numpy(float))
        out = {"estimate": found["mean"], "low": found["ci_low"], "high": found["ci_high"]}
        return out | {"std_error": found["se"], "method": "mean"}

    def effect(self, table: pd.DataFrame, arm: str, comparator: str, measure: str) -> dict[str, Any]:
        """Difference of means by analysis of covariance at the endpoint's visit, or of medians by bootstrap.

        The standard error of a difference of medians is that of a normal distribution with the same interval.
        """
        if measure == "difference of medians":
            own, other = (table.loc[table["arm"] == name, "value"].to_numpy(float) for name in (arm, comparator))
            if not (own.size and other.size):
                raise BadInput("an arm has no patient left.")
            gap = summaries.median_difference(own, other, (len(own), len(other)))
            low, high = gap["difference_low"], gap["difference_high"]
            error = (high - low) / (2 * float(normal_quantile(0.5 + LEVEL / 2)))
            return {"estimate": gap["difference"], "low": low, "high": high, "std_error": error, "p": np.nan,
                    "df": np.nan, "method": "medians, bootstrap"}  # fmt: skip
        row: dict[str, Any] = ancova(table, [comparator, arm], comparator, self.covariates)[1]
        if not np.isfinite(float(row["difference"])):
            raise BadInput("an arm has no patient left.")
        out = {"estimate": row["difference"], "low": row["difference_low"], "high": row["difference_high"]}
        out |= {"std_error": row["difference_std_error"], "df": row["difference_df"]}
        return out | {"p": row["p"], "method": "ANCOVA at the visit"}

    def analyse(self, data: Data, setting: Setting) -> Analysed:
        """The analysis of the trial file; `detail` is a `ChangeDetail`."""
        visits, model = data.seen(self.measure), None
        if self.analysis == "MMRM":
            model = repeated.analyse(visits, data.patients, self, setting.arms, setting.comparator)
            found = model.endpoint_rows()
        else:
            found = summaries.endpoint_rows(
                visits, data.patients, self, setting.arms, setting.comparator, seed=setting.seed
            )
        for row in found:
            if not setting.compares(str(row["arm"])):
                row |= {name: np.nan for name in row if name.startswith("difference") or name == "p"}
        rows = {str(row["arm"]): row for row in found}
        results = tuple(self._result(arm, rows.get(arm), setting) for arm in setting.arms)
        return Analysed(self, results, ChangeDetail(found, model), setting.comparator)

    def _result(self, arm: str, row: Mapping[str, Any] | None, setting: Setting) -> Result:
        if row is None or not row["n"]:
            return Result(arm=arm, note=NOBODY)
        effect = None
        if setting.compares(arm) and np.isfinite(row["difference"]):
            effect = Effect(
                self.effect_measure, row["difference"], row["difference_low"], row["difference_high"],
                error=row["difference_std_error"], df=row["difference_df"], p=row["p"], method=row["method"],
            )  # fmt: skip
        return Result(
            arm=arm, n=int(row["n"]), estimate=row["estimate"], low=row["ci_low"], high=row["ci_high"],
            std_error=row["std_error"], effect=effect, method=row["method"], note=row["note"],
        )  # fmt: skip

    def estimates(
        self, data: Data, setting: Setting, estimand: Estimand, patients: pd.DataFrame
    ) -> dict[str, dict[str, Any]]:
        control = str(setting.comparator)
        arms = [control, *estimand.arms]
        patients = patients if set(setting.arms) == set(arms) else patients[patients["arm"].isin(arms)]
        visits = data.seen(self.measure)
        seen = self._masked(of_patients(visits, patients), data.events, estimand)
        if estimand.summary == "difference of medians":
            return self._medians(data, setting, estimand, patients, seen)
        ended = bool(estimand.with_strategy("while on treatment"))
        if estimand.missing != "MAR" or (self.analysis == "MMRM" and not ended):
            return self._by_model(setting, estimand, patients, seen, arms)
        table = summaries.with_covariates(self._at_end(seen), seen, patients, self)
        found: dict[str, dict[str, Any]] = {
            str(row["arm"]): row for row in ancova(table, arms, control, self.covariates)
        }
        note = ""
        if self.analysis == "MMRM":
            note = ("'While on treatment' ends a patient with her last value, for which a mixed model has no place: "
                    "only those with a value are compared.")  # fmt: skip
        n = int(found[control]["n"])
        return {arm: _against(found[arm], n, estimand, "ANCOVA at the visit", note) for arm in estimand.arms}

    def _by_model(
        self, setting: Setting, estimand: Estimand, patients: pd.DataFrame, seen: pd.DataFrame, arms: list[str]
    ) -> dict[str, dict[str, Any]]:
        """Mixed model of all visits; imputation from it where values that were not seen are not missing at random."""
        control = arms[0]
        found = repeated.analyse(seen, patients, replace(self, analysis="MMRM"), arms, control)
        rows = {str(row["arm"]): row for row in found.endpoint_rows()}
        method = found.method
        if estimand.missing != "MAR" and found.fit is not None and control in set(found.table["arm"]):
            strategies = (estimand.missing,)
            frame, _ = repeated.sensitivity(found, seen, patients, control, seed=setting.seed, strategies=strategies)
            rows = {str(row["arm"]): row for row in frame.to_dict("records")}
            method = f"multiple imputation ({STRATEGIES[estimand.missing]}) and ANCOVA"
        empty = dict.fromkeys(("difference", "difference_low", "difference_high", "difference_df", "p"), np.nan)
        empty |= {"difference_std_error": np.nan, "n": 0}
        n_control = int(rows.get(control, empty)["n"])
        return {arm: _against(rows.get(arm, empty), n_control, estimand, method, found.note) for arm in estimand.arms}

    def _medians(
        self, data: Data, setting: Setting, estimand: Estimand, patients: pd.DataFrame, seen: pd.DataFrame
    ) -> dict[str, dict[str, Any]]:
        """Differences of medians, with failures below (or above) every value."""
        value = self._at_end(seen).set_index("patient")["value"]
        values = self._ranked(value.reindex(patients["patient"]), data.events, patients, estimand)
        arms = patients.set_index("patient")["arm"].reindex(values.index).to_numpy()
        by_arm = {str(arm): own.dropna().to_numpy(float) for arm, own in values.groupby(arms)}
        reference = by_arm.get(str(setting.comparator), np.empty(0))
        out = {}
        for k, arm in enumerate(estimand.arms):
            own = by_arm.get(arm, np.empty(0))
            row: dict[str, Any] = {
                "n": own.size,
                "n_control": reference.size,
                "method": "medians, bootstrap",
                "note": "",
            }
            with np.errstate(invalid="ignore"):
                gap = summaries.median_difference(own, reference, (setting.seed, k))
            row |= {"estimate": gap["difference"], "low": gap["difference_low"], "high": gap["difference_high"]}
            if not (own.size and reference.size):
                row["note"] = "No patient of an arm is left for the analysis."
            elif not np.isfinite(row["estimate"]):
                row |= dict.fromkeys(("estimate", "low", "high"), np.nan)
                row["note"] = "Half of an arm or more had an event that counts as failure, so that there is no median."
            else:
                row["effect"] = Effect(estimand.summary, row["estimate"], row["low"], row["high"], df=np.nan)
            out[arm] = row
        return out

    def _ranked(
        self, value: pd.Series, happened: pd.DataFrame, patients: pd.DataFrame, estimand: Estimand
    ) -> pd.Series:
        """Values, infinite on the bad side for those who failed."""
        failed = failures(happened, patients, estimand, self.to_month).reindex(value.index)
        return value.where(~failed, -np.inf if self.higher_is_better else np.inf)

    # -- truth --

    def outcome(self, world: World, estimand: Estimand) -> pd.DataFrame:
        """Column `value`, infinite on the bad side for those who failed by the composite strategy."""
        patients, visits, happened = world
        value = self._at_end(self._masked(visits, happened, estimand)).set_index("patient")["value"]
        return self._ranked(value.reindex(patients["patient"]), happened, patients, estimand).to_frame("value")

    def level(self, own: pd.DataFrame, end: float) -> tuple[float, float]:
        values = own["value"].dropna().to_numpy(float)
        if self.analysis == "median difference" and values.size > 1:
            return jackknife(lambda rows: float(np.median(values[rows])), values.size)
        return mean_of(values)

    def contrast(
        self, summary: str, here: pd.DataFrame, there: pd.DataFrame, ends: tuple[float, float] = (np.nan, np.nan)
    ) -> tuple[float, float]:
        return of_values(here["value"].to_numpy(float), there["value"].to_numpy(float), summary)


def _against(row: Mapping[str, Any], n_control: int, estimand: Estimand, method: str, note: str = "") -> dict[str, Any]:
    out = {"n": int(row["n"]), "n_control": n_control, "method": method, "note": note, "p": row["p"]}
    out |= {"estimate": row["difference"], "low": row["difference_low"], "high": row["difference_high"]}
    out["std_error"] = row["difference_std_error"]
    if not out["n"] or not n_control:
        out["note"] = f"No patient of {'this arm' if n_control else 'control'} is left for the analysis. {note}".strip()
    if np.isfinite(out["estimate"]):
        out["effect"] = Effect.of(estimand.summary, out | {"df": row["difference_df"]})
    return out
