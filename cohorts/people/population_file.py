"""Reading a population's file: a declared joint distribution, or a table of women to resample (docs/populations.md).

Every fault is told with its line, all at once. Correlations that contradict each other are told by pair, with the range
that the other pairs leave it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import threadpoolctl
from numpy.typing import NDArray
from scipy.special import ndtr

from ranklsim.cohorts.people.criteria import Range, admitted, covariates, parts
from ranklsim.cohorts.people.joint import (
    COLUMNS,
    Declared,
    Population,
    Resampled,
    assembled,
    assembled_of,
    coordinate,
    derived,
    filled_correlation,
    mix,
    scores_of,
    sobol,
    sources,
)
from ranklsim.cohorts.people.marginals import DISTRIBUTIONS, Array, Empirical, Marginal, matched
from ranklsim.cohorts.people.marginals import Shape as Matched
from ranklsim.cohorts.people.patient_table import AT_MENOPAUSE, Layout, read_table, unit_of
from ranklsim.cohorts.people.weighting import Target, Tilt, effective, tilted
from ranklsim.pkpd import given as objects
from ranklsim.pkpd.arguments import checked, text
from ranklsim.pkpd.arguments import folder as existing_folder
from ranklsim.pkpd.errors import BadInput, near, shown
from ranklsim.pkpd.reading import Faults, Shape, Table, as_kind, file_name, parse_toml, read_content
from ranklsim.pkpd.results import Frame
from ranklsim.pkpd.units import convert

POPULATIONS = Path(__file__).parents[1] / "data" / "populations"

FEWEST_EFFECTIVE = 10.0
"""Weights that are worth fewer women than this are refused."""

_STATUS = ("measured", "fitted", "assumed")
_FIGURES = {"mean": "63.0", "sd": "6.5", "median": "0.4", "share": "0.3", "low": "60", "high": "85", "unit": '"yr"'}
_PROVENANCE = {"status": '"measured"', "source": '"a published table"', "doi": '"10.1056/NEJMoa0809493"'}
_COVARIATE = {"covariate": '"age"'}
_MARGINAL = Shape(
    _COVARIATE | _FIGURES | _PROVENANCE | {"distribution": '"normal"', "cv": "0.4", "origin": "0"},
    needed=("covariate", "distribution"),
)
_TARGET = Shape(_COVARIATE | _FIGURES | _PROVENANCE, needed=("covariate",))
_INCLUSION = Shape(_COVARIATE | {key: _FIGURES[key] for key in ("low", "high", "unit")} | _PROVENANCE, ("covariate",))
_CORRELATION = Shape({"pairs": '[["T_LS", "T_TH", 0.65]]'} | _PROVENANCE, needed=("pairs",))
_BOTH = {
    "name": '"clinic"',
    "title": '"Women of our clinic"',
    "description": '"Who they are."',
    "inclusion": "one or more tables [[inclusion]]",
    "target": "one or more tables [[target]]",
    "correlation": "one or more tables [[correlation]]",
}
_DECLARED = Shape(_BOTH | {"marginal": "one or more tables [[marginal]]"})
_TABLE = Shape(
    _BOTH
    | {
        "table": '"patients.csv"',
        "like": '"postmenopausal-osteoporosis"',
        "smoothing": "0.3",
        "columns": '{ age = "AGE" }',
        "units": '{ height = "m" }',
        "ignore": '["id", "site"]',
        "records": "true or false",
    }
)

Pairs = dict[frozenset[str], float]


def list_populations() -> list[str]:
    """Names of the populations that ship."""
    return sorted(path.stem for path in POPULATIONS.glob("*.toml"))


def _like(value: Any) -> Any:
    return value if isinstance(value, pd.DataFrame | Mapping) else text(value)


@checked(population=_like, folder=existing_folder)
def populations(
    population: str | pd.DataFrame | Mapping[str, Any] | None = None, *, folder: str | Path | None = None
) -> Frame:
    """The populations that ship, or the women who may be enrolled from one, which may be your own.

    Parameters
    ----------
    population : str, DataFrame or mapping, optional
        The name of a population; a row for each patient, columns as docs/populations.md names them; or the keys of a
        population's file with its ``name``, where ``table`` may be a data frame.
    folder : path, optional
        Where your own populations are; the working folder by default.

    Returns
    -------
    Frame
        One row for each population: name, title. Or one row for each virtual woman who fulfils the inclusion, a column
        for each covariate; `about` is then the population.

    Raises
    ------
    BadInput
        If there is no such population, or it is at fault (every fault of its file or table).
    """
    if population is None:
        rows = [(name, load_population(name).title) for name in list_populations()]
        return Frame(rows, columns=["name", "title"], table="populations")
    beside = Path.cwd() if folder is None else Path(folder)
    if not isinstance(population, str):
        population, files = objects.population_files(population)
        beside = objects.place(files)
    found = load_population(population, beside)
    return Frame(found.enrolled, table="population", about=found)


def find_population(name: str, folder: Path | None = None) -> Path | None:
    """File of a population: in `folder`, or else shipped; None if there is none.

    Parameters
    ----------
    name : str
        Name without ``.toml``.
    folder : Path, optional
        Folder that is searched before the shipped populations.
    """
    for place in (folder, POPULATIONS):
        if place is not None and (place / f"{name}.toml").is_file():
            return place / f"{name}.toml"
    return None


def load_population(name: str, folder: Path | None = None) -> Population:
    """Load a population by name.

    Parameters
    ----------
    name : str
    folder : Path, optional
        Where the user's own populations are, and their tables: the trial's folder. It comes first.

    Raises
    ------
    BadInput
        If there is none; if its file or table is faulty (every fault with its line); if its correlations or targets
        contradict each other; if no distribution gives the published figures among those included; or if weights
        lean on a few women.
    """
    return built_population(name, _files(name, folder))


def built_population(name: str, files: Mapping[str, bytes]) -> Population:
    """A population from the content of its files by name, such as `Population.files`; raises as `load_population`.

    Parameters
    ----------
    name : str
        Name of the population; ``NAME.toml`` is its main file.
    files : mapping of str to bytes
        Content of each file that the population consists of.
    """
    file = (f"{name}.toml", files[f"{name}.toml"])
    root = _open(*file)
    with threadpoolctl.threadpool_limits(1):  # a product of matrices has other last bits on another number of threads
        return _built(name, file, root, files)


def _built(name: str, file: tuple[str, bytes], root: Table, files: Mapping[str, bytes]) -> Population:
    if "table" not in root:
        return _declared(name, file)
    table = root.text("table", "")
    base = built_population(root.text("like", ""), files)
    if not isinstance(base, Declared):
        place = root.faults.at(("like",))
        raise BadInput(f"{place}: like = '{base.name}' is a table itself; name a declared population.")
    return _resampled(name, file, (table, files[table]), base)


def _files(name: str, folder: Path | None, users: tuple[str, ...] = ()) -> dict[str, bytes]:
    """The files of a population, its own first; `users` are those that are like it."""
    path = find_population(name, folder)
    if path is None:
        raise BadInput(f"unknown population '{name}'; {near(name, list_populations())}")
    files = {path.name: read_content(path, what="TOML file")}
    root = _open(path.name, files[path.name])
    if "table" not in root:
        return files
    table, like = root.text("table", ""), root.text("like", "")
    at = root.faults.at
    if not file_name(table):
        raise BadInput(f"{at(('table',))}: table is {root.data['table']!r}; name a file in this file's folder.")
    try:
        files[table] = read_content(path.parent / table, what="table")
    except BadInput as fault:
        said = fault.messages[0].removeprefix(f"{path.parent / table}: ")
        raise BadInput(f"{at(('table',))}: table '{table}' beside this file: {said}") from None
    if not file_name(like) or like in (name, *users) or find_population(like, folder) is None:
        hint = near(like, list_populations())
        said = f"`like` is {shown(root.data['like'])}" if "like" in root else "`like` is missing"
        raise BadInput(f"{at(('like',))}: {said}; it names the population that fills what the table lacks; {hint}")
    return files | _files(like, folder, (name, *users))


def _open(label: str, content: bytes) -> Table:
    """A population's file on the way in; its faults are noted with their line."""
    data, text = _parsed(label, content)
    return Table(Faults(label, text, data), data, _TABLE if "table" in data else _DECLARED)


