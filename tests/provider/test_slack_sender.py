"""Messages through a real Airflow connection and slack_sdk to a server that speaks Slack's wire protocol."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from evermodel.alerts.failure_message import failure_message
from evermodel.alerts.message import Message
from evermodel.alerts.publisher import message_queue
from evermodel.alerts.queued_message import MessageGoneError, NoHistoryError
from evermodel.core.errors import PermanentError
from evermodel.core.settings import Settings
from evermodel_provider.notifications.errors import (
    SlackConfigurationError,
    SlackRefusedError,
    SlackUnavailableError,
)
from evermodel_provider.notifications.slack import SlackSender
from evermodel_provider.notifications.slack_history import EVENT_TYPE
from support.slack_server import ALL_SCOPES, TOKEN, FakeSlack

CONNECTION = "slack_api_default"
YESTERDAY = datetime.now(UTC) - timedelta(days=1)
PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 500


def a_message(error: str = "boom & <bust>") -> Message:
    return failure_message(
        "flights", "retrain_flights", "train", "manual__1", error, "http://airflow.example/log"
    )


@pytest.fixture(autouse=True)
def no_specs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation of its own, in which no spec can be read."""
    monkeypatch.setenv("EVERMODEL_HOME", str(tmp_path))
    monkeypatch.setenv("EVERMODEL_MODELS", str(tmp_path / "models"))
    monkeypatch.delenv("EVERMODEL_LAKE", raising=False)


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def connect(slack: FakeSlack, token: str | None = None) -> None:
        monkeypatch.setenv("AIRFLOW_CONN_SLACK_API_DEFAULT", slack.connection_json(token))

    return connect


@pytest.fixture
def slack(connect: Callable[..., None]) -> Iterator[FakeSlack]:
    with FakeSlack() as slack:
        connect(slack)
        yield slack


@pytest.fixture
def sender(tmp_path: Path) -> SlackSender:
    return SlackSender(CONNECTION, "#ml-alerts", tmp_path / "outbox")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "drift.png"
    path.write_bytes(PNG)
    return path


def test_message_arrives_with_blocks_plain_text_and_key(slack: FakeSlack, sender: SlackSender) -> None:
    message = a_message()
    delivery = sender.post(message)

    (posted,) = slack.messages
    assert delivery == {"kind": "slack", "channel": "C0000000001", "ts": posted.ts, "path": ""}
    assert posted.blocks == message.blocks
    assert "boom &amp; &lt;bust&gt;" in posted.text
    assert posted.metadata == {
        "event_type": EVENT_TYPE,
        "event_payload": {"key": message.key, "model": "flights", "severity": "failure"},
    }
    assert not sender.outbox.exists()


def test_answers_go_into_the_thread(slack: FakeSlack, sender: SlackSender) -> None:
    first = sender.post(a_message())
    second = sender.post(a_message("again"), thread=first)
    assert [answer.ts for answer in slack.thread(first["ts"])] == [second["ts"]]


def test_an_answer_to_an_answer_is_in_the_same_thread(slack: FakeSlack, sender: SlackSender) -> None:
    first = sender.post(failure_message("flights", "d", "t", "r", "", ""))
    second = sender.post(a_message("again"), thread=first)
    third = sender.post(a_message("once more"), thread=second)
    assert [answer.ts for answer in slack.thread(first["ts"])] == [second["ts"], third["ts"]]
    assert sender.find(a_message(), thread=second, since=datetime(2000, 1, 1, tzinfo=UTC)) == second


def test_thread_of_the_outbox_is_none_in_slack(slack: FakeSlack, sender: SlackSender) -> None:
    sender.post(
        a_message(), thread={"kind": "outbox", "channel": "#ml-alerts", "ts": "flights-drift", "path": ""}
    )
    assert slack.messages[0].thread_ts is None


def test_image_is_shared_in_the_thread(slack: FakeSlack, sender: SlackSender, image: Path) -> None:
    delivery = sender.post(a_message())
    sender.show(delivery, image, a_message())
    (file,) = slack.files
    assert (file.content, file.filename) == (PNG, "columns.png")
    assert (file.channel, file.thread_ts) == (delivery["channel"], delivery["ts"])
    assert "train failed" in file.alt_txt


