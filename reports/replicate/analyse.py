"""Each study of many analysed as the trial's report would: endpoints, decisions over several hypotheses, estimands.

The functions are those of the report (`results.endpoint_table`, `results.decisions`, `estimands.estimate_all`), given a
study in place of a run. Under the null hypothesis the same analyses are made of the study without the effect of the
drug.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import joblib
import numpy as np
import pandas as pd
import threadpoolctl

from ranklsim.cohorts.endpoints import Endpoint, Estimand
from ranklsim.cohorts.protocol.design import ends_of_treatment
from ranklsim.cohorts.protocol.trial import Trial
from ranklsim.cohorts.statistics.claims import SUPERIORITY
from ranklsim.cohorts.study import StudyTables
from ranklsim.pkpd.agents import Agent
from ranklsim.reports.analyses import estimands, results
from ranklsim.reports.analyses.monitoring import Monitored, monitor
from ranklsim.reports.replicate.sample import Observed, Studies

TRIAL, NULL = "trial", "null"
"""Design of a study: as the trial file says, or without the effect of the drug."""

DIFFERENCE, MEAN, ESTIMAND = "difference", "mean", "estimand"
"""What is estimated: the effect against the control arm, an arm's own value, or the effect an estimand asks for."""

SUBJECT = ("endpoint", "estimand", "arm", "quantity", "effect_measure")
ESTIMATES = (
    *("vector", "replicate", "patients", "design", *SUBJECT),
    *("n", "estimate", "se", "low", "high", "p", "p_claim", "adjusted", "shown", "harm", "method"),
)
"""Columns of the estimates: a row for each study, endpoint (or estimand), arm and quantity. `n` patients of the arm
analysed; `se` of the logarithm of a ratio, NaN where the analysis has none; `p` of no effect, `p_claim` of what is
claimed (of a hypothesis that which the procedure used: over looks, or at a stop) and `adjusted` that of a hypothesis
of [multiplicity]; `shown` whether the claim is shown by itself and `harm` whether its opposite is (0 or 1; NaN where a
margin can't be the truth of a study without an effect, or is of another measure than an estimand's)."""

LOOKS = (
    *("vector", "replicate", "patients", "design"),
    *("arm", "rejected", "decision", "look", "month", "enrolled", "share", "effect", "p"),
)
"""Columns of the looks: a row for each study and arm that is tested at interim looks, as of `monitoring.OUTCOME`."""

AT_ONCE = 5  # studies a task of a process
FEW = 200  # analyses that are not worth starting processes for


@dataclass(frozen=True)
class Protocol:
    """What is analysed in every study.

    Attributes
    ----------
    trial : Trial
    agents : dict
        Name to agent.
    sizes : tuple of int
        Numbers of patients, increasing.
    """

    trial: Trial
    agents: Mapping[str, Agent]
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, trial: Trial, agents: Sequence[Agent], sizes: Sequence[int]) -> Protocol:
        """That of `trial`, for studies of these sizes.

        Parameters
        ----------
        trial : Trial
            The trial.
        agents : sequence of Agent
            Those of the trial.
        sizes : sequence of int
            Numbers of patients, increasing.
        """
        return cls(trial, {agent.name: agent for agent in agents}, tuple(sizes))

    @property
    def control(self) -> str | None:
        """The arm that others are compared with."""
        return self.trial.control

    @property
    def endpoints(self) -> list[Endpoint]:
        """Every endpoint of the trial."""
        return list(self.trial.endpoints)

    @property
    def estimands(self) -> list[Estimand]:
        """Every estimand of the trial."""
        return list(self.trial.estimands)

    @cached_property
    def arms(self) -> list[str]:
        """Names of all arms."""
        return [arm.name for arm in self.trial.arms]

    def others(self, spec: Endpoint) -> list[str]:
        """Arms of which an endpoint is reported: those it compares, or all.

        Parameters
        ----------
        spec : Endpoint
        """
        return self.trial.compared(spec) or self.arms

    @cached_property
    def ends(self) -> dict[str, float]:
        """Month at which the treatment of each arm ends."""
        return ends_of_treatment(self.trial.arms, self.agents)

    def ends_of(self, design: str) -> dict[str, float]:
        """The same under a design: that of the control treatment for all where all are given it.

        Parameters
        ----------
        design : str
            "trial" or "null".
        """
        if design == NULL and self.control is not None:
            return dict.fromkeys(self.ends, self.ends[self.control])
        return self.ends

    @property
    def analyses(self) -> int:
        """Analyses of one study of one size."""
        return len(self.endpoints) + len(self.estimands)


@dataclass(frozen=True)
class Analysed:
    """Studies analysed.

    Attributes
    ----------
    estimates : DataFrame
        Columns `ESTIMATES`.
    looks : DataFrame
        Columns `LOOKS`; empty where no look is tested.
    """

    estimates: pd.DataFrame
    looks: pd.DataFrame


