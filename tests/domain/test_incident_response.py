"""What a person answers to an incident: what it stops, and when it ends."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from typer.testing import CliRunner

from evermodel.alerts.incidents.respond import IncidentResponder
from evermodel.alerts.incidents.response import Response, ResponseKind, read_responses, write_response
from evermodel.cli.root import app
from evermodel.core.database.schema import open_database
from evermodel.core.database.tables import incident_responses
from evermodel.core.errors import IncidentError
from evermodel.registry.audit import read_audit_log
from support.small_spec import small_spec
from support.watched_model import CALM, CRITICAL, MONDAY, NOON, WARNING, WatchedModel


@pytest.fixture
def team(tmp_path: Path, mlflow_store: str) -> WatchedModel:
    return WatchedModel(tmp_path, mlflow_store)


def responder(team: WatchedModel, days: int = 0) -> IncidentResponder:
    spec = team.desk(0).spec
    return IncidentResponder(spec, team.client, team.queue, NOON + timedelta(days=days))


def answer(team: WatchedModel, kind: ResponseKind, span: timedelta | None = None, note: str = "") -> None:
    responder(team).respond(None, kind, by="ada", span=span, note=note)


def acts(team: WatchedModel, days: range, problem: Any) -> list[str]:
    """Return the actions of some days, each judged at noon of its day."""
    return [team.look(n, problem, now=NOON + timedelta(days=n))["drift"].action for n in days]


def test_acknowledged_stops_reminders_and_ends_when_it_becomes_worse(team: WatchedModel) -> None:
    team.look(0, WARNING)
    team.said()
    answer(team, "acknowledged", note="a new tariff")
    assert team.said() == ["post update in drift-1: [info] m: drift acknowledged by ada"]
    assert acts(team, range(1, 8), WARNING) == ["update"] * 7
    shown = team.queue.waiting(team.lane)[-1][1].message
    assert "Acknowledged by ada: a new tariff" in shown["text"]
    assert "Acknowledged by ada: a new tariff" in str(shown["blocks"])
    assert acts(team, range(8, 9), CRITICAL) == ["escalate"]
    assert acts(team, range(9, 12), CRITICAL) == ["update", "update", "remind"]
    assert responder(team).open_incidents()[0].response is None


def test_muted_escalates_afterwards_what_became_worse_meanwhile(team: WatchedModel) -> None:
    team.look(0, WARNING)
    answer(team, "muted", timedelta(days=3))
    assert acts(team, range(1, 3), CRITICAL) == ["update", "update"]
    assert acts(team, range(3, 4), CRITICAL) == ["escalate"]


def test_expected_holds_until_the_incident_ends_and_not_for_the_next(team: WatchedModel) -> None:
    team.look(0, WARNING)
    answer(team, "expected", note="campaign")
    assert acts(team, range(1, 5), CRITICAL) == ["update"] * 4
    assert acts(team, range(5, 6), CALM) == ["resolve"]
    assert responder(team).open_incidents() == []
    assert acts(team, range(6, 8), CRITICAL) == ["open", "update"]
    assert responder(team).open_incidents()[0].response is None


def test_the_same_window_again_repeats_its_action(team: WatchedModel) -> None:
    team.look(0, WARNING)
    answer(team, "muted", timedelta(days=1))
    assert acts(team, range(1, 2), CRITICAL) == ["escalate"], "its time is over at noon of the next day"
    answer(team, "muted", timedelta(days=90))
    assert acts(team, range(1, 2), CRITICAL) == ["escalate"]


def test_withdrawn_goes_on_as_before(team: WatchedModel) -> None:
    team.look(0, WARNING)
    answer(team, "muted", timedelta(days=30))
    responder(team).withdraw("drift", by="bob")
    assert acts(team, range(1, 2), CRITICAL) == ["escalate"]
    with pytest.raises(IncidentError, match="nobody has answered"):
        responder(team).withdraw(None, by="bob")


def test_every_answer_is_in_the_audit_log(team: WatchedModel) -> None:
    team.look(0, WARNING)
    answer(team, "muted", timedelta(days=3), "upstream is fixed on Friday")
    answer(team, "acknowledged")
    responder(team).withdraw(None, by="bob")
    lines = list(read_audit_log(team.client, team.name).entries())
    assert [line["event"] for line in lines] == [
        "incident muted", "incident acknowledged", "incident withdrawn",
    ]  # fmt: skip
    facts = lines[0]["facts"]
    assert (facts["by"], facts["until"], facts["note"]) == (
        "ada", "2026-01-08T12:00:00+00:00", "upstream is fixed on Friday",
    )  # fmt: skip


def test_before_its_first_retrain_a_model_has_no_incident(team: WatchedModel) -> None:
    unknown = replace(responder(team), spec=small_spec(name="not_trained_yet"))
    assert unknown.open_incidents() == []


def test_what_cannot_be_answered_is_refused(team: WatchedModel) -> None:
    with pytest.raises(IncidentError, match="has no open incident"):
        answer(team, "acknowledged")
    team.look(0, WARNING)
    with pytest.raises(IncidentError, match="no open incident of kind quality"):
        responder(team).respond("quality", "acknowledged", by="ada", span=None, note="")
    for span in (timedelta(0), timedelta(days=91)):
        with pytest.raises(IncidentError, match="no time for a response"):
            answer(team, "muted", span)
    assert responder(team).open_incidents()[0].response is None


def test_the_command_line_answers_and_lists(
    team: WatchedModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("evermodel.cli.incident._responder", lambda *a: responder(team))
    monkeypatch.setattr("evermodel.cli.incident.connect", lambda uri: team.client)
    monkeypatch.setattr("evermodel.cli.incident.read_spec", lambda model: (team.desk(0).spec, None))
    monkeypatch.setattr("evermodel.cli.messages.send", lambda settings: None)
    monkeypatch.setattr("evermodel.spec.load_spec", lambda *a: team.desk(0).spec)
    team.look(0, WARNING)

    def run(*words: str) -> Any:
        return CliRunner().invoke(app, ["incident", *words])

    assert run("mute", team.name, "--for", "2d", "--json").exit_code == 0
    (found,) = json.loads(run("list", team.name, "--json").stdout)
    assert (found["kind"], found["response"]["kind"]) == ("drift", "muted")
    assert found["response"]["until"] == (MONDAY + timedelta(days=2, hours=12)).isoformat()
    assert "Muted by" in run("list", team.name).stdout
    assert "is no kind of problem" in str(run("mute", team.name, "driftt").exception)
    assert "write it as 12h or 3d" in str(run("mute", team.name, "--for", "soon").exception)
    assert "has no answer now" in run("withdraw", team.name).stdout


def test_a_damaged_response_stops_no_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with open_database(f"sqlite:///{tmp_path}/evermodel.db").writing() as connection:
        for incident in ("drift-1", "drift-2"):
            write_response(connection, "churn", Response(incident, "acknowledged", "ada", NOON.isoformat()))
        first = update(incident_responses).where(incident_responses.c.incident == "drift-1")
        connection.execute(first.values(content='{"incident": "dr'))

        assert list(read_responses(connection, "churn")) == ["drift-2"]
    assert "a response to an incident of model churn cannot be read" in caplog.text
