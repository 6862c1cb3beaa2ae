"""Figures of the report, each drawn from the frame that is exported beside it.

95% CI and quartiles (patients) are bars; intervals over unknown parameters appear only in figures of their own
kind, hatched or light, and named so. How things look is in `ranklsim.reports.figures.drawing`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ranklsim.cohorts.words import month_text
from ranklsim.reports.figures.drawing import (
    INK,
    RULE,
    SHADE,
    SOFT,
    WIDTH,
    apart,
    dosing,
    drawing,
    end_labels,
    fitted,
    label_height,
    month_axis,
    notes,
    numbers_at_visits,
    power_of_ten,
    shown,
    strip_height,
    text_width,
    thinned,
    two_lines,
    wrap_label,
)
from ranklsim.reports.layout.arms import PREDICTED, ArmView

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEFT = 0.11
"""Share of the width that ticks and title of a vertical axis take, in figures with a panel an arm."""

PART_COLORS = {
    "remodelling": ("#1F3A5F", "", "remodelling"),
    "mineralisation": ("#7D93AD", "", "mineralisation"),
    "modelling": ("#D5DDE6", "", "modelling"),
    "artefact": ("#FFFFFF", "////", "spine artefact"),
}


@contextmanager
def _arm_grid(
    frame: pd.DataFrame,
    arms: Sequence[ArmView],
    ylabel: str,
    *,
    panel: float,
    above: float,
    between: float = 0.62,
    below: float = 0.5,
) -> Iterator[tuple[Figure, list[tuple[Axes, ArmView, pd.DataFrame, bool]]]]:
    """A panel for each arm with rows, two in a line: its axes, arm, rows, and whether it is the lowest."""
    own = shown(frame, arms)
    columns = 2 if len(own) > 1 else 1
    lines = -(-len(own) // columns)
    total = above + lines * panel + (lines - 1) * between + below
    with drawing(WIDTH, total) as figure:
        width, panels = 0.86 / columns - 0.03, []
        for k, arm in enumerate(own):
            line, column = divmod(k, columns)
            bottom = total - above - (line + 1) * panel - line * between
            ax = figure.add_axes((LEFT + column * (width + 0.06), bottom / total, width, panel / total))
            title = fitted(arm.label, WIDTH * width, 9.6, "bold")
            ax.set_title(title, loc="left", fontsize=9.6, weight="bold", pad=5)
            if column == 0:
                ax.set_ylabel(ylabel)
            else:
                ax.tick_params(axis="y", labelleft=False)
            panels.append((ax, arm, frame[frame["arm"] == arm.name], line == lines - 1))
        yield figure, panels


def _by_arm(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    return {str(name): own for name, own in frame.groupby("arm", sort=False)}


_Ends = list[tuple[float, float, ArmView]]
"""End of the line of each arm, in data coordinates."""


def _course_figure(
    draw: Callable[[Axes], _Ends],
    arms: Sequence[ArmView],
    own: Sequence[ArmView],
    months: Sequence[float],
    *,
    xlabel: str,
    ylabel: str,
    marks: str,
    counts: pd.DataFrame,
    heading: str,
) -> Figure:
    """Courses by month that `draw` draws: dosing, arms named at the ends of their lines, numbers of patients below."""
    strips = strip_height(arms)
    above = strips + (0.18 if strips > 0.2 else 0)  # the marks stand above the strips
    below = 0.5 + 0.2 + 0.165 * len(own) + 0.1
    axes_height = max(3.0, label_height(own))
    total = above + axes_height + below + 0.18
    with drawing(WIDTH, total) as figure:
        ax = figure.add_axes((0.112, below / total, 0.583, axes_height / total))
        labelled = month_axis(ax, months, xlabel)
        ends = draw(ax)
        dosing(ax, arms)
        ax.set_ylabel(ylabel)
        small = {"transform": ax.transAxes, "fontsize": 8.6, "color": SOFT}
        said, at = (f"{marks}; shaded: dosing", 0.05) if above == strips else (marks, strips)
        ax.text(0.0, 1 + at / axes_height, said, va="bottom", **small)
        end_labels(ax, ends, (0.02, 0.98))
        numbers_at_visits(ax, counts, own, labelled, 0.52, heading)
        return figure


def _lines(
    ax: Axes,
    frame: pd.DataFrame,
    arms: Sequence[ArmView],
    months: Sequence[float],
    columns: tuple[str, str, str],
    *,
    width: float,
    size: float,
    bar: float,
) -> _Ends:
    """A line for each arm by `columns` (value, low, high), with points and bars of `size`; returns where lines end.

    No bar is drawn where an end is missing or on the wrong side.
    """
    step = 0.0045 * max(months[-1] - months[0], 1) if size else 0.0
    groups = _by_arm(frame[frame[columns[0]].notna()].sort_values("month", kind="stable"))
    ends = []
    for k, arm in enumerate(arms):
        if arm.name not in groups:
            continue
        x, y, low, high = groups[arm.name][["month", *columns]].to_numpy(float).T
        x = x + step * (k - (len(arms) - 1) / 2)
        if width:
            ax.plot(x, y, color=arm.color, ls=arm.dash, lw=width, zorder=3)
        if size:
            low, high = np.where(low < y, low, y), np.where(high > y, high, y)
            low, high = np.where(np.isfinite(low), low, y), np.where(np.isfinite(high), high, y)
            apart(ax, zip(x, low, x, high, strict=True), color=arm.color, lw=bar, zorder=4)
            ax.plot(x, y, ls="", marker=arm.marker, ms=size, color=arm.color, mec="white", mew=0.5, zorder=4.1)
        ends.append((float(x[-1]), float(y[-1]), arm))
    return ends


def by_visit(
    frame: pd.DataFrame,
    arms: Sequence[ArmView],
    *,
    ylabel: str,
    value: str = "mean",
    low: str = "ci_low",
    high: str = "ci_high",
    reference: float = 0.0,
    xlabel: str = "Months since randomisation",
    bars: str = "bars: 95% CI of the mean (patients)",
    floor: float | None = None,
    log: bool = False,
) -> Figure:
    """Line by visit for each arm, with bars, dosing, numbers of patients and names at the lines' ends.

    Parameters
    ----------
    frame : DataFrame
        Columns `month`, `arm`, `n` and the ones that `value`, `low` and `high` name.
    arms : sequence of ArmView
    ylabel, xlabel : str
        Quantity and unit.
    reference : float
        Where the horizontal line of no change lies.
    bars : str
        What the bars are, said in the figure.
    floor : float, optional
        Lowest value of the vertical axis.
    log : bool
        Whether the vertical axis is logarithmic, without a line of no change.
    """
    own = shown(frame, arms)
    months = sorted(frame["month"].unique())

    def draw(ax: Axes) -> _Ends:
        ends = _lines(ax, frame, own, months, (value, low, high), width=1.5, size=4.5, bar=1.0)
        if log:
            ax.set_yscale("log")
            ax.yaxis.set_major_formatter(lambda value, _: power_of_ten(value))  # matplotlib's own parses TeX
        else:
            ax.axhline(reference, color=INK, lw=0.8, zorder=1)
        if floor is not None:
            ax.set_ylim(bottom=floor)
        bottom, top = ax.get_ylim()
        ax.set_ylim(bottom, top * (top / bottom) ** 0.07 if log else top + 0.07 * (top - bottom))
        return [(x, max(y, bottom), arm) for x, y, arm in ends]

    return _course_figure(
        draw, arms, own, months, xlabel=xlabel, ylabel=ylabel, marks=bars,
        counts=frame, heading="Patients with a value",
    )  # fmt: skip


def incidence(frame: pd.DataFrame, arms: Sequence[ArmView], *, at_risk: pd.DataFrame, ylabel: str) -> Figure:
    """Steps of the share with an event by month, with 95% CI as a band and numbers at risk below.

    Parameters
    ----------
    frame : DataFrame
        Columns `arm`, `month`, `estimate`, `low`, `high` (shares), as from `survival.cumulative_incidence`.
    arms : sequence of ArmView
    at_risk : DataFrame
        Columns `arm`, `month`, `n`.
    ylabel : str
    """
    own = shown(frame, arms)

    def draw(ax: Axes) -> _Ends:
        ends = []
        for arm in own:
            mine = frame[frame["arm"] == arm.name].sort_values("month", kind="stable")
            x, y = mine["month"].to_numpy(float), 100 * mine["estimate"].to_numpy(float)
            ax.step(x, y, where="post", color=arm.color, ls=arm.dash, lw=1.6, zorder=3)
            low, high = (100 * mine[end].astype(float).fillna(mine["estimate"]) for end in ("low", "high"))
            ax.fill_between(x, low, high, step="post", color=arm.color, alpha=0.15, lw=0, zorder=2)
            ends.append((float(x[-1]), float(y[-1]), arm))
        ax.set_ylim(0, max(1.0, 1.08 * ax.get_ylim()[1]))
        return ends

    return _course_figure(
        draw, arms, own, sorted(at_risk["month"].unique()), ylabel=ylabel,
        xlabel="Months since randomisation", marks="band: 95% CI (patients)", counts=at_risk,
        heading="Patients at risk",
    )  # fmt: skip


def panels(
    frame: pd.DataFrame,
    arms: Sequence[ArmView],
    *,
    titles: Mapping[str, str],
    ylabel: str,
    limits: tuple[float, float] | None = None,
) -> Figure:
    """One panel below the other for each value of column `output` (key of `titles`): points at visits for each arm.

    Parameters
    ----------
    frame : DataFrame
        Columns `output`, `month`, `arm`, `median`, `q1`, `q3`.
    arms : sequence of ArmView
    titles : mapping
        Output to the title of its panel.
    ylabel : str
    limits : tuple of float, optional
        Of the vertical axis; each panel takes its own by default.
    """

    def draw(ax: Axes, own: pd.DataFrame) -> _Ends:
        months = sorted(frame["month"].unique())
        ends = _lines(ax, own, arms, months, ("median", "q1", "q3"), width=0.0, size=4.0, bar=0.9)
        if limits:
            ax.set_ylim(limits)
        return ends

    return _panels(frame, arms, titles, [ylabel] * len(titles), draw)


def course(frame: pd.DataFrame, arms: Sequence[ArmView], *, titles: Mapping[str, str], seen: pd.DataFrame) -> Figure:
    """Courses of the typical patient in time with their range over what is not known, and the patients at visits.

    Parameters
    ----------
    frame : DataFrame
        Columns `output`, `month`, `arm`, `default`, `low`, `high`; as from `unknowns.fan`.
    arms : sequence of ArmView
    titles : mapping
        Output to the title of its panel.
    seen : DataFrame
        Columns `output`, `month`, `arm`, `median`: points.
    """

    def draw(ax: Axes, own: pd.DataFrame) -> _Ends:
        months = sorted(own["month"].unique())
        bands = _by_arm(own.sort_values("month", kind="stable"))
        points = _by_arm(seen[seen["output"] == own["output"].iloc[0]])
        for arm in arms:
            if arm.name in bands:
                x, low, high = bands[arm.name][["month", "low", "high"]].to_numpy(float).T
                ax.fill_between(x, low, high, color=arm.color, alpha=0.13, lw=0, zorder=2)
            if arm.name in points:
                look = {"ls": "", "marker": arm.marker, "ms": 3.4, "mec": "white", "mew": 0.4}
                x, y = points[arm.name][["month", "median"]].to_numpy(float).T
                ax.plot(x, y, color=arm.color, zorder=4, **look)
        return _lines(ax, own, arms, months, ("default", "low", "high"), width=1.3, size=0.0, bar=0.0)

    return _panels(frame, arms, titles, ["%"] * len(titles), draw)


def _panels(
    frame: pd.DataFrame,
    arms: Sequence[ArmView],
    titles: Mapping[str, str],
    ylabels: Sequence[str],
    draw: Callable[[Axes, pd.DataFrame], _Ends],
) -> Figure:
    """A panel for each output that `frame` has, one below the other, with dosing and the names of the arms."""
    keys = [key for key in titles if (frame["output"] == key).any()]
    strips = strip_height(arms)
    above = strips + (0.24 if strips > 0.2 else 0.12)
    panel, between, below = max(1.35, label_height(arms)), 0.36, 0.5
    total = above + len(keys) * panel + (len(keys) - 1) * between + below
    with drawing(WIDTH, total) as figure:
        months = thinned(sorted(frame["month"].unique()), 0.9)
        for j, (key, ylabel) in enumerate(zip(keys, ylabels, strict=False)):
            bottom = total - above - (j + 1) * panel - j * between
            ax = figure.add_axes((0.095, bottom / total, 0.6, panel / total))
            last = j == len(keys) - 1
            month_axis(ax, months, "Months since randomisation" if last else None)
            if not last:
                ax.tick_params(axis="x", labelbottom=False)
            ends = draw(ax, frame[frame["output"] == key])
            low, high = ax.get_ylim()
            ax.set_ylim(low, high + (0.14 if j == 0 else 0.02) * (high - low))
            dosing(ax, arms, words=j == 0)
            ax.set_ylabel(ylabel)
            lift = (strips if j == 0 and strips > 0.2 else 0.06) / panel
            ax.text(0, 1 + lift, titles[key], transform=ax.transAxes, fontsize=9.6, va="bottom", weight="bold")
            end_labels(ax, ends, (0.03, 0.97))
        return figure


def design(frame: pd.DataFrame, arms: Sequence[ArmView], *, visits: pd.DataFrame, months: float) -> Figure:
    """Schema of the trial: one lane an arm with its regimens, doses as triangles, follow-up as a thin line, visits.

    Parameters
    ----------
    frame : DataFrame
        One row a regimen: `arm`, `regimen` (words), `agent`, `start_month`, `last_dose_month`, `end_month`,
        `doses`, `randomised`.
    visits : DataFrame
        Columns `what`, `month`: the visits of each kind, drawn below the lanes.
    months : float
        Length of the trial.
    """
    from matplotlib.patches import Rectangle

    lane, below = 0.66, 0.62
    kinds = list(dict.fromkeys(visits["what"]))
    total = 0.15 + lane * len(arms) + 0.26 * len(kinds) + below
    with drawing(WIDTH, total) as figure:
        left = 0.25
        ax = figure.add_axes((left, below / total, 0.985 - left, 1 - (below + 0.08) / total))
        ax.set_ylim(-0.42 * len(kinds) - 0.1, len(arms))
        month_axis(ax, sorted({0.0, months, *visits["month"]}), "Months since randomisation", first=0.0)
        ax.spines["left"].set_visible(False)
        ax.set_yticks([])
        data = ax.get_yaxis_transform()
        heads = frame.groupby("arm", sort=False)["randomised"].first()
        given = frame[frame["doses"] > 0]
        for k, arm in enumerate(arms):
            y = len(arms) - k - 0.5
            words = f"{wrap_label(arm.label, 17)}\n(N = {int(heads.get(arm.name, 0))})"
            ax.text(-0.04, y, words, transform=data, ha="right", va="center", fontsize=9.2, linespacing=1.1)
            ax.plot([0, months], [y, y], color=RULE, lw=1.2, zorder=1)
            busy = covered = 0.0
            for row, course in zip(given[given["arm"] == arm.name].itertuples(), arm.courses, strict=True):
                width = min(max(course.end - course.start, 0.012 * months), months - course.start)
                fill = "#FFFFFF" if course.kind == "none" else course.color
                height = 0.13 if course.start < covered - 1e-6 else 0.26  # given beside another: half a lane
                look = {"facecolor": fill, "edgecolor": course.color, "lw": 1.0, "zorder": 2}
                ax.add_patch(Rectangle((course.start, y - 0.2), width, height, **look))
                if row.doses <= 40:
                    ax.plot(course.months, np.full(row.doses, y + 0.13), ls="", marker="v", ms=4.5, color=INK, zorder=3)
                words = str(row.regimen)
                free = course.start >= busy  # else the words would run into those of the regimen before
                ax.text(
                    course.start, y + (0.24 if free else -0.23), words, fontsize=8.6, va="bottom" if free else "top"
                )
                busy = max(busy, course.start + 0.0178 * months * len(words)) if free else busy
                covered = max(covered, course.end)
            stop = max((c.end for c in arm.courses), default=0.0)
            if months - stop >= 0.1 * months:
                ax.text(
                    (stop + months) / 2, y - 0.04, "no further dose", fontsize=8.6, color=SOFT, va="top", ha="center"
                )
        for j, what in enumerate(kinds):
            y = -0.42 * j - 0.32
            ax.text(-0.045, y, what, transform=data, ha="right", va="center", fontsize=9.2, color=SOFT)
            own = visits.loc[visits["what"] == what, "month"]
            ax.plot(own, np.full(len(own), y), ls="", marker="os^D"[j % 4], ms=4, mfc="white", mec=SOFT)
        return figure


def flow(frame: pd.DataFrame, arms: Sequence[ArmView]) -> Figure:
    """CONSORT flow: randomised, allocated by arm, dropped out, completed; from `summaries.disposition`.

    Parameters
    ----------
    frame : DataFrame
        One row for each arm and for "Total".
    arms : sequence of ArmView
        In the order in which they are drawn.
    """
    from matplotlib.patches import Rectangle

    rows = frame.set_index("arm")
    total = rows.loc["Total"]
    columns = len(arms)
    with drawing(WIDTH, 3.5) as figure:
        ax = figure.add_axes((0.0, 0.0, 1.0, 1.0))
        ax.set_axis_off()
        ax.set_xlim(0, 1)
        ax.set_ylim(0, 1)
        wide = min(0.96 / columns, 0.32)
        centres = [0.5 + (k - (columns - 1) / 2) * (0.98 / columns if columns > 3 else 0.33) for k in range(columns)]
        characters = max(8, int(wide * 70))

        def box(x: float, y: float, width: float, height: float, text: str, color: str = RULE) -> None:
            ax.add_patch(
                Rectangle((x - width / 2, y - height / 2), width, height, fc="white", ec=color, lw=1.1, zorder=2)
            )
            ax.text(x, y, text, ha="center", va="center", fontsize=8.6, linespacing=1.2, zorder=3)

        def arrow(x0: float, y0: float, x1: float, y1: float) -> None:
            props = {"arrowstyle": "-|>", "color": SOFT, "lw": 0.9, "shrinkA": 0, "shrinkB": 0}
            ax.annotate("", xy=(x1, y1), xytext=(x0, y0), arrowprops=props)

        box(0.5, 0.93, 0.36, 0.12, f"Randomised\nN = {int(total['randomised'])}")
        ax.plot([0.5, 0.5], [0.87, 0.8], color=SOFT, lw=0.9)
        ax.plot([centres[0], centres[-1]], [0.8, 0.8], color=SOFT, lw=0.9)
        for arm, x in zip(arms, centres, strict=True):
            row = rows.loc[arm.name]
            arrow(x, 0.8, x, 0.74)
            box(
                x,
                0.62,
                wide * 0.94,
                0.24,
                f"{wrap_label(arm.label, characters)}\nn = {int(row['randomised'])}",
                arm.color,
            )
            arrow(x, 0.5, x, 0.43)
            text = f"Dropped out\nn = {int(row['dropout'])}"
            if np.isfinite(row["dropout_month_median"]):
                text += f"\nmedian month {row['dropout_month_median']:.1f}"
            if "death" in row:
                text += f"\nDied n = {int(row['death'])}"
            box(x, 0.33, wide * 0.94, 0.2, text)
            arrow(x, 0.23, x, 0.16)
            box(x, 0.09, wide * 0.94, 0.14, f"Completed\nn = {int(row['completed'])}", arm.color)
        return figure


def key_results(
    frame: pd.DataFrame,
    arms: Sequence[ArmView],
    *,
    panels: Mapping[str, tuple[str, str]],
    reference: Mapping[str, float],
) -> Figure:
    """Key results by arm, a panel beside the other: estimate and interval over patients, and over what is not known.

    Parameters
    ----------
    frame : DataFrame
        Columns `panel`, `arm`, `estimate`, `low`, `high` (patients), `unknown_median`, `unknown_low`, `unknown_high`
        (parameters), `structure_low`, `structure_high` (with other structures); NaN to leave out.
    arms : sequence of ArmView
        The rows.
    panels : mapping
        Panel to its title and the label of its axis.
    reference : mapping
        Panel to the value of no effect, 0 if not named.
    """
    n, left, gap, wide = len(arms), 1.75, 0.32, 9.4  # as wide with one panel: the page scales it to its own width
    room = (wide - left - 0.15 - gap * (len(panels) - 1)) / max(len(panels), 1)
    heads = {panel: fitted(title, room + gap - 0.08, 8.8, "bold") for panel, (title, _) in panels.items()}
    names = [fitted(arm.label, left - 0.2, 9.2) + ("\n(predicted)" if arm.basis == PREDICTED else "") for arm in arms]
    row = max(0.46, 0.11 + 0.15 * max(name.count("\n") + 1 for name in names))
    above, below = 0.36 + 0.15 * max(1 + head.count("\n") for head in heads.values()), 0.5
    total = above + row * n + below
    with drawing(wide, total) as figure:
        for j, (panel, (_, xlabel)) in enumerate(panels.items()):
            own = frame[frame["panel"] == panel].set_index("arm")
            place = ((left + j * (room + gap)) / wide, below / total, room / wide, row * n / total)
            ax = figure.add_axes(place)
            none = reference.get(panel, 0.0)
            ax.axvline(none, color=INK, lw=0.8, zorder=1)
            ends = own[["estimate", "low", "high", "unknown_low", "unknown_high", "structure_low", "structure_high"]]
            low, high = min(none, float(np.nanmin(ends))), max(none, float(np.nanmax(ends)))
            span = max(high - low, 1e-6)
            ax.set_xlim(low - 0.06 * span, high + 0.06 * span)
            ax.set_ylim(-0.55, n - 0.45)
            ax.set_yticks([])
            ax.spines["left"].set_visible(False)
            ax.set_xlabel(xlabel)
            ax.set_title(heads[panel], loc="left", weight="bold", fontsize=8.8, pad=4)
            ax.locator_params(axis="x", nbins=6)
            for k, arm in enumerate(arms):
                y = n - 1 - k
                if j == 0:
                    ax.text(-0.1 / room, y, names[k], transform=ax.get_yaxis_transform(), ha="right", va="center",
                            fontsize=9.2, linespacing=1.1)  # fmt: skip
                if arm.name in own.index:
                    _two_intervals(ax, own.loc[arm.name], arm, y, span)
                elif panel == "known":
                    ax.plot([none], [y + 0.17], marker=arm.marker, ms=7, color=arm.color, mec="white", mew=0.8)
        _legend(figure, wide, total)
        return figure


def _legend(figure: Figure, wide: float, total: float) -> None:
    """What the marks of `key_results` are, in a line at the top."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Rectangle

    y, x = 1 - 0.13 / total, 0.012
    look: dict[str, Any] = {"transform": figure.transFigure}
    for width, mark, words in (
        (0.3, "solid", "estimate and 95% CI: chance of patients"),
        (0.3, "hatched", "typical patient: 90% of draws"),
        (0.3, "thin", "expected: with other structures too"),
    ):
        span = width / wide
        if mark == "hatched":
            size = {"width": span, "height": 0.12 / total}
            figure.add_artist(
                Rectangle((x, y - 0.06 / total), **size, fc="white", ec=INK, hatch="//////", lw=0.9, **look)
            )
        else:
            lw = 3.2 if mark == "solid" else 1.2
            figure.add_artist(Line2D([x, x + span], [y, y], color=INK, lw=lw, **look))
        figure.text(x + span + 0.06 / wide, y, words, fontsize=8.6, color=SOFT, va="center")
        x += span + (0.3 + text_width(words, 8.6)) / wide


