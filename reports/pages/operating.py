"""Operating characteristics of a trial's analyses: each study of many analysed as its report would, then compared.

Measures and their Monte-Carlo standard errors are those of Morris, White and Crowther [1]_: power, type-I error (the
same in studies where every arm is given the control treatment), bias and coverage against the true value, empirical
and model standard error, width of the interval. A study whose analysis gives no interval rejects nothing, and is
counted. Assurance is the power averaged over parameter vectors [2]_.

The true value of a difference is that between the patients of the arm, in all studies of a vector, and all patients
under the control treatment (in the control arm, or as counterfactual twins of those who are not): of means or of
medians, as the analysis asks. It is given as planned (every dose given, nobody leaves: the
hypothetical strategy of ICH E9(R1) for leaving) and as run (whatever happened: treatment policy). Its own Monte-Carlo
error (jackknife over groups of patients [3]_) is added to that of the bias, as if the two were independent.

References
----------
.. [1] Morris TP, White IR, Crowther MJ. Stat Med 2019;38:2074-102, table 6. doi:10.1002/sim.8086
.. [2] O'Hagan A, Stevens JW, Campbell MJ. Pharm Stat 2005;4:187-201. doi:10.1002/pst.175
.. [3] Efron B, Tibshirani RJ. An Introduction to the Bootstrap, Chapman & Hall 1993, chapter 11.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import joblib
import numpy as np
import pandas as pd
import threadpoolctl

from ranklsim.cohorts.conduct.course import MEASURES
from ranklsim.cohorts.protocol.trial import Trial
from ranklsim.cohorts.running.replicates import AS_PLANNED, AS_RUN, CONTROL, OWN, Studies
from ranklsim.reports.analyses import repeated, summaries
from ranklsim.reports.analyses.ancova import LEVEL

TRIAL, NULL = "trial", "null"
"""Design of a study: as the trial file says, or with the control treatment in every arm."""

DIFFERENCE, MEAN = "difference", "mean"
"""What is estimated: the difference to the control arm, or an arm's own mean (or median)."""

KEYS = ("patients", "vector", "endpoint", "arm", "quantity")
ESTIMATES = (
    *("vector", "replicate", "patients", "design", "endpoint", "arm", "quantity"),
    *("n", "estimate", "se", "low", "high", "p", "method"),
)
"""Columns of the estimates: a row for each study, endpoint, arm and quantity; `n` patients of the arm analysed."""

TRUTHS = ("vector", "endpoint", "arm", "quantity", "conduct", "patients", "value", "mc_se")
OPERATING = (*KEYS, "conduct", "measure", "value", "mc_se", "studies")
ASSURANCE = (
    *("patients", "endpoint", "arm", "quantity", "conduct", "measure"),
    *("vectors", "mean", "mc_se", "sd", "low", "median", "high"),
)

GROUPS = 50  # of patients, for the jackknife
AT_ONCE = 5  # studies a task of a process
FEW = 200  # analyses that are not worth starting processes for
SPREAD = 0.90
"""Level of intervals over vectors."""


@dataclass(frozen=True)
class Protocol:
    """What the analyses need to know of a trial."""

    arms: list[str]
    control: str | None
    endpoints: list[Any]
    seed: int
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, trial: Trial, sizes: Sequence[int]) -> Protocol:
        """That of `trial`, for studies of these sizes."""
        return cls([arm.name for arm in trial.arms], trial.control, list(trial.changes), trial.seed, tuple(sizes))


# -- studies to estimates ----------------------------------------------------------------------------------------------


def analysed(visits: pd.DataFrame, patients: pd.DataFrame, protocol: Protocol) -> pd.DataFrame:
    """Every endpoint of one study, by the functions of the trial's report.

    Parameters
    ----------
    visits, patients : DataFrame
        As stored in a run folder.
    protocol : Protocol

    Returns
    -------
    DataFrame
        Columns `ESTIMATES` from `endpoint` on; no row of an endpoint that nobody has.
    """
    rows: list[dict[str, object]] = []
    for k, spec in enumerate(protocol.endpoints):
        if spec.analysis == "MMRM":
            found = repeated.analyse(visits, patients, spec, protocol.arms, protocol.control).endpoint()
        else:
            seed = protocol.seed + k
            found = summaries.endpoint(visits, patients, spec, protocol.arms, protocol.control, seed=seed)
        for row in found.to_dict("records"):
            shared = {"endpoint": spec.name, "arm": row["arm"], "n": int(row["n"]), "method": row["method"]}
            of_arm = {"estimate": row["estimate"], "se": row["std_error"], "low": row["ci_low"], "high": row["ci_high"]}
            rows.append(shared | {"quantity": MEAN, "p": np.nan} | of_arm)
            if protocol.control is not None and row["arm"] != protocol.control:
                names = {"estimate": "", "se": "_std_error", "low": "_low", "high": "_high"}
                gap = {name: row[f"difference{end}"] for name, end in names.items()}
                rows.append(shared | {"quantity": DIFFERENCE, "p": row["p"]} | gap)
    return pd.DataFrame(rows, columns=list(ESTIMATES[4:]))


