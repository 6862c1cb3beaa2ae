"""Regimens: how much of which agent, when, and one after another.

Months are as long as in `units` (30.4375 days), so that "every 6 mo" and visits at months 6, 12, ... fall together.
The dose is the plan; whether a patient gets it on its day, late or never is decided where a trial is conducted.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ranklsim.pkpd.agents import Agent, load_agent
from ranklsim.pkpd.errors import BadInput, Caution, shown
from ranklsim.pkpd.reading import MOST_DOSES, MOST_FAULTS, TOO_LARGE, TOO_SMALL
from ranklsim.pkpd.units import DAYS_PER_MONTH, parse_quantity, unit_of

NO_MASS = "has no molar mass; give the dose in mg."

_EXAMPLE = "'denosumab 60mg every 6mo x4'"
_PART = re.compile(
    r"(?P<together>with\s+)?(?P<agent>[A-Za-z]\S*)"
    r"(?:\s+(?P<dose>(?!every\b|for\b|[x×]\s*\d).+?))?"
    r"(?:\s+every\s+(?P<every>.+?))?"
    r"(?:\s+[x×]\s*(?P<doses>\S+)|\s+for\s+(?P<length>.+?))?",
    re.IGNORECASE,
)
_GAP = re.compile(r"nothing(?:\s+(.*))?", re.IGNORECASE)
_UP_TO = re.compile(r"\s+up to\s+")
_MOLAR = re.compile(r"[munpfµμ]?mol")
_SAME_DAY = 1e-6  # days; a regimen that starts where the last one ends does not overlap it by rounding
PART, MOST_PARTS = 1 / 48, 48
"""An infusion enters in equal parts of at most half an hour (days), and in at most so many."""
LONGEST_INFUSION = 28.0
"""Days."""


class Dose(NamedTuple):
    """What is given at a time: `mg`, or `mg` for each kg of body weight but at most `cap_mg`."""

    mg: float = 0.0
    per_kg: bool = False
    cap_mg: float = math.inf

    def of(self, weight: NDArray[np.float64] | float) -> NDArray[np.float64] | float:
        """The amount, mg.

        Parameters
        ----------
        weight : ndarray or float
            Body weight, kg.
        """
        return np.minimum(self.mg * weight, self.cap_mg) if self.per_kg else self.mg

    @property
    def words(self) -> str:
        """Such as ``60 mg`` or ``1 mg/kg up to 120 mg``, which `read_dose` reads."""
        most = f" up to {self.cap_mg:g} mg" if self.cap_mg < math.inf else ""
        return f"{self.mg:g} mg{'/kg' if self.per_kg else ''}{most}"


@dataclass(frozen=True)
class Regimen:
    """Equal doses of one agent at equal intervals.

    Attributes
    ----------
    agent : str
        Name of the agent.
    dose_mg : float
        Each dose, mg; 0 is for a placebo only. Where `per_kg`, mg for each kg of body weight.
    start_day : float
        Day of the first dose, from the start of treatment.
    every_days : float
        Interval, days; 0 if there is but one dose and nothing is said of how long it counts.
    doses : int
        How many.
    together : bool
        True if it is meant to run beside the sequence of the others; without it, an overlap is a mistake.
    per_kg : bool
        Whether the dose goes by body weight.
    cap_mg : float
        Largest dose by weight, mg.
    infusion_days : float
        How long each dose takes to enter, days; 0 for a dose that enters at its moment.
    steady : bool
        Whether so many such doses were given before that a steady state has been reached.
    """

    agent: str
    dose_mg: float
    start_day: float
    every_days: float
    doses: int
    together: bool = False
    per_kg: bool = False
    cap_mg: float = math.inf
    infusion_days: float = 0.0
    steady: bool = False

    @property
    def dose(self) -> Dose:
        """Each dose."""
        return Dose(self.dose_mg, self.per_kg, self.cap_mg)

    def times_days(self) -> NDArray[np.float64]:
        """Days of the doses, shape (doses,), from the start of treatment."""
        return self.start_day + self.every_days * np.arange(self.doses, dtype=float)

    @property
    def end_day(self) -> float:
        """Day on which the interval of the last dose ends."""
        return self.start_day + self.doses * self.every_days

    def boluses(self) -> list[Regimen]:
        """The regimens whose doses enter at their moments: itself, or one for each part of its infusions."""
        if not self.infusion_days:
            return [self]
        parts = moments(self.infusion_days)
        share = replace(self, dose_mg=self.dose_mg / len(parts), cap_mg=self.cap_mg / len(parts), infusion_days=0.0)
        return [replace(share, start_day=self.start_day + float(later)) for later in parts]


def moments(infusion_days: float) -> NDArray[np.float64]:
    """When the equal parts of a dose enter, days from its start: an infusion's in the middle of their time.

    What falls at a rate ``k`` is off by the share ``(k h)**2 / 24`` when the infusion is over, with parts of a length
    ``h`` (midpoint rule), and by up to half a part's amount during it.

    Parameters
    ----------
    infusion_days : float
        Length of the infusion, 0 for none.
    """
    many = min(MOST_PARTS, max(1, math.ceil(infusion_days / PART - 1e-9)))
    return (np.arange(many) + 0.5) * infusion_days / many


def course_faults(regimen: Regimen, drug: Agent) -> list[tuple[str, str]]:
    """What is impossible in an infusion or a steady state: ``infusion`` or ``steady``, and a sentence.

    Parameters
    ----------
    regimen : Regimen
    drug : Agent
        What it gives.
    """
    found, days = [], regimen.infusion_days
    if days and drug.route != "IV":
        found.append(("infusion", f"{drug.name} is given {drug.route}, and only what is given IV can be infused."))
    elif days > LONGEST_INFUSION:
        found.append(
            ("infusion", f"an infusion of {days:.4g} days is longer than {LONGEST_INFUSION:g}; check its unit.")
        )
    elif regimen.every_days and days > regimen.every_days + _SAME_DAY:
        found.append(("infusion", f"infusions of {days:.4g} days every {regimen.every_days:.4g} days overlap."))
    if regimen.steady and not regimen.every_days > 0:
        found.append(("steady", "a steady state needs the interval of the doses before it."))
    elif regimen.steady and regimen.start_day + days > regimen.every_days + _SAME_DAY:
        found.append((
            "steady",
            f"the dose before, {regimen.every_days:.4g} days earlier, would fall into the time since day 0; a patient "
            "starts in a steady state, so give it at time 0.",
        ))  # fmt: skip
    return found


def parse_regimen(text: str, *, folder: Path | None = None, where: str = "") -> list[Regimen]:
    """Read regimens from one line of text.

    Parameters
    ----------
    text : str
        Parts with commas between, each of which begins when the one before it ends:
        ``"denosumab 14mg every 6mo x4, nothing 12mo, denosumab 60mg every 6mo x4"``. Instead of a number (``x4``)
        a part can have a length (``for 24mo``), which it fills with as many whole intervals as fit. ``nothing 12mo``
        is a gap. A dose can go by body weight (``denosumab 1mg/kg up to 120mg``) or be molar (``400nmol``). A part
        that begins with ``with`` begins together with the part before it and has no say in when the
        next one begins: ``"denosumab 60mg every 6mo x4, with teriparatide 20ug every 1day for 24mo"``.
    folder : Path, optional
        Where agents are looked for before the shipped ones.
    where : str, optional
        What a message begins with.

    Returns
    -------
    list of Regimen
        At least one.

    Raises
    ------
    BadInput
        With the faults of all parts at once: an agent that is not known, a missing or wrong unit, a dose, interval,
        number or length that is not above zero or not given.
    """
    prefix = f"{where}: " if where else ""
    faults: list[str] = []
    regimens: list[Regimen] = []
    begin = end = 0.0  # of the part before
    endless = ""  # agent of a single dose before, if nothing says how long it counts
    if not text.strip(" ,"):
        raise BadInput(f"{prefix}the regimen is empty; write it like {_EXAMPLE}.")
    for part in (part.strip() for part in text.split(",")):
        if len(faults) >= MOST_FAULTS:
            break
        if not part:
            faults.append(f"{prefix}{shown(text)} has a comma with nothing before or after it; remove it.")
            continue
        if gap := _GAP.fullmatch(part):
            end, endless = end + above_zero(gap[1] or "", "day", f"{prefix}gap '{part}'", faults), ""
            continue
        found = _PART.fullmatch(part)
        if not found:
            faults.append(f"{prefix}{shown(part)} does not begin with an agent; write it like {_EXAMPLE}.")
            continue
        together = found["together"] is not None
        if together and not regimens and not faults:
            faults.append(f"{prefix}'{part}' has no part before it to go with; leave out 'with'.")
        if endless and not together:
            faults.append(
                f"{prefix}it is not said how long the single dose of {endless} counts before '{part}' begins; "
                f"give its interval, as in 'every 12mo x1', or write 'nothing 12mo' after it."
            )
        regimen, length = _read_part(found, begin if together else end, folder, where, faults)
        regimens.append(regimen)
        if not together:
            begin, end = regimen.start_day, max(regimen.end_day, regimen.start_day + length)
            endless = "" if regimen.every_days else regimen.agent
    if sum(regimen.doses for regimen in regimens) > MOST_DOSES:
        faults.append(f"{prefix}the regimen has more than {MOST_DOSES} doses; give fewer.")
    if not faults and not regimens:
        faults.append(f"{prefix}'{text}' gives no drug at all; name an agent, as in {_EXAMPLE}, or 'placebo'.")
    if faults:
        raise BadInput(*faults)
    return regimens


def _read_part(
    found: re.Match[str], start_day: float, folder: Path | None, where: str, faults: list[str]
) -> tuple[Regimen, float]:
    """One part of a regimen's text, and the length in days that it is given for (0 if that is not said)."""
    prefix = f"{where}: " if where else ""
    name = found["agent"]
    kind = drug = None
    try:
        drug = load_agent(name, folder=folder, where=where)
        kind = drug.kind
    except BadInput as fault:
        faults.extend(fault.messages)
    every_days = length = 0.0
    dose = Dose()
    if found["dose"]:
        dose = read_dose(found["dose"], drug, f"{prefix}dose of {name}", faults)
        if drug and dose.mg and not dose.per_kg and (odd := drug.dose_fault(dose.mg)):
            faults.append(f"{prefix}{odd}")
    elif kind not in (None, "none"):
        faults.append(f'{prefix}{name} has no dose; give it with its unit, such as "60 mg".')
    if found["every"]:
        every_days = above_zero(found["every"], "day", f"{prefix}interval of {name}", faults)
    doses = 1
    if found["doses"]:
        if not re.fullmatch(r"[0-9]{1,6}", found["doses"]) or not 1 <= int(found["doses"]) <= MOST_DOSES:
            faults.append(
                f"{prefix}number of doses of {name} is '{found['doses']}'; give a whole number, such as x4, "
                f"and at most {MOST_DOSES}."
            )
        else:
            doses = int(found["doses"])
        if doses > 1 and not found["every"]:
            faults.append(f"{prefix}{doses} doses of {name} have no interval; say how often, such as 'every 6mo'.")
    elif found["length"]:
        length = above_zero(found["length"], "day", f"{prefix}length of {name}", faults)
        if not found["every"]:
            faults.append(f"{prefix}{name} for {found['length']} has no interval; say how often, such as 'every 6mo'.")
        elif length and every_days:
            fill = length / every_days * (1 + 1e-12)
            doses = math.floor(min(fill, MOST_DOSES))
            if fill > MOST_DOSES:
                faults.append(
                    f"{prefix}{name} every {found['every']} for {found['length']} has more than {MOST_DOSES} doses."
                )
            elif doses < 1:
                span, interval = found["length"], found["every"]
                faults.append(
                    f"{prefix}{name} for {span} is shorter than its interval of {interval}; write x1 instead."
                )
    elif found["every"]:
        faults.append(f"{prefix}{name} every {found['every']} has no end; say how many doses, as in x4, or 'for 24mo'.")
    together = found["together"] is not None
    return Regimen(name, dose.mg, start_day, every_days, doses, together, dose.per_kg, dose.cap_mg), length


