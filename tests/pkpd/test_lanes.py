"""Vector code: the functions that it makes of its own, and the elimination that it writes down."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import sympy as sp
from numba import njit, types
from numba.extending import intrinsic

from ranklsim.pkpd.agents import load_agent
from ranklsim.pkpd.biology.values import Slots
from ranklsim.pkpd.engine import compiler, lanes, rodas
from ranklsim.pkpd.parameters import load_parameters
from ranklsim.pkpd.simulation import patient_constants


def vectorised(expression: sp.Expr) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """A function of arrays x and y that runs an expression of these symbols on eight lanes."""

    def body(to: lanes.Emitter, call: object) -> None:
        (value,) = to.evaluate([expression], lambda symbol: to.load("xy".index(symbol.name)))
        to.store(value, 2)

    @intrinsic
    def on_lanes(typingctx, w):  # type: ignore[no-untyped-def]
        def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            base = context.make_array(signature.args[0])(context, builder, arguments[0]).data
            builder.call(lanes.functions(builder.module, {"f": body}, "f", "test"), [base, base])
            return context.get_dummy_value()

        return types.void(w), code

    @njit
    def run(w, x, y, out):  # type: ignore[no-untyped-def]
        for i in range(0, x.shape[0], lanes.LANES):
            w[:8], w[8:16] = x[i : i + 8], y[i : i + 8]
            on_lanes(w)
            out[i : i + 8] = w[16:24]

    def function(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        raw = np.zeros(24 + 8)
        shift = (-raw.ctypes.data // 8) % 8
        out = np.empty_like(x)
        run(raw[shift : shift + 24], x, y, out)
        return out

    return function


X, Y = sp.symbols("x y", real=True)


@pytest.mark.slow
def test_powers_are_within_the_bound_that_is_stated() -> None:
    rng = np.random.default_rng(3)
    x, y = 10.0 ** rng.uniform(-12, 12, 40_000), rng.uniform(-12, 12, 40_000)
    found, right = vectorised(lanes.lowered(X**Y))(x, y), np.power(x.astype(np.longdouble), y)
    bound = (3 + np.abs(y * np.log(x))) * 2.3e-16
    assert (np.abs(found / right - 1) <= bound).all()


@pytest.mark.slow
def test_logarithm_is_within_one_unit_in_the_last_place() -> None:
    rng = np.random.default_rng(4)
    x = np.concatenate([10.0 ** rng.uniform(-300, 300, 20_000), 1 + rng.uniform(-0.3, 0.4, 20_000)])
    right = np.log(x.astype(np.longdouble))
    gap = np.abs(vectorised(lanes.log(X))(x, x) - right)
    assert (gap <= np.spacing(np.abs(right.astype(float)))).all()


def test_powers_at_the_edges_are_the_largest_and_smallest_numbers() -> None:
    x = np.array([0.0, 0.0, -1.0, np.nan, 2.0, 2.0, 1e-300, 1.0])
    y = np.array([2.5, -0.5, 2.5, 2.0, 2000.0, -2000.0, 2.5, 1e300])
    found = vectorised(lanes.lowered(X**Y))(x, y)
    assert np.isnan(found[2:4]).all()
    assert (found[[1, 4]] > 1e308).all()
    assert (found[[0, 5, 6]] < 1e-307).all()
    assert found[7] == 1.0


def test_a_power_has_its_slope_at_zero() -> None:
    slope = lanes.lowered(X**Y).diff(X)
    found = vectorised(slope)(np.array([0.0, 2.0] * 4), np.full(8, 2.5))
    assert found[0] == pytest.approx(0, abs=1e-300)
    assert found[1] == pytest.approx(2.5 * 2**1.5, rel=1e-14)


@pytest.mark.slow
@pytest.mark.parametrize("slots", [Slots(1), Slots(2, 1, 1)], ids=str)
def test_one_step_of_the_method_is_what_dense_algebra_gives(slots: Slots) -> None:
    """Newton, sparse elimination and stages against numpy on the same rates and Jacobian."""
    kernel = compiler.compiled(slots)
    program = compiler._program(slots)
    names = ["denosumab", "mrankl-selective"][: slots.binders]
    names += ["zoledronate", "teriparatide"][: slots.bisphosphonates + slots.anabolics]
    table = load_parameters()
    model, constants, _ = patient_constants(table, pd.DataFrame(index=[0]), [load_agent(name) for name in names])
    n, h = len(kernel.STATES), 0.05
    untreated = np.array([np.asarray(value).item() for value in model.start(constants).values()])
    start = (untreated * np.random.default_rng(8).uniform(0.8, 1.2, n) + 0.1 * (untreated == 0))[None]
    p = np.array([[np.asarray(constants[name]).item() for name in kernel.PARAMETERS]])
    out, status = np.empty((1, 1, n)), np.zeros(1, dtype=np.int64)
    none = np.empty(0)
    first = np.zeros(2, dtype=np.int64)
    steps, _ = kernel.integrate(
        start,
        p,
        np.ones((1, n)),
        np.full((1, n), -np.inf),
        np.full((1, n), np.inf),
        first,
        none,
        none.astype(np.int64),
        none,
        np.array([h]),
        1e9,
        1e9,
        10,
        out,
        status,
        np.zeros((1, 3)),
    )
    assert steps == 1
    held, f, J = kernel.hold(p[0]), np.empty(n), np.empty((n, n))
    kernel.jacobian(start[0], held, J)
    matrix = np.linalg.inv(np.eye(n) / (rodas.GAMMA * h) - J)
    k = np.zeros((rodas.STAGES, n))
    for s in range(rodas.STAGES):
        at = start[0] + sum((a * k[r] for r, a in enumerate(rodas.A[s])), np.zeros(n))
        kernel.rates(at, held, f)
        k[s] = matrix @ (f + sum((c * k[r] for r, c in enumerate(rodas.C[s])), np.zeros(n)) / h)
    right = at + k[-1]
    assert np.allclose(out[0, 0], right, rtol=1e-9, atol=1e-11)
    assert len(program.kept) < 0.25 * n * n  # and stays sparse
