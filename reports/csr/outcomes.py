"""Section 11.4, second part: endpoints other than changes (such as fractures), estimands, subgroups, multiplicity."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from ranklsim.cohorts.endpoints import KINDS, Analysed, Endpoint, is_ratio
from ranklsim.cohorts.endpoints.dose_response import DoseDetail, DoseResponse
from ranklsim.cohorts.statistics import dose_response
from ranklsim.cohorts.statistics.ancova import LEVEL
from ranklsim.cohorts.statistics.claims import EQUIVALENCE, SHOWN
from ranklsim.cohorts.statistics.imputation import STRATEGIES
from ranklsim.cohorts.words import first_lower, first_upper, listed
from ranklsim.reports.csr.contents import report_section
from ranklsim.reports.csr.context import Context
from ranklsim.reports.figures import analyses as figures_analyses
from ranklsim.reports.figures import trial as figures
from ranklsim.reports.layout.arms import ArmView
from ranklsim.reports.layout.exhibit import Exhibit, Section
from ranklsim.reports.layout.tables import DASH, num, p_value, with_interval
from ranklsim.reports.layout.wording import to_interval

P_OF_CLAIM = (
    "p of a claim, adjusted or not: twice the one-sided p, so that harm has a p near 1. A claim is shown where its "
    "adjusted p is at most alpha. An effect whose own interval lies beyond the limit on the side of harm is called "
    "inferior."
)
"""Footnote of every table that shows an adjusted p."""


@report_section("11.4.1.1", "Fractures, responders, exposures, durability and dose response", "outcomes")
def _outcomes(c: Context, section: Section) -> None:
    """Responders, events, rates and durability, by arm; changes with a margin of non-inferiority."""
    frame = c.analyses.endpoints
    other = frame["against"].ne("") & frame["against"].ne(c.control or "")
    frame = frame[(frame["kind"] != "change") | frame["margin"].notna() | other].reset_index(drop=True)
    if frame.empty:
        section.paragraphs.append(
            "The trial names no endpoint but changes of BMD and markers, no margin, and no comparison but with control."
        )
        return
    section.paragraphs += [*sentences(c, frame), *c.read_elsewhere(changes=False)]
    section.exhibits.append(
        c.listing(
            "14.2.8.1",
            "Events, responders, rates, exposures, durability and dose response by arm",
            frame,
            lambda row: endpoint_cells(c, row),
            group="Endpoint",
            numeric=["n", "Events"],
            who=c.population,
            note=_notes(c, frame),
        )
    )
    followed = c.analyses.curves["endpoint"].unique()
    for k, name in enumerate(followed, start=1):
        section.exhibits.append(_incidence(c, str(name), f"14.2.8.{k}"))
    found = [each for each in c.analysed if isinstance(each.detail, DoseDetail)]
    for k, each in enumerate(found, start=1):
        section.exhibits.append(_dose_curve(c, each, f"14.2.8.{len(followed) + k}"))
        section.exhibits.append(_dose_response(c, each, f"14.2.8.{1 + k}"))


def _dose_curve(c: Context, found: Analysed, number: str) -> Exhibit:
    """The model average with its band, between the doses that were studied."""
    spec, detail = found.spec, found.detail
    assert isinstance(spec, DoseResponse)
    said = next((result.note for result in found.results if result.arm == spec.top), "")
    head = "No candidate shape has a significant contrast: differences of the arms alone."
    if detail.models:
        head = "Line and band: model average with its pointwise 95% CI (bootstrap of the means, models weighed anew)."
    unit = "percentage points" if spec.in_points else spec.unit
    return c.figure(
        number,
        f"{spec.name}: effect by dose",
        detail.course(),
        figures_analyses.dose_response,
        arms=[c.by_name[arm] for arm in detail.arms[1:]],
        target=None if detail.target is None else (detail.target.effect, detail.target.dose),
        ylabel=f"Difference to {c.by_name[detail.arms[0]].label} ({unit})",
        note=f"{head} Points: least-squares mean differences with 95% CI. {said}".strip(),
        alt=f"{spec.name} against dose. {said}".strip(),
    )


def _dose_response(c: Context, found: Analysed, number: str) -> Exhibit:
    """Contrast tests of the candidate shapes, and the models of those that pass."""
    spec, detail = found.spec, found.detail
    assert isinstance(spec, DoseResponse)
    models = {model.kind: (model, weight) for model, weight in zip(detail.models, detail.weights, strict=True)}
    rows = []
    for k, shape in enumerate(detail.signal.shapes):
        model, weight = models.get(shape.kind, (None, np.nan))
        passed = detail.signal.t[k] >= detail.signal.critical
        row = {"shape": str(shape), "t": detail.signal.t[k], "p": detail.signal.p[k], "passed": passed}
        names = dose_response.KINDS[shape.kind].parameters
        curved: tuple[float, ...] = () if model is None else model.parameters
        if model is not None and shape.kind == "quadratic":
            curved = (-1 / (2 * curved[0]),)
        row["parameters"] = ", ".join(f"{name} {value:.3g}" for name, value in zip(names, curved, strict=False)) or DASH
        rows.append(row | {"weight": weight, "model": "" if model is None else f"{model.gaic:.2f}"})
    contrasts = "; ".join(
        f"{shape}: {', '.join(num(x, 3) for x in own)}"
        for shape, own in zip(detail.signal.shapes, detail.signal.contrasts, strict=True)
    )
    doses = ", ".join(f"{dose:g}" for dose in detail.doses)
    said = next((result.note for result in found.results if result.arm == spec.top), "")
    note = (
        f"Doses (mg): {doses}; adjusted means: {', '.join(num(x, spec.digits) for x in detail.means)}. t of the best "
        "contrast of each candidate, in the direction of benefit; p one-sided, adjusted for all candidates by the "
        f"multivariate t distribution; critical value {num(detail.signal.critical, 3)} for 2.5%. Models of the "
        "families with a significant contrast, by generalised least squares on the means, weighed by exp(-gAIC/2) "
        f"(Pinheiro et al. 2014). {said} Interval of a target dose: bootstrap of the means, models weighed anew. "
        f"Contrasts: {contrasts}."
    )
    return c.listing(
        number,
        f"{spec.name}: candidate shapes and models",
        pd.DataFrame(rows),
        lambda row: {
            "Candidate (doses in mg)": row["shape"],
            "t": num(row["t"], 2),
            "Adjusted p": p_value(row["p"]),
            "Signal": "yes" if row["passed"] else "no",
            "Fitted": row["parameters"],
            "gAIC": row["model"] or DASH,
            "Weight": num(row["weight"], 2) if np.isfinite(row["weight"]) else DASH,
        },
        numeric=["t", "Adjusted p", "gAIC", "Weight"],
        who=c.population,
        note=note,
    )


def sentences(c: Context, frame: pd.DataFrame) -> list[str]:
    """One sentence for each endpoint that compares arms, primary endpoints first.

    Parameters
    ----------
    c : Context
    frame : DataFrame
        Rows of `Analyses.endpoints`.
    """
    out = []
    for row in frame.sort_values("role", key=lambda r: r.ne("primary"), kind="stable").to_dict("records"):
        if np.isfinite(row["effect"]) and row["conclusion"]:
            spec = c.trial.endpoint(row["endpoint"])
            factor, decimals, _ = _scale(spec, row["effect_measure"])
            centre, low, high = (factor * row[k] for k in ("effect", "claim_low", "claim_high"))
            effect = _in_words(centre, low, high, decimals, _points(spec, row["effect_measure"]), spec.confidence)
            p = f"; p {p_words(row['p'])}" if np.isfinite(row["p"]) and row["claim"] != EQUIVALENCE else ""
            label = c.compared(spec, row["arm"])
            out.append(f"{row['endpoint']}, {label}: {row['effect_measure']} {effect}{p}: {row['conclusion']}.")
        elif row["note"] and row["role"] == "primary":
            out.append(f"{row['endpoint']}, {c.by_name[row['arm']].label}: {row['note']}")
    return out


def p_words(p: float) -> str:
    """A p value as it follows the letter p: ``= 0.012`` or ``<0.001``.

    Parameters
    ----------
    p : float
        A p value.
    """
    text = p_value(p)
    return text if text.startswith("<") else f"= {text}"


def _scale(spec: Endpoint, measure: str) -> tuple[float, int, str]:
    """Factor, decimals and unit of an arm's own value or of a difference."""
    if is_ratio(measure):
        return 1.0, 2, ""
    return spec.factor, spec.digits, spec.unit if spec.factor != 1 else ""


