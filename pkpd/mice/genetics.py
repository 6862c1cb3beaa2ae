"""Virtual knock-outs, transgenics and ovariectomy, compared with published mice.

``data/genetics.toml`` has genotypes, interventions, the time scale of the mouse, and one row for each published finding
with its bounds. This file runs them. No parameter is fitted to them, and no genotype has a parameter of its own: a
deletion sets synthesis to zero, a sheddase-resistant ligand sets shedding to zero, and all other parameters are those
of women. A germline genotype starts from its own lifelong steady state (`steady`). An intervention in an adult is
integrated from that state, next to the same genotype without the intervention.

``scripts/genetics.py`` writes the tables of docs/genetics.md.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ranklsim.pkpd.agents import Agent, load_agent
from ranklsim.pkpd.arguments import checked, instance
from ranklsim.pkpd.errors import RunFailed
from ranklsim.pkpd.evidence.records import load_evidence
from ranklsim.pkpd.mice.laboratory import Laboratory, published
from ranklsim.pkpd.parameters import PARAMETERS, ParametersLike, ParameterTable, load_parameters
from ranklsim.pkpd.results import Frame

COLUMNS = (
    "test genotype endpoint published low high predicted passed median lower upper share independent basis source note"
).split()
VECTORS = 200  # of the ensemble, beside the default
MIDDLE = (0.05, 0.5, 0.95)  # of their predictions
Row = Mapping[str, Any]
Array = NDArray[np.float64]
Doses = tuple[tuple[Agent, float, float], ...]
"""Agent, day and mg of each dose."""


@checked(parameters=PARAMETERS, vectors=instance(pd.DataFrame))
def run_genetics(parameters: ParametersLike = None, *, vectors: pd.DataFrame | None = None) -> Frame:
    """Predict every published statement on genotypes, and say whether the model agrees.

    Parameters
    ----------
    parameters : path, mapping or ParameterTable, optional
        The women's parameters; shipped ones by default.
    vectors : DataFrame, optional
        Rows in which the parameters differ from these, such as some of the ensemble; none by default.

    Returns
    -------
    Frame
        One row a statement: ``test`` (1 to 24; 0 for further experiments), ``genotype``, ``endpoint`` with its unit,
        ``published``, ``low`` and ``high`` (bounds of agreement, NaN where open), ``predicted`` (NaN if not in the
        model), ``passed`` (missing if not in the model), ``median``, ``lower`` and ``upper`` (middle 90 %) of the
        predictions of `vectors` and the ``share`` of them that agrees (NaN without vectors, or where a row is about a
        range of parameters), ``independent`` (neither by construction nor a size that the posterior weighs),
        ``basis`` (R read, C recalled, P prediction), ``source``, ``note``.
    """
    data = published()
    table = load_parameters(parameters)
    laboratory = Laboratory(table)
    many = None if vectors is None else Laboratory(table, vectors)
    found = []
    for row in data["row"]:
        for name, variant in _variants(row, data["variant"]):
            known = "value" in row
            predicted, trouble = _predict(laboratory.with_variant(variant), row) if known else (np.nan, "")
            low, high = float(row.get("low", np.nan)), float(row.get("high", np.nan))
            passed = not (predicted < low or predicted > high or np.isnan(predicted))
            over = np.full(1, np.nan)
            if many is not None and known and "over" not in row:
                over = value_of(many.with_variant(variant), row)
            seen = over[np.isfinite(over)]
            lower, median, upper = np.quantile(seen, MIDDLE) if seen.size else (np.nan,) * 3
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
                    "median": median,
                    "lower": lower,
                    "upper": upper,
                    "share": (~((over < low) | (over > high)))[np.isfinite(over)].mean() if seen.size else np.nan,
                    "independent": not (row.get("construction") or "likely" in row),
                    "basis": row["basis"],
                    "source": f"{row['source']}, {row['doi']}" if row["doi"] else row["source"],
                    "note": "; ".join(note),
                }
            )
    return Frame(pd.DataFrame(found, columns=COLUMNS).astype({"passed": "boolean"}), table="genetics")


def _predict(laboratory: Laboratory, row: Row) -> tuple[float, str]:
    """Prediction for one published finding; NaN and the reason if these parameters give no number."""
    try:
        if "over" in row:
            predicted = _extreme(laboratory, row)
        else:
            predicted = float(value_of(laboratory, row)[0])
    except RunFailed as fault:
        return np.nan, f"no number: {fault}"
    return predicted, "no number: no lifelong steady state" if np.isnan(predicted) else ""


@lru_cache(maxsize=1)
def _figures() -> pd.DataFrame:
    """Published figures in women; read once, as each row that names one asks for them again and again."""
    return load_evidence().observations


def _variants(row: Row, variants: Mapping[str, dict[str, float]]) -> Iterator[tuple[str, dict[str, float]]]:
    if "variants" not in row:
        yield "", {}
    for name in row.get("variants", ()):
        yield name, variants[name]


# ------------------------------------------------------------------------------------------------- values of rows
def value_of(laboratory: Laboratory, row: Row) -> Array:
    """The `value` of a row: arithmetic on the functions of `_terms`, which also the head of the data file explains.

    Parameters
    ----------
    laboratory : Laboratory
    row : mapping
        A ``[[row]]`` of the data file.

    Returns
    -------
    ndarray, shape (n,)
        Of each vector of the laboratory; NaN where it gives none.
    """
    found = eval(row["value"], {"__builtins__": {}, **_terms(laboratory, row["genotype"])})
    return np.array(np.broadcast_to(found, len(laboratory.vectors)), dtype=float)


def _terms(laboratory: Laboratory, own: str) -> dict[str, object]:
    """Functions and constants that a `value` may name; `own` is the genotype of its row."""

    def rest(of: str, name: str = own) -> Array:
        """A reading of the lifelong steady state."""
        return laboratory.rest(name)[of]

    def after(of: str, days: float, by: str | None = None, name: str = own, doses: Doses = ()) -> Array:
        """A reading in the adult, `days` after an intervention or a first dose."""
        return laboratory.after(name, by, days, doses)[of]

    def untouched(of: str, days: float, by: str, name: str = own) -> Array:
        """The same reading without the intervention."""
        return laboratory.untouched(name, by, days)[of]

    def start(of: str, by: str) -> Array:
        """A reading at the start of the intervention."""
        return laboratory.begin(own, by)[of]

    def change(of: str, days: float, by: str, name: str = own) -> Array:
        """Change by an intervention, % of the same genotype without it."""
        return 100 * (after(of, days, by, name) / untouched(of, days, by, name) - 1)

    def drift(of: str) -> Array:
        """Change of a volume that has no fixed point, 1/yr on the time scale of the mouse."""
        return laboratory.lifelong(own).drift[of]

    def given(name: str, mg: float, every: float = np.inf, days: float = 1.0, binds: bool = True) -> Doses:
        """Doses of an agent, one or one `every` so many days; without its affinity for RANKL if it does not bind."""
        agent = load_agent(name)
        if not binds:
            agent = replace(agent, values=agent.values | {"KD_mRANKL": np.inf, "KD_sRANKL": np.inf}, provenance=())
        return tuple((agent, float(day), float(mg)) for day in np.arange(0, days, min(every, days)))

    def at(column: str, regimen: str, month: float) -> Array:
        """A column of the typical woman's course at a month."""
        return laboratory.treated(regimen, (0.0, float(month)))[column][:, -1]

    def offset(arm: str, marker: str, month: float) -> float:
        """What the published statistic of a cohort of the evidence exceeds the same of its typical woman by."""
        seen = _figures()
        known = (seen["arm"] == arm) & (seen["site_or_marker"] == marker) & np.isclose(seen["month"], month, atol=1e-3)
        return float(seen.loc[known, "offset"].iloc[0])

    def course(column: str, regimen: str, first: int, last: int) -> Array:
        """A column of her course at every month from `first` to `last`, which is the last dimension."""
        months = tuple(float(month) for month in range(first, last + 1))
        return laboratory.treated(regimen, months)[column]

    def yearly(column: str, first: float, last: float, by: str) -> Array:
        """Change of a column, %/yr, of a woman with an intervention and without degenerative change of the spine."""
        x = laboratory.treated("", (12.0 * first, 12.0 * last), by, {"a_LS": 0.0})[column]
        return 100 * (x[:, 1] / x[:, 0] - 1) / (last - first)

    def together(reduce: Callable[..., Array]) -> Callable[..., Array]:
        """Over the months of a course, or over several values."""
        return lambda first, *others: reduce(
            first if isinstance(first, np.ndarray) and not others else np.stack(
                np.broadcast_arrays(first, *others) if others else list(first), axis=-1
            ), axis=-1
        )  # fmt: skip

    functions = (rest, after, untouched, start, change, drift, given, at, offset, course, yearly, abs, np.log10)
    return {
        **{function.__name__: function for function in functions},
        "max": together(np.max),
        "sum": together(np.sum),
        "mean": together(np.mean),
        "p": laboratory,
        "times": published()["mouse"]["times"],
    }


