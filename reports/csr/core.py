"""The core of the report: the question, the answer and one figure, then what a reader needs on few pages.

Tables and figures that stand here are taken from the sections behind (`contents.Behind`), and are not repeated there.
Nothing is computed here that the sections do not have.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from itertools import takewhile
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from ranklsim.cohorts.durability import LEAST_GAIN, RISE
from ranklsim.cohorts.endpoints import Change
from ranklsim.cohorts.endpoints.change import ChangeDetail
from ranklsim.cohorts.measures import BMD_MEASURES
from ranklsim.cohorts.statistics import durability
from ranklsim.cohorts.statistics.claims import SUPERIORITY
from ranklsim.cohorts.study import setting
from ranklsim.cohorts.words import MEASURES, first_upper, listed, month_text
from ranklsim.reports.csr import monitoring, outcomes, overview, safety
from ranklsim.reports.csr.contents import Behind, core_part
from ranklsim.reports.csr.context import NOT_KNOWN, Context
from ranklsim.reports.figures import trial as figures
from ranklsim.reports.layout import tables, wording
from ranklsim.reports.layout.arms import PREDICTED, ArmView
from ranklsim.reports.layout.cells import Span, Text, plain, tag
from ranklsim.reports.layout.exhibit import Exhibit, Section
from ranklsim.reports.layout.tables import num

WORDS = 120
"""Words of the answer, at most."""

ROLES = ("primary", "key secondary")

POINTS = {"%": "points"}
"""Unit of a difference where it is not that of the changes."""

ALIKE = 0.1
"""Share of a known agent's effect up to which another is called equal to it, or to none (our convention)."""

GAIN, SECOND, KNOWN, REBOUND = "gain", "second", "known", "rebound"
"""Panels of the figure of the answer: primary change, another change that the question is about, and so on."""

VERDICT = 45
"""Words of an expected change by arm, at most; the first is always told."""

_Groups: TypeAlias = "dict[str, list[tuple[ArmView, ArmView]]]"
"""What is expected of arms beside known ones, in words: each arm with the known one."""


# -- the answer --------------------------------------------------------------------------------------------------------


@core_part("The answer", "answer")
def _answer(c: Context, section: Section, _: Behind) -> None:
    """The question as the heading, the answer in few words, and the figure of the key results."""
    section.short, section.title = section.title, " ".join(c.trial.description.split()) or c.trial.title
    key = key_results(c)
    groups = _compared(c)
    section.key += within_words(_sentences(c, key, groups))
    if len(key):
        section.exhibits.append(_key_figure(c, key, groups))


def within_words(sentences: Iterable[Text], most: int = WORDS) -> list[Text]:
    """The first sentences that together have at most `most` words; one that does not fit is left out.

    Parameters
    ----------
    sentences : iterable of Text
        The most important first.
    most : int
    """
    kept, used = [], 0
    for sentence in sentences:
        size = _words([sentence])
        if used + size <= most:
            kept.append(sentence)
            used += size
    return kept


def best_known(c: Context) -> ArmView | None:
    """The arm against which others are of interest besides control: that of a comparison, or the calibrated one.

    Parameters
    ----------
    c : Context

    Returns
    -------
    ArmView or None
        None if no other arm is left to compare with it.
    """
    if c.primary is None or c.control is None:
        return None
    named = [spec.against for spec, _ in c.changes if spec.against and _same_change(spec, c.primary)]
    known = [arm.name for arm in c.arms if arm.basis != PREDICTED and arm.treated and arm.name != c.control]
    found = next((name for name in named if name != c.control), known[0] if len(known) == 1 else None)
    others = [arm for arm in c.arms if arm.name not in (c.control, found)]
    return c.by_name[found] if found and others else None


def counterpart(c: Context, arm: ArmView) -> ArmView | None:
    """The known arm beside which a predicted one is told: `best_known`, or the only one with the same doses.

    Parameters
    ----------
    c : Context
    arm : ArmView
    """
    known = [other for other in c.arms if other.basis != PREDICTED and other.treated and other.name != c.control]
    doses = [(course.dose, course.months) for course in arm.courses]
    same = [other for other in known if [(course.dose, course.months) for course in other.courses] == doses]
    return best_known(c) or (same[0] if len(same) == 1 else None)


def _same_change(spec: Change, other: Change) -> bool:
    return all(getattr(spec, name) == getattr(other, name) for name in ("measure", "from_month", "to_month", "kind"))


