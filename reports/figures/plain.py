"""Axes that draw the ticks of an axis together.

matplotlib makes six objects for every tick. In most of our figures they take longer than all else. An axis here has
one tick, which is drawn at many places, with the same picture. What belongs to one tick alone, such as its own colour,
can't be set.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import StringIO
from typing import Any, ClassVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis, Tick, XAxis, XTick, YAxis, YTick
from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_mixed import MixedModeRenderer
from matplotlib.backends.backend_svg import FigureCanvasSVG, RendererSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from matplotlib.ticker import NullLocator
from matplotlib.transforms import Bbox, IdentityTransform, Transform


class _Words(Text):
    """Text whose layout is remembered, also for further figures."""

    def _get_layout(self, renderer: RendererBase) -> Any:
        layouts = getattr(renderer, "layouts", None)
        if layouts is None or self.get_wrap():
            return super()._get_layout(renderer)
        key = (
            *(self.get_text(), hash(self.get_fontproperties()), self._linespacing, self.get_parse_math()),
            *(self.get_ha(), self.get_va(), self._multialignment, self.get_rotation(), self.get_rotation_mode()),
        )
        if key not in layouts:
            layouts[key] = super()._get_layout(renderer)
        return layouts[key]


class _Renderer(RendererSVG):
    """Writes SVG, and knows the layouts of texts that were written before."""

    layouts: ClassVar[dict[tuple[Any, ...], Any]] = {}


def svg(figure: Figure) -> str:
    """The figure as an SVG document.

    Parameters
    ----------
    figure : Figure
    """
    document, dpi = StringIO(), figure.dpi
    figure.dpi = FigureCanvasSVG.fixed_dpi
    try:
        size = figure.get_size_inches()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        lines = _Renderer(*(figure.dpi * size), document, image_dpi=dpi, metadata=nothing)
        renderer = MixedModeRenderer(figure, *size, dpi, lines)  # scales of colours are pixels
        figure.draw(renderer)
        renderer.finalize()
    finally:
        figure.dpi = dpi
    return document.getvalue()


class _Ticks(Tick):
    """All major or all minor ticks of an axis."""

    along: str  # "x" or "y"
    places: np.ndarray  # in data coordinates
    words: list[str]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.label1.__class__ = self.label2.__class__ = _Words  # Tick makes them

    def draw(self, renderer: RendererBase) -> None:
        """Draw the grid, the marks and the labels."""
        if self.gridline.get_visible():
            self.gridline.set_clip_path(self.axes.patch)
            for _ in self.each(self.gridline):
                self.gridline.draw(renderer)
        for marks in (self.tick1line, self.tick2line):
            if marks.get_visible():
                self.put(marks, self.places)
                marks.draw(renderer)
        for label in (self.label1, self.label2):
            if label.get_visible():
                for _ in self.each(label):
                    label.draw(renderer)
        self.stale = False

    def each(self, part: Line2D | Text) -> Iterator[None]:
        """Put a label or line at one place after the other."""
        for at, words in zip(self.places, self.words, strict=True):
            if isinstance(part, Line2D):
                self.put(part, np.array([at]))
            else:
                part.set(**{self.along: at, "text": words})
            yield

    def put(self, line: Line2D, places: np.ndarray) -> None:
        """Put a line at places along the axis, where it stays across."""
        raise NotImplementedError


class _XTicks(_Ticks, XTick):
    along = "x"

    def put(self, line: Line2D, places: np.ndarray) -> None:
        line.set_data(places, line.get_ydata(orig=True))


class _YTicks(_Ticks, YTick):
    along = "y"

    def put(self, line: Line2D, places: np.ndarray) -> None:
        line.set_data(line.get_xdata(orig=True), places)


class _Plain(Axis):
    """An axis with one tick object, or none before it is needed."""

    majorTicks: list[Tick]
    minorTicks: list[Tick]

    def reset_ticks(self) -> None:
        self.majorTicks, self.minorTicks = [], []

    def get_major_ticks(self, numticks: int | None = None) -> list[Tick]:
        """The tick, as often as there are places."""
        count = len(self.get_majorticklocs()) if numticks is None else numticks
        if count and not self.majorTicks:
            tick = self._get_tick(major=True)  # may call `reset_ticks`
            self.majorTicks = [tick]
        return self.majorTicks * count

    def get_minor_ticks(self, numticks: int | None = None) -> list[Tick]:
        """The tick, as often as there are places."""
        count = len(self.get_minorticklocs()) if numticks is None else numticks
        if count and not self.minorTicks:
            tick = self._get_tick(major=False)  # may call `reset_ticks`
            self.minorTicks = [tick]
        return self.minorTicks * count

    def _update_ticks(self) -> list[Tick]:
        """The ticks, major and minor, that have places in view."""
        found = []
        for ticker, where, ticks in (
            (self.major, self.get_majorticklocs, self.get_major_ticks),
            (self.minor, self.get_minorticklocs, self.get_minor_ticks),
        ):
            if isinstance(ticker.locator, NullLocator) or not len(places := np.asarray(where(), float)):
                continue
            words = ticker.formatter.format_ticks(places)
            low, high = sorted(self.get_transform().transform(np.asarray(self.get_view_interval())))
            at, near = self.get_transform().transform(places), 1e-10 * (high - low)
            seen = (at >= low - near) & (at <= high + near)
            tick: Any = ticks(1)[0]
            tick.places, tick.words = places[seen], [word for word, here in zip(words, seen, strict=True) if here]
            if seen.any():
                found.append(tick)
        return found

    def _get_ticklabel_bboxes(self, ticks: list[Any], renderer: RendererBase) -> tuple[list[Bbox], list[Bbox]]:
        first, second = (
            [
                label.get_window_extent(renderer)
                for tick, label in pairs
                if label.get_visible()
                for _ in tick.each(label)
            ]
            for pairs in ([(tick, tick.label1) for tick in ticks], [(tick, tick.label2) for tick in ticks])
        )
        return first, second

    def _update_label_position(self, renderer: RendererBase) -> None:
        if self.get_label_text():
            super()._update_label_position(renderer)
        else:
            self.set_label_coords(0.0, 0.0)  # else all labels of ticks are measured to place nothing

    def draw(self, renderer: RendererBase) -> None:
        """Draw the ticks, the label, and the power of ten that all labels share."""
        if not self.get_visible():
            return
        renderer.open_group("axis", gid=self.get_gid())
        ticks = self._update_ticks()
        for tick in ticks:
            tick.draw(renderer)
        if self.get_label_text():
            self._update_label_position(renderer)
            self.label.draw(renderer)
        if shared := self.major.formatter.get_offset():
            self._update_offset_text_position(*self._get_ticklabel_bboxes(ticks, renderer))
            self.offsetText.set_text(shared)
            self.offsetText.draw(renderer)
        renderer.close_group("axis")
        self.stale = False


class _PlainX(_Plain, XAxis):
    _tick_class = _XTicks


class _PlainY(_Plain, YAxis):
    _tick_class = _YTicks


class _Background(Rectangle):
    """The rectangle of the axes, which is that of their coordinates."""

    def get_patch_transform(self) -> Transform:
        return IdentityTransform()


class PlainAxes(Axes):
    """Axes whose ticks are drawn together."""

    def _gen_axes_patch(self) -> Rectangle:
        return _Background((0.0, 0.0), 1.0, 1.0)

    def text(self, x: float, y: float, s: str, fontdict: dict[str, Any] | None = None, **kwargs: Any) -> Text:
        """As of `Axes.text`."""
        words = _Words(x, y, s, **{"transform": self.transData, "clip_on": False} | (fontdict or {}) | kwargs)
        self.add_artist(words)
        return words

    def _init_axis(self) -> None:
        self.xaxis, self.yaxis = _PlainX(self, clear=False), _PlainY(self, clear=False)
        for side, axis in (("bottom", self.xaxis), ("top", self.xaxis), ("left", self.yaxis), ("right", self.yaxis)):
            self.spines[side].register_axis(axis)

    def clear(self) -> None:
        """As of `Axes.clear`."""
        super().clear()
        for spine in self.spines.values():
            spine.get_position()  # places it, as making a tick would do


class PlainFigure(Figure):
    """A figure whose axes are `PlainAxes`."""

    def add_axes(self, *args: Any, **kwargs: Any) -> Axes:
        """As of `Figure.add_axes`."""
        return super().add_axes(*args, **{"axes_class": PlainAxes} | kwargs)

    def add_subplot(self, *args: Any, **kwargs: Any) -> Axes:
        """As of `Figure.add_subplot`."""
        return super().add_subplot(*args, **{"axes_class": PlainAxes} | kwargs)
