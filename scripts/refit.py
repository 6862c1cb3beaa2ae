"""Make everything that ships as the result of a fit anew: default values, agents, spreads, variants, ensemble.

Run by ``make refit``. Each step is a ``ranklsim fit SPEC`` in build/refit, where a second call goes on after the last
finished one; its result is written into the package before the next begins, since later fits start from earlier ones.
"""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).parents[1]
DATA, WORK = ROOT / "pkpd" / "data", ROOT / "build" / "refit"
RANKLSIM = Path(sys.executable).with_name("ranklsim")
BAD_INPUT = 2  # exit code
SPREADS = "fitted: fit `between_patient` (docs/calibration.md)"
VECTORS = 1000  # of the ensemble that ships
SPARE = ("KD_sRANKL", "ksel", "om", "os", "q_OPG", "w_osteocyte_T", "w_osteocyte_C")  # see `ensemble`


def fit(spec: str, *options: str) -> Path:
    """Run a fit, or go on with it; the folder of its result.

    One that started from other values than those of now is made again, unless it is their source.
    """
    folder = WORK / spec
    if (folder / "fit.json").is_file() and all(
        p.read_text("utf-8") == t for p, t in adopting(facts(folder)["parameters"])
    ):
        return folder
    began = time.monotonic()
    print(f"{spec}: fitting", flush=True)
    for way in (["--resume"], ["--force"]) if folder.is_dir() else ([],):
        done = subprocess.run([RANKLSIM, "fit", spec, "-o", folder, *options, *way], stdout=subprocess.DEVNULL)
        if done.returncode != BAD_INPUT:  # as it is where the folder holds a fit of other values
            break
    done.check_returncode()
    print(f"{spec}: {time.monotonic() - began:.0f} s", flush=True)
    return folder


def facts(folder: Path) -> dict:
    return json.loads((folder / "fit.json").read_text("utf-8"))


def adopt(values: dict[str, float]) -> None:
    """Write fitted values, and spreads (``kT.cv``), into the parameter table and the agents' files, to four digits."""
    for path, text in adopting(values):
        path.write_text(text, "utf-8")


def adopting(values: dict[str, float]) -> list[tuple[Path, str]]:
    """The files that hold such values, and what they would read."""
    path = DATA / "parameters.csv"
    rows = list(csv.DictReader(io.StringIO(path.read_text("utf-8"))))
    for row in rows:
        if row["symbol"] in values:
            row["value"] = f"{values[row['symbol']]:.4g}"
        if (spread := f"{row['symbol']}.cv") in values:
            row["cv"], row["cv_source"] = f"{values[spread]:.4g}", SPREADS
    table = io.StringIO()
    writer = csv.DictWriter(table, rows[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    texts = {path: table.getvalue()}
    for symbol, value in values.items():
        agent, _, field = symbol.partition(".")
        if not field or field == "cv":
            continue
        path = DATA / "agents" / f"{agent}.toml"
        pattern = re.compile(rf'^({field} = {{ value = "?)[-+.\de]+', re.MULTILINE)
        texts[path], found = pattern.subn(rf"\g<1>{value:.4g}", texts.get(path) or path.read_text("utf-8"))
        if found != 1:
            raise SystemExit(f"{path}: {field} is not there once, but {found} times")
    return list(texts.items())


def write(name: str, frame: pd.DataFrame) -> None:
    frame.to_csv(DATA / name, index=False, float_format="%.4g", lineterminator="\n")


def default() -> None:
    """Values of the default table; its profiles stay in build/refit, for docs/calibration.md."""
    folder = fit("default")
    adopt(facts(folder)["parameters"])


def agents() -> None:
    """Bisphosphonates, then bone-forming agents, whose sequences meet them; both at the default values."""
    for name in ("bisphosphonates", "anabolics"):
        adopt(facts(fit(name, "--no-profile"))["parameters"])


def spreads() -> None:
    """How far patients differ."""
    adopt(facts(fit("between_patient", "--no-profile"))["parameters"])


def variants() -> None:
    """Values of each structural variant, and how well it fits."""
    names = [row["name"] for row in tomllib.loads((DATA / "variants.toml").read_text("utf-8"))["variant"]]
    columns, rows = {}, []
    for name in names:
        folder = fit(name, "--no-profile")
        found = facts(folder)
        columns[name] = found["fixed"] | found["parameters"]
        rows.append({"variant": name, "objective": found["objective"], "figures": found["figures"]})
    write("variants.csv", pd.DataFrame(columns).rename_axis("symbol").reset_index())
    write("variant_fits.csv", pd.DataFrame(rows))


def ensemble() -> None:
    """Vectors from the posterior, in random order, with what leaves no trace in the figures drawn from its range.

    Those of `SPARE` leave no trace in a fit to denosumab: it has sRANKL bound to the last whatever its life, and OPG
    and sources stay as they are. So they are drawn for themselves, by a Latin hypercube.
    """
    from scipy.stats import qmc

    from ranklsim.pkpd.parameters import load_parameters

    folder = fit("ensemble")
    drawn = pd.read_csv(folder / "samples.csv")
    chosen = np.random.Generator(np.random.Philox(key=[1, 0])).permutation(len(drawn))[:VECTORS]
    vectors = drawn.drop(columns="objective").iloc[chosen].reset_index(drop=True)
    table = load_parameters()
    scores = qmc.LatinHypercube(len(SPARE), rng=1).random(len(vectors))
    for u, field in zip(scores.T, SPARE, strict=True):
        symbol = f"denosumab.{field}" if field == "KD_sRANKL" else field
        row = table.row(symbol)
        low, high = float(row["low"]), float(row["high"])
        wide = low > 0 and high / low > 3
        vectors[symbol] = low * (high / low) ** u if wide else low + (high - low) * u
    write("ensemble.csv", vectors)


STEPS = {"default": default, "agents": agents, "spreads": spreads, "variants": variants, "ensemble": ensemble}


def main() -> None:
    wanted = sys.argv[1:] or list(STEPS)
    for name in wanted:
        if name not in STEPS:
            raise SystemExit(f"unknown step '{name}'; there are {', '.join(STEPS)}")
    WORK.mkdir(parents=True, exist_ok=True)
    for name in wanted:
        STEPS[name]()


if __name__ == "__main__":
    main()
