"""Examples in docstrings run, and give what they show."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PARTS = [path for part in ("pkpd", "cohorts", "reports") for path in (ROOT / part).rglob("*.py")]
MODULES = sorted(
    ".".join([*(() if path.is_relative_to(ROOT / "ranklsim") else ("ranklsim",)), *path.relative_to(ROOT).parts])
    for path in [*(ROOT / "ranklsim").glob("*.py"), *PARTS]
    if ">>> " in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("file", MODULES)
def test_every_example_of_a_docstring_gives_what_it_shows(file: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(file.removesuffix(".py").removesuffix(".__init__"))
    found = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    assert found.attempted, f"{file} has an example outside of a docstring"
    assert not found.failed
    assert "doctest: +SKIP" not in Path(str(module.__file__)).read_text(encoding="utf-8")
