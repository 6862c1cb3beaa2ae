"""Files for other tools: other engines find the same courses, and what cannot be exported is said in one sentence."""

from __future__ import annotations

import math
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sympy as sp
from helpers import OWN_AGENT

import ranklsim
from ranklsim import BadInput
from ranklsim.pkpd.agents import load_agent
from ranklsim.pkpd.biology.ligand import free_equation
from ranklsim.pkpd.biology.values import Values
from ranklsim.pkpd.dosing import parse_regimen
from ranklsim.pkpd.evidence.errors import error_sd
from ranklsim.pkpd.evidence.predictions import Predictor
from ranklsim.pkpd.exchange.printing import r_name
from ranklsim.pkpd.exchange.sbml import identifiers
from ranklsim.pkpd.exchange.system import System, identifier, make_system
from ranklsim.pkpd.fitting.fit import chosen_evidence, make_problem
from ranklsim.pkpd.fitting.spec import load_spec
from ranklsim.pkpd.parameters import load_parameters
from ranklsim.pkpd.simulation import patient_constants
from ranklsim.pkpd.typical import simulate_typical
from ranklsim.pkpd.units import DAYS_PER_MONTH

MONTHS = list(range(73))
REGIMENS = {
    "denosumab": "denosumab 60mg every 6mo x8",
    "selective": "mrankl-selective 60mg every 6mo x8",
    "zoledronate": "zoledronate 5mg every 12mo x3",
    "sequence": "teriparatide 20ug every 1day for 24mo, denosumab 60mg every 6mo x4, zoledronate 5mg every 12mo x2",
}
WITHIN_BMD, WITHIN_CTX = 0.001, 0.05
"""Percentage points of BMD, % of CTX."""


def system_of(regimen: str, folder: Path | None = None) -> System:
    parts = parse_regimen(regimen, folder=folder)
    agents = [load_agent(name, folder=folder) for name in dict.fromkeys(part.agent for part in parts)]
    return make_system(load_parameters(), agents, parts)


def ours(regimen: str, folder: Path | None = None) -> pd.DataFrame:
    parts = parse_regimen(regimen, folder=folder)
    agents = [load_agent(name, folder=folder) for name in dict.fromkeys(part.agent for part in parts)]
    return simulate_typical(parts, agents, months=MONTHS, rtol=1e-8)


def apart(found: pd.DataFrame, expected: pd.DataFrame) -> tuple[float, float]:
    """Largest differences over the months: BMD of any site in percentage points, CTX in %."""
    sites = [name for name in expected if name.startswith("BMD_") and not name.endswith("_pct")]
    bmd = max(100 * np.abs(found[s] - expected[s]).max() / expected[s].iloc[0] for s in sites)
    return bmd, float(100 * np.abs(found["CTX"] / expected["CTX"] - 1).max())


def with_roadrunner(path: Path, names: list[str]) -> pd.DataFrame:
    roadrunner = pytest.importorskip("roadrunner")
    roadrunner.Logger.setLevel(roadrunner.Logger.LOG_ERROR)
    model = roadrunner.RoadRunner(str(path))
    model.integrator.relative_tolerance, model.integrator.absolute_tolerance = 1e-8, 1e-11
    model.timeCourseSelections = ["time", *names]
    return pd.DataFrame(np.asarray(model.simulate(times=[m * DAYS_PER_MONTH for m in MONTHS])), columns=["day", *names])


def number(formula: sp.Expr, values: dict[str, float]) -> float:
    text = sp.pycode(formula, fully_qualified_modules=False)
    return float(eval(text, {name: getattr(math, name) for name in ("exp", "log", "sqrt")}, values))


# --- the system ---
@pytest.mark.parametrize("regimen", [*REGIMENS.values(), "denosumab 60mg x1, with srankl-selective 60mg x1"])
def test_the_equations_of_a_file_are_those_of_the_model(regimen: str) -> None:
    system, table = system_of(regimen), load_parameters()
    agents = [agent for agent, _, _ in system.agents.values()]
    model, constants, _ = patient_constants(table, pd.DataFrame(index=[0]), agents)
    values = {name: q.value for name, q in system.parameters.items()} | {"time": 100.0}
    for name, formula in system.constants.items():
        values[name] = number(formula, values)
    shared = set(system.constants) & set(constants)
    assert len(shared) > 30
    for name in shared:
        assert values[name] == pytest.approx(float(np.ravel(constants[name])[0]), rel=1e-13), name
    p = Values({name: float(np.ravel(value)[0]) for name, value in constants.items()})
    spread = np.random.default_rng(1).uniform(0.5, 1.5, len(model.states))
    x = Values({n: (float(v) or 0.3) * f for (n, v), f in zip(model.start(p).items(), spread, strict=True)})
    free = [float(f) for f in model.free(x, p)]
    values |= x | {f"free_{k}": f for k, f in enumerate(free, start=1)}
    for name, formula in (system.steps | {f"d {n}": rate for n, rate in system.rates.items()}).items():
        values[name] = number(formula, values)
    for name, rate in model.rates(x, p, free).items():
        if f"d {name}" in values:
            assert values[f"d {name}"] == pytest.approx(float(rate), rel=1e-11, abs=1e-13), name
    for name, value in model.outputs(x, p, 100.0, free).items():
        if name in system.outputs:
            assert values[name] == pytest.approx(float(value), rel=1e-12, abs=1e-12), name
    # Along the rates, the balance of free drug stays zero.
    if any(agent.kind == "binder" for agent in agents):
        step = 1e-5
        later = Values({name: x[name] + step * values[f"d {name}"] for name in x})
        moved = [f + step * values[f"d free_{k}"] for k, f in enumerate(free, start=1)]
        assert np.abs(free_equation(later, p, moved, model.slots)).max() < 1e-7 * max(1.0, *free)


