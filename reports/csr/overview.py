"""Synopsis, design and statistical methods."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ranklsim.cohorts.protocol.trial import Conduct, Trial
from ranklsim.cohorts.statistics import summaries
from ranklsim.cohorts.words import first_upper, listed, month_text
from ranklsim.pkpd.errors import counted
from ranklsim.reports.csr import outcomes
from ranklsim.reports.csr.contents import report_section
from ranklsim.reports.csr.context import BASELINE, NOT_KNOWN, Context, month_span
from ranklsim.reports.figures import trial as figures
from ranklsim.reports.layout import tables
from ranklsim.reports.layout.arms import BASIS_MEANING
from ranklsim.reports.layout.cells import Bullets, Cell, Column, Group, Row, Span, Table, Text, plain, tag
from ranklsim.reports.layout.exhibit import Exhibit, Section


def synopsis(c: Context) -> Exhibit:
    """The table of the synopsis, with the items of ICH E3.

    Parameters
    ----------
    c : Context
    """
    rows = _synopsis_rows(c)
    frame = pd.DataFrame([(head, plain(text)) for head, text in rows], columns=["item", "text"])
    body = Group(tuple(Row((Cell(head), Cell(text))) for head, text in rows))
    table = Table((Column(""), Column("")), (body,), "synopsis")
    return Exhibit("Table", "2.1", "Synopsis of the trial", frame, table, "")


def _synopsis_rows(c: Context) -> list[tuple[str, Text]]:
    """Items of the synopsis and their text."""
    t = c.trial
    regimens = [(Span(arm.label, "strong"), f" (N={c.counts[arm.name]}): {arm.words}") for arm in c.arms]
    eligible = "; ".join(_range_words(name, low, high) for name, (low, high) in t.population.eligible.items())
    layers = [
        f"between-patient variability {'on' if t.layers.patients else 'off (every patient is the typical patient)'}",
        f"residual (assay, precision) error {'on' if t.layers.residual else 'off'}",
        f"parameter uncertainty {'on (' + counted(c.n_draws, 'draw') + ')' if c.n_draws else 'off'}",
    ]
    rows: list[tuple[str, Text]] = [
        (
            "Methodology",
            f"Simulated trial, {counted(len(c.arms), 'arm')}, allocation {_ratio(t, c.names)}, {t.months:g} months; "
            "each patient follows from a model of RANKL, bone cells and bone",
        ),
        ("Number of patients", _patient_words(c)),
        ("Population", f"{t.population.name}" + (f"; eligible: {eligible}" if eligible else "")),
        ("Treatments", Bullets(tuple(regimens))),
        ("Conduct", _conduct_words(t.conduct)),
        ("Variation", "; ".join(layers)),
        ("Endpoints", _endpoint_words(t)),
        ("Statistical methods", _method_words(c)),
    ]
    if t.sources:
        rows.append(("Modelled on", Bullets(tuple(t.sources))))
    return rows


def _patient_words(c: Context) -> str:
    """Randomised, treated, and how their time in the trial ended."""
    total = summaries.disposition(c.data.patients, c.data.events, c.names).set_index("arm").loc["Total"]
    ends = {"completed": "completed", "dropout": "dropped out", "death": "died"}
    said = [f"{tables.share(int(total[event]), c.n)} {words}" for event, words in ends.items() if event in total]
    return f"{c.n} randomised, {len(c.treated)} in the safety set; {listed(said)}"


def _endpoint_words(trial: Trial) -> Bullets:
    """Endpoints by role."""
    by_role: dict[str, list[str]] = {}
    for spec in trial.endpoints:
        by_role.setdefault(spec.role, []).append(f"{spec.name} ({spec.analysis})")
    return Bullets(tuple((Span(f"{first_upper(role)}: ", "strong"), "; ".join(own)) for role, own in by_role.items()))


def _method_words(c: Context) -> str:
    """One sentence on the analyses of the endpoints."""
    plan = c.trial.multiplicity
    kinds = list(dict.fromkeys(found.method.removeprefix("MMRM, ") for found in c.repeated if found.fit))
    said = [f"MMRM by REML, {listed(kinds)}, Satterthwaite degrees of freedom"] if kinds else []
    said.append("95% confidence intervals over patients")
    said.append(
        f"two-sided type-I error {plan.alpha:g} over all hypotheses ({outcomes.procedure(plan.method)})"
        if plan is not None
        else "no adjustment for multiplicity"
    )
    if c.n_draws:
        said.append(f"90% intervals over {c.vectors}")
    return first_upper("; ".join(said))


def _conduct_words(conduct: Conduct) -> str:
    """Deviations from the plan that the trial simulates, in words."""
    said = [
        f"{words} {100 * hazard:.1f}% per year"
        for words, hazard in (("dropout", conduct.dropout_per_year), ("stopping of treatment", conduct.stop.per_year))
        if hazard
    ]
    if conduct.missed:
        said.append(f"{100 * conduct.missed:.1f}% of doses missed")
    if conduct.late is not None:
        said.append(f"{100 * conduct.late.share:.0f}% of doses late")
    recorded = [words for words, on in (("fractures", conduct.fractures), ("deaths", conduct.deaths)) if on]
    if recorded:
        said.append(f"records {listed(recorded)}")
    return first_upper("; ".join(said)) if said else "No dropout, every dose as planned"


def design(c: Context) -> list[Exhibit]:
    """Scheme of the trial and table of regimens.

    Parameters
    ----------
    c : Context
    """
    rows = []
    for arm in c.arms:
        own = {"arm": arm.name, "label": arm.label, "randomised": c.counts[arm.name], "basis": arm.basis}
        for course in arm.courses:
            rows.append(
                own
                | {
                    "regimen": course.words,
                    "agent": course.agent,
                    "dose_mg": np.nan if course.kind == "none" or course.dose.per_kg else course.dose.mg,
                    "dose_mg_per_kg": course.dose.mg if course.dose.per_kg else np.nan,
                    "cap_mg": course.dose.cap_mg if np.isfinite(course.dose.cap_mg) else np.nan,
                    "start_month": course.start,
                    "last_dose_month": course.last,
                    "end_month": course.end,
                    "doses": len(course.months),
                }
            )
        if not arm.courses:
            rows.append(own | {"regimen": "nothing", "doses": 0})
    columns = ["agent", "dose_mg", "dose_mg_per_kg", "cap_mg", "start_month", "last_dose_month", "end_month", "doses"]
    frame = pd.DataFrame(rows, columns=["arm", "label", "randomised", "basis", "regimen", *columns])
    visits = [("BMD", month) for month in c.trial.visits.BMD]
    visits += [("Blood markers", month) for month in c.trial.visits.markers]
    visits += [("Serum drug", month) for month in c.trial.visits.drug]
    return [
        c.figure(
            "9.1",
            "Design: arms, doses (triangles), follow-up and visits",
            frame,
            figures.design,
            visits=pd.DataFrame(visits, columns=["what", "month"]),
            months=c.trial.months,
            who="",
            note="Triangles: doses. Bars: months covered by dosing; white bars: placebo."
            + " Where patients have doses of their own, those of the typical patient." * any(a.own for a in c.arms),
            headline=f"{counted(len(c.arms), 'arm')}, {c.trial.months:g} months of follow-up; treatment ends at month "
            f"{month_text(c.main_end)}.",
            alt=" ".join(f"{arm.label}: {arm.words}." for arm in c.arms),
        ),
        c.listing(
            "9.1",
            "Regimens by arm, and what each arm's result rests on",
            frame,
            lambda row: {
                "Arm": row["label"],
                "N": str(row["randomised"]),
                "Regimen": row["regimen"],
                "Doses, months": month_span(row["start_month"], row["last_dose_month"]),
                "Covered until month": month_span(row["end_month"], row["end_month"]),
                "Result is": tag(row["basis"]),
            },
            numeric=("N", "Covered until month"),
            who=c.population,
            note=" ".join(f"{first_upper(b)}: {BASIS_MEANING[b]}." for b in dict.fromkeys(frame["basis"])),
        ),
    ]


@report_section("9.7", "Statistical methods", "methods")
def _methods(c: Context, section: Section) -> None:
    """Meaning of the intervals of the report."""
    section.paragraphs += [
        "Two kinds of interval appear in this report and are never mixed. A 95% CI describes the sampling of patients "
        f"and shrinks with their number. A 90% interval over unknown parameters (section {NOT_KNOWN}) describes what "
        "no human data tell us about the model; it does not shrink with the number of patients, and for predicted arms "
        "it is the one to look at.",
        "Every table says beneath it by which method it was made. Patients are analysed in the arm to which they were "
        "randomised; a value that was not observed is missing unless the method says what stands for it.",
    ]


def _ratio(trial: Trial, names: Sequence[str]) -> str:
    return ":".join(f"{trial.population.ratio.get(name, 1):g}" for name in names)


def _range_words(name: str, low: float | None, high: float | None) -> str:
    label, unit, _ = BASELINE.get(name, (name.replace("_", " "), "", ""))
    if name == "T_lowest":
        label, unit = "Lower T-score of spine and hip", ""
    if name.startswith("T_") and unit:
        label, unit = f"{label.removesuffix(' BMD')} T-score", ""
    words, unit = label[:1].lower() + label[1:], f" {unit}" if unit else ""
    if name == "eGFR":
        words = name
    if low is None:
        return f"{words} at most {tables.sig(float(high or 0))}{unit}"
    if high is None:
        return f"{words} at least {tables.sig(low)}{unit}"
    return f"{words} {tables.sig(low)} to {tables.sig(high)}{unit}"
