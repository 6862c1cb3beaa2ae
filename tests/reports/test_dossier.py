"""The model analysis plan, sealed before the run, and the dossier after it."""

from __future__ import annotations

import json
import shutil

import pandas as pd
import pytest
from docx import Document
from helpers import check_sentence, said, trial_file

from ranklsim.cohorts import load_trial, run
from ranklsim.cohorts.running.bundle import reproduce
from ranklsim.pkpd.errors import BadInput
from ranklsim.reports.dossier.applicability import applicability
from ranklsim.reports.dossier.plan import plan, read_plan
from ranklsim.reports.dossier.run import dossier
from ranklsim.reports.qualify.finding import FAIL, NOT_RUN, PASS
from ranklsim.reports.qualify.run import qualify

MIDD = """
[midd]
question  = "Does denosumab build bone?"
influence = { rating = "high", reason = "nothing else is known" }
risk      = { reason = "not rated yet" }

[[midd.criterion]]
name     = "Denosumab builds bone"
endpoint = "gain"
arm      = "denosumab"
what     = "effect_low"
rule     = "> 1"
reason   = "less is not worth it"

[[midd.criterion]]
name     = "Beyond what is possible"
endpoint = "gain"
arm      = "denosumab"
what     = "parameter_low"
rule     = "> 90"
reason   = "to see it fail"

[[midd.criterion]]
name        = "Shares have the right interval"
requirement = "ST-01"
reason      = "needed"
"""
TABLES = {"population": {"patients": 24}, "uncertainty_draws": 12, "title": "Bone"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A plan, its run, a qualification and the dossier."""
    here = tmp_path_factory.mktemp("dossier")
    path = trial_file(here, MIDD, **TABLES)
    planned = plan(path, here / "plan")
    one = run(path, here / "run")
    qualify(here / "qualification", only=["ST-01"])
    page = dossier(one.folder, here / "out", plan=planned.folder, qualification=here / "qualification")
    return here, planned, page


def test_the_plan_says_what_a_person_typed_and_marks_what_is_missing(made):
    here, planned, _ = made
    page = (here / "plan" / "index.html").read_text(encoding="utf-8")
    words = "\n".join(
        c.text for t in Document(str(here / "plan" / "plan.docx")).tables for r in t.rows for c in r.cells
    )
    for text in ("Does denosumab build bone?", "nothing else is known", "not rated yet", "less is not worth it"):
        assert text in page
        assert text in words
    assert planned.hash in page
    assert page.count("rating missing") == words.count("[rating missing]") == 3  # consequence, risk, impact
    assert ">missing</span>" in page  # context, appropriateness
    assert set(planned.facts["files"]) >= {"inputs/trial.toml", "inputs/parameters.csv"}
    assert read_plan(here / "plan").facts == planned.facts


def test_the_dossier_gives_every_criterion_with_its_result(made):
    _, _, page = made
    found = {one["name"]: one["result"] for one in json.loads((page.parent / "dossier.json").read_text())["criteria"]}
    assert found == {
        "Denosumab builds bone": PASS, "Beyond what is possible": FAIL, "Shares have the right interval": PASS
    }  # fmt: skip
    text = page.read_text(encoding="utf-8")
    assert "Computed: Of 3 technical criteria, 2 pass, 1 fail (Beyond what is possible) and 0 were not run." in text
    assert "Computed: The run deviates in nothing from the plan." in text
    for name in ("Assessment of the evidence", "Executive summary", "Introduction", "Objectives", "Data and methods",
                 "Results", "Deviations from the plan", "Verification, validation and applicability", "Discussion",
                 "Conclusions", "Appendices"):  # fmt: skip
        assert f"</span> {name}</h2>" in text
    assert "Typed by a person: missing" in text
    first, second = (Document(str(page.parent / f"{name}.docx")) for name in ("assessment", "report"))
    assert "Submission" in [cell.text for table in first.tables for row in table.rows for cell in row.cells]
    assert any(p.text.endswith("Executive summary") for p in second.paragraphs)


def test_a_qualification_of_another_installation_is_told(made, tmp_path):
    here, planned, page = made
    assert "another installation" not in page.read_text(encoding="utf-8")
    path = shutil.copytree(here / "qualification", tmp_path / "q") / "qualification.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"fingerprint": "0"}), encoding="utf-8")
    other = dossier(here / "run", tmp_path / "out", plan=planned.folder, qualification=tmp_path / "q")
    assert "It is of another installation than the one that wrote this dossier." in other.read_text(encoding="utf-8")


def test_operating_characteristics_of_a_replicate_are_shown_and_those_of_another_trial_refused(made, tmp_path):
    here, planned, _ = made
    rows = [(0, "gain", "", "denosumab", 24, "difference", "power", 0.9, 0.03, 100)]
    columns = ("vector", "endpoint", "estimand", "arm", "patients", "quantity", "measure", "value", "mc_se", "studies")
    pd.DataFrame(rows, columns=list(columns)).to_csv(tmp_path / "operating.csv", index=False)
    record = tmp_path / "replicates.json"
    record.write_text('{"trial": "trial"}', encoding="utf-8")
    page = dossier(here / "run", tmp_path / "out", plan=planned.folder, replicates=tmp_path)
    text = page.read_text(encoding="utf-8")
    assert '<td class="text">power</td><td class="text">0.9</td><td class="text">0.03</td>' in text
    record.write_text('{"trial": "other"}', encoding="utf-8")
    with pytest.raises(BadInput, match="is not a replicate of trial 'trial'"):
        dossier(here / "run", tmp_path / "more", plan=planned.folder, replicates=tmp_path)
    assert not (tmp_path / "more").exists()


def test_the_archive_of_the_dossier_repeats_the_run(made):
    assert reproduce(made[2].parent / "run.zip").same


def test_an_assumption_decides_where_a_criterion_is_met_at_one_end_only(made):
    """With a rule in the midst of the results, some parameter and no structure of the same result sways it."""
    table = pd.read_csv(next((made[2].parent / "tables").glob("table-9.1-*.csv")))
    assert set(table["kind"]) >= {"structure"}
    assert not table["decides"].any()  # the rules are far from the results
    assert table["one"].notna().all()


def test_what_is_outside_the_evidence_is_named(tmp_path):
    from helpers import arm

    path = trial_file(tmp_path, arm=[arm("placebo"), arm("denosumab", dose="500 mg"), arm("own", "mrankl-selective")],
                      population={"patients": 12}, uncertainty_draws=1, months=72)  # fmt: skip
    found = applicability(run(path, tmp_path / "run")).set_index(["of", "part"])["verdict"]
    assert found["Denosumab", "agent"] == "inside"
    assert found["Denosumab", "dose (mg)"] == "outside"
    assert found["Denosumab", "months of treatment"] == "inside"
    assert found["Denosumab", "months after treatment"] == "outside"
    assert [v for (of, part), v in found.items() if "RANKL-selective" in of and part == "agent"] == ["no evidence"]


def test_deviations_are_found_by_comparing_the_inputs_of_plan_and_run(made, tmp_path):
    _, planned, _ = made
    path = trial_file(tmp_path, MIDD, **TABLES, months=30)
    (tmp_path / "p.csv").write_text("symbol,value\nkT,0.3\n", encoding="utf-8")
    other = run(path, tmp_path / "run", seed=9, parameters=tmp_path / "p.csv")
    page = dossier(other.folder, tmp_path / "out", plan=planned.folder)
    rows = pd.read_csv(next((page.parent / "tables").glob("table-7.1-*.csv"))).set_index("item")
    assert rows.loc["seed", ["planned", "done"]].tolist() == ["1", "9"]
    assert rows.loc["trial.toml: months", ["planned", "done"]].tolist() == ["24", "30"]
    assert rows.loc["parameters.csv", "done"].astype(str).str.startswith("kT").any()
    text = page.read_text(encoding="utf-8")
    assert "Verification is missing" in text
    criteria = json.loads((page.parent / "dossier.json").read_text())["criteria"]
    assert criteria[2]["result"] == NOT_RUN


def test_a_run_that_began_before_its_plan_is_a_deviation(made, tmp_path):
    here, _, _ = made
    trial = here / "trial.toml"
    late = plan(trial, tmp_path / "late")
    facts = json.loads((here / "run" / "manifest.json").read_text())
    assert facts["started"] <= late.facts["written"]
    page = dossier(here / "run", tmp_path / "out", plan=late.folder)
    if facts["started"] < late.facts["written"]:
        assert "before it" in next((page.parent / "tables").glob("table-7.1-*.csv")).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["plan.json", "index.html", "plan.docx", "inputs/trial.toml", "inputs/parameters.csv"])
def test_a_plan_that_was_altered_after_its_hash_is_refused_in_a_sentence(made, tmp_path, name, capsys):
    here, _, _ = made
    shutil.copytree(here / "plan", tmp_path / "plan")
    path = tmp_path / "plan" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    code, _, errors = said(capsys, "dossier", here / "run", "--plan", tmp_path / "plan", "-o", tmp_path / "out")
    assert (code, len(errors)) == (2, 1)
    check_sentence(errors[0], name)
    assert not (tmp_path / "out").exists()


def test_a_plan_made_anew_has_another_hash_than_the_one_that_was_filed(made, tmp_path, capsys):
    here, planned, _ = made
    forged = plan(here / "trial.toml", tmp_path / "plan", seed=2)
    words = ("dossier", here / "run", "--plan", forged.folder, "-o", tmp_path / "out", "--hash", planned.hash)
    code, _, errors = said(capsys, *words)
    assert code == 2
    check_sentence(errors[0], "not the one given")
    assert not (tmp_path / "out").exists()


def test_a_run_of_another_plan_is_refused(made, tmp_path, capsys):
    here, _, _ = made
    other = plan(trial_file(tmp_path, stem="other", **TABLES), tmp_path / "plan")
    code, _, errors = said(capsys, "dossier", here / "run", "--plan", other.folder, "-o", tmp_path / "out")
    assert (code, len(errors)) == (2, 1)
    check_sentence(errors[0], "is a run of trial 'trial', and the plan", "is of 'other'")
    with pytest.raises(BadInput, match="holds no plan"):
        dossier(here / "run", tmp_path / "out", plan=tmp_path)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ('influence = { rating = "huge" }', ("rating", "huge", "'low', 'medium'")),
        ('questoin = "x"', ("questoin", "question")),
        ('[[midd.criterion]]\nname = "a"\nreason = "b"', ("give one of endpoint, estimand and requirement",)),
        ('[[midd.criterion]]\nname = "a"\nreason = "b"\nendpoint = "gian"\narm = "denosumab"\nwhat = "effect"\n'
         'rule = "> 1"', ("unknown endpoint 'gian'", "gain")),
        ('[[midd.criterion]]\nname = "a"\nreason = "b"\nendpoint = "gain"\narm = "denosumab"\nwhat = "effect"\n'
         'rule = "large"', ("rule 'large' can't be read",)),
        ('[[midd.criterion]]\nname = "a"\nreason = "b"\nrequirement = "PT-02"\nrule = "> 1"', ("leave rule out",)),
    ],
)  # fmt: skip
def test_a_fault_in_midd_is_a_sentence_with_its_line(tmp_path, text, parts):
    path = trial_file(tmp_path, f"[midd]\n{text}\n")
    with pytest.raises(BadInput) as refused:
        load_trial(path)
    check_sentence(refused.value.messages[0], "trial.toml:", *parts)
