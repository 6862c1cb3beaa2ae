"""Figures of the analyses as SVG text: cumulative incidence with numbers at risk, and forest plots."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

from ranklsim.reports.figures.drawing import INK, RULE, SOFT, WIDTH, drawing
from ranklsim.reports.layout.arms import ArmView
from ranklsim.reports.layout.tables import num, p_value


def forest(frame: pd.DataFrame, arms: Sequence[ArmView], *, xlabel: str, ratio: bool, scale: float = 1.0) -> Figure:
    """Effects in subgroups, one line each, with numbers of patients, intervals in figures and p of interaction.

    Parameters
    ----------
    frame : DataFrame
        Columns of `subgroups.COLUMNS` and `arm`.
    arms : sequence of ArmView
        The arm whose effects these are.
    xlabel : str
    ratio : bool
        Whether the axis is logarithmic with no effect at 1.
    scale : float
        By which effects are multiplied (100 for shares in percent).
    """
    look = next(arm for arm in arms if (frame["arm"] == arm.name).any())
    rows = frame.to_dict("records")
    lines: list[tuple[str, dict[str, object] | None]] = []
    interaction: dict[int, str] = {}  # by line; beside the effects, since it would run into the axis after a long name
    for k, row in enumerate(rows):
        if row["factor"] == "All":
            lines.append(("All patients", row))
            continue
        if k == 0 or rows[k - 1]["factor"] != row["factor"]:
            p = p_value(float(row["p_interaction"]))
            lines.append((str(row["factor"]), None))
            interaction[len(lines) - 1] = f"interaction p = {p}".replace("= <", "< ")
        lines.append((f"   {row['level']}", row))
    pitch, above, below = 0.225, 0.36, 0.55
    total = above + pitch * len(lines) + below
    none = 1.0 if ratio else 0.0
    with drawing(WIDTH, total) as figure:
        ax = figure.add_axes((0.44, below / total, 0.33, pitch * len(lines) / total))
        values = scale * frame[["estimate", "low", "high"]].to_numpy(float)
        known = values[np.isfinite(values) & ((values > 0) if ratio else True)]
        low, high = min(none, *known) if known.size else none, max(none, *known) if known.size else none
        if ratio:
            low, high = max(low, 0.02), min(high, 50.0)
            ax.set_xscale("log")
            ax.set_xlim(low / 1.15, high * 1.15 if high > low else low * 2)
            ticks = [t for t in (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50) if low / 1.15 <= t <= high * 1.15]
            ax.set_xticks(ticks)
            ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            ax.xaxis.set_minor_locator(NullLocator())
            ax.xaxis.set_minor_formatter(NullFormatter())
        else:
            room = max(high - low, 1e-6)
            ax.set_xlim(low - 0.05 * room, high + 0.05 * room)
        ax.axvline(none, color=INK, lw=0.8, zorder=1)
        ax.set_ylim(-len(lines) + 0.5, 0.5)
        ax.set_yticks([])
        ax.spines["left"].set_visible(False)
        where = ax.get_yaxis_transform()
        heads = ((-1.28, "Subgroup", "left"), (-0.06, "Patients", "right"), (1.06, "Estimate (95% CI)", "left"))
        for x, words, side in heads:
            ax.text(x, 0.95, words, transform=where, fontsize=8.6, color=SOFT, ha=side, va="center")
        first, last = ax.get_xlim()
        for k, (words, row) in enumerate(lines):
            ax.text(-1.28, -k, words, transform=where, fontsize=9.0, va="center", weight="normal" if row else "bold")
            if row is None:
                ax.axhline(-k + 0.5, color=RULE, lw=0.6, zorder=0)
                ax.text(1.06, -k, interaction[k], transform=where, fontsize=8.8, va="center", color=SOFT)
                continue
            sizes = f"{row['n']} / {row['n_control']}"
            ax.text(-0.06, -k, sizes, transform=where, fontsize=8.8, va="center", ha="right")
            centre, left, right = (scale * float(str(row[name])) for name in ("estimate", "low", "high"))
            if np.isfinite(centre) and (centre > 0 or not ratio):
                if np.isfinite(left) and np.isfinite(right):
                    ends = (max(left, first), min(right, last))
                    ax.plot(ends, (-k, -k), color=look.color, lw=1.4, solid_capstyle="butt", zorder=3)
                size = 6.5 if row["factor"] == "All" else 5.0
                marker = "D" if row["factor"] == "All" else "s"
                if first <= centre <= last:
                    ax.plot([centre], [-k], marker=marker, ms=size, color=look.color, mec="white", mew=0.6, zorder=4)
            shown = f"{num(centre)} ({num(left)}, {num(right)})" if np.isfinite(left) else "not estimable"
            ax.text(1.06, -k, shown, transform=where, fontsize=8.8, va="center")
        ax.set_xlabel(xlabel)
        return figure
