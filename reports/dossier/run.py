"""``ranklsim dossier``: the assessment of the evidence and the model analysis report of a run, beside its plan."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pandas as pd

from ranklsim.cohorts.protocol.midd import Midd
from ranklsim.cohorts.running.bundle import bundle
from ranklsim.cohorts.running.execution import prepare
from ranklsim.cohorts.running.storage import open_run
from ranklsim.pkpd import arguments
from ranklsim.pkpd.errors import BadInput
from ranklsim.pkpd.reading import parse_json, read_content
from ranklsim.reports.csr.context import Context
from ranklsim.reports.dossier.applicability import applicability
from ranklsim.reports.dossier.assessment import judge
from ranklsim.reports.dossier.plan import read_plan
from ranklsim.reports.dossier.report import OPERATING, Material, deviations, sections
from ranklsim.reports.layout.folders import check_folder, new_folder
from ranklsim.reports.layout.page import Page
from ranklsim.reports.layout.word import write_word
from ranklsim.reports.qualify.run import read_qualification

MARK = "ranklsim-dossier"
PAGE, ASSESSMENT, REPORT, BUNDLE, RECORD = "index.html", "assessment.docx", "report.docx", "run.zip", "dossier.json"


@arguments.checked(
    run_folder=arguments.path,
    out=arguments.path,
    plan=arguments.path,
    qualification=arguments.path,
    replicates=arguments.path,
    hash=arguments.text,
    force=arguments.flag,
    command=arguments.COMMAND,
)
def dossier(
    run_folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    plan: str | os.PathLike[str],
    qualification: str | os.PathLike[str] | None = None,
    replicates: str | os.PathLike[str] | None = None,
    hash: str | None = None,
    force: bool = False,
    command: str = "",
) -> Path:
    """Write the dossier of a run: assessment of the evidence, model analysis report, and the archive that repeats it.

    Parameters
    ----------
    run_folder : path
        A folder written by ``ranklsim run``.
    out : path
        Folder of the dossier: ``index.html``, ``assessment.docx``, ``report.docx``, ``run.zip`` and ``tables/``.
    plan : path
        The folder of its plan, written by ``ranklsim plan`` before the run.
    qualification : path, optional
        A folder of ``ranklsim qualify``. Without it, verification and validation are marked as missing.
    replicates : path, optional
        A folder of ``ranklsim replicate`` of this trial, for operating characteristics.
    hash : str, optional
        The hash of the plan as it was filed; a plan with another one is refused.
    force : bool
        Whether to replace an earlier dossier in `out`.
    command : str
        What the user typed, for the record.

    Returns
    -------
    Path
        ``index.html``.

    Raises
    ------
    BadInput
        If the plan was altered, the run is of another plan, or a folder can't be used.
    """
    target = Path(out)
    check_folder(target, f'content="{MARK}"', {PAGE, ASSESSMENT, REPORT, BUNDLE, RECORD}, force, noun="a dossier")
    planned = read_plan(Path(plan))
    if hash is not None and hash.strip().lower() != planned.hash:
        raise BadInput(f"{plan}: has the hash {planned.hash}, not the one given; bring the plan back that was filed.")
    data = open_run(run_folder)
    trial, midd = data.trial, planned.midd
    name = planned.facts["identity"]["trial"]
    asked = (trial.midd or Midd()).question
    if name != trial.name or (asked and midd.question and asked != midd.question):
        what = f"trial '{trial.name}'" if name != trial.name else "another question of interest"
        raise BadInput(f"{data.folder}: is a run of {what}, and the plan in {plan} is of '{name}'; give its own plan.")
    verified = None if qualification is None else read_qualification(Path(qualification))
    context = Context(data)
    frozen = {key: (data.inputs / key).read_bytes() for key in data.manifest["inputs"]}
    ready = prepare(trial, None, None, None, data.parameters, data.manifest["rtol"])
    material = Material(
        planned,
        midd,
        context,
        ready,
        judge(midd, context, verified),
        deviations(planned, data.manifest, frozen),
        verified,
        applicability(data),
        None if replicates is None else _operating(Path(replicates), trial.name),
    )
    page = Page(
        mark=MARK,
        kind="Model-informed evidence: assessment and report",
        title=trial.title,
        meta=f"{context.n} simulated patients · plan {planned.hash[:12]} · {context.model}",
        keyhead="Sentences",
        footer=f"Simulated data throughout: no patient was treated. {context.model}, plan {planned.hash[:12]}.",
    )
    parts = sections(material)
    started = str(data.manifest["started"])
    with new_folder(target) as work:
        page.write(work, parts)
        for file, own in ((ASSESSMENT, parts[:1]), (REPORT, parts[1:])):
            write_word(work / file, page.title, page.meta, page.footer, started, own, subject=page.kind)
        bundle(data.folder, work / BUNDLE)
        said = {
            "plan": planned.hash,
            "run": data.manifest["checksum"],
            "criteria": [{"name": one.criterion.name, "result": one.result} for one in material.judged],
            "deviations": len(material.deviations),
            "command": command or "ranklsim.dossier(...)",
        }
        (work / RECORD).write_text(json.dumps(said, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return target / PAGE


def _operating(folder: Path, trial: str) -> pd.DataFrame:
    """The operating characteristics of a replicate of the trial."""
    path, record = folder / "operating.csv", folder / "replicates.json"
    if not (path.is_file() and record.is_file()):
        raise BadInput(f"{folder}: holds no finished replicate; give a folder of `ranklsim replicate`.")
    said = parse_json(str(record), read_content(record))
    if not isinstance(said, dict) or said.get("trial") != trial:
        raise BadInput(f"{folder}: is not a replicate of trial '{trial}'; give one of this trial.")
    found = pd.read_csv(path)
    if lost := [name for name in (*OPERATING, "vector") if name not in found]:
        raise BadInput(f"{path}: has no column {lost[0]}; make it again with this version of ranklsim.")
    return found
