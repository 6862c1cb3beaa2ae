"""The door from Python is as firm as the command line: every misuse is a BadInput that names its argument.

A right value in another guise (a number of numpy, a generator, a tuple) gives the right result; no argument is changed;
no message speaks of an option of the command line.
"""

from __future__ import annotations

import datetime
import inspect
import itertools
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from helpers import trial_file

import ranklsim
from ranklsim import BadInput
from ranklsim.pkpd.parameters import load_parameters

ONE = {"agent": "denosumab", "dose": "60 mg"}
NAN, HUGE = float("nan"), 10**5000


class Odd:
    """What no function can use, and what cannot even be written."""

    def __repr__(self):
        raise RuntimeError("not to be shown")

    __str__ = __repr__


RIGHT = {
    "simulate": ONE,
    "sweep": {"agents": "denosumab", "dose": "60 mg"},
    "run": {"trial": "modality"},
    "replicate": {"trial": "modality"},
    "sensitivity": {"trial": "modality"},
    "fit": {"spec": "default", "out": "out"},
    "validate": {"out": "out"},
    "design": {"dose_for": "90 % of denosumab's BMD_LS at 36 mo", "agent": "mrankl-selective"},
    "report": {"run_folder": "x"},
    "compare": {"folders": ["a", "b"], "out": "c"},
    "cdisc": {"run_folder": "x", "out": "b"},
    "bundle": {"run_folder": "x", "out": "b.zip"},
    "plan": {"trial": "modality", "out": "out"},
    "dossier": {"run_folder": "x", "out": "out", "plan": "p"},
    "qualify": {"out": "out", "only": ["ST-01"]},
    "reproduce": {"file": "x.zip"},
    "export": {"source": "denosumab 60mg x1", "out": "b.xml", "format": "sbml"},
}
"""What a misuse below is laid over."""
NO_PATHS = [3, b"x", "", "a\x00b", Odd(), ["x"]]
NO_FLAGS = [1, "yes", np.array([True, False])]
NO_WHOLE = [20.5, True, -1, "20", HUGE, NAN, np.array([2, 3]), Odd()]
MISUSES = {
    "simulate": {
        "regimen": [
            5,
            b"denosumab 60mg x1",
            ["denosumab"],
            "x" * 200_000,
            "denosumab\x0060mg",
            "denosumab 60mg x1",
            Odd(),
        ],
        "agent": [3, "denosumb", None],
        "dose": [60, NAN, "60", "1e300 mg", None],
        "every": [6, "6", "0 mo"],
        "doses": [*NO_WHOLE, 0, 2, 10**6],
        "follow": [12, None, "12", "1e9 yr"],
        "doses_from": ["nowhere.csv", *NO_PATHS[:4]],
        "patient": [3],
        "time": [3],
        "at": [5, "1,2", [NAN], [-1], ["1"], [[1, 2]], [True], {1: 2}, np.array(3.0), itertools.count(), [10**400]],
        "covariates": [3, ["age"], {3: 1.0}, {"aeg": 63}, pd.Series({"age": 63.0})]
        + [{"age": value} for value in ("63", NAN, True, 1e9, None, np.array([63.0, 64.0]))],
        "parameters": [{"kTT": 0.2}, {"kT": "much"}, pd.DataFrame(), "nowhere.csv", *NO_PATHS],
        "folder": ["nowhere", *NO_PATHS],
        "agents": [3, [], [3], ["denosumb"], [{"like": "denosumab"}]],
        "draws": [*NO_WHOLE, 10**5],
        "seed": [1.5, -1],
        "rtol": [1, NAN],
        "workers": [0],
        "tell": [3],
    },
    "sweep": {
        "regimens": [5, b"x", [], ["denosumab"], {"A": 3}, {3: "x"}, "denosumab 60mg x1", Odd()],
        "agents": [3, [], ["denosumb"], [3], {"like": "denosumab"}, {"name": "abc", "lik": "denosumab"}],
        "dose": [60, "60", NAN],
        "every": [6, "6"],
        "doses": [0, 1.5, True],
        "over": [3, ["dose"], {"dose": []}, {"dose": 60}, {"dose": ["60"]}, {"kTT": [1]}, {"age": ["60"]}, {3: [1]}],
        "of": [3, [], ["BMD"], "highest nothing", [3]],
        "draws": [*NO_WHOLE, 10**5],
        "at": [5, [-1], [NAN], "1"],
        "follow": [12, "12"],
        "covariates": [3, {"aeg": 63}, {"age": [60]}],
        "parameters": [{"kTT": 0.2}, {"kT": [0.1, "x"]}, "nowhere.csv", *NO_PATHS],
        "folder": ["nowhere", *NO_PATHS],
        "seed": [1.5, -1],
        "rtol": [1, NAN],
        "workers": [0],
    },
    "run": {
        "trial": [{"title": "x"}, None, "modalty", *NO_PATHS],
        "patients": [0, *NO_WHOLE],
        "seed": [1.5, -1, 2**64, True],
        "workers": [0, 10**9, 1.0],
        "layers": ["patients", 3, {"patients": 1}, ["patient"], {"patient": True}, {3: True}],
        "rtol": ["1e-5", NAN, 0, True],
        "resume": NO_FLAGS,
        "force": NO_FLAGS,
        "out": NO_PATHS,
        "scheduler": [3, "a\x00b"],
        "progress": [3],
        "tell": ["x"],
        "command": [3],
        "parameters": [[1], "nowhere.csv"],
    },
    "replicate": {
        "trial": [NAN],
        "replicates": [0, *NO_WHOLE],
        "patients": [[], [20, 20], [20, "30"], 20.5, "20", {20: 1}, True, itertools.count(1)],
        "vectors": ["some", -1, 1.5, True],
        "null": NO_FLAGS,
        "keep_patients": NO_FLAGS,
        "layers": ["residual", ["nonsense"]],
        "rtol": [1],
    },
    "sensitivity": {
        "trial": [["modality"]],
        "only": ["kT", [3], ["kTT"]],
        "exclude": [3, ["nonsense"]],
        "endpoints": [3, [], ["Spine"], "Spine"],
        "samples": [100, 8.0, 2**30],
        "keep": [1, True],
        "trajectories": [True, 1],
        "second_order": NO_FLAGS,
        "ensemble": [3, "nowhere.csv"],
        "intervals": [{"kT": (1, 2)}, "nowhere.csv"],
    },
    "fit": {"spec": ["nowhere.toml", {"title": "x"}, *NO_PATHS], "out": NO_PATHS, "profiles": NO_FLAGS, "workers": [0]},
    "validate": {"patients": [3, *NO_WHOLE], "evidence": ["nowhere", *NO_PATHS], "out": NO_PATHS, "seed": [NAN]},
    "agents": {"name": ["denosumb", 3, b"x"], "folder": ["nowhere", *NO_PATHS]},
    "trials": {"name": ["modalty", 3, Odd()], "folder": ["x"]},
    "questions": {"name": ["dos", 3], "folder": ["x"]},
    "parameters": {
        "symbol": ["kTT", 3, "denosumab.CLL"],
        "group": ["blood", 3],
        "status": ["true"],
        "parameters": [{"kTT": 1}, "nowhere.csv"],
        "folder": ["nowhere"],
    },
    "populations": {
        "population": ["nowhere", 3, {"title": "x"}, pd.DataFrame({"age": [60]}), pd.DataFrame({"x": ["a"] * 30})],
        "folder": ["nowhere", 3],
    },
    "variants": {"name": ["x"]},
    "evidence": {"folder": ["nowhere", *NO_PATHS], "table": ["arm", 3]},
    "genetics": {"parameters": [{"kTT": 1}, "nowhere.csv", 3]},
    "design": {
        "question": ["nowhere.toml", {"title": "x"}, {"trial": {"title": "x"}}, *NO_PATHS],
        "draws": [0, 1.5, True],
        "every": [6, [6], []],
        "doses": [10, ["10 mg"]],
        "folder": ["nowhere", 3],
        "agent": [3, b"x", {"like": "denosumab"}, "denosumb"],
        "dose_for": [3, "as much as needed"],
        "out": NO_PATHS,
    },
    "analyse": {"study": [None, "nowhere", pd.DataFrame(), *NO_PATHS]},
    "report": {"run_folder": ["nowhere", *NO_PATHS], "formats": ["docx", ["doc"], [3], 3], "out": NO_PATHS},
    "compare": {"folders": ["a", ["a"], ["a", "a"], [1, 2], 3, NO_PATHS], "out": NO_PATHS, "force": NO_FLAGS},
    "bundle": {"run_folder": ["nowhere", *NO_PATHS], "out": ["b.tar", *NO_PATHS], "force": NO_FLAGS},
    "plan": {"trial": ["modalty", *NO_PATHS], "patients": [0, 20.5], "out": NO_PATHS, "force": NO_FLAGS},
    "dossier": {"plan": NO_PATHS, "out": NO_PATHS, "hash": [3], "qualification": NO_PATHS, "replicates": NO_PATHS},
    "qualify": {"out": NO_PATHS, "only": ["ST", ["XX-01"], [3], 3], "resume": NO_FLAGS, "force": NO_FLAGS},
    "reproduce": {"file": ["nowhere.zip", ".", *NO_PATHS], "workers": [0, 1.0], "out": NO_PATHS, "resume": NO_FLAGS},
    "export": {
        "source": ["denosumb", "nowhere.toml", *NO_PATHS],
        "out": ["nowhere/x.xml", *NO_PATHS],
        "format": ["smbl", 3],
        "time": ["weeks", 3],
        "arm": ["placebo", 3],
        "follow": ["12", 12],
        "covariates": [{"aeg": 63}, 3],
        "parameters": [{"kTT": 0.2}, "nowhere.csv"],
        "folder": ["nowhere", *NO_PATHS],
        "force": NO_FLAGS,
    },
    "cdisc": {
        "run_folder": ["nowhere", *NO_PATHS],
        "formats": ["xpt", [], ["sas"]],
        "first_day": ["2000-01-03", datetime.date.max, 3],
        "force": NO_FLAGS,
    },
}
CASES = [
    (name, {argument: value}) for name, of in MISUSES.items() for argument, values in of.items() for value in values
]
CASES += [(name, {}) for name in RIGHT if name not in ("sweep", "design", "qualify")]


