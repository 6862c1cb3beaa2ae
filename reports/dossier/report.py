"""The sections of the dossier: assessment of the evidence, and the model analysis report."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ranklsim.cohorts.protocol.midd import Midd
from ranklsim.cohorts.running.bundle import lock
from ranklsim.cohorts.running.execution import Prepared
from ranklsim.cohorts.words import listed
from ranklsim.pkpd.errors import counted
from ranklsim.reports.csr.context import BASELINE, Context
from ranklsim.reports.csr.unknowns import endpoint_words
from ranklsim.reports.dossier.applicability import INSIDE, sentence
from ranklsim.reports.dossier.assessment import COMPUTED, Judged, assessment_table, criteria_table
from ranklsim.reports.dossier.plan import Plan, arm_table, endpoint_table, estimand_tables, methods_in_words
from ranklsim.reports.layout.cells import Text, code, tag
from ranklsim.reports.layout.exhibit import Exhibit, Section
from ranklsim.reports.layout.page import table
from ranklsim.reports.layout.tables import DASH, num, p_value, sig, with_interval
from ranklsim.reports.qualify import installation
from ranklsim.reports.qualify.finding import FAIL, NOT_RUN, PASS, Qualification
from ranklsim.reports.qualify.show import results_table

SHOWN = 30
"""Rows of a list of differences in one file."""


@dataclass(frozen=True)
class Material:
    """Everything that the dossier is made of."""

    plan: Plan
    midd: Midd
    context: Context
    ready: Prepared
    judged: list[Judged]
    deviations: pd.DataFrame
    verified: Qualification | None
    applies: pd.DataFrame
    operating: pd.DataFrame | None

    def counts(self) -> str:
        """Criteria by result, in words."""
        n = {result: sum(one.result == result for one in self.judged) for result in (PASS, FAIL, NOT_RUN)}
        failed = "; ".join(one.criterion.name for one in self.judged if one.result == FAIL)
        return (
            f"Of {len(self.judged)} technical criteria, {n[PASS]} pass, {n[FAIL]} fail"
            f"{f' ({failed})' if failed else ''} and {n[NOT_RUN]} were not run."
        )

    def deviated(self) -> str:
        """Number of deviations, in words."""
        n = len(self.deviations)
        return "The run deviates in nothing from the plan." if not n else (
            f"The run deviates from the plan in {counted(n, 'point')}: "
            f"{'; '.join(self.deviations['item'].head(5))}{' and others' if n > 5 else ''}."
        )  # fmt: skip

    def verification(self) -> str:
        """The qualification, in words."""
        if self.verified is None:
            return "Verification is missing: no qualification was given (`ranklsim qualify`).".replace("`", "")
        facts = self.verified.facts
        where = f"ranklsim {facts['ranklsim']}, {facts['finished'][:10]}, {facts['machine']}"
        same = facts["fingerprint"] == installation.fingerprint()
        other = "" if same else " It is of another installation than the one that wrote this dossier."
        return f"{self.verified.sentence()} ({where}.){other}"


# -- deviations --------------------------------------------------------------------------------------------------------


def deviations(plan: Plan, manifest: Mapping[str, Any], inputs: Mapping[str, bytes]) -> pd.DataFrame:
    """In what a run differs from its plan.

    Parameters
    ----------
    plan : Plan
    manifest : mapping
        Of the run.
    inputs : mapping of str to bytes
        Files of its inputs.

    Returns
    -------
    DataFrame
        Columns `item`, `planned`, `done`; no row if nothing differs.
    """
    rows: list[tuple[str, str, str]] = []
    planned: Mapping[str, Any] = plan.facts["identity"]
    for key in ("seed", "patients", "layers", "rtol", "ranklsim", "libraries"):
        if planned[key] != manifest.get(key):
            rows.append((key, _words(planned[key]), _words(manifest.get(key))))
    if str(manifest["started"]) < str(plan.facts["written"]):
        rows.append(("order", f"plan written {plan.facts['written']}", f"run started {manifest['started']}, before it"))
    names = {name.removeprefix("inputs/") for name in plan.facts["files"]}
    for name in sorted(names | set(inputs)):
        path = plan.folder / "inputs" / name
        first, second = path.read_bytes() if path.is_file() else None, inputs.get(name)
        if first is None or second is None:
            rows.append(
                (name, "there" if first is not None else "not there", "there" if second is not None else "not there")
            )
        elif first != second:
            rows += _differences(name, first.decode(), second.decode())
    return pd.DataFrame(rows, columns=["item", "planned", "done"])


def _differences(name: str, planned: str, done: str) -> list[tuple[str, str, str]]:
    """Values that differ in a TOML file, or else lines."""
    if name.endswith(".toml"):
        one, two = (dict(_leaves(tomllib.loads(text))) for text in (planned, done))
        keys = [key for key in {**one, **two} if one.get(key) != two.get(key)]
        found = [(f"{name}: {key}", _words(one.get(key)), _words(two.get(key))) for key in keys]
    else:
        lines = [
            x
            for x in difflib.unified_diff(planned.splitlines(), done.splitlines(), n=0, lineterm="")
            if x[:2] not in ("--", "++", "@@")
        ]
        found = [(name, x[1:] if x[0] == "-" else "", x[1:] if x[0] == "+" else "") for x in lines]
    rest = [(name, "", f"{len(found) - SHOWN} more differences")] if len(found) > SHOWN else []
    return (found[:SHOWN] + rest) or [(name, "", "the same values, written in another way")]


def _leaves(data: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(data, dict):
        for key, value in data.items():
            yield from _leaves(value, f"{path}.{key}" if path else str(key))
    elif isinstance(data, list) and any(isinstance(value, dict) for value in data):
        for k, value in enumerate(data, 1):
            yield from _leaves(value, f"{path}[{k}]")
    else:
        yield path, data


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_words(own)}" for key, own in value.items())
    return "none" if value is None else "on" if value is True else "off" if value is False else str(value)


# -- sections ----------------------------------------------------------------------------------------------------------


def sections(m: Material) -> list[Section]:
    """The assessment of the evidence, and the report.

    Parameters
    ----------
    m : Material
    """
    makers = (_assessment, _summary, _introduction, _objectives, _methods, _results, _deviations, _evaluation,
              _discussion, _conclusions, _appendices)  # fmt: skip
    return [make(m, str(k)) for k, make in enumerate(makers, 1)]


def _computed(*sentences: str) -> list[Text]:
    return [f"Computed: {one}" for one in sentences if one]


def _assessment(m: Material, k: str) -> Section:
    section = Section(k, "Assessment of the evidence", "assessment")
    computed = {
        "verification": m.verification(),
        "validation": _validated(m),
        "applicability": sentence(m.applies),
        "evaluation": m.counts(),
        "outcome": f"{_primary(m)} {m.counts()} {m.deviated()}",
    }
    section.exhibits = [assessment_table(f"{k}.1", m.midd, computed)]
    return section


def _summary(m: Material, k: str) -> Section:
    section = Section(k, "Executive summary", "summary")
    section.key = [
        f"Question of interest: {m.midd.question or 'missing'}",
        *_computed(m.counts(), _primary(m), m.deviated()),
    ]
    section.exhibits = [criteria_table(f"{k}.1", m.judged)]
    return section


def _introduction(m: Material, k: str) -> Section:
    section = Section(k, "Introduction", "introduction")
    section.paragraphs = [
        f"Context of use (typed): {m.midd.context or 'missing'}",
        f"Appropriateness (typed): {m.midd.appropriateness or 'missing'}",
        f"The plan was written {m.plan.facts['written']}; its hash is {m.plan.hash}. The run was started "
        f"{m.context.data.manifest['started']}.",
    ]
    return section


def _objectives(m: Material, k: str) -> Section:
    section = Section(k, "Objectives", "objectives")
    trial = m.context.trial
    section.paragraphs = [trial.description] if trial.description else []
    section.exhibits = [endpoint_table(f"{k}.1", trial), *estimand_tables(f"{k}.2", trial)]
    return section


def _methods(m: Material, k: str) -> Section:
    section = Section(k, "Data and methods", "methods")
    section.paragraphs = methods_in_words(m.ready)
    section.exhibits = [arm_table(f"{k}.1", m.context.trial), _ademp(m, f"{k}.2")]
    return section


def _results(m: Material, k: str) -> Section:
    section = Section(k, "Results", "results")
    section.key = _computed(_primary(m))
    section.exhibits = [_population(m, f"{k}.1"), _endpoints(m, f"{k}.2")]
    if len(m.context.analyses.estimands):
        section.exhibits.append(_estimands(m, f"{k}.3"))
    if m.operating is not None:
        section.exhibits.append(_operating(m.operating, f"{k}.4"))
    return section


def _deviations(m: Material, k: str) -> Section:
    section = Section(k, "Deviations from the plan", "deviations")
    section.key = _computed(m.deviated())
    if len(m.deviations):
        section.exhibits = [
            table(f"{k}.1", "Deviations", m.deviations,
                  lambda row: {"Item": row["item"], "Planned": row["planned"], "Done": row["done"]},
                  "Found by comparing the inputs of plan and run.", widths=(28, 36, 36))
        ]  # fmt: skip
    return section


def _evaluation(m: Material, k: str) -> Section:
    section = Section(k, "Verification, validation and applicability", "evaluation")
    section.key = _computed(m.verification(), _validated(m), sentence(m.applies))
    if m.verified is not None:
        section.exhibits = [results_table(m.verified.results, f"{k}.2", "Requirements and results")]
    looks = {INSIDE: "calibrated"}

    def cells(row: dict[str, Any]) -> dict[str, Text]:
        return {"Part": row["part"], "Of": row["of"], "Asked": row["asked"], "Evidence": row["evidence"],
                "Verdict": tag(row["verdict"], looks.get(row["verdict"], "predicted"))}  # fmt: skip

    note = "Evidence: the published figures that ship. Population: means of study arms."
    section.exhibits.insert(0, table(f"{k}.1", "Applicability to the question", m.applies, cells, note))
    return section


def _discussion(m: Material, k: str) -> Section:
    section = Section(k, "Discussion", "discussion")
    register = assumption_register(m)
    swaying = register[register["decides"]]
    section.key = _computed(
        f"{len(register)} assumptions are registered; {len(swaying)} of them change whether a criterion is met"
        + (f": {listed(swaying['assumption'].head(6).tolist())}." if len(swaying) else ".")
    )
    section.exhibits = _registers(register, k)
    return section


def _conclusions(m: Material, k: str) -> Section:
    section = Section(k, "Conclusions", "conclusions")
    section.key = [*_computed(m.counts()), f"Typed by a person: {m.midd.conclusion or 'missing'}"]
    return section


def _appendices(m: Material, k: str) -> Section:
    section = Section(k, "Appendices", "appendices")
    manifest = m.context.data.manifest
    section.paragraphs = [
        "The archive run.zip beside this page repeats the run and compares every file: ranklsim reproduce run.zip.",
        f"Seed {manifest['seed']}; parameters {manifest['parameters_hash']}; checksum of the run "
        f"{manifest['checksum']}.",
    ]
    files = pd.DataFrame(
        [(name, kept["sha256"]) for name, kept in manifest["files"].items()], columns=["file", "sha256"]
    )
    libraries = pd.DataFrame([line.split("==") for line in lock(manifest).splitlines()], columns=["library", "version"])
    section.exhibits = [
        _parameters(m, f"{k}.1"),
        table(f"{k}.2", "Files of the run", files, lambda row: {"File": row["file"], "SHA-256": code(row["sha256"])},
              "From the manifest of the run."),
        table(f"{k}.3", "Libraries", libraries, lambda row: {"Library": row["library"], "Version": row["version"]},
              "As in lock.txt of the archive.", folded=True),
    ]  # fmt: skip
    return section


# -- exhibits and sentences --------------------------------------------------------------------------------------------


def _primary(m: Material) -> str:
    """The primary endpoint by arm, as a sentence."""
    rows = m.context.analyses.endpoints
    rows = rows[(rows["role"] == "primary") & rows["effect"].notna()]
    parts = [
        f"{m.context.by_name[row.arm].label} against {m.context.by_name[row.against].label}: "
        f"{with_interval(row.effect, row.effect_low, row.effect_high)}"
        for row in rows.itertuples()
        if row.arm in m.context.by_name and row.against in m.context.by_name
    ]
    return f"{rows['endpoint'].iloc[0]}: {'; '.join(parts)}." if parts else ""


def _validated(m: Material) -> str:
    if m.verified is None:
        return "Validation is missing: no qualification was given."
    own = m.verified.results[m.verified.results["group"] == "published trials"]
    counts = own["result"].value_counts().to_dict()
    return f"Requirements on published trials: {', '.join(f'{n} {result}' for result, n in counts.items())}."


def _ademp(m: Material, number: str) -> Exhibit:
    """The simulation-study protocol in the form of Morris, White and Crowther (Stat Med 2019;38:2074-102)."""
    trial = m.context.trial
    named = [one.name for one in trial.estimands]
    twins = int(m.context.data.twins["patient"].nunique()) if named else 0
    many = (
        "given by ranklsim replicate, among the results"
        if m.operating is not None
        else "missing: no folder of ranklsim replicate was given"
    )
    rows = [
        ("Aims", m.midd.question or "missing"),
        ("Data-generating mechanisms", f"The model with its default parameters, {trial.population.name}, "
         f"{trial.population.patients} patients; conduct as in the trial's file; {m.context.n_draws} vectors of "
         "unknown parameters."),
        ("Estimands", listed(named) or "none: the endpoints of the trial's file"),
        ("Methods", listed(sorted({one.analysis for one in trial.endpoints}))),
        ("Performance measures", f"One study: estimate less truth, with the Monte-Carlo error of the truth ({twins} "
         f"twins). Many studies (bias, coverage, power, type I error, each with Monte-Carlo error): {many}."),
    ]  # fmt: skip
    return table(number, "Simulation-study protocol (ADEMP)", pd.DataFrame(rows, columns=["part", "content"]),
                 lambda row: {"Part": row["part"], "Content": row["content"]},
                 "Form: Morris TP, White IR, Crowther MJ. Stat Med 2019;38:2074-102.", widths=(25, 75))  # fmt: skip


def _population(m: Material, number: str) -> Exhibit:
    patients = m.context.data.patients
    rows = []
    for name, (label, unit, _) in BASELINE.items():
        if name in patients:
            own = patients[name].astype(float)
            rows.append((f"{label}{f', {unit}' if unit else ''}", own.mean(), own.std(), own.min(), own.max()))
    frame = pd.DataFrame(rows, columns=["covariate", "mean", "sd", "least", "most"])

    def cells(row: dict[str, Any]) -> dict[str, Text]:
        return {"Covariate": row["covariate"], **{name.upper() if name == "sd" else name.capitalize(): num(row[name], 2)
                for name in ("mean", "sd", "least", "most")}}  # fmt: skip

    who = f"{len(patients)} virtual patients of {m.context.trial.population.name}, all arms together, at baseline."
    return table(number, "Virtual population", frame, cells, who, numeric=("Mean", "SD", "Least", "Most"))


def _endpoints(m: Material, number: str) -> Exhibit:
    frame = m.context.analyses.endpoints
    over = m.context.endpoints

    def cells(row: dict[str, Any]) -> dict[str, Text]:
        same = over[(over["endpoint"] == row["endpoint"]) & (over["arm"] == row["arm"])] if len(over) else over
        unknown = (
            same[["parameter_median", "parameter_low", "parameter_high"]].iloc[0].tolist()
            if len(same)
            else [np.nan] * 3
        )
        return {
            "Endpoint": row["endpoint"],
            "Arm": m.context.by_name[row["arm"]].label,
            "Estimate (95% CI)": with_interval(row["estimate"], row["low"], row["high"]),
            "Effect (95% CI)": with_interval(row["effect"], row["effect_low"], row["effect_high"]),
            "p": p_value(row["p"]),
            "Unknown parameters (90%)": with_interval(*unknown),
        }

    note = (
        f"{COMPUTED} Unknown parameters: median and 90% interval of the typical patient's result over parameter "
        "vectors that agree with published figures."
    )
    return table(number, "Endpoints", frame, cells, note, group="Endpoint")


def _estimands(m: Material, number: str) -> Exhibit:
    frame = m.context.analyses.estimands

    def cells(row: dict[str, Any]) -> dict[str, Text]:
        return {
            "Estimand": row["estimand"],
            "Arm": m.context.by_name[row["arm"]].label,
            "Estimate (95% CI)": with_interval(row["estimate"], row["low"], row["high"]),
            "Truth (Monte-Carlo error)": f"{num(row['truth'])} ({num(row['truth_error'])})",
            "Estimate less truth": num(row["bias"]),
            "Truth in the interval": DASH if pd.isna(row["covered"]) else "yes" if row["covered"] else "no",
            "Twins": sig(row["twins"]),
        }

    return table(
        number,
        "Estimands beside the truth",
        frame,
        cells,
        f"{COMPUTED} Truth: from counterfactual twins.",
        group="Estimand",
    )


OPERATING = {"endpoint": "Endpoint", "estimand": "Estimand", "arm": "Arm", "patients": "Patients", "quantity": "Of",
             "measure": "Measure", "value": "Value", "mc_se": "Monte-Carlo error", "studies": "Studies"}  # fmt: skip
"""Columns of a replicate's ``operating.csv`` that the dossier shows, with their heads."""


