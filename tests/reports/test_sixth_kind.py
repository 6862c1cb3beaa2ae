"""A kind of endpoint that is not shipped: one class and one registration take it from the trial file to the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
from helpers import arm, change, endpoint, trial_file

import ranklsim
from ranklsim.cohorts.endpoints import KINDS, Endpoint, Estimand, Setting, register
from ranklsim.cohorts.endpoints.base import Data, World, mean_of, of_values
from ranklsim.cohorts.endpoints.estimands import people
from ranklsim.cohorts.endpoints.reading import Plan, between
from ranklsim.cohorts.protocol.trial import load_trial
from ranklsim.cohorts.running.storage import open_run
from ranklsim.cohorts.statistics.summaries import change_from, mean_interval, welch_difference
from ranklsim.pkpd.reading import Shape, Table


@dataclass(frozen=True, kw_only=True)
class Highest(Endpoint):
    """The highest value of a measure between two visits, in percent of the first of them."""

    key = "highest"
    plural = "Highest values"
    analyses: ClassVar[Mapping[str, str]] = {"mean difference": "difference of means"}
    measures = ("difference of means",)
    shape = Shape({"of": '"CTX"', "from": '"0 mo"', "to": '"12 mo"'}, needed=("of", "to"))
    example = '{ of = "CTX", to = "12 mo" }'

    measure: str
    from_month: float
    to_month: float

    @classmethod
    def read(cls, table: Table, plan: Plan) -> dict[str, Any] | None:
        return between(table, plan, "to")

    @property
    def months(self) -> tuple[float, ...]:
        return (self.from_month, self.to_month)

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.measure,)

    @property
    def higher_is_better(self) -> bool:
        return False

    @property
    def described(self) -> str:
        return f"highest {self.measure}"

    def _highest(self, visits: pd.DataFrame) -> pd.Series:
        values = change_from(visits, self.measure, self.from_month, kind="of_baseline")
        inside = (values["month"] > self.from_month) & (values["month"] <= self.to_month)
        return values[inside].groupby("patient")["value"].max()

    def table(
        self, data: Data, setting: Setting, patients: pd.DataFrame | None = None, estimand: Estimand | None = None
    ) -> pd.DataFrame:
        own = people(data.patients if patients is None else patients, self.covariates)
        return own.assign(value=own["patient"].map(self._highest(data.seen(self.measure)))).dropna(subset=["value"])

    def alone(self, own: pd.DataFrame) -> dict[str, Any]:
        found = mean_interval(own["value"].to_numpy())
        return {"estimate": found["mean"], "low": found["ci_low"], "high": found["ci_high"], "method": "mean"}

    def effect(self, table: pd.DataFrame, arm: str, comparator: str, measure: str) -> dict[str, Any]:
        here, there = (table.loc[table["arm"] == name, "value"].to_numpy() for name in (arm, comparator))
        gap = welch_difference(here, there)
        ends = {"low": gap["difference_low"], "high": gap["difference_high"]}
        return {"estimate": gap["difference"], "p": gap["p"], "method": "Welch"} | ends

    def outcome(self, world: World, estimand: Estimand) -> pd.DataFrame:
        patients, visits, _ = world
        return self._highest(visits).reindex(patients["patient"]).to_frame("value")

    def level(self, own: pd.DataFrame, end: float) -> tuple[float, float]:
        return mean_of(own["value"].dropna().to_numpy())

    def contrast(
        self, summary: str, here: pd.DataFrame, there: pd.DataFrame, ends: tuple[float, float] = (np.nan, np.nan)
    ) -> tuple[float, float]:
        return of_values(here["value"].to_numpy(), there["value"].to_numpy(), summary)


@pytest.fixture(scope="module", autouse=True)
def registered() -> Iterator[None]:
    register(Highest)
    yield
    del KINDS["highest"]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    highest = endpoint("Highest CTX", "mean difference", "primary", highest={"of": "CTX", "to": "12 mo"})
    tables = {
        "months": 12,
        "population": {"patients": 24},
        "visits": {"BMD": [0, 12], "markers": [0, 6, 12]},
        "arm": [arm("placebo", doses=2), arm("denosumab", doses=2)],
        "endpoint": [highest, change("Spine", role="secondary", to=12)],
        "uncertainty_draws": 2,
    }
    return trial_file(tmp_path_factory.mktemp("sixth"), stem="sixth", **tables)


@pytest.fixture(scope="module")
def folder(path: Path) -> Path:
    ranklsim.run(path, path.parent / "run", workers=1)
    return path.parent / "run"


def test_the_trial_file_reads_it(path: Path) -> None:
    spec = load_trial(path).endpoint("Highest CTX")
    assert isinstance(spec, Highest)
    assert (spec.measure, spec.from_month, spec.to_month) == ("CTX", 0.0, 12.0)


def test_it_is_analysed_with_effect_conclusion_and_subgroups(folder: Path) -> None:
    found = ranklsim.analyse(folder)
    row = found.endpoints.query("endpoint == 'Highest CTX' and arm == 'denosumab'").iloc[0]
    run = open_run(folder)
    values = run.seen("CTX").pivot(index="patient", columns="month", values="CTX")
    highest = (100 * values[[6.0, 12.0]].max(axis=1) / values[0.0]).dropna()
    arms = run.patients.set_index("patient")["arm"].reindex(highest.index).to_numpy()
    means = highest.groupby(arms).mean()
    assert row["estimate"] == pytest.approx(means["denosumab"], rel=1e-5)
    assert row["effect"] == pytest.approx(means["denosumab"] - means["placebo"], rel=1e-5)
    assert row["conclusion"] == "superior"
    assert "Highest CTX" in set(found.subgroups["endpoint"])


@pytest.mark.slow
def test_the_report_shows_it(folder: Path) -> None:
    page = ranklsim.report(folder).read_text(encoding="utf-8")
    assert "Highest CTX (primary; highest CTX)" in page
    assert "Highest values: " in page


@pytest.mark.slow
def test_studies_that_are_repeated_hold_its_estimates_and_its_truth(path: Path) -> None:
    found = ranklsim.replicate(path, replicates=2, workers=1)
    estimates = found.estimates.query("endpoint == 'Highest CTX' and arm == 'denosumab' and quantity == 'difference'")
    assert len(estimates) == 4  # two studies, and both under the null hypothesis
    true = found.truth.query("endpoint == 'Highest CTX' and arm == 'denosumab' and quantity == 'difference'")
    assert (true["value"] < 0).all()
