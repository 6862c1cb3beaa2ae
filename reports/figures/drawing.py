"""Drawing of the report's figures: style, SVG text, axes in months, dosing, labels that do not overlap.

Conventions: one colour, marker and dash for each arm (`layout.arms`); arms named at the end of their line in
dark ink; ticks at visits; a line at the reference; dosing shaded and the last dose marked. The same frame gives the
same bytes: element ids are hashed with a fixed salt, and no date is written.
"""

from __future__ import annotations

import io
import re
import textwrap
import unicodedata
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from html import escape
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from ranklsim.cohorts.words import month_text
from ranklsim.pkpd.errors import BadInput
from ranklsim.reports.layout.arms import ArmView

if TYPE_CHECKING:  # imported where it is used: a report whose painters draw does without
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 200  # of pictures
WIDTH = 6.2  # inches; text stays legible when printed at 12 cm

INK, SOFT, RULE, SHADE = "#1F2933", "#52606D", "#9AA5B1", "#EEF1F4"

LINE = 11.8 / 72  # inches from line to line of an arm's name
STRIP = 0.085  # inches from strip to strip of `dosing`
FONT_STACK = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"

RC = {
    "font.family": ["DejaVu Sans"],  # ships with matplotlib: the layout is the same on every machine
    "font.size": 9.6,
    "axes.labelsize": 9.6,
    "axes.titlesize": 9.8,
    "xtick.labelsize": 9.0,
    "ytick.labelsize": 9.0,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.titley": 1.0,  # titles are not moved, which would need the size of all ticks
    "hatch.linewidth": 0.6,
    "svg.fonttype": "none",
    "svg.hashsalt": "ranklsim",
    "axes.unicode_minus": True,
    "path.simplify": False,
}


_STYLED = ContextVar("_STYLED", default=False)

MISSING: tuple[Literal["ignore"], str, type[Warning]] = ("ignore", r"Glyph \d+ .*missing from font", UserWarning)
"""A warning that says nothing here: signs that the font lacks stay text, which the reader's fonts draw."""


@contextmanager
def styled() -> Iterator[None]:
    """The style of the report, independent of the user's matplotlibrc; letters that its font lacks stay text in SVG.

    It holds for all figures drawn inside, and setting it takes as long as drawing a small one.
    """
    if _STYLED.get():
        yield
        return
    import matplotlib as mpl

    with mpl.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings(*MISSING)
        mpl.rcdefaults()
        mpl.rcParams.update(RC)
        mark = _STYLED.set(True)
        try:
            yield
        finally:
            _STYLED.reset(mark)


@contextmanager
def drawing(width: float, height: float) -> Iterator[Figure]:
    """A figure of `width` x `height` inches under the report's style.

    Parameters
    ----------
    width, height : float
        Inches.
    """
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    from ranklsim.reports.figures.plain import PlainFigure

    with styled():
        figure = PlainFigure(figsize=(width, height))
        FigureCanvasSVG(figure)
        if (made := _MADE.get()) is not None:
            made.append(figure)
        yield figure


_MADE: ContextVar[list[Figure] | None] = ContextVar("_MADE", default=None)
"""Figures that `first_figure` collects."""


def first_figure(build: Callable[[], object]) -> Figure:
    """The first figure that a part of a page draws.

    Parameters
    ----------
    build : callable
        Makes the part.

    Raises
    ------
    BadInput
        If it has no figure.
    """
    made: list[Figure] = []
    token = _MADE.set(made)
    try:
        build()
    finally:
        _MADE.reset(token)
    if not made:
        raise BadInput("there is nothing to draw in this result.")
    return made[0]


