"""Variables of the ADaM data sets with label, type, codelist and origin, as data.

Structure and names follow the ADaM Implementation Guide 1.3 (ADSL, Basic Data Structure, time to event, occurrence
data) and controlled terminology of NCI/CDISC. `guide.csv` has what the guide requires and how it words labels, with
the section; labels of ADSL and BDS were compared with a public transcription of its tables. The codes of codelists
AGEU, SEX, NY, NCOMPLT, ROUTE and UNIT, and the names of time variables in ADPC (admiral's article on ADNCA), agree with
public sources. The codes of terms, C124296, and the sections on occurrence data and NCA are recalled; check them before
a submission. Names, lengths and labels obey the limits of SAS transport files version 5.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas as pd

FOLDER = Path(__file__).parent

LABELS = {
    "ADSL": "Subject-Level Analysis Dataset",
    "ADBMD": "Bone Mineral Density Analysis Dataset",
    "ADLB": "Laboratory Analysis Dataset",
    "ADTTE": "Time to Event Analysis Dataset",
    "ADEX": "Exposure Analysis Dataset",
    "ADPC": "Pharmacokinetic Concentrations",
    "ADPP": "Pharmacokinetic Parameters",
    "ADCE": "Intercurrent Events Analysis Dataset",
}
STRUCTURES = {
    "ADSL": ("SUBJECT LEVEL ANALYSIS DATASET", "One record per subject"),
    "ADBMD": ("BASIC DATA STRUCTURE", "One record per subject, parameter and visit"),
    "ADLB": ("BASIC DATA STRUCTURE", "One record per subject, parameter and visit"),
    "ADTTE": ("BASIC DATA STRUCTURE", "One record per subject and parameter"),
    "ADEX": ("ADAM OTHER", "One record per subject and dose given"),
    "ADPC": ("BASIC DATA STRUCTURE", "One record per subject, parameter and visit"),
    "ADPP": ("BASIC DATA STRUCTURE", "One record per subject and parameter"),
    "ADCE": ("OCCURRENCE DATA STRUCTURE", "One record per subject and intercurrent event"),
}
SUBCLASSES = {"ADTTE": "TIME-TO-EVENT", "ADPC": "NON-COMPARTMENTAL ANALYSIS"}
GUIDES = {
    "ADSL": ("ADSL",),
    "ADBMD": ("BDS",),
    "ADLB": ("BDS",),
    "ADTTE": ("BDS", "TTE"),
    "ADEX": ("EX",),
    "ADPC": ("BDS", "NCA"),
    "ADPP": ("BDS",),
    "ADCE": ("OCCDS",),
}
"""Data set to the classes of `guide` that it belongs to."""
BDS = ("ADBMD", "ADLB")
TEXT, INTEGER, FLOAT, DATE = "text", "integer", "float", "date"


@dataclass(frozen=True)
class Variable:
    """A variable of a data set.

    Attributes
    ----------
    name, label : str
        At most 8 and 40 characters.
    type : str
        One of `TYPES`; a date is held as days since 1960-01-01, as SAS counts them.
    codelist : str
        Name in `codelists`, or empty.
    core : str
        "req" (present, never null), "cond" or "perm" (present where the trial has it).
    key : int
        Place in the data set's key, 0 if not part of it.
    origin : str
        As Define-XML names it: "Assigned", "Derived", or "Predecessor" (the variable of ADSL that `derivation` names).
    derivation : str
        Where the value comes from.
    """

    name: str
    label: str
    type: str
    codelist: str
    core: str
    key: int
    origin: str
    derivation: str


@cache
def variables(dataset: str) -> tuple[Variable, ...]:
    """The variables of a data set, in order.

    Parameters
    ----------
    dataset : str
        Key of `LABELS`.

    Raises
    ------
    KeyError
        If there is no such data set.
    """
    if dataset not in LABELS:
        raise KeyError(dataset)
    frame = pd.read_csv(FOLDER / "variables.csv", keep_default_na=False, dtype=str)
    wanted = ["*", dataset, *(["REC"] if dataset != "ADSL" else []), *(["BDS"] if dataset in BDS else [])]
    own = frame[frame["dataset"].isin(wanted)]
    return tuple(
        Variable(
            row["variable"],
            row["label"],
            row["type"],
            row["codelist"],
            row["core"],
            int(row["key"] or 0),
            row["origin"],
            row["derivation"],
        )
        for row in own.to_dict("records")
    )


def present(dataset: str, frame: pd.DataFrame) -> tuple[Variable, ...]:
    """The variables that a data set has: not every one belongs to every trial.

    Parameters
    ----------
    dataset : str
        Key of `LABELS`.
    frame : DataFrame
    """
    return tuple(variable for variable in variables(dataset) if variable.name in frame)


def keys(dataset: str) -> list[str]:
    """Names of the variables that tell records apart, in order.

    Parameters
    ----------
    dataset : str
        Name of the data set, such as "ADSL".
    """
    own = sorted((variable.key, variable.name) for variable in variables(dataset) if variable.key)
    return [name for _, name in own]


@cache
def codelists() -> pd.DataFrame:
    """Terms: columns `codelist`, `code` (of NCI), `name`, `term`, `term_code` (of NCI), `decode`, `extensible`."""
    return pd.read_csv(FOLDER / "codelists.csv", keep_default_na=False, dtype=str)


def terms(codelist: str) -> list[str]:
    """Terms of a codelist.

    Parameters
    ----------
    codelist : str
        Name of the codelist.
    """
    frame = codelists()
    return list(frame.loc[frame["codelist"] == codelist, "term"])


@cache
def guide(dataset: str) -> pd.DataFrame:
    """What the implementation guides say of the variables of a data set.

    Parameters
    ----------
    dataset : str
        Key of `LABELS`.

    Returns
    -------
    DataFrame
        Columns `variable`, `label`, `core` ("req", "cond", "perm") and `source`.
    """
    frame = pd.read_csv(FOLDER / "guide.csv", keep_default_na=False, dtype=str)
    return frame[frame["class"].isin(GUIDES[dataset])].drop(columns="class").reset_index(drop=True)
