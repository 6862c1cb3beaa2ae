#!/usr/bin/env python3
"""Turn tables of published figures, as collected by hand, into the strict format of `docs/evidence.md`.

    scripts/convert_evidence.py SOURCE [OUT]

SOURCE holds bmd.csv, btm.csv, time_courses.csv, discontinuation.csv, exit.csv, pk.csv, ligand.csv, fractures.csv,
safety.csv, covariates.csv (those that are there are read). OUT (the package's own evidence, if not given) receives
arms.toml, observations.csv and not_used.csv. Every row of SOURCE ends in one of the two tables: used, or not and why.
A row that no rule below speaks of stops the conversion.

What is decided here, and nowhere else: the protocol of each arm; which of two readings of the same patients is used
(a printed number before a digitised point, that before a recalled or rounded one, the fuller set of patients before
its subset); what an unlabelled error bar is; and the clock: visits stay nominal months of 30.4375 days, fractions of
28-day months and weeks are turned into days exactly, a run-in that a digitiser added is taken off.
"""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ranklsim.pkpd.dosing import parse_regimen
from ranklsim.pkpd.evidence.records import COLUMNS, NOT_USED_COLUMNS, load_evidence
from ranklsim.pkpd.units import DAYS_PER_MONTH

# Trials that gave calcium and vitamin D to all from the start (protocols, recalled). In FLEX they had been taken for
# years; Grey gave none; who was switched in practice took what she took.
SUPPLEMENTED = "FREEDOM DEFEND PHASE2_20010223 DECIDE DATA DAPS ARCH FRAME STRUCTURE Recker2015".split()
TABLES = "bmd btm time_courses discontinuation exit pk ligand fractures safety covariates".split()
OUT = Path(__file__).resolve().parent.parent / "pkpd" / "data" / "evidence"
SITES = {"1/3 radius": "R13", "serum denosumab": "denosumab", "AUCss": "denosumab", "Ca": "CA"}

# --- arms: what each study did ---


@dataclass(frozen=True)
class Arm:
    """Protocol of one arm.

    `study` is the trial in which its women were enrolled, whoever reports of them: papers on one trial are one study,
    and a paper on three trials is none. `family` names the patients, where arms share them.
    """

    id: str
    study: str
    label: str
    regimen: str
    follow_up: str
    population: str = ""
    covariates: str = ""
    n: int | None = None
    doi: str = ""
    note: str = ""
    family: str = ""
    always_on: bool = False  # one dose that acts for as long as it was watched

    def phase(self, month: float) -> str:
        if self.regimen.startswith("placebo"):
            return "untreated"
        ended = max(regimen.end_day for regimen in parse_regimen(self.regimen)) / DAYS_PER_MONTH
        return "on" if self.always_on or month <= ended + GRACE else "off"


LOW = "postmenopausal women, low BMD"
PMO = "postmenopausal osteoporosis"
FREEDOM = 'age = "72.3 yr", T_LS = -2.8, T_TH = -1.9, T_FN = -2.2, vitamin_D = "23.1 ng/mL", CTX = "0.5 ng/mL"'
DEFEND = 'age = "59.4 yr", T_LS = -1.6, CTX = "0.53 ng/mL"'
DECIDE = 'age = "64.4 yr", T_LS = -2.6'
WEIGHT = "weight: not in the source, that to which the kinetic constants refer"
GREY_N = "the source gives n = 160 for all arms"
DATA_N = "the source gives n = 94 for all arms; that of the arm is from the 12-month report of the same trial"