def asked(c: Context) -> list[Change]:
    """The changes that the trial's question is about: the primary and the key secondary ones, each once.

    Both BMD and turnover are told: where neither these nor the rebound are of one of them, the first secondary change
    is added that is.

    Parameters
    ----------
    c : Context
    """
    if c.primary is None:
        return []
    led = [c.primary, *(spec for role in ROLES for spec, _ in c.changes if spec.role == role)]
    told = {_is_bmd(spec) for spec in led} | ({False} if c.ends else set())
    led += [spec for spec, _ in c.changes if spec.role == "secondary" and _is_bmd(spec) not in told][:1]
    return [spec for k, spec in enumerate(led) if not any(_same_change(spec, other) for other in led[:k])]


def _is_bmd(spec: Change) -> bool:
    return spec.measure in BMD_MEASURES


def _questions(c: Context) -> list[Change]:
    """The first of `asked` of each kind: BMD or a marker, before or after the end of treatment."""
    kinds = {(_is_bmd(spec), _is_after(c, spec)): spec for spec in reversed(asked(c))}
    return [spec for spec in asked(c) if spec in kinds.values()]


def _is_after(c: Context, spec: Change) -> bool:
    """Whether a change begins when treatment has ended in some arm, or later."""
    return spec.from_month > min(c.ends.values(), default=np.inf) - 1e-6


def key_results(c: Context) -> pd.DataFrame:
    """The key changes against control and the best known agent, and the rebound after treatment, by arm.

    Parameters
    ----------
    c : Context

    Returns
    -------
    DataFrame
        Columns `panel` (`GAIN`, `SECOND`, `KNOWN`, `REBOUND`), `arm`, `month` (of the estimate), `estimate`, `low`,
        `high` (95% CI over patients), `unknown_median`, `unknown_low`, `unknown_high` (90% over unknown parameters),
        `structure_low`, `structure_high` (with other structures of the model too), `below` (share of the parameter
        draws in which a difference is below 0).
    """
    columns = ["panel", "arm", "month", "estimate", "low", "high", "unknown_median", "unknown_low", "unknown_high"]
    columns += ["structure_low", "structure_high", "below"]
    parts = []
    if c.primary is not None and len(c.endpoints):
        known, more = best_known(c), _questions(c)[1:2]
        if known is not None and c.ends:
            more = []  # there is no room for it
        for panel, spec in zip((GAIN, SECOND), (c.primary, *more), strict=False):
            parts.append(_panel(panel, _rows_of(c, spec), compared=c.reference(spec) is not None))
        if known is not None:
            parts.append(_panel(KNOWN, _against(c, known), compared=True))
    if c.ends and (medians := c.marker_medians("CTX")) is not None:
        month = durability.peak_after(medians, c.ends).set_index("arm")["peak_month"]
        found = c.lasts("CTX", "peak").rename(columns={"estimate": "value"})
        rows = []
        for row in found[found["value"].notna()].to_dict("records"):
            whole = c.whole_range(c.rebound_words, row["arm"])
            rows.append(
                {"panel": REBOUND, "arm": row["arm"], "month": month[row["arm"]],
                 "estimate": row["value"], "low": row["low"], "high": row["high"],
                 "unknown_median": whole["median"], "unknown_low": whole["low"], "unknown_high": whole["high"],
                 "structure_low": whole["both_low"], "structure_high": whole["both_high"], "below": np.nan}
            )  # fmt: skip
        parts.append(pd.DataFrame(rows, columns=columns))
    if not parts:
        return pd.DataFrame(columns=columns)
    frame = pd.concat([part for part in parts if len(part)] or parts, ignore_index=True)[columns]
    return frame[frame["estimate"].notna()].reset_index(drop=True)


def _rows_of(c: Context, spec: Change) -> pd.DataFrame:
    """Rows of a change by arm."""
    return c.endpoints[c.endpoints["endpoint"] == spec.name]


def _panel(panel: str, rows: pd.DataFrame, *, compared: bool) -> pd.DataFrame:
    """Rows of an endpoint: the differences to its comparator, or the arms' own values where there is none."""
    names = ("difference", "difference_low", "difference_high") if compared else ("estimate", "ci_low", "ci_high")
    more = {"parameter_median": "unknown_median", "parameter_low": "unknown_low", "parameter_high": "unknown_high"}
    more |= {"unknown_low": "structure_low", "unknown_high": "structure_high", "parameter_below": "below"}
    kept = rows[["arm", "to_month", *names, *more]].rename(columns={**more, "to_month": "month"})
    return kept.rename(columns=dict(zip(names, ("estimate", "low", "high"), strict=True))).assign(panel=panel)


