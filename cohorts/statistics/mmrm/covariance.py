"""Covariance structures of repeated measures: the matrix over visits, and its derivatives by its parameters.

A structure maps parameters to one m x m covariance matrix. Its parameters are those of SAS PROC MIXED [1]_: covariances
where the structure is linear in them (`us`, `toep`, `cs`), else variances and correlations. That matters for
Kenward-Roger, whose standard errors are not the same under every parametrisation [2]_.

======== ========== ================================================================
name     parameters correlation of visits s and t
======== ========== ================================================================
us       m(m+1)/2   any
toep(h)  m (2m-1)   one for each distance \\|s-t\\| in the order of visits
ad(h)    m (2m-1)   product of the correlations of the neighbours between s and t
ar1(h)   2 (m+1)    r to the power \\|s-t\\|
cs(h)    2 (m+1)    r
======== ========== ================================================================

With "h" (heterogeneous) each visit has a variance of its own, without it they share one.

References
----------
.. [1] SAS/STAT User's Guide, The MIXED Procedure, REPEATED statement, TYPE=.
.. [2] SAS/STAT User's Guide, The MIXED Procedure, MODEL statement, DDFM=KENWARDROGER.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Correlation = Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray, np.ndarray]]
"""From parameters and m to the correlation matrix and its first and second derivatives (k, m, m), (k, k, m, m)."""


class Structure:
    """A covariance matrix as a function of `size` parameters.

    Methods take parameters of shape (size,); `matrix` gives (m, m), `first` the derivatives (size, m, m), `second`
    those of second order (size, size, m, m), or None where they are all zero; `start` gives parameters near a
    covariance matrix that may have any form.
    """

    size: int

    def matrix(self, at: np.ndarray) -> np.ndarray:
        """Covariance matrix (m, m).

        Parameters
        ----------
        at : ndarray, shape (size,)
            Parameters.
        """
        raise NotImplementedError

    def matrices(self, at: np.ndarray) -> np.ndarray:
        """Covariance matrices (..., m, m).

        Parameters
        ----------
        at : ndarray, shape (..., size)
            Parameters.
        """
        each = [self.matrix(one) for one in at.reshape(-1, self.size)]
        return np.array(each).reshape(*at.shape[:-1], *each[0].shape)

    def first(self, at: np.ndarray) -> np.ndarray:
        """First derivatives (size, m, m).

        Parameters
        ----------
        at : ndarray, shape (size,)
            Parameters.
        """
        raise NotImplementedError

    def second(self, at: np.ndarray) -> np.ndarray | None:
        """Second derivatives (size, size, m, m); None if all are zero.

        Parameters
        ----------
        at : ndarray, shape (size,)
            Parameters.
        """
        raise NotImplementedError

    def start(self, moments: np.ndarray) -> np.ndarray:
        """Parameters near a positive definite matrix (m, m).

        Parameters
        ----------
        moments : ndarray, shape (m, m)
            Such as the empirical covariance over visits.
        """
        raise NotImplementedError

    def curvature(self, at: np.ndarray, weights: np.ndarray) -> np.ndarray | float:
        """Second derivatives (size, size) of the sum of all elements of ``weights * matrix(at)``.

        Parameters
        ----------
        at : ndarray, shape (size,)
            Parameters.
        weights : ndarray, shape (m, m)
            Weight of each element of the matrix.
        """
        second = self.second(at)
        return 0.0 if second is None else np.einsum("klst,st->kl", second, weights)

    def chart(self) -> Structure:
        """The structure in the parameters in which it is best searched."""
        return self


class _Linear(Structure):
    """A weighted sum of fixed symmetric matrices of zeros and ones that do not overlap, `basis` (size, m, m)."""

    def __init__(self, basis: np.ndarray) -> None:
        self.basis = basis.astype(float)
        self.size = len(basis)

    def matrix(self, at: np.ndarray) -> np.ndarray:
        return np.tensordot(at, self.basis, 1)

    def matrices(self, at: np.ndarray) -> np.ndarray:
        return np.tensordot(at, self.basis, 1)

    def first(self, at: np.ndarray) -> np.ndarray:
        return self.basis

    def second(self, at: np.ndarray) -> None:
        return None

    def start(self, moments: np.ndarray) -> np.ndarray:
        return np.tensordot(self.basis, moments, 2) / self.basis.sum(axis=(1, 2))


class _Unstructured(_Linear):
    """Any covariance matrix; parameters are its lower triangle, row by row."""

    def __init__(self, m: int) -> None:
        rows, columns = np.tril_indices(m)
        basis = np.zeros((rows.size, m, m))
        basis[np.arange(rows.size), rows, columns] = 1.0
        basis[np.arange(rows.size), columns, rows] = 1.0
        super().__init__(basis)
        self.m = m

    def chart(self) -> Structure:
        return _Cholesky(self.m)


class _Cholesky(Structure):
    """Any covariance matrix as L L': parameters are L's lower triangle, its diagonal as logarithm, so all are free.

    Pinheiro JC, Bates DM. Stat Comput 1996;6:289-96 (log-Cholesky parametrisation).
    """

    def __init__(self, m: int) -> None:
        self.rows, self.columns = np.tril_indices(m)
        self.diagonal, self.main = self.rows == self.columns, np.arange(m)
        self.size, self.m = self.rows.size, m

    def _factor(self, at: np.ndarray) -> np.ndarray:
        factor = np.zeros((*at.shape[:-1], self.m, self.m))
        factor[..., self.rows, self.columns] = at
        with np.errstate(over="ignore"):  # a step too far gives an infinite matrix, which the search rejects
            factor[..., self.main, self.main] = np.exp(at[..., self.diagonal])
        return factor

    def _pace(self, factor: np.ndarray) -> np.ndarray:
        """Derivative of each element of L by its parameter."""
        return np.where(self.diagonal, factor[self.rows, self.columns], 1.0)

    def matrix(self, at: np.ndarray) -> np.ndarray:
        return self.matrices(at)

    def matrices(self, at: np.ndarray) -> np.ndarray:
        factor = self._factor(at)
        return np.asarray(factor @ factor.swapaxes(-1, -2))

    def first(self, at: np.ndarray) -> np.ndarray:
        factor = self._factor(at)
        half = np.zeros((self.size, self.m, self.m))
        half[np.arange(self.size), self.rows] = factor.T[self.columns] * self._pace(factor)[:, None]
        return half + half.transpose(0, 2, 1)

    def curvature(self, at: np.ndarray, weights: np.ndarray) -> np.ndarray:
        factor = self._factor(at)
        pace = self._pace(factor)
        same = self.columns[:, None] == self.columns[None, :]
        out = 2 * same * weights[np.ix_(self.rows, self.rows)] * np.outer(pace, pace)
        own = 2 * (weights @ factor)[self.rows, self.columns] * pace
        return out + np.diag(np.where(self.diagonal, own, 0.0))

    def start(self, moments: np.ndarray) -> np.ndarray:
        factor = np.linalg.cholesky(moments)[self.rows, self.columns]
        return np.where(self.diagonal, np.log(np.where(self.diagonal, factor, 1.0)), factor)


class _Scaled(Structure):
    """Variances times a correlation matrix; parameters are the variances (one, or one a visit), then correlations."""

    def __init__(self, m: int, correlation: Correlation, correlations: int, *, heterogeneous: bool) -> None:
        self.m, self.correlation, self.heterogeneous = m, correlation, heterogeneous
        self.variances = m if heterogeneous else 1
        self.size = self.variances + correlations

    def _scale(self, at: np.ndarray) -> np.ndarray:
        """Products of standard deviations (m, m); NaN where a variance is not positive, which the search rejects."""
        with np.errstate(invalid="ignore"):
            deviations = np.sqrt(np.broadcast_to(at[: self.variances], self.m))
        return np.outer(deviations, deviations)

    def _logarithm(self, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First (v, m, m) and second (v, v, m, m) derivatives of the logarithm of `_scale` by the variances."""
        v = at[: self.variances]
        if not self.heterogeneous:
            flat = np.ones((1, self.m, self.m))
            return flat / v[0], -flat[None] / v[0] ** 2
        here = np.eye(self.m)
        share = 0.5 * (here[:, :, None] + here[:, None, :])
        first = share / v[:, None, None]
        second = np.zeros((self.m, self.m, self.m, self.m))
        second[np.arange(self.m), np.arange(self.m)] = -share / v[:, None, None] ** 2
        return first, second

    def matrix(self, at: np.ndarray) -> np.ndarray:
        return self._scale(at) * self.correlation(at[self.variances :], self.m)[0]

    def first(self, at: np.ndarray) -> np.ndarray:
        by_variance = self.matrix(at) * self._logarithm(at)[0]
        return np.concatenate([by_variance, self._scale(at) * self.correlation(at[self.variances :], self.m)[1]])

    def second(self, at: np.ndarray) -> np.ndarray:
        scale, (log1, log2) = self._scale(at), self._logarithm(at)
        r, r1, r2 = self.correlation(at[self.variances :], self.m)
        v = self.variances
        out = np.empty((self.size, self.size, self.m, self.m))
        out[:v, :v] = scale * r * (log1[:, None] * log1[None, :] + log2)
        out[:v, v:] = scale * log1[:, None] * r1[None, :]
        out[v:, :v] = out[:v, v:].transpose(1, 0, 2, 3)
        out[v:, v:] = scale * r2
        return out

    def start(self, moments: np.ndarray) -> np.ndarray:
        variances = np.diag(moments) if self.heterogeneous else np.array([np.trace(moments) / self.m])
        deviations = np.sqrt(np.diag(moments))
        near = moments / np.outer(deviations, deviations)
        if self.correlation is _symmetric:
            correlations = near[np.tril_indices(self.m, -1)].mean(keepdims=True)
        elif self.correlation is _autoregressive:
            correlations = np.diag(near, 1).mean(keepdims=True)
        elif self.correlation is _ante_dependent:
            correlations = np.diag(near, 1)
        else:
            correlations = np.array([np.diag(near, k).mean() for k in range(1, self.m)])
        return np.concatenate([variances, correlations])