ARMS = [
    Arm("label-single", "PROLIA_LABEL", "Denosumab 60 mg once", "denosumab 60mg x1", "8 mo", "healthy, 18-64 y",
        'weight = "66 kg"', 73, "FDA BLA125320", WEIGHT, always_on=True),
    Arm("label-q6m", "PROLIA_LABEL", "Denosumab 60 mg Q6M", "denosumab 60mg every 6mo x2", "12 mo", PMO,
        doi="FDA BLA125320"),
    Arm("xgeva-q4w", "XGEVA_CH", "Denosumab 120 mg Q4W", "denosumab 120mg every 4wk x7", "13 mo",
        "adults, bone metastases", doi="ch.oddb reg 69520",
        note="the number of doses is ours: seven reach the sixth month, and the course after the last is seen"),
    Arm("bekker-3mgkg", "Bekker2004", "Denosumab 3 mg/kg once", "denosumab 198mg x1", "9 mo",
        "healthy postmenopausal women", 'weight = "66 kg"', None, "10.1359/JBMR.040305",
        f"3 mg/kg of 66 kg; {WEIGHT}", always_on=True),
    *(Arm(f"gibiansky-{kg}kg", "Gibiansky2012", f"Denosumab 120 mg Q4W, {kg} kg", "denosumab 120mg every 4wk x8",
          "8 mo", "healthy, solid tumours", f'weight = "{kg} kg"', None, "10.2165/11598090-000000000-00000",
          "the model of that population, evaluated at this weight") for kg in (45, 66, 120)),
    Arm("freedom-placebo", "FREEDOM", "Placebo", "placebo every 6mo x6", "36 mo", PMO, FREEDOM, 3906,
        "10.1056/NEJMoa0809493"),
    Arm("freedom-denosumab", "FREEDOM", "Denosumab 60 mg Q6M", "denosumab 60mg every 6mo x6", "36 mo", PMO, FREEDOM,
        3902, "10.1056/NEJMoa0809493"),
    Arm("freedom-extension", "FREEDOM", "Denosumab 60 mg Q6M, long-term", "denosumab 60mg every 6mo x10", "60 mo",
        PMO, FREEDOM, 2343, "10.1002/jbmr.1479", "those of FREEDOM who went on", family="freedom-denosumab"),
    Arm("defend-placebo", "DEFEND", "Placebo", "placebo every 6mo x8", "48 mo", LOW, DEFEND, 166,
        "10.1210/jc.2007-2814"),
    Arm("defend-denosumab", "DEFEND", "Denosumab 60 mg Q6M, then off", "denosumab 60mg every 6mo x4", "48 mo", LOW,
        DEFEND, 166, "10.1210/jc.2007-2814"),
    Arm("phase2-placebo", "PHASE2_20010223", "Placebo", "placebo every 6mo x2", "12 mo", LOW,
        doi="10.1056/NEJMoa044459"),
    Arm("phase2-alendronate", "PHASE2_20010223", "Alendronate 70 mg QW", "alendronate 70mg every 1wk for 12mo",
        "12 mo", LOW, doi="10.1056/NEJMoa044459"),
    Arm("phase2-14-60", "PHASE2_20010223", "Denosumab 14 mg, then 60 mg Q6M",
        "denosumab 14mg every 6mo x4, denosumab 60mg every 6mo x4", "48 mo", LOW, 'CTX = "0.63 ng/mL"', 53,
        "10.1016/j.bone.2008.04.007"),
    Arm("phase2-60", "PHASE2_20010223", "Denosumab 60 mg Q6M", "denosumab 60mg every 6mo x8", "48 mo", LOW,
        'CTX = "0.64 ng/mL"', 47, "10.1016/j.bone.2008.04.007"),
    Arm("phase2-210", "PHASE2_20010223", "Denosumab 210 mg Q6M, then off", "denosumab 210mg every 6mo x4", "48 mo",
        LOW, 'CTX = "0.64 ng/mL"', 46, "10.1016/j.bone.2008.04.007"),
    Arm("decide-denosumab", "DECIDE", "Denosumab 60 mg Q6M", "denosumab 60mg every 6mo x2", "12 mo", LOW, DECIDE, 594,
        "10.1359/jbmr.0809010"),
    Arm("decide-alendronate", "DECIDE", "Alendronate 70 mg QW", "alendronate 70mg every 1wk for 12mo", "12 mo", LOW,
        DECIDE, 595, "10.1359/jbmr.0809010"),
    Arm("data-denosumab", "DATA", "Denosumab 60 mg Q6M", "denosumab 60mg every 6mo x4", "24 mo", PMO, "", 33,
        "10.1210/jc.2013-4440"),
    Arm("data-teriparatide", "DATA", "Teriparatide 20 ug daily", "teriparatide 20ug every 1day for 24mo", "24 mo", PMO,
        "", 31, "10.1210/jc.2013-4440"),
    Arm("data-combination", "DATA", "Denosumab 60 mg Q6M + teriparatide 20 ug daily",
        "denosumab 60mg every 6mo x4, with teriparatide 20ug every 1day for 24mo", "24 mo", PMO, "", 30,
        "10.1210/jc.2013-4440"),
    Arm("daps-switch", "DAPS", "Denosumab 12 mo, then alendronate 12 mo",
        "denosumab 60mg every 6mo x2, alendronate 70mg every 1wk for 12mo", "24 mo", "PMO, treatment-naive",
        'age = "65 yr", T_LS = -2.0, T_TH = -1.6, T_FN = -2.0', 115, "10.1210/clinem/dgz095"),
    Arm("evertsgraber-switch", "EvertsGraber2020", "Denosumab, then zoledronate 5 mg",
        "denosumab 60mg every 6mo x6, zoledronate 5mg x1", "66 mo", PMO, "", 120, "10.1002/jbmr.3962",
        "2 to 5 years of denosumab, taken as 3; infusion 6 months after the last dose", always_on=True),
    Arm("lehmann-switch", "Lehmann2017", "Denosumab 2.5 y, then zoledronate 5 mg",
        "denosumab 60mg every 6mo x5, zoledronate 5mg x1", "60 mo", PMO, "", 22, "10.3390/jcm10010152 table 2",
        "zoledronate when the next dose would have been due: the timing is not in the source", always_on=True),
    Arm("grey-placebo", "Grey2017_ZOL", "Placebo", "placebo every 12mo x5", "60 mo", "postmenopausal osteopenia",
        doi="10.1503/cmaj.161207"),
    *(Arm(f"grey-{mg}", "Grey2017_ZOL", f"Zoledronate {mg} mg once", f"zoledronate {mg}mg x1", "60 mo",
          "postmenopausal osteopenia", doi="10.1503/cmaj.161207", always_on=True) for mg in ("1", "2.5", "5")),
    Arm("arch-romosozumab", "ARCH", "Romosozumab 12 mo, then alendronate (ARCH)",
        "romosozumab 210mg every 1mo x12, alendronate 70mg every 1wk for 12mo", "24 mo", PMO,
        doi="10.1007/s00198-021-06174-0"),
    Arm("frame-romosozumab", "FRAME", "Romosozumab 12 mo, then denosumab (FRAME)",
        "romosozumab 210mg every 1mo x12, denosumab 60mg every 6mo x2", "24 mo", PMO,
        doi="10.1007/s00198-021-06174-0"),
    Arm("structure-romosozumab", "STRUCTURE", "Romosozumab 12 mo after alendronate (STRUCTURE)",
        "alendronate 70mg every 1wk for 60mo, romosozumab 210mg every 1mo x12", "72 mo", PMO,
        doi="10.1007/s00198-021-06174-0", note="5 years of alendronate before are our assumption"),
    *(Arm(f"flex-{name}", "FLEX", label, f"alendronate 35mg every 1wk for 24mo, alendronate 70mg every 1wk for {last}",
          "132 mo", PMO, doi="10.1001/jama.296.24.2927",
          note="5 mg a day for 2 years (FIT), then 10 mg a day, written as the weekly amounts; randomised at month 72; "
          "in FLEX 5 and 10 mg a day are pooled")
      for name, label, last in (("alendronate", "Alendronate throughout", "108mo"),
                                ("placebo", "Alendronate 6 y, then off", "48mo"))),
    *(Arm(f"recker-{name}", "Recker2015", f"Blosozumab {label}, then off", regimen, "24 mo", LOW,
          doi="10.1002/jbmr.2351")
      for name, label, regimen in (("180-q4w", "180 mg Q4W", "blosozumab 180mg every 4wk x13"),
                                   ("180-q2w", "180 mg Q2W", "blosozumab 180mg every 2wk x26"),
                                   ("270-q2w", "270 mg Q2W", "blosozumab 270mg every 2wk x26"))),
    Arm("choi-single", "Choi2025", "Denosumab 60 mg once", "denosumab 60mg x1", "6 mo", PMO, "", None,
        "10.3389/fphar.2025.1631034", "typical patient of a population model, computed from its parameters",
        always_on=True),
    Arm("bekker-opg", "Bekker2001", "OPG-Fc 3 mg/kg once", "opg-fc 198mg x1", "2 mo", "healthy postmenopausal women",
        'weight = "66 kg"', None, "10.1359/jbmr.2001.16.2.348", f"3 mg/kg of 66 kg; {WEIGHT}", always_on=True),
    Arm("recker-placebo", "Recker2015", "Placebo", "placebo every 2wk x26", "24 mo", LOW, doi="10.1002/jbmr.2351"),
    Arm("miyaoka-denosumab", "Miyaoka2018", "Denosumab 60 mg", "denosumab 60mg every 6mo x1", "6 mo",
        "osteoporosis, non-severe renal", "", 77, "Osteoporos Int 2018 Sep 5"),
]  # fmt: skip
GRACE = 0.5  # months; a year of weekly tablets ends a day before its visit
BY_ID = {arm.id: arm for arm in ARMS}

