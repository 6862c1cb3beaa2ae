"""Runs side by side: what differs is named, the same patients are compared as such, others are not."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from helpers import said
from scipy import stats

from ranklsim.cohorts.running.execution import run
from ranklsim.cohorts.running.storage import open_run
from ranklsim.pkpd.errors import BadInput
from ranklsim.reports.csr.context import Context
from ranklsim.reports.pages import compare
from ranklsim.reports.pages.compare import Seen, run_names, write_comparison

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """FREEDOM with 16 patients, with 20 of whom 16 are the same, and with other people."""
    work = tmp_path_factory.mktemp("runs")
    for name, options in (
        ("few", {"patients": 16}),
        ("more", {"patients": 20}),
        ("others", {"patients": 16, "seed": 5}),
    ):
        run("freedom", work / name, layers=["patients", "residual"], **options)  # type: ignore[arg-type]
    return [work / name for name in ("few", "more", "others")]


@pytest.fixture(scope="module")
def runs(folders: list[Path]) -> list[Seen]:
    return [Seen(folder.name, folder, Context(open_run(folder))) for folder in folders]


def test_what_differs_is_named_and_nothing_else(runs):
    frame = compare.differences(runs).set_index("key")
    assert {"seed", "patients"} <= set(frame.index)
    assert frame.loc["patients", ["few", "more", "others"]].tolist() == ["16", "20", "16"]
    assert not frame["what"].isin(["the parameters", "agents and population"]).any()
    assert compare.differences(runs[:1] * 2).empty


def test_a_population_or_a_parameter_that_differs_is_named_as_a_reader_would_write_it(runs):
    data = runs[0].context.data
    table = runs[0].context.parameters.copy()
    table.loc[table["symbol"] == "sig", "value"] = 0.2
    inputs = {name: "0" * 64 if name.startswith("population/") else digest
              for name, digest in data.manifest["inputs"].items()}  # fmt: skip
    other = SimpleNamespace(
        name="other",
        context=SimpleNamespace(
            trial=runs[0].context.trial,
            parameters=table,
            data=SimpleNamespace(manifest={**data.manifest, "inputs": inputs}),
        ),
    )
    frame = compare.differences([runs[0], other]).set_index("key")
    assert frame.loc["sig", "other"] == "0.2"
    assert list(frame.index[frame["what"] == "agents and population"]) == [
        name for name in inputs if name.startswith("population/")
    ]


def test_patient_k_is_the_same_person_for_one_seed_and_another_for_another(runs):
    few, more, others = runs
    assert compare.same_people(few, more)
    assert not compare.same_people(few, others)


def test_the_same_patients_are_compared_pair_by_pair(runs):
    few, more, _ = runs
    frame = compare.between(few, more)
    row = frame[frame["n_first"] > 2].iloc[0]
    assert row["method"] == "same patients"
    assert row["n_first"] == row["n_other"] <= 16
    assert row["difference"] == pytest.approx(0.0, abs=1e-6), "the same people under the same arm have the same result"


def test_other_patients_are_compared_by_welch(runs):
    few, _, others = runs
    frame = compare.between(few, others)
    row = frame[(frame["n_first"] > 2) & (frame["n_other"] > 2)].iloc[0]
    spec = few.context.trial.changes[0]
    values = []
    for seen in (few, others):
        visits = seen.context.data.visits
        own = visits[visits["arm"] == row["arm"]].pivot(index="patient", columns="month", values=spec.measure)
        change = 100 * (own[spec.to_month].astype(float) / own[spec.from_month].astype(float) - 1)
        values.append(change.dropna())
    expected = stats.ttest_ind(values[1], values[0], equal_var=False).confidence_interval()
    assert row["method"] == "independent"
    np.testing.assert_allclose([row["low"], row["high"]], [expected.low, expected.high], rtol=1e-4)


def test_every_endpoint_of_every_run_and_arm_is_in_the_table_as_the_run_reports_it(runs):
    frame = compare.endpoints(runs)
    assert len(frame) == sum(len(seen.context.endpoints) for seen in runs)
    for seen in runs:
        own = frame[frame["run"] == seen.name]
        assert sorted(own["estimate"].dropna()) == sorted(seen.context.endpoints["estimate"].dropna())


def test_the_page_is_written_refused_and_replaced(folders, tmp_path, capsys):
    out = tmp_path / "side"
    code, lines, _ = said(capsys, "compare", *folders, "-o", out)
    assert (code, lines) == (0, [str(out / "index.html")])
    text = (out / "index.html").read_text(encoding="utf-8")
    assert "few and of more is the same person" in text
    assert "few and others have different patients" in text
    for path in (out / "tables").glob("*.csv"):
        assert len(pd.read_csv(path)), path.name
    first = (out / "index.html").read_bytes()
    assert said(capsys, "compare", *folders, "-o", out)[0] == 2
    assert said(capsys, "compare", *folders, "-o", out, "--force")[0] == 0
    assert len((out / "index.html").read_bytes()) == len(first) + len(" --force")


def test_what_cannot_be_compared_is_refused_in_a_sentence(folders, tmp_path):
    with pytest.raises(BadInput, match="two runs or more"):
        write_comparison(folders[:1], tmp_path / "a")
    with pytest.raises(BadInput, match="given twice"):
        write_comparison([folders[0], folders[0]], tmp_path / "a")
    with pytest.raises(BadInput, match=r"no such folder|holds no"):
        write_comparison([folders[0], tmp_path / "nothing"], tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_runs_are_called_by_as_much_of_their_place_as_tells_them_apart():
    assert run_names(["runs/a", "runs/b"]) == ["a", "b"]
    assert run_names(["old/a", "new/a"]) == ["old/a", "new/a"]


def test_an_endpoint_that_only_one_trial_has_is_one_line():
    one = {"months": "36", "endpoint[a].name": "a", "endpoint[a].role": "primary", "endpoint[b].role": "secondary"}
    other = {"months": "24", "endpoint[b].role": "primary"}
    assert compare._whole([one, other]) == [
        {"months": "36", "endpoint[a]": "yes", "endpoint[b].role": "secondary"},
        {"months": "24", "endpoint[b].role": "primary"},
    ]


def test_an_arm_is_drawn_once_where_endpoints_differ_in_the_comparator_alone(small_run, tmp_path):
    folders = [small_run, tmp_path / "again"]
    shutil.copytree(small_run, folders[1])
    page = write_comparison(folders, out=tmp_path / "side")
    for path in (page.parent / "tables").glob("figure-2.1.*.csv"):
        assert not pd.read_csv(path).duplicated(["run", "arm"]).any(), path.name
    shown = pd.read_csv(next((page.parent / "tables").glob("table-2.1-*.csv")))
    compared = shown[shown["difference"].notna()]
    assert set(compared["against"]) == {"Placebo", "Denosumab 60 mg Q6M"}
    assert not shown.duplicated(["what", "run", "arm", "against"]).any()
