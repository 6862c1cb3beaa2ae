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

from collections.abc import Sequence
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


@dataclass(frozen=True)
class Stack:
    """Blocks of one group side by side, so that the algebra of all of them is one call.

    Blocks with fewer rows or visits than the largest are filled up with zeros: `seen` (B, v) has their positions and
    then any other, `known` (B, v) says which are theirs. `n` (B,) subjects; `x` (B, r, v, p) and `y` (B, r, v); `both`
    (B v v, p p), `of_y` (B v v, p) and `square` (B v v) are X_s'X_t, X_s'y_t and y_s'y_t of every pair of visits.
    """

    group: int
    seen: np.ndarray
    known: np.ndarray
    n: np.ndarray
    x: np.ndarray
    y: np.ndarray
    both: np.ndarray
    of_y: np.ndarray
    square: np.ndarray

    @classmethod
    def of(cls, blocks: Sequence[Block]) -> Stack:
        """Those blocks.

        Parameters
        ----------
        blocks : sequence of Block
            All of one group.
        """
        count, p = len(blocks), blocks[0].x.shape[2]
        r, v = (max(block.x.shape[axis] for block in blocks) for axis in (0, 1))
        seen, known = np.zeros((count, v), dtype=np.int64), np.zeros((count, v), dtype=bool)
        x, y = np.zeros((count, r, v, p)), np.zeros((count, r, v))
        for k, block in enumerate(blocks):
            rows, visits = block.y.shape
            seen[k, :visits], known[k, :visits] = block.seen, True
            x[k, :rows, :visits], y[k, :rows, :visits] = block.x, block.y
        wide = x.reshape(count, r, v * p)
        turned = wide.transpose(0, 2, 1)
        both = (turned @ wide).reshape(count, v, p, v, p).transpose(0, 1, 3, 2, 4).reshape(-1, p * p)
        of_y = (turned @ y).reshape(count, v, p, v).transpose(0, 1, 3, 2).reshape(-1, p)
        square = (y.transpose(0, 2, 1) @ y).reshape(-1)
        n = np.array([block.n for block in blocks])
        return cls(blocks[0].group, seen, known, n, x, y, both, of_y, square)

    @cached_property
    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Index of each block's part of a matrix over visits, for shape (B, v, v)."""
        return self.seen[:, :, None], self.seen[:, None, :]

    @cached_property
    def inside(self) -> np.ndarray:
        """Whether both visits of a pair are the block's own, shape (B, v, v)."""
        return self.known[:, :, None] & self.known[:, None, :]

    @cached_property
    def filling(self) -> np.ndarray:
        """What makes a covariance matrix of what is filled up: an identity; shape (B, v, v)."""
        return np.eye(self.seen.shape[1]) * ~self.known[:, None]

    def part(self, full: np.ndarray) -> np.ndarray:
        """Covariance matrix of each block's visits, an identity where it is filled up; shape (..., B, v, v).

        Parameters
        ----------
        full : ndarray, shape (..., m, m)
            Over all visits.
        """
        return np.where(self.inside, full[(..., *self.pairs)], self.filling)

    def derivatives(self, first: np.ndarray) -> np.ndarray:
        """Each block's part of derivatives over all visits, shape (B, size, v, v); anything where it is filled up.

        Parameters
        ----------
        first : ndarray, shape (size, m, m)
        """
        return np.ascontiguousarray(first[(slice(None), *self.pairs)].swapaxes(0, 1))

    def spread(self, matrix: np.ndarray) -> np.ndarray:
        """Sum over rows of X M X' (B, v, v) for a matrix M of the coefficients.

        Parameters
        ----------
        matrix : ndarray, shape (p, p)
        """
        return (self.both @ matrix.reshape(-1)).reshape(self.inside.shape)


LARGEST = 1_000_000
"""Elements of the largest array of a stack."""


def stacked(blocks: Sequence[Block]) -> list[Stack]:
    """Blocks of each group in as few stacks as have no larger arrays than `LARGEST`, or one block.

    Parameters
    ----------
    blocks : sequence of Block
    """

    def size(block: Block) -> int:
        rows, visits, p = block.x.shape
        parameters = visits * (visits + 1) // 2
        return visits * max(visits * p * p, parameters * max(visits, rows))

    found: list[list[Block]] = []
    for block in sorted(blocks, key=lambda block: (block.group, -block.seen.size)):
        fits = found and found[-1][0].group == block.group
        if fits and max(size(found[-1][0]), size(block)) * (len(found[-1]) + 1) <= LARGEST:
            found[-1].append(block)
        else:
            found.append([block])
    return [Stack.of(each) for each in found]


