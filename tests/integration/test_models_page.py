"""The Models page as a person uses it: a real Airflow, a real MLflow with a year of history, a real browser."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from mlflow import MlflowClient
from sqlalchemy import create_engine, text
from tests.simulations.page_history import last_midnight, write_history

from evermodel.alerts.incidents.state import Incident, IncidentState
from evermodel.alerts.incidents.store import read_incidents, write_incidents
from evermodel.cli.local_stack.airflow_api import AirflowApi
from evermodel.cli.local_stack.local import LocalStack
from evermodel.cli.local_stack.ports import Ports
from evermodel.cli.local_stack.processes import Service
from evermodel.cli.local_stack.sessions import end
from evermodel.monitoring.problems import Severity
from evermodel.registry.audit import read_audit_log
from support.browser import browser as browser
from support.browser import needs_browser, violations
from support.flights import flights_world
from support.paths import PROJECT

PASSWORDS = {"ada": "engine", "vera": "looking", "guest": "nobody"}
USERS = "ada:admin,vera:viewer,guest:"
FRAME = "iframe"
INCIDENTS: dict[str, Severity] = {"performance": "critical", "drift": "warning"}

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(600),
    needs_browser,
]


# Asks as the retrain DAG of a model does, without a retrain before it.
ASKS = """
from datetime import timedelta
from airflow.sdk import DAG
from evermodel_provider.operators.approve import ApproveOperator, answer_form

class Asks(ApproveOperator):
    def _request_approval(self, context):
        self.subject, self.body = "Make version 18 the champion?", "**better**"
        for name, param in answer_form("0123456789abcdef", "slack_api_default").items():
            self.params[name] = param

    def _step(self, name, **inputs):
        return {}

for model in ("basket_value", "credit_risk"):
    with DAG(f"retrain_{model}", schedule=None, tags=["retrain", model], is_paused_upon_creation=False) as dag:
        Asks(task_id="approve", model=model, version="18", approvers=("ada",), response_timeout=timedelta(days=1), retries=1)
    globals()[dag.dag_id] = dag
"""


class PageStack(LocalStack):
    """What the page needs: all DAGs but those that ask for an approval are paused."""

    def services(self) -> list[Service]:
        return [service for service in super().services() if service.name != "airflow-triggerer"]


class Visit:
    """One person's browser, which remembers everything that went wrong in it."""

    def __init__(self, browser: Any, url: str, **options: Any) -> None:
        self.url = url
        self.context = browser.new_context(**{"viewport": {"width": 1440, "height": 1000}, **options})
        self.context.set_default_timeout(90_000)  # other tests run beside this one
        self.page = self.context.new_page()
        self.wrong: list[str] = []
        self.context.on("console", self._said)
        self.context.on("weberror", lambda error: self.wrong.append(str(error.error)))

    def _said(self, message: Any) -> None:
        if message.type == "error" and message.page is self.page:
            self.wrong.append(f"{message.text} ({message.location.get('url')})")

    @property
    def frame(self) -> Any:
        return self.page.frame_locator(FRAME)

    def log_in(self, name: str) -> None:
        self.page.goto(self.url)
        self.page.locator("input[name=username]").fill(name)
        self.page.locator("input[name=password]").fill(PASSWORDS[name])
        self.page.locator("button[type=submit]").click()
        self.page.wait_for_url(lambda url: "/auth/" not in url)
        self.wrong.clear()  # Airflow's own page asks for things before anybody is known

    def open_models(self) -> None:
        self.page.goto(f"{self.url}/plugin/models")
        self.frame.get_by_role("heading", name="Models", exact=True).wait_for()

    def open_model(self, name: str) -> None:
        self.page.goto(f"{self.url}/plugin/models/evermodel/models/{name}", wait_until="commit")
        self.frame.get_by_role("heading", name="Time line").wait_for()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageStack]:
    folder = tmp_path_factory.mktemp("page")
    ports, project = Ports.unused(), folder / "project"
    world = flights_world(folder / "world", f"http://127.0.0.1:{ports.mlflow}", name="churn")
    (project / "dags").mkdir(parents=True)
    (project / "dags" / "evermodel").symlink_to(PROJECT / "dags")
    (project / "dags" / "asks.py").write_text(ASKS)
    passwords = folder / "passwords.json"
    passwords.write_text(json.dumps(PASSWORDS))
    extras = {
        **world.environment,
        "EVERMODEL_HOME": str(folder / "home"),
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "600",  # no file changes
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "True",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": USERS,
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
    }
    with PageStack(folder / "home", project, ports, extras) as stack:
        stack.start()
        write_history(stack.home / "mlflow" / "mlflow.db", models=3, days=120, end=last_midnight())
        api(stack).wait_for_dags(["retrain_churn", "drift_churn", "rollback_churn", "retrain_credit_risk"])
        yield stack