def effect_text(row: dict[str, Any], spec: Endpoint) -> str:
    """An effect with its interval, shares in points.

    Parameters
    ----------
    row : mapping
        `effect_measure`, `effect`, `effect_low`, `effect_high`.
    spec : Endpoint
    """
    factor, decimals, unit = _scale(spec, row["effect_measure"])
    centre, low, high = (factor * row[k] for k in ("effect", "effect_low", "effect_high"))
    text = with_interval(centre, low, high, decimals)
    return text if text == DASH or unit != "%" else f"{text} points"


def _in_words(value: float, low: float, high: float, decimals: int, unit: str, level: float = LEVEL) -> str:
    """``1.50 (95% CI 1.20 to 1.90)``, with the unit behind the value."""
    text = f"{num(value, decimals)}{unit}"
    if not (np.isfinite(low) and np.isfinite(high)):
        return text
    return f"{text} ({100 * level:g}% CI {to_interval(low, high, decimals)})"


def _points(spec: Endpoint, measure: str) -> str:
    """The unit of a difference, as it follows the value in a sentence."""
    return " percentage points" if spec.in_points and not is_ratio(measure) else ""


def endpoint_cells(
    c: Context, row: dict[str, Any], name: Callable[[ArmView], str] = lambda arm: arm.label
) -> dict[str, object]:
    """Cells of one endpoint in one arm.

    Parameters
    ----------
    c : Context
    row : dict
        Of `Analyses.endpoints`.
    name : callable
        How an arm is called.
    """
    spec = c.trial.endpoint(row["endpoint"])
    factor, digits, unit = _scale(spec, "")
    own = _months_or_later(row, factor, digits)
    events = spec.counted(row["events"], row["n"]) if np.isfinite(row["events"]) else DASH
    margins = [f"{row[name]:g}" for name in ("margin", "margin_high") if np.isfinite(row[name])]
    margin = f"Margin{'s' if len(margins) > 1 else ''} {listed(margins)}. " if margins else ""
    if row["claim"] and spec.confidence != LEVEL and np.isfinite(row["claim_low"]):
        by, decimals, _ = _scale(spec, row["effect_measure"])
        ends = to_interval(by * row["claim_low"], by * row["claim_high"], decimals)
        margin += f"{100 * spec.confidence:g}% CI {ends}. "
    against = f" against {name(c.by_name[row['against']])}" if row["against"] else ""
    return {
        "Endpoint": f"{row['endpoint']} ({row['role']}; {spec.described}{', ' + unit if unit else ''})",
        "Arm": name(c.by_name[row["arm"]]),
        "n": row["n"],
        "Events": events,
        "Estimate (95% CI)": own,
        "Comparison (95% CI)": f"{row['effect_measure']}{against} {effect_text(row, spec)}"
        if np.isfinite(row["effect"])
        else DASH,
        "p": p_value(row["p"]),
        "Conclusion": " ".join(x for x in (margin + first_upper(row["conclusion"]), row["note"]) if x) or DASH,
    }


