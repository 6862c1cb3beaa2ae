"""Parameter vectors that agree with the data: draws from the posterior of a fit.

Where least squares gives one vector and a profile an interval, this gives vectors, correlations included, and lets
parameters that leave no trace in the data keep the whole of their prior. The sampler is emcee's affine-invariant
ensemble [1]_ with moves of differential evolution [2]_ [3]_, which need no tuning and follow narrow, slanted valleys.
Walkers start wide: what is assumed and not fitted anywhere between its bounds, the rest where randomised maximum
likelihood [4]_ puts it for that (each figure moved by a draw of its error, then Gauss-Newton steps), which is the
posterior itself where the model is linear. All walkers of a half go through one call of the model.

References
----------
.. [1] Foreman-Mackey D et al. Publ Astron Soc Pac 2013;125:306-12. doi:10.1086/670067
.. [2] ter Braak CJF. Stat Comput 2006;16:239-49. doi:10.1007/s11222-006-8769-1
.. [3] ter Braak CJF, Vrugt JA. Stat Comput 2008;18:435-46. doi:10.1007/s11222-008-9104-9
.. [4] Bardsley JM et al. SIAM J Sci Comput 2014;36:A1895-910. doi:10.1137/140964023
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ranklsim.pkpd.errors import BadInput
from ranklsim.pkpd.fitspec import Fitted

Array = NDArray[np.float64]

PORTION = 25  # steps between two states of the walk that are kept
RELAX = 15  # Gauss-Newton steps of the start
TRUSTED = 50  # a chain this many autocorrelation times long is long enough (emcee's advice)


@dataclass(frozen=True)
class Walk:
    """What the walkers did, on the fitted scale.

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
        return np.asarray(np.sqrt((half - 1) / half + between / within), dtype=float)

    @property
    def effective(self) -> Array:
        """Independent draws that the chain is worth, for each parameter."""
        steps, walkers, _ = self.chain.shape
        return steps * walkers / self.autocorrelation

    def draws(self, n: int) -> tuple[Array, Array]:
        """`n` vectors spread evenly over steps and walkers, shape (n, parameters), and their log posterior (n,).

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
    walkers = walkers or 2 * (3 * d // 2 + 1)
    if walkers < 2 * d or walkers % 2:
        raise BadInput(f"emcee: {walkers} walkers for {d} parameters; give an even number, {2 * d} or more.")
    if burn >= steps:
        raise BadInput(f"emcee: burn is {burn} of {steps} steps, which leaves nothing; give fewer.")
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
    if kept and kept.is_file():
        with np.load(kept, allow_pickle=False) as old:
            chain, logs, accepted = old["chain"], old["logs"], float(old["accepted"])
            sampler.random_state = _random_state(old)
        state: Any = emcee.State(chain[-1], log_prob=logs[-1], random_state=sampler.random_state)
    else:
        generator = np.random.Generator(np.random.Philox(key=[seed, 0]))
        state = _spread(residuals, centre, jacobian, anywhere, low, high, generator, walkers)
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


def _spread(
    residuals: Callable[[Array], Array],
    centre: Array,
    jacobian: Array,
    anywhere: NDArray[np.bool_] | None,
    low: Array,
    high: Array,
    generator: np.random.Generator,
    walkers: int,
) -> Array:
    """Where walkers start: some parameters anywhere, the others relaxed to figures that are moved."""
    flat = (high - low) / np.sqrt(12)
    sd = np.sqrt(np.diag(np.linalg.inv(jacobian.T @ jacobian + np.diag(flat**-2))))
    held = np.zeros(len(centre), dtype=bool) if anywhere is None else anywhere
    free = ~held
    theta = np.tile(centre, (walkers, 1))
    theta[:, held] = generator.uniform(low[held], high[held], (walkers, held.sum()))
    if not free.any():
        return theta
    noise = generator.standard_normal((walkers, len(jacobian)))
    scale = sd[free]
    slope = np.tile(jacobian[:, free] * scale, (walkers, 1, 1))
    current = residuals(theta) - noise
    damping = np.full(walkers, 1.0)
    for _ in range(RELAX):
        step = np.zeros_like(theta)
        for k in range(walkers):
            square = slope[k].T @ slope[k]
            downhill = slope[k].T @ np.nan_to_num(current[k])
            step[k, free] = -np.linalg.solve(square + damping[k] * np.eye(len(square)), downhill) * scale
        trial = np.clip(theta + step, low, high)
        new = residuals(trial) - noise
        for k in range(walkers):
            moved = (trial[k] - theta[k])[free] / scale
            better = np.square(new[k]).sum() < np.square(current[k]).sum() or not np.isfinite(current[k]).all()
            if np.isfinite(new[k]).all() and np.isfinite(current[k]).all() and moved @ moved > 0:  # Broyden's update
                slope[k] += np.outer(new[k] - current[k] - slope[k] @ moved, moved) / (moved @ moved)
            if better and np.isfinite(new[k]).all():
                theta[k], current[k], damping[k] = trial[k], new[k], 0.2 * damping[k]
            else:
                damping[k] = max(4 * damping[k], 0.1)
    return theta


def _keep(path: Path, chain: Array, logs: Array, accepted: float, state: Any) -> None:
    temporary = path.with_name(f".{path.name}.tmp.npz")
    name, keys, place, gauss, cached = state
    np.savez(
        temporary, chain=chain, logs=logs, accepted=accepted, name=name, keys=keys, place=place, gauss=gauss,
        cached=cached,
    )  # fmt: skip
    os.replace(temporary, path)


def _random_state(old: Any) -> Any:
    return str(old["name"]), old["keys"], int(old["place"]), int(old["gauss"]), float(old["cached"])


def summarise(walk: Walk, parameters: tuple[Fitted, ...], level: float = 0.95) -> pd.DataFrame:
    """What the walk says of each parameter, and how far to trust it.

    Returns
    -------
    DataFrame, one row a parameter
        ``parameter, median, low, high`` (central interval of `level`), ``narrowed`` (SD on the
        fitted scale over that of the prior between its bounds: 1 where the data are silent), ``R_hat``, ``effective``
        (independent draws).
    """
    rows = []
    r_hat, effective = walk.r_hat, walk.effective
    for i, p in enumerate(parameters):
        x = walk.chain[:, :, i].ravel()
        low, median, high = (p.natural(float(q)) for q in np.quantile(x, [(1 - level) / 2, 0.5, (1 + level) / 2]))
        flat = (p.high - p.low) / np.sqrt(12)
        prior = flat if p.prior_sd is None else min(flat, p.prior_sd)
        rows.append(
            {
                "parameter": p.name,
                "median": median,
                "low": low,
                "high": high,
                "narrowed": float(x.std() / prior),
                "R_hat": float(r_hat[i]),
                "effective": float(effective[i]),
            }
        )
    return pd.DataFrame(rows)
