"""The fast engine against scipy on the same text, and what must not change its results."""

from __future__ import annotations

import helpers
import numpy as np
import pandas as pd
import pytest

from ranklsim.pkpd.agents import load_agent
from ranklsim.pkpd.biology.binding import free_drug
from ranklsim.pkpd.biology.ligand import free_equation
from ranklsim.pkpd.biology.values import Slots, Values
from ranklsim.pkpd.engine.compiler import compiled
from ranklsim.pkpd.engine.reference import integrate, right_hand_side
from ranklsim.pkpd.errors import BadInput, RunFailed
from ranklsim.pkpd.parameters import load_parameters
from ranklsim.pkpd.simulation import Doses, dose_event, patient_constants, simulate

TABLE = load_parameters()
DENOSUMAB, MRANKL, ZOLEDRONATE = (load_agent(n) for n in ("denosumab", "mrankl-selective", "zoledronate"))
MONTHS = np.array([0, 0.1, 1, 6, 12, 18, 20, 24, 30, 36]) * 30.4375


def constants_of_one(table, persons, agents, i=0):  # type: ignore[no-untyped-def]
    model, p, slot = patient_constants(table, persons.iloc[[i]], agents)
    return model, Values({name: float(np.asarray(v).item()) for name, v in p.items()}), slot


@pytest.mark.parametrize("slots", [Slots(1, 0, 0), Slots(2, 1, 1)], ids=str)
def test_compiled_rates_and_jacobian_are_those_of_the_text(slots: Slots) -> None:
    agents = [DENOSUMAB, MRANKL][: slots.binders]
    agents += [ZOLEDRONATE, load_agent("teriparatide")][: slots.bisphosphonates + slots.anabolics]
    kernel = compiled(slots)
    model, p, _ = constants_of_one(TABLE, helpers.anyone(TABLE, 1), agents)
    rng = np.random.default_rng(7)
    x = np.array(list(model.start(p).values())) * rng.uniform(0.5, 2.0, len(model.states)) + 0.1
    held = kernel.hold(np.array([p[name] for name in kernel.PARAMETERS]))
    rates, jacobian = np.empty(len(x)), np.empty((len(x), len(x)))
    kernel.rates(x, held, rates)
    kernel.jacobian(x, held, jacobian)
    assert np.allclose(rates, right_hand_side(model, p, x), rtol=1e-11, atol=1e-14)
    for j in range(len(x)):
        step = 1e-6 * max(1e-3, abs(x[j]))
        up, down = x.copy(), x.copy()
        up[j] += step
        down[j] -= step
        slope = (right_hand_side(model, p, up) - right_hand_side(model, p, down)) / (2 * step)
        assert np.allclose(jacobian[:, j], slope, rtol=2e-5, atol=1e-7), list(model.states)[j]


@pytest.mark.slow
def test_fast_engine_agrees_with_scipy_on_random_patients() -> None:
    """BMD within 0.001 percentage points, markers within 0.05 % of baseline, drug within 0.1 %."""
    persons = helpers.anyone(TABLE, 2, seed=11)
    doses = helpers.together(
        helpers.q6m(60, 3, patients=2),
        Doses(np.arange(2), np.full(2, 18 * 30.4375), np.full(2, 1), np.full(2, 60.0)),
        Doses(np.arange(2), np.full(2, 20 * 30.4375), np.full(2, 2), np.full(2, 5.0)),
    )
    agents = [DENOSUMAB, MRANKL, ZOLEDRONATE]
    fast = simulate(TABLE, persons, agents, doses, MONTHS)
    for i in range(2):
        model, p, slot = constants_of_one(TABLE, persons, agents, i)
        mine = np.flatnonzero(doses.patient == i)
        events = [
            (
                doses.time[d],
                *dose_event(model, p, slot[agents[doses.agent[d]].name], agents[doses.agent[d]], doses.amount[d]),
            )
            for d in mine
        ]
        states = integrate(model, p, events, MONTHS, rtol=1e-9, atol=1e-11)
        slow = model.outputs(Values(zip(model.states, states.T, strict=True)), p, MONTHS)
        for site in ("LS", "TH", "FN", "R13"):
            gap = 100 * np.abs(fast[f"BMD_{site}"][i] - slow[f"BMD_{site}"]) / p[f"BMD0_{site}"]
            assert gap.max() < 1e-3, site
        for marker in ("CTX", "P1NP", "BSAP", "TRAP5B", "CA", "PTH"):
            gap = 100 * np.abs(fast[marker][i] - slow[marker]) / slow[marker][0]
            assert gap.max() < 0.05, marker
        drug = slow["free_1"] * DENOSUMAB.values["molar_mass"] / 1e3
        assert np.allclose(fast["C_denosumab"][i], drug, rtol=1e-3, atol=1e-6)


