"""No contradiction between conclusion, boundary, gate and interval, over generated trial files and small studies.

`CLAIMS_EXAMPLES=2000` runs as many trials; the suite runs a few.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers import arm, endpoint, trial_file
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ranklsim.cohorts.protocol.trial import Trial, load_trial
from ranklsim.cohorts.statistics.claims import SHOWN
from ranklsim.cohorts.statistics.mmrm import ERRORS
from ranklsim.cohorts.study import StudyTables
from ranklsim.reports.analyses import estimands, results
from ranklsim.reports.analyses.monitoring import CROSSED, HARM, UNTESTED

EXAMPLES = int(os.environ.get("CLAIMS_EXAMPLES", "20"))

KINDS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "change": ({"of": "BMD_LS", "from": "0 mo", "to": "12 mo"}, ("MMRM", "ANCOVA", "mean difference")),
    "lower": ({"of": "CTX", "from": "0 mo", "to": "12 mo"}, ("ANCOVA", "mean difference", "median difference")),
    "responder": ({"of": "BMD_LS", "at": "12 mo", "gain": ">= 0 %"},
                  ("Miettinen-Nurminen", "Mantel-Haenszel", "logistic")),
    "event": ({"of": "hip", "by": "12 mo"},
              ("Cox", "log-rank", "Fine-Gray", "Gray", "cumulative incidence", "Mantel-Haenszel", "logistic")),
    "rate": ({"of": "vertebral", "by": "12 mo"}, ("negative binomial",)),
    "exposure": ({"of": "CTX", "what": "AUEC", "to": "12 mo"}, ("ANCOVA",)),
    "level": ({"of": "CTX", "what": "level", "to": "12 mo"}, ("ANCOVA",)),
}  # fmt: skip
DOSES = {"of": "BMD_LS", "to": "12 mo", "doses": {"one": "14 mg", "two": "60 mg"}, "target": "2 %",
         "shapes": ["linear", "Emax 5 mg", "quadratic 40 mg"]}  # fmt: skip
RATIOS = ("Mantel-Haenszel", "logistic", "Cox", "log-rank", "Fine-Gray", "Gray", "negative binomial")


@st.composite
def endpoints(draw: st.DrawFn, name: str, role: str, arms: list[str]) -> dict[str, Any]:
    """One endpoint of any kind, with any claim against any arm."""
    kind = draw(st.sampled_from([*KINDS, *(["dose_response"] if len(arms) > 2 else [])]))
    table, analyses = KINDS.get(kind, (DOSES, ("MCP-Mod",)))
    analysis = draw(st.sampled_from(analyses))
    ratio = analysis in RATIOS or kind in ("exposure", "level")
    more: dict[str, Any] = {{"lower": "change", "level": "exposure"}.get(kind, kind): table}
    if analysis == "MMRM":
        more["errors"] = draw(st.sampled_from(ERRORS))
    claim = draw(st.sampled_from(["superiority", "margin", "equivalence"]))
    if analysis in ("median difference", "MCP-Mod"):
        claim = "superiority"
    wide = draw(st.floats(0.05, 2.0))
    if claim == "margin":
        more["margin"] = f"{1 + wide:.3g}" if ratio else f"{10 * wide:.3g} %"
    elif claim == "equivalence":
        more["equivalence"] = (
            [f"{1 / (1 + wide):.3g}", f"{1 + wide:.3g}"] if ratio else [f"{s * wide} %" for s in (-9, 9)]
        )
    if claim != "superiority" and draw(st.booleans()):
        more["interval"] = "90 %"
    if analysis != "MCP-Mod" and draw(st.booleans()):
        more["against"] = draw(st.sampled_from(arms))
    return endpoint(name, analysis, role, **more)


@st.composite
def trials(draw: st.DrawFn) -> dict[str, Any]:
    """Tables of a trial file with endpoints, a procedure over several of them, and looks."""
    arms = ["placebo", "one", "two"][: draw(st.integers(2, 3))]
    specs = [
        draw(endpoints(f"E{k}", "primary" if k == 0 else "secondary", arms)) for k in range(draw(st.integers(1, 3)))
    ]
    tables: dict[str, Any] = {
        "months": 12, "endpoint": specs, "visits": {"BMD": [0, 6, 12], "markers": [0, 6, 12]},
        "arm": [arm(name, "denosumab" if name != "placebo" else "", doses=2) for name in arms],
        "conduct": {"fractures": True, "deaths": True, "enrolment": {"rate": "5 patients/mo"}},
    }  # fmt: skip
    tested = [spec["name"] for spec in specs if spec["analysis"] != "median difference"]
    if tested and draw(st.booleans()):
        method = draw(st.sampled_from(["fixed sequence", "Bonferroni", "Holm", "Hochberg"]))
        tables["multiplicity"] = {"method": method, "order": tested, "alpha": draw(st.sampled_from([0.05, 0.1]))}
    if tested and draw(st.booleans()):
        tables["conduct"]["looks"] = ["8 mo", "50 % completed"]
        plan: dict[str, Any] = {"endpoint": draw(st.sampled_from(tested)),
                                "spending": draw(st.sampled_from(["O'Brien-Fleming", "Pocock"]))}  # fmt: skip
        spec = next(spec for spec in specs if spec["name"] == plan["endpoint"])
        if draw(st.booleans()):
            hazard = spec["analysis"] in ("Cox", "log-rank")
            plan |= (
                {"planned_events": 12}
                if hazard
                else {"planned_error": "0.3" if spec["analysis"] in RATIOS or "exposure" in spec else "2 %"}
            )
        tables["interim"] = plan
    if "dose_response" not in specs[0] and draw(st.booleans()):
        tables["estimand"] = [{"name": "Q", "endpoint": "E0", "primary": True, "events": {}}]
    return tables


def study_of(trial: Trial, seed: int) -> StudyTables:
    """A small study with any effects and any shares of events, none and all among them."""
    rng = np.random.default_rng(seed)
    arms = [each.name for each in trial.arms]
    sizes = rng.choice([1, 2, 5, 12, 30], size=len(arms))
    group = rng.permutation(np.repeat(arms, sizes))
    n, number = group.size, np.arange(1, group.size + 1)
    shift = {name: rng.normal(0, 4) for name in arms}
    share = {name: rng.choice([0.0, 0.2, 0.6, 1.0]) for name in arms}
    last = np.where(rng.random(n) < 0.2, rng.uniform(1, 12, n), 12.0)
    patients = pd.DataFrame(
        {"patient": number, "arm": group, "stratum": rng.choice(["a", "b"], n), "last_month": last,
         "enrolled_month": np.sort(rng.uniform(0, 6, n)), "age": rng.normal(70, 5, n), "T_LS": -3.0, "T_TH": -2.5,
         "prevalent_fracture": rng.integers(0, 2, n), "eGFR": 70.0}
    )  # fmt: skip
    same = rng.random() < 0.15  # every patient is alike
    start = np.ones(n) if same else rng.normal(1, 0.1, n)
    rows = []
    for month in (0.0, 6.0, 12.0):
        for measure, spread in (("BMD_LS", 3.0), ("CTX", 20.0)):
            gain = np.array([shift[name] for name in group]) * month / 12 + (0 if same else rng.normal(0, spread, n))
            value = np.where(month <= last, start * (1 + gain * (month > 0) / 100), np.nan)
            rows.append(pd.DataFrame({"patient": number, "month": month, "measure": measure, "value": value}))
    wide = pd.concat(rows).pivot(index=["patient", "month"], columns="measure", values="value").reset_index()
    low = wide["CTX"] < 0.9  # below the limit of quantitation
    wide = wide.assign(CTX=wide["CTX"].mask(low, 0.9), CTX_BLQ=low)
    visits = wide.assign(actual_month=wide["month"], arm=group[wide["patient"] - 1])
    happened = []
    for event in ("hip", "vertebral"):
        hit = rng.random(n) < np.array([share[name] for name in group])
        when = rng.uniform(0.5, 12, n)
        seen = hit & (when <= last)
        happened.append(pd.DataFrame({"patient": number[seen], "event": event, "month": when[seen]}))
    gone = np.where(last < 12, rng.choice(["dropout", "death"], n), "completed")
    happened.append(pd.DataFrame({"patient": number, "event": gone, "month": last}))
    events = pd.concat(happened, ignore_index=True).assign(count=1, detail="")
    events["arm"] = group[events["patient"] - 1]
    return StudyTables(trial, {}, {"patients": patients, "visits": visits, "events": events})


def within(claim: Any, low: float, high: float) -> bool:
    """Whether an interval lies inside the limits of a claim."""
    return (claim.lower is None or low > claim.lower) and (claim.upper is None or high < claim.upper)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("claims")


@pytest.fixture(scope="module", autouse=True)
def _no_forests() -> Iterator[None]:
    """Subgroups decide nothing, and take half of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(results, "FORESTS", ())
        yield


