"""The door to ranklsim from Python: each function is documented where it is implemented.

A function is imported when it is first used, so that ``import ranklsim`` and ``ranklsim --help`` answer at once.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ranklsim.cohorts.courses import simulate as simulate
    from ranklsim.cohorts.courses import sweep as sweep
    from ranklsim.cohorts.people.population_file import populations as populations
    from ranklsim.cohorts.protocol.trial import trials as trials
    from ranklsim.cohorts.running.bundle import bundle as bundle
    from ranklsim.cohorts.running.bundle import reproduce as reproduce
    from ranklsim.cohorts.running.execution import run as run
    from ranklsim.pkpd.agents import agents as agents
    from ranklsim.pkpd.evidence.records import evidence as evidence
    from ranklsim.pkpd.mice.genetics import run_genetics as genetics
    from ranklsim.pkpd.parameters import parameters as parameters
    from ranklsim.pkpd.variants import variant_table as variants
    from ranklsim.reports.analyses.results import analyse as analyse
    from ranklsim.reports.cdisc.export import write_cdisc as cdisc
    from ranklsim.reports.csr.report import write_report as report
    from ranklsim.reports.design.question import questions as questions
    from ranklsim.reports.design.run import design as design
    from ranklsim.reports.dossier.plan import plan as plan
    from ranklsim.reports.dossier.run import dossier as dossier
    from ranklsim.reports.exchange.export import export as export
    from ranklsim.reports.pages.compare import write_comparison as compare
    from ranklsim.reports.pages.fit_report import fit as fit
    from ranklsim.reports.pages.validation import validate as validate
    from ranklsim.reports.qualify.run import qualify as qualify
    from ranklsim.reports.replicate.run import replicate as replicate
    from ranklsim.reports.sensitivity.run import sensitivity as sensitivity

    __all__ = [
        "agents", "analyse", "bundle", "cdisc", "compare", "design", "dossier", "evidence", "export", "fit",
        "genetics", "parameters", "plan", "populations", "qualify", "questions", "replicate", "report", "reproduce",
        "run", "sensitivity", "simulate", "sweep", "trials", "validate", "variants",
    ]  # fmt: skip

FUNCTIONS = {
    "agents": "pkpd.agents:agents",
    "analyse": "reports.analyses.results:analyse",
    "bundle": "cohorts.running.bundle:bundle",
    "cdisc": "reports.cdisc.export:write_cdisc",
    "compare": "reports.pages.compare:write_comparison",
    "design": "reports.design.run:design",
    "dossier": "reports.dossier.run:dossier",
    "evidence": "pkpd.evidence.records:evidence",
    "export": "reports.exchange.export:export",
    "fit": "reports.pages.fit_report:fit",
    "genetics": "pkpd.mice.genetics:run_genetics",
    "parameters": "pkpd.parameters:parameters",
    "plan": "reports.dossier.plan:plan",
    "populations": "cohorts.people.population_file:populations",
    "qualify": "reports.qualify.run:qualify",
    "questions": "reports.design.question:questions",
    "replicate": "reports.replicate.run:replicate",
    "report": "reports.csr.report:write_report",
    "reproduce": "cohorts.running.bundle:reproduce",
    "run": "cohorts.running.execution:run",
    "sensitivity": "reports.sensitivity.run:sensitivity",
    "simulate": "cohorts.courses:simulate",
    "sweep": "cohorts.courses:sweep",
    "trials": "cohorts.protocol.trial:trials",
    "validate": "reports.pages.validation:validate",
    "variants": "pkpd.variants:variant_table",
}
"""Public name to the module and function that implement it."""


def __getattr__(name: str) -> object:
    if name not in FUNCTIONS:
        raise AttributeError(f"module 'ranklsim.api' has no attribute '{name}'")
    module, _, function = FUNCTIONS[name].partition(":")
    return getattr(import_module(f"ranklsim.{module}"), function)
