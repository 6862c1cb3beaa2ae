"""Any trial that runs has a report in every format, a comparison and CDISC data sets: generated trials."""

from __future__ import annotations

import re
import shutil
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from helpers import change, endpoint, trial_text
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from ranklsim.cohorts.protocol.trial import load_trial
from ranklsim.cohorts.running.execution import run
from ranklsim.pkpd.errors import BadInput
from ranklsim.reports.cdisc.export import write_cdisc
from ranklsim.reports.csr.report import write_report
from ranklsim.reports.pages.compare import write_comparison

AGENTS: dict[str, dict[str, Any]] = {
    "placebo": {"agent": "placebo", "every": "3 mo", "doses": 2},
    "denosumab": {"agent": "denosumab", "dose": "60 mg", "every": "6 mo", "doses": 1},
    "selective": {"agent": "mrankl-selective", "dose": "60 mg", "every": "2 mo", "doses": 3},
    "zoledronate": {"agent": "zoledronate", "dose": "5 mg", "doses": 1},
    "alendronate": {"agent": "alendronate", "dose": "70 mg", "every": "1 wk", "doses": 20},
    "later": {"agent": "denosumab", "dose": "60 mg", "start": "2 mo", "doses": 1},
}
SCRIPTS = ["安慰剂", "דנוסומאב 60", "ديnosumab", "é̂ z͑algo", "😀 🦴", "Ωmega µg μg", "=1+1", "a" * 300,
           "x\u00a0y", "‮rtl",
           "<b>&amp;", "日本語 60 mg", "ﬁne", "Ünïcode", "plain", "-", "“quoted”", "#5; a, b", "|"]  # fmt: skip
LABELS = st.one_of(
    st.sampled_from(SCRIPTS),
    st.text(st.characters(exclude_categories=("Cc", "Cs", "Cn", "Co", "Zl", "Zp", "Cf")), min_size=1, max_size=40),
)
BMD, MARKERS = ("BMD_LS", "BMD_TH", "BMD_FN", "BMD_R13"), ("CTX", "P1NP", "TRAP5B", "BSAP", "CA", "PTH")
ROLES = st.sampled_from(["primary", "key secondary", "secondary", "exploratory"])
SHARE = st.sampled_from(["1 %/yr", "20 %/yr", "99 %/yr"])
LAYERS = st.fixed_dictionaries({}, optional=dict.fromkeys(("patients", "residual", "parameters"), st.booleans()))


@st.composite
def conducts(draw: st.DrawFn) -> dict[str, Any]:
    """A table [conduct], which any key may be in."""
    rescue = {"when": ["T_TH < -1"], "after": "3 mo", "agent": "zoledronate", "dose": "5 mg"}
    switch = [{"at": "4 mo", "share": "50 %", "agent": "alendronate", "dose": "70 mg", "every": "1 wk"}]
    optional: dict[str, st.SearchStrategy[Any]] = {
        "dropout": SHARE,
        "stop_treatment": SHARE,
        "missed_doses": st.sampled_from(["3 %", "90 %"]),
        "late_doses": st.just({"share": "50 %", "median": "3 wk", "p95": "4 mo"}),
        "visit_window": st.sampled_from(["1 day", "14 day"]),
        "rescue": st.just(rescue),
        "switch": st.just(switch),
        "enrolment": st.just({"rate": "2 patients/mo"}),
        "fractures": st.booleans(),
        "deaths": st.booleans(),
        "hypocalcaemia": st.booleans(),
        "supplements": st.booleans(),
    }
    return draw(st.fixed_dictionaries({}, optional=optional))


