"""CDISC rules that can be checked without the CDISC validator; `check` returns one sentence for each violation.

The rules are those of SAS transport files version 5 (names, labels, lengths, letters), of the ADaM Implementation Guide
(one record per subject in ADSL, keys, flags, one-to-one pairs, change from baseline, days without a zero) and of
controlled terminology.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from ranklsim.reports.cdisc.metadata import DATE, INTEGER, LABELS, TEXT, Variable, guide, keys, terms, variables

NAME = re.compile(r"[A-Z][A-Z0-9_]{0,7}")
ISO_DATE = r"\d{4}-\d{2}-\d{2}"
LABEL, LENGTH = 40, 200
PAIRS = (("PARAM", "PARAMCD"), ("PARAMCD", "PARAMN"), ("AVISIT", "AVISITN"), ("ATPT", "ATPTN"),
         ("TRTP", "TRTPN"), ("TRT01P", "TRT01PN"),
         ("TRT01A", "TRT01AN"), ("ARM", "ARMCD"))  # fmt: skip
"""Variables of which each value goes with one value of the other."""

CLOSE = 1e-9
"""Relative difference that arithmetic may leave."""


def check(datasets: Mapping[str, pd.DataFrame]) -> list[str]:
    """Violations of rules in a set of ADaM data sets.

    Parameters
    ----------
    datasets : mapping of str to DataFrame
        As from `ranklsim.reports.cdisc.datasets.build`: text as str ("" is null), numbers and dates as float64.

    Returns
    -------
    list of str
        A sentence for each fault, data set by data set; empty if there is none.
    """
    faults = []
    if "ADSL" not in datasets:
        faults.append("ADSL is missing.")
    for name, frame in datasets.items():
        if name not in LABELS:
            faults.append(f"{name} is no data set of which the metadata are known.")
            continue
        if frame.empty:
            faults += [f"{name}: {fault}" for fault in _structure(name, frame)]
            continue
        for rule in (_structure, _guide, _text, _numbers, _required, _terms, _keys, _pairs, _baseline, _days):
            faults += [f"{name}: {fault}" for fault in rule(name, frame)]
        faults += [f"{name}: {fault}" for fault in _subjects(name, frame, datasets.get("ADSL"))]
        faults += [f"ADSL: {fault}" for fault in _lives(frame)] if name == "ADSL" else []
    return faults


def _structure(name: str, frame: pd.DataFrame) -> Iterator[str]:
    wanted = [variable.name for variable in variables(name)]
    if not NAME.fullmatch(name):
        yield "its name is not a capital with up to 7 capitals or digits."
    if not 0 < len(LABELS[name]) <= LABEL:
        yield f"its label has not 1 to {LABEL} characters."
    for column in frame.columns:
        if column not in wanted:
            yield f"{column} has no metadata."
    for variable in variables(name):
        if variable.name not in frame and variable.core == "req":
            yield f"{variable.name} is missing."
    for variable in variables(name):
        if not NAME.fullmatch(variable.name):
            yield f"{variable.name}: a name is a capital with up to 7 capitals or digits."
        if not 0 < len(variable.label) <= LABEL or not variable.label.isascii():
            yield f"{variable.name}: its label has not 1 to {LABEL} plain characters."


def _guide(name: str, frame: pd.DataFrame) -> Iterator[str]:
    """What the implementation guides require is there, and labels are worded as they word them."""
    labels = {variable.name: variable.label for variable in variables(name)}
    for row in guide(name).to_dict("records"):
        if row["core"] == "req" and row["variable"] not in frame:
            yield f"{row['variable']} is missing, which {row['source']} requires."
        if row["variable"] in labels and labels[row["variable"]] != row["label"]:
            yield f"{row['variable']} has the label '{labels[row['variable']]}'; {row['source']} says '{row['label']}'."


def _own(name: str, frame: pd.DataFrame) -> Iterator[tuple[Variable, pd.Series]]:
    for variable in variables(name):
        if variable.name in frame:
            yield variable, frame[variable.name]


def _text(name: str, frame: pd.DataFrame) -> Iterator[str]:
    for variable, column in _own(name, frame):
        if variable.type != TEXT:
            continue
        texts = column.unique()
        if not all(isinstance(text, str) for text in texts):
            yield f"{variable.name} holds a value that is not text."
            continue
        if any(len(text) > LENGTH for text in texts):
            yield f"{variable.name} holds a text of more than {LENGTH} characters."
        if not all(text.isascii() and text.isprintable() for text in texts):
            yield f"{variable.name} holds letters that a transport file can't hold."
        if variable.name.endswith("DTC") and not all(re.fullmatch(ISO_DATE, text) for text in texts if text):
            yield f"{variable.name} holds a date that is not ISO 8601."


def _numbers(name: str, frame: pd.DataFrame) -> Iterator[str]:
    for variable, column in _own(name, frame):
        if variable.type == TEXT:
            continue
        if column.dtype.kind != "f":
            yield f"{variable.name} holds a value that is not a number."
            continue
        x = column.dropna().to_numpy()
        if not np.isfinite(x).all():
            yield f"{variable.name} holds an infinite number."
        elif variable.type in (DATE, INTEGER) and (x != np.round(x)).any():
            yield f"{variable.name} holds a number that is not whole."


def _required(name: str, frame: pd.DataFrame) -> Iterator[str]:
    for variable, column in _own(name, frame):
        null = column.eq("") if variable.type == TEXT else column.isna()
        if variable.core == "req" and null.any():
            yield f"{variable.name} is null in {int(null.sum())} records, and it is required."


def _terms(name: str, frame: pd.DataFrame) -> Iterator[str]:
    for variable, column in _own(name, frame):
        if not variable.codelist:
            continue
        allowed = set(terms(variable.codelist))
        found = {text for text in column.unique() if text} if variable.type == TEXT else {
            f"{value:g}" for value in column.dropna().unique()
        }  # fmt: skip
        for term in sorted(found - allowed):
            yield f"{variable.name} holds '{term}', which is no term of {variable.codelist}."


def _keys(name: str, frame: pd.DataFrame) -> Iterator[str]:
    own = [key for key in keys(name) if key in frame]
    double = int(frame.duplicated(own).sum())
    if double:
        said = "more than one record for a subject" if name == "ADSL" else f"records with the same {', '.join(own)}"
        yield f"has {said} ({double})."


def _pairs(name: str, frame: pd.DataFrame) -> Iterator[str]:
    for one, other in PAIRS:
        if one in frame and other in frame:
            both = frame[[one, other]].drop_duplicates()
            if both[one].duplicated().any() or both[other].duplicated().any():
                yield f"{one} and {other} do not go together one to one."


def _baseline(name: str, frame: pd.DataFrame) -> Iterator[str]:
    if "ABLFL" not in frame or "BASE" not in frame:
        return
    group = ["USUBJID", "PARAMCD"]
    flagged = frame[frame["ABLFL"] == "Y"]
    if flagged.duplicated(group).any():
        yield "has more than one record with ABLFL for a subject and parameter."
    if not _same(flagged["AVAL"], flagged["BASE"]):
        yield "BASE is not AVAL of the record with ABLFL."
    if frame.groupby(group)["BASE"].nunique().gt(1).any():
        yield "BASE differs within a subject and parameter."
    seen = frame[frame["CHG"].notna()]
    if not _same(seen["CHG"], seen["AVAL"] - seen["BASE"], scale=seen["BASE"]):
        yield "CHG is not AVAL - BASE."
    if not _same(seen["PCHG"], 100 * (seen["AVAL"] - seen["BASE"]) / seen["BASE"], scale=100.0):
        yield "PCHG is not 100 (AVAL - BASE) / BASE."


def _same(one: pd.Series, other: pd.Series, scale: pd.Series | float | None = None) -> bool:
    size = np.abs(other) if scale is None else np.abs(scale)
    return bool((np.abs(one - other) <= CLOSE * size).all())


def _days(name: str, frame: pd.DataFrame) -> Iterator[str]:
    for column in frame.columns:
        if column.endswith("DY") and (frame[column] == 0).any():
            yield f"{column} holds day 0, which there is not: the day before day 1 is day -1."


def _subjects(name: str, frame: pd.DataFrame, adsl: pd.DataFrame | None) -> Iterator[str]:
    """Records belong to subjects of ADSL, and say of them what ADSL says."""
    if adsl is None or name == "ADSL" or "USUBJID" not in frame:
        return
    strange = set(frame["USUBJID"]) - set(adsl["USUBJID"])
    if strange:
        yield f"{len(strange)} subjects are not in ADSL."
        return
    of = adsl.drop_duplicates("USUBJID").set_index("USUBJID")
    for own, theirs in (("STUDYID", "STUDYID"), ("TRTP", "TRT01P"), ("TRTPN", "TRT01PN"), ("STARTDT", "RANDDT"),
                        *((same, same) for same in ("RACE", "ITTFL", "FASFL", "SAFFL", "PPROTFL"))):  # fmt: skip
        if (
            own in frame
            and theirs in of
            and not (frame[own].to_numpy() == frame["USUBJID"].map(of[theirs]).to_numpy()).all()
        ):
            yield f"{own} is not {theirs} of ADSL."
    for when in ("ADT", "ASTDT"):
        late = int((frame[when] > frame["USUBJID"].map(of["EOSDT"])).sum()) if when in frame else 0
        if late:
            yield f"{when} is after EOSDT of ADSL in {late} records."
    for day, when in (("ADY", "ADT"), ("ASTDY", "ASTDT")):
        if day in frame and when in frame:
            start = frame["USUBJID"].map(of["RANDDT"])
            if (frame[day] != frame[when] - start + 1).any():
                yield f"{day} is not {when} - RANDDT + 1."


def _lives(adsl: pd.DataFrame) -> Iterator[str]:
    """Dates of a subject are in order, and statuses go with their reasons."""
    for first, then in (("RANDDT", "EOSDT"), ("TRTSDT", "TRTEDT"), ("TRTEDT", "EOSDT"), ("DTHDT", "EOSDT"),
                        ("DCTDT", "EOSDT")):  # fmt: skip
        if first in adsl and then in adsl and (adsl[first] > adsl[then]).any():
            yield f"{first} is after {then}."
    for status, reason in (("EOSSTT", "DCSREAS"), ("EOTSTT", "DCTREAS")):
        if status in adsl and reason in adsl and ((adsl[status] == "DISCONTINUED") != (adsl[reason] != "")).any():
            yield f"{reason} does not go with {status}."
