"""The lifelong steady state of an untreated patient of any genotype.

A deletion from birth is not an intervention: pools, cells, bone and calcium have had a lifetime to reach a steady
state. Cells are steady where the RANKL/OPG drift that follows from their formation is also the one that maintains them.
A higher number of cells lowers the drift, so there is exactly one such point, and bracketing finds it. Bone is steady
where modelling, which decreases as ``V**-fade``, replaces what remodelling loses:

    ph * V**-fade = (dl + ph) * OC

A template without modelling (cortical bone, `phC` 0) loses ``k * dl * OC`` without limit, and one without osteoclasts
grows without limit. Neither has a steady volume. Such a template gets volume 1, its rate of change (`Steady.drift`),
and the composition by age that it keeps during the change.

All functions are vectorised over patients and assume that no drug is present.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ranklsim.pkpd.agents import Agent
from ranklsim.pkpd.biology import calcium, cells, ligand, markers
from ranklsim.pkpd.biology.ligand import COMPARTMENTS
from ranklsim.pkpd.biology.model import Model
from ranklsim.pkpd.biology.skeleton import TEMPLATES
from ranklsim.pkpd.biology.values import Slots, Values
from ranklsim.pkpd.engine.compiler import compiled
from ranklsim.pkpd.errors import RunFailed
from ranklsim.pkpd.parameters import ParameterTable
from ranklsim.pkpd.simulation import MAX_STEPS, dose_event, judged, patient_constants
from ranklsim.pkpd.units import DAYS_PER_YEAR

Array = NDArray[np.float64]
STEPS = 200  # to a root, some ten of which are needed
DOUBLINGS = 40  # of osteoclasts over normal, before they are called without bound
NEWTON_STEPS, NEWTON_ENOUGH, DIFFERENCE = 30, 1e-13, 1e-6  # on the logarithm of osteoclasts over normal
UNBOUND = Values({f"open_{source}": 1.0 for source in ligand.SOURCES} | {"open_s": 1.0})


@dataclass(frozen=True)
class Steady:
    """Lifelong untreated state of `n` patients.

    Parameters
    ----------
    states : dict of str to ndarray, shape (n,)
        Every untreated state, ready for ``simulate(..., start=states)``.
    volume : dict of str to ndarray, shape (n,)
        Bone volume of each template over that of the typical woman at the start; NaN where there is no fixed point.
    drift : dict of str to ndarray, shape (n,)
        Change of volume per year, as a share of it: 0 at a fixed point, below 0 where a template is lost for ever;
        above 0 where it grows for ever, and then the rate at volume 1.
    """

    states: dict[str, Array]
    volume: dict[str, Array]
    drift: dict[str, Array]


def steady_state(parameters: ParameterTable, persons: pd.DataFrame | None = None, *, alone: bool = True) -> Steady:
    """Lifelong untreated steady state of patients, of whatever genotype.

    Parameters
    ----------
    parameters : ParameterTable
        Typical values.
    persons : DataFrame, n rows, optional
        Columns are symbols that differ from the table, genotype included (``make_SOURCE``, ``OPG_local``, ...). One
        typical patient by default.
    alone : bool
        Whether a patient without a steady state is an error; if not, her states are NaN.

    Returns
    -------
    Steady

    Raises
    ------
    RunFailed
        If osteoclasts have no steady number (osteomorphs return faster than they are lost).
    """
    people = pd.DataFrame(index=[0]) if persons is None else persons
    for symbol in people.columns:
        parameters.known(symbol, "persons")
    _, p, _ = patient_constants(parameters, people, [])
    n = len(people)
    wide = Values({name: np.broadcast_to(np.asarray(value, float), n) for name, value in p.items()})
    found = _settle(wide)
    lost = ~np.isfinite(found.states["OC_T"] + found.states["OC_C"])
    if alone and lost.any():
        raise RunFailed(
            f"osteoclasts of patient {int(np.argmax(lost))} have no steady number: they return as osteomorphs "
            "faster than they are lost; lower f_om or Kg, or raise dm."
        )
    return found


def _settle(p: Values) -> Steady:
    """Like `steady_state`, from patients' constants (arrays of shape (n,))."""
    bone_cells = _cells_at_rest(p)
    states: dict[str, Any] = _pools(p, bone_cells) | bone_cells
    whole: Any = cells.whole_body(Values(states), p, "OC")
    states |= markers.at_rest(p, whole)
    volume, drift = {}, {}
    for b, c in TEMPLATES.items():
        bone, volume[b], drift[b] = _bone_at_rest(p, b, states[f"OC_{c}"])
        states |= bone
    states["supplement"] = np.zeros(np.shape(p.mix))  # begins on day 0, if at all
    states |= _calcium_at_rest(p, states)
    return Steady({name: np.array(value, float) for name, value in states.items()}, volume, drift)


