"""The design desk: what a question may say, that its answer is what single simulations say, what knowledge is worth."""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from helpers import arm, said, trial_file
from scipy.optimize import brentq
from scipy.stats import norm

from ranklsim import design
from ranklsim.cohorts import portions
from ranklsim.cohorts.people.population_file import POPULATIONS
from ranklsim.cohorts.uncertainty import vectors_for
from ranklsim.pkpd.errors import BadInput
from ranklsim.pkpd.parameters import load_parameters
from ranklsim.pkpd.units import DAYS_PER_MONTH
from ranklsim.reports.design.optimise import optimised
from ranklsim.reports.design.question import (
    Preference,
    Question,
    Size,
    dose_for,
    load_question,
    parse_question,
    questions,
)
from ranklsim.reports.design.run import answer
from ranklsim.reports.design.search import search
from ranklsim.reports.design.show import _size_sentence
from ranklsim.reports.design.size import probit, solution
from ranklsim.reports.design.worth import Regression

TABLE = load_parameters()
TEXT = dose_for("90 % of denosumab's BMD_LS at 36 mo", "mrankl-selective", ["6 mo"], folder=Path()).replace(
    'trial = "modality"', 'trial = "modality"\nmonths = 36\ndraws = 12'
)


def draws_for(question: Question) -> pd.DataFrame:
    return vectors_for(TABLE, question.agents, question.draws, question.seed)


def test_the_least_dose_is_that_of_a_root_finder() -> None:
    question = parse_question(TEXT, Path())
    found = search(question, TABLE, draws_for(question).head(1), workers=2)
    least = found.least((found.margins[0] >= 0)[0])[0]

    def margin(dose: float) -> float:
        from ranklsim import simulate

        gain = {
            agent: simulate(f"{agent} {mg}mg every 6mo x6", follow="0 mo", covariates=covariates)["BMD_LS_pct"].iloc[-1]
            for agent, mg in (("denosumab", 60), ("mrankl-selective", dose))
        }
        return gain["mrankl-selective"] - 0.9 * gain["denosumab"]

    # The typical patient of the trial's population, not of the parameter table.
    from ranklsim.cohorts.conduct.patients import typical

    persons = typical(question.trial, TABLE).persons.iloc[0]
    covariates = {symbol: float(value) for symbol, value in persons.items()}
    assert least == pytest.approx(brentq(margin, 20, 120, rtol=1e-4), rel=0.01)


def test_a_design_that_is_admissible_at_the_chosen_dose_and_not_below() -> None:
    question = parse_question(TEXT, Path())
    found = search(question, TABLE, draws_for(question), workers=2)
    place = found.chosen()
    assert place is not None
    share = (found.margins[0][1:, place[0]] >= 0).mean(axis=0)
    assert share[place[1]] >= 0.8 > share[place[1] - 1]
    table = found.cell_table(1)
    assert table["dose_low"][0] <= table["dose"][0] <= table["dose_high"][0]
    designs = found.design_table()
    assert designs["chosen"].sum() == 1
    front = designs[designs["pareto"]]
    for _, row in front.iterrows():
        better = (designs["probability"] > row["probability"]) & (
            designs["mrankl-selective: dose a year"] <= row["mrankl-selective: dose a year"]
        )
        assert not better.any()


def test_factors_change_dose_interval_length_and_what_follows() -> None:
    text = (
        'title = "t"\ntrial = "modality"\nmonths = 96\n[[factor]]\narm = "denosumab"\nfor = ["24 mo", "36 mo"]\n'
        '[[factor]]\narm = "denosumab"\nevery = ["3 mo", "6 mo"]\n[[factor]]\narm = "denosumab"\n'
        'then = ["nothing", "nothing 6mo, zoledronate 5mg x1"]\n[[require]]\nquantity = "CTX at 90 mo"\n'
        'at_most = "150 % of baseline"\n'
    )
    question = parse_question(text, Path())
    assert len(question.cells) == 8
    arm = question.arm_of("denosumab", {
        "denosumab.for": 24 * DAYS_PER_MONTH, "denosumab.every": 3 * DAYS_PER_MONTH,
        "denosumab.then": "nothing 6mo, zoledronate 5mg x1",
    })  # fmt: skip
    assert [(r.agent, r.doses) for r in arm.regimens] == [("denosumab", 8), ("zoledronate", 1)]
    assert arm.regimens[1].start_day == pytest.approx(30 * DAYS_PER_MONTH)
    assert question.end_of(arm) == pytest.approx(24)


