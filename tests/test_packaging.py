"""What is installed is what the project says: packages, data files, command, version, bounds."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.resources import files
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import ranklsim
from ranklsim.reports.cli.main import main as cli

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
FOLDERS = ("ranklsim", "pkpd", "cohorts", "reports")


def pinned_in(name: str) -> dict[str, str]:
    lines = (ROOT / "requirements" / name).read_text(encoding="utf-8").splitlines()
    pinned = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    return {name.lower().replace("_", "-"): version for name, version in pinned.items()}


def test_every_folder_with_code_is_a_package_that_installs() -> None:
    mapped = {folder: package for package, folder in PROJECT["tool"]["setuptools"]["package-dir"].items()}
    for init in sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("__init__.py")):
        first, *rest = init.parent.relative_to(ROOT).parts
        package = ".".join([mapped[first], *rest])
        assert package in PROJECT["tool"]["setuptools"]["packages"], f"{package} would be missing from the wheel"


@pytest.mark.parametrize("folder", FOLDERS[1:])
def test_the_checkout_shows_the_package_as_it_installs(folder: str) -> None:
    assert (ROOT / "ranklsim" / folder).resolve() == ROOT / folder  # a link, for editors, mypy and coverage


@pytest.mark.slow
def test_a_wheel_holds_every_file_of_the_source_folders(tmp_path: Path) -> None:
    pytest.importorskip("setuptools", "77", reason="the wheel is built with the setuptools of the lock file")
    copy = tmp_path / "a checkout"
    for part in (*FOLDERS, "pyproject.toml", "README.md", "LICENSE"):
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, copy / part, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy / part)
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-build-isolation", "--no-deps", "-w", tmp_path, copy],
        check=True,
    )
    with zipfile.ZipFile(next(tmp_path.glob("ranklsim-*.whl"))) as wheel:
        held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    wanted = {
        (path.relative_to(copy) if folder == "ranklsim" else Path("ranklsim") / path.relative_to(copy)).as_posix()
        for folder in FOLDERS
        for path in (copy / folder).rglob("*")
        if path.is_file()
    }
    assert held == wanted


@pytest.mark.parametrize(
    "package, folder, pattern",
    [
        ("ranklsim.pkpd", "data", "*.csv"),
        ("ranklsim.pkpd", "data/agents", "*.toml"),
        ("ranklsim.cohorts", "data/trials", "*.toml"),
        ("ranklsim.cohorts", "data/populations", "*.toml"),
    ],
)
def test_data_files_are_found_in_the_installed_package(package: str, folder: str, pattern: str) -> None:
    place = files(package)
    for part in folder.split("/"):
        place = place / part
    found = [item.name for item in place.iterdir() if Path(item.name).match(pattern)]
    assert found, f"{package} has no {folder}/{pattern}"


def test_the_command_and_the_module_give_the_version() -> None:
    command = Path(sys.executable).parent / "ranklsim"
    for words in ([str(command)], [sys.executable, "-m", "ranklsim"]):
        said = subprocess.run([*words, "--version"], capture_output=True, text=True, check=True).stdout
        assert said == f"ranklsim {ranklsim.__version__}\n"


def test_the_version_is_the_one_of_the_newest_entry_in_the_changelog() -> None:
    entry = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert entry is not None
    assert entry[1] == ranklsim.__version__ == importlib.metadata.version("ranklsim")


def test_every_dependency_has_both_bounds_and_the_lock_file_lies_within_them() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    wanted = [Requirement(text) for text in (*PROJECT["project"]["dependencies"], *extras["test"], *extras["dev"])]
    pinned, lowest = pinned_in("lock.txt"), pinned_in("lowest.txt")
    for need in wanted:
        if need.name == "ranklsim":
            continue
        assert {part.operator for part in need.specifier} == {">=", "<"}, f"{need.name} has no two bounds"
        assert pinned[need.name.lower()] in need.specifier, f"{need.name} is locked outside {need.specifier}"
        if need.name in ("build", "mypy", "ruff"):
            continue  # tools that no test needs
        (lower,) = (part.version for part in need.specifier if part.operator == ">=")
        assert lowest[need.name.lower()] == lower, f"requirements/lowest.txt has another {need.name}"


def test_every_import_of_the_code_is_a_dependency() -> None:
    project = PROJECT["project"]
    extras = project["optional-dependencies"]
    texts = [*project["dependencies"], *extras["dask"], *extras["rtf"], *extras["slides"]]
    named = {re.split(r"[<>=~!]", text)[0].lower() for text in texts}
    for path in sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                modules = [str(node.module)]
            for module in modules:
                top = {"docx": "python-docx", "pptx": "python-pptx"}.get(module.split(".")[0], module.split(".")[0])
                known = top in sys.stdlib_module_names or top == "ranklsim" or top.lower() in named
                assert known, f"{path.relative_to(ROOT)} imports {top}, which pyproject.toml does not name"


def test_imports_run_from_reports_to_cohorts_to_pkpd_and_never_back() -> None:
    below = {"pkpd": ("ranklsim.cohorts", "ranklsim.reports"), "cohorts": ("ranklsim.reports",)}
    for folder, forbidden in below.items():
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            for package in forbidden:
                assert not re.search(rf"^\s*(from|import) {package}\b", text, re.MULTILINE), f"{path} imports {package}"


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from ranklsim.reports.cli.main import main; code = main(['--help']); "
        "heavy = {'numpy', 'pandas', 'scipy', 'numba', 'matplotlib', 'sympy', 'pint'} & set(sys.modules); "
        "sys.exit(f'--help imports {heavy}' if heavy else code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_nothing_needs_what_only_posix_systems_have(tmp_path: Path) -> None:
    """A run and its report where the names are missing that Windows does not have, with the lock that it has."""
    program = """
import os, subprocess, sys, types
import joblib, pandas, platformdirs  # whose own ways to tell the system are not looked at here
sys.modules["fcntl"] = None
sys.modules["msvcrt"] = types.SimpleNamespace(LK_NBLCK=2, locking=lambda handle, mode, size: print("locked", size))
del os.getuid, os.sched_getaffinity
from ranklsim.reports.cli.main import main
code = main(["run", "exit", "--patients", "6", "--layers", "patients", "--workers", "1", "-o", "run", "--no-report"])
sys.exit(code or main(["report", "run", "--brief"]))
"""
    made = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "locked 1" in made.stdout
    assert (tmp_path / "run" / "report" / "index.html").is_file()
    assert not (tmp_path / "run" / ".lock").exists()


def test_the_version_says_what_it_runs_on_when_asked(capsys) -> None:
    assert cli(["-v", "--version"]) == cli(["--version", "-v"]) == 0
    first, *lines = capsys.readouterr().out.splitlines()[:4]
    assert first == f"ranklsim {ranklsim.__version__}"
    assert all(name in "\n".join(lines) for name in ("Python 3", "numba ", "parameters ", "compiled solver in "))
