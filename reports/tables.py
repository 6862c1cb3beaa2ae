"""Tables of the report as HTML, each made from the very frame that is exported beside it.

Numbers follow the style of a clinical study report: means get one decimal more than the data, SD and SE two;
medians with quartiles; counts with one-decimal percentages. A value that cannot be estimated is an en dash.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

import numpy as np
import pandas as pd
from markupsafe import Markup, escape

from ranklsim.reports.arms import PREDICTED, ArmView

DASH = "–"


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


def share(count: int, of: int) -> str:
    """``n (x.x%)``."""
    return f"{count} ({100 * count / of:.1f}%)" if of else DASH


def sig(value: float) -> str:
    """A parameter value with up to four significant digits."""
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return DASH
    if np.isinf(value):
        return "none"
    return f"{value:.4g}".replace("-", "−")


def _row(cells: Sequence[object], *, header: object, css: Sequence[str] = ()) -> Markup:
    out = [Markup('<th scope="row">{}</th>').format(header)]
    for k, cell in enumerate(cells):
        name = css[k] if k < len(css) else ""
        out.append(Markup('<td class="{}">{}</td>').format(name, cell) if name else Markup("<td>{}</td>").format(cell))
    return Markup("<tr>{}</tr>").format(Markup("").join(out))


def arm_heads(arms: Sequence[ArmView], counts: Mapping[str, int], *, total: int | None = None) -> Markup:
    """Column headers of arms with N and a swatch of the arm's colour; hypothetical arms say so."""
    cells = []
    for arm in arms:
        mark = Markup('<span class="tag predicted">predicted</span>') if arm.basis == PREDICTED else ""
        cells.append(
            Markup(
                '<th scope="col"><span class="swatch" style="background:{}"></span>{} <span class="n">(N={})</span>{}</th>'
            ).format(arm.color, arm.label, counts.get(arm.name, 0), mark)
        )
    if total is not None:
        cells.append(Markup('<th scope="col">Total <span class="n">(N={})</span></th>').format(total))
    return Markup("").join(cells)


def wrap(head: Markup, body: Markup, caption: Markup | str, label: str, css: str = "arms") -> str:
    """A complete ``<table>`` inside a region that scrolls sideways on a narrow screen."""
    return str(
        Markup(
            '<div class="scroll" role="region" aria-label="{}" tabindex="0"><table class="{}">'
            "<caption>{}</caption><thead>{}</thead>{}</table></div>"
        ).format(label, css, caption, head, body)
    )


def plain(
    rows: Sequence[Mapping[str, object]],
    caption: Markup | str,
    label: str,
    *,
    numeric: Sequence[str] = (),
    group: str | None = None,
) -> str:
    """Rows as they come; keys of the first are the headers, the first column heads its row.

    Cells are text or Markup; columns in `numeric` are set flush right, others may wrap. Rows that follow each other
    with the same value of `group` stand under it as a heading.
    """
    heads = [head for head in rows[0] if head != group]
    head_row = Markup("<tr>{}</tr>").format(
        Markup("").join(
            Markup('<th scope="col"{}>{}</th>').format(Markup(' class="num"') if head in numeric else "", head)
            for head in heads
        )
    )
    css = ["num" if column in numeric else "text" for column in heads[1:]]
    bodies: list[Markup] = []
    for title, members in groupby(rows, key=lambda row: "" if group is None else str(row[group])):
        lines = [_row([row[c] for c in heads[1:]], header=row[heads[0]], css=css) for row in members]
        if group is not None:
            lines.insert(0, group_row(title, len(heads)))
        bodies.append(Markup("<tbody>{}</tbody>").format(Markup("").join(lines)))
    return wrap(head_row, Markup("").join(bodies), caption, label, css="plain")


def group_row(title: object, columns: int) -> Markup:
    """A heading across a row group."""
    return Markup('<tr class="group"><th scope="rowgroup" colspan="{}">{}</th></tr>').format(columns, title)


