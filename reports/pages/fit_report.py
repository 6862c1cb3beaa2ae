"""Fit parameters to evidence, and write the new values, what is known of them, and a page that says it in words.

Files: parameters.csv (for ``--parameters``; ``parameters-not-converged.csv`` if the fit did not converge), fit.json,
estimates.csv, correlations.csv, profiles.csv, identifiability.csv, residuals.csv, starts.csv, index.html.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.stats import chi2

from ranklsim import __version__
from ranklsim.cohorts.validation import variability
from ranklsim.pkpd import arguments
from ranklsim.pkpd.biology.skeleton import NAMES
from ranklsim.pkpd.errors import BadInput, RunFailed, counted
from ranklsim.pkpd.fitting import fit as fitting
from ranklsim.pkpd.fitting import posterior
from ranklsim.pkpd.fitting.spec import Spec, load_spec
from ranklsim.pkpd.machine import processors
from ranklsim.pkpd.parameters import PARAMETERS, ParametersLike, ParameterTable, load_parameters
from ranklsim.pkpd.results import Results
from ranklsim.reports.figures.drawing import INK, RULE, SOFT, WIDTH, drawing, first_figure, panels, svg_text, two_lines
from ranklsim.reports.layout.cells import Text
from ranklsim.reports.layout.exhibit import Exhibit, Section
from ranklsim.reports.layout.folders import check_place, work_folder, write_result
from ranklsim.reports.layout.page import Page, table
from ranklsim.reports.layout.tables import num, sig, with_interval

MARK = "ranklsim-fit"
LEVEL = 0.95
BLUE, WARM = "#0072B2", "#D55E00"
LOWER, FAR = 0.5, 2.0  # falls of the objective below the estimate: worth a warning; not converged, whatever was said
NARROWED = 0.7  # posterior SD over prior SD from which a parameter is called identified by the data
MOST_DRAWS = 2000  # written to samples.csv
STRONG = 0.9  # correlation of two estimates above which the page names the pair
LIBRARIES = ("lmfit", "scipy", "numpy", "pandas", "numba")
GOOD, NOT_CONVERGED = "parameters.csv", "parameters-not-converged.csv"
TABLES = "estimates correlations identifiability residuals starts profiles posterior samples".split()
FILES = {GOOD, NOT_CONVERGED, "fit.json"} | {f"{name}.csv" for name in TABLES}


@dataclass(frozen=True, repr=False)
class Result(Results):
    """A finished fit with its diagnostics.

    Attributes
    ----------
    found : Fit
    profiles : DataFrame or None
        From `fitting.profile`; None if left out.
    estimates : DataFrame
        From `fitting.intervals`; without profiles its interval is estimate +- 1.96 standard errors on the fitted scale,
        cut at the bounds.
    residuals : DataFrame
        From `Problem.compared` at the estimate.
    shortfall : float
        By how much the objective is known to fall below that of the estimate: by one step downhill, or in a profile.
    noticed : tuple of str
        Warnings of lmfit, one sentence each.
    """

    SOURCE = "fit/"
    FIGURE = "reports.pages.fit_report:figure"

    found: fitting.Fit
    profiles: pd.DataFrame | None
    estimates: pd.DataFrame
    residuals: pd.DataFrame
    shortfall: float
    noticed: tuple[str, ...] = ()

    def tables(self) -> dict[str, pd.DataFrame]:
        """Every table by its name, the main one first."""
        found = {"estimates": self.estimates, "residuals": self.residuals}
        return found if self.profiles is None else found | {"profiles": self.profiles}

    def heading(self) -> str:
        """What the result is, in one line."""
        return "\n".join(
            [f"Fit {self.spec.path.stem}: {'converged' if self.converged else 'not converged'}", *self.warnings]
        )

    @property
    def warnings(self) -> list[str]:
        """Warnings about the estimates, one sentence each."""
        return [*self.noticed, *_troubles(self)]

    @property
    def converged(self) -> bool:
        """Whether the method says so and neither a step downhill nor a profile shows otherwise."""
        drawn = self.found.posterior
        trusted = drawn is None or not drawn.trouble()
        return self.found.converged and self.shortfall <= FAR and trusted

    @property
    def spec(self) -> Spec:
        """The fit as asked for."""
        return self.found.problem.spec

    @property
    def table(self) -> ParameterTable:
        """The parameter table with what was fitted, and what the spec holds fixed, in it."""
        problem = self.found.problem
        return problem.table.replace(self.spec.fixed | problem.natural(self.found.theta), str(self.spec.path))

    @property
    def of_spreads(self) -> bool:
        """Whether what is fitted are spreads between patients (`cohorts.variability`)."""
        return self.spec.kind == "between-patient"

    @property
    def noun(self) -> str:
        """Name of the data of the fit."""
        return "spreads" if self.of_spreads else "figures"

    @property
    def flat(self) -> pd.DataFrame:
        """Directions of which the data's Fisher information says next to nothing."""
        values = self.found.eigenvalues()
        return values[values["eigenvalue"] < fitting.FLAT]


