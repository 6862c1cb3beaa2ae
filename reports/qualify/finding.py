"""What a check finds, and the results of all."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pandas as pd

PASS, FAIL, NOT_RUN = "pass", "fail", "not run"
DOCUMENT = "qualification.docx"


@dataclass(frozen=True)
class Finding:
    """The result of a check.

    Attributes
    ----------
    value : float
        What the acceptance rule is about.
    evidence : str
        What was done and seen, as a sentence.
    table : DataFrame
        The values behind it; empty where there is one value only.
    """

    value: float
    evidence: str
    table: pd.DataFrame = field(default_factory=pd.DataFrame)


class NotRun(Exception):
    """A check that can't be made here; the text says why."""


@dataclass(frozen=True)
class Qualification:
    """Results on one machine.

    Attributes
    ----------
    results : DataFrame
        One row for each requirement, with the columns of `run.COLUMNS`.
    tables : dict of str to DataFrame
        The values behind a result, by requirement.
    facts : dict
        Machine, versions, fingerprint of the installation, time.
    """

    results: pd.DataFrame
    tables: dict[str, pd.DataFrame]
    facts: dict[str, Any]

    @property
    def passed(self) -> bool:
        """Whether no requirement failed."""
        return not (self.results["result"] == FAIL).any()

    def counts(self) -> dict[str, int]:
        """Number of requirements by result."""
        return {result: int((self.results["result"] == result).sum()) for result in (PASS, FAIL, NOT_RUN)}

    def sentence(self) -> str:
        """The numbers in words."""
        n = self.counts()
        failed = ", ".join(self.results.loc[self.results["result"] == FAIL, "requirement"])
        return (
            f"Of {len(self.results)} requirements, {n[PASS]} pass, {n[FAIL]} fail{f' ({failed})' if failed else ''} "
            f"and {n[NOT_RUN]} {'was' if n[NOT_RUN] == 1 else 'were'} not run."
        )
