"""The tables of a run as ADaM data sets: ADSL, ADBMD, ADLB, ADTTE, ADEX, ADPC, ADPP, ADCE.

Frames have text as str ("" is null), and numbers and dates as float64 (NaN is null). A date is a number of days since
1960-01-01. Simulated time has no calendar: the caller gives the date on which the first patient is randomised.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from ranklsim.cohorts import events as kinds
from ranklsim.cohorts.conduct.visits import limits_of
from ranklsim.cohorts.endpoints import Exposure
from ranklsim.cohorts.measures import DRUG
from ranklsim.cohorts.running.storage import Run
from ranklsim.cohorts.statistics.summaries import safety_set
from ranklsim.cohorts.study import setting
from ranklsim.cohorts.words import first_upper
from ranklsim.pkpd.agents import Agent
from ranklsim.pkpd.units import DAYS_PER_MONTH
from ranklsim.reports.analyses import per_protocol
from ranklsim.reports.cdisc.metadata import LABELS, TEXT, keys, variables

EPOCH = date(1960, 1, 1)
"""Day 0 of SAS dates."""

FIRST_DAY = date(2000, 1, 3)
"""Day on which the first patient is randomised, where none is given."""

BMD = {
    "BMD_LS": ("BMDLS", "Lumbar Spine Bone Mineral Density (g/cm2)"),
    "BMD_TH": ("BMDTH", "Total Hip Bone Mineral Density (g/cm2)"),
    "BMD_FN": ("BMDFN", "Femoral Neck Bone Mineral Density (g/cm2)"),
    "BMD_R13": ("BMDR13", "1/3 Radius Bone Mineral Density (g/cm2)"),
}
LABORATORY = {
    "CTX": ("CTX", "C-Terminal Telopeptide of Type I Collagen (ng/mL)"),
    "P1NP": ("P1NP", "Procollagen 1 N-Terminal Propeptide (ng/mL)"),
    "TRAP5B": ("TRAP5B", "Tartrate-Resistant Acid Phosphatase 5b (U/L)"),
    "BSAP": ("BSAP", "Bone Specific Alkaline Phosphatase (ng/mL)"),
    "CA": ("CA", "Calcium (mmol/L)"),
    "PTH": ("PTH", "Parathyroid Hormone, Intact (pmol/L)"),
}
TIMES: dict[str, tuple[str, str, str]] = {
    kinds.VERTEBRAL: ("TTVFX", "Time to First New Morphometric Vertebral Fracture (Days)", "fractures"),
    kinds.CLINICAL_VERTEBRAL: ("TTCVFX", "Time to First Clinical Vertebral Fracture (Days)", "fractures"),
    kinds.NONVERTEBRAL: ("TTNVFX", "Time to First Nonvertebral Fracture (Days)", "fractures"),
    kinds.HIP: ("TTHIP", "Time to First Hip Fracture (Days)", "fractures"),
    kinds.HYPOCALCAEMIA: ("TTHYPOCA", "Time to First Hypocalcemia (Days)", "hypocalcaemia"),
    kinds.DEATH: ("TTDEATH", "Time to Death (Days)", "deaths"),
    kinds.STOPPED: ("TTSTOP", "Time to Stopping Treatment (Days)", ""),
    kinds.DROPOUT: ("TTDISC", "Time to Leaving the Study (Days)", ""),
}
"""Event: code, parameter, and the key of [conduct] by which the trial records it ("": always)."""

REASONS = {"withdrew": "WITHDRAWAL BY SUBJECT", "own decision": "WITHDRAWAL BY SUBJECT",
           "not persistent": "NON-COMPLIANCE WITH STUDY DRUG"}  # fmt: skip
"""Reasons for leaving or stopping in a run, to terms of NCOMPLT; any other reason is OTHER."""
INTERCURRENT = {
    kinds.STOPPED: "Stopped treatment",
    kinds.RESCUE: "Rescue treatment",
    kinds.SWITCH: "Switched treatment",
    kinds.DROPOUT: "Left the study",
    kinds.DEATH: "Died",
}
"""Event to its words in ADCE."""
ADDED = {kinds.RESCUE: "RESCUE TREATMENT", kinds.SWITCH: "SWITCHED TREATMENT"}
"""Reason of a dose that no regimen of the arm has, to its category."""
GONE = (kinds.STOPPED, kinds.RESCUE, kinds.SWITCH, "left")
"""Reasons of planned doses that were not due any more."""
ROUTES = {"SC": "SUBCUTANEOUS", "IV": "INTRAVENOUS", "PO": "ORAL"}
PARAMETERS = {"AUC": "AUCINT", "Cmax": "CMAX", "trough": "CTROUGH", "AUEC": "AUEC", "level": "LEVEL"}
"""Exposure to its code; those of a drug are terms of PKPARMCD."""
PARAMETER_UNITS = {"AUC": "day*ug/mL", "Cmax": "ug/mL", "trough": "ug/mL", "AUEC": "day*%"}
MOMENT = 1e-6
"""Months. A sample and a dose that are closer are taken as simultaneous."""

CENSORED = {1: "END OF OBSERVATION", 2: "LEFT THE STUDY", 3: "DIED", 4: "NO FRACTURE ON ANY IMAGE"}
CENSOR_DATES = {1: "END OF THE TRIAL", 2: "DAY OF LEAVING THE STUDY", 3: "DAY OF DEATH", 4: "LAST SPINE IMAGE ATTENDED"}
"""Source of a censored time and of its date, by CNSR."""


def build(run: Run, agents: Mapping[str, Agent], first_day: date = FIRST_DAY) -> dict[str, pd.DataFrame]:
    """All data sets of a run.

    Parameters
    ----------
    run : Run
    agents : mapping of str to Agent
        Every agent of the trial.
    first_day : date
        On which the first patient is randomised.

    Returns
    -------
    dict of DataFrame
        By name, in the order of `metadata.LABELS`; columns as `metadata.variables` has them, without PPROTFL where the
        trial defines no per-protocol set. ADPC has no row if no agent has concentrations, and ADPP none if no endpoint
        is an exposure.
    """
    names = plain_names(run, agents)
    people = _people(run, names, first_day)
    adsl = _adsl(run, people, names)
    shared = [flag for flag in ("RACE", "ITTFL", "FASFL", "SAFFL", "PPROTFL") if flag in adsl]
    people = people.assign(**{flag: adsl[flag] for flag in shared})
    made = {
        "ADSL": adsl,
        "ADBMD": _measured(run, people, BMD),
        "ADLB": _measured(run, people, LABORATORY),
        "ADTTE": _adtte(run, people),
        "ADEX": _adex(run, people, agents, names),
        "ADPC": _adpc(run, people, agents, names),
        "ADPP": _adpp(run, people, agents, names),
        "ADCE": _adce(run, people, names),
    }
    return {name: _ordered(name, made[name], "PPROTFL" in adsl) for name in LABELS}


@dataclass(frozen=True)
class Names:
    """The names of a run in letters that a transport file holds.

    Attributes
    ----------
    study : str
        STUDYID.
    arms, agents : mapping of str to str
        By name in the trial file.
    codes : mapping of str to str
        ARMCD, at most 20 characters, no two alike.
    replaced : tuple of str
        A sentence for each text in whose place another stands.
    """

    study: str
    arms: Mapping[str, str]
    agents: Mapping[str, str]
    codes: Mapping[str, str]
    replaced: tuple[str, ...]


def plain_names(run: Run, agents: Mapping[str, Agent]) -> Names:
    """Names of the study, its arms and agents for transport files.

    A label is written in plain letters where each of its letters has one; otherwise the name of its arm or agent, which
    is plain, stands for it. So it does for a label of more than 200 characters and for the label of an earlier arm.

    Parameters
    ----------
    run : Run
    agents : mapping of str to Agent
    """
    replaced: list[str] = []

    def stand_in(kind: str, labels: Mapping[str, str]) -> dict[str, str]:
        out: dict[str, str] = {}
        for name, label in labels.items():
            text = ascii_text(label)
            why = "has letters that a transport file can't hold" if text is None else ""
            why = why or ("is empty" if not text else "has more than 200 characters" if len(text) > 200 else "")
            why = why or ("is the label of another" if text in out.values() else "")
            out[name] = _short([*out.values(), name], 200)[-1] if why or text is None else text
            if why:
                replaced.append(f"{kind} '{name}': its label {why}, so its name stands in the data sets.")
        return out

    title = str(run.manifest["trial"])
    study = re.sub(r"[^A-Z0-9]+", "-", (ascii_text(title) or "").upper()).strip("-")
    if not study:
        replaced.append(f"The name of the trial, '{title}', has no plain letters, so STUDYID is TRIAL.")
    arms = stand_in("arm", {arm.name: arm.label or arm.name for arm in run.trial.arms})
    labels = stand_in("agent", {name: agent.label for name, agent in agents.items()})
    return Names(study or "TRIAL", arms, labels, dict(zip(arms, _short(list(arms), 20), strict=True)), tuple(replaced))


SIGNS = {
    "«": '"', "»": '"', "‹": "'", "›": "'", "≈": "~", "⁄": "/", "÷": "/", "°": "deg", "®": "(R)", "©": "(C)", "−": "-",
    "–": "-", "—": "-", "‐": "-", "‑": "-", "×": "x", "≥": ">=", "≤": "<=", "±": "+/-", "·": ".", "•": "-",
    "µ": "u", "μ": "u", "‘": "'", "’": "'", "“": '"', "”": '"', "„": '"', "…": "...", "→": "->", "ß": "ss", "æ": "ae",
    "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d", "Đ": "D", "ı": "i", "þ": "th",
    "Þ": "Th", "ð": "d", "Ð": "D",
}  # fmt: skip
"""Signs and letters that no decomposition of Unicode makes plain; micro has two code points."""


def ascii_text(text: str) -> str | None:
    """A text in the letters of a transport file; None if that loses one.

    Marks are taken off letters, compatibility forms (²) become plain, and Greek letters become their names; micro is u.

    Parameters
    ----------
    text : str
    """
    out = []
    for letter in unicodedata.normalize("NFKD", "".join(SIGNS.get(c, c) for c in text)):
        known = SIGNS.get(letter, letter)
        if unicodedata.category(letter) == "Mn" and unicodedata.combining(letter):
            continue
        if not known.isascii():
            words = unicodedata.name(letter, "").split()
            if words[:1] != ["GREEK"] or "LETTER" not in words:
                return None
            known = words[words.index("LETTER") + 1]
            known = known.lower() if "SMALL" in words else known.capitalize()
        out.append(known)
    return " ".join("".join(out).split()) if "".join(out).isprintable() else None


def _short(names: Sequence[str], most: int) -> list[str]:
    """Names cut to `most` characters, no two alike."""
    out: list[str] = []
    for name in names:
        short, k = name[:most], 1
        while short in out:
            k += 1
            short = f"{name[: most - len(str(k))]}{k}"
        out.append(short)
    return out


def days(months: ArrayLike) -> np.ndarray:
    """Months in whole days.

    Parameters
    ----------
    months : array_like
        Months of 30.4375 days.
    """
    return np.round(np.asarray(months, float) * DAYS_PER_MONTH)


def decimal(values: ArrayLike) -> np.ndarray:
    """Single-precision numbers as their shortest decimals: 0.514013, not 0.5140130519866943.

    Parameters
    ----------
    values : array_like
        Numbers.
    """
    values = np.asarray(values)
    if values.dtype != np.float32:
        return values.astype(float)
    return pd.Series(values).astype(str).astype(float).to_numpy()


def _people(run: Run, names: Names, first_day: date) -> pd.DataFrame:
    """Variables of a patient that every data set needs, by patient number."""
    patients = run.patients.set_index("patient")
    width, study = max(4, len(str(int(patients.index.max())))), names.study
    order = {arm.name: k for k, arm in enumerate(run.trial.arms, 1)}
    enrolled = patients["enrolled_month"].to_numpy(float)
    return pd.DataFrame(
        {
            "STUDYID": study,
            "USUBJID": [f"{study}-{number:0{width}d}" for number in patients.index],
            "SUBJID": [f"{number:0{width}d}" for number in patients.index],
            "arm": patients["arm"].to_numpy(),
            "TRT01P": patients["arm"].map(names.arms).to_numpy(),
            "ARMCD": patients["arm"].map(names.codes).to_numpy(),
            "TRT01PN": patients["arm"].map(order).to_numpy(float),
            "RANDDT": (first_day - EPOCH).days + days(enrolled - enrolled.min()),
        },
        index=patients.index,
    )


def _adsl(run: Run, people: pd.DataFrame, names: Names) -> pd.DataFrame:
    patients = run.patients.set_index("patient")
    doses = run.doses[run.doses["given"].astype(bool)]
    given = doses[~doses["reason"].isin(ADDED)].groupby("patient")["month"]
    treated = people.index.isin(safety_set(run.patients, run.doses)["patient"])
    frame = people.assign(
        SITEID="001",
        AGE=np.floor(patients["age"].astype(float)),
        AGEU="YEARS",
        AAGE=patients["age"].astype(float),
        SEX="F",
        RACE="NOT REPORTED",
        ARM=people["TRT01P"],
        TRT01A=np.where(treated, people["TRT01P"], ""),
        TRT01AN=np.where(treated, people["TRT01PN"], np.nan),
        STRATAR=[(ascii_text(str(stratum)) or "")[:200] for stratum in patients["stratum"]],
        RFSTDTC=[iso(day) for day in people["RANDDT"]],
        TRTSDT=people["RANDDT"] + days(given.min().reindex(people.index)),
        TRTEDT=people["RANDDT"] + days(given.max().reindex(people.index)),
        EOSDT=people["RANDDT"] + days(_last_seen(run, doses, patients["last_month"])),
        ITTFL="Y",
        FASFL="Y",
        SAFFL=np.where(treated, "Y", "N"),
        HEIGHTBL=patients["height"],
        WEIGHTBL=patients["weight"],
        BMIBL=patients["BMI"],
        YSMBL=patients["years_since_menopause"],
        EGFRBL=patients["eGFR"],
        VITDBL=patients["vitamin_D"],
        TLSBL=patients["T_LS"],
        TTHBL=patients["T_TH"],
        TFNBL=patients["T_FN"],
        TR13BL=patients["T_R13"],
        PVFXFL=np.where(patients["prevalent_fracture"] > 0, "Y", "N"),
        PRIORFL=np.where(patients["prior_treatment"] > 0, "Y", "N"),
    )
    frame["ACTARM"], frame["ACTARMCD"] = frame["ARM"].where(treated, ""), frame["ARMCD"].where(treated, "")
    rules = run.trial.per_protocol
    primary = next((spec for spec in run.trial.endpoints if spec.role == "primary"), None)
    if rules is not None and primary is not None:
        deviated = per_protocol.major(rules, run, primary).set_index("patient")["any"]
        frame["PPROTFL"] = np.where(deviated.reindex(people.index), "N", "Y")
    return frame.assign(**_sequences(run, people, names), **_ends(run, people))


def _last_seen(run: Run, given: pd.DataFrame, last: pd.Series) -> pd.Series:
    """Month until which a patient was followed: a visit or a dose in its window may be later than the plan."""
    came = run.seen("actual_month", attended=True).groupby("patient")["actual_month"].max()
    parts = [last, came.reindex(last.index), given.groupby("patient")["month"].max().reindex(last.index)]
    return pd.concat([part.astype(float) for part in parts], axis="columns").max(axis="columns")


def _sequences(run: Run, people: pd.DataFrame, names: Names) -> dict[str, ArrayLike]:
    """Agents as planned for the arm and as given to the patient, in order."""
    planned = {}
    for arm in run.trial.arms:
        steps: list[str] = []
        for regimen in arm.regimens:
            label = names.agents[regimen.agent]
            if regimen.together and steps:
                steps[-1] += f" + {label}"
            elif not steps or steps[-1] != label:
                steps.append(label)
        planned[arm.name] = " - ".join(steps)[:200]
    doses = run.doses[run.doses["given"].astype(bool)].sort_values("month", kind="stable")
    marks = doses["reason"].map({kinds.RESCUE: " (rescue)", kinds.SWITCH: " (switched)"}).fillna("")
    taken = (doses["agent"].map(dict(names.agents)) + marks).groupby(doses["patient"]).unique()
    actual = taken.map(lambda parts: " - ".join(parts)[:200]).reindex(people.index, fill_value="")
    return {"TRTSEQP": people["arm"].map(planned), "TRTSEQA": actual}


def _ends(run: Run, people: pd.DataFrame) -> dict[str, ArrayLike]:
    """End of study and end of treatment of each patient."""
    first = {
        kind: run.events[run.events["event"] == kind].drop_duplicates("patient").set_index("patient")
        for kind in (kinds.COMPLETED, kinds.DROPOUT, kinds.DEATH)
    }
    doses = run.doses[~run.doses["reason"].isin(ADDED) | ~run.doses["given"].astype(bool)]
    lost = doses[~doses["given"].astype(bool) & doses["reason"].isin(GONE)]
    cut = people.index.isin(lost["patient"])
    ended = run.events[run.events["event"].isin(INTERCURRENT)].sort_values(["patient", "month"], kind="stable")
    ended = ended.drop_duplicates("patient").set_index("patient").reindex(people.index)
    why = [
        "DEATH"
        if event == kinds.DEATH
        else _reason(str(detail))
        if event in (kinds.STOPPED, kinds.DROPOUT)
        else "OTHER"
        for event, detail in zip(ended["event"], ended["detail"], strict=True)
    ]
    status = np.where(cut, "DISCONTINUED", np.where(people.index.isin(doses["patient"]), "COMPLETED", ""))
    completed, died = (people.index.isin(first[kind].index) for kind in (kinds.COMPLETED, kinds.DEATH))
    detail = first[kinds.DROPOUT]["detail"].astype(str)
    left = detail.map(_reason).reindex(people.index, fill_value="")
    said = [_said(event, detail) for event, detail in zip(ended["event"], ended["detail"], strict=True)]
    return {
        "EOSSTT": np.where(completed, "COMPLETED", "DISCONTINUED"),
        "COMPLFL": np.where(completed, "Y", "N"),
        "DCSREAS": np.where(died, "DEATH", left),
        "DCSREASP": detail.str.upper().reindex(people.index, fill_value=""),
        "EOTSTT": status,
        "DCTREAS": np.where(cut, why, ""),
        "DCTREASP": np.where(cut, said, ""),
        "DTHFL": np.where(died, "Y", ""),
        "DTHDT": people["RANDDT"] + days(first[kinds.DEATH]["month"].reindex(people.index)),
        "DCTDT": (people["RANDDT"] + days(ended["month"])).where(cut),
    }


def _said(event: object, detail: object, agents: Mapping[str, str] | None = None) -> str:
    """An intercurrent event with its reason or agent; nothing for none."""
    if event not in INTERCURRENT:
        return ""
    about = "" if pd.isna(detail) else str(detail)
    about = (agents or {}).get(about, about)
    return (INTERCURRENT[str(event)] + (f": {about}" if about else "")).upper()[:200]


def _reason(detail: str) -> str:
    return REASONS.get(detail, "OTHER")


def iso(day: float) -> str:
    """A number of days since 1960-01-01 as ISO 8601.

    Parameters
    ----------
    day : float
        Days since 1960-01-01.
    """
    return date.fromordinal(EPOCH.toordinal() + int(day)).isoformat()


def _measured(run: Run, people: pd.DataFrame, parameters: Mapping[str, tuple[str, str]]) -> pd.DataFrame:
    """Observed values in the Basic Data Structure; of the visits, a parameter's own columns are read at a time."""
    parts = []
    known = run.columns("visits")
    for number, (column, (code, label)) in enumerate(parameters.items(), 1):
        if column not in known:
            continue
        flag = f"{column}_BLQ"
        visits = run.seen("actual_month", column, *([flag] if flag in known else []))
        visits = visits[visits[column].notna()].reset_index(drop=True)
        seen = visits[["patient", "month", "actual_month"]]
        value = decimal(visits[column].to_numpy())
        unit = label[label.rindex("(") + 1 : -1]
        part = seen.assign(AVAL=value, AVALU=unit, PARAM=label, PARAMCD=code, PARAMN=float(number))
        at_zero = part["month"] == 0
        part["BASE"] = part["patient"].map(part[at_zero].set_index("patient")["AVAL"])
        part["CHG"] = (part["AVAL"] - part["BASE"]).where(~at_zero)
        part["PCHG"] = (100 * (part["AVAL"] - part["BASE"]) / part["BASE"]).where(~at_zero)
        part["ABLFL"] = np.where(at_zero, "Y", "")
        part["ANL01FL"] = np.where(~at_zero & part["BASE"].notna(), "Y", "")
        below = visits[flag].to_numpy(bool) if flag in visits else np.zeros(len(part), bool)
        parts.append(part.assign(BLQFL=np.where(below, "Y", ""), LBORRES=_reported(value, below)))
    return _at_visits(pd.concat(parts, ignore_index=True), people)


