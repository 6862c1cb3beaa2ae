"""Documentation that runs: every command, every Python example and every file that README and docs show."""

from __future__ import annotations

import csv
import pkgutil
import re
import shlex
import shutil
import sys
import tomllib
from pathlib import Path

import gallery  # type: ignore[import-not-found]
import numpy as np
import pytest

from ranklsim.cohorts.running.bundle import bundle
from ranklsim.cohorts.running.execution import run
from ranklsim.cohorts.validation import variability
from ranklsim.pkpd.fitting.spec import load_spec
from ranklsim.reports.cli import main as cli
from ranklsim.reports.dossier.plan import plan

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / f"{name}.md" for name in ("README", "CHANGELOG", "CONTRIBUTING")]
PAGES += sorted({*(ROOT / "docs").glob("*.md")} - {ROOT / "docs" / "gallery.md"})  # which is played as a whole
PLAYED = [page for page in gallery.PAGES if page.name != "explore.md"]
IN_PARTS = [page for page in PAGES if page not in PLAYED]
FEW = {  # of what a page runs at full size
    "run": ("--patients", "12"),
    "replicate": ("--replicates", "2", "--patients", "24"),
    "design": ("--draws", "10"),
    "plan": ("--patients", "12"),
    "qualify": ("--only", "IQ-01,ST"),
    "sensitivity": ("--trajectories", "2", "--samples", "8", "--keep", "2", "--only", "sig,mix,kT"),
}


OF_RUNS = ("dossier", "report", "cdisc", "compare", "bundle", "reproduce")
"""Verbs that take finished runs, which stand in their examples as made before."""

SLOW = (*FEW, *OF_RUNS, "validate", "fit", "genetics")


