"""What the page shows of one regimen: curves with their band, published figures, a cohort, and the texts to repeat it.

The page asks for one regimen at a time. An answer depends on the request alone, so users do not meet, and what was
asked before is kept.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import zip_longest
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ranklsim.cohorts.conduct import fractures
from ranklsim.cohorts.conduct.course import play
from ranklsim.cohorts.conduct.hazards import cumulative
from ranklsim.cohorts.conduct.patients import Patients, draw
from ranklsim.cohorts.courses import interval
from ranklsim.cohorts.people.population_file import list_populations
from ranklsim.cohorts.protocol.design import Arm
from ranklsim.cohorts.uncertainty import vectors_for
from ranklsim.pkpd.agents import load_agent
from ranklsim.pkpd.dosing import Dose, Regimen, parse_regimen
from ranklsim.pkpd.errors import BadInput, near, shown
from ranklsim.pkpd.evidence.records import load_evidence
from ranklsim.pkpd.machine import processors
from ranklsim.pkpd.parameters import ParameterTable, load_parameters
from ranklsim.pkpd.typical import Case, Plan, plan_course, simulate_cases
from ranklsim.pkpd.units import DAYS_PER_MONTH
from ranklsim.reports.explore import texts
from ranklsim.reports.layout.arms import view_arms

DRAWS = 100
"""Vectors of the ensemble behind a band."""
RTOL = 1e-5
"""As of a run, so that a run repeats the page's numbers."""
LONGEST = 240
"""Months that the page shows at most."""
LONGEST_TEXT, MOST_SETTINGS, MOST_QUERY = 1000, 40, 20_000
STEP = 0.5
"""Months between points of a curve; hazards are looked at as often in a trial."""
AFTER_DOSE = (0.03, 0.1, 0.25)
"""Further points after a dose, months."""
MOST_MARKED = 30
"""Doses of a regimen after which there are further points."""
SAME_DAY = 0.5
"""Days between a published dose and one of the page that count as the same."""
NAMES = ("r", "m", "set", "pop", "at", "against")
"""What a request may name."""
SEED = 1
"""Of the draws of numbers of hypothetical agents, as of `ranklsim.simulate`."""

CHANGES = ("BMD_LS_pct", "BMD_TH_pct")
PUBLISHED = (*CHANGES, "CTX_pct", "P1NP_pct")
RISKS = {"RISK_vertebral": fractures.VERTEBRAL, "RISK_hip": fractures.HIP}
SOURCES = ("osteocyte", "osteoblast", "marrow", "lymphocyte")
CURVES = (*PUBLISHED, "OCC_mRANKL", "OCC_sRANKL", *(f"OCC_mRANKL_{source}" for source in SOURCES))
MEASURED = {"percent_change": "BMD_{}_pct", "percent_of_baseline": "{}_pct"}
"""Kinds of published figures that are curves of the page."""

ROUNDING = 1e-9

Array = NDArray[np.float64]
Given = tuple[float, str, Dose]
"""A dose: day, agent, amount."""


@dataclass(frozen=True)
class Asked:
    """One regimen of the page: its text, months to show at least, other parameters; a regimen to subtract."""

    regimen: str
    months: float
    settings: tuple[tuple[str, float], ...] = ()
    population: str = "postmenopausal-osteoporosis"
    at: float = 36.0
    against: str = ""

    @property
    def parameters(self) -> ParameterTable:
        """The parameter table with the settings."""
        return _parameters(self.settings)

    def plan(self) -> Plan:
        """The course that the text describes, followed at least until the months to show."""
        course = plan_course(self.regimen, None, None, None, None, "0 mo", folder=Path.cwd())
        if course.months > LONGEST:
            raise BadInput(
                f"regimen: {shown(self.regimen)} lasts {course.months:.6g} mo; the page shows {LONGEST} mo at most."
            )
        return Plan(course.regimens, course.agents, max(course.months, self.months))