_parsed = lru_cache(maxsize=4)(parse_toml)  # a file is opened to find its table, to choose its kind and to be read


def _words(name: str, root: Table) -> tuple[str, str, str]:
    return name, root.text("title", name), root.text("description", "")


@lru_cache(maxsize=16)
def _declared(name: str, file: tuple[str, bytes]) -> Declared:
    root = _open(*file)
    label, fault = root.faults.label, root.fault
    marginals = tuple(m for row in root.tables("marginal", _MARGINAL) if (m := _marginal(row)))
    names = [marginal.covariate for marginal in marginals]
    for twice in sorted({covariate for covariate in names if names.count(covariate) > 1}):
        fault("marginal", f"{twice} has two marginals; keep one.")
    _complete(names, root)
    inclusion = _inclusions(root)
    targets = _targets(root)
    pairs = _pairs(root, names)
    root.faults.stop()
    effects, factor = _factor(root.faults.at(("correlation",)), names, [], np.eye(len(names)), pairs)
    scores = mix(sobol(len(names)), factor[: len(names)])

    def people(shapes: tuple[Matched, ...]) -> Any:
        return assembled_of(marginals, shapes, scores)

    columns = [np.ascontiguousarray(scores[:, k]) for k in range(len(names))]
    chances = [ndtr(column) for column in columns]
    asked = set().union(*(sources(part, names) for each in inclusion for part in parts(each)))
    at_once = [k for k, name in enumerate(names) if name in asked]

    def let_in(shapes: tuple[Matched, ...]) -> tuple[Any, dict[int, Any]]:
        known = {k: marginals[k].quantile(columns[k], shapes[k], chances[k]) for k in at_once}
        drawn = derived({names[k]: values for k, values in known.items()})
        return admitted(inclusion, pd.DataFrame(drawn, index=range(len(scores)))), known

    shapes = matched(label, marginals, scores, let_in)
    tilt = None
    if targets:
        cloud = people(shapes)
        cloud = cloud[admitted(inclusion, cloud)]
        kept = _as_they_are(cloud, targets)
        tilt = _tilt(label, cloud, (*targets, *kept), np.ones(len(cloud)), "those let in")
    return Declared(
        *_words(name, root), tuple(names), inclusion, effects, factor, targets, dict([file]), marginals, shapes, tilt
    )


