"""The queue and Slack's wire protocol together: outages, crashes, two senders, and other notifiers beside it."""

from __future__ import annotations

import email
import multiprocessing
import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from airflow.sdk import BaseNotifier

from evermodel.alerts import delivery as delivery_module
from evermodel.alerts.delivery import DeliveryReport
from evermodel.alerts.failure_message import failure_message
from evermodel.alerts.message import Message
from evermodel.alerts.publisher import Publisher, clock, message_queue
from evermodel.alerts.queue import MessageQueue
from evermodel.cli.local_stack.ports import free_port
from evermodel.core.errors import PermanentError
from evermodel.core.settings import Settings
from evermodel.spec import ModelSpec, load_spec
from evermodel_provider.notifications.delivery import send_queue, tell
from support.slack_server import ALL_SCOPES, FakeSlack
from support.small_spec import small_spec

NOTIFIER = f"{__name__}.Recorder"


class Recorder(BaseNotifier):
    """A notifier that notes what it is told, or breaks."""

    told: list[dict[str, Any]] = []  # noqa: RUF012
    broken = False

    def __init__(self, **arguments: Any) -> None:
        super().__init__()
        self.arguments = arguments

    def notify(self, context: Any) -> None:
        if self.broken:
            raise RuntimeError("the pager is out of order")
        self.told.append(self.arguments)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("EVERMODEL_HOME", str(tmp_path))
    monkeypatch.setenv("EVERMODEL_MODELS", str(tmp_path / "models"))
    monkeypatch.delenv("EVERMODEL_LAKE", raising=False)
    monkeypatch.setattr(Recorder, "told", [])
    monkeypatch.setattr(Recorder, "broken", False)
    return Settings.from_environment()


@pytest.fixture
def slack(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSlack]:
    with FakeSlack() as slack:
        monkeypatch.setenv("AIRFLOW_CONN_SLACK_API_DEFAULT", slack.connection_json())
        yield slack


def a_spec(settings: Settings, **alerts: Any) -> ModelSpec:
    spec = small_spec(alerts=alerts).model_dump(mode="json")
    settings.models.mkdir(exist_ok=True)
    (settings.models / "small.yaml").write_text(yaml.safe_dump(spec))
    return load_spec("small", settings)


def a_message(number: int) -> Message:
    return failure_message("small", "retrain_small", f"task{number}", "r", f"error {number}", "")


def put(settings: Settings, *numbers: int, thread: str = "") -> None:
    dispatch = Publisher(message_queue(settings), a_spec(settings), clock())
    for number in numbers:
        dispatch.post("failure", a_message(number), thread=thread)


def titles(slack: FakeSlack) -> list[str]:
    return [message.text.split(" failed")[0].rsplit(" ", 1)[-1] for message in slack.messages]


def problem(reports: list[DeliveryReport]) -> str:
    (report,) = reports
    return str(report.error)


def test_what_an_outage_kept_goes_out_later_in_order(slack: FakeSlack, settings: Settings) -> None:
    slack.fail("chat.postMessage", "fatal_error", status=503, times=2)
    for number in range(3):
        assert tell(a_spec(settings), settings, "failure", a_message(number))["kind"] == (
            "queued" if number < 2 else "slack"
        )
    assert titles(slack) == ["task0", "task1", "task2"]