def test_results_do_not_change_with_order_batch_or_workers() -> None:
    n = 75  # more than two batches
    persons = helpers.anyone(TABLE, n, seed=2)
    doses = helpers.q6m(60, 2, patients=n)
    whole = simulate(TABLE, persons, [DENOSUMAB], doses, MONTHS)
    threaded = simulate(TABLE, persons, [DENOSUMAB], doses, MONTHS, workers=2)
    backwards = simulate(TABLE, persons[::-1], [DENOSUMAB], doses, MONTHS)
    alone = simulate(TABLE, persons.iloc[[40]], [DENOSUMAB], helpers.q6m(60, 2), MONTHS)
    shuffled = np.random.default_rng(0).permutation(len(doses.time))
    mixed = simulate(
        TABLE, persons, [DENOSUMAB],
        Doses(*(getattr(doses, f)[shuffled] for f in ("patient", "time", "agent", "amount"))), MONTHS,
    )  # fmt: skip
    for name, values in whole.items():
        assert np.array_equal(values, threaded[name]), name
        assert np.array_equal(values, backwards[name][::-1]), name
        assert np.array_equal(values[40], alone[name][0]), name
        assert np.array_equal(values, mixed[name]), name


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


def test_no_dose_and_placebo_are_the_same() -> None:
    placebo = load_agent("placebo")
    none = simulate(TABLE, pd.DataFrame(index=[0]), [], helpers.NO_DOSES, MONTHS)
    given = simulate(TABLE, pd.DataFrame(index=[0]), [placebo], helpers.q6m(1, 6), MONTHS)
    for name, values in none.items():
        assert np.array_equal(values, given[name]), name


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


def test_half_a_dose_of_each_of_two_equal_drugs_is_one_dose_of_either() -> None:
    twin = helpers.other_affinities(MRANKL, **DENOSUMAB.values)
    one = simulate(TABLE, pd.DataFrame(index=[0]), [DENOSUMAB], helpers.q6m(60, 3), MONTHS, rtol=1e-9)
    two = simulate(
        TABLE, pd.DataFrame(index=[0]), [DENOSUMAB, twin],
        helpers.together(helpers.q6m(30, 3), helpers.q6m(30, 3, agent=1)), MONTHS, rtol=1e-9,
    )  # fmt: skip
    for name in ("CTX", "OCC_mRANKL", "OCC_sRANKL", "sRANKL_total", "BMD_LS"):
        assert np.allclose(one[name], two[name], rtol=1e-6), name
    assert np.allclose(two["C_denosumab"], two["C_mrankl-selective"], rtol=1e-6)


@pytest.mark.parametrize("drugs", [1, 2, 3])
def test_free_drug_solves_its_balance_over_many_decades(drugs: int) -> None:
    slots, rng = Slots(drugs), np.random.default_rng(drugs)
    for _ in range(300):
        total, pool = 10.0 ** rng.uniform(-6, 3, drugs), 10.0 ** rng.uniform(-3, 1.5, 4)
        soluble, am, asol = (
            10.0 ** rng.uniform(-4, 1),
            10.0 ** rng.uniform(-2, 2, (drugs, 4)),
            10.0 ** rng.uniform(-1, 3.5, drugs),
        )
        free, work = np.empty(drugs), np.empty((drugs, drugs + 2))
        free_drug(total, pool, soluble, am, asol, free, work)
        sources = ("osteocyte", "marrow", "osteoblast", "lymphocyte")
        x = Values({f"mRANKL_{s}": pool[j] for j, s in enumerate(sources)} | {"sRANKL": soluble})
        p = Values({f"am_{s}_{k + 1}": am[k, j] for k in range(drugs) for j, s in enumerate(sources)})
        p |= {f"as_{k + 1}": asol[k] for k in range(drugs)}
        x |= {f"drug_{k + 1}": total[k] for k in range(drugs)}
        assert (free > 0).all()
        assert (free <= total).all()
        assert np.abs(np.array(free_equation(x, p, list(free), slots)) / total).max() < 1e-10


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
