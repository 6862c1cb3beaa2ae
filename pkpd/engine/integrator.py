"""Integration of many patients, eight side by side, each with her own steps.

The method is that of `rodas`; the vector code of a step is generated from the model's text (`compiler`). A lane takes
the next patient when it has finished one. A step ends exactly at every dose. Values at sampling times come from the
method's polynomial. The steps of a patient depend on that patient only, so results do not depend on batch, order,
threads or neighbouring lanes. The part below the line is appended to the generated module,
where the names in capitals and the lane functions are defined.
"""

# ruff: noqa: F821
# mypy: ignore-errors

import numpy as np
from numba import njit

# --- generated module continues here ---
DONE, TOO_MANY_STEPS, NOT_FINITE, OUTSIDE = 0, 1, 2, 3
SAFETY, SHRINK, GROW = 0.95, 0.2, 5.0
INSTANT = 1e-9  # days from now that count as now
FIRST_STEP = 0.5  # days, at the start and after the first dose of a kind


@njit(nogil=True)
def _workspace():
    """Vectors of zeros that begin at a multiple of 64 bytes."""
    raw = np.zeros(SIZE * LANES + 8)
    shift = (-raw.ctypes.data // 8) % 8
    return raw[shift : shift + SIZE * LANES]


@njit(nogil=True, error_model="numpy")
def integrate(
    start,
    p,
    steep,
    low,
    high,
    first,
    event_time,
    event_state,
    event_amount,
    times,
    rtol,
    atol,
    max_steps,
    out,
    status,
    halt,
):
    """Integrate patients.

    start (n, states), p (n, parameters); steep (n, states), how many times the relative error of a state counts; low
    and high (n, states), between which states stay or the patient's integration ends; events of patient i are first[i]
    to first[i+1], by time (days); out (n, times, states) receives the state just before any dose at that time; status
    (n,) one of the codes above. Where that is not `DONE`, halt (n, 3) receives the day that was reached, the state that
    left its limits or whose error was largest, and its value.
    Returns the number of steps of all patients, and of those that were rejected.
    """
    n, m, many = start.shape[0], start.shape[1], times.shape[0]
    w = _workspace()
    if n == 0:
        return 0, 0
    constants = _constants_of(p, w)
    end = times[many - 1]
    w[_RTOL * LANES : (_RTOL + 1) * LANES] = rtol
    w[_ATOL * LANES : (_ATOL + 1) * LANES] = atol
    patient = np.full(LANES, -1)
    t, h, step, stop = np.zeros(LANES), np.full(LANES, FIRST_STEP), np.zeros(LANES), np.zeros(LANES)
    event, sample, steps = np.zeros(LANES, np.int64), np.zeros(LANES, np.int64), np.zeros(LANES, np.int64)
    last, after_dose = np.zeros(LANES, np.bool_), np.full(LANES, -1)
    remembered = np.zeros((LANES, m))  # step with which to go on after a dose into a state
    before, error_before = np.zeros(LANES), np.zeros(LANES)  # the accepted step before, and its error
    following, all_steps, rejected = 0, 0, 0
    for lane in range(LANES):  # all lanes hold somebody, so that no lane computes with zeros
        _take(w, lane, 0, start, steep, low, high, constants)
    while True:
        busy = False
        for lane in range(LANES):
            while patient[lane] < 0 and following < n:
                i = following
                following += 1
                _take(w, lane, i, start, steep, low, high, constants)
                status[i] = DONE
                patient[lane], t[lane], h[lane] = i, 0.0, FIRST_STEP
                event[lane], sample[lane], steps[lane] = first[i], 0, 0
                remembered[lane, :] = FIRST_STEP
                after_dose[lane] = -1
                before[lane] = 0.0
                while sample[lane] < many and times[sample[lane]] <= INSTANT:
                    for s in range(m):
                        out[i, sample[lane], s] = start[i, s]
                    sample[lane] += 1
                if sample[lane] == many:
                    patient[lane] = -1
                elif _dose(
                    w, lane, i, t, h, event, first, event_time, event_state, event_amount, remembered, after_dose
                ):
                    _halt(w, lane, i, m, t[lane], rtol, atol, OUTSIDE, out, status, halt)
                    patient[lane] = -1
            if patient[lane] >= 0:
                busy = True
                i = patient[lane]
                stop[lane] = end
                if event[lane] < first[i + 1] and event_time[event[lane]] < end:
                    stop[lane] = event_time[event[lane]]
                last[lane] = t[lane] + h[lane] * 1.0000001 >= stop[lane]
                step[lane] = stop[lane] - t[lane] if last[lane] else h[lane]
            else:
                step[lane] = 1e-3
            w[_H * LANES + lane] = step[lane]
        if not busy:
            break
        _step(w)
        sampled = False
        for lane in range(LANES):
            error = np.sqrt(w[_ERROR * LANES + lane])
            accepted = patient[lane] >= 0 and error <= 1.0
            w[_ACCEPTED * LANES + lane] = 1.0 if accepted else 0.0
            if accepted:
                i = patient[lane]
                reached = stop[lane] if last[lane] else t[lane] + step[lane]
                if times[sample[lane]] <= reached:
                    if not sampled:
                        _dense(w)
                        sampled = True
                    while sample[lane] < many and times[sample[lane]] <= reached:
                        share = (times[sample[lane]] - t[lane]) / step[lane]
                        _between(w, lane, share, out[i, sample[lane]])
                        sample[lane] += 1
                t[lane] = reached
        _advance(w)
        for lane in range(LANES):
            i = patient[lane]
            if i < 0:
                continue
            steps[lane] += 1
            all_steps += 1
            error = np.sqrt(w[_ERROR * LANES + lane])
            if error <= 1.0:
                factor = GROW if error < 1e-6 else min(GROW, max(SHRINK, SAFETY * error ** (-1.0 / ORDER)))
                if before[lane] > 0.0:  # if errors rise, as the step before says, they will rise on
                    trend = step[lane] / before[lane] * (error_before[lane] / (error * error + 1e-12)) ** (1.0 / ORDER)
                    factor = min(factor, max(SHRINK, SAFETY * trend))
                before[lane] = 0.0 if last[lane] else step[lane]  # what was before a dose says nothing
                error_before[lane] = max(error, 1e-2)
                if after_dose[lane] >= 0:
                    remembered[lane, after_dose[lane]] = step[lane] * factor
                    after_dose[lane] = -1
                if not (last[lane] and step[lane] * factor < h[lane]):  # a short last step says little about the next
                    h[lane] = step[lane] * factor
                if w[_OUTSIDE * LANES + lane] != 0.0:
                    _halt(w, lane, i, m, t[lane], rtol, atol, OUTSIDE, out, status, halt)
                    patient[lane] = -1
                    continue
                if sample[lane] == many:
                    patient[lane] = -1
                    continue
                if _dose(w, lane, i, t, h, event, first, event_time, event_state, event_amount, remembered, after_dose):
                    _halt(w, lane, i, m, t[lane], rtol, atol, OUTSIDE, out, status, halt)
                    patient[lane] = -1
                    continue
            else:
                rejected += 1
                h[lane] = step[lane] * (max(SHRINK, SAFETY * error ** (-1.0 / ORDER)) if error < 1e300 else SHRINK)
            if h[lane] < 1e-10 or steps[lane] > max_steps:
                code = TOO_MANY_STEPS if error == error else NOT_FINITE
                _halt(w, lane, i, m, t[lane], rtol, atol, code, out, status, halt)
                patient[lane] = -1
    return all_steps, rejected


@njit(nogil=True, error_model="numpy")
def _halt(w, lane, i, m, day, rtol, atol, code, out, status, halt):
    """End the integration of patient i in a lane, and record the reason: state and day."""
    out[i] = np.nan
    s = _culprit(w, lane, m, rtol, atol)
    status[i], halt[i, 0], halt[i, 1], halt[i, 2] = code, day, s, w[(_X + s) * LANES + lane]


@njit(nogil=True, error_model="numpy")
def _culprit(w, lane, m, rtol, atol):
    """State of a lane outside its limits; else the first that is NaN; else that with the largest error."""
    for s in range(m):
        x = w[(_X + s) * LANES + lane]
        if x < w[(_LOW + s) * LANES + lane] or x > w[(_HIGH + s) * LANES + lane]:
            return s
    worst, most = 0, -1.0
    for s in range(m):
        new = w[(_NEW + s) * LANES + lane]
        size = max(abs(w[(_X + s) * LANES + lane]), abs(new))
        error = abs(w[(_K + (STAGES - 1) * m + s) * LANES + lane])
        error = error / (rtol * size + atol * w[(_SCALE + s) * LANES + lane]) * w[(_STEEP + s) * LANES + lane]
        if not error < 1e300:
            return s
        if error > most:
            worst, most = s, error
    return worst


@njit(nogil=True, error_model="numpy")
def _constants_of(p, w):
    """Result of `prepare` for each patient's parameters."""
    n = p.shape[0]
    constants = np.empty((n, CONSTANTS))
    for block in range(0, n, LANES):
        for lane in range(LANES):
            i = min(block + lane, n - 1)
            for c in range(p.shape[1]):
                w[(_RAW + c) * LANES + lane] = p[i, c]
        _prepare(w)
        for lane in range(min(LANES, n - block)):
            for c in range(CONSTANTS):
                constants[block + lane, c] = w[(_CONSTANTS + c) * LANES + lane]
    return constants


@njit(nogil=True, error_model="numpy")
def _take(w, lane, i, start, steep, low, high, constants):
    """Put patient i into a lane."""
    for s in range(start.shape[1]):
        x = start[i, s]
        w[(_X + s) * LANES + lane] = x
        w[(_SCALE + s) * LANES + lane] = abs(x) if x != 0.0 else 1.0  # against which absolute error is judged
        w[(_STEEP + s) * LANES + lane] = steep[i, s]
        w[(_LOW + s) * LANES + lane], w[(_HIGH + s) * LANES + lane] = low[i, s], high[i, s]
    for c in range(CONSTANTS):
        w[(_CONSTANTS + c) * LANES + lane] = constants[i, c]
    for k in range(BINDERS):
        w[(_FREE + k) * LANES + lane] = 0.0


@njit(nogil=True, error_model="numpy")
def _dose(w, lane, i, t, h, event, first, event_time, event_state, event_amount, remembered, after_dose):
    """Give the doses that are due in a lane; start with the step size that succeeded after the last similar dose.

    Returns whether a state is above its limit now.
    """
    too_much = False
    while event[lane] < first[i + 1] and event_time[event[lane]] <= t[lane] + INSTANT:
        e = event[lane]
        w[(_X + event_state[e]) * LANES + lane] += event_amount[e]
        h[lane] = min(h[lane], remembered[lane, event_state[e]])
        after_dose[lane] = event_state[e]
        s = event_state[e]
        too_much = too_much or w[(_X + s) * LANES + lane] > w[(_HIGH + s) * LANES + lane]
        event[lane] += 1
    return too_much


@njit(nogil=True, error_model="numpy")
def _between(w, lane, share, out):
    """States of a lane at a share of the step, by the method's polynomial; at share 1 the end of the step."""
    m = out.shape[0]
    for s in range(m):
        new = w[(_NEW + s) * LANES + lane]
        if share >= 1.0:
            out[s] = new
            continue
        value = 0.0
        for row in range(ORDER - 3, -1, -1):
            value = w[(_DENSE + row * m + s) * LANES + lane] + share * value
        out[s] = (1.0 - share) * w[(_X + s) * LANES + lane] + share * (new + (1.0 - share) * value)


@njit(nogil=True, error_model="numpy")
def read(states, p, days, wanted, out):
    """Outputs at states.

    states (n, times, states), p (n, parameters), days (times,); wanted (k,) positions in OUTPUTS; out (k, n, times).
    """
    n, many, m = states.shape
    w = _workspace()
    for i in range(n):
        for c in range(p.shape[1]):
            w[(_RAW + c) * LANES : (_RAW + c + 1) * LANES] = p[i, c]
        _prepare(w)
        for block in range(0, many, LANES):
            for lane in range(LANES):
                j = min(block + lane, many - 1)
                w[_DAY * LANES + lane] = days[j]
                for s in range(m):
                    w[(_X + s) * LANES + lane] = states[i, j, s]
                for k in range(BINDERS):
                    w[(_FREE + k) * LANES + lane] = 0.0
            _outputs(w)
            for lane in range(min(LANES, many - block)):
                for k in range(wanted.shape[0]):
                    out[k, i, block + lane] = w[(_OUT + wanted[k]) * LANES + lane]


@njit(nogil=True, error_model="numpy")
def hold(p):
    """A workspace that holds one patient's parameters, for `rates` and `jacobian`."""
    w = _workspace()
    for c in range(p.shape[0]):
        w[(_RAW + c) * LANES : (_RAW + c + 1) * LANES] = p[c]
    _prepare(w)
    return w


@njit(nogil=True, error_model="numpy")
def rates(x, w, out):
    """Rates (states,) of the patient held in w at states x (states,)."""
    for s in range(x.shape[0]):
        w[(_X + s) * LANES : (_X + s + 1) * LANES] = x[s]
    _rates(w)
    for s in range(x.shape[0]):
        out[s] = w[(_RATE + s) * LANES]


@njit(nogil=True, error_model="numpy")
def jacobian(x, w, out):
    """Jacobian (states, states) of the rates of the patient held in w at states x (states,)."""
    m = x.shape[0]
    for s in range(m):
        w[(_X + s) * LANES : (_X + s + 1) * LANES] = x[s]
    _slopes(w)
    whole = np.zeros((UNKNOWNS, UNKNOWNS))
    for e in range(ROWS.shape[0]):
        whole[ROWS[e], COLUMNS[e]] = w[(_JACOBIAN + e) * LANES]
    for k in range(m + BINDERS, UNKNOWNS):
        whole[k, k] -= 1.0
    # Free drug and intermediate steps move with the states as their equations demand.
    moves = np.linalg.solve(np.ascontiguousarray(whole[m:, m:]), np.ascontiguousarray(whole[m:, :m]))
    out[:, :] = whole[:m, :m] - np.ascontiguousarray(whole[:m, m:]) @ moves