def _distance(m: int) -> np.ndarray:
    return np.abs(np.subtract.outer(np.arange(m), np.arange(m)))


def _symmetric(rho: np.ndarray, m: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compound symmetry: one correlation for all pairs."""
    off = (_distance(m) > 0).astype(float)
    return np.eye(m) + rho[0] * off, off[None], np.zeros((1, 1, m, m))


def _autoregressive(rho: np.ndarray, m: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """First-order autoregression over the order of visits."""
    d, r = _distance(m), float(rho[0])
    first = d * r ** np.maximum(d - 1, 0)
    second = d * (d - 1) * r ** np.maximum(d - 2, 0)
    return r**d, first[None], second[None, None]


def _toeplitz(rho: np.ndarray, m: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One correlation for each distance in the order of visits."""
    bands = _bands(m)[1:].astype(float)
    return np.eye(m) + np.tensordot(rho, bands, 1), bands, np.zeros((m - 1, m - 1, m, m))


def _ante_dependent(rho: np.ndarray, m: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """First-order ante-dependence (Gabriel KR. Ann Math Stat 1962;33:201-12): products of neighbours' correlations."""
    s, t = np.indices((m, m))
    low, high, step = np.minimum(s, t), np.maximum(s, t), np.arange(m - 1)[:, None, None]
    between = (low <= step) & (step < high)
    factors = np.where(between, rho[:, None, None], 1.0)
    first = np.zeros((m - 1, m, m))
    second = np.zeros((m - 1, m - 1, m, m))
    for k in range(m - 1):
        first[k] = between[k] * np.delete(factors, k, axis=0).prod(axis=0)
        for j in range(k):
            second[k, j] = between[k] * between[j] * np.delete(factors, (j, k), axis=0).prod(axis=0)
            second[j, k] = second[k, j]
    return factors.prod(axis=0), first, second


def _bands(m: int) -> np.ndarray:
    return np.array([_distance(m) == k for k in range(m)])


FALLBACK = ("us", "toeph", "ar1h", "csh", "toep", "ar1", "cs")
"""Order in which structures are tried: what follows the one asked for stands in if that does not converge."""

NAMES = {
    "us": "unstructured",
    "toeph": "heterogeneous Toeplitz",
    "toep": "Toeplitz",
    "adh": "heterogeneous ante-dependence",
    "ad": "ante-dependence",
    "ar1h": "heterogeneous AR(1)",
    "ar1": "AR(1)",
    "csh": "heterogeneous compound symmetry",
    "cs": "compound symmetry",
}
"""Name of each structure in a footnote."""


def structure(name: str, m: int) -> Structure:
    """The structure called `name` over `m` visits; KeyError if there is none.

    Parameters
    ----------
    name : str
        A key of `NAMES`.
    m : int
        Number of visits.
    """
    if name not in NAMES:
        raise KeyError(name)
    if name == "us" or m == 1:
        return _Unstructured(m)
    if name == "toep":
        return _Linear(_bands(m))
    if name == "cs":
        return _Linear(np.array([_distance(m) == 0, _distance(m) > 0]))
    kinds: dict[str, tuple[Correlation, int]] = {
        "toep": (_toeplitz, m - 1),
        "ad": (_ante_dependent, m - 1),
        "ar1": (_autoregressive, 1),
        "cs": (_symmetric, 1),
    }
    correlation, count = kinds[name.removesuffix("h")]
    return _Scaled(m, correlation, count, heterogeneous=name.endswith("h"))
