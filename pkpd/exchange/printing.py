"""Formulas as text: the infix notation of SBML tools, and R."""

from __future__ import annotations

from typing import Any

import sympy as sp
from sympy.printing.str import StrPrinter

_WORDS_OF_R = "if else repeat while function for next break TRUE FALSE NULL Inf NaN NA in".split()


class Infix(StrPrinter):
    """Arithmetic with ``^`` for powers, as libsbml reads it.

    A power whose exponent is a formula is written with ``exp`` and ``ln``: the unit check of libsbml (5.21) wants the
    value of an exponent, and ends the process where that changes with time.
    """

    largest = "max"
    logarithm = "ln"

    def _print_Float(self, expr: sp.Float) -> str:
        return repr(float(expr))

    def _print_Pow(self, expr: sp.Pow, rational: bool = False) -> str:
        exponent = -expr.exp if expr.exp.could_extract_minus_sign() else expr.exp
        if not (exponent.is_number or exponent.is_Symbol):
            return f"exp(({self._print(expr.exp)})*{self.logarithm}({self._print(expr.base)}))"
        return str(super()._print_Pow(expr, rational)).replace("**", "^")

    def _print_Max(self, expr: sp.Max) -> str:
        return f"{self.largest}({', '.join(self._print(part) for part in sorted(expr.args, key=str))})"

    def _print_log(self, expr: Any) -> str:
        return f"{self.logarithm}({self._print(expr.args[0])})"


class R(Infix):
    """The same for R, whose words are quoted where they are names."""

    logarithm = "log"

    def _print_Symbol(self, expr: sp.Symbol) -> str:
        return r_name(expr.name)


def r_name(name: str) -> str:
    """A name as R takes it.

    Parameters
    ----------
    name : str
    """
    return f"`{name}`" if name in _WORDS_OF_R else name


def infix(expression: Any) -> str:
    """A formula for libsbml.

    Parameters
    ----------
    expression : sympy expression
    """
    return str(Infix().doprint(expression))


def r_text(expression: Any) -> str:
    """A formula for R.

    Parameters
    ----------
    expression : sympy expression
    """
    return str(R().doprint(expression))
