"""The report in a real browser: accessible by axe-core's rules, usable from the keyboard, no wider than its window.

Chromium is taken from the system (``apt-get install chromium``) or from ``playwright install chromium``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.slow


@pytest.fixture
def page(browser: Browser, small_report: Path) -> Iterator[Page]:
    opened = browser.new_page(viewport={"width": 1300, "height": 900})
    opened.goto(small_report.as_uri())
    yield opened
    opened.close()


def test_axe_finds_nothing_that_keeps_people_out(page):
    found = Axe().run(page, options={"resultTypes": ["violations"]})
    said = [f"{v['id']}: {v['help']}: {v['nodes'][0]['html'][:160]}" for v in found.response["violations"]]
    assert said == []


@pytest.mark.parametrize("width", [1300, 800, 390])
def test_the_page_is_no_wider_than_its_window_with_every_table_open(page, width):
    page.set_viewport_size({"width": width, "height": 900})
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_first_tab_leads_past_the_contents_and_what_has_the_focus_is_seen(page):
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the answer"
    box = page.locator(":focus").bounding_box()
    assert box is not None
    assert box["x"] >= 0
    page.keyboard.press("Enter")
    assert page.url.endswith("#answer")
    for _ in range(6):
        page.keyboard.press("Tab")
        style = page.evaluate(
            "(() => { const s = getComputedStyle(document.activeElement); return [s.outlineStyle, s.outlineWidth] })()"
        )
        assert style[0] != "none"
        assert float(style[1].removesuffix("px")) >= 1


def test_landmarks_and_language_are_there_for_a_screen_reader(page):
    assert page.evaluate("document.documentElement.lang") == "en"
    for role in ("banner", "navigation", "main", "contentinfo"):
        assert page.get_by_role(role).count() == 1, role  # type: ignore[arg-type]
    assert page.get_by_role("heading", level=1).count() == 1
    unnamed = page.evaluate("[...document.querySelectorAll('svg')].filter(s => !s.getAttribute('aria-label')).length")
    assert unnamed == 0


@pytest.mark.parametrize(("width", "height"), [(1300, 900), (800, 900)])
def test_question_answer_and_figure_stand_on_the_first_screen(page, width, height):
    page.set_viewport_size({"width": width, "height": height})
    box = page.locator("#figure-2-1 svg").bounding_box()
    assert box is not None
    assert box["y"] + box["height"] <= height
    assert page.locator("nav ol").is_visible() == (width >= 1000)


def test_a_link_into_a_closed_appendix_opens_it(page):
    page.locator('nav a[href="#assumptions"]').click()
    page.locator("#assumptions summary").click()
    assert page.locator("#assumptions table").first.is_visible()


def test_in_print_the_core_has_at_most_eight_pages_and_closed_appendices_are_left_out(page):
    page.emulate_media(media="print")
    shown = "[...document.querySelectorAll('table')].filter(t => t.getBoundingClientRect().height > 0).length"
    core = page.locator("section:not(.behind) table").count()
    assert page.evaluate(shown) == core > 5
    pdf = page.pdf(format="A4", prefer_css_page_size=True)
    assert 1 < len(re.findall(rb"/Type\s*/Page\b(?!s)", pdf)) <= 8
