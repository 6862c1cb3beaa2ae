"""Type I error of each analysis in many trials in which every arm gets placebo: a table of docs/replicates.md.

    .venv/bin/python scripts/type_one.py runs/type-one --replicates 10000

The studies are those of `ranklsim replicate`, analysed by the functions of the report. Patients leave, stop treatment
and die as in a shipped trial, so that values are missing; what no arm can have is an effect. A claim of superiority is
then wrong whenever it is shown, in either direction; a claim with a margin is asked of an effect that is the margin, to
which every value of the arm is moved. Procedures over several hypotheses and looks see the same studies.

What is done is kept below the folder in portions, so that an interrupted run goes on where it stopped. The table holds
as many studies as are there.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import threadpoolctl
from pages import put

from ranklsim.cohorts.conduct.patients import with_population
from ranklsim.cohorts.protocol.endpoints import Multiplicity
from ranklsim.cohorts.protocol.trial import Trial, load_trial
from ranklsim.cohorts.statistics.proportions import proportion
from ranklsim.cohorts.study import StudyTables, setting
from ranklsim.pkpd.agents import load_agent
from ranklsim.pkpd.parameters import load_parameters
from ranklsim.reports.analyses import results
from ranklsim.reports.analyses.monitoring import HARM, decide, monitor, outcome_of
from ranklsim.reports.replicate import sample
from ranklsim.reports.replicate.analyse import TEXT, Protocol, apart_of

PAGE = Path(__file__).resolve().parent.parent / "docs" / "replicates.md"
NOMINAL = 0.025
AT_ONCE = 20  # studies of a portion
SIZES = (30, 300)  # patients of a study: its first ones, and all

LS = 'of = "BMD_LS", from = "0 mo", to = "24 mo", as = "percent"'
TH, CTX = LS.replace("BMD_LS", "BMD_TH"), LS.replace("BMD_LS", "CTX")
GAIN, FRACTURE = 'of = "BMD_LS", at = "24 mo", gain = ">= 0 %"', 'of = "nonvertebral", by = "24 mo"'
HIP = "ANCOVA, hip"
ENDPOINTS = {
    "ANCOVA": ("change", LS, "ANCOVA"),
    HIP: ("change", TH, "ANCOVA"),
    "MMRM": ("change", LS, "MMRM"),
    "difference of means (Welch)": ("change", LS, "mean difference"),
    "difference of medians (bootstrap)": ("change", CTX, "median difference"),
    "risk difference (Miettinen-Nurminen)": ("responder", GAIN, "Miettinen-Nurminen"),
    "risk ratio (Mantel-Haenszel)": ("event", 'of = "vertebral", by = "24 mo"', "Mantel-Haenszel"),
    "odds ratio (logistic)": ("responder", GAIN, "logistic"),
    "hazard ratio (Cox)": ("event", FRACTURE, "Cox"),
    "hazard ratio (log-rank)": ("event", FRACTURE, "log-rank"),
    "subdistribution hazard ratio (Fine-Gray)": ("event", FRACTURE, "Fine-Gray"),
    "subdistribution hazard ratio (Gray)": ("event", FRACTURE, "Gray"),
    "cumulative incidence (Aalen-Johansen)": ("event", FRACTURE, "cumulative incidence"),
    "rate ratio (negative binomial)": ("rate", FRACTURE, "negative binomial"),
    "durability: highest CTX (bootstrap)": ("durability", 'of = "CTX", what = "peak"', "bootstrap"),
}
MARGINS: dict[str, tuple[str, dict[str, Any]]] = {
    "non-inferiority, ANCOVA (1 %)": ("ANCOVA", {"margin": 1.0}),
    "non-inferiority, MMRM (1 %)": ("MMRM", {"margin": 1.0}),
    "equivalence, ANCOVA (-2 to 2 %)": ("ANCOVA", {"equivalence": (-2.0, 2.0)}),
}
FAMILY = ("ANCOVA", HIP, "risk difference (Miettinen-Nurminen)")
METHODS: dict[str, dict[str, Any]] = {
    "fixed sequence": {}, "Bonferroni": {}, "Holm": {}, "Hochberg": {},
    "graphical": {"weights": (0.6, 0.2, 0.2), "transitions": ((0.0, 0.5, 0.5), (0.5, 0.0, 0.5), (0.5, 0.5, 0.0))},
}  # fmt: skip
LOOKS = ("O'Brien-Fleming", "Pocock")
PLANNED = 0.62  # standard error of the ANCOVA, points, of the whole trial


def trial_file(spending: str) -> str:
    """The trial, with two looks at its first endpoint."""
    regimen = '[{ agent = "placebo", every = "6 mo", doses = 2 }]'
    arms = "".join(f'[[arm]]\nname = "{arm}"\nlabel = "{arm}"\nregimen = {regimen}\n' for arm in "ab")
    endpoints = "".join(
        f'[[endpoint]]\nname = "{name}"\nrole = "{"secondary" if k else "primary"}"\nanalysis = "{analysis}"\n'
        f"{kind} = {{ {table} }}\n"
        for k, (name, (kind, table, analysis)) in enumerate(ENDPOINTS.items())
    )
    return f"""
