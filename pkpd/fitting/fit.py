"""Fit parameters to evidence with lmfit, and report what the data identify.

A specification (`load_spec`) names parameters, bounds, priors, figures and method. Residuals are whitened by the
covariance of the evidence (`evidence.errors.cov`), so points of one curve do not count as independent, or, if the
specification says ``studies``, by one in which the figures of a study have effects in common (`evidence.studies`). They
are stacked over the scenarios (such as each mechanism of the rebound alone) that one set of values must serve. Every
start is written when it ends, and so are the profiles, so an interrupted fit can resume.

Confidence intervals come from the profile likelihood [1]_. A parameter is fixed at values around its estimate, and the
others are estimated again by damped Gauss-Newton steps whose Jacobian is maintained by Broyden's update. A parameter
that the data cannot identify has a profile that stays below its threshold up to a bound, and a small eigenvalue of the
Fisher information.

References
----------
.. [1] Raue A et al. Bioinformatics 2009;25:1923-9. doi:10.1093/bioinformatics/btp358
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

import lmfit
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import log_ndtr
from scipy.stats import chi2

from ranklsim.pkpd.errors import BadInput, RunFailed, counted
from ranklsim.pkpd.evidence.errors import RHO, cov
from ranklsim.pkpd.evidence.predictions import Predictor, predict
from ranklsim.pkpd.evidence.records import Evidence, load_evidence
from ranklsim.pkpd.evidence.studies import study_cov
from ranklsim.pkpd.fitting import work
from ranklsim.pkpd.fitting.descent import FAR, descend
from ranklsim.pkpd.fitting.posterior import Draws, sample
from ranklsim.pkpd.fitting.sizes import misfits, sizes
from ranklsim.pkpd.fitting.spec import SAMPLER, Fitted, Spec, transformed
from ranklsim.pkpd.parameters import ParameterTable, load_parameters
from ranklsim.pkpd.reading import first_faults, read_content, read_csv

Array = NDArray[np.float64]

RTOL = 1e-7  # of what differences are taken of
DIFFERENCE = 1e-2  # step of finite differences, in steps that matter (`Fitted.scale`)
ROUGH = 1e-3  # relative fall of the objective at which the search ends that only centres a posterior
WALK_RTOL = 1e-5  # of draws, which take no differences
FOLLOW_STEPS, ENOUGH = 12, 0.02  # of a profile: steps at most; fall of the objective below which they end
OFFSET = 10.0  # see `_one_start`
ON_BOUND = 1e-3  # share of the span between bounds within which an estimate is called on the bound
FLAT = 0.05  # eigenvalue of the Fisher information of scaled parameters below which a direction is called unidentified


@dataclass
class Problem:
    """A fit made ready to be evaluated: from a vector on the fitted scale to residuals.

    Parameters
    ----------
    spec : Spec
    table : ParameterTable
        Values of everything that is not fitted.
    evidence : Evidence
        Already cut down to the rows that the fit uses.

    Attributes
    ----------
    covariance : ndarray, shape (n_observations, n_observations)
        Of the figures around what is predicted of them.
    """

    spec: Spec
    table: ParameterTable
    evidence: Evidence
    evaluations: int = 0
    covariance: Array = field(init=False, repr=False)
    _whiten: Array = field(init=False, repr=False)
    _predictor: Predictor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._predictor = Predictor(self.evidence, self.table, rtol=RTOL)
        self.covariance = (
            study_cov(self._predictor, self.table) if self.spec.studies else cov(self.evidence.observations, RHO)
        )
        self._whiten = np.linalg.inv(np.linalg.cholesky(self.covariance))
        seen = self.evidence.observations
        self.observed = seen["value"].to_numpy(float) - seen["offset"].to_numpy(float)
        self._below = np.flatnonzero(seen["below"].to_numpy(bool))
        self._sd = np.sqrt(np.diag(self.covariance))

    @cached_property
    def earlier(self) -> Array | None:
        """Earlier draws around which those of a posterior begin (`earlier_draws`)."""
        return earlier_draws(self.spec)

    @property
    def names(self) -> list[str]:
        """Fitted parameters, in the order of the vector."""
        return [p.name for p in self.spec.parameters]

    @property
    def _by_molecule(self) -> bool:
        """Whether the share of sRANKL is drawn as a potency and a gradient of molecules."""
        return "rho" in self.names

    def natural(self, theta: Array) -> dict[str, float]:
        """Values in the parameters' own units.

        Parameters
        ----------
        theta : ndarray, shape (n_parameters,)
            On the fitted scale.
        """
        return {p.name: p.natural(float(x)) for p, x in zip(self.spec.parameters, theta, strict=True)}

    def predict(self, theta: Array, fixed: dict[str, float] | None = None) -> Array:
        """Every figure of the typical patient of its arm, shape (n_observations,).

        Parameters
        ----------
        theta : ndarray, shape (n_parameters,)
        fixed : dict, optional
            Values of a scenario.
        """
        self.evaluations += 1
        values = self.spec.fixed | self.natural(theta) | (fixed or {})
        return self._predictor(self.table.overlaid(values))

    def residuals(self, theta: Array) -> Array:
        """Whitened misfit of each figure under each scenario, then each prior; their squares sum to the objective.

        Parameters
        ----------
        theta : ndarray, shape (n_parameters,)

        Raises
        ------
        RunFailed
            If a figure can't be predicted at `theta`.
        """
        parts = []
        for scenario in self.spec.scenarios:
            misfit = self.misfit(self.predict(theta, scenario.fixed))
            if not np.isfinite(misfit).all():
                row = self.evidence.observations.iloc[int(np.flatnonzero(~np.isfinite(misfit))[0])]
                raise RunFailed(
                    f"observations.csv:{row['line']}: {row['endpoint']} of {row['site_or_marker']} has no value in the "
                    f"simulated course at {_shown(self.natural(theta))}; narrow the bounds, or leave the row out."
                )
            parts.append(np.sqrt(scenario.weight) * (self._whiten @ misfit))
        here = pd.DataFrame([self.natural(theta)])
        for scenario in self.spec.scenarios if self.spec.mice else ():
            table = self.table.overlaid(self.spec.fixed | scenario.fixed)
            parts.append(np.sqrt(scenario.weight) * misfits(here, table, self._predictor.rtol)[0])
            if not np.isfinite(parts[-1]).all():
                raise RunFailed(f"a mouse cannot be simulated at {_shown(self.natural(theta))}; narrow the bounds.")
        if self._by_molecule and (fault := self.table.implausible(here, molecules=True)[0]):
            raise RunFailed(f"{fault}, at {_shown(self.natural(theta))}")
        priors = [
            (x - p.prior_mean) / p.prior_sd
            for p, x in zip(self.spec.parameters, theta, strict=True)
            if p.prior_sd is not None
        ]
        return np.concatenate([*parts, np.array(priors, dtype=float)])

    def misfit(self, predicted: Array) -> Array:
        """Predicted less observed.

        Parameters
        ----------
        predicted : ndarray, shape (..., n_observations)
            Of typical patients.

        Returns
        -------
        ndarray, shape (..., n_observations)

        Notes
        -----
        A figure below a limit of quantitation counts by the probability that it is (method M3 of Beal 2001,
        doi:10.1023/A:1012299115260): the square of its misfit over SD is -2 ln of that probability.
        """
        misfit = predicted - self.observed
        if self._below.size:
            sd = self._sd[self._below]
            misfit[..., self._below] = sd * np.sqrt(-2.0 * log_ndtr(-misfit[..., self._below] / sd))
        return misfit

    def try_residuals(self, theta: Array) -> Array:
        """As `residuals`; all NaN if the vector cannot be simulated, or a figure has no value there.

        Parameters
        ----------
        theta : ndarray, shape (n_parameters,)
        """
        try:
            return self.residuals(theta)
        except RunFailed:
            priors = sum(p.prior_sd is not None for p in self.spec.parameters)
            figures = len(self.observed) + (2 * len(sizes()) if self.spec.mice else 0)
            return np.full(figures * len(self.spec.scenarios) + priors, np.nan)

    def residuals_of(self, thetas: Array, workers: int = 1, rtol: float = WALK_RTOL) -> Array:
        """`residuals` of several vectors at once; NaN where a figure has no prediction, or the vector is implausible.

        Parameters
        ----------
        thetas : ndarray, shape (n, n_parameters)
        workers : int
            Threads; the result does not depend on it.
        rtol : float
            As of `simulate`.

        Returns
        -------
        ndarray, shape (n, n_residuals)
        """
        spec = self.spec
        vectors = pd.DataFrame([self.natural(theta) for theta in thetas])
        parts, mice = [], []
        for scenario in spec.scenarios:
            table = self.table.overlaid(spec.fixed | scenario.fixed)
            misfit = np.full((len(vectors), len(self.observed)), np.nan)
            in_mice = np.full((len(vectors), 2 * len(sizes()) if spec.mice else 0), np.nan)
            possible = table.implausible(vectors, molecules=self._by_molecule) == ""
            if possible.any():
                found = self._predictor.of_vectors(vectors[possible], table, rtol=rtol, workers=workers)
                misfit[possible] = self.misfit(found)
                if spec.mice:
                    in_mice[possible] = misfits(vectors[possible], table, rtol)
            parts.append(np.sqrt(scenario.weight) * (misfit @ self._whiten.T))
            mice.append(np.sqrt(scenario.weight) * in_mice)
        priors = [
            (thetas[:, i] - p.prior_mean) / p.prior_sd for i, p in enumerate(spec.parameters) if p.prior_sd is not None
        ]
        self.evaluations += len(thetas) * len(spec.scenarios)
        return np.column_stack([*parts, *mice, *priors])

    def compared(self, theta: Array) -> pd.DataFrame:
        """Each figure beside its prediction under the first scenario.

        Parameters
        ----------
        theta : ndarray, shape (n_parameters,)

        Returns
        -------
        DataFrame
            As from `predictions.predict`, with ``weighted``, error over `sd`.
        """
        values = self.spec.fixed | self.natural(theta) | self.spec.scenarios[0].fixed
        frame = predict(self.evidence, self.table.overlaid(values), rtol=1e-7)
        return frame.assign(weighted=frame["error"] / frame["sd"])

    def jacobian(self, theta: Array) -> Array:
        """Central differences of `residuals`, shape (n_residuals, n_parameters).

        Parameters
        ----------
        theta : ndarray, shape (n_parameters,)
        """
        parameters = self.spec.parameters
        step = DIFFERENCE * np.diag([p.scale for p in parameters])
        low, high = (np.array([getattr(p, end) for p in parameters]) for end in ("low", "high"))
        up, down = np.minimum(theta + step, high), np.maximum(theta - step, low)
        above, below, here = np.split(
            self.residuals_of(np.concatenate([up, down, theta[None]]), rtol=RTOL), [len(up), 2 * len(up)]
        )
        # One side only, where there is but one.
        lost_above, lost_below = (~np.isfinite(side).all(axis=1) for side in (above, below))
        above[lost_above], up[lost_above] = here, theta
        below[lost_below], down[lost_below] = here, theta
        if (lost_above & lost_below).any() or not np.isfinite(here).all():
            i = int(np.argmax(lost_above & lost_below))
            raise RunFailed(
                f"{self.spec.path}: {parameters[i].name} cannot be simulated on either side of "
                f"{parameters[i].natural(theta[i]):g}; narrow its bounds, or fix it."
            )
        return np.asarray(((above - below) / np.diag(up - down)[:, None]).T, dtype=float)


def make_problem(spec: Spec, parameters: ParameterTable | None = None) -> Problem:
    """A fit of typical values, ready to be evaluated.

    Parameters
    ----------
    spec : Spec
    parameters : ParameterTable, optional
        Values of everything that is not fitted; the shipped ones by default.

    Raises
    ------
    BadInput
        As from `chosen_evidence`.
    """
    return Problem(spec, parameters or load_parameters(), chosen_evidence(spec))


def chosen_evidence(
    spec: Spec, usable: Callable[[Evidence], pd.Series] | None = None, *, what: str = "row"
) -> Evidence:
    """Read the evidence that a spec names and choose its rows.

    Parameters
    ----------
    spec : Spec
    usable : callable, optional
        From evidence to a mask of the rows that the fit can use; all by default.
    what : str
        What a message calls a row.

    Raises
    ------
    BadInput
        If the evidence is at fault, no row is left, or there are more parameters than rows.
    """
    evidence = load_evidence(spec.evidence)
    keep = spec.chosen(evidence.observations)
    chosen = evidence.subset(keep if usable is None else keep & usable(evidence))
    if len(chosen.observations) == 0:
        raise BadInput(f"{spec.path}: no {what} of the evidence is left after `include` and `exclude`; widen them.")
    if len(chosen.observations) < len(spec.parameters):
        raise BadInput(
            f"{spec.path}: {len(spec.parameters)} parameters are more than the {len(chosen.observations)} {what}s "
            "they are fitted to; fit fewer, or include more rows."
        )
    return chosen


@dataclass
class Fit:
    """A finished fit.

    Attributes
    ----------
    problem : Problem
    theta : ndarray
        Estimate on the fitted scale.
    objective : float
        Sum of squared residuals there, priors included.
    converged : bool
        Whether the method ended by its own tolerance.
    message : str
        What the method said.
    starts : DataFrame
        One row a start: objective, converged, evaluations and the estimate.
    jacobian : ndarray
        Of the residuals at the estimate.
    posterior : Draws or None
        Draws, where the method is posterior.
    """

    problem: Problem
    theta: Array
    objective: float
    converged: bool
    message: str
    starts: pd.DataFrame
    jacobian: Array
    posterior: Draws | None = None

    @property
    def information(self) -> Array:
        """Fisher information (Gauss-Newton) on the fitted scale, priors included."""
        return self.jacobian.T @ self.jacobian

    @property
    def covariance(self) -> Array:
        """Inverse of `information`; a direction that the data leave free has as much variance as numbers can tell."""
        values, vectors = np.linalg.eigh(self.information)
        least = max(float(values[-1]) * np.finfo(float).eps, np.finfo(float).tiny)
        return np.asarray((vectors / np.maximum(values, least)) @ vectors.T, dtype=float)

    @property
    def correlation(self) -> pd.DataFrame:
        """Correlation of the estimates."""
        sd = np.sqrt(np.diag(self.covariance))
        names = self.problem.names
        return pd.DataFrame(self.covariance / np.outer(sd, sd), index=names, columns=names)

    def draws(self, n: int) -> pd.DataFrame:
        """Parameter vectors of the posterior in natural units, with fixed values and ``objective``.

        Parameters
        ----------
        n : int
            At most as many as were drawn.
        """
        assert self.posterior is not None
        vectors = pd.DataFrame([self.problem.natural(row) for row in self.posterior.theta[:n]])
        return vectors.assign(**self.problem.spec.fixed, objective=self.posterior.objective[:n])

    def on_bound(self) -> list[str]:
        """Parameters whose estimate stands on one of its bounds."""
        return [
            p.name
            for p, x in zip(self.problem.spec.parameters, self.theta, strict=True)
            if min(x - p.low, p.high - x) < ON_BOUND * (p.high - p.low)
        ]

    def eigenvalues(self) -> pd.DataFrame:
        """Eigenvalues of the data's Fisher information, each parameter scaled by half its span, and what each moves.

        Columns ``eigenvalue`` (ascending; below `FLAT` the data say next to nothing about that direction) and
        ``direction`` (the parameters with most weight in it).
        """
        spec = self.problem.spec
        rows = len(self.problem.observed) * len(spec.scenarios)
        scale = np.array([0.5 * (p.high - p.low) for p in spec.parameters])
        data = self.jacobian[:rows] * scale
        values, vectors = np.linalg.eigh(data.T @ data)
        directions = []
        for vector in vectors.T:
            most = np.argsort(-np.abs(vector))[:3]
            directions.append(", ".join(f"{vector[i]:+.2f} {self.problem.names[i]}" for i in most))
        return pd.DataFrame({"eigenvalue": values, "direction": directions})


def fit(
    spec: Spec,
    *,
    parameters: ParameterTable | None = None,
    problem: Problem | None = None,
    folder: Path | None = None,
    workers: int = 1,
    progress: Callable[[str, float], None] | None = None,
) -> Fit:
    """Run the fit that `spec` describes.

    Parameters
    ----------
    spec : Spec
    parameters : ParameterTable, optional
        Values of everything that is not fitted; the shipped ones by default.
    problem : Problem, optional
        The fit made ready, in place of `parameters`; from `make_problem` by default.
    folder : Path, optional
        Where finished starts, and the particles of a posterior, are kept, so that a second call goes on after the last
        one.
    workers : int
        Threads of draws; the result does not depend on it.
    progress : callable, optional
        Called with a sentence and the objective so far.

    Returns
    -------
    Fit
        The best start. `Fit.converged` says whether it converged; it is not raised, since a caller may want to see it.
        Draws begin around the estimate of least squares, or around earlier draws (`Spec.around`).

    Raises
    ------
    BadInput
        From `make_problem` and `earlier_draws`.
    """
    problem = problem or make_problem(spec, parameters)
    earlier = problem.earlier
    rows = []
    for number, theta in enumerate(_starting_points(spec)):
        kept = folder / f"start-{number:03d}.json" if folder else None
        row = work.kept(kept) if kept else None
        if row is None:
            row = _one_start(problem, theta, number, progress)
            if kept and np.isfinite(row["objective"]):
                work.keep(kept, row)
        rows.append(row)
    starts = pd.DataFrame(rows)
    if not np.isfinite(starts["objective"]).any():
        raise RunFailed(f"{spec.path}: no start could be evaluated; {starts['message'].iloc[0]}")
    best = starts.loc[starts["objective"].idxmin()]
    theta = np.array([best[f"theta_{name}"] for name in problem.names])
    found = Fit(
        problem,
        theta,
        float(best["objective"]),
        bool(best["converged"]),
        str(best["message"]),
        starts,
        problem.jacobian(theta),
    )
    if spec.method == SAMPLER:
        options: Any = spec.options
        found.posterior = sample(
            lambda thetas: problem.residuals_of(thetas, workers),
            spec.parameters,
            theta,
            found.jacobian,
            around=earlier,
            seed=spec.seed,
            kept=folder / "draws.npz" if folder else None,
            progress=progress,
            **options,
        )
    return found


def earlier_draws(spec: Spec) -> Array | None:
    """Earlier draws (`Spec.around`) on the fitted scale, shape (n, parameters); None if the specification has none.

    Parameters
    ----------
    spec : Spec

    Raises
    ------
    BadInput
        If the file can't be read, lacks a parameter or is too short, or a draw lies beyond the bounds of the fit.
    """
    if spec.around is None:
        return None
    name, least = str(spec.around), 2 * len(spec.parameters)
    sheet = read_csv(name, read_content(spec.around), [p.name for p in spec.parameters])
    faults, draws = list(sheet.faults), []
    for row in sheet.rows():
        values = [row.number(p.name, needed=True) for p in spec.parameters]
        for p, value in zip(spec.parameters, values, strict=True):
            if value < p.within[0] or value > p.within[1]:
                row.fault(p.name, f"{value:g} is beyond the bounds of the fit, {p.within[0]:g} to {p.within[1]:g}.")
        faults += row.faults
        if not row.faults:
            draws.append([transformed(x, p.transform) for x, p in zip(values, spec.parameters, strict=True)])
    if faults:
        raise BadInput(*first_faults(name, faults))
    if len(draws) < least:
        raise BadInput(
            f"{name}: {counted(len(draws), 'draw')} of {counted(len(spec.parameters), 'parameter')}; give at least "
            f"{least}."
        )
    theta = np.array(draws)
    spread = np.ptp(theta, axis=0)
    if alike := [p.name for p, size in zip(spec.parameters, spread, strict=True) if size == 0]:
        why = f"{', '.join(alike)} never differs"
    elif np.linalg.matrix_rank((theta - theta.mean(axis=0)) / spread) < len(spread):
        why = "some parameters follow from the others"
    else:
        return theta
    raise BadInput(f"{name}: in these draws {why}; give draws in which every parameter varies by itself.")


def _starting_points(spec: Spec) -> Iterator[Array]:
    """The spec's own start, then `starts` - 1 points drawn uniformly over the middle 80 % of the bounds."""
    low, high = (np.array([getattr(p, end) for p in spec.parameters]) for end in ("low", "high"))
    yield np.array([p.start for p in spec.parameters])
    for number in range(1, spec.starts):
        rng = np.random.Generator(np.random.Philox(key=[spec.seed, number]))
        yield low + (high - low) * rng.uniform(0.1, 0.9, len(low))