def _months_or_later(row: dict[str, Any], factor: float, decimals: int) -> str:
    """Estimate with interval, infinite ends as words."""
    values = [factor * row[key] for key in ("estimate", "low", "high")]
    if np.isinf(values[0]):
        return "not by the last visit"
    if np.isinf(values[2]):
        return f"{num(values[0], decimals)} ({num(values[1], decimals)}, not by the last visit)"
    return with_interval(values[0], values[1], values[2], decimals)


def _notes(c: Context, frame: pd.DataFrame) -> str:
    notes = []
    for kind, own in frame[frame["method"].astype(bool)].groupby("kind", sort=True):
        notes.append(f"{KINDS[str(kind)].plural}: {'; '.join(sorted(own['method'].unique()))}.")
    notes += [P_OF_CLAIM] if c.trial.multiplicity is not None else []
    notes.append("Patients who left count up to then; all that was seen counts. n: patients with the values needed.")
    notes += dict.fromkeys(note for spec in c.trial.endpoints for note in spec.notes)
    return " ".join(notes)


def _incidence(c: Context, name: str, number: str) -> Exhibit:
    own = c.analyses.curves[c.analyses.curves["endpoint"] == name].drop(columns="endpoint").reset_index(drop=True)
    risk = c.analyses.at_risk[c.analyses.at_risk["endpoint"] == name]
    deaths = c.trial.conduct.deaths
    return c.figure(
        number,
        f"{name}: cumulative incidence",
        own,
        figures.incidence,
        at_risk=risk,
        ylabel="Patients with the event (%)",
        note="Aalen-Johansen estimate with death as competing event; interval on the scale log(-log)."
        if deaths
        else "One minus the Kaplan-Meier estimate; interval on the scale log(-log).",
        alt=listed(sentences(c, c.analyses.endpoints[c.analyses.endpoints["endpoint"] == name])),
    )


