"""What may import what: every import runs down the list of rooms, none runs in a circle."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import ranklsim

ROOMS = (
    "pkpd.errors",
    "pkpd.machine",
    "pkpd.units",
    "pkpd.tomltext",
    "pkpd.reading",
    "pkpd.parquet",
    "pkpd.arguments",
    "pkpd.biology",
    "pkpd.limits",
    "pkpd.engine",
    "pkpd.results",
    "pkpd.agents",
    "pkpd.given",
    "pkpd.dosing",
    "pkpd.records",
    "pkpd.variants",
    "pkpd.parameters",
    "pkpd.ensemble",
    "pkpd.simulation",
    "pkpd.typical",
    "pkpd.ranges",
    "pkpd.evidence",
    "pkpd.mice",
    "pkpd.fitting",
    "pkpd.exchange",
    "cohorts.events",
    "cohorts.streams",
    "cohorts.people",
    "cohorts.durability",
    "cohorts.words",
    "cohorts.measures",
    "cohorts.portions",
    "cohorts.quantities",
    "cohorts.statistics",
    "cohorts.endpoints",
    "cohorts.protocol",
    "cohorts.study",
    "cohorts.conduct",
    "cohorts.uncertainty",
    "cohorts.courses",
    "cohorts.running",
    "cohorts.validation",
    "cohorts",
    "reports.layout",
    "reports.analyses",
    "reports.figures",
    "reports.sensitivity",
    "reports.csr",
    "reports.cdisc",
    "reports.replicate",
    "reports.design",
    "reports.exchange",
    "reports.pages",
    "reports.explore",
    "reports.qualify",
    "reports.dossier",
    "api",
    "reports.cli",
    "__main__",
)
"""Folders, and modules that stand outside a folder, lowest first: a room imports itself and the rooms above it here."""


def modules() -> dict[str, Path]:
    """Every module of the installed package, by its name below `ranklsim`; a package bears its folder's name."""
    root, found = Path(ranklsim.__file__).parent, {}
    for folder, folders, names in os.walk(root, followlinks=True):
        folders[:] = [name for name in folders if name != "__pycache__"]
        for name in names:
            if name.endswith(".py"):
                path = Path(folder) / name
                parts = path.relative_to(root).with_suffix("").parts
                found[".".join(parts[:-1] if name == "__init__.py" else parts)] = path
    return found


def imports() -> dict[str, set[str]]:
    """Module to the modules that it imports, those within functions and for type checking included.

    The root package is the door to all rooms: it may import every one, and all may ask it for the version.
    """
    known, found = modules(), {}
    for module, path in known.items():
        targets: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                targets |= {name.name.removeprefix("ranklsim.") for name in node.names if "ranklsim." in name.name}
            elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "ranklsim":
                inside = (node.module or "").partition(".")[2]
                for name in node.names:
                    full = f"{inside}.{name.name}".removeprefix(".")
                    targets.add(full if full in known else inside)
        found[module] = targets - {"", module}
    del found[""]
    return found


def room(module: str) -> int:
    """Place of a module's room in `ROOMS`, which is the longest name that fits."""
    fitting = [name for name in ROOMS if module == name or module.startswith(f"{name}.")]
    assert fitting, f"{module} stands in no room: add its folder to ROOMS, above all that it imports"
    return ROOMS.index(max(fitting, key=len))


def circles(graph: dict[str, set[str]]) -> set[frozenset[str]]:
    """Sets of modules that reach each other."""

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = list(graph[start])
        while waiting:
            if (module := waiting.pop()) not in seen:
                seen.add(module)
                waiting += graph.get(module, ())
        return seen

    reach = {module: reached(module) for module in graph}
    return {frozenset(m for m in reach[module] if module in reach[m]) for module in graph if module in reach[module]}


def test_imports_run_down_the_list_of_rooms() -> None:
    assert not {(a, b) for a, targets in imports().items() for b in targets if room(b) > room(a)}


def test_no_import_runs_in_a_circle() -> None:
    assert not circles(imports())


def loaded_by(statement: str) -> set[str]:
    """Modules that a fresh interpreter holds after `statement`."""
    code = f"import sys; {statement}; print('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_writer_of_pages_does_not_load_the_statistics() -> None:
    assert not loaded_by("import ranklsim.reports.layout.page") & {"statsmodels", "scipy.stats", "numba"}


def test_a_run_and_its_report_load_no_library_of_which_they_need_a_few_functions() -> None:
    slow = {"scipy.stats", "scipy.integrate", "scipy.interpolate", "statsmodels", "formulaic", "polars", "sympy"}
    slow |= {"scipy.optimize", "matplotlib"}
    assert not loaded_by("import ranklsim.cohorts.running.execution, ranklsim.reports.csr.report") & slow


def test_a_painter_loads_neither_the_engine_nor_the_statistics() -> None:
    loaded = loaded_by("from ranklsim.reports.figures import painters; painters._warm_up()")
    assert "matplotlib" in loaded
    assert not loaded & {"numba", "scipy", "yaml", "ranklsim.pkpd.biology.model"}


@pytest.mark.parametrize("statement", ["import ranklsim", "import ranklsim.reports.cli.main"])
def test_the_door_loads_nothing_that_takes_time(statement: str) -> None:
    assert not loaded_by(statement) & {"numpy", "pandas", "scipy", "numba", "matplotlib", "jinja2"}