def _times(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Matrices (B, k, v, v) times one of each block (B, v, v)."""
    count, k, v, _ = left.shape
    return (left.reshape(count, k * v, v) @ right).reshape(count, k, v, v)


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

    @cached_property
    def stacks(self) -> list[Stack]:
        """The blocks side by side."""
        return stacked(self.blocks)

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
    known, member_of = distinct_rows(seen)
    found = []
    for k, pattern in enumerate(known):
        at = np.flatnonzero(pattern[:-1])
        members = starts[member_of == k]
        found.append((at, int(pattern[-1]), order[members[:, None] + np.arange(at.size)]))
    return found


def distinct_rows(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Different rows of a matrix in lexicographic order, and the place of each row among them.

    Parameters
    ----------
    matrix : ndarray of bool or int, shape (n, k)
        Numbers from 0 on.
    """
    rows = np.ascontiguousarray(matrix, dtype=">u4")  # bytes in this order sort as the numbers do
    first, place = np.unique(rows.view(f"V{4 * rows.shape[1]}").ravel(), return_index=True, return_inverse=True)[1:]
    return matrix[first], place


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
    the derivatives (groups, m, m) of `m2ll` by the elements of each group's covariance matrix. Of each stack, `weights`
    (B, v, v) are the inverse covariance matrices, zero where they are filled up, and `spreads` the sums of X A⁻¹ X'
    (REML alone).
    """

    m2ll: float
    b: np.ndarray
    phi: np.ndarray
    weights: list[np.ndarray]
    spreads: list[np.ndarray]
    slope: np.ndarray = field(repr=False)


class Criterion:
    """-2 log-likelihood of a `Design` as a function of its covariance parameters, those of all groups in a row."""

    def __init__(self, design: Design, structure: Structure, *, reml: bool) -> None:
        self.design, self.structure, self.reml = design, structure, reml
        free = design.rows - (design.p if reml else 0)
        self.offset = free * (np.log(2 * np.pi) + 2 * np.log(design.scale)) + (design.log_determinant if reml else 0.0)

    def matrices(self, at: np.ndarray) -> np.ndarray:
        """Each group's covariance matrix, shape (..., groups, m, m).

        Parameters
        ----------
        at : ndarray, shape (..., groups x size)
            Parameters of all groups in a row.
        """
        return self.structure.matrices(self.split(at))

    def split(self, at: np.ndarray) -> np.ndarray:
        """Each group's parameters, shape (..., groups, size).

        Parameters
        ----------
        at : ndarray, shape (..., groups x size)
            Parameters of all groups in a row.
        """
        return at.reshape(*at.shape[:-1], self.design.groups, -1)

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
            for stack in d.stacks:
                root = np.linalg.cholesky(stack.part(full[stack.group]))
                inverse = np.linalg.inv(root)
                w = (inverse.transpose(0, 2, 1) @ inverse) * stack.inside
                weights.append(w)
                flat = w.reshape(-1)
                a += flat @ stack.both
                right += flat @ stack.of_y
                determinants = np.log(np.diagonal(root, axis1=1, axis2=2)).sum(axis=1)
                total += float(flat @ stack.square) + 2 * float(stack.n @ determinants)
            root = np.linalg.cholesky(a.reshape(d.p, d.p))
        except (np.linalg.LinAlgError, ValueError):  # not positive definite; not finite
            return None
        inverse = _inverse(root)
        phi = inverse.T @ inverse
        b = phi @ right
        m2ll = total - float(right @ b) + (2 * float(np.log(np.diag(root)).sum()) if self.reml else 0.0)
        slope = np.zeros((d.groups, d.visits, d.visits))
        spreads = []
        for stack, w in zip(d.stacks, weights, strict=True):
            e = stack.y - stack.x @ b
            middle = e.transpose(0, 2, 1) @ e
            if self.reml:
                spreads.append(stack.spread(phi))
                middle = middle + spreads[-1]
            np.add.at(slope[stack.group], stack.pairs, stack.n[:, None, None] * w - w @ middle @ w)
        return Point(m2ll, b, phi, weights, spreads, slope)

    def coefficients(self, at: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """Coefficients, the root of their covariance, and the covariance matrices at many values of the parameters.

        Parameters
        ----------
        at : ndarray, shape (count, groups x size)
            Parameters of all groups in a row.

        Returns
        -------
        tuple of ndarray, shapes (count, p), (count, p, p) and (count, groups, m, m), or None
            None where a covariance matrix of any of them is not positive definite, or as good as singular.
        """
        d, count = self.design, len(at)
        a, right = np.zeros((count, d.p * d.p)), np.zeros((count, d.p))
        try:
            full = self.matrices(at)
            variances = np.diagonal(full, axis1=2, axis2=3)
            if not (variances > 0).all():
                return None
            deviations = np.sqrt(variances)
            if _singular(full).any() or (deviations.min(axis=2) < SMALL * deviations.max(axis=2)).any():
                return None
            for stack in d.stacks:
                inner = stack.part(full[:, stack.group])
                np.linalg.cholesky(inner)
                w = (np.linalg.inv(inner) * stack.inside).reshape(count, -1)
                a += w @ stack.both
                right += w @ stack.of_y
            np.linalg.cholesky(a.reshape(count, d.p, d.p))
        except (np.linalg.LinAlgError, ValueError):
            return None
        phi = np.linalg.inv(a.reshape(count, d.p, d.p))
        return (phi @ right[..., None])[..., 0], np.linalg.cholesky((phi + phi.transpose(0, 2, 1)) / 2), full

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

    def hessian(self, at: np.ndarray, point: Point) -> np.ndarray:
        """Second derivatives of `Point.m2ll` by the parameters, coefficients following along.

        Parameters
        ----------
        at : ndarray, shape (groups x size,)
            Parameters of all groups in a row.
        point : Point
            The criterion there.
        """
        return self.curvature(at, point)[0]

    def curvature(self, at: np.ndarray, point: Point) -> tuple[np.ndarray, np.ndarray]:
        """Second derivatives of `Point.m2ll` by the parameters, and X'V⁻¹ V_k V⁻¹X (p, p) of every parameter k.

        With P = V⁻¹ - V⁻¹X A⁻¹ X'V⁻¹ and V_k, V_kl the derivatives of V, the elements of the first are [1]_

            tr(P V_kl) - tr(P V_k P V_l) + 2 y'P V_k P V_l P y - y'P V_kl P y

        for REML; for ML the traces are those with V⁻¹ in place of P. The second are minus the derivatives of A.

        Parameters
        ----------
        at : ndarray, shape (groups x size,)
            Parameters of all groups in a row.
        point : Point
            The criterion there.
        """
        s, d, size = self.structure, self.design, self.structure.size
        parts = self.split(at)
        firsts = [s.first(part) for part in parts]
        pulls = np.zeros((d.groups, size, d.p))
        local = np.zeros((d.groups, size, size))
        sandwiches = np.zeros((d.groups, size, d.p * d.p))
        for k, (stack, w) in enumerate(zip(d.stacks, point.weights, strict=True)):
            first = stack.derivatives(firsts[stack.group])
            count, rows, visits, _ = stack.x.shape
            u = (stack.y - stack.x @ point.b) @ w
            heart = u.transpose(0, 2, 1) @ u
            if self.reml:
                heart = heart + w @ point.spreads[k] @ w
            left = _times(first, w)
            right = _times(first, 2 * heart - stack.n[:, None, None] * w).transpose(0, 1, 3, 2)
            flat = (count, size, visits * visits)
            local[stack.group] += (left.reshape(flat) @ right.reshape(flat).transpose(0, 2, 1)).sum(axis=0)
            turned = u @ left.transpose(0, 2, 1, 3).reshape(count, visits, size * visits)
            turned = turned.reshape(count, rows, size, visits).transpose(2, 0, 1, 3).reshape(size, -1)
            pulls[stack.group] += turned @ stack.x.reshape(-1, d.p)
            inner = _times(left.transpose(0, 1, 3, 2), w).transpose(1, 0, 2, 3).reshape(size, -1)
            sandwiches[stack.group] += inner @ stack.both
        for g, part in enumerate(parts):
            local[g] += s.curvature(part, point.slope[g])
        out = np.zeros((d.groups, size, d.groups, size))
        for g in range(d.groups):
            out[g, :, g] = (local[g] + local[g].T) / 2
        total = out.reshape(at.size, at.size)
        pull, of_all = pulls.reshape(at.size, -1), sandwiches.reshape(at.size, d.p, d.p)
        total -= 2 * pull @ point.phi @ pull.T
        if self.reml:
            moved = np.matmul(point.phi, of_all)
            total -= moved.reshape(at.size, -1) @ moved.transpose(0, 2, 1).reshape(at.size, -1).T
        return total, of_all

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


def minimise(criterion: Criterion) -> tuple[np.ndarray, Point]:
    """Parameters at the minimum and the criterion there, by Newton steps with exact Hessian and backtracking.

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
            last = criterion.point(at + step)
            return (at, point) if last is None else (at + step, last)
        step *= min(1.0, LONGEST / float(np.linalg.norm(step)))
        moved = _backtrack(criterion, at, point, step, float(gradient @ step))
        if moved is None:
            if promise < 1e-6:  # rounding hides what is left
                _refuse_flat(criterion, at, values)
                return at, point
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
    matrices = criterion.matrices(at)
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
