"""What ``ranklsim design`` writes: which design meets what is required, how sure that is, and what would change it.

Files: cells.csv (a row for each combination of the listed factors), designs.csv (a row for each simulated design),
patients.csv, unknowns.csv, pilots.csv, size.csv (assurance by number of patients), samples.parquet (each quantity of
each design in each vector), question.toml, design.json, index.html.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from ranklsim.cohorts.conduct.patients import with_population
from ranklsim.cohorts.portions import Progress
from ranklsim.cohorts.uncertainty import vectors_for
from ranklsim.pkpd import arguments
from ranklsim.pkpd.agents import Agent
from ranklsim.pkpd.dosing import warn_of_far_doses
from ranklsim.pkpd.errors import BadInput, argument
from ranklsim.pkpd.given import AGENT, AgentLike, with_agents
from ranklsim.pkpd.machine import processors
from ranklsim.pkpd.parameters import PARAMETERS, ParametersLike, ParameterTable, load_parameters
from ranklsim.pkpd.reading import MOST_PATIENTS
from ranklsim.reports.design.optimise import optimised
from ranklsim.reports.design.patients import design_arms, in_patients
from ranklsim.reports.design.question import Question, dose_for, load_question, parse_question
from ranklsim.reports.design.search import Searched, search
from ranklsim.reports.design.show import Answer, compose, sentences
from ranklsim.reports.design.size import size_of
from ranklsim.reports.design.worth import pilots, worth
from ranklsim.reports.layout.folders import fingerprint, work_folder, write_result

VERB = "design"
SEARCHED = 200
"""Vectors over which ranges are searched; the points found are then simulated over all."""
LIBRARIES = ("numpy", "scipy", "numba", "pandas")
FILES = {f"{name}.csv" for name in ("cells", "designs", "patients", "unknowns", "pilots", "size")} | {
    "samples.parquet", "question.toml", "design.json", "index.html", "fingerprint",
}  # fmt: skip


@arguments.checked(
    question=arguments.instance(Mapping, or_else=arguments.path),
    out=arguments.path,
    dose_for=arguments.text,
    agent=AGENT,
    every=arguments.one_or_several(arguments.text, '["3 mo", "6 mo"]'),
    doses=arguments.text,
    draws=arguments.whole(1, MOST_PATIENTS),
    parameters=PARAMETERS,
    folder=arguments.folder,
    workers=arguments.WORKERS,
    resume=arguments.flag,
    force=arguments.flag,
    progress=arguments.callback,
    command=arguments.COMMAND,
)
def design(
    question: str | Path | Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    *,
    dose_for: str | None = None,
    agent: AgentLike | None = None,
    every: str | Sequence[str] = ("6 mo",),
    doses: str | None = None,
    draws: int | None = None,
    parameters: ParametersLike = None,
    folder: str | Path | None = None,
    workers: int | None = None,
    resume: bool = False,
    force: bool = False,
    progress: Progress | None = None,
    command: str = "",
) -> Answer:
    """Ask which dose, interval, duration or exit meets what is required.

    Parameters
    ----------
    question : str, path or mapping, optional
        The name of a question that ships, a TOML file, or the keys of such a file (`questions("dose")` gives those of
        one that ships); or
    dose_for, agent, every, doses
        the commonest question in words: ``dose_for="90 % of denosumab's BMD_LS at 36 mo", agent="abc-301",
        every="6 mo"``, and the range of doses (``"10..240 mg"``; by default from a sixth to four times the
        comparator's).
    out : path, optional
        Folder for tables and a page with figures; nothing is written without it.
    draws : int, optional
        Parameter vectors; those that the question asks for by default.
    parameters : path, mapping or ParameterTable, optional
        Parameter values other than the shipped ones (CSV with symbol and value).
    folder : path, optional
        Where your own agent files are, if the question is given in words; the working folder by default.
    workers : int, optional
        Processors to use, all of this machine's by default; no result depends on it.
    resume, force : bool
        Go on with the interrupted search in `out`; replace the one in `out`.
    progress : callable, optional
        Called with the number of typical patients done, and of all.
    command : str
        What the user typed, for the record.

    Returns
    -------
    Answer
        Its tables are data frames: ``cells``, ``designs``, ``patients``, ``worth``, ``pilots``.

    Raises
    ------
    BadInput
        If the question, a name, a number or the folder can't be used as it is.
    RunFailed
        If a vector can't be integrated.
    """
    asked = _question(question, dose_for, agent, every, doses, Path.cwd() if folder is None else Path(folder))
    if draws is not None:
        if not 10 <= draws <= asked.draws:
            raise BadInput(f"draws = {draws} is not possible; give 10 to {asked.draws}.")
        asked = replace(asked, draws=draws)
    asked = replace(asked, trial=with_population(asked.trial))
    planned = [regimen for arm in asked.trial.arms for regimen in arm.regimens]
    warn_of_far_doses([*planned, *asked.extreme_doses], asked.agents, load_parameters()["WT"])
    values = load_parameters(parameters, folder=asked.trial.folder)
    vectors = vectors_for(values, asked.agents, asked.draws, asked.seed)
    threads = processors() if workers is None else workers
    if out is None:
        asked = _optimised(asked, values, vectors, None, threads)
        found = search(asked, values, vectors, workers=threads, progress=progress)
        return answer(found, values, workers=threads, progress=progress)
    target = Path(out)
    identity = fingerprint(asked.trial, values, asked.agents, asked.text, vectors.to_csv(index=False))
    work = work_folder(target, VERB, "its question, parameters or agents", identity, resume, force, FILES)
    asked = _optimised(asked, values, vectors, work, threads)
    found = search(asked, values, vectors, work=work, workers=threads, progress=progress)
    told = answer(found, values, workers=threads, progress=progress)
    write_design(told, target, command)
    shutil.rmtree(work)
    return told


def _optimised(
    question: Question, values: ParameterTable, vectors: pd.DataFrame, work: Path | None, workers: int
) -> Question:
    """The question with its searched ranges decided, over some of the vectors."""
    if not question.free:
        return question
    some = vectors.head(SEARCHED + 1)
    return optimised(
        question, lambda each, k: search(each, values, some, work=work, workers=workers, stage=f"try-{k:03d}")
    )


def _question(
    question: str | Path | Mapping[str, Any] | None, wanted: str | None, agent: AgentLike | None,
    every: str | Sequence[str], doses: str | None, folder: Path,
) -> Question:  # fmt: skip
    """The question, from its file or from words."""
    if (question is None) == (wanted is None):
        raise BadInput(
            f"give one question: a file or the name of one that ships, or {argument('dose_for')} with "
            f'{argument("agent")}, such as {argument("dose_for")}="90 % of denosumab\'s BMD_LS at 36 mo".'
        )
    if question is not None:
        return load_question(question)
    if agent is None:
        raise BadInput(
            f"{argument('agent')} is missing; name the agent whose dose is searched, such as mrankl-selective."
        )
    intervals = [every] if isinstance(every, str) else list(every)
    if isinstance(agent, str) and agent.endswith(".toml"):
        folder, agent = Path(agent).parent, Path(agent).stem
    assert wanted is not None
    assert isinstance(agent, str | Agent)
    (name,), folder = with_agents([agent], folder)
    return parse_question(dose_for(wanted, name, intervals, folder=folder, doses=doses), folder)


def answer(
    found: Searched, parameters: ParameterTable, *, workers: int = 1, progress: Progress | None = None
) -> Answer:
    """Everything that a page says, from the search.

    Parameters
    ----------
    found : Searched
    parameters : ParameterTable
    workers : int
        Threads; the result does not depend on it.
    progress : callable, optional
        As of `design`, for the trial that is sized.
    """
    seed = found.question.seed
    place = found.chosen()
    cohort = pd.DataFrame() if place is None else in_patients(found, place, parameters, workers=workers)
    question, sized = found.question, None
    if question.size is not None and place is not None:
        arms = design_arms(found, *place)
        sized = size_of(question.trial, arms, question.size, parameters, seed=seed, workers=workers, progress=progress)
    return Answer(
        found, found.cell_table(seed), found.design_table(), place, cohort, worth(found, parameters, seed),
        pilots(found, parameters, seed), sized,
    )  # fmt: skip


def write_design(found: Answer, folder: Path, command: str) -> None:
    """Write every file of an answer.

    Parameters
    ----------
    found : Answer
    folder : Path
        Exists.
    command : str
        What the user typed, for the record.
    """
    question = found.question
    unknowns = found.worth.drop(columns=["design_low", "design_high"])
    frames = {"cells": found.cells, "designs": found.designs, "patients": found.patients, "unknowns": unknowns}
    if len(found.pilots):
        frames["pilots"] = found.pilots
    if found.sized is not None:
        frames["size"] = found.sized.curve
    samples = {
        f"{arm}: {quantity.text} [{cell}, {point}]": values[:, cell, point]
        for (quantity, arm), values in found.found.values.items()
        for cell in range(values.shape[1])
        for point in range(values.shape[2])
    }
    pd.DataFrame(samples).to_parquet(folder / "samples.parquet", index=False)
    (folder / "question.toml").write_text(question.text, encoding="utf-8", newline="")
    facts = {
        "title": question.title,
        "answer": sentences(found),
        "design": found.design_words,
        "factors": {factor.name: [factor.say(value) for value in factor.values] for factor in question.factors},
        "draws": found.draws,
        "seed": question.seed,
    }
    write_result(folder, "design", frames, facts, LIBRARIES, command)
    page, sections = compose(found)
    page.write(folder, sections)
