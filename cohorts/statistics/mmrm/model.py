"""Mixed model for repeated measures: `fit`, and the `Fit` that it gives.

A linear model for the mean, a covariance structure for the visits of a subject, no random effects: the model that
confirmatory trials use for a continuous endpoint [1]_. Estimated by REML or ML; tests by Satterthwaite or
Kenward-Roger degrees of freedom.

References
----------
.. [1] Mallinckrodt CH et al. Drug Inf J 2008;42:303-19. doi:10.1177/009286150804200402
.. [2] SAS/STAT User's Guide, The MIXED Procedure.
.. [3] Sabanes Bove D et al. mmrm: Mixed Models for Repeated Measures. R package. https://openpharma.github.io/mmrm
.. [4] Lenth RV. emmeans: Estimated Marginal Means. R package (reference grid, "proportional" weights).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from scipy.special import fdtrc

from ranklsim.cohorts.statistics.mmrm.covariance import FALLBACK, NAMES, structure
from ranklsim.cohorts.statistics.mmrm.criterion import Criterion, NotConverged, Point, minimise, refuse_improper
from ranklsim.cohorts.statistics.mmrm.data import ModelData
from ranklsim.cohorts.statistics.mmrm.empirical import ERRORS, MODEL, Empirical
from ranklsim.cohorts.statistics.mmrm.inference import METHODS, Fixed, Inference, two_sided
from ranklsim.cohorts.statistics.tails import t_quantile
from ranklsim.pkpd.errors import BadInput, RunFailed

WEIGHTS = ("equal", "proportional")
Contrast: TypeAlias = Mapping[str, float] | Sequence[float] | Sequence[Sequence[float]] | np.ndarray | pd.DataFrame


def fit(
    formula: str,
    data: pd.DataFrame,
    *,
    subject: str,
    visit: str,
    covariance: str = "us",
    df: str = "satterthwaite",
    reml: bool = True,
    group: str | None = None,
    arm: str | None = None,
    fallback: Sequence[str] | None = None,
    level: float = 0.95,
    errors: str = MODEL,
) -> Fit:
    """Fit a mixed model for repeated measures.

    Parameters
    ----------
    formula : str
        As `formulaic` and R read it, such as ``"change ~ arm * visit + baseline * visit + stratum"``. Text, categories
        and true/false are factors, whose first level (in the order of categories, else sorted) is the reference.
    data : DataFrame
        One row a subject and visit. Rows without response, or without a covariate of the formula, are left out and
        `Fit.message` says how many of the latter. Visits may be missing.
    subject, visit : str
        Columns. `visit` is a factor in the formula even if it holds numbers; its order (of categories, else sorted)
        counts in all structures but "us" and "cs".
    covariance : str
        One of "us", "toeph", "toep", "adh", "ad", "ar1h", "ar1", "csh", "cs"; see `covariance`.
    df : str
        "satterthwaite", "kenward-roger" (standard errors as in SAS DDFM=KR), "kenward-roger-linear" (SAS
        DDFM=KR(FIRSTORDER)), "between-within" or "residual" (both as in the R package mmrm).
    reml : bool
        Restricted maximum likelihood; False is maximum likelihood.
    group : str, optional
        Column that is constant within subjects; each of its values gets covariance parameters of its own.
    arm : str, optional
        Column of the treatment, which must be constant within subjects; the default of `Fit.lsmeans`.
    fallback : sequence of str, optional
        Structures tried in turn if `covariance` does not converge; by default those after it in
        ``us, toeph, ar1h, csh, toep, ar1, cs``. Empty for none. `Fit.message` says when one was used.
    level : float
        Of confidence intervals, between 0 and 1.
    errors : str
        Covariance of the coefficients: "model", or "empirical", "bias-reduced" or "jackknife" (`empirical`); the latter
        with `df` "satterthwaite", "between-within" or "residual".

    Returns
    -------
    Fit

    Raises
    ------
    BadInput
        If formula or data cannot be used: unknown column, several rows of a subject at one visit, a term that the
        data do not determine, a subject in two arms.
    RunFailed
        If no structure converges.
    """
    _one_of(covariance, tuple(NAMES), "covariance")
    _one_of(df, METHODS, "df")
    _one_of(errors, ERRORS, "errors")
    if df.startswith("kenward-roger") and errors != MODEL:
        raise BadInput('mmrm: Kenward-Roger is of the model\'s errors; use df = "satterthwaite" with empirical ones.')
    if df.startswith("kenward-roger") and not reml:
        raise BadInput('mmrm: Kenward-Roger is defined for REML only; use df = "satterthwaite" with reml = False.')
    if not 0 < level < 1:
        raise BadInput(f"mmrm: level = {level} is not between 0 and 1; give 0.95 for 95% intervals.")
    order = _order(covariance, fallback)
    used = ModelData.read(formula, data, subject, visit, group, arm)
    attempts: list[tuple[str, str]] = []
    for name in order:
        try:
            return _fitted(name, used, df, reml, level, covariance, attempts, errors)
        except NotConverged as why:
            attempts.append((name, str(why)))
    told = "; ".join(f"{NAMES[name]}: {why}" for name, why in attempts)
    raise RunFailed(f"mmrm: no covariance structure could be fitted ({told}).")


def _order(covariance: str, fallback: Sequence[str] | None) -> list[str]:
    if fallback is None:
        base = {"adh": "toeph", "ad": "toep"}.get(covariance, covariance)
        rest = FALLBACK[FALLBACK.index(base) :]
        return [covariance, *(name for name in rest if name != covariance)]
    for name in fallback:
        _one_of(name, tuple(NAMES), "fallback")
    return [covariance, *fallback]


def _one_of(value: object, known: Sequence[str], what: str) -> None:
    if value not in known:
        raise BadInput(f"mmrm: {what} = {value!r} is unknown; use one of {', '.join(known)}.")


def _fitted(
    name: str,
    used: ModelData,
    df: str,
    reml: bool,
    level: float,
    requested: str,
    attempts: list[tuple[str, str]],
    errors: str,
) -> Fit:
    design = used.design
    natural = structure(name, design.visits)
    if natural.size * design.groups > design.rows - design.p:
        raise NotConverged("it has more parameters than the data have degrees of freedom")
    search = Criterion(design, natural.chart(), reml=reml)
    found, point = minimise(search)
    at = found
    if search.structure is not natural:
        at = np.concatenate([natural.start(matrix) for matrix in search.matrices(found)])
    criterion = Criterion(design, natural, reml=reml)
    fixed = None if df in METHODS[:3] else Fixed(used.fixed_df(df), np.linalg.inv(design.to_terms))
    inference = Inference(criterion, at, point, df, fixed)
    m2ll = point.m2ll + criterion.offset
    parameters = natural.size * design.groups
    matrices = list(design.scale**2 * criterion.matrices(at))
    estimates = design.ols + design.scale * design.to_terms @ point.b
    if errors != MODEL:
        inference = Empirical(inference, used.whitened(matrices, estimates), errors)
    return Fit(
        formula=used.formula,
        structure=name,
        requested=requested,
        attempts=tuple(attempts),
        df_method=df,
        reml=reml,
        level=level,
        m2ll=float(m2ll),
        n_subjects=design.subjects,
        n_observations=design.rows,
        n_parameters=parameters,
        estimates=pd.Series(estimates, index=used.terms, name="estimate"),
        covariance=_labelled(matrices, used),
        notes=tuple(used.notes),
        _data=used,
        _inference=inference,
        _to_units=design.scale * design.to_terms,
        _search=search,
        _found=(found, point),
    )


def _labelled(matrices: list[np.ndarray], used: ModelData) -> pd.DataFrame:
    frames = [pd.DataFrame(m, index=used.visit_levels, columns=used.visit_levels) for m in matrices]
    if used.group is None:
        return frames[0]
    return pd.concat(frames, keys=used.group_levels, names=[used.group, used.visit])


@dataclass(frozen=True)
class Fit:
    """A fitted model.

    Attributes
    ----------
    structure, requested : str
        Covariance structure that was used, and the one that was asked for.
    attempts : tuple of (str, str)
        Structures that did not converge, each with the reason.
    m2ll : float
        -2 (restricted) log-likelihood, with all constants but log|X'X|, as in SAS and mmrm.
    covariance : DataFrame
        Covariance matrix by visit; with `group`, one below the other, first index level the group.
    estimates : Series
        Coefficients by term.
    n_subjects, n_observations : int
        Subjects with at least one row used, and rows used.
    n_parameters : int
        Covariance parameters.
    notes : tuple of str
        Sentences on rows, levels and visits that were left out.
    """

    formula: str
    structure: str
    requested: str
    attempts: tuple[tuple[str, str], ...]
    df_method: str
    reml: bool
    level: float
    m2ll: float
    n_subjects: int
    n_observations: int
    n_parameters: int
    estimates: pd.Series
    covariance: pd.DataFrame
    notes: tuple[str, ...]
    _data: ModelData = field(repr=False)
    _inference: Inference = field(repr=False)
    _to_units: np.ndarray = field(repr=False)
    _search: Criterion = field(repr=False)
    _found: tuple[np.ndarray, Point] = field(repr=False)

    @property
    def converged(self) -> bool:
        """Whether the requested structure converged; if False, this is the fit of another structure, which did."""
        return not self.attempts

    @property
    def message(self) -> str:
        """Warnings: structures that did not converge, and rows or terms left out; empty without any."""
        said = [f"The {NAMES[name]} covariance did not converge ({why})." for name, why in self.attempts]
        if self.attempts:
            said.append(f"The {NAMES[self.structure]} covariance was used instead.")
        return " ".join([*said, *self.notes])

    @property
    def aic(self) -> float:
        """Akaike's criterion, smaller is better; under REML covariance parameters alone are counted, as in SAS."""
        return self.m2ll + 2 * self._counted

    @property
    def _counted(self) -> int:
        return self.n_parameters + (0 if self.reml else len(self.estimates))

    @cached_property
    def table(self) -> pd.DataFrame:
        """Coefficients: columns term, estimate, std_error, df, t, p, ci_low, ci_high."""
        out = self._singly(np.eye(len(self.estimates)))
        out.insert(0, "term", self.estimates.index)
        return out

    def contrast(self, L: Contrast, *, joint: bool = False, labels: Sequence[object] | None = None) -> pd.DataFrame:
        """Linear combinations of the coefficients.

        Parameters
        ----------
        L : mapping, array or DataFrame
            Weights of the coefficients: a mapping from term to weight (others 0), a vector (p,), a matrix (q, p) with
            a row a combination, or a DataFrame whose columns are terms and whose index labels the rows.
        joint : bool
            Give one row that tests all combinations being zero together, instead of a row for each.
        labels : sequence, optional
            Names of the rows.

        Returns
        -------
        DataFrame
            Columns label (where there are labels), estimate, std_error, df, t, p, ci_low, ci_high; or, if `joint`,
            num_df, den_df, f, p.

        Raises
        ------
        BadInput
            If `L` names an unknown term, has the wrong length, or is zero throughout.
        """
        rows, found = self._rows(L)
        labels = found if labels is None else list(labels)
        if not np.isfinite(rows).all() or not np.abs(rows).sum(axis=1).all():
            raise BadInput("mmrm: a row of the contrast is zero or not a number; give a weight to at least one term.")
        if joint:
            return pd.DataFrame([self._jointly(rows)])
        out = self._singly(rows)
        if labels is not None:
            out.insert(0, "label", labels)
        return out

    def _rows(self, given: Contrast) -> tuple[np.ndarray, list[object] | None]:
        terms = list(self.estimates.index)
        labels: list[object] | None = None
        if isinstance(given, pd.DataFrame):
            labels = list(given.index)
            named = {str(name): given[name].to_numpy(float) for name in given.columns}
        elif isinstance(given, Mapping):
            named = {str(name): np.array([float(weight)]) for name, weight in given.items()}
        else:
            rows = np.atleast_2d(np.asarray(given, float))
            if rows.ndim != 2 or rows.shape[1] != len(terms):
                raise BadInput(f"mmrm: a contrast has {rows.shape[-1]} weights; the model has {len(terms)} terms.")
            return rows, None
        if unknown := [name for name in named if name not in terms]:
            raise BadInput(f"mmrm: the model has no term {unknown[0]!r}; it has {', '.join(terms)}.")
        rows = np.zeros((len(next(iter(named.values()), [])), len(terms)))
        for name, weights in named.items():
            rows[:, terms.index(name)] = weights
        return rows, labels

    def lsmeans(
        self,
        by: Sequence[str] | str | None = None,
        *,
        weights: str = "equal",
        at: Mapping[str, float] | None = None,
    ) -> pd.DataFrame:
        """Least-squares means: the model's mean for each combination of some factors.

        Covariates are at their mean over the rows used (or at `at`), other factors are averaged over their levels.

        Parameters
        ----------
        by : sequence of str, optional
            Factors; by default `arm` and `visit` as given to `fit`.
        weights : {"equal", "proportional"}
            Each combination of the other factors counts the same, or by its number of rows in the data (observed
            margins) [4]_.
        at : mapping, optional
            Covariate -> value to take instead of the mean.

        Returns
        -------
        DataFrame
            A column for each of `by`, then n (rows used), estimate, std_error, df, t, p, ci_low, ci_high.
        """
        by = self._factors(by)
        cells, n, rows = self.cells(by, weights=weights, at=at)
        grid = {name: [cell[k] for cell in cells] for k, name in enumerate(by)} | {"n": n}
        return pd.DataFrame(grid | self.combined(rows), index=range(len(cells)))

    def cells(
        self, by: Sequence[str], *, weights: str = "equal", at: Mapping[str, float] | None = None
    ) -> tuple[list[tuple[Any, ...]], np.ndarray, np.ndarray]:
        """Combinations of the levels of some factors, the rows used in each, and the weights of their LS means.

        Parameters
        ----------
        by : sequence of str
        weights, at
            As in `lsmeans`.

        Returns
        -------
        list of tuple, ndarray (cells,), ndarray (cells, p)
        """
        _one_of(weights, WEIGHTS, "weights")
        return self._data.cells(list(by), weights, dict(at or {}))

    def combined(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Linear combinations of the coefficients, each with its test and interval.

        Parameters
        ----------
        rows : ndarray, shape (q, p)

        Returns
        -------
        dict
            estimate, std_error, df, t, p, ci_low and ci_high, each of shape (q,).
        """
        estimate = rows @ self.estimates.to_numpy()
        error, df = self._inference.singly(rows @ self._to_units)
        with np.errstate(divide="ignore", invalid="ignore"):
            t = estimate / error
        half = t_quantile(0.5 + self.level / 2, df) * error
        columns = {"estimate": estimate, "std_error": error, "df": df, "t": t, "p": two_sided(t, df)}
        return columns | {"ci_low": estimate - half, "ci_high": estimate + half}

    def differences(
        self,
        control: object,
        *,
        of: str | None = None,
        by: Sequence[str] | str | None = None,
        weights: str = "equal",
        at: Mapping[str, float] | None = None,
    ) -> pd.DataFrame:
        """Differences of LS means to one level of a factor.

        Parameters
        ----------
        control : object
            Level that the others are compared with.
        of : str, optional
            The factor; by default `arm` as given to `fit`.
        by : sequence of str, optional
            Factors within whose levels to compare; by default `visit`.
        weights, at
            As in `lsmeans`.

        Returns
        -------
        DataFrame
            Columns `of`, `by`, estimate (level minus control), std_error, df, t, p, ci_low, ci_high.
        """
        of = self._needed(of, self._data.arm, "of")
        within = [by] if isinstance(by, str) else [self._data.visit] if by is None else list(by)
        cells, _, rows = self.cells([of, *within], weights=weights, at=at)
        base = {cell[1:]: k for k, cell in enumerate(cells) if cell[0] == control}
        if not base:
            known = ", ".join(str(level) for level in self._data.levels[of])
            raise BadInput(f"mmrm: {of} has no level {control!r} in the data; it has {known}.")
        rest = [k for k, cell in enumerate(cells) if cell[0] != control]
        grid = {name: [cells[k][j] for k in rest] for j, name in enumerate([of, *within])}
        gaps = np.array([rows[k] - rows[base[cells[k][1:]]] for k in rest]).reshape(len(rest), rows.shape[1])
        return pd.DataFrame(grid | self.combined(gaps), index=range(len(rest)))

    def tests(self) -> pd.DataFrame:
        """Joint test of each term of the formula (type III: factors coded to sum to zero, as in SAS).

        Returns
        -------
        DataFrame
            Columns term, num_df, den_df, f, p; the intercept is left out.
        """
        rows = []
        for term, row in self._data.type_three().items():
            rows.append({"term": term} | self._jointly(row))
        return pd.DataFrame(rows, columns=["term", "num_df", "den_df", "f", "p"])

    def means(self, rows: pd.DataFrame, estimates: np.ndarray | None = None) -> np.ndarray:
        """The model's mean for rows with all variables of the formula, levels as in the data that were fitted.

        Parameters
        ----------
        rows : DataFrame
        estimates : ndarray, optional
            Coefficients to use, shape (p,) or, for many sets of them at once, (p, n); by default `estimates`.

        Returns
        -------
        ndarray, shape (rows,) or (rows, n)
        """
        return self._data.design_of(rows) @ (self.estimates.to_numpy() if estimates is None else estimates)

    def means_at(self, people: pd.DataFrame, visits: Sequence[Any], estimates: np.ndarray) -> np.ndarray:
        """The model's means of subjects at all of some visits, for many sets of coefficients.

        Parameters
        ----------
        people : DataFrame
            A row for each subject with the variables of the formula but the visit, levels as in the data.
        visits : sequence
            Levels of the visit.
        estimates : ndarray, shape (n, p)

        Returns
        -------
        ndarray, shape (n, subjects, visits)
        """
        means = self._data.design_at(people, visits) @ estimates.T
        return means.T.reshape(len(estimates), len(people), len(visits))

    def draws(self, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Draws from the approximate posterior of coefficients and covariance matrix, for multiple imputation.

        Covariance parameters (log-Cholesky for "us") are normal around their estimates with the inverse of the
        observed information as covariance; coefficients given those are normal around their generalised least-squares
        estimate (exact under a flat prior).

        Parameters
        ----------
        count : int
        rng : numpy.random.Generator

        Returns
        -------
        estimates : ndarray, shape (count, p)
        covariances : ndarray, shape (count, groups, m, m)

        Raises
        ------
        RunFailed
            If the data are so few that hardly any draw is a proper covariance matrix.
        """
        search, design = self._search, self._search.design
        found, point = self._found
        root = np.linalg.cholesky(2 * np.linalg.inv(search.hessian(found, point)))
        before = rng.bit_generator.state
        normal = rng.standard_normal((count, found.size + design.p))
        at = found + normal[:, : found.size] @ root.T
        together = search.coefficients(at)
        if together is not None:
            b, spread, matrices = together
            b = b + np.einsum("kab,kb->ka", spread, normal[:, found.size :])
            return design.ols + b @ self._to_units.T, design.scale**2 * matrices
        rng.bit_generator.state = before  # some are not possible: one after another
        estimates: list[np.ndarray] = []
        covariances: list[np.ndarray] = []
        for _ in range(100 * count):
            if len(estimates) == count:
                break
            at = found + root @ rng.standard_normal(found.size)
            drawn = search.point(at)
            if drawn is None:  # outside the parameter space
                continue
            try:
                refuse_improper(search, at)
            except NotConverged:
                continue
            b = drawn.b + np.linalg.cholesky(drawn.phi) @ rng.standard_normal(design.p)
            estimates.append(design.ols + self._to_units @ b)
            covariances.append(design.scale**2 * search.matrices(at))
        if len(estimates) < count:
            raise RunFailed("mmrm: the data are too few to draw covariance parameters; most draws are not possible.")
        return np.array(estimates), np.array(covariances)

    def _needed(self, given: str | None, known: str | None, what: str) -> str:
        found = known if given is None else given
        if found is None:
            raise BadInput(f"mmrm: say which factor by `{what}`, or name the treatment by `arm` when fitting.")
        return found

    def _factors(self, by: Sequence[str] | str | None) -> list[str]:
        if by is None:
            return [self._needed(None, self._data.arm, "by"), self._data.visit]
        return [by] if isinstance(by, str) else list(by)

    def _singly(self, rows: np.ndarray) -> pd.DataFrame:
        """Estimate, standard error, degrees of freedom, test and interval of contrasts of the terms."""
        return pd.DataFrame(self.combined(rows))

    def _jointly(self, rows: np.ndarray) -> dict[str, float]:
        estimate = rows @ self.estimates.to_numpy()
        num, den, f = self._inference.jointly(rows @ self._to_units, estimate)
        return {"num_df": num, "den_df": den, "f": f, "p": float(fdtrc(num, den, f))}
