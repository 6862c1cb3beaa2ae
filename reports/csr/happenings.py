"""Counts by arm of protocol deviations, intercurrent events and adverse events.

The frames are those of a run: `events` (one row an event that the trial records, while the patient is followed),
`doses` (one row a planned dose) and `visits`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from ranklsim.cohorts.events import (
    CLINICAL_VERTEBRAL,
    DEATH,
    DROPOUT,
    HIP,
    HYPOCALCAEMIA,
    NONVERTEBRAL,
    RESCUE,
    STOPPED,
    SWITCH,
    VERTEBRAL,
)
from ranklsim.cohorts.statistics.summaries import QUARTILES, quantiles
from ranklsim.cohorts.statistics.tails import chi2_quantile
from ranklsim.pkpd.units import DAYS_PER_MONTH, DAYS_PER_YEAR

TOTAL = "Total"

INTERCURRENT = {
    STOPPED: "Stopped treatment, stayed in the trial",
    RESCUE: "Given rescue treatment",
    SWITCH: "Switched treatment",
    DROPOUT: "Left the trial",
    DEATH: "Died",
}
"""Events after randomisation that bear on what a later measurement means (ICH E9(R1))."""

SAFETY = {
    DEATH: "Death",
    HYPOCALCAEMIA: "Hypocalcaemia",
    VERTEBRAL: "New morphometric vertebral fracture",
    CLINICAL_VERTEBRAL: "Clinical vertebral fracture",
    NONVERTEBRAL: "Nonvertebral fracture",
    HIP: "Hip fracture (one of the nonvertebral)",
}
"""What section 12 reports, in its order."""

MISSED, LATE = "missed", "late"

LEVEL = 0.95


def event_words(frame: pd.DataFrame, names: Mapping[str, str]) -> list[str]:
    """The event of each row in words, with its detail.

    Parameters
    ----------
    frame : DataFrame
        As from `counted`.
    names : mapping
        Event to its words, such as `SAFETY`.
    """
    details = zip(frame["event"], frame["detail"], strict=True)
    return [f"{names[event]}: {detail}" if detail else names[event] for event, detail in details]


def followed(patients: pd.DataFrame, arms: Sequence[str]) -> pd.DataFrame:
    """Patients and time followed.

    Parameters
    ----------
    patients : DataFrame
        Columns `arm`, `last_month`.
    arms : sequence of str

    Returns
    -------
    DataFrame
        Columns `arm` ("Total" last), `patients`, `months_mean`, `patient_years`.
    """
    rows = []
    for arm, own in _by_arm(patients, arms):
        months = own["last_month"].to_numpy(float)
        rows.append(
            {
                "arm": arm,
                "patients": len(own),
                "months_mean": float(months.mean()) if months.size else np.nan,
                "patient_years": float(months.sum()) * DAYS_PER_MONTH / DAYS_PER_YEAR,
            }
        )
    return pd.DataFrame(rows)


def deviations(
    doses: pd.DataFrame,
    visits: pd.DataFrame,
    patients: pd.DataFrame,
    arms: Sequence[str],
    major: Iterable[int] = (),
) -> pd.DataFrame:
    """Doses missed, given late or lost to delays, and visits missed, while the patient was in the trial.

    Parameters
    ----------
    doses : DataFrame
        Columns `patient`, `arm`, `planned_month`, `month`, `given`, `reason`; a dose that is not due any more (stopped,
        left) is no deviation.
    visits : DataFrame
        Columns `patient`, `arm`, `month`, `attended`.
    patients : DataFrame
        Columns `patient`, `arm`, `last_month`.
    arms : sequence of str
    major : iterable of int
        Patients with a deviation that the trial file calls major, which may be of another kind.

    Returns
    -------
    DataFrame
        Columns `arm` ("Total" last), `patients`, `any` (patients with at least one of them or a major one), and, for
        `missed_dose`, `late_dose`, `lost_dose` (put off beyond the end) and `missed_visit`, the count and
        ``..._patients``; `delay_median` and `delay_max` [months] of the late doses.
    """
    last = visits["patient"].map(patients.set_index("patient")["last_month"])
    late = doses[doses["reason"] == LATE]
    missed_visits = visits[~visits["attended"].astype(bool) & (visits["month"] <= last)]
    found = {
        "missed_dose": doses[doses["reason"] == MISSED],
        "late_dose": late[late["given"].astype(bool)],
        "lost_dose": late[~late["given"].astype(bool)],
        "missed_visit": missed_visits,
    }
    rows = []
    for arm, own in _by_arm(patients, arms):
        row: dict[str, object] = {"arm": arm, "patients": len(own)}
        parts = {kind: frame if arm == TOTAL else frame[frame["arm"] == arm] for kind, frame in found.items()}
        seen = set().union(*(part["patient"] for part in parts.values()))
        row["any"] = len(seen | (set(own["patient"]) & set(major)))
        for kind, part in parts.items():
            row |= {kind: len(part), f"{kind}_patients": part["patient"].nunique()}
        delay = (parts["late_dose"]["month"] - parts["late_dose"]["planned_month"]).astype(float)
        row |= {"delay_median": float(delay.median()), "delay_max": float(delay.max())}
        rows.append(row)
    return pd.DataFrame(rows)


def counted(
    events: pd.DataFrame,
    patients: pd.DataFrame,
    arms: Sequence[str],
    kinds: Sequence[str],
    *,
    by_detail: bool = True,
) -> pd.DataFrame:
    """Patients with an event, events, and events per 100 patient-years followed, by arm.

    Parameters
    ----------
    events : DataFrame
        Columns `patient`, `arm`, `event`, `month`, `detail`, `count`.
    patients : DataFrame
        Columns `patient`, `arm`, `last_month`.
    arms : sequence of str
    kinds : sequence of str
        Events to count, each even if there was none.
    by_detail : bool
        Whether an event has a row for each of its details too, where there are several.

    Returns
    -------
    DataFrame
        Columns `event`, `detail` ("" for all), `arm` ("Total" last), `randomised`, `patients`, `percent`, `events`,
        `count` (their sum, such as vertebrae), `rate` per 100 patient-years with its exact 95% interval `rate_low`,
        `rate_high` [1]_, and `month_median` of the first.

    References
    ----------
    .. [1] Garwood F. Fiducial limits for the Poisson distribution. Biometrika 1936;28:437-42 (recalled).
    """
    time = followed(patients, arms).set_index("arm")["patient_years"]
    sizes = {arm: len(members) for arm, members in _by_arm(patients, arms)}
    rows = []
    for kind in kinds:
        own = events[events["event"] == kind]
        details = [""]
        if by_detail:
            found = sorted(str(detail) for detail in own["detail"].unique())
            details += [detail for detail in found if detail] if len(found) > 1 else []
        for detail in details:
            some = own if detail == "" else own[own["detail"] == detail]
            for arm, randomised in sizes.items():
                hers = some if arm == TOTAL else some[some["arm"] == arm]
                first = hers.groupby("patient")["month"].min()
                n, years = len(hers), float(time[arm])
                low, high = poisson_interval(n)
                rows.append(
                    {
                        "event": kind,
                        "detail": detail,
                        "arm": arm,
                        "randomised": randomised,
                        "patients": len(first),
                        "percent": 100.0 * len(first) / randomised if randomised else np.nan,
                        "events": n,
                        "count": int(hers["count"].sum()),
                        "rate": 100.0 * n / years if years else np.nan,
                        "rate_low": 100.0 * low / years if years else np.nan,
                        "rate_high": 100.0 * high / years if years else np.nan,
                        "month_median": float(first.median()) if len(first) else np.nan,
                    }
                )
    return pd.DataFrame(rows)


def poisson_interval(n: int, level: float = LEVEL) -> tuple[float, float]:
    """Exact interval of a Poisson mean of which `n` events were seen.

    Parameters
    ----------
    n : int
        Number of events.
    level : float
        Coverage, 0 to 1.
    """
    tail = 0.5 * (1 - level)
    low = float(chi2_quantile(tail, 2 * n)) / 2 if n else 0.0
    return low, float(chi2_quantile(1 - tail, 2 * n + 2)) / 2


def exposure_to(visits: pd.DataFrame, outputs: Sequence[str], arms: Sequence[str], until: float) -> pd.DataFrame:
    """Each patient's mean occupancy from baseline to month `until`, exact in time, by arm.

    Parameters
    ----------
    visits : DataFrame
        Columns `patient`, `arm`, `month`, `actual_month` and ``true_<output>``, a time integral (days) that the engine
        carries; visits at which the patient was in the trial.
    outputs : sequence of str
        Such as "EXPOSURE_sRANKL".
    arms : sequence of str
    until : float
        Month; patients who left before count until their last visit.

    Returns
    -------
    DataFrame
        Columns `output`, `arm`, `n` (patients with a visit after baseline), `median`, `q1`, `q3` (%).
    """
    own = visits[(visits["month"] <= until + 1e-9) & (visits["actual_month"] > 0)]
    last = own.sort_values("month", kind="stable").groupby("patient").last()
    days = last["actual_month"].to_numpy(float) * DAYS_PER_MONTH
    rows = []
    for output in outputs:
        mean = 100 * last[f"true_{output}"].to_numpy(float) / days
        for arm in arms:
            x = mean[(last["arm"] == arm).to_numpy()]
            q1, median, q3 = quantiles(x, QUARTILES)
            rows.append({"output": output, "arm": arm, "n": x.size, "median": median, "q1": q1, "q3": q3})
    return pd.DataFrame(rows)


def _by_arm(patients: pd.DataFrame, arms: Sequence[str]) -> list[tuple[str, pd.DataFrame]]:
    return [(arm, patients if arm == TOTAL else patients[patients["arm"] == arm]) for arm in (*arms, TOTAL)]