@arguments.checked(
    spec=arguments.path,
    out=arguments.path,
    parameters=PARAMETERS,
    profiles=arguments.flag,
    resume=arguments.flag,
    force=arguments.flag,
    workers=arguments.WORKERS,
    progress=arguments.callback,
    command=arguments.COMMAND,
)
def fit(
    spec: str | Path,
    out: str | Path,
    *,
    parameters: ParametersLike = None,
    profiles: bool = True,
    resume: bool = False,
    force: bool = False,
    workers: int | None = None,
    progress: Callable[[str, float], None] | None = None,
    command: str = "",
) -> Result:
    """Fit parameters as a spec says, and write the result.

    Parameters
    ----------
    spec : str or path
        A TOML file, or the name of a shipped fit (``default``, ``between_patient``).
    out : path
        Folder of the result: ``parameters.csv``, tables, ``index.html``.
    parameters : path, mapping or ParameterTable, optional
        Values of everything that is not fitted; the shipped ones by default.
    profiles : bool
        Whether intervals are by profile likelihood; they come from the curvature otherwise.
    resume, force : bool
        Go on with the interrupted fit in `out`; replace the one in `out`.
    workers : int, optional
        Processors to use, all of this machine's by default; no result depends on it.
    progress : callable, optional
        Called with a sentence and the objective so far.
    command : str
        What the user typed, for the record.

    Returns
    -------
    Result
        `Result.converged` says whether the values can be used, `Result.warnings` what to know before.

    Raises
    ------
    BadInput
        If the spec, the evidence or the folder can't be used as it is, or no figure depends on a parameter.
    RunFailed
        If the method can't begin, or a figure has no prediction.
    """
    check_place(Path(out))
    table = load_parameters(parameters)
    plan = load_spec(spec, table)
    table = load_parameters(table, folder=plan.evidence)
    threads = processors() if workers is None else workers
    if plan.kind == "between-patient":
        problem: fitting.Problem = variability.make_problem(plan, table, workers=threads)
    else:
        problem = fitting.make_problem(plan, table)
        _refuse_idle(problem)
    folder = Path(out)
    identity = "its spec, parameters or evidence"
    work = work_folder(folder, "fit", identity, fitting.fingerprint(problem), resume, force, FILES)
    try:
        with warnings.catch_warnings(record=True) as caught:
            found = fitting.fit(plan, problem=problem, folder=work, workers=threads, progress=progress)
            result = _finish(found, work, profiles, progress)
    except RunFailed:
        if not any(work.iterdir()):  # nothing was found that a second call could go on from
            shutil.rmtree(folder)
        raise
    except (TypeError, ValueError) as fault:  # of lmfit or scipy: an option's value, a search that can't begin
        raise RunFailed(f"{plan.path}: {plan.method} stopped ({' '.join(str(fault).split()).rstrip('.')}).") from fault
    texts = {" ".join(str(warning.message).split()) for warning in caught if "lmfit" in warning.filename}
    texts.update(_no_offsets(problem))
    result = replace(result, noticed=tuple(sorted(f"{plan.path}: {text.rstrip('.')}." for text in texts)))
    _write(result, folder, command)
    return result


