"""Quantiles and tails of the normal and of Student's t distribution, without the overhead of `scipy.stats`.

The functions are those that `scipy.stats` itself calls, so that every digit is the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import special


def normal_quantile(q: Any) -> Any:
    """Value below which a standard normal variable lies with probability `q`.

    Parameters
    ----------
    q : float or ndarray
    """
    return special.ndtri(q)


def normal_tail(z: Any) -> Any:
    """Probability of a standard normal variable above `z`.

    Parameters
    ----------
    z : float or ndarray
    """
    return special.ndtr(-np.asarray(z))


def t_quantile(q: Any, df: Any) -> Any:
    """Value below which Student's t with `df` degrees of freedom lies with probability `q`; normal for infinite `df`.

    Parameters
    ----------
    q, df : float or ndarray
    """
    return np.where(np.isinf(df), special.ndtri(q), special.stdtrit(df, q))


def t_tail(t: Any, df: Any) -> Any:
    """Probability of Student's t with `df` degrees of freedom above `t`; normal for infinite `df`.

    Parameters
    ----------
    t, df : float or ndarray
    """
    return np.where(np.isinf(df), normal_tail(t), special.stdtr(df, -np.asarray(t)))
