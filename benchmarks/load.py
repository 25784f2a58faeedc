"""A load of concurrent clients against one address on loopback, without a client library's own cost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Load:
    """What the clients saw.

    Parameters
    ----------
    milliseconds
        Time of each request that was answered with 200, one after another as they ended.
    failures
        Requests with any other answer, or none.
    seconds
        Length of the measurement.
    """

    milliseconds: tuple[float, ...]
    failures: int
    seconds: float

    @property
    def per_second(self) -> float:
        """Answered requests a second."""
        return len(self.milliseconds) / self.seconds

    def quantile(self, share: float) -> float:
        """Return a quantile of the time of a request, in milliseconds."""
        return float(np.quantile(self.milliseconds, share)) if self.milliseconds else float("nan")


def put_under_load(
    port: int,
    path: str,
    bodies: Sequence[bytes],
    *,
    clients: int,
    seconds: float,
    warm_up: float = 1.0,
    per_second: float | None = None,
    check: Callable[[int, bytes], None] | None = None,
    until: Callable[[], bool] | None = None,
) -> Load:
    """Send requests from so many clients at once, each waiting for its answer before it sends the next.

    Parameters
    ----------
    bodies
        JSON bodies, sent in turn.
    warm_up
        Seconds before the measurement begins.
    per_second
        Requests a second of all clients together, at fixed times; a request is timed from the moment when it was due,
        so that one that had to wait for a slow one before it counts the wait. Without it, as many as can be.
    check
        Gets the number of the body and the answer of every request that was answered with 200.
    until
        Ends the load before its time as soon as it says so.
    """
    import uvloop

    pace = clients / per_second if per_second else 0.0
    crowd = [_Client(port, path, bodies, number, clients, pace, check, until) for number in range(clients)]
    return uvloop.run(_measure(crowd, seconds, warm_up))


async def _measure(clients: Sequence[_Client], seconds: float, warm_up: float) -> Load:
    begin = time.perf_counter() + warm_up
    await asyncio.gather(*(client.send(begin, begin + seconds) for client in clients))
    times = tuple(t for client in clients for t in client.times)
    return Load(times, sum(client.failures for client in clients), time.perf_counter() - begin)


class _Client:
    """One connection that sends every n-th body again and again."""

    def __init__(
        self,
        port: int,
        path: str,
        bodies: Sequence[bytes],
        number: int,
        clients: int,
        pace: float,
        check: Callable[[int, bytes], None] | None,
        until: Callable[[], bool] | None,
    ) -> None:
        self.times: list[float] = []
        self.failures = 0
        self._port = port
        self._requests = [_request(path, body) for body in bodies]
        self._turn = number % len(bodies)
        self._step = clients
        self._pace = pace
        self._phase = pace * number / clients
        self._check = check
        self._until = until

    async def send(self, begin: float, end: float) -> None:
        """Send until the end; only what was sent after the beginning counts."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        due = time.perf_counter() + self._phase
        while (start := await self._next(due)) < end and not (self._until and self._until()):
            due = start + self._pace
            body, self._turn = self._turn, (self._turn + self._step) % len(self._requests)
            writer.write(self._requests[body])
            try:
                status, answer = await _answer(reader)
            except (OSError, asyncio.IncompleteReadError):
                status, answer = b"", b""
                writer.close()
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            if start >= begin:
                self._note(status, 1000 * (time.perf_counter() - start))
            if self._check and status == b"200":
                self._check(body, answer)
        writer.close()

    async def _next(self, due: float) -> float:
        """Wait until a request is due, and return when it was."""
        now = time.perf_counter()
        if not self._pace:
            return now
        if due > now:
            await asyncio.sleep(due - now)
        return due

    def _note(self, status: bytes, milliseconds: float) -> None:
        if status == b"200":
            self.times.append(milliseconds)
        else:
            self.failures += 1


async def _answer(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    length = next(int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length"))
    return head.split(b" ", 2)[1], await reader.readexactly(length)


def _request(path: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    return head.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body
