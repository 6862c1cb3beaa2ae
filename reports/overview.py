"""Sections 2, 9 and 10: synopsis, design, patients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from ranklsim.reports import durability, figures, outcomes, summaries, tables, wording
from ranklsim.reports.arms import BASIS_MEANING, PREDICTED, ArmView, month_text
from ranklsim.reports.context import Context, Section
from ranklsim.reports.exhibit import Exhibit

BASELINE = {
    "age": ("Age", "yr", "mean"),
    "years_since_menopause": ("Years since menopause", "yr", "mean"),
    "weight": ("Weight", "kg", "mean"),
    "height": ("Height", "cm", "mean"),
    "BMI": ("Body mass index", "kg/m²", "mean"),
    "eGFR": ("eGFR", "mL/min/1.73 m²", "mean"),
    "vitamin_D": ("Serum 25-OH-D", "ng/mL", "median"),
    "T_LS": ("Lumbar spine BMD", "T-score", "mean"),
    "T_TH": ("Total hip BMD", "T-score", "mean"),
    "T_FN": ("Femoral neck BMD", "T-score", "mean"),
    "T_R13": ("1/3 radius BMD", "T-score", "mean"),
    "BMD_LS": ("Lumbar spine BMD, measured", "g/cm²", "mean"),
    "BMD_TH": ("Total hip BMD, measured", "g/cm²", "mean"),
    "prevalent_fracture": ("Prevalent vertebral fracture", "", "count"),
    "CTX": ("Serum CTX", "ng/mL", "median"),
    "P1NP": ("Serum P1NP", "ng/mL", "median"),
}


FLOW_ARMS = 5
"""More arms than this do not fit beside each other in the flow of patients."""


def synopsis(c: Context) -> Section:
    """Key result in words, and drawn with both kinds of interval."""
    section = Section("2", "Synopsis", "synopsis")
    found = c.analyses.endpoints
    section.key += outcomes.sentences(c, found[(found["role"] == "primary") & (found["kind"] != "change")])
    if c.primary is None or c.endpoints.empty:
        if not section.key:
            section.key.append("The trial names no endpoint that was measured.")
        return section
    rows = c.endpoints[c.endpoints["endpoint"] == c.primary.name].set_index("arm", drop=False)
    control = c.by_name.get(c.control or "")
    known = [arm for arm in c.arms if arm.basis != PREDICTED and arm.name in rows.index]
    if known:
        known.sort(key=lambda a: a is control)
        said = [
            wording.endpoint_sentence(rows.loc[a.name].to_dict(), a, control, lead=k == 0) for k, a in enumerate(known)
        ]
        section.key.append("; ".join(said) + ".")
    for arm in c.arms:
        if arm.basis != PREDICTED or arm.name not in rows.index:
            continue
        row = rows.loc[arm.name].to_dict()
        head = Markup("<strong>{}</strong> <span class='tag predicted'>hypothetical, predicted</span> ").format(
            arm.label
        )
        said = [wording.predicted_sentence(row, control)]
        if np.isfinite(row["parameter_low"]):
            said.append(wording.unknowns_sentence(row, c.vectors, c.strongest(arm.name)))
            said.append(_against_known(c, arm))
            said.append(_across_structures(c, arm))
        elif c.n_draws:
            said.append("The parameter draws hold no figure of this kind; section 11.7 has those that they hold.")
        else:
            said.append("Unknown parameters were not drawn in this run, so the figure stands for default values only.")
        section.key.append(head + " ".join(part for part in said if part))
    after = _after_words(c)
    if after:
        section.key.append(after)
    unit = "percentage points" if rows["unit"].iloc[0] == "%" else rows["unit"].iloc[0]
    label = f"{wording.first_upper(wording.MEASURES[c.primary.measure])} ({unit})"
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
                f"{wording.first_upper(c.primary.role)} endpoint: {c.primary.name}",
                frame,
                figures.two_intervals,
                xlabel=label,
                note="The two intervals answer different questions. Solid: if the model were true, where would repeats "
                "of this trial with other patients fall. Hatched: where does the typical patient fall when the "
                "parameters are drawn from what the data leave open. The typical patient is not the mean of "
                "the patients, so the two need not share a centre.",
            )
        )
    return section


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
    share = 100 * float((wide[arm.name] >= 0.5 * wide[best.name]).mean())
    return (
        f"In {share:.0f}% of the draws it gains at least half of what {best.label} gains over "
        f"{c.by_name[c.control].label}."
    )


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
    return (
        f"Under {len(other)} other structures of the model that fit the published figures it is "
        f"{wording.to_interval(float(other.min()), float(other.max()), 1)} percentage points; in {holding} of them it "
        "keeps its sign and at least half of its size."
    )


def _after_words(c: Context) -> str:
    medians = c.marker_medians("CTX")
    if not c.ends or medians is None:
        return ""
    return wording.peak_headline(durability.peak_after(medians, c.ends), c.arms, "CTX", c.end_words)


def synopsis_rows(c: Context) -> list[tuple[str, str | Markup]]:
    """The tabular part of a synopsis as ICH E3 has it."""
    t = c.trial
    regimens = [
        Markup("<li><strong>{}</strong> (N={}): {}</li>").format(arm.label, c.counts[arm.name], arm.words)
        for arm in c.arms
    ]
    eligible = "; ".join(_range_words(name, low, high) for name, (low, high) in t.population.eligible.items())
    layers = [
        f"between-patient variability {'on' if t.layers.patients else 'off (every patient is the typical patient)'}",
        f"residual (assay, precision) error {'on' if t.layers.residual else 'off'}",
        f"parameter uncertainty {f'on ({c.n_draws} draws)' if c.n_draws else 'off'}",
    ]
    rows: list[tuple[str, str | Markup]] = [("Question", t.description)] if getattr(t, "description", "") else []
    rows += [
        (
            "Design",
            f"{c.n} simulated patients, {len(c.arms)} arms, {t.months:g} months, allocation {_ratio(t, c.names)}",
        ),
        ("Population", f"{t.population.name}" + (f"; eligible: {eligible}" if eligible else "")),
        ("Treatments", Markup("<ul>{}</ul>").format(Markup("").join(regimens))),
        ("Variation", "; ".join(layers)),
        (
            "Dropout",
            f"constant hazard of {100 * t.conduct.dropout_per_year:.1f}% per year"
            if t.conduct.dropout_per_year
            else "none",
        ),
    ]
    endpoints = [Markup("<li>{} ({}; {})</li>").format(e.name, e.role, e.analysis) for e in t.endpoints]
    rows.append(("Endpoints", Markup("<ul>{}</ul>").format(Markup("").join(endpoints))))
    if getattr(t, "sources", None):
        items = Markup("").join(Markup("<li>{}</li>").format(s) for s in t.sources)
        rows.append(("Modelled on", Markup("<ul>{}</ul>").format(items)))
    return rows


def design(c: Context) -> Section:
    """Schema and regimens."""
    section = Section("9", "Trial design", "design")
    rows = []
    for arm in c.arms:
        own = {"arm": arm.name, "label": arm.label, "randomised": c.counts[arm.name], "basis": arm.basis}
        for course in arm.courses:
            rows.append(
                own
                | {
                    "regimen": course.words,
                    "agent": course.agent,
                    "dose_mg": np.nan if course.kind == "none" else course.dose,
                    "start_month": course.start,
                    "last_dose_month": course.last,
                    "end_month": course.end,
                    "doses": len(course.months),
                }
            )
        if not arm.courses:
            rows.append(own | {"regimen": "nothing", "doses": 0})
    columns = ["agent", "dose_mg", "start_month", "last_dose_month", "end_month", "doses"]
    frame = pd.DataFrame(rows, columns=["arm", "label", "randomised", "basis", "regimen", *columns])
    visits = [("BMD", month) for month in c.trial.visits.BMD]
    visits += [("Blood markers", month) for month in c.trial.visits.markers]
    section.exhibits += [
        c.figure(
            "9.1",
            "Design: arms, doses (triangles), follow-up and visits",
            frame,
            figures.design,
            visits=pd.DataFrame(visits, columns=["what", "month"]),
            months=c.trial.months,
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
                "Doses, months": _span(row["start_month"], row["last_dose_month"]),
                "Covered until month": _month(row["end_month"]),
                "Result is": tables.tag(row["basis"]),
            },
            numeric=("N", "Covered until month"),
            who=c.population,
            note=" ".join(f"{wording.first_upper(b)}: {BASIS_MEANING[b]}." for b in dict.fromkeys(frame["basis"])),
        ),
    ]
    return section


def patients(c: Context) -> Section:
    """Disposition, baseline, exposure."""
    section = Section("10", "Trial patients", "patients")
    data = c.data
    disposition = summaries.disposition(data.patients, data.events, c.names)
    total = disposition.set_index("arm").loc["Total"]
    n = int(total["randomised"])
    said = (
        f"Of {n} patients randomised, {tables.share(int(total['completed']), n)} completed the trial and "
        f"{tables.share(int(total['dropout']), n)} dropped out."
    )
    drawn = len(c.arms) <= FLOW_ARMS
    if drawn:
        section.exhibits.append(
            c.figure("14.1.1", "Flow of patients (CONSORT)", disposition, figures.flow, headline=said)
        )
    first = data.visits[data.visits["month"] == 0].set_index("patient")
    measured = {column: data.patients["patient"].map(first[column]) for column in ("BMD_LS", "BMD_TH")}
    exposure = summaries.exposure(data.doses, data.patients, c.names)
    section.exhibits += [
        c.table(
            "14.1.1",
            "Disposition",
            disposition,
            tables.disposition_table,
            note="Patients, n (%).",
            headline="" if drawn else said,
        ),
        c.table(
            "14.1.2",
            "Demographics and baseline characteristics",
            summaries.baseline(data.patients.assign(**measured), c.names, BASELINE),
            tables.baseline_table,
            note=f"Virtual population: {c.trial.population.name}. T-scores: the patient's own; BMD as measured, with "
            "DXA error.",
        ),
        _targets(c),
    ]
    if len(exposure):
        section.exhibits.append(
            c.listing(
                "14.1.3",
                "Exposure: doses planned and given",
                exposure,
                lambda row: {
                    "Arm": c.by_name[row["arm"]].label,
                    "Agent": data.agents[row["agent"]].label,
                    "Patients treated, n (%)": tables.share(row["treated"], row["randomised"]),
                    "Doses planned": str(row["planned"]),
                    "Doses given, n (%)": tables.share(row["given"], row["planned"]),
                    "Doses per patient, mean": tables.num(row["per_patient"], 1),
                    "Amount per patient, mean (mg)": tables.num(row["total_mg"], 1),
                    "Months": _span(row["first_month"], row["last_month"]),
                },
                numeric=(
                    "Patients treated, n (%)",
                    "Doses planned",
                    "Doses given, n (%)",
                    "Doses per patient, mean",
                    "Amount per patient, mean (mg)",
                ),
                who=c.population,
                note="Planned: by protocol for every patient randomised; a dose due after dropping out is not given. "
                "Means per treated patient.",
            )
        )
    return section


def _targets(c: Context) -> Exhibit:
    """Published baseline figures beside those of the patients."""
    frame = summaries.baseline_targets(c.data.patients, c.data.population.published())
    words = {"mean": "mean", "sd": "SD", "median": "median", "cv": "CV", "share": "share"}

    def cells(row: dict[str, Any]) -> dict[str, object]:
        label, unit, _ = BASELINE.get(row["covariate"], (row["covariate"].replace("_", " "), row["unit"], ""))
        unit = "" if row["statistic"] in ("cv", "share") or unit == "1" else f" ({unit})"
        digits = 2 if row["statistic"] in ("cv", "share") or abs(row["value"]) < 10 else 1
        return {
            "Characteristic": f"{wording.first_upper(label)}, {words[row['statistic']]}{unit}",
            "Target": tables.num(row["value"], digits),
            "This trial (95% CI)": tables.with_interval(row["achieved"], row["low"], row["high"], digits),
            "Target is": row["status"],
            "Source": tables.doi_link(row["source"], row["doi"]),
        }

    eligible = bool(c.trial.population.eligible)
    return c.listing(
        "14.1.2.1",
        "Baseline: target of the population and this trial",
        frame,
        cells,
        numeric=("Target", "This trial (95% CI)"),
        note="Target: what the population's file asks those enrolled to look like. "
        + ("The trial's own eligibility admits only some of them, so its figures may differ. " if eligible else "")
        + "Interval: chance by the number of patients.",
    )


def _month(month: float) -> str:
    return month_text(month) if np.isfinite(month) else tables.DASH


def _span(first: float, last: float) -> str:
    if not np.isfinite(first):
        return tables.DASH
    return _month(first) if _month(first) == _month(last) else f"{_month(first)} to {_month(last)}"


def _ratio(trial: Any, names: Sequence[str]) -> str:
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
