"""Generation of compiled code from the text of the equations: rates, sparse Jacobian, elimination, outputs.

`Model.rates` and `Model.outputs` are run once on SymPy symbols. Expressions that depend only on a
patient's constants are computed once for each patient (`prepare`). Free drug, the root of equations without closed
form, remains a symbol. Newton steps find its value. In the Jacobian it is an unknown beside the states, which keeps the
matrix sparse. The elimination of that matrix is planned symbolically, in an order with little fill-in, and becomes
straight-line code (`lanes`). Numba compiles the functions with the integrator. `store` keeps them in the user's cache
folder under a hash of all texts on which they depend, so a second start only loads them.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from threading import Lock
from types import ModuleType
from typing import TYPE_CHECKING, Any

import platformdirs

from ranklsim.pkpd.biology import ligand
from ranklsim.pkpd.biology.model import Model
from ranklsim.pkpd.biology.values import Slots, Values
from ranklsim.pkpd.engine import rodas
from ranklsim.pkpd.engine.store import KeptCode, Store

if TYPE_CHECKING:
    from llvmlite import ir

    from ranklsim.pkpd.engine.lanes import Emitter

_HERE = Path(__file__).parent
_BIOLOGY = _HERE.parent / "biology"
_TEXT = "values pharmacokinetics bisphosphonates anabolics ligand binding cells skeleton markers calcium model"
_LANES = 8
NEWTON_STEPS = 60  # to free drug, three to six of which are needed


def compiled(slots: Slots, tell: Callable[[str], None] | None = None) -> ModuleType:
    """Load the generated module for `slots`; generate it first if it is not in the cache.

    Parameters
    ----------
    slots : Slots
    tell : callable, optional
        Called with a sentence when the module is not there yet and must be generated and compiled.

    Returns
    -------
    module
        With ``STATES``, ``PARAMETERS`` and ``OUTPUTS`` (order of the vectors) and the functions of `integrator`.
    """
    kernel, made_from = (
        f"kernel_{slots.binders}_{slots.bisphosphonates}_{slots.anabolics}_{_fingerprint()}",
        _fingerprint(),
    )
    with _LOADING:
        module = sys.modules.get(f"ranklsim_{kernel}")
        if module is None:
            store = code_store()
            text = store.read(f"{kernel}/text", made_from)
            if text is None:
                if tell:
                    tell(f"Compiling the model for up to {slots.binders} binder(s), {slots.bisphosphonates} "
                         f"bisphosphonate(s) and {slots.anabolics} anabolic(s): about 15 seconds, once on this "
                         "machine.")  # fmt: skip
                text = generate(slots).encode()
                store.write(f"{kernel}/text", made_from, text)
            module = ModuleType(f"ranklsim_{kernel}")
            exec(compile(text, f"<{kernel}>", "exec"), module.__dict__)
            for name, function in vars(module).items():
                if hasattr(function, "enable_caching"):  # a function of numba
                    function._cache = KeptCode(store, kernel, name, made_from)
            sys.modules[module.__name__] = module
            store.used(kernel)
    return module


_LOADING = Lock()


@lru_cache(maxsize=1)
def code_store() -> Store:
    """Generated modules and their compiled code: below ``RANKLSIM_CACHE`` or the user's cache folder."""
    return Store(Path(os.environ.get("RANKLSIM_CACHE") or platformdirs.user_cache_dir("ranklsim")))


@lru_cache(maxsize=1)
def _fingerprint() -> str:
    """Hash of the text of the equations and of the code that compiles it."""
    versions = [version(name) for name in ("sympy", "numba", "llvmlite")]
    seen = hashlib.blake2b(digest_size=8)
    text = [_BIOLOGY / f"{part}.py" for part in _TEXT.split()]
    for path in [*text, *(_HERE / f"{part}.py" for part in ("compiler", "lanes", "rodas", "integrator"))]:
        seen.update(path.read_bytes())
    seen.update(f"{versions} {sys.version}".encode())
    return seen.hexdigest()


