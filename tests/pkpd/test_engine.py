"""What must not change the results of the fast engine, and what it refuses.

The engine against scipy is a requirement of `ranklsim qualify` (`tests/reports/test_qualify.py`).
"""

from __future__ import annotations

import helpers
import numpy as np
import pandas as pd
import pytest

from ranklsim.pkpd.agents import load_agent
from ranklsim.pkpd.errors import BadInput, RunFailed
from ranklsim.pkpd.parameters import load_parameters
from ranklsim.pkpd.simulation import Doses, simulate

TABLE = load_parameters()
DENOSUMAB, MRANKL, ZOLEDRONATE = (load_agent(n) for n in ("denosumab", "mrankl-selective", "zoledronate"))
MONTHS = np.array([0, 0.1, 1, 6, 12, 18, 20, 24, 30, 36]) * 30.4375


@pytest.mark.parametrize("column", ["denosumab.CL", "denosumab.F", "denosumab.KD_mRANKL", "denosumab.molar_mass"])
def test_a_person_with_an_agents_number_of_her_own_is_one_under_that_other_agent(column: str) -> None:
    value, field = 1.3 * TABLE.row(column)["value"], column.split(".")[1]
    persons = pd.DataFrame({column: [TABLE.row(column)["value"], value], "tW": [200.0, 300.0]})
    doses = helpers.q6m(60, 2, patients=2)
    heir = load_agent("mrankl-selective")  # takes over CL, F, ... of denosumab, but not its affinity
    follow = helpers.together(doses, Doses(np.arange(2), np.full(2, 400.0), np.full(2, 1), np.full(2, 60.0)))
    found = simulate(TABLE, persons, [DENOSUMAB, heir], follow, MONTHS)
    other = [helpers.other_affinities(DENOSUMAB, **{field: value}), heir]
    if column in heir.numbers:
        other[1] = helpers.other_affinities(heir, **{field: value})
    for i, agents in enumerate([[DENOSUMAB, heir], other]):
        mine = follow.patient == i
        given = Doses(follow.patient[mine] - i, follow.time[mine], follow.agent[mine], follow.amount[mine])
        alone = simulate(TABLE, persons[["tW"]].iloc[[i]], agents, given, MONTHS)
        for name, values in alone.items():
            assert np.array_equal(values[0], found[name][i]), name
    assert not np.array_equal(found["C_denosumab"][0], found["C_denosumab"][1])


def test_a_vanishing_dose_does_what_no_dose_does() -> None:
    none = simulate(TABLE, pd.DataFrame(index=[0]), [], helpers.NO_DOSES, MONTHS)
    least = simulate(TABLE, pd.DataFrame(index=[0]), [DENOSUMAB], helpers.q6m(1e-9, 2), MONTHS)
    for name in ("CTX", "BMD_LS", "SIGNAL_T"):
        assert np.allclose(none[name], least[name], rtol=1e-6), name


def test_an_agent_with_denosumabs_affinities_for_both_forms_is_denosumab() -> None:
    twin = helpers.other_affinities(MRANKL, **DENOSUMAB.values)
    a = simulate(TABLE, pd.DataFrame(index=[0]), [DENOSUMAB], helpers.q6m(60, 4), MONTHS)
    b = simulate(TABLE, pd.DataFrame(index=[0]), [twin], helpers.q6m(60, 4), MONTHS)
    for name, values in a.items():
        assert np.array_equal(values, b[name.replace("C_denosumab", "C_mrankl-selective")]), name


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"amount": np.array([-60.0])}, "positive"),
        ({"time": np.array([-1.0])}, "before day 0"),
        ({"patient": np.array([5])}, "outside 0 to 0"),
        ({"agent": np.array([3])}, "outside 0 to 0"),
    ],
)
def test_bad_doses_are_named(change: dict[str, np.ndarray], sentence: str) -> None:
    good = {"patient": np.array([0]), "time": np.array([0.0]), "agent": np.array([0]), "amount": np.array([60.0])}
    with pytest.raises(BadInput, match=sentence):
        simulate(TABLE, pd.DataFrame(index=[0]), [DENOSUMAB], Doses(**(good | change)), MONTHS)


def test_bad_times_and_unknown_parameters_are_named() -> None:
    with pytest.raises(BadInput, match="ascend"):
        simulate(TABLE, pd.DataFrame(index=[0]), [], helpers.NO_DOSES, np.array([5.0, 1.0]))
    with pytest.raises(BadInput, match="unknown parameter 'kTT'; did you mean 'kT'"):
        simulate(TABLE, pd.DataFrame({"kTT": [1.0]}), [], helpers.NO_DOSES, MONTHS)
    with pytest.raises(BadInput, match="agent 'denosumab' has no number 'CLL'"):
        simulate(TABLE, pd.DataFrame({"denosumab.CLL": [1.0]}), [DENOSUMAB], helpers.NO_DOSES, MONTHS)


def test_a_patient_that_cannot_be_integrated_is_an_error_and_not_a_number_in_a_table() -> None:
    with pytest.raises(RunFailed, match="patient 0"):
        simulate(TABLE, pd.DataFrame({"tQ": [np.nan]}), [DENOSUMAB], helpers.q6m(60, 1), MONTHS)


def test_who_cannot_be_integrated_by_the_engine_is_by_the_reference_and_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    persons = helpers.anyone(TABLE, 3, seed=4)
    doses, months = helpers.q6m(60, 1, patients=3), np.array([0.0, 30.0, 90.0])
    right = simulate(TABLE, persons, [DENOSUMAB], doses, months)
    monkeypatch.setattr("ranklsim.pkpd.simulation.MAX_STEPS", 5)
    told: list[int] = []
    found = simulate(TABLE, persons, [DENOSUMAB], doses, months, retried=told.append)
    assert sorted(told) == [0, 1, 2]
    for name in ("CTX", "BMD_LS", "C_denosumab"):
        assert np.allclose(found[name], right[name], rtol=1e-4, atol=1e-6), name


def test_sampling_more_often_changes_no_value() -> None:
    persons, doses = helpers.anyone(TABLE, 2, seed=5), helpers.q6m(60, 3, patients=2)
    rare = simulate(TABLE, persons, [DENOSUMAB], doses, MONTHS)
    often = simulate(TABLE, persons, [DENOSUMAB], doses, np.union1d(MONTHS, np.arange(0.0, MONTHS[-1], 7.0)))
    at = np.searchsorted(np.union1d(MONTHS, np.arange(0.0, MONTHS[-1], 7.0)), MONTHS)
    for name, values in rare.items():
        assert np.array_equal(values, often[name][:, at]), name
