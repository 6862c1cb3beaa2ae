"""Type I error of each analysis in many trials in which both arms get placebo: a table of docs/replicates.md.

.venv/bin/python scripts/type_one.py runs/type-one --replicates 10000
.venv/bin/python scripts/type_one.py runs/type-one --replicates 10000 --only margins looks

Each part is one trial, run by `ranklsim replicate` and kept below the folder: a part that is finished is not run again,
and an interrupted one goes on where it stopped. Patients leave, stop treatment and die as in a shipped trial, so that
values are missing; what no arm can have is an effect. A claim of superiority is then false whenever it is shown, in
either direction; one with a margin is false where the true effect is the margin, to which `replicate` moves the arm.
"""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

import ranklsim

PAGE = Path(__file__).resolve().parent.parent / "docs" / "replicates.md"
BEGIN, END = "<!-- type I error: scripts/type_one.py -->", "<!-- end of type I error -->"
NOMINAL = 0.025

ARM = '[[arm]]\nname = "{0}"\nlabel = "{0}"\nregimen = [{{ agent = "placebo", every = "6 mo", doses = 2 }}]\n'
HEAD = """
title = "Type I error: {title}"
seed = 20261
months = 24
control = "a"
[population]
name = "postmenopausal-osteoporosis"
patients = {patients}
eligible = {{ age = "76..90 yr", T_lowest = "-4.5..-3.0" }}
strata = ["age >= 80 yr"]
ratio = {{ {ratio} }}
[visits]
BMD = [0, 6, 12, 24]
markers = [0, 1, 12, 24]
"""
CONDUCT = """
[conduct]
dropout = "8 %/yr"
stop_treatment = "5 %/yr"
fractures = true
imaging = [12, 24]
deaths = true
"""
LS = 'of = "BMD_LS", from = "0 mo", to = "24 mo", as = "percent"'
EVENT = 'event = { of = "nonvertebral", by = "24 mo" }'
ENDPOINTS = {
    "ANCOVA": ("change", LS, "ANCOVA"),
    "MMRM": ("change", LS, "MMRM"),
    "difference of means (Welch)": ("change", LS, "mean difference"),
    "difference of medians (bootstrap)": ("change", LS.replace("BMD_LS", "CTX"), "median difference"),
    "risk difference (Miettinen-Nurminen)": (
        "responder", 'of = "BMD_LS", at = "24 mo", gain = ">= 0 %"', "Miettinen-Nurminen"),
    "risk ratio (Mantel-Haenszel)": ("event", 'of = "vertebral", by = "24 mo"', "Mantel-Haenszel"),
    "odds ratio (logistic)": ("responder", 'of = "BMD_LS", at = "24 mo", gain = ">= 0 %"', "logistic"),
    "hazard ratio (Cox)": ("event", 'of = "nonvertebral", by = "24 mo"', "Cox"),
    "hazard ratio (log-rank)": ("event", 'of = "nonvertebral", by = "24 mo"', "log-rank"),
    "subdistribution hazard (Fine-Gray)": ("event", 'of = "nonvertebral", by = "24 mo"', "Fine-Gray"),
    "subdistribution hazard (Gray)": ("event", 'of = "nonvertebral", by = "24 mo"', "Gray"),
    "cumulative incidence (Aalen-Johansen)": ("event", 'of = "nonvertebral", by = "24 mo"', "cumulative incidence"),
    "rate ratio (negative binomial)": ("rate", 'of = "nonvertebral", by = "24 mo"', "negative binomial"),
    "durability: highest CTX (bootstrap)": ("durability", 'of = "CTX", what = "peak"', "bootstrap"),
}  # fmt: skip
MARGINS = {
    "non-inferiority (ANCOVA, margin 1 %)": ("change", LS, "ANCOVA", 'margin = "1 %"'),
    "non-inferiority (MMRM, margin 1 %)": ("change", LS, "MMRM", 'margin = "1 %"'),
    "equivalence (ANCOVA, margins -1.5 and 1.5 %)": ("change", LS, "ANCOVA", 'equivalence = ["-1.5 %", "1.5 %"]'),
}
SEVERAL = {
    "spine": ("change", LS, "ANCOVA"),
    "hip": ("change", LS.replace("BMD_LS", "BMD_TH"), "ANCOVA"),
    "responder": ENDPOINTS["risk difference (Miettinen-Nurminen)"],
}


def endpoints(of: dict[str, tuple[str, ...]]) -> str:
    """Tables [[endpoint]] of a trial file; the first is primary."""
    parts = []
    for k, (name, (kind, table, analysis, *more)) in enumerate(of.items()):
        role = "secondary" if k else "primary"
        head = f'[[endpoint]]\nname = "{name}"\nrole = "{role}"\nanalysis = "{analysis}"\n{kind} = {{ {table} }}'
        parts.append("\n".join([head, *more]))
    return "\n".join(parts)