def _extreme(laboratory: Laboratory, row: Row) -> float:
    """Highest or lowest value of a row over a grid of two parameters inside their priors."""
    grids = [_grid(laboratory.table.frame.loc[symbol], row["points"]) for symbol in row["over"]]
    found = [
        float(value_of(laboratory.with_variant(dict(zip(row["over"], point, strict=True))), row)[0])
        for point in itertools.product(*grids)
    ]
    return max(found) if row["how"] == "highest" else min(found)


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
        Columns Test, Genotype, Endpoint, Published, Agrees if, Predicted, Median (90 % of vectors), Result, Basis,
        Source, Note.
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
            "Median (90 % of vectors)": [
                "" if np.isnan(row.median) else f"{_digits(row.median)} ({_digits(row.lower)} to {_digits(row.upper)})"
                for row in ordered.itertuples()
            ],
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
        band = f" {row[7]:<24}" if row[7] else ""
        lines.append(
            f"  {row.Result:<16} {row.Predicted:>8} {band} {who}{row.Endpoint}; published: {row.Published}{bounds}"
        )
        if row.Note and row.Result not in ("pass", "as stated"):
            lines.append(f"{'':29}{row.Note}")
    return "\n".join([line for line in lines if line is not None] + ["", *counts(frame)])


def counts(frame: pd.DataFrame) -> list[str]:
    """Sentences about the numbers of rows and of tests that agree.

    Parameters
    ----------
    frame : DataFrame
        As from `run_genetics`.
    """
    data = frame[frame["basis"] != "P"]
    judged = data[data["passed"].notna()]
    numbered = judged[judged["test"] > 0]
    whole = numbered.groupby("test")["passed"].all()
    failing = ", ".join(str(test) for test in whole.index[~whole])
    guesses = frame[(frame["basis"] == "P") & frame["passed"].notna()]
    agree = judged["passed"].astype(bool)
    apart = judged["independent"].astype(bool)
    said = [
        f"{agree.sum()} of {len(judged)} published statements agree with the model, and {(~agree).sum()} do not. "
        f"{frame['passed'].isna().sum()} more are about something that the model does not contain.",
        f"{apart.sum()} of these statements are evidence of their own: the model could disagree with them, and the "
        f"ensemble was drawn without them. {(agree & apart).sum()} of them agree.",
        f"The statements on data form {len(whole)} numbered tests. In {whole.sum()} tests every statement agrees. The "
        f"other tests are {failing or 'none'}.",
        f"{len(guesses)} statements are no data: they say what we expect of hypothetical agents. The model does as "
        f"expected in {guesses['passed'].sum()} of them.",
    ]
    told = judged[judged["share"].notna()]
    if len(told):
        said.insert(
            1,
            f"{len(told)} statements have a prediction under each parameter vector of the ensemble. On average over "
            f"the vectors {told['share'].sum():.0f} of them agree. {(told['share'] >= 0.5).sum()} of them agree under "
            "at least half of the vectors.",
        )
    return said


def changes(part: Mapping[str, Any], table: ParameterTable) -> list[str]:
    """What a genotype or an intervention changes, each with the symbol of its parameter in backquotes.

    Parameters
    ----------
    part : mapping
        A genotype or an intervention of `published`.
    table : ParameterTable
        The women's parameters, for the value of a multiple that is a parameter.
    """
    what = [
        f"`{symbol}` x " + (f"`{by}` ({table[by]:g})" if isinstance(by, str) else f"{by:g}")
        for symbol, by in part.get("times", {}).items()
    ]
    what += [f"rise of `{symbol}` in proportion to `{to}`" for symbol, to in part.get("needs", {}).items()]
    what += [f"`{symbol}` = {value:g}" for symbol, value in part.get("set", {}).items()]
    if "serum_sRANKL" in part:
        dose = f", for {part['dose']:g} of its dose" if "dose" in part else ""
        what.append(f"serum sRANKL times `{part['serum_sRANKL']}`{dose}")
    return what + [f"`{symbol}` from {value:g} to the women's" for symbol, value in part.get("before", {}).items()]


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
