"""What ranklsim is made of: licences of all dependencies, and the bill of materials of a release."""

from __future__ import annotations

import json
import os
from importlib.metadata import PackageNotFoundError, metadata, version
from pathlib import Path

import pytest
import sbom
from cyclonedx.model.bom import Bom
from license_expression import get_spdx_licensing
from packaging.requirements import Requirement

LESSER = {"python-libsbml"}
"""A library that is used as it is, by the extra ``exchange`` only, which its licence (LGPL) allows."""
COPYLEFT = ("GPL", "AGPL", "LGPL", "SSPL", "EUPL", "CPAL", "OSL")
MOZILLA = {"axe-playwright-python", "certifi", "hypothesis", "pathspec", "tqdm"}
WORDS = {
    "BSD-3-Clause": ("BSD", "New BSD License", "BSD 3-Clause"),
    "BSD-2-Clause": ("BSD", "2-clause BSD"),
    "Apache-2.0": ("Apache",),
    "PSF-2.0": ("Python Software Foundation", "PSF", "matplotlib"),
    "MPL-2.0": ("MPL", "Mozilla"),
    "LGPL-2.1-only": ("LGPL",),
    "ISC": ("ISC",),
    "MIT": ("MIT",),
}
"""How metadata say a licence that give it in words, in `License` or in a classifier."""

LICENCES = sbom.licences()


def test_every_package_of_the_lock_file_has_a_licence_and_no_other_is_listed():
    assert set(LICENCES) == set(sbom.locked())


def test_every_licence_is_an_expression_of_spdx():
    known = get_spdx_licensing()
    for package, licence in LICENCES.items():
        assert known.validate(licence).errors == [], package


@pytest.mark.slow
def test_no_package_is_under_a_licence_that_would_bind_ranklsim_and_those_under_the_mpl_are_named():
    for package, licence in LICENCES.items():
        keys = get_spdx_licensing().license_keys(licence)
        assert bool([key for key in keys if key.startswith(COPYLEFT)]) == (package in LESSER), package
        assert (package in MOZILLA) == ("MPL-2.0" in keys), package


@pytest.mark.parametrize("package", sorted(LICENCES))
def test_a_licence_is_the_one_that_the_package_declares(package):
    try:
        said = metadata(package)
    except PackageNotFoundError:
        pytest.skip("not installed here")
    if expression := said.get("License-Expression"):
        assert LICENCES[package] == expression
        return
    classifiers = [line for line in said.get_all("Classifier") or [] if line.startswith("License ::")]
    words = " ".join([said.get("License") or "", *classifiers])
    if package in ("axe-playwright-python", "libroadrunner"):  # declare none; their licence files say it
        assert words.strip() == ""
        return
    for key in get_spdx_licensing().license_keys(LICENCES[package])[:1]:
        assert any(word in words for word in WORDS[key]), words


def locked_environment() -> bool:
    """Whether the versions installed are those of the lock file, of which the bill is."""
    return all(version(name) == sbom.locked()[name] for name in ("distributed", "pandas", "odmlib"))


@pytest.mark.skipif(not locked_environment(), reason="the bill is of the environment of the lock file")
def test_the_bill_of_materials_has_all_that_an_installation_brings_and_the_same_bytes_every_time():
    text = sbom.text_of(sbom.bill())
    assert text == sbom.text_of(sbom.bill())
    bill = json.loads(text)
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    versions = {part["name"]: part["version"] for part in bill["components"]}
    locked = sbom.locked()
    assert versions == {name: locked[name] for name in versions}
    needed = {Requirement(text).name for text in metadata("ranklsim").get_all("Requires-Dist") or []
              if "extra" not in text}  # fmt: skip
    assert {sbom.canonical(name) for name in needed} <= set(versions)
    assert {"kiwisolver", "distributed"} <= set(versions), "dependencies of dependencies, and those of the extras"
    assert not {"pytest", "ruff", "hypothesis"} & set(versions)
    assert all(part["licenses"] and part["purl"].startswith("pkg:pypi/") for part in bill["components"])
    refs = {part["bom-ref"] for part in bill["components"]} | {bill["metadata"]["component"]["bom-ref"]}
    assert {line["ref"] for line in bill["dependencies"]} == refs
    assert {other for line in bill["dependencies"] for other in line.get("dependsOn", [])} <= refs
    assert len(Bom.from_json(bill).components) == len(versions)


@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="tests share out among processes only there")
def test_tests_that_share_something_are_sent_to_one_worker(request: pytest.FixtureRequest) -> None:
    """Else module fixtures are made on each."""
    assert request.node.nodeid.endswith(f"@{Path(__file__).stem}")
