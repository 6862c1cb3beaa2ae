"""Virtual patients of a trial: covariates from a population, and model parameters drawn around them.

Whoever does not fulfil the criteria is drawn again from her own stream, so that patient k depends on seed, replicate
and k only. The part of a parameter that covariates do not explain is drawn once and is the same under any criteria.
How a population proposes a person stands in `joint`, how its file is read in `population_file`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit, logit, ndtr, ndtri

from ranklsim.cohorts import streams
from ranklsim.cohorts.people.criteria import Range, admitted, covariates, values_of
from ranklsim.cohorts.people.joint import COLUMNS, Attempts, Population, Resampled, mix
from ranklsim.cohorts.people.population_file import built_population, load_population
from ranklsim.cohorts.protocol.design import SOURCE
from ranklsim.pkpd.biology.skeleton import NAMES, bmd_from_t_score
from ranklsim.pkpd.errors import BadInput, near
from ranklsim.pkpd.parameters import ParameterTable
from ranklsim.pkpd.simulation import COVARIATES
from ranklsim.pkpd.tomltext import locate

if TYPE_CHECKING:
    from ranklsim.cohorts.protocol.trial import Trial

SCARCE = 2000
"""Criteria that fewer than one in so many fulfil are refused."""

TOGETHER = 20_000
"""Attempts at drawing patients that are made at once."""

HARD_BOUND = "hard bound"
"""A parameter whose note says so is drawn from its distribution truncated to low..high; others are not bounded."""


@dataclass(frozen=True)
class Patients:
    """Patients of a trial, in the order asked for.

    Attributes
    ----------
    covariates : DataFrame
        Columns `patient` and `COLUMNS`.
    persons : DataFrame
        Parameter symbols that differ from the typical value; same rows.
    """

    covariates: pd.DataFrame
    persons: pd.DataFrame


def population_of(trial: Trial) -> Population:
    """The population that a trial names, the user's own before those that ship; raises as `load_population` does.

    Parameters
    ----------
    trial : Trial
        With the name of its population and the folder of its file.
    """
    name = trial.population.name
    if f"{name}.toml" in trial.population_files:
        return built_population(name, trial.population_files)
    return load_population(name, trial.populations)


def with_population(trial: Trial) -> Trial:
    """The trial with the files of its population, so that what is made of them does not change while it is used.

    Parameters
    ----------
    trial : Trial
        With the name of its population and the folder of its file.
    """
    return replace(trial, population_files=population_of(trial).files)


def _criteria_of(trial: Trial, population: Population, parameters: ParameterTable) -> dict[str, Range]:
    """Ranges that a patient must lie in: the population's inclusion, the trial's eligibility, the model's ranges."""
    model = {
        covariate: (float(parameters.frame.loc[symbol, "low"]), float(parameters.frame.loc[symbol, "high"]))
        for covariate, symbol in COVARIATES.items()
        if parameters.frame.loc[symbol, "group"] == "covariate"
    }
    return _intersect([population.inclusion, trial.population.eligible, model])


def draw(
    trial: Trial,
    parameters: ParameterTable,
    patients: Iterable[int],
    replicate: int = 0,
    typical_values: pd.DataFrame | None = None,
) -> Patients:
    """Draw patients of a trial.

    Parameters
    ----------
    trial : Trial
        Its seed, population, eligibility and layers are used.
    parameters : ParameterTable
        Typical values and between-patient variability.
    patients : iterable of int
        Numbers of the patients wanted, each from 0 on, in any order.
    replicate : int
        Another trial of the same design has another number.
    typical_values : DataFrame, n rows, optional
        Typical values of parameters (columns) that a patient varies around in place of the table's.

    Returns
    -------
    Patients
        If the trial's layer ``patients`` is off, every one is the typical patient (`typical`).

    Raises
    ------
    BadInput
        If hardly anyone of the population fulfils the criteria.
    """
    number = np.asarray(list(patients), dtype=np.int64)
    population = population_of(trial)
    criteria = _criteria_of(trial, population, parameters)
    accepted = _accepted(population, criteria, trial)
    if not trial.layers.patients:
        one = typical(trial, parameters)
        covariates = pd.concat([one.covariates] * number.size, ignore_index=True).assign(patient=number)
        return Patients(covariates, pd.concat([one.persons] * number.size, ignore_index=True))
    raw, values, attempt = _first_admitted(trial.seed, replicate, number, population, criteria, float(accepted.mean()))
    symbols = parameters.varying()
    own = {symbol: streams.normal(trial.seed, f"effect.{symbol}", number, 0, replicate) for symbol in symbols}
    scores = dict(own)
    if population.effects:
        zero = np.zeros(number.size)
        both = np.column_stack([raw, *(own.get(symbol, zero) for symbol in population.effects)])
        mixed = mix(both, population.factor[len(population.coordinates) :])
        scores.update({s: mixed[:, k] for k, s in enumerate(population.effects) if s in own})
    persons = _fixed_by(values, parameters, trial)
    for symbol, score in scores.items():
        if symbol not in persons:
            row = parameters.frame.loc[symbol]
            if typical_values is None or symbol not in typical_values:
                persons[symbol] = around(row, score)
            else:
                persons[symbol] = _around_each(row, score, typical_values[symbol].to_numpy(float))
    values.insert(0, "patient", number)
    if trial.matched and isinstance(population, Resampled) and population.ids:
        rows = population.rows(Attempts(trial.seed, replicate, number, attempt))
        values[SOURCE] = np.array(population.ids, dtype=object)[rows]
    return Patients(values, persons)


