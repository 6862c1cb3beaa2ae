"""The restricted likelihood of a linear model with correlated repeated measures, its gradient and its Hessian.

Subjects are independent; the responses of one have mean X b and covariance S, of which only the visits seen count.
With V block-diagonal over subjects, A = X'V⁻¹X, and b at its generalised least-squares estimate [1]_,

    -2 log L = N log 2π + log|V| + r'V⁻¹r                                (ML)
    -2 log L = (N - p) log 2π + log|V| + log|A| + r'V⁻¹r                 (REML [2]_)

Both depend on the data through cross-products alone. So subjects of one group who were seen at the same visits are
replaced by the rows of a triangular factor with the same cross-products: cost grows with the patterns of missing
visits, not with patients. The design is made orthonormal and the response scaled to residual variance 1 before the
search, and what comes out is scaled back: units and coding leave the fit as it is.

References
----------
.. [1] Harville DA. J Am Stat Assoc 1977;72:320-38. doi:10.1080/01621459.1977.10480998 (P and the derivatives below)
.. [2] Patterson HD, Thompson R. Biometrika 1971;58:545-54. doi:10.1093/biomet/58.3.545; without log|X'X|, as in SAS.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from scipy.linalg import lapack, solve_triangular

from ranklsim.cohorts.statistics.mmrm.covariance import Structure

NEGLIGIBLE = 1e-9
"""A design column whose part outside the span of the columns before it is smaller than this share is redundant."""


@dataclass(frozen=True)
class Block:
    """Subjects of one group seen at the same visits.

    `n` subjects are held as r <= n rows with the same cross-products: `x` (r, v, p) and `y` (r, v) at the v visits
    whose positions are `seen`.
    """

    group: int
    seen: np.ndarray
    n: int
    x: np.ndarray
    y: np.ndarray

    @cached_property
    def products(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """X_s'X_t, X_s'y_t and y_s'y_t of every pair of visits, shapes (v v, p p), (v v, p) and (v v)."""
        rows, v, p = self.x.shape
        wide = self.x.reshape(rows, v * p)
        both = (wide.T @ wide).reshape(v, p, v, p).transpose(0, 2, 1, 3).reshape(v * v, p * p)
        right = (wide.T @ self.y).reshape(v, p, v).transpose(0, 2, 1).reshape(v * v, p)
        return both, right, (self.y.T @ self.y).reshape(v * v)


@dataclass(frozen=True)
class Design:
    """The data of the criterion, in an orthonormal design and with residual variance 1.

    Coefficients b of the orthonormal design mean ``ols + scale * to_terms @ b`` in the terms of the formula, and
    covariances are in units of ``scale ** 2``.
    """

    blocks: list[Block]
    visits: int
    groups: int
    subjects: int
    rows: int
    ols: np.ndarray
    to_terms: np.ndarray
    scale: float
    log_determinant: float  # of X'X

    @property
    def p(self) -> int:
        """Fixed effects."""
        return len(self.ols)


def triangle(matrix: np.ndarray) -> np.ndarray:
    """R of the QR decomposition, which has the cross-products of `matrix`.

    Parameters
    ----------
    matrix : ndarray, shape (n, p)
        Any matrix.
    """
    return np.asarray(np.linalg.qr(matrix, mode="r"))


def redundant_columns(x: np.ndarray) -> np.ndarray:
    """Positions of columns (of length 1) that depend linearly on those before them.

    Parameters
    ----------
    x : ndarray, shape (n, p)
        The design.
    """
    left = np.zeros(x.shape[1])
    found = np.abs(np.diag(triangle(x)))
    left[: len(found)] = found  # what is beyond the number of rows has nothing left
    return np.flatnonzero(left < NEGLIGIBLE)


def pool(x: np.ndarray, y: np.ndarray, subject: np.ndarray, visit: np.ndarray, group: np.ndarray) -> list[Block]:
    """Subjects by pattern of visits, each pattern in as few rows as hold its cross-products.

    Parameters
    ----------
    x, y : ndarray, shapes (N, p) and (N,)
    subject, visit, group : ndarray of int, shape (N,)
        Numbers from 0 without gaps; a pair of subject and visit is there at most once.
    """
    z = np.column_stack([x, y])
    blocks = []
    for at, own, places in patterns(subject, visit, group):
        rows = _same_products(z[places].reshape(len(places), -1)).reshape(-1, at.size, z.shape[1])
        blocks.append(Block(own, at, len(places), rows[..., :-1], rows[..., -1]))
    return blocks


