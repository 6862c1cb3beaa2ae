"""The empirical (sandwich) covariance of the coefficients, which holds where the covariance structure does not.

With L_i the triangular root of the covariance of subject i, x_i and e_i her design and residuals after L_i⁻¹, Φ the
covariance of the coefficients under the model and H_i = x_i Φ x_i', the covariance is [1]_ [2]_

    c Φ (sum over i of x_i' A_i e_i e_i' A_i' x_i) Φ

======================== ================ ==========
"empirical"              A_i = I          c = 1
"bias-reduced" [3]_      (I - H_i)^(-1/2) 1
"jackknife" [4]_         (I - H_i)^(-1)   (n - 1) / n
======================== ================ ==========

as the R package mmrm has it. A contrast's variance is a quadratic form of the residuals; Satterthwaite's degrees of
freedom are those of its first two moments under the model [3]_ [5]_.

References
----------
.. [1] Liang K-Y, Zeger SL. Biometrika 1986;73:13-22. doi:10.1093/biomet/73.1.13
.. [2] Sabanes Bove D et al. mmrm: Mixed Models for Repeated Measures. R package. https://openpharma.github.io/mmrm
.. [3] Bell RM, McCaffrey DF. Surv Methodol 2002;28:169-81.
.. [4] Mancl LA, DeRouen TA. Biometrics 2001;57:126-34. doi:10.1111/j.0006-341X.2001.00126.x
.. [5] Pustejovsky JE, Tipton E. J Bus Econ Stat 2018;36:672-83. doi:10.1080/07350015.2016.1247004
"""

from __future__ import annotations

import numpy as np

from ranklsim.cohorts.statistics.mmrm.inference import Fixed, Inference

MODEL = "model"
ERRORS = (MODEL, "empirical", "bias-reduced", "jackknife")
"""Covariances of the coefficients: that of the model, and the empirical ones."""

Subjects = list[tuple[np.ndarray, np.ndarray]]
"""Design (n, v, p) and residuals (n, v) of subjects seen at the same visits, after the inverse root of their
covariance."""


class Empirical(Inference):
    """Uncertainty of linear combinations of the coefficients by the empirical covariance; methods as of `Inference`.

    Parameters
    ----------
    model : Inference
        That of the same fit.
    subjects : list of (ndarray, ndarray)
        As `Subjects`, in the units of the `Design`.
    kind : str
        One of `ERRORS` but the first.
    """

    def __init__(self, model: Inference, subjects: Subjects, kind: str) -> None:
        self.method, self.fixed, self.phi = "satterthwaite", model.fixed, model.phi
        self.parts: list[tuple[np.ndarray, np.ndarray]] = []
        middle, count = np.zeros_like(self.phi), 0
        for x, e in subjects:
            a = _adjustment(np.eye(x.shape[1]) - x @ self.phi @ x.transpose(0, 2, 1), kind)
            turned = a @ x  # symmetric A
            score = np.einsum("nvp,nv->np", turned, e)
            middle += score.T @ score
            count += len(x)
            self.parts.append((x, turned))
        share = (count - 1) / count if kind == "jackknife" else 1.0
        self.covariance = share * self.phi @ middle @ self.phi

    def singly(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Standard error and degrees of freedom of each row of `rows` (q, p) on its own.

        Parameters
        ----------
        rows : ndarray, shape (q, p)
            A contrast in each row.
        """
        error = np.sqrt(np.maximum(np.einsum("qa,ab,qb->q", rows, self.covariance, rows), 0.0))
        return error, self.fixed.of(rows) if isinstance(self.fixed, Fixed) else self._moments(rows)

    def _moments(self, rows: np.ndarray) -> np.ndarray:
        """Degrees of freedom by the first two moments of the sum over subjects of (g_i' e_i)².

        With residuals of covariance I - x Φ x', the products of g_i' e_i and g_j' e_j have the expectation
        d_i [i = j] - u_i' Φ u_j, where d_i = g_i' g_i and u_i = x_i' g_i.
        """
        total, squares, mixed = np.zeros(len(rows)), np.zeros(len(rows)), np.zeros(len(rows))
        sums = np.zeros((len(rows), *self.phi.shape))
        half = self.phi @ rows.T
        for x, turned in self.parts:
            g = turned @ half
            own, u = (g**2).sum(axis=1), x.transpose(0, 2, 1) @ g
            lost = np.einsum("npq,pr,nrq->nq", u, self.phi, u, optimize=True)
            total += (own - lost).sum(axis=0)
            squares += (own**2).sum(axis=0)
            mixed += (own * lost).sum(axis=0)
            sums += np.einsum("npq,nrq->qpr", u, u)
        turned = sums @ self.phi
        spread = squares - 2 * mixed + np.einsum("qpr,qrp->q", turned, turned)
        return np.divide(total**2, spread, out=np.full(len(rows), np.inf), where=spread > 0)


def _adjustment(left: np.ndarray, kind: str) -> np.ndarray:
    """A_i of each subject from I - H_i (n, v, v); directions in which nothing is left stay at zero."""
    if kind == "empirical":
        return np.broadcast_to(np.eye(left.shape[1]), left.shape)
    values, vectors = np.linalg.eigh(left)
    power = -0.5 if kind == "bias-reduced" else -1.0
    scaled = np.where(values > 1e-10, np.maximum(values, 1e-10) ** power, 0.0)
    return np.asarray((vectors * scaled[:, None, :]) @ vectors.transpose(0, 2, 1))