def typical(trial: Trial, parameters: ParameterTable) -> Patients:
    """The trial's typical patient: the median of each covariate among the eligible, and typical parameters.

    Parameters
    ----------
    trial : Trial
        Its population and criteria define the eligible.
    parameters : ParameterTable
        Typical values of the model.

    Returns
    -------
    Patients
        One row, patient 0. A yes/no covariate has the value of the majority. If the medians together break a
        criterion, the eligible person closest to them (in SDs) is taken instead.

    Raises
    ------
    BadInput
        If hardly anyone of the population fulfils the criteria.
    """
    population = population_of(trial)
    for symbol in population.effects:
        if symbol not in parameters.frame.index:
            hint = near(symbol, parameters.frame.index, "`ranklsim parameters` lists all.")
            raise BadInput(f"{population.name}.toml: 'eta_{symbol}' names no parameter; {hint}")
    criteria = _criteria_of(trial, population, parameters)
    eligible = population.cloud[_accepted(population, criteria, trial)]
    middle = eligible[list(COLUMNS)].median().to_frame().T
    for fact in ("prevalent_fracture", "prior_treatment"):
        middle[fact] = float(eligible[fact].mean() > 0.5)
    middle["weight"] = middle["BMI"] * (middle["height"] / 100) ** 2
    if not admitted(criteria, middle)[0]:
        spread = eligible[list(COLUMNS)].std().replace(0.0, 1.0)
        distance = (((eligible[list(COLUMNS)] - middle.iloc[0]) / spread) ** 2).sum(axis=1)
        middle = eligible.loc[[distance.idxmin()], list(COLUMNS)].reset_index(drop=True)
    persons = _fixed_by(middle, parameters, trial)
    middle.insert(0, "patient", 0)
    return Patients(middle.reset_index(drop=True), persons)