def _reported(values: np.ndarray, below: np.ndarray) -> list[str]:
    """Results as a laboratory reports them: ``<0.049`` below the limit of quantitation."""
    return [f"{'<' if low else ''}{value:.6g}" for value, low in zip(values, below, strict=True)]


def _at_visits(frame: pd.DataFrame, people: pd.DataFrame) -> pd.DataFrame:
    """Identifiers, treatment, planned visit and its actual day for rows with `patient`, `month`, `actual_month`."""
    frame = _identified(frame, people)
    month = frame["month"].to_numpy(float)
    named = {m: "Baseline" if m == 0 else f"Month {m:g}" for m in np.unique(month)}
    whole_days = [m for m in named if round(m, 2) != m and abs(m * DAYS_PER_MONTH - days(m)) < MOMENT]
    named |= {m: f"Day {days(m):.0f}" for m in whole_days}
    frame["AVISITN"], frame["AVISIT"] = month, [named[m] for m in month]
    frame["ADT"] = frame["RANDDT"] + days(frame["actual_month"])
    frame["ADY"] = days(frame["actual_month"]) + 1
    return frame


def _identified(frame: pd.DataFrame, people: pd.DataFrame) -> pd.DataFrame:
    own = people.loc[frame["patient"].to_numpy()].drop(columns=["arm", "SUBJID", "ARMCD"])
    own = own.reset_index(drop=True).rename(columns={"TRT01P": "TRTP", "TRT01PN": "TRTPN"})
    return pd.concat([own, frame.reset_index(drop=True)], axis="columns")


