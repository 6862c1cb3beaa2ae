"""Quantities of a course of treatment, written as people say them: ``change of BMD_LS at 36 mo``.

A quantity is one number of one patient's course under one arm. Six forms exist:

======================================================  ==========================================================
text                                                    number
======================================================  ==========================================================
``change of BMD_LS at 36 mo``                           change from baseline (%)
``change of BMD_LS from 36 mo to 60 mo``                change between two times (%)
``CTX at 36 mo``, ``OCC_mRANKL at 36 mo``               a marker in % of baseline, any other output in its own unit
``highest CTX after treatment`` (or ``lowest``, or      extreme value, from the end of treatment on, or between two
``from 0 mo to 36 mo``)                                 times
``mean OCC_mRANKL from 0 mo to 36 mo``                  mean over time (trapezoids between monthly values)
``dose a year``                                         planned amount of the arm's searched agent (mg/yr)
======================================================  ==========================================================

A time is a month since the first dose (``36 mo``), ``end of treatment``, or ``12 mo after treatment``. "After the last
dose" means after treatment: the interval of the last dose belongs to the treatment.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ranklsim.cohorts.durability import at_month
from ranklsim.cohorts.words import MEASURES, first_lower
from ranklsim.pkpd.biology.model import OUTPUTS
from ranklsim.pkpd.errors import BadInput, near
from ranklsim.pkpd.simulation import MARKERS
from ranklsim.pkpd.units import parse_quantity

Array = NDArray[np.float64]

DOSE = "dose a year"
FORMS = (
    '"change of BMD_LS at 36 mo", "change of BMD_TH from 36 mo to 60 mo", "CTX at 36 mo", '
    '"highest CTX after treatment", "mean OCC_mRANKL from 0 mo to 36 mo" or "dose a year"'
)

_NAME = r"(?P<of>[A-Za-z][A-Za-z0-9_]*)"
_CHANGE = re.compile(rf"change (?:of|in) {_NAME} (?:at (?P<at>.+)|from (?P<begin>.+?) to (?P<end>.+))")
_EXTREME = re.compile(
    rf"(?P<what>highest|lowest|peak|trough|mean)(?: of)? {_NAME} "
    r"(?:(?P<after>after (?:treatment|the last dose))|from (?P<begin>.+?) to (?P<end>.+))"
)
_VALUE = re.compile(rf"{_NAME} at (?P<at>.+)")
_AFTER = re.compile(r"(?P<span>.+?) after (?:treatment|the last dose|the end of treatment)")
_END = re.compile(r"(?:the )?end of treatment")
_WHAT = {"peak": "highest", "trough": "lowest"}


@dataclass(frozen=True)
class Time:
    """A time in a course: `month` since the first dose, or since the end of treatment if `after`."""

    month: float
    after: bool = False

    def at(self, end: float) -> float:
        """Month since the first dose.

        Parameters
        ----------
        end : float
            Month at which treatment ends.
        """
        return end + self.month if self.after else self.month

    @property
    def words(self) -> str:
        """The time in words, such as ``at month 36`` without its preposition."""
        if not self.after:
            return f"month {self.month:g}"
        return f"{self.month:g} months after treatment" if self.month else "the end of treatment"


@dataclass(frozen=True)
class Quantity:
    """One number of a course.

    Attributes
    ----------
    text : str
        As written.
    what : str
        "change", "value", "highest", "lowest", "mean" or `DOSE`.
    of : str
        The output of the model; "" for a dose.
    times : tuple of Time
        One for a value; two for a span; an extreme after treatment has the one from which it counts.
    """

    text: str
    what: str
    of: str = ""
    times: tuple[Time, ...] = ()

    @property
    def unit(self) -> str:
        """Unit of the number."""
        if self.what == DOSE:
            return "mg/yr"
        if self.what == "change":
            return "%"
        return "% of baseline" if self.of in MARKERS else OUTPUTS[self.of][0]

    @property
    def label(self) -> str:
        """The quantity in words for tables and axes, without its unit."""
        if self.what == DOSE:
            return "dose a year"
        name = MEASURES.get(self.of) or first_lower(OUTPUTS[self.of][1])
        when = " to ".join(time.words for time in self.times)
        if self.what == "change":
            return f"change of {name} {'at' if len(self.times) == 1 else 'from'} {when}"
        if self.what == "value":
            return f"{name} at {when}"
        return f"{self.what} {name} {'after treatment' if len(self.times) == 1 else f'from {when}'}"

    def months(self, end: float, last: float) -> list[float]:
        """Months that must be simulated, besides every whole month.

        Parameters
        ----------
        end : float
            Month at which treatment ends.
        last : float
            Last simulated month.

        Raises
        ------
        BadInput
            If a time lies beyond the last month, or a span is empty.
        """
        found = [time.at(end) for time in self.times]
        if found and max(found) > last + 1e-9:
            raise BadInput(
                f"'{self.text}' asks for month {max(found):g}, and the simulation ends at month {last:g}; "
                "lengthen the trial, or ask for an earlier time."
            )
        if len(found) == 2 and not found[0] < found[1]:
            raise BadInput(f"'{self.text}' begins at month {found[0]:g} and ends at month {found[1]:g}; correct one.")
        if self.what in ("highest", "lowest") and len(found) == 1 and found[0] >= last - 1e-9:
            raise BadInput(
                f"'{self.text}': treatment lasts to month {end:g}, where the simulation ends; lengthen the trial."
            )
        return found

    def of_course(self, months: Array, course: Mapping[str, Array], end: float, dose_a_year: Array) -> Array:
        """The number, for many courses.

        Parameters
        ----------
        months : ndarray, shape (n_months,)
            Increasing, from 0; every month of `self.months` is among them.
        course : mapping of str to ndarray, shape (n_courses, n_months)
            Outputs of the model in their units.
        end : float
            Month at which treatment ends.
        dose_a_year : ndarray, shape (n_courses,)
            mg/yr.

        Returns
        -------
        ndarray, shape (n_courses,)
        """
        if self.what == DOSE:
            return dose_a_year
        values = np.asarray(course[self.of], float)
        at = [at_month(months, values, time.at(end)) for time in self.times]
        if self.what == "change":
            return 100.0 * (at[-1] / (at[0] if len(at) == 2 else values[:, 0]) - 1.0)
        scale = 100.0 / values[:, :1] if self.of in MARKERS else np.ones((len(values), 1))
        if self.what == "value":
            return at[0] * scale[:, 0]
        first, last = self.times[0].at(end), self.times[1].at(end) if len(at) == 2 else float(months[-1])
        inside = (months >= first - 1e-9) & (months <= last + 1e-9)
        part = values[:, inside] * scale
        if self.what == "mean":
            return np.asarray(np.trapezoid(part, months[inside], axis=1)) / (last - first)
        return part.max(axis=1) if self.what == "highest" else part.min(axis=1)


def parse_quantity_of_course(text: str, where: str = "") -> Quantity:
    """Read a quantity.

    Parameters
    ----------
    text : str
        One of the forms above.
    where : str
        What a message begins with.

    Raises
    ------
    BadInput
        If the text has no known form, or names an output or a time that does not exist.
    """
    prefix = f"{where}: " if where else ""
    words = " ".join(text.split())
    if words in (DOSE, "dose per year"):
        return Quantity(words, DOSE)
    found = _CHANGE.fullmatch(words) or _EXTREME.fullmatch(words) or _VALUE.fullmatch(words)
    if not found:
        raise BadInput(f"{prefix}'{text}' is not a quantity of a course; write {FORMS}.")
    part = found.groupdict()
    if part["of"] not in OUTPUTS:
        raise BadInput(
            f"{prefix}'{text}' names '{part['of']}', which is no output of the model; "
            f"{near(part['of'], OUTPUTS, also='docs/model.md lists all.')}"
        )
    what = "change" if found.re is _CHANGE else "value" if found.re is _VALUE else _WHAT.get(part["what"], part["what"])
    times: tuple[Time, ...]
    if part.get("at"):
        times = (_time(part["at"], prefix, text),)
    elif part.get("begin"):
        times = (_time(part["begin"], prefix, text), _time(part["end"], prefix, text))
    elif what == "mean":
        raise BadInput(f"{prefix}'{text}': a mean needs two times; write 'mean {part['of']} from 0 mo to 36 mo'.")
    else:
        times = (Time(0.0, after=True),)
    return Quantity(words, what, part["of"], times)


def _time(text: str, prefix: str, whole: str) -> Time:
    """Read a time of a quantity."""
    if _END.fullmatch(text):
        return Time(0.0, after=True)
    later = _AFTER.fullmatch(text)
    month = parse_quantity(later["span"] if later else text, "mo", where=f"{prefix}'{whole}'")
    if month < 0:
        raise BadInput(f"{prefix}'{whole}': {month:g} mo is before the first dose; give 0 mo or later.")
    return Time(month, after=bool(later))
