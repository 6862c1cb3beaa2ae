"""Parameter vectors that agree with the data: draws from the posterior distribution of a fit, and its evidence.

Least squares gives one vector, and a profile gives an interval. Draws give vectors with their correlations, and
parameters that the data do not inform keep their whole prior. The sampler is sequential Monte Carlo [1]_: particles
pass from a wide normal distribution around the least-squares estimate to the posterior in steps of a temperature, each
as large as their weights allow, are resampled by weight and then moved. Most moves are Hamiltonian trajectories on a
polynomial through the points evaluated so far (`surrogate`), whose ends the model accepts or refuses: they forget where
they began at the cost of one evaluation. The others are differential evolution [2]_, which needs no tuning and jumps
between modes, and preconditioned Crank-Nicolson steps [3]_ in the normal distribution that the others have. The mean
weights of all steps give the evidence. All particles of a half are evaluated in one call of the model.

Coordinates are normal scores of the prior: a parameter without a prior is uniform between its bounds on the fitted
scale, so its score is standard normal, and no bound is met.

References
----------
.. [1] Del Moral P, Doucet A, Jasra A. J R Stat Soc B 2006;68:411-36. doi:10.1111/j.1467-9868.2006.00553.x
.. [2] ter Braak CJF. Stat Comput 2006;16:239-49. doi:10.1007/s11222-006-8769-1
.. [3] Cotter SL et al. Stat Sci 2013;28:424-46. doi:10.1214/13-STS421
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import log_ndtr, logsumexp, ndtr, ndtri

from ranklsim.pkpd.errors import BadInput
from ranklsim.pkpd.fitting.spec import PARTICLES, Fitted, bad_draws
from ranklsim.pkpd.fitting.surrogate import Surrogate
from ranklsim.pkpd.fitting.work import keep_arrays, kept_arrays

Array = NDArray[np.float64]

WIDER = 2.0  # variance of the first particles over that of Laplace's approximation
AROUND = 1.35  # and over that of earlier draws, around which they begin
KEEP = 0.5  # effective share of the particles after a step of temperature
LIKE = 0.6  # median correlation with the place after resampling below which a stage ends
FORGOT = 0.15  # largest correlation below which the last stage ends
MOST = 12  # moves of a stage; the last one has three times as many
POOL = 3  # first points over particles
TRAVEL = 0.8  # share of moves by trajectories on the polynomial
EVERY = 4  # moves after which the polynomial is fitted again
SEEN = 6000  # points from which it is fitted, at most: the latest
BEST = 0.9  # share of them that it is fitted to: those of the least objective
LEAST_SEEN = 4  # points for each parameter, at least
WELL = 0.8  # acceptance of trajectories that their stride is adapted to
DE = 0.3  # share of the other moves by differential evolution
JUMP = 0.1  # share of these that go the whole way between two particles, and so from mode to mode
WANTED = 0.3  # acceptance that the Crank-Nicolson step is adapted to
FAR = 2.0  # normal score at which an estimate on a bound is put
BATCH = 400  # vectors at once
ROUNDED = 1e-4  # share of the span within which a rounded draw may lie on a bound
ENOUGH = 100  # independent draws that particles must be worth
MIDDLE, CENTRING = 300, 2  # draws whose predictions the centre has the middle of, and steps towards it


@dataclass(frozen=True)
class Draws:
    """Particles at the end, of equal weight and in random order, on the fitted scale.

    Attributes
    ----------
    theta : ndarray, shape (n, parameters)
    objective : ndarray, shape (n,)
        At each.
    log_evidence : float
        Logarithm of the mean of exp(-objective / 2) over the normalised prior.
    effective : float
        Independent draws that they are worth: those that the last resampling left, and what moves made new.
    stages, moves : int
        Steps of temperature, and moves of every particle.
    acceptance : float
        Share of the moves of the last stage that were accepted.
    """

    theta: Array
    objective: Array
    log_evidence: float
    effective: float
    stages: int
    moves: int
    acceptance: float

    @property
    def least(self) -> float:
        """Least objective met."""
        return float(self.objective.min())

    def trouble(self) -> str:
        """Why the draws can't be trusted; empty if they can."""
        if self.effective >= ENOUGH:
            return ""
        return f"the draws are worth only {self.effective:.0f} independent ones: more particles are needed"

    def words(self) -> str:
        """A sentence about the method of the draws."""
        rise = self.objective - self.least
        return (
            f"{len(self.theta)} particles came to the posterior in {self.stages} steps of temperature and {self.moves} "
            f"moves each ({100 * self.acceptance:.0f}% of the last ones accepted). They are worth "
            f"{self.effective:.0f} independent draws and lie {rise.mean():.0f} (SD {rise.std():.0f}) above the least "
            f"objective, {self.least:.0f}. The logarithm of the evidence is {self.log_evidence:.1f}."
        )


