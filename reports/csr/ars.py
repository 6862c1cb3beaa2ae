"""The results of a report as CDISC Analysis Results Standard 1.0 [1]_: the cells of its tables as a reporting event.

Every table that has arms is an output. Each of its groups of rows (an endpoint, a strategy) is an analysis; groups that
are visits are one analysis, grouped by visit. A line of the table and a column of the exported frame make an operation.
Its results have the raw value and the text that the table shows, by arm. Nothing is computed here.

References
----------
.. [1] CDISC Analysis Results Standard (ARS) 1.0, logical model ars_ldm, https://www.cdisc.org/ars/1-0
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ranklsim.cohorts.endpoints import Endpoint
from ranklsim.reports.csr.context import Context
from ranklsim.reports.layout.cells import Row, Table, plain
from ranklsim.reports.layout.exhibit import Exhibit, Section

ARMS, VISITS = "GF.TRT", "GF.VISIT"
PURPOSES = {
    "primary": {"controlledTerm": "PRIMARY OUTCOME MEASURE"},
    "key secondary": {"controlledTerm": "SECONDARY OUTCOME MEASURE"},
    "secondary": {"controlledTerm": "SECONDARY OUTCOME MEASURE"},
    "exploratory": {"controlledTerm": "EXPLORATORY OUTCOME MEASURE"},
}
"""Role of an endpoint to the term of ARS; what is of no endpoint is descriptive, a term of ranklsim."""
DESCRIPTIVE, PAGE, CSV = "TERM.DESCRIPTIVE", "TERM.HTML", "TERM.CSV"
DATASETS = {
    "14.1.1": ("ADSL", "EOSSTT"), "14.1.2": ("ADSL", ""), "14.1.3": ("ADEX", "EXDOSE"), "14.1.5": ("ADCE", "CEDECOD"),
    "14.2.2": ("ADBMD", "PCHG"), "14.2.3": ("ADLB", "PCHG"), "14.2.16": ("ADPC", "AVAL"), "14.3.4": ("ADLB", "AVAL"),
}  # fmt: skip
"""Tables to the data set of `ranklsim cdisc` and the variable that they are of; none for true values and the model."""
KINDS = {"event": ("ADTTE", "AVAL"), "exposure": ("ADPP", "AVAL")}
"""The same of kinds of endpoint; a kind between two visits of a measure is of ADBMD or ADLB."""
STATISTICS = {"mean (SD)": ("mean", "SD"), "median (Q1, Q3)": ("median", "Q1", "Q3"), "n (%)": ("n", "%")}
"""What the values a, b and c of a line of baseline characteristics are."""
_VALUE = re.compile(r"[<>]?[−-]?\d[\d.]*%?|–")


@dataclass
class _Analysis:
    """An analysis on its way: its operations by what they give, and its results."""

    name: str
    about: str = ""  # the endpoint, where there is one
    operations: dict[tuple[str, str], str] = field(default_factory=dict)
    results: list[dict[str, Any]] = field(default_factory=list)

    def add(self, line: str, measure: str, groups: list[dict[str, str]], **values: str) -> None:
        """A result of the operation that `line` and `measure` name."""
        operation = self.operations.setdefault((line, measure), f"OP.{len(self.operations) + 1}")
        self.results.append({"operationId": operation, "resultGroups": groups, **values})


def reporting_event(c: Context, sections: Sequence[Section]) -> dict[str, Any]:
    """The results of a report.

    Parameters
    ----------
    c : Context
    sections : sequence of Section

    Returns
    -------
    dict
        A ReportingEvent of ARS, to be written as JSON.
    """
    analyses, methods, outputs, contents = [], [], [], []
    for exhibit in (e for section in sections for e in section.exhibits if e.kind == "Table" and e.number[:3] == "14."):
        found = [made for made in _analyses(c, exhibit) if made.results]
        if not found:
            continue
        output = _output(exhibit)
        listed = []
        for number, made in enumerate(found, 1):
            known = f"{output['id']}.{number}"
            method, results = _method(made, exhibit, known)
            analyses.append(_analysis(made, exhibit, known, method["id"], results, c))
            methods.append(method)
            listed.append({"name": made.name, "level": 2, "order": number, "analysisId": known})
        outputs.append(output)
        contents.append(
            {
                "name": output["name"],
                "level": 1,
                "order": len(outputs),
                "outputId": output["id"],
                "sublist": {"listItems": listed},
            }
        )
    return {
        "id": f"RE.{c.trial.name}",
        "name": c.trial.title or c.trial.name,
        "description": f"Simulated data. {c.model}, seed {c.seed}.",
        "version": 1,
        "mainListOfContents": {"name": "Tables", "contentsList": {"listItems": contents}},
        "analysisSets": [_set(*each) for each in (("FAS", "Full analysis set", 1), ("SAF", "Safety set", 2))],
        "analysisGroupings": [_arms(c)],
        "dataGroupings": [
            {"id": VISITS, "label": "Visit, month", "groupingVariable": "AVISITN", "dataDriven": True},
        ],
        "methods": methods,
        "analyses": analyses,
        "outputs": outputs,
        "terminologyExtensions": [
            _terms("TX.PURPOSE", "AnalysisPurposeEnum", {DESCRIPTIVE: "DESCRIPTIVE"}),
            _terms("TX.FILE", "OutputFileTypeEnum", {PAGE: "html", CSV: "csv"}),
        ],
    }


def _set(name: str, label: str, order: int) -> dict[str, Any]:
    """The patients who have a flag."""
    condition = {"dataset": "ADSL", "variable": f"{name}FL", "comparator": "EQ", "value": ["Y"]}
    return {"id": f"SET.{name}", "label": label, "level": 1, "order": order, "condition": condition}


def _arms(c: Context) -> dict[str, Any]:
    """The arms as groups of patients."""
    groups = [
        {
            "id": f"{ARMS}.{arm.name}",
            "label": arm.label,
            "level": 1,
            "order": number,
            "condition": {"dataset": "ADSL", "variable": "TRT01PN", "comparator": "EQ", "value": [str(number)]},
        }
        for number, arm in enumerate(c.arms, 1)
    ]
    return {
        "id": ARMS,
        "label": "Planned treatment",
        "groupingDataset": "ADSL",
        "groupingVariable": "TRT01PN",
        "dataDriven": False,
        "groups": groups,
    }


def _terms(known: str, enumeration: str, terms: Mapping[str, str]) -> dict[str, Any]:
    own = [{"id": term, "submissionValue": value} for term, value in terms.items()]
    return {"id": known, "enumeration": enumeration, "sponsorTerms": own}


def _output(exhibit: Exhibit) -> dict[str, Any]:
    """A table, with its title and footnote, and where it stands."""
    known, name = f"OUT.{exhibit.number}", f"Table {exhibit.number}"
    parts = [("Title", exhibit.title), ("Footnote", exhibit.footnote)]
    return {
        "id": known,
        "name": name,
        "fileSpecifications": [
            {"name": name, "fileType": {"sponsorTermId": PAGE}, "location": f"index.html#{exhibit.anchor}"},
            {"name": exhibit.stem, "fileType": {"sponsorTermId": CSV}, "location": f"tables/{exhibit.stem}.csv"},
        ],
        "displays": [
            {
                "order": 1,
                "display": {
                    "id": f"{known}.D",
                    "name": name,
                    "displayTitle": exhibit.title,
                    "displaySections": [
                        {
                            "sectionType": kind,
                            "orderedSubSections": [
                                {"order": 1, "subSection": {"id": f"{known}.{kind}", "text": text}},
                            ],
                        }
                        for kind, text in parts
                        if text
                    ],
                },
            }
        ],
    }


def _method(made: _Analysis, exhibit: Exhibit, known: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What is done in an analysis, and its results with the identifiers of the method's operations."""
    operations = [
        {"id": f"{known}.{own}", "name": f"{line}: {_named(line, measure)}" if line else measure, "order": number}
        for number, ((line, measure), own) in enumerate(made.operations.items(), 1)
    ]
    method = {"id": f"MTH.{known}", "name": exhibit.title, "description": exhibit.footnote, "operations": operations}
    return method, [result | {"operationId": f"{known}.{result['operationId']}"} for result in made.results]


