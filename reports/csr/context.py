"""Data that all sections of a report share: the run, its arms, the analysed endpoints; and the making of exhibits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ranklsim.cohorts.endpoints import Change, Endpoint
from ranklsim.cohorts.endpoints.change import ChangeDetail
from ranklsim.cohorts.running.storage import Run
from ranklsim.cohorts.statistics import summaries
from ranklsim.cohorts.words import month_text
from ranklsim.reports.analyses.results import Analyses, analyse, analysed_endpoints
from ranklsim.reports.csr import unknowns
from ranklsim.reports.figures.drawing import png, svg_text
from ranklsim.reports.layout import tables, wording
from ranklsim.reports.layout.arms import ArmView, view_arms
from ranklsim.reports.layout.cells import Record, Table, listing
from ranklsim.reports.layout.exhibit import Exhibit
from ranklsim.reports.sensitivity.analyse import rank_correlations

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
        self.meanings = {symbol: str(data.parameters.row(symbol)["meaning"]) for symbol in self.drawn}
        self.result_column = "value" if self.control is None else "difference"
        self.primary = self._primary()
        self.analysed = analysed_endpoints(data)
        self.changes: list[tuple[Change, ChangeDetail]] = [
            (each.spec, each.detail) for each in self.analysed if isinstance(each.spec, Change)
        ]
        self.repeated = [detail.model for _, detail in self.changes if detail.model is not None]
        self.endpoints = self._endpoints()
        self.importance = self._importance()

    @cached_property
    def parameters(self) -> pd.DataFrame:
        """The parameter table of the run, one row per parameter with its symbol."""
        return self.data.parameters.frame.reset_index()

    @property
    def basis_line(self) -> str:
        """The line below the heading of every section."""
        return f"Simulated data: {self.model}. {wording.basis(self.arms)}"

    def table(
        self,
        number: str,
        title: str,
        frame: pd.DataFrame,
        make: Callable[..., Table] = tables.crossed,
        *,
        note: str = "",
        headline: str = "",
        folded: bool = False,
        arms: Sequence[ArmView] | None = None,
        who: str | None = None,
        **options: Any,
    ) -> Exhibit:
        """A table with the arms as columns.

        Parameters
        ----------
        number, title, note, headline, folded
            As in `Exhibit`; the note is followed by the numbers of patients and the source.
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
        return Exhibit("Table", number, title, frame, body, self.source(note, who), headline, folded, who)

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
        folded: bool = False,
    ) -> Exhibit:
        """A table of `frame` row by row.

        Parameters
        ----------
        number, title, note, folded
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
        return Exhibit("Table", number, title, frame, body, self.source(note, who), folded=folded, population=who)

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
        redraw = partial(draw, frame, shown, **options)
        svg = svg_text(redraw(), shell.anchor, spoken)
        said = self.source(" ".join(part for part in (f"{who}." if who else "", note) if part))
        return replace(shell, body=svg, footnote=said, headline=headline, picture=lambda: png(redraw()), alt=spoken)

    def source(self, note: str, who: str = "") -> str:
        """Footnote: the note, then N by arm where `who` is the analysis set, then seed and model.

        Parameters
        ----------
        note : str
            Method and source.
        who : str
            The patients that the exhibit is about.
        """
        counted = f"Randomised: {self.sizes}." if who in (self.population, self.safety) else ""
        return " ".join(part for part in (note, counted, f"Seed {self.seed}; {self.model}.") if part)

    @property
    def sizes(self) -> str:
        """Patients randomised, by arm."""
        return ", ".join(f"{arm.label} {self.counts[arm.name]}" for arm in self.arms)

    def _primary(self) -> Any:
        ranked = [e for e in self.trial.changes if e.role == "primary"] or list(self.trial.changes)
        return ranked[0] if ranked else None

    def _can_draw(self, spec: Change) -> bool:
        """Whether the parameter draws contain the measure and the months of an endpoint."""
        months = set(self.data.uncertainty["month"]) if len(self.data.uncertainty) else set()
        known = f"{spec.measure}_pct" in self.data.uncertainty
        usual = self.reference(spec) == self.control
        return known and usual and {spec.from_month, spec.to_month} <= months and spec.kind == "percent"

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
        """An endpoint of the typical patient, by draw and arm.

        Parameters
        ----------
        spec : Change
            The endpoint.
        """
        return unknowns.endpoint_by_draw(
            self.data.uncertainty, spec.measure, spec.from_month, spec.to_month, self.control
        )

    def _endpoints(self) -> pd.DataFrame:
        """All endpoints by arm, with the interval over unknown parameters where the draws contain the endpoint."""
        frames = []
        for spec, detail in self.changes:
            frame = detail.table.copy()
            extra = {"median": "parameter_median", "low": "parameter_low", "high": "parameter_high"}
            extra |= {"draws": "parameter_draws"}
            both = {"both_low": "unknown_low", "both_high": "unknown_high"}
            for name in (*extra.values(), "parameter_default", *both.values()):
                frame[name] = np.nan
            if self._can_draw(spec):
                draws = self.by_draw(spec)
                for at, arm in frame["arm"].items():
                    own = draws[draws["arm"] == arm]
                    over = unknowns.interval_over_draws(own.loc[own["draw"] != 0, self.result_column].to_numpy())
                    whole = self.whole_range(self._result_of(spec), arm)
                    for source, target in (extra | both).items():
                        frame.loc[at, target] = (over | whole)[source]
                    default = own.loc[own["draw"] == 0, self.result_column]
                    frame.loc[at, "parameter_default"] = float(default.iloc[0]) if len(default) else np.nan
            frames.append(frame)
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()

    def _importance(self) -> pd.DataFrame:
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
        """Name of what was drawn, as it follows a number: "vectors of the shipped ensemble"."""
        agree = self.data.manifest["draws"] == "ensemble"
        return "parameter vectors that agree with published figures" if agree else "draws from plausible ranges"

    @cached_property
    def by_structure(self) -> pd.DataFrame:
        """Headline results of the typical patient under each structural variant.

        Columns `variant`, `result` (words), `arm`, `value`; the variant "" is the default structure.
        """
        every = [(self.data.uncertainty[self.data.uncertainty["draw"] == 0].assign(variant=""))]
        every.append(self.data.variants)
        courses = pd.concat(every, ignore_index=True).drop(columns="draw").rename(columns={"variant": "draw"})
        return unknowns.headlines(courses, [e for e in self.trial.changes if self._can_draw(e)], self.control,
                                  self.ends, self.end_words).rename(columns={"draw": "variant"})  # fmt: skip

    @cached_property
    def by_vector(self) -> pd.DataFrame:
        """The same headline results for each parameter vector: columns `draw`, `result`, `arm`, `value`."""
        return unknowns.headlines(self.data.uncertainty, [e for e in self.trial.changes if self._can_draw(e)],
                                  self.control, self.ends, self.end_words)  # fmt: skip

    def whole_range(self, result: str, arm: str) -> dict[str, float]:
        """Range of one headline result over parameter vectors and structures, from `by_vector` and `by_structure`.

        Parameters
        ----------
        result : str
            Name of the result, as in `by_vector`.
        arm : str
            Name of the arm.

        Returns
        -------
        dict
            `low`, `high`: the 90% interval over the parameter vectors; `structure_low`, `structure_high`: the least and
            the most under any other structure (at its own fit); `both_low`, `both_high`: the range that holds both;
            NaN where there is none.
        """
        drawn = self.by_vector[(self.by_vector["result"] == result) & (self.by_vector["arm"] == arm)]
        over = unknowns.interval_over_draws(drawn.loc[drawn["draw"] != 0, "value"].to_numpy(float))
        other = self.by_structure[(self.by_structure["result"] == result) & (self.by_structure["arm"] == arm)]
        value = other.loc[other["variant"] != "", "value"].to_numpy(float)
        value = value[np.isfinite(value)]
        least, most = (value.min(), value.max()) if value.size else (np.nan, np.nan)
        return {
            "low": over["low"],
            "high": over["high"],
            "structure_low": float(least),
            "structure_high": float(most),
            "both_low": float(np.fmin(over["low"], least)),
            "both_high": float(np.fmax(over["high"], most)),
        }

    def _result_of(self, spec: Change) -> str:
        """Name of an endpoint in `by_vector` and `by_structure`."""
        return unknowns.endpoint_words(spec, self.control)

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
