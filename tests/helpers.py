"""Shorthand of the tests: constants of drawn patients, doses of one regimen, what the command line says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ranklsim.pkpd.agents import Agent
from ranklsim.pkpd.parameters import ParameterTable
from ranklsim.pkpd.simulation import Doses

INTERVAL = 6 * 30.4375


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
    from ranklsim.reports import cli

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