# --- rows: what becomes of each ---


@dataclass(frozen=True)
class Use:
    """A row that is used; what is not said here is taken from the row."""

    arm: str
    endpoint: str
    clock: Callable[[float], float] = float
    month: float | None = None
    month_from: float | None = None
    control: str = ""
    statistic: str = "mean"
    site: str = ""
    spread_type: str | None = None  # of an unlabelled bar; "" drops a spread
    n: str | None = None
    to: Callable[[float], float] = float  # of value and spread limits
    study: str = ""
    note: str = ""


@dataclass(frozen=True)
class Skip:
    """A row that is not used: a word to count by, and the reason in words."""

    why: str
    reason: str


@dataclass(frozen=True)
class Rule:
    """What to do with rows whose columns match; the first rule that does decides."""

    table: str
    then: Use | Skip
    study: str = ".*"
    arm: str = ".*"
    endpoint: str = ".*"
    site: str = ".*"
    months: tuple[float, ...] | None = None
    verification: str = ".*"
    note: str = ".*"
    before: float | None = None  # months up to and including
    after: float | None = None  # months later than


def days(n: float) -> float:
    """Months of 30.4375 days."""
    return n / DAYS_PER_MONTH


def visits(month: float) -> float:
    """OpenBoneMin: whole months are visits, a fraction is of a month of 28 days."""
    whole = int(month)
    return whole + days(round((month - whole) * 28, 6))


def nearest(month: float) -> float:
    """A digitised point belongs to the visit beside it."""
    near = round(month)
    return float(near) if abs(month - near) < 0.2 else month


def weeks(month: float) -> float:
    """Visits at whole weeks."""
    return days(7 * round(month * DAYS_PER_MONTH / 7))


def since(start: float) -> Callable[[float], float]:
    """Months after a run-in that the digitiser put before the first dose."""
    return lambda month: nearest(month - start)


def over(start: float) -> Callable[[float], float]:
    """% change since the value that the digitiser gave to the day of the first dose."""
    return lambda value: 100 * ((100 + value) / (100 + start) - 1)


def rest(change: float) -> float:
    """A % change as % of baseline."""
    return 100 + change


def dup(of: str) -> Skip:
    return Skip("duplicate", f"the same patients as {of}, which is used")


BASELINE = Skip("baseline", "the start, 0 % or 100 % by definition; not an observation")
NO_SITE = Skip("no such output", "a site or method that the model has no output for")
NO_MARKER = Skip("no such output", "a marker that the model has no output for")
RANGE = Skip("not one figure", "the range over arms or studies, or a bound; no figure of one arm")
WORDS = Skip("not one figure", "a statement in words, not a figure")
FRACTURE = Skip("no such output", "fractures: the model has no fracture hazard yet")
COHORT = Skip("needs a cohort", "a share of patients, which the typical patient can't have")
SIZE = Skip("no observation", "the size of a study or its dropout")
PARAMETER = Skip(
    "no observation", "a parameter of another model, not an observation; see the parameter and agent tables"
)
ALL_N = "the n of the row is that of all arms, and is left out"
JUDGED = "what the bar is was judged from its size and symmetry"
AFTER = "30 months after zoledronate"
REVIEW = "; from a table in a review"
ROUNDED = "rounded to whole percent in the source"

