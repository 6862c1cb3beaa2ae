"""Mixed models for repeated measures (MMRM), which no other Python library fits; see ``docs/mmrm.md``."""

from ranklsim.cohorts.statistics.mmrm.empirical import ERRORS, MODEL
from ranklsim.cohorts.statistics.mmrm.model import Fit, fit

__all__ = ["ERRORS", "MODEL", "Fit", "fit"]
