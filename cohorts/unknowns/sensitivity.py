"""Which unknown decides a trial's answer: durability and rebound of the typical patient while parameters are moved.

Every parameter with a range (`ranklsim.pkpd.ranges`) is screened by Morris trajectories; those that carry most of the
effect are moved again for Sobol indices, the others stay at their values. All arms see the same vectors, so that
differences between arms are paired. Parameters are moved one within its own range, without the correlations that a fit
leaves among them; vectors that have those (an ensemble) can be given besides, for rank correlations.

Between-patient variability and measurement error have no part in it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ranklsim.cohorts.durability import MEASURES, after_treatment, ends_of_treatment
from ranklsim.cohorts.protocol.design import Arm, Trial
from ranklsim.cohorts.unknowns.importance import (
    complete,
    morris_indices,
    morris_sample,
    rank_correlations,
    sobol_indices,
    sobol_sample,
)
from ranklsim.cohorts.unknowns.uncertainty import courses
from ranklsim.pkpd.agents import Agent
from ranklsim.pkpd.errors import BadInput, RunFailed
from ranklsim.pkpd.parameters import ParameterTable
from ranklsim.pkpd.ranges import natural

PORTION = 256
"""Vectors simulated and kept at a time."""
FLAT = 1e-3
"""SD, in an outcome's unit, below which it does not vary: what the integrator's error leaves."""
SITES = ("LS", "TH")
SCREENED, ENOUGH = 0.5, 0.9
"""Share of the Morris trajectories, and of the Sobol blocks, that must have a value of an outcome (our choice)."""

Progress = Callable[[int, int], object]


@dataclass(frozen=True)
class Settings:
    """How much is sampled.

    Attributes
    ----------
    trajectories : int
        Morris trajectories; each costs as many vectors as there are parameters, and one.
    samples : int
        N of the Sobol indices, a power of two; they cost N (keep + 2) vectors, or N (2 keep + 2) with `second_order`.
    keep : int
        Parameters that pass the screening.
    second_order : bool
        Whether interactions of pairs are asked too.
    seed : int
    """

    trajectories: int = 40
    samples: int = 512
    keep: int = 20
    second_order: bool = False
    seed: int = 0

    def check(self) -> None:
        """Raise BadInput, one sentence a number that can't be used."""
        faults = []
        if self.trajectories < 2:
            faults.append(f"trajectories = {self.trajectories} are too few for an interval; give 2 or more.")
        if self.samples < 2 or self.samples & (self.samples - 1):
            lower = 2 ** max(1, int(np.log2(max(self.samples, 2))))
            faults.append(
                f"samples = {self.samples} is not a power of two, which a Sobol sequence needs; "
                f"give {lower} or {2 * lower}."
            )
        if self.keep < 2:
            faults.append(f"keep = {self.keep} leaves nothing to compare; give 2 or more.")
        if faults:
            raise BadInput(*faults)


@dataclass(frozen=True)
class Question:
    """What is asked: outcomes of the active arms, and of hypothetical ones against known ones.

    Attributes
    ----------
    trial, parameters, agents
    moved : DataFrame
        Rows of `ranges` that are moved.
    arms : list of str
        Arms whose agent does something.
    ends : dict of str to float
        Month at which the treatment of each ends.
    compared : dict of str to str
        Arm with a hypothetical agent, to the arm that it is set against.
    """

    trial: Trial
    parameters: ParameterTable
    agents: list[Agent]
    moved: pd.DataFrame
    arms: list[str]
    ends: dict[str, float]
    compared: dict[str, str]

    @property
    def months(self) -> np.ndarray:
        """Months that are simulated: every one, twice as close from the first end of treatment on, and those named."""
        last = float(self.trial.months)
        first = min(min(self.ends.values()), last)
        named = [end + later for end in self.ends.values() for later in (0.0, 12.0, 24.0)]
        grid = {*np.arange(0.0, last + 1e-9), *np.arange(first, last + 1e-9, 0.5), *named, last}
        return np.array(sorted({round(month, 9) for month in grid if month <= last + 1e-9}))

    @property
    def outcomes(self) -> pd.DataFrame:
        """A row an outcome: `outcome` (its name), `arm`, `versus` ("" for the arm itself), `measure`."""
        rows = []
        for arm in self.arms:
            left = float(self.trial.months) - self.ends[arm]
            for name, measure in MEASURES.items():
                if measure.after is None or (left > 1e-9 and measure.after <= left + 1e-9):
                    rows.append({"outcome": f"{arm}.{name}", "arm": arm, "versus": "", "measure": name})
        have = {row["outcome"] for row in rows}
        for arm, versus in self.compared.items():
            for name in MEASURES:
                if {f"{arm}.{name}", f"{versus}.{name}"} <= have:
                    rows.append({"outcome": f"{arm}-{versus}.{name}", "arm": arm, "versus": versus, "measure": name})
        return pd.DataFrame(rows)