def _as_they_are(cloud: pd.DataFrame, targets: tuple[Target, ...]) -> list[Target]:
    """Mean and SD of every covariate as matched, so that tilting to further targets leaves them."""
    asked = {t.covariate for t in targets if t.statistic in ("mean", "sd") or covariates()[t.covariate].yes_no}
    return [
        Target(column, "mean", float(x.mean()))
        if statistic == "mean"
        else Target(column, "sd", float(x.std(ddof=0)), about=float(x.mean()))
        for column, x in cloud.items()
        if column not in asked and x.nunique() > 1
        for statistic in (("mean",) if x.nunique() == 2 else ("mean", "sd"))
    ]


@lru_cache(maxsize=16)
def _resampled(name: str, file: tuple[str, bytes], table: tuple[str, bytes], base: Declared) -> Resampled:
    root = _open(*file)
    at = root.faults.at
    layout = _layout(root)
    smoothing = root.number("smoothing", 0.0, least=0, most=1)
    inclusion = _inclusions(root)
    targets = _targets(root)
    root.faults.stop()
    women = read_table(*table, layout)
    names = list(_coordinates_of(women))
    below, ids, women = tuple(women.attrs["below"]), women.attrs["ids"], women.reindex(columns=names)
    pairs = _pairs(root, names)
    for pair in pairs:
        if not any(each.startswith("eta_") for each in pair):
            root.fault("correlation", f"{' with '.join(sorted(pair))}: the table says how covariates go together.")
    root.faults.stop()
    inside = _surely_admitted(inclusion, women)
    if not inside.any():
        raise BadInput(f"{at(('inclusion',))}: no woman of {table[0]} fulfils the inclusion; widen it.")
    weights = inside.astype(float)
    fill = base.enrolled
    if targets:
        complete = _completed(women, fill)
        tilt = _tilt(root.faults.label, complete[inside], targets, np.ones(int(inside.sum())), f"women of {table[0]}")
        weights[inside] = np.exp(tilt.logs(complete[inside]))
        if (size := effective(weights)) < FEWEST_EFFECTIVE:
            raise BadInput(
                f"{at(('target',))}: the targets lean on few women: of {int(inside.sum())} in {table[0]} the "
                f"weights are worth {size:.1f} (at least {FEWEST_EFFECTIVE:g} needed); bring the targets closer to it."
            )
    marginals, scores, of_base = [], np.full((len(women), len(names)), np.nan), np.empty((len(fill), len(names)))
    for k, each in enumerate(names):
        x, y = women[each].to_numpy(float), coordinate(each, fill)
        there = Empirical(y, np.ones(len(fill)))
        marginals.append(Empirical(x, weights) if (np.isfinite(x) & (weights > 0)).any() else there)
        scores[:, k] = scores_of(x, marginals[k], each)
        of_base[:, k] = scores_of(y, there, each)
    drawn = np.column_stack([scores, np.full((len(women), len(base.effects)), np.nan)])
    correlation = filled_correlation(drawn, weights, base.correlation_with_effects(of_base))
    effects, factor = _factor(
        at(("correlation",)), names, [f"eta_{symbol}" for symbol in base.effects], correlation, pairs
    )
    return Resampled(
        *_words(name, root), tuple(names), inclusion, effects, factor, targets, dict([file, table]) | base.files,
        table[0], women, scores, weights, tuple(marginals), smoothing, base, below, ids,
    )  # fmt: skip


