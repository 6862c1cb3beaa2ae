"""A system as SBML level 3 version 2 [1]_: what it holds, and what the format cannot say.

States and steps are parameters with rules, so that the file has the names of docs/equations.md; there are no reactions,
since most flows of the model (turnover of bone by age, cells) move no amount from one place to another. Doses are one
event for each regimen: amount, first day, interval and number are parameters that a modeller can change.

References
----------
.. [1] Keating SM et al. Mol Syst Biol 2020;16:e9110. doi:10.15252/msb.20199110
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from html import escape
from importlib.resources import files
from typing import Any

from ranklsim.pkpd.errors import BadInput, RunFailed
from ranklsim.pkpd.exchange.printing import infix
from ranklsim.pkpd.exchange.system import Given, Quantity, System, identifier
from ranklsim.pkpd.reading import read_csv

_XHTML = "http://www.w3.org/1999/xhtml"
_RESOLVER = "https://identifiers.org/"
# Factors of a unit: kind of SBML, exponent, scale (power of ten), multiplier.
_BASE: dict[str, tuple[tuple[str, int, int, float], ...]] = {
    "nmol": (("mole", 1, -9, 1.0),),
    "pmol": (("mole", 1, -12, 1.0),),
    "mmol": (("mole", 1, -3, 1.0),),
    "mg": (("gram", 1, -3, 1.0),),
    "ug": (("gram", 1, -6, 1.0),),
    "ng": (("gram", 1, -9, 1.0),),
    "g": (("gram", 1, 0, 1.0),),
    "kg": (("kilogram", 1, 0, 1.0),),
    "kDa": (("kilogram", 1, 0, 1.0), ("mole", -1, 0, 1.0)),  # of a mole of molecules
    "L": (("litre", 1, 0, 1.0),),
    "mL": (("litre", 1, -3, 1.0),),
    "cm": (("metre", 1, -2, 1.0),),
    "cm2": (("metre", 2, -2, 1.0),),
    "1.73m2": (("metre", 2, 0, 1.3152946437965904),),
    "day": (("second", 1, 0, 86400.0),),
    "min": (("second", 1, 0, 60.0),),
    "mo": (("second", 1, 0, 2629800.0),),
    "yr": (("second", 1, 0, 31557600.0),),
    "U": (("katal", 1, -9, 1000 / 60),),
    "%": (("dimensionless", 1, -2, 1.0),),
    "1": (("dimensionless", 1, 0, 1.0),),
}
_NO_DIMENSION = ("1", "% of baseline", "percentage points")


@cache
def library(name: str = "libsbml") -> Any:
    """A package of the extra ``exchange``.

    Parameters
    ----------
    name : str
        As it is imported.

    Raises
    ------
    BadInput
        If it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        raise BadInput(
            f"this format needs the package {name.partition('.')[0]}, which is not installed; install ranklsim with "
            "`pip install ranklsim[exchange]`."
        ) from None


def identifiers() -> dict[str, list[tuple[str, str]]]:
    """Entries of public registries for what the model holds.

    Returns
    -------
    dict of str to list of (str, str)
        Name of a state, output, source or agent to (relation, identifier) of ``data/identifiers.csv``, such as
        ``("is", "uniprot:O14788")``.
    """
    place = files("ranklsim.pkpd") / "data" / "identifiers.csv"
    found: dict[str, list[tuple[str, str]]] = {}
    for row in read_csv("identifiers.csv", place.read_bytes()).rows():
        for name in row.text("names").split():
            found.setdefault(name, []).append((row.text("relation"), row.text("identifier")))
    return found


def sbml_text(system: System, title: str, notes: Mapping[str, str]) -> str:
    """The file.

    Parameters
    ----------
    system : System
    title : str
        Name of the model.
    notes : mapping of str to str
        What is said about the model: heading to text.

    Raises
    ------
    RunFailed
        If libsbml finds an error in what was written.
    """
    sbml = library()
    document = sbml.SBMLDocument(3, 2)
    model = document.createModel()
    model.setId("ranklsim")
    model.setName(title)
    model.setMetaId("ranklsim")
    _Writer(sbml, model, system).write(notes)
    document.checkConsistency()
    if document.getNumErrors(sbml.LIBSBML_SEV_ERROR) or document.getNumErrors(sbml.LIBSBML_SEV_FATAL):
        log = document.getErrorLog()
        faults = [log.getError(i) for i in range(log.getNumErrors())]
        first = next(fault for fault in faults if fault.getSeverity() >= sbml.LIBSBML_SEV_ERROR)
        raise RunFailed(f"libsbml refuses the model: {' '.join(first.getMessage().split())}")
    return str(sbml.writeSBMLToString(document))


