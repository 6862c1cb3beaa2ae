"""Reading the table [conduct] of a trial's file: what it says as a `Conduct`, each fault in a sentence."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from ranklsim.cohorts.events import COMPLETED, FRACTURES, RESCUE, SWITCH
from ranklsim.cohorts.protocol.design import Arm
from ranklsim.cohorts.protocol.schema import (
    BMD_MEASURES,
    MARKER_MEASURES,
    AdherenceTable,
    ConductTable,
    EnrolmentTable,
    Faults,
    Key,
    LateTable,
    ResponseTable,
    RuleTable,
    near,
)
from ranklsim.cohorts.protocol.terms import (
    AT_VISITS,
    Adherence,
    Conduct,
    Delay,
    Enrolment,
    Hazard,
    Response,
    Rule,
    Trigger,
    life_tables,
)
from ranklsim.pkpd.agents import load_agent
from ranklsim.pkpd.errors import BadInput

IMAGED_EVERY = 12.0
"""Months between spine images if the file does not name them."""

LARGEST_RATIO = 100.0
MOST_DOSES = 50_000

_MEASURES = (*BMD_MEASURES, *MARKER_MEASURES)
_READING = re.compile(
    r"(?:T_(?P<site>LS|TH|FN|R13)|(?P<measure>\w+)\s+change)\s*(?P<sign>[<>])\s*(?P<number>[+-]?\d+(?:\.\d+)?)(?(measure)\s*%)"
)
_SHARE_LOOK = re.compile(r"(\d+(?:\.\d+)?)\s*% completed")
_EVENT_LOOK = re.compile(r"(\d+)\s+([a-z_]{3,})")

Quantity = Callable[[Key, str, str], float | None]
"""Reads a place's text in a unit, or notes the fault and gives None."""


