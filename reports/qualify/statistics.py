"""Statistical methods beside published worked examples and other software: quantity to value, by requirement.

The values expected, with their tolerances, are in ``data/statistics.csv``, the sources in ``data/requirements.csv``.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ranklsim.cohorts.statistics import competing, imputation, multiplicity, proportions, rates, survival
from ranklsim.cohorts.statistics.ancova import ancova
from ranklsim.cohorts.statistics.mmrm import Fit, fit
from ranklsim.reports.analyses import interim

DATA = Path(__file__).parent / "data"

MP = "6 6 6 6+ 7 9+ 10 10+ 11+ 13 16 17+ 19+ 20+ 22 23 25+ 32+ 32+ 34+ 35+"
PLACEBO = "1 1 2 2 3 4 4 5 5 8 8 8 8 11 11 12 12 15 17 22 23"
"""Remission in weeks of 42 children with leukaemia, 6-MP and placebo; a plus is a child still in remission.

Freireich EJ et al. Blood 1963;21:699-716, as in Kalbfleisch and Prentice and most textbooks.
"""

UGDP = {
    ("<55", "tolbutamide"): (8, 106), ("<55", "placebo"): (5, 120),
    (">=55", "tolbutamide"): (22, 98), (">=55", "placebo"): (16, 85),
}  # fmt: skip
"""University Group Diabetes Program: deaths and patients below and from 55 years of age on."""

FEV = "FEV1 ~ RACE + SEX + ARMCD * AVISIT"


def remission() -> pd.DataFrame:
    """One row for each child: arm, time in weeks, event (relapse), stratum."""
    rows = [("mp", word) for word in MP.split()] + [("placebo", word) for word in PLACEBO.split()]
    frame = pd.DataFrame(rows, columns=["arm", "word"])
    return frame.assign(
        time=frame["word"].str.rstrip("+").astype(float), event=~frame["word"].str.endswith("+"), stratum="all"
    )


def patients_of(cells: dict[tuple[str, str], tuple[int, int]]) -> pd.DataFrame:
    """One row for each patient.

    Parameters
    ----------
    cells : dict
        (stratum, arm) to (events, patients).
    """
    parts = [pd.DataFrame({"stratum": s, "arm": a, "event": np.arange(n) < x}) for (s, a), (x, n) in cells.items()]
    return pd.concat(parts, ignore_index=True)


def transplants(*arms: str, of: str = "relapse") -> pd.DataFrame:
    """Bone marrow transplants: days until relapse (cause 1) or death in remission (2), and days of waiting before.

    Klein JP, Moeschberger ML. Survival Analysis, 1997.

    Parameters
    ----------
    *arms : str
        Some of ALL, LOW, HIGH; all by default.
    of : str
        The event of interest: relapse or death.
    """
    table = pd.read_csv(DATA / "transplants.csv")
    table = table[table["arm"].isin(arms or table["arm"].unique())].reset_index(drop=True)
    table["stratum"] = np.where(table["wait"] > 150, "long", "short")
    if of == "death":
        table["cause"] = table["cause"].map({0: 0, 1: 2, 2: 1})
    return table.assign(event=table["cause"] == 1)


@cache
def fev() -> pd.DataFrame:
    """The simulated trial `fev_data` of the R package mmrm: 537 responses of 197 patients at four visits."""
    data = pd.read_csv(DATA / "fev.csv")
    data["ARMCD"] = pd.Categorical(data["ARMCD"], ["PBO", "TRT"])
    data["SEX"] = pd.Categorical(data["SEX"], ["Male", "Female"])
    return data


@cache
def fev_model() -> Fit:
    """Its mixed model: unstructured covariance, REML, Satterthwaite."""
    return fit(FEV, fev(), subject="USUBJID", visit="AVISIT", arm="ARMCD")


def plain(term: str) -> str:
    """A term of a model as R prints it.

    Parameters
    ----------
    term : str
    """
    return "(Intercept)" if term == "Intercept" else term.replace("[T.", " ").replace("]", "")


# -- proportions -------------------------------------------------------------------------------------------------------


def shares() -> dict[str, float]:
    """Wilson's and exact intervals of a share."""
    out: dict[str, float] = {}
    for method in ("wilson", "exact"):
        for x, n in ((81, 263), (15, 148), (0, 20)):
            found = proportions.proportion(x, n, method=method)
            out |= {f"{x} of {n}, {method}, {end}": found[end] for end in ("low", "high")}
    return out


