"""`evermodel serve` as a process of its own, with several workers; a constant answers, so no registry is needed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pyarrow.parquet as pq
import pytest
from prometheus_client.parser import text_string_to_metric_families

from support.serving_models import SPEC, wait_until

ROWS = {"rows": [{"temp": 1.0, "wind": None, "carrier": "crimson"}]}
TOKEN = "a-token-that-is-long-enough"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "models").mkdir()
    spec = SPEC.format(name="late").replace(
        "serving: {max_rows: 50}", "serving: {fallback: {kind: constant, score: 0.3}}"
    )
    (tmp_path / "models" / "late.yaml").write_text(spec)
    return {
        **os.environ,
        "EVERMODEL_HOME": str(tmp_path / "home"),
        "EVERMODEL_LAKE": str(tmp_path / "lake"),
        "EVERMODEL_MODELS": str(tmp_path / "models"),
        "EVERMODEL_SERVING_TOKENS": TOKEN,
        "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    }


@contextmanager
def serving(environment: dict[str, str], *options: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "evermodel.cli", "serve", "late", "--port", str(port), *options]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        yield f"http://127.0.0.1:{port}", process
    finally:
        process.terminate()
        process.communicate(timeout=60)


def ask(url: str, path: str, body: object = None) -> httpx.Response:
    """Ask on a connection of its own, so that any worker may answer."""
    with httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        return (
            client.get(path, headers=headers)
            if body is None
            else client.post(path, json=body, headers=headers)
        )


def alive(url: str) -> bool:
    try:
        return ask(url, "/health").status_code == 200
    except httpx.HTTPError:
        return False


def answered(text: str) -> float:
    samples = (s for family in text_string_to_metric_families(text) for s in family.samples)
    return sum(
        s.value for s in samples if s.name == "evermodel_requests_total" and s.labels["status"] == "200"
    )


@pytest.mark.server
@pytest.mark.timeout(180)
def test_workers_count_together_and_lose_no_logged_prediction_on_sigterm(
    environment: dict[str, str], tmp_path: Path
) -> None:
    with serving(environment, "--workers", "2", "--access-log") as (url, process):
        wait_until(lambda: alive(url), "a worker answers", seconds=120)
        for number in range(1, 41):
            answer = ask(url, "/predict", ROWS)
            assert (answer.status_code, answer.json()["version"]) == (200, "constant")
            if number % 10 == 0:
                assert answered(ask(url, "/metrics").text) == number
        text = ask(url, "/metrics").text
        assert 'evermodel_request_seconds_created{model="late"}' in text
        assert (
            'evermodel_fallback_answers_total{kind="constant",model="late",reason="not_loaded"} 40.0' in text
        )
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    files = list((tmp_path / "lake" / "predictions" / "late").rglob("*.parquet"))
    assert sum(pq.ParquetFile(file).metadata.num_rows for file in files) == 40
    lines = said.splitlines()
    assert (
        len([line for line in lines if "event=request model=late version=constant status=200" in line]) == 40
    )
    assert all(line.startswith("time=") and " level=" in line for line in lines), said
    assert TOKEN not in said
    assert "crimson" not in said


def test_a_port_that_is_taken_is_said_in_one_sentence(environment: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "evermodel.cli", "serve", "late", "--port", str(port)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_collections_leave_out_what_the_start_made(environment: dict[str, str]) -> None:
    code = (
        "import gc; from starlette.testclient import TestClient; from evermodel.serving.run import worker_app\n"
        "app, before = worker_app(), gc.get_freeze_count()\n"
        "with TestClient(app): print(before, gc.get_freeze_count() > 10_000)"
    )
    arguments = json.dumps({"models": ["late"], "poll_seconds": 5.0, "access_log": False})
    env = {**environment, "EVERMODEL_SERVE_ARGUMENTS": arguments}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60)
    assert done.stdout == "0 True\n", done.stderr