@report_section("11.4.2.5", "Multiplicity", "multiplicity")
def _decisions(c: Context, section: Section) -> None:
    """Hypotheses in their order, with adjusted p."""
    plan = c.trial.multiplicity
    if plan is None:
        section.paragraphs.append(
            "The trial names no procedure for multiple testing: no p value of this report is adjusted."
        )
        return
    frame = c.analyses.multiplicity
    kept = [
        f"{row['endpoint']}, {c.compared(c.trial.endpoint(row['endpoint']), row['arm'])}: {SHOWN[row['claim']]}"
        for row in frame[frame["rejected"].astype(bool)].to_dict("records")
    ]
    said = f"is shown: {'; '.join(kept)}." if kept else "no claim is shown."
    section.paragraphs.append(
        f"With a two-sided type-I error of {plan.alpha:g} over all hypotheses ({procedure(plan.method)}), {said}"
    )
    section.exhibits.append(
        c.listing(
            "14.2.9.1",
            "Hypotheses in their order",
            frame,
            lambda row: (
                {
                    "Endpoint": row["endpoint"],
                    "Comparison": c.compared(c.trial.endpoint(row["endpoint"]), row["arm"]),
                    "Claim": first_upper(row["claim"]),
                    "p": p_value(row["p"]),
                    "Adjusted p": p_value(row["adjusted"]),
                    "Decision": SHOWN[row["claim"]] if row["rejected"] else "not shown",
                }
                | ({"Note": row["note"]} if frame["note"].astype(bool).any() else {})
            ),
            numeric=["p", "Adjusted p"],
            who=c.population,
            note=f"{first_upper(procedure(plan.method))}; two-sided alpha {plan.alpha:g}. {P_OF_CLAIM}",
        )
    )


def procedure(method: str) -> str:
    """Name of a procedure for multiple testing.

    Parameters
    ----------
    method : str
        `method` of the trial file's [multiplicity].
    """
    return {"graphical": "graphical procedure of Bretz and Maurer"}.get(method, f"{method} procedure")


@report_section("11.4.3", "Estimands", "estimands")
def _questions(c: Context, section: Section) -> None:
    """Estimands: the estimate and the true value of each."""
    frame = c.analyses.estimands
    if frame.empty:
        section.paragraphs.append("The trial names no estimand.")
        return
    twins = int(frame["twins"].max()) if frame["twins"].notna().any() else 0
    section.paragraphs.append(
        "An estimand says what is to be estimated (ICH E9(R1)): population, treatment, variable, intercurrent events "
        "each with a strategy, and the summary measure. Patients are simulated, so that the truth is known: the same "
        f"{twins} patients, with the same random numbers, are put in every arm, as things go and without the events "
        "that an estimand supposes away. Estimate minus truth holds chance, what missing values bias, and measurement "
        "error."
    )
    for row in frame.to_dict("records"):
        if row["primary"]:
            section.paragraphs.append(_estimand_sentence(c, row))
    section.exhibits.append(
        c.listing(
            "14.2.10.1",
            "Estimands: estimate and truth",
            frame.astype({"primary": bool}),
            lambda row: _estimand_cells(c, row),
            group="Estimand",
            who=c.population,
            note="Truth: over all twins, with its Monte-Carlo standard error (of the logarithm where the measure is a "
            "ratio). Fractures are seen while a patient is in the study; in the truth, too, those who leave are "
            "censored.",
        )
    )


def _estimand_sentence(c: Context, row: dict[str, Any]) -> str:
    spec = c.trial.endpoint(row["endpoint"])
    label = c.by_name[row["arm"]].label
    if not np.isfinite(row["estimate"]):
        return f"Primary estimand, {label}: not estimated. {row['note']}"
    factor, decimals, _ = _scale(spec, row["summary"])
    centre, low, high = (factor * row[k] for k in ("estimate", "low", "high"))
    value = _in_words(centre, low, high, decimals, _points(spec, row["summary"]))
    text = f"Primary estimand, {label}: {row['summary']} {value}"
    if not np.isfinite(row["truth"]):
        return f"{text}."
    error = num((factor if not is_ratio(row["summary"]) else 1.0) * row["truth_error"], decimals)
    return f"{text}; the truth of this estimand is {_of_estimand(row, spec, 'truth')} (Monte-Carlo SE {error})."


def _of_estimand(row: dict[str, Any], spec: Endpoint, *names: str) -> str:
    factor, decimals, _ = _scale(spec, row["summary"])
    if len(names) == 1:
        return num(factor * row[names[0]], decimals)
    value, low, high = (factor * row[name] for name in names)
    return with_interval(value, low, high, decimals)


