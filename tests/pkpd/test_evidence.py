"""Evidence: what the format refuses, what a conversion keeps, and that a figure is predicted as it is defined."""

from __future__ import annotations

import csv
import re
import warnings
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import helpers
import numpy as np
import pandas as pd
import pytest
from helpers import EVIDENCE_COLUMNS, evidence_folder

from ranklsim.pkpd.agents import Agent, load_agent
from ranklsim.pkpd.errors import BadInput, Caution
from ranklsim.pkpd.evidence import predictions as evidence_predictions
from ranklsim.pkpd.evidence.errors import BETWEEN, PATIENTS, blocks, cov, error_sd, sampling_se
from ranklsim.pkpd.evidence.predictions import Predictor, predict, summary
from ranklsim.pkpd.evidence.records import ENDPOINTS, Evidence, load_evidence
from ranklsim.pkpd.parameters import ParameterTable, load_parameters
from ranklsim.pkpd.typical import simulate_typical

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = Path(__file__).parent / "evidence_sample"
SHIPPED = load_evidence()
MONTH = 30.4375

ARMS = """
[[arm]]
id = "placebo"
study = "S"
label = "Placebo"
regimen = "placebo every 6mo x4"
follow_up = "36 mo"

[[arm]]
id = "active"
study = "S"
label = "Denosumab"
covariates = { weight = "60 kg", T_LS = -2.0 }
regimen = "denosumab 60mg every 6mo x4"
follow_up = "36 mo"
"""
GOOD = {
    "study": "S", "arm": "active", "endpoint": "percent_change", "site_or_marker": "LS", "month": "12", "value": "5",
    "unit": "%", "statistic": "mean", "spread": "0.5", "spread_type": "SE", "n": "40", "phase": "on",
    "source": "Doe 2030", "verification": "read",
}  # fmt: skip


def folder(tmp_path: Path, *rows: dict[str, str], arms: str = ARMS, header: str = EVIDENCE_COLUMNS) -> Path:
    """A folder of evidence with these rows, each laid over a row without fault."""
    return evidence_folder(tmp_path, arms, *(GOOD | row for row in rows), columns=header)


def faults(path: Path) -> list[str]:
    with pytest.raises(BadInput) as caught:
        load_evidence(path)
    return list(caught.value.messages)


def one(evidence: Evidence, parameters: ParameterTable | None = None, agent: Agent | None = None) -> float:
    own = evidence if agent is None else replace(evidence, agents=evidence.agents | {agent.name: agent})
    (value,) = Predictor(own)(parameters)
    return float(value)


# --- the format ---


@pytest.mark.parametrize(
    ("column", "row", "says"),
    [
        ("unit", {"unit": "furlong2x"}, "percent_change is given in '%'"),
        ("unit", {"unit": "kg"}, "percent_change is given in '%'"),
        ("unit", {"unit": ""}, "given in '%'"),
        ("site_or_marker", {"endpoint": "percent_of_baseline", "site_or_marker": "CTZ"}, "did you mean 'CTX'?"),
        ("site_or_marker", {"site_or_marker": "ankle"}, "LS, TH, FN, R13"),
        ("site_or_marker", {"endpoint": "concentration", "site_or_marker": "zoledronate"}, "of denosumab"),
        ("arm", {"arm": "activ"}, "did you mean 'active'?"),
        ("arm", {"arm": ""}, "arms.toml"),
        ("control", {"endpoint": "difference_to_control"}, "it is empty"),
        ("control", {"endpoint": "difference_to_control", "control": "placeb"}, "did you mean 'placebo'?"),
        ("control", {"endpoint": "difference_to_control", "control": "active"}, "the arm itself"),
        ("control", {"control": "placebo"}, "leave it empty"),
        ("endpoint", {"endpoint": "percent_chang"}, "did you mean 'percent_change'?"),
        ("statistic", {"statistic": "avg"}, "give one of mean"),
        ("verification", {"verification": ""}, "give one of read, recalled"),
        ("phase", {"phase": "untreated"}, "write 'on' or 'off'"),
        ("phase", {"phase": "off"}, "the last interval ends at 24 mo"),
        ("phase", {"arm": "placebo"}, "write 'untreated'"),
        ("spread", {"spread": "-0.5"}, "-0.5 is not above 0"),
        ("spread", {"spread": "0"}, "not above 0"),
        ("spread", {"spread": ""}, "give the SE"),
        ("spread", {"spread_type": "CI95", "spread_low": "4", "spread_high": "6"}, "two numbers"),
        ("spread_low", {"spread": "", "spread_type": "IQR", "spread_low": "6", "spread_high": "4"}, "exchange the two"),
        ("spread_high", {"spread": "", "spread_type": "IQR", "spread_low": "4"}, "both ends"),
        ("spread_low", {"spread_low": "4"}, "one number"),
        ("spread_type", {"spread_type": ""}, "it is empty, but spread is given"),
        ("spread_type", {"spread_type": "SEM"}, "did you mean 'SE'?"),
        ("value", {"spread": "", "spread_type": "CI95", "spread_low": "6", "spread_high": "7"}, "outside its own CI95"),
        ("value", {"value": "-101"}, "more than -100"),
        ("value", {"value": "1e9"}, "less than 1e+06"),
        (
            "value",
            {"endpoint": "concentration", "site_or_marker": "denosumab", "unit": "ug/mL", "value": "-1"},
            "than 0",
        ),
        ("value", {"endpoint": "percent_of_baseline", "site_or_marker": "CTX", "value": "0"}, "more than 0"),
        ("value", {"value": "5 %"}, "'5 %' is not a number"),
        ("value", {"value": "nan"}, "is not a number"),
        ("value", {"value": ""}, "give a number"),
        ("month", {"month": "twelve"}, "'twelve' is not a number"),
        ("month", {"month": "0"}, "not after month 0"),
        ("month", {"month": "60"}, "beyond the protocol of 'active', which is followed for 36 mo"),
        ("month_from", {"month_from": "6"}, "leave it empty"),
        ("month_from", {"endpoint": "change_between"}, "needs the month from which"),
        ("month_from", {"endpoint": "change_between", "month_from": "24"}, "not before month 12"),
        ("month_from", {"endpoint": "change_between", "month_from": "-1"}, "before the first dose"),
        ("n", {"n": "40.5"}, "whole number"),
        ("n", {"n": "0"}, "whole number"),
        ("study", {"study": ""}, "say which"),
        ("source", {"source": ""}, "say which"),
    ],
)
def test_a_fault_is_named_with_file_line_and_column(
    tmp_path: Path, column: str, row: dict[str, str], says: str
) -> None:
    found = faults(folder(tmp_path, {"month": "6"}, row))
    assert any(re.match(rf"observations\.csv:3: column {column}: ", fault) and says in fault for fault in found), found


