"""CloudEvents of a window, sent to a receiver on loopback."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException

from evermodel.alerts.cloud_events import events_of, send_events
from evermodel.core.errors import PermanentError, TransientError
from evermodel_provider.operators.events import PublishEventsOperator
from support.small_spec import small_spec
from support.verdicts import a_verdict

INCIDENTS = [
    {"kind": "drift", "action": "open", "severity": "critical", "incident": "drift-1", "message": "m"},
    {"kind": "quality", "action": "quiet", "severity": "none", "incident": "", "message": ""},
]
REQUEST = {
    "run_key": "retrain/flights/drift-2013-08-08",
    "as_of": "2013-08-08T00:00:00+00:00",
    "reason": "drift",
}


@dataclass
class Receiver:
    """What arrived, and what is answered."""

    port: int = 0
    status: int = 202
    taken: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.taken.append((self.path, dict(self.headers), json.loads(body)))
            self.send_response(found.status)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield found
    server.shutdown()
    server.server_close()
    thread.join(10)


def test_a_window_has_a_verdict_the_changes_of_incidents_and_the_request() -> None:
    events = events_of(a_verdict(), INCIDENTS, REQUEST)
    assert [event["type"] for event in events] == [
        "evermodel.verdict",
        "evermodel.incident.opened",
        "evermodel.retrain.requested",
    ]
    verdict, incident, request = (event["data"] for event in events)
    assert (verdict["model"], verdict["severity"], verdict["version"]) == ("flights", "critical", "7")
    assert [column["severity"] for column in verdict["drifting"]] == ["critical"]
    assert (incident["incident"], incident["kind"]) == ("drift-1", "drift")
    assert request["run_key"] == REQUEST["run_key"]
    # What CloudEvents 1.0 requires of each, and the same ids again.
    for event in events:
        assert event["specversion"] == "1.0"
        assert all(event[name] for name in ("id", "source", "type"))
    assert len({event["id"] for event in events}) == 3
    assert events_of(a_verdict(), INCIDENTS, REQUEST) == events
    assert [event["type"] for event in events_of(a_verdict())] == ["evermodel.verdict"]


@pytest.mark.parametrize(
    ("status", "error"),
    [(503, TransientError), (429, TransientError), (403, PermanentError), (301, PermanentError)],
)
def test_a_receiver_that_is_busy_is_asked_again_and_a_refusal_is_not(
    receiver: Receiver, status: int, error: type[Exception]
) -> None:
    receiver.status = status
    with pytest.raises(error, match=rf"connection hook .*{status}"):
        send_events(
            f"http://127.0.0.1:{receiver.port}",
            events_of(a_verdict()),
            {"Authorization": "s3cret"},
            "connection hook",
        )
    assert len(receiver.taken) == 1


def test_a_receiver_that_is_away_is_asked_again() -> None:
    with pytest.raises(TransientError, match="ConnectError") as raised:
        send_events("http://127.0.0.1:9/s3cret", events_of(a_verdict()), {}, "connection hook")
    assert "s3cret" not in str(raised.value)


class _Run:
    def verdict(self) -> Any:
        return a_verdict()


def test_the_operator_sends_to_the_connection_of_the_spec(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    import yaml

    from support.paths import PROJECT

    monkeypatch.setenv("EVERMODEL_DATA", str(tmp_path))
    spec = yaml.safe_load((PROJECT / "include" / "models" / "flights.yaml").read_text())
    file = tmp_path / "flights.yaml"
    connection = {
        "conn_type": "http", "host": "127.0.0.1", "port": receiver.port, "schema": "http", "password": "t0ken",
        "extra": {"endpoint": "/hooks/models"},
    }  # fmt: skip
    monkeypatch.setenv("AIRFLOW_CONN_MODEL_EVENTS", json.dumps(connection))
    monkeypatch.setattr(PublishEventsOperator, "drift_watch", lambda self: _Run())
    for alerts in ({"events_connection": "model_events"}, {}):
        file.write_text(yaml.safe_dump({**spec, "alerts": alerts}))
        with DAG(f"events_{len(alerts)}", schedule=None):
            task = PublishEventsOperator(
                task_id="publish",
                model=str(file),
                as_of="2013-08-08",
                alerted={"incidents": INCIDENTS},
                requested="None",
            )
        if alerts:
            ids = task.execute({})  # type: ignore[typeddict-item]
        else:
            with pytest.raises(AirflowFailException, match="events_connection is not set"):
                task.execute({})  # type: ignore[typeddict-item]
    assert ids == [
        "flights/verdict/2013-08-08T00:00:00+00:00",
        "flights/incident.opened/drift-1/2013-08-08T00:00:00+00:00",
    ]
    assert {path for path, _, _ in receiver.taken} == {"/hooks/models"}
    _, headers, body = receiver.taken[0]
    assert headers["Content-Type"].startswith("application/cloudevents+json")
    assert headers["Authorization"] == "Bearer t0ken"
    assert body["id"] == ids[0]
    assert "t0ken" not in json.dumps([taken[2] for taken in receiver.taken])


def test_the_drift_dag_ends_with_the_events_where_the_spec_names_a_connection() -> None:
    from evermodel_provider.dags.drift import build
    from evermodel_provider.dags.options import DagOptions

    spec = small_spec(alerts={"events_connection": "model_events"})
    task = build(DagOptions([spec]), spec).task_dict["publish_events"]
    assert task.upstream_task_ids == {"alert", "ask_for_retrain"}
    assert task.trigger_rule == "none_failed"  # most days ask for nothing
    plain = small_spec()
    assert "publish_events" not in build(DagOptions([plain]), plain).task_dict
