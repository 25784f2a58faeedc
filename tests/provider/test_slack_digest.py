"""The operators that send digests and what waits, against Slack's wire protocol."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest
import yaml
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from evermodel.alerts.failure_message import failure_message
from evermodel.alerts.publisher import Publisher, clock, message_queue
from evermodel.core.settings import Settings
from evermodel_provider.operators.digest import DigestOperator, SendMessagesOperator
from support.slack_server import FakeSlack
from support.small_spec import small_spec


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("EVERMODEL_HOME", str(tmp_path))
    monkeypatch.setenv("EVERMODEL_MODELS", str(tmp_path / "models"))
    monkeypatch.delenv("EVERMODEL_LAKE", raising=False)
    (tmp_path / "models").mkdir()
    return Settings.from_environment()


def write_spec(settings: Settings, name: str, **alerts: Any) -> None:
    spec = small_spec(name=name, owner="data", alerts=alerts).model_dump(mode="json")
    (settings.models / f"{name}.yaml").write_text(yaml.safe_dump(spec))


def test_the_digest_goes_to_each_channel_once(
    settings: Settings, mlflow_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server)
    names = [f"m_{uuid.uuid4().hex[:8]}" for _ in range(3)]
    for name, channel in zip(names, ["#ml-alerts", "#other", "#ml-alerts"], strict=True):
        write_spec(settings, name, channel=channel)
    with FakeSlack(channels={"ml-alerts": "C0000000001", "other": "C0000000002"}) as slack:
        monkeypatch.setenv("AIRFLOW_CONN_SLACK_API_DEFAULT", slack.connection_json())
        for _ in range(2):
            told = DigestOperator(task_id="digest", team="data", as_of="2026-01-12").execute({})  # type: ignore[arg-type]
    assert {delivery["channel"] for delivery in told} == {"C0000000001", "C0000000002"}
    by_channel = {message.channel: message.text for message in slack.messages}
    assert len(slack.messages) == 2
    assert all(name in by_channel["C0000000001"] for name in (names[0], names[2]))
    assert names[1] in by_channel["C0000000002"]


def test_a_team_without_a_digest_is_skipped(settings: Settings) -> None:
    write_spec(settings, "quiet", digest=None)
    with pytest.raises(AirflowSkipException, match="no model of data has a digest configured"):
        DigestOperator(task_id="digest", team="data").execute({})  # type: ignore[arg-type]


def test_what_waits_is_sent_and_an_empty_queue_is_skipped(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = SendMessagesOperator(task_id="send")
    with pytest.raises(AirflowSkipException, match="no message is queued"):
        task.execute({})  # type: ignore[arg-type]

    dispatch = Publisher(message_queue(settings), small_spec(), clock())
    for number in range(3):
        dispatch.post("failure", failure_message("small", "d", f"t{number}", "r", "", ""))
    with FakeSlack() as slack:
        monkeypatch.setenv("AIRFLOW_CONN_SLACK_API_DEFAULT", slack.connection_json())
        slack.fail("chat.postMessage", "internal_error", status=500)
        assert task.execute({}) == {"sent": 0, "waiting": 3}  # type: ignore[arg-type]
        assert task.execute({}) == {"sent": 3, "waiting": 0}  # type: ignore[arg-type]
    assert len(slack.messages) == 3


def test_what_has_to_be_put_right_fails_where_people_see_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    Publisher(message_queue(settings), small_spec(), clock()).post(
        "failure", failure_message("small", "d", "t", "r", "", "")
    )
    with FakeSlack() as slack:
        monkeypatch.setenv("AIRFLOW_CONN_SLACK_API_DEFAULT", slack.connection_json("xoxb-wrong"))
        with pytest.raises(AirflowFailException, match="invalid_auth"):
            SendMessagesOperator(task_id="send").execute({})  # type: ignore[arg-type]