def generate(slots: Slots) -> str:
    """Python text of the module for `slots`: names, layout of the workspace, and the integrator.

    Parameters
    ----------
    slots : Slots
        Number of agents of each kind.
    """
    program = _program(slots)
    integrator = (_HERE / "integrator.py").read_text(encoding="utf-8")
    body = integrator.split("# --- generated module continues here ---\n", 1)[1]
    lines = [
        "import numpy as np",
        "from numba import njit",
        "from ranklsim.pkpd.engine.compiler import lane_function",
        "",
        f"STATES = {tuple(program.states)!r}",
        f"PARAMETERS = {tuple(program.parameters)!r}",
        f"OUTPUTS = {tuple(program.outputs)!r}",
        f"LANES, BINDERS, STAGES, ORDER = {_LANES}, {slots.binders}, {rodas.STAGES}, {rodas.ORDER}",
        f"CONSTANTS = {len(program.constants)}",
        f"ROWS, COLUMNS = np.array({[*zip(*program.entries, strict=True)]!r})",
        f"UNKNOWNS = {program.unknowns}",
    ]
    lines += [f"_{name.upper()} = {start}" for name, start in program.place.items()] + [f"SIZE = {program.size}", ""]
    lines += [f"_{name} = lane_function({tuple(slots)!r}, {name!r})" for name in program.bodies]
    return "\n".join(lines) + "\n\n" + body


