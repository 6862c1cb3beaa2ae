"""Other people's solvers on the engine's compiled rates: what its accuracy and its speed are measured by.

Only rates and Jacobian are shared with the engine; tests compare those with the model's text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import solve_ivp
from sksundae.cvode import CVODE

from ranklsim.pkpd.engine.reference import scales
from ranklsim.pkpd.errors import RunFailed


def integrate(
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
    """Integrate one patient by CVODE (scikit-sundae) or LSODA (scipy), for ``simulate(..., integrator=...)``.

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
