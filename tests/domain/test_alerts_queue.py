"""The durable queue: what is put into it arrives once and in order, whatever happens on the way."""

from __future__ import annotations

import json
import multiprocessing
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update

from evermodel.alerts import delivery as delivery_module
from evermodel.alerts.delivery import DeliveryReport, send_waiting
from evermodel.alerts.message import Message
from evermodel.alerts.queue import MessageQueue
from evermodel.alerts.queued_message import (
    DeliveryDelayedError,
    Destination,
    MessageGoneError,
    MessageRefusedError,
    NoHistoryError,
    QueuedMessage,
)
from evermodel.core.database.database import Database
from evermodel.core.database.tables import destinations, messages, receipts
from evermodel.core.errors import DatabaseUnavailableError, PermanentError

LANE = Destination("slack", {"connection": "slack_api_default", "channel": "#ml-alerts"})
NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
LATER = (NOON + timedelta(hours=8)).isoformat()


def entry(key: str, text: str = "", **changes: Any) -> QueuedMessage:
    message = Message(key, key, text or key, [], "warning", "flights").to_json()
    return QueuedMessage(**{"operation": "post", "event": "open", "message": message, **changes})


@dataclass
class Board:
    """Takes messages; ``faults`` are raised one by one, before or after the message has arrived."""

    shown: dict[str, str] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    threads: dict[str, Any] = field(default_factory=dict)
    faults: list[BaseException] = field(default_factory=list)
    upload_faults: list[BaseException] = field(default_factory=list)
    lost: bool = False
    blind: bool = False

    def post(self, message: Message, *, thread: Any, **rest: Any) -> dict[str, Any]:
        if self.faults and not self.lost:
            raise self.faults.pop(0)
        self.shown[message.key] = message.text
        self.log.append(message.key)
        self.threads[message.key] = thread
        if self.faults:
            raise self.faults.pop(0)
        return {"ts": message.key}

    def replace(self, delivery: dict[str, Any], message: Message) -> dict[str, Any]:
        if self.faults:
            raise self.faults.pop(0)
        self.shown[delivery["ts"]] = message.text
        self.log.append(f"{message.key} again")
        return delivery

    def find(self, message: Message, *, thread: Any, since: datetime) -> dict[str, Any] | None:
        if self.blind:
            raise NoHistoryError("the scope channels:history is missing")
        return {"ts": message.key} if message.key in self.shown else None

    def show(self, delivery: Any, image: Path, message: Message) -> None:
        if self.upload_faults:
            raise self.upload_faults.pop(0)
        self.log.append(f"image {image.read_text()}")

    def has_image(self, delivery: Any) -> bool:
        return any(line.startswith("image") for line in self.log)


@pytest.fixture
def queue(tmp_path: Path) -> MessageQueue:
    return MessageQueue(f"sqlite:///{tmp_path}/evermodel.db", tmp_path / "messages")


@pytest.fixture
def board() -> Board:
    return Board()


def send(queue: MessageQueue, board: Board, now: datetime = NOON) -> DeliveryReport:
    (report,) = send_waiting(queue, lambda lane: board, lambda: now)
    return report


def rows(queue: MessageQueue) -> list[tuple[str, str]]:
    """State and content of every message in the database."""
    with Database(queue.address).reading() as connection:
        query = select(messages.c.state, messages.c.content).order_by(messages.c.number)
        return [(state, content) for state, content in connection.execute(query)]


def test_messages_go_out_in_order_and_once(queue: MessageQueue, board: Board) -> None:
    for key in "cab":
        queue.put(LANE, entry(key))
    assert send(queue, board).sent == 3
    for key in "cab":
        queue.put(LANE, entry(key, "again"))
    assert send_waiting(queue, lambda lane: board, lambda: NOON) == []
    assert board.log == ["c", "a", "b"]


def test_an_outage_keeps_everything_in_order(queue: MessageQueue, board: Board) -> None:
    for key in "abc":
        queue.put(LANE, entry(key))
    board.faults = [DeliveryDelayedError("Slack is down")]
    report = send(queue, board)
    assert (report.sent, report.waiting, str(report.error)) == (0, 3, "Slack is down")
    queue.put(LANE, entry("d"))
    send(queue, board)
    assert board.log == list("abcd")


