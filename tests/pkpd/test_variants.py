"""Structural variants and the ensemble that ship."""

from __future__ import annotations

import numpy as np
import pytest

from ranklsim.pkpd import variants
from ranklsim.pkpd.agents import load_agent
from ranklsim.pkpd.ensemble import ensemble, fit_for
from ranklsim.pkpd.errors import BadInput
from ranklsim.pkpd.fitting.fit import make_problem
from ranklsim.pkpd.fitting.spec import load_spec
from ranklsim.pkpd.mice.laboratory import Laboratory
from ranklsim.pkpd.parameters import load_parameters

TABLE = load_parameters()


@pytest.mark.parametrize("variant", variants.variants(), ids=lambda variant: variant.name)
def test_a_variant_is_where_the_fit_of_its_name_ends(variant: variants.Variant) -> None:
    spec = load_spec(variant.name)
    assert {symbol: variant.values[symbol] for symbol in spec.fixed} == spec.fixed
    assert set(variant.values) == set(spec.fixed) | {p.name for p in spec.parameters}
    problem = make_problem(spec)
    theta = np.array([_fitted(p, variant.values[p.name]) for p in spec.parameters])
    told = variants.fits().set_index("variant").loc[variant.name, "objective"]
    assert float(np.square(problem.residuals(theta)).sum()) == pytest.approx(told, abs=1.0)


def test_a_structure_is_refuted_by_the_odds_of_its_own_fit() -> None:
    told = variants.fits().set_index("variant")
    for one in variants.variants():
        base = told.loc["default" if load_spec(one.name).mice else "women", "objective"]
        assert one.rise == pytest.approx(told.loc[one.name, "objective"] - base, abs=0.15)  # of four digits each
        assert one.refuted == (np.exp(one.rise / 2) > 100)
    # Published: mice without sRANKL have as many osteoclasts as others (Asano 2019), so sRANKL alone can't activate.
    known = variants.variant("soluble-activation")
    assert known.refuted
    mice = Laboratory(TABLE.replace(known.values, "variants.csv"))
    assert mice.rest("sRANKL-null")["OC_T"] < 0.01


def _fitted(p, value: float) -> float:
    from ranklsim.pkpd.fitting.spec import transformed

    return transformed(value, p.transform)


def test_a_variant_is_a_parameter_table_by_its_name() -> None:
    assert load_parameters("waiting-cells")["mix"] == 1
    with pytest.raises(BadInput, match="did you mean 'waiting-cells'"):
        load_parameters("waiting-cell")


def test_the_ensemble_agrees_with_the_figures_and_covers_what_they_leave_open() -> None:
    vectors = ensemble()
    assert len(vectors) >= 500
    assert not vectors.isna().any(axis=None)
    for symbol in vectors:
        row = TABLE.row(symbol)
        assert (
            vectors[symbol].between(row["low"] - 1e-3 * abs(row["low"]), row["high"] + 1e-3 * abs(row["high"])).all()
        ), symbol
    assert set(TABLE.uncertain()) <= set(vectors)
    weighed = load_spec("ensemble")
    assert set(vectors) == {p.name for p in weighed.parameters} | set(weighed.fixed)
    assert vectors["sig"].quantile(0.95) > 10 * vectors["sig"].quantile(0.05), "mice leave it open over a wide range"
    # Every parameter of a vector was weighed: draws of d parameters lie no more than about d above the centre.
    problem = make_problem(weighed)
    theta = np.array([[_fitted(p, x) for x in vectors[p.name].head(60)] for p in weighed.parameters]).T
    start = np.array([[p.start for p in weighed.parameters]])
    objective = np.square(problem.residuals_of(np.vstack([start, theta]))).sum(axis=1)
    assert np.median(objective[1:]) < objective[0] + len(weighed.parameters)


def test_what_a_user_sets_is_taken_out_of_the_vectors() -> None:
    vectors, agents = ensemble(), [load_agent("denosumab"), load_agent("mrankl-selective")]
    assert list(fit_for(vectors, TABLE, agents)) == list(vectors)
    changed = TABLE.replace({"kT": 0.3, "denosumab.CL": 0.12})
    left = fit_for(vectors, changed, [changed.apply(agent) for agent in agents])
    assert set(vectors) - set(left) == {"kT", "denosumab.CL"}
