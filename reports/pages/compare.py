"""Several finished runs side by side: what differs between them, their endpoints, what happens after the last dose.

Each run is seen as its own report sees it (`csr.context.Context`). Patient k is the same person in every
run with the same seed and population, whatever the design, so that runs of one seed are compared patient by patient
(common random numbers); others as independent samples.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tomlkit
from matplotlib.figure import Figure
from scipy import stats

from ranklsim import __version__
from ranklsim.cohorts.endpoints import Change
from ranklsim.cohorts.running import places
from ranklsim.cohorts.running.storage import open_run
from ranklsim.cohorts.statistics import durability, summaries
from ranklsim.cohorts.words import MEASURES, first_upper, listed, month_text
from ranklsim.pkpd import arguments
from ranklsim.pkpd.errors import BadInput
from ranklsim.reports.csr.context import Context
from ranklsim.reports.figures import compare as figures_compare
from ranklsim.reports.figures.drawing import svg_text
from ranklsim.reports.layout import tables, wording
from ranklsim.reports.layout.cells import Record, code
from ranklsim.reports.layout.exhibit import Exhibit, Section
from ranklsim.reports.layout.folders import check_folder, new_folder
from ranklsim.reports.layout.page import Page, table

MARK = "ranklsim-compare"
COVARIATES = ("age", "weight", "T_LS", "T_TH", "eGFR")
"""Covariates that must agree for patient k of two runs to be the same person."""
SAME = 6
"""Digits after the point to which an estimate is the same, whatever it is compared with."""


@dataclass(frozen=True)
class Seen:
    """A run with the name that it has in the comparison."""

    name: str
    folder: Path
    context: Context

    @property
    def labels(self) -> Mapping[str, str]:
        """Arm to its label."""
        return {arm.name: arm.label for arm in self.context.arms}


@arguments.checked(
    folders=arguments.several(arguments.path, '["runs/one", "runs/two"]'),
    out=arguments.path,
    force=arguments.flag,
    command=arguments.COMMAND,
)
def write_comparison(
    folders: Sequence[str | os.PathLike[str]], out: str | os.PathLike[str], *, force: bool = False, command: str = ""
) -> Path:
    """Set finished runs side by side in one page.

    Parameters
    ----------
    folders : sequence of path or URL
        Two runs or more; the first is the one that others are compared with.
    out : path
        Folder to write; an earlier comparison there is replaced with `force`.
    force : bool
    command : str
        What was typed, for the page.

    Returns
    -------
    Path
        ``index.html``, with ``tables/`` and ``figures/`` beside it.

    Raises
    ------
    BadInput
        If fewer than two runs are given, one is given twice, can't be read, or the folder holds something.
    """
    if len(folders) < 2:
        raise BadInput("give two runs or more to compare.")
    found = [places.place(folder) for folder in folders]
    if len({str(place.resolve() if places.is_local(place) else place) for place in found}) < len(found):
        raise BadInput("a run is given twice; give each once.")
    target = Path(out)
    check_folder(target, f'content="{MARK}"', {"index.html"}, force)
    runs = [Seen(name, place, Context(open_run(place))) for name, place in zip(run_names(found), found, strict=True)]
    page, sections = compose(runs, command)
    with new_folder(target) as folder:
        page.write(folder, sections)
    return target / "index.html"


def run_names(runs: Sequence[object]) -> list[str]:
    """A name for each run: its folder's, with as many folders above it as tell them apart.

    Parameters
    ----------
    runs : sequence of path or URL
        Run folders.
    """
    depth = 1
    parts = [[part for part in str(place).split("/") if part not in ("", ".")] for place in runs]
    while True:
        names = ["/".join(part[-depth:]) for part in parts]
        if len(set(names)) == len(names) or depth > max(map(len, parts)):
            return names
        depth += 1


def compose(runs: Sequence[Seen], command: str = "") -> tuple[Page, list[Section]]:
    """The page of the runs and its sections.

    Parameters
    ----------
    runs : sequence of Seen
        Two runs or more; the first is the one that others are compared with.
    command : str
        What was typed, for the page.
    """
    first = runs[0]
    said = ", ".join(run.name for run in runs)
    page = Page(
        MARK,
        "Runs side by side",
        f"{len(runs)} simulated trials side by side: {said}",
        f"ranklsim {__version__}{'; ' + command if command else ''}",
        "What differs",
        f"Simulated data throughout: no patient was treated. ranklsim {__version__}.",
    )
    differing = differences(runs)
    sections = [_inputs(runs, differing), _endpoints(runs), _after(runs)]
    sections += [_between(first, run, place) for place, run in enumerate(runs[1:], 4)]
    sections.append(_differing(runs, differing, f"{len(runs) + 3}.1"))
    return page, [section for section in sections if section is not None]


# -- what differs ------------------------------------------------------------------------------------------------------


def _inputs(runs: Sequence[Seen], differing: pd.DataFrame) -> Section:
    """Runs with seed, size and versions, and in a sentence what differs between them."""
    section = Section("", "The runs", "inputs")
    facts = pd.DataFrame(
        [
            {
                "run": run.name,
                "title": run.context.trial.title,
                "patients": run.context.n,
                "arms": len(run.context.arms),
                "months": run.context.trial.months,
                "seed": run.context.seed,
                "population": run.context.trial.population.name,
                "parameters": str(run.context.data.manifest["parameters_hash"])[:10],
                "ranklsim": run.context.data.manifest["ranklsim"],
            }
            for run in runs
        ]
    )
    section.exhibits.append(
        table(
            "1.1",
            "Runs",
            facts,
            lambda row: {
                "ranklsim" if key == "ranklsim" else first_upper(key): (f"{value:g}" if key == "months" else str(value))
                for key, value in row.items()
            },
            "Folders as given on the command line; a run's own report says more.",
            numeric=("Patients", "Arms", "Months", "Seed"),
        )
    )
    if differing.empty:
        section.key.append("Trial files, parameters and agents are the same.")
        return section
    counts = differing.drop_duplicates(["what", "key"])["what"].value_counts(sort=False)
    said = listed([f"{n} of {what}" for what, n in counts.items()])
    section.key.append(f"What differs between the runs: {said}; the last section lists it.")
    section.key += [_same_people_words(runs[0], run) for run in runs[1:]]
    return section


def _differing(runs: Sequence[Seen], differing: pd.DataFrame, number: str) -> Section | None:
    """The lines of trial files, parameters and agents that differ."""
    if differing.empty:
        return None
    section = Section("", "What differs between the runs", "differences")
    section.exhibits.append(
        table(
            number,
            "What goes into the runs and is not the same in all",
            differing,
            lambda row: {"Key": code(row["key"]), **{run.name: row[run.name] for run in runs}, "In": row["what"]},
            "Keys of the trial file as it was read, an arm, endpoint or estimand that not all runs have as a whole; "
            "parameters by symbol; agents and population by the hash of their file. An empty cell: the run has no such "
            "key.",
            group="In",
        )
    )
    return section


def differences(runs: Sequence[Seen]) -> pd.DataFrame:
    """Inputs of the runs that are not the same in all.

    Parameters
    ----------
    runs : sequence of Seen
        Two runs or more.

    Returns
    -------
    DataFrame
        Columns `what` ("the trial file", "the parameters", "agents and population"), `key`, and each run's name, with
        the value as text ("" where it has none).
    """
    sources: list[tuple[str, list[dict[str, str]]]] = [
        ("the trial file", _whole([_flat(tomlkit.parse(run.context.trial.source_text).unwrap()) for run in runs])),
        (
            "the parameters",
            [
                {
                    str(row.symbol): f"{row.value:.6g} {row.unit}".removesuffix(" 1")
                    for row in run.context.parameters.itertuples()
                }
                for run in runs
            ],
        ),
        (
            "agents and population",
            [
                {
                    name: str(digest)[:10]
                    for name, digest in run.context.data.manifest["inputs"].items()
                    if name.startswith(("agents/", "population/"))
                }
                for run in runs
            ],
        ),
    ]
    settings = ("seed", "patients", "layers", "ranklsim")
    sources.insert(
        0, ("the command", [_flat({key: run.context.data.manifest[key] for key in settings}) for run in runs])
    )
    rows = []
    for what, found in sources:
        for key in dict.fromkeys(key for own in found for key in own):
            values = [own.get(key, "") for own in found]
            if len(set(values)) > 1:
                rows.append({"what": what, "key": key} | dict(zip((run.name for run in runs), values, strict=True)))
    return pd.DataFrame(rows, columns=["what", "key", *(run.name for run in runs)])


def _flat(value: Any, prefix: str = "") -> dict[str, str]:
    """Leaves of nested tables by path; an entry of a list of tables by its name, where it has one."""
    out: dict[str, str] = {}
    if isinstance(value, Mapping):
        for key, inner in value.items():
            out |= _flat(inner, f"{prefix}.{key}".lstrip("."))
    elif isinstance(value, list) and value and all(isinstance(inner, Mapping) for inner in value):
        for number, inner in enumerate(value, 1):
            out |= _flat(inner, f"{prefix}[{inner.get('name', number)}]")
    elif isinstance(value, list):
        out[prefix] = "; ".join(str(inner) for inner in value)
    else:
        out[prefix] = str(value)
    return out


_ENTRY = re.compile(r"[^.\[]+\[[^\]]*\]")


def _whole(files: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """The same, with one key for each entry of a list of tables (an arm, an endpoint) that some file lacks."""
    entries = [{found[0] for key in own if (found := _ENTRY.match(key))} for own in files]
    partial = {entry for own in entries for entry in own if not all(entry in other for other in entries)}
    out = []
    for own in files:
        kept: dict[str, str] = {}
        for key, value in own.items():
            entry = _ENTRY.match(key)
            if entry is not None and entry[0] in partial:
                kept[entry[0]] = "yes"
            else:
                kept[key] = value
        out.append(kept)
    return out


def same_people(one: Seen, other: Seen) -> bool:
    """Whether patient k is the same person in both runs.

    Parameters
    ----------
    one, other : Seen
        Two runs.
    """
    key = ["patient", *COVARIATES]
    a, b = (run.context.data.patients[key].set_index("patient") for run in (one, other))
    both = a.index.intersection(b.index)
    return len(both) > 0 and bool((a.loc[both] == b.loc[both]).all(axis=None))


def _same_people_words(one: Seen, other: Seen) -> str:
    if same_people(one, other):
        return (
            f"Patient k of {one.name} and of {other.name} is the same person: arms of the same name are compared "
            "patient by patient."
        )
    return f"{one.name} and {other.name} have different patients: their arms are compared as independent samples."


# -- results -----------------------------------------------------------------------------------------------------------


def _endpoint_key(row: Mapping[str, Any]) -> str:
    """Name of an endpoint from its measure and months, so that its names in the runs need not agree."""
    what = MEASURES.get(str(row["measure"]), str(row["measure"]))
    return f"{first_upper(what)}, change {wording.span_words(row)} ({row['unit']})"


def endpoints(runs: Sequence[Seen]) -> pd.DataFrame:
    """Endpoints of all runs: `run`, `what` (`_endpoint_key`), `label` of the arm and of the one that it is `against`.

    With the columns of each report.

    Parameters
    ----------
    runs : sequence of Seen
        Two runs or more.
    """
    parts = []
    for run in runs:
        own = run.context.endpoints
        if own.empty:
            continue
        parts.append(
            own.assign(
                run=run.name,
                label=own["arm"].map(run.labels),
                against=[
                    run.labels.get(run.context.reference(run.context.trial.endpoint(name)) or "", "")
                    for name in own["endpoint"]
                ],
                what=[_endpoint_key(row) for row in own.to_dict("records")],
            )
        )
    frame = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["run", "what", "label", "against"])
    order = {what: k for k, what in enumerate(dict.fromkeys(frame["what"]))}
    return frame.sort_values("what", key=lambda c: c.map(order), kind="stable", ignore_index=True)


def _endpoints(runs: Sequence[Seen]) -> Section | None:
    frame = endpoints(runs)
    if frame.empty:
        return None
    section = Section("", "Endpoints of every run", "endpoints")
    columns = ["what", "run", "label", "arm", "measure", "n", "estimate", "ci_low", "ci_high", "against", "difference",
               "difference_low", "difference_high", "parameter_median", "parameter_low", "parameter_high",
               "unknown_low", "unknown_high", "unit", "method"]  # fmt: skip
    # Endpoints that differ in the comparator alone have the same estimate in an arm, which is shown once.
    again = frame[["what", "run", "arm", "n", "estimate", "ci_low", "ci_high", "method"]].round(SAME).duplicated()
    once = frame.loc[~again, columns]
    frame = frame.loc[frame["difference"].notna() | ~again, columns].reset_index(drop=True)
    colors = {(run.name, arm.name): (arm.color, arm.marker) for run in runs for arm in run.context.arms}

    def cells(row: dict[str, Any]) -> Record:
        def shown(value: str, low: str, high: str) -> str:
            return tables.with_interval(row[value], row[low], row[high], tables.endpoint_digits(row))

        return {
            "Endpoint": row["what"],
            "Run": row["run"],
            "Arm": row["label"],
            "n": str(int(row["n"])),
            "Estimate (95% CI)": shown("estimate", "ci_low", "ci_high"),
            "Difference (95% CI)": shown("difference", "difference_low", "difference_high"),
            "To": row["against"] if np.isfinite(row["difference"]) else tables.DASH,
            "Over unknown parameters: median (90% interval)": shown(
                "parameter_median", "parameter_low", "parameter_high"
            ),
            "Method": row["method"],
        }

    section.exhibits = [
        *(
            _figure(
                f"2.1.{k}",
                f"{what}: estimate and 95% CI",
                own.reset_index(drop=True),
                "Bars: 95% CI over patients, each run by its own protocol's analysis. Colour and marker: the agent.",
                figures_compare.forest,
                colors=colors,
            )
            for k, (what, own) in enumerate(once.groupby("what", sort=False), 1)
        ),
        table(
            "2.1",
            "Endpoints of every run",
            frame,
            cells,
            "Each run's own analysis. 95% CI: sampling of patients. Over unknown parameters: the same difference (or "
            "the change, where there is none) of the typical patient.",
            numeric=("n",),
            group="Endpoint",
        ),
        *_courses(runs, colors),
    ]
    return section


def _courses(runs: Sequence[Seen], colors: Mapping[tuple[str, str], tuple[str, str]]) -> list[Exhibit]:
    """Lumbar spine BMD and CTX of every arm, a panel a run."""
    spine, ctx = [], []
    for run in runs:
        change = summaries.change_from(run.context.data.seen("BMD_LS"), "BMD_LS")
        if len(change):
            mean = summaries.mean_by_visit(change, run.context.names, None)
            spine.append(mean.assign(run=run.name, label=mean["arm"].map(run.labels), value=mean["mean"]))
        medians = run.context.marker_medians("CTX")
        if medians is not None:
            ctx.append(medians.assign(run=run.name, label=medians["arm"].map(run.labels), value=medians["median"],
                                      ci_low=medians["q1"], ci_high=medians["q3"]))  # fmt: skip
    columns = ["run", "arm", "label", "month", "n", "value", "ci_low", "ci_high"]
    out = []
    for number, parts, title, ylabel, note, reference in (
        ("2.2", spine, "Mean change in lumbar spine BMD from baseline", "Change (%)", "Bars: 95% CI of the mean.", 0.0),
        ("2.3", ctx, "Serum CTX, percent of baseline", "% of baseline", "Medians; bars: quartiles of patients.", 100.0),
    ):
        if parts:
            frame = pd.concat(parts, ignore_index=True)[columns]
            out.append(
                _figure(
                    number, title, frame, note, figures_compare.courses, colors=colors, ylabel=ylabel,
                    reference=reference,
                )
            )  # fmt: skip
    return out


def _figure(
    number: str, title: str, frame: pd.DataFrame, note: str, draw: Callable[..., Figure], **options: object
) -> Exhibit:
    shell = Exhibit("Figure", number, title, frame, "", "")
    alt = f"{title}. {note} Numbers: {shell.stem}.csv"
    return Exhibit("Figure", number, title, frame, svg_text(draw(frame, **options), shell.anchor, alt), note, alt=alt)


def after_treatment(runs: Sequence[Seen]) -> pd.DataFrame:
    """Durability and rebound of every arm whose treatment ends before its trial.

    Parameters
    ----------
    runs : sequence of Seen
        Two runs or more.

    Returns
    -------
    DataFrame
        Columns `run`, `arm`, `label`, `end_month`, those of `durability.retention` of the lumbar spine, and `peak`,
        `peak_low`, `peak_high`, `peak_month` of CTX.
    """
    parts = []
    for run in runs:
        c = run.context
        change = summaries.change_from(c.data.seen("BMD_LS"), "BMD_LS")
        if not c.ends or change.empty:
            continue
        frame = durability.retention(change, c.ends, seed=c.seed)
        medians = c.marker_medians("CTX")
        if medians is not None:
            peak = durability.peak_after(medians, c.ends).set_index("arm")
            for column in ("peak", "peak_low", "peak_high", "peak_month"):
                frame[column] = frame["arm"].map(peak[column])
        frame.insert(0, "label", frame["arm"].map(run.labels))
        frame.insert(0, "run", run.name)
        parts.append(frame)
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _after(runs: Sequence[Seen]) -> Section | None:
    frame = after_treatment(runs)
    if frame.empty:
        return None
    section = Section("", "After the last dose: durability and rebound", "after")

    def cells(row: dict[str, Any]) -> Record:
        def shown(name: str, decimals: int) -> str:
            value, low, high = (row.get(column, np.nan) for column in (name, f"{name}_low", f"{name}_high"))
            return tables.with_interval(value, low, high, decimals)

        return {
            "Run": row["run"],
            "Arm": row["label"],
            "Treatment ends, month": month_text(row["end_month"]),
            "Gain at the end, % (95% CI)": shown("gain", 2),
            **{f"Kept {m} months later, % (95% CI)": shown(f"kept_{m}", 0) for m in (12, 24)},
            "Back at baseline, month (95% CI)": tables.back_words(row),
            "Highest median CTX, % of baseline (95% CI)": shown("peak", 0),
            "Its month": tables.num(row.get("peak_month", np.nan), 0),
        }

    section.exhibits.append(
        table(
            "3.1",
            "Lumbar spine BMD kept, and highest CTX, after the last dose",
            frame,
            cells,
            "As in each run's report (Tables 14.2.4.1 and 14.2.12.1): percentile bootstrap over patients for BMD, "
            "order-statistic interval of the median for CTX. “>”: not by the last visit.",
            numeric=("Treatment ends, month", "Its month"),
        )
    )
    return section


# -- differences between runs ------------------------------------------------------------------------------------------


def between(first: Seen, other: Seen) -> pd.DataFrame:
    """Arms of the same name in two runs: how much the same endpoint differs.

    Parameters
    ----------
    first, other : Seen

    Returns
    -------
    DataFrame
        Columns `what`, `arm`, `label`, `first`, `other` (means of the patients used), `n_first`, `n_other`,
        `difference` (other minus first), `low`, `high` (95%), `method` ("same patients": paired t; "independent":
        Welch [1]_). A pair needs both values in both runs, and the same arm.

    References
    ----------
    .. [1] Welch BL. The generalization of 'Student's' problem when several different population variances are
       involved. Biometrika 1947;34:28-35 (recalled).
    """
    paired = same_people(first, other)
    rows = []
    ours, theirs = ({_spec_key(spec): spec for spec in run.context.trial.changes} for run in (first, other))
    for spec in (ours[key] for key in ours if key in theirs):
        values = []
        for run in (first, other):
            change = summaries.change_from(
                run.context.data.seen(spec.measure), spec.measure, spec.from_month, kind=spec.kind
            )
            values.append(change[change["month"] == spec.to_month].set_index("patient"))
        unit = "%" if spec.kind == "percent" else summaries.UNITS.get(spec.measure, "")
        what = _endpoint_key({"measure": spec.measure, "from_month": spec.from_month, "to_month": spec.to_month,
                             "unit": unit})  # fmt: skip
        for arm in (name for name in first.context.names if name in other.context.names):
            a, b = (own.loc[own["arm"] == arm, "value"] for own in values)
            both = a.index.intersection(b.index)
            if paired and len(both) > 1:
                a, b = a.loc[both], b.loc[both]
                found = summaries.mean_interval((b - a).to_numpy(float))
                gap, low, high, how = found["mean"], found["ci_low"], found["ci_high"], "same patients"
            else:
                welch = (
                    stats.ttest_ind(b, a, equal_var=False).confidence_interval() if min(len(a), len(b)) > 1 else None
                )
                gap, how = float(b.mean() - a.mean()), "independent"
                low, high = (float(welch.low), float(welch.high)) if welch is not None else (np.nan, np.nan)
            rows.append(
                {
                    "what": what,
                    "arm": arm,
                    "label": first.labels[arm],
                    "first": float(a.mean()) if len(a) else np.nan,
                    "other": float(b.mean()) if len(b) else np.nan,
                    "n_first": len(a),
                    "n_other": len(b),
                    "difference": gap,
                    "low": low,
                    "high": high,
                    "method": how,
                }
            )
    columns = ["what", "arm", "label", "first", "other", "n_first", "n_other", "difference", "low", "high", "method"]
    return pd.DataFrame(rows, columns=columns)


def _spec_key(spec: Change) -> tuple[object, ...]:
    return spec.measure, spec.from_month, spec.to_month, spec.kind


def _between(first: Seen, other: Seen, place: int) -> Section:
    section = Section("", f"{other.name} against {first.name}", f"between-{other.name}".replace("/", "-"))
    frame = between(first, other)
    if frame.empty:
        section.paragraphs.append(
            "The two have no endpoint on the same measure and months with an arm of the same name, so there is no "
            "difference to give."
        )
        return section
    means = {run.name: f"{run.name}, mean (n)" for run in (first, other)}
    section.exhibits.append(
        table(
            f"{place}.1",
            f"Difference of {other.name} to {first.name}, arms of the same name",
            frame,
            lambda row: {
                "Endpoint": row["what"],
                "Arm": row["label"],
                means[first.name]: f"{tables.num(row['first'])} ({row['n_first']})",
                means[other.name]: f"{tables.num(row['other'])} ({row['n_other']})",
                "Difference (95% CI)": tables.with_interval(row["difference"], row["low"], row["high"]),
                "Patients are": "the same" if row["method"] == "same patients" else "others",
            },
            "Means of observed changes. The same patients: paired t interval over those with both values in both runs; "
            "others: Welch's interval.",
            numeric=(*means.values(), "Difference (95% CI)"),
            group="Endpoint",
        )
    )
    return section