def _operating(frame: pd.DataFrame, number: str) -> Exhibit:
    """Operating characteristics at the default values of the parameters."""
    shown = frame.loc[frame["vector"] == 0, list(OPERATING)].reset_index(drop=True)

    def cells(row: dict[str, Any]) -> dict[str, Text]:
        return {head: sig(row[c]) if isinstance(row[c], float) else str(row[c]) for c, head in OPERATING.items()}

    note = "From ranklsim replicate, at the default values of the parameters."
    return table(number, "Operating characteristics", shown, cells, note, folded=len(shown) > 40)


def assumption_register(m: Material) -> pd.DataFrame:
    """Assumptions with their impact on the decision.

    The impact of a drawn parameter is the median of the primary result over the vectors in the lowest and in the
    highest third of its values; that of a structure is the result under it. An assumption decides where
    these differ in whether a criterion on that result and arm is met.

    Parameters
    ----------
    m : Material

    Returns
    -------
    DataFrame
        Columns `kind`, `assumption`, `meaning`, `arm`, `one`, `other`, `rho`, `beyond_chance`,
        `decides`, `source`.
    """
    c = m.context
    columns = ["kind", "assumption", "meaning", "arm", "one", "other", "rho", "beyond_chance", "decides", "source"]
    rows: list[tuple[Any, ...]] = []
    if c.primary is not None and len(c.importance):
        own_value = ("estimate", "low", "high") if c.control is None else ("effect", "effect_low", "effect_high")
        kinds = (*own_value, "parameter_low", "parameter_high")
        about = [one.criterion for one in m.judged if one.criterion.endpoint == c.primary.name]
        rules = [one for one in about if one.what in kinds]
        draws = c.by_draw(c.primary)
        told = c.parameters.set_index("symbol")
        for arm in [a.name for a in c.arms if a.name != c.control]:
            own = draws[draws["arm"] == arm].set_index("draw")[c.result_column]
            own = own[own.index != 0]
            decide = [rule for rule in rules if rule.arm == arm]
            for row in c.importance[c.importance["arm"] == arm].itertuples():
                values = c.drawn[row.symbol].reindex(own.index)
                low, high = (
                    own[values <= values.quantile(1 / 3)].median(),
                    own[values >= values.quantile(2 / 3)].median(),
                )
                source = str(told["source"].get(row.symbol, "")) if row.symbol in told.index else "the agent's file"
                rows.append(("parameter", row.symbol, row.meaning, arm, low, high, row.rho, bool(row.beyond_chance),
                             any(rule.met(low) != rule.met(high) for rule in decide), source))  # fmt: skip
            words = endpoint_words(c.primary, c.reference(c.primary))
            others = c.by_structure[(c.by_structure["arm"] == arm) & (c.by_structure["result"] == words)]
            default = others.loc[others["variant"] == "", "value"]
            for row in others[others["variant"] != ""].itertuples():
                one = float(default.iloc[0]) if len(default) else np.nan
                differs = any(rule.met(one) != rule.met(row.value) for rule in decide)
                rows.append(("structure", row.variant, "structural variant of the model", arm, one, row.value, np.nan,
                             False, differs, "docs/model.md"))  # fmt: skip
    return pd.DataFrame(rows, columns=columns).astype({"decides": bool, "beyond_chance": bool})


