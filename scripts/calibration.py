"""Renew the tables of docs/calibration.md and docs/sequences.md: what the model predicts, and what the fits found.

.venv/bin/python scripts/calibration.py     tables whose fit is not in build/refit stay as they are
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
from pages import put
from scipy.stats import gaussian_kde

from ranklsim.cohorts import uncertainty
from ranklsim.cohorts.protocol.trial import load_trial
from ranklsim.pkpd.agents import load_agent
from ranklsim.pkpd.biology.ligand import gradient, potency
from ranklsim.pkpd.biology.model import Model
from ranklsim.pkpd.biology.skeleton import NAMES
from ranklsim.pkpd.biology.values import Slots
from ranklsim.pkpd.ensemble import ensemble as shipped_ensemble
from ranklsim.pkpd.evidence.predictions import predict, summary
from ranklsim.pkpd.evidence.records import load_evidence
from ranklsim.pkpd.fitting.spec import load_spec
from ranklsim.pkpd.parameters import load_parameters
from ranklsim.pkpd.variants import variants
from ranklsim.reports.csr.unknowns import endpoint_by_draw, headlines
from ranklsim.reports.layout.arms import view_arms

ROOT = Path(__file__).resolve().parent.parent
DOCS, WORK = ROOT / "docs", ROOT / "build" / "refit"
REGIMENS = {  # of docs/sequences.md, by arm
    "alendronate": ("flex-alendronate", "decide-alendronate", "phase2-alendronate"),
    "alendronate, then off": ("flex-placebo",),
    "denosumab, then alendronate": ("daps-switch",),
    "zoledronate once": ("grey-1", "grey-2.5", "grey-5"),
    "denosumab, then zoledronate": ("lehmann-switch", "evertsgraber-switch"),
    "teriparatide": ("data-teriparatide",),
    "teriparatide with denosumab": ("data-combination",),
    "romosozumab, then denosumab": ("frame-romosozumab",),
    "romosozumab, then alendronate": ("arch-romosozumab",),
    "alendronate, then romosozumab": ("structure-romosozumab",),
    "blosozumab 180 mg Q4W, then off": ("recker-180-q4w",),
    "blosozumab 180 mg Q2W, then off": ("recker-180-q2w",),
    "blosozumab 270 mg Q2W, then off": ("recker-270-q2w",),
    "OPG-Fc once (not fitted)": ("bekker-opg",),
}
STORES = {"waiting-cells": "waiting cells", "even-mixture": "half of each", "opg-drift": "falling OPG"}
BARS = {
    ("percent_change", "LS", "on"): 0.7,
    ("percent_change", "TH", "on"): 0.55,
    ("percent_change", "FN", "on"): 0.7,
    ("percent_change", "R13", "on"): 0.8,
    ("percent_change", "TH", "off"): 0.7,
    ("change_between", "LS", "off"): 1.2,
    ("percent_of_baseline", "CTX", "on"): 15,
    ("percent_of_baseline", "CTX", "off"): 20,
    ("percent_of_baseline", "P1NP", "on"): 12,
    ("percent_of_baseline", "P1NP", "off"): 20,
}


def lines(columns: list[str], rows: list[list[object]]) -> str:
    """A table in Markdown."""
    body = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in row) + " |" for row in body)


def fit() -> str:
    """Misfit of denosumab and placebo by endpoint."""
    evidence = load_evidence()
    others = {arm for arms in REGIMENS.values() for arm in arms}
    chosen = load_spec("default").chosen(evidence.observations) & ~evidence.observations["arm"].isin(others)
    frame = predict(evidence.subset(chosen))
    by = summary(frame).set_index(["endpoint", "site_or_marker", "phase"])
    cells: list[list[object]] = [
        [*name, int(row["n"]), f"{row['RMSE']:.2f}", BARS.get(name, ""), f"{row['bias']:+.2f}"]
        for name, row in by.iterrows()
    ]
    high = frame[(frame["site_or_marker"] == "CTX") & (frame["phase"] == "on") & (frame["dose_mg"] >= 60)]
    error = high["error"]
    cells.append(["percent_of_baseline", "CTX, 60 mg and above", "on", len(high), f"{(error**2).mean() ** 0.5:.2f}", 8,
                  f"{error.mean():+.2f}"])  # fmt: skip
    return lines(["endpoint", "site or marker", "phase", "n", "RMSE", "bar", "bias"], cells)


def molecules() -> str:
    """What the ensemble says of sRANKL, by share and by molecule."""
    drawn = shipped_ensemble()
    own = {symbol: drawn[symbol].to_numpy() for symbol in drawn if "." not in symbol}
    p = Model(Slots()).constants(load_parameters().values | own)
    rows = [
        [name, meaning, *(f"{q:.3g}" for q in np.quantile(values, (0.05, 0.5, 0.95)))]
        for name, meaning, values in (
            ("`sig`", "share of sRANKL in the resting signal", p.sig),
            ("`rho`", "potency at RANK of a free sRANKL molecule over a free mRANKL molecule", p.rho),
            ("gradient", "free sRANKL in marrow over that in serum", gradient(p)),
            ("potency", "of a free sRANKL molecule of the serum: `rho` times the gradient", potency(p)),
        )
    ]
    return lines(["", "meaning", "5 %", "median", "95 %"], rows)


def weights() -> str:
    """Posterior over prior density at the values that structural variants hold (Savage-Dickey ratio)."""
    drawn = shipped_ensemble()
    rows = []
    for symbol, values, log in (("mix", (0.0, 0.5, 1.0), False), ("rint", (0.5, 1.0, 3.0), True)):
        row = load_parameters().row(symbol)
        ends = np.log([row["low"], row["high"]]) if log else np.array([row["low"], row["high"]])
        x = ((np.log(drawn[symbol]) if log else drawn[symbol]) - ends[0]) / (ends[1] - ends[0])
        density = gaussian_kde(np.concatenate([x, -x, 2 - x]))  # reflected at both bounds
        for value in values:
            at = ((np.log(value) if log else value) - ends[0]) / (ends[1] - ends[0])
            rows.append([f"`{symbol}` = {value:g}", f"{3 * density(at)[0]:.2g}"])
    return lines(["held", "evidence over that of the ensemble"], rows)


def ensemble() -> str | None:
    """What the walk says of each parameter, and its diagnostics."""
    path = WORK / "ensemble" / "posterior.csv"
    if not path.is_file():
        return None
    said = json.loads((path.parent / "fit.json").read_text("utf-8"))["draws"]
    rows = [
        [f"`{r['parameter']}`", f"{r['median']:.3g}", f"{r['low']:.3g} to {r['high']:.3g}", f"{r['narrowed']:.2f}"]
        for r in pd.read_csv(path).to_dict("records")
    ]
    return said + "\n\n" + lines(["parameter", "median", "95 % of draws", "SD over prior's"], rows)


def sequences() -> str:
    """Misfit of agents of other kinds, by regimen."""
    evidence = load_evidence()
    by_arm = {arm: regimen for regimen, arms in REGIMENS.items() for arm in arms}
    frame = predict(evidence.subset(evidence.observations["arm"].isin(list(by_arm))))
    frame["regimen"] = pd.Categorical(frame["arm"].map(by_arm), list(REGIMENS), ordered=True)
    rows = summary(frame, ("regimen", "endpoint", "site_or_marker", "phase"))
    return lines(
        ["regimen", "endpoint", "site or marker", "phase", "n", "RMSE", "bias", "RMSE over SD"],
        [
            [r["regimen"], r["endpoint"], r["site_or_marker"], r["phase"], int(r["n"]), f"{r['RMSE']:.2f}",
             f"{r['bias']:+.2f}", f"{r['misfit']:.2f}"]
            for r in rows.to_dict("records")
        ],
    )  # fmt: skip


def stores() -> str | None:
    """What each store of the rebound says of denosumab and zoledronate, fitted with all else."""
    paths = {label: WORK / name / "residuals.csv" for name, label in STORES.items()}
    if not all(path.is_file() for path in paths.values()):
        return None
    rows, switched = [], {}
    for label, path in paths.items():
        frame, said = pd.read_csv(path), json.loads(path.with_name("fit.json").read_text("utf-8"))
        square = frame["weighted"] ** 2
        single, after = (
            frame["arm"].isin(REGIMENS[name]) for name in ("zoledronate once", "denosumab, then zoledronate")
        )
        others = frame["arm"].isin({arm for arms in REGIMENS.values() for arm in arms})
        parts = [square[part].sum() for part in (~others, single, after)]
        rows.append([label, f"{said['objective']:.1f}", *(f"{part:.1f}" for part in parts)])
        for r in frame[after].to_dict("records"):
            name = f"{r['study']}, {r['site_or_marker']}, {r['endpoint']}"
            cells = switched.setdefault(name, [name, f"{r['observed']:g}", f"{r['sd']:.1f}"])
            cells.append(f"{r['predicted']:.1f}")
    head = ["store", "objective"]
    groups = ["squared errors over variances: denosumab and placebo", "zoledronate once", "zoledronate after denosumab"]
    second = ["30 months after zoledronate", "published", "SD", *(row[0] for row in rows)]
    return lines([*head, *groups], rows) + "\n\n" + lines(second, list(switched.values()))


def spreads() -> str | None:
    """Spreads that the fit between patients found, and published ones beside those of its cohorts."""
    folder = WORK / "between_patient"
    if not folder.is_dir():
        return None
    known = load_parameters()
    found = [
        [f"`{r['parameter']}`", known.row(r["parameter"].removesuffix(".cv"))["meaning"], f"{r['estimate']:.2g}",
         f"{r['low']:.2g} to {r['high']:.2g}{'' if r['identified'] else ' (bound)'}"]
        for r in pd.read_csv(folder / "estimates.csv").to_dict("records")
    ]  # fmt: skip
    frame = pd.read_csv(folder / "residuals.csv")
    rows: list[list[object]] = []
    for (arm, site, measure), mine in frame.groupby(["arm", "site_or_marker", "measure"], sort=False):
        digits = 1 if site in NAMES else 2
        months = " / ".join(f"{month:.3g}" for month in mine["time_months"])
        values = [" / ".join(f"{x:.{digits}f}" for x in mine[column]) for column in ("observed", "predicted")]
        rows.append([arm, site, measure, months, *values])
    ratio, within = np.exp(np.log(frame["ratio"]).mean()), frame["low"].le(1) & frame["high"].ge(1)
    said = (
        f"Over all {len(frame)} figures, the simulated spread is {100 * ratio:.0f} % of the published one (geometric "
        f"mean). It is within chance (n and rounding, 90 %) of the published one in {100 * within.mean():.0f} %."
    )
    head = ["arm", "site or marker", "measure", "months", "published", "simulated"]
    return (
        lines(["spread of", "meaning", "CV", "95 % interval"], found)
        + "\n\nPublished and simulated spreads, measurement error included:\n\n"
        + lines(head, rows)
        + f"\n\n{said}"
    )


def structures() -> str:
    """Headlines of `modality` under each structure, and over the ensemble."""
    trial, table = load_trial("modality"), load_parameters()
    agents = [load_agent(name) for name in trial.agent_names()]
    views = view_arms(trial.arms, {agent.name: agent for agent in agents})
    ends = {view.name: view.end for view in views if view.end < trial.months}
    draws, _ = uncertainty.draws_of(trial, table, agents)
    gain = next(e for e in trial.changes if e.measure == "BMD_LS" and e.kind == "percent")
    under = uncertainty.by_variant(trial, table, agents).rename(columns={"variant": "draw"})
    over = uncertainty.ensemble(trial, table, agents, draws)
    found = {}
    for name, courses in (("structure", under), ("draw", over)):
        own = endpoint_by_draw(courses, gain.measure, gain.from_month, gain.to_month, None)
        found[name] = headlines(courses, [(gain, None, own)], ends, "treatment")
    arms = [arm for arm in trial.arms if arm.name in ends and arm.name != trial.control]
    results = list(dict.fromkeys(found["draw"]["result"]))

    def text(x: float) -> str:
        return "none" if np.isnan(x) else f"{x:.1f}" if abs(x) < 30 else f"{x:.0f}"

    def cells(frame: pd.DataFrame, label: str, question: str, rise: str) -> list[object]:
        value = frame.set_index(["result", "arm"])["value"]
        shown = [" / ".join(text(value[result, arm.name]) for result in results) for arm in arms]
        return [question, label, rise, *shown]

    drawn = found["draw"]
    rows = [cells(drawn[drawn["draw"] == 0], "default", "", "")]
    for v in variants():
        own = found["structure"][found["structure"]["draw"] == v.name]
        rows.append(cells(own, v.label, v.question, f"{v.rise:.1f}" + (", refuted" if v.refuted else "")))
    wide = drawn[drawn["draw"] != 0].groupby(["result", "arm"])["value"].quantile([0.05, 0.95]).unstack()
    spans = [
        " / ".join(f"{text(wide.loc[(r, a.name), 0.05])} to {text(wide.loc[(r, a.name), 0.95])}" for r in results)
        for a in arms
    ]
    rows.append(["", "ensemble, 90 %", "", *spans])
    return lines(["question", "structure", "rise", *(f"{a.label}: gain % / peak CTX % / kept %" for a in arms)], rows)


def main() -> None:
    """Put every table between its marks."""
    for page, blocks in {
        "calibration.md": {
            "fit": fit,
            "ensemble": ensemble,
            "molecules": molecules,
            "weights": weights,
            "variants": structures,
            "spreads": spreads,
        },
        "sequences.md": {"sequences": sequences, "stores": stores},
    }.items():
        text = (DOCS / page).read_text(encoding="utf-8")
        for name, make in blocks.items():
            block = make()
            if block is not None:
                text = put(text, name, "calibration", f"\n{block}\n")
        (DOCS / page).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
