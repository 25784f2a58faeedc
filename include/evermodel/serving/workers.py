"""The workers of one machine switch versions together, so that no caller sees versions alternate."""

from __future__ import annotations

import fcntl
import os
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from io import FileIO
from pathlib import Path

_NEW = ".new-"
_LOOK = 0.01
_NOTICE = 0.05
_WIDTH = 16


@dataclass(frozen=True)
class _Mark:
    """The desired state that a process is ready for, and the one that it has in force."""

    ready: str = ""
    follows: str = ""


class Workers:
    """A folder in which each process has a locked file with the states that it is ready for and has in force.

    A process switches when all others are ready for the same state or one of them has switched; it waits no longer than
    the patience for one that is slow or stuck. The lock of a killed process is released.

    Parameters
    ----------
    folder
        Shared by the processes of one model on one machine.
    patience
        Longest wait for the others, in seconds.
    """

    def __init__(self, folder: Path, patience: float = 5.0) -> None:
        self._folder = folder
        self._patience = patience
        self._name = f"{os.getpid()}-{uuid.uuid4().hex}"
        self._file: FileIO | None = None
        self._seen = 0
        self._mark = _Mark()
        self._ready_at = 0.0

    def join(self) -> None:
        """Become one of the workers; if the folder cannot be written, the process switches on its own."""
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            new = self._folder / f"{_NEW}{self._name}"
            file = FileIO(new, "w+")
            fcntl.flock(file, fcntl.LOCK_EX)
            self._file = file
            self._write()
            new.rename(self._folder / self._name)  # locked before another process can see it

    def leave(self) -> None:
        """Leave the workers."""
        if self._file is not None:
            (self._folder / self._name).unlink(missing_ok=True)
            self._file.close()
            self._file = None

    def ready(self, key: str) -> bool:
        """Announce that this process can switch to a state, and wait for the others.

        Returns
        -------
        Whether to switch. If not, others prepare for another state: read the registry again.
        """
        self.go_ahead(key)
        while time.monotonic() < self._ready_at + self._patience:
            others = [mark for mark in self._others() if mark.follows]
            if any(mark.follows == key for mark in others) or all(mark.ready == key for mark in others):
                return True
            if any(mark.ready not in (key, mark.follows) for mark in others):
                self.hurry()
                return False
            time.sleep(_LOOK)
        return True

    def go_ahead(self, key: str) -> None:
        """Announce a state for which the others need not wait for this process."""
        if key != self._mark.ready:
            self._mark, self._ready_at = replace(self._mark, ready=key), time.monotonic()
            self._write()

    def follow(self, key: str) -> None:
        """Announce that a state is in force."""
        if self._mark != _Mark(key, key):
            self._mark = _Mark(key, key)
            self._write()

    def hurry(self) -> None:
        """Make the next `wait` return at once."""
        self._seen = -1

    def wait(self, stop: threading.Event, seconds: float) -> None:
        """Wait until the next read of the registry; returns at once when another process has announced something."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and not stop.wait(min(left, _NOTICE)):
            if self._changed_at() != self._seen:
                self._seen = self._changed_at()
                return

    def _write(self) -> None:
        if self._file is None:
            return
        with suppress(OSError):
            os.pwrite(
                self._file.fileno(), f"{self._mark.ready:{_WIDTH}}{self._mark.follows:{_WIDTH}}".encode(), 0
            )
            os.utime(self._folder)  # the others watch it
            self._seen = self._changed_at()

    def _changed_at(self) -> int:
        try:
            return self._folder.stat().st_mtime_ns
        except OSError:
            return self._seen

    def _others(self) -> Iterator[_Mark]:
        """Read the marks of the other processes, and remove the files of those that have ended."""
        if self._file is None:
            return
        for entry in os.scandir(self._folder):
            if entry.name == self._name or entry.name.startswith(_NEW):
                continue
            with suppress(OSError), FileIO(entry.path) as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    text = file.read(2 * _WIDTH).decode("ascii", "replace")
                    yield _Mark(text[:_WIDTH].strip(), text[_WIDTH:].strip())
                else:
                    Path(entry.path).unlink(missing_ok=True)
