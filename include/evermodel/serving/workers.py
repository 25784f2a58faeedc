"""The serving processes of one machine switch together, so that no caller sees versions go back and forth."""

from __future__ import annotations

import fcntl
import os
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

_NEW = ".new-"
_LOOK = 0.01
_NOTICE = 0.05
_WIDTH = 16


@dataclass(frozen=True)
class _Mark:
    """What another process says: the orders that it is ready for, and those that it follows."""

    ready: str
    follows: str


class Workers:
    """A folder in which each process keeps a locked file with what it is ready for and what it follows.

    A process switches when every other one that answers is ready for the same, or has switched already; one that is
    slow or stuck is not waited for longer than the patience. The lock of a process that is killed goes with it.

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
        self._ready, self._follows, self._ready_at = "", "", 0.0

    def join(self) -> None:
        """Become one of the workers; without a folder to write to, the process switches by itself."""
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            new = self._folder / f"{_NEW}{self._name}"
            file = FileIO(new, "w+")
            fcntl.flock(file, fcntl.LOCK_EX)
            self._file = file
            self._write()
            new.rename(self._folder / self._name)  # locked before anybody can take it for a dead one's

    def leave(self) -> None:
        """Be no worker any more."""
        if self._file is not None:
            (self._folder / self._name).unlink(missing_ok=True)
            self._file.close()
            self._file = None

    def ready(self, key: str) -> bool:
        """Say that these orders could be followed now, and wait for the others.

        Returns
        -------
        Whether to switch. If not, others prepare for different orders: look at the registry again.
        """
        if key != self._ready:
            self._ready, self._ready_at = key, time.monotonic()
            self._write()
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
        """Tell the others not to wait for this process, which cannot follow these orders, or not yet."""
        if key != self._ready:
            self._ready, self._ready_at = key, time.monotonic()
            self._write()

    def follow(self, key: str) -> None:
        """Say that these orders are followed now."""
        if (self._ready, self._follows) != (key, key):
            self._ready = self._follows = key
            self._write()

    def hurry(self) -> None:
        """Let the next `wait` return at once."""
        self._seen = -1

    def wait(self, stop: threading.Event, seconds: float) -> None:
        """Wait until it is time to look at the registry again: at once when another process has moved."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and not stop.wait(min(left, _NOTICE)):
            if self._changed_at() != self._seen:
                self._seen = self._changed_at()
                return

    def _write(self) -> None:
        if self._file is None:
            return
        with suppress(OSError):
            os.pwrite(self._file.fileno(), f"{self._ready:{_WIDTH}}{self._follows:{_WIDTH}}".encode(), 0)
            os.utime(self._folder)  # which the others notice
            self._seen = self._changed_at()

    def _changed_at(self) -> int:
        try:
            return self._folder.stat().st_mtime_ns
        except OSError:
            return self._seen

    def _others(self) -> Iterator[_Mark]:
        """Read what the other living processes say, and remove what dead ones left."""
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
