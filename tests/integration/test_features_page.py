"""Drift by feature as a person uses it, in a browser: no violation that axe-core knows, and no error."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from evermodel.cli.local_stack.ports import free_port
from evermodel.monitoring.drift.verdict import ColumnDrift
from evermodel.reports.overview.records import Record
from support.airflow_runs import claim_airflow_home, database
from support.browser import browser as browser
from support.browser import needs_browser, violations
from support.models_page import ModelsPage
from support.small_model import small_spec
from support.verdicts import a_column, a_verdict

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300), needs_browser]
MANY = 1000
DAYS = [f"2026-01-{day:02d}" for day in range(1, 31)]
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "phone": {**PHONE, "color_scheme": "dark"},
}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The Models page on a port, for an administrator; MLflow knows the verdict of each day."""
    claim_airflow_home()
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("home")
        patch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS", "ada:admin")
        patch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE", str(home / "passwords.json"))
        database()
        from airflow.api_fastapi.app import create_auth_manager

        create_auth_manager()
        page = ModelsPage(home)
        mlflow = ThreadingHTTPServer(("127.0.0.1", 0), _Verdicts)
        threading.Thread(target=mlflow.serve_forever, daemon=True).start()
        page.settings = page.settings.model_copy(
            update={"tracking_uri": f"http://127.0.0.1:{mlflow.server_port}", "models": home / "models"}
        )
        _write_specs(home / "models")
        page.text = "humid"
        page.keep("churn", columns=[["feature_0007", "feature", "PSI", 0.9, "critical"]])
        page.overview.store.keep_runs({"churn-2": "churn"}, map(_measured, DAYS))
        page.as_user("ADMIN")
        with _served(page.client.app) as url:
            yield f"{url}/evermodel"
        mlflow.shutdown()


def _write_specs(folder: Path) -> None:
    """Two models that read one file; the second has no run yet."""
    folder.mkdir()
    features = {"numeric": ["feature_0007", "amount"], "categorical": ["carrier"]}
    notes = {"feature_0007": {"description": "Days since the <last> visit", "owner": "web"}}
    for name in ("churn", "upsell"):
        spec = small_spec("/data/visits.parquet", name=name, features=features, documentation=notes)
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(spec.canonical()))


class _Verdicts(BaseHTTPRequestHandler):
    """What MLflow answers to a request for a verdict; anything else is unavailable."""

    def do_GET(self) -> None:
        found = self.path.startswith("/get-artifact")
        pair = a_column(column="feature_0007 ~ amount", what="correlation", severity="warning", bins=())
        columns: tuple[ColumnDrift, ...] = (a_column(column="feature_0007"), pair, a_column(column="other"))
        body = json.dumps(a_verdict(columns=columns).to_json()).encode()
        self.send_response(200 if found else 503)
        self.end_headers()
        self.wfile.write(body if found else b"{}")

    do_POST = do_GET

    def log_message(self, *said: Any) -> None:
        """Say nothing."""


def _measured(day: str) -> Record:
    effects = {f"feature_{n:04d}": [0.001 * (n % 90), 0.1, 0.0] for n in range(MANY)}
    effects["feature_0007"] = [0.9, 0.21, 0.02]
    return Record(
        f"{day}/features",
        "features",
        day,
        1,
        {"experiment": "churn-2", "run": f"r-{day}", "effects": effects},
    )


class _served:
    """Serve an app on a free port."""

    def __init__(self, app: Any) -> None:
        import uvicorn

        self.port = free_port()
        self.server = uvicorn.Server(uvicorn.Config(app, port=self.port, log_level="error"))
        self.thread = threading.Thread(target=self.server.run, daemon=True)

    def __enter__(self) -> str:
        self.thread.start()
        while not self.server.started:
            self.thread.join(0.05)
        return f"http://127.0.0.1:{self.port}"

    def __exit__(self, *error: object) -> None:
        self.server.should_exit = True
        self.thread.join()


@pytest.fixture(params=LOOKS)
def page(browser: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A page in each look, which must not report an error."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **LOOKS[request.param]})
    context.set_default_timeout(60_000)
    found = context.new_page()
    wrong: list[str] = []
    found.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    found.on("pageerror", lambda error: wrong.append(str(error)))
    yield found
    context.close()
    # Airflow itself does not run here, so its API does not answer.
    assert [one for one in wrong if "404" not in one] == []


@pytest.mark.parametrize("path", ["/", "/models/churn", "/models/unknown"])
def test_a_page_in_airflow_has_no_violation(page: Any, address: str, path: str) -> None:
    page.goto(address + path)
    page.locator("main").wait_for()

    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_map_of_a_thousand_features_leads_to_the_tests_of_a_day(page: Any, address: str) -> None:
    page.goto(f"{address}/models/churn/features")
    rows = page.get_by_role("row")
    rows.first.wait_for()
    assert rows.count() < 60  # of a thousand
    assert page.get_by_role("rowheader").first.text_content() == "feature_0007"  # the worst

    page.get_by_label("Search features").fill("0007")
    page.get_by_role("rowheader").nth(1).wait_for(state="detached")
    page.locator(".cell[tabindex='0']").focus()
    page.keyboard.press("ArrowLeft")
    label = str(page.locator(".cell:focus").get_attribute("aria-label"))
    assert label == f"feature_0007, {DAYS[-2]}: 0.9, limit 0.21"
    page.keyboard.press("Enter")

    page.get_by_role("heading", name=f"feature_0007, window until {DAYS[-2]}").wait_for()
    detail = page.locator("#detail")
    detail.get_by_text("feature_0007 ~ amount").wait_for()
    assert detail.get_by_text("50.0 %").count() == 2  # the reference's shares
    assert detail.get_by_text("other").count() == 0
    meaning = "Days since the <last> visit. Owner: web. From /data/visits.parquet. Also used by upsell."
    assert detail.locator(".meaning").text_content() == meaning
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.reload()  # the address leads there again
    page.locator("#detail").get_by_text("feature_0007 ~ amount").wait_for()


def test_what_features_mean_is_there_before_the_first_verdict(page: Any, address: str) -> None:
    page.goto(f"{address}/models/upsell/features")
    line = page.get_by_role("row", name="feature_0007")
    line.get_by_text("Days since the <last> visit").wait_for()
    assert line.get_by_role("link", name="churn").get_attribute("href") == "/evermodel/models/churn"
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
