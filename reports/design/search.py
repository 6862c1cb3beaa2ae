"""What every design does in every draw, and the least dose, the probability and the trade-offs that follow.

For each draw (a parameter vector), the typical patient is simulated under each design. Along a range of doses the
quantities are interpolated on the logarithm of the dose, by monotone cubics (PCHIP [1]_), so that no value lies outside
its neighbours. A design is *suitable* in a draw if it meets every requirement there.

References
----------
.. [1] Fritsch FN, Butland J. SIAM J Sci Stat Comput 1984;5:300-4. doi:10.1137/0905021
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from ranklsim.cohorts.conduct.patients import typical
from ranklsim.cohorts.portions import Portions, Progress
from ranklsim.cohorts.protocol.design import Arm
from ranklsim.cohorts.quantities import Quantity
from ranklsim.cohorts.statistics.proportions import proportion
from ranklsim.cohorts.uncertainty import courses
from ranklsim.pkpd.parameters import ParameterTable
from ranklsim.reports.design.question import FINE, Preference, Question, Requirement, dose_a_year, name_of

Array = NDArray[np.float64]

LEVEL = 0.90
"""Of the intervals over draws."""
RESAMPLES = 400


@dataclass(frozen=True)
class Design:
    """One arm under one combination of the factors.

    Attributes
    ----------
    arm : Arm
        Its name is ``ARM|position``, so that several designs of an arm stand side by side.
    cell : int
        Position in `Question.cells`; -1 for an arm that no factor changes.
    point : int
        Position on the axis; 0 without one.
    """

    arm: Arm
    cell: int
    point: int

    @property
    def of(self) -> str:
        """Name of the arm in the trial."""
        return name_of(self.arm)


def designs_of(question: Question) -> list[Design]:
    """Every arm that must be simulated: the fixed ones once, the others under each combination that changes them.

    Parameters
    ----------
    question : Question
    """
    found = [Design(replace(arm, name=f"{arm.name}|0"), -1, 0) for arm in question.fixed]
    names = [factor.name for factor in question.lists]
    axis = question.axis
    for name in dict.fromkeys(factor.arm for factor in question.factors):
        for cell, values in enumerate(question.cells):
            choice = dict(zip(names, values, strict=True))
            points = axis.values if axis is not None and axis.arm == name else (None,)
            for point, dose in enumerate(points):
                full = choice | ({axis.name: dose} if axis is not None and dose is not None else {})
                if axis is not None and axis.name not in full:
                    full[axis.name] = axis.values[0]
                arm = question.arm_of(name, full)
                found.append(Design(replace(arm, name=f"{name}|{cell}|{point}"), cell, point))
    return found


@dataclass(frozen=True)
class Searched:
    """Every quantity of every design in every draw.

    Attributes
    ----------
    question : Question
    vectors : DataFrame
        Row 0 is the default; the others are the draws.
    values : dict of (Quantity, str) to ndarray, shape (n_vectors, n_cells, n_points)
        By quantity and arm; an arm without a factor has the same values in all cells, one without the axis in all
        points.
    """

    question: Question
    vectors: pd.DataFrame
    values: dict[tuple[Quantity, str], Array]

    @cached_property
    def doses(self) -> Array:
        """Doses at which the curves are read (mg); empty without a range."""
        axis = self.question.axis
        if axis is None:
            return np.empty(0)
        ends = [float(axis.values[0]), float(axis.values[-1])]
        return np.geomspace(ends[0], ends[1], FINE)

    def fine(self, quantity: Quantity, arm: str) -> Array:
        """A quantity of an arm, shape (n_vectors, n_cells, n_doses); one "dose" without a range.

        Parameters
        ----------
        quantity : Quantity
        arm : str
        """
        return self._fine[quantity, arm]

    @cached_property
    def _fine(self) -> dict[tuple[Quantity, str], Array]:
        axis = self.question.axis
        if axis is None:
            return self.values
        at = np.log(np.asarray(axis.values, float))
        fine = np.log(self.doses)
        alike = {key: np.broadcast_to(v[..., :1], (*v.shape[:2], FINE)) for key, v in self.values.items()}
        own = {key: v for key, v in self.values.items() if key[1] == axis.arm}
        return alike | {key: PchipInterpolator(at, values, axis=2)(fine) for key, values in own.items()}

    @cached_property
    def margins(self) -> list[Array]:
        """By how much each requirement is met, each of shape (n_vectors, n_cells, n_doses)."""
        found = []
        for requirement in self.question.requirements:
            own = self.fine(requirement.quantity, requirement.of)
            other = self.fine(requirement.quantity, requirement.against) if requirement.against else 0.0
            found.append(requirement.margin(own, other))
        return found

    @cached_property
    def met(self) -> NDArray[np.bool_]:
        """Whether each requirement is met, shape (n_requirements, n_draws, n_cells, n_doses), draws only."""
        return np.stack([margin[1:] >= 0 for margin in self.margins])

    @cached_property
    def suitable(self) -> NDArray[np.bool_]:
        """Whether all requirements are met, shape (n_draws, n_cells, n_doses)."""
        return np.asarray(self.met.all(axis=0))

    @cached_property
    def admissible(self) -> NDArray[np.bool_]:
        """Designs that meet each requirement with its probability, shape (n_cells, n_doses)."""
        return self._admissible(self.met.mean(axis=1))

    def _admissible(self, probability: Array) -> NDArray[np.bool_]:
        wanted = np.array([requirement.probability for requirement in self.question.requirements])
        return np.asarray((probability >= wanted[:, None, None] - 1e-12).all(axis=0))

    def least(self, admissible: NDArray[np.bool_]) -> Array:
        """Least dose of each row for which something holds; NaN where it never does.

        Parameters
        ----------
        admissible : ndarray of bool, shape (..., n_doses)
        """
        first = admissible.argmax(axis=-1)
        return np.where(admissible.any(axis=-1), self.doses[first], np.nan)

    def cell_table(self, seed: int) -> pd.DataFrame:
        """One row for each cell: its least dose, what it is in single draws, and where requirements fail.

        Parameters
        ----------
        seed : int
            Of the bootstrap over draws.

        Returns
        -------
        DataFrame
            Columns: one for each listed factor; `dose`, `dose_low`, `dose_high` (mg: least dose that is admissible, and
            `LEVEL` interval by bootstrap over draws; NaN where none is); `default` (least suitable dose with the
            default parameters), `draw_low`, `draw_median`, `draw_high` (over the draws in which there is one), `never`
            (number of draws in which no dose of the range is suitable), `draws`; `best_probability`, `best_dose`.
            Without a range: `probability`, `probability_low`, `probability_high` (Wilson) that all requirements are
            met, and `admissible`.
        """
        question = self.question
        rows = []
        n = self.met.shape[1]
        rng = np.random.default_rng(np.random.SeedSequence(seed))
        picks = rng.integers(0, n, (RESAMPLES, n))
        tail = (1 - LEVEL) / 2
        for k, cell in enumerate(question.cells):
            row: dict[str, object] = {
                factor.name: factor.say(value) for factor, value in zip(question.lists, cell, strict=True)
            }
            joint = self.suitable[:, k].mean(axis=0)
            if question.axis is None:
                share = proportion(int(self.suitable[:, k, 0].sum()), n, level=LEVEL)
                row |= {"probability": joint[0], "probability_low": share["low"], "probability_high": share["high"]}
                rows.append(row | {"admissible": bool(self.admissible[k, 0]), "draws": n})
                continue
            best = int(joint.argmax())
            own = self.least(self.suitable[:, k])
            found = own[np.isfinite(own)]
            here = np.stack([margin[0, k] >= 0 for margin in self.margins])
            default = self.least(here.min(axis=0)[None])[0]
            met = self.met[:, :, k].astype(np.float32)
            again = np.stack([self.least(self._admissible(met[:, pick].mean(axis=1)[:, None])[0]) for pick in picks])
            reached = again[np.isfinite(again)]
            row |= {
                "dose": self.least(self.admissible[k][None])[0],
                "dose_low": np.quantile(reached, tail) if reached.size else np.nan,
                "dose_high": (
                    np.quantile(np.where(np.isfinite(again), again, np.inf), 1 - tail, method="higher")
                    if reached.size
                    else np.nan
                ),
                "default": default,
                "draw_low": np.quantile(found, tail) if found.size else np.nan,
                "draw_median": np.median(found) if found.size else np.nan,
                "draw_high": np.quantile(found, 1 - tail) if found.size else np.nan,
                "never": int((~np.isfinite(own)).sum()),
                "draws": n,
                "best_probability": joint[best],
                "best_dose": self.doses[best],
            }
            rows.append(row)
        return pd.DataFrame(rows)

    def design_table(self) -> pd.DataFrame:
        """Every design at the simulated doses, and the chosen one: probabilities and medians of every quantity asked
        for.

        Returns
        -------
        DataFrame
            Columns: one for each factor; `chosen`; `probability` that all requirements are met, `requirement_1`, ...
            (probability of each), `admissible`; for each quantity its median and `LEVEL` interval over draws and its
            default, as ``ARM: QUANTITY`` with ``_low``, ``_high``, ``_default``; `pareto`: whether no other design is
            at least as good in every preference and in `probability`, and better in one.
        """
        question, rows = self.question, []
        axis = question.axis
        tail = (1 - LEVEL) / 2
        if axis is None:
            at = np.array([0])
        else:
            at = np.array([int(np.abs(np.log(self.doses / float(value))).argmin()) for value in axis.values])
        place = self.chosen()
        for k, cell in enumerate(question.cells):
            mine = np.union1d(at, [place[1]]) if place is not None and place[0] == k else at
            for j in mine.tolist():
                row: dict[str, object] = {
                    factor.name: factor.say(value) for factor, value in zip(question.lists, cell, strict=True)
                }
                if axis is not None:
                    row[f"{axis.name}_mg"] = float(self.doses[j])
                row["chosen"] = (k, j) == place
                row["probability"] = float(self.suitable[:, k, j].mean())
                row |= {f"requirement_{r + 1}": float(met[:, k, j].mean()) for r, met in enumerate(self.met)}
                row["admissible"] = bool(self.admissible[k, j])
                for (quantity, arm), values in self._fine.items():
                    name = f"{arm}: {quantity.text}"
                    own = values[1:, k, j]
                    row[name] = float(np.median(own))
                    row[f"{name}_low"], row[f"{name}_high"] = np.quantile(own, [tail, 1 - tail])
                    row[f"{name}_default"] = float(values[0, k, j])
                rows.append(row)
        frame = pd.DataFrame(rows)
        frame["pareto"] = self._pareto(frame)
        return frame

    def _pareto(self, frame: pd.DataFrame) -> NDArray[np.bool_]:
        """Rows that no other row dominates in the preferences and the probability."""
        scores = [frame["probability"].to_numpy(float)]
        for preference in self.question.preferences:
            values = frame[f"{preference.of}: {preference.quantity.text}"].to_numpy(float)
            scores.append(-values if preference.least else values)
        score = np.column_stack(scores)
        return np.array([
            not ((score >= own - 1e-9).all(axis=1) & (score > own + 1e-9).any(axis=1)).any() for own in score
        ])  # fmt: skip

    def chosen(self) -> tuple[int, int] | None:
        """Cell and position of the dose that is admissible and best by the preferences, in their order.

        Without preference the least dose of the first cell is chosen. None if no design is admissible.
        """
        cells, points = np.nonzero(self.admissible)
        if not cells.size:
            return None
        keys = []
        for preference in self.question.preferences:
            values = np.median(self.fine(preference.quantity, preference.of)[1:], axis=0)[cells, points]
            keys.append(np.round(values if preference.least else -values, 9))
        order = np.lexsort([points, cells, *reversed(keys)]) if keys else np.lexsort([points, cells])
        return int(cells[order[0]]), int(points[order[0]])


def search(
    question: Question,
    parameters: ParameterTable,
    vectors: pd.DataFrame,
    *,
    work: Path | None = None,
    workers: int = 1,
    progress: Progress | None = None,
    stage: str = "search",
) -> Searched:
    """Simulate every design in every draw.

    Parameters
    ----------
    question : Question
    parameters : ParameterTable
    vectors : DataFrame
        As from `uncertainty.vectors_for`.
    work : Path, optional
        Folder in which finished portions are kept, and found again.
    workers : int
        Threads; the result does not depend on it.
    progress : callable, optional
        Called with (done, total), in typical patients.
    stage : str
        Name of the portions in `work`.

    Raises
    ------
    RunFailed
        If a vector can't be integrated.
    """
    designs = designs_of(question)
    wanted = asked_of(question.requirements, question.preferences)
    months = months_of(question, [design.arm for design in designs], wanted)
    trial = replace(question.trial, arms=[design.arm for design in designs], months=question.months)
    names = [design.arm.name for design in designs]
    agents = {agent.name: agent for agent in question.agents}
    ends = [question.end_of(design.arm) for design in designs]
    weight = float(typical(trial, parameters).persons["WT"].iloc[0])
    yearly = [dose_a_year(design.arm, agents, weight) for design in designs]

    def evaluate(some: pd.DataFrame, tell: Callable[[int], None] | None) -> pd.DataFrame:
        found = courses(trial, parameters, question.agents, some, names, months, workers=workers, progress=tell)
        columns = {}
        for k, design in enumerate(designs):
            course = {name: values[:, k] for name, values in found.items()}
            for quantity in wanted.get(design.of, []):
                values = quantity.of_course(months, course, ends[k], np.full(len(some), yearly[k]))
                columns[f"{quantity.text}@{design.arm.name}"] = values
        return pd.DataFrame(columns)

    total = len(vectors) * len(designs)
    portions = Portions(
        evaluate, len(designs), total, work=work, progress=progress,
        culprit=lambda vector: ", ".join(f"{symbol} = {value:g}" for symbol, value in vector.items()),
    )  # fmt: skip
    frame = portions.run(stage, vectors)
    return Searched(question, vectors, _arranged(question, designs, wanted, frame))


def asked_of(requirements: Sequence[Requirement], preferences: Sequence[Preference] = ()) -> dict[str, list[Quantity]]:
    """Quantities that are asked of each arm of the trial.

    Parameters
    ----------
    requirements : sequence of Requirement
    preferences : sequence of Preference
    """
    pairs = [(name, r.quantity) for r in requirements for name in (r.of, r.against) if name]
    found: dict[str, list[Quantity]] = {}
    for name, quantity in dict.fromkeys([*pairs, *((p.of, p.quantity) for p in preferences)]):
        found.setdefault(name, []).append(quantity)
    return found


def months_of(question: Question, arms: Sequence[Arm], asked: Mapping[str, Sequence[Quantity]]) -> Array:
    """Months at which arms are simulated.

    Every month, half months from the first end of treatment on where an extreme is asked, and the times that quantities
    name.

    Parameters
    ----------
    question : Question
    arms : sequence of Arm
        Of the question, under some design.
    asked : mapping
        As from `asked_of`.
    """
    own = [(question.end_of(arm), quantity) for arm in arms for quantity in asked.get(name_of(arm), ())]
    grid = {*np.arange(0.0, question.months + 1e-9), float(question.months)}
    if any(quantity.what in ("highest", "lowest") for _, quantity in own):
        first = min(question.end_of(arm) for arm in arms)
        grid |= {*np.arange(first, question.months + 1e-9, 0.5)}
    grid |= {month for end, quantity in own for month in quantity.months(end, question.months)}
    return np.array(sorted({round(month, 9) for month in grid}))


def _arranged(
    question: Question, designs: Sequence[Design], wanted: dict[str, list[Quantity]], frame: pd.DataFrame
) -> dict[tuple[Quantity, str], Array]:
    """Columns of the search as arrays over vectors, cells and points."""
    axis = question.axis
    shape = (len(frame), len(question.cells), len(axis.values) if axis else 1)
    changed = {factor.arm for factor in question.factors}
    found = {}
    for name, quantities in wanted.items():
        for quantity in quantities:
            values = np.empty(shape if name in changed else (shape[0], 1, 1))
            along = axis is not None and axis.arm == name
            for design in designs:
                if design.of == name:
                    column = frame[f"{quantity.text}@{design.arm.name}"].to_numpy(float)
                    points = slice(design.point, design.point + 1) if along else slice(None)
                    values[:, max(design.cell, 0), points] = column[:, None]
            found[quantity, name] = np.broadcast_to(values, shape)
    return found