def estimates(
    found: Studies,
    protocol: Protocol,
    *,
    null: bool = True,
    workers: int = 1,
    progress: Callable[[int], None] | None = None,
) -> pd.DataFrame:
    """All studies analysed, in every size, and under the null hypothesis where there is a control arm.

    Parameters
    ----------
    found : Studies
    protocol : Protocol
    null : bool
        Whether to analyse the studies under the null hypothesis too.
    workers : int
        Processes; no result depends on it.
    progress : callable, optional
        Called with the number of patients whose study is analysed, since the last call.

    Returns
    -------
    DataFrame
        Columns `ESTIMATES`.
    """
    designs = {TRIAL: found.seen} | ({NULL: found.null} if null and found.null is not None else {})
    frames = {design: found.visits({m: values[m] for m in MEASURES}) for design, values in designs.items()}
    keys = ["vector", "replicate"]
    m = found.months.size
    starts = np.flatnonzero(~found.patients.duplicated(keys))
    ends = [*starts[1:], len(found.patients)]
    people = found.patients[[*keys, "patient", "arm", *_covariates(found.patients)]]
    tasks = []
    for first in range(0, len(starts), AT_ONCE):
        some = range(first, min(first + AT_ONCE, len(starts)))
        tasks.append(
            [
                (people.iloc[starts[k] : ends[k]], {d: f.iloc[starts[k] * m : ends[k] * m] for d, f in frames.items()})
                for k in some
            ]
        )
    analyses = len(starts) * len(protocol.endpoints) * len(frames) * len(protocol.sizes)
    parts = []
    for done, task in zip(_run(tasks, protocol, workers if analyses >= FEW else 1), tasks, strict=True):
        parts.append(done)
        if progress:
            progress(sum(len(patients) for patients, _ in task))
    return pd.concat(parts, ignore_index=True)


def _covariates(patients: pd.DataFrame) -> list[str]:
    return [name for name in patients if name not in ("vector", "replicate", "patient", "arm")]


def _run(tasks: list[Any], protocol: Protocol, workers: int) -> Iterator[pd.DataFrame]:
    """Results of `_analysed_studies`, in order."""
    if workers == 1 or len(tasks) == 1:
        yield from (_analysed_studies(task, protocol) for task in tasks)
        return
    pool = joblib.Parallel(n_jobs=workers, backend="loky", return_as="generator")
    yield from pool(joblib.delayed(_analysed_studies)(task, protocol) for task in tasks)


def _analysed_studies(task: list[tuple[pd.DataFrame, Mapping[str, pd.DataFrame]]], protocol: Protocol) -> pd.DataFrame:
    """Estimates of some studies: for each, its patients and its visits by design."""
    parts = []
    with threadpoolctl.threadpool_limits(1):  # sums of the linear algebra do not depend on the machine's processors
        for patients, by_design in task:
            of_study = {name: patients[name].iloc[0] for name in ("vector", "replicate")}
            for size in protocol.sizes:
                some = patients[patients["patient"] <= size]
                for design, visits in by_design.items():
                    rows = analysed(visits[visits["patient"] <= size], some, protocol)
                    parts.append(rows.assign(**of_study, patients=size, design=design))
    return pd.concat(parts, ignore_index=True)[list(ESTIMATES)]


# -- the true value ----------------------------------------------------------------------------------------------------


def true_changes(found: Studies, protocol: Protocol) -> pd.DataFrame:
    """Each patient's true change of every endpoint, in her own arm and under the control treatment.

    Returns
    -------
    DataFrame
        Columns `vector`, `arm`, and for endpoint k ``k OWN AS_PLANNED`` and its like (`_column`).
    """
    columns: dict[str, np.ndarray] = {}
    for k, spec in enumerate(protocol.endpoints):
        start, end = (int(np.flatnonzero(found.months == month)[0]) for month in (spec.from_month, spec.to_month))
        for (whose, conduct), values in found.true.items():
            before, after = values[spec.measure][:, start], values[spec.measure][:, end]
            change = 100.0 * (after / before - 1.0) if spec.kind == "percent" else after - before
            columns[_column(k, whose, conduct)] = change
    return found.patients[["vector", "arm"]].assign(**columns)


