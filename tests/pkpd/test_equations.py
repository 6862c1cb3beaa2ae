"""The page of equations and the symbols at the head of each file of biology: current, and what the code says."""

from __future__ import annotations

import re
from pathlib import Path

import helpers
import pytest
import sympy as sp
from matplotlib.mathtext import MathTextParser

from ranklsim.pkpd.biology import bisphosphonates, calcium, cells, markers, skeleton
from ranklsim.pkpd.biology.model import Model
from ranklsim.pkpd.biology.values import Slots
from ranklsim.pkpd.parameters import load_parameters

ROOT = Path(__file__).resolve().parents[2]
TABLE = load_parameters()


equations = helpers.script("equations")
MODULES = list(dict.fromkeys(section.module for section in equations.sections({})))
RERUN = "run .venv/bin/python scripts/equations.py"


def test_the_page_is_current() -> None:
    assert equations.page() == (ROOT / "docs" / "equations.md").read_text(encoding="utf-8"), RERUN


@pytest.mark.parametrize("module", MODULES)
def test_each_file_names_the_parameters_that_it_reads_as_the_table_does(module: str) -> None:
    assert equations.with_head(module) == (equations.BIOLOGY / f"{module}.py").read_text(encoding="utf-8"), RERUN


def test_every_parameter_that_the_model_reads_is_named_in_a_file() -> None:
    model, read = Model(Slots(1, 1, 1)), dict[str, None]()
    p, x = equations.Names(read), equations.Names({})
    constants = model.constants(TABLE.values | dict.fromkeys(equations.AGENT, 1.0))
    model.rates(x, p, [sp.Symbol("free_1")])
    model.outputs(x, p, sp.Symbol("t"), [sp.Symbol("free_1")])
    needed = {name for name in read if name in TABLE.frame.index}
    named = {
        one for module in MODULES for name in equations.symbols_of(module)
        for one in equations.members(name, TABLE.frame.index)
    }  # fmt: skip
    assert needed <= named
    assert set(read) <= set(constants)


@pytest.mark.slow
def test_the_equations_of_a_file_put_together_are_its_rates() -> None:
    v, x, p = equations.symbol, equations.Names({}), equations.Names({})
    for module, function, args in (
        ("cells", cells.rates, (x, p, "c", v("activation_c"), v("survival_c"), v("kill"))),
        ("markers", markers.rates, (x, p, v("osteoclasts"), v("formation"))),
        ("calcium", calcium.rates, (x, p, v("resorption"), v("mineralisation"))),
        ("skeleton", skeleton.rates, (x, p, "b", v("OC_c"), v("laid_c"), v("added_c"))),
    ):
        told, found = equations.Text(module, {}).run("rates", *args)
        for name, rate in function(*args).items():
            whole = told[name]
            for step, value in reversed(found.items()):
                whole = whole.subs(sp.Symbol(step, positive=True), value)
            whole = whole.subs({sp.Symbol("year", positive=True): 365.25, sp.log(2): bisphosphonates.LN2})
            gap = sp.simplify(whole - rate)
            symbols = sorted(gap.free_symbols, key=str)  # some are left where a largest value is taken
            for k in range(3):
                values = [0.2 + (7 * i + 3 * k) % 11 / 5 for i in range(len(symbols))]
                assert abs(gap.subs(dict(zip(symbols, values, strict=True)))) < 1e-12, f"{module}: {name}"


def test_the_flow_of_cause_names_every_state() -> None:
    diagram = equations.page().split("```mermaid")[1].split("```")[0]
    words = set(re.findall(r"\w+", diagram))
    for state in equations.STATES:
        stem = re.sub(r"_(1|T|C|R|s|osteocyte|marrow|osteoblast|lymphocyte)$", "", state)
        assert stem in words, state


@pytest.mark.slow
def test_every_formula_can_be_set() -> None:
    parser = MathTextParser("path")
    formulas = re.findall(r"\$\$\n(.+)\n\$\$", equations.page())
    assert len(formulas) > 100
    for formula in formulas:
        parser.parse(f"${formula}$")
