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
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

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
    by_visit : DataFrame
        Columns `COLUMNS`, a row a visit and arm: LS means, and differences to the control arm; plain means without
        intervals where no model could be fitted; n = 0 and NaN for an arm without data.
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
    by_visit: pd.DataFrame
    patients: int
    table: pd.DataFrame
    fit: mmrm.Fit | None = None
    formula: str = ""
    note: str = ""

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
        at = np.flatnonzero(self.by_visit["month"].to_numpy(float) == self.spec.to_month)
        columns = {name: self.by_visit[name].tolist() for name in COLUMNS[1:]}
        return [facts | {name: values[k] for name, values in columns.items()} for k in at]

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
        return ", ".join(word for word in used if len(self.by_visit["month"].unique()) > 1 or "visit" not in word)


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
    change = summaries.change_from(visits, spec.measure, spec.from_month, kind=spec.kind)
    month = change["month"].to_numpy(float)
    change = change[(month > spec.from_month) & (month <= spec.to_month)]
    month = change["month"].to_numpy(float)
    empty = pd.DataFrame(columns=list(COLUMNS))
    at_end = set(change["arm"].array[month == spec.to_month].unique())
    if not at_end:
        return Repeated(spec, empty, 0, change, note="No patient had both values.")
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
    arm = _among(change["arm"], present)
    here = arm.codes >= 0
    table = summaries.with_covariates(change[here].assign(arm=arm[here]), visits, patients, spec)
    months, code = np.unique(table["month"].to_numpy(float), return_inverse=True)
    cells = np.bincount(code * len(present) + arm.codes[here], minlength=months.size * len(present))
    thin = (cells.reshape(months.size, len(present)) == 0).any(axis=1)
    if thin.any():
        table = table[~thin[code]]
        notes.append(f"Month {listed([month_text(m) for m in months[thin]])} is left out: an arm has no value there.")
    if np.sum(~thin) == 1:
        notes.append("There is one visit only, so the model is the analysis of covariance at that visit.")
    strata, stratum = np.unique(np.asarray(table["stratum"], dtype=str), return_inverse=True)
    table = table.assign(stratum=pd.Categorical.from_codes(stratum, strata.astype(object)))
    redundant = _redundant(table, spec.covariates)
    notes += [left_out(redundant)] if redundant else []
    kept = [name for name in spec.covariates if name not in redundant]
    fit, formula, why, by_visit = _fitted(table, kept, arms, control, spec.errors)
    if fit is None:
        notes.append(f"No model could be fitted ({why}): plain means are given, without intervals.")
    else:
        if why:
            notes.append(why)
        notes += [fit.message] if fit.message else []
    return Repeated(spec, by_visit, table["patient"].nunique(), table, fit, formula, " ".join(notes))


def _among(arm: pd.Series, levels: Sequence[str]) -> pd.Categorical:
    """Arms as a category with some levels in an order; missing where an arm is none of them."""
    if isinstance(arm.dtype, pd.CategoricalDtype):
        turn = [levels.index(name) if name in levels else -1 for name in arm.cat.categories]
        return pd.Categorical.from_codes(np.array([*turn, -1])[arm.cat.codes], list(levels))
    return pd.Categorical.from_codes(pd.Index(levels).get_indexer(np.asarray(arm, dtype=object)), list(levels))


_Found: TypeAlias = tuple[mmrm.Fit | None, str, str, pd.DataFrame]
_LATEST: dict[tuple[object, ...], _Found] = {}
"""Models of the latest tables: an estimand whose strategies change nothing asks for the model of its endpoint again."""
_HELD = 4


def _fitted(
    table: pd.DataFrame, covariates: Sequence[str], arms: Sequence[str], control: str | None, errors: str = mmrm.MODEL
) -> _Found:
    """The model of a table, its formula, what it lacks, and its rows by visit."""
    columns = ("patient", "month", "value", "baseline", *covariates)
    key = (
        *(table[name].to_numpy(float).tobytes() for name in columns), table["arm"].cat.codes.to_numpy().tobytes(),
        table["stratum"].cat.codes.to_numpy().tobytes(), tuple(table["stratum"].cat.categories),
        tuple(covariates), tuple(arms), control, errors,
    )  # fmt: skip
    if key not in _LATEST:
        fit, formula, why = _fit(table, covariates, errors)
        by_visit = _plain(table, arms, control) if fit is None else _by_visit(fit, table, arms, control)
        while len(_LATEST) >= _HELD:
            _LATEST.pop(next(iter(_LATEST)), None)
        _LATEST[key] = (fit, formula, why, by_visit)
    fit, formula, why, by_visit = _LATEST[key]
    return fit, formula, why, by_visit.copy()


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
    start = visits[(visits["month"] == spec.from_month) & visits[spec.measure].notna() & visits["arm"].isin(arms)]
    people = summaries.with_covariates(start, visits, patients, spec).set_index("patient")[
        ["arm", "baseline", "stratum", *spec.covariates]
    ]
    people["stratum"] = people["stratum"].astype(str)
    known = people["stratum"].isin(set(table["stratum"])) if "stratum" in found.formula else people["arm"].notna()
    people = people[known]  # a stratum in which nobody was seen again has no place in the model
    return arms, table.pivot(index="patient", columns="month", values="value").reindex(people.index), people


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
    spread = {name: table[name].nunique() > 1 for name in names}
    span = table["baseline"].max() - table["baseline"].min()
    spread["baseline"] = bool(span > 1e-9 * max(1.0, abs(table["baseline"]).max()))
    left, right = formula.split(" ~ ")
    kept = [[part for part in term.split(" * ") if spread[part]] for term in right.split(" + ")]
    return f"{left} ~ {' + '.join(' * '.join(parts) for parts in kept if parts) or '1'}"


def _by_visit(fit: mmrm.Fit, table: pd.DataFrame, arms: Sequence[str], control: str | None) -> pd.DataFrame:
    """LS means and differences as `COLUMNS`; an arm or visit that does not vary is not in the formula."""
    here = {name: list(table[name].unique()) for name in ("arm", "month")}
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


def _plain(table: pd.DataFrame, arms: Sequence[str], control: str | None) -> pd.DataFrame:
    """Means by visit and arm without intervals."""
    cells = table.groupby(["month", "arm"], observed=True)["value"].agg(["size", "mean"])
    rows: dict[Any, dict[str, Any]] = {key: {"n": n, "estimate": mean} for key, n, mean in cells.itertuples(name=None)}
    for (month, arm), row in rows.items():
        base = rows.get((month, control))
        if base is not None and arm != control:
            row["difference"] = row["estimate"] - base["estimate"]
    return _ordered(rows, arms)


def _ordered(rows: Mapping[Any, Mapping[str, Any]], arms: Sequence[str]) -> pd.DataFrame:
    """All arms at all visits, in the order of visits and of the trial's arms."""
    cells = [(month, arm) for month in sorted({month for month, _ in rows}) for arm in arms]
    found = [rows.get(cell, {"n": 0}) for cell in cells]
    out: dict[str, Any] = {"month": [float(month) for month, _ in cells], "arm": [arm for _, arm in cells]}
    out["n"] = [int(row["n"]) for row in found]
    for name in COLUMNS[3:]:
        out[name] = np.array([row.get(name, np.nan) for row in found], dtype=float)
    return pd.DataFrame(out)
