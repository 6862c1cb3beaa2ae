"""Counterfactual twins: the same patients with the same random numbers in every arm."""

import numpy as np
import pytest
from helpers import trial_file

from ranklsim.cohorts.running.execution import run
from ranklsim.cohorts.running.storage import open_run

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


def test_the_first_patients_are_in_every_arm_as_things_go_and_ideally(done):
    sizes = done.twins.groupby(["conduct", "arm"])["patient"].nunique()
    assert sizes.to_dict() == {(c, a): 30 for c in ("ideal", "real") for a in ("placebo", "denosumab")}
    assert done.twins["patient"].max() == 30


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


def test_ideally_nobody_leaves_or_stops_and_who_does_neither_has_the_ideal_course(done):
    ideal = done.twin_events[done.twin_events["conduct"] == "ideal"]
    assert not set(ideal["event"]) & {"dropout", "stopped"}
    real = done.twin_events[done.twin_events["conduct"] == "real"]
    kept = real[real["event"] == "completed"]["patient"].value_counts()
    kept = set(kept[kept == 2].index) - set(real.loc[real["event"] == "stopped", "patient"])
    own = done.twins[done.twins["patient"].isin(kept) & (done.twins["arm"] == "denosumab")]
    wide = own.pivot(index=["patient", "month"], columns="conduct", values="true_BMD_LS")
    assert np.allclose(wide["ideal"], wide["real"])
    left = done.twins[~done.twins["patient"].isin(kept) & (done.twins["arm"] == "denosumab")]
    wide = left.pivot(index=["patient", "month"], columns="conduct", values="true_BMD_LS")
    assert not np.allclose(wide["ideal"], wide["real"])


def test_treated_ends_where_she_stops_or_leaves(done):
    ideal = done.twins[done.twins["conduct"] == "ideal"]
    assert ideal["treated"].all()
    real = done.twins[done.twins["conduct"] == "real"]
    off = done.twin_events[(done.twin_events["conduct"] == "real")
                           & done.twin_events["event"].isin(["stopped", "dropout"])]  # fmt: skip
    first = off.groupby(["patient", "arm"])["month"].min().rename("until").reset_index()
    until = real.merge(first, on=["patient", "arm"], how="left")["until"].fillna(np.inf).to_numpy()
    assert (real["treated"].to_numpy() == (real["month"].to_numpy() <= until)).all()


def test_a_trial_without_estimand_has_no_table_of_twins(tmp_path):
    run(trial_file(tmp_path, **TABLES), tmp_path / "run", patients=4)
    again = open_run(tmp_path / "run")
    assert again.twins.empty
    assert not (tmp_path / "run" / "twins.parquet").exists()
