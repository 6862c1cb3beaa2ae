"""Quantities with units, where they enter and leave ranklsim.

Inside, every number is a plain float in the unit that the parameter table, the agent's field or the column name
fixes; this module turns text such as ``"60 mg"`` or ``"0.094 L/day"`` into that float and refuses what is ambiguous.
The units are those of the field, with the prefixes of the SI (kilo and deci to femto). Conversion factors are exact
fractions: 6 mo are 182.625 day to the last bit, whichever way they were written.

A month is a twelfth of a Julian year, 30.4375 days; published tables sometimes mean 28 days or a visit.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from ranklsim.pkpd.errors import BadInput, closest

DAYS_PER_MONTH = 30.4375
DAYS_PER_YEAR = 365.25

_QUANTITY = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(.*?)\s*", re.DOTALL)
_TOKEN = re.compile(r"\s*(?:(?P<number>\d+(?:\.\d+)?)|(?P<name>[A-Za-zµμ]+|%)|(?P<sign>\*\*|[-*/^()]))\s*")
_ON_RATE = re.compile(r"1?/\(M\*?s\)|1?/M/s|M\^?-1\*?s\^?-1")
_TOO_FAR = 10**6  # nobody means 60 kg of a drug by 60 kg
_COMMON = (
    "mg", "ug", "ng", "pg", "g", "kg", "kDa", "Da", "L", "mL", "dL", "uL", "m", "cm", "mm", "um", "mol", "mmol", "umol",
    "nmol", "pmol", "fmol", "U", "min", "h", "day", "wk", "mo", "yr", "%",
)  # fmt: skip
_EXAMPLES = {
    "mg": "60 mg", "day": "6 mo", "mo": "6 mo", "yr": "63 yr", "kg": "60 kg", "cm": "160 cm", "L": "2.6 L",
    "L/day": "0.094 L/day", "1/day": "0.27 1/day", "kDa": "147 kDa", "nmol/L": "0.003 nmol/L", "1/mg": "0.9 1/mg",
    "mL/min/1.73m2": "60 mL/min/1.73m2", "ng/mL": "23 ng/mL", "g/cm2": "0.86 g/cm2",
}  # fmt: skip


def parse_quantity(text: object, unit: str, *, where: str) -> float:
    """Read a quantity that carries its unit.

    Parameters
    ----------
    text : str
        Number and unit, such as ``"60 mg"``, ``"60mg"``, ``"6 mo"`` or ``"5 %/yr"``. Months are ``mo``, weeks ``wk``,
        years ``yr``; a capital M (mega, molar, often meant as month or milli) is refused. Where `unit` is ``"1"``, a
        bare number is a quantity too, as text or as number.
    unit : str
        Unit of the result; ``"1"`` is dimensionless.
    where : str
        File, line or field, to begin the message with.

    Returns
    -------
    float
        The finite number of `unit`.

    Raises
    ------
    BadInput
        If there is no number, no unit, an unknown or ambiguous unit, a unit of another dimension, or one that is a
        million times too large or small (kg where mg are meant).
    """
    prefix = f"{where}: " if where else ""
    example = _EXAMPLES.get(unit, f"1 {unit}" if unit != "1" else "0.5")
    if isinstance(text, (int, float)) and not isinstance(text, bool):
        text = repr(text)
    if not isinstance(text, str):
        raise BadInput(f'{prefix}{text!r} is not a quantity; write a number and its unit, such as "{example}".')
    found = _QUANTITY.fullmatch(text)
    if not found or not math.isfinite(float(found[1])):
        raise BadInput(f"{prefix}'{text}' does not begin with a number; write number and unit, such as \"{example}\".")
    if found[2].startswith(","):
        raise BadInput(
            f"{prefix}'{text}' has a comma in its number; write it with a decimal point, as in \"{example}\"."
        )
    number, given = float(found[1]), found[2]
    if not given and unit != "1":
        bare = found[1]
        raise BadInput(f"{prefix}'{text.strip()}' has no unit; write it with one, such as \"{bare} {_hint(unit)}\".")
    try:
        factor = _factor(given or "1", unit)
        if not 1 < _TOO_FAR * factor < _TOO_FAR**2:
            raise BadInput(f'"{given}" is far from the "{unit}" that is expected here; give it in "{_hint(unit)}".')
        return convert(number, given or "1", unit)
    except BadInput as fault:
        raise BadInput(*(f"{prefix}'{text.strip()}': {message}" for message in fault.messages)) from None


def unit_of(text: str) -> str:
    """The unit in which a quantity is written.

    Parameters
    ----------
    text : str
        Such as ``"60 mg"``.

    Returns
    -------
    str
        ``"1"`` if there is none.
    """
    found = _QUANTITY.fullmatch(text)
    return (found[2] if found else "") or "1"


def convert(value: float, unit_from: str, unit_to: str) -> float:
    """Convert a number from one unit to another.

    Parameters
    ----------
    value : float
        Number of `unit_from`; infinity and NaN stay what they are.
    unit_from, unit_to : str
        Units as `check_unit` takes them.

    Returns
    -------
    float
        Number of `unit_to`.

    Raises
    ------
    BadInput
        If a unit is unknown or the two measure different things.
    """
    if unit_from == unit_to:
        check_unit(unit_from)
        return value
    factor = _factor(unit_from, unit_to)
    return value * factor.numerator / factor.denominator


def check_unit(unit: str) -> None:
    """Refuse a unit that is unknown or ambiguous.

    Parameters
    ----------
    unit : str
        Such as ``"1"``, ``"mg"``, ``"g/cm2"`` or ``"g/cm**2"``, ``"mL/min/1.73m2"``, ``"nmol/L"``, ``"U/L"``.

    Raises
    ------
    BadInput
        With the closest known unit, if there is one.
    """
    _scale(unit)


@dataclass(frozen=True)
class _Scale:
    """A unit as an exact multiple of base units: `factor`, and the power of each dimension."""

    factor: Fraction
    powers: tuple[tuple[str, Fraction], ...] = ()

    def __mul__(self, other: _Scale) -> _Scale:
        powers = dict(self.powers)
        for name, power in other.powers:
            powers[name] = powers.get(name, Fraction(0)) + power
        return _Scale(self.factor * other.factor, tuple(sorted((n, p) for n, p in powers.items() if p)))

    def __pow__(self, power: int) -> _Scale:
        return _Scale(self.factor**power, tuple((name, p * power) for name, p in self.powers if power))


@lru_cache(maxsize=512)
def _factor(unit_from: str, unit_to: str) -> Fraction:
    """Exact number of `unit_to` in one `unit_from`."""
    given, wanted = _scale(unit_from), _scale(unit_to)
    if given.powers != wanted.powers:
        what = "a number without unit" if unit_from == "1" else f'"{unit_from}"'
        if unit_to == "1":
            raise BadInput(f"{what} is not wanted here; give a number without unit.")
        month = ' (a month is "mo")' if unit_from == "m" and unit_to == "day" else ""
        raise BadInput(f'{what} cannot be turned into "{unit_to}"; give it in "{_hint(unit_to)}"{month}.')
    return given.factor / wanted.factor


@lru_cache(maxsize=512)
def _scale(unit: str) -> _Scale:
    """Read a unit: names, whole powers, products and quotients from left to right, brackets.

    Molar is ambiguous alone (M), but not with a prefix (nM) or in the unit of an on-rate (``1/(M*s)``).
    """
    if _ON_RATE.fullmatch(unit.replace(" ", "")):
        unit = "L/mol/s"
    malformed = BadInput(f'\'{unit}\' is not a unit; write it like "mg", "L/day" or "g/cm2".')
    tokens: list[tuple[str, str]] = []
    at = 0
    while at < len(unit):
        found = _TOKEN.match(unit, at)
        if not found or len(tokens) >= 40:
            raise malformed
        tokens.append((str(found.lastgroup), str(found[str(found.lastgroup)])))
        at = found.end()
    tokens.append(("end", ""))
    tokens.reverse()  # the next token is the last one of the list

    def take(*texts: str) -> bool:
        if tokens[-1][1] in texts:
            tokens.pop()
            return True
        return False

    def product() -> _Scale:
        scale = _Scale(Fraction(1)) if tokens[-1][1] == "/" else power()
        while tokens[-1][1] in ("*", "/"):
            divide = tokens.pop()[1] == "/"
            scale = scale * power(divisor=divide) ** (-1 if divide else 1)
        return scale

    def power(divisor: bool = False) -> _Scale:
        kind, text = tokens.pop()
        if text == "(":
            scale = product()
            if not take(")"):
                raise malformed
        elif kind == "number":
            if divisor and tokens[-1][0] == "name" and Fraction(text):
                return _Scale(Fraction(text)) * power()  # "/1.73m2" is one thing
            if text != "1":
                raise malformed
            return _Scale(Fraction(1))
        elif kind == "name":
            scale = _named(text)
        else:
            raise malformed
        explicit = take("**", "^")
        negative = (explicit or (len(tokens) > 1 and tokens[-2][0] == "number")) and take("-")
        if explicit or negative or tokens[-1][0] == "number":
            kind, text = tokens.pop()
            if kind != "number" or not text.isdigit() or len(text) > 2:
                raise malformed
            return scale ** (-int(text) if negative else int(text))
        return scale

    scale = product()
    if len(tokens) != 1:
        raise malformed
    return scale


def _unit_table() -> dict[str, _Scale]:
    """Every unit by each of its names; a dalton is that of CODATA 2018, a pound 453.59237 g, an inch 2.54 cm."""
    short = {"k": 3, "d": -1, "c": -2, "m": -3, "u": -6, "µ": -6, "μ": -6, "n": -9, "p": -12, "f": -15}
    long = {"kilo": 3, "deci": -1, "centi": -2, "milli": -3, "micro": -6, "nano": -9, "pico": -12, "femto": -15}
    one, month = Fraction(1), Fraction(DAYS_PER_MONTH)
    prefixed: list[tuple[str, tuple[str, ...], Fraction, dict[str, int]]] = [
        ("g", ("gram",), one, {"mass": 1}),
        ("L", ("liter", "litre"), Fraction(1, 1000), {"length": 3}),
        ("l", (), Fraction(1, 1000), {"length": 3}),
        ("m", ("meter", "metre"), one, {"length": 1}),
        ("mol", ("mole",), one, {"substance": 1}),
        ("Da", ("dalton",), Fraction("1.66053906660e-24"), {"mass": 1}),
        ("U", (), one, {"enzyme activity": 1}),
        ("s", ("second",), Fraction(1, 86400), {"time": 1}),
    ]
    others: list[tuple[tuple[str, ...], Fraction, dict[str, int]]] = [
        (("%", "percent"), Fraction(1, 100), {}),
        (("min", "minute", "minutes"), Fraction(1, 1440), {"time": 1}),
        (("h", "hr", "hour", "hours"), Fraction(1, 24), {"time": 1}),
        (("d", "day", "days"), one, {"time": 1}),
        (("wk", "week", "weeks"), Fraction(7), {"time": 1}),
        (("mo", "month", "months"), month, {"time": 1}),
        (("yr", "year", "years"), Fraction(DAYS_PER_YEAR), {"time": 1}),
        (("lb", "pound", "pounds"), Fraction("453.59237"), {"mass": 1}),
        (("inch", "inches"), Fraction("0.0254"), {"length": 1}),
    ]
    table = {}
    for symbol, words, factor, dimensions in prefixed:
        powers = tuple((name, Fraction(power)) for name, power in sorted(dimensions.items()))
        for prefix, ten in {"": 0, **short}.items():
            table[f"{prefix}{symbol}"] = _Scale(factor * Fraction(10) ** ten, powers)
        for prefix, ten in {"": 0, **long}.items():
            for word in words:
                for name in (f"{prefix}{word}", f"{prefix}{word}s"):
                    table[name] = _Scale(factor * Fraction(10) ** ten, powers)
    for names, factor, dimensions in others:
        powers = tuple((name, Fraction(power)) for name, power in sorted(dimensions.items()))
        table |= dict.fromkeys(names, _Scale(factor, powers))
    return table


_UNITS = _unit_table()


def _named(name: str) -> _Scale:
    """A unit by its name."""
    if name == "M":
        raise BadInput('the unit \'M\' is ambiguous; write "mo" for month or "mol/L" for molar.')
    if name.startswith("M"):
        same = [unit for unit in (name.lower(), name[1:]) if unit in _COMMON]
        meant = same[0] if same else _closest(name) or "mg"
        raise BadInput(f"the unit '{name}' is not used here, as M means mega; did you mean \"{meant}\"?")
    if len(name) == 2 and name[1] == "M" and name[0] in "munpfµμ":
        return _scale(f"{name[0]}mol/L")
    if name in _UNITS:
        return _UNITS[name]
    close = _closest(name)
    hint = f'did you mean "{close}"?' if close else 'units are written like "mg", "mL", "day", "wk", "mo", "yr".'
    raise BadInput(f"the unit '{name}' is not known; {hint}")


def _closest(name: str) -> str | None:
    same = [unit for unit in _COMMON if unit.lower() == name.lower()]
    spelled = {"months": "mo", "month": "mo", "mos": "mo", "mth": "mo", "weeks": "wk", "years": "yr", "days": "day"}
    close = closest(name, [*spelled, *_COMMON])
    return same[0] if same else spelled.get(close, close) if close else None


def _hint(unit: str) -> str:
    """The unit to propose where `unit` is wanted: people give days as months."""
    return _EXAMPLES[unit].split(maxsplit=1)[1] if unit in _EXAMPLES else unit
