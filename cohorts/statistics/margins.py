"""Superiority and non-inferiority: a conclusion from an interval, in words.

Non-inferiority is claimed where the whole two-sided interval lies on the good side of the margin [1]_; superiority is
then tested without adjustment, since the two claims are nested [2]_.

References
----------
.. [1] Piaggio G et al. (CONSORT) JAMA 2012;308:2594-604. doi:10.1001/jama.2012.87802
.. [2] EMA CPMP/EWP/482/99. Points to consider on switching between superiority and non-inferiority, 2000.
"""

from __future__ import annotations

import numpy as np


def conclusion(
    low: float, high: float, *, margin: float | None = None, ratio: bool = False, higher_is_better: bool = True
) -> str:
    """What an interval of the difference (or ratio) to control allows to say.

    Parameters
    ----------
    low, high : float
        Two-sided interval.
    margin : float, optional
        Largest loss allowed: positive; of a ratio, above 1.
    ratio : bool
        Whether the interval is that of a ratio, with no effect at 1.
    higher_is_better : bool

    Returns
    -------
    str
        Such as "superior to control", "no difference shown" or "non-inferior to control; superiority not shown".
    """
    if not (np.isfinite(low) and np.isfinite(high)):
        return "no conclusion: there is no interval"
    none = 1.0 if ratio else 0.0
    worst, best = (low, high) if higher_is_better else (high, low)
    side = 1.0 if higher_is_better else -1.0
    superior = side * (worst - none) > 0
    inferior = side * (best - none) < 0
    if margin is None:
        return "superior to control" if superior else "inferior to control" if inferior else "no difference shown"
    if ratio:
        limit = 1 / margin if higher_is_better else margin
    else:
        limit = -margin if higher_is_better else margin
    if superior:
        return "non-inferior to control, and superior"
    if side * (worst - limit) > 0:
        return "non-inferior to control" + (", though worse" if inferior else "; superiority not shown")
    return "inferior to control by more than the margin" if side * (best - limit) < 0 else "non-inferiority not shown"