@dataclass(frozen=True)
class Part:
    """A trial of two or more arms under placebo.

    `measure` is the row of the operating characteristics that counts wrong claims, `nominal` what it should be.
    """

    title: str
    of: dict[str, tuple[str, ...]]
    measure: str = "power"
    patients: int = 200
    more: str = ""
    conduct: str = CONDUCT
    arms: tuple[str, ...] = ("a", "b")
    null: bool = False
    name: str = ""

    def text(self) -> str:
        """The trial file."""
        ratio = ", ".join(f"{arm} = 1" for arm in self.arms)
        head = HEAD.format(title=self.title, patients=self.patients, ratio=ratio)
        return "\n".join([head, *(ARM.format(arm) for arm in self.arms), endpoints(self.of), self.more, self.conduct])


def several(method: str, more: str = "") -> Part:
    """Three endpoints under a procedure over several hypotheses."""
    order = ", ".join(f'"{name}"' for name in SEVERAL)
    plan = f'[multiplicity]\nmethod = "{method}"\nalpha = 0.05\norder = [{order}]\n{more}'
    return Part(f"{method} over three endpoints", SEVERAL, "disjunctive power", more=plan, name=f"family: {method}")


def looks(spending: str, more: str = "") -> Part:
    """Two looks and a last analysis."""
    plan = f'[interim]\nendpoint = "ANCOVA"\nspending = "{spending}"\nplanned_error = "0.75 %"\n{more}'
    conduct = CONDUCT + 'enrolment = { rate = "20 patients/mo" }\nlooks = ["50 % completed", "75 % completed"]\n'
    return Part(f"looks, {spending}", {"ANCOVA": ENDPOINTS["ANCOVA"]}, "power over all looks", more=plan,
                conduct=conduct, name=f"two looks and the end: {spending}")  # fmt: skip


PARTS = {
    "analyses": Part("each analysis, 150 patients an arm", ENDPOINTS, patients=300),
    "small": Part("each analysis, 15 patients an arm", ENDPOINTS, patients=30),
    "margins": Part("claims with margins, 100 patients an arm", MARGINS, "type I error", null=True),
    "sequence": several("fixed sequence"),
    "Holm": several("Holm"),
    "Hochberg": several("Hochberg"),
    "graph": several(
        "graphical", "weights = [0.6, 0.2, 0.2]\ntransitions = [[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]"
    ),
    "OBF": looks("O'Brien-Fleming"),
    "Pocock": looks("Pocock"),
}


def counted(part: Part, folder: Path) -> pd.DataFrame:
    """Wrong claims of a part: analysis, patients, share with its interval, and that in the other direction."""
    table = pd.read_csv(folder / "operating.csv")
    rows = table[(table["measure"] == part.measure) & table["quantity"].isin(["difference", "family", "looks"])]
    harm = table[(table["measure"] == "harm") & (table["quantity"] == "difference")].set_index("endpoint")["value"]
    found = rows.rename(columns={"value": "share", "studies": "replicates"})
    names = found["endpoint"] if not part.name else pd.Series(part.name, index=found.index)
    other = found["endpoint"].map(harm) if part.measure == "power" else float("nan")
    return found.assign(analysis=names, other=other)[
        ["analysis", "patients", "share", "low", "high", "other", "replicates"]
    ]


def main() -> None:
    """Run what is not there yet, print the table, and put it into the page if every part is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--replicates", type=int, default=10_000)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--workers", type=int, default=None)
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    frames = []
    for name in asked.only:
        part, folder = PARTS[name], asked.folder / name
        if not (folder / "operating.csv").exists():
            file = asked.folder / f"{name}.toml"
            file.write_text(part.text(), encoding="utf-8")
            ranklsim.replicate(file, folder, replicates=asked.replicates, null=part.null, workers=asked.workers,
                               resume=folder.exists())  # fmt: skip
        frames.append(counted(part, folder))
        print(written(frames[-1]), flush=True)
    if set(asked.only) == set(PARTS):
        text = PAGE.read_text(encoding="utf-8")
        table = written(pd.concat(frames))
        PAGE.write_text(re.sub(f"({BEGIN}\n).*?({END})", lambda m: f"{m[1]}\n{table}\n{m[2]}", text, flags=re.S))


def written(rows: pd.DataFrame) -> str:
    """The table in Markdown."""
    lines = ["| analysis | patients | wrongly shown | 95 % interval | wrongly in the other direction | within |",
             "| --- | --- | --- | --- | --- | --- |"]  # fmt: skip
    for row in rows.to_dict("records"):
        inside = "yes" if row["low"] <= NOMINAL <= row["high"] else "below" if row["high"] < NOMINAL else "above"
        other = "" if pd.isna(row["other"]) else f"{100 * row['other']:.2f} %"
        ends = f"{100 * row['low']:.2f} to {100 * row['high']:.2f} %"
        share = f"{100 * row['share']:.2f} %"
        lines.append(f"| {row['analysis']} | {row['patients']} | {share} | {ends} | {other} | {inside} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