def _named(line: str, measure: str) -> str:
    """What a value of a line is."""
    for words, names in STATISTICS.items():
        if line.endswith(words) and measure in "abc"[: len(names)]:
            return names["abc".index(measure)]
    return measure


def _origin(exhibit: Exhibit, spec: Endpoint | None) -> dict[str, str]:
    """The data set and variable that an analysis is of, where there is one."""
    found = next((own for part, own in DATASETS.items() if f"{exhibit.number}.".startswith(f"{part}.")), None)
    if spec is not None:
        found = KINDS.get(spec.key)
        if found is None and spec.columns:
            of = "ADBMD" if spec.columns[0].startswith("BMD") else "ADLB"
            found = of, "CHG" if spec.key == "change" and spec.unit != "%" else "PCHG"
    return {name: value for name, value in zip(("dataset", "variable"), found or (), strict=False) if value}


def _analysis(
    made: _Analysis,
    exhibit: Exhibit,
    known: str,
    method: str,
    results: list[dict[str, Any]],
    c: Context,
) -> dict[str, Any]:
    used = {group["groupingId"] for result in results for group in result["resultGroups"]}
    named = (made.about, exhibit.title.partition(":")[0])
    spec = next((spec for spec in c.trial.endpoints if spec.name in named), None)
    role = "" if spec is None else spec.role
    out = {
        "id": known,
        "name": made.name,
        "reason": {"controlledTerm": "SPECIFIED IN PROTOCOL" if role else "SPECIFIED IN SAP"},
        "purpose": PURPOSES.get(role, {"sponsorTermId": DESCRIPTIVE}),
        "methodId": method,
        **_origin(exhibit, spec),
        "orderedGroupings": [
            {"order": number, "groupingId": grouping, "resultsByGroup": True}
            for number, grouping in enumerate((g for g in (ARMS, VISITS) if g in used), 1)
        ],
        "results": results,
    }
    sets = {c.population: "SET.FAS", c.safety: "SET.SAF"}
    return out | ({"analysisSetId": sets[exhibit.population]} if exhibit.population in sets else {})


