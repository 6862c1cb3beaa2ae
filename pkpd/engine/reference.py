"""The reference: scipy integrates the model's text itself, uncompiled, for cross-checks of the fast engine.

Slow (seconds a patient) and independent of everything generated: it shares only the text of the equations.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

from ranklsim.pkpd.biology.model import Model
from ranklsim.pkpd.biology.values import Values
from ranklsim.pkpd.errors import RunFailed


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

    Returns
    -------
    ndarray, shape (n_times, n_states)

    Raises
    ------
    RunFailed
        If scipy can't reach a stop at this tolerance.
    """
    x = np.array(list(model.start(p).values()) if start is None else start, dtype=float)
    scale = scales(x)
    out = np.empty((len(times), len(x)))
    pending = sorted(events, key=lambda event: event[0])
    t = 0.0
    for j, until in enumerate(times):
        while True:
            dosing = bool(pending) and pending[0][0] < until
            stop = pending[0][0] if dosing else until
            if stop > t:
                done = solve_ivp(
                    lambda _, y: right_hand_side(model, p, y), (t, stop), x, method=method, rtol=rtol, atol=atol * scale
                )
                if not done.success:
                    raise RunFailed(f"reference integrator stopped at day {done.t[-1]:.1f}: {done.message}")
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
