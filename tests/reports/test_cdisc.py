"""A run as CDISC data sets: the rules are kept, a breach of each is named, and every format reads back the same."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree as ET

import numpy as np
import pandas as pd
import pyreadstat
import pytest
from helpers import check_sentence, said

from ranklsim.cohorts.protocol.design import Arm
from ranklsim.cohorts.running.execution import run
from ranklsim.cohorts.running.storage import Run, open_run
from ranklsim.cohorts.statistics import mmrm
from ranklsim.pkpd.agents import load_agent
from ranklsim.pkpd.units import DAYS_PER_MONTH
from ranklsim.reports.analyses.results import analysed_endpoints, endpoint_table
from ranklsim.reports.cdisc import export
from ranklsim.reports.cdisc.datasets import EPOCH, agent_codes, ascii_text, build, decimal, plain_names
from ranklsim.reports.cdisc.metadata import LABELS, TEXT, codelists, guide, present, variables
from ranklsim.reports.cdisc.rules import check

CONDUCT = """[conduct]
dropout = "10 %/yr"
stop_treatment = "8 %/yr"
missed_doses = "5 %"
late_doses = { share = "20 %", median = "3 wk", p95 = "4 mo" }
visit_window = "14 day"
fractures = true
imaging = [12, 24, 36]
deaths = true
rescue = { when = ["T_TH < -2.6"], after = "12 mo", agent = "zoledronate", dose = "5 mg", every = "12 mo" }
switch = [{ at = "24 mo", arms = ["denosumab"], share = "20 %", agent = "alendronate", dose = "70 mg", every = "4 wk" }]

[per_protocol]
missed_doses = "20 %"
events = ["rescue", "stopped"]

