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

from ranklsim.pkpd.fitting.fit import make_problem
from ranklsim.pkpd.fitting.posterior import centre
from ranklsim.pkpd.fitting.spec import load_spec, transformed

ROOT = Path(__file__).parents[1]
DATA, WORK = ROOT / "pkpd" / "data", ROOT / "build" / "refit"
RANKLSIM = [sys.executable, "-m", "ranklsim"]
BAD_INPUT = 2  # exit code
SPREADS = "fitted: fit `between_patient` (docs/calibration.md)"
VECTORS = 1000  # of the ensemble that ships
PATIENTS = 400  # of each arm, for the offsets


def fit(spec: str, *options: str, work: Path = WORK) -> Path:
    """Run a fit, or go on with it; the folder of its result.

    One that started from other values than those of now is made again, unless it is their source.
    """
    folder = work / spec
    if (folder / "fit.json").is_file() and all(
        p.read_text("utf-8") == t for p, t in adopting(facts(folder)["parameters"])
    ):
        return folder
    ranklsim(["fit", spec, *options], folder)
    return folder


def ranklsim(command: list[str], folder: Path) -> None:
    """Run a command whose result is `folder`; one that was interrupted goes on."""
    began = time.monotonic()
    print(f"{folder.relative_to(WORK)}: begun", flush=True)
    ways = [["--resume"], ["--force"]] if folder.is_dir() and command[0] == "fit" else [["--force"]]
    for way in ways if folder.is_dir() else [[]]:
        done = subprocess.run([*RANKLSIM, *command, "-o", folder, *way], stdout=subprocess.DEVNULL)
        if done.returncode != BAD_INPUT:  # as it is where the folder holds a fit of other values
            break
    done.check_returncode()
    print(f"{folder.relative_to(WORK)}: {time.monotonic() - began:.0f} s", flush=True)


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


def first() -> None:
    """Typical values, spreads, and what these make of means and medians: twice, as each needs the other."""
    for work in (WORK / "first", WORK / "again"):
        for name in ("default", "between_patient"):  # the last: how far patients differ
            adopt(facts(fit(name, "--no-profile", work=work))["parameters"])
        ranklsim(["validate", "--patients", str(PATIENTS)], work / "offsets")
        (DATA / "evidence" / "offsets.csv").write_bytes((work / "offsets" / "offsets.csv").read_bytes())


def ensemble() -> None:
    """Vectors from the posterior with these offsets, of equal weight, and their centre as the default.

    They begin around those that ship, so that `first` may be left out where only data have changed.
    """
    drawn = pd.read_csv(fit("ensemble") / "samples.csv").drop(columns="objective").head(VECTORS)
    write("ensemble.csv", drawn)
    spec = load_spec("ensemble")
    problem, parameters = make_problem(spec), spec.parameters
    theta = np.array([[transformed(x, p.transform) for x in drawn[p.name]] for p in parameters]).T
    adopt(problem.natural(centre(theta, parameters, problem.residuals_of, problem.jacobian)))


def variants() -> None:
    """Values of each structural variant, and how much worse it fits than the default to the same data."""
    default = {
        mice: facts(fit(name, "--no-profile"))["objective"] for mice, name in ((True, "default"), (False, "women"))
    }
    names = [row["name"] for row in tomllib.loads((DATA / "variants.toml").read_text("utf-8"))["variant"]]
    columns: dict[str, dict[str, float]] = {}
    rows = [{"variant": ("women", "default")[mice], "objective": x, "rise": 0.0} for mice, x in default.items()]
    for name in names:
        found = facts(fit(name, "--no-profile", "--parameters", name))  # which begins where it ended last
        columns[name] = found["fixed"] | found["parameters"]
        rise = found["objective"] - default[load_spec(name).mice]
        rows.append({"variant": name, "objective": found["objective"], "rise": round(rise, 1)})
    write("variants.csv", pd.DataFrame(columns).rename_axis("symbol").reset_index())
    write("variant_fits.csv", pd.DataFrame(rows))


STEPS = {"first": first, "ensemble": ensemble, "variants": variants}


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
