"""What the engine makes of patients from anywhere in what the parameter table and the agents' files call plausible.

    .venv/bin/python scripts/extremes.py                     10,000 vectors; 2,000 patients a population: 10 minutes
    .venv/bin/python scripts/extremes.py --vectors 400 --patients 50

Vectors whose numbers cannot belong together (`ParameterTable.implausible`) are drawn again. Prints how many of the
others are integrated, refused for a named physiological reason, or left to the reference solver, which none should
need; the error of the hardest against CVODE; and what ten years of every shipped agent give in every shipped
population, alone and after two years of denosumab.
"""

from __future__ import annotations

import argparse
import contextlib
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import references
from numpy.typing import NDArray

from ranklsim.cohorts.conduct.patients import draw
from ranklsim.cohorts.people.population_file import list_populations
from ranklsim.cohorts.protocol.trial import load_trial
from ranklsim.cohorts.running.execution import RTOL
from ranklsim.pkpd import simulation
from ranklsim.pkpd.agents import Agent, agent_names, load_agent
from ranklsim.pkpd.biology.skeleton import NAMES
from ranklsim.pkpd.dosing import parse_regimen
from ranklsim.pkpd.engine.compiler import compiled
from ranklsim.pkpd.errors import RunFailed
from ranklsim.pkpd.parameters import ParameterTable, load_parameters
from ranklsim.pkpd.simulation import MARKERS, Doses, simulate
from ranklsim.pkpd.units import DAYS_PER_MONTH
from ranklsim.reports.qualify.solver import WAYS, vectors

YEARS = 10
BEFORE = 24  # months of denosumab before another agent


def regimens(agents: list[Agent], n: int, rng: np.random.Generator) -> Doses:
    """One or two agents a person, overlapping or not; doses and intervals of 1/4 to 4 times the reference regimen."""
    rows: list[tuple[int, float, int, float]] = []
    for i in range(n):
        begin = 0.0
        for a in rng.choice(len(agents), rng.integers(1, 3), replace=False):
            (reference,) = parse_regimen(f"{agents[a].name} {agents[a].reference_regimen} x1")
            mg = reference.dose_mg * 4.0 ** rng.uniform(-1, 1)
            every = max(1.0, reference.every_days * 4.0 ** rng.uniform(-1, 1))
            count = int(rng.uniform(0.05, 0.6) * YEARS * 365 / every) + 1
            rows += [(i, begin + k * every, int(a), mg) for k in range(count)]
            begin += count * every * rng.uniform()
    patient, day, agent, mg = (np.array(column) for column in zip(*rows, strict=True))
    return Doses(patient.astype(np.int64), day, agent.astype(np.int64), mg)


def attempt(table: ParameterTable, persons: pd.DataFrame, agents: list[Agent], doses: Doses) -> pd.Series:
    """What becomes of each person: "" if integrated, the state that left its limits, or "reference"."""
    agents = [table.apply(agent) for agent in agents]
    met = simulation._Meetings(agents, doses, len(persons))
    times = np.linspace(0, YEARS * 365.25, 4 * YEARS + 1)
    found = np.full(len(persons), "", dtype=object)
    for slots, rows in met.groups():
        group = simulation._Group(table, persons, met, slots, rows, {}, compiled(slots))
        states = np.empty((len(rows), len(times), len(group.kernel.STATES)))
        status, halt = np.zeros(len(rows), dtype=np.int64), np.zeros((len(rows), 3))
        group.kernel.integrate(
            group.start, group.p, group.steep, group.low, group.high, group.first, group.time, group.state, group.added,
            times, RTOL, RTOL / 100, simulation.MAX_STEPS, states, status, halt,
        )  # fmt: skip
        names = np.array(group.kernel.STATES, dtype=object)[halt[:, 1].astype(int)]
        found[rows] = np.where(status == group.kernel.OUTSIDE, names, np.where(status > 0, "reference", ""))
    return pd.Series(found)


def misfit(found: dict[str, Any], right: dict[str, Any]) -> NDArray[np.float64]:
    """Largest error of each person over what is allowed.

    BMD 0.001 points; markers 0.05 % of baseline, or of the value where that is more; drug 0.1 % and 1 pg/mL.
    """
    worst = np.zeros(len(right["CTX"]))
    for name, exact in right.items():
        if name in MARKERS:
            allowed = 5e-4 * np.maximum(np.abs(exact), exact[:, :1])
        elif name.removeprefix("BMD_") in NAMES:
            allowed = 1e-5 * exact[:, :1]
        elif name.startswith("C_"):
            allowed = 1e-3 * exact + 1e-6
        else:
            continue
        worst = np.maximum(worst, (np.abs(found[name] - exact) / allowed).max(axis=1))
    return worst


