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
from ranklsim.cohorts.words import EVENT_WORDS, first_upper, listed, month_text
from ranklsim.reports.layout.cells import Text
from ranklsim.reports.layout.exhibit import Exhibit, Section
from ranklsim.reports.layout.page import Page, table
from ranklsim.reports.layout.tables import num
from ranklsim.reports.replicate.analyse import DIFFERENCE, MEAN
from ranklsim.reports.replicate.figures import assurance, by_size, estimates
from ranklsim.reports.replicate.operating import FAMILY, SEQUENCE, SPREAD, Replicates
from ranklsim.reports.replicate.sample import AS_PLANNED, AS_RUN
from ranklsim.reports.replicate.truth import BY_STRATEGY
from ranklsim.reports.replicate.view import MC, View, percent, scale_of, with_error

MARK = "ranklsim-replicate"
LOGS = "Bias, standard errors and widths of ratios are those of the natural logarithm: 0.10 is a factor of 1.1."


def compose(found: Replicates) -> tuple[Page, list[Section]]:
    """Page and sections."""
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
    compared = view.quantity == DIFFERENCE
    sections = [_answer(view)]
    if view.trial.multiplicity is not None:
        sections.append(_several(view))
    if view.protocol.estimands:
        sections.append(_estimands(view))
    if compared and any(spec.margin is not None for spec in view.protocol.endpoints):
        sections.append(_margins(view))
    if view.trial.interim is not None:
        sections.append(_looks(view))
    if len(view.sizes) > 1 and compared:
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
    for arm in view.others:
        here = view.here(spec, arm, view.largest)
        truth, bias, coverage = (view.cell(m, AS_PLANNED, **here) for m in ("truth", "bias", "coverage"))
        label = view.arms[arm].label
        if view.quantity == DIFFERENCE:
            power, error = view.cell("power", **here), view.cell("type I error", **here)
            text = (
                f"{first_upper(spec.name)}, {label} against {view.arms[str(view.protocol.control)].label}: "
                f"{num(100 * power[0], 0)}% of {view.studies} of {view.largest} patients found a difference at the "
                f"two-sided 5% level (Monte-Carlo SE {num(100 * power[1], 1)} percentage points)"
            )
            if np.isfinite(error[0]):
                text += f"; {num(100 * error[0], 1)}% ({num(100 * error[1], 1)}) did where there was none"
            key.append(text + ".")
        off = (
            f"by a factor of {num(float(np.exp(bias[0])), 2)}"
            if scale.ratio
            else f"by {scale.gap(*bias)} {scale.unit}".rstrip()
        )
        unit = "" if scale.ratio else f" {scale.unit}".rstrip()
        key.append(
            f"{label}: the true {measure} is {scale.value(*truth)}{unit} if all goes as planned; the studies are off "
            f"{off} on average, and their {100 * LEVEL:.0f}% intervals hold it in {percent(*coverage)} of studies."
        )
    drawn = view.found.assurance
    for arm in view.others if len(drawn) and view.quantity == DIFFERENCE else []:
        row = drawn[
            (drawn["measure"] == "power") & (drawn["endpoint"] == spec.name) & (drawn["arm"] == arm)
            & (drawn["patients"] == view.largest) & (drawn["quantity"] == DIFFERENCE)
        ].iloc[0]  # fmt: skip
        key.append(
            f"Assurance, the power averaged over {int(row['vectors'])} parameter vectors: {num(100 * row['mean'], 0)}% "
            f"(Monte-Carlo SE {num(100 * row['mc_se'], 1)}) for {view.arms[arm].label}; "
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
                row["Power"] = percent(*view.cell("power", **here))
                row["Type I error"] = percent(*view.cell("type I error", **here))
            row["Coverage, as planned"] = percent(*view.cell("coverage", AS_PLANNED, **here))
            row["Coverage, as run"] = percent(*view.cell("coverage", AS_RUN, **here))
            row["No interval"] = percent(*view.cell("failed", **here))
            shown.append(row)
            kept.append(view.rows(**here))
    footnote = (
        f"{view.studies} under the default parameter values. {MC} Power: share of studies whose effect against control "
        "is significant, two-sided 5% (p-value; the interval for medians and durability). Type I error: the same where "
        "every arm is given the control treatment. Coverage: share of 95% intervals that hold the true value as "
        "planned, or as run, among studies with an interval. No interval: the analysis gave none, as where an arm "
        "has no event; such a study counts for power by its p-value if it has one, else as no difference found."
    )
    return view.listed("Endpoint", "Power, type I error and coverage", kept, shown, footnote)


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
        "control treatment: as planned (every dose given, nobody leaves), and as run (whatever happened, seen or not). "
        "Studies without a finite estimate have no part in bias and SE. Empirical SE: SD of the estimates. Model SE: "
        "root mean square of the standard errors; score and bootstrap intervals have none."
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
            shown.append(row | {title: percent(*view.cell(measure, **here)) for title, measure in cells.items()})
            kept.append(view.rows(**here))
        family: dict[str, Any] = {"patients": size, "quantity": FAMILY}
        for title, measures in (("Any of them", ("disjunctive power", "family-wise error")),
                                ("All of them", ("conjunctive power", ""))):  # fmt: skip
            power, error = (view.cell(measure, **family) for measure in measures)
            row = {"Hypothesis": title, "Patients": group, "Power": "", "Power, adjusted": percent(*power)}
            shown.append(row | {"Type I error": "", "Type I error, adjusted": percent(*error) if measures[1] else ""})
        kept.append(view.rows(**family))
    largest: dict[str, Any] = {"patients": view.largest, "quantity": FAMILY}
    any_, all_, wrong = (
        view.cell(name, **largest) for name in ("disjunctive power", "conjunctive power", "family-wise error")
    )
    key: list[Text] = [
        f"{first_upper(plan.method)} over {len(plan.hypotheses)} hypotheses: {percent(*any_)} of studies of "
        f"{view.largest} patients reject at least one, {percent(*all_)} all of them."
    ]
    if np.isfinite(wrong[0]):
        key.append(
            f"Where every arm is given the control treatment, {percent(*wrong)} reject any (family-wise error under "
            f"the global null hypothesis; at most {100 * plan.alpha:g}% is asked)."
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
                "Coverage": percent(*view.cell("coverage", BY_STRATEGY, **here)),
                "Power": percent(*view.cell("power", **here)),
                "Type I error": percent(*view.cell("type I error", **here)),
                "No interval": percent(*view.cell("failed", **here)),
            }
            shown.append(row)
            kept.append(view.rows(**here))
    footnote = (
        f"{view.studies} under the default parameter values. {MC} {LOGS} Each estimand is estimated as in the trial's "
        "report, and held against its own true value, by its strategies, from the patients of the arm and their "
        "counterfactual twins under the control treatment."
    )
    exhibit = view.listed("Estimand", "Estimands against their true values", kept, shown, footnote)
    return Section(number, "Estimands", "estimands", exhibits=[exhibit])


def _margins(view: View) -> Section:
    number = view.number("Section")
    shown: list[dict[str, object]] = []
    kept = []
    unknown = [spec.name for spec in view.protocol.endpoints if spec.margin is not None and not spec.moves]
    for spec, arm in view.subjects():
        if spec.margin is None:
            continue
        for size in view.sizes:
            here = view.here(spec, arm, size)
            row = view.labels("Endpoint", f"{spec.name} (margin {_margin(view, spec)})", arm, size) | {
                "Non-inferior": percent(*view.cell("power of non-inferiority", **here)),
                "Non-inferior, true effect at the margin": percent(*view.cell("type I error at the margin", **here)),
                "Different": percent(*view.cell("power", **here)),
            }
            shown.append(row)
            kept.append(view.rows(**here))
    words = []
    if unknown:
        words.append(
            f"No error at the margin for {listed(unknown)}: no treatment here has exactly the margin as its effect on "
            "events or shares, and such data can't be moved there by a constant as changes of a measure can."
        )
    footnote = (
        f"{view.studies} under the default parameter values. {MC} Non-inferior: the 95% interval lies on the good side "
        "of the margin, as the report concludes. True effect at the margin: studies in which every arm is given the "
        "control treatment, everybody's change in the test arm moved by the margin; that of a one-sided 2.5% test "
        "where all is exact."
    )
    exhibit = view.listed("Endpoint", "Non-inferiority", kept, shown, footnote)
    return Section(number, "Non-inferiority", "margins", paragraphs=words, exhibits=[exhibit])


def _margin(view: View, spec: Endpoint) -> str:
    scale = view.scale(spec)
    return f"{spec.margin:g}" + ("" if scale.ratio else f" {scale.unit}".rstrip())


def _looks(view: View) -> Section:
    plan = view.trial.interim
    assert plan is not None
    key: list[Text] = []
    number, spec = view.number("Section"), view.trial.endpoint(plan.endpoint)
    margin = spec.margin is not None
    null = "True effect at the margin" if margin and spec.moves else "No difference"
    shows = "non-inferiority" if margin else "a benefit"
    due = [_due(kind, value) for kind, value in view.trial.conduct.looks]
    lines: list[tuple[str, str, str, Callable[[float, float], str]]] = [
        (f"{first_upper(shows.removeprefix('a '))} shown", "power over all looks", "", percent),
        ("Type I error", "", "type I error over all looks", percent),
    ]
    for look in range(1, len(due) + 2):
        what = f"Test ends at look {look}" if look <= len(due) else "Test goes on to the last analysis"
        lines.append((what, f"ended at look {look}", f"ended at look {look}, null", percent))
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
                row["Trial"] = text(*view.cell(name, **here)) if name else ""
                row[null] = text(*view.cell(other, **here)) if other else ""
                shown.append(row)
        largest: dict[str, Any] = {"arm": arm, "patients": view.largest, "quantity": SEQUENCE}
        power, months, early = (view.cell(m, **largest) for m in ("power over all looks", "months", "ended at look 1"))
        key.append(
            f"{view.arms[arm].label}, studies of {view.largest} patients: {percent(*power)} show {shows} at a look "
            f"or the last analysis; {percent(*early)} end at the first look, and the mean test after "
            f"{with_error(*months, 1)} months."
        )
    footnote = (
        f"{view.studies} under the default parameter values. {MC} {plan.endpoint}: {plan.spending} spending, two-sided "
        f"alpha {plan.alpha:g} over all looks and arms. Looks: {listed(due)}, counted by the month at which they are "
        f"due in a study. Shown: the boundary is crossed on the good side{' of the margin' if margin else ''}, at any "
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
    if spec.margin is None:
        return "Type I error: a boundary is crossed, on either side, where every arm is given the control treatment."
    if spec.moves:
        return (
            "Type I error: non-inferiority is shown in studies in which every arm is given the control treatment, "
            "everybody's change in the test arm moved by the margin."
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
    if view.protocol.control is not None:
        words.append(
            "Under the null hypothesis the same patients are given the control treatment in every arm, with the same "
            "random numbers: their true difference is zero."
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
    return Section(number, "Method", "method", paragraphs=words, exhibits=exhibits)


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
                | {"Coverage": percent(*view.cell("coverage", AS_PLANNED, **here))}
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