def test_all_faults_of_both_files_come_at_once(tmp_path: Path) -> None:
    rows = [{"arm": "x"}, {"unit": "kg", "spread": "-1"}, {"month": "99"}, {"statistic": "m", "n": "-2"}]
    path = folder(tmp_path, *rows, arms=ARMS.replace('label = "Placebo"', 'lable = "Placebo"\nn = "many"'))
    found = faults(path)
    places = [fault.split(": ")[0] for fault in found]
    assert places.count("arms.toml:5") + places.count("arms.toml:6") == 2  # a misspelt key is not also a missing one
    assert [p for p in places if p.startswith("observations")] == [f"observations.csv:{n}" for n in (2, 3, 3, 4, 5, 5)]


def test_the_same_figure_twice_names_the_line_of_the_first(tmp_path: Path) -> None:
    (fault,) = faults(folder(tmp_path, {}, {"month": "24"}, {"study": "T", "value": "6", "month": "12.0"}))
    assert fault.startswith("observations.csv:4: column value: ")
    assert "line 2" in fault


@pytest.mark.parametrize(
    ("arms", "line", "says"),
    [
        (ARMS.replace("denosumab 60mg", "denosumb 60mg"), 14, "did you mean 'denosumab'?"),
        (ARMS.replace("60mg every", "60 every"), 14, "has no unit"),
        (ARMS.replace('"60 kg"', '"60"'), 13, "has no unit"),
        (ARMS.replace("weight", "wieght"), 13, "did you mean 'weight'?"),
        (ARMS.replace("T_LS = -2.0", "T_LS = -20"), 13, "outside its range"),
        (ARMS.replace('id = "active"', 'id = "placebo"'), 10, "appears twice, first in line 3"),
        (ARMS.replace('study = "S"\nlabel = "Denosumab"', 'label = "Denosumab"'), 9, "`study` is missing"),
        (ARMS.replace('"36 mo"', '"12 mo"'), 7, "before the last dose at 18 mo"),
        (ARMS.replace("denosumab 60mg", "denosumab 1e300mg"), 14, "which is too large"),
        (ARMS.replace("denosumab 60mg every 6mo x4", "denosumab 60mg every 1day x99999"), 14, "at most 50000"),
        (ARMS.replace("denosumab 60mg every 6mo x4", "denosumab 60mg every 0.001day for 24mo"), 14, "more than 50000"),
        (ARMS.replace('"36 mo"', '"99999 mo"'), 7, "at most 1200 mo"),
        (ARMS.replace('"36 mo"', "36"), 7, "`follow_up` = 36 has no unit"),
        (ARMS + "colour = 3\n", 16, "unknown key 'colour'"),
    ],
)
def test_a_fault_of_an_arm_is_named_with_its_line(tmp_path: Path, arms: str, line: int, says: str) -> None:
    found = faults(folder(tmp_path, {}, arms=arms))
    assert any(fault.startswith(f"arms.toml:{line}: ") and says in fault for fault in found), found


