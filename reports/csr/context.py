"""Data that all sections of a report share: the run, its arms, the analysed endpoints; and the making of exhibits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ranklsim.cohorts.endpoints import Change, Durability, Endpoint
from ranklsim.cohorts.endpoints.base import Analysed
from ranklsim.cohorts.endpoints.change import ChangeDetail
from ranklsim.cohorts.endpoints.durability import lasting
from ranklsim.cohorts.running.storage import Run
from ranklsim.cohorts.statistics import summaries
from ranklsim.cohorts.words import month_text
from ranklsim.pkpd.errors import counted
from ranklsim.pkpd.variants import variants
from ranklsim.reports.analyses.results import Analyses, analyse, analysed_endpoints
from ranklsim.reports.csr import unknowns
from ranklsim.reports.figures.ahead import Picture
from ranklsim.reports.layout import tables, wording
from ranklsim.reports.layout.arms import ArmView, view_arms
from ranklsim.reports.layout.cells import Record, Table, listing
from ranklsim.reports.layout.exhibit import Exhibit
from ranklsim.reports.sensitivity.analyse import rank_correlations

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BASELINE = {
    "age": ("Age", "yr", "mean"),
    "years_since_menopause": ("Years since menopause", "yr", "mean"),
    "weight": ("Weight", "kg", "mean"),
    "height": ("Height", "cm", "mean"),
    "BMI": ("Body mass index", "kg/m²", "mean"),
    "eGFR": ("eGFR", "mL/min/1.73 m²", "mean"),
    "vitamin_D": ("Serum 25-OH-D", "ng/mL", "median"),
    "T_LS": ("Lumbar spine BMD", "T-score", "mean"),
    "T_TH": ("Total hip BMD", "T-score", "mean"),
    "T_FN": ("Femoral neck BMD", "T-score", "mean"),
    "T_R13": ("1/3 radius BMD", "T-score", "mean"),
    "BMD_LS": ("Lumbar spine BMD, measured", "g/cm²", "mean"),
    "BMD_TH": ("Total hip BMD, measured", "g/cm²", "mean"),
    "prevalent_fracture": ("Prevalent vertebral fracture", "", "count"),
    "prior_treatment": ("Earlier osteoporosis treatment", "", "count"),
    "CTX": ("Serum CTX", "ng/mL", "median"),
    "P1NP": ("Serum P1NP", "ng/mL", "median"),
}

NOT_KNOWN = "11.4.10"
"""Number of the section on what the unknown parameters leave open, to which others refer."""

INTERIM = "11.4.2.3"
"""Number of the section on interim analyses."""

SITES = {"LS": "Lumbar spine", "TH": "Total hip", "FN": "Femoral neck", "R13": "1/3 radius"}


class Context:
    """The run of one report, with everything that its sections share."""

    def __init__(self, data: Run) -> None:
        self.data = data
        self.trial = data.trial
        self.arms: list[ArmView] = view_arms(data.trial.arms, data.agents)
        self.by_name = {arm.name: arm for arm in self.arms}
        self.names = [arm.name for arm in self.arms]
        counts = data.patients["arm"].value_counts()
        self.counts = {name: int(counts.get(name, 0)) for name in self.names}
        self.n = len(data.patients)
        self.control: str | None = data.trial.control
        self.seed = data.trial.seed
        self.last_month = data.months[-1]
        self.ends = {a.name: a.end for a in self.arms if a.end < self.last_month - 1e-9}
        self.main_end = min(max((a.end for a in self.arms), default=0.0), self.last_month)
        self.switch = len({a.end for a in self.arms}) == 1 and any(
            course.start >= arm.end - 1e-6 for arm in self.arms for course in arm.courses
        )
        self.end_words = f"the switch at month {month_text(self.main_end)}" if self.switch else "the end of treatment"
        self.population = f"Simulated data. Full analysis set (N={self.n})"
        self.treated = summaries.safety_set(data.patients, data.doses)
        self.safety = f"Simulated data. Safety set (N={len(self.treated)})"
        self.typical = "Simulated data. One typical patient"
        version, digest = data.manifest["ranklsim"], str(data.manifest["parameters_hash"])
        self.model = f"ranklsim {version}, parameters {digest[:10]}"
        draws = data.uncertainty_draws
        self.n_draws = int((draws["draw"] != 0).sum()) if len(draws) else 0
        drawn = draws.set_index("draw") if len(draws) else pd.DataFrame()
        self.drawn = drawn.loc[:, [c for c in drawn.columns if drawn[c].nunique() > 1]] if len(drawn) else drawn
        meanings = data.parameters.frame["meaning"].to_dict()
        self.meanings = {s: str(meanings.get(s) or data.parameters.row(s)["meaning"]) for s in self.drawn}
        self.result_column = "value" if self.control is None else "difference"
        self._measured: tuple[str, pd.DataFrame] = "", pd.DataFrame()
        self._by_draw: dict[tuple[Any, ...], pd.DataFrame] = {}
        self._lasting: dict[tuple[str, str, float | None], pd.DataFrame] = {}
        self.primary = self._primary()

    @cached_property
    def parameters(self) -> pd.DataFrame:
        """The parameter table of the run, one row per parameter with its symbol."""
        return self.data.parameters.frame.reset_index()

    @property
    def basis_line(self) -> str:
        """Which arms are calibrated and which are predicted."""
        return wording.basis(self.arms)

    def table(
        self,
        number: str,
        title: str,
        frame: pd.DataFrame,
        make: Callable[..., Table] = tables.crossed,
        *,
        note: str = "",
        headline: str = "",
        arms: Sequence[ArmView] | None = None,
        who: str | None = None,
        **options: Any,
    ) -> Exhibit:
        """A table with the arms as columns.

        Parameters
        ----------
        number, title, note, headline
            As in `Exhibit`.
        frame : DataFrame
        make : callable
            A function of `ranklsim.reports.layout.tables`, which is given `options`.
        arms : sequence of ArmView, optional
            The columns, all arms by default.
        who : str, optional
            The patients it is about: the analysis set (`population`) by default, or the `safety` set.

        Returns
        -------
        Exhibit
        """
        who = self.population if who is None else who
        sizes = self.treated["arm"].value_counts().to_dict() if who == self.safety else self.counts
        body = make(frame, self.arms if arms is None else arms, sizes, **options) if len(frame) else ""
        return Exhibit("Table", number, title, frame, body, note, headline, population=who)

    def listing(
        self,
        number: str,
        title: str,
        frame: pd.DataFrame,
        cells: Callable[[dict[str, Any]], Record],
        *,
        note: str = "",
        numeric: Sequence[str] = (),
        group: str | None = None,
        who: str = "",
        widths: Sequence[int] = (),
    ) -> Exhibit:
        """A table of `frame` row by row.

        Parameters
        ----------
        number, title, note
            As in `table`.
        frame : DataFrame
        cells : callable
            Turns a row into head and text of each column.
        numeric, group, widths
            As in `layout.cells.listing`.
        who : str
            The patients it is about (`population`), the `typical` patient, or nobody.

        Returns
        -------
        Exhibit
        """
        records = frame.to_dict("records")
        rows = [cells(record) for record in records]
        body = listing(rows, records=records, numeric=numeric, group=group, widths=widths) if rows else ""
        return Exhibit("Table", number, title, frame, body, note, population=who)

    def figure(
        self,
        number: str,
        title: str,
        frame: pd.DataFrame,
        draw: Callable[..., Figure],
        *,
        note: str = "",
        headline: str = "",
        alt: str = "",
        arms: Sequence[ArmView] | None = None,
        who: str | None = None,
        **options: Any,
    ) -> Exhibit:
        """A figure of `frame`.

        Parameters
        ----------
        number, title, note, headline, who
            As in `table`.
        frame : DataFrame
        draw : callable
            A function of `ranklsim.reports.figures`, which is given `options`.
        alt : str
            The text for a screen reader where there is no `headline`.
        arms : sequence of ArmView, optional
            Those shown, all by default.

        Returns
        -------
        Exhibit
        """
        who = self.population if who is None else who
        shell = Exhibit("Figure", number, title, frame, "", "")
        if frame.empty:
            return shell
        spoken = " ".join(part for part in (f"{title}.", headline or alt, f"Numbers: {shell.stem}.csv") if part)
        shown = self.arms if arms is None else arms
        picture = Picture(partial(draw, frame, shown, **options), shell.anchor, spoken)
        said = " ".join(part for part in (f"{who}." if who else "", note) if part)
        return replace(shell, footnote=said, headline=headline, picture=picture, alt=spoken)

    @property
    def sizes(self) -> str:
        """Patients randomised, by arm."""
        return ", ".join(f"{arm.label} {self.counts[arm.name]}" for arm in self.arms)

    def _primary(self) -> Any:
        ranked = [e for e in self.trial.changes if e.role == "primary"] or list(self.trial.changes)
        return ranked[0] if ranked else None

    def _can_draw(self, spec: Change) -> bool:
        """Whether the parameter draws contain the measure and the months of an endpoint."""
        known = f"{spec.measure}_pct" in self.data.uncertainty
        return known and {spec.from_month, spec.to_month} <= self._drawn_months and spec.kind == "percent"

    @cached_property
    def _drawn_months(self) -> set[float]:
        """Months of the courses over the parameter draws."""
        return set(self.data.uncertainty["month"].unique()) if len(self.data.uncertainty) else set()

    def reference(self, spec: Endpoint) -> str | None:
        """The arm that others are compared with in an endpoint.

        Parameters
        ----------
        spec : Endpoint
        """
        return self.trial.comparator(spec)

    def compared(self, spec: Endpoint, arm: str) -> str:
        """An arm and its comparator, as labels.

        Parameters
        ----------
        spec : Endpoint
        arm : str
        """
        reference = self.reference(spec)
        against = "" if reference is None else f" against {self.by_name[reference].label}"
        return f"{self.by_name[arm].label}{against}"

    def by_draw(self, spec: Change) -> pd.DataFrame:
        """An endpoint of the typical patient, by draw and arm, with the difference to its comparator.

        Parameters
        ----------
        spec : Change
            The endpoint.
        """
        return self._of_courses(self.data.uncertainty, spec)

    def _of_courses(self, courses: pd.DataFrame, spec: Change) -> pd.DataFrame:
        what = (id(courses), spec.measure, spec.from_month, spec.to_month)
        if what not in self._by_draw:
            self._by_draw[what] = unknowns.endpoint_by_draw(courses, *what[1:], None)
        key = (*what, self.reference(spec), spec.arms)
        if key not in self._by_draw:
            self._by_draw[key] = unknowns.with_difference(self._by_draw[what], *key[4:])
        return self._by_draw[key]

    @cached_property
    def analysed(self) -> list[Analysed]:
        """Every endpoint of the protocol, with its analysis."""
        return analysed_endpoints(self.data)

    @cached_property
    def changes(self) -> list[tuple[Change, ChangeDetail]]:
        """The endpoints of the kind "change", with their analyses."""
        return [(each.spec, each.detail) for each in self.analysed if isinstance(each.spec, Change)]

    @property
    def repeated(self) -> list[Any]:
        """The models of repeated measures among these analyses."""
        return [detail.model for _, detail in self.changes if detail.model is not None]

    @cached_property
    def endpoints(self) -> pd.DataFrame:
        """All endpoints by arm, with the interval over unknown parameters where the draws contain the endpoint."""
        frames = [self.with_unknowns(spec, detail.table) for spec, detail in self.changes]
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()

    def with_unknowns(self, spec: Change, table: pd.DataFrame, *, alone: bool = False) -> pd.DataFrame:
        """An endpoint by arm, with its range over what is not known of the model.

        Parameters
        ----------
        spec : Change
            The endpoint.
        table : DataFrame
            Its rows by arm.
        alone : bool
            Whether the change of each arm is asked, and not the difference to its comparator.

        Returns
        -------
        DataFrame
            With columns ``parameter_median``, ``_low``, ``_high``, ``_draws``, ``_default`` over the parameter draws,
            ``parameter_below`` (share of them in which the result is below 0), and ``unknown_low``, ``unknown_high``
            over these and the other structures of the model that the data do not refute; NaN where there is none.
        """
        names = {"median": "parameter_median", "low": "parameter_low", "high": "parameter_high"}
        names |= {"draws": "parameter_draws", "both_low": "unknown_low", "both_high": "unknown_high"}
        names["below"] = "parameter_below"
        found = np.full((len(table), len(names) + 1), np.nan)
        if self._can_draw(spec):
            column = "value" if alone or self.reference(spec) is None else "difference"
            draws, other = self.by_draw(spec), self._of_courses(self._structures, spec)
            values, structures = draws[column].to_numpy(float), other[column].to_numpy(float)
            default, open_ = (draws["draw"] == 0).to_numpy(), other["draw"].isin(self._open).to_numpy()
            for row, arm in zip(found, table["arm"], strict=True):
                own = (draws["arm"] == arm).to_numpy()
                drawn = values[own & ~default]
                over = unknowns.whole_range(drawn, structures[open_ & (other["arm"] == arm).to_numpy()])
                over["below"] = float((drawn < 0).mean()) if drawn.size else np.nan
                row[:] = [*(over[name] for name in names), *values[own & default], np.nan][: len(row)]
        return table.assign(**dict(zip((*names.values(), "parameter_default"), found.T, strict=True)))

    @cached_property
    def importance(self) -> pd.DataFrame:
        """Rank correlations of the primary endpoint's difference with every drawn parameter, by arm."""
        columns = ["arm", "symbol", "meaning", "rho", "low", "high", "share", "beyond_chance", "draws"]
        if self.primary is None or not self._can_draw(self.primary) or self.drawn.empty:
            return pd.DataFrame(columns=columns)
        draws = self.by_draw(self.primary)
        frames = []
        for arm in self.arms:
            result = draws.loc[draws["arm"] == arm.name].set_index("draw")[self.result_column]
            ranked = rank_correlations(self.drawn.drop(index=0, errors="ignore"), result)
            frames.append(ranked.assign(arm=arm.name, meaning=ranked["symbol"].map(self.meanings).fillna("")))
        return pd.concat(frames, ignore_index=True)[columns]

    @cached_property
    def analyses(self) -> Analyses:
        """Endpoints of every kind, estimands, subgroups and multiplicity."""
        return analyse(self.data, self.analysed)

    def read_elsewhere(self, *, changes: bool) -> list[str]:
        """A sentence that refers to the test of an endpoint at interim looks; empty if there was no such test.

        Parameters
        ----------
        changes : bool
            Whether endpoints of the kind "change" are meant, or all others.
        """
        plan = self.trial.interim
        if plan is None or (self.trial.endpoint(plan.endpoint).key == "change") != changes:
            return []
        return [
            f"{plan.endpoint}: p and interval here are those of the last analysis alone. Interim looks have spent part "
            f"of the significance level: section {INTERIM} reads the result at the final boundary."
        ]

    def symbol_label(self, symbol: str) -> str:
        """A parameter with meaning and unit, for an axis.

        Parameters
        ----------
        symbol : str
            Symbol of the parameter table.
        """
        unit = self.data.parameters.row(symbol)["unit"]
        return f"{symbol}: {self.meanings[symbol]}" + ("" if unit == "1" else f" ({unit})")

    @property
    def vectors(self) -> str:
        """How many parameter vectors were drawn, and from what."""
        if self.data.manifest["draws"] == "ensemble":
            return f"{counted(self.n_draws, 'parameter vector')} in agreement with published figures"
        return f"{counted(self.n_draws, 'draw')} from plausible ranges"

    @cached_property
    def _open(self) -> set[str]:
        """Names of the structural variants that the data do not refute."""
        return {one.name for one in variants() if not one.refuted}

    @cached_property
    def _structures(self) -> pd.DataFrame:
        """Courses of the typical patient under each structure, whose name stands for the draw; "" is the default."""
        default = self.data.uncertainty[self.data.uncertainty["draw"] == 0].assign(variant="")
        courses = pd.concat([default, self.data.variants], ignore_index=True)
        return courses.drop(columns="draw").rename(columns={"variant": "draw"})

    def _headlines(self, courses: pd.DataFrame) -> pd.DataFrame:
        drawn = [
            (spec, self.reference(spec), self._of_courses(courses, spec))
            for spec in self.trial.changes
            if self._can_draw(spec)
        ]
        return unknowns.headlines(courses, drawn, self.ends, self.end_words)

    @cached_property
    def by_structure(self) -> pd.DataFrame:
        """Headline results of the typical patient under each structural variant.

        Columns `variant`, `result` (words), `arm`, `value`; the variant "" is the default structure.
        """
        return self._headlines(self._structures).rename(columns={"draw": "variant"})

    @cached_property
    def by_vector(self) -> pd.DataFrame:
        """The same headline results for each parameter vector: columns `draw`, `result`, `arm`, `value`."""
        return self._headlines(self.data.uncertainty)

    def whole_range(self, result: str, arm: str) -> dict[str, float]:
        """Range of one headline result over parameter vectors and open structures (`unknowns.whole_range`).

        Parameters
        ----------
        result : str
            Name of the result, as in `by_vector`.
        arm : str
            Name of the arm.
        """
        return unknowns.whole_range(
            *(values.get((result, arm), np.empty(0)) for values in (self._drawn_results, self._open_results))
        )

    @cached_property
    def _drawn_results(self) -> dict[Any, np.ndarray]:
        return _by_result(self.by_vector[self.by_vector["draw"] != 0])

    @cached_property
    def _open_results(self) -> dict[Any, np.ndarray]:
        return _by_result(self.by_structure[self.by_structure["variant"].isin(self._open)])

    def goes_on(self, arm: ArmView) -> bool:
        """Whether an arm is treated further after the end of treatment, so that what is left then is no durability.

        Parameters
        ----------
        arm : ArmView
        """
        after = [c for k, c in enumerate(arm.courses) if c.end > arm.end + 1e-6 or (k and c.start >= arm.end - 1e-6)]
        return self.switch and any(course.kind != "none" for course in after)

    @property
    def rebound_words(self) -> str:
        """Name of the highest CTX after treatment among the headline results."""
        return f"Highest CTX after {self.end_words}, % of baseline"

    @property
    def on_highest(self) -> str:
        """A note on why patients and the typical patient differ in it."""
        said = (
            "Highest CTX: of patients, the highest of their medians by visit; of the typical patient, the highest of "
            "the months of the course. The medians tend to be lower, since patients have their highest CTX in "
            "different months, some of them between visits."
        )
        if not self.trial.conduct.supplements:
            return said
        return (
            f"{said} Calcium and vitamin D, which all take from the start, lower both: the explorer shows a person who "
            "starts neither, unless told otherwise, and higher CTX."
        )

    def lasts(self, measure: str, what: str, after: float | None = None) -> pd.DataFrame:
        """One outcome of the time after treatment by arm, computed once, so that it has one interval everywhere.

        Parameters
        ----------
        measure, what, after
            As of `Durability`.

        Returns
        -------
        DataFrame
            As of `lasting`.
        """
        key = (measure, what, after)
        if key not in self._lasting:
            spec = Durability(
                name="", role="exploratory", analysis="bootstrap", measure=measure, what=what, after=after
            )
            names = [name for name in self.names if name in self.ends]
            control = self.control if self.control in names else None
            if self._measured[0] != measure:  # the last one is kept: a large run takes long to read
                self._measured = measure, self.data.seen(measure)
            visits = self._measured[1]
            self._lasting[key] = lasting(visits, spec, self.ends, names, control, seed=self.seed)
        return self._lasting[key]

    def strongest(self, arm: str) -> pd.DataFrame:
        """Parameters whose rank correlation with an arm's primary endpoint is beyond chance, strongest first.

        Parameters
        ----------
        arm : str
            Name of the arm.
        """
        own = self.importance[self.importance["arm"] == arm]
        return own[own["beyond_chance"].astype(bool)]

    def marker_medians(self, marker: str) -> pd.DataFrame | None:
        """A marker in percent of baseline by visit and arm; None if it was not measured.

        Parameters
        ----------
        marker : str
            Such as "CTX".
        """
        if marker not in self.data.columns("visits"):
            return None
        visits = self.data.seen(marker)
        if not visits[marker].notna().any():
            return None
        change = summaries.change_from(visits, marker, kind="of_baseline")
        return summaries.median_by_visit(change, self.names, self.control)


def _by_result(frame: pd.DataFrame) -> dict[Any, np.ndarray]:
    """Values of headline results, by result and arm."""
    return {key: own.to_numpy(float) for key, own in frame.groupby(["result", "arm"], sort=False)["value"]}


def month_span(first: float, last: float) -> str:
    """``0 to 30``, one month if both are the same, or an en dash.

    Parameters
    ----------
    first, last : float
        Months; NaN for none.
    """
    if not np.isfinite(first):
        return tables.DASH
    start, end = month_text(first), month_text(last)
    return start if start == end else f"{start} to {end}"


def nearest(months: Iterable[float], wanted: float) -> float:
    """The month nearest to `wanted`, the earlier of two.

    Parameters
    ----------
    months : iterable of float
        At least one month.
    wanted : float
        A month.
    """
    options = np.unique(np.asarray(list(months), float))
    return float(options[np.abs(options - wanted).argmin()])