def _no_offsets(problem: fitting.Problem) -> list[str]:
    """What it means that a user's own figures of groups have no offsets; nothing if they have, or need none."""
    own, seen = problem.spec.evidence, problem.evidence.observations
    groups = seen["statistic"].ne("typical")
    if own is None or problem.spec.kind != "typical" or (own / "offsets.csv").exists() or not groups.any():
        return []
    return [
        f"{own} has no offsets.csv, so means and medians of groups are compared with a typical patient, from whom they "
        f"differ; `ranklsim validate --evidence {own} -o before` writes one, to be copied into {own}"
    ]


def _refuse_idle(problem: fitting.Problem) -> None:
    """Refuse a parameter on which no figure depends: its estimate would be its start, with an error of 0."""
    plan = problem.spec
    start = np.array([p.start for p in plan.parameters])
    here = problem.try_residuals(start)
    idle = []
    for k, p in enumerate(plan.parameters):
        other = start.copy()
        other[k] = p.high if p.high - p.start > p.start - p.low else p.low
        if p.prior_sd is None and np.array_equal(problem.try_residuals(other), here):
            idle.append(p.name)
    if idle:
        raise BadInput(
            *(
                f"{plan.path}: {name} changes no figure of the evidence, so it cannot be identified; include figures "
                "of an arm to which it matters, or do not fit it."
                for name in idle
            )
        )


def _finish(
    found: fitting.Fit, folder: Path, with_profiles: bool, progress: Callable[[str, float], None] | None
) -> Result:
    """Profiles, intervals and residuals of a fit; finished profiles are kept in `folder`."""
    problem, drawn = found.problem, found.posterior
    with_profiles = with_profiles and drawn is None
    profiles = fitting.profile(found, level=LEVEL, folder=folder, progress=progress) if with_profiles else None
    estimates = fitting.intervals(found, _parabolas(found) if profiles is None else profiles, LEVEL)
    if drawn is not None:
        said = posterior.summarise(drawn, problem.spec.parameters, LEVEL)
        estimates = estimates.assign(low=said["low"], high=said["high"], identified=said["narrowed"] < NARROWED)
    residuals = problem.compared(found.theta)
    below = _downhill(found) if profiles is None else max(_downhill(found), -float(profiles["rise"].min()))
    if drawn is not None:
        below = max(below, found.objective - drawn.least)
    return Result(found, profiles, estimates, residuals, below)


def _downhill(found: fitting.Fit) -> float:
    """Decrease of the objective by a whole or partial Gauss-Newton step from the estimate, inside the bounds."""
    parameters = found.problem.spec.parameters
    low, high = (np.array([getattr(p, end) for p in parameters]) for end in ("low", "high"))
    here = found.problem.residuals(found.theta)
    step = np.linalg.pinv(found.jacobian) @ here
    ends = [np.clip(found.theta - share * step, low, high) for share in (1.0, 0.3)]
    least = [float(r @ r) for r in (found.problem.try_residuals(end) for end in ends)]
    return max(0.0, float(here @ here) - float(np.nanmin([*least, float(here @ here)])))


def _parabolas(found: fitting.Fit) -> pd.DataFrame:
    """The rise of the objective as its curvature at the estimate says, instead of profiles."""
    sd = np.sqrt(np.diag(found.covariance))
    rows = []
    for i, p in enumerate(found.problem.spec.parameters):
        for step in np.linspace(-2.5, 2.5, 51):
            theta = float(np.clip(found.theta[i] + step * sd[i], p.low, p.high))
            rise = ((theta - found.theta[i]) / sd[i]) ** 2 if sd[i] > 0 else 0.0
            rows.append({"parameter": p.name, "theta": theta, "value": p.natural(theta), "rise": rise})
    return pd.DataFrame(rows).drop_duplicates(["parameter", "theta"])