def _cells_at_rest(p: Values) -> dict[str, Any]:
    """Cells of both compartments at their fixed point, over normal: by Newton's method, or else by bracketing."""
    found, sure = _newton(p)
    if not sure.all():
        rest = ~sure
        bracketed = _bracketed(Values({name: value[rest] for name, value in p.items()}))
        for name, value in bracketed.items():
            found[name] = np.array(found[name], dtype=float)
            found[name][rest] = value
    return found


def _newton(p: Values) -> tuple[dict[str, Any], NDArray[np.bool_]]:
    """Cells at rest, from the logarithms of osteoclasts in both compartments; and of whom this is certain."""

    def follow(x: Array) -> list[tuple[dict[str, Any], Any]]:
        count = dict(zip(COMPARTMENTS, np.exp(x), strict=True))
        drift = {f"drift_{c}": _drift(p, c, count[c]) for c in COMPARTMENTS}
        pools = Values(ligand.settled(p, _made(p, drift)))
        return [_follow(p, pools, c, count[c]) for c in COMPARTMENTS]

    def excess(x: Array) -> Array:
        return np.log([carried for _, carried in follow(x)]) - x

    x = np.zeros((2, *np.shape(p.mix)))
    with np.errstate(all="ignore"):
        for _ in range(NEWTON_STEPS):
            miss = excess(x)
            if (np.abs(miss) < NEWTON_ENOUGH).all():
                break
            one, two = (
                (excess(x + DIFFERENCE * np.array(side)[:, None]) - miss) / DIFFERENCE for side in ((1, 0), (0, 1))
            )
            determinant = one[0] * two[1] - two[0] * one[1]
            step = np.array([two[0] * miss[1] - two[1] * miss[0], one[1] * miss[0] - one[0] * miss[1]]) / determinant
            x = x + np.clip(step, -1, 1)
        found = {name: value for states, _ in follow(x) for name, value in states.items()}
        return found, np.asarray((np.abs(excess(x)) < NEWTON_ENOUGH).all(axis=0))


def _bracketed(p: Values) -> dict[str, Any]:
    """Cells at rest from two nested roots.

    Synthesis of RANKL is common to both compartments (it hears whole-body formation), and given synthesis each
    compartment has one number of osteoclasts that agrees with its own drift.
    """
    nothing = np.zeros(np.shape(p.mix))

    def given(made: Any) -> dict[str, Any]:
        pools = Values(ligand.settled(p, made))
        counts = {c: _osteoclasts(p, pools, c) for c in COMPARTMENTS}
        return {name: v for c in COMPARTMENTS for name, v in _follow(p, pools, c, counts[c])[0].items()}

    if np.all((1 - p.drift_OPG) * (1 - p.mix) == 0):  # drift leaves synthesis alone
        return given(nothing + 1.0)
    least = {f"drift_{c}": _drift(p, c, nothing) for c in COMPARTMENTS}  # nothing formed anywhere: most RANKL made
    return given(_root(lambda made: np.maximum(_made(p, given(made)), 0) - made, nothing, _made(p, least)))