def api(stack: PageStack, name: str = "ada") -> AirflowApi:
    return AirflowApi(stack.airflow_url, token(stack, name))


def token(stack: PageStack, name: str) -> str:
    answer = httpx.post(
        f"{stack.airflow_url}/auth/token",
        json={"username": name, "password": PASSWORDS[name]},
        timeout=30,
        trust_env=False,
    )
    return str(answer.raise_for_status().json()["access_token"])


@pytest.fixture(scope="module")
def ada(browser: Any, stack: PageStack) -> Visit:
    visit = Visit(browser, stack.airflow_url)
    visit.log_in("ada")
    return visit


@pytest.fixture(scope="module")
def phone(browser: Any, stack: PageStack) -> Visit:
    visit = Visit(
        browser, stack.airflow_url, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True
    )
    visit.log_in("ada")
    return visit


# The texts whose colour has a contrast below 4.5 to 1 against what is behind them.
_CONTRAST = """() => {
  const parts = (colour) => (colour.match(/[\\d.]+/g) || []).map(Number);
  const light = (rgb) => rgb.slice(0, 3).map((v) => v / 255).map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const colour = parts(getComputedStyle(at).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const found = new Set();
  for (const node of document.querySelectorAll("main *, footer *")) {
    const text = [...node.childNodes].some((one) => one.nodeType === 3 && one.textContent.trim());
    if (!text || !node.checkVisibility() || node.closest("svg, [aria-hidden], :disabled, #timeline")) continue;
    const [a, b] = [light(parts(getComputedStyle(node).color)), light(behind(node))].sort((x, y) => y - x);
    const contrast = (a + 0.05) / (b + 0.05);
    if (contrast < 4.5) found.add(`${node.tagName}.${node.className}: ${contrast.toFixed(2)}`);
  }
  return [...found];
}"""


def test_the_list_is_searched_and_leads_to_a_model(ada: Visit, stack: PageStack) -> None:
    ada.page.goto(stack.airflow_url)
    ada.page.get_by_role("link", name="Models", exact=True).first.click()
    rows = ada.frame.locator("#models tbody tr")
    rows.first.wait_for()

    assert rows.count() == 3
    assert sorted(rows.locator("a.name").all_text_contents()) == ["basket_value", "churn", "credit_risk"]
    ada.frame.get_by_text(
        "paused"
    ).wait_for()  # Airflow's API has answered: the DAG exists, and is switched off
    ada.frame.locator("h1").click()
    ada.page.keyboard.press("/")
    ada.page.keyboard.type("churn paused")
    assert rows.locator("visible=true").locator("a.name").all_text_contents() == ["churn"]
    ada.page.keyboard.press("ArrowDown")
    assert ada.frame.locator("a.name:focus").text_content() == "churn"
    ada.page.keyboard.press("Enter")

    ada.frame.get_by_role("heading", name="churn").wait_for()
    ada.page.wait_for_url("**/plugin/models/evermodel/models/churn")  # an address to send to somebody
    assert ada.wrong == []


def test_the_time_line_tells_of_the_day_under_the_pointer(ada: Visit) -> None:
    ada.open_model("churn")
    chart = ada.frame.locator("#timeline .nsewdrag").first
    chart.wait_for()
    box = chart.bounding_box()
    assert box is not None
    ada.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)

    label = ada.frame.locator("#timeline .hoverlayer .hovertext").first
    label.wait_for()
    assert "baseline 0." in (label.text_content() or "")
    assert ada.wrong == []


