"""Exposure of a patient: area under the concentration of a drug, highest value or trough; area or level of a marker.

What is observed are samples, with the error of the assay and its limit of quantitation, and the analysis is
non-compartmental (`statistics.noncompartmental`). What is true is the area under the curve of the model. Arms are
compared by the ratio of geometric means, from an analysis of covariance of the logarithms [1]_; a trough or level below
the limit of quantitation is censored (`statistics.censored`). A claim of equivalence between 80 and 125 % is that of
bioequivalence, with an interval of 90 %.

References
----------
.. [1] FDA. Statistical Approaches to Establishing Bioequivalence. Guidance for Industry, 2001, section V.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from ranklsim.cohorts.durability import at_month
from ranklsim.cohorts.endpoints.base import Data, Endpoint, Setting, World, adjusted_for, mean_of
from ranklsim.cohorts.endpoints.estimands import SOON, Estimand, first_month, people
from ranklsim.cohorts.endpoints.reading import Plan, visit
from ranklsim.cohorts.measures import AREA, DRUG, PEAK
from ranklsim.cohorts.measures import UNITS as MEASURED
from ranklsim.cohorts.statistics import censored, noncompartmental
from ranklsim.cohorts.words import MEASURES, month_text
from ranklsim.pkpd.errors import BadInput, RunFailed, near, one_of
from ranklsim.pkpd.reading import Shape, Table
from ranklsim.pkpd.units import DAYS_PER_MONTH

AUC, CMAX, TROUGH, AUEC, LEVEL = "AUC", "Cmax", "trough", "AUEC", "level"
WHAT = {
    AUC: "area under the serum concentration",
    CMAX: "highest serum concentration",
    TROUGH: "serum concentration before the next dose",
    AUEC: "area under the fall from baseline",
    LEVEL: "value of a marker at a visit",
}
"""What may be asked, and its meaning."""

UNITS = {AUC: "ug·day/mL", CMAX: "ug/mL", TROUGH: "ug/mL", AUEC: "%·days"}
DIGITS = {AUC: 1, CMAX: 2, TROUGH: 3, AUEC: 0, LEVEL: 3}
AT_A_VISIT, OF_MARKERS = (TROUGH, LEVEL), (AUEC, LEVEL)
EFFECTS = ("CTX", "P1NP", "TRAP5B", "BSAP")
"""Markers that an area under the effect may be of."""

FINE = 0.1
"""Months between the points at which a typical patient's area is taken."""

RATIO = "geometric mean ratio"


