"""In no page that the project writes does a name, a category or a reason become more than text: in a real browser."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import uvicorn

from evermodel.core.errors import PermanentError
from evermodel.monitoring.drift.report import draw_report, save_report
from evermodel.reports.retrain.document import Bullets, Links, PageSection, PageTable, Paragraph, to_markdown
from support.airflow_runs import database
from support.browser import browser as browser
from support.browser import needs_browser
from support.hostile_pages import PAGES, a_decision_page
from support.models_page import ModelsPage
from support.small_spec import small_spec
from support.verdicts import a_column, a_verdict

RUN = "window.__ran=(window.__ran||0)+1"
EVIL = (
    f"seen</script><script>{RUN}</script><img src=x onerror={RUN}><svg onload={RUN}> {{{{7*7}}}} ${{{RUN}}} %{{text}} "
    f'</style><style>*{{background:url(http://evil.example/a)}}</style><a href="javascript:{RUN}">b</a>"onmouseover=\'{RUN}\' '
    f"--><iframe srcdoc='<script>parent.{RUN}</script>'></iframe>]]><base href=http://evil.example/>\u2028\u2029`'"
)
ADDRESS = f"javascript:{RUN}//"
# What the page's own scripts may not do either is told in the console and as an event.
WATCH = "addEventListener('securitypolicyviolation', e => console.error('CSP ' + e.violatedDirective + ' ' + e.blockedURI))"

pytestmark = [
    pytest.mark.timeout(300),
    needs_browser,
]


class Window:
    """A page in the browser, and all that it did beside being shown."""

    def __init__(self, browser: Any, address: str) -> None:
        self.asked: list[str] = []
        self.said: list[str] = []
        context = browser.new_context(viewport={"width": 1200, "height": 3000})
        context.add_init_script(WATCH)
        self.page = context.new_page()
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("dialog", lambda dialog: (self.said.append("dialog"), dialog.dismiss()))
        self.page.on("pageerror", lambda error: self.said.append(f"error: {error}"))
        self.page.on(
            "console", lambda message: self.said.append(message.text) if message.type == "error" else None
        )
        self.page.goto(address)

    def touch_everything(self) -> None:
        """Move the mouse over the page, as a reader does."""
        for y in range(40, 2400, 60):
            self.page.mouse.move(300 + y % 500, y)

    def assert_inert(self, own: str, shown: str = "seen</script>", *, quiet: tuple[str, ...] = ()) -> None:
        """Check that the page shows its data as text, and did nothing else.

        Parameters
        ----------
        own
            Beginning of the addresses that the page may ask for.
        quiet
            Beginnings of errors in the console that have other reasons.
        """
        self.page.wait_for_timeout(200)
        self.touch_everything()
        assert self.page.evaluate("window.__ran || 0") == 0
        assert [one for one in self.said if not one.startswith(quiet)] == []
        assert [one for one in self.asked if not one.startswith((own, "data:", "blob:"))] == []
        links = self.page.evaluate("[...document.querySelectorAll('[href]')].map(a => a.href)")
        assert [one for one in links if str(one).lower().startswith(("javascript", "data"))] == []
        assert (
            self.page.evaluate("document.querySelectorAll('iframe, base, [onerror], [onload]').length") == 0
        )
        text = self.page.evaluate("document.body.innerText")
        assert shown in text
        assert self.page.evaluate("document.body.getBoundingClientRect().height") > 100


@contextmanager
def listening(app: Any) -> Iterator[str]:
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.02)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)


def policy_of(page: str) -> str:
    found = re.search(r'<meta http-equiv="Content-Security-Policy" content="([^"]+)">', page)
    assert found, "the page has no content security policy"
    assert page.index("Content-Security-Policy") < page.index("<script") if "<script" in page else True
    return unescape(found[1])


@pytest.mark.parametrize("made", [*PAGES, a_decision_page])
def test_files_show_text_and_run_nothing(browser: Any, tmp_path: Path, made: Callable[[str], str]) -> None:
    page = tmp_path / "page.html"
    page.write_text(made(EVIL), encoding="utf-8")
    assert policy_of(page.read_text()).startswith("default-src 'none'; style-src")

    Window(browser, page.as_uri()).assert_inert(page.as_uri())


@pytest.mark.parametrize("made", PAGES)
def test_an_address_of_a_script_is_no_link(browser: Any, tmp_path: Path, made: Callable[[str], str]) -> None:
    page = tmp_path / "page.html"
    page.write_text(made(ADDRESS), encoding="utf-8")

    Window(browser, page.as_uri()).assert_inert(page.as_uri(), ADDRESS)


PANEL = "[aria-label^='Detail panel']"  # opens the plots of a column


def evidently_report(folder: Path, evil: str) -> Path:
    def rows(count: int) -> pa.Table:
        numbers = np.random.default_rng(count).normal(size=count)
        return pa.table({evil: numbers, f"{evil}c": [evil, f"{evil} & 2"] * (count // 2)})

    columns = (
        a_column(column=evil, severity="critical", summary=evil, effect=0.3, threshold=0.1),
        a_column(column=f"{evil}c", kind="categorical", severity="warning", summary=evil),
        a_column(column=evil, what="correlation", severity="warning", summary=evil),
    )
    verdict = a_verdict(columns=columns, window_rows=150, reference_rows=400, reason=evil, model=evil)
    spec = small_spec(drift={"report_error": 0.1})
    return save_report(draw_report(spec, verdict, rows(400), rows(150)), folder)[0]


def test_the_report_of_evidently_draws_and_runs_only_its_own_scripts(browser: Any, tmp_path: Path) -> None:
    page = evidently_report(tmp_path, EVIL)
    text = page.read_text()
    policy = policy_of(text)
    assert "'unsafe-inline'" not in policy.partition("style-src")[0]
    assert policy.count("'sha256-") == text.count("</script>")

    window = Window(browser, page.as_uri())
    window.page.wait_for_selector(PANEL, timeout=60_000)
    for panel in window.page.query_selector_all(PANEL):
        panel.click()
    window.page.wait_for_selector(".js-plotly-plot .main-svg", timeout=60_000, state="attached")
    window.assert_inert(page.as_uri())


def test_a_report_in_another_form_is_not_written(tmp_path: Path) -> None:
    class Snapshot:
        def get_html_str(self, *, as_iframe: bool) -> str:
            return "<html><head></head><script>const data = {}</script></html>"

    with pytest.raises(PermanentError, match="another form"):
        save_report(Snapshot(), tmp_path)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelsPage:
    monkeypatch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS", "ada:admin")
    monkeypatch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE", str(tmp_path / "passwords.json"))
    database()
    from airflow.api_fastapi.app import create_auth_manager

    create_auth_manager()
    found = ModelsPage(tmp_path / "home")
    found.text = EVIL
    found.keep("churn")
    found.as_user("admin")
    overview = found.overview
    original = overview.model

    def with_everything(name: str) -> Any:
        summary, history = original(name)  # type: ignore[misc]
        incident = dict.fromkeys(("id", "kind", "reason", "cause"), EVIL)
        promotion = {**dict.fromkeys(("version", "reason", "by"), EVIL), "at": EVIL, "day": "2026-03-02"}
        rollout = {**dict.fromkeys(("strategy", "state", "version", "reason", "why"), EVIL), "run": "", "experiment": ""}  # fmt: skip
        return summary, replace(
            history,
            champions=[{"version": EVIL, "start": "2026-03-02", "end": "2026-03-02"}],
            incidents=[{**incident, "severity": "critical", "opened": "2026-03-02", "ended": EVIL}],
            promotions=[{**promotion, "kind": "rollback"}],
            rollouts=[{**rollout, "start": "2026-03-01T00:00:00+00:00", "end": "2026-03-02T00:00:00+00:00"}],
        )

    monkeypatch.setattr(overview, "model", with_everything)
    return found


@pytest.mark.parametrize("path", ["/evermodel/", "/evermodel/models/churn", "/evermodel/dags/retrain_churn"])
def test_the_models_page_shows_text_and_draws_its_charts(browser: Any, site: ModelsPage, path: str) -> None:
    with listening(site.client.app) as address:
        window = Window(browser, address + path)
        if path != "/evermodel/":
            window.page.wait_for_selector("#timeline .main-svg", timeout=60_000, state="attached")
            box = window.page.locator("#timeline").bounding_box()
            for across in range(0, int(box["width"]), 12):
                for share in (0.2, 0.6, 0.7, 0.8, 0.9):
                    window.page.mouse.move(box["x"] + across, box["y"] + share * box["height"])
        # Airflow's API is not there.
        window.assert_inert(address, quiet=("Failed to load resource",))
        assert window.page.locator(".hoverlayer a, .hoverlayer img, #timeline a").count() == 0


def test_a_link_out_of_the_frame_leads_to_a_page_only(browser: Any, site: ModelsPage) -> None:
    with listening(site.client.app) as address:
        window = Window(browser, f"{address}/evermodel/")
        window.page.evaluate(f"window.evermodel.leave('{ADDRESS}', true)")
        window.page.evaluate("window.evermodel.leave('data:text/html,x', true)")
        window.assert_inert(address, quiet=("Failed to load resource",))
        assert window.page.url.startswith(address)


def test_markdown_in_the_registry_holds_no_markup_of_the_data() -> None:
    links = Links({EVIL: ADDRESS, "run": f"https://x.example/{EVIL}", EVIL[:9]: "http://y.example/)[a](b"})
    parts = [Paragraph(EVIL), Bullets([EVIL]), PageTable((EVIL,), [(EVIL,)]), links]
    text = to_markdown(EVIL, [PageSection(EVIL, parts)])

    addresses = re.findall(r"\]\(<(.*?)>\)", text)
    assert [address[:10] for address in addresses] == ["https://x.", "http://y.e"]
    assert not any(set(address) & set("<>()[]\" '`\n") for address in addresses)
    rest = re.sub(r"\]\(<.*?>\)", "", text)
    assert "<" not in rest
    assert not re.search(r"(?<!\\)\[(?!run|seen)", rest)
