"""The report of a finished run: one self-contained HTML page, and the numbers behind every exhibit as CSV.

`read` opens a run folder, `compose` turns it into sections of exhibits, `write_report` writes them. Each
exhibit is drawn or tabulated from the frame that is exported beside it (`ranklsim.reports.exhibit`). The same run
gives the same bytes. Sections and numbers follow ICH E3 (9 design, 10 patients, 11 efficacy, 12 safety, 16
appendices; tables and figures 14.1, 14.2, 14.3).
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
from markupsafe import Markup

from ranklsim.cohorts.storage import open_run
from ranklsim.pkpd.agents import load_agent
from ranklsim.pkpd.errors import BadInput
from ranklsim.reports import figures, summaries, tables, wording
from ranklsim.reports.arms import BASIS_MEANING, CALIBRATED, PREDICTED, ArmView, shifted, view_arms
from ranklsim.reports.exhibit import Exhibit

TEMPLATES = Path(__file__).parent / "templates"
MARK = "ranklsim-report"

TOLERANCE = 1.0
"""Percentage points by which a draw may move a calibrated arm and still count as agreeing with its trials."""

SITES = {"LS": "Lumbar spine", "TH": "Total hip", "FN": "Femoral neck", "R13": "1/3 radius"}
MARKERS = {"CTX": ("CTX", "resorption"), "P1NP": ("P1NP", "formation"), "BSAP": ("BSAP", "formation"), "TRAP5B": ("TRAP5b", "osteoclast number")}  # fmt: skip
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
    "CTX": ("Serum CTX", "ng/mL", "median"),
    "P1NP": ("Serum P1NP", "ng/mL", "median"),
}
OCCUPANCY = {
    "OCC_mRANKL": "mRANKL with drug bound, all sources",
    "OCC_sRANKL": "sRANKL with drug bound",
}
BY_SOURCE = {
    "OCC_mRANKL_osteocyte": "mRANKL of osteocytes",
    "OCC_mRANKL_marrow": "mRANKL of marrow adipogenic and stromal cells",
    "OCC_mRANKL_osteoblast": "mRANKL of osteoblasts",
    "OCC_mRANKL_lymphocyte": "mRANKL of lymphocytes",
}
FREE = {
    "mRANKL_free": "Free mRANKL, % of baseline",
    "sRANKL_free": "Free serum sRANKL, pmol/L",
    "SIGNAL_T": "Drive at RANK in trabecular bone, % of baseline",
}
COURSE = {
    "OCC_mRANKL": "mRANKL with drug bound, % of the pool",
    "OCC_sRANKL": "sRANKL with drug bound, % of the pool",
    "SIGNAL_T": "Drive at RANK in trabecular bone, % of baseline",
}
PARTS = {
    "remodelling": "remodelling space and balance",
    "mineralisation": "mineralisation",
    "modelling": "modelling-based formation",
    "artefact": "spine artefact",
}


@dataclass(frozen=True)
class RunData:
    """A run as the report needs it; frames as in the run folder."""

    manifest: Mapping[str, Any]
    trial: Any
    agents: Mapping[str, Any]
    parameters: pd.DataFrame
    patients: pd.DataFrame
    visits: pd.DataFrame
    doses: pd.DataFrame
    events: pd.DataFrame
    uncertainty: pd.DataFrame
    draws: pd.DataFrame


@dataclass
class Section:
    """A section: heading, sentences, exhibits in order."""

    number: str
    title: str
    anchor: str
    level: int = 2
    paragraphs: list[str | Markup] = field(default_factory=list)
    exhibits: list[Exhibit] = field(default_factory=list)
    key: list[str | Markup] = field(default_factory=list)


def read(run_folder: str | os.PathLike[str]) -> RunData:
    """Read a finished run.

    Parameters
    ----------
    run_folder : path
        As written by ``ranklsim run``.

    Raises
    ------
    BadInput
        If the folder holds no finished run, or a file was altered.
    """
    run = open_run(Path(run_folder))
    folder = Path(run_folder) / "agents"
    return RunData(
        manifest=run.manifest,
        trial=run.trial,
        agents={name: load_agent(name, folder=folder) for name in run.trial.agent_names()},
        parameters=run.parameters.frame.reset_index(),
        patients=run.patients,
        visits=run.visits,
        doses=run.doses,
        events=run.events,
        uncertainty=run.uncertainty,
        draws=run.uncertainty_draws,
    )


class Composer:
    """Builds the sections of one report; its methods are the sections, in order."""

    def __init__(self, data: RunData) -> None:
        self.data = data
        self.trial = data.trial
        self.arms: list[ArmView] = view_arms(data.trial.arms, data.agents)
        self.by_name = {arm.name: arm for arm in self.arms}
        self.names = [arm.name for arm in self.arms]
        counts = data.patients["arm"].value_counts()
        self.counts = {name: int(counts.get(name, 0)) for name in self.names}
        self.n = len(data.patients)
        self.control: str | None = data.trial.control
        self.seed = int(data.manifest["seed"])
        self.present = data.visits[data.visits["attended"].astype(bool)]
        self.last_month = float(data.visits["month"].max())
        self.ends = {a.name: a.end for a in self.arms if a.end < self.last_month - 1e-9}
        self.main_end = min(max((a.end for a in self.arms), default=0.0), self.last_month)
        self.switch = len({a.end for a in self.arms}) == 1 and any(
            course.start >= arm.end - 1e-6 for arm in self.arms for course in arm.courses
        )
        self.end_words = f"the switch at month {self.main_end:g}" if self.switch else "the end of treatment"
        self.population = f"Simulated data. Full analysis set (N={self.n})"
        version, digest = data.manifest["ranklsim"], str(data.manifest["parameters_hash"])
        self.model = f"ranklsim {version}, parameters {digest[:10]}"
        self.meanings = dict(zip(data.parameters["symbol"], data.parameters["meaning"], strict=True))
        self.n_draws = int((data.draws["draw"] != 0).sum()) if len(data.draws) else 0
        drawn = data.draws.set_index("draw") if len(data.draws) else pd.DataFrame()
        self.drawn = drawn.loc[:, [c for c in drawn.columns if drawn[c].nunique() > 1]] if len(drawn) else drawn
        self.primary = self._primary()
        self.endpoints = self._endpoints()
        self.importance = self._importance()

    # ---- small helpers -------------------------------------------------------------------------------------------

    @property
    def basis_line(self) -> str:
        """What every section says under its heading."""
        return f"Simulated data: {self.model}. {wording.basis(self.arms)}"

    def caption(self, number: str, title: str, population: str | None = None) -> Markup:
        """Caption of a table."""
        return Markup(
            '<span class="cap"><span class="number">Table {}</span> {}<span class="population">{}</span></span>'
        ).format(number, title, population or self.population)

    def source(self, *notes: str) -> str:
        """Footnote: notes, then population, model and seed."""
        return " ".join([*(note for note in notes if note), f"Seed {self.seed}; {self.model}."])

    def table(
        self,
        number: str,
        title: str,
        frame: pd.DataFrame,
        make: Any,
        *notes: str,
        headline: str = "",
        folded: bool = False,
    ) -> Exhibit:
        """A table; `make` takes caption and label and gives HTML; a folded one opens on demand (and in print)."""
        body = make(self.caption(number, title), f"Table {number}: {title}")
        return Exhibit("Table", number, title, frame, body, self.source(*notes), headline, folded)

    def figure(
        self, number: str, title: str, frame: pd.DataFrame, make: Any, *notes: str, headline: str = "", alt: str = ""
    ) -> Exhibit:
        """A figure; `make` takes anchor and alternative text and gives SVG; `alt` speaks where there is no headline."""
        shell = Exhibit("Figure", number, title, frame, "", "")
        alt = " ".join(part for part in (f"{title}.", headline or alt, f"Numbers: {shell.stem}.csv") if part)
        return Exhibit("Figure", number, title, frame, make(shell.anchor, alt), self.source(*notes), headline)

    def _primary(self) -> Any:
        ranked = [e for e in self.trial.endpoints if e.role == "primary"] or list(self.trial.endpoints)
        return ranked[0] if ranked else None

    def _can_draw(self, spec: Any) -> bool:
        """Whether the parameter draws hold what an endpoint needs."""
        months = set(self.data.uncertainty["month"]) if len(self.data.uncertainty) else set()
        known = f"{spec.measure}_pct" in self.data.uncertainty
        return known and {spec.from_month, spec.to_month} <= months and spec.kind == "percent"

    def _by_draw(self, spec: Any) -> pd.DataFrame:
        return summaries.endpoint_by_draw(
            self.data.uncertainty, spec.measure, spec.from_month, spec.to_month, self.control
        )

    def _endpoints(self) -> pd.DataFrame:
        """All endpoints by arm, with the interval over unknown parameters where the draws hold it."""
        frames = []
        for k, spec in enumerate(self.trial.endpoints):
            frame = summaries.endpoint(
                self.data.visits, self.data.patients, spec, self.names, self.control, seed=self.seed + k
            )
            column = "value" if self.control is None else "difference"
            extra = {"median": "parameter_median", "low": "parameter_low", "high": "parameter_high"}
            extra |= {"draws": "parameter_draws"}
            for name in (*extra.values(), "parameter_default"):
                frame[name] = np.nan
            if self._can_draw(spec):
                draws = self._by_draw(spec)
                for at, arm in frame["arm"].items():
                    own = draws[draws["arm"] == arm]
                    over = summaries.interval_over_draws(own.loc[own["draw"] != 0, column].to_numpy())
                    for source, target in extra.items():
                        frame.loc[at, target] = over[source]
                    default = own.loc[own["draw"] == 0, column]
                    frame.loc[at, "parameter_default"] = float(default.iloc[0]) if len(default) else np.nan
            frames.append(frame)
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()

    def _importance(self) -> pd.DataFrame:
        """Rank correlations of the primary endpoint's difference with every drawn parameter, by arm."""
        columns = ["arm", "symbol", "meaning", "rho", "low", "high", "share", "beyond_chance", "draws"]
        if self.primary is None or not self._can_draw(self.primary) or self.drawn.empty:
            return pd.DataFrame(columns=columns)
        draws = self._by_draw(self.primary)
        column = "value" if self.control is None else "difference"
        frames = []
        for arm in self.arms:
            result = draws.loc[draws["arm"] == arm.name].set_index("draw")[column]
            ranked = summaries.rank_correlations(self.drawn, result)
            frames.append(ranked.assign(arm=arm.name, meaning=ranked["symbol"].map(self.meanings).fillna("")))
        return pd.concat(frames, ignore_index=True)[columns]

    def _strongest(self, arm: str) -> pd.DataFrame:
        own = self.importance[self.importance["arm"] == arm]
        return own[own["beyond_chance"].astype(bool)]

    # ---- 2 Synopsis ----------------------------------------------------------------------------------------------

    def synopsis(self) -> Section:
        """Key result in words, and drawn with both kinds of interval."""
        section = Section("2", "Synopsis", "synopsis")
        if self.primary is None or self.endpoints.empty:
            section.key.append("The trial names no endpoint.")
            return section
        rows = self.endpoints[self.endpoints["endpoint"] == self.primary.name].set_index("arm", drop=False)
        control = self.by_name.get(self.control or "")
        known = [arm for arm in self.arms if arm.basis != PREDICTED and arm.name in rows.index]
        if known:
            known.sort(key=lambda a: a is control)
            said = [
                wording.endpoint_sentence(rows.loc[a.name].to_dict(), a, control, lead=k == 0)
                for k, a in enumerate(known)
            ]
            section.key.append("; ".join(said) + ".")
        for arm in self.arms:
            if arm.basis != PREDICTED or arm.name not in rows.index:
                continue
            row = rows.loc[arm.name].to_dict()
            head = Markup("<strong>{}</strong> <span class='tag predicted'>hypothetical, predicted</span> ").format(
                arm.label
            )
            said = [wording.predicted_sentence(row, control)]
            if np.isfinite(row["parameter_low"]):
                said.append(wording.unknowns_sentence(row, self.drawn.shape[1], self._strongest(arm.name)))
                said.append(self._against_known(arm))
            else:
                said.append("Parameter uncertainty was not run for it, so this figure stands for default values only.")
            section.key.append(head + " ".join(part for part in said if part))
        after = self._after_words()
        if after:
            section.key.append(after)
        unit = "percentage points" if rows["unit"].iloc[0] == "%" else rows["unit"].iloc[0]
        if control is not None:
            frame = rows.loc[[a.name for a in self.arms if a is not control and a.name in rows.index]]
            frame = frame.rename(columns={"estimate": "arm_estimate", "ci_low": "arm_ci_low", "ci_high": "arm_ci_high"})
            frame = frame.rename(
                columns={"difference": "estimate", "difference_low": "ci_low", "difference_high": "ci_high"}
            )
            label = f"{wording.first_upper(wording.MEASURES.get(self.primary.measure, self.primary.measure))}: difference to {control.label} ({unit})"  # noqa: E501
        else:
            frame = rows
            label = f"{wording.MEASURES.get(self.primary.measure, self.primary.measure)} ({unit})"
        frame = frame.reset_index(drop=True)
        if frame["estimate"].notna().any():
            section.exhibits.append(
                self.figure(
                    "2.1",
                    f"Primary endpoint: {self.primary.name}",
                    frame,
                    lambda anchor, alt: figures.two_intervals(frame, self.arms, anchor=anchor, alt=alt, xlabel=label),
                    "The two intervals answer different questions. Solid: if the model were true, where would repeats of "
                    "this trial with other patients fall. Hatched: where does the typical patient fall when the parameters "
                    "that no human data fix are drawn from their ranges. The typical patient is not the mean of the "
                    "patients, so the two need not share a centre.",
                )
            )
        return section

    def _against_known(self, arm: ArmView) -> str:
        """Share of draws in which a hypothetical arm gains at least half of what the best calibrated arm gains."""
        if self.control is None or not self.primary.measure.startswith("BMD") or self.primary.from_month > 0:
            return ""
        wide = self._by_draw(self.primary).pivot(index="draw", columns="arm", values="difference").drop(index=0)
        known = [a for a in self.arms if a.basis != PREDICTED and a.treated and a.name != self.control]
        if not known or arm.name == self.control:
            return ""
        best = max(known, key=lambda a: float(wide[a.name].median()))
        if wide[best.name].median() <= 0:
            return ""
        share = 100 * float((wide[arm.name] >= 0.5 * wide[best.name]).mean())
        return f"In {share:.0f}% of the draws it gains at least half of what {best.label} gains over {self.by_name[self.control].label}."

    def _after_words(self) -> str:
        if not self.ends:
            return ""
        medians = self._markers("CTX")
        peak = summaries.peak_after(medians, self.ends) if medians is not None else pd.DataFrame(columns=["peak"])
        return wording.peak_headline(peak, self.arms, "CTX").replace("the end of treatment", self.end_words)

    def synopsis_rows(self) -> list[tuple[str, str | Markup]]:
        """The tabular part of a synopsis as ICH E3 has it."""
        t = self.trial
        regimens = [
            Markup("<li><strong>{}</strong> (N={}): {}</li>").format(
                arm.label, self.counts[arm.name], "; ".join(c.words for c in arm.courses) or "nothing"
            )
            for arm in self.arms
        ]
        eligible = "; ".join(_range_words(name, low, high) for name, (low, high) in t.population.eligible.items())
        layers = [
            f"between-patient variability {'on' if t.layers.patients else 'off (every patient is the typical patient)'}",
            f"residual (assay, precision) error {'on' if t.layers.residual else 'off'}",
            f"parameter uncertainty {f'on ({self.n_draws} draws)' if self.n_draws else 'off'}",
        ]
        rows: list[tuple[str, str | Markup]] = [("Question", t.description)] if getattr(t, "description", "") else []
        rows += [
            (
                "Design",
                f"{self.n} simulated patients, {len(self.arms)} arms, {t.months:g} months, allocation {_ratio(t, self.names)}",
            ),
            ("Population", f"{t.population.name}" + (f"; eligible: {eligible}" if eligible else "")),
            ("Treatments", Markup("<ul>{}</ul>").format(Markup("").join(regimens))),
            ("Variation", "; ".join(layers)),
            (
                "Dropout",
                f"constant hazard of {100 * t.conduct.dropout_per_year:.1f}% per year"
                if t.conduct.dropout_per_year
                else "none",
            ),
        ]
        endpoints = [Markup("<li>{} ({}; {})</li>").format(e.name, e.role, e.analysis) for e in t.endpoints]
        rows.append(("Endpoints", Markup("<ul>{}</ul>").format(Markup("").join(endpoints))))
        if getattr(t, "sources", None):
            items = Markup("").join(Markup("<li>{}</li>").format(s) for s in t.sources)
            rows.append(("Modelled on", Markup("<ul>{}</ul>").format(items)))
        return rows

    # ---- 9 Design ------------------------------------------------------------------------------------------------

    def design(self) -> Section:
        """Schema and regimens."""
        section = Section("9", "Trial design", "design")
        rows = []
        for arm in self.arms:
            for course in arm.courses:
                rows.append(
                    {
                        "arm": arm.name, "label": arm.label, "randomised": self.counts[arm.name], "regimen": course.words,
                        "agent": course.agent, "dose_mg": course.dose if course.kind != "none" else np.nan,
                        "start_month": course.start, "last_dose_month": course.last, "end_month": course.end,
                        "doses": len(course.months), "basis": arm.basis,
                    }
                )  # fmt: skip
            if not arm.courses:
                rows.append({"arm": arm.name, "label": arm.label, "randomised": self.counts[arm.name], "regimen": "nothing", "doses": 0, "basis": arm.basis})  # fmt: skip # noqa: E501
        frame = pd.DataFrame(rows)
        visits = pd.DataFrame(
            [{"what": "BMD", "month": m} for m in self.trial.visits.BMD]
            + [{"what": "Blood markers", "month": m} for m in self.trial.visits.markers]
        )
        section.exhibits.append(
            self.figure(
                "9.1",
                "Design: arms, doses (triangles), follow-up and visits",
                frame,
                lambda anchor, alt: figures.design(
                    frame, self.arms, visits, anchor=anchor, alt=alt, months=self.trial.months
                ),
                "Triangles: doses. Bars: months covered by dosing; white bars: placebo.",
                alt=" ".join(
                    f"{arm.label}: {'; '.join(c.words for c in arm.courses) or 'nothing'}." for arm in self.arms
                ),
            )
        )
        shown = []
        for row in frame.to_dict("records"):
            given = row["doses"] > 0
            shown.append(
                {
                    "Arm": row["label"],
                    "N": str(row["randomised"]),
                    "Regimen": row["regimen"],
                    "Doses, months": _span(row["start_month"], row["last_dose_month"]) if given else tables.DASH,
                    "Covered until month": _month(row["end_month"]) if given else tables.DASH,
                    "Result is": _tag(row["basis"]),
                }
            )
        section.exhibits.append(
            self.table(
                "9.1", "Regimens by arm, and what each arm's result rests on", frame,
                lambda caption, label: tables.plain(shown, caption, label, numeric=("N", "Covered until month")),
                " ".join(f"{wording.first_upper(b)}: {BASIS_MEANING[b]}." for b in dict.fromkeys(frame["basis"])),
            )
        )  # fmt: skip
        return section

    # ---- 10 Patients ---------------------------------------------------------------------------------------------

    def patients(self) -> Section:
        """Disposition, baseline, exposure."""
        section = Section("10", "Trial patients", "patients")
        data = self.data
        disposition = summaries.disposition(data.patients, data.events, self.names)
        total = disposition.set_index("arm").loc["Total"]
        n = int(total["randomised"])
        said = (
            f"Of {n} patients randomised, {tables.share(int(total['completed']), n)} completed the trial and "
            f"{tables.share(int(total['dropout']), n)} dropped out."
        )
        if len(self.arms) <= 5:
            section.exhibits.append(
                self.figure(
                    "14.1.1", "Flow of patients (CONSORT)", disposition,
                    lambda anchor, alt: figures.flow(disposition, self.arms, anchor=anchor, alt=alt),
                    headline=said,
                )
            )  # fmt: skip
        section.exhibits.append(
            self.table(
                "14.1.1", "Disposition", disposition,
                lambda caption, label: tables.disposition_table(disposition, self.arms, caption, label),
                "Patients, n (%).",
                headline=said if len(self.arms) > 5 else "",
            )
        )  # fmt: skip
        first = data.visits[data.visits["month"] == 0].set_index("patient")
        extra = {c: data.patients["patient"].map(first[c]) for c in ("BMD_LS", "BMD_TH") if c in first}
        base = summaries.baseline(data.patients.assign(**extra), self.names, BASELINE)
        section.exhibits.append(
            self.table(
                "14.1.2", "Demographics and baseline characteristics", base,
                lambda caption, label: tables.baseline_table(base, self.arms, self.counts, caption, label),
                f"Virtual population: {self.trial.population.name}. T-scores: the patient's own; BMD as measured, with DXA error.",
            )
        )  # fmt: skip
        exposure = summaries.exposure(data.doses, data.patients, self.names)
        labels = {name: agent.label for name, agent in data.agents.items()}
        if len(exposure):
            shown = [
                {
                    "Arm": self.by_name[row["arm"]].label,
                    "Agent": labels[row["agent"]],
                    "Patients treated, n (%)": tables.share(row["treated"], row["randomised"]),
                    "Doses planned": str(row["planned"]),
                    "Doses given, n (%)": tables.share(row["given"], row["planned"]),
                    "Doses per patient, mean": tables.num(row["per_patient"], 1),
                    "Amount per patient, mean (mg)": tables.num(row["total_mg"], 1),
                    "Months": _span(row["first_month"], row["last_month"]),
                }
                for row in exposure.to_dict("records")
            ]
            section.exhibits.append(
                self.table(
                    "14.1.3", "Exposure: doses planned and given", exposure,
                    lambda caption, label: tables.plain(shown, caption, label, numeric=list(shown[0])[2:7]),
                    "Planned: by protocol for every patient randomised; a dose due after dropping out is not given. "
                    "Means per treated patient.",
                )
            )  # fmt: skip
        return section

    # ---- 11 Efficacy ---------------------------------------------------------------------------------------------

    def efficacy(self) -> Section:
        """What the two kinds of interval in the following sections mean."""
        section = Section("11", "Efficacy", "efficacy")
        section.paragraphs.append(
            "Two kinds of interval appear below and are never mixed. A 95% CI describes the sampling of patients and shrinks with their "
            "number. A 90% interval over unknown parameters (section 11.7) describes what no human data tell us about the model; it "
            "does not shrink with the number of patients, and for predicted arms it is the one to look at."
        )
        return section

    def endpoint_section(self) -> Section:
        """Endpoints of the protocol."""
        section = Section("11.1", "Endpoints of the protocol", "endpoints", 3)
        if self.endpoints.empty:
            section.paragraphs.append("The trial names no endpoint.")
            return section
        methods = set(self.endpoints["method"])
        notes = []
        if any(m.startswith("ANCOVA") for m in methods):
            notes.append(
                "LS mean: least-squares mean, ANCOVA with arm, baseline and strata (ordinary least squares; patients with both values)."
            )
        if any("MMRM" in m for m in methods):
            notes.append(
                "An MMRM is asked for by the trial file; this version fits the ANCOVA of the endpoint's own visit instead."
            )
        if "difference of medians" in methods:
            notes.append(
                "Medians: order-statistic interval; differences of medians: percentile bootstrap over patients "
                f"({summaries.BOOTSTRAPS} resamples)."
            )
        if self.n_draws:
            notes.append(
                f"Unknown parameters: the typical patient over {self.n_draws} draws"
                + (", difference to control." if self.control else ".")
            )
        missing = [e.name for e in self.trial.endpoints if e.name not in set(self.endpoints["endpoint"])]
        if missing:
            section.paragraphs.append(f"No patient had both values needed for: {wording.listed(missing)}.")
        frame = self.endpoints
        section.exhibits.append(
            self.table(
                "14.2.1.1", "Endpoints by arm", frame,
                lambda caption, label: tables.endpoint_table(frame, self.arms, self.counts, self.control, caption, label),
                *notes,
            )
        )  # fmt: skip
        return section

    def bmd(self) -> Section:
        """BMD by site, visit and arm."""
        section = Section("11.2", "Bone mineral density", "bmd", 3)
        for k, (site, name) in enumerate(SITES.items(), start=1):
            measure = f"BMD_{site}"
            if measure not in self.data.visits or not self.data.visits[measure].notna().any():
                continue
            change = summaries.change_from(self.data.visits, measure)
            frame = summaries.mean_by_visit(change, self.names, self.control)
            headline = wording.by_visit_headline(
                frame, self.arms, f"mean {name.lower()} BMD", _nearest(frame["month"], self.main_end)
            )
            title = f"Percent change in {name.lower()} BMD from baseline by visit"
            section.exhibits.append(
                self.figure(
                    f"14.2.2.{k}", title, frame,
                    lambda anchor, alt, frame=frame, name=name: figures.by_visit(
                        frame, self.arms, anchor=anchor, alt=alt, ylabel=f"Change in {name.lower()} BMD from baseline (%)"
                    ),
                    "Arithmetic means of observed values.",
                    headline=headline,
                )
            )  # fmt: skip
            section.exhibits.append(
                self.table(
                    f"14.2.2.{k}", title, _after_baseline(frame),
                    lambda caption, label, frame=_after_baseline(frame): tables.mean_table(frame, self.arms, self.counts, self.control, caption, label),
                    "Percent. Observed values, patients with a baseline and a value at the visit; t interval of the mean; "
                    "differences in percentage points with Welch's interval, not adjusted for multiplicity.",
                    folded=k > 1,
                )
            )  # fmt: skip
        return section

    def _markers(self, marker: str) -> pd.DataFrame | None:
        if marker not in self.data.visits or not self.data.visits[marker].notna().any():
            return None
        change = summaries.change_from(self.data.visits, marker, kind="of_baseline")
        return summaries.median_by_visit(change, self.names, self.control)

    def markers(self) -> Section:
        """Markers in percent of baseline."""
        section = Section("11.3", "Bone turnover markers", "markers", 3)
        section.paragraphs.append(
            "Percent of each patient's own baseline, median and quartiles; a value at a dosing visit is the one just "
            "before the dose, so visits at the end of an interval show the effect at its weakest."
        )
        for k, (marker, (name, what)) in enumerate(MARKERS.items(), start=1):
            frame = self._markers(marker)
            if frame is None:
                continue
            title = f"Serum {name} ({what}), percent of baseline by visit"
            month = _nearest(frame["month"], self.main_end)
            section.exhibits.append(
                self.figure(
                    f"14.2.3.{k}", title, frame,
                    lambda anchor, alt, frame=frame, name=name: figures.by_visit(
                        frame, self.arms, anchor=anchor, alt=alt, ylabel=f"Serum {name} (% of baseline)", value="median", low="q1",
                        high="q3", reference=100.0, bars="bars: Q1 to Q3 (spread of patients)", floor=0.0,
                    ),
                    headline=wording.marker_headline(frame, self.arms, name, month),
                )
            )  # fmt: skip
            section.exhibits.append(
                self.table(
                    f"14.2.3.{k}", title, _after_baseline(frame),
                    lambda caption, label, frame=_after_baseline(frame): tables.median_table(frame, self.arms, self.counts, self.control, caption, label),
                    "Percent of baseline. Geometric mean ratio of that percentage to control, Welch's interval of the logarithms.",
                    folded=True,
                )
            )  # fmt: skip
        return section

    def after(self) -> Section:
        """After the end of treatment (or after a common switch)."""
        title = f"After {self.end_words}" if self.switch else "After the last dose"
        section = Section("11.4", title, "after", 3)
        if not self.ends:
            section.paragraphs.append(
                "The trial ends with the treatment, so it says nothing about what happens after the last dose."
            )
            return section
        ends = wording.listed([f"month {m:g}" for m in sorted(set(self.ends.values()))])
        section.paragraphs.append(
            f"All arms had the same regimen up to {ends}; from there they differ." if self.switch
            else f"The end of treatment is the month at which the interval of the last dose is over ({ends})."
        )  # fmt: skip
        arms = [arm for arm in self.arms if arm.name in self.ends]
        moved = [shifted(arm, arm.end) for arm in arms]
        since = f"Months since {self.end_words}"
        number = 1
        rows = []
        for marker in ("CTX", "P1NP"):
            medians = self._markers(marker)
            if medians is None:
                continue
            peak = summaries.peak_after(medians, self.ends)
            rows.append(peak.assign(marker=marker))
            frame = _since(medians, self.ends, -12.0)
            section.exhibits.append(
                self.figure(
                    f"14.2.4.{number}", f"{marker} from 12 months before {self.end_words} on", frame,
                    lambda anchor, alt, frame=frame, marker=marker: figures.by_visit(
                        frame, moved, anchor=anchor, alt=alt, ylabel=f"Serum {marker} (% of baseline)", value="median", low="q1",
                        high="q3", reference=100.0, bars="bars: Q1 to Q3 (spread of patients)", floor=0.0, xlabel=since,
                    ),
                    headline=wording.peak_headline(peak, self.arms, marker).replace("the end of treatment", self.end_words),
                )
            )  # fmt: skip
            number += 1
        peaks = pd.concat(rows, ignore_index=True) if rows else pd.DataFrame()
        if len(peaks):
            section.exhibits.append(
                self.table(
                    "14.2.4.1", f"Highest marker after {self.end_words}", peaks,
                    lambda caption, label: tables.peak_table(
                        peaks, arms, self.counts, {m: f"Serum {m}" for m in dict.fromkeys(peaks["marker"])}, caption, label,
                        end=self.end_words,
                    ),
                    f"The visit after {self.end_words} with the highest median; order-statistic interval of that median.",
                )
            )  # fmt: skip
        kept = []
        for site, name in SITES.items():
            if site not in ("LS", "TH") or f"BMD_{site}" not in self.data.visits:
                continue
            change = summaries.change_from(self.data.visits, f"BMD_{site}")
            if change.empty:
                continue
            retention = summaries.retention(change, self.ends, seed=self.seed)
            kept.append(retention.assign(site=site))
            frame = self._bmd_since(f"BMD_{site}")
            if len(frame):
                last = float(frame["month"].max())
                section.exhibits.append(
                    self.figure(
                        f"14.2.4.{number}", f"Change in {name.lower()} BMD since {self.end_words}", frame,
                        lambda anchor, alt, frame=frame, name=name: figures.by_visit(
                            frame, moved, anchor=anchor, alt=alt, xlabel=since,
                            ylabel=f"Change in {name.lower()} BMD since then (%)",
                        ),
                        "Percent change since the value at that month.",
                        headline=wording.loss_headline(
                            frame, self.arms, f"mean {name.lower()} BMD", 12.0 if (frame["month"] == 12).any() else last
                        ).replace("the end of treatment", self.end_words),
                    )
                )  # fmt: skip
                number += 1
        if kept:
            frame = pd.concat(kept, ignore_index=True)
            said = wording.retention_headline(frame[frame["site"] == "LS"], arms, "lumbar spine BMD", 12)
            section.exhibits.append(
                self.table(
                    "14.2.4.2", f"BMD gain kept after {self.end_words}", frame,
                    lambda caption, label: tables.retention_table(
                        frame, arms, self.counts, {s: SITES[s] for s in dict.fromkeys(frame["site"])}, caption, label, end=self.end_words
                    ),
                    "Gain: mean change from baseline at that month. Between visits the mean is read off linearly. Intervals: "
                    f"percentile bootstrap over patients ({summaries.BOOTSTRAPS} resamples). No share is given for an arm whose "
                    "gain is not clearly above zero. \">\": not by the last visit.",
                    headline=said.replace("the end of treatment", self.end_words),
                )
            )  # fmt: skip
        return section

    def _bmd_since(self, measure: str) -> pd.DataFrame:
        frames = []
        for end in sorted(set(self.ends.values())):
            names = [name for name, at in self.ends.items() if at == end]
            own = self.data.visits[self.data.visits["arm"].isin(names)]
            change = summaries.change_from(own, measure, end)
            frames.append(change[change["month"] >= end].assign(month=lambda f, end=end: f["month"] - end))
        change = pd.concat(frames, ignore_index=True)
        control = self.control if self.control in self.ends else None
        return summaries.mean_by_visit(change, list(self.ends), control) if len(change) else pd.DataFrame()

    def ligand(self) -> Section:
        """Drug, occupancy and free ligand."""
        section = Section("11.5", "Drug, occupancy and free ligand by modality", "ligand", 3)
        section.paragraphs.append(
            "Model values of the patients still in the trial, without assay error; at a dosing visit the value is the one just before "
            "the dose. Occupancy is the share of a RANKL pool that carries drug."
        )
        visits = self.present
        binders = [a for a in self.data.agents.values() if a.kind == "binder" and f"true_C_{a.name}" in visits]
        columns = {f"C_{a.name}": f"Free serum {a.label}" for a in binders}
        groups: list[tuple[str, dict[str, str], str, tuple[float, float] | None, float | None, int]] = [
            ("Occupancy of RANKL by modality", OCCUPANCY, "% of the pool", (-4.0, 104.0), None, 1),
            ("Free RANKL by modality, and the drive that is left", FREE, "see heading", None, None, 2),
            ("Occupancy of mRANKL by cellular source", BY_SOURCE, "% of the pool", (-4.0, 104.0), None, 1),
        ]
        for k, (title, names, ylabel, limits, reference, decimals) in enumerate(groups, start=1):
            present = [name for name in names if f"true_{name}" in visits]
            if not present:
                continue
            frame = summaries.latent_by_visit(visits, present, self.names)
            section.exhibits.append(
                self.figure(
                    f"14.2.5.{k}", title, frame,
                    lambda anchor, alt, frame=frame, names=names, ylabel=ylabel, limits=limits, reference=reference: figures.panels(
                        frame, self.arms, names, anchor=anchor, alt=alt, ylabel=ylabel if ylabel != "see heading" else "",
                        limits=limits, reference=reference,
                    ),
                    "Line: median; bars: Q1 to Q3 (spread of patients). Lines join visits and pass over what happens within a dosing interval.",
                )
            )  # fmt: skip
            section.exhibits.append(
                self.table(
                    f"14.2.5.{k}", title, frame,
                    lambda caption, label, frame=frame, names=names, decimals=decimals: tables.latent_table(
                        frame, self.arms, self.counts, names, caption, label, decimals=decimals
                    ),
                    "Percent unless a unit is given." if k != 2 else "",
                    folded=True,
                )
            )  # fmt: skip
        if len(self.data.uncertainty):
            course = summaries.default_course(self.data.uncertainty, list(COURSE))
            section.exhibits.append(
                self.figure(
                    "14.2.5.4", "The typical patient month by month: occupancy and drive", course,
                    lambda anchor, alt: figures.panels(
                        course, self.arms, COURSE, anchor=anchor, alt=alt, ylabel="%", value="value", low="value", high="value",
                        points=False,
                    ),
                    "One typical patient at default parameter values, every month; shows what happens within the dosing intervals.",
                )
            )  # fmt: skip
        if columns:
            frame = summaries.latent_by_visit(visits, list(columns), self.names)
            using = {arm.name: {c.agent for c in arm.courses} for arm in self.arms}
            keep = [row["output"].removeprefix("C_") in using[row["arm"]] for row in frame.to_dict("records")]
            frame = frame[keep].reset_index(drop=True)
            section.exhibits.append(
                self.table(
                    "14.2.5.4", "Free drug in serum (ug/mL)", frame,
                    lambda caption, label: tables.latent_table(frame, self.arms, self.counts, columns, caption, label, decimals=3),
                    "Just before the dose at dosing visits.",
                    folded=True,
                )
            )  # fmt: skip
        return section

    def contributions(self) -> Section:
        """What the BMD change is made of."""
        section = Section("11.6", "What the lumbar spine gain is made of", "contributions", 3)
        if "true_LS_remodelling" not in self.data.visits:
            section.paragraphs.append("This run did not store the contributions.")
            return section
        months = sorted(self.data.visits["month"].unique())
        wanted = [12.0, self.main_end, self.main_end + 12, self.main_end + 24, self.last_month]
        shown = sorted({m for m in (_nearest(months, w) for w in wanted if w <= self.last_month) if m > 0})
        section.paragraphs.append(
            "Model values, in percentage points of baseline BMD: bone held in the remodelling space and its balance, mineralisation of "
            "bone that is left to age, and modelling-based formation, which needs no RANKL. The spine artefact is degenerative "
            "change that DXA reads as bone."
        )
        frame = summaries.contributions(self.present, "LS", self.names, shown)
        at = _nearest(shown, self.main_end)
        section.exhibits.append(
            self.figure(
                "14.2.6.1", "Contributions to the change in lumbar spine BMD", frame,
                lambda anchor, alt: figures.stacked_parts(frame, self.arms, anchor=anchor, alt=alt, ylabel="% of baseline BMD"),
                "Means of patients still in the trial.",
                headline=wording.parts_headline(frame, self.arms, PARTS, at),
            )
        )  # fmt: skip
        if self.control is not None:
            over = summaries.over_control(frame, self.control)
            label = self.by_name[self.control].label
            section.exhibits.append(
                self.figure(
                    "14.2.6.2", f"Contributions to the lumbar spine gain over {label}", over,
                    lambda anchor, alt: figures.stacked_parts(over, self.arms, anchor=anchor, alt=alt, ylabel="% of baseline BMD"),
                    f"Mean of the arm minus mean of {label}.",
                    headline=wording.parts_headline(over, self.arms, PARTS, at).replace("under", f"over {label} under"),
                )
            )  # fmt: skip
        section.exhibits.append(
            self.table(
                "14.2.6.1", "Contributions to the change in lumbar spine BMD", frame,
                lambda caption, label: tables.parts_table(frame, self.arms, self.counts, PARTS, caption, label),
                "Means of patients still in the trial.",
            )
        )  # fmt: skip
        return section

    def uncertainty(self) -> Section:
        """What the unknown parameters leave open."""
        section = Section("11.7", "What is not known, and how far the result depends on it", "uncertainty", 3)
        data = self.data
        if not self.n_draws or data.uncertainty.empty:
            section.paragraphs.append(
                "Parameter uncertainty was switched off in this run: figures for hypothetical agents hold for the default values "
                "of parameters that no human data fix, and for those only."
            )
            return section
        symbols = list(self.drawn.columns)
        section.paragraphs.append(
            f"No human data fix {len(symbols)} parameters of the model ({', '.join(symbols)}). They were drawn {self.n_draws} times from their plausible "
            f"ranges (Table 16.1.1), all other parameters kept, and the typical patient was simulated under each arm with "
            "the same draws. These intervals are not confidence intervals: they do not shrink with more patients, and they are only as wide as "
            "the ranges stated."
        )
        known = self._like_default()
        if known:
            section.paragraphs.append(known)
        section.exhibits.append(
            self._fan("14.2.7.1", "BMD_LS_pct", "Lumbar spine BMD", "Change in lumbar spine BMD (%)", 0.0)
        )
        section.exhibits.append(self._fan("14.2.7.2", "CTX_pct", "CTX", "CTX (% of baseline)", 100.0))
        frame = self._uncertain_results()
        shown = [
            {
                "Result": row["result"],
                "Arm": self.by_name[row["arm"]].label,
                "At default values": tables.num(row["default"], 1),
                "Median of draws": tables.num(row["median"], 1),
                "90% interval": tables.interval(row["low"], row["high"], 1),
                "Draws": str(row["draws"]),
            }
            for row in frame.to_dict("records")
        ]
        section.exhibits.append(
            self.table(
                "14.2.7.1", "Typical patient: headline results over the unknown parameters", frame,
                lambda caption, label: tables.plain(shown, caption, label, numeric=list(shown[0])[2:], group="Result"),
                "One typical patient, no variability between patients, no measurement error. A share of the gain kept is given only for draws "
                "with a gain above 0.5%.",
            )
        )  # fmt: skip
        focus = [arm for arm in self.arms if arm.basis == PREDICTED] or [arm for arm in self.arms if arm.treated]
        ranked = self.importance[self.importance["arm"].isin([arm.name for arm in focus])]
        if len(ranked):
            top = ranked.groupby("arm", sort=False).head(8).reset_index(drop=True)
            what = f"the primary endpoint ({self.primary.name}" + (", difference to control)" if self.control else ")")
            said = []
            for arm in focus:
                own = top[top["arm"] == arm.name]
                strong = own[own["beyond_chance"].astype(bool)]
                if len(strong):
                    said.append(
                        f"{arm.label}: {wording.listed([f'{s} ({tables.num(r, 2)})' for s, r in zip(strong['symbol'], strong['rho'], strict=True)][:4])}"
                    )  # noqa: E501
            section.exhibits.append(
                self.figure(
                    "14.2.7.3", f"Which unknown parameters decide {what}", top,
                    lambda anchor, alt: figures.correlations(top, focus, self.meanings, anchor=anchor, alt=alt),
                    "Spearman rank correlation over the draws; grey: not beyond chance (Bonferroni over all drawn parameters at 5%).",
                    headline=(f"Rank correlations beyond chance: {'; '.join(said)}." if said else "No parameter stands out from chance."),
                )
            )  # fmt: skip
            cells = ranked.reset_index(drop=True)
            shown_rank = [
                {
                    "Parameter": Markup("<code>{}</code>").format(row["symbol"]),
                    "Arm": self.by_name[row["arm"]].label,
                    "Meaning": row["meaning"],
                    "Rank correlation (95% CI)": tables.with_interval(row["rho"], row["low"], row["high"], 2),
                    "Share of rank variance, %": tables.num(row["share"], 0),
                    "Beyond chance": "yes" if row["beyond_chance"] else "no",
                }
                for row in cells.to_dict("records")
            ]
            section.exhibits.append(
                self.table(
                    "14.2.7.2", f"Rank correlation of every drawn parameter with {what}", cells,
                    lambda caption, label: tables.plain(shown_rank, caption, label, numeric=list(shown_rank[0])[3:5], group="Arm"),
                    "Share: rho squared; draws are independent, so the shares add up to at most about 100%; what is missing is not monotone or acts jointly.",  # noqa: E501
                )
            )  # fmt: skip
            points = self._points(focus, top)
            if len(points):
                unit = dict(zip(data.parameters["symbol"], data.parameters["unit"], strict=True))
                names = {
                    s: f"{s}: {self.meanings.get(s, '')}" + (f" ({unit[s]})" if unit.get(s, "1") != "1" else "")
                    for s in points["symbol"].unique()
                }
                label = "Difference to control (points)" if self.control else "Result (%)"
                section.exhibits.append(
                    self.figure(
                        "14.2.7.4", "Primary endpoint of each draw against the parameter that matters most", points,
                        lambda anchor, alt: figures.scatter(points, focus, anchor=anchor, alt=alt, ylabel=label, names=names),
                        "Dots: draws; open diamond: default values.",
                    )
                )  # fmt: skip
        return section

    def _like_default(self) -> str:
        """How the intervals of predicted arms look among draws that leave the calibrated arms where trials have them."""
        arms = [arm for arm in self.arms if arm.basis == CALIBRATED and arm.treated]
        if not arms or self.primary is None or not self._can_draw(self.primary):
            return ""
        draws = self._by_draw(self.primary)
        kept = summaries.draws_like_default(draws, [arm.name for arm in arms], TOLERANCE)
        labels = wording.listed([arm.label for arm in arms])
        text = (
            "The draws were not selected for agreement with trials of calibrated agents. "
            f"{len(kept)} of {self.n_draws} leave the primary endpoint of {labels} within {TOLERANCE:g} percentage point of its value at the "
            "defaults"
        )
        column = "value" if self.control is None else "difference"
        parts = []
        for arm in self.arms:
            values = draws.loc[(draws["arm"] == arm.name) & draws["draw"].isin(kept), column].to_numpy(float)
            over = summaries.interval_over_draws(values)
            if arm.basis == PREDICTED and over["draws"]:
                parts.append(f"{tables.num(over['low'], 1)} to {tables.num(over['high'], 1)} ({arm.label})")
        what = (
            "percentage points"
            if self.control is None
            else f"percentage points against {self.by_name[self.control].label}"
        )
        return text + (f"; among those the 90% interval is {wording.listed(parts)} {what}." if parts else ".")

    def _fan(self, number: str, column: str, what: str, ylabel: str, reference: float) -> Exhibit:
        frame = summaries.fan(self.data.uncertainty, column, self.names)
        end = _nearest(frame["month"], self.main_end)
        at = frame[frame["month"] == end].set_index("arm")
        parts = [
            f"{tables.num(at.loc[a.name, 'low'], 1)} to {tables.num(at.loc[a.name, 'high'], 1)}% ({a.label})"
            for a in self.arms
            if a.name in at.index and at.loc[a.name, "high"] - at.loc[a.name, "low"] > 0.05
        ]
        noun = "change from baseline" if column.startswith("BMD") else "level in % of baseline"
        return self.figure(
            number, f"{what} of the typical patient over the unknown parameters", frame,
            lambda anchor, alt: figures.fans(frame, self.arms, anchor=anchor, alt=alt, ylabel=ylabel, reference=reference),
            headline=f"90% interval of the {noun} at month {end:g}: {wording.listed(parts)}." if parts else "",
        )  # fmt: skip

    def _uncertain_results(self) -> pd.DataFrame:
        results: list[tuple[str, pd.DataFrame, str]] = []
        for spec in self.trial.endpoints:
            if self._can_draw(spec):
                draws = self._by_draw(spec)
                column = "difference" if self.control else "value"
                words = f"{spec.name}: difference to control, percentage points" if self.control else f"{spec.name}, %"
                results.append((words, draws, column))
        if self.ends:
            known = self.data.uncertainty[self.data.uncertainty["arm"].isin(list(self.ends))]
            after = summaries.after_end_by_draw(known, self.ends)
            results.append((f"Highest CTX after {self.end_words}, % of baseline", after, "peak_CTX"))
            results.append(
                (f"Share of the lumbar spine gain kept 12 months after {self.end_words}, %", after, "kept_12")
            )
        rows = []
        for words, draws, column in results:
            for arm in self.arms:
                own = draws[draws["arm"] == arm.name]
                over = summaries.interval_over_draws(own.loc[own["draw"] != 0, column].to_numpy(float))
                default = own.loc[own["draw"] == 0, column]
                if over["draws"]:
                    row = {
                        "result": words,
                        "arm": arm.name,
                        "default": float(default.iloc[0]) if len(default) else np.nan,
                    }
                    rows.append(row | over)
        return pd.DataFrame(rows, columns=["result", "arm", "default", "draws", "median", "q1", "q3", "low", "high"])

    def _points(self, focus: Sequence[ArmView], top: pd.DataFrame) -> pd.DataFrame:
        draws = self._by_draw(self.primary)
        column = "difference" if self.control else "value"
        frames = []
        for arm in focus:
            own = top[top["arm"] == arm.name]
            if own.empty:
                continue
            symbol = str(own["symbol"].iloc[0])
            result = draws.loc[draws["arm"] == arm.name].set_index("draw")[column]
            frame = pd.DataFrame({"draw": result.index, "value": result.to_numpy(float)})
            frame["parameter"] = frame["draw"].map(self.drawn[symbol])
            prior = self.data.parameters.set_index("symbol")["prior"].get(symbol, "uniform")
            frames.append(frame.assign(arm=arm.name, symbol=symbol, prior=prior))
        points = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=["value"])
        return points[points["value"].notna()].reset_index(drop=True)

    # ---- 12 Safety -----------------------------------------------------------------------------------------------

    def safety(self) -> Section:
        """Calcium and PTH as measured."""
        section = Section("12", "Safety: calcium and PTH", "safety")
        section.paragraphs.append(
            "Serum calcium and PTH as the model has them. The occupancy of RANKL on lymphocytes (Table 14.2.5.3) is an exposure of that "
            "tissue, not a rate of adverse events, for which the model has no data. Calcium supplements are not modelled."
        )
        specs = (("CA", "serum calcium", "mmol/L", 3), ("PTH", "plasma PTH", "pmol/L", 2))
        for k, (measure, name, unit, decimals) in enumerate(specs, start=1):
            visits = self.data.visits
            if measure not in visits or not visits[measure].notna().any():
                continue
            change = visits.loc[visits[measure].notna(), ["patient", "arm", "month", measure]].rename(
                columns={measure: "value"}
            )
            if measure == "CA":
                frame = summaries.mean_by_visit(change, self.names, self.control)
                low = frame.loc[frame["mean"].idxmin()]
                headline = (
                    f"The lowest mean serum calcium was {tables.num(low['mean'], 2)} mmol/L, at month {low['month']:g} under "
                    f"{self.by_name[low['arm']].label}."
                )
                section.exhibits.append(
                    self.table(
                        f"14.3.{k}", "Serum calcium by visit (mmol/L)", frame,
                        lambda caption, label, frame=frame, decimals=decimals: tables.mean_table(
                            frame, self.arms, self.counts, self.control, caption, label, decimals=decimals
                        ),
                        "Observed values; t interval of the mean; Welch's interval of the difference.",
                        headline=headline,
                        folded=True,
                    )
                )  # fmt: skip
            else:
                frame = summaries.median_by_visit(change, self.names, self.control)
                section.exhibits.append(
                    self.table(
                        f"14.3.{k}", f"{wording.first_upper(name)} by visit ({unit})", frame,
                        lambda caption, label, frame=frame, decimals=decimals: tables.median_table(
                            frame, self.arms, self.counts, self.control, caption, label, decimals=decimals
                        ),
                        "Observed values.",
                        folded=True,
                    )
                )  # fmt: skip
        return section

    # ---- 16 Appendices -------------------------------------------------------------------------------------------

    def assumptions(self) -> Section:
        """Every parameter with status and source, the assumed and fitted first."""
        section = Section("16.1", "Assumptions", "assumptions")
        parameters = self.data.parameters.copy()
        counts = parameters["status"].value_counts()
        said = [f"{int(n)} {status}" for status, n in counts.items()]
        section.paragraphs.append(
            f"The model has {len(parameters)} parameters: {wording.listed(said)}. Measured: taken from a published measurement. Fitted: "
            "adjusted to published trials, mostly of denosumab. Assumed: our choice, with the range that a reasonable opponent could "
            "claim. Whatever is said here of a hypothetical agent rests on the assumed and the fitted ones; those marked "
            "“drawn” were varied in section 11.7."
        )
        weight = (
            self.importance.groupby("symbol")["rho"].agg(lambda r: r.loc[r.abs().idxmax()])
            if len(self.importance)
            else pd.Series(dtype=float)
        )
        predicted = {a.name for a in self.arms if a.basis == PREDICTED}
        if predicted and len(self.importance):
            own = self.importance[self.importance["arm"].isin(predicted)]
            weight = own.groupby("symbol")["rho"].agg(lambda r: r.loc[r.abs().idxmax()])
        parameters["drawn"] = parameters["symbol"].isin(list(self.drawn.columns))
        parameters["rank_correlation"] = parameters["symbol"].map(weight)
        order = parameters["status"].map({"assumed": 0, "fitted": 1, "measured": 2})
        soft = (
            parameters[order < 2]
            .assign(_o=order)
            .sort_values(["_o", "group", "symbol"], kind="stable")
            .drop(columns="_o")
        )
        hard = parameters[order >= 2].sort_values(["group", "symbol"], kind="stable")
        for number, title, frame, note in (
            ("16.1.1", "Assumed and fitted parameters of the model", soft, "Drawn: varied in section 11.7; ρ: its strongest rank correlation with the primary endpoint of a hypothetical arm."),  # noqa: E501
            ("16.1.2", "Measured parameters of the model", hard, ""),
        ):  # fmt: skip
            frame = frame.reset_index(drop=True)
            section.exhibits.append(
                self.table(
                    number, title, frame,
                    lambda caption, label, frame=frame: tables.plain(
                        _parameter_cells(frame), caption, label, numeric=("Value", "CV")
                    ),
                    note + " Range: what a reasonable opponent could claim. CV: spread between patients.",
                )
            )  # fmt: skip
        rows = []
        used = self.trial.agent_names()
        for name in used:
            agent = self.data.agents[name]
            rows += [
                {"agent": agent.label, "hypothetical": agent.hypothetical, **row._asdict()} for row in agent.provenance
            ]
        if rows:
            agents = pd.DataFrame(rows)
            order = agents["status"].map({"assumed": 0, "fitted": 1, "measured": 2})
            agents = agents.assign(_o=order).sort_values("_o", kind="stable").drop(columns="_o")
            agents = agents.sort_values(
                "agent", key=lambda c: c.map({self.data.agents[n].label: k for k, n in enumerate(used)}), kind="stable"
            )
            agents = agents.reset_index(drop=True)
            section.exhibits.append(
                self.table(
                    "16.1.3", "Agents of this trial, field by field", agents,
                    lambda caption, label: tables.plain(_agent_cells(agents), caption, label, numeric=("Value",), group="Agent"),
                    "KD \"none\": the agent does not bind that form.",
                )
            )  # fmt: skip
        return section

    def reproducibility(self) -> Section:
        """Versions, seed, hashes, command."""
        section = Section("16.2", "Reproducibility", "reproducibility")
        rows = [{"item": key, "value": value} for key, value in _flatten(self.data.manifest)]
        frame = pd.DataFrame(rows, columns=["item", "value"])
        shown = [
            {"Item": key, "Value": Markup("<code>{}</code>").format(value)}
            for key, value in zip(frame["item"], frame["value"], strict=True)
        ]
        section.paragraphs.append(
            "The same trial file, parameters, agents and seed give the same patients and results, whatever the number of workers. "
            "The run folder holds frozen copies of all three beside the data."
        )
        section.exhibits.append(
            self.table(
                "16.2.1", "Manifest of the run", frame,
                lambda caption, label: tables.plain(shown, caption, label),
            )
        )  # fmt: skip
        return section