def _analyses(c: Context, exhibit: Exhibit) -> Iterator[_Analysis]:
    """The analyses of a table: one for each group of rows, or one for all visits."""
    table = exhibit.table
    visits = all(isinstance(group.key, float) for group in table.groups)
    whole = _Analysis(exhibit.title)
    for group in table.groups:
        made = whole if visits or not group.key else _Analysis(plain(group.title), str(group.key))
        at = [{"groupingId": VISITS, "groupValue": f"{group.key:g}"}] if isinstance(group.key, float) else []
        for row in group.rows:
            if table.look == "listing":
                _listed(c, table, row, made, at)
            else:
                _crossed(c, table, row, made, at)
        if made is not whole:
            yield made
    yield whole


def _of_arm(name: str) -> list[dict[str, str]]:
    return [{"groupingId": ARMS, "groupId": f"{ARMS}.{name}"}]


def _crossed(c: Context, table: Table, row: Row, made: _Analysis, at: list[dict[str, str]]) -> None:
    """A line of a table whose columns are the arms; the column of all arms together has no group of its own."""
    names = [column.arm for column in table.columns if column.arm]
    line = plain(row.cells[0].text)
    for name, cell in zip(names, row.cells[-len(names) :], strict=True):
        text = plain(cell.text)
        groups = [*(_of_arm(name) if name in c.by_name else []), *at]
        single = _VALUE.findall(text)
        shown = single if len(single) == len(cell.values) else [text] * len(cell.values)
        for measure, value, form in zip(cell.measures, cell.values, shown, strict=True):
            if (raw := _raw(value)) is not None:
                made.add(line, measure, groups, rawValue=raw, formattedValue=form)


def _listed(c: Context, table: Table, row: Row, made: _Analysis, at: list[dict[str, str]]) -> None:
    """A row of a listing that is of an arm: its texts by column, and the numbers of the frame behind it."""
    name = str(row.record.get("arm", ""))
    if name not in c.by_name:
        return
    groups = [*_of_arm(name), *at]
    for column, cell in zip(table.columns, row.cells, strict=True):
        if plain(cell.text) and plain(cell.text) != c.by_name[name].label:
            made.add("", plain(column.head), groups, formattedValue=plain(cell.text))
    for measure, value in row.record.items():
        if (raw := _raw(value)) is not None:
            made.add("", measure, groups, rawValue=raw)


def _raw(value: object) -> str | None:
    """A finite number in full, as text; nothing for any other value."""
    if isinstance(value, bool | str) or value is None:
        return None
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    if not math.isfinite(number):
        return None
    return repr(int(number)) if number == int(number) and abs(number) < 1e15 else repr(number)
