"""Figures of analyses: effects in subgroups, interim looks between their boundaries, and tipping points."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ranklsim.cohorts.words import month_text
from ranklsim.pkpd.errors import BadInput
from ranklsim.reports.figures.drawing import (
    INK,
    RULE,
    SHADE,
    SOFT,
    WIDTH,
    apart,
    drawing,
    ratio_axis,
    shown,
    spread,
    text_width,
    wrap_label,
)
from ranklsim.reports.layout.arms import ArmView
from ranklsim.reports.layout.tables import p_value, with_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ranklsim.reports.analyses.results import Analyses

_PANEL = 2.5  # inches
_TALLEST = 8.0
"""Highest statistic on the axis, unless one that was seen is higher. Boundaries above the axis are not drawn."""


def boundaries(frame: pd.DataFrame, arms: Sequence[ArmView], *, level: float, planned: bool) -> Figure:
    """Statistics and boundaries against information, a panel an arm.

    Parameters
    ----------
    frame : DataFrame
        Columns of `monitoring.COLUMNS`; looks that were not tested are left out.
    arms : sequence of ArmView
    level : float
        Two-sided level of one test, drawn for comparison.
    planned : bool
        Whether information is relative to a plan, not to what there was at the end.
    """
    from ranklsim.cohorts.statistics.tails import normal_quantile  # scipy takes long to import

    kept = frame[frame["boundary_z"].notna()]
    single = float(normal_quantile(1 - level / 2))
    own_arms = shown(kept, arms)
    height = 0.25 + len(own_arms) * (_PANEL + 0.62) + 0.2
    with drawing(WIDTH, height) as figure:
        for k, arm in enumerate(own_arms):
            bottom = height - 0.25 - (k + 1) * (_PANEL + 0.62) + 0.3
            ax = figure.add_axes((0.085, bottom / height, 0.66, _PANEL / height))
            _panel(ax, kept[kept["arm"] == arm.name], arm, level, single)
            if k == len(own_arms) - 1:
                ax.set_xlabel(f"Information (% of that {'planned' if planned else 'of the end'})")
        return figure


def _panel(ax: Axes, own: pd.DataFrame, arm: ArmView, level: float, single: float) -> None:
    """One arm: its statistics, the boundaries, and the quantile `single` of one test at `level`."""
    x = 100 * own["share"].to_numpy(float)
    z, limit = own["z"].to_numpy(float), own["boundary_z"].to_numpy(float)
    finite = limit[np.isfinite(limit) & (limit <= _TALLEST)]
    reach = max(3.0, float(np.abs(z).max()), float(finite.max()) if finite.size else 0.0) * 1.12
    right = max(100.0, float(x.max())) * 1.04
    ax.set_xlim(0, right)
    ax.set_ylim(-reach, reach)
    edge = np.where(np.isfinite(limit), limit, 2 * reach)
    ax.fill_between(x, np.minimum(edge, 2 * reach), 2 * reach, color=SHADE, lw=0, zorder=0)
    ax.fill_between(x, -2 * reach, -np.minimum(edge, 2 * reach), color=SHADE, lw=0, zorder=0)
    for side in (1, -1):
        ax.plot(x, side * edge, color=INK, lw=1.1, marker="_", ms=9, mew=1.6, zorder=2)
        ax.axhline(side * single, color=RULE, lw=0.8, ls=(0, (1, 1.6)), zorder=1)
    ax.axhline(0, color=RULE, lw=0.7, zorder=1)
    futile = own["futility_z"].to_numpy(float)
    if np.isfinite(futile).any():
        known = np.isfinite(futile)
        ax.plot(x[known], futile[known], color=SOFT, lw=1.1, ls=(0, (5, 2)), marker="_", ms=7, zorder=2)
    ax.plot(x, z, color=arm.color, lw=1.5, ls=arm.dash, marker=arm.marker, ms=6, mec="white", mew=0.7, zorder=4)
    ax.set_ylabel("z, benefit upwards")
    for share, at, month in zip(x, spread(x, 0.085 * right, 0.0, right), own["month"].to_numpy(float), strict=True):
        words = month_text(round(month, 1)) if np.isfinite(month) else "end"
        ax.plot([share, at], [1.0, 1.03], transform=ax.get_xaxis_transform(), color=RULE, lw=0.6, clip_on=False)
        ax.text(at, 1.04, words, transform=ax.get_xaxis_transform(), ha="center", fontsize=8.2, color=SOFT)
    ax.text(1.03, 1.04, "calendar month", transform=ax.transAxes, fontsize=8.2, color=SOFT)
    _names(ax, arm, own, level, single)


def _names(ax: Axes, arm: ArmView, own: pd.DataFrame, level: float, single: float) -> None:
    """Labels of the lines, at the right of the panel."""
    entries = [
        (0.94, INK, "-", "_", "efficacy boundary (harm: below)"),
        (0.78, RULE, (0, (1, 1.6)), "", f"{single:.2f}: one test at {level:g}"),
        (0.62, arm.color, arm.dash, arm.marker, f"z of {arm.label}"),
    ]
    if own["futility_z"].notna().any():
        entries.append((0.42, SOFT, (0, (5, 2)), "_", "futility below"))
    for y, color, dash, marker, words in entries:
        ax.plot(
            [1.03, 1.09],
            [y, y],
            transform=ax.transAxes,
            clip_on=False,
            color=color,
            ls=dash,
            marker=marker,
            ms=5,
            lw=1.3,
        )
        ax.text(1.11, y, wrap_label(words, 20), transform=ax.transAxes, va="center", fontsize=8.6, linespacing=1.15)


def tipping(
    frame: pd.DataFrame,
    arms: Sequence[ArmView],
    *,
    points: pd.DataFrame,
    limits: Sequence[float],
    xlabel: str,
    ylabel: str,
) -> Figure:
    """Difference to control against delta, a panel an arm; a line where the result is lost.

    Parameters
    ----------
    frame, points : DataFrame
        Of `tipping.Tipping`.
    arms : sequence of ArmView
    limits : sequence of float
        Differences that the interval must exclude.
    xlabel, ylabel : str
    """
    own_arms = shown(frame, arms)
    height = 0.2 + len(own_arms) * (_PANEL + 0.45) + 0.25
    lost = points.set_index("arm")["delta"].astype(float)
    with drawing(WIDTH, height) as figure:
        for k, arm in enumerate(own_arms):
            bottom = height - 0.2 - (k + 1) * (_PANEL + 0.45) + 0.2
            ax = figure.add_axes((0.1, bottom / height, 0.85, _PANEL / height))
            own = frame[frame["arm"] == arm.name]
            x = own["delta"].to_numpy(float)
            ax.fill_between(x, own["low"], own["high"], color=arm.color, alpha=0.18, lw=0)
            ax.plot(x, own["difference"], color=arm.color, lw=1.6, ls=arm.dash, marker=arm.marker, ms=4.5)
            for limit in limits:
                ax.axhline(limit, color=INK, lw=0.9)
            at = lost[arm.name]
            if np.isfinite(at):
                where = ax.get_xaxis_transform()
                ax.axvline(at, color=SOFT, lw=0.9, ls=(0, (1, 1.6)))
                ax.text(at, 0.97, f" lost from {at:.3g} on", transform=where, va="top", fontsize=8.6, color=SOFT)
            ax.set_title(wrap_label(arm.label, 60), loc="left")
            ax.set_ylabel(ylabel)
            if k == len(own_arms) - 1:
                ax.set_xlabel(xlabel)
        return figure


def dose_response(
    frame: pd.DataFrame, arms: Sequence[ArmView], *, target: tuple[float, float] | None, ylabel: str
) -> Figure:
    """Differences of arms to the comparator by dose, the model average with its band, and the target dose.

    Parameters
    ----------
    frame : DataFrame
        Of `DoseDetail.course`.
    arms : sequence of ArmView
        In the order of their doses.
    target : (float, float) or None
        Effect and dose (infinite if none reaches it).
    ylabel : str
    """
    curve, points = frame[frame["arm"] == ""], frame[frame["arm"] != ""].set_index("arm")
    top = arms[-1]
    with drawing(WIDTH, 3.2) as figure:
        ax = figure.add_axes((0.12, 0.16, 0.72, 0.78))
        ax.axhline(0, color=RULE, lw=0.7, zorder=1)
        if len(curve):
            x = curve["dose"].to_numpy(float)
            ax.fill_between(x, curve["low"], curve["high"], color=top.color, alpha=0.18, lw=0, zorder=2)
            ax.plot(x, curve["effect"], color=top.color, lw=1.8, zorder=3)
        for row in points.to_dict("records"):
            ax.plot([row["dose"]] * 2, [row["low"], row["high"]], color=INK, lw=1.1, zorder=4)
            ax.plot(row["dose"], row["effect"], color=INK, marker="o", ms=6, mec="white", mew=0.7, zorder=5)
        ax.set_xlim(left=0, right=1.04 * float(points["dose"].max()))
        if target is not None:
            effect, dose = target
            ax.axhline(effect, color=SOFT, lw=0.9, ls=(0, (5, 2)), zorder=2)
            words = f"target {effect:g}"
            if np.isfinite(dose):
                ax.axvline(dose, color=SOFT, lw=0.9, ls=(0, (1, 1.6)), zorder=2)
                words += f":\n{dose:.3g} mg"
            ax.text(1.01, effect, words, transform=ax.get_yaxis_transform(), va="center", fontsize=8.6, color=SOFT)
        ax.set_xticks([0.0, *points["dose"].astype(float)])
        ax.set_xlabel("Dose (mg)")
        ax.set_ylabel(wrap_label(ylabel, 36))
        return figure


def forest(
    frame: pd.DataFrame, arms: Sequence[ArmView], *, xlabel: str, ratio: bool, scale: float = 1.0, digits: int = 2
) -> Figure:
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
    digits : int
        Digits of the effects after the point.
    """
    from matplotlib.ticker import MaxNLocator

    look = next(arm for arm in arms if (frame["arm"] == arm.name).any())
    rows = frame.to_dict("records")
    lines: list[_Line] = []
    for k, row in enumerate(rows):
        if row["factor"] == "All":
            lines.append(_line("All patients", row, scale, digits))
            continue
        if k == 0 or rows[k - 1]["factor"] != row["factor"]:
            p = float(row["p_interaction"])
            said = f"interaction p = {p_value(p)}".replace("= <", "< ") if np.isfinite(p) else ""
            lines.append(_Line(str(row["factor"]), "", said))  # beside the effects, where no long name runs into it
        lines.append(_line(f"   {row['level']}", row, scale, digits))
    pitch, above, below, gap, edge = 0.225, 0.36, 0.55, 0.12, 0.08
    total = above + pitch * len(lines) + below
    heads = ("Subgroup", "Patients", "Estimate (95% CI)")
    first, second, third = (
        max(text_width(head, 8.6), *(text_width(getattr(line, part), 9.0, line.weight) for line in lines))
        for head, part in zip(heads, ("name", "sizes", "said"), strict=True)
    )
    left = edge + first + gap + second + gap
    inside = max(WIDTH - left - gap - third - edge, 1.5)
    wide = left + inside + gap + third + edge
    with drawing(wide, total) as figure:
        ax = figure.add_axes((left / wide, below / total, inside / wide, pitch * len(lines) / total))
        none = 1.0 if ratio else 0.0
        values = np.array([value for line in lines for value in line.effect])
        known = values[np.isfinite(values) & ((values > 0) if ratio else True)]
        low, high = min(none, *known) if known.size else none, max(none, *known) if known.size else none
        if ratio:
            low = min(low, 0.1) if (values == 0).any() else low
            ratio_axis(ax, max(low, 0.02) / 1.15, min(high, 50.0) * 1.15 if high > low else low * 2)
        else:
            room = max(high - low, 1e-6)
            ax.set_xlim(low - 0.05 * room, high + 0.05 * room)
            ax.xaxis.set_major_locator(MaxNLocator(max(2, int(inside / 0.55))))
        ax.axvline(none, color=INK, lw=0.8, zorder=1)
        ax.set_ylim(-len(lines) + 0.5, 0.5)
        ax.set_yticks([])
        ax.spines["left"].set_visible(False)
        where = ax.get_yaxis_transform()
        places = ((edge - left) / inside, -gap / inside, 1 + gap / inside)
        for x, words, side in zip(places, heads, ("left", "right", "left"), strict=True):
            ax.text(x, 0.95, words, transform=where, fontsize=8.6, color=SOFT, ha=side, va="center")
        begin, end = ax.get_xlim()
        bars: list[tuple[float, float, float, float]] = []
        points: dict[str, list[tuple[float, float]]] = {}  # by marker
        for k, line in enumerate(lines):
            style = {"transform": where, "va": "center"}
            ax.text(places[0], -k, line.name, fontsize=9.0, weight=line.weight, **style)
            ax.text(places[1], -k, line.sizes, fontsize=8.8, ha="right", **style)
            ax.text(places[2], -k, line.said, fontsize=8.8, color=INK if line.sizes else SOFT, **style)
            if line.effect:
                centre, least, most = line.effect
                if np.isfinite([least, most]).all():
                    bars.append((max(least, begin), -k, min(most, end), -k))
                marker = "<" if centre < begin else ">" if centre > end else "D" if line.name == "All patients" else "s"
                points.setdefault(marker, []).append((min(max(centre, begin), end), -k))
        rules = [-k + 0.5 for k, line in enumerate(lines) if not line.sizes]
        apart(ax, [(0.0, y, 1.0, y) for y in rules], transform=where, color=RULE, lw=0.6, zorder=0)
        apart(ax, bars, color=look.color, lw=1.4, zorder=3)
        for marker, places_of in points.items():
            style = {"ms": 6.5 if marker == "D" else 5.0, "mec": "white", "mew": 0.6, "zorder": 4, "clip_on": False}
            ax.plot(*np.array(places_of).T, ls="", marker=marker, color=look.color, **style)
        ax.set_xlabel(xlabel)
        return figure


