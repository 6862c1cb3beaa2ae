"""What every section of the page of ``ranklsim replicate`` shares: names, scales, numbers as text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
import pandas as pd

from ranklsim.cohorts.endpoints import (
    Endpoint,
    Estimand,
    is_ratio,
)
from ranklsim.cohorts.words import listed
from ranklsim.pkpd.errors import counted
from ranklsim.reports.layout.arms import ArmView, view_arms
from ranklsim.reports.layout.exhibit import Exhibit
from ranklsim.reports.layout.page import table
from ranklsim.reports.layout.tables import DASH, num
from ranklsim.reports.replicate.analyse import DIFFERENCE, ESTIMAND, MEAN
from ranklsim.reports.replicate.operating import Replicates

MC = (
    "In parentheses: Monte-Carlo error, that of the finite number of studies; Wilson's 95% interval of a share, the "
    "standard error of anything else."
)


@dataclass(frozen=True)
class Scale:
    """How estimates are shown: times `factor`, with so many digits; the bias of a `ratio` is that of its logarithm."""

    factor: float
    digits: int
    unit: str
    ratio: bool

    @property
    def none(self) -> float:
        """The value of no effect."""
        return 1.0 if self.ratio else 0.0

    def value(self, value: float, error: float) -> str:
        """An estimate or a true value, with its Monte-Carlo error.

        Parameters
        ----------
        value, error : float
            An effect or arm value, and its Monte-Carlo standard error.
        """
        return with_error(self.factor * value, self.factor * error, self.digits)

    def gap(self, value: float, error: float) -> str:
        """A bias, a standard error or a width.

        Parameters
        ----------
        value, error : float
            The difference, and its Monte-Carlo standard error.
        """
        return with_error(value, error, 3) if self.ratio else self.value(value, error)


def scale_of(spec: Endpoint, measure: str) -> Scale:
    """Scale of an effect, or of an arm's own value where `measure` is empty.

    Parameters
    ----------
    spec : Endpoint
        The endpoint.
    measure : str
        Measure of effect, or empty.
    """
    if is_ratio(measure):
        return Scale(1.0, 2, measure, True)
    return Scale(spec.factor, spec.digits, "percentage points" if measure and spec.unit == "%" else spec.unit, False)


class View:
    """The result with what all sections use of it."""

    def __init__(self, found: Replicates) -> None:
        self.found, self.plan, self.protocol = found, found.plan, found.protocol
        self.trial = found.plan.trial
        agents = {agent.name: agent for agent in found.plan.agents}
        self.arms: dict[str, ArmView] = {arm.name: arm for arm in view_arms(self.trial.arms, agents)}
        specs = found.protocol.endpoints
        self.primary = next((s for s in specs if s.role == "primary"), specs[0])
        self.quantity = DIFFERENCE if any(map(self.trial.compared, specs)) else MEAN
        self.sizes = self.protocol.sizes
        self.largest = self.sizes[-1]
        self.default = found.operating[found.operating["vector"] == 0]
        self.null = "null" in set(found.estimates["design"])
        self._numbers = {kind: count(1) for kind in ("Section", "Table", "Figure")}

    def number(self, kind: str) -> str:
        """The next number of a section, table or figure.

        Parameters
        ----------
        kind : str
            "Section", "Table" or "Figure".
        """
        return str(next(self._numbers[kind]))

    def rows(self, **wanted: Any) -> pd.DataFrame:
        """Operating characteristics under the default values."""
        rows = self.default
        for column, value in wanted.items():
            rows = rows[rows[column] == value]
        return rows

    def cell(self, measure: str, conduct: str = "", **wanted: Any) -> tuple[float, float]:
        """Value and Monte-Carlo standard error; NaN where there is none.

        Parameters
        ----------
        measure : str
            Name of an operating characteristic.
        conduct : str
            Conduct whose true value it refers to.
        **wanted
            Column of the table to its value.
        """
        rows = self.rows(measure=measure, conduct=conduct, **wanted)
        return (float(rows["value"].iloc[0]), float(rows["mc_se"].iloc[0])) if len(rows) else (np.nan, np.nan)

    def subjects(self) -> Iterator[tuple[Endpoint, str]]:
        """Endpoints and arms that are reported."""
        for spec in self.protocol.endpoints:
            for arm in self.others(spec):
                yield spec, arm

    def others(self, spec: Endpoint) -> list[str]:
        """Arms of which an endpoint is reported.

        Parameters
        ----------
        spec : Endpoint
            The endpoint.
        """
        return self.protocol.others(spec)

    def against(self, spec: Endpoint) -> str:
        """Label of the comparator of an endpoint.

        Parameters
        ----------
        spec : Endpoint
            The endpoint.
        """
        return self.arms[str(self.trial.comparator(spec))].label

    def percent(self, measure: str, conduct: str = "", **wanted: Any) -> str:
        """A share of studies under the default values, with Wilson's interval.

        Parameters
        ----------
        measure : str
            Name of an operating characteristic.
        conduct : str
            Conduct whose true value it refers to.
        **wanted
            Column of the table to its value.
        """
        rows = self.rows(measure=measure, conduct=conduct, **wanted)
        if not len(rows) or not np.isfinite(rows["value"].iloc[0]):
            return DASH
        value, low, high = (num(100 * rows[name].iloc[0], 1) for name in ("value", "low", "high"))
        return f"{value}% ({low}, {high})"

    def asked(self) -> Iterator[tuple[Estimand, str]]:
        """Estimands and arms."""
        for estimand in self.protocol.estimands:
            for arm in estimand.arms:
                yield estimand, arm

    def measure(self, spec: Endpoint) -> str:
        """Measure of effect of an endpoint, empty where arms are not compared.

        Parameters
        ----------
        spec : Endpoint
            The endpoint.
        """
        return "" if self.quantity == MEAN else spec.effect_measure

    def scale(self, spec: Endpoint) -> Scale:
        """Scale of what is reported of an endpoint.

        Parameters
        ----------
        spec : Endpoint
            The endpoint.
        """
        return scale_of(spec, self.measure(spec))

    def of_studies(self, spec: Endpoint, arm: str) -> pd.DataFrame:
        """Estimates under the default values in the largest studies.

        Parameters
        ----------
        spec : Endpoint
            The endpoint.
        arm : str
            Name of the arm.
        """
        found = self.found.estimates
        mine = (found["endpoint"] == spec.name) & (found["arm"] == arm) & (found["quantity"] == self.quantity)
        mine &= (found["design"] == "trial") & (found["patients"] == self.largest) & (found["vector"] == 0)
        return found[mine]

    def name(self, name: str, arm: str) -> str:
        """An endpoint or estimand, with its arm where there are several.

        Parameters
        ----------
        name : str
            Name of an endpoint or estimand.
        arm : str
            Name of the arm.
        """
        return name if len(self.arms) <= 2 else f"{name}: {self.arms[arm].label}"

    def labels(self, kind: str, name: str, arm: str, size: int) -> dict[str, object]:
        """First cells of a row of a table: arm and patients where there are several, and what it is about.

        Parameters
        ----------
        kind : str
            Head of the column for `name`.
        name : str
            Name of an endpoint or estimand.
        arm : str
            Name of the arm.
        size : int
            Patients of a study.
        """
        own: dict[str, object] = {"Arm": self.arms[arm].label} if len(self.arms) > 2 else {}
        return own | ({"Patients": str(size)} if len(self.sizes) > 1 else {}) | {kind: name}

    def listed(
        self, kind: str, title: str, kept: list[pd.DataFrame], shown: list[dict[str, object]], footnote: str
    ) -> Exhibit:
        """A table of rows that begin with `labels`.

        Parameters
        ----------
        kind : str
            Head of the column of endpoints or estimands.
        title, footnote : str
            Of the table.
        kept : list of DataFrame
            What is exported.
        shown : list of dict
            Head to text, for each row.
        """
        numeric = [name for name in shown[0] if name not in ("Arm", "Patients", kind)]
        group = kind if "Arm" in shown[0] or "Patients" in shown[0] else None
        whole = pd.concat(kept)
        return table(self.number("Table"), title, whole, shown, footnote, numeric=numeric, group=group)

    def here(self, spec: Endpoint, arm: str, size: int) -> dict[str, Any]:
        """Which rows are of an endpoint, arm and size.

        Parameters
        ----------
        spec : Endpoint
            The endpoint.
        arm : str
            Name of the arm.
        size : int
            Patients of a study.
        """
        return {"endpoint": spec.name, "arm": arm, "patients": size, "quantity": self.quantity}

    def here_of(self, estimand: Estimand, arm: str, size: int) -> dict[str, Any]:
        """Which rows are of an estimand, arm and size.

        Parameters
        ----------
        estimand : Estimand
            The estimand.
        arm : str
            Name of the arm.
        size : int
            Patients of a study.
        """
        return {"estimand": estimand.name, "arm": arm, "patients": size, "quantity": ESTIMAND}

    @property
    def studies(self) -> str:
        """How many studies, in words."""
        return counted(self.plan.replicates, "study")

    @property
    def patients(self) -> str:
        """Numbers of patients, in words."""
        return listed([str(size) for size in self.sizes])


def percent(value: float, error: float, decimals: int = 1) -> str:
    """A share with its Monte-Carlo error, as percent.

    Parameters
    ----------
    value, error : float
        A share (0 to 1), and its Monte-Carlo standard error.
    decimals : int
        Digits after the point.
    """
    if not np.isfinite(value):
        return DASH
    return f"{num(100 * value, decimals)}% ({num(100 * error, decimals)})"


def with_error(value: float, error: float, decimals: int) -> str:
    """A number with its Monte-Carlo error.

    Parameters
    ----------
    value, error : float
        A number, and its Monte-Carlo standard error.
    decimals : int
        Digits after the point.
    """
    if not np.isfinite(value):
        return "∞" if value == np.inf else DASH
    return f"{num(value, decimals)} ({num(error, decimals)})" if np.isfinite(error) else num(value, decimals)