def _estimand_cells(c: Context, row: dict[str, Any]) -> dict[str, object]:
    spec = c.trial.endpoint(row["endpoint"])
    estimand = next(e for e in c.trial.estimands if e.name == row["estimand"])
    factor, decimals, unit = _scale(spec, row["summary"])
    people = "all randomised"
    if estimand.population:
        people = "; ".join(_range(name, *ends) for name, ends in estimand.population.items())
    missing = "" if estimand.missing == "MAR" else f" Missing values: {STRATEGIES[estimand.missing]}."
    primary = "Primary: " if row["primary"] else ""
    attributes = (
        f"{primary}{row['estimand']}. Population: {people}. Variable: {row['endpoint']}{f' ({unit})' if unit else ''}. "
        f"{first_upper(row['strategies'])}.{missing} Measure: {row['summary']}."
    )
    error = factor if not is_ratio(row["summary"]) else 1.0
    return {
        "Estimand": attributes,
        "Comparison": c.compared(spec, row["arm"]),
        "n": f"{row['n']:.0f} / {row['n_control']:.0f}" if np.isfinite(row["n"]) else DASH,
        "Estimate (95% CI)": _of_estimand(row, spec, "estimate", "low", "high"),
        "Truth (Monte-Carlo SE)": f"{_of_estimand(row, spec, 'truth')} ({num(error * row['truth_error'], decimals)})"
        if np.isfinite(row["truth"])
        else DASH,
        "Estimate − truth": num(factor * row["bias"], decimals, sign=True),
        "Truth inside CI": {1.0: "yes", 0.0: "no"}.get(row["covered"], DASH),
        "Method": first_upper(". ".join(part for part in (row["method"], row["note"]) if part)),
    }


def _range(name: str, low: float | None, high: float | None) -> str:
    words = name.replace("_", " ")
    if low is not None and high is not None:
        return f"{words} {low:g} to {high:g}"
    return f"{words} ≥ {low:g}" if low is not None else f"{words} ≤ {high:g}"


@report_section("11.4.2.8", "Subgroups", "subgroups")
def _forests(c: Context, section: Section) -> None:
    """Primary and key secondary endpoints in subgroups."""
    frame = c.analyses.subgroups
    if frame.empty:
        section.paragraphs.append("No primary or key secondary endpoint compares arms.")
        return
    small = min((float(p) for p in frame["p_interaction"] if np.isfinite(p)), default=np.nan)
    tests = int(frame["p_interaction"].notna().sum())
    if tests:
        section.paragraphs.append(
            f"Of {tests} tests of interaction, the smallest p is {p_value(small)}; among so many, "
            f"{'one below 0.05 is expected by chance' if tests >= 14 else 'none is adjusted'}."
        )
    shown = 0
    for (name, arm), own in frame.groupby(["endpoint", "arm"], sort=False):
        view = c.by_name[str(arm)]
        if not np.isfinite(own["estimate"]).any():
            why = first_lower(" ".join(_gaps(own)))
            section.paragraphs.append(f"{name}, {view.label}: no subgroup has an estimate: {why}")
            continue
        shown += 1
        measure = str(own["effect_measure"].iloc[0])
        spec = c.trial.endpoint(str(name))
        factor, digits, _ = _scale(spec, measure)
        control = c.by_name[str(c.reference(spec))]
        points = _points(spec, measure).strip()
        section.exhibits.append(
            c.figure(
                f"14.2.11.{shown}",
                f"{name}: {view.label} against {control.label} in subgroups",
                own.drop(columns="endpoint").reset_index(drop=True),
                figures_analyses.forest,
                arms=[view],
                xlabel=f"{first_upper(measure)}{f' ({points})' if points else ''}",
                ratio=is_ratio(measure),
                scale=factor,
                digits=digits,
                note=f"Patients with the values needed: {view.label} / {control.label}. Each subgroup by itself, "
                "without other covariates; diamond: all patients, analysed alike. Interaction: Cochran's Q over the "
                f"subgroups. {' '.join(_gaps(own))}".rstrip(),
                alt=f"{first_upper(measure)} overall and in subgroups by age, T-score, prior fracture and eGFR.",
            )
        )


def _gaps(own: pd.DataFrame) -> list[str]:
    """Reasons why subgroups have no estimate, each once."""
    told = own[own["note"].astype(bool)]
    said = []
    for reason, where in told.groupby("note", sort=False):
        levels = listed([_level(row) for row in where.itertuples()])
        said.append(str(reason) if len(where) == len(own) else f"{first_upper(levels)}: {first_lower(str(reason))}")
    return said


def _level(row: Any) -> str:
    return "all patients" if row.factor == "All" else f"{row.factor} {row.level}"
