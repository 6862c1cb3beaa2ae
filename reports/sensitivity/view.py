"""What all sections of the sensitivity page share: arms, outcomes in the headline, the order of the unknowns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ranklsim.cohorts.durability import MEASURES
from ranklsim.reports.figures.drawing import two_lines
from ranklsim.reports.layout.arms import view_arms
from ranklsim.reports.layout.tables import num
from ranklsim.reports.layout.wording import first_upper
from ranklsim.reports.sensitivity.analyse import Sensitivity

SHOWN = 6  # parameters in a panel
MOST_PANELS = 6
DURABILITY, REBOUND = ("kept_LS_12", "left_LS_12", "gain_LS"), ("peak_CTX", "gain_TH")
"""Measures of the headline: of each the first of which every arm and difference has indices."""


class View:
    """What all sections use: names and colours of arms, the outcomes in the headline, the order of the unknowns."""

    def __init__(self, found: Sensitivity) -> None:
        self.found, self.question = found, found.question
        agents = {agent.name: agent for agent in found.question.agents}
        arms = view_arms(found.question.trial.arms, agents)
        self.labels = {arm.name: arm.label for arm in arms}
        self.colors = {arm.name: arm.color for arm in arms}
        self.dashes = {arm.name: arm.dash for arm in arms}
        self.facts = found.outcomes.set_index("outcome", drop=False)
        self.moved = found.question.moved.set_index("symbol", drop=False)
        self.headline = self._headline()
        self.subjects: dict[str, list[str]] = {}
        for outcome in self.headline:
            self.subjects.setdefault(self.subject(outcome), []).append(outcome)
        self.order = self.ranked(self.headline)

    def ranked(self, outcomes: Sequence[str]) -> pd.DataFrame:
        """Parameters by the mean of their total order over some outcomes; columns `ST`, `S1`."""
        own = self.found.sobol[self.found.sobol["outcome"].isin(outcomes)]
        means = own.groupby("symbol", sort=False)[["ST", "S1"]].mean()
        return means.sort_values("ST", ascending=False, kind="stable")

    def _headline(self) -> list[str]:
        """Durability and rebound: of hypothetical arms against known ones first, then of the arms."""
        facts = self.found.outcomes
        known = set(self.found.sobol["outcome"])
        subjects = list(dict.fromkeys(zip(facts["arm"], facts["versus"], strict=True)))
        subjects.sort(key=lambda pair: (pair[1] == "", pair[0] in self.question.compared))
        names = {
            (row["arm"], row["versus"], row["measure"]): row["outcome"]
            for row in facts.to_dict("records")
            if row["outcome"] in known
        }
        measures = []
        for group in (DURABILITY, REBOUND):
            counts = [sum((*subject, measure) in names for subject in subjects) for measure in group]
            measures.append(group[int(np.argmax(counts))])
        out = [names[*subject, measure] for subject in subjects for measure in measures if (*subject, measure) in names]
        return (out or list(dict.fromkeys(self.found.sobol["outcome"])))[:MOST_PANELS]

    def subject(self, outcome: str) -> str:
        """Whose outcome it is."""
        row = self.facts.loc[outcome]
        own = self.labels[row["arm"]]
        if not row["versus"]:
            return own
        return f"{self.short(row['arm'])} less {self.short(row['versus'])}"

    def short(self, arm: str) -> str:
        """An arm's label without the words that all active arms end with, such as "60 mg Q6M"."""
        words = [self.labels[name].split() for name in self.question.arms]
        shared = 0
        while all(len(own) > shared + 1 for own in words) and len({own[-shared - 1] for own in words}) == 1:
            shared += 1
        if any(own[-shared - 1].isdigit() for own in words):  # a dose stays with its unit
            shared = 0
        own = self.labels[arm].split()
        return " ".join(own[: len(own) - shared])

    @property
    def topic(self) -> str:
        """What the headline is about."""
        after = any(MEASURES[str(self.facts.loc[name, "measure"])].after is not None for name in self.headline)
        return "durability and rebound" if after else "the gain at the end of treatment"

    def unit(self, outcome: str) -> str:
        """The unit of an outcome; differences of percentages are in percentage points."""
        row = self.facts.loc[outcome]
        points = row["versus"] and str(row["unit"]).startswith("%") and row["unit"] != "%-months"
        return "percentage points" if points else str(row["unit"])

    def color(self, outcome: str) -> str:
        """Colour of the arm."""
        return self.colors[str(self.facts.loc[outcome, "arm"])]

    def indices(self, outcome: str) -> pd.DataFrame:
        """Sobol indices of an outcome, the greatest total order first."""
        own = self.found.sobol[self.found.sobol["outcome"] == outcome]
        return own.sort_values("ST", ascending=False, kind="stable")

    def plain(self, symbol: str) -> str:
        """A parameter in words."""
        return f"{symbol} ({self.moved.loc[symbol, 'meaning']})"


def panel_title(view: View, outcome: str) -> str:
    """Whose outcome a panel shows, and what it is."""
    meaning = first_upper(view.facts.loc[outcome, "meaning"])
    return f"{two_lines(view.subject(outcome), 54)}\n{two_lines(meaning, 54)}"


def three(value: float) -> str:
    """An outcome with three significant digits, a hundredth at the least."""
    if not np.isfinite(value):
        return absent(value)
    digits = 2 if value == 0 else int(np.clip(2 - np.floor(np.log10(abs(value))), 0, 2))
    return num(value, digits)


def absent(value: float) -> str:
    """What stands for an outcome that has no value."""
    return "not back" if np.isinf(value) else "none"


def on_two_lines(symbol: str) -> str:
    """A symbol for an axis: an agent's number under the agent's name."""
    return symbol.replace(".", ".\n", 1)