def read_dose(text: str, drug: Agent | None, what: str, faults: list[str], cap: str | None = None) -> Dose:
    """Read a dose: ``60 mg``, ``1 mg/kg``, ``1 mg/kg up to 120 mg``, ``400 nmol`` or ``5 nmol/kg``.

    Parameters
    ----------
    text : str
        The dose with its unit. A molar dose becomes mg by the molar mass of the agent.
    drug : Agent or None
        The agent; None if it is not known. A placebo may have a dose of 0.
    what : str
        What a message begins with.
    faults : list of str
        Takes the message if the dose can't be used.
    cap : str, optional
        Largest dose by weight, where `text` does not say it.

    Returns
    -------
    Dose
        0 mg where there is a fault.
    """
    amount, *most = _UP_TO.split(text.strip())
    if cap is not None:
        most.append(cap)
    per_kg = dose_unit(amount).endswith("/kg")
    before = len(faults)
    if len(most) > 1:
        faults.append(f"{what} has {len(most)} caps; give one.")
    elif most and not per_kg:
        faults.append(f'{what} is {text}, and a cap is for a dose by weight, such as "1 mg/kg"; leave the cap out.')
    mg = _mg(amount, dose_unit(amount), drug, what, faults)
    limit = _mg(most[0], dose_unit(most[0]).removesuffix("/kg"), drug, f"{what}, cap", faults) if most else math.inf
    return Dose() if len(faults) > before else Dose(mg, per_kg, limit)