@pytest.mark.parametrize(
    ("header", "says"),
    [
        (EVIDENCE_COLUMNS.replace("unit,", ""), "observations.csv:1: column unit is missing"),
        (
            EVIDENCE_COLUMNS.replace("curve", "cruve"),
            "observations.csv:1: column cruve: there is no such column; did you mean",
        ),
        (EVIDENCE_COLUMNS + ",n", "observations.csv:1: column 'n' appears twice"),
    ],
)
def test_a_fault_of_the_header_is_named(tmp_path: Path, header: str, says: str) -> None:
    assert any(fault.startswith(says) for fault in faults(folder(tmp_path, {}, header=header)))


def test_a_folder_or_file_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    assert "no such folder" in faults(tmp_path / "x")[0]
    (tmp_path / "arms.toml").write_text(ARMS, encoding="utf-8")
    (fault,) = faults(tmp_path)
    assert "observations.csv: there is no such file" in fault


def test_observations_are_still_checked_where_the_arms_can_not_be_read(tmp_path: Path) -> None:
    path = folder(tmp_path, {"statistic": "avg"}, arms="[[arm]]\nid = active\n")
    assert [fault.split(": ")[0] for fault in faults(path)] == ["arms.toml:2", "observations.csv:2"]


def test_line_numbers_count_quoted_line_breaks_and_blank_lines(tmp_path: Path) -> None:
    path = folder(tmp_path, {"source": "two\nlines"}, {"arm": "x"})
    text = (path / "observations.csv").read_text().replace("\nS,x", "\n\nS,x")
    (path / "observations.csv").write_text(text)
    assert faults(path)[0].startswith("observations.csv:5: column arm")


def test_a_fault_of_a_whole_column_is_told_once_with_the_number_of_rows_and_the_first(tmp_path: Path) -> None:
    several = [{"month": str(month), "value": str(month / 7)} for month in range(1, 31)]
    turned = [row | {"month": row["value"], "value": "x"} for row in several]
    (said,) = faults(folder(tmp_path, *turned))
    assert said.startswith("observations.csv:2: column value: 'x' is not a number; ")
    assert said.endswith("This is the first of 30 such rows; the next are 3, 4, 5, 6, 7, 8, 9, 10, and so on.")
    three = faults(folder(tmp_path, *[row | {"value": "x"} for row in several[:3]]))
    assert [fault.split(":")[1] for fault in three] == ["2", "3", "4"]


def test_two_columns_in_the_place_of_each_other_are_told_in_one_sentence(tmp_path: Path) -> None:
    rows = [{"endpoint": site, "site_or_marker": "percent_change"} for site in ("LS", "TH")]
    assert faults(folder(tmp_path, *rows)) == [
        "observations.csv:1: columns endpoint and site_or_marker are exchanged: every cell of each is a word of the "
        "other; exchange the two names."
    ]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"value": "0.05"}, "observations.csv: column value: the 3 figures of percent_change are all from 0.05 to "),
        ({"endpoint": "percent_of_baseline", "site_or_marker": "CTX", "value": "0.12"}, "are all from 0.12 to 0.12 %"),
        ({"value": "5"}, None),
        ({"value": "0.05", "unit": "1"}, None),
        ({"endpoint": "percent_of_baseline", "site_or_marker": "CTX", "value": "12"}, None),
    ],
)
def test_fractions_in_the_place_of_percent_are_warned_of(tmp_path: Path, row: dict[str, str], said: str | None) -> None:
    path = folder(tmp_path, *[row | {"spread": "", "spread_type": "", "month": str(month)} for month in (1, 6, 12)])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load_evidence(path)
        load_evidence()  # nothing that ships is doubtful
    assert len(caught) == (said is not None)
    assert said is None or said in str(caught[0].message)


def test_positive_t_scores_of_all_arms_are_warned_of(tmp_path: Path) -> None:
    path = folder(tmp_path, {})
    arms = (path / "arms.toml").read_text(encoding="utf-8")
    (path / "arms.toml").write_text(arms.replace("T_LS = -", "T_LS = "), encoding="utf-8")
    with pytest.warns(Caution, match=r"arms\.toml: the T-scores of all arms are above 0"):
        load_evidence(path)


def test_units_are_converted_exactly_with_their_spread(tmp_path: Path) -> None:
    rows = [
        {"unit": "1", "value": "0.05", "spread": "0.005"},
        {"endpoint": "concentration", "site_or_marker": "denosumab", "value": "420", "unit": "ng/mL", "spread": "30"},
        {"endpoint": "Tmax", "site_or_marker": "denosumab", "month_from": "0", "month": "3", "value": "240",
         "unit": "h", "spread": "", "spread_type": "range", "spread_low": "72", "spread_high": "504"},
    ]  # fmt: skip
    seen = load_evidence(folder(tmp_path, *rows)).observations
    assert seen["value"].tolist() == [5, 0.42, 10]
    assert seen["spread"].tolist()[:2] == [0.5, 0.03]
    assert seen.loc[2, ["spread_low", "spread_high"]].tolist() == [3, 21]
    assert seen["unit"].tolist() == ["%", "ug/mL", "day"]


