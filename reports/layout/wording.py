"""Parts of the report's sentences: names of measures, lists, months, changes and intervals in words.

A sentence never says more than its numbers: an interval over patients is called 95% CI, one over unknown
parameters is called by that name, and an effect whose interval includes zero is not called an effect.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ranklsim.cohorts.words import first_upper, listed, month_text
from ranklsim.reports.layout.arms import CALIBRATED, LITERATURE, PREDICTED, ArmView
from ranklsim.reports.layout.tables import num


def to_interval(low: float, high: float, decimals: int) -> str:
    """``1.2 to 3.4`` with true minus signs.

    Parameters
    ----------
    low, high : float
        Limits.
    decimals : int
        Digits after the point.
    """
    return f"{num(low, decimals)} to {num(high, decimals)}"


def within(low: float, high: float, unit: str) -> str:
    """The range of a share, such as ' 15 to 60 mL/min/1.73m2', to follow its name; empty where there is none (NaN).

    Parameters
    ----------
    low, high : float
        NaN for an open end.
    unit : str
    """
    if np.isnan(low) and np.isnan(high):
        return ""
    text = f"up to {high:g}" if np.isnan(low) else f"from {low:g}" if np.isnan(high) else f"{low:g} to {high:g}"
    return f" {text} {unit}".rstrip()


def moved(value: float, unit: str = "%", decimals: int = 1) -> str:
    """``rose by 9.6%``, ``fell by 0.9%`` or ``did not change``.

    Parameters
    ----------
    value : float
    unit : str
    decimals : int
    """
    if not np.isfinite(value):
        return "was not observed"
    shown = num(abs(value), decimals)
    gap = "" if unit == "%" else " "
    if float(shown) == 0:
        return "did not change"
    return f"{'rose' if value > 0 else 'fell'} by {shown}{gap}{unit}"


def basis(arms: Sequence[ArmView]) -> str:
    """Which arms are calibrated, set from literature, and predicted.

    Parameters
    ----------
    arms : sequence of ArmView
        The arms of the trial.
    """
    groups = {kind: [arm.label for arm in arms if arm.basis == kind] for kind in (CALIBRATED, LITERATURE, PREDICTED)}
    parts = [f"{first_upper(kind)}: {', '.join(labels)}." for kind, labels in groups.items() if labels]
    return " ".join(parts)


def span_words(spec: Mapping[str, Any]) -> str:
    """``from baseline to month 36`` or ``from month 24 to month 48``.

    Parameters
    ----------
    spec : mapping
        With `from_month` and `to_month`.
    """
    start = "baseline" if spec["from_month"] == 0 else f"month {month_text(spec['from_month'])}"
    return f"from {start} to month {month_text(spec['to_month'])}"


def values_at(
    frame: pd.DataFrame, arms: Sequence[ArmView], month: float, column: str = "mean", decimals: int = 1
) -> str:
    """Percentages of all arms at a month, arm by arm: `column` of `frame`, with its sign where it is a mean change.

    Parameters
    ----------
    frame : DataFrame
        Columns `arm`, `month` and `column`.
    arms : sequence of ArmView
    month : float
    column : str
    decimals : int
    """
    at = frame[(frame["month"] == month) & frame[column].notna()].set_index("arm")[column]
    sign = column == "mean"
    return listed([f"{num(at[arm.name], decimals, sign=sign)}% ({arm.label})" for arm in arms if arm.name in at.index])


def peak_headline(frame: pd.DataFrame, arms: Sequence[ArmView], what: str, end: str) -> str:
    """The peak of a marker after `end` (such as "the end of treatment") in each arm, the highest first.

    Parameters
    ----------
    frame : DataFrame
        As from `durability.peak_after`.
    arms : sequence of ArmView
    what : str
        The marker.
    end : str
    """
    by_name = {arm.name: arm for arm in arms}
    rows = frame[frame["peak"].notna()].sort_values("peak", ascending=False, kind="stable")
    parts = [
        f"{num(r['peak'], 0)}% of baseline at month {month_text(r['peak_month'])} ({by_name[r['arm']].label})"
        for r in rows.to_dict("records")
        if r["arm"] in by_name
    ]
    return f"After {end} the highest median {what} was {listed(parts)}." if parts else ""