def difference() -> dict[str, float]:
    """The score interval of a difference, 56 of 70 less 48 of 80."""
    found = proportions.risk_difference(56, 70, 48, 80)
    return {end: found[end] for end in ("low", "high")}


def pooled() -> dict[str, float]:
    """Risks pooled over the strata of the UGDP trial."""
    table = patients_of(UGDP)
    return {
        measure: proportions.mantel_haenszel(table, "tolbutamide", "placebo", measure=measure)["estimate"]
        for measure in ("risk difference", "risk ratio")
    }


def ratio() -> dict[str, float]:
    """The score interval of a ratio, 36 of 40 over 16 of 80."""
    table = patients_of({("a", "drug"): (36, 40), ("a", "control"): (16, 80)})
    found = proportions.mantel_haenszel(table, "drug", "control", measure="risk ratio")
    return {name: found[name] for name in ("estimate", "low", "high")}


def no_events() -> dict[str, float]:
    """The score interval of a difference of incidences without any event, 10 patients an arm."""
    table = pd.DataFrame({"arm": ["A"] * 10 + ["B"] * 10, "time": 36.0, "cause": 0})
    found = survival.incidence_contrast(table, "A", "B", 36.0)
    return {end: found[end] for end in ("low", "high", "p")}


# -- times and rates ---------------------------------------------------------------------------------------------------


def kaplan_meier() -> dict[str, float]:
    """Survival under 6-MP, with the log-log interval at week 6."""
    own = remission().query("arm == 'mp'")
    curve = survival.kaplan_meier(own["time"], own["event"])
    out = {f"week {week}": survival.at_month(curve, week)["estimate"] for week in (6, 7, 10, 13, 16, 22, 23)}
    return out | {f"week 6, {end}": survival.at_month(curve, 6)[end] for end in ("low", "high")}


def log_rank() -> dict[str, float]:
    """The log-rank test and Cox's model with Efron's ties, placebo against 6-MP."""
    table = remission()
    return {
        "log-rank chi-square": survival.log_rank(table, ["mp", "placebo"])["chi2"],
        "log hazard ratio": float(np.log(survival.cox(table, "placebo", "mp")["estimate"])),
    }


def gray() -> dict[str, float]:
    """Gray's test of the transplants."""
    arms = ["ALL", "LOW", "HIGH"]
    one = competing.gray(transplants(), arms)
    two = competing.gray(transplants("LOW", "HIGH"), ["LOW", "HIGH"], stratified=True)
    return {
        "relapse, chi-square": one["chi2"],
        "relapse, p": one["p"],
        "death, chi-square": competing.gray(transplants(of="death"), arms)["chi2"],
        "relapse, stratified, chi-square": competing.gray(transplants(), arms, stratified=True)["chi2"],
        "relapse, LOW and HIGH, stratified, chi-square": two["chi2"],
    }


def fine_gray() -> dict[str, float]:
    """Fine and Gray's model of the transplants, LOW against HIGH."""
    out: dict[str, float] = {}
    covariates: list[str]
    for of, covariates in (("relapse", []), ("relapse", ["wait"]), ("death", [])):
        found = competing.fine_gray(transplants("LOW", "HIGH", of=of), "LOW", "HIGH", covariates, left_alike=True)
        words = f"{of}{', adjusted for the wait' if covariates else ''}"
        out |= {f"{words}, slope": float(np.log(found["estimate"])), f"{words}, SE": found["std_error"]}
    return out