def _against(c: Context, known: ArmView) -> pd.DataFrame:
    """The primary change of every arm but control against `known`, by the trial's own comparison if it has one."""
    others = tuple(arm.name for arm in c.arms if arm.name not in (c.control, known.name))
    spec = replace(c.primary, name=f"{c.primary.name}, against {known.label}", against=known.name, arms=others)
    for asked, _ in c.changes:
        if asked.against == known.name and _same_change(asked, spec) and set(asked.arms or others) >= set(others):
            return c.endpoints[c.endpoints["endpoint"] == asked.name]
    detail = spec.analyse(c.data, setting(c.data, spec)).detail
    assert isinstance(detail, ChangeDetail)
    return c.with_unknowns(spec, detail.table)


def _key_figure(c: Context, key: pd.DataFrame, groups: _Groups) -> Exhibit:
    titles, known = {}, best_known(c)
    for panel, spec in zip((GAIN, SECOND), (asked(c)[:1] + _questions(c)[1:2]), strict=False):
        unit, reference = POINTS.get(spec.unit, spec.unit), c.reference(spec)
        span = f"months {month_text(spec.from_month)} to {month_text(spec.to_month)}"
        own = f"change ({spec.unit})" if reference is None else f"minus {short(c, c.by_name[reference])} ({unit})"
        titles[panel] = (f"{first_upper(_measure(spec))}, {span}", own)
        if panel == GAIN and known is not None:
            titles[KNOWN] = (f"The same, against {short(c, known)}", f"minus {short(c, known)} ({unit})")
    titles[REBOUND] = (f"Highest CTX after {'the switch' if c.switch else 'treatment'}", "% of baseline")
    titles = {name: words for name, words in titles.items() if (key["panel"] == name).any()}
    shown = [arm for arm in c.arms if arm.name != c.control or (key["arm"] == arm.name).any()]
    said = {row["arm"]: row for row in key[key["panel"] == key["panel"].iloc[0]].to_dict("records")}
    spoken = [f"{c.by_name[arm].label} {num(r['estimate'], 1)}" for arm, r in said.items()]
    return c.figure(
        "2.1",
        "Key results by arm: chance of patients, and what is not known of the model",
        key,
        figures.key_results,
        arms=[replace(arm, label=short(c, arm)) for arm in shown if arm.name != c.control] or shown,
        panels=titles,
        reference={REBOUND: 100.0},
        note="Solid: estimate and 95% CI, the chance of which patients are in the trial. Hatched: a typical patient, "
        "90% over draws of parameter values that published figures allow, the median upright. Thin: what is expected, "
        "over these and over the other structures of the model that published figures leave open. Patients differ from "
        "what is expected by chance, and because their mean is not the typical patient."
        + (f" {c.on_highest}" if REBOUND in titles else "")
        + _convention(c, groups),
        headline=_most(c, key),
        alt=f"{next(iter(titles.values()))[0]}: {listed(spoken)}.",
    )


def _convention(c: Context, groups: _Groups) -> str:
    """What the words of the verdict mean and allow, if it compares arms with known ones."""
    known = {other.name: other for group in groups.values() for _, other in group}
    if not known:
        return ""
    meant = {
        _effect(spec, float(np.nanmedian(_expected(c, spec, list(known))["parameter_median"]))): spec
        for spec in _compared_changes(c)
    }
    said = "; ".join(f"{words}, {_measure(spec)} {_span(spec)}" for words, spec in meant.items())
    return (
        f" In the sentence in bold: {said}; 'as much', 'as high' and 'no' allow a difference of {ALIKE:.0%} of what is "
        f"expected of {_names(c, list(known.values()))}."
    )


def _most(c: Context, key: pd.DataFrame) -> str:
    """The arm with the largest change, and the one with the highest rebound."""
    said = []
    reference = None if c.primary is None else c.reference(c.primary)
    gained = "changed most" if reference is None else f"differed most from {short(c, c.by_name[reference])}"
    for panel, words in ((GAIN, gained), (REBOUND, "had the highest CTX after treatment")):
        own = key[key["panel"] == panel]
        if len(own):
            top = own.loc[own["estimate"].abs().idxmax()]
            size = f"{num(top['estimate'], 0)}%"
            if panel == GAIN:
                size = _size(top["estimate"], c.primary.unit, compared=reference is not None)
            said.append(f"{short(c, c.by_name[top['arm']])} {words} ({size})")
    return f"{'; '.join(said)}."


# -- sentences ---------------------------------------------------------------------------------------------------------


