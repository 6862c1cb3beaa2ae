"""Section 12: exposure in time, adverse and fracture events, deaths, calcium and PTH, occupancy outside bone."""

from __future__ import annotations

import pandas as pd

from ranklsim.cohorts.events import DEATH, FRACTURES, HYPOCALCAEMIA
from ranklsim.cohorts.statistics import summaries
from ranklsim.cohorts.words import first_upper, listed, month_text
from ranklsim.reports.csr import happenings
from ranklsim.reports.csr.contents import report_section
from ranklsim.reports.csr.context import Context
from ranklsim.reports.layout import tables
from ranklsim.reports.layout.exhibit import Section

SWITCHES = {DEATH: "deaths", HYPOCALCAEMIA: "hypocalcaemia"} | dict.fromkeys(FRACTURES, "fractures")
"""Key of ``[conduct]`` that makes a trial record an event."""

LYMPHOCYTES = "EXPOSURE_mRANKL_lymphocyte"

TISSUES = {
    LYMPHOCYTES: "mRANKL of lymphocytes",
    "EXPOSURE_mRANKL_marrow": "mRANKL of marrow adipogenic and stromal cells",
    "EXPOSURE_sRANKL": "sRANKL in serum",
}


def outside_bone(c: Context) -> pd.DataFrame:
    """Mean occupancy of RANKL outside bone during treatment, by arm: as from `happenings.exposure_to`.

    Parameters
    ----------
    c : Context
        The run.
    """
    visits = _of_treated(c, c.data.seen("actual_month", *(f"true_{name}" for name in TISSUES), attended=True))
    return happenings.exposure_to(visits, list(TISSUES), c.names, c.main_end)


@report_section("12", "Safety", "safety")
def _safety(c: Context, section: Section) -> None:
    """The harms that the trial records, and those that the model cannot represent."""
    recorded, silent = _recorded(c)
    if recorded:
        words = listed([happenings.SAFETY[event].lower() for event in recorded])
        section.paragraphs.append(f"This trial records: {words}.")
    if silent:
        words = listed([happenings.SAFETY[event].lower() for event in silent])
        section.paragraphs.append(
            f"It does not record: {words}. The trial file can ask for {'them' if len(silent) > 1 else 'it'} "
            "([conduct])."
        )
    section.paragraphs.append(
        "The model has no rate of infections, osteonecrosis of the jaw, atypical fractures or any other adverse event. "
        "Their absence from this section is no evidence about an agent."
    )


def _recorded(c: Context) -> tuple[list[str], list[str]]:
    """Events of section 12 that the trial records, with or without a case, and those that it does not record."""
    seen = set(c.data.events["event"])
    known = [
        event for event in happenings.SAFETY if event in seen or bool(getattr(c.trial.conduct, SWITCHES[event], False))
    ]
    return known, [event for event in happenings.SAFETY if event not in known]


@report_section("12.1", "Extent of exposure", "extent")
def _extent(c: Context, section: Section) -> None:
    """Follow-up time by arm."""
    shows = {
        "Patients": tables.count("patients"),
        "Months followed, mean": tables.number("months_mean", 1),
        "Patient-years followed": tables.number("patient_years", 1),
    }
    section.paragraphs.append("Table 14.1.3 shows the doses.")
    section.exhibits.append(
        c.table(
            "14.3.1",
            "Time followed",
            happenings.followed(c.treated, c.names),
            shows=shows,
            total=True,
            who=c.safety,
            note="From randomisation to the end of the trial, to leaving it, or to death.",
        )
    )


@report_section("12.2", "Adverse events, fractures and deaths", "adverse")
def _adverse(c: Context, section: Section) -> None:
    """Hypocalcaemia and fractures by arm; deaths."""
    recorded, _ = _recorded(c)
    if not recorded:
        section.paragraphs.append("No such event is recorded in this trial.")
        return
    frame = events_by_arm(c)
    frame.insert(0, "words", happenings.event_words(frame, happenings.SAFETY))
    shows = {
        "Patients, n (%)": tables.shares("patients", "randomised"),
        "Events": tables.Show(
            ("events", "count"), lambda n, many: f"{n}" + (f" ({many} vertebrae)" if many != n else "")
        ),
        "Events per 100 patient-years (95% CI)": tables.estimate("rate", "rate_low", "rate_high"),
    }
    section.exhibits.append(
        c.table(
            "14.3.2",
            first_upper(listed(list(dict.fromkeys(SWITCHES[event] for event in recorded)))),
            frame,
            shows=shows,
            total=True,
            who=c.safety,
            by="words",
            headline=_most(frame),
            note="Events recorded while the patient was followed. Rate: exact Poisson interval, which assumes that all "
            "events are independent, also those of one patient. Morphometric vertebral fractures are found at visits "
            "with imaging. Section 11 contains analyses of the time to the first event.",
        )
    )


