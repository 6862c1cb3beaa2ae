"""Dose response of a change by MCP-Mod: is there a signal, which shape has it, and which dose has a target effect?

The doses are those of some arms; the comparator is dose 0. Means at the doses, with their covariance, come from an
analysis of covariance at the visit. What the endpoint claims is an effect of the highest dose, by the contrast tests of
all candidate shapes at once (`statistics.dose_response`): the effect is that of the highest dose under the shape whose
contrast is largest, its interval the values that the tests do not reject. Fitted models and the target dose stand
beside the claim and decide nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from ranklsim.cohorts.endpoints.base import NOBODY, Analysed, BetweenVisits, Data, Result, Setting, World
from ranklsim.cohorts.endpoints.change import Change
from ranklsim.cohorts.endpoints.estimands import Estimand
from ranklsim.cohorts.endpoints.reading import Plan, between
from ranklsim.cohorts.measures import UNITS
from ranklsim.cohorts.statistics import dose_response as mcp
from ranklsim.cohorts.statistics.ancova import LEVEL, ancova, ancova_design, left_out
from ranklsim.cohorts.statistics.claims import Effect
from ranklsim.cohorts.statistics.tails import t_quantile
from ranklsim.pkpd.errors import BadInput, near
from ranklsim.pkpd.reading import Shape, Table
from ranklsim.pkpd.units import parse_quantity

TARGET = "target dose"
"""Quantity, in the estimates of a replicate."""


@dataclass(frozen=True)
class DoseDetail:
    """What the tables of a dose response show besides its results.

    Attributes
    ----------
    arms : tuple of str, length k
        The comparator first.
    doses, means : ndarray, shape (k,)
    covariance : ndarray, shape (k, k)
        Of the means.
    df : float
    signal : Signal
    models : tuple of Model
        Of the shapes with a significant contrast; none without a signal.
    weights : tuple of float
    target : Target or None
        None where none is asked, or there is no signal.
    seed : int
        Of bootstraps.
    """

    arms: tuple[str, ...]
    doses: np.ndarray
    means: np.ndarray
    covariance: np.ndarray
    df: float
    signal: mcp.Signal
    models: tuple[mcp.Model, ...]
    weights: tuple[float, ...]
    target: mcp.Target | None
    seed: int

    def course(self) -> pd.DataFrame:
        """The weighted curve with its band, and the difference of each arm to the comparator with its interval.

        Returns
        -------
        DataFrame
            Columns `arm` (empty for the curve, which there is with a signal), `dose` (mg), `effect`, `low`, `high`.
        """
        gap, variance = self.means[1:] - self.means[0], np.diag(self.covariance)
        half = t_quantile(0.5 + LEVEL / 2, self.df) * np.sqrt(variance[1:] + variance[0] - 2 * self.covariance[0, 1:])
        points = pd.DataFrame({"arm": self.arms[1:], "dose": self.doses[1:], "effect": gap})
        points = points.assign(low=gap - half, high=gap + half)
        if not self.models:
            return points
        found = mcp.course(self.models, self.doses, self.means, self.covariance, seed=self.seed, level=LEVEL)
        curve = pd.DataFrame(dict(zip(("dose", "effect", "low", "high"), found, strict=True)))
        return pd.concat([curve.assign(arm=""), points], ignore_index=True)[list(points)]


@dataclass(frozen=True, kw_only=True)
class DoseResponse(BetweenVisits):
    """A change of one measure between two of its visits against the dose of an arm; doses in mg, above 0."""

    key = "dose_response"
    plural = "Dose responses"
    analyses: ClassVar[Mapping[str, str]] = {"MCP-Mod": "difference of means"}
    of_patients = False
    superiority_only = True
    shape = Shape(
        {
            "of": '"BMD_LS"', "from": '"0 mo"', "to": '"12 mo"', "as": '"percent"',
            "doses": '{ low = "14 mg", middle = "60 mg", high = "210 mg" }',
            "shapes": '["linear", "Emax 20 mg", "sigmoid Emax 60 mg 3"]', "target": '"3 %"',
        },
        needed=("of", "to", "doses", "shapes"),
    )  # fmt: skip
    example = (
        '{ of = "BMD_LS", to = "12 mo", doses = { low = "14 mg", high = "60 mg" }, shapes = ["linear", "Emax 20 mg"] }'
    )

    kind: str = "percent"
    doses: tuple[tuple[str, float], ...]
    shapes: tuple[mcp.Shape, ...]
    target: float | None = None

    @classmethod
    def read(cls, table: Table, plan: Plan) -> dict[str, Any] | None:
        kind, found = table.choice("as", ("percent", "absolute"), "percent"), between(table, plan, "to")
        given, words = table.mapping("doses", str, {}), table.values("shapes", str, [])
        doses = {arm: table.parsed(("doses", arm), text, "mg") for arm, text in given.items()}
        for arm in doses:
            if plan.arms and arm not in plan.arms:
                table.fault(("doses", arm), f"'{arm}' is not an arm; {near(arm, plan.arms)}")
        known = {arm: dose for arm, dose in doses.items() if dose is not None}
        if len(known) == len(given) and (len(known) < 2 or len(set(known.values())) < len(known)):
            table.fault("doses", "a dose response needs two arms or more, each with a dose of its own.")
        for arm, dose in known.items():
            if dose <= 0:
                table.fault(("doses", arm), "a dose is above 0; the comparator stands for dose 0 and is not listed.")
        shapes = [mcp.read(text, lambda dose: parse_quantity(dose, "mg", where="")) for text in words]
        for index, shape in enumerate(shapes):
            if isinstance(shape, str):
                table.fault(("shapes", index), f"{shape}.")
        if not words:
            table.fault("shapes", f"no shape is named; give some of {', '.join(mcp.EXAMPLES.values())}.")
        unit = "%" if kind == "percent" or found is None else UNITS[found["measure"]]
        target = table.quantity("target", unit, None, above=0)
        fitting = [shape for shape in shapes if isinstance(shape, mcp.Shape)]
        if found is None or kind is None or len(known) < max(len(given), 2) or len(fitting) < max(len(shapes), 1):
            return None
        ordered = tuple(sorted(known.items(), key=lambda each: each[1]))
        if any(np.ptp(shape.at(np.array([0.0, *dict(ordered).values()]), ordered[-1][1])) < 1e-9 for shape in fitting):
            table.fault("shapes", "a shape is flat over these doses; give parameters within their range.")
        return found | {"kind": kind, "doses": ordered, "shapes": tuple(fitting), "target": target}

    @property
    def top(self) -> str:
        """The arm with the highest dose."""
        return self.doses[-1][0]

    @property
    def usual_arms(self) -> tuple[str, ...]:
        return (self.top,)

    def unfit(self, arm: str) -> str:
        """Only the highest dose is compared."""
        if arm == self.top or arm not in dict(self.doses):
            return ""
        return f"the claim of an MCP-Mod is about the highest dose, arm '{self.top}', and not about '{arm}'"

    @property
    def change(self) -> Change:
        """The change whose dose response this is."""
        return Change(
            name=self.name, role=self.role, analysis="ANCOVA", covariates=self.covariates, measure=self.measure,
            from_month=self.from_month, to_month=self.to_month, kind=self.kind,
        )  # fmt: skip

    @property
    def higher_is_better(self) -> bool:
        return self.change.higher_is_better

    @property
    def effect_unit(self) -> str:
        return self.change.effect_unit

    @property
    def unit(self) -> str:
        return self.change.unit

    @property
    def digits(self) -> int:
        return self.change.digits

    @property
    def described(self) -> str:
        return f"dose response, {self.change.described}"

    # -- analysis --

    def table(
        self, data: Data, setting: Setting, patients: pd.DataFrame | None = None, estimand: Estimand | None = None
    ) -> pd.DataFrame:
        """As of a change."""
        return self.change.table(data, setting, patients, estimand)

    def alone(self, own: pd.DataFrame) -> dict[str, Any]:
        return self.change.alone(own)

    def effect(self, table: pd.DataFrame, arm: str, comparator: str, measure: str) -> dict[str, Any]:
        raise TypeError("a dose response is of several arms together")

    def analyse(self, data: Data, setting: Setting) -> Analysed:
        """The contrast tests, and the models of the shapes that pass them; `detail` is a `DoseDetail`."""
        control = str(setting.comparator)
        arms = [control, *(arm for arm, _ in self.doses)]
        table = self.table(data, setting)
        table = table[np.isin(np.asarray(table["arm"], dtype=object), arms)]
        rows = {str(row["arm"]): row for row in ancova(table, arms, control, self.covariates)}
        detail, effect, why = self._detail(table, arms, setting.seed)
        results = []
        for arm in arms:
            row = rows[arm]
            n = int(str(row["n"]))
            if not n:
                results.append(Result(arm=arm, note=NOBODY))
                continue
            own = {name: float(str(row[column])) for name, column in OWN.items()}
            mine = effect if arm == self.top else None
            method = mine.method if mine is not None else "ANCOVA at the visit"
            note = (why or self._words(detail)) if arm == self.top else ""
            results.append(Result(arm=arm, n=n, **own, effect=mine, method=method, note=note))
        return Analysed(self, tuple(results), detail, setting.comparator)

    def _detail(self, table: pd.DataFrame, arms: list[str], seed: int) -> tuple[DoseDetail | None, Effect | None, str]:
        """Tests and models, the effect, and why there is none."""
        group = np.asarray(table["arm"], dtype=object)
        if not all((group == arm).any() for arm in arms):
            return None, None, "Not estimable: a dose has no patient left."
        matrix, redundant = ancova_design(table, arms, self.covariates)
        df, y = len(matrix) - matrix.shape[1], table["value"].to_numpy(float)
        inverse = np.linalg.inv(matrix.T @ matrix)
        slope = inverse @ matrix.T @ y
        left = y - matrix @ slope
        if df < 1 or left @ left <= 1e-18 * float(y @ y):
            return None, None, "Not estimable: the patients of each dose are alike, or too few."
        k = len(arms)
        means, covariance = slope[:k], inverse[:k, :k] * float(left @ left) / df
        doses = np.array([0.0, *(dose for _, dose in self.doses)])
        found = mcp.signal(self.shapes, doses, means, covariance, float(df), increasing=self.higher_is_better)
        models = mcp.chosen(found, doses, means, covariance)
        weights = mcp.weights_of(np.array([model.gaic for model in models])) if models else np.empty(0)
        target = None
        if self.target is not None and models:
            effect = self.target if self.higher_is_better else -self.target
            target = mcp.target_dose(models, doses, means, covariance, effect, seed=seed)
        low, high = found.test.interval(LEVEL)
        best, z = found.test.best, found.test(0.0)
        effect_of = Effect(
            self.effect_measure, float(found.test.sizes[best]), low, high, error=float(found.test.errors[best]),
            df=float(df), p=min(1.0, 2 * float(mcp.normal_tail(abs(z)))), z=found.test,
            method=f"MCP-Mod, largest contrast: {self.shapes[best]}",
        )  # fmt: skip
        detail = DoseDetail(
            tuple(arms), doses, means, covariance, float(df), found, tuple(models), tuple(weights), target, seed
        )
        return detail, effect_of, left_out(redundant)

    def _words(self, detail: DoseDetail | None) -> str:
        """The target dose in a sentence."""
        if detail is None or self.target is None:
            return ""
        if detail.target is None:
            return "No dose-response signal, and so no target dose."
        return f"Target dose for {self.target:g} {self.effect_unit}: {dose_words(detail.target, self.doses[-1][1])}."

    def beside(self, found: Analysed) -> list[dict[str, Any]]:
        """The target dose, as a row of a replicate's estimates; NaN without a signal."""
        if self.target is None:
            return []
        target = found.detail.target if found.detail is not None else None
        ends = {name: np.nan if target is None else getattr(target, column) for name, column in ENDS.items()}
        return [{"arm": self.top, "quantity": TARGET} | ends]

    # -- truth --

    def outcome(self, world: World, estimand: Estimand) -> pd.DataFrame:
        return self.change.outcome(world, estimand)

    def level(self, own: pd.DataFrame, end: float) -> tuple[float, float]:
        return self.change.level(own, end)

    def contrast(
        self, summary: str, here: pd.DataFrame, there: pd.DataFrame, ends: tuple[float, float] = (np.nan, np.nan)
    ) -> tuple[float, float]:
        """The difference of the highest dose to the comparator, whatever the shape."""
        try:
            return self.change.contrast(summary, here, there)
        except BadInput:
            return np.nan, np.nan


OWN = {"estimate": "estimate", "low": "ci_low", "high": "ci_high", "std_error": "std_error"}
ENDS = {"estimate": "dose", "low": "low", "high": "high"}


def dose_words(target: mcp.Target, top: float) -> str:
    """A target dose with its interval, such as ``34 mg (95% CI 21 mg to above 210 mg)``.

    Parameters
    ----------
    target : Target
    top : float
        The highest dose (mg).
    """
    each = [f"{x:.3g} mg" if np.isfinite(x) else f"above {top:g} mg" for x in (target.dose, target.low, target.high)]
    return f"{each[0]} (95% CI {each[1]} to {each[2]})"