def _one_start(
    problem: Problem, theta: Array, number: int, progress: Callable[[str, float], None] | None
) -> dict[str, Any]:
    spec = problem.spec
    options: dict[str, Any] = {"ftol": ROUGH} if spec.method == SAMPLER else dict(spec.options)
    method = "least_squares" if spec.method == SAMPLER else spec.method
    # lmfit sees every parameter as OFFSET plus steps that matter, so that relative differences suit all of them alike.
    scale, middle = np.array([p.scale for p in spec.parameters]), np.array([p.start for p in spec.parameters])
    parameters = lmfit.Parameters()
    low, high = (np.array([getattr(p, end) for p in spec.parameters]) for end in ("low", "high"))
    for i, (p, x) in enumerate(zip(spec.parameters, theta, strict=True)):
        seen = [OFFSET + (value - middle[i]) / scale[i] for value in (x, p.low, p.high)]
        parameters.add(f"p{i}", value=float(seen[0]), min=float(seen[1]), max=float(seen[2]))

    def fitted(values: lmfit.Parameters) -> Array:
        seen = np.array([values[f"p{i}"].value for i in range(len(middle))])
        return np.clip(middle + (seen - OFFSET) * scale, low, high)

    best, end = np.inf, theta
    count = lost = 0
    shape: tuple[int, ...] = ()

    def residual(values: lmfit.Parameters) -> Array:
        nonlocal best, end, count, lost, shape
        here = fitted(values)
        count += 1
        try:
            found = problem.residuals(here)
        except RunFailed:
            if not shape:
                raise
            lost += 1
            return np.full(shape, FAR)  # a wall: the search goes round what cannot be simulated
        shape = found.shape
        if (objective := float(found @ found)) < best:
            best, end = objective, here
            if progress:
                progress(f"start {number + 1} of {spec.starts}, evaluation {count}", best)
        return found

    if method == "least_squares":  # all differences in one call of the model
        options["jac"] = lambda values: problem.jacobian(fitted(values)) * scale
    if method == "differential_evolution":
        options.setdefault("seed", spec.seed + number)
    try:
        result = lmfit.Minimizer(residual, parameters).minimize(method=method, **options)
    except (RunFailed, ArithmeticError, TypeError, ValueError) as fault:  # LinAlgError is a ValueError
        # The best that was found is not lost with the search; it does not count as converged.
        converged, message = False, " ".join(str(fault).split())
    else:
        last = fitted(result.params)
        if not np.array_equal(last, end):
            found = problem.try_residuals(last)
            if np.isfinite(found).all():
                end, best = last, float(found @ found)
        converged = bool(getattr(result, "success", True)) and not getattr(result, "aborted", False)
        message = str(getattr(result, "message", ""))
    if lost:
        message = f"{message.rstrip('.')}; {lost} of {counted(count, 'vector')} could not be simulated"
    return {
        "start": number,
        "objective": best,
        "converged": converged,
        "message": message,
        "evaluations": count,
    } | {f"theta_{name}": float(x) for name, x in zip(problem.names, end, strict=True)}


