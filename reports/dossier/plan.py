"""``ranklsim plan``: the model analysis plan, written before the run and sealed by hashes.

`plan.json` holds what the run must have in common with the plan (as a resumed run must), the SHA-256 of every input and
document, and a hash of all of that. Whoever changes a file is found by its hash; whoever makes all hashes anew is found
by the hash of the plan as it was filed elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from ranklsim.cohorts.protocol.midd import Midd
from ranklsim.cohorts.protocol.trial import Trial, load_trial
from ranklsim.cohorts.running.execution import Prepared, prepare
from ranklsim.cohorts.words import listed, month_text
from ranklsim.pkpd import arguments
from ranklsim.pkpd.errors import BadInput, counted
from ranklsim.pkpd.evidence.records import load_evidence
from ranklsim.pkpd.parameters import PARAMETERS, ParametersLike
from ranklsim.pkpd.reading import file_name, parse_json, read_content
from ranklsim.reports.dossier.assessment import assessment_table, criteria_table
from ranklsim.reports.layout.exhibit import Exhibit, Section
from ranklsim.reports.layout.folders import check_folder, new_folder
from ranklsim.reports.layout.page import Page, table
from ranklsim.reports.layout.word import write_word

MARK = "ranklsim-plan"
RECORD, PAGE, DOCUMENT, INPUTS = "plan.json", "index.html", "plan.docx", "inputs"
FORMAT = 1


@dataclass(frozen=True)
class Plan:
    """A plan in its folder, checked against its hashes.

    Attributes
    ----------
    folder : Path
    facts : dict
        The content of `plan.json`.
    """

    folder: Path
    facts: dict[str, Any]

    @property
    def hash(self) -> str:
        """The hash of the plan (SHA-256, hexadecimal)."""
        return str(self.facts["hash"])

    @property
    def trial(self) -> Trial:
        """The trial as planned."""
        inputs = self.folder / INPUTS
        return load_trial(inputs / "trial.toml", folder=inputs / "agents", populations=inputs / "population")

    @property
    def midd(self) -> Midd:
        """What a person said."""
        return self.trial.midd or Midd()


@arguments.checked(
    trial=arguments.instance(Trial, or_else=arguments.path),
    out=arguments.path,
    patients=arguments.PATIENTS,
    seed=arguments.SEED,
    layers=arguments.layers,
    parameters=PARAMETERS,
    force=arguments.flag,
    command=arguments.COMMAND,
)
def plan(
    trial: Trial | str | Path,
    out: str | os.PathLike[str],
    *,
    patients: int | None = None,
    seed: int | None = None,
    layers: Mapping[str, bool] | Sequence[str] | None = None,
    parameters: ParametersLike = None,
    force: bool = False,
    command: str = "",
) -> Plan:
    """Write the model analysis plan of a trial, before it is run.

    Parameters
    ----------
    trial, patients, seed, layers, parameters
        As of `ranklsim.run`. The trial's file says in [midd] what a person must say; what is missing is marked.
    out : path
        Folder of the plan: ``index.html``, ``plan.docx``, ``plan.json`` with the hashes, and all inputs.
    force : bool
        Whether to replace an earlier plan in `out`.
    command : str
        What the user typed, for the record.

    Returns
    -------
    Plan

    Raises
    ------
    BadInput
        If an input is wrong, or the folder holds something else.
    """
    target = Path(out)
    inside = {path.relative_to(target).as_posix() for path in (target / INPUTS).rglob("*")}
    check_folder(target, f'content="{MARK}"', {RECORD, PAGE, DOCUMENT} | inside, force, noun="a plan")
    ready = prepare(trial, patients, seed, layers, parameters)
    files = {f"{INPUTS}/{name}": hashlib.sha256(content).hexdigest() for name, content in ready.frozen.items()}
    said: dict[str, Any] = {
        "format": FORMAT,
        "simulated": "This plan is about simulated data; no patient takes part.",
        "title": ready.trial.title,
        "identity": ready.identity,
        "files": files,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command or "ranklsim.plan(...)",
    }
    said["hash"] = _hash(said)
    page = Page(
        mark=MARK,
        kind="Model analysis plan",
        title=ready.trial.title,
        meta=f"Written {said['written']}, before the run · hash {said['hash']}",
        keyhead="The plan",
        footer=f"ranklsim {ready.identity['ranklsim']}. Plan {said['hash'][:12]}. All patients will be simulated.",
    )
    parts = _sections(ready, said)
    with new_folder(target) as work:
        for name, content in ready.frozen.items():
            path = work / INPUTS / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        page.write(work, parts)
        write_word(work / DOCUMENT, page.title, page.meta, page.footer, str(said["written"]), parts,
                   subject="Model analysis plan")  # fmt: skip
        said["documents"] = {name: hashlib.sha256((work / name).read_bytes()).hexdigest() for name in (PAGE, DOCUMENT)}
        said["seal"] = _hash(said)
        (work / RECORD).write_text(json.dumps(said, indent=1, ensure_ascii=False) + "\n", encoding="utf-8", newline="")
    return Plan(target, said)


def read_plan(folder: Path) -> Plan:
    """A plan, after every hash was compared.

    Parameters
    ----------
    folder : Path

    Raises
    ------
    BadInput
        If the folder holds no plan, or one that was altered after it was written (every altered file is named).
    """
    path = folder / RECORD
    if not path.is_file():
        raise BadInput(f"{folder}: holds no plan; write one before the run: `ranklsim plan TRIAL -o DIR`.")
    said = parse_json(str(path), read_content(path))
    wrong = f"{path}: was altered after it was written; bring the original back, or plan and run again."
    if not isinstance(said, dict) or said.get("format") != FORMAT or not {"hash", "seal", "identity"} <= set(said):
        raise BadInput(wrong)
    content = {key: value for key, value in said.items() if key not in ("hash", "seal", "documents")}
    if said["hash"] != _hash(content) or said["seal"] != _hash({k: v for k, v in said.items() if k != "seal"}):
        raise BadInput(wrong)
    faults = []
    for name, digest in {**said["files"], **said["documents"]}.items():
        inside = all(file_name(part) for part in name.split("/"))
        one = folder / name
        if not inside or not one.is_file() or hashlib.sha256(one.read_bytes()).hexdigest() != digest:
            faults.append(f"{one}: was altered after the plan was written; bring the original back, or plan again.")
    if faults:
        raise BadInput(*faults)
    return Plan(folder, said)


def _hash(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


# -- the document ------------------------------------------------------------------------------------------------------


def _sections(ready: Prepared, said: Mapping[str, Any]) -> list[Section]:
    trial, midd = ready.trial, ready.trial.midd or Midd()
    first = Section("1", "Introduction", "introduction")
    first.key = [f"Question of interest: {midd.question or 'missing'}"]
    first.paragraphs = [
        f"This plan was written before the run. Its hash is {said['hash']}; file it elsewhere, since only that "
        "shows later that the plan is still the one written now.",
        f"[midd] is what a person typed in the trial's file. {'' if trial.midd else 'This trial has no [midd]. '}"
        "What is missing is marked.",
    ]
    first.exhibits = [assessment_table("1.1", midd)]
    goals = Section("2", "Objectives", "objectives")
    goals.paragraphs = [trial.description] if trial.description else []
    goals.exhibits = [endpoint_table("2.1", trial), *estimand_tables("2.2", trial)]
    methods = Section("3", "Data and methods", "methods")
    methods.paragraphs = methods_in_words(ready)
    methods.exhibits = [arm_table("3.1", trial), _inputs("3.2", said)]
    evaluation = Section("4", "Planned evaluation", "evaluation")
    evaluation.paragraphs = [
        "Verification: ranklsim qualify on the machine that makes the run. Validation: its requirements on published "
        "trials. Applicability: agents, doses, durations and population of the trial beside those of the published "
        "figures. Unknown parameters: the primary endpoint over parameter vectors that agree with published figures, "
        "and under each structural variant of the model.",
        "Deviations from this plan are found by comparing its inputs with those of the run; the report lists them.",
    ]
    criteria = Section("5", "Technical criteria", "criteria")
    criteria.exhibits = [criteria_table("5.1", midd.criteria)]
    return [first, goals, methods, evaluation, criteria]


def methods_in_words(ready: Prepared) -> list[str]:
    """Data and methods of a run as sentences.

    Parameters
    ----------
    ready : Prepared
        As from `prepare`.
    """
    trial, seen = ready.trial, load_evidence().observations
    layers = listed([name for name, on in vars(trial.layers).items() if on]) or "none"
    counts = ready.parameters.frame["status"].value_counts()
    draws = int((ready.draws["draw"] != 0).sum())
    return [
        f"Data: the model was fitted to published figures: {counted(len(seen), 'figure')} of "
        f"{counted(seen['study'].nunique(), 'study')} ship with it. No data of single patients are used.",
        f"Model: differential equations of drug, RANKL by form and source, bone cells, markers and bone at four sites, "
        f"with {counted(len(ready.parameters.frame), 'parameter')}: "
        f"{listed([f'{int(n)} {status}' for status, n in counts.items()])}.",
        f"Simulation: {trial.population.patients} virtual patients of the population {trial.population.name} in "
        f"{counted(len(trial.arms), 'arm')} over {trial.months:g} months, seed {trial.seed}; sources of variation "
        f"that are on: {layers}. Unknown parameters: {counted(draws, 'vector')}. Relative error of one integration "
        f"step: {ready.identity['rtol']:g}.",
        f"Software: ranklsim {ready.identity['ranklsim']} with "
        f"{listed([f'{name} {v}' for name, v in ready.identity['libraries'].items()])}.",
    ]


def endpoint_table(number: str, trial: Trial) -> Exhibit:
    """The endpoints of a trial.

    Parameters
    ----------
    number : str
        Of the exhibit.
    trial : Trial
    """
    rows = [
        {"endpoint": e.name, "role": e.role, "kind": e.key, "analysis": e.analysis,
         "comparator": trial.comparator(e) or "none"}
        for e in trial.endpoints
    ]  # fmt: skip
    heads = ("Endpoint", "Role", "Kind", "Analysis", "Comparator")
    return table(number, "Endpoints", pd.DataFrame(rows),
                 lambda row: dict(zip(heads, row.values(), strict=True)), "From the trial's file.")  # fmt: skip


def estimand_tables(number: str, trial: Trial) -> list[Exhibit]:
    """The estimands of a trial with their attributes (ICH E9(R1)); none without one.

    Parameters
    ----------
    number : str
        Of the exhibit.
    trial : Trial
    """
    if not trial.estimands:
        return []
    rows = []
    for one in trial.estimands:
        spec = trial.endpoint(one.endpoint)
        others = listed([arm for arm in trial.compared(spec)]) or "none"
        events = "; ".join(f"{event}: {strategy}" for event, strategy in one.events.items())
        rows.append({"estimand": one.name, "treatments": f"{others} against {trial.comparator(spec) or 'none'}",
                     "population": trial.population.name, "variable": one.endpoint, "events": events or "none",
                     "summary": spec.analysis})  # fmt: skip
    heads = ("Estimand", "Treatments", "Population", "Variable", "Intercurrent events", "Analysis")
    return [table(number, "Estimands", pd.DataFrame(rows), lambda row: dict(zip(heads, row.values(), strict=True)),
                  "Attributes as of ICH E9(R1). From the trial's file.")]  # fmt: skip


def arm_table(number: str, trial: Trial) -> Exhibit:
    """The arms of a trial with their doses.

    Parameters
    ----------
    number : str
        Of the exhibit.
    trial : Trial
    """
    rows = []
    for arm in trial.arms:
        doses = arm.doses()
        given = [
            f"{agent}: {counted(len(own), 'dose')} of "
            f"{listed([f'{mg:g} mg' for mg in sorted(own['amount_mg'].unique())])}, "
            f"months {month_text(own['month'].min())} to {month_text(own['month'].max())}"
            for agent, own in doses.groupby("agent", sort=False)
        ]
        share = f"{trial.population.ratio.get(arm.name, 1):g}"
        rows.append({"arm": arm.label, "share": share, "given": "; ".join(given) or "nothing"})
    return table(number, "Arms", pd.DataFrame(rows),
                 lambda row: {"Arm": row["arm"], "Share": row["share"], "Given": row["given"]},
                 "From the trial's file.")  # fmt: skip


def _inputs(number: str, said: Mapping[str, Any]) -> Exhibit:
    frame = pd.DataFrame(list(said["files"].items()), columns=["file", "sha256"])
    return table(number, "Inputs of the run", frame, lambda row: {"File": row["file"], "SHA-256": row["sha256"]},
                 f"Copies are in the folder {INPUTS} of this plan.", widths=(36, 64))  # fmt: skip