def dose_unit(text: str) -> str:
    """The unit in which a dose is read: mg or nmol, per kg or not.

    Parameters
    ----------
    text : str
        The dose as written.
    """
    unit = unit_of(text).replace(" ", "")
    amount = unit.removesuffix("/kg")
    return ("nmol" if _MOLAR.fullmatch(amount) else "mg") + unit[len(amount) :]


def mg_of(unit: str, drug: Agent) -> float:
    """How many mg there are in the unit of a dose; NaN of a molar unit where the agent has no molar mass.

    Parameters
    ----------
    unit : str
        As from `dose_unit`.
    drug : Agent
    """
    return drug.values.get("molar_mass", math.nan) / 1e3 if unit.startswith("nmol") else 1.0  # kDa is ug/nmol


def _mg(text: str, unit: str, drug: Agent | None, what: str, faults: list[str]) -> float:
    """An amount of an agent in mg (per kg)."""
    amount = above_zero(text, unit, what, faults, or_zero=drug is not None and drug.kind == "none")
    factor = 1.0 if drug is None else mg_of(unit, drug)
    if drug is not None and math.isnan(factor):
        faults.append(f"{what} is {text}, and {drug.name} {NO_MASS}")
        return 0.0
    return amount * factor


def above_zero(text: str, unit: str, what: str, faults: list[str], or_zero: bool = False) -> float:
    """Read a quantity that must be above zero.

    Parameters
    ----------
    text : str
        Number and unit.
    unit : str
        Unit of the result.
    what : str
        What a message begins with.
    faults : list of str
        Takes the message if the quantity can't be used.
    or_zero : bool
        Whether 0 is allowed too.

    Returns
    -------
    float
        0 where there is a fault.
    """
    try:
        value = parse_quantity(text, unit, where=what)
    except BadInput as fault:
        faults.extend(fault.messages)
        return 0.0
    if value and not TOO_SMALL < abs(value) < TOO_LARGE:
        far = "large" if abs(value) > 1 else "small"
        faults.append(f"{what} is {shown(text)}, which is too {far}; check number and unit.")
        return 0.0
    if value > 0 or (or_zero and value == 0):
        return value
    placebo = ", or name the agent 'placebo' if no drug is meant" if unit.startswith(("mg", "nmol")) else ""
    faults.append(f"{what} is {text}; give {'0 or more' if or_zero else f'more than 0{placebo}'}.")
    return 0.0


