"""Section 16: assumptions, reproducibility."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from ranklsim.cohorts.words import listed
from ranklsim.pkpd.biology.ligand import gradient, potency
from ranklsim.pkpd.biology.values import Values
from ranklsim.reports.csr.contents import report_section
from ranklsim.reports.csr.context import NOT_KNOWN, Context
from ranklsim.reports.layout import tables
from ranklsim.reports.layout.arms import PREDICTED
from ranklsim.reports.layout.cells import Span, Text, code, tag
from ranklsim.reports.layout.exhibit import Section

SOFTNESS = {"assumed": 0, "fitted": 1, "measured": 2}


@report_section("16.1", "Assumptions", "assumptions", level=2)
def _assumptions(c: Context, section: Section) -> None:
    """List every parameter with its status and source, assumed and fitted ones first."""
    counts = c.parameters["status"].value_counts()
    said = listed([f"{int(n)} {status}" for status, n in counts.items()])
    section.paragraphs.append(
        f"The model has {len(c.parameters)} parameters: {said}. Measured: taken from a published measurement. "
        f"Fitted: adjusted to published trials, mostly of denosumab. Assumed: our choice, with the range that a "
        "reasonable opponent could claim. All results on hypothetical agents depend on assumed and fitted parameters. "
        f"Those marked “drawn” were varied in section {NOT_KNOWN}."
    )
    section.paragraphs.append(potency_in_words(c.parameters.set_index("symbol")["value"].to_dict()))
    note = "Range: what a reasonable opponent could claim. CV: spread between patients."
    drawn = (
        f"Drawn: varied in section {NOT_KNOWN}; ρ: strongest rank correlation with the result of Table 14.2.7.3, in a "
        "hypothetical arm."
    )
    parameters = _parameters(c)
    soft = parameters["status"] != "measured"
    for number, title, frame, extra in (
        ("16.1.1", "Assumed and fitted parameters of the model", parameters[soft], f"{drawn} {note}"),
        ("16.1.2", "Measured parameters of the model", parameters[~soft], note),
    ):
        if len(frame):
            section.exhibits.append(
                c.listing(
                    number,
                    title,
                    frame.reset_index(drop=True),
                    _parameter_cells,
                    numeric=("Value",),
                    note=extra,
                    widths=(15, 20, 7, 11, 11, 13, 23),
                )
            )
    agents = _agents(c)
    if len(agents):
        section.exhibits.append(
            c.listing(
                "16.1.3",
                "Agents of this trial, field by field",
                agents,
                _agent_cells,
                numeric=("Value",),
                group="Agent",
                widths=(16, 9, 9, 13, 11, 42),
                note="KD “none”: the agent does not bind that form.",
            )
        )


def potency_in_words(values: Mapping[str, float]) -> str:
    """Explain the share of sRANKL in the signal as potency per molecule, with the pool sizes that it follows from.

    Parameters
    ----------
    values : mapping
        Symbol to value, of the parameter table.
    """
    p = Values(values)
    soluble = 1e3 * p.fsh * p.kdeg * p.M0 / p.ksel
    return (
        f"The share of sRANKL in the resting signal (sig, {100 * p.sig:.0f}%) and the sizes of the pools give the "
        f"potency of one free sRANKL molecule over one free mRANKL molecule: {tables.sig(potency(p))}. If it is "
        f"{tables.sig(p.rho)} at RANK (rho), free sRANKL is {tables.sig(gradient(p))} times as concentrated in marrow "
        "as in serum. The pools at "
        f"rest: sRANKL {soluble:.1f} pmol/L in serum, {soluble / (1 + p.os):.2f} of it free; surface RANKL that drug "
        f"can reach {p.M0:.1f} nmol per litre of central volume, which is an effective capacity and not a count of "
        "molecules at the cell."
    )


def _parameters(c: Context) -> pd.DataFrame:
    """The parameter table by status (assumed, fitted, measured), with the rank correlations of the results."""
    predicted = [arm.name for arm in c.arms if arm.basis == PREDICTED] or c.names
    own = c.importance[c.importance["arm"].isin(predicted)]
    strongest = own.loc[own["rho"].abs().groupby(own["symbol"]).idxmax()].set_index("symbol")["rho"]
    symbols = c.parameters["symbol"]
    frame = c.parameters.assign(
        drawn=symbols.isin(list(c.drawn.columns)), rank_correlation=symbols.map(strongest).astype(float)
    )
    order = np.lexsort((symbols, frame["group"], frame["status"].map(SOFTNESS)))
    return frame.iloc[order].reset_index(drop=True)


def _agents(c: Context) -> pd.DataFrame:
    """Every value of the trial's agents, in the order of first use; assumed and fitted values first."""
    rows = [
        {"agent": agent.label, "hypothetical": agent.hypothetical, **number._asdict()}
        for agent in c.data.agents.values()
        for number in sorted(agent.provenance, key=lambda number: SOFTNESS[number.status])
    ]
    return pd.DataFrame(rows)


