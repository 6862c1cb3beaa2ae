"""MCP-Mod: is there a dose-response signal, which shape has it, and which dose has a target effect?

The means at the doses, with their covariance, come from any analysis (the generalised approach [2]_).

**MCP.** Each candidate shape f has the contrast c of the means that has the highest power if it is true,

    c proportional to S⁻¹ (f - 1 (1'S⁻¹f) / (1'S⁻¹1)),

and t = c'm / sqrt(c'Sc). All contrasts are tested at once against the joint distribution of the largest, a
multivariate t [1]_. With the contrasts as a_j'Z / u, where Z is standard normal in r dimensions and u² a chi-squared
over its degrees of freedom, Z is a length times a direction: given the direction, the largest is the root of an F
variable times max a_j'v. The probability is the mean of a closed form over directions: exact for r = 1, equally spaced
angles for r = 2, a Fibonacci lattice of the sphere for r = 3 (error below 1e-6), and 2¹⁵ points of a Sobol sequence
from r = 4 on (error about 1e-5 in the tail).

**Mod.** Shapes with a significant contrast are fitted by generalised least squares, their curved parameters within the
bounds that the R package DoseFinding proposes, and weighed by exp(-gAIC / 2) [2]_ [3]_. The target dose is the smallest
at which the weighted curve is the target effect above control; its interval is a percentile bootstrap from the normal
distribution of the means, models weighed anew in each draw.

References
----------
.. [1] Bretz F, Pinheiro JC, Branson M. Biometrics 2005;61:738-48. doi:10.1111/j.1541-0420.2005.00344.x
.. [2] Pinheiro J, Bornkamp B, Glimm E, Bretz F. Stat Med 2014;33:1646-61. doi:10.1002/sim.6052
.. [3] Schorning K, Bornkamp B, Bretz F, Dette H. Stat Med 2016;35:4021-40. doi:10.1002/sim.6991
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy
from scipy import special

from ranklsim.cohorts.statistics.roots import root
from ranklsim.cohorts.statistics.tails import normal_quantile, normal_tail
from ranklsim.pkpd.errors import BadInput

Curve = Callable[..., np.ndarray]
POINTS, MANY = 2**13, 2**15
"""Directions over which a probability is averaged: in up to three dimensions, and in more."""
DRAWS = 1000
"""Of the bootstrap of a target dose."""
BEYOND = 1.2
"""Dose, over the highest one, at which a beta shape is back at control (`scal` of DoseFinding)."""


def _beta(d: np.ndarray, top: float, delta1: np.ndarray, delta2: np.ndarray) -> np.ndarray:
    share = d / (BEYOND * top)
    largest = (delta1 + delta2) ** (delta1 + delta2) / (delta1**delta1 * delta2**delta2)
    return np.asarray(largest * share**delta1 * (1 - share) ** delta2)


@dataclass(frozen=True)
class Kind:
    """A family of shapes: the standardised curve, its curved parameters and their bounds.

    Attributes
    ----------
    curve : callable
        From doses, the highest dose and the parameters to the curve, but for its start and its size.
    parameters : tuple of str
        Names; those that are doses are in `doses`.
    bounds : tuple of (float, float)
        Of each parameter; of a dose, as shares of the highest one.
    doses : tuple of bool
    """

    curve: Curve
    parameters: tuple[str, ...] = ()
    bounds: tuple[tuple[float, float], ...] = ()
    doses: tuple[bool, ...] = ()


KINDS = {
    "linear": Kind(lambda d, top: d),
    "Emax": Kind(lambda d, top, ed50: d / (ed50 + d), ("ED50",), ((0.001, 1.5),), (True,)),
    "sigmoid Emax": Kind(
        lambda d, top, ed50, h: d**h / (ed50**h + d**h), ("ED50", "h"), ((0.001, 1.5), (0.5, 10.0)), (True, False)
    ),
    "exponential": Kind(lambda d, top, delta: np.expm1(d / delta), ("delta",), ((0.1, 2.0),), (True,)),
    "quadratic": Kind(lambda d, top, peak: d - d**2 / (2 * peak), ("peak",), ((0.0, np.inf),), (True,)),
    "logistic": Kind(
        lambda d, top, ed50, delta: special.expit((d - ed50) / delta), ("ED50", "delta"),
        ((0.001, 1.5), (0.01, 0.5)), (True, True),
    ),
    "beta": Kind(_beta, ("delta1", "delta2"), ((0.05, 4.0), (0.05, 4.0)), (False, False)),
}  # fmt: skip
"""Families of shapes; the quadratic one by the dose at which it turns."""


@dataclass(frozen=True)
class Shape:
    """A candidate: a family, and a guess of its curved parameters (doses in the unit of the doses)."""

    kind: str
    parameters: tuple[float, ...] = ()

    def at(self, doses: np.ndarray, top: float) -> np.ndarray:
        """The standardised curve at some doses, up to the highest, `top`."""
        return np.asarray(KINDS[self.kind].curve(np.asarray(doses, float), top, *self.parameters))

    def __str__(self) -> str:
        return " ".join([self.kind, *(f"{value:g}" for value in self.parameters)])


# -- MCP ---------------------------------------------------------------------------------------------------------------


def contrasts(shapes: Sequence[Shape], doses: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """The best contrast of each shape, of length 1; shape (shapes, doses).

    Parameters
    ----------
    shapes : sequence of Shape
    doses : ndarray, shape (k,)
    covariance : ndarray, shape (k, k)
        Of the means at the doses.
    """
    weight = np.linalg.inv(covariance)
    out = []
    for shape in shapes:
        f = shape.at(doses, float(doses.max()))
        c = weight @ (f - (weight @ f).sum() / weight.sum())
        out.append(c / np.linalg.norm(c))
    return np.array(out)


class Largest:
    """The distribution of the largest of several t statistics with a joint error.

    Parameters
    ----------
    correlation : ndarray, shape (m, m)
    df : float
        Infinite for the normal distribution.
    """

    def __init__(self, correlation: np.ndarray, df: float) -> None:
        values, vectors = np.linalg.eigh(correlation)
        kept = values > 1e-10 * values.max()
        loads = vectors[:, kept] * np.sqrt(values[kept])
        self.rank, self.df = int(kept.sum()), df
        self.reach = np.sort((directions(self.rank) @ loads.T).max(axis=1))

    def below(self, t: float) -> float:
        """Probability that all statistics are at most `t`.

        Parameters
        ----------
        t : float
        """
        with np.errstate(divide="ignore"):
            ratio = (t / self.reach) ** 2
        inner = self._length(ratio)
        if t >= 0:
            return float(np.where(self.reach > 0, inner, 1.0).mean())
        return float(np.where(self.reach < 0, 1.0 - inner, 0.0).mean())

    def _length(self, square: np.ndarray) -> np.ndarray:
        """Distribution of the squared length of Z over u²."""
        if np.isinf(self.df):
            return np.asarray(special.gammainc(self.rank / 2, square / 2))
        return np.asarray(special.fdtr(self.rank, self.df, square / self.rank))

    def critical(self, alpha: float) -> float:
        """Value that the largest exceeds with probability `alpha`.

        Parameters
        ----------
        alpha : float
            One-sided.
        """
        return root(lambda t: self.below(t) - (1 - alpha), -50.0, 1e3, 1e-9)


def directions(rank: int) -> np.ndarray:
    """Points spread evenly over the sphere in `rank` dimensions.

    Parameters
    ----------
    rank : int
    """
    if rank == 1:
        return np.array([[1.0], [-1.0]])
    if rank == 2:
        angle = np.linspace(0, 2 * np.pi, POINTS, endpoint=False)
        return np.column_stack([np.cos(angle), np.sin(angle)])
    if rank == 3:
        place = np.arange(POINTS) + 0.5
        height, turn = 1 - 2 * place / POINTS, np.pi * (1 + np.sqrt(5)) * place
        round_ = np.sqrt(1 - height**2)
        return np.column_stack([round_ * np.cos(turn), round_ * np.sin(turn), height])
    if rank not in _SPHERES:
        uniform = scipy.stats.qmc.Sobol(rank, scramble=True, rng=np.random.default_rng(rank)).random(MANY // 2)
        z = normal_quantile(uniform)
        half = z / np.linalg.norm(z, axis=1, keepdims=True)
        _SPHERES[rank] = np.concatenate([half, -half])
    return _SPHERES[rank]


_SPHERES: dict[int, np.ndarray] = {}


@dataclass(frozen=True)
class ContrastTest:
    """The contrast test of an effect at the highest dose: signed z of a limit, as `claims.Effect` wants it.

    Attributes
    ----------
    sizes, errors : ndarray, shape (m,)
        Effect at the highest dose under each shape, and its standard error.
    largest : Largest
    """

    sizes: np.ndarray
    errors: np.ndarray
    largest: Largest

    def __call__(self, limit: float) -> float:
        t = (self.sizes - limit) / self.errors
        above, below = (float(normal_quantile(self.largest.below(float(side.max())))) for side in (t, -t))
        return max(above, 0.0) if above >= below else -max(below, 0.0)

    @cached_property
    def best(self) -> int:
        """The shape with the largest contrast, on either side."""
        return int(np.abs(self.sizes / self.errors).argmax())

    def interval(self, level: float) -> tuple[float, float]:
        """Effects under the best shape that are not rejected, all shapes being tested at once.

        Parameters
        ----------
        level : float
        """
        half = self.largest.critical((1 - level) / 2) * self.errors[self.best]
        return float(self.sizes[self.best] - half), float(self.sizes[self.best] + half)


@dataclass(frozen=True)
class Signal:
    """The contrast tests of all shapes.

    Attributes
    ----------
    shapes : tuple of Shape
    contrasts, correlation : ndarray, shapes (m, k) and (m, m)
    t, p : ndarray, shape (m,)
        Statistics in the direction asked, and their adjusted one-sided p.
    critical : float
        For a two-sided level of 5 %, half of it in the direction asked.
    test : ContrastTest
    """

    shapes: tuple[Shape, ...]
    contrasts: np.ndarray
    correlation: np.ndarray
    t: np.ndarray
    p: np.ndarray
    critical: float
    test: ContrastTest


def signal(
    shapes: Sequence[Shape],
    doses: np.ndarray,
    means: np.ndarray,
    covariance: np.ndarray,
    df: float = np.inf,
    *,
    increasing: bool = True,
    alpha: float = 0.025,
) -> Signal:
    """Multiple contrast test of a dose response.

    Parameters
    ----------
    shapes : sequence of Shape
    doses, means : ndarray, shape (k,)
        The lowest dose is control.
    covariance : ndarray, shape (k, k)
    df : float
        Of the covariance's scale.
    increasing : bool
        Whether a benefit is an increase of the mean.
    alpha : float
        One-sided.
    """
    c = contrasts(shapes, doses, covariance)
    variance = np.einsum("mk,kl,ml->m", c, covariance, c)
    correlation = c @ covariance @ c.T / np.sqrt(np.outer(variance, variance))
    largest = Largest(correlation, df)
    side = 1.0 if increasing else -1.0
    t = side * (c @ means) / np.sqrt(variance)
    # A contrast of a shape estimates its size: the effect at the highest dose if the shape is true.
    ends = np.array([shape.at(np.array([doses.min(), doses.max()]), float(doses.max())) for shape in shapes])
    size = (ends[:, 1] - ends[:, 0]) / np.array([c[m] @ s.at(doses, float(doses.max())) for m, s in enumerate(shapes)])
    test = ContrastTest(size * (c @ means), np.abs(size) * np.sqrt(variance), largest)
    p = np.array([1 - largest.below(float(value)) for value in t])
    return Signal(tuple(shapes), c, correlation, t, p, largest.critical(alpha), test)


# -- Mod ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Model:
    """A fitted family.

    Attributes
    ----------
    kind : str
    start, size : float
        The curve is start + size * (standardised curve); of "quadratic", `size` and `bend` are its two slopes.
    parameters : tuple of float
        Curved ones.
    misfit, gaic : float
        Weighted sum of squares, and with 2 for each parameter.
    """

    kind: str
    start: float
    size: float
    parameters: tuple[float, ...]
    misfit: float
    gaic: float
    top: float

    def above(self, doses: np.ndarray) -> np.ndarray:
        """The curve less its value at dose 0.

        Parameters
        ----------
        doses : ndarray
        """
        both = np.concatenate([[0.0], np.atleast_1d(np.asarray(doses, float))])
        if self.kind == "quadratic":
            curve = both + self.parameters[0] * both**2
        else:
            curve = np.asarray(KINDS[self.kind].curve(both, self.top, *self.parameters))
        return np.asarray(self.size * (curve[1:] - curve[0]))

    def target(self, effect: float) -> float:
        """The smallest dose with an effect, up to the highest; infinite if there is none.

        Parameters
        ----------
        effect : float
            Signed.
        """
        return first_exactly(self.above, self.top, effect)


def first_exactly(above: Callable[[np.ndarray], np.ndarray], top: float, effect: float) -> float:
    """Where a curve first reaches an effect, up to the highest dose; infinite if it does not.

    Parameters
    ----------
    above : callable
        From doses to the effect above dose 0.
    top, effect : float
    """
    doses = np.linspace(0.0, top, 2001)
    near = first_dose(doses, above(doses), effect)
    if not 0 < near < np.inf:
        return near
    k = int(np.searchsorted(doses, near, side="left"))

    def short(d: float) -> float:
        return float(above(np.array([d]))[0]) - effect

    return root(short, doses[max(k - 1, 0)], doses[k], 2e-12)


def first_dose(doses: np.ndarray, above: np.ndarray, effect: float) -> float:
    """Where a curve first reaches an effect, linear between its points; infinite if it does not.

    Parameters
    ----------
    doses, above : ndarray, shape (n,)
    effect : float
        Signed.
    """
    side = np.sign(effect)
    reached = np.flatnonzero(side * above >= abs(effect))
    if not reached.size:
        return float("inf")
    k = int(reached[0])
    if k == 0:
        return float(doses[0])
    share = (effect - above[k - 1]) / (above[k] - above[k - 1])
    return float(doses[k - 1] + share * (doses[k] - doses[k - 1]))


def _basis(kind: str, doses: np.ndarray, top: float, theta: np.ndarray) -> np.ndarray:
    """Columns of the linear part, shape (g, k, 2 or 3), for many values of the curved parameters (g, q)."""
    ones = np.ones((len(theta), doses.size))
    if kind == "quadratic":
        return np.stack([ones, ones * doses, ones * doses**2], axis=-1)
    curve = KINDS[kind].curve(doses[None, :], top, *(theta[:, [j]] for j in range(theta.shape[1])))
    return np.stack([ones, np.broadcast_to(curve, ones.shape)], axis=-1)


def _grid(kind: str, top: float) -> np.ndarray:
    """Values of the curved parameters that are looked at, shape (g, q)."""
    family = KINDS[kind]
    if kind == "quadratic" or not family.parameters:
        return np.zeros((1, 0))
    count = 120 if len(family.parameters) == 1 else 25
    axes = [
        np.geomspace(low * (top if dose else 1.0), high * (top if dose else 1.0), count)
        for (low, high), dose in zip(family.bounds, family.doses, strict=True)
    ]
    return np.stack([axis.reshape(-1) for axis in np.meshgrid(*axes, indexing="ij")], axis=-1)


def _left(basis: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Of each basis the matrix Q with misfit m'Qm, shape (g, k, k)."""
    turned = weight @ basis
    inner = np.linalg.pinv(np.swapaxes(basis, 1, 2) @ turned)
    return np.asarray(weight - turned @ inner @ np.swapaxes(turned, 1, 2))