@st.composite
def endpoints(draw: st.DrawFn, name: str, visits: dict[str, list[int]], months: int, events: list[str]) -> Any:
    """An endpoint of a kind that the visits and the conduct allow."""
    measures = [(of, visits["BMD"]) for of in BMD] + [(of, visits["markers"]) for of in MARKERS]
    seen = [(of, at) for of, at in measures if len(at) > 1]
    kinds = [*(["change", "responder", "durability"] if seen else []), *(["event", "rate"] if events else [])]
    kinds += ["exposure"] if len(visits["markers"]) > 2 else []
    assume(kinds)
    kind = draw(st.sampled_from(kinds))
    base = {"name": name, "role": "primary" if name == "E0" else draw(ROLES)}
    if kind in ("change", "responder", "durability"):
        of, at = draw(st.sampled_from(seen))
    if kind == "change":
        how = draw(st.sampled_from(["MMRM", "ANCOVA", "mean difference", "median difference"]))
        scale = draw(st.sampled_from(["percent", "absolute"]))
        return base | {"analysis": how, "change": {"of": of, "from": "0 mo", "to": f"{at[-1]} mo", "as": scale}}
    if kind == "responder":
        how = draw(st.sampled_from(["Miettinen-Nurminen", "Mantel-Haenszel", "logistic"]))
        gain = draw(st.sampled_from([">= 3 %", "<= -50 %", ">= -90 %"]))
        return base | {"analysis": how, "responder": {"of": of, "at": f"{at[-1]} mo", "gain": gain}}
    if kind == "durability":
        what = draw(st.sampled_from(["months back", "area"] if of in BMD else ["peak", "peak month", "area"]))
        return base | {"analysis": "bootstrap", "durability": {"of": of, "what": what}}
    if kind == "exposure":
        area = {"of": draw(st.sampled_from(["CTX", "P1NP"])), "what": "AUEC", "to": f"{visits['markers'][-1]} mo"}
        return base | {"analysis": "ANCOVA", "exposure": area}
    event = {"of": draw(st.sampled_from(events)), "by": f"{months} mo"}
    if kind == "rate":
        return base | {"analysis": "negative binomial", "rate": event}
    how = draw(st.sampled_from(["Cox", "log-rank", "Fine-Gray", "Gray", "cumulative incidence", "Mantel-Haenszel",
                                "logistic"]))  # fmt: skip
    return base | {"analysis": how, "event": event}


@st.composite
def trials(draw: st.DrawFn) -> str:
    """TOML of a tiny trial: any mix of arms, endpoints, visits, conduct, estimands and layers."""
    months = draw(st.sampled_from([6, 12, 18]))
    later = st.lists(st.integers(1, months), max_size=2, unique=True).map(sorted)
    visits = {kind: [0, *draw(later)] for kind in ("BMD", "markers")}
    picked = draw(st.lists(st.sampled_from(sorted(AGENTS)), min_size=1, max_size=3, unique=True))
    arms = [{"name": name, "label": draw(LABELS), "regimen": [AGENTS[name]]} for name in picked]
    conduct = draw(conducts())
    events = [
        *(["vertebral", "clinical_vertebral", "hip", "nonvertebral"] if conduct.get("fractures") else []),
        *(["death"] if conduct.get("deaths") else []),
        *(["hypocalcaemia"] if conduct.get("hypocalcaemia") else []),
    ]
    names = [f"E{k}" for k in range(draw(st.integers(1, 4)))]
    made = [draw(endpoints(name, visits, months, events)) for name in names]
    more: dict[str, Any] = {}
    if len(picked) > 1 or draw(st.booleans()):
        more["control"] = picked[0]
    else:
        more["control"] = None
    if len(picked) > 1 and made[0]["analysis"] != "bootstrap" and draw(st.booleans()):
        held = draw(
            st.lists(st.sampled_from(["dropout", "stopped", "death", "rescue", "switch"]), max_size=2, unique=True)
        )
        keys = {"dropout": "dropout", "stopped": "stop_treatment", "death": "deaths"}
        failing = [] if "exposure" in made[0] else ["composite"]
        ways = st.sampled_from(["treatment policy", "hypothetical", "while on treatment", *failing])
        strategies = {ice: draw(ways) for ice in held if conduct.get(keys.get(ice, ice))}
        more["estimand"] = [{"name": "Q", "endpoint": names[0], "primary": True, "events": strategies}]
    if len(picked) > 1 and draw(st.booleans()):
        how = draw(st.sampled_from(["fixed sequence", "Bonferroni", "Holm", "Hochberg"]))
        tested = [each["name"] for each in made if each["analysis"] not in ("median difference", "bootstrap")]
        if tested:
            more["multiplicity"] = {"method": how, "order": tested[:2]}
    if draw(st.booleans()):
        more["per_protocol"] = {"missed_doses": "20 %", "visit": "1 mo"}
    if len(picked) > 1 and any(each["analysis"] == "MMRM" or "responder" in each for each in made):
        more["tipping_point"] = {} if draw(st.booleans()) else None
    if len(picked) > 1 and draw(st.booleans()):
        conduct = conduct | {"enrolment": {"rate": "2 patients/mo"}, "looks": [f"{months} mo", "50 % completed"]}
        more["interim"] = {"spending": draw(st.sampled_from(["O'Brien-Fleming", "Pocock"]))}
    population = {
        "patients": draw(st.integers(len(picked), 9)),
        "strata": draw(st.sampled_from([[], ["age >= 72 yr"]])),
    }
    return trial_text(
        title=draw(LABELS), months=months, arm=arms, visits=visits, endpoint=made, conduct=conduct, layers=draw(LAYERS),
        twins=3, population=population, uncertainty_draws=draw(st.integers(1, 3)), seed=draw(st.integers(0, 99)),
        **more,
    )  # fmt: skip