def _column(endpoint: int, whose: str, conduct: str) -> str:
    return f"{endpoint} {whose} {conduct}"


def truths(changes: pd.DataFrame, protocol: Protocol) -> pd.DataFrame:
    """True values of one vector, with their Monte-Carlo standard error.

    Parameters
    ----------
    changes : DataFrame
        All patients of the vector, as from `true_changes`.
    protocol : Protocol

    Returns
    -------
    DataFrame
        Columns `TRUTHS`; `patients` is how many the value rests on.
    """
    rows = []
    everyone = np.arange(len(changes))
    of_arm = {arm: np.flatnonzero(changes["arm"] == arm) for arm in protocol.arms}
    for k, spec in enumerate(protocol.endpoints):
        middle = np.median if spec.analysis == "median difference" else np.mean
        for arm, who in of_arm.items():
            for conduct in (AS_PLANNED, AS_RUN):
                own = changes[_column(k, OWN, conduct)].to_numpy(float)
                asked = {MEAN: [(own, who, 1.0)]}
                if protocol.control is not None and arm != protocol.control:
                    control = changes[_column(k, CONTROL, conduct)].to_numpy(float)
                    asked[DIFFERENCE] = [(own, who, 1.0), (control, everyone, -1.0)]
                for quantity, terms in asked.items():
                    value, error = _jackknife(middle, terms)
                    row = {"vector": changes["vector"].iloc[0], "endpoint": spec.name, "arm": arm}
                    row |= {"quantity": quantity, "conduct": conduct, "patients": who.size}
                    rows.append(row | {"value": value, "mc_se": error})
    return pd.DataFrame(rows, columns=list(TRUTHS))


def _jackknife(
    middle: Callable[..., Any], terms: Sequence[tuple[np.ndarray, np.ndarray, float]]
) -> tuple[float, float]:
    """A sum of weighted middles of values over some patients, and its delete-a-group standard error [3]_.

    `terms` are values of all patients, which of them count, and the weight; a patient left out is left out of all.
    """
    n = min(rows.size for _, rows, _ in terms)
    groups = min(GROUPS, n)
    if n == 0:
        return np.nan, np.nan
    value = float(sum(weight * middle(values[rows]) for values, rows, weight in terms))
    if groups < 2:
        return value, np.nan
    # Groups are dealt out within the smallest set, so that none is empty there; others are dealt out as they come.
    place = np.arange(terms[0][0].size) % groups
    place[terms[0][1]] = np.arange(terms[0][1].size) % groups
    left_out = np.array(
        [
            sum(weight * middle(values[rows[place[rows] != group]]) for values, rows, weight in terms)
            for group in range(groups)
        ]
    )
    return value, float(np.sqrt((groups - 1) / groups * ((left_out - left_out.mean()) ** 2).sum()))


# -- operating characteristics -----------------------------------------------------------------------------------------


def rejects(rows: pd.DataFrame) -> np.ndarray:
    """Whether each estimate differs from zero, two-sided at 1 - `LEVEL`: by its p-value, else by its interval."""
    by_interval = (rows["low"] > 0) | (rows["high"] < 0)
    return np.where(rows["p"].notna(), rows["p"] < 1 - LEVEL, by_interval)


def operating(found: pd.DataFrame, true: pd.DataFrame) -> pd.DataFrame:
    """Operating characteristics by size, vector, endpoint, arm and quantity.

    Parameters
    ----------
    found : DataFrame
        Columns `ESTIMATES`.
    true : DataFrame
        Columns `TRUTHS`.

    Returns
    -------
    DataFrame
        Columns `OPERATING`; `measure` is power, type I error, truth, bias, coverage, empirical SE, model SE, width,
        fallback (share of MMRM whose covariance is not the one asked for), failed (share of studies without an
        interval); `conduct` is that of the true value, empty where there is none in it.
    """
    values = {key: rows for key, rows in true.groupby(["vector", "endpoint", "arm", "quantity"], sort=False)}
    rows = []
    under_null = {key: part for key, part in found[found["design"] == NULL].groupby(list(KEYS), sort=False)}
    for key, part in found[found["design"] == TRIAL].groupby(list(KEYS), sort=False):
        facts = dict(zip(KEYS, key, strict=True))
        measures = [("", *measure) for measure in _measures(part)]
        if facts["quantity"] == DIFFERENCE:
            measures.insert(0, ("", "power", *_share(rejects(part))))
            if key in under_null:
                measures.insert(1, ("", "type I error", *_share(rejects(under_null[key]))))
        for target in values[facts["vector"], facts["endpoint"], facts["arm"], facts["quantity"]].to_dict("records"):
            measures += [(target["conduct"], *m) for m in _against(part, target["value"], target["mc_se"])]
        rows += [
            facts | {"conduct": conduct, "measure": name, "value": value, "mc_se": error, "studies": studies}
            for conduct, name, value, error, studies in measures
        ]
    return pd.DataFrame(rows, columns=list(OPERATING))


