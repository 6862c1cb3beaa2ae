"""``ranklsim evidence`` and ``genetics``: what they print and write, and one sentence for each thing that is wrong."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from helpers import evidence_folder, said

from ranklsim.pkpd.evidence.records import SHIPPED, load_evidence

ARMS = '[[arm]]\nid = "a"\nstudy = "S"\nlabel = "A"\nregimen = "denosumab 60mg x1"\nfollow_up = "12 mo"\n'
HEAD = "study,arm,endpoint,site_or_marker,month,value,unit,statistic,spread,spread_type,n,phase,source,verification"
GOOD = "S,a,percent_of_baseline,CTX,6,30,%,median,,,20,on,Doe,read\n"


def written(folder: Path, rows: str, arms: str = ARMS) -> Path:
    return evidence_folder(folder, arms, rows, columns=HEAD)


def test_check_counts_what_ships(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = said(capsys, "evidence", "check", SHIPPED)
    shipped = load_evidence()
    assert code == 0
    assert err == []
    assert f"{len(shipped.arms)} arms" in out[0]
    assert f"{len(shipped.observations)} figures" in out[0]
    assert f"{len(shipped.not_used)} rows in not_used.csv" in out[-1]


def test_check_names_arms_without_figures(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, _ = said(capsys, "evidence", "check", written(tmp_path, GOOD, ARMS + ARMS.replace('"a"', '"b"')))
    assert code == 0
    assert out[0].endswith("2 arms of 1 study, 1 figure.")
    assert out[-1] == "No figure belongs to b."


@pytest.mark.parametrize(
    ("row", "parts"),
    [
        (GOOD.replace(",%,", ",kg,"), ("observations.csv:2", "unit", "kg")),
        (GOOD.replace("CTX", "CTY"), ("observations.csv:2", "CTY", "did you mean 'CTX'?")),
        (GOOD.replace("S,a,", "S,aa,"), ("observations.csv:2", "aa")),
        (GOOD.replace("median,,,", "median,-3,SD,"), ("observations.csv:2", "spread", "-3")),
    ],
)
def test_a_faulty_row_is_told_by_file_line_and_column(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, row: str, parts: tuple[str, ...]
) -> None:
    code, out, err = said(capsys, "evidence", "check", written(tmp_path, row))
    assert code == 2
    assert out == []
    assert len(err) == 1
    for part in parts:
        assert part in err[0], err


def test_every_fault_is_told_at_once_by_check_validate_and_fit_alike(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    faulty = GOOD.replace("CTX", "CTY") + GOOD.replace(",6,", ",six,")
    folder = written(tmp_path, faulty, ARMS.replace('"denosumab 60mg x1"', '"denosumb 60mg x1"'))
    (tmp_path / "spec.toml").write_text('evidence = "."\n[[parameter]]\nname = "kT"\n', encoding="utf-8")
    checked = said(capsys, "evidence", "check", folder)
    validated = said(capsys, "validate", "--evidence", folder, "-o", tmp_path / "out")
    fitted = said(capsys, "fit", tmp_path / "spec.toml", "-o", tmp_path / "out")
    assert checked[0] == 2
    assert len(checked[2]) == 3
    assert checked == validated == fitted
    assert not (tmp_path / "out").exists()


def test_list_shows_each_arm(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    arms = tuple(load_evidence().arms)
    code, out, _ = said(capsys, "evidence", "list")
    assert code == 0
    assert sum(line.startswith(arms) for line in out) >= len(arms)
    code, out, _ = said(capsys, "evidence", "list", written(tmp_path, GOOD))
    assert out[1].split()[:2] == ["a", "S"]
    assert said(capsys, "evidence", "list", tmp_path / "nowhere")[0] == 2


@pytest.mark.slow
def test_genetics_prints_pass_or_fail_and_writes_the_table(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, err = said(capsys, "genetics", "-o", tmp_path / "g.csv")
    assert code == 0
    assert err == []
    assert out[-1] == str(tmp_path / "g.csv")
    frame = pd.read_csv(tmp_path / "g.csv")
    assert {"test", "published", "predicted", "passed"} <= set(frame.columns)
    text = "\n".join(out)
    judged = frame[(frame["basis"] != "P") & frame["passed"].notna()]
    assert f"{int(judged['passed'].astype(bool).sum())} of {len(judged)} published statements agree" in text
    assert said(capsys, "genetics", "-o", tmp_path / "g.csv")[0] == 2
    assert said(capsys, "genetics", "-o", tmp_path / "nowhere" / "g.csv")[0] == 2


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("validate", "--patients", "3"), "give 10 or more, or 0"),
        (("validate", "--patients", "-1"), "'-1' is not a whole number of 0 or more"),
        (("validate", "--evidence", "nowhere"), "there is no such folder"),
        (("validate", "--parameters", "nowhere.csv"), "nowhere.csv"),
        (("evidence", "check"), "DIR is missing"),
        (("evidence", "chek", "x"), "unknown verb 'chek'"),
        (("fit", "nowhere.toml", "-o", "out"), "nowhere.toml"),
        (("fit", "default", "-o", "out", "--resume", "--force"), "give one of them"),
    ],
)
def test_bad_words_get_one_sentence(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    words: tuple[str, ...],
    part: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = said(capsys, *words)
    assert (code, out, len(err)) == (2, [], 1), err
    assert part in err[0]
    assert list(tmp_path.iterdir()) == []