def _by_month(
    frame: pd.DataFrame,
    arms: Sequence[ArmView],
    lines: Mapping[str, object],
    heads: Markup,
    caption: Markup | str,
    label: str,
) -> str:
    """Row groups by month, `lines` (label -> function of a row, NaN-safe) within, arms as columns."""
    head = Markup('<tr><th scope="col">Month</th><th scope="col"></th>{}</tr>').format(heads)
    groups = []
    for month, at in frame.groupby("month", sort=True):
        by_arm = {row["arm"]: row for row in at.to_dict("records")}
        rows = []
        for k, (words, show) in enumerate(lines.items()):
            cells = [show(by_arm[arm.name]) if arm.name in by_arm else DASH for arm in arms]  # type: ignore[operator]
            if k and all(cell in (DASH, "") for cell in cells):
                continue
            start = Markup("")
            if k == 0:
                start = Markup('<th scope="rowgroup" rowspan="@@">{}</th>').format(f"{month:g}")
            line = Markup('<th scope="row" class="stat">{}</th>').format(words)
            cells_html = Markup("").join(Markup("<td>{}</td>").format(cell) for cell in cells)
            rows.append(start + line + cells_html)
        group = Markup("").join(Markup("<tr>{}</tr>").format(row) for row in rows)
        groups.append(Markup("<tbody>{}</tbody>").format(Markup(str(group).replace("@@", str(len(rows))))))
    return wrap(head, Markup("").join(groups), caption, label)


def mean_table(
    frame: pd.DataFrame, arms: Sequence[ArmView], counts: Mapping[str, int], control: str | None, caption: Markup | str, label: str,
    *, decimals: int = 2,
) -> str:  # fmt: skip
    """Table of `summaries.mean_by_visit`."""
    names = {arm.name: arm.label for arm in arms}

    def difference(row: Mapping[str, float]) -> str:
        if row["arm"] == control:
            return ""
        return with_interval(row["difference"], row["difference_low"], row["difference_high"], decimals)

    lines: dict[str, object] = {
        "n": lambda r: f"{int(r['n'])}",
        "Mean (SD)": lambda r: f"{num(r['mean'], decimals)} ({num(r['sd'], decimals)})" if r["n"] else DASH,
        "95% CI": lambda r: interval(r["ci_low"], r["ci_high"], decimals),
    }
    if control is not None:
        lines[f"Difference to {names[control]} (95% CI)"] = difference
    return _by_month(frame, arms, lines, arm_heads(arms, counts), caption, label)


def median_table(
    frame: pd.DataFrame, arms: Sequence[ArmView], counts: Mapping[str, int], control: str | None, caption: Markup | str, label: str,
    *, decimals: int = 1,
) -> str:  # fmt: skip
    """Table of `summaries.median_by_visit`."""
    names = {arm.name: arm.label for arm in arms}

    def ratio(row: Mapping[str, float]) -> str:
        return "" if row["arm"] == control else with_interval(row["ratio"], row["ratio_low"], row["ratio_high"], 2)

    lines: dict[str, object] = {
        "n": lambda r: f"{int(r['n'])}",
        "Median (Q1, Q3)": lambda r: with_interval(r["median"], r["q1"], r["q3"], decimals),
    }
    if control is not None:
        lines[f"Geometric mean ratio to {names[control]} (95% CI)"] = ratio
    return _by_month(frame, arms, lines, arm_heads(arms, counts), caption, label)


def endpoint_table(
    frame: pd.DataFrame, arms: Sequence[ArmView], counts: Mapping[str, int], control: str | None, caption: Markup | str, label: str
) -> str:  # fmt: skip
    """Table of `summaries.endpoints`: one row group an endpoint, arms as columns."""
    names = {arm.name: arm.label for arm in arms}
    head = Markup('<tr><th scope="col">Endpoint</th>{}</tr>').format(arm_heads(arms, counts))
    groups = []
    for endpoint, at in frame.groupby("endpoint", sort=False):
        rows = {row["arm"]: row for row in at.to_dict("records")}
        any_row = next(iter(rows.values()))
        digits = 3 if any_row["unit"] not in ("%",) else 2
        title = Markup('{} <span class="n">({}; {})</span>')
        lines = [
            ("n", [f"{int(rows[a.name]['n'])}" if a.name in rows else DASH for a in arms]),
            (
                f"{any_row['statistic']} ({any_row['unit']}; 95% CI)",
                [
                    with_interval(r["estimate"], r["ci_low"], r["ci_high"], digits) if (r := rows.get(a.name)) else DASH
                    for a in arms
                ],
            ),
        ]
        if control is not None:
            cells = []
            for arm in arms:
                r = rows.get(arm.name)
                if arm.name == control:
                    cells.append("reference")
                elif r is None:
                    cells.append(DASH)
                else:
                    cells.append(with_interval(r["difference"], r["difference_low"], r["difference_high"], digits))
            points = "percentage points" if any_row["unit"] == "%" else any_row["unit"]
            lines.append((f"Difference to {names[control]} ({points}; 95% CI)", cells))
        if np.isfinite([r.get("parameter_low", np.nan) for r in rows.values()]).any():
            cells = [
                with_interval(r["parameter_median"], r["parameter_low"], r["parameter_high"], digits)
                if (r := rows.get(a.name)) is not None
                else DASH
                for a in arms
            ]
            words = "Same over unknown parameters: median (90% interval)"
            lines.append((words, cells))
        body = Markup("").join(
            Markup('<tr{}><th scope="row" class="stat">{}</th>{}</tr>').format(
                Markup(' class="unknown"') if words.startswith("Same over") else "",
                words,
                Markup("").join(Markup("<td>{}</td>").format(c) for c in cells),
            )
            for words, cells in lines
        )
        heading = group_row(title.format(endpoint, any_row["role"], any_row["method"]), len(arms) + 1)
        groups.append(Markup("<tbody>{}{}</tbody>").format(heading, body))
    return wrap(head, Markup("").join(groups), caption, label)