def test_optional_columns_may_be_left_out(tmp_path: Path) -> None:
    header = "study,arm,endpoint,site_or_marker,month,value,unit,statistic,phase,source,verification"
    seen = load_evidence(folder(tmp_path, {}, header=header)).observations
    assert seen.loc[0, "curve"] == ""
    assert np.isnan(seen.loc[0, "n"])


def test_numeric_columns_are_numbers_and_each_endpoint_has_one_unit() -> None:
    seen = SHIPPED.observations
    for column in ("month_from", "month", "value", "spread", "spread_low", "spread_high", "n"):
        assert seen[column].dtype == float
    assert (seen.groupby("endpoint")["unit"].nunique() == 1).all()
    assert all(unit == ENDPOINTS[name].unit for name, unit in zip(seen["endpoint"], seen["unit"], strict=True))


# --- what ships, and its conversion ---


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return helpers.script("convert_evidence")


@pytest.fixture(scope="module")
def sample(script: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    out = tmp_path_factory.mktemp("converted")
    script.main([str(SAMPLE), str(out)])
    return load_evidence(out)


def origins(evidence: Evidence) -> list[tuple[str, int]]:
    """File and line of every source row that is used, or not used."""
    used = [(file, int(line)) for file, line in (origin.split(":") for origin in evidence.observations["origin"])]
    left = zip(evidence.not_used["file"], evidence.not_used["line"].astype(int), strict=True)
    return sorted([*used, *left])


def test_every_row_of_the_source_is_used_once_or_listed_with_its_reason(sample: Evidence) -> None:
    rows = [
        (path.name, line)
        for path in SAMPLE.glob("*.csv")
        for line, _ in enumerate(csv.DictReader(path.open(newline="")), start=2)
    ]
    assert origins(sample) == sorted(rows)
    assert sample.not_used["reason"].str.len().min() > 10


def test_what_ships_accounts_for_every_line_of_its_ten_tables() -> None:
    lines = pd.DataFrame(origins(SHIPPED), columns=["file", "line"]).groupby("file")["line"].agg(list)
    assert len(lines) == 10
    for file, numbers in lines.items():
        assert numbers == list(range(2, len(numbers) + 2)), file
    assert sum(len(numbers) for numbers in lines) == 1103


def test_the_conversion_is_deterministic(script: ModuleType, tmp_path: Path) -> None:
    for name in ("a", "b"):
        script.convert(SAMPLE, tmp_path / name)
    for file in ("arms.toml", "observations.csv", "not_used.csv"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_a_row_that_no_rule_speaks_of_stops_the_conversion(script: ModuleType, tmp_path: Path) -> None:
    text = (SAMPLE / "btm.csv").read_text().replace("DEFEND", "NEWTRIAL")
    (tmp_path / "btm.csv").write_text(text)
    with pytest.raises(SystemExit, match="no rule speaks of"):
        script.convert(tmp_path, tmp_path / "out")


def test_the_protocols_that_ship_are_those_of_the_script(script: ModuleType) -> None:
    used = {arm.id: arm for arm in script.ARMS if arm.id in SHIPPED.arms}
    assert list(used) == list(SHIPPED.arms)
    for name, arm in SHIPPED.arms.items():
        assert (arm.text, arm.n, arm.doi) == (used[name].regimen, used[name].n, used[name].doi)


@pytest.mark.parametrize(
    ("arm", "courses"),
    [
        ("freedom-denosumab", [("denosumab", 60, 0, 30, 6)]),
        ("freedom-extension", [("denosumab", 60, 0, 54, 10)]),
        ("defend-denosumab", [("denosumab", 60, 0, 18, 4)]),
        ("phase2-14-60", [("denosumab", 14, 0, 18, 4), ("denosumab", 60, 24, 42, 4)]),
        ("phase2-210", [("denosumab", 210, 0, 18, 4)]),
        ("decide-alendronate", [("alendronate", 70, 0, 51 * 7 / MONTH, 52)]),
        ("data-combination", [("denosumab", 60, 0, 18, 4), ("teriparatide", 0.02, 0, 729 / MONTH, 730)]),
        ("daps-switch", [("denosumab", 60, 0, 6, 2), ("alendronate", 70, 12, 12 + 51 * 7 / MONTH, 52)]),
        ("lehmann-switch", [("denosumab", 60, 0, 24, 5), ("zoledronate", 5, 30, 30, 1)]),
        ("evertsgraber-switch", [("denosumab", 60, 0, 30, 6), ("zoledronate", 5, 36, 36, 1)]),
        ("grey-2.5", [("zoledronate", 2.5, 0, 0, 1)]),
        ("frame-romosozumab", [("romosozumab", 210, 0, 11, 12), ("denosumab", 60, 12, 18, 2)]),
        ("xgeva-q4w", [("denosumab", 120, 0, 168 / MONTH, 7)]),
        ("bekker-3mgkg", [("denosumab", 198, 0, 0, 1)]),
    ],
)
def test_a_protocol_gives_the_doses_of_its_text(arm: str, courses: list[tuple[str, float, float, float, int]]) -> None:
    read = [
        (r.agent, r.dose_mg, r.times_days()[0] / MONTH, r.times_days()[-1] / MONTH, r.doses)
        for r in SHIPPED.arms[arm].regimens
    ]
    assert [x[0] for x in read] == [x[0] for x in courses]
    assert np.allclose([x[1:] for x in read], [x[1:] for x in courses], atol=1e-9)


@pytest.mark.parametrize(
    ("arm", "site", "month", "value", "statistic", "reason"),
    [
        ("phase2-14-60", "CTX", 0.13 * 28 / MONTH, 24.1, "median", "a fraction is of a month of 28 days"),
        ("phase2-14-60", "CTX", 6 + 2.8 / MONTH, 23.1, "median", "2.8 days after the dose at month 6"),
        ("phase2-14-60", "CTX", 15, 25.6, "median", "a nominal visit stays nominal"),
        ("phase2-14-60", "LS", 36, 7.99, "mean", "a mean stays a mean"),
        ("defend-denosumab", "CTX", 27, 126.83, "median", "26.97 digitised is the visit at month 27"),
        ("recker-placebo", "CTX", 168 / MONTH, 94.33, "median", "24 weeks"),
        ("data-denosumab", "TH", 3, 100 * (100.34 / 99.15 - 1), "mean", "counted from the first dose, at 11.99, -0.85"),
        ("flex-placebo", "CTX", 108, 93.42, "geometric_mean", "counted from the first dose, at 35.98"),
        ("label-q6m", "CTX", 3 / MONTH, 15, "unstated", "-85 % by day 3"),
        ("freedom-placebo", "TH", 12, 0.0, "ls_mean", "raw, no placebo subtracted"),
        ("defend-placebo", "CTX", 1, 95.47, "median", "placebo markers are evidence too"),
    ],
)
def test_months_values_and_statistics_are_kept(
    sample: Evidence, arm: str, site: str, month: float, value: float, statistic: str, reason: str
) -> None:
    seen = sample.observations
    row = seen[(seen["arm"] == arm) & (seen["site_or_marker"] == site) & np.isclose(seen["month"], month, atol=2e-6)]
    assert len(row) == 1, reason
    assert row["value"].iloc[0] == pytest.approx(value, abs=1e-6), reason
    assert row["statistic"].iloc[0] == statistic, reason


def test_bars_are_read_as_what_they_are(sample: Evidence) -> None:
    seen = sample.observations.set_index("origin")
    bar = seen[["spread_type", "spread", "spread_low", "spread_high"]]
    combination = seen[(seen["arm"] == "data-combination") & (seen["site_or_marker"] == "CTX")]
    assert combination["spread"].iloc[1] == pytest.approx((38.80808 - 28.718) / 1.96)  # one side given
    assert combination["spread_type"].tolist() == ["", "SE"]
    hip = bar[(seen["arm"] == "phase2-60") & (seen["site_or_marker"] == "TH")].iloc[0]
    assert hip["spread_type"] == "SE"
    assert hip["spread"] == pytest.approx((1.52 - 0.93) / 2)
    off = bar[(seen["arm"] == "defend-denosumab") & (seen["phase"] == "off")].iloc[0]
    assert off["spread_type"] == "IQR"
    assert (off["spread_low"], off["spread_high"]) == (93.17, 194.17)


def test_a_spread_of_zero_in_the_source_is_no_spread(sample: Evidence) -> None:
    seen = sample.observations
    row = seen[(seen["arm"] == "data-denosumab") & (seen["site_or_marker"] == "LS")].iloc[0]
    assert row["spread_type"] == ""
    assert "spread of 0" in row["note"]


def test_the_same_women_are_not_counted_twice() -> None:
    seen = SHIPPED.observations
    digitised = seen["study"].str.endswith("_digitised")
    assert set(seen[seen["study"] == "Mcclung2006_digitised"]["site_or_marker"]) == {"TH"}
    bone = seen[(seen["study"] == "Bone2011_digitised") & (seen["arm"] == "defend-denosumab")]
    assert bone[bone["site_or_marker"] != "P1NP"]["month"].min() > 24
    flex = seen[seen["arm"] == "flex-placebo"]
    assert flex["month"].min() >= 72
    leder = seen[digitised & (seen["arm"] == "data-combination")]
    assert leder.empty
    curves = seen[seen["curve"] != ""].groupby(["curve", "endpoint", "month"], dropna=False).size()
    assert (curves == 1).all()


def test_phases_follow_from_the_protocol() -> None:
    seen = SHIPPED.observations
    assert set(seen[seen["arm"].str.contains("placebo") & (seen["arm"] != "flex-placebo")]["phase"]) == {"untreated"}
    defend = seen[seen["arm"] == "defend-denosumab"]
    assert ((defend["month"] > 24) == (defend["phase"] == "off")).all()
    assert set(seen[seen["arm"] == "decide-alendronate"]["phase"]) == {"on"}  # a year of tablets ends a day early


# --- predictions ---


def test_a_bmd_change_and_a_marker_are_those_of_the_typical_patient_of_the_arm(tmp_path: Path) -> None:
    rows = [{}, {"endpoint": "percent_of_baseline", "site_or_marker": "CTX", "month": "30", "phase": "off"}]
    evidence = load_evidence(folder(tmp_path, *rows))
    arm = evidence.arms["active"]
    course = simulate_typical(arm.regimens, months=[12, 30], covariates=arm.covariates)
    assert predict(evidence)["predicted"].tolist() == pytest.approx(
        [course["BMD_LS_pct"][0], course["CTX_pct"][1]], rel=1e-4
    )


def test_compound_endpoints_follow_from_the_simple_ones(tmp_path: Path) -> None:
    def row(arm: str, month: str, **more: str) -> dict[str, str]:
        return {"arm": arm, "month": month, "phase": "untreated" if arm == "placebo" else "on"} | more

    rows = [
        row("active", "12"),
        row("active", "24"),
        row("placebo", "24"),
        row("active", "24", endpoint="difference_to_control", control="placebo"),
        row("active", "24", endpoint="change_between", month_from="12"),
        row("active", "24", endpoint="retained_gain", month_from="12"),
    ]
    at_12, at_24, untreated, difference, between, retained = predict(load_evidence(folder(tmp_path, *rows)))[
        "predicted"
    ]
    assert difference == pytest.approx(at_24 - untreated, abs=1e-9)
    assert between == pytest.approx(100 * ((100 + at_24) / (100 + at_12) - 1), abs=1e-9)
    assert retained == pytest.approx(100 * at_24 / at_12, abs=1e-6)


def kinetics(month_from: float, month: float, endpoint: str) -> dict[str, str]:
    return {
        "endpoint": endpoint,
        "site_or_marker": "denosumab",
        "month_from": str(month_from),
        "month": str(month),
        "unit": ENDPOINTS[endpoint].unit,
    }


def test_exposure_of_a_drug_without_target_is_the_closed_form(tmp_path: Path) -> None:
    arms = ARMS.replace("60mg every 6mo x4", "60mg x1").replace('"60 kg"', '"66 kg"')
    blank = replace(load_agent("denosumab"), values=load_agent("denosumab").values | {"KD_mRANKL": np.inf,
                    "KD_sRANKL": np.inf, "Q": 0.0})  # fmt: skip
    v = blank.values
    ke = v["CL"] / v["Vc"]

    def predicted(row: dict[str, str]) -> float:
        return one(load_evidence(folder(tmp_path, row, arms=arms)), agent=blank)

    day = np.log(v["ka"] / ke) / (v["ka"] - ke)
    top = v["F"] * 60 / v["Vc"] * v["ka"] / (v["ka"] - ke) * (np.exp(-ke * day) - np.exp(-v["ka"] * day))
    assert predicted(kinetics(0, 30, "AUC")) == pytest.approx(v["F"] * 60 / v["CL"], rel=0.01)
    assert predicted(kinetics(0, 6, "Tmax")) == pytest.approx(day, abs=0.1)
    assert predicted(kinetics(0, 6, "Cmax")) == pytest.approx(top, rel=0.01)
    assert predicted(kinetics(2, 4, "half_life")) == pytest.approx(np.log(2) / ke, rel=0.01)


@pytest.mark.parametrize("first", [0.0, 0.3, 0.9, 1.7])
@pytest.mark.parametrize("last", [70.0, 22.0])  # below the lower level, and a window that ends above it
def test_the_terminal_half_life_of_an_exponential_is_its_own_wherever_the_samples_fall(
    first: float, last: float
) -> None:
    days = np.arange(first, last, 2.0)
    rate = np.log(2) / 9
    course = evidence_predictions._Course(days, 3.0 * np.exp(-rate * days)[None], 0, 0, len(days) - 1)
    (found,) = evidence_predictions._read_curve("terminal_half_life", course)
    assert found == pytest.approx(9.0, rel=1e-9)


def test_a_curve_that_stays_above_the_terminal_phase_has_no_terminal_half_life() -> None:
    days = np.arange(0.0, 30.0, 2.0)
    course = evidence_predictions._Course(days, 3.0 - days[None] / 30, 0, 0, len(days) - 1)
    assert np.isnan(evidence_predictions._read_curve("terminal_half_life", course)).all()


def test_an_endpoint_that_the_course_does_not_have_is_not_used_and_says_why(tmp_path: Path) -> None:
    evidence = load_evidence(folder(tmp_path, kinetics(0, 0.5, "terminal_half_life")))
    row = predict(evidence).iloc[0]
    assert np.isnan(row["predicted"])
    assert not row["used"]
    assert row["reason"]
    assert summary(predict(evidence)).empty


def test_a_figure_below_the_limit_counts_only_where_the_prediction_is_above_it(tmp_path: Path) -> None:
    row = kinetics(0, 5, "concentration") | {"month_from": "", "unit": "ug/mL"}
    evidence = load_evidence(folder(tmp_path, row | {"value": "<0.02"}))
    assert evidence.observations["value"].tolist() == [0.02]
    assert evidence.observations["below"].all()
    found = predict(evidence)
    assert found["predicted"].item() > 0.02
    assert found["error"].item() == pytest.approx(found["predicted"].item() - 0.02)
    evidence = load_evidence(folder(tmp_path, row | {"value": "< 9"}))
    assert predict(evidence)["error"].item() == 0.0


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"value": "<0.02", "endpoint": "percent_change"}, "can be below a limit"),
        (
            {"value": "0", "endpoint": "concentration", "unit": "ug/mL"},
            "give more than 0, or < and that limit, as in <0.02",
        ),
        ({"value": "<", "endpoint": "concentration", "unit": "ug/mL"}, "column value"),
    ],
)
def test_a_figure_that_cannot_be_below_a_limit_is_refused(tmp_path: Path, row: dict[str, str], says: str) -> None:
    found = faults(folder(tmp_path, kinetics(0, 5, "concentration") | {"month_from": ""} | row))
    assert any(says in message for message in found)