@dataclass(frozen=True)
class Scores:
    """From normal scores of the prior to the fitted scale, and back.

    Attributes
    ----------
    low, high : ndarray, shape (d,)
        Bounds on the fitted scale.
    constant : float
        What the prior adds to the logarithm of the density.
    """

    low: Array
    high: Array
    constant: float

    @classmethod
    def of(cls, parameters: tuple[Fitted, ...]) -> Scores:
        """Those of the parameters of a fit."""
        low, high = (np.array([getattr(p, end) for p in parameters]) for end in ("low", "high"))
        constant = 0.0
        for p in parameters:
            if p.prior_sd is not None:  # its squares are part of the objective: the mean of exp(-square / 2) over all
                a, b = ((end - p.prior_mean) / p.prior_sd for end in (p.low, p.high))
                inside = log_ndtr(b) + np.log1p(-np.exp(log_ndtr(a) - log_ndtr(b)))
                constant -= inside + np.log(np.sqrt(2 * np.pi) * p.prior_sd / (p.high - p.low))
        return cls(low, high, float(constant))

    def theta(self, z: Array) -> Array:
        """Vectors on the fitted scale at scores `z`."""
        return np.asarray(self.low + (self.high - self.low) * ndtr(z), dtype=float)

    def scores(self, theta: Array) -> Array:
        """Scores of vectors on the fitted scale; those of a rounded draw on a bound are finite."""
        return ndtri(np.clip((theta - self.low) / (self.high - self.low), ROUNDED, 1 - ROUNDED))

    def slope(self, z: Array) -> Array:
        """Change of the fitted scale with each score, at scores `z`."""
        return np.asarray((self.high - self.low) * np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi), dtype=float)


