"""Tables of the report as HTML, each made from the very frame that is exported beside it.

Numbers follow the style of a clinical study report: means get one decimal more than the data, SD and SE two;
medians with quartiles; counts with one-decimal percentages. A value that cannot be estimated is an en dash.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup, escape

from ranklsim.reports.layout.arms import PREDICTED, ArmView, month_text

DASH = "–"

LONG = 24
"""A listing of more rows than that may break between pages where it is printed."""


@dataclass(frozen=True)
class Heading:
    """What stands over a table: caption (HTML), a name for screen readers, and N by arm for the column heads."""

    caption: Markup
    label: str
    counts: Mapping[str, int]


# -- cells -------------------------------------------------------------------------------------------------------------


def num(value: float, decimals: int = 2, *, sign: bool = False) -> str:
    """A number with a true minus sign; an en dash where there is none, "0" never as "-0"."""
    if value is None or not np.isfinite(value):
        return DASH
    text = f"{value:.{decimals}f}"
    if float(text) == 0:
        return text.replace("-", "")
    return ("+" if sign and value > 0 else "") + text.replace("-", "−")


def interval(low: float, high: float, decimals: int = 2) -> str:
    """``low, high`` or an en dash."""
    if not (np.isfinite(low) and np.isfinite(high)):
        return DASH
    return f"{num(low, decimals)}, {num(high, decimals)}"


def with_interval(value: float, low: float, high: float, decimals: int = 2) -> str:
    """``value (low, high)``; the value alone where there is no interval; an en dash where there is no value."""
    if not np.isfinite(value):
        return DASH
    inside = interval(low, high, decimals)
    return num(value, decimals) if inside == DASH else f"{num(value, decimals)} ({inside})"


def p_value(value: float) -> str:
    """``0.012``, ``<0.001``, or an en dash where there is none."""
    if not np.isfinite(value):
        return DASH
    return "<0.001" if value < 0.0005 else num(value, 3)


def share(count: int, of: int) -> str:
    """``n (x.x%)``."""
    return f"{count} ({100 * count / of:.1f}%)" if of else DASH


def sig(value: float) -> str:
    """A parameter value with up to four significant digits; infinite (a KD of no binding) is "none"."""
    if np.isnan(value):
        return DASH
    return "none" if np.isinf(value) else f"{float(f'{value:.4g}'):.10g}".replace("-", "−")


def unit_words(unit: object) -> str:
    """A unit as a reader sets it: g/cm², mL/min/1.73 m², µg/mL; an en dash for a number without one."""
    text = str(unit)
    if text in ("1", "", "nan", "None"):
        return DASH
    return re.sub(r"\bug\b", "µg", re.sub(r"(?<=m)2\b", "²", text)).replace("1.73m", "1.73 m")


_INTERVAL = re.compile(r"\([-−<>.\d]+%?, [-−<>.\d]+%?\)")


def unbroken(cell: object) -> object:
    """A cell whose intervals, such as ``(1.2, 3.4)``, stay on one line; anything but plain text as it is."""
    if type(cell) is not str:
        return cell
    return _INTERVAL.sub(lambda found: found[0].replace(", ", ",\u00a0"), cell)


def tag(word: str) -> Markup:
    """A small label, coloured by its first word."""
    return Markup('<span class="tag {}">{}</span>').format(word.split()[0], word)


def doi_link(source: object, doi: object) -> Markup | str:
    """A source with its DOI or PMID as a link, where it has one."""
    words = "" if source is None or pd.isna(source) else re.sub("`([^`]*)`", r"“\1”", str(source))
    mark = "" if doi is None or pd.isna(doi) else str(doi).strip()
    if not mark:
        return words
    if mark.startswith("10."):
        return Markup('{} <a href="https://doi.org/{}">doi:{}</a>').format(words, mark, mark)
    if mark.upper().startswith("PMID"):
        digits = "".join(c for c in mark if c.isdigit())
        return Markup('{} <a href="https://pubmed.ncbi.nlm.nih.gov/{}/">{}</a>').format(words, digits, mark)
    return Markup("{} {}").format(words, escape(mark))


# -- building blocks ---------------------------------------------------------------------------------------------------


def wrap(head: Markup, body: Markup, heading: Heading, css: str = "arms", columns: Markup | str = "") -> str:
    """A complete ``<table>`` inside a region that scrolls sideways on a narrow screen."""
    return str(
        Markup(
            '<div class="scroll" role="region" aria-label="{}" tabindex="0"><table class="{}">'
            "<caption>{}</caption>{}<thead>{}</thead>{}</table></div>"
        ).format(
            heading.label,
            css,
            heading.caption,
            Markup("<colgroup>{}</colgroup>").format(columns) if columns else "",
            head,
            body,
        )
    )


def tbody(rows: Sequence[Markup]) -> Markup:
    """A row group."""
    return Markup("<tbody>{}</tbody>").format(Markup("").join(rows))


def line(words: object, cells: Sequence[object], *, lead: Markup | None = None, css: str = "") -> Markup:
    """A row with its own heading; `lead` is a cell before it, `css` a class of the row."""
    inside = Markup("").join(Markup("<td>{}</td>").format(cell) for cell in cells)
    opening = Markup('<tr class="{}">').format(css) if css else Markup("<tr>")
    return opening + (lead or "") + Markup('<th scope="row" class="stat">{}</th>{}</tr>').format(words, inside)


def group_row(title: object, columns: int) -> Markup:
    """A heading across a row group."""
    return Markup('<tr class="group"><th scope="rowgroup" colspan="{}">{}</th></tr>').format(columns, title)


def month_cell(month: float, rows: int) -> Markup:
    """The month that heads a group of `rows` rows."""
    return Markup('<th scope="rowgroup" rowspan="{}">{}</th>').format(rows, month_text(month))


def arm_heads(arms: Sequence[ArmView], heading: Heading, first: Sequence[str], total: int | None = None) -> Markup:
    """The head row: `first` columns, then an arm each with colour, N and whether it is predicted, then the total."""
    cells = [Markup('<th scope="col">{}</th>').format(title) if title else Markup("<td></td>") for title in first]
    for arm in arms:
        mark = tag(PREDICTED) if arm.basis == PREDICTED else ""
        cells.append(
            Markup(
                '<th scope="col"><span class="swatch" style="background:{}"></span>{} '
                '<span class="n">(N={})</span>{}</th>'
            ).format(arm.color, arm.label, heading.counts.get(arm.name, 0), mark)
        )
    if total is not None:
        cells.append(Markup('<th scope="col">Total <span class="n">(N={})</span></th>').format(total))
    return Markup("<tr>{}</tr>").format(Markup("").join(cells))


def by_arm(frame: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Rows of a frame by their arm."""
    return {row["arm"]: row for row in frame.to_dict("records")}


