"""The report as Word and RTF: the same exhibits and numbers as the page, in a form that can be edited and submitted."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from docx import Document
from docx.oxml.ns import qn
from helpers import said

from ranklsim.pkpd.errors import BadInput
from ranklsim.reports.csr.context import Context, read
from ranklsim.reports.csr.report import SECTIONS, write_report
from ranklsim.reports.layout.grid import plain, read_grid
from ranklsim.reports.layout.rtf_tables import rtf_text
from ranklsim.reports.layout.word import write_word


@pytest.fixture(scope="module")
def sections(small_run: Path) -> list:
    context = Context(read(small_run))
    return [section(context) for section in SECTIONS]


@pytest.fixture(scope="module")
def folder(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("formats") / "report"
    return write_report(small_run, out=out, formats=["docx", "rtf", "parquet"]).parent


@pytest.fixture(scope="module")
def document(folder: Path):
    return Document(str(folder / "report.docx"))


def exhibits(sections: list, kind: str) -> list:
    return [exhibit for section in sections for exhibit in section.exhibits if exhibit.kind == kind]


def column_texts(table, row: int) -> list[str]:
    return [cell.text.replace("\n", " ") for cell in table.rows[row].cells]


def test_word_has_the_sections_as_headings_of_their_level(document, sections):
    styles = {f"Heading {level}" for level in (1, 2, 3, 4)}
    found = [(p.style.name, p.text) for p in document.paragraphs if p.style.name in styles]
    assert found == [(f"Heading {s.level - 1}", f"{s.number} {s.title}") for s in sections]


def test_every_exhibit_has_a_caption_whose_number_is_a_field(document, sections):
    captions = [p for p in document.paragraphs if p.style.name == "Caption"]
    every = [exhibit for section in sections for exhibit in section.exhibits]
    assert [p.text for p in captions] == [f"{e.kind} {e.number} {e.title}" for e in every]
    for paragraph, exhibit in zip(captions, every, strict=True):
        code = "".join(node.text for node in paragraph._p.iter(qn("w:instrText")))
        assert code.split() == ["SEQ", exhibit.kind, r"\*", "ARABIC", r"\r", exhibit.number.rpartition(".")[2]]


def test_word_lists_contents_tables_and_figures_by_fields(document):
    codes = [node.text.split()[0] for node in document.element.body.iter(qn("w:instrText"))]
    assert codes[:3] == ["TOC", "TOC", "TOC"]
    begins, ends = (
        sum(node.get(qn("w:fldCharType")) == kind for node in document.element.body.iter(qn("w:fldChar")))
        for kind in ("begin", "end")
    )
    assert begins == ends == len(codes)


def test_every_table_of_the_page_is_a_table_in_word_with_the_same_cells(document, sections):
    shown = exhibits(sections, "Table")
    assert len(document.tables) == len(shown)
    for table, exhibit in zip(document.tables, shown, strict=True):
        grid = read_grid(exhibit.body)
        assert len(table._tbl.tr_lst) == len(grid.head) + len(grid.body), exhibit.number
        texts = ["".join(t.text or "" for t in tr.iter(qn("w:t"))) for tr in table._tbl.tr_lst]
        for row, text in zip((*grid.head, *grid.body), texts, strict=True):
            assert text == "".join(cell.text.replace("\n", "") for _, cell in row.cells)


def test_head_rows_repeat_and_no_row_is_broken_over_pages(document, sections):
    for table, exhibit in zip(document.tables, exhibits(sections, "Table"), strict=True):
        rows = table._tbl.tr_lst
        heads = [tr for tr in rows if tr.find(f"{qn('w:trPr')}/{qn('w:tblHeader')}") is not None]
        assert len(heads) == len(read_grid(exhibit.body).head)
        assert all(tr.find(f"{qn('w:trPr')}/{qn('w:cantSplit')}") is not None for tr in rows)


def test_rows_of_a_month_stay_on_one_page_in_word(document, sections):
    tables = [e for section in sections for e in section.exhibits if e.kind == "Table"]
    place = next(k for k, exhibit in enumerate(tables) if exhibit.number == "14.2.2.1")
    grid, table = read_grid(tables[place].body), document.tables[place]
    rows = table.rows[len(grid.head) :]
    kept = ["w:keepNext" in row._tr.xml for row in rows]
    last = {start - 1 for start in grid.starts} | {len(rows) - 1}
    assert kept == [number not in last for number in range(len(rows))]


def test_the_grid_of_every_word_table_is_whole(document):
    for table in document.tables:
        columns = len(table._tbl.tblGrid.findall(qn("w:gridCol")))
        for tr in table._tbl.tr_lst:
            assert sum(tc.grid_span for tc in tr.tc_lst) == columns


def test_the_means_in_word_are_those_of_the_frame(document, sections):
    shown = exhibits(sections, "Table")
    at = next(k for k, e in enumerate(shown) if e.number == "14.2.2.1")
    frame = shown[at].frame.set_index(["month", "arm"])
    words = [column_texts(document.tables[at], k) for k in range(len(document.tables[at].rows))]
    labels = words[0]
    arms = {"denosumab": "Denosumab", "mrankl": "mRANKL-selective", "srankl": "sRANKL-selective"}
    rows = [row for row in words if row[0] == "36" and row[1] == "Mean (SD)"]
    for arm, label in arms.items():
        column = next(k for k, text in enumerate(labels) if text.startswith(label))
        mean, sd = frame.loc[(36.0, arm), ["mean", "sd"]]
        assert rows[0][column] == f"{mean:.2f} ({sd:.2f})".replace("-", "−")


def test_every_figure_in_word_is_a_picture_that_speaks(document, sections):
    pictures = [shape._inline.docPr for shape in document.inline_shapes]
    figures = exhibits(sections, "Figure")
    assert [p.get("descr") for p in pictures] == [e.alt for e in figures]
    assert all(len(p.get("descr")) > 20 for p in pictures)


def test_every_table_of_patients_says_how_many_in_each_arm_and_where_from(sections):
    for exhibit in exhibits(sections, "Table"):
        assert "Seed 20261; ranklsim" in exhibit.footnote
        if exhibit.population.startswith("Simulated data. Full analysis set"):
            assert re.search(r"Randomised: Placebo \d+, Denosumab 60 mg Q6M \d+, mRANKL", exhibit.footnote)


def test_word_is_the_same_bytes_twice(sections, tmp_path):
    for name in ("one", "two"):
        write_word(tmp_path / f"{name}.docx", "Title", "meta", "Simulated.", "2026-01-02T03:04:05+00:00", sections[:4])
    assert (tmp_path / "one.docx").read_bytes() == (tmp_path / "two.docx").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.docx") as archive:
        assert archive.testzip() is None


def test_each_table_is_an_rtf_document_with_its_title_cells_and_notes(folder, sections):
    shown = exhibits(sections, "Table")
    assert sorted(path.stem for path in (folder / "rtf").iterdir()) == sorted(e.stem for e in shown)
    for exhibit in shown:
        text = (folder / "rtf" / f"{exhibit.stem}.rtf").read_text(encoding="ascii")
        assert text.startswith(r"{\rtf1")
        assert depth_of(text) == 0
        words = rtf_words(text)
        assert exhibit.title in words
        assert plain(exhibit.footnote) in words
        grid = read_grid(exhibit.body)
        head = next((cell for row in grid.head for _, cell in row.cells if cell.text), None)
        assert head is None or words.count(head.text.replace("\n", " ")) > text.count("\\page")  # on every page
        for line in grid.filled():
            for cell in line:
                assert cell.replace("\n", " ") in words, (exhibit.number, cell)


def depth_of(text: str) -> int:
    """Open groups at the end of an RTF text; never below none."""
    depth = 0
    for sign in re.findall(r"\\[{}\\]|[{}]", text):
        depth += {"{": 1, "}": -1}.get(sign, 0)
        assert depth >= 0
    return depth


def rtf_words(text: str) -> str:
    """What an RTF text says, without its controls."""
    text = re.sub(r"\\uc1\\u(-?\d+)\*", lambda m: chr(int(m[1]) % 65536), text)
    text = text.replace("\\line ", " ").replace("\\{", "\x01").replace("\\}", "\x02")
    text = re.sub(r"\\[a-z]+-?\d* ?|[{}]", "", text)
    return text.replace("\x01", "{").replace("\x02", "}").replace("\\\\", "\\")


def test_an_rtf_table_is_a_row_for_each_row_of_the_page(sections):
    exhibit = next(e for e in exhibits(sections, "Table") if e.number == "14.1.1")
    grid = read_grid(exhibit.body)
    rows = rtf_text(exhibit).count(r"\trowd")
    assert rows == len(grid.head) + len(grid.body) + 1  # the notes stand in a row of their own


def test_parquet_lies_beside_every_csv_and_holds_the_same_numbers(folder):
    names = {path.stem for path in (folder / "tables").glob("*.csv")}
    assert names == {path.stem for path in (folder / "tables").glob("*.parquet")}
    path = next((folder / "tables").glob("figure-14.2.2.1-*.csv"))
    csv, parquet = pd.read_csv(path), pd.read_parquet(path.with_suffix(".parquet"))
    assert list(csv.columns) == list(parquet.columns)
    np.testing.assert_allclose(csv["mean"], parquet["mean"], rtol=1e-5)


def test_an_unknown_format_is_refused_in_a_sentence_before_anything_is_written(small_run, tmp_path, capsys):
    with pytest.raises(BadInput, match="unknown format 'pdf'; give some of html, docx, rtf, parquet"):
        write_report(small_run, out=tmp_path / "r", formats=["pdf"])
    assert not (tmp_path / "r").exists()
    code, _, err = said(capsys, "report", small_run, "--format", "pdf,doc")
    assert (code, len(err)) == (2, 2)


def test_cells_that_reach_over_rows_and_columns_keep_their_place():
    grid = read_grid(
        '<table><caption>no cell</caption><thead><tr><th>a</th><th colspan="2">b</th></tr></thead>'
        '<tbody><tr><th rowspan="2">m</th><td>1<br>2</td><td class="num">−3</td></tr>'
        "<tr><td>4</td><td>5</td></tr></tbody>"
        '<tbody><tr class="group"><th colspan="3">g <span class="tag x">predicted</span></th></tr></tbody></table>'
    )
    assert grid.columns == 3
    assert grid.filled(grid.head) == [["a", "b", ""]]
    assert grid.filled() == [["m", "1\n2", "−3"], ["", "4", "5"], ["g [predicted]", "", ""]]
    assert (grid.body[2].kind, sorted(grid.starts)) == ("group", [0, 2])
    assert grid.body[0].cells[2][1].right
    with pytest.raises(ValueError, match="no table"):
        read_grid("<p>nothing</p>")