@report_section("16.2", "Reproducibility", "reproducibility", level=2)
def _reproducibility(c: Context, section: Section) -> None:
    """Versions, seed, hashes, command."""
    section.paragraphs.append(
        "The same trial file, parameters, agents and seed give the same patients and results, with any number of "
        "workers. The run folder contains copies of these inputs beside the data."
    )
    files = _files(c.data.manifest["files"])
    listed = dict(zip(files["file"], files["sha256"], strict=True))
    said = {key: value for key, value in c.data.manifest.items() if key not in ("files", "inputs")}
    # An input's hash that is that of the file of its name is told there.
    said["inputs"] = {name: digest for name, digest in c.data.manifest["inputs"].items() if listed.get(name) != digest}
    section.exhibits += [
        c.listing(
            "16.2.1",
            "Manifest of the run",
            pd.DataFrame(_flatten(said), columns=["item", "value"]),
            lambda row: {"Item": row["item"], "Value": code(row["value"])},
            widths=(32, 68),
        ),
        c.listing(
            "16.2.2",
            "Files of the run",
            files,
            lambda row: {
                "File": row["file"],
                "Rows": f"{row['rows']:.0f}" if np.isfinite(row["rows"]) else tables.DASH,
                "Bytes": f"{row['bytes']:.0f}",
                "SHA-256": code(row["sha256"]),
            },
            numeric=("Rows", "Bytes"),
            widths=(29, 8, 9, 54),
            note="Rows: of a table.",
        ),
    ]


def _files(files: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Files of a manifest: columns `file`, `rows` (NaN where it is no table), `bytes`, `sha256`."""
    rows = [
        {"file": name, "rows": float(facts.get("rows", np.nan)), "bytes": facts["bytes"], "sha256": facts["sha256"]}
        for name, facts in files.items()
    ]
    return pd.DataFrame(rows, columns=["file", "rows", "bytes", "sha256"])


def _text(value: object) -> str:
    return "" if value is None or pd.isna(value) else str(value)


def _status(status: str, drawn: bool = False, rho: float = np.nan) -> Text:
    if not drawn:
        return tag(status)
    weight = f" ρ {tables.num(rho, 2)}" if np.isfinite(rho) else ""
    return (tag(status), " ", tag(f"drawn{weight}"))


def _range(low: object, high: object) -> str:
    """The plausible range on one line; empty if there is none."""
    if not _text(low) or not _text(high):
        return ""
    return "fixed" if low == high else f"{tables.sig(float(low))}\u00a0to\u00a0{tables.sig(float(high))}"  # type: ignore[arg-type]


def _parameter_cells(row: dict[str, Any]) -> dict[str, object]:
    note = ("\n", Span(_text(row["note"]), "note")) if _text(row["note"]) else ""
    spread = f"\nCV {tables.sig(float(row['cv']))}" if row["cv"] > 0 else ""
    return {
        "Symbol": code(row["symbol"]),
        "Meaning": row["meaning"],
        "Value": tables.sig(float(row["value"])),
        "Unit": tables.unit_words(row["unit"]),
        "Range; CV": _range(row["low"], row["high"]) + spread,
        "Status": _status(row["status"], row["drawn"], row["rank_correlation"]),
        "Source and note": (tables.doi_link(row["source"], row["doi"]), note),
    }


def _agent_cells(row: dict[str, Any]) -> dict[str, object]:
    return {
        "Field": code(row["field"]),
        "Agent": f"{row['agent']}{' (hypothetical)' if row['hypothetical'] else ''}",
        "Value": tables.sig(float(row["value"])),
        "Unit": tables.unit_words(row["unit"]),
        "Range": _range(row["low"], row["high"]),
        "Status": _status(row["status"]),
        "Source": tables.doi_link(row["source"], row["doi"]),
    }


def _flatten(value: object, prefix: str = "") -> list[tuple[str, str]]:
    """Leaves of nested tables as (path, text)."""
    if isinstance(value, Mapping):
        return [leaf for key, inner in value.items() for leaf in _flatten(inner, f"{prefix}.{key}".lstrip("."))]
    return [(prefix, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))]
