"""The report of a small real run: complete, self-contained, repeatable, and true to its numbers."""

from __future__ import annotations

import itertools
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ranklsim.cohorts.protocol.trial import load_trial
from ranklsim.cohorts.running.execution import run
from ranklsim.cohorts.running.storage import open_run
from ranklsim.cohorts.statistics import summaries
from ranklsim.pkpd.errors import BadInput
from ranklsim.pkpd.variants import variants
from ranklsim.reports.csr.appendix import potency_in_words
from ranklsim.reports.csr.context import Context
from ranklsim.reports.csr.core import beside, counterpart, expected, key_results, rebound, short, within_words
from ranklsim.reports.csr.report import compose, write_report
from ranklsim.reports.layout.cells import plain

pytestmark = pytest.mark.slow

VOID = {"col", "meta", "br", "link", "img", "hr", "input"}


class Page(HTMLParser):
    """What the tests ask of the page: balance of tags, ids, links, sources, headings, text by section."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.headings: list[str] = []
        self.sections: dict[str, str] = {}
        self.tables: list[set[str]] = []
        self.labels: list[str] = []
        self._section = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag not in VOID:
            self.stack.append(tag)
        if "id" in found:
            self.ids.append(str(found["id"]))
        if tag == "a":
            self.links.append(str(found.get("href")))
        if tag in ("script", "img", "link", "iframe", "object", "embed"):
            self.fetched.append(tag)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(tag)
        if tag == "section":
            self._section = str(found["id"])
            self.sections[self._section] = ""
        if tag == "table":
            self.tables.append(set())
        if tag == "caption" and self.tables:
            self.tables[-1].add("caption")
        if tag == "th":
            self.tables[-1].add("scope" if found.get("scope") in ("row", "col", "rowgroup") else "bare th")
        if tag == "svg":
            self.labels.append(str(found.get("aria-label", "")))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.stack.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag, f"</{tag}> closes something else"
        if tag == "section":
            self._section = ""

    def handle_data(self, data: str) -> None:
        if self._section:
            self.sections[self._section] += data


LASTING = "14.2.12.1"
"""Table of durability and rebound."""


@pytest.fixture(scope="module")
def page(small_report: Path) -> Page:
    return Page(small_report.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def context(small_run: Path) -> Context:
    return Context(open_run(small_run))


def test_a_range_over_structures_leaves_out_what_the_data_refute(context):
    frame = context.by_structure
    frame = frame[frame["arm"] == "srankl"]
    first = frame["result"].iloc[0]
    value = frame[frame["result"] == first].set_index("variant")["value"]
    left = value.drop(["", *(one.name for one in variants() if one.refuted)])
    over = context.whole_range(first, "srankl")
    assert (over["structure_low"], over["structure_high"]) == (left.min(), left.max())
    assert value["soluble-activation"] > over["both_high"], "a refuted structure would have sRANKL do what both do"


def test_the_page_is_well_formed_and_its_ids_are_unique(page):
    assert page.stack == []
    assert len(page.ids) == len(set(page.ids))


def test_the_page_fetches_nothing(small_report, page):
    text = small_report.read_text(encoding="utf-8")
    assert page.fetched == []
    assert not re.search(r"@import|url\((?!#)", text)


def test_every_link_inside_leads_somewhere_and_every_file_link_to_a_file(small_report, page):
    for link in page.links:
        if link.startswith("#"):
            assert link[1:] in page.ids
        elif not link.startswith("https://"):
            assert (small_report.parent / link).is_file(), link


def test_headings_descend_one_level_at_a_time(page):
    levels = [int(tag[1]) for tag in page.headings]
    assert levels[0] == 1
    assert all(later - earlier <= 1 for earlier, later in itertools.pairwise(levels))


def test_every_table_has_a_caption_and_scoped_heads(page):
    assert len(page.tables) > 15
    assert all("caption" in table and "bare th" not in table for table in page.tables)


def test_every_figure_speaks(page):
    assert len(page.labels) > 15
    assert all(len(label) > 20 for label in page.labels)


def test_the_head_says_simulated_by_which_version_and_what_is_calibrated_and_predicted(small_report):
    import ranklsim

    head = small_report.read_text(encoding="utf-8").split("</header>")[0].split("<header")[1]
    for words in (
        "Simulated data",
        f"ranklsim {ranklsim.__version__}",
        "Calibrated: Placebo, Denosumab 60 mg Q6M.",
        "Predicted: mRANKL-selective 60 mg Q6M, sRANKL-selective 60 mg Q6M.",
    ):
        assert words in head, words


def test_the_core_stands_before_the_appendices_and_no_exhibit_stands_twice(small_report, page):
    core = ["answer", "synopsis", "design", "core-patients", "core-endpoints", "core-after", "core-mechanism"]
    core += ["core-unknown", "core-safety", "appendices"]
    assert list(page.sections)[: len(core)] == core
    exhibits = [name for name in page.ids if re.fullmatch(r"(table|figure)-[\d-]+", name)]
    assert len(exhibits) == len(set(exhibits)) > 60
    text = small_report.read_text(encoding="utf-8")
    behind = text[text.index('<section id="appendices"') :]
    for section in re.findall(r"<section[^>]*>(.*?)</section>", behind, re.DOTALL)[1:]:
        assert "exhibit" not in section or re.match(r"\s*<details><summary>", section), section[:200]


def test_the_answer_has_at_most_120_words_and_one_figure(context):
    first = compose(context, brief=True)[0]
    assert sum(len(plain(text).split()) for text in first.key) <= 120
    assert [(exhibit.kind, exhibit.number) for exhibit in first.exhibits] == [("Figure", "2.1")]
    key = first.exhibits[0].frame.set_index(["panel", "arm"])
    peaks = context.data.seen("CTX").pivot(index=["patient", "arm"], columns="month", values="CTX")
    late = peaks.loc[:, [month for month in peaks.columns if month >= 36]].div(peaks[0.0], axis=0)
    highest = 100 * late.groupby(level="arm").median().max(axis=1)
    for arm in ("denosumab", "mrankl", "srankl"):
        assert key.loc[("rebound", arm), "estimate"] == pytest.approx(highest[arm], rel=1e-6)
    gain = context.endpoints[context.endpoints["endpoint"] == context.primary.name].set_index("arm")["difference"]
    for arm in ("mrankl", "srankl"):
        assert key.loc[("known", arm), "estimate"] == pytest.approx(gain[arm] - gain["denosumab"], rel=1e-4)


def test_sentences_that_do_not_fit_are_left_out_whole():
    assert within_words(["one two three", "four five six seven", "eight nine"], 5) == ["one two three", "eight nine"]


def test_a_brief_report_is_the_core_alone(small_run, tmp_path):
    page = Page(write_report(small_run, out=tmp_path / "brief", brief=True).read_text(encoding="utf-8"))
    assert "appendices" not in page.sections
    assert list(page.sections)[-1] == "core-safety"
    assert all(link[1:] in page.ids for link in page.links if link.startswith("#"))


def test_the_same_run_gives_the_same_bytes_whatever_formats_are_written_beside_the_page(
    small_run, small_report, tmp_path
):
    again, first = write_report(small_run, out=tmp_path / "again").parent, small_report.parent
    files, before = ({p.relative_to(at) for p in at.rglob("*") if p.is_file()} for at in (again, first))
    assert files <= before
    assert {name.suffix for name in before - files} == {".docx", ".rtf", ".pptx", ".parquet"}
    for name in files:
        assert (again / name).read_bytes() == (first / name).read_bytes(), name


def test_every_exhibit_has_its_numbers_as_csv_and_every_figure_its_svg(small_report, page):
    numbers = {Path(name).stem for name in page.links if name.startswith("tables/")}
    assert numbers == {path.stem for path in (small_report.parent / "tables").glob("*.csv")}
    assert {Path(name).stem for name in page.links if name.startswith("figures/")} == {
        path.stem for path in (small_report.parent / "figures").glob("*.svg")
    }
    for path in (small_report.parent / "tables").glob("*.csv"):
        assert len(pd.read_csv(path)) > 0, path.name


def test_what_is_exported_is_what_the_run_holds(small_report, small_run):
    run_ = open_run(small_run)
    path = next((small_report.parent / "tables").glob("figure-14.2.2.1-*.csv"))
    exported = pd.read_csv(path).set_index(["month", "arm"])
    wide = run_.visits.pivot(index=["patient", "arm"], columns="month", values="BMD_LS")
    change = (100 * (wide[36.0] / wide[0.0] - 1)).dropna()
    for arm, own in change.groupby(level="arm"):
        assert exported.loc[(36.0, arm), "mean"] == pytest.approx(own.mean(), rel=1e-5)
        assert exported.loc[(36.0, arm), "n"] == len(own)


def test_the_answer_holds_the_numbers_of_the_primary_endpoint(page, context):
    rows = context.endpoints[context.endpoints["endpoint"] == context.primary.name].set_index("arm")
    text = page.sections["answer"].replace("−", "-")
    assert f"{abs(rows.loc['denosumab', 'difference']):.1f} points more under Denosumab than under Placebo" in text
    for arm in ("mrankl", "srankl"):
        low, high = rows.loc[arm, ["unknown_low", "unknown_high"]]
        size, *chance = rows.loc[arm, ["difference", "difference_low", "difference_high"]]
        said = f"95% CI {chance[0]:.1f} to {chance[1]:.1f}; expected {low:.1f} to {high:.1f}".replace("-0.0", "0.0")
        assert f"differed by {size:.1f} points from Placebo ({said}" in text, "each number is arm minus control"


@pytest.mark.parametrize(
    ("low", "high", "below", "said"),
    [
        (0.31, 0.62, 0.0, "0.3 to 0.6"),
        (0.02, 0.62, 0.0, "0.0 to 0.6"),
        (0.012, 0.041, 0.0, "0.01 to 0.04"),
        (-0.61, 0.32, 0.7, "−0.6 to 0.3, below 0 in 70% of draws"),
        (-0.02, 0.06, 0.48, "−0.02 to 0.06, above 0 in 52% of draws"),
        (-0.004, 0.31, 0.001, "−0.004 to 0.310, above 0 in 99% of draws"),
        (-0.3, 0.6, 0.0, "−0.3 to 0.6, above 0 in all draws"),  # other structures alone give less than zero
        (-0.3, 0.6, np.nan, "−0.3 to 0.6"),
    ],
)
def test_an_expected_range_and_the_share_of_the_draws_agree_on_the_side_of_zero(low, high, below, said):
    assert expected(low, high, below, 1) == said


@pytest.mark.parametrize("named", [("known", "new"), ("new",)])
def test_the_answer_of_a_trial_without_placebo_names_site_and_months(tmp_path, named):
    control = 'control = "known"' if len(named) > 1 else ""
    arms = "\n".join(
        f'[[arm]]\nname = "{name}"\nregimen = [{{agent = "{agent}", dose = "60 mg", every = "6 mo", doses = 2}}]'
        for name, agent in (("known", "denosumab"), ("new", "mrankl-selective"))
        if name in named
    )
    (tmp_path / "trial.toml").write_text(
        f"""title = "Two arms"\nseed = 1\nmonths = 24\nuncertainty_draws = 3\n{control}
