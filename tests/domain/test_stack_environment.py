"""What the processes of the local stack find in their environment, and where they listen."""

from __future__ import annotations

import base64
import importlib.util
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from evermodel.cli.local_stack.environment import build_environment
from evermodel.cli.local_stack.local import LocalStack
from evermodel.cli.local_stack.ports import Ports, PortTakenError, free_port, port_is_free
from evermodel.core.errors import PermanentError

PORTS = Ports(airflow=18080, mlflow=15000, serving=18000)


def build(home: Path, extras: dict[str, str] | None = None, **environ: str) -> dict[str, str]:
    return build_environment(home, home / "project", PORTS, extras or {}, {"PATH": "/bin", **environ})


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(1)
        yield server.getsockname()[1]


def test_everything_is_on_loopback_and_below_home(tmp_path: Path) -> None:
    env = build(tmp_path)
    assert env["AIRFLOW__API__HOST"] == "127.0.0.1"
    assert env["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] == "http://127.0.0.1:18080/execution/"
    assert env["MLFLOW_TRACKING_URI"] == "http://127.0.0.1:15000"
    for name in ("AIRFLOW_HOME", "EVERMODEL_HOME", "EVERMODEL_LAKE", "EVERMODEL_DATA"):
        assert Path(env[name]).is_relative_to(tmp_path)
    assert env["EVERMODEL_MODELS"] == str(tmp_path / "project" / "include" / "models")


def test_settings_of_another_airflow_do_not_leak_in_but_connections_do(tmp_path: Path) -> None:
    env = build(
        tmp_path,
        AIRFLOW_HOME="/elsewhere",
        AIRFLOW__CORE__EXECUTOR="CeleryExecutor",
        AIRFLOW__CELERY__BROKER_URL="redis://elsewhere",
        MLFLOW_TRACKING_URI="http://elsewhere",
        PYTHONDONTWRITEBYTECODE="1",
        AIRFLOW_CONN_SLACK_API_DEFAULT="slack://:token@",
    )
    assert env["AIRFLOW__CORE__EXECUTOR"] == "LocalExecutor"
    assert env["AIRFLOW_CONN_SLACK_API_DEFAULT"] == "slack://:token@"
    assert "AIRFLOW__CELERY__BROKER_URL" not in env
    assert "PYTHONDONTWRITEBYTECODE" not in env
    assert "elsewhere" not in env["MLFLOW_TRACKING_URI"] + env["AIRFLOW_HOME"]


def test_the_user_may_move_lake_and_data_and_extras_win(tmp_path: Path) -> None:
    env = build(
        tmp_path, {"OMP_NUM_THREADS": "3"}, EVERMODEL_LAKE="/lake", OMP_NUM_THREADS="7", NO_PROXY="intra.net"
    )
    assert env["EVERMODEL_LAKE"] == "/lake"
    assert env["OMP_NUM_THREADS"] == "3"
    assert env["NO_PROXY"] == env["no_proxy"] == "intra.net,127.0.0.1,localhost"


def test_keys_are_made_once_strong_and_private(tmp_path: Path) -> None:
    first, second = build(tmp_path), build(tmp_path)
    file = tmp_path / "secrets.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    for name in ("AIRFLOW__API_AUTH__JWT_SECRET", "AIRFLOW__API__SECRET_KEY", "AIRFLOW__CORE__FERNET_KEY"):
        assert first[name] == second[name]
        assert first[name] != build(tmp_path / "other")[name]
    assert len(first["AIRFLOW__API_AUTH__JWT_SECRET"]) >= 64
    assert len(base64.urlsafe_b64decode(first["AIRFLOW__CORE__FERNET_KEY"])) == 32


def test_no_key_is_on_a_command_line(tmp_path: Path) -> None:
    stack = LocalStack(tmp_path, tmp_path, PORTS, models=["flights"])
    keys = [
        value
        for name, value in stack.environment.items()
        if name.endswith(("SECRET", "SECRET_KEY", "FERNET_KEY"))
    ]
    commands = " ".join(part for service in stack.services() for part in service.command)
    assert len(keys) == 3
    assert not any(key in commands for key in keys)
    assert "serve flights --port 18000" in commands


def test_ports_come_from_the_environment() -> None:
    assert Ports.from_environment({}) == Ports(8080, 5000, 8000)
    assert Ports.from_environment({"PORT_MLFLOW": "5001"}).mlflow == 5001


@pytest.mark.parametrize("text", ["0", "65536", "-1", "http"])
def test_a_port_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(PermanentError, match=f"PORT_AIRFLOW={text} is not a port"):
        Ports.from_environment({"PORT_AIRFLOW": text})


def test_a_taken_port_is_named_with_its_holder_and_a_way_out(taken: int) -> None:
    assert not port_is_free(taken)
    assert free_port(taken) != taken
    with pytest.raises(PortTakenError) as caught:
        Ports(airflow=free_port(), mlflow=taken, serving=free_port()).require_free()
    assert f"port {taken} is in use by process {os.getpid()}" in caught.value.problem
    assert "set PORT_MLFLOW=" in caught.value.advice


def test_unused_ports_are_free_and_differ() -> None:
    ports = Ports.unused()
    ports.require_free()
    assert len({ports.airflow, ports.mlflow, ports.serving}) == 3


@pytest.fixture
def preloading() -> ModuleType:
    spec = importlib.util.find_spec("evermodel_provider.preload")
    if spec is None or spec.loader is None:
        pytest.skip("the Airflow layer is not installed")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_only_a_scheduler_that_was_asked_to_preloads(
    preloading: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    modules = ("json", "no_such_module_here")
    monkeypatch.setattr("sys.argv", ["-m", "scheduler"])
    monkeypatch.delenv("EVERMODEL_PRELOAD", raising=False)
    assert preloading.preload(modules, ()) == []
    monkeypatch.setenv("EVERMODEL_PRELOAD", "1")
    assert preloading.preload(modules, ()) == ["json"]
    monkeypatch.setattr("sys.argv", ["-m", "api-server"])
    assert preloading.preload(modules, ()) == []


def test_every_preloaded_library_exists(preloading: ModuleType) -> None:
    missing = [name for name in preloading.LIBRARIES if importlib.util.find_spec(name.split(".")[0]) is None]
    assert missing == []


def test_what_the_tasks_of_a_retrain_ask_is_asked_ahead(
    preloading: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.utils import requirements_utils

    from evermodel.core.environment import installed_packages

    monkeypatch.setattr("sys.argv", ["-m", "scheduler"])
    monkeypatch.setenv("EVERMODEL_PRELOAD", "1")
    monkeypatch.setattr(requirements_utils, "_MODULES_TO_PACKAGES", None)
    installed_packages.cache_clear()

    assert (
        preloading.preload((), (*preloading.QUESTIONS, "no_such_module:here", "json:no_such_function")) == []
    )

    assert installed_packages.cache_info().currsize == 1
    assert "numpy" in requirements_utils._MODULES_TO_PACKAGES
