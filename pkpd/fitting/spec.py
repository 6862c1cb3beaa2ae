"""A fit as a file: which parameters, within which bounds, with which priors, to which figures, by which method.

.. code-block:: toml

    title    = "Turnover from placebo and denosumab"
    like     = "default"                  # begin with another fit; what this file says stands in its place
    kind     = "typical"                  # to the figures; "between-patient": to their spreads (`cohorts.variability`)
    patients = 200                        # virtual ones of each arm, for "between-patient" only
    seed     = 1
    method   = "least_squares"            # any minimiser of lmfit, or "posterior"
    starts   = 3                          # the first from `start`, the others drawn between the bounds
    options  = { max_nfev = 50 }          # passed to the method
    fixed    = { fade = 2.0 }             # held at another value than the parameter table's
    mice     = true                       # also to the sizes in mice and after menopause of genetics.toml (`sizes`)
    studies  = true                       # every study has effects of its own on two parameters (`evidence.studies`)
    evidence = "my-evidence"              # folder, from the spec's own; the shipped evidence by default

    [[parameter]]
    name      = "kT"                      # of the parameter table, or of an agent, "denosumab.CL"; "kT.cv" is a spread
    transform = "log"                     # none, log or logit: the scale on which it is fitted
    low       = 0.08                      # bounds; the table's range by default
    high      = 0.6
    prior     = { mean = 0.26, sd = 0.35 }  # sd on the fitted scale

    [[include]]                           # rows to use (all by default): a row counts that matches one of these
    study    = ["FREEDOM", "DEFEND"]
    [[exclude]]
    endpoint = "retained_gain"
    reason   = "no raw value"

    [[scenario]]                          # one set of values serves them all
    fixed  = { mix = 0.0 }
    weight = 0.5

Under `like`, parameters are added by name to those of the other fit, a parameter named in `fixed` is fitted no more,
and every other key replaces the other fit's.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from ranklsim.pkpd.errors import BadInput, counted, near, shown
from ranklsim.pkpd.parameters import SPREAD, ParameterTable, load_parameters
from ranklsim.pkpd.reading import Faults, Shape, Table, as_kind, load_toml

SAMPLER = "posterior"
"""The method that draws from the posterior (`posterior`)."""
PARTICLES = 1000
MOST_DRAWN = 50_000_000  # numbers of all draws: 400 MB
MOST_POINTS = 1_000_000  # of a grid
TRIED = 50  # evaluations of the trial run that checks the options of a method
OWN = (
    "self params fun func x0 args kwargs fcn userfcn bounds ranges jac hess hessp callback iter_cb method minimizer "
    "disp verbose iprint workers full_output constraints finish minimizer_kwargs local take_step accept_test local_opt"
).split()
"""Arguments of minimisers that a fit sets itself, that print, or that are no number or word."""
TRANSFORMS = ("none", "log", "logit")
KINDS = ("typical", "between-patient")
PATIENTS = 200
MOST = 10_000_000  # of patients, starts, seeds, steps; beyond this a number is a slip
COLUMNS = ("study", "arm", "endpoint", "site_or_marker", "phase", "verification")
SHIPPED = Path(__file__).parents[1] / "data" / "fits"

SPEC = Shape(
    {
        "title": '"Turnover from placebo and denosumab"',
        "like": '"default"',
        "kind": '"typical"',
        "patients": "200",
        "seed": "1",
        "method": '"least_squares"',
        "starts": "3",
        "options": "{ max_nfev = 50 }",
        "fixed": "{ fade = 2.0 }",
        "mice": "true",
        "studies": "true",
        "evidence": '"my-evidence"',
        "around": '"samples.csv"',
        "parameter": "one or more tables [[parameter]]",
        "include": "one or more tables [[include]]",
        "exclude": "one or more tables [[exclude]]",
        "scenario": "one or more tables [[scenario]]",
    }
)
PARAMETER = Shape(
    {
        "name": '"kT"',
        "transform": '"log"',
        "start": "0.2",
        "low": "0.08",
        "high": "0.6",
        "prior": "{ mean = 0.26, sd = 0.35 }",
    },
    needed=("name",),
)
PRIOR = Shape({"mean": "0.26", "sd": "0.35"}, needed=("mean", "sd"))
SCENARIO = Shape({"fixed": "{ mix = 0.0 }", "weight": "0.5"})
INCLUDE = Shape(dict.fromkeys(COLUMNS, '["FREEDOM", "DEFEND"]') | {"reason": '"no raw value"'})
EXCLUDE = Shape(INCLUDE.keys, needed=("reason",))

Option = str | bool | int | float
Rule = Mapping[str, list[str]]


@dataclass(frozen=True)
class Fitted:
    """One fitted parameter; everything but `name`, `transform` and `within` is on the fitted scale.

    `within` are the bounds as they were given. Logarithm and exponential do not undo each other to the last bit, so
    `natural` returns no value beyond them.
    """

    name: str
    transform: str
    start: float
    low: float
    high: float
    prior_mean: float = 0.0
    prior_sd: float | None = None
    within: tuple[float, float] = (-math.inf, math.inf)

    @property
    def scale(self) -> float:
        """A step that matters: the prior's sd, else a tenth of the span between bounds."""
        return self.prior_sd if self.prior_sd is not None else 0.1 * (self.high - self.low)

    def natural(self, x: float) -> float:
        """From the fitted scale to the parameter's own unit; the bounds become the bounds as given."""
        low, high = self.within
        if x == self.low and math.isfinite(low):
            return low
        if x == self.high and math.isfinite(high):
            return high
        if self.transform == "log":
            x = math.exp(x)
        elif self.transform == "logit":
            x = 1 / (1 + math.exp(-x))
        return min(max(float(x), low), high)

    def slope(self, x: float) -> float:
        """Change of the natural value with the fitted one."""
        value = self.natural(x)
        return {"none": 1.0, "log": value, "logit": value * (1 - value)}[self.transform]


