"""Any numbers within the table's ranges, alone or all at once, are integrated, or refused for a named reason."""

from __future__ import annotations

import re
from unittest import mock

import extremes
import helpers
import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ranklsim.pkpd.agents import load_agent
from ranklsim.pkpd.dosing import parse_regimen
from ranklsim.pkpd.engine import reference
from ranklsim.pkpd.errors import RunFailed
from ranklsim.pkpd.limits import first_breach, limit_of, limits
from ranklsim.pkpd.parameters import load_parameters
from ranklsim.pkpd.simulation import Doses, simulate

TABLE = load_parameters()
AGENTS = [load_agent(name) for name in ("denosumab", "opg-fc", "zoledronate", "romosozumab", "teriparatide")]
ENDS = extremes.ranges(TABLE, AGENTS)
TIMES = np.linspace(0, 5 * 365.25, 11)

shares = st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 1))
some = st.dictionaries(st.sampled_from(sorted(ENDS.index)), shares, max_size=8)
whole = st.lists(shares, min_size=len(ENDS), max_size=len(ENDS)).map(lambda u: dict(zip(ENDS.index, u, strict=True)))
steps = st.tuples(
    st.integers(0, len(AGENTS) - 1),
    st.floats(0.25, 4),  # of the reference dose
    st.floats(0.25, 4),  # of the reference interval
    st.floats(0, 3 * 365),  # first dose
    st.integers(1, 40),
)


def person(at: dict[str, float]) -> pd.DataFrame:
    """Numbers at shares of their ranges."""
    values = {s: ENDS.low[s] + (ENDS.high[s] - ENDS.low[s]) * share for s, share in at.items()}
    return pd.DataFrame([{s: round(v) if s in extremes.WHOLE else v for s, v in values.items()}], index=[0])


def doses_of(steps: list[tuple[int, float, float, float, int]]) -> Doses:
    rows = []
    for a, dose, interval, first, count in steps:
        (one,) = parse_regimen(f"{AGENTS[a].name} {AGENTS[a].reference_regimen} x1")
        every = max(1.0, interval * one.every_days)
        rows += [(first + k * every, a, dose * one.dose_mg) for k in range(count)]
    day, agent, mg = (np.array(column) for column in zip(*rows, strict=True)) if rows else (np.empty(0),) * 3
    return Doses(np.zeros(len(rows), dtype=np.int64), day.astype(float), agent.astype(np.int64), mg.astype(float))


@settings(max_examples=100, deadline=None)
@example({}, [(0, 1.0, 1.0, 5e-324, 1)])  # an instant after the start is the start
@given(st.one_of(some, whole), st.lists(steps, max_size=1))
def test_any_vector_and_regimen_is_integrated_or_refused_for_a_reason(
    at: dict[str, float], steps: list[tuple[int, float, float, float, int]]
) -> None:
    reason, needed = "", AssertionError("the reference integrator was needed")
    try:
        with mock.patch.object(reference, "integrate", side_effect=needed):
            found = simulate(TABLE, person(at), AGENTS, doses_of(steps), TIMES, rtol=1e-5, atol=1e-7)
    except RunFailed as fault:
        reason, found = str(fault), {}
    assert not reason or re.match(r"patient in row 0: .* on day .* that are taken as possible", reason), reason
    for name, values in found.items():
        assert first_breach(name, values) is None, name


@pytest.mark.slow
def test_of_vectors_within_ranges_none_needs_the_reference() -> None:
    found = extremes.survey(
        TABLE, ["denosumab", "zoledronate", "teriparatide"], 100, hardest=3
    )  # 10,000 and the 50 hardest of them: `scripts/extremes.py`
    shares = found["shares"]
    assert not any(way.get("reference", 0.0) for way in shares.values())
    assert shares["one to five"]["integrated"] > 0.98
    assert shares["uniform"]["integrated"] > 0.6
    assert max(found["errors"]) < 10  # of what is allowed: PTH where it is steepest in calcium


def test_what_is_not_possible_is_refused_with_quantity_value_and_day() -> None:
    wild = {"EGFR": 5.0, "make_marrow": 20.0, "tc": 40.0, "J_bone": 10.0, "e_ren": 0.0, "s_ren": 1.0}
    with pytest.raises(
        RunFailed, match=r"row 7: serum calcium is \d\.\d+ mmol/L on day \d+\.\d, outside the 0\.8 to 6"
    ):
        simulate(TABLE, pd.DataFrame([wild], index=[7]), [], helpers.NO_DOSES, np.array([0.0, 720.0]))


def test_a_dose_beyond_anything_is_refused_on_its_day() -> None:
    teriparatide = load_agent("teriparatide")
    doses = Doses(np.zeros(1, int), np.array([30.0]), np.zeros(1, int), np.array([2000.0]))
    with pytest.raises(RunFailed, match=r"effect of an anabolic agent is .* on day 30\.0"):
        simulate(TABLE, pd.DataFrame(index=[0]), [teriparatide], doses, np.array([0.0, 60.0]))


def test_the_reference_solver_stops_at_its_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ranklsim.pkpd.simulation.MAX_STEPS", 5)
    monkeypatch.setattr(reference, "MOST_RATES", 50)
    with pytest.raises(
        RunFailed, match=r"row 0: the reference solver has spent its 50 evaluations .* by day .* where "
    ):
        simulate(TABLE, pd.DataFrame(index=[0]), [AGENTS[0]], helpers.q6m(60, 1), np.array([0.0, 90.0]))


def test_limits_hold_the_ranges_of_a_patients_start() -> None:
    """The table's ranges of values at the start lie within the limits, each of which has a source."""
    for start in ("CA0", "PTH0", "CTX0", "P1NP0", "BSAP0", "TRAP5B0", "BMD0_LS", "BMD0_TH", "BMD0_FN", "BMD0_R13"):
        row = TABLE.row(start)
        limit = limit_of(start.replace("0_", "_") if "_" in start else start[:-1])
        assert limit.low <= row["low"] < row["high"] <= limit.high, start
    assert len(limits()) > 10