def fit(kind: str, doses: np.ndarray, means: np.ndarray, covariance: np.ndarray) -> Model:
    """A family fitted to the means by generalised least squares.

    Parameters
    ----------
    kind : str
        A key of `KINDS`.
    doses, means : ndarray, shape (k,)
    covariance : ndarray, shape (k, k)
    """
    top, weight, family = float(doses.max()), np.linalg.inv(covariance), KINDS[kind]
    grid = _grid(kind, top)
    left = _left(_basis(kind, doses, top, grid), weight)
    at = grid[int(np.einsum("k,gkl,l->g", means, left, means).argmin())]

    def misfit(logarithm: np.ndarray) -> float:
        own = _left(_basis(kind, doses, top, np.exp(logarithm)[None]), weight)[0]
        return float(means @ own @ means)

    if at.size:
        ends = [
            tuple(np.log(np.array(end) * (top if dose else 1.0)))
            for end, dose in zip(family.bounds, family.doses, strict=True)
        ]
        options = {"xatol": 1e-9, "fatol": 1e-12, "maxiter": 4000}
        found = scipy.optimize.minimize(misfit, np.log(at), method="Nelder-Mead", bounds=ends, options=options)
        at = np.exp(found.x)
    basis = _basis(kind, doses, top, at[None])[0]
    b = np.linalg.lstsq(np.linalg.cholesky(weight).T @ basis, np.linalg.cholesky(weight).T @ means)[0]
    residual = means - basis @ b
    value = float(residual @ weight @ residual)
    curved = (float(b[2] / b[1]),) if kind == "quadratic" else tuple(float(x) for x in at)
    count = basis.shape[1] + at.size
    return Model(kind, float(b[0]), float(b[1]), curved, value, value + 2 * count, top)


