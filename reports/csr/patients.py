"""Sections 10 and 11.1 to 11.3: patients, deviations from the protocol, baseline, doses given."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from ranklsim.cohorts.statistics import summaries
from ranklsim.cohorts.words import first_lower, first_upper, listed
from ranklsim.pkpd.errors import counted
from ranklsim.reports.analyses import baseline
from ranklsim.reports.csr import happenings, robustness
from ranklsim.reports.csr.contents import report_section
from ranklsim.reports.csr.context import BASELINE, Context, month_span
from ranklsim.reports.figures import trial as figures
from ranklsim.reports.layout import tables, wording
from ranklsim.reports.layout.exhibit import Exhibit, Section

FLOW_ARMS = 5
"""More arms than this do not fit beside each other in the flow of patients."""


@report_section("10.1", "Disposition of patients", "disposition")
def _disposition(c: Context, section: Section) -> None:
    """How the patients' time in the trial ended."""
    frame = summaries.disposition(c.data.patients, c.data.events, c.names)
    total = frame.set_index("arm").loc["Total"]
    n = int(total["randomised"])
    ends = [(int(total["completed"]), "completed the trial"), (int(total["dropout"]), "dropped out")]
    if "death" in total:
        ends.append((int(total["death"]), "died"))
    said = f"Of {counted(n, 'patient')} randomised, {listed([f'{tables.share(k, n)} {did}' for k, did in ends])}."
    drawn = len(c.arms) <= FLOW_ARMS
    if drawn:
        section.exhibits.append(c.figure("14.1.1", "Flow of patients (CONSORT)", frame, figures.flow, headline=said))
    section.exhibits.append(
        c.table(
            "14.1.1",
            "Disposition",
            frame,
            shows=_ends(frame),
            total=True,
            note="Patients, n (%).",
            headline="" if drawn else said,
        )
    )


def _ends(frame: pd.DataFrame) -> dict[str, tables.Show]:
    """Lines of the table of disposition, one for each column of the frame."""
    words = {
        "completed": "Completed the trial",
        "dropout": "Dropped out",
        "dropout_month_median": "Month of dropping out, median",
        "death": "Died",
        "stopped": "Stopped treatment, stayed in the trial",
        "rescue": "Rescued with another drug",
        "switch": "Switched to another drug",
    }
    lines = {"Randomised": tables.count("randomised")}
    for column, text in words.items():
        if column in frame:
            months = column == "dropout_month_median"
            lines[text] = tables.number(column, 1) if months else tables.shares(column, "randomised")
    return lines | ({"Neither recorded": tables.count("other")} if (frame["other"] != 0).any() else {})


@report_section("10.2", "Protocol deviations", "deviations")
def _deviations(c: Context, section: Section) -> None:
    """Doses and visits that were not as planned."""
    data = c.data
    major = robustness.deviating(c)
    who = () if major is None else major.loc[major["any"], "patient"]
    frame = happenings.deviations(data.doses, data.seen("attended"), data.patients, c.names, who)
    total = frame.set_index("arm").loc["Total"]
    if major is not None:
        section.exhibits.append(robustness.major_deviations(c, major))
    if not total["any"]:
        section.paragraphs.append(
            "No dose was missed or late, and no visit was missed, before a patient left or stopped. The table "
            "[conduct] of the trial file sets such deviations."
        )
        return
    shows = {
        "Patients with any deviation": tables.shares("any", "patients"),
        "Patients with a missed dose": tables.shares("missed_dose_patients", "patients"),
        "Doses missed": tables.count("missed_dose"),
        "Patients with a late dose": tables.shares("late_dose_patients", "patients"),
        "Doses given late": tables.count("late_dose"),
        "Doses put off beyond the end": tables.count("lost_dose"),
        "Delay, median (longest), months": tables.Show(
            ("delay_median", "delay_max"),
            lambda median, most: (
                f"{tables.num(median, 1)} ({tables.num(most, 1)})" if np.isfinite(most) else tables.DASH
            ),
        ),
        "Patients with a missed visit": tables.shares("missed_visit_patients", "patients"),
        "Visits missed": tables.count("missed_visit"),
    }
    section.exhibits.insert(
        0,
        c.table(
            "14.1.4",
            "Protocol deviations",
            frame,
            shows=shows,
            total=True,
            headline=f"{tables.share(int(total['any']), c.n)} patients had at least one deviation.",
            note="Patients, n (%). Doses and visits that were due while the patient was in the trial and on treatment.",
        ),
    )