def _troubles(result: Result) -> list[str]:
    """Faults of the estimate itself, one sentence each."""
    found, spec = result.found, result.spec
    said = []
    if not result.converged:
        message = " ".join(found.message.split()).rstrip(".") or "no reason given"
        trouble = "" if found.posterior is None else found.posterior.trouble()
        if trouble:
            message = trouble
        elif found.converged:
            message = f"an objective lower by {result.shortfall:.3g} lies near the estimate"
        said.append(
            f"{spec.path}: the fit did not converge ({message}); raise max_nfev in `options`, or fit fewer parameters."
        )
    elif result.shortfall > LOWER:
        said.append(
            f"{spec.path}: the estimate is not quite the best (an objective lower by {result.shortfall:.3g} lies near "
            "it); fit again with more starts or tighter tolerances."
        )
    stuck = found.on_bound()
    if stuck:
        bounds = []
        for p, x in zip(spec.parameters, found.theta, strict=True):
            if p.name in stuck:
                low = x - p.low < p.high - x
                bounds.append(
                    f"{p.name} at its {'lower' if low else 'upper'} bound {sig(p.natural(p.low if low else p.high))}"
                )
        said.append(f"{spec.path}: the fit ends on a bound, {' and '.join(bounds)}; the data want it beyond.")
    return said


def _write(result: Result, folder: Path, command: str) -> None:
    """Write every file of a fit into `folder`, which exists."""
    found, spec, problem = result.found, result.spec, result.found.problem
    for name in (GOOD, NOT_CONVERGED):
        (folder / name).unlink(missing_ok=True)
    target = GOOD if result.converged else NOT_CONVERGED
    (folder / target).write_text(result.table.to_csv(), encoding="utf-8", newline="")
    frames = {
        "estimates": result.estimates,
        "correlations": found.correlation.rename_axis("parameter").reset_index(),
        "identifiability": found.eigenvalues(),
        "residuals": result.residuals,
        "starts": found.starts,
    }
    if result.profiles is not None:
        frames["profiles"] = result.profiles
    if found.posterior is not None:
        frames["posterior"] = posterior.summarise(found.posterior, spec.parameters, LEVEL)
        frames["samples"] = found.draws(min(MOST_DRAWS, len(found.posterior.theta)))
    facts = {
        "title": spec.title,
        "status": "converged" if result.converged else "not converged",
        "converged": result.converged,
        "message": found.message,
        "objective": found.objective,
        "shortfall": result.shortfall,
        "method": spec.method,
        "seed": spec.seed,
        "starts": spec.starts,
        "figures": len(problem.observed),
        "parameters": problem.natural(found.theta),
        "fixed": spec.fixed,
        "draws": "" if found.posterior is None else found.posterior.words(),
        "on_bound": found.on_bound(),
        "not_identified": result.estimates.loc[~result.estimates["identified"], "parameter"].tolist(),
        "fingerprint": fitting.fingerprint(problem),
        "evidence": "shipped" if spec.evidence is None else str(spec.evidence),
    }
    write_result(folder, "fit", frames, facts, LIBRARIES, command)
    page, sections = _compose(result)
    page.write(folder, sections)


def _compose(result: Result) -> tuple[Page, list[Section]]:
    """Page and sections."""
    found, spec = result.found, result.spec
    rows = len(found.problem.observed)
    page = Page(
        MARK,
        f"Fit to published {result.noun}",
        spec.title,
        f"{counted(len(spec.parameters), 'parameter')}, {rows} {result.noun}"
        f"{', ' + counted(spec.patients, 'patient') + ' an arm' if result.of_spreads else ''}; {spec.method}, "
        f"{counted(spec.starts, 'start')}, seed {spec.seed}; objective {sig(found.objective, 6)}; "
        f"ranklsim {__version__}",
        "What the data say" if result.converged else "Not converged: do not use these values",
        f"Fitted with ranklsim {__version__}; fit.json names every version, and the fingerprint of spec and evidence.",
    )
    return page, [
        _estimates(result),
        _unknown(result),
        *([_profiles(result)] if result.profiles is not None else []),
        *([_posterior(result)] if found.posterior is not None else []),
        _correlations(result),
        _residuals(result),
        _starts(result),
    ]


def figure(result: Result) -> Figure:
    """The first figure of the page: profile likelihoods, or the residuals without them.

    Parameters
    ----------
    result : Result
    """
    return first_figure(lambda: _residuals(result) if result.profiles is None else _profiles(result))