@pytest.mark.parametrize(("name", "wrong"), [pytest.param(*case, id=f"{case[0]}-{k}") for k, case in enumerate(CASES)])
def test_a_misuse_is_bad_input_that_names_the_argument(tmp_path, monkeypatch, recwarn, name, wrong):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput) as refused:
        getattr(ranklsim, name)(**(RIGHT.get(name, {}) | wrong if wrong else {}))
    said = str(refused.value)
    inner = getattr(ranklsim, name).__name__
    assert inner == name or inner not in said
    for message in refused.value.messages:
        assert "--" not in message
        assert message[-1] in ".?"
        assert len(message) < 500
    for argument, value in wrong.items():
        named = [argument, argument.rstrip("s"), *([value] if isinstance(value, str) and 0 < len(value) < 20 else [])]
        assert any(word in said for word in named) or (isinstance(value, list) and str(value[0]) in said), said
    assert list(tmp_path.iterdir()) == []
    assert not recwarn.list


def test_every_public_function_is_behind_the_door():
    assert set(MISUSES) == set(ranklsim.api.FUNCTIONS)
    for name in MISUSES:
        function = getattr(ranklsim, name)
        assert set(function.__kinds__) == set(inspect.signature(function).parameters), name
        with pytest.raises(BadInput, match="unknown argument 'nonsense'"):
            getattr(ranklsim, name)(nonsense=1)
        with pytest.raises(BadInput):
            getattr(ranklsim, name)(*range(30))