def _two_intervals(ax: Axes, row: pd.Series, arm: ArmView, y: float, span: float) -> None:
    """A result with its interval over patients above, and its range over what is not known below."""
    from matplotlib.patches import Rectangle

    ax.plot([row["low"], row["high"]], [y + 0.17] * 2, color=arm.color, lw=3.2, solid_capstyle="butt", zorder=3)
    ax.plot([row["estimate"]], [y + 0.17], marker=arm.marker, ms=7, color=arm.color, mec="white", mew=0.8, zorder=4)
    if np.isfinite(row["structure_low"]):
        ends = [row["structure_low"], row["structure_high"]]
        ax.plot(ends, [y - 0.36] * 2, color=INK, lw=1.2, marker="|", ms=5, mew=1.2, zorder=3)
    if np.isfinite(row["unknown_low"]):
        width = max(row["unknown_high"] - row["unknown_low"], 0.002 * span)
        look = {"facecolor": "white", "edgecolor": arm.color, "hatch": "//////", "lw": 0.9, "zorder": 2}
        ax.add_patch(Rectangle((row["unknown_low"], y - 0.27), width, 0.17, **look))
        ax.plot([row["unknown_median"]] * 2, [y - 0.31, y - 0.06], color=INK, lw=1.4, zorder=4)