Show = Callable[[Mapping[str, Any]], str]


def _months(
    frame: pd.DataFrame, arms: Sequence[ArmView], heading: Heading, lines: Mapping[str, Show], second: str = ""
) -> str:
    """Row groups by month; within, one row for each of `lines` that says something; arms as columns."""
    groups = []
    for month, at in frame.groupby("month", sort=True):
        rows = by_arm(at)
        shown: list[tuple[str, list[str]]] = []
        for words, show in lines.items():
            cells = [show(rows[arm.name]) if arm.name in rows else DASH for arm in arms]
            if not shown or any(cell not in (DASH, "") for cell in cells):
                shown.append((words, cells))
        leads = [month_cell(float(month), len(shown)), *[None] * (len(shown) - 1)]
        groups.append(tbody([line(words, cells, lead=lead) for (words, cells), lead in zip(shown, leads, strict=True)]))
    return wrap(arm_heads(arms, heading, ["Month", second]), Markup("").join(groups), heading)


def _groups(
    arms: Sequence[ArmView], heading: Heading, groups: Sequence[tuple[object, Sequence[tuple[str, Sequence[str], str]]]]
) -> str:
    """Titled row groups of (words, cells, class), arms as columns; rows of nothing but dashes are left out."""
    bodies = []
    for title, lines in groups:
        rows = [line(words, cells, css=css) for words, cells, css in lines if any(cell != DASH for cell in cells)]
        bodies.append(tbody([group_row(title, len(arms) + 1), *rows]))
    return wrap(arm_heads(arms, heading, [""]), Markup("").join(bodies), heading)