def read_query(query: str) -> Asked:
    """Read what a browser asks for.

    Parameters
    ----------
    query : str
        The part of the address after ``?``: ``r`` the regimen, ``m`` months to show, ``set`` a parameter and its value
        (``sig:0.3``) as often as needed, ``pop`` the population and ``at`` the month of a cohort, ``against`` a regimen
        to subtract.

    Raises
    ------
    BadInput
        One sentence for each part that cannot be used.
    """
    if len(query) > MOST_QUERY:
        raise BadInput(f"the request has {len(query)} characters; give at most {MOST_QUERY}.")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=MOST_SETTINGS + 10, errors="strict")
    except ValueError:
        raise BadInput(
            f"the request is no list of NAME=VALUE in UTF-8, or has more than {MOST_SETTINGS} settings; reload it."
        ) from None
    faults: list[str] = []
    one: dict[str, str] = {}
    settings: dict[str, float] = {}
    for name, value in pairs:
        if name == "set":
            symbol, _, text = value.partition(":")
            number = _number(text, f"set {symbol[:60]}", faults)
            if symbol in settings:
                faults.append(f"set: {shown(symbol)} is given twice; give it once.")
            settings[symbol] = number
        elif name not in NAMES:
            faults.append(f"unknown name {shown(name)} in the request; {near(name, NAMES)}")
        elif name in one:
            faults.append(f"{name} is given twice; ask for one regimen at a time.")
        else:
            one[name] = value
    if len(settings) > MOST_SETTINGS:
        faults.append(f"there are {len(settings)} settings; give at most {MOST_SETTINGS}.")
    text, against = (" ".join(one.get(name, "").split()) for name in ("r", "against"))
    if not text:
        faults.append("regimen: it is empty; write it like 'denosumab 60mg every 6mo x4'.")
    for each in (text, against):
        if len(each) > LONGEST_TEXT:
            faults.append(f"regimen: the text has {len(each)} characters; give at most {LONGEST_TEXT}.")
    months = _number(one.get("m", "60"), "months", faults, 1, LONGEST)
    at = _number(one.get("at", "36"), "at", faults, 0, LONGEST)
    population = one.get("pop", list_populations()[-1])
    if population not in list_populations():
        faults.append(f"unknown population {shown(population)}; {near(population, list_populations())}")
    if faults:
        raise BadInput(*faults)
    return Asked(text, months, tuple(sorted(settings.items())), population, at, against)


