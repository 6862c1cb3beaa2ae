"""The report in a real browser: accessible by axe-core's rules, usable from the keyboard, no wider than its window.

Chromium is taken from the system (``apt-get install chromium``) or from ``playwright install chromium``.
"""

from __future__ import annotations

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
    assert page.evaluate("document.activeElement.textContent") == "Skip to the synopsis"
    box = page.locator(":focus").bounding_box()
    assert box is not None
    assert box["x"] >= 0
    page.keyboard.press("Enter")
    assert page.url.endswith("#synopsis")
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


def test_in_print_every_folded_table_is_open_and_the_pages_are_made(page):
    page.emulate_media(media="print")
    tables = "[...document.querySelectorAll('details:not([open]) table')]"
    closed = page.evaluate(f"{tables}.filter(t => t.getBoundingClientRect().height === 0).length")
    assert closed == 0
    assert page.pdf(format="A4").startswith(b"%PDF-")
