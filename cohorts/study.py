"""A study as analyses read it: a finished run, a replicate, or a part of either.

Whatever analyses a trial takes a `Study` and asks for nothing else. A run reads its tables from its folder when they
are asked for; replicates, cuts at interim looks and analysis sets hold theirs in memory (`StudyTables`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import pandas as pd

from ranklsim.cohorts.endpoints import Endpoint, Setting
from ranklsim.cohorts.protocol.design import ends_of_treatment
from ranklsim.cohorts.protocol.trial import Trial
from ranklsim.pkpd.agents import Agent


class Study(Protocol):
    """The tables of one study; columns as in a run folder."""

    @property
    def trial(self) -> Trial:
        """The trial as it was run, with its seed."""

    @property
    def agents(self) -> Mapping[str, Agent]:
        """The agents of the trial by name."""

    @property
    def patients(self) -> pd.DataFrame:
        """One row per patient."""

    @property
    def doses(self) -> pd.DataFrame:
        """One row per dose that was planned, or added by rescue."""

    @property
    def events(self) -> pd.DataFrame:
        """One row per event."""

    @property
    def twins(self) -> pd.DataFrame:
        """One row per visit of a counterfactual twin; empty where the study has none."""

    @property
    def twin_events(self) -> pd.DataFrame:
        """One row per event of a counterfactual twin; empty where the study has none."""

    def seen(self, *columns: str, attended: bool = False, months: Collection[float] | None = None) -> pd.DataFrame:
        """Some columns of the visits, besides `patient`, `arm` and `month`.

        Parameters
        ----------
        *columns : str
        attended : bool
            Only the visits that the patient came to.
        months : collection of float, optional
            Only the visits of these months.
        """


@dataclass(frozen=True)
class StudyTables:
    """A study in memory: `tables` holds those of a run folder that the analyses at hand need, by name."""

    trial: Trial
    agents: Mapping[str, Agent]
    tables: Mapping[str, pd.DataFrame]
    _seen: dict[tuple[object, ...], pd.DataFrame] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def patients(self) -> pd.DataFrame:
        """One row per patient."""
        return self.tables["patients"]

    @property
    def doses(self) -> pd.DataFrame:
        """One row per dose that was planned, or added by rescue."""
        return self.tables["doses"]

    @property
    def events(self) -> pd.DataFrame:
        """One row per event."""
        return self.tables["events"]

    @property
    def twins(self) -> pd.DataFrame:
        """One row per visit of a counterfactual twin; empty where the study has none."""
        return self.tables.get("twins", pd.DataFrame())

    @property
    def twin_events(self) -> pd.DataFrame:
        """One row per event of a counterfactual twin; empty where the study has none."""
        return self.tables.get("twin_events", pd.DataFrame())

    def seen(self, *columns: str, attended: bool = False, months: Collection[float] | None = None) -> pd.DataFrame:
        """Some columns of the visits; see `Study.seen`.

        Parameters
        ----------
        *columns : str
            Measures, such as BMD_LS.
        attended : bool
            Whether to leave out visits that the patient missed.
        months : collection of float, optional
            Only visits planned at these months.
        """
        asked = (columns, attended, None if months is None else tuple(months))
        if asked not in self._seen:  # several endpoints and estimands are about the same measure
            visits = self.tables["visits"]
            if attended:
                visits = visits[visits["attended"].astype(bool)]
            if months is not None:
                visits = visits[visits["month"].isin(list(months))]
            self._seen[asked] = visits[["patient", "arm", "month", *columns]]
        return self._seen[asked].copy(deep=False)


def in_memory(study: Study, *columns: str, patients: Collection[int] | None = None) -> StudyTables:
    """A study with its patients, its events and some columns of its visits in memory.

    Parameters
    ----------
    study : Study
    *columns : str
        Columns of the visits; without any, the visits are left out.
    patients : collection of int, optional
        Only these patients.
    """
    tables = {"patients": study.patients, "events": study.events}
    if columns:
        tables["visits"] = study.seen(*columns)
    if patients is not None:
        tables = {name: own[own["patient"].isin(patients)].reset_index(drop=True) for name, own in tables.items()}
    return StudyTables(study.trial, study.agents, tables)


def setting(
    study: Study, spec: Endpoint, *, comparator: str | None = None, ends: Mapping[str, float] | None = None
) -> Setting:
    """How an endpoint of a study is analysed.

    Parameters
    ----------
    study : Study
    spec : Endpoint
        The bootstraps of each change have a seed of their own.
    comparator : str, optional
        The arm that others are compared with; that of the endpoint if not given.
    ends : mapping of str to float, optional
        Month at which the treatment of each arm ends; that of its regimens if not given,
        as far as the endpoint needs it.
    """
    trial = study.trial
    arms, changes = tuple(arm.name for arm in trial.arms), [change.name for change in trial.changes]
    seed = trial.seed + (changes.index(spec.name) if spec.name in changes else 0)
    if ends is None:
        ends = ends_of_treatment(trial.arms, study.agents) if spec.after_treatment else {}
    return Setting(arms, comparator or spec.against or trial.control, seed, ends, trial.conduct.imaging, spec.arms)
