"""Virtual knock-outs, transgenics and ovariectomy, compared with published mice.

``data/genetics.toml`` has genotypes, interventions, the time scale of the mouse, and one row for each published finding
with its bounds. This file runs them. No parameter is fitted to them, and no genotype has a parameter of its own: a
deletion sets synthesis to zero, a sheddase-resistant ligand sets shedding to zero, and all other parameters are those
of women. A germline genotype starts from its own lifelong steady state (`steady`). An intervention in an adult is
integrated from that state, next to the same genotype without the intervention.

``python -m ranklsim.pkpd.mice.genetics`` prints the page docs/genetics.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from ranklsim.pkpd.agents import load_agent
from ranklsim.pkpd.errors import RunFailed
from ranklsim.pkpd.mice.laboratory import WOMEN, Laboratory, number, published
from ranklsim.pkpd.parameters import ParameterTable, load_parameters

COLUMNS = "test genotype endpoint published low high predicted passed basis source note".split()
Row = Mapping[str, Any]


def run_genetics(parameters: ParameterTable | None = None) -> pd.DataFrame:
    """Predict every published statement on genotypes, and say whether the model agrees.

    Parameters
    ----------
    parameters : ParameterTable, optional
        The women's parameters; shipped ones by default.

    Returns
    -------
    DataFrame
        One row a statement: ``test`` (1 to 24; 0 for further experiments), ``genotype``, ``endpoint`` with its unit,
        ``published``, ``low`` and ``high`` (bounds of agreement, NaN where open), ``predicted`` (NaN if not in the
        model), ``passed`` (missing if not in the model), ``basis`` (R read, C recalled, P prediction), ``source``,
        ``note``.
    """
    data = published()
    laboratory = Laboratory(parameters or load_parameters())
    found = []
    for row in data["row"]:
        for name, variant in _variants(row, data["variant"]):
            known = "measure" in row
            predicted, trouble = _predict(laboratory.with_variant(variant), row) if known else (np.nan, "")
            low, high = float(row.get("low", np.nan)), float(row.get("high", np.nan))
            passed = not (predicted < low or predicted > high or np.isnan(predicted))
            label = data["genotype"][row["genotype"]]["label"] if known else "-"
            note = [row["note"] if known else f"not in the model: {row['note']}"] if "note" in row else []
            if known and not passed and "limit" in row:
                note.append(row["limit"])
            note += [trouble] if trouble else []
            found.append(
                {
                    "test": row["test"],
                    "genotype": label,
                    "endpoint": row["endpoint"] + (f" ({name})" if name else ""),
                    "published": row["published"],
                    "low": low,
                    "high": high,
                    "predicted": predicted,
                    "passed": passed if known else None,
                    "basis": row["basis"],
                    "source": f"{row['source']}, {row['doi']}" if row["doi"] else row["source"],
                    "note": "; ".join(note),
                }
            )
    return pd.DataFrame(found, columns=COLUMNS).astype({"passed": "boolean"})


def _predict(laboratory: Laboratory, row: Row) -> tuple[float, str]:
    """Prediction for one published finding; NaN and the reason if these parameters give no number."""
    try:
        predicted = MEASURES[row["measure"]](laboratory, row)
    except RunFailed as fault:
        return np.nan, f"no number: {fault}"
    return predicted, "no number: no lifelong steady state" if np.isnan(predicted) else ""


def _variants(row: Row, variants: Mapping[str, dict[str, float]]) -> Iterator[tuple[str, dict[str, float]]]:
    if "variants" not in row:
        yield "", {}
    for name in row.get("variants", ()):
        yield name, variants[name]


# ------------------------------------------------------------------------------------- measures, by name in the data
def _lifelong(laboratory: Laboratory, row: Row) -> float:
    """Steady state against wild type's."""
    return _as(laboratory.rest(row["genotype"])[row["of"]] / laboratory.rest("normal")[row["of"]], row)


def _difference(laboratory: Laboratory, row: Row) -> float:
    """Largest difference of readings between two genotypes at steady state, % of normal."""
    one, other, normal = (laboratory.rest(name) for name in (row["genotype"], row["to"], "normal"))
    return max(100 * abs(one[of] - other[of]) / normal[of] for of in row["of"])


def _recovered(laboratory: Laboratory, row: Row) -> float:
    """Share of a genotype's loss that another setting gives back, %."""
    lost, treated, normal = (laboratory.rest(name)[row["of"]] for name in (row["from"], row["genotype"], "normal"))
    return 100 * (treated - lost) / (normal - lost)


def _grown(laboratory: Laboratory, row: Row) -> float:
    """Volume after some days from a common start, against wild type's, where there is no fixed volume."""
    mutant, normal = (laboratory.after(name, None, row["days"]) for name in (row["genotype"], "normal"))
    return _as(mutant[row["of"]] / normal[row["of"]], row)


