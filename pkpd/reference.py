"""The reference: scipy integrates the model's text itself, uncompiled, for cross-checks of the fast engine.

Slow (seconds a patient) and independent of everything generated: it shares only the text of the equations.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

from ranklsim.pkpd.errors import RunFailed
from ranklsim.pkpd.model import Model
from ranklsim.pkpd.values import Values


def right_hand_side(model: Model, p: Values, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rates of all states (per day) from the model's text, for one patient's constants `p` and state vector `x`."""
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


def integrate_compiled(
    kernel: Any,
    start: NDArray[np.float64],
    p: NDArray[np.float64],
    events: Sequence[tuple[float, int, float]],
    times: NDArray[np.float64],
    *,
    rtol: float = 1e-10,
    atol: float = 1e-12,
    method: str = "CVODE",
) -> NDArray[np.float64]:
    """Integrate one patient with compiled rates and Jacobian, by CVODE (scikit-sundae) or LSODA (scipy).

    For checks of many patients, and as what the engine's speed is measured by: only rates and Jacobian are shared with
    the engine, and those are compared with the text elsewhere.

    Parameters
    ----------
    kernel : module
        From `compiler.compiled`.
    start : ndarray, shape (n_states,)
    p : ndarray, shape (n_parameters,)
        In the order of ``kernel.PARAMETERS``.
    events, times
        As of `integrate`.
    rtol, atol : float
        Relative tolerance, and absolute over `scales`.
    method : {"CVODE", "LSODA"}
        LSODA makes its Jacobian by differences.

    Returns
    -------
    ndarray, shape (n_times, n_states)

    Raises
    ------
    RunFailed
        If a stop can't be reached at this tolerance.
    """
    held, n = kernel.hold(p), len(start)
    absolute = atol * scales(start)
    if method == "CVODE":
        from sksundae.cvode import CVODE

        def fill(t: float, y: NDArray[np.float64], slope: NDArray[np.float64], out: NDArray[np.float64]) -> None:
            kernel.jacobian(y, held, out)

        solver = CVODE(
            lambda t, y, out: kernel.rates(y, held, out), jacfn=fill, rtol=rtol, atol=absolute, max_num_steps=10**7
        )

        def reach(y: NDArray[np.float64], at: NDArray[np.float64]) -> tuple[bool, NDArray[np.float64], str]:
            done = solver.solve(at, y)
            return bool(done.success), done.y, str(done.message)
    else:
        slope = np.empty(n)

        def rates(t: float, y: NDArray[np.float64]) -> NDArray[np.float64]:
            kernel.rates(y, held, slope)
            return slope

        def reach(y: NDArray[np.float64], at: NDArray[np.float64]) -> tuple[bool, NDArray[np.float64], str]:
            done = solve_ivp(rates, (at[0], at[-1]), y, method="LSODA", t_eval=at, rtol=rtol, atol=absolute)
            return bool(done.success), done.y.T, str(done.message)

    x, t, out = np.array(start, dtype=float), 0.0, np.empty((len(times), n))
    out[times <= 0] = x
    for until in sorted({0.0, *(time for time, _, _ in events if time < times[-1]), float(times[-1])}):
        if until > t:
            inside = times[(times > t) & (times < until)]
            success, y, message = reach(x, np.concatenate([[t], inside, [until]]))
            if not success:
                raise RunFailed(f"{method} stopped between day {t:.1f} and {until:.1f}: {message}")
            if len(inside):  # else y holds the solver's own steps
                out[(times > t) & (times < until)] = y[1:-1]
            out[times == until] = y[-1]
            x, t = np.array(y[-1]), until
        for time, state, amount in events:
            if time == until:
                x[state] += amount
    return out


def scales(start: NDArray[np.float64]) -> NDArray[np.float64]:
    """Size against which absolute error is judged, by state: its untreated value, or 1 where that is 0."""
    return np.where(start == 0.0, 1.0, np.abs(start))