def _estimates(result: Result) -> Section:
    spec, found = result.spec, result.found
    how = (
        "by profile likelihood"
        if result.profiles is not None
        else "from the curvature at the estimate (profiles were left out)"
        if found.posterior is None
        else "quantiles of the draws"
    )
    shown = [
        {
            "Parameter": row["parameter"],
            "Meaning": found.problem.table.row(row["parameter"])["meaning"],
            "Unit": "" if row["unit"] == "1" else row["unit"],
            "Start": sig(row["start"]),
            "Estimate": sig(row["estimate"]),
            "95% interval": f"{sig(row['low'])}, {sig(row['high'])}",
            "RSE, %": num(row["se_percent"], 1),
            "Prior": row["prior"] or "none",
            "Identified": "on its bound" if row["on_bound"] else "yes" if row["identified"] else "no",
        }
        for row in result.estimates.to_dict("records")
    ]
    weighted = result.residuals["weighted"].to_numpy(float)
    said = [sentence.removeprefix(f"{spec.path}: the ") for sentence in _troubles(result)]
    key: list[Text] = [f"The {sentence}" for sentence in said] or [
        "The fit converged, and no estimate stands on a bound."
    ]
    key.append(
        f"Over {len(weighted)} {result.noun} the root mean square of error over its standard deviation is "
        f"{np.sqrt(np.mean(weighted**2)):.2f}; 1 is what the data's own spread and the difference between studies lead "
        "one to expect."
    )
    paragraphs = [f"Intervals are {how}, priors included."]
    if len(spec.scenarios) > 1:
        held = "; ".join(
            ", ".join(f"{name} = {sig(value)}" for name, value in scenario.fixed.items())
            + f" (weight {scenario.weight:g})"
            for scenario in spec.scenarios
        )
        paragraphs.append(
            f"One set of values serves several scenarios at once: {held}. Residuals are shown under the first."
        )
    footnote = "RSE: standard error, % of the estimate. Identified: both ends of the interval lie inside the bounds."
    exhibit = table(
        "1", "Estimates", result.estimates, shown, footnote, numeric=("Start", "Estimate", "95% interval", "RSE, %")
    )
    return Section("1", "Estimates", "estimates", key=list(key), paragraphs=list(paragraphs), exhibits=[exhibit])


def _unknown_words(result: Result) -> list[str]:
    """Sentences on parameters and directions that the data do not identify."""
    estimates, said = result.estimates, []
    for row in estimates[~estimates["identified"] & ~estimates["on_bound"]].to_dict("records"):
        p = next(p for p in result.spec.parameters if p.name == row["parameter"])
        ends = [
            f"{side} {sig(bound)}"
            for side, end, bound in (
                ("down to", row["low"], p.natural(p.low)),
                ("up to", row["high"], p.natural(p.high)),
            )
            if np.isclose(end, bound, rtol=1e-9)
        ]
        said.append(
            f"{p.name}: the data can't rule it out {' or '.join(ends)}, its bound{'s' * (len(ends) > 1)}; "
            "that end of its interval is the bound's."
        )
    for row in estimates[estimates["on_bound"]].to_dict("records"):
        said.append(f"{row['parameter']}: the estimate stands on a bound, so the bound and not the data sets it.")
    flat = result.flat
    if len(flat):
        said.append(
            f"{len(flat)} of {len(estimates)} directions in which the parameters can move together change no "
            f"{result.noun.removesuffix('s')} noticeably when each moves by half of its range: "
            + "; ".join(flat["direction"])
            + "."
        )
    priors = [p.name for p in result.spec.parameters if p.prior_sd is not None]
    leaning = []
    sd = np.sqrt(np.diag(result.found.covariance))
    for p, s in zip(result.spec.parameters, sd, strict=True):
        if p.prior_sd is not None and s > 0.7 * p.prior_sd:
            leaning.append(p.name)
    if leaning:
        said.append(
            f"{', '.join(leaning)}: known hardly better than by the prior (standard error over 70% of the prior's sd), "
            "so these values are mostly those of the prior's sources."
        )
    elif priors:
        said.append("Every parameter with a prior is known clearly better than by the prior alone.")
    if not len(flat) and estimates["identified"].all():
        said.insert(0, "Nothing that was fitted is left open: every interval ends inside its bounds.")
    return said