def test_right_values_in_another_guise_give_the_same_course():
    plain = ranklsim.simulate(**ONE, every="6 mo", doses=2, at=[0.5, 1.5], covariates={"age": 63.0})
    covariates = {"age": np.float32(63)}
    guises = {"doses": np.int64(2), "at": (x for x in (0.5, 1.5)), "parameters": load_parameters()}
    guises |= {"covariates": covariates}
    pd.testing.assert_frame_equal(ranklsim.simulate(**ONE, every="6 mo", **guises), plain)
    guises = {"doses": np.array(2), "at": np.array([0.5, 1.5]), "covariates": {"age": Fraction(63)}}
    pd.testing.assert_frame_equal(ranklsim.simulate(**ONE, every="6 mo", **guises), plain)
    assert covariates == {"age": np.float32(63)}
    with pytest.raises(BadInput, match="covariates"):
        ranklsim.simulate(**ONE, covariates={"age": Decimal(63)})


def test_what_the_command_line_calls_an_option_is_an_argument_here(tmp_path):
    trial, out = trial_file(tmp_path), tmp_path / "run"
    layers = {"patients": False, "residual": True, "parameters": False}
    run = ranklsim.run(trial, out, patients=np.int32(4), layers=layers)
    assert layers == {"patients": False, "residual": True, "parameters": False}
    assert run.manifest["patients"] == 4
    with pytest.raises(BadInput) as refused:
        ranklsim.run(trial, out, patients=5)
    assert "force=True" in str(refused.value)
    assert "--" not in str(refused.value)
    (out / "events.parquet").write_bytes(b"")
    with pytest.raises(BadInput, match=r"`ranklsim\.run\(\.\.\., force=True\)`"):
        ranklsim.analyse(out)


def test_help_and_names_are_those_of_the_function():
    assert "Simulate one typical patient" in ranklsim.simulate.__doc__
    assert ranklsim.simulate.__name__ == "simulate"