def ask(trial: Trial, parameters: ParameterTable, agents: Sequence[Agent], moved: pd.DataFrame) -> Question:
    """What can be asked of a trial.

    Parameters
    ----------
    trial : Trial
    parameters : ParameterTable
    agents : sequence of Agent
        All that its arms name.
    moved : DataFrame
        As from `ranges.chosen`.

    Raises
    ------
    BadInput
        If no arm is given anything that does something.
    """
    by_name = {agent.name: agent for agent in agents}
    active = [arm for arm in trial.arms if any(by_name[r.agent].kind != "none" for r in arm.regimens)]
    if not active:
        raise BadInput(
            f"{trial.name}: no arm is given an active agent, so that nothing is gained that could last or rebound; "
            "give a trial with one."
        )
    ends = ends_of_treatment(trial.arms, by_name)
    hypothetical = [arm for arm in active if any(by_name[r.agent].hypothetical for r in arm.regimens)]
    known = [arm for arm in active if arm not in hypothetical]
    names = [arm.name for arm in active]
    return Question(
        trial=trial,
        parameters=parameters,
        agents=list(agents),
        moved=moved,
        arms=names,
        ends={name: ends[name] for name in names},
        compared={arm.name: _against(arm, known, trial.control) for arm in hypothetical if known},
    )


def _against(arm: Arm, known: Sequence[Arm], control: str | None) -> str:
    """The arm that a hypothetical one is set against: an active control, one with the same plan of doses, the first."""
    plan = [(r.dose_mg, r.start_day, r.every_days, r.doses) for r in arm.regimens]
    same = [k.name for k in known if [(r.dose_mg, r.start_day, r.every_days, r.doses) for r in k.regimens] == plan]
    return next(iter([k.name for k in known if k.name == control] + same), known[0].name)


@dataclass(frozen=True)
class Sensitivity:
    """What was found.

    Attributes
    ----------
    question, settings
    outcomes : DataFrame
        Of `Question.outcomes`, with `unit`, `meaning`; `default` (at the parameters' values), `mean`, `sd`, `low`,
        `median`, `high` (5th, 50th and 95th percentile over the Sobol sample); `censored` (%: vectors in which BMD was
        not back at baseline by the last month, counted as that month); `undefined` (%: vectors without a value); `used`
        (%: blocks of the Sobol sample without an undefined value, from which the indices are); `status` ("ok",
        "constant", "undefined"); `left_out` (%: share of the squared Morris effects of the parameters
        that were screened out).
    morris, sobol, pairs : DataFrame
        `outcome`, then as from `morris_indices` and `sobol_indices`.
    correlations : DataFrame
        `outcome`, then as from `rank_correlations`; empty without an ensemble.
    samples : DataFrame
        A row a vector: `stage`, `matrix`, values of the parameters, and each arm's outcomes.
    """

    question: Question
    settings: Settings
    outcomes: pd.DataFrame
    morris: pd.DataFrame
    sobol: pd.DataFrame
    pairs: pd.DataFrame
    correlations: pd.DataFrame
    samples: pd.DataFrame

    @property
    def kept(self) -> list[str]:
        """Parameters that passed the screening, the strongest first."""
        return list(dict.fromkeys(self.sobol["symbol"]))


