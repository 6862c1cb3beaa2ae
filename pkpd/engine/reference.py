"""The reference: scipy integrates the equations uncompiled, to check the compiled engine.

It is slow (seconds for each patient). It shares only the text of the equations with the engine.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence

import numpy as np
import scipy
from numpy.typing import NDArray

from ranklsim.pkpd.biology.model import Model
from ranklsim.pkpd.biology.values import Values
from ranklsim.pkpd.errors import RunFailed
from ranklsim.pkpd.limits import breach

INSTANT = 1e-9
"""Days from now that count as now."""
MOST_RATES = 300_000
"""Evaluations of the rates that one patient may take; ten years of denosumab take some 20,000."""
MOST_SECONDS = 120.0
"""Seconds that one patient may take."""


def right_hand_side(model: Model, p: Values, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rates of all states (per day) from the model's text, for one patient's constants `p` and state vector `x`.

    Parameters
    ----------
    model : Model
        Gives the equations.
    p : Values
        The patient's constants.
    x : ndarray, shape (n_states,)
        States in the model's order.
    """
    named = Values(zip(model.states, x, strict=True))
    return np.array(list(model.rates(named, p, model.free(named, p)).values()), dtype=float)


def integrate(
    model: Model,
    p: Values,
    events: Sequence[tuple[float, int, float]],
    times: NDArray[np.float64],
    *,
    rtol: float = 1e-8,
    atol: float = 1e-10,
    method: str = "LSODA",
    start: NDArray[np.float64] | None = None,
    low: NDArray[np.float64] | None = None,
    high: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Integrate one patient, from the untreated start unless another is given.

    Parameters
    ----------
    model : Model
    p : Values
        The patient's constants, from `Model.constants`.
    events : sequence of (day, state index, amount)
        Doses, by time.
    times : ndarray, shape (n_times,)
        Days, ascending; a sample at a dose time is the value just before it.
    low, high : ndarray, shape (n_states,), optional
        Values beyond which a state is not possible.

    Returns
    -------
    ndarray, shape (n_times, n_states)

    Raises
    ------
    RunFailed
        If scipy can't reach a stop at this tolerance, or not within `MOST_RATES` and `MOST_SECONDS`, or if a state
        leaves its limits. The message begins with what happened and names state and day.
    """
    x = np.array(list(model.start(p).values()) if start is None else start, dtype=float)
    scale = scales(x)
    out = np.empty((len(times), len(x)))
    pending = sorted(events, key=lambda event: event[0])
    t, spent, lost, begin = 0.0, 0, False, time.monotonic()
    names = list(model.states)

    def rates(day: float, y: NDArray[np.float64]) -> NDArray[np.float64]:
        nonlocal spent, lost
        spent += 1
        slope = right_hand_side(model, p, y)
        lost = not np.isfinite(slope).all()
        if spent > MOST_RATES or time.monotonic() - begin > MOST_SECONDS:
            fastest = names[int(np.argmax(np.abs(slope) / scale))]
            raise RunFailed(
                f"the reference solver has spent its {MOST_RATES:,} evaluations or {MOST_SECONDS:g} seconds by day "
                f"{day:.1f}, where {fastest} changes fastest"
            )
        return slope

    for j, until in enumerate(times):
        while True:
            dosing = bool(pending) and pending[0][0] < until
            stop = pending[0][0] if dosing else until
            if stop > t + INSTANT:
                with warnings.catch_warnings(), np.errstate(all="ignore"):
                    warnings.simplefilter("ignore")  # what it warns of is said below
                    done = scipy.integrate.solve_ivp(rates, (t, stop), x, method=method, rtol=rtol, atol=atol * scale)
                finite = np.isfinite(done.y).all(axis=0)
                if not finite.all() or (not done.success and lost):  # where it gives up, or goes on, depends on scipy
                    day = done.t[-1 if finite.all() else int(np.argmin(finite))]
                    raise RunFailed(f"the reference solver finds no number from day {day:.1f} on")
                if not done.success:
                    raise RunFailed(f"the reference solver stopped at day {done.t[-1]:.1f} ({done.message})")
                if low is not None and high is not None:
                    outside = (done.y < low[:, None]) | (done.y > high[:, None])
                    if outside.any():
                        step = int(np.argmax(outside.any(axis=0)))
                        at = int(np.argmax(outside[:, step]))
                        raise RunFailed(breach(names[at], float(done.y[at, step]), float(done.t[step]), p))
                x, t = done.y[:, -1].copy(), stop
            if not dosing:
                break
            _, state, amount = pending.pop(0)
            x[state] += amount
        out[j] = x
    return out


def scales(start: NDArray[np.float64]) -> NDArray[np.float64]:
    """Size against which absolute error is judged, by state: its untreated value, or 1 where that is 0.

    Parameters
    ----------
    start : ndarray, shape (n_states,)
        Untreated states.
    """
    return np.where(start == 0.0, 1.0, np.abs(start))
