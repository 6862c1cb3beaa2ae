"""Numbers of biology stand in the tables of data and nowhere else."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import pytest

import ranklsim

ROOT = Path(ranklsim.__file__).parent
COMMON = {0, 1, 2}
"""Arithmetic, positions and shapes."""
ROUNDING = 1e-6
"""Numbers up to this size are tolerances of arithmetic."""

STRUCTURE: dict[str, dict[float, str]] = {
    "pkpd/biology/binding.py": {60: "most steps to a root"},
    "pkpd/biology/joint.py": {0.5: "a square root", 24: "hours in a day"},
    "pkpd/biology/ligand.py": {0.5: "a square root", 11: "times that an error is felt before it weighs more"},
    "pkpd/biology/model.py": {100: "percent", 1000: "pmol in nmol"},
    "pkpd/biology/pharmacokinetics.py": {1000: "nmol of a kDa in mg"},
    "pkpd/biology/skeleton.py": {100: "percent", 1e-3: "least mineralised share, a guard"},
    "pkpd/mice/genetics.py": {
        **{100: "percent", 12: "months in a year", 1e-3: "of a month, which is written with four digits"},
        **{5: "a column", 7: "a column", 3: "percentiles", 0.0005: "shown as 0", 1000: "shown whole"},
        **{200: "vectors", 0.05: "a percentile", 0.5: "a percentile, and half of the vectors", 0.95: "a percentile"},
    },
    "pkpd/mice/laboratory.py": {3: "steps of coupling"},
    "pkpd/mice/steady.py": {3: "bracket of a root, and a bisection in three", 200: "most steps", 40: "most doublings",
        30: "most steps of Newton's method", 100: "of the integrator's tolerances"},
    "cohorts/conduct/allocation.py": {4: "seats of a block"},
    "cohorts/conduct/course.py": {
        **{0.5: "months between looks", 100: "of the integrator's tolerances"},
        **dict.fromkeys((3, 7, 10, 14, 21), "days after a dose at which calcium is looked at"),
    },
    "cohorts/conduct/deaths.py": {8: "life tables kept"},
    "cohorts/conduct/decisions.py": {100: "hazard ratio of a response that is far outside what was measured"},
    "cohorts/conduct/doses.py": {
        **{24: "hours in a day", 100: "steps of a bisection"},
        **{0.001: "bracket of a root", 1e6: "bracket of a root", 0.95: "a percentile", 0.5: "a percentile"},
        1.6448536269514722: "normal score of a percentile",
    },
    "cohorts/conduct/enrolment.py": {100: "percent"},
    "cohorts/conduct/exposure.py": {
        **{400: "steps of a grid", 4: "steps between two doses at least", 100: "percent", 3: "of Hermite's polynomial"}
    },
    "cohorts/conduct/fractures.py": {
        20: "most fractures of a kind", 13: "vertebrae of an image", 12: "months in a year", 100: "percent"
    },
    "cohorts/conduct/visits.py": {24: "hours in a day"},
    "cohorts/people/criteria.py": {3: "parts of a text"},
    "cohorts/people/joint.py": {
        **dict.fromkeys((3, 5, 6, 7, 9, 11, 13, 14, 17, 19, 21, 31, 49), "polynomials of the Sobol sequence"),
        **{15: "power of two of the cloud's points", 0.1: "tolerance, SDs", 0.01: "least eigenvalue", 0.5: "middle"},
        **{32: "clouds kept", 4: "tables kept", 100: "percent"},
    },
    "cohorts/people/marginals.py": {
        **{0.002: "tolerance, SDs", 1000: "fewest persons", 200: "most steps", 0.7: "damping of a step"},
    },
    "cohorts/people/patient_table.py": {
        **{20: "fewest rows, faults told, and age in years below which a menopause is a slip", 100: "percent"},
        **{65: "range of a column that nobody limits", 0.03: "rounding of BMI"},
        0.5: "a share, and Hazen's plotting position",
        **{110: "kg", 50: "ng/mL", 0.02: "ng/mL, of medians that are rather in another unit"},
    },
    "cohorts/conduct/patients.py": {
        **{2000: "tries", 20000: "tries at once", 1.5: "tries over those expected", 0.5: "middle", 100: "percent"},
        **dict.fromkeys((0.05, 0.95), "percentiles in a complaint"),
    },
    "cohorts/people/population_file.py": {
        **{10: "fewest effective patients", 16: "files kept", 4: "pairs told", 0.01: "least eigenvalue"},
        **{0.5: "a share", 3: "words"},
    },
    "cohorts/people/weighting.py": {
        **{1e-5: "penalty", 0.01: "tolerance, SDs", 200: "most steps", 0.0001: "Armijo's condition", 0.5: "half"},
    },
    "cohorts/durability.py": {
        **{100: "percent", 12: "months at which a report asks", 24: "months at which a report asks"},
        **{5: "percent of CTX from which on a peak is reported"},
    },
}  # fmt: skip
"""Every other number in these files, and what it is; a number of biology goes into ``pkpd/data/parameters.csv``."""

DATA = {
    "pkpd/data": "parameters.csv genetics.toml experiments.csv settle.toml "
    "dictionary.csv identifiers.csv limits.csv ensemble.csv variants.csv variants.toml variant_fits.csv",
    "pkpd/data/agents": "*.toml",
    "pkpd/data/evidence": "arms.toml observations.csv not_used.csv offsets.csv",
    "pkpd/data/fits": "*.toml",
    "cohorts/data": "covariates.csv",
    "cohorts/data/life_tables": "*.toml",
    "cohorts/data/populations": "*.toml",
    "cohorts/data/trials": "*.toml",
}
"""What the folders of data hold; each of these tables says what its numbers rest on."""


def sources() -> list[str]:
    """Files in which a number of biology could hide."""
    found = ["cohorts/durability.py"]
    for folder in ("pkpd/biology", "pkpd/mice", "cohorts/conduct", "cohorts/people"):
        found += sorted(f"{folder}/{path.name}" for path in (ROOT / folder).glob("*.py"))
    return found


@pytest.mark.parametrize("name", sources())
def test_code_holds_no_number_of_biology(name: str) -> None:
    known = COMMON | set(STRUCTURE.get(name, {}))
    found = {
        node.value: node.lineno
        for node in ast.walk(ast.parse((ROOT / name).read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and type(node.value) in (int, float) and abs(node.value) > ROUNDING
    }
    unknown = {f"line {line}: {value}" for value, line in found.items() if value not in known}
    assert not unknown, (
        f"{name}: move these into pkpd/data/parameters.csv, or say in STRUCTURE what they are: {unknown}"
    )
    assert set(STRUCTURE.get(name, {})) <= set(found), f"{name}: STRUCTURE names a number that is gone"


def test_data_lies_in_the_tables_that_are_known() -> None:
    found: dict[str, set[str]] = {}
    for top in ("pkpd/data", "cohorts/data"):
        for folder, _, names in os.walk(ROOT / top):
            if names:
                found[Path(folder).relative_to(ROOT).as_posix()] = set(names)
    assert set(found) == set(DATA)
    for folder, names in found.items():
        known = DATA[folder]
        if known == "*.toml":
            assert all(name.endswith(".toml") for name in names), folder
        else:
            assert names == set(known.split()), folder