def cross_table(
    frame: pd.DataFrame,
    arms: Sequence[ArmView],
    heading: Heading,
    *,
    lines: Mapping[str, Show],
    groups: str = "",
    total: bool = True,
) -> str:
    """One row for each of `lines`, made from an arm's row of `frame`; arms as columns, with the total if asked.

    Rows of nothing but dashes are left out; where `groups` names a column, its values head row groups.
    """
    names = [*(arm.name for arm in arms), *(["Total"] if total else [])]
    bodies = []
    for words, at in [("", frame)] if not groups else frame.groupby(groups, sort=False):
        rows = by_arm(at)
        shown = [(what, [show(rows[name]) if name in rows else DASH for name in names]) for what, show in lines.items()]
        # A cell breaks before an interval, not before a percentage.
        kept = [
            line(what, [cell if "," in cell else cell.replace(" ", "\u00a0") for cell in cells])
            for what, cells in shown
            if any(cell != DASH for cell in cells)
        ]
        bodies.append(tbody([*([group_row(words, len(names) + 1)] if groups else []), *kept]))
    whole = sum(heading.counts.values()) if total else None
    return wrap(arm_heads(arms, heading, [""], total=whole), Markup("").join(bodies), heading, css="arms narrow")


# -- tables ------------------------------------------------------------------------------------------------------------


def listing(
    rows: Sequence[Mapping[str, object]],
    heading: Heading,
    *,
    numeric: Sequence[str] = (),
    group: str | None = None,
    widths: Sequence[int] = (),
) -> str:
    """Rows as they come; keys of the first are the headers, the first column heads its row.

    Cells are text or Markup; columns in `numeric` are set flush right, others may wrap. Rows that follow each other
    with the same value of `group` stand under it as a heading. `widths` are those of the columns in percent, where
    what is in them should not decide.
    """
    heads = [head for head in rows[0] if head != group]
    cells = [
        Markup('<th scope="col"{}>{}</th>').format(Markup(' class="num"') if head in numeric else "", head)
        for head in heads
    ]
    bodies = []
    for title, members in groupby(rows, key=lambda row: "" if group is None else str(row[group])):
        lines = [] if group is None else [group_row(title, len(heads))]
        for row in members:
            inside = [Markup('<th scope="row">{}</th>').format(row[heads[0]])]
            for column in heads[1:]:
                css = "num" if column in numeric else "text"
                inside.append(Markup('<td class="{}">{}</td>').format(css, unbroken(row[column])))
            lines.append(Markup("<tr>{}</tr>").format(Markup("").join(inside)))
        bodies.append(tbody(lines))
    head_row = Markup("<tr>{}</tr>").format(Markup("").join(cells))
    columns = Markup("").join(Markup('<col style="width:{}%">').format(width) for width in widths)
    css = "listing" + (" fixed" if widths else "") + (" long" if len(rows) > LONG else "")
    return wrap(head_row, Markup("").join(bodies), heading, css=css, columns=columns)


def mean_table(
    frame: pd.DataFrame, arms: Sequence[ArmView], heading: Heading, *, control: str | None, decimals: int = 2
) -> str:
    """Table of `summaries.mean_by_visit`."""
    lines: dict[str, Show] = {
        "n": lambda r: f"{int(r['n'])}",
        "Mean (SD)": lambda r: f"{num(r['mean'], decimals)} ({num(r['sd'], decimals)})" if r["n"] else DASH,
        "95% CI": lambda r: interval(r["ci_low"], r["ci_high"], decimals),
    }
    if control is not None:
        label = next(arm.label for arm in arms if arm.name == control)
        lines[f"Difference to {label} (95% CI)"] = lambda r: _against(r, control, decimals)
    return _months(frame, arms, heading, lines)


def lsmean_table(
    frame: pd.DataFrame, arms: Sequence[ArmView], heading: Heading, *, control: str | None, decimals: int = 2
) -> str:
    """Table of `Repeated.by_visit`."""
    lines: dict[str, Show] = {
        "n": lambda r: f"{int(r['n'])}",
        "LS mean (SE)": lambda r: (
            f"{num(r['estimate'], decimals)} ({num(r['std_error'], decimals)})" if r["n"] else DASH
        ),
        "95% CI": lambda r: interval(r["ci_low"], r["ci_high"], decimals),
    }
    if control is not None:
        label = next(arm.label for arm in arms if arm.name == control)
        lines[f"Difference to {label} (95% CI)"] = lambda r: _against(r, control, decimals)
        lines["p"] = lambda r: _p_against(r, control)
    return _months(frame, arms, heading, lines)


