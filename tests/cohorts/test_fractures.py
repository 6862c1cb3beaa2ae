import numpy as np
import pandas as pd
import pytest

from ranklsim.cohorts.conduct import fractures
from ranklsim.cohorts.conduct.hazards import cumulative, interpolated, month_reached
from ranklsim.cohorts.conduct.hypocalcaemia import grades
from ranklsim.cohorts.events import CLINICAL_VERTEBRAL, HIP, NONVERTEBRAL, VERTEBRAL
from ranklsim.pkpd.biology.values import Values
from ranklsim.pkpd.parameters import ParameterTable, load_parameters

TABLE = load_parameters()
P = Values(TABLE.values)
MONTHS = np.arange(0.0, 36.5, 0.5)
N = 20_000


def women(n=N, age=72.0, prevalent=0.0):
    return pd.DataFrame({"patient": np.arange(1, n + 1), "age": age, "prevalent_fracture": prevalent})


def course(n=N, T_LS=-2.8, T_TH=-1.9, CTX=0.5):
    bone = {"LS": T_LS, "TH": T_TH}
    still = {f"BMD_{b}": TABLE[f"REF_{b}"] + T * TABLE[f"REFSD_{b}"] for b, T in bone.items()} | {"CTX": CTX}
    return {name: np.broadcast_to(value, (n, MONTHS.size)).astype(float) for name, value in still.items()}


def hazard(site, **bone):
    return fractures.hazard(site, TABLE, np.array([72.0]), MONTHS, course(1, **bone))[0, 0]


@pytest.mark.parametrize("site", fractures.SITES)
def test_the_reference_woman_has_the_level_of_the_table(site):
    assert hazard(site) == pytest.approx(P[f"level_{site}"])


def test_hazard_follows_bone_and_resorption_as_the_table_says():
    assert hazard("vertebral", T_LS=-3.8) / hazard("vertebral") == pytest.approx(P.BMD_vertebral)
    assert hazard("hip", T_TH=-2.9) / hazard("hip") == pytest.approx(P.BMD_hip)
    assert hazard("hip", T_LS=-4.0) == pytest.approx(hazard("hip"))
    for site in fractures.SITES:
        assert hazard(site, CTX=1.0) / hazard(site) == pytest.approx(2 ** P[f"CTX_{site}"])


def test_a_users_table_changes_fractures_and_grades_of_calcium(tmp_path):
    (tmp_path / "own.csv").write_text("symbol,value\nlevel_vertebral,0.0241\nCA_grade_1,2.2\n", encoding="utf-8")
    own = load_parameters(tmp_path / "own.csv")
    usual, more = (fractures.happen(table, women(), MONTHS, course(), seed=1)["vertebral"] for table in (TABLE, own))
    assert more.row.size / usual.row.size == pytest.approx(0.0241 / 0.0161, rel=0.1)
    assert grades(own, np.array([2.15])) == 1
    assert grades(TABLE, np.array([2.15])) == 0


def test_a_table_from_before_these_numbers_were_parameters_takes_the_shipped_ones(tmp_path):
    frame = TABLE.frame[(TABLE.frame["group"] != "hazard") & ~TABLE.frame.index.str.startswith("CA_grade")]
    (tmp_path / "parameters.csv").write_text(ParameterTable(frame).to_csv(), encoding="utf-8")
    again = load_parameters(tmp_path / "parameters.csv")
    assert "level_hip" not in frame.index
    assert again.values == TABLE.values
    assert again.hash == TABLE.hash


@pytest.mark.parametrize(("site", "prevalent"), [("vertebral", 0.0), ("vertebral", 1.0), ("hip", 0.0), ("other", 1.0)])
def test_shares_with_a_fracture_are_those_of_the_hazard(site, prevalent):
    found = fractures.happen(TABLE, women(prevalent=prevalent), MONTHS, course(), seed=1)[site]
    ratio = P[f"prior_{site}"] if prevalent else 1.0
    level = ratio * np.trapezoid(fractures.hazard(site, TABLE, np.array([72.0]), MONTHS, course(1))[0], MONTHS / 12)
    variance = P.frailty_spine if site == "vertebral" else P.frailty_bones
    share = 1 - (1 + variance * level) ** (-1 / variance)  # Laplace transform of a gamma frailty of mean 1
    few = 0.004 if site != "vertebral" and not prevalent else 0.0  # of women whose spine fractured first
    assert np.unique(found.row).size / N == pytest.approx(share, abs=4 * np.sqrt(share / N) + few)


@pytest.mark.parametrize("site", ["vertebral", "other"])
def test_after_a_fracture_the_hazard_is_higher_by_the_variance_of_frailty(site):
    found = fractures.happen(TABLE, women(), MONTHS, course(), seed=1)[site]
    first = pd.Series(found.month).groupby(found.row).min()
    exposed = ((36 - first) / 12).sum()
    again = found.row.size - first.size
    variance = P.frailty_spine if site == "vertebral" else P.frailty_bones
    level = np.mean(fractures.hazard(site, TABLE, np.array([72.0]), MONTHS, course(1)))
    assert again / exposed == pytest.approx((1 + variance) * level, rel=0.2)