DATA_READ = "the figure printed for month 24 (read)"
DATA_DIGITS = "the digitised point with two decimals"
PHASE2 = [("14 mg Q6M.*", "phase2-14-60"), ("60 mg Q6M.*", "phase2-60"), ("210 mg Q6M.*", "phase2-210")]
DATA = [("denosumab", "data-denosumab"), ("teriparatide.*", "data-teriparatide"),
        (r"denosumab \+ teriparatide|combination", "data-combination")]  # fmt: skip
LEDER = {"data-denosumab": (11.99, -0.85), "data-teriparatide": (11.66, -0.83), "data-combination": (11.66, -0.83)}
DATA_ARM_N = {"data-denosumab": "33", "data-teriparatide": "31", "data-combination": "30"}
BLOSOZUMAB = [("blosozumab 180 mg Q4W", "recker-180-q4w"), ("blosozumab 180 mg Q2W", "recker-180-q2w"),
              ("blosozumab 270 mg Q2W", "recker-270-q2w")]  # fmt: skip
RECKER = [("blosozumab 180 q4w", "recker-180-q4w"), ("blosozumab 180 q2w", "recker-180-q2w"),
          ("blosozumab 270 q2w", "recker-270-q2w")]  # fmt: skip
MARKERS = "CTX|P1NP|BSAP"

