"""Every input that a search once found (`fuzz.py`) ends as promised."""

from __future__ import annotations

from pathlib import Path

import pytest
from fuzz import fuzz

mutations = fuzz.mutations
CASES = sorted(fuzz.CASES.glob("*.json"))


@pytest.fixture(scope="module")
def known():
    return mutations.shared(fuzz.finished_run())


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_what_was_found_once_ends_in_a_sentence_or_a_result(known, path: Path):
    fuzz.outcome(mutations.Case.of_json(path.read_text(encoding="utf-8"), known))


def test_a_fault_is_found_and_shrunk(monkeypatch, tmp_path, known):
    """A reader that falls where a word is missing is caught, and what is kept lacks that word."""
    real = fuzz.cli.main

    def falls(words):
        if Path("mine.toml").is_file() and b'"binder"' not in Path("mine.toml").read_bytes():
            raise fuzz.Fault("it fell")
        return real(words)

    monkeypatch.setattr(fuzz, "CASES", tmp_path / "cases")
    monkeypatch.setattr(fuzz, "HERE", tmp_path)
    monkeypatch.setattr(fuzz.cli, "main", falls)
    valid = mutations.commands({})["agents"]
    assert fuzz._some("agents", valid, known, fuzz.Counter(), tmp_path / "current", 1, 200, set())
    (path,) = (tmp_path / "cases").iterdir()
    case = mutations.Case.of_json(path.read_text(encoding="utf-8"), known)
    assert b'"binder"' not in case.files["mine.toml"]
