"""The joint distribution of a population: how one woman's covariates are proposed from her own random numbers.

Two kinds. `Declared`: marginals joined by a Gaussian copula [1]_, matched before inclusion (`marginals.matched`).
`Resampled`: the rows of a table of real women, each drawn with its weight. What a row does not hold (a missing cell, a
column that the table lacks) is drawn from the normal distribution of the scores given what it holds, with the
correlations of the table where it has both and the regression of the population that it is `like` for the rest; effects
on parameters are drawn so too. With smoothing h her
scores become sqrt(1 - h^2) z + h e, e being normal with the same correlations: a smoothed bootstrap [2]_ that keeps
marginals and correlations; 0 resamples the women as they are, 1 is a Gaussian copula through the table's marginals.

Either may be tilted to targets (`weighting`): proposals are then kept with a chance proportional to their weight, and
rows drawn by theirs. `Population` also holds correlations with the between-patient effects on parameters.

References
----------
.. [1] Nelsen RB. An Introduction to Copulas, 2nd ed., Springer 2006, section 2.8. doi:10.1007/0-387-28678-0
.. [2] Silverman BW, Young GA. Biometrika 1987;74:469-79. doi:10.1093/biomet/74.3.469
.. [3] Sobol IM. USSR Comput Math Math Phys 1967;7:86-112. doi:10.1016/0041-5553(67)90144-9
.. [4] Austin PC. Stat Med 2009;28:3083-107. doi:10.1002/sim.3697
.. [5] Joe S, Kuo FY. SIAM J Sci Comput 2008;30:2635-54. doi:10.1137/070709359 (file new-joe-kuo-6)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import combinations
from typing import Any, ClassVar

import numba
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtri

from ranklsim.cohorts import streams
from ranklsim.cohorts.people.criteria import Range, admitted, parts, values_of
from ranklsim.cohorts.people.marginals import Array, Empirical, Marginal, Shape
from ranklsim.cohorts.people.patient_table import AT_MENOPAUSE, unit_of
from ranklsim.cohorts.people.weighting import Target, Tilt, effective

COLUMNS = (
    "age", "years_since_menopause", "weight", "height", "BMI", "eGFR", "vitamin_D", "T_LS", "T_TH", "T_FN", "T_R13",
    "prevalent_fracture", "CTX", "P1NP", "prior_treatment",
)  # fmt: skip
"""Covariates of a patient, in the units of ``data/covariates.csv``."""

POINTS = 2**15
TOGETHER = ("age", "T_LS", "T_TH", "T_FN", "eGFR", "CTX", "P1NP")
"""Covariates whose correlations every report shows."""

TOLERANCE = 0.1  # SDs [4]_
LEAST_EIGENVALUE = 0.01  # of a table's correlations: fewer women than needed, or pairs with missing cells, give less


@dataclass(frozen=True, eq=False)
class Attempts:
    """Attempts at drawing patients; arrays of shape (n,) with the number of each patient and of her attempt."""

    seed: int
    replicate: int
    patient: NDArray[np.int64]
    attempt: NDArray[np.int64]

    def some(self, rows: NDArray[np.int64]) -> Attempts:
        """Some of the attempts.

        Parameters
        ----------
        rows : ndarray of int
            Their positions.
        """
        return Attempts(self.seed, self.replicate, self.patient[rows], self.attempt[rows])

    def uniform(self, purpose: str) -> Array:
        """Uniform random numbers of each attempt, shape (n,).

        Parameters
        ----------
        purpose : str
            Name of the stream.
        """
        return streams.uniform(self.seed, purpose, self.patient, self.attempt, self.replicate)

    def normal(self, purpose: str, names: Sequence[str]) -> Array:
        """Independent normal scores of each attempt, shape (n, n_names).

        Parameters
        ----------
        purpose : str
            First part of the name of each stream.
        names : sequence of str
            Covariates.
        """
        owner = (self.patient, self.attempt, self.replicate)
        return np.stack([streams.normal(self.seed, f"{purpose}.{name}", *owner) for name in names], axis=-1)


@dataclass(frozen=True, eq=False)
class Population(ABC):
    """A population: the distribution of its covariates and the criteria of inclusion.

    Attributes
    ----------
    name, title, description : str
    coordinates : tuple of str
        Covariates that are drawn; the others follow from them.
    inclusion : dict
        Covariate to closed range, None an open end.
    effects : tuple of str
        Parameters whose between-patient effect correlates with covariates.
    factor : ndarray, shape (n_coordinates + n_effects, same)
        Cholesky factor of the correlation of the normal scores.
    targets : tuple of Target
        Figures to which it is weighed.
    files : dict of str to bytes
        All files that it is read from, its own first.
    """

    name: str
    title: str
    description: str
    coordinates: tuple[str, ...]
    inclusion: dict[str, Range]
    effects: tuple[str, ...]
    factor: Array
    targets: tuple[Target, ...]
    files: dict[str, bytes] = field(repr=False)

    declares_correlations: ClassVar[bool]

    @property
    def identities(self) -> tuple[str, ...] | None:
        """The ID of each woman of the table that it is made from; None without such a table."""
        return None

    @abstractmethod
    def propose(self, tries: Attempts, criteria: Mapping[str, Range]) -> tuple[NDArray[np.int64], Array, pd.DataFrame]:
        """The attempts that weighting keeps and that fulfil `criteria`.

        Parameters
        ----------
        tries : Attempts
            n attempts.
        criteria : mapping
            Covariate to its range, as of `admitted`.

        Returns
        -------
        who : ndarray of int, shape (m,)
            Their positions among the attempts, ascending.
        raw : ndarray, shape (m, n_coordinates)
            Independent normal scores of what was drawn.
        values : DataFrame, m rows
            Columns `COLUMNS`.
        """

    @property
    @abstractmethod
    def cloud(self) -> pd.DataFrame:
        """A fixed cloud of persons, weighting applied, before inclusion; columns `COLUMNS`."""

    @property
    @abstractmethod
    def effective_size(self) -> tuple[float, int]:
        """Kish's effective sample size of the weights, and how many persons they are of."""

    @property
    @abstractmethod
    def method(self) -> str:
        """In a sentence or two: where patients come from, and what weighting costs."""

    @abstractmethod
    def _own_rows(self) -> list[dict[str, object]]:
        """Rows of `published` besides the targets."""

    @cached_property
    def enrolled(self) -> pd.DataFrame:
        """Persons of the cloud who meet the population's own inclusion criteria."""
        return self.cloud[admitted(self.inclusion, self.cloud)]

    def effect_correlation(self) -> pd.DataFrame:
        """Correlation of the normal scores of the parameters' between-patient effects, by symbol; 1 on the diagonal."""
        own = self.factor[len(self.coordinates) :]
        return pd.DataFrame(own @ own.T, index=list(self.effects), columns=list(self.effects))

    def correlations(self) -> pd.DataFrame:
        """Correlations of the covariates.

        Returns
        -------
        DataFrame
            A row a pair of `TOGETHER`: first, second, ``declared`` (of the normal scores before inclusion; NaN where
            the population is a table, or one of the two follows from others) and ``enrolled`` (rank correlation among
            those let in).
        """
        among = self.factor[: len(self.coordinates)]
        r = pd.DataFrame(among @ among.T, index=self.coordinates, columns=self.coordinates)
        ranks = self.enrolled[list(TOGETHER)].corr(method="spearman")
        rows = []
        for first, second in combinations(TOGETHER, 2):
            known = self.declares_correlations and {first, second} <= set(self.coordinates)
            rows.append(
                {"first": first, "second": second, "declared": float(r.loc[first, second]) if known else np.nan}
                | {"enrolled": float(ranks.loc[first, second])}
            )
        return pd.DataFrame(rows)

    def published(self) -> pd.DataFrame:
        """Targets for the patients enrolled, one row for each figure.

        Returns
        -------
        DataFrame
            covariate, statistic (mean, sd, median, cv, share), value, range_low and range_high (of a share; NaN for
            yes/no and for other statistics), unit, status, source, doi, and tolerance: a tenth of the SD (of the
            logarithm for a median, of the yes/no for a share), a standardised difference that passes for balance
            [4]_, and a tenth of an SD or CV itself.
        """
        asked = [
            {"covariate": t.covariate, "statistic": t.statistic, "value": t.value, "unit": unit_of(t.covariate)}
            | {"status": t.status, "source": t.source, "doi": t.doi}
            | {"range_low": t.low, "range_high": t.high}
            for t in self.targets
        ]
        frame = pd.DataFrame([*self._own_rows(), *asked])
        for end in ("range_low", "range_high"):
            frame[end] = frame[end].where(np.isfinite(frame[end])) if end in frame else np.nan
        return frame.assign(tolerance=[self._tolerance(row) for row in frame.to_dict("records")])

    def _tolerance(self, row: dict[str, Any]) -> float:
        value = float(row["value"])
        if row["statistic"] in ("sd", "cv"):
            return TOLERANCE * value
        if row["statistic"] == "share":
            return TOLERANCE * float(np.sqrt(value * (1 - value)))
        x = coordinate(row["covariate"], self.enrolled)
        return TOLERANCE * (value * float(np.log(x).std()) if row["statistic"] == "median" else float(x.std()))