def survey(table: ParameterTable, names: list[str], n: int, hardest: int, seed: int = 1) -> dict[str, Any]:
    """Shares of `n` persons drawn in each of `WAYS`, and errors of the `hardest` of all that are integrated.

    The hardest are those whose results move most between the tolerance of runs and a tenth of it, under denosumab. One
    that CVODE cannot integrate has no error.
    """
    agents = [load_agent(name) for name in names]
    rng, shares, kept = np.random.default_rng(seed), {}, []
    for way in WAYS:
        persons = vectors(table, agents, n, way, rng)
        fate = attempt(table, persons, agents, regimens(agents, n, rng))
        counts = Counter(state.partition("_")[0] for state in fate if state)
        shares[way] = {"integrated": float((fate == "").mean())} | {name: c / n for name, c in counts.most_common()}
        kept.append(persons[(fate == "").to_numpy()].iloc[: 10 * hardest])
    persons = pd.concat(kept, ignore_index=True)
    return {"persons": len(WAYS) * n, "shares": shares, "errors": _errors(table, persons, hardest)}


def _errors(table: ParameterTable, persons: pd.DataFrame, hardest: int) -> list[float]:
    times, drug = np.linspace(0, 5 * 365.25, 61), [load_agent("denosumab")]

    def run(persons: pd.DataFrame, rtol: float, **how: Any) -> dict[str, Any]:
        n = len(persons)
        doses = Doses(
            np.repeat(np.arange(n), 6), np.tile(np.arange(6) * 182.625, n), np.zeros(6 * n, int), np.full(6 * n, 60.0)
        )
        return simulate(table, persons, drug, doses, times, rtol=rtol, atol=rtol / 100, **how)

    refused: list[int] = []
    run(persons, RTOL, refused=lambda i, _: refused.append(i))
    persons = persons.drop(index=refused).reset_index(drop=True)
    moved = misfit(run(persons, RTOL), run(persons, RTOL / 10))
    worst = persons.iloc[np.argsort(-moved)[:hardest]].reset_index(drop=True)
    errors = []
    for k in range(len(worst)):
        one = worst.iloc[[k]].reset_index(drop=True)
        with contextlib.suppress(RunFailed):  # where CVODE stops, nothing is known
            errors.append(float(misfit(run(one, RTOL), run(one, 1e-10, integrator=references.integrate))[0]))
    return sorted(errors, reverse=True)


def ten_years(table: ParameterTable, population: str, patients: int) -> pd.DataFrame:
    """Every shipped agent at its reference regimen for `YEARS`, alone and after denosumab, in one population.

    Returns a row for each course: agent, months of denosumab before it, patients who were left to the reference solver,
    and the largest CTX, P1NP, calcium and hip BMD of any patient at any visit. Whoever is refused ends it.
    """
    trial = load_trial("modality")
    trial = replace(trial, population=replace(trial.population, name=population, eligible={}))
    persons = draw(trial, table, np.arange(1, patients + 1)).persons
    months, first = np.arange(0, 12 * YEARS + 1, 6.0), load_agent("denosumab")
    rows = []
    for name in agent_names():
        for before in (0, BEFORE) if name not in ("placebo", first.name) else (0,):
            agent = load_agent(name)
            (step,) = parse_regimen(f"{name} {agent.reference_regimen or 'every 6mo'} for {months[-1] - before}mo")
            day = (
                np.concatenate([np.arange(0, before, 6), before + step.times_days() / DAYS_PER_MONTH]) * DAYS_PER_MONTH
            )
            which = (np.arange(len(day)) >= before / 6).astype(int)
            doses = Doses(
                np.repeat(np.arange(patients), len(day)), np.tile(day, patients), np.tile(which, patients),
                np.tile(np.where(which == 1, step.dose_mg or 1.0, 60.0), patients),
            )  # fmt: skip
            told: list[int] = []
            found = simulate(
                table, persons, [first, agent], doses, months * DAYS_PER_MONTH, rtol=RTOL, atol=RTOL / 100,
                retried=told.append,
            )  # fmt: skip
            most = {quantity: float(found[quantity].max()) for quantity in ("CTX", "P1NP", "CA", "BMD_TH")}
            rows.append({"agent": name, "before": before, "by reference": len(told)} | most)
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--vectors", type=int, default=10_000, help="vectors drawn, a quarter in each way (10,000)")
    parser.add_argument("--patients", type=int, default=2_000, help="patients of each population (2,000)")
    parser.add_argument("--hardest", type=int, default=50, help="vectors compared with CVODE (50)")
    given = parser.parse_args()
    table = load_parameters()
    found = survey(
        table, [name for name in agent_names() if name != "placebo"], given.vectors // len(WAYS), given.hardest
    )
    for way, shares in found["shares"].items():
        print(f"{way}: " + ", ".join(f"{name} {100 * share:.2f} %" for name, share in shares.items()))
    errors = found["errors"]
    print(f"{len(errors)} of the {given.hardest} hardest against CVODE, which stops on the others: error over what is "
          f"allowed, median {np.median(errors):.2f}, largest {errors[0]:.2f}, {sum(error > 1 for error in errors)} "
          "above 1", flush=True)  # fmt: skip
    for population in list_populations():
        print(f"\n{population}\n{ten_years(table, population, given.patients).to_string(index=False)}", flush=True)


if __name__ == "__main__":
    main()
