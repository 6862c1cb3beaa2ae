"""What several tests share: one small finished run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ranklsim.cohorts.protocol.trial import load_trial
from ranklsim.cohorts.running.execution import run


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the shipped `modality` trial with 24 patients and 40 parameter draws. Copy it before changing it."""
    folder = tmp_path_factory.mktemp("small") / "run"
    run(replace(load_trial("modality"), uncertainty_draws=40), folder, patients=24)
    return folder