def test_every_link_leads_out_of_the_frame(ada: Visit, stack: PageStack) -> None:
    ada.open_model("churn")
    shown = ada.frame.locator("a[data-out]:visible")
    ada.frame.get_by_role("link", name="drift_churn").wait_for()
    links: dict[str, Any] = {}
    for label, link in zip(shown.all_text_contents(), shown.all(), strict=True):
        links.setdefault(label, link.get_attribute("href"))

    assert {
        "Decision",
        "MLflow run",
        "Airflow run",
        "Model in MLflow",
        "Drift report of the last day",
    } <= set(links)
    for label, address in links.items():
        link = ada.frame.locator(f"a[data-out]:visible:text-is({json.dumps(label)})").first
        if stack.mlflow_url in str(address):
            with ada.context.expect_page() as opened:
                link.click()
            opened.value.wait_for_url(str(address), wait_until="commit")
            opened.value.close()
        else:
            link.click()
            ada.page.wait_for_url(f"{stack.airflow_url}{address}*", wait_until="commit")
            ada.open_model("churn")
    assert ada.wrong == []


def test_a_retrain_is_started_by_its_form(ada: Visit, stack: PageStack) -> None:
    ada.open_model("churn")
    ada.frame.get_by_role("button", name="Retrain…").click()
    ada.frame.get_by_role("textbox", name="Reason").fill("a <b>new</b> season")
    ada.frame.get_by_label("As of").fill("2013-04-15")
    ada.frame.get_by_role("button", name="Start", exact=True).click()
    ada.frame.get_by_role("link", name="See the run").wait_for()

    (run,) = api(stack).dag_runs("retrain_churn")
    assert (run["conf"]["reason"], run["conf"]["as_of"]) == ("a <b>new</b> season", "2013-04-15")
    ada.frame.get_by_role("link", name="See the run").click()
    ada.page.wait_for_url("**/dags/retrain_churn/runs/**")
    assert ada.wrong == []


def test_a_dag_of_a_model_has_the_model_as_a_tab(ada: Visit) -> None:
    ada.page.goto(f"{ada.url}/dags/drift_churn/plugin/model")
    ada.frame.get_by_role("heading", name="churn").wait_for()

    assert (
        ada.frame.get_by_role("link", name="Models", exact=True).count() == 0
    )  # no way out of the tab to the list
    assert ada.wrong == []


def test_the_rollback_form_says_what_airflow_refuses(ada: Visit, stack: PageStack) -> None:
    ada.open_model("churn")
    ada.frame.get_by_role("button", name="Roll back…").click()
    ada.frame.locator("#form form").evaluate("form => { form.noValidate = true; }")
    ada.frame.get_by_role("button", name="Start", exact=True).click()

    ada.frame.get_by_text(re.compile("Not started: .*reason")).wait_for()
    assert api(stack).dag_runs("rollback_churn") == []
    ada.wrong.clear()  # the browser itself notes the refusal


def test_a_rollback_goes_to_a_version_from_the_list_of_those_that_served(
    ada: Visit, stack: PageStack
) -> None:
    ada.open_model("churn")
    ada.frame.get_by_role("button", name="Roll back…").click()
    versions = ada.frame.get_by_label("Version")
    versions.locator("option").nth(1).wait_for(state="attached")
    offered = versions.locator("option").all_text_contents()
    champion = ada.frame.locator(".card .figure").first.inner_text()
    assert offered[0] == "Default"
    assert all(re.fullmatch(r"v\d+, champion since [\d-]{10}, roc_auc 0\.\d{4}", one) for one in offered[1:])
    assert champion not in [one.partition(",")[0] for one in offered]

    version = offered[1].partition(",")[0].removeprefix("v")
    versions.select_option(version)
    ada.frame.get_by_role("textbox", name="Reason").fill("wrong answers")
    ada.frame.get_by_role("button", name="Start", exact=True).click()
    ada.frame.get_by_role("link", name="See the run").wait_for()
    (run,) = api(stack).dag_runs("rollback_churn")
    assert run["conf"] == {"version": version, "reason": "wrong answers"}
    assert ada.wrong == []


