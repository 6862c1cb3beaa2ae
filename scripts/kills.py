"""Kill `run`, `replicate`, `fit` and `design` at random moments, go on with --resume, and compare the bytes.

Every file must have the bytes of that of an undisturbed command, but for those that say when, how long and how often:
the manifest and the pages (`SAME` names what is compared). The moments are uniform over the time that the undisturbed
command took, the start of Python included. The signal is SIGKILL.

    python scripts/kills.py [--kills 60] [--seed 1] [--keep DIR]
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TRIAL = """
title = "To be killed"
seed = 5
months = 12
control = "placebo"
uncertainty_draws = 4
twins = 20
arm = [{ name = "placebo", regimen = [{ agent = "placebo", every = "6 mo", doses = 2 }] },
       { name = "denosumab", regimen = [{ agent = "denosumab", dose = "60 mg", every = "6 mo", doses = 2 }] }]
population = { name = "postmenopausal-osteoporosis", patients = 200 }
visits = { BMD = [0, 6, 12], markers = [0, 1, 6, 12] }
conduct = { dropout = "20 %/yr", fractures = true }
[[endpoint]]
name = "Spine"
role = "primary"
analysis = "ANCOVA"
change = { of = "BMD_LS", from = "0 mo", to = "12 mo", as = "percent" }
[[estimand]]
name = "Policy"
endpoint = "Spine"
primary = true
events = { dropout = "treatment policy" }
"""
FIT = """
title = "To be killed"
seed = 3
starts = 2
options = { max_nfev = 60 }
[[parameter]]
name = "kT"
start = 0.35
prior = { mean = 0.25, sd = 1.0 }
[[parameter]]
name = "denosumab.CL"
[[include]]
arm = ["freedom-denosumab", "freedom-placebo"]
[[exclude]]
endpoint = "difference_to_control"
reason = "to be quick"
"""
QUESTION = """
title = "To be killed"
trial = "trial.toml"
draws = 12
seed = 3
[[factor]]
arm = "denosumab"
dose = "20..120 mg"
[[require]]
quantity = "change of BMD_LS at 12 mo"
of = "denosumab"
against = "placebo"
at_least = "2 points"
[[prefer]]
quantity = "dose a year"
of = "denosumab"
least = true
"""
COMMANDS = {
    "run": ["trial.toml"],
    "replicate": ["trial.toml", "--replicates", "6", "--patients", "20"],
    "fit": ["fit.toml", "--no-profile"],
    "design": ["question.toml"],
}
SAME = {
    "run": ("*.parquet", "trial.toml", "agents/*", "report/figures/*", "report/tables/table-14*"),
    "replicate": ("*.csv", "*.parquet"),
    "fit": ("*.csv",),
    "design": ("*.csv",),
}
LIMIT = 900  # seconds of one command


def command(verb: str, folder: Path, out: Path, *more: str) -> subprocess.Popen[bytes]:
    """A command that has been started.

    Parameters
    ----------
    verb : str
        Of `COMMANDS`.
    folder : Path
        With its input.
    out : Path
    *more : str
        Further options.
    """
    words = [sys.executable, "-m", "ranklsim", verb, *COMMANDS[verb], "-o", str(out), *more]
    return subprocess.Popen(words, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def finished(process: subprocess.Popen[bytes]) -> None:
    """Wait for a command that must succeed.

    Parameters
    ----------
    process : Popen

    Raises
    ------
    SystemExit
        If it does not.
    """
    said = process.communicate(timeout=LIMIT)[1]
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, process.args))} ended with {process.returncode}: {said.decode()}")


def contents(verb: str, out: Path) -> dict[str, bytes]:
    """The files that must not change.

    Parameters
    ----------
    verb : str
    out : Path
    """
    files = {path for pattern in SAME[verb] for path in out.glob(pattern) if path.is_file()}
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(files)}


def main() -> None:
    """Kill, continue, compare; the last line has the counts."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--kills", type=int, default=60, help="kills over all verbs")
    parser.add_argument("--verbs", nargs="+", default=list(COMMANDS), choices=list(COMMANDS))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, metavar="DIR", help="folder to work in, kept afterwards")
    asked = parser.parse_args()
    draw = random.Random(asked.seed)
    folder = Path(asked.keep or tempfile.mkdtemp(prefix="ranklsim-kills-")).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "trial.toml").write_text(TRIAL, encoding="utf-8")
    (folder / "fit.toml").write_text(FIT, encoding="utf-8")
    (folder / "question.toml").write_text(QUESTION, encoding="utf-8")
    counts, different = {}, []
    for verb in asked.verbs:
        began = time.monotonic()
        finished(command(verb, folder, folder / f"{verb}-whole"))
        whole, seconds = contents(verb, folder / f"{verb}-whole"), time.monotonic() - began
        wanted, kills, rounds = asked.kills // len(asked.verbs), 0, 0
        while kills < wanted:
            out, rounds = folder / f"{verb}-killed", rounds + 1
            shutil.rmtree(out, ignore_errors=True)
            for _ in range(min(3, wanted - kills)):  # up to three kills of one result
                if not unfinished(verb, out):
                    break
                process = command(verb, folder, out, *again(out))
                try:
                    process.wait(timeout=draw.uniform(0, seconds))
                except subprocess.TimeoutExpired:
                    os.kill(process.pid, signal.SIGKILL)
                    process.communicate()
                    kills += 1
                    continue
                if process.returncode != 0:
                    raise SystemExit(f"{verb}: {process.communicate()[1].decode()}")
                break  # it was through before its moment came
            if unfinished(verb, out):
                finished(command(verb, folder, out, *again(out)))
            found = contents(verb, out)
            different += [f"{verb} {name}" for name in whole if found.get(name) != whole[name]]
            different += [f"{verb} {name} is new" for name in found if name not in whole]
        counts[verb] = f"{verb} {kills} kills in {rounds} results ({len(whole)} files each)"
        print(counts[verb], flush=True)
    if asked.keep is None:
        shutil.rmtree(folder)
    print("; ".join(counts.values()), f"- {len(different)} files differ", *different[:5], sep="\n")
    raise SystemExit(bool(different))


def again(out: Path) -> list[str]:
    """The option that continues a result, where the folder holds anything of one.

    Parameters
    ----------
    out : Path
    """
    return ["--resume"] if out.is_dir() and any(out.iterdir()) else []


def unfinished(verb: str, out: Path) -> bool:
    """Whether a folder lacks a file of the undisturbed result.

    Parameters
    ----------
    verb : str
    out : Path
    """
    return not contents(verb, out).keys() >= contents(verb, out.with_name(f"{verb}-whole")).keys()


if __name__ == "__main__":
    main()