@dataclass(frozen=True, kw_only=True)
class Exposure(Endpoint):
    """One of `WHAT` between two visits.

    `of` is the concentration (`measures.DRUG` for that of all drugs, or ``C_AGENT``) or a marker; `concentrations` are
    the columns that add up to it, `limited` says whether a level has a limit of quantitation. `given` are the drugs of
    each arm.
    """

    key = "exposure"
    plural = "Exposures"
    analyses: ClassVar[Mapping[str, str]] = {"ANCOVA": RATIO}
    measures = (RATIO,)
    moves = True
    strategies = ("treatment policy", "hypothetical", "while on treatment")
    shape = Shape({"of": '"drug"', "what": '"AUC"', "from": '"0 mo"', "to": '"6 mo"'}, needed=("what", "to"))
    example = '{ of = "drug", what = "AUC", to = "6 mo" }'

    of: str
    what: str
    from_month: float
    to_month: float
    concentrations: tuple[str, ...] = ()
    limited: bool = False
    given: Mapping[str, Collection[str]]

    @classmethod
    def read(cls, table: Table, plan: Plan) -> dict[str, Any] | None:
        what, of = table.choice("what", tuple(WHAT), None), table.text("of", "drug")
        drugs = list(dict.fromkeys(name for names in plan.drugs.values() for name in names))
        if what is None:
            return None
        known = EFFECTS if what in OF_MARKERS else ("drug", *drugs)
        if of not in known:
            table.fault("of", f"'{of}' has no {what}; {near(of, known, also=f'{what} is of {one_of(known)}.')}")
            return None
        if what not in OF_MARKERS and not drugs:
            table.fault("what", f"{what} needs a drug whose concentration is measured, and no arm is given one.")
            return None
        if what in AT_A_VISIT and "from" in table:
            table.fault("from", f"a {what} is the value at one visit, `to`; leave from out.")
        kind = "drug" if plan.drug and what not in OF_MARKERS else "markers"
        planned = plan.drug if kind == "drug" else plan.markers
        ends = [
            visit(table, key, table.text(key, "0 mo" if key == "from" else None), planned, kind)
            for key in ("from", "to")
        ]
        if ends[0] is None or ends[1] is None:
            return None
        inside = [month for month in planned if ends[0] <= month <= ends[1]]
        if what == TROUGH:
            ends[0] = ends[1]
        elif ends[0] >= ends[1]:
            table.fault("to", f"to = {ends[1]:g} mo is not after from = {ends[0]:g} mo; swap or change them.")
        elif what != LEVEL and len(inside) < noncompartmental.LEAST_SAMPLES:
            least = noncompartmental.LEAST_SAMPLES
            said = f"{what} needs at least {least} samples from {ends[0]:g} to {ends[1]:g} mo"
            table.fault("to", f"{said}, and visits {kind} has {len(inside)}; add some.")
        columns = tuple(f"C_{name}" for name in (drugs if of == "drug" else [of]))
        own: dict[str, Any] = {"of": of, "limited": what == LEVEL and of in plan.limited}
        if what not in OF_MARKERS:
            own = {"of": DRUG if of == "drug" else columns[0], "concentrations": columns}
        return own | {"what": what, "from_month": ends[0], "to_month": ends[1], "given": plan.drugs}

    @property
    def months(self) -> tuple[float, ...]:
        return tuple(dict.fromkeys((self.from_month, self.to_month)))

    @property
    def columns(self) -> tuple[str, ...]:
        limited = (self.of,) if self.limited else self.concentrations
        return (*(self.concentrations or (self.of,)), *(f"{name}_BLQ" for name in limited))

    @property
    def latent(self) -> tuple[str, ...]:
        return () if self.what == LEVEL else (self._true,)

    @property
    def _true(self) -> str:
        """Column of the true values."""
        return self.of if self.what in AT_A_VISIT else f"{PEAK if self.what == CMAX else AREA}_{self.of}"

    @property
    def higher_is_better(self) -> bool:
        return self.what != LEVEL

    def unfit(self, arm: str) -> str:
        """A drug has no exposure in an arm that is not given it."""
        wanted = {name.removeprefix("C_") for name in self.concentrations}
        if not wanted or wanted & set(self.given.get(arm, wanted)):
            return ""
        return f"arm '{arm}' is given no drug whose {self.what} this is"

    @property
    def unit(self) -> str:
        return MEASURED[self.of] if self.what == LEVEL else UNITS[self.what]

    @property
    def typical_months(self) -> tuple[float, ...]:
        if self.what == TROUGH:
            return (self.to_month,)
        steps = math.ceil((self.to_month - self.from_month) / FINE)  # close enough for absorption
        return tuple(np.linspace(self.from_month, self.to_month, steps + 1).tolist())

    def typical(self, months: np.ndarray, course: Mapping[str, np.ndarray]) -> np.ndarray:
        named = self.concentrations or (self.of,)
        values = np.sum([course[name] for name in named if name in course], axis=0)
        if self.what == TROUGH:
            return at_month(months, values, self.to_month)
        inside = (months >= self.from_month - SOON) & (months <= self.to_month + SOON)
        part = values[:, inside]
        if self.what == CMAX:
            return np.asarray(part.max(axis=1))
        if self.what == AUEC:
            part = np.clip(100 * (1 - part / values[:, :1]), 0, None)
        return np.asarray(np.trapezoid(part, months[inside] * DAYS_PER_MONTH, axis=1))

    @property
    def digits(self) -> int:
        return DIGITS[self.what]

    @property
    def in_points(self) -> bool:
        return False

    @property
    def described(self) -> str:
        of = MEASURES.get(self.of) or self.of.removeprefix("C_")
        when = f"month {month_text(self.to_month)}"
        if self.what not in AT_A_VISIT:
            when = f"months {month_text(self.from_month)} to {month_text(self.to_month)}"
        return f"{self.what} of {of}, {when} ({self.unit}, geometric mean)"

    @property
    def notes(self) -> tuple[str, ...]:
        area = "by the trapezoidal rule from samples at their actual times"
        if self.what == AUC:
            area += ", logarithmic where concentrations fall, up to the last that is quantifiable (AUClast)"
        said = {
            AUC: f"AUC is {area}.",
            AUEC: f"AUEC is the area of the percent fall from baseline, {area}; values below the limit of quantitation "
            "count as the limit.",
            CMAX: "Cmax is the highest concentration of the samples.",
            TROUGH: "Troughs below the limit of quantitation are censored in the likelihood.",
            LEVEL: "Levels below the limit of quantitation are censored in the likelihood.",
        }[self.what]
        left = "Exposures without a sample at both ends of the window, or that are not positive, are left out."
        return (said,) if self.what in AT_A_VISIT else (said, left)

    # -- analysis --

    def table(
        self, data: Data, setting: Setting, patients: pd.DataFrame | None = None, estimand: Estimand | None = None
    ) -> pd.DataFrame:
        """A row for each patient: the logarithm as `value`, whether it is `below` its limit, `baseline`, the rest."""
        patients = data.patients if patients is None else patients
        own = people(patients, self.covariates)
        seen = data.seen("actual_month", *self.columns)
        month = seen["month"].to_numpy(float)
        inside = (month >= self.from_month - SOON) & (month <= self.to_month + SOON)
        seen = seen[inside & seen["patient"].isin(own["patient"]).to_numpy()]
        until = np.full(len(own), np.inf)
        if estimand is not None:
            gone = first_month(data.events, estimand.with_strategy("hypothetical"), own["patient"])
            until = first_month(data.events, estimand.with_strategy("while on treatment"), own["patient"])
            until = np.where(until < self.to_month - SOON, until, np.inf)
            own = own[gone > self.to_month - SOON]
            until = until[gone > self.to_month - SOON]
        if seen.empty:  # no patient is left who has a sample, nor a visit to make a column of
            return own[:0].assign(value=0.0, below=False, baseline=0.0)
        parts = {name: self._wide(seen, name, own["patient"]) for name in ("actual_month", *self.columns)}
        planned = np.unique(seen["month"].to_numpy(float))
        value, low = self._values(parts)
        value = np.where(planned[None, :] <= until[:, None] + SOON, value, np.nan)
        found, below = self._summary(parts["actual_month"] * DAYS_PER_MONTH, value, low, np.isfinite(until))
        with np.errstate(divide="ignore", invalid="ignore"):
            out = own.assign(value=np.log(found), below=below, baseline=self._baseline(value))
        return out[np.isfinite(out[["value", "baseline"]].to_numpy(float)).all(axis=1)].reset_index(drop=True)

    def _wide(self, seen: pd.DataFrame, name: str, patients: pd.Series) -> np.ndarray:
        """One column of the visits, a row a patient and a column a planned visit."""
        values = seen.pivot(index="patient", columns="month", values=name).reindex(patients)
        return values.fillna(False).to_numpy(bool) if name.endswith("_BLQ") else values.to_numpy(float)

    def _values(self, parts: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Concentration or marker of each sample, and whether it is below its limit (then the limit).

        Of several drugs in one sample, those that are quantifiable add up; the limit is that of one.
        """
        if not self.concentrations:
            none = np.zeros(parts[self.of].shape, dtype=bool)
            return parts[self.of], parts[f"{self.of}_BLQ"] if self.limited else none
        value = np.stack([parts[name] for name in self.concentrations])
        low = np.stack([parts[f"{name}_BLQ"] for name in self.concentrations])
        quantified = np.where(low, 0.0, value).sum(axis=0)
        none = np.asarray(low.all(axis=0))
        return np.where(none, value.max(axis=0), quantified), none

    def _summary(
        self, days: np.ndarray, value: np.ndarray, low: np.ndarray, short: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The variable of each patient, NaN where samples do not give it, and whether it is below its limit.

        Of `short` patients the treatment ended before the window did: what was sampled until then counts.
        """
        if self.what in AT_A_VISIT:
            last = np.array([own[np.isfinite(own)][-1:].sum() if np.isfinite(own).any() else np.nan for own in value])
            return np.where(short, last, value[:, -1]), low[:, -1] & ~short
        whole = np.isfinite(value[:, 0]) & (np.isfinite(value[:, -1]) | short)
        if self.what == CMAX:
            with np.errstate(invalid="ignore"):
                found = np.nanmax(np.where(low, 0.0, value), axis=1, initial=0.0)
        elif self.what == AUC:
            found = noncompartmental.area(days, value, low)
        else:
            found = noncompartmental.area(days, 100.0 * (1.0 - value / value[:, :1]), log_down=False)
        return np.where(whole & (found > 0), found, np.nan), np.zeros(len(value), dtype=bool)

    def _baseline(self, value: np.ndarray) -> np.ndarray:
        """Logarithm of a marker before treatment; a drug has none."""
        return np.log(value[:, 0]) if self.what in OF_MARKERS else np.zeros(len(value))

    def alone(self, own: pd.DataFrame) -> dict[str, Any]:
        """The arm's geometric mean; its standard error is that of the mean logarithm times the mean."""
        value, below = own["value"].to_numpy(float), own["below"].to_numpy(bool)
        try:
            found = censored.mean(value, below)
        except RunFailed as why:
            single = float(np.exp(value[~below].mean())) if not below.any() else np.nan
            return {"estimate": single, "method": "geometric mean", "note": f"No interval: {why}"}
        middle, low, high = (float(np.exp(found[end])) for end in ("estimate", "low", "high"))
        out = {"estimate": middle, "low": low, "high": high, "std_error": middle * found["std_error"]}
        return out | {"method": _method("geometric mean", below)}

    def effect(self, table: pd.DataFrame, arm: str, comparator: str, measure: str) -> dict[str, Any]:
        """Ratio of geometric means, from the analysis of covariance of logarithms."""
        found, left = censored.contrast_of_arms(table, arm, comparator, self.covariates)
        both = table.loc[table["arm"].isin([arm, comparator]), "below"].to_numpy(bool)
        method = _method(f"ANCOVA of logarithms{adjusted_for(self.covariates)}", both)
        ratio = {end: float(np.exp(found[end])) for end in ("estimate", "low", "high")}
        return found | ratio | {"method": f"{method}. {left}" if left else method}

    # -- truth --

    def outcome(self, world: World, estimand: Estimand) -> pd.DataFrame:
        """Column `value`: the logarithm of the true exposure, NaN where it is not positive."""
        patients, visits, happened = world
        month = visits["month"].to_numpy(float)
        until = first_month(happened, estimand.with_strategy("while on treatment"), visits["patient"])
        if self.what in AT_A_VISIT:
            kept = visits[np.abs(month - self.to_month) < SOON]
        else:
            kept = visits[(month > self.from_month + SOON) & (month <= np.minimum(until, self.to_month) + SOON)]
        values = kept.groupby("patient")[self._true].agg("max" if self.what == CMAX else "sum")
        found = values.reindex(patients["patient"]).to_numpy(float)
        with np.errstate(divide="ignore", invalid="ignore"):
            return pd.DataFrame({"value": np.where(found > 0, np.log(found), np.nan)}, index=patients["patient"])

    def level(self, own: pd.DataFrame, end: float) -> tuple[float, float]:
        middle, error = mean_of(own["value"].dropna().to_numpy(float))
        return float(np.exp(middle)), float(np.exp(middle) * error)

    def contrast(
        self, summary: str, here: pd.DataFrame, there: pd.DataFrame, ends: tuple[float, float] = (np.nan, np.nan)
    ) -> tuple[float, float]:
        gap = here["value"].to_numpy(float) - there["value"].to_numpy(float)
        gap = gap[np.isfinite(gap)]
        if gap.size < 2:
            raise BadInput("too few twins.")
        middle, error = mean_of(gap)
        return float(np.exp(middle)), error


def _method(name: str, below: np.ndarray) -> str:
    """A method, and how many values are censored in it."""
    return f"{name}, {int(below.sum())} below the limit of quantitation (censored)" if below.any() else name
