"""Second part of the sensitivity page: every index, screening, pairs, correlations over an ensemble, what was moved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from ranklsim.cohorts.durability import LEAST_GAIN, RISE
from ranklsim.reports.figures.drawing import INK, RULE, SOFT, WIDTH, drawing, svg_text
from ranklsim.reports.layout.exhibit import Exhibit, Section
from ranklsim.reports.layout.page import table
from ranklsim.reports.layout.tables import num, sig
from ranklsim.reports.layout.wording import listed
from ranklsim.reports.sensitivity.analyse import ENOUGH
from ranklsim.reports.sensitivity.view import MOST_PANELS, SHOWN, View, absent, on_two_lines, panel_title, three

KINDS = {
    "open": "no datum fixes it; drawn in every run",
    "fitted": "95% interval over vectors that fit the data",
    "assumed": "plausible range of an assumed value",
    "measured": "plausible range of a measured value",
}


def every_index(view: View) -> Section:
    """Total order of every outcome, and what each outcome's values are."""
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
        names = [on_two_lines(str(name)) for name in strongest]
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
            "Default": three(row["default"]) if np.isfinite(row["default"]) else absent(row["default"]),
            "Median": three(row["median"]) if np.isfinite(row["median"]) else "",
            "90% of vectors": f"{three(row['low'])} to {three(row['high'])}" if np.isfinite(row["low"]) else "",
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
    """A measure in two or three words, for the rows of a figure."""
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


def screening(view: View) -> Section:
    """Morris plane of the headline outcomes."""
    found = view.found
    panels = [name for name in view.headline if name in set(found.morris["outcome"])]
    frame = found.morris[found.morris["outcome"].isin(panels)].reset_index(drop=True)
    down = -(-len(panels) // 2)
    with drawing(WIDTH * 1.25, 2.55 * down + 0.3) as figure:
        figure.set_layout_engine("constrained", h_pad=0.08, w_pad=0.08)
        axes = figure.subplots(max(down, 1), 2 if len(panels) > 1 else 1, squeeze=False).ravel()
        for ax, outcome in zip(axes, panels, strict=False):
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
            ax.set_title(panel_title(view, outcome), loc="left", fontsize=8.8)
        for ax in axes[len(panels) :]:
            ax.set_visible(False)
        words = "μ*: mean absolute effect of moving a parameter over its range (in the outcome's unit)"
        figure.supxlabel(words, fontsize=9.6)
        figure.supylabel("σ: SD of that effect", fontsize=9.6)
        body = svg_text(figure, "figure-4", "Morris screening")
    nothing = int((found.morris.groupby("symbol")["mu_star"].max() < 1e-3).sum())
    headline = (
        f"{len(found.kept)} of {len(found.question.moved)} parameters passed"
        + (f"; {nothing} move no outcome at all" if nothing else "")
        + "."
    )
    footnote = (
        f"Morris screening by SALib, {found.settings.trajectories} trajectories; filled: passed. Near the dashed "
        "line or above it the effect depends on the other parameters, or bends. Those pass whose squared μ* is "
        "greatest as a share of its sum, mean over all outcomes; the others stay at their values. Intervals of μ* "
        "are in morris.csv."
    )
    exhibit = Exhibit("Figure", "4", "Screening of all parameters", frame, body, footnote, headline)
    return Section("4", "Screening", "screening", exhibits=[exhibit])


def pairs(view: View) -> Section:
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
    note = "Share of the variance that the two have only together. Below 0 is sampling noise. All pairs: pairs.csv."
    exhibit = table("3", "The strongest pairs", best, rows, note, numeric=("Second order", "95% interval"))
    return Section("5", "Pairs", "pairs", exhibits=[exhibit])


def correlated(view: View) -> Section:
    """What the vectors of an ensemble say, which move together as the data allow."""
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
        "Rank correlation: what one would learn of the outcome from the parameter and all that moves along with it. "
        "Partial: the ranks of all other parameters held; none where vectors are too few. Beyond chance: Bonferroni, "
        "5%."
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
        f"The {count} vectors of the ensemble agree with the data together, so that parameters move with the "
        "correlations that the data leave. The indices above move each within its own range."
    )
    return Section("6", "With the correlations that the data leave", "ensemble", paragraphs=[words], exhibits=[exhibit])


def _with_interval(row: Mapping[str, Any], value: str, low: str, high: str) -> str:
    return f"{num(row[value], 2)} ({num(row[low], 2)} to {num(row[high], 2)})"


def moved(view: View) -> Section:
    """What was moved, and how far."""
    question = view.question
    counts = question.moved["kind"].value_counts()
    kinds = [f"{counts[kind]} {kind} ({words})" for kind, words in KINDS.items() if counts.get(kind, 0)]
    paragraphs = [
        f"Moved: {listed(kinds)}.",
        "Each parameter is moved within its own interval, without the correlations among them. Vectors of fitted "
        "parameters moved so leave the data: the share of fitted parameters is too large, that of the others too "
        "small.",
        "An agent that takes over a number from another (docs/agents.md) moves with it. Uniform over the range, on "
        "the logarithm where the scale is log. One typical patient; patients' variability and measurement error "
        "have no part.",
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
    return Section("7", "What was moved", "moved", paragraphs=list(paragraphs), exhibits=[exhibit])