def _registers(register: pd.DataFrame, k: str) -> list[Exhibit]:
    """The register: what decides or correlates beyond chance, and structures; then the rest, on demand."""
    if register.empty:
        why = "The run has no parameter vectors: its layer “parameters” is off, or no primary endpoint is a change."
        frame = pd.DataFrame([{"assumption": "missing"}])
        return [
            table(f"{k}.1", "Assumption register", frame, lambda _: {"Assumption": tag("missing", "predicted")}, why)
        ]

    def cells(row: dict[str, Any]) -> dict[str, Text]:
        return {
            "Arm": row["arm"],
            "Assumption": code(row["assumption"]),
            "Meaning": row["meaning"],
            "Result": f"{num(row['one'])} to {num(row['other'])}",
            "ρ": num(row["rho"]),
            "Impact": tag("decides", "predicted") if row["decides"] else "does not decide",
            "Source": row["source"],
        }

    note = (
        "Result: median of the primary result over the vectors in the lowest and the highest third of a parameter; the "
        "default and another structure. ρ: rank correlation. Decides: a criterion on this result is met at one end "
        "only. Parameters that were not drawn have no computed impact; the appendices list them."
    )
    matter = register["decides"] | register["beyond_chance"] | (register["kind"] == "structure")
    parts = (("Assumption register: beyond chance, deciding, and structures", register[matter], False),
             ("Assumption register: the other parameters that were varied", register[~matter], True))  # fmt: skip
    return [
        table(f"{k}.{i}", title, own.drop(columns="beyond_chance").reset_index(drop=True), cells, note, group="Arm",
              folded=folded, widths=(14, 28, 15, 7, 12, 24))
        for i, (title, own, folded) in enumerate(((t, o, f) for t, o, f in parts if len(o)), 1)
    ]  # fmt: skip


def _parameters(m: Material, number: str) -> Exhibit:
    frame = m.context.parameters.assign(drawn=m.context.parameters["symbol"].isin(list(m.context.drawn.columns)))
    frame = frame[["symbol", "meaning", "value", "unit", "low", "high", "status", "drawn", "source", "doi"]]

    def cells(row: dict[str, Any]) -> dict[str, Text]:
        return {
            "Symbol": code(row["symbol"]),
            "Meaning": row["meaning"],
            "Value": sig(row["value"]),
            "Unit": str(row["unit"]),
            "Range": f"{sig(row['low'])} to {sig(row['high'])}",
            "Status": f"{row['status']}{', drawn' if row['drawn'] else ''}",
            "Source": " ".join(str(v) for v in (row["source"], row["doi"]) if not pd.isna(v)),
        }

    note = "As in parameters.csv of the run."
    return table(number, "Parameters with their provenance", frame, cells, note, folded=True,
                 widths=(12, 24, 8, 9, 13, 11, 23))  # fmt: skip
