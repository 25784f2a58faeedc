from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from evermodel.serving.services import running


@dataclass
class Recorder:
    """A service that records its starts and stops, and fails in one of them if told so."""

    events: list[str]
    name: str
    fails_in: str = ""

    def start(self) -> None:
        self._record("start")

    def stop(self) -> None:
        self._record("stop")

    def _record(self, event: str) -> None:
        self.events.append(f"{event} {self.name}")
        if event == self.fails_in:
            raise RuntimeError(f"{self.name} cannot {event}")


async def run(*services: Recorder) -> None:
    async with running(*services):
        services[0].events.append("run")


def test_services_stop_in_the_reverse_order_of_their_start() -> None:
    events: list[str] = []
    asyncio.run(run(*(Recorder(events, name) for name in "abc")))
    assert events == ["start a", "start b", "start c", "run", "stop c", "stop b", "stop a"]


def test_a_service_that_fails_to_stop_does_not_keep_the_others_from_stopping() -> None:
    events: list[str] = []
    with pytest.raises(RuntimeError, match="c cannot stop"):
        asyncio.run(run(Recorder(events, "a"), Recorder(events, "b"), Recorder(events, "c", "stop")))
    assert events[3:] == ["run", "stop c", "stop b", "stop a"]


def test_a_service_that_fails_to_start_stops_those_that_have_started() -> None:
    events: list[str] = []
    with pytest.raises(RuntimeError, match="b cannot start"):
        asyncio.run(run(Recorder(events, "a"), Recorder(events, "b", "start"), Recorder(events, "c")))
    assert events == ["start a", "start b", "stop a"]


def test_services_stop_although_requests_hang_in_every_thread_of_the_event_loop() -> None:
    events: list[str] = []
    released = threading.Event()

    async def run_with_hanging_requests() -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))
        async with running(Recorder(events, "a")):
            hanging = loop.run_in_executor(None, released.wait, 30)
        released.set()
        await hanging

    asyncio.run(asyncio.wait_for(run_with_hanging_requests(), 10))
    assert events == ["start a", "stop a"]
