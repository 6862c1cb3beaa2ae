"""Sensitivity of a trial: what is asked, that it is what `simulate` says, and that nothing but the seed changes it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ranklsim import simulate
from ranklsim.cohorts import portions
from ranklsim.cohorts.conduct.patients import typical
from ranklsim.cohorts.protocol.trial import load_trial
from ranklsim.cohorts.uncertainty import draws_of, ensemble
from ranklsim.pkpd.agents import load_agent
from ranklsim.pkpd.errors import BadInput, RunFailed
from ranklsim.pkpd.parameters import load_parameters
from ranklsim.pkpd.ranges import chosen, ranges
from ranklsim.pkpd.units import DAYS_PER_MONTH
from ranklsim.reports.sensitivity import analyse as module
from ranklsim.reports.sensitivity.analyse import analyse, outcome_values
from ranklsim.reports.sensitivity.sample import Question, Settings, ask, evaluate

TABLE = load_parameters()
SMALL = Settings(trajectories=2, samples=8, keep=2, seed=3)


def asked(name: str, only: tuple[str, ...] = ("sig", "mix", "denosumab.block_shedding")) -> Question:
    trial = load_trial(name)
    agents = [load_agent(agent) for agent in trial.agent_names()]
    return ask(trial, TABLE, agents, chosen(ranges(TABLE, agents), list(only), None))


@pytest.fixture(scope="module")
def question() -> Question:
    """Of a trial with denosumab and an mRANKL-selective agent, cut short."""
    whole = asked("modality")
    trial = replace(whole.trial, months=50.0, arms=whole.trial.arms[:3])
    return ask(trial, TABLE, whole.agents, whole.moved)


def test_active_arms_are_asked_and_hypothetical_ones_compared_with_the_known_one(question: Question) -> None:
    assert question.arms == ["denosumab", "mrankl"]
    assert question.compared == {"mrankl": "denosumab"}
    names = set(question.outcomes["outcome"])
    assert {"denosumab.peak_CTX", "mrankl.kept_LS_12", "mrankl-denosumab.peak_CTX"} <= names
    assert "mrankl.kept_LS_24" not in names  # watched for 14 months
    assert not any(name.startswith("placebo") for name in names)
    exit_ = asked("exit")
    assert set(exit_.compared.values()) == {"nothing"}  # the control, which had denosumab before
    assert set(exit_.ends.values()) == {24.0}
    doses = asked("dose_ranging").compared  # each against the same dose
    assert len(doses) == 3
    assert all(arm.removeprefix("mrankl") == versus.removeprefix("dmab") for arm, versus in doses.items())


def test_without_months_after_treatment_only_gains_are_asked_and_without_an_agent_nothing() -> None:
    of_freedom = asked("freedom")
    named = [endpoint.name for endpoint in of_freedom.endpoints]
    assert list(of_freedom.outcomes["measure"]) == [*named, "gain_LS", "gain_TH"]
    trial = load_trial("freedom")
    agents = [load_agent(agent) for agent in trial.agent_names()]
    with pytest.raises(BadInput, match="no arm is given an active agent"):
        ask(replace(trial, arms=trial.arms[:1]), TABLE, agents, asked("freedom").moved)


def test_outcomes_are_those_of_the_same_curves_in_a_run(question: Question) -> None:
    """Draws of `uncertainty.ensemble`, which the trial report shows, give the outcomes that are analysed here."""
    trial = replace(question.trial, uncertainty_draws=3)
    draws, _ = draws_of(trial, TABLE, question.agents)
    curves = ensemble(trial, TABLE, question.agents, draws)
    found = evaluate(question, draws.drop(columns="draw"))
    own = curves[curves["arm"] == "mrankl"].pivot(index="draw", columns="month", values="BMD_LS_pct")
    assert found["mrankl.gain_LS"].to_numpy() == pytest.approx(own[36.0].to_numpy(), abs=1e-4)
    kept = 100 * own[48.0] / own[36.0]
    assert found["mrankl.kept_LS_12"].to_numpy() == pytest.approx(kept.to_numpy(), rel=1e-3)
    ctx = curves[curves["arm"] == "denosumab"].pivot(index="draw", columns="month", values="CTX_pct")
    monthly = ctx[[month for month in ctx.columns if month >= 36]].max(axis=1).to_numpy()
    assert (found["denosumab.peak_CTX"].to_numpy() >= monthly - 1e-3).all()  # months are closer here
    assert found["denosumab.peak_CTX"].to_numpy() == pytest.approx(monthly, rel=0.02)


def test_numbers_of_an_agent_move_every_agent_that_takes_them_over(question: Question) -> None:
    found = evaluate(question, pd.DataFrame({"denosumab.CL": [0.0804, 0.1036]}))
    for arm in question.arms:
        assert found[f"{arm}.gain_LS"][0] > found[f"{arm}.gain_LS"][1] + 1e-3


def test_months_back_beyond_the_last_month_count_as_that_month(question: Question) -> None:
    raw = pd.DataFrame({name: [1.0, 2.0] for name in (f"{a}.{m}" for a in question.arms for m in _measures(question))})
    raw["mrankl.back_LS"] = [np.inf, 3.0]
    y = outcome_values(question, raw)
    assert y["mrankl.back_LS"].tolist() == [14.0, 3.0]
    assert y["mrankl-denosumab.back_LS"].tolist() == [13.0, 1.0]


def _measures(question: Question) -> list[str]:
    return list(dict.fromkeys(question.outcomes["measure"]))


@pytest.mark.slow
def test_workers_and_interruption_change_nothing(
    question: Question, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(portions, "PORTION", 10)
    told: list[tuple[int, int]] = []
    whole = analyse(question, SMALL, workers=2, progress=lambda done, total: told.append((done, total)))
    assert told[-1][0] == told[-1][1] == len(whole.samples) * 2

    calls = 0

    def interrupted(*args: object, **options: object) -> pd.DataFrame:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        return evaluate(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "evaluate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        analyse(question, SMALL, work=tmp_path)
    assert len(list(tmp_path.glob("*.npz"))) == 3
    again = analyse(question, SMALL, work=tmp_path)
    tasks = 1 + 1 + 4  # default; 2 x 4 vectors of Morris; 8 x 4 of Sobol
    assert calls == 4 + tasks - 3
    for name in ("outcomes", "morris", "sobol", "samples"):
        pd.testing.assert_frame_equal(getattr(whole, name), getattr(again, name), check_exact=True)


def test_what_was_found_belongs_together(question: Question) -> None:
    found = analyse(question, replace(SMALL, second_order=True), ensemble=_vectors())
    assert list(found.samples["stage"].unique()) == ["default", "morris", "sobol", "ensemble"]
    assert (found.samples["stage"] == "sobol").sum() == 8 * (2 * 2 + 2)
    assert len(found.kept) == 2
    left_out = ({"sig", "mix", "denosumab.block_shedding"} - set(found.kept)).pop()
    sobol = found.samples[found.samples["stage"] == "sobol"]
    assert sobol[left_out].unique() == [TABLE.row(left_out)["value"]]
    assert set(found.pairs["outcome"]) == set(found.sobol["outcome"])
    assert set(found.correlations["symbol"]) == {"sig", "kT"}
    default = found.outcomes.set_index("outcome")["default"]
    assert default["mrankl-denosumab.gain_LS"] == pytest.approx(
        default["mrankl.gain_LS"] - default["denosumab.gain_LS"]
    )
    ok = set(found.outcomes.loc[found.outcomes["status"] == "ok", "outcome"])
    assert ok == set(found.sobol["outcome"])
    assert "denosumab.kept_LS_12" in ok


def _vectors() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    return pd.DataFrame({"sig": rng.uniform(0.0, 0.5, 12), "kT": rng.uniform(0.16, 0.26, 12)})


def test_a_parameter_that_does_nothing_has_no_index_and_alone_no_result(question: Question) -> None:
    table = chosen(ranges(TABLE, question.agents), ["b0", "p0"], None)  # BSAP and P1NP only
    question = replace(question, endpoints=[])
    with pytest.raises(RunFailed, match="no outcome varies"):
        analyse(replace(question, moved=table), SMALL)


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        (Settings(samples=1000), "1000 is not a power of two, which a Sobol sequence needs; give 512 or 1024"),
        (Settings(samples=0), "give 2 or 4"),
        (Settings(trajectories=1), "give 2 or more"),
        (Settings(keep=1), "leaves nothing to compare"),
    ],
)
def test_numbers_that_make_no_sample_are_told(question: Question, settings: Settings, part: str) -> None:
    with pytest.raises(BadInput) as fault:
        analyse(question, settings)
    assert part in str(fault.value)


def test_a_vector_that_cannot_be_integrated_is_named(question: Question, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(question: Question, vectors: pd.DataFrame, **options: object) -> pd.DataFrame:
        if (vectors["sig"] > 0.3).any():
            raise RunFailed("patient in row 3 can't be integrated")
        return evaluate(question, vectors)

    monkeypatch.setattr(module, "evaluate", fails)
    with pytest.raises(RunFailed, match=r"vector \d+ of stage morris can't be integrated .*sig = 0\.\d+"):
        analyse(question, SMALL)


def test_a_source_that_carries_no_rankl_sends_no_signal(question: Question) -> None:
    vectors = pd.DataFrame({"w_osteoblast_T": [0.0, 1e-6], "w_osteoblast_C": [0.0, 1e-6]})
    found = evaluate(question, vectors)
    assert np.isfinite(found["mrankl.gain_LS"]).all()
    assert found["mrankl.gain_LS"][0] == pytest.approx(found["mrankl.gain_LS"][1], abs=1e-3)


def test_any_endpoint_of_the_trial_is_asked_the_primary_first_and_is_read_off_the_course() -> None:
    question = asked("biosimilar", ("sig", "denosumab.CL"))
    first = question.endpoints[0]
    assert first.role == "primary"
    assert question.outcomes["measure"].iloc[0] == first.name
    values = evaluate(question, pd.DataFrame([{"sig": TABLE["sig"]}])).iloc[0]
    course = simulate(
        "denosumab 60mg every 6mo x2", follow="0 mo", at=np.linspace(0, 6, 61),
        covariates={s: float(v) for s, v in typical(question.trial, TABLE).persons.iloc[0].items()},
    ).set_index("month")  # fmt: skip
    drug = course["C_denosumab"].loc[:6]
    area = np.trapezoid(drug, drug.index * DAYS_PER_MONTH)
    assert values["reference.AUC over 6 months"] == pytest.approx(area, rel=1e-4)
    assert values["reference.Cmax"] == pytest.approx(drug.max(), rel=1e-4)
    assert values["reference.Spine BMD at month 12"] == pytest.approx(course.loc[12, "BMD_LS_pct"], abs=1e-3)
    named = ask(question.trial, TABLE, question.agents, question.moved, ["Cmax"])
    assert [endpoint.name for endpoint in named.endpoints] == ["Cmax"]


def test_an_endpoint_that_a_typical_patient_has_not_is_refused() -> None:
    question = asked("modality")
    with pytest.raises(BadInput) as refused:
        ask(
            question.trial, TABLE, question.agents, question.moved, ["New vertebral fractures after treatment", "Spine"]
        )
    assert "has no value in one typical patient" in refused.value.messages[0]
    assert "endpoints: 'Spine' is no endpoint of modality" in refused.value.messages[1]