RULES = [
    # bmd.csv
    Rule("bmd", NO_SITE, site="total body|trochanter|TH integral|tibia"),
    Rule("bmd", SIZE, endpoint="trial size"),
    Rule("bmd", RANGE, arm=".*(low|high) end"),
    *(Rule("bmd", Use(to, "percent_change", visits), "PHASE2_20010223", arm) for arm, to in PHASE2),
    Rule("bmd", dup("the row of the same trial's publication as transcribed, with its interval"), "DEFEND",
         "denosumab 60 mg", site="LS|TH", verification="recalled"),
    Rule("bmd", dup("the digitised curve of the placebo arm (read)"), "DEFEND", "placebo", site="TH"),
    Rule("bmd", Use("defend-denosumab", "percent_change"), "DEFEND", "denosumab.*"),
    Rule("bmd", Use("defend-placebo", "percent_change"), "DEFEND", "placebo"),
    Rule("bmd", dup("the figure printed for that visit (Austin 2012)"), "FREEDOM", "denosumab 60 mg Q6M", site="TH",
         months=(12, 24, 36)),
    Rule("bmd", Use("freedom-denosumab", "percent_change", statistic="ls_mean"), "FREEDOM", "denosumab 60 mg( Q6M)?"),
    Rule("bmd", Use("freedom-placebo", "percent_change", statistic="ls_mean"), "FREEDOM", "placebo"),
    Rule("bmd", Skip("derived", "the difference of two rows that are used"), "FREEDOM", site="TH",
         endpoint="difference", verification="read"),
    Rule("bmd", dup("the total hip of Austin 2012 (read)"), "FREEDOM|PROLIA_LABEL", endpoint="difference", site="TH"),
    Rule("bmd", dup("the difference at the spine of the primary report (9.2)"), "PROLIA_LABEL",
         endpoint="difference", site="LS"),
    Rule("bmd", Use("freedom-denosumab", "difference_to_control", control="freedom-placebo", statistic="ls_mean"),
         "FREEDOM", endpoint="difference", site="LS"),
    Rule("bmd", Use("freedom-denosumab", "difference_to_control", control="freedom-placebo", statistic="ls_mean",
                    study="PROLIA_LABEL"), "PROLIA_LABEL", endpoint="difference", site="FN"),
    Rule("bmd", Use("freedom-extension", "percent_change", statistic="ls_mean"), "FREEDOM_EXT"),
    Rule("bmd", Use("phase2-alendronate", "percent_change", n="", note=ALL_N), "McClung2006", "alendronate.*"),
    Rule("bmd", Use("phase2-placebo", "percent_change", n="", note=ALL_N), "McClung2006", "placebo"),
    Rule("bmd", Use("decide-denosumab", "percent_change"), "DECIDE", "denosumab.*"),
    Rule("bmd", Use("decide-alendronate", "percent_change"), "DECIDE", "alendronate.*"),
    # DATA, printed at months 12 (recalled) and 24 (read), digitised twice, once rounded
    Rule("bmd", dup(DATA_DIGITS), "DATA_12m", r"denosumab \+ teriparatide"),
    Rule("bmd", dup(DATA_DIGITS), "DATA_12m", "denosumab|teriparatide.*", site="TH"),
    *(Rule("bmd", Use(to, "percent_change", study="DATA_12m"), "DATA_12m", arm) for arm, to in DATA),
    *(Rule("bmd", Use(to, "percent_change", n=DATA_ARM_N[to], note=DATA_N), "DATA_24m", arm, months=(24,),
           note="|n = all arms") for arm, to in DATA),
    Rule("bmd", dup(DATA_READ), "DATA_24m", months=(24,)),
    Rule("bmd", dup("the digitised point with two decimals: this one is " + ROUNDED), "DATA_24m",
         "denosumab 60 mg Q6M", site="TH"),
    Rule("bmd", dup("the figure recalled with one decimal: this one is " + ROUNDED), "DATA_24m",
         "denosumab 60 mg Q6M", months=(12,)),
    Rule("bmd", Use("data-denosumab", "percent_change"), "DATA_24m", "denosumab 60 mg Q6M"),
    Rule("bmd", Use("data-combination", "percent_change"), "DATA_24m", r"denosumab \+ teriparatide"),
    Rule("bmd", Use("recker-placebo", "percent_change", visits), "Blosozumab_Ph2", "blosozumab PBO.*", site="LS"),
    Rule("bmd", dup("the curve of the same arm to month 24"), "Blosozumab_Ph2", "blosozumab PBO.*"),
    *(Rule("bmd", Use(to, "percent_change", visits), "Blosozumab_Ph2", arm, site="LS") for arm, to in BLOSOZUMAB),
    Rule("bmd", dup("the curve of the same arm to month 24"), "Blosozumab_Ph2"),
    # btm.csv
    Rule("btm", NO_MARKER, site="uNTX|sNTX"),
    Rule("btm", RANGE, "PROLIA_LABEL", endpoint="end-of-interval suppression|max suppression"),
    Rule("btm", COHORT, "PROLIA_LABEL", endpoint="below LLOQ.*"),
    Rule("btm", Use("label-q6m", "percent_of_baseline", month=days(3), statistic="unstated", to=rest,
                    note="by day 3; approximate in the source"), "PROLIA_LABEL", endpoint="change"),
    Rule("btm", Skip("not one figure", "several doses pooled"), "Bekker2004"),
    Rule("btm", WORDS, "Block2012|Papapoulos2015"),
    Rule("btm", dup("the medians of the same sub-study (Eastell 2011)"), "FREEDOM", site="CTX"),
    Rule("btm", Use("freedom-denosumab", "difference_to_control", control="freedom-placebo", statistic="median"),
         "FREEDOM", site="P1NP"),
    Rule("btm", Use("decide-denosumab", "percent_of_baseline", statistic="median", to=rest), "DECIDE", "denosumab.*"),
    Rule("btm", Use("decide-alendronate", "percent_of_baseline", statistic="median", to=rest), "DECIDE", "alendr.*"),
    *(Rule("btm", Use(to, "percent_of_baseline", visits, statistic=statistic), "PHASE2_20010223", arm,
           endpoint=f"{statistic}.*") for arm, to in PHASE2 for statistic in ("mean", "median")),
    Rule("btm", Use("defend-denosumab", "percent_of_baseline", statistic="median"), "DEFEND"),
    Rule("btm", Use("freedom-denosumab", "percent_of_baseline", statistic="median"), "Eastell2011"),
    Rule("btm", Use("data-combination", "percent_of_baseline"), "DATA_24m"),
    Rule("btm", dup("the curve of the same arm to month 24"), "Blosozumab_Ph2", "blosozumab PBO.*"),
    Rule("btm", dup("the curve of the same arm to month 24"), "Blosozumab_Ph2"),
    # time_courses.csv: Bone 2011 (DEFEND, on and off treatment)
    Rule("time_courses", BASELINE, "(Bone2011|Mcclung2006|Recknor2015|Leder2014|Black2006)_.*", months=(0,)),
    Rule("time_courses", dup("the transcribed figure of the whole trial (DEFEND), with its n and interval"),
         "Bone2011_.*", "denosumab", site="TH|CTX", before=24),
    *(Rule("time_courses", Use(f"defend-{arm}", "percent_change", nearest, spread_type="CI95", n="128",
                               note=f"n from discontinuation.csv; {JUDGED}"), "Bone2011_.*", arm, site="TH")
      for arm in ("denosumab", "placebo")),
    *(Rule("time_courses", Use(f"defend-{arm}", "percent_of_baseline", nearest, spread_type="IQR", n="128",
                               statistic="median", note=f"n from discontinuation.csv; {JUDGED}"), "Bone2011_.*", arm)
      for arm in ("denosumab", "placebo")),
    # McClung 2006 (phase 2, first year): the hip is nowhere else, the markers are
    *(Rule("time_courses", Use(to, "percent_change", nearest, spread_type="SE", note=JUDGED), "Mcclung2006_.*", arm,
           site="TH") for arm, to in
      (("denosumab 14.*", "phase2-14-60"), ("denosumab 60.*", "phase2-60"), ("denosumab 210.*", "phase2-210"))),
    Rule("time_courses", dup("the values transcribed in btm.csv, with their n"), "Mcclung2006_.*"),
    # Leder 2014 (DATA)
    *(Rule("time_courses", BASELINE, "Leder2014_.*", months=(start,)) for start, _ in LEDER.values()),
    Rule("time_courses", dup("the points digitised in bmd.csv and btm.csv"), "Leder2014_.*", "combination"),
    Rule("time_courses", dup(DATA_READ), "Leder2014_.*", site="TH", after=35),
    *(Rule("time_courses", Use(to, "percent_change", since(LEDER[to][0]), spread_type="SE", n=DATA_ARM_N[to],
                               to=over(LEDER[to][1]), note=f"{JUDGED}; month and change counted from the first dose"),
           "Leder2014_.*", arm, site="TH") for arm, to in DATA),
    *(Rule("time_courses", Use(to, "percent_of_baseline", since(LEDER[to][0]), spread_type="SE", n=DATA_ARM_N[to],
                               note=f"{JUDGED}; month counted from the first dose"), "Leder2014_.*", arm)
      for arm, to in DATA),
    # Black 2006 (FIT, then FLEX)
    Rule("time_courses", BASELINE, "Black2006_.*", months=(35.98,)),
    Rule("time_courses", dup("the other arm of FLEX, pooled until it was randomised"), "Black2006_.*",
         "alendronate-placebo", site="TH|CTX", before=108),
    Rule("time_courses", dup("the other arm of FLEX, pooled until it was randomised"), "Black2006_.*",
         "alendronate-placebo", before=84),
    *(Rule("time_courses", Use(to, endpoint, since(35.98), spread_type="CI95", statistic=statistic, to=change,
                               note=f"{JUDGED}; month counted from the first dose"), "Black2006_.*", arm, site=site)
      for arm, to in (("alendronate-alendronate", "flex-alendronate"), ("alendronate-placebo", "flex-placebo"))
      for site, endpoint, statistic, change in (("TH", "percent_change", "mean", over(-2.56)),
                                                ("CTX|P1NP", "percent_of_baseline", "geometric_mean", float))),
    # Recker 2015 (blosozumab): the placebo arm
    Rule("time_courses", Use("recker-placebo", "percent_change", weeks, spread_type="SE", note=JUDGED),
         "Recknor2015_.*", "placebo", site="TH"),
    Rule("time_courses", Use("recker-placebo", "percent_of_baseline", weeks, spread_type="IQR", statistic="median",
                             note=JUDGED), "Recknor2015_.*", "placebo"),
    *(rule for arm, to in RECKER for rule in (
        Rule("time_courses", Use(to, "percent_change", weeks, spread_type="SE", note=JUDGED), "Recknor2015_.*", arm,
             site="TH"),
        Rule("time_courses", Use(to, "percent_of_baseline", weeks, spread_type="IQR", statistic="median", note=JUDGED),
             "Recknor2015_.*", arm))),
    # discontinuation.csv
    Rule("discontinuation", WORDS, endpoint="CTX crosses baseline|BTM timing|return to baseline"),
    Rule("discontinuation", dup("the digitised curve (read)"), "Bone2011_.*"),
    Rule("discontinuation", RANGE, "PROLIA_LABEL"),
    Rule("discontinuation", Use("phase2-210", "change_between", month_from=24, n="", note="n of the row is that at the "
                                "start of treatment"), "Miller2008"),
    Rule("discontinuation", FRACTURE, "Cummings2018"),
    # exit.csv
    Rule("exit", FRACTURE, endpoint=".*fracture rate"),
    Rule("exit", Skip("no observation", "adherence: how the trial went, not what the drug does"),
         endpoint=".*adherence"),
    Rule("exit", COHORT, endpoint="lost >3%.*"),
    Rule("exit", Skip("not one protocol", "several drugs after denosumab pooled, 36 % of them denosumab again"),
         "Leder2017_FU"),
    Rule("exit", Use("evertsgraber-switch", "retained_gain", month=66, month_from=36, note=AFTER), "EvertsGraber2020",
         endpoint="BMD gain retained"),
    Rule("exit", dup("the retained gain of the primary report, with its interval"), "EvertsGraber2020", site="LS|TH"),
    Rule("exit", Use("evertsgraber-switch", "change_between", month=66, month_from=36, note=AFTER + REVIEW),
         "EvertsGraber2020", site="FN"),
    Rule("exit", Use("lehmann-switch", "change_between", month=60, month_from=30, note=AFTER + REVIEW),
         "Lehmann2017"),
    Rule("exit", Skip("derived", "the change between two rows that are used"), "DAPS_2020", endpoint="change month.*"),
    Rule("exit", Use("daps-switch", "percent_change"), "DAPS_2020"),
    *(Rule("exit", Use(f"grey-{mg}", "difference_to_control", control="grey-placebo", n="", note=GREY_N),
           "Grey2017_ZOL", f"zoledronate {re.escape(mg)} mg.*") for mg in ("1", "2.5", "5")),
    *(Rule("exit", Use(to, "percent_change"), "Cosman2022_seq", arm)
      for arm, to in (("romosozumab then alendronate.*", "arch-romosozumab"),
                      (r"romosozumab 12 mo \(ARCH\)", "arch-romosozumab"),
                      ("romosozumab then denosumab.*", "frame-romosozumab"),
                      (r"romosozumab 12 mo \(FRAME\)", "frame-romosozumab"))),
    Rule("exit", Use("structure-romosozumab", "change_between", month=72, month_from=60), "Cosman2022_seq",
         r".*\(STRUCTURE\)"),
    # pk.csv
    Rule("pk", SIZE, endpoint="study size|popPK data set|doses"),
    Rule("pk", Use("label-single", "Cmax", month=days(112), month_from=0), "PROLIA_LABEL", endpoint="Cmax"),
    Rule("pk", Use("label-single", "Tmax", month=days(112), month_from=0, statistic="median"), "PROLIA_LABEL",
         endpoint="Tmax.*"),
    Rule("pk", Use("label-single", "half_life", month=days(90), month_from=days(30),
                   note="the window of the slope, days 30 to 90, is ours"), "PROLIA_LABEL", endpoint="half-life.*"),
    Rule("pk", Use("label-single", "AUC", month=days(112), month_from=0), "PROLIA_LABEL", endpoint="AUC0-16wk"),
    Rule("pk", WORDS,
         endpoint="accumulation|dose linearity|effect of renal function.*|.* effect on exposure|anti-drug.*"),
    Rule("pk", Use("xgeva-q4w", "concentration", month=days(168), note="trough before the seventh dose"), "XGEVA_CH",
         endpoint="steady-state trough"),
    Rule("pk", Use("xgeva-q4w", "half_life", month=days(168 + 112), month_from=days(168 + 28), note="the window of the "
                   "slope, days 28 to 112 after the last dose, is ours"), "XGEVA_CH", endpoint="elimination half-life"),
    Rule("pk", Use("bekker-3mgkg", "half_life", month=days(84), month_from=days(21), statistic="unstated", n="",
                   note="the window of the slope, days 21 to 84, is ours"), "Bekker2004", endpoint="beta-phase.*"),
    Rule("pk", Use("bekker-3mgkg", "terminal_half_life", month=9, month_from=days(30), statistic="unstated", n="",
                   to=lambda _: 7.5, note="the middle of 5 to 10 days, a range over doses"), "Bekker2004",
         endpoint="terminal half-life.*"),
    Rule("pk", RANGE, "Bekker2004", endpoint="Tmax range"),
    *(Rule("pk", Use(f"gibiansky-{kg}kg", "AUC_ratio", month=days(196), month_from=days(168),
                     control="gibiansky-66kg", statistic="typical", note="over the interval after the seventh dose"),
           "Gibiansky2012", f"body weight {kg} kg") for kg in (45, 120)),
    Rule("pk", RANGE, "Gibiansky2012", endpoint="RANKL occupancy"),
    Rule("pk", Use("choi-single", "AUC", month=6, month_from=0, statistic="typical"), "Choi2025",
         endpoint="AUC0-6mo"),
    Rule("pk", Use("choi-single", "Cmax", month=6, month_from=0, statistic="typical"), "Choi2025", endpoint="Cmax"),
    Rule("pk", Use("choi-single", "Tmax", month=6, month_from=0, statistic="typical"), "Choi2025", endpoint="Tmax.*"),
    Rule("pk", Use("choi-single", "concentration", statistic="typical"), "Choi2025", endpoint="concentration"),
    Rule("pk", PARAMETER, site="parameter|F"),
    # the rest
    Rule("ligand", Skip("no observation", "affinities and stoichiometry: see the agent tables"),
         "Nelson2012|Kostenuik2009|Arthur2012"),
    Rule("ligand", PARAMETER, "Gibiansky2012"),
    Rule("ligand", WORDS, "Bekker2001", arm="OPG-Fc"),
    Rule("ligand", Use("bekker-opg", "percent_of_baseline", site="CTX", to=rest,
                       note="urinary NTX, read as serum CTX: our assumption"), "Bekker2001", site="uNTX"),
    Rule("ligand", Use("bekker-opg", "percent_of_baseline", to=rest), "Bekker2001", site="BSAP"),
    Rule("ligand", Skip("depends on the assay", "absolute RANKL and OPG differ tenfold between assays, and no drug was "
                        "given")),
    Rule("fractures", FRACTURE),
    Rule("safety", Use("label-q6m", "time_of_nadir", month=days(60), month_from=0, statistic="unstated"),
         "PROLIA_LABEL", endpoint="time of serum calcium nadir"),
    Rule("safety", Use("miyaoka-denosumab", "time_of_nadir", month=days(60), month_from=0, statistic="unstated"),
         "Miyaoka2018"),
    Rule("safety", RANGE, "Bekker2004"),
    Rule("safety", Skip("no such output", "adverse events and shares of patients with low calcium: no output of the "
                        "typical patient")),
    Rule("covariates", Skip("no observation", "who was enrolled or stayed: see arms.toml and the populations"),
         endpoint="baseline.*|completed.*|retention|sample"),
    Rule("covariates", Skip("no such output", "loss around the menopause, which the model does not have"),
         "Finkelstein2008|Greendale2012|Sowers2010|Mazess1999"),
    Rule("covariates", Skip("no observation", "precision, reference ranges, correlations: see the parameter table and "
                            "the populations")),
]  # fmt: skip