def sensitivity_table(
    frame: pd.DataFrame,
    arms: Sequence[ArmView],
    heading: Heading,
    *,
    control: str,
    words: Mapping[str, str],
    decimals: int = 2,
) -> str:
    """Table of `imputation.analyse` with `gap`, the difference minus the truth; `words` says what each strategy is."""
    label = next(arm.label for arm in arms if arm.name == control)
    shows: dict[str, Show] = {
        "Patients; imputed at this visit": lambda r: f"{r['n']}; {r['imputed']}",
        "LS mean (95% CI)": lambda r: with_interval(r["estimate"], r["ci_low"], r["ci_high"], decimals),
        f"Difference to {label} (95% CI)": lambda r: _against(r, control, decimals),
        "p": lambda r: _p_against(r, control),
    }
    if frame["gap"].notna().any():
        shows["Difference minus its true value"] = lambda r: (
            "" if r["arm"] == control else num(r["gap"], decimals, sign=True)
        )
    groups = []
    for strategy, at in frame.groupby("strategy", sort=False):
        rows = by_arm(at)
        own = [rows.get(arm.name) for arm in arms]
        lines = [(title, [show(r) if r else DASH for r in own], "") for title, show in shows.items()]
        groups.append((words[str(strategy)], lines))
    return _groups(arms, heading, groups)


def _against(row: Mapping[str, Any], control: str, decimals: int) -> str:
    """Difference to control with its interval; nothing for control itself."""
    shown = with_interval(row["difference"], row["difference_low"], row["difference_high"], decimals)
    return "" if row["arm"] == control else shown


def _p_against(row: Mapping[str, Any], control: str) -> str:
    return "" if row["arm"] == control else p_value(row["p"])


def median_table(
    frame: pd.DataFrame, arms: Sequence[ArmView], heading: Heading, *, control: str | None, decimals: int = 1
) -> str:
    """Table of `summaries.median_by_visit`."""
    lines: dict[str, Show] = {
        "n": lambda r: f"{int(r['n'])}",
        "Median (Q1, Q3)": lambda r: with_interval(r["median"], r["q1"], r["q3"], decimals),
    }
    if control is not None:
        label = next(arm.label for arm in arms if arm.name == control)
        lines[f"Geometric mean ratio to {label} (95% CI)"] = lambda r: (
            "" if r["arm"] == control else with_interval(r["ratio"], r["ratio_low"], r["ratio_high"], 2)
        )
    return _months(frame, arms, heading, lines)


def latent_table(
    frame: pd.DataFrame,
    arms: Sequence[ArmView],
    heading: Heading,
    *,
    names: Mapping[str, str],
    decimals: Mapping[str, int],
) -> str:
    """Table of `summaries.latent_by_visit`: row groups by month, one line an output (`names`), arms as columns."""
    shown = [key for key in names if (frame["output"] == key).any()]
    wide = {key: frame[frame["output"] == key] for key in shown}
    rows = {key: {(r["month"], r["arm"]): r for r in own.to_dict("records")} for key, own in wide.items()}
    groups = []
    for month in sorted(frame["month"].unique()):
        lines = []
        for k, key in enumerate(shown):
            found = [rows[key].get((month, arm.name)) for arm in arms]
            cells = [_latent_cell(r, decimals[key]) if r else DASH for r in found]
            lines.append(line(names[key], cells, lead=None if k else month_cell(month, len(shown))))
        groups.append(tbody(lines))
    return wrap(arm_heads(arms, heading, ["Month", "Median (Q1, Q3)"]), Markup("").join(groups), heading)


def _latent_cell(row: Mapping[str, Any], decimals: int) -> str:
    """Median and quartiles; "<0.01" where all of them are more than nothing and less than can be shown."""
    if 0 < row["q3"] < 0.5 * 10.0**-decimals:
        return f"<{10.0**-decimals:.{decimals}f}"
    return with_interval(row["median"], row["q1"], row["q3"], decimals)