def test_numbers_of_an_own_agent_are_drawn_over_its_range(tmp_path: Path) -> None:
    (tmp_path / "abc-301.toml").write_text(
        'label = "ABC-301"\nlike = "denosumab"\nhypothetical = true\nKD_sRANKL = "none"\n'
        'KD_mRANKL = { value = "0.2 nmol/L", low = 0.05, high = 0.8, status = "assumed", source = "our assay" }\n'
    )
    question = parse_question(TEXT.replace("mrankl-selective", "abc-301"), tmp_path)
    vectors = draws_for(question)
    own = vectors["abc-301.KD_mRANKL"]
    assert own[0] == 0.2
    assert own[1:].between(0.05, 0.8).all()
    assert own[1:].nunique() == 12
    assert "like denosumab" in question.notes[0].lower() or "Denosumab" in question.notes[0]


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        ('arm  = "mrankl-selective"', 'arm  = "mrankl-selektive"', "neither|not an arm"),
        ('at_least = "90 %"', 'at_least = "90"', "has no unit"),
        ('at_least = "90 %"', 'at_least = "90 %"\nat_most = "80 %"', "both at_least and at_most"),
        ('against  = "denosumab"', 'against  = "mrankl-selective"', "compared with itself"),
        ("change of BMD_LS at 36 mo", "change of BMD_LS at 60 mo", "ends at month 36"),
        ('every = ["6 mo"]', 'every = ["5 mo"]', "no whole number of intervals"),
        ('every = ["6 mo"]', 'every = ["6 mo", "6 mo"]', "twice"),
        ('every = ["6 mo"]', "every = 6", "every"),
        ("least    = true", "", "one direction"),
        ("10..240 mg", "240..10 mg", "range"),
        ("10..240 mg", "10..240 mL", "cannot be turned into"),
        ("10..240 mg", "100..300000 mg", "a dose of 300000 mg of mrankl-selective is impossible"),
        ("draws = 12", "draws = 5", "draws = 5"),
    ],
)
def test_a_question_that_cannot_be_asked_is_explained(old: str, new: str, part: str) -> None:
    assert old in TEXT
    text = TEXT.replace(old, new, 1) if old != "change of BMD_LS at 36 mo" else TEXT.replace(old, new)
    with pytest.raises(BadInput, match=part) as fault:
        parse_question(text, Path())
    assert len(fault.value.messages) == 1
    assert fault.value.messages[0].startswith("question.toml:")


def test_contradicting_requirements_are_refused() -> None:
    more = (
        '[[require]]\nquantity = "change of BMD_LS at 36 mo"\nof = "mrankl-selective"\nagainst = "denosumab"\n'
        'at_most = "80 %"\n'
    )
    with pytest.raises(BadInput, match="contradict each other"):
        parse_question(TEXT + more, Path())


