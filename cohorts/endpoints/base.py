"""What every kind of endpoint has and what it can do, the schema of its results, and the register of kinds.

A kind of endpoint is one module of this folder, with one class: how it is read from a trial file, the variable of each
patient, an arm's own estimate, the effect of an arm against a comparator, what is true, and its words. `Endpoint` holds
what kinds share; whoever analyses, tabulates or plots endpoints asks the endpoint and never its class.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, Protocol

import numpy as np
import pandas as pd

from ranklsim.cohorts.durability import at_month
from ranklsim.cohorts.endpoints.estimands import STRATEGIES, Estimand
from ranklsim.cohorts.endpoints.reading import Plan
from ranklsim.cohorts.statistics.ancova import LEVEL
from ranklsim.cohorts.statistics.claims import EQUIVALENCE, NON_INFERIORITY, Claim, Effect, is_ratio
from ranklsim.pkpd.errors import BadInput, RunFailed
from ranklsim.pkpd.reading import Shape, Table

World = tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]
"""Patients, visits and events of everybody in one arm, as in a run folder; visits hold true values."""

NOBODY = "No patient of this arm is left for the analysis."


def in_a_sentence(why: Exception) -> str:
    """The message of an error as a sentence.

    Parameters
    ----------
    why : Exception
    """
    text = str(why)
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def _why_none(value: float) -> str:
    """Why a ratio has no estimate; empty if it has one."""
    return "Not estimable: no patient of either arm had the event." if np.isnan(value) else ""


class Data(Protocol):
    """What an endpoint reads of a study; every `cohorts.study.Study` has it."""

    @property
    def patients(self) -> pd.DataFrame:
        """One row per patient."""

    @property
    def events(self) -> pd.DataFrame:
        """One row per event."""

    def seen(self, *columns: str, attended: bool = False, months: Collection[float] | None = None) -> pd.DataFrame:
        """Some columns of the visits.

        Parameters
        ----------
        *columns : str
            Measures, such as BMD_LS.
        attended : bool
            Whether to leave out visits that the patient missed.
        months : collection of float, optional
            Only visits planned at these months.
        """


@dataclass(frozen=True)
class Setting:
    """How a study is analysed, besides its data.

    Attributes
    ----------
    arms : tuple of str
        In the order of the trial.
    comparator : str or None
        The arm that others are compared with; None if none is compared.
    seed : int
        Of bootstraps.
    compared : tuple of str
        Arms that are compared with it; empty for all others.
    ends : mapping of str to float
        Month at which the treatment of each arm ends.
    imaging : tuple of float
        Months of the images at which vertebral fractures are found.
    """

    arms: tuple[str, ...]
    comparator: str | None
    seed: int
    ends: Mapping[str, float] = field(default_factory=dict)
    imaging: tuple[float, ...] = ()
    compared: tuple[str, ...] = ()

    def compares(self, arm: str) -> bool:
        """Whether an arm is compared with the comparator.

        Parameters
        ----------
        arm : str
        """
        known = self.comparator is not None and arm != self.comparator
        return known and (not self.compared or arm in self.compared)


COLUMNS = (
    *("endpoint", "role", "kind", "arm", "n", "events", "estimate", "low", "high"),
    *("against", "effect", "effect_measure", "effect_low", "effect_high", "p", "claim", "margin", "margin_high"),
    *("p_claim", "claim_low", "claim_high", "conclusion", "method", "note"),
)
"""Columns of the analysed endpoints: `estimate` of the arm (shares as shares, rates a year), `effect` against the
comparator `against` with its `effect_measure`, `p` of no effect (two-sided), what is claimed with the margins in the
unit of the trial file, `p_claim` (twice the one-sided p), the interval on which the claim rests, what is concluded, and
`note` what a reader must know."""

ERRORS = ("std_error", "effect_error", "effect_df", "shown", "harm")
"""Columns besides `COLUMNS`: `shown` whether the claim is shown by itself, `harm` whether its opposite is."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """One endpoint in one arm: the schema of results that all kinds share.

    Attributes
    ----------
    arm : str
    n : int
        Patients analysed.
    events : float
        Patients with the event, or events of a rate; NaN where nothing is counted.
    estimate, low, high : float
        Of the arm by itself, with its 95 % interval.
    std_error : float
        Of `estimate`; NaN where the analysis has none.
    effect : Effect or None
        Against the comparator.
    method, note : str
        What was done, and what a reader must know.
    """

    arm: str
    n: int = 0
    events: float = np.nan
    estimate: float = np.nan
    low: float = np.nan
    high: float = np.nan
    std_error: float = np.nan
    effect: Effect | None = None
    method: str = ""
    note: str = ""


@dataclass(frozen=True)
class Analysed:
    """One endpoint analysed.

    Attributes
    ----------
    spec : Endpoint
    results : tuple of Result
        One for each arm.
    detail : object
        What the kind's own tables show besides, such as the model of a change.
    """

    spec: Endpoint
    results: tuple[Result, ...]
    detail: Any = None

    against: str | None = None
    """The comparator."""

    def rows(self) -> list[dict[str, Any]]:
        """The results as rows of `COLUMNS` and `ERRORS`."""
        return [dict(row) for row in self._rows]

    @cached_property
    def _rows(self) -> list[dict[str, Any]]:
        return [self._row(result) for result in self.results]

    def effect(self, arm: str) -> Effect | None:
        """The effect of an arm; None where there is none.

        Parameters
        ----------
        arm : str
        """
        return next((result.effect for result in self.results if result.arm == arm), None)

    def _row(self, found: Result) -> dict[str, Any]:
        spec, nan, claim = self.spec, np.nan, self.spec.claim
        effect = found.effect or Effect(spec.effect_measure, nan, nan, nan, df=nan)
        compared, margins = found.effect is not None, spec.margins
        ends = (effect.low, effect.high)
        if claim.level != LEVEL and effect.tested:
            ends = effect.interval(claim.level)
        return {
            "endpoint": spec.name, "role": spec.role, "kind": spec.key, "arm": found.arm, "n": found.n,
            "events": found.events, "estimate": found.estimate, "low": found.low, "high": found.high,
            "against": (self.against or "") if compared else "",
            "effect": effect.value, "effect_measure": effect.measure, "effect_low": effect.low,
            "effect_high": effect.high, "p": effect.p, "claim": claim.kind if compared and spec.concludes else "",
            "margin": margins[0], "margin_high": margins[1], "p_claim": claim.p(effect) if compared else nan,
            "claim_low": ends[0], "claim_high": ends[1],
            "conclusion": claim.conclusion(effect) if compared and spec.concludes else "",
            "method": found.method, "note": found.note, "std_error": found.std_error, "effect_error": effect.error,
            "effect_df": effect.df, "shown": compared and claim.shown(effect),
            "harm": compared and claim.against(effect),
        }  # fmt: skip

    def at_margin(self) -> Analysed:
        """The same where every effect is larger by the limit of the claim: what a study without a true effect would
        show if the true effect were the limit. Unchanged where superiority is claimed, or an effect can't be moved.
        """
        limit = self.spec.claim.limits[-1]
        if not self.spec.moves or limit == 0:
            return self
        moved = [replace(r, effect=None if r.effect is None else r.effect.moved(limit)) for r in self.results]
        return replace(self, results=tuple(moved))


@dataclass(frozen=True, kw_only=True)
class Endpoint(ABC):
    """What every endpoint has.

    `role` is primary, key secondary, secondary or exploratory. `margin` is the largest loss against the comparator that
    a non-inferiority claim allows (> 0, in the unit of the difference; for a ratio the largest ratio, > 1),
    `equivalence` the two limits of an equivalence claim in that unit; without either superiority is claimed. The claim
    rests on the two-sided interval of `confidence`. `covariates` enter the model beside arm, baseline and strata.
    `against` is the comparator, None for the trial's control; `arms` are those compared with it, none for all others.
    """

    key: ClassVar[str]
    """Key of the trial file, and name of the kind."""
    shape: ClassVar[Shape]
    """Keys of its table in the trial file."""
    example: ClassVar[str]
    """How the table is written."""
    plural: ClassVar[str]
    """How a footnote calls the kind."""
    analyses: ClassVar[Mapping[str, str]]
    """Analyses of the trial file, each with the measure of effect that it estimates."""
    factor: ClassVar[float] = 1.0
    """By which values are multiplied to be shown in `unit`."""
    of_patients: ClassVar[bool] = True
    """Whether each patient has a value, so that subgroups, estimands and analysis sets are possible."""
    concludes: ClassVar[bool] = True
    """Whether superiority or non-inferiority is concluded from the interval."""
    after_treatment: ClassVar[bool] = False
    """Whether it asks when the treatment of an arm ends."""
    superiority_only: ClassVar[bool] = False
    """Whether nothing with a margin can be claimed."""
    moves: ClassVar[bool] = False
    """Whether the analysis moves by a constant if the value of everybody in an arm does."""
    imputes: ClassVar[bool] = False
    """Whether values that were not seen can be imputed from a model."""
    measures: ClassVar[tuple[str, ...]] = ()
    """Summary measures that an estimand may ask for, the usual one first; none where there is no estimand."""
    strategies: ClassVar[tuple[str, ...]] = STRATEGIES
    """Strategies for intercurrent events that an estimand may name."""
    errors_of: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """Of analyses with several kinds of standard errors: those kinds, the usual one first; the field is `errors`."""
    failure: ClassVar[str] = ""
    """What a patient who left is taken to have done, where the kind has a tipping point by failures."""

    name: str
    role: str
    analysis: str
    margin: float | None = None
    equivalence: tuple[float, float] | None = None
    confidence: float = LEVEL
    covariates: tuple[str, ...] = ()
    against: str | None = None
    arms: tuple[str, ...] = ()

    # -- what is asked --

    @classmethod
    @abstractmethod
    def read(cls, table: Table, plan: Plan) -> dict[str, Any] | None:
        """What is the kind's own, from its table of a trial file.

        Parameters
        ----------
        table : Table
            Its faults are noted.
        plan : Plan

        Returns
        -------
        dict or None
            Arguments of the class; None where there is a fault.
        """

    @property
    def months(self) -> tuple[float, ...]:
        """Months that the endpoint names."""
        return ()

    @property
    def last_month(self) -> float:
        """Month up to which the endpoint looks at a patient; infinite for one without an end."""
        return max(self.months, default=np.inf)

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the visits that the endpoint needs besides ``actual_month``."""
        return ()

    @property
    def usual_arms(self) -> tuple[str, ...]:
        """Arms that are compared if the trial file names none; empty for all others."""
        return ()

    def beside(self, found: Analysed) -> list[dict[str, Any]]:
        """What a replicate keeps besides the results: `arm`, `quantity`, `estimate`, `low` and `high`.

        Parameters
        ----------
        found : Analysed
            The endpoint analysed.
        """
        return []

    def unfit(self, arm: str) -> str:
        """Why an arm can't be compared in this endpoint; empty if it can.

        Parameters
        ----------
        arm : str
        """
        return ""

    @property
    def latent(self) -> tuple[str, ...]:
        """True values at the visits, besides the measures, that the truth needs (`Trial.exposures`)."""
        return ()

    @property
    def typical_months(self) -> tuple[float, ...]:
        """Months at which the course of a typical patient is needed for `typical`; empty if she has no value."""
        return ()

    def typical(self, months: np.ndarray, course: Mapping[str, np.ndarray]) -> np.ndarray:
        """The endpoint's variable in typical patients, in `unit` (of a responder: the change that is compared).

        Parameters
        ----------
        months : ndarray, shape (n_months,)
            Increasing; `typical_months` are among them.
        course : mapping of str to ndarray, shape (n_courses, n_months)
            Outputs of the model, without measurement error.

        Returns
        -------
        ndarray, shape (n_courses,)
        """
        raise NotImplementedError(self.key)

    @property
    def typical_unit(self) -> str:
        """Unit of `typical`."""
        return self.unit

    @property
    def visit(self) -> tuple[str, float] | None:
        """Measure and month of the visit at which the answer is read; None where there is no such visit."""
        return None

    @property
    @abstractmethod
    def higher_is_better(self) -> bool:
        """Whether a benefit lies above the comparator: more BMD, calcium and responders."""

    @property
    def tested(self) -> bool:
        """Whether the analysis gives a test."""
        return True

    @property
    def of_hazard(self) -> bool:
        """Whether arms are compared by a hazard ratio, whose information is counted in events."""
        return self.analysis in ("Cox", "log-rank")

    @property
    def tips(self) -> bool:
        """Whether it can be asked how bad unseen values must be for the result to be lost."""
        return bool(self.failure)

    @property
    def summaries(self) -> tuple[str, ...]:
        """Those of `measures` that go with the analysis, the usual one first."""
        return self.measures

    # -- effect: one place for measure, unit, margin and direction --

    @property
    def effect_measure(self) -> str:
        """The measure of effect that the analysis estimates."""
        return self.analyses[self.analysis]

    @property
    def subgroup_measure(self) -> str:
        """The measure of effect in subgroups."""
        return self.effect_measure

    @property
    def effect_unit(self) -> str:
        """Unit in which a trial file gives an effect, a margin or a standard error; "1" for a ratio."""
        return "1" if is_ratio(self.effect_measure) else "%"

    def on_scale(self, value: float) -> float:
        """A number that a trial file gives in `effect_unit`, on the scale of `Effect`.

        Parameters
        ----------
        value : float
        """
        return value if is_ratio(self.effect_measure) else value / self.factor

    @property
    def margins(self) -> tuple[float, float]:
        """Margin, or lower and upper limit of equivalence, as the trial file has them; NaN where there is none."""
        return self.equivalence or (np.nan if self.margin is None else self.margin, np.nan)

    @property
    def claim(self) -> Claim:
        """What an effect is to show, on the scale of `Effect`."""
        claim = self.claim_on(self.effect_measure)
        assert claim is not None
        return claim

    def claim_on(self, measure: str) -> Claim | None:
        """The claim on an effect of some measure; None where it has a margin, which is of another measure.

        Parameters
        ----------
        measure : str
            Such as one of `summaries`.
        """
        ratio, better = is_ratio(measure), self.higher_is_better
        if self.margin is None and self.equivalence is None:
            return replace(Claim.superiority(ratio=ratio, higher_is_better=better), level=self.confidence)
        if measure != self.effect_measure:
            return None
        if self.equivalence is not None:
            lower, upper = map(self.on_scale, self.equivalence)
            return Claim(EQUIVALENCE, lower, upper, self.confidence)
        assert self.margin is not None
        loss = self.on_scale(self.margin)
        worst = (1 / loss if better else loss) if ratio else -loss if better else loss
        return Claim(NON_INFERIORITY, worst if better else None, None if better else worst, self.confidence)

    # -- words --

    @property
    def unit(self) -> str:
        """Unit in which values are shown, after `factor`."""
        return "%"

    @property
    def digits(self) -> int:
        """Decimals in which values are shown."""
        return 2

    @property
    def in_points(self) -> bool:
        """Whether differences are in percentage points."""
        return self.unit == "%"

    @property
    @abstractmethod
    def described(self) -> str:
        """What the endpoint is, in a few words."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences that a footnote needs."""
        return ()

    def counted(self, events: float, n: int) -> str:
        """The events of an arm as a cell of a table.

        Parameters
        ----------
        events : float
        n : int
            Patients analysed.
        """
        return f"{int(events)} ({100 * events / n:.1f}%)"

    # -- analysis --

    @abstractmethod
    def table(
        self, data: Data, setting: Setting, patients: pd.DataFrame | None = None, estimand: Estimand | None = None
    ) -> pd.DataFrame:
        """The variable: a row for each patient with an answer.

        Parameters
        ----------
        data : Data
        setting : Setting
        patients : DataFrame, optional
            Only these rows of the patients.
        estimand : Estimand, optional
            Whose strategies are applied; without one, all that was seen counts.

        Returns
        -------
        DataFrame
            Columns `patient`, `arm`, `stratum`, covariates and the variable.
        """

    @abstractmethod
    def alone(self, own: pd.DataFrame) -> dict[str, Any]:
        """What one arm shows by itself.

        Parameters
        ----------
        own : DataFrame
            The arm's rows of `table`.

        Returns
        -------
        dict
            Of `Result`: `estimate`, `low`, `high`, `method`, `events`.
        """

    @abstractmethod
    def effect(self, table: pd.DataFrame, arm: str, comparator: str, measure: str) -> dict[str, Any]:
        """One measure of effect.

        Parameters
        ----------
        table : DataFrame
            As from `table`.
        arm, comparator : str
        measure : str
            `effect_measure`, `subgroup_measure` or one of `summaries`.

        Returns
        -------
        dict
            As for `Effect.of`: `estimate`, `low`, `high`, `p`, `method`, and the test as `std_error` (with `df`) or
            `z`; shares as shares, not percent.

        Raises
        ------
        BadInput
            If an arm has no patient left.
        RunFailed
            If a model does not converge, or has no finite answer.
        """

    def analyse(self, data: Data, setting: Setting) -> Analysed:
        """Every arm's own estimate, and its effect against the comparator.

        Parameters
        ----------
        data : Data
        setting : Setting
        """
        table, results = self.table(data, setting), []
        group = np.asarray(table["arm"], dtype=object)
        for arm in setting.arms:
            own = table[group == arm]
            if own.empty:
                results.append(Result(arm=arm, note=NOBODY))
                continue
            facts = {"n": len(own)} | self.alone(own)
            if setting.comparator is not None and setting.compares(arm):
                try:
                    found = self.effect(table, arm, setting.comparator, self.effect_measure)
                    effect = Effect.of(self.effect_measure, found)
                    facts |= {"effect": effect, "method": effect.method, "note": _why_none(effect.value)}
                except (BadInput, RunFailed) as why:
                    facts["note"] = in_a_sentence(why)
            results.append(Result(arm=arm, **facts))
        return Analysed(self, tuple(results), against=setting.comparator)

    def estimates(
        self, data: Data, setting: Setting, estimand: Estimand, patients: pd.DataFrame
    ) -> dict[str, dict[str, Any]]:
        """The effect that an estimand asks for, by arm.

        Parameters
        ----------
        data : Data
        setting : Setting
            With a comparator.
        estimand : Estimand
        patients : DataFrame
            Those of the estimand's population.

        Returns
        -------
        dict
            Arm to `n`, `n_control`, `estimate`, `low`, `high`, `p`, `method`, `note`, `std_error` where the analysis
            has one, and the `effect` with its test, where there is one.
        """
        table = self.table(data, setting, patients, estimand)
        group, control = np.asarray(table["arm"], dtype=object), str(setting.comparator)
        out: dict[str, dict[str, Any]] = {}
        for arm in estimand.arms:
            out[arm] = {"n": int((group == arm).sum()), "n_control": int((group == control).sum())}
            try:
                found = self.effect(table, arm, control, estimand.summary)
            except (BadInput, RunFailed) as why:
                out[arm]["note"] = in_a_sentence(why)
                continue
            out[arm] |= {name: found[name] for name in ("estimate", "low", "high", "p", "method")}
            out[arm] |= {"std_error": found.get("std_error", np.nan), "note": _why_none(found["estimate"])}
            out[arm]["effect"] = Effect.of(estimand.summary, found)
        return out

    def curves(self, data: Data, setting: Setting, visits: Sequence[float]) -> tuple[pd.DataFrame, pd.DataFrame] | None:
        """Cumulative incidence and numbers at risk by arm; None for a kind that has none.

        Parameters
        ----------
        data : Data
        setting : Setting
        visits : sequence of float
            Months at which numbers at risk are given.
        """
        return None

    def left(self, table: pd.DataFrame, patients: pd.DataFrame, arm: str) -> pd.DataFrame:
        """Patients of an arm whose answer is not known, by number, as rows of `table` in which they failed.

        Parameters
        ----------
        table : DataFrame
            As from `table`.
        patients : DataFrame
            As in a run folder.
        arm : str
        """
        raise NotImplementedError(f"a {self.key} has no tipping point by failures")

    # -- truth --

    @abstractmethod
    def outcome(self, world: World, estimand: Estimand) -> pd.DataFrame:
        """What became of each patient of a world, which is all that the truth needs to know of her.

        Parameters
        ----------
        world : World
        estimand : Estimand
            Whose strategies are applied.

        Returns
        -------
        DataFrame
            A row for each patient, in their order, with columns of numbers; NaN of those who do not count.
        """

    @abstractmethod
    def level(self, own: pd.DataFrame, end: float) -> tuple[float, float]:
        """True value of an arm by itself, and its standard error.

        Parameters
        ----------
        own : DataFrame
            As from `outcome`, with `stratum`.
        end : float
            Month at which the arm's treatment ends.
        """

    @abstractmethod
    def contrast(
        self, summary: str, here: pd.DataFrame, there: pd.DataFrame, ends: tuple[float, float] = (np.nan, np.nan)
    ) -> tuple[float, float]:
        """Summary measure of the same patients in two arms, and its standard error (of the logarithm of a ratio).

        Parameters
        ----------
        summary : str
            One of `summaries`, or `effect_measure`.
        here, there : DataFrame
            As from `outcome`, with `stratum`, under treatment and comparator; rows are the same patients.
        ends : (float, float)
            Months at which their treatments end.

        Raises
        ------
        BadInput, RunFailed
            If there is no such value.
        """