def _bone_at_rest(p: Values, b: str, OC: Array) -> tuple[dict[str, Array], Array, Array]:
    """Composition of template `b` with osteoclasts (and osteoblasts) at `OC` over normal for a lifetime.

    Returns the layers by age, the fixed volume (NaN, and layers at volume 1, where there is none) and the drift.
    """
    k, ph, dl = p[f"turnover_{b}"], p[f"ph{b}"], p[f"dl{b}"]
    lost = (dl + ph) * OC  # what remodelling leaves behind, in units of k
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        fixed = (ph / lost) ** (1 / p.fade)
    settles = (p.fade > 0) & (ph > 0) & (lost > 0) & np.isfinite(fixed)
    volume = np.where(settles, fixed, np.nan)
    V = np.where(settles, fixed, 1.0)
    # Without a fixed point: constant modelling if it does not fade, none in the long run if it does.
    added = np.where(settles, lost, np.where(p.fade == 0, ph, 0.0))
    shrink = k * (lost - added)
    formed = k * ((1 - dl - ph) * OC + added)
    osteoid = formed / (1 / p.tN - shrink)
    taken = k * OC / (1 - osteoid)
    young = osteoid / p.tN / (1 / p.tP + taken - shrink)
    middle = young / p.tP / (1 / p.tS + taken - shrink)
    states: dict[str, Array] = {
        f"osteoid_{b}": osteoid * V,
        f"young_{b}": young * V,
        f"middle_{b}": middle * V,
        f"mature_{b}": (1 - osteoid - young - middle) * V,
        f"modelled_{b}": np.zeros_like(V),
    }
    rate_at_one = k * (ph - lost) * DAYS_PER_YEAR
    return states, volume, np.where(settles, 0.0, rate_at_one)


def _calcium_at_rest(p: Values, states: Mapping[str, Array]) -> dict[str, Array]:
    """Serum calcium and calcitriol where bone, gut and kidney balance; they fall evenly in calcium, so one root."""
    x = Values(states)

    def balance(log_calcium: Array) -> Array:
        level = np.exp(log_calcium)
        trial = Values(x | {"calcium": level})
        answered = Values(trial | {"calcitriol": 1 + p.answer * (calcium.relative_PTH(trial, p) ** p.e_gut - 1)})
        return calcium.rates(answered, p, *Model(Slots())._calcium_traffic(answered, p))["calcium"]

    size = np.ones(np.shape(p.mix))
    level = np.exp(_root(balance, -3 * size, 3 * size))
    pth = calcium.relative_PTH(Values(calcium=level), p)
    return {"calcium": level, "calcitriol": 1 + p.answer * (pth**p.e_gut - 1)}


def courses(
    parameters: ParameterTable,
    persons: pd.DataFrame,
    times: Array,
    *,
    start: Mapping[str, Array] | None = None,
    agents: Sequence[Agent] = (),
    doses: Sequence[tuple[float, str, float]] = (),
    rtol: float = 1e-7,
    alone: bool = True,
) -> Values:
    """States of patients over time, all with the same doses: what `simulate` integrates, before it becomes outputs.

    Parameters
    ----------
    parameters, persons : see `steady_state`
    times : ndarray, shape (n_times,)
        Days, ascending.
    start : mapping of str to ndarray, shape (n,), optional
        States that start otherwise than the typical woman's.
    agents : sequence of Agent
        All that `doses` names.
    doses : sequence of (day, agent name, mg)
        By time.
    rtol : float
        As of `simulate`.
    alone : bool
        Whether a patient that can't be integrated is an error; if not, her states are NaN.

    Returns
    -------
    Values
        Every state, shape (n, n_times).

    Raises
    ------
    RunFailed
        If a patient can't be integrated.
    """
    model, p, slot = patient_constants(parameters, persons, agents)
    n = len(persons)
    first = np.column_stack([np.broadcast_to(v, n) for v in (model.start(p) | dict(start or {})).values()])
    kernel = compiled(model.slots)
    values = np.column_stack([np.broadcast_to(p[name], n) for name in kernel.PARAMETERS])
    known = {agent.name: agent for agent in agents}
    events = [(day, *dose_event(model, p, slot[name], known[name], mg, i)) for i in range(n) for day, name, mg in doses]
    columns = np.array(events, dtype=float).reshape(-1, 3)
    states, status = np.empty((n, len(times), first.shape[1])), np.zeros(n, dtype=np.int64)
    kernel.integrate(
        first.astype(float), values.astype(float), *judged(model, p, n), np.arange(n + 1) * len(doses),
        columns[:, 0].copy(), columns[:, 1].astype(np.int64), columns[:, 2].copy(), np.asarray(times, float), rtol,
        rtol / 100, MAX_STEPS, states, status, np.zeros((n, 3)),
    )  # fmt: skip
    if alone and status.any():
        raise RunFailed(f"patient {persons.index[int(np.argmax(status))]} can't be integrated at rtol {rtol:g}.")
    states[status != 0] = np.nan
    return Values({name: states[:, :, i] for i, name in enumerate(model.states)})