@dataclass(frozen=True, eq=False)
class Declared(Population):
    """A population of declared marginals; `shapes` are those before inclusion."""

    declares_correlations = True

    marginals: tuple[Marginal, ...]
    shapes: tuple[Shape, ...]
    tilt: Tilt | None = None

    def propose(self, tries: Attempts, criteria: Mapping[str, Range]) -> tuple[NDArray[np.int64], Array, pd.DataFrame]:
        """The attempts that are kept.

        Parameters
        ----------
        tries, criteria
            As of `Population.propose`.
        """
        # What most fail is looked at first, so that the rest is drawn for few.
        hardest, first = _hardest(self, tuple(criteria.items()))
        raw = tries.normal("covariate", self.coordinates[:first])
        who = np.arange(tries.patient.size)
        if hardest:
            mixed = mix(raw, self.factor[:first])
            places = {part: self.coordinates.index(part) for part in parts(hardest)}
            early = {part: _at(self.marginals, self.shapes, mixed, k) for part, k in places.items()}
            who = np.flatnonzero(admitted({hardest: criteria[hardest]}, pd.DataFrame(early)))
            tries = tries.some(who)
            raw = np.column_stack([raw[who], tries.normal("covariate", self.coordinates[first:])])
        values = self._values(raw)
        kept = admitted(criteria, values)
        if self.tilt is not None:
            kept &= np.log(tries.uniform("covariate.weight")) < self.tilt.logs(values)
        return who[kept], raw[kept], values[kept]

    def _values(self, raw: Array) -> pd.DataFrame:
        return assembled_of(self.marginals, self.shapes, mix(raw, self.factor[: len(self.coordinates)]))

    @cached_property
    def _points(self) -> pd.DataFrame:
        return self._values(sobol(len(self.coordinates)))

    @cached_property
    def _kept(self) -> NDArray[np.bool_]:
        """Which points weighting keeps."""
        if self.tilt is None:
            return np.ones(POINTS, dtype=bool)
        share = np.minimum(np.exp(self.tilt.logs(self._points)), 1.0)
        kept = np.zeros(len(share), dtype=bool)
        let_in = admitted(self.inclusion, self._points)
        for group in (let_in, ~let_in):  # systematic thinning: evener than by chance
            total = np.cumsum(share[group])
            kept[group] = np.floor(total) > np.floor(total - share[group])
        return kept

    @cached_property
    def cloud(self) -> pd.DataFrame:
        return self._points[self._kept].reset_index(drop=True)

    def correlation_with_effects(self, scores: Array) -> Array:
        """Correlation of covariates and effects among `enrolled`.

        Parameters
        ----------
        scores : ndarray, shape (n_enrolled, k)
            Normal scores of some covariates, of each of `enrolled`.

        Returns
        -------
        ndarray, shape (k + n_effects, same)
            Positive definite unless the scores are collinear.
        """
        n = len(self.coordinates)
        raw = sobol(n)[self._kept][admitted(self.inclusion, self.cloud)]
        own = self.factor[n:]
        r = np.cov(np.column_stack([scores, raw @ own[:, :n].T]), rowvar=False)
        k = scores.shape[1]
        r[k:, k:] += own[:, n:] @ own[:, n:].T
        spread = np.sqrt(np.diag(r))
        return r / np.outer(spread, spread)

    @property
    def effective_size(self) -> tuple[float, int]:
        people = self._points[admitted(self.inclusion, self._points)]
        if self.tilt is None:
            return float(len(people)), len(people)
        return effective(np.exp(self.tilt.logs(people))), len(people)

    @property
    def method(self) -> str:
        drawn = "Drawn from declared marginals and correlations, matched before inclusion"
        if self.tilt is None:
            return f"{drawn}, so that every patient counts as one: the effective sample size is the number of patients."
        size, n = self.effective_size
        return (
            f"{drawn}; tilted to further targets by entropy balancing and drawn by acceptance, so that every patient "
            f"counts as one (of {n} persons before tilting, the weights are worth {size:.0f}, Kish)."
        )

    def _own_rows(self) -> list[dict[str, object]]:
        return [
            {"covariate": m.covariate, "statistic": name, "value": value, "unit": unit_of(m.covariate)}
            | {"status": m.status, "source": m.source, "doi": m.doi}
            for m in self.marginals
            for name, value in m.targets
        ]


