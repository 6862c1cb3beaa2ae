"""A run's patients as a table of records for NONMEM, nlmixr2 and Monolix: doses as given, observations as measured.

Numbers stand for all that these tools read: DVID for what is observed, CMT for the compartment. The columns AGENT,
DVNAME and ARM say it in words; NONMEM drops them (``$INPUT ... AGENT=DROP``), nlmixr2 and Monolix ignore them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ranklsim.cohorts.protocol.conduct import AT_VISITS
from ranklsim.cohorts.running.storage import Run
from ranklsim.pkpd.records import MISSING, UNITS, joined
from ranklsim.pkpd.units import DAYS_PER_MONTH

MEASURES = ("BMD_LS", "BMD_TH", "BMD_FN", "BMD_R13", "CTX", "P1NP", "TRAP5B", "BSAP", "CA", "PTH")
COVARIATES = {
    "AGE": "age", "WT": "weight", "HT": "height", "EGFR": "eGFR", "VITD": "vitamin_D", "YSM": "years_since_menopause",
    "T_LS": "T_LS", "T_TH": "T_TH", "T_FN": "T_FN", "T_R13": "T_R13", "PVFX": "prevalent_fracture",
}  # fmt: skip
"""Columns of the table, and what they are in a run."""


def record_table(run: Run, time: str = "days") -> pd.DataFrame:
    """Records of all patients of a run, by patient and time.

    Parameters
    ----------
    run : Run
    time : {"days", "hours"}
        Unit of TIME and II.

    Returns
    -------
    DataFrame
        ID, TIME, AMT (mg), RATE, II, ADDL, SS, EVID, MDV, DV, DVID, CMT, CENS (1: below the limit of quantitation,
        which DV then is), covariates, ARMN, AGENT, DVNAME, ARM; ``.`` where nothing is. An observation stands before
        a dose of the same moment. Doses at less than four weeks are joined by II and ADDL.
    """
    agents = [name for name, agent in run.agents.items() if agent.kind != "none"]
    patients, arms = run.patients, [arm.name for arm in run.trial.arms]
    frame = pd.concat([_doses(run, agents), _observations(run, agents)], ignore_index=True)
    frame = frame.sort_values(["ID", "TIME", "EVID"], kind="stable", ignore_index=True)
    frame[["TIME", "II"]] = frame[["TIME", "II"]] * UNITS[time]
    frame["RATE"] = frame["RATE"] / UNITS[time]
    about = patients.set_index("patient").loc[frame["ID"]]
    for column, name in COVARIATES.items():
        frame[column] = about[name].to_numpy()
    frame["ARMN"] = about["arm"].map({name: k for k, name in enumerate(arms, start=1)}).to_numpy()
    frame["ARM"] = about["arm"].to_numpy()
    last = ["AGENT", "DVNAME", "ARM"]
    return frame[[*(name for name in frame if name not in last), *last]]


def _doses(run: Run, agents: Sequence[str]) -> pd.DataFrame:
    given = run.doses[lambda doses: doses["given"] & doses["agent"].isin(agents)]
    given = given.assign(day=given["month"] * DAYS_PER_MONTH).sort_values(["patient", "day"], kind="stable")
    hours = given["infusion_h"] if "infusion_h" in given else 0.0
    given = given.assign(rate=(given["amount_mg"] / (hours / 24.0)).where(hours > 0, 0.0) if np.any(hours) else 0.0)
    parts = [
        joined(part[["agent", "day", "amount_mg", "rate"]], AT_VISITS).assign(ID=patient)
        for patient, part in given.groupby("patient", sort=False)
    ]
    columns = ["agent", "day", "amount_mg", "rate", "ID"]
    rows = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)
    number = {name: k for k, name in enumerate(agents, start=1)}
    return pd.DataFrame(
        {
            "ID": rows["ID"].astype(int), "TIME": rows["day"].astype(float), "AMT": rows["amount_mg"].astype(float),
            "RATE": rows["rate"].astype(float), "II": rows.get("II", 0.0), "ADDL": rows.get("ADDL", 0), "SS": 0,
            "EVID": 1, "MDV": 1,
            "DV": np.nan, "DVID": 0, "CMT": rows["agent"].map(number), "CENS": 0, "AGENT": rows["agent"], "DVNAME": "",
        }
    )  # fmt: skip


def _observations(run: Run, agents: Sequence[str]) -> pd.DataFrame:
    names = [*MEASURES, *(f"C_{name}" for name in agents)]
    known = run.columns("visits")
    names = [name for name in names if name in known]
    seen = run.visits[lambda visits: visits["attended"]]
    met = {name: run.doses[lambda doses, name=name: doses["agent"] == name]["patient"].unique() for name in agents}
    parts = []
    for k, name in enumerate(names, start=1):
        here = seen[seen[name].notna()]
        if name.startswith("C_"):  # of those for whom the drug is planned
            here = here[here["patient"].isin(met[name.removeprefix("C_")])]
        hidden = f"{name}_BLQ"
        parts.append(
            pd.DataFrame(
                {
                    "ID": here["patient"].astype(int), "TIME": here["actual_month"] * DAYS_PER_MONTH, "AMT": np.nan,
                    "RATE": 0, "II": 0.0, "ADDL": 0, "SS": 0, "EVID": 0, "MDV": 0, "DV": here[name].astype(float),
                    "DVID": k, "CMT": len(agents) + k, "CENS": here[hidden].astype(int) if hidden in here else 0,
                    "AGENT": "", "DVNAME": name,
                }
            )
        )  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def as_text(frame: pd.DataFrame) -> str:
    """The table as CSV; numbers with all digits that matter.

    Parameters
    ----------
    frame : DataFrame
        From `record_table`.
    """
    texts = ["AGENT", "DVNAME", "ARM"]
    frame = frame.assign(**{name: frame[name].replace("", MISSING) for name in texts})
    return frame.to_csv(index=False, na_rep=MISSING, lineterminator="\n")
