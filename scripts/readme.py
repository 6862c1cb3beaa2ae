"""Renew what the README shows of the model as it is: the answer, the figures of docs/published.csv, the misfits."""

from __future__ import annotations

import csv
import textwrap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from pages import put

import ranklsim
from ranklsim.cohorts.validation.bands import cohort
from ranklsim.pkpd.agents import load_agent
from ranklsim.pkpd.ensemble import ensemble
from ranklsim.pkpd.evidence.predictions import predict
from ranklsim.pkpd.evidence.records import load_evidence
from ranklsim.pkpd.machine import processors
from ranklsim.pkpd.parameters import load_parameters
from ranklsim.pkpd.simulation import Doses, simulate
from ranklsim.pkpd.units import DAYS_PER_MONTH as MONTH

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PUBLISHED = ROOT / "docs" / "published.csv"
MISFITS = 6  # that the README shows
DRAWS = 400

LAST_DOSE = 18  # month, of the course that is stopped
PATIENTS = 400
COURSES = {"on": 20, "placebo": 0, "off": 4}
"""Doses of 60 mg, one every six months."""
LOOKS = np.array([0, 1, *range(6, 121, 3)])
"""Months at which trials measured."""
WHO = "freedom-denosumab"
"""Arm of the evidence whose virtual patients are treated."""


def course(doses: int) -> pd.DataFrame:
    """What a cohort has under so many doses, as trials print it: mean change of BMD, median of CTX.

    Parameters
    ----------
    doses : int
        Of denosumab, for each patient.
    """
    table, drug = load_parameters(), load_agent("denosumab")
    persons = cohort(load_evidence(), table, PATIENTS, seed=1)[WHO]
    given = Doses(
        patient=np.repeat(np.arange(PATIENTS), doses),
        time=np.tile(6 * MONTH * np.arange(doses), PATIENTS),
        agent=np.zeros(doses * PATIENTS, int),
        amount=np.full(doses * PATIENTS, 60.0),
    )
    found = simulate(table, persons, [drug], given, LOOKS * MONTH, workers=processors())
    frame = pd.DataFrame({"month": LOOKS.astype(float)})
    for site in ("BMD_LS", "BMD_TH"):
        frame[f"{site}_pct"] = (100 * (found[site] / found[site][:, :1] - 1)).mean(axis=0)
    frame["CTX_pct"] = np.median(100 * found["CTX"] / found["CTX"][:, :1], axis=0)
    return frame