def stacked_parts(frame: pd.DataFrame, arms: Sequence[ArmView], *, ylabel: str) -> Figure:
    """Contributions to the BMD change as stacked bars by month, one panel an arm; a dot marks their sum.

    Parameters
    ----------
    frame : DataFrame
        As from `summaries.contributions`.
    arms : sequence of ArmView
    ylabel : str
    """
    from matplotlib.patches import PathPatch, Rectangle
    from matplotlib.path import Path

    months = sorted(frame["month"].unique())
    with _arm_grid(frame, arms, ylabel, panel=1.55, above=0.62) as (figure, grid):
        total = figure.get_figheight()
        sums = frame.assign(up=frame["mean"].clip(lower=0), down=frame["mean"].clip(upper=0))
        sums = sums.groupby(["month", "arm"])[["up", "down"]].sum()
        low, high = min(float(sums["down"].min()), 0), max(float(sums["up"].max()), 0)
        room = max(high - low, 0.1)
        for ax, _, own, lowest in grid:
            means = {(month, part): mean for month, part, mean in own[["month", "part", "mean"]].to_numpy()}
            bars: dict[str, list[Path]] = {}
            for j, month in enumerate(months):
                up = down = 0.0
                for part in (part for part in PART_COLORS if (month, part) in means):
                    size = float(means[month, part])
                    a, b, base = j - 0.31, j + 0.31, up if size >= 0 else down
                    corners = [(a, base), (b, base), (b, base + size), (a, base + size), (a, base)]
                    bars.setdefault(part, []).append(Path(corners, closed=True))
                    up, down = (up + size, down) if size >= 0 else (up, down + size)
            for part, each in bars.items():
                color, hatch, _ = PART_COLORS[part]
                look = {"facecolor": color, "hatch": hatch, "edgecolor": SOFT, "lw": 0.5, "zorder": 2}
                ax.add_patch(PathPatch(Path.make_compound_path(*each), **look))
            dots = own.groupby("month")["total"].first().reindex(months).to_numpy(float)
            ax.plot(range(len(months)), dots, "o", ms=5, color="#D55E00", mec="white", mew=0.8, zorder=4)
            ax.axhline(0, color=INK, lw=0.8, zorder=3)
            ax.set_ylim(low - 0.06 * room, high + 0.06 * room)
            ax.set_xticks(range(len(months)), [month_text(m) for m in months])
            if lowest:
                ax.set_xlabel("Months since randomisation")
        x = LEFT
        for part, (color, hatch, words) in PART_COLORS.items():
            if (frame["part"] == part).any():
                y = 1 - 0.17 / total
                size = 0.11
                swatch = Rectangle(
                    (x, y - size / 2 / total),
                    size / WIDTH,
                    size / total,
                    transform=figure.transFigure,
                    facecolor=color,
                    hatch=hatch,
                    edgecolor=SOFT,
                    lw=0.5,
                )
                figure.add_artist(swatch)
                figure.text(x + 0.022, y, words, fontsize=8.6, va="center")
                x += 0.055 + text_width(words, 8.6) / WIDTH
        figure.text(x, 1 - 0.17 / total, "●", fontsize=7, color="#D55E00", va="center")
        figure.text(x + 0.02, 1 - 0.17 / total, "sum", fontsize=8.6, va="center")
        return figure


