"""Mixed models for repeated measures, against SAS, the R package mmrm, closed forms and dense algebra.

"SAS" figures are listings of PROC MIXED (9.4) for `fev_data` that the R package mmrm keeps in its repository
(openpharma/mmrm, folder design/SAS, and the expected values in its tests/testthat/test-kenwardroger.R and
test-interop-car.R). SAS stops when one more step would change -2 log-likelihood by less than about 1e-8 of its value,
which leaves the last printed digit of some figures open: tolerances say so.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from scipy import stats

from ranklsim.cohorts.statistics.mmrm import Fit, fit
from ranklsim.cohorts.statistics.mmrm import criterion as reml_criterion
from ranklsim.cohorts.statistics.mmrm.covariance import NAMES, Structure, structure
from ranklsim.cohorts.statistics.mmrm.criterion import Criterion, pool, standardise
from ranklsim.cohorts.statistics.mmrm.data import ModelData
from ranklsim.cohorts.statistics.mmrm.inference import Inference, two_sided
from ranklsim.pkpd.errors import BadInput, RunFailed
from ranklsim.reports.qualify import statistics

DATA = Path(__file__).parent / "mmrm_data"
FORMULA = statistics.FEV
VISITS = ["VIS1", "VIS2", "VIS3", "VIS4"]


@pytest.fixture(scope="module")
def fev() -> pd.DataFrame:
    return statistics.fev()


@pytest.fixture(scope="module")
def reference() -> pd.DataFrame:
    return pd.read_csv(DATA / "reference.csv", dtype={"p": str}).set_index("term")


def fitted(data: pd.DataFrame, formula: str = FORMULA, **options: object) -> Fit:
    return fit(formula, data, subject="USUBJID", visit="AVISIT", **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def main(fev: pd.DataFrame) -> Fit:
    return fitted(fev, arm="ARMCD")


def trial(
    seed: int, subjects: int = 40, visits: int = 4, missing: float = 0.2, arms: tuple[str, ...] = ("control", "drug")
) -> pd.DataFrame:
    """Small trial with correlated responses, covariates and missed visits."""
    rng = np.random.default_rng(seed)
    lags = np.abs(np.subtract.outer(range(visits), range(visits)))
    root = np.linalg.cholesky(0.6**lags) * np.linspace(1, 2, visits)[:, None]
    baseline, arm = rng.normal(50, 5, subjects), np.resize(arms, subjects)
    y = rng.normal(size=(subjects, visits)) @ root.T + 0.1 * baseline[:, None] + (arm == "drug")[:, None]
    y[rng.random(y.shape) < missing] = np.nan
    return pd.DataFrame(
        {
            "patient": np.repeat(np.arange(subjects), visits),
            "month": np.tile(6 * (1 + np.arange(visits)), subjects),
            "arm": np.repeat(arm, visits),
            "baseline": np.repeat(baseline, visits),
            "stratum": np.repeat(np.resize(["a", "a", "b", "b", "b"], subjects), visits),
            "y": y.ravel(),
        }
    )


def small(data: pd.DataFrame, formula: str = "y ~ arm * month + baseline + stratum", **options: object) -> Fit:
    return fit(formula, data, subject="patient", visit="month", **{"arm": "arm"} | options)  # type: ignore[arg-type]


# The reference of the R package mmrm


class RowScaled(Structure):
    """Any covariance as D M M' D, D diagonal with logarithms, M unit lower triangular: the parameters of mmrm."""

    def __init__(self, m: int) -> None:
        self.m, (self.rows, self.columns) = m, np.tril_indices(m, -1)
        self.size = m + self.rows.size

    def matrix(self, at: np.ndarray) -> np.ndarray:
        root = np.eye(self.m)
        root[self.rows, self.columns] = at[self.m :]
        root *= np.exp(at[: self.m])[:, None]
        return root @ root.T

    def first(self, at: np.ndarray) -> np.ndarray:
        steps = 1e-5 * np.eye(self.size)
        return np.array([(self.matrix(at + s) - self.matrix(at - s)) / 2e-5 for s in steps])

    def second(self, at: np.ndarray) -> np.ndarray:
        steps = 1e-4 * np.eye(self.size)
        return np.array([(self.first(at + s) - self.first(at - s)) / 2e-4 for s in steps]).transpose(1, 0, 2, 3)

    def start(self, moments: np.ndarray) -> np.ndarray:
        root = np.linalg.cholesky(moments)
        scale = np.diag(root)
        return np.concatenate([np.log(scale), (root / scale[:, None])[self.rows, self.columns]])


PRINTED_COVARIANCE = [40.5537, 14.3960, 26.5715, 4.9747, 2.7855, 14.8979, 13.3867, 7.4745, 0.9082, 95.5568]
STOPPED_AT = [
    *(40.55365525, 14.39604839, 26.57147096, 4.97472295, 2.78545161),
    *(14.89785161, 13.38665161, 7.47445161, 0.90818832, 95.55684839),
]