[[endpoint]]
name     = "Area under the effect"
role     = "exploratory"
exposure = { of = "CTX", what = "AUEC", to = "36 mo" }
analysis = "ANCOVA"
"""
ODM, DEF = "http://www.cdisc.org/ns/odm/v1.3", "http://www.cdisc.org/ns/def/v2.1"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """FREEDOM with 60 patients, of whom some leave, stop, come late, fall ill."""
    from ranklsim.cohorts.protocol.trial import load_trial

    work = tmp_path_factory.mktemp("cdisc")
    text = load_trial("freedom").source_text
    text = text[: text.index("[conduct]")] if "[conduct]" in text else text
    (work / "eventful.toml").write_text(text + "\n" + CONDUCT, encoding="utf-8")
    run(str(work / "eventful.toml"), work / "run", patients=60, layers=["patients", "residual"])
    return work / "run"


@pytest.fixture(scope="module")
def trial(folder: Path) -> Run:
    return open_run(folder)


@pytest.fixture(scope="module")
def datasets(trial: Run, folder: Path) -> dict[str, pd.DataFrame]:
    """Made without ever holding all columns of the visits, which would not fit for a large run."""
    agents = {name: load_agent(name, folder=folder / "agents") for name in trial.trial.agent_names()}
    with pytest.MonkeyPatch.context() as patch:
        patch.delattr(Run, "visits")
        return build(trial, agents, date(2020, 2, 28))


@pytest.fixture(scope="module")
def written(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export.write_cdisc(folder, tmp_path_factory.mktemp("adam") / "out", first_day=date(2020, 2, 28))


def test_the_data_sets_of_an_eventful_trial_break_no_rule(datasets):
    assert list(datasets) == list(LABELS)
    assert check(datasets) == []
    assert all(len(frame) for frame in datasets.values())


def copy(datasets: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    return {name: frame.copy() for name, frame in datasets.items()}


def _put(name: str, column: str, row: int, value: object) -> Callable[[dict[str, pd.DataFrame]], None]:
    def change(data: dict[str, pd.DataFrame]) -> None:
        data[name].loc[row, column] = value

    return change


def _twice(name: str) -> Callable[[dict[str, pd.DataFrame]], None]:
    def change(data: dict[str, pd.DataFrame]) -> None:
        data[name] = pd.concat([data[name], data[name].iloc[[0]]], ignore_index=True)

    return change


BREACHES: list[tuple[Callable[[dict[str, pd.DataFrame]], object], str]] = [
    (lambda d: d.pop("ADSL"), "ADSL is missing"),
    (_twice("ADSL"), "ADSL: has more than one record for a subject (1)"),
    (_twice("ADTTE"), "ADTTE: has records with the same STUDYID, USUBJID, PARAMCD (1)"),
    (lambda d: d["ADSL"].pop("SEX"), "ADSL: SEX is missing"),
    (lambda d: d["ADSL"].insert(0, "FAVOURITE", ""), "ADSL: FAVOURITE has no metadata"),
    (_put("ADSL", "SEX", 0, "W"), "ADSL: SEX holds 'W', which is no term of SEX"),
    (_put("ADSL", "ARM", 0, ""), "ADSL: ARM is null in 1 records"),
    (_put("ADSL", "ARM", 0, "x" * 201), "ADSL: ARM holds a text of more than 200 characters"),
    (_put("ADSL", "ARM", 0, "60 µg"), "ADSL: ARM holds letters that a transport file can't hold"),
    (_put("ADSL", "RFSTDTC", 0, "28FEB2020"), "ADSL: RFSTDTC holds a date that is not ISO 8601"),
    (_put("ADSL", "RANDDT", 0, 100.5), "ADSL: RANDDT holds a number that is not whole"),
    (_put("ADSL", "AGE", 0, np.inf), "ADSL: AGE holds an infinite number"),
    (_put("ADSL", "TRT01PN", 0, 9.0), "ADSL: TRT01P and TRT01PN do not go together one to one"),
    (_put("ADBMD", "USUBJID", 0, "NOBODY-1"), "ADBMD: 1 subjects are not in ADSL"),
    (_put("ADBMD", "CHG", 1, 9.0), "ADBMD: CHG is not AVAL - BASE"),
    (_put("ADBMD", "PCHG", 1, 99.0), "ADBMD: PCHG is not 100 (AVAL - BASE) / BASE"),
    (_put("ADBMD", "BASE", 1, 9.0), "ADBMD: BASE differs within a subject and parameter"),
    (_put("ADBMD", "ABLFL", 1, "Y"), "ADBMD: has more than one record with ABLFL"),
    (_put("ADBMD", "ABLFL", 1, "maybe"), "ADBMD: ABLFL holds 'maybe', which is no term of NY"),
    (_put("ADBMD", "AVISIT", 0, "Screening"), "ADBMD: AVISIT and AVISITN do not go together one to one"),
    (_put("ADLB", "ADY", 0, 0.0), "ADLB: ADY holds day 0"),
    (_put("ADLB", "ADY", 0, 7.0), "ADLB: ADY is not ADT - RANDDT + 1"),
    (lambda d: d["ADSL"].pop("RACE"), "ADSL: RACE is missing, which ADaMIG 1.3, 3.2.2 requires"),
    (_put("ADLB", "SAFFL", 0, "N"), "ADLB: SAFFL is not SAFFL of ADSL"),
    (_put("ADBMD", "ADT", 0, 99999.0), "ADBMD: ADT is after EOSDT of ADSL in 1 records"),
    (_put("ADSL", "TRTEDT", 0, 1.0), "ADSL: TRTSDT is after TRTEDT"),
    (_put("ADSL", "EOSSTT", 0, "DISCONTINUED"), "ADSL: DCSREAS does not go with EOSSTT"),
    (_put("ADEX", "TRTP", 0, "Something else"), "ADEX: TRTP is not TRT01P of ADSL"),
    (_put("ADTTE", "CNSR", 0, 7.0), "ADTTE: CNSR holds '7', which is no term of CNSR"),
    (_put("ADEX", "EXDOSU", 0, "stone"), "ADEX: EXDOSU holds 'stone', which is no term of UNIT"),
]


@pytest.mark.parametrize(("breach", "words"), BREACHES, ids=[words for _, words in BREACHES])
def test_a_breach_of_each_rule_is_named(datasets, breach, words):
    data = copy(datasets)
    breach(data)
    assert any(words in fault for fault in check(data)), check(data)


def test_labels_names_and_types_are_those_that_a_transport_file_holds():
    for name in LABELS:
        names = [variable.name for variable in variables(name)]
        assert len(names) == len(set(names))
        for variable in variables(name):
            assert re.fullmatch(r"[A-Z][A-Z0-9_]{0,7}", variable.name)
            assert 0 < len(variable.label) <= 40
            assert variable.type in ("text", "integer", "float", "date")
            assert variable.origin in ("Assigned", "Derived", "Predecessor")
            assert variable.derivation or variable.origin == "Assigned"
            assert not variable.codelist or variable.codelist in set(codelists()["codelist"])
        assert set(guide(name).query("core == 'req'")["variable"]) <= set(names)


def test_every_patient_is_one_record_of_adsl_and_her_end_is_that_of_the_run(datasets, trial):
    adsl = datasets["ADSL"].assign(patient=lambda d: d["SUBJID"].astype(int)).set_index("patient")
    assert sorted(adsl.index) == sorted(trial.patients["patient"])
    ended = trial.events.set_index("patient")["event"]
    assert set(adsl.index[adsl["EOSSTT"] == "COMPLETED"]) == set(ended.index[ended == "completed"])
    assert set(adsl.index[adsl["DTHFL"] == "Y"]) == set(ended.index[ended == "death"])
    assert set(adsl.index[adsl["DCSREAS"] == "WITHDRAWAL BY SUBJECT"]) == set(ended.index[ended == "dropout"])
    came = trial.visits[trial.visits["attended"]].groupby("patient")["actual_month"].max()
    last = pd.concat([trial.patients.set_index("patient")["last_month"], came], axis="columns").max(axis="columns")
    seen = (adsl["EOSDT"] - adsl["RANDDT"]).reindex(last.index)
    assert (seen >= (last * DAYS_PER_MONTH).round()).all()
    assert (seen > (trial.trial.months * DAYS_PER_MONTH)).any(), "the last visit may be later than planned"
    assert (seen <= (last * DAYS_PER_MONTH).round() + 40).all()


def test_treatment_ended_early_in_those_who_lost_a_dose_for_good_and_it_says_when_and_why(datasets, trial):
    adsl = datasets["ADSL"].assign(patient=lambda d: d["SUBJID"].astype(int)).set_index("patient")
    gone = trial.doses[~trial.doses["given"] & trial.doses["reason"].isin(["stopped", "left", "rescue", "switch"])]
    early = adsl[adsl["EOTSTT"] == "DISCONTINUED"]
    assert set(early.index) == set(gone["patient"])
    assert set(adsl["EOTSTT"]) == {"COMPLETED", "DISCONTINUED"}
    kinds = ["stopped", "rescue", "switch", "dropout", "death"]
    first = trial.events[trial.events["event"].isin(kinds)].groupby("patient")["month"].min()
    when = (first.reindex(early.index) * DAYS_PER_MONTH).round()
    assert ((early["DCTDT"] - early["RANDDT"]) == when).all()
    assert early["DCTREASP"].str.startswith("RESCUE TREATMENT").any()
    assert early["DCTREASP"].str.startswith("SWITCHED TREATMENT").any()
    assert adsl.loc[~adsl.index.isin(early.index), ["DCTREAS", "DCTREASP"]].eq("").all(axis=None)


def test_rescue_and_switch_are_seen_and_are_no_study_treatment(datasets, trial):
    adsl, adex, adce = (datasets[name] for name in ("ADSL", "ADEX", "ADCE"))
    given = trial.doses[trial.doses["given"]]
    added = given["reason"].isin(["rescue", "switch"])
    assert (adex["EXCAT"] != "STUDY TREATMENT").sum() == added.sum() > 0
    assert set(adex["EXCAT"]) == {"STUDY TREATMENT", "RESCUE TREATMENT", "SWITCHED TREATMENT"}
    last = given[~added].groupby("patient")["month"].max()
    ended = adsl.set_index(adsl["SUBJID"].astype(int))
    assert (ended["TRTEDT"] - ended["RANDDT"]).to_dict() == (last * DAYS_PER_MONTH).round().to_dict()
    study = adex[adex["EXCAT"] == "STUDY TREATMENT"].groupby("USUBJID")["ASTDT"].max()
    assert (study == adsl.set_index("USUBJID")["TRTEDT"].reindex(study.index)).all()
    kinds = ["stopped", "rescue", "switch", "dropout", "death"]
    counts = trial.events["event"].value_counts()
    assert adce["CEDECOD"].value_counts().to_dict() == {k.upper(): int(counts[k]) for k in kinds if k in counts}
    rescued = set(adce.loc[adce["CEDECOD"] == "RESCUE", "USUBJID"])
    marked = set(adsl.loc[adsl["TRTSEQA"].str.endswith(" - Zoledronate (rescue)"), "USUBJID"])
    assert marked == set(adex.loc[adex["EXCAT"] == "RESCUE TREATMENT", "USUBJID"]) <= rescued
    assert set(adsl["TRTSEQP"]) == {"Placebo", "Denosumab"}


def test_age_is_whole_and_analysis_age_is_that_of_the_run(datasets, trial):
    adsl = datasets["ADSL"]
    assert adsl["AAGE"].tolist() == trial.patients.sort_values("patient")["age"].tolist()
    assert (adsl["AGE"] == np.floor(adsl["AAGE"])).all()


def test_the_per_protocol_flag_is_there_where_the_trial_defines_the_set(datasets, trial):
    adsl = datasets["ADSL"].set_index("USUBJID")
    rescued = datasets["ADCE"].loc[datasets["ADCE"]["CEDECOD"].isin(["RESCUE", "STOPPED"]), "USUBJID"]
    assert (adsl.loc[rescued.unique(), "PPROTFL"] == "N").any()
    assert set(adsl["PPROTFL"]) == {"Y", "N"}
    for frame in datasets.values():
        assert (frame["PPROTFL"] == frame["USUBJID"].map(adsl["PPROTFL"])).all()
    without = copy(datasets)
    for frame in without.values():
        frame.pop("PPROTFL")
    assert check(without) == []


def test_every_observed_value_is_a_record_and_nothing_else(datasets, trial):
    for name, measures in (("ADBMD", ["BMD_LS", "BMD_TH", "BMD_FN", "BMD_R13"]),
                           ("ADLB", ["CTX", "P1NP", "TRAP5B", "BSAP", "CA", "PTH"])):  # fmt: skip
        assert len(datasets[name]) == sum(int(trial.visits[measure].notna().sum()) for measure in measures)
    spine = datasets["ADBMD"].query("PARAMCD == 'BMDLS' and AVISITN == 36").set_index("USUBJID")["AVAL"]
    seen = trial.visits.query("month == 36")[["patient", "BMD_LS"]].dropna().set_index("patient")["BMD_LS"]
    np.testing.assert_allclose(np.sort(spine), np.sort(seen), rtol=1e-6)


def test_time_to_event_counts_the_events_of_the_run_and_censors_the_rest(datasets, trial):
    adtte = datasets["ADTTE"]
    for event, code in (
        ("vertebral", "TTVFX"),
        ("nonvertebral", "TTNVFX"),
        ("death", "TTDEATH"),
        ("stopped", "TTSTOP"),
    ):
        own = adtte[adtte["PARAMCD"] == code]
        assert len(own) == 60
        hit = trial.events[trial.events["event"] == event].drop_duplicates("patient")
        assert (own["CNSR"] == 0).sum() == len(hit)
        assert sorted(own.loc[own["CNSR"] == 0, "AVAL"]) == sorted((hit["month"] * DAYS_PER_MONTH).round() + 1)
    assert not adtte["PARAMCD"].eq("TTHYPOCA").any(), "what the trial does not record has no record"


def test_a_spine_is_seen_until_its_last_image_only(datasets):
    own = datasets["ADTTE"].query("PARAMCD == 'TTVFX' and CNSR > 0")
    images = {1.0, *(float(np.round(month * DAYS_PER_MONTH) + 1) for month in (12, 24, 36))}
    assert set(own["AVAL"]) <= images
    assert set(own["CNSR"]) == {4.0}
    assert set(own["CNSDTDSC"]) == {"LAST SPINE IMAGE ATTENDED"}


def test_a_censored_time_says_whose_day_it_is(datasets):
    adsl = datasets["ADSL"].set_index("USUBJID")
    own = datasets["ADTTE"].query("PARAMCD == 'TTNVFX' and CNSR > 0").set_index("USUBJID")
    assert (own["ADT"] <= adsl["EOSDT"].reindex(own.index)).all()
    died = own["CNSDTDSC"] == "DAY OF DEATH"
    assert (died == (adsl["DTHFL"].reindex(own.index) == "Y")).all()


def test_flags_of_the_safety_set_and_of_earlier_treatment_are_those_of_the_run(datasets, trial):
    adsl = datasets["ADSL"].assign(patient=lambda d: d["SUBJID"].astype(int)).set_index("patient")
    patients = trial.patients.set_index("patient")
    assert (adsl["PRIORFL"] == "Y").to_dict() == (patients["prior_treatment"] > 0).to_dict()
    given = set(trial.doses.loc[trial.doses["given"], "patient"])
    assert set(adsl.index[adsl["SAFFL"] == "Y"]) == given
    assert set(adsl.index[adsl["TRT01A"] != ""]) == given


def test_a_day_is_that_of_the_visit_as_it_was_kept(datasets, trial):
    adlb = datasets["ADLB"].query("PARAMCD == 'CTX'")
    kept = trial.visits[trial.visits["CTX"].notna()]
    assert sorted(adlb["ADY"]) == sorted((kept["actual_month"] * DAYS_PER_MONTH).round() + 1)
    assert (adlb["ADY"] != (adlb["AVISITN"] * DAYS_PER_MONTH).round() + 1).any()


def test_doses_are_those_given_with_their_delay(datasets, trial):
    adex, given = datasets["ADEX"], trial.doses[trial.doses["given"]]
    assert len(adex) == len(given)
    assert adex["EXDOSE"].sum() == pytest.approx(given["amount_mg"].sum())
    delay = (given["month"] * DAYS_PER_MONTH).round() - (given["planned_month"] * DAYS_PER_MONTH).round()
    assert sorted(adex["EXDELAY"]) == sorted(delay)
    assert (adex["EXDELAY"] == adex["ASTDY"] - adex["EXPLDY"]).all()


def test_a_concentration_refers_to_the_last_dose_before_it(datasets):
    adpc = datasets["ADPC"]
    assert (adpc.loc[adpc["ARRLT"].notna(), "ARRLT"] > 0).all()
    assert (adpc["ARRLT"].fillna(0) <= adpc["AFRLT"].fillna(0)).all()
    assert (adpc.loc[adpc["AVISITN"] == 0, "PCORRES"] == "<0.02").all()


def test_a_result_below_the_limit_is_flagged_and_stands_as_the_laboratory_reports_it(datasets):
    for name, reported in {"ADLB": "LBORRES", "ADPC": "PCORRES"}.items():
        frame = datasets[name]
        below = frame["BLQFL"] == "Y"
        assert below.any()
        assert (frame[reported].str.startswith("<") == below).all()
        limit = frame["ALLOQ"] if name == "ADPC" else frame["AVAL"]
        stands = frame["AVAL"].where(~below, limit)
        np.testing.assert_allclose(frame[reported].str.lstrip("<").astype(float), stands, rtol=1e-5)


def test_a_concentration_below_the_limit_is_null_and_nothing_is_imputed(datasets):
    adpc = datasets["ADPC"]
    assert (adpc["AVAL"].isna() == (adpc["BLQFL"] == "Y")).all()
    assert (adpc.loc[adpc["AVISITN"] == 0, "BLQFL"] == "Y").all()
    assert (adpc["ALLOQ"] == 0.02).all()
    assert adpc["AVAL"].min() >= 0.02


def test_time_points_of_concentrations_are_those_of_the_plan(datasets, trial):
    adpc = datasets["ADPC"].assign(patient=lambda d: d["USUBJID"].str[-4:].astype(int))
    due = trial.doses[trial.doses["given"] & (trial.doses["agent"] == "denosumab")]
    due = due.set_index(["patient", "planned_month"]).index
    before = pd.MultiIndex.from_frame(adpc[["patient", "AVISITN"]]).isin(due)
    assert ((adpc["ATPT"] == "PREDOSE") == before).all()
    assert (adpc.loc[before, "ATPTN"] == 0).all()
    after = adpc[~before]
    assert (after["ATPT"] == after["ATPTN"].map("{:.0f} DAYS POSTDOSE".format)).all()
    first = adpc[adpc["AVISITN"] == 1]
    assert set(first["ATPTN"]) == {30.0}
    assert set(first["NRRLT"]) == {30.0}
    # Actual times are of the day on which she came and of the dose as given.
    assert (adpc["AFRLT"] == adpc["ADY"] - 1).all()


def test_a_transport_file_reads_back_as_what_was_written(datasets, written):
    for name, frame in datasets.items():
        back, meta = pyreadstat.read_xport(str(written / f"{name.lower()}.xpt"))
        assert meta.table_name == name
        assert list(back.columns) == list(frame.columns)
        assert meta.column_names_to_labels == {variable.name: variable.label for variable in present(name, frame)}
        for variable in present(name, frame):
            if variable.type == TEXT:
                assert back[variable.name].tolist() == frame[variable.name].tolist()
            elif variable.type == "date":
                days = [np.nan if pd.isna(day) else (day - EPOCH).days for day in back[variable.name]]
                np.testing.assert_array_equal(days, frame[variable.name])
            else:
                np.testing.assert_array_equal(back[variable.name].astype(float), frame[variable.name])


def test_dataset_json_reads_back_as_what_was_written(datasets, written):
    for name, frame in datasets.items():
        found = json.loads((written / f"{name.lower()}.json").read_text(encoding="utf-8"))
        assert (found["datasetJSONVersion"], found["name"], found["records"]) == ("1.1.0", name, len(frame))
        assert len(found["rows"]) == len(frame)
        assert [column["name"] for column in found["columns"]] == list(frame.columns)
        back = pd.DataFrame(found["rows"], columns=list(frame.columns))
        for column in found["columns"]:
            own, theirs = back[column["name"]], frame[column["name"]]
            if column["dataType"] == "string":
                assert own.tolist() == theirs.tolist()
                assert own.str.len().max() <= column["length"] <= 200
            elif column["dataType"] == "date":
                assert column["targetDataType"] == "integer"
                days = [np.nan if pd.isna(day) else (date.fromisoformat(day) - EPOCH).days for day in own]
                np.testing.assert_array_equal(days, theirs)
            else:
                np.testing.assert_array_equal(own.astype(float), theirs)


def test_parquet_has_dates_as_dates_and_labels(datasets, written):
    import pyarrow.parquet as pq

    table = pq.read_table(written / "adsl.parquet")
    assert table.column("RANDDT").to_pylist()[0] == date(2020, 2, 28)
    assert table.schema.field("RANDDT").metadata[b"label"] == b"Date of Randomization"
    assert table.column("DTHFL").null_count == (datasets["ADSL"]["DTHFL"] == "").sum()
    assert table.num_rows == len(datasets["ADSL"])


@pytest.mark.slow
def test_define_xml_obeys_the_schema_of_cdisc(written):
    from odmlib.odm_parser import ODMSchemaValidator

    schema = ODMSchemaValidator(standard="define", version="2.1").xsd
    assert [str(fault) for fault in schema.iter_errors(str(written / "define.xml"))] == []


def test_define_xml_has_the_meaning_of_values_by_parameter_origins_and_codes(written, datasets):
    root = ET.parse(written / "define.xml").getroot()
    items = {node.get("OID"): node for node in root.iter(f"{{{ODM}}}ItemDef")}
    spine = items["IT.ADBMD.AVAL.BMDLS"]
    words = "Lumbar Spine Bone Mineral Density (g/cm2)"
    assert spine.find(f"{{{ODM}}}Description/{{{ODM}}}TranslatedText").text == words
    listed = {node.get("OID"): len(node) for node in root.iter(f"{{{DEF}}}ValueListDef")}
    assert listed == {
        f"VL.{name}.AVAL": datasets[name]["PARAMCD"].nunique() for name in ("ADBMD", "ADLB", "ADTTE", "ADPC", "ADPP")
    }
    race = items["IT.ADLB.RACE"].find(f"{{{DEF}}}Origin")
    assert race.get("Type") == "Predecessor"
    assert race.find(f"{{{ODM}}}Description/{{{ODM}}}TranslatedText").text == "ADSL.RACE"
    yes = next(node for node in root.iter(f"{{{ODM}}}CodeList") if node.get("OID") == "CL.NY")
    codes = {
        item.get("CodedValue"): item.find(f"{{{ODM}}}Alias").get("Name") for item in yes.iter(f"{{{ODM}}}CodeListItem")
    }
    assert codes == {"Y": "C49488", "N": "C49487"}
    assert yes.findall(f"{{{ODM}}}Alias")[-1].get("Name") == "C66742"
    assert len(list(root.iter(f"{{{ODM}}}MethodDef"))) == sum(
        variable.origin == "Derived" for name, frame in datasets.items() for variable in present(name, frame)
    )


def test_dataset_json_obeys_the_model_of_cdisc(written, datasets):
    from odmlib.dataset_json_1_1.model import DatasetJSON

    for name in datasets:
        path = written / f"{name.lower()}.json"
        content = json.loads(path.read_text(encoding="utf-8"))
        read = DatasetJSON.read_json(str(path))  # refuses a missing or unknown attribute and a value of another type
        assert read.to_dict() == content
        assert read.column_names == list(datasets[name])
        broken = content | {"columns": [{"name": "AGE"}]}
        with pytest.raises(ValueError):
            DatasetJSON.from_dict(broken)


def _from_xpt(written: Path, name: str) -> pd.DataFrame:
    return pyreadstat.read_xport(str(written / f"{name}.xpt"))[0]


def test_transport_files_give_the_primary_analysis_of_the_report(written, trial):
    """Risk ratio over strata (Mantel and Haenszel) of an image with a new fracture, by hand from ADTTE and ADSL."""
    primary = trial.trial.endpoints[0].name
    frame = endpoint_table(analysed_endpoints(trial)).set_index(["endpoint", "arm"])
    reported = frame.loc[primary, "denosumab"]
    adsl, adtte = _from_xpt(written, "adsl").set_index("USUBJID"), _from_xpt(written, "adtte")
    own = adtte[adtte["PARAMCD"] == "TTVFX"].assign(stratum=lambda d: d["USUBJID"].map(adsl["STRATAR"]))
    own = own[(own["CNSR"] == 0) | (own["AVAL"] >= round(12 * DAYS_PER_MONTH) + 1)]
    above = below = 0.0
    for _, part in own.groupby("stratum"):
        drug, placebo = (part.loc[part["TRTPN"] == number, "CNSR"].eq(0) for number in (2, 1))
        above += drug.sum() * len(placebo) / len(part)
        below += placebo.sum() * len(drug) / len(part)
    assert len(own[own["TRTPN"] == 2]) == reported["n"]
    assert reported["effect_measure"] == "risk ratio"
    assert above / below == pytest.approx(reported["effect"], rel=1e-9)


@pytest.mark.slow
def test_transport_files_give_the_mixed_model_of_the_report(written, trial):
    found = next(
        each.detail.model for each in analysed_endpoints(trial) if each.spec.name.startswith("Lumbar spine BMD over")
    )
    adsl, adbmd = _from_xpt(written, "adsl").set_index("USUBJID"), _from_xpt(written, "adbmd")
    own = adbmd[(adbmd["PARAMCD"] == "BMDLS") & (adbmd["ANL01FL"] == "Y")]
    table = pd.DataFrame({
        "patient": own["USUBJID"], "arm": pd.Categorical(own["TRTPN"].map({1: "placebo", 2: "denosumab"}),
        ["placebo", "denosumab"]), "month": own["AVISITN"], "value": own["PCHG"], "baseline": own["BASE"],
        "stratum": own["USUBJID"].map(adsl["STRATAR"]),
    }).reset_index(drop=True)  # fmt: skip
    again = mmrm.fit(found.formula, table, subject="patient", visit="month", arm="arm")
    at = {"baseline": table.groupby("patient")["baseline"].first().mean()}
    gaps = again.differences("placebo", of="arm", by=["month"], weights="proportional", at=at).set_index("month")
    theirs = found.by_visit.query("arm == 'denosumab'").set_index("month")
    assert list(gaps.index) == list(theirs.index)
    np.testing.assert_allclose(gaps["estimate"], theirs["difference"], rtol=1e-4)
    np.testing.assert_allclose(gaps["std_error"], theirs["difference_std_error"], rtol=1e-4)


def test_define_xml_names_every_variable_and_every_reference_leads_somewhere(written, datasets):
    root = ET.parse(written / "define.xml").getroot()
    assert root.tag == f"{{{ODM}}}ODM"
    oids = {node.get("OID") for node in root.iter() if node.get("OID")}
    leaves = {node.get("ID") for node in root.iter(f"{{{DEF}}}leaf")}
    for node in root.iter():
        for attribute in ("ItemOID", "CodeListOID", "MethodOID"):
            if node.get(attribute):
                assert node.get(attribute) in oids
        place = node.get(f"{{{DEF}}}ArchiveLocationID")
        assert place is None or place in leaves
    for name in LABELS:
        group = next(g for g in root.iter(f"{{{ODM}}}ItemGroupDef") if g.get("Name") == name)
        items = [item.get("ItemOID") for item in group.iter(f"{{{ODM}}}ItemRef")]
        refs = [f"IT.{name}.{column}" for column in datasets[name]]
        assert items == refs
    for leaf in root.iter(f"{{{DEF}}}leaf"):
        assert (written / leaf.get("{http://www.w3.org/1999/xlink}href", "")).is_file()


@pytest.mark.slow
def test_the_same_run_gives_the_same_bytes(folder, written, tmp_path):
    again = export.write_cdisc(folder, tmp_path / "again", first_day=date(2020, 2, 28))
    assert {path.name for path in again.iterdir()} == {path.name for path in written.iterdir()}
    for path in again.iterdir():
        assert path.read_bytes() == (written / path.name).read_bytes(), path.name


def test_nothing_is_written_if_a_rule_is_broken(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "check", lambda datasets: ["ADSL: SEX is missing."])
    with pytest.raises(Exception, match=r"break rules of CDISC, nothing was written: ADSL: SEX is missing"):
        export.write_cdisc(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_command_line_writes_refuses_and_replaces(folder, tmp_path, capsys):
    out = tmp_path / "adam"
    words = ["cdisc", folder, "-o", out, "--format", "xpt"]
    assert said(capsys, *words) == (0, [str(out)], [])
    assert {path.suffix for path in out.iterdir()} == {".xpt", ".xml"}
    code, _, err = said(capsys, *words)
    assert (code, len(err)) == (2, 1)
    assert "holds an earlier result" in err[0]
    assert said(capsys, *words, "--force")[0] == 0
    (out / "mine.txt").write_text("kept")
    assert said(capsys, *words, "--force")[0] == 2
    assert (out / "mine.txt").read_text() == "kept"
    code, _, err = said(capsys, "cdisc", folder, "-o", tmp_path / "x", "--format", "sas", "--first-day", "2020-01-01")
    assert (code, len(err)) == (2, 1)
    check_sentence(err[0], "'sas'", "parquet, xpt, json")
    assert said(capsys, "cdisc", folder, "-o", tmp_path / "x", "--first-day", "Monday")[0] == 2


def test_codes_of_agents_are_short_and_no_two_alike():
    codes = agent_codes(["mrankl-selective", "mrankl-selective-noshed", "denosumab", "2-drug"])
    assert codes == {
        "mrankl-selective": "MRANKLSE",
        "mrankl-selective-noshed": "MRANKLS2",
        "denosumab": "DENOSUMA",
        "2-drug": "DRUG",
    }


def test_numbers_of_single_precision_are_the_decimals_that_they_mean():
    assert decimal(np.array([0.1, 3.270332], dtype=np.float32)).tolist() == [0.1, 3.270332]


def test_no_letter_of_a_label_is_lost_in_silence():
    assert ascii_text("−2.5 µg × 3") == "-2.5 ug x 3"
    assert ascii_text("60 000 \u00b5g, 60 000 \u03bcg, täglich ± 0, Öl, αβ") == (
        "60 000 ug, 60 000 ug, taglich +/- 0, Ol, alphabeta"
    )
    assert ascii_text("安慰剂 60 mg") is None
    assert ascii_text("😀") is None


def test_the_name_of_an_arm_stands_for_a_label_without_plain_letters_and_it_is_said(trial):
    arms = [Arm("one", "安慰剂", []), Arm("two", "Same", []), Arm("three", "Same", []), Arm("four", "x" * 201, [])]
    odd = SimpleNamespace(trial=SimpleNamespace(arms=arms), manifest={"trial": "试验"})
    names = plain_names(odd, {})
    assert names.arms == {"one": "one", "two": "Same", "three": "three", "four": "four"}
    assert names.study == "TRIAL"
    assert [text.split(":")[0].split(",")[0] for text in names.replaced] == [
        "The name of the trial", "arm 'one'", "arm 'three'", "arm 'four'",
    ]  # fmt: skip
    assert plain_names(trial, {}).replaced == ()
