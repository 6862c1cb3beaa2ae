"""LLVM vector code from SymPy expressions, for eight patients side by side, as functions that numba code can call.

Every value is a vector of eight doubles, one lane for each patient. An operation is the same in all lanes, and no lane
reads another, so a result does not depend on neighbouring lanes. The code is written with explicit vectors, so it does
not need a compiler's loop vectoriser. A processor with shorter registers uses two or four registers for a vector.

`exp` and `log` are polynomials after reduction of the argument [1]_, within 2 units in the last place of double
precision for ``exp`` on -708 to 709.7 (below and above as at those ends: 3e-308, 2e308) and 1 for ``log`` (minus
infinity at and next to 0, not a number below). A power ``b**e`` is ``exp(e * log(b))``, its relative error at most
(3 + abs(e log b)) * 2.3e-16.

References
----------
.. [1] Sun Microsystems. fdlibm: e_log.c (coefficients Lg1 to Lg7), e_exp.c (the split of ln 2); exp here is the Taylor
   polynomial of degree 13 on half of ln 2.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from math import factorial
from typing import Any

import sympy as sp
from llvmlite import ir

LANES = 8
DOUBLE, INT = ir.DoubleType(), ir.IntType(64)
VECTOR, INTS = ir.VectorType(DOUBLE, LANES), ir.VectorType(INT, LANES)
POINTER = ir.PointerType(DOUBLE)
FUSED = ("contract",)  # a product and a sum may become one operation

_LG = (
    6.666666666666735130e-01, 3.999999999940941908e-01, 2.857142874366239149e-01, 2.222219843214978396e-01,
    1.818357216161805012e-01, 1.531383769920937332e-01, 1.479819860511658591e-01,
)  # fmt: skip
_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
_MAGIC = 6755399441055744.0  # 1.5 * 2**52: adding it rounds to a whole number, in the low bits
_ROOT_HALF = 0x3FE6A09E667F3BCD


class power(sp.Function):
    """``b**e`` as one function, so that its derivative by b is ``e * b**(e - 1)``, also at b = 0."""

    def fdiff(self, argindex: int = 1) -> Any:
        b, e = self.args
        return e * power(b, e - 1) if argindex == 1 else log(b) * self


class exp(sp.Function):
    """The exponential function as one function of the generated code."""

    def fdiff(self, argindex: int = 1) -> Any:
        return self


class log(sp.Function):
    """The natural logarithm as one function of the generated code."""

    def fdiff(self, argindex: int = 1) -> Any:
        return 1 / self.args[0]


def constant(value: float) -> ir.Constant:
    """A vector with `value` in every lane.

    Parameters
    ----------
    value : float
        The same for every lane.
    """
    return ir.Constant(VECTOR, [float(value)] * LANES)


def _ints(value: int) -> ir.Constant:
    return ir.Constant(INTS, [value] * LANES)


def _bits(value: float) -> int:
    return int(struct.unpack("<q", struct.pack("<d", value))[0])


class Emitter:
    """Writes vector code into one function of a module.

    Parameters
    ----------
    builder : llvmlite.ir.IRBuilder
    base : llvmlite.ir.Value
        Address of the workspace: vector number s stands at double 8 * s, aligned to 64 bytes.
    """

    def __init__(self, builder: ir.IRBuilder, base: ir.Value) -> None:
        self.builder, self.base = builder, base

    # -- memory ------------------------------------------------------------------------------------------------------
    def address(self, slot: int | ir.Value, base: ir.Value | None = None) -> ir.Value:
        """Address of vector number `slot`."""
        if isinstance(slot, int):
            offset: ir.Value = ir.Constant(INT, slot * LANES)
        else:
            offset = self.builder.mul(slot, ir.Constant(INT, LANES))
        return self.builder.gep(self.base if base is None else base, [offset])

    def load(self, slot: int | ir.Value, base: ir.Value | None = None) -> ir.Value:
        """Vector number `slot`."""
        place = self.builder.bitcast(self.address(slot, base), ir.PointerType(VECTOR))
        return self.builder.load(place, align=64, typ=VECTOR)

    def store(self, value: ir.Value, slot: int | ir.Value, base: ir.Value | None = None) -> None:
        """Make `value` vector number `slot`."""
        place = self.builder.bitcast(self.address(slot, base), ir.PointerType(VECTOR))
        self.builder.store(value, place, align=64)

    # -- arithmetic --------------------------------------------------------------------------------------------------
    def add(self, a: ir.Value, b: ir.Value) -> ir.Value:
        return self.builder.fadd(a, b, flags=FUSED)

    def sub(self, a: ir.Value, b: ir.Value) -> ir.Value:
        return self.builder.fsub(a, b, flags=FUSED)

    def mul(self, a: ir.Value, b: ir.Value) -> ir.Value:
        return self.builder.fmul(a, b, flags=FUSED)

    def div(self, a: ir.Value, b: ir.Value) -> ir.Value:
        return self.builder.fdiv(a, b)

    def fma(self, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
        return self.add(self.mul(a, b), c)

    def absolute(self, a: ir.Value) -> ir.Value:
        bits = self.builder.bitcast(a, INTS)
        return self.builder.bitcast(self.builder.and_(bits, _ints(0x7FFFFFFFFFFFFFFF)), VECTOR)

    def largest(self, a: ir.Value, b: ir.Value) -> ir.Value:
        """The larger of two values; `a` if either is NaN."""
        return self.builder.select(self.builder.fcmp_ordered("<", a, b), b, a)

    def any(self, mask: ir.Value) -> ir.Value:
        """Whether a mask is true in any lane."""
        return self.builder.icmp_unsigned(
            "!=", self.builder.bitcast(mask, ir.IntType(LANES)), ir.Constant(ir.IntType(LANES), 0)
        )

    def exp(self, x: ir.Value) -> ir.Value:
        b = self.builder
        inside = b.select(b.fcmp_ordered(">", x, constant(709.7)), constant(709.7), x)
        inside = b.select(b.fcmp_ordered("<", inside, constant(-708.0)), constant(-708.0), inside)
        shifted = self.fma(inside, constant(1.4426950408889634), constant(_MAGIC))
        whole = b.fsub(shifted, constant(_MAGIC))
        rest = self.sub(inside, self.mul(whole, constant(_LN2_HIGH)))
        rest = self.sub(rest, self.mul(whole, constant(_LN2_LOW)))
        series = constant(1 / factorial(13))
        for k in range(12, -1, -1):
            series = self.fma(series, rest, constant(1 / factorial(k)))
        power = b.shl(b.add(b.bitcast(shifted, INTS), _ints(1023 - _bits(_MAGIC))), _ints(52))
        return self.mul(series, b.bitcast(power, VECTOR))

    def log(self, x: ir.Value) -> ir.Value:
        b = self.builder
        bits = b.bitcast(x, INTS)
        above = b.sub(bits, _ints(_ROOT_HALF))
        exponent = b.lshr(b.add(above, _ints(1024 << 52)), _ints(52))
        number = b.bitcast(b.or_(exponent, _ints(_bits(2.0**52))), VECTOR)
        k = b.fsub(number, constant(2.0**52 + 1024))
        mantissa = b.bitcast(b.sub(bits, b.and_(above, _ints(-(1 << 52)))), VECTOR)
        f = b.fsub(mantissa, constant(1.0))
        s = b.fdiv(f, b.fadd(f, constant(2.0)))
        z = b.fmul(s, s)
        series = constant(_LG[-1])
        for c in reversed(_LG[:-1]):
            series = self.fma(series, z, constant(c))
        R = self.mul(series, z)
        half = self.mul(self.mul(constant(0.5), f), f)
        low = self.fma(s, self.add(half, R), self.mul(k, constant(_LN2_LOW)))
        value = self.sub(self.mul(k, constant(_LN2_HIGH)), self.sub(self.sub(half, low), f))
        at_zero = b.select(b.fcmp_ordered(">=", x, constant(0.0)), constant(float("-inf")), constant(float("nan")))
        return b.select(b.fcmp_ordered(">=", x, constant(2.2250738585072014e-308)), value, at_zero)

    # -- expressions -------------------------------------------------------------------------------------------------
    def evaluate(self, expressions: Sequence[Any], read: Callable[[sp.Symbol], ir.Value]) -> list[ir.Value]:
        """Values of expressions; common parts are computed once.

        Parameters
        ----------
        expressions : sequence of sympy expressions
            Sums, products, whole powers, `power`, `exp`, `log`, `sympy.Max` and its slope.
        read : callable
            Gives the value of a symbol; called once for each.
        """
        shared, reduced = sp.cse(list(expressions), symbols=sp.numbered_symbols("shared_"), order="none")
        return self.run(shared, reduced, read)

    def run(
        self, steps: Sequence[tuple[Any, Any]], results: Sequence[Any], read: Callable[[sp.Symbol], ir.Value]
    ) -> list[ir.Value]:
        """Values of expressions that name intermediate steps (symbol, expression) of a calculation.

        Parameters
        ----------
        steps : sequence of (symbol, expression)
            In order; later ones may name earlier ones.
        results : sequence of expressions
            May name steps.
        read : callable
            Gives the value of any other symbol.
        """
        known: dict[Any, ir.Value] = {}
        for name, part in steps:
            known[name] = self._value(part, known, read)
        return [self._value(part, known, read) for part in results]

    def _value(self, e: Any, known: dict[Any, ir.Value], read: Callable[[sp.Symbol], ir.Value]) -> ir.Value:
        if e in known:
            return known[e]
        if e.is_Number or e.is_NumberSymbol:
            return constant(float(e))
        if e.is_Symbol:
            value = read(e)
        elif e.is_Add:
            value = self._sum(e, known, read)
        elif e.is_Mul:
            value = self._product(e, known, read)
        elif e.is_Pow:
            value = self._power(e, known, read)
        else:
            arguments = [self._value(a, known, read) for a in e.args if not isinstance(e, power)]
            if isinstance(e, power):
                base, exponent = e.args
                value = self.exp(self.mul(self._value(exponent, known, read), self._value(log(base), known, read)))
            elif isinstance(e, log):
                value = self.log(arguments[0])
            elif isinstance(e, exp):
                value = self.exp(arguments[0])
            elif isinstance(e, sp.Heaviside):  # the slope of `sympy.Max`
                above = self.builder.fcmp_ordered(">", arguments[0], constant(0.0))
                value = self.builder.select(above, constant(1.0), constant(0.0))
            elif isinstance(e, sp.Max):
                value = arguments[0]
                for other in arguments[1:]:
                    value = self.largest(value, other)
            else:
                raise NotImplementedError(f"no vector code for {e.func} in {e}")
        known[e] = value
        return value

    def _sum(self, e: Any, known: Any, read: Any) -> ir.Value:
        def negative(term: Any) -> bool:
            return bool(term.could_extract_minus_sign())

        terms = sorted(e.args, key=lambda term: (negative(term), term.sort_key()))
        value = self._value(terms[0], known, read)
        for term in terms[1:]:
            if negative(term):
                value = self.sub(value, self._value(-term, known, read))
            else:
                value = self.add(value, self._value(term, known, read))
        return value

    def _product(self, e: Any, known: Any, read: Any) -> ir.Value:
        over = [f for f in e.args if f.is_Pow and f.exp.is_number and f.exp < 0]
        top = [f for f in e.args if f not in over and f != -1]
        value = None
        for factor in top:
            v = self._value(factor, known, read)
            value = v if value is None else self.mul(value, v)
        for factor in over:  # a quotient that stands by itself is shared
            v = self._value(factor, known, read)
            value = v if value is None else self.mul(value, v)
        assert value is not None
        return self.builder.fneg(value) if -1 in e.args else value

    def _power(self, e: Any, known: Any, read: Any) -> ir.Value:
        base, exponent = e.args
        if not exponent.is_Integer:
            raise NotImplementedError(f"{e} was to be written as `power`")
        if exponent == -1:
            return self.div(constant(1.0), self._value(base, known, read))
        # Negative powers are powers of the inverse, which others share: a division costs as much as ten products.
        square = self._value(base if exponent > 0 else 1 / base, known, read)
        result, left = None, abs(int(exponent))
        while left:
            if left & 1:
                result = square if result is None else self.mul(result, square)
            square, left = self.mul(square, square), left >> 1
        assert result is not None
        return result


def lowered(e: Any) -> Any:
    """`e` with `power` in place of every power whose exponent is not a whole number.

    Parameters
    ----------
    e : sympy expression
        With powers of any exponent.
    """
    return e.replace(lambda part: part.is_Pow and not part.exp.is_Integer, lambda part: power(*part.args))


def functions(
    module: ir.Module,
    bodies: Mapping[str, Callable[[Emitter, Callable[[str], ir.Function]], None]],
    name: str,
    prefix: str,
) -> ir.Function:
    """The function ``void name(double* workspace, double* other)`` of a module, with those that it calls.

    Parameters
    ----------
    module : llvmlite.ir.Module
    bodies : mapping of str to callable
        What writes each function; gets an `Emitter` and a function that gives others by name.
    name : str
        The one that is wanted.
    prefix : str
        What the names in the module begin with.
    """
    full = f"{prefix}_{name}"
    if full in module.globals:
        return module.globals[full]
    kind = ir.FunctionType(ir.VoidType(), [POINTER, POINTER])
    function = ir.Function(module, kind, full)
    function.linkage = "internal"
    function.attributes.add("noinline")
    emitter = Emitter(ir.IRBuilder(function.append_basic_block()), function.args[0])
    bodies[name](emitter, lambda other: functions(module, bodies, other, prefix))
    emitter.builder.ret_void()
    return function