def transformed(value: float, transform: str) -> float:
    """From the parameter's own unit to the fitted scale."""
    if transform == "log":
        return math.log(value)
    return math.log(value / (1 - value)) if transform == "logit" else float(value)


@dataclass(frozen=True)
class Scenario:
    """Values held while the fitted ones have to serve, and what its misfit weighs."""

    fixed: dict[str, float]
    weight: float


@dataclass(frozen=True)
class Spec:
    """A fit as read by `load_spec`."""

    path: Path
    text: str
    title: str
    kind: str
    patients: int
    seed: int
    method: str
    starts: int
    options: dict[str, Option]
    fixed: dict[str, float]
    mice: bool
    studies: bool
    evidence: Path | None
    around: Path | None
    parameters: tuple[Fitted, ...]
    include: tuple[Rule, ...]
    exclude: tuple[Rule, ...]
    scenarios: tuple[Scenario, ...]

    def chosen(self, observations: pd.DataFrame) -> pd.Series:
        """Which rows the fit uses: those that match an `include` (all if there is none) and no `exclude`."""

        def matches(rules: tuple[Rule, ...]) -> pd.Series:
            found = pd.Series(False, index=observations.index)
            for rule in rules:
                one = pd.Series(True, index=observations.index)
                for column, wanted in rule.items():
                    one &= observations[column].isin(wanted)
                found |= one
            return found

        keep = matches(self.include) if self.include else pd.Series(True, index=observations.index)
        return keep & ~matches(self.exclude)


def methods() -> list[str]:
    """Names of lmfit's minimisers that can be asked for."""
    from lmfit.minimizer import SCALAR_METHODS

    own = ("leastsq", "least_squares", "brute", "basinhopping", "ampgo", "shgo", "dual_annealing")
    return sorted({*own, SAMPLER, *SCALAR_METHODS})