def fans(frame: pd.DataFrame, arms: Sequence[ArmView], *, ylabel: str, reference: float) -> Figure:
    """Interval over unknown parameters by month, one panel an arm; dashed where the default values lead.

    Parameters
    ----------
    frame : DataFrame
        As from `unknowns.fan`.
    arms : sequence of ArmView
    ylabel : str
    reference : float
        Where a line is drawn.
    """
    with _arm_grid(frame, arms, ylabel, panel=1.7, above=0.75) as (figure, grid):
        months = sorted(frame["month"].unique())
        low = min(float(frame[["low", "default"]].min().min()), reference)
        high = max(float(frame[["high", "default"]].max().max()), reference)
        room = max(high - low, 0.1)
        for ax, arm, rows, lowest in grid:
            own = rows.sort_values("month")
            x = own["month"].to_numpy(float)
            ax.axvspan(arm.courses[0].start if arm.courses else 0, arm.end, color=SHADE, lw=0, zorder=0)
            ax.fill_between(x, own["low"], own["high"], facecolor=arm.color, alpha=0.15, lw=0, zorder=1)
            ax.fill_between(x, own["q1"], own["q3"], facecolor=arm.color, alpha=0.25, lw=0, zorder=1)
            ax.plot(x, own["median"], color=arm.color, lw=1.6, zorder=3)
            ax.plot(x, own["default"], color=INK, lw=1.0, ls=(0, (3, 2)), zorder=3)
            ax.axhline(reference, color=INK, lw=0.8, zorder=2)
            ax.set_ylim(low - 0.05 * room, high + 0.05 * room)
            labelled = thinned(months, 0.12 * max(months[-1] - months[0], 1))
            ax.set_xticks(labelled, [month_text(m) for m in labelled])
            if lowest:
                ax.set_xlabel("Months since randomisation")
        notes(
            figure,
            (
                "bands: 90% and 50% interval over unknown parameters; line: median",
                "dashed: default values; shaded: dosing",
            ),
        )
        return figure