# -- one study ---------------------------------------------------------------------------------------------------------


def analysed(study: StudyTables, protocol: Protocol, design: str = TRIAL) -> Analysed:
    """Every endpoint, decision, estimand and look of one study, by the functions of the trial's report.

    Parameters
    ----------
    study : StudyTables
    protocol : Protocol
    design : str
        `TRIAL` or `NULL`.

    Returns
    -------
    Analysed
        Columns of `ESTIMATES` from `endpoint` on, and of `LOOKS` from `arm` on.
    """
    rows, looks = _rows(study, protocol, design)
    return Analysed(pd.DataFrame(rows, columns=list(ESTIMATES[4:])), pd.DataFrame(looks, columns=list(LOOKS[4:])))


Rows = list[dict[str, Any]]


def _rows(study: StudyTables, protocol: Protocol, design: str) -> tuple[Rows, Rows]:
    """Rows of the estimates and of the looks of one study."""
    trial, null = protocol.trial, design == NULL
    found = results.analysed_endpoints(study, ends=protocol.ends_of(design))
    # Under the null hypothesis a claim with a margin is asked of a true effect that is the margin.
    moved = [each.at_margin() for each in found] if null else found
    seen = monitored(study, protocol, design)
    decided: dict[tuple[str, str], dict[str, float]] = {}
    if trial.multiplicity is not None:
        frame = results.decisions(study, moved, seen, at_margin=null)
        keys = zip(frame["endpoint"], frame["arm"], strict=True)
        values = zip(frame["p"], frame["adjusted"], strict=True)
        decided = {key: {"p_claim": p, "adjusted": adjusted} for key, (p, adjusted) in zip(keys, values, strict=True)}
    rows: Rows = []
    for each, claimed in zip(found, moved, strict=True):
        spec, compared = each.spec, trial.compared(each.spec)
        for row, claim in zip(each.rows(), claimed.rows(), strict=True):
            shared = {"endpoint": spec.name, "estimand": "", "arm": row["arm"], "n": int(row["n"])}
            shared |= dict.fromkeys(("p", "p_claim", "adjusted", "shown", "harm"), np.nan) | {"method": row["method"]}
            own = {name: row[name] for name in ("estimate", "low", "high")}
            rows.append(shared | {"quantity": MEAN, "effect_measure": "", "se": row["std_error"]} | own)
            if row["arm"] not in compared:
                continue
            gap = {name: row[column] for name, column in EFFECT.items()}
            gap["se"] = np.nan if row["method"].startswith(WITHOUT_ERROR) else row["effect_error"]
            if not null or spec.claim.kind == SUPERIORITY or spec.moves:
                gap |= {"p_claim": claim["p_claim"], "shown": float(claim["shown"]), "harm": float(claim["harm"])}
                gap |= decided.get((spec.name, row["arm"]), {})
            gap |= {"quantity": DIFFERENCE, "p": row["p"], "effect_measure": row["effect_measure"]}
            rows.append(shared | gap)
            for more in spec.beside(each):
                rows.append(shared | {"effect_measure": "", "se": np.nan} | more)
    for row in estimands.estimated(study, at_margin=null):
        kept = {name: row[name] for name in ("endpoint", "estimand", "arm", "estimate", "low", "high", "p", "method")}
        kept |= {name: row[name] for name in ("p_claim", "shown", "harm")}
        kept |= {"n": 0 if pd.isna(row["n"]) else int(row["n"]), "quantity": ESTIMAND, "se": row["std_error"]}
        rows.append(kept | {"effect_measure": row["summary"], "adjusted": np.nan})
    return rows, seen.outcome[list(LOOKS[4:])].to_dict("records") if len(seen.outcome) else []


EFFECT = {"estimate": "effect", "low": "effect_low", "high": "effect_high"}
WITHOUT_ERROR = ("Miettinen", "bootstrap", "medians")
"""Methods whose interval does not rest on a standard error."""


def monitored(study: StudyTables, protocol: Protocol, design: str = TRIAL) -> Monitored:
    """One study at its interim looks; empty where none is tested.

    Under the null hypothesis a claim with a margin is asked of a true effect that is the margin. The p over all looks
    is asked for where a decision over several hypotheses needs it.

    Parameters
    ----------
    study : StudyTables
    protocol : Protocol
    design : str
    """
    trial, plan = protocol.trial, protocol.trial.multiplicity
    if trial.interim is None:
        return results.unmonitored()
    adjusted = plan is not None and any(name == trial.interim.endpoint for name, _ in plan.hypotheses)
    return monitor(study, adjusted=adjusted, at_margin=design == NULL)


# -- many studies ------------------------------------------------------------------------------------------------------


