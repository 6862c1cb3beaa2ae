"""Figures of several runs: estimates under each other, courses beside each other."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ranklsim.reports.figures.drawing import (
    INK,
    RULE,
    SOFT,
    WIDTH,
    drawing,
    fitted,
    month_axis,
    text_width,
    thinned,
    two_lines,
)

Looks = Mapping[tuple[str, str], tuple[str, str]]
"""Run and arm to colour and marker."""

LINE, HEAD, AXIS = 0.14, 0.36, 0.4
"""Inches of a line of a name, of a panel's title, and of the space below a panel."""
NAMES, SIZE = 2.9, 8.4
"""Inches for the names of the rows, at most, and their size in points."""


def forest(frame: pd.DataFrame, *, colors: Looks) -> Figure:
    """Estimates with 95% CI, a row a run and arm, a panel an endpoint.

    Parameters
    ----------
    frame : DataFrame
        Columns `what`, `run`, `arm`, `label`, `unit`, `estimate`, `ci_low`, `ci_high`.
    """
    panels = [(str(what), own.reset_index(drop=True)) for what, own in frame.groupby("what", sort=False)]
    names = [f"{run}: {label}" for run, label in frame[["run", "label"]].itertuples(index=False)]
    left = 0.22 + min(NAMES, max(text_width(name, SIZE) for name in names))
    told = {name: fitted(name, NAMES, SIZE) for name in names}
    row_height = 0.11 + LINE * max(name.count("\n") + 1 for name in told.values())
    height = sum(HEAD + row_height * len(own) + AXIS for _, own in panels)
    with drawing(WIDTH, height) as figure:
        top = height
        for what, own in panels:
            tall = row_height * len(own)
            top -= HEAD + tall
            ax = figure.add_axes((left / WIDTH, top / height, 1 - (left + 0.12) / WIDTH, tall / height))
            top -= AXIS
            for k, row in enumerate(own.itertuples()):
                y = len(own) - 1 - k
                color, marker = colors[str(row.run), str(row.arm)]
                if np.isfinite(row.ci_low):
                    ax.plot([row.ci_low, row.ci_high], [y, y], color=color, lw=1.6)
                ax.plot([row.estimate], [y], marker=marker, ms=5.5, color=color, mec="white", mew=0.6)
                ax.text(
                    (0.1 - left) / (WIDTH - left - 0.12), y, told[f"{row.run}: {row.label}"], fontsize=SIZE,
                    transform=ax.get_yaxis_transform(), va="center", linespacing=1.1,
                )  # fmt: skip
            ax.axvline(0, color=RULE, lw=0.8, zorder=0)
            ax.set_ylim(-0.6, len(own) - 0.4)
            ax.set_yticks([])
            ax.spines["left"].set_visible(False)
            title = fitted(what, WIDTH - 0.2, 9.6)
            figure.text(0.012, (top + AXIS + tall + 0.12) / height, title, fontsize=9.6, color=INK)
        return figure


def courses(frame: pd.DataFrame, *, colors: Looks, ylabel: str, reference: float) -> Figure:
    """Means or medians with bars by visit, a panel a run, on one scale; arms by colour, marker and name.

    Parameters
    ----------
    frame : DataFrame
        Columns `run`, `arm`, `label`, `month`, `value`, `ci_low`, `ci_high`.
    reference : float
        Where a line is drawn.
    """
    runs = list(dict.fromkeys(frame["run"]))
    most = max(frame.groupby("run")["arm"].nunique())
    panel, head = 1.9, 0.32
    low = float(np.nanmin(frame[["value", "ci_low"]].to_numpy(float)))
    high = float(np.nanmax(frame[["value", "ci_high"]].to_numpy(float)))
    room = max(high - low, 1e-6)
    below = 0.52 + 0.19 * -(-most // 2)
    height = len(runs) * (head + panel + below)
    last = float(frame["month"].max())
    with drawing(WIDTH, height) as figure:
        for k, run in enumerate(runs):
            bottom = height - (k + 1) * (head + panel + below) + below
            ax = figure.add_axes((0.1, bottom / height, 0.87, panel / height))
            own = frame[frame["run"] == run]
            for arm, course in own.groupby("arm", sort=False):
                color, marker = colors[str(run), str(arm)]
                x, y = course["month"].to_numpy(float), course["value"].to_numpy(float)
                bars = np.vstack([y - course["ci_low"].to_numpy(float), course["ci_high"].to_numpy(float) - y])
                ax.errorbar(
                    x, y, yerr=np.where(np.isfinite(bars), np.maximum(bars, 0), 0), color=color, marker=marker, ms=4,
                    mec="white", mew=0.5, lw=1.3, elinewidth=0.8, label=two_lines(str(course["label"].iloc[0]), 60),
                )  # fmt: skip
            ax.axhline(reference, color=RULE, lw=0.8, zorder=0)
            ax.set_ylim(low - 0.05 * room, high + 0.05 * room)
            month_axis(ax, thinned(sorted(own["month"].unique()), last / 14), "Months since randomisation")
            ax.set_xlim(-0.02 * max(last, 1), last + 0.02 * max(last, 1))
            ax.set_ylabel(ylabel)
            ax.set_title(fitted(str(run), WIDTH - 0.2, 9.8), loc="left")
            ax.legend(
                loc="upper left", bbox_to_anchor=(0.0, -0.42 / panel), ncols=2, frameon=False, fontsize=8.2,
                borderaxespad=0, labelcolor=SOFT,
            )  # fmt: skip
        return figure