def _sentences(c: Context, key: pd.DataFrame, groups: _Groups) -> list[Text]:
    """Sentences of the answer, the most important first."""
    found = c.analyses.endpoints
    led, claimed = found["role"] == "primary", (found["kind"] != "change") | (found["claim"] != SUPERIORITY)
    said: list[Text] = list(outcomes.sentences(c, found[led & claimed]))
    if c.trial.interim is not None and c.trial.endpoint(c.trial.interim.endpoint).role == "primary":
        said += monitoring.verdicts(c)
    if c.primary is None or c.endpoints.empty:
        return said or ["The trial names no endpoint that was measured."]
    said += _verdict(c, groups)
    told: set[bool] = {_is_bmd(c.primary)} | ({False} if c.ends else set())
    needed: list[Change] = []
    more: list[Change] = []
    for spec in asked(c)[1:]:
        (more if _is_bmd(spec) in told else needed).append(spec)
        told.add(_is_bmd(spec))
    once = c.primary.name in set(found.loc[led & claimed & found["claim"].ne(""), "endpoint"])
    for detail in (3, 2, 1, 0):  # every arm in few words, rather than some arms in many
        whole = [] if once else _on_primary(c, key, said, detail)
        whole += [_by_arm(c, spec, intervals=detail > 2) for spec in needed] + _rebound(c, key, brief=detail < 3)
        if _words(said + whole) <= WORDS:
            break
    said += whole
    rest = [[_by_arm(c, spec, intervals=True)] for spec in more]
    rest += [list(outcomes.sentences(c, found[claimed & (found["role"] == "key secondary")])), _on_lymphocytes(c)]
    for group in rest:  # all that is said of an endpoint, or nothing
        said += group if _words(said + group) <= WORDS else []
    return said


def _on_primary(c: Context, key: pd.DataFrame, said: list[Text], detail: int) -> list[Text]:
    """The primary change of every arm after what is `said`: 3 with all, ..., 1 in few words, 0 without intervals."""
    rows, reference = _by_panel(key), c.by_name.get(c.reference(c.primary) or "")
    own = [arm for arm in c.arms if (GAIN, arm.name) in rows]
    known = [arm for arm in own if arm.basis != PREDICTED]
    if detail == 0:
        return [_by_arm(c, c.primary, intervals=False)]
    parts = [_told(c, rows[GAIN, arm.name], arm, reference, first=k == 0) for k, arm in enumerate(known)]
    told: list[Text] = (
        [f"{first_upper(_span(c.primary))} {_measure(c.primary)} changed by {listed(parts)}."] if known else []
    )
    named = bool(told) and _words(said + told) <= WORDS  # else it is left out, and what follows names its own quantity
    return told + [
        _predicted(c, rows, arm, reference, named=named or (detail == 1 and k > 0), detail=detail - 1)
        for k, arm in enumerate(arm for arm in own if arm.basis == PREDICTED)
    ]


def _by_arm(c: Context, spec: Change, *, intervals: bool) -> Text:
    """A change of every arm, with its 95% CI if `intervals`."""
    digits, parts = _digits(spec.unit), []
    for row in _rows_of(c, spec).to_dict("records"):
        if np.isfinite(row["estimate"]):
            arm = c.by_name[row["arm"]]
            chance = f"; 95% CI {wording.to_interval(row['ci_low'], row['ci_high'], digits)}" if intervals else ""
            basis: Text = (" ", tag("predicted")) if arm.basis == PREDICTED and not intervals else ""
            parts.append((f"{_size(row['estimate'], spec.unit, compared=False)} ({short(c, arm)}", basis, f"{chance})"))
    joined: list[Text] = []
    for k, part in enumerate(parts):
        joined += [", " if 0 < k < len(parts) - 1 else " and " if k else "", part]
    return (f"{first_upper(_span(spec))} {_measure(spec)} changed by ", *joined, ".")


def _by_panel(key: pd.DataFrame) -> dict[tuple[str, str], dict[str, Any]]:
    """Rows of `key_results` by panel and arm."""
    return {(row["panel"], row["arm"]): row for row in key.to_dict("records")}


def _verdict(c: Context, groups: _Groups) -> list[Text]:
    """What the model expects, in one sentence: of predicted arms beside known ones, or else the changes."""
    if not groups:
        expected_changes = _expected_changes(c)
        return [Span(expected_changes, "strong")] if expected_changes else []
    said, before = [], ""
    for words, group in groups.items():
        known = _names(c, list(dict.fromkeys(other for _, other in group)))
        said.append(f"{'' if known == before else f'beside {known}: '}{_names(c, [arm for arm, _ in group])} {words}")
        before = known
    return [Span(f"Expected {'; '.join(said)}.", "strong")]


