"""Published trials beside the predictions of this installation: the validation table of the release."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from ranklsim.cohorts.validation.bands import bands
from ranklsim.pkpd.evidence.records import load_evidence
from ranklsim.pkpd.machine import processors
from ranklsim.pkpd.mice.genetics import run_genetics
from ranklsim.pkpd.parameters import load_parameters
from ranklsim.reports.pages.validation import misfit_by_kind
from ranklsim.reports.qualify.finding import Finding

RELEASE = Path(__file__).parent / "data" / "misfit.csv"
"""The misfit to published figures of this release; `scripts/qualification.py` makes it."""
PATIENTS = 100
"""Virtual patients of each arm."""
_KIND = ["endpoint", "site_or_marker", "phase"]


@cache
def predictions() -> pd.DataFrame:
    """Every published figure with its prediction by a cohort of its arm, as `ranklsim validate` gives it."""
    return bands(load_evidence(), load_parameters(), patients=PATIENTS, workers=processors()).predictions


@cache
def table() -> pd.DataFrame:
    """Misfit by endpoint, site and phase."""
    found = misfit_by_kind(predictions())
    return found.assign(kind=[" ".join(map(str, row)) for row in found[_KIND].to_numpy()])


def figures() -> pd.DataFrame:
    """Misfit of this installation as `misfit.csv` holds it: columns `name` and `value`."""
    rows = [
        (f"{row['kind']}, {name}", f"{row[name]:.6g}")
        for row in table().to_dict("records")
        for name in ("RMSE", "bias")
    ]
    return pd.DataFrame(rows, columns=["name", "value"])


def release() -> Finding:
    """Number of summaries of misfit that are not those of the release, to 1 in 1000."""
    right = pd.read_csv(RELEASE).set_index("name")["value"].astype(float)
    here = figures().set_index("name")["value"].astype(float).reindex(right.index)
    differ = ~np.isclose(here, right, rtol=1e-3, atol=1e-4)
    named = "; ".join(f"{n} is {here[n]:.4g}, not {right[n]:.4g}" for n in right.index[differ][:5])
    shown = table()[[*_KIND, "n", "RMSE", "bias", "inside", "inside_study"]]
    return Finding(
        int(differ.sum()),
        f"RMSE and bias of {len(shown)} kinds of figures of published trials ({len(predictions())} figures, {PATIENTS} "
        f"virtual patients an arm). {named}".strip(),
        shown,
    )


def rmse(endpoint: str, site: str, phase: str) -> Finding:
    """Root mean square error of one kind of figures.

    Parameters
    ----------
    endpoint, site, phase : str
        As in the evidence, such as "percent_change", "LS", "on".
    """
    row = table().set_index(_KIND).loc[(endpoint, site, phase)]
    inside = f"{row['inside_study']:.0f} % lie within the variation between patients and between studies"
    return Finding(float(row["RMSE"]), f"{row['n']:.0f} figures; bias {row['bias']:+.2f}; {inside}.")


def inside() -> Finding:
    """Share of the figures of denosumab and placebo within their 90 % bands, with the variation between studies, %."""
    kinds = table()[table()["endpoint"].isin(["percent_change", "percent_of_baseline"])]
    share = float((kinds["inside_study"] * kinds["n"]).sum() / kinds["n"].sum())
    return Finding(share, f"{kinds['n'].sum()} figures of BMD and markers; the model was fitted to most of them.")


def genetics() -> Finding:
    """Number of published statements on mice and people with altered genes with which the model agrees."""
    found = run_genetics(load_parameters())
    judged = found[(found["basis"] != "P") & found["passed"].notna()]
    return Finding(int(judged["passed"].astype(bool).sum()), f"{len(judged)} statements that the model can express.")