@report_section("10.3", "Intercurrent events", "intercurrent")
def _intercurrent(c: Context, section: Section) -> None:
    """Events after randomisation that change the meaning of later measurements."""
    frame = happenings.counted(c.data.events, c.data.patients, c.names, list(happenings.INTERCURRENT))
    frame = frame[frame.groupby(["event", "detail"])["patients"].transform("max") > 0].reset_index(drop=True)
    absent = [words.lower() for event, words in happenings.INTERCURRENT.items() if event not in set(frame["event"])]
    if absent:
        section.paragraphs.append(f"Not seen in this trial: {'; '.join(absent)}.")
    if frame.empty:
        return
    frame.insert(0, "words", happenings.event_words(frame, happenings.INTERCURRENT))
    shows = {
        "Patients, n (%)": tables.shares("patients", "randomised"),
        "Month of the first, median": tables.number("month_median", 1),
    }
    section.exhibits.append(
        c.table(
            "14.1.5",
            "Intercurrent events",
            frame,
            shows=shows,
            total=True,
            by="words",
            note="Events after randomisation that affect the interpretation of later measurements (ICH E9(R1)). A "
            "patient may have several.",
        )
    )


@report_section("11.1", "Data sets analysed", "analysed")
def _analysed(c: Context, section: Section) -> None:
    """The patients of each analysis set."""
    section.paragraphs.append(
        f"Full analysis set: all {counted(c.n, 'patient')} randomised ({c.sizes}), in the arm to which they were "
        "randomised. Each table says how many of them had the values that it needs (n)."
    )
    never = c.n - len(c.treated)
    section.paragraphs.append(
        f"Safety set: the {counted(len(c.treated), 'patient')} who received at least one dose (or whose arm has no "
        f"planned dose), in the arm of that dose; "
        f"{counted(never, 'patient') + ' received none' if never else 'it includes every patient'}. The "
        "tables of section 12 describe this set."
    )
    section.paragraphs += robustness.set_words(c)


@report_section("11.2", "Demographic and other baseline characteristics", "demographics")
def _demographics(c: Context, section: Section) -> None:
    """Baseline characteristics, with the targets of the population's file."""
    data = c.data
    first = data.seen("BMD_LS", "BMD_TH", months=[0.0]).set_index("patient")
    measured = {column: data.patients["patient"].map(first[column]) for column in ("BMD_LS", "BMD_TH")}
    section.exhibits = [
        c.table(
            "14.1.2",
            "Demographics and baseline characteristics",
            baseline.characteristics(data.patients.assign(**measured), c.names, BASELINE),
            tables.baseline_table,
            note=f"Virtual population: {c.trial.population.name}. T-scores: the patient's own; BMD as measured, with "
            "DXA error.",
        ),
        _targets(c),
        _correlations(c),
    ]