def _text(value: object) -> str:
    return "" if value is None or (isinstance(value, float) and np.isnan(value)) else str(value)


def _tag(word: str) -> Markup:
    return Markup('<span class="tag {}">{}</span>').format(word.split()[0], word)


def _status(status: str, rho: float | None = None) -> Markup:
    tag = _tag(status)
    if rho is None:
        return tag
    weight = f" ρ {tables.num(rho, 2)}" if np.isfinite(rho) else ""
    return tag + Markup(' <span class="tag drawn">drawn{}</span>').format(weight)


def _parameter_cells(frame: pd.DataFrame) -> list[dict[str, object]]:
    rows = []
    for row in frame.to_dict("records"):
        note = _text(row.get("note"))
        source = tables.doi_link(row.get("source"), row.get("doi"))
        rows.append(
            {
                "Symbol": Markup("<code>{}</code>").format(row["symbol"]),
                "Meaning": row["meaning"],
                "Value": tables.sig(float(row["value"])),
                "Unit": row["unit"],
                "Range": _range(float(row["low"]), float(row["high"])),
                "CV": tables.sig(float(row["cv"])) if float(row["cv"] or 0) > 0 else "",
                "Status": _status(row["status"], row["rank_correlation"] if row["drawn"] else None),
                "Source and note": Markup('{}<span class="note">{}</span>').format(source, f" {note}" if note else ""),
            }
        )
    return rows


