"""The page of ``ranklsim replicate``: how often the trial finds what is there, and how far its answers are off."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from ranklsim import __version__
from ranklsim.cohorts.endpoints import Endpoint
from ranklsim.cohorts.events import COMPLETED
from ranklsim.cohorts.statistics.ancova import LEVEL
from ranklsim.cohorts.statistics.claims import SUPERIORITY
from ranklsim.cohorts.statistics.proportions import proportion
from ranklsim.cohorts.words import EVENT_WORDS, first_upper, listed, month_text
from ranklsim.reports.layout.cells import Text
from ranklsim.reports.layout.exhibit import Exhibit, Section
from ranklsim.reports.layout.page import Page, table
from ranklsim.reports.layout.tables import DASH, num
from ranklsim.reports.replicate.analyse import DIFFERENCE, MEAN
from ranklsim.reports.replicate.figures import SOURCES, assurance, by_size, estimates
from ranklsim.reports.replicate.operating import FAMILY, SEQUENCE, SPREAD, Replicates
from ranklsim.reports.replicate.sample import AS_PLANNED, AS_RUN
from ranklsim.reports.replicate.truth import BY_STRATEGY
from ranklsim.reports.replicate.view import MC, View, scale_of, with_error

MARK = "ranklsim-replicate"
LOGS = "Bias, standard errors and widths of ratios are those of the natural logarithm: 0.10 is a factor of 1.1."


def compose(found: Replicates) -> tuple[Page, list[Section]]:
    """Page and sections.

    Parameters
    ----------
    found : Replicates
        The finished analysis.
    """
    view = View(found)
    vectors = len(found.plan.vectors) - 1
    more = f", each for {vectors} parameter vectors besides the default values" if vectors else ""
    page = Page(
        MARK,
        "Operating characteristics",
        found.plan.trial.title,
        f"{view.studies} of {view.patients} patients{more}; seed {found.plan.trial.seed}; ranklsim {__version__}",
        "What such a trial would find",
        f"All data are simulated. ranklsim {__version__}; replicates.json names every version and option.",
    )
    sections = [_answer(view)]
    if view.trial.multiplicity is not None:
        sections.append(_several(view))
    if view.protocol.estimands:
        sections.append(_estimands(view))
    if view.trial.interim is not None:
        sections.append(_looks(view))
    if len(view.sizes) > 1 and view.quantity == DIFFERENCE:
        sections.append(by_size(view))
    sections.append(estimates(view))
    if vectors:
        sections.append(assurance(view))
    sections.append(_method(view))
    return page, sections


# -- the answer --------------------------------------------------------------------------------------------------------


def _answer(view: View) -> Section:
    key: list[Text] = []
    number, spec = view.number("Section"), view.primary
    scale, measure = view.scale(spec), view.measure(spec) or "value"
    for arm in view.others(spec):
        here = view.here(spec, arm, view.largest)
        truth, bias = (view.cell(m, AS_PLANNED, **here) for m in ("truth", "bias"))
        label = view.arms[arm].label
        if view.quantity == DIFFERENCE:
            said = f"{first_upper(spec.name)}, {label} against {view.against(spec)}: "
            said += f"{view.percent('power', **here)} of {view.studies} of {view.largest} patients show "
            said += f"{spec.claim.kind} (two-sided level {1 - spec.claim.level:.2g})"
            if np.isfinite(view.cell("type I error", **here)[0]):
                wrong = "where there was no effect" if spec.claim.kind == SUPERIORITY else "where the margin was true"
                said += f"; {view.percent('type I error', **here)} did {wrong}"
            key.append(f"{said}.")
        off = (
            f"by a factor of {num(float(np.exp(bias[0])), 2)}"
            if scale.ratio
            else f"by {scale.gap(*bias)} {scale.unit}".rstrip()
        )
        unit = "" if scale.ratio else f" {scale.unit}".rstrip()
        key.append(
            f"{label}: the true {measure} is {scale.value(*truth)}{unit} if all goes as planned; the studies are off "
            f"{off} on average, and their {100 * LEVEL:.0f}% intervals hold it in "
            f"{view.percent('coverage', AS_PLANNED, **here)} of studies."
        )
    drawn = view.found.assurance
    for arm in view.others(spec) if len(drawn) and view.quantity == DIFFERENCE else []:
        row = drawn[
            (drawn["measure"] == "power") & (drawn["endpoint"] == spec.name) & (drawn["arm"] == arm)
            & (drawn["patients"] == view.largest) & (drawn["quantity"] == DIFFERENCE)
        ].iloc[0]  # fmt: skip
        key.append(
            f"Assurance, the power averaged over {int(row['vectors'])} parameter vectors {SOURCES[view.plan.source]}: "
            f"{num(100 * row['mean'], 0)}% (Monte-Carlo SE {num(100 * row['mc_se'], 1)}) for {view.arms[arm].label}; "
            f"{num(100 * row['low'], 0)}% to {num(100 * row['high'], 0)}% in {100 * SPREAD:.0f}% of the vectors."
        )
    return Section(number, "Power and errors", "answer", key=key, exhibits=[_power_table(view), _bias_table(view)])


def _power_table(view: View) -> Exhibit:
    shown: list[dict[str, object]] = []
    kept = []
    for spec, arm in view.subjects():
        for size in view.sizes:
            here = view.here(spec, arm, size)
            row = view.labels("Endpoint", f"{spec.name} ({spec.role}, {spec.analysis})", arm, size)
            if view.quantity == DIFFERENCE:
                row["Power"] = view.percent("power", **here)
                row["Type I error"] = view.percent("type I error", **here)
            row["Coverage, as planned"] = view.percent("coverage", AS_PLANNED, **here)
            row["Coverage, as run"] = view.percent("coverage", AS_RUN, **here)
            row["No interval"] = view.percent("failed", **here)
            shown.append(row)
            kept.append(view.rows(**here))
    footnote = (
        f"{view.studies} under the default parameter values. {MC} Power: share of studies that show what is claimed, "
        "by the statistic of the report (the interval for medians and durability); harm is never counted. Type I "
        "error: the same where the drug has no effect and the arm keeps its conduct (nominal: half of the two-sided "
        f"level); of a claim with a margin, where the true effect is the margin. {_precise(view)} Coverage: share of "
        "95% intervals that hold the true value as planned, or as run, among studies with an interval. No interval: "
        "the analysis gave none, as where nobody is left in an arm; such a study shows nothing."
    )
    return view.listed("Endpoint", "Power, type I error and coverage", kept, shown, footnote)


def _precise(view: View) -> str:
    """By how much a share of so many studies can be off."""
    n = view.plan.replicates
    ends = [proportion(share * n, n) for share in (0.025, 0.5)]
    small, middle = (num(50 * (at["high"] - at["low"]), 2) for at in ends)
    return (
        f"With {view.studies}, a share near 2.5% is known to within {small} percentage points, one near 50% to within "
        f"{middle} (half of Wilson's interval)."
    )


def _bias_table(view: View) -> Exhibit:
    shown: list[dict[str, object]] = []
    kept = []
    for spec, arm in view.subjects():
        scale = view.scale(spec)
        for size in view.sizes:
            here = view.here(spec, arm, size)
            name = f"{spec.name} ({scale.unit})" if scale.unit else spec.name
            row = {"Patients": str(size)} | view.labels("Endpoint", name, arm, size)  # names on lines of their own
            row["True value"] = scale.value(*view.cell("truth", AS_PLANNED, **here))
            row["Bias"] = scale.gap(*view.cell("bias", AS_PLANNED, **here))
            row["True value, as run"] = scale.value(*view.cell("truth", AS_RUN, **here))
            row["Bias, as run"] = scale.gap(*view.cell("bias", AS_RUN, **here))
            row["Empirical SE"] = scale.gap(*view.cell("empirical SE", **here))
            row["Model SE"] = scale.gap(*view.cell("model SE", **here))
            row["CI width"] = scale.gap(*view.cell("width", **here))
            shown.append(row)
            kept.append(view.rows(**here))
    footnote = (
        f"{MC} {LOGS} True values are those of the simulated patients and of their counterfactual twins under the "
        "comparator's treatment: as planned (every dose given, nobody leaves), and as run (whatever happened, seen or "
        "not). Studies without a finite estimate have no part in bias and SE. Empirical SE: SD of the estimates. Model "
        "SE: root mean square of the standard errors; score and bootstrap intervals have none."
    )
    title = f"Bias and precision of the {'effects' if view.quantity == DIFFERENCE else 'arms’ own values'}"
    return view.listed("Endpoint", title, kept, shown, footnote)


# -- several hypotheses, estimands, margins ----------------------------------------------------------------------------


def _several(view: View) -> Section:
    plan = view.trial.multiplicity
    assert plan is not None
    number = view.number("Section")
    shown: list[dict[str, object]] = []
    kept = []
    for size in view.sizes:
        group = f"{size} patients"
        for name, arm in plan.hypotheses:
            here: dict[str, Any] = {"endpoint": name, "arm": arm, "patients": size, "quantity": DIFFERENCE}
            cells = {
                "Power": "power",
                "Power, adjusted": "power after adjustment",
                "Type I error": "type I error",
                "Type I error, adjusted": "type I error after adjustment",
            }
            row: dict[str, object] = {"Hypothesis": view.name(name, arm), "Patients": group}
            shown.append(row | {title: view.percent(measure, **here) for title, measure in cells.items()})
            kept.append(view.rows(**here))
        family: dict[str, Any] = {"patients": size, "quantity": FAMILY}
        for title, measures in (("Any of them", ("disjunctive power", "family-wise error")),
                                ("All of them", ("conjunctive power", ""))):  # fmt: skip
            row = {"Hypothesis": title, "Patients": group, "Power": "", "Type I error": ""}
            row["Power, adjusted"] = view.percent(measures[0], **family)
            shown.append(row | {"Type I error, adjusted": view.percent(measures[1], **family) if measures[1] else ""})
        kept.append(view.rows(**family))
    largest: dict[str, Any] = {"patients": view.largest, "quantity": FAMILY}
    any_, all_, wrong = (
        view.percent(name, **largest) for name in ("disjunctive power", "conjunctive power", "family-wise error")
    )
    key: list[Text] = [
        f"{first_upper(plan.method)} over {len(plan.hypotheses)} hypotheses: {any_} of studies of "
        f"{view.largest} patients reject at least one, {all_} all of them."
    ]
    if wrong != DASH:
        key.append(
            f"Where the drugs have no effect, {wrong} reject any (family-wise error under the global null hypothesis; "
            f"at most {50 * plan.alpha:g}% is asked of claims with one direction)."
        )
    footnote = (
        f"{view.studies} under the default parameter values. {MC} Adjusted: decisions by the trial's "
        f"multiplicity ({plan.method}, two-sided alpha {plan.alpha:g}), in each study by the functions of its report. "
        "A hypothesis that could not be tested counts as p = 1. Any of them: disjunctive power, and family-wise error "
        "under the global null hypothesis; families of which only some hypotheses are true are not simulated."
    )
    numeric = [name for name in shown[0] if name not in ("Hypothesis", "Patients")]
    group_by = "Patients" if len(view.sizes) > 1 else None
    if group_by is None:
        shown = [{name: value for name, value in row.items() if name != "Patients"} for row in shown]
    exhibit = table(
        view.number("Table"), "Several hypotheses", pd.concat(kept), shown, footnote, numeric=numeric, group=group_by
    )
    return Section(number, "Several hypotheses", "family", key=key, exhibits=[exhibit])


def _estimands(view: View) -> Section:
    number = view.number("Section")
    shown: list[dict[str, object]] = []
    kept = []
    for estimand, arm in view.asked():
        spec = view.trial.endpoint(estimand.endpoint)
        scale = scale_of(spec, estimand.summary)
        for size in view.sizes:
            here = view.here_of(estimand, arm, size)
            unit = estimand.summary if scale.ratio else f"{estimand.summary}, {scale.unit}"
            name = f"{'Primary: ' if estimand.primary else ''}{estimand.name} ({unit})"
            row = view.labels("Estimand", name, arm, size) | {
                "True value": scale.value(*view.cell("truth", BY_STRATEGY, **here)),
                "Bias": scale.gap(*view.cell("bias", BY_STRATEGY, **here)),
                "Coverage": view.percent("coverage", BY_STRATEGY, **here),
                "Power": view.percent("power", **here),
                "Type I error": view.percent("type I error", **here),
                "No interval": view.percent("failed", **here),
            }
            shown.append(row)
            kept.append(view.rows(**here))
    footnote = (
        f"{view.studies} under the default parameter values. {MC} {LOGS} Each estimand is estimated as in the trial's "
        "report, and held against its own true value, by its strategies, from the patients of the arm and their "
        "counterfactual twins under the comparator's treatment."
    )
    exhibit = view.listed("Estimand", "Estimands against their true values", kept, shown, footnote)
    return Section(number, "Estimands", "estimands", exhibits=[exhibit])


def _looks(view: View) -> Section:
    plan = view.trial.interim
    assert plan is not None
    key: list[Text] = []
    number, spec = view.number("Section"), view.trial.endpoint(plan.endpoint)
    margin = spec.claim.kind != SUPERIORITY
    null = "True effect at the margin" if margin and spec.moves else "No effect"
    shows = spec.claim.kind
    due = [_due(kind, value) for kind, value in view.trial.conduct.looks]
    lines: list[tuple[str, str, str, Callable[[float, float], str] | None]] = [
        (f"{first_upper(shows)} shown", "power over all looks", "type I error over all looks", None),
        ("Harm shown", "harm over all looks", "", None),
    ]
    for look in range(1, len(due) + 2):
        what = f"Test ends at look {look}" if look <= len(due) else "Test goes on to the last analysis"
        lines.append((what, f"ended at look {look}", f"ended at look {look}, null", None))
    lines.append(("Months until the test ends", "months", "months, null", lambda a, b: with_error(a, b, 1)))
    lines.append(("Patients enrolled by then", "patients", "patients, null", lambda a, b: with_error(a, b, 0)))
    shown: list[dict[str, object]] = []
    kept = []
    for arm in plan.arms:
        for size in view.sizes:
            here: dict[str, Any] = {"arm": arm, "patients": size, "quantity": SEQUENCE}
            kept.append(view.rows(**here))
            head = f"{view.arms[arm].label}, {size} patients"
            for what, name, other, text in lines:
                row: dict[str, object] = {"What": what, "Arm": head}
                for column, measure in (("Trial", name), (null, other)):
                    known = view.percent(measure, **here) if text is None else text(*view.cell(measure, **here))
                    row[column] = known if measure else ""
                shown.append(row)
        largest: dict[str, Any] = {"arm": arm, "patients": view.largest, "quantity": SEQUENCE}
        power, early = (view.percent(m, **largest) for m in ("power over all looks", "ended at look 1"))
        months = view.cell("months", **largest)
        key.append(
            f"{view.arms[arm].label}, studies of {view.largest} patients: {power} show {shows} at a look "
            f"or the last analysis; {early} end at the first look, and the mean test after "
            f"{with_error(*months, 1)} months."
        )
    footnote = (
        f"{view.studies} under the default parameter values. {MC} {plan.endpoint}: {plan.spending} spending, two-sided "
        f"alpha {plan.alpha:g} over all looks and arms. Looks: {listed(due)}, counted by the month at which they are "
        f"due in a study. Shown: the boundary is crossed for what is claimed, at any "
        f"look or the last analysis. {_error_of_looks(spec)} Months from the first patient's enrolment; those of the "
        "last visit where the test goes on to the last analysis."
    )
    exhibit = table(
        view.number("Table"), "Interim looks", pd.concat(kept), shown, footnote,
        numeric=["Trial", null], group="Arm",
    )  # fmt: skip
    return Section(number, "Interim looks", "looks", key=key, exhibits=[exhibit])


def _error_of_looks(spec: Endpoint) -> str:
    """What stands for a type I error, in a sentence."""
    if spec.claim.kind == SUPERIORITY:
        return "No effect: the drugs have none, and each arm keeps its conduct; superiority shown is the type I error."
    if spec.moves:
        return (
            "Type I error: the claim is shown in studies in which the drugs have no effect and each arm keeps its "
            "conduct, everybody's value in the test arm moved by the margin."
        )
    return "There is no type I error, since no treatment here has exactly the margin as its effect."


def _due(kind: str, value: float) -> str:
    """When a look is due, in words."""
    if kind == "month":
        return f"month {value:g}"
    return f"{100 * value:g}% completed" if kind == COMPLETED else f"{value:g} patients with {EVENT_WORDS[kind]}"


# -- how it was done ---------------------------------------------------------------------------------------------------


def _method(view: View) -> Section:
    number = view.number("Section")
    trial, plan = view.plan.trial, view.plan
    months = month_text(trial.months)
    words = [
        f"Each study draws {view.patients} patients of the trial's population anew, randomises them, and follows them "
        f"for {months} months as the trial file says; replicate 0 is the trial as `ranklsim run` runs it. Analyses are "
        "those of the trial's report, endpoint by endpoint and estimand by estimand.",
        "Measures and Monte-Carlo errors after Morris, White and Crowther (Stat Med 2019;38:2074-102). The error of a "
        "bias adds that of the true value.",
    ]
    if view.quantity == DIFFERENCE:
        words.append(
            "Under the null hypothesis the same patients, with the same random numbers, have the effect of the control "
            "treatment in every arm, and keep the conduct of their arm: its dropout, stopping, rescue and adherence. "
            "Only the effect of the drug is taken away."
        )
    if plan.source == "ranges":
        words.append(
            "Vectors are drawn over plausible ranges, not from the shipped ensemble, because a parameter or an agent "
            "that it holds has a value of your own."
        )
    fallback = view.rows(measure="fallback", quantity=view.quantity)
    if len(fallback) and fallback["value"].max() > 0:
        words.append(
            f"Up to {num(100 * fallback['value'].max(), 0)}% of the mixed models did not converge with an unstructured "
            "covariance and fell back on a simpler one."
        )
    exhibits = [_means_table(view)] if view.quantity == DIFFERENCE else []
    return Section(number, "Method", "method", paragraphs=[*words], exhibits=exhibits)


def _means_table(view: View) -> Exhibit:
    shown: list[dict[str, object]] = []
    kept = []
    for spec in view.protocol.endpoints:
        scale = scale_of(spec, "")
        name = f"{spec.name} ({scale.unit})" if scale.unit else spec.name
        for arm in view.protocol.arms:
            here = {"endpoint": spec.name, "arm": arm, "patients": view.largest, "quantity": MEAN}
            row: dict[str, object] = {"Arm": view.arms[arm].label, "Endpoint": name}
            shown.append(
                row
                | {"True value": scale.value(*view.cell("truth", AS_PLANNED, **here))}
                | {"Bias": scale.gap(*view.cell("bias", AS_PLANNED, **here))}
                | {"Coverage": view.percent("coverage", AS_PLANNED, **here)}
                | {"True value, as run": scale.value(*view.cell("truth", AS_RUN, **here))}
                | {"Bias, as run": scale.gap(*view.cell("bias", AS_RUN, **here))}
            )
            kept.append(view.rows(**here))
    footnote = (
        f"Studies of {view.largest} patients. {MC} Means or medians of changes, shares of responders, shares with the "
        "event by its month, rates, durability of the arm's curve: as the analysis of the endpoint gives them."
    )
    return table(
        view.number("Table"), "Bias and coverage of the arms' own values", pd.concat(kept), shown, footnote,
        numeric=["True value", "Bias", "Coverage", "True value, as run", "Bias, as run"], group="Endpoint", folded=True,
    )  # fmt: skip
