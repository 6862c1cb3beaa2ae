"""Every figure as predicted without its study: docs/left_out.csv, and tables in docs/calibration.md. A few minutes.

.venv/bin/python scripts/left_out.py

The shipped draws are weighted by one over the likelihood of a study's figures, or moved to where they lie without
these (`pkpd.fitting.left_out`). An agent that one study alone has given has no data without it; the arms that gave it
are left out one by one. An interval holds 90 % of what a new study would find: draws differ, studies differ, and
figures err.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pages import put, table

from ranklsim.pkpd.ensemble import ensemble
from ranklsim.pkpd.evidence.errors import error_sd
from ranklsim.pkpd.evidence.predictions import Predictor
from ranklsim.pkpd.evidence.records import Evidence, class_of, gap
from ranklsim.pkpd.evidence.studies import study_cov
from ranklsim.pkpd.fitting.fit import WALK_RTOL, Problem, make_problem
from ranklsim.pkpd.fitting.left_out import TRUSTED, band, moved, smoothed_weights
from ranklsim.pkpd.fitting.posterior import Scores
from ranklsim.pkpd.fitting.spec import load_spec, transformed
from ranklsim.pkpd.machine import processors

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

DOCS = Path(__file__).parent.parent / "docs"
TABLE, PAGE = DOCS / "left_out.csv", DOCS / "calibration.md"
LEVEL = 0.90
FARTHEST = 3.0  # mean normal score of moved draws beyond which a step has left what is linear
CLASSES = ("denosumab", "placebo", "bisphosphonate", "anabolic", "sequences")
KEPT = "study arm endpoint site_or_marker month_from month unit value n".split()


@dataclass(frozen=True)
class Unit:
    """Figures that are left out together, and those of them that are predicted."""

    name: str
    left: Mask
    predicted: Mask


def units(evidence: Evidence) -> list[Unit]:
    """Every study; where it alone has given an agent, the arms that gave it stand for themselves."""
    arms = evidence.observations["arm"].to_numpy()
    study = np.array([evidence.arms[arm].study for arm in arms])
    givers: dict[str, set[str]] = {}
    for arm in dict.fromkeys(arms):
        for agent in evidence.arms[arm].agent_names:
            givers.setdefault(agent, set()).add(evidence.arms[arm].study)
    alone = {arm for arm in arms if any(len(givers[agent]) == 1 for agent in evidence.arms[arm].agent_names)}
    found = []
    for name in dict.fromkeys(study):
        left = study == name
        own = [arm for arm in dict.fromkeys(arms[left]) if arm in alone]
        if (rest := left & ~np.isin(arms, own)).any():
            found.append(Unit(name, left, rest))
        found += [Unit(f"{name}, {arm}", arms == arm, arms == arm) for arm in own]
    return found


def turned(problem: Problem, left: Mask) -> Array:
    """Orthogonal matrix from whitened figures to those of the rest, and then those left out given the rest."""
    order = np.concatenate([np.flatnonzero(~left), np.flatnonzero(left)])
    root = np.linalg.cholesky(problem.covariance)
    return np.linalg.solve(np.linalg.cholesky(problem.covariance[np.ix_(order, order)]), root[order])


@dataclass(frozen=True)
class Posterior:
    """The shipped draws in normal scores of the prior, what they predict, and how this changes with the scores.

    Attributes
    ----------
    z : ndarray, shape (draws, d)
    predicted : ndarray, shape (draws, n)
        Figures of typical patients.
    slopes : ndarray, shape (m, d)
        Jacobian of the residuals of the fit at the default; the first n are of the figures.
    """

    problem: Problem
    z: Array
    predicted: Array
    slopes: Array

    @classmethod
    def shipped(cls, problem: Problem) -> Posterior:
        """That of the shipped ensemble and default."""
        parameters, drawn = problem.spec.parameters, ensemble()
        scores = Scores.of(parameters)
        theta = np.array([[transformed(x, p.transform) for x in drawn[p.name]] for p in parameters]).T
        start = np.array([p.start for p in parameters])
        slopes = problem.jacobian(start) * scores.slope(scores.scores(start))
        table = problem.table.overlaid(problem.spec.fixed)
        predictor = Predictor(problem.evidence, table, rtol=WALK_RTOL)
        return cls(problem, scores.scores(theta), predictor.of_vectors(drawn, table, workers=processors()), slopes)

    @cached_property
    def white(self) -> Array:
        """Whitened misfit of each draw, shape (draws, n)."""
        misfit = self.problem.misfit(self.predicted.copy())
        return np.linalg.solve(np.linalg.cholesky(self.problem.covariance), misfit.T).T

    def without(self, unit: Unit) -> tuple[Array, float, Array, float]:
        """Weights without a unit, and their k; what moved draws predict, and their farthest mean score."""
        n, size = len(self.problem.observed), int(unit.left.sum())
        turn = turned(self.problem, unit.left)
        own = self.white @ turn.T
        weight, k = smoothed_weights(np.square(own[:, n - size :]).sum(axis=1) / 2)
        slopes = np.vstack([turn @ self.slopes[:n], self.slopes[n:]])
        left = np.zeros(len(slopes), dtype=bool)
        left[n - size : n] = True
        middle = np.concatenate([own.mean(axis=0), np.zeros(len(slopes) - n)])
        there = moved(self.z, slopes, left, middle)
        figures = np.linalg.cholesky(self.problem.covariance) @ self.slopes[:n]
        return weight, k, self.predicted + (there - self.z) @ figures.T, float(np.abs(there.mean(axis=0)).max())


def left_out(posterior: Posterior) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every figure in sample and left out; and how each unit was left out."""
    problem, evidence = posterior.problem, posterior.problem.evidence
    seen, draws = evidence.observations, len(posterior.z)
    predictor = Predictor(evidence, problem.table)
    sd, offset = np.sqrt(np.diag(study_cov(predictor, problem.table))), seen["offset"].to_numpy(float)
    frame = seen[KEPT].assign(
        study=[evidence.arms[arm].study for arm in seen["arm"]],
        of=[class_of(evidence, arm) for arm in seen["arm"]],
        sd=error_sd(seen),
    )
    inside = band(posterior.predicted + offset, np.full(draws, 1 / draws), sd, LEVEL)
    frame = frame.rename(columns={"value": "observed"})
    for name, values in zip(("in_sample", "in_low", "in_high"), inside, strict=True):
        frame[name] = values
    ways = []
    for unit in units(evidence):
        rows = unit.predicted
        weight, k, there, far = posterior.without(unit)
        weighted = band(posterior.predicted[:, rows] + offset[rows], weight, sd[rows], LEVEL)
        by_step = band(there[:, rows] + offset[rows], np.full(draws, 1 / draws), sd[rows], LEVEL)
        way = "weights" if k <= TRUSTED else "step" if far <= FARTHEST else "neither"
        chosen = by_step if way == "step" else weighted
        apart = (by_step[0] - weighted[0]) / sd[rows]
        ways.append({
            "left_out": unit.name, "n": int(rows.sum()), "k": k, "worth": 1 / np.square(weight).sum(), "way": way,
            "far": far, "apart": np.sqrt(np.mean(apart**2)),
        })  # fmt: skip
        frame.loc[rows, ["predicted", "low", "high"]] = np.array(chosen).T
        frame.loc[rows, "left_out"], frame.loc[rows, "way"] = unit.name, way
    below = seen["below"].to_numpy(bool)
    for name, ends in (("in_sample", ("in_low", "in_high")), ("predicted", ("low", "high"))):
        error = gap(frame[name].to_numpy(float), frame["observed"].to_numpy(float), below)
        part = "in_" if name == "in_sample" else ""
        frame[f"{part}error"], frame[f"{part}error_over_sd"] = error, error / frame["sd"]
        frame[f"{part}inside"] = (frame["observed"] >= frame[ends[0]]) & (below | (frame["observed"] <= frame[ends[1]]))
    return frame, pd.DataFrame(ways)


