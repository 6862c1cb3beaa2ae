"""A fit as a file: which parameters, within which bounds, with which priors, to which figures, by which method.

.. code-block:: toml

    title    = "Turnover from placebo and denosumab"
    like     = "default"                  # begin with another fit; what this file says stands in its place
    kind     = "typical"                  # to the figures; "between-patient": to their spreads (`cohorts.variability`)
    patients = 200                        # virtual ones of each arm, for "between-patient" only
    seed     = 1
    method   = "least_squares"            # any minimiser of lmfit, "emcee", "importance"
    starts   = 3                          # the first from `start`, the others drawn between the bounds
    options  = { max_nfev = 50 }          # passed to the method
    fixed    = { fade = 2.0 }             # held at another value than the parameter table's
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

import difflib
import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ranklsim.pkpd.errors import BadInput
from ranklsim.pkpd.parameters import SPREAD, ParameterTable, load_parameters
from ranklsim.pkpd.reading import load_toml
from ranklsim.pkpd.tomltext import locate

SAMPLERS = ("emcee", "importance")
"""Methods that draw from the posterior (`posterior`)."""
TRANSFORMS = ("none", "log", "logit")
KINDS = ("typical", "between-patient")
PATIENTS = 200
KEYS = (
    "title",
    "like",
    "kind",
    "patients",
    "seed",
    "method",
    "starts",
    "options",
    "fixed",
    "evidence",
    "parameter",
    "include",
    "exclude",
    "scenario",
)
COLUMNS = ("study", "arm", "endpoint", "site_or_marker", "phase", "verification")
SHIPPED = Path(__file__).parents[1] / "data" / "fits"


@dataclass(frozen=True)
class Fitted:
    """One fitted parameter; everything but `name` and `transform` is on the fitted scale."""

    name: str
    transform: str
    start: float
    low: float
    high: float
    prior_mean: float = 0.0
    prior_sd: float | None = None

    @property
    def scale(self) -> float:
        """A step that matters: the prior's sd, else a tenth of the span between bounds."""
        return self.prior_sd if self.prior_sd is not None else 0.1 * (self.high - self.low)

    def natural(self, x: float) -> float:
        """From the fitted scale to the parameter's own unit."""
        if self.transform == "log":
            return math.exp(x)
        return 1 / (1 + math.exp(-x)) if self.transform == "logit" else float(x)

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
    options: dict[str, Any]
    fixed: dict[str, float]
    evidence: Path | None
    parameters: tuple[Fitted, ...]
    include: tuple[Mapping[str, Any], ...]
    exclude: tuple[Mapping[str, Any], ...]
    scenarios: tuple[Scenario, ...]

    def chosen(self, observations: pd.DataFrame) -> pd.Series:
        """Which rows the fit uses: those that match an `include` (all if there is none) and no `exclude`."""

        def matches(rules: tuple[Mapping[str, Any], ...]) -> pd.Series:
            found = pd.Series(False, index=observations.index)
            for rule in rules:
                one = pd.Series(True, index=observations.index)
                for column in COLUMNS:
                    if column in rule:
                        wanted = rule[column] if isinstance(rule[column], list) else [rule[column]]
                        one &= observations[column].isin(wanted)
                found |= one
            return found

        keep = matches(self.include) if self.include else pd.Series(True, index=observations.index)
        return keep & ~matches(self.exclude)


def methods() -> list[str]:
    """Names of lmfit's minimisers that can be asked for."""
    from lmfit.minimizer import SCALAR_METHODS

    own = {
        "leastsq",
        "least_squares",
        "brute",
        "basinhopping",
        "ampgo",
        "emcee",
        "importance",
        "shgo",
        "dual_annealing",
    }
    return sorted(own | set(SCALAR_METHODS))