def _coordinates_of(women: pd.DataFrame) -> list[str]:
    """The covariates that are drawn, from the columns of a table. Two of weight, height and BMI give the third."""
    body = [each for each in ("weight", "height", "BMI") if each in women]
    if len(body) == 1:
        body.append("BMI" if body == ["height"] else "height")
    others = [AT_MENOPAUSE if name == "years_since_menopause" else name for name in COLUMNS]
    return [name for name in others if name not in ("weight", "height", "BMI")] + (body or ["height", "BMI"])


def _completed(women: pd.DataFrame, fill: pd.DataFrame) -> pd.DataFrame:
    """All covariates of the women, for weighting: a missing value counts as the median."""
    x = {}
    for name in women:
        own = women[name].to_numpy(float)
        middle = float(np.nanmedian(own)) if np.isfinite(own).any() else float(np.median(coordinate(name, fill)))
        x[name] = np.where(np.isfinite(own), own, middle)
    return assembled(x)


def _surely_admitted(inclusion: Mapping[str, Range], women: pd.DataFrame) -> NDArray[np.bool_]:
    """Women whom no known value keeps out; a missing value does not."""
    frame = women.copy()
    if AT_MENOPAUSE in frame:
        frame["years_since_menopause"] = frame["age"] - frame[AT_MENOPAUSE]
    ok = np.ones(len(frame), dtype=bool)
    for name, (low, high) in inclusion.items():
        x = frame[["T_LS", "T_TH"]].min(axis=1) if name == "T_lowest" else frame.get(name)
        if x is not None:
            ok &= ~((x < (-np.inf if low is None else low)) | (x > (np.inf if high is None else high))).to_numpy()
    return ok