def test_a_fractured_vertebra_raises_the_hazard_of_other_bones_from_then_on():
    found = fractures.happen(TABLE, women(), MONTHS, course(T_LS=-6.0), seed=1)
    first = pd.Series(found["vertebral"].month).groupby(found["vertebral"].row).min()
    assert first.size > 1000
    since = np.full(N, 36.0)
    since[first.index] = first
    hit = found["other"]
    before = hit.month < since[hit.row]
    years = since.sum() / 12
    ratio = ((~before).sum() / (3 * N - years)) / (before.sum() / years)
    assert ratio == pytest.approx(P.prior_other, rel=0.2)


def test_frailty_is_gamma_of_mean_one_and_belongs_to_the_woman():
    patient = np.arange(1, N + 1)
    spine = fractures._frailty("spine", 1.3, 5, patient, 0)
    assert spine.mean() == pytest.approx(1.0, abs=0.03)
    assert spine.var() == pytest.approx(1.3, rel=0.05)
    assert np.array_equal(fractures._frailty("spine", 1.3, 5, patient[::-1], 0), spine[::-1])
    bones = fractures._frailty("bones", 0.7, 5, patient, 0)
    assert abs(np.corrcoef(spine, bones)[0, 1]) < 0.03
    assert (fractures._frailty("bones", 0.0, 5, patient, 0) == 1).all()


def test_the_same_woman_breaks_the_same_bones_in_any_company():
    everybody = fractures.happen(TABLE, women(500), MONTHS, course(500), seed=3)
    some = np.array([6, 100, 321])
    alone = fractures.happen(TABLE, women(500).iloc[some], MONTHS, {k: v[some] for k, v in course(500).items()}, seed=3)
    for site, found in alone.items():
        mine = np.isin(everybody[site].row, some)
        assert np.array_equal(everybody[site].month[mine], found.month)
        assert np.array_equal(everybody[site].vertebrae[mine], found.vertebrae)


def test_more_bone_only_delays_the_first_fracture():
    thin = fractures.happen(TABLE, women(), MONTHS, course(), seed=1)["vertebral"]
    thick = fractures.happen(TABLE, women(), MONTHS, course(T_LS=-1.8), seed=1)["vertebral"]
    assert set(thick.row) < set(thin.row)


def test_faster_loss_takes_more_vertebrae():
    slow, fast = (fractures._vertebrae(P, np.full(N, lost), np.linspace(1e-6, 1 - 1e-6, N)) for lost in (0.0, 6.0))
    assert (slow > 1).mean() == pytest.approx(P.further_odds / (1 + P.further_odds), abs=1e-3)
    odds = P.further_odds * P.further_odds_loss**6
    assert (fast > 1).mean() == pytest.approx(odds / (1 + odds), abs=1e-3)
    assert fast.max() <= fractures.VERTEBRAE


def a_kind(row, month, vertebrae=1, clinical=True):
    row = np.array(row, dtype=np.int64)
    return fractures.Fractures(
        row, np.array(month, dtype=float), np.full(row.size, vertebrae), np.full(row.size, clinical)
    )


def test_spine_images_find_what_happened_since_the_last_one_she_had():
    none = a_kind([], [])
    spine = a_kind([0, 0, 1, 2], [3, 10, 13, 30], vertebrae=2, clinical=False)
    parts = fractures.recorded(
        {"vertebral": spine, "hip": none, "other": none}, np.array([12.0, 24.0]), np.array([36.0, 20.0, 36.0])
    )
    images = next(part for part in parts if part.event == VERTEBRAL)
    assert (images.row.tolist(), images.month.tolist(), images.count.tolist()) == ([0], [12.0], [4])
    assert next(part for part in parts if part.event == CLINICAL_VERTEBRAL).row.size == 0


def test_a_hip_fracture_is_a_nonvertebral_one_too_and_known_while_she_is_followed():
    found = {"vertebral": a_kind([], []), "hip": a_kind([0, 1], [5, 30]), "other": a_kind([2], [7])}
    parts = fractures.recorded(found, np.array([12.0]), np.array([36.0, 20.0, 36.0]))
    rows = {event: [r for part in parts if part.event == event for r in part.row] for event in (HIP, NONVERTEBRAL)}
    assert rows == {HIP: [0], NONVERTEBRAL: [0, 2]}


def test_a_crossing_lies_where_the_cumulative_hazard_has_the_level():
    rate = np.random.default_rng(1).uniform(0.1, 2, size=(50, MONTHS.size))
    total = cumulative(MONTHS, rate)
    level = np.linspace(0.01, 1, 50) * total[:, -1]
    assert interpolated(MONTHS, total, month_reached(MONTHS, total, level)) == pytest.approx(level)
    assert np.isinf(month_reached(MONTHS, total, total[:, -1] * 1.01)).all()
