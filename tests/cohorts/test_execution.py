import json

import numpy as np
import pandas as pd
import pytest
from helpers import arm, change, table_bytes, two_arms

from ranklsim.cohorts import load_trial, run
from ranklsim.cohorts.conduct import course as conduct
from ranklsim.cohorts.conduct.course import MEASURES
from ranklsim.cohorts.running import execution
from ranklsim.cohorts.running.storage import MANIFEST, TABLES
from ranklsim.pkpd import variants
from ranklsim.pkpd.agents import load_agent
from ranklsim.pkpd.ensemble import ensemble
from ranklsim.pkpd.errors import BadInput, RunFailed
from ranklsim.pkpd.parameters import load_parameters
from ranklsim.pkpd.simulation import outputs


@pytest.fixture(scope="module")
def trial_file(tmp_path_factory):
    return two_arms(tmp_path_factory.mktemp("trial"))


@pytest.fixture(scope="module")
def finished(trial_file, tmp_path_factory):
    return run(trial_file, tmp_path_factory.mktemp("runs") / "a")


@pytest.fixture
def small_portions(monkeypatch):
    monkeypatch.setattr(execution, "PORTION", 5)


# -- what a run folder holds -------------------------------------------------------------------------------------------


def test_visits_have_a_row_a_patient_and_visit_with_what_was_read_and_the_truth(finished, trial_file):
    visits = finished.visits
    assert list(visits.columns[:4]) == ["patient", "arm", "visit", "month"]
    assert len(visits) == 12 * 4
    assert visits.groupby("patient")["month"].apply(list).iloc[0] == [0, 1, 6, 12]
    assert visits.groupby("patient")["visit"].apply(list).iloc[0] == [0, 1, 2, 3]
    agents = [load_agent("abc-301", folder=trial_file.parent)]
    assert {f"true_{name}" for name in outputs(agents)} <= set(visits.columns)
    truth = visits.filter(regex="^true_")
    assert np.isfinite(truth.to_numpy()).all()
    assert (truth.dtypes == np.float32).all()
    for measure in MEASURES:
        read = visits[visits[measure].notna()]
        assert len(read) > 20
        assert (read[measure] / read[f"true_{measure}"]).between(0.3, 3).all()


def test_patients_hold_covariates_parameters_and_how_long_they_stayed(finished):
    patients = finished.patients
    assert patients["patient"].tolist() == list(range(1, 13))
    assert set(patients["stratum"]) == {"age >= 72 yr: yes", "age >= 72 yr: no"}
    assert ((patients["age"] >= 72) == patients["stratum"].str.endswith("yes")).all()
    assert (patients["param_WT"] == patients["weight"]).all()
    assert patients["last_month"].between(0, 12).all()
    events = finished.events.query("event != 'randomised'").set_index("patient")
    assert (events["month"] == patients.set_index("patient")["last_month"]).all()
    assert ((events["event"] == "completed") == (events["month"] == 12)).all()


def test_only_the_treated_have_drug_and_only_while_they_stay(finished):
    visits, doses = finished.visits, finished.doses
    drug = visits["true_C_abc-301"]
    assert (drug[visits["arm"] == "placebo"] == 0).all()
    assert (drug[(visits["arm"] == "own") & (visits["month"] == 1)] > 1).all()
    left = finished.patients.set_index("patient")["last_month"]
    late = doses["month"] >= doses["patient"].map(left)
    assert (doses["given"] == ~late).all()
    assert (visits["attended"] == (visits["month"] <= visits["patient"].map(left))).all()


def test_an_arm_may_be_given_nothing(tmp_path):
    placebo, own = {"name": "placebo", "regimen": []}, {"name": "own", "regimen": []}
    for name, arms in (("one", [placebo, arm("own", "abc-301", doses=2)]), ("none", [placebo, own])):
        file = two_arms(tmp_path, name, arm=arms)
        found = run(file, tmp_path / name, patients=4, layers={"patients": False})
        assert set(found.doses["arm"]) == ({"own"} if name == "one" else set())
        assert found.doses["given"].dtype == bool
        assert (found.visits.query("arm == 'placebo'")["true_SIGNAL_T"] == 100).all()


def test_an_mrankl_selective_agent_leaves_srankl_alone(finished):
    treated = finished.visits.query("arm == 'own' and month == 1")
    assert (treated["true_OCC_mRANKL"] > 90).all()
    assert (treated["true_OCC_sRANKL"] == 0).all()


def test_uncertainty_holds_the_typical_patient_of_every_arm_for_every_draw(finished):
    table, draws = finished.uncertainty, finished.uncertainty_draws
    assert draws["draw"].tolist() == [0, 1, 2]
    assert set(draws.columns[1:]) == set(ensemble().columns)
    assert {finished.parameters.row(symbol)["value"] == draws[symbol][0] for symbol in draws.columns[1:]} == {True}
    assert finished.manifest["draws"] == "ensemble"
    assert draws["sig"].nunique() == 3
    assert len(table) == 3 * 2 * 15  # months 0 to 12, and one soon after each of the two doses
    start = table[table["month"] == 0]
    assert (start["CTX_pct"] == 100).all()
    assert (start["BMD_LS_pct"] == 0).all()
    month = table[(table["month"] == 1) & (table["arm"] == "own")]
    assert (month["CTX_pct"] < 80).all()


