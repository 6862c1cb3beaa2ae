"""Section 11.4.2.3: the primary endpoint at interim looks, and the final analysis after them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from ranklsim.cohorts.conduct import enrolment
from ranklsim.cohorts.endpoints import Endpoint
from ranklsim.cohorts.protocol.endpoints import Interim
from ranklsim.cohorts.words import first_lower, first_upper, listed, month_text
from ranklsim.pkpd.errors import counted
from ranklsim.reports.analyses.monitoring import CROSSED, FUTILE, HARM, NOT_CROSSED, UNTESTED
from ranklsim.reports.csr.contents import report_section
from ranklsim.reports.csr.context import INTERIM, Context
from ranklsim.reports.csr.outcomes import effect_text, p_words
from ranklsim.reports.figures import analyses as figures_analyses
from ranklsim.reports.layout.exhibit import Exhibit, Section
from ranklsim.reports.layout.tables import DASH, num, p_value


@report_section(INTERIM, "Interim analyses and data monitoring", "interim")
def _interim_analyses(c: Context, section: Section) -> None:
    """Result and decision of each look."""
    if not c.trial.conduct.looks:
        section.paragraphs.append("The trial plans no interim look.")
        return
    plan: Interim | None = c.trial.interim
    if plan is None:
        section.paragraphs.append(
            "The trial plans looks, but its file does not say how they are tested, so that none is: a table [interim] "
            "would."
        )
        frame = enrolment.looks(c.trial, c.data.patients, c.data.events)
        section.exhibits.append(_known(c, frame.rename(columns={"text": "due"}).assign(arm="", n=np.nan)))
        return
    frame = c.analyses.looks
    section.paragraphs += [_design_words(c, plan), *verdicts(c), *_untested(c, frame)]
    section.paragraphs.append(
        "A simulated trial goes on to its end whatever a look says, so that every look and the last analysis are shown."
    )
    if frame["boundary_z"].notna().any():
        section.exhibits.append(_figure(c, frame, plan))
    section.exhibits += [_known(c, frame), _tests(c, frame, plan)]


def verdicts(c: Context) -> list[str]:
    """The outcome of the looks for each arm, in one or two sentences.

    Parameters
    ----------
    c : Context
        The report.
    """
    frame, out = c.analyses.looks, []
    for row in c.analyses.stops.to_dict("records"):
        own = frame[frame["arm"] == row["arm"]]
        last = own.iloc[-1]
        assert c.trial.interim is not None
        spec = c.trial.endpoint(c.trial.interim.endpoint)
        head = f"{spec.name}, {c.compared(spec, row['arm'])}"
        if row["decision"] == UNTESTED:
            out.append(f"{head}: no analysis could be made, at the looks or at the end.")
            continue
        early = row["look"] != last["look"]
        if not early:
            out.append(f"{head}: {_at_the_end(row, spec)}{_advised(own)}{_gated(c, spec, row)}")
            continue
        stop = own[own["look"] == row["look"]].iloc[0]
        advised = "" if row["decision"] == FUTILE else _advised(own[own["look"] < row["look"]])
        out.append(f"{head}: {_at_a_look(row, stop, spec)}{advised}{_gated(c, spec, row)} {_later(last)}".rstrip())
    return out


def _advised(own: pd.DataFrame) -> str:
    """Looks at which a futility rule that does not bind was met."""
    met = [str(look) for look in own.loc[own["decision"] == FUTILE, "look"]]
    if not met:
        return ""
    return f" The futility rule, which does not bind, was met at look{'s' if len(met) > 1 else ''} {listed(met)}."


def _gated(c: Context, spec: Endpoint, row: dict[str, Any]) -> str:
    """That a boundary was crossed, but the procedure over several hypotheses does not let the claim be made."""
    decided = c.analyses.multiplicity
    own = decided[(decided["endpoint"] == spec.name) & (decided["arm"] == row["arm"])]
    if own.empty or own["rejected"].iloc[0] or row["decision"] != CROSSED:
        return ""
    adjusted = p_value(own["adjusted"].iloc[0])
    return (
        f" The claim is not made all the same: its adjusted p over several hypotheses is {adjusted} (section 11.4.2.5)."
    )


def _at_the_end(row: dict[str, Any], spec: Endpoint) -> str:
    """The final analysis against the final boundary."""
    kind = spec.claim.kind
    said = {CROSSED: f"the final boundary is crossed for {kind}", HARM: "the final boundary is crossed by harm",
            NOT_CROSSED: f"{kind} is not shown"}[row["decision"]]  # fmt: skip
    return (
        f"the test went on to the last analysis, which is read at the final boundary: the significance level that is "
        f"left is {_level(row['boundary_p'])} instead of {row['alpha']:g}. p {p_words(row['p'])} unadjusted, "
        f"{p_value(row['p_adjusted'])} over all looks: {said}."
    )


def _at_a_look(row: dict[str, Any], stop: pd.Series, spec: Endpoint) -> str:
    """The look at which testing ended."""
    what = {CROSSED: f"the boundary was crossed for {spec.claim.kind}", HARM: "the boundary was crossed by harm",
            FUTILE: "the futility rule, which binds, ended the test"}[row["decision"]]  # fmt: skip
    when = f"look {row['look']} ({stop['due']}; month {month_text(round(stop['month'], 1))})"
    seen = f"{num(100 * row['share'], 0)}% of the information, {counted(row['enrolled'], 'patient')} enrolled"
    if row["decision"] == FUTILE:
        return f"{what} at {when}, with {seen}."
    return (
        f"{what} at {when}, with {seen}: p {p_words(row['p'])} where {_level(row['boundary_p'])} was needed, "
        f"{p_value(row['p_adjusted'])} over the looks up to there."
    )


def _later(last: pd.Series) -> str:
    """The result that the final analysis would have had."""
    if not np.isfinite(last["boundary_z"]):
        return ""
    against = "less than" if last["p"] <= last["boundary_p"] else "more than"
    return (
        f"At the end p was {p_value(last['p'])}, {against} the {_level(last['boundary_p'])} of the final boundary; it "
        "has no say any more."
    )


def _level(value: float) -> str:
    """A nominal significance level with two significant digits."""
    return "<0.0001" if value < 1e-4 else f"{value:.4f}" if value < 0.01 else f"{value:.3f}"


def _design_words(c: Context, plan: Interim) -> str:
    """The method by which the looks are tested, in words."""
    spec = c.trial.endpoint(plan.endpoint)
    labels = listed([c.by_name[arm].label for arm in plan.arms])
    each = f", {plan.alpha / len(plan.arms):g} for each arm" if len(plan.arms) > 1 else ""
    text = (
        f"{first_upper(plan.endpoint)} is tested for {spec.claim.kind} against "
        f"{c.by_name[str(c.reference(spec))].label} ({labels}) at each "
        f"look and at the end, with a two-sided type-I error of {plan.alpha:g} over all of them{each}, spent by the "
        f"{_spending_words(plan)} (Lan and DeMets 1983). {_information_words(plan, spec.of_hazard)}"
    )
    if plan.effect is not None:
        measure = spec.effect_measure
        shown = effect_text({"effect_measure": measure, "effect": plan.effect} | _NO_INTERVAL, spec)
        text += f" The effect of the design is a {measure} of {shown}."
    if plan.futility is not None:
        under = "the trend seen" if plan.futility.under == "trend" else "the effect of the design"
        force = "binding" if plan.futility.binding else "not binding"
        text += f" Futility: conditional power under {under} below {100 * plan.futility.below:g}% ({force})."
    return text


_NO_INTERVAL = {"effect_low": np.nan, "effect_high": np.nan}


def _spending_words(plan: Interim) -> str:
    """The spending function, with its parameter."""
    if plan.spending == "own":
        half = len(plan.shape) // 2
        said = [f"{100 * a:g}% by {100 * t:g}%" for t, a in zip(plan.shape[:half], plan.shape[half:], strict=True)]
        return f"function of the trial's own (of alpha, {listed(said)} of the information)"
    with_it = f" with parameter {plan.shape[0]:g}" if plan.shape else ""
    return f"function of {plan.spending} type{with_it}"


def _information_words(plan: Interim, events: bool) -> str:
    if plan.planned_events is not None:
        return f"Information is the number of patients with the event, of {plan.planned_events:g} planned."
    if plan.planned_error is not None:
        error = f"{plan.planned_error:g}"
        return f"Information is the inverse squared standard error of the effect, relative to that planned ({error})."
    what = "number of patients with the event" if events else "inverse squared standard error of the effect"
    return (
        f"Information is the {what}, relative to that of the last analysis. The trial file plans none (planned_events "
        "or planned_error in [interim]), so that this fraction is known only in hindsight: no trial could be conducted "
        "by these boundaries, and power can't be counted by them."
    )


def _untested(c: Context, frame: pd.DataFrame) -> list[str]:
    """Looks that were not tested, each with the reason."""
    own = frame[(frame["decision"] == UNTESTED) & (frame["note"] != "")]
    several = frame["arm"].nunique() > 1
    out = []
    for (look, due, note), rows in own.groupby(["look", "due", "note"], sort=False):
        last = look == frame["look"].max()
        who = listed([c.by_name[arm].label for arm in rows["arm"]])
        head = "The last analysis" if last else f"Look {look} ({due})"
        out.append(f"{head}{f', {who},' if several else ''} was not tested: {first_lower(note)}")
    return out


def _figure(c: Context, frame: pd.DataFrame, plan: Interim) -> Exhibit:
    return c.figure(
        "14.2.13.1",
        f"{plan.endpoint}: interim looks and their boundaries",
        frame,
        figures_analyses.boundaries,
        level=plan.alpha / len(plan.arms),
        planned=plan.planned_events is not None or plan.planned_error is not None,
        note="z: normal quantile of the one-sided p of what is claimed. Above each look its calendar month. "
        "Shaded: a boundary is crossed. Boundaries outside of the figure are not drawn.",
        alt=" ".join(verdicts(c)),
    )


def _known(c: Context, frame: pd.DataFrame) -> Exhibit:
    """Table of the data available at each look."""
    tested = "information" in frame

    def cells(row: dict[str, Any]) -> dict[str, object]:
        never = np.isnan(row["month"])
        shown: dict[str, object] = {
            "Look": f"{row['look']}: {row['due']}",
            "Calendar month": DASH if never else "end" if np.isinf(row["month"]) else num(row["month"], 1),
            "Enrolled": DASH if never else row["enrolled"],
            "Completed": DASH if never else row["completed"],
        }
        if tested:
            if frame["arm"].nunique() > 1:
                shown["Arm"] = c.by_name[row["arm"]].label
            shown["With data"] = DASH if never else row["n"]
            if np.isfinite(frame["events"].astype(float)).any():
                shown["With the event"] = num(row["events"], 0)
            shown["Information, %"] = num(100 * row["share"], 0)
        return shown

    return c.listing(
        "14.2.13.1",
        "What was known at the interim looks",
        frame,
        cells,
        numeric=["Calendar month", "Enrolled", "Completed", "With data", "With the event", "Information, %"],
        who=c.population,
        note="Months from the first patient's enrolment. With data: patients of the arm and of its comparator who "
        "enter "
        "the analysis."
        if tested
        else "Months from the first patient's enrolment.",
    )


def _tests(c: Context, frame: pd.DataFrame, plan: Interim) -> Exhibit:
    """Statistic, boundary and decision of each look."""
    spec = c.trial.endpoint(plan.endpoint)
    several = len(plan.arms) > 1

    def cells(row: dict[str, Any]) -> dict[str, object]:
        repeated = {"effect_low": row["repeated_low"], "effect_high": row["repeated_high"]}
        shown: dict[str, object] = {"Look": f"{row['look']}: {row['due']}"}
        if several:
            shown["Arm"] = c.by_name[row["arm"]].label
        shown |= {
            f"{first_upper(row['effect_measure'])} (95% CI)": effect_text(row, spec),
            "Repeated CI": _inside(effect_text(row | repeated, spec)) if np.isfinite(row["repeated_low"]) else DASH,
            "p": p_value(row["p"]),
            "Needed": _level(row["boundary_p"]) if np.isfinite(row["boundary_z"]) else DASH,
            "z": num(row["z"], 2),
            "Boundary": num(row["boundary_z"], 2),
            "Alpha spent": _level(row["alpha_spent"]) if np.isfinite(row["alpha_spent"]) else DASH,
            "Power, trend": num(100 * row["power_trend"], 0),
        }
        if plan.effect is not None:
            shown["Power, design"] = num(100 * row["power_design"], 0)
        after = " (after the test ended)" if row["decision"] != UNTESTED and row["look"] > ended[row["arm"]] else ""
        shown["Decision"] = f"{first_upper(row['decision'])}{after}"
        return shown

    analysed = c.analyses.endpoints
    own = analysed[(analysed["endpoint"] == plan.endpoint) & analysed["arm"].isin(plan.arms)]
    method = next((f" ({m})" for m in own["method"] if m), "")
    ended = c.analyses.stops.set_index("arm")["look"].to_dict()
    note = (
        f"Every look: the analysis of the endpoint{method} of what was known. Needed: nominal two-sided level at the "
        "boundary. p: of no effect; the boundary is one of z. Repeated CI: what the same test does not reject at the "
        "boundary, which covers at all looks together (Jennison and Turnbull 1989). Power: conditional power (%) of "
        "the last analysis without a further look, under the effect seen so far or that of the design. Boundaries make "
        "no use of a futility rule. An effect seen where a test ends early is too large on average."
    )
    note += f" z is that of {spec.claim.kind}, positive where the effect lies on the side claimed."
    return c.listing(
        "14.2.13.2",
        "Tests at the interim looks",
        frame,
        cells,
        numeric=["p", "Needed", "z", "Boundary", "Alpha spent", "Power, trend", "Power, design"],
        who=c.population,
        note=note,
    )


def _inside(text: str) -> str:
    """The interval of a text ``value (low, high)``."""
    return text[text.index("(") + 1 : text.rindex(")")] if "(" in text else text
