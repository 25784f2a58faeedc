"""What Airflow's client does when Airflow's database is busy, against a server that speaks its answers."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from evermodel.cli.local_stack import airflow_api
from evermodel.cli.local_stack.airflow_api import AirflowApi, AirflowRequestError

BUSY = (500, {"detail": {"reason": "Database error", "statement": "hidden"}})


class Airflow:
    """Answers each request with the next of its answers, and keeps what it was asked for."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, Any]] = []
        self.asked: list[Any] = []
        airflow = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                airflow.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                status, answer = airflow.answers.pop(0)
                body = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def airflow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Airflow]:
    monkeypatch.setattr(airflow_api, "_PAUSES", (0.01, 0.01))
    made = Airflow()
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


def test_a_trigger_that_met_a_busy_database_is_sent_again_as_the_same_run(airflow: Airflow) -> None:
    airflow.answers = [BUSY, (200, {"dag_run_id": "whatever"})]
    run_id = AirflowApi(airflow.url, "token").trigger("works")
    assert [asked["dag_run_id"] for asked in airflow.asked] == [run_id, run_id]
    assert run_id.startswith("manual__")


def test_a_run_that_was_made_all_the_same_is_the_run(airflow: Airflow) -> None:
    airflow.answers = [BUSY, (409, {"detail": "the run exists"})]
    assert AirflowApi(airflow.url, "token").trigger("works", run_id="mine") == "mine"


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ([BUSY] * 3, "500: .*Database error"),
        ([(409, {"detail": "the run exists"})], "409: the run exists"),
        ([(500, {"detail": "a bug"})], "500: a bug"),
    ],
)
def test_what_does_not_pass_is_told(airflow: Airflow, answers: list[Any], message: str) -> None:
    airflow.answers = answers
    with pytest.raises(AirflowRequestError, match=message):
        AirflowApi(airflow.url, "token").trigger("works", run_id="mine")
    assert airflow.answers == []
