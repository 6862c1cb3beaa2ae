"""The page of a sensitivity analysis: answer in words, indices, screening, pairs, correlations, and what was moved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import shorten
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ranklsim import __version__
from ranklsim.cohorts.durability import LEAST_GAIN, MEASURES, RISE
from ranklsim.cohorts.words import first_upper, listed
from ranklsim.pkpd.ranges import experiment
from ranklsim.reports.figures.drawing import (
    INK,
    RULE,
    SHADE,
    SOFT,
    WIDTH,
    drawing,
    first_figure,
    panels,
    svg_text,
    two_lines,
)
from ranklsim.reports.layout.arms import view_arms
from ranklsim.reports.layout.exhibit import Exhibit, Section
from ranklsim.reports.layout.page import Page, table
from ranklsim.reports.layout.tables import num, sig
from ranklsim.reports.sensitivity.analyse import ENOUGH, Sensitivity, outcome_values

MARK = "ranklsim-sensitivity"
SURE = 0.95  # share of resamples in which the first has to be first
KINDS = {
    "open": "not determined by data; drawn in every run",
    "fitted": "95% interval over vectors that fit the data",
    "assumed": "plausible range of an assumed value",
    "measured": "plausible range of a measured value",
    "hazard": "plausible range of a number behind fractures or deaths",
}
SHOWN = 6  # parameters in a panel
MOST_PANELS = 6
DURABILITY, REBOUND = ("kept_LS_12", "left_LS_12", "gain_LS"), ("peak_CTX", "gain_TH")
"""Measures of the headline: of each the first of which every arm and difference has indices."""


def compose(found: Sensitivity) -> tuple[Page, list[Section]]:
    """The page of an analysis and its sections.

    Parameters
    ----------
    found : Sensitivity
    """
    view = _View(found)
    settings, trial = found.settings, found.question.trial
    page = Page(
        MARK,
        "Sensitivity to unknown parameters",
        trial.title,
        f"Typical patient; {len(found.question.moved)} parameters screened by {settings.trajectories} Morris "
        f"trajectories, {len(found.kept)} by Sobol indices (N = {settings.samples}); seed {settings.seed}; "
        f"ranklsim {__version__}",
        "Which parameter matters most",
        f"All data are simulated. ranklsim {__version__}; sensitivity.json names every version and option.",
    )
    sections = [
        _answer(view),
        _curves(view),
        _every_index(view),
        _screening(view),
        *([_pairs(view)] if len(found.pairs) else []),
        *([_correlated(view)] if len(found.correlations) else []),
        _moved(view),
    ]
    return page, sections


def _answer(view: _View) -> Section:
    """The parameters with the largest effect, in words and as a figure."""
    found = view.found
    key, told = [_plain_answer(view)], {str(view.order.index[0])}
    for subject, names in view.subjects.items():
        first = str(view.ranked(names).index[0])
        key.append(_sentence(view, subject, names, suggest=first not in told))
        told.add(first)
    rows, frame = [], []
    for symbol, mean in view.order.head(8).iterrows():
        own = found.sobol[(found.sobol["symbol"] == symbol) & found.sobol["outcome"].isin(view.headline)]
        most = own.loc[own["ST"].idxmax()]
        row = view.moved.loc[symbol]
        what = f"{view.subject(most['outcome'])}: {view.facts.loc[most['outcome'], 'meaning']}"
        frame.append(
            {
                "symbol": symbol,
                "meaning": row["meaning"],
                "kind": row["kind"],
                "mean_ST": mean["ST"],
                "mean_S1": mean["S1"],
                "most_for": most["outcome"],
                "ST": most["ST"],
                "experiment": experiment(str(symbol)),
            }
        )
        rows.append(
            {
                "Parameter": _on_two_lines(str(symbol)).replace("\n", "\u200b", 1),
                "What it is": row["meaning"],
                "Known from": row["kind"],
                "Total order, mean": num(mean["ST"], 2),
                "First order, mean": num(mean["S1"], 2),
                "Matters most for": f"{what} ({num(most['ST'], 2)})",
                "What would measure it": experiment(str(symbol)),
            }
        )
    footnote = (
        f"Means over the {len(view.headline)} outcomes of Figure 1. First order: share of the variance that would go "
        "if the parameter were known, which is what an experiment can buy. Experiments are our suggestions."
    )
    what_next = table(
        "1", "What to measure next", pd.DataFrame(frame), rows, footnote,
        numeric=("Total order, mean", "First order, mean"),
    )  # fmt: skip
    return Section("1", "Which parameter matters most", "answer", key=list(key), exhibits=[_dots(view), what_next])


def _plain_answer(view: _View) -> str:
    """The parameter with the largest effect on the headline outcomes, and the experiment that would measure it."""
    top = str(view.order.index[0])
    mean = view.order.iloc[0]
    total = min(mean["ST"], 1.0)  # noise of a small sample: nothing is more than all, or alone more than with others
    alone = float(np.clip(mean["S1"], 0.0, total))
    text = (
        f"{view.plain(top)} matters most: of the variance of {view.topic} (the "
        f"{len(view.headline)} outcomes of Figure 1) a mean share of {num(100 * total, 0)}% depends on it, alone "
        f"or together with others, and {num(100 * alone, 0)}% would disappear if it were known."
    )
    if len(view.order) > 1:
        text += f" {view.plain(str(view.order.index[1]))} comes second ({num(100 * view.order.iloc[1]['ST'], 0)}%)."
    if what := experiment(top):
        text += f" Worth measuring first: {what}."
    if view.moved.loc[top, "kind"] == "fitted":
        text += (
            f" {top} is fitted. It was varied within its own interval, independently of the parameters with which the "
            "data correlate it, so its share is an upper limit."
        )
    return text


def _sentence(view: _View, subject: str, outcomes: Sequence[str], suggest: bool) -> str:
    """A sentence on one arm or difference: spread of its outcomes, the strongest parameters, and what to measure."""
    spread = []
    for name in outcomes:
        row = view.facts.loc[name]
        default = _three(row["default"]) if np.isfinite(row["default"]) else "no value"
        unit = view.unit(name)
        gap = "" if unit.startswith("%") else " "
        spread.append(f"{row['meaning']} {_three(row['low'])} to {_three(row['high'])}{gap}{unit} (default {default})")
    order = view.ranked(outcomes)
    first = str(order.index[0])
    share = "mean total order" if len(outcomes) > 1 else "total order"
    text = (
        f"{subject}, in 90% of the vectors: {listed(spread)}. {view.plain(first) if suggest else first} has the most "
        f"effect ({share} {num(order.iloc[0]['ST'], 2)})"
    )
    if len(order) > 1:
        text += f", then {order.index[1]} ({num(order.iloc[1]['ST'], 2)})"
    if suggest and (what := experiment(first)):
        text += f". Worth measuring: {what}"
    return text + "."


def _dots(view: _View) -> Exhibit:
    """Total and first order indices with their intervals, a panel an outcome."""
    shown = view.headline
    frame = pd.concat([view.indices(outcome).head(SHOWN) for outcome in shown], ignore_index=True)
    with drawing(WIDTH * 1.25, (0.24 * SHOWN + 0.72) * -(-len(shown) // 2) + 0.35) as figure:
        axes = panels(figure, len(shown), min(2, len(shown)), (0.08, 0.08), sharex=True)
        for ax, outcome in zip(axes, shown, strict=True):
            own = frame[frame["outcome"] == outcome]
            at, color = np.arange(len(own))[::-1], view.color(outcome)
            ax.axvline(0, color=RULE, lw=0.9)
            for order, gap, fill in (("S1", -0.17, "white"), ("ST", 0.17, color)):
                ax.hlines(at + gap, own[f"{order}_low"], own[f"{order}_high"], color=color, lw=1.1)
                ax.plot(own[order], at + gap, "o", ms=4.6, mfc=fill, mec=color, mew=1.0, ls="none")
            ax.set_yticks(at, [_on_two_lines(symbol) for symbol in own["symbol"]], linespacing=0.9)
            ax.set_ylim(-0.6, SHOWN - 0.4)
            ax.tick_params(axis="y", length=0, labelsize=8.6)
            ax.set_title(_panel_title(view, outcome), loc="left", fontsize=8.8)
            ax.grid(axis="x", color=SHADE, lw=0.8)
            ax.set_axisbelow(True)
        low, high = axes[0].get_xlim()
        axes[0].set_xlim(max(low, -0.5), min(max(high, 1.0), 1.5))
        figure.supxlabel("Share of the variance (filled: total order; hollow: first order)", fontsize=9.6)
        body = svg_text(figure, "figure-1", "Sobol indices of the outcomes in the headline")
    unsure = [outcome for outcome in shown if view.indices(outcome)["first"].iloc[0] < SURE]
    n = view.found.settings.samples
    said = (
        f"N = {n} is too small to rank the first two with certainty in {len(unsure)} of {len(shown)} panels: "
        "consider both important, or double the samples."
        if unsure
        else f"N = {n} ranks the first above the second in every panel (in {100 * SURE:.0f}% of the resamples or more)."
    )
    footnote = (
        "Sobol indices by SALib; bars: 95% intervals by bootstrap. Total order: share of the variance that would "
        "remain if all other parameters were known. First order: share that would disappear if this one were known. "
        "If the total is much larger than the first order, the parameter acts together with others. An index below 0 "
        "or above 1 is sampling noise; see its interval."
    )
    return Exhibit("Figure", "1", f"Parameters with the most effect on {view.topic}", frame, body, footnote, said)


def figure(found: Sensitivity) -> Figure:
    """The first figure of the page.

    Parameters
    ----------
    found : Sensitivity
    """
    return first_figure(lambda: _dots(_View(found)))


def _curves(view: _View) -> Section:
    """Outcomes of each arm or difference against the parameter that matters most to it."""
    found = view.found
    plain = found.samples[found.samples["matrix"].isin(["A", "B"])].reset_index(drop=True)
    values = outcome_values(view.question, plain)
    parts = int(np.clip(len(plain) // 20, 3, 12))
    tops = {name: str(view.ranked(names).index[0]) for names in view.subjects.values() for name in names}
    frame = pd.DataFrame(
        [
            binned | {"outcome": name, "symbol": symbol}
            for name, symbol in tops.items()
            for binned in _bins(plain[symbol], values[name], view.moved.loc[symbol], parts)
        ],
        columns=["outcome", "symbol", "value", "low", "median", "high", "vectors"],
    )
    down, across = len(view.subjects), max(len(names) for names in view.subjects.values())
    with drawing(WIDTH * 1.25, 2.35 * down + 0.2) as figure:
        figure.set_layout_engine("constrained", h_pad=0.09, w_pad=0.09)
        axes = figure.subplots(down, across, squeeze=False)
        for ax in axes.ravel():
            ax.set_visible(False)
        for line, names in zip(axes, view.subjects.values(), strict=True):
            for ax, name in zip(line, names, strict=False):
                ax.set_visible(True)
                own, row, color = frame[frame["outcome"] == name], view.moved.loc[tops[name]], view.color(name)
                ax.fill_between(own["value"], own["low"], own["high"], color=color, alpha=0.15, lw=0)
                ax.plot(own["value"], own["median"], color=color, lw=1.7)
                ax.axvline(row["value"], color=SOFT, lw=0.9, ls=(0, (1, 1.6)))
                if row["scale"] == "log":
                    ax.set_xscale("log")
                    steps = (c * 10.0**e for e in range(-4, 5) for c in (1, 2, 5))
                    ticks = [tick for tick in steps if row["low"] <= tick <= row["high"]]
                    ticks = ticks[:: 1 + len(ticks) // 7]
                    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
                    ax.minorticks_off()
                ax.set_title(_panel_title(view, name, 54 if line.size < 3 else 34), loc="left", fontsize=8.8)
                ax.set_ylabel(first_upper(view.unit(name)), fontsize=9.0)
                unit = "" if row["unit"] == "1" else f" ({row['unit']})"
                ax.set_xlabel(f"{tops[name]}{unit}", fontsize=9.0)
                _reference(ax, 100.0 if view.unit(name) == "% of baseline" else 0.0)
        body = svg_text(figure, "figure-2", "Outcomes against the parameter that matters most")
    said = []
    for subject, names in view.subjects.items():
        name = max(names, key=lambda n: float(view.indices(n).set_index("symbol").loc[tops[n], "ST"]))
        curve = frame[frame["outcome"] == name]
        ends = " to ".join(_three(curve["median"].iloc[k]) for k in (0, -1))
        said.append(f"{subject}, {view.facts.loc[name, 'meaning']}: {ends} over the range of {tops[name]}")
    footnote = (
        f"Line: median over the vectors in each of {parts} equal parts of the parameter's range; band: 90% of them, "
        f"while the other {len(found.kept) - 1} parameters vary (uncertainty of parameters, not spread of patients). "
        "Dotted: default."
    )
    exhibit = Exhibit(
        "Figure", "2", "Outcomes against the parameter with the most effect", frame, body, footnote,
        f"Medians, {'; '.join(said)}.",
    )  # fmt: skip
    return Section("2", "Effect of the strongest parameters", "curve", exhibits=[exhibit])


def _bins(x: pd.Series, y: pd.Series, row: Mapping[str, Any], count: int) -> list[dict[str, float]]:
    """Median and 90 % range of `y` in `count` equal parts of the range of a parameter, on its scale."""
    log = row["scale"] == "log"
    low, high = (np.log(row[end]) if log else float(row[end]) for end in ("low", "high"))
    place = np.clip(((np.log(x) if log else x) - low) / (high - low) * count, 0, count - 1).astype(int)
    out = []
    for k in range(count):
        own = y[place == k].dropna()
        if len(own) > 1:
            middle = low + (k + 0.5) / count * (high - low)
            ends = np.percentile(own, [5, 50, 95])
            value = float(np.exp(middle)) if log else middle
            out.append({"value": value, "low": ends[0], "median": ends[1], "high": ends[2], "vectors": len(own)})
    return out


def _reference(ax: Axes, level: float) -> None:
    low, high = ax.get_ylim()
    if low < level < high:
        ax.axhline(level, color=RULE, lw=0.9, zorder=0)


def _every_index(view: _View) -> Section:
    """Total-order indices of every outcome, and a table of the outcomes' values."""
    found = view.found
    known = [name for name in found.outcomes["outcome"] if name in set(found.sobol["outcome"])]
    wide = found.sobol.pivot(index="outcome", columns="symbol", values="ST").loc[known]
    strongest = found.sobol.groupby("symbol")["ST"].mean().sort_values(ascending=False, kind="stable").index
    wide = wide[list(strongest)]
    subjects = {name: view.subject(name) for name in known}
    groups = list(dict.fromkeys(subjects.values()))
    sizes = [sum(subject == group for subject in subjects.values()) for group in groups]
    height = 0.185 * len(known) + 0.42 * len(groups) + 1.1
    with drawing(WIDTH * 1.3, height) as figure:
        figure.set_layout_engine("constrained", h_pad=0.03)
        axes = figure.subplots(len(groups), 1, squeeze=False, sharex=True, height_ratios=sizes).ravel()
        for ax, group in zip(axes, groups, strict=True):
            names = [name for name in known if subjects[name] == group]
            values = 100 * wide.loc[names].to_numpy(float)
            ax.imshow(values, vmin=0, vmax=100, cmap="Blues", aspect="auto")
            for i, j in np.ndindex(values.shape):
                if values[i, j] >= 4.5:
                    ink = "white" if values[i, j] > 55 else INK
                    ax.text(j, i, f"{values[i, j]:.0f}", ha="center", va="center", fontsize=7.4, color=ink)
            ax.set_yticks(range(len(names)), [_short(str(view.facts.loc[n, "measure"])) for n in names], fontsize=8.0)
            ax.set_title(group, loc="left", fontsize=9.0)
            ax.tick_params(length=0)
            for spine in ax.spines.values():
                spine.set_visible(False)
        names = [_on_two_lines(str(name)) for name in strongest]
        axes[-1].set_xticks(range(len(names)), names, rotation=90, fontsize=8.4, linespacing=0.9)
        body = svg_text(figure, "figure-3", "Total-order index of every outcome and parameter")
    left = found.outcomes[found.outcomes["left_out"].notna()]
    footnote = (
        "Total-order index, % of the variance; below 5 no number. The intervals are in sobol.csv. The indices of one "
        "outcome add up to more than 100 where parameters act together."
    )
    counts = wide.idxmax(axis=1).value_counts()
    parts = [f"{symbol} in {count}" for symbol, count in counts.head(4).items()]
    headline = f"Of {len(known)} outcomes most hangs on {listed(parts)}."
    frame = wide.reset_index()
    exhibit = Exhibit("Figure", "3", "Every outcome and parameter", frame, body, footnote, headline)
    rows = [
        {
            "Arm": view.subject(row["outcome"]),
            "Outcome": row["meaning"],
            "Unit": view.unit(row["outcome"]),
            "Default": _three(row["default"]) if np.isfinite(row["default"]) else _absent(row["default"]),
            "Median": _three(row["median"]) if np.isfinite(row["median"]) else "",
            "90% of vectors": f"{_three(row['low'])} to {_three(row['high'])}" if np.isfinite(row["low"]) else "",
            "Not back, %": num(row["censored"], 0) if row["censored"] else "",
            "No value, %": num(row["undefined"], 0) if row["undefined"] else "",
            "Screened out, %": num(row["left_out"], 0) if np.isfinite(row["left_out"]) else "",
            "Indices": {"ok": "yes", "constant": "does not vary", "undefined": "too often no value"}[row["status"]],
        }
        for row in found.outcomes.to_dict("records")
    ]
    notes = (
        f"Share of the gain: no value where the gain is {LEAST_GAIN:g}% or less. Month of the highest CTX: no value "
        f"where it rises by less than {RISE:g}%. Not back: BMD above baseline at the last month, counted as that "
        f"month. Blocks with a missing value are left out of the indices, which are given if {100 * ENOUGH:.0f}% are "
        "left. Screened out: share of the squared Morris effects of parameters that did not pass."
    )
    listing = table(
        "2", "Every outcome", found.outcomes, rows, notes, group="Arm", folded=True,
        numeric=("Default", "Median", "90% of vectors", "Not back, %", "No value, %", "Screened out, %"),
    )  # fmt: skip
    worst = left.loc[left["left_out"].idxmax()] if len(left) else None
    said = [
        f"The {len(found.kept)} parameters that passed the screening carry {num(100 - left['left_out'].median(), 0)}% "
        f"of the squared Morris effects in the median outcome, least for {view.subject(worst['outcome'])}, "
        f"{worst['meaning']} ({num(100 - worst['left_out'], 0)}%)."
    ] if worst is not None else []  # fmt: skip
    return Section("3", "Every outcome", "outcomes", paragraphs=list(said), exhibits=[exhibit, listing])


