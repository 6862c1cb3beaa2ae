"""Every shipped agent runs at its reference regimen in every shipped population for ten years."""

from __future__ import annotations

import extremes
import pytest

from ranklsim.cohorts.people.population_file import list_populations
from ranklsim.pkpd.agents import agent_names
from ranklsim.pkpd.parameters import load_parameters


@pytest.mark.slow
@pytest.mark.parametrize("population", list_populations())
def test_every_agent_runs_for_ten_years_alone_and_after_denosumab(population: str) -> None:
    found = extremes.ten_years(load_parameters(), population, 40)  # 2,000 each: `scripts/extremes.py`
    assert len(found) == 2 * len(agent_names()) - 2
    assert not found["by reference"].any()
    assert found.notna().all(axis=None)
