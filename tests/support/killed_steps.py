"""Steps that run in a forked process and are killed around the requests that they send to MLflow."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from typing import Any

import requests

FORK = multiprocessing.get_context("fork")


def changes_any(request: requests.PreparedRequest) -> bool:
    return request.method in ("POST", "PUT", "PATCH", "DELETE") and "/search" not in str(request.url)


def changes_registry(request: requests.PreparedRequest) -> bool:
    address = str(request.url)
    return changes_any(request) and ("/registered-models/" in address or "/model-versions/" in address)


def _in_child(act: Callable[[], Any], watch: Callable[[requests.PreparedRequest, bool], None]) -> int:
    """Run a step in a forked process that shows each request to ``watch``, before and after it is sent."""

    def child() -> None:
        send = requests.Session.send

        def watched(self: Any, request: Any, **more: Any) -> Any:
            watch(request, False)
            response = send(self, request, **more)
            watch(request, True)
            return response

        requests.Session.send = watched  # type: ignore[method-assign]
        act()

    process = FORK.Process(target=child)
    process.start()
    process.join(60)
    assert process.exitcode is not None, "the step hangs"
    return process.exitcode


def count_changes(act: Callable[[], Any]) -> dict[Any, int]:
    """Run a step in a child; count its changes of anything and of the registry."""
    counters = {which: FORK.Value("i", 0) for which in (changes_any, changes_registry)}

    def note(request: requests.PreparedRequest, sent: bool) -> None:
        for which, counter in counters.items():
            counter.value += int(sent and which(request))

    assert _in_child(act, note) == 0
    return {which: counter.value for which, counter in counters.items()}


def kill_at(act: Callable[[], Any], which: Callable[..., bool], number: int, *, after: bool) -> None:
    """Run a step in a child that kills itself right before or right after one of its changes."""
    seen = {False: 0, True: 0}

    def kill(request: requests.PreparedRequest, sent: bool) -> None:
        if which(request):
            seen[sent] += 1
            if sent is after and seen[sent] == number:
                os.kill(os.getpid(), signal.SIGKILL)

    assert _in_child(act, kill) == -signal.SIGKILL