def _tilt(label: str, people: pd.DataFrame, targets: tuple[Target, ...], start: Array, whom: str) -> Tilt:
    """Weights to targets, or a sentence that names those that contradict each other."""
    found = tilted(people, targets, start)
    if not found.contradicting:
        return found
    weights = start * np.exp(found.logs(people))
    said = [
        f"{targets[k].name} = {targets[k].value:.4g} (nearest {targets[k].achieved(people, weights):.4g})"
        for k in found.contradicting[:4]
    ]
    line = targets[found.contradicting[0]].line
    here = f"{label}:{line}" if line else label
    raise BadInput(
        f"{here}: no weighting of {whom} gives {' together with '.join(said)}; change one of them or leave it out."
    )


# -- parts of a file ---------------------------------------------------------------------------------------------------


def _numbers(row: Table, keys: Iterable[str]) -> dict[str, float]:
    """Numbers of a table, those with a dimension in the covariate's canonical unit."""
    covariate = row.text("covariate", "")
    canonical = unit_of(covariate)
    unit = row.text("unit", canonical)
    if not _converts(row, ("unit",), covariate, unit):
        return {}
    given = {key: value for key in keys if (value := row.number(key, None)) is not None}
    return {key: value if key in ("cv", "share") else convert(value, unit, canonical) for key, value in given.items()}


def _converts(table: Table, keys: tuple[str, ...], covariate: str, unit: str) -> bool:
    """Whether a unit can be turned into a covariate's own; a fault is noted if not."""
    try:
        convert(1.0, unit, unit_of(covariate))
    except BadInput as error:
        table.fault(keys, f"{covariate}: {error.messages[0]}")
        return False
    return True


def _named_covariate(row: Table, known: Iterable[str]) -> bool:
    known, covariate = list(known), row.text("covariate", None)
    if covariate is not None and covariate not in known:
        row.fault("covariate", f"unknown covariate '{covariate}'; {near(covariate, known)}")
    return covariate in known


def _provenance(row: Table) -> tuple[str, str, str]:
    status, source, doi = (row.text(key, "") for key in ("status", "source", "doi"))
    if status not in _STATUS or not source:
        covariate = row.text("covariate", "")
        row.fault((), f"{covariate}: give a status (measured, fitted or assumed) and a source.")
    return status, source, doi


def _marginal(row: Table) -> Marginal | None:
    if not _named_covariate(row, (*COLUMNS, AT_MENOPAUSE)):
        return None
    covariate, kind = row.text("covariate", ""), row.choice("distribution", tuple(DISTRIBUTIONS), None)
    status, source, doi = _provenance(row)
    numbers = _numbers(row, ("mean", "sd", "median", "cv", "share", "low", "high", "origin"))
    low, high, origin = numbers.pop("low", -np.inf), numbers.pop("high", np.inf), numbers.pop("origin", 0.0)
    if kind is None:
        return None
    wanted = ("median", "cv") if kind == "lognormal" and "median" in numbers else DISTRIBUTIONS[kind][:2]
    if set(numbers) != set(wanted):
        row.fault((), f"{covariate}: a {kind} marginal needs {' and '.join(wanted)}, besides low, high, origin.")
        return None
    spread, middle = numbers.get("sd", numbers.get("cv", 1.0)), numbers.get("mean", numbers.get("median", 0.0))
    if spread <= 0 or not low < high or not (kind == "bernoulli" or low < middle < high):
        row.fault((), f"{covariate}: give a positive spread, and a middle between low and high.")
        return None
    if (kind == "lognormal" and middle <= origin) or not 0 <= numbers.get("share", 0.5) <= 1:
        row.fault((), f"{covariate}: the middle of a lognormal lies above its origin, and a share lies within 0 to 1.")
        return None
    targets = tuple((key, numbers[key]) for key in wanted)
    return Marginal(covariate, kind, targets, low, high, origin, status, source, doi)


