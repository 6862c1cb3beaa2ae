"""Integration of many patients, each on its own: explicit Runge-Kutta of order 5 with error control (Dormand and
Prince [1]_).

With binding and markers algebraic the fastest rate of the model is about 1.4 per day, mild enough for an explicit
method: it needs no Jacobian and costs six evaluations a step. Every dose and every sampling time is stepped on
exactly; no step crosses one. A patient's steps depend on nothing but that patient, so results do not change with
batch, order or threads. The part below the line is appended to the generated module, where `rates` and `WORK` are
defined.

References
----------
.. [1] Dormand JR, Prince PJ. J Comput Appl Math 1980;6:19-26. doi:10.1016/0771-050X(80)90013-3
"""

# ruff: noqa: F821
# mypy: ignore-errors

import numpy as np
from numba import njit

# --- generated module continues here ---
DONE, TOO_MANY_STEPS, NOT_FINITE = 0, 1, 2
SAFETY, SHRINK, GROW = 0.9, 0.2, 5.0
FIRST_STEP = 0.02  # days, after a dose


@njit(cache=True, nogil=True, error_model="numpy")
def integrate(start, p, first, event_time, event_state, event_amount, times, rtol, atol, max_steps, out, status):
    """Integrate patients one after another.

    start (n, states), p (n, parameters); events of patient i are first[i] to first[i+1], by time (days); out
    (n, times, states) receives the state just before any dose at that time; status (n,) one of the codes above.
    """
    n, m = start.shape
    k = np.empty((7, m))
    x, trial, scale = np.empty(m), np.empty(m), np.empty(m)
    work = np.empty(WORK)
    for i in range(n):
        x[:] = start[i]
        for s in range(m):  # size against which absolute error is judged: the untreated value, or 1
            scale[s] = abs(x[s]) if x[s] != 0.0 else 1.0
        t, h, event = 0.0, FIRST_STEP, first[i]
        fresh = True  # k[0] must be made anew
        status[i] = DONE
        steps = 0
        for j in range(times.shape[0]):
            while True:
                stop, dosing = times[j], False
                if event < first[i + 1] and event_time[event] < times[j]:
                    stop, dosing = event_time[event], True
                while t < stop and status[i] == DONE:
                    if fresh:
                        rates(x, p[i], k[0], work)
                        fresh = False
                    last = t + h * 1.0000001 >= stop
                    step = stop - t if last else h
                    error = _step(x, p[i], k, trial, work, step, scale, rtol, atol)
                    steps += 1
                    if error <= 1.0:
                        t = stop if last else t + step
                        x[:] = trial
                        k[0] = k[6]
                        factor = GROW if error < 1e-10 else min(GROW, max(SHRINK, SAFETY * error**-0.2))
                        if not (last and step * factor < h):  # a short last step says little about the next
                            h = step * factor
                    elif error == error and error < 1e300:
                        h = step * max(SHRINK, SAFETY * error**-0.2)
                    else:
                        h = step * SHRINK
                    if h < 1e-12 or steps > max_steps:
                        status[i] = TOO_MANY_STEPS if error == error else NOT_FINITE
                if status[i] != DONE or not dosing:
                    break
                x[event_state[event]] += event_amount[event]
                event += 1
                h = min(h, FIRST_STEP)
                fresh = True
            if status[i] == DONE:
                out[i, j] = x
            else:
                out[i, j] = np.nan


@njit(cache=True, nogil=True, error_model="numpy")
def _step(x, p, k, trial, work, h, scale, rtol, atol):
    """One step into `trial` (k[0]: rates at x, k[6]: rates at `trial`); returns error over tolerance."""
    m = x.shape[0]
    for s in range(m):
        trial[s] = x[s] + h * (1.0 / 5.0) * k[0, s]
    rates(trial, p, k[1], work)
    for s in range(m):
        trial[s] = x[s] + h * (3.0 / 40.0 * k[0, s] + 9.0 / 40.0 * k[1, s])
    rates(trial, p, k[2], work)
    for s in range(m):
        trial[s] = x[s] + h * (44.0 / 45.0 * k[0, s] - 56.0 / 15.0 * k[1, s] + 32.0 / 9.0 * k[2, s])
    rates(trial, p, k[3], work)
    for s in range(m):
        trial[s] = x[s] + h * (
            19372.0 / 6561.0 * k[0, s]
            - 25360.0 / 2187.0 * k[1, s]
            + 64448.0 / 6561.0 * k[2, s]
            - 212.0 / 729.0 * k[3, s]
        )
    rates(trial, p, k[4], work)
    for s in range(m):
        trial[s] = x[s] + h * (
            9017.0 / 3168.0 * k[0, s]
            - 355.0 / 33.0 * k[1, s]
            + 46732.0 / 5247.0 * k[2, s]
            + 49.0 / 176.0 * k[3, s]
            - 5103.0 / 18656.0 * k[4, s]
        )
    rates(trial, p, k[5], work)
    for s in range(m):
        trial[s] = x[s] + h * (
            35.0 / 384.0 * k[0, s]
            + 500.0 / 1113.0 * k[2, s]
            + 125.0 / 192.0 * k[3, s]
            - 2187.0 / 6784.0 * k[4, s]
            + 11.0 / 84.0 * k[5, s]
        )
    rates(trial, p, k[6], work)
    worst = 0.0
    for s in range(m):
        e = h * (
            71.0 / 57600.0 * k[0, s]
            - 71.0 / 16695.0 * k[2, s]
            + 71.0 / 1920.0 * k[3, s]
            - 17253.0 / 339200.0 * k[4, s]
            + 22.0 / 525.0 * k[5, s]
            - 1.0 / 40.0 * k[6, s]
        )
        e = abs(e) / (atol * scale[s] + rtol * max(abs(x[s]), abs(trial[s])))
        if not e <= worst and worst == worst:  # also when e is not a number, which then stays
            worst = e
    return worst