def sample(
    residuals: Callable[[Array], Array],
    parameters: tuple[Fitted, ...],
    centre: Array,
    jacobian: Array,
    *,
    particles: int = PARTICLES,
    around: Array | None = None,
    seed: int = 1,
    kept: Path | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> Draws:
    """Draw from the posterior.

    Parameters
    ----------
    residuals : callable
        From vectors (n, parameters) on the fitted scale to their residuals (n, n_residuals), priors included, whose
        squares sum to the objective; NaN where there is no prediction.
    parameters : tuple of Fitted
        Bounds are walls: outside them the prior is zero.
    centre : ndarray, shape (parameters,)
        An estimate, such as that of least squares.
    jacobian : ndarray, shape (n_residuals, parameters)
        Of the residuals there.
    particles : int
    around : ndarray, shape (m, parameters), optional
        Earlier draws on the fitted scale, of a posterior that is much like this one. Particles begin around them, and
        not around the estimate: fewer steps of temperature lead from there to the same posterior.
    seed : int
        Same seed, same draws.
    kept : path, optional
        File in which the particles are kept after each move, and from which a second call goes on.
    progress : callable, optional
        Called with a sentence and the least objective of the particles.

    Returns
    -------
    Draws

    Raises
    ------
    BadInput
        If there are too few particles for the parameters, or too many for the memory.
    """
    if fault := bad_draws(len(parameters), particles):
        raise BadInput(f"posterior: {fault}")
    space, d = Scores.of(parameters), len(parameters)

    def evaluate(z: Array) -> Array:
        return np.concatenate([residuals(space.theta(z[i : i + BATCH])) for i in range(0, len(z), BATCH)])

    if around is not None:
        earlier = space.scores(around)
        first = _Normal(earlier.mean(axis=0), AROUND * np.cov(earlier.T))
    else:
        middle = np.clip(space.scores(centre), -FAR, FAR)
        slope = jacobian * space.slope(middle)
        first = _Normal(middle, np.asarray(WIDER * np.linalg.inv(slope.T @ slope + np.eye(d)), dtype=float))
    if kept and (old := kept_arrays(kept)):
        state = _State(**{name: value if value.ndim else value.item() for name, value in old.items()})
    else:
        z = first.draw(_random(seed, 0).standard_normal((POOL * particles, d)))
        found = evaluate(z)
        state = _State(z, _objective(found), z.copy(), *_usable(z, found))
    guide: Surrogate | None = None
    while True:
        # Weights of the next step: from `warmth` to where the particles are still worth the share KEEP.
        if state.moved == 0 and state.warmth < 1:
            rise = -0.5 * np.square(state.z).sum(axis=1) - 0.5 * d * np.log(2 * np.pi) - 0.5 * state.objective
            rise = rise - first.log_density(state.z)
            step = _step(rise, 1 - state.warmth)
            state.evidence += float(logsumexp(step * rise) - np.log(len(rise)))
            weight = np.exp(step * rise - logsumexp(step * rise))
            state.worth = 1 / float(np.square(weight).sum())
            place = (np.arange(particles) + _random(seed, 2 * state.moves + 1).uniform()) / particles
            chosen = np.minimum(np.searchsorted(np.cumsum(weight), place), len(weight) - 1)
            chosen = _random(seed, 2 * state.moves + 1).permutation(chosen)
            state.z, state.objective = state.z[chosen], state.objective[chosen]
            state.came, state.stages = state.z.copy(), state.stages + 1
            state.warmth = 1.0 if step == 1 - state.warmth else state.warmth + step
        last = state.warmth == 1
        if state.moved % EVERY == 0:
            state.fitted_to = len(state.seen)
        if guide is None or state.moved % EVERY == 0:
            seen = slice(max(0, state.fitted_to - SEEN), state.fitted_to)
            guide = _guide(state.seen[seen], state.gave[seen]) if state.fitted_to >= LEAST_SEEN * d else None
        accepted, size = _move(state, evaluate, first, guide, _random(seed, 2 * state.moves + 2))
        state.acceptance = accepted
        state.size = float(np.clip(state.size * np.exp(size), 0.05, 1.0))
        state.moves, state.moved = state.moves + 1, state.moved + 1
        alike = np.abs([np.corrcoef(a, b)[0, 1] for a, b in zip(state.z.T, state.came.T, strict=True)])
        settled = alike.max() < FORGOT if last else float(np.median(alike)) < LIKE
        if settled or state.moved >= (3 * MOST if last else MOST):
            state.moved, done = 0, last
        else:
            done = False
        if kept:
            keep_arrays(kept, **vars(state))
        if progress:
            progress(f"warmth {state.warmth:.3f}, move {state.moves}", float(state.objective.min()))
        if done:
            break
    new = float(alike.max()) ** 2
    effective = particles / (1 + new * (particles / state.worth - 1)) * (1 - new)
    return Draws(
        space.theta(state.z), state.objective, state.evidence + space.constant, effective, state.stages, state.moves,
        state.acceptance,
    )  # fmt: skip


@dataclass
class _State:
    """Particles in normal scores, and how far they are."""

    z: Array
    objective: Array
    came: Array  # where they were after the last resampling
    seen: Array  # points evaluated, the latest
    gave: Array  # their residuals
    warmth: float = 0.0
    evidence: float = 0.0
    worth: float = 0.0
    fitted_to: int = 0  # how many of them the polynomial was fitted to
    stride: float = 0.25  # of a trajectory
    size: float = 0.5  # of a Crank-Nicolson step: the share of the new in the variance
    acceptance: float = 0.0
    stages: int = 0
    moves: int = 0
    moved: int = 0  # in this stage


class _Normal:
    """A normal distribution of normal scores."""

    def __init__(self, mean: Array, covariance: Array) -> None:
        self.mean = mean
        self.root = np.linalg.cholesky(covariance)
        self.constant = -np.log(np.diag(self.root)).sum() - 0.5 * len(mean) * np.log(2 * np.pi)

    def draw(self, standard: Array) -> Array:
        return np.asarray(self.mean + standard @ self.root.T, dtype=float)

    def slope(self, z: Array) -> Array:
        """Gradient of `log_density`, shape (n, d)."""
        return np.asarray(-np.linalg.solve(self.root.T, np.linalg.solve(self.root, (z - self.mean).T)).T, dtype=float)

    def log_density(self, z: Array) -> Array:
        standard = np.linalg.solve(self.root, (z - self.mean).T)
        return np.asarray(self.constant - 0.5 * np.square(standard).sum(axis=0), dtype=float)


def _step(rise: Array, most: float) -> float:
    """The longest step of warmth up to `most` at which the weights are worth the share KEEP of the particles."""

    def worth(step: float) -> float:
        return float(np.exp(2 * logsumexp(step * rise) - logsumexp(2 * step * rise))) / len(rise)

    rise = rise[np.isfinite(rise)]  # those without a prediction are lost at any step

    if worth(most) >= KEEP:
        return most
    low, high = 0.0, most
    for _ in range(60):
        low, high = (half, high) if worth(half := (low + high) / 2) >= KEEP else (low, half)
    return low


def _objective(residual: Array) -> Array:
    together = np.square(residual).sum(axis=1)
    return np.where(np.isfinite(together), together, np.inf)


def _usable(z: Array, residual: Array) -> tuple[Array, Array]:
    """Points with all their residuals, and these."""
    whole = np.isfinite(residual).all(axis=1)
    return z[whole], residual[whole].astype(np.float32)


def _move(
    state: _State,
    evaluate: Callable[[Array], Array],
    first: _Normal,
    guide: Surrogate | None,
    rng: np.random.Generator,
) -> tuple[float, float]:
    """Move all particles once, each half by what the other half looks like; acceptance, and change of ln(size)."""
    n, d = state.z.shape
    order = rng.permutation(n)
    halves = order[: n // 2], order[n // 2 :]
    accepted = np.zeros(n, dtype=bool)
    kind = np.where(rng.uniform(size=n) > DE, "walk", "cross")
    if guide is not None:
        kind = np.where(rng.uniform(size=n) < TRAVEL, "travel", kind)
    looked: list[tuple[Array, Array]] = []
    for mine, others in (halves, halves[::-1]):
        z, there, how = state.z[mine], state.z[others], kind[mine]
        around = _Normal(there.mean(axis=0), np.cov(there.T) + 1e-9 * np.eye(d))
        stay = np.sqrt(1 - state.size)
        walked = around.mean + stay * (z - around.mean)
        walked = walked + np.sqrt(state.size) * (rng.standard_normal(z.shape) @ around.root.T)
        a, b = (there[rng.integers(len(there), size=len(mine))] for _ in range(2))
        gamma = np.where(rng.uniform(size=len(mine)) < JUMP, 1.0, 2.38 / np.sqrt(2 * d))[:, None]
        crossed = z + gamma * (a - b) + 1e-5 * rng.standard_normal(z.shape)
        new = np.where((how == "walk")[:, None], walked, crossed)
        # What a step is likelier than its reverse by, for other reasons than the density at its ends.
        pull = np.where(how == "walk", around.log_density(new) - around.log_density(z), 0.0)
        goes = how == "travel"
        if guide is not None and goes.any():
            new[goes], before, after, share = guide.travel(
                z[goes], _guided(guide, state.warmth, first), state.stride, rng
            )
            pull[goes] = after - before
            state.stride = float(np.clip(state.stride * np.exp(0.5 * (share - WELL)), 0.02, 0.5))
        found = evaluate(new)
        looked.append(_usable(new, found))
        objective = _objective(found)
        with np.errstate(invalid="ignore"):
            gain = _log_target(new, objective, state.warmth, first) - _log_target(
                z, state.objective[mine], state.warmth, first
            )
        taken = np.log(rng.uniform(size=len(mine))) < gain - pull
        accepted[mine] = taken
        state.z[mine[taken]], state.objective[mine[taken]] = new[taken], objective[taken]
    lost = max(0, len(state.seen) + sum(len(points) for points, _ in looked) - SEEN - (EVERY + 1) * n)
    state.seen = np.concatenate([state.seen, *(points for points, _ in looked)])[lost:]
    state.gave = np.concatenate([state.gave, *(gave for _, gave in looked)])[lost:]
    state.fitted_to = max(0, state.fitted_to - lost)
    share = float(accepted[kind == "walk"].mean()) if (kind == "walk").any() else WANTED
    return float(accepted.mean()), share - WANTED


def _guide(seen: Array, gave: Array) -> Surrogate:
    """Polynomial through the share BEST of the points, since what fits badly bends it where particles are."""
    objective = np.square(gave).sum(axis=1)
    near = objective <= np.quantile(objective, BEST)
    return Surrogate(seen[near], gave[near])


def _guided(guide: Surrogate, warmth: float, first: _Normal) -> Callable[[Array], tuple[Array, Array]]:
    """Logarithm of the density that the polynomial makes, and its gradient."""

    def log_target(z: Array) -> tuple[Array, Array]:
        objective, slope = guide.objective(z)
        density = _log_target(z, objective, warmth, first)
        return density, (1 - warmth) * first.slope(z) + warmth * (-z - 0.5 * slope)

    return log_target


def _log_target(z: Array, objective: Array, warmth: float, first: _Normal) -> Array:
    prior = -0.5 * np.square(z).sum(axis=1) - 0.5 * z.shape[1] * np.log(2 * np.pi)
    return np.asarray((1 - warmth) * first.log_density(z) + warmth * (prior - 0.5 * objective), dtype=float)


def _random(seed: int, number: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=[seed, number]))


def centre(
    theta: Array,
    parameters: tuple[Fitted, ...],
    residuals: Callable[[Array], Array],
    jacobian: Callable[[Array], Array],
) -> Array:
    """Centre of draws, in what they are and in what they predict.

    The mean of draws in normal scores of the prior predicts otherwise than the draws do in the middle, as the model is
    bent. Gauss-Newton steps move it towards the median of each residual over draws, as far as the distance from the
    mean (by the covariance of the draws) pays for it in units of the residuals' errors.

    Parameters
    ----------
    theta : ndarray, shape (n, parameters)
        Draws on the fitted scale; the first `MIDDLE` tell the medians.
    parameters : tuple of Fitted
    residuals : callable
        As of `sample`.
    jacobian : callable
        From a vector (parameters,) to the slopes of its residuals (n_residuals, parameters).

    Returns
    -------
    ndarray, shape (parameters,)
    """
    space = Scores.of(parameters)
    z = space.scores(theta)
    mean, tight = z.mean(axis=0), np.linalg.inv(np.cov(z.T) + 1e-6 * np.eye(z.shape[1]))
    found = residuals(theta[:MIDDLE])
    middle = np.median(found[np.isfinite(found).all(axis=1)], axis=0)
    here = mean
    for _ in range(CENTRING):
        at = space.theta(here)
        slope = jacobian(at) * space.slope(here)
        gap = slope.T @ (middle - residuals(at[None])[0]) - tight @ (here - mean)
        here = here + np.linalg.solve(slope.T @ slope + tight, gap)
    return space.theta(here)


def summarise(found: Draws, parameters: tuple[Fitted, ...], level: float = 0.95) -> pd.DataFrame:
    """Summary of the draws of each parameter.

    Parameters
    ----------
    found : Draws
    parameters : tuple of Fitted
    level : float
        Of the interval.

    Returns
    -------
    DataFrame, one row a parameter
        ``parameter, median, low, high`` (central interval of `level`) and ``narrowed`` (SD on the fitted scale over
        that of the prior between its bounds: 1 where the data are silent).
    """
    rows = []
    for i, p in enumerate(parameters):
        x = found.theta[:, i]
        low, median, high = (p.natural(float(q)) for q in np.quantile(x, [(1 - level) / 2, 0.5, (1 + level) / 2]))
        flat = (p.high - p.low) / np.sqrt(12)
        prior = flat if p.prior_sd is None else min(flat, p.prior_sd)
        rows.append({"parameter": p.name, "median": median, "low": low, "high": high, "narrowed": x.std() / prior})
    return pd.DataFrame(rows)
