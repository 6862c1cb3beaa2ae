"""A system as a script of R that the package deSolve [1]_ integrates.

References
----------
.. [1] Soetaert K et al. J Stat Softw 2010;33(9):1-25. doi:10.18637/jss.v033.i09
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Mapping

import sympy as sp

from ranklsim.pkpd.exchange.printing import r_name, r_text
from ranklsim.pkpd.exchange.sbml import in_words
from ranklsim.pkpd.exchange.system import System, needed, symbol


def r_script(system: System, title: str, notes: Mapping[str, str], days: Iterable[float]) -> str:
    """The file.

    Parameters
    ----------
    system : System
    title : str
    notes : mapping of str to str
        What is said about the model: heading to text.
    days : iterable of float
        Days of the table that the script makes.
    """
    lines = [f"# {title}", "#"]
    for heading, text in notes.items():
        lines += textwrap.wrap(f"{heading}: {text}", 110, initial_indent="# ", subsequent_indent="#   ")
    lines += [
        "#",
        "# Needs R and its package deSolve. `Rscript FILE` prints a table of the outputs, `Rscript FILE OUT.csv` "
        "writes it.",
        "",
        "library(deSolve)",
        "",
        "parameters <- list(",
        *_entries(
            (f"{r_name(name)} = {q.value!r}".replace("inf", "Inf"), f"{q.unit}; {q.meaning}; {in_words(q)}")
            for name, q in system.parameters.items()
        ),
        ")",
        "",
        "patient <- function(p) with(p, {",
        "  # what follows from the parameters before time starts",
        *(f"  {r_name(name)} <- {r_text(formula)}" for name, formula in system.constants.items()),
        "  # the untreated start of each state",
        "  start <- c(",
        *_entries(
            (f"{name} = {r_text(system.start[name])}", f"{unit}; {meaning}")
            for name, (unit, meaning) in system.states.items()
        ),
        "  )",
        "  # rates of change a day",
        "  rates <- function(time, state, ...) {",
        *_body(system, needed(system.steps, system.rates.values())),
        "    list(c(",
        *_entries((r_text(system.rates[name]), name) for name in system.states),
        "    ))",
        "  }",
        "  # what can be observed",
        "  outputs <- function(time, state) {",
        *_body(system, needed(system.steps, map(symbol, system.outputs))),
        "    c(",
        *_entries((f"{name} = {name}", f"{unit}; {meaning}") for name, (unit, meaning) in system.outputs.items()),
        "    )",
        "  }",
        "  # doses: what each adds to which state, and when",
        "  doses <- data.frame(var = character(), time = numeric(), value = numeric(), method = character())",
        *(
            f"  doses <- rbind(doses, data.frame(var = {json.dumps(d.state)}, "
            f'time = {d.first} + {d.every} * seq(0, {d.number} - 1), value = {r_text(d.added)}, method = "add"))'
            for d in system.doses
        ),
        "  list(start = start, rates = rates, outputs = outputs, doses = doses[order(doses$time), ])",
        "})",
        "",
        f"days <- c({', '.join(repr(float(day)) for day in days)})",
        "",
        "course <- function(p = parameters, times = days, rtol = 1e-6, atol = 1e-8) {",
        "  one <- patient(p)",
        "  doses <- one$doses[one$doses$time <= max(times), ]",
        "  grid <- sort(unique(c(0, times, doses$time)))",
        "  given <- if (nrow(doses) > 0) list(data = doses) else NULL",
        '  found <- ode(one$start, grid, one$rates, NULL, method = "lsoda", rtol = rtol, atol = atol, events = given,',
        "               maxsteps = 1e5)",
        "  found <- found[match(times, grid), , drop = FALSE]",
        "  seen <- t(apply(found, 1, function(row) one$outputs(row[[1]], row[-1])))",
        "  data.frame(found, seen, check.names = FALSE)",
        "}",
        "",
        "if (sys.nframe() == 0) {",
        "  arguments <- commandArgs(trailingOnly = TRUE)",
        "  table <- course()",
        "  if (length(arguments) > 0) write.csv(table, arguments[[1]], row.names = FALSE) else print(table)",
        "}",
    ]
    return "\n".join(lines) + "\n"


def _body(system: System, steps: Mapping[str, sp.Expr]) -> list[str]:
    """States by name, and steps, of a function."""
    read = {str(s) for formula in (*steps.values(), *system.rates.values()) for s in formula.free_symbols}
    return [
        *(f"    {name} <- state[[{i}]]" for i, name in enumerate(system.states, start=1) if name in read),
        *(f"    {r_name(name)} <- {r_text(formula)}" for name, formula in steps.items()),
    ]


def _entries(rows: Iterable[tuple[str, str]]) -> list[str]:
    """Arguments of a call, one a line, each with a comment."""
    rows = list(rows)
    last = len(rows) - 1
    return [f"    {entry}{'' if i == last else ','}  # {about}" for i, (entry, about) in enumerate(rows)]