class _Writer:
    """Fills a model of libsbml."""

    def __init__(self, sbml: Any, model: Any, system: System) -> None:
        self.sbml, self.model, self.system = sbml, model, system
        self.known = identifiers()
        self.units: dict[str, str] = {}

    def write(self, notes: Mapping[str, str]) -> None:
        """All of it."""
        for kind in ("substance", "time", "volume", "extent"):
            getattr(self.model, f"set{kind.capitalize()}Units")(
                self._unit({"time": "day", "volume": "L"}.get(kind, "nmol"))
            )
        self._note(self.model, "".join(f"<p><b>{escape(k)}</b>: {escape(v)}</p>" for k, v in notes.items()))
        system = self.system
        for name, quantity in system.parameters.items():
            self._parameter(name, quantity.unit, quantity.meaning, quantity.value)
            self._note(self.model.getParameter(name), f"<p>{escape(in_words(quantity))}</p>")
            if quantity.doi.startswith("10."):
                self._annotate(name, [("isDescribedBy", f"doi:{quantity.doi}")])
        for name in system.constants:
            self._parameter(name, "", name)
        for name, (unit, meaning) in system.states.items():
            self._parameter(name, unit, meaning, constant=False)
        for name in system.steps:
            unit, meaning = system.outputs.get(name, ("", name))
            self._parameter(name, unit, meaning, constant=False)
        for agent, kind, k in system.agents.values():
            carriers = {"binder": ("depot", "drug", "tissue", "free"), "bisphosphonate": ("blood", "surface", "buried")}
            for name in (*(f"{c}_{k}" for c in carriers.get(kind, ())), f"C_{identifier(agent.name)}"):
                if name in system.states or name in system.outputs:
                    self._annotate(name, self.known.get(agent.name, ()))
        for name, formula in (system.constants | system.start).items():
            if formula.is_number:
                self.model.getParameter(name).setValue(float(formula))
                continue
            assignment = self.model.createInitialAssignment()
            assignment.setSymbol(name)
            assignment.setMath(self._math(infix(formula)))
        for name, formula in system.steps.items():
            rule = self.model.createAssignmentRule()
            rule.setVariable(name)
            rule.setMath(self._math(infix(formula)))
        for name, formula in system.rates.items():
            rule = self.model.createRateRule()
            rule.setVariable(name)
            rule.setMath(self._math(infix(formula)))
        for i, dose in enumerate(system.doses, start=1):
            self._event(i, dose)

    def _parameter(self, name: str, unit: str, meaning: str, value: float | None = None, constant: bool = True) -> None:
        parameter = self.model.createParameter()
        parameter.setId(name)
        parameter.setName(meaning)
        parameter.setConstant(constant)
        if unit:
            parameter.setUnits(self._unit(unit))
        if value is not None:
            parameter.setValue(value)
        self._annotate(name, self.known.get(name, ()))

    def _event(self, i: int, dose: Given) -> None:
        """Doses of a regimen: each sets the day of the next one, until their number is reached."""
        self._parameter(f"next_{i}", "day", f"day of the next of these doses of {dose.agent.label}", constant=False)
        self._parameter(f"given_{i}", "1", f"doses given of these of {dose.agent.label}", 0.0, constant=False)
        assignment = self.model.createInitialAssignment()
        assignment.setSymbol(f"next_{i}")
        assignment.setMath(self._math(dose.first))
        event = self.model.createEvent()
        event.setId(f"doses_{i}")
        event.setName(f"{dose.agent.label} {dose.regimen.dose_mg:g} mg")
        event.setUseValuesFromTriggerTime(True)
        trigger = event.createTrigger()
        trigger.setInitialValue(False)
        trigger.setPersistent(True)
        trigger.setMath(self._math(f"time >= next_{i} && given_{i} < {dose.number} - 0.5"))
        for variable, formula in {
            dose.state: f"{dose.state} + {infix(dose.added)}",
            f"next_{i}": f"next_{i} + {dose.every}",
            f"given_{i}": f"given_{i} + 1",
        }.items():
            assigned = event.createEventAssignment()
            assigned.setVariable(variable)
            assigned.setMath(self._math(formula))

    def _math(self, text: str) -> Any:
        found = self.sbml.parseL3Formula(text)
        if found is None:
            raise RunFailed(f"libsbml can't read '{text}': {self.sbml.getLastParseL3Error()}")
        return found

    def _unit(self, unit: str) -> str:
        """The definition of a unit, made when it is first used."""
        if unit in _NO_DIMENSION:
            return "dimensionless"
        if unit not in self.units:
            self.units[unit] = name = "unit_" + identifier(unit.replace("/", "_per_").replace("%", "percent"))
            definition = self.model.createUnitDefinition()
            definition.setId(name)
            definition.setName(unit)
            for kind, exponent, scale, multiplier in _factors(unit):
                part = definition.createUnit()
                part.setKind(self.sbml.UnitKind_forName(kind))
                part.setExponent(exponent)
                part.setScale(scale)
                part.setMultiplier(multiplier)
        return self.units[unit]

    def _note(self, element: Any, body: str) -> None:
        element.setNotes(f'<body xmlns="{_XHTML}">{body}</body>')

    def _annotate(self, name: str, entries: Iterable[tuple[str, str]]) -> None:
        parameter = self.model.getParameter(name)
        for relation, entry in entries:
            parameter.setMetaId(f"meta_{name}")
            term = self.sbml.CVTerm()
            term.setQualifierType(self.sbml.BIOLOGICAL_QUALIFIER)
            term.setBiologicalQualifierType(self.sbml.BiolQualifierType_fromString(relation))
            term.addResource(_RESOLVER + entry)
            parameter.addCVTerm(term)


def _factors(unit: str) -> Iterator[tuple[str, int, int, float]]:
    """A unit as SBML has it: the first factor is above the line, each further one below it."""
    for place, part in enumerate(unit.split("/")):
        if part == "1" and place == 0 and "/" in unit:
            continue
        for kind, exponent, scale, multiplier in _BASE[part]:
            yield kind, exponent if place == 0 else -exponent, scale, multiplier


def in_words(quantity: Quantity) -> str:
    """What is known of a number, in one line.

    Parameters
    ----------
    quantity : Quantity
    """
    parts = [quantity.status, quantity.source, quantity.doi and f"doi:{quantity.doi}"]
    return "; ".join(part for part in parts if part) or "no source"