@settings(max_examples=EXAMPLES, deadline=None, derandomize=EXAMPLES < 100,
          suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])  # fmt: skip
@given(tables=trials(), seed=st.integers(0, 2**32 - 1))
def test_conclusion_gate_boundary_and_interval_never_contradict_each_other(
    folder: Path, tables: dict[str, Any], seed: int
) -> None:
    trial = load_trial(trial_file(folder, **tables))
    study = study_of(trial, seed)
    analysed = results.analysed_endpoints(study)
    found = results.analyse(study, analysed)
    by_claim = results.endpoint_table(analysed).set_index(["endpoint", "arm"])
    said = found.endpoints.set_index(["endpoint", "arm"])["conclusion"]
    decided = found.multiplicity.set_index(["endpoint", "arm"])
    stops = found.stops.set_index("arm")
    looked_at = "" if trial.interim is None else trial.interim.endpoint
    for each in analysed:
        spec, claim = each.spec, each.spec.claim
        for name in trial.compared(spec):
            effect, here = each.effect(name), (spec.name, name)
            if effect is None:
                continue
            row = by_claim.loc[here]
            assert not effect.low == effect.high, "an interval without a width"
            # One claim, its interval and its p.
            shown = bool(row["shown"])
            if effect.tested:
                assert shown == (row["p_claim"] <= (1 - claim.level) * (1 + 1e-9))
                assert shown == within(claim, *effect.interval(claim.level))
                assert np.isfinite(row["p"])
                assert (row["p"] < 0.05) == (not effect.low <= effect.none <= effect.high)
            assert not (shown and row["harm"]), "harm is never a success"
            if shown and np.isfinite(effect.value):
                assert within(claim, effect.value, effect.value)
            # What is concluded is what the gate says, else the boundary, else the claim.
            if here in decided.index:
                final = bool(decided.loc[here, "rejected"])
                assert final <= (decided.loc[here, "p"] <= trial.multiplicity.alpha * (1 + 1e-9))
            elif spec.name == looked_at:
                final = bool(stops.loc[name, "rejected"])
            else:
                final = shown
            words = f"{said[here]};".replace(",", ";").replace(" (", ";")
            assert words.startswith(f"{SHOWN[claim.kind]};") == final, (said[here], final)
    for row in estimands.estimated(study):  # as the endpoint, unless another analysis answers
        one = by_claim.loc[row["endpoint"], row["arm"]]
        assert row["shown"] + row["harm"] != 2
        if (row["estimate"], row["low"], row["high"]) == (one["effect"], one["effect_low"], one["effect_high"]):
            assert (row["shown"], row["harm"]) == (one["shown"], one["harm"])
    for row in found.looks.to_dict("records"):
        if row["decision"] == UNTESTED:
            continue
        claim = trial.endpoint(looked_at).claim
        crossed = row["z"] >= row["boundary_z"]
        assert (row["decision"] == CROSSED) == crossed
        assert (row["decision"] == HARM) <= (row["z"] < 0)
        assert crossed == within(claim, row["repeated_low"], row["repeated_high"])
    for name, row in stops.iterrows():
        assert row["rejected"] == (row["decision"] == CROSSED)
        if (looked_at, name) in decided.index and np.isfinite(row["p_adjusted"]):
            assert row["rejected"] == (row["p_adjusted"] <= row["alpha"] * (1 + 1e-9))