def test_a_wait_that_was_asked_for_is_kept(queue: MessageQueue, board: Board) -> None:
    queue.put(LANE, entry("a"))
    limited = DeliveryDelayedError("rate limit")
    limited.retry_after, limited.uncertain = 300.0, False
    board.faults = [limited]
    send(queue, board)
    assert send(queue, board, NOON + timedelta(seconds=299)).sent == 0
    assert send(queue, board, NOON + timedelta(seconds=301)).sent == 1


def test_a_delivery_that_was_not_confirmed_is_looked_up(queue: MessageQueue, board: Board) -> None:
    queue.put(LANE, entry("a"))
    queue.put(LANE, entry("b"))
    board.lost, board.faults = True, [KeyboardInterrupt()]
    with pytest.raises(KeyboardInterrupt):
        send(queue, board)
    board.lost = False
    send(queue, board)
    assert board.log == ["a", "b"]
    assert queue.receipt(LANE, "flights/a") == {"ts": "a"}


def test_killed_before_it_arrived_it_is_sent_again(queue: MessageQueue, board: Board) -> None:
    queue.put(LANE, entry("a"))
    board.faults = [KeyboardInterrupt()]
    with pytest.raises(KeyboardInterrupt):
        send(queue, board)
    send(queue, board)
    assert board.log == ["a"]


