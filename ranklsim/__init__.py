"""ranklsim: clinical trials of anti-RANKL drugs that tell membrane-bound from soluble RANKL, simulated.

>>> import ranklsim
>>> course = ranklsim.simulate("denosumab 60mg every 6mo x6", follow="24 mo")
>>> run = ranklsim.run("modality", "runs/modality")
>>> ranklsim.report("runs/modality")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ranklsim.pkpd.errors import BadInput, RanklsimError, RunFailed

if TYPE_CHECKING:
    from ranklsim.api import (
        agents,
        analyse,
        cdisc,
        compare,
        replicate,
        report,
        run,
        sensitivity,
        simulate,
        trials,
    )

__version__ = "0.1.0"
__all__ = [
    "BadInput",
    "RanklsimError",
    "RunFailed",
    "agents",
    "analyse",
    "cdisc",
    "compare",
    "replicate",
    "report",
    "run",
    "sensitivity",
    "simulate",
    "trials",
]


def __getattr__(name: str) -> Any:
    """Fetch the functions of `ranklsim.api` when first asked for."""
    if name in __all__:
        from ranklsim import api

        return getattr(api, name)
    raise AttributeError(f"module 'ranklsim' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
