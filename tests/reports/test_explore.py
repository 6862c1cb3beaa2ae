"""`ranklsim explore`: answers, the texts that repeat them, the server, and the page in a real browser."""

from __future__ import annotations

import errno
import http.client
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import pandas as pd
import pytest
from axe_playwright_python.sync_playwright import Axe
from helpers import said
from playwright.sync_api import Browser, Page

import ranklsim
from ranklsim.pkpd.dosing import parse_regimen
from ranklsim.pkpd.errors import BadInput
from ranklsim.pkpd.parameters import load_parameters
from ranklsim.reports.cli import shared
from ranklsim.reports.explore import export, page, serve, texts
from ranklsim.reports.explore.course import Asked, cohort, course, difference, fracture_risk, read_query
from ranklsim.reports.explore.serve import Server, open_server

FEW = 3  # vectors of a band, where the band is not looked at
Q6M = "denosumab 60mg every 6mo for 36mo"


def asked(regimen: str = Q6M, **more: object) -> str:
    return urlencode({"r": regimen, **more})


# --- answers ---


def test_a_curve_is_what_simulate_gives() -> None:
    text = "denosumab 60mg every 6mo x2, zoledronate 5mg every 12mo x1"
    got = course(Asked(text, 36, (("sig", 0.3),)), FEW)
    want = ranklsim.simulate(text, follow="12 mo", parameters={"sig": 0.3}, draws=FEW, rtol=1e-5).set_index("month")
    assert got["until"] == 36
    month = np.array(got["months"])
    whole = month == np.round(month)
    for name in ("BMD_LS_pct", "BMD_TH_pct", "CTX_pct", "P1NP_pct", "OCC_mRANKL", "OCC_mRANKL_marrow"):
        for row, end in zip(got["curves"][name], ("", "_low", "_high"), strict=True):
            assert np.array(row)[whole] == pytest.approx(want[name + end].to_numpy(), rel=1e-5, abs=1e-5), name + end


def test_a_band_holds_the_middle_ninety_percent_of_the_ensemble() -> None:
    low, high = (np.array(course(Asked(Q6M, 36), 100)["curves"]["BMD_LS_pct"][k]) for k in (1, 2))
    drawn = ranklsim.sweep([Q6M], of=["BMD_LS_pct"], draws=100, at=[36], follow="0 mo")
    assert (low <= high).all()
    assert (low[-1], high[-1]) == pytest.approx(tuple(drawn.iloc[-1][["low", "high"]]), abs=1e-4)


def test_a_difference_has_the_interval_of_pairs() -> None:
    asked = Asked(Q6M, 36, against="mrankl-selective 60mg every 6mo for 36mo")
    got = difference(asked, 40)
    mine, others = (course(Asked(text, 36), 40) for text in (asked.regimen, asked.against))
    whole = np.isin(mine["months"], got["months"])
    for name in ("BMD_LS_pct", "CTX_pct", "RISK_hip"):
        low, high = (np.array(got["curves"][name][k]) for k in (1, 2))
        apart = [np.array(each["curves"][name])[:, whole] for each in (mine, others)]
        assert np.array(got["curves"][name][0]) == pytest.approx(apart[0][0] - apart[1][0], abs=2e-4), name
        assert (low <= high).all()
        wide = sum(end[2] - end[1] for end in apart)
        assert ((high - low)[1:] <= wide[1:] * 1.5 + 1e-9).all(), name
    assert np.array(difference(Asked(Q6M, 36, against=Q6M), 5)["curves"]["CTX_pct"]) == pytest.approx(0)


def test_published_figures_stand_where_the_doses_until_then_were_the_same() -> None:
    four = course(Asked("denosumab 60mg every 6mo x4", 48), FEW)["published"]
    six = course(Asked("denosumab 60mg every 6mo x6", 48), FEW)["published"]
    of_defend = [{p["month"] for p in points if p["study"] == "DEFEND"} for points in (four, six)]
    assert max(of_defend[0]) == 48  # stopped after four doses, as on the page
    assert max(of_defend[1]) == 24  # the same as long as DEFEND's women were treated
    assert any(p["study"] == "FREEDOM" and p["month"] == 36 for p in six)
    assert course(Asked("mrankl-selective 60mg every 6mo x4", 48), FEW)["published"] == []


