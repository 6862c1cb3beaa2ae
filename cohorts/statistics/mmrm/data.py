"""From a formula and a table of rows to the design of the fit, and back to combinations of its coefficients.

Formulas are read by `formulaic`, the successor of patsy according to its documentation.

References
----------
.. [1] Lenth RV. emmeans: Estimated Marginal Means. R package (reference grid, "proportional" weights).
.. [2] SAS/STAT User's Guide, Shared Concepts: type III estimable functions.
"""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from ranklsim.cohorts.statistics.mmrm import criterion as reml_criterion
from ranklsim.cohorts.statistics.mmrm.criterion import Block, Design
from ranklsim.pkpd.errors import BadInput


@dataclass
class ModelData:
    """The rows used, the design made of them, and what is needed to make further rows of the design."""

    formula: str
    y: np.ndarray
    subject: str
    visit: str
    group: str | None
    arm: str | None
    frame: pd.DataFrame
    plain: Plain | None
    terms: list[str]
    visit_levels: list[Any]
    group_levels: list[Any]
    levels: dict[str, list[Any]]
    covariates: list[str]
    blocks: list[Block]
    notes: list[str]

    @classmethod
    def read(
        cls, formula: str, data: pd.DataFrame, subject: str, visit: str, group: str | None, arm: str | None
    ) -> ModelData:
        """Check and prepare; raises BadInput.

        Parameters
        ----------
        formula : str
            Response and fixed effects.
        data : DataFrame
            One row for each subject and visit.
        subject, visit : str
            Columns of `data`.
        group, arm : str, optional
            Columns by which covariances, or weights of levels, differ.
        """
        plain = Plain.read(formula, data)
        parsed: Any = None
        if plain is not None:
            response, wanted = [plain.response], plain.columns
        else:
            parsed = _parse(formula)
            response, wanted = _columns(parsed.lhs, data), _columns(parsed.rhs, data)
        roles = {"subject": subject, "visit": visit, "group": group, "arm": arm}
        for role, column in roles.items():
            if column is not None and column not in data:
                raise BadInput(f"mmrm: {role} = {column!r} is not a column of the data.")
        if not response:
            raise BadInput(f"mmrm: the left side of {formula!r} names no column of the data.")
        named = list(dict.fromkeys([column for column in roles.values() if column is not None]))
        frame = data[list(dict.fromkeys([*named, *response, *wanted]))]
        frame = _known(frame, response)
        notes = []
        missing = {column: n for column in frame if (n := int((~_there(frame[column])).sum()))}
        for column in named:
            if column in missing:
                raise BadInput(f"mmrm: {column} is missing in {missing[column]} rows with a response.")
        short = [column for column in wanted if column in missing]
        if short:
            complete = _known(frame, wanted)
            notes.append(f"{len(frame) - len(complete)} rows without {' or '.join(short)} were left out.")
            frame = complete
        frame = frame.set_axis(pd.RangeIndex(len(frame)))
        if frame.empty:
            raise BadInput("mmrm: no row of the data has a response and all covariates.")
        notes += _as_factors(frame, {visit, *([group] if group else []), *([arm] if arm else [])}, subject, visit)
        who = pd.factorize(frame[subject])[0]
        _refuse_repeats(frame, who, subject, visit)
        for role, column in (("group", group), ("arm", arm)):
            if column is not None:
                _refuse_two(frame, who, subject, column, role)
        if plain is not None:
            y, x, terms, factors = *plain.fitted(frame), plain.factors
        else:
            y, made = _matrices(parsed, frame, formula)
            x, terms, factors = (
                made.to_numpy(float),
                [str(name) for name in made.columns],
                _factors(made.model_spec, frame),
            )
        _refuse_infinite(y, x, terms)
        blocks, codes = _pooled(frame, x, y, who, visit, group)
        _refuse_redundant(blocks, terms)
        covariates = [name for name in wanted if name not in factors and name != subject]
        return cls(
            formula=formula,
            y=y,
            subject=subject,
            visit=visit,
            group=group,
            arm=arm,
            frame=frame,
            plain=plain,
            terms=terms,
            visit_levels=codes[0],
            group_levels=codes[1],
            levels=factors,
            covariates=covariates,
            blocks=blocks,
            notes=notes,
        )

    @cached_property
    def spec(self) -> Any:
        """The design as `formulaic` has it."""
        return _parse(self.formula).get_model_matrix(self.frame, na_action="ignore").rhs.model_spec

    @cached_property
    def design(self) -> Design:
        """Orthonormal design; BadInput if the responses do not vary around it."""
        subjects = self.frame[self.subject].nunique()
        groups = max(len(self.group_levels), 1)
        try:
            return reml_criterion.standardise(self.blocks, subjects, len(self.frame), len(self.visit_levels), groups)
        except np.linalg.LinAlgError:
            raise BadInput(
                "mmrm: the responses do not vary around the fixed effects, so there is no variance to estimate."
            ) from None

    def whitened(self, matrices: list[np.ndarray], estimates: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """Design and residuals of every subject after the inverse root of her covariance, in the units of `design`.

        Parameters
        ----------
        matrices : list of ndarray, shape (visits, visits)
            Covariance of each group.
        estimates : ndarray, shape (p,)
            Coefficients of the terms.

        Returns
        -------
        list of (ndarray, ndarray)
            For each pattern of visits, shapes (subjects, v, p) and (subjects, v).
        """
        frame = self.frame
        x = self.design_of(frame)
        residual = self.y - x @ estimates
        z = np.column_stack([x @ self.design.to_terms, residual / self.design.scale])
        codes = frame[self.visit].cat.codes.to_numpy(np.int64)
        groups = frame[self.group].cat.codes.to_numpy(np.int64) if self.group else np.zeros(len(frame), np.int64)
        found = []
        for at, group, places in reml_criterion.patterns(pd.factorize(frame[self.subject])[0], codes, groups):
            root = np.linalg.cholesky(matrices[group][np.ix_(at, at)] / self.design.scale**2)
            both = np.linalg.solve(root, z[places])
            found.append((both[..., :-1], both[..., -1]))
        return found

    def fixed_df(self, method: str) -> np.ndarray:
        """Degrees of freedom of each term: residual, or by whether it varies within subjects.

        Parameters
        ----------
        method : str
            "residual" or "between-within".
        """
        rows, subjects, p = len(self.frame), self.frame[self.subject].nunique(), len(self.terms)
        if method == "residual":
            return np.full(p, float(rows - p))
        within = np.zeros(p, bool)
        for block in self.blocks:
            within |= (block.x != block.x[:, :1]).any(axis=(0, 1))
        intercept = np.array([name == "Intercept" for name in self.terms])
        inner = rows - subjects - int(within.sum())
        outer = subjects - int((~within).sum())
        return np.where(within | (intercept & (inner > 0)), float(inner), float(outer))

    def cells(
        self, by: list[str], weights: str, at: dict[str, float]
    ) -> tuple[list[tuple[Any, ...]], np.ndarray, np.ndarray]:
        """Combinations of the factors `by`, with the rows used in each, and their weights of the coefficients.

        Parameters
        ----------
        by : list of str
            Factors of the formula.
        weights : str
            Weights of the levels of other factors.
        at : dict of str to float
            Values of covariates, in place of their means.
        """
        for name in by:
            if name not in self.levels:
                raise BadInput(
                    f"mmrm: {name!r} is not a factor of {self.formula!r}; its factors are {', '.join(self.levels)}."
                )
        for name in at:
            if name not in self.covariates:
                raise BadInput(f"mmrm: {name!r} is not a covariate of {self.formula!r}.")
        others = [name for name in self.levels if name not in by]
        cells = list(itertools.product(*(self.levels[name] for name in by)))
        rest = list(itertools.product(*(self.levels[name] for name in others)))
        share = np.full(len(rest), 1 / len(rest))
        if weights == "proportional" and others:
            share = self._counts(others).astype(float)
            share /= share.sum()
        both = [(*cell, *other) for cell in cells for other in rest]
        numbers = {name: at.get(name, float(self.frame[name].mean())) for name in self.covariates}
        if self.plain is not None:
            sizes = [len(self.levels[name]) for name in (*by, *others)]
            codes = dict(zip([*by, *others], np.indices(sizes).reshape(len(sizes), len(both)), strict=True))
            matrix = self.plain.coded(codes, {name: np.full(len(both), x) for name, x in numbers.items()}, len(both))
        else:
            made = {name: [row[k] for row in both] for k, name in enumerate([*by, *others])}
            matrix = self.design_of(pd.DataFrame(made | numbers, index=range(len(both))))
        n = self._counts(by) if by else np.array([len(self.frame)])
        return cells, n, np.einsum("r,crp->cp", share, matrix.reshape(len(cells), len(rest), -1))

    def _counts(self, factors: list[str]) -> np.ndarray:
        """Rows of each combination of the levels of some factors, the last varying fastest."""
        place = np.zeros(len(self.frame), dtype=np.int64)
        for name in factors:
            place = place * len(self.levels[name]) + _codes_of(self.frame[name], self.levels[name])
        return np.bincount(place, minlength=int(np.prod([len(self.levels[name]) for name in factors])))

    def design_of(self, rows: pd.DataFrame) -> np.ndarray:
        """Rows of the design for any rows that have the variables of the formula.

        Parameters
        ----------
        rows : DataFrame
            Any rows with the variables of the formula.
        """
        _refuse_unknown(rows, self.levels)
        if self.plain is not None:
            return self.plain.matrix(rows)
        typed = rows.assign(**{name: rows[name].astype(self.frame[name].dtype) for name in self.levels})
        return np.asarray(self.spec.get_model_matrix(typed, na_action="ignore").to_numpy(float))

    def design_at(self, people: pd.DataFrame, visits: Sequence[Any]) -> np.ndarray:
        """Rows of the design for subjects at all of some visits, those of a subject side by side.

        Parameters
        ----------
        people : DataFrame
            A row for each subject with the variables of the formula but the visit.
        visits : sequence
            Levels of the visit.
        """
        n, m = len(people), len(visits)
        if self.plain is None:
            rows = people.iloc[np.repeat(np.arange(n), m)].assign(**{self.visit: np.tile(visits, n)})
            return self.design_of(rows.reset_index(drop=True))
        columns = {name: people[name] for name in self.plain.columns if name != self.visit}
        _refuse_unknown(columns, self.levels)
        codes, numbers = self.plain.split(columns)
        codes, numbers = ({k: np.repeat(x, m) for k, x in each.items()} for each in (codes, numbers))
        if self.visit in self.levels:
            own = pd.Series(visits)
            _refuse_unknown({self.visit: own}, self.levels)
            codes[self.visit] = np.tile(_codes_of(own, self.levels[self.visit]), n)
        return self.plain.coded(codes, numbers, n * m)

    def type_three(self) -> dict[str, np.ndarray]:
        """For each term but the intercept, the combinations of coefficients that are zero under its type III test.

        They are the coefficients that the term would have if factors were coded to sum to zero, turned so that the
        term's own coefficients have weight 1, as SAS gives them [2]_ (Satterthwaite's denominator depends on that).
        """
        kinds = {expression: str(kind[0].value) for expression, kind in self.spec.encoder_state.items()}
        used = self.spec.factor_variables.items()
        inside = {factor.expr: [str(name) for name in names if name in self.frame] for factor, names in used}
        coded = []
        for term in self.spec.formula:
            factors = [factor.expr for factor in term.factors]
            coded.append(
                ":".join(
                    f"C({inside[name][0]}, contr.sum)" if kinds.get(name) == "categorical" else name for name in factors
                )
            )
        summed = _formulaic().Formula(" + ".join(["0", *coded])).get_model_matrix(self.frame)
        turn = np.linalg.lstsq(summed.to_numpy(float), self.spec.get_model_matrix(self.frame).to_numpy(float))[0]
        there = zip(self.spec.term_indices.items(), summed.model_spec.term_indices.values(), strict=True)
        return {
            str(term): np.linalg.solve(turn[np.ix_(rows, own)], turn[rows])
            for (term, own), rows in there
            if own and str(term) != "1"
        }


_WORDS = re.compile(r"\s*([^\W\d]\w*)\s*~\s*([^\W\d]\w*(?:\s*[*+]\s*[^\W\d]\w*)*)\s*")


@dataclass
class Plain:
    """A formula of columns joined by ``+`` and ``*`` alone, whose design is made without `formulaic` and like it.

    `terms` are the products of columns, main effects first; factors are coded against their first level.
    """

    response: str
    terms: list[tuple[str, ...]]
    factors: dict[str, list[Any]] = field(default_factory=dict)

    @classmethod
    def read(cls, formula: str, data: pd.DataFrame) -> Plain | None:
        """The formula, or None where it is another one."""
        found = _WORDS.fullmatch(formula)
        if not found or found[1] not in data or pd.api.types.is_bool_dtype(data[found[1]]):
            return None
        terms: dict[tuple[str, ...], None] = {}
        for term in found[2].split("+"):
            names = list(dict.fromkeys(name.strip() for name in term.split("*")))
            if not all(name in data for name in names):
                return None
            for size in range(1, len(names) + 1):
                terms |= dict.fromkeys(itertools.combinations(names, size))
        if len({frozenset(term) for term in terms}) < len(terms) or not pd.api.types.is_numeric_dtype(data[found[1]]):
            return None
        return cls(found[1], sorted(terms, key=len))

    @property
    def columns(self) -> list[str]:
        """The columns of the right side."""
        return list(dict.fromkeys(name for term in self.terms for name in term))

    def fitted(self, frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, list[str]]:
        """Response, design and names of its columns; keeps the levels of the factors."""
        for name in self.columns:
            if isinstance(frame[name].dtype, pd.CategoricalDtype):
                self.factors[name] = list(frame[name].cat.categories)
        names = ["Intercept"]
        for term in self.terms:
            parts = [[f"{n}[T.{level}]" for level in self.factors[n][1:]] if n in self.factors else [n] for n in term]
            names += [":".join(reversed(each)) for each in itertools.product(*reversed(parts))]
        return frame[self.response].to_numpy(float), self.matrix(frame), names

    def matrix(self, rows: pd.DataFrame) -> np.ndarray:
        """Rows of the design for any rows whose factors have known levels."""
        return self.coded(*self.split({name: rows[name] for name in self.columns}), len(rows))

    def split(self, columns: Mapping[str, pd.Series]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Places of the levels of factors, and the values of covariates, among some columns of the formula.

        Parameters
        ----------
        columns : mapping of str to Series
        """
        codes = {name: _codes_of(x, self.factors[name]) for name, x in columns.items() if name in self.factors}
        return codes, {name: x.to_numpy(float) for name, x in columns.items() if name not in self.factors}

    def coded(self, codes: Mapping[str, np.ndarray], numbers: Mapping[str, np.ndarray], count: int) -> np.ndarray:
        """Rows of the design from the places of levels of factors, and the values of covariates.

        Parameters
        ----------
        codes, numbers : mapping of str to ndarray, shape (count,)
        count : int
        """
        own = {name: values[:, None] for name, values in numbers.items()}
        for name, values in codes.items():
            own[name] = (values[:, None] == np.arange(1, len(self.factors[name]))).astype(float)
        parts = [np.ones((count, 1))]
        for term in self.terms:
            column = own[term[0]]
            for name in term[1:]:  # the first factor varies fastest
                column = (own[name][:, :, None] * column[:, None, :]).reshape(count, -1)
            parts.append(column)
        return np.hstack(parts)


def _refuse_unknown(columns: Mapping[str, pd.Series] | pd.DataFrame, levels: Mapping[str, list[Any]]) -> None:
    for name, known in levels.items():
        if name in columns and (unknown := set(columns[name].unique().tolist()) - set(known)):
            raise BadInput(f"mmrm: {name} = {unknown.pop()!r} is not among the levels that were fitted.")


def _codes_of(column: pd.Series, levels: list[Any]) -> np.ndarray:
    """Places of values among levels."""
    if isinstance(column.dtype, pd.CategoricalDtype) and list(column.cat.categories) == list(levels):
        return column.cat.codes.to_numpy(np.int64)
    return np.asarray(pd.Index(levels).get_indexer(column), dtype=np.int64)


def _there(column: pd.Series) -> np.ndarray:
    """Which values of a column are not missing."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return np.asarray(column.cat.codes.to_numpy() >= 0)
    return np.asarray(pd.notna(column.to_numpy()))


def _known(frame: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Rows in which no column is missing."""
    known = np.ones(len(frame), dtype=bool)
    for name in columns:
        known &= _there(frame[name])
    return frame if known.all() else frame[known]


def _formulaic() -> Any:
    """The library, which takes long to import; a formula that is `Plain` needs it for its type III tests alone."""
    import formulaic

    return formulaic


def _parse(formula: str) -> Any:
    try:
        parsed = _formulaic().Formula(formula)
    except _formulaic().errors.FormulaicError as fault:
        reason = str(fault).splitlines()[0].rstrip(".")
        raise BadInput(f'mmrm: the formula {formula!r} cannot be read ({reason}); write "y ~ arm * visit".') from None
    if not hasattr(parsed, "lhs") or not hasattr(parsed, "rhs"):
        raise BadInput(f'mmrm: the formula {formula!r} has no response; write "y ~ arm * visit".')
    return parsed


def _columns(side: Any, data: pd.DataFrame) -> list[str]:
    """Columns of the data that one side of a formula uses, in order."""
    found: dict[str, None] = {}
    for term in side:
        for factor in term.factors:
            if factor.expr in data:
                found[factor.expr] = None
            elif str(factor.eval_method.value) == "python":
                names = [node.id for node in ast.walk(ast.parse(factor.expr)) if isinstance(node, ast.Name)]
                found |= dict.fromkeys(name for name in names if name in data)
            elif str(factor.eval_method.value) == "lookup":
                raise BadInput(f"mmrm: {factor.expr!r} in the formula is not a column of the data.")
    return list(found)


def _as_factors(frame: pd.DataFrame, always: set[str], subject: str, visit: str) -> list[str]:
    """Turn text, true/false and `always` into categories that all occur; sentences on visits that do not."""
    notes = []
    for name in frame.columns:
        column = frame[name]
        if name == subject:
            continue
        if isinstance(column.dtype, pd.CategoricalDtype):
            counts = np.bincount(column.cat.codes.to_numpy() + 1, minlength=len(column.cat.categories) + 1)[1:]
            unused = [level for level, n in zip(column.cat.categories, counts, strict=True) if not n]
            if unused and name == visit:
                notes.append(f"No response at {visit} {', '.join(str(level) for level in unused)}, which was left out.")
            if unused:
                frame[name] = column.cat.remove_unused_categories()
        elif name in always or not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
            levels, codes = np.unique(column.to_numpy(), return_inverse=True)
            frame[name] = pd.Categorical.from_codes(codes, levels)
    return notes


def _refuse_repeats(frame: pd.DataFrame, who: np.ndarray, subject: str, visit: str) -> None:
    codes = frame[visit].cat.codes.to_numpy(np.int64)
    if np.bincount(who * (codes.max() + 1) + codes).max() > 1:
        repeated = frame.duplicated([subject, visit])
        first = frame[repeated].iloc[0]
        raise BadInput(
            f"mmrm: {subject} {first[subject]} has more than one row at {visit} {first[visit]}"
            f" ({int(repeated.sum())} rows too many in all); keep one row a subject and visit."
        )


def _refuse_two(frame: pd.DataFrame, who: np.ndarray, subject: str, column: str, role: str) -> None:
    codes = frame[column].cat.codes.to_numpy()
    first = np.full(who.max() + 1, -1)
    first[who[::-1]] = codes[::-1]
    if (first[who] != codes).any():
        counts = frame.groupby(subject, observed=True)[column].nunique()
        who = counts.index[counts > 1][0]
        values = sorted(str(value) for value in frame.loc[frame[subject] == who, column].unique())
        raise BadInput(f"mmrm: {subject} {who} is in more than one {role} ({', '.join(values)}); give it one {column}.")


def _matrices(parsed: Any, frame: pd.DataFrame, formula: str) -> tuple[np.ndarray, Any]:
    """Response and design; BadInput where the formula cannot be evaluated or gives what is not a number."""
    try:
        both = parsed.get_model_matrix(frame, na_action="ignore")
    except _formulaic().errors.FormulaicError as fault:
        reason = str(fault).splitlines()[0].rstrip(".")
        raise BadInput(f"mmrm: the formula {formula!r} cannot be used with these data ({reason}).") from None
    y, x = both.lhs.to_numpy(float), both.rhs
    if y.shape[1] != 1:
        raise BadInput(f"mmrm: the response of {formula!r} is not one column of numbers.")
    return y[:, 0], x


def _refuse_infinite(y: np.ndarray, x: np.ndarray, terms: list[str]) -> None:
    if np.isfinite(y).all() and np.isfinite(x).all():
        return
    for name, values in [("the response", y), *zip(terms, x.T, strict=True)]:
        if not np.isfinite(values).all():
            raise BadInput(f"mmrm: {name} is not a finite number in {int((~np.isfinite(values)).sum())} rows.")


def _pooled(
    frame: pd.DataFrame, x: np.ndarray, y: np.ndarray, subjects: np.ndarray, visit: str, group: str | None
) -> tuple[list[Block], tuple[list[Any], list[Any]]]:
    groups = frame[group].cat.codes.to_numpy() if group else np.zeros(len(frame), dtype=np.int64)
    blocks = reml_criterion.pool(x, y, subjects, frame[visit].cat.codes.to_numpy(np.int64), groups.astype(np.int64))
    return blocks, (list(frame[visit].cat.categories), list(frame[group].cat.categories) if group else [])


def _refuse_redundant(blocks: list[Block], terms: list[str]) -> None:
    x = np.concatenate([block.x.reshape(-1, len(terms)) for block in blocks])
    length = np.linalg.norm(x, axis=0)
    if (length == 0).any():
        missing = [term for term, size in zip(terms, length, strict=True) if size == 0]
        raise BadInput(f"mmrm: no row of the data has {', '.join(missing)}; leave that out or merge levels.")
    bad = reml_criterion.redundant_columns(x / length)
    if bad.size:
        which = ", ".join(terms[k] for k in bad)
        raise BadInput(f"mmrm: the data do not determine {which} beside the terms before; leave that out.")


def _factors(spec: Any, frame: pd.DataFrame) -> dict[str, list[Any]]:
    """Factors of the right side with their levels: categories, and whatever stands in C(...)."""
    found: dict[str, list[Any]] = {}
    for factor, variables in spec.factor_variables.items():
        kind = spec.encoder_state.get(factor.expr)
        if kind is None or str(kind[0].value) != "categorical":
            continue
        for name in map(str, variables):
            if name in frame:
                column = frame[name]
                category = isinstance(column.dtype, pd.CategoricalDtype)
                found[name] = list(column.cat.categories) if category else sorted(column.unique())
    return found
