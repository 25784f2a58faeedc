"""The MLflow connection: where the address comes from, and what happens to the password."""

from __future__ import annotations

import base64
import json
import logging
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, ClassVar

import mlflow
import pytest

from evermodel.cli.local_stack.ports import free_port
from evermodel.core.errors import SettingsError, TrackingUnavailableError
from evermodel.registry.tracking import connect
from evermodel_provider.hooks.tracking import TrackingHook


def connection(monkeypatch: pytest.MonkeyPatch, **fields: Any) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_MLFLOW_DEFAULT", json.dumps({"conn_type": "mlflow", **fields}))


@pytest.fixture(autouse=True)
def installation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_MLFLOW_DEFAULT", raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://from-environment:5000")


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
        ({"host": "databricks"}, "databricks"),
        ({"host": "databricks://team"}, "databricks://team"),
        (
            {"host": "arn:aws:sagemaker:eu-west-1:1:mlflow-tracking-server/a"},
            "arn:aws:sagemaker:eu-west-1:1:mlflow-tracking-server/a",
        ),
        ({"host": "sqlite:////srv/mlflow.db"}, "sqlite:////srv/mlflow.db"),
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

    output = capfd.readouterr()
    said = [caplog.text, output.out, output.err, repr(hook), repr(hook.settings), str(caught.value)]
    assert not any("s3cr3t-of-mine" in text for text in said)


class _Server(BaseHTTPRequestHandler):
    """Keeps what it is asked for, and by whom."""

    asked: ClassVar[list[tuple[str, str]]] = []

    def do_GET(self) -> None:
        self.asked.append((self.path.partition("?")[0], self.headers.get("Authorization", "")))
        body = b'{"run": {"info": {"run_id": "r", "experiment_id": "1"}, "data": {}}}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    """Address of something that answers like MLflow."""
    _Server.asked.clear()
    with HTTPServer(("127.0.0.1", 0), _Server) as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{made.server_port}"
        made.shutdown()
        thread.join()


def test_one_client_and_one_look_at_its_health_and_the_login_goes_to_its_own_server_alone(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    environ, address = dict(os.environ), mlflow.get_tracking_uri()
    connection(monkeypatch, host=server, login="m@e", password="p/w:1")
    hook = TrackingHook()
    client = hook.get_conn()
    assert hook.get_conn() is client
    client.get_run("r")
    monkeypatch.setenv("AIRFLOW_CONN_OPEN", json.dumps({"conn_type": "mlflow", "host": server}))
    TrackingHook("open").get_conn().get_run("r")

    login = "Basic " + base64.b64encode(b"m@e:p/w:1").decode()
    run = "/api/2.0/mlflow/runs/get"
    assert _Server.asked == [("/health", login), (run, login), ("/health", ""), (run, "")]
    assert hook.settings.tracking_uri == server
    changed = {name for name, value in os.environ.items() if environ.get(name) != value}
    assert changed == {"AIRFLOW_CONN_MLFLOW_DEFAULT", "AIRFLOW_CONN_OPEN"}
    assert mlflow.get_tracking_uri() == address


def test_a_password_alone_is_a_token_and_the_registry_may_stand_apart(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = server.replace("127.0.0.1", "localhost")
    extra = {"registry_uri": registry.replace("://", "://reader:r3g@")}
    connection(monkeypatch, host=server, password="t0k/en", extra=extra)
    hook = TrackingHook()
    assert (hook.settings.tracking_uri, registry) == (server, hook._registry_uri)

    hook.get_conn().get_run("r")
    hook.get_conn().get_registered_model("m")

    token, basic = "Bearer t0k/en", "Basic " + base64.b64encode(b"reader:r3g").decode()
    assert _Server.asked == [
        ("/health", token),
        ("/api/2.0/mlflow/runs/get", token),
        ("/api/2.0/mlflow/registered-models/get", basic),
    ]
    assert hook.environment() == {
        "MLFLOW_TRACKING_URI": server.replace("://", "://:t0k%2Fen@"),
        "MLFLOW_REGISTRY_URI": registry.replace("://", "://reader:r3g@"),
    }


def test_the_environment_names_the_registry_of_its_own_server_alone(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", "http://registry")
    assert connect(server)._registry_uri == "http://registry"  # type: ignore[attr-defined]
    other = server.replace("127.0.0.1", "localhost")
    assert connect(other)._registry_uri == other  # type: ignore[attr-defined]


@pytest.mark.parametrize("registry", ["databricks-uc", "databricks-uc://team", "uc:http://catalog"])
def test_a_unity_catalog_is_refused_with_what_to_do(
    registry: str, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection(monkeypatch, host=server, extra={"registry_uri": registry})
    with pytest.raises(SettingsError, match="is a Unity Catalog") as caught:
        TrackingHook().get_conn()
    assert "registry_uri" in caught.value.advice
    assert TrackingHook().test_connection()[0] is False


def test_databricks_gets_its_token_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    host = "https://adb-1.azuredatabricks.net"
    connection(monkeypatch, host="databricks", password="dapi1", extra={"databricks_host": host})
    hook = TrackingHook()
    assert hook.settings.tracking_uri == "databricks"
    assert hook.environment() == {
        "MLFLOW_TRACKING_URI": "databricks",
        "DATABRICKS_HOST": host,
        "DATABRICKS_TOKEN": "dapi1",
    }


def test_the_connection_test_tells_what_it_found(mlflow_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    connection(monkeypatch, host=mlflow_server)
    assert TrackingHook().test_connection() == (True, f"{mlflow_server} answers")

    closed = f"http://127.0.0.1:{free_port()}"
    connection(monkeypatch, host=closed)
    answers, text = TrackingHook().test_connection()
    assert not answers
    assert f"the MLflow server at {closed} does not answer" in text
