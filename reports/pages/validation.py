"""The page of ``ranklsim validate``: every published figure with its prediction by a cohort of the arm.

``predictions.csv`` has a row a figure, ``summary.csv`` a row for each endpoint, site and phase; ``index.html`` shows
both with the curves. Observed figures are hollow black points with bars, the model is coloured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ranklsim import __version__
from ranklsim.cohorts.validation.bands import Bands, bands
from ranklsim.cohorts.validation.predictive_check import predictive_check
from ranklsim.cohorts.words import first_upper
from ranklsim.pkpd import arguments
from ranklsim.pkpd.biology.skeleton import NAMES
from ranklsim.pkpd.errors import counted
from ranklsim.pkpd.evidence.predictions import COLUMNS, summary
from ranklsim.pkpd.evidence.records import FIGURE, Arm, Evidence, load_evidence
from ranklsim.pkpd.machine import processors
from ranklsim.pkpd.parameters import PARAMETERS, ParameterTable, load_parameters
from ranklsim.pkpd.units import DAYS_PER_MONTH
from ranklsim.reports.figures.drawing import INK, RULE, SHADE, WIDTH, drawing, fitted, panels, svg_text, thinned
from ranklsim.reports.figures.predictive import check_section
from ranklsim.reports.layout.cells import Text
from ranklsim.reports.layout.exhibit import Exhibit, Section, csv_text
from ranklsim.reports.layout.folders import check_folder, new_folder
from ranklsim.reports.layout.page import Page, table
from ranklsim.reports.layout.tables import DASH, num, with_interval

MARK = "ranklsim-validation"
TOP = frozenset({"index.html", "predictions.csv", "summary.csv", "offsets.csv"})  # files beside tables/ and figures/
COLUMNS_WRITTEN = (*COLUMNS[: COLUMNS.index("typical") + 1], "low_study", "high_study")
PHASES = {
    "on": ("#0072B2", "o", "on treatment"),
    "off": ("#D55E00", "s", "after the last dose"),
    "untreated": ("#4D4D4D", "^", "untreated"),
}
SE95 = 1.959964
AXIS = {
    "percent_change": "Change in BMD from baseline (%)",
    "percent_of_baseline": "% of baseline",
    "concentration": "free drug in serum\n(µg/mL)",
}
WORST = 15
PANEL = 1.7
"""Inches of a panel that has two others beside it, at least."""
HEADLINES = (*NAMES, "CTX", "P1NP")


@arguments.checked(
    out=arguments.path,
    evidence=arguments.instance(Evidence, or_else=arguments.path),
    parameters=PARAMETERS,
    patients=arguments.whole(0, 1_000_000),
    seed=arguments.SEED,
    workers=arguments.WORKERS,
    force=arguments.flag,
    progress=arguments.callback,
    command=arguments.COMMAND,
)
def validate(
    out: str | Path,
    *,
    evidence: str | Path | Evidence | None = None,
    parameters: str | Path | ParameterTable | None = None,
    patients: int = 200,
    seed: int = 1,
    workers: int | None = None,
    force: bool = False,
    progress: Callable[[int, int], None] | None = None,
    command: str = "",
) -> Path:
    """Predict every published figure by a cohort of its arm, and write tables and a page.

    Parameters
    ----------
    out : path
        Folder of the result.
    evidence : path or Evidence, optional
        Folder with arms.toml and observations.csv; the shipped evidence by default.
    parameters : path, mapping or ParameterTable, optional
        Parameter values other than the shipped ones.
    patients : int
        Virtual patients of each arm, 10 or more; 0 for its typical patient alone, without intervals.
    seed : int
        Seed of the virtual patients.
    workers : int, optional
        Processors to use, all of this machine's by default; no result depends on it.
    force : bool
        Whether to replace an earlier result in `out`.
    progress : callable, optional
        Called with patients done, and of all.
    command : str
        What the user typed, for the page.

    Returns
    -------
    Path
        ``index.html``, beside predictions.csv and summary.csv.

    Raises
    ------
    BadInput
        If the evidence or the parameters are at fault, the folder holds something, or there are 1 to 9 patients.
    """
    folder = Path(out)
    check_folder(folder, f'content="{MARK}"', TOP, force)
    table = load_parameters(parameters)
    known = evidence if isinstance(evidence, Evidence) else load_evidence(evidence)
    threads = processors() if workers is None else workers
    found = bands(known, table, patients=patients, seed=seed, workers=threads, progress=progress)
    misfit = misfit_by_kind(found.predictions)
    page, sections = _compose(known, found, misfit, table, seed, command)
    with new_folder(folder) as work:
        everything = with_not_used(known, found.predictions)
        for name, frame in (("predictions", everything), ("summary", misfit)):
            (work / f"{name}.csv").write_text(csv_text(frame), encoding="utf-8", newline="")
        if patients:
            offsets(known, found).to_csv(work / "offsets.csv", index=False, lineterminator="\n")
        page.write(work, sections)
    return folder / "index.html"


def offsets(evidence: Evidence, found: Bands) -> pd.DataFrame:
    """What the statistic of each cohort exceeds the typical patient by, for the folder of the evidence.

    Parameters
    ----------
    evidence : Evidence
    found : Bands
        Its figures, by cohorts.

    Returns
    -------
    DataFrame
        Columns `FIGURE` and ``offset``; a figure that has no value has no row.
    """
    frame = evidence.observations[list(FIGURE)].assign(
        offset=(found.predictions["predicted"] - found.predictions["typical"]).round(4)
    )
    return frame[frame["offset"].notna()]


def misfit_by_kind(predictions: pd.DataFrame) -> pd.DataFrame:
    """`evidence_predictions.summary`, with ``inside_study``: the share inside `low_study` to `high_study` (%).

    Parameters
    ----------
    predictions : DataFrame
        As `Bands.predictions`.
    """
    wide = predictions.assign(low=predictions["low_study"], high=predictions["high_study"])
    return summary(predictions).assign(inside_study=summary(wide)["inside"])


def with_not_used(evidence: Evidence, predictions: pd.DataFrame) -> pd.DataFrame:
    """Predictions, then the rows that a conversion of published tables left out, each with its reason.

    Parameters
    ----------
    evidence : Evidence
    predictions : DataFrame
        As `Bands.predictions`.
    """
    columns = [*COLUMNS_WRITTEN, *(name for name in predictions if name not in COLUMNS_WRITTEN)]
    left = evidence.not_used
    if left.empty:
        return predictions[columns]
    rest = left[["study", "arm", "endpoint", "site_or_marker", "unit", "reason"]].assign(
        time_months=pd.to_numeric(left["time_months"], errors="coerce"),
        observed=pd.to_numeric(left["value"], errors="coerce"),
        used=False,
        origin=left["file"] + ":" + left["line"],
    )
    return pd.concat([predictions.astype({"used": object}), rest.astype({"used": object})], ignore_index=True)[columns]


def _compose(
    evidence: Evidence, found: Bands, misfit: pd.DataFrame, parameters: ParameterTable, seed: int, command: str
) -> tuple[Page, list[Section]]:
    """Page and sections."""
    seen = found.predictions
    used = seen[seen["used"]]
    who = (
        f"{found.patients} virtual patients of each arm, seed {seed}"
        if found.patients
        else "the typical patient of each arm"
    )
    page = Page(
        MARK,
        "Goodness of fit",
        f"{len(used)} published figures beside the model: {_worst_words(misfit)}",
        f"{counted(len({arm.study for arm in evidence.arms.values()}), 'study')}, "
        f"{counted(len(evidence.arms), 'arm')}; {who}; parameters "
        f"{parameters.hash}; ranklsim {__version__}{'; ' + command if command else ''}",
        "How well the model predicts",
        f"Points are published figures, curves are simulated. ranklsim {__version__}.",
    )
    check = _check(evidence, found, parameters, seed)
    sections = [
        _result(found, used, misfit),
        Section(
            "2",
            "Observed against predicted",
            "agreement",
            paragraphs=["Each point is a figure of BMD change or of a marker; on the line, model and figure agree."],
            exhibits=[_agreement(used)],
        ),
        check,
        _curves(evidence, found, len(check.exhibits) + 1 if check else 2),
        _others(used),
        _largest(used),
        _left_out(evidence, seen),
    ]  # fmt: skip
    return page, [section for section in sections if section is not None]


def _check(evidence: Evidence, found: Bands, parameters: ParameterTable, seed: int) -> Section | None:
    """The visual predictive check; nothing without a cohort, or without figures that it can be made of."""
    if not found.patients:
        return None
    groups, patients = predictive_check(found, evidence, parameters, seed)
    return None if groups.empty else check_section(groups, patients, PHASES, 2, "2")


FIRST = {"percent_change": 0, "percent_of_baseline": 1, "difference_to_control": 2}
"""Endpoints with which the table of misfits begins; the others follow by name."""


def _result(found: Bands, used: pd.DataFrame, misfit: pd.DataFrame) -> Section:
    key: list[Text] = [words for name in HEADLINES if (words := _kind_words(misfit, name))]
    how = [
        "Each arm is simulated in its own population, with the doses of its protocol, at its own visits.",
    ]
    if found.patients:
        inside, wide = _inside(used, ""), _inside(used, "_study")
        how += [
            "A published figure is compared with the same statistic of the arm's cohort: a mean (also a least-squares "
            "mean) with the cohort's mean, a median with its median, a geometric mean with its geometric mean, and a "
            "figure that does not say which it is with the median.",
            "The 90% interval says where the figure of a group of the published size would fall if the parameters were "
            "right: patients differ, and DXA and assays err at both visits; drug concentrations are taken without "
            "assay error. It leaves out that studies differ by more than chance and that parameters are uncertain, so "
            f"it holds fewer than 90 of 100 figures of large trials: here {inside:.0f}%. That of a new study includes "
            "that its women have a target pool and a turnover of their own, and what else studies differ by: it holds "
            f"{wide:.0f}%.",
        ]
    else:
        how += [
            "The prediction is that of the arm's typical patient, whatever statistic was published; there is no "
            "interval without a cohort (--patients 0)."
        ]
    rows = sorted(misfit.to_dict("records"), key=lambda row: FIRST.get(row["endpoint"], len(FIRST)))
    shown = [_misfit_cells(row, found.patients > 0) for row in rows]
    footnote = (
        "RMSE and bias (predicted less observed) in the figure's unit: percentage points for BMD, points of baseline "
        "for markers, days or µg/mL for kinetics, which have their RMSE in % of the observed too. SDs: each error over "
        "the standard deviation that a fit gives its figure."
    )
    numeric = [name for name in shown[0] if name not in ("Endpoint", "Site or marker", "Phase")]
    exhibit = table("1", "Misfit by endpoint, site and phase", misfit, shown, footnote, numeric=numeric)
    return Section("1", "Result", "result", key=key, paragraphs=[*how], exhibits=[exhibit])


def _misfit_cells(row: Mapping[str, Any], cohort: bool) -> dict[str, object]:
    """A line of the table of misfits; intervals only where there is a `cohort`."""
    cells: dict[str, object] = {
        "Endpoint": _endpoint(row["endpoint"]),
        "Site or marker": first_upper(NAMES.get(row["site_or_marker"], str(row["site_or_marker"]))),
        "Phase": PHASES[row["phase"]][2],
        "n": str(row["n"]),
        "RMSE": _plain(row["RMSE"]),
        "Bias": _plain(row["bias"], sign=True),
        "RMSE, % of observed": _plain(row["RMSE_relative"]),
        "RMSE, SDs": num(row["misfit"], 2),
    }
    if cohort:
        cells["Inside 90% interval, %"] = num(row["inside"], 0)
        cells["Inside, studies differing, %"] = num(row["inside_study"], 0)
    return cells


def _kind_words(misfit: pd.DataFrame, name: str) -> str:
    """One sentence on a site or marker; nothing if there are no figures of it."""
    kind = "percent_change" if name in NAMES else "percent_of_baseline"
    mine = misfit[(misfit["endpoint"] == kind) & (misfit["site_or_marker"] == name)].set_index("phase")
    parts = [
        f"{words} {_plain(mine.loc[phase, 'RMSE'])} (bias {_plain(mine.loc[phase, 'bias'], sign=True)}, "
        f"{counted(mine.loc[phase, 'n'], 'figure')})"
        for phase, (_, _, words) in PHASES.items()
        if phase in mine.index
    ]
    unit = "percentage points" if name in NAMES else "points of baseline"
    what = f"{NAMES[name].capitalize()} BMD" if name in NAMES else name
    return f"{what}: typical error (RMSE) in {unit} {', '.join(parts)}." if parts else ""


def _worst_words(misfit: pd.DataFrame) -> str:
    words = []
    for endpoint, site in (("percent_change", "LS"), ("percent_change", "TH"), ("percent_of_baseline", "CTX")):
        mine = misfit[(misfit["endpoint"] == endpoint) & (misfit["site_or_marker"] == site) & (misfit["phase"] == "on")]
        if len(mine):
            words.append(f"{site} {_plain(mine['RMSE'].iloc[0])}")
    return f"RMSE on treatment {', '.join(words)}" if words else "goodness of fit"


def _inside(used: pd.DataFrame, which: str) -> float:
    rows = used[used["low"].notna()]
    low, high = rows[f"low{which}"], rows[f"high{which}"]
    inside = rows["observed"].between(low, high).where(~rows["below"].astype(bool), low <= rows["observed"])
    return 100 * float(inside.mean())


def _endpoint(name: str) -> str:
    return name.replace("percent_", "% ").replace("_", " ")


def _plain(value: float, *, sign: bool = False) -> str:
    return num(value, 2 if abs(value) < 9.95 else 1, sign=sign)


# --- figures ---


def _agreement(used: pd.DataFrame) -> Exhibit:
    """Observed against predicted, a panel for BMD and each marker."""
    rows = used[used["endpoint"].isin(["percent_change", "percent_of_baseline"])]
    frame = rows[["study", "arm", "endpoint", "site_or_marker", "time_months", "phase", "observed", "predicted"]]
    kinds = {
        "BMD change (%)": rows["site_or_marker"].isin(list(NAMES)),
        **{
            f"{m} (% of baseline)": rows["site_or_marker"] == m
            for m in dict.fromkeys(rows["site_or_marker"])
            if m not in NAMES
        },
    }
    kinds = {name: mine for name, mine in kinds.items() if mine.any()}
    height = 2.75 * max(1, -(-len(kinds) // 2)) + 0.3
    with drawing(WIDTH, height) as figure:
        axes = panels(figure, len(kinds), 2, None)
        for ax, (name, mine) in zip(axes, kinds.items(), strict=True):
            part = rows[mine]
            both = part[["observed", "predicted"]].to_numpy(float)
            pad = 0.05 * max(float(np.ptp(both)), 1.0)
            ends = [float(both.min()) - pad, float(both.max()) + pad]
            ax.plot(ends, ends, color=RULE, lw=1, zorder=0)
            for phase, (color, marker, _) in PHASES.items():
                of = part[part["phase"] == phase]
                ax.plot(of["predicted"], of["observed"], marker, ms=4.2, mfc="none", mec=color, mew=0.9, ls="none")
            ax.set(xlim=ends, ylim=ends, aspect="equal", xlabel="predicted", ylabel="observed")
            ax.set_title(name, loc="left")
        marks = [
            Line2D([], [], marker=m, ls="none", mfc="none", mec=c, ms=5, label=words) for c, m, words in PHASES.values()
        ]
        figure.legend(handles=marks, loc="lower center", ncol=3, frameon=False, bbox_to_anchor=(0.5, 0.0))
        figure.tight_layout(rect=(0, 0.3 / height, 1, 1), h_pad=1.4)
        body = svg_text(figure, "figure-1", "Observed against predicted, by phase of treatment")
    return Exhibit("Figure", "1", "Observed against predicted", frame, body, "Line: identity.", _half(rows))


def _half(rows: pd.DataFrame) -> str:
    """Median distance of the predictions from the published figures, in words."""
    error = (rows["predicted"] - rows["observed"]).abs()
    of_bmd = rows["site_or_marker"].isin(list(NAMES))
    parts = []
    if of_bmd.any():
        parts.append(f"of the BMD figures are predicted within {error[of_bmd].median():.2f} percentage points")
    if not of_bmd.all():
        parts.append(f"of the markers' figures within {error[~of_bmd].median():.0f} points of baseline")
    return f"Half {' and half '.join(parts)}." if parts else ""


def _curves(evidence: Evidence, found: Bands, first: int) -> Section | None:
    exhibits: list[Exhibit] = []
    kinds = found.courses[["endpoint", "site_or_marker"]].drop_duplicates()
    order = {name: k for k, name in enumerate((*NAMES, "CTX", "P1NP", "BSAP", "TRAP5B"))}
    for kind in sorted(kinds.to_dict("records"), key=lambda k: order.get(k["site_or_marker"], 99)):
        exhibits.append(
            _curve_figure(evidence, found, kind["endpoint"], kind["site_or_marker"], f"{len(exhibits) + first}")
        )
    if not exhibits:
        return None
    words = (
        "Hollow black points are the published figures, with 95% confidence intervals by their own spread and n (by "
        "the spread usual for such figures where none is published). The coloured curve is the model: "
    )
    if found.patients:
        words += (
            "the cohort's mean where the points are means, its median where they are medians. Dark band: 90% interval "
            "for a group of the median size of the points, by chance alone; light band: for a new study of that size. "
        )
    else:
        words += "the arm's typical patient. "
    words += "Shaded: dosing, until the end of the last interval."
    return Section("3", "Every arm's points and the model's curve", "curves", paragraphs=[words], exhibits=exhibits)


def _curve_figure(evidence: Evidence, found: Bands, endpoint: str, site: str, number: str) -> Exhibit:
    seen = found.predictions
    points = seen[(seen["endpoint"] == endpoint) & (seen["site_or_marker"] == site)]
    courses = found.courses[(found.courses["endpoint"] == endpoint) & (found.courses["site_or_marker"] == site)]
    arms = list(dict.fromkeys(points["arm"]))
    height = 1.82 * -(-len(arms) // 3) + 0.25
    with drawing(WIDTH * 1.12, height) as figure:
        axes = panels(figure, len(arms), 3, (0.07, 0.05))
        for ax, name in zip(axes, arms, strict=True):
            _panel(ax, evidence.arms[name], evidence, points[points["arm"] == name], courses[courses["arm"] == name])
        figure.supxlabel("Months", fontsize=9.6, color=INK)
        said = AXIS[endpoint] if endpoint == "percent_change" else f"{site}, {AXIS[endpoint]}"
        figure.supylabel(fitted(said.replace("\n", " "), height - 0.3, 9.6), fontsize=9.6)
        title = (
            f"{NAMES[site].capitalize()} BMD, change from baseline"
            if site in NAMES
            else f"{first_upper(site)}, {AXIS[endpoint]}".replace("\n", " ")
        )
        body = svg_text(figure, f"figure-{number}", f"{title}, observed and predicted by arm")
    own = points.rename(columns={"time_months": "month"}).assign(what="published")
    frame = pd.concat(
        [
            courses.assign(what="model"),
            own[["study", "arm", "endpoint", "site_or_marker", "month", "observed", "spread", "n", "what"]],
        ],
        ignore_index=True,
    )
    error = points.loc[points["used"], "error"].to_numpy(float)
    off, bias = _plain(float(np.sqrt(np.mean(error**2)))), _plain(float(error.mean()), sign=True)
    size = f"{len(error)} figure{'s' * (len(error) > 1)} of {len(arms)} arm{'s' * (len(arms) > 1)}"
    headline = f"RMSE {off}, bias {bias} over {size}." if len(error) else ""
    return Exhibit(
        "Figure", number, title, frame, body, "Bars: 95% confidence interval of the published figure.", headline
    )


def _panel(ax: Axes, arm: Arm, evidence: Evidence, points: pd.DataFrame, course: pd.DataFrame) -> None:
    active = [r for r in arm.regimens if evidence.agents[r.agent].kind != "none"]
    color = evidence.agents[active[0].agent].color if active else "#4D4D4D"
    last = max(float(points["time_months"].max()), float(course["month"].max()))
    for regimen in active:
        start, end = regimen.start_day / DAYS_PER_MONTH, min(regimen.end_day / DAYS_PER_MONTH, last)
        if end > start:
            ax.axvspan(start, end, color=SHADE, lw=0, zorder=0)
    months = course["month"].to_numpy(float)
    for which in ("_study", "") if course["low"].notna().any() else ():
        ends = (course[f"{side}{which}"].astype(float) for side in ("low", "high"))
        ax.fill_between(months, *ends, color=color, alpha=0.15, lw=0)
    rest = 0.0 if points["endpoint"].iloc[0] != "percent_of_baseline" else 100.0
    ax.axhline(rest, color=RULE, lw=0.8, zorder=0.5)
    ax.plot(months, course["predicted"].astype(float), color=color, lw=1.6)
    ax.errorbar(
        points["time_months"], points["observed"], SE95 * points["spread"], fmt="o", ms=4.0, mfc="white", mec="black",
        mew=0.9, ecolor="black", elinewidth=0.8, capsize=0, zorder=4,
    )  # fmt: skip
    ax.set_xlim(-0.03 * last, 1.05 * last)
    step = next((s for s in (0.5, 1, 2, 3, 6, 12, 24, 36) if last / s <= 5), 48)
    ax.set_xticks(thinned(np.arange(0, last + step / 2, step).tolist(), 0.1 * last))
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.tick_params(labelsize=8.2)
    words = fitted(f"{arm.study}: {arm.label}", PANEL, 8.0)
    ax.set_title(words, loc="left", fontsize=8.0, color=INK, linespacing=1.15)
    ax.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))


# --- tables ---


def _row(row: dict, predicted: str) -> dict[str, object]:
    return {
        "Study": row["study"],
        "Arm": row["arm"],
        "Figure": f"{_endpoint(row['endpoint'])}, {row['site_or_marker']}",
        "Months": _months(row),
        "Statistic": row["statistic"].replace("_", " "),
        "n": "" if np.isnan(row["n"]) else f"{row['n']:.0f}",
        "Observed": ("<" if row["below"] else "") + _plain(row["observed"]),
        predicted: with_interval(row["predicted"], row["low"], row["high"], 1 if abs(row["observed"]) >= 10 else 2),
        "Error": _plain(row["error"], sign=True),
    }


def _months(row: dict) -> str:
    start = "" if np.isnan(row["month_from"]) else f"{row['month_from']:.3g} to "
    return f"{start}{row['time_months']:.3g}"


def _rows(rows: pd.DataFrame) -> tuple[list[dict[str, object]], tuple[str, ...]]:
    """Rows of figures and their numeric columns; intervals are named where there are any."""
    predicted = "Predicted (90% interval)" if rows["low"].notna().any() else "Predicted"
    return [_row(row, predicted) for row in rows.to_dict("records")], ("n", "Observed", predicted, "Error")


def _others(used: pd.DataFrame) -> Section | None:
    rows = used[~used["endpoint"].isin(list(AXIS))].sort_values(["endpoint", "site_or_marker", "study"])
    if rows.empty:
        return None
    shown, numeric = _rows(rows)
    exhibit = table(
        "3", "Figures that are no point of a curve", rows, shown,
        "Differences to control, changes between two visits, kinetics: in the unit of the endpoint.", numeric=numeric,
    )  # fmt: skip
    return Section("4", "Figures that are no point of a curve", "others", exhibits=[exhibit])


def _largest(used: pd.DataFrame) -> Section:
    off = (used["error"] / used["sd"]).abs()
    rows = used.assign(misfit=used["error"] / used["sd"]).loc[off.sort_values(ascending=False).index[:WORST]]
    told, numeric = _rows(rows)
    shown = [cells | {"SDs": num(sd, 1, sign=True)} for cells, sd in zip(told, rows["misfit"], strict=True)]
    exhibit = table(
        "4", f"The {len(rows)} largest misfits", rows, shown,
        "In standard deviations that a fit gives the figure (sampling and difference between studies).",
        numeric=(*numeric, "SDs"),
    )  # fmt: skip
    return Section("5", "Where the model is furthest off", "largest", exhibits=[exhibit])


def _left_out(evidence: Evidence, seen: pd.DataFrame) -> Section:
    left = evidence.not_used
    missed = seen[~seen["used"]]
    words = [f"{len(seen) - len(missed)} figures are predicted."]
    if len(missed):
        words.append(f"{len(missed)} can't be: {'; '.join(missed['reason'].unique())}.")
    if left.empty:
        return Section("6", "Figures that were not used", "left-out", paragraphs=[*words])
    frame = (
        left.groupby("reason", sort=False)
        .size()
        .sort_values(ascending=False, kind="stable")
        .rename("rows")
        .reset_index()
    )
    words.append(
        f"{len(left)} rows of the published tables were left out when they were converted; predictions.csv lists each."
    )
    shown = [{"Reason": row["reason"] or DASH, "Rows": str(row["rows"])} for row in frame.to_dict("records")]
    exhibit = table("5", "Rows left out, by reason", frame, shown, "", numeric=("Rows",), folded=True)
    return Section("6", "Figures that were not used", "left-out", paragraphs=[*words], exhibits=[exhibit])