@pytest.mark.slow
def test_workers_and_interruption_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portions, "PORTION", 5)
    path = tmp_path / "q.toml"
    path.write_text(TEXT)
    design(path, tmp_path / "a", workers=1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", _after(1, os.replace))
        with pytest.raises(KeyboardInterrupt):
            design(path, tmp_path / "b", workers=2)
    design(path, tmp_path / "b", workers=2, resume=True)
    for name in ("cells.csv", "designs.csv", "patients.csv", "unknowns.csv", "samples.parquet", "index.html"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    facts = json.loads((tmp_path / "a" / "design.json").read_text())
    assert facts["answer"][0].startswith("MRANKL-selective") or facts["answer"][0].startswith("mRANKL-selective")
    with pytest.raises(BadInput, match="holds"):
        design(path, tmp_path / "b")


def test_knowledge_is_worth_what_the_closed_form_says() -> None:
    rng = np.random.default_rng(1)
    n = 20_000
    x = rng.standard_normal(n)
    # One design suits if x is below 0, the other if it is above: knowing x raises 1/2 to 1.
    regression = Regression(np.column_stack([x < 0, x >= 0]), 1)
    assert regression.gain(x) == pytest.approx(0.5, abs=0.06)  # splines round the step off
    assert regression.gain(rng.standard_normal(n)) == pytest.approx(0.0, abs=0.005)
    # Suitability with probability Phi(a x) and 1 - Phi(a x): the gain is E max - 1/2 = arctan(a) / pi.
    u = rng.standard_normal(n)
    regression = Regression(np.column_stack([u < x, u >= x]), 1)
    assert regression.gain(x) == pytest.approx(np.arctan(1) / np.pi, abs=0.01)
    # A measurement with SD 1 of x (SD 1) leaves a slope of 1 / sqrt(3) on the scale of the measurement's own SD.
    measured = x + rng.standard_normal(n)
    assert regression.gain(measured) == pytest.approx(np.arctan(1 / np.sqrt(3)) / np.pi, abs=0.015)
    assert norm.cdf(0) == 0.5


def test_every_question_that_ships_can_be_asked() -> None:
    shipped = questions()
    assert {"dose", "exit", "trial-size"} <= set(shipped["name"])
    for name in shipped["name"]:
        assert load_question(name).title


def test_designs_without_a_range_have_a_probability() -> None:
    question = replace(load_question("exit"), draws=10)
    question = replace(question, months=96.0, factors=[
        replace(f, values=f.values[:1] if f.key == "for" else f.values[:2]) for f in question.factors
    ])  # fmt: skip
    told = answer(search(question, TABLE, draws_for(question), workers=2), TABLE, workers=2)
    assert told.cells["probability"].between(0, 1).all()
    assert len(told.cells) == 2
    kept = "denosumab: change of BMD_LS from end of treatment to 24 mo after treatment"
    assert told.designs[kept][1] > told.designs[kept][0]  # zoledronate keeps more than nothing


@pytest.mark.slow
def test_the_command_answers_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = ("--dose-for", "90 % of denosumab's BMD_LS at 36 mo", "--agent", "mrankl-selective")
    code, out, err = said(capsys, "design", *wanted, "--draws", "10", "-o", tmp_path / "d")
    assert (code, err) == (0, [])
    assert any("least dose is" in line for line in out)
    assert (tmp_path / "d" / "index.html").is_file()
    assert len(pd.read_csv(tmp_path / "d" / "cells.csv")) == 1
    code, _, err = said(capsys, "design", "-o", tmp_path / "e")
    assert code == 2
    assert "give one question" in err[0]
    with pytest.raises(BadInput, match="or dose_for with agent, such as dose_for="):  # Python has no options
        design(out=tmp_path / "e")
    assert not (tmp_path / "e").exists()
    code, _, err = said(capsys, "design", "dose-of", "-o", tmp_path / "e")
    assert code == 2
    assert "unknown question 'dose-of'" in err[0]


def test_a_probit_gives_the_number_of_patients_that_made_it() -> None:
    size = Size("", "", "", 0.8, 10, 1000, 100)
    patients = np.array([10.0, 30.0, 100.0, 300.0, 1000.0])
    share = norm.cdf(-4 + 1.1 * np.log(patients))
    fitted = probit(patients, share, 10_000)
    assert fitted == pytest.approx((-4, 1.1), rel=1e-5)
    assert solution(fitted, size, 1000) == pytest.approx(np.exp((norm.ppf(0.8) + 4) / 1.1), rel=1e-5)
    assert solution(fitted, replace(size, assurance=0.9999), 1000) == np.inf
    assert solution(probit(patients, np.ones(5), 100), size, 1000) == 10
    assert solution(probit(patients, np.zeros(5), 100), size, 1000) == np.inf


@pytest.mark.slow
def test_more_patients_show_more_and_the_first_are_the_same_study(tmp_path: Path) -> None:
    text = TEXT + (
        '[size]\nendpoint = "Lumbar spine BMD over 36 months of treatment"\narm = "mrankl-selective"\n'
        'against = "placebo"\npatients = "8..60"\nvectors = 20\n'
    )
    path = tmp_path / "q.toml"
    path.write_text(text)
    told = design(path, workers=2).sized
    assert told is not None
    curve = told.curve
    assert curve["shown"].iloc[-1] > curve["shown"].iloc[0]
    assert 8 <= told.low <= told.patients <= told.high
    assert told.claim == "superiority"
    # A range in which nothing reaches the assurance: one sentence, with what the largest trial has.
    small = replace(told, patients=solution(probit(np.array([8.0, 10.0]), np.zeros(2), 20), told.size, 10))
    sentence = _size_sentence(SimpleNamespace(named=str.title), replace(small, curve=curve.head(1)))
    assert sentence.startswith("No trial of 8 to 60 patients shows superiority to Placebo in Lumbar spine BMD over 36")
    assert re.search(r"; with \d+ patients it is \d+ %\.$", sentence)


@pytest.mark.parametrize(
    ("table", "part"),
    [
        ('endpoint = "Spine"\npatients = "10..100"', "no endpoint of modality"),
        ('endpoint = "CTX at the end of treatment"\npatients = "100..10"', "give a range"),
        ('endpoint = "CTX at the end of treatment"\npatients = "10..100"\nagainst = "plazebo"', "'placebo'"),
        ('endpoint = "CTX at the end of treatment"\npatients = "10..100"\nassurance = "180 %"', "a probability"),
    ],
)
def test_a_size_that_cannot_be_asked_is_explained(table: str, part: str) -> None:
    with pytest.raises(BadInput, match=part):
        parse_question(f"{TEXT}[size]\n{table}\n", Path())


def test_a_damaged_portion_is_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portions, "PORTION", 5)
    question = parse_question(TEXT, Path())
    vectors = draws_for(question)
    whole = search(question, TABLE, vectors, work=tmp_path)
    places = sorted(tmp_path.glob("*.npz"))
    assert len(places) == 3
    content = places[0].read_bytes()
    places[0].write_bytes(content[: len(content) // 2])
    middle = bytearray(places[1].read_bytes())
    middle[len(middle) // 2] ^= 1
    places[1].write_bytes(bytes(middle))
    again = search(question, TABLE, vectors, work=tmp_path)
    for key, values in whole.values.items():
        assert np.array_equal(values, again.values[key])
    assert places[0].read_bytes() == content


@pytest.mark.slow
def test_a_changed_population_is_another_question(tmp_path: Path) -> None:
    shipped = POPULATIONS / "low-bone-mass.toml"
    (tmp_path / "mine.toml").write_text(shipped.read_text(encoding="utf-8"), encoding="utf-8")
    trial_file(tmp_path, population={"name": "mine"}, arm=[arm("placebo"), arm("denosumab", doses=4)])
    path = tmp_path / "q.toml"
    path.write_text(
        'title = "t"\ntrial = "trial.toml"\ndraws = 10\n[[factor]]\narm = "denosumab"\ndose = ["30 mg", "60 mg"]\n'
        '[[require]]\nquantity = "change of BMD_LS at 24 mo"\nat_least = "1 %"\n'
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(portions, "PORTION", 5)
        patch.setattr(os, "replace", _after(2, os.replace))
        with pytest.raises(KeyboardInterrupt):
            design(path, tmp_path / "out")
    changed = shipped.read_text(encoding="utf-8") + "\n# another\n"
    (tmp_path / "mine.toml").write_text(changed, encoding="utf-8")
    with pytest.raises(BadInput, match="another analysis"):
        design(path, tmp_path / "out", resume=True)


def _after(count: int, real: Callable[..., None]) -> Callable[..., None]:
    """A function that is interrupted from its call number `count` on."""
    calls = iter(range(1, 10**6))

    def replace_file(*args: object) -> None:
        if next(calls) > count:
            raise KeyboardInterrupt
        real(*args)

    return replace_file


RANGES = TEXT.replace('every = ["6 mo"]', 'every = "2..12 mo"')


@pytest.mark.parametrize(("most", "wanted"), [(200.0, 100.0), (80.0, 80.0)])
def test_a_searched_range_ends_at_the_best_point_or_at_the_limit_of_a_requirement(most: float, wanted: float) -> None:
    question = parse_question(RANGES, Path())
    assert [factor.key for factor in question.free] == ["every"]

    def look(each: Question, _: int) -> SimpleNamespace:
        every = each.tried[0][0]
        spread = np.linspace(-20, 0, 11)[:, None, None]  # over the draws; its 20 % quantile, -14.4, is what counts
        margins = [np.broadcast_to(most + 14.4 - every + spread, (11, 1, 3))]
        cost = np.broadcast_to(np.log(every / 100) ** 2, (11, 1, 3))
        return SimpleNamespace(question=each, margins=margins, fine=lambda *_: cost, doses=np.ones(3))

    question = replace(question, preferences=[Preference(question.requirements[0].quantity, "mrankl", least=True)])
    found = optimised(question, look).tried
    assert found[0][0] == pytest.approx(wanted, rel=0.02)
    assert found[0][0] <= most * 1.0001
    assert len(found) <= 6
    assert all(abs(np.log(a[0] / b[0])) > 0.04 for a, b in itertools.combinations(found, 2))


@pytest.mark.slow
def test_a_dose_and_an_interval_are_searched_together_and_a_repetition_gives_the_same(tmp_path: Path) -> None:
    path = tmp_path / "two.toml"
    path.write_text(RANGES)
    found = design(path, tmp_path / "two", draws=10)
    assert found.cells["mrankl-selective.every"].str.match(r"every [\d.]+ (day|mo)").all()
    assert 1 <= len(found.cells) <= 6
    again = design(path, draws=10)
    pd.testing.assert_frame_equal(found.cells, again.cells)


def test_more_ranges_than_can_be_searched_are_refused() -> None:
    more = "".join(
        f'[[factor]]\narm = "{name}"\n{key} = "{value}"\n'
        for name in ("denosumab", "srankl")
        for key, value in (("dose", "30..60 mg"), ("every", "3..6 mo"))
    )
    with pytest.raises(BadInput, match="more than 4 factors have a range"):
        parse_question(RANGES.replace("[[require]]", more + "[[require]]", 1), Path())
