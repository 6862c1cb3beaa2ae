"""The root of a function of one number, by scipy's brentq, which is loaded where the first root is asked for."""

from __future__ import annotations

from collections.abc import Callable

MOST_STEPS = 1000


def root(f: Callable[[float], float], low: float, high: float, close: float) -> float:
    """A place between two at which a function has different signs, where it passes through zero.

    Parameters
    ----------
    f : callable
        Continuous; it may be infinite at the ends.
    low, high : float
    close : float
        How near the place is to the true one.

    Raises
    ------
    ValueError
        If the function has the same sign at both ends, or is not a number.
    """
    from scipy.optimize import brentq

    try:
        return float(brentq(f, low, high, xtol=close, maxiter=MOST_STEPS))
    except ValueError as fault:
        raise ValueError(f"no root is sure to lie between {low:g} and {high:g}: {fault}") from fault
