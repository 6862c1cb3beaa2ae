"""Endpoints whose trial file asks for an MMRM: change from a reference visit, at all visits up to the endpoint's.

The model is the one usual in confirmatory trials [1]_: arm, visit and their interaction, the reference value and its
interaction with visit, strata of the randomisation; unstructured covariance over visits, REML, Satterthwaite. LS means
stand at the mean reference value of the patients analysed and at the strata as found (observed margins).

References
----------
.. [1] Mallinckrodt CH et al. Drug Inf J 2008;42:303-19. doi:10.1177/009286150804200402
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from ranklsim.cohorts.people.criteria import values_of
from ranklsim.cohorts.statistics import imputation, mmrm, summaries
from ranklsim.cohorts.statistics.ancova import left_out
from ranklsim.cohorts.statistics.mmrm.covariance import NAMES
from ranklsim.cohorts.statistics.proportions import independent
from ranklsim.cohorts.words import listed, month_text
from ranklsim.pkpd.errors import BadInput, RunFailed

ERROR_WORDS = {
    mmrm.MODEL: "", "empirical": ", empirical errors", "bias-reduced": ", bias-reduced empirical errors",
    "jackknife": ", jackknife empirical errors",
}  # fmt: skip
"""What `method` says of the errors."""

COLUMNS = (
    *("month", "arm", "n", "estimate", "std_error", "df", "ci_low", "ci_high"),
    *("difference", "difference_std_error", "difference_df", "difference_low", "difference_high", "p"),
)
FORMULAS = {
    "value ~ arm * month + baseline * month + stratum": "",
    "value ~ arm * month + baseline * month": "the strata",
    "value ~ arm * month": "the strata and the reference value",
}
"""Models from the one wanted to the plainest, each with what it leaves out."""


@dataclass(frozen=True)
class Repeated:
    """One endpoint analysed by MMRM.

    Attributes
    ----------
    spec : ranklsim.cohorts.protocol.design.Endpoint
    columns : dict of str to ndarray
        Those of `by_visit`.
    patients : int
        Patients with the reference value and at least one later one.
    table : DataFrame
        What the model is fitted to: columns `patient`, `arm`, `month`, `value`, `baseline`, `stratum`.
    fit : Fit or None
        The model, unless there is none.
    formula : str
        Of the model.
    note : str
        What a reader must know: arms, visits or covariates left out, another covariance, no model. Empty if nothing.
    """

    spec: Any
    columns: dict[str, np.ndarray]
    patients: int
    table: pd.DataFrame
    fit: mmrm.Fit | None = None
    formula: str = ""
    note: str = ""

    @cached_property
    def by_visit(self) -> pd.DataFrame:
        """Columns `COLUMNS`, a row a visit and arm: LS means, and differences to the control arm; plain means without
        intervals where no model could be fitted; n = 0 and NaN for an arm without data."""
        return pd.DataFrame(self.columns)

    @property
    def method(self) -> str:
        """What was done, in a few words."""
        if self.fit is None:
            return "no model could be fitted"
        return f"MMRM, {NAMES[self.fit.structure]} covariance{ERROR_WORDS[self.spec.errors]}"

    def endpoint(self) -> pd.DataFrame:
        """The rows of the endpoint's own visit as in `summaries.endpoint`; none where nobody had both values."""
        return pd.DataFrame(self.endpoint_rows(), columns=list(summaries.ENDPOINT_COLUMNS))

    def endpoint_rows(self) -> list[dict[str, Any]]:
        """The rows of `endpoint`, one by one."""
        facts = summaries.endpoint_facts(self.spec) | {"method": self.method, "note": self.note}
        facts["statistic"] = "Mean" if self.fit is None else "LS mean"
        at = np.flatnonzero(self.columns["month"] == self.spec.to_month)
        return [facts | {name: self.columns[name][k].item() for name in COLUMNS[2:]} | {"arm": self.columns["arm"][k]}
                for k in at]  # fmt: skip

    def terms(self) -> str:
        """The model in words, for a footnote."""
        words = {
            "arm": "arm",
            "month": "visit",
            "arm:month": "arm-by-visit",
            "baseline": "baseline",
            "baseline:month": "baseline-by-visit",
            "stratum": "strata",
        }
        words |= {name: name.replace("_", " ") for name in self.spec.covariates}
        used = [word for term, word in words.items() if all(part in self.formula for part in term.split(":"))]
        return ", ".join(word for word in used if np.unique(self.columns["month"]).size > 1 or "visit" not in word)