def test_every_digit_of_the_reference_comes_out_where_its_search_stopped(
    fev: pd.DataFrame, reference: pd.DataFrame
) -> None:
    """`STOPPED_AT` prints as the covariance matrix of the reference; all its figures follow from that matrix.

    Away from the minimum, degrees of freedom depend on the parameters by which the Hessian is taken: those of mmrm.
    """
    np.testing.assert_array_equal(np.round(STOPPED_AT, 4), PRINTED_COVARIANCE)
    matrix = np.zeros((4, 4))
    matrix[np.tril_indices(4)] = STOPPED_AT
    matrix += np.tril(matrix, -1).T
    data = ModelData.read(FORMULA, fev, "USUBJID", "AVISIT", None, None)
    design = data.design
    criterion = Criterion(design, RowScaled(4), reml=True)
    at = criterion.structure.start(matrix / design.scale**2)
    point = criterion.point(at)
    assert point is not None
    estimate = design.ols + design.scale * design.to_terms @ point.b
    error, df = Inference(criterion, at, point, "satterthwaite", None).singly(design.scale * design.to_terms)
    p = two_sided(estimate / error, df)
    assert f"{point.m2ll + criterion.offset:.2f}" == "3386.45"
    for k, term in enumerate(map(statistics.plain, data.terms)):
        row = reference.loc[term]
        assert f"{estimate[k]:.5f}" == f"{row['estimate']:.5f}", term
        assert f"{error[k]:.5f}" == f"{row['std_error']:.5f}", term
        assert f"{df[k]:.2f}" == f"{row['df']:.2f}", term
        assert f"{estimate[k] / error[k]:.3f}" == f"{row['t']:.3f}", term
        if row["p"].startswith("<"):
            assert p[k] < float(row["p"][1:])
        else:
            digits = len(row["p"].split(".")[1]) if "e" not in row["p"] else None
            assert (f"{p[k]:.{digits}f}" if digits else f"{p[k]:.2e}") == row["p"], term


def test_the_minimum_lies_below_the_point_at_which_the_reference_stopped_and_next_to_it(
    main: Fit, reference: pd.DataFrame
) -> None:
    table = main.table.set_index(main.table["term"].map(statistics.plain)).loc[reference.index]
    assert f"{main.m2ll:.2f}" == "3386.45"
    assert main.m2ll < 3386.449876  # the value where the reference stopped
    assert (abs(table["estimate"] - reference["estimate"]) < 3e-4 * reference["std_error"]).all()
    np.testing.assert_allclose(table["std_error"], reference["std_error"], rtol=1e-4)
    np.testing.assert_allclose(table["df"], reference["df"], rtol=2e-4)
    np.testing.assert_allclose(main.covariance.to_numpy()[np.tril_indices(4)], PRINTED_COVARIANCE, atol=0.01)
    assert (main.n_subjects, main.n_observations, main.n_parameters) == (197, 537, 10)


def test_the_gradient_is_zero_and_the_hessian_positive_where_the_search_ends(fev: pd.DataFrame) -> None:
    data = ModelData.read(FORMULA, fev, "USUBJID", "AVISIT", None, None)
    criterion = Criterion(data.design, structure("us", 4), reml=True)
    at = criterion.structure.start(fitted(fev).covariance.to_numpy() / data.design.scale**2)
    point = criterion.point(at)
    assert point is not None
    assert abs(criterion.gradient(at, point)).max() < 1e-9
    assert np.linalg.eigvalsh(criterion.hessian(at, point))[0] > 1


# SAS PROC MIXED


@pytest.mark.parametrize(
    "formula, den_df, f",
    [
        (
            "FEV1 ~ ARMCD * FEV1_BL",
            [199.582314485653, 198.163532037936, 198.163532037944],
            [0.03099660681111, 11.0435094615508, 0.7644368094469],
        ),
        (
            "FEV1 ~ ARMCD * SEX + ARMCD * FEV1_BL - FEV1_BL",
            [197.423866403271, 186.119018537661, 186.11901853766, 194.942672335072],
            [0.04875135180324, 0.09277653315012, 0.46643535342468, 6.11482167585228],
        ),
    ],
)
def test_type_three_tests_with_covariates_are_those_of_sas(
    fev: pd.DataFrame, formula: str, den_df: list[float], f: list[float]
) -> None:
    tests = fitted(fev, formula, covariance="ar1").tests()
    np.testing.assert_allclose(tests["den_df"], den_df, rtol=1e-5)
    np.testing.assert_allclose(tests["f"], f, rtol=1e-5)


SAS_M2LL = {  # intercept only: REML, ML; design/SAS/sas_*_reml.txt, sas_*_ml.txt
    "us": (3700.9, None),
    "toeph": (3722.4, 3722.3),
    "toep": (3856.7, None),
    "adh": (3713.5, 3713.2),
    "ar1h": (3740.0, 3739.9),
    "ar1": (3875.5, 3876.0),
    "csh": (3784.9, 3784.6),
    "cs": (3918.0, 3918.1),
}
SAS_AIC = {"us": 3720.9, "toeph": 3736.4, "adh": 3727.5, "ar1h": 3750.0, "ar1": 3879.5, "csh": 3794.9, "cs": 3922.0}
SAS_MATRICES = {  # variances, then correlations (cs, toep: covariances)
    "toeph": ([90.4041, 38.5927, 36.1518, 175.78], [0.4295, 0.04570, -0.3116]),
    "adh": ([114.89, 44.6313, 26.8922, 158.47], [0.7106, 0.1033, 0.3657]),
    "ar1h": ([92.3009, 38.5178, 35.2148, 176.37], [0.4130]),
    "ar1": ([88.9866], [0.4272]),
    "csh": ([104.61, 38.6137, 31.3143, 178.91], [0.1582]),
    "toep": ([89.0847], [41.5499, 6.9536, -17.6135]),
    "cs": ([81.0025 + 5.8943], [5.8943]),
}