def test_update_replaces_the_message(slack: FakeSlack, sender: SlackSender) -> None:
    delivery = sender.post(a_message())
    changed = a_message("found the cause")
    assert sender.replace(delivery, changed) == delivery
    (posted,) = slack.messages
    assert posted.blocks == changed.blocks
    assert len(posted.edits) == 1


@pytest.mark.parametrize("method", ["files.getUploadURLExternal", "upload", "files.completeUploadExternal"])
def test_an_image_whose_upload_failed_is_sent_by_the_next_try(
    method: str, slack: FakeSlack, sender: SlackSender, image: Path
) -> None:
    slack.fail(method, "internal_error", status=500)
    delivery = sender.post(a_message())
    with pytest.raises(SlackUnavailableError):
        sender.show(delivery, image, a_message())
    assert [posted.ts for posted in slack.messages] == [delivery["ts"]]
    assert not any(file.shared for file in slack.files)
    assert not sender.has_image(delivery)
    sender.show(delivery, image, a_message())
    assert sender.has_image(delivery)


def test_an_image_is_taken_for_sent_where_the_thread_cannot_be_read(
    connect: Callable[..., None], sender: SlackSender
) -> None:
    with FakeSlack(scopes=frozenset({"chat:write"})) as slack:
        connect(slack)
        assert sender.has_image(sender.post(a_message()))


