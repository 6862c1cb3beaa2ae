"""ranklsim: clinical trials of anti-RANKL drugs that tell membrane-bound from soluble RANKL, simulated.

>>> import ranklsim
>>> course = ranklsim.simulate("denosumab 60mg every 6mo x6", follow="24 mo")
>>> run = ranklsim.run("freedom", "runs/small", patients=20, layers=["patients", "residual"])
>>> run.patients["arm"].value_counts().to_dict()
{'denosumab': 10, 'placebo': 10}
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ranklsim import api
from ranklsim.pkpd.errors import BadInput, Caution, RanklsimError, RunFailed

if TYPE_CHECKING:
    from ranklsim.api import *  # noqa: F403
    from ranklsim.pkpd.agents import Agent as Agent

__version__ = "0.1.0"
__all__ = ["Agent", "BadInput", "Caution", "RanklsimError", "RunFailed", *api.FUNCTIONS]


def __getattr__(name: str) -> object:
    if name in api.FUNCTIONS:
        return getattr(api, name)
    if name == "Agent":
        from ranklsim.pkpd import agents

        return agents.Agent
    raise AttributeError(f"module 'ranklsim' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
