"""The report as Word and RTF: the same exhibits and numbers as the page, in a form that can be edited and submitted."""

from __future__ import annotations

import re
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from docx import Document
from docx.oxml.ns import qn
from helpers import said
from pptx import Presentation

from ranklsim.cohorts.running.storage import open_run
from ranklsim.pkpd.errors import BadInput
from ranklsim.reports.csr.context import Context
from ranklsim.reports.csr.report import compose, write_report
from ranklsim.reports.layout.cells import Bullets, Cell, Column, Group, Row, Span, Table, plain, tag
from ranklsim.reports.layout.exhibit import Exhibit
from ranklsim.reports.layout.html import body
from ranklsim.reports.layout.rtf import rtf_text
from ranklsim.reports.layout.slides import sentence
from ranklsim.reports.layout.word import write_word

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sections(small_run: Path) -> list:
    return compose(Context(open_run(small_run)))


@pytest.fixture(scope="module")
def folder(small_report: Path) -> Path:
    return small_report.parent


@pytest.fixture(scope="module")
def document(folder: Path):
    return Document(str(folder / "report.docx"))


def exhibits(sections: list, kind: str) -> list:
    return [exhibit for section in sections for exhibit in section.exhibits if exhibit.kind == kind]


def column_texts(table, row: int) -> list[str]:
    return [cell.text.replace("\n", " ") for cell in table.rows[row].cells]


def test_word_has_the_sections_as_headings_of_their_level(document, sections):
    styles = {f"Heading {level}" for level in (1, 2, 3, 4, 5)}
    found = [(p.style.name, p.text) for p in document.paragraphs if p.style.name in styles]
    assert found == [(f"Heading {s.level - 1}", s.heading) for s in sections]


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
        shown_rows = [exhibit.table.heads] if exhibit.table.heads else []
        shown_rows += [line.texts for line in exhibit.table.lines()]
        texts = ["".join(t.text or "" for t in tr.iter(qn("w:t"))) for tr in table._tbl.tr_lst]
        assert texts == ["".join(text or "" for text in row).replace("\n", "") for row in shown_rows], exhibit.number


def test_head_rows_repeat_and_no_row_is_broken_over_pages(document, sections):
    for table, exhibit in zip(document.tables, exhibits(sections, "Table"), strict=True):
        rows = table._tbl.tr_lst
        heads = [tr for tr in rows if tr.find(f"{qn('w:trPr')}/{qn('w:tblHeader')}") is not None]
        assert len(heads) == bool(exhibit.table.heads)
        assert all(tr.find(f"{qn('w:trPr')}/{qn('w:cantSplit')}") is not None for tr in rows)


def test_rows_of_a_month_stay_on_one_page_in_word(document, sections):
    tables = [e for section in sections for e in section.exhibits if e.kind == "Table"]
    place = next(k for k, exhibit in enumerate(tables) if exhibit.number == "14.2.2.1")
    kept = ["w:keepNext" in row._tr.xml for row in document.tables[place].rows[1:]]
    groups = [len(group.rows) for group in tables[place].table.groups]
    assert kept == [k < size - 1 for size in groups for k in range(size)]


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


def test_seed_and_model_are_said_once_on_the_page_and_at_the_foot_of_every_rtf_table(folder, sections):
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert page.count("seed 20261") == 2  # in the head and in the foot
    assert not [e.number for section in sections for e in section.exhibits if "20261" in e.footnote]
    for path in (folder / "rtf").glob("*.rtf"):
        assert "seed 20261" in path.read_text(encoding="ascii"), path.name
    for exhibit in exhibits(sections, "Table"):
        if exhibit.population.startswith("Simulated data. Full analysis set"):
            heads = " ".join(exhibit.table.heads)
            assert "N=" in heads or "N=" in exhibit.population


def test_slides_have_a_sentence_as_title_and_the_figures_of_the_core(folder, sections):
    deck = Presentation(str(folder / "slides.pptx"))
    figures = exhibits([section for section in sections if not section.appendix], "Figure")
    titles = [slide.shapes.title.text_frame.text for slide in deck.slides]
    assert titles == [sections[0].title, *(sentence(figure) for figure in figures)]
    assert all(title.rstrip()[-1] in ".?" for title in titles)
    pictures = [[shape for shape in slide.shapes if shape.shape_type == 13] for slide in deck.slides]
    assert [len(own) for own in pictures] == [0, *(1 for _ in figures)]
    assert all(own[0]._element.nvPicPr.cNvPr.get("descr") for own in pictures[1:])


