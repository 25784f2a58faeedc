"""Answers to incidents from the Models page, against a real registry and database."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from evermodel.registry.audit import read_audit_log
from support.airflow_runs import database
from support.alarmed_model import alarmed as alarmed
from support.alarmed_model import answered, open_incident
from support.flights import World
from support.models_page import ModelsPage

HTML = {"Accept": "text/html"}


@pytest.fixture
def page(alarmed: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelsPage:
    """The Models page of the alarmed model, which was read from MLflow before."""
    monkeypatch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS", "ada:user")
    monkeypatch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE", str(tmp_path / "passwords.json"))
    database()
    from airflow.api_fastapi.app import create_auth_manager

    create_auth_manager()
    found = ModelsPage(tmp_path / "home")
    # The registry of this test is no server that a browser could reach, so its incident is put into the page's store.
    address = f"http://127.0.0.1:{found.settings.tracking_uri.rsplit(':', 1)[1]}"
    found.settings = alarmed.settings.model_copy(update={"tracking_uri": address})
    found.keep(alarmed.name)
    summary = found.overview.store.summary(alarmed.name)
    incident = {
        "id": open_incident(alarmed).incident.id,
        "kind": "drift",
        "current": "critical",
        "opened": "2026-03-02",
        "cause": "",
    }
    found.overview.store.keep_summaries({alarmed.name: {**summary, "incidents": [incident]}})
    found.as_user("USER")
    return found


def give(page: ModelsPage, world: World, incident: str = "", **answer: Any) -> tuple[int, str]:
    model, incident = world.name, incident or open_incident(world).incident.id
    got = page.client.post(f"/evermodel/models/{model}/incidents/{incident}", json=answer)
    return got.status_code, got.json().get("text") or got.json()["detail"]


def test_who_may_run_the_drift_dag_answers_an_incident_and_everybody_sees_it(
    page: ModelsPage, alarmed: World
) -> None:
    model = alarmed.name
    status, text = give(page, alarmed, answer="muted", span="P3D", note="fixed on <b>Friday</b>")
    assert (status, text.partition(" until ")[0]) == (200, "Muted by ada")
    muted = answered(alarmed)
    assert muted is not None
    assert (muted.kind, muted.by, muted.note, bool(muted.until)) == (
        "muted",
        "ada",
        "fixed on <b>Friday</b>",
        True,
    )
    page.as_user("VIEWER")
    for path in ("/", f"/models/{model}"):
        shown = page.get(path, **HTML).text
        assert "Muted by ada until" in shown
        assert "fixed on &lt;b&gt;Friday" in shown
    page.as_user("USER")
    assert give(page, alarmed, answer="withdrawn") == (200, "The answer was withdrawn by ada")
    assert answered(alarmed) is None
    events = [line["event"] for line in read_audit_log(alarmed.client, model).entries()]
    assert events == ["incident muted", "incident withdrawn"]


def test_what_somebody_answered_needs_no_attention(page: ModelsPage, alarmed: World) -> None:
    def attention() -> str:
        return page.get("/", **HTML).text.partition("Need attention <b>")[2][:1]

    assert attention() == "1"
    assert give(page, alarmed, answer="acknowledged")[0] == 200
    assert attention() == "0"


def test_what_cannot_be_answered_is_refused_with_the_reason(page: ModelsPage, alarmed: World) -> None:
    model, incident = alarmed.name, open_incident(alarmed).incident.id
    status, text = give(page, alarmed, "drift-7", answer="muted")
    assert (status, "has no open incident drift-7" in text) == (409, True)
    assert give(page, alarmed, answer="withdrawn") == (
        409,
        f"model {model}: nobody has answered incident {incident}.",
    )
    assert give(page, alarmed, answer="muted", span="P91D")[0] == 409
    for wrong in (
        {"answer": "closed"},
        {"answer": "muted", "by": "eve"},
        {"answer": "muted", "span": "soon"},
    ):
        assert give(page, alarmed, **wrong)[0] == 422
    # A form of another page can send text, and no JSON.
    address = f"/evermodel/models/{model}/incidents/{incident}"
    assert page.client.post(address, content=b'{"answer": "muted"}', headers={"Content-Type": "text/plain"}).status_code == 422  # fmt: skip
    page.as_user("VIEWER")
    status, text = give(page, alarmed, answer="muted")
    assert (status, text) == (403, f"You may not run drift_{model}, so you may not answer its incidents.")
    assert "disabled" in page.get(f"/models/{model}", **HTML).text.partition('data-answer="muted"')[2][:20]
    page.as_user(None)
    assert give(page, alarmed, answer="muted")[0] == 403
    page.page.dependency_overrides.clear()
    assert page.client.post(address, json={"answer": "muted"}).status_code == 401
    assert answered(alarmed) is None