def weights_of(gaic: np.ndarray) -> np.ndarray:
    """Weights of models by their criterion, over the last axis.

    Parameters
    ----------
    gaic : ndarray, shape (..., models)
    """
    each = np.exp(-(gaic - gaic.min(axis=-1, keepdims=True)) / 2)
    return np.asarray(each / each.sum(axis=-1, keepdims=True))


@dataclass(frozen=True)
class Target:
    """A target dose: the estimate from the weighted curve, with its interval; infinite where no dose has the effect."""

    effect: float
    dose: float
    low: float
    high: float


def target_dose(
    models: Sequence[Model],
    doses: np.ndarray,
    means: np.ndarray,
    covariance: np.ndarray,
    effect: float,
    *,
    seed: int,
    level: float = 0.95,
) -> Target:
    """The smallest dose whose weighted effect above control is a target.

    Parameters
    ----------
    models : sequence of Model
    doses, means, covariance
        As in `fit`.
    effect : float
        Signed.
    seed : int
    level : float
    """
    fine, mixed = _bootstrapped(models, doses, means, covariance, seed)
    found = np.array([first_dose(fine, each, effect) for each in mixed])
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2], method="inverted_cdf")
    top = float(doses.max())
    return Target(effect, first_exactly(lambda at: averaged(models, at), top, effect), float(low), float(high))