def load_spec(path: str | Path, parameters: ParameterTable | None = None) -> Spec:
    """Read and check a fit.

    Parameters
    ----------
    path : path
        The file; a name without folder and ``.toml`` may be a shipped one (``default``).
    parameters : ParameterTable, optional
        Where starts, bounds and units come from; the shipped table by default. Numbers of a user's own agents are among
        them, if the agents' files lie in the folder of evidence (beside the spec, without one).

    Raises
    ------
    BadInput
        Every fault of the file at once, each with file and line.
    """
    path = _found(path)
    data: dict[str, Any]
    data, text = load_toml(path)
    below = ""
    seen = [path.resolve()]
    while "like" in data:
        data, more = _below(data, path, text, seen)
        below += more
    evidence = data.get("evidence")
    folder = path.parent / evidence if isinstance(evidence, str) and evidence else path.parent
    return _Reader(path, data, text, below, load_parameters(parameters, folder=folder)).spec()


def _found(path: str | Path, folder: Path = Path()) -> Path:
    """The file of a fit: as named from `folder`, or else the shipped one of this name."""
    shipped = SHIPPED / f"{path}.toml"
    return shipped if not (folder / path).is_file() and shipped.is_file() else folder / path


def _below(data: dict[str, Any], path: Path, text: str, seen: list[Path]) -> tuple[dict[str, Any], str]:
    """The fit that `data` is like, with what `data` says in its place, and its text; `seen` gains its path."""
    name = data["like"]
    where = Faults(str(path), text).at(("like",))
    base = _found(name, seen[-1].parent) if isinstance(name, str) else Path()
    if not base.is_file():
        raise BadInput(f"{where}: like is {name!r}; give a shipped fit (default) or the path of a file.")
    if base.resolve() in seen:
        raise BadInput(f"{where}: like = '{name}' comes back to a fit that is like this one; begin with another.")
    seen.append(base.resolve())
    read, more = load_toml(base)
    under: dict[str, Any] = dict(read)
    for key in ("evidence", "around"):
        if isinstance(under.get(key), str) and under[key]:
            under[key] = str((base.parent / under[key]).resolve())
    merged = under | {key: value for key, value in data.items() if key not in ("like", "parameter")}
    own, fixed = data.get("parameter", []), data.get("fixed", {})
    if isinstance(own, list) and isinstance(fixed, dict):  # its own come first, so that a complaint finds their lines
        taken = {row.get("name") for row in own if isinstance(row, dict)} | set(fixed)
        merged["parameter"] = [*own, *(row for row in under.get("parameter", ()) if row.get("name") not in taken)]
    return merged, more


def bad_draws(parameters: int, particles: int) -> str:
    """What is wrong with the number of particles of a posterior; empty if nothing.

    Parameters
    ----------
    parameters : int
        How many are fitted.
    particles : int
    """
    least, most = max(20, 4 * parameters), MOST_DRAWN // (4 * parameters)  # each half must span all parameters
    if least <= particles <= most:
        return ""
    return f"{particles} particles for {counted(parameters, 'parameter')}; give {least} to {most}."


def _stopped(method: str, parameters: int, options: Mapping[str, Option]) -> str:
    """What a minimiser says to these options in a trial run on a sum of squares; empty if it runs."""
    import lmfit
    from scipy.optimize import OptimizeWarning

    if method == "brute" and (points := float(as_kind(options.get("Ns", 20), float) or 0) ** parameters) > MOST_POINTS:
        return f"method 'brute' would try {points:.2g} points; give a smaller Ns, or fit fewer parameters."
    values = lmfit.Parameters()
    for k in range(parameters):
        values.add(f"p{k}", value=10.0, min=5.0, max=15.0)
    middle = np.linspace(9, 11, parameters)

    def residual(values: Any) -> Any:
        found = np.array([each.value for each in values.values()]) - middle
        return np.append(found, 0.1 * found.sum())

    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", OptimizeWarning)
            lmfit.Minimizer(residual, values).minimize(method=method, **{**options, "max_nfev": TRIED})
    except Exception as fault:  # whatever the library makes of a wrong option
        said = " ".join(str(fault).split()).rstrip(".") or type(fault).__name__
        hint = "correct the options" if options else "choose another method"
        return f"method '{method}' does not run ({said}); {hint}."
    return ""