def panels(
    figure: Figure, count: int, across: int, pad: tuple[float, float] | None = (0.07, 0.06), **shared: bool
) -> list[Axes]:
    """Axes in rows, left to right; the end of the last row stays empty.

    Parameters
    ----------
    figure : Figure
    count : int
        Number of axes.
    across : int
        Axes in a row.
    pad : tuple of float, optional
        Height and width (inches) between axes and around them, which the constrained layout keeps free; without it the
        figure has no layout.
    shared
        ``sharex`` or ``sharey``, as of `Figure.subplots`.
    """
    if pad is not None:
        figure.set_layout_engine("constrained", h_pad=pad[0], w_pad=pad[1])
    axes = figure.subplots(max(1, -(-count // across)), across, squeeze=False, **shared).ravel()
    for ax in axes[count:]:
        ax.set_visible(False)
    return list(axes[:count])


def svg_text(figure: Figure, anchor: str, alt: str) -> str:
    """The figure as one ``<svg>`` element that can stand in a page beside others.

    Parameters
    ----------
    figure : Figure
        Made by `drawing`.
    anchor : str
        Prefix that keeps the element ids of several figures apart.
    alt : str
        What a screen reader says.
    """
    from ranklsim.reports.figures.plain import svg

    with styled():
        text = svg(figure)
    text = text[text.index("<svg") :]
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r'\bid="([^"]+)"', rf'id="{anchor}-\1"', text)
    text = re.sub(r'href="#([^"]+)"', rf'href="#{anchor}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{anchor}-\1)", text)
    text = text.replace("'DejaVu Sans'", FONT_STACK)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    return text.replace("<svg", f'<svg role="img" aria-label="{escape(alt)}"', 1).strip()


def png(figure: Figure) -> bytes:
    """The figure as a PNG for Word.

    Parameters
    ----------
    figure : Figure
        Made by `drawing`.
    """
    buffer = io.BytesIO()
    with styled():
        figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()


def spread(positions: Sequence[float], gap: float, low: float, high: float) -> np.ndarray:
    """Positions moved as little as needed so that neighbours are at least `gap` apart, inside `low` to `high`.

    Order is kept. If `high - low` cannot hold them all, the gap shrinks to what fits.

    Parameters
    ----------
    positions : sequence of float
    gap : float
    low, high : float
    """
    wanted = np.asarray(positions, float)
    n = wanted.size
    if n == 0:
        return wanted
    gap = min(gap, (high - low) / max(n - 1, 1))
    order = np.argsort(wanted, kind="stable")
    offsets = gap * np.arange(n)
    # With y_k = z_k + k*gap the constraint is that z rises: isotonic regression by pooling neighbours.
    blocks: list[list[float]] = []
    for z in wanted[order] - offsets:
        blocks.append([z, 1.0])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (a, m), (b, k) = blocks[-2], blocks[-1]
            blocks[-2:] = [[(a * m + b * k) / (m + k), m + k]]
    z = np.concatenate([np.full(int(k), v) for v, k in blocks])
    z = np.clip(z, low, high - offsets[-1])
    out = np.empty(n)
    out[order] = z + offsets
    return out


def power_of_ten(value: float) -> str:
    """A label of a logarithmic axis, such as "10⁻²"; a number that is no power of ten as it is.

    Parameters
    ----------
    value : float
        Greater than 0.
    """
    exponent = round(np.log10(value))
    raised = str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"10{raised}" if np.isclose(value, 10.0**exponent, rtol=1e-9, atol=0.0) else f"{value:g}"


RATIOS = (1.0, 0.1, 10.0, 0.5, 2.0, 0.2, 5.0, 0.05, 20.0, 0.02, 50.0)
"""Ticks of an axis of ratios, the most important first."""


def ratio_axis(ax: Axes, low: float, high: float) -> None:
    """A logarithmic axis of ratios, with those of `RATIOS` as ticks whose labels have room.

    Parameters
    ----------
    ax : Axes
    low, high : float
        Ends of the axis.
    """
    from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

    ax.set_xscale("log")
    ax.set_xlim(low, high)
    inches = ax.get_window_extent().width / ax.figure.dpi / np.log(high / low)
    chosen: list[tuple[float, float]] = []  # value, and half the width of its label
    for value in (tick for tick in RATIOS if low <= tick <= high):
        half = text_width(f"{value:g}", 9.0) / 2
        if all(inches * abs(np.log(value / other)) > half + room + 0.06 for other, room in chosen):
            chosen.append((value, half))
    ax.set_xticks(sorted(value for value, _ in chosen))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_minor_formatter(NullFormatter())


def wrap_label(label: str, width: int = 19) -> str:
    """An arm's name on lines of at most `width` characters; a dose stays with its unit.

    Parameters
    ----------
    label : str
    width : int
        Characters.
    """
    return "\n".join(textwrap.wrap(_whole(label), width, break_long_words=False)) or label


def _whole(label: str) -> str:
    """The name with no break between a dose and its unit."""
    return re.sub(r"(\d) (?=\w?g\b)", "\\1\u00a0", label)


@lru_cache(maxsize=4096)
def text_width(words: str, size: float, weight: str = "normal") -> float:
    """Inches that a line of text takes in the report's font, which is as wide as those of the page or wider.

    Parameters
    ----------
    words : str
    size : float
        Points.
    weight : str
    """
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(family="DejaVu Sans", size=size, weight=weight)
    # Signs that the font lacks are drawn by another: those of East Asia are as wide as they are high, as "W" is here.
    as_wide = "".join("W" if unicodedata.east_asian_width(sign) in "WF" else sign for sign in words)
    with warnings.catch_warnings():
        warnings.filterwarnings(*MISSING)
        return float(text_to_path.get_text_width_height_descent(as_wide, font, ismath=False)[0]) / 72


def fitted(words: str, width: float, size: float, weight: str = "normal") -> str:
    """The text on lines of at most `width`; a word that is wider is parted.

    Parameters
    ----------
    words : str
    width : float
        Inches.
    size, weight
        As of `text_width`.
    """
    lines: list[str] = []
    for word in _whole(words).split(" "):
        joined = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(joined, size, weight) <= width:
            lines[-1] = joined
            continue
        lines.append("")
        for letter in word:
            if lines[-1] and text_width(lines[-1] + letter, size, weight) > width:
                lines.append("")
            lines[-1] += letter
    return "\n".join(lines)


def two_lines(text: str, width: int) -> str:
    """The text on at most two lines.

    Parameters
    ----------
    text : str
    width : int
        Characters.
    """
    return "\n".join(textwrap.wrap(text, width, max_lines=2, placeholder=" …"))


def thinned(months: Sequence[float], room: float) -> list[float]:
    """The visits that get a tick label: first, last, then those on whole years, then others that are `room` apart.

    Parameters
    ----------
    months : sequence of float
    room : float
        Months.
    """
    months = sorted(set(map(float, months)))
    if not months:
        return []
    chosen = [months[0], months[-1]]
    for divisor in (12, 6, 3, 1, 0.0):
        for month in months:
            fits = divisor == 0.0 or abs(month / divisor - round(month / divisor)) < 1e-9
            if fits and all(abs(month - other) >= room for other in chosen):
                chosen.append(month)
    return sorted(set(chosen))


def month_axis(ax: Axes, months: Sequence[float], label: str | None, first: float | None = None) -> list[float]:
    """Ticks at months, some of them labelled; returns those that are.

    Parameters
    ----------
    ax : Axes
    months : sequence of float
    label : str or None
    first : float, optional
        Where the axis begins; at the first month by default.
    """
    months = sorted(set(map(float, months)))
    low, high = (months[0] if first is None else first), months[-1]
    pad = 0.025 * max(high - low, 1)
    ax.set_xlim(low - pad, high + pad)
    longest = max(len(month_text(m)) for m in months)
    labelled = thinned(months, (0.055 + 0.012 * max(longest - 2, 0)) * max(high - low, 1))
    ax.set_xticks(labelled, [month_text(m) for m in labelled])
    others = [m for m in months if m not in labelled]
    # One line of marks: a tick of matplotlib is five objects.
    look = {"ls": "", "marker": 3, "ms": 2.5, "mew": 0.6, "color": SOFT, "clip_on": False}
    ax.plot(others, [0.0] * len(others), transform=ax.get_xaxis_transform(), **look)
    if label:
        ax.set_xlabel(label)
    return labelled


def apart(ax: Axes, segments: Iterable[tuple[float, float, float, float]], **look: Any) -> None:
    """Separate straight lines as one object, whose ends are not extended.

    Parameters
    ----------
    ax : Axes
    segments : iterable of (float, float, float, float)
        x and y of one end, then of the other.
    look
        As of `Axes.plot`.
    """
    ends = np.array([(a, b, c, d, np.nan, np.nan) for a, b, c, d in segments], float).reshape(-1, 2)
    ax.plot(*ends.T, solid_capstyle="butt", **look)


def _plan(arms: Sequence[ArmView]) -> tuple[list[ArmView], tuple[float, float, float] | None]:
    """Treated arms, and start, last dose and end of dosing if these are the same in all."""
    treated = [arm for arm in arms if arm.treated] or list(arms)
    plans = {(arm.courses[0].start, arm.last_dose, arm.end) for arm in treated if arm.courses}
    same = len(plans) == 1 and all(len(arm.courses) == 1 for arm in treated)
    return treated, plans.pop() if same else None


def dosing(ax: Axes, arms: Sequence[ArmView], *, words: bool = True) -> None:
    """Shade the months of dosing and mark the last dose; where arms differ, one strip an arm along the top.

    Parameters
    ----------
    ax : Axes
    arms : sequence of ArmView
    words : bool
        Whether the marks are explained, and the strips drawn.
    """
    from matplotlib.patches import Rectangle

    treated, plan = _plan(arms)
    if plan is not None:
        start, last, end = plan
        left, right = ax.get_xlim()
        if end > left:
            ax.axvspan(max(start, left), end, color=SHADE, lw=0, zorder=0)
        if last >= left:
            ax.axvline(last, color=SOFT, lw=0.9, ls=(0, (1, 1.6)), zorder=1)
            if words:
                before = last - left > 0.25 * (right - left)
                ax.annotate(
                    "last dose",
                    (last, 1.0),
                    xycoords=ax.get_xaxis_transform(),
                    textcoords="offset points",
                    xytext=(-4 if before else 4, -1),
                    ha="right" if before else "left",
                    va="top",
                    fontsize=8.6,
                    color=SOFT,
                )
        return
    ends = {arm.end for arm in treated}
    left, right = ax.get_xlim()
    if len(ends) == 1 and (end := ends.pop()) > left:
        ax.axvspan(max(min(0.0, end), left), end, color=SHADE, lw=0, zorder=0)
    if not words:
        return
    transform, inch = ax.get_xaxis_transform(), ax.figure.dpi / ax.get_window_extent().height
    for k, arm in enumerate(treated):
        y = 1 + inch * (0.075 + STRIP * (len(treated) - 1 - k))
        for course in arm.courses:
            if course.kind == "none":
                continue
            begin, stop = max(course.start, left), max(course.end, course.start + 0.01 * (right - left))
            if stop <= left:
                continue
            look = {"transform": transform, "color": course.color, "lw": 0, "clip_on": False}
            ax.add_patch(Rectangle((begin, y), min(stop, right) - begin, 0.06 * inch, **look))
            if left <= course.last <= right:
                look = {"transform": transform, "color": INK, "clip_on": False}
                ax.plot([course.last], [y + 0.03 * inch], marker="|", ms=7, **look)
    note = "dosing by arm; tick: last dose of a regimen"
    ax.text(0.0, 1 + inch * (0.1 + STRIP * len(treated)), note, transform=ax.transAxes, fontsize=8.6, color=SOFT,
            va="bottom")  # fmt: skip


def shown(frame: pd.DataFrame, arms: Sequence[ArmView]) -> list[ArmView]:
    """The arms that have a row in `frame`.

    Parameters
    ----------
    frame : DataFrame
        Column `arm`.
    arms : sequence of ArmView
    """
    names = set(frame["arm"])
    return [arm for arm in arms if arm.name in names]


def notes(figure: Figure, lines: Sequence[str]) -> None:
    """Small text at the top of a figure that explains its marks.

    Parameters
    ----------
    figure : Figure
        Made by `drawing`.
    lines : sequence of str
        From top to bottom.
    """
    for k, words in enumerate(lines):
        y = 1 - (0.15 + 0.18 * k) / figure.get_figheight()
        figure.text(0.012, y, words, fontsize=8.6, color=SOFT, va="center")


def strip_height(arms: Sequence[ArmView]) -> float:
    """Inches that `dosing` needs above the axes.

    Parameters
    ----------
    arms : sequence of ArmView
        Arms of the figure.
    """
    treated, plan = _plan(arms)
    return 0.28 + STRIP * len(treated) if plan is None else 0.12


def label_height(arms: Sequence[ArmView]) -> float:
    """Inches that the names of `arms` need, one below the other.

    Parameters
    ----------
    arms : sequence of ArmView
        Arms of the figure.
    """
    return LINE * len(arms) * max((wrap_label(arm.label).count("\n") + 1 for arm in arms), default=0)


def end_labels(ax: Axes, ends: Sequence[tuple[float, float, ArmView]], span: tuple[float, float]) -> None:
    """Arm names at the right of `ax`, each joined to its line's end (x, y in data) by a thin leader.

    Parameters
    ----------
    ax : Axes
    ends : sequence of (float, float, ArmView)
    span : tuple of float
        Lowest and highest place, as a share of the height.
    """
    if not ends:
        return
    box = ax.get_window_extent()
    gap = label_height([arm for _, _, arm in ends]) / len(ends) * ax.figure.dpi / box.height
    heights = [ax.transData.transform((x, y))[1] for x, y, _ in ends]
    wanted = [(h - box.y0) / box.height for h in heights]
    placed = spread(wanted, gap, span[0], span[1])
    for (x, y, arm), height, at in zip(ends, heights, placed, strict=True):
        start = ((ax.transData.transform((x, y))[0] - box.x0) / box.width, (height - box.y0) / box.height)
        leader = {"color": arm.color, "lw": 0.8, "transform": ax.transAxes, "clip_on": False, "zorder": 2}
        ax.plot([start[0] + 0.012, 1.035], [start[1], at], **leader)
        ax.plot([1.052], [at], marker=arm.marker, ms=4.5, **leader)
        ax.text(1.078, at, wrap_label(arm.label), transform=ax.transAxes, va="center", fontsize=9.2, linespacing=1.15)


def numbers_at_visits(
    ax: Axes, frame: pd.DataFrame, arms: Sequence[ArmView], labelled: Sequence[float], top: float, heading: str
) -> None:
    """Numbers of patients by arm below the axis; `top` in inches below it.

    Parameters
    ----------
    ax : Axes
    frame : DataFrame
        Columns `arm`, `month`, `n`.
    arms : sequence of ArmView
    labelled : sequence of float
        Months with a tick label.
    top : float
    heading : str
    """
    height = ax.get_window_extent().height / ax.figure.dpi
    ax.text(0.0, -top / height, heading, transform=ax.transAxes, fontsize=8.6, color=SOFT, ha="left", va="center")
    counts = dict(zip(zip(frame["arm"], frame["month"], strict=True), frame["n"], strict=True))
    digits = len(str(int(frame["n"].max())))
    shown = thinned(labelled, (0.0195 * digits + 0.012) * np.ptp(ax.get_xlim()))  # a digit's width, and a gap
    for k, arm in enumerate(arms):
        y = -(top + 0.165 * (k + 1)) / height
        ax.plot([-0.075], [y], marker=arm.marker, ms=4.5, color=arm.color, transform=ax.transAxes, clip_on=False)
        for month in shown:
            if (arm.name, month) in counts:
                text = f"{int(counts[arm.name, month])}"
                where = ax.get_xaxis_transform()
                ax.text(month, y, text, transform=where, fontsize=8.6, ha="center", va="center", color=INK)
