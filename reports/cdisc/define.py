"""``define.xml`` 2.1 of the data sets, by odmlib: variables with origin and method, value-level metadata, codelists.

The tests validate it against the XSD of CDISC, which odmlib ships.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from ranklsim.reports.cdisc.metadata import (
    DATE,
    FLOAT,
    LABELS,
    STRUCTURES,
    SUBCLASSES,
    TEXT,
    Variable,
    codelists,
    keys,
    present,
)

STANDARDS = {
    "STD.ADAM": ("ADaMIG", "IG", "1.3", ""),
    "STD.OCCDS": ("ADaM-OCCDSIG", "IG", "1.1", ""),
    "STD.NCA": ("ADaMIG-NCA", "IG", "1.0", ""),
    "STD.CT": ("CDISC/NCI", "CT", "2024-09-27", "SDTM"),
    "STD.CT.ADAM": ("CDISC/NCI", "CT", "2024-09-27", "ADaM"),
}
"""Identifier to name, type, version and publishing set."""
OF_STANDARD = {"ADCE": "STD.OCCDS", "ADPC": "STD.NCA"}
OF_ADAM = ("SBJTSTAT",)
"""Codelists of the terminology of ADaM; the others are of SDTM."""
VALUE_LEVEL = "AVAL"
"""The variable whose meaning depends on PARAMCD."""
DIGITS = 6
SIMULATED = "Simulated data: no patient was treated. Every value is that of a virtual patient of ranklsim."


def length(column: pd.Series) -> int:
    """Characters of the longest text, at least 1.

    Parameters
    ----------
    column : Series of str
        Texts of a variable.
    """
    return max(1, int(column.str.len().max())) if len(column) else 1


def write_define(path: Path, datasets: Mapping[str, pd.DataFrame], title: str, when: datetime, suffix: str) -> None:
    """Write the metadata of data sets.

    Parameters
    ----------
    path : Path
    datasets : mapping of str to DataFrame
        By name; each has a record.
    title : str
        Of the trial.
    when : datetime
        The time that the file bears.
    suffix : str
        Ending of the files of the data sets, such as ".xpt".
    """
    import odmlib.define_2_1.model as odm

    study = str(datasets["ADSL"]["STUDYID"].iloc[0])
    version = odm.MetaDataVersion(OID=f"MDV.{study}", Name=f"ADaM of {study}", DefineVersion="2.1.0")
    version.CommentOID = "COM.SIMULATED"
    version.Standards = odm.Standards()
    for oid, (name, kind, number, published) in STANDARDS.items():
        more = {"PublishingSet": published} if published else {}
        version.Standards.Standard.append(
            odm.Standard(OID=oid, Name=name, Type=kind, Version=number, Status="Final", **more)
        )
    items, used = [], set[str]()
    for name, frame in datasets.items():
        version.ItemGroupDef.append(_group(odm, name, frame, suffix))
        for variable in present(name, frame):
            items += [_item(odm, name, variable, frame)]
            used |= {variable.codelist} - {""}
            if variable.origin == "Derived":
                version.MethodDef.append(_method(odm, name, variable))
        if VALUE_LEVEL in frame:
            listed, clauses, below = _values(odm, name, frame)
            version.ValueListDef.append(listed)
            version.WhereClauseDef += clauses
            items += below
    version.ItemDef = items
    version.CodeList = list(_codelists(odm, used))
    version.CommentDef.append(odm.CommentDef(OID="COM.SIMULATED", Description=_words(odm, SIMULATED)))
    root = odm.ODM(
        FileType="Snapshot", FileOID=f"ranklsim.{study}.define", ODMVersion="1.3.2", Originator="ranklsim",
        CreationDateTime=when.strftime("%Y-%m-%dT%H:%M:%S"), Context="Other",
    )  # fmt: skip
    root.Study = odm.Study(
        OID=f"STUDY.{study}",
        GlobalVariables=odm.GlobalVariables(
            StudyName=odm.StudyName(_content=study),
            StudyDescription=odm.StudyDescription(_content=f"Simulated data. {title}"),
            ProtocolName=odm.ProtocolName(_content=study),
        ),
        MetaDataVersion=version,
    )
    path.write_text(root.to_xml_string(xml_declaration=True), encoding="utf-8", newline="")


def _words(odm: Any, text: str, kind: str = "Description") -> Any:
    """A description (or a decode) in English."""
    made = getattr(odm, kind)()
    made.TranslatedText.append(odm.TranslatedText(_content=text, lang="en"))
    return made


def _group(odm: Any, name: str, frame: pd.DataFrame, suffix: str) -> Any:
    """A data set and the order of its variables."""
    kind, structure = STRUCTURES[name]
    group = odm.ItemGroupDef(
        OID=f"IG.{name}", Name=name, SASDatasetName=name, Repeating="No" if name == "ADSL" else "Yes",
        IsReferenceData="No", Purpose="Analysis", Structure=structure, ArchiveLocationID=f"LF.{name}",
        StandardOID=OF_STANDARD.get(name, "STD.ADAM"),
    )  # fmt: skip
    group.Description = _words(odm, LABELS[name])
    order = {key: place for place, key in enumerate(keys(name), 1)}
    for number, variable in enumerate(present(name, frame), 1):
        more: dict[str, Any] = {"KeySequence": order[variable.name]} if variable.name in order else {}
        if variable.origin == "Derived":
            more["MethodOID"] = f"MT.{name}.{variable.name}"
        needed = "Yes" if variable.core == "req" else "No"
        group.ItemRef.append(
            odm.ItemRef(ItemOID=f"IT.{name}.{variable.name}", OrderNumber=number, Mandatory=needed, **more)
        )
    group.Class = odm.Class(Name=kind)
    if name in SUBCLASSES:
        group.Class.SubClass.append(odm.SubClass(Name=SUBCLASSES[name]))
    place = f"{name.lower()}{suffix}"
    group.leaf = odm.leaf(ID=f"LF.{name}", href=place, title=odm.title(_content=place))
    return group


def _item(odm: Any, name: str, variable: Variable, frame: pd.DataFrame) -> Any:
    """A variable."""
    more: dict[str, Any] = {"SignificantDigits": DIGITS} if variable.type == FLOAT else {}
    if variable.type == DATE:
        more["DisplayFormat"] = "DATE9."
    item = odm.ItemDef(
        OID=f"IT.{name}.{variable.name}", Name=variable.name, SASFieldName=variable.name,
        DataType="integer" if variable.type == DATE else variable.type,
        Length=length(frame[variable.name]) if variable.type == TEXT else 8, **more,
    )  # fmt: skip
    item.Description = _words(odm, variable.label)
    if variable.codelist:
        item.CodeListRef = odm.CodeListRef(CodeListOID=f"CL.{variable.codelist}")
    if variable.name == VALUE_LEVEL:
        item.ValueListRef = odm.ValueListRef(ValueListOID=f"VL.{name}.{VALUE_LEVEL}")
    item.Origin.append(_origin(odm, variable))
    return item


def _origin(odm: Any, variable: Variable) -> Any:
    """Where a value comes from; a predecessor is named."""
    if variable.origin == "Predecessor":
        return odm.Origin(Type="Predecessor", Description=_words(odm, f"ADSL.{variable.derivation}"))
    return odm.Origin(Type=variable.origin, Source="Sponsor")


def _method(odm: Any, name: str, variable: Variable) -> Any:
    """How a variable is derived."""
    about = f"{name}.{variable.name}"
    made = odm.MethodDef(OID=f"MT.{about}", Name=f"Derivation of {about}", Type="Computation")
    made.Description = _words(odm, variable.derivation)
    return made


def _values(odm: Any, name: str, frame: pd.DataFrame) -> tuple[Any, list[Any], list[Any]]:
    """Value-level metadata of the analysis value: a definition for each parameter, where PARAMCD has its code."""
    listed, clauses, items = odm.ValueListDef(OID=f"VL.{name}.{VALUE_LEVEL}"), [], []
    parameters = frame[["PARAMCD", "PARAM"]].drop_duplicates("PARAMCD")
    whole = {code: bool((own % 1 == 0).all()) for code, own in frame.groupby("PARAMCD")[VALUE_LEVEL]}
    for number, (code, label) in enumerate(parameters.itertuples(index=False), 1):
        where, item = f"WC.{name}.PARAMCD.{code}", f"IT.{name}.{VALUE_LEVEL}.{code}"
        reference = odm.ItemRef(ItemOID=item, OrderNumber=number, Mandatory="Yes", MethodOID=f"MT.{name}.{VALUE_LEVEL}")
        reference.WhereClauseRef.append(odm.WhereClauseRef(WhereClauseOID=where))
        listed.ItemRef.append(reference)
        check = odm.RangeCheck(Comparator="EQ", SoftHard="Soft", ItemOID=f"IT.{name}.PARAMCD")
        check.CheckValue.append(odm.CheckValue(_content=str(code)))
        clause = odm.WhereClauseDef(OID=where)
        clause.RangeCheck.append(check)
        clauses.append(clause)
        kind: dict[str, Any] = {"DataType": "integer"} if whole[code] else {
            "DataType": "float", "SignificantDigits": DIGITS
        }  # fmt: skip
        own = odm.ItemDef(OID=item, Name=VALUE_LEVEL, SASFieldName=VALUE_LEVEL, Length=8, **kind)
        own.Description = _words(odm, str(label))
        own.Origin.append(odm.Origin(Type="Derived", Source="Sponsor"))
        items.append(own)
    return listed, clauses, items


def _codelists(odm: Any, used: set[str]) -> Iterator[Any]:
    """Codelists with the codes of NCI, of the list and of its terms; a list of ranklsim's own has none."""
    frame = codelists()
    for codelist, own in frame[frame["codelist"].isin(used)].groupby("codelist", sort=True):
        code = str(own["code"].iloc[0])
        more = {"StandardOID": "STD.CT.ADAM" if codelist in OF_ADAM else "STD.CT"} if code else {"IsNonStandard": "Yes"}
        kind = "integer" if codelist == "CNSR" else "text"
        made = odm.CodeList(OID=f"CL.{codelist}", Name=str(own["name"].iloc[0]), DataType=kind, **more)
        for row in own.to_dict("records"):
            term = odm.CodeListItem(CodedValue=row["term"], Decode=_words(odm, row["decode"], "Decode"))
            if row["term_code"]:
                term.Alias.append(odm.Alias(Context="nci:ExtCodeID", Name=row["term_code"]))
            made.CodeListItem.append(term)
        if code:
            made.Alias.append(odm.Alias(Context="nci:ExtCodeID", Name=code))
        yield made