@dataclass(frozen=True, kw_only=True)
class BetweenVisits(Endpoint):
    """An endpoint whose variable is the change of one measure between two of its visits."""

    measure: str
    from_month: float
    to_month: float

    @property
    def months(self) -> tuple[float, ...]:
        return (self.from_month, self.to_month)

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.measure,)

    @property
    def visit(self) -> tuple[str, float]:
        return self.measure, self.to_month

    @property
    def typical_months(self) -> tuple[float, ...]:
        return (self.from_month, self.to_month)

    def typical(self, months: np.ndarray, course: Mapping[str, np.ndarray]) -> np.ndarray:
        begin, end = (at_month(months, course[self.measure], month) for month in self.typical_months)
        return np.asarray(end - begin if self.typical_unit != "%" else 100 * (end / begin - 1))

    @property
    def typical_unit(self) -> str:
        return "%"


KINDS: dict[str, type[Endpoint]] = {}
"""Every kind of endpoint by its key in a trial file, in the order in which messages name them."""


def register(*kinds: type[Endpoint]) -> None:
    """Make kinds of endpoint known to trial files, analyses and reports.

    Parameters
    ----------
    *kinds : type of Endpoint
    """
    KINDS.update({kind.key: kind for kind in kinds})


def adjusted_for(covariates: Iterable[str]) -> str:
    """Covariates as the end of a method, empty without any.

    Parameters
    ----------
    covariates : iterable of str
    """
    names = ", ".join(name.replace("_", " ") for name in covariates)
    return f", adjusted for {names}" if names else ""