[population]\nname = "postmenopausal-osteoporosis"\npatients = 8
[visits]\nBMD = [0, 12, 24]\nmarkers = [0, 6, 12, 18, 24]
{arms}
[[endpoint]]\nname = "gain"\nrole = "primary"\nanalysis = "ANCOVA"
change = {{ of = "BMD_LS", from = "0 mo", to = "12 mo", as = "percent" }}
""",
        encoding="utf-8",
    )
    c = Context(open_run(run(load_trial(tmp_path / "trial.toml"), tmp_path / "run").folder))
    (answer,) = (section for section in compose(c) if section.anchor == "answer")
    first = plain(answer.key[0])
    for words in ("lumbar spine BMD", "from baseline to month 12"):
        assert words in first.replace("From", "from"), first
    assert all(re.search(r"month \d+", text) for text in map(plain, answer.key) if "CTX" in text)


def test_the_interval_over_parameters_is_that_of_the_draws(context, small_run):
    draws = open_run(small_run).uncertainty
    wide = draws[draws["month"] == 36.0].pivot(index="draw", columns="arm", values="BMD_LS_pct").drop(index=0)
    low, high = np.percentile(wide["mrankl"] - wide["placebo"], [5, 95])
    row = context.endpoints.query("arm == 'mrankl'").iloc[0]
    assert (row["parameter_low"], row["parameter_high"]) == pytest.approx((low, high), rel=1e-4)


def test_every_assumed_or_fitted_parameter_and_agent_number_is_listed(page, context):
    text = page.sections["assumptions"]
    soft = context.parameters.query("status != 'measured'")
    for row in soft.itertuples():
        assert str(row.symbol) in text
        assert str(row.meaning) in text
    for agent in context.data.agents.values():
        for number in agent.provenance:
            assert number.field in text


def test_the_reproducibility_page_holds_seed_hashes_and_command(page, small_run):
    manifest = open_run(small_run).manifest
    text = page.sections["reproducibility"]
    assert str(manifest["seed"]) in text
    assert manifest["command"] in text
    for written in manifest["files"].values():
        assert written["sha256"] in text


def test_dispositions_and_doses_agree_with_the_run(small_report, small_run):
    run_ = open_run(small_run)
    disposition = pd.read_csv(next((small_report.parent / "tables").glob("table-14.1.1-*.csv"))).set_index("arm")
    assert disposition.loc["Total", "randomised"] == 24
    assert disposition.loc["Total", "dropout"] == sum(run_.manifest["counts"]["dropouts"].values())
    exposure = pd.read_csv(next((small_report.parent / "tables").glob("table-14.1.3-*.csv")))
    assert exposure["given"].sum() == run_.manifest["counts"]["doses_given"]


def test_an_altered_run_is_refused_and_nothing_is_written(small_run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(small_run, copy, ignore=shutil.ignore_patterns("report"))
    with open(copy / "visits.parquet", "r+b") as file:
        file.truncate(1000)
    with pytest.raises(BadInput, match=r"visits\.parquet: is truncated or altered"):
        write_report(copy)
    assert not (copy / "report").exists()


def test_a_folder_that_holds_something_else_is_left_alone(small_run, tmp_path):
    (tmp_path / "thesis.docx").write_text("years of work")
    with pytest.raises(BadInput, match="holds something other than a report"):
        write_report(small_run, out=tmp_path)
    assert (tmp_path / "thesis.docx").read_text() == "years of work"


def test_a_place_that_cannot_be_written_is_named_in_one_sentence(small_run, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match=r"file is a file; give another path\.") as fault:
        write_report(small_run, out=tmp_path / "file" / "report")
    assert len(fault.value.messages) == 1


@pytest.mark.parametrize("trial", ["exit", "freedom", "dose_ranging", "discontinuation", "source"])
def test_the_other_shipped_trials_have_a_report_too(trial, tmp_path):
    run(trial, tmp_path / "run", patients=14, layers=["patients", "residual"])
    page = Page(write_report(tmp_path / "run").read_text(encoding="utf-8"))
    assert page.stack == []
    assert "Parameter uncertainty was switched off" in page.sections["uncertainty"]
    if trial == "freedom":
        assert "The trial ends with the treatment" in page.sections["after"]
    if trial == "source":  # an arm is never left out of the answer for want of words
        answer = page.sections["answer"]
        for words in ("Bone-targeted", "Marrow-limited", "Lymphocyte-sparing", "lymphocytes that carried drug"):
            assert words in answer
    if trial == "exit":
        assert "the switch at month 24" in page.sections["after"]


def test_a_typical_patient_run_says_so_and_still_reports(tmp_path):
    run("discontinuation", tmp_path / "run", patients=4, layers=[])
    page = Page(write_report(tmp_path / "run").read_text(encoding="utf-8"))
    assert "every patient is the typical patient" in page.sections["synopsis"]


def test_methods_asked_for_are_the_ones_reported(context):
    asked = {e.name: e.analysis for e in context.trial.changes}
    for name, method in context.endpoints.groupby("endpoint")["method"].first().items():
        words = {"MMRM": "MMRM, unstructured covariance", "median difference": "difference of medians"}
        assert words[asked[name]] == method
    assert list(context.endpoints.columns[: len(summaries.ENDPOINT_COLUMNS)]) == list(summaries.ENDPOINT_COLUMNS)


@pytest.mark.slow
@pytest.mark.parametrize("patients", [4, 7])
def test_a_trial_so_small_that_an_arm_is_hardly_seen_still_gets_its_report(tmp_path: Path, patients: int) -> None:
    run(replace(load_trial("modality"), uncertainty_draws=3), tmp_path / "run", patients=patients)
    text = write_report(tmp_path / "run").read_text(encoding="utf-8")
    assert f"{patients} simulated patients" in text
    assert "nan%" not in text.lower()


def test_a_report_made_again_takes_no_file_of_the_user_with_it(small_run: Path, small_report: Path, tmp_path) -> None:
    shutil.copytree(small_report.parent, tmp_path / "report")
    notes = tmp_path / "report" / "tables" / "notes.txt"
    notes.write_text("mine", encoding="utf-8")
    with pytest.raises(BadInput, match=r"notes\.txt"):
        write_report(small_run, out=tmp_path / "report")
    assert notes.read_text(encoding="utf-8") == "mine"


def test_the_report_prints_the_potency_that_the_share_of_srankl_means(small_run: Path, small_report: Path) -> None:
    said = potency_in_words(open_run(small_run).parameters.frame["value"].to_dict())
    assert "potency of one free sRANKL molecule over one free mRANKL molecule" in said
    assert said in small_report.read_text(encoding="utf-8")


def test_only_tables_of_patients_bear_the_analysis_set(small_report: Path) -> None:
    text = small_report.read_text(encoding="utf-8")
    captions = re.findall(r'<span class="number">Table ([\d.]+)</span>(.*?)</caption>', text, re.DOTALL)
    of_nobody = {number for number, caption in captions if "Full analysis set" not in caption}
    assert {number for number, _ in captions if number.startswith("16.")} <= of_nobody
    assert not of_nobody & {"9.1", "14.1.1", "14.1.2", "14.1.3", "14.2.1.1"}
    assert all("typical patient" in caption for number, caption in captions if number.startswith("14.2.7."))


def test_treatment_that_goes_on_is_no_durability_and_every_arm_tells_its_highest_ctx(tmp_path):
    """All arms of `exit` leave denosumab, one of them for nothing: the others show what a further treatment keeps."""
    c = Context(open_run(run(replace(load_trial("exit"), uncertainty_draws=0), tmp_path / "run", patients=32).folder))
    stops = c.by_name["nothing"].label
    assert [arm.label for arm in c.arms if not c.goes_on(arm)] == [stops]
    sections = {section.anchor: section for section in compose(c)}
    (found,) = (
        e for section in sections.values() for e in section.exhibits if (e.kind, e.number) == ("Table", LASTING)
    )
    assert found.footnote.startswith("Arms that are treated further show what that treatment keeps, not durability.")
    place = [plain(column.head) for column in found.table.columns].index("Note")
    for group in found.table.groups:
        for row in group.rows:
            note = plain(row.cells[place - len(found.table.columns)].text)
            label = next(text for cell in row.cells if (text := plain(cell.text)) in [arm.label for arm in c.arms])
            assert note.startswith("Treated further: no durability.") == (label != stops), (label, note)
    answer = " ".join(plain(text) for text in sections["answer"].key)
    highest = answer[answer.index("median CTX reached") :]
    assert highest.count("%") == len(c.arms)
    assert "rebound" not in answer


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.98, 1.01, "as much bone"),
        (-0.05, 0.07, "next to no bone"),
        (0.3, 0.95, "less bone"),
        (1.02, 1.3, "more bone"),
        (0.7, 1.2, "perhaps less, perhaps more bone"),
    ],
)
def test_the_answer_calls_a_gain_by_its_whole_expected_range(low, high, said):
    assert beside(low, high, "bone") == said


@pytest.mark.parametrize(
    ("share", "said"),
    [(0.95, "as high a rebound"), (-0.2, "no rebound"), (0.5, "a smaller rebound"), (1.5, "a higher rebound")],
)
def test_the_answer_calls_a_rebound_by_its_share_of_the_known_one(share, said):
    assert rebound(share) == said


def test_the_answer_begins_with_what_is_expected_in_words(page, context):
    text, key = page.sections["answer"], key_results(context).set_index(["panel", "arm"])
    gain, peak = (key.loc[(panel, "denosumab"), "unknown_median"] for panel in ("gain", "rebound"))
    for arm in ("mrankl", "srankl"):
        share = [1 + key.loc[("known", arm), f"structure_{end}"] / gain for end in ("low", "high")]
        words = rebound((key.loc[("rebound", arm), "unknown_median"] - 100) / (peak - 100))
        assert f"{short(context, context.by_name[arm])} {beside(*share, 'bone')}" in text
        assert words in text.split(". From baseline")[0]
    assert "allow a difference of 10% of what is expected of Denosumab" in text


TRIALS = {
    "dose_ranging": [
        r"^Expected beside Denosumab 14, 60 and 210: mRANKL-selective 14, 60 and 210 .*bone, .*suppression of CTX\.",
        r"to month 12 lumbar spine BMD changed by",
        r"to month 6 serum CTX changed by",
    ],
    "exit": [r"^Expected change, highest first, in total hip BMD from month 24 to month 48: "],
    "discontinuation": [
        r"^Expected of Denosumab 60 mg Q6M, then off, minus Placebo: lumbar spine BMD \d",
        r"total hip BMD −\d\.\d to −\d\.\d points from month 24 to month 36; highest CTX after treatment 1",
        r"From month 24 to month 36 total hip BMD changed by",
    ],
    "freedom": [
        r"Expected of Denosumab [^:]*: lumbar spine BMD [^;]*; serum CTX −",
        r"to month 1 serum CTX changed by",
    ],
}


@pytest.mark.parametrize("trial", TRIALS)
def test_the_answer_tells_bone_and_turnover_and_begins_with_what_is_expected(trial, tmp_path):
    c = Context(open_run(run(replace(load_trial(trial), uncertainty_draws=3), tmp_path / "run", patients=28).folder))
    first = compose(c, brief=True)[0]
    said = " ".join(plain(text) for text in first.key)
    assert len(said.split()) <= 120
    for words in TRIALS[trial]:
        assert re.search(words, said if not words.startswith("^") else plain(first.key[0])), said
    if trial == "exit":  # the order is that of the medians over the draws
        order = re.findall(r"Denosumab, then ([\w-]+)\)", plain(first.key[0]))
        expected = c.by_draw(c.primary).query("draw != 0").groupby("arm")["value"].median().sort_values()
        assert order == [c.by_name[arm].label.split()[-1] for arm in expected.index[::-1]]


def test_an_arm_is_told_beside_the_known_one_of_the_same_doses(tmp_path):
    c = Context(open_run(run(load_trial("dose_ranging"), tmp_path / "run", patients=14, layers=["patients"]).folder))
    pairs = {arm.name: known.name for arm in c.arms if arm.basis == "predicted" and (known := counterpart(c, arm))}
    assert pairs == {f"mrankl{dose}": f"dmab{dose}" for dose in (14, 60, 210)}