def _adtte(run: Run, people: pd.DataFrame) -> pd.DataFrame:
    """First event of each kind that the trial records, or the time at which the patient was seen last."""
    last = run.patients.set_index("patient")["last_month"]
    ended = run.events[run.events["event"].isin([kinds.DROPOUT, kinds.DEATH])].set_index("patient")["event"]
    how = ended.reindex(people.index).map({kinds.DROPOUT: 2, kinds.DEATH: 3}).fillna(1).astype(int)
    seen = set(run.events["event"])
    parts = []
    for number, (event, (code, label, key)) in enumerate(TIMES.items(), 1):
        if key and event not in seen and not getattr(run.trial.conduct, key, False):
            continue  # the trial does not record it: that none was seen says nothing
        own = run.events[run.events["event"] == event].sort_values(["patient", "month"], kind="stable")
        own = own.drop_duplicates("patient").set_index("patient")
        happened = people.index.isin(own.index)
        until = last.copy()
        if event == kinds.VERTEBRAL:  # what no image has shown yet is not known: seen until the last image
            images = np.array([0.0, *(run.trial.conduct.imaging or ())])
            until[:] = images[np.searchsorted(images, last.to_numpy(float) + 1e-9, side="right") - 1]
        month = np.where(happened, own["month"].reindex(people.index), until)
        cause = np.where(event == kinds.VERTEBRAL, 4, how)  # its observation ends with the last image
        parts.append(
            pd.DataFrame(
                {
                    "patient": people.index,
                    "PARAM": label,
                    "PARAMCD": code,
                    "PARAMN": float(number),
                    "AVAL": days(month) + 1,
                    "ADY": days(month) + 1,
                    "CNSR": np.where(happened, 0, cause).astype(float),
                    "EVNTDESC": np.where(happened, label.removesuffix(" (Days)").removeprefix("Time to ").upper(),
                                         [CENSORED[int(k)] for k in cause]),
                    "CNSDTDSC": np.where(happened, "", [CENSOR_DATES[int(k)] for k in cause]),
                    "AECNT": own["count"].reindex(people.index).astype(float),
                }
            )
        )  # fmt: skip
    frame = _identified(pd.concat(parts, ignore_index=True), people)
    return frame.assign(STARTDT=frame["RANDDT"], ADT=frame["RANDDT"] + frame["AVAL"] - 1, AVALU="DAYS")


