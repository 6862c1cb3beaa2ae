"""Sections 2 and 9: synopsis and design."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ranklsim.cohorts.protocol.trial import Conduct, Trial
from ranklsim.cohorts.statistics import durability, summaries
from ranklsim.cohorts.statistics.claims import SUPERIORITY
from ranklsim.cohorts.words import MEASURES, first_upper, listed
from ranklsim.reports.csr import happenings, monitoring, outcomes, safety
from ranklsim.reports.csr.contents import report_section
from ranklsim.reports.csr.context import BASELINE, NOT_KNOWN, Context, month_span
from ranklsim.reports.figures import trial as figures
from ranklsim.reports.layout import tables, wording
from ranklsim.reports.layout.arms import BASIS_MEANING, PREDICTED, ArmView
from ranklsim.reports.layout.cells import Bullets, Cell, Column, Group, Row, Span, Table, Text, plain, tag
from ranklsim.reports.layout.exhibit import Exhibit, Section


@report_section("2", "Synopsis", "synopsis")
def _synopsis(c: Context, section: Section) -> None:
    """The key result in words and as a figure with both kinds of interval, and a table of the trial."""
    _result(c, section)
    section.exhibits.append(_synopsis_table(c))


def _result(c: Context, section: Section) -> None:
    """Key sentences and the figure of the primary endpoint."""
    found = c.analyses.endpoints
    led = (found["kind"] != "change") | (found["claim"] != SUPERIORITY)
    section.key += outcomes.sentences(c, found[(found["role"] == "primary") & led])
    if c.trial.interim is not None and c.trial.endpoint(c.trial.interim.endpoint).role == "primary":
        section.key += monitoring.verdicts(c)
    if c.primary is None or c.endpoints.empty:
        if not section.key:
            section.key.append("The trial names no endpoint that was measured.")
        return
    rows = c.endpoints[c.endpoints["endpoint"] == c.primary.name].set_index("arm", drop=False)
    control = c.by_name.get(c.reference(c.primary) or "")
    known = [arm for arm in c.arms if arm.basis != PREDICTED and arm.name in rows.index]
    if known:
        known.sort(key=lambda a: a is control)
        said = [_endpoint_sentence(rows.loc[a.name].to_dict(), a, control, lead=k == 0) for k, a in enumerate(known)]
        section.key.append("; ".join(said) + ".")
    for arm in c.arms:
        if arm.basis != PREDICTED or arm.name not in rows.index:
            continue
        row = rows.loc[arm.name].to_dict()
        head = (Span(arm.label, "strong"), " ", tag("hypothetical, predicted", "predicted"), " ")
        said = [_predicted_sentence(row, control)]
        if np.isfinite(row["parameter_low"]):
            said.insert(0, _unknowns_sentence(row, control, c.vectors, _across_structures(c, arm)))
            said.append(_depends_sentence(c.strongest(arm.name)))
            said.append(_against_known(c, arm))
        elif c.n_draws:
            said.append(
                f"The parameter draws hold no figure of this kind; section {NOT_KNOWN} has those that they hold."
            )
        else:
            said.append("Unknown parameters were not drawn in this run, so the figure stands for default values only.")
        section.key.append((*head, " ".join(part for part in said if part)))
    after = _after_words(c)
    if after:
        section.key.append(after)
    unit = "percentage points" if rows["unit"].iloc[0] == "%" else rows["unit"].iloc[0]
    label = f"{first_upper(MEASURES[c.primary.measure])} ({unit})"
    frame = rows
    if control is not None:
        others = [a.name for a in c.arms if a is not control and a.name in rows.index]
        columns = ["estimate", "ci_low", "ci_high"]
        frame = rows.loc[others].rename(columns={column: f"arm_{column}" for column in columns})
        against = ["difference", "difference_low", "difference_high"]
        frame = frame.rename(columns=dict(zip(against, columns, strict=True)))
        label = f"Difference to {control.label} ({unit})"
    frame = frame.reset_index(drop=True)
    if frame["estimate"].notna().any():
        section.exhibits.append(
            c.figure(
                "2.1",
                f"{first_upper(c.primary.role)} endpoint: {c.primary.name}",
                frame,
                figures.two_intervals,
                xlabel=label,
                note="The two intervals answer different questions. Solid: if the model were true, where would repeats "
                "of this trial with other patients fall. Hatched: where does the typical patient fall when the "
                "parameters are drawn from what the data leave open. The typical patient is not the mean of "
                "the patients, so the two need not share a centre.",
            )
        )


def _synopsis_table(c: Context) -> Exhibit:
    """The table of the synopsis, with the items of ICH E3."""
    rows = _synopsis_rows(c)
    frame = pd.DataFrame([(head, plain(text)) for head, text in rows], columns=["item", "text"])
    body = Group(tuple(Row((Cell(head), Cell(text))) for head, text in rows))
    table = Table((Column(""), Column("")), (body,), "synopsis")
    return Exhibit("Table", "2.1", "Synopsis of the trial", frame, table, c.source(""))


def _against_known(c: Context, arm: ArmView) -> str:
    """Share of draws in which a hypothetical arm gains at least half of what the best calibrated arm gains."""
    if c.control is None or not c.primary.measure.startswith("BMD") or c.primary.from_month > 0:
        return ""
    wide = c.by_draw(c.primary).pivot(index="draw", columns="arm", values="difference").drop(index=0)
    known = [a for a in c.arms if a.basis != PREDICTED and a.treated and a.name != c.control]
    if not known or arm.name == c.control:
        return ""
    best = max(known, key=lambda a: float(wide[a.name].median()))
    if wide[best.name].median() <= 0:
        return ""
    half = wide[arm.name] >= 0.5 * wide[best.name]
    draws = "all draws" if half.all() else "no draw" if not half.any() else f"{int(100 * half.mean())}% of the draws"
    return f"In {draws} it gains at least half of what {best.label} gains over {c.by_name[c.control].label}."


def _across_structures(c: Context, arm: ArmView) -> str:
    """Whether a hypothetical arm's primary result holds under the structures that the figures cannot rule out."""
    frame = c.by_structure
    own = frame[(frame["arm"] == arm.name) & (frame["result"] == frame["result"].iloc[0])].set_index("variant")["value"]
    own = own[np.isfinite(own)]
    other = own.drop(index="", errors="ignore")
    if other.empty or "" not in own:
        return ""
    default = own[""]
    holding = int(((np.sign(other) == np.sign(default)) & (other.abs() >= 0.5 * abs(default))).sum())
    held = "all" if holding == len(other) else f"{holding}"
    return (
        f"{wording.to_interval(float(other.min()), float(other.max()), 1)} under {len(other)} other structures of the "
        f"model that fit the published figures, {held} with the same sign and at least half of the size"
    )