def decide(table: str, row: dict[str, str]) -> Use | Skip:
    """What becomes of a row."""
    try:
        month = float(row["time_months"])
    except ValueError:
        month = float("nan")
    for rule in RULES:
        if (
            rule.table == table
            and all(
                re.fullmatch(pattern, row[column])
                for column, pattern in (
                    ("study", rule.study), ("arm", rule.arm), ("endpoint", rule.endpoint),
                    ("site_or_marker", rule.site), ("verification", rule.verification), ("note", rule.note),
                )
            )
            and (rule.months is None or month in rule.months)
            and (rule.before is None or month <= rule.before)
            and (rule.after is None or month > rule.after)
        ):  # fmt: skip
            return rule.then
    raise SystemExit(f"no rule speaks of {table}: {row}")


def observation(row: dict[str, str], use: Use, origin: str) -> dict[str, str]:
    """A row in the strict format."""
    arm = BY_ID[use.arm]
    month = use.clock(float(row["time_months"])) if use.month is None else use.month
    spread, low, high, kind, remark = read_spread(row, use)
    site = use.site or SITES.get(row["site_or_marker"], row["site_or_marker"])
    n = row["n"] if use.n is None else use.n
    value = use.to(float(row["value"])) if re.fullmatch(r"-?[\d.]+", row["value"]) else use.to(float("nan"))
    source = row["note"] if not row["note"].startswith("doses (month:amount)") else ""
    notes = [text for text in (use.note, remark, source) if text]
    if row["page"] and "OpenBoneMin" in row["page"] and "digitised" not in row["note"]:
        notes.append("transcribed in OpenBoneMin")
    return {
        "study": use.study or row["study"],
        "arm": use.arm,
        "control": use.control,
        "endpoint": use.endpoint,
        "site_or_marker": site,
        "month_from": "" if use.month_from is None else number(use.month_from),
        "month": number(month),
        "value": number(value),
        "unit": UNITS.get(row["unit"], "%"),
        "statistic": use.statistic,
        "spread": spread,
        "spread_type": kind,
        "spread_low": low,
        "spread_high": high,
        "n": "" if n == "." else n,
        "phase": arm.phase(month) if use.endpoint not in EXPOSURE else "on",
        "curve": curve(use, arm, site, month),
        "source": row["source"],
        "doi": row["doi_or_pmid"],
        "verification": row["verification"],
        "note": "; ".join(notes),
        "origin": origin,
    }