def baseline_table(
    frame: pd.DataFrame, arms: Sequence[ArmView], counts: Mapping[str, int], caption: Markup | str, label: str
) -> str:
    """Table of `summaries.baseline`."""
    head = Markup('<tr><th scope="col">Characteristic</th>{}</tr>').format(
        arm_heads(arms, counts, total=sum(counts.values()))
    )
    rows = []
    for _, at in frame.groupby("variable", sort=False):
        by_arm = {row["arm"]: row for row in at.to_dict("records")}
        first = next(iter(by_arm.values()))
        kind = first["kind"]
        finest = max(abs(row["a"]) for row in by_arm.values() if np.isfinite(row["a"])) if len(by_arm) else 0
        digits = 3 if finest < 2 and first["unit"] not in ("T-score", "") else 2 if finest < 10 else 1
        cells = []
        for name in [*[arm.name for arm in arms], "Total"]:
            row = by_arm[name]
            if kind == "mean":
                cells.append(f"{num(row['a'], digits)} ({num(row['b'], digits)})" if row["n"] else DASH)
            elif kind == "median":
                cells.append(with_interval(row["a"], row["b"], row["c"], digits))
            else:
                cells.append(f"{int(row['a'])} ({row['b']:.1f}%)" if row["n"] else DASH)
        unit = f" ({first['unit']})" if first["unit"] and first["unit"] != "1" else ""
        what = {"mean": "mean (SD)", "median": "median (Q1, Q3)", "count": "n (%)"}[kind]
        header = Markup('{}{}<span class="n">, {}</span>').format(first["label"], unit, what)
        rows.append(_row(cells, header=header))
    return wrap(head, Markup("<tbody>{}</tbody>").format(Markup("").join(rows)), caption, label)


def disposition_table(frame: pd.DataFrame, arms: Sequence[ArmView], caption: Markup | str, label: str) -> str:
    """Table of `summaries.disposition`."""
    rows = frame.set_index("arm")
    counts = {str(name): int(n) for name, n in rows["randomised"].items()}
    head = Markup('<tr><th scope="col"></th>{}</tr>').format(arm_heads(arms, counts, total=counts["Total"]))
    names = [*[arm.name for arm in arms], "Total"]
    skip = ("randomised", "dropout_month_median", "other")
    words = {"completed": "Completed the trial", "dropout": "Dropped out"}
    lines = [_row([f"{counts[name]}" for name in names], header="Randomised")]
    for event in [c for c in frame.columns if c != "arm" and c not in skip]:
        shares = [
            f"{int(rows.loc[n, event])} ({100 * rows.loc[n, event] / counts[n]:.1f}%)" if counts[n] else DASH
            for n in names
        ]
        lines.append(_row(shares, header=words.get(event, f"{event.capitalize()} (patients with at least one)")))
        if event == "dropout":
            months = [num(rows.loc[n, "dropout_month_median"], 1) for n in names]
            lines.append(_row(months, header="Month of dropping out, median"))
    if (rows["other"] != 0).any():
        lines.append(_row([f"{int(rows.loc[n, 'other'])}" for n in names], header="Neither recorded"))
    return wrap(head, Markup("<tbody>{}</tbody>").format(Markup("").join(lines)), caption, label)


