"""The engine against CVODE at a relative tolerance of 1e-10, for random patients of every shipped trial."""

from __future__ import annotations

import numpy as np
import pytest
import references

from ranklsim.cohorts.conduct.allocation import allocate, strata_of
from ranklsim.cohorts.conduct.doses import as_doses, planned
from ranklsim.cohorts.conduct.patients import draw
from ranklsim.cohorts.protocol.trial import load_trial, shipped
from ranklsim.cohorts.running.execution import RTOL
from ranklsim.pkpd.agents import load_agent
from ranklsim.pkpd.biology.skeleton import NAMES
from ranklsim.pkpd.parameters import load_parameters
from ranklsim.pkpd.simulation import MARKERS, simulate
from ranklsim.pkpd.units import DAYS_PER_MONTH

PATIENTS = 80
TABLE = load_parameters()


@pytest.mark.slow
@pytest.mark.parametrize("name", shipped())
def test_bone_markers_and_drug_of_a_trial_are_those_of_the_reference(name: str) -> None:
    trial = load_trial(name)
    agents = [TABLE.apply(load_agent(agent)) for agent in trial.agent_names()]
    number = np.arange(1, PATIENTS + 1)
    people = draw(trial, TABLE, number)
    arms, _ = allocate(trial, strata_of(trial, people.covariates), {})
    doses = as_doses(planned(trial, number, arms), agents)
    times = np.asarray(trial.visits.months, dtype=float) * DAYS_PER_MONTH

    given = (TABLE, people.persons, agents, doses, times)
    fast = simulate(*given, rtol=RTOL, atol=RTOL / 100)
    slow = simulate(*given, rtol=1e-10, atol=1e-12, integrator=references.integrate)

    for site in NAMES:
        gap = 100 * np.abs(fast[f"BMD_{site}"] - slow[f"BMD_{site}"]) / slow[f"BMD_{site}"][:, :1]
        assert gap.max() < 0.001, f"{site}: percentage points"
    for marker in MARKERS:
        gap = 100 * np.abs(fast[marker] - slow[marker]) / slow[marker][:, :1]
        assert gap.max() < 0.05, f"{marker}: % of baseline"
    for agent in agents:
        if agent.kind == "binder":
            level = slow[f"C_{agent.name}"]
            gap = np.abs(fast[f"C_{agent.name}"] - level)
            # A millionth of a microgram per mL is ten thousand times below what assays see.
            assert (gap <= 0.001 * level + 1e-6).all(), f"{agent.name}: 0.1 %"