def correlations(frame: pd.DataFrame, arms: Sequence[ArmView], *, meanings: Mapping[str, str]) -> Figure:
    """Rank correlation of the strongest parameters with the headline result, one panel for each arm.

    Parameters
    ----------
    frame : DataFrame
        Columns `arm`, `symbol`, `rho`, `low`, `high`, `beyond_chance`; in the order to draw.
    meanings : mapping
        Symbol -> words beside the bar.
    """
    own_arms = shown(frame, arms)
    counts = [int((frame["arm"] == arm.name).sum()) for arm in own_arms]
    told = {symbol: textwrap.wrap(f"{str(symbol).rpartition('.')[2]}: {meanings.get(str(symbol), '')}", 41)
            for symbol in frame["symbol"]}  # fmt: skip
    row, head = max(0.34, 0.06 + 0.125 * max((len(lines) for lines in told.values()), default=1)), 0.42
    total = sum(row * c + head for c in counts) + 0.55
    with drawing(WIDTH, total) as figure:
        top = total
        for k, (arm, count) in enumerate(zip(own_arms, counts, strict=True)):
            top -= head
            height = row * count
            ax = figure.add_axes((0.46, (top - height) / total, 0.52, height / total))
            top -= height
            own = frame[frame["arm"] == arm.name]
            for j, item in enumerate(own.itertuples()):
                y = count - 1 - j
                color = arm.color if item.beyond_chance else "#CBD2D9"
                ax.barh(y, item.rho, 0.58, color=color, zorder=2)
                ax.plot([item.low, item.high], [y, y], color=INK, lw=1.0, zorder=3)
                where, words = ax.get_yaxis_transform(), "\n".join(told[item.symbol])
                ax.text(-0.885, y, words, transform=where, fontsize=8.2, ha="left", va="center", linespacing=1.1)
            ax.axvline(0, color=INK, lw=0.8, zorder=4)
            ax.set_xlim(-1, 1)
            ax.set_xticks([-1, -0.5, 0, 0.5, 1])
            ax.set_ylim(-0.6, count - 0.4)
            ax.set_yticks([])
            ax.spines["left"].set_visible(False)
            ax.text(
                -0.885, 1 + 0.08 / height, arm.label, transform=ax.transAxes, fontsize=9.6, weight="bold", va="bottom"
            )
            if k == len(own_arms) - 1:
                ax.set_xlabel("Spearman rank correlation (line: 95% CI)")
            else:
                ax.tick_params(axis="x", labelbottom=False)
        return figure


