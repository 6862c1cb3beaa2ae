"""Parameter vectors that agree with the data: draws from the posterior distribution of a fit.

Least squares gives one vector, and a profile gives an interval. Draws give vectors with their correlations, and
parameters that the data do not inform keep their whole prior. The sampler is the affine-invariant ensemble of emcee
[1]_ with moves of differential evolution [2]_ [3]_, which need no tuning and follow narrow, oblique valleys. Walkers
start wide. Assumed parameters start anywhere between their bounds. The others start where randomised maximum likelihood
[4]_ puts them, given the assumed ones: each figure is moved by a draw of its error, and Gauss-Newton steps follow. For
a linear model, these starts are draws from the posterior. All walkers of a half are evaluated in one call of the model.

References
----------
.. [1] Foreman-Mackey D et al. Publ Astron Soc Pac 2013;125:306-12. doi:10.1086/670067
.. [2] ter Braak CJF. Stat Comput 2006;16:239-49. doi:10.1007/s11222-006-8769-1
.. [3] ter Braak CJF, Vrugt JA. Stat Comput 2008;18:435-46. doi:10.1007/s11222-008-9104-9
.. [4] Bardsley JM et al. SIAM J Sci Comput 2014;36:A1895-910. doi:10.1137/140964023
.. [5] Tierney L, Kadane JB. J Am Stat Assoc 1986;81:82-6. doi:10.1080/01621459.1986.10478240
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ranklsim.pkpd.errors import BadInput
from ranklsim.pkpd.fitting.descent import descend
from ranklsim.pkpd.fitting.spec import Fitted, bad_draws
from ranklsim.pkpd.fitting.work import keep_arrays, kept_arrays

Array = NDArray[np.float64]

PORTION = 25  # steps between two states of the walk that are kept
RELAX = 10  # Gauss-Newton steps at most
SETTLED = 0.1  # fall of the objective below which they end
BATCH = 400  # vectors at once
MIXED = 1.1  # R-hat from which walkers are said to disagree
ENOUGH = 100  # independent candidates that importance resampling must be worth
TRUSTED = 50  # a chain this many autocorrelation times long is long enough (emcee's advice)


@dataclass(frozen=True)
class Walk:
    """Chains of the walkers, on the fitted scale.

    Attributes
    ----------
    chain : ndarray, shape (steps, walkers, parameters)
        After the burn-in.
    log_posterior : ndarray, shape (steps, walkers)
        Up to a constant: minus half the objective.
    acceptance : float
        Share of moves accepted.
    """

    chain: Array
    log_posterior: Array
    acceptance: float

    @property
    def autocorrelation(self) -> Array:
        """Steps until a walker has forgotten where it was, for each parameter (integrated autocorrelation time)."""
        from emcee.autocorr import integrated_time

        return np.asarray(integrated_time(self.chain, quiet=True, tol=TRUSTED), dtype=float)

    @property
    def r_hat(self) -> Array:
        """Split R-hat of Gelman and Rubin for each parameter: 1 where both halves of all walkers agree."""
        half = len(self.chain) // 2
        parts = np.concatenate([self.chain[:half], self.chain[half : 2 * half]], axis=1)
        within, between = parts.var(axis=0, ddof=1).mean(axis=0), parts.mean(axis=0).var(axis=0, ddof=1)
        with np.errstate(divide="ignore", invalid="ignore"):  # chains that never moved agree on nothing: infinity
            ratio = np.where(within > 0, between / within, np.inf)
        return np.asarray(np.sqrt((half - 1) / half + ratio), dtype=float)

    @property
    def effective(self) -> Array:
        """Independent draws that the chain is worth, for each parameter."""
        steps, walkers, _ = self.chain.shape
        return steps * walkers / self.autocorrelation

    @property
    def flat(self) -> Array:
        """All draws, shape (n, parameters)."""
        return self.chain.reshape(-1, self.chain.shape[-1])

    @property
    def least(self) -> float:
        """Least objective met."""
        return -2 * float(self.log_posterior.max())

    def columns(self) -> dict[str, Array]:
        """Additional columns of the table of parameters: `R_hat`, `effective`."""
        return {"R_hat": self.r_hat, "effective": self.effective}

    def trouble(self, names: list[str]) -> str:
        """Why the draws can't be trusted; empty if they can.

        Parameters
        ----------
        names : list of str
            Of the parameters.
        """
        worst = int(self.r_hat.argmax())
        if self.r_hat[worst] < MIXED:
            return ""
        return f"walkers disagree, R-hat of {names[worst]} is {self.r_hat[worst]:.2f}: more steps are needed"

    def words(self) -> str:
        """A sentence about the method of the draws."""
        steps, walkers, _ = self.chain.shape
        slowest = float(self.autocorrelation.max())
        return (
            f"{walkers} walkers took {steps} steps after the burn-in, {100 * self.acceptance:.0f}% of moves were "
            f"accepted; a walker forgets where it was within {slowest:.0f} steps, so the draws are worth at least "
            f"{steps * walkers / slowest:.0f} independent ones."
        )

    def draws(self, n: int) -> tuple[Array, Array]:
        """Vectors spread evenly over steps and walkers, shape (n, parameters), and their log posterior (n,).

        Parameters
        ----------
        n : int

        Raises
        ------
        ValueError
            If the chain holds fewer.
        """
        steps, walkers, d = self.chain.shape
        if n > steps * walkers:
            raise ValueError(f"{n} draws asked of a chain of {steps * walkers}.")
        flat = np.linspace(0, steps * walkers - 1, n).round().astype(int)
        # Walkers run fastest: an even stride that shares a factor with their number would only ever see some of them.
        step, walker = flat // walkers, (flat + np.arange(n)) % walkers
        return self.chain[step, walker].reshape(n, d), self.log_posterior[step, walker]


def sample(
    residuals: Callable[[Array], Array],
    parameters: tuple[Fitted, ...],
    centre: Array,
    jacobian: Array,
    *,
    anywhere: NDArray[np.bool_] | None = None,
    walkers: int | None = None,
    steps: int = 1000,
    burn: int = 300,
    thin: int = 1,
    seed: int = 1,
    kept: Path | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> Walk:
    """Walk through the posterior.

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
    anywhere : ndarray of bool, shape (parameters,), optional
        Which parameters start anywhere between their bounds; none by default.
    walkers : int, optional
        Even, more than twice the parameters; three times their number by default.
    steps, burn, thin : int
        Steps kept count from `burn` on, every `thin`-th.
    seed : int
        Same seed, same walk.
    kept : path, optional
        File in which the walk is kept as it goes, and from which a second call goes on.
    progress : callable, optional
        Called with a sentence and the least objective of the walkers.

    Returns
    -------
    Walk

    Raises
    ------
    BadInput
        If there are too few walkers, or no step is left after the burn-in.
    """
    import emcee

    d = len(parameters)
    if faults := bad_draws("emcee", d, {"walkers": walkers or 0, "steps": steps, "burn": burn, "thin": thin}):
        raise BadInput(*(f"emcee: {sentence}" for sentence in faults.values()))
    walkers = walkers or 2 * (3 * d // 2 + 1)
    low, high = (np.array([getattr(p, end) for p in parameters]) for end in ("low", "high"))

    def walled(theta: Array) -> Array:
        inside = ((theta >= low) & (theta <= high)).all(axis=1)
        found = np.full(len(theta), -np.inf)
        if inside.any():
            objective = np.square(residuals(theta[inside])).sum(axis=1)
            found[inside] = np.where(np.isfinite(objective), -0.5 * objective, -np.inf)
        return found

    moves = [(emcee.moves.DEMove(), 0.7), (emcee.moves.DEMove(gamma0=1.0), 0.1), (emcee.moves.DESnookerMove(), 0.2)]
    sampler = emcee.EnsembleSampler(walkers, d, walled, moves=moves, vectorize=True)
    chain, logs, accepted = np.empty((0, walkers, d)), np.empty((0, walkers)), 0.0
    if kept and (old := kept_arrays(kept)):
        chain, logs, accepted = old["chain"], old["logs"], float(old["accepted"])
        sampler.random_state = _random_state(old)
        state: Any = emcee.State(chain[-1], log_prob=logs[-1], random_state=sampler.random_state)
    else:
        generator = np.random.Generator(np.random.Philox(key=[seed, 0]))
        held = np.zeros(d, dtype=bool) if anywhere is None else anywhere
        theta = np.tile(centre, (walkers, 1))
        theta[:, held] = generator.uniform(low[held], high[held], (walkers, int(held.sum())))
        noise = generator.standard_normal((walkers, len(jacobian)))
        state = _relaxed(residuals, theta, jacobian, ~held, low, high, noise)[0]
        sampler.random_state = np.random.RandomState(seed).get_state()
    while len(chain) < steps:
        portion = min(PORTION, steps - len(chain))
        state = sampler.run_mcmc(state, portion, skip_initial_state_check=True)
        chain = np.concatenate([chain, sampler.get_chain()])
        logs = np.concatenate([logs, sampler.get_log_prob()])
        accepted += float(sampler.acceptance_fraction.sum()) * portion
        sampler.reset()
        if kept:
            _keep(kept, chain, logs, accepted, sampler.random_state)
        if progress:
            progress(f"step {len(chain)} of {steps}", -2 * float(logs.max()))
    return Walk(chain[burn::thin], logs[burn::thin], accepted / (steps * walkers))


def _relaxed(
    residuals: Callable[[Array], Array],
    theta: Array,
    jacobian: Array,
    free: NDArray[np.bool_],
    low: Array,
    high: Array,
    noise: Array | float,
) -> tuple[Array, Array, Array]:
    """Least squares of several vectors at once over the `free` parameters, figures moved by `noise`.

    `theta` (n, parameters) is where they start, `jacobian` that of the centre.

    Returns
    -------
    theta, objective (n,), information
        Information: log determinant of the free parameters' Fisher information there, bounds as a wide normal prior.
    """
    flat = ((high - low) / np.sqrt(12))[free]
    scale = np.sqrt(np.diag(np.linalg.inv(jacobian[:, free].T @ jacobian[:, free] + np.diag(flat**-2))))
    noise = np.broadcast_to(noise, (len(theta), len(jacobian)))
    theta, current, slopes = descend(
        lambda vectors, which: residuals(vectors) - noise[which],
        theta,
        jacobian[:, free] * scale,
        free,
        low,
        high,
        scale,
        steps=RELAX,
        enough=SETTLED,
        damping=0.3,
        firmer=0.1,
    )
    information = [np.linalg.slogdet(j.T @ j + np.diag((scale / flat) ** 2))[1] for j in slopes]
    return theta, np.einsum("ij,ij->i", current, current), np.array(information)


@dataclass(frozen=True)
class Weighed:
    """Draws by importance resampling, on the fitted scale.

    Attributes
    ----------
    theta : ndarray, shape (n, parameters)
        Of equal weight, in random order.
    objective : ndarray, shape (n,)
        At each.
    misfit : ndarray, shape (candidates,)
        Least objective at each candidate's assumed values.
    effective : float
        Independent candidates that the resampled ones are worth (Kish).
    """

    theta: Array
    objective: Array
    misfit: Array
    effective: float

    @property
    def flat(self) -> Array:
        """All draws, shape (n, parameters)."""
        return self.theta

    @property
    def least(self) -> float:
        """Least objective met."""
        return float(self.misfit.min())

    def columns(self) -> dict[str, Array]:
        """Nothing is said parameter by parameter."""
        return {}

    def trouble(self, names: list[str]) -> str:
        """Why the draws can't be trusted; empty if they can.

        Parameters
        ----------
        names : list of str
            Of the parameters.
        """
        if self.effective >= ENOUGH:
            return ""
        return f"the candidates are worth only {self.effective:.0f} independent ones: more are needed"

    def words(self) -> str:
        """A sentence about the method of the draws."""
        low, middle, high = np.percentile(self.misfit, [5, 50, 95])
        rise = self.objective - self.least
        return (
            f"{len(self.misfit)} candidates held what is assumed anywhere within its range; the best fit of the rest "
            f"had an objective of {low:.0f}, {middle:.0f} and {high:.0f} (5th, 50th, 95th percentile; least "
            f"{self.least:.0f}). Weighed by their likelihood they are worth {self.effective:.0f} independent ones. The "
            f"{len(self.theta)} draws lie {rise.mean():.0f} (SD {rise.std():.0f}) above the least."
        )

    def draws(self, n: int) -> tuple[Array, Array]:
        """The first vectors, shape (n, parameters), and their log posterior (n,).

        Parameters
        ----------
        n : int
        """
        if n > len(self.theta):
            raise ValueError(f"{n} draws asked of {len(self.theta)}.")
        return self.theta[:n], -0.5 * self.objective[:n]


def importance(
    residuals: Callable[[Array], Array],
    parameters: tuple[Fitted, ...],
    centre: Array,
    jacobian: Array,
    anywhere: NDArray[np.bool_],
    *,
    candidates: int = 20000,
    keep: int = 1000,
    seed: int = 1,
    kept: Path | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> Weighed:
    """Draws from the posterior where some parameters are assumed and the others follow nearly linearly.

    Candidates hold the assumed parameters anywhere between their bounds. Each weighs by its marginal likelihood: that
    of the best fit of the others, times the volume that they have around it (Laplace's approximation [5]_). Candidates
    are resampled by weight, and for each the others are drawn by randomised maximum likelihood [4]_.

    Parameters
    ----------
    residuals, parameters, centre, jacobian, anywhere, seed, kept, progress
        As of `sample`.
    candidates, keep : int
        How many are weighed, and how many draws are wanted.

    Returns
    -------
    Weighed
    """
    low, high = (np.array([getattr(p, end) for p in parameters]) for end in ("low", "high"))
    generator = np.random.Generator(np.random.Philox(key=[seed, 1]))
    held = generator.uniform(low[anywhere], high[anywhere], (candidates, int(anywhere.sum())))
    noise = generator.standard_normal((keep, len(jacobian)))
    lots = generator.uniform(size=keep)
    theta, misfit, information = np.empty((0, len(centre))), np.empty(0), np.empty(0)
    if kept and (old := kept_arrays(kept)):
        theta, misfit, information = old["theta"], old["misfit"], old["information"]
    for first in range(len(misfit), candidates, BATCH):
        some = np.tile(centre, (min(BATCH, candidates - first), 1))
        some[:, anywhere] = held[first : first + BATCH]
        best, least, volume = _relaxed(residuals, some, jacobian, ~anywhere, low, high, 0.0)
        theta, misfit = np.concatenate([theta, best]), np.concatenate([misfit, least])
        information = np.concatenate([information, volume])
        if kept:
            keep_arrays(kept, theta=theta, misfit=misfit, information=information)
        if progress:
            progress(f"candidate {len(misfit)} of {candidates}", float(misfit.min()))
    weight = np.exp(-0.5 * (misfit + information) - np.max(-0.5 * (misfit + information)))
    chosen = np.searchsorted(np.cumsum(weight) / weight.sum(), lots)
    drawn = np.empty((keep, len(centre)))
    for first in range(0, keep, BATCH):
        rows = slice(first, first + BATCH)
        drawn[rows] = _relaxed(residuals, theta[chosen[rows]], jacobian, ~anywhere, low, high, noise[rows])[0]
    objective = np.square(residuals(drawn)).sum(axis=1)
    return Weighed(drawn, objective, misfit, float(weight.sum() ** 2 / np.square(weight).sum()))


def _keep(path: Path, chain: Array, logs: Array, accepted: float, state: Any) -> None:
    name, keys, place, gauss, cached = state
    keep_arrays(
        path, chain=chain, logs=logs, accepted=accepted, name=name, keys=keys, place=place, gauss=gauss, cached=cached
    )


def _random_state(old: Any) -> Any:
    return str(old["name"]), old["keys"], int(old["place"]), int(old["gauss"]), float(old["cached"])


def summarise(found: Walk | Weighed, parameters: tuple[Fitted, ...], level: float = 0.95) -> pd.DataFrame:
    """Summary of the draws of each parameter.

    Parameters
    ----------
    found : Walk or Weighed
    parameters : tuple of Fitted
    level : float
        Of the interval.

    Returns
    -------
    DataFrame, one row a parameter
        ``parameter, median, low, high`` (central interval of `level`), ``narrowed`` (SD on the fitted scale over that
        of the prior between its bounds: 1 where the data are silent), and what `columns` adds.
    """
    rows = []
    more = found.columns()
    for i, p in enumerate(parameters):
        x = found.flat[:, i]
        low, median, high = (p.natural(float(q)) for q in np.quantile(x, [(1 - level) / 2, 0.5, (1 + level) / 2]))
        flat = (p.high - p.low) / np.sqrt(12)
        prior = flat if p.prior_sd is None else min(flat, p.prior_sd)
        row = {"parameter": p.name, "median": median, "low": low, "high": high, "narrowed": float(x.std() / prior)}
        rows.append(row | {name: float(values[i]) for name, values in more.items()})
    return pd.DataFrame(rows)
