"""Fractures, deaths and low calcium that the model predicts beside published ones: docs/events.csv, docs/events.md.

    .venv/bin/python scripts/events.py [PATIENTS]

Each study is a population of ours with the study's entry criteria, its arms, and its figures. Patients are simulated as
planned, then given fractures REPLICATES times over, so that chance hardly blurs what the model says. Figures that the
levels and powers in pkpd/data/parameters.csv were set by have use "calibration"; all others judge them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from ranklsim.cohorts import streams
from ranklsim.cohorts.conduct import deaths, doses, fractures, hazards
from ranklsim.cohorts.conduct.course import STEP
from ranklsim.cohorts.conduct.patients import draw
from ranklsim.cohorts.protocol.design import Arm
from ranklsim.cohorts.protocol.trial import load_trial
from ranklsim.pkpd.agents import load_agent
from ranklsim.pkpd.dosing import parse_regimen
from ranklsim.pkpd.parameters import load_parameters
from ranklsim.pkpd.simulation import simulate
from ranklsim.pkpd.units import DAYS_PER_MONTH

OUT = Path(__file__).parent.parent / "docs" / "events.csv"
PAGE, MARKS = OUT.with_suffix(".md"), ("<!-- table: scripts/events.py -->", "<!-- end -->")
PATIENTS, REPLICATES = 3000, 10
TABLE = load_parameters()


@dataclass(frozen=True)
class Group:
    """Patients of one arm: their covariates, and fractures of every replicate."""

    covariates: pd.DataFrame
    found: list[dict[str, fractures.Fractures]]

    def broken(self, site: str, start: float, end: float, clinical: bool = False) -> np.ndarray:
        """Whether each patient has such a fracture in (start, end] months, shape (replicates, n)."""
        return np.array([self._one(f, site, start, end, clinical) > 0 for f in self.found])

    def _one(
        self, found: dict[str, fractures.Fractures], site: str, start: float, end: float, clinical: bool
    ) -> np.ndarray:
        count = np.zeros(len(self.covariates), dtype=int)
        for name in (fractures.HIP, fractures.OTHER) if site == "nonvertebral" else (site,):
            f = found[name]
            mine = (f.month > start) & (f.month <= end) & (f.clinical | (not clinical))
            np.add.at(count, f.row[mine], f.vertebrae[mine])
        return count

    def percent(
        self, site: str, end: float = 36, start: float = 0, which: np.ndarray | None = None, **more: bool
    ) -> float:
        """Share with such a fracture, %."""
        hit = self.broken(site, start, end, **more)
        return float(100 * (hit if which is None else hit[:, which]).mean())

    def multiple(self, end: float, start: float = 0) -> float:
        """Share with two or more new vertebral fractures among those with any, %."""
        counts = np.array([self._one(f, fractures.VERTEBRAL, start, end, False) for f in self.found])
        return float(100 * (counts >= 2).sum() / (counts >= 1).sum())

    def further(self, end: float) -> float:
        """Second fractures of any kind by 100 patient-years since the first."""
        seconds = years = 0.0
        for found in self.found:
            row = np.concatenate([f.row for f in found.values()])
            month = np.concatenate([f.month for f in found.values()])
            order = np.lexsort((month, row))
            row, month = row[order][month[order] <= end], month[order][month[order] <= end]
            first = np.flatnonzero(np.diff(row, prepend=-1) != 0)
            many = np.diff(first, append=row.size) > 1
            until = np.where(many, month[np.minimum(first + 1, row.size - 1)], end)
            seconds, years = seconds + many.sum(), years + (until - month[first]).sum() / 12
        return float(100 * seconds / years)


def group(
    regimen: str, n: int, months: float = 36, seed: int = 1, supplements: bool = True, **eligible: tuple
) -> Group:
    """Women of the population postmenopausal-osteoporosis with these entry criteria, under a regimen."""
    trial = load_trial("freedom")
    arms = [Arm("one", "one", parse_regimen(regimen))]
    trial = replace(
        trial, seed=seed, months=months, arms=arms, conduct=replace(trial.conduct, supplements=supplements),
        population=replace(trial.population, eligible=eligible),
    )  # fmt: skip
    number = np.arange(1, n + 1)
    people = draw(trial, TABLE, number)
    agents = [TABLE.apply(load_agent(name)) for name in trial.agent_names()]
    plan = doses.planned(trial, number, np.full(n, "one"))
    grid = np.arange(0.0, months + STEP, STEP)
    latent = simulate(TABLE, people.persons, agents, doses.as_doses(plan, agents), grid * DAYS_PER_MONTH, rtol=1e-5,
                      atol=1e-7)  # fmt: skip
    found = [fractures.happen(TABLE, people.covariates, grid, latent, seed, k) for k in range(REPLICATES)]
    return Group(people.covariates, found)


YES, NO = (1.0, 1.0), (0.0, 0.0)
FREEDOM = {"age": (60.0, 90.0), "T_lowest": (-4.0, -2.5), "vitamin_D": (12.0, None)}
FIT = {"age": (60.0, 81.0), "T_FN": (None, -1.5), "prevalent_fracture": YES}
MORE = {"age": (60.0, 80.0)}
WITH, WITHOUT = 0.63, 0.37  # of HORIZON's women, with and without a vertebral fracture
HORIZON = ({"age": (65.0, 89.0), "T_FN": (None, -1.5), "prevalent_fracture": YES},
           {"age": (65.0, 89.0), "T_FN": (None, -2.5), "prevalent_fracture": NO})  # fmt: skip
MULTIPLE = "multiple among those with a vertebral fracture, %"
Row = tuple[str, str, str, float, float, str, str]  # study, arm, figure, published, predicted, use, source


def _fit(n: int) -> Iterable[Row]:
    source = "Black 1996 doi:10.1016/s0140-6736(96)07088-2"
    alendronate = "alendronate 35mg every 1wk for 24mo, alendronate 70mg every 1wk for 12mo"
    arms = {"placebo": group("placebo every 12mo x3", n, **FIT), "alendronate": group(alendronate, n, **FIT)}
    published = {
        "vertebral": (15.0, 8.0),
        "clinical vertebral": (5.0, 2.3),
        "hip": (2.2, 1.1),
        "nonvertebral": (14.7, 11.9),
    }
    yield from _both("FIT, prevalent fracture", arms, published, "calibration", source)
    many = arms["placebo"].multiple(36)
    yield "FIT, prevalent fracture", "placebo", MULTIPLE, 100 * 4.9 / 15.0, many, "calibration", f"{source}, recalled"


def _both(
    study: str, arms: dict[str, Group], published: dict[str, tuple[float, float]], use: str, source: str
) -> Iterable[Row]:
    for figure, values in published.items():
        site, clinical = figure.split()[-1], figure.startswith("clinical")
        found = [g.percent(site, clinical=clinical) for g in arms.values()]
        for arm, value, predicted in zip(arms, values, found, strict=True):
            yield study, arm, f"{figure}, 36 mo, %", value, predicted, use, source
        yield (
            study,
            " / ".join(reversed(arms)),
            f"{figure}, risk ratio",
            values[1] / values[0],
            found[1] / found[0],
            use,
            source,
        )


def _horizon(n: int) -> Iterable[Row]:
    source = "Black 2007 doi:10.1056/NEJMoa067312, recalled"
    published = {
        "vertebral": (10.9, 3.3),
        "clinical vertebral": (2.6, 0.5),
        "hip": (2.5, 1.4),
        "nonvertebral": (10.7, 8.0),
    }
    arms = {
        name: [group(regimen, n, **who) for who in HORIZON]
        for name, regimen in {
            "placebo": "placebo every 12mo x3",
            "zoledronate": "zoledronate 5mg every 12mo x3",
        }.items()
    }
    for figure, values in published.items():
        site, clinical = figure.split()[-1], figure.startswith("clinical")
        found = [
            WITH * a.percent(site, clinical=clinical) + WITHOUT * b.percent(site, clinical=clinical)
            for a, b in arms.values()
        ]
        for arm, value, predicted in zip(arms, values, found, strict=True):
            yield "HORIZON", arm, f"{figure}, 36 mo, %", value, predicted, "calibration", source
        yield (
            "HORIZON",
            "zoledronate / placebo",
            f"{figure}, risk ratio",
            values[1] / values[0],
            found[1] / found[0],
            "calibration",
            source,
        )
    yield from _again(*arms["placebo"])


def _again(prevalent: Group, none: Group) -> Iterable[Row]:
    """Vertebral fractures of women who had one in year 1, or before the trial, or both."""
    source = "Wustrack 2012 doi:10.1007/s00198-011-1664-4"
    share, hits = {}, np.zeros(2)
    for before, g, weight in ((True, prevalent, WITH), (False, none, WITHOUT)):
        early, later = g.broken("vertebral", 0, 12), g.broken("vertebral", 12, 36)
        for year_1 in (True, False):
            share[before, year_1] = later[early == year_1].mean()
        hits += weight * np.array([(early & g.broken("vertebral", 12, 24)).mean(), early.mean()])
    odds = {who: p / (1 - p) for who, p in share.items()}
    figure = "vertebral, months 12 to 36, %"
    for who, name, value in (((False, False), "neither", 3.9), ((True, True), "both", 29.8)):
        arm = f"placebo, {name} of before and in year 1"
        yield "HORIZON", arm, figure, value, 100 * share[who], "calibration", source
    ratio = np.sqrt(np.prod([odds[before, True] / odds[before, False] for before in (True, False)]))
    figure = "vertebral, months 12 to 36, odds ratio"
    yield "HORIZON", "placebo, with / without one in year 1", figure, 3.7, ratio, "calibration", source
    ratio = np.sqrt(np.prod([odds[True, year_1] / odds[False, year_1] for year_1 in (True, False)]))
    yield "HORIZON", "placebo, with / without one before", figure, 3.3, ratio, "check", source
    source = "Lindsay 2001 doi:10.1001/jama.285.3.320"
    figure = "vertebral, in the year after one in year 1, %"
    yield "risedronate trials", "placebo (ours: HORIZON's)", figure, 19.2, 100 * hits[0] / hits[1], "check", source


def _more(n: int) -> Iterable[Row]:
    source = "Ettinger 1999 doi:10.1001/jama.282.7.637, subgroups recalled"
    for status, name, value in ((NO, "no prevalent fracture", 4.5), (YES, "prevalent fracture", 21.2)):
        low = {} if status == YES else {"T_lowest": (None, -2.5)}
        g = group("placebo every 12mo x3", n, **MORE, **low, prevalent_fracture=status)
        yield "MORE", f"placebo, {name}", "vertebral, 36 mo, %", value, g.percent("vertebral"), "calibration", source


def _freedom(n: int) -> Iterable[Row]:
    source = "Cummings 2009 doi:10.1056/NEJMoa0809493, recalled"
    arms = {
        "placebo": group("placebo every 6mo x6", n, **FREEDOM),
        "denosumab": group("denosumab 60mg every 6mo x6", n, **FREEDOM),
    }
    published = {
        "vertebral": (7.2, 2.3),
        "clinical vertebral": (2.6, 0.8),
        "hip": (1.2, 0.7),
        "nonvertebral": (8.0, 6.5),
    }
    yield from _both("FREEDOM", arms, published, "check", source)
    for month, values in ((12, (2.2, 0.9)), (24, (5.0, 1.4))):
        for (arm, g), value in zip(arms.items(), values, strict=True):
            yield (
                "FREEDOM",
                arm,
                f"vertebral, {month} mo, %",
                value,
                g.percent("vertebral", month),
                "check",
                "US label, recalled",
            )
    for arm, value in (("placebo", 100 * 1.6 / 7.2), ("denosumab", 100 * 0.6 / 2.3)):
        yield "FREEDOM", arm, MULTIPLE, value, arms[arm].multiple(36), "check", source
    source = "Boonen 2011 doi:10.1210/jc.2010-2784"
    for what, values, column in (("age >= 75", (2.3, 0.9), "age"), ("FN T <= -2.5", (2.8, 1.4), "T_FN")):
        for (arm, g), value in zip(arms.items(), values, strict=True):
            c = g.covariates[column].to_numpy()
            yield (
                "FREEDOM",
                f"{arm}, {what}",
                "hip, 36 mo, %",
                value,
                g.percent("hip", which=c >= 75 if column == "age" else c <= -2.5),
                "check",
                source,
            )
    source = "Kendler 2018 doi:10.1007/s00198-018-4687-2"
    for arm, value in (("placebo", 10.1), ("denosumab", 6.7)):
        figure = "further fractures by 100 patient-years after a first"
        yield "FREEDOM", arm, figure, value, arms[arm].further(36), "check", source


IMAGES = np.array([12.0, 24.0, 36.0])
OFF = 7.0  # months after the last dose from which Cummings 2018 counts time off treatment
LEAVING = 0.6  # 1/yr after the last dose: gives their 0.8 years off treatment a woman (56 women, 7.1 by 100, of 1,001)
CHOSEN = 1.5  # times as likely to stop with a fracture found: 1.2 by 100 patient-years before, 0.8 in all on denosumab


def _stopped(n: int) -> Iterable[Row]:
    """Women who stop after 2 to 5 doses, as they happen to fracture, and as Cummings 2018 counted."""
    source = "Cummings 2018 doi:10.1002/jbmr.3337"
    found = {}
    for arm, dose in (("placebo", "placebo"), ("denosumab", "denosumab 60mg")):
        groups = {k: group(f"{dose} every 6mo x{k}", n // 2, **FREEDOM) for k in (2, 3, 4, 5)}
        found[arm] = [_off_treatment(groups, counted=counted) for counted in (False, True)]
    published, hows = {"placebo": (8.5, 38.7), "denosumab": (7.1, 60.7)}, ("as they happen to all", "as counted")
    for arm, (rate, many) in published.items():
        for (predicted, _), how in zip(found[arm], hows, strict=True):
            figure = f"vertebral by 100 patient-years, {how}"
            yield "FREEDOM, stopped", arm, figure, rate, predicted, "check", source
        yield "FREEDOM, stopped", arm, MULTIPLE, many, found[arm][1][1], "check", source
    for k, how in enumerate(hows):
        ratio = found["denosumab"][k][0] / found["placebo"][k][0]
        yield "FREEDOM, stopped", "denosumab / placebo", f"rate ratio, {how}", 7.1 / 8.5, ratio, "check", source


def _off_treatment(groups: dict[int, Group], *, counted: bool) -> tuple[float, float]:
    """Women with a vertebral fracture by 100 patient-years off treatment, and the share of them with several, %.

    Counted: in the month of the image that finds them (yearly, and when she leaves), whenever since the image before
    they happened, with those whose fracture is found by 6 months after the last dose CHOSEN times as many.
    """
    women = years = several = 0.0
    for doses_given, g in groups.items():
        last = 6.0 * (doses_given - 1)
        patient, n = g.covariates["patient"].to_numpy(), len(g.covariates)
        for k, found in enumerate(g.found):
            stay = 12 * hazards.thresholds(1, "leaving", patient, doses_given, k) / LEAVING
            leaves = np.minimum(last + stay, IMAGES[-1])
            spine = found[fractures.VERTEBRAL]
            image = IMAGES[np.minimum(np.searchsorted(IMAGES, spine.month), IMAGES.size - 1)]
            month = np.minimum(image, leaves[spine.row]) if counted else spine.month
            weight = np.ones(n)
            if counted:
                weight[spine.row[month <= last + 6]] = CHOSEN
            mine = (month > last + OFF) & (spine.month <= leaves[spine.row])
            first, vertebrae = np.full(n, np.inf), np.zeros(n)
            np.minimum.at(first, spine.row[mine], month[mine])
            np.add.at(vertebrae, spine.row[mine], spine.vertebrae[mine])
            stays = weight * (leaves > last + OFF)
            women += stays[vertebrae > 0].sum()
            several += stays[vertebrae > 1].sum()
            years += (stays * (np.minimum(first, leaves) - last - OFF)).sum() / 12
    return 100 * women / years, 100 * several / women


def _delays(n: int) -> Iterable[Row]:
    source = "Lyu 2020 doi:10.7326/M20-0882"
    late = {"on time": 0.0, "10 weeks late": 70 / DAYS_PER_MONTH, "26 weeks late": 182 / DAYS_PER_MONTH}
    rate = {}
    for name, months in late.items():
        gap = f"nothing {months}mo, " if months else ""
        g = group(f"denosumab 60mg every 6mo x3, {gap}denosumab 60mg every 6mo x2", n, months=36, **FREEDOM)
        rate[name] = g.percent("vertebral", 24, 18)
    for name, value in (("10 weeks late", 1.48), ("26 weeks late", 3.91)):
        yield (
            "delayed denosumab",
            f"{name} / on time",
            "vertebral hazard ratio in the 6 months after a dose is due",
            value,
            rate[name] / rate["on time"],
            "check",
            source,
        )


def _deaths(n: int) -> Iterable[Row]:
    g = draw(load_trial("freedom"), TABLE, np.arange(1, n + 1)).covariates["age"].to_numpy()
    years = np.array([deaths.hazard("us-women-2009", g + t) for t in np.arange(0.125, 3, 0.25)]) * 0.25
    dead = 1 - np.exp(-TABLE["mortality_ratio"] * years.sum(axis=0))
    followed = 0.92  # of three years, on average, with 83 % completing
    for arm, value in (("placebo", 90 / 39.06), ("denosumab", 70 / 39.02)):
        yield (
            "FREEDOM",
            arm,
            "deaths, 36 mo, %",
            value,
            100 * followed * dead.mean(),
            "check",
            "Cummings 2009 doi:10.1056/NEJMoa0809493, recalled",
        )


BLOCK = {90.0: 12, 65.0: 13, 40.0: 13, 22.0: 9, 8.0: 8}
"""eGFR of the middle of each group of Block 2012, and its size; the last were on dialysis."""


def _calcium(n: int) -> Iterable[Row]:
    days = np.array([0.0, *range(3, 31), 60, 182.6])
    trial = load_trial("freedom")
    number = np.arange(1, n + 1)
    women = draw(trial, TABLE, number).persons
    agents = [TABLE.apply(load_agent(agent)) for agent in trial.agent_names()]

    def course(arm: str, **covariates: np.ndarray) -> np.ndarray:
        plan = doses.as_doses(doses.planned(trial, number, np.full(n, arm)), agents)
        return simulate(TABLE, women.assign(**covariates), agents, plan, days, rtol=1e-5, atol=1e-7)["CA"]

    visits = [int(np.abs(days - day).argmin()) for day in (30, 182.6)]
    error = np.exp(TABLE["CV_CA"] * streams.normal(1, "calcium", number[:, None], [0, 1]))
    source = "Cummings 2009 doi:10.1056/NEJMoa0809493, recalled"
    found = {arm: course(arm) for arm in ("placebo", "denosumab")}
    for arm, value, use in (("placebo", 0.4, "check"), ("denosumab", 1.7, "calibration")):
        low = (found[arm][:, visits] * error < TABLE["CA_grade_1"]).any(axis=1).mean()
        figure = "calcium measured at month 1 or 6 below 8.5 mg/dL, %"
        yield "FREEDOM", arm, figure, value, 100 * low, use, source
    nadir, nadir_day = float(days[found["denosumab"].mean(axis=0).argmin()]), "day of the calcium nadir"
    yield "FREEDOM", "denosumab", nadir_day, 10, nadir, "calibration", "US label, recalled"
    yield "Miyaoka 2018", "denosumab (ours: FREEDOM's)", nadir_day, 7, nadir, "calibration", "Osteoporos Int 2018"

    group = np.resize(np.repeat(list(BLOCK), list(BLOCK.values())), n)
    calcium = course("denosumab", EGFR=group)
    source = "Block 2012 doi:10.1002/jbmr.1613"
    for limit, value, figure in ((TABLE["CA_grade_2"], 100 * 12 / 55, "below 8.0"), (1.871, 100 * 5 / 55, "below 7.5")):
        low = (calcium < limit).any(axis=1).mean()
        yield "Block 2012", "denosumab", f"true calcium {figure} mg/dL, %", value, 100 * low, "calibration", source
    failing = calcium[group == min(BLOCK)].mean(axis=0)
    source = "Dave 2015, Am J Nephrol 41:129 (median of those with severe hypocalcaemia)"
    yield "Dave 2015", "denosumab, kidney failure", nadir_day, 21, float(days[failing.argmin()]), "check", source


STUDIES: tuple[Callable[[int], Iterable[Row]], ...] = (
    *(_fit, _horizon, _more, _freedom, _stopped, _delays, _deaths, _calcium),
)


def main(n: int) -> None:
    """Simulate every study and write the table."""
    rows = [row for study in STUDIES for row in study(n)]
    frame = pd.DataFrame(rows, columns=["study", "arm", "figure", "published", "predicted", "use", "source"])
    frame[["published", "predicted"]] = frame[["published", "predicted"]].astype(float).round(3)
    frame.to_csv(OUT, index=False, lineterminator="\n")
    shown = frame.drop(columns="source").astype({"published": object, "predicted": object})
    for column in ("published", "predicted"):
        shown[column] = [f"{value:.2f}" if "ratio" in figure else f"{value:.1f}"
                         for value, figure in zip(frame[column], frame["figure"], strict=True)]  # fmt: skip
    cells = [list(shown.columns), ["---"] * shown.shape[1], *shown.to_numpy().tolist()]
    table = "\n".join("| " + " | ".join(map(str, row)) + " |" for row in cells)
    text = PAGE.read_text(encoding="utf-8")
    begin, end = (text.index(mark) for mark in MARKS)
    PAGE.write_text(text[: begin + len(MARKS[0])] + "\n" + table + "\n" + text[end:], encoding="utf-8")
    print(shown.to_string())


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else PATIENTS)