def _adex(run: Run, people: pd.DataFrame, agents: Mapping[str, Agent], plain: Names) -> pd.DataFrame:
    """Doses as given."""
    given = run.doses[run.doses["given"].astype(bool)]
    given = given.sort_values(["patient", "month", "agent"], kind="stable").reset_index(drop=True)
    names = {name: label.upper() for name, label in plain.agents.items()}
    known = {ROUTES[agent.route] for agent in agents.values() if agent.route in ROUTES}
    alike = known.pop() if len(known) == 1 else "UNKNOWN"
    routes = {name: ROUTES.get(agent.route, alike) for name, agent in agents.items()}
    frame = _identified(given[["patient", "month", "planned_month"]], people)
    return frame.assign(
        ASEQ=(frame.groupby("patient").cumcount() + 1).astype(float),
        EXTRT=given["agent"].map(names),
        EXCAT=given["reason"].map(ADDED).fillna("STUDY TREATMENT"),
        EXDOSE=decimal(given["amount_mg"]),
        EXDOSU="mg",
        EXPLDOS=decimal(given["mg_per_kg"].fillna(given["amount_mg"])),
        EXPLDOSU=np.where(given["mg_per_kg"].notna(), "mg/kg", "mg"),
        EXROUTE=given["agent"].map(routes),
        ASTDT=frame["RANDDT"] + days(frame["month"]),
        ASTDY=days(frame["month"]) + 1,
        EXPLDY=days(frame["planned_month"]) + 1,
        EXDELAY=days(frame["month"]) - days(frame["planned_month"]),
        ADURN=decimal(given["infusion_h"]) if "infusion_h" in given else 0.0,
        ADURU="HOURS",
    )