@pytest.mark.parametrize("name", SAS_M2LL)
def test_every_structure_has_the_likelihood_of_sas(fev: pd.DataFrame, name: str) -> None:
    for reml, printed in zip((True, False), SAS_M2LL[name], strict=True):
        model = fitted(fev, "FEV1 ~ 1", covariance=name, reml=reml)
        assert model.structure == name
        if printed is not None:
            assert f"{model.m2ll:.1f}" == str(printed)
        if reml and name in SAS_AIC:
            assert f"{model.aic:.1f}" == str(SAS_AIC[name])


@pytest.mark.parametrize("name", SAS_MATRICES)
def test_every_structure_has_the_covariance_parameters_of_sas(fev: pd.DataFrame, name: str) -> None:
    matrix = fitted(fev, "FEV1 ~ 1", covariance=name).covariance.to_numpy()
    variances, others = SAS_MATRICES[name]
    root = np.sqrt(np.diag(matrix))
    np.testing.assert_allclose(np.diag(matrix)[: len(variances)], variances, rtol=1e-3)
    shown = matrix if name in ("cs", "toep") else matrix / np.outer(root, root)
    place = {"adh": lambda k: (k, k + 1)}.get(name, lambda k: (0, k + 1))
    np.testing.assert_allclose([shown[place(k)] for k in range(len(others))], others, atol=0.002, rtol=2e-3)


SAS_GROUPED = {  # intercept only, parameters by ARMCD, REML: -2 log-likelihood and intercept with standard error
    "toeph": (3704.5, 41.4766, 0.3563, 170),
    "adh": (3688.8, 42.5293, 0.3349, 174),
    "ar1h": (3724.4, 41.7104, 0.3723, 177),
    "ar1": (3872.7, 41.9576, 0.4960, 189),
    "csh": (3764.6, 41.8458, 0.3372, 191),
    "cs": (3915.4, 41.9734, 0.4247, 183),
}


@pytest.mark.parametrize("name", SAS_GROUPED)
def test_covariance_by_group_is_that_of_sas(fev: pd.DataFrame, name: str) -> None:
    m2ll, estimate, error, df = SAS_GROUPED[name]
    model = fitted(fev, "FEV1 ~ 1", covariance=name, group="ARMCD")
    assert f"{model.m2ll:.1f}" == str(m2ll)
    row = model.table.iloc[0]
    assert row["estimate"] == pytest.approx(estimate, abs=3e-3)
    assert row["std_error"] == pytest.approx(error, abs=1.5e-4)
    assert row["df"] == pytest.approx(df, abs=0.6)
    assert model.covariance.loc["PBO"].shape == (4, 4)


SAS_KENWARD_ROGER = {  # FEV1 ~ ARMCD: standard error and df of TRT; standard error with FIRSTORDER
    "ar1": (0.95865439662225, 188.46934887972, 0.96058142305176),
    "ar1h": (0.7590316099633, 188.225339095373, 0.75924807546934),
    "cs": (0.7964696053595, 177.038485931223, 0.7964696053595),
    "csh": (0.67414806011886, 190.737701349941, 0.67403858183242),
    "adh": (0.66172017349971, 162.393385281755, 0.66158550758897),
    "toep": (0.87839805519623, 160.027408337368, 0.87839805519623),
    "toeph": (0.72543828853831, 180.062730071701, 0.72537324518435),
    "us": (0.66124382270307, 160.733266403768, 0.66124382270307),
}


@pytest.mark.parametrize("name", SAS_KENWARD_ROGER)
def test_kenward_roger_errors_and_df_are_those_of_sas(fev: pd.DataFrame, name: str) -> None:
    error, df, first_order = SAS_KENWARD_ROGER[name]
    for method, expected in (("kenward-roger", error), ("kenward-roger-linear", first_order)):
        row = fitted(fev, "FEV1 ~ ARMCD", covariance=name, df=method).table.iloc[1]
        assert row["std_error"] == pytest.approx(expected, rel=1.5e-4)
        assert row["df"] == pytest.approx(df, rel=5e-4)


@pytest.mark.parametrize(
    "covariance, reml, rows",
    [  # intercept, TRT, Female: estimate, standard error, df; design/SAS/sas_coef_ci_*.txt
        ("us", True, [(41.0762, 0.5504, 156), (3.8265, 0.6421, 161), (-0.1404, 0.6434, 161)]),
        ("us", False, [(41.0840, 0.5452, 158), (3.8276, 0.6362, 163), (-0.1382, 0.6374, 164)]),
        ("ar1", True, [(40.1643, 0.8377, 190), (4.2211, 0.9629, 187), (0.2364, 0.9646, 188)]),
        ("ar1", False, [(40.1664, 0.8312, 193), (4.2196, 0.9553, 191), (0.2317, 0.9570, 191)]),
    ],
)
def test_maximum_likelihood_and_its_satterthwaite_df_are_those_of_sas(
    fev: pd.DataFrame, covariance: str, reml: bool, rows: list[tuple[float, float, int]]
) -> None:
    table = fitted(fev, "FEV1 ~ ARMCD + SEX", covariance=covariance, reml=reml).table
    for (_, row), (estimate, error, df) in zip(table.iterrows(), rows, strict=True):
        assert (row["estimate"], row["std_error"]) == pytest.approx((estimate, error), abs=1e-3)
        assert round(row["df"]) == df


