"""Bisphosphonates and bone-forming agents: what is conserved, what follows from the form, and published figures."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from helpers import offset

from ranklsim.pkpd.agents import load_agent
from ranklsim.pkpd.biology import anabolics, bisphosphonates
from ranklsim.pkpd.biology.model import Model
from ranklsim.pkpd.biology.values import Slots, Values
from ranklsim.pkpd.dosing import parse_regimen
from ranklsim.pkpd.evidence.predictions import Predictor
from ranklsim.pkpd.evidence.records import load_evidence
from ranklsim.pkpd.fitting.spec import load_spec
from ranklsim.pkpd.parameters import load_parameters
from ranklsim.pkpd.typical import simulate_typical

ONE_OF_EACH = Slots(binders=0, bisphosphonates=1, anabolics=1)


def patient(**changed: float) -> tuple[Model, Values, Values]:
    """Model, constants and untreated state of the typical woman with room for zoledronate and teriparatide."""
    model = Model(ONE_OF_EACH)
    numbers = {f"{name}_1": value for agent in ("zoledronate", "teriparatide") for name, value in numbers_of(agent)}
    p = model.constants(load_parameters().values | numbers)
    return model, p, Values(model.start(p) | changed)


def numbers_of(agent: str) -> list[tuple[str, float]]:
    return list(load_agent(agent).values.items())


def course(regimen: str, months: list[float]) -> pd.DataFrame:
    """The typical woman in a trial, where every arm is given calcium and vitamin D."""
    return simulate_typical(parse_regimen(regimen), months=months, covariates={"supplements": 1}).set_index("month")


def test_the_fit_uses_every_row_of_agents_of_other_kinds() -> None:
    rows = load_evidence().observations
    kinds = {name: load_agent(name).kind for arm in load_evidence().arms.values() for name in arm.agent_names}
    other = {
        arm.id
        for arm in load_evidence().arms.values()
        if not {kinds[name] for name in arm.agent_names} <= {"binder", "none"}
    }
    assert load_spec("default").chosen(rows)[rows["arm"].isin(other)].all()


def test_denosumab_and_placebo_do_not_depend_on_numbers_of_other_agents() -> None:
    evidence = load_evidence()
    own = {arm.id for arm in evidence.arms.values() if set(arm.agent_names) <= {"denosumab", "placebo"}}
    alone = evidence.subset(evidence.observations["arm"].isin(own))
    table = load_parameters()
    moved = {
        f"{agent}.{field.field}": field.high
        for agent in ("alendronate", "zoledronate", "teriparatide", "blosozumab", "romosozumab")
        for field in load_agent(agent).provenance
        if field.origin == agent
    } | {name: table.row(name)["high"] for name in ("bp_adapt", "t_bp_adapt", "t_bp_blood", "bp_rest")}
    predictor = Predictor(alone)
    np.testing.assert_array_equal(predictor(table), predictor(table.overlaid(moved)))


def test_untreated_bone_binds_the_share_of_a_bisphosphonate_that_its_file_says() -> None:
    _, p, x = patient(blood_1=1.0)
    change = bisphosphonates.rates(x, p, 1.0, 1.0, ONE_OF_EACH)
    assert change["surface_1"] / -change["blood_1"] == pytest.approx(p.f_bone_1)


@pytest.mark.parametrize("turnover", [0.2, 1.0, 2.0])
def test_bone_and_urine_part_a_bisphosphonate_by_turnover(turnover: float) -> None:
    _, p, x = patient(blood_1=1.0)
    change = bisphosphonates.rates(x, p, turnover, turnover, ONE_OF_EACH)
    bound = change["surface_1"] / -change["blood_1"]
    assert bound / (1 - bound) == pytest.approx(turnover * p.f_bone_1 / (1 - p.f_bone_1))


def test_bisphosphonate_that_leaves_the_surface_is_buried_or_lost_and_what_is_buried_comes_back() -> None:
    _, p, x = patient(surface_1=1.0)
    covered = bisphosphonates.rates(x, p, 1.0, 1.0, ONE_OF_EACH)
    assert covered["buried_1"] == pytest.approx(-p.f_deep_1 * covered["surface_1"])
    _, p, x = patient(buried_1=1.0)
    freed = bisphosphonates.rates(x, p, 1.5, 1.0, ONE_OF_EACH)
    assert freed["surface_1"] == pytest.approx(-freed["buried_1"])
    assert -freed["buried_1"] == pytest.approx(1.5 * np.log(2) / p.t_deep_1)


def test_no_amount_kills_more_than_the_bound_and_adaptation_only_takes_away() -> None:
    _, p, x = patient(surface_1=1e9)
    most = bisphosphonates.kill(x, p, ONE_OF_EACH)
    assert most == pytest.approx(1 + p.max_kill_1, rel=1e-6)
    assert 1 < bisphosphonates.kill(Values(x | {"resistance": 5.0}), p, ONE_OF_EACH) < most


def test_bone_that_an_agent_forms_is_what_the_markers_see() -> None:
    model, p, rest = patient()
    _, _, treated = patient(recruited_1=1.0, adaptation_1=0.1)
    seen = model._formation(treated, p) - model._formation(rest, p)
    by_cells = {}
    for state, x in (("rest", rest), ("treated", treated)):
        change = model.rates(x, p, [])
        by_cells[state] = {b: change[f"osteoid_{b}"] + x[f"osteoid_{b}"] / p.tN for b in ("T", "C")}
    formed_T = (by_cells["treated"]["T"] - by_cells["rest"]["T"]) / p.turnover_T
    at_sites = (1 - p.dlT - p.phT) * (anabolics.matrix(treated, p, 1.0, ONE_OF_EACH) - 1)
    assert formed_T == pytest.approx(at_sites + anabolics.modelling(treated, p, 1.0, ONE_OF_EACH))
    whole_cycle = (anabolics.matrix(treated, p, 1.0, ONE_OF_EACH) - 1) / at_sites  # without its deficit
    assert seen == pytest.approx(p.turn_T * (formed_T - at_sites + at_sites * whole_cycle))
    assert by_cells["treated"]["C"] == by_cells["rest"]["C"]


def test_where_no_bone_is_formed_an_agent_makes_no_RANKL() -> None:
    _, p, x = patient(recruited_1=1.0)
    assert anabolics.synthesis(x, p, 0.0, ONE_OF_EACH) == 1
    felt = (1 + p.Kf) * 2 / (p.Kf + 2)
    assert anabolics.synthesis(x, p, 2.0, ONE_OF_EACH) == pytest.approx(np.exp(felt * p.e_rankl_1))
    assert anabolics.synthesis(x, p, 1e9, ONE_OF_EACH) <= np.exp((1 + p.Kf) * p.e_rankl_1)


def test_formation_falls_below_normal_while_what_has_worn_down_recovers() -> None:
    _, p, x = patient(adaptation_1=0.5)
    assert anabolics.matrix(x, p, 1.0, ONE_OF_EACH) == pytest.approx(1 / (1 + 0.5 * p.tolerance_1))
    assert anabolics.rates(x, p, ONE_OF_EACH)["adaptation_1"] < 0


@pytest.mark.parametrize(("level", "effect"), [(0.0, 0.0), (1.0, 1.0), (2.0, 1.5), (1e9, 3.0)])
def test_an_effect_saturates_in_its_level(level: float, effect: float) -> None:
    _, p, x = patient(level_1=level)
    p = Values(p | {"saturation_1": 0.5, "signal_fold_1": 0.6})
    assert anabolics.restraint(x, p, ONE_OF_EACH) == pytest.approx(0.6**effect)


TERIPARATIDE = course("teriparatide 20ug every 1day for 24mo", [1, 3, 6, 12, 24])
ROMOSOZUMAB = course("romosozumab 210mg every 1mo x12, denosumab 60mg every 6mo x2", [0.5, 12, 24])


@pytest.mark.parametrize(
    ("column", "month", "published", "tolerance"),  # DATA, doi:10.1210/jc.2013-4440; tolerance: two standard deviations
    [
        ("BMD_LS_pct", 12, 6.2, 2.2),
        ("BMD_LS_pct", 24, 9.5, 2.3),
        ("BMD_TH_pct", 24, 2.0, 1.4),
        ("CTX_pct", 6, 216, 50),
        ("CTX_pct", 24, 159, 41),
        ("P1NP_pct", 24, 170, 33),
    ],
)
def test_teriparatide(column: str, month: float, published: float, tolerance: float) -> None:
    assert TERIPARATIDE.loc[month, column] == pytest.approx(published, abs=tolerance)


@pytest.mark.xfail(strict=True, reason="CTX at month 1 is 0.2 points below baseline: resorption rises too late")
def test_formation_leads_resorption_under_teriparatide() -> None:
    early = TERIPARATIDE.loc[1]
    assert early["P1NP_pct"] - 100 > 2 * (early["CTX_pct"] - 100) > 0


def test_with_denosumab_teriparatide_adds_bone_and_no_resorption() -> None:
    """DATA: 12.9 % at the spine where denosumab alone gives 8.3 %; CTX and P1NP as under denosumab alone."""
    both = course("denosumab 60mg every 6mo x4, with teriparatide 20ug every 1day for 24mo", [12, 24])
    alone = course("denosumab 60mg every 6mo x4", [12, 24])
    assert both.loc[24, "BMD_LS_pct"] == pytest.approx(12.9, abs=1.5)
    assert both.loc[24, "BMD_LS_pct"] - alone.loc[24, "BMD_LS_pct"] > 3
    for marker in ("CTX_pct", "P1NP_pct"):
        np.testing.assert_allclose(both[marker], alone[marker], atol=10)


@pytest.mark.parametrize(
    ("column", "month", "published", "tolerance"),  # FRAME by Cosman 2022, doi:10.1007/s00198-021-06174-0
    [("BMD_LS_pct", 12, 13.1, 1.4), ("BMD_LS_pct", 24, 16.6, 1.4), ("BMD_TH_pct", 12, 6.0, 1.4)],
)
def test_romosozumab(column: str, month: float, published: float, tolerance: float) -> None:
    mean = ROMOSOZUMAB.loc[month, column] + offset("frame-romosozumab", column, month)
    assert mean == pytest.approx(published, abs=tolerance)


def test_romosozumab_forms_bone_for_some_months_and_lowers_resorption() -> None:
    assert ROMOSOZUMAB.loc[0.5, "P1NP_pct"] > 150
    assert ROMOSOZUMAB.loc[12, "P1NP_pct"] < 100
    assert (ROMOSOZUMAB["CTX_pct"] < 100).all()


def test_turnover_returns_on_unchanged_alendronate() -> None:
    """FLEX: CTX 24 % of baseline after three years, 55 to 64 % after six to eleven."""
    tablets = "alendronate 35mg every 1wk for 24mo, alendronate 70mg every 1wk for 108mo"
    years = course(tablets, [36, 72, 132])["CTX_pct"]
    assert years[36] < years[72] < years[132]
    assert years[132] == pytest.approx(64, abs=21)


def test_zoledronate_holds_less_bone_when_it_is_given_while_denosumab_still_acts() -> None:
    """Loss at the spine in 30 months: 3.8 % (Lehmann 2017), a third of the gain (Everts-Graber 2020)."""
    early = course("denosumab 60mg every 6mo x4, zoledronate 5mg x1", [24, 54])["BMD_LS_pct"]
    late = course("denosumab 60mg every 6mo x4, nothing 3mo, zoledronate 5mg x1", [24, 57])["BMD_LS_pct"]
    assert early[54] - early[24] < -1
    assert late[57] > early[54]