def curve(use: Use, arm: Arm, site: str, month: float) -> str:
    """Curve that a figure lies on; markers of FLEX are not those of FIT before it (other samples, other assays)."""
    if use.endpoint in EXPOSURE:
        return ""
    part = "/FLEX" if arm.id.startswith("flex") and site in ("CTX", "P1NP") and month >= 60 else ""
    return f"{arm.family or arm.id}/{site}{part}"


UNITS = {"ug/mL": "ug/mL", "d": "day", "ug*d/mL": "ug*day/mL"}
EXPOSURE = ("Cmax", "Tmax", "AUC", "AUC_ratio", "half_life", "terminal_half_life", "time_of_nadir", "concentration")


def read_spread(row: dict[str, str], use: Use) -> tuple[str, str, str, str, str]:
    """spread, spread_low, spread_high, spread_type, and a remark."""
    text, kind = row["spread"].strip(), row["spread_type"]
    if not text:
        return "", "", "", "", ""
    if kind.startswith("error bar"):
        kind = use.spread_type or ""
    kind = re.match(r"SE|SD|CI95|IQR|range", kind)[0]  # type: ignore[index]
    parts = re.split(r"[,;]", text) if re.search(r"[,;]", text) else re.fullmatch(r"([\d.]+)-([\d.]+)", text)
    if parts is None:
        if float(text) == 0:
            return "", "", "", "", "the source gives a spread of 0"
        return number(float(text)), "", "", kind, ""
    low, high = (float(end) for end in (parts if isinstance(parts, list) else parts.groups()))
    value = float(row["value"]) if kind != "range" else low
    if low == high:
        return "", "", "", "", "no error bar in the source"
    if kind == "CI95" and value in (low, high):
        half = (high - low) / 1.96  # one side of the bar only
        return number(half), "", "", "SE", "one side of the interval is given; taken as symmetrical"
    if not low <= value <= high:
        return "", "", "", "", f"the error bar of the source ({text}) does not hold its value"
    shift = use.to if kind != "range" else float
    low, high = shift(low), shift(high)
    if use.spread_type == "SE":
        return number((high - low) / 2), "", "", "SE", ""
    return "", number(low), number(high), kind, ""