def test_between_within_df_are_those_of_the_r_package(fev: pd.DataFrame) -> None:
    """Vignette "Between-Within" and test-between-within.R of mmrm."""
    model = fitted(fev, df="between-within")
    df = model.table.set_index("term")["df"]
    assert df["Intercept"] == df["AVISIT[T.VIS2]"] == df["ARMCD[T.TRT]:AVISIT[T.VIS4]"] == 334
    assert df["RACE[T.White]"] == df["SEX[T.Female]"] == df["ARMCD[T.TRT]"] == 192
    visits = pd.DataFrame(np.eye(2), columns=["AVISIT[T.VIS2]", "AVISIT[T.VIS3]"])
    row = model.contrast(visits, joint=True).iloc[0]
    assert (row["num_df"], row["den_df"]) == (2, 334)
    assert row["f"] == pytest.approx(80.96, rel=1e-3)
    assert fitted(fev, df="residual").table["df"].unique().tolist() == [537 - 11]


# Closed forms


def complete(seed: int, subjects: int, visits: int) -> pd.DataFrame:
    return trial(seed, subjects, visits, missing=0.0)


def test_complete_unstructured_data_give_the_sample_covariance_and_means() -> None:
    data = complete(1, 30, 3)
    model = small(data, "y ~ arm * month")
    wide = data.pivot(index="patient", columns="month", values="y")
    arm = data.groupby("patient")["arm"].first()
    residuals = wide - wide.groupby(arm).transform("mean")
    np.testing.assert_allclose(model.covariance, residuals.T @ residuals / (30 - 2), rtol=1e-9)
    means = model.lsmeans().set_index(["arm", "month"])["estimate"].unstack()
    np.testing.assert_allclose(means, wide.groupby(arm).mean(), rtol=1e-10)


def test_complete_unstructured_contrasts_at_a_visit_are_the_two_sample_t_test() -> None:
    data = complete(2, 24, 3)
    at_last = data[data["month"] == 18]
    groups = [at_last.loc[at_last["arm"] == arm, "y"] for arm in ("drug", "control")]
    expected = stats.ttest_ind(*groups)
    for method in ("satterthwaite", "kenward-roger"):
        row = small(data, "y ~ arm * month", df=method).differences("control").iloc[-1]
        assert row["t"] == pytest.approx(expected.statistic, rel=1e-9)
        assert row["df"] == pytest.approx(22, rel=1e-7)
        assert row["p"] == pytest.approx(expected.pvalue, rel=1e-6)


@pytest.mark.parametrize("method", ["kenward-roger", "kenward-roger-linear"])
def test_kenward_roger_gives_hotellings_exact_test_of_a_mean_vector(method: str) -> None:
    """Kenward and Roger 1997 chose their F so that it does: (n - q) / (q (n - 1)) T² with q and n - q df."""
    n, q = 14, 4
    data = complete(3, n, q)
    data["y"] -= data["y"].mean()
    wide = data.pivot(index="patient", columns="month", values="y")
    t2 = n * wide.mean() @ np.linalg.solve(wide.cov(), wide.mean())
    row = small(data, "y ~ 0 + month", df=method).contrast(np.eye(q), joint=True).iloc[0]
    assert (row["num_df"], row["den_df"]) == pytest.approx((q, n - q), rel=1e-6)
    assert row["f"] == pytest.approx((n - q) / (q * (n - 1)) * t2, rel=1e-6)


def test_compound_symmetry_is_the_random_intercept_model_of_statsmodels() -> None:
    data = trial(4).dropna()
    for reml in (True, False):
        model = small(data, "y ~ arm * month + baseline", covariance="cs", reml=reml)
        other = smf.mixedlm("y ~ arm * C(month) + baseline", data, groups="patient").fit(reml=reml)
        np.testing.assert_allclose(model.estimates.sum(), other.fe_params.sum(), rtol=1e-5)
        assert model.m2ll == pytest.approx(-2 * other.llf, abs=2e-4)
        shared = float(np.asarray(other.cov_re)[0, 0])
        assert model.covariance.iloc[0, 1] == pytest.approx(shared, rel=1e-3)
        assert model.covariance.iloc[0, 0] == pytest.approx(shared + other.scale, rel=1e-3)


def test_one_visit_is_ordinary_least_squares() -> None:
    data = trial(5, visits=1)
    model = fit("y ~ arm + baseline + stratum", data, subject="patient", visit="month")
    ols = smf.ols("y ~ arm + stratum + baseline", data).fit()
    names = {"arm[T.drug]": "arm[T.drug]", "baseline": "baseline", "stratum[T.b]": "stratum[T.b]"}
    table = model.table.set_index("term")
    for ours, theirs in names.items():
        assert table.loc[ours, "estimate"] == pytest.approx(ols.params[theirs], rel=1e-9)
        assert table.loc[ours, "std_error"] == pytest.approx(ols.bse[theirs], rel=1e-9)
        assert table.loc[ours, "df"] == pytest.approx(ols.df_resid, rel=1e-8)
        assert table.loc[ours, "p"] == pytest.approx(ols.pvalues[theirs], rel=1e-6)