def _compared(c: Context) -> _Groups:
    """What the model expects of predicted arms beside known ones, in words; predicted and known arm of each.

    A change is told by the whole expected range of the difference, as a share of the known arm's effect; the rebound by
    the medians of the draws, as a share of the known arm's.
    """
    found: _Groups = {}
    for arm in (arm for arm in c.arms if arm.basis == PREDICTED):
        known = counterpart(c, arm)
        if known is None:
            continue
        parts: dict[str, None] = {}
        for spec in _compared_changes(c):
            effect = _expected(c, spec, [known.name]).loc[known.name, "parameter_median"]
            gap = _expected(c, replace(spec, against=known.name, arms=()), [arm.name]).loc[arm.name]
            low, high = sorted(1 + gap[["unknown_low", "unknown_high"]].to_numpy(float) / effect)
            if abs(effect) > (LEAST_GAIN if _is_bmd(spec) else RISE) and np.isfinite([low, high]).all():
                parts[beside(low, high, _effect(spec, effect))] = None
        if c.ends:
            own, other = (c.whole_range(c.rebound_words, each.name)["median"] - 100.0 for each in (arm, known))
            if other > RISE and np.isfinite(own):
                parts[rebound(own / other)] = None
        if parts:
            found.setdefault(", ".join(parts), []).append((arm, known))
    return found


def _compared_changes(c: Context) -> list[Change]:
    """The changes in which arms are compared with known ones; of the time after treatment the rebound is told."""
    return [
        spec for spec in _questions(c)
        if c.reference(spec) is not None and (spec is c.primary or not _is_after(c, spec))
    ]  # fmt: skip


def _expected(c: Context, spec: Change, arms: Sequence[str], *, alone: bool = False) -> pd.DataFrame:
    """What the model expects of a change, with the arms as the index: differences, or each arm `alone`."""
    return c.with_unknowns(spec, pd.DataFrame({"arm": list(arms)}), alone=alone).set_index("arm")


def _effect(spec: Change, size: float) -> str:
    """What an arm does to a measure."""
    if _is_bmd(spec):
        return "bone" if size > 0 else "loss"
    return f"{'rise' if size > 0 else 'suppression'} of {MEASURES[spec.measure].split()[-1]}"


def _expected_changes(c: Context) -> str:
    """The changes that the model expects of the one arm beside control; of several arms, all and the highest first."""
    parts, others = [], [arm for arm in c.arms if arm.name != c.control]
    one = others[0] if len(others) == 1 else None
    for spec in _questions(c):
        compared = one is not None and c.reference(spec) is not None
        frame = _expected(c, spec, c.names, alone=not compared).reset_index()
        frame = frame[np.isfinite(frame["unknown_low"])].sort_values("parameter_median", kind="stable")
        digits, unit = _digits(spec.unit), POINTS.get(spec.unit, spec.unit) if compared else spec.unit
        gap = "" if unit == "%" else " "
        rows = frame[::-1].to_dict("records")
        sizes = {row["arm"]: f"{_between(row['unknown_low'], row['unknown_high'], digits)}{gap}{unit}" for row in rows}
        if one is not None and one.name in sizes:
            parts.append(f"{_measure(spec)} {sizes[one.name]} {_span(spec)}")
        elif one is None and sizes:
            each = [f"{size} ({short(c, c.by_name[arm])})" for arm, size in sizes.items()]
            parts.append(f"in {_measure(spec)} {_span(spec)}: {listed(each)}")
    if one is not None and one.name in c.ends:
        after = c.whole_range(c.rebound_words, one.name)
        if np.isfinite(after["both_low"]):
            highest = _between(after["both_low"], after["both_high"], 0)
            parts.append(f"highest CTX after {'the switch' if c.switch else 'treatment'} {highest}% of baseline")
    if not parts:
        return ""
    kept = [parts[0], *within_words(parts[1:], VERDICT - _words(parts[:1]))]
    if one is None:
        return f"Expected change, highest first, {'; '.join(map(plain, kept))}."
    reference = c.by_name.get(c.control or "")
    than = f", minus {short(c, reference)}" if reference is not None else ""
    return f"Expected of {short(c, one)}{than}: {'; '.join(map(plain, kept))}."


def _between(low: float, high: float, digits: int) -> str:
    """A range, or one number where both ends are the same as shown."""
    return wording.to_interval(low, high, digits) if num(low, digits) != num(high, digits) else num(low, digits)


def beside(low: float, high: float, what: str) -> str:
    """Words for an effect, such as "bone", as a share of another one.

    Parameters
    ----------
    low, high : float
        The expected range.
    what : str
        The effect.
    """
    if low > -ALIKE and high < ALIKE:
        return f"next to no {what}"
    if low > 1 - ALIKE and high < 1 + ALIKE:
        return f"as much {what}"
    if high < 1:
        return f"less {what}"
    if low > 1:
        return f"more {what}"
    return f"perhaps less, perhaps more {what}"