def _rms(values: pd.Series, digits: int) -> str:
    return f"{np.sqrt(np.mean(values**2)):.{digits}f}" if len(values) else ""


def by_class(frame: pd.DataFrame) -> str:
    """In sample / left out, by what was given."""
    rows = []
    for name, mine in [*((name, frame[frame["of"] == name]) for name in CLASSES), ("all", frame)]:
        cells: list[object] = [name, len(mine)]
        cells.append(" / ".join(_rms(mine[f"{part}error_over_sd"], 2) for part in ("in_", "")))
        cells.append(" / ".join(f"{100 * mine[f'{part}inside'].mean():.0f}" for part in ("in_", "")))
        for site, endpoint, digits in (
            ("CTX", "percent_of_baseline", 1), ("LS", "percent_change", 2), ("TH", "percent_change", 2),
        ):  # fmt: skip
            some = mine[(mine["site_or_marker"] == site) & (mine["endpoint"] == endpoint)]
            cells.append(" / ".join(_rms(some[f"{part}error"], digits) for part in ("in_", "")) if len(some) else "")
        rows.append(cells)
    return table(["in sample / left out", "n", "error over SD", "in 90 % band, %", "CTX", "LS", "TH"], rows)


def by_unit(frame: pd.DataFrame, ways: pd.DataFrame) -> str:
    """How each unit was left out, and how well it is predicted, the worst first."""
    rows = []
    for way in ways.to_dict("records"):
        mine = frame[frame["left_out"] == way["left_out"]]
        worst = mine.loc[mine["error_over_sd"].abs().idxmax()]
        miss = np.sqrt(np.mean(mine["error_over_sd"] ** 2))
        rows.append((miss, [
            way["left_out"], way["n"], f"{way['k']:.2f}", f"{way['worth']:.0f}", way["way"], f"{way['apart']:.2f}",
            f"{_rms(mine['in_error_over_sd'], 2)} / {miss:.2f}",
            f"{100 * mine['in_inside'].mean():.0f} / {100 * mine['inside'].mean():.0f}",
            f"{worst['site_or_marker']}, month {worst['month']:.3g}: {worst['predicted']:.3g} for "
            f"{worst['observed']:.3g} ({worst['error_over_sd']:+.1f} SD)",
        ]))  # fmt: skip
    rows.sort(key=lambda row: -row[0])
    head = ["left out", "n", "k", "worth", "way", "ways apart, SD", "error over SD", "in 90 % band, %", "worst figure"]
    return table(head, [row for _, row in rows])


def main() -> None:
    frame, ways = left_out(Posterior.shipped(make_problem(load_spec("ensemble"))))
    frame.to_csv(TABLE, index=False, float_format="%.4g", lineterminator="\n")
    text = PAGE.read_text(encoding="utf-8")
    for name, block in {"classes": by_class(frame), "left out": by_unit(frame, ways)}.items():
        text = put(text, name, "left_out", f"\n{block}\n")
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