def of_values(here: np.ndarray, there: np.ndarray, summary: str) -> tuple[float, float]:
    """Difference of means, medians or shares, or a ratio of shares, of the same patients in two arms.

    Parameters
    ----------
    here, there : ndarray, shape (n,)
        NaN of patients who do not count.
    summary : str

    Returns
    -------
    float, float
        Value and standard error, of the logarithm of a ratio.

    Raises
    ------
    BadInput
        If fewer than two patients count.
    RunFailed
        If a share is 0 or 1 in a ratio, or there is no finite median.
    """
    known = ~np.isnan(here) & ~np.isnan(there)
    here, there = here[known], there[known]
    n = here.size
    if n < 2:
        raise BadInput("too few twins.")
    if summary == "difference of medians":
        return _median_truth(here, there)
    a, b = float(here.mean()), float(there.mean())
    if summary in ("difference of means", "risk difference"):
        return a - b, float((here - there).std(ddof=1) / np.sqrt(n))
    if not (0 < a < 1 and 0 < b < 1):
        raise RunFailed("no finite ratio.")
    if summary == "risk ratio":
        return a / b, float((here / a - there / b).std(ddof=1) / np.sqrt(n))
    odds = a * (1 - b) / (b * (1 - a))
    return odds, float((here / (a * (1 - a)) - there / (b * (1 - b))).std(ddof=1) / np.sqrt(n))


