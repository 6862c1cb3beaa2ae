"""Section 11, first part: endpoints, BMD, markers, and the time after the last dose."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ranklsim.cohorts.durability import LEAST_GAIN
from ranklsim.cohorts.running.storage import Run
from ranklsim.cohorts.statistics import durability, summaries
from ranklsim.cohorts.statistics.mmrm.covariance import NAMES
from ranklsim.cohorts.statistics.repeated import ERROR_WORDS, Repeated
from ranklsim.cohorts.words import MEASURES, listed, month_text
from ranklsim.pkpd.errors import counted
from ranklsim.reports.csr.contents import report_section
from ranklsim.reports.csr.context import SITES, Context, nearest
from ranklsim.reports.figures import patients as figures_patients
from ranklsim.reports.figures import trial as figures
from ranklsim.reports.figures.drawing import first_figure
from ranklsim.reports.layout import tables, wording
from ranklsim.reports.layout.arms import ArmView, shifted
from ranklsim.reports.layout.exhibit import Exhibit, Section

if TYPE_CHECKING:
    from matplotlib.figure import Figure

AFTER_SITES = ("LS", "TH")
AFTER_MARKERS = ("CTX", "P1NP")
COURSES = 20  # patients of an arm whose courses are drawn
LOOK_BACK = -12.0  # months before the end of treatment at which figures of what follows begin
QUARTILES: dict[str, Any] = {
    "value": "median",
    "low": "q1",
    "high": "q3",
    "reference": 100.0,
    "floor": 0.0,
    "bars": "bars: Q1 to Q3 (spread of patients)",
}


@report_section("11.4.1", "Endpoints of the protocol", "endpoints")
def _endpoint_section(c: Context, section: Section) -> None:
    """Endpoints of the protocol."""
    if c.endpoints.empty:
        section.paragraphs.append("The trial names no endpoint that was measured.")
        return
    methods = set(c.endpoints["method"])
    notes = []
    if any(method.startswith("ANCOVA") for method in methods):
        notes.append(
            "LS mean: least-squares mean, ANCOVA with arm, baseline and strata (ordinary least squares; patients with "
            "both values)."
        )
    if any(method.startswith("MMRM") for method in methods):
        notes.append(
            "MMRM: mixed model for repeated measures, fitted to all visits up to that of the endpoint; the tables that "
            "follow have its terms and every visit."
        )
    if "difference of medians" in methods:
        notes.append(
            "Medians: order-statistic interval; differences of medians: percentile bootstrap over patients "
            f"({summaries.BOOTSTRAPS} resamples)."
        )
    if c.n_draws:
        what = "difference to control" if c.control else "change"
        notes.append(f"Unknown parameters: {what} of the typical patient over {counted(c.n_draws, 'draw')}.")
    missing = [e.name for e in c.trial.changes if e.name not in set(c.endpoints["endpoint"])]
    if missing:
        section.paragraphs.append(f"No patient had both values needed for: {listed(missing)}.")
    section.paragraphs += [f"{found.spec.name}: {found.note}" for found in c.repeated if found.note and found.patients]
    section.paragraphs += c.read_elsewhere(changes=True)
    section.exhibits.append(
        c.table(
            "14.2.1.1",
            "Endpoints by arm",
            c.endpoints,
            tables.endpoint_table,
            against={spec.name: c.reference(spec) for spec in c.trial.changes},
            note=" ".join(notes),
        )
    )
    section.exhibits += _waterfall(c)
    fitted = [found for found in c.repeated if found.fit is not None]
    section.exhibits += [_visit_table(c, found, f"14.2.1.{k}") for k, found in enumerate(fitted, start=2)]


def _waterfall(c: Context) -> list[Exhibit]:
    """The result of each patient on the primary endpoint."""
    spec = c.primary
    change = summaries.change_from(c.data.seen(spec.measure), spec.measure, spec.from_month, kind=spec.kind)
    own = change.loc[change["month"] == spec.to_month, ["patient", "arm", "value"]]
    if own.empty:
        return []
    frame = own.sort_values(["arm", "value", "patient"], ascending=[True, False, True], ignore_index=True)
    gained = {arm.label: 100 * (frame.loc[frame["arm"] == arm.name, "value"] > 0).mean() for arm in c.arms}
    parts = [f"{tables.num(share, 0)}% ({label})" for label, share in gained.items()]
    unit = "%" if spec.kind == "percent" else summaries.UNITS.get(spec.measure, "")
    return [
        c.figure(
            "14.2.1.1",
            f"{spec.name}: every patient",
            frame,
            figures_patients.waterfall,
            ylabel=f"Change ({unit})",
            headline=f"Patients whose value was above zero: {listed(parts)}.",
            note="Patients with both values, as observed: measurement error is part of each.",
        )
    ]


def _visit_table(c: Context, found: Repeated, number: str) -> Exhibit:
    """LS means of an MMRM at every visit, and their differences to control."""
    spec, fit = found.spec, found.fit
    assert fit is not None
    start = "baseline" if spec.from_month == 0 else f"month {month_text(spec.from_month)}"
    unit = "Percent change" if spec.kind == "percent" else f"Change ({summaries.UNITS.get(spec.measure, '')})"
    covariance = f"{NAMES[fit.structure]} covariance{ERROR_WORDS[spec.errors]}"
    note = (
        f"{unit} from {start}. LS mean: least-squares mean at the mean value at {start} and observed strata. Mixed "
        f"model for repeated measures with {found.terms()}; {covariance}; REML; Satterthwaite "
        f"degrees of freedom. Fitted to {counted(fit.n_observations, 'value')} of "
        f"{counted(found.patients, 'patient')} with at least one value after {start}; n: "
        f"patients with a value at the visit. Differences are not adjusted for multiplicity."
    )
    decimals = 2 if spec.kind == "percent" else 3
    shows = {
        "n": tables.count(),
        "LS mean (SE)": tables.spread("estimate", "std_error", decimals),
        "95% CI": tables.limits("ci_low", "ci_high", decimals),
    }
    reference = c.reference(spec)
    if reference is not None:
        shows |= tables.against(c.by_name[reference].label, reference, decimals)
        shows["p"] = tables.Show(("p",), tables.p_value, reference)
    return c.table(
        number,
        f"{spec.name}: LS means by visit",
        found.by_visit,
        shows=shows,
        by="month",
        note=" ".join([note, fit.message]).strip(),
    )


@dataclass(frozen=True)
class _Family:
    """Measures that are shown alike, as a figure and a table by visit.

    `names` has the measures in their order; in the texts, {} stands for a measure's name.
    """

    number: str
    names: Mapping[str, str]
    title: str
    ylabel: str
    reached: str
    note: str
    table_note: str
    values: Callable[[Context, str], pd.DataFrame | None]
    shows: Callable[[Sequence[ArmView], str | None], dict[str, tables.Show]]
    look: Mapping[str, Any]
    column: str = "mean"
    decimals: int = 1


def _mean_change(c: Context, measure: str) -> pd.DataFrame | None:
    change = summaries.change_from(c.data.seen(measure), measure)
    return None if change.empty else summaries.mean_by_visit(change, c.names, c.control)


BMD = _Family(
    number="14.2.2",
    names={f"BMD_{site}": MEASURES[f"BMD_{site}"] for site in SITES},
    title="Percent change in {} from baseline by visit",
    ylabel="Change in {} from baseline (%)",
    reached="At month {month} mean {} had changed from baseline by {values}.",
    note="Arithmetic means of observed values.",
    table_note="Percent. Observed values, patients with a baseline and a value at the visit; t interval of the mean; "
    "differences in percentage points with Welch's interval, not adjusted for multiplicity.",
    values=_mean_change,
    shows=tables.means,
    look={},
)
MARKERS = _Family(
    number="14.2.3",
    names={
        "CTX": "CTX (resorption)",
        "P1NP": "P1NP (formation)",
        "BSAP": "BSAP (formation)",
        "TRAP5B": "TRAP5b (osteoclast number)",
    },
    title="Serum {}, percent of baseline by visit",
    ylabel="Serum {} (% of baseline)",
    reached="At month {month} median {} was {values} of baseline.",
    note="Medians of observed values.",
    table_note="Percent of each patient's baseline; observed values, patients with both. Geometric mean ratio of that "
    "percentage to control, Welch's interval of the logarithms.",
    values=Context.marker_medians,
    shows=tables.medians,
    look=QUARTILES,
    column="median",
    decimals=0,
)


def _by_visit(c: Context, family: _Family) -> list[Exhibit]:
    """Figure and table of each measure of a family that was measured."""
    exhibits = []
    for k, (measure, title) in enumerate(family.names.items(), start=1):
        frame = family.values(c, measure)
        if frame is None:
            continue
        number, name = f"{family.number}.{k}", title.partition(" (")[0]
        month = nearest(frame["month"], c.main_end)
        reached = wording.values_at(frame, c.arms, month, family.column, family.decimals)
        limit = _limit_note(c, measure)
        exhibits += [
            c.figure(
                number,
                family.title.format(title),
                frame,
                figures.by_visit,
                ylabel=family.ylabel.format(name),
                headline=family.reached.format(name, month=month_text(month), values=reached),
                note=f"{family.note} {limit}".strip(),
                **family.look,
            ),
            c.table(
                number,
                family.title.format(title),
                frame[frame["month"] > 0].reset_index(drop=True),  # at baseline no change can differ from none
                shows=family.shows(c.arms, c.control),
                by="month",
                note=f"{family.table_note} {limit}".strip(),
            ),
        ]
    return exhibits


def figure(run: Run) -> Figure:
    """The first figure of the section on BMD: its mean change by visit and arm.

    Parameters
    ----------
    run : Run
    """

    def draw() -> None:
        picture = next((exhibit.picture for exhibit in _by_visit(Context(run), BMD) if exhibit.picture), None)
        if picture is not None:
            picture("svg")

    return first_figure(draw)


@report_section("11.4.4", "Bone mineral density", "bmd")
def _bmd(c: Context, section: Section) -> None:
    """BMD by site, visit and arm, and courses of single patients at the first site that was measured."""
    section.exhibits = _by_visit(c, BMD)
    for measure, what in BMD.names.items():
        change = summaries.change_from(c.data.seen(measure), measure)
        if not change.empty:
            section.exhibits.append(_courses(c, change, f"14.2.2.{len(SITES) + 1}", what))
            return


def _courses(c: Context, change: pd.DataFrame, number: str, what: str) -> Exhibit:
    """Courses of the patients with the lowest numbers of each arm, so that the choice does not depend on results."""
    first = change.drop_duplicates("patient").sort_values("patient").groupby("arm").head(COURSES)["patient"]
    return c.figure(
        number,
        f"Percent change in {what} from baseline, single patients",
        change.loc[change["patient"].isin(first), ["patient", "arm", "month", "value"]].reset_index(drop=True),
        figures_patients.spaghetti,
        ylabel="Change (%)",
        xlabel="Months since randomisation",
        note=f"The first {COURSES} patients of each arm by number; bold: their mean. As observed: precision error of "
        "DXA is part of every value.",
        alt="One line a patient.",
    )


@report_section("11.4.5", "Bone turnover markers", "markers")
def _markers(c: Context, section: Section) -> None:
    """Markers in percent of baseline."""
    section.paragraphs.append(
        "Percent of each patient's own baseline, median and quartiles; a value at a dosing visit is the one just "
        "before the dose, so visits at the end of a dosing interval show the smallest effect."
    )
    section.exhibits = _by_visit(c, MARKERS)


def _limit_note(c: Context, marker: str) -> str:
    """Number of values of a marker below its limit of quantitation, if the run records them."""
    flag = f"{marker}_BLQ"
    if flag not in c.data.columns("visits"):
        return ""
    visits = c.data.seen(marker, flag)
    measured = visits[marker].notna()
    below = int(visits.loc[measured, flag].sum())
    return (
        f"{tables.share(below, int(measured.sum()))} values lay below the limit of quantitation and count as the limit."
    )


@report_section("11.4.6", "After the last dose", "after")
def _after(c: Context, section: Section) -> None:
    """After the end of treatment (or after a switch common to all arms)."""
    if c.switch:
        section.title = f"After {c.end_words}"
    if not c.ends:
        section.paragraphs.append(
            "The trial ends with the treatment, so it gives no information on the time after the last dose."
        )
        return
    ends = listed([f"month {month_text(month)}" for month in sorted(set(c.ends.values()))])
    section.paragraphs.append(
        f"All arms had the same regimen up to {ends}, and different regimens after it."
        if c.switch
        else f"The end of treatment is the month at which the interval of the last dose is over ({ends})."
    )
    section.exhibits = [*_marker_exhibits(c), *_bmd_exhibits(c)]


def _marker_exhibits(c: Context) -> list[Exhibit]:
    """CTX and P1NP around the end of treatment, and their peaks."""
    arms = [arm for arm in c.arms if arm.name in c.ends]
    exhibits: list[Exhibit] = []
    peaks = []
    for marker in AFTER_MARKERS:
        medians = c.marker_medians(marker)
        if medians is None:
            continue
        found = c.lasts(marker, "peak").set_index("arm")
        peak = durability.peak_after(medians, c.ends)
        for ours, theirs in (("peak", "estimate"), ("peak_low", "low"), ("peak_high", "high")):
            peak[ours] = peak["arm"].map(found[theirs]).astype(float)
        peaks.append(peak.assign(marker=marker))
        exhibits.append(
            c.figure(
                f"14.2.4.{len(exhibits) + 1}",
                f"{marker} from {-LOOK_BACK:g} months before {c.end_words} on",
                _since(medians, c.ends),
                figures.by_visit,
                arms=[shifted(arm, arm.end) for arm in arms],
                ylabel=f"Serum {marker} (% of baseline)",
                xlabel=f"Months since {c.end_words}",
                headline=wording.peak_headline(peak, c.arms, marker, c.end_words),
                note="Medians of observed values, in percent of the baseline before treatment.",
                **QUARTILES,
            )
        )
    if peaks:
        exhibits.append(
            c.table(
                "14.2.4.1",
                f"Highest marker after {c.end_words}",
                pd.concat(peaks, ignore_index=True),
                arms=arms,
                by="marker",
                titles={marker: f"Serum {marker}" for marker in AFTER_MARKERS},
                shows={
                    "Highest median, % of baseline (95% CI)": tables.estimate("peak", "peak_low", "peak_high", 0),
                    "Quartiles of the patients at that visit, %": tables.limits("peak_q1", "peak_q3", 0),
                    "Month of that visit": tables.number("peak_month", 0),
                    f"Months after {c.end_words}": tables.number("months_after_end", 0),
                    "n": tables.count(),
                },
                note=f"The visit after {c.end_words} with the highest median; percentile bootstrap over patients, "
                f"as in Table 14.2.12.1. {c.on_highest}",
            )
        )
    return exhibits


def _bmd_exhibits(c: Context) -> list[Exhibit]:
    """BMD since the end of treatment, and the share of the gain that remains."""
    arms = [arm for arm in c.arms if arm.name in c.ends]
    exhibits: list[Exhibit] = []
    kept = []
    for site in AFTER_SITES:
        name = BMD.names[f"BMD_{site}"]
        change = summaries.change_from(c.data.seen(f"BMD_{site}"), f"BMD_{site}")
        if change.empty:
            continue
        kept.append(durability.retention(change, c.ends, seed=c.seed).assign(site=site))
        frame = _bmd_since(c, f"BMD_{site}")
        if frame.empty:
            continue
        month = nearest(frame["month"], 12.0)
        exhibits.append(
            c.figure(
                f"14.2.4.{len(AFTER_MARKERS) + len(exhibits) + 1}",
                f"Change in {name} since {c.end_words}",
                frame,
                figures.by_visit,
                arms=[shifted(arm, arm.end) for arm in arms],
                ylabel=f"Change in {name} since then (%)",
                xlabel=f"Months since {c.end_words}",
                note="Percent change since the value at that month.",
                headline=f"In the {month_text(month)} months after {c.end_words} mean {name} changed by "
                f"{wording.values_at(frame, c.arms, month)}.",
            )
        )
    if kept:
        exhibits.append(
            c.table(
                "14.2.4.2",
                f"Mean BMD gained by {c.end_words}, and lost after it",
                pd.concat(kept, ignore_index=True),
                arms=arms,
                by="site",
                titles=SITES,
                shows={
                    f"Change at {c.end_words}, %": tables.number("gain"),
                    "Change in the 12 months after it, percentage points": tables.number("change_12"),
                    "Change in the 24 months after it, percentage points": tables.number("change_24"),
                },
                note="In percent of baseline, of arithmetic means of the patients with a value at each visit, linear "
                "between visits. The figures above are in percent of the value when treatment ends, of patients with "
                "both values. Shares kept and months until baseline, with intervals: Table 14.2.12.1.",
                headline=_retention_headline(
                    kept[0],
                    [arm for arm in arms if not c.goes_on(arm)],
                    BMD.names[f"BMD_{kept[0]['site'].iloc[0]}"],
                    c.end_words,
                ),
            )
        )
    return exhibits


def _bmd_since(c: Context, measure: str) -> pd.DataFrame:
    """Mean change since the end of treatment of each arm, by months since that end."""
    parts = []
    visits = c.data.seen(measure)
    for end in sorted(set(c.ends.values())):
        names = [name for name, at in c.ends.items() if at == end]
        change = summaries.change_from(visits[visits["arm"].isin(names)], measure, end)
        change = change[change["month"] >= end]
        parts.append(change.assign(month=change["month"] - end))
    return summaries.mean_by_visit(
        pd.concat(parts, ignore_index=True), list(c.ends), c.control if c.control in c.ends else None
    )


def _since(frame: pd.DataFrame, ends: Mapping[str, float]) -> pd.DataFrame:
    """Rows of the arms in `ends`, months counted from each arm's end, from `LOOK_BACK` on."""
    own = frame[frame["arm"].isin(list(ends))]
    own = own.assign(month=own["month"] - own["arm"].map(dict(ends)))
    return own[own["month"] >= LOOK_BACK].sort_values("month", kind="stable").reset_index(drop=True)


def _retention_headline(frame: pd.DataFrame, arms: Sequence[ArmView], what: str, end: str, later: int = 12) -> str:
    """Share of the gain kept `later` months after `end`, arm by arm."""
    rows = frame.set_index("arm")
    parts, gone, none = [], [], []
    for arm in arms:
        if not arm.treated:
            continue
        kept = rows.loc[arm.name, f"kept_{later}"]
        if kept < 0:
            gone.append(arm.label)
        elif np.isfinite(kept):
            parts.append(f"{tables.num(kept, 0)}% ({arm.label})")
        elif not rows.loc[arm.name, "gain"] > LEAST_GAIN:
            none.append(arm.label)
    said = []
    if parts:
        said.append(f"Of the gain in {what}, the share left {later} months after {end} was {listed(parts)}.")
    if gone:
        said.append(
            f"Nothing was left {later} months after {end} under {listed(gone)}: mean {what} was below baseline."
        )
    if none:
        said.append(f"{listed(none)} had no gain to keep (mean change {tables.num(LEAST_GAIN, 0)}% or less).")
    return " ".join(said)