def scatter(frame: pd.DataFrame, arms: Sequence[ArmView], *, ylabel: str, names: Mapping[str, str]) -> Figure:
    """Result of each draw against the parameter that matters most to that arm, one panel an arm.

    Parameters
    ----------
    frame : DataFrame
        Columns `arm`, `draw`, `symbol`, `parameter`, `value`; the scale is logarithmic where values span a decade.
    names : mapping
        Symbol -> axis label with unit.
    """
    from matplotlib.ticker import LogLocator, NullFormatter

    with _arm_grid(frame, arms, ylabel, panel=1.9, above=0.35, between=0.95, below=0.62) as (figure, grid):
        low, high = float(frame["value"].min()), float(frame["value"].max())
        room = max(high - low, 0.1)
        for ax, arm, own, _ in grid:
            drawn, default = own[own["draw"] != 0], own[own["draw"] == 0]
            ax.plot(drawn["parameter"], drawn["value"], ls="", marker="o", ms=3.2, color=arm.color, alpha=0.55, mew=0)
            ax.plot(default["parameter"], default["value"], ls="", marker="D", ms=6.5, mfc="white", mec=INK, mew=1.3)
            values = drawn["parameter"].to_numpy(float)
            if values.size and values.min() > 0 and values.max() > 10 * values.min():
                ax.set_xscale("log")
                # Half decades only where the labels have room.
                ax.xaxis.set_major_locator(LogLocator(subs=(1, 3) if values.max() < 100 * values.min() else (1,)))
                ax.xaxis.set_major_formatter("{x:g}")
                ax.xaxis.set_minor_formatter(NullFormatter())
            ax.axhline(0, color=INK, lw=0.8, zorder=1)
            ax.set_ylim(min(low, 0) - 0.06 * room, max(high, 0) + 0.06 * room)
            symbol = str(own["symbol"].iloc[0])
            ax.set_xlabel(two_lines(names.get(symbol, symbol), 44), fontsize=8.6)
        return figure