def patterns(subject: np.ndarray, visit: np.ndarray, group: np.ndarray) -> list[tuple[np.ndarray, int, np.ndarray]]:
    """Subjects of one group seen at the same visits: the visits, the group, and the rows of the data.

    Parameters
    ----------
    subject, visit, group : ndarray of int, shape (N,)
        As for `pool`.

    Returns
    -------
    list of (ndarray (v,), int, ndarray (subjects, v))
    """
    order = np.lexsort((visit, subject))
    subject, visit, group = subject[order], visit[order], group[order]
    starts = np.flatnonzero(np.diff(subject, prepend=-1))
    seen = np.zeros((starts.size, visit.max() + 2), dtype=np.int64)
    seen[np.cumsum(np.diff(subject, prepend=-1) > 0) - 1, visit] = 1
    seen[:, -1] = group[starts]
    known, member_of = np.unique(seen, axis=0, return_inverse=True)
    found = []
    for k, pattern in enumerate(known):
        at = np.flatnonzero(pattern[:-1])
        members = starts[member_of.ravel() == k]
        found.append((at, int(pattern[-1]), order[members[:, None] + np.arange(at.size)]))
    return found


def _same_products(wide: np.ndarray) -> np.ndarray:
    """A matrix with the columns and the cross-products of `wide`, and no more rows than `wide` has different columns.

    Design columns repeat (an arm's indicator stands at every visit), so different ones are few.
    """
    known: dict[bytes, int] = {}
    which = np.array([known.setdefault(column.tobytes(), len(known)) for column in np.ascontiguousarray(wide.T)])
    if len(wide) <= len(known):
        return wide
    first = np.unique(which, return_index=True)[1]
    return triangle(wide[:, first])[:, which]


def standardise(blocks: list[Block], subjects: int, rows: int, visits: int, groups: int) -> Design:
    """The pooled data with orthonormal design and residual variance 1.

    Parameters
    ----------
    blocks : list of Block
        The data in the terms of the formula.
    subjects, rows : int
        Number of subjects and of values.
    visits, groups : int
        Number of visits and of covariance matrices.

    Raises
    ------
    numpy.linalg.LinAlgError
        If nothing is left to estimate a variance from: the design explains every response.
    """
    x = np.concatenate([block.x.reshape(-1, block.x.shape[-1]) for block in blocks])
    y = np.concatenate([block.y.ravel() for block in blocks])
    length = np.linalg.norm(x, axis=0)
    q, r = np.linalg.qr(x / length)
    to_terms = solve_triangular(r, np.eye(len(length))) / length[:, None]
    fitted = q.T @ y
    residual = y - q @ fitted
    residual -= q @ (q.T @ residual)
    left = rows - x.shape[1]
    scale = float(np.sqrt(residual @ residual / left)) if left > 0 else 0.0
    if scale <= 1e-12 * np.linalg.norm(y) / np.sqrt(rows):
        raise np.linalg.LinAlgError("the design explains every response")
    made, at = [], 0
    for block in blocks:
        size = block.y.size
        here = slice(at, at + size)
        made.append(
            Block(
                block.group,
                block.seen,
                block.n,
                q[here].reshape(block.x.shape),
                (residual[here] / scale).reshape(block.y.shape),
            )
        )
        at += size
    log_determinant = 2 * float(np.log(np.abs(np.diag(r)) * length).sum())
    return Design(made, visits, groups, subjects, rows, to_terms @ fitted, to_terms, scale, log_determinant)


@dataclass
class Point:
    """The criterion at one value of the covariance parameters (all in the units of `Design`).

    `m2ll` is -2 log-likelihood up to `Criterion.offset`; `phi` the covariance (p, p) of the coefficients `b`; `slope`
    the derivatives (groups, m, m) of `m2ll` by the elements of each group's covariance matrix.
    """

    m2ll: float
    b: np.ndarray
    phi: np.ndarray
    weights: list[np.ndarray]
    slope: np.ndarray = field(repr=False)