def negative_binomial() -> dict[str, float]:
    """Negative binomial regression with a small dispersion, on which the likelihood hardly depends."""
    found = rates.rate_ratio(pd.read_csv(DATA / "small_dispersion.csv"), "B", "A")
    return {"log rate ratio": float(np.log(found["estimate"]))}


# -- models ------------------------------------------------------------------------------------------------------------


def covariance_analysis() -> dict[str, float]:
    """ANCOVA with a covariate that repeats the stratum."""
    row: dict[str, Any] = ancova(pd.read_csv(DATA / "collinear_covariate.csv"), ["C", "T"], "C", ["agegrp"])[1]
    return {"difference": float(row["difference"]), "SE": float(row["difference_std_error"])}


def _rows(frame: pd.DataFrame, names: list[str], what: dict[str, str]) -> dict[str, float]:
    rows: list[dict[str, Any]] = frame.to_dict("records")
    return {
        f"{' at '.join(plain(str(row[n])) for n in names)}, {word}": float(row[column])
        for row in rows
        for column, word in what.items()
    }


def mmrm_coefficients() -> dict[str, float]:
    """Coefficients of the mixed model of `fev`."""
    return _rows(fev_model().table, ["term"], {"estimate": "estimate", "std_error": "SE", "df": "df"})


def mmrm_means() -> dict[str, float]:
    """Least squares means and their differences, with Satterthwaite's degrees of freedom."""
    what = {"estimate": "estimate", "std_error": "SE", "ci_low": "low", "ci_high": "high"}
    gaps = fev_model().differences("PBO").assign(ARMCD="TRT - PBO")
    names = ["ARMCD", "AVISIT"]
    return _rows(fev_model().lsmeans(), names, what | {"df": "df"}) | _rows(gaps, names, what | {"df": "df", "p": "p"})


def mmrm_tests() -> dict[str, float]:
    """Type III tests of its terms."""
    return _rows(fev_model().tests(), ["term"], {"num_df": "num df", "den_df": "den df", "f": "F"})


def rubin() -> dict[str, float]:
    """Rubin's rules with the degrees of freedom of Barnard and Rubin, estimates 1, 2, 3 with variance 0.5, 50 df."""
    found = imputation.rubin(np.array([1.0, 2.0, 3.0]), np.array([0.5, 0.5, 0.5]), df=50.0)
    return {name: found[name] for name in ("estimate", "std_error", "lost", "df")}


# -- multiplicity and interim looks ------------------------------------------------------------------------------------


def boundaries() -> dict[str, float]:
    """Boundaries of five equal looks, and of looks that nearly coincide."""
    out: dict[str, float] = {}
    for kind in ("O'Brien-Fleming", "Pocock"):
        z = interim.boundaries([0.2, 0.4, 0.6, 0.8, 1.0], alpha=0.05, kind=kind)["z"]
        out |= {f"{kind}, look {k}": float(value) for k, value in enumerate(z, 1)}
    last = interim.boundaries([0.5, 0.50001, 1.0])["z"].iloc[-1]
    return out | {"O'Brien-Fleming at 0.5, 0.50001 and 1, last look": float(last)}


def adjusted() -> dict[str, float]:
    """Adjusted p values of a graph, a fixed sequence, and Holm's and Hochberg's procedures."""
    moves: list[list[float]] = [[0, 0.5, 0.5, 0], [0.5, 0, 0, 0.5], [0, 1, 0, 0], [1, 0, 0, 0]]
    every = {
        "graph": multiplicity.graphical([0.01, 0.03, 0.004, 0.5], [0.5, 0.5, 0, 0], moves),
        "fixed sequence": multiplicity.adjusted([0.01, 0.04, 0.002, 0.2], "fixed sequence"),
        "Holm": multiplicity.adjusted([0.01, 0.04, 0.03], "Holm"),
        "Hochberg": multiplicity.adjusted([0.01, 0.04, 0.03], "Hochberg"),
    }
    return {f"{name}, H{k}": float(p) for name, found in every.items() for k, p in enumerate(found, 1)}
