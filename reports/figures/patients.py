"""Figures of single patients: courses of some of them, and the result of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ranklsim.reports.figures.drawing import (
    INK,
    RULE,
    SOFT,
    WIDTH,
    drawing,
    fitted,
    month_axis,
    shown,
    thinned,
)
from ranklsim.reports.layout.arms import ArmView

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 2
TITLE = 9.8  # points
_FOOT = 0.34  # inches from the bottom to the words below the lowest axes
STEPS = 400
"""Patients. A waterfall of more patients shows this many of them, evenly spaced."""


@contextmanager
def _panels(
    frame: pd.DataFrame, arms: Sequence[ArmView], panel: float, ylabel: str, xlabel: str, *, counted: bool = False
) -> Iterator[tuple[Figure, list[tuple[Axes, ArmView, pd.DataFrame]]]]:
    """A figure with a panel `panel` inches high for each arm, `COLUMNS` in a row, all on one scale.

    The arm's name is the title, with the number of its rows if they are `counted`.
    """
    own, wide, gap = shown(frame, arms), 0.395, 0.095
    counts = frame["arm"].value_counts()
    titles = [f"{arm.label} (n\u00a0=\u00a0{counts[arm.name]})" if counted else arm.label for arm in own]
    titles = [fitted(title, WIDTH * wide, TITLE) for title in titles]
    top = 0.2 + 0.16 * (max((title.count("\n") for title in titles), default=0) + 1)
    between = top + 0.14
    height = top + -(-len(own) // COLUMNS) * (panel + between) + 0.3
    low, high = float(frame["value"].min()), float(frame["value"].max())
    span = (high - low) or 1.0
    with drawing(WIDTH, height) as figure:
        panels = []
        for k, arm in enumerate(own):
            bottom = 1 - (top + (k // COLUMNS) * (panel + between) + panel) / height
            ax = figure.add_axes((gap + (k % COLUMNS) * (wide + gap), bottom, wide, panel / height))
            ax.set_ylim(low - 0.04 * span, high + 0.04 * span)
            ax.set_title(titles[k], loc="left", fontsize=TITLE)
            if k % COLUMNS == 0:
                ax.set_ylabel(ylabel)
            panels.append((ax, arm, frame[frame["arm"] == arm.name]))
        figure.text(0.5, _FOOT / height, xlabel, ha="center", color=INK)
        yield figure, panels


def spaghetti(frame: pd.DataFrame, arms: Sequence[ArmView], *, ylabel: str, xlabel: str) -> Figure:
    """Courses of single patients, a panel an arm, on one scale; the mean of those drawn is the bold line.

    Parameters
    ----------
    frame : DataFrame
        Columns `patient`, `arm`, `month`, `value`.
    """
    from matplotlib.collections import LineCollection

    with _panels(frame, arms, 1.55, ylabel, xlabel) as (figure, panels):
        for ax, arm, own in panels:
            values, rows = own[["month", "value"]].to_numpy(float), own.groupby("patient").indices
            courses = [values[rows[patient]] for patient in sorted(rows)]
            ax.add_collection(LineCollection(courses, colors=arm.color, linewidths=0.6, alpha=0.45))
            mean = own.groupby("month")["value"].mean()
            ax.plot(mean.index, mean.to_numpy(), color=INK, lw=1.7)
            ax.axhline(0, color=RULE, lw=0.7, zorder=0)
            month_axis(ax, thinned(sorted(frame["month"].unique()), 2.6), None)
        return figure


def waterfall(frame: pd.DataFrame, arms: Sequence[ArmView], *, ylabel: str) -> Figure:
    """Every patient's result, from the highest to the lowest, a panel an arm, on one scale.

    Parameters
    ----------
    frame : DataFrame
        Columns `arm`, `value`, sorted within an arm from high to low.
    """
    xlabel = "Patients from the highest to the lowest (%)"
    with _panels(frame, arms, 1.45, ylabel, xlabel, counted=True) as (figure, panels):
        for ax, arm, own in panels:
            value = own["value"].to_numpy(float)
            picked = value if value.size <= STEPS else value[np.linspace(0, value.size - 1, STEPS).round().astype(int)]
            edges = np.linspace(0, 100, picked.size + 1)
            ax.stairs(picked, edges, baseline=0, fill=True, color=arm.color, lw=0)
            ax.axhline(0, color=INK, lw=0.8)
            ax.set_xlim(0, 100)
            gained = 100 * float((value > 0).mean())
            ax.text(0.98, 0.94, f"{gained:.0f}% above 0", transform=ax.transAxes, ha="right", va="top", color=SOFT)
        return figure