def events_by_arm(c: Context) -> pd.DataFrame:
    """Events of safety that the trial records, of the safety set: as from `happenings.counted`.

    Parameters
    ----------
    c : Context
        The run.
    """
    events = c.data.events[c.data.events["patient"].isin(c.treated["patient"])]
    return happenings.counted(events, c.treated, c.names, _recorded(c)[0])


def _most(frame: pd.DataFrame) -> str:
    """Patients with each event, all arms together, in one sentence."""
    every = frame[(frame["arm"] == happenings.TOTAL) & (frame["detail"] == "")].set_index("event")["patients"]
    said = [f"{happenings.SAFETY[str(event)].lower()} {n}" for event, n in every.items()]
    return f"Patients with at least one, all arms together: {', '.join(said)}."


@report_section("12.4", "Clinical laboratory evaluation: calcium and PTH", "laboratory")
def _laboratory(c: Context, section: Section) -> None:
    """Calcium and PTH as measured."""
    section.paragraphs.append(
        "Serum calcium and PTH of the model at the visits. The lowest calcium after a dose may occur between two "
        "visits."
    )
    calcium = summaries.mean_by_visit(_measured(c, "CA"), c.names, c.control)
    low = calcium.loc[calcium["mean"].idxmin()]
    section.exhibits += [
        c.table(
            "14.3.4.1",
            "Serum calcium by visit (mmol/L)",
            calcium,
            shows=tables.means(c.arms, c.control, 3),
            by="month",
            note="Observed values; t interval of the mean; Welch's interval of the difference.",
            headline=f"The lowest mean serum calcium was {tables.num(low['mean'], 2)} mmol/L, at month "
            f"{month_text(low['month'])} under {c.by_name[low['arm']].label}.",
            who=c.safety,
        ),
        c.table(
            "14.3.4.2",
            "Plasma PTH by visit (pmol/L)",
            summaries.median_by_visit(_measured(c, "PTH"), c.names, c.control),
            shows=tables.medians(c.arms, c.control, 2),
            by="month",
            note="Observed values.",
            who=c.safety,
        ),
    ]


def _measured(c: Context, measure: str) -> pd.DataFrame:
    """The observed values of a measure, in the form of a change."""
    return _of_treated(c, c.data.seen(measure).dropna(subset=[measure])).rename(columns={measure: "value"})


def _of_treated(c: Context, visits: pd.DataFrame) -> pd.DataFrame:
    return visits[visits["patient"].isin(c.treated["patient"])]


@report_section("12.5", "Other observations: occupancy of RANKL outside bone", "tissue")
def _tissue(c: Context, section: Section) -> None:
    """Occupancy of RANKL outside bone, as an exposure."""
    section.paragraphs.append(
        "Share of the RANKL on lymphocytes and marrow cells, and of sRANKL, that is bound by drug during treatment. It "
        "is an exposure of these tissues, not a rate of adverse events, for which the model has no data. The model has "
        "no separate pool for mammary tissue, so its exposure cannot be distinguished from that of other cells."
    )
    frame = outside_bone(c)
    frame.insert(0, "words", frame["output"].map(TISSUES))
    shows = {
        "n": tables.count(),
        "Mean occupancy, %: median (Q1, Q3) of patients": tables.estimate("median", "q1", "q3", 1),
    }
    section.exhibits.append(
        c.table(
            "14.3.5",
            f"RANKL with drug bound, mean from baseline to month {month_text(c.main_end)}",
            frame,
            shows=shows,
            who=c.safety,
            by="words",
            note="Each patient's mean over time, from an integral that the model carries along, so that it holds what "
            "happens between visits. Without assay error. By visit: section 11.4.8.",
        )
    )
