"""The solver against the text of the equations, a reference solver, closed forms and balances.

References
----------
.. [1] scipy's LSODA at a relative tolerance of 1e-9 is the reference (`pkpd.engine.reference`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ranklsim.cohorts.running.execution import RTOL
from ranklsim.pkpd.agents import Agent, load_agent
from ranklsim.pkpd.biology import ligand, pharmacokinetics, skeleton
from ranklsim.pkpd.biology.binding import free_drug
from ranklsim.pkpd.biology.model import OUTPUTS, Model
from ranklsim.pkpd.biology.values import Slots, Values
from ranklsim.pkpd.engine import reference
from ranklsim.pkpd.engine.compiler import compiled
from ranklsim.pkpd.errors import RunFailed
from ranklsim.pkpd.parameters import ParameterTable, load_parameters
from ranklsim.pkpd.simulation import Doses, dose_event, patient_constants, simulate
from ranklsim.pkpd.units import DAYS_PER_MONTH
from ranklsim.reports.qualify.finding import Finding

Array = NDArray[np.float64]

INTERVAL = 6 * DAYS_PER_MONTH
DAYS = np.array([0, 0.1, 1, 6, 12, 18, 20, 24, 30, 36]) * DAYS_PER_MONTH
YEARS = np.array([0.0, 1.0, 3.0, 10.0]) * 365.25
BINDERS = ("denosumab", "mrankl-selective", "srankl-selective", "opg-fc")
WAYS = ("uniform", "log-uniform", "corners", "one to five")
"""All numbers at once: uniformly, uniformly on the logarithm, each at one of its ends; or a few numbers at an end."""
UNREAD = ("measurement", "hazard")  # groups that no equation of the engine reads
WHOLE = ("PVFX", "SUPP")  # 0 or 1
DRAWN = 50
"""Vectors in each of `WAYS`."""


# -- patients and doses ------------------------------------------------------------------------------------------------


def q6m(mg: float, doses: int, patients: int = 1, agent: int = 0) -> Doses:
    """Doses every six months for each patient.

    Parameters
    ----------
    mg : float
    doses, patients : int
        Number of doses of each, and of patients.
    agent : int
        Position of the agent.
    """
    n = doses * patients
    return Doses(
        patient=np.repeat(np.arange(patients), doses),
        time=np.tile(np.arange(doses) * INTERVAL, patients),
        agent=np.full(n, agent),
        amount=np.full(n, float(mg)),
    )


def together(*parts: Doses) -> Doses:
    """Several dose tables as one.

    Parameters
    ----------
    *parts : Doses
    """
    return Doses(
        *(np.concatenate([getattr(d, name) for d in parts]) for name in ("patient", "time", "agent", "amount"))
    )


NO_DOSES = Doses(np.empty(0, int), np.empty(0), np.empty(0, int), np.empty(0))


def anyone(table: ParameterTable, n: int, seed: int = 1) -> pd.DataFrame:
    """Persons drawn over half of every plausible range around its value: harsher than a trial draws them.

    Parameters
    ----------
    table : ParameterTable
    n : int
        Number of persons.
    seed : int
    """
    rng = np.random.default_rng(seed)
    frame = table.frame
    intervention = frame["note"].str.contains("acts from day 0 on")  # such a patient starts out of balance
    wide = frame[(frame["high"] > frame["low"]) & ~frame.index.isin(WHOLE) & ~intervention]
    low = wide["value"] - 0.5 * (wide["value"] - wide["low"])
    high = wide["value"] + 0.5 * (wide["high"] - wide["value"])
    return pd.DataFrame(rng.uniform(low, high, size=(n, len(wide))), columns=list(wide.index))


def other_affinities(agent: Agent, **values: float) -> Agent:
    """An agent with some of its numbers changed.

    Parameters
    ----------
    agent : Agent
    **values : float
        Field to number.
    """
    return replace(agent, values=agent.values | values)


def constants_of_one(
    table: ParameterTable, persons: pd.DataFrame, agents: Sequence[Agent], i: int = 0
) -> tuple[Model, Values, dict[str, tuple[str, int]]]:
    """The model, the constants and the slots of the agents for one of several persons.

    Parameters
    ----------
    table : ParameterTable
    persons : DataFrame
    agents : sequence of Agent
    i : int
        Position of the person.
    """
    model, p, slot = patient_constants(table, persons.iloc[[i]], agents)
    return model, Values({name: float(np.asarray(v).item()) for name, v in p.items()}), slot


def typical() -> pd.DataFrame:
    """One person without a number of her own."""
    return pd.DataFrame(index=[0])


def ranges(table: ParameterTable, agents: Sequence[Agent]) -> pd.DataFrame:
    """Ends of every number that an equation of the engine reads.

    Parameters
    ----------
    table : ParameterTable
    agents : sequence of Agent

    Returns
    -------
    DataFrame
        Columns ``low`` and ``high``, by symbol.
    """
    frame = table.frame.loc[~table.frame["group"].isin(UNREAD), ["low", "high"]]
    own = {
        f"{number.origin}.{number.field}": (number.low, number.high)
        for agent in agents
        for number in agent.provenance
        if number.low is not None and np.isfinite(number.value)
    }
    frame = pd.concat([frame, pd.DataFrame.from_dict(own, orient="index", columns=["low", "high"])])
    return frame[frame["low"] < frame["high"]]


def vectors(table: ParameterTable, agents: Sequence[Agent], n: int, way: str, rng: np.random.Generator) -> pd.DataFrame:
    """Persons whose numbers can belong together.

    Parameters
    ----------
    table : ParameterTable
    agents : sequence of Agent
    n : int
        How many.
    way : str
        One of `WAYS`.
    rng : Generator
    """
    kept = pd.DataFrame()
    while len(kept) < n:
        drawn = _drawn(table, agents, n, way, rng)
        kept = pd.concat([kept, drawn[table.implausible(drawn) == ""]], ignore_index=True)
    return kept.head(n)


def _drawn(table: ParameterTable, agents: Sequence[Agent], n: int, way: str, rng: np.random.Generator) -> pd.DataFrame:
    """Persons drawn in one of `WAYS`, whether their numbers can belong together or not."""
    ends = ranges(table, agents)
    low, high = ends["low"].to_numpy(float), ends["high"].to_numpy(float)
    share = rng.random((n, len(ends)))
    if way == "uniform":
        values = low + (high - low) * share
    elif way == "log-uniform":
        ratio = np.where(low > 0, high / np.where(low > 0, low, 1.0), 1.0)
        values = np.where(low > 0, low * ratio**share, low + (high - low) * share)
    else:
        values = np.where(share < 0.5, low, high)
    if way == "one to five":
        usual = np.array([table.row(symbol)["value"] for symbol in ends.index], dtype=float)
        place = rng.random(values.shape).argsort(axis=1).argsort(axis=1)
        values = np.where(place < rng.integers(1, 6, (n, 1)), values, usual)
    frame = pd.DataFrame(values, columns=ends.index)
    frame[list(WHOLE)] = frame[list(WHOLE)].round()
    return frame


# -- the compiled kernel against the text ------------------------------------------------------------------------------


@cache
def _kernel(binders: int, bisphosphonates: int, anabolics: int) -> tuple[float, float, int]:
    """Largest differences of rates and of the Jacobian between kernel and text, and the number of states."""
    slots = Slots(binders, bisphosphonates, anabolics)
    names = [*("denosumab", "mrankl-selective")[:binders], *("zoledronate",) * bisphosphonates]
    agents = [load_agent(name) for name in [*names, *("teriparatide",) * anabolics]]
    kernel, table = compiled(slots), load_parameters()
    model, p, _ = constants_of_one(table, anyone(table, 1), agents)
    rng = np.random.default_rng(7)
    x = np.array(list(model.start(p).values())) * rng.uniform(0.5, 2.0, len(model.states)) + 0.1
    held = kernel.hold(np.array([p[name] for name in kernel.PARAMETERS]))
    rates, jacobian = np.empty(len(x)), np.empty((len(x), len(x)))
    kernel.rates(x, held, rates)
    kernel.jacobian(x, held, jacobian)
    right = reference.right_hand_side(model, p, x)
    rate = float(np.max(np.abs(rates - right) / (np.abs(right) + 1e-3)))
    worst = 0.0
    for j in range(len(x)):
        gaps = []
        for share in (
            1e-6,
            1e-5,
            1e-4,
        ):  # the shortest loses digits where a rate is large
            step = share * max(1e-3, abs(x[j]))
            up, down = x.copy(), x.copy()
            up[j] += step
            down[j] -= step
            slope = (reference.right_hand_side(model, p, up) - reference.right_hand_side(model, p, down)) / (2 * step)
            gaps.append(np.abs(jacobian[:, j] - slope) / (np.abs(slope) + 5e-3))
        worst = max(worst, float(np.min(gaps, axis=0).max()))
    return rate, worst, len(x)


SLOTS = ((1, 0, 0), (2, 1, 1))
"""Numbers of binding agents, bisphosphonates and anabolic agents whose kernels are compared."""


def kernel_rates() -> Finding:
    """Largest relative difference of the rates of the compiled kernel from those of the text."""
    found = [_kernel(*slots) for slots in SLOTS]
    states = " and ".join(str(one[2]) for one in found)
    return Finding(
        max(one[0] for one in found),
        f"Rates of models with {states} states at random values of the states, from the compiled kernel and from the "
        "text of the equations.",
    )


def kernel_jacobian() -> Finding:
    """Largest relative difference of the compiled Jacobian from central differences of the text."""
    found = max(_kernel(*slots)[1] for slots in SLOTS)
    return Finding(found, "The compiled Jacobian at the same states, and central differences of the text.")


# -- the reference solver ----------------------------------------------------------------------------------------------


@cache
def _courses(patients: int = 2, seed: int = 11) -> dict[str, float]:
    """Largest differences of random patients from the reference: BMD (points), marker (%), drug (%)."""
    table = load_parameters()
    persons = anyone(table, patients, seed=seed)
    one = np.arange(patients)
    doses = together(
        q6m(60, 3, patients=patients),
        Doses(one, np.full(patients, 18 * DAYS_PER_MONTH), np.full(patients, 1), np.full(patients, 60.0)),
        Doses(one, np.full(patients, 20 * DAYS_PER_MONTH), np.full(patients, 2), np.full(patients, 5.0)),
    )
    agents = [load_agent(name) for name in ("denosumab", "mrankl-selective", "zoledronate")]
    fast = simulate(table, persons, agents, doses, DAYS)
    worst = {"BMD": 0.0, "marker": 0.0, "drug": 0.0}
    for i in range(patients):
        model, p, slot = constants_of_one(table, persons, agents, i)
        events = [
            (doses.time[d], *dose_event(model, p, slot[agent.name], agent, doses.amount[d]))
            for d in np.flatnonzero(doses.patient == i)
            for agent in [agents[doses.agent[d]]]
        ]
        states = reference.integrate(model, p, events, DAYS, rtol=1e-9, atol=1e-11)
        slow = model.outputs(Values(zip(model.states, states.T, strict=True)), p, DAYS)
        for site in skeleton.SITES:
            gap = 100 * np.abs(fast[f"BMD_{site}"][i] - slow[f"BMD_{site}"]) / p[f"BMD0_{site}"]
            worst["BMD"] = max(worst["BMD"], float(gap.max()))
        for marker in ("CTX", "P1NP", "BSAP", "TRAP5B", "CA", "PTH"):
            gap = 100 * np.abs(fast[marker][i] - slow[marker]) / slow[marker][0]
            worst["marker"] = max(worst["marker"], float(gap.max()))
        drug = slow["free_1"] * agents[0].values["molar_mass"] / 1e3
        gap = 100 * np.maximum(np.abs(fast["C_denosumab"][i] - drug) - 1e-6, 0) / np.maximum(drug, 1e-12)
        worst["drug"] = max(worst["drug"], float(gap.max()))
    return worst


def _reference(what: str, words: str) -> Finding:
    return Finding(
        _courses()[what],
        f"{words} of two patients with random parameters on denosumab, an mRANKL-selective antibody and zoledronate, "
        "at 10 times within 36 months, against scipy's LSODA on the text of the equations (relative tolerance 1e-9).",
    )


def reference_bmd() -> Finding:
    """Largest difference of BMD from the reference solver, points."""
    return _reference("BMD", "BMD at four sites")


def reference_markers() -> Finding:
    """Largest difference of a marker from the reference solver, % of baseline."""
    return _reference("marker", "CTX, P1NP, BSAP, TRAP5b, calcium and PTH")


def reference_drug() -> Finding:
    """Largest difference of free drug from the reference solver, %."""
    return _reference("drug", "Free denosumab")


@cache
def _halved() -> tuple[float, float]:
    table = load_parameters()
    persons, doses, agents = anyone(table, 20, seed=3), q6m(60, 4, patients=20), [load_agent("denosumab")]
    one, two = (simulate(table, persons, agents, doses, DAYS, rtol=t, atol=t / 100) for t in (RTOL, RTOL / 2))
    bone = max(
        float(np.max(100 * np.abs(one[f"BMD_{s}"] - two[f"BMD_{s}"]) / two[f"BMD_{s}"][:, :1])) for s in skeleton.SITES
    )
    marker = max(float(np.max(100 * np.abs(one[m] - two[m]) / two[m][:, :1])) for m in ("CTX", "P1NP"))
    return bone, marker


def halved_bmd() -> Finding:
    """Largest change of BMD where the tolerance of runs is halved, points."""
    return Finding(_halved()[0], f"20 patients with random parameters on denosumab, at {RTOL:g} and {RTOL / 2:g}.")


def halved_markers() -> Finding:
    """Largest change of CTX and P1NP where the tolerance of runs is halved, % of baseline."""
    return Finding(_halved()[1], f"20 patients with random parameters on denosumab, at {RTOL:g} and {RTOL / 2:g}.")


# -- closed forms ------------------------------------------------------------------------------------------------------


def two_compartments() -> Finding:
    """Largest relative difference from the closed form of two compartments, of a drug without target."""
    table = load_parameters()
    agent = other_affinities(load_agent("denosumab"), KD_mRANKL=np.inf, KD_sRANKL=np.inf)
    times = np.array([0.0, 0.5, 2, 7, 14, 30, 60, 120, 180])
    found = simulate(table, typical(), [agent], q6m(60, 1), times, rtol=1e-9, atol=1e-11)
    _, p, _ = patient_constants(table, typical(), [agent])
    ka, ke, kout, kback = (np.asarray(p[f"{name}_1"]).item() for name in ("kabs", "kel", "kout", "kback"))
    total, product = ke + kout + kback, ke * kback
    fast = (total + np.sqrt(total**2 - 4 * product)) / 2
    slow = product / fast
    nmol_per_L = agent.values["F"] * 60e3 / agent.values["molar_mass"] / np.asarray(p["Vc_i_1"]).item()
    right = (
        nmol_per_L
        * ka
        * (
            (kback - ka) / ((fast - ka) * (slow - ka)) * np.exp(-ka * times)
            + (kback - fast) / ((ka - fast) * (slow - fast)) * np.exp(-fast * times)
            + (kback - slow) / ((ka - slow) * (fast - slow)) * np.exp(-slow * times)
        )
        * agent.values["molar_mass"]
        / 1e3
    )
    gap = np.abs(found["C_denosumab"][0] - right)[1:] / right[1:]
    return Finding(float(gap.max()), "60 mg of denosumab without binding, at 8 times within 180 days.")


def untreated_bone() -> Finding:
    """Largest relative difference of untreated BMD after ten years from its closed form."""
    table, years = load_parameters().replace({"fade": 0, "a_LS": 0}), 10.0
    found = simulate(table, typical(), [], NO_DOSES, np.array([0, years * 365.25]))
    worst = 0.0
    for site, (inner, outer) in skeleton.SITES.items():
        left = {b: np.exp(-table[f"k{b}"] * table[f"dl{b}"] * years) for b in (inner, outer)}
        f, bmd = table[f"f_{site}"], found[f"BMD_{site}"][0]
        worst = max(worst, abs(bmd[1] / bmd[0] / (f * left[inner] + (1 - f) * left[outer]) - 1))
    return Finding(worst, "BMD at four sites, without modelling: exp(-turnover x deficit x time) of each bone.")


def steady_start() -> Finding:
    """Largest relative drift of untreated patients without ageing over ten years."""
    table = load_parameters().replace({"dlT": 0, "dlC": 0, "dlR": 0, "a_LS": 0})
    persons = anyone(table, 40).drop(columns=["dlT", "dlC", "dlR", "a_LS"])
    found = simulate(table, persons, [load_agent("denosumab")], NO_DOSES, YEARS, rtol=1e-9)
    worst = ("", 0.0)
    for name, values in found.items():
        if name in OUTPUTS and not name.startswith(("LS_", "TH_", "FN_", "R13_", "OCC_", "EXPOSURE_")):
            drift = float((np.abs(values - values[:, :1]) / np.abs(values[:, :1])).max())
            worst = max(worst, (name, drift), key=lambda one: one[1])
    return Finding(worst[1], f"40 patients with random parameters; the largest drift is of {worst[0]}.")


def no_dose() -> Finding:
    """Number of outputs in which placebo differs from no dose."""
    table = load_parameters()
    none = simulate(table, typical(), [], NO_DOSES, DAYS)
    given = simulate(table, typical(), [load_agent("placebo")], q6m(1, 6), DAYS)
    differ = [name for name, values in none.items() if not np.array_equal(values, given[name])]
    return Finding(len(differ), f"{len(none)} outputs of the typical patient at 10 times within 36 months.")


def two_halves() -> Finding:
    """Largest relative difference between one dose of a drug and half a dose of each of two equal drugs."""
    table, drug = load_parameters(), load_agent("denosumab")
    twin = other_affinities(load_agent("mrankl-selective"), **drug.values)
    one = simulate(table, typical(), [drug], q6m(60, 3), DAYS, rtol=1e-9, atol=1e-12)
    two = simulate(
        table, typical(), [drug, twin], together(q6m(30, 3), q6m(30, 3, agent=1)), DAYS, rtol=1e-9, atol=1e-12
    )
    names = ("CTX", "OCC_mRANKL", "OCC_sRANKL", "sRANKL_total", "BMD_LS")
    gap = max(float(np.max(np.abs(one[n] - two[n]) / (np.abs(one[n]) + 1e-6))) for n in names)
    return Finding(gap, "Denosumab and an antibody with its values: CTX, occupancy, soluble RANKL and spine BMD.")


# -- balances ----------------------------------------------------------------------------------------------------------


def drug_balance() -> Finding:
    """Largest share of a dose that is neither eliminated nor present.

    The eliminated amount is integrated beside the model's own states, with fluxes from the same text.
    """
    table, worst = load_parameters(), 0.0
    for name in BINDERS:
        agent = load_agent(name)
        model, p, slot = constants_of_one(table, typical(), [agent])
        event = dose_event(model, p, slot[name], agent, 60.0)
        counting = _Counting(model)
        times = np.array([3.0, 30.0, 90.0, 180.0])
        states = reference.integrate(counting, p, [(0.0, *event)], times, rtol=1e-9, atol=1e-11)
        x = Values(zip(counting.states, states.T, strict=True))
        tissue = p.kout_1 * p.Vc_i_1 / p.kback_1  # volume of the peripheral compartment
        there = x.depot_1 + x.drug_1 * p.Vc_i_1 + x.tissue_1 * tissue + x.gone
        worst = max(worst, float(np.max(np.abs(there / event[1] - 1))))
    return Finding(worst, f"60 mg of {', '.join(BINDERS)}, at 3, 30, 90 and 180 days.")


class _Counting(Model):
    """A model with the amount of its first agent that was eliminated as one more state."""

    def __init__(self, model: Model) -> None:
        super().__init__(model.slots)
        self._model = model
        self.states = self.states | {"gone": ("nmol", "eliminated")}

    def rates(self, x: Values, p: Values, free: Sequence[Any]) -> dict[str, Any]:
        bound = ligand.binding(x, p, list(free), self.slots)
        own = Values({k: v for k, v in x.items() if k != "gone"})
        return self._model.rates(own, p, free) | {"gone": p.Vc_i_1 * sum(pharmacokinetics.losses(x, p, bound, 1))}

    def start(self, p: Values) -> dict[str, Any]:
        return self._model.start(p) | {"gone": 0.0}


def ligand_balance() -> Finding:
    """Largest share of the RANKL that is made and neither internalised, shed nor present."""
    table = load_parameters()
    model, p, _ = patient_constants(table, anyone(table, 20), [load_agent("denosumab")])
    rng = np.random.default_rng(3)
    x = Values({k: np.broadcast_to(v, 20) * rng.uniform(0.2, 3, 20) for k, v in model.start(p).items()})
    x["drug_1"] = rng.uniform(0, 80, 20)
    bound = ligand.binding(x, p, model.free(x, p), model.slots)
    change = ligand.rates(x, p, bound, 1.0, model.slots)
    drift = p.turn_T * x.drift_T + (1 - p.turn_T) * x.drift_C - 1
    made = p.kdeg * p.M0 * (1 + (1 - p.drift_OPG) * (1 - p.mix) * drift)
    pool = {s: x[f"mRANKL_{s}"] for s in ligand.SOURCES}
    free = sum(pool[s] * bound[f"open_{s}"] for s in ligand.SOURCES)
    held = sum(pool[s] * bound[f"held_{s}_1"] for s in ligand.SOURCES)
    internalised = (1 - p.fsh) * (p.kdeg * free + p.kint * held)
    arrived = change["sRANKL"] + (p.ksel * bound.open_s + p.kcpx * bound.held_s_1) * x.sRANKL
    total = sum(change[f"mRANKL_{s}"] for s in ligand.SOURCES) + internalised + arrived
    return Finding(
        float(np.max(np.abs(total / made - 1))),
        "20 patients with random parameters and random states: synthesis is change, internalisation and shedding; what "
        "is shed is what arrives in serum.",
    )


def bone_parts() -> Finding:
    """Largest difference between the change of BMD and the sum of its parts, points."""
    found = simulate(load_parameters(), typical(), [load_agent("denosumab")], q6m(60, 6), YEARS)
    worst = 0.0
    for site in skeleton.SITES:
        parts = sum(v[0] for name, v in found.items() if name.startswith(f"{site}_"))
        change = 100 * (found[f"BMD_{site}"][0] / found[f"BMD_{site}"][0, 0] - 1)
        worst = max(worst, float(np.max(np.abs(parts - change))))
    return Finding(worst, "The typical patient on denosumab for three years and seven years after it, four sites.")


def free_balance() -> Finding:
    """Largest share of the drug by which free and bound do not add up."""
    worst, solved = 0.0, 0
    for drugs in (1, 2, 3):
        slots, rng = Slots(drugs), np.random.default_rng(drugs)
        for _ in range(300):
            total, pool = 10.0 ** rng.uniform(-6, 3, drugs), 10.0 ** rng.uniform(-3, 1.5, 4)
            soluble, am = 10.0 ** rng.uniform(-4, 1), 10.0 ** rng.uniform(-2, 2, (drugs, 4))
            asol = 10.0 ** rng.uniform(-1, 3.5, drugs)
            free, work = np.empty(drugs), np.empty((drugs, drugs + 2))
            free_drug(total, pool, soluble, am, asol, free, work)
            x = Values({f"mRANKL_{s}": pool[j] for j, s in enumerate(ligand.SOURCES)} | {"sRANKL": soluble})
            p = Values({f"am_{s}_{k + 1}": am[k, j] for k in range(drugs) for j, s in enumerate(ligand.SOURCES)})
            p |= {f"as_{k + 1}": asol[k] for k in range(drugs)}
            x |= {f"drug_{k + 1}": total[k] for k in range(drugs)}
            if not ((free > 0) & (free <= total)).all():
                return Finding(np.inf, "A free concentration is not between 0 and the total.")
            gap = np.array(ligand.free_equation(x, p, list(free), slots)) / total
            worst, solved = max(worst, float(np.abs(gap).max())), solved + 1
    return Finding(worst, f"{solved} random cases of one to three drugs, over nine decades of concentration.")


# -- extremes ----------------------------------------------------------------------------------------------------------


@cache
def _extremes() -> pd.DataFrame:
    """What becomes of vectors from anywhere within the ranges: integrated, refused by name, or neither."""
    table = load_parameters()
    agents = [load_agent(name) for name in ("denosumab", "zoledronate", "teriparatide")]
    rng, rows = np.random.default_rng(1), []
    for way in WAYS:
        persons = vectors(table, agents, DRAWN, way, rng)
        doses = together(
            *(
                Doses(np.full(k, i), first + np.arange(k, dtype=float) * every, np.full(k, a), np.full(k, mg))
                for i in range(DRAWN)
                for a, mg, every, k, first in [
                    ((0, 60.0, INTERVAL, 6, 0.0), (1, 5.0, 365.25, 3, 0.0), (2, 0.02, 1.0, 540, 0.0))[i % 3]
                ]
            )
        )
        refused: dict[int, str] = {}
        retried: list[int] = []
        simulate(
            table, persons, agents, doses, np.linspace(0, 10 * 365.25, 41), rtol=RTOL, atol=RTOL / 100,
            refused=refused.__setitem__, retried=retried.append,
        )  # fmt: skip
        named = sum("that are taken as possible" in reason for reason in refused.values())
        left = len(retried) + len(refused) - named
        rows.append((way, DRAWN, DRAWN - len(refused) - len(retried), named, left))
    return pd.DataFrame(rows, columns=["drawn", "vectors", "integrated", "refused by name", "left over"])


def extremes_left() -> Finding:
    """Number of vectors that are neither integrated by the engine nor refused for a named reason."""
    found = _extremes()
    return Finding(
        int(found["left over"].sum()),
        f"{int(found['vectors'].sum())} vectors from anywhere within the ranges of all parameters, ten years, each "
        "with denosumab, zoledronate or teriparatide: integrated, or refused with the quantity that left its limits.",
        found,
    )


def extremes_integrated() -> Finding:
    """Share of vectors with up to five numbers at an end of their range that are integrated, %."""
    found = _extremes().set_index("drawn").loc["one to five"]
    return Finding(
        100 * float(found["integrated"] / found["vectors"]), "The vectors with one to five numbers at an end."
    )


def not_possible() -> Finding:
    """Number of impossible patients that are not refused by name."""
    wild = {"EGFR": 5.0, "make_marrow": 20.0, "tc": 40.0, "J_bone": 10.0, "e_ren": 0.0, "s_ren": 1.0}
    try:
        simulate(load_parameters(), pd.DataFrame([wild], index=[7]), [], NO_DOSES, np.array([0.0, 720.0]))
    except RunFailed as fault:
        return Finding(0 if "serum calcium reached" in str(fault) else 1, f"The message is: {fault}")
    return Finding(1, "A patient whose calcium can't be that of a living patient was integrated.")
