"""The MLflow connection: where the address comes from, and what happens to the password."""

from __future__ import annotations

import json
import logging
import os
from typing import Any

import pytest

from evermodel.cli.local_stack.ports import free_port
from evermodel.core.errors import TrackingUnavailableError
from evermodel_provider.hooks.tracking import TrackingHook


def connection(monkeypatch: pytest.MonkeyPatch, **fields: Any) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_MLFLOW_DEFAULT", json.dumps({"conn_type": "mlflow", **fields}))


@pytest.fixture(autouse=True)
def installation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_MLFLOW_DEFAULT", raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://from-environment:5000")
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "unset")  # registers the name, so that what the hook sets is taken back
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("fields", "address"),
    [
        ({"host": "mlflow.example"}, "http://mlflow.example"),
        ({"host": "mlflow.example", "port": 5000}, "http://mlflow.example:5000"),
        ({"host": "mlflow.example", "port": 443, "schema": "https"}, "https://mlflow.example:443"),
        ({"host": "https://mlflow.example/"}, "https://mlflow.example"),
        ({"host": "https://mlflow.example/team"}, "https://mlflow.example/team"),
        ({"host": "http://mlflow.example", "port": 5000}, "http://mlflow.example:5000"),
        ({"host": "http://mlflow.example:5000", "port": 6000}, "http://mlflow.example:5000"),
        ({"login": "me"}, "http://from-environment:5000"),
    ],
)
def test_the_address_comes_from_the_connection(
    fields: dict[str, Any], address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection(monkeypatch, **fields)
    assert TrackingHook().settings.tracking_uri == address


def test_without_a_connection_the_environment_decides() -> None:
    assert TrackingHook().settings.tracking_uri == "http://from-environment:5000"
    assert TrackingHook("another").settings.tracking_uri == "http://from-environment:5000"


def test_login_and_password_reach_mlflow_and_no_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    connection(monkeypatch, host=f"http://127.0.0.1:{free_port()}", login="me", password="s3cr3t-of-mine")
    hook = TrackingHook()

    with caplog.at_level(logging.DEBUG), pytest.raises(TrackingUnavailableError) as caught:
        hook.get_conn()

    assert os.environ["MLFLOW_TRACKING_USERNAME"] == "me"
    assert os.environ["MLFLOW_TRACKING_PASSWORD"] == "s3cr3t-of-mine"
    output = capfd.readouterr()
    said = [caplog.text, output.out, output.err, repr(hook), repr(hook.settings), str(caught.value)]
    assert not any("s3cr3t-of-mine" in text for text in said)


def test_the_connection_test_tells_what_it_found(mlflow_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    connection(monkeypatch, host=mlflow_server)
    assert TrackingHook().test_connection() == (True, f"{mlflow_server} answers")

    closed = f"http://127.0.0.1:{free_port()}"
    connection(monkeypatch, host=closed)
    answers, text = TrackingHook().test_connection()
    assert not answers
    assert f"the MLflow server at {closed} does not answer" in text
