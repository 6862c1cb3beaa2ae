"""Counterfactual twins: the same patients with the same random numbers in every arm."""

import numpy as np
import pytest
from helpers import trial_file

from ranklsim.cohorts.running import execution
from ranklsim.cohorts.running.execution import run
from ranklsim.cohorts.running.storage import TWIN_TABLES, open_run

TABLES = {
    "seed": 5,
    "twins": 30,
    "uncertainty_draws": 1,
    "visits": {"markers": [0, 6, 24]},
    "layers": {"parameters": False},
    "conduct": {"dropout": "20 %/yr", "stop_treatment": "20 %/yr", "fractures": True},
}
ESTIMAND = {
    "name": "if all had stayed",
    "endpoint": "gain",
    "primary": True,
    "events": {"stopped": "hypothetical", "dropout": "treatment policy"},
}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("twins")
    return run(trial_file(folder, estimand=[ESTIMAND], **TABLES), folder / "run")


def test_the_first_patients_are_in_every_arm_as_things_go_and_without_the_event(done):
    sizes = done.twins.groupby(["conduct", "arm"])["patient"].nunique()
    assert sizes.to_dict() == {(c, a): 30 for c in ("real", "without stopped") for a in ("placebo", "denosumab")}
    assert done.twins["patient"].max() == 30


def test_the_portions_of_a_run_do_not_change_the_bytes_of_the_tables_of_twins(done, tmp_path, monkeypatch):
    monkeypatch.setattr(execution, "PORTION", 7)
    other = run(trial_file(tmp_path, estimand=[ESTIMAND], **TABLES), tmp_path / "run")
    for table in TWIN_TABLES:
        name = f"{table}.parquet"
        assert (other.folder / name).read_bytes() == (done.folder / name).read_bytes(), table


def test_in_her_own_arm_the_real_twin_is_the_patient_herself(done):
    real = done.twins[done.twins["conduct"] == "real"]
    both = done.visits.merge(real, on=["patient", "arm", "visit"], suffixes=("", "_twin"))
    assert len(both) == 30 * done.visits["visit"].nunique()
    assert (both["true_BMD_LS"] == both["true_BMD_LS_twin"]).all()
    own = done.events.merge(done.twin_events[done.twin_events["conduct"] == "real"], how="left", indicator=True)
    assert (own.loc[own["patient"] <= 30, "_merge"] == "both").all()


def test_twins_are_alike_at_baseline_whatever_the_arm(done):
    start = done.twins[done.twins["month"] == 0].pivot(
        index="patient", columns=["conduct", "arm"], values="true_BMD_LS"
    )
    assert (start.max(axis=1) == start.min(axis=1)).all()


def test_only_the_named_event_is_undone_and_who_does_not_have_it_has_the_real_course(done):
    other = done.twin_events[done.twin_events["conduct"] == "without stopped"]
    real = done.twin_events[done.twin_events["conduct"] == "real"]
    assert not (other["event"] == "stopped").any()
    left = [set(map(tuple, f.loc[f["event"] == "dropout", ["patient", "arm", "month"]].values)) for f in (other, real)]
    assert left[0] == left[1] != set()
    stopped = set(real.loc[(real["event"] == "stopped") & (real["arm"] == "denosumab"), "patient"])
    own = done.twins[done.twins["arm"] == "denosumab"]
    wide = own.pivot(index=["patient", "month"], columns="conduct", values="true_BMD_LS")
    hit = wide.index.get_level_values("patient").isin(stopped)
    assert (wide.loc[~hit, "without stopped"] == wide.loc[~hit, "real"]).all()
    assert not np.allclose(wide.loc[hit, "without stopped"], wide.loc[hit, "real"])


def test_treated_ends_where_she_stops_or_leaves(done):
    for world, ends in (("real", ["stopped", "dropout"]), ("without stopped", ["dropout"])):
        here = done.twins[done.twins["conduct"] == world]
        off = done.twin_events[(done.twin_events["conduct"] == world) & done.twin_events["event"].isin(ends)]
        first = off.groupby(["patient", "arm"])["month"].min().rename("until").reset_index()
        until = here.merge(first, on=["patient", "arm"], how="left")["until"].fillna(np.inf).to_numpy()
        assert (here["treated"].to_numpy() == (here["month"].to_numpy() <= until)).all()


def test_a_world_without_an_event_is_the_trial_in_which_it_is_not_planned(tmp_path):
    """Dropout is supposed away; doses are missed as they come: the same as a trial without dropout."""
    shared = {**TABLES, "twins": 12, "population": {"patients": 12}}

    def done_with(stem, conduct, events):
        asked = {"name": "stayed", "endpoint": "gain", "primary": True, "events": events}
        conduct = {"missed_doses": "40 %"} | conduct
        return run(
            trial_file(tmp_path, stem=stem, **shared | {"conduct": conduct, "estimand": [asked]}), tmp_path / stem
        )

    one, two = done_with("left", {"dropout": "40 %/yr"}, {"dropout": "hypothetical"}), done_with("none", {}, {})
    here = one.twins[one.twins["conduct"] == "without dropout"].reset_index(drop=True)
    there = two.twins[two.twins["conduct"] == "real"].reset_index(drop=True)
    assert (one.twin_events["event"] == "dropout").any()
    np.testing.assert_allclose(here["true_BMD_LS"], there["true_BMD_LS"], rtol=1e-5)
    assert here["patient"].equals(there["patient"])


def test_a_trial_without_estimand_has_no_table_of_twins(tmp_path):
    run(trial_file(tmp_path, **TABLES), tmp_path / "run", patients=4)
    again = open_run(tmp_path / "run")
    assert again.twins.empty
    assert not (tmp_path / "run" / "twins.parquet").exists()