def test_the_retrain_form_wants_a_reason_where_force_is_on(ada: Visit, stack: PageStack) -> None:
    runs = len(api(stack).dag_runs("retrain_churn"))
    ada.open_model("churn")
    ada.frame.get_by_role("button", name="Retrain…").click()
    ada.frame.get_by_role("checkbox", name="Force").check()
    ada.frame.get_by_role("button", name="Start", exact=True).click()
    assert ada.frame.get_by_role("textbox", name="Reason").evaluate("field => field.validity.valueMissing")
    ada.frame.get_by_role("checkbox", name="Force").uncheck()
    assert ada.frame.get_by_role("textbox", name="Reason").evaluate("field => field.validity.valid")
    assert len(api(stack).dag_runs("retrain_churn")) == runs


@pytest.fixture
def alarmed(stack: PageStack) -> None:
    """Two open incidents of the model, in the registry as a drift DAG leaves them."""
    client = MlflowClient(stack.mlflow_url)
    now = last_midnight().isoformat()
    states = {
        kind: IncidentState(now, severity, "open", 1, Incident(f"{kind}-1", now, severity, severity, now, "a new tariff"))
        for kind, severity in INCIDENTS.items()
    }  # fmt: skip
    write_incidents(client, "churn", replace(read_incidents(client, "churn"), states=states))


def test_an_incident_is_acknowledged_and_another_one_muted_by_keyboard(
    ada: Visit, stack: PageStack, alarmed: None
) -> None:
    def group(kind: str) -> Any:
        return ada.frame.get_by_role("group", name=f"Answer {kind}")

    deadline = time.monotonic() + 90
    while not (group("Performance").is_visible() and group("Drift").is_visible()):
        assert time.monotonic() < deadline, "the page does not show the incidents"
        ada.open_model("churn")
        ada.page.wait_for_timeout(1000)
    group("Performance").get_by_role("button", name="Acknowledge").click()
    ada.frame.get_by_text(re.compile("Acknowledged by ada")).first.wait_for()

    group("Drift").get_by_role("button", name="Mute…").focus()
    ada.page.keyboard.press("Enter")
    ada.frame.get_by_role("heading", name=re.compile("Mute: Drift since")).wait_for()
    assert violations_in(ada) == []
    ada.page.keyboard.type("upstream is fixed on Friday")  # the note has the focus
    ada.frame.get_by_role("combobox", name="For").select_option("3 days")
    ada.frame.get_by_role("textbox", name="Note").press("Enter")
    ada.frame.get_by_text(re.compile("Muted by ada until .*: upstream is fixed on Friday")).first.wait_for()
    assert (
        group("Drift")
        .get_by_role("button", name="Withdraw")
        .evaluate("node => node === document.activeElement")
    )
    assert violations_in(ada) == []

    client = MlflowClient(stack.mlflow_url)
    entries = [line for line in read_audit_log(client, "churn").entries() if "incident" in line["event"]]
    assert [(line["event"], line["facts"]["by"]) for line in entries] == [
        ("incident acknowledged", "ada"),
        ("incident muted", "ada"),
    ]
    ada.open_models()
    ada.frame.get_by_text(re.compile("Muted by ada until")).wait_for()
    group_of_all = ada.frame.get_by_role("button", name="Need attention")
    group_of_all.click()
    assert "churn" not in ada.frame.locator("#models tbody tr:visible a.name").all_text_contents()
    assert ada.wrong == []


def violations_in(visit: Visit) -> list[str]:
    """Return what axe-core finds in the Models page as Airflow shows it."""
    (frame,) = visit.page.main_frame.child_frames
    return violations(frame)


@pytest.mark.parametrize(("model", "answer"), [("basket_value", "Approve"), ("credit_risk", "Reject")])
def test_a_version_that_waits_is_decided_from_the_models_page(
    ada: Visit, stack: PageStack, model: str, answer: str
) -> None:
    airflow = api(stack)
    run = airflow.trigger(f"retrain_{model}")
    deadline = time.monotonic() + 120
    while airflow.task_instances(f"retrain_{model}", run)[0]["state"] != "awaiting_input":
        assert time.monotonic() < deadline, airflow.explain(f"retrain_{model}", run)
        time.sleep(0.5)
    time.sleep(2)  # an answer within half a second of the question finds the task still running

    ada.open_models()
    ada.frame.locator(f"tr[data-name={model}] a[data-waits]").wait_for()
    first = ada.frame.locator("#models tbody tr").first
    assert first.locator("a.name").text_content() == model  # before everything else
    first.locator("a.name").click()
    banner = ada.frame.get_by_text("A version waits for approval.")
    banner.wait_for()
    assert violations_in(ada) == []
    ada.frame.get_by_role("link", name="Review and decide").click()
    ada.page.get_by_text("Make version 18 the champion?").first.wait_for()
    ada.page.get_by_role("button", name=answer, exact=True).click()
    done = airflow.wait(f"retrain_{model}", run, timeout=120)
    found = airflow.xcom(f"retrain_{model}", run, "approve", "approval")
    assert (found["approved"], found["by"], found["digest"]) == (
        answer == "Approve",
        "ada",
        "0123456789abcdef",
    )
    assert done["state"] == "success"
    assert ada.wrong == []


