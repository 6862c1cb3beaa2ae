"""A run in one file: what it holds, that running it again gives the same bytes, and what is refused."""

from __future__ import annotations

import json
import shutil
import zipfile

import pandas as pd
import pytest
from helpers import check_sentence, said, two_arms

from ranklsim.cohorts import open_run, run
from ranklsim.cohorts.running import bundle as bundles
from ranklsim.cohorts.running import storage
from ranklsim.cohorts.running.bundle import bundle, compare_runs, reproduce
from ranklsim.pkpd.errors import BadInput


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run with an agent, a parameter and layers of its own, and its bundle."""
    here = tmp_path_factory.mktemp("bundle")
    (here / "own.csv").write_text("symbol,value\nkT,0.3\nabc-301.CL,0.11\n", encoding="utf-8")
    one = run(two_arms(here), here / "run", parameters=here / "own.csv", seed=5, layers=["patients"], rtol=1e-6)
    return one, bundle(one.folder, here / "a.zip")


def changed(path, target, name="run/visits.parquet", edit=lambda content: content, **more):
    """A copy of a bundle in which a member is edited, and members are added."""
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w") as archive:
        for info in source.infolist():
            content = source.read(info)
            archive.writestr(info, edit(content) if info.filename == name else content)
        for added, content in more.items():
            archive.writestr(added, content)
    return target


@pytest.mark.slow
def test_a_bundle_run_again_has_the_same_bytes(made, capsys):
    one, path = made
    found = reproduce(path, workers=1)
    assert found.same
    assert set(found.files["file"]) == set(one.manifest["files"])
    assert said(capsys, "reproduce", path) == (0, ["The same bytes in all 12 files."], [])


def test_the_same_run_gives_the_same_bundle_which_names_its_libraries_and_its_command(made, tmp_path):
    one, path = made
    again = bundle(one.folder, tmp_path / "a.zip")
    assert again.read_bytes() == path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        locked = archive.read("lock.txt").decode()
        assert "ranklsim reproduce a.zip" in archive.read("README.txt").decode()
    for name, version in one.manifest["libraries"].items():
        assert f"{name}=={version}\n" in locked


def altered(one, folder, edit):
    """The run with an edited table, as if it had been made so."""
    shutil.copytree(one.folder, folder)
    frame = edit(pd.read_parquet(folder / "visits.parquet"))
    written = storage.write_table(folder / "visits.parquet", [storage.to_arrow(frame)])
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    manifest["files"]["visits.parquet"] = written._asdict()
    manifest["libraries"]["numpy"] = "1.0"
    manifest["checksum"] = storage.checksum(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return open_run(folder)


def test_a_difference_is_told_with_its_file_its_column_and_its_size(made, tmp_path, capsys):
    def edit(visits):
        visits.loc[3, "true_BMD_LS"] += 0.125
        return visits

    other = altered(made[0], tmp_path / "altered", edit)
    code, lines, errors = said(capsys, "reproduce", bundle(other.folder, tmp_path / "b.zip"))
    assert (code, errors) == (1, [])
    assert lines[0].startswith("visits.parquet: differs in 1 row of true_BMD_LS; the largest difference is 0.125 in")
    assert lines[1].startswith("Versions differ from those of the original: numpy 1.0, here ")
    shorter = altered(made[0], tmp_path / "shorter", lambda visits: visits.iloc[:-1])
    sentence = compare_runs(shorter, made[0]).sentences()[0]
    assert sentence == "visits.parquet: has 48 rows in place of 47."


@pytest.mark.parametrize(
    ("more", "what"),
    [
        ({"../evil.txt": b"x"}, "its member '../evil.txt' leaves the folder"),
        ({"/etc/evil": b"x"}, "its member '/etc/evil' leaves the folder"),
        ({"run/../../evil": b"x"}, "leaves the folder"),
        ({"run/a/b/c.txt": b"x"}, "belongs to no bundle"),
        ({"notes.txt": b"x"}, "belongs to no bundle"),
        ({"run/more.txt": b"x"}, "do not agree on the member run/more.txt"),
        ({"edit": lambda content: content[:-1] + b"?"}, "its member run/visits.parquet is damaged"),
        ({"edit": lambda content: content[:-1]}, "its member run/visits.parquet is damaged"),
        ({"name": "run/trial.toml", "edit": lambda text: text.replace(b"seed", b"sead")}, "run/trial.toml is damaged"),
        ({"name": "bundle.json", "edit": lambda text: b"{}"}, "is no bundle"),
        ({"name": "bundle.json", "edit": lambda text: b"{"}, "bundle.json"),
    ],
)
def test_a_bundle_that_is_damaged_or_leaves_its_folder_is_refused_in_one_sentence(made, tmp_path, more, what, capsys):
    path = changed(made[1], tmp_path / "x.zip", **more)
    code, lines, errors = said(capsys, "reproduce", path, "-o", tmp_path / "again")
    assert (code, lines, len(errors)) == (2, [], 1)
    check_sentence(errors[0], str(path), what)
    assert list(tmp_path.iterdir()) == [path]


def test_a_member_that_unpacks_to_more_than_it_says_is_refused(made, tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(made[1]) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in source.namelist():
            archive.writestr(name, source.read(name))
    with pytest.raises(BadInput, match="is damaged"):
        bundles.unpack(path, tmp_path / "run")


@pytest.mark.parametrize("cut", [0, 10, 2000, -30])
def test_a_truncated_bundle_is_refused(made, tmp_path, cut, capsys):
    path = tmp_path / "x.zip"
    path.write_bytes(made[1].read_bytes()[:cut])
    code, _, errors = said(capsys, "reproduce", path)
    assert code == 2
    check_sentence(errors[0], "x.zip", "is damaged")


def test_a_run_that_was_altered_before_it_was_bundled_by_hand_is_refused(made, tmp_path, capsys):
    """Whoever changes a file and its hash in `bundle.json` still meets the hash in the manifest of the run."""
    target, text = tmp_path / "x.zip", "run/parameters.csv"
    with zipfile.ZipFile(made[1]) as source, zipfile.ZipFile(target, "w") as archive:
        content = source.read(text) + b"\n"
        noted = json.loads(source.read("bundle.json"))
        noted["members"][text] = bundles._noted(content)
        for name in source.namelist():
            own = {text: content, "bundle.json": json.dumps(noted).encode()}.get(name, source.read(name))
            archive.writestr(name, own)
    code, _, errors = said(capsys, "reproduce", target)
    assert (code, len(errors)) == (2, 1)
    check_sentence(errors[0], "x.zip", text, "altered")


def test_what_is_not_a_finished_run_has_no_bundle(made, tmp_path, capsys):
    one, path = made
    for words, what in (
        ((tmp_path, "-o", tmp_path / "x.zip"), "holds no manifest.json"),
        ((one.folder, "-o", tmp_path / "x.tar"), "ends in .zip"),
        ((one.folder, "-o", path), "--force"),
        ((one.folder, "-o", tmp_path / "no" / "x.zip"), "give another"),
    ):
        code, _, errors = said(capsys, "bundle", *words)
        assert (code, len(errors)) == (2, 1)
        check_sentence(errors[0], what)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_the_place_of_the_bundle_is_refused_with_a_name_that_a_bundle_may_have(made, tmp_path):
    (tmp_path / "a.zip").mkdir()
    with pytest.raises(BadInput, match=r"a\.zip is a folder; give a file in it, such as .*a\.zip/typical\.zip\.$"):
        bundle(made[0].folder, tmp_path / "a.zip", force=True)