def dense_m2ll(data: pd.DataFrame, x: np.ndarray, matrix: np.ndarray, reml: bool) -> float:
    """-2 log-likelihood from its definition, with V and P as full matrices."""
    codes = np.unique(data["month"], return_inverse=True)[1]
    same = np.equal.outer(data["patient"].to_numpy(), data["patient"].to_numpy())
    v = np.where(same, matrix[np.ix_(codes, codes)], 0.0)
    w = np.linalg.inv(v)
    a = x.T @ w @ x
    b = np.linalg.solve(a, x.T @ w @ data["y"].to_numpy())
    r = data["y"].to_numpy() - x @ b
    out = np.linalg.slogdet(v)[1] + r @ w @ r + len(r) * np.log(2 * np.pi)
    return float(out + (np.linalg.slogdet(a)[1] - x.shape[1] * np.log(2 * np.pi) if reml else 0.0))


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_likelihood_gradient_and_hessian_are_those_of_dense_algebra(name: str, reml: bool) -> None:
    data = trial(6, subjects=30).dropna()
    read = ModelData.read("y ~ arm * month + baseline", data, "patient", "month", None, None)
    x = read.spec.get_model_matrix(read.frame).to_numpy(float)
    criterion = Criterion(read.design, structure(name, 4).chart(), reml=reml)
    at = criterion.start() + np.random.default_rng(7).normal(0, 0.02, criterion.structure.size)
    scale = read.design.scale**2

    def dense(where: np.ndarray) -> float:
        return dense_m2ll(read.frame, x, scale * criterion.structure.matrix(where), reml)

    def exact(where: np.ndarray) -> np.ndarray:
        return criterion.gradient(where, criterion.point(where))

    point = criterion.point(at)
    assert point is not None
    assert point.m2ll + criterion.offset == pytest.approx(dense(at), rel=1e-11)
    steps = 1e-5 * np.eye(at.size)
    gradient = [(dense(at + s) - dense(at - s)) / 2e-5 for s in steps]
    np.testing.assert_allclose(criterion.gradient(at, point), gradient, rtol=1e-5, atol=1e-5)
    hessian = np.array([(exact(at + s) - exact(at - s)) / 2e-5 for s in steps])
    np.testing.assert_allclose(criterion.hessian(at, point), hessian, rtol=1e-5, atol=1e-5 * abs(hessian).max())


@pytest.mark.parametrize("name", NAMES)
def test_derivatives_of_every_structure_are_those_of_its_matrix(name: str) -> None:
    shape = structure(name, 4)
    at = shape.start(0.5 + np.diag([1.0, 2.0, 3.0, 4.0])) * np.linspace(0.9, 1.1, shape.size)
    steps = 1e-5 * np.eye(shape.size)
    first = np.array([(shape.matrix(at + s) - shape.matrix(at - s)) / 2e-5 for s in steps])
    np.testing.assert_allclose(shape.first(at), first, atol=1e-8)
    second = np.array([(shape.first(at + s) - shape.first(at - s)) / 2e-5 for s in steps])
    stated = shape.second(at)
    np.testing.assert_allclose(np.zeros_like(second) if stated is None else stated, second, atol=1e-8)


def test_subjects_of_one_pattern_are_pooled_without_changing_any_cross_product() -> None:
    data = pd.concat([trial(seed, 200).assign(patient=lambda d, k=seed: d["patient"] + 1000 * k) for seed in range(3)])
    read = ModelData.read("y ~ arm * month + stratum", data, "patient", "month", None, None)
    x = read.spec.get_model_matrix(read.frame).to_numpy(float)
    rows = sum(block.y.size for block in read.blocks)
    assert rows < len(read.frame) / 2
    np.testing.assert_allclose(sum(np.einsum("rvp,rvq->pq", b.x, b.x) for b in read.blocks), x.T @ x, rtol=1e-12)
    y = read.frame["y"].to_numpy()
    np.testing.assert_allclose(sum(np.einsum("rvp,rv->p", b.x, b.y) for b in read.blocks), x.T @ y, rtol=1e-12)
    assert sum(block.n for block in read.blocks) == read.frame["patient"].nunique()