def _posterior(result: Result) -> Section:
    drawn, spec = result.found.posterior, result.spec
    assert drawn is not None
    frame = posterior.summarise(drawn, spec.parameters, LEVEL)
    shown = [
        {
            "Parameter": row["parameter"],
            "Unit": "" if (unit := result.found.problem.table.row(row["parameter"])["unit"]) == "1" else unit,
            "Median": sig(row["median"]),
            "95% interval": f"{sig(row['low'])}, {sig(row['high'])}",
            "SD over prior's": num(row["narrowed"], 2),
        }
        for row in frame.to_dict("records")
    ]
    key: list[Text] = [drawn.words()]
    silent = frame.loc[frame["narrowed"] > NARROWED, "parameter"].tolist()
    if silent:
        key.append(f"About where the prior had them the data leave {', '.join(silent)}.")
    note = "SD over prior's: on the fitted scale; 1 where the data are silent."
    numeric = ("Median", "95% interval", "SD over prior's")
    exhibit = table("3", "Draws from the posterior", frame, shown, note, numeric=numeric)
    return Section("3", "Posterior", "posterior", key=key, exhibits=[exhibit])


def _unknown(result: Result) -> Section:
    values = result.found.eigenvalues()
    shown = [
        {
            "Eigenvalue": sig(row["eigenvalue"], 3),
            "Direction (weights of the three strongest)": row["direction"],
            "": "not identified" if row["eigenvalue"] < fitting.FLAT else "",
        }
        for row in values.to_dict("records")
    ]
    footnote = (
        "Eigenvalues of the data's Fisher information without priors, each parameter scaled by half of its range: the "
        f"smaller, the less the data say of the direction; below {fitting.FLAT:g} next to nothing."
    )
    exhibit = table("2", "Directions, from the least known", values, shown, footnote, folded=len(shown) > 8)
    return Section(
        "2", "What the data can't identify", "unknown", paragraphs=[*_unknown_words(result)], exhibits=[exhibit]
    )