def number(value: float) -> str:
    return f"{round(value, 6):.10g}"


def write_arms(path: Path, used: set[str]) -> None:
    """arms.toml with the arms that observations name."""
    lines = ["# Made by scripts/convert_evidence.py; the format is described in docs/evidence.md.", ""]
    for arm in ARMS:
        if arm.id not in used:
            continue
        lines.append("[[arm]]")
        lines += [f"{key:<10} = {json.dumps(getattr(arm, key))}" for key in ("id", "study", "label")]
        if arm.population:
            lines.append(f"population = {json.dumps(arm.population)}")
        known = ", ".join(filter(None, (arm.covariates, "supplements = 1" if arm.study in SUPPLEMENTED else "")))
        if known:
            lines.append(f"covariates = {{ {known} }}")
        lines.append(f"regimen    = {json.dumps(arm.regimen)}")
        lines.append(f"follow_up  = {json.dumps(arm.follow_up)}")
        if arm.n:
            lines.append(f"n          = {arm.n}")
        lines += [f"{key:<10} = {json.dumps(getattr(arm, key))}" for key in ("doi", "note") if getattr(arm, key)]
        lines.append("")
    path.write_text("\n".join(lines), encoding="utf-8")


def write_csv(path: Path, columns: tuple[str, ...], rows: list[dict[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def convert(source: Path, out: Path) -> tuple[int, int]:
    """Write the three files; returns how many rows are used, and how many are not."""
    used: list[dict[str, str]] = []
    left: list[dict[str, str]] = []
    found = [table for table in TABLES if (source / f"{table}.csv").is_file()]
    if not found:
        raise SystemExit(f"{source}: none of {', '.join(f'{table}.csv' for table in TABLES)} is there.")
    for table in found:
        with (source / f"{table}.csv").open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            before = 1
            for row in reader:
                line, before = before + 1, reader.line_num
                decision = decide(table, row)
                if isinstance(decision, Use):
                    used.append(observation(row, decision, f"{table}.csv:{line}"))
                    continue
                copied = {column: row.get(column, "") for column in NOT_USED_COLUMNS}
                left.append(
                    copied | {"file": f"{table}.csv", "line": str(line), "why": decision.why, "reason": decision.reason}
                )
    order = {arm.id: position for position, arm in enumerate(ARMS)}
    used.sort(
        key=lambda o: (
            order[o["arm"]],
            o["endpoint"],
            o["site_or_marker"],
            float(o["month"]),
            o["control"],
            o["origin"],
        )
    )
    out.mkdir(parents=True, exist_ok=True)
    write_arms(out / "arms.toml", {o["arm"] for o in used} | {o["control"] for o in used})
    write_csv(out / "observations.csv", COLUMNS, used)
    write_csv(out / "not_used.csv", NOT_USED_COLUMNS, left)
    return len(used), len(left)


def main(arguments: list[str]) -> None:
    if not 1 <= len(arguments) <= 2 or arguments[0].startswith("-"):
        raise SystemExit(__doc__)
    out = Path(arguments[1]) if len(arguments) == 2 else OUT
    used, left = convert(Path(arguments[0]), out)
    load_evidence(out)  # a conversion that the format refuses is no conversion
    print(f"{used} rows used, {left} not; {out}")


if __name__ == "__main__":
    main(sys.argv[1:])