class _Reader:
    """One fit on its way in; every method that finds a fault notes it and goes on."""

    def __init__(self, path: Path, data: dict[str, Any], text: str, below: str, table: ParameterTable) -> None:
        self.path, self.text, self.below, self.table = path, text, below, table
        self.faults = Faults(str(path), text, data)
        self.root = Table(self.faults, data, SPEC)

    def spec(self) -> Spec:
        root, between = self.root, "between-patient"
        method = root.choice("method", methods(), "least_squares")
        kind = root.choice("kind", KINDS, KINDS[0])
        if kind == between and method == SAMPLER:
            root.fault("method", f'{method} draws typical values; with kind = "{kind}" use a minimiser of lmfit.')
        patients = root.whole("patients", PATIENTS, least=20, most=MOST)
        if "patients" in root and kind != between:
            root.fault("patients", f'patients are simulated only for kind = "{between}"; leave the key out.')
        if root.flag("mice") and kind == between:
            root.fault("mice", f'mice are compared with typical values; with kind = "{between}" leave the key out.')
        if root.flag("studies") and kind == between:
            root.fault("studies", f'studies differ in typical values; with kind = "{between}" leave the key out.')
        fixed = self._values(root, "fixed")
        fitted = self._parameters(fixed)
        for i, p in enumerate(fitted):
            if p.name.endswith(SPREAD) and kind != between:
                root.fault(("parameter", i, "name"), f'{p.name} is a spread: it needs kind = "{between}".')
        evidence, around = root.text("evidence", ""), root.text("around", "")
        if around and method != SAMPLER:
            root.fault("around", f'earlier draws are where method = "{SAMPLER}" begins; leave the key out.')
        spec = Spec(
            path=self.path,
            text=self.text + self.below,
            title=root.text("title", self.path.stem),
            kind=kind,
            patients=patients,
            seed=root.whole("seed", 1, least=0, most=MOST),
            method=method,
            starts=root.whole("starts", 1, least=1, most=MOST),
            options=self._options(method, max(1, len(fitted))),
            fixed=fixed,
            mice=root.flag("mice"),
            studies=root.flag("studies"),
            evidence=self.path.parent / evidence if evidence else None,
            around=self.path.parent / around if around else None,
            parameters=fitted,
            include=self._rules("include", INCLUDE),
            exclude=self._rules("exclude", EXCLUDE),
            scenarios=self._scenarios(fitted),
        )
        self.faults.stop()
        return spec

    def _options(self, method: str, parameters: int) -> dict[str, Option]:
        """Options of the method. What it does not take, or can't begin with, is named here and not after hours."""
        import lmfit
        import scipy.optimize

        before = len(self.faults)
        calls = [getattr(lmfit.Minimizer, method, None), getattr(scipy.optimize, method, None)]
        takes = {name for call in calls if call is not None for name in inspect.signature(call).parameters}
        draws = method == SAMPLER
        known = ("particles",) if draws else tuple(sorted((takes | {"max_nfev"}) - set(OWN)))
        options: dict[str, Option] = {}
        for name, value in self.root.mapping("options", object, {}).items():
            whole = draws or name == "max_nfev"
            given = as_kind(value, int)
            if (name not in known and (draws or calls[0] is not None)) or name in OWN:
                self.root.fault(("options", name), f"method '{method}' takes no option '{name}'; {near(name, known)}")
            elif whole and (given is None or not 1 <= given <= MOST):
                self.root.fault(("options", name), f"{name} is {shown(value)}; give a whole number, 1 to {MOST}.")
            elif isinstance(value, str | bool | int) or as_kind(value, float) is not None:
                options[name] = cast(Option, value)
            else:
                self.root.fault(("options", name), f"{name} is {shown(value)}; give text, a finite number or true.")
        if len(self.faults) > before:
            return options
        if draws:
            said = bad_draws(parameters, cast(int, options.get("particles", PARTICLES)))
        else:
            said = _stopped(method, parameters, options)
        if said:
            path = ("options", "particles") if "particles" in options else ("options",) if options else ("method",)
            self.root.fault(path, said)
        return options

    def _values(self, table: Table, key: str) -> dict[str, float]:
        """Values of parameters, each within its range."""
        found = table.mapping(key, float, {})
        for name, value in found.items():
            path = table.at(key, name)
            for message in self.table.faults({name: value}, self.faults.at(path)):
                self.faults.add_message(path, message)
        return found

    def _parameters(self, fixed: dict[str, float]) -> tuple[Fitted, ...]:
        rows = self.root.tables("parameter", PARAMETER)
        if not rows:
            self.root.fault("parameter", "no [[parameter]] to fit; name at least one.")
        found: dict[str, Fitted | None] = {}
        for row in rows:
            name = row.text("name", "")
            if name in fixed or name in found:
                row.fault("name", f"{name} appears twice (fitted, or fixed and fitted); keep one.")
            elif name:
                found[name] = self._fitted(row, name)
        return tuple(one for one in found.values() if one is not None)

    def _fitted(self, row: Table, name: str) -> Fitted | None:
        before, place = len(self.faults), self.faults.at(row.at("name"))
        of_table = self.faults.attempt(row.at("name"), lambda _: self.table.row(name, place))
        if of_table is None:
            return None
        usual = "log" if of_table["low"] > 0 or name.endswith(SPREAD) else "none"
        transform = row.choice("transform", TRANSFORMS, usual)
        low, high = row.number("low", float(of_table["low"])), row.number("high", float(of_table["high"]))
        start = row.number("start", float(of_table["value"]))
        if low >= high:
            row.fault("low", f"bounds of {name} are the wrong way round, {low:g} to {high:g}; give low < high.")
        elif not of_table["low"] <= low or not high <= of_table["high"]:
            row.fault(
                "low",
                f"bounds of {name}, {low:g} to {high:g}, leave its plausible range; "
                f"stay within {of_table['low']:g} to {of_table['high']:g}.",
            )
        elif not low <= start <= high:
            row.fault(
                "start", f"start of {name} is {start:g}, outside its bounds {low:g} to {high:g}; give one within them."
            )
        if transform == "log" and low <= 0:
            row.fault("low", f"{name} is fitted as its logarithm, so low must be above 0, not {low:g}.")
        if transform == "logit" and not (0 < low and high < 1):
            row.fault("low", f"{name} is fitted as its logit, so bounds must lie between 0 and 1.")
        mean, sd = start, None
        if prior := row.table("prior", PRIOR):
            mean, sd = prior.number("mean", start), prior.number("sd", None)
            inside = {"none": True, "log": mean > 0, "logit": 0 < mean < 1}[transform]
            if not inside or (sd is not None and sd <= 0):
                row.fault(
                    "prior",
                    f"prior of {name} has mean {mean:g} and sd {sd}; give {{ mean = ..., sd = ... }}, mean in the "
                    "parameter's unit, sd > 0 on the fitted scale.",
                )
        if len(self.faults) > before:
            return None
        within = low, high
        start, low, high, mean = (transformed(x, transform) for x in (start, low, high, mean))
        return Fitted(name, transform, start, low, high, mean, sd, within)

    def _scenarios(self, fitted: tuple[Fitted, ...]) -> tuple[Scenario, ...]:
        found = []
        for table in self.root.tables("scenario", SCENARIO):
            held = self._values(table, "fixed")
            for name in sorted(set(held) & {p.name for p in fitted}):
                table.fault(("fixed", name), f"{name} is both fitted and held; keep one.")
            found.append(Scenario(held, table.number("weight", 1.0, above=0)))
        return tuple(found) or (Scenario({}, 1.0),)

    def _rules(self, key: str, shape: Shape) -> tuple[Rule, ...]:
        """Rows to use or leave out: the values that each column may have."""
        rules = []
        for table in self.root.tables(key, shape):
            table.text("reason", "")
            rules.append({
                column: [table.text(column, "")] if isinstance(given, str) else table.values(column, str, [])
                for column, given in table.data.items()
                if column in COLUMNS
            })  # fmt: skip
        return tuple(rules)
