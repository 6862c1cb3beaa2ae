"""Reading the table [conduct] of a trial's file: what it says as a `Conduct`, each fault in a sentence."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from ranklsim.cohorts.deaths import life_tables
from ranklsim.cohorts.protocol import Conduct, Delay, Hazard
from ranklsim.cohorts.schema import ConductTable, Faults, Key, LateTable, near

IMAGED_EVERY = 12.0
"""Months between spine images if the file does not name them."""

LARGEST_RATIO = 100.0

Quantity = Callable[[Key, str, str], float | None]
"""Reads a place's text in a unit, or notes the fault and gives None."""


class ConductReading:
    """The table [conduct] on its way to a `Conduct`; notes faults and goes on."""

    def __init__(
        self, faults: Faults, quantity: Quantity, table: ConductTable, arms: Sequence[str], months: float | None
    ) -> None:
        self.faults, self.quantity, self.table = faults, quantity, table
        self.arms, self.months = arms, months  # no arms where a fault hides one

    def conduct(self) -> Conduct:
        """What the table says, as far as it can be read."""
        table = self.table
        dropout = self._hazard("dropout", table.dropout, "dropout", table.dropout_arms, table.dropout_months)
        return Conduct(
            dropout_per_year=dropout.per_year,
            supplements=table.supplements,
            dropout_arms=dropout.arms,
            dropout_from=dropout.from_month,
            stop=self._hazard("stop_treatment", table.stop_treatment, "stop", table.stop_arms, table.stop_months),
            missed=self._share(("conduct", "missed_doses"), table.missed_doses),
            late=self._late(table.late_doses),
            fractures=table.fractures,
            imaging=self._imaging(),
            deaths=table.deaths,
            life_table=self._life_table(),
            mortality_ratio=self._mortality_ratio(),
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