@dataclass(frozen=True, eq=False)
class Resampled(Population):
    """A population of the women of a table.

    `table` holds their coordinates (NaN where missing, columns that the table lacks among them), `scores` the normal
    scores of the same, `weights` of each woman, `marginals` by coordinate, `like` the population that fills the gaps.
    """

    declares_correlations = False

    table_name: str
    table: pd.DataFrame
    scores: Array
    weights: Array
    marginals: tuple[Empirical, ...]
    smoothing: float
    like: Declared
    below: tuple[str, ...] = ()
    """Values of the table that are below the limit of an assay, in words."""
    ids: tuple[str, ...] | None = None
    """The ID of each woman, where the table has one."""

    @property
    def identities(self) -> tuple[str, ...] | None:
        found = self.ids
        return None if found is None else tuple(i for i, w in zip(found, self.weights, strict=True) if w > 0)

    def rows(self, tries: Attempts) -> NDArray[np.int64]:
        """The row of the table that each attempt resamples.

        Parameters
        ----------
        tries : Attempts
        """
        heap = np.cumsum(self.weights) / self.weights.sum()
        return np.minimum(np.searchsorted(heap, tries.uniform("covariate.row"), side="right"), len(heap) - 1)

    @cached_property
    def _unmix(self) -> Array:
        k = len(self.coordinates)
        return np.linalg.inv(self.factor[:k, :k]).astype(np.float64)

    @cached_property
    def _gaps(self) -> list[tuple[NDArray[np.bool_], NDArray[np.bool_], Array, Array]]:
        """Each pattern of missing cells: its rows, its coordinates, regression on the rest, factor of what is left."""
        k = len(self.coordinates)
        r = self.factor[:k, :k] @ self.factor[:k, :k].T
        missing = np.isnan(self.scores)
        found = []
        for gap in np.unique(missing, axis=0):
            if gap.any():
                slope = np.linalg.solve(r[np.ix_(~gap, ~gap)], r[np.ix_(~gap, gap)]).T.astype(np.float64)
                left = np.linalg.cholesky(r[np.ix_(gap, gap)] - slope @ r[np.ix_(~gap, gap)]).astype(np.float64)
                found.append(((missing == gap).all(axis=1), gap, slope, left))
        return found

    def propose(self, tries: Attempts, criteria: Mapping[str, Range]) -> tuple[NDArray[np.int64], Array, pd.DataFrame]:
        """The attempts that are kept.

        Parameters
        ----------
        tries, criteria
            As of `Population.propose`.
        """
        row = self.rows(tries)
        own = self.table.to_numpy(float)[row]
        z = np.full(own.shape, np.nan)
        for k, name in enumerate(self.coordinates):  # anywhere in the share of the table that her value stands for
            z[:, k] = self.marginals[k].scores(own[:, k], tries.uniform(f"place.{name}"))
        drawn = np.isnan(z)
        if drawn.any():
            noise = tries.normal("covariate", self.coordinates)
            for rows, gap, slope, factor in self._gaps:
                who = rows[row]
                given = mix(np.ascontiguousarray(z[who][:, ~gap]), slope)
                z[np.ix_(who, gap)] = given + mix(np.ascontiguousarray(noise[who][:, gap]), factor)
        h = self.smoothing
        if h:
            k = len(self.coordinates)
            z = np.sqrt(1 - h * h) * z + h * mix(tries.normal("smoothing", self.coordinates), self.factor[:k])
        x = {
            name: np.where(drawn[:, k] | (h > 0), self.marginals[k].quantile(z[:, k]), own[:, k])
            for k, name in enumerate(self.coordinates)
        }
        values = assembled(x)
        let_in = np.flatnonzero(admitted(criteria, values))
        return let_in, mix(z, self._unmix)[let_in], values.iloc[let_in]

    @cached_property
    def cloud(self) -> pd.DataFrame:
        number = np.arange(POINTS)
        return self.propose(Attempts(0, 0, number, np.zeros_like(number)), {})[2]

    @property
    def effective_size(self) -> tuple[float, int]:
        return effective(self.weights), int((self.weights > 0).sum())

    @property
    def method(self) -> str:
        size, n = self.effective_size
        absent = [name for k, name in enumerate(self.coordinates) if np.isnan(self.scores[:, k]).all()]
        gaps = int(np.isnan(self.scores).sum()) - len(absent) * len(self.scores)
        said = f"Resampled with replacement from {self.table_name} ({n} women"
        said += f"; {gaps} missing values drawn given the rest" if gaps else ""
        said += f"; values below a limit put at their quantiles ({', '.join(self.below)})" if self.below else ""
        said += f"; {', '.join(absent)} not in it and drawn as in {self.like.name})" if absent else ")"
        said += f", smoothed with h = {self.smoothing:g}" if self.smoothing else ""
        said += ", weighed by entropy balancing" if self.targets else ", with equal weights"
        return f"{said}: effective sample size {size:.0f} (Kish). A woman drawn twice differs in her parameters."

    def _own_rows(self) -> list[dict[str, object]]:
        asked = {(t.covariate, t.statistic) for t in self.targets}
        rows: list[dict[str, object]] = []
        for name in self.coordinates:
            x = self.table[name].to_numpy(float)
            known = np.isfinite(x)
            if not known.any():
                rows += [
                    row | {"status": "assumed", "source": f"not in {self.table_name}: as in {self.like.name}"}
                    for row in self.like.published().to_dict("records")
                    if row["covariate"] == name
                ]
                continue
            w = self.weights[known] / self.weights[known].sum()
            mean = float(w @ x[known])
            yes_no = unit_of(name) == "1" and not name.startswith("T_")
            own = {"share": mean} if yes_no else {"mean": mean, "sd": float(np.sqrt(w @ (x[known] - mean) ** 2))}
            rows += [
                {"covariate": name, "statistic": statistic, "value": value, "unit": unit_of(name)}
                | {"status": "measured", "source": self.table_name, "doi": ""}
                for statistic, value in own.items()
                if (name, statistic) not in asked
            ]
        return rows


