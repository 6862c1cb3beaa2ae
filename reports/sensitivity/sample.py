"""Question of a sensitivity analysis, its parameter vectors, and the outcomes of the typical patient under each.

Every parameter with a range (`ranklsim.pkpd.ranges`) moves within that range, without the correlations that a fit
leaves among the parameters. All arms see the same vectors, so that differences between arms are paired. Variability
between patients and measurement error play no part.

Samples are made by SALib [1]_ in the unit cube: trajectories for the Morris screening [2]_, a scrambled Sobol sequence
for the Sobol indices [3]_.

References
----------
.. [1] Iwanaga T, Usher W, Herman J. Socio-Environ Syst Model 2022;4:18155. doi:10.18174/sesmo.18155
.. [2] Morris MD. Technometrics 1991;33:161-74. doi:10.1080/00401706.1991.10484804
.. [3] Saltelli A et al. Comput Phys Commun 2010;181:259-70. doi:10.1016/j.cpc.2009.09.018
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ranklsim.cohorts.durability import MEASURES, Measure, after_treatment
from ranklsim.cohorts.endpoints import Endpoint
from ranklsim.cohorts.protocol.design import Arm, Trial, ends_of_treatment
from ranklsim.cohorts.uncertainty import courses
from ranklsim.pkpd.agents import Agent
from ranklsim.pkpd.errors import BadInput, near
from ranklsim.pkpd.parameters import ParameterTable

SITES = ("LS", "TH")
LEVELS = 4
"""Levels of the Morris grid, the usual number [2]_."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Settings:
    """Sizes of the samples.

    Attributes
    ----------
    trajectories : int
        Morris trajectories; each costs as many vectors as there are parameters, and one.
    samples : int
        N of the Sobol indices, a power of two; they cost N (keep + 2) vectors, or N (2 keep + 2) with `second_order`.
    keep : int
        Parameters that pass the screening.
    second_order : bool
        Whether interactions of pairs are asked too.
    seed : int
    """

    trajectories: int = 40
    samples: int = 512
    keep: int = 20
    second_order: bool = False
    seed: int = 0

    def check(self) -> None:
        """Raise `BadInput` with one sentence for each number that can't be used."""
        faults = []
        if self.trajectories < 2:
            faults.append(f"trajectories = {self.trajectories} are too few for an interval; give 2 or more.")
        if self.samples < 2 or self.samples & (self.samples - 1):
            lower = 2 ** max(1, int(np.log2(max(self.samples, 2))))
            faults.append(
                f"samples = {self.samples} is not a power of two, which a Sobol sequence needs; "
                f"give {lower} or {2 * lower}."
            )
        if self.keep < 2:
            faults.append(f"keep = {self.keep} leaves nothing to compare; give 2 or more.")
        if faults:
            raise BadInput(*faults)


@dataclass(frozen=True)
class Question:
    """Outcomes of the active arms, and differences between arms with hypothetical and with known agents.

    Attributes
    ----------
    trial, parameters, agents
    moved : DataFrame
        Rows of `ranges` that are moved.
    arms : list of str
        Arms whose agent does something.
    ends : dict of str to float
        Month at which the treatment of each ends.
    compared : dict of str to str
        Arm with a hypothetical agent, to the arm that it is set against.
    endpoints : list of Endpoint
        Of the trial, the primary ones first, that a typical patient has a value of.
    """

    trial: Trial
    parameters: ParameterTable
    agents: list[Agent]
    moved: pd.DataFrame
    arms: list[str]
    ends: dict[str, float]
    compared: dict[str, str]
    endpoints: list[Endpoint] = field(default_factory=list)

    @property
    def measures(self) -> dict[str, Measure]:
        """What is asked of each arm: the endpoints by name, the primary ones first, then durability and rebound."""
        own = {e.name: Measure(e.typical_unit, e.name) for e in self.endpoints}
        return own | MEASURES

    @property
    def months(self) -> np.ndarray:
        """Simulated months: every month, half months after the first end of treatment, and those of the outcomes."""
        last = float(self.trial.months)
        first = min(min(self.ends.values()), last)
        named = [end + later for end in self.ends.values() for later in (0.0, 12.0, 24.0)]
        named += [month for endpoint in self.endpoints for month in endpoint.typical_months]
        grid = {*np.arange(0.0, last + 1e-9), *np.arange(first, last + 1e-9, 0.5), *named, last}
        return np.array(sorted({round(month, 9) for month in grid if month <= last + 1e-9}))

    @property
    def outcomes(self) -> pd.DataFrame:
        """One row for each outcome: `outcome` (its name), `arm`, `versus` ("" for the arm itself), `measure`."""
        rows = []
        unfit = {arm: {e.name for e in self.endpoints if e.unfit(arm)} for arm in self.arms}
        for arm in self.arms:
            left = float(self.trial.months) - self.ends[arm]
            for name, measure in self.measures.items():
                if name in unfit[arm]:
                    continue
                if measure.after is None or (left > 1e-9 and measure.after <= left + 1e-9):
                    rows.append({"outcome": f"{arm}.{name}", "arm": arm, "versus": "", "measure": name})
        have = {row["outcome"] for row in rows}
        for arm, versus in self.compared.items():
            for name in self.measures:
                if {f"{arm}.{name}", f"{versus}.{name}"} <= have:
                    rows.append({"outcome": f"{arm}-{versus}.{name}", "arm": arm, "versus": versus, "measure": name})
        return pd.DataFrame(rows)