class Given(Protocol):
    """What is given of an agent: a regimen, or a rule of a trial."""

    @property
    def agent(self) -> str | None:
        """Name of the agent; None for nothing."""

    @property
    def dose(self) -> Dose:
        """Each dose."""


def warn_of_far_doses(given: Iterable[Given], agents: Iterable[Agent], weight: float) -> None:
    """Warn once (`Caution`) of all doses that are far from the usual ones of their agents.

    Parameters
    ----------
    given : iterable of Given
    agents : iterable of Agent
        Those that are named.
    weight : float
        Body weight of a typical patient, kg.
    """
    known = {agent.name: agent for agent in agents}
    amounts = sorted({(part.agent, float(part.dose.of(weight))) for part in given if part.agent})
    far = [text for name, mg in amounts if mg > 0 and (text := known[name].far_from_usual(mg))]
    if far:
        more = [f"{len(far) - 3} more doses are as far from usual."] if len(far) > 3 else []
        warnings.warn(" ".join([*far[:3], *more]), Caution, stacklevel=4)


def check_sequence(regimens: Sequence[Regimen], where: str | Callable[[int], str] = "") -> None:
    """Refuse regimens of one arm that overlap without being meant to.

    Parameters
    ----------
    regimens : sequence of Regimen
        In the order in which they are written. Those marked `together` run beside the sequence: they overlap freely.
    where : str or callable, optional
        What the message begins with, such as ``"exit.toml:27: arm 'selective'"``; or a function that gives it for the
        position of a regimen, from 0.

    Raises
    ------
    BadInput
        One sentence for each regimen that starts before an earlier one ends.
    """
    faults = []
    last = -1  # position of the regimen of the sequence that ends last so far
    for position, regimen in enumerate(regimens):
        if regimen.together:
            continue
        if last >= 0 and regimen.start_day < regimens[last].end_day - _SAME_DAY:
            place = where(position) if callable(where) else where
            end = _in_months(regimens[last].end_day)
            faults.append(
                f"{place}{', ' if place else ''}regimen {position + 1} starts at {_in_months(regimen.start_day)}, "
                f"before regimen {last + 1} ends at {end}; start it at {end} or later."
            )
        if last < 0 or regimen.end_day > regimens[last].end_day:
            last = position
    if faults:
        raise BadInput(*faults)


def _in_months(days: float) -> str:
    return f"{round(days / DAYS_PER_MONTH, 2):g} mo"