class Criterion:
    """-2 log-likelihood of a `Design` as a function of its covariance parameters, those of all groups in a row."""

    def __init__(self, design: Design, structure: Structure, *, reml: bool) -> None:
        self.design, self.structure, self.reml = design, structure, reml
        free = design.rows - (design.p if reml else 0)
        self.offset = free * (np.log(2 * np.pi) + 2 * np.log(design.scale)) + (design.log_determinant if reml else 0.0)

    def matrices(self, at: np.ndarray) -> list[np.ndarray]:
        """Each group's covariance matrix.

        Parameters
        ----------
        at : ndarray, shape (groups x size,)
            Parameters of all groups in a row.
        """
        return [self.structure.matrix(part) for part in self.split(at)]

    def split(self, at: np.ndarray) -> list[np.ndarray]:
        """Each group's parameters.

        Parameters
        ----------
        at : ndarray, shape (groups x size,)
            Parameters of all groups in a row.
        """
        return np.split(at, self.design.groups)

    def point(self, at: np.ndarray) -> Point | None:
        """Value, coefficients and slope; None where a covariance matrix is not positive definite.

        Parameters
        ----------
        at : ndarray, shape (groups x size,)
            Parameters of all groups in a row.
        """
        d = self.design
        full = self.matrices(at)
        a, right, total = np.zeros(d.p * d.p), np.zeros(d.p), 0.0
        weights = []
        try:
            for block in d.blocks:
                root = np.linalg.cholesky(full[block.group][np.ix_(block.seen, block.seen)])
                inverse = _inverse(root)
                w = inverse.T @ inverse
                weights.append(w)
                both, of_y, square = block.products
                flat = w.reshape(-1)
                a += flat @ both
                right += flat @ of_y
                total += float(flat @ square) + 2 * block.n * float(np.log(np.diag(root)).sum())
            root = np.linalg.cholesky(a.reshape(d.p, d.p))
        except (np.linalg.LinAlgError, ValueError):  # not positive definite; not finite
            return None
        inverse = _inverse(root)
        phi = inverse.T @ inverse
        b = phi @ right
        m2ll = total - float(right @ b) + (2 * float(np.log(np.diag(root)).sum()) if self.reml else 0.0)
        slope = np.zeros((d.groups, d.visits, d.visits))
        for block, w in zip(d.blocks, weights, strict=True):
            middle = self._residual_products(block, b)
            if self.reml:
                middle = middle + _spread(block, phi)
            slope[block.group][np.ix_(block.seen, block.seen)] += block.n * w - w @ middle @ w
        return Point(m2ll, b, phi, weights, slope)

    def coefficients(self, at: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """Coefficients and the root of their covariance at many values of the parameters at once.

        Parameters
        ----------
        at : ndarray, shape (count, groups x size)
            Parameters of all groups in a row.

        Returns
        -------
        tuple of ndarray, shapes (count, p) and (count, p, p), or None
            None where a covariance matrix of any of them is not positive definite, or as good as singular.
        """
        d, count = self.design, len(at)
        a, right = np.zeros((count, d.p * d.p)), np.zeros((count, d.p))
        try:
            full = np.array([self.matrices(each) for each in at])
            deviations = np.sqrt(np.diagonal(full, axis1=2, axis2=3))
            if _singular(full).any() or (deviations.min(axis=2) < SMALL * deviations.max(axis=2)).any():
                return None
            for block in d.blocks:
                inner = full[:, block.group][:, block.seen[:, None], block.seen]
                np.linalg.cholesky(inner)
                w = np.linalg.inv(inner).reshape(count, -1)
                both, of_y, _ = block.products
                a += w @ both
                right += w @ of_y
            np.linalg.cholesky(a.reshape(count, d.p, d.p))
        except (np.linalg.LinAlgError, ValueError):
            return None
        phi = np.linalg.inv(a.reshape(count, d.p, d.p))
        return (phi @ right[..., None])[..., 0], np.linalg.cholesky((phi + phi.transpose(0, 2, 1)) / 2)

    @staticmethod
    def _residual_products(block: Block, b: np.ndarray) -> np.ndarray:
        e = block.y - block.x @ b
        return e.T @ e

    def gradient(self, at: np.ndarray, point: Point) -> np.ndarray:
        """Derivatives of `Point.m2ll` by the parameters.

        Parameters
        ----------
        at : ndarray, shape (groups x size,)
            Parameters of all groups in a row.
        point : Point
            The criterion there.
        """
        parts = zip(self.split(at), point.slope, strict=True)
        return np.concatenate([np.tensordot(self.structure.first(part), slope, 2) for part, slope in parts])

    def sandwiches(self, at: np.ndarray, point: Point) -> np.ndarray:
        """X'V⁻¹ V_k V⁻¹X for every parameter k, shape (size, p, p): minus the derivative of A.

        Parameters
        ----------
        at : ndarray, shape (groups x size,)
            Parameters of all groups in a row.
        point : Point
            The criterion there.
        """
        firsts = [self.structure.first(part) for part in self.split(at)]
        size, p = self.structure.size, self.design.p
        out = np.zeros((self.design.groups, size, p * p))
        for block, w in zip(self.design.blocks, point.weights, strict=True):
            inner = w @ firsts[block.group][:, block.seen[:, None], block.seen] @ w
            out[block.group] += inner.reshape(size, -1) @ block.products[0]
        return out.reshape(-1, p, p)

    def hessian(self, at: np.ndarray, point: Point, sandwiches: np.ndarray | None = None) -> np.ndarray:
        """Second derivatives of `Point.m2ll` by the parameters, coefficients following along.

        With P = V⁻¹ - V⁻¹X A⁻¹ X'V⁻¹ and V_k, V_kl the derivatives of V, the elements are [1]_

            tr(P V_kl) - tr(P V_k P V_l) + 2 y'P V_k P V_l P y - y'P V_kl P y

        for REML; for ML the traces are those with V⁻¹ in place of P.

        Parameters
        ----------
        at : ndarray, shape (groups x size,)
            Parameters of all groups in a row.
        point : Point
            The criterion there.
        sandwiches : ndarray, shape (groups x size, p, p), optional
            From `sandwiches`, if known.
        """
        s, size = self.structure, self.structure.size
        parts = self.split(at)
        firsts = [s.first(part) for part in parts]
        pulls = np.zeros((self.design.groups, size, self.design.p))
        local = np.zeros((self.design.groups, size, size))
        for block, w in zip(self.design.blocks, point.weights, strict=True):
            first = firsts[block.group][:, block.seen[:, None], block.seen]
            e = block.y - block.x @ point.b
            u = e @ w
            heart = u.T @ u
            if self.reml:
                heart = heart + w @ _spread(block, point.phi) @ w
            left = (first @ w).reshape(size, -1)
            right = (first @ (2 * heart - block.n * w)).transpose(0, 2, 1).reshape(size, -1)
            local[block.group] += left @ right.T
            turned = np.matmul(u, np.matmul(first, w))
            pulls[block.group] += turned.reshape(size, -1) @ block.x.reshape(-1, self.design.p)
        for g, part in enumerate(parts):
            local[g] += s.curvature(part, point.slope[g])
        out = np.zeros((self.design.groups, size, self.design.groups, size))
        for g in range(self.design.groups):
            out[g, :, g] = (local[g] + local[g].T) / 2
        total = out.reshape(at.size, at.size)
        pull = pulls.reshape(at.size, -1)
        total -= 2 * pull @ point.phi @ pull.T
        if self.reml:
            turned = np.matmul(point.phi, self.sandwiches(at, point) if sandwiches is None else sandwiches)
            total -= turned.reshape(at.size, -1) @ turned.transpose(0, 2, 1).reshape(at.size, -1).T
        return total

    def start(self) -> np.ndarray:
        """Parameters from the moments of the residuals, made positive definite."""
        d = self.design
        products = np.zeros((d.groups, d.visits, d.visits))
        pairs = np.zeros_like(products)
        for block in d.blocks:
            here = (block.group, block.seen[:, None], block.seen)
            products[here] += block.y.T @ block.y
            pairs[here] += block.n
        out = []
        for g in range(d.groups):
            moments = np.divide(products[g], pairs[g], out=np.zeros_like(products[g]), where=pairs[g] > 0)
            variances = np.maximum(np.diag(moments), 1e-3 * max(np.diag(moments).max(), 1e-12))
            deviations = np.sqrt(variances)
            correlations = np.clip(moments / np.outer(deviations, deviations), -0.95, 0.95)
            np.fill_diagonal(correlations, 1.0)
            out.append(_first_possible(self.structure, correlations, deviations))
        return np.concatenate(out)


def _spread(block: Block, phi: np.ndarray) -> np.ndarray:
    """Sum over rows of X A⁻¹ X' (v, v), where A⁻¹ is `phi`."""
    v = block.seen.size
    return (block.products[0] @ phi.reshape(-1)).reshape(v, v)


def _inverse(root: np.ndarray) -> np.ndarray:
    """Inverse of a lower triangular matrix."""
    return np.asarray(lapack.dtrtri(root, lower=1)[0])


def _first_possible(structure: Structure, correlations: np.ndarray, deviations: np.ndarray) -> np.ndarray:
    """Start of a structure: correlations are shrunk until both they and the structure are positive definite."""
    identity = np.eye(len(deviations))
    scale = np.outer(deviations, deviations)
    for share in (1.0, 0.9, 0.8, 0.65, 0.5, 0.3, 0.1):
        shrunk = share * correlations + (1 - share) * identity
        if np.linalg.eigvalsh(shrunk)[0] > 0.02:
            at = structure.start(scale * shrunk)
            if np.linalg.eigvalsh(structure.matrix(at) / scale)[0] > 0.01:
                return at
    return structure.start(scale * identity)


class NotConverged(Exception):
    """The search ended where the criterion has no proper minimum; the text says how, to follow 'because'."""


STEPS = 200
LONGEST = 2.0  # of a step, in parameters of order one
NEARLY_SINGULAR = 1e-7  # smallest eigenvalue of a correlation matrix that still counts as positive definite
SMALL = 1e-6  # standard deviation of a visit that is as good as none, relative to that of another


def minimise(criterion: Criterion) -> np.ndarray:
    """Parameters at the minimum, by Newton steps with exact Hessian and backtracking.

    Where the Hessian is not positive definite, the absolute values of its eigenvalues take their place, which
    leads away from saddle points.

    Parameters
    ----------
    criterion : Criterion
        The data with the structure of their covariance.

    Raises
    ------
    NotConverged
        If there is no minimum inside the parameter space, or it is not reached in `STEPS` steps.
    """
    at = criterion.start()
    point = criterion.point(at)
    if point is None:
        raise NotConverged("no starting value is positive definite")
    for _ in range(STEPS):
        gradient, hessian = criterion.gradient(at, point), criterion.hessian(at, point)
        values, vectors = np.linalg.eigh(hessian)
        bent = np.maximum(np.abs(values), 1e-8 * np.abs(values).max())
        step = -vectors @ ((vectors.T @ gradient) / bent)
        promise = float(-gradient @ step)
        if promise < 1e-10:  # of -2 log-likelihood: below what any digit shows
            _refuse_flat(criterion, at, values)
            return at if criterion.point(at + step) is None else at + step
        step *= min(1.0, LONGEST / float(np.linalg.norm(step)))
        moved = _backtrack(criterion, at, point, step, float(gradient @ step))
        if moved is None:
            if promise < 1e-6:  # rounding hides what is left
                _refuse_flat(criterion, at, values)
                return at
            raise NotConverged("the likelihood cannot be improved although its gradient is not zero")
        at, point = moved
        refuse_improper(criterion, at)
    raise NotConverged(f"{STEPS} steps were not enough")


def _backtrack(
    criterion: Criterion, at: np.ndarray, point: Point, step: np.ndarray, fall: float
) -> tuple[np.ndarray, Point] | None:
    for halving in range(30):
        share = 0.5**halving
        tried = criterion.point(at + share * step)
        if tried is not None and tried.m2ll <= point.m2ll + 1e-4 * share * fall:
            return at + share * step, tried
    return None


def refuse_improper(criterion: Criterion, at: np.ndarray) -> None:
    """Raise `NotConverged` where a covariance matrix is as good as singular.

    Parameters
    ----------
    criterion : Criterion
        The data with the structure of their covariance.
    at : ndarray, shape (groups x size,)
        Parameters at the minimum.
    """
    matrices = np.array(criterion.matrices(at))
    if _singular(matrices).any():
        raise NotConverged("the covariance matrix becomes singular")
    deviations = np.sqrt(np.diagonal(matrices, axis1=1, axis2=2))
    if (deviations.min(axis=1) < SMALL * deviations.max(axis=1)).any():
        raise NotConverged("the variance of a visit goes to zero")


def _singular(matrices: np.ndarray) -> np.ndarray:
    """Which of many covariance matrices (..., m, m) have a correlation matrix that is as good as singular, or none."""
    deviations = np.sqrt(np.diagonal(matrices, axis1=-2, axis2=-1))
    with np.errstate(all="ignore"):
        correlations = matrices / (deviations[..., :, None] * deviations[..., None, :])
    lost = ~np.isfinite(correlations).all(axis=(-2, -1))  # so far from the data that a variance is 0 or endless
    held = np.where(lost[..., None, None], np.eye(matrices.shape[-1]), correlations)
    return np.asarray(lost | (np.linalg.eigvalsh(held)[..., 0] < NEARLY_SINGULAR))


def _refuse_flat(criterion: Criterion, at: np.ndarray, curvatures: np.ndarray) -> None:
    """Raise where the search ends without a minimum: at a singular matrix, or where the criterion is flat."""
    refuse_improper(criterion, at)
    if curvatures[0] <= 1e-10 * curvatures[-1]:
        raise NotConverged("the data do not determine every covariance parameter")
