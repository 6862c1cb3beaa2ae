"""Search over ranges that no grid covers: intervals, lengths, and doses of further arms.

The first range of a dose is read off along all its doses (`search`). Other ranges are searched: points of a scrambled
Sobol sequence first, then COBYQA [1]_ from the best of them, on the logarithm of each value within its range. What is
sought is the best design by the first preference among those that meet every requirement with its probability. A
requirement is met with probability p if the (1 - p) quantile of its margin over the draws is not negative, which
changes continuously with the design. Where nothing meets all, the least lacking design is sought. The best points
that were tried then become the cells of the question.

References
----------
.. [1] Ragonneau TM. Model-Based Derivative-Free Optimization Methods and Software. PhD thesis, Hong Kong Polytechnic
   University, 2022. arXiv:2210.12018 (COBYQA, in scipy.optimize)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats import qmc

from ranklsim.reports.design.question import Question
from ranklsim.reports.design.search import Searched

FIRST, THEN = 8, 12
"""Points tried for each range before and after the optimiser starts."""
KEPT = 6
"""Points that become cells of the question."""
APART = np.log(1.05)
"""Points that differ by less in every range are shown once."""
LACKING = 1e3
"""What a design that meets not all requirements has more than any that does."""


def optimised(question: Question, look: Callable[[Question, int], Searched]) -> Question:
    """The question with the best points of its searched ranges.

    Parameters
    ----------
    question : Question
    look : callable
        Simulates the question with one point tried; told the number of the look.

    Returns
    -------
    Question
        With `tried`, the best point first.
    """
    free = question.free
    ends = np.log([[factor.values[0], factor.values[-1]] for factor in free])
    seen: dict[tuple[float, ...], float] = {}

    def value(unit: NDArray[np.float64]) -> float:
        at = np.exp(ends[:, 0] + np.clip(unit, 0.0, 1.0) * (ends[:, 1] - ends[:, 0]))
        point = tuple(float(f"{each:.4g}") for each in at)  # as it is said
        if point not in seen:
            seen[point] = score(look(replace(question, tried=[point]), len(seen)))
        return seen[point]

    m = int(np.ceil(np.log2(FIRST * len(free))))
    points = qmc.Sobol(len(free), rng=np.random.default_rng(question.seed)).random_base2(m)
    first = [value(point) for point in points]
    start = points[int(np.argmin(first))]
    bounds = [(0.0, 1.0)] * len(free)
    options = {"maxfev": THEN * len(free), "initial_tr_radius": 0.15, "final_tr_radius": 1e-3}
    minimize(value, start, method="COBYQA", bounds=bounds, options=options)
    best: list[tuple[float, ...]] = []
    for point in sorted(seen, key=lambda point: seen[point]):
        if all(np.abs(np.log(np.divide(point, other))).max() > APART for other in best):
            best.append(point)
    return replace(question, tried=best[:KEPT])


def score(found: Searched) -> float:
    """How good the best design among those simulated is; lower is better.

    Parameters
    ----------
    found : Searched

    Returns
    -------
    float
        The first preference (negative where more is better; the least dose without one) of the best design that meets
        every requirement, relative to its size; `LACKING` and more where none does.
    """
    slack = []
    for requirement, margin in zip(found.question.requirements, found.margins, strict=True):
        spread = float(np.std(margin[1:])) or 1.0
        slack.append(np.quantile(margin[1:], 1 - requirement.probability, axis=0) / spread)
    worst = np.min(slack, axis=0)
    preferences = found.question.preferences
    if preferences:
        wanted = np.median(found.fine(preferences[0].quantity, preferences[0].of)[1:], axis=0)
        wanted = np.broadcast_to(wanted if preferences[0].least else -wanted, worst.shape)
    else:
        wanted = np.broadcast_to(found.doses if found.doses.size else np.zeros(1), worst.shape)
    if not (worst >= 0).any():
        return LACKING - float(worst.max())
    return float(wanted[worst >= 0].min())
