"""The installation: versions, the bytes of data and equations, and whether all that ships can be read."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import subprocess
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable
from pathlib import Path

import pandas as pd
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import ranklsim
from ranklsim.cohorts.people.population_file import list_populations, load_population
from ranklsim.cohorts.protocol.trial import list_trials
from ranklsim.pkpd.agents import agent_names, load_agent
from ranklsim.pkpd.ensemble import ensemble
from ranklsim.pkpd.evidence.records import load_evidence
from ranklsim.pkpd.parameters import load_parameters
from ranklsim.pkpd.variants import variants
from ranklsim.reports.design.question import questions
from ranklsim.reports.qualify.finding import Finding, NotRun

ROOT = Path(ranklsim.__file__).parent
PARTS = ("pkpd", "cohorts", "reports")


def _files(root: Path) -> dict[str, Path]:
    """Files of the package by name, without what Python compiled."""
    every = {path.relative_to(root).as_posix(): path for part in PARTS for path in sorted((root / part).rglob("*"))}
    return {name: path for name, path in every.items() if path.is_file() and "__pycache__" not in path.parts}


def _of_wheel(root: Path) -> dict[str, str]:
    """SHA-256 (base64) of each file as the installer recorded it; empty where none did."""
    files = importlib.metadata.files("ranklsim") or []
    own = [one for one in files if one.hash is not None and one.hash.mode == "sha256" and one.parts[0] == "ranklsim"]
    there = [one for one in own if Path(str(one.locate())).resolve().is_relative_to(root.resolve())]
    return {"/".join(one.parts[1:]): one.hash.value for one in there if one.hash is not None and len(one.parts) > 2}


def _of_commit(root: Path) -> dict[str, str]:
    """Hash that git has for each file of the last commit; empty outside a checkout."""
    found = {}
    for part in PARTS:
        words = ["git", "-C", str((root / part).resolve()), "ls-tree", "-r", "-z", "HEAD"]
        try:
            told = subprocess.run(words, capture_output=True, text=True, check=True).stdout
        except (OSError, subprocess.CalledProcessError):
            return {}
        for line in filter(None, told.split("\0")):
            about, name = line.split("\t", 1)
            found[f"{part}/{name}"] = about.split()[2]
    return found


def _wheel_hash(content: bytes) -> str:
    return urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def _git_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def recorded(root: Path = ROOT) -> Finding:
    """Number of files whose bytes are not those recorded: by the installer of a wheel, or by the commit of a checkout.

    Parameters
    ----------
    root : Path
        Folder of the package.
    """
    right, hash_of, where = _of_wheel(root), _wheel_hash, "the record of the installer"
    if not right:
        right, hash_of, where = _of_commit(root), _git_hash, "the commit of the checkout"
    if not right:
        raise NotRun("ranklsim runs neither from an installed wheel nor from a checkout, so no hash is recorded.")
    here = _files(root)
    wrong = [f"{name} is missing" for name in sorted(set(right) - set(here))]
    wrong += [f"{name} is not of this release" for name in sorted(set(here) - set(right))]
    both = sorted(set(right) & set(here))
    wrong += [f"{name} is altered" for name in both if hash_of(here[name].read_bytes()) != right[name]]
    said = f"{len(right)} files, by {where}. " + (f"{'; '.join(wrong[:10])}." if wrong else "None is altered.")
    return Finding(len(wrong), said)


def fingerprint(root: Path = ROOT) -> str:
    """Hash of all code and data of the package and of the versions of its libraries.

    Parameters
    ----------
    root : Path
        Folder of the package.
    """
    seen = hashlib.sha256("\n".join(f"{n} {v}" for n, v, _, _ in _libraries()).encode())
    for name, path in _files(root).items():
        seen.update(name.encode() + path.read_bytes())
    return seen.hexdigest()


def _libraries() -> list[tuple[str, str, str, bool]]:
    """Name, version, what is needed, and whether it is met, of Python and of each library."""
    about = importlib.metadata.metadata("ranklsim")
    python = platform.python_version()
    needed = about["Requires-Python"] or ""
    rows = [("python", python, needed, SpecifierSet(needed).contains(python, prereleases=True))]
    for text in importlib.metadata.requires("ranklsim") or ():
        one = Requirement(text)
        if one.marker is not None and not one.marker.evaluate({"extra": ""}):
            continue
        try:
            version = importlib.metadata.version(one.name)
        except importlib.metadata.PackageNotFoundError:
            rows.append((one.name, "not installed", str(one.specifier), False))
            continue
        rows.append((one.name, version, str(one.specifier), one.specifier.contains(version, prereleases=True)))
    return rows


def versions() -> Finding:
    """Number of libraries whose version this release does not allow."""
    try:
        frame = pd.DataFrame(_libraries(), columns=["library", "version", "allowed", "met"])
    except importlib.metadata.PackageNotFoundError:
        raise NotRun("ranklsim is not installed as a package, so what it needs is not recorded.") from None
    return Finding(int((~frame["met"]).sum()), f"Python and {len(frame) - 1} libraries.", frame)


def readable() -> Finding:
    """Number of kinds of shipped data that can't be read."""
    kinds: dict[str, Callable[[], Iterable[object]]] = {
        "parameters": lambda: load_parameters().frame.index,
        "agents": lambda: [load_agent(name) for name in agent_names()],
        "populations": lambda: [load_population(name) for name in list_populations()],
        "trials": list_trials,
        "published figures": lambda: load_evidence().observations.index,
        "vectors of the ensemble": lambda: ensemble().index,
        "structural variants": variants,
        "questions": lambda: questions().index,
    }
    rows = []
    for kind, read in kinds.items():
        try:
            rows.append((kind, len(list(read())), ""))
        except Exception as fault:  # whatever a damaged file gives rise to
            rows.append((kind, 0, " ".join(str(fault).split())))
    frame = pd.DataFrame(rows, columns=["data", "number", "fault"])
    return Finding(int((frame["fault"] != "").sum()), "Every shipped file was read by the reader of its kind.", frame)


def sources() -> Finding:
    """Number of parameters outside their range, or without unit, status or source."""
    frame = load_parameters().frame
    outside = ~frame["value"].between(frame["low"], frame["high"])
    bare = frame[["unit", "status", "source"]].isna().any(axis=1) | (frame["source"].astype(str).str.strip() == "")
    named = ", ".join(frame.index[outside | bare][:10])
    said = f"{len(frame)} parameters: value within the range, unit, status and source. {named}".strip()
    return Finding(int((outside | bare).sum()), said)