@pytest.mark.parametrize("reml", [True, False])
def test_patterns_of_visits_side_by_side_and_one_by_one_have_the_same_criterion(
    monkeypatch: pytest.MonkeyPatch, reml: bool
) -> None:
    data = trial(11, subjects=60)
    data = data[np.random.default_rng(11).random(len(data)) < 0.8]
    read = ModelData.read("y ~ arm * month + baseline", data, "patient", "month", "arm", None)
    together = read.design
    assert len(together.stacks) == 2  # one for each arm
    monkeypatch.setattr(reml_criterion, "LARGEST", 1)
    apart = standardise(read.blocks, together.subjects, together.rows, together.visits, together.groups)
    assert len(apart.stacks) == len(read.blocks) > 10
    shape = structure("us", together.visits).chart()
    one, other = (Criterion(design, shape, reml=reml) for design in (together, apart))
    at = one.start()
    points = one.point(at), other.point(at)
    assert points[0].m2ll == pytest.approx(points[1].m2ll, rel=1e-13)
    for ask in ("gradient", "hessian"):
        found = [getattr(each, ask)(at, point) for each, point in zip((one, other), points, strict=True)]
        np.testing.assert_allclose(*found, rtol=1e-10, atol=1e-10)
    several = np.stack([at, at + 0.01])
    for mine, theirs in zip(one.coefficients(several), other.coefficients(several), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(one.coefficients(several)[0][0], points[0].b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("formula", ["y ~ arm * month + baseline", "y ~ arm * month + np.square(baseline)"])
def test_means_of_subjects_at_visits_are_those_of_their_rows(formula: str) -> None:
    data = trial(12)
    model = fit(formula, data, subject="patient", visit="month", arm="arm")
    people = data.drop_duplicates("patient")[["arm", "baseline"]]
    visits = model.covariance.columns[1:]
    sets = np.array([1.0, 2.0])[:, None] * model.estimates.to_numpy()
    found = model.means_at(people, visits, sets)
    assert found.shape == (2, len(people), len(visits))
    for k, month in enumerate(visits):
        np.testing.assert_allclose(found[:, :, k].T, model.means(people.assign(month=month), sets.T), rtol=1e-12)
    with pytest.raises(BadInput, match="not among the levels"):
        model.means_at(people, [99], sets)


def test_the_design_that_is_searched_is_orthonormal() -> None:
    data = trial(8)
    read = ModelData.read("y ~ arm * month + baseline", data, "patient", "month", None, None)
    blocks = pool(
        read.spec.get_model_matrix(read.frame).to_numpy(float),
        read.frame["y"].to_numpy(),
        pd.factorize(read.frame["patient"])[0],
        read.frame["month"].cat.codes.to_numpy(np.int64),
        np.zeros(len(read.frame), dtype=np.int64),
    )
    design = standardise(blocks, 40, len(read.frame), 4, 1)
    products = sum(np.einsum("rvp,rvq->pq", block.x, block.x) for block in design.blocks)
    np.testing.assert_allclose(products, np.eye(design.p), atol=1e-12)


# Invariance


def same(one: Fit, two: Fit, scale: float = 1.0) -> None:
    np.testing.assert_allclose(scale * one.table["estimate"], two.table["estimate"], rtol=1e-6, atol=1e-8 * scale)
    for column in ("df", "p"):
        np.testing.assert_allclose(one.table[column], two.table[column], rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("covariance", ["us", "ar1h", "toep"])
def test_order_of_rows_names_of_patients_and_visits_and_units_do_not_matter(covariance: str) -> None:
    data = trial(9)
    model = small(data, covariance=covariance, df="kenward-roger")
    shuffled = data.sample(frac=1, random_state=1)
    same(model, small(shuffled, covariance=covariance, df="kenward-roger"))
    renamed = data.assign(patient="P" + data["patient"].astype(str), month=data["month"].map("month {:02d}".format))
    same(model, small(renamed, covariance=covariance, df="kenward-roger"))
    scaled = small(data.assign(y=1000 * data["y"]), covariance=covariance, df="kenward-roger")
    same(model, scaled, 1000.0)
    df = model.n_observations - len(model.estimates)
    assert scaled.m2ll == pytest.approx(model.m2ll + 2 * df * np.log(1000), rel=1e-9)


def test_a_shift_of_a_covariate_leaves_all_else_and_the_likelihood_as_it_is() -> None:
    data = trial(10)
    one, two = small(data), small(data.assign(baseline=data["baseline"] + 2000))
    np.testing.assert_allclose(one.lsmeans()["estimate"], two.lsmeans()["estimate"], rtol=1e-8)
    assert one.m2ll == pytest.approx(two.m2ll, abs=1e-6)


def test_rows_without_response_and_patients_without_any_do_not_matter() -> None:
    data = trial(11)
    ghost = data[data["patient"] == 0].assign(patient=-1, y=np.nan)
    model = small(pd.concat([data, ghost]))
    same(model, small(data.dropna()))
    assert model.n_subjects == data.dropna()["patient"].nunique()
    assert model.message == ""


def test_ordered_structures_follow_the_order_of_categories() -> None:
    data = trial(12)
    names = pd.Categorical(data["month"].map({6: "z", 12: "a", 18: "m", 24: "b"}), categories=["z", "a", "m", "b"])
    assert small(data.assign(month=names), covariance="ar1").m2ll == pytest.approx(small(data, covariance="ar1").m2ll)
    assert small(data.assign(month=names.astype(str)), covariance="ar1").m2ll != pytest.approx(
        small(data, covariance="ar1").m2ll, abs=0.1
    )


# LS means and contrasts


def test_least_squares_means_are_the_model_at_mean_covariates_with_the_weights_asked_for() -> None:
    data = trial(13)
    model = small(data, "y ~ arm * month + baseline * month + stratum")
    used = data.dropna()
    b, mean = model.estimates, used["baseline"].mean()
    at_24 = b["Intercept"] + b["arm[T.drug]"] + b["month[T.24]"] + b["arm[T.drug]:month[T.24]"]
    at_24 += (b["baseline"] + b[next(term for term in b.index if "month[T.24]" in term and "baseline" in term)]) * mean
    share = {"equal": 0.5, "proportional": (used["stratum"] == "b").mean()}
    for weights, of_b in share.items():
        means = model.lsmeans(weights=weights).set_index(["arm", "month"])["estimate"]
        assert means["drug", 24] == pytest.approx(at_24 + of_b * b["stratum[T.b]"], rel=1e-10)
    assert model.lsmeans(at={"baseline": 0.0}).set_index(["arm", "month"])["estimate"]["control", 6] == pytest.approx(
        b["Intercept"] + 0.5 * b["stratum[T.b]"], rel=1e-8
    )
    counts = model.lsmeans().set_index(["arm", "month"])["n"]
    assert counts["drug", 24] == ((used["arm"] == "drug") & (used["month"] == 24)).sum()


def test_a_contrast_can_be_named_by_terms_given_as_vector_or_as_frame() -> None:
    model = small(trial(14))
    weights = {"arm[T.drug]": 1.0, "arm[T.drug]:month[T.24]": 1.0}
    by_name = model.contrast(weights).iloc[0]
    vector = [weights.get(term, 0.0) for term in model.estimates.index]
    frame = pd.DataFrame([weights], index=["at 24"])
    labelled = model.contrast(frame).iloc[0]
    difference = model.differences("control").set_index("month").loc[24]
    for column in ("estimate", "std_error", "df", "p", "ci_low", "ci_high"):
        assert by_name[column] == pytest.approx(difference[column], rel=1e-8)
        assert model.contrast(vector).iloc[0][column] == by_name[column] == labelled[column]
    assert labelled["label"] == "at 24"
    joint = model.contrast([vector, [2 * w for w in vector]], joint=True).iloc[0]
    assert (joint["num_df"], joint["f"]) == pytest.approx((1, by_name["t"] ** 2))


def test_a_joint_test_does_not_depend_on_how_kenward_rogers_combinations_are_written() -> None:
    model = small(trial(15), df="kenward-roger")
    rows = np.eye(len(model.estimates))[[1, -3, -2, -1]]
    turned = np.random.default_rng(0).normal(size=(4, 4)) @ rows
    one, two = model.contrast(rows, joint=True).iloc[0], model.contrast(turned, joint=True).iloc[0]
    assert tuple(one) == pytest.approx(tuple(two), rel=1e-7)


def test_one_arm_has_no_differences_and_new_levels_have_no_mean() -> None:
    data = trial(21, arms=("control",))
    model = small(data, "y ~ month")
    assert (
        fit("y ~ arm * month", trial(21), subject="patient", visit="month").differences("drug", of="arm").shape[0] == 4
    )
    assert model.means(data.head(2).assign(month=[6, 24])).tolist() == pytest.approx(
        [model.estimates["Intercept"], model.estimates["Intercept"] + model.estimates["month[T.24]"]]
    )
    with pytest.raises(BadInput, match="month = 30 is not among the levels that were fitted"):
        model.means(data.head(1).assign(month=30))


# What does not work as asked, said aloud


def test_a_structure_that_cannot_be_fitted_is_replaced_and_the_message_says_so() -> None:
    data = trial(16, subjects=6, visits=6, missing=0.0)
    model = small(data, "y ~ arm + month")
    assert model.requested == "us"
    assert model.structure != "us"
    assert not model.converged
    assert model.attempts[0] == ("us", "the covariance matrix becomes singular")
    assert model.message.startswith("The unstructured covariance did not converge (the covariance matrix becomes")
    assert "covariance was used instead." in model.message


def test_a_covariance_that_becomes_singular_is_not_passed_off_as_converged() -> None:
    data = complete(17, 30, 3)
    first = data.loc[data["month"] == 6, "y"].to_numpy()
    data.loc[data["month"] == 12, "y"] = 2 * first + 1  # a visit that is a copy of another
    model = small(data, "y ~ arm * month")
    assert dict(model.attempts)["us"] == "the covariance matrix becomes singular"
    with pytest.raises(RunFailed, match=r"no covariance structure could be fitted \(unstructured: .*singular\)"):
        small(data, "y ~ arm * month", fallback=())


def test_what_was_left_out_is_said() -> None:
    data = trial(18)
    data.loc[[3, 7], "baseline"] = np.nan
    data.loc[[3, 7], "y"] = 1.0
    months = pd.Categorical(data["month"], categories=[6, 12, 18, 24, 30])
    message = small(data.assign(month=months)).message
    assert "2 rows without baseline were left out." in message
    assert "No response at month 30, which was left out." in message


@pytest.mark.parametrize(
    "change, options, sentence",
    [
        ({}, {"covariance": "un"}, "covariance = 'un' is unknown; use one of us, toeph"),
        ({}, {"df": "kr"}, "df = 'kr' is unknown; use one of satterthwaite, kenward-roger"),
        ({}, {"df": "kenward-roger", "reml": False}, "Kenward-Roger is defined for REML only"),
        ({}, {"level": 95}, "level = 95 is not between 0 and 1"),
        ({}, {"fallback": ["none"]}, "fallback = 'none' is unknown"),
        ({}, {"arm": "treatment"}, "arm = 'treatment' is not a column of the data"),
        ({}, {"formula": "y ~ arm + weight"}, "'weight' in the formula is not a column of the data"),
        ({}, {"formula": "arm * month"}, r"the formula 'arm \* month' has no response"),
        ({}, {"formula": "y ~ arm +* month"}, "cannot be read"),
        ({}, {"formula": "y ~ arm + nothing(month)"}, "cannot be used with these data"),
        ({}, {"formula": "y ~ arm + baseline + I(2 * baseline)"}, r"do not determine I\(2 \* baseline\)"),
        ({"copy": lambda d: d["arm"]}, {"formula": "y ~ arm + copy"}, r"do not determine copy\[T.drug\]"),
        ({"y": np.nan}, {}, "no row of the data has a response"),
        ({"y": 3.0}, {}, "the responses do not vary around the fixed effects"),
        ({"y": lambda d: d["y"].where(d.index != 5, np.inf)}, {}, "the response is not a finite number in 1 rows"),
        ({"month": 6}, {}, r"patient 0 has more than one row at month 6 \(\d+ rows too many in all\)"),
        (
            {"arm": lambda d: d["arm"].where(d.index != 1, "drug")},
            {},
            r"patient 0 is in more than one arm \(control, drug\)",
        ),
        ({"patient": lambda d: d["patient"].where(d.index != 1)}, {}, "patient is missing in 1 rows with a response"),
        (
            {"y": lambda d: d["y"].where((d["arm"] != "drug") | (d["month"] != 24))},
            {},
            r"no row of the data has arm\[T.drug\]:month\[T.24\]",
        ),
    ],
)
def test_input_that_cannot_be_used_is_refused_in_one_sentence(
    change: dict[str, object], options: dict[str, object], sentence: str
) -> None:
    data = trial(19, missing=0.0).assign(**change)
    formula = str(options.get("formula", "y ~ arm * month"))
    options = {name: value for name, value in options.items() if name != "formula"}
    with pytest.raises(BadInput, match=sentence) as caught:
        small(data, formula, **options)
    assert len(caught.value.messages) == 1
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "ask, sentence",
    [
        (lambda m: m.contrast({"arm": 1.0}), "the model has no term 'arm'; it has Intercept"),
        (lambda m: m.contrast([1.0, 2.0]), "a contrast has 2 weights; the model has 10 terms"),
        (lambda m: m.contrast(np.zeros(10)), "a row of the contrast is zero"),
        (lambda m: m.lsmeans("baseline"), "'baseline' is not a factor"),
        (lambda m: m.lsmeans(weights="cells"), "weights = 'cells' is unknown"),
        (lambda m: m.lsmeans(at={"arm": 1.0}), "'arm' is not a covariate"),
        (lambda m: m.differences("placebo"), "arm has no level 'placebo' in the data; it has control, drug"),
    ],
)
def test_what_the_model_does_not_have_cannot_be_asked_of_it(ask: object, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        ask(small(trial(20)))  # type: ignore[operator]


# -- empirical errors --------------------------------------------------------------------------------------------------


def loop_over_subjects(model: Fit, kind: str, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sandwich and Satterthwaite's df of contrasts, subject by subject, by whole matrices."""
    data = model._data
    x, y = data.design_of(data.frame), data.y
    subject = pd.factorize(data.frame["USUBJID"])[0]
    visit = data.frame["AVISIT"].cat.codes.to_numpy()
    big = np.where(subject[:, None] == subject, model.covariance.to_numpy()[np.ix_(visit, visit)], 0.0)
    inverse = np.linalg.inv(big)
    phi = np.linalg.inv(x.T @ inverse @ x)
    e, count = y - x @ model.estimates.to_numpy(), subject.max() + 1
    quadratic, left = [], big - x @ phi @ x.T
    for k in range(count):
        mine = subject == k
        root = np.linalg.cholesky(big[np.ix_(mine, mine)])
        own = np.linalg.solve(root, x[mine])
        a = np.eye(len(own))
        if kind != "empirical":
            values, vectors = np.linalg.eigh(np.eye(len(own)) - own @ phi @ own.T)
            a = (vectors * values ** (-0.5 if kind == "bias-reduced" else -1.0)) @ vectors.T
        quadratic.append(np.zeros((len(rows), len(x))))
        quadratic[-1][:, mine] = rows @ phi @ own.T @ a @ np.linalg.inv(root)
    g = np.array(quadratic)  # subjects, contrasts, rows
    share = (count - 1) / count if kind == "jackknife" else 1.0
    variance = share * ((g @ e) ** 2).sum(axis=0)
    p = np.einsum("iqn,nm,jqm->qij", g, left, g, optimize=True)
    return variance, np.trace(p, axis1=1, axis2=2) ** 2 / (p**2).sum(axis=(1, 2))


@pytest.mark.parametrize("kind", ["empirical", "bias-reduced", "jackknife"])
def test_empirical_errors_and_df_are_the_sums_over_subjects_by_whole_matrices(fev: pd.DataFrame, kind: str) -> None:
    few = fev[fev["USUBJID"].isin(sorted(set(fev["USUBJID"]))[:60])]
    model = fit(FORMULA, few, subject="USUBJID", visit="AVISIT", covariance="cs", errors=kind)
    rows = np.eye(len(model.estimates))
    variance, df = loop_over_subjects(model, kind, rows)
    np.testing.assert_allclose(model.table["std_error"] ** 2, variance, rtol=1e-8)
    np.testing.assert_allclose(model.table["df"], df, rtol=1e-6)
    plain = fit(FORMULA, few, subject="USUBJID", visit="AVISIT", covariance="cs")
    np.testing.assert_allclose(model.estimates, plain.estimates, rtol=1e-12)


def test_empirical_errors_are_those_of_generalised_estimating_equations(fev: pd.DataFrame) -> None:
    import statsmodels.api as sm

    model = fit(FORMULA, fev, subject="USUBJID", visit="AVISIT", covariance="cs", errors="empirical")
    frame = model._data.frame
    structure = sm.cov_struct.Exchangeable()
    structure.dep_params = model.covariance.iloc[0, 1] / model.covariance.iloc[0, 0]
    design = model._data.design_of(frame)
    equations = sm.GEE(model._data.y, design, groups=frame["USUBJID"], cov_struct=structure, update_dep=False)
    theirs = equations.fit(ctol=1e-12)
    np.testing.assert_allclose(theirs.params, model.estimates, rtol=1e-6)
    np.testing.assert_allclose(theirs.standard_errors(), model.table["std_error"], rtol=1e-6)


def test_with_one_visit_empirical_errors_are_those_of_white_and_mackinnon(fev: pd.DataFrame) -> None:
    import statsmodels.api as sm

    last = fev[fev["AVISIT"] == "VIS4"]
    for kind, name in (("empirical", "HC0"), ("bias-reduced", "HC2"), ("jackknife", "HC3")):
        model = fit("FEV1 ~ ARMCD + SEX", last, subject="USUBJID", visit="AVISIT", errors=kind)
        theirs = sm.OLS(model._data.y, model._data.design_of(model._data.frame)).fit(cov_type=name)
        share = (model.n_subjects - 1) / model.n_subjects if kind == "jackknife" else 1.0
        np.testing.assert_allclose(model.table["std_error"], theirs.bse * np.sqrt(share), rtol=1e-9)


def test_empirical_errors_do_not_go_with_kenward_roger(fev: pd.DataFrame) -> None:
    with pytest.raises(BadInput, match="Kenward-Roger is of the model's errors"):
        fitted(fev, df="kenward-roger", errors="empirical")