def load_spec(path: str | Path, parameters: ParameterTable | None = None) -> Spec:
    """Read and check a fit.

    Parameters
    ----------
    path : path
        The file; a name without folder and ``.toml`` may be a shipped one (``default``).
    parameters : ParameterTable, optional
        Where starts, bounds and units come from; the shipped table by default.

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
    return _Reader(path, data, text, below, parameters or load_parameters()).spec()


def _found(path: str | Path, folder: Path = Path()) -> Path:
    """The file of a fit: as named from `folder`, or else the shipped one of this name."""
    shipped = SHIPPED / f"{path}.toml"
    return shipped if not (folder / path).is_file() and shipped.is_file() else folder / path


def _below(data: dict[str, Any], path: Path, text: str, seen: list[Path]) -> tuple[dict[str, Any], str]:
    """The fit that `data` is like, with what `data` says in its place, and its text; `seen` gains its path."""
    name = data["like"]
    where = f"{path}:{locate(text, ('like',))}" if locate(text, ("like",)) else str(path)
    base = _found(name, seen[-1].parent) if isinstance(name, str) else Path()
    if not base.is_file():
        raise BadInput(f"{where}: like is {name!r}; give a shipped fit (default) or the path of a file.")
    if base.resolve() in seen:
        raise BadInput(f"{where}: like = '{name}' comes back to a fit that is like this one; begin with another.")
    seen.append(base.resolve())
    read, more = load_toml(base)
    under: dict[str, Any] = dict(read)
    if isinstance(under.get("evidence"), str):
        under["evidence"] = str((base.parent / under["evidence"]).resolve())
    merged = under | {key: value for key, value in data.items() if key not in ("like", "parameter")}
    own = data.get("parameter", [])
    if isinstance(own, list):  # its own come first, so that a complaint finds their lines
        taken = {row.get("name") for row in own if isinstance(row, dict)} | set(data.get("fixed", {}))
        merged["parameter"] = [*own, *(row for row in under.get("parameter", ()) if row.get("name") not in taken)]
    return merged, more


class _Reader:
    def __init__(self, path: Path, data: dict[str, Any], text: str, below: str, table: ParameterTable) -> None:
        self.path, self.data, self.text, self.below, self.table = path, data, text, below, table
        self.faults: list[str] = []

    def spec(self) -> Spec:
        self._known((), self.data, KEYS)
        method = self._text("method", "least_squares")
        if method not in methods():
            self._fault(("method",), f"unknown method '{method}'; {_near(method, methods())}")
        kind = self._text("kind", KINDS[0])
        if kind not in KINDS:
            self._fault(("kind",), f"unknown kind '{kind}'; {_near(kind, KINDS)}")
        if kind == "between-patient" and method in SAMPLERS:
            self._fault(("method",), f'{method} draws typical values; with kind = "{kind}" use a minimiser of lmfit.')
        patients = self._whole("patients", PATIENTS, 20)
        if "patients" in self.data and kind != "between-patient":
            self._fault(("patients",), 'patients are simulated only for kind = "between-patient"; leave the key out.')
        seed, starts = self._whole("seed", 1, 0), self._whole("starts", 1, 1)
        options = self._table(("options",))
        if method in methods():
            self._options(method, options)
        fixed = self._values(("fixed",))
        evidence = self._text("evidence", "")
        fitted = self._parameters(fixed)
        for i, p in enumerate(fitted):
            if p.name.endswith(SPREAD) and kind != "between-patient":
                self._fault(("parameter", i, "name"), f'{p.name} is a spread: it needs kind = "between-patient".')
        scenarios = self._scenarios(fitted)
        include, exclude = self._rules("include"), self._rules("exclude")
        title = self._text("title", self.path.stem)
        if self.faults:
            raise BadInput(*self.faults)
        folder = self.path.parent / evidence if evidence else None
        return Spec(
            self.path,
            self.text + self.below,
            title,
            kind,
            patients,
            seed,
            method,
            starts,
            options,
            fixed,
            folder,
            fitted,
            include,
            exclude,
            scenarios,
        )

    def _fault(self, key: tuple[str | int, ...], sentence: str) -> None:
        line = locate(self.text, key)
        self.faults.append(f"{self.path}:{line}: {sentence}" if line else f"{self.path}: {sentence}")

    def _known(self, key: tuple[str | int, ...], table: Mapping[str, Any], known: tuple[str, ...]) -> None:
        for name in table:
            if name not in known:
                self._fault((*key, name), f"unknown key '{name}'; {_near(name, known)}")

    def _text(self, key: str, default: str) -> str:
        value = self.data.get(key, default)
        if not isinstance(value, str):
            self._fault((key,), f"{key} is {value!r}; give text in quotes.")
            return default
        return value

    def _whole(self, key: str, default: int, least: int) -> int:
        value = self.data.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            self._fault((key,), f"{key} is {value!r}; give a whole number, {least} or more.")
            return default
        return value

    def _table(self, key: tuple[str | int, ...]) -> dict[str, Any]:
        value: Any = self.data
        for part in key:
            value = value.get(part, {}) if isinstance(value, dict) else value[part]
        if not isinstance(value, dict):
            self._fault(key, f"{key[-1]} is {value!r}; give a table, such as {{ name = 1.0 }}.")
            return {}
        return value

    def _options(self, method: str, options: dict[str, Any]) -> None:
        """Options that the method of lmfit, and what it calls, does not take are named here and not deep in it."""
        import lmfit
        import scipy.optimize

        if method in SAMPLERS:
            own = ("walkers", "steps", "burn", "thin") if method == "emcee" else ("candidates", "keep")
            for name in options:
                if name not in own:
                    self._fault(("options", name), f"method '{method}' takes no option '{name}'; {_near(name, own)}")
                elif isinstance(options[name], bool) or not isinstance(options[name], int) or options[name] < 1:
                    self._fault(("options", name), f"{name} is {options[name]!r}; give a whole number, 1 or more.")
            return
        call = getattr(
            lmfit.Minimizer, {"leastsq": "leastsq", "least_squares": "least_squares"}.get(method, method), None
        )
        beneath = getattr(scipy.optimize, method, None)
        takes = {
            name
            for function in (call, beneath)
            if function is not None
            for name in inspect.signature(function).parameters
        } | {"max_nfev"}
        for name in options:
            if call is not None and name not in takes:
                self._fault(
                    ("options", name), f"method '{method}' takes no option '{name}'; {_near(name, tuple(takes))}"
                )

    def _values(self, key: tuple[str | int, ...]) -> dict[str, float]:
        found = {}
        for name, value in self._table(key).items():
            where = f"{self.path}:{locate(self.text, (*key, name))}"
            if isinstance(value, bool) or not isinstance(value, int | float):
                self._fault((*key, name), f"{name} is {value!r}; give a number.")
                continue
            try:
                self.table.replace({name: float(value)}, where)
                found[name] = float(value)
            except BadInput as fault:
                self.faults += fault.messages
        return found

    def _parameters(self, fixed: dict[str, float]) -> tuple[Fitted, ...]:
        rows = self.data.get("parameter", [])
        if not isinstance(rows, list) or not rows:
            self._fault(("parameter",), "no [[parameter]] to fit; name at least one.")
            return ()
        found: list[Fitted] = []
        for i, row in enumerate(rows):
            key = ("parameter", i)
            self._known(key, row, ("name", "transform", "start", "low", "high", "prior"))
            name = row.get("name")
            if not isinstance(name, str):
                self._fault(key, "a [[parameter]] has no name; give a symbol of the parameter table.")
                continue
            try:
                of_table = self.table.row(name, f"{self.path}:{locate(self.text, (*key, 'name'))}")
            except BadInput as fault:
                self.faults += fault.messages
                continue
            if name in fixed or any(name == other.name for other in found):
                self._fault((*key, "name"), f"{name} stands twice (fitted, or fixed and fitted); keep one.")
                continue
            one = self._fitted(key, row, name, of_table)
            if one:
                found.append(one)
        return tuple(found)

    def _fitted(self, key: tuple[str | int, ...], row: dict[str, Any], name: str, of_table: pd.Series) -> Fitted | None:
        before = len(self.faults)
        transform = row.get("transform", "log" if of_table["low"] > 0 or name.endswith(SPREAD) else "none")
        if transform not in TRANSFORMS:
            self._fault((*key, "transform"), f"unknown transform '{transform}'; give one of {', '.join(TRANSFORMS)}.")
            return None
        number = {}
        for end in ("low", "high", "start"):
            value = row.get(end, of_table["value" if end == "start" else end])
            if isinstance(value, bool) or not isinstance(value, int | float | np.floating) or not math.isfinite(value):
                self._fault((*key, end), f"{end} of {name} is {value!r}; give a number.")
                return None
            number[end] = float(value)
        low, high, start = number["low"], number["high"], number["start"]
        if low >= high:
            self._fault(
                (*key, "low"), f"bounds of {name} are the wrong way round, {low:g} to {high:g}; give low < high."
            )
        elif not of_table["low"] <= low or not high <= of_table["high"]:
            self._fault(
                (*key, "low"),
                f"bounds of {name}, {low:g} to {high:g}, leave its plausible range; "
                f"stay within {of_table['low']:g} to {of_table['high']:g}.",
            )
        elif not low <= start <= high:
            self._fault((*key, "start"), f"start of {name} is {start:g}, outside its bounds {low:g} to {high:g}.")
        if transform == "log" and low <= 0:
            self._fault((*key, "low"), f"{name} is fitted as its logarithm, so low must be above 0, not {low:g}.")
        if transform == "logit" and not (0 < low and high < 1):
            self._fault((*key, "low"), f"{name} is fitted as its logit, so bounds must lie between 0 and 1.")
        prior = row.get("prior")
        mean: Any = start
        sd: Any = None
        if prior is not None:
            mean, sd = (prior.get("mean"), prior.get("sd")) if isinstance(prior, dict) else (None, None)
            right = all(isinstance(v, int | float) and not isinstance(v, bool) for v in (mean, sd))
            if (
                not right
                or sd <= 0
                or (transform == "log" and mean <= 0)
                or (transform == "logit" and not 0 < mean < 1)
            ):
                self._fault(
                    (*key, "prior"),
                    f"prior of {name} is {prior!r}; give {{ mean = ..., sd = ... }}, mean in the parameter's unit, "
                    "sd > 0 on the fitted scale.",
                )
        if len(self.faults) > before:
            return None
        return Fitted(
            name,
            transform,
            transformed(start, transform),
            transformed(low, transform),
            transformed(high, transform),
            transformed(float(mean), transform),
            None if sd is None else float(sd),
        )

    def _scenarios(self, fitted: tuple[Fitted, ...]) -> tuple[Scenario, ...]:
        rows = self.data.get("scenario", [])
        if not isinstance(rows, list):
            self._fault(("scenario",), "scenario is not a list; write [[scenario]].")
            return ()
        found = []
        for i, row in enumerate(rows):
            self._known(("scenario", i), row, ("fixed", "weight"))
            weight = row.get("weight", 1.0)
            if isinstance(weight, bool) or not isinstance(weight, int | float) or weight <= 0:
                self._fault(("scenario", i, "weight"), f"weight is {weight!r}; give a number above 0.")
                continue
            held = self._values(("scenario", i, "fixed"))
            for name in sorted(set(held) & {p.name for p in fitted}):
                self._fault(("scenario", i, "fixed", name), f"{name} is both fitted and held; keep one.")
            found.append(Scenario(held, float(weight)))
        return tuple(found) or (Scenario({}, 1.0),)

    def _rules(self, key: str) -> tuple[Mapping[str, Any], ...]:
        rows = self.data.get(key, [])
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            self._fault((key,), f"{key} is not a list of tables; write [[{key}]].")
            return ()
        for i, row in enumerate(rows):
            self._known((key, i), row, (*COLUMNS, "reason"))
            if key == "exclude" and not row.get("reason"):
                self._fault((key, i), "an [[exclude]] has no reason; say why these rows are left out.")
        return tuple(rows)


def _near(name: str, known: tuple[str, ...] | list[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"did you mean '{close[0]}'?" if close else f"it is one of {', '.join(sorted(known))}."
