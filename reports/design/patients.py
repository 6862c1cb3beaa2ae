"""The chosen design in virtual patients, with patients and draws that the search has not seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ranklsim.cohorts.conduct.doses import as_doses, planned
from ranklsim.cohorts.conduct.patients import draw
from ranklsim.cohorts.protocol.design import Arm, Trial
from ranklsim.pkpd.parameters import ParameterTable
from ranklsim.pkpd.simulation import simulate
from ranklsim.pkpd.units import DAYS_PER_MONTH
from ranklsim.reports.design.question import Question, dose_a_year
from ranklsim.reports.design.search import LEVEL, Searched, asked_of, months_of

Array = NDArray[np.float64]

VECTORS, PATIENTS = 40, 100
"""Draws, and patients of each (our choice: the mean of a hundred is known to a tenth of their spread)."""


def design_arms(found: Searched, cell: int, position: int) -> list[Arm]:
    """The arms of a question under one design.

    Parameters
    ----------
    found : Searched
    cell, position : int
        As from `Searched.chosen`.
    """
    question = found.question
    choice = dict(zip((factor.name for factor in question.lists), question.cells[cell], strict=True))
    if question.axis is not None:
        choice[question.axis.name] = float(found.doses[position])
    changed = {factor.arm for factor in question.factors}
    return [question.arm_of(arm.name, choice) if arm.name in changed else arm for arm in question.design]


def in_patients(
    found: Searched, place: tuple[int, int], parameters: ParameterTable, *, workers: int = 1
) -> pd.DataFrame:
    """Every requirement in cohorts of virtual patients, one cohort for each of some draws.

    Patients differ as in the trial's population; they receive every dose on its day and nobody leaves. A patient is the
    same person in every arm.

    Parameters
    ----------
    found : Searched
    place : tuple of int
        Cell and position of the dose, as from `Searched.chosen`.
    parameters : ParameterTable
    workers : int
        Threads; the result does not depend on it.

    Returns
    -------
    DataFrame
        One row for each requirement: `requirement` (number from 1); `mean`, `mean_low`, `mean_high` (the mean of a
        cohort, in `unit`: the ratio in %, the difference, or the value itself; median and `LEVEL` interval over draws);
        `mean_default` (with the default parameters); `met` (share of the draws in which the mean of the cohort meets
        it); `typical` (share of the same draws in which the typical patient does); `patients` (share of all patients
        who meet it themselves); `patients_default` (with the default parameters); `draws`; `cohort` (patients of each).
    """
    question, arms = found.question, design_arms(found, *place)
    count = min(VECTORS, len(found.vectors) - 1)
    picked = np.r_[0, np.linspace(1, len(found.vectors) - 1, count).round().astype(int)]
    vector = np.repeat(picked, PATIENTS)
    values = found.vectors.iloc[vector].reset_index(drop=True)
    arms = [arm for arm in arms if any(arm.name == own.name for own in question.trial.arms)]
    trial = replace(question.trial, arms=arms, months=question.months, seed=question.seed)
    number = np.arange(1, len(vector) + 1, dtype=np.int64)
    people = draw(trial, parameters, number, typical_values=values)
    others = values[[symbol for symbol in values if symbol not in people.persons]]
    persons = pd.concat([people.persons, others], axis="columns")
    measured = _quantities(question, arms, persons, people.covariates, parameters, trial, workers)
    frame = pd.DataFrame({"draw": vector} | measured)
    rows = []
    for k, requirement in enumerate(question.requirements):
        own = frame[f"{requirement.of}: {requirement.quantity.text}"]
        other = (
            frame[f"{requirement.against}: {requirement.quantity.text}"]
            if requirement.against
            else pd.Series(0.0, frame.index)
        )
        single = requirement.margin(own.to_numpy(), other.to_numpy()) >= 0
        mean_own, mean_other = own.groupby(frame["draw"]).mean(), other.groupby(frame["draw"]).mean()
        margin = requirement.margin(mean_own.to_numpy(), mean_other.to_numpy())
        if requirement.share:
            shown = 100 * mean_own / mean_other
        else:
            shown = mean_own - mean_other
        tail = (1 - LEVEL) / 2
        low, middle, high = np.quantile(shown.iloc[1:], [tail, 0.5, 1 - tail])
        rows.append({
            "requirement": k + 1,
            "unit": f"% of {requirement.against}" if requirement.share else requirement.quantity.unit,
            "mean": middle, "mean_low": low, "mean_high": high, "mean_default": float(shown.iloc[0]),
            "met": float((margin[1:] >= 0).mean()),
            "typical": float((found.margins[k][picked[1:], place[0], place[1]] >= 0).mean()),
            "patients": float(single[vector > 0].mean()), "patients_default": float(single[vector == 0].mean()),
            "draws": count, "cohort": PATIENTS,
        })  # fmt: skip
    return pd.DataFrame(rows)


def _quantities(
    question: Question,
    arms: list[Arm],
    persons: pd.DataFrame,
    covariates: pd.DataFrame,
    parameters: ParameterTable,
    trial: Trial,
    workers: int,
) -> dict[str, Array]:
    """Every quantity that a requirement asks, of every person under its arm."""
    n = len(persons)
    agents = {agent.name: agent for agent in question.agents}
    asked, found = asked_of(question.requirements), {}
    for arm in arms:
        if arm.name not in asked:
            continue
        months = months_of(question, [arm], asked)
        weight = persons["WT"].to_numpy(float)
        plan = planned(trial, np.arange(n), np.full(n, arm.name), weight, covariates)
        course = simulate(
            parameters, persons.reset_index(drop=True), question.agents, as_doses(plan, question.agents),
            months * DAYS_PER_MONTH, rtol=1e-5, atol=1e-7, workers=workers,
        )  # fmt: skip
        yearly = np.full(n, dose_a_year(arm, agents, weight))
        for quantity in asked[arm.name]:
            found[f"{arm.name}: {quantity.text}"] = quantity.of_course(months, course, question.end_of(arm), yearly)
    return found