def _targets(c: Context) -> Exhibit:
    """Published baseline values, with those of the patients."""
    frame = baseline.targets(c.data.patients, c.data.population.published())
    words = {"mean": "mean", "sd": "SD", "median": "median", "cv": "CV", "share": "share"}

    def cells(row: dict[str, Any]) -> dict[str, object]:
        label, unit, _ = BASELINE.get(row["covariate"], (row["covariate"].replace("_", " "), row["unit"], ""))
        within = wording.within(row["range_low"], row["range_high"], unit)
        unit = "" if row["statistic"] in ("cv", "share") or unit == "1" else f" ({unit})"
        digits = 2 if row["statistic"] in ("cv", "share") or abs(row["value"]) < 10 else 1
        digits += row["statistic"] == "share" and 0 < row["value"] < 0.1
        by_chance = row["low"] <= row["value"] <= row["high"]
        return {
            "Characteristic": f"{first_upper(label)}{within}, {words[row['statistic']]}{unit}",
            "Target": tables.num(row["value"], digits),
            "This trial (95% CI)": tables.with_interval(row["achieved"], row["low"], row["high"], digits),
            "Tolerance": f"\u00b1{tables.num(row['tolerance'], digits + 1)}",
            "Within": "yes" if row["within"] else "no, by chance" if by_chance else "no",
            "Target is": row["status"],
            "Source": tables.doi_link(row["source"], row["doi"]),
        }

    eligible = bool(c.trial.population.eligible)
    missed = int((~frame["within"]).sum())
    return c.listing(
        "14.1.2.1",
        "Baseline: target of the population and this trial",
        frame,
        cells,
        numeric=("Target", "This trial (95% CI)", "Tolerance"),
        note=f"{c.data.population.method} Target: the value that the population's file sets for enrolled patients. "
        "Tolerance: a tenth of the SD for a mean, median or share (a standardised difference of 0.1, Austin 2009), and "
        f"a tenth of the value for an SD or CV. {missed} of {len(frame)} values are outside the tolerance, 'by chance' "
        "if the interval contains the target. "
        + ("The trial admits only some of the population, so its values may differ. " if eligible else "")
        + "Interval: sampling of this number of patients.",
    )


def _correlations(c: Context) -> Exhibit:
    """Correlations of the patients' covariates, with those of their population."""
    frame = baseline.correlations(c.data.patients, c.data.population.correlations())
    labels = {name: BASELINE[name][0] for name in {*frame["first"], *frame["second"]}}
    return c.listing(
        "14.1.2.2",
        "Baseline: correlations of the population and this trial",
        frame,
        lambda row: {
            "Pair": f"{first_upper(labels[row['first']])} with {first_lower(labels[row['second']])}",
            "Declared, before inclusion": tables.num(row["declared"], 2),
            "Population, among those included": tables.num(row["enrolled"], 2),
            "This trial (95% CI)": tables.with_interval(row["achieved"], row["low"], row["high"], 2),
        },
        numeric=("Declared, before inclusion", "Population, among those included", "This trial (95% CI)"),
        note="Declared: correlation of normal scores (Gaussian copula); a population from a table declares none. "
        "Inclusion criteria change correlations: if the lower of two T-scores decides, women with a high hip T-score "
        "are included because of a low spine T-score. Other columns: Spearman; interval by Fisher's z. The trial's "
        "eligibility criteria also change correlations.",
    )


@report_section("11.3", "Treatment compliance and exposure", "compliance")
def _compliance(c: Context, section: Section) -> None:
    """Planned and given doses."""
    frame = summaries.exposure(c.data.doses, c.data.patients, c.names)
    if frame.empty:
        section.paragraphs.append("The trial plans no dose.")
        return
    counts = (
        "Patients treated, n (%)",
        "Doses planned",
        "Doses given, n (%)",
        "Doses per patient, mean",
        "Amount per patient, mean (mg)",
    )
    section.exhibits.append(
        c.listing(
            "14.1.3",
            "Exposure: doses planned and given",
            frame,
            lambda row: {
                "Arm": c.by_name[row["arm"]].label,
                "Agent": c.data.agents[row["agent"]].label,
                counts[0]: tables.share(row["treated"], row["randomised"]),
                counts[1]: str(row["planned"]),
                counts[2]: tables.share(row["given"], row["planned"]),
                counts[3]: tables.num(row["per_patient"], 1),
                counts[4]: tables.num(row["total_mg"], 1),
                "Months": month_span(row["first_month"], row["last_month"]),
            },
            numeric=counts,
            who=c.population,
            note="Planned: by protocol for every patient randomised; a dose due after dropping out is not given. "
            "Means per treated patient.",
        )
    )
