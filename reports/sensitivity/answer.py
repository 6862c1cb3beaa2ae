"""First part of the sensitivity page: the answer in words and dots, and how the outcome moves with what decides it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from ranklsim.pkpd.ranges import experiment
from ranklsim.reports.figures.drawing import RULE, SHADE, SOFT, WIDTH, drawing, svg_text
from ranklsim.reports.layout.exhibit import Exhibit, Section
from ranklsim.reports.layout.page import table
from ranklsim.reports.layout.tables import num
from ranklsim.reports.layout.wording import first_upper, listed
from ranklsim.reports.sensitivity.analyse import outcome_values
from ranklsim.reports.sensitivity.view import SHOWN, View, on_two_lines, panel_title, three

SURE = 0.95  # share of resamples in which the first has to be first


def answer(view: View) -> Section:
    """Which unknown matters most, in words and in dots."""
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
                "Parameter": on_two_lines(str(symbol)).replace("\n", "\u200b", 1),
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
    return Section("1", "Which unknown matters most", "answer", key=list(key), exhibits=[_dots(view), what_next])


def _plain_answer(view: View) -> str:
    """The parameter that decides most over the headline, and the experiment that follows."""
    top = str(view.order.index[0])
    mean = view.order.iloc[0]
    total = min(mean["ST"], 1.0)  # noise of a small sample: nothing is more than all, or alone more than with others
    alone = float(np.clip(mean["S1"], 0.0, total))
    text = (
        f"{view.plain(top)} matters most: of the variance of {view.topic} (the "
        f"{len(view.headline)} outcomes of Figure 1) a mean share of {num(100 * total, 0)}% hangs on it, alone or "
        f"together with others, and {num(100 * alone, 0)}% would go if it were known."
    )
    if len(view.order) > 1:
        text += f" {view.plain(str(view.order.index[1]))} comes second ({num(100 * view.order.iloc[1]['ST'], 0)}%)."
    if what := experiment(top):
        text += f" Worth measuring first: {what}."
    if view.moved.loc[top, "kind"] == "fitted":
        text += (
            f" {top} is fitted: moved within its own interval, without the others that the data tie it to, its share "
            "is an upper limit."
        )
    return text


def _sentence(view: View, subject: str, outcomes: Sequence[str], suggest: bool) -> str:
    """What decides the outcomes of one arm or difference, how far they spread, and what to measure if not said yet."""
    spread = []
    for name in outcomes:
        row = view.facts.loc[name]
        default = three(row["default"]) if np.isfinite(row["default"]) else "no value"
        unit = view.unit(name)
        gap = "" if unit.startswith("%") else " "
        spread.append(f"{row['meaning']} {three(row['low'])} to {three(row['high'])}{gap}{unit} (default {default})")
    order = view.ranked(outcomes)
    first = str(order.index[0])
    share = "mean total order" if len(outcomes) > 1 else "total order"
    text = (
        f"{subject}, in 90% of the vectors: {listed(spread)}. {view.plain(first) if suggest else first} decides most "
        f"({share} {num(order.iloc[0]['ST'], 2)})"
    )
    if len(order) > 1:
        text += f", then {order.index[1]} ({num(order.iloc[1]['ST'], 2)})"
    if suggest and (what := experiment(first)):
        text += f". Worth measuring: {what}"
    return text + "."


def _dots(view: View) -> Exhibit:
    """Total and first order indices with their intervals, a panel an outcome."""
    panels = view.headline
    frame = pd.concat([view.indices(outcome).head(SHOWN) for outcome in panels], ignore_index=True)
    down = -(-len(panels) // 2)
    with drawing(WIDTH * 1.25, (0.24 * SHOWN + 0.72) * down + 0.35) as figure:
        figure.set_layout_engine("constrained", h_pad=0.08, w_pad=0.08)
        axes = figure.subplots(down, 2 if len(panels) > 1 else 1, squeeze=False, sharex=True).ravel()
        for ax, outcome in zip(axes, panels, strict=False):
            own = frame[frame["outcome"] == outcome]
            at, color = np.arange(len(own))[::-1], view.color(outcome)
            ax.axvline(0, color=RULE, lw=0.9)
            for order, gap, fill in (("S1", -0.17, "white"), ("ST", 0.17, color)):
                ax.hlines(at + gap, own[f"{order}_low"], own[f"{order}_high"], color=color, lw=1.1)
                ax.plot(own[order], at + gap, "o", ms=4.6, mfc=fill, mec=color, mew=1.0, ls="none")
            ax.set_yticks(at, [on_two_lines(symbol) for symbol in own["symbol"]], linespacing=0.9)
            ax.set_ylim(-0.6, SHOWN - 0.4)
            ax.tick_params(axis="y", length=0, labelsize=8.6)
            ax.set_title(panel_title(view, outcome), loc="left", fontsize=8.8)
            ax.grid(axis="x", color=SHADE, lw=0.8)
            ax.set_axisbelow(True)
        low, high = axes[0].get_xlim()
        axes[0].set_xlim(max(low, -0.5), min(max(high, 1.0), 1.5))
        for ax in axes[len(panels) :]:
            ax.set_visible(False)
        figure.supxlabel("Share of the variance (filled: total order; hollow: first order)", fontsize=9.6)
        body = svg_text(figure, "figure-1", "Sobol indices of the outcomes in the headline")
    unsure = [outcome for outcome in panels if view.indices(outcome)["first"].iloc[0] < SURE]
    n = view.found.settings.samples
    said = (
        f"N = {n} is too small to rank the first two with certainty in {len(unsure)} of {len(panels)} panels: "
        "take both as important, or double the samples."
        if unsure
        else f"N = {n} ranks the first above the second in every panel (in {100 * SURE:.0f}% of the resamples or more)."
    )
    footnote = (
        "Sobol indices by SALib; bars: 95% intervals by bootstrap. Total order: share of the variance that would be "
        "left if all else were known; first order: share that would go if this were known. Where total is well "
        "above first, the parameter acts together with others. An index below 0 or above 1 is sampling noise; see "
        "its interval."
    )
    return Exhibit("Figure", "1", f"What decides {view.topic}", frame, body, footnote, said)


def curves(view: View) -> Section:
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
                ax.set_title(panel_title(view, name), loc="left", fontsize=8.8)
                ax.set_ylabel(first_upper(view.unit(name)), fontsize=9.0)
                unit = "" if row["unit"] == "1" else f" ({row['unit']})"
                ax.set_xlabel(f"{tops[name]}{unit}", fontsize=9.0)
                _reference(ax, 100.0 if view.unit(name) == "% of baseline" else 0.0)
        body = svg_text(figure, "figure-2", "Outcomes against the parameter that matters most")
    said = []
    for subject, names in view.subjects.items():
        name = max(names, key=lambda n: float(view.indices(n).set_index("symbol").loc[tops[n], "ST"]))
        curve = frame[frame["outcome"] == name]
        ends = " to ".join(three(curve["median"].iloc[k]) for k in (0, -1))
        said.append(f"{subject}, {view.facts.loc[name, 'meaning']}: {ends} over the range of {tops[name]}")
    footnote = (
        f"Line: median over the vectors in each of {parts} equal parts of the parameter's range; band: 90% of them, "
        f"while the other {len(found.kept) - 1} parameters move (uncertainty of parameters, not spread of patients). "
        "Dotted: default."
    )
    exhibit = Exhibit(
        "Figure", "2", "Outcomes against the unknown that matters most to them", frame, body, footnote,
        f"Medians, {'; '.join(said)}.",
    )  # fmt: skip
    return Section("2", "What the strongest unknowns do", "curve", exhibits=[exhibit])


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