def _adce(run: Run, people: pd.DataFrame, plain: Names) -> pd.DataFrame:
    """Intercurrent events, each as it happened."""
    own = run.events[run.events["event"].isin(INTERCURRENT)]
    own = own.sort_values(["patient", "month"], kind="stable").reset_index(drop=True)
    frame = _identified(own[["patient", "month"]], people)
    return frame.assign(
        ASEQ=(frame.groupby("patient").cumcount() + 1).astype(float),
        CETERM=[_said(event, detail, plain.agents) for event, detail in zip(own["event"], own["detail"], strict=True)],
        CEDECOD=own["event"].str.upper(),
        CECAT="INTERCURRENT EVENT",
        ASTDT=frame["RANDDT"] + days(frame["month"]),
        ASTDY=days(frame["month"]) + 1,
    )


def _adpc(run: Run, people: pd.DataFrame, agents: Mapping[str, Agent], plain: Names) -> pd.DataFrame:
    """Serum concentrations of the agents of a patient's arm, at the visits that she attended.

    A sample on the day of a dose is taken before it, so that its reference is the dose before. Time points are those of
    the plan: PREDOSE where a dose is planned for the visit and given then or late, else days since the planned dose
    before; actual times are those of samples and doses as they were. A concentration below the limit of quantitation is
    null, as in the template of admiral; what an analysis puts in its place is its own decision.
    """
    known = run.columns("visits")
    codes = agent_codes([name for name in agents if f"C_{name}" in known])
    limits = limits_of(run.trial, run.parameters, [f"C_{name}" for name in codes])
    parts = []
    for number, (name, code) in enumerate(codes.items(), 1):
        doses = run.doses[run.doses["agent"] == name]
        given = doses[doses["given"].astype(bool)]
        seen = run.seen("actual_month", f"C_{name}", f"C_{name}_BLQ")
        seen = seen[seen["arm"].isin(set(doses["arm"])) & seen[f"C_{name}"].notna()].reset_index(drop=True)
        value, below = decimal(seen[f"C_{name}"].to_numpy()), seen[f"C_{name}_BLQ"].to_numpy(bool)
        part = seen[["patient", "month", "actual_month"]].astype({"month": float, "actual_month": float})
        part = part.assign(
            PARAM=f"{plain.agents[name][:150]} Concentration, Serum, Free (ug/mL)",
            PARAMCD=code,
            PARAMN=float(number),
            AVAL=np.where(below, np.nan, value),
            AVALU="ug/mL",
            ALLOQ=limits[f"C_{name}"],
            BLQFL=np.where(below, "Y", ""),
            PCORRES=_reported(value, below),
            FRLTU="DAYS",
            RRLTU="DAYS",
        )
        planned, first = (
            part["patient"].map(frame.groupby("patient")[column].min())
            for frame, column in ((doses, "planned_month"), (given, "month"))
        )
        due = pd.MultiIndex.from_frame(part[["patient", "month"]]).isin(
            pd.MultiIndex.from_frame(given[["patient", "planned_month"]])
        )
        part["NFRLT"] = days(part["month"] - planned)
        part["AFRLT"] = days(part["actual_month"] - first)
        part["NRRLT"] = days(part["month"] - _dose_before(part, "month", doses, "planned_month"))
        part["ARRLT"] = days(part["actual_month"] - _dose_before(part, "actual_month", given, "month"))
        before_any = part["NRRLT"].isna()
        point = np.where(
            due, 0.0, part["NRRLT"].clip(lower=1)
        )  # a dose that no visit is planned for may be just before
        part["ATPTN"] = point
        after = pd.Series(point, part.index).map("{:.0f} DAYS POSTDOSE".format)
        part["ATPT"] = np.where(due, "PREDOSE", np.where(before_any, "", after))
        parts.append(part)
    if not parts:
        return pd.DataFrame(columns=[variable.name for variable in variables("ADPC")])
    return _at_visits(pd.concat(parts, ignore_index=True), people)


