"""What a trial is once its file has been read: population, arms, visits, conduct (endpoints: `endpoints`).

Times are months of 30.4375 days since randomisation, unless a name ends in ``_day``. Everything is immutable:
`Trial.with_overrides` gives another trial.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tomlkit
from numpy.typing import NDArray

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

EACH = ("ID", "turn")
"""How the patients of an arm and those of a table of doses go together."""
SOURCE = "source_id"
"""Column of covariates: the ID of the woman of the population's table whom a patient comes from."""
SEEDS = 2**63  # a seed is one word of the random generator's key, and fits a signed integer of any file format


@dataclass(frozen=True)
class Courses:
    """What each patient of an arm is given.

    Attributes
    ----------
    each : {"ID", "turn"}
        Whose doses a patient gets: those of the woman of the population's table whom she comes from, or those of the
        table's patients in turn, the first for the trial's patient 1.
    doses : dict of str to list of Regimen
        By ID, in the order of the table.
    """

    each: str
    doses: dict[str, list[Regimen]]

    @property
    def middle(self) -> list[Regimen]:
        """The course in the middle, by number of doses, then by time of the last: that of the typical patient."""

        def size(regimens: list[Regimen]) -> tuple[int, float]:
            last = max((float(r.times_days()[-1]) for r in regimens), default=0.0)
            return sum(r.doses for r in regimens), last

        return sorted(self.doses.values(), key=size)[len(self.doses) // 2]

    @cached_property
    def planned(self) -> pd.DataFrame:
        """Every dose, as from `Arm.doses`, by `course`, the place in `doses`."""
        parts = [_planned(own).assign(course=k) for k, own in enumerate(self.doses.values())]
        return pd.concat(parts, ignore_index=True)

    def of(self, people: pd.DataFrame) -> NDArray[np.int64]:
        """Which course patients get, shape (n,); the middle one where nobody has an ID.

        Parameters
        ----------
        people : DataFrame, n rows
            `patient`, and `SOURCE` where patients come from a table.
        """
        if self.each == "turn":
            return (people["patient"].to_numpy(np.int64) - 1) % len(self.doses)
        if SOURCE not in people:
            return np.full(len(people), list(self.doses.values()).index(self.middle))
        place = {who: k for k, who in enumerate(self.doses)}
        return people[SOURCE].map(place).to_numpy(np.int64)


@dataclass(frozen=True)
class Arm:
    """One treatment group: a name for data, a label for people, and what it is given, in order of time.

    Where each patient is given doses of her own (`courses`), `regimens` is what the typical patient is given.
    """

    name: str
    label: str
    regimens: list[Regimen]
    courses: Courses | None = None

    @property
    def planned(self) -> list[Regimen]:
        """Every regimen that any patient is given."""
        return self.regimens if self.courses is None else [r for own in self.courses.doses.values() for r in own]

    def doses(self) -> pd.DataFrame:
        """Every planned dose, of the typical patient.

        Returns
        -------
        DataFrame
            Columns agent, month, day, amount_mg (NaN of a dose by weight), every_days (the regimen's interval),
            mg_per_kg and cap_mg (NaN of other doses), infusion_days, and steady (the interval of doses before it that
            led to a steady state, 0 for none); in order of time, doses of one day in order of the regimens.
        """
        return self._doses.copy()

    @cached_property
    def _doses(self) -> pd.DataFrame:
        return _planned(self.regimens)

    @property
    def last_dose_month(self) -> float | None:
        """Month of the last planned dose; None for an arm that is given nothing."""
        days = [float(regimen.times_days()[-1]) for regimen in self.planned]
        return max(days) / DAYS_PER_MONTH if days else None


def _planned(regimens: Sequence[Regimen]) -> pd.DataFrame:
    """Every dose of some regimens, as `Arm.doses` gives them."""
    nan = float("nan")
    plan = [
        (
            r.agent,
            day,
            nan if r.per_kg else r.dose_mg,
            r.every_days,
            *((r.dose_mg, r.cap_mg) if r.per_kg else (nan, nan)),
            r.infusion_days,
            r.every_days if r.steady and turn == 0 else 0.0,
        )
        for r in regimens
        for turn, day in enumerate(r.times_days())
    ]
    columns = ["agent", "day", "amount_mg", "every_days", "mg_per_kg", "cap_mg", "infusion_days", "steady"]
    frame = pd.DataFrame(plan, columns=columns)
    frame.insert(1, "month", frame["day"].astype(float) / DAYS_PER_MONTH)
    frame = frame.astype(dict.fromkeys(frame.columns.drop("agent"), float))
    return frame.sort_values("day", kind="stable", ignore_index=True)


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
    def infused(self) -> bool:
        """Whether any dose is an infusion."""
        return any(regimen.infusion_days for arm in self.arms for regimen in arm.planned)

    @property
    def matched(self) -> bool:
        """Whether doses are those of single women of the population's table, by their ID."""
        return any(arm.courses is not None and arm.courses.each == "ID" for arm in self.arms)

    def dosing_days(self, agents: Collection[str]) -> NDArray[np.float64]:
        """Days at which anything of some agents is planned to enter anybody, each once, ascending.

        Parameters
        ----------
        agents : collection of str
            Their names.
        """
        parts = [r for arm in self.arms for whole in arm.planned if whole.agent in agents for r in whole.boluses()]
        return np.unique(np.concatenate([np.empty(0), *(part.times_days() for part in parts)]))

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
        planned = [regimen.agent for arm in self.arms for regimen in arm.planned]
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
        planned = [regimen for arm in self.arms for regimen in arm.planned]
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
        active = [r for r in arm.planned if agents[r.agent].kind != "none"] or list(arm.planned)
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