def analyse(
    found: Studies,
    protocol: Protocol,
    *,
    null: bool = True,
    workers: int = 1,
    progress: Callable[[int], None] | None = None,
) -> Analysed:
    """All studies analysed, in every size, and under the null hypothesis where there is a control arm.

    Parameters
    ----------
    found : Studies
    protocol : Protocol
    null : bool
        Whether to analyse the studies under the null hypothesis too.
    workers : int
        Processes; no result depends on it.
    progress : callable, optional
        Called with the number of patients whose study is analysed, since the last call.

    Returns
    -------
    Analysed
    """
    designs = {TRIAL: found.seen} | ({NULL: found.null} if null and found.null is not None else {})
    apart = {design: apart_of(found, of, protocol) for design, of in designs.items()}
    whole = list(zip(*apart.values(), strict=True))  # of each study, its designs
    tasks = [
        [dict(zip(apart, of_study, strict=True)) for of_study in whole[first : first + AT_ONCE]]
        for first in range(0, len(whole), AT_ONCE)
    ]
    analyses = len(whole) * protocol.analyses * len(designs) * len(protocol.sizes)
    parts = []
    for done, task in zip(_run(tasks, protocol, workers if analyses >= FEW else 1), tasks, strict=True):
        parts.append(done)
        if progress:
            progress(sum(len(study[TRIAL].patients) for study in task))
    return _together(parts)


def _together(parts: Sequence[Analysed]) -> Analysed:
    frames = {name: [getattr(part, name) for part in parts] for name in ("estimates", "looks")}
    return Analysed(**{name: pd.concat(each, ignore_index=True) for name, each in frames.items()})


def apart_of(found: Studies, of: Observed, protocol: Protocol) -> list[StudyTables]:
    """Studies one by one, each as its run would be.

    Parameters
    ----------
    found : Studies
        Simulated studies.
    of : Observed
        What was seen under one design.
    protocol : Protocol
        What is analysed.
    """
    keys = ["vector", "replicate"]
    people, events = _plain_text(found.people(of)), _plain_text(found.events(of))
    measured = any(spec.columns for spec in protocol.endpoints)
    visits = _plain_text(found.visits(of)) if measured else None
    starts = np.flatnonzero(~people.duplicated(keys))
    ends = np.append(starts[1:], len(people))
    m = found.months.size
    place = np.searchsorted(found.identity, of.events["patient"].to_numpy(dtype=np.int64))
    cuts = np.searchsorted(place, np.append(starts, len(people)))
    return [
        StudyTables(
            protocol.trial,
            protocol.agents,
            {
                "patients": people.iloc[a:b].reset_index(drop=True),
                **({} if visits is None else {"visits": visits.iloc[a * m : b * m].reset_index(drop=True)}),
                "events": events.iloc[cuts[k] : cuts[k + 1]].reset_index(drop=True),
            },
        )
        for k, (a, b) in enumerate(zip(starts, ends, strict=True))
    ]


TEXT = pd.StringDtype("python", na_value=np.nan)
"""Text as Python holds it: for tables as small as those of one study, that is faster than Arrow's."""


def _plain_text(frame: pd.DataFrame) -> pd.DataFrame:
    own = frame.astype({name: TEXT for name, dtype in frame.dtypes.items() if isinstance(dtype, pd.StringDtype)})
    return own.set_axis(own.columns.astype(object), axis=1)


def _first(study: StudyTables, size: int) -> StudyTables:
    """The study with its first patients only."""
    kept = {name: frame[frame["patient"] <= size].reset_index(drop=True) for name, frame in study.tables.items()}
    return replace(study, tables=kept)


Task = list[dict[str, StudyTables]]


def _run(tasks: list[Task], protocol: Protocol, workers: int) -> Iterator[Analysed]:
    """Results of `_analysed_studies`, in order."""
    if workers == 1 or len(tasks) == 1:
        yield from (_analysed_studies(task, protocol) for task in tasks)
        return
    pool = joblib.Parallel(n_jobs=workers, backend="loky", return_as="generator")
    yield from pool(joblib.delayed(_analysed_studies)(task, protocol) for task in tasks)


def _analysed_studies(task: Task, protocol: Protocol) -> Analysed:
    """Estimates and looks of some studies, in every size and design."""
    estimates: Rows = []
    looks: Rows = []
    # Sums of the linear algebra do not depend on the machine's processors.
    with threadpoolctl.threadpool_limits(1), pd.option_context("mode.string_storage", "python"):
        for designs in task:
            for size in protocol.sizes:
                for design, whole in designs.items():
                    study = whole if size == len(whole.patients) else _first(whole, size)
                    facts: dict[str, Any] = {name: study.patients[name].iloc[0] for name in ("vector", "replicate")}
                    facts |= {"patients": size, "design": design}
                    for kept, rows in zip((estimates, looks), _rows(study, protocol, design), strict=True):
                        kept += [facts | row for row in rows]
    return Analysed(pd.DataFrame(estimates, columns=list(ESTIMATES)), pd.DataFrame(looks, columns=list(LOOKS)))