def ask(
    trial: Trial,
    parameters: ParameterTable,
    agents: Sequence[Agent],
    moved: pd.DataFrame,
    endpoints: Sequence[str] | None = None,
) -> Question:
    """The outcomes of a trial that can be analysed.

    Parameters
    ----------
    trial : Trial
    parameters : ParameterTable
    agents : sequence of Agent
        All agents that the arms name.
    moved : DataFrame
        Parameters to move, as from `ranges.chosen`.
    endpoints : sequence of str, optional
        Names of endpoints of the trial; all that a typical patient has a value of by default.

    Raises
    ------
    BadInput
        If no arm receives an active agent, or an endpoint is unknown or has no value in a typical patient.
    """
    by_name = {agent.name: agent for agent in agents}
    active = [arm for arm in trial.arms if any(by_name[r.agent].kind != "none" for r in arm.regimens)]
    if not active:
        raise BadInput(
            f"{trial.name}: no arm is given an active agent, so that nothing is gained that could last or rebound; "
            "give a trial with one."
        )
    ends = ends_of_treatment(trial.arms, by_name)
    hypothetical = [arm for arm in active if any(by_name[r.agent].hypothetical for r in arm.regimens)]
    known = [arm for arm in active if arm not in hypothetical]
    names = [arm.name for arm in active]
    return Question(
        trial=trial,
        parameters=parameters,
        agents=list(agents),
        moved=moved,
        arms=names,
        ends={name: ends[name] for name in names},
        compared={arm.name: _against(arm, known, trial.control) for arm in hypothetical if known},
        endpoints=_endpoints(trial, endpoints),
    )


def _endpoints(trial: Trial, wanted: Sequence[str] | None) -> list[Endpoint]:
    """Endpoints that a typical patient has a value of, the primary ones first."""
    known = {endpoint.name: endpoint for endpoint in trial.endpoints}
    faults, first = [], f"its first one is '{next(iter(known), '')}'."
    for name in wanted or ():
        if name not in known:
            faults.append(f"endpoints: '{name}' is no endpoint of {trial.name}; {near(name, known, first)}")
        elif not known[name].typical_months and known[name].key != "durability":
            faults.append(
                f"endpoints: '{name}' has no value in one typical patient ({known[name].key}); ask for one that is "
                "measured, or use replicate."
            )
    if faults:
        raise BadInput(*faults)
    order = ("primary", "key secondary", "secondary", "exploratory")
    asked = [e for e in trial.endpoints if e.typical_months and (wanted is None or e.name in wanted)]
    asked.sort(key=lambda endpoint: order.index(endpoint.role))
    alike = {(e.columns[:1], e.typical_months, e.typical_unit): e for e in reversed(asked)}  # in a typical patient
    return asked if wanted is not None else [e for e in asked if e in alike.values()]


def _against(arm: Arm, known: Sequence[Arm], control: str | None) -> str:
    """Comparator of a hypothetical arm: the active control, else an arm with the same plan of doses, else the first."""
    plan = [(r.dose, r.start_day, r.every_days, r.doses) for r in arm.regimens]
    same = [k.name for k in known if [(r.dose, r.start_day, r.every_days, r.doses) for r in k.regimens] == plan]
    return next(iter([k.name for k in known if k.name == control] + same), known[0].name)