def _change(laboratory: Laboratory, row: Row, genotype: str | None = None) -> float:
    """Change by an intervention in the adult, against the same genotype left alone or, if said, against its start."""
    name, what, days = genotype or row["genotype"], row["intervention"], row["days"]
    still = laboratory.begin(name, what) if "against" in row else laboratory.untouched(name, what, days)
    return _as(laboratory.after(name, what, days)[row["of"]] / still[row["of"]], row)


def _share(laboratory: Laboratory, row: Row) -> float:
    """Loss by an intervention, % of wild type's."""
    return 100 * _change(laboratory, row) / _change(laboratory, row, "normal")


def _prevented(laboratory: Laboratory, row: Row) -> float:
    """Loss by an intervention that the genotype is spared, % of wild type's."""
    return 100 - _share(laboratory, row)


def _losses(laboratory: Laboratory, row: Row) -> float:
    """Osteoclasts that two genotypes lack, summed or the larger, %."""
    losses = [100 * (1 - laboratory.rest(name)["OC_T"]) for name in (row["genotype"], row["other"])]
    return sum(losses) if row["how"] == "sum" else max(losses)


def _scan(laboratory: Laboratory, row: Row) -> float:
    """Highest or lowest steady-state reading over a grid of two parameters inside their priors."""
    frame, (first, second), points = laboratory.table.frame, row["over"], row["points"]
    found = []
    for a in _grid(frame.loc[first], points):
        for b in _grid(frame.loc[second], points):
            found.append(_lifelong(laboratory.with_variant({first: a, second: b}), row))
    return max(found) if row["how"] == "highest" else min(found)


def _agent_effect(laboratory: Laboratory, row: Row) -> float:
    """Largest change that one dose makes to osteoclasts or bone, % of normal."""
    agent = load_agent(row["agent"])
    if not row.get("affinity", True):
        agent = replace(agent, values=agent.values | {"KD_mRANKL": np.inf, "KD_sRANKL": np.inf})
    name, normal = row["genotype"], laboratory.after("normal", None, row["days"])
    with_drug = laboratory.after(name, None, row["days"], ((agent, 0.0, row["mg"]),))
    without = laboratory.after(name, None, row["days"])
    return max(100 * abs(with_drug[of] - without[of]) / normal[of] for of in ("OC_T", "OC_C", "V_T", "V_C"))


def _blocked(laboratory: Laboratory, row: Row) -> float:
    """Reading under repeated doses: % change, or difference to another agent in % of normal."""

    def under(name: str) -> float:
        agent = load_agent(name)
        doses = tuple((agent, float(day), float(row["mg"])) for day in np.arange(0, row["days"], row["every"]))
        drugged = laboratory.after(row["genotype"], None, row["days"], doses)[row["of"]]
        return 100 * (drugged / laboratory.after(row["genotype"], None, row["days"])[row["of"]] - 1)

    return under(row["agent"]) - (under(row["against"]) if "against" in row else 0.0)


def _treated(laboratory: Laboratory, row: Row) -> float:
    """A column of the typical woman's course: at a month, its peak or mean over months, or months above a level."""
    value = _statistic(laboratory, row, row)
    if "less" in row:
        value -= _statistic(laboratory, row, row["less"])
    return value


def _statistic(laboratory: Laboratory, row: Row, when: Row) -> float:
    if "month" in when:
        course = laboratory.treated(when["regimen"], (0.0, float(when["month"])))[row["column"]].to_numpy()
        if row.get("as") == "change from start":
            return float(100 * (course[-1] / course[0] - 1))
        value = float(course[-1])
    else:
        months = tuple(float(month) for month in range(when["from"], when["until"] + 1))
        course = laboratory.treated(when["regimen"], months)[row["column"]].to_numpy()
        how = row["how"]
        if how.startswith("months above "):
            return float((course > float(how.removeprefix("months above "))).sum())
        value = float(course.max() if how == "peak" else course.mean())
    return value - 100 if row.get("as") == "change" else value


def _gain(laboratory: Laboratory, row: Row) -> float:
    """Spine BMD over untreated after three years of 60 mg every 6 months, % of denosumab's."""

    def at_3_years(regimen: str) -> float:
        return float(laboratory.treated(regimen, (36.0,))["BMD_LS_pct"].iloc[0])

    gains = [at_3_years(f"{name} 60mg every 6mo x6") - at_3_years("") for name in (row["agent"], "denosumab")]
    return 100 * gains[0] / gains[1]


