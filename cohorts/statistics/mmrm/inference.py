"""Standard errors, degrees of freedom and tests of contrasts in a fitted model.

Notation: Φ = A⁻¹ is the covariance of the coefficients, W twice the inverse of the Hessian of -2 log-likelihood by
the covariance parameters (the observed information, as in SAS), P_k = X'V⁻¹ V_k V⁻¹X, so that the derivative of Φ by
parameter k is Φ P_k Φ. At the minimum, W and the degrees of freedom do not depend on the parametrisation.

References
----------
.. [1] Giesbrecht FG, Burns JC. Biometrics 1985;41:477-86. doi:10.2307/2530872 (Satterthwaite, one contrast).
.. [2] Fai AH-T, Cornelius PL. J Stat Comput Simul 1996;54:363-78. doi:10.1080/00949659608811740 (several at once).
.. [3] Kenward MG, Roger JH. Biometrics 1997;53:983-97. doi:10.2307/2533558
.. [4] Schluchter MD, Elashoff JT. J Stat Comput Simul 1990;37:69-87. doi:10.1080/00949659008811295 (between-within).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ranklsim.cohorts.statistics.mmrm.criterion import Criterion, NotConverged, Point
from ranklsim.cohorts.statistics.tails import t_tail

METHODS = ("satterthwaite", "kenward-roger", "kenward-roger-linear", "between-within", "residual")
"""Degrees of freedom that can be asked for."""


@dataclass(frozen=True)
class Fixed:
    """Degrees of freedom that come with the layout of the data, whatever the responses.

    `of_terms` (p,) are those of each coefficient of the formula; a contrast has the smallest of those that it
    involves. `from_terms` (p, p) takes coefficients of the formula to those of the `Design`.
    """

    of_terms: np.ndarray
    from_terms: np.ndarray

    def of(self, rows: np.ndarray) -> np.ndarray:
        """Degrees of freedom of each contrast, given for the coefficients of the `Design`.

        Parameters
        ----------
        rows : ndarray, shape (q, p)
            A contrast in each row.
        """
        involved = np.abs(rows @ self.from_terms) > 1e-9
        return np.where(involved, self.of_terms, np.inf).min(axis=1)


class Inference:
    """Uncertainty of linear combinations of the coefficients `b` of a `Design`, all in its units.

    Parameters
    ----------
    criterion : Criterion
        With the structure in the parameters of `covariance.structure`.
    at : ndarray
        Parameters at the minimum.
    point : Point
        The criterion there.
    method : str
        One of `METHODS`.
    fixed : Fixed or None
        For "between-within" and "residual".

    Raises
    ------
    NotConverged
        If the Hessian is not positive definite.
    """

    def __init__(self, criterion: Criterion, at: np.ndarray, point: Point, method: str, fixed: Fixed | None) -> None:
        self.method, self.fixed = method, fixed
        self.phi = point.phi
        self.covariance = self.phi
        if fixed is not None:
            return
        hessian, sandwiches = criterion.curvature(at, point)
        try:
            root = np.linalg.cholesky(hessian)
        except np.linalg.LinAlgError:
            raise NotConverged("the data do not determine every covariance parameter") from None
        self.w = 2 * np.linalg.inv(root).T @ np.linalg.inv(root)
        self.moves = self.phi @ sandwiches @ self.phi
        if method.startswith("kenward-roger"):
            self.covariance = self._adjusted(criterion, at, point, sandwiches)

    def _adjusted(self, criterion: Criterion, at: np.ndarray, point: Point, sandwiches: np.ndarray) -> np.ndarray:
        """Kenward and Roger's covariance of the coefficients [3]_.

            Φ + 2 Φ (sum over k, l of W_kl (Q_kl - P_k Φ P_l - R_kl / 4)) Φ

        with Q_kl = X'V⁻¹V_kV⁻¹V_lV⁻¹X and R_kl = X'V⁻¹V_klV⁻¹X; "linear" leaves R out (SAS: FIRSTORDER).
        """
        design, structure = criterion.design, criterion.structure
        parts = criterion.split(at)
        w = self.w.reshape(design.groups, structure.size, design.groups, structure.size)
        first = [structure.first(part) for part in parts]
        bends = []
        for g, part in enumerate(parts):
            second = None if self.method == "kenward-roger-linear" else structure.second(part)
            bends.append(None if second is None else np.einsum("kl,klst->st", w[g, :, g], second))
        middle = np.zeros_like(self.phi)
        for stack, weight in zip(design.stacks, point.weights, strict=True):
            own = stack.derivatives(first[stack.group])
            mixed = np.tensordot(w[stack.group, :, stack.group], own, (1, 1)).swapaxes(0, 1)
            core = (own @ weight[:, None] @ mixed).sum(axis=1)
            bend = bends[stack.group]
            if bend is not None:
                core = core - bend[stack.pairs] / 4
            middle += ((weight @ core @ weight).reshape(-1) @ stack.both).reshape(middle.shape)
        mixed = np.tensordot(self.w, sandwiches, 1)
        middle -= (sandwiches @ self.phi @ mixed).sum(axis=0)
        return self.phi + 2 * self.phi @ ((middle + middle.T) / 2) @ self.phi

    def singly(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Standard error and degrees of freedom of each row of `rows` (q, p) on its own.

        Parameters
        ----------
        rows : ndarray, shape (q, p)
            A contrast in each row.
        """
        variance = np.einsum("qa,ab,qb->q", rows, self.covariance, rows)
        error = np.sqrt(np.maximum(variance, 0.0))
        if self.fixed is not None:
            return error, self.fixed.of(rows)
        plain = np.einsum("qa,ab,qb->q", rows, self.phi, rows)
        slope = np.einsum("qa,kab,qb->qk", rows, self.moves, rows, optimize=True)
        spread = np.einsum("qk,kl,ql->q", slope, self.w, slope)
        return error, np.divide(2 * plain**2, spread, out=np.full(len(rows), np.inf), where=spread > 0)

    def jointly(self, rows: np.ndarray, estimates: np.ndarray) -> tuple[int, float, float]:
        """Numerator and denominator degrees of freedom and F of all rows of `rows` (q, p) being zero at once.

        Satterthwaite's denominator is that of Fai and Cornelius [2]_; Kenward-Roger scales F as in [3]_. Rows that
        depend on others are left out.

        Parameters
        ----------
        rows : ndarray, shape (q, p)
            A contrast in each row.
        estimates : ndarray, shape (q,)
            Estimates of the contrasts.
        """
        rows, estimates = _independent(rows, estimates)
        q = len(rows)
        wald = float(estimates @ np.linalg.solve(rows @ self.covariance @ rows.T, estimates)) / q
        if q == 1 or self.fixed is not None:
            return q, float(self.singly(rows)[1].min()), wald
        if self.method == "satterthwaite":
            return q, self._fai_cornelius(rows), wald
        den, share = self._kenward_roger(rows)
        return q, den, share * wald

    def _fai_cornelius(self, rows: np.ndarray) -> float:
        vectors = np.linalg.eigh(rows @ self.phi @ rows.T)[1]
        df = self.singly(vectors.T @ rows)[1]
        if df.min() <= 2:
            return 2.0  # the expectation of F does not exist; as mmrm does
        if np.ptp(df) < 1e-8 * df.mean():
            return float(df.mean())
        total = float((df / (df - 2)).sum())
        return 2 * total / (total - len(df))

    def _kenward_roger(self, rows: np.ndarray) -> tuple[float, float]:
        """Denominator degrees of freedom, and the factor of F."""
        q = len(rows)
        theta = rows.T @ np.linalg.solve(rows @ self.phi @ rows.T, rows)
        turned = theta @ self.moves
        traces = np.trace(turned, axis1=1, axis2=2)
        a1 = float(traces @ self.w @ traces)
        flat = turned.reshape(len(turned), -1)
        a2 = float((self.w * (flat @ turned.transpose(0, 2, 1).reshape(len(turned), -1).T)).sum())
        b = (a1 + 6 * a2) / (2 * q)
        g = ((q + 1) * a1 - (q + 4) * a2) / ((q + 2) * a2)
        below = 3 * q + 2 * (1 - g)
        c1, c2, c3 = g / below, (q - g) / below, (q + 2 - g) / below
        mean = 1 / (1 - a2 / q)
        variance = 2 / q * (1 + c1 * b) / ((1 - c2 * b) ** 2 * (1 - c3 * b))
        rho = variance / (2 * mean**2)
        den = 4 + (q + 2) / (q * rho - 1)
        return den, den / (mean * (den - 2))


def _independent(rows: np.ndarray, estimates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first rows that span what all rows span, and their estimates."""
    kept: list[int] = []
    for k in range(len(rows)):
        if np.linalg.matrix_rank(rows[[*kept, k]]) > len(kept):
            kept.append(k)
    return rows[kept], estimates[kept]


def two_sided(t: np.ndarray, df: np.ndarray) -> np.ndarray:
    """Two-sided p of Student's t.

    Parameters
    ----------
    t, df : ndarray, shape (q,)
        The statistics and their degrees of freedom.
    """
    return 2 * t_tail(np.abs(t), df)