def lane_function(slots: tuple[int, int, int], name: str) -> Any:
    """One function of `Program` for numba code to call with a workspace; written when that code is compiled.

    Parameters
    ----------
    slots : tuple of int
        As of `Slots`.
    name : str
        One of ``Program.bodies``.
    """
    from numba import types
    from numba.extending import intrinsic

    def call(typingctx: Any, workspace: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            from ranklsim.pkpd.engine.lanes import functions

            base = context.make_array(signature.args[0])(context, builder, arguments[0]).data
            program = _program(Slots(*slots))
            function = functions(builder.module, program.bodies, name, f"lanes_{'_'.join(map(str, slots))}")
            states = builder.gep(base, [context.get_constant(types.intp, program.place["x"] * _LANES)])
            builder.call(function, [base, states])
            return context.get_dummy_value()

        return types.void(workspace), code

    call.__name__ = call.__qualname__ = f"_{name}"
    return intrinsic(call)


@lru_cache(maxsize=8)
def _program(slots: Slots) -> Program:
    return Program(slots)


class _Recorder(Values):
    """Placeholder for a patient's constants during tracing: returns a symbol for every name that is read."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        import sympy as sp

        return self.seen.setdefault(name, sp.Symbol(f"p_{name}", real=True))

    def __getattr__(self, name: str) -> Any:
        return self[name]


class Program:
    """The model for `slots` as functions on a workspace of vectors, one lane a patient.

    Attributes
    ----------
    states, parameters, outputs : list of str
        Names, in the order of their vectors.
    constants : list of sympy expressions
        What `prepare` computes once a patient, from the parameters.
    place : dict of str to int
        Where in the workspace each part begins (vectors).
    size : int
        Length of the workspace (vectors).
    bodies : dict of str to callable
        What writes each function.
    """

    def __init__(self, slots: Slots) -> None:
        import sympy as sp

        from ranklsim.pkpd.engine import lanes

        model = Model(slots)
        self.slots, self.states = slots, list(model.states)
        n = len(self.states)
        x = Values({name: sp.Symbol(f"x_{name}", positive=True) for name in self.states})
        p = _Recorder()
        self.free = [sp.Symbol(f"free_{k + 1}", real=True) for k in range(slots.binders)]
        self.day = sp.Symbol("day", real=True)

        rates = list(model.rates(x, p, self.free).values())
        balance = list(ligand.free_equation(x, p, self.free, slots))
        lowest = list(ligand.free_at_least(x, p, slots, sp.Max))
        traced = model.outputs(x, p, self.day, self.free)
        self.parameters, self.outputs = sorted(p.seen), list(traced)
        self.constants: list[Any] = []
        self._symbol: dict[Any, Any] = {}
        self._of_patient: set[Any] = set(p.seen.values())

        def plain(expressions: Sequence[Any]) -> list[Any]:
            return [self._hoisted(lanes.lowered(sp.sympify(e))) for e in expressions]

        self.rates, self.balance, self.lowest = plain(rates), plain(balance), plain(lowest)
        self.output_values = plain(list(traced.values()))
        self.column = {x[name]: i for i, name in enumerate(self.states)}
        self.slope_of_balance = plain([term.diff(f) for term in self.balance for f in self.free])
        self._differentiate()
        self.order = _elimination_order(self.unknowns, self.entries)
        self.kept = _kept(n, self.order, self.entries)
        self.place: dict[str, int] = {}
        self.size = 0
        for name, length in {
            "x": n, "free": slots.binders, "new": n, "trial": n, "rate": n, "mixed": n, "k": rodas.STAGES * n,
            "scale": n, "steep": n, "low": n, "high": n, "outside": 1, "h": 1, "per_h": 1,
            "rtol": 1, "atol": 1, "error": 1, "accepted": 1, "day": 1, "dense": (rodas.ORDER - 2) * n,
            "lu": len(self.kept), "constants": len(self.constants), "raw": len(self.parameters),
            "out": len(self.outputs), "jacobian": len(self.entries),
        }.items():  # fmt: skip
            self.place[name] = self.size
            self.size += length
        self.bodies: dict[str, Callable[[Emitter, Callable[[str], ir.Function]], None]] = {
            "prepare": self._prepare, "rates": self._rates, "factor": self._factor, "solve": self._solve,
            "step": self._step, "dense": self._dense, "advance": self._advance, "outputs": self._outputs,
            "slopes": self._slopes,
        }  # fmt: skip

    # -- what is of the patient alone --------------------------------------------------------------------------------
    def _hoisted(self, e: Any) -> Any:
        """`e` with a symbol in place of each largest part that depends only on a patient's constants."""
        from ranklsim.pkpd.engine import lanes

        if e.is_number:
            return e
        if e.free_symbols <= self._of_patient:
            return self._constant(e)
        if e.is_Symbol:
            return e
        if isinstance(e, lanes.power) and e.args[0].free_symbols <= self._of_patient:
            return lanes.exp(self._hoisted(lanes.log(e.args[0]) * e.args[1]))
        args = list(e.args)
        if e.is_Add or e.is_Mul:
            own = [a for a in args if a.is_number or a.free_symbols <= self._of_patient]
            if any(not a.is_number for a in own):
                kept = [self._hoisted(a) for a in args if a not in own]
                return e.func(self._constant(e.func(*own)), *kept)
        return e.func(*(self._hoisted(a) for a in args))

    def _constant(self, e: Any) -> Any:
        import sympy as sp

        if e.is_Symbol and e.name.startswith("q_"):
            return e
        if e.could_extract_minus_sign() and e.is_Mul:
            return -self._constant(-e)
        if e not in self._symbol:
            symbol = sp.Symbol(f"q_{len(self.constants)}", real=True)
            self._symbol[e] = symbol
            self._of_patient.add(symbol)
            self.constants.append(e)
        return self._symbol[e]

    def _differentiate(self) -> None:
        """The calculation of the rates as intermediate steps, and the sparse matrix of their dependence.

        Unknowns are the states, free drug, and every intermediate step that a state moves. Their rows say: rate,
        balance, and step less its expression. All entries are derivatives of short expressions; carrying them through
        the steps, which makes the Jacobian, is a part of the elimination.
        """
        import sympy as sp

        n = len(self.states)
        names = sp.numbered_symbols("step_", real=True)
        self.steps, results = sp.cse([*self.rates, *self.balance], symbols=names, order="none")
        self.rates_by_steps = results[:n]
        active = {symbol: i for symbol, i in self.column.items()}
        active |= {symbol: n + k for k, symbol in enumerate(self.free)}
        rows = dict(enumerate(results))
        for symbol, e in self.steps:
            if e.free_symbols & active.keys():
                active[symbol] = len(active)
                rows[active[symbol]] = e
        self.entries: dict[tuple[int, int], Any] = {}
        for i, e in rows.items():
            for symbol in sorted(e.free_symbols & active.keys(), key=str):
                slope = self._hoisted(e.diff(symbol))
                if slope != 0:
                    self.entries[i, active[symbol]] = slope
        self.unknowns = len(active)

    # -- functions ---------------------------------------------------------------------------------------------------
    def _reader(
        self, to: Emitter, states: ir.Value | int | None = None, free: Mapping[Any, Any] | None = None
    ) -> Callable[[Any], Any]:
        """A function that loads the value of a symbol; `states` is the address of the states if not the own."""
        place = self.place

        def read(symbol: Any) -> Any:
            if free and symbol in free:
                return free[symbol]
            if symbol in self.column:
                i = self.column[symbol]
                return to.load(place["x"] + i) if states is None else to.load(i, states)
            kind, _, name = symbol.name.partition("_")
            if kind == "q":
                return to.load(place["constants"] + int(name))
            if kind == "p":
                return to.load(place["raw"] + self.parameters.index(name))
            if kind == "free":
                return to.load(place["free"] + int(name) - 1)
            return to.load(place["day"])

        return read

    def _prepare(self, to: Emitter, call: Callable[[str], ir.Function]) -> None:
        """Constants from the parameters; later constants may depend on earlier ones."""
        for i, e in enumerate(self.constants):
            (value,) = to.evaluate([e], self._reader(to))
            to.store(value, self.place["constants"] + i)

    def _solve_free(self, to: Emitter, states: Any) -> dict[Any, Any]:
        """Newton steps to free drug, from its last value or from below; NaN if they do not converge.

        With one drug the balance is concave and rising, so a step from anywhere lands below the root, and from there on
        they climb to it. With several, steps are kept between what is free for certain and what there is.
        """
        from llvmlite import ir

        from ranklsim.pkpd.engine import lanes

        n = self.slots.binders
        b, constant = to.builder, lanes.constant
        read = self._reader(to, states)
        lowest = to.evaluate(self.lowest, read)
        total = [read(symbol) for symbol in self._totals()]
        most = [to.absolute(t) for t in total]

        def between(value: Any, k: int) -> Any:
            value = b.select(b.fcmp_ordered(">", value, most[k]), most[k], value)
            return b.select(b.fcmp_ordered(">", value, lowest[k]), value, lowest[k])

        first = [between(to.load(self.place["free"] + k), k) for k in range(n)]
        equations = [*self.balance, *self.slope_of_balance]
        symbols = set().union(*(e.free_symbols for e in equations)) - set(self.free)
        known = {symbol: read(symbol) for symbol in sorted(symbols, key=str)}
        before, loop, after = b.block, b.append_basic_block("newton"), b.append_basic_block("solved")
        b.branch(loop)
        b.position_at_end(loop)
        count = b.phi(ir.IntType(32))
        free = [b.phi(lanes.VECTOR) for _ in range(n)]
        open_ = b.phi(ir.VectorType(ir.IntType(1), lanes.LANES))
        at = known | dict(zip(self.free, free, strict=True))
        values = to.evaluate(equations, at.__getitem__)
        misfit, matrix = values[:n], [values[n + n * k : n + n * (k + 1)] for k in range(n)]
        step = _solved(to, matrix, misfit)
        moved = [between(to.sub(free[k], step[k]), k) for k in range(n)]
        moved = [b.select(open_, moved[k], free[k]) for k in range(n)]
        still = None
        for k in range(n):
            change, size = to.absolute(to.sub(moved[k], free[k])), to.absolute(moved[k])
            far = b.fcmp_ordered(">", change, to.fma(size, constant(1e-7), constant(1e-280)))
            still = far if still is None else b.or_(still, far)
        next_open = b.and_(open_, still)
        again = b.add(count, ir.Constant(ir.IntType(32), 1))
        more = b.and_(to.any(next_open), b.icmp_signed("<", again, ir.Constant(ir.IntType(32), NEWTON_STEPS)))
        end = b.block
        b.cbranch(more, loop, after)
        count.add_incoming(ir.Constant(ir.IntType(32), 0), before)
        count.add_incoming(again, end)
        open_.add_incoming(ir.Constant(open_.type, [1] * lanes.LANES), before)
        open_.add_incoming(next_open, end)
        for k in range(n):
            free[k].add_incoming(first[k], before)
            free[k].add_incoming(moved[k], end)
        b.position_at_end(after)
        found = [b.select(next_open, constant(float("nan")), moved[k]) for k in range(n)]
        for k in range(n):
            to.store(found[k], self.place["free"] + k)
        return dict(zip(self.free, found, strict=True))

    def _totals(self) -> list[Any]:
        by_name = {symbol.name: symbol for symbol in self.column}
        return [by_name[f"x_drug_{k}"] for k in range(1, self.slots.binders + 1)]

    def _rates(self, to: Emitter, call: Callable[[str], ir.Function]) -> None:
        """Rates of the states at the second argument, and free drug there."""
        states = to.builder.function.args[1]
        free = self._solve_free(to, states)
        for i, value in enumerate(to.evaluate(self.rates, self._reader(to, states, free))):
            to.store(value, self.place["rate"] + i)

    def _slopes(self, to: Emitter, call: Callable[[str], ir.Function]) -> None:
        """Rates at the states, and `entries` there."""
        to.builder.call(call("rates"), [to.base, to.address(self.place["x"])])
        for i, value in enumerate(to.run(self.steps, list(self.entries.values()), self._reader(to))):
            to.store(value, self.place["jacobian"] + i)

    def _factor(self, to: Emitter, call: Callable[[str], ir.Function]) -> None:
        """Rates at the states, and elimination of ``1/(gamma h) - J`` with free drug and steps among the unknowns.

        Both are made of the same steps. There is no pivoting: the diagonal dominates for states and balances, and is 1
        for steps.
        """
        from ranklsim.pkpd.engine import lanes

        n, m = len(self.states), len(self.states) + self.slots.binders
        free = self._solve_free(to, to.address(self.place["x"]))
        made = to.run(self.steps, [*self.rates_by_steps, *self.entries.values()], self._reader(to, None, free))
        for i in range(n):
            to.store(made[i], self.place["rate"] + i)
        # In the signs of the matrix: states have minus their slopes, steps too, balances stand as they are.
        a = {e: v if n <= e[0] < m else to.builder.fneg(v) for e, v in zip(self.entries, made[n:], strict=True)}
        diagonal = to.mul(lanes.constant(1 / rodas.GAMMA), to.load(self.place["per_h"]))
        for i in [*range(n), *range(m, self.unknowns)]:
            own = diagonal if i < n else lanes.constant(1.0)
            a[i, i] = to.add(a[i, i], own) if (i, i) in a else own
        untouched = {i for i in range(m, self.unknowns) if (i, i) not in self.entries}  # pivots that are 1
        later = set(self.order)
        for pivot in self.order:
            later.remove(pivot)
            unit = pivot in untouched
            if not unit:
                a[pivot, pivot] = to.div(lanes.constant(1.0), a[pivot, pivot])
            right = [j for j in self.order if j in later and (pivot, j) in a]
            for i in [i for i in self.order if i in later and (i, pivot) in a]:
                if not unit:
                    a[i, pivot] = to.mul(a[i, pivot], a[pivot, pivot])
                for j in right:
                    product = to.mul(a[i, pivot], a[pivot, j])
                    a[i, j] = to.sub(a[i, j], product) if (i, j) in a else to.builder.fneg(product)
                    if i == j:
                        untouched.discard(i)
        for slot, entry in enumerate(self.kept):
            to.store(a[entry], self.place["lu"] + slot)

    def _solve(self, to: Emitter, call: Callable[[str], ir.Function]) -> None:
        """Solution for the right-hand side ``rate + mixed / h``, written to the second argument."""
        n, out = len(self.states), to.builder.function.args[1]
        slot = {entry: self.place["lu"] + k for k, entry in enumerate(self.kept)}
        per_h = to.load(self.place["per_h"])
        v: dict[int, Any] = {
            i: to.fma(to.load(self.place["mixed"] + i), per_h, to.load(self.place["rate"] + i)) for i in range(n)
        }
        rank = {i: k for k, i in enumerate(self.order)}
        for pivot in self.order:
            if pivot not in v:  # nothing on its right
                continue
            for i in self.order[rank[pivot] + 1 :]:
                if (i, pivot) in slot:
                    product = to.mul(to.load(slot[i, pivot]), v[pivot])
                    v[i] = to.sub(v[i], product) if i in v else to.builder.fneg(product)
        for pivot in reversed(self.order):
            if (pivot, pivot) not in slot:  # no state needs it
                continue
            total = v.get(pivot)
            for j in self.order[rank[pivot] + 1 :]:
                if (pivot, j) in slot and j in v:
                    product = to.mul(to.load(slot[pivot, j]), v[j])
                    total = to.sub(total, product) if total is not None else to.builder.fneg(product)
            if total is not None:
                v[pivot] = to.mul(total, to.load(slot[pivot, pivot]))
        for i in range(n):
            to.store(v[i], i, out)

    def _each_state(self, to: Emitter, body: Callable[..., Any], carried: Any = None) -> Any:
        """A loop over states; `body` takes the index (and a carried value) and returns the carried value."""
        from llvmlite import ir

        b = to.builder
        before, loop, after = b.block, b.append_basic_block("states"), b.append_basic_block("after")
        b.branch(loop)
        b.position_at_end(loop)
        i = b.phi(ir.IntType(64))
        held = b.phi(carried.type) if carried is not None else None
        result = body(i) if held is None else body(i, held)
        following = b.add(i, ir.Constant(i.type, 1))
        i.add_incoming(ir.Constant(i.type, 0), before)
        i.add_incoming(following, b.block)
        if held is not None:
            held.add_incoming(carried, before)
            held.add_incoming(result, b.block)
        b.cbranch(b.icmp_signed("<", following, ir.Constant(i.type, len(self.states))), loop, after)
        b.position_at_end(after)
        return result

    def _step(self, to: Emitter, call: Callable[[str], ir.Function]) -> None:
        """One step of the method of `rodas` from ``x`` to ``new``, and the mean square of error over tolerance."""
        from llvmlite import ir

        from ranklsim.pkpd.engine import lanes

        b, n, place = to.builder, len(self.states), self.place
        to.store(to.div(lanes.constant(1.0), to.load(place["h"])), place["per_h"])

        def at(part: str, i: Any, row: int = 0) -> Any:
            return b.add(i, ir.Constant(i.type, place[part] + row * n))

        self._each_state(to, lambda i: to.store(lanes.constant(0.0), at("mixed", i)))
        b.call(call("factor"), [to.base, to.base])
        b.call(call("solve"), [to.base, to.address(place["k"])])
        for s in range(1, rodas.STAGES):
            # As the stage before and its slope, which lies in `trial`?
            more = rodas.A[s] == (*rodas.A[s - 1], 1.0)

            def prepare(i: Any, s: int = s, more: bool = more) -> None:
                slopes = [to.load(at("k", i, r)) for r in range(s)]
                value = to.load(at("trial" if more else "x", i))
                mixed = to.mul(slopes[0], lanes.constant(rodas.C[s][0]))
                for r in range(1, s):
                    mixed = to.fma(slopes[r], lanes.constant(rodas.C[s][r]), mixed)
                for r in range(s - 1 if more else 0, s):
                    value = to.fma(slopes[r], lanes.constant(rodas.A[s][r]), value)
                to.store(value, at("trial", i))
                to.store(mixed, at("mixed", i))

            self._each_state(to, prepare)
            b.call(call("rates"), [to.base, to.address(place["trial"])])
            b.call(call("solve"), [to.base, to.address(place["k"] + s * n)])
        rtol, atol = to.load(place["rtol"]), to.load(place["atol"])

        def judge(i: Any, sum_: Any) -> Any:
            end = to.load(at("k", i, rodas.STAGES - 1))
            new = to.add(to.load(at("trial", i)), end)
            to.store(new, at("new", i))
            size = to.largest(to.absolute(to.load(at("x", i))), to.absolute(new))
            error = to.div(end, to.fma(rtol, size, to.mul(atol, to.load(at("scale", i)))))
            error = to.mul(error, to.load(at("steep", i)))
            return to.fma(error, error, sum_)

        squares = self._each_state(to, judge, lanes.constant(0.0))
        to.store(to.mul(squares, lanes.constant(1 / n)), place["error"])

    def _dense(self, to: Emitter, call: Callable[[str], ir.Function]) -> None:
        """Coefficients of the polynomial between the ends of the step."""
        from llvmlite import ir

        from ranklsim.pkpd.engine import lanes

        b, n, place = to.builder, len(self.states), self.place

        def state(i: Any) -> None:
            slopes = [to.load(b.add(i, ir.Constant(i.type, place["k"] + r * n))) for r in range(rodas.STAGES)]
            for row, weights in enumerate(rodas.H):
                value = None
                for slope, weight in zip(slopes, weights, strict=True):
                    part = to.mul(slope, lanes.constant(weight))
                    value = part if value is None else to.add(value, part)
                to.store(value, b.add(i, ir.Constant(i.type, place["dense"] + row * n)))

        self._each_state(to, state)

    def _advance(self, to: Emitter, call: Callable[[str], ir.Function]) -> None:
        """Move lanes with an accepted step to its end; update the size of their states; check their limits."""
        from llvmlite import ir

        from ranklsim.pkpd.engine import lanes

        b = to.builder
        accepted = b.fcmp_ordered(">", to.load(self.place["accepted"]), lanes.constant(0.0))

        def state(i: Any, outside: Any) -> Any:
            slot = b.add(i, ir.Constant(i.type, self.place["x"]))
            low, high = (to.load(b.add(i, ir.Constant(i.type, self.place[end]))) for end in ("low", "high"))
            new = to.load(b.add(i, ir.Constant(i.type, self.place["new"])))
            to.store(b.select(accepted, new, to.load(slot)), slot)
            largest = b.add(i, ir.Constant(i.type, self.place["scale"]))
            so_far = to.load(largest)
            to.store(b.select(accepted, to.largest(so_far, to.absolute(new)), so_far), largest)
            return b.or_(outside, b.or_(b.fcmp_ordered("<", new, low), b.fcmp_ordered(">", new, high)))

        nobody = ir.Constant(ir.VectorType(ir.IntType(1), lanes.LANES), [0] * lanes.LANES)
        outside = self._each_state(to, state, nobody)
        to.store(b.select(outside, lanes.constant(1.0), lanes.constant(0.0)), self.place["outside"])

    def _outputs(self, to: Emitter, call: Callable[[str], ir.Function]) -> None:
        """Outputs at the states."""
        free = self._solve_free(to, to.address(self.place["x"]))
        for i, value in enumerate(to.evaluate(self.output_values, self._reader(to, None, free))):
            to.store(value, self.place["out"] + i)


def _solved(to: Emitter, matrix: list[list[Any]], right: list[Any]) -> list[Any]:
    """Solution of a small dense system by elimination; the diagonal dominates."""
    n = len(right)
    a, v = [list(row) for row in matrix], list(right)
    for k in range(n):
        for i in range(k + 1, n):
            factor = to.div(a[i][k], a[k][k])
            for j in range(k + 1, n):
                a[i][j] = to.sub(a[i][j], to.mul(factor, a[k][j]))
            v[i] = to.sub(v[i], to.mul(factor, v[k]))
    for k in reversed(range(n)):
        for j in range(k + 1, n):
            v[k] = to.sub(v[k], to.mul(a[k][j], v[j]))
        v[k] = to.div(v[k], a[k][k])
    return v


def _elimination_order(unknowns: int, entries: Mapping[tuple[int, int], Any]) -> list[int]:
    """Order of diagonal pivots with little fill-in (Markowitz: smallest product of entries in row and column)."""
    rows: dict[int, set[int]] = {i: {i} for i in range(unknowns)}
    columns: dict[int, set[int]] = {i: {i} for i in range(unknowns)}
    for i, j in entries:
        rows[i].add(j)
        columns[j].add(i)
    order = []
    while rows:
        pivot = min(rows, key=lambda i: ((len(rows[i]) - 1) * (len(columns[i]) - 1), -i))
        order.append(pivot)
        for i in columns[pivot] - {pivot}:
            rows[i] |= rows[pivot]
            for j in rows[pivot]:
                columns[j].add(i)
        for j in rows.pop(pivot):
            columns[j].discard(pivot)
        columns.pop(pivot)
        for row in rows.values():
            row.discard(pivot)
    return order


def _kept(n: int, order: Sequence[int], entries: Mapping[tuple[int, int], Any]) -> list[tuple[int, int]]:
    """Entries after elimination that are needed to solve for the first `n` unknowns, if all other right sides are 0."""
    filled = set(entries) | {(i, i) for i in order}
    later = set(order)
    for pivot in order:
        later.remove(pivot)
        right = [j for j in later if (pivot, j) in filled]
        filled |= {(i, j) for i in later if (i, pivot) in filled for j in right}
    rank = {i: k for k, i in enumerate(order)}
    reached, wanted, kept = set(range(n)), set(range(n)), set()
    for pivot in order:  # forwards: what a right side that is not 0 flows into
        if pivot in reached:
            below = [i for i in order[rank[pivot] + 1 :] if (i, pivot) in filled]
            reached |= set(below)
            kept |= {(i, pivot) for i in below}
    for pivot in order:  # backwards, from the last to the first: what a state hears of, looked up from the first on
        if pivot in wanted:
            wanted |= {j for j in order[rank[pivot] + 1 :] if (pivot, j) in filled}
    kept |= {(i, j) for i, j in filled if i in wanted and rank[j] >= rank[i]}
    return sorted(kept)
