"""A version is downloaded and checked in a process of its own, which ends with its work or with the app."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any, cast

import pytest

from evermodel.modeling import model_store
from evermodel.registry.client import ModelVersion
from evermodel.serving import preparation
from evermodel.serving.metrics import Metrics
from evermodel.serving.preparation import PreparationError, PreparingSource
from evermodel.serving.reconciler import Reconciler
from support.serving_models import World, model_folder, wait_until

VERSION = cast("ModelVersion", SimpleNamespace(version="1"))
Process = subprocess.Popen[bytes]


def source_of(world: World, tracking_uri: str = "") -> PreparingSource:
    source = PreparingSource(world.spec, tracking_uri or world.settings.tracking_uri)
    source.answering = True
    return source


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Process]:
    """The processes that were started for versions; MLflow starts others."""
    begun: list[Process] = []

    class Recorded(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, command: list[str], *arguments: Any, **options: Any) -> None:
            super().__init__(command, *arguments, **options)
            if preparation.__name__ in command:
                begun.append(self)

    monkeypatch.setattr(subprocess, "Popen", Recorded)
    return begun


def soon(condition: Callable[[], object], action: Callable[[], object]) -> None:
    """Do something in a thread when a condition is met."""

    def watch() -> None:
        wait_until(lambda: bool(condition()), "it is time")
        action()

    Thread(target=watch).start()


def test_only_the_first_version_is_downloaded_in_the_process_that_answers(
    world: World, monkeypatch: pytest.MonkeyPatch, started: list[Process]
) -> None:
    world.publish(1)
    reconciler = Reconciler(world.spec, world.settings, Metrics(), 0.05)
    reconciler.check()
    assert started == []
    monkeypatch.setattr(model_store, "download", None)  # in this process alone
    world.publish(2)
    reconciler.check()
    assert len(started) == 1
    assert reconciler.current is not None, reconciler.status.last_error
    assert reconciler.current.version == "2"
    world.promote("1")
    reconciler.check()
    assert reconciler.current.version == "1"
    assert len(started) == 1, "a cached version needs no process"


def test_a_version_that_fails_its_check_never_reaches_the_cache(world: World) -> None:
    world.publish(1)
    reconciler = Reconciler(world.spec, world.settings, Metrics(), 0.05)
    reconciler.check()
    made = world.publish(2)
    registered = world.client.get_model_version(world.name, made.version)
    logged = registered.source.removeprefix("models:/")
    world.client.log_model_artifacts(logged, str(damaged(world, logged)), "fastpath")
    reconciler.check()
    assert reconciler.status.last_error is not None
    assert ".download: the graph cannot be read" in reconciler.status.last_error
    assert reconciler.current is not None
    assert reconciler.current.version == "1"
    assert [p.name for p in model_folder(world.settings, world.name).iterdir() if p.is_dir()] == ["1"]


def damaged(world: World, logged: str) -> Path:
    folder = world.settings.home / "damaged"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"no graph")
    return folder


def test_where_no_process_can_run_the_app_does_the_work(
    world: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    started: list[Process],
    caplog: pytest.LogCaptureFixture,
) -> None:
    made = world.publish(1)
    registered = world.client.get_model_version(world.name, made.version)
    soon(lambda: started, lambda: started[0].kill())  # as by the kernel, where memory is short
    assert "model.skops" in source_of(world).download(registered, tmp_path / "killed")
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert "model.skops" in source_of(world).download(registered, tmp_path / "missing")
    assert caplog.text.count("event=loaded_in_process") == 2


def test_a_version_that_crashes_the_process_is_not_tried_in_the_app(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(PreparationError, match="version 1: the process that loads it ended with 1"):
        source_of(world).download(VERSION, tmp_path)


def test_two_processes_run_at_once_and_end_when_the_app_stops(
    world: World, tmp_path: Path, started: list[Process]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, ThreadPoolExecutor(3) as threads:
        source = source_of(world, f"http://127.0.0.1:{silent.getsockname()[1]}")
        downloads = [threads.submit(source.download, VERSION, tmp_path) for _ in range(3)]
        wait_until(lambda: len(started) == 2, "two run")
        assert not any(download.done() for download in downloads)
        source.stop()
        assert all(isinstance(download.exception(20), PreparationError) for download in downloads)
    assert [process.returncode for process in started] == [-9, -9, -9]


def test_the_process_ends_when_the_app_is_killed(world: World, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from types import SimpleNamespace\n"
        "from evermodel.serving.preparation import PreparingSource; from evermodel.spec import load_spec\n"
        "from evermodel.core.settings import Settings\n"
        "source = PreparingSource(load_spec(sys.argv[1], Settings.from_environment()), sys.argv[2])\n"
        "source.answering = True\n"
        "source.download(SimpleNamespace(version='1'), Path(sys.argv[3]))"
    )
    with socket.create_server(("127.0.0.1", 0)) as registry:
        registry.settimeout(60)
        spec = world.settings.models / f"{world.name}.yaml"
        address = f"http://127.0.0.1:{registry.getsockname()[1]}"
        app = subprocess.Popen([sys.executable, "-c", code, str(spec), address, str(tmp_path)])
        health, _ = registry.accept()
        health.recv(65536)
        health.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK")
        request, _ = registry.accept()  # which waits for its answer for a minute
        assert request.recv(65536)
        app.kill()
        app.wait()
        request.settimeout(20)
        assert request.recv(65536) == b"", "the process has ended, and its connection with it"