def test_sent_while_the_database_was_away_for_its_receipt_it_is_looked_up(
    queue: MessageQueue, board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> None:
        raise DatabaseUnavailableError("the database does not answer", "check it")

    queue.put(LANE, entry("a"))
    with monkeypatch.context() as patch:
        patch.setattr(MessageQueue, "remember", away)
        assert isinstance(send(queue, board).error, DatabaseUnavailableError)
    assert send(queue, board).sent == 1
    assert board.log == ["a"]


def test_without_history_it_is_sent_again_and_said_once(
    queue: MessageQueue, board: Board, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery_module, "_warned", set())
    board.blind = True
    for key in "ab":
        queue.put(LANE, entry(key))
        board.lost, board.faults = True, [DeliveryDelayedError("no answer")]
        send(queue, board)
        send(queue, board)
    assert board.log == ["a", "a", "b", "b"]
    assert caplog.text.count("may arrive twice") == 1


def test_a_change_of_a_message_that_waits_becomes_that_message(queue: MessageQueue, board: Board) -> None:
    queue.put(LANE, entry("a", "first words"))
    queue.put(LANE, entry("b"))
    for words in ("second words", "last words"):
        queue.put(LANE, entry("a", words, operation="replace", event="update"))
    send(queue, board)
    assert (board.log, board.shown["a"]) == (["a", "b"], "last words")


def test_changes_of_a_posted_message_become_one(queue: MessageQueue, board: Board) -> None:
    queue.put(LANE, entry("a", "first words"))
    send(queue, board)
    for words in ("second words", "last words"):
        queue.put(LANE, entry("a", words, operation="replace", event="update"))
    send(queue, board)
    assert (board.log, board.shown["a"]) == (["a", "a again"], "last words")


def test_a_change_waits_behind_a_message_whose_delivery_was_not_confirmed(
    queue: MessageQueue, board: Board
) -> None:
    queue.put(LANE, entry("a", "first words"))
    board.lost, board.faults = True, [DeliveryDelayedError("no answer")]
    send(queue, board)
    queue.put(LANE, entry("a", "second words", operation="replace", event="update"))
    send(queue, board)
    assert (board.log, board.shown["a"]) == (["a", "a again"], "second words")


def test_a_change_of_a_message_nobody_knows_is_posted(queue: MessageQueue, board: Board) -> None:
    queue.put(LANE, entry("a", operation="replace", event="update"))
    send(queue, board)
    assert board.log == ["a"]
    queue.remember(LANE, "flights/b", {"ts": "b"})
    queue.put(LANE, entry("b", operation="replace", event="update"))
    send(queue, board)
    assert board.log == ["a", "b again"]


def test_answers_go_to_where_the_first_message_went(queue: MessageQueue, board: Board) -> None:
    queue.put(LANE, entry("a"))
    queue.put(LANE, entry("b", thread="flights/a"))
    send(queue, board)
    assert board.threads == {"a": None, "b": {"ts": "a"}}


def test_quiet_hours_hold_a_message_and_its_answers_but_nothing_else(
    queue: MessageQueue, board: Board
) -> None:
    queue.put(LANE, entry("held", not_before=LATER))
    queue.put(LANE, entry("answer", thread="flights/held"))
    queue.put(LANE, entry("urgent"))
    report = send(queue, board)
    assert (board.log, report.waiting) == (["urgent"], 2)
    send(queue, board, NOON + timedelta(hours=9))
    assert board.log == ["urgent", "held", "answer"]


def test_an_escalation_frees_the_message_that_was_held(queue: MessageQueue, board: Board) -> None:
    queue.put(LANE, entry("a", not_before=LATER))
    queue.put(LANE, entry("a", "still a warning", operation="replace", event="update", not_before=LATER))
    assert send(queue, board).sent == 0
    queue.put(LANE, entry("a", "critical", operation="replace", event="escalate"))
    send(queue, board)
    assert board.shown == {"a": "critical"}


def test_of_an_incidents_reminders_only_the_newest_waits(queue: MessageQueue, board: Board) -> None:
    queue.remember(LANE, "flights/a", {"ts": "a"})
    for day in "123":
        queue.put(LANE, entry(f"remind-{day}", event="remind", thread="flights/a", not_before=LATER))
    send(queue, board, NOON + timedelta(hours=9))
    assert list(board.shown) == ["remind-3"]


def test_what_is_refused_is_put_aside_and_what_is_gone_is_dropped(
    queue: MessageQueue, board: Board, caplog: pytest.LogCaptureFixture
) -> None:
    queue.remember(LANE, "flights/gone", {"ts": "gone"})
    queue.put(LANE, entry("gone", operation="replace"))
    queue.put(LANE, entry("odd"))
    queue.put(LANE, entry("next"))
    board.faults = [MessageGoneError("deleted"), MessageRefusedError("metadata_too_large")]
    assert send(queue, board).error is None
    assert board.log == ["next"]
    ((state, content),) = rows(queue)
    assert (state, "metadata_too_large" in content) == ("refused", True)
    assert "put aside as refused" in caplog.text


def test_a_mistake_of_configuration_keeps_the_message(queue: MessageQueue, board: Board) -> None:
    queue.put(LANE, entry("a"))
    board.faults = [PermanentError("channel_not_found")]
    report = send(queue, board)
    assert (report.waiting, isinstance(report.error, PermanentError)) == (1, True)
    send(queue, board)
    assert board.log == ["a"]


def test_one_lane_that_is_stopped_stops_no_other(queue: MessageQueue, board: Board) -> None:
    other = Destination("slack", {"connection": "slack_api_default", "channel": "#other"})
    queue.put(LANE, entry("a"))
    queue.put(other, entry("a"))

    def transport_for(lane: Destination) -> Board:
        if lane == LANE:
            raise PermanentError("no token")
        return board

    reports = {
        report.destination.address["channel"]: report
        for report in send_waiting(queue, transport_for, lambda: NOON)
    }
    assert (reports["#ml-alerts"].waiting, reports["#other"].sent) == (1, 1)


def test_an_image_is_shown_once(queue: MessageQueue, board: Board, tmp_path: Path) -> None:
    image = tmp_path / "drift.png"
    image.write_text("one")
    queue.put(LANE, entry("a"), image)
    image.unlink()
    send(queue, board)
    assert board.log == ["a", "image one"]
    assert rows(queue) == []


def test_an_image_survives_a_crash_after_the_receipt(
    queue: MessageQueue, board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = tmp_path / "drift.png"
    image.write_text("one")
    queue.put(LANE, entry("a"), image)

    def stop(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(delivery_module._Sender, "_show", stop)
        with pytest.raises(KeyboardInterrupt):
            send(queue, board)
    send(queue, board)
    assert board.log == ["a", "image one"]


@pytest.mark.parametrize("fault", [KeyboardInterrupt(), DeliveryDelayedError("no answer")])
def test_an_image_whose_upload_was_interrupted_is_sent_by_the_next_try(
    queue: MessageQueue, board: Board, tmp_path: Path, fault: BaseException
) -> None:
    image = tmp_path / "drift.png"
    image.write_text("one")
    queue.put(LANE, entry("a"), image)
    board.upload_faults = [fault]
    with suppress(KeyboardInterrupt):
        assert send(queue, board).error is fault
    send(queue, board)
    assert board.log == ["a", "image one"]
    assert rows(queue) == []


def test_an_image_that_the_destination_does_not_take_twice_holds_no_message_up(
    queue: MessageQueue, board: Board, tmp_path: Path
) -> None:
    image = tmp_path / "drift.png"
    image.write_text("one")
    queue.put(LANE, entry("a"), image)
    queue.put(LANE, entry("b"))
    board.upload_faults = [DeliveryDelayedError("no answer"), DeliveryDelayedError("no answer")]
    send(queue, board)
    assert board.log == ["a"]
    send(queue, board)
    assert board.log == ["a", "b"]
    assert rows(queue) == []


def test_an_image_of_a_message_that_was_sent_and_not_removed_is_not_sent_again(
    queue: MessageQueue, board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = tmp_path / "drift.png"
    image.write_text("one")
    queue.put(LANE, entry("a"), image)
    with monkeypatch.context() as patch:
        patch.setattr(MessageQueue, "done", _refuse)
        assert send(queue, board).sent == 0
    queue.put(LANE, entry("a"), image)  # the step runs again
    queue.put(LANE, entry("b", event="remind"), image)
    send(queue, board)
    assert board.log == ["a", "image one", "b", "image one"]


def _refuse(*_: Any) -> None:
    raise OSError("the database is away")


def test_receipts_do_not_pile_up(queue: MessageQueue, board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evermodel.alerts.queue._MOST_RECEIPTS", 3)
    for number in range(6):
        queue.put(LANE, entry(str(number)))
    send(queue, board)
    with Database(queue.address).reading() as connection:
        assert connection.scalar(select(func.count()).select_from(receipts)) == 3
    assert queue.receipt(LANE, "flights/5") == {"ts": "5"}


def test_a_message_that_cannot_be_read_is_put_aside_and_stops_nothing_else(
    queue: MessageQueue, board: Board, caplog: pytest.LogCaptureFixture
) -> None:
    for key in "abc":
        queue.put(LANE, entry(key))
    with Database(queue.address).writing() as connection:
        connection.execute(update(messages).where(messages.c.number == 1).values(content='{"operation": "po'))
        connection.execute(update(messages).where(messages.c.number == 2).values(content='{"message": {}}'))
    queue.put(LANE, entry("d"))
    assert send(queue, board).sent == 2
    assert board.log == ["c", "d"]
    assert [state for state, _ in rows(queue)] == ["unreadable"] * 2
    assert "message 1 for slack-" in caplog.text


def test_a_destination_that_cannot_be_read_stops_no_other(
    queue: MessageQueue, board: Board, caplog: pytest.LogCaptureFixture
) -> None:
    queue.put(LANE, entry("a"))
    queue.put(Destination("slack", {"connection": "slack_api_default", "channel": "#other"}), entry("b"))
    with Database(queue.address).writing() as connection:
        first = update(destinations).where(destinations.c.name == LANE.name)
        connection.execute(first.values(content='{"connection": "sl'))
    assert [found.address["channel"] for found in queue.destinations()] == ["#other"]
    assert "a destination of the queue cannot be read" in caplog.text


def test_a_field_that_a_newer_release_added_stops_no_reader(queue: MessageQueue, board: Board) -> None:
    queue.put(LANE, entry("a"))
    (_, content) = rows(queue)[0]
    newer = content.replace('"url"', '"colour": "blue", "url"')
    with Database(queue.address).writing() as connection:
        connection.execute(update(messages).values(content=newer))
    assert send(queue, board).sent == 1


def test_the_messages_of_a_destination_can_be_dropped(queue: MessageQueue, board: Board) -> None:
    for key in "ab":
        queue.put(LANE, entry(key))
    assert (queue.drop("another"), queue.drop(LANE.name)) == (0, 2)
    assert queue.destinations() == []


def _puts(address: str, folder: Path, writer: int) -> None:
    for number in range(8):
        MessageQueue(address, folder).put(LANE, entry(f"{writer}-{number}"))


def test_on_postgresql_four_writers_at_once_keep_their_orders(
    postgres_database: str, board: Board, tmp_path: Path
) -> None:
    queue, fork = MessageQueue(postgres_database, tmp_path), multiprocessing.get_context("fork")
    writers = [fork.Process(target=_puts, args=(postgres_database, tmp_path, n)) for n in range(4)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        send_waiting(queue, lambda lane: board, lambda: NOON)
    send_waiting(queue, lambda lane: board, lambda: NOON)
    assert [writer.exitcode for writer in writers] == [0] * 4
    for writer in range(4):
        mine = [key for key in board.log if key.startswith(f"{writer}-")]
        assert mine == [f"{writer}-{number}" for number in range(8)]
    image = tmp_path / "drift.png"
    image.write_text("one")
    queue.put(LANE, entry("0-0", "again", operation="replace", event="update"), image)
    assert send(queue, board).sent == 1
    assert board.log[32:] == ["0-0 again"]
    assert queue.last_delivery(LANE) == {"ts": "0-0"}


# The queue of earlier releases, as files.


def a_folder(queue: MessageQueue) -> Path:
    """What an earlier release left: a receipt of `a`, three messages, of which one repeats `a`, and broken files."""
    folder = queue.folder / LANE.name
    for name in ("waiting", "sent"):
        (folder / name).mkdir(parents=True)
    (folder / "lane.json").write_text(json.dumps(asdict(LANE)))
    (folder / "sent" / "1.json").write_text(json.dumps({"key": "flights/a", "delivery": {"ts": "a"}}))
    (folder / "sent" / "2.json").write_text('{"key": "fli')
    (folder / "pause.json").write_text("{}")
    for number, one in enumerate(
        (entry("b"), entry("a", "again", operation="replace", event="update"), entry("c", thread="flights/a"))
    ):
        (folder / "waiting" / f"{number:020d}.json").write_text(one.to_text())
    (folder / "waiting" / f"{0:020d}.png").write_text("one")
    (folder / "waiting" / f"{9:020d}.json").write_text("{")
    (queue.folder / "broken").mkdir()
    (queue.folder / "broken" / "lane.json").write_text("{")
    return folder


TAKEN = ["b", "image one", "a again", "c"]


def test_a_queue_of_files_is_taken_over_in_order_and_what_is_broken_is_put_aside(
    queue: MessageQueue, board: Board, caplog: pytest.LogCaptureFixture
) -> None:
    folder = a_folder(queue)
    board.shown["a"] = "a"
    queue.put(LANE, entry("d"))

    send(queue, board)

    assert board.log == [*TAKEN, "d"]
    assert board.threads["c"] == {"ts": "a"}
    assert queue.last_delivery(LANE) == {"ts": "d"}
    assert sorted(file.name for file in folder.rglob("unreadable/*")) == [f"{9:020d}.json", "2.json"]
    assert caplog.text.count("cannot be read, and is now in") == 3
    assert not list(queue.folder.glob("*/lane.json"))


@pytest.mark.parametrize("number", range(1, 9))
def test_killed_anywhere_the_taking_over_goes_on_without_loss_and_doubles(
    queue: MessageQueue, board: Board, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_folder(queue)
    unlink, left = Path.unlink, [number]

    def dies(self: Path, **more: Any) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        unlink(self, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", dies)
        try:
            queue.destinations()
        except KeyboardInterrupt:
            pass
        else:
            assert number == 8, "so many files go"
    send(queue, board)
    assert board.log == TAKEN