def _agent_cells(frame: pd.DataFrame) -> list[dict[str, object]]:
    rows = []
    for row in frame.to_dict("records"):
        low, high = (float(row[k]) if _text(row[k]) else np.nan for k in ("low", "high"))
        rows.append(
            {
                "Field": Markup("<code>{}</code>").format(row["field"]),
                "Agent": row["agent"],
                "Value": tables.sig(float(row["value"])),
                "Unit": _text(row["unit"]),
                "Range": _range(low, high),
                "Status": _status(row["status"]),
                "Source": tables.doi_link(row["source"], row["doi"]),
            }
        )
    return rows


def _flatten(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    if isinstance(value, Mapping):
        return [
            pair for key, inner in value.items() for pair in _flatten(inner, f"{prefix}.{key}" if prefix else str(key))
        ]
    if isinstance(value, list | tuple) and any(isinstance(v, Mapping | list) for v in value):
        return [pair for k, inner in enumerate(value) for pair in _flatten(inner, f"{prefix}.{k}")]
    text = (
        value
        if isinstance(value, str)
        else " ".join(map(str, value))
        if isinstance(value, list | tuple)
        else json.dumps(value)
    )
    return [(prefix, text)]


def _nearest(months: Any, wanted: float) -> float:
    """The month nearest to `wanted`, the earlier of two."""
    options = np.unique(np.asarray(list(months), float))
    return float(options[np.abs(options - wanted).argmin()])


def _after_baseline(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows in which a change from baseline can differ from none."""
    return frame[frame["month"] > 0].reset_index(drop=True)


def _since(frame: pd.DataFrame, ends: Mapping[str, float], first: float) -> pd.DataFrame:
    """Rows of the arms in `ends`, months counted from each arm's end, from `first` on."""
    own = frame[frame["arm"].isin(list(ends))]
    own = own.assign(month=own["month"] - own["arm"].map(dict(ends)))
    return own[own["month"] >= first].sort_values("month", kind="stable").reset_index(drop=True)


def _month(month: float) -> str:
    return f"{round(month, 1):g}"


def _span(first: float, last: float) -> str:
    if not np.isfinite(first):
        return tables.DASH
    return _month(first) if _month(first) == _month(last) else f"{_month(first)} to {_month(last)}"


def _range(low: float, high: float) -> str:
    """The plausible range, on one line."""
    if not (np.isfinite(low) and np.isfinite(high)):
        return ""
    return "fixed" if low == high else f"{tables.sig(low)}\u00a0to\u00a0{tables.sig(high)}"


def _ratio(trial: Any, names: Sequence[str]) -> str:
    return ":".join(f"{trial.population.ratio.get(name, 1):g}" for name in names)


def _range_words(name: str, low: float | None, high: float | None) -> str:
    label, unit, _ = BASELINE.get(name, (name.replace("_", " "), "", ""))
    if name == "T_lowest":
        label, unit = "Lower T-score of spine and hip", ""
    if name.startswith("T_") and unit:
        label, unit = f"{label.removesuffix(' BMD')} T-score", ""
    words, unit = label[:1].lower() + label[1:], f" {unit}" if unit else ""
    if name == "eGFR":
        words = name
    if low is None:
        return f"{words} at most {tables.sig(float(high or 0))}{unit}"
    if high is None:
        return f"{words} at least {tables.sig(low)}{unit}"
    return f"{words} {tables.sig(low)} to {tables.sig(high)}{unit}"


def compose(data: RunData) -> tuple[Composer, list[Section]]:
    """All sections of the report, in order; part headings carry no exhibits."""
    c = Composer(data)
    sections = [c.synopsis(), c.design(), c.patients(), c.efficacy(), c.endpoint_section(), c.bmd(), c.markers()]
    sections += [
        c.after(),
        c.ligand(),
        c.contributions(),
        c.uncertainty(),
        c.safety(),
        c.assumptions(),
        c.reproducibility(),
    ]
    return c, sections


def render(composer: Composer, sections: Sequence[Section]) -> str:
    """The page as HTML text."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    css = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    return environment.get_template("report.html").render(
        c=composer, sections=sections, css=Markup(css), mark=MARK, trial=composer.trial, safe=Markup,
    )  # fmt: skip


def write_report(run_folder: str | os.PathLike[str], *, out: str | os.PathLike[str] | None = None) -> Path:
    """Write the report of a finished run.

    Parameters
    ----------
    run_folder : path
        A folder written by ``ranklsim run``.
    out : path, optional
        Folder of the report; ``<run_folder>/report`` by default. An earlier report there is replaced, any other
        folder that is not empty is refused.

    Returns
    -------
    Path
        ``index.html``, which needs no other file; beside it ``tables/`` with one CSV and ``figures/`` with one SVG
        an exhibit.

    Raises
    ------
    BadInput
        If the run is incomplete or altered, or the folder can't be written or holds something else.
    """
    data = read(run_folder)
    target = Path(out) if out is not None else Path(run_folder) / "report"
    _check_target(target)
    composer, sections = compose(data)
    page = render(composer, sections)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=".report-", dir=target.parent))
    except OSError as fault:
        raise BadInput(_cannot_write(target, fault)) from fault
    try:
        work.chmod(0o755)
        for name in ("tables", "figures"):
            (work / name).mkdir()
        for exhibit in (e for section in sections for e in section.exhibits):
            (work / "tables" / f"{exhibit.stem}.csv").write_text(exhibit.csv(), encoding="utf-8", newline="")
            if exhibit.kind == "Figure":
                (work / "figures" / f"{exhibit.stem}.svg").write_text(exhibit.body + "\n", encoding="utf-8", newline="")
        (work / "index.html").write_text(page, encoding="utf-8", newline="")
        if target.exists():
            shutil.rmtree(target)
        os.replace(work, target)
    except OSError as fault:
        raise BadInput(_cannot_write(target, fault)) from fault
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return target / "index.html"


def _check_target(target: Path) -> None:
    if target.exists() and not target.is_dir():
        raise BadInput(f"{target}: is a file; give a folder for the report.")
    if target.is_dir() and any(target.iterdir()):
        index = target / "index.html"
        if not index.is_file() or MARK not in index.read_text(encoding="utf-8", errors="replace")[:2000]:
            raise BadInput(f"{target}: holds something other than a report; give an empty or a new folder.")


def _cannot_write(target: Path, fault: OSError) -> str:
    return f"{target}: the report can't be written there ({fault.strerror}); give a folder that you may write to."
