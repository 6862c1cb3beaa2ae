"""What a published mouse would cost: the table of contradictions in docs/genetics.md.

A statement that the default does not meet enters the joint fit as one figure more, which must be met: the least-squares
estimate is sought again with it, from that without it. The rise of minus twice the logarithm of the likelihood and the
prior says how much all other data speak against it, and whose squares rise says which.

.venv/bin/python scripts/contradictions.py     a few minutes of processor time
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pages import put, table

from ranklsim.pkpd.fitting.descent import descend
from ranklsim.pkpd.fitting.fit import Problem, make_problem
from ranklsim.pkpd.fitting.sizes import sizes
from ranklsim.pkpd.fitting.spec import load_spec
from ranklsim.pkpd.mice.genetics import value_of
from ranklsim.pkpd.mice.laboratory import Laboratory, published

PAGE = Path(__file__).parent.parent / "docs" / "genetics.md"
STEPS, ENOUGH = 25, 0.1  # of a search: steps at most; fall of the objective below which it ends
DIFFERENCE = 0.03  # step of the slope of a statement, in steps that matter
WEIGHT = 30.0  # SDs that a statement as far from its bound as the default is counts
MARGIN = 0.02  # share of that distance beyond the bound that is aimed at
RTOL = 1e-6
FROM_MICE = "mice: "


def main() -> None:
    problem = make_problem(load_spec("default"))
    parameters = problem.spec.parameters
    low, high, start, scale = (np.array([getattr(p, x) for p in parameters]) for x in "low high start scale".split())
    residuals = partial(problem.residuals_of, rtol=RTOL)
    seek = partial(descend, steps=STEPS, enough=ENOUGH, damping=0.1, firmer=1.0)
    slope = problem.jacobian(start) * scale
    (best,), (rest,), (slope,) = seek(residuals, start[None], slope[None], low, high, scale)
    print(f"least: {rest @ rest:.1f}", file=sys.stderr, flush=True)
    rows = missed(problem, best)

    def short(theta: np.ndarray, row: dict[str, Any]) -> np.ndarray:
        """How far a statement is from a little beyond its bound, in SDs; 0 beyond."""
        aim = row["bound"] + MARGIN * (row["bound"] - row["at"])
        far = abs(row["bound"] - row["at"])
        return WEIGHT * np.maximum((aim - predicted(problem, row, theta)) / far * row["side"], 0.0)

    def together(numbered: np.ndarray) -> np.ndarray:
        """Residuals of vectors, each with the shortfall of the statement whose number is in its last column."""
        theta, numbers = numbered[:, :-1], numbered[:, -1].astype(int)
        own = [short(z, rows[number])[0] for z, number in zip(theta, numbers, strict=True)]
        return np.column_stack([residuals(theta), own])

    step = DIFFERENCE * np.diag(scale)
    beside = np.clip(best + np.concatenate([step, -step]), low, high)
    slopes = []
    for row in rows:
        above, below = np.split(short(beside, row), 2)
        slopes.append(np.vstack([slope, (above - below) / (2 * DIFFERENCE)]))
    still = np.zeros((len(rows), slope.shape[0] + 1, 1))  # a statement's number is no parameter
    numbers = np.arange(len(rows), dtype=float)[:, None]
    ends, there, _ = seek(
        together,
        np.hstack([np.tile(best, (len(rows), 1)), numbers]),
        np.concatenate([np.array(slopes), still], axis=2),
        np.append(low, 0.0),
        np.append(high, len(rows)),
        np.append(scale, 1.0),
    )
    told = []
    for row, end, residual in zip(rows, ends, there, strict=True):
        reached = float(predicted(problem, row, end[:-1])[0])
        rise = residual[:-1] @ residual[:-1] - rest @ rest
        met = (reached - row["bound"]) * row["side"] >= 0
        told.append(
            {
                "Genotype": published()["genotype"][row["genotype"]]["label"],
                "Endpoint": row["endpoint"],
                "Agrees if": f"at {'least' if row['side'] > 0 else 'most'} {row['bound']:g}",
                "Best fit": f"{row['at']:.3g}",
                "Reached": f"{reached:.3g}",
                "Rise of -2 ln": f"{rise:.1f}" if met else f"not met at {rise:.0f}",
                "Whose squares rise": paying(problem, rest, residual[:-1]),
                "What moves": moving(problem, best, end[:-1], scale),
            }
        )
    found = pd.DataFrame(told)
    print(found.to_string(), file=sys.stderr, flush=True)
    block = f"\n{table(found.columns, found.itertuples(index=False))}\n"
    PAGE.write_text(put(PAGE.read_text(encoding="utf-8"), "contradictions", "contradictions", block), encoding="utf-8")


def predicted(problem: Problem, row: Mapping[str, Any], theta: np.ndarray) -> np.ndarray:
    """The statement's prediction at vectors on the fitted scale."""
    vectors = pd.DataFrame([problem.natural(z) for z in np.atleast_2d(theta)])
    return value_of(Laboratory(problem.table, vectors, rtol=RTOL), row)


def missed(problem: Problem, theta: np.ndarray) -> list[dict[str, Any]]:
    """Statements on data that a vector of parameters misses, with the bound, its side and the prediction."""
    found = []
    for row in published()["row"]:
        if "value" not in row or "over" in row or "variants" in row or row["basis"] == "P":
            continue
        at = float(predicted(problem, row, theta)[0])
        for name, side in (("low", 1), ("high", -1)):
            if name in row and (at - row[name]) * side < 0:
                found.append(row | {"bound": float(row[name]), "side": side, "at": at})
    return found


def paying(problem: Problem, before: np.ndarray, after: np.ndarray, most: int = 3) -> str:
    """The three studies, mice or priors whose squares rise most, and by how much."""
    seen = problem.evidence.observations
    mice = [f"{FROM_MICE}{s.row['genotype']}, {s.row['endpoint'].split(',')[0]}" for s in sizes()]
    priors = [f"prior of `{p.name}`" for p in problem.spec.parameters if p.prior_sd is not None]
    names = [*seen["study"], *mice, *["prior of `transfer`"] * len(mice), *priors]
    rise = pd.Series(after**2 - before**2).groupby(names).sum().nlargest(most)
    return "; ".join(f"{name} {value:.1f}" for name, value in rise.items() if value >= 0.1)


def moving(problem: Problem, before: np.ndarray, after: np.ndarray, scale: np.ndarray, most: int = 3) -> str:
    """The three parameters that move most, in steps that matter, from and to."""
    order = np.argsort(-np.abs(after - before) / scale)[:most]
    was, now = problem.natural(before), problem.natural(after)
    names = [problem.names[i] for i in order]
    return ", ".join(f"`{name}` {was[name]:.3g} to {now[name]:.3g}" for name in names)


if __name__ == "__main__":
    main()