def _adpp(run: Run, people: pd.DataFrame, agents: Mapping[str, Agent], plain: Names) -> pd.DataFrame:
    """Exposures of the patients, one parameter for each endpoint of exposure that differs in more than its claim."""
    specs: dict[str, Exposure] = {}
    for spec in run.trial.endpoints:
        if isinstance(spec, Exposure):
            specs.setdefault(spec.described, spec)
    codes = _short([PARAMETERS[spec.what] for spec in specs.values()], 8)
    parts = []
    for number, (spec, code) in enumerate(zip(specs.values(), codes, strict=True), 1):
        found = spec.table(run, setting(run, spec))
        of = {DRUG: "All Drugs"} | {f"C_{name}": plain.agents[name][:100] for name in agents}
        start, end = (f"P{days(month):.0f}D" for month in (spec.from_month, spec.to_month))
        unit, when = PARAMETER_UNITS.get(spec.what, spec.unit), start if start == end else f"{start} to {end}"
        parts.append(
            pd.DataFrame(
                {
                    "patient": found["patient"].to_numpy(),
                    "PARAM": f"{first_upper(spec.what)} {of.get(spec.of, spec.of)}, {when} ({unit})",
                    "PARAMCD": code,
                    "PARAMN": float(number),
                    "AVAL": np.exp(found["value"].to_numpy(float)),
                    "AVALU": unit,
                    "BLQFL": np.where(found["below"].to_numpy(bool), "Y", ""),
                    "PPSTINT": start,
                    "PPENINT": end,
                }
            )
        )
    if not any(len(part) for part in parts):
        return pd.DataFrame(columns=[variable.name for variable in variables("ADPP")])
    return _identified(pd.concat(parts, ignore_index=True), people)


