"""Small inputs on which earlier versions went wrong, each with its right value."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import arm, change, trial_file
from scipy import optimize, special

import ranklsim
from ranklsim.cohorts.statistics import rates
from ranklsim.cohorts.statistics.survival import _log_log
from ranklsim.pkpd.errors import BadInput
from ranklsim.reports.analyses import interim
from ranklsim.reports.analyses.monitoring import CROSSED

CASES = Path(__file__).parent / "cases"


def test_a_small_dispersion_is_at_the_maximum_of_the_likelihood():
    """MASS::glm.nb stops at 0.003005 (log ratio -1.1229070), an earlier version at 0.001747; the maximum is at 0.00157.

    The profile is so flat there that 40-digit arithmetic was used to settle it: log likelihood -126.526112787 at
    0.0015731, -126.526112906 at 0.001747 and -126.526120836 at 0.003005.
    """
    table = pd.read_csv(CASES / "small_dispersion.csv")
    found = rates.rate_ratio(table, "A", "B")
    y, years, here = table["count"].to_numpy(float), table["years"].to_numpy(), (table["arm"] == "A").to_numpy(float)

    def likelihood(slope: np.ndarray, a: float) -> float:
        mean = years * np.exp(slope[0] + slope[1] * here)
        products = sum(np.log1p(a * j) * (y > j) for j in range(int(y.max())))
        return float((products - special.gammaln(y + 1) + y * np.log(mean) - (y + 1 / a) * np.log1p(a * mean)).sum())

    def profile(a: float) -> tuple[float, float]:
        best = optimize.minimize(
            lambda slope: -likelihood(slope, a), [-1.3, -1.1], method="BFGS", options={"gtol": 1e-9}
        )
        return -float(best.fun), float(best.x[1])

    assert found["dispersion"] == pytest.approx(0.0015731, abs=2e-5)
    assert np.log(found["estimate"]) == pytest.approx(-1.1228465, abs=1e-6)
    assert profile(0.003005)[1] == pytest.approx(-1.1229070, abs=1e-6)  # R's ratio, at R's dispersion
    assert profile(found["dispersion"])[0] > profile(0.003005)[0] + 5e-6
    assert profile(found["dispersion"])[0] > profile(0.0008)[0]


def test_the_interval_of_an_incidence_is_on_the_scale_of_the_incidence_itself():
    """mgus2 of R's survival, women at month 60: survfit gives 0.0266 to 0.0575, that of 1 - F 0.0272 to 0.0587."""
    z = 1.959963984540054
    upper, lower = (np.log(-np.log(1 - end)) for end in (0.0587, 0.0272))
    left = np.exp(-np.exp((upper + lower) / 2))  # 1 - F, and the error of F, that the wrong interval rests on
    error = (upper - lower) / 2 * left * abs(np.log(left)) / z
    low, high = _log_log(np.array([1 - left]), np.array([error]), 0.95)
    assert (low[0], high[0]) == pytest.approx((0.0266, 0.0575), abs=6e-5)


def test_two_looks_at_nearly_the_same_information_leave_the_last_boundary_as_it_is():
    found = interim.boundaries([0.5, 0.50001, 1.0], alpha=0.05, kind="O'Brien-Fleming")["z"].to_numpy()
    assert found[-1] == pytest.approx(1.9686, abs=2e-4)
    alone = interim.boundaries([0.5, 1.0], alpha=0.05, kind="O'Brien-Fleming")["z"].to_numpy()
    assert found[-1] == pytest.approx(alone[-1], abs=2e-4)


def pocock(folder: Path, **plan: str) -> Path:
    """Denosumab 60 against 20 mg, one look, boundaries of Pocock."""
    return trial_file(
        folder, months=12, control="test", population={"patients": 24}, visits={"BMD": [0, 12], "markers": [0, 12]},
        arm=[arm("test", "denosumab", doses=2, dose="20 mg"), arm("denosumab", doses=2)],
        endpoint=[change("Spine", to=12)], interim={"spending": "Pocock"} | plan,
        conduct={"enrolment": {"rate": "40 patients/mo"}, "looks": ["50 % completed"]},
    )  # fmt: skip


def test_replicate_refuses_looks_whose_information_is_known_in_hindsight_only(tmp_path: Path):
    with pytest.raises(BadInput, match=r'does not plan the information of .Spine.*planned_error = "0.5 %"'):
        ranklsim.replicate(pocock(tmp_path), replicates=2)


@pytest.mark.slow
def test_with_planned_information_no_study_is_superior_beside_a_boundary_that_is_not_crossed(tmp_path: Path):
    found = ranklsim.replicate(pocock(tmp_path, planned_error="0.9 %"), replicates=40, workers=1)
    looks = found.looks
    assert len(looks) == 80
    assert (looks["rejected"].astype(bool) == (looks["decision"] == CROSSED)).all()
    shares = found.operating.set_index("measure")["value"]
    assert shares["power over all looks"] == looks.loc[looks["design"] == "trial", "rejected"].mean()
