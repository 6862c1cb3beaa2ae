"""Set a run of the trial `freedom` beside what FREEDOM published: docs/freedom.csv, and the tables of docs/freedom.md.

.venv/bin/ranklsim run freedom --patients 7808 -o runs/freedom
.venv/bin/python scripts/freedom.py runs/freedom

Published figures with source, verification and use stand in docs/freedom_published.csv.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from pages import put
from scipy import stats

from ranklsim.cohorts.endpoints import Event
from ranklsim.cohorts.endpoints.event import found_by_visit
from ranklsim.cohorts.running.storage import Run, open_run
from ranklsim.cohorts.statistics import summaries, survival
from ranklsim.cohorts.statistics.proportions import mantel_haenszel, proportion
from ranklsim.pkpd.errors import RanklsimError

DOCS = Path(__file__).resolve().parent.parent / "docs"
PUBLISHED, OUT, PAGE = DOCS / "freedom_published.csv", DOCS / "freedom.csv", DOCS / "freedom.md"
ARMS = ("placebo", "denosumab")
FIRST_IMAGE = 12.0  # months; women without a spine image after baseline are in no denominator, as published
Interval = tuple[float, float, float]  # estimate and 95 % interval


class Simulated:
    """The figures of one run by the names that docs/freedom_published.csv gives them."""

    def __init__(self, run: Run) -> None:
        self.run, self.patients, self.events = run, run.patients, run.events
        self._changes: dict[tuple[str, str], pd.DataFrame] = {}

    def figure(self, row: pd.Series) -> Interval:
        """Estimate and 95 % interval of one row, in its unit."""
        return getattr(self, f"_{row['quantity']}")(row["measure"], row["arm"], float(row["month"]))

    def _mean(self, name: str, arm: str, month: float) -> Interval:
        found = summaries.mean_interval(self.patients[name].to_numpy())
        return found["mean"], found["ci_low"], found["ci_high"]

    def _sd(self, name: str, arm: str, month: float) -> Interval:
        values = self.patients[name].to_numpy()
        sd, df = float(values.std(ddof=1)), len(values) - 1
        low, high = sd * np.sqrt(df / stats.chi2.ppf([0.975, 0.025], df))
        return sd, float(low), float(high)

    def _percent(self, name: str, arm: str, month: float) -> Interval:
        return _share(self.patients[name].to_numpy() > 0)

    def _values(self, name: str, kind: str, month: float) -> dict[str, np.ndarray]:
        if (name, kind) not in self._changes:
            self._changes[name, kind] = summaries.change_from(self.run.visits, name, kind=kind)
        change = self._changes[name, kind]
        now = change[change["month"] == month]
        return {arm: now.loc[now["arm"] == arm, "value"].to_numpy() for arm in ARMS}

    def _change(self, name: str, arm: str, month: float) -> Interval:
        values = self._values(name, "percent", month)
        if arm == "difference":
            gap = summaries.welch_difference(values["denosumab"], values["placebo"])
            return gap["difference"], gap["difference_low"], gap["difference_high"]
        found = summaries.mean_interval(values[arm])
        return found["mean"], found["ci_low"], found["ci_high"]

    def _median(self, name: str, arm: str, month: float) -> Interval:
        values = self._values(name, "of_baseline", month)
        if arm == "difference":
            gap = summaries.median_difference(values["denosumab"], values["placebo"], [self.run.trial.seed, int(month)])
            return gap["difference"], gap["difference_low"], gap["difference_high"]
        return float(np.median(values[arm])), *summaries.median_interval(values[arm])

    def _times(self, name: str, month: float, least: int = 1) -> pd.DataFrame:
        event = Event(name=name, role="secondary", analysis="Cox", event=name, by_month=month, least=least)
        return event.times(self.events, self.patients)

    def _risk(self, name: str, arm: str, month: float, least: int = 1) -> Interval:
        """Of those with an image: share with the event, Mantel-Haenszel risk ratio over the age groups."""
        imaged = found_by_visit(self._times(name, 36.0), FIRST_IMAGE)["patient"]
        table = self._times(name, month, least)
        table = table[table["patient"].isin(imaged)]
        if arm == "ratio":
            found = mantel_haenszel(table, "denosumab", "placebo")
            return found["estimate"], found["low"], found["high"]
        return _share(table.loc[table["arm"] == arm, "event"].to_numpy())

    def _multiple(self, name: str, arm: str, month: float) -> Interval:
        return self._risk(name, arm, month, least=2)

    def _incidence(self, name: str, arm: str, month: float) -> Interval:
        """Kaplan-Meier incidence, Cox hazard ratio stratified by age group."""
        table = self._times(name, month)
        if arm == "ratio":
            found = survival.cox(table, "denosumab", "placebo", stratified=True)
            return found["estimate"], found["low"], found["high"]
        own = table[table["arm"] == arm]
        found = survival.at_month(survival.kaplan_meier(own["time"].to_numpy(), own["event"].to_numpy()), month)
        return tuple(100 * (1 - found[end]) for end in ("estimate", "high", "low"))

    def _ever(self, name: str, arm: str, month: float) -> Interval:
        own = self.patients if arm == "all" else self.patients[self.patients["arm"] == arm]
        return _share(own["patient"].isin(self.events.loc[self.events["event"] == name, "patient"]).to_numpy())

    def _on_treatment(self, name: str, arm: str, month: float) -> Interval:
        did, stopped = (self.events.loc[self.events["event"] == event, "patient"] for event in (name, "stopped"))
        return _share((self.patients["patient"].isin(did) & ~self.patients["patient"].isin(stopped)).to_numpy())


def _share(hit: np.ndarray) -> Interval:
    found = proportion(int(hit.sum()), hit.size)
    return tuple(100 * found[end] for end in ("estimate", "low", "high"))


def compared(run: Run, published: pd.DataFrame) -> pd.DataFrame:
    """Each published figure beside that of the run's patients.

    Returns
    -------
    DataFrame
        The columns of `published` with `simulated`, `simulated_low`, `simulated_high` (95 %), `inside` (whether the
        published figure lies in that interval) and `overlap` (whether the published interval meets it); the last two
        are empty where nothing was published.
    """
    figures = Simulated(run)
    frame = published.copy()
    frame[["simulated", "simulated_low", "simulated_high"]] = [figures.figure(row) for _, row in frame.iterrows()]
    rounded = [_rounding(text) for text in frame["published"]]  # 23.1 stands for anything from 23.05 to 23.15
    value = frame["published"].astype(float)
    known = value.notna()
    inside = (value + rounded >= frame["simulated_low"]) & (value - rounded <= frame["simulated_high"])
    overlap = (frame["high"] >= frame["simulated_low"]) & (frame["low"] <= frame["simulated_high"])
    frame["inside"] = np.where(known, np.where(inside, "yes", "no"), "")
    frame["overlap"] = np.where(frame["low"].notna(), np.where(overlap, "yes", "no"), "")
    return frame


def _rounding(text: object) -> float:
    """Half a unit of the last digit given."""
    digits = str(text).partition(".")[2] if isinstance(text, str) else ""
    return 0.5 * 10.0 ** -len(digits)


def tables(frame: pd.DataFrame) -> str:
    """The comparison in Markdown, a table for each section."""
    parts = []
    for section, rows in frame.groupby("section", sort=False):
        parts.append(f"### {section}\n")
        head = ["figure", "unit", "arm", "month", "simulated (95 %)", "published (95 %)", "inside", "overlap", "use",
                "source"]  # fmt: skip
        cells = [head, ["---"] * len(head)]
        for r in rows.to_dict("records"):
            d = 2 if "ratio" in r["unit"] or section == "Fractures" else 1
            shown = f"{r['simulated']:.{d}f} ({r['simulated_low']:.{d}f} to {r['simulated_high']:.{d}f})"
            interval = "" if np.isnan(r["low"]) else f" ({r['low']:.{d}f} to {r['high']:.{d}f})"
            known = "none found" if pd.isna(r["published"]) else f"{r['published']}{interval}"
            source = "" if pd.isna(r["source"]) else f"{r['source']}, {r['verification']}"
            use = "" if pd.isna(r["use"]) else r["use"]
            facts = [r["figure"], r["unit"], r["arm"], str(r["month"])]
            cells.append([*facts, shown, known, r["inside"], r["overlap"], use, source])
        parts.append("\n".join("| " + " | ".join(row) + " |" for row in cells) + "\n")
    known = frame[frame["inside"] != ""]
    hits = {use: (int((own["inside"] == "yes").sum()), len(own)) for use, own in known.groupby("use", sort=False)}
    said = "; ".join(f"{use}, {hit} of {n}" for use, (hit, n) in hits.items())
    inside = sum(hit for hit, _ in hits.values())
    parts.append(f"Of {len(known)} published figures {inside} lie inside; by use: {said}.\n")
    return "\n".join(parts)


def main(arguments: list[str]) -> None:
    """Write the CSV file and the part of the page between its marks."""
    if len(arguments) != 1:
        sys.exit("usage: scripts/freedom.py RUN_FOLDER")
    try:
        run = open_run(arguments[0])
    except RanklsimError as fault:
        sys.exit(str(fault))
    frame = compared(run, pd.read_csv(PUBLISHED, dtype={"published": str}))
    ends = ["simulated", "simulated_low", "simulated_high"]
    frame.assign(**frame[ends].round(3)).to_csv(OUT, index=False, lineterminator="\n")
    said = f"Seed {run.trial.seed}, {len(run.patients):,} women.\n\n"
    block = f"{said}{tables(frame)}".removesuffix("\n")
    PAGE.write_text(put(PAGE.read_text(encoding="utf-8"), "tables", "freedom", block), encoding="utf-8")
    print(frame[["figure", "arm", "month", *ends, "published", "inside", "overlap"]].to_string())


if __name__ == "__main__":
    main(sys.argv[1:])