def test_who_may_not_see_is_told_so(browser: Any, stack: PageStack) -> None:
    pages = [f"{stack.airflow_url}/evermodel{path}" for path in ("/", "/models/churn", "/dags/retrain_churn")]
    for address in [*pages, f"{stack.airflow_url}/evermodel/static/page.css"]:
        assert httpx.get(address, trust_env=False, timeout=30).status_code == 401
    header = {"Authorization": f"Bearer {token(stack, 'guest')}"}
    for address in pages:
        assert httpx.get(address, headers=header, trust_env=False, timeout=30).status_code == 403


def test_who_may_only_look_cannot_start_anything(browser: Any, stack: PageStack) -> None:
    vera = Visit(browser, stack.airflow_url)
    vera.log_in("vera")
    vera.open_model("churn")
    button = vera.frame.get_by_role("button", name="Retrain…")
    button.wait_for()

    assert button.is_disabled()
    assert vera.wrong == []


def test_the_table_of_days_leads_to_their_reports_by_keyboard_alone(ada: Visit, stack: PageStack) -> None:
    ada.open_model("churn")
    summary = ada.frame.locator("summary", has_text="The days as a table")
    summary.focus()
    ada.page.keyboard.press("Enter")
    ada.page.keyboard.press("Tab")  # the table itself, where it can be scrolled
    link = ada.frame.locator("td a:focus")
    if not link.count():
        ada.page.keyboard.press("Tab")
    address = str(link.get_attribute("href"))

    assert re.fullmatch(rf"{stack.mlflow_url}/#/experiments/\d+/runs/\w+/artifacts/evidently.html", address)
    with ada.context.expect_page() as opened:
        ada.page.keyboard.press("Enter")
    opened.value.wait_for_url(address, wait_until="commit")
    opened.value.close()
    assert ada.wrong == []


def test_the_model_page_works_with_the_keyboard(ada: Visit) -> None:
    ada.open_model("churn")
    button = ada.frame.get_by_role("button", name="Retrain…")
    button.focus()
    ada.page.keyboard.press("Enter")
    ada.frame.locator("dialog[open] :focus").first.wait_for()  # the focus goes into the form
    outline = ada.frame.locator("dialog[open] :focus").first.evaluate(
        "node => getComputedStyle(node).outlineStyle"
    )
    assert outline == "solid"
    ada.page.keyboard.press("Escape")
    ada.frame.locator("dialog[open]").wait_for(state="detached")
    assert button.evaluate("node => node === document.activeElement")

    ada.frame.get_by_role("button", name="30 days").focus()
    ada.page.keyboard.press("Space")
    assert ada.frame.locator("#ranges [aria-pressed=true]").text_content() == "30 days"
    decision = ada.frame.locator(".decision").nth(1)
    decision.locator("summary").focus()
    ada.page.keyboard.press("Enter")
    assert decision.evaluate("node => node.open")
    assert ada.wrong == []


def test_in_the_dark_the_page_is_dark_and_can_be_read(browser: Any, stack: PageStack) -> None:
    visit = Visit(browser, stack.airflow_url, color_scheme="dark", reduced_motion="reduce")
    visit.log_in("ada")
    for address in ("/evermodel/", "/evermodel/models/churn"):
        visit.page.goto(f"{stack.airflow_url}{address}")
        visit.page.locator("body > footer").wait_for()
        assert visit.page.evaluate("document.documentElement.dataset.theme") == "dark"
        assert visit.page.evaluate(_CONTRAST) == []
    visit.page.emulate_media(color_scheme="light")
    visit.page.locator("html[data-theme=light]").wait_for()
    assert visit.page.evaluate(_CONTRAST) == []
    assert visit.wrong == []


