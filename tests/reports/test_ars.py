"""The results of a report as CDISC Analysis Results Standard 1.0: as the model asks, with the values of the tables."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest

from ranklsim.reports.cdisc.metadata import LABELS, variables

MODEL = {
    "ReportingEvent": "id! name! description label version# mainListOfContents!:ListOfContents "
    "otherListsOfContents*:ListOfContents referenceDocuments*:ReferenceDocument "
    "terminologyExtensions*:TerminologyExtension analysisOutputCategorizations* analysisSets*:AnalysisSet "
    "analysisGroupings*:SubjectGroupingFactor dataSubsets* dataGroupings*:DataGroupingFactor "
    "globalDisplaySections* methods*:AnalysisMethod analyses*:Analysis outputs*:Output",
    "ListOfContents": "name! label description contentsList!:NestedList",
    "NestedList": "listItems*:OrderedListItem",
    "OrderedListItem": "name! label description level!# order!# sublist:NestedList analysisId outputId",
    "ReferenceDocument": "id! name! label description location",
    "TerminologyExtension": "id! enumeration=ExtensibleTerminologyEnum sponsorTerms!*:SponsorTerm",
    "SponsorTerm": "id! submissionValue! description",
    "AnalysisSet": "id! label level!# order!# condition:WhereClauseCondition compoundExpression",
    "WhereClauseCondition": "dataset variable comparator=ConditionComparatorEnum value*",
    "SubjectGroupingFactor": "id! label groupingDataset groupingVariable dataDriven!? groups*:AnalysisGroup",
    "DataGroupingFactor": "id! label groupingDataset groupingVariable dataDriven!? groups*:AnalysisGroup",
    "AnalysisGroup": "id! label level!# order!# condition:WhereClauseCondition compoundExpression",
    "AnalysisMethod": "id! name! label description operations!*:Operation documentRefs* codeTemplate",
    "Operation": "id! name! label description order!# referencedOperationRelationships* resultPattern",
    "Analysis": "id! name! label description version# categoryIds* purpose!:AnalysisPurpose|SponsorTermOf "
    "reason!:AnalysisReason|SponsorTermOf documentRefs* analysisSetId dataset variable dataSubsetId methodId! "
    "orderedGroupings*:OrderedGroupingFactor referencedAnalysisOperations* programmingCode results*:OperationResult",
    "AnalysisPurpose": "controlledTerm!=AnalysisPurposeEnum sponsorTermId",
    "AnalysisReason": "controlledTerm!=AnalysisReasonEnum sponsorTermId",
    "SponsorTermOf": "controlledTerm sponsorTermId!",
    "OrderedGroupingFactor": "order!# groupingId! resultsByGroup!?",
    "OperationResult": "operationId! resultGroups*:ResultGroup rawValue formattedValue",
    "ResultGroup": "groupingId! groupId groupValue",
    "Output": "id! name! label description version# categoryIds* documentRefs* displays!*:OrderedDisplay "
    "fileSpecifications*:OutputFile programmingCode",
    "OutputFile": "name! label description fileType:OutputFileType|SponsorTermOf location style",
    "OutputFileType": "controlledTerm!=OutputFileTypeEnum sponsorTermId",
    "OrderedDisplay": "order!# display!:OutputDisplay",
    "OutputDisplay": "id! name! label description version# displayTitle displaySections*:DisplaySection",
    "DisplaySection": "sectionType=DisplaySectionTypeEnum orderedSubSections*:OrderedSubSection",
    "OrderedSubSection": "order!# subSection!:DisplaySubSection subSectionId",
    "DisplaySubSection": "id! text!",
}
"""Classes of ars_ldm 1.0 (cdisc-org/analysis-results-standard, project/jsonschema, commit 3cd01c7): attributes,
required with !, a list with *, a whole number with #, a flag with ?, else text; the class after a colon, the terms
after =. No class admits other attributes."""
TERMS = {
    "AnalysisPurposeEnum": {"PRIMARY OUTCOME MEASURE", "SECONDARY OUTCOME MEASURE", "EXPLORATORY OUTCOME MEASURE"},
    "AnalysisReasonEnum": {
        "SPECIFIED IN PROTOCOL",
        "SPECIFIED IN SAP",
        "DATA DRIVEN",
        "REQUESTED BY REGULATORY AGENCY",
    },
    "ConditionComparatorEnum": {"EQ", "NE", "GT", "GE", "LT", "LE", "IN", "NOTIN"},
    "DisplaySectionTypeEnum": {"Header", "Title", "Rowlabel Header", "Legend", "Abbreviation", "Footnote", "Footer"},
    "ExtensibleTerminologyEnum": {
        "AnalysisReasonEnum",
        "AnalysisPurposeEnum",
        "OperationRoleEnum",
        "OutputFileTypeEnum",
    },
    "OutputFileTypeEnum": {"pdf", "rtf", "txt"},
}
ATTRIBUTE = re.compile(r"(\w+)(!?)([*#?]?)(?::([\w|]+))?(?:=(\w+))?")


def faults(value: Any, name: str, at: str = "") -> list[str]:
    """Where a value does not obey a class of the model."""
    if not isinstance(value, dict):
        return [f"{at}: no object"]
    known = {m[1]: m for m in (ATTRIBUTE.fullmatch(word) for word in MODEL[name].split()) if m}
    found = [f"{at}: {key} is no attribute of {name}" for key in value if key not in known]
    found += [f"{at}: {key} is missing" for key, m in known.items() if m[2] and key not in value]
    for key, item in value.items():
        if key not in known:
            continue
        _, _, _, kind, classes, terms = (known[key].group(k) for k in range(6))
        where = f"{at}.{key}"
        if kind == "*" and not isinstance(item, list):
            found.append(f"{where}: no list")
            continue
        for each in item if kind == "*" else [item]:
            if classes:
                ways = [faults(each, one, where) for one in classes.split("|")]
                found += min(ways, key=len)
            elif kind == "#":
                found += [] if type(each) is int else [f"{where}: no whole number"]
            elif kind == "?":
                found += [] if type(each) is bool else [f"{where}: no flag"]
            elif not isinstance(each, str):
                found.append(f"{where}: no text")
            elif terms and each not in TERMS[terms]:
                found.append(f"{where}: {each} is no term of {terms}")
    return found


@pytest.fixture(scope="module")
def event(small_report: Path) -> dict[str, Any]:
    return json.loads((small_report.parent / "ars.json").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_the_reporting_event_obeys_the_published_model(event):
    assert faults(event, "ReportingEvent") == []
    broken = event | {"analyses": [{"id": "A", "extra": 1}]}
    assert {"is no attribute of Analysis", "is missing"} <= {
        word for fault in faults(broken, "ReportingEvent") for word in ("is no attribute of Analysis", "is missing")
        if word in fault
    }  # fmt: skip


@pytest.mark.slow
def test_every_reference_leads_somewhere_and_no_identifier_is_given_twice(event):
    ids = [each["id"] for part in ("methods", "analyses", "outputs", "analysisSets") for each in event[part]]
    operations = [operation["id"] for method in event["methods"] for operation in method["operations"]]
    assert len(set(ids + operations)) == len(ids + operations)
    groupings = {each["id"]: each for each in event["analysisGroupings"] + event["dataGroupings"]}
    arms = {group["id"] for group in groupings["GF.TRT"]["groups"]}
    methods = {method["id"]: {o["id"] for o in method["operations"]} for method in event["methods"]}
    for analysis in event["analyses"]:
        assert analysis.get("analysisSetId", "SET.FAS") in ids
        assert {result["operationId"] for result in analysis["results"]} == methods[analysis["methodId"]]
        for result in analysis["results"]:
            assert result.get("rawValue") or result.get("formattedValue")
            for group in result["resultGroups"]:
                assert group["groupingId"] in groupings
                assert group["groupingId"] != "GF.TRT" or group["groupId"] in arms
    items = event["mainListOfContents"]["contentsList"]["listItems"]
    assert [item["outputId"] for item in items] == [output["id"] for output in event["outputs"]]
    listed = [below["analysisId"] for item in items for below in item["sublist"]["listItems"]]
    assert listed == [analysis["id"] for analysis in event["analyses"]]


@pytest.mark.slow
def test_an_analysis_of_what_was_observed_names_its_data_set_and_variable(event):
    known = {(name, variable.name) for name in LABELS for variable in variables(name)}
    found = {a["id"]: (a.get("dataset"), a.get("variable")) for a in event["analyses"]}
    named = {own for own in found.values() if own[0]}
    assert {("ADSL", None), ("ADBMD", "PCHG"), ("ADLB", "PCHG")} <= named
    assert all((name, variable) in known for name, variable in named if variable)
    assert all(own == (None, None) for key, own in found.items() if key.startswith("OUT.14.2.5"))
    operations = {o["name"] for m in event["methods"] for o in m["operations"] if m["id"].startswith("MTH.OUT.14.1.2")}
    assert {"Age (yr), mean (SD): mean", "Age (yr), mean (SD): SD"} <= operations
    assert not any(name.endswith((": a", ": b", ": c")) for name in operations)


@pytest.mark.slow
def test_raw_and_formatted_values_are_those_of_the_table(event, small_report):
    """Differences of the primary endpoint against the CSV beside the table, and the text of the page."""
    primary = [a for a in event["analyses"] if a["purpose"] == {"controlledTerm": "PRIMARY OUTCOME MEASURE"}]
    analysis = next(a for a in primary if a["id"].startswith("OUT.14.2.1.1."))
    names = {o["id"]: o["name"] for m in event["methods"] for o in m["operations"] if m["id"] == analysis["methodId"]}
    path = next((small_report.parent / "tables").glob("table-14.2.1.1-*.csv"))
    with path.open(encoding="utf-8") as file:
        rows = {row["arm"]: row for row in csv.DictReader(file) if analysis["name"].startswith(row["endpoint"])}
    compared, page = 0, small_report.read_text(encoding="utf-8")
    for result in analysis["results"]:
        measure = names[result["operationId"]].rpartition(": ")[2]
        arm = result["resultGroups"][0]["groupId"].removeprefix("GF.TRT.")
        assert float(result["rawValue"]) == pytest.approx(float(rows[arm][measure]), rel=1e-5)
        assert result["formattedValue"] in page
        shown = result["formattedValue"].replace("−", "-")
        if re.fullmatch(r"-?\d+\.\d+", shown):
            digits = len(shown.partition(".")[2])
            assert float(shown) == pytest.approx(float(result["rawValue"]), abs=0.51 * 10**-digits)
            compared += 1
    assert compared >= 6