def test_each_structural_variant_has_the_typical_patient_of_every_arm(finished):
    table = finished.variants
    assert list(table["variant"].unique()) == [one.name for one in variants.variants()]
    assert (table.groupby("variant").size() == 2 * 15).all()
    month = table[(table["month"] == 1) & (table["arm"] == "own")].set_index("variant")["CTX_pct"]
    assert month.nunique() == len(month)


def test_a_value_of_the_users_own_is_never_undone_by_the_ensemble(trial_file, tmp_path):
    table = load_parameters().replace({"denosumab.CL": 0.12})
    own = run(trial_file, tmp_path / "own", parameters=table, workers=1)
    assert own.manifest["draws"] == "ranges"
    assert set(own.uncertainty_draws.columns[1:]) == set(table.uncertain())


def test_the_manifest_says_what_was_run(finished, trial_file):
    manifest = json.loads((finished.folder / MANIFEST).read_text())
    assert manifest["complete"] is True
    assert manifest["seed"] == 11
    assert manifest["layers"] == {"patients": True, "residual": True, "parameters": True}
    assert sum(manifest["counts"]["patients"].values()) == 12
    assert manifest["files"]["visits.parquet"]["rows"] == 48
    assert set(manifest["files"]) == {
        *(f"{table}.parquet" for table in TABLES),
        *("trial.toml", "population/postmenopausal-osteoporosis.toml", "parameters.csv"),
        *("agents/placebo.toml", "agents/abc-301.toml"),
    }
    assert not (finished.folder / "chunks").exists()


def test_the_run_folder_repeats_itself(finished, tmp_path):
    again = run(finished.trial, tmp_path / "again", parameters=finished.folder / "parameters.csv")
    assert table_bytes(again.folder) == table_bytes(finished.folder)


# -- the same whatever the circumstances -------------------------------------------------------------------------------


def test_workers_change_no_byte(finished, trial_file, tmp_path):
    two = run(trial_file, tmp_path / "b", workers=2)
    assert table_bytes(two.folder) == table_bytes(finished.folder)


@pytest.mark.parametrize("size", [1, 5, 11])
def test_the_size_of_a_portion_changes_no_byte(finished, trial_file, tmp_path, monkeypatch, size):
    monkeypatch.setattr(execution, "PORTION", size)
    other = run(trial_file, tmp_path / "b", workers=2)
    assert other.manifest["portion"] == size
    assert table_bytes(other.folder) == table_bytes(finished.folder)


def test_a_patient_does_not_depend_on_how_many_there_are(finished, trial_file, tmp_path):
    more = run(trial_file, tmp_path / "b", patients=17)
    for table in ("patients", "visits", "doses", "events"):
        few = finished.read(table)
        many = more.read(table)
        pd.testing.assert_frame_equal(many[many["patient"] <= 12], few, check_exact=True)


def test_a_patient_is_the_same_person_in_another_design(finished, tmp_path):
    file = two_arms(
        tmp_path,
        arm=[arm("placebo", doses=2), arm("own", "abc-301", doses=2, dose="6 mg")],
        visits={"BMD": [0, 6], "markers": [0, 3, 6]},
        endpoint=[change("Lumbar spine", to=6)],
    )
    other = run(file, tmp_path / "b")
    same = [name for name in other.patients if name != "last_month"]
    pd.testing.assert_frame_equal(other.patients[same], finished.patients[same], check_exact=True)
    untreated = "arm == 'placebo' and month in (0, 6) and attended"
    columns = ["patient", "month", "BMD_LS", "CTX", "true_BMD_LS"]
    both = other.visits.query(untreated)[columns].merge(
        finished.visits.query(untreated)[columns], on=["patient", "month"], suffixes=("", "_2")
    )
    assert len(both) > 6
    for name in columns[2:]:
        assert both[name].to_numpy() == pytest.approx(both[f"{name}_2"].to_numpy(), rel=1e-6)


def test_the_seed_decides(finished, trial_file, tmp_path):
    other = run(trial_file, tmp_path / "b", seed=0)
    assert other.manifest["seed"] == 0
    assert not np.isin(other.patients["age"], finished.patients["age"]).any()


def test_without_layers_a_run_is_its_typical_patient_and_says_so(trial_file, tmp_path):
    alone = run(trial_file, tmp_path / "b", patients=4, layers=[])
    visits = alone.visits
    for measure in MEASURES:
        read = visits[visits[measure].notna()]
        assert (read[measure] == read[f"true_{measure}"]).all()
    assert (visits.groupby(["arm", "month"])["true_BMD_LS"].nunique() <= 1 + (visits["attended"].min() == 0)).all()
    assert alone.patients["age"].nunique() == 1
    assert alone.uncertainty_draws["draw"].tolist() == [0]
    assert "every patient is the trial's typical patient; measurements have no error" in alone.manifest["variability"]