def analyse(
    visits: pd.DataFrame, patients: pd.DataFrame, spec: Any, arms: Sequence[str], control: str | None
) -> Repeated:
    """Fit the model of one endpoint.

    Parameters
    ----------
    visits, patients : DataFrame
        As stored in a run folder; `patients` with `stratum`.
    spec : ranklsim.cohorts.protocol.design.Endpoint
    arms : sequence of str
        Arm names in the order of the trial.
    control : str or None
        Reference of the differences; None leaves them empty.
    """
    own = summaries.changes(
        visits, spec.measure, spec.from_month, kind=spec.kind, months=(spec.from_month, spec.to_month)
    )
    month, arm = own["month"], _codes_among(own["arm"], arms)
    at_end = {arms[k] for k in np.unique(arm[month == spec.to_month]) if k >= 0}
    if not at_end:
        return Repeated(spec, _ordered({}, arms), 0, pd.DataFrame(own), note="No patient had both values.")
    notes = []
    absent = [arm for arm in arms if arm not in at_end]
    if absent:
        notes.append(
            f"No patient of {listed(absent)} had a value at month {month_text(spec.to_month)}, so the model leaves "
            f"{'that arm' if len(absent) == 1 else 'those arms'} out"
            f"{' and there are no differences' if control in absent else ''}."
        )
    present = [arm for arm in arms if arm in at_end]
    if control is not None and control in present:
        present = [control, *(arm for arm in present if arm != control)]  # the first is what others are compared with
    arm = np.array([present.index(name) if name in at_end else -1 for name in [*arms, ""]])[arm]
    rows = np.flatnonzero(arm >= 0)
    months, code = np.unique(month[rows], return_inverse=True)
    cells = np.bincount(code * len(present) + arm[rows], minlength=months.size * len(present))
    thin = (cells.reshape(months.size, len(present)) == 0).any(axis=1)
    if thin.any():
        rows = rows[~thin[code]]
        notes.append(f"Month {listed([month_text(m) for m in months[thin]])} is left out: an arm has no value there.")
    if np.sum(~thin) == 1:
        notes.append("There is one visit only, so the model is the analysis of covariance at that visit.")
    table = _table(own, rows, pd.Categorical.from_codes(arm[rows], present), patients, spec.covariates)
    redundant = _redundant(table, spec.covariates)
    notes += [left_out(redundant)] if redundant else []
    kept = [name for name in spec.covariates if name not in redundant]
    fit, formula, why, columns = _fitted(table, kept, arms, control, spec.errors)
    if fit is None:
        notes.append(f"No model could be fitted ({why}): plain means are given, without intervals.")
    else:
        if why:
            notes.append(why)
        notes += [fit.message] if fit.message else []
    return Repeated(spec, columns, np.unique(table["patient"].to_numpy()).size, table, fit, formula, " ".join(notes))


def _codes_among(arm: Any, levels: Sequence[str]) -> np.ndarray:
    """Places of arms among some levels; -1 where an arm is none of them."""
    if isinstance(arm.dtype, pd.CategoricalDtype):
        turn = [levels.index(name) if name in levels else -1 for name in arm.categories]
        return np.array([*turn, -1])[arm.codes]
    return np.asarray(pd.Index(levels).get_indexer(np.asarray(arm, dtype=object)))


def _table(
    own: Mapping[str, Any], rows: np.ndarray, arm: pd.Categorical, patients: pd.DataFrame, covariates: Sequence[str]
) -> pd.DataFrame:
    """What a model is fitted to: some rows of the changes, with the stratum and the covariates of each patient."""
    who = own["patient"][rows]
    place = pd.Index(patients["patient"].to_numpy()).get_indexer(who)
    known = patients["stratum"] if "stratum" in patients else [""] * len(patients)
    strata, code = np.unique(np.asarray(known, dtype=str), return_inverse=True)
    used, stratum = np.unique(code[place], return_inverse=True)
    columns = {"patient": who, "arm": arm} | {name: own[name][rows] for name in ("month", "value", "baseline")}
    columns["stratum"] = pd.Categorical.from_codes(stratum, strata[used].astype(object))
    return pd.DataFrame(columns | {name: values_of(name, patients)[place] for name in covariates}, copy=False)


_Found: TypeAlias = tuple[mmrm.Fit | None, str, str, dict[str, np.ndarray]]
_LATEST: dict[tuple[object, ...], _Found] = {}
"""Models of the latest tables: an estimand whose strategies change nothing asks for the model of its endpoint again."""
_HELD = 4


