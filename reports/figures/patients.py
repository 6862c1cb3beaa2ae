"""Figures of single patients: courses of some of them, and the result of each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ranklsim.reports.figures.drawing import INK, RULE, SOFT, WIDTH, drawing, month_axis, svg_text, thinned, wrap_label
from ranklsim.reports.layout.arms import ArmView

COLUMNS = 2
_FOOT = 0.34  # inches from the bottom to the words below the lowest axes
STEPS = 400
"""Patients beyond this number stand in a waterfall for several: it is drawn through that many of them."""


def _panels(count: int, height: float, panel: float) -> list[tuple[float, ...]]:
    """Places of `count` panels, `COLUMNS` in a row, in a figure `height` inches high."""
    wide, gap = 0.395, 0.095
    return [
        (
            gap + (k % COLUMNS) * (wide + gap),
            1 - (0.36 + (k // COLUMNS) * (panel + 0.5) + panel) / height,
            wide,
            panel / height,
        )
        for k in range(count)
    ]


def spaghetti(frame: pd.DataFrame, arms: Sequence[ArmView], *, anchor: str, alt: str, ylabel: str, xlabel: str) -> str:
    """Courses of single patients, a panel an arm, on one scale; the mean of those drawn is the bold line.

    Parameters
    ----------
    frame : DataFrame
        Columns `patient`, `arm`, `month`, `value`.
    """
    shown = [arm for arm in arms if (frame["arm"] == arm.name).any()]
    panel, rows = 1.55, -(-len(shown) // COLUMNS)
    height = 0.36 + rows * (panel + 0.5) + 0.3
    span = float(frame["value"].max() - frame["value"].min()) or 1.0
    limits = (float(frame["value"].min()) - 0.04 * span, float(frame["value"].max()) + 0.04 * span)
    with drawing(WIDTH, height) as figure:
        for k, (arm, place) in enumerate(zip(shown, _panels(len(shown), height, panel), strict=True)):
            ax = figure.add_axes(place)
            own = frame[frame["arm"] == arm.name]
            for _, course in own.groupby("patient", sort=True):
                ax.plot(course["month"], course["value"], color=arm.color, lw=0.6, alpha=0.45)
            mean = own.groupby("month")["value"].mean()
            ax.plot(mean.index, mean.to_numpy(), color=INK, lw=1.7)
            ax.axhline(0, color=RULE, lw=0.7, zorder=0)
            ax.set_ylim(*limits)
            month_axis(ax, thinned(sorted(frame["month"].unique()), 2.6), None)
            ax.set_title(wrap_label(arm.label, 40), loc="left")
            if k % COLUMNS == 0:
                ax.set_ylabel(ylabel)
        figure.text(0.5, _FOOT / height, xlabel, ha="center", color=INK)
        return svg_text(figure, anchor, alt)


def waterfall(frame: pd.DataFrame, arms: Sequence[ArmView], *, anchor: str, alt: str, ylabel: str) -> str:
    """Every patient's result, from the highest to the lowest, a panel an arm, on one scale.

    Parameters
    ----------
    frame : DataFrame
        Columns `arm`, `value`, sorted within an arm from high to low.
    """
    shown = [arm for arm in arms if (frame["arm"] == arm.name).any()]
    panel, rows = 1.45, -(-len(shown) // COLUMNS)
    height = 0.36 + rows * (panel + 0.5) + 0.3
    span = float(frame["value"].max() - frame["value"].min()) or 1.0
    limits = (float(frame["value"].min()) - 0.04 * span, float(frame["value"].max()) + 0.04 * span)
    with drawing(WIDTH, height) as figure:
        for k, (arm, place) in enumerate(zip(shown, _panels(len(shown), height, panel), strict=True)):
            ax = figure.add_axes(place)
            value = frame.loc[frame["arm"] == arm.name, "value"].to_numpy(float)
            picked = value if value.size <= STEPS else value[np.linspace(0, value.size - 1, STEPS).round().astype(int)]
            edges = np.linspace(0, 100, picked.size + 1)
            ax.stairs(picked, edges, baseline=0, fill=True, color=arm.color, lw=0)
            ax.axhline(0, color=INK, lw=0.8)
            ax.set_xlim(0, 100)
            ax.set_ylim(*limits)
            ax.set_title(f"{wrap_label(arm.label, 40)} (n = {value.size})", loc="left")
            gained = 100 * float((value > 0).mean())
            ax.text(0.98, 0.94, f"{gained:.0f}% above 0", transform=ax.transAxes, ha="right", va="top", color=SOFT)
            if k % COLUMNS == 0:
                ax.set_ylabel(ylabel)
        figure.text(0.5, _FOOT / height, "Patients from the highest to the lowest (%)", ha="center", color=INK)
        return svg_text(figure, anchor, alt)
