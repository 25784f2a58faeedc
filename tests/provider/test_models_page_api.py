from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from evermodel.alerts.incidents.store import Transition
from evermodel.monitoring.verdict_history import VerdictHistory
from evermodel.registry.tags import YEAR_AUDIT
from evermodel.reports.overview.store import StoredModel
from evermodel.reports.overview.summary import summarise
from evermodel.reports.overview.watched import keep_watched
from evermodel.spec.window import parse_moment
from support.airflow_runs import database
from support.models_page import EVIL, ModelsPage
from support.verdicts import a_verdict

HTML = {"Accept": "text/html"}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelsPage:
    monkeypatch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS", "ada:admin")
    monkeypatch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE", str(tmp_path / "passwords.json"))
    database()
    from airflow.api_fastapi.app import create_auth_manager

    create_auth_manager()
    return ModelsPage(tmp_path / "home")


def only(model: str, kind: str = "retrain") -> Callable[..., bool]:
    return lambda *, details=None, **other: details is not None and details.id == f"{kind}_{model}"


PATHS = (
    "/",
    "/models/churn",
    "/dags/retrain_churn",
    "/dags/other",
    "/static/page.css",
    "/static/plotly.min.js",
)


@pytest.mark.parametrize("path", PATHS)
def test_nothing_is_answered_without_a_user(site: ModelsPage, path: str) -> None:
    site.keep("churn")

    assert site.get(path).status_code == 401
    assert site.get(path, Authorization="Bearer nonsense").status_code in (401, 403)


@pytest.mark.parametrize("path", ["/", "/models/churn", "/dags/drift_churn"])
def test_a_user_without_rights_sees_nothing(site: ModelsPage, path: str) -> None:
    site.keep("churn")
    site.as_user(None)

    answer = site.get(path, Accept="text/html")
    assert answer.status_code == 403
    assert "No access" in answer.text
    assert "0.700" not in answer.text