def analyse(
    question: Question,
    settings: Settings,
    *,
    ensemble: pd.DataFrame | None = None,
    work: Path | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> Sensitivity:
    """Screen the parameters, then the indices of those that matter.

    Parameters
    ----------
    question : Question
    settings : Settings
    ensemble : DataFrame, optional
        Correlated vectors of parameter values, as from `ranges.read_vectors`.
    work : path, optional
        Folder in which finished portions are kept, and found again.
    workers : int
        Threads; the result does not depend on it.
    progress : callable, optional
        Called with (done, total), in simulated persons.

    Raises
    ------
    BadInput
        If the settings can't be used.
    RunFailed
        If a vector can't be integrated, or no outcome varies.
    """
    settings.check()
    moved = question.moved
    symbols = list(moved["symbol"])
    keep = min(settings.keep, len(symbols))
    unit = morris_sample(symbols, settings.trajectories, settings.seed)
    vectors = 1 + len(unit) + settings.samples * ((2 if settings.second_order else 1) * keep + 2)
    vectors += 0 if ensemble is None else len(ensemble)
    bench = _Bench(question, work, workers, progress, vectors * len(question.arms))

    here = pd.DataFrame([dict(zip(symbols, moved["value"], strict=True))])
    screening = pd.DataFrame(natural(unit, moved), columns=symbols)
    frames = [bench.run("default", here), bench.run("morris", screening)]
    default = outcome_values(question, frames[0]).iloc[0]
    y = outcome_values(question, frames[1])
    names = list(y.columns)
    steps = len(symbols) + 1
    usable = [n for n in names if _status(y[n], steps, SCREENED) == "ok"]
    morris = _by_outcome({n: morris_indices(symbols, unit, y[n].to_numpy(), settings.seed) for n in usable})
    if morris.empty:
        raise RunFailed(
            f"{question.trial.name}: no outcome varies, or all lack a value in some vector; move other parameters."
        )
    squares = morris.assign(square=morris["mu_star"] ** 2).pivot(index="outcome", columns="symbol", values="square")
    shares = squares.div(squares.sum(axis=1), axis=0)[symbols]
    score = shares.mean()
    best = list(score.sort_values(ascending=False, kind="stable").index[:keep])

    chosen = moved.set_index("symbol").loc[best].reset_index()
    unit, matrix = sobol_sample(best, settings.samples, settings.second_order, settings.seed)
    frames.append(bench.run("sobol", pd.DataFrame(natural(unit, chosen), columns=best)))
    y = outcome_values(question, frames[2])
    block = len(unit) // settings.samples
    facts = _facts(question, frames[2], y, default, np.isin(matrix, ("A", "B")), block)
    usable = list(facts.loc[facts["status"] == "ok", "outcome"])
    found = {n: sobol_indices(best, y[n].to_numpy(), settings.second_order, settings.seed) for n in usable}
    facts["left_out"] = facts["outcome"].map(100 * shares.drop(columns=best).sum(axis=1))

    correlations = pd.DataFrame()
    if ensemble is not None:
        frames.append(bench.run("ensemble", ensemble))
        z = outcome_values(question, frames[3])
        by_name = {n: rank_correlations(ensemble, z[n]) for n in names if np.ptp(z[n].dropna()) > FLAT}
        correlations = _by_outcome(by_name)
    matrices = [np.array([""]), np.full(len(screening), ""), matrix, np.full(len(frames[-1]), "")]
    parts = []
    for frame, label in zip(frames, matrices, strict=False):
        whole = frame.copy()
        for symbol, value in zip(symbols, moved["value"], strict=True):
            if symbol not in whole:
                whole[symbol] = value
        whole.insert(1, "matrix", label)
        parts.append(whole)
    extra = [] if ensemble is None else [c for c in ensemble if c not in symbols]
    samples = pd.concat(parts, ignore_index=True)
    raw = [column for column in frames[0] if column not in ("stage", *symbols)]
    return Sensitivity(
        question,
        settings,
        facts,
        morris,
        _by_outcome({n: indices for n, (indices, _) in found.items()}),
        _by_outcome({n: pairs for n, (_, pairs) in found.items()}),
        correlations,
        samples[["stage", "matrix", *symbols, *extra, *raw]],
    )


def evaluate(
    question: Question, vectors: pd.DataFrame, *, workers: int = 1, progress: Callable[[int], None] | None = None
) -> pd.DataFrame:
    """Outcomes of each arm, for each vector of parameter values.

    Returns
    -------
    DataFrame
        A row a vector, columns ``ARM.measure``; months back are inf where BMD is not back by the last month.
    """
    months = question.months
    found = courses(
        question.trial, question.parameters, question.agents, vectors, question.arms, months,
        workers=workers, progress=progress,
    )  # fmt: skip
    columns: dict[str, np.ndarray] = {}
    for k, arm in enumerate(question.arms):
        change = {}
        for site in SITES:
            bmd = found[f"BMD_{site}"][:, k]
            change[site] = 100 * (bmd / bmd[:, :1] - 1)
        ctx = found["CTX"][:, k]
        own = after_treatment(months, change, 100 * ctx / ctx[:, :1], question.ends[arm])
        columns |= {f"{arm}.{name}": value for name, value in own.items()}
    return pd.DataFrame(columns)


def outcome_values(question: Question, raw: pd.DataFrame) -> pd.DataFrame:
    """Every outcome as it is analysed: differences taken, months back cut at the last month.

    Parameters
    ----------
    question : Question
    raw : DataFrame
        As from `evaluate`, more columns allowed.
    """
    columns = {}
    for row in question.outcomes.to_dict("records"):
        values = [
            raw[f"{arm}.{row['measure']}"].to_numpy(float).clip(max=_most(question, arm, row["measure"]))
            for arm in (row["arm"], row["versus"])
            if arm
        ]
        columns[row["outcome"]] = values[0] - values[1] if len(values) == 2 else values[0]
    return pd.DataFrame(columns)


def _most(question: Question, arm: str, measure: str) -> float:
    """Months that an arm is watched after treatment, for a time that may lie beyond; else no limit."""
    return float(question.trial.months) - question.ends[arm] if measure.startswith("back_") else np.inf


def _status(y: pd.Series, size: int, least: float) -> str:
    """Whether indices can be had of an outcome, from trajectories or blocks of `size` vectors."""
    whole = complete(y.to_numpy(float), size)
    if whole.sum() < 2 or whole.mean() < least:
        return "undefined"
    return "ok" if float(y[np.repeat(whole, size)].std(ddof=0)) > FLAT else "constant"


def _by_outcome(frames: dict[str, pd.DataFrame]) -> pd.DataFrame:
    parts = []
    for name, frame in frames.items():
        frame = frame.copy()
        frame.insert(0, "outcome", name)
        parts.append(frame)
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _facts(
    question: Question, raw: pd.DataFrame, y: pd.DataFrame, default: pd.Series, plain: np.ndarray, block: int
) -> pd.DataFrame:
    """`Sensitivity.outcomes` but for `left_out`; `plain`: rows of the independent samples, `block`: their step."""
    rows = []
    for row in question.outcomes.to_dict("records"):
        measure = MEASURES[row["measure"]]
        values = y.loc[plain, row["outcome"]]
        known = values.dropna().to_numpy()
        low, median, high = np.percentile(known, [5, 50, 95]) if len(known) else (np.nan,) * 3
        sides = [raw.loc[plain, f"{arm}.{row['measure']}"] for arm in (row["arm"], row["versus"]) if arm]
        censored = np.any([np.isinf(side) for side in sides], axis=0)
        rows.append(
            row
            | {
                "unit": measure.unit,
                "meaning": measure.meaning,
                "default": float(default[row["outcome"]]),
                "mean": known.mean() if len(known) else np.nan,
                "sd": known.std() if len(known) else np.nan,
                "low": low,
                "median": median,
                "high": high,
                "censored": 100 * float(censored.mean()),
                "undefined": 100 * float(values.isna().mean()),
                "used": 100 * float(complete(y[row["outcome"]].to_numpy(float), block).mean()),
                "status": _status(y[row["outcome"]], block, ENOUGH),
            }
        )
    return pd.DataFrame(rows)


class _Bench:
    """Vectors worked off in portions; a finished portion is on disk under its stage and number."""

    def __init__(
        self, question: Question, work: Path | None, workers: int, progress: Progress | None, total: int
    ) -> None:
        self.question, self.work, self.workers, self.progress, self.total = question, work, workers, progress, total
        self.done = 0

    def run(self, stage: str, vectors: pd.DataFrame) -> pd.DataFrame:
        """`vectors` with their outcomes beside them, and the name of the stage."""
        parts = []
        for first in range(0, len(vectors), PORTION):
            portion = vectors.iloc[first : first + PORTION].reset_index(drop=True)
            place = None if self.work is None else self.work / f"{stage}-{first // PORTION:05d}.parquet"
            if place is not None and place.is_file():
                parts.append(pd.read_parquet(place))
                self._tell(len(portion) * len(self.question.arms))
                continue
            try:
                found = evaluate(self.question, portion, workers=self.workers, progress=self._tell)
            except RunFailed as fault:
                raise RunFailed(self._which(stage, first, portion, fault)) from fault
            if place is not None:
                part = place.with_suffix(".part")
                found.to_parquet(part, index=False)
                os.replace(part, place)
            parts.append(found)
        whole = pd.concat([vectors.reset_index(drop=True), pd.concat(parts, ignore_index=True)], axis=1)
        whole.insert(0, "stage", stage)
        return whole

    def _tell(self, persons: int) -> None:
        self.done += persons
        if self.progress:
            self.progress(self.done, self.total)

    def _which(self, stage: str, first: int, portion: pd.DataFrame, fault: RunFailed) -> str:
        """The vector that failed, by the parameters that are furthest from their values."""
        moved = self.question.moved.set_index("symbol")
        for k in range(len(portion)):
            try:
                evaluate(self.question, portion.iloc[[k]].reset_index(drop=True))
            except RunFailed:
                own = portion.iloc[k]
                span = (moved["high"] - moved["low"]).reindex(own.index)
                far = ((own - moved["value"].reindex(own.index)).abs() / span).sort_values(ascending=False).index[:4]
                values = ", ".join(f"{symbol} = {own[symbol]:g}" for symbol in far)
                return (
                    f"vector {first + k} of stage {stage} can't be integrated (furthest from their values: {values}); "
                    "exclude one of them, or narrow its interval."
                )
        return str(fault)