def _median_truth(here: np.ndarray, there: np.ndarray) -> tuple[float, float]:
    with np.errstate(invalid="ignore"):
        value = float(np.median(here) - np.median(there))
    if not np.isfinite(value):
        raise RunFailed("no median.")
    rng = np.random.default_rng(here.size)
    gaps = np.empty(200)
    for k in range(gaps.size):  # bounds memory for many twins
        picks = rng.integers(0, here.size, here.size)
        with np.errstate(invalid="ignore"):
            gaps[k] = np.median(here[picks]) - np.median(there[picks])
    return value, float(gaps[np.isfinite(gaps)].std(ddof=1))


def mean_of(values: np.ndarray) -> tuple[float, float]:
    """Mean of values and its standard error; NaN where there are too few.

    Parameters
    ----------
    values : ndarray, shape (n,)
    """
    if values.size < 2:
        return (float(values.mean()) if values.size else np.nan), np.nan
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(values.size))


GROUPS = 50
"""Of patients, for the jackknife."""


def jackknife(value_of: Callable[[np.ndarray], float], n: int) -> tuple[float, float]:
    """A value of n patients, given those who count, and its delete-a-group jackknife standard error.

    Parameters
    ----------
    value_of : callable
        From positions of patients to the value.
    n : int

    References
    ----------
    .. [1] Efron B, Tibshirani RJ. An Introduction to the Bootstrap, Chapman & Hall 1993, chapter 11.
    """
    if n == 0:
        return np.nan, np.nan
    everyone, groups = np.arange(n), min(GROUPS, n)
    value = value_of(everyone)
    if groups < 2 or not np.isfinite(value):
        return value, np.nan
    left_out = np.array([value_of(everyone[everyone % groups != group]) for group in range(groups)])
    if not np.isfinite(left_out).all():  # such as a ratio to a group without an event
        return value, np.nan
    return value, float(np.sqrt((groups - 1) / groups * ((left_out - left_out.mean()) ** 2).sum()))