def profile(
    found: Fit,
    *,
    level: float = 0.95,
    points: int = 6,
    folder: Path | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> pd.DataFrame:
    """Profile likelihood of every fitted parameter.

    Parameters
    ----------
    found : Fit
    level : float
        Of the confidence interval.
    points : int
        Values to each side of the estimate, out to where a parabola would pass twice the threshold.
    folder, progress
        As of `fit`.

    Returns
    -------
    DataFrame
        One row a value held: ``parameter``, ``theta``, ``value`` (natural), ``rise`` (objective above its least).

    Notes
    -----
    All parameters and both sides move outwards together, so that each step of each is part of one call of the model. A
    profile drawn here is never below the true one, so an interval is never too wide for want of steps, and one that
    reaches a bound truly does.
    """
    kept = folder / "profiles.json" if folder else None
    if kept and (found_before := work.kept(kept)):
        return pd.DataFrame(found_before)
    problem, spec = found.problem, found.problem.spec
    count, threshold = len(found.theta), chi2.ppf(level, 1)
    low, high, scale = (np.array([getattr(p, name) for p in spec.parameters]) for name in ("low", "high", "scale"))
    reach = np.sqrt(2 * threshold * np.diag(found.covariance)) / points
    held, side = np.repeat(np.arange(count), 2), np.tile([-1.0, 1.0], count)
    theta = np.tile(found.theta, (2 * count, 1))
    slopes = np.tile(found.jacobian * scale, (2 * count, 1, 1))
    slopes[np.arange(2 * count), :, held] = 0.0  # what is held does not move
    rows = [_point(p, float(x), 0.0) for p, x in zip(spec.parameters, found.theta, strict=True)]
    active = np.arange(2 * count)
    for k in range(1, points + 1):
        target = found.theta[held] + side * k * reach[held]
        target = np.clip(target, low[held], high[held])
        active = active[target[active] != theta[active, held[active]]]
        if not active.size:
            break
        theta[active, held[active]] = target[active]
        theta[active], residual, slopes[active] = descend(
            lambda vectors: problem.residuals_of(vectors, rtol=RTOL),
            theta[active],
            slopes[active],
            low,
            high,
            scale,
            steps=FOLLOW_STEPS,
            enough=ENOUGH,
            damping=0.0,
            firmer=1.0,
        )
        rise = np.square(residual).sum(axis=1) - found.objective
        rows += [
            _point(spec.parameters[held[a]], float(target[a]), float(r)) for a, r in zip(active, rise, strict=True)
        ]
        active = active[rise <= 1.5 * threshold]
        if progress:
            progress(f"profiles, value {k} of {points} to each side", found.objective)
    rows.sort(key=lambda row: (row["parameter"], row["theta"]))
    if kept:
        work.keep(kept, rows)
    return pd.DataFrame(rows)


def _point(p: Fitted, theta: float, rise: float) -> dict[str, Any]:
    return {"parameter": p.name, "theta": theta, "value": p.natural(theta), "rise": rise}


def intervals(found: Fit, profiles: pd.DataFrame, level: float = 0.95) -> pd.DataFrame:
    """Estimates with profile intervals, and whether the data identify each parameter.

    Parameters
    ----------
    found : Fit
    profiles : DataFrame
        As from `profile`.
    level : float
        Of the interval.

    Returns
    -------
    DataFrame, one row a parameter
        ``parameter, unit, start, estimate, se_percent, low, high`` (interval, linear between profile points; the bound
        where the profile stays below its threshold), ``identified`` (both ends are inside the bounds), ``on_bound``,
        ``prior``.
    """
    problem = found.problem
    threshold = chi2.ppf(level, 1)
    sd = np.sqrt(np.diag(found.covariance))
    stuck = found.on_bound()
    rows = []
    for i, p in enumerate(problem.spec.parameters):
        mine = profiles[profiles["parameter"] == p.name]
        ends: dict[str, float | None] = {}
        for name, side in (("low", -1), ("high", 1)):
            half = mine[side * (mine["theta"] - found.theta[i]) >= 0].sort_values("theta", ascending=side > 0)
            ends[name] = _crossing(half["theta"].to_numpy(), half["rise"].to_numpy(), threshold)
        low, high = ends["low"], ends["high"]
        rows.append(
            {
                "parameter": p.name,
                "unit": problem.table.row(p.name)["unit"],
                "start": p.natural(p.start),
                "estimate": p.natural(found.theta[i]),
                "se_percent": 100 * sd[i] * p.slope(found.theta[i]) / abs(p.natural(found.theta[i])),
                "low": p.natural(p.low if low is None else low),
                "high": p.natural(p.high if high is None else high),
                "identified": low is not None and high is not None,
                "on_bound": p.name in stuck,
                "prior": "" if p.prior_sd is None else f"{p.natural(p.prior_mean):.3g}, sd {p.prior_sd:g}",
            }
        )
    return pd.DataFrame(rows)


def _crossing(theta: Array, rise: Array, threshold: float) -> float | None:
    """First crossing of the threshold by a profile, from the estimate outwards; None without a crossing."""
    above = np.flatnonzero(rise > threshold)
    if not above.size:
        return None
    k = above[0]
    share = (threshold - rise[k - 1]) / (rise[k] - rise[k - 1])
    return float(theta[k - 1] + share * (theta[k] - theta[k - 1]))


def fingerprint(problem: Problem) -> str:
    """Fingerprint (hexadecimal) of specification, table, rows and earlier draws, which a resumed fit must share.

    Parameters
    ----------
    problem : Problem
    """
    seen = blake2b(digest_size=8)
    seen.update(problem.spec.text.encode())
    seen.update(problem.table.hash.encode())
    seen.update(problem.evidence.observations.to_csv(index=False).encode())
    if problem.earlier is not None:
        seen.update(problem.earlier.tobytes())
    return seen.hexdigest()


def _shown(values: dict[str, float]) -> str:
    return ", ".join(f"{name} = {value:.3g}" for name, value in values.items())