def averaged(models: Sequence[Model], at: np.ndarray) -> np.ndarray:
    """The weighted effect above control at some doses.

    Parameters
    ----------
    models : sequence of Model
    at : ndarray
    """
    share = weights_of(np.array([model.gaic for model in models]))
    return np.asarray(sum(w * model.above(at) for w, model in zip(share, models, strict=True)))


def course(
    models: Sequence[Model],
    doses: np.ndarray,
    means: np.ndarray,
    covariance: np.ndarray,
    *,
    seed: int,
    level: float = 0.95,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The weighted effect above control from dose 0 to the highest, with its pointwise bootstrap interval.

    Parameters
    ----------
    models, doses, means, covariance, seed, level
        As for `target_dose`.

    Returns
    -------
    ndarray, four of shape (n,)
        Doses, effect, low, high.
    """
    fine, mixed = _bootstrapped(models, doses, means, covariance, seed)
    low, high = np.quantile(mixed, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return fine, averaged(models, fine), low, high


def _bootstrapped(
    models: Sequence[Model], doses: np.ndarray, means: np.ndarray, covariance: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Doses, and the weighted effect at them in each draw of the means, models weighed anew."""
    top, weight = float(doses.max()), np.linalg.inv(covariance)
    fine = np.linspace(0.0, top, 401)
    drawn = np.random.default_rng(seed).multivariate_normal(means, covariance, DRAWS, method="cholesky")
    curves, criteria = [], []
    for model in models:
        grid = _grid(model.kind, top)
        basis = _basis(model.kind, doses, top, grid)
        misfit = np.einsum("bk,gkl,bl->bg", drawn, _left(basis, weight), drawn, optimize=True)
        best = misfit.argmin(axis=1)
        criteria.append(misfit.min(axis=1) + 2 * (basis.shape[2] + grid.shape[1]))
        inner = np.linalg.pinv(np.swapaxes(basis, 1, 2) @ weight @ basis) @ np.swapaxes(basis, 1, 2) @ weight
        b = np.einsum("bpk,bk->bp", inner[best], drawn)
        wide = _basis(model.kind, fine, top, grid)
        steps = (wide - wide[:, :1])[..., 1:]
        curves.append(np.einsum("bfp,bp->bf", steps[best], b[:, 1:]))
    shares = weights_of(np.stack(criteria, axis=-1))
    return fine, np.einsum("mbf,bm->bf", np.array(curves), shares)


def chosen(found: Signal, doses: np.ndarray, means: np.ndarray, covariance: np.ndarray) -> list[Model]:
    """Models of the families that have a significant contrast, in the order of the shapes; none without a signal.

    Parameters
    ----------
    found : Signal
    doses, means, covariance
        As in `fit`.
    """
    kinds = [shape.kind for shape, t in zip(found.shapes, found.t, strict=True) if t >= found.critical]
    return [fit(kind, doses, means, covariance) for kind in dict.fromkeys(kinds)]


def read(text: str, parse: Callable[[str], float | None]) -> Shape | str:
    """A shape from words such as ``"sigmoid Emax 60 mg 3"``; a sentence on what is wrong where it is none.

    Parameters
    ----------
    text : str
    parse : callable
        From a dose with its unit to a number; None where it is none.
    """
    kind = next((name for name in sorted(KINDS, key=len, reverse=True) if f"{text} ".startswith(f"{name} ")), None)
    if kind is None:
        return f"'{text}' is no shape; give one of {', '.join(EXAMPLES.values())}"
    family, words = KINDS[kind], text.removeprefix(kind).split()
    values: list[float] = []
    for dose in family.doses:
        own, words = (words[:2], words[2:]) if dose else (words[:1], words[1:])
        try:
            value = parse(" ".join(own)) if dose else float("".join(own))
        except (ValueError, BadInput):
            value = None
        if value is None or not 0 < value < np.inf:
            return f"'{text}' is not complete; write it as in {EXAMPLES[kind]}"
        values.append(value)
    return Shape(kind, tuple(values)) if not words else f"'{text}' has too much; write it as in {EXAMPLES[kind]}"


EXAMPLES: Mapping[str, str] = {
    "linear": '"linear"', "Emax": '"Emax 20 mg"', "sigmoid Emax": '"sigmoid Emax 60 mg 3"',
    "exponential": '"exponential 100 mg"', "quadratic": '"quadratic 120 mg"', "logistic": '"logistic 60 mg 15 mg"',
    "beta": '"beta 0.5 1.5"',
}  # fmt: skip
"""How each family is written: its curved parameters in the order of `Kind.parameters`."""

__all__ = [
    "EXAMPLES", "KINDS", "Largest", "Model", "Shape", "Signal", "Target", "averaged", "chosen", "contrasts", "course",
    "fit", "normal_tail", "read", "signal", "target_dose", "weights_of",
]  # fmt: skip