def test_only_models_whose_dag_one_may_read_are_shown(
    site: ModelsPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.api_fastapi.app import get_auth_manager

    site.keep("churn", "fraud")
    site.as_user("viewer")
    monkeypatch.setattr(get_auth_manager(), "is_authorized_dag", only("churn"))
    monkeypatch.setattr(get_auth_manager(), "get_authorized_dag_ids", lambda user: {"retrain_churn"})

    shown = site.get("/", Accept="text/html").text
    assert re.findall(r'<tr data-name="(\w+)"', shown) == ["churn"]
    assert site.get("/models/churn").status_code == 200
    assert site.get("/models/fraud").status_code == 403
    assert site.get("/dags/drift_fraud").status_code == 403


def test_a_watched_model_is_shown_from_its_verdicts_to_who_may_read_its_drift_dag(
    site: ModelsPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.api_fastapi.app import get_auth_manager

    site.keep("churn")
    history = VerdictHistory(site.settings.database_url, "foreign")
    for day in ("02", "03"):
        history.write(a_verdict(model="foreign", version="7", end=f"2026-03-{day}T00:00:00+00:00"))
    opened = Transition(
        "drift-1", "drift", "open", "critical", "2026-03-03", "2026-03-03", "7", "drift", "a new form"
    )
    history.add(parse_moment("2026-03-03"), transitions=[asdict(opened)])
    keep_watched(site.overview.store, site.settings.database_url, ["churn", "foreign"])
    site.as_user("viewer")
    monkeypatch.setattr(get_auth_manager(), "is_authorized_dag", only("foreign", "drift"))
    monkeypatch.setattr(get_auth_manager(), "get_authorized_dag_ids", lambda user: {"drift_foreign"})

    shown = site.get("/", Accept="text/html").text
    assert re.findall(r'<tr data-name="(\w+)"', shown) == ["foreign"]
    assert "Nothing to evaluate" not in shown
    assert "Drift since 2026-03-03" in shown
    page = site.get("/models/foreign", Accept="text/html").text
    assert "Trained and served elsewhere." in page
    assert "a new form" in page
    assert "/artifacts/" not in page
    assert 'data-form="retrain_foreign"' not in page
    assert site.get("/models/churn").status_code == 403


def test_who_may_only_look_gets_no_button_that_starts(site: ModelsPage) -> None:
    site.keep("churn")
    site.as_user("viewer")
    assert 'data-form="retrain_churn" data-may=""' in site.get("/models/churn").text
    site.as_user("user")
    assert 'data-form="retrain_churn" data-may="1"' in site.get("/models/churn").text


def test_with_a_prefix_before_dag_ids_rights_tabs_and_links_follow(
    site: ModelsPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.api_fastapi.app import get_auth_manager

    monkeypatch.setenv("EVERMODEL_DAG_ID_PREFIX", "ml_")
    site.keep("churn")
    site.as_user("user")
    asked: list[set[str]] = []
    monkeypatch.setattr(
        get_auth_manager(),
        "filter_authorized_dag_ids",
        lambda *, dag_ids, **_: asked.append(set(dag_ids)) or set(dag_ids),
    )

    text = site.get("/dags/ml_drift_churn", Accept="text/html").text
    assert asked == [{"ml_retrain_churn"}]
    assert 'data-prefix="ml_"' in text
    assert 'data-form="ml_retrain_churn"' in text
    assert not re.search(r"(?<!ml_)(retrain|rollback|drift)_churn", text)
    assert "No model behind this DAG" in site.get("/dags/drift_churn", Accept="text/html").text


@pytest.mark.parametrize("path", ["/", "/models/churn"])
def test_what_others_wrote_is_text_and_never_markup(site: ModelsPage, path: str) -> None:
    site.keep("churn")
    site.as_user("viewer")

    answer = site.get(path, Accept="text/html")
    assert answer.status_code == 200
    assert "alert(1)" in answer.text
    assert "<script>alert" not in answer.text
    assert "<img" not in answer.text
    assert "script-src 'self';" in answer.headers["content-security-policy"]
    assert "frame-ancestors 'self'" in answer.headers["content-security-policy"]


def test_the_time_line_is_data_that_a_browser_can_read(site: ModelsPage) -> None:
    site.keep("churn", value=None, low=None, high=None)
    site.as_user("viewer")

    text = site.get("/models/churn").text
    found = re.search(r'<script type="application/json" id="chart">(.*?)</script>', text, re.S)
    assert found is not None
    chart = json.loads(found.group(1))
    assert chart["days"][0]["severities"] == ["critical", "", "", ""]
    assert chart["days"][0]["answer"] == EVIL
    assert chart["retrains"][0]["text"] == "shipped v1"


def test_with_mlflow_away_the_page_says_so_and_shows_what_it_knows(site: ModelsPage) -> None:
    site.keep("churn")
    site.as_user("viewer")
    site.get("/")
    site.overview.wait()

    answer = site.get("/", Accept="text/html").text
    assert "MLflow cannot be reached." in answer
    assert re.search(r"the last known state, \d+ y old", answer)
    assert "2026-03-02" in answer


def test_with_mlflow_away_from_the_start_the_page_says_so(site: ModelsPage) -> None:
    site.as_user("viewer")
    site.get("/")
    site.overview.wait()
    answer = site.get("/", Accept="text/html")

    assert answer.status_code == 200
    assert "MLflow was never reached." in answer.text
    assert "No models yet" not in answer.text


def test_a_model_that_does_not_exist_and_a_dag_without_a_model(site: ModelsPage) -> None:
    site.keep("churn")
    site.as_user("viewer")

    assert site.get("/models/nope").status_code == 404
    assert ">churn <" in site.get("/dags/stop_rollout_churn").text
    assert "No model behind this DAG" in site.get("/dags/other").text


def test_files_are_kept_by_the_browser_and_no_other_file_is_served(site: ModelsPage) -> None:
    site.as_user("viewer")

    assert "immutable" in site.get("/static/plotly.min.js").headers["cache-control"]
    assert site.get("/static/app.py").status_code == 404
    assert site.get("/static/..%2Fapp.py").status_code == 404


@pytest.mark.slow
def test_the_plugin_costs_other_processes_nothing() -> None:
    import subprocess
    import sys

    code = (
        "import sys, evermodel_provider.ui.plugin\n"
        "heavy = {'evermodel_provider.ui.app', 'evermodel.reports.overview.overview', 'mlflow', 'pandas', 'plotly'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_a_rollout_under_way_can_be_stopped(site: ModelsPage) -> None:
    from evermodel.registry.tags import TRAFFIC_PLAN
    from evermodel.registry.traffic_plan import TrafficPlan, split

    site.keep("churn")
    site.as_user("user")
    assert "stop_rollout_churn" not in site.get("/models/churn").text
    since = "2026-03-02T00:00:00+00:00"
    plan = TrafficPlan(
        "churn", "canary", "1", "2", split("1", "2", 0.25), "s", since, since, "ada", "better", "k"
    )
    store = site.overview.store
    store.keep_models(
        {"churn": StoredModel("churn", {"champion": "1"}, {TRAFFIC_PLAN: json.dumps(plan.to_json())}, 1)}
    )
    store.keep_summaries({"churn": summarise(store, "churn")})

    text = site.get("/models/churn").text
    assert 'data-form="stop_rollout_churn" data-may="1"' in text
    assert "v2 25%" in text


def test_a_rollout_that_a_promotion_overtook_cannot_be_stopped(site: ModelsPage) -> None:
    from evermodel.registry.tags import TRAFFIC_PLAN
    from evermodel.registry.traffic_plan import TrafficPlan, split

    site.keep("churn")
    site.as_user("user")
    since = "2026-03-02T00:00:00+00:00"
    plan = TrafficPlan(
        "churn", "canary", "0", "2", split("0", "2", 0.25), "s", since, since, "ada", "better", "k"
    )
    site.overview.store.keep_models(
        {"churn": StoredModel("churn", {"champion": "1"}, {TRAFFIC_PLAN: json.dumps(plan.to_json())}, 1)}
    )

    text = site.get("/models/churn").text
    assert "stop_rollout_churn" not in text
    assert "The last rollout, of v2, was overtaken." in text
    assert '<h2 id="rollouts">Rollouts</h2>' in text


@pytest.mark.parametrize(
    ("facts", "look", "words"),
    [
        ({"outcome": "rejected", "rejected_by": "ada"}, "kept", "v1 rejected by ada"),
        ({"outcome": "rejected", "rejected_by": "nobody (time-out)"}, "kept", "v1 rejected no approval in time"),
        ({"outcome": "rejected", "rejected_by": "its rollout"}, "kept", "v1 rejected by its rollout"),
        ({"outcome": "rejected"}, "kept", "v1 rejected "),
        ({"outcome": "rolling out"}, "open", "v1 rolling out better"),
        ({"outcome": "waits for approval"}, "open", "v1 waits for approval better"),
        ({"outcome": "stopped"}, "kept", "v1 rollout stopped better"),
        ({"outcome": ""}, "open", "v1 not deployed yet better"),
        ({"ship": "false", "verdict": "worse", "outcome": "kept the champion"}, "kept", "kept the champion worse"),
        ({"ship": "false", "verdict": "cold_start", "outcome": "kept the champion"}, "kept", "refused first version"),
        ({"outcome": "deployed", "forced": "true"}, "shipped", "shipped v1 forced"),
    ],
)  # fmt: skip
def test_what_came_of_a_decision_is_said_as_it_was(facts: dict[str, str], look: str, words: str) -> None:
    from evermodel_provider.ui.list_view import outcome_words

    known = {"verdict": "better", "ship": "true", "forced": "false", "version": "1"}
    said = outcome_words(known | facts)
    assert (said["look"], f"{said['text']} {said['note']}") == (look, words)


def test_everything_on_the_chart_is_also_text_with_a_link(site: ModelsPage) -> None:
    site.keep("churn", decision={"verdict": "", "status": "FAILED", "reason": "by hand"})
    site.as_user("viewer")

    text = site.get("/models/churn").text
    address = site.settings.tracking_uri
    assert f'<td><a href="{address}/#/experiments/churn-2/runs/r1/artifacts/evidently.html"' in text
    assert f'<td><a href="{address}/#/experiments/churn-1/runs/r2"' in text
    assert "ended without a decision</span></td><td>by hand</td>" in text


def test_without_an_mlflow_server_the_page_says_what_it_needs(site: ModelsPage) -> None:
    site.keep("churn")
    site.as_user("viewer")
    site.settings = site.settings.model_copy(update={"tracking_uri": "sqlite:////data/mlflow.db"})

    for path in ("/", "/models/churn", "/mlflow"):
        answer = site.get(path, Accept="text/html")
        assert answer.status_code == 503
        assert "configured with a file or database address" in answer.text
        assert "sqlite:" not in answer.text
    assert "sqlite:" not in site.get("/dags/other", Accept="text/html").text


def test_nobody_is_shown_the_password_of_mlflow(site: ModelsPage) -> None:
    site.keep("churn")
    site.as_user("viewer")
    address = site.settings.tracking_uri.replace("//", "//ada:secret@")
    site.settings = site.settings.model_copy(update={"tracking_uri": address})
    site.get("/")
    site.overview.wait()

    for path in ("/", "/models/churn"):
        assert "secret" not in site.get(path, Accept="text/html").text


def test_the_link_to_mlflow_leads_to_the_address_that_holds_now(site: ModelsPage) -> None:
    site.as_user("viewer")
    site.settings = site.settings.model_copy(update={"tracking_uri": "https://ada:secret@mlflow.example/ml"})

    answer = site.client.get("/evermodel/mlflow", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (307, "https://mlflow.example/ml/#/models")


def test_a_home_that_cannot_be_written_is_one_clear_page(tmp_path: Path, site: ModelsPage) -> None:
    (tmp_path / "file").write_text("in the way")
    site.overview.store.path = tmp_path / "file" / "overview.db"
    site.as_user("viewer")

    for path in ("/", "/models/churn", "/dags/other"):
        answer = site.get(path, Accept="text/html")
        site.overview.wait()
        assert answer.status_code == 503
        assert "Make EVERMODEL_HOME a folder that it can write" in answer.text


def test_a_refresh_that_broke_is_not_blamed_on_mlflow(site: ModelsPage) -> None:
    site.keep("churn")
    site.as_user("viewer")
    site.overview._tried = 1e18  # no refresh of its own
    site.overview.store.note(problem="KeyError: 'name'", fault="own")

    text = site.get("/", Accept="text/html").text
    assert "This page could not be refreshed." in text
    assert "MLflow cannot be reached" not in text


def test_a_model_without_a_verdict_says_why(site: ModelsPage) -> None:
    site.as_user("viewer")
    site.overview._tried = 1e18  # no refresh of its own
    store = site.overview.store
    store.note(source=site.settings.tracking_uri, layout="3", synced="1e9", reached="1e9")
    champion = {"serving": {"champion": "1"}, "unread": {"champion": "1"}, "new": {}}
    store.keep_models({name: StoredModel(name, aliases, {}, 1) for name, aliases in champion.items()})
    store.keep_summaries({name: summarise(store, name) for name in champion})
    for name in ("serving", "new"):
        store.note_loaded(name, 4e9)

    def states() -> dict[str, str]:
        found = re.findall(
            r'data-name="(\w+)".*?<span class="pill \w+"><i aria-hidden="true"></i>(.*?)</span>',
            site.get("/", **HTML).text,
            re.S,
        )
        return dict(found)  # fmt: skip

    assert states() == {"serving": "Not evaluated yet", "new": "Nothing to evaluate", "unread": "Loading…"}
    assert "Nothing to evaluate: MLflow has no version" in site.get("/models/new", **HTML).text
    assert "No day evaluated yet. The DAG" in site.get("/models/serving", **HTML).text
    store.note(problem="no answer", fault="mlflow")
    assert states()["unread"] == "Out of reach"
    assert "out of reach since before" in site.get("/models/unread", **HTML).text


def test_before_mlflow_has_answered_a_model_is_not_called_unknown(site: ModelsPage) -> None:
    site.as_user("viewer")
    site.overview._tried = 1e18

    answer = site.get("/models/churn", **HTML)
    assert answer.status_code == 200
    assert "Reading the models from MLflow" in answer.text
    assert 'class="skeleton"' in site.get("/", **HTML).text
    site.overview.store.note(problem="no answer", fault="mlflow")
    assert "Nothing is known of this model until MLflow answers." in site.get("/models/churn", **HTML).text


def test_what_was_promised_and_came_true_is_on_the_page_after_a_digest(site: ModelsPage) -> None:
    site.keep("churn")
    site.as_user("viewer")
    assert "Promised and came true" not in site.get("/models/churn").text
    promise = {"name": EVIL, "promised": "95% hold", "realised": "10 of 20 held", "kept": False, "note": EVIL}
    year = {
        "start": "2025-03-02T00",
        "end": "2026-03-02T00",
        "promotions": 20,
        "windows": 365,
        "promises": [promise],
    }
    tags = {YEAR_AUDIT: json.dumps({**year, "opened": 7, "false_expected": 7.3})}
    site.overview.store.keep_models({"churn": StoredModel("churn", {"champion": "1"}, tags, 1)})

    page = site.get("/models/churn").text
    assert "20 promotions, 365 windows, 7 incidents" in page
    assert '<td>10 of 20 held</td><td><span class="gate fail">not kept</span></td>' in page
    assert EVIL not in page