@lru_cache(maxsize=32)
def _hardest(population: Declared, criteria: tuple[tuple[str, Range], ...]) -> tuple[str, int]:
    """The criterion that fewest fulfil, and how many coordinates tell; none and all if more than half fulfil it."""
    places = {name: k for k, name in enumerate(population.coordinates)}
    share = {
        name: float(admitted({name: limits}, population._points).mean())
        for name, limits in criteria
        if all(part in places for part in parts(name))
    }
    hardest = min(share, key=lambda name: share[name], default="")
    if not hardest or share[hardest] > 0.5:
        return "", len(places)
    return hardest, 1 + max(places[part] for part in parts(hardest))


def assembled_of(marginals: tuple[Marginal, ...], shapes: tuple[Shape, ...], scores: Array) -> pd.DataFrame:
    """Covariates at correlated normal scores; columns `COLUMNS`.

    Parameters
    ----------
    marginals : tuple of Marginal
        One for each covariate that is drawn.
    shapes : tuple of (float, float)
        Location and scale of each marginal.
    scores : ndarray, shape (n, marginals)
        Standard normal scores.
    """
    return assembled({marginals[k].covariate: _at(marginals, shapes, scores, k) for k in range(len(marginals))})


def _at(marginals: tuple[Marginal, ...], shapes: tuple[Shape, ...], scores: Array, k: int) -> Array:
    """Values of covariate `k` at correlated normal scores."""
    return marginals[k].quantile(np.ascontiguousarray(scores[:, k]), shapes[k])


