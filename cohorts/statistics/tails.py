"""Quantiles and tails of the normal, the t and the chi-squared distribution without the overhead of `scipy.stats`.

The functions are those that `scipy.stats` itself calls, so that every digit is the same. To import
`scipy.stats` takes a quarter of a second, which every command would spend.
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


def chi2_quantile(q: Any, df: Any) -> Any:
    """Value below which a chi-squared variable with `df` degrees of freedom lies with probability `q`.

    Parameters
    ----------
    q, df : float or ndarray
    """
    return 2 * special.gammaincinv(np.asarray(df) / 2, q)


def chi2_tail(x: Any, df: Any) -> Any:
    """Probability of a chi-squared variable with `df` degrees of freedom above `x`; NaN without a degree of freedom.

    Parameters
    ----------
    x, df : float or ndarray
    """
    return np.where(np.asarray(df) > 0, special.chdtrc(df, x), np.nan)
