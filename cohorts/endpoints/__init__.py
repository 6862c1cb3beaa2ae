"""Kinds of endpoint; each is one module, made known by one word of the line below."""

from ranklsim.cohorts.endpoints.base import KINDS, Analysed, Endpoint, Result, Setting, register
from ranklsim.cohorts.endpoints.change import Change
from ranklsim.cohorts.endpoints.dose_response import DoseResponse
from ranklsim.cohorts.endpoints.durability import DURABILITY, Durability
from ranklsim.cohorts.endpoints.estimands import INTERCURRENT, STRATEGIES, Estimand
from ranklsim.cohorts.endpoints.event import Event
from ranklsim.cohorts.endpoints.exposure import Exposure
from ranklsim.cohorts.endpoints.rate import Rate
from ranklsim.cohorts.endpoints.reading import COUNTED
from ranklsim.cohorts.endpoints.responder import Responder
from ranklsim.cohorts.statistics.claims import Effect, is_ratio

register(Change, Responder, Event, Rate, Durability, Exposure, DoseResponse)

__all__ = [
    "COUNTED", "DURABILITY", "INTERCURRENT", "KINDS", "STRATEGIES", "Analysed", "Change", "DoseResponse", "Durability",
    "Effect", "Endpoint", "Estimand", "Event", "Exposure", "Rate", "Responder", "Result", "Setting", "is_ratio",
    "register",
]  # fmt: skip