def _share(yes: np.ndarray) -> tuple[float, float, int]:
    share, n = float(np.mean(yes)), len(yes)
    return share, float(np.sqrt(share * (1 - share) / n)), n


def _measures(rows: pd.DataFrame) -> Iterator[tuple[str, float, float, int]]:
    """Measures that need no true value: name, value, Monte-Carlo standard error [1]_, studies."""
    estimate = rows["estimate"].dropna().to_numpy(float)
    n = estimate.size
    sd = float(estimate.std(ddof=1)) if n > 1 else np.nan
    yield "estimate", float(estimate.mean()) if n else np.nan, sd / np.sqrt(n) if n else np.nan, n
    yield "empirical SE", sd, sd / np.sqrt(2 * (n - 1)) if n > 1 else np.nan, n
    variance = rows["se"].dropna().to_numpy(float) ** 2
    k = variance.size
    if k:
        model = float(np.sqrt(variance.mean()))
        error = np.sqrt(variance.var(ddof=1) / (4 * k * model**2)) if k > 1 and model > 0 else np.nan
        yield "model SE", model, float(error), k
    width = (rows["high"] - rows["low"]).dropna().to_numpy(float)
    if width.size:
        error = width.std(ddof=1) / np.sqrt(width.size) if width.size > 1 else np.nan
        yield "width", float(width.mean()), float(error), width.size
    models = rows["method"].str.startswith("MMRM, ")
    if models.any():
        yield "fallback", *_share(~rows.loc[models, "method"].str.contains("unstructured").to_numpy())
    yield "failed", *_share(rows["low"].isna().to_numpy())


def _against(rows: pd.DataFrame, truth: float, error: float) -> Iterator[tuple[str, float, float, int]]:
    """Measures against a true value that has a Monte-Carlo standard error of its own."""
    estimate = rows["estimate"].dropna().to_numpy(float)
    n = estimate.size
    yield "truth", truth, error, n
    of_mean = estimate.var(ddof=1) / n if n > 1 else np.nan
    yield "bias", float(estimate.mean() - truth) if n else np.nan, float(np.sqrt(of_mean + error**2)), n
    known = rows[rows["low"].notna()]
    if len(known):
        yield "coverage", *_share(((known["low"] <= truth) & (truth <= known["high"])).to_numpy())


def assurance(found: pd.DataFrame) -> pd.DataFrame:
    """Operating characteristics averaged over the parameter vectors, the default values (vector 0) left out.

    Parameters
    ----------
    found : DataFrame
        Columns `OPERATING`.

    Returns
    -------
    DataFrame
        Columns `ASSURANCE`: `mean` over vectors, of which that of power is the assurance, and its Monte-Carlo standard
        error, which holds both the choice of vectors and the studies of each; `sd` between vectors beyond what the
        finite number of studies explains; median and central 90 % of the vectors' values. Empty without vectors.
    """
    drawn = found[found["vector"] > 0]
    keys = ["patients", "endpoint", "arm", "quantity", "conduct", "measure"]
    rows = []
    for key, part in drawn.groupby(keys, sort=False):
        value, error = part["value"].to_numpy(float), part["mc_se"].to_numpy(float)
        ok = np.isfinite(value)
        value, error, n = value[ok], error[ok], int(ok.sum())
        if not n:
            continue
        variance = float(value.var(ddof=1)) if n > 1 else np.nan
        within = (
            float(np.nanmean(error**2)) if np.isfinite(error).any() else 0.0
        )  # of a vector's value, from its finite number of studies
        low, median, high = np.quantile(value, [(1 - SPREAD) / 2, 0.5, (1 + SPREAD) / 2])
        row = dict(zip(keys, key, strict=True)) | {"vectors": n, "mean": value.mean()}
        row["mc_se"] = np.sqrt(max(variance, within) / n) if n > 1 else np.nan
        row["sd"] = np.sqrt(max(0.0, variance - within)) if n > 1 else np.nan
        rows.append(row | {"low": low, "median": median, "high": high})
    return pd.DataFrame(rows, columns=list(ASSURANCE))
