"""Write the software bill of materials of a release: what `pip install ranklsim` brings, as CycloneDX 1.6 (JSON).

Versions are those of requirements/lock.txt, licences those of requirements/licences.csv. What needs what is read from
the installed packages, so run it in the environment of `make`. The same inputs give the same bytes. A test checks that
every licence agrees with what its package declares.

    python scripts/sbom.py [-o FILE]    # default: dist/ranklsim-VERSION.cdx.json
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import uuid
from datetime import UTC, datetime
from importlib.metadata import distribution
from pathlib import Path

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
EPOCH = datetime(2000, 1, 1, tzinfo=UTC)  # the moment of writing is no property of the release


def canonical(name: str) -> str:
    """A package's name as indexes compare names.

    Parameters
    ----------
    name : str
    """
    return re.sub(r"[-_.]+", "-", name).lower()


def locked() -> dict[str, str]:
    """Canonical name of each package of the lock file, and its version."""
    lines = (ROOT / "requirements" / "lock.txt").read_text(encoding="utf-8").splitlines()
    return {canonical(name): version for name, _, version in (line.partition("==") for line in lines) if version}


def licences() -> dict[str, str]:
    """Canonical name of each package, and its licence as an SPDX expression."""
    with (ROOT / "requirements" / "licences.csv").open(encoding="utf-8", newline="") as file:
        return {canonical(row["package"]): row["licence"] for row in csv.DictReader(file)}


def needs(name: str, extra: str = "") -> list[str]:
    """Canonical names of the packages that a package asks for on this machine.

    Parameters
    ----------
    name : str
    extra : str
        Of its optional dependencies.
    """
    asked = (Requirement(text) for text in distribution(name).requires or [])
    here = {canonical(need.name) for need in asked if need.marker is None or need.marker.evaluate({"extra": extra})}
    return sorted(here - {canonical(name)})


def bill() -> Bom:
    """The bill of ranklsim with its optional dependencies."""
    versions, terms, make = locked(), licences(), LicenseFactory()

    def component(name: str, version: str, licence: str, kind: ComponentType) -> Component:
        return Component(
            name=name, version=version, type=kind, bom_ref=f"{name}=={version}",
            purl=PackageURL("pypi", None, name, version), licenses=[make.make_from_string(licence)],
        )  # fmt: skip

    product = distribution("ranklsim")
    licence = str(product.metadata["License-Expression"])
    top = component("ranklsim", product.version, licence, ComponentType.APPLICATION)
    bom = Bom()
    bom.metadata.component, bom.metadata.timestamp = top, EPOCH
    known: dict[str, Component] = {}
    asked = {"ranklsim": [*needs("ranklsim"), *needs("ranklsim", "dask"), *needs("ranklsim", "exchange")]}
    todo = list(asked["ranklsim"])
    while todo:
        name = todo.pop()
        if name in known:
            continue
        known[name] = component(name, versions[name], terms[name], ComponentType.LIBRARY)
        asked[name] = needs(name)
        todo += asked[name]
    for name in sorted(known):
        bom.components.add(known[name])
    for name, below in asked.items():
        bom.register_dependency(known.get(name, top), [known[other] for other in sorted(set(below))])
    contents = json.dumps([f"{part.bom_ref}" for part in sorted(known.values(), key=lambda part: str(part.bom_ref))])
    bom.serial_number = uuid.uuid5(uuid.NAMESPACE_URL, f"ranklsim {product.version} {contents}")
    return bom


def text_of(bom: Bom) -> str:
    """A bill as CycloneDX 1.6 in JSON.

    Parameters
    ----------
    bom : Bom
    """
    return make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string(indent=1)


def main() -> None:
    """Write the bill and print its path."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    name = f"ranklsim-{distribution('ranklsim').version}.cdx.json"
    parser.add_argument("-o", "--out", type=Path, default=ROOT / "dist" / name, metavar="FILE")
    out = parser.parse_args().out
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text_of(bill()) + "\n", encoding="utf-8")
    print(out)


if __name__ == "__main__":
    main()