def test_a_visit_at_a_dose_is_the_trough_before_it() -> None:
    arm = SHIPPED.arms["xgeva-q4w"]
    assert arm.snapped(5.519507) == 168.0
    assert arm.snapped(5.6) != 168.0


def test_each_arm_is_simulated_once(monkeypatch: pytest.MonkeyPatch) -> None:
    persons: list[int] = []
    real = evidence_predictions.simulate

    def counted(table: object, who: pd.DataFrame, *rest: object, **more: object) -> object:
        persons.append(len(who))
        return real(table, who, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(evidence_predictions, "simulate", counted)
    small = SHIPPED.subset(SHIPPED.observations["arm"].isin(["defend-denosumab", "freedom-denosumab", "grey-5"]))
    Predictor(small)()
    assert sum(persons) == 5  # the three, and the controls of two


@pytest.mark.slow
def test_everything_that_ships_is_predicted() -> None:
    table = predict(SHIPPED)
    assert table["predicted"].notna().all()
    assert table["used"].all()
    assert np.allclose(table["error"], table["predicted"] - table["observed"])


def test_parameters_and_agents_can_be_replaced(tmp_path: Path) -> None:
    evidence = load_evidence(folder(tmp_path, {}))
    agent = load_agent("denosumab")
    blind = replace(agent, values=agent.values | {"KD_mRANKL": np.inf, "KD_sRANKL": np.inf})
    as_is = one(evidence)
    assert one(evidence, agent=blind) < as_is - 2
    table = load_parameters()
    assert one(evidence, table.replace({"kT": 1.1 * table["kT"]})) != as_is
    assert one(evidence, table.replace({"denosumab.KD_mRANKL": 2.0})) < as_is  # a table may hold an agent's number


def test_what_an_arm_says_of_its_patients_reaches_the_simulation(tmp_path: Path) -> None:
    row = {"endpoint": "concentration", "site_or_marker": "denosumab", "month": "1", "unit": "ug/mL"}
    light = one(load_evidence(folder(tmp_path, row)))
    heavy = one(load_evidence(folder(tmp_path, row, arms=ARMS.replace('"60 kg"', '"90 kg"'))))
    assert light > 1.2 * heavy


def test_the_last_dose_before_a_visit_is_named() -> None:
    table = predict(SHIPPED.subset(SHIPPED.observations["arm"] == "phase2-14-60"))
    ctx = table[table["site_or_marker"] == "CTX"].set_index("time_months")
    assert ctx.loc[24.0, "dose_mg"] == 14
    assert ctx.loc[30.0, "dose_mg"] == 60
    assert set(table["agent"]) == {"denosumab"}


def test_a_summary_is_the_mean_and_mean_square_of_errors() -> None:
    table = predict(SHIPPED.subset(SHIPPED.observations["arm"] == "defend-placebo")).assign(sd=2.0)
    table["error"] = [3.0, -1.0] * (len(table) // 2)
    table["low"], table["high"] = table["observed"] - 1, table["observed"] + 1
    table.loc[0, "low"] = table.loc[0, "observed"] + 0.5
    whole = summary(table, by=["arm"]).iloc[0]
    assert (whole["n"], whole["bias"]) == (len(table), 1.0)
    assert whole["RMSE"] == pytest.approx(np.sqrt(5))
    assert whole["misfit"] == pytest.approx(np.sqrt(5) / 2)
    assert whole["inside"] == pytest.approx(100 * (1 - 1 / len(table)))
    assert list(summary(table).columns[:5]) == ["endpoint", "site_or_marker", "phase", "n", "RMSE"]


# --- errors ---


def seen(tmp_path: Path, **row: str) -> pd.DataFrame:
    return load_evidence(folder(tmp_path, row)).observations


@pytest.mark.parametrize(
    ("row", "se"),
    [
        ({"spread": "0.5", "spread_type": "SE"}, 0.5),
        ({"spread": "4", "spread_type": "SD", "n": "16"}, 1.0),
        ({"spread": "", "spread_type": "CI95", "spread_low": "4.02", "spread_high": "5.98"}, 0.5),
        ({"spread": "", "spread_type": "IQR", "spread_low": "4", "spread_high": "6.698", "n": "16"}, 0.5),
        ({"spread": "", "spread_type": "range", "spread_low": "3", "spread_high": "11", "n": "16"}, 0.5),
        ({"spread": "4", "spread_type": "SD", "n": "16", "statistic": "median"}, 1.2533),
        ({"spread": "4", "spread_type": "SD", "n": ""}, 4 / np.sqrt(40)),
        ({"spread": "", "spread_type": "", "n": "49"}, 3.5 / 7),
    ],
)
def test_the_standard_error_of_a_figure_comes_from_its_own_spread_and_n(
    tmp_path: Path, row: dict[str, str], se: float
) -> None:
    assert sampling_se(seen(tmp_path, **row))[0] == pytest.approx(se, rel=1e-3)


def test_variance_between_studies_is_a_floor_and_a_recalled_figure_has_twice_the_variance(tmp_path: Path) -> None:
    read = error_sd(seen(tmp_path, spread="0.001"))[0]
    assert read == pytest.approx(BETWEEN["percent_change"].absolute, rel=1e-3)
    assert error_sd(seen(tmp_path, spread="0.001", verification="recalled"))[0] == pytest.approx(read * np.sqrt(2))
    assert error_sd(seen(tmp_path, spread="3"))[0] == pytest.approx(np.hypot(3, read), rel=1e-6)


def test_every_endpoint_has_its_scales_and_every_shipped_figure_a_finite_error() -> None:
    assert set(BETWEEN) == set(PATIENTS) == set(ENDPOINTS)
    sd = error_sd(SHIPPED.observations)
    assert np.isfinite(sd).all()
    assert (sd > 0).all()
    assert (sd >= sampling_se(SHIPPED.observations)).all()


def test_errors_do_not_look_at_a_model() -> None:
    shuffled = SHIPPED.observations.sample(frac=1, random_state=3)
    assert np.array_equal(error_sd(shuffled), pd.Series(error_sd(SHIPPED.observations))[shuffled.index].to_numpy())


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.95])
def test_points_of_one_curve_share_rho_and_nothing_else_is_shared(rho: float) -> None:
    rows = SHIPPED.observations
    matrix, sd, block = cov(rows, rho), error_sd(rows), blocks(rows)
    correlation = matrix / np.outer(sd, sd)
    assert np.allclose(np.diag(correlation), 1)
    same = (block[:, None] == block[None, :]) & ~np.eye(len(rows), dtype=bool)
    assert np.allclose(correlation[same], rho)
    assert (correlation[block[:, None] != block[None, :]] == 0).all()
    assert np.linalg.eigvalsh(correlation).min() > 0