def rebound(share: float) -> str:
    """Words for the rise of CTX after treatment as a share of another one.

    Parameters
    ----------
    share : float
    """
    if share < ALIKE:
        return "no rebound"
    if share < 1 - ALIKE:
        return "a smaller rebound"
    return "as high a rebound" if share <= 1 + ALIKE else "a higher rebound"


def _rebound(c: Context, key: pd.DataFrame, *, brief: bool) -> list[Text]:
    """The highest median CTX after treatment in each arm with its month; in brief, with the span of all months."""
    rows = _by_panel(key)
    found = [(short(c, arm), rows[REBOUND, arm.name]) for arm in c.arms if (REBOUND, arm.name) in rows and arm.treated]
    months = sorted({month_text(r["month"]) for _, r in found}, key=float)
    each = len(months) > 1 and not brief
    parts = [
        f"{num(r['estimate'], 0)}% ({arm}{', month ' + month_text(r['month']) if each else ''})" for arm, r in found
    ]
    span = " to ".join(dict.fromkeys((*months[:1], *months[-1:])))
    when = "" if each else f" (month{'s' if len(months) > 1 else ''} {span})"
    end = c.end_words if c.switch else "treatment"
    return [f"After {end} median CTX reached {listed(parts)} of baseline{when}."] if found else []


def _words(sentences: Iterable[Text]) -> int:
    return sum(len(plain(sentence).split()) for sentence in sentences)


def _on_lymphocytes(c: Context) -> list[Text]:
    """How much of the RANKL of lymphocytes carried drug, under agents that bind RANKL and are the question."""
    if c.switch or all(arm.basis != PREDICTED for arm in c.arms):
        return []
    frame = safety.outside_bone(c)
    binds = frame.groupby("arm")["median"].max() > 0  # any RANKL
    found = frame[frame["output"] == safety.LYMPHOCYTES].set_index("arm")["median"]
    parts = [f"{num(found[arm.name], 0)}% ({short(c, arm)})" for arm in c.arms if binds.get(arm.name, False)]
    return [f"Mean share of RANKL on lymphocytes that carried drug during treatment: {listed(parts)}."] if parts else []


def short(c: Context, arm: ArmView) -> str:
    """An arm's name without the words that all treated arms end with, such as a common dose.

    Parameters
    ----------
    c : Context
    arm : ArmView
    """
    names = [other.label.split() for other in c.arms if other.treated]
    if not arm.treated or len(names) < 2:
        return arm.label
    same = 0
    while len({tuple(words[len(words) - same - 1 :]) for words in names}) == 1 and same + 1 < min(map(len, names)):
        same += 1
    return " ".join(arm.label.split()[: len(arm.label.split()) - same])


def _names(c: Context, arms: Sequence[ArmView]) -> str:
    """Names of arms, with the words that all begin with said once."""
    names = [short(c, arm).split() for arm in arms]
    most = min(map(len, names)) - 1 if len(names) > 1 else 0
    same = sum(1 for _ in takewhile(lambda words: len(set(words)) == 1, list(zip(*names, strict=False))[:most]))
    return " ".join([*names[0][:same], listed([" ".join(words[same:]) for words in names])])


def _told(c: Context, row: dict[str, Any], arm: ArmView, reference: ArmView | None, *, first: bool) -> str:
    """One arm's change, or its difference to the reference arm, with its interval over patients."""
    unit, less = c.primary.unit, reference is not None and row["estimate"] < 0
    low, high = (-row["high"], -row["low"]) if less else (row["low"], row["high"])
    interval = f"(95% CI {wording.to_interval(low, high, _digits(unit))})"
    if reference is None:
        return f"{_size(row['estimate'], unit, compared=False)} under {short(c, arm)} {interval}"
    than = f" than under {reference.label}" if first else ""
    size = _size(abs(row["estimate"]), unit, compared=True)
    return f"{size} {'less' if less else 'more'} under {short(c, arm)}{than} {interval}"


def _digits(unit: str) -> int:
    return 1 if unit == "%" else 3


def _size(value: float, unit: str, *, compared: bool) -> str:
    """A change in its unit; of percent changes, a difference is in points."""
    return f"{num(value, _digits(unit))}" + ("%" if unit == "%" and not compared else f" {POINTS.get(unit, unit)}")


def _span(spec: Change) -> str:
    """The months of a change."""
    return wording.span_words({"from_month": spec.from_month, "to_month": spec.to_month})


def _measure(spec: Change) -> str:
    return MEASURES[spec.measure]