def parts_table(frame: pd.DataFrame, arms: Sequence[ArmView], heading: Heading, *, names: Mapping[str, str]) -> str:
    """Table of `summaries.contributions`: row groups by month, one line a part and their sum, arms as columns."""
    rows = {(r["part"], r["month"], r["arm"]): r for r in frame.to_dict("records")}
    parts = [part for part in names if (frame["part"] == part).any()]
    groups = []
    for month in sorted(frame["month"].unique()):
        lines = []
        for k, part in enumerate(parts):
            found = [rows.get((part, month, arm.name)) for arm in arms]
            cells = [num(r["mean"]) if r else DASH for r in found]
            lines.append(line(names[part], cells, lead=None if k else month_cell(month, len(parts) + 1)))
        found = [rows.get((parts[0], month, arm.name)) for arm in arms]
        lines.append(line("sum", [num(r["total"]) if r else DASH for r in found], css="sum"))
        groups.append(tbody(lines))
    return wrap(arm_heads(arms, heading, ["Month", "Percentage points"]), Markup("").join(groups), heading)


def endpoint_digits(row: Mapping[str, Any]) -> int:
    """Decimals of an endpoint: percentages of BMD two, those of markers, which scatter more, one; other units three."""
    return 3 if row["unit"] != "%" else 2 if str(row["measure"]).startswith("BMD") else 1


def endpoint_table(frame: pd.DataFrame, arms: Sequence[ArmView], heading: Heading, *, control: str | None) -> str:
    """Table of the endpoints (`summaries.endpoint` with the columns ``parameter_...``): a row group each."""
    groups = []
    for name, at in frame.groupby("endpoint", sort=False):
        rows = by_arm(at)
        own = [rows.get(arm.name) for arm in arms]
        some = next(iter(rows.values()))
        unit = some["unit"]
        digits = endpoint_digits(some)

        def cells(value: str, low: str, high: str, own: Sequence[Any] = own, digits: int = digits) -> list[str]:
            return [with_interval(r[value], r[low], r[high], digits) if r else DASH for r in own]

        lines = [
            ("n", [f"{int(r['n'])}" if r else DASH for r in own], ""),
            (f"{some['statistic']} ({unit}; 95% CI)", cells("estimate", "ci_low", "ci_high"), ""),
        ]
        if control is not None:
            label = next(arm.label for arm in arms if arm.name == control)
            against = cells("difference", "difference_low", "difference_high")
            against = ["reference" if arm.name == control else cell for arm, cell in zip(arms, against, strict=True)]
            points = "percentage points" if unit == "%" else unit
            lines.append((f"Difference to {label} ({points}; 95% CI)", against, ""))
            if any(np.isfinite(r["p"]) for r in rows.values()):
                lines.append(("p", [_p_against(r, control) if r else DASH for r in own], ""))
        open_to = cells("parameter_median", "parameter_low", "parameter_high")
        lines.append(("Same over unknown parameters: median (90% interval)", open_to, "unknown"))
        both = [interval(r["unknown_low"], r["unknown_high"], digits) if r else DASH for r in own]
        lines.append(("Range over these and other structures of the model", both, "unknown"))
        title = Markup('{} <span class="n">({}; {})</span>').format(name, some["role"], some["method"])
        groups.append((title, lines))
    return _groups(arms, heading, groups)


def baseline_table(frame: pd.DataFrame, arms: Sequence[ArmView], heading: Heading) -> str:
    """Table of `baseline.characteristics`."""
    what = {"mean": "mean (SD)", "median": "median (Q1, Q3)", "count": "n (%)"}
    lines = []
    for _, at in frame.groupby("variable", sort=False):
        rows = by_arm(at)
        some = rows["Total"]
        kind, unit = some["kind"], some["unit"]
        largest = max((abs(r["a"]) for r in rows.values() if np.isfinite(r["a"])), default=0.0)
        digits = 3 if largest < 2 and unit != "T-score" else 2 if largest < 10 else 1
        own = [rows[name] for name in (*(arm.name for arm in arms), "Total")]
        cells = [_baseline_cell(row, kind, digits) for row in own]
        words = Markup('{}{}<span class="n">, {}</span>').format(
            some["label"], f" ({unit})" if unit else "", what[kind]
        )
        lines.append(line(words, cells))
    head = arm_heads(arms, heading, ["Characteristic"], total=sum(heading.counts.values()))
    return wrap(head, tbody(lines), heading, css="arms narrow")


