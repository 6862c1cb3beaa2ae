"""What a trial is once its file has been read: population, arms, visits, conduct (endpoints: `endpoints`).

Times are months of 30.4375 days since randomisation, unless a name ends in ``_day``. Everything is immutable:
`Trial.with_overrides` gives another trial.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tomlkit

from ranklsim.cohorts.endpoints import Change, Endpoint, Estimand
from ranklsim.cohorts.measures import BMD_MEASURES, MARKER_MEASURES
from ranklsim.cohorts.people.criteria import Range, Stratum, admitted, parse_stratum
from ranklsim.cohorts.protocol.conduct import Conduct
from ranklsim.cohorts.protocol.endpoints import Interim, Multiplicity, PerProtocol, TippingPoint
from ranklsim.cohorts.protocol.midd import Midd
from ranklsim.pkpd.agents import Agent, load_agent
from ranklsim.pkpd.dosing import Regimen, warn_of_far_doses
from ranklsim.pkpd.errors import BadInput
from ranklsim.pkpd.parameters import ParameterTable
from ranklsim.pkpd.reading import MOST_PATIENTS
from ranklsim.pkpd.units import DAYS_PER_MONTH

SEEDS = 2**63  # a seed is one word of the random generator's key, and fits a signed integer of any file format


@dataclass(frozen=True)
class Arm:
    """One treatment group: a name for data, a label for people, and what it is given, in order of time."""

    name: str
    label: str
    regimens: list[Regimen]

    def doses(self) -> pd.DataFrame:
        """Every planned dose.

        Returns
        -------
        DataFrame
            Columns agent, month, day, amount_mg (NaN of a dose by weight), every_days (the regimen's interval),
            mg_per_kg and cap_mg (NaN of other doses); in order of time, doses of one day in order of the regimens.
        """
        return self._doses.copy()

    @cached_property
    def _doses(self) -> pd.DataFrame:
        nan = float("nan")
        plan = [
            (
                r.agent,
                day,
                nan if r.per_kg else r.dose_mg,
                r.every_days,
                *((r.dose_mg, r.cap_mg) if r.per_kg else (nan, nan)),
            )
            for r in self.regimens
            for day in r.times_days()
        ]
        frame = pd.DataFrame(plan, columns=["agent", "day", "amount_mg", "every_days", "mg_per_kg", "cap_mg"])
        frame.insert(1, "month", frame["day"].astype(float) / DAYS_PER_MONTH)
        frame = frame.astype(dict.fromkeys(frame.columns.drop("agent"), float))
        return frame.sort_values("day", kind="stable", ignore_index=True)

    @property
    def last_dose_month(self) -> float | None:
        """Month of the last planned dose; None for an arm that is given nothing."""
        days = [float(regimen.times_days()[-1]) for regimen in self.regimens]
        return max(days) / DAYS_PER_MONTH if days else None


@dataclass(frozen=True)
class Population:
    """Who is enrolled, by which criteria, and how they are shared out.

    `eligible` maps a covariate to its closed range in the unit of ``data/covariates.csv``, None for an open end.
    `ratio` maps each arm's name to its whole-number share, in the order of the arms.
    """

    name: str
    patients: int
    eligible: dict[str, Range]
    strata: list[str]
    ratio: dict[str, float]

    @cached_property
    def splits(self) -> list[Stratum]:
        """`strata`, ready to be applied to patients."""
        return [parse_stratum(text, where="") for text in self.strata]

    def admits(self, covariates: pd.DataFrame) -> np.ndarray:
        """Which patients are eligible; one row a patient in, one bool a patient out.

        Parameters
        ----------
        covariates : DataFrame, n rows
            A column for each covariate.
        """
        return admitted(self.eligible, covariates)


@dataclass(frozen=True)
class Visits:
    """Months at which BMD and blood markers are measured, increasing, from 0.

    `drug` are months of samples for the concentration of drugs, empty where they are taken with those for markers.
    `limits` are lower limits of quantitation by measure, or by "drug", in place of those of the parameter table.
    """

    BMD: tuple[float, ...]
    markers: tuple[float, ...]
    drug: tuple[float, ...] = ()
    limits: Mapping[str, float] = field(default_factory=dict)

    @property
    def months(self) -> tuple[float, ...]:
        """Every visit, of any kind."""
        return tuple(sorted({*self.BMD, *self.markers, *self.drug}))

    def of(self, measure: str) -> tuple[float, ...]:
        """Months at which a measure, or the concentration of a drug, is taken.

        Parameters
        ----------
        measure : str
            Such as BMD_LS, CTX or C_denosumab.
        """
        if measure in BMD_MEASURES:
            return self.BMD
        return self.markers if measure in MARKER_MEASURES else self.drug or self.markers


@dataclass(frozen=True)
class Layers:
    """Three sources of variation, switched separately: patients differ, measurements err, parameters are uncertain."""

    patients: bool = True
    residual: bool = True
    parameters: bool = True


@dataclass(frozen=True)
class Trial:
    """A trial, checked; two trials are equal if they are the same trial, wherever their files are.

    `twins` is the most patients of whom counterfactual courses are simulated, where there is an estimand.
    """

    name: str
    title: str
    description: str
    sources: list[str]
    seed: int
    months: float
    control: str | None
    population: Population
    arms: list[Arm]
    visits: Visits
    endpoints: list[Endpoint]
    conduct: Conduct
    layers: Layers
    uncertainty_draws: int
    estimands: list[Estimand]
    multiplicity: Multiplicity | None
    twins: int
    source_text: str = field(compare=False, repr=False)
    folder: Path = field(compare=False, repr=False)
    populations: Path = field(compare=False, repr=False)  # where the user's own populations are
    population_files: Mapping[str, bytes] = field(default_factory=dict, compare=False, repr=False)
    """Files of its population by name, once a run has read them: wherever its portions are done, they are the same."""
    interim: Interim | None = None
    tipping: TippingPoint | None = None
    per_protocol: PerProtocol | None = None
    midd: Midd | None = None

    def arm(self, name: str) -> Arm:
        """The arm of that name; KeyError if there is none.

        Parameters
        ----------
        name : str
            Its name in the trial file.
        """
        return next((arm for arm in self.arms if arm.name == name), None) or self._no_arm(name)

    @property
    def exposures(self) -> tuple[str, ...]:
        """True values at the visits that endpoints need besides the measures, such as ``AUC_DRUG``."""
        return tuple(dict.fromkeys(name for endpoint in self.endpoints for name in endpoint.latent))

    @property
    def changes(self) -> list[Change]:
        """Endpoints that are a change of a measure between two visits."""
        return [endpoint for endpoint in self.endpoints if isinstance(endpoint, Change)]

    def endpoint(self, name: str) -> Endpoint:
        """The endpoint of that name; KeyError if there is none.

        Parameters
        ----------
        name : str
            Its name in the trial file.
        """
        found = next((endpoint for endpoint in self.endpoints if endpoint.name == name), None)
        if found is None:
            raise KeyError(f"{self.name} has no endpoint '{name}'")
        return found

    def comparator(self, endpoint: Endpoint) -> str | None:
        """The arm that others are compared with in an endpoint: its own, or the trial's control.

        Parameters
        ----------
        endpoint : Endpoint
        """
        return endpoint.against or self.control

    def compared(self, endpoint: Endpoint) -> list[str]:
        """The arms that an endpoint compares with its comparator; none without a comparator.

        Parameters
        ----------
        endpoint : Endpoint
        """
        against = self.comparator(endpoint)
        others = [arm.name for arm in self.arms if arm.name != against]
        return [] if against is None else [name for name in others if not endpoint.arms or name in endpoint.arms]

    def agent_names(self) -> list[str]:
        """Agents that any arm is given, in order of first use, then those of rescue and switch."""
        planned = [regimen.agent for arm in self.arms for regimen in arm.regimens]
        return list(dict.fromkeys([*planned, *(rule.agent for rule in self.conduct.rules if rule.agent)]))

    def load_agents(self, parameters: ParameterTable) -> list[Agent]:
        """All agents of the trial with the numbers that a table holds; warns of doses far from the usual ones.

        Parameters
        ----------
        parameters : ParameterTable

        Raises
        ------
        BadInput
            If an agent's file can't be used.
        """
        agents = [parameters.apply(load_agent(name, folder=self.folder)) for name in self.agent_names()]
        planned = [regimen for arm in self.arms for regimen in arm.regimens]
        warn_of_far_doses([*planned, *self.conduct.rules], agents, parameters["WT"])
        return agents

    def with_overrides(
        self,
        *,
        patients: int | None = None,
        seed: int | None = None,
        layers: Layers | Mapping[str, bool] | None = None,
    ) -> Trial:
        """The same trial with another number of patients, seed or choice of layers.

        Parameters
        ----------
        patients : int, optional
            Patients in all arms together; at least as many as there are arms.
        seed : int, optional
            0 is a seed like any other.
        layers : Layers or mapping, optional
            A mapping changes only the layers that it names.

        Returns
        -------
        Trial

        Raises
        ------
        BadInput
            If a value is not possible.
        """
        patients = self.population.patients if patients is None else patients
        seed = self.seed if seed is None else seed
        faults = [*bad_patients(patients, len(self.arms)), *_bad_seed(seed)]
        if layers is None:
            layers = self.layers
        elif not isinstance(layers, Layers):
            unknown = set(layers) - set(vars(self.layers))
            faults += [
                f"unknown layer '{name}'; there are patients, residual and parameters." for name in sorted(unknown)
            ]
            layers = self.layers if unknown else replace(self.layers, **layers)
        if faults:
            raise BadInput(*faults)
        return replace(self, population=replace(self.population, patients=patients), seed=seed, layers=layers)

    def to_toml(self) -> str:
        """The trial as text that loads to this trial: its file, comments included, with the values in force.

        Name, seed, patients and layers are written into the text, since a name comes from the file's name and the
        others may have been overridden.

        Returns
        -------
        str
            TOML.
        """
        document = tomlkit.parse(self.source_text)
        if document.get("name") != self.name:
            document["name"] = self.name
        _set(document, "seed", self.seed)
        _set(document["population"], "patients", self.population.patients)
        if self.layers != Layers() or "layers" in document:
            if "layers" not in document:
                document.add("layers", tomlkit.table())
            for layer, on in vars(self.layers).items():
                _set(document["layers"], layer, on)
        return tomlkit.dumps(document)

    def _no_arm(self, name: str) -> Arm:
        raise KeyError(f"{self.name} has no arm '{name}', only {', '.join(arm.name for arm in self.arms)}")


def turning_month(arms: Sequence[Arm]) -> float | None:
    """Month of a switch common to all arms; None unless all start with the same regimen and differ later.

    Parameters
    ----------
    arms : sequence of Arm
    """
    firsts = {(r.agent, r.dose, r.start_day, r.every_days, r.doses) for arm in arms for r in list(arm.regimens)[:1]}
    same = len(arms) > 1 and len(firsts) == 1 and all(arm.regimens for arm in arms)
    if not same or len({tuple(map(repr, arm.regimens)) for arm in arms}) == 1:
        return None
    return float(arms[0].regimens[0].end_day) / DAYS_PER_MONTH


def ends_of_treatment(arms: Sequence[Arm], agents: Mapping[str, Agent]) -> dict[str, float]:
    """Month at which the treatment of each arm ends.

    Parameters
    ----------
    arms : sequence of Arm
    agents : mapping of str to Agent
        All agents that the arms name.

    Returns
    -------
    dict
        Arm to month: of the switch where all arms share one (`turning_month`), else the end of the last interval of a
        regimen that does something (of any regimen in an arm that is given placebo only), 0 for an arm given nothing.
    """
    switch = turning_month(arms)
    ends = {}
    for arm in arms:
        active = [r for r in arm.regimens if agents[r.agent].kind != "none"] or list(arm.regimens)
        end = max((float(r.end_day) for r in active), default=0.0) / DAYS_PER_MONTH
        ends[arm.name] = round(end if switch is None else switch, 6)
    return ends


def bad_patients(patients: int, arms: int) -> list[str]:
    """What is wrong with a number of patients, if anything.

    Parameters
    ----------
    patients, arms : int
        Number of patients and of arms.
    """
    if max(arms, 1) <= patients <= MOST_PATIENTS:
        return []
    if patients > MOST_PATIENTS:
        return [f"patients = {patients} are too many; give at most {MOST_PATIENTS}."]
    if patients < 1:
        return [f"patients = {patients} is not positive; give at least one an arm, {max(arms, 1)} here."]
    return [f"patients = {patients} are fewer than the {arms} arms; give at least {arms}."]


def _bad_seed(seed: int) -> list[str]:
    """What is wrong with a seed, if anything."""
    return [] if 0 <= seed < SEEDS else [f"seed = {seed} is not possible; give a whole number from 0 to 2**63 - 1."]


def _set(table: Any, key: str, value: int) -> None:
    """Write a value into a table where it differs; unchanged lines stay as they were, comments included."""
    before = table.get(key)
    if before is None:
        table[key] = value
    elif before != value:
        changed = tomlkit.item(value)
        changed.comment(f"for this run; {tomlkit.item(before).as_string()} in the trial's file")
        table[key] = changed