def _number(text: str, what: str, faults: list[str], least: float = -math.inf, most: float = math.inf) -> float:
    """A number as text; a fault is noted."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        faults.append(f"{what}: {shown(text)} is not a number.")
    elif not least <= value <= most:
        faults.append(f"{what}: {value:g} is not from {least:g} to {most:g}.")
    return value


@lru_cache(maxsize=64)
def _parameters(settings: tuple[tuple[str, float], ...]) -> ParameterTable:
    return load_parameters(dict(settings) or None, folder=Path.cwd())


@lru_cache(maxsize=64)
def _vectors(settings: tuple[tuple[str, float], ...], agents: tuple[str, ...], draws: int) -> pd.DataFrame:
    return vectors_for(_parameters(settings), [load_agent(name, folder=Path.cwd()) for name in agents], draws, SEED)


@lru_cache(maxsize=1)
def _evidence() -> list[tuple[list[Given], list[dict[str, Any]]]]:
    """What each published study arm was given, and those of its figures that the page has a curve for."""
    found, arms = load_evidence(), []
    for name, rows in found.observations.groupby("arm", sort=False):
        arm, points = found.arms[str(name)], []
        for row in rows[rows["month"] > 0].to_dict("records"):
            of = MEASURED.get(row["endpoint"], "").format(row["site_or_marker"])
            if of in PUBLISHED:
                points.append({"of": of, "month": row["month"], "value": row["value"], **_ends(row),
                               "study": arm.study, "arm": arm.label, "n": arm.n, "statistic": row["statistic"],
                               "source": row["source"]})  # fmt: skip
        arms.append((_doses(arm.regimens), points))
    return arms


@lru_cache(maxsize=256)
def course(asked: Asked, draws: int = DRAWS) -> dict[str, Any]:
    """Everything that the page shows of one regimen, but for the cohort.

    Parameters
    ----------
    asked : Asked
    draws : int
        Vectors of the ensemble.

    Returns
    -------
    dict
        ``months`` of the curves, ``curves`` (name to the default's values, low and high ends of the band), ``doses``,
        ``end`` of the last interval, ``label``, ``parts``, ``published``, and the pieces of `texts`. It can be written
        as JSON.

    Raises
    ------
    BadInput
        If the regimen or a setting cannot be used.
    RunFailed
        If the patient leaves the limits of a living one.
    """
    plan = asked.plan()
    months, found = _simulated(asked, draws)
    curves = {name: _band(values) for name, values in found.items()}
    (view,) = view_arms([Arm("A", "A", plan.regimens)], {agent.name: agent for agent in plan.agents})
    return {
        "regimen": asked.regimen,
        "label": view.words,
        "color": next((agent.color for agent in plan.agents if agent.kind != "none"), view.color),
        "hypothetical": any(agent.hypothetical for agent in plan.agents),
        "until": round(plan.months, 6),
        "doses": _dose_months(plan.regimens),
        "months": months.round(6).tolist(),
        "curves": curves,
        "published": _published(plan.regimens),
        "texts": texts.pieces(asked.regimen, plan.months - plan.end_month, draws, RTOL)
        | {"arm": texts.arm("@NAME@", view.words, plan.regimens)},
    }


def _months(plan: Plan) -> Array:
    """Months of the curves: every half, whole ones, and a few after each dose where these are few."""
    grid = np.arange(0, plan.months + STEP / 2, STEP)
    days = np.unique(np.concatenate([part.times_days() for part in plan.regimens]))
    if days.size <= MOST_MARKED:
        grid = np.concatenate([grid, np.add.outer(days / DAYS_PER_MONTH, AFTER_DOSE).ravel()])
    grid = np.unique(grid.round(6))
    return np.asarray(grid[grid <= math.ceil(plan.months - ROUNDING)])


def difference(asked: Asked, draws: int = DRAWS) -> dict[str, Any]:
    """What one regimen gives more than another, with the same vectors for both.

    Parameters
    ----------
    asked : Asked
        With the regimen to subtract.
    draws : int
        Vectors of the ensemble.

    Returns
    -------
    dict
        ``months``, whole ones that both have, and ``curves`` as of `course`.

    Raises
    ------
    BadInput
        If a regimen or a setting cannot be used.
    """
    pair = [_simulated(replace(asked, regimen=text, against=""), draws) for text in (asked.regimen, asked.against)]
    end = min(months[-1] for months, _ in pair)
    whole = [np.flatnonzero((months == np.round(months)) & (months <= end)) for months, _ in pair]
    (months, mine), (_, others) = pair
    curves = {name: _band(mine[name][:, whole[0]] - others[name][:, whole[1]]) for name in mine}
    return {"months": months[whole[0]].tolist(), "curves": curves}


@lru_cache(maxsize=32)
def _simulated(asked: Asked, draws: int) -> tuple[Array, dict[str, Array]]:
    """Months, and the page's curves, shape (n_vectors, n_months); the first vector is the default."""
    plan = asked.plan()
    months = _months(plan)
    parameters = asked.parameters
    vectors = _vectors(asked.settings, tuple(agent.name for agent in plan.agents), draws)
    found = simulate_cases(
        [Case("", plan.regimens)], plan.agents, months=months.tolist(), parameters=parameters,
        vectors=vectors, wanted=(*CURVES, "CTX", "BMD_LS", "BMD_TH"),
        rtol=RTOL, workers=processors(),
    )  # fmt: skip
    out = {name: found[name][:, 0] for name in CURVES}
    half = np.flatnonzero(np.abs(months / STEP - np.round(months / STEP)) < ROUNDING)
    at = {name: found[name][:, 0, half] for name in ("CTX", "BMD_LS", "BMD_TH")}
    for name, values in fracture_risk(parameters, months[half], at).items():
        out[name] = np.apply_along_axis(lambda row: np.interp(months, months[half], row), 1, values)
    return months, out


def fracture_risk(parameters: ParameterTable, months: Array, latent: Mapping[str, Array]) -> dict[str, Array]:
    """Percent of women like this one who have had a fracture, of mean frailty and without one before.

    Parameters
    ----------
    parameters : ParameterTable
        Of the group ``hazard``, and ``AGE`` at month 0.
    months : ndarray, shape (m,)
        From 0, half a month apart or less.
    latent : mapping of str to ndarray, shape (n, m)
        True CTX (ng/mL), BMD_LS and BMD_TH (g/cm2).

    Returns
    -------
    dict of str to ndarray, shape (n, m)
        ``RISK_vertebral`` (any vertebral fracture, noticed or not) and ``RISK_hip``.
    """
    age = np.full(len(latent["CTX"]), parameters["AGE"])
    return {
        name: 100 * -np.expm1(-cumulative(months, fractures.hazard(site, parameters, age, months, latent)))
        for name, site in RISKS.items()
    }


def _band(values: Array) -> list[list[float]]:
    """The default's values and the ends of the band, with six digits."""
    low, high = interval(values[1:])
    return [rounded(row) for row in (values[0], low, high)]


def _dose_months(regimens: Sequence[Regimen]) -> list[list[float]]:
    """Spells of treatment (first dose, end of the last interval), months."""
    return [[part.start_day / DAYS_PER_MONTH, part.end_day / DAYS_PER_MONTH] for part in regimens if part.dose_mg > 0]


def _doses(regimens: Sequence[Regimen]) -> list[Given]:
    """Doses in order: day, agent, amount."""
    return sorted(
        (float(day), part.agent, part.dose) for part in regimens if part.dose_mg > 0 for day in part.times_days()
    )


def _alike_until(ours: Sequence[Given], theirs: Sequence[Given]) -> float:
    """Day of the first dose in which two treatments differ, infinite if they are the same."""
    for one, other in zip_longest(ours, theirs):
        if one is None or other is None or one[1:] != other[1:] or abs(one[0] - other[0]) > SAME_DAY:
            return min(dose[0] for dose in (one, other) if dose is not None)
    return math.inf


def _published(regimens: Sequence[Regimen]) -> list[dict[str, Any]]:
    """Published figures of study arms that were given the same doses until then."""
    found, ours = [], _doses(regimens)
    for theirs, points in _evidence():
        last = (_alike_until(ours, theirs) + SAME_DAY) / DAYS_PER_MONTH
        found += [point for point in points if point["month"] <= last]
    return found


def _ends(row: Mapping[str, Any]) -> dict[str, float | None]:
    """Ends of the 95 % interval of a published figure, None where there is none (a spread of patients is none)."""
    if row["spread_type"] == "CI95":
        return {"low": row["spread_low"], "high": row["spread_high"]}
    if row["spread_type"] == "SE":
        return {"low": row["value"] - 1.96 * row["spread"], "high": row["value"] + 1.96 * row["spread"]}
    return {"low": None, "high": None}


@lru_cache(maxsize=64)
def cohort(asked: Asked) -> dict[str, Any]:
    """The change of BMD in a thousand women under one regimen.

    Parameters
    ----------
    asked : Asked
        With the population and the month.

    Returns
    -------
    dict
        ``at`` and, for each of `CHANGES`, the percent change of each woman, ascending.

    Raises
    ------
    BadInput
        If the regimen or a setting cannot be used.
    RunFailed
        If a patient leaves the limits of a living one.
    """
    return {"at": asked.at} | {name: rounded(values[:, 0]) for name, values in women(asked, [asked.at]).items()}


def women(asked: Asked, months: Sequence[float]) -> dict[str, Array]:
    """Percent changes of BMD in the women of a cohort at some months, each column ascending.

    Parameters
    ----------
    asked : Asked
    months : sequence of float
        Visits of the trial that the page gives: `Asked.at`, or multiples of `texts.VISITS`.

    Returns
    -------
    dict of str to ndarray, shape (n_women, n_months)
        By `CHANGES`.
    """
    plan = asked.plan()
    length = math.ceil(max(plan.months, asked.at) - ROUNDING)
    arms = [texts.arm("A", "A", plan.regimens)]
    trial = texts.load(texts.trial(arms, length, asked.at, asked.population, "BMD_LS", 0.0))
    people = _people(asked.population, asked.settings)
    number = people.covariates["patient"].to_numpy()
    found = play(
        trial, asked.parameters, plan.agents, people, number, np.full(number.size, "A"), rtol=RTOL, workers=processors()
    ).latent
    visits = [trial.visits.months.index(month) for month in months]
    bone = {name: found[name.removesuffix("_pct")] for name in CHANGES}
    return {name: np.sort(100 * (values[:, visits] / values[:, :1] - 1), axis=0) for name, values in bone.items()}


def rounded(values: Array, digits: int = 6) -> list[float]:
    """Numbers with so many significant digits.

    Parameters
    ----------
    values : ndarray, shape (n,)
    digits : int
    """
    return [float(f"{x:.{digits}g}") + 0.0 for x in values]


@lru_cache(maxsize=8)
def _people(population: str, settings: tuple[tuple[str, float], ...]) -> Patients:
    """The women of the cohort, who are the same under every regimen."""
    arms = [texts.arm("A", "A", parse_regimen("placebo"))]
    trial = texts.load(texts.trial(arms, 12, 12.0, population, "BMD_LS", 3.0))
    return draw(trial, _parameters(settings), range(1, texts.PATIENTS + 1))
