"""What callers send on purpose or by mistake, over real connections: each is refused, and holds up nobody."""

from __future__ import annotations

import gzip
import json
import logging
import resource
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from evermodel.serving import request_body as body_reading
from evermodel.serving.connection import HEAD_BYTES, PatientConnection
from support.serving_edge import BODY, ROW, Edges
from support.serving_models import wait_until

MB = 1024 * 1024


@contextmanager
def listening(app: Any, **options: Any) -> Iterator[httpx.Client]:
    config = uvicorn.Config(app, port=0, log_config=None, http=PatientConnection, lifespan="off", **options)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started, "uvicorn listens")
        port = server.servers[0].sockets[0].getsockname()[1]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join(30)


@pytest.fixture
def client(edge: Edges, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    monkeypatch.setattr(body_reading, "BODY_SECONDS", 0.5)
    monkeypatch.setattr(PatientConnection, "head_seconds", 0.5)
    with edge(max_rows=50) as (made, _), listening(made.app()) as client:
        yield client
        assert client.post("/predict", json=BODY).status_code == 200  # whatever came before


def connected(client: httpx.Client) -> socket.socket:
    return socket.create_connection((client.base_url.host, client.base_url.port or 0), timeout=10)


def go_on(connection: socket.socket, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        connection.sendall(b"x" * 1000)
        time.sleep(0.01)


def everything(connection: socket.socket) -> bytes:
    found = b""
    with suppress(ConnectionResetError):
        while data := connection.recv(65536):
            found += data
    return found


@pytest.mark.parametrize(
    ("header", "part"),
    [
        (b"Content-Length: 104857600", b"x" * MB),
        (b"Transfer-Encoding: chunked", b"100000\r\n" + b" " * MB + b"\r\n"),
    ],
    ids=["declared", "chunked"],
)
def test_a_hundred_megabytes_are_refused_early_and_never_held(
    client: httpx.Client, header: bytes, part: bytes
) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with connected(client) as huge:
        huge.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\n" + header + b"\r\n\r\n" + part + part)
        answer = huge.recv(65536)
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b"the body is larger than" in answer
        with suppress(OSError):
            for _ in range(98):
                huge.sendall(part)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30 * 1024


def test_a_length_that_lies_is_cut_off(client: httpx.Client) -> None:
    with connected(client) as more:
        text = json.dumps(BODY).encode()
        more.sendall(
            b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (len(text) - 5) + text
        )
        answer = everything(more)
        assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 422 "))
    with connected(client) as less:
        less.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n" + text)
        assert everything(less).startswith(b"HTTP/1.1 408 ")


def test_a_request_counts_the_wait_for_those_before_it(edge: Edges) -> None:
    with edge() as (made, _), listening(made.app()) as client, connected(client) as two:
        made.now.does = lambda: time.sleep(0.1)
        text = json.dumps(BODY).encode()
        two.sendall(
            (b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(text) + text) * 2
        )
        wait_until(lambda: made.count("evermodel_request_seconds_count") == 2, "both are answered")
        assert made.count("evermodel_request_seconds_sum") >= 0.3


def test_a_body_that_drips_is_ended_and_holds_up_nobody(client: httpx.Client) -> None:
    slow = [connected(client) for _ in range(20)]
    for connection in slow:
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
    begin = time.monotonic()
    for _ in range(5):
        for connection in slow:
            connection.sendall(b" ")
        assert client.post("/predict", json=BODY).status_code == 200
        time.sleep(0.05)
    for connection in slow:
        answer = everything(connection)
        connection.close()
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"did not arrive within 0.5 seconds" in answer
    assert time.monotonic() - begin < 5


def test_a_head_that_drips_or_never_ends_is_cut_off(client: httpx.Client) -> None:
    with connected(client) as silent, connected(client) as half:
        half.sendall(b"POST /predict HTTP/1.1\r\nHost:")
        assert (everything(silent), everything(half)) == (b"", b"")
    with connected(client) as endless:
        endless.sendall(b"GET /health HTTP/1.1\r\nX-A: " + b"a" * 1000)
        with suppress(OSError):
            for _ in range(HEAD_BYTES // 1000 + 10):
                endless.sendall(b"a" * 1000)
        answer = everything(endless)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400 ")


def test_an_early_refusal_is_read_although_the_caller_goes_on_sending(client: httpx.Client) -> None:
    with connected(client) as stubborn:
        stubborn.sendall(
            b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n" + b"x" * 1000
        )
        assert stubborn.recv(100).startswith(b"HTTP/1.1 413 ")
        with pytest.raises(OSError, match=r"reset|pipe|closed"):
            go_on(stubborn, 5.0)


@pytest.mark.parametrize(
    ("content", "status", "message"),
    [
        (gzip.compress(json.dumps(BODY).encode(), mtime=0), 415, "the body is compressed"),
        ('{"rows": [{"amount": 1, "age": 2, "colour": "röt"}]}'.encode("latin-1"), 422, "not valid JSON"),
        (b'{"rows": []}', 422, "the list is empty"),
        (b'{"rows": [' + b"[" * 15_000 + b"]" * 15_000 + b"]}", 422, "nested too deeply"),
        (b'{"rows": [' + b"[" * 50_000 + b"]" * 50_000 + b"]}", 413, "more than 20006 commas and brackets"),
        (
            b'{"row": {"amount": {"a": [1]}, "age": 2, "colour": "a"}}',
            422,
            "amount: must be a number or null",
        ),
        (b'{"row": {"amount": true, "age": 2, "colour": "a"}}', 422, "not the boolean true"),
        (b'{"row": {"amount": "1", "age": 2, "colour": "a"}}', 422, "not the string '1'"),
        (b'{"row": {"amount": 1, "age": 2, "colour": 3}}', 422, "colour: must be a string or null"),
        (b'{"row": {"amount": 1e31, "age": 2, "colour": null}}', 422, "amount: must be a number from"),
        (b'{"row": {"amount": -Infinity, "age": 2, "colour": null}}', 422, "amount: must be a finite number"),
        (b'{"row": {"amount": ' + b"9" * 4000 + b', "age": 2, "colour": null}}', 422, "amount: must be"),
        (b'{"row": {"amount": ' + b"9" * 9000 + b', "age": 2, "colour": null}}', 422, "not valid JSON"),
        (b"null", 422, "must be an object"),
        (json.dumps({"rows": [ROW] * 51}).encode(), 413, "more than the 50 rows"),
    ],
    ids=lambda value: None if isinstance(value, bytes) else str(value),
)
@pytest.mark.usefixtures("recursion_limit_of_a_server")
def test_bad_bodies_are_named(edge: Edges, content: bytes, status: int, message: str) -> None:
    with edge(max_rows=50) as (_, client):
        answer = client.post("/predict", content=content)
    assert (answer.status_code, message in answer.json()["detail"]) == (status, True), answer.text


def test_of_a_key_that_comes_twice_the_last_counts(edge: Edges) -> None:
    with edge() as (made, client):
        twice = b'{"row": {"amount": 1, "age": 2, "colour": "a", "amount": 3}}'
        assert client.post("/predict", content=twice).status_code == 200
    assert [row["amount"] for row in made.logged()] == [3.0]


def test_the_access_log_tells_everything_but_the_values(
    edge: Edges, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "evermodel.access")
    with edge() as (_, client):
        client.post("/predict", json=BODY, headers={"X-Request-ID": "r1"})
        client.post("/predict", json={"row": {**ROW, "age": "crimson"}}, headers={"X-Request-ID": "r2"})
    good, bad = (r.getMessage() for r in caplog.records if r.name == "evermodel.access")
    assert good.startswith("event=request model=small version=7 status=200 ms=")
    assert good.endswith("rows=2 request_id=r1")
    assert "status=422" in bad
    assert "crimson" not in caplog.text


def test_a_full_disk_drops_counts_and_goes_on(tmp_path: Path, edge: Edges) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with edge(flush_seconds=0.05) as (made, client):
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
        try:
            for _ in range(3):
                assert client.post("/predict", json=BODY).status_code == 200
            wait_until(
                lambda: made.count("evermodel_predictions_dropped_total", reason="write_failed") == 6,
                "the loss is counted",
            )
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert client.post("/predict", json=BODY).status_code == 200
    assert len(made.logged()) == 2
    assert not [file for file in tmp_path.rglob("*") if file.is_file() and file.suffix != ".parquet"]
