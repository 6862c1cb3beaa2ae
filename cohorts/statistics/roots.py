"""The root of a function of one number, without `scipy.optimize`, whose import takes longer than all roots of a report.

References
----------
.. [1] Chandrupatla TR. Adv Eng Softw 1997;28:145-9. doi:10.1016/s0965-9978(96)00051-8
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable


def root(f: Callable[[float], float], low: float, high: float, close: float) -> float:
    """A place between two at which a function has different signs, where it passes through zero.

    Steps are by inverse quadratic interpolation where [1]_ shows that this is safe, and by halving elsewhere.

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
        If the function has the same sign at both ends.
    """
    a, b = float(low), float(high)
    fa, fb = float(f(a)), float(f(b))
    if fa == 0 or fb == 0:
        return a if fa == 0 else b
    if (fa > 0) == (fb > 0) or math.isnan(fa) or math.isnan(fb):
        raise ValueError(f"the function is {fa:g} at {a:g} and {fb:g} at {b:g}, so that no root is sure to lie between")
    share = 0.5
    while True:
        x = a + share * (b - a)
        fx = float(f(x))
        if (fx > 0) == (fa > 0):
            c, fc = a, fa
        else:
            c, fc, b, fb = b, fb, a, fa
        a, fa = x, fx
        best, least = (a, fa) if abs(fa) < abs(fb) else (b, fb)
        near = (0.5 * close + 2 * sys.float_info.epsilon * abs(best)) / abs(b - a)
        if near > 0.5 or least == 0:
            return best
        share = 0.5
        if math.isfinite(fa + fb + fc):
            along, up = (a - b) / (c - b), (fa - fb) / (fc - fb)
            if up**2 < along and (1 - up) ** 2 < 1 - along:
                share = fa / (fb - fa) * fc / (fb - fc) + (c - a) / (b - a) * fa / (fc - fa) * fb / (fc - fb)
                share = min(1 - near, max(near, share))