def test_on_a_phone_nothing_is_cut_off_and_the_list_can_be_sorted(phone: Visit) -> None:
    phone.page.goto(f"{phone.url}/evermodel/")
    phone.page.locator("#models tbody tr").first.wait_for()
    assert phone.page.evaluate("document.documentElement.scrollWidth") <= 390
    assert not phone.page.locator("#models thead").is_visible()

    names = phone.page.locator("a.name")
    phone.page.get_by_label("Sort by").select_option("name")
    assert names.all_text_contents() == ["basket_value", "churn", "credit_risk"]
    phone.page.get_by_label("Sort by").select_option("-value")
    values = [float(text) for text in phone.page.locator("td[data-label=Metric] .big").all_text_contents()]
    assert values == sorted(values, reverse=True)
    assert "sort=-value" in phone.page.url
    names.first.tap()
    phone.page.get_by_role("heading", name="Time line").wait_for()
    assert phone.wrong == []


def test_on_a_phone_the_first_tap_shows_the_day_and_the_second_opens_its_report(phone: Visit) -> None:
    phone.page.goto(f"{phone.url}/evermodel/models/churn")
    chart = phone.page.locator("#timeline .nsewdrag").first
    chart.wait_for()
    assert phone.page.evaluate("document.documentElement.scrollWidth") <= 390
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    assert box is not None
    day, point = phone.page.locator("#day"), (0.0, 0.0)
    for step in range(12):  # a finger hits a day only near the line
        point = box["x"] + box["width"] / 2, box["y"] + box["height"] * (0.1 + 0.07 * step)
        phone.page.touchscreen.tap(*point)
        phone.page.wait_for_timeout(200)
        if day.is_visible():
            break
    assert re.match(r"\d{4}-\d\d-\d\d: 0\.\d+ on v\d+\.", day.text_content() or "")
    assert len(phone.context.pages) == 1
    phone.page.wait_for_timeout(600)
    with phone.context.expect_page() as opened:
        phone.page.touchscreen.tap(*point)
    opened.value.close()
    with phone.context.expect_page() as opened:
        day.get_by_role("link", name="Open its drift report").tap()
    opened.value.close()
    assert phone.wrong == []


def test_while_mlflow_hangs_an_api_server_with_an_empty_disk_shows_the_last_known_state(
    ada: Visit, stack: PageStack
) -> None:
    ada.open_models()
    ada.frame.locator("#models tbody tr").first.wait_for()
    shared = create_engine(f"sqlite:///{stack.home}/evermodel.db")
    deadline = time.monotonic() + 120
    with shared.connect() as connection:
        while (
            connection.scalar(text("SELECT count(*) FROM evermodel_models_page")) < 4
        ):  # three models, and the refresh
            assert time.monotonic() < deadline
            time.sleep(1)
    (mlflow,) = [one for one in stack.supervisor._running if one.service.name == "mlflow"]
    group = os.getpgid(mlflow.process.pid)
    os.killpg(group, signal.SIGSTOP)
    try:
        for file in stack.home.glob("overview.db*"):
            file.unlink()
        ada.open_models()
        ada.frame.get_by_text("MLflow cannot be reached.").wait_for()
        assert ada.frame.locator("#models tbody tr").count() == 3
        assert ada.frame.get_by_text(re.compile("the last known state, .* old")).is_visible()
    finally:
        os.killpg(group, signal.SIGCONT)
    ada.frame.get_by_text("MLflow cannot be reached.").wait_for(state="detached")
    assert ada.wrong == []


def test_with_mlflow_down_the_last_known_state_is_shown(ada: Visit, stack: PageStack) -> None:
    ada.open_models()
    (mlflow,) = [one for one in stack.supervisor._running if one.service.name == "mlflow"]
    end({mlflow.process.pid: 5.0})
    deadline = time.monotonic() + 60
    while not ada.frame.get_by_text("MLflow cannot be reached.").is_visible():
        assert time.monotonic() < deadline, "nobody noticed that MLflow is away"
        time.sleep(2)
        ada.open_models()

    assert ada.frame.locator("#models tbody tr").count() == 3
    ada.open_model("churn")
    assert ada.frame.get_by_text(re.compile("the last known state, .* old")).is_visible()
    assert ada.wrong == []
