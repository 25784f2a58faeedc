from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing.process import BaseProcess
from pathlib import Path

import httpx
import pytest

from evermodel.cli.local_stack.ports import free_port
from evermodel.deployment.rollback import roll_back
from evermodel.serving.workers import Workers
from support.serving_models import World, request_rows, wait_until

# Seconds between two looks at the registry: by themselves the processes would differ for as long.
POLLS = (1.0, 4.0, 5.0, 1.0)


def test_nobody_switches_before_the_others_are_ready(tmp_path: Path) -> None:
    one, two = Workers(tmp_path), Workers(tmp_path)
    for worker in (one, two):
        worker.join()
        worker.follow("old")
    with ThreadPoolExecutor(1) as other:
        switches = other.submit(one.ready, "new")
        time.sleep(0.2)
        assert not switches.done()
        assert two.ready("new")
        assert switches.result(5)


def test_a_worker_that_is_stuck_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    one, stuck = Workers(tmp_path, patience=0.3), Workers(tmp_path)
    for worker in (one, stuck):
        worker.join()
        worker.follow("old")
    begun = time.monotonic()
    assert one.ready("new")
    assert 0.3 <= time.monotonic() - begun < 5
    stuck.go_ahead("new")
    one.follow("old")
    begun = time.monotonic()
    assert one.ready("new")  # it has said that it will not come
    assert time.monotonic() - begun < 0.3


def test_workers_that_start_or_have_died_are_not_waited_for(tmp_path: Path) -> None:
    one, starting = Workers(tmp_path), Workers(tmp_path)
    one.join()
    one.follow("old")
    starting.join()
    (tmp_path / "4711-dead").write_text(f"{'old':16}{'old':16}")
    begun = time.monotonic()
    assert one.ready("new")
    assert time.monotonic() - begun < 1
    assert not (tmp_path / "4711-dead").exists()
    starting.leave()
    one.leave()
    assert list(tmp_path.iterdir()) == []


def test_who_has_read_an_older_state_looks_again(tmp_path: Path) -> None:
    one, two = Workers(tmp_path), Workers(tmp_path)
    for worker in (one, two):
        worker.join()
        worker.follow("old")
    two.go_ahead("newest")
    assert not one.ready("new")
    begun = time.monotonic()
    one.wait(threading.Event(), 10)  # returns at once
    assert time.monotonic() - begun < 1
    assert one.ready("newest")


def test_a_move_of_another_worker_is_noticed_at_once(tmp_path: Path) -> None:
    one, two = Workers(tmp_path), Workers(tmp_path)
    one.join()
    two.join()
    one.wait(threading.Event(), 0.1)
    threading.Timer(0.1, two.go_ahead, ("new",)).start()
    begun = time.monotonic()
    one.wait(threading.Event(), 10)
    assert time.monotonic() - begun < 2


class Group:
    """Serving processes that share a machine, each at a port of its own so that answers can be told apart."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["mlflow", "onnxruntime", "evermodel.serving.run", "uvicorn"])
        self.running: dict[int, BaseProcess] = {}
        self._started = 0

    def start(self, count: int = 1) -> None:
        for poll in POLLS[self._started : self._started + count]:
            self._started += 1
            port, settings = free_port(), self._world.settings
            environment = {
                "EVERMODEL_HOME": str(settings.home),
                "EVERMODEL_LAKE": str(settings.lake),
                "EVERMODEL_MODELS": str(settings.models),
                "MLFLOW_TRACKING_URI": settings.tracking_uri,
            }
            process = self._context.Process(target=_serve, args=(self._world.name, port, poll, environment))
            process.start()
            self.running[port] = process

    def kill(self, port: int) -> None:
        process = self.running.pop(port)
        process.kill()
        process.join(10)


def _serve(name: str, port: int, poll: float, environment: dict[str, str]) -> None:
    os.environ.update(environment)
    from evermodel.serving.run import serve

    serve([name], port=port, poll_seconds=poll)


class Callers:
    """A caller of each process, again and again; keeps when each answer was asked for, and who gave it."""

    def __init__(self, group: Group) -> None:
        self._group = group
        self._done = threading.Event()
        self.answers: list[tuple[float, float, int, str]] = []
        self.failures: list[str] = []
        self._thread = threading.Thread(target=self._call)

    def __enter__(self) -> Callers:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join(30)

    def _call(self) -> None:
        body = {"rows": request_rows(1, 1)}
        with httpx.Client(trust_env=False, timeout=30) as client:
            while not self._done.is_set():
                for port in list(self._group.running):
                    asked = time.monotonic()
                    try:
                        answer = client.post(f"http://127.0.0.1:{port}/predict", json=body)
                    except httpx.HTTPError as error:
                        if port in self._group.running:
                            self.failures.append(str(error))
                        continue
                    if answer.status_code == 200:
                        self.answers.append((asked, time.monotonic(), port, answer.json()["version"]))
                    else:
                        self.failures.append(answer.text)
                time.sleep(0.005)

    def last(self) -> dict[int, str]:
        return {port: version for _, _, port, version in self.answers if port in self._group.running}

    def wait_for(self, version: str, processes: int) -> None:
        wait_until(
            lambda: len(self.last()) == processes and set(self.last().values()) == {version},
            f"all answer with version {version}, not {self.last()}",
        )

    def overlap(self, new: str, since: float) -> float:
        """Return for how long the old version was still asked and answered after the first answer of the new one."""
        seen = [entry for entry in self.answers if entry[0] >= since]
        first = min(answered for _, answered, _, version in seen if version == new)
        return max((asked - first for asked, _, _, version in seen if version != new), default=0.0)


@contextmanager
def group_of(world: World, count: int) -> Iterator[Group]:
    group = Group(world)
    try:
        group.start(count)
        for port in group.running:
            wait_until(lambda port=port: _ready(port), "the process is ready", seconds=90)  # type: ignore[misc]
        yield group
    finally:
        for port in list(group.running):
            group.kill(port)


def _ready(port: int) -> bool:
    with suppress(httpx.HTTPError):
        return httpx.get(f"http://127.0.0.1:{port}/ready", trust_env=False).status_code == 200
    return False


@pytest.mark.integration
def test_three_processes_switch_together_and_outlive_one_that_is_killed(world: World) -> None:
    for seed in (1, 2, 3):
        world.publish(seed, promote=seed == 1)
    with group_of(world, 3) as group, Callers(group) as callers:
        callers.wait_for("1", 3)
        began = time.monotonic()
        world.promote("2")
        callers.wait_for("2", 3)
        overlaps = [callers.overlap("2", began)]
        began = time.monotonic()
        roll_back(world.client, world.name, by="test", reason="test", run_key="back")
        callers.wait_for("1", 3)
        overlaps.append(callers.overlap("1", began))
        assert callers.failures == []
        assert max(overlaps) < 1, overlaps

        marks = world.settings.model_cache / world.name / ".workers"
        moved = marks.stat().st_mtime_ns
        world.promote("3")
        wait_until(lambda: marks.stat().st_mtime_ns != moved, "the first one has loaded it")
        group.kill(next(iter(group.running)))
        callers.wait_for("3", 2)
        group.start()
        (late,) = set(group.running) - {port for port, _ in callers.last().items()}
        callers.wait_for("3", 3)
        assert {version for _, _, port, version in callers.answers if port == late} == {"3"}
        assert len(list(marks.iterdir())) == 3
