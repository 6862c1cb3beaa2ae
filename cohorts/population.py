"""Virtual patients: correlated baseline covariates, and model parameters drawn around them.

A population is a file in ``data/populations``: the marginal distribution of every covariate as
published for the women enrolled, who was let in, and correlations of the normal scores (Gaussian copula [1]_), also
with the between-patient effects on parameters (``eta_kT``). The marginals before inclusion are found once, on a fixed
set of Sobol points, so that those who are let in have the published means and SDs.

Whoever does not fulfil the criteria is drawn again from her own stream, so that patient k depends on seed, replicate
and k only. The part of a parameter that covariates do not explain is drawn once and is the same under any criteria.

References
----------
.. [1] Nelsen RB. An Introduction to Copulas, 2nd ed., Springer 2006, section 2.8. doi:10.1007/0-387-28678-0
.. [2] Sobol IM. USSR Comput Math Math Phys 1967;7:86-112. doi:10.1016/0041-5553(67)90144-9
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit, logit, ndtr, ndtri
from scipy.stats import qmc

from ranklsim.cohorts import streams
from ranklsim.cohorts.criteria import Range, admitted, covariates, values_of
from ranklsim.cohorts.schema import near
from ranklsim.pkpd.errors import BadInput
from ranklsim.pkpd.parameters import ParameterTable
from ranklsim.pkpd.simulation import COVARIATES
from ranklsim.pkpd.skeleton import NAMES, bmd_from_t_score
from ranklsim.pkpd.tomltext import load_toml, locate
from ranklsim.pkpd.units import convert

if TYPE_CHECKING:
    from ranklsim.cohorts.trial import Trial

POPULATIONS = Path(__file__).parent / "data" / "populations"

COLUMNS = (
    "age", "years_since_menopause", "weight", "height", "BMI", "eGFR", "vitamin_D", "T_LS", "T_TH", "T_FN", "T_R13",
    "prevalent_fracture", "CTX", "P1NP",
)  # fmt: skip
"""Covariates of a patient, in the units of ``data/covariates.csv``."""

SCARCE = 2000
"""Criteria that fewer than one in so many fulfil are refused."""

HARD_BOUND = "hard bound"
"""A parameter whose note says so is drawn from its distribution truncated to low..high; others are not bounded."""

_MENOPAUSE = "age_at_menopause"  # not a covariate of its own: it sets years since menopause
_POINTS = 2**15
_DISTRIBUTIONS = {"normal": ("mean", "sd"), "lognormal": ("mean", "sd", "median", "cv"), "bernoulli": ("share",)}
_MARGINAL_KEYS = {"covariate", "distribution", "mean", "sd", "median", "cv", "share", "low", "high", "origin", "unit"}
_PROVENANCE = {"status", "source", "doi"}
_STATUS = ("measured", "fitted", "assumed")


@dataclass(frozen=True)
class Marginal:
    """How one covariate is distributed among those included; `targets` in canonical units (see the file's keys)."""

    covariate: str
    distribution: str
    targets: tuple[tuple[str, float], ...]
    low: float
    high: float
    origin: float  # of a lognormal: ln(x - origin) is normal
    status: str
    source: str
    doi: str

    def quantile(self, score: NDArray[np.float64], shape: tuple[float, float]) -> NDArray[np.float64]:
        """Values at normal scores, for a location and scale (of the logarithm where lognormal)."""
        location, scale = shape
        if self.distribution == "bernoulli":
            return (score + location > 0).astype(float)
        low, high = self.low, self.high
        if self.distribution == "lognormal":
            low, high = (float(np.log(end - self.origin)) if end > self.origin else -np.inf for end in (low, high))
        if np.isfinite(low) or np.isfinite(high):
            below, within = ndtr((low - location) / scale), ndtr((high - location) / scale)
            score = ndtri(below + ndtr(score) * (within - below))
        value = location + scale * score
        value = self.origin + np.exp(value) if self.distribution == "lognormal" else value
        return np.clip(value, self.low, self.high)  # of rounding only: the score is inside already


@dataclass(frozen=True, eq=False)
class Population:
    """A population as its file declares it, with the marginals before inclusion worked out.

    Attributes
    ----------
    name, title, description : str
    marginals : tuple of Marginal
    shapes : tuple of (location, scale)
        Of each marginal before inclusion.
    inclusion : dict
        Covariate to closed range, None an open end.
    effects : tuple of str
        Parameters whose between-patient effect correlates with covariates.
    factor : ndarray, shape (n_marginals + n_effects, same)
        Cholesky factor of the correlation of the normal scores.
    text : str
        The file.
    """

    name: str
    title: str
    description: str
    marginals: tuple[Marginal, ...]
    shapes: tuple[tuple[float, float], ...]
    inclusion: dict[str, Range]
    effects: tuple[str, ...]
    factor: NDArray[np.float64]
    text: str

    def values(self, scores: NDArray[np.float64]) -> pd.DataFrame:
        """Covariates of persons with these correlated normal scores.

        Parameters
        ----------
        scores : ndarray, shape (n, n_marginals)

        Returns
        -------
        DataFrame
            Columns `COLUMNS`, n rows.
        """
        return _assemble(self.marginals, self.shapes, scores)

    def effect_correlation(self) -> pd.DataFrame:
        """Correlation of the normal scores of the parameters' between-patient effects, by symbol; 1 on the diagonal."""
        own = self.factor[len(self.marginals) :]
        return pd.DataFrame(own @ own.T, index=list(self.effects), columns=list(self.effects))

    def published(self) -> pd.DataFrame:
        """What the file asks the included to look like: covariate, statistic, value, unit, status, source, doi."""
        rows = [
            {"covariate": m.covariate, "statistic": name, "value": value, "unit": _unit(m.covariate)}
            | {"status": m.status, "source": m.source, "doi": m.doi}
            for m in self.marginals
            for name, value in m.targets
        ]
        return pd.DataFrame(rows)


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


def list_populations() -> list[str]:
    """Names of the populations that ship."""
    return sorted(path.stem for path in POPULATIONS.glob("*.toml"))


def load_population(name: str) -> Population:
    """Load a population by name.

    Raises
    ------
    BadInput
        If there is none, if its file is faulty (every fault with its line), if its correlations contradict each
        other, or if no distribution gives the published figures among those included.
    """
    if name not in list_populations():
        raise BadInput(f"unknown population '{name}'; {near(name, list_populations())}")
    return read_population(POPULATIONS / f"{name}.toml", name)


def read_population(path: Path, name: str) -> Population:
    """Read a population's file, such as the copy that a run keeps; raises as `load_population` does."""
    return _population(name, path.name, load_toml(path)[1])


def criteria_of(trial: Trial, population: Population, parameters: ParameterTable) -> dict[str, Range]:
    """Ranges that a patient must lie in: the population's inclusion, the trial's eligibility, the model's ranges."""
    model = {
        covariate: (float(parameters.frame.loc[symbol, "low"]), float(parameters.frame.loc[symbol, "high"]))
        for covariate, symbol in COVARIATES.items()
        if parameters.frame.loc[symbol, "group"] == "covariate"
    }
    return _intersect([population.inclusion, trial.population.eligible, model])


def draw(trial: Trial, parameters: ParameterTable, patients: Iterable[int], replicate: int = 0) -> Patients:
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
    population = load_population(trial.population.name)
    criteria = criteria_of(trial, population, parameters)
    accepted = _accepted(population, criteria)
    if not trial.layers.patients:
        one = typical(trial, parameters)
        covariates = pd.concat([one.covariates] * number.size, ignore_index=True).assign(patient=number)
        return Patients(covariates, pd.concat([one.persons] * number.size, ignore_index=True))
    n_marginals = len(population.marginals)
    raw = _first_admitted(trial.seed, replicate, number, population, criteria, float(accepted.mean()))
    values = population.values(_mix(raw, population.factor[:n_marginals]))
    symbols = parameters.varying()
    own = {symbol: streams.normal(trial.seed, f"effect.{symbol}", number, 0, replicate) for symbol in symbols}
    scores = dict(own)
    if population.effects:
        zero = np.zeros(number.size)
        both = np.column_stack([raw, *(own.get(symbol, zero) for symbol in population.effects)])
        mixed = _mix(both, population.factor[n_marginals:])
        scores.update({s: mixed[:, k] for k, s in enumerate(population.effects) if s in own})
    persons = _fixed_by(values, parameters, trial)
    for symbol, score in scores.items():
        if symbol not in persons:
            persons[symbol] = around(parameters.frame.loc[symbol], score)
    values.insert(0, "patient", number)
    return Patients(values, persons)


def typical(trial: Trial, parameters: ParameterTable) -> Patients:
    """The trial's typical patient: the median of each covariate among the eligible, and typical parameters.

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
    population = load_population(trial.population.name)
    criteria = criteria_of(trial, population, parameters)
    eligible = _cloud(population)[_accepted(population, criteria)]
    middle = eligible[list(COLUMNS)].median().to_frame().T
    middle["prevalent_fracture"] = float(eligible["prevalent_fracture"].mean() > 0.5)
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
) -> NDArray[np.float64]:
    """Independent normal scores of each patient's first attempt that fulfils the criteria; (n, n_marginals)."""
    names = [marginal.covariate for marginal in population.marginals]
    factor = population.factor[: len(names)]
    found = np.empty((number.size, len(names)))
    waiting = np.arange(number.size)
    attempt = 0
    while waiting.size:
        at_once = max(1, min(int(np.ceil(1.5 / share)), 5_000 // waiting.size))  # one at a time while many wait
        tries = np.arange(attempt, attempt + at_once)
        who = number[waiting][:, None]
        raw = np.stack(
            [streams.normal(seed, f"covariate.{name}", who, tries[None, :], replicate) for name in names], axis=-1
        )
        ok = admitted(criteria, population.values(_mix(raw.reshape(-1, len(names)), factor))).reshape(waiting.size, -1)
        done, first = ok.any(axis=1), ok.argmax(axis=1)
        found[waiting[done]] = raw[done, first[done]]
        waiting = waiting[~done]
        attempt += at_once
    return found


@numba.njit(cache=True, nogil=True)
def _mix(raw: NDArray[np.float64], factor: NDArray[np.float64]) -> NDArray[np.float64]:
    """Correlated scores from independent ones (n, >= k) by the first k columns of `factor` (m, >= k): (n, m).

    A plain sum in a fixed order: a matrix product may round otherwise where other persons are drawn with her.
    """
    n, k = raw.shape
    scores = np.empty((n, factor.shape[0]))
    for i in range(n):
        for j in range(factor.shape[0]):
            total = 0.0
            for each in range(min(k, factor.shape[1])):
                total += factor[j, each] * raw[i, each]
            scores[i, j] = total
    return scores


def around(row: pd.Series, score: NDArray[np.float64]) -> NDArray[np.float64]:
    """A parameter's values in patients with these normal scores.

    lognormal: the typical value is the median, omega^2 = ln(1 + cv^2). logitnormal (shares): the typical value is the
    median, and the SD on the logit scale is cv / (1 - value), which gives that cv where the spread is small. normal:
    `cv` is the SD.
    """
    value, cv, kind = float(row["value"]), float(row["cv"]), row["distribution"]
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


def _accepted(population: Population, criteria: Mapping[str, Range]) -> NDArray[np.bool_]:
    """Which of the population's fixed cloud of persons fulfil the criteria; BadInput if hardly any."""
    cloud = _cloud(population)
    ok = admitted(criteria, cloud)
    if ok.sum() * SCARCE < len(cloud):
        share = {name: float(admitted({name: limits}, cloud).mean()) for name, limits in criteria.items()}
        worst = min(share, key=lambda name: share[name])
        middle = np.quantile(values_of(worst, cloud[admitted(population.inclusion, cloud)]), [0.05, 0.95])
        raise BadInput(
            f"eligible: fewer than 1 in {SCARCE} of population '{population.name}' fulfil the criteria; "
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


# -- a population's file -----------------------------------------------------------------------------------------------


def _unit(covariate: str) -> str:
    return "yr" if covariate == _MENOPAUSE else covariates()[covariate].unit


@lru_cache(maxsize=16)
def _population(name: str, label: str, text: str) -> Population:
    data = tomllib.loads(text)
    faults: list[str] = []

    def fault(path: tuple[str | int, ...], sentence: str) -> None:
        line = locate(text, path)
        faults.append(f"{label}:{line}: {sentence}" if line else f"{label}: {sentence}")

    _only(data, {"name", "title", "description", "inclusion", "marginal", "correlation"}, (), fault)
    marginals = [m for k, row in enumerate(data.get("marginal", [])) if (m := _marginal(row, ("marginal", k), fault))]
    names = [marginal.covariate for marginal in marginals]
    for twice in sorted({covariate for covariate in names if names.count(covariate) > 1}):
        fault(("marginal",), f"{twice} has two marginals; keep one.")
    _complete(names, fault)
    inclusion: dict[str, Range] = {}
    for k, row in enumerate(data.get("inclusion", [])):
        _inclusion(row, ("inclusion", k), inclusion, fault)
    correlation, effects = _correlation(data.get("correlation", []), names, fault)
    if faults:
        raise BadInput(*faults)
    try:
        factor = np.linalg.cholesky(correlation).astype(np.float64)
    except np.linalg.LinAlgError:
        raise BadInput(
            f"{label}:{locate(text, ('correlation',))}: the correlations contradict each other (the matrix has the "
            f"negative eigenvalue {np.linalg.eigvalsh(correlation)[0]:.2g}); bring the strongest pairs closer to 0."
        ) from None
    shapes = _match(label, tuple(marginals), factor[: len(names)], inclusion)
    return Population(
        name=name,
        title=str(data.get("title", name)),
        description=str(data.get("description", "")),
        marginals=tuple(marginals),
        shapes=shapes,
        inclusion=inclusion,
        effects=tuple(effects),
        factor=factor,
        text=text,
    )


def _only(table: Any, known: set[str], path: tuple[str | int, ...], fault: Any) -> bool:
    if not isinstance(table, dict):
        fault(path, "this has the wrong form; write it as a table of keys and values.")
        return False
    for key in table:
        if key not in known:
            fault((*path, key), f"unknown key '{key}'; {near(key, sorted(known))}")
    return True


def _numbers(row: Mapping[str, Any], keys: Iterable[str], path: tuple[str | int, ...], fault: Any) -> dict[str, float]:
    """Numbers of a table, those with a dimension in the covariate's canonical unit."""
    found = {}
    canonical = _unit(str(row["covariate"]))
    try:
        convert(1.0, str(row.get("unit", canonical)), canonical)
    except BadInput as error:
        fault((*path, "unit"), f"{row['covariate']}: {error.messages[0]}")
        return {}
    for key in keys:
        if key not in row:
            continue
        value = row[key]
        if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
            fault((*path, key), f"{row['covariate']}: {key} is {value!r}; give a number.")
        else:
            scaled = key not in ("cv", "share")
            found[key] = convert(float(value), str(row.get("unit", canonical)), canonical) if scaled else float(value)
    return found


def _named_covariate(row: Mapping[str, Any], known: Iterable[str], path: tuple[str | int, ...], fault: Any) -> bool:
    known = list(known)
    covariate = row.get("covariate")
    if covariate not in known:
        fault((*path, "covariate"), f"unknown covariate {covariate!r}; {near(str(covariate), known)}")
        return False
    return True


def _marginal(row: Any, path: tuple[str | int, ...], fault: Any) -> Marginal | None:
    drawable = [name for name in (*COLUMNS, _MENOPAUSE)]
    if not _only(row, _MARGINAL_KEYS | _PROVENANCE, path, fault) or not _named_covariate(row, drawable, path, fault):
        return None
    covariate, kind = row["covariate"], row.get("distribution")
    if kind not in _DISTRIBUTIONS:
        fault((*path, "distribution"), f"{covariate}: {kind!r} is no distribution; use normal, lognormal or bernoulli.")
        return None
    if row.get("status") not in _STATUS or not row.get("source"):
        fault(path, f"{covariate}: give a status (measured, fitted or assumed) and a source.")
    numbers = _numbers(row, ("mean", "sd", "median", "cv", "share", "low", "high", "origin"), path, fault)
    low, high, origin = numbers.pop("low", -np.inf), numbers.pop("high", np.inf), numbers.pop("origin", 0.0)
    wanted = ("median", "cv") if kind == "lognormal" and "median" in numbers else _DISTRIBUTIONS[kind][:2]
    if set(numbers) != set(wanted):
        fault(path, f"{covariate}: a {kind} marginal needs {' and '.join(wanted)}, besides low, high, origin.")
        return None
    spread, middle = numbers.get("sd", numbers.get("cv", 1.0)), numbers.get("mean", numbers.get("median", 0.0))
    if spread <= 0 or not low < high or not (kind == "bernoulli" or low < middle < high):
        fault(path, f"{covariate}: give a positive spread, and a middle between low and high.")
        return None
    if (kind == "lognormal" and middle <= origin) or not 0 <= numbers.get("share", 0.5) <= 1:
        fault(path, f"{covariate}: the middle of a lognormal lies above its origin, and a share lies within 0 to 1.")
        return None
    targets = tuple((key, numbers[key]) for key in wanted)
    status, source, doi = (str(row.get(key, "")) for key in ("status", "source", "doi"))
    return Marginal(covariate, kind, targets, low, high, origin, status, source, doi)


def _inclusion(row: Any, path: tuple[str | int, ...], inclusion: dict[str, Range], fault: Any) -> None:
    keys = {"covariate", "low", "high", "unit"} | _PROVENANCE
    if not _only(row, keys, path, fault) or not _named_covariate(row, covariates(), path, fault):
        return
    numbers = _numbers(row, ("low", "high"), path, fault)
    if not numbers or numbers.get("low", -np.inf) > numbers.get("high", np.inf):
        fault(path, f"{row['covariate']}: give low, high or both, the lower one first.")
    inclusion[row["covariate"]] = (numbers.get("low"), numbers.get("high"))


def _complete(names: list[str], fault: Any) -> None:
    """Every column must be drawn or follow from others, and none may do both."""
    body = [name for name in ("weight", "height", "BMI") if name in names]
    since = [name for name in ("years_since_menopause", _MENOPAUSE) if name in names]
    if "height" not in body or len(body) != 2:
        fault((), "height and either BMI or weight need a marginal, the third follows.")
    if len(since) != 1:
        fault((), "either age_at_menopause or years_since_menopause needs a marginal, the other follows.")
    for name in COLUMNS:
        if name not in ("weight", "height", "BMI", "years_since_menopause") and name not in names:
            fault((), f'{name} has no marginal; add a table [[marginal]] with covariate = "{name}".')


def _correlation(groups: Any, names: list[str], fault: Any) -> tuple[NDArray[np.float64], list[str]]:
    """Matrix over the covariates and then the effects that are named, in order of their names."""
    pairs: dict[frozenset[str], float] = {}
    for k, group in enumerate(groups if isinstance(groups, list) else []):
        path = ("correlation", k)
        if not _only(group, {"pairs"} | _PROVENANCE, path, fault):
            continue
        for j, pair in enumerate(group.get("pairs", [])):
            here = (*path, "pairs", j)
            if not (isinstance(pair, list) and len(pair) == 3 and isinstance(pair[2], int | float)):
                fault(here, f'{pair!r} is no pair; write it like ["T_LS", "T_TH", 0.65].')
            elif not -1 < pair[2] < 1 or pair[0] == pair[1]:
                fault(here, f"{pair[0]} with {pair[1]}: {pair[2]:g} is no correlation; give one between -1 and 1.")
            elif frozenset(pair[:2]) in pairs:
                fault(here, f"{pair[0]} with {pair[1]} stands twice; keep one.")
            else:
                for name in pair[:2]:
                    if name not in names and not str(name).startswith("eta_"):
                        fault(here, f"'{name}' has no marginal; {near(str(name), names)}")
                pairs[frozenset(map(str, pair[:2]))] = float(pair[2])
    effects = sorted({name for pair in pairs for name in pair if name.startswith("eta_")})
    order = {name: k for k, name in enumerate([*names, *effects])}
    matrix = np.eye(len(order))
    for pair, r in pairs.items():
        if all(name in order for name in pair):
            a, b = (order[name] for name in pair)
            matrix[a, b] = matrix[b, a] = r
    return matrix, [name.removeprefix("eta_") for name in effects]


def _assemble(
    marginals: tuple[Marginal, ...], shapes: tuple[tuple[float, float], ...], scores: NDArray[np.float64]
) -> pd.DataFrame:
    """Covariates at correlated normal scores, those that follow from others included."""
    x = {m.covariate: m.quantile(np.ascontiguousarray(scores[:, k]), shapes[k]) for k, m in enumerate(marginals)}
    if _MENOPAUSE in x:
        x["years_since_menopause"] = x["age"] - x.pop(_MENOPAUSE)
    metres = x["height"] / 100
    if "weight" not in x:
        x["weight"] = x["BMI"] * metres**2
    elif "BMI" not in x:
        x["BMI"] = x["weight"] / metres**2
    return pd.DataFrame({name: x[name] for name in COLUMNS})


@lru_cache(maxsize=4)
def _sobol(dimensions: int) -> NDArray[np.float64]:
    """Evenly spread independent normal scores; (_POINTS, dimensions) [2]_."""
    return ndtri(qmc.Sobol(dimensions, scramble=False).random(_POINTS) + 0.5 / _POINTS)


@lru_cache(maxsize=4)
def _cloud(population: Population) -> pd.DataFrame:
    """The fixed cloud of persons of a population, before inclusion."""
    n = len(population.marginals)
    return population.values(_mix(_sobol(n), population.factor[:n]))


def _match(
    label: str, marginals: tuple[Marginal, ...], factor: NDArray[np.float64], inclusion: dict[str, Range]
) -> tuple[tuple[float, float], ...]:
    """Location and scale of each marginal before inclusion, such that the included have the published figures."""
    scores = _mix(_sobol(len(marginals)), factor)
    goals = [_goal(marginal) for marginal in marginals]
    shapes = list(goals)
    off, worst = np.inf, 0
    for _ in range(200):
        who = admitted(inclusion, _assemble(marginals, tuple(shapes), scores))
        if who.sum() < 1000:
            break
        misfits = []
        for k, marginal in enumerate(marginals):
            middle, spread = goals[k]
            location, scale = shapes[k]
            got = _moments(marginal, marginal.quantile(scores[who, k], shapes[k]))
            if marginal.distribution == "bernoulli":
                misfits.append(abs(ndtr(got[0]) - ndtr(middle)) if np.isfinite(middle) else 0.0)
                shapes[k] = (location + 0.7 * (middle - got[0]) if np.isfinite(middle + got[0]) else location, scale)
                continue
            misfits.append(max(abs(got[0] - middle) / spread, abs(np.log(got[1] / spread))))
            shapes[k] = (location + 0.7 * (middle - got[0]), scale * (spread / got[1]) ** 0.7)
        worst = int(np.argmax(misfits))
        off = misfits[worst]
        if off < 2e-3:
            return tuple(shapes)
        if not all(
            np.isfinite(shape).all() or m.distribution == "bernoulli"
            for m, shape in zip(marginals, shapes, strict=True)
        ):
            break
    marginal = marginals[worst]
    wish = " and ".join(f"{key} {value:g}" for key, value in marginal.targets)
    raise BadInput(
        f"{label}: no distribution of {marginal.covariate} gives {wish} among those that `inclusion` lets in; "
        "widen the inclusion, or bring the figures closer to what it allows."
    )


def _goal(marginal: Marginal) -> tuple[float, float]:
    """Wanted middle and spread on the scale on which the marginal is normal (probit of the share for yes/no)."""
    wanted = dict(marginal.targets)
    if marginal.distribution == "bernoulli":
        return float(ndtri(wanted["share"])), 1.0
    if marginal.distribution == "normal":
        return wanted["mean"], wanted["sd"]
    middle = wanted.get("mean", wanted.get("median", 0.0)) - marginal.origin
    sigma = float(np.sqrt(np.log1p(wanted.get("cv", wanted.get("sd", 0.0) / middle) ** 2)))
    return float(np.log(middle)) - (sigma**2 / 2 if "mean" in wanted else 0.0), sigma


def _moments(marginal: Marginal, x: NDArray[np.float64]) -> tuple[float, float]:
    """Middle and spread that were reached, on the scale of `_goal`."""
    if marginal.distribution == "bernoulli":
        return float(ndtri(x.mean())), 1.0
    if marginal.distribution == "normal":
        return float(x.mean()), float(x.std())
    x = x - marginal.origin
    if "median" in dict(marginal.targets):
        return float(np.log(np.median(x))), float(np.log(x).std())
    sigma = float(np.sqrt(np.log1p((x.std() / x.mean()) ** 2)))
    return float(np.log(x.mean())) - sigma**2 / 2, sigma