def _first_admitted(
    seed: int,
    replicate: int,
    number: NDArray[np.int64],
    population: Population,
    criteria: Mapping[str, Range],
    share: float,
) -> tuple[NDArray[np.float64], pd.DataFrame, NDArray[np.int64]]:
    """Each patient's first attempt that fulfils the criteria: independent normal scores, covariates, its number."""
    raw = np.empty((number.size, len(population.coordinates)))
    values = np.empty((number.size, len(COLUMNS)))
    made = np.zeros(number.size, dtype=np.int64)
    waiting = np.arange(number.size)
    attempt = 0
    while waiting.size:
        at_once = max(1, min(int(np.ceil(1.5 / share)), TOGETHER // waiting.size))  # few at a time while many wait
        tries = np.tile(np.arange(attempt, attempt + at_once), waiting.size)
        attempts = Attempts(seed, replicate, np.repeat(number[waiting], at_once), tries)
        who, scores, people = population.propose(attempts, criteria)
        done, first = np.unique(who // at_once, return_index=True)
        raw[waiting[done]] = scores[first]
        values[waiting[done]] = people.to_numpy()[first]
        made[waiting[done]] = tries[who[first]]
        waiting = np.delete(waiting, done)
        attempt += at_once
    return raw, pd.DataFrame(values, columns=list(COLUMNS)), made


def _around_each(row: pd.Series, score: NDArray[np.float64], value: NDArray[np.float64]) -> NDArray[np.float64]:
    """`around` where each patient has a typical value of her own."""
    found = np.empty(score.size)
    for each in np.unique(value):
        mine = value == each
        found[mine] = around(row, score[mine], float(each))
    return found


def around(row: pd.Series, score: NDArray[np.float64], value: float | None = None) -> NDArray[np.float64]:
    """A parameter's values in patients with these normal scores.

    lognormal: the typical value is the median, omega^2 = ln(1 + cv^2). logitnormal (shares): the typical value is the
    median, and the SD on the logit scale is cv / (1 - value), which gives that cv where the spread is small. normal:
    `cv` is the SD. `value` takes the place of the row's typical value.

    Parameters
    ----------
    row : Series
        The parameter's row of the table: `value`, `cv` and `distribution`.
    score : ndarray, shape (n,)
        A standard normal score for each patient.
    value : float, optional
        Typical value in the place of the row's.
    """
    value, cv, kind = float(row["value"]) if value is None else value, float(row["cv"]), row["distribution"]
    forth: Callable[[Any], Any]
    back: Callable[[Any], Any]
    if kind == "lognormal":
        forth, back, scale = np.log, np.exp, float(np.sqrt(np.log1p(cv**2)))
    elif kind == "logitnormal":
        forth, back, scale = logit, expit, cv / (1.0 - value)
    elif kind == "normal":
        forth, back, scale = float, np.asarray, cv
    else:
        raise BadInput(f"parameters: {row.name} varies (cv {cv:g}) but its distribution is '{kind}'; name one.")
    location = float(forth(value))
    if HARD_BOUND in str(row["note"]).lower():
        low, high = float(row["low"]), float(row["high"])
        below = float(ndtr((forth(low) - location) / scale)) if kind == "normal" or low > 0 else 0.0
        within = float(ndtr((forth(high) - location) / scale)) if kind != "logitnormal" or high < 1 else 1.0
        score = ndtri(below + ndtr(score) * (within - below))
    return np.asarray(back(location + scale * score), dtype=float)


def _fixed_by(values: pd.DataFrame, parameters: ParameterTable, trial: Trial) -> pd.DataFrame:
    """Parameters that covariates, and the conduct of the trial, set."""
    persons = {"SUPP": np.full(len(values), float(trial.conduct.supplements))} if trial.conduct.supplements else {}
    persons |= {symbol: values[covariate].to_numpy(float) for covariate, symbol in COVARIATES.items()}
    for site in NAMES:
        persons[f"BMD0_{site}"] = np.asarray(bmd_from_t_score(parameters, site, values[f"T_{site}"].to_numpy(float)))
    return pd.DataFrame(persons)


def _accepted(population: Population, criteria: Mapping[str, Range], trial: Trial) -> NDArray[np.bool_]:
    """Which of the population's fixed cloud of persons fulfil the criteria; BadInput if hardly any."""
    cloud = population.cloud
    ok = admitted(criteria, cloud)
    if ok.sum() * SCARCE < len(cloud):
        share = {name: float(admitted({name: limits}, cloud).mean()) for name, limits in criteria.items()}
        worst = min(share, key=lambda name: share[name])
        middle = np.quantile(values_of(worst, cloud[admitted(population.inclusion, cloud)]), [0.05, 0.95])
        line = locate(trial.source_text, ("population", "eligible", worst))
        where = f"{trial.name}.toml:{line}" if line else f"{trial.name}.toml"
        raise BadInput(
            f"{where}: eligible: fewer than 1 in {SCARCE} of population '{population.name}' fulfil the criteria; "
            f"widen {worst}, which {100 * share[worst]:.2g} % fulfil (90 % of the enrolled lie within "
            f"{covariates()[worst].say(*(float(f'{end:.3g}') for end in middle))}), or choose another population."
        )
    return ok


def _intersect(sets: Iterable[Mapping[str, Range]]) -> dict[str, Range]:
    merged: dict[str, Range] = {}
    for ranges in sets:
        for name, (low, high) in ranges.items():
            old_low, old_high = merged.get(name, (None, None))
            lows, highs = [x for x in (low, old_low) if x is not None], [x for x in (high, old_high) if x is not None]
            merged[name] = (max(lows, default=None), min(highs, default=None))
    return merged