title = "Type I error"
seed = 20261
months = 24
control = "a"
[population]
name = "postmenopausal-osteoporosis"
patients = {SIZES[-1]}
eligible = {{ age = "76..90 yr", T_lowest = "-4.5..-3.0" }}
strata = ["age >= 80 yr"]
ratio = {{ a = 1, b = 1 }}
{arms}
[visits]
BMD = [0, 6, 12, 24]
markers = [0, 1, 12, 18, 24]
{endpoints}
[interim]
endpoint = "ANCOVA"
spending = "{spending}"
planned_error = "{PLANNED} %"
[conduct]
dropout = "8 %/yr"
stop_treatment = "5 %/yr"
fractures = true
imaging = [12, 24]
deaths = true
enrolment = {{ rate = "20 patients/mo" }}
looks = ["50 % completed", "75 % completed"]
"""


def shown(study: StudyTables, looks: dict[str, Trial], size: int) -> Iterator[tuple[str, bool, bool]]:
    """Of each analysis of a study without any effect: whether its claim is shown, and whether the opposite is."""
    trial = study.trial
    found = {spec.name: spec.analyse(study, setting(study, spec)) for spec in trial.endpoints}
    for name, each in found.items():
        row = next(row for row in each.rows() if row["arm"] == "b")
        yield name, row["shown"], row["harm"]
    for name, (of, claim) in MARGINS.items():
        moved = replace(found[of], spec=replace(found[of].spec, **claim)).at_margin()
        row = next(row for row in moved.rows() if row["arm"] == "b")
        yield name, row["shown"], False
    family = [found[name] for name in FAMILY]
    hypotheses = tuple((name, "b") for name in FAMILY)
    for method, more in METHODS.items():
        planned = replace(trial, multiplicity=Multiplicity(method, 0.05, hypotheses, **more), interim=None)
        decided = results.decisions(replace(study, trial=planned), family, results.unmonitored())
        yield f"three endpoints, any: {method}", bool(decided["rejected"].any()), False
    if size == SIZES[-1]:
        seen = monitor(study, adjusted=False).looks
        for spending, planned in looks.items():
            plan, rows = planned.interim, seen.to_dict("records")
            assert plan is not None
            decide(rows, plan, trial.endpoint(plan.endpoint), 0.5, ahead=False)
            ended = outcome_of(rows, plan, adjusted=False)
            yield f"three looks: {spending}", ended["rejected"], ended["decision"] == HARM


def portion(folder: Path, first: int) -> None:
    """Simulate and analyse some studies, and count."""
    looks = {name: with_population(load_trial(folder / f"{name}.toml")) for name in LOOKS}
    trial = looks[LOOKS[0]]
    table = load_parameters()
    agents = [table.apply(load_agent(name)) for name in trial.agent_names()]
    plan = sample.replication(trial, table, agents, replicates=first + AT_ONCE, rtol=1e-5)
    sample.TRUE_OF = 0  # nobody asks for true values
    protocol = Protocol.of(trial, agents, [trial.population.patients])
    seen = sample.studies(plan, np.arange(first, first + AT_ONCE, dtype=np.int64), null=False)
    counts: dict[tuple[str, int], list[int]] = {}
    with threadpoolctl.threadpool_limits(1), pd.option_context("mode.string_storage", TEXT.storage):
        for whole in apart_of(seen, seen.seen, protocol):
            for size in SIZES:
                kept = {name: own[own["patient"] <= size].reset_index(drop=True) for name, own in whole.tables.items()}
                for name, wrong, other in shown(replace(whole, tables=kept), looks, size):
                    count = counts.setdefault((name, size), [0, 0, 0])
                    counts[name, size] = [count[0] + bool(wrong), count[1] + bool(other), count[2] + 1]
    rows = [(*key, *count) for key, count in counts.items()]
    frame = pd.DataFrame(rows, columns=["analysis", "patients", "wrong", "other", "studies"])
    part = folder / f"{first:06d}.part"
    frame.to_csv(part, index=False)
    part.rename(folder / f"{first:06d}.csv")


def written(folder: Path) -> str:
    """The table in Markdown."""
    every = pd.concat([pd.read_csv(path) for path in sorted(folder.glob("[0-9]*.csv"))])
    total = every.groupby(["patients", "analysis"], sort=False)[["wrong", "other", "studies"]].sum().reset_index()
    lines = [
        "| analysis | patients | wrongly shown (95 % interval) | in the other direction | studies | within |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in total.sort_values("patients", ascending=False, kind="stable").to_dict("records"):
        ends, n = proportion(row["wrong"], row["studies"]), row["studies"]
        inside = "yes" if ends["low"] <= NOMINAL <= ends["high"] else "below" if ends["high"] < NOMINAL else "above"
        two_sided = row["analysis"] in ENDPOINTS or row["analysis"].startswith("three looks")
        other = f"{100 * row['other'] / n:.2f} %" if two_sided else ""
        share = f"{100 * ends['estimate']:.2f} % ({100 * ends['low']:.2f} to {100 * ends['high']:.2f})"
        lines.append(f"| {row['analysis']} | {row['patients']} | {share} | {other} | {n:,} | {inside} |")
    return "\n".join(lines)


def main() -> None:
    """Do the portions that are not there yet, print the table and put it into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--replicates", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=-1)
    parser.add_argument("--page", action="store_true", help="put the table into docs/replicates.md")
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    for name in LOOKS:
        (asked.folder / f"{name}.toml").write_text(trial_file(name), encoding="utf-8")
    left = [k for k in range(0, asked.replicates, AT_ONCE) if not (asked.folder / f"{k:06d}.csv").exists()]
    joblib.Parallel(n_jobs=asked.workers)(joblib.delayed(portion)(asked.folder, first) for first in left)
    table = written(asked.folder)
    print(table)
    if asked.page:
        text = put(PAGE.read_text(encoding="utf-8"), "type I error", "type_one", f"\n{table}\n")
        PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