def _overshoot(laboratory: Laboratory, row: Row) -> float:
    """Highest CTX above baseline in the three years after three years of 60 mg every 6 months, % of denosumab's."""
    months = tuple(float(month) for month in range(36, 73))
    over = [
        float(laboratory.treated(f"{name} 60mg every 6mo x6", months)["CTX_pct"].max()) - 100
        for name in (row["agent"], "denosumab")
    ]
    return 100 * max(over[0], 0.0) / over[1]


def _menopause(laboratory: Laboratory, row: Row) -> float:
    """BMD change a year under ovariectomy's folds, without the spine's degenerative artefact of old age."""
    values = laboratory.symbols(WOMEN, "ovariectomy") | {"a_LS": 0.0}
    first, last = row["years"]
    months = (12.0 * first, 12.0 * last)
    bmd = laboratory.treated("", months, values)[f"BMD_{row['site']}"].to_numpy()
    return float(100 * (bmd[1] / bmd[0] - 1) / (last - first))


def _OPG_input(laboratory: Laboratory, row: Row) -> float:
    """OPG over normal as the drift of the RANKL/OPG balance says, % change."""
    t = laboratory.table
    drift = laboratory.treated(row["regimen"], (float(row["month"]),))["DRIFT_T"].iloc[0] / 100
    return float(100 * (1 / (1 + t["drift_OPG"] * (1 - t["mix"]) * (drift - 1)) - 1))


def _turnover(laboratory: Laboratory, row: Row) -> float:
    """Turnover of the whole skeleton (%/yr), or of trabecular over that of cortical bone."""
    t = laboratory.table
    if row["of"] == "ratio":
        return t["kT"] / t["kC"]
    return 100 / (t["turn_T"] / t["kT"] + (1 - t["turn_T"]) / t["kC"])


def _endless(laboratory: Laboratory, row: Row) -> float:
    """Change of a volume that has no fixed point, %/yr on the women's time scale."""
    steady = laboratory.rest(row["genotype"]).steady
    assert steady is not None
    return 100 * number(steady.drift[row["of"]]) / published()["mouse"]["times"]


MEASURES: dict[str, Callable[[Laboratory, Row], float]] = {
    "lifelong": _lifelong,
    "difference": _difference,
    "recovered": _recovered,
    "grown": _grown,
    "change": _change,
    "share": _share,
    "prevented": _prevented,
    "losses": _losses,
    "scan": _scan,
    "agent_effect": _agent_effect,
    "blocked": _blocked,
    "treated": _treated,
    "gain": _gain,
    "overshoot": _overshoot,
    "menopause": _menopause,
    "OPG_input": _OPG_input,
    "turnover": _turnover,
    "endless": _endless,
}


def _as(ratio: float, row: Row) -> float:
    return {"fold": ratio, "percent": 100 * ratio, "change": 100 * (ratio - 1)}[row.get("as", "change")]


def _grid(row: pd.Series, points: int) -> list[float]:
    spread = np.geomspace if row["prior"] == "loguniform" else np.linspace
    return [float(value) for value in np.clip(spread(row["low"], row["high"], points), row["low"], row["high"])]


# ---------------------------------------------------------------------------------------------------------- telling
def genetics_table(frame: pd.DataFrame | None = None) -> pd.DataFrame:
    """Results as text, three significant digits, in the order of the tests (further experiments last).

    Parameters
    ----------
    frame : DataFrame, optional
        From `run_genetics`; run with the shipped parameters by default.

    Returns
    -------
    DataFrame
        Columns Test, Genotype, Endpoint, Published, Agrees if, Predicted, Result, Basis, Source, Note.
    """
    frame = run_genetics() if frame is None else frame
    ordered = frame.sort_values("test", kind="stable", key=lambda test: test.where(test > 0, np.inf))
    return pd.DataFrame(
        {
            "Test": [str(test) if test else "-" for test in ordered["test"]],
            "Genotype": ordered["genotype"],
            "Endpoint": ordered["endpoint"],
            "Published": ordered["published"],
            "Agrees if": [_bounds(row.low, row.high) for row in ordered.itertuples()],
            "Predicted": [_digits(value) for value in ordered["predicted"]],
            "Result": [
                _result(passed, basis) for passed, basis in zip(ordered["passed"], ordered["basis"], strict=True)
            ],
            "Basis": ordered["basis"],
            "Source": ordered["source"],
            "Note": ordered["note"],
        }
    ).reset_index(drop=True)