def assembled(drawn: dict[str, Array]) -> pd.DataFrame:
    """All covariates from those that were drawn; columns `COLUMNS`.

    Parameters
    ----------
    drawn : dict of str to ndarray, shape (n,)
        Covariate to its values, in canonical units.
    """
    x = derived(drawn)
    return pd.DataFrame({name: x[name] for name in COLUMNS})


def derived(drawn: Mapping[str, Array]) -> dict[str, Array]:
    """Covariates that were drawn, and those that follow from them.

    Parameters
    ----------
    drawn : mapping of str to ndarray, shape (n,)
        Some covariates to their values, in canonical units: with the age at menopause the age, of `BODY` two or none.
    """
    x = dict(drawn)
    if AT_MENOPAUSE in x:
        x["years_since_menopause"] = x["age"] - x.pop(AT_MENOPAUSE)
    if any(name in x for name in BODY):
        if "height" not in x:
            x["height"] = 100 * np.sqrt(x["weight"] / x["BMI"])
        metres = x["height"] / 100
        if "weight" not in x:
            x["weight"] = x["BMI"] * metres**2
        elif "BMI" not in x:
            x["BMI"] = x["weight"] / metres**2
    return x


BODY = ("weight", "height", "BMI")
"""Two of these give the third."""


def sources(name: str, drawn: Collection[str]) -> set[str]:
    """Those of the covariates drawn from which another one follows, or itself.

    Parameters
    ----------
    name : str
    drawn : collection of str
    """
    if name in drawn:
        return {name}
    return {"age", AT_MENOPAUSE} if name == "years_since_menopause" else {*BODY} & {*drawn}