def _targets(root: Table) -> tuple[Target, ...]:
    """Figures to weigh to: mean, sd (with its mean), median, or the share of those within low to high."""
    found: list[Target] = []
    for row in root.tables("target", _TARGET):
        if not _named_covariate(row, covariates()):
            continue
        covariate, said = row.text("covariate", ""), _provenance(row)
        numbers = _numbers(row, ("mean", "sd", "median", "share", "low", "high"))
        figures = {key: numbers[key] for key in ("mean", "sd", "median", "share") if key in numbers}
        ends = {key: numbers[key] for key in ("low", "high") if key in numbers}
        if not figures or (ends and set(figures) != {"share"}) or ("sd" in figures and "mean" not in figures):
            row.fault((), f"{covariate}: give mean, mean and sd, median, or share (with low, high or both).")
        elif figures.get("sd", 1.0) <= 0 or not 0 <= figures.get("share", 0.5) <= 1:
            row.fault((), f"{covariate}: an SD is positive, and a share lies within 0 to 1.")
        elif "share" in figures and not ends and not covariates()[covariate].yes_no:
            row.fault((), f"{covariate}: a share of whom? Give low, high or both.")
        else:
            about, line = figures.get("mean", np.nan), row.faults.line(row.path)
            low, high = ends.get("low", -np.inf), ends.get("high", np.inf)
            found += [Target(covariate, key, value, about, low, high, *said, line) for key, value in figures.items()]
    return tuple(found)


def _inclusions(root: Table) -> dict[str, Range]:
    found: dict[str, Range] = {}
    for row in root.tables("inclusion", _INCLUSION):
        if not _named_covariate(row, covariates()):
            continue
        covariate, numbers = row.text("covariate", ""), _numbers(row, ("low", "high"))
        if not numbers or numbers.get("low", -np.inf) > numbers.get("high", np.inf):
            row.fault((), f"{covariate}: give low, high or both, the lower one first.")
        found[covariate] = (numbers.get("low"), numbers.get("high"))
    return found


def _layout(root: Table) -> Layout:
    known = [*COLUMNS, AT_MENOPAUSE]
    columns, units = root.mapping("columns", str, {}), root.mapping("units", str, {})
    for key, given in (("columns", columns), ("units", units)):
        for covariate in given:
            if covariate not in known:
                root.fault((key, covariate), f"unknown covariate '{covariate}'; {near(covariate, known)}")
            elif key == "units":
                _converts(root, (key, covariate), covariate, units[covariate])
    return Layout(columns, units, root.values("ignore", str, []), root.flag("records"))


def _complete(names: list[str], root: Table) -> None:
    """Every column must be drawn or follow from others, and none may do both."""
    body = [name for name in ("weight", "height", "BMI") if name in names]
    since = [name for name in ("years_since_menopause", AT_MENOPAUSE) if name in names]
    if "height" not in body or len(body) != 2:
        root.fault((), "height and either BMI or weight need a marginal, the third follows.")
    if len(since) != 1:
        root.fault((), "either age_at_menopause or years_since_menopause needs a marginal, the other follows.")
    for name in COLUMNS:
        if name not in ("weight", "height", "BMI", "years_since_menopause") and name not in names:
            root.fault((), f'{name} has no marginal; add a table [[marginal]] with covariate = "{name}".')


# -- correlations ------------------------------------------------------------------------------------------------------


def _pairs(root: Table, names: list[str]) -> Pairs:
    """Correlations by pair of names; effects are called eta_SYMBOL."""
    pairs: Pairs = {}
    for group in root.tables("correlation", _CORRELATION):
        for j, pair in enumerate(group.values("pairs", list, [])):
            here = ("pairs", j)
            r = as_kind(pair[2], float) if len(pair) == 3 else None
            if r is None or not all(isinstance(name, str) for name in pair[:2]):
                group.fault(here, f'{shown(pair)} is not a pair; write it like ["T_LS", "T_TH", 0.65].')
                continue
            first, second = pair[:2]
            both = f"{first} with {second}"
            if not -1 < r < 1 or first == second:
                group.fault(here, f"{both}: {r:g} is not a correlation; give one between -1 and 1.")
            elif frozenset((first, second)) in pairs:
                group.fault(here, f"{both} appears twice; keep one.")
            else:
                for name in (first, second):
                    if name not in names and not name.startswith("eta_"):
                        group.fault(here, f"'{name}' has no marginal; {near(name, names)}")
                pairs[frozenset((first, second))] = r
    return pairs