def _short(measure: str) -> str:
    """A measure in a few words, for the rows of a figure."""
    if measure not in MEASURES:
        return shorten(measure, 34, placeholder=" …")
    name, _, rest = measure.partition("_")
    site, _, later = rest.partition("_")
    words = {
        "gain": f"{site} gain",
        "kept": f"{site} gain kept, {later} mo",
        "left": f"{site} at {later} mo",
        "back": f"{site} back at baseline",
    }
    ctx = {"peak_CTX": "CTX peak", "peak_CTX_month": "CTX peak, month", "area_CTX": "CTX area"}
    return ctx.get(measure) or words[name]


def _screening(view: _View) -> Section:
    """Morris plane of the headline outcomes."""
    found = view.found
    shown = [name for name in view.headline if name in set(found.morris["outcome"])]
    frame = found.morris[found.morris["outcome"].isin(shown)].reset_index(drop=True)
    with drawing(WIDTH * 1.25, 2.55 * -(-len(shown) // 2) + 0.3) as figure:
        axes = panels(figure, len(shown), 2 if len(shown) > 1 else 1, (0.08, 0.08))
        for ax, outcome in zip(axes, shown, strict=True):
            own = frame[frame["outcome"] == outcome].sort_values("mu_star", ascending=False)
            passed = own["symbol"].isin(found.kept)
            color = view.color(outcome)
            most = 1.16 * max(float(own["mu_star"].max()), float(own["sigma"].max()))
            ax.plot([0, most], [0, most], color=RULE, lw=0.8, ls=(0, (4, 2)), zorder=0)
            ax.plot(own.loc[~passed, "mu_star"], own.loc[~passed, "sigma"], "o", ms=3.4, mfc="none", mec=SOFT, mew=0.8)
            ax.plot(own.loc[passed, "mu_star"], own.loc[passed, "sigma"], "o", ms=4.4, color=color)
            taken: list[tuple[float, float]] = []
            for row in own.head(5).to_dict("records"):
                place = (row["mu_star"] / most, row["sigma"] / most)
                if all(abs(place[0] - x) > 0.2 or abs(place[1] - y) > 0.075 for x, y in taken):
                    taken.append(place)
                    right = place[0] < 0.7
                    ax.annotate(
                        row["symbol"].partition(".")[2] or row["symbol"], (row["mu_star"], row["sigma"]),
                        xytext=(5, 0) if right else (0, 6), textcoords="offset points",
                        va="center" if right else "bottom",
                        ha="left" if right else "center", fontsize=8.0,
                    )  # fmt: skip
            ax.set_xlim(0, most)
            ax.set_ylim(0, most)
            ax.set_title(_panel_title(view, outcome), loc="left", fontsize=8.8)
        words = "μ*: mean absolute effect of moving a parameter over its range (in the outcome's unit)"
        figure.supxlabel(words, fontsize=9.6)
        figure.supylabel("σ: SD of that effect", fontsize=9.6)
        body = svg_text(figure, "figure-4", "Morris screening")
    nothing = int((found.morris.groupby("symbol")["mu_star"].max() < 1e-3).sum())
    headline = (
        f"{len(found.kept)} of {len(found.question.moved)} parameters passed"
        + (f"; {nothing} change no outcome at all" if nothing else "")
        + "."
    )
    footnote = (
        f"Morris screening by SALib, {found.settings.trajectories} trajectories; filled: passed. Near the dashed line "
        "or above it, the effect depends on other parameters or is nonlinear. The parameters with the largest share "
        "of the squared μ* (mean over all outcomes) pass; the others keep their values. morris.csv contains intervals "
        "of μ*."
    )
    exhibit = Exhibit("Figure", "4", "Screening of all parameters", frame, body, footnote, headline)
    return Section("4", "Screening", "screening", exhibits=[exhibit])


def _pairs(view: _View) -> Section:
    """Interactions."""
    own = view.found.pairs[view.found.pairs["outcome"].isin(view.headline)]
    best = own.loc[own["S2"].sort_values(ascending=False, kind="stable").index].head(12)
    rows: list[dict[str, object]] = [
        {
            "Outcome": f"{view.subject(row['outcome'])}: {view.facts.loc[row['outcome'], 'meaning']}",
            "Pair": f"{row['symbol']} with {row['other']}",
            "Second order": num(row["S2"], 2),
            "95% interval": f"{num(row['S2_low'], 2)} to {num(row['S2_high'], 2)}",
        }
        for row in best.to_dict("records")
    ]
    note = "Share of the variance due to the interaction of the two. Below 0 is sampling noise. All pairs: pairs.csv."
    exhibit = table("3", "The strongest pairs", best, rows, note, numeric=("Second order", "95% interval"))
    return Section("5", "Pairs", "pairs", exhibits=[exhibit])


def _correlated(view: _View) -> Section:
    """Rank correlations over an ensemble, whose parameters are correlated as the data require."""
    found = view.found
    rows, frames, said = [], [], []
    known = list(dict.fromkeys(found.correlations["outcome"]))
    for outcome in [name for name in view.headline if name in known] or known[:MOST_PANELS]:
        own = found.correlations[found.correlations["outcome"] == outcome]
        frames.append(own.head(SHOWN))
        beyond = own[own["beyond_chance"].astype(bool)]
        if len(beyond):
            top = beyond.iloc[0]
            said.append(f"{view.subject(outcome)}, {view.facts.loc[outcome, 'meaning']}: {top['symbol']}")
        for row in own.head(SHOWN).to_dict("records"):
            has_partial = np.isfinite(row["partial"])
            rows.append(
                {
                    "Outcome": f"{view.subject(outcome)}: {view.facts.loc[outcome, 'meaning']}",
                    "Parameter": row["symbol"],
                    "Rank correlation (95% CI)": _with_interval(row, "rho", "low", "high"),
                    "Share of rank variance, %": num(row["share"], 0),
                    "Partial (95% CI)": _with_interval(row, "partial", "partial_low", "partial_high")
                    if has_partial
                    else "none",
                    "Beyond chance": "yes" if row["beyond_chance"] else "no",
                }
            )
    count = int((found.samples["stage"] == "ensemble").sum())
    note = (
        "Rank correlation: information on the outcome from the parameter and from all that is correlated with it. "
        "Partial: with the ranks of all other parameters held; none if there are too few vectors. Beyond chance: "
        "Bonferroni, 5%."
    )
    exhibit = table(
        str(3 + bool(len(found.pairs))),
        "Rank correlations over the ensemble",
        pd.concat(frames, ignore_index=True),
        rows,
        note,
        group="Outcome",
        numeric=("Rank correlation (95% CI)", "Share of rank variance, %", "Partial (95% CI)"),
        headline=f"Strongest: {'; '.join(said)}." if said else "No parameter stands out from chance.",
    )
    words = (
        f"The {count} vectors of the ensemble agree with the data, so that parameters have the correlations that the "
        "data require. The indices above vary each parameter independently within its own range."
    )
    return Section("6", "Rank correlations over the ensemble", "ensemble", paragraphs=[words], exhibits=[exhibit])


def _with_interval(row: Mapping[str, Any], value: str, low: str, high: str) -> str:
    return f"{num(row[value], 2)} ({num(row[low], 2)} to {num(row[high], 2)})"


def _moved(view: _View) -> Section:
    """Parameters that were varied, with their ranges."""
    question = view.question
    counts = question.moved["kind"].value_counts()
    kinds = [f"{counts[kind]} {kind} ({words})" for kind, words in KINDS.items() if counts.get(kind, 0)]
    paragraphs = [
        f"Varied: {listed(kinds)}.",
        "Each parameter is varied within its own interval, without correlations. Vectors of fitted parameters then no "
        "longer agree with the data. The share of fitted parameters is therefore too large, and that of the others too "
        "small.",
        "An agent that takes a number from another agent (docs/agents.md) varies with it. The distribution is uniform "
        "over the range, or over its logarithm if the scale is log. The analysis is of one typical patient, without "
        "variability between patients and measurement error.",
    ]
    rows = [
        {
            "Parameter": row["symbol"],
            "What it is": row["meaning"],
            "Known from": row["kind"],
            "Value": sig(row["value"]),
            "Range": f"{sig(row['low'])} to {sig(row['high'])}",
            "Unit": "" if row["unit"] == "1" else row["unit"],
            "Scale": row["scale"],
            "Passed": "yes" if row["symbol"] in view.found.kept else "",
        }
        for row in question.moved.to_dict("records")
    ]
    number = str(3 + bool(len(view.found.pairs)) + bool(len(view.found.correlations)))
    exhibit = table(
        number, "Parameters and ranges", question.moved, rows, "", numeric=("Value", "Range"), folded=True
    )  # fmt: skip
    return Section("7", "Parameters and ranges", "moved", paragraphs=list(paragraphs), exhibits=[exhibit])


class _View:
    """Data that all sections share: names and colours of arms, outcomes of the headline, order of the parameters."""

    def __init__(self, found: Sensitivity) -> None:
        self.found, self.question = found, found.question
        agents = {agent.name: agent for agent in found.question.agents}
        arms = view_arms(found.question.trial.arms, agents)
        self.labels = {arm.name: arm.label for arm in arms}
        self.colors = {arm.name: arm.color for arm in arms}
        self.facts = found.outcomes.set_index("outcome", drop=False)
        self.moved = found.question.moved.set_index("symbol", drop=False)
        self.headline = self._headline()
        self.subjects: dict[str, list[str]] = {}
        for outcome in self.headline:
            self.subjects.setdefault(self.subject(outcome), []).append(outcome)
        self.order = self.ranked(self.headline)

    def ranked(self, outcomes: Sequence[str]) -> pd.DataFrame:
        """Parameters by the mean of their total order over some outcomes; columns `ST`, `S1`."""
        own = self.found.sobol[self.found.sobol["outcome"].isin(outcomes)]
        means = own.groupby("symbol", sort=False)[["ST", "S1"]].mean()
        return means.sort_values("ST", ascending=False, kind="stable")

    def _headline(self) -> list[str]:
        """Durability and rebound: of hypothetical arms against known ones first, then of the arms."""
        facts = self.found.outcomes
        known = set(self.found.sobol["outcome"])
        subjects = list(dict.fromkeys(zip(facts["arm"], facts["versus"], strict=True)))
        subjects.sort(key=lambda pair: (pair[1] == "", pair[0] in self.question.compared))
        names = {
            (row["arm"], row["versus"], row["measure"]): row["outcome"]
            for row in facts.to_dict("records")
            if row["outcome"] in known
        }
        measures: list[str] = []
        primary = [endpoint.name for endpoint in self.question.endpoints if endpoint.role == "primary"]
        for group in ([primary] if primary else []) + [DURABILITY, REBOUND]:
            counts = [sum((*subject, measure) in names for subject in subjects) for measure in group]
            measures.append(group[int(np.argmax(counts))])
        out = [names[*subject, measure] for subject in subjects for measure in measures if (*subject, measure) in names]
        return (out or list(dict.fromkeys(self.found.sobol["outcome"])))[:MOST_PANELS]

    def subject(self, outcome: str) -> str:
        """The arm, or the difference of two arms, that an outcome belongs to."""
        row = self.facts.loc[outcome]
        own = self.labels[row["arm"]]
        if not row["versus"]:
            return own
        return f"{self.short(row['arm'])} less {self.short(row['versus'])}"

    def short(self, arm: str) -> str:
        """An arm's label without the words that all active arms end with, such as "60 mg Q6M"."""
        words = [self.labels[name].split() for name in self.question.arms]
        shared = 0
        while all(len(own) > shared + 1 for own in words) and len({own[-shared - 1] for own in words}) == 1:
            shared += 1
        if any(own[-shared - 1].isdigit() for own in words):  # a dose stays with its unit
            shared = 0
        own = self.labels[arm].split()
        return " ".join(own[: len(own) - shared])

    @property
    def topic(self) -> str:
        """Subject of the headline."""
        asked = [str(self.facts.loc[name, "measure"]) for name in self.headline]
        after = any(MEASURES[name].after is not None for name in asked if name in MEASURES)
        words = "durability and rebound" if after else "the gain at the end of treatment"
        return f"the primary endpoint, {words}" if any(name not in MEASURES for name in asked) else words

    def unit(self, outcome: str) -> str:
        """The unit of an outcome; differences of percentages are in percentage points."""
        row = self.facts.loc[outcome]
        points = row["versus"] and str(row["unit"]).startswith("%") and row["unit"] != "%-months"
        return "percentage points" if points else str(row["unit"])

    def color(self, outcome: str) -> str:
        """Colour of the arm."""
        return self.colors[str(self.facts.loc[outcome, "arm"])]

    def indices(self, outcome: str) -> pd.DataFrame:
        """Sobol indices of an outcome, the greatest total order first."""
        own = self.found.sobol[self.found.sobol["outcome"] == outcome]
        return own.sort_values("ST", ascending=False, kind="stable")

    def plain(self, symbol: str) -> str:
        """A parameter in words."""
        return f"{symbol} ({self.moved.loc[symbol, 'meaning']})"


def _panel_title(view: _View, outcome: str, width: int = 54) -> str:
    """Title of a panel: the arm or difference, and the outcome."""
    meaning = first_upper(view.facts.loc[outcome, "meaning"])
    return f"{two_lines(view.subject(outcome), width)}\n{two_lines(meaning, width)}"


def _three(value: float) -> str:
    """An outcome with three significant digits and at most two decimals."""
    if not np.isfinite(value):
        return _absent(value)
    digits = 2 if value == 0 else int(np.clip(2 - np.floor(np.log10(abs(value))), 0, 2))
    return num(value, digits)


def _absent(value: float) -> str:
    """Text for an outcome without a value."""
    return "not back" if np.isinf(value) else "none"


def _on_two_lines(symbol: str) -> str:
    """A symbol for an axis: an agent's number under the agent's name."""
    return symbol.replace(".", ".\n", 1)