def coordinate(name: str, people: pd.DataFrame) -> Array:
    """A covariate of people, age at menopause among them; shape (n,).

    Parameters
    ----------
    name : str
        A column of `people`, or the age at menopause.
    people : DataFrame
        One row for each person, columns `COLUMNS`.
    """
    if name == AT_MENOPAUSE:
        return (people["age"] - people["years_since_menopause"]).to_numpy(float)
    return values_of(name, people)


def scores_of(values: Array, marginal: Empirical, purpose: str) -> Array:
    """Normal scores of a sample's own values, ties and yes/no spread evenly by fixed numbers; NaN stays.

    Parameters
    ----------
    values : ndarray, shape (n,)
        Values of the sample, from which `marginal` was made.
    marginal : Empirical
        The distribution of the sample.
    purpose : str
        Name of the random stream that spreads ties.
    """
    return marginal.scores(values, streams.uniform(0, f"tie.{purpose}", np.arange(values.size)))


def filled_correlation(scores: Array, weights: Array, base: Array) -> Array:
    """Correlation of normal scores, from a table where it has both columns, and from a base for the rest.

    Parameters
    ----------
    scores : ndarray, shape (n, k)
        NaN where missing; a column may be missing altogether.
    weights : ndarray, shape (n,)
    base : ndarray, shape (k, k)
        Correlation of the same scores in the population that fills the gaps.

    Returns
    -------
    ndarray, shape (k, k)
        Positive definite. A column that is missing has the base's regression on the others.
    """
    missing = np.isnan(scores).all(axis=0)
    known = np.flatnonzero(~missing)
    own = np.eye(known.size)
    for a in range(known.size):
        for b in range(a):
            x, y = scores[:, known[a]], scores[:, known[b]]
            both = np.isfinite(x) & np.isfinite(y) & (weights > 0)
            w = weights[both] / weights[both].sum() if both.sum() > 2 else np.zeros(0)
            if not w.size:
                own[a, b] = own[b, a] = base[known[a], known[b]]
                continue
            x, y = x[both] - w @ x[both], y[both] - w @ y[both]
            own[a, b] = own[b, a] = (w @ (x * y)) / np.sqrt((w @ x**2) * (w @ y**2))
    own = _lifted(own)
    if not missing.any():
        return own
    slope = np.linalg.solve(base[np.ix_(known, known)], base[np.ix_(known, missing)]).T
    r = np.eye(base.shape[0])
    r[np.ix_(known, known)] = own
    r[np.ix_(missing, known)] = slope @ own
    r[np.ix_(known, missing)] = r[np.ix_(missing, known)].T
    left = base[np.ix_(missing, missing)] - slope @ base[np.ix_(known, missing)]
    r[np.ix_(missing, missing)] = slope @ own @ slope.T + left
    spread = np.sqrt(np.diag(r))
    return _lifted(r / np.outer(spread, spread))