def _predicted(
    c: Context,
    rows: dict[tuple[str, str], dict[str, Any]],
    arm: ArmView,
    reference: ArmView | None,
    *,
    named: bool,
    detail: int,
) -> Text:
    """What is predicted of a hypothetical arm, against control and the best known agent.

    `named`: a sentence before says what was measured, and when. `detail`: 2 for all, 1 without the shares of draws, 0
    against one arm only.
    """
    known = best_known(c)
    parts = []
    if known is not None and (KNOWN, arm.name) in rows:
        parts.append(_range(c, rows[KNOWN, arm.name], known, shares=detail == 2, again=detail > 0))
    if not parts or detail:
        parts.insert(0, _range(c, rows[GAIN, arm.name], reference, shares=detail == 2))
    verb = "changed" if reference is None else "differed"
    what = "" if named else f" in {_measure(c.primary)} {_span(c.primary)}"
    return (Span(short(c, arm), "strong"), " ", tag("predicted"), f" {verb}{what} by {listed(parts)}.")


def _range(c: Context, row: dict[str, Any], other: ArmView | None, *, shares: bool, again: bool = False) -> str:
    """A predicted change or difference: of these patients by chance, and expected over all that is not known.

    A difference keeps its sign, since chance may give it another one than is expected. The share of the draws on one
    side of zero is said where the expected range holds zero, if `shares`. The unit is not said `again`.
    """
    unit, digits = c.primary.unit, _digits(c.primary.unit)
    text = num(row["estimate"], digits) if again else _size(row["estimate"], unit, compared=other is not None)
    if other is not None:
        text = f"{text} from {short(c, other)}"
    chance = f"95% CI {wording.to_interval(row['low'], row['high'], digits)}"
    low, high = row["structure_low"], row["structure_high"]
    if not np.isfinite(low):
        return f"{text} ({chance}), if default values are true"
    shown = expected(low, high, row["below"] if shares and other is not None else np.nan, digits)
    return f"{text} ({chance}; expected {shown})"


def expected(low: float, high: float, below: float, digits: int) -> str:
    """The range of a result, with the side of zero on which most draws are if the range holds zero.

    Parameters
    ----------
    low, high : float
        Range over parameter values and structures.
    below : float
        Share of the draws of parameter values below zero, 0 to 1; NaN if zero is not of interest.
    digits : int
        Digits after the point; up to two more where rounding to zero would hide on which side the result is.

    Returns
    -------
    str
        Such as "0.3 to 0.6" or "−0.02 to 0.06, above 0 in 52% of draws".
    """
    open_sign = low < 0 < high
    hidden = any if open_sign else all
    more = next((k for k in range(2) if not hidden(float(num(abs(x), digits + k)) == 0 for x in (low, high))), 2)
    text = wording.to_interval(low, high, digits + more)
    if not open_sign or not np.isfinite(below):
        return text
    share, side = max(below, 1 - below), "below" if below > 0.5 else "above"
    return f"{text}, {side} 0 in {'all' if share == 1 else f'{min(99, round(100 * share))}% of'} draws"


# -- the parts ---------------------------------------------------------------------------------------------------------


@core_part("Synopsis", "synopsis")
def _synopsis(c: Context, section: Section, _: Behind) -> None:
    """The trial in one table."""
    section.exhibits.append(overview.synopsis(c))


@core_part("Design", "design")
def _design(c: Context, section: Section, _: Behind) -> None:
    """Scheme of the trial and regimens."""
    section.exhibits += overview.design(c)


@core_part("Patients", "core-patients", "10.1", "11.2")
def _patients(_c: Context, section: Section, behind: Behind) -> None:
    """Who was in the trial, and how their time in it ended."""
    section.exhibits += behind.take("Figure", "14.1.1") or behind.take("Table", "14.1.1")
    section.exhibits += behind.take("Table", "14.1.2")


@core_part("Primary and key secondary endpoints", "core-endpoints", "11.4.4", "11.4.5")
def _endpoints(c: Context, section: Section, behind: Behind) -> None:
    """Primary and key secondary endpoints in one table, and the course of the primary measure."""
    frame = c.analyses.endpoints
    frame = frame[frame["role"].isin(ROLES)].reset_index(drop=True)
    if len(frame):
        section.exhibits.append(_table(c, _with_comparisons(c, frame)))
    else:
        section.paragraphs.append("The trial names no primary or key secondary endpoint.")
    if c.primary is not None:
        section.exhibits += behind.take("Figure", *_figures_of(c.primary.measure))


def _figures_of(measure: str) -> list[str]:
    """Number of the figure of a measure by visit."""
    families = {"14.2.2": ("BMD_LS", "BMD_TH", "BMD_FN", "BMD_R13"), "14.2.3": ("CTX", "P1NP", "BSAP", "TRAP5B")}
    return [f"{number}.{own.index(measure) + 1}" for number, own in families.items() if measure in own]