def retention_table(
    frame: pd.DataFrame, arms: Sequence[ArmView], counts: Mapping[str, int], sites: Mapping[str, str], caption: Markup | str, label: str,
    *, end: str = "the end of treatment",
) -> str:  # fmt: skip
    """Table of `summaries.retention` for several sites (column `site`), arms as columns; `end` names the moment."""
    head = Markup('<tr><th scope="col"></th>{}</tr>').format(arm_heads(arms, counts))
    groups = []
    for site, name in sites.items():
        rows = {row["arm"]: row for row in frame[frame["site"] == site].to_dict("records")}
        own = [rows[arm.name] for arm in arms]
        lines: list[tuple[str, list[str]]] = [
            (f"Change at {end}, % (95% CI)", [with_interval(r["gain"], r["gain_low"], r["gain_high"]) for r in own])
        ]
        for m in (12, 24):
            lines.append(
                (f"Change in the {m} months after it, percentage points", [num(r[f"change_{m}"], 2) for r in own])
            )
        for m in (12, 24):
            cells = [with_interval(r[f"kept_{m}"], r[f"kept_{m}_low"], r[f"kept_{m}_high"], 0) for r in own]
            lines.append((f"Share of the gain kept {m} months after it, % (95% CI)", cells))
        lines.append(("Month when mean BMD is back at baseline (95% CI)", [back_words(r) for r in own]))
        lines.append((f"Months from {end} until then", [_since_end(r) for r in own]))
        lines = [(words, cells) for words, cells in lines if any(cell != DASH for cell in cells)]
        body = Markup("").join(
            Markup('<tr><th scope="row" class="stat">{}</th>{}</tr>').format(
                words, Markup("").join(Markup("<td>{}</td>").format(c) for c in cells)
            )
            for words, cells in lines
        )
        title = group_row(name, len(arms) + 1)
        groups.append(Markup("<tbody>{}{}</tbody>").format(title, body))
    return wrap(head, Markup("").join(groups), caption, label)


def _month_or_later(month: float, last: float) -> str:
    return f">{last:g}" if np.isinf(month) else num(month, 1)


def back_words(row: Mapping[str, float]) -> str:
    """The month at which a mean is back at baseline, with its interval; ">72" where it is not by the last visit."""
    month, last = row["back_month"], row["last_month"]
    if np.isnan(month):
        return DASH
    low, high = row["back_low"], row["back_high"]
    text = _month_or_later(month, last)
    if np.isnan(low) or np.isnan(high) or (np.isinf(low) and np.isinf(high)):
        return text
    return f"{text} ({_month_or_later(low, last)}, {_month_or_later(high, last)})"


def _since_end(row: Mapping[str, float]) -> str:
    month, end = row["back_month"], row["end_month"]
    if np.isnan(month):
        return DASH
    return f">{row['last_month'] - end:g}" if np.isinf(month) else num(month - end, 1)


def peak_table(
    frame: pd.DataFrame, arms: Sequence[ArmView], counts: Mapping[str, int], markers: Mapping[str, str], caption: Markup | str, label: str,
    *, end: str = "the end of treatment",
) -> str:  # fmt: skip
    """Table of `summaries.peak_after` for several markers (column `marker`), arms as columns; `end` names the moment."""
    head = Markup('<tr><th scope="col"></th>{}</tr>').format(arm_heads(arms, counts))
    groups = []
    for marker, name in markers.items():
        rows = {row["arm"]: row for row in frame[frame["marker"] == marker].to_dict("records")}
        own = [rows[arm.name] for arm in arms]
        lines = [
            (
                "Highest median, % of baseline (95% CI)",
                [with_interval(r["peak"], r["peak_low"], r["peak_high"], 0) for r in own],
            ),
            ("Quartiles of the patients at that visit, %", [interval(r["peak_q1"], r["peak_q3"], 0) for r in own]),
            ("Month of that visit", [num(r["peak_month"], 0) for r in own]),
            (f"Months after {end}", [num(r["months_after_end"], 0) for r in own]),
            ("n", [f"{int(r['n'])}" for r in own]),
        ]
        body = Markup("").join(
            Markup('<tr><th scope="row" class="stat">{}</th>{}</tr>').format(
                words, Markup("").join(Markup("<td>{}</td>").format(c) for c in cells)
            )
            for words, cells in lines
        )
        title = group_row(name, len(arms) + 1)
        groups.append(Markup("<tbody>{}{}</tbody>").format(title, body))
    return wrap(head, Markup("").join(groups), caption, label)