def _profiles(result: Result) -> Section:
    assert result.profiles is not None
    spec, found, profiles = result.spec, result.found, result.profiles
    threshold = float(chi2.ppf(LEVEL, 1))
    count = len(spec.parameters)
    across = min(4, max(2, count))
    with drawing(WIDTH * 1.12, 1.5 * -(-count // across) + 0.35) as figure:
        axes = panels(figure, count, across, (0.06, 3 / 72))
        for ax, p, x in zip(axes, spec.parameters, found.theta, strict=True):
            mine = profiles[profiles["parameter"] == p.name]
            identified = bool(result.estimates.set_index("parameter").loc[p.name, "identified"])
            color = BLUE if identified else WARM
            ax.axhline(threshold, color=RULE, lw=0.9, ls=(0, (4, 2)))
            ax.plot(mine["value"], mine["rise"], color=color, lw=1.4, marker="o", ms=2.6)
            ax.plot([p.natural(x)], [0], marker="D", ms=4.5, color=INK, zorder=4)
            for bound in (p.natural(p.low), p.natural(p.high)):
                if mine["value"].min() <= bound * (1 + 1e-9) and bound * (1 - 1e-9) <= mine["value"].max():
                    ax.axvline(bound, color=SOFT, lw=1.2)
            ax.set_ylim(-0.4, 2.2 * threshold)
            unit = found.problem.table.row(p.name)["unit"]
            ax.set_title(p.name if unit == "1" else f"{p.name} ({unit})", loc="left", fontsize=9.0)
            ax.xaxis.set_major_locator(MaxNLocator(3))
            ax.tick_params(labelsize=8.0)
        figure.supylabel("Rise of the objective", fontsize=9.6)
        body = svg_text(figure, "figure-1", "Profile likelihood of every parameter")
    open_ends = result.estimates.loc[~result.estimates["identified"], "parameter"].tolist()
    headline = (
        f"{len(spec.parameters) - len(open_ends)} of {len(spec.parameters)} profiles cross the threshold on both sides"
        + (f"; not so {', '.join(open_ends)}." if open_ends else ".")
    )
    footnote = (
        "Each parameter is held along its axis and the others follow. Dashed: threshold of the 95% interval "
        f"({threshold:.2f}); diamond: estimate; grey line: bound; orange: an end of the interval is the bound."
    )
    exhibit = Exhibit("Figure", "1", "Profile likelihood", profiles, body, footnote, headline)
    return Section("3", "Profiles", "profiles", exhibits=[exhibit])


def _correlations(result: Result) -> Section:
    matrix = result.found.correlation
    names = list(matrix.columns)
    values = matrix.to_numpy()
    pairs = [
        (abs(values[i, j]), f"{names[i]} with {names[j]} ({num(values[i, j], 2)})")
        for i in range(len(names))
        for j in range(i)
        if abs(values[i, j]) > STRONG
    ]
    strongest = "; ".join(words for _, words in sorted(pairs, reverse=True)[:6])
    side = WIDTH if len(names) > 8 else 0.62 * WIDTH
    with drawing(side, 0.92 * side) as figure:
        figure.set_layout_engine("constrained")
        ax = figure.subplots()
        shown = ax.imshow(values, vmin=-1, vmax=1, cmap="RdBu_r")
        small = 9.0 if len(names) <= 12 else 6.8
        ax.set_xticks(range(len(names)), names, rotation=90, fontsize=small)
        ax.set_yticks(range(len(names)), names, fontsize=small)
        if len(names) <= 8:
            for i in range(len(names)):
                for j in range(len(names)):
                    ink = "white" if abs(values[i, j]) > 0.6 else INK
                    ax.text(j, i, num(values[i, j], 2), ha="center", va="center", fontsize=8.4, color=ink)
        for spine in ax.spines.values():
            spine.set_visible(False)
        ax.tick_params(length=0)
        figure.colorbar(shown, ax=ax, shrink=0.7, label="Correlation")
        body = svg_text(figure, "figure-2", "Correlation of the estimates")
    headline = (
        f"{len(pairs)} pair{'s' * (len(pairs) != 1)} of estimates correlate beyond {STRONG:g}: {strongest}."
        if pairs
        else f"No two estimates correlate beyond {STRONG:g}."
    )
    frame = matrix.rename_axis("parameter").reset_index()
    exhibit = Exhibit(
        "Figure", "2", "Correlation of the estimates", frame, body,
        "From the curvature of the objective at the estimate, priors included.", headline,
    )  # fmt: skip
    return Section("4", "Correlations", "correlations", exhibits=[exhibit])


def _residuals(result: Result) -> Section:
    rows = result.residuals
    frame = rows["study arm endpoint site_or_marker time_months phase observed predicted sd weighted".split()]
    groups = {
        "BMD": rows["site_or_marker"].isin(list(NAMES)),
        **{str(m): rows["site_or_marker"] == m for m in dict.fromkeys(rows["site_or_marker"]) if m not in NAMES},
    }
    groups = {name: mine for name, mine in groups.items() if mine.any()}
    with drawing(WIDTH, 2.05 * -(-len(groups) // 2) + 0.2) as figure:
        axes = panels(figure, len(groups), 2)
        for ax, (name, mine) in zip(axes, groups.items(), strict=True):
            part = rows[mine]
            for level in (-2, 2):
                ax.axhline(level, color=RULE, lw=0.8, ls=(0, (4, 2)))
            ax.axhline(0, color=RULE, lw=0.9)
            ax.plot(part["time_months"], part["weighted"], "o", ms=3.8, mfc="none", mec=BLUE, mew=0.9)
            ax.set_title(two_lines(name, 30), loc="left")
            most = max(2.5, 1.1 * float(part["weighted"].abs().max()))
            ax.set_ylim(-most, most)
            ax.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 1.2, 2.4, 3, 6, 10]))
        figure.supxlabel("Months", fontsize=9.6)
        label = "Log of predicted over observed (SDs)" if result.of_spreads else "Predicted less observed (SDs)"
        figure.supylabel(label, fontsize=9.6)
        body = svg_text(figure, "figure-3", "Weighted residuals against time")
    beyond = int((rows["weighted"].abs() > 2).sum())
    headline = f"{beyond} of {len(rows)} {result.noun} ({100 * beyond / len(rows):.0f}%) are more than two SDs off."
    exhibit = Exhibit(
        "Figure", "3", "Residuals", frame, body,
        "SD: sampling, difference between studies. In the fit, points of a curve are correlated; here they are not.",
        headline,
    )  # fmt: skip
    worst = rows.loc[rows["weighted"].abs().sort_values(ascending=False).index[:10]]
    shown = [
        {
            "Study": row["study"],
            "Arm": row["arm"],
            "Figure": f"{row['endpoint'].replace('_', ' ')}, {row['site_or_marker']}",
            "Month": sig(row["time_months"], 3),
            "Observed": ("<" if row.get("below") else "") + sig(row["observed"], 3),
            "Predicted": sig(row["predicted"], 3),
            "SDs": num(row["weighted"], 1, sign=True),
        }
        for row in worst.to_dict("records")
    ]
    listing = table(
        "3", f"The {len(worst)} largest residuals", worst, shown, "", numeric=("Month", "Observed", "Predicted", "SDs")
    )
    spreads = [_spreads(rows)] if result.of_spreads else []
    return Section("5", "Residuals", "residuals", exhibits=[exhibit, listing, *spreads])


def _spreads(rows: pd.DataFrame) -> Exhibit:
    """Every published spread with that of the cohort, and the cohort's centre with the typical patient."""
    shown = [
        {
            "Study": row["study"],
            "Arm": row["arm"],
            "Figure": f"{row['endpoint'].replace('_', ' ')}, {row['site_or_marker']}",
            "Month": sig(row["time_months"], 3),
            "n": f"{row['patients']:.0f}",
            "Measure": row["measure"],
            "Published": num(row["observed"], 2),
            "Simulated": num(row["predicted"], 2),
            "Ratio (90% interval)": with_interval(row["ratio"], row["low"], row["high"], 2),
            "Published middle": sig(row["value"], 3),
            "Cohort": sig(row["cohort"], 3),
            "Typical": sig(row["typical"], 3),
        }
        for row in rows.to_dict("records")
    ]
    footnote = (
        "Spread between patients, measurement error included: SD of a BMD change in percentage points; of others "
        "the SD of the logarithm from quartiles, or the coefficient of variation from a mean and SD. Interval: from n "
        "and rounding. Published middle: mean or median; cohort: the same statistic of the virtual patients; typical: "
        "the typical patient."
    )
    inside = 100 * float(((rows["low"] <= 1) & (rows["high"] >= 1)).mean())
    headline = (
        f"The simulated spread is {100 * np.exp(np.log(rows['ratio']).mean()):.0f}% of the published one on average "
        f"(geometric mean), and within chance of it in {inside:.0f}% of {len(rows)} cases."
    )
    numeric = [name for name in shown[0] if name not in ("Study", "Arm", "Figure", "Measure")]
    return table(
        "5", "Published and simulated spreads", rows, shown, footnote, headline=headline, numeric=numeric, folded=True
    )


def _starts(result: Result) -> Section:
    starts = result.found.starts.sort_values("objective")
    shown = [
        {
            "Start": str(row["start"] + 1),
            "Objective": sig(row["objective"], 6),
            "Converged": "yes" if row["converged"] else "no",
            "Evaluations": str(row["evaluations"]),
            "Message": row["message"],
        }
        for row in starts.to_dict("records")
    ]
    near = int((starts["objective"] < starts["objective"].min() + 1).sum())
    words = (
        f"{near} of {len(starts)} starts end within 1 of the least objective."
        if len(starts) > 1
        else "A single start can't show whether another one would have ended lower; `starts` in the spec asks for more."
    )
    exhibit = table("4", "Starts", starts, shown, "", numeric=("Objective", "Evaluations"))
    return Section("6", "Starts", "starts", paragraphs=[words], exhibits=[exhibit])
