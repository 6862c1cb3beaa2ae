"""Figures: labels that do not overlap, bytes that repeat, and what is drawn is what is exported."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ranklsim.cohorts.protocol.design import Arm
from ranklsim.pkpd.dosing import Regimen
from ranklsim.pkpd.parameters import load_parameters
from ranklsim.pkpd.units import DAYS_PER_MONTH
from ranklsim.reports.figures import analyses, drawing, plain
from ranklsim.reports.figures import trial as figures
from ranklsim.reports.layout import arms as arm_views


def agent(name: str, kind: str = "binder", color: str = "#0072B2", hypothetical: bool = False) -> SimpleNamespace:
    return SimpleNamespace(name=name, label=name.capitalize(), kind=kind, color=color, hypothetical=hypothetical)


AGENTS = {
    a.name: a
    for a in (
        agent("placebo", "none", "#4D4D4D"),
        agent("denosumab"),
        agent("mrankl", color="#D55E00", hypothetical=True),
        agent("zoledronate", "bisphosphonate", "#E69F00"),
    )
}


def regimen(name: str, mg: float = 60.0, start: float = 0.0, every: float = 6.0, doses: int = 4) -> Regimen:
    return Regimen(name, mg, start * DAYS_PER_MONTH, every * DAYS_PER_MONTH, doses)


def arm(name: str, *regimens: Regimen) -> Arm:
    return Arm(name, name.upper(), list(regimens))


TWO = [arm("placebo", regimen("placebo", 0.0)), arm("test", regimen("mrankl"))]


@pytest.fixture
def frame() -> pd.DataFrame:
    rows = []
    for name, slope in (("placebo", -0.05), ("test", 0.3)):
        for month in (0.0, 12.0, 24.0, 36.0):
            y = slope * month
            rows.append({"month": month, "arm": name, "n": 20, "mean": y, "ci_low": y - 1, "ci_high": y + 1})
    return pd.DataFrame(rows)


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=12),
    st.floats(0.001, 0.2),
)
def test_labels_keep_their_distance_their_order_and_inside_the_axis(wanted, gap):
    placed = drawing.spread(wanted, gap, 0.0, 1.0)
    order = np.argsort(wanted, kind="stable")
    room = min(gap, 1.0 / max(len(wanted) - 1, 1))
    assert (np.diff(placed[order]) >= room - 1e-9).all()
    assert placed.min() >= -1e-9
    assert placed.max() <= 1 + 1e-9


def test_labels_with_room_stay_where_they_are():
    assert drawing.spread([0.1, 0.5, 0.9], 0.2, 0.0, 1.0) == pytest.approx([0.1, 0.5, 0.9])


def test_tick_labels_are_visits_and_do_not_crowd():
    months = [0, 0.1, 1, 3, 6, 12, 18, 24, 25, 27, 30, 36]
    shown = drawing.thinned(months, 2.0)
    assert set(shown) <= set(map(float, months))
    assert {0.0, 12.0, 24.0, 36.0} <= set(shown)
    assert np.diff(shown).min() >= 2.0


def test_the_same_frame_gives_the_same_bytes(frame):
    views = arm_views.view_arms(TWO, AGENTS)
    one, two = (drawing.svg_text(figures.by_visit(frame, views, ylabel="z"), "x", "y") for _ in range(2))
    assert one == two


def test_a_figure_is_well_formed_vector_text_that_names_every_arm_and_asks_for_nothing_outside(frame):
    figure = figures.by_visit(frame, arm_views.view_arms(TWO, AGENTS), ylabel="Change (%)")
    svg = drawing.svg_text(figure, "fig-1", "A <b> & c")
    root = ElementTree.fromstring(svg)
    assert root.get("aria-label") == "A <b> & c"
    words = " ".join("".join(text.itertext()) for text in root.iter("{http://www.w3.org/2000/svg}text"))
    assert {"PLACEBO", "TEST", "Change", "(%)"} <= set(words.split())
    links = re.findall(r'href="([^"]+)"', svg)
    assert all(link.startswith("#fig-1-") for link in links)
    assert not re.search(r'(?<!xmlns=")(?<!xmlns:xlink=")https?://', svg)


def test_the_users_own_matplotlibrc_changes_nothing(frame):
    import matplotlib as mpl

    views = arm_views.view_arms(TWO, AGENTS)
    plain = drawing.svg_text(figures.by_visit(frame, views, ylabel="z"), "x", "y")
    with mpl.rc_context({"font.size": 20, "axes.facecolor": "red", "svg.fonttype": "path"}):
        assert drawing.svg_text(figures.by_visit(frame, views, ylabel="z"), "x", "y") == plain


def _as_it_is(ax: Axes) -> None:
    ax.plot([0.0, 7.0, 40.0], [3.0, 2.0, 5.0])


def _with_given_words(ax: Axes) -> None:
    ax.plot([1.0, 20.0], [1.0, 2.0])
    ax.set_xticks([0, 3, 21], ["none", "a few", "all"], rotation=40, fontsize=7)
    ax.set_yticks([])
    ax.tick_params(axis="x", length=0)


def _logarithmic_with_a_grid(ax: Axes) -> None:
    ax.plot([1.0, 900.0], [0.02, 3.0])
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.grid(axis="y")
    ax.set_axisbelow(True)
    ax.invert_yaxis()


def _of_large_numbers_on_the_other_side(ax: Axes) -> None:
    ax.plot([1e9, 1e9 + 1.0], [0.0, 3e7])
    ax.yaxis.tick_right()
    ax.tick_params(labelsize=6, labelbottom=True, top=True)
    ax.minorticks_on()


@pytest.mark.parametrize(
    "draw", [_as_it_is, _with_given_words, _logarithmic_with_a_grid, _of_large_numbers_on_the_other_side]
)
@pytest.mark.parametrize("layout", [None, "constrained"])
def test_ticks_that_are_drawn_together_look_as_those_of_matplotlib(draw: Callable[[Axes], None], layout: str | None):
    pictures = []
    for kind in (plain.PlainFigure, Figure):
        figure = kind(figsize=(3, 4), layout=layout)
        FigureCanvasAgg(figure)
        for ax in figure.subplots(2, 1, sharex=True):
            draw(ax)
            ax.set_xlabel("x")
            ax.set_ylabel("y")
        for _ in range(2):
            figure.canvas.draw()
            pictures.append(np.array(figure.canvas.buffer_rgba()))
            ax.set_ylim(1.0, 2.2)  # fewer ticks
    assert (pictures[0] == pictures[2]).all()
    assert (pictures[1] == pictures[3]).all()


def test_a_figure_is_written_as_matplotlib_writes_it_with_layouts_that_are_new_or_remembered(frame):
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with drawing.styled():
        figure = figures.by_visit(frame, arm_views.view_arms(TWO, AGENTS), ylabel="two\nlines")
        figure.axes[0].text(0.5, 0.5, "a long text that has to be broken " * 4, wrap=True)
        figure.colorbar(figure.axes[0].scatter([0.0, 1.0], [0.0, 1.0], c=[0.0, 1.0]), ax=figure.axes[0])
        figure.savefig(theirs := io.StringIO(), format="svg", metadata=nothing)
        assert plain.svg(figure) == plain.svg(figure) == theirs.getvalue()


def test_arms_of_one_agent_get_shades_and_other_marks():
    views = arm_views.view_arms([arm(f"d{mg}", regimen("denosumab", mg)) for mg in (14, 60, 210)], AGENTS)
    assert len({view.color for view in views}) == 3
    assert views[1].color == "#0072b2"
    assert len({(view.marker, str(view.dash)) for view in views}) == 3


def test_an_arm_is_predicted_if_any_of_its_agents_is_hypothetical():
    views = arm_views.view_arms(
        [
            arm("known", regimen("denosumab")),
            arm("then", regimen("denosumab"), regimen("mrankl", start=24)),
            arm("zol", regimen("denosumab"), regimen("zoledronate", 5, 24, 0, 1)),
        ],
        AGENTS,
    )
    assert [view.basis for view in views] == [arm_views.CALIBRATED, arm_views.PREDICTED, arm_views.LITERATURE]


def test_treatment_ends_with_the_last_interval_or_with_a_switch_common_to_all_arms():
    alone = arm_views.view_arms(TWO, AGENTS)
    assert [view.end for view in alone] == [24.0, 24.0]
    assert alone[1].last_dose == 18.0
    switched = arm_views.view_arms(
        [arm("nothing", regimen("denosumab")), arm("zol", regimen("denosumab"), regimen("zoledronate", 5, 24, 0, 1))],
        AGENTS,
    )
    assert [view.end for view in switched] == [24.0, 24.0]


def test_an_arm_that_is_given_nothing_ends_with_the_others():
    views = arm_views.view_arms([arm("none"), arm("d", regimen("denosumab"))], AGENTS)
    assert views[0].end == 24.0
    assert views[0].words == "nothing"


@pytest.mark.parametrize(
    ("every", "words"),
    [(6.0, "Q6M"), (1 / DAYS_PER_MONTH, "daily"), (7 / DAYS_PER_MONTH, "QW"), (0.5, "every 15.22 days")],
)
def test_intervals_read_as_a_protocol_puts_them(every, words):
    assert arm_views.interval_words(every) == words


def test_a_power_of_ten_is_written_with_its_exponent_and_another_number_in_full():
    assert [drawing.power_of_ten(x) for x in (1e-12, 0.1, 1.0, 2.0, 1e3)] == ["10⁻¹²", "10⁻¹", "10⁰", "2", "10³"]


def test_a_mean_whose_interval_is_missing_or_on_the_wrong_side_has_a_point_and_no_bar(frame):
    frame.loc[0, "ci_low"] = np.nan
    frame.loc[1, "ci_high"] = -np.inf
    frame.loc[2, ["ci_low", "ci_high"]] = frame.loc[2, "mean"] + 1.0, np.inf
    figure = figures.by_visit(frame, arm_views.view_arms(TWO, AGENTS), ylabel="z")
    bars = next(line for line in figure.axes[0].lines if line.get_solid_capstyle() == "butt")
    low, high, _ = bars.get_ydata().reshape(4, 3).T
    mean = frame["mean"].to_numpy()[:4]
    assert (mean - low).tolist() == pytest.approx([0, 1, 0, 1])
    assert (high - mean).tolist() == pytest.approx([1, 0, 0, 1])


def test_numbers_of_patients_below_an_axis_do_not_touch():
    months = [-12.0, -6.0, 0.0, 3.0, 6.0, 9.0, 12.0, 18.0, 24.0, 36.0]
    frame = pd.DataFrame({"month": months, "arm": "placebo", "n": 888})
    views = arm_views.view_arms(TWO[:1], AGENTS)
    with drawing.drawing(drawing.WIDTH, 4.0) as figure:
        ax = figure.add_axes((0.095, 0.3, 0.6, 0.6))
        labelled = drawing.month_axis(ax, months, None)
        drawing.numbers_at_visits(ax, frame, views, labelled, 0.5, "Patients")
        figure.draw_without_rendering()
        boxes = sorted(text.get_window_extent().extents.tolist() for text in ax.texts if text.get_text() == "888")
    assert len(boxes) >= 6
    gaps = [right[0] - left[2] for left, right in pairwise(boxes)]
    assert min(gaps) > 2


def test_the_words_of_every_parameter_stand_beside_the_bars_and_not_below_them() -> None:
    meanings = load_parameters().frame["meaning"].to_dict()
    frame = pd.DataFrame({"arm": "test", "symbol": list(meanings), "rho": -1.0, "low": -1.0, "high": -0.9})
    views = arm_views.view_arms(TWO, AGENTS)
    for start in range(0, len(frame), 8):
        own = frame.iloc[start : start + 8].assign(beyond_chance=True)
        figure = figures.correlations(own, views, meanings=meanings)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        (axes,) = figure.axes
        for text in axes.texts:
            box = text.get_window_extent(canvas.get_renderer())
            assert box.x0 >= -1, text.get_text()
            assert box.x1 <= axes.bbox.x0 or text.get_text() == "TEST", text.get_text()


def texts(figure: Figure) -> dict[str, tuple[float, float]]:
    """Left and right end of every text in a figure, as shares of its width."""
    FigureCanvasAgg(figure).draw()
    drawn = [text for text in figure.findobj(lambda part: hasattr(part, "get_text")) if text.get_text().strip()]
    ends = [(text.get_text().strip(), text.get_window_extent()) for text in drawn]
    return {words: (box.x0 / figure.bbox.width, box.x1 / figure.bbox.width) for words, box in ends}


@pytest.mark.parametrize("words", ["Denosumab 60 mg Q6M, then mRANKL-selective (n = 26)", "x" * 90, "a"])
def test_lines_are_as_long_as_they_may_be_and_hold_every_letter(words):
    lines = drawing.fitted(words, 1.2, 9.0).split("\n")
    assert all(drawing.text_width(line, 9.0) <= 1.2 for line in lines)
    assert re.sub(r"\s", "", "".join(lines)) == words.replace(" ", "")


@pytest.mark.parametrize("width", [0.8, 2.0, 5.0])
def test_ticks_of_ratios_have_one_among_them_and_do_not_touch(width):
    with drawing.drawing(6.0, 2.0) as figure:
        ax = figure.add_axes((0.1, 0.3, width / 6, 0.6))
        drawing.ratio_axis(ax, 0.015, 60.0)
        shown = ax.get_xticks()
        assert 1.0 in shown
        inches = width * np.log(shown / 0.015) / np.log(60.0 / 0.015)
    half = [drawing.text_width(f"{value:g}", 9.0) / 2 for value in shown]
    for (one, a), (other, b) in pairwise(zip(inches, half, strict=True)):
        assert other - one > a + b


def test_a_forest_shows_every_row_whole_and_those_without_an_estimate_alike():
    rows = [
        ("All", "", 1200.0, 1e-4, 1e4, ""),
        ("Age", "young", 0.0, 0.0, 6.7, ""),
        ("Age", "old", np.nan, 0.0, np.inf, "no events"),
        ("Age", "oldest", np.nan, np.nan, np.nan, "no events"),
    ]
    frame = pd.DataFrame(rows, columns=["factor", "level", "estimate", "low", "high", "note"])
    frame = frame.assign(arm="test", n=100, n_control=99, p_interaction=np.nan)
    views = arm_views.view_arms(TWO, AGENTS)
    figure = analyses.forest(frame.assign(arm=views[1].name), views, xlabel="Hazard ratio", ratio=True)
    found = texts(figure)
    assert all(0 <= left and right <= 1 for left, right in found.values()), found
    assert "1200.00 (0.00, 10000.00)" in found
    assert "0.00 (0.00, 6.70)" in found
    (ax,) = figure.axes
    assert [text.get_text() for text in ax.texts].count("not estimable") == 2
    marked = sum(len(line.get_xdata()) for line in ax.lines if line.get_marker() in "<>Ds")
    assert marked == 2, "an estimate beyond the axis has an arrow at its end"
