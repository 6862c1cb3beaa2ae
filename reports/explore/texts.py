"""What repeats the page: commands, a trial file and Python, in pieces that the page puts together."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ranklsim.cohorts.protocol.trial import Trial, load_trial
from ranklsim.pkpd.dosing import Regimen
from ranklsim.pkpd.tomltext import quoted
from ranklsim.pkpd.units import DAYS_PER_MONTH

PATIENTS, SEED = 1000, 20269
"""Women of the cohort, and the seed that draws them."""
VISITS = 6
"""Months between visits of the trial."""
ROUNDING = 1e-9

TRIAL = """\
# From `ranklsim explore`: {patients} women, each simulated in every arm (twins).
# Nobody leaves or misses a dose, and nothing is measured with error.
title   = "From ranklsim explore"
seed    = {seed}
months  = {months}
{control}twins   = {patients}

[population]
name     = {population}
patients = {patients}

{arms}
[visits]
BMD     = {visits}
markers = {visits}

[[endpoint]]
name      = "Responders"
role      = "primary"
responder = {{ of = "{of}", at = "{at:g} mo", gain = ">= {above:g} %" }}
analysis  = "Miettinen-Nurminen"
{estimand}
[layers]
residual   = false
parameters = false
"""
ESTIMAND = """
[[estimand]]  # its true value is the difference of the percentages on the page
name     = "Responders among all"
endpoint = "Responders"
primary  = true
events   = {}
"""


def trial(arms: Sequence[str], months: int, at: float, population: str, of: str, above: float) -> str:
    """The trial file of a page.

    Parameters
    ----------
    arms : sequence of str
        As from `arm`; the first is the control.
    months : int
        Length of the trial.
    at : float
        Month of the responders.
    population : str
    of : str
        ``BMD_LS`` or ``BMD_TH``.
    above : float
        Least gain of a responder, %.
    """
    several = len(arms) > 1
    return TRIAL.format(
        patients=PATIENTS, seed=SEED, months=months, population=quoted(population), arms="\n".join(arms),
        control='control = "A"\n' if several else "", estimand=ESTIMAND if several else "", of=of, at=at, above=above,
        visits=sorted({*map(float, range(0, months + 1, VISITS)), float(months), float(at)}),
    )  # fmt: skip


def load(text: str) -> Trial:
    """Read a trial from text.

    Parameters
    ----------
    text : str
        As from `trial`.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "explore.toml"
        path.write_text(text, encoding="utf-8")
        return load_trial(path, folder=Path.cwd(), populations=Path.cwd())


def arm(name: str, label: str, regimens: Sequence[Regimen]) -> str:
    """One arm of a trial file.

    Parameters
    ----------
    name, label : str
    regimens : sequence of Regimen
    """
    steps = []
    for part in regimens:
        keys = [f"agent = {quoted(part.agent)}"]
        dose, _, most = part.dose.words.partition(" up to ")
        keys += [f'dose = "{dose}"'] if part.dose_mg else []
        keys += [f'cap = "{most}"'] if most else []
        keys += [f'start = "{_time(part.start_day)}"'] if part.start_day else []
        keys += [f'every = "{_time(part.every_days)}"'] if part.every_days else []
        keys += [f"doses = {part.doses}"] if part.every_days else []
        keys += ["together = true"] if part.together else []
        steps.append(f"  {{ {', '.join(keys)} }},")
    return "\n".join(
        ["[[arm]]", f"name    = {quoted(name)}", f"label   = {quoted(label)}", "regimen = [", *steps, "]", ""]
    )


def _time(days: float) -> str:
    """A time that reads back as the same: whole or half months, else days."""
    halves = 2 * days / DAYS_PER_MONTH
    return f"{round(halves) / 2:g} mo" if abs(halves - round(halves)) < ROUNDING else f"{days!r} day"


def pieces(regimen: str, follow: float, draws: int, rtol: float) -> dict[str, str]:
    """The command and the line of Python for one regimen; ``@NAME@`` and ``@PARAMETERS@`` stand for the page's own.

    Parameters
    ----------
    regimen : str
    follow : float
        Months after the last interval.
    draws : int
        Vectors of the band.
    rtol : float
        Error allowed the integrator a step.
    """
    after = f"{follow:.10g}mo"
    return {
        "command": f"ranklsim simulate --regimen {shlex.quote(regimen)} --follow {after} --draws {draws} "
        f"--rtol {rtol:g}@PARAMETERS@ -o @NAME@.csv",
        "python": f"ranklsim.simulate({regimen!r}, follow={after!r}, draws={draws}, rtol={rtol:g}@PARAMETERS@)",
    }