def latent_table(
    frame: pd.DataFrame, arms: Sequence[ArmView], counts: Mapping[str, int], names: Mapping[str, str], caption: Markup | str, label: str,
    *, decimals: int = 1,
) -> str:  # fmt: skip
    """Table of `summaries.latent_by_visit`: row groups by month, one line an output (`names`), arms as columns."""
    lookup = {(row["output"], row["month"], row["arm"]): row for row in frame.to_dict("records")}
    head = Markup('<tr><th scope="col">Month</th><th scope="col">Median (Q1, Q3)</th>{}</tr>').format(
        arm_heads(arms, counts)
    )
    shown = [key for key in names if (frame["output"] == key).any()]
    groups = []
    for month in sorted(frame["month"].unique()):
        rows = []
        for k, key in enumerate(shown):
            start = Markup("")
            if k == 0:
                start = Markup('<th scope="rowgroup" rowspan="{}">{}</th>').format(len(shown), f"{month:g}")
            cells = []
            for arm in arms:
                row = lookup.get((key, month, arm.name))
                cells.append(with_interval(row["median"], row["q1"], row["q3"], decimals) if row else DASH)
            cells_html = Markup("").join(Markup("<td>{}</td>").format(c) for c in cells)
            rows.append(
                Markup('<tr>{}<th scope="row" class="stat">{}</th>{}</tr>').format(start, names[key], cells_html)
            )
        groups.append(Markup("<tbody>{}</tbody>").format(Markup("").join(rows)))
    return wrap(head, Markup("").join(groups), caption, label)


def parts_table(
    frame: pd.DataFrame, arms: Sequence[ArmView], counts: Mapping[str, int], names: Mapping[str, str], caption: Markup | str, label: str
) -> str:  # fmt: skip
    """Table of `summaries.contributions`: row groups by month, one line a part and their sum, arms as columns."""
    lookup = {(row["part"], row["month"], row["arm"]): row for row in frame.to_dict("records")}
    head = Markup('<tr><th scope="col">Month</th><th scope="col">Percentage points</th>{}</tr>').format(
        arm_heads(arms, counts)
    )
    parts = [p for p in names if (frame["part"] == p).any()]
    groups = []
    for month in sorted(frame["month"].unique()):
        rows = []
        for k, part in enumerate([*parts, "total"]):
            start = Markup("")
            if k == 0:
                start = Markup('<th scope="rowgroup" rowspan="{}">{}</th>').format(len(parts) + 1, f"{month:g}")
            cells = []
            for arm in arms:
                row = lookup.get((parts[0] if part == "total" else part, month, arm.name))
                cells.append(num(row["total" if part == "total" else "mean"], 2) if row else DASH)
            words = "sum" if part == "total" else names[part]
            cells_html = Markup("").join(Markup("<td>{}</td>").format(c) for c in cells)
            css = Markup(' class="sum"') if part == "total" else ""
            rows.append(
                Markup('<tr{}>{}<th scope="row" class="stat">{}</th>{}</tr>').format(css, start, words, cells_html)
            )
        groups.append(Markup("<tbody>{}</tbody>").format(Markup("").join(rows)))
    return wrap(head, Markup("").join(groups), caption, label)


def doi_link(source: object, doi: object) -> Markup | str:
    """A source with its DOI, PMID or PMCID as a link, where it has one."""
    words = "" if source is None or (isinstance(source, float) and np.isnan(source)) else str(source)
    mark = "" if doi is None or (isinstance(doi, float) and np.isnan(doi)) else str(doi).strip()
    if not mark:
        return words
    if mark.startswith("10."):
        return Markup('{} <a href="https://doi.org/{}">doi:{}</a>').format(words, mark, mark)
    if mark.upper().startswith("PMID"):
        digits = "".join(c for c in mark if c.isdigit())
        return Markup('{} <a href="https://pubmed.ncbi.nlm.nih.gov/{}/">{}</a>').format(words, digits, mark)
    return Markup("{} {}").format(words, escape(mark))