def test_progress_ends_at_the_total(trial_file, tmp_path):
    seen = []
    run(trial_file, tmp_path / "b", patients=4, progress=lambda done, total: seen.append((done, total)))
    assert seen[0] == (0, 4 + 3 * 2)
    assert seen[-1] == (10, 10)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


# -- which run a folder holds ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"seed": 12}, "its seed is 11, not 12"),
        ({"patients": 13}, "it has 12 patients, not 13"),
        ({"layers": ["patients"]}, "its layers is patients.residual.parameters, not patients"),
        ({"trial": "freedom"}, "its trial is 'two', not 'freedom'"),
    ],
)
def test_another_run_is_not_resumed(finished, trial_file, changed, message):
    before = table_bytes(finished.folder)
    with pytest.raises(BadInput, match=message):
        run(**{"trial": trial_file, **changed}, out=finished.folder, resume=True)
    assert table_bytes(finished.folder) == before


def test_a_changed_trial_or_agent_is_not_resumed(finished, trial_file, tmp_path):
    for name, old, new in (("two.toml", '"60 mg"', '"61 mg"'), ("abc-301.toml", "ABC-301", "ABC-302")):
        for file in trial_file.parent.glob("*.toml"):
            (tmp_path / file.name).write_text(file.read_text())
        (tmp_path / name).write_text((trial_file.parent / name).read_text().replace(old, new))
        with pytest.raises(BadInput, match=r"its \S+toml has another content"):
            run(tmp_path / "two.toml", finished.folder, resume=True)


# -- the folder --------------------------------------------------------------------------------------------------------


def test_a_run_is_not_overwritten_unless_forced(finished, trial_file, tmp_path):
    folder = tmp_path / "b"
    run(trial_file, folder, patients=4)
    before = table_bytes(folder)
    with pytest.raises(BadInput, match=r"holds a finished run of 'two' \(4 patients\).*force=True"):
        run(trial_file, folder)
    assert table_bytes(folder) == before
    (folder / "report").mkdir()
    run(trial_file, folder, force=True)
    assert not (folder / "report").exists()
    assert table_bytes(folder) == table_bytes(finished.folder)


def test_a_folder_with_other_files_is_refused_even_if_forced(trial_file, tmp_path):
    (tmp_path / "thesis.txt").write_text("all my work")
    for force in (False, True):
        with pytest.raises(BadInput, match=r"holds files that are no run of ranklsim \(thesis.txt\)"):
            run(trial_file, tmp_path, force=force)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_manifest_of_something_else_is_not_replaced_even_if_forced(trial_file, tmp_path):
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "manifest.json").write_text('{"name": "my web app"}', encoding="utf-8")
    with pytest.raises(BadInput, match=r"its manifest.json is not that of a run of ranklsim"):
        run(trial_file, tmp_path / "web", force=True)
    assert [path.name for path in (tmp_path / "web").iterdir()] == ["manifest.json"]


def test_a_file_is_no_output_folder(trial_file, tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(BadInput, match="is a file, not a folder"):
        run(trial_file, tmp_path / "out")
    with pytest.raises(BadInput, match="a file stands where a folder is needed"):
        run(trial_file, tmp_path / "out" / "b")


def test_bad_input_leaves_no_folder(trial_file, tmp_path):
    for wrong in ({"patients": 1}, {"seed": -1}, {"workers": 0}, {"layers": ["patient"]}):
        with pytest.raises(BadInput):
            run(trial_file, tmp_path / "b", **wrong)
    with pytest.raises(BadInput, match="exclude each other"):
        run(trial_file, tmp_path / "b", resume=True, force=True)
    assert not (tmp_path / "b").exists()


def test_a_value_that_is_no_number_reaches_no_table(trial_file, tmp_path, monkeypatch):
    simulate = conduct.simulate

    def broken(*args, **kwargs):
        found = simulate(*args, **kwargs)
        found["CTX"][2, 1] = np.nan
        return found

    monkeypatch.setattr(conduct, "simulate", broken)
    with pytest.raises(RunFailed, match="patient 3: the simulation gave a CTX that is not a finite number"):
        run(trial_file, tmp_path / "b", patients=4)


def test_a_trial_may_be_given_as_object_name_or_path(trial_file, tmp_path):
    trial = load_trial(trial_file).with_overrides(patients=2)
    assert run(trial, tmp_path / "a").manifest["patients"] == 2
    assert run(str(trial_file), tmp_path / "b", patients=2).manifest["patients"] == 2


def test_resuming_where_there_is_nothing_says_that_a_run_begins(trial_file, tmp_path):
    said = []
    run(trial_file, tmp_path / "new", resume=True, tell=said.append)
    assert any("holds no run to continue" in sentence for sentence in said)
    said.clear()
    run(trial_file, tmp_path / "other", tell=said.append)
    assert not any("go on with" in sentence for sentence in said)
