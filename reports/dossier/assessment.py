"""The evidence assessment table of ICH M15, in words of our own, and the technical criteria."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ranklsim.cohorts.protocol.midd import Criterion, Midd, Rating
from ranklsim.reports.csr.context import Context
from ranklsim.reports.layout.cells import Text, plain, tag
from ranklsim.reports.layout.exhibit import Exhibit
from ranklsim.reports.layout.page import table
from ranklsim.reports.layout.tables import sig
from ranklsim.reports.qualify.finding import FAIL, NOT_RUN, PASS, Qualification

MISSING = "missing"
TYPED = "Typed by a person in [midd] of the trial's file."
COMPUTED = "Computed from the results."
ITEMS = Path(__file__).parent / "data" / "assessment.csv"
"""Items of the table by stage, with a definition and an instruction in words of our own."""


@dataclass(frozen=True)
class Judged:
    """A criterion with what was found: `result` is pass, fail or not run."""

    criterion: Criterion
    result: str
    value: float
    evidence: str


def accepted(one: Criterion) -> str:
    """The rule of a criterion in words.

    Parameters
    ----------
    one : Criterion
    """
    if one.requirement:
        return f"requirement {one.requirement} of `ranklsim qualify` passes".replace("`", "")
    what = one.what.replace("_", " ")
    return f"{what} of “{one.endpoint or one.estimand}” in arm {one.arm} {one.rule}"


def judge(midd: Midd, context: Context, verified: Qualification | None) -> list[Judged]:
    """Every criterion of a plan beside the results.

    Parameters
    ----------
    midd : Midd
    context : Context
        Of the run.
    verified : Qualification or None
        As from `ranklsim qualify`.
    """
    out = []
    for one in midd.criteria:
        if one.requirement:
            out.append(_requirement(one, verified))
            continue
        frame = context.analyses.endpoints if one.endpoint else context.analyses.estimands
        if one.what.startswith("parameter_"):
            frame = context.endpoints if one.endpoint in set(context.endpoints.get("endpoint", ())) else frame
        name, key = (one.endpoint, "endpoint") if one.endpoint else (one.estimand, "estimand")
        rows = frame[(frame[key] == name) & (frame["arm"] == one.arm)] if len(frame) else frame
        value = float(rows[one.what].iloc[0]) if len(rows) and one.what in rows else math.nan
        if math.isnan(value):
            out.append(Judged(one, NOT_RUN, value, "The run has no such result."))
        else:
            result = PASS if one.met(value) else FAIL
            out.append(
                Judged(one, result, value, f"{len(context.data.patients)} simulated patients; seed {context.seed}.")
            )
    return out


def _requirement(one: Criterion, verified: Qualification | None) -> Judged:
    if verified is None:
        return Judged(one, NOT_RUN, math.nan, "No qualification was given to the dossier.")
    name = verified.results["requirement"]
    own = verified.results[(name == one.requirement) | name.str.startswith(f"{one.requirement}-")]
    counts = own["result"].value_counts()
    said = ", ".join(f"{counts[r]} {r}" for r in (PASS, FAIL, NOT_RUN) if r in counts) or "no such requirement"
    result = FAIL if FAIL in counts else PASS if PASS in counts else NOT_RUN
    value = float(own["value"].iloc[0]) if len(own) == 1 else math.nan
    return Judged(one, result, value, f"Qualification of {verified.facts['finished'][:10]}: {said}.")


def criteria_table(number: str, judged: Sequence[Judged] | Sequence[Criterion]) -> Exhibit:
    """The technical criteria: planned, or with their results.

    Parameters
    ----------
    number : str
        Of the exhibit.
    judged : sequence
        Criteria, or criteria with results.
    """
    rows: list[dict[str, Any]] = []
    for each in judged:
        one = each.criterion if isinstance(each, Judged) else each
        row: dict[str, Any] = {"criterion": one.name, "accepted": accepted(one), "reason": one.reason}
        if isinstance(each, Judged):
            row |= {"found": each.value, "result": each.result, "evidence": each.evidence}
        rows.append(row)
    looks = {PASS: "calibrated", FAIL: "predicted", NOT_RUN: "set"}

    def cells(row: dict[str, Any]) -> dict[str, Text]:
        shown: dict[str, Text] = {
            "Criterion": row["criterion"],
            "Accepted if": row["accepted"],
            "Reason": row["reason"],
        }
        if "result" in row:
            shown |= {"Found": sig(row["found"]), "Result": tag(row["result"], looks[row["result"]])}
            shown |= {"Evidence": row["evidence"]}
        return shown

    if not rows:
        none = pd.DataFrame([{"criterion": MISSING, "accepted": MISSING, "reason": MISSING}])
        return table(number, "Technical criteria", none,
                     lambda row: {"Criterion": tag(MISSING, "predicted"), "Accepted if": "", "Reason": ""},
                     "No criterion is planned.")  # fmt: skip
    note = (
        TYPED if "result" not in rows[0] else f"Criterion, rule and reason: typed. Found and result: {COMPUTED.lower()}"
    )
    return table(number, "Technical criteria", pd.DataFrame(rows), cells, note)


def entry(value: str | Rating) -> Text:
    """What was typed for an element; visibly missing where nothing was.

    Parameters
    ----------
    value : str or Rating
    """
    if isinstance(value, str):
        return value or tag(MISSING, "predicted")
    parts: list[Text] = [tag(value.rating, "set") if value.rating else tag("rating missing", "predicted"), " "]
    return (*parts, value.reason or tag("reason missing", "predicted"))


def assessment_table(number: str, midd: Midd, computed: Mapping[str, str] | None = None) -> Exhibit:
    """Item, definition, instruction and entry, by stage.

    Parameters
    ----------
    number : str
        Of the exhibit.
    midd : Midd
    computed : mapping of str to str, optional
        Entries of the stage of submission, by key of ``assessment.csv``; without it, the table ends with planning.
    """
    rows: list[dict[str, Text]] = []
    for item in pd.read_csv(ITEMS).to_dict("records"):
        key, planning = str(item["key"]), item["stage"] == "Planning"
        if planning:
            listed = "\n".join(f"{one.name}: {accepted(one)}." for one in midd.criteria)
            words = entry(listed if key == "criteria" else getattr(midd, key))
        elif computed is None:
            continue
        else:
            words = computed[key]
        heads = ("stage", "item", "definition", "instruction")
        row: dict[str, Text] = {name.capitalize(): str(item[name]) for name in heads}
        rows.append(row | {"Entry": words})
    frame = pd.DataFrame([{key: plain(value) for key, value in row.items()} for row in rows])
    note = f"Planning: typed by a person in [midd] of the trial's file. Submission: {COMPUTED.lower()}"
    return table(number, "Assessment of the evidence", frame, rows, note, group="Stage", widths=(18, 21, 21, 40))
