"""One door to the files for other tools: what is asked for, checks, and one file or folder written whole."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

import ranklsim
from ranklsim.cohorts.protocol.trial import load_trial, shipped
from ranklsim.cohorts.running.storage import open_run
from ranklsim.pkpd.agents import Agent, load_agent
from ranklsim.pkpd.arguments import by_name, checked, flag, number, optional, path, text
from ranklsim.pkpd.arguments import folder as existing_folder
from ranklsim.pkpd.dosing import Regimen
from ranklsim.pkpd.engine.store import write_whole
from ranklsim.pkpd.errors import BadInput, near, one_of
from ranklsim.pkpd.exchange.petab import PROBLEM, petab_files, unheld_priors
from ranklsim.pkpd.exchange.rscript import r_script
from ranklsim.pkpd.exchange.sbml import library, sbml_text
from ranklsim.pkpd.exchange.system import System, make_system
from ranklsim.pkpd.fitting.fit import chosen_evidence
from ranklsim.pkpd.fitting.spec import load_spec
from ranklsim.pkpd.machine import unusable
from ranklsim.pkpd.parameters import PARAMETERS, ParametersLike, ParameterTable, load_parameters
from ranklsim.pkpd.records import UNITS
from ranklsim.pkpd.simulation import patient_constants
from ranklsim.pkpd.typical import plan_course, symbols_for
from ranklsim.pkpd.units import DAYS_PER_MONTH
from ranklsim.reports.exchange.nonmem import as_text, record_table
from ranklsim.reports.layout.folders import check_place, new_folder

FORMATS = {
    "sbml": "SBML of the typical patient under a regimen, or an arm of a trial",
    "r": "a script of R and its package deSolve of the same",
    "nonmem": "a run's patients as a table of records",
    "petab": "a fit as a PEtab problem",
}

ENDINGS = {"sbml": ".xml", "r": ".R", "nonmem": ".csv", "petab": "-petab"}


class _Plan(NamedTuple):
    """Whom the file is about: what is given, until which month, and how that is called."""

    regimens: list[Regimen]
    agents: list[Agent]
    months: float
    title: str


@checked(
    source=path,
    out=optional(path),
    format=text,
    arm=text,
    follow=text,
    covariates=by_name(number(), '{"age": 63}'),
    parameters=PARAMETERS,
    time=text,
    folder=existing_folder,
    force=flag,
)
def export(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    format: str,
    arm: str | None = None,
    follow: str = "12 mo",
    covariates: Mapping[str, float] | None = None,
    parameters: ParametersLike = None,
    time: str = "days",
    folder: Path | str | None = None,
    force: bool = False,
) -> Path:
    """Write the model, or data, in the format of another tool.

    Parameters
    ----------
    source : str or path
        A regimen (``"denosumab 60mg every 6mo x4"``) or a trial; for ``nonmem`` the folder of a run, for
        ``petab`` a fit (``default``, or a file).
    out : path, optional
        File to write; in the working folder and named after what it holds, if not given.
    format : {"sbml", "r", "nonmem", "petab"}
        SBML level 3 version 2 of the typical patient; a script for R's deSolve; a run's patients as records; a fit as a
        folder with a PEtab problem (version 2).
    arm : str, optional
        Arm of the trial; needed where it has several.
    follow : str
        Follow-up after the last dose's interval, with its unit; for a regimen.
    covariates : mapping, optional
        What differs from the typical woman: see `simulation.covariate_symbols`.
    parameters : path, mapping or ParameterTable, optional
        Another parameter table than the one that ships.
    time : {"days", "hours"}
        Unit of times in a table of records.
    folder : path, optional
        Where your own agent files are.
    force : bool
        Whether a file that exists is replaced.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    BadInput
        If anything is unknown, or the format cannot hold it; nothing is then written.
    """
    if format not in FORMATS:
        raise BadInput(f"--format: unknown format '{format}'; {near(format, FORMATS)}")
    own_folder = None if folder is None else Path(folder)
    name = "-".join(filter(None, (Path(source).stem if str(source).endswith(".toml") else str(source), arm)))
    target = Path(out or re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-")[:80] + ENDINGS[format])
    if format == "petab":
        return _petab(str(source), target, load_parameters(parameters, folder=own_folder), force)
    if fault := unusable(target, force):
        raise BadInput(f"--out: {fault}")
    if time not in UNITS:
        raise BadInput(f"--time: '{time}' is not a unit of time here; give {one_of(UNITS)}.")
    if format == "nonmem":
        if not (Path(source) / "manifest.json").is_file():
            raise BadInput(
                f"--format: nonmem is of the patients of a run, and there is none in '{source}'; give the folder of a "
                "run, or --format sbml for the typical patient."
            )
        write_whole(target, as_text(record_table(open_run(Path(source)), time)).encode())
        return target
    table = load_parameters(parameters, folder=own_folder)
    plan = _plan(str(source), arm, follow, own_folder, format)
    if format == "sbml":
        library()
    system = _typical(table, plan, covariates or {})
    notes = _notes(table, plan)
    if format == "sbml":
        content = sbml_text(system, plan.title, notes)
    else:
        days = [month * DAYS_PER_MONTH for month in range(math.ceil(plan.months - 1e-9) + 1)]
        content = r_script(system, plan.title, notes, days)
    write_whole(target, content.encode())
    return target


def _petab(source: str, target: Path, table: ParameterTable, force: bool) -> Path:
    """A folder with a PEtab problem."""
    if target.exists() and not (force and (target / PROBLEM).is_file()):
        raise BadInput(
            f"--out: {target} exists; give another folder" + (", or --force to replace it." if not force else ", since "
            "it holds no PEtab problem.")
        )  # fmt: skip
    check_place(target)
    spec = load_spec(source)
    if spec.kind != "typical":
        raise BadInput(
            f"{source}: a fit of {spec.kind} describes patients, and PEtab one course an arm; export another."
        )
    if names := unheld_priors(spec):
        raise BadInput(
            f"{source}: the prior of {one_of(names)} is normal on the logit scale, which PEtab does not have; leave it "
            "out, or use another transform."
        )
    library()
    evidence = chosen_evidence(spec)
    agents = [evidence.agents[name] for name in evidence.agents]
    notes = _notes(table, _Plan([], agents, 0.0, spec.title)) | {"Doses": "in the tables of the problem"}
    texts = petab_files(spec, table, evidence, notes)
    with new_folder(target) as made:
        for name, content in texts.items():
            (made / name).write_text(content, encoding="utf-8", newline="\n")
    return target


def _plan(source: str, arm: str | None, follow: str, folder: Path | None, format: str) -> _Plan:
    """What is given, from a regimen's text or from the arm of a trial."""
    if (Path(source) / "manifest.json").is_file():
        raise BadInput(
            f"{source} is a run of many patients, and --format {format} holds the equations of one typical patient; "
            f"give a trial or a regimen."
        )
    if not (source in shipped() or source.endswith(".toml")):
        if arm is not None:
            raise BadInput(f"--arm: a regimen has no arms; leave --arm out, or give a trial for '{source}'.")
        course = plan_course(source, None, None, None, None, follow, folder=folder)
        return _Plan(course.regimens, course.agents, course.months, source)
    trial = load_trial(Path(source) if source.endswith(".toml") else source, folder=folder)
    names = [each.name for each in trial.arms]
    if arm is None and len(names) > 1:
        raise BadInput(f"--arm: the trial '{trial.name}' has the arms {', '.join(names)}; name one of them.")
    if arm is not None and arm not in names:
        raise BadInput(f"--arm: '{arm}' is not an arm of '{trial.name}'; {near(arm, names)}")
    chosen = trial.arm(arm or names[0])
    if chosen.courses is not None or any(regimen.steady for regimen in chosen.regimens):
        raise BadInput(f"--arm: '{chosen.name}' has doses of single patients or begins in a steady state, which a file "
                       "of the typical untreated patient cannot hold; give another arm or a regimen.")  # fmt: skip
    agents = dict.fromkeys(regimen.agent for regimen in chosen.regimens)
    return _Plan(
        [part for regimen in chosen.regimens for part in regimen.boluses()],
        [load_agent(name, folder=trial.folder) for name in agents], trial.months,
        f"{trial.name}: {chosen.label}",
    )  # fmt: skip


