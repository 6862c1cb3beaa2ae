"""The visual predictive check of ``ranklsim validate``: published groups against simulated groups of the same size."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from ranklsim.cohorts.validation.predictive_check import ENDPOINTS, FIGURES, coverage
from ranklsim.pkpd.biology.skeleton import NAMES
from ranklsim.reports.figures.drawing import INK, RULE, SOFT, WIDTH, drawing, svg_text
from ranklsim.reports.layout.exhibit import Exhibit, Section
from ranklsim.reports.layout.page import table
from ranklsim.reports.layout.tables import num

WORDS = {"lower": "Lower quartile", "middle": "Median or mean", "upper": "Upper quartile"}
TICKS = (5, 10, 20, 50, 100, 200, 400)
DODGE = 0.013  # of the axis, between studies of one month


def check_section(
    groups: pd.DataFrame, patients: pd.DataFrame, phases: dict[str, tuple[str, str, str]], first: int, of_table: str
) -> Section:
    """Figures and table of the check.

    Parameters
    ----------
    groups, patients : DataFrame
        From `cohorts.predictive_check.predictive_check`.
    phases : dict
        Phase to colour, marker and words; the first of them has a figure of its own.
    first : int
        Number of the first figure.
    of_table : str
        Number of the table.
    """
    words = [
        "Do patients differ as they do in the trials? A published group is shown by three figures: its median and "
        "quartiles, or its mean and mean ∓ 0.674 SD, the quartiles of a normal. Each stands on the 90% interval of "
        "the same figure over groups of the same size, drawn from the arm's cohort and measured with error. The "
        "intervals hold chance alone: that trials differ, and that parameters are uncertain, comes on top.",
        "Prediction-corrected (Bergstrand 2011): within a month and phase, every value is multiplied by the median "
        "of the arms' typical predictions over that of its own arm, so that doses and populations can share a panel "
        "(BMD as percent of baseline). Arms that are given antibodies or nothing.",
    ]
    exhibits: list[Exhibit] = []
    lead = next(iter(phases))
    for columns in ([lead], [phase for phase in phases if phase != lead]):
        mine = groups[groups["phase"].isin(columns)]
        if len(mine):
            exhibits.append(_figure(mine, patients, {p: phases[p] for p in columns}, f"{first + len(exhibits)}"))
    table_of_all = _table(groups, phases, of_table)
    return Section(
        "3", "Visual predictive check", "predictive-check", paragraphs=[*words], exhibits=[*exhibits, table_of_all]
    )


def _figure(
    groups: pd.DataFrame, patients: pd.DataFrame, phases: dict[str, tuple[str, str, str]], number: str
) -> Exhibit:
    sites = [site for site in ENDPOINTS if (groups["site_or_marker"] == site).any()]
    columns = [phase for phase in phases if (groups["phase"] == phase).any()]
    height = (2.2 if len(columns) == 1 else 1.95) * len(sites) + 0.7
    with drawing(WIDTH * 1.2, height) as figure:
        axes = figure.subplots(len(sites), len(columns), squeeze=False)
        for k, site in enumerate(sites):
            for j, phase in enumerate(columns):
                ax, here = axes[k, j], (groups["site_or_marker"] == site) & (groups["phase"] == phase)
                if not here.any():
                    ax.set_axis_off()
                    where = {"transform": ax.transAxes, "ha": "center", "va": "center"}
                    ax.text(0.5, 0.5, "no published group", fontsize=8.4, color=SOFT, **where)
                    continue
                mine = patients[(patients["site_or_marker"] == site) & (patients["phase"] == phase)]
                _panel(ax, site, groups[here], mine, phases[phase][0])
                ax.set_title(f"{_name(site)}, {phases[phase][2]}", loc="left", fontsize=9.0)
            first = next(axes[k, j] for j in range(len(columns)) if axes[k, j].axison)
            first.set_ylabel("Change from\nbaseline (%)" if site in NAMES else "% of baseline")
        figure.legend(handles=_legend(), loc="lower center", ncol=3, frameon=False, fontsize=8.4)
        figure.supxlabel("Months", fontsize=9.6, color=INK, y=0.47 / height)
        figure.tight_layout(rect=(0, 0.55 / height, 1, 1), h_pad=1.0, w_pad=0.8)
        body = svg_text(figure, f"figure-{number}", "Published quartiles and medians on simulated groups of their size")
    known = groups["inside_middle"].dropna()
    ends = pd.concat([groups["inside_lower"], groups["inside_upper"]]).dropna()
    headline = (
        f"The 90% interval of a group of the published size holds {100 * known.mean():.0f}% of {len(known)} medians "
        f"and means" + (f", and {100 * ends.mean():.0f}% of {len(ends)} quartiles." if len(ends) else ".")
        if len(known)
        else ""
    )
    footnote = (
        "Studies of one month stand side by side. Shaded: 5th to 95th and 25th to 75th percentile of single measured "
        "patients, line: their median. The figure's CSV holds every group; a figure without spread or n has its middle "
        "only, or no interval."
    )
    title = f"Published groups on simulated groups, {' and '.join(phases[phase][2] for phase in columns)}"
    return Exhibit("Figure", number, title, groups, body, footnote, headline)


def _name(site: str) -> str:
    return f"{NAMES[site].capitalize()} BMD" if site in NAMES else site


def _panel(ax: Axes, site: str, groups: pd.DataFrame, patients: pd.DataFrame, color: str) -> None:
    patients = patients.sort_values("month")
    months = patients["month"].to_numpy(float)
    for low, high, alpha in (("p5", "p95", 0.10), ("p25", "p75", 0.16)):
        ax.fill_between(months, patients[low], patients[high], color=color, alpha=alpha, lw=0)
    ax.plot(months, patients["p50"], color=color, lw=1.2)
    first, last = float(groups["month"].min()), float(groups["month"].max())
    gap = DODGE * max(last - first, 12.0)
    for _, those in groups.groupby("month"):
        for i, (_, row) in enumerate(those.iterrows()):
            x = row["month"] + gap * (i - (len(those) - 1) / 2)
            ends = row[["observed_lower", "observed_upper"]].to_numpy(float)
            if np.isfinite(ends).all():
                ends = ends if site in NAMES else ends.clip(min=1.0)  # of a skewed mean and SD, on a log axis
                ax.plot([x, x], ends, color="black", lw=0.5, zorder=3)
            for which in FIGURES:
                if not np.isfinite(row[f"observed_{which}"]):
                    continue
                if np.isfinite(row[f"low_{which}"]):
                    ax.plot(
                        [x, x], [row[f"low_{which}"], row[f"high_{which}"]], color=color, lw=2.6, alpha=0.55, zorder=2,
                        solid_capstyle="butt",
                    )  # fmt: skip
                fill = "black" if row[f"inside_{which}"] == 0 else "white"
                marker, size = ("o", 3.2) if which == "middle" else ("D", 2.3)
                ax.plot(x, row[f"observed_{which}"], marker, ms=size, mfc=fill, mec="black", mew=0.6, zorder=4)
    pad = 0.05 * max(last - first, 6.0)
    ax.set_xlim(first - pad, last + pad)
    step = next((s for s in (1, 2, 3, 6, 12, 24) if (last - first) / s <= 5), 48)
    ax.set_xticks(np.arange(np.ceil(first / step) * step, last + 1e-9, step))
    ax.tick_params(labelsize=8.2)
    if site in NAMES:
        ax.axhline(0, color=RULE, lw=0.8, zorder=0.5)
        ax.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
    else:
        ax.set_yscale("log")
        ax.axhline(100, color=RULE, lw=0.8, zorder=0.5)
        ax.yaxis.set_major_locator(FixedLocator(TICKS))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.yaxis.set_minor_locator(NullLocator())
        ax.set_ylim(bottom=max(3.0, ax.get_ylim()[0]))


def _legend() -> list[Line2D | Patch]:
    mark = {"ls": "none", "mec": "black", "mew": 0.7}
    return [
        Line2D([], [], marker="o", ms=4, mfc="white", label="published median or mean", **mark),
        Line2D([], [], marker="D", ms=3, mfc="white", label="published quartile", **mark),
        Line2D([], [], marker="o", ms=4, mfc="black", label="outside its interval", **mark),
        Line2D([], [], color=SOFT, lw=2.8, alpha=0.7, label="90% interval of groups of that size"),
        Patch(color=SOFT, alpha=0.3, lw=0, label="simulated patients, 25–75%"),
        Patch(color=SOFT, alpha=0.14, lw=0, label="5–95%"),
    ]


def _table(groups: pd.DataFrame, phases: dict[str, tuple[str, str, str]], number: str) -> Exhibit:
    found = coverage(groups)
    order = {site: k for k, site in enumerate(ENDPOINTS)}
    places = {phase: k for k, phase in enumerate(phases)}
    found = found.sort_values(
        ["site_or_marker", "phase"], key=lambda s: s.map(order if s.name == "site_or_marker" else places)
    ).reset_index(drop=True)
    shown = [
        {"Site or marker": row["site_or_marker"], "Phase": phases[row["phase"]][2]}
        | {
            WORDS[x]: f"{num(row[f'inside_{x}'], 0)} ({row[f'n_{x}']})" if row[f"n_{x}"] else ""
            for x in ("middle", "lower", "upper")
        }
        for row in found.to_dict("records")
    ]
    footnote = (
        "Share (%) of published figures inside the 90% interval of groups of their size; number of figures. Around 90 "
        "would be seen if trials differed by chance alone."
    )
    return table(
        number, "Published figures inside the interval of groups of their size", found, shown, footnote,
        numeric=[WORDS[x] for x in FIGURES],
    )  # fmt: skip