def blocks(page: Path, language: str) -> list[str]:
    """Fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def commands() -> list[tuple[str, str]]:
    """Commands of the pages; of those that differ in the number of patients alone, which is small here, one."""
    found: dict[str, tuple[str, str]] = {}
    for page in IN_PARTS:
        for block in blocks(page, "sh"):
            for line in block.splitlines():
                if line.startswith("ranklsim "):
                    found.setdefault(re.sub(r" --patients \d+", "", line), (page.name, line))
    return list(found.values())


def write_agent(folder: Path) -> None:
    """The agent that docs/agents.md shows, where its commands look for it."""
    text, *_ = blocks(ROOT / "docs" / "agents.md", "toml")
    (folder / "abc-301.toml").write_text(text, encoding="utf-8")


def write_evidence(folder: Path) -> None:
    """The folder of evidence that docs/evidence.md shows in full."""
    page = ROOT / "docs" / "evidence.md"
    (folder / "my-evidence").mkdir()
    for language, name in (("toml", "arms.toml"), ("csv", "observations.csv")):
        (folder / "my-evidence" / name).write_text(blocks(page, language)[0], encoding="utf-8")


def write_fit(folder: Path) -> None:
    """The fits that docs/fitting.md shows: of typical values, and of spreads."""
    for text, name in zip(blocks(ROOT / "docs" / "fitting.md", "toml"), ("my-fit", "my-spreads"), strict=True):
        (folder / f"{name}.toml").write_text(text, encoding="utf-8")


def write_population(folder: Path) -> None:
    """The table of women and the population that docs/populations.md shows."""
    page = ROOT / "docs" / "populations.md"
    for language, name in (("csv", "patients.csv"), ("toml", "my-women.toml")):
        (text,) = blocks(page, language)
        (folder / name).write_text(text, encoding="utf-8")


def test_the_population_of_the_documentation_reaches_its_targets(tmp_path: Path) -> None:
    from ranklsim.cohorts.people.population_file import load_population

    write_population(tmp_path)
    population = load_population("my-women", tmp_path)
    people = population.enrolled
    assert people["age"].mean() == pytest.approx(73.5, abs=0.3)
    assert people["prevalent_fracture"].mean() == pytest.approx(0.35, abs=0.02)
    size, n = population.effective_size
    assert n == 30
    assert 15 < size < 30


def test_the_covariates_of_the_page_on_populations_are_those_that_are_drawn() -> None:
    from ranklsim.cohorts.people.joint import COLUMNS

    rows = re.findall(r"^\| (`.*?) \|", (ROOT / "docs" / "populations.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == {*COLUMNS, "age_at_menopause"}


def test_the_fit_of_spreads_that_the_page_shows_finds_spreads_in_the_evidence_that_the_other_page_shows(tmp_path):
    write_evidence(tmp_path)
    write_fit(tmp_path)
    problem = variability.make_problem(load_spec(tmp_path / "my-spreads.toml"))
    assert len(problem.observed) >= 4
    assert np.isfinite(problem.observed).all()


@pytest.mark.parametrize(
    "page, line",
    [
        pytest.param(page, line, marks=[pytest.mark.slow] if line.split()[1] in SLOW else [])
        for page, line in commands()
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_command_of_the_documentation_works(page: str, line: str, small_run, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()  # as `make demo` leaves it
    if shlex.split(line, comments=True)[1] in OF_RUNS:
        for name in ("modality", "seed0"):
            shutil.copytree(small_run, tmp_path / "runs" / name, ignore=shutil.ignore_patterns("report"))
    if " dossier " in line:
        plan("modality", tmp_path / "runs" / "plan", patients=24)
    if " reproduce " in line:
        bundle(run("modality", tmp_path / "few", patients=12).folder, tmp_path / "modality.zip")
    write_agent(tmp_path)
    write_evidence(tmp_path)
    write_fit(tmp_path)
    write_population(tmp_path)
    words = shlex.split(line, comments=True)[1:]
    code = cli.main([*words, *FEW.get(words[0], ())])
    said = capsys.readouterr()
    assert code == 0, said.err
    if words[0] in ("run", "simulate", "validate", "fit", "genetics", "sensitivity", "replicate", "design"):
        assert (tmp_path / said.out.splitlines()[-1]).exists()


@pytest.mark.slow
@pytest.mark.parametrize("page", PLAYED, ids=lambda page: page.stem)
def test_a_tutorial_works_from_top_to_bottom_and_makes_its_pictures(page: Path, tmp_path: Path) -> None:
    gallery.play(page, tmp_path, FEW)
    assert all(picture.is_file() for picture, _ in gallery.pictures(page, tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize(
    "page, number",
    [(page, number) for page in IN_PARTS for number in range(len(blocks(page, "python")))],
    ids=lambda value: value.name if isinstance(value, Path) else str(value),
)
def test_a_python_example_of_the_documentation_works(page: Path, number: int, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    write_evidence(tmp_path)
    source = "import ranklsim\n" + blocks(page, "python")[number]
    exec(compile(source, f"{page.name}, example {number + 1}", "exec"), {"__name__": "example"})
    assert capsys.readouterr().out


def test_the_trial_of_the_documentation_can_be_run(tmp_path: Path) -> None:
    from ranklsim.cohorts.protocol.trial import load_trial

    parts = blocks(ROOT / "docs" / "trials.md", "toml")[:4]  # the trial, comparisons, estimands, multiplicity
    (tmp_path / "mine.toml").write_text("\n".join(parts), encoding="utf-8")
    trial = load_trial(tmp_path / "mine.toml")
    assert [arm.name for arm in trial.arms] == ["zoledronate", "selective"]
    assert trial.population.ratio == {"zoledronate": 1, "selective": 2}


def test_the_conduct_of_the_documentation_names_every_key_and_can_be_read(tmp_path: Path) -> None:
    from ranklsim.cohorts.protocol.conduct import CONDUCT
    from ranklsim.cohorts.protocol.trial import TRIALS, load_trial

    *_, conduct = blocks(ROOT / "docs" / "trials.md", "toml")
    freedom = (TRIALS / "freedom.toml").read_text(encoding="utf-8")
    (tmp_path / "mine.toml").write_text(freedom[: freedom.index("[conduct]")] + conduct, encoding="utf-8")
    assert load_trial(tmp_path / "mine.toml").conduct.enrolment is not None
    said = set(re.findall(r"^(\w+) +=", conduct, re.MULTILINE)) | {"stop_arms", "stop_months"}
    assert said == set(CONDUCT.keys)


def test_the_plans_of_interim_analyses_and_of_what_is_firm_name_every_key_and_can_be_read(tmp_path: Path) -> None:
    from ranklsim.cohorts.protocol.interim import INTERIM
    from ranklsim.cohorts.protocol.robustness import PER_PROTOCOL, TIPPING
    from ranklsim.cohorts.protocol.trial import TRIALS, load_trial

    every = blocks(ROOT / "docs" / "trials.md", "toml")
    plan, firm = (next(b for b in every if b.startswith(f"[{name}]")) for name in ("interim", "tipping_point"))
    freedom = (TRIALS / "freedom.toml").read_text(encoding="utf-8")
    start, end = freedom.split("[conduct]\n")
    (tmp_path / "mine.toml").write_text(start + firm + "\n" + plan + "\n" + end, encoding="utf-8")
    assert load_trial(tmp_path / "mine.toml").interim.planned_events == 90
    said = set(re.findall(r"^(\w+) +=", plan.split("\n[conduct]")[0], re.MULTILINE))
    told = {"planned_error", "parameter", "information", "spent"}  # in the text below the plan
    assert said | told == set(INTERIM.keys)
    said = set(re.findall(r"^(\w+) +=", firm, re.MULTILINE))
    assert said == set(TIPPING.keys) | set(PER_PROTOCOL.keys)


def test_the_covariates_of_the_documentation_are_those_that_criteria_know() -> None:
    from ranklsim.cohorts.people.criteria import covariates

    text = (ROOT / "docs" / "trials.md").read_text(encoding="utf-8")
    named = re.search(r"Covariates: (.*?)\.\n", text, re.DOTALL)
    assert named is not None
    assert set(covariates()) <= set(re.findall(r"\w+", named[1]))


def test_the_fields_of_the_documentation_are_those_of_an_agent() -> None:
    from ranklsim.pkpd.agents import FIELDS

    text = (ROOT / "docs" / "agents.md").read_text(encoding="utf-8")
    for kind, fields in FIELDS.items():
        row = re.search(rf"^\| `{kind}`.*$", text, re.MULTILINE)
        assert row is not None
        assert set(re.findall(r"`(\w+)`", row[0])) == {kind, *fields}


def test_the_unknown_parameters_of_the_documentation_are_those_that_are_drawn() -> None:
    from ranklsim.pkpd.parameters import load_parameters

    text = (ROOT / "docs" / "model.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"\| symbol \| question \|\n\| --- \| --- \|\n((?:\|.*\n)+)", text)
    named = {symbol for line in table.splitlines() for symbol in re.findall(r"`(\w+)`", line.split("|")[1])}
    assert named == set(load_parameters().uncertain())


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ +(.+?) *$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_links_of_the_documentation_lead_to_files_and_headings_that_exist() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        links = re.findall(r"\]\((?!https?:)([^)]+)\)", text) + re.findall(r'src="([^"]+)"', text)
        for link in links:
            name, _, anchor = link.partition("#")
            target = page.parent / name if name else page
            assert target.is_file(), f"{page.name} points to {link}, which is not there"
            assert not anchor or anchor in anchors(target), f"{page.name} points to {link}: no such heading"


def test_the_index_of_the_documentation_names_every_page() -> None:
    text = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| \[[\w.]+\]\((\w+\.md)\)", text, re.MULTILINE))
    site = re.compile(r"\{toctree\}|\{eval-rst\}|see conf\.py")  # pages that only the site has
    pages = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md")}
    assert listed == {name for name, text in pages.items() if not site.search(text)} - {"README.md"}


def test_the_page_on_the_architecture_lists_the_rooms_in_the_order_of_imports() -> None:
    from test_imports import ROOMS  # type: ignore[import-not-found]

    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `([\w.]+)` \|", text, re.MULTILINE) == list(ROOMS)


def test_the_documentation_names_every_environment_variable() -> None:
    folders = [ROOT / name for name in ("pkpd", "cohorts", "reports")]
    code = "".join(path.read_text(encoding="utf-8") for folder in folders for path in folder.rglob("*.py"))
    known = set(re.findall(r"(?<!_)RANKLSIM_[A-Z]+", code))
    for page in (ROOT / "docs" / "usage.md", ROOT / "CONTRIBUTING.md"):
        assert set(re.findall(r"RANKLSIM_[A-Z]+", page.read_text(encoding="utf-8"))) == known


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=lambda page: page.name)
def test_the_modules_and_files_that_a_page_names_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for name in set(re.findall(r"\branklsim(?:\.\w+)+", text)):
        assert pkgutil.resolve_name(name) is not None
    for name in set(re.findall(r"`((?:pkpd|cohorts|reports|scripts|tests|docs)/[\w/.-]+)`", text)):
        assert (ROOT / name).exists(), f"{page.name} names {name}, which is not there"


def test_the_citation_names_the_present_version() -> None:
    import ranklsim

    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.findall(r"^version: (.*)$", text, re.MULTILINE) == [ranklsim.__version__]


def test_the_files_that_the_page_on_the_model_names_exist() -> None:
    for name in re.findall(r"`([\w/]+\.py)`", (ROOT / "docs" / "model.md").read_text(encoding="utf-8")):
        assert (ROOT / "pkpd" / name).is_file(), f"docs/model.md names pkpd/{name}"


def test_the_verbs_of_the_documentation_are_those_of_the_command() -> None:
    text = (ROOT / "docs" / "usage.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\|([^|]*)\|", text, re.MULTILINE)
    assert {verb for row in rows for verb in re.findall(r"`(\w+)", row)} >= set(cli.cli.commands)


def test_the_figures_of_the_readme_are_those_of_the_model(monkeypatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "scripts")
    monkeypatch.delitem(sys.modules, "readme", raising=False)
    import readme  # type: ignore[import-not-found]

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = text.split("<!-- figures: scripts/readme.py -->\n")[1].split("<!-- end of figures -->")[0].splitlines()[2:]
    told = [line.split("|")[4].strip() for line in lines]
    with open(readme.PUBLISHED, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(told) == len(rows)
    for (row, now), text in zip(readme.figures(), told, strict=True):
        step = 0.1 if "." in now else 1  # the last decimal may fall either way on another machine
        was, new = (float(number.replace("−", "-")) for number in (text, now))
        assert abs(was - new) <= step * 1.001, f"{row['quantity']}: README {text}, model {now}; `make readme` renews it"


@pytest.mark.slow
@pytest.mark.parametrize("block", ["answer", "misfits"])
def test_the_answer_and_the_misfits_of_the_readme_are_those_of_the_model(block: str, monkeypatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "scripts")
    import readme  # type: ignore[import-not-found]

    def parts(text: str) -> tuple[list[str], list[float]]:
        numbers = re.compile("[−+]?\\d+(?:\\.\\d+)?")
        words = " ".join(text.split())
        return numbers.split(words), [float(found.replace("−", "-")) for found in numbers.findall(words)]

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    told = text.split(f"<!-- {block}: scripts/readme.py -->\n")[1].split(f"<!-- end of {block} -->")[0]
    (told_words, told_numbers), (words, numbers) = parts(told), parts(readme.BLOCKS[block]())
    assert told_words == words, "`make readme` renews it"
    assert told_numbers == pytest.approx(numbers, rel=0.01, abs=0.11)


def test_the_project_names_no_machine() -> None:
    forbidden = re.compile(r"/work/|\.\./shared|/home/|/root/|file:///")
    suffixes = {".py", ".md", ".toml", ".csv", ".txt", ".html", ".css", ".svg", ""}
    kept = ("ranklsim", "pkpd", "cohorts", "reports", "tests", "docs", "requirements", "scripts", ".ci")
    paths = [path for folder in kept for path in (ROOT / folder).rglob("*")]
    paths += [ROOT / name for name in ("README.md", "CHANGELOG.md", "Makefile", "pyproject.toml")]
    for path in paths:
        if path.is_file() and path.suffix in suffixes and path.name != Path(__file__).name:
            found = forbidden.search(path.read_text(encoding="utf-8", errors="ignore"))
            assert found is None, f"{path.relative_to(ROOT)} names {found and found[0]}"


def test_the_documentation_shows_toml_that_parses() -> None:
    for page in PAGES:
        for text in blocks(page, "toml"):
            assert tomllib.loads(text)
