"""The default is the centre of its ensemble in what trials are read for, not only parameter by parameter."""

from __future__ import annotations

import numpy as np
import pytest

from ranklsim.cohorts import uncertainty
from ranklsim.cohorts.protocol.trial import load_trial
from ranklsim.pkpd.agents import load_agent
from ranklsim.pkpd.parameters import load_parameters
from ranklsim.reports.csr.unknowns import endpoint_by_draw, headlines
from ranklsim.reports.layout.arms import view_arms

VECTORS = 200


@pytest.mark.slow
@pytest.mark.parametrize("name", ["modality", "exit", "discontinuation"])
def test_the_default_lies_in_the_central_half_of_its_ensemble_for_every_headline(name: str) -> None:
    trial, table = load_trial(name), load_parameters()
    agents = [load_agent(agent) for agent in trial.agent_names()]
    ends = {v.name: v.end for v in view_arms(trial.arms, {a.name: a for a in agents}) if v.end < trial.months}
    draws, _ = uncertainty.draws_of(trial, table, agents)
    over = uncertainty.ensemble(trial, table, agents, draws.head(VECTORS + 1), rtol=1e-5)
    gain = next(e for e in trial.changes if e.measure == "BMD_LS" and e.kind == "percent")
    endpoints = [(gain, None, endpoint_by_draw(over, gain.measure, gain.from_month, gain.to_month, None))]
    found = headlines(over, endpoints, ends, "treatment")
    outside = []
    for (result, arm), one in found.groupby(["result", "arm"]):
        default = one.loc[one["draw"] == 0, "value"].iloc[0]
        drawn = one.loc[one["draw"] != 0, "value"].dropna()
        low, high = drawn.quantile(0.25), drawn.quantile(0.75)
        if np.isfinite(default) and not low <= default <= high:
            outside.append(f"{result} of {arm}: {default:.2f} outside {low:.2f} to {high:.2f}")
    assert not outside, outside