def test_the_risk_of_a_fracture_under_a_constant_hazard_is_its_closed_form() -> None:
    table = load_parameters()
    months = np.arange(0, 60.5, 0.5)
    latent = {name: np.full((1, months.size), value) for name, value in
              (("CTX", table["CTX_ref"]), ("BMD_LS", 0.8), ("BMD_TH", 0.7))}  # fmt: skip
    risk = fracture_risk(table, months, latent)["RISK_hip"][0, -1]
    T = (0.7 - table["REF_TH"]) / table["REFSD_TH"]
    first = table["level_hip"] * np.exp(table["age_hip"] * (table["AGE"] - table["age_ref"]))
    first *= table["BMD_hip"] ** (table["T_ref_TH"] - T)
    total = first * np.expm1(5 * table["age_hip"]) / table["age_hip"]
    assert risk == pytest.approx(100 * -np.expm1(-total), rel=0.01)


@pytest.mark.parametrize(
    "query, words",
    [
        ("", "it is empty"),
        (asked("denosumb 60mg every 6mo x2"), "did you mean 'denosumab'"),
        (asked(m="ten"), 'months: "ten" is not a number'),
        (asked(m="1e9"), "is not from 1 to 240"),
        (asked(at="nan"), 'at: "nan" is not a number'),
        (asked(set="sig:9"), "sig = 9 is outside its range"),
        (asked(set="sgi:0.1"), "unknown parameter 'sgi'"),
        (asked(set="sig:0.1") + "&set=sig:0.2", "given twice"),
        (asked() + "&r=placebo", "r is given twice"),
        (asked(pop="everybody"), "unknown population"),
        (asked(colour="red"), 'unknown name "colour"'),
        (asked("denosumab 60mg every 6mo x4, " * 60), "give at most 1000"),
        (asked("denosumab 60mg every 24mo x11"), "the page shows 240 mo at most"),
        (asked("x" * 100_000), "give at most 20000"),
        ("r=%ff%fe", "in UTF-8"),
        ("&".join(f"set=a{k}:1" for k in range(99)), "more than 40 settings"),
    ],
)
def test_a_request_that_cannot_be_used_is_refused_in_a_sentence(query: str, words: str) -> None:
    with pytest.raises(BadInput, match=re.escape(words)) as fault:
        course(read_query(query), FEW)
    assert all(len(message) < 400 and message.endswith((".", "?")) for message in fault.value.messages)


def test_a_regimen_reads_back_from_the_arm_of_the_trial_file() -> None:
    text = (
        "denosumab 1mg/kg up to 70mg every 4wk x3, nothing 5mo, alendronate 70mg every 1wk for 3mo, zoledronate 5mg x1"
    )
    regimens = parse_regimen(text)
    arms = [
        texts.arm("A", 'with "marks" \\ and µ', regimens),
        texts.arm("B", "b", parse_regimen("placebo every 6mo x2")),
    ]
    trial = texts.load(texts.trial(arms, 24, 12.5, "low-bone-mass", "BMD_TH", -1.5))
    assert [vars(part) for part in trial.arms[0].regimens] == [
        pytest.approx(vars(part)) if part.agent else part for part in regimens
    ]  # fmt: skip
    assert 12.5 in trial.visits.months