class ConductReading:
    """The table [conduct] on its way to a `Conduct`; notes faults and goes on."""

    def __init__(
        self,
        faults: Faults,
        quantity: Quantity,
        table: ConductTable,
        arms: Sequence[Arm],
        months: float | None,
        folder: Path,
    ) -> None:
        self.faults, self.quantity, self.table, self.folder = faults, quantity, table, folder
        self.planned, self.months = arms, months  # no arms where a fault hides one
        self.arms = [arm.name for arm in arms]
        self.rules: tuple[Rule, ...] = ()

    def conduct(self) -> Conduct:
        """What the table says, as far as it can be read."""
        table = self.table
        self.rules = self._rules()
        dropout = self._hazard("dropout", table.dropout, "dropout", table.dropout_arms, table.dropout_months)
        return Conduct(
            dropout_per_year=dropout.per_year,
            supplements=table.supplements,
            dropout_arms=dropout.arms,
            dropout_from=dropout.from_month,
            stop=self._hazard("stop_treatment", table.stop_treatment, "stop", table.stop_arms, table.stop_months),
            dropout_response=self._response(table.dropout_response, dropout.per_year),
            missed=self._share(("conduct", "missed_doses"), table.missed_doses),
            late=self._late(table.late_doses),
            adherence=self._adherence(table.adherence or []),
            window_days=self._window(table.visit_window),
            rules=self.rules,
            enrolment=self._enrolment(table.enrolment),
            looks=tuple(self._looks(table.looks or [])),
            fractures=table.fractures,
            imaging=self._imaging(),
            deaths=table.deaths,
            life_table=self._life_table(),
            mortality_ratio=self._mortality_ratio(),
            hypocalcaemia=table.hypocalcaemia,
        )

    def _hazard(self, key: str, text: str, stem: str, arms: Mapping[str, float], months: Mapping[str, float]) -> Hazard:
        path: Key = ("conduct", key)
        percent = self.quantity(path, text, "%/yr")
        if percent is not None and not 0 <= percent < 100:
            self.faults.add(path, f'{key} is "{text}"; give a rate of at least 0 and below 100 %/yr.')
        for arm, ratio in arms.items():
            self._arm((*path[:-1], f"{stem}_arms", arm), arm)
            self._ratio((*path[:-1], f"{stem}_arms", arm), arm, ratio)
        spells = []
        for start, ratio in months.items():
            here: Key = ("conduct", f"{stem}_months", start)
            self._ratio(here, start, ratio)
            month = self._month(here, start)
            if month is not None:
                spells.append((month, float(ratio)))
        for where, given in ((f"{stem}_arms", arms), (f"{stem}_months", months)):
            if given and percent == 0:
                self.faults.add(("conduct", where), f"{where} has ratios, but {key} is 0; give {key} a rate.")
        return Hazard((percent or 0.0) / 100, dict(arms), tuple(sorted(spells)))

    def _arm(self, path: Key, arm: str) -> None:
        if self.arms and arm not in self.arms:
            self.faults.add(path, f"{path[1]} names '{arm}', which is not an arm; {near(arm, self.arms)}")

    def _ratio(self, path: Key, name: str, ratio: float) -> None:
        if not 0 <= ratio <= LARGEST_RATIO:
            self.faults.add(path, f"{path[1]} {name} = {ratio:g} is no ratio of hazards; give 0 to {LARGEST_RATIO:g}.")

    def _month(self, path: Key, text: str) -> float | None:
        """A month of the trial, before its end."""
        month = self.quantity(path, text, "mo")
        if month is None or self.months is None:
            return month
        if not 0 <= month < self.months:
            self.faults.add(path, f'"{text}" is not within the trial; give a month from 0 to below {self.months:g} mo.')
            return None
        return month

    def _positive(self, path: Key, text: str, unit: str) -> float | None:
        value = self.quantity(path, text, unit)
        if value is not None and value <= 0:
            self.faults.add(path, f'{path[-1]} is "{text}", which is not positive; give more than 0.')
            return None
        return value

    def _share(self, path: Key, text: str) -> float:
        percent = self.quantity(path, text, "%")
        if percent is not None and not 0 <= percent < 100:
            self.faults.add(path, f'{path[-1]} is "{text}"; give a share of at least 0 and below 100 %.')
        return (percent or 0.0) / 100

    def _late(self, table: LateTable | None) -> Delay | None:
        path: Key = ("conduct", "late_doses")
        if table is None or table.share is None or table.median is None or table.p95 is None:
            return None
        share = self._share((*path, "share"), table.share)
        median = self._positive((*path, "median"), table.median, "day")
        p95 = self._positive((*path, "p95"), table.p95, "day")
        if median is None or p95 is None:
            return None
        if p95 <= median:
            self.faults.add((*path, "p95"), f'p95 = "{table.p95}" is not above median = "{table.median}"; give more.')
            return None
        return Delay(share, median, p95, table.distribution)

    def _imaging(self) -> tuple[float, ...]:
        path: Key = ("conduct", "imaging")
        images = self.table.imaging
        if images is None:
            last = math.floor((self.months or 0) / IMAGED_EVERY)
            return tuple(IMAGED_EVERY * k for k in range(1, last + 1)) if self.table.fractures else ()
        if not self.table.fractures:
            self.faults.add(path, "imaging finds vertebral fractures; set fractures = true, or leave it out.")
        if not images:
            self.faults.add(path, "imaging is empty; name a month, or leave it out for an image a year.")
        for index, month in enumerate(images):
            here: Key = (*path, index)
            if not math.isfinite(month) or month <= 0:
                self.faults.add(here, f"imaging has {month:g} mo; give months after 0.")
            elif self.months is not None and month > self.months:
                self.faults.add(here, f"imaging has {month:g} mo, but the trial ends at {self.months:g} mo.")
            if index and month <= images[index - 1]:
                self.faults.add(
                    here, f"imaging has {month:g} after {images[index - 1]:g}; put the months in order, each once."
                )
        return tuple(float(month) for month in images)

    def _life_table(self) -> str:
        name = self.table.life_table
        if name not in life_tables():
            self.faults.add(("conduct", "life_table"), f"unknown life table '{name}'; {near(name, life_tables())}")
        return name

    def _mortality_ratio(self) -> float | None:
        ratio = self.table.mortality_ratio
        if ratio is not None and not 0 <= ratio <= LARGEST_RATIO:
            self.faults.add(
                ("conduct", "mortality_ratio"),
                f"mortality_ratio = {ratio:g} is not possible; give 0 to {LARGEST_RATIO:g}, such as 0.4.",
            )
        return ratio

    def _response(self, table: ResponseTable | None, rate: float) -> Response | None:
        path: Key = ("conduct", "dropout_response")
        if table is None or table.of is None or table.per is None or table.ratio is None:
            return None
        if table.of not in _MEASURES:
            self.faults.add((*path, "of"), f"unknown measure '{table.of}'; {near(table.of, _MEASURES)}")
        per = self.quantity((*path, "per"), table.per, "%")
        if per == 0:
            self.faults.add((*path, "per"), 'per is 0 %; give the change that the ratio is for, such as "-3 %".')
        if not 0 < table.ratio <= LARGEST_RATIO:
            self.faults.add(
                (*path, "ratio"), f"ratio = {table.ratio:g} is not possible; give more than 0, such as 1.5."
            )
        if rate == 0:
            self.faults.add(
                path, 'dropout_response multiplies dropout, which is 0; give dropout a rate, as in "5 %/yr".'
            )
        return Response(table.of, (per or 1.0) / 100, float(table.ratio), table.seen == "observed")

    def _adherence(self, tables: Sequence[AdherenceTable]) -> dict[str, Adherence]:
        found: dict[str, Adherence] = {}
        for index, table in enumerate(tables):
            path: Key = ("conduct", "adherence", index)
            if table.agent is None or table.taken is None:
                continue
            if table.agent in found:
                self.faults.add((*path, "agent"), f"adherence to '{table.agent}' is given twice; give it once.")
            self._taken_at_home((*path, "agent"), table.agent)
            taken = self.quantity((*path, "taken"), table.taken, "%")
            if taken is not None and not 0 < taken <= 100:
                self.faults.add((*path, "taken"), f'taken is "{table.taken}"; give a share above 0 and up to 100 %.')
                taken = None
            sd = self._share((*path, "sd"), table.sd)
            share = (taken or 50.0) / 100
            if taken is not None and sd > 0 and sd**2 >= share * (1 - share):
                self.faults.add(
                    (*path, "sd"), f'sd = "{table.sd}" is too large for shares around {taken:g} %; give less.'
                )
            stop = self.quantity((*path, "stop"), table.stop, "%/yr")
            if stop is not None and stop < 0:
                self.faults.add((*path, "stop"), f'stop is "{table.stop}"; give a rate of at least 0 %/yr.')
            found[table.agent] = Adherence(share, sd, (stop or 0.0) / 100)
        return found

    def _taken_at_home(self, path: Key, name: str) -> None:
        """Refuse an agent that nobody is given, or that is given at visits."""
        every = [r.every_days for arm in self.planned for r in arm.regimens if r.agent == name]
        every += [r.every_days for r in self.rules if r.agent == name]
        if not every:
            if self.planned:
                known = sorted({r.agent for arm in self.planned for r in arm.regimens if r.agent})
                self.faults.add(path, f"adherence names '{name}', which no arm is given; {near(name, known)}")
            return
        swallowed = load_agent(name, folder=self.folder).route == "PO"
        if not swallowed and all(days == 0 or days >= AT_VISITS for days in every):
            self.faults.add(path, f"{name} is given at visits; use missed_doses and late_doses for it.")

    def _window(self, text: str) -> int:
        path: Key = ("conduct", "visit_window")
        days = self.quantity(path, text, "day")
        if days is not None and not (0 <= days <= 60 and float(days).is_integer()):
            self.faults.add(path, f'visit_window is "{text}"; give whole days, from 0 to 60.')
            return 0
        return int(days or 0)

    def _rules(self) -> tuple[Rule, ...]:
        rescue, switch = self.table.rescue, self.table.switch or []
        parts: list[tuple[str, Key, RuleTable]] = []
        if rescue is not None:
            parts.append((RESCUE, ("conduct", "rescue"), rescue))
        parts += [(SWITCH, ("conduct", "switch", index), table) for index, table in enumerate(switch)]
        return tuple(rule for event, path, table in parts if (rule := self._rule(event, path, table)) is not None)

    def _rule(self, event: str, path: Key, table: RuleTable) -> Rule | None:
        """One rescue or switch."""
        if (table.when is None) == (table.at is None):
            self.faults.add(path, f'{event} needs one of when = ["T_TH < -3.5"] and at = "24 mo".')
            return None
        month = None if table.at is None else self._month((*path, "at"), table.at)
        triggers = [self._trigger((*path, "when", k), text) for k, text in enumerate(table.when or [])]
        if table.when is not None and not table.when:
            self.faults.add((*path, "when"), 'when is empty; name a trigger, such as "T_TH < -3.5" or "hip".')
        after = self._month((*path, "after"), table.after) or 0.0
        for index, arm in enumerate(table.arms or []):
            if self.arms and arm not in self.arms:
                self.faults.add(
                    (*path, "arms", index), f"{event} names '{arm}', which is not an arm; {near(arm, self.arms)}"
                )
        share = self.quantity((*path, "share"), table.share, "%")
        if share is not None and not 0 < share <= 100:
            self.faults.add((*path, "share"), f'share is "{table.share}"; give more than 0 and up to 100 %.')
        dose, every = self._rule_doses(path, event, table)
        if None in triggers or (table.at is not None and month is None) or dose is None or every is None:
            return None
        return Rule(event, table.agent, dose, every, table.doses, month, tuple(t for t in triggers if t is not None),
                    after, tuple(table.arms or ()), (share or 100.0) / 100)  # fmt: skip

    def _rule_doses(self, path: Key, event: str, table: RuleTable) -> tuple[float | None, float | None]:
        """Amount (mg) and interval (days, 0 for a single dose)."""
        if table.agent is None:
            for key in ("dose", "every", "doses"):
                if getattr(table, key) is not None:
                    self.faults.add((*path, key), f"{event} has {key}, but no agent; name it, or leave {key} out.")
            return 0.0, 0.0
        try:
            kind = load_agent(table.agent, folder=self.folder, where=self.faults.at((*path, "agent"))).kind
        except BadInput as fault:
            for message in fault.messages:
                self.faults.add_message((*path, "agent"), message)
            return None, None
        dose = 0.0 if table.dose is None else self._positive((*path, "dose"), table.dose, "mg")
        if table.dose is None and kind != "none":
            self.faults.add((*path, "dose"), 'dose is missing; give it with its unit, such as dose = "60 mg".')
        every = 0.0 if table.every is None else self._positive((*path, "every"), table.every, "day")
        if table.doses is not None and not 1 <= table.doses <= MOST_DOSES:
            self.faults.add((*path, "doses"), f"doses = {table.doses} is not possible; give 1 to {MOST_DOSES}.")
            return None, None
        if table.every is None and table.doses not in (None, 1):
            self.faults.add((*path, "every"), 'every is missing; say how often, such as every = "6 mo".')
        return dose, every

    def _trigger(self, path: Key, text: str) -> Trigger | None:
        if text in FRACTURES:
            if not self.table.fractures:
                self.faults.add(path, f'"{text}" is a fracture, and none are counted; set fractures = true.')
            return Trigger(text, event=text)
        found = _READING.fullmatch(text)
        if found is None:
            known = ", ".join(FRACTURES)
            self.faults.add(
                path,
                f'"{text}" is no trigger; write "T_TH < -3.5", "BMD_LS change < -7 %" or one of {known}.',
            )
            return None
        if found["site"]:
            return Trigger(
                text, measure=f"BMD_{found['site']}", kind="T", sign=found["sign"], limit=float(found["number"])
            )
        if found["measure"] not in _MEASURES:
            self.faults.add(path, f"unknown measure '{found['measure']}'; {near(found['measure'], _MEASURES)}")
            return None
        limit = float(found["number"]) / 100
        return Trigger(text, measure=found["measure"], kind="change", sign=found["sign"], limit=limit)

    def _enrolment(self, table: EnrolmentTable | None) -> Enrolment | None:
        path: Key = ("conduct", "enrolment")
        if table is None or table.rate is None:
            return None
        rate = self._positive((*path, "rate"), re.sub(r"patients?", "1", table.rate), "1/mo")
        ramp = self.quantity((*path, "ramp_up"), table.ramp_up, "mo")
        if ramp is not None and ramp < 0:
            self.faults.add((*path, "ramp_up"), f'ramp_up is "{table.ramp_up}"; give 0 mo or more.')
        return None if rate is None else Enrolment(rate, max(ramp or 0.0, 0.0))

    def _looks(self, texts: Sequence[str]) -> Iterator[tuple[str, float]]:
        for index, text in enumerate(texts):
            path: Key = ("conduct", "looks", index)
            if found := _SHARE_LOOK.fullmatch(text):
                share = float(found[1])
                if not 0 < share <= 100:
                    self.faults.add(path, f'look "{text}" is not possible; give more than 0 and up to 100 % completed.')
                yield COMPLETED, share / 100
            elif found := _EVENT_LOOK.fullmatch(text):
                if found[2] not in FRACTURES:
                    self.faults.add(path, f"look \"{text}\" counts '{found[2]}'; {near(found[2], FRACTURES)}")
                elif not self.table.fractures:
                    self.faults.add(path, f'look "{text}" counts fractures, and none happen; set fractures = true.')
                yield found[2], float(found[1])
            else:
                month = self._positive(path, text, "mo") if "mo" in text else None
                if month is None and "mo" not in text:
                    self.faults.add(path, f'"{text}" is no look; write "24 mo", "50 % completed" or "60 hip".')
                yield "month", month or 1.0
