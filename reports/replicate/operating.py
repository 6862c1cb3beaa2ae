"""Operating characteristics of a trial's analyses, from the estimates of many studies and what is true.

Measures and their Monte-Carlo standard errors are those of Morris, White and Crowther [1]_: power, type I error (the
same in studies where every arm is given the control treatment), bias and coverage against the true value, empirical
and model standard error, width of the interval; of ratios these are on the scale of the logarithm. A study whose
analysis gives no interval is counted as such. Assurance is the power averaged over parameter vectors [2]_.

Over several hypotheses, as [multiplicity] of the trial decides on them: power of each after adjustment, the
probability to reject any (disjunctive power) or all (conjunctive power) [3]_, and that to reject any where all are true
(family-wise error under the global null).

Over interim looks, as [interim] of the trial tests them: probability that a benefit is shown at any look, that a
boundary is crossed at any where there is no difference, that the test ends at each, and the patients and calendar
months by then.

Power is the share of studies that show what is claimed, type I error the same where it is not so: without an effect of
the drug. A claim with a margin is false where the true effect is the margin, which is known for differences of a
change: the analyses move by a constant if the change of everybody in an arm does, so that a study without an effect is
moved to the margin. Harm, the opposite of what is claimed, is counted apart.

References
----------
.. [1] Morris TP, White IR, Crowther MJ. Stat Med 2019;38:2074-102, table 6. doi:10.1002/sim.8086
.. [2] O'Hagan A, Stevens JW, Campbell MJ. Pharm Stat 2005;4:187-201. doi:10.1002/pst.175
.. [3] Bretz F, Hothorn T, Westfall P. Multiple Comparisons Using R, CRC Press 2010, section 2.1.2.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ranklsim.cohorts.endpoints import is_ratio
from ranklsim.cohorts.statistics.claims import SUPERIORITY
from ranklsim.cohorts.statistics.proportions import proportion
from ranklsim.pkpd.results import Results
from ranklsim.reports.analyses.monitoring import HARM
from ranklsim.reports.replicate.analyse import DIFFERENCE, ESTIMAND, NULL, SUBJECT, TRIAL, Protocol
from ranklsim.reports.replicate.sample import Replication

FAMILY, SEQUENCE = "family", "looks"
"""Quantities of what is said of all hypotheses together, and of all interim looks together."""

KEYS = ("patients", "vector", *SUBJECT)
OPERATING = (*KEYS, "conduct", "measure", "value", "mc_se", "low", "high", "studies")
"""Columns of the operating characteristics: `low` and `high` are Wilson's 95 % interval of a share of studies, NaN of
what is no share."""
ASSURANCE = (
    *("patients", *SUBJECT, "conduct", "measure"),
    *("vectors", "mean", "mc_se", "sd", "low", "median", "high"),
)
SPREAD = 0.90
"""Level of intervals over vectors."""

Measure = tuple[str, float, float, int] | tuple[str, float, float, int, float, float]
"""Name, value, Monte-Carlo standard error, studies, and of a share its interval."""


@dataclass(frozen=True, repr=False)
class Replicates(Results):
    """Operating characteristics of a trial.

    Attributes
    ----------
    plan : Replication
    protocol : Protocol
    operating, truth, assurance : DataFrame
        Columns as in `operating` and `truth`; `assurance` is empty without vectors.
    estimates : DataFrame
        Columns as in `analyse`.
    looks : DataFrame
        How the test of each study ended at its interim looks; empty where none is tested.
    """

    SOURCE = "replicate/"
    FIGURE = "reports.replicate.figures:figure"

    plan: Replication
    protocol: Protocol
    operating: pd.DataFrame
    truth: pd.DataFrame
    assurance: pd.DataFrame
    estimates: pd.DataFrame
    looks: pd.DataFrame

    def tables(self) -> dict[str, pd.DataFrame]:
        """Every table by its name, the main one first."""
        named = ("operating", "truth", "assurance", "estimates", "looks")
        return {name: table for name in named if len(table := getattr(self, name))}

    def heading(self) -> str:
        """What the result is, in one line."""
        return f"{self.plan.trial.title}: operating characteristics"


def operating(found: pd.DataFrame, true: pd.DataFrame, protocol: Protocol) -> pd.DataFrame:
    """Operating characteristics by size, vector, endpoint or estimand, arm and quantity.

    Parameters
    ----------
    found : DataFrame
        Columns `studies.ESTIMATES`.
    true : DataFrame
        Columns `truths.TRUTHS`.
    protocol : Protocol

    Returns
    -------
    DataFrame
        Columns `OPERATING`; `measure` is power, type I error, harm (the opposite of what is claimed is shown), harm
        without effect, power after adjustment, type I error after adjustment, truth, bias, coverage, estimate,
        empirical SE, model SE, width, fallback (share of MMRM whose covariance is not the one asked for), failed
        (share of studies without an interval), and of the `FAMILY` family-wise error, disjunctive power and
        conjunctive power; `conduct` is that of the true value, empty where there is none in it.
    """
    groups = list(SUBJECT)
    values = {key: rows for key, rows in true.groupby(["vector", *groups], sort=False)}
    under_null = {key: part for key, part in found[found["design"] == NULL].groupby(list(KEYS), sort=False)}
    rows = []
    for key, part in found[found["design"] == TRIAL].groupby(list(KEYS), sort=False):
        facts = dict(zip(KEYS, key, strict=True))
        ratio = is_ratio(str(facts["effect_measure"]))
        measures = [("", *measure) for measure in _of_tests(facts, part, under_null.get(key), protocol)]
        measures += [("", *measure) for measure in _measures(part, ratio)]
        for target in values.get(key[1:], true.iloc[:0]).to_dict("records"):
            measures += [(target["conduct"], *m) for m in _against(part, target["value"], target["mc_se"], ratio)]
        rows += [facts | _row(*measure) for measure in measures]
    table = pd.DataFrame(rows, columns=list(OPERATING))
    return pd.concat([table, _families(found, protocol)], ignore_index=True) if protocol.trial.multiplicity else table


def _row(
    conduct: str, name: str, value: float, error: float, studies: int, low: float = np.nan, high: float = np.nan
) -> dict[str, object]:
    found = {"conduct": conduct, "measure": name, "value": value, "mc_se": error, "low": low, "high": high}
    return found | {"studies": studies}


def _share(yes: np.ndarray) -> tuple[float, float, int, float, float]:
    share, n = float(np.mean(yes)), len(yes)
    ends = proportion(int(np.sum(yes)), n)
    return share, float(np.sqrt(share * (1 - share) / n)), n, ends["low"], ends["high"]


def _of_tests(
    facts: dict[str, object], part: pd.DataFrame, null: pd.DataFrame | None, protocol: Protocol
) -> Iterator[Measure]:
    """How often what is claimed is shown, with and without adjustment, and how often its opposite."""
    if facts["quantity"] not in (DIFFERENCE, ESTIMAND):
        return
    if part["shown"].notna().all():
        yield "power", *_share(part["shown"].to_numpy() > 0)
        yield "harm", *_share(part["harm"].to_numpy() > 0)
    if null is not None and null["shown"].notna().all():
        yield "type I error", *_share(null["shown"].to_numpy() > 0)
        yield "harm without effect", *_share(null["harm"].to_numpy() > 0)
    plan = protocol.trial.multiplicity
    if facts["quantity"] != DIFFERENCE or plan is None or (facts["endpoint"], facts["arm"]) not in plan.hypotheses:
        return
    yield "power after adjustment", *_share((part["adjusted"] <= plan.alpha).to_numpy())
    if null is not None and null["shown"].notna().all():
        yield "type I error after adjustment", *_share((null["adjusted"] <= plan.alpha).to_numpy())


def _families(found: pd.DataFrame, protocol: Protocol) -> pd.DataFrame:
    """What is said of all hypotheses together, by size and vector."""
    plan = protocol.trial.multiplicity
    assert plan is not None
    pairs = pd.MultiIndex.from_tuples(plan.hypotheses)
    mine = found[found["quantity"] == DIFFERENCE]
    mine = mine[pd.MultiIndex.from_frame(mine[["endpoint", "arm"]]).isin(pairs)]
    rejected = (mine["adjusted"] <= plan.alpha).groupby(
        [mine[name] for name in ("patients", "vector", "design", "replicate")], sort=False
    )
    decided = pd.DataFrame({"any": rejected.any(), "all": rejected.all()}).reset_index()
    rows = []
    movable = mine.loc[mine["design"] == NULL, "shown"].notna().all()  # else some claim can't be false in a study
    facts = dict.fromkeys(SUBJECT, "") | {"quantity": FAMILY}
    for (patients, vector), part in decided.groupby(["patients", "vector"], sort=False):
        here = facts | {"patients": patients, "vector": vector}
        of = {design: own for design, own in part.groupby("design")}
        rows.append(here | _row("", "disjunctive power", *_share(of[TRIAL]["any"].to_numpy())))
        rows.append(here | _row("", "conjunctive power", *_share(of[TRIAL]["all"].to_numpy())))
        if NULL in of and movable:
            rows.append(here | _row("", "family-wise error", *_share(of[NULL]["any"].to_numpy())))
    return pd.DataFrame(rows, columns=list(OPERATING))


def of_looks(found: pd.DataFrame, protocol: Protocol) -> pd.DataFrame:
    """Operating characteristics of the interim looks, by size, vector and arm.

    Parameters
    ----------
    found : DataFrame
        Columns `studies.LOOKS`.
    protocol : Protocol

    Returns
    -------
    DataFrame
        Columns `OPERATING`, of the quantity `SEQUENCE`; `measure` is power over all looks (what is claimed is shown),
        type I error over all looks (the same where it is not so: without an effect of the drug, or of a change with a
        margin where the true effect is the margin), harm over all looks, and for the trial and, with ``, null`` behind,
        for the studies without an effect of the drug (of a change with a margin, moved to it): months and patients
        until the test ends, and ended at look 1, 2, ..., of which the one after all looks is the last analysis.
    """
    plan = protocol.trial.interim
    rows: list[dict[str, object]] = []
    if plan is None:
        return pd.DataFrame(columns=list(OPERATING))
    spec = protocol.trial.endpoint(plan.endpoint)
    known = spec.claim.kind == SUPERIORITY or spec.moves
    for (patients, vector, arm), part in found.groupby(["patients", "vector", "arm"], sort=False):
        here = dict.fromkeys(SUBJECT, "") | {"endpoint": plan.endpoint, "arm": arm, "quantity": SEQUENCE}
        here |= {"patients": patients, "vector": vector}
        for design, name in ((TRIAL, ""), (NULL, ", null")):
            own = part[part["design"] == design]
            if own.empty:
                continue
            if design == TRIAL:
                rows.append(here | _row("", "power over all looks", *_share(own["rejected"].to_numpy(bool))))
                harmed = own["decision"].eq(HARM).to_numpy()
                rows.append(here | _row("", "harm over all looks", *_share(harmed)))
            elif known:
                rows.append(here | _row("", "type I error over all looks", *_share(own["rejected"].to_numpy(bool))))
            for column, measure in (("month", "months"), ("enrolled", "patients")):
                values = own[column].to_numpy(float)
                error = values.std(ddof=1) / np.sqrt(values.size) if values.size > 1 else np.nan
                rows.append(here | _row("", measure + name, float(values.mean()), float(error), values.size))
            for look in range(1, len(protocol.trial.conduct.looks) + 2):
                ended = (own["look"] == look).to_numpy()
                rows.append(here | _row("", f"ended at look {look}{name}", *_share(ended)))
    return pd.DataFrame(rows, columns=list(OPERATING))


def _finite(values: pd.Series, ratio: bool) -> np.ndarray:
    """Values that are numbers, or their logarithms."""
    with np.errstate(divide="ignore", invalid="ignore"):
        numbers = np.log(values.to_numpy(float)) if ratio else values.to_numpy(float)
    return np.asarray(numbers[np.isfinite(numbers)])


def _measures(rows: pd.DataFrame, ratio: bool) -> Iterator[Measure]:
    """Measures that need no true value."""
    estimate = _finite(rows["estimate"], ratio)
    n = estimate.size
    sd = float(estimate.std(ddof=1)) if n > 1 else np.nan
    middle, error = (float(estimate.mean()), sd / np.sqrt(n)) if n else (np.nan, np.nan)
    yield "estimate", *((np.exp(middle), np.exp(middle) * error) if ratio else (middle, error)), n
    yield "empirical SE", sd, sd / np.sqrt(2 * (n - 1)) if n > 1 else np.nan, n
    variance = rows["se"].dropna().to_numpy(float) ** 2
    k = variance.size
    if k:
        model = float(np.sqrt(variance.mean()))
        error = np.sqrt(variance.var(ddof=1) / (4 * k * model**2)) if k > 1 and model > 0 else np.nan
        yield "model SE", model, float(error), k
    width = _finite(rows["high"] / rows["low"] if ratio else rows["high"] - rows["low"], ratio)
    if width.size:
        error = width.std(ddof=1) / np.sqrt(width.size) if width.size > 1 else np.nan
        yield "width", float(width.mean()), float(error), width.size
    models = rows["method"].str.startswith("MMRM, ").fillna(False)
    if models.any():
        yield "fallback", *_share(~rows.loc[models, "method"].str.contains("unstructured").to_numpy())
    yield "failed", *_share(rows["low"].isna().to_numpy())


def _against(rows: pd.DataFrame, truth: float, error: float, ratio: bool) -> Iterator[Measure]:
    """Measures against a true value that has a Monte-Carlo standard error of its own."""
    estimate = _finite(rows["estimate"], ratio)
    n = estimate.size
    yield "truth", truth, error, n
    of_mean = estimate.var(ddof=1) / n if n > 1 else np.nan
    with np.errstate(divide="ignore"):
        target, of_truth = (np.log(truth), error / truth if truth > 0 else np.nan) if ratio else (truth, error)
    gap = float(estimate.mean() - target) if n else np.nan
    yield "bias", gap if np.isfinite(gap) else np.nan, float(np.sqrt(of_mean + of_truth**2)), n
    known = rows[rows["low"].notna()]
    if len(known) and not np.isnan(truth):
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
    keys = ["patients", *SUBJECT, "conduct", "measure"]
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