def _baseline_cell(row: Mapping[str, Any], kind: str, digits: int) -> str:
    if not row["n"]:
        return DASH
    if kind == "count":
        return f"{int(row['a'])} ({row['b']:.1f}%)"
    if kind == "median":  # breaks before the parenthesis, not within it
        return str(unbroken(with_interval(row["a"], row["b"], row["c"], digits)))
    return f"{num(row['a'], digits)} ({num(row['b'], digits)})"


def disposition_table(frame: pd.DataFrame, arms: Sequence[ArmView], heading: Heading) -> str:
    """Table of `summaries.disposition`."""
    rows = by_arm(frame)
    own = [rows[name] for name in (*(arm.name for arm in arms), "Total")]
    words = {
        "completed": "Completed the trial",
        "dropout": "Dropped out",
        "death": "Died",
        "stopped": "Stopped treatment, stayed in the trial",
        "rescue": "Rescued with another drug",
        "switch": "Switched to another drug",
    }
    lines = [line("Randomised", [f"{r['randomised']}" for r in own])]
    for event in [c for c in frame.columns if c not in ("arm", "randomised", "dropout_month_median", "other")]:
        lines.append(line(words[event], [share(int(r[event]), int(r["randomised"])) for r in own]))
        if event == "dropout":
            lines.append(line("Month of dropping out, median", [num(r["dropout_month_median"], 1) for r in own]))
    if (frame["other"] != 0).any():
        lines.append(line("Neither recorded", [f"{r['other']}" for r in own]))
    return wrap(arm_heads(arms, heading, [""], total=rows["Total"]["randomised"]), tbody(lines), heading)


def peak_table(
    frame: pd.DataFrame, arms: Sequence[ArmView], heading: Heading, *, markers: Mapping[str, str], end: str
) -> str:
    """Table of `durability.peak_after` for several markers (column `marker`); `end` names the moment."""
    groups = []
    for marker, name in markers.items():
        rows = by_arm(frame[frame["marker"] == marker])
        own = [rows[arm.name] for arm in arms]
        peak = [with_interval(r["peak"], r["peak_low"], r["peak_high"], 0) for r in own]
        lines = [
            ("Highest median, % of baseline (95% CI)", peak, ""),
            ("Quartiles of the patients at that visit, %", [interval(r["peak_q1"], r["peak_q3"], 0) for r in own], ""),
            ("Month of that visit", [num(r["peak_month"], 0) for r in own], ""),
            (f"Months after {end}", [num(r["months_after_end"], 0) for r in own], ""),
            ("n", [f"{int(r['n'])}" for r in own], ""),
        ]
        groups.append((name, lines))
    return _groups(arms, heading, groups)


def loss_table(
    frame: pd.DataFrame, arms: Sequence[ArmView], heading: Heading, *, sites: Mapping[str, str], end: str
) -> str:
    """Gain and loss of `durability.retention` for several sites (column `site`); `end` names the moment."""
    groups = []
    for site, name in sites.items():
        rows = by_arm(frame[frame["site"] == site])
        own = [rows[arm.name] for arm in arms]
        lines = [(f"Change at {end}, %", [num(r["gain"]) for r in own], "")]
        for m in (12, 24):
            words = f"Change in the {m} months after it, percentage points"
            lines.append((words, [num(r[f"change_{m}"]) for r in own], ""))
        groups.append((name, lines))
    return _groups(arms, heading, groups)


def _month_or_later(month: float, last: float) -> str:
    return f">{month_text(last)}" if np.isinf(month) else num(month, 1)


def back_words(row: Mapping[str, Any]) -> str:
    """The month at which a mean is back at baseline, with its interval; ">72" where it is not by the last visit."""
    month, last = row["back_month"], row["last_month"]
    if np.isnan(month):
        return DASH
    low, high = row["back_low"], row["back_high"]
    text = _month_or_later(month, last)
    if np.isnan(low) or np.isnan(high) or (np.isinf(low) and np.isinf(high)):
        return text
    return f"{text} ({_month_or_later(low, last)}, {_month_or_later(high, last)})"