def _typical(table: ParameterTable, plan: _Plan, covariates: Mapping[str, float]) -> System:
    """The equations of the typical patient, unless other tools cannot compute them."""
    own = symbols_for(table, plan.agents, covariates, "--set")
    agents = [table.apply(agent) for agent in plan.agents]
    _, constants, _ = patient_constants(table, pd.DataFrame([own], index=[0]), agents)
    system = make_system(table, plan.agents, plan.regimens, own)
    if empty := [name for name in system.constants if name.startswith("M0_") and not np.all(constants[name])]:
        raise BadInput(
            f"the source {empty[0].removeprefix('M0_')} has no RANKL here, and a file for other tools divides by that; "
            "give its shares (w_, a_) a small value, such as 1e-9, in place of 0."
        )
    return system


def _notes(table: ParameterTable, plan: _Plan) -> dict[str, str]:
    """What a file says about itself."""
    return {
        "Made by": f"ranklsim {ranklsim.__version__}, from the text of its equations; parameters {table.hash}",
        "Patient": "the typical patient: no variability between patients, no measurement error",
        "Time": "days since the start of treatment; a month is 30.4375 days",
        "Doses": "as planned: none is late, missed, or given on a decision during the trial. A dose enters at its "
        "moment; a value at that moment is after the dose where it changes at once (drug given into a vein)",
        "Free drug": "the root of a balance without closed form; here a state, whose rate is the derivative of the "
        "balance, with a term that takes it back to zero within minutes after a dose into a vein",
        "Units": "declared for parameters, states and outputs; factors between days and years, and between mg and "
        "nmol, are plain numbers in the formulas",
        "Agents": ", ".join(agent.label for agent in plan.agents) or "none",
        "Licence": "Apache-2.0",
    }