def _factor(
    where: str, names: list[str], effects: list[str], matrix: Array, pairs: Pairs
) -> tuple[tuple[str, ...], Array]:
    """Effects, and Cholesky factor of the correlation over covariates and effects: `matrix`, with `pairs` put in."""
    more = sorted({name for pair in pairs for name in pair if name.startswith("eta_")} - set(effects))
    order = {name: k for k, name in enumerate([*names, *effects, *more])}
    whole = np.eye(len(order))
    whole[: len(matrix), : len(matrix)] = matrix
    for pair, r in pairs.items():
        a, b = (order[name] for name in pair)
        whole[a, b] = whole[b, a] = r
    try:
        factor = np.linalg.cholesky(whole).astype(np.float64)
    except np.linalg.LinAlgError:
        raise BadInput(f"{where}: {contradiction(whole, list(order))}") from None
    return tuple(name.removeprefix("eta_") for name in (*effects, *more)), factor


def contradiction(matrix: Array, names: list[str]) -> str:
    """Which correlations contradict each other, in a sentence.

    Parameters
    ----------
    matrix : ndarray, shape (n, n)
        Symmetric, ones on the diagonal, not positive definite.
    names : list of str, n of them

    Returns
    -------
    str
        The three pairs among three names that can least hold together, if any three can't; else the pair that has to
        change least for the rest to stand; else those that the nearest correlation matrix moves most. With a pair, the
        range that the others leave it (its partial correlation within -1 to 1).
    """
    n = len(names)

    def pair(a: int, b: int) -> str:
        return f"{names[min(a, b)]} with {names[max(a, b)]}"

    triples = {t: float(np.linalg.det(matrix[np.ix_(t, t)])) for t in combinations(range(n), 3)}
    worst = min(triples, key=lambda t: triples[t], default=(0, 0, 0))
    among = list(worst) if triples.get(worst, 1.0) <= 0 else list(range(n))
    left = [
        (max(low - matrix[a, b], matrix[a, b] - high), a, b, low, high)
        for a, b in combinations(among, 2)
        if matrix[a, b] != 0.0
        for low, high in [_left_to(matrix, a, b, among)]
        if low < high
    ]
    if left:
        _, a, b, low, high = min(left)
        others = [pair(*other) + f" {matrix[other]:.3g}" for other in combinations(among, 2) if other != (a, b)]
        said = " and ".join(others) if len(among) == 3 else "the other pairs"
        return (
            f"the correlations contradict each other: {pair(a, b)} is {matrix[a, b]:.3g}, but {said} leave it "
            f"{low:.2f} to {high:.2f}; bring it there, or the others closer to 0."
        )
    values, vectors = np.linalg.eigh(matrix)
    closest = (vectors * np.maximum(values, 0.01)) @ vectors.T
    spread = np.sqrt(np.diag(closest))
    moved = np.tril(np.abs(closest / np.outer(spread, spread) - matrix), -1)
    most = [divmod(int(k), n) for k in np.argsort(-moved, axis=None, kind="stable")[:3]]
    pairs = ", ".join(f"{pair(a, b)} ({matrix[a, b]:.3g})" for a, b in most)
    return f"the correlations contradict each other, most of all {pairs}; bring these pairs closer to 0."


def _left_to(matrix: Array, a: int, b: int, among: list[int]) -> tuple[float, float]:
    """Range that the other pairs among some names leave one pair; (1, -1) where they contradict each other already."""
    rest = [k for k in among if k not in (a, b)]
    inner = matrix[np.ix_(rest, rest)]
    if np.linalg.eigvalsh(inner)[0] <= 1e-9:
        return 1.0, -1.0
    u, v = (np.linalg.solve(inner, matrix[rest, each]) for each in (a, b))
    free = (1 - matrix[rest, a] @ u, 1 - matrix[rest, b] @ v)
    if min(free) <= 1e-9:
        return 1.0, -1.0
    middle, half = float(matrix[rest, a] @ v), float(np.sqrt(free[0] * free[1]))
    return middle - half, middle + half