def test_a_name_is_that_of_one_thing() -> None:
    system = system_of(REGIMENS["sequence"])
    names = [*system.parameters, *system.constants, *system.states, *system.steps]
    assert len(names) == len(set(names))
    assert all(name.isidentifier() for name in names)
    assert {"activation_T", "open_osteocyte", "formed_T", "S0"} <= set(names), "steps keep the names of the text"


def test_public_identifiers_are_of_things_that_the_model_holds() -> None:
    system = system_of("denosumab 60mg x1")
    named = {*system.states, *system.outputs, *ranklsim.agents()["name"]}
    assert set(identifiers()) <= named


# --- SBML ---
@pytest.mark.parametrize("name", list(REGIMENS))
def test_libsbml_finds_no_error_in_the_file(name: str, tmp_path: Path) -> None:
    sbml = pytest.importorskip("libsbml")
    path = ranklsim.export(REGIMENS[name], tmp_path / "model.xml", format="sbml")
    document = sbml.readSBMLFromFile(str(path))
    document.checkConsistency()
    log = document.getErrorLog()
    assert {log.getError(i).getSeverity() for i in range(log.getNumErrors())} <= {sbml.LIBSBML_SEV_WARNING}
    model = document.getModel()
    assert (document.getLevel(), document.getVersion()) == (3, 2)
    assert model.getNumEvents() == len(parse_regimen(REGIMENS[name]))
    kT = model.getParameter("kT")
    assert "fit `ensemble` (docs/calibration.md)" in kT.getNotesString()
    assert model.getUnitDefinition(kT.getUnits()).getName() == "1/yr"
    assert "uniprot:O14788" in model.getParameter("mRANKL_osteocyte").getAnnotationString()


@pytest.mark.slow
@pytest.mark.parametrize("name", list(REGIMENS))
def test_an_engine_that_nobody_here_wrote_finds_the_same_course(name: str, tmp_path: Path) -> None:
    expected = ours(REGIMENS[name])
    path = ranklsim.export(REGIMENS[name], tmp_path / "model.xml", format="sbml")
    found = with_roadrunner(path, ["CTX", "BMD_LS", "BMD_TH", "BMD_FN", "BMD_R13"])
    bmd, ctx = apart(found, expected)
    assert bmd < WITHIN_BMD
    assert ctx < WITHIN_CTX
    assert expected["CTX_pct"].min() < 40  # there is something to find


@pytest.mark.slow
def test_two_drugs_at_once_one_of_them_into_the_vein(tmp_path: Path) -> None:
    (tmp_path / "abc-301.toml").write_text(OWN_AGENT + 'route = "IV"\nF = 1\n')
    regimen = "denosumab 60mg every 6mo x4, with abc-301 60mg every 6mo x4"
    expected = ours(regimen, tmp_path)
    path = ranklsim.export(regimen, tmp_path / "model.xml", format="sbml", folder=tmp_path)
    found = with_roadrunner(path, ["CTX", "BMD_LS", "BMD_TH", "BMD_FN", "BMD_R13", "C_denosumab", "C_abc_301"])
    bmd, ctx = apart(found, expected)
    assert bmd < WITHIN_BMD
    assert ctx < WITHIN_CTX
    between = expected["month"] % 6 != 0  # where no dose is given at that moment
    for name, column in (("C_denosumab", "C_denosumab"), ("C_abc_301", "C_abc-301")):
        gap = np.abs(found[name] - expected[column])[between]
        assert gap.max() < 1e-4 * expected[column].max()


# --- R ---
def test_a_script_of_r_quotes_words_of_r() -> None:
    assert r_name("function") == "`function`"
    assert r_name("CTX") == "CTX"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("Rscript") is None, reason="needs R")