def _fitted(
    table: pd.DataFrame, covariates: Sequence[str], arms: Sequence[str], control: str | None, errors: str = mmrm.MODEL
) -> _Found:
    """The model of a table, its formula, what it lacks, and its rows by visit."""
    columns = ("patient", "month", "value", "baseline", *covariates)
    key = (
        *(table[name].to_numpy(float).tobytes() for name in columns),
        *(_codes(table, name).tobytes() for name in ("arm", "stratum")), *table["stratum"].array.categories,
        tuple(covariates), tuple(arms), control, errors,
    )  # fmt: skip
    if key not in _LATEST:
        fit, formula, why = _fit(table, covariates, errors)
        by_visit = _plain(table, arms, control) if fit is None else _by_visit(fit, table, arms, control)
        while len(_LATEST) >= _HELD:
            _LATEST.pop(next(iter(_LATEST)), None)
        _LATEST[key] = (fit, formula, why, by_visit)
    return _LATEST[key]


def sensitivity(
    found: Repeated,
    visits: pd.DataFrame,
    patients: pd.DataFrame,
    control: str,
    *,
    seed: int,
    strategies: Sequence[str] = ("MAR", "J2R", "CIR"),
) -> tuple[pd.DataFrame, int]:
    """The endpoint under other assumptions on missing values; see `ranklsim.cohorts.statistics.imputation`.

    Parameters
    ----------
    found : Repeated
        With a model of at least two arms, one of them `control`.
    visits, patients : DataFrame
        As in `analyse`.
    control : str
        Reference arm, to which J2R and CIR refer.
    seed : int
    strategies : sequence of str
        Of `imputation.STRATEGIES`.

    Returns
    -------
    DataFrame, int
        Rows as from `imputation.analyse`, and the patients imputed or not: all with the reference value in the arms of
        the model.
    """
    assert found.fit is not None
    arms, wide, people = imputable(found, visits, patients)
    frame = imputation.analyse(found.fit, wide, people, arms, control, strategies=strategies, seed=seed)
    return frame, len(people)


def imputable(
    found: Repeated, visits: pd.DataFrame, patients: pd.DataFrame
) -> tuple[list[str], pd.DataFrame, pd.DataFrame]:
    """What `imputation` is of: the arms of the model, responses and covariates of all patients with a reference value.

    Parameters
    ----------
    found, visits, patients
        As in `sensitivity`.

    Returns
    -------
    list of str, DataFrame, DataFrame
        Arms; responses by visit, NaN where not seen; `arm`, `baseline`, `stratum` and covariates.
    """
    spec, table = found.spec, found.table
    arms = [str(arm) for arm in table["arm"].cat.categories]
    values, start = visits[spec.measure].to_numpy(), visits["month"].to_numpy() == spec.from_month
    arm = _codes_among(visits["arm"].array, arms)
    rows = np.flatnonzero(start & ~np.isnan(values) & (arm >= 0))
    own = {"patient": visits["patient"].to_numpy(), "month": visits["month"].to_numpy()}
    own |= {"value": values, "baseline": values}
    people = _table(own, rows, pd.Categorical.from_codes(arm[rows], arms), patients, spec.covariates)
    if "stratum" in found.formula:  # a stratum in which nobody was seen again has no place in the model
        people = people[people["stratum"].isin(table["stratum"].array.categories)]
    people = people.set_index("patient").drop(columns=["month", "value"])
    months, column = np.unique(table["month"].to_numpy(), return_inverse=True)
    place = people.index.get_indexer(table["patient"])
    wide = np.full((len(people), months.size), np.nan, dtype=values.dtype)
    wide[place[place >= 0], column[place >= 0]] = table["value"].to_numpy()[place >= 0]
    return arms, pd.DataFrame(wide, index=people.index, columns=months), people


def _redundant(table: pd.DataFrame, covariates: Sequence[str]) -> list[str]:
    """Covariates that vary, but add nothing to arm, reference value, strata and the covariates before."""
    if not covariates:
        return []
    people = table.drop_duplicates("patient")
    values = {name: people[name].to_numpy(float) for name in ("baseline", *covariates)}
    first = [(people[name] == level).to_numpy(float) for name in ("arm", "stratum") for level in people[name].unique()]
    kept = independent([*first, *values.values()], len(first))
    varying = [name for name in covariates if np.ptp(values[name]) > 0]
    return [name for name in varying if len(first) + list(values).index(name) not in kept]


def _fit(
    table: pd.DataFrame, covariates: Sequence[str] = (), errors: str = mmrm.MODEL
) -> tuple[mmrm.Fit | None, str, str]:
    """The richest model that the data determine, its formula, and what it lacks; or None and why."""
    first = ""
    for formula, lacks in FORMULAS.items():
        more = () if lacks.endswith("reference value") else covariates
        used = _applicable(" + ".join([formula, *more]), table, more)
        try:
            fit = mmrm.fit(used, table, subject="patient", visit="month", arm="arm", errors=errors)
        except (BadInput, RunFailed) as fault:
            first = first or str(fault).removeprefix("mmrm: ").rstrip(".")
            continue
        return fit, used, f"The data do not determine {lacks}, which the model leaves out." if lacks else ""
    return None, "", first