def _with_comparisons(c: Context, frame: pd.DataFrame) -> pd.DataFrame:
    """Endpoints, and the comparisons of the same changes with other arms than control, with what is not known."""
    led = {(spec.measure, spec.from_month, spec.to_month) for spec, _ in c.changes if spec.role in ROLES}
    more = [
        spec.name for spec, _ in c.changes
        if spec.against and spec.role not in ROLES and (spec.measure, spec.from_month, spec.to_month) in led
    ]  # fmt: skip
    every = c.analyses.endpoints
    wanted = {*frame["endpoint"], *more}
    own = every[every["endpoint"].isin(wanted)].reset_index(drop=True)
    columns = ["parameter_median", "parameter_low", "parameter_high", "unknown_low", "unknown_high"]
    if c.endpoints.empty:
        return own.assign(**dict.fromkeys(columns, np.nan))
    return own.merge(c.endpoints[["endpoint", "arm", *columns]], on=["endpoint", "arm"], how="left")


def _table(c: Context, frame: pd.DataFrame) -> Exhibit:
    """Primary and key secondary endpoints by arm."""
    compared = frame["effect"].notna() | frame["endpoint"].map(lambda name: c.trial.endpoint(name).against is None)
    frame = frame[(frame["n"] > 0) & compared].reset_index(drop=True)

    def cells(row: dict[str, Any]) -> dict[str, object]:
        shown = outcomes.endpoint_cells(c, row, partial(short, c))
        digits = 1 if c.trial.endpoint(row["endpoint"]).digits < 3 else 3
        inside = tables.with_interval(row["parameter_median"], row["parameter_low"], row["parameter_high"], digits)
        return {
            "Endpoint": shown["Endpoint"], "Arm": shown["Arm"], "n": shown["n"],
            "Estimate (95% CI)": shown["Estimate (95% CI)"], "Comparison (95% CI)": shown["Comparison (95% CI)"],
            "Over what is not known (90%)": inside,
            "With other structures": tables.interval(row["unknown_low"], row["unknown_high"], digits),
            "Conclusion": shown["Conclusion"],
        }  # fmt: skip

    return c.listing(
        "2.2",
        "Primary and key secondary endpoints",
        frame,
        cells,
        group="Endpoint",
        numeric=["n"],
        who=c.population,
        note="Estimate and comparison: of the patients. Over what is not known: the same comparison (or change, where "
        "there is none) of the typical patient, median and 90% of the parameter vectors; with other structures: the "
        "range of both, over those that published figures leave open. Methods: Tables 14.2.1.1 and 14.2.8.1. Not "
        f"known: section {NOT_KNOWN}." + (f" {outcomes.P_OF_CLAIM}" if c.trial.multiplicity is not None else ""),
    )


@core_part("After the last dose", "core-after", "11.4.6", "11.4.7")
def _after(c: Context, section: Section, behind: Behind) -> None:
    """Rebound of CTX and loss of BMD after treatment."""
    if c.switch:
        section.title = f"After {c.end_words}"
    section.paragraphs += behind.said("11.4.6")[:1]
    section.exhibits += behind.take("Figure", "14.2.4.1", "14.2.4.4") or behind.take("Figure", "14.2.4.3")


@core_part("Mechanism", "core-mechanism", "11.4.8", "11.4.9")
def _mechanism(_c: Context, section: Section, behind: Behind) -> None:
    """What is bound, what drive is left, and what the gain in BMD is made of."""
    section.exhibits += behind.take("Figure", "14.2.5.1")
    section.exhibits += behind.take("Figure", "14.2.6.2") or behind.take("Figure", "14.2.6.1")


@core_part("What is not known", "core-unknown", "11.4.10")
def _not_known(c: Context, section: Section, behind: Behind) -> None:
    """Results over all unknowns, and the parameters that decide."""
    section.paragraphs += behind.said(NOT_KNOWN)[:1]
    if c.primary is not None:
        for arm in (arm for arm in c.arms if arm.basis == PREDICTED):
            found = c.strongest(arm.name)
            said = [f"the {row.meaning} ({row.symbol}, {num(row.rho, 2)})" for row in found.head(2).itertuples()]
            if said:
                section.paragraphs.append(
                    f"{arm.label}: the result depends most on {', then on '.join(said)}; rank correlations."
                )
    section.exhibits += behind.take("Figure", "14.2.7.3")


@core_part("Safety", "core-safety", "12", "12.2", "12.5")
def _safety(_c: Context, section: Section, behind: Behind) -> None:
    """Harms that the trial records, occupancy outside bone, and what the model cannot say."""
    section.paragraphs += behind.said("12")
    section.exhibits += behind.take("Table", "14.3.2", "14.3.5")