@pytest.mark.slow
def test_the_women_of_the_page_are_those_of_the_trial_that_it_gives(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(texts, "PATIENTS", 200)
    one, other = "denosumab 60mg every 6mo x2", "placebo every 6mo x2"
    arms = [texts.arm(name, name, parse_regimen(text)) for name, text in (("A", one), ("B", other))]
    path = tmp_path / "explore.toml"
    path.write_text(texts.trial(arms, 12, 12.0, "postmenopausal-osteoporosis", "BMD_LS", 3.0), encoding="utf-8")
    run = ranklsim.run(path, tmp_path / "run", parameters={"sig": 0.3})
    (truth,) = ranklsim.analyse(run).estimands["truth"]
    settings = (("sig", 0.3),)
    shares = [
        np.mean(np.array(cohort(Asked(text, 12, settings, at=12.0))["BMD_LS_pct"]) >= 3.0) for text in (one, other)
    ]
    assert truth == pytest.approx(shares[1] - shares[0], abs=1e-12)


# --- the server ---


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(texts, "PATIENTS", 200)
        with open_server("127.0.0.1", 0, page.page(page.config(draws=20)), 20) as made:
            threading.Thread(target=made.serve_forever, daemon=True).start()
            yield made
            made.shutdown()


def answer(server: Server, path: str, **headers: str) -> tuple[int, str]:
    link = http.client.HTTPConnection(*server.server_address[:2], timeout=60)
    link.request("GET", path, headers=headers)
    reply = link.getresponse()
    text = reply.read().decode()
    link.close()
    return reply.status, text


def test_the_server_lives_on_whatever_it_is_asked(server) -> None:
    for path, status in (
        ("/course?r=nonsense", 400), ("/course?" + "a" * 30_000, 400), ("/../../etc/passwd", 404),
        ("/cohort?r=denosumab+60mg+x1&at=-4", 400), ("/" + "b" * 70_000, 414),
    ):  # fmt: skip
        assert answer(server, path)[0] == status, path[:40]
    assert answer(server, "/")[0] == 200


def test_a_page_of_another_site_that_points_its_name_here_is_refused(server) -> None:
    for name in ("evil.example", "[", ""):
        assert answer(server, "/", Host=name)[0] == 403
    assert answer(server, "/", Host=f"localhost:{server.server_address[1]}")[0] == 200


def test_only_an_address_that_others_reach_is_open_to_them(server) -> None:
    assert server.is_private
    with open_server("0.0.0.0", 0, "", FEW) as public:
        assert not public.is_private


def test_two_users_at_once_get_their_own_answers(server) -> None:
    mine: dict[str, list[float]] = {}

    def ask(regimen: str) -> None:
        mine[regimen] = json.loads(answer(server, "/course?" + asked(regimen))[1])["curves"]["BMD_LS_pct"][0]

    users = [threading.Thread(target=ask, args=(f"denosumab {mg}mg every 6mo x4",)) for mg in (15, 30, 60, 120)]
    for user in users:
        user.start()
    for user in users:
        user.join()
    gains = [max(mine[f"denosumab {mg}mg every 6mo x4"]) for mg in (15, 30, 60, 120)]
    assert gains == sorted(gains)
    assert len(set(gains)) == 4


def test_an_internal_error_is_a_sentence_and_the_server_lives_on(server, monkeypatch, capsys) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("by mistake")

    monkeypatch.setattr(serve, "course", broken)
    status, text = answer(server, "/course?" + asked())
    assert status == 500
    assert json.loads(text)["faults"] == ["internal error of ranklsim (ZeroDivisionError); the terminal shows more."]
    assert "by mistake" in capsys.readouterr().err
    assert answer(server, "/")[0] == 200


@pytest.mark.parametrize(
    "words, sentence",
    [
        (("--port", "{taken}"), "--port: {taken} is taken on 127.0.0.1; give another, or 0 for any that is free."),
        (("--port", "70000"), "--port: 70000 is no port; give one from 0 to 65535."),
        (("--port", "0", "--host", "192.0.2.7"), "--host: '192.0.2.7' is no address of this machine; give 127.0.0.1, "
                                                "or leave it out."),
        (("--draws", "5000"), "--draws: 5000, but the ensemble holds 1000 vectors; give at most that."),
        (("placebo",) * 5, "there are 5 regimens; give at most 4."),
        (("denosumab 60mg every 6mo",), "denosumab every 6mo has no end; say how many doses, as in x4, or 'for 24mo'."),
        (("--export", "x.html", "--vary", "sgi"), "--vary: unknown parameter 'sgi'; did you mean 'sig'?"),
        (("--export", "x.pdf"), "--export: x.pdf does not end in .html; the page is one HTML file."),
    ],
)  # fmt: skip
def test_the_verb_refuses_what_it_cannot_use(words, sentence, server, capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    taken = server.server_address[1]
    code, out, err = said(capsys, "explore", *(word.format(taken=taken) for word in words))
    assert code == 2
    assert out == []
    assert sentence.format(taken=taken) in " ".join(err)
    assert list(tmp_path.iterdir()) == []


# --- the file ---


@pytest.fixture
def small_grid(monkeypatch) -> None:
    monkeypatch.setattr(shared, "BETWEEN_LINES", float("inf"))  # however slow the machine is
    for name, value in (("FACTORS", (0.5, 1.0)), ("EVERY", ("6mo",)), ("LENGTHS", (12, 36)), ("LEVELS", (1.0,))):
        monkeypatch.setattr(export, name, value)


def test_a_broken_agent_file_that_nobody_names_is_left_out_and_work_without_a_terminal_tells_how_far_it_is(
    small_grid, tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shared, "BETWEEN_LINES", 0.0)
    monkeypatch.setattr(export, "_women", lambda _: {})
    (tmp_path / "abc.toml").write_text('label = "ABC"\nlike = "denosumab"\n')
    code, out, err = said(capsys, "explore", "placebo every 6mo for 12mo", "--export", "page.html", "--draws", "3")
    assert (code, out) == (0, ["page.html"])
    assert err[0].startswith("warning: abc.toml: ")
    assert err[0].endswith("The agent 'abc' is left out.")
    assert all(re.fullmatch(r"\d+% of \d+ patients, about \d+ s left", line) for line in err[1:])
    assert len(err) > 2
    code, _, err = said(capsys, "explore", "abc 60mg every 6mo for 12mo", "--export", "other.html", "--draws", "3")
    assert (code, len(err)) == (2, 1)


@pytest.mark.slow
def test_a_file_holds_what_the_page_would_answer(small_grid, tmp_path, monkeypatch, capsys, browser) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = said(capsys, "explore", Q6M, "--export", "page.html", "--draws", "3")
    assert (code, out, err) == (0, ["page.html"], [])
    seen = browser.new_page()
    faults: list[str] = []
    seen.on("pageerror", lambda fault: faults.append(str(fault)))
    seen.on(
        "request",
        lambda request: faults.append(request.url) if not request.url.startswith(("file:", "data:", "blob:")) else None,
    )
    seen.goto((tmp_path / "page.html").as_uri())
    seen.wait_for_selector("#shares tbody tr")
    got = course(Asked("denosumab 30mg every 6mo for 36mo", 60), 3)["curves"]["BMD_LS_pct"][0]
    seen.get_by_role("slider", name="Dose").first.press("ArrowLeft")
    seen.wait_for_selector("text=Denosumab 30 mg Q6M × 6")
    value = got[course(Asked("denosumab 30mg every 6mo for 36mo", 60), 3)["months"].index(36)]
    assert f"{value:.1f} (" in seen.inner_text("#now")
    seen.get_by_role("slider", name="sig: share").press("ArrowRight")
    seen.wait_for_selector("#cohort.empty")
    seen.get_by_label(re.compile("^then")).select_option(index=1)
    seen.wait_for_selector("text=Zoledronate 5 mg once")
    assert seen.inner_text("#fault") == ""
    assert faults == []
    seen.close()


def test_a_full_disk_leaves_no_file_and_a_sentence(small_grid, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(export, "LENGTHS", (12,))

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", full)
    monkeypatch.setattr(export, "_women", lambda _: {})
    code, out, err = said(capsys, "explore", "placebo every 6mo for 12mo", "--export", "page.html", "--draws", "3")
    assert (code, out) == (1, [])
    assert err == ["page.html: no space left on the disk; free some space, or give another path."]
    assert list(tmp_path.iterdir()) == []


# --- the page ---


@pytest.fixture
def seen(browser: Browser, server: Server) -> Iterator[Page]:
    opened = browser.new_page(viewport={"width": 1300, "height": 900})
    faults: list[str] = []
    opened.on("pageerror", lambda fault: faults.append(str(fault)))
    opened.goto(server.address)
    opened.wait_for_selector("#shares tbody tr")
    yield opened
    opened.close()
    assert faults == []


@pytest.mark.slow
@pytest.mark.parametrize("width", [1300, 800, 390])
def test_axe_finds_nothing_that_keeps_people_out_and_the_page_fits_its_window(seen, width) -> None:
    seen.set_viewport_size({"width": width, "height": 900})
    seen.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
    assert seen.evaluate("document.documentElement.scrollWidth") <= width
    if width >= 800:  # no table is cut
        wide = "[...document.querySelectorAll('.scroll')].filter(box => box.scrollWidth > box.clientWidth).length"
        assert seen.evaluate(wide) == 0
        one_line = "s => { const r = new Range(); r.selectNodeContents(s); return r.getClientRects().length === 1 }"
        assert seen.evaluate(f"[...document.querySelectorAll('#numbers td span')].every({one_line})")
    names = seen.locator("#unknowns label.slider > span:first-child").all_inner_texts()
    assert "share of sRANKL in the resting osteoclastogenic signal sig" in names, "words with the symbol beside them"
    found = Axe().run(seen, options={"resultTypes": ["violations"]})
    said = [f"{v['id']}: {v['help']}: {v['nodes'][0]['html'][:160]}" for v in found.response["violations"]]
    assert said == []


@pytest.mark.slow
def test_a_slider_moves_by_the_keyboard_and_the_answer_is_said(seen) -> None:
    before = seen.inner_text("#now")
    dose = seen.get_by_role("slider", name="Dose").first
    dose.press("ArrowLeft")
    assert dose.get_attribute("aria-valuetext") == "54 mg"
    seen.wait_for_selector("#now >> text=Denosumab 54 mg Q6M × 6")
    assert seen.inner_text("#now") != before
    seen.wait_for_selector("#status >> text=Denosumab 54 mg Q6M × 6: spine", state="attached")
    assert "denosumab+54mg" in seen.url
    assert dose.evaluate("e => e === document.activeElement")


def write_regimen(seen: Page, name: str, text: str) -> None:
    """Write a regimen as text into its card, and wait for the answer."""
    seen.evaluate("document.querySelectorAll('.card').forEach(d => { d.open = true })")
    seen.locator("#regimens textarea").nth("ABCD".index(name)).fill(text)
    seen.keyboard.press("Tab")
    seen.wait_for_selector("body:not(.busy)")
    seen.wait_for_selector("#cohort[aria-busy=false]", state="attached")


@pytest.mark.slow
def test_a_new_regimen_is_another_one_and_in_sight_and_the_greatest_number_of_regimens_is_told(seen) -> None:
    add = seen.get_by_role("button", name="Add a regimen")
    for name in "CD":
        assert seen.inner_text("#most") == ""
        add.click()
        card = seen.locator("#regimens .card").last
        top, bottom = card.evaluate("c => { const b = c.getBoundingClientRect(); return [b.top, b.bottom] }")
        assert 0 <= top < bottom <= 900
        assert card.locator("select").first.evaluate("e => e === document.activeElement")
        assert seen.inner_text("#status").startswith(f"Regimen {name} is new: ")
    texts = [box.input_value() for box in seen.locator("#regimens textarea").all()]
    assert len(set(texts)) == 4
    assert add.is_disabled()
    assert seen.inner_text("#most") == "The page shows 4 regimens at most; remove one to add another."


@pytest.mark.slow
def test_the_controls_of_a_sequence_stay_inside_their_card_and_a_treatment_is_removed_again(seen) -> None:
    for width in (1300, 800):
        seen.set_viewport_size({"width": width, "height": 900})
        seen.get_by_role("button", name="Then… add a treatment after regimen A").click()
        for control in seen.locator("#regimens .card").first.locator("fieldset select, fieldset button").all():
            edges = "e => [e.getBoundingClientRect().right, e.closest('.card').getBoundingClientRect().right]"
            right, edge = control.evaluate(edges)
            assert right < edge
        seen.get_by_role("button", name="Remove part 2 of regimen A").click()
        assert seen.locator("#regimens textarea").first.input_value() == "denosumab 60mg every 6mo for 36mo"


@pytest.mark.slow
def test_what_an_error_leaves_without_an_answer_is_not_shown(seen) -> None:
    write_regimen(seen, "A", "denosumb 60mg every 6mo x4")
    assert seen.inner_text("#fault").startswith("A: regimen: unknown agent 'denosumb'")
    for table in ("#now", "#shares"):
        rows = seen.locator(f"{table} tbody tr").all_inner_texts()
        assert [row[0] for row in rows] == ["B"], table
    assert set(seen.locator("#numbers tbody .key").all_inner_texts()) == {"B"}
    assert 'name    = "A"' not in seen.inner_text("#text-trial")
    seen.locator("#text-python").scroll_into_view_if_needed()
    assert 0 <= seen.locator("#fault").bounding_box()["y"] < 900, "the error stays in sight"
    write_regimen(seen, "B", "denosumb 60mg every 6mo x4")
    assert seen.locator("#fault p").count() == 1, "what both have in common is said once"
    assert not any(part.is_visible() for part in seen.locator("main > section").all())
    write_regimen(seen, "A", "denosumab 60mg every 6mo x4")
    assert seen.inner_text("#fault").startswith("B: ")
    assert [row[0] for row in seen.locator("#now tbody tr").all_inner_texts()] == ["A"]


@pytest.mark.slow
def test_of_curves_that_coincide_none_hides_another(seen) -> None:
    def dashes(of: str) -> list[str]:
        return [line.get_attribute("stroke-dasharray") for line in seen.locator(f"#chart-{of} path[fill=none]").all()]

    assert seen.inner_text("#alike-note").startswith("A and B have nearly the same curve")
    seen.get_by_role("button", name="Copy regimen A").click()
    seen.wait_for_selector("#shares tbody tr:nth-child(3)")
    assert dashes("CTX_pct") == ["", "12 24", "12 24"]  # each is seen along a third
    write_regimen(seen, "B", "placebo every 6mo x2")
    write_regimen(seen, "C", "zoledronate 5mg x1")
    assert dashes("CTX_pct") == ["", "6 6", "2 5"]


@pytest.mark.slow
def test_a_link_restores_the_page(seen, browser) -> None:
    seen.get_by_role("button", name="Add a regimen").click()
    seen.get_by_text("The biology").click()
    seen.get_by_role("slider", name="sig: share").press("End")
    seen.get_by_role("slider", name="Month read off").press("Home")
    seen.get_by_role("slider", name="Month read off").press("PageUp")
    seen.wait_for_selector("#now tbody tr:nth-child(3)")
    seen.wait_for_selector("body:not(.busy)")
    again = browser.new_page()
    again.goto(seen.url)
    again.wait_for_selector("#now tbody tr:nth-child(3)")
    assert again.inner_text("#now") == seen.inner_text("#now")
    assert "sig,0.5" in again.inner_text("#text-command")
    again.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    "link, words",
    [
        ("v=2&r=placebo", "this link is of version 2, and this page reads version 1"),
        ("v=1&" + "&".join(["r=placebo"] * 100), "the link has 100 regimens; the first 4 are shown."),
        ("v=1&m=ten&at=1e99", 'the link has m = "ten", which is not a number from 12 to 240'),
        ("v=1&set=sig:high&pop=everybody", 'the link sets "sig:high", which is no parameter of this page'),
        ("v=1&r=" + "x" * 1_000_000, "A: regimen: the text has 1001 characters; give at most 1000."),
        ("v=1&r=denosumb+60mg+every+6mo+x4", "did you mean 'denosumab'"),
        ("v=1&r=<img src=x onerror=alert(1)>", '"<img src=x onerror=alert(1)>" does not begin with an agent'),
    ],
)
def test_a_link_that_cannot_be_used_is_told_in_a_sentence(browser, server, link, words) -> None:
    opened = browser.new_page()
    opened.goto(f"{server.address}#{link}")
    opened.wait_for_selector("#fault p")
    assert words in opened.inner_text("#fault")
    opened.get_by_role("button", name="Add a regimen").is_visible()
    opened.close()


@pytest.mark.slow
def test_what_the_page_lets_you_copy_gives_the_numbers_that_it_shows(seen, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    seen.get_by_text("The biology").click()
    seen.get_by_role("slider", name="sig: share").press("End")
    seen.wait_for_selector("#text-command >> text=sig,0.5")
    with seen.expect_download() as download:
        seen.get_by_role("button", name="Download every month as CSV").click()
    shown = pd.read_csv(download.value.path())
    env = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    (tmp_path / "ranklsim").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ranklsim "$@"\n', encoding="utf-8")
    (tmp_path / "ranklsim").chmod(0o755)
    subprocess.run(["sh", "-c", seen.inner_text("#text-command")], check=True, env=env, capture_output=True)
    for name, mine in shown.groupby("name"):
        table = pd.read_csv(tmp_path / f"{name}.csv")
        for column in set(mine) & set(table):
            assert table[column].to_numpy() == pytest.approx(mine[column].to_numpy(), rel=1e-5, abs=1e-5), column
        assert {"BMD_LS_pct_low", "CTX_pct_high", "OCC_mRANKL_marrow"} <= set(mine) & set(table)
    exec(compile(seen.inner_text("#text-python"), "copied", "exec"), {})
    printed = capsys.readouterr().out
    (row,) = shown.loc[(shown["name"] == "A") & (shown["month"] == 36), "BMD_LS_pct"]
    assert any(float(number) == pytest.approx(row, abs=1e-4) for number in re.findall(r"\d+\.\d+", printed))
    (tmp_path / "explore.toml").write_text(seen.inner_text("#text-trial"), encoding="utf-8")
    run = ranklsim.run("explore.toml", "run", parameters="settings.csv")
    (truth,) = ranklsim.analyse(run).estimands["truth"]
    shares = [float(text) for text in re.findall(r"^[AB]\s+([\d.]+)", seen.inner_text("#shares"), re.MULTILINE)]
    assert 100 * truth == pytest.approx(shares[1] - shares[0], abs=0.11)