@pytest.mark.parametrize(("module", "form", "extra"), [("pptx", "pptx", "slides"), ("rtflite", "rtf", "rtf")])
def test_a_format_whose_library_is_missing_says_what_brings_it(module, form, extra, small_run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(BadInput, match=rf"pip install 'ranklsim\[{extra}\]'"):
        write_report(small_run, out=tmp_path / "report", formats=[form], brief=True)
    assert not (tmp_path / "report").exists()


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
        assert exhibit.footnote in words
        head = next((text for text in exhibit.table.heads if text), None)
        assert head is None or words.count(head.replace("\n", " ")) > text.count("\\page")  # on every page
        for line in exhibit.table.lines():
            for cell in line.texts:
                assert (cell or "").replace("\n", " ") in words, (exhibit.number, cell)


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
    rows = rtf_text(exhibit).count(r"\trowd")
    assert rows == 1 + len(exhibit.table.lines()) + 1  # the head; the notes stand in a row of their own


def test_parquet_lies_beside_every_csv_and_holds_the_same_numbers(folder):
    names = {path.stem for path in (folder / "tables").glob("*.csv")}
    assert names == {path.stem for path in (folder / "tables").glob("*.parquet")}
    path = next((folder / "tables").glob("figure-14.2.2.1-*.csv"))
    csv, parquet = pd.read_csv(path), pd.read_parquet(path.with_suffix(".parquet"))
    assert list(csv.columns) == list(parquet.columns)
    np.testing.assert_allclose(csv["mean"], parquet["mean"], rtol=1e-5)


def test_an_unknown_format_is_refused_in_a_sentence_before_anything_is_written(small_run, tmp_path, capsys):
    with pytest.raises(BadInput, match="unknown format 'pdf'; give some of html, docx, rtf, pptx, parquet"):
        write_report(small_run, out=tmp_path / "r", formats=["pdf"])
    assert not (tmp_path / "r").exists()
    code, _, err = said(capsys, "report", small_run, "--format", "pdf,doc")
    assert (code, len(err)) == (2, 2)


def exhibit_of(table: Table) -> Exhibit:
    return Exhibit("Table", "1.1", "A & B", pd.DataFrame({"x": [1]}), table, "Note.", population="N = 3")


def test_titles_beside_their_rows_take_a_column_and_titles_over_them_a_row():
    rows = tuple(Row((Cell("n"), Cell(f"{k}\n2", (k,), ("n",)))) for k in range(2))
    beside = Table((Column("Month"), Column(""), Column("A")), (Group(rows, "6"), Group(rows[:1], "12")), "arms", True)
    assert [line.texts for line in beside.lines()] == [("6", "n", "0\n2"), (None, "n", "1\n2"), ("12", "n", "0\n2")]
    assert [(line.begins, line.ends) for line in beside.lines()] == [(True, False), (False, True), (True, True)]
    html = body(exhibit_of(beside))
    assert html.count("<tbody>") == 2
    assert '<th scope="rowgroup" rowspan="2">6</th><th scope="row" class="stat">n</th><td>0<br>2</td>' in html
    over = Table((Column("a"), Column("b", right=True)), (Group(rows, ("g ", tag("predicted"))),), "listing")
    assert [line.texts for line in over.lines()] == [("g [predicted]",), ("n", "0\n2"), ("n", "1\n2")]
    assert [line.kind for line in over.lines()] == ["group", "body", "body"]
    assert '<tr class="group"><th scope="rowgroup" colspan="2">g <span class="tag predicted">' in body(exhibit_of(over))


def test_html_escapes_words_and_keeps_emphasis():
    text = ("a < b ", Span("x&y", "code"), Span("PMID 1", "link", "https://example.org/?a=1&b=2"), Bullets(("p", "q")))
    html = body(exhibit_of(Table((Column("h"),), (Group((Row((Cell(text),)),)),), "synopsis")))
    assert 'aria-label="Table 1.1: A &amp; B"' in html
    assert '<span class="population">N = 3</span>' in html
    assert "a &lt; b <code>x&amp;y</code>" in html
    assert '<a href="https://example.org/?a=1&amp;b=2">PMID 1</a><ul><li>p</li><li>q</li></ul>' in html
    assert plain(text) == "a < b x&yPMID 1\n• p\n• q"


def test_a_figure_has_no_cells(sections):
    with pytest.raises(TypeError, match=r"Figure 2\.1 has no cells"):
        _ = exhibits(sections, "Figure")[0].table


def test_cells_keep_the_values_of_the_frame_with_the_names_of_its_columns(sections):
    shown = next(e for e in exhibits(sections, "Table") if e.number == "14.2.2.1")
    frame, checked = shown.frame.set_index(["month", "arm"]), 0
    for group in shown.table.groups:
        for row in group.rows:
            for column, cell in zip(shown.table.columns[2:], row.cells[1:], strict=True):
                expected = [frame.loc[(group.key, column.arm), measure] for measure in cell.measures]
                np.testing.assert_array_equal(cell.values, expected)
                checked += len(expected)
    assert checked > 100
    listed = next(e for e in exhibits(sections, "Table") if e.number == "14.2.7.1")
    records = [row.record["median"] for group in listed.table.groups for row in group.rows]
    np.testing.assert_array_equal(records, listed.frame["median"])
