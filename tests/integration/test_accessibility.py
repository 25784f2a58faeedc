"""No page that the project writes has a violation that axe-core knows; Evidently's report is another project's page and left out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.browser import browser as browser
from support.browser import needs_browser, violations
from support.hostile_pages import PAGES, a_decision_page

# What scrolls depends on the width alone, contrast on the scheme alone.
LOOKS = (("light", 1280), ("dark", 390))

pytestmark = [pytest.mark.timeout(120), needs_browser]


@pytest.fixture(scope="module")
def window(browser: Any) -> Any:
    """One window, in which each page is opened."""
    return browser.new_page()


@pytest.mark.parametrize("make", [*PAGES, a_decision_page], ids=lambda make: make.__name__)
def test_a_written_page_has_no_violation(window: Any, tmp_path: Path, make: Callable[[str], str]) -> None:
    file = tmp_path / "page.html"
    file.write_text(make("humid"), encoding="utf-8")
    window.goto(file.as_uri())

    found = {}
    for scheme, width in LOOKS:
        window.emulate_media(color_scheme=scheme)
        window.set_viewport_size({"width": width, "height": 844})
        found[scheme, width] = violations(window)
    assert {look: said for look, said in found.items() if said} == {}