def _dose_before(samples: pd.DataFrame, when: str, doses: pd.DataFrame, dosed: str) -> pd.Series:
    """Month of each patient's last dose (column `dosed`) before a sample (column `when`), not at the same moment."""
    left = samples[["patient", when]].rename(columns={when: "at"}).reset_index().sort_values("at", kind="stable")
    right = (
        doses[["patient", dosed]]
        .assign(at=doses[dosed] + MOMENT)
        .astype({"at": float})
        .sort_values("at", kind="stable")
    )
    found = pd.merge_asof(left, right, on="at", by="patient", allow_exact_matches=False)
    return found.set_index("index")[dosed].reindex(samples.index).astype(float)


def agent_codes(names: Sequence[str]) -> dict[str, str]:
    """A parameter code of at most 8 characters for each agent, no two alike.

    Parameters
    ----------
    names : sequence of str
        Names of agents.
    """
    stems = [re.sub(r"[^A-Z0-9]", "", name.upper()).lstrip("0123456789") or "AGENT" for name in names]
    return dict(zip(names, _short(stems, 8), strict=True))


def _ordered(name: str, frame: pd.DataFrame, per_protocol_set: bool) -> pd.DataFrame:
    """The variables in order, in their types, records sorted by key; text without null, numbers as float64."""
    out = {}
    for variable in variables(name):
        if variable.name == "PPROTFL" and not per_protocol_set:
            continue
        column = frame[variable.name] if variable.name in frame else pd.Series(np.nan, index=frame.index)
        if variable.type == TEXT:
            out[variable.name] = column.fillna("").astype(str)
        else:
            out[variable.name] = column.astype(float)
    return pd.DataFrame(out).sort_values(keys(name), kind="stable", ignore_index=True)
