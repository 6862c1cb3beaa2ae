"""A fit as a PEtab problem, version 2 [1]_: model, arms of its evidence, their doses, figures, errors and priors.

An arm under a scenario of the fit is an experiment. Its first period sets what is known of the patients, the values
of the scenario and the doses of day 0; each later dose begins a period. What the format cannot say is left out and
listed.

References
----------
.. [1] Schmiester L et al. PLoS Comput Biol 2021;17:e1008646. doi:10.1371/journal.pcbi.1008646; version 2 of the format:
   petab.readthedocs.io
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import sympy as sp

from ranklsim.pkpd.agents import FIELDS, Agent
from ranklsim.pkpd.biology.model import KINDS
from ranklsim.pkpd.biology.skeleton import NAMES
from ranklsim.pkpd.biology.values import Values
from ranklsim.pkpd.evidence.errors import error_sd
from ranklsim.pkpd.evidence.records import Arm, Evidence
from ranklsim.pkpd.exchange.printing import infix
from ranklsim.pkpd.exchange.sbml import sbml_text
from ranklsim.pkpd.exchange.system import System, field_name, identifier, make_system, symbol
from ranklsim.pkpd.fitting.spec import Spec
from ranklsim.pkpd.parameters import ParameterTable
from ranklsim.pkpd.simulation import covariate_symbols

PROBLEM = "problem.yaml"
LEFT_OUT = "left_out.tsv"
INSTANT = 1e-6
"""Days before a dose at which a concentration of that moment is read: the trough."""

_BASELINES = {"CTX": "CTX0", "P1NP": "P1NP0", "BSAP": "BSAP0", "TRAP5B": "TRAP5B0", "CA": "CA0", "PTH": "PTH0"}
_TWO_TIMES = "its value needs two times of one course, and an observable of PEtab is of one time"
_REASONS = {
    "difference_to_control": "its value needs two arms, and an observable of PEtab is of one experiment",
    "AUC_ratio": "its value needs two arms, and an observable of PEtab is of one experiment",
    "change_between": _TWO_TIMES,
    "retained_gain": _TWO_TIMES,
}
_OF_CURVES = "its value is read off a curve (highest, lowest, area, half-life), which no formula of one time can do"
_BELOW = "it is known to lie below a limit only, and PEtab has no censored measurement"
CANNOT = (
    "The points of one curve are correlated in the fit (0.5 between any two), and with `studies` the figures of one "
    "study; measurements of PEtab are independent.",
    "Figures that need two times, two arms or a whole curve, and figures below a limit, are not in the problem: "
    f"{LEFT_OUT} lists them with the reason.",
    "A published figure is that of a cohort; the offset of the arm's typical patient is taken off each measurement.",
    "Scenarios of the fit are experiments of their own, and their weights stand in the standard deviations.",
    "Sizes in mice and after menopause, which a fit with `mice = true` weighs, are not in the problem.",
)


def petab_files(spec: Spec, table: ParameterTable, evidence: Evidence, notes: Mapping[str, str]) -> dict[str, str]:
    """The files of the problem.

    Parameters
    ----------
    spec : Spec
    table : ParameterTable
        Values of what is not fitted.
    evidence : Evidence
        Cut down to the rows that the fit uses.
    notes : mapping of str to str
        What is said about the model.

    Returns
    -------
    dict of str to str
        File name to text.
    """
    table = table.overlaid(spec.fixed)
    observations = evidence.observations
    arms = [evidence.arms[name] for name in dict.fromkeys(observations["arm"])]
    met = dict.fromkeys(name for arm in arms for name in arm.agent_names)
    system = make_system(table, [evidence.agents[name] for name in met])
    problem = _Problem(spec, table, evidence, system)
    for arm in arms:
        problem.add_arm(arm)
    tables = problem.tables()
    head = [f"# {line}" for line in (spec.title, *CANNOT)]
    yaml = [
        *head, "format_version: 2.0.0", "model_files:", "  ranklsim:", "    location: model.xml", "    language: sbml",
        *(f"{kind}_files:\n  - {kind}s.tsv" for kind in ("parameter", "condition", "experiment", "observable",
                                                           "measurement")),
    ]  # fmt: skip
    said = dict(notes) | {"Not held": " ".join(CANNOT)}
    files = {PROBLEM: "\n".join(yaml) + "\n", "model.xml": sbml_text(system, spec.title, said)}
    return files | {name: frame.to_csv(sep="\t", index=False, lineterminator="\n") for name, frame in tables.items()}


class _Problem:
    """The tables of a problem while they are filled."""

    def __init__(self, spec: Spec, table: ParameterTable, evidence: Evidence, system: System) -> None:
        self.spec, self.table, self.evidence, self.system = spec, table, evidence, system
        self.fitted = {self._name(p.name): p for p in spec.parameters}
        self.numbers = {name: q.value for name, q in system.parameters.items() if name not in self.fitted}
        self.conditions: dict[str, dict[str, Any]] = {}
        self.experiments: list[dict[str, Any]] = []
        self.observables: dict[str, dict[str, Any]] = {}
        self.measurements: list[dict[str, Any]] = []
        self.left: list[dict[str, Any]] = []
        self.sd = error_sd(evidence.observations)
        for k, scenario in enumerate(spec.scenarios, start=1):
            self.conditions[f"scenario_{k}"] = {self._name(name): value for name, value in scenario.fixed.items()}

    def _name(self, name: str) -> str:
        """How the model calls a parameter, or a number of an agent."""
        agent, dot, number = name.partition(".")
        if not dot:
            return name
        placed = self.system.agents.get(agent)
        return identifier(name) if placed is None else field_name(placed[1], number, placed[2])

    def add_arm(self, arm: Arm) -> None:
        """An arm as an experiment for each scenario, with its figures."""
        rows = self.evidence.observations
        own = rows[rows["arm"] == arm.id]
        kept = [row for row in own.to_dict("records") if self._observable(row)]
        if not kept:
            return
        known = {
            name: value
            for name, value in covariate_symbols(self.table, arm.covariates).items()
            if name in self.system.parameters and name not in self.fitted
        }
        about = identifier(f"patients_{arm.id}")
        first: dict[str, sp.Expr] = {}
        later: dict[float, dict[str, sp.Expr]] = {}
        for regimen in arm.regimens:
            if regimen.agent not in self.system.agents:
                continue
            mg = float(regimen.dose.of(known.get("WT", self.table["WT"])))
            for day in regimen.times_days():
                state, added = self._added(regimen.agent, mg)
                if day == 0 and {str(s) for s in added.free_symbols} - set(self.fitted):
                    day = INSTANT  # at the start, a formula may hold fitted parameters only
                given = later.setdefault(float(day), {}) if day > 0 else first
                given[state] = given.get(state, sp.Integer(0)) + added
        self.conditions[about] = known | {state: infix(value) for state, value in first.items()}
        for k, scenario in enumerate(self.spec.scenarios, start=1):
            name = identifier(arm.id if len(self.spec.scenarios) == 1 else f"{arm.id}_scenario_{k}")
            begin = [c for c in (about, f"scenario_{k}") if self.conditions[c]]
            self.experiments += [
                {"experimentId": name, "time": 0.0, "conditionId": condition} for condition in begin or [""]
            ]
            for day in sorted(later):
                self.experiments.append({"experimentId": name, "time": day, "conditionId": self._dose(later[day])})
            for row in kept:
                self._measure(row, arm, name, scenario.weight)

    def _added(self, name: str, mg: float) -> tuple[str, sp.Expr]:
        """State that a dose enters, and what it adds; numbers stand for all that is not fitted."""
        agent, kind, k = self.system.agents[name]
        fields = Values({field: symbol(field_name(kind, field, k)) for field in FIELDS[kind]})
        fields["Vc_i"] = symbol(f"Vc_i_{k}")
        state, added = KINDS[kind].dose(fields, mg, agent.route)
        values = {s: self._number(agent, str(s)) for s in added.free_symbols if str(s) not in self.fitted}
        return f"{state}_{k}", sp.sympify(added).subs({s: v for s, v in values.items() if v is not None})

    def _number(self, agent: Agent, name: str) -> float | None:
        """A number of an agent that no equation of the model reads; None of what follows from others."""
        _, kind, k = self.system.agents[agent.name]
        fields = {field_name(kind, field, k): field for field in FIELDS[kind]}
        return agent.values[fields[name]] if name in fields else None

    def _dose(self, given: Mapping[str, sp.Expr]) -> str:
        """The condition of doses of one moment."""
        changes = {state: f"{state} + {infix(added)}" for state, added in given.items()}
        for name, known in self.conditions.items():
            if name.startswith("dose_") and known == changes:
                return name
        name = f"dose_{sum(c.startswith('dose_') for c in self.conditions) + 1}"
        self.conditions[name] = changes
        return name

    def _observable(self, row: Mapping[str, Any]) -> bool:
        """Whether a figure can be said; notes its observable, or why it is left out."""
        endpoint, of = row["endpoint"], row["site_or_marker"]
        formula = None
        if endpoint == "percent_change" and of in NAMES:
            formula = f"100 * (BMD_{of} / BMD0_{of} - 1)"
        elif endpoint == "percent_of_baseline" and of in _BASELINES:
            formula = f"100 * {of} / {_BASELINES[of]}"
        elif endpoint == "concentration":
            formula = f"C_{identifier(of)}"
        if formula is None or row["below"]:
            why = _BELOW if formula else _REASONS.get(endpoint, _OF_CURVES)
            line = {key: row[key] for key in ("line", "arm", "endpoint", "site_or_marker", "month", "value")}
            self.left.append(line | {"reason": why})
            return False
        self.observables[self._of(row)] = {
            "observableName": f"{endpoint} of {of}", "observableFormula": formula, "noiseFormula": "sd",
            "noiseDistribution": "normal", "noisePlaceholders": "sd",
        }  # fmt: skip
        return True

    def _of(self, row: Mapping[str, Any]) -> str:
        return identifier(f"{row['endpoint']}_{row['site_or_marker']}")

    def _measure(self, row: Mapping[str, Any], arm: Arm, experiment: str, weight: float) -> None:
        day = arm.snapped(row["month"])
        dosed = {float(d) for regimen in arm.regimens for d in regimen.times_days()}
        if row["endpoint"] == "concentration" and day in dosed and day > 0:
            day -= INSTANT
        at = int(np.flatnonzero(self.evidence.observations["line"] == row["line"])[0])
        self.measurements.append(
            {
                "observableId": self._of(row), "experimentId": experiment, "time": day,
                "measurement": row["value"] - row["offset"], "noiseParameters": self.sd[at] / np.sqrt(weight),
            }
        )  # fmt: skip

    def tables(self) -> dict[str, pd.DataFrame]:
        """The tables by file name."""
        used = {row["conditionId"] for row in self.experiments}
        changes = [
            {"conditionId": name, "targetId": target, "targetValue": value}
            for name, targets in self.conditions.items() if name in used for target, value in targets.items()
        ]  # fmt: skip
        observables = [{"observableId": name} | row for name, row in self.observables.items()]
        return {
            "parameters.tsv": pd.DataFrame(self._parameters()),
            "conditions.tsv": pd.DataFrame(changes),
            "experiments.tsv": pd.DataFrame(self.experiments),
            "observables.tsv": pd.DataFrame(observables),
            "measurements.tsv": pd.DataFrame(self.measurements),
            LEFT_OUT: pd.DataFrame(self.left, columns="line arm endpoint site_or_marker month value reason".split()),
        }

    def _parameters(self) -> Iterable[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        used = " ".join(str(value) for targets in self.conditions.values() for value in targets.values())
        for name, p in self.fitted.items():
            if name in self.system.parameters:
                value = self.system.parameters[name].value
            elif re.search(rf"\b{name}\b", used):  # only doses read it
                agent, _, number = p.name.partition(".")
                value = self.system.agents[agent][0].values[number]
            else:
                continue
            prior, numbers = "", ""
            if p.prior_sd is not None and p.transform != "logit":
                prior = {"log": "log-normal", "none": "normal"}[p.transform]
                numbers = f"{p.prior_mean!r};{p.prior_sd!r}"
            rows.append(
                {
                    "parameterId": name, "lowerBound": p.natural(p.low), "upperBound": p.natural(p.high),
                    "nominalValue": value, "estimate": "true",
                    "priorDistribution": prior, "priorParameters": numbers,
                }
            )  # fmt: skip
        return rows


def unheld_priors(spec: Spec) -> Sequence[str]:
    """Parameters whose prior is normal on the logit scale, which PEtab does not have.

    Parameters
    ----------
    spec : Spec
    """
    return [p.name for p in spec.parameters if p.transform == "logit" and p.prior_sd is not None]