def describe_genetics(frame: pd.DataFrame) -> str:
    """Results of `run_genetics` for a terminal: pass or fail for each row, counts at the end.

    Parameters
    ----------
    frame : DataFrame
        As from `run_genetics`.
    """
    lines: list[str | None] = []
    test = None
    for row in genetics_table(frame).itertuples():
        if row.Test != test:
            test = row.Test
            lines += ["" if lines else None, f"Test {test}" if test != "-" else "Further experiments"]
        who = "" if row.Genotype == "-" else f"{row.Genotype}: "
        bounds = f" (agrees if {row[5]})" if row.Predicted else ""
        lines.append(f"  {row.Result:<16} {row.Predicted:>8}  {who}{row.Endpoint}; published: {row.Published}{bounds}")
        if row.Note and row.Result not in ("pass", "as stated"):
            lines.append(f"{'':29}{row.Note}")
    return "\n".join([line for line in lines if line is not None] + ["", *_counts(frame)])


def _counts(frame: pd.DataFrame) -> list[str]:
    """Sentences about the numbers of rows and of tests that agree."""
    data = frame[frame["basis"] != "P"]
    judged = data[data["passed"].notna()]
    numbered = judged[judged["test"] > 0]
    whole = numbered.groupby("test")["passed"].all()
    failing = ", ".join(str(test) for test in whole.index[~whole])
    guesses = frame[(frame["basis"] == "P") & frame["passed"].notna()]
    agree = judged["passed"].astype(bool)
    return [
        f"{agree.sum()} of {len(judged)} published statements agree with the model, {(~agree).sum()} do not; "
        f"{frame['passed'].isna().sum()} are outside the model.",
        f"{whole.sum()} of {len(whole)} numbered tests on data agree in every part; the others are "
        f"{failing or 'none'}.",
        f"{guesses['passed'].sum()} of {len(guesses)} expected effects of hypothetical agents, which are not data, are "
        "as expected.",
    ]


def _result(passed: bool | None, basis: str) -> str:
    if pd.isna(passed):
        return "not in the model"
    if basis == "P":
        return "as stated" if passed else "not as stated"
    return "pass" if passed else "FAIL"


def _bounds(low: float, high: float) -> str:
    if np.isnan(low) and np.isnan(high):
        return ""
    if np.isnan(low):
        return f"at most {high:g}"
    return f"at least {low:g}" if np.isnan(high) else f"{low:g} to {high:g}"


def _digits(value: float) -> str:
    if np.isnan(value):
        return ""
    if abs(value) < 5e-4:
        return "0"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def genetics_page(frame: pd.DataFrame | None = None) -> str:
    """The page ``docs/genetics.md``, from results of `run_genetics` (shipped parameters by default).

    Parameters
    ----------
    frame : DataFrame, optional
        As from `run_genetics`.
    """
    frame = run_genetics() if frame is None else frame
    data, table = published(), genetics_table(frame)
    mouse = data["mouse"]
    changed = ", ".join(f"`{symbol}`" for symbol in [*mouse["faster"], *mouse["shorter"]])
    lines = [
        "# The published mice",
        "",
        "`python -m ranklsim.pkpd.mice.genetics` writes this page. Do not edit it by hand. The statements, their",
        "bounds and their sources are in `pkpd/data/genetics.toml`. The code is in `pkpd/mice`.",
        "",
        "Every genotype is the typical woman with synthesis, shedding, anchoring, OPG or RANK set to zero or to a",
        "multiple. No genotype has a parameter of its own, and no statement was used in the fit, except where a note",
        f"says so. A mouse differs from the woman only in its time scale: {changed} are {mouse['times']} times faster",
        f"or shorter ({mouse['source']}).",
        "A germline genotype starts from its own lifelong steady state. An intervention in the adult is simulated from",
        "that state, and compared with the same genotype without the intervention. The bounds are ours. Basis: R, read",
        "at its source (mostly the abstract); C, recalled; P, a prediction for a hypothetical agent, without data.",
        "",
        *(f"- {line}" for line in _counts(frame)),
        "",
        "| intervention | change | evidence |",
        "| --- | --- | --- |",
    ]
    for part in data["intervention"].values():
        what = [f"`{symbol}` x {value:g}" for symbol, value in part.get("times", {}).items()]
        what += [f"`{symbol}` = {value:g}" for symbol, value in part.get("set", {}).items()]
        what += [f"serum sRANKL x {part['serum_sRANKL']:g}"] if "serum_sRANKL" in part else []
        what += [f"`{symbol}` from {value:g} to the women's" for symbol, value in part.get("before", {}).items()]
        why = "; ".join(text for text in (part["source"], part.get("note", "")) if text)
        lines.append(f"| {part['label']} | {', '.join(what)} | {why} |")
    lines += ["", "| " + " | ".join(table.columns) + " |", "| " + " | ".join("---" for _ in table.columns) + " |"]
    lines += [
        "| " + " | ".join(str(cell).replace("|", "/") for cell in row) + " |" for row in table.itertuples(index=False)
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(genetics_page(), end="")
