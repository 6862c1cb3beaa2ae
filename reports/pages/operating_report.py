"""The page of ``ranklsim replicate``: how often the trial finds what is there, and how far its answers are off."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter
from statsmodels.stats.proportion import proportion_confint

from ranklsim import __version__
from ranklsim.cohorts.running.replicates import AS_PLANNED, AS_RUN
from ranklsim.reports.analyses.ancova import LEVEL
from ranklsim.reports.analyses.summaries import UNITS
from ranklsim.reports.csr.context import Section
from ranklsim.reports.figures.drawing import INK, RULE, WIDTH, drawing, svg_text, two_lines
from ranklsim.reports.layout.arms import ArmView, month_text, view_arms
from ranklsim.reports.layout.exhibit import Exhibit
from ranklsim.reports.layout.page import Page, table
from ranklsim.reports.layout.tables import DASH, num
from ranklsim.reports.layout.wording import first_upper, listed
from ranklsim.reports.pages.operating import DIFFERENCE, MEAN, SPREAD, TRIAL

if TYPE_CHECKING:
    from ranklsim.reports.pages.replication import Replicates

MARK = "ranklsim-replicate"
SHOWN = 100  # studies whose intervals are drawn
PANELS = 6
SOURCES = {"ensemble": "of the ensemble that agrees with published figures", "ranges": "drawn over plausible ranges"}
MC = "In parentheses: Monte-Carlo standard error, that of the finite number of studies."


class _View:
    """What all sections use."""

    def __init__(self, found: Replicates) -> None:
        self.found, self.plan, self.protocol = found, found.plan, found.protocol
        agents = {agent.name: agent for agent in found.plan.agents}
        self.arms: dict[str, ArmView] = {arm.name: arm for arm in view_arms(found.plan.trial.arms, agents)}
        self.specs = {spec.name: spec for spec in found.protocol.endpoints}
        self.primary = next((s for s in found.protocol.endpoints if s.role == "primary"), found.protocol.endpoints[0])
        self.others = [name for name in self.protocol.arms if name != self.protocol.control]
        self.quantity = MEAN if self.protocol.control is None else DIFFERENCE
        self.sizes = self.protocol.sizes
        self.largest = self.sizes[-1]
        self.default = found.operating[found.operating["vector"] == 0]

    def rows(self, **wanted: Any) -> pd.DataFrame:
        """Operating characteristics under the default values."""
        rows = self.default
        for column, value in wanted.items():
            rows = rows[rows[column] == value]
        return rows

    def cell(self, measure: str, conduct: str = "", **wanted: Any) -> tuple[float, float]:
        """Value and Monte-Carlo standard error; NaN where there is none."""
        rows = self.rows(measure=measure, conduct=conduct, **wanted)
        return (float(rows["value"].iloc[0]), float(rows["mc_se"].iloc[0])) if len(rows) else (np.nan, np.nan)

    def subjects(self) -> Iterator[tuple[Any, str]]:
        """Endpoints and arms that are reported."""
        for spec in self.protocol.endpoints:
            for arm in self.others:
                yield spec, arm

    def unit(self, spec: Any) -> str:
        """Unit of a difference."""
        if spec.kind == "percent":
            return "percentage points" if self.quantity == DIFFERENCE else "%"
        return UNITS.get(spec.measure, "")

    def digits(self, spec: Any) -> int:
        """Decimals of an estimate."""
        return 2 if spec.kind == "percent" else 4

    @property
    def studies(self) -> str:
        """How many studies, in words."""
        return f"{self.plan.replicates} {'study' if self.plan.replicates == 1 else 'studies'}"


def compose(found: Replicates) -> tuple[Page, list[Section]]:
    """Page and sections."""
    view = _View(found)
    vectors = len(found.plan.vectors) - 1
    more = f", each for {vectors} parameter vectors besides the default values" if vectors else ""
    page = Page(
        MARK,
        "Operating characteristics",
        found.plan.trial.title,
        f"{view.studies} of {_sizes(view)} patients{more}; seed {found.plan.trial.seed}; ranklsim {__version__}",
        "What such a trial would find",
        f"All data are simulated. ranklsim {__version__}; replicates.json names every version and option.",
    )
    sections = [_answer(view)]
    if len(view.sizes) > 1 and view.quantity == DIFFERENCE:
        sections.append(_by_size(view))
    sections.append(_estimates(view))
    if vectors:
        sections.append(_assurance(view))
    sections.append(_method(view))
    return page, sections


def _sizes(view: _View) -> str:
    return listed([str(size) for size in view.sizes])


def _percent(value: float, error: float, decimals: int = 1) -> str:
    if not np.isfinite(value):
        return DASH
    return f"{num(100 * value, decimals)}% ({num(100 * error, decimals)})"


def _with_error(value: float, error: float, decimals: int) -> str:
    if not np.isfinite(value):
        return DASH
    return f"{num(value, decimals)} ({num(error, decimals)})" if np.isfinite(error) else num(value, decimals)


def _name(view: _View, spec: Any, arm: str) -> str:
    return spec.name if len(view.others) == 1 else f"{spec.name}: {view.arms[arm].label}"


# -- 1: the answer -----------------------------------------------------------------------------------------------------


def _answer(view: _View) -> Section:
    key = []
    for arm in view.others:
        here = {"endpoint": view.primary.name, "arm": arm, "patients": view.largest, "quantity": view.quantity}
        truth, bias, coverage = (view.cell(m, AS_PLANNED, **here) for m in ("truth", "bias", "coverage"))
        unit, digits = view.unit(view.primary), view.digits(view.primary)
        label = view.arms[arm].label
        if view.quantity == DIFFERENCE:
            power, error = view.cell("power", **here), view.cell("type I error", **here)
            text = (
                f"{first_upper(view.primary.name)}, {label} against {view.arms[str(view.protocol.control)].label}: "
                f"{num(100 * power[0], 0)}% of {view.studies} of {view.largest} patients found a difference at the "
                f"two-sided 5% level (Monte-Carlo SE {num(100 * power[1], 1)} percentage points)"
            )
            if np.isfinite(error[0]):
                text += f"; {num(100 * error[0], 1)}% ({num(100 * error[1], 1)}) did where there was none"
            key.append(text + ".")
        key.append(
            f"{label}: the true {view.quantity} is {_with_error(*truth, digits)} {unit} if all goes as planned; "
            f"the studies are off by {_with_error(*bias, digits)} on average, and their {100 * LEVEL:.0f}% intervals "
            f"hold it in {_percent(*coverage)} of studies."
        )
    drawn = view.found.assurance
    for arm in view.others if len(drawn) and view.quantity == DIFFERENCE else []:
        row = drawn[
            (drawn["measure"] == "power") & (drawn["endpoint"] == view.primary.name) & (drawn["arm"] == arm)
            & (drawn["patients"] == view.largest)
        ].iloc[0]  # fmt: skip
        key.append(
            f"Assurance, the power averaged over {int(row['vectors'])} parameter vectors: {num(100 * row['mean'], 0)}% "
            f"(Monte-Carlo SE {num(100 * row['mc_se'], 1)}) for {view.arms[arm].label}; "
            f"{num(100 * row['low'], 0)}% to {num(100 * row['high'], 0)}% in {100 * SPREAD:.0f}% of the vectors."
        )
    return Section("1", "Power and errors", "answer", key=key, exhibits=[_power_table(view), _bias_table(view)])


def _power_table(view: _View) -> Exhibit:
    shown: list[dict[str, object]] = []
    kept = []
    for spec, arm in view.subjects():
        for size in view.sizes:
            here = {"endpoint": spec.name, "arm": arm, "patients": size, "quantity": view.quantity}
            row: dict[str, object] = {
                "Patients": str(size),
                "Endpoint": f"{_name(view, spec, arm)} ({spec.role}, {spec.analysis})",
            }
            if view.quantity == DIFFERENCE:
                row["Power"] = _percent(*view.cell("power", **here))
                row["Type I error"] = _percent(*view.cell("type I error", **here))
            row["Coverage"] = _percent(*view.cell("coverage", AS_PLANNED, **here))
            row["No interval"] = _percent(*view.cell("failed", **here))
            shown.append(row)
            kept.append(view.rows(**here))
    footnote = (
        f"{view.studies} under the default parameter values. {MC} Power: share of studies whose difference to control "
        "is significant, two-sided 5% (p-value; the interval for medians). Type I error: the same where every arm is "
        "given the control treatment. Coverage: share of 95% intervals that hold the true value as planned. No "
        "interval: the analysis could not be made, which counts as no difference found."
    )
    return table(
        "1", "Power, type I error and coverage", pd.concat(kept), shown, footnote,
        numeric=["Power", "Type I error", "Coverage", "No interval"], group="Endpoint",
    )  # fmt: skip


def _bias_table(view: _View) -> Exhibit:
    shown: list[dict[str, object]] = []
    kept = []
    for spec, arm in view.subjects():
        digits = view.digits(spec)
        for size in view.sizes:
            here = {"endpoint": spec.name, "arm": arm, "patients": size, "quantity": view.quantity}
            row: dict[str, object] = {
                "Patients": str(size),
                "Endpoint": f"{_name(view, spec, arm)} ({view.unit(spec)})",
            }
            row["True value"] = _with_error(*view.cell("truth", AS_PLANNED, **here), digits)
            row["Bias"] = _with_error(*view.cell("bias", AS_PLANNED, **here), digits)
            row["True value, as run"] = _with_error(*view.cell("truth", AS_RUN, **here), digits)
            row["Bias, as run"] = _with_error(*view.cell("bias", AS_RUN, **here), digits)
            row["Empirical SE"] = _with_error(*view.cell("empirical SE", **here), digits)
            row["Model SE"] = _with_error(*view.cell("model SE", **here), digits)
            row["CI width"] = _with_error(*view.cell("width", **here), digits)
            shown.append(row)
            kept.append(view.rows(**here))
    footnote = (
        f"{MC} True values are those of the simulated patients and of their counterfactual twins under the control "
        "treatment: as planned (every dose given, nobody leaves), and as run (whatever happened, seen or not). "
        "Empirical SE: SD of the estimates. Model SE: root mean square of the standard errors; medians have none."
    )
    numeric = [name for name in shown[0] if name not in ("Endpoint", "Patients")]
    title = f"Bias and precision of the {view.quantity}"
    return table("2", title, pd.concat(kept), shown, footnote, numeric=numeric, group="Endpoint")


# -- power against n ---------------------------------------------------------------------------------------------------


def _by_size(view: _View) -> Section:
    specs = view.protocol.endpoints[:PANELS]
    frame = view.default[
        view.default["measure"].isin(["power", "type I error"]) & view.default["endpoint"].isin([s.name for s in specs])
    ]
    ends = proportion_confint(
        np.round(frame["value"] * frame["studies"]), frame["studies"], alpha=1 - LEVEL, method="wilson"
    )
    frame = frame.assign(low=np.asarray(ends[0]), high=np.asarray(ends[1]))
    columns = min(2, len(specs))
    height = 2.3 * -(-len(specs) // columns) + 0.5
    with drawing(WIDTH * 1.15, height) as figure:
        axes = figure.subplots(-(-len(specs) // columns), columns, squeeze=False).reshape(-1)
        for ax in axes[len(specs) :]:
            ax.set_visible(False)
        for ax, spec in zip(axes, specs, strict=False):
            _power_panel(ax, view, frame[frame["endpoint"] == spec.name])
            ax.set_title(two_lines(spec.name, 44), loc="left", fontsize=9.0)
        for ax in axes[::columns]:
            ax.set_ylabel("Studies that find\na difference")
        figure.supxlabel("Patients", fontsize=9.6, color=INK)
        handles = {h.get_label(): h for ax in axes for h in ax.get_legend_handles_labels()[0]}
        figure.legend(handles.values(), handles.keys(), loc="upper right", ncol=3, frameon=False, fontsize=8.4)
        figure.tight_layout(rect=(0, 0, 1, 1 - 0.28 / height))
        body = svg_text(figure, "figure-1", "Power and type I error against the number of patients, by endpoint")
    footnote = (
        f"Filled: power. Hollow: type I error. Bars: 95% Wilson interval of the Monte-Carlo error over {view.studies}. "
        "Line: 5%. The smaller studies are the first patients of the larger ones."
    )
    title = "Power and type I error by number of patients"
    return Section("2", "How many patients", "size", exhibits=[Exhibit("Figure", "1", title, frame, body, footnote)])


def _power_panel(ax: Axes, view: _View, frame: pd.DataFrame) -> None:
    ax.axhline(1 - LEVEL, color=RULE, lw=0.8, zorder=0.5)
    for k, name in enumerate(view.others):
        arm = view.arms[name]
        for measure, fill in (("power", arm.color), ("type I error", "white")):
            own = frame[(frame["arm"] == name) & (frame["measure"] == measure)].sort_values("patients")
            if own.empty:
                continue
            x = own["patients"] * (1 + 0.012 * (k - (len(view.others) - 1) / 2))
            ax.vlines(x, own["low"], own["high"], color=arm.color, lw=1.0)
            label = arm.label if measure == "power" else None
            ax.plot(
                x, own["value"], color=arm.color, ls=arm.dash, marker=arm.marker, mfc=fill, ms=5, lw=1.3, label=label
            )
    ax.set_xticks(list(view.sizes))
    ax.set_ylim(-0.03, 1.03)
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))


# -- estimates against the truth ---------------------------------------------------------------------------------------


def _estimates(view: _View) -> Section:
    return Section(
        "3", "Each study's answer", "studies",
        exhibits=[_intervals(view), _distributions(view)],
    )  # fmt: skip


def _of_studies(view: _View, spec: Any, arm: str) -> pd.DataFrame:
    """Estimates under the default values in the largest studies."""
    found = view.found.estimates
    mine = (found["endpoint"] == spec.name) & (found["arm"] == arm) & (found["quantity"] == view.quantity)
    mine &= (found["design"] == TRIAL) & (found["patients"] == view.largest) & (found["vector"] == 0)
    return found[mine]


def _intervals(view: _View) -> Exhibit:
    spec, kept = view.primary, []
    with drawing(WIDTH * 1.15, 2.5 * len(view.others) + 0.4) as figure:
        axes = figure.subplots(len(view.others), 1, squeeze=False)[:, 0]
        for ax, name in zip(axes, view.others, strict=True):
            arm = view.arms[name]
            truth = view.cell("truth", AS_PLANNED, endpoint=spec.name, arm=name, patients=view.largest,
                              quantity=view.quantity)[0]  # fmt: skip
            own = _of_studies(view, spec, name)
            own = own[own["replicate"] < SHOWN].dropna(subset=["low", "high"]).sort_values("estimate")
            own = own.assign(truth=truth, holds=(own["low"] <= truth) & (truth <= own["high"]))
            kept.append(own)
            x = np.arange(1, len(own) + 1)
            color = np.where(own["holds"], arm.color, "black")
            ax.vlines(x, own["low"], own["high"], colors=list(color), lw=1.1, alpha=0.75)
            for holds, fill in ((True, arm.color), (False, "black")):
                some = (own["holds"] == holds).to_numpy()
                ax.plot(x[some], own["estimate"][some], ls="none", marker=arm.marker, ms=2.6, color=fill)
            ax.axhline(truth, color=INK, lw=1.0, ls=(0, (4, 2)))
            ax.axhline(0, color=RULE, lw=0.8, zorder=0.5)
            ax.set_ylabel(f"{first_upper(view.quantity)}\n({view.unit(spec)})")
            ax.set_xticks([])
            ax.set_title(arm.label, loc="left", fontsize=9.0)
        axes[-1].set_xlabel("Studies, by their estimate")
        figure.tight_layout()
        body = svg_text(figure, "figure-2", "Estimate and 95% interval of each study, with the true value")
    frame = pd.concat(kept, ignore_index=True)
    missed = int((~frame["holds"]).sum())
    headline = f"{missed} of {len(frame)} intervals miss the true value; 5% would if all were exact."
    footnote = (
        f"First {min(SHOWN, view.plan.replicates)} studies of {view.largest} patients, {spec.analysis}, default "
        "parameter values. Dashed: true value as planned. Black: interval that misses it."
    )
    return Exhibit("Figure", "2", f"Estimates of single studies: {spec.name}", frame, body, footnote, headline)


def _distributions(view: _View) -> Exhibit:
    specs = view.protocol.endpoints[:PANELS]
    columns = min(2, len(specs))
    rows = -(-len(specs) // columns)
    kept = []
    with drawing(WIDTH * 1.15, 1.9 * rows + 0.4) as figure:
        axes = figure.subplots(rows, columns, squeeze=False).reshape(-1)
        for ax in axes[len(specs) :]:
            ax.set_visible(False)
        for ax, spec in zip(axes, specs, strict=False):
            values = {name: _of_studies(view, spec, name)["estimate"].dropna() for name in view.others}
            every = np.concatenate([own.to_numpy(float) for own in values.values()])
            if not every.size:
                continue
            bins = np.histogram_bin_edges(every, bins=min(30, max(8, int(np.sqrt(every.size)))))
            for name, own in values.items():
                arm = view.arms[name]
                counts, _ = np.histogram(own, bins)
                ax.stairs(counts, bins, color=arm.color, lw=1.2)
                ax.stairs(counts, bins, color=arm.color, fill=True, alpha=0.15)
                truth = view.cell("truth", AS_PLANNED, endpoint=spec.name, arm=name, patients=view.largest,
                                  quantity=view.quantity)[0]  # fmt: skip
                ax.axvline(truth, color=arm.color if len(values) > 1 else INK, lw=1.1, ls=(0, (4, 2)))
                kept += [
                    {"endpoint": spec.name, "arm": name, "from": a, "to": b, "studies": n, "truth": truth}
                    for a, b, n in zip(bins[:-1], bins[1:], counts, strict=True)
                ]
            ax.set_title(two_lines(spec.name, 44), loc="left", fontsize=9.0)
            ax.set_xlabel(view.unit(spec), fontsize=8.6)
            ax.yaxis.set_major_locator(MaxNLocator(5, integer=True))
            ax.tick_params(labelsize=8.2)
        for ax in axes[::columns]:
            ax.set_ylabel("Studies")
        figure.tight_layout(h_pad=1.2)
        body = svg_text(figure, "figure-3", "Distribution of estimates over studies, with true values, by endpoint")
    footnote = (
        f"{first_upper(view.quantity)}s of {view.studies} of {view.largest} patients under the default parameter "
        "values, in the colour of the arm. Dashed: true value as planned."
    )
    title = "Estimates of all studies against the true value"
    return Exhibit("Figure", "3", title, pd.DataFrame(kept), body, footnote)


# -- assurance ---------------------------------------------------------------------------------------------------------


def _assurance(view: _View) -> Section:
    exhibits = [_assurance_table(view)]
    if view.quantity == DIFFERENCE:
        exhibits.insert(0, _vectors(view))
    words = [
        f"Power under one set of parameter values takes these as known. {len(view.plan.vectors) - 1} vectors "
        f"{SOURCES[view.plan.source]} each had {view.studies} of their own: their mean power is the assurance "
        "(O'Hagan 2005), and their spread says how far it hangs on what is not known."
    ]
    return Section("4", "Assurance over what is not known", "assurance", paragraphs=words, exhibits=exhibits)


def _vectors(view: _View) -> Exhibit:
    found = view.found.operating
    here = (found["measure"] == "power") & (found["endpoint"] == view.primary.name) & (found["vector"] > 0)
    frame = found[here & (found["patients"] == view.largest)]
    ends = proportion_confint(
        np.round(frame["value"] * frame["studies"]), frame["studies"], alpha=1 - LEVEL, method="wilson"
    )
    frame = frame.assign(low=np.asarray(ends[0]), high=np.asarray(ends[1]))
    with drawing(WIDTH * 1.15, 2.2 * len(view.others) + 0.4) as figure:
        axes = figure.subplots(len(view.others), 1, squeeze=False)[:, 0]
        for ax, name in zip(axes, view.others, strict=True):
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
        body = svg_text(figure, "figure-4", "Power under each parameter vector, with their mean")
    footnote = (
        f"{view.studies} of {view.largest} patients a vector; bars: 95% Wilson interval of the Monte-Carlo error. "
        "Dashed: mean over vectors, the assurance."
    )
    return Exhibit("Figure", "4", f"Power by parameter vector: {view.primary.name}", frame, body, footnote)


def _assurance_table(view: _View) -> Exhibit:
    drawn = view.found.assurance
    mine = drawn[(drawn["quantity"] == view.quantity) & (drawn["conduct"] != AS_RUN)]
    shown: list[dict[str, object]] = []
    wanted = ("power", "type I error", "coverage") if view.quantity == DIFFERENCE else ("coverage",)
    for spec, arm in view.subjects():
        for measure in wanted:
            for size in view.sizes:
                own = mine[
                    (mine["endpoint"] == spec.name) & (mine["arm"] == arm) & (mine["patients"] == size)
                    & (mine["measure"] == measure)
                ]  # fmt: skip
                if own.empty:
                    continue
                row = own.iloc[0]
                ends = f"{num(100 * row['low'], 0)} to {num(100 * row['high'], 0)}%"
                told: dict[str, object] = {"Measure": first_upper(measure), "Patients": str(size)}
                told |= {"Endpoint": _name(view, spec, arm), "Mean over vectors": _percent(row["mean"], row["mc_se"])}
                shown.append(told | {"SD between vectors": num(100 * row["sd"], 1), "90% of vectors": ends})
    footnote = (
        "The mean over vectors of power is the assurance. In parentheses: its Monte-Carlo standard error, over vectors "
        "and studies. SD between vectors (percentage points): beyond what the finite number of studies explains. The "
        "range holds that chance too."
    )
    return table(
        "3", "Operating characteristics over parameter vectors", mine, shown, footnote,
        numeric=["Patients", "Mean over vectors", "SD between vectors", "90% of vectors"], group="Endpoint",
    )  # fmt: skip


# -- how it was done ---------------------------------------------------------------------------------------------------


def _method(view: _View) -> Section:
    trial, plan = view.plan.trial, view.plan
    months = month_text(trial.months)
    words = [
        f"Each study draws {_sizes(view)} patients of the trial's population anew, randomises them, and follows them "
        f"for {months} months as the trial file says; replicate 0 is the trial as `ranklsim run` runs it. Analyses are "
        "those of the trial's report, endpoint by endpoint, without adjustment for several endpoints or arms.",
        "Measures and Monte-Carlo errors after Morris, White and Crowther (Stat Med 2019;38:2074-102). The error of a "
        "bias adds that of the true value.",
    ]
    if view.protocol.control is not None:
        words.append(
            "Under the null hypothesis the same patients are given the control treatment in every arm, with the same "
            "random numbers: their true difference is zero."
        )
    if plan.source == "ranges":
        words.append(
            "Vectors are drawn over plausible ranges, not from the shipped ensemble, because a parameter or an agent "
            "that it holds has a value of your own."
        )
    if view.found.left_out:
        words.append(view.found.left_out)
    fallback = view.rows(measure="fallback", quantity=view.quantity)
    if len(fallback) and fallback["value"].max() > 0:
        words.append(
            f"Up to {num(100 * fallback['value'].max(), 0)}% of the mixed models did not converge with an unstructured "
            "covariance and fell back on a simpler one."
        )
    exhibits = [_means_table(view)] if view.quantity == DIFFERENCE else []
    return Section("5", "Method", "method", paragraphs=words, exhibits=exhibits)


def _means_table(view: _View) -> Exhibit:
    shown: list[dict[str, object]] = []
    kept = []
    for spec in view.protocol.endpoints:
        for arm in view.protocol.arms:
            here = {"endpoint": spec.name, "arm": arm, "patients": view.largest, "quantity": MEAN}
            digits = view.digits(spec)
            shown.append(
                {"Arm": view.arms[arm].label, "Endpoint": spec.name}
                | {"True value": _with_error(*view.cell("truth", AS_PLANNED, **here), digits)}
                | {"Bias": _with_error(*view.cell("bias", AS_PLANNED, **here), digits)}
                | {"Coverage": _percent(*view.cell("coverage", AS_PLANNED, **here))}
            )
            kept.append(view.rows(**here))
    footnote = f"Studies of {view.largest} patients. {MC} Means or medians, as the analysis of the endpoint asks."
    return table(
        "4", "Bias and coverage of the arms' own means", pd.concat(kept), shown, footnote,
        numeric=["True value", "Bias", "Coverage"], group="Endpoint", folded=True,
    )  # fmt: skip