def test_r_finds_the_same_course(tmp_path: Path) -> None:
    lib = subprocess.run(["Rscript", "-e", "library(deSolve)"], capture_output=True)
    if lib.returncode:
        pytest.skip("needs R's package deSolve")
    path = ranklsim.export(REGIMENS["sequence"], tmp_path / "model.R", format="r", follow="0 mo")
    subprocess.run(["Rscript", path, tmp_path / "course.csv"], check=True)
    bmd, ctx = apart(pd.read_csv(tmp_path / "course.csv"), ours(REGIMENS["sequence"]))
    assert bmd < WITHIN_BMD
    assert ctx < WITHIN_CTX


# --- what can't be exported ---
@pytest.mark.parametrize(
    "source, more, said",
    [
        ("denosumb 60mg x1", {}, "unknown agent 'denosumb'; did you mean 'denosumab'?"),
        ("denosumab 60mg x1", {"format": "smbl"}, "unknown format 'smbl'; did you mean 'sbml'?"),
        ("denosumab 60mg x1", {"arm": "placebo"}, "a regimen has no arms"),
        ("modality", {}, "the trial 'modality' has the arms placebo, denosumab, mrankl, srankl; name one of them."),
        ("modality", {"arm": "plcebo"}, "did you mean 'placebo'?"),
        ("denosumab 60mg x1", {"covariates": {"zoledronate.f_bone": 0.5}}, "changes nothing"),
        (
            "denosumab 60mg x1",
            {"covariates": {"w_osteoblast_T": 0, "a_osteoblast_T": 0, "w_osteoblast_C": 0}},
            "osteoblast has no RANKL",
        ),
    ],
)
def test_what_cannot_be_exported_is_said_and_nothing_is_written(
    source: str, more: dict, said: str, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match="(?s)" + said.replace("(", r"\(").replace("?", r"\?")) as fault:
        ranklsim.export(source, tmp_path / "out", **{"format": "sbml", **more})
    assert len(fault.value.messages) == 1
    assert list(tmp_path.iterdir()) == []


def test_an_earlier_file_is_kept_unless_force_is_given(tmp_path: Path) -> None:
    target = tmp_path / "model.R"
    target.write_text("mine")
    with pytest.raises(BadInput, match="exists"):
        ranklsim.export("denosumab 60mg x1", target, format="r")
    assert target.read_text() == "mine"
    ranklsim.export("denosumab 60mg x1", target, format="r", force=True)
    assert "library(deSolve)" in target.read_text()
    with pytest.raises(BadInput, match="is a folder"):
        ranklsim.export("denosumab 60mg x1", tmp_path, format="r")


# --- PEtab ---
def evaluated(text: str, values: Any) -> float:
    """A formula of PEtab or SBML, of values by name."""
    formula = text.replace("^", "**")
    names = set(re.findall(r"[A-Za-z_]\w*", formula)) - {"exp", "ln"}
    known = {"exp": math.exp, "ln": math.log} | {name: float(values[name]) for name in names}
    return float(eval(formula, {}, known))


FEW = 12  # periods of an experiment that another engine plays: daily and weekly doses take it minutes


@pytest.fixture(scope="module")
def petab_problem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("petab") / "default"
    return ranklsim.export("default", folder, format="petab")