@dataclass(frozen=True)
class _Line:
    """A line of a forest: name, numbers of patients, what is said at its right; effect with its ends, if any."""

    name: str
    sizes: str
    said: str
    effect: tuple[float, ...] = ()

    @property
    def weight(self) -> str:
        return "normal" if self.sizes else "bold"


def _line(name: str, row: Mapping[str, Any], scale: float, digits: int) -> _Line:
    """A line of one group of patients."""
    sizes = f"{row['n']} / {row['n_control']}"
    centre, low, high = (scale * float(row[part]) for part in ("estimate", "low", "high"))
    if not np.isfinite(centre):
        return _Line(name, sizes, "not estimable")
    return _Line(name, sizes, with_interval(centre, low, high, digits), (centre, low, high))


def endpoints_figure(found: Analyses) -> Figure:
    """The effect in every endpoint and arm with its interval, a panel for each measure of effect.

    Parameters
    ----------
    found : Analyses
    """
    from ranklsim.cohorts.statistics.claims import is_ratio  # scipy takes long to import

    rows = found.endpoints[np.isfinite(found.endpoints["effect"].to_numpy(float))]
    kinds = list(dict.fromkeys(rows["effect_measure"]))
    if not kinds:
        raise BadInput("there is nothing to draw in this result: no endpoint has an effect.")
    counts = [int((rows["effect_measure"] == kind).sum()) for kind in kinds]
    with drawing(WIDTH * 1.25, 0.34 * sum(counts) + 0.75 * len(kinds)) as figure:
        figure.set_layout_engine("constrained")
        axes = figure.subplots(len(kinds), 1, squeeze=False, height_ratios=counts)[:, 0]
        for ax, kind in zip(axes, kinds, strict=True):
            own = rows[rows["effect_measure"] == kind]
            at = np.arange(len(own))[::-1]
            ax.hlines(at, own["effect_low"], own["effect_high"], color=INK, lw=1.1)
            ax.plot(own["effect"], at, "o", ms=4.6, color=INK, ls="none")
            ratio = is_ratio(kind)
            if ratio:
                ax.set_xscale("log")
            ax.axvline(1.0 if ratio else 0.0, color=RULE, lw=0.9)
            names = [textwrap.shorten(name, 46, placeholder=" …") for name in own["endpoint"]]
            labels = [f"{name}: {arm}" for name, arm in zip(names, own["arm"], strict=True)]
            ax.set_yticks(at, labels, fontsize=8.0)
            ax.set_ylim(-0.7, len(own) - 0.3)
            ax.set_xlabel(f"{kind[:1].upper()}{kind[1:]} against the comparator, 95 % interval", fontsize=8.8)
    return figure
