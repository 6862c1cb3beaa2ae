"""Many patients: virtual population, trial, conduct, execution and storage.

>>> from ranklsim import cohorts
>>> run = cohorts.run("freedom", "runs/small", patients=20, layers=["patients", "residual"])
>>> means = run.visits.groupby(["arm", "month"])["BMD_LS"].mean()
>>> bool(means["denosumab", 36] > means["denosumab", 0])
True

The names below are imported when they are first used: reading a trial should not wait for the engine.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ranklsim.cohorts.protocol.trial import Trial, list_trials, load_trial
    from ranklsim.cohorts.running.execution import Interrupted, run
    from ranklsim.cohorts.running.storage import Run, open_run

__all__ = ["Interrupted", "Run", "Trial", "list_trials", "load_trial", "open_run", "run"]

_HOMES = {
    "running.execution": ("Interrupted", "run"),
    "running.storage": ("Run", "open_run"),
    "protocol.trial": ("Trial", "list_trials", "load_trial"),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
