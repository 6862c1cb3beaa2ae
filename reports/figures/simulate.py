"""The figure of ``ranklsim simulate``: one typical patient, from drug to bone, on one time axis."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ranklsim import __version__
from ranklsim.cohorts.courses import Course, Sweep
from ranklsim.pkpd.agents import Agent
from ranklsim.pkpd.dosing import Regimen
from ranklsim.pkpd.units import DAYS_PER_MONTH
from ranklsim.reports.figures.drawing import spread

INK, PALE = "#222222", "#EDEDED"
# Curves that are not agents: black and Okabe-Ito blue, vermilion, green, told apart by dash as well.
COLORS = ("#000000", "#0072B2", "#D55E00", "#009E73")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (3, 1, 1, 1)), (0, (1, 1)))
STYLES = tuple(zip(COLORS, DASHES, strict=True))
CURVES = (*STYLES, *zip(COLORS, DASHES[1:] + DASHES[:1], strict=True))
SITES = {"LS": "Lumbar spine", "TH": "Total hip", "FN": "Femoral neck", "R13": "1/3 radius"}
NAME_HEIGHT = 0.15  # of a panel, between two names
MOST_PANELS, MOST_CURVES = 6, 8
STYLE = {"font.size": 8, "svg.fonttype": "path", "svg.hashsalt": "ranklsim", "axes.linewidth": 0.6}
MOST_MARKS = 60  # doses of one regimen that are marked one by one
NOTE = "Typical patient: no variability between patients, no measurement error. Simulated data"


@dataclass(frozen=True)
class _Panel:
    """Curves on one vertical axis: a column of the frame to its label; `rest` is the untreated level, None if zero."""

    axis: str
    curves: Mapping[str, str]
    colors: Mapping[str, str]
    rest: float | None = None
    log: bool = False


def _panels(frame: pd.DataFrame, agents: Sequence[Agent]) -> list[_Panel]:
    """Panels of a simulation, from top to bottom; a panel without data is left out."""
    drugs = {f"C_{agent.name}": agent for agent in agents if f"C_{agent.name}" in frame}
    bound = [agent for agent in agents if agent.kind == "binder"]
    wanted = [
        _Panel(
            "Free drug in\nserum (µg/mL)",
            {column: agent.label for column, agent in drugs.items()},
            {column: agent.color for column, agent in drugs.items()},
            log=True,
        ),
        _Panel("RANKL bound by\ndrug (%)", {"OCC_mRANKL": "mRANKL", "OCC_sRANKL": "sRANKL"} if bound else {}, {}),
        _Panel("Marker (% of\nbaseline)", {"CTX_pct": "CTX", "P1NP_pct": "P1NP"}, {}, rest=100.0),
        _Panel("Change in BMD\n(%)", {f"BMD_{site}_pct": name for site, name in SITES.items()}, {}, rest=0.0),
    ]
    return [panel for panel in wanted if any(column in frame for column in panel.curves)]


def _title(frame: pd.DataFrame, regimens: Sequence[Regimen]) -> str:
    """Title of the figure, computed from its numbers."""
    last = max(part.times_days()[-1] for part in regimens) / DAYS_PER_MONTH
    months, CTX = frame["month"].to_numpy(dtype=float), frame["CTX_pct"].to_numpy(dtype=float)
    low, high = int(CTX.argmin()), int(CTX.argmax())
    moves = []
    if CTX[low] < 97:
        moves.append((months[low], f"falls to {CTX[low]:.0f} % of baseline"))
    if CTX[high] > 103:
        since = months[high] - last
        when = f", {since:.0f} months after the last dose" if since > 1 else ""
        moves.append((months[high], f"peaks at {CTX[high]:.0f} %{when}"))
    course = " and ".join(text for _, text in sorted(moves)) or "stays at its baseline"
    BMD = frame["BMD_LS_pct"].to_numpy(dtype=float)
    far = int(abs(BMD).argmax())
    return (
        f"CTX {course}; lumbar spine BMD is {BMD[far]:+.1f} % at its furthest from baseline (month {months[far]:.0f})"
    )


def course_figure(course: Course) -> Figure:
    """Drug, occupancy, markers and BMD over time.

    Parameters
    ----------
    course : Course
        From `ranklsim.simulate`. Doses are marked, the time under treatment is shaded; with draws, each curve has the
        band of its interval.
    """
    plan, vectors, frame = course.about.plan, course.about.vectors, course.to_draw()
    shown = _panels(frame, plan.agents)
    with rc_context(STYLE):
        figure = Figure(figsize=(6.3, 0.9 + 1.45 * len(shown)), layout="constrained")
        axes = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
        for axis, panel in zip(axes, shown, strict=True):
            _shade_treatment(axis, plan.regimens)
            _draw_panel(axis, panel, frame)
        _mark_doses(axes[0], plan.regimens)
        _months_axis(axes[-1], frame["month"].max())
        figure.suptitle(
            textwrap.fill(_title(frame, plan.regimens), 84), x=0.01, ha="left", fontsize=9, fontweight="bold"
        )
        _note(figure, 0 if vectors is None else len(vectors) - 1)
    return figure


def sweep_figure(found: Sweep) -> Figure:
    """One panel for each of the first quantities of a sweep, one curve with its band for each course.

    Parameters
    ----------
    found : Sweep
        From `ranklsim.sweep`. A quantity without months is drawn over the last column that differs.
    """
    swept: list[str] = found.about
    quantities = list(dict.fromkeys(found["quantity"]))[:MOST_PANELS]
    with rc_context(STYLE):
        figure = Figure(figsize=(6.3, 0.9 + 1.8 * len(quantities)), layout="constrained")
        axes = figure.subplots(len(quantities), 1, squeeze=False)[:, 0]
        for axis, quantity in zip(axes, quantities, strict=True):
            rows = found[found["quantity"] == quantity]
            over_time = bool(rows["month"].notna().all())
            by = swept if over_time else swept[:-1]
            groups = [("", rows)] if not by else list(rows.groupby(by, sort=False))
            ends = []
            for k, (key, own) in enumerate(groups[:MOST_CURVES]):
                color, dash = CURVES[k % len(CURVES)]
                x = own["month"] if over_time or not swept else _numbers_of(own[swept[-1]])
                axis.plot(x, own["value"], color=color, linestyle=dash, linewidth=1.2, marker="" if over_time else "o")
                if "low" in own:
                    axis.fill_between(x, own["low"], own["high"], color=color, alpha=0.15, linewidth=0)
                label = ", ".join(map(str, key)) if isinstance(key, tuple) else str(key)
                ends.append((float(own["value"].iloc[-1]), textwrap.shorten(label, 36), color))
            axis.set_ylabel(textwrap.fill(f"{quantity} ({rows['unit'].iloc[0]})", 28))
            axis.spines[["top", "right"]].set_visible(False)
            if over_time:
                _months_axis(axis, rows["month"].max())
            elif swept:
                unit = found[swept[-1]].astype(str).str.extract(r"^[-+.\d]+\s*(\S+)$")[0].dropna().unique()
                axis.set_xlabel(f"{swept[-1]} ({unit[0]})" if len(unit) == 1 else swept[-1])
            _name_curves(axis, [end for end in ends if end[1]])
        _note(figure, 1 if "low" in found else 0)
    return figure


def _numbers_of(values: pd.Series) -> pd.Series:
    """Values of a factor as numbers where they are texts with one unit; texts as they are otherwise."""
    found = values.astype(str).str.extract(r"^([-+.\deE]+)\s*(.*)$")
    numbers = pd.to_numeric(found[0], errors="coerce")
    return numbers if numbers.notna().all() and found[1].nunique() == 1 else values.astype(str)


def _months_axis(axis: Axes, months: float) -> None:
    axis.set_xlabel("Months since the first dose")
    axis.set_xlim(0, months)
    step = next(step for step in (1, 3, 6, 12, 24, 60, 120, 240, 1200) if months / step <= 11)
    axis.set_xticks(np.arange(0, months + 1e-9, step))


def _note(figure: Figure, draws: int) -> None:
    of = f"{draws} " if draws > 1 else ""
    bands = (
        f"\nCurve: default parameters. Band: 90 % of {of}parameter vectors that agree with published figures"
        * bool(draws)
    )
    figure.supxlabel(f"{NOTE}{bands}; ranklsim {__version__}.", x=0.01, ha="left", fontsize=6.5, color=INK)


def _draw_panel(axis: Axes, panel: _Panel, frame: pd.DataFrame) -> None:
    ends = []
    for (column, label), (color, dash) in zip(panel.curves.items(), STYLES * len(panel.curves), strict=False):
        if column not in frame:
            continue
        values = frame[column].to_numpy(dtype=float)
        drawn = panel.colors.get(column, color)
        axis.plot(frame["month"], values, color=drawn, linestyle=dash, linewidth=1.2)
        if f"{column}_low" in frame:
            axis.fill_between(
                frame["month"], frame[f"{column}_low"], frame[f"{column}_high"], color=drawn, alpha=0.15, linewidth=0
            )
        ends.append((values[-1], label, panel.colors.get(column, color)))
    if panel.log:
        top = max(float(frame[column].max()) for column in panel.curves)
        axis.set_yscale("log")
        axis.set_ylim(top * 2e-4, top * 2)
    if panel.rest is not None:
        axis.axhline(panel.rest, color=INK, linewidth=0.6, zorder=1)
    if panel.axis.startswith("RANKL"):
        axis.set_ylim(-4, 104)
    axis.set_ylabel(panel.axis)
    axis.spines[["top", "right"]].set_visible(False)
    _name_curves(axis, ends)


def _name_curves(axis: Axes, ends: list[tuple[float, str, str]]) -> None:
    """Names at the right of the curves, at the height of their ends, moved apart where they would touch."""
    axis.autoscale_view()
    to_height = axis.transData + axis.transAxes.inverted()
    floor = axis.get_ylim()[0]
    heights = [float(np.clip(to_height.transform((0.0, max(value, floor)))[1], 0.0, 1.0)) for value, _, _ in ends]
    places = spread(heights, NAME_HEIGHT, 0.0, 1.0)
    for height, place, (_, label, color) in zip(heights, places, ends, strict=True):
        axis.plot([1.0, 1.025], [height, place], transform=axis.transAxes, color=color, clip_on=False, linewidth=1.0)
        axis.text(1.03, place, label, transform=axis.transAxes, va="center", color=INK, fontsize=7.5)


def _shade_treatment(axis: Axes, regimens: Sequence[Regimen]) -> None:
    for part in regimens:
        axis.axvspan(part.start_day / DAYS_PER_MONTH, part.end_day / DAYS_PER_MONTH, color=PALE, linewidth=0, zorder=0)


def _mark_doses(axis: Axes, regimens: Sequence[Regimen]) -> None:
    """A mark at each dose above the top panel (a bar where they are too many), the last one named."""
    above = axis.get_xaxis_transform()
    for part in regimens:
        times = part.times_days() / DAYS_PER_MONTH
        if times.size > MOST_MARKS:
            axis.plot(times[[0, -1]], [1.05, 1.05], "-", transform=above, color=INK, linewidth=2, clip_on=False)
        else:
            axis.plot(times, np.full(times.size, 1.05), "v", transform=above, color=INK, markersize=3, clip_on=False)
    last = max(part.times_days()[-1] for part in regimens) / DAYS_PER_MONTH
    several = sum(part.doses for part in regimens) > 1
    axis.annotate(
        "last dose" if several else "dose",
        (last, 1.05),
        xycoords=above,
        xytext=(5, 0),
        textcoords="offset points",
        va="center",
        fontsize=7,
        color=INK,
    )
