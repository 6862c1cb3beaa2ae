"""The page of a design question: the answer in words, what each design does, its trade-offs, and what would change "
"it."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ranklsim import __version__
from ranklsim.cohorts.quantities import Quantity
from ranklsim.cohorts.words import first_upper, listed
from ranklsim.pkpd.results import Results
from ranklsim.reports.design.question import SAME, Preference, Question, Requirement, three_digits
from ranklsim.reports.design.search import LEVEL, Searched
from ranklsim.reports.design.size import Sized
from ranklsim.reports.figures.drawing import INK, RULE, SHADE, SOFT, WIDTH, drawing, first_figure, panels, svg_text
from ranklsim.reports.layout.exhibit import Exhibit, Section
from ranklsim.reports.layout.page import Page, table
from ranklsim.reports.layout.tables import num, sig

Array = NDArray[np.float64]

MARK = "ranklsim-design"
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#4D4D4D")  # Okabe and Ito
DASHES = ("-", (0, (6, 2)), (0, (2, 1.4)), (0, (7, 2, 1.5, 2)), "-", (0, (6, 2)), (0, (2, 1.4)))
MOST_LINES = len(COLORS)
MOST_ROWS = 40
SHOWN = 10
"""Unknowns in the figure and the table of their worth."""
_ORDER = ("first", "second", "third")
CHANCE = 2.0
"""Standard deviations of the gain by chance above which a gain is told (our choice)."""


@dataclass(frozen=True, repr=False)
class Answer(Results):
    """Everything that a page is made of.

    Attributes
    ----------
    found : Searched
    cells, designs : DataFrame
        As from `Searched.cell_table` and `design_table`.
    place : tuple of int, optional
        As from `Searched.chosen`.
    patients : DataFrame
        As from `patients.in_patients`; empty without a design.
    worth, pilots : DataFrame
        As from `worth.worth` and `worth.pilots`.
    sized : Sized, optional
        As from `size.size_of`.
    """

    SOURCE = "design/"
    FIGURE = "reports.design.show:figure"

    found: Searched
    cells: pd.DataFrame
    designs: pd.DataFrame
    place: tuple[int, int] | None
    patients: pd.DataFrame
    worth: pd.DataFrame
    pilots: pd.DataFrame
    sized: Sized | None = None

    def tables(self) -> dict[str, pd.DataFrame]:
        """Every table by its name, the main one first."""
        found = {"cells": self.cells, "designs": self.designs, "patients": self.patients}
        found |= {"unknowns": self.worth.drop(columns=["design_low", "design_high"]), "pilots": self.pilots}
        found |= {} if self.sized is None else {"size": self.sized.curve}
        return {name: table for name, table in found.items() if len(table)}

    def heading(self) -> str:
        """What the result is, in one line."""
        return "\n".join([self.question.title, *sentences(self)])

    @property
    def question(self) -> Question:
        """What was asked."""
        return self.found.question

    @cached_property
    def draws(self) -> int:
        """Number of draws."""
        return len(self.found.vectors) - 1

    def label(self, arm: str) -> str:
        """What people call an arm; one whose dose or interval is chosen has the name of its agent.

        Parameters
        ----------
        arm : str
        """
        question = self.question
        if any(factor.arm == arm and factor.key in ("dose", "every") for factor in question.factors):
            return question.main_agent(arm).label
        return question.trial.arm(arm).label

    def named(self, arm: str) -> str:
        """What people call an arm, also one that only the sized trial has.

        Parameters
        ----------
        arm : str
        """
        return next((each.label for each in self.question.design if each.name == arm), arm)

    def cell_words(self, k: int) -> str:
        """The listed factors of a cell in words.

        Parameters
        ----------
        k : int
            Its position.
        """
        parts = zip(self.question.lists, self.question.cells[k], strict=True)
        several = len({factor.arm for factor in self.question.factors}) > 1
        words = [(f"{self.label(f.arm)} " if several else "") + f.say(value) for f, value in parts]
        return ", ".join(words) or "at the planned interval"

    @cached_property
    def design_words(self) -> str:
        """The chosen design in words."""
        if self.place is None:
            return ""
        cell, position = self.place
        axis = self.question.axis
        arm = axis.arm if axis else self.question.factors[0].arm
        dose = f" {_mg(self.found.doses[position])}" if axis else ""
        return f"{self.label(arm)}{dose} {self.cell_words(cell)}".replace(" at the planned interval", "")

    def preferred(self, preference: Preference) -> str:
        """A preference in words.

        Parameters
        ----------
        preference : Preference
        """
        way = "least" if preference.least else "greatest"
        return f"{way} {preference.quantity.label} of {self.label(preference.of)}"

    def in_words(self, requirement: Requirement) -> str:
        """A requirement as half a sentence, with the labels of its arms.

        Parameters
        ----------
        requirement : Requirement
        """
        limit = requirement.text.removesuffix("of baseline").strip()
        of = " of baseline" if requirement.quantity.unit == "% of baseline" and not requirement.against else ""
        to = f" of that of {self.label(requirement.against)}" if requirement.share else (
            f" against {self.label(requirement.against)}" if requirement.against else ""
        )  # fmt: skip
        return f"{requirement.quantity.label} at {'least' if requirement.least else 'most'} {limit}{of}{to}"


def sentences(answer: Answer) -> list[str]:
    """The answer in words, the decision first.

    Parameters
    ----------
    answer : Answer
    """
    question, said = answer.question, []
    wanted = listed(
        [f"{answer.in_words(r)} (with probability {100 * r.probability:.0f} %)" for r in question.requirements]
    )
    if answer.place is None:
        said.append(f"No design meets what is required: {wanted}.")
    else:
        cell, position = answer.place
        chance = 100 * float(answer.found.suitable[:, cell, position].mean())
        by = (
            f"has the {listed([answer.preferred(p) for p in question.preferences])}"
            if question.preferences
            else "comes first"
        )
        said.append(
            f"{first_upper(answer.design_words)} {by} among the designs that meet what is required. It meets "
            f"{'all requirements at once' if len(question.requirements) > 1 else 'it'} in {chance:.0f} % of "
            f"{answer.draws} parameter vectors."
        )
        said.append(f"Required: {wanted}.")
    if question.axis is not None:
        for k, row in answer.cells.iterrows():
            said.append(_dose_sentence(answer, int(str(k)), row))
    if len(answer.patients):
        parts = [
            f"{_which(k, len(answer.patients))} in {100 * row['met']:.0f} % of them, and single patients in "
            f"{100 * row['patients']:.0f} %"
            for k, row in enumerate(answer.patients.to_dict("records"))
        ]
        said.append(
            f"In virtual patients that the search has not seen ({answer.patients['cohort'].iloc[0]} for each of "
            f"{answer.patients['draws'].iloc[0]} vectors), the mean of a cohort meets {listed(parts)}."
        )
    if answer.sized is not None:
        said.append(_size_sentence(answer, answer.sized))
    said.append(_unknown_sentence(answer))
    return said


def _size_sentence(answer: Answer, sized: Sized) -> str:
    size = sized.size
    what = f"{sized.claim} to {answer.named(sized.against)} in {size.endpoint}"
    if np.isfinite(sized.patients):
        high = f"{sized.high:.0f}" if np.isfinite(sized.high) else f"more than {size.most}"
        return (
            f"A trial of {sized.patients:.0f} patients in two equal arms (90 % interval {sized.low:.0f} to {high}) "
            f"shows {what} with an assurance of {100 * size.assurance:.0f} %."
        )
    best = sized.curve.iloc[-1]
    return (
        f"No trial of {size.least} to {size.most} patients shows {what} with an assurance of "
        f"{100 * size.assurance:.0f} %; with {best['patients']:.0f} patients it is {100 * best['shown']:.0f} %."
    )


def _which(k: int, count: int) -> str:
    """A requirement by its position."""
    if count == 1:
        return "the requirement"
    return f"the {_ORDER[k]} requirement" if k < len(_ORDER) else f"requirement {k + 1}"


def _dose_sentence(answer: Answer, k: int, row: pd.Series) -> str:
    axis = answer.question.axis
    assert axis is not None
    low, high = float(axis.values[0]), float(axis.values[-1])
    words = first_upper(answer.cell_words(k))

    def said(dose: float) -> str:
        return f"{_mg(dose)} or less" if dose <= low * (1 + SAME) else _mg(dose)

    never = f" In {row['never']:.0f} of {row['draws']:.0f} vectors no dose from {_mg(low)} to {_mg(high)} is suitable."
    if np.isfinite(row["dose"]):
        ends = f"{_mg(row['dose_low'])} to {_mg(row['dose_high'])}" if np.isfinite(row["dose_high"]) else (
            f"{_mg(row['dose_low'])} or more, or none"
        )  # fmt: skip
        default = f"{said(row['default'])} with the default parameters, " if np.isfinite(row["default"]) else ""
        return (
            f"{words}: the least dose is {said(row['dose'])} ({100 * LEVEL:.0f} % interval for the number of vectors: "
            f"{ends}); {default}{said(row['draw_low'])} to {said(row['draw_high'])} in the middle {100 * LEVEL:.0f} % "
            f"of the vectors that have one.{never}"
        )
    if row["best_probability"] > 0:
        return (
            f"{words}: no dose is sure enough. The best, {_mg(row['best_dose'])}, is suitable in "
            f"{100 * row['best_probability']:.0f} % of the vectors.{never}"
        )
    return f"{words}: no dose from {_mg(low)} to {_mg(high)} is suitable in any vector."


def _unknown_sentence(answer: Answer) -> str:
    worth = answer.worth
    known = 100 * worth.attrs["evpi"] if len(worth) else 0.0
    clear = worth[worth["evppi"] > CHANCE * worth["chance"]] if len(worth) else worth
    if clear.empty:
        return "No single unknown would change the choice of design enough to be told from chance."
    row = clear.iloc[0]
    text = (
        f"The unknown that matters most for the choice is {row['symbol']} ({row['meaning']}): if it were known, the "
        f"probability of a suitable design would rise by {100 * row['evppi']:.0f} percentage points, of the "
        f"{known:.0f} that complete knowledge would bring."
    )
    for _, pilot in answer.pilots.iterrows():
        text += (
            f" {pilot['name']} (standard error {sig(pilot['sd'])}) would bring {100 * pilot['evsi']:.0f} of the "
            f"{100 * pilot['evppi']:.0f} points of {pilot['symbol']}."
        )
    return text


def compose(answer: Answer) -> tuple[Page, list[Section]]:
    """The page of an answer, and its sections.

    Parameters
    ----------
    answer : Answer
    """
    question = answer.question
    page = Page(
        MARK,
        "Design question",
        question.title,
        f"Typical patient of {question.trial.population.name} in {answer.draws} parameter vectors; "
        f"{len(answer.designs)} designs simulated over {question.months:g} months; seed {question.seed}; "
        f"ranklsim {__version__}",
        "The answer",
        f"All data are simulated. ranklsim {__version__}; design.json names every version and option.",
    )
    first = Section(
        "1", "The answer", "answer", key=list(sentences(answer)), exhibits=[_probability(answer), _cells(answer)]
    )
    first.paragraphs = list(question.notes)
    sections = [first, _quantities(answer), _trade_offs(answer)]
    if len(answer.patients):
        sections.append(_patients(answer))
    if answer.sized is not None:
        sections.append(_size(answer, answer.sized))
    sections.append(_unknowns(answer))
    for kind in ("Table", "Figure"):  # without a gap where a section has nothing to say
        count = itertools.count(1)
        for section in sections:
            section.exhibits = [
                replace(one, number=str(next(count))) if one.kind == kind else one for one in section.exhibits
            ]
    return page, sections


def _lines(answer: Answer) -> list[int]:
    """Cells that are drawn: those most probable, at most `MOST_LINES`, in their order."""
    joint = answer.found.suitable.mean(axis=0).max(axis=1)
    best = np.argsort(-joint, kind="stable")[:MOST_LINES]
    return sorted(int(k) for k in best)


def _probability(answer: Answer) -> Exhibit:
    """Probability that each requirement, and all, are met, by dose or by design."""
    if answer.question.axis is None:
        return _probability_dots(answer)
    found, question, shown = answer.found, answer.question, _lines(answer)
    curves: list[tuple[str, Array, float | None]] = [
        (answer.in_words(r), found.met[k].mean(axis=0), r.probability) for k, r in enumerate(question.requirements)
    ]
    if len(curves) > 1:
        curves.append(("all requirements at once", found.suitable.mean(axis=0), None))
    frame = pd.DataFrame([
        {"panel": words, "design": answer.cell_words(k), "dose_mg": dose, "probability": float(values[k, j])}
        for words, values, _ in curves for k in shown for j, dose in enumerate(found.doses) if j % 4 == 0
    ])  # fmt: skip
    rows = -(-len(curves) // 2)
    with drawing(WIDTH * 1.25, 2.5 * rows + 0.45) as figure:
        axes = panels(figure, len(curves), min(2, len(curves)), (0.1, 0.09), sharex=True)
        for ax, (words, _, wanted) in zip(axes, curves, strict=True):
            own = frame[frame["panel"] == words]
            for place, k in enumerate(shown):
                line = own[own["design"] == answer.cell_words(k)]
                ax.plot(line["dose_mg"], 100 * line["probability"], color=COLORS[place], ls=DASHES[place], lw=1.8,
                        label=answer.cell_words(k))  # fmt: skip
            if wanted is not None:
                ax.axhline(100 * wanted, color=RULE, lw=1.0, ls=(0, (1, 1.6)))
                ax.annotate(f"required: {100 * wanted:.0f} %", (1, 100 * wanted),
                            xycoords=("axes fraction", "data"), xytext=(-2, 3), textcoords="offset points", ha="right",
                            fontsize=8.2, color=SOFT)  # fmt: skip
            _dose_axis(ax, found.doses)
            ax.set_ylim(-2, 102)
            _title(ax, first_upper(words))
        figure.supylabel("Probability (%)", fontsize=9.6)
        _legend(figure, axes[0])
        body = svg_text(figure, "figure-1", "Probability that requirements are met, by dose")
    footnote = (
        f"Share of {answer.draws} parameter vectors in which the typical patient meets the requirement. The vectors "
        "agree with the published figures; they are what is not known, not how patients differ."
    )
    return Exhibit("Figure", "1", "How probable it is that each dose meets what is required", frame, body, footnote)


def figure(answer: Answer) -> Figure:
    """The first figure of the page.

    Parameters
    ----------
    answer : Answer
    """
    return first_figure(lambda: _probability(answer))


def _probability_dots(answer: Answer) -> Exhibit:
    """Probability that all requirements are met, a row a design."""
    cells = answer.cells
    frame = cells.assign(design=[answer.cell_words(k) for k in range(len(cells))])
    frame = frame.sort_values("probability", ascending=False, kind="stable").head(MOST_ROWS)
    with drawing(WIDTH * 1.25, 0.3 * len(frame) + 0.9) as figure:
        (ax,) = panels(figure, 1, 1)
        percent = 100 * frame[["probability", "probability_low", "probability_high"]].to_numpy()
        _dots(ax, list(frame["design"]), *percent.T)
        ax.set_xlim(-2, 102)
        ax.set_xlabel("Probability that all requirements are met (%)")
        body = svg_text(figure, "figure-1", "Probability that all requirements are met, by design")
    footnote = (
        f"Share of {answer.draws} parameter vectors, with Wilson's {100 * LEVEL:.0f} % interval for their number."
    )
    return Exhibit("Figure", "1", "How probable it is that each design meets what is required", frame, body, footnote)


def _cells(answer: Answer) -> Exhibit:
    """The least dose of each combination, or the probability of each design."""
    question, cells = answer.question, answer.cells
    rows = []
    for k, row in cells.iterrows():
        record = {"Design": answer.cell_words(int(str(k)))}
        if question.axis is None:
            record |= {
                "Probability": f"{100 * row['probability']:.0f} %",
                f"{100 * LEVEL:.0f} % interval": f"{100 * row['probability_low']:.0f} to "
                f"{100 * row['probability_high']:.0f} %",
                "Meets what is required": "yes" if row["admissible"] else "no",
            }
        else:
            record |= {
                "Least dose": _mg(row["dose"]),
                f"{100 * LEVEL:.0f} % interval": _span(row["dose_low"], row["dose_high"]),
                "Default parameters": _mg(row["default"]),
                "Single vectors (median, 90 %)": (
                    f"{_mg(row['draw_median'])} ({_span(row['draw_low'], row['draw_high'])})"
                    if np.isfinite(row["draw_median"]) else "none"
                ),
                "No dose suits": f"{row['never']:.0f} of {row['draws']:.0f} vectors",
                "Most probable dose": f"{_mg(row['best_dose'])} ({100 * row['best_probability']:.0f} %)",
            }  # fmt: skip
        rows.append(record)
    footnote = (
        "Least dose: the least at which each requirement is met with its probability; its interval, by bootstrap "
        "over the vectors, is what more vectors would narrow. Single vectors: least dose that meets every "
        "requirement in that vector."
        if question.axis is not None
        else "Probability: share of the parameter vectors in which every requirement is met."
    )
    title = "The least dose of each combination" if question.axis is not None else "Every design"
    return table("1", title, cells, rows, footnote, numeric=tuple(rows[0])[1:])


def _quantities(answer: Answer) -> Section:
    """Each quantity asked for, by design: median and interval over vectors."""
    question, found = answer.question, answer.found
    asked: list[tuple[Quantity, str]] = list(dict.fromkeys(
        [(r.quantity, name) for r in question.requirements for name in (r.of, r.against) if name]
    ))  # fmt: skip
    by_quantity: dict[Quantity, list[str]] = {}
    for quantity, arm in asked:
        by_quantity.setdefault(quantity, []).append(arm)
    tail = (1 - LEVEL) / 2
    records = []
    shown = _lines(answer) if question.axis is not None else list(range(len(answer.cells)))[:MOST_ROWS]
    changed = {factor.arm for factor in question.factors}
    for quantity, arms in by_quantity.items():
        for arm in arms:
            for k in shown if arm in changed else shown[:1]:
                values = found.fine(quantity, arm)[:, k]
                for j in range(0, values.shape[-1], 8):
                    low, middle, high = np.quantile(values[1:, j], [tail, 0.5, 1 - tail])
                    records.append({
                        "quantity": quantity.label, "unit": quantity.unit, "arm": arm,
                        "design": answer.cell_words(k) if arm in changed else "as planned",
                        "dose_mg": found.doses[j] if len(found.doses) else np.nan,
                        "median": middle, "low": low, "high": high, "default": values[0, j],
                    })  # fmt: skip
    frame = pd.DataFrame(records)
    exhibit = (_curves if question.axis is not None else _intervals)(answer, frame, by_quantity, shown, changed)
    return Section("2", "What each design does", "quantities", exhibits=[exhibit])


def _curves(
    answer: Answer,
    frame: pd.DataFrame,
    quantities: Mapping[Quantity, list[str]],
    shown: Sequence[int],
    changed: set[str],
) -> Exhibit:
    with drawing(WIDTH * 1.25, 2.7 * -(-len(quantities) // 2) + 0.45) as figure:
        axes = panels(figure, len(quantities), min(2, len(quantities)), (0.1, 0.09), sharex=True)
        for ax, (quantity, arms) in zip(axes, quantities.items(), strict=True):
            for arm in arms:
                own = frame[(frame["quantity"] == quantity.label) & (frame["arm"] == arm)]
                if arm in changed:
                    for place, k in enumerate(shown):
                        line = own[own["design"] == answer.cell_words(k)]
                        ax.fill_between(
                            line["dose_mg"], line["low"], line["high"], color=COLORS[place], alpha=0.13, lw=0
                        )
                        ax.plot(line["dose_mg"], line["median"], color=COLORS[place], ls=DASHES[place], lw=1.8,
                                label=answer.cell_words(k))  # fmt: skip
                else:
                    middle = float(own["median"].iloc[0])
                    ax.axhline(middle, color=INK, lw=1.1)
                    ax.annotate(answer.label(arm), (0, middle), xycoords=("axes fraction", "data"), xytext=(3, 3),
                                textcoords="offset points", fontsize=8.4, color=INK)  # fmt: skip
            _dose_axis(ax, answer.found.doses)
            _title(ax, f"{first_upper(quantity.label)} ({quantity.unit})")
        _legend(figure, axes[0])
        body = svg_text(figure, "figure-2", "Quantities by dose")
    footnote = (
        f"Line: median over {answer.draws} parameter vectors; band: {100 * LEVEL:.0f} % of them (typical patient). "
        "Black: median of the comparator. Comparisons are made within each vector, so bands that overlap may still "
        "differ."
    )
    return Exhibit("Figure", "2", "What each dose does", frame, body, footnote)


def _intervals(
    answer: Answer,
    frame: pd.DataFrame,
    quantities: Mapping[Quantity, list[str]],
    shown: Sequence[int],
    changed: set[str],
) -> Exhibit:
    rows = max(frame.groupby("quantity").size())
    with drawing(WIDTH * 1.25, (0.27 * rows + 0.8) * len(quantities)) as figure:
        axes = panels(figure, len(quantities), 1, (0.09, 0.08))
        for ax, quantity in zip(axes, quantities, strict=True):
            own = frame[frame["quantity"] == quantity.label]
            several = own["arm"].nunique() > 1
            names = [
                f"{answer.label(arm)}: {design}"
                if several and arm in changed
                else answer.label(arm)
                if several
                else design
                for arm, design in zip(own["arm"], own["design"], strict=True)
            ]
            _dots(ax, names, own["median"].to_numpy(), own["low"].to_numpy(), own["high"].to_numpy())
            ax.set_title(f"{first_upper(quantity.label)} ({quantity.unit})", loc="left", fontsize=8.8)
        body = svg_text(figure, "figure-2", "Quantities by design")
    footnote = (
        f"Dot: median over {answer.draws} parameter vectors; line: {100 * LEVEL:.0f} % of them (typical patient)."
    )
    return Exhibit("Figure", "2", "What each design does", frame, body, footnote)


def _trade_offs(answer: Answer) -> Section:
    """The designs that no other design beats."""
    question, designs = answer.question, answer.designs
    front = designs[designs["pareto"]].sort_values("probability", ascending=False, kind="stable").head(MOST_ROWS)
    names = [f"{p.of}: {p.quantity.text}" for p in question.preferences]
    rows = []
    for _, row in front.iterrows():
        record = {"Design": ", ".join(str(row[factor.name]) for factor in question.lists) or "as planned"}
        if question.axis is not None:
            record["Dose"] = _mg(row[f"{question.axis.name}_mg"])
        record["Meets everything"] = f"{100 * row['probability']:.0f} %"
        for name, preference in zip(names, question.preferences, strict=True):
            head = f"{first_upper(preference.quantity.label)} ({preference.quantity.unit})"
            low, high = row[f"{name}_low"], row[f"{name}_high"]
            record[head] = _three(row[name]) + ("" if low == high else f" ({_three(low)} to {_three(high)})")
        record["Each requirement with its probability"] = "yes" if row["admissible"] else "no"
        record["Design"] += " (chosen)" if row["chosen"] else ""
        rows.append(record)
    wanted = listed([*(answer.preferred(p) for p in question.preferences), "the probability of meeting everything"])
    footnote = (
        f"Simulated designs that no other beats in {wanted}. Values: median and {100 * LEVEL:.0f} % interval over "
        "vectors. designs.csv holds every design."
    )
    numeric = tuple(name for name in rows[0] if name not in ("Design", "Each requirement with its probability"))
    exhibit = table("2", "Designs that no other design beats", front, rows, footnote, numeric=numeric)
    return Section("3", "Trade-offs", "trade-offs", exhibits=[exhibit])


def _patients(answer: Answer) -> Section:
    rows = [
        {
            "Requirement": first_upper(answer.in_words(answer.question.requirements[int(row["requirement"]) - 1])),
            "Mean of a cohort (90 % of the vectors)": (
                f"{_three(row['mean'])} ({_three(row['mean_low'])} to {_three(row['mean_high'])}) {row['unit']}"
            ),
            "Met by the cohort's mean": f"{100 * row['met']:.0f} % of vectors",
            "By the typical patient": f"{100 * row['typical']:.0f} %",
            "By single patients": f"{100 * row['patients']:.0f} %",
            "By single patients, default": f"{100 * row['patients_default']:.0f} %",
        }
        for _, row in answer.patients.iterrows()
    ]
    count, cohort = answer.patients["draws"].iloc[0], answer.patients["cohort"].iloc[0]
    footnote = (
        f"{cohort} new patients of {answer.question.trial.population.name} for each of {count} of the vectors, every "
        "dose given on its day. Each patient is compared with herself under the comparator. Differences between the "
        "first and the second probability are what patients' variability adds."
    )
    exhibit = table(
        "3", f"{answer.design_words} in virtual patients", answer.patients, rows, footnote, numeric=tuple(rows[0])[1:]
    )
    return Section("4", "In patients", "patients", exhibits=[exhibit])


def _size(answer: Answer, sized: Sized) -> Section:
    """Assurance against the number of patients."""
    curve = sized.curve
    with drawing(WIDTH, 3.0) as figure:
        (ax,) = panels(figure, 1, 1)
        grid = np.geomspace(curve["patients"].iloc[0], curve["patients"].iloc[-1], 100)
        fitted = np.interp(np.log(grid), np.log(curve["patients"]), curve["fitted"])
        ax.plot(grid, 100 * fitted, color=COLORS[0], lw=1.6)
        ax.vlines(curve["patients"], 100 * curve["shown_low"], 100 * curve["shown_high"], color=COLORS[0], lw=1.2)
        ax.plot(curve["patients"], 100 * curve["shown"], "o", color=COLORS[0], ms=5)
        ax.axhline(100 * sized.size.assurance, color=RULE, lw=1.0, ls=(0, (1, 1.6)))
        ax.set_xscale("log")
        ax.set_xticks(curve["patients"], [f"{n:.0f}" for n in curve["patients"]])
        ax.minorticks_off()
        ax.set_ylim(-2, 102)
        ax.set_xlabel("Patients (both arms)")
        ax.set_ylabel("Assurance (%)")
        ax.grid(axis="y", color=SHADE, lw=0.8)
        ax.set_axisbelow(True)
        body = svg_text(figure, "figure-3", "Assurance against the number of patients")
    footnote = (
        f"Share of {curve['studies'].iloc[0]} studies, one for each parameter vector, that show {sized.claim} of "
        f"{answer.design_words} to {answer.named(sized.against)} in {sized.size.endpoint}; Wilson's 90 % interval. The "
        "first patients of a study are that study with fewer. Line: probit regression on the logarithm of the number. "
        "Dropout, missed doses and measurement error are those of the trial."
    )
    exhibit = Exhibit("Figure", "3", "Assurance by number of patients", curve, body, footnote)
    return Section("5", "The size of a trial", "size", exhibits=[exhibit])


def _unknowns(answer: Answer) -> Section:
    worth = answer.worth.head(SHOWN)
    rows = []
    for _, row in worth.iterrows():
        rows.append({
            "Unknown": row["symbol"], "What it is": row["meaning"],
            "Range (90 % of the vectors)": f"{sig(row['low'])} to {sig(row['high'])}{_unit(row['unit'])}",
            "Gain if known (points)": f"{num(100 * row['evppi'], 1)} (chance {num(100 * row['chance'], 1)})",
            "Best design where it is low": _place(answer, row["design_low"], row["probability_low"]),
            "Best design where it is high": _place(answer, row["design_high"], row["probability_high"]),
        })  # fmt: skip
    frame = answer.worth.drop(columns=["design_low", "design_high"])
    footnote = (
        "Gain: rise of the probability of a suitable design if the unknown were measured without error before the "
        "design is chosen (expected value of partial perfect information, by regression on the vectors; the mean "
        "gain by chance is taken off, and its standard deviation is given). Low and high: the fifths of the vectors "
        "at either end."
    )
    exhibits = [table("4", "Which unknown would change the choice", frame, rows, footnote,
                      numeric=("Gain if known (points)",))]  # fmt: skip
    if len(answer.pilots):
        told = [
            {
                "Pilot": row["name"], "Measures": row["symbol"],
                "Standard error": f"{sig(row['sd'])}{_unit(row['unit'])}",
                "Spread over the vectors (SD)": sig(row["spread"]),
                "Gain (points)": num(100 * row["evsi"], 1),
                "With a perfect measurement": num(100 * row["evppi"], 1),
            }
            for _, row in answer.pilots.iterrows()
        ]  # fmt: skip
        note = "Gain: as in the table above, if the pilot's result were known before the design is chosen."
        exhibits.append(table("5", "What a pilot is worth", answer.pilots, told, note, numeric=tuple(told[0])[2:]))
    return Section("5", "What would change the answer", "unknowns", exhibits=exhibits)


def _place(answer: Answer, place: tuple[int, int], probability: float) -> str:
    cell, position = place
    if probability == 0:
        return "none"
    dose = f"{_mg(answer.found.doses[position])} " if answer.question.axis is not None else ""
    return f"{dose}{answer.cell_words(cell)} ({100 * probability:.0f} %)"


def _dots(ax: Axes, names: Sequence[str], middle: Array, low: Array, high: Array) -> None:
    """A dot with its interval for each name, from top to bottom."""
    at = np.arange(len(names))[::-1]
    ax.hlines(at, low, high, color=COLORS[0], lw=1.4)
    ax.plot(middle, at, "o", color=COLORS[0], ms=5)
    ax.set_yticks(at, ["\n".join(textwrap.wrap(name, 60)) for name in names], fontsize=8.6)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", color=SHADE, lw=0.8)
    ax.set_axisbelow(True)


def _dose_axis(ax: Axes, doses: Array) -> None:
    ax.set_xscale("log")
    steps = [c * 10.0**e for e in range(-4, 5) for c in (1, 2, 5)]
    ticks = [tick for tick in steps if doses[0] * 0.999 <= tick <= doses[-1] * 1.001]
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.minorticks_off()
    ax.set_xlabel("Dose (mg)", fontsize=9.0)
    ax.grid(axis="y", color=SHADE, lw=0.8)
    ax.set_axisbelow(True)


def _legend(figure: Figure, ax: Axes) -> None:
    handles, names = ax.get_legend_handles_labels()
    if len(handles) > 1:
        figure.legend(handles, names, loc="outside upper left", ncols=3, frameon=False, fontsize=8.8)


def _title(ax: Axes, text: str) -> None:
    """The title of a panel, in lines that two panels beside each other have room for."""
    ax.set_title("\n".join(textwrap.wrap(text, 46)), loc="left", fontsize=8.8)


def _three(value: float) -> str:
    """A number with three digits and a true minus sign."""
    return three_digits(value).replace("-", "−")


def _mg(value: float) -> str:
    return f"{three_digits(value)} mg" if np.isfinite(value) else "none"


def _span(low: float, high: float) -> str:
    if not np.isfinite(low):
        return "none"
    return f"{three_digits(low)} to {_mg(high)}" if np.isfinite(high) else f"{_mg(low)} or more, or none"


def _unit(unit: str) -> str:
    return "" if unit == "1" else f" {unit}"