def test_retry_after_is_honoured(
    slack: FakeSlack, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    slack.fail("chat.postMessage", "ratelimited", status=429, retry_after=120)
    put(settings, 1, 2)
    assert "ratelimited" in problem(send_queue(settings))
    asked = len(slack.calls)
    assert send_queue(settings)[0].sent == 0
    assert len(slack.calls) == asked
    later = clock() + timedelta(seconds=121)
    monkeypatch.setattr("evermodel_provider.notifications.delivery.clock", lambda: later)
    assert send_queue(settings)[0].sent == 2
    assert titles(slack) == ["task1", "task2"]


def test_a_lost_answer_is_looked_up_and_nothing_is_sent_twice(slack: FakeSlack, settings: Settings) -> None:
    slack.fail("chat.postMessage", "lost answer")
    put(settings, 1, 2)
    assert "cannot be reached" in problem(send_queue(settings))
    send_queue(settings)
    assert titles(slack) == ["task1", "task2"]


def test_without_the_scope_it_is_sent_again_and_said_once(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(delivery_module, "_warned", set())
    with FakeSlack(scopes=ALL_SCOPES - {"channels:history"}) as slack:
        monkeypatch.setenv("AIRFLOW_CONN_SLACK_API_DEFAULT", slack.connection_json())
        for number in (1, 2):
            slack.fail("chat.postMessage", "lost answer")
            put(settings, number)
            send_queue(settings)
            send_queue(settings)
    assert titles(slack) == ["task1", "task1", "task2", "task2"]
    assert caplog.text.count("may arrive twice") == 1


def _fork(work: Callable[[], Any]) -> multiprocessing.process.BaseProcess:
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    return process


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("in_thread", [False, True])
def test_killed_between_sending_and_noting_it_sends_nothing_twice(
    slack: FakeSlack, settings: Settings, in_thread: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(settings, 0)
    send_queue(settings)
    put(settings, 1, 2, thread=a_message(0).identity if in_thread else "")

    def die(*args: Any) -> None:
        os._exit(9)

    with monkeypatch.context() as patch:
        patch.setattr(MessageQueue, "remember", die)
        killed = _fork(lambda: send_queue(settings))
        killed.join(20)
    assert (killed.exitcode, titles(slack)) == (9, ["task0", "task1"])
    send_queue(settings)
    assert titles(slack) == ["task0", "task1", "task2"]
    assert len(slack.thread(slack.messages[0].ts)) == (2 if in_thread else 0)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_two_processes_at_once_send_everything_once_and_in_order(
    slack: FakeSlack, settings: Settings
) -> None:
    slack.delay = 0.05
    slack.scopes -= {"channels:history"}  # no looking up: only the lock keeps the senders apart
    put(settings, *range(8))
    senders = [_fork(lambda: send_queue(settings)) for _ in range(3)]
    for sender in senders:
        sender.join(30)
    assert [sender.exitcode for sender in senders] == [0, 0, 0]
    assert titles(slack) == [f"task{number}" for number in range(8)]


def test_a_mistake_in_the_connection_is_raised_and_keeps_the_message(
    slack: FakeSlack, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = a_spec(settings, channel="#nowhere")
    with pytest.raises(PermanentError, match="channel_not_found"):
        tell(spec, settings, "failure", a_message(1))
    slack.channels["nowhere"] = "C0000000002"
    assert send_queue(settings)[0].sent == 1
    assert titles(slack) == ["task1"]


def test_other_notifiers_get_the_texts_filled_in_once(slack: FakeSlack, settings: Settings) -> None:
    arguments = {
        "subject": "{model}: {title}", "body": ["{text} {unknown} {{ ti }}"], "where": {"link": "{url}"}, "port": 25,
    }  # fmt: skip
    spec = a_spec(settings, notifiers=[{"notifier": NOTIFIER, "arguments": arguments}])
    message = failure_message("small", "d", "train", "r", "a name like {model} or {{ ti }}", "")
    for _ in range(2):
        tell(spec, settings, "failure", message, "http://airflow.example/log")
    (told,) = Recorder.told
    assert told["subject"] == "small: [failure] small: train failed"
    assert "a name like {model} or {{ ti }}" in told["body"][0]
    assert told["body"][0].endswith("{unknown} {{ ti }}")
    assert (told["where"], told["port"]) == ({"link": "http://airflow.example/log"}, 25)


def test_a_broken_notifier_does_not_stop_slack_and_hears_of_it_later(
    slack: FakeSlack, settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    missing = {"notifier": "no.such.Notifier"}
    spec = a_spec(settings, notifiers=[missing, {"notifier": NOTIFIER, "arguments": {"text": "{title}"}}])
    monkeypatch.setattr(Recorder, "broken", True)
    assert tell(spec, settings, "failure", a_message(1))["kind"] == "slack"
    assert "the pager is out of order" in caplog.text
    assert "no.such.Notifier cannot be imported" in caplog.text

    monkeypatch.setattr(Recorder, "broken", False)
    slack.fail("chat.postMessage", "fatal_error", status=500)
    assert tell(spec, settings, "failure", a_message(2))["kind"] == "queued"
    assert [told["text"] for told in Recorder.told] == [a_message(1).plain_title, a_message(2).plain_title]

    a_spec(settings, notifiers=[{"notifier": NOTIFIER, "arguments": {"text": "corrected"}}])
    send_queue(settings)
    assert titles(slack) == ["task1", "task2"]


def test_mail_by_airflows_own_notifier(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    from aiosmtpd.controller import Controller

    class Mailbox:
        mails: list[Any] = []  # noqa: RUF012

        async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
            self.mails.append(envelope)
            return "250 OK"

    monkeypatch.delenv("AIRFLOW_CONN_SLACK_API_DEFAULT", raising=False)
    controller = Controller(Mailbox(), hostname="127.0.0.1", port=free_port())
    controller.start()
    try:
        extra = '{"disable_ssl": true, "disable_tls": true}'
        monkeypatch.setenv(
            "AIRFLOW_CONN_SMTP_DEFAULT",
            f'{{"conn_type": "smtp", "host": "127.0.0.1", "port": {controller.port}, "extra": {extra}}}',
        )
        arguments = {
            "to": "team@example.com", "from_email": "airflow@example.com", "subject": "{title}",
            "html_content": "<pre>{text}</pre>", "smtp_conn_id": "smtp_default",
        }  # fmt: skip
        notifier = "airflow.providers.smtp.notifications.smtp.SmtpNotifier"
        spec = a_spec(settings, notifiers=[{"notifier": notifier, "arguments": arguments}])
        tell(spec, settings, "failure", a_message(7))
    finally:
        controller.stop()
    (mail,) = Mailbox.mails
    assert mail.rcpt_tos == ["team@example.com"]
    received = email.message_from_bytes(mail.content)
    (body,) = received.get_payload()
    assert received["Subject"] == "[failure] small: task7 failed"
    assert "error 7</pre>" in body.get_payload(decode=True).decode()