def figures() -> Iterator[tuple[dict[str, str], str]]:
    """Each row of docs/published.csv, and what a cohort has, as text."""
    frames = {name: course(doses) for name, doses in COURSES.items()}
    sites = ["BMD_LS_pct", "BMD_TH_pct"]
    frames["gap"] = frames["on"][["month"]].join(frames["on"][sites] - frames.pop("placebo")[sites])
    with open(PUBLISHED, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            yield row, shown(frames[row["regimen"]], row)


def shown(frame: pd.DataFrame, row: dict[str, str]) -> str:
    """One figure of the model, with as many decimals as the field prints."""
    curve = frame.set_index("month")[row["column"]]
    if row["month"] == "peak month":
        return f"{curve.idxmax() - LAST_DOSE:.0f}"
    value = curve.max() if row["month"] == "peak" else curve[float(row["month"])]
    text = f"{value:.0f}" if row["column"].startswith("CTX") else f"{value:.1f}"
    return text.replace("-", "−") if float(text) else text.lstrip("-")


def table() -> str:
    """The README's table of figures."""
    lines = [
        "| Denosumab 60 mg every 6 months | unit | published | model | source |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row, model in figures():
        published = row["published"].replace("-", "−")
        lines.append(f"| {row['quantity']} | {row['unit']} | {published} | {model} | {row['source']} |")
    return "\n".join(lines)


def misfits() -> str:
    """The README's table of the figures that are missed most, at most one of a curve."""
    seen = predict(load_evidence())
    seen = seen[seen["used"]].assign(z=lambda frame: frame["error"] / frame["sd"])
    seen = seen.iloc[np.argsort(-seen["z"].abs())].drop_duplicates(["study", "arm", "endpoint", "site_or_marker"])
    lines = ["| study and arm | figure | month | published | model | misfit |", "| --- | --- | --- | --- | --- | --- |"]
    for row in seen.head(MISFITS).itertuples():
        words = f"{row.site_or_marker}, {row.endpoint.replace('_', ' ')}"
        numbers = (f"{row.time_months:.0f}", f"{row.observed:.3g}", f"{row.predicted:.3g}", f"{row.z:+.1f} SD")
        lines.append(
            f"| {row.study.removesuffix('_digitised')}, {row.arm} | {words} | {' | '.join(numbers).replace('-', '−')} |"
        )
    return "\n".join(lines)


def answer() -> str:
    """What the selective antibodies do, over the vectors that agree with published data."""
    wanted = {"gain": "change of BMD_LS at 36 mo", "peak": "highest CTX after treatment"}
    agents = ["denosumab", "mrankl-selective", "srankl-selective", "placebo"]
    given = {"dose": "60 mg", "every": "6 mo", "doses": 6, "follow": "36 mo"}
    found = ranklsim.sweep(agents=agents, of=list(wanted.values()), draws=DRAWS, **given)
    rows = {(row["agent"], row["quantity"]): row for _, row in found.iterrows()}

    def said(agent: str, name: str) -> str:
        row = rows[agent, wanted[name]]
        text = "{:.1f} % ({:.1f} to {:.1f})" if name == "gain" else "{:.0f} % ({:.0f} to {:.0f})"
        numbers = (round(row[key], 1) + 0.0 for key in ("median", "low", "high"))  # no minus before a zero
        return text.format(*numbers).replace("-", "−")

    def group(doses: int) -> str:
        curve = course(doses).set_index("month")["CTX_pct"]
        return f"{curve.loc[6 * doses :].max():.0f}"

    typical = ranklsim.simulate(agent="denosumab", **given).to_frame().set_index("month")["CTX_pct"]
    high_month = f"{typical.loc[36:].idxmax():.0f}"
    (row,) = ranklsim.sweep(
        agents=["denosumab"], of=[wanted["peak"]], draws=DRAWS, covariates={"SUPP": 1}, **given
    ).to_dict("records")
    both, cell, free, none = agents
    low, middle, high = (f"{100 * share:.1f}" for share in np.quantile(ensemble()["sig"], (0.05, 0.5, 0.95)))
    return textwrap.fill(
        f"**The answer, under the condition that the model holds:** over {DRAWS} parameter vectors that agree with "
        f"published data, three years of an antibody that binds mRANKL alone bring {said(cell, 'gain')} at the lumbar "
        f"spine, where denosumab brings {said(both, 'gain')}; one that binds sRANKL alone brings {said(free, 'gain')}, "
        f"and no treatment {said(none, 'gain')}. "
        f"After the last dose CTX rises to {said(cell, 'peak')} of baseline, with denosumab to {said(both, 'peak')}. "
        f"All these are figures of a typical patient, with CTX at its highest (month {high_month}): medians over the "
        "vectors with 90 % intervals. In a trial CTX rises less: calcium and vitamin D, which all take from the "
        f"start, lower the typical patient's highest CTX to {row['median']:.0f} % ({row['low']:.0f} to "
        f"{row['high']:.0f}); the highest of a group's medians by visit is {group(6)} % after six doses of denosumab, "
        f"{group(4)} % after four (table below), since patients have their highest CTX in different "
        "months. The condition that matters most: nobody has measured in "
        f"people which share of the signal at RANK comes from sRANKL. It is {middle} % ({low} to {high}) if serum and "
        "mice tell it, one molecule of it is at most as potent as one on a cell, and marrow holds at most a thousand "
        "times as much as serum. If sRANKL alone activated remodelling, an antibody against it would build bone too; "
        "trials in women and mice without sRANKL speak against it ([calibration](docs/calibration.md)).",
        120,
    )


BLOCKS = {"figures": table, "misfits": misfits, "answer": answer}


def main() -> None:
    """Renew every block."""
    text = README.read_text(encoding="utf-8")
    for name, block in BLOCKS.items():
        text = put(text, name, "readme", block())
    README.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