def _osteoclasts(p: Values, pools: Values, c: str) -> Any:
    """Osteoclasts of compartment `c` that agree with the drift they cause, RANKL pools given."""

    def excess(count: Any) -> Any:
        return _follow(p, pools, c, count)[1] - count

    most = np.ones(np.shape(p.mix))
    for _ in range(DOUBLINGS):
        short = excess(most) > 0
        if not short.any():
            return _root(excess, np.zeros_like(most), most)
        most = np.where(short, 2 * most, most)
    return np.where(short, np.nan, _root(lambda count: np.where(short, -count, excess(count)), 0 * most, most))


def _follow(p: Values, pools: Values, c: str, count: Any) -> tuple[dict[str, Any], Any]:
    """States of compartment `c` that go with `count` osteoclasts, and the osteoclasts that those would carry.

    Each state's own rate in `cells.rates` is linear in it, so that two evaluations give where it rests.
    """
    x = Values({f"{name}_{c}": count for name in ("OC", "matrix1", "matrix2", "OB")})
    x[f"drift_{c}"] = _drift(p, c, count)
    seen = Values(pools | x)
    activation, survival = (np.maximum(ligand.signal(seen, p, UNBOUND, c, step), 0.0) for step in ("act", "keep"))
    for name in ("waiting", "sites"):
        x[f"{name}_{c}"] = _rest(p, x, c, name, activation, survival)
    return dict(x), _rest(p, x, c, "OC", activation, survival)


def _drift(p: Values, c: str, count: Any) -> Any:
    """Drift of the RANKL/OPG balance that goes with `count` osteoblasts."""
    return _rest(p, Values({f"OB_{c}": count}), c, "drift", 1.0, 1.0)


def _rest(p: Values, x: Values, c: str, name: str, activation: Any, survival: Any) -> Any:
    """Steady value of state `name`, all others as in `x` (which may lack states that it does not depend on)."""
    other = Values({state: 1.0 for state in cells.STATES if state.endswith(f"_{c}")} | x)
    at_0, at_1 = (
        cells.rates(Values(other | {f"{name}_{c}": value}), p, c, activation, survival, 1.0)[f"{name}_{c}"]
        for value in (0.0, 1.0)
    )
    return at_0 / (at_0 - at_1)


def _pools(p: Values, x: Mapping[str, Any]) -> dict[str, Any]:
    return dict(ligand.settled(p, _made(p, x)))


def _made(p: Values, x: Mapping[str, Any]) -> Any:
    """RANKL synthesis over that of the genotype, as in `ligand.rates`, under the drift of both compartments in `x`."""
    drift = p.turn_T * x["drift_T"] + (1 - p.turn_T) * x["drift_C"]
    return 1 + (1 - p.drift_OPG) * (1 - p.mix) * (drift - 1)


def _root(excess: Callable[[Any], Any], low: Any, high: Any) -> Any:
    """Root of a falling function between `low` (where it is at least 0) and `high` (at most 0), element by element.

    Regula falsi with halved weights (Illinois), every third step a bisection: keeps the bracket, needs no derivative.
    """
    low, high = np.array(low, float), np.array(high, float)
    at_low, at_high = excess(low), excess(high)
    root = np.where(at_low <= 0, low, high)
    found = ~((at_low > 0) & (at_high < 0))  # at an end, or no number
    for step in range(STEPS):
        if found.all():
            return root
        with np.errstate(invalid="ignore", divide="ignore"):
            middle = (low * at_high - high * at_low) / (at_high - at_low)
        middle = np.where((step % 3 == 2) | ~(middle > low) | ~(middle < high), (low + high) / 2, middle)
        at_middle = excess(middle)
        root = np.where(found, root, middle)
        above = at_middle > 0
        at_low, at_high = np.where(above, at_middle, at_low / 2), np.where(above, at_high / 2, at_middle)
        low, high = np.where(above, middle, low), np.where(above, high, middle)
        found |= ~np.isfinite(at_middle)
        found |= (np.abs(at_middle) <= 1e-15 * np.maximum(1, np.abs(middle))) | (high - low <= 1e-14 * np.abs(middle))
    raise RunFailed(f"no steady state found for patient {int(np.argmin(found))}, whose parameters are extreme.")
