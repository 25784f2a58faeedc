"""The services of the app: what runs beside the requests, from the app's start to its end."""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Generic, Protocol, TypeVar

Entry = TypeVar("Entry")


class ServingService(Protocol):
    """A part of the app that runs between its start and its stop."""

    def start(self) -> None:
        """Start; returns at once."""

    def stop(self) -> None:
        """Finish the work at hand and stop; may block for a limited time."""


@asynccontextmanager
async def running(*services: ServingService) -> AsyncIterator[None]:
    """Start services in the order given; stop those that have started in the reverse order.

    A service that fails to stop does not keep the others from stopping; its error is raised after the last one.
    """
    async with AsyncExitStack() as stack:
        # Requests that hang may occupy every thread of the event loop's own pool.
        pool = stack.enter_context(ThreadPoolExecutor(1, "stop-services"))
        for service in services:
            service.start()
            stack.push_async_callback(asyncio.get_running_loop().run_in_executor, pool, service.stop)
        yield


class ServiceThread(ABC):
    """A service that is one thread.

    Parameters
    ----------
    patience
        Longest time that `stop` waits for its end, in seconds.
    """

    def __init__(self, name: str, patience: float) -> None:
        self._patience = patience
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self.run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def cancel(self) -> None:
        """Let the thread end; returns at once."""
        self._stopping.set()

    def stop(self) -> None:
        """Let the thread end, and wait for that."""
        self.cancel()
        if self._thread.is_alive():
            self._thread.join(self._patience)

    @abstractmethod
    def run(self) -> None:
        """Work until `cancel`; runs in the thread."""


class QueueThread(ServiceThread, Generic[Entry]):
    """A thread that works through a bounded queue; the work of a request never waits for it.

    Parameters
    ----------
    capacity
        Most rows in the queue.
    enough
        Rows for which `take` waits.
    """

    def __init__(self, name: str, patience: float, capacity: int, enough: int = 1) -> None:
        super().__init__(name, patience)
        self._capacity = capacity
        self._enough = enough
        self._entries: deque[tuple[Entry, int]] = deque()
        self._rows = 0
        self._changed = threading.Condition()

    def cancel(self) -> None:
        """Accept no more entries; the thread takes those in the queue and ends."""
        with self._changed:
            super().cancel()
            self._changed.notify()

    def put(self, entry: Entry, rows: int) -> bool:
        """Add an entry with its number of rows; return False if the queue is full or closed."""
        with self._changed:
            total = self._rows + rows
            if total > self._capacity or self._stopping.is_set():
                return False
            self._entries.append((entry, rows))
            self._rows = total
            if total >= self._enough:
                self._changed.notify()
        return True

    def take(
        self,
        seconds: float | None = None,
        count: Callable[[Sequence[tuple[Entry, int]]], int] | None = None,
    ) -> list[Entry]:
        """Wait for enough rows, at most so many seconds, and remove the first `count` entries; all without it."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopping.is_set() or self._rows >= self._enough, seconds)
            if count is None:  # in one step: requests wait for the lock
                taken, self._entries, self._rows = self._entries, deque(), 0
            else:
                taken = deque(self._entries.popleft() for _ in range(count(self._entries)))
                self._rows -= sum(rows for _, rows in taken)
        return [entry for entry, _ in taken]
