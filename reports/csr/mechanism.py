"""Section 11, second part: drug and ligand, contributions to the gain in BMD, and unknown parameters."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from ranklsim.cohorts.durability import LEAST_GAIN
from ranklsim.cohorts.statistics import summaries
from ranklsim.cohorts.uncertainty import SOON
from ranklsim.cohorts.words import listed, month_text
from ranklsim.pkpd.errors import counted
from ranklsim.pkpd.variants import REFUTED, variants
from ranklsim.reports.csr import unknowns
from ranklsim.reports.csr.contents import report_section
from ranklsim.reports.csr.context import NOT_KNOWN, Context, nearest
from ranklsim.reports.figures import trial as figures
from ranklsim.reports.layout import tables, wording
from ranklsim.reports.layout.arms import PREDICTED, ArmView
from ranklsim.reports.layout.cells import code
from ranklsim.reports.layout.exhibit import Exhibit, Section
from ranklsim.reports.layout.tables import num

STRONGEST = 8
"""Parameters that the figure of rank correlations shows for each arm."""

OCCUPANCY = {"OCC_mRANKL": "mRANKL with drug bound, all sources", "OCC_sRANKL": "sRANKL with drug bound"}
BY_SOURCE = {
    "OCC_mRANKL_osteocyte": "mRANKL of osteocytes",
    "OCC_mRANKL_marrow": "mRANKL of marrow adipogenic and stromal cells",
    "OCC_mRANKL_osteoblast": "mRANKL of osteoblasts",
    "OCC_mRANKL_lymphocyte": "mRANKL of lymphocytes",
}
FREE = {
    "mRANKL_free": "Free mRANKL, % of baseline",
    "sRANKL_free": "Free serum sRANKL, pmol/L",
    "SIGNAL_T": "Drive at RANK in trabecular bone, % of baseline",
}
COURSE = {
    "OCC_mRANKL": "mRANKL with drug bound, % of the pool",
    "OCC_sRANKL": "sRANKL with drug bound, % of the pool",
    "SIGNAL_T": "Drive at RANK in trabecular bone, % of baseline",
}
LIGAND: tuple[tuple[str, dict[str, str], dict[str, Any]], ...] = (
    ("Occupancy of RANKL by modality", OCCUPANCY, {}),
    ("Free RANKL by modality, and the drive that is left", FREE, {"ylabel": ""}),
    ("Occupancy of mRANKL by cellular source", BY_SOURCE, {"ylabel": "% of the pool", "limits": (-4.0, 104.0)}),
)
"""Title, outputs and looks of each table, and of its figure at visits; occupancy by modality has a figure in time."""
DECIMALS = {"sRANKL_free": 2}
"""Decimals of latent values that are no percentages."""
PARTS = {
    "remodelling": "remodelling space and balance",
    "mineralisation": "mineralisation",
    "modelling": "modelling-based formation",
    "artefact": "spine artefact",
}


@report_section("11.4.8", "Drug, occupancy and free ligand by modality", "ligand")
def _ligand(c: Context, section: Section) -> None:
    """Drug, occupancy and free ligand."""
    section.paragraphs.append(
        "Model values of the patients still in the trial, without assay error; at a dosing visit the value is the one "
        "just before the dose. Occupancy is the share of a RANKL pool that carries drug."
    )
    for k, (title, names, looks) in enumerate(LIGAND, start=1):
        frame = latent_by_visit(c, list(names))
        if names is BY_SOURCE and alike(frame):
            section.paragraphs.append(
                "The occupancy of mRANKL is the same for each cellular source (osteocytes, marrow adipogenic and "
                "stromal cells, osteoblasts, lymphocytes) at every visit, because every agent of this trial reaches "
                "all four equally. The values for all sources together hold for each of them."
            )
            continue
        shown = c.table(
            f"14.2.5.{k}", title, frame, tables.by_part, **_latent(names),
            note="Percent unless a unit is given. Model values of patients still in the trial; just before the dose at "
            "dosing visits.",
        )  # fmt: skip
        if names is OCCUPANCY:
            section.exhibits += [_course(c), shown]
            continue
        section.exhibits += [
            c.figure(
                f"14.2.5.{k}",
                title,
                frame,
                figures.panels,
                titles=names,
                note="Points: median; bars: Q1 to Q3 (spread of patients). No line connects them, since much happens "
                "between visits (Figure 14.2.5.1).",
                **looks,
            ),
            shown,
        ]
    binders = {f"C_{a.name}": f"Free serum {a.label}" for a in c.data.agents.values() if a.kind == "binder"}
    if binders:
        frame = latent_by_visit(c, list(binders))
        given = {(arm.name, f"C_{course.agent}") for arm in c.arms for course in arm.courses}
        own = [pair in given for pair in zip(frame["arm"], frame["output"], strict=True)]
        section.exhibits.append(
            c.table(
                f"14.2.5.{len(LIGAND) + 1}", "Free drug in serum (µg/mL)", frame[own].reset_index(drop=True),
                tables.by_part, **_latent(binders, 3),
                note="Model values of patients still in the trial, without assay error; just before the dose at dosing "
                "visits.",
            )
        )  # fmt: skip


def _course(c: Context) -> Exhibit:
    """Occupancy and drive of the typical patient in time, with its range over what is not known, and the patients."""
    courses = [unknowns.fan(c.data.uncertainty, name, c.names).assign(output=name) for name in COURSE]
    seen = latent_by_visit(c, list(COURSE))
    band = f"band: 90% over {c.vectors}" if c.n_draws else "no parameters were drawn"
    return c.figure(
        "14.2.5.1",
        "Occupancy of RANKL by modality, and the drive that is left, in time",
        pd.concat(courses, ignore_index=True),
        figures.course,
        titles=COURSE,
        seen=seen,
        headline=_bound_headline(c, courses[0], courses[1]),
        note=f"Line: the typical patient at default values, month by month and {SOON:g} days after each dose; {band}. "
        "Points: median of the patients at visits, just before the dose; their quartiles: Table 14.2.5.1.",
    )


def _bound_headline(c: Context, mrankl: pd.DataFrame, srankl: pd.DataFrame) -> str:
    """Mean share of both forms that carries drug during treatment, arm by arm."""
    said = []
    for arm in (arm for arm in c.arms if arm.treated):
        parts = []
        for frame in (mrankl, srankl):
            own = frame[(frame["arm"] == arm.name) & (frame["month"] <= arm.end)].sort_values("month")
            month, value = own["month"].to_numpy(float), own["default"].to_numpy(float)
            parts.append(float(np.trapezoid(value, month) / np.ptp(month)) if len(own) > 1 else np.nan)
        if np.isfinite(parts).all():
            said.append(f"{num(parts[0], 0)}% and {num(parts[1], 0)}% ({arm.label})")
    return (
        f"During treatment drug is on this share of mRANKL and of sRANKL, in the mean: {listed(said)}." if said else ""
    )


def _latent(names: Mapping[str, str], decimals: int = 1) -> dict[str, Any]:
    """Format of the table of latent outputs; "<0.01" where the quartiles are above zero but would be shown as 0.00."""

    def text(median: float, q1: float, q3: float, digits: int) -> str:
        least = 10.0**-digits
        return f"<{least:.{digits}f}" if 0 < q3 < 0.5 * least else tables.with_interval(median, q1, q3, digits)

    shows = {
        name: tables.Show(("median", "q1", "q3"), partial(text, digits=DECIMALS.get(name, decimals))) for name in names
    }
    return {"column": "output", "names": names, "shows": shows, "head": "Median (Q1, Q3)"}


def latent_by_visit(c: Context, names: list[str]) -> pd.DataFrame:
    """Latent outputs of the patients still in the trial, one at a time (`summaries.latent_by_visit`).

    Parameters
    ----------
    c : Context
    names : list of str
        Outputs, without ``true_``.
    """
    parts = [summaries.latent_by_visit(c.data.seen(f"true_{name}", attended=True), [name], c.names) for name in names]
    return pd.concat(parts, ignore_index=True)


def alike(frame: pd.DataFrame) -> bool:
    """Whether all outputs of `latent_by_visit` are equal in the digits that the table shows.

    Parameters
    ----------
    frame : DataFrame
        From `latent_by_visit`.
    """
    gaps = frame.groupby(["month", "arm"])[["median", "q1", "q3"]].agg(lambda x: x.max() - x.min())
    return bool((gaps.fillna(0.0) < 0.05).to_numpy().all())


@report_section("11.4.9", "Contributions to the lumbar spine gain", "contributions")
def _contributions(c: Context, section: Section) -> None:
    """Contributions to the change in BMD."""
    section.paragraphs.append(
        "Model values, in percentage points of baseline BMD: bone held in the remodelling space and its balance, "
        "mineralisation of bone that is not resorbed, and modelling-based formation, which needs no RANKL. The spine "
        "artefact is degenerative change that DXA measures as bone."
    )
    months = [m for m in c.data.months if m > 0]
    if not months:
        section.paragraphs.append("The trial has no visit after randomisation, so there is no change to explain.")
        return
    wanted = [12.0, c.main_end, c.main_end + 12, c.main_end + 24, c.last_month]
    shown = sorted({nearest(months, month) for month in wanted if month <= c.last_month})
    known = c.data.columns("visits")
    parts = [f"true_LS_{part}" for part in PARTS if f"true_LS_{part}" in known]
    frame = summaries.contributions(c.data.seen(*parts, attended=True), "LS", c.names, shown)

    at = nearest(shown, c.main_end)
    title = "Contributions to the change in lumbar spine BMD"
    note = "Means of patients still in the trial."
    section.exhibits.append(
        c.figure(
            "14.2.6.1",
            title,
            frame,
            figures.stacked_parts,
            ylabel="% of baseline BMD",
            note=note,
            headline=_parts_headline(frame, c.arms, PARTS, at),
        )
    )
    if c.control is not None:
        over = summaries.over_control(frame, c.control)
        label = c.by_name[c.control].label
        section.exhibits.append(
            c.figure(
                "14.2.6.2",
                f"Contributions to the lumbar spine gain over {label}",
                over,
                figures.stacked_parts,
                ylabel="% of baseline BMD",
                note=f"Mean of the arm minus mean of {label}.",
                headline=_parts_headline(over, c.arms, PARTS, at, over=label),
            )
        )
    section.exhibits.append(
        c.table(
            "14.2.6.1",
            title,
            frame,
            tables.by_part,
            column="part",
            names=PARTS,
            shows=dict.fromkeys(PARTS, tables.number("mean")),
            head="Percentage points",
            total=replace(tables.number("total"), kind="sum"),
            note=note,
        )
    )


@report_section(NOT_KNOWN, "Unknown parameters, and how far the result depends on them", "uncertainty")
def _uncertainty(c: Context, section: Section) -> None:
    """The range of results over unknown parameters and structures."""
    if not c.n_draws:
        section.paragraphs.append(
            "Parameter uncertainty was switched off in this run. Results on hypothetical agents hold only for the "
            "default values of the parameters that human data do not determine."
        )
        return
    section.paragraphs.append(_where_from(c))
    results = _results(c)
    section.exhibits += [
        _fan(c, "14.2.7.1", "BMD_LS_pct", "Lumbar spine BMD", "Change in lumbar spine BMD (%)", 0.0),
        _fan(c, "14.2.7.2", "CTX_pct", "CTX", "CTX (% of baseline)", 100.0),
        c.listing(
            "14.2.7.1",
            "Typical patient: headline results over the unknown parameters",
            results,
            lambda row: {
                "Result": row["result"],
                "Arm": c.by_name[row["arm"]].label,
                "At default values": tables.num(row["default"], 1),
                "Median of draws": tables.num(row["median"], 1),
                "90% interval": tables.interval(row["low"], row["high"], 1),
                "Other structures": tables.interval(row["structure_low"], row["structure_high"], 1),
                "Range over both": tables.interval(row["both_low"], row["both_high"], 1),
                "Draws": str(row["draws"]),
            },
            numeric=(
                "At default values",
                "Median of draws",
                "90% interval",
                "Other structures",
                "Range over both",
                "Draws",
            ),
            group="Result",
            who=c.typical,
            note="No variability between patients, no measurement error. Other structures: the least and the most "
            "under any, each at its own fit (Table 14.2.7.2). Range over both: from the lower of the lower ends to "
            "the higher of the higher ends; it has no level. A share of the gain kept is given only for "
            f"draws with a gain above {LEAST_GAIN:g}%.",
        ),
        *_structures(c),
        *_importance(c),
    ]


def _where_from(c: Context) -> str:
    """Explain the origin of the parameter vectors, and the limits of intervals over them."""
    symbols = list(c.drawn.columns)
    same = "the typical patient was simulated under each arm with the same ones"
    if c.data.manifest["draws"] == "ensemble":
        return (
            f"{c.n_draws} parameter vectors of the shipped ensemble were used, and {same}. In a vector {len(symbols)} "
            "parameters have values (Table 16.1.1) that together agree with the published figures on denosumab and "
            "placebo. Parameters that these figures do not determine (the share of sRANKL in the signal, shedding, "
            "the cause of the rebound) cover their whole plausible range. The vectors do not vary other assumed "
            "parameters, numbers of other agents, or the structure of the model. Table 14.2.7.2 shows other "
            "structures that the figures cannot exclude. The intervals do not depend on the number of patients."
        )
    return (
        f"Parameters or an agent of this run are not the shipped ones, so the shipped ensemble does not apply. "
        f"The values of what no human data fix ({', '.join(symbols)}) come from {counted(c.n_draws, 'draw')} "
        f"of the plausible ranges (Table 16.1.1), and {same}. The draws were not selected for agreement with "
        "published figures, and the intervals are only as wide as the ranges stated."
    )


def _fan(c: Context, number: str, column: str, what: str, ylabel: str, reference: float) -> Exhibit:
    frame = unknowns.fan(c.data.uncertainty, column, c.names)
    month = nearest(frame["month"], c.main_end)
    noun = "change from baseline" if column.startswith("BMD") else "level in % of baseline"
    return c.figure(
        number,
        f"{what} of the typical patient over the unknown parameters",
        frame,
        figures.fans,
        ylabel=ylabel,
        reference=reference,
        who=c.typical,
        note=f"{c.vectors}; no variability between patients, no measurement error.",
        headline=_fan_headline(frame, c.arms, noun, month),
    )


def _results(c: Context) -> pd.DataFrame:
    """Endpoints, rebound and durability of the typical patient over the draws."""
    rows = []
    default = c.by_vector[c.by_vector["draw"] == 0].set_index(["result", "arm"])["value"].to_dict()
    for key in itertools.product(c.by_vector["result"].unique(), c.names):
        over = c.whole_range(*key)
        if over["draws"]:
            rows.append({"result": key[0], "arm": key[1], "default": default.get(key, np.nan)} | over)
    columns = ["result", "arm", "default", "draws", "median", "q1", "q3", "low", "high"]
    return pd.DataFrame(rows, columns=[*columns, "structure_low", "structure_high", "both_low", "both_high"])


def _structures(c: Context) -> list[Exhibit]:
    """Headline results under each structural variant."""
    frame = c.by_structure
    if frame["variant"].nunique() < 2:
        return []
    shown = [arm for arm in c.arms if frame.loc[frame["arm"] == arm.name, "value"].notna().any()]
    wide = frame.pivot(index=["result", "variant"], columns="arm", values="value")[[arm.name for arm in shown]]
    order = [(result, name) for result in frame["result"].unique() for name in ("", *(v.name for v in variants()))]
    wide = wide.loc[[key for key in order if key in wide.index]].reset_index()
    told = {v.name: (v.question, v.label, v.rise) for v in variants()} | {"": ("Default", "Default structure", np.nan)}
    wide.insert(1, "question", wide["variant"].map(lambda name: told[name][0]))
    wide.insert(2, "structure", wide["variant"].map(lambda name: told[name][1]))
    wide.insert(3, "rise", wide["variant"].map(lambda name: told[name][2]))
    return [
        c.listing(
            "14.2.7.2",
            "Typical patient: headline results under other structures of the model",
            wide,
            lambda row: {
                "Result": row["result"],
                "Structure": row["structure"],
                "Odds against": _odds(row["rise"]),
                **{arm.label: tables.num(row[arm.name], 1) for arm in shown},
            },
            numeric=[arm.label for arm in shown],
            group="Result",
            who=c.typical,
            note="Each structure has a fit of its own to the same published figures. Odds against: what these say of "
            "it beside the default structure; from 100 to 1 on it counts as refuted, and no range in this report holds "
            "it. `ranklsim variants` lists them; `--parameters NAME` runs a trial with one.",
        )
    ]


def _odds(rise: float) -> str:
    """Odds against a structure that fits so much worse than the default; empty for the default itself."""
    if np.isnan(rise):
        return ""
    return "refuted" if rise > REFUTED else f"{np.exp(rise / 2):.{1 if rise > 0 else 2}f} to 1"


def _importance(c: Context) -> list[Exhibit]:
    """Rank correlations of unknown parameters with the first change endpoint in predicted arms."""
    focus = [arm for arm in c.arms if arm.basis == PREDICTED] or [arm for arm in c.arms if arm.treated]
    ranked = c.importance[c.importance["arm"].isin([arm.name for arm in focus])].reset_index(drop=True)
    if ranked.empty:
        return []
    top = ranked.groupby("arm", sort=False).head(STRONGEST).reset_index(drop=True)
    role = "primary endpoint" if c.primary.role == "primary" else f"{c.primary.role} endpoint"
    what = f"the {role} ({c.primary.name}{', difference to control' if c.control else ''})"
    points = _points(c, focus, top)
    return [
        c.figure(
            "14.2.7.3",
            f"Which unknown parameters decide {what}",
            top,
            figures.correlations,
            arms=focus,
            meanings=c.meanings,
            who=c.typical,
            note="Spearman rank correlation over the draws; grey: not beyond chance (Bonferroni over all drawn "
            "parameters at 5%).",
            headline=_importance_headline(top, focus),
        ),
        c.listing(
            "14.2.7.3",
            f"Rank correlation of every drawn parameter with {what}",
            ranked,
            lambda row: {
                "Parameter": code(row["symbol"]),
                "Arm": c.by_name[row["arm"]].label,
                "Meaning": row["meaning"],
                "Rank correlation (95% CI)": tables.with_interval(row["rho"], row["low"], row["high"], 2),
                "Share of rank variance, %": tables.num(row["share"], 0),
                "Beyond chance": "yes" if row["beyond_chance"] else "no",
            },
            numeric=("Rank correlation (95% CI)", "Share of rank variance, %"),
            group="Arm",
            who=c.typical,
            note="Share: rho squared. Parameters are correlated by the figures, so shares need not add up to 100%.",
        ),
        c.figure(
            "14.2.7.4",
            f"{role.capitalize()} of each draw against the parameter that matters most",
            points,
            figures.scatter,
            arms=focus,
            ylabel="Difference to control (points)" if c.control else "Result (%)",
            names={symbol: c.symbol_label(symbol) for symbol in points["symbol"].unique()},
            who=c.typical,
            note="Dots: draws; open diamond: default values.",
        ),
    ]


def _points(c: Context, focus: Sequence[ArmView], top: pd.DataFrame) -> pd.DataFrame:
    """The result of each draw, with its value of the parameter of the largest rank correlation in the arm."""
    draws = c.by_draw(c.primary)
    frames = []
    for arm in focus:
        symbol = next(iter(top.loc[top["arm"] == arm.name, "symbol"]), None)
        if symbol is None:
            continue
        own = draws.loc[draws["arm"] == arm.name, ["draw", c.result_column]].set_axis(["draw", "value"], axis="columns")
        frames.append(own.assign(parameter=own["draw"].map(c.drawn[symbol]), arm=arm.name, symbol=symbol))
    return pd.concat(frames, ignore_index=True)


def _parts_headline(
    frame: pd.DataFrame, arms: Sequence[ArmView], names: Mapping[str, str], month: float, over: str = ""
) -> str:
    """Largest contribution to each arm's change at a month, or to its gain over another arm, `over`."""
    out = []
    for arm in arms:
        own = frame[(frame["arm"] == arm.name) & (frame["month"] == month)]
        if not arm.treated or own.empty or own["total"].iloc[0] <= 0.05:
            continue
        top = own.loc[own["mean"].idxmax()]
        rest = top["total"] - top["mean"]
        size = f"{tables.num(top['mean'], 1)} of {tables.num(top['total'], 1)}"
        if rest < -0.05:  # the other parts take some of it away: it is no share of the total
            size = f"{tables.num(top['mean'], 1, sign=True)}, with {tables.num(rest, 1)} by the others"
        out.append(f"{names[top['part']]} {size} ({arm.label})")
    what = f"gain over {over}" if over else "change"
    return (
        f"Largest part of the {what} at month {month_text(month)}, in percentage points: {listed(out)}." if out else ""
    )


def _fan_headline(frame: pd.DataFrame, arms: Sequence[ArmView], noun: str, month: float) -> str:
    """Interval over unknown parameters at a month, for the arms that have one."""
    at = frame[frame["month"] == month].set_index("arm")
    at = at[at["high"] - at["low"] > 0.05]
    parts = [
        f"{wording.to_interval(at.loc[a.name, 'low'], at.loc[a.name, 'high'], 1)}% ({a.label})"
        for a in arms
        if a.name in at.index
    ]
    return f"90% interval of the {noun} at month {month_text(month)}: {listed(parts)}." if parts else ""


def _importance_headline(frame: pd.DataFrame, arms: Sequence[ArmView], most: int = 4) -> str:
    """The parameters beyond chance by arm, with their rank correlations."""
    said = []
    for arm in arms:
        own = frame[(frame["arm"] == arm.name) & frame["beyond_chance"].astype(bool)].head(most)
        parts = [f"{symbol} ({tables.num(rho, 2)})" for symbol, rho in zip(own["symbol"], own["rho"], strict=True)]
        if parts:
            said.append(f"{arm.label}: {listed(parts)}")
    return f"Rank correlations beyond chance: {'; '.join(said)}." if said else "No parameter stands out from chance."
