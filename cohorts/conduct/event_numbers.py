"""Numbers behind fractures, hypocalcaemia and deaths, with unit, range, source and status: ``data/events.csv``."""

from __future__ import annotations

import csv
from functools import lru_cache
from pathlib import Path

from ranklsim.pkpd.biology.values import Values

EVENT_NUMBERS = Path(__file__).parents[1] / "data" / "events.csv"


@lru_cache(maxsize=1)
def event_numbers() -> Values:
    """Value of each symbol of ``data/events.csv``, in its unit."""
    with open(EVENT_NUMBERS, encoding="utf-8", newline="") as file:
        return Values({row["symbol"]: float(row["value"]) for row in csv.DictReader(file)})
