"""Results know themselves: every column of every table is explained; each has a page, frames and a figure."""

from __future__ import annotations

import pickle
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from helpers import script

import ranklsim
from ranklsim import BadInput
from ranklsim.cohorts.running.storage import open_run
from ranklsim.pkpd.parameters import load_parameters
from ranklsim.pkpd.results import Results, dictionary, unexplained

DICTIONARY = script("dictionary")


def columns(path: Path) -> list[str]:
    """Columns of a file."""
    return pq.read_schema(path).names if path.suffix == ".parquet" else list(pd.read_csv(path, nrows=1).columns)


def check_folder(folder: Path, name: str) -> None:
    """Every column of every table of a folder is in the dictionary."""
    files = [path for path in folder.glob("*") if path.suffix in (".csv", ".parquet")]
    assert files
    missing = {path.name: unexplained(f"{name}/{path.stem}", columns(path)) for path in files}
    assert not {file: found for file, found in missing.items() if found}


def check_result(found: Results, tmp_path: Path) -> None:
    """A result has units, a page, plain frames, a figure, and survives pickling."""
    explained = found.columns_explained
    assert not explained[explained["meaning"] == ""].size, explained[explained["meaning"] == ""]
    assert set(found.units) == set(explained["column"])
    main = next(iter(found.tables()))
    assert type(found.to_frame()) is pd.DataFrame
    pd.testing.assert_frame_equal(found.to_frame(main), found.to_frame())
    with pytest.raises(BadInput, match="table = 'nonsense' is not here"):
        found.to_frame("nonsense")
    page = found._repr_html_()
    assert all(f"<b>{name}</b>" in page for name in found.tables())
    found.plot(tmp_path / "figure.svg")
    assert (tmp_path / "figure.svg").read_text().count("<path") > 5
    again = pickle.loads(pickle.dumps(found))
    for name, table in found.tables().items():
        pd.testing.assert_frame_equal(again.tables()[name], table)


def test_the_page_of_the_dictionary_is_that_of_its_data() -> None:
    assert DICTIONARY.PAGE.read_text(encoding="utf-8") == DICTIONARY.page()


def test_a_column_stands_once_in_a_table_with_a_meaning() -> None:
    rows = dictionary()
    assert not rows.duplicated(["table", "column"]).any()
    assert (rows["meaning"].str.len() > 3).all()


@pytest.mark.parametrize("name", ["agents", "evidence", "parameters", "populations", "questions", "trials", "variants"])
def test_lists_are_explained(name: str) -> None:
    frame = getattr(ranklsim, name)()
    assert not unexplained(frame.table, frame.columns)
    assert all(frame.meanings.values())
    assert len(frame) > 1


def test_a_table_of_many_columns_prints_as_one_of_few_does() -> None:
    course = ranklsim.simulate("denosumab 60mg every 6mo x1", follow="1 mo")
    assert f"x {len(course.columns)} columns]" in str(course)


def test_one_of_a_list_is_given_by_its_name() -> None:
    assert ranklsim.agents("denosumab").values["KD_sRANKL"] == pytest.approx(load_parameters()["denosumab.KD_sRANKL"])
    assert ranklsim.parameters("denosumab.CL")["unit"].tolist() == ["L/day"]
    assert set(ranklsim.parameters(group="cells", status="fitted")["group"]) == {"cells"}
    women = ranklsim.populations("postmenopausal-osteoporosis")
    assert women.units["age"] == "yr"
    assert women["age"].between(40, 100).all()
    assert not unexplained("population", women.columns)
    assert ranklsim.questions("dose")["trial"] == "modality"
    assert not unexplained("evidence/observations", ranklsim.evidence(table="observations").columns)


@pytest.mark.slow
def test_a_run_and_its_analyses_know_themselves(small_run: Path, tmp_path: Path) -> None:
    check_folder(small_run, "run")
    run = open_run(small_run)
    check_result(run, tmp_path)
    found = ranklsim.analyse(run)
    check_result(found, tmp_path)
    assert str(found).count("\n") < 120
    assert str(found).startswith("Analyses of ")


@pytest.mark.slow
def test_results_of_the_studies_know_themselves(tmp_path: Path) -> None:
    found: dict[str, Results] = {
        "sensitivity": ranklsim.sensitivity(
            "modality", tmp_path / "sensitivity", only=["sig", "mix", "kT"], trajectories=2, samples=8, keep=2,
            second_order=True,
        ),
        "design": ranklsim.design("dose", tmp_path / "design", draws=10),
        "replicate": ranklsim.replicate(
            "freedom", tmp_path / "replicate", replicates=3, patients=24, vectors=1, keep_patients=True
        ),
    }  # fmt: skip
    for name, result in found.items():
        check_folder(tmp_path / name, name)
        check_result(result, tmp_path)
    ranklsim.validate(tmp_path / "validate", patients=0)
    check_folder(tmp_path / "validate", "validate")
