"""One typical patient under a sequence of regimens: no variability between patients, no measurement error."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ranklsim.pkpd.agents import Agent, load_agent
from ranklsim.pkpd.arguments import MONTHS, by_name, checked, number, text, whole
from ranklsim.pkpd.arguments import folder as existing_folder
from ranklsim.pkpd.biology.skeleton import NAMES
from ranklsim.pkpd.dosing import Dose, Regimen, above_zero, parse_regimen, read_dose
from ranklsim.pkpd.errors import BadInput
from ranklsim.pkpd.parameters import PARAMETERS, ParametersLike, ParameterTable, load_parameters
from ranklsim.pkpd.reading import MOST_DOSES, MOST_MONTHS
from ranklsim.pkpd.simulation import MARKERS, Doses, covariate_symbols
from ranklsim.pkpd.simulation import simulate as simulate_persons
from ranklsim.pkpd.units import DAYS_PER_MONTH


@checked(
    regimen=text,
    agent=text,
    dose=text,
    every=text,
    doses=whole(1, MOST_DOSES),
    follow=text,
    at=MONTHS,
    covariates=by_name(number(), '{"age": 63}'),
    parameters=PARAMETERS,
    folder=existing_folder,
)
def simulate(
    regimen: str | None = None,
    *,
    agent: str | None = None,
    dose: str | None = None,
    every: str | None = None,
    doses: int | None = None,
    follow: str = "12 mo",
    at: Iterable[float] | None = None,
    covariates: Mapping[str, float] | None = None,
    parameters: ParametersLike = None,
    folder: Path | str | None = None,
) -> pd.DataFrame:
    """Simulate one typical patient under a sequence of regimens.

    There is no variability between patients and no measurement error.

    Parameters
    ----------
    regimen : str, optional
        A sequence of regimens, such as ``"denosumab 60mg every 6mo x4, nothing 12mo, zoledronate 5mg x1"``; or
    agent, dose, every, doses
        one regimen, such as ``agent="denosumab", dose="60 mg", every="6 mo", doses=6``.
    follow : str
        Follow-up after the last dose's interval, with its unit.
    at : iterable of float, optional
        Further months of interest; a value at a dose time is the one just before that dose.
    covariates : mapping, optional
        What differs from the typical woman: see `simulation.covariate_symbols`, or a number of an agent
        (``denosumab.CL``).
    parameters : path, mapping or ParameterTable, optional
        Another parameter table than the one that ships.
    folder : path, optional
        Where your own agent files are.

    Returns
    -------
    DataFrame
        One row for each month (and for each of `at`), columns as from `simulate_typical`.

    Raises
    ------
    BadInput
        If anything is unknown, without its unit or out of its range.

    Examples
    --------
    >>> course = simulate("denosumab 60mg every 6mo x4", follow="6 mo")
    >>> bool(course["BMD_LS_pct"].max() > 5)
    True
    """
    course = plan_course(regimen, agent, dose, every, doses, follow, folder=None if folder is None else Path(folder))
    return simulate_typical(
        course.regimens,
        course.agents,
        months=course.months_of_interest(at),
        parameters=load_parameters(parameters, folder=None if folder is None else Path(folder)),
        covariates=covariates,
    )


@dataclass(frozen=True)
class Course:
    """The regimens that one patient receives, their agents, and the last month of follow-up from the first dose."""

    regimens: list[Regimen]
    agents: list[Agent]
    months: float

    def months_of_interest(self, at: Iterable[float] | None) -> list[float]:
        """Every month of the course, and each of `at`.

        Parameters
        ----------
        at : iterable of float or None
            Months; they may lie beyond the end of the course.

        Raises
        ------
        BadInput
            If one is not between 0 and `MOST_MONTHS`.
        """
        wrong = [month for month in at or () if not 0 <= month <= MOST_MONTHS]
        if wrong:
            raise BadInput(f"at: {wrong[0]:g} is not a month from 0 to {MOST_MONTHS}.")
        monthly = range(math.ceil(self.months - 1e-9) + 1)
        return sorted({*map(float, monthly), *map(float, at or ())})

    def months_to_draw(self, rows: Sequence[float]) -> list[float]:
        """`rows`, and between them enough months for smooth curves, closer where a dose acts within days.

        Parameters
        ----------
        rows : sequence of float
            Months that must be among them.
        """
        end = max(self.months, *rows)
        steps = int(min(600, max(200, 10 * end)))
        grid = {end * step / steps for step in range(steps + 1)}
        for part in self.regimens:
            if part.doses <= 60:
                after = np.add.outer(part.times_days(), (0, 0.3, 1, 2, 4, 7, 14)) / DAYS_PER_MONTH
                grid |= set(after.ravel().tolist())
        return sorted({*rows, *(month for month in grid if month <= end)})


def plan_course(
    regimen: str | None,
    agent: str | None,
    dose: str | None,
    every: str | None,
    doses: int | None,
    follow: str,
    *,
    folder: Path | None = None,
    prefix: str = "",
) -> Course:
    """Plan a course from text.

    Parameters
    ----------
    regimen, agent, dose, every, doses, follow
        As of `simulate`.
    folder : Path, optional
        Where a user's own agent files are.
    prefix : str
        What stands before an argument's name in a message (``--`` on the command line).

    Raises
    ------
    BadInput
        Everything that is wrong with the text, one sentence each.
    """
    faults: list[str] = []
    followed = above_zero(follow, "day", f"{prefix}follow", faults, or_zero=True)
    one = {"agent": agent, "dose": dose, "every": every, "doses": doses}
    given = [prefix + name for name, value in one.items() if value is not None]
    regimens: list[Regimen] = []
    if regimen is not None and given:
        faults.append(f"{prefix}regimen is complete by itself: leave out {', '.join(given)}.")
    elif regimen is not None:
        try:
            regimens = parse_regimen(regimen, folder=folder, where=f"{prefix}regimen")
        except BadInput as error:
            faults += error.messages
    elif agent is None:
        faults.append(
            f"the patient receives nothing: give {prefix}agent and {prefix}dose, or {prefix}regimen "
            '"denosumab 60mg every 6mo x6".'
        )
    else:
        if agent.endswith(".toml"):
            folder, agent = Path(agent).parent, Path(agent).stem
        regimens = [_one_regimen(agent, dose, every, doses, folder, prefix, faults)]
    if faults:
        raise BadInput(*faults)
    months = (max(part.end_day for part in regimens) + followed) / DAYS_PER_MONTH
    if months > MOST_MONTHS:
        raise BadInput(f"treatment and follow-up last {months:.6g} mo; give at most {MOST_MONTHS} mo in all.")
    names = dict.fromkeys(part.agent for part in regimens)
    return Course(regimens, [load_agent(name, folder=folder) for name in names], months)


def _one_regimen(
    agent: str,
    dose: str | None,
    every: str | None,
    doses: int | None,
    folder: Path | None,
    prefix: str,
    faults: list[str],
) -> Regimen:
    """The regimen that the four arguments describe; what is wrong with them is added to `faults`."""
    inert, drug, amount = False, None, Dose()
    try:
        drug = load_agent(agent, folder=folder, where=f"{prefix}agent")
        inert = drug.kind == "none"
    except BadInput as error:
        faults += error.messages
    if dose is not None:
        amount = read_dose(dose, drug, f"{prefix}dose", faults)
        if drug and amount.mg and not amount.per_kg and (odd := drug.dose_fault(amount.mg)):
            faults.append(f"{prefix}{odd}")
    elif not inert:
        faults.append(f'{prefix}dose is missing; give it with its unit, such as "60mg".')
    if doses is not None and not 1 <= doses <= MOST_DOSES:
        faults.append(f"{prefix}doses: {doses} is not a whole number from 1 to {MOST_DOSES}.")
        doses = 1
    if every is None and doses is not None and doses > 1:
        faults.append(f'{prefix}every is missing; {doses} doses need an interval, such as "6mo".')
    return Regimen(
        agent=agent,
        dose_mg=amount.mg,
        start_day=0.0,
        every_days=0.0 if every is None else above_zero(every, "day", f"{prefix}every", faults),
        doses=doses or 1,
        per_kg=amount.per_kg,
        cap_mg=amount.cap_mg,
    )


def simulate_typical(
    regimens: Sequence[Regimen],
    agents: Sequence[Agent] = (),
    *,
    months: Sequence[float],
    parameters: ParameterTable | None = None,
    covariates: Mapping[str, float] | None = None,
    where: str = "covariates",
    rtol: float = 1e-6,
    tell: Callable[[str], None] | None = None,
) -> pd.DataFrame:
    """Simulate the typical patient under planned regimens.

    Parameters
    ----------
    regimens : sequence of Regimen
        From `dosing.parse_regimen` or built; may be empty (untreated).
    agents : sequence of Agent
        Definitions to use for the names in `regimens`; shipped ones otherwise.
    months : sequence of float
        Sampling times, ascending; a value at a dose time is the trough before it.
    parameters : ParameterTable, optional
        Shipped parameters by default.
    covariates : mapping, optional
        See `simulation.covariate_symbols`.
    where : str
        What a message about a covariate begins with.
    rtol, tell
        As of `simulation.simulate`.

    Returns
    -------
    DataFrame
        One row for each month: ``month``, drug concentrations, occupancy of RANKL by form, markers in their units and
        as % of baseline (``CTX_pct``), BMD in g/cm2 and as % change (``BMD_LS_pct``).

    Raises
    ------
    BadInput
        If a covariate is unknown, out of its range, or a number of an agent that is not given.
    """
    table = parameters or load_parameters()
    known = {agent.name: agent for agent in agents}
    met = {name: known.get(name) or load_agent(name) for name in dict.fromkeys(part.agent for part in regimens)}
    persons = pd.DataFrame([covariate_symbols(table, covariates or {}, where)], index=["the typical patient"])
    used = {number for agent in met.values() for number in agent.numbers}
    if idle := [name for name in persons if "." in name and name not in used]:
        raise BadInput(
            *(f"{where}: {name} changes nothing, since no given agent has this number; leave it out." for name in idle)
        )
    names = list(met)
    weight = float(persons["WT"].iloc[0]) if "WT" in persons else table["WT"]
    for part in regimens:
        if part.per_kg and (odd := met[part.agent].dose_fault(float(part.dose.of(weight)))):
            raise BadInput(f"{part.dose.words} at {weight:g} kg: {odd}")
    rows = [
        (float(day), names.index(part.agent), float(part.dose.of(weight)))
        for part in regimens
        if part.dose_mg > 0  # a placebo has no dose
        for day in part.times_days()
    ]
    day, which, mg = (np.array(column) for column in zip(*rows, strict=True)) if rows else (np.empty(0),) * 3
    doses = Doses(np.zeros(len(rows), dtype=np.int64), day.astype(float), which.astype(np.int64), mg.astype(float))
    times = np.asarray(months, dtype=float) * DAYS_PER_MONTH
    found = simulate_persons(
        table, persons, list(met.values()), doses, np.concatenate([[0.0], times]), rtol=rtol, tell=tell
    )
    frame = pd.DataFrame({"month": np.asarray(months, dtype=float)} | {name: v[0, 1:] for name, v in found.items()})
    for marker in MARKERS:
        frame[f"{marker}_pct"] = 100 * frame[marker] / found[marker][0, 0]
    for site in NAMES:
        frame[f"BMD_{site}_pct"] = 100 * (frame[f"BMD_{site}"] / found[f"BMD_{site}"][0, 0] - 1)
    return frame
