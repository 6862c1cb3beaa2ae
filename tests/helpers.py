"""Shorthand of the tests: constants of drawn patients, doses of one regimen, what the command line says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ranklsim.cohorts.running.storage import TABLES
from ranklsim.pkpd.agents import Agent
from ranklsim.pkpd.parameters import ParameterTable
from ranklsim.pkpd.simulation import Doses

INTERVAL = 6 * 30.4375


TWO_ARMS = """
title   = "Two arms, a year"
seed    = 11
months  = 12
control = "placebo"
uncertainty_draws = 2
[population]
name     = "postmenopausal-osteoporosis"
patients = 12
strata   = ["age >= 72 yr"]
[[arm]]
name    = "placebo"
regimen = [{ agent = "placebo", every = "6 mo", doses = 2 }]
[[arm]]
name    = "own"
regimen = [{ agent = "abc-301", dose = "60 mg", every = "6 mo", doses = 2 }]
[visits]
BMD     = [0, 6, 12]
markers = [0, 1, 6, 12]
[[endpoint]]
name     = "Lumbar spine"
role     = "primary"
change   = { of = "BMD_LS", from = "0 mo", to = "12 mo" }
analysis = "ANCOVA"
[conduct]
dropout = "30 %/yr"
"""

OWN_AGENT = """
label        = "ABC-301"
hypothetical = true
like         = "denosumab"
KD_sRANKL    = "none"
"""


def two_arms(folder: Path) -> Path:
    """The file of a trial of a year with an agent of the user's own, 12 patients in two strata."""
    (folder / "two.toml").write_text(TWO_ARMS, encoding="utf-8")
    (folder / "abc-301.toml").write_text(OWN_AGENT, encoding="utf-8")
    return folder / "two.toml"


def table_bytes(folder: Path) -> dict[str, bytes]:
    """The tables of a run folder, byte by byte."""
    return {table: (folder / f"{table}.parquet").read_bytes() for table in TABLES}


SMALL_FIT = """
title   = "Small"
seed    = 3
starts  = {starts}
options = {{ max_nfev = {most} }}

[[parameter]]
name  = "kT"
start = 0.35{more}
prior = {{ mean = 0.25, sd = 1.0 }}
[[parameter]]
{second}

[[include]]
arm = ["freedom-denosumab", "freedom-placebo"]
[[exclude]]
endpoint = "difference_to_control"
reason   = "to keep the test small"
"""


def small_fit(folder: Path, second: str, starts: int = 1, most: int = 200, more: str = "") -> Path:
    """A fit of kT, of which `more` may be said, and of a `second` parameter to FREEDOM's figures."""
    path = folder / "small.toml"
    path.write_text(
        SMALL_FIT.format(second=second, starts=starts, most=most, more=more and f"\n{more}"), encoding="utf-8"
    )
    return path


def said(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, list[str], list[str]]:
    """Exit code of ``ranklsim WORDS``, and the lines on stdout and stderr; a traceback is never among them."""
    from ranklsim.reports.cli import main as cli

    capsys.readouterr()
    code = cli.main([str(word) for word in words])
    both = capsys.readouterr()
    assert "Traceback" not in both.err
    return code, both.out.splitlines(), both.err.splitlines()


def q6m(mg: float, doses: int, patients: int = 1, agent: int = 0) -> Doses:
    """`doses` doses of `mg` every six months for each of `patients`."""
    n = doses * patients
    return Doses(
        patient=np.repeat(np.arange(patients), doses),
        time=np.tile(np.arange(doses) * INTERVAL, patients),
        agent=np.full(n, agent),
        amount=np.full(n, float(mg)),
    )


def together(*parts: Doses) -> Doses:
    """Several dose tables as one."""
    return Doses(
        *(np.concatenate([getattr(d, name) for d in parts]) for name in ("patient", "time", "agent", "amount"))
    )


NO_DOSES = Doses(np.empty(0, int), np.empty(0), np.empty(0, int), np.empty(0))


def anyone(table: ParameterTable, n: int, seed: int = 1) -> pd.DataFrame:
    """Persons drawn over half of every plausible range around its value: harsher than a trial draws them."""
    rng = np.random.default_rng(seed)
    frame = table.frame
    intervention = frame["note"].str.contains("acts from day 0 on")  # such a patient starts out of balance
    wide = frame[(frame["high"] > frame["low"]) & ~frame.index.isin(["PVFX", "SUPP"]) & ~intervention]
    low = wide["value"] - 0.5 * (wide["value"] - wide["low"])
    high = wide["value"] + 0.5 * (wide["high"] - wide["value"])
    return pd.DataFrame(rng.uniform(low, high, size=(n, len(wide))), columns=list(wide.index))


def other_affinities(agent: Agent, **values: float) -> Agent:
    """`agent` with some of its numbers changed."""
    from dataclasses import replace

    return replace(agent, values=agent.values | values)
