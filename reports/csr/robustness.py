"""Sections 11.4.2.2 and 11.4.2.6: sensitivity of the result to missing values and deviations from the protocol."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from ranklsim.cohorts.endpoints import Endpoint, Estimand
from ranklsim.cohorts.statistics import imputation, repeated, summaries
from ranklsim.cohorts.statistics.claims import SUPERIORITY
from ranklsim.cohorts.statistics.repeated import Repeated
from ranklsim.cohorts.study import setting
from ranklsim.cohorts.words import first_lower, first_upper, listed, month_text
from ranklsim.pkpd.errors import RunFailed, counted
from ranklsim.pkpd.units import DAYS_PER_MONTH
from ranklsim.reports.analyses import estimands, per_protocol, tipping
from ranklsim.reports.csr.contents import report_section
from ranklsim.reports.csr.context import Context
from ranklsim.reports.csr.outcomes import effect_text
from ranklsim.reports.figures import analyses as figures_analyses
from ranklsim.reports.layout import tables
from ranklsim.reports.layout.exhibit import Exhibit, Section


@report_section("11.4.2.2", "Handling of dropouts or missing data", "missing")
def _missing_data(c: Context, section: Section) -> None:
    """The primary change under other assumptions on missing values, and the tipping point of these assumptions."""
    fitted = [f for f in c.repeated if f.fit is not None and f.by_visit["difference"].notna().any()]
    primary = next((found for found in fitted if found.spec is c.primary), None)
    reference = None if primary is None else c.reference(primary.spec)
    if primary is not None and reference is not None:
        try:
            _sensitivity(c, primary, reference, section)
        except RunFailed as why:
            section.paragraphs.append(f"{primary.spec.name}: no multiple imputation ({str(why).rstrip('.')}).")
    asked = c.trial.tipping
    if asked is not None and (spec := c.trial.endpoint(asked.endpoint)).failure:
        _failures(c, spec, section)
    elif asked is not None:
        found = next((f for f in fitted if f.spec.name == asked.endpoint), None)
        if found is None:
            section.paragraphs.append(f"{asked.endpoint}: no tipping point, since no model could be fitted.")
        else:
            _tipping(c, found, section)
    if not section.exhibits and not section.paragraphs:
        section.paragraphs.append(
            "No change is analysed by a mixed model against control, from which unseen values could be imputed. Each "
            "table says which patients it is of."
        )


# -- other assumptions -------------------------------------------------------------------------------------------------


def _sensitivity(c: Context, found: Repeated, control: str, section: Section) -> None:
    """The primary endpoint under other assumptions on patients who left the study."""
    spec = found.spec
    frame, patients = repeated.sensitivity(found, c.data.seen(spec.measure), c.data.patients, control, seed=c.seed)
    truth = _policy_truth(c, spec)
    for name in ("truth", "truth_error"):
        frame[name] = [truth.get(arm, {}).get(name, np.nan) for arm in frame["arm"]]
    frame["gap"] = frame["difference"].astype(float) - frame["truth"]
    decimals = 2 if spec.kind == "percent" else 3
    section.paragraphs.append(_gone_at_once(c, spec, frame, decimals))
    words = {**imputation.STRATEGIES, "CIR": f"increments of {c.by_name[control].label}"}
    words["J2R"] = f"jump to {c.by_name[control].label}"
    note = (
        f"ANCOVA with arm, baseline and strata of {patients} patients with a baseline, after multiple imputation "
        f"({imputation.IMPUTATIONS} sets drawn from the mixed model; Rubin's rules, Barnard and Rubin's degrees of "
        "freedom). Missing at random: patients who left would have gone on as their arm; jump: from the visit after "
        "the last one seen they have the mean of the control arm, so that the effect is gone at once; increments: "
        "from there they change as the control arm (Carpenter, Roger and Kenward 2013)."
    )
    if frame["gap"].notna().any():
        note += (
            " Truth of treatment policy: of all patients as they really went on, seen or not, from counterfactual "
            "twins; a difference minus it holds chance too. Other estimands have other truths (Table 14.2.10.1)."
        )
    shows = {
        "Patients; imputed at this visit": tables.Show(("n", "imputed"), lambda n, imputed: f"{n}; {imputed}"),
        "LS mean (95% CI)": tables.estimate("estimate", "ci_low", "ci_high", decimals),
        **tables.against(c.by_name[control].label, control, decimals),
        "p": tables.Show(("p",), tables.p_value, control),
    }
    if frame["gap"].notna().any():
        signed = partial(tables.num, decimals=decimals, sign=True)
        shows["Difference minus the truth of treatment policy (its Monte-Carlo SE)"] = tables.Show(
            ("gap", "truth_error"), lambda gap, error: f"{signed(gap)} ({signed(error).lstrip('+')})", control
        )
    section.exhibits.append(
        c.table(
            "14.2.14.1",
            f"{spec.name}: sensitivity to what happened to patients who left",
            frame,
            by="strategy",
            titles={strategy: first_upper(text) for strategy, text in words.items()},
            shows=shows,
            note=note,
        )
    )


def _policy_truth(c: Context, spec: Any) -> dict[str, dict[str, Any]]:
    """True difference of each arm under treatment policy; empty if the run has no twins."""
    if not c.trial.estimands or not len(c.data.twins):
        return {}
    others = tuple(c.trial.compared(spec))
    policy = Estimand("treatment policy", spec.name, False, {}, others, {}, "MAR", "difference of means")
    twins, happened = c.data.twins, c.data.twin_events
    return estimands.truths(c.data, spec, policy, str(c.reference(spec)), twins, happened)


def _gone_at_once(c: Context, spec: Any, frame: pd.DataFrame, decimals: int) -> str:
    """Difference between each assumption on patients who left and their true course."""
    head = (
        f"{spec.name}: jump to reference assumes that the effect is gone at once when a patient leaves. A drug that "
        "wears off slowly, or is followed by a rebound, does neither that nor what missing at random says."
    )
    if frame["truth"].isna().all():
        return f"{head} How far off that is takes twins to say, which a trial with an estimand has."
    said = [head, "Here it can be checked."]
    for arm in c.trial.compared(spec):
        own = frame[(frame["arm"] == arm) & frame["gap"].notna()]
        if own.empty:
            continue
        gaps = [f"{tables.num(row.gap, decimals, sign=True)} ({row.strategy})" for row in own.itertuples()]
        truth, error = (tables.num(own[name].iloc[0], decimals) for name in ("truth", "truth_error"))
        said.append(
            f"{c.by_name[arm].label}: the true difference of treatment policy at month "
            f"{month_text(spec.to_month)}, of all patients as "
            f"they went on, is {truth} (Monte-Carlo SE {error}); the estimates are off by {listed(gaps)}."
        )
    return " ".join(said)


# -- tipping point -----------------------------------------------------------------------------------------------------


def _tipping(c: Context, found: Repeated, section: Section) -> None:
    """Delta adjustment of one endpoint: sentences, figure and table."""
    assert found.fit is not None
    assert c.trial.tipping is not None
    spec, missing = found.spec, c.trial.tipping.missing
    arms, wide, people = repeated.imputable(found, c.data.seen(spec.measure), c.data.patients)
    better = spec.higher_is_better
    level, why = _level(c, spec)
    try:
        tip = tipping.tipping(
            found.fit, wide, people, arms, str(c.reference(spec)), spec.claim, higher_is_better=better, level=level,
            strategy=missing, seed=c.seed,
        )  # fmt: skip
    except RunFailed as fault:
        section.paragraphs.append(f"{spec.name}: no tipping point ({str(fault).rstrip('.')}).")
        return
    unit = "points" if spec.kind == "percent" else summaries.UNITS.get(spec.measure, "")
    decimals = 2 if spec.kind == "percent" else 3
    side = "lower" if better else "higher"
    said = [_tip_words(c, row, spec, (unit, side, decimals)) for row in tip.points.to_dict("records")]
    section.paragraphs += said
    many = len(tip.points) > 1
    interval = f"{100 * (1 - level):.4g}% CI"
    note = (
        f"Values of month {month_text(spec.to_month)} that were not seen are imputed "
        f"({imputation.STRATEGIES[missing]}; {imputation.IMPUTATIONS} sets), those of the arm then made {side} by "
        f"delta ({unit}), and analysed by ANCOVA "
        f"(Rubin's rules); {interval}{why}. Delta adjustment: Ratitch, O'Kelly and Tosiello 2013."
    )
    if spec.claim.kind != SUPERIORITY:
        said_of = " and ".join(
            f"{word} {tables.num(limit, decimals)}"
            for word, limit in (("above", spec.claim.lower), ("below", spec.claim.upper))
            if limit is not None
        )
        note += f" The interval must stay {said_of}."
    section.exhibits.append(
        c.figure(
            "14.2.14.1",
            f"{spec.name}: tipping point",
            tip.curve,
            figures_analyses.tipping,
            points=tip.points,
            limits=spec.claim.limits,
            xlabel=f"Unseen values {side} by ({unit})",
            ylabel=f"Difference ({unit})",
            note=f"Band: {interval}. {note}",
            alt=" ".join(said),
        )
    )

    def cells(row: dict[str, Any]) -> dict[str, object]:
        shown: dict[str, object] = {"Arm": c.by_name[row["arm"]].label} if many else {}
        shown[f"Delta ({unit})"] = f"{row['delta']:g}"
        gap = tables.with_interval(row["difference"], row["low"], row["high"], decimals)
        shown |= {f"Difference ({interval})": gap, "p": tables.p_value(row["p"])}
        return shown | {"Result": "holds" if row["holds"] else "lost"}

    section.exhibits.append(
        c.listing(
            "14.2.14.2",
            f"{spec.name}: difference by how much worse unseen values are",
            tip.curve,
            cells,
            numeric=["p"],
            group="Arm" if many else None,
            who=c.population,
            note=note,
        )
    )


def _failures(c: Context, spec: Endpoint, section: Section) -> None:
    """Number of patients who left that must be counted as failures: sentences and table."""
    level, why = _level(c, spec)
    reference = str(c.reference(spec))
    arms = [reference, *c.trial.compared(spec)]
    found = tipping.failures(
        spec, spec.table(c.data, setting(c.data, spec)), c.data.patients, arms, reference, level=level
    )
    failed = spec.failure
    for row in found.points.to_dict("records"):
        head = f"{spec.name}, {c.by_name[row['arm']].label}: tipping point. "
        section.paragraphs.append(
            f"{head}{row['note']}"
            if row["note"]
            else f"{head}The result is lost if {row['failures']:.0f} of the {row['left']} patients of this arm who "
            f"left without an answer are taken {failed}, and none of {c.by_name[reference].label}."
        )
    many = len(found.points) > 1

    def cells(row: dict[str, Any]) -> dict[str, object]:
        effect = {"effect_measure": found.effect_measure, "effect": row["effect"]}
        effect |= {"effect_low": row["low"], "effect_high": row["high"]}
        shown: dict[str, object] = {"Arm": c.by_name[row["arm"]].label} if many else {}
        shown["Failures among those who left"] = row["failures"]
        shown[f"{first_upper(found.effect_measure)} (95% CI)"] = effect_text(effect, spec)
        return shown | {"p": tables.p_value(row["p"]), "Result": "holds" if row["holds"] else "lost"}

    section.exhibits.append(
        c.listing(
            "14.2.14.2",
            f"{spec.name}: effect by how many of those who left failed",
            found.curve,
            cells,
            numeric=["p"],
            group="Arm" if many else None,
            who=c.population,
            note=f"The endpoint's own analysis with patients of the arm who left, in the order of their numbers, taken "
            f"{failed}; the others, and those of control, as analysed. Level {level:.2g}{why}.",
        )
    )


def _level(c: Context, spec: Endpoint) -> tuple[float, str]:
    """Level at which the result must hold, with the reason if it is not the usual level."""
    if c.trial.interim is None or c.trial.interim.endpoint != spec.name:
        return 1 - spec.claim.level, ""
    looks = c.analyses.looks
    last = looks.loc[np.isinf(looks["month"].astype(float)), "boundary_p"].astype(float)
    return (
        (float(last.min()), " (the level that interim looks have left)")
        if last.notna().any()
        else (1 - spec.claim.level, "")
    )


def _tip_words(c: Context, row: dict[str, Any], spec: Any, look: tuple[str, str, int]) -> str:
    """The tipping point of one arm; `look` has unit, side and decimals."""
    unit, side, decimals = look
    head = f"{spec.name}, {c.by_name[row['arm']].label}: tipping point. "
    if row["note"]:
        return f"{head}{row['note']}"
    moved, seen = (tables.num(row[name], decimals) for name in ("imputed_mean", "seen_mean"))
    return (
        f"{head}{tables.share(int(row['imputed']), int(row['n']))} values of month {month_text(spec.to_month)} are "
        f"imputed. The result is lost if these are {tables.num(row['delta'], decimals)} {unit} {side} than assumed, "
        f"{tables.num(row['ratio'], 1)} times the difference itself: a mean change of {moved}, where those who were "
        f"seen had {seen}."
    )


# -- per-protocol set --------------------------------------------------------------------------------------------------


def _primaries(c: Context) -> list[Endpoint]:
    return [e for e in c.trial.endpoints if e.role == "primary" and e.of_patients]


def _rule_words(c: Context, spec: Endpoint) -> dict[str, str]:
    """Each major deviation in words."""
    rules = c.trial.per_protocol
    assert rules is not None
    words = {}
    if rules.missed is not None:
        words["missed_doses"] = f"Missed more than {100 * rules.missed:g}% of the doses due"
    if rules.late_months is not None:
        words["late_dose"] = f"A dose more than {_span(rules.late_months)} late"
    if rules.visit_months is not None:
        until = month_text(spec.last_month)
        words["visit"] = f"Visit of month {until} more than {_span(rules.visit_months)} off"
    events = {"stopped": "Stopped treatment", "rescue": "Given rescue treatment", "switch": "Switched treatment"}
    return words | {event: events[event] for event in rules.events}


def _span(months: float) -> str:
    """A limit of time in words, in days if below a month."""
    if months < 1:
        days = months * DAYS_PER_MONTH
        return f"{days:.3g} day{'' if round(days, 3) == 1 else 's'}"
    return f"{month_text(months)} month{'' if months == 1 else 's'}"


def deviating(c: Context) -> pd.DataFrame | None:
    """Major deviations by patient, as of `per_protocol.major`, up to the first primary endpoint; None if not asked.

    Parameters
    ----------
    c : Context
        The report.
    """
    primaries = _primaries(c)
    if c.trial.per_protocol is None or not primaries:
        return None
    return per_protocol.major(c.trial.per_protocol, c.data, primaries[0])


def major_deviations(c: Context, table: pd.DataFrame) -> Exhibit:
    """Patients with a major deviation by arm; `table` as from `deviating`.

    Parameters
    ----------
    c : Context
        The report.
    table : DataFrame
        From `deviating`.
    """
    spec = _primaries(c)[0]
    names = {"any": "Any", **_rule_words(c, spec)}
    rows = []
    for arm in (*c.names, "Total"):
        own = table if arm == "Total" else table[table["arm"] == arm]
        rows.append({"arm": arm, "patients": len(own)} | {name: int(own[name].sum()) for name in names})

    return c.table(
        "14.1.4.1",
        "Major protocol deviations",
        pd.DataFrame(rows),
        shows={words: tables.shares(name, "patients") for name, words in names.items()},
        total=True,
        headline=f"{tables.share(int(table['any'].sum()), c.n)} patients had a major deviation.",
        note=f"Patients, n (%), before month {month_text(spec.last_month)}. A patient may have several. "
        "Those who have one are left out of the per-protocol set.",
    )


def set_words(c: Context) -> list[str]:
    """The per-protocol set in a sentence.

    Parameters
    ----------
    c : Context
        The report.
    """
    table = deviating(c)
    if table is None:
        return []
    kept = table[~table["any"]]
    sizes = ", ".join(f"{arm.label} {int((kept['arm'] == arm.name).sum())}" for arm in c.arms)
    return [
        f"Per-protocol set: {counted(len(kept), 'patient')} ({sizes}) without a major protocol deviation (table "
        f"14.1.4.1)."
    ]


@report_section("11.4.2.6", "Use of an efficacy subset of patients", "subset")
def _efficacy_subset(c: Context, section: Section) -> None:
    """Primary endpoints in the per-protocol set beside the full analysis set."""
    if c.trial.per_protocol is None:
        section.paragraphs.append("The trial defines no per-protocol set: [per_protocol] in its file would.")
        return
    if not _primaries(c):
        section.paragraphs.append("No primary endpoint can be analysed in the per-protocol set.")
        return
    section.paragraphs.append(
        "The primary analysis repeated without the patients who had a major protocol deviation (table 14.1.4.1). They "
        "are left out for what happened after randomisation, so that the arms need not be alike any more."
    )
    rows = []
    for spec in _primaries(c):
        deviated = per_protocol.major(c.trial.per_protocol, c.data, spec)
        whole = c.analyses.endpoints[c.analyses.endpoints["endpoint"] == spec.name].to_dict("records")
        subset = per_protocol.analyse(c.data, spec, deviated)
        kept = deviated.loc[~deviated["any"], "arm"].value_counts()
        for name, found, sizes in (("Full analysis set", whole, c.counts), ("Per-protocol set", subset, kept)):
            rows += [{**row, "set": name, "patients": int(sizes.get(row["arm"], 0))} for row in found]
    columns = [
        *("set", "endpoint", "arm", "patients", "n", "events", "estimate", "low", "high"),
        *("effect_measure", "effect", "effect_low", "effect_high", "p", "method", "note"),
    ]
    frame = pd.DataFrame(rows, columns=columns)
    several = frame["endpoint"].nunique() > 1
    noted = bool((frame["note"].fillna("") != "").any())

    def cells(row: dict[str, Any]) -> dict[str, object]:
        effect = f"{row['effect_measure']} {effect_text(row, c.trial.endpoint(row['endpoint']))}"
        return {
            "Set": f"{row['endpoint']}: {first_lower(row['set'])}" if several else row["set"],
            "Arm": c.by_name[row["arm"]].label,
            "N": row["patients"],
            "n": row["n"],
            "Against control (95% CI)": effect if np.isfinite(row["effect"]) else tables.DASH,
            "p": tables.p_value(row["p"]),
        } | ({"Note": row["note"] or ""} if noted else {})

    methods = listed(sorted({str(m) for m in frame["method"] if m}))
    section.exhibits.append(
        c.listing(
            "14.2.15.1",
            "Primary analysis in the per-protocol set",
            frame,
            cells,
            numeric=["N", "n", "p"],
            group="Set",
            who=c.population,
            note=f"N: patients of the set; n: of these, with what the analysis needs. Method: {methods}.",
        )
    )
