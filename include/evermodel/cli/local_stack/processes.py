"""A small supervisor: starts services in their order, waits until each is healthy, and stops them all."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import httpx
from filelock import FileLock, Timeout

from evermodel.cli.local_stack import sessions
from evermodel.core.errors import EvermodelError, PermanentError

Health = str | Callable[[float], bool]


class ServiceError(EvermodelError):
    """A service of the local stack did not start, or ended unexpectedly."""


@dataclass(frozen=True)
class Service:
    """One process to run.

    Parameters
    ----------
    env
        The whole environment of the process.
    health
        A URL that answers 200 once the service is ready, or a function that gets the wall-clock time of the
        service's start and tells whether it is. None: the command is expected to end, and is ready when it has succeeded.
    after
        Names of services that have to be ready first.
    deadline
        Seconds that it may take to become ready.
    grace
        Grace period in seconds before it is killed.
    ends_last
        Ended after the others, because they report to it while they end.
    """

    name: str
    command: tuple[str, ...]
    env: Mapping[str, str]
    health: Health | None
    after: tuple[str, ...] = ()
    deadline: float = 180.0
    grace: float = 10.0
    ends_last: bool = False


@dataclass
class _Running:
    service: Service
    process: subprocess.Popen[bytes]
    started: float = field(default_factory=time.time)


class Supervisor:
    """Runs services until its ``with`` block ends, however it ends.

    SIGTERM and SIGHUP end the block like Ctrl-C does. A supervisor that was killed outright leaves its processes
    behind; the next one in the same home ends them first.
    """

    def __init__(self, home: Path) -> None:
        self.home = home.absolute()
        self.logs = self.home / "logs"
        self._record = self.home / "services.json"
        self._lock = FileLock(str(self.home / "supervisor.lock"))
        self._running: list[_Running] = []
        self._ready: set[str] = set()
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> Supervisor:
        self.logs.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise PermanentError(
                f"a stack already runs in {self.home}",
                "stop it first, or set another home (EVERMODEL_HOME)",
            ) from None
        self._end_leftovers()
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGHUP):
                self._handlers[number] = signal.signal(number, _leave)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, services: Iterable[Service], ready: Callable[[str, float], None] | None = None) -> None:
        """Start services, each as soon as those it comes after are ready; return when all are.

        Parameters
        ----------
        ready
            Called with a service's name and its start time in seconds when it has become ready.

        Raises
        ------
        ServiceError
            One ended or was not ready in time; the message has the end of its log. The others go on until the
            ``with`` block ends.
        """
        waiting = list(services)
        starting: list[_Running] = []
        while waiting or starting:
            for service in [s for s in waiting if self._ready.issuperset(s.after)]:
                waiting.remove(service)
                starting.append(self._launch(service))
            if waiting and not starting:
                names = ", ".join(s.name for s in waiting)
                raise ServiceError(f"{names} wait for services that are not started")
            for running in [r for r in starting if self._is_ready(r)]:
                starting.remove(running)
                self._ready.add(running.service.name)
                if ready is not None:
                    ready(running.service.name, time.time() - running.started)
            self.check()
            time.sleep(0.1)

    def check(self) -> None:
        """Raise `ServiceError` if a service has ended that should run."""
        for running in self._running:
            code = running.process.poll()
            if code is not None and (code != 0 or running.service.health is not None):
                raise self._failure(running.service, f"ended with code {code}")

    def wait(self, ended: Callable[[str], None], poll: float = 0.5) -> None:
        """Wait until a signal ends the ``with`` block; the others go on when a service ends before.

        Parameters
        ----------
        ended
            Called once for each service that ended, with one line that names its log.
        """
        left = [running for running in self._running if running.service.health is not None]
        while True:
            for running in [each for each in left if each.process.poll() is not None]:
                left.remove(running)
                name, code = running.service.name, running.process.returncode
                ended(f"{name} ended with code {code}; see {self.logs / name}.log; the others go on")
            time.sleep(poll)

    def log_tail(self, name: str, lines: int = 25) -> str:
        """Return the last lines of a service's log."""
        try:
            text = (self.logs / f"{name}.log").read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def stop(self) -> None:
        """End all services and give up the home; a second call does nothing."""
        if not self._lock.is_locked:
            return
        restore = dict(self._handlers)
        if restore:  # an impatient second Ctrl-C must not leave half of the processes behind
            restore[signal.SIGINT] = signal.getsignal(signal.SIGINT)
            for number in restore:
                signal.signal(number, signal.SIG_IGN)
        try:
            for last in (False, True):
                ending = [running for running in reversed(self._running) if running.service.ends_last is last]
                sessions.end({running.process.pid: running.service.grace for running in ending})
                for running in ending:
                    running.process.wait()
            self._running.clear()
            self._record.unlink(missing_ok=True)
        finally:
            self._ready.clear()
            self._handlers.clear()
            for number, handler in restore.items():
                signal.signal(number, handler)
            self._lock.release()

    def _launch(self, service: Service) -> _Running:
        path = self.logs / f"{service.name}.log"
        if path.exists():
            path.replace(path.with_suffix(".previous.log"))
        with open(path, "ab") as log:
            process = subprocess.Popen(
                service.command,
                env=dict(service.env),
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        running = _Running(service, process)
        self._running.append(running)
        self._write_record()
        return running

    def _is_ready(self, running: _Running) -> bool:
        service = running.service
        if service.health is None:
            ready = running.process.poll() == 0
        elif callable(service.health):
            ready = service.health(running.started)
        else:
            ready = answers(service.health)
        if not ready and time.time() - running.started > service.deadline:
            raise self._failure(service, f"was not ready within {service.deadline:.0f} s")
        return ready

    def _failure(self, service: Service, what: str) -> ServiceError:
        log = self.logs / f"{service.name}.log"
        return ServiceError(
            f"{service.name} {what}; the end of {log}:\n{self.log_tail(service.name)}",
            "see the log, correct the cause and start again",
        )

    def _write_record(self) -> None:
        record = {running.service.name: running.process.pid for running in self._running}
        draft = self._record.with_suffix(".new")
        draft.write_text(json.dumps(record), encoding="utf-8")
        draft.replace(self._record)

    def _end_leftovers(self) -> None:
        try:
            record: dict[str, int] = json.loads(self._record.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return
        sessions.end({session: 5.0 for session in record.values() if sessions.holding(session, self.logs)})
        self._record.unlink(missing_ok=True)


def answers(url: str, timeout: float = 2.0) -> bool:
    """Tell whether a URL answers with a success."""
    try:
        return httpx.get(url, timeout=timeout, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