def _lifted(r: Array) -> Array:
    """A correlation matrix whose eigenvalues are at least `LEAST_EIGENVALUE`."""
    values, vectors = np.linalg.eigh(r)
    if values[0] >= LEAST_EIGENVALUE:
        return r
    r = (vectors * np.maximum(values, LEAST_EIGENVALUE)) @ vectors.T
    spread = np.sqrt(np.diag(r))
    return r / np.outer(spread, spread)


@numba.njit(cache=True, nogil=True)
def mix(raw: NDArray[np.float64], factor: NDArray[np.float64]) -> NDArray[np.float64]:
    """Correlated scores from independent ones (n, >= k) by the first k columns of `factor` (m, >= k): (n, m).

    A plain sum in a fixed order: a matrix product may round otherwise where other persons are drawn with her.

    Parameters
    ----------
    raw : ndarray, shape (n, >= k)
        Independent standard normal scores.
    factor : ndarray, shape (m, >= k)
        Cholesky factor of the correlations.
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


@lru_cache(maxsize=4)
def sobol(dimensions: int) -> Array:
    """Evenly spread independent normal scores [3]_; (POINTS, dimensions).

    Parameters
    ----------
    dimensions : int
        Number of scores of a person.
    """
    places = np.arange(POINTS, dtype=np.uint32)
    gray = places ^ (places >> 1)  # the order of `scipy.stats.qmc.Sobol`
    cloud = np.empty((POINTS, dimensions))
    for k, directions in zip(range(dimensions), _directions(dimensions), strict=True):
        whole = np.zeros(POINTS, dtype=np.uint32)
        for bit, direction in enumerate(directions):
            whole ^= ((gray >> bit) & 1) * direction
        cloud[:, k] = whole / POINTS
    return ndtri(cloud + 0.5 / POINTS)


_POLYNOMIALS = (
    (1, 0, (1,)), (2, 1, (1, 3)), (3, 1, (1, 3, 1)), (3, 2, (1, 1, 1)), (4, 1, (1, 1, 3, 3)), (4, 4, (1, 3, 5, 13)),
    (5, 2, (1, 1, 5, 5, 17)), (5, 4, (1, 1, 5, 5, 5)), (5, 7, (1, 1, 7, 11, 19)), (5, 11, (1, 1, 5, 1, 1)),
    (5, 13, (1, 1, 1, 3, 11)), (5, 14, (1, 3, 5, 5, 31)), (6, 1, (1, 3, 3, 9, 7, 49)), (6, 13, (1, 1, 1, 15, 21, 21)),
)  # fmt: skip
"""Degree, coefficients (as bits) and initial numbers of the second and further dimensions [5]_."""


def _directions(dimensions: int) -> list[list[np.uint32]]:
    """Direction numbers of each dimension, for the bits of a place from the lowest; as shares of `POINTS`."""
    bits = POINTS.bit_length() - 1
    found = [[1] * bits]
    for degree, coefficients, first in _POLYNOMIALS[: dimensions - 1]:
        m = list(first[:bits])
        for i in range(degree, bits):
            new = m[i - degree] ^ (m[i - degree] << degree)
            for j in range(1, degree):
                new ^= ((coefficients >> (degree - 1 - j)) & 1) * (m[i - j] << j)
            m.append(new)
        found.append(m)
    return [[np.uint32(m << (bits - 1 - i)) for i, m in enumerate(each)] for each in found]