def test_a_row_without_curve_stands_alone(tmp_path: Path) -> None:
    rows = [{"month": "6"}, {"month": "12"}, {"month": "18", "curve": "c"}, {"month": "24", "curve": "c"}]
    assert blocks(load_evidence(folder(tmp_path, *rows)).observations).tolist() == [0, 1, 2, 2]


def test_a_correlation_of_one_is_refused() -> None:
    with pytest.raises(ValueError, match="less than 1"):
        cov(SHIPPED.observations, 1.0)


# --- the documentation ---


def test_the_documented_example_loads_and_is_predicted(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "evidence.md").read_text(encoding="utf-8")
    for language, name in (("toml", "arms.toml"), ("csv", "observations.csv")):
        (block,) = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
        (tmp_path / name).write_text(block, encoding="utf-8")
    evidence = load_evidence(tmp_path)
    assert len(evidence.arms) == 2
    assert predict(evidence)["used"].all()


def test_the_documentation_counts_what_ships_and_names_every_endpoint_and_column() -> None:
    text = (ROOT / "docs" / "evidence.md").read_text(encoding="utf-8")
    assert f"{len(SHIPPED.observations)} figures of {len(SHIPPED.arms)} arms" in " ".join(text.split())
    counts = {why: int(n) for why, n in re.findall(r"^\| ([a-z ]+) \| (\d+) \|", text, re.MULTILINE)}
    assert counts == SHIPPED.not_used["why"].value_counts().to_dict()
    for name in [*ENDPOINTS, *SHIPPED.observations.columns.drop("line")]:
        assert f"`{name}`" in text, name