def test_missing_scope_for_files_names_the_scope(
    connect: Callable[..., None], sender: SlackSender, image: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with FakeSlack(scopes=frozenset({"chat:write"})) as slack:
        connect(slack)
        sender.show(sender.post(a_message()), image, a_message())
        assert len(slack.messages) == 1
    assert "add files:write to the app's bot token scopes" in caplog.text


def test_without_connection_the_outbox_takes_it(
    sender: SlackSender, image: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_SLACK_API_DEFAULT", raising=False)
    with caplog.at_level(logging.INFO, logger="evermodel_provider"):
        delivery = sender.post(a_message())
        sender.show(delivery, image, a_message())
    folder = Path(delivery["path"])
    assert delivery["kind"] == "outbox"
    assert (folder / "image.png").read_bytes() == PNG
    assert "boom & <bust>" in caplog.text

    updated = sender.replace(delivery, a_message("found the cause"))
    assert updated == delivery
    assert "found the cause" in (folder / "preview.html").read_text(encoding="utf-8")
    assert {path.name for path in sender.outbox.iterdir()} == {folder.name, "index.html"}


def test_connection_without_token_is_an_error(sender: SlackSender, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SLACK_API_DEFAULT", '{"conn_type": "slack"}')
    with pytest.raises(SlackConfigurationError, match="slack_api_default has no token"):
        sender.post(a_message())
    assert not sender.outbox.exists()


def test_wrong_token(slack: FakeSlack, connect: Callable[..., None], sender: SlackSender) -> None:
    connect(slack, "xoxb-wrong")
    with pytest.raises(
        SlackConfigurationError, match=r"#ml-alerts.*slack_api_default.*invalid_auth"
    ) as caught:
        sender.post(a_message())
    assert "xoxb-wrong" not in str(caught.value)


@pytest.mark.parametrize(
    ("channel", "code", "advice"),
    [("#nowhere", "channel_not_found", "check the channel's name"), ("#secret", "not_in_channel", "/invite")],
)
def test_wrong_channel(channel: str, code: str, advice: str, slack: FakeSlack, tmp_path: Path) -> None:
    with pytest.raises(SlackConfigurationError, match=code) as caught:
        SlackSender(CONNECTION, channel, tmp_path).post(a_message())
    assert channel in caught.value.problem
    assert advice in caught.value.advice


def test_missing_scope_for_messages(connect: Callable[..., None], sender: SlackSender) -> None:
    with FakeSlack(scopes=frozenset({"files:write"})) as slack:
        connect(slack)
        with pytest.raises(SlackConfigurationError, match="add chat:write"):
            sender.post(a_message())


def test_short_rate_limit_is_waited_for(slack: FakeSlack, sender: SlackSender) -> None:
    slack.fail("chat.postMessage", "ratelimited", status=429, retry_after=0)
    sender.post(a_message())
    assert slack.calls == ["chat.postMessage"] * 2
    assert len(slack.messages) == 1


def test_long_rate_limit_is_left_to_the_task(slack: FakeSlack, sender: SlackSender) -> None:
    slack.fail("chat.postMessage", "ratelimited", status=429, retry_after=0, times=5)
    with pytest.raises(SlackUnavailableError, match="ratelimited"):
        sender.post(a_message())
    assert len(slack.calls) == 3


@pytest.mark.parametrize(("error", "status"), [("internal_error", 200), ("fatal_error", 500), ("x y", 502)])
def test_trouble_at_slack_is_transient(
    error: str, status: int, slack: FakeSlack, sender: SlackSender
) -> None:
    slack.fail("chat.postMessage", error, status=status)
    with pytest.raises(SlackUnavailableError):
        sender.post(a_message())


def test_lost_answer_is_not_posted_twice_by_itself(slack: FakeSlack, sender: SlackSender) -> None:
    slack.fail("chat.postMessage", "hang up")
    with pytest.raises(SlackUnavailableError, match="cannot be reached"):
        sender.post(a_message())
    assert slack.calls == ["chat.postMessage"]


@pytest.mark.slow
def test_nobody_listens(sender: SlackSender, connect: Callable[..., None]) -> None:
    with FakeSlack() as slack:
        connect(slack)
    with pytest.raises(SlackUnavailableError, match="cannot be reached"):
        sender.post(a_message())


def test_refused_blocks_are_sent_as_plain_text(
    slack: FakeSlack, sender: SlackSender, caplog: pytest.LogCaptureFixture
) -> None:
    message = a_message()
    message.blocks.append({"type": "hologram"})
    sender.post(message)
    (posted,) = slack.messages
    assert posted.blocks == []
    assert "train failed" in posted.text
    assert "hologram" in caplog.text


def test_unknown_refusal_is_permanent(slack: FakeSlack, sender: SlackSender) -> None:
    slack.fail("chat.postMessage", "metadata_too_large")
    with pytest.raises(SlackRefusedError, match="metadata_too_large") as caught:
        sender.post(a_message())
    assert isinstance(caught.value, PermanentError)


def test_update_of_a_deleted_message(slack: FakeSlack, sender: SlackSender) -> None:
    gone = {"kind": "slack", "channel": "C0000000001", "ts": "1.000001", "path": ""}
    with pytest.raises(MessageGoneError, match="message_not_found"):
        sender.replace(gone, a_message())


@pytest.fixture
def slack_log(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """``caplog`` hears slack_sdk whatever Airflow's set-up of logging, or another test, left behind."""
    from airflow import settings

    settings.initialize()
    caplog.set_level(logging.DEBUG, "slack_sdk.web.base_client")
    logger = logging.getLogger("slack_sdk.web.base_client")
    monkeypatch.setattr(logger, "disabled", False)
    monkeypatch.setattr(logger, "propagate", False)
    logger.addHandler(caplog.handler)
    yield
    logger.removeHandler(caplog.handler)


def test_token_is_never_logged(
    slack: FakeSlack,
    sender: SlackSender,
    image: Path,
    slack_log: None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.DEBUG):
        delivery = sender.post(a_message())
        sender.show(delivery, image, a_message())
        slack.fail("chat.update", "internal_error")
        with pytest.raises(SlackUnavailableError) as caught:
            sender.replace(delivery, a_message())
    said = [caplog.text, repr(sender), repr(delivery), str(caught.value), str(caught.value.__cause__)]
    assert "chat.postMessage" in caplog.text, "slack_sdk's own debug log was not captured"
    assert not any(TOKEN in text for text in said)


def test_a_long_wait_is_left_to_the_queue(slack: FakeSlack, sender: SlackSender) -> None:
    slack.fail("chat.postMessage", "ratelimited", status=429, retry_after=120)
    with pytest.raises(SlackUnavailableError) as caught:
        sender.post(a_message())
    assert (caught.value.retry_after, caught.value.uncertain) == (120.0, False)
    assert slack.calls == ["chat.postMessage"]


@pytest.mark.parametrize("in_thread", [False, True])
def test_a_message_is_found_by_its_key(slack: FakeSlack, sender: SlackSender, in_thread: bool) -> None:
    slack.page_size = 2
    root = sender.post(failure_message("flights", "d", "root", "r", "", ""))
    thread = root if in_thread else None
    posted = sender.post(a_message(), thread=thread)
    for task in "abcde":
        sender.post(failure_message("flights", "d", task, "r", "", ""), thread=thread)

    assert sender.find(a_message(), thread=thread, since=YESTERDAY) == posted
    other = failure_message("other", "retrain_flights", "train", "manual__1", "", "")
    assert other.key == a_message().key
    assert sender.find(other, thread=thread, since=YESTERDAY) is None
    assert sender.find(a_message(), thread=None, since=YESTERDAY + timedelta(days=2)) is None


def test_a_known_id_needs_no_list_of_channels(slack: FakeSlack, sender: SlackSender) -> None:
    posted = sender.post(a_message())
    known = replace(sender, known_id=posted["channel"])
    assert known.find(a_message(), thread=None, since=YESTERDAY) == posted
    assert "conversations.list" not in slack.calls


@pytest.mark.parametrize("missing", ["channels:history", "channels:read"])
def test_without_the_scope_the_history_is_unknown(
    connect: Callable[..., None], sender: SlackSender, missing: str
) -> None:
    with FakeSlack(scopes=ALL_SCOPES - {missing}) as slack:
        connect(slack)
        sender.post(a_message())
        with pytest.raises(NoHistoryError, match="channels:history"):
            sender.find(a_message(), thread=None, since=YESTERDAY)


def test_trouble_while_looking_is_transient(slack: FakeSlack, sender: SlackSender) -> None:
    slack.fail("conversations.history", "internal_error", status=500)
    with pytest.raises(SlackUnavailableError):
        sender.find(a_message(), thread=None, since=YESTERDAY)


def a_context(**changes: Any) -> dict[str, Any]:
    ti = SimpleNamespace(
        dag_id="retrain_flights",
        task_id="train",
        run_id="r1",
        map_index=-1,
        log_url="http://airflow.example/log",
    )
    return {"ti": ti, "exception": ValueError("one class only"), **changes}


def test_failure_notifier(slack: FakeSlack, tmp_path: Path) -> None:
    from evermodel_provider.notifications.failure import FailureNotifier

    notifier = FailureNotifier(model="flights", connection_id=CONNECTION, channel="#ml-alerts")
    notifier(a_context())
    (posted,) = slack.messages
    assert "ValueError: one class only" in posted.text
    assert posted.metadata["event_payload"]["key"] == "failure-retrain_flights-r1-train"
    assert "<http://airflow.example/log|Log of the task>" in json.dumps(posted.blocks)


def test_failure_notifier_names_the_mapped_task(slack: FakeSlack, tmp_path: Path) -> None:
    from evermodel_provider.notifications.failure import FailureNotifier

    context = a_context()
    context["ti"].map_index = 2
    FailureNotifier(model="m", connection_id=CONNECTION, channel="#ml-alerts")(context)
    assert "train[2] failed" in slack.messages[0].text


def test_failure_notifier_never_fails_and_keeps_the_message(slack: FakeSlack, tmp_path: Path) -> None:
    from evermodel_provider.notifications.failure import FailureNotifier

    notifier = FailureNotifier(model="flights", connection_id=CONNECTION, channel="#nowhere")
    notifier(a_context())
    notifier({})
    assert slack.messages == []
    queue = message_queue(Settings.from_environment())
    (destination,) = queue.destinations()
    waiting = queue.waiting(destination)
    assert ["channel_not_found" in entry.error for _, entry in waiting] == [True, False]


def test_failure_notifier_defaults_to_the_outbox_of_the_installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from evermodel_provider.notifications.failure import FailureNotifier

    monkeypatch.delenv("AIRFLOW_CONN_SLACK_API_DEFAULT", raising=False)
    monkeypatch.setenv("EVERMODEL_HOME", str(tmp_path))
    FailureNotifier(model="flights", connection_id=CONNECTION, channel="#ml-alerts")(a_context())
    assert list((tmp_path / "outbox").glob("*/preview.html"))