def _after_words(c: Context) -> str:
    medians = c.marker_medians("CTX")
    if not c.ends or medians is None:
        return ""
    return wording.peak_headline(durability.peak_after(medians, c.ends), c.arms, "CTX", c.end_words)


def _synopsis_rows(c: Context) -> list[tuple[str, Text]]:
    """Items of the synopsis and their text."""
    t = c.trial
    regimens = [(Span(arm.label, "strong"), f" (N={c.counts[arm.name]}): {arm.words}") for arm in c.arms]
    eligible = "; ".join(_range_words(name, low, high) for name, (low, high) in t.population.eligible.items())
    layers = [
        f"between-patient variability {'on' if t.layers.patients else 'off (every patient is the typical patient)'}",
        f"residual (assay, precision) error {'on' if t.layers.residual else 'off'}",
        f"parameter uncertainty {f'on ({c.n_draws} draws)' if c.n_draws else 'off'}",
    ]
    rows: list[tuple[str, Text]] = [("Objective", " ".join(t.description.split()))] if t.description else []
    rows += [
        (
            "Methodology",
            f"Simulated trial, {len(c.arms)} arms, allocation {_ratio(t, c.names)}, {t.months:g} months; each patient "
            "follows from a model of RANKL, bone cells and bone",
        ),
        ("Number of patients", _patient_words(c)),
        ("Population", f"{t.population.name}" + (f"; eligible: {eligible}" if eligible else "")),
        ("Treatments", Bullets(tuple(regimens))),
        ("Conduct", _conduct_words(t.conduct)),
        ("Variation", "; ".join(layers)),
        ("Endpoints", Bullets(tuple(f"{e.name} ({e.role}; {e.analysis})" for e in t.endpoints))),
        ("Statistical methods", _method_words(c)),
        ("Safety results", Bullets(tuple(said)) if (said := _safety_words(c)) else "The trial records no such event"),
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
        said.append(f"90% intervals over {c.n_draws} {c.vectors}")
    return first_upper("; ".join(said))


def _safety_words(c: Context) -> list[str]:
    """Patients with each recorded event by arm."""
    said = []
    frame = safety.events_by_arm(c)
    for event, own in frame[frame["detail"] == ""].groupby("event", sort=False) if len(frame) else ():
        rows = own.set_index("arm")
        counts = [
            f"{arm.label} {tables.share(int(rows.loc[arm.name, 'patients']), int(rows.loc[arm.name, 'randomised']))}"
            for arm in c.arms
        ]
        said.append(f"{happenings.SAFETY[str(event)]}: {', '.join(counts)}")
    return said


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


@report_section("9", "Trial design", "design")
def _design(c: Context, section: Section) -> None:
    """Scheme of the trial and table of regimens."""
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
    section.exhibits += [
        c.figure(
            "9.1",
            "Design: arms, doses (triangles), follow-up and visits",
            frame,
            figures.design,
            visits=pd.DataFrame(visits, columns=["what", "month"]),
            months=c.trial.months,
            who="",
            note="Triangles: doses. Bars: months covered by dosing; white bars: placebo.",
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


def _difference(row: Mapping[str, Any], control: ArmView) -> str:
    unit = "percentage points" if row["unit"] == "%" else row["unit"]
    digits = 1 if row["unit"] == "%" else 3
    text = f"{tables.num(row['difference'], digits, sign=True)} {unit} against {control.label}"
    if np.isfinite(row["difference_low"]):
        text += f" (95% CI {wording.to_interval(row['difference_low'], row['difference_high'], digits)})"
    return text


def _endpoint_sentence(row: Mapping[str, Any], arm: ArmView, control: ArmView | None, *, lead: bool) -> str:
    """One arm's result on an endpoint and its difference to control; `lead` names endpoint and months."""
    digits = 1 if row["unit"] == "%" else 3
    did = wording.moved(row["estimate"], row["unit"], digits)
    text = f"under {arm.label} it {did}"
    if lead:
        what = MEASURES.get(row["measure"], row["measure"])
        text = f"{first_upper(wording.span_words(row))} {what} {did} under {arm.label}"
    if control is not None and arm is not control:
        return f"{text}, {_difference(row, control)}"
    if np.isfinite(row["ci_low"]):
        text += f" (95% CI {wording.to_interval(row['ci_low'], row['ci_high'], digits)})"
    return text


def _predicted_sentence(row: Mapping[str, Any], control: ArmView | None) -> str:
    """A hypothetical arm's result at default parameter values."""
    digits = 1 if row["unit"] == "%" else 3
    text = f"{MEASURES.get(row['measure'], row['measure'])} {wording.moved(row['estimate'], row['unit'], digits)}"
    if control is not None and np.isfinite(row["difference"]):
        text += f", {_difference(row, control)}"
        if row["difference_low"] <= 0 <= row["difference_high"]:
            text += ", an interval that includes no difference"
    return f"If the default values of all parameters are true, {text}."


def _unknowns_sentence(row: Mapping[str, Any], control: ArmView | None, vectors: str, structures: str) -> str:
    """The range of one arm's headline result over unknown parameters, and over structures too if given.

    `vectors` says what was drawn; `structures` what other structures of the model say, a clause or nothing.
    """
    what = MEASURES.get(row["measure"], row["measure"])
    differs = f"differs from that under {control.label} by" if control is not None else "is"
    unit = " percentage points" if control is not None else "%"
    low, high = ("unknown_low", "unknown_high") if structures else ("parameter_low", "parameter_high")
    drawn = f"90% of {int(row['parameter_draws'])} {vectors}, median {tables.num(row['parameter_median'], 1)}"
    inside = wording.to_interval(row["parameter_low"], row["parameter_high"], 1)
    whole = wording.to_interval(row[low], row[high], 1)
    return (
        f"Over all that is not known, the typical patient's change in {what} {differs} {whole}{unit} "
        f"({drawn if inside == whole else f'{inside} in {drawn}'}{f'; {structures}' if structures else ''})."
    )


def _depends_sentence(strongest: pd.DataFrame) -> str:
    """The unknown parameters with the largest effect on a headline result."""
    if strongest.empty:
        return "No single parameter stands out from chance."
    said = [
        f"the {row.meaning} ({row.symbol}, rank correlation {tables.num(row.rho, 2)})" for row in strongest.itertuples()
    ]
    return f"It depends most on {', then on '.join(said[:2])}."