def evaluate(
    question: Question, vectors: pd.DataFrame, *, workers: int = 1, progress: Callable[[int], None] | None = None
) -> pd.DataFrame:
    """Outcomes of each arm for each vector of parameter values.

    Parameters
    ----------
    question : Question
    vectors : DataFrame
        One row for each vector, one column for each symbol.
    workers : int
        Threads; the result does not depend on it.
    progress : callable, optional
        Called with the number of typical patients done since the last call.

    Returns
    -------
    DataFrame
        One row for each vector, columns ``ARM.measure``. Months until BMD is back at baseline are inf where it is not
        back by the last month.
    """
    months = question.months
    found = courses(
        question.trial, question.parameters, question.agents, vectors, question.arms, months,
        workers=workers, progress=progress,
    )  # fmt: skip
    columns: dict[str, np.ndarray] = {}
    for k, arm in enumerate(question.arms):
        change = {}
        for site in SITES:
            bmd = found[f"BMD_{site}"][:, k]
            change[site] = 100 * (bmd / bmd[:, :1] - 1)
        ctx = found["CTX"][:, k]
        own = after_treatment(months, change, 100 * ctx / ctx[:, :1], question.ends[arm])
        course = {name: values[:, k] for name, values in found.items()}
        own = {e.name: e.typical(months, course) for e in question.endpoints if not e.unfit(arm)} | own
        columns |= {f"{arm}.{name}": value for name, value in own.items()}
    return pd.DataFrame(columns)


def morris_sample(symbols: Sequence[str], trajectories: int, seed: int) -> Array:
    """Points of the unit cube along Morris trajectories [2]_.

    Parameters
    ----------
    symbols : sequence of str
    trajectories : int
    seed : int

    Returns
    -------
    ndarray, shape (trajectories * (n_symbols + 1), n_symbols)
        On the grid 0, 1/3, 2/3, 1; each step of a trajectory changes one coordinate.
    """
    from SALib.sample import morris

    return morris.sample(unit_cube(symbols), trajectories, num_levels=LEVELS, seed=salib_seed(seed))


def sobol_sample(symbols: Sequence[str], samples: int, second_order: bool, seed: int) -> tuple[Array, NDArray[np.str_]]:
    """Points of the unit cube for Sobol indices [3]_, from a scrambled Sobol sequence.

    Parameters
    ----------
    symbols : sequence of str
    samples : int
        A power of two.
    second_order : bool
        Whether the sample serves second-order indices too.
    seed : int

    Returns
    -------
    unit : ndarray, shape (n, n_symbols)
        n = samples * (n_symbols + 2), or samples * (2 * n_symbols + 2) with `second_order`.
    matrix : ndarray of str, shape (n,)
        "A" and "B" for the two independent samples, "AB" and "BA" for those with a column exchanged.
    """
    from SALib.sample import sobol

    unit = sobol.sample(unit_cube(symbols), samples, calc_second_order=second_order, seed=salib_seed(seed))
    k = len(symbols)
    block = ["A", *["AB"] * k, *(["BA"] * k if second_order else []), "B"]
    return unit, np.array(block * samples)


def unit_cube(symbols: Sequence[str]) -> dict[str, object]:
    """The unit cube as SALib describes a problem.

    Parameters
    ----------
    symbols : sequence of str
        Names of its dimensions.
    """
    return {"num_vars": len(symbols), "names": list(symbols), "bounds": [[0.0, 1.0]] * len(symbols)}


def salib_seed(seed: int) -> int:
    """A seed for SALib, never 0, which SALib treats as "no seed".

    Parameters
    ----------
    seed : int
        0 or more; different seeds give different ones.
    """
    return int(np.random.SeedSequence(seed).generate_state(1)[0]) + 1


def farthest(moved: pd.DataFrame, vector: pd.Series) -> str:
    """The parameters of a vector that are furthest from their values, in words, and what to do about them.

    Parameters
    ----------
    moved : DataFrame
        As of `Question`.
    vector : Series
        A value for each symbol.
    """
    known = moved.set_index("symbol")
    span = (known["high"] - known["low"]).reindex(vector.index)
    far = ((vector - known["value"].reindex(vector.index)).abs() / span).sort_values(ascending=False).index[:4]
    values = ", ".join(f"{symbol} = {vector[symbol]:g}" for symbol in far)
    return f"furthest from their values: {values}; exclude one of them, or narrow its interval"