@pytest.mark.slow
def test_petablint_accepts_the_problem(petab_problem: Path) -> None:
    lint = pytest.importorskip("petab.v2.lint")
    assert not lint.lint_problem(str(petab_problem / "problem.yaml"))
    command = Path(sys.executable).parent / "petablint"
    done = subprocess.run([command, petab_problem / "problem.yaml"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    text = (petab_problem / "problem.yaml").read_text()
    assert "are correlated in the fit" in text
    left = pd.read_csv(petab_problem / "left_out.tsv", sep="\t")
    observations = chosen_evidence(load_spec("default")).observations
    measured = pd.read_csv(petab_problem / "measurements.tsv", sep="\t")
    assert len(observations) - len(left) == len(measured), "every figure is there, or listed with its reason"
    assert left["reason"].str.len().min() > 30


@pytest.mark.slow
@pytest.mark.parametrize("name", ["waiting-cells"])
def test_petablint_accepts_the_other_fits(name: str, tmp_path: Path) -> None:
    lint = pytest.importorskip("petab.v2.lint")
    folder = ranklsim.export(name, tmp_path / name, format="petab")
    assert not lint.lint_problem(str(folder / "problem.yaml"))
    fitted = set(pd.read_csv(folder / "parameters.tsv", sep="\t")["parameterId"])
    of_women = {p.name for p in load_spec(name).parameters if load_parameters().row(p.name)["group"] != "mice"}
    assert len(fitted) == len(of_women - {"rho"}), "no fitted parameter is lost that figures of women depend on"


@pytest.mark.slow
def test_the_objective_of_the_problem_at_the_default_is_ours(petab_problem: Path) -> None:
    v2, calculate = pytest.importorskip("petab.v2"), pytest.importorskip("petab.v2.calculate")
    roadrunner, sbml = pytest.importorskip("roadrunner"), pytest.importorskip("libsbml")
    problem = v2.Problem.from_yaml(petab_problem / "problem.yaml")
    model = roadrunner.RoadRunner(str(petab_problem / "model.xml"))
    model.integrator.relative_tolerance, model.integrator.absolute_tolerance = 1e-8, 1e-11
    document = sbml.readSBMLFromFile(str(petab_problem / "model.xml"))
    initial = {a.getSymbol(): sbml.formulaToL3String(a.getMath())
               for a in document.getModel().getListOfInitialAssignments()}  # fmt: skip
    order = [a for a in system_of_fit("default").constants if a in initial] + list(initial)
    changes = {condition.id: condition.changes for condition in problem.conditions}
    formulas = {o.id: str(o.formula) for o in problem.observables}
    rows = []
    few = [experiment for experiment in problem.experiments if len(experiment.periods) <= FEW]
    for experiment in few:
        model.resetAll()
        mine = [m for m in problem.measurements if m.experiment_id == experiment.id]
        periods = experiment.sorted_periods
        begin = {c.target_id: float(c.target_value) if c.target_value.is_number
                 else evaluated(str(c.target_value), model)
                 for i in periods[0].condition_ids for c in changes[i]}  # fmt: skip
        for name, value in begin.items():
            model[name] = value
        for name in dict.fromkeys(order):
            if name not in begin:
                model[name] = evaluated(initial[name], model)
        ends = [*(period.time for period in periods[1:]), max(m.time for m in mine) + 1.0]
        for period, end in zip(periods, ends, strict=True):
            if period is not periods[0]:
                new = {c.target_id: evaluated(str(c.target_value), model)
                       for i in period.condition_ids for c in changes[i]}  # fmt: skip
                for name, value in new.items():
                    model[name] = value
            here = [m for m in mine if period.time <= m.time < end]
            names = sorted({s.name for m in here for s in sp.sympify(formulas[m.observable_id]).free_symbols})
            model.timeCourseSelections = ["time", *names]
            times = sorted({period.time, end, *(m.time for m in here)})
            found = dict(zip(times, np.asarray(model.simulate(times=times)), strict=True))
            for m in here:
                values = dict(zip(names, found[m.time][1:], strict=True))
                rows.append({"observableId": m.observable_id, "experimentId": experiment.id, "time": m.time,
                             "simulation": evaluated(formulas[m.observable_id], values)})  # fmt: skip
    measured = problem.measurement_df
    measured = measured[measured["experimentId"].isin([experiment.id for experiment in few])]
    simulated = measured.merge(pd.DataFrame(rows).drop_duplicates(["observableId", "experimentId", "time"]))
    theirs = calculate.calculate_chi2(
        measured, simulated.drop(columns="measurement"), problem.observable_df, problem.parameter_df
    )
    spec = load_spec("default")
    fit = make_problem(spec)
    seen = fit.evidence.observations
    left = set(pd.read_csv(petab_problem / "left_out.tsv", sep="\t")["line"])
    told = seen["arm"].map(identifier).isin([experiment.id for experiment in few]) & ~seen["line"].isin(left)
    kept, sd, ours = told.to_numpy(), error_sd(seen), 0.0
    assert kept.sum() > 250
    predictor = Predictor(fit.evidence, fit.table, rtol=1e-8)
    for scenario in spec.scenarios:
        misfit = predictor(fit.table.overlaid(spec.fixed | scenario.fixed)) - fit.observed
        ours += scenario.weight * float(np.square(misfit / sd)[kept].sum())
    assert len(simulated) == len(measured) == kept.sum()
    assert theirs == pytest.approx(ours, rel=1e-4)


def system_of_fit(name: str) -> System:
    evidence = chosen_evidence(load_spec(name))
    met = dict.fromkeys(agent for arm in evidence.observations["arm"] for agent in evidence.arms[arm].agent_names)
    return make_system(load_parameters(), [evidence.agents[agent] for agent in met])


def test_an_export_of_a_fit_that_petab_cannot_hold_is_refused(tmp_path: Path) -> None:
    for name, said in (("between_patient", "describes patients"), ("defualt", "there is no such file")):
        with pytest.raises(BadInput, match=said):
            ranklsim.export(name, tmp_path / "out", format="petab")
    (tmp_path / "mine").mkdir()
    for force in (False, True):
        with pytest.raises(BadInput, match="exists"):
            ranklsim.export("default", tmp_path / "mine", format="petab", force=force)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