def everything(text: str, folder: Path) -> list[str]:
    """Run a trial and write all that can be written of it; what is said of the data sets. A warning is an error."""
    path, said = folder / "t.toml", list[str]()
    path.write_text(text, encoding="utf-8")
    run(str(path), folder / "run")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        page = write_report(folder / "run", formats=("html", "docx", "rtf")).read_text(encoding="utf-8")
        assert not re.search(r"<tbody>\s*</tbody>", page), "an empty table"
        shutil.copytree(folder / "run", folder / "other")
        write_comparison([folder / "run", folder / "other"], folder / "compared")
        write_cdisc(folder / "run", folder / "adam", tell=said.append)
    return said


YEAR = {"months": 12, "uncertainty_draws": 2, "visits": {"BMD": [0, 12], "markers": [0, 12]}}
FRACTURES = endpoint("F", "Cox", "primary", event={"of": "vertebral", "by": "12 mo"})
PAIR = [{"name": name, "regimen": [AGENTS[name]]} for name in ("placebo", "denosumab")]
SOLE = [{"name": "placebo", "regimen": [AGENTS["placebo"]]}]
OFF = dict.fromkeys(("patients", "residual", "parameters"), False)
CASES: dict[str, dict[str, Any]] = {
    "fractures only": YEAR | {"arm": PAIR, "endpoint": [FRACTURES], "conduct": {"fractures": True}},
    "placebo alone": YEAR | {"arm": SOLE, "endpoint": [change("E", "MMRM", to=12)]},
    "responders only": YEAR | {"arm": PAIR, "endpoint": [
        endpoint("R", "logistic", "primary", responder={"of": "BMD_TH", "at": "12 mo", "gain": ">= 3 %"})]},
    "visits at month 0 only": YEAR | {"arm": PAIR, "visits": {"BMD": [0], "markers": [0]}, "endpoint": [FRACTURES],
                                      "conduct": {"fractures": True}},
    "one patient, all layers off": YEAR | {"arm": SOLE, "control": None, "endpoint": [change("E", "MMRM", to=12)],
                                           "population": {"patients": 1}, "layers": OFF},
    "nobody left": YEAR | {"arm": PAIR, "endpoint": [change("E", "MMRM", to=12)], "population": {"patients": 2},
                           "conduct": {"dropout": "99 %/yr", "dropout_arms": {"placebo": 50, "denosumab": 50}}},
    "exposure of nobody per protocol": YEAR | {"arm": SOLE, "control": None, "population": {"patients": 3},
        "visits": {"BMD": [0, 12], "markers": [0, 6, 12]}, "conduct": {"missed_doses": "90 %"},
        "endpoint": [endpoint("E", "ANCOVA", "primary", exposure={"of": "CTX", "what": "AUEC", "to": "12 mo"})],
        "per_protocol": {"missed_doses": "1 %", "visit": "1 mo"}},
    "labels in other scripts": YEAR | {"title": "安慰剂 😀" * 99, "endpoint": [change("דנוסומאב", to=12)],
                                       "arm": [PAIR[0] | {"label": "安慰剂"}, PAIR[1] | {"label": "ديnosumab " * 20}]},
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_trial_with_little_in_it_has_a_report_a_comparison_and_data_sets(name: str, tmp_path: Path):
    everything(trial_text(**{"population": {"patients": 6}} | CASES[name]), tmp_path)


@pytest.mark.slow
@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
@given(text=trials())
def test_any_trial_that_runs_has_a_report_a_comparison_and_data_sets(text: str):
    with TemporaryDirectory() as folder:
        (Path(folder) / "t.toml").write_text(text, encoding="utf-8")
        try:
            load_trial(Path(folder) / "t.toml")
        except BadInput:
            assume(False)
        everything(text, Path(folder))
