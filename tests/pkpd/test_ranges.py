"""Ranges of parameters: what has one, from where, and how a point of the unit cube becomes a value."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ranklsim.pkpd.agents import list_agents, load_agent
from ranklsim.pkpd.ensemble import ensemble
from ranklsim.pkpd.errors import BadInput
from ranklsim.pkpd.fitting.spec import load_spec
from ranklsim.pkpd.parameters import load_parameters
from ranklsim.pkpd.ranges import chosen, experiment, natural, of_ensemble, ranges, read_vectors

TABLE = load_parameters()
AGENTS = [load_agent(name) for name in ("denosumab", "mrankl-selective")]


def test_fitted_parameters_move_over_the_shipped_ensemble_which_holds_their_values() -> None:
    found = of_ensemble()
    fitted = {p.name for p in load_spec("default", TABLE).parameters}
    assert set(found) == {name for name in fitted if TABLE.row(name)["status"] == "fitted"}
    assert set(TABLE.uncertain()) < fitted, "what is open is drawn with them"
    vectors = ensemble()
    for symbol, (low, high) in found.items():
        row = TABLE.row(symbol)
        assert row["low"] <= low <= row["value"] <= high <= row["high"], symbol
        assert vectors[symbol].between(low, high).mean() > 0.94, symbol


def test_each_kind_has_its_range_from_its_own_place() -> None:
    frame = ranges(TABLE, AGENTS).set_index("symbol")
    assert set(frame.index[frame["kind"] == "open"]) == set(TABLE.uncertain())
    assert tuple(frame.loc["sig", ["low", "high", "scale"]]) == (0.0, 0.5, "linear")
    assert tuple(frame.loc["fsh", ["kind", "scale"]]) == ("open", "log")
    assert frame.loc["kT", "kind"] == "fitted"
    assert frame.loc["kT", "low"] > TABLE.row("kT")["low"]
    assert tuple(frame.loc["om", ["kind", "low", "high", "scale"]]) == ("open", 0.1, 10.0, "log")
    assert tuple(frame.loc["d_act", ["kind", "low", "high", "scale"]]) == ("assumed", 0.0, 1.0, "linear")
    assert frame.loc["kd", "kind"] == "measured"
    assert frame.loc["denosumab.block_shedding", "kind"] == "assumed"
    assert frame.loc["denosumab.CL", "kind"] == "fitted"
    assert ((frame["low"] <= frame["value"]) & (frame["value"] <= frame["high"])).all()
    assert (frame["low"] < frame["high"]).all()


def test_numbers_behind_fractures_move_only_where_they_are_named() -> None:
    frame = ranges(TABLE, AGENTS)
    row = frame.set_index("symbol").loc["level_vertebral"]
    assert tuple(row[["kind", "low", "high", "scale"]]) == ("hazard", 0.008, 0.025, "linear")
    assert not set(chosen(frame, None, None)["kind"]) & {"hazard", "measured"}
    assert set(chosen(frame, ["sig", "level_vertebral"], None)["symbol"]) == {"sig", "level_vertebral"}


def test_covariates_genotypes_and_measurement_error_have_none() -> None:
    names = set(ranges(TABLE, list_agents())["symbol"])
    assert not names & {"AGE", "WT", "CTX0", "BMD0_R13", "make_osteocyte", "RANK", "CV_CTX", "REF_LS"}


def test_a_number_that_two_agents_share_stands_once() -> None:
    names = list(ranges(TABLE, AGENTS)["symbol"])
    assert len(names) == len(set(names))
    assert not any(name.startswith("mrankl-selective.") for name in names)


def test_an_agent_of_ones_own_brings_its_own_numbers(tmp_path: Path) -> None:
    (tmp_path / "ours.toml").write_text(
        'label = "Ours"\nhypothetical = true\nlike = "denosumab"\n'
        'KD_mRANKL = { value = "0.05 nmol/L", low = 0.01, high = 0.5, status = "assumed", source = "our target" }\n',
        encoding="utf-8",
    )
    frame = ranges(TABLE, [load_agent("ours", folder=tmp_path)]).set_index("symbol")
    assert tuple(frame.loc["ours.KD_mRANKL", ["kind", "low", "high"]]) == ("assumed", 0.01, 0.5)
    assert "denosumab.CL" in frame.index


def test_the_unit_cube_spans_each_range_on_its_scale() -> None:
    frame = chosen(ranges(TABLE), ["sig", "om"], None)
    values = natural(np.array([[0.0, 0.0], [0.5, 0.5], [1.0, 1.0]]), frame)
    of = dict(zip(frame["symbol"], values.T, strict=True))
    assert of["sig"] == pytest.approx([0.0, 0.25, 0.5])
    assert of["om"] == pytest.approx([0.1, 1.0, 10.0])


def test_measured_ones_move_only_when_asked_for() -> None:
    frame = ranges(TABLE)
    assert "kd" not in set(chosen(frame, None, None)["symbol"])
    assert "kd" in set(chosen(frame, ["measured", "sig"], None)["symbol"])
    assert set(chosen(frame, ["open"], ["mix"])["symbol"]) == set(TABLE.uncertain()) - {"mix"}


@pytest.mark.parametrize(
    ("only", "exclude", "part"),
    [
        (["kTT", "sig"], None, "only: 'kTT' is no parameter with a range here"),
        (None, ["AGE"], "exclude: 'AGE'"),
        (["sig"], None, "1 parameter left to move"),
        (["open"], ["open"], "0 parameters left"),
    ],
)
def test_a_choice_that_makes_no_sense_is_told(only: list[str] | None, exclude: list[str] | None, part: str) -> None:
    with pytest.raises(BadInput, match=part):
        chosen(ranges(TABLE), only, exclude)


def test_intervals_of_another_fit_are_read_from_its_estimates(tmp_path: Path) -> None:
    path = tmp_path / "estimates.csv"
    path.write_text("parameter,unit,low,high\nkT,1/yr,0.16,0.23\n", encoding="utf-8")
    frame = ranges(TABLE, intervals=path).set_index("symbol")
    assert tuple(frame.loc["kT", ["low", "high"]]) == (0.16, 0.23)
    assert frame.loc["tW", "kind"] == "assumed"  # not fitted there


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("symbol,low\nkT,0.1\n", "column high is missing"),
        ("symbol,low,high\nkTT,0.1,0.2\n", "unknown parameter 'kTT'"),
        ("symbol,low,high\nkT,0.3,0.2\n", "low must be below high"),
        ("symbol,low,high\nkT,low,0.2\n", "is not a number"),
        ("symbol,low,high\nkT,0.3,0.4\n", f"kT = {load_parameters()['kT']:g} lies outside 0.3 to 0.4"),
        ("", "the file is empty"),
    ],
)
def test_faulty_intervals_are_told(tmp_path: Path, text: str, part: str) -> None:
    path = tmp_path / "x.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadInput) as fault:
        ranges(TABLE, intervals=path)
    assert part in str(fault.value)


def test_vectors_of_an_ensemble_are_read_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "ensemble.csv"
    path.write_text("kT,denosumab.CL\n0.2,0.09\n0.25,0.1\n", encoding="utf-8")
    assert read_vectors(path, TABLE)["denosumab.CL"].tolist() == [0.09, 0.1]
    path.write_text("kT,kTT\n0.2,1\n9,1\n", encoding="utf-8")
    with pytest.raises(BadInput) as fault:
        read_vectors(path, TABLE)
    assert len(fault.value.messages) == 2
    assert "ensemble.csv:3: kT" in fault.value.messages[0]


def test_every_parameter_that_moves_by_default_has_an_experiment() -> None:
    frame = chosen(ranges(TABLE, list_agents()), None, None)
    assert [symbol for symbol in frame["symbol"] if not experiment(symbol)] == []
