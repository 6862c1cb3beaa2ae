"""Figures of the page of ``ranklsim replicate``: power by size, each study's answer, and power by parameter vector."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, PercentFormatter

from ranklsim.cohorts.endpoints import Endpoint
from ranklsim.cohorts.words import first_upper
from ranklsim.reports.figures.drawing import INK, RULE, WIDTH, drawing, first_figure, svg_text, two_lines
from ranklsim.reports.layout.exhibit import Exhibit, Section
from ranklsim.reports.layout.page import table
from ranklsim.reports.layout.tables import num
from ranklsim.reports.replicate.analyse import DIFFERENCE, MEAN
from ranklsim.reports.replicate.operating import Replicates
from ranklsim.reports.replicate.sample import AS_PLANNED, AS_RUN
from ranklsim.reports.replicate.view import Scale, View, percent

SHOWN = 100  # studies whose intervals are drawn
PANELS = 10
SOURCES = {"ensemble": "of the ensemble that agrees with published figures", "ranges": "drawn over plausible ranges"}


# -- power against n ---------------------------------------------------------------------------------------------------


def figure(found: Replicates) -> Figure:
    """The first figure of the page: power by number of patients, or the estimates of each study.

    Parameters
    ----------
    found : Replicates
    """
    view = View(found)
    return first_figure(lambda: by_size(view) if len(view.sizes) > 1 else estimates(view))


def by_size(view: View) -> Section:
    """Power and type I error against the number of patients.

    Parameters
    ----------
    view : View
        The result.
    """
    section, number = view.number("Section"), view.number("Figure")
    specs = view.protocol.endpoints[:PANELS]
    mine = view.default["measure"].isin(["power", "type I error"]) & (view.default["quantity"] == DIFFERENCE)
    frame = view.default[mine & view.default["endpoint"].isin([s.name for s in specs])]
    columns = min(2, len(specs))
    height = 2.3 * -(-len(specs) // columns) + 0.5
    with drawing(WIDTH * 1.15, height) as figure:
        axes = figure.subplots(-(-len(specs) // columns), columns, squeeze=False).reshape(-1)
        for ax in axes[len(specs) :]:
            ax.set_visible(False)
        for ax, spec in zip(axes, specs, strict=False):
            _power_panel(ax, view, spec, frame[frame["endpoint"] == spec.name])
            ax.set_title(two_lines(spec.name, 44), loc="left", fontsize=9.0)
        for ax in axes[::columns]:
            ax.set_ylabel("Studies that show\nwhat is claimed")
        figure.supxlabel("Patients", fontsize=9.6, color=INK)
        handles = {h.get_label(): h for ax in axes for h in ax.get_legend_handles_labels()[0]}
        figure.legend(handles.values(), handles.keys(), loc="upper right", ncol=3, frameon=False, fontsize=8.4)
        figure.tight_layout(rect=(0, 0, 1, 1 - 0.28 / height))
        body = svg_text(
            figure, f"figure-{number}", "Power and type I error against the number of patients, by endpoint"
        )
    footnote = (
        f"Filled: power. Hollow: type I error. Bars: 95% Wilson interval of the Monte-Carlo error over {view.studies}. "
        "Line: the nominal one-sided level. The smaller studies are the first patients of the larger ones."
    )
    title = "Power and type I error by number of patients"
    exhibit = Exhibit("Figure", number, title, frame, body, footnote)
    return Section(section, "How many patients", "size", exhibits=[exhibit])


def _power_panel(ax: Axes, view: View, spec: Endpoint, frame: pd.DataFrame) -> None:
    ax.axhline((1 - spec.confidence) / 2, color=RULE, lw=0.8, zorder=0.5)
    others = view.others(spec)
    for k, name in enumerate(others):
        arm = view.arms[name]
        for measure, fill in (("power", arm.color), ("type I error", "white")):
            own = frame[(frame["arm"] == name) & (frame["measure"] == measure)].sort_values("patients")
            if own.empty:
                continue
            x = own["patients"] * (1 + 0.012 * (k - (len(others) - 1) / 2))
            ax.vlines(x, own["low"], own["high"], color=arm.color, lw=1.0)
            label = arm.label if measure == "power" else None
            ax.plot(
                x, own["value"], color=arm.color, ls=arm.dash, marker=arm.marker, mfc=fill, ms=5, lw=1.3, label=label
            )
    ax.set_xticks(list(view.sizes))
    ax.set_ylim(-0.03, 1.03)
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))


# -- estimates against the truth ---------------------------------------------------------------------------------------


def estimates(view: View) -> Section:
    """Each study's answer against the true value.

    Parameters
    ----------
    view : View
        The result.
    """
    number = view.number("Section")
    return Section(number, "Each study's answer", "studies", exhibits=[_intervals(view), _distributions(view)])


def _truth(view: View, spec: Endpoint, arm: str) -> float:
    return view.cell("truth", AS_PLANNED, **view.here(spec, arm, view.largest))[0]


def _axis_text(view: View, spec: Endpoint) -> str:
    """What an axis of estimates holds."""
    scale, measure = view.scale(spec), view.measure(spec) or "arm's own value"
    return first_upper(measure) if scale.ratio or not scale.unit else f"{first_upper(measure)}\n({scale.unit})"


def _log_ticks(ax: Axes, scale: Scale, axis: str) -> None:
    """A logarithmic axis for ratios, with plain numbers."""
    if not scale.ratio:
        return
    getattr(ax, f"set_{axis}scale")("log")
    own = ax.xaxis if axis == "x" else ax.yaxis
    own.set_major_locator(LogLocator(10, subs=(1.0, 2.0, 5.0), numticks=7))
    own.set_major_formatter(lambda value, _: f"{value:g}")
    own.set_minor_formatter(NullFormatter())


def _intervals(view: View) -> Exhibit:
    number = view.number("Figure")
    spec, kept = view.primary, []
    scale = view.scale(spec)
    others = view.others(spec)
    with drawing(WIDTH * 1.15, 2.5 * len(others) + 0.4) as figure:
        axes = figure.subplots(len(others), 1, squeeze=False)[:, 0]
        for ax, name in zip(axes, others, strict=True):
            arm = view.arms[name]
            truth = _truth(view, spec, name)
            own = view.of_studies(spec, name)
            own = own.replace([np.inf, -np.inf], np.nan)
            own = own[own["replicate"] < SHOWN].dropna(subset=["low", "high"]).sort_values("estimate")
            own = own.assign(truth=truth, holds=(own["low"] <= truth) & (truth <= own["high"]))
            kept.append(own)
            x = np.arange(1, len(own) + 1)
            color = np.where(own["holds"], arm.color, "black")
            ax.vlines(x, scale.factor * own["low"], scale.factor * own["high"], colors=list(color), lw=1.1, alpha=0.75)
            for holds, fill in ((True, arm.color), (False, "black")):
                some = (own["holds"] == holds).to_numpy()
                ax.plot(x[some], scale.factor * own["estimate"][some], ls="none", marker=arm.marker, ms=2.6, color=fill)
            if np.isfinite(truth):
                ax.axhline(scale.factor * truth, color=INK, lw=1.0, ls=(0, (4, 2)))
            ax.axhline(scale.none, color=RULE, lw=0.8, zorder=0.5)
            _log_ticks(ax, scale, "y")
            ax.set_ylabel(_axis_text(view, spec))
            ax.set_xticks([])
            ax.set_title(arm.label, loc="left", fontsize=9.0)
        axes[-1].set_xlabel("Studies, by their estimate")
        figure.tight_layout()
        body = svg_text(figure, f"figure-{number}", "Estimate and 95% interval of each study, with the true value")
    frame = pd.concat(kept, ignore_index=True)
    missed = int((~frame["holds"]).sum())
    headline = f"{missed} of {len(frame)} intervals miss the true value; 5% would if all were exact."
    footnote = (
        f"First {min(SHOWN, view.plan.replicates)} studies of {view.largest} patients, {spec.analysis}, default "
        "parameter values; studies without a finite interval are not drawn. Dashed: true value as planned. Black: "
        "interval that misses it."
    )
    return Exhibit("Figure", number, f"Estimates of single studies: {spec.name}", frame, body, footnote, headline)


def _distributions(view: View) -> Exhibit:
    number = view.number("Figure")
    specs = view.protocol.endpoints[:PANELS]
    columns = min(2, len(specs))
    rows = -(-len(specs) // columns)
    kept: list[dict[str, object]] = []
    with drawing(WIDTH * 1.15, 1.9 * rows + 0.4) as figure:
        axes = figure.subplots(rows, columns, squeeze=False).reshape(-1)
        for ax in axes[len(specs) :]:
            ax.set_visible(False)
        for ax, spec in zip(axes, specs, strict=False):
            kept += _distribution(ax, view, spec)
            ax.set_title(two_lines(spec.name, 44), loc="left", fontsize=9.0)
        for ax in axes[::columns]:
            ax.set_ylabel("Studies")
        figure.tight_layout(h_pad=1.2)
        anchor = f"figure-{number}"
        body = svg_text(figure, anchor, "Distribution of estimates over studies, with true values, by endpoint")
    what = "Effects" if view.quantity == DIFFERENCE else "Estimates"
    footnote = (
        f"{what} of {view.studies} of {view.largest} patients under the default parameter values, in the colour of the "
        "arm; studies without a finite estimate are left out. Dashed: true value as planned."
    )
    title = "Estimates of all studies against the true value"
    return Exhibit("Figure", number, title, pd.DataFrame(kept), body, footnote)


def _distribution(ax: Axes, view: View, spec: Endpoint) -> list[dict[str, object]]:
    """One panel of estimates; its numbers."""
    scale = view.scale(spec)
    values = {}
    for name in view.others(spec):
        own = scale.factor * view.of_studies(spec, name)["estimate"].to_numpy(float)
        values[name] = own[np.isfinite(own) & ((own > 0) | (not scale.ratio))]
    every = np.concatenate(list(values.values()))
    ax.set_xlabel(_axis_text(view, spec).replace("\n", " "), fontsize=8.6)
    if not every.size:
        ax.text(0.5, 0.5, "no study has an estimate", transform=ax.transAxes, ha="center", color=INK, fontsize=8.6)
        ax.set_xticks([])
        ax.set_yticks([])
        return []
    bins = np.histogram_bin_edges(
        np.log(every) if scale.ratio else every, bins=min(30, max(8, int(np.sqrt(every.size))))
    )
    bins = np.exp(bins) if scale.ratio else bins
    kept: list[dict[str, object]] = []
    for name, own in values.items():
        arm = view.arms[name]
        counts, _ = np.histogram(own, bins)
        ax.stairs(counts, bins, color=arm.color, lw=1.2)
        ax.stairs(counts, bins, color=arm.color, fill=True, alpha=0.15)
        truth = scale.factor * _truth(view, spec, name)
        if np.isfinite(truth):
            ax.axvline(truth, color=arm.color if len(values) > 1 else INK, lw=1.1, ls=(0, (4, 2)))
        kept += [
            {"endpoint": spec.name, "arm": name, "from": a, "to": b, "studies": n, "truth": truth}
            for a, b, n in zip(bins[:-1], bins[1:], counts, strict=True)
        ]
    _log_ticks(ax, scale, "x")
    ax.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    ax.tick_params(labelsize=8.2)
    return kept


# -- assurance ---------------------------------------------------------------------------------------------------------


def assurance(view: View) -> Section:
    """What is left of power when the parameter values are not known.

    Parameters
    ----------
    view : View
        The result.
    """
    number = view.number("Section")
    exhibits = [_vectors(view)] if view.quantity == DIFFERENCE else []
    exhibits.append(_assurance_table(view))
    words = [
        f"Power under one set of parameter values takes these as known. {len(view.plan.vectors) - 1} vectors "
        f"{SOURCES[view.plan.source]} each had {view.studies} of their own: their mean power is the assurance "
        "(O'Hagan 2005), and their spread says how far it hangs on what is not known."
    ]
    return Section(number, "Assurance over what is not known", "assurance", paragraphs=[*words], exhibits=exhibits)


def _vectors(view: View) -> Exhibit:
    number = view.number("Figure")
    found = view.found.operating
    here = (found["measure"] == "power") & (found["endpoint"] == view.primary.name) & (found["vector"] > 0)
    here &= (found["patients"] == view.largest) & (found["quantity"] == DIFFERENCE)
    frame = found[here]
    others = view.others(view.primary)
    with drawing(WIDTH * 1.15, 2.2 * len(others) + 0.4) as figure:
        axes = figure.subplots(len(others), 1, squeeze=False)[:, 0]
        for ax, name in zip(axes, others, strict=True):
            arm = view.arms[name]
            own = frame[frame["arm"] == name].sort_values("value", kind="stable")
            x = np.arange(1, len(own) + 1)
            ax.vlines(x, own["low"], own["high"], color=arm.color, lw=1.0, alpha=0.6)
            ax.plot(x, own["value"], ls="none", marker=arm.marker, ms=3.4, color=arm.color)
            ax.axhline(own["value"].mean(), color=INK, lw=1.0, ls=(0, (4, 2)))
            ax.set_ylim(-0.03, 1.03)
            ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
            ax.set_xticks([])
            ax.set_ylabel("Power")
            ax.set_title(arm.label, loc="left", fontsize=9.0)
        axes[-1].set_xlabel("Parameter vectors, by their power")
        figure.tight_layout()
        body = svg_text(figure, f"figure-{number}", "Power under each parameter vector, with their mean")
    footnote = (
        f"{view.studies} of {view.largest} patients a vector; bars: 95% Wilson interval of the Monte-Carlo error. "
        "Dashed: mean over vectors, the assurance."
    )
    return Exhibit("Figure", number, f"Power by parameter vector: {view.primary.name}", frame, body, footnote)


def _assurance_table(view: View) -> Exhibit:
    drawn = view.found.assurance
    mine = drawn[drawn["quantity"].isin([view.quantity, *(["family"] if view.quantity != MEAN else [])])]
    mine = mine[mine["conduct"] != AS_RUN]
    names = {(spec.name, arm): view.name(spec.name, arm) for spec, arm in view.subjects()}
    names["", ""] = "All hypotheses together"
    wanted = ["power", "type I error", "power after adjustment", "coverage"]
    wanted += ["disjunctive power", "conjunctive power", "family-wise error"]
    shown: list[dict[str, object]] = []
    for subject, name in names.items():
        own = mine[(mine["endpoint"] == subject[0]) & (mine["arm"] == subject[1])]
        for measure in wanted:
            for row in own[own["measure"] == measure].sort_values("patients").to_dict("records"):
                ends = f"{num(100 * row['low'], 0)} to {num(100 * row['high'], 0)}%"
                told: dict[str, object] = {"Measure": first_upper(measure), "Patients": str(row["patients"])}
                told |= {"Endpoint": name, "Mean over vectors": percent(row["mean"], row["mc_se"])}
                shown.append(told | {"SD between vectors": num(100 * row["sd"], 1), "90% of vectors": ends})
    footnote = (
        "The mean over vectors of power is the assurance. In parentheses: its Monte-Carlo standard error, over vectors "
        "and studies. SD between vectors (percentage points): beyond what the finite number of studies explains. The "
        "range holds that chance too."
    )
    return table(
        view.number("Table"), "Operating characteristics over parameter vectors", mine, shown, footnote,
        numeric=["Patients", "Mean over vectors", "SD between vectors", "90% of vectors"], group="Endpoint",
    )  # fmt: skip
