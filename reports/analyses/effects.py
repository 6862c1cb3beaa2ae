"""Effect of an arm against control on an endpoint that is no change: which analysis gives which measure."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ranklsim.cohorts.protocol.endpoints import Change, Endpoint, Event, Rate, Responder
from ranklsim.cohorts.statistics import competing, proportions, rates, survival

MEASURE = {
    "Miettinen-Nurminen": "risk difference",
    "Mantel-Haenszel": "risk ratio",
    "logistic": "odds ratio",
    "Cox": "hazard ratio",
    "log-rank": "hazard ratio",
    "Fine-Gray": "subdistribution hazard ratio",
    "Gray": "subdistribution hazard ratio",
    "cumulative incidence": "risk difference",
    "negative binomial": "rate ratio",
    "bootstrap": "difference",
}
"""What each analysis estimates, unless an estimand asks for another summary measure."""


def is_ratio(measure: str) -> bool:
    """Whether no effect is 1."""
    return measure.endswith("ratio")


def measure_of(endpoint: Endpoint) -> str:
    """What an endpoint's analysis estimates."""
    if isinstance(endpoint, Change):
        return "difference of medians" if endpoint.analysis == "median difference" else "difference of means"
    return MEASURE[endpoint.analysis]


def margin_of(endpoint: Endpoint) -> float | None:
    """An endpoint's margin on the scale of its effect: the file gives those of shares in percent."""
    shares = isinstance(endpoint, Responder | Event) and not is_ratio(MEASURE[endpoint.analysis])
    return endpoint.margin if endpoint.margin is None or not shares else endpoint.margin / 100


def effect(endpoint: Endpoint, table: pd.DataFrame, arm: str, control: str, measure: str) -> dict[str, Any]:
    """One measure of effect.

    Parameters
    ----------
    endpoint : Responder, Event or Rate
    table : DataFrame
        As from `variables.responders`, `variables.times` or `variables.counts`.
    arm, control : str
    measure : str
        Risk difference, risk ratio, odds ratio, hazard ratio, subdistribution hazard ratio or rate ratio.

    Returns
    -------
    dict
        `estimate`, `low`, `high`, `p`, `method`; shares as shares, not percent.

    Raises
    ------
    BadInput
        If an arm has no patient left.
    RunFailed
        If a model does not converge, or has no finite answer.
    """
    covariates = endpoint.covariates
    adjusted = f", adjusted for {', '.join(name.replace('_', ' ') for name in covariates)}" if covariates else ""
    if isinstance(endpoint, Rate):
        found: dict[str, Any] = rates.rate_ratio(table, arm, control, covariates)
        return found | {"method": f"{found['method']}, strata{adjusted}"}
    if isinstance(endpoint, Responder) or (isinstance(endpoint, Event) and endpoint.grouped):
        if measure == "odds ratio":
            return proportions.odds_ratio(table, arm, control, covariates) | {"method": f"logistic, strata{adjusted}"}
        if measure == "risk difference" and endpoint.analysis == "Miettinen-Nurminen":
            cells = table.groupby("arm", observed=True)["event"].agg(["sum", "size"])
            (x1, n1), (x0, n0) = (map(int, cells.loc[a]) if a in cells.index else (0, 0) for a in (arm, control))
            return proportions.risk_difference(x1, n1, x0, n0) | {"method": "Miettinen-Nurminen score"}
        pooled = proportions.mantel_haenszel(table, arm, control, measure=measure)
        return pooled | {"method": "Mantel-Haenszel over strata"}
    assert isinstance(endpoint, Event)
    if measure == "hazard ratio":
        ratio = survival.cox(table, arm, control, covariates, stratified=True)
        test = survival.log_rank(table, [arm, control], stratified=True)["p"]
        tested = endpoint.analysis == "log-rank"
        words = "Cox, stratified; p of the stratified log-rank test" if tested else "Cox, stratified"
        return ratio | ({"p": test} if tested else {}) | {"method": words + adjusted}
    if measure == "subdistribution hazard ratio":
        ratio = competing.fine_gray(table, arm, control, covariates, stratified=True)
        words = "Fine-Gray, stratified"
        if endpoint.analysis == "Gray":
            ratio |= {"p": competing.gray(table, [arm, control], stratified=True)["p"]}
            words += "; p of Gray's test, stratified"
        return ratio | {"method": words + adjusted}
    span = endpoint.by_month - endpoint.from_month
    found = survival.incidence_contrast(table, arm, control, span, ratio=is_ratio(measure))
    return found | {"method": "cumulative incidence (Aalen-Johansen)"}