def _applicable(formula: str, table: pd.DataFrame, covariates: Sequence[str] = ()) -> str:
    """The formula without what does not vary: one arm, one visit, one stratum, a constant reference value."""
    names = ("arm", "month", "baseline", "stratum", *covariates)
    values = {name: _codes(table, name) if name in ("arm", "stratum") else table[name].to_numpy() for name in names}
    spread = {name: bool(np.fmin.reduce(each) < np.fmax.reduce(each)) for name, each in values.items()}
    span = table["baseline"].max() - table["baseline"].min()
    spread["baseline"] = bool(span > 1e-9 * max(1.0, abs(table["baseline"]).max()))
    left, right = formula.split(" ~ ")
    kept = [[part for part in term.split(" * ") if spread[part]] for term in right.split(" + ")]
    return f"{left} ~ {' + '.join(' * '.join(parts) for parts in kept if parts) or '1'}"


def _codes(table: pd.DataFrame, name: str) -> np.ndarray:
    """Places of the levels of a factor."""
    return np.asarray(table[name].array.codes)


def _by_visit(fit: mmrm.Fit, table: pd.DataFrame, arms: Sequence[str], control: str | None) -> dict[str, np.ndarray]:
    """LS means and differences as `COLUMNS`; an arm or visit that does not vary is not in the formula."""
    here: dict[str, list[Any]] = {"month": np.unique(table["month"].to_numpy()).tolist()}
    here["arm"] = [table["arm"].array.categories[k] for k in np.unique(_codes(table, "arm"))]
    factors = [name for name, levels in here.items() if len(levels) > 1]
    numbers = [name for name in table.columns if name not in ("patient", "arm", "month", "value", "stratum")]
    first = np.unique(table["patient"].to_numpy(), return_index=True)[1]  # one row of each patient
    at = {name: float(table[name].to_numpy()[first].mean()) for name in numbers if name in fit.formula}
    cells, n, rows = fit.cells(factors, weights="proportional", at=at)
    known = [dict(zip(factors, cell, strict=True)) for cell in cells]
    places = [tuple(each.get(name, here[name][0]) for name in ("month", "arm")) for each in known]
    means = fit.combined(rows)
    names = {"estimate": "estimate", "std_error": "std_error", "df": "df", "ci_low": "ci_low", "ci_high": "ci_high"}
    out: dict[Any, dict[str, Any]] = {
        place: {"n": n[k]} | {name: means[name][k] for name in names} for k, place in enumerate(places)
    }
    if "arm" in factors and control in here["arm"]:
        base = {month: k for k, (month, arm) in enumerate(places) if arm == control}
        others = [k for k, (_, arm) in enumerate(places) if arm != control]
        gaps = fit.combined(np.array([rows[k] - rows[base[places[k][0]]] for k in others]))
        names = {"estimate": "difference", "std_error": "difference_std_error", "df": "difference_df", "p": "p"}
        names |= {"ci_low": "difference_low", "ci_high": "difference_high"}
        for j, k in enumerate(others):
            out[places[k]] |= {column: gaps[name][j] for name, column in names.items()}
    return _ordered(out, arms)


def _plain(table: pd.DataFrame, arms: Sequence[str], control: str | None) -> dict[str, np.ndarray]:
    """Means by visit and arm without intervals."""
    cells = table.groupby(["month", "arm"], observed=True)["value"].agg(["size", "mean"])
    rows: dict[Any, dict[str, Any]] = {key: {"n": n, "estimate": mean} for key, n, mean in cells.itertuples(name=None)}
    for (month, arm), row in rows.items():
        base = rows.get((month, control))
        if base is not None and arm != control:
            row["difference"] = row["estimate"] - base["estimate"]
    return _ordered(rows, arms)


def _ordered(rows: Mapping[Any, Mapping[str, Any]], arms: Sequence[str]) -> dict[str, np.ndarray]:
    """All arms at all visits, in the order of visits and of the trial's arms."""
    cells = [(month, arm) for month in sorted({month for month, _ in rows}) for arm in arms]
    found = [rows.get(cell, {"n": 0}) for cell in cells]
    out = {"month": np.array([month for month, _ in cells], dtype=float)}
    out["arm"] = np.array([arm for _, arm in cells], dtype=object)
    out["n"] = np.array([row["n"] for row in found], dtype=np.int64)
    return out | {name: np.array([row.get(name, np.nan) for row in found], dtype=float) for name in COLUMNS[3:]}
