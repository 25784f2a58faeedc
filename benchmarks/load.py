"""A load of concurrent clients against one address on loopback, without a client library's own cost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
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
    port: int, path: str, bodies: Sequence[bytes], *, clients: int, seconds: float, warm_up: float = 1.0
) -> Load:
    """Send requests from so many clients at once, each waiting for its answer before it sends the next.

    Parameters
    ----------
    bodies
        JSON bodies, sent in turn.
    warm_up
        Seconds before the measurement begins.
    """
    import uvloop

    return uvloop.run(_measure(port, path, bodies, clients, seconds, warm_up))


async def _measure(
    port: int, path: str, bodies: Sequence[bytes], clients: int, seconds: float, warm_up: float
) -> Load:
    requests = [_request(path, body) for body in bodies]
    begin = time.perf_counter() + warm_up
    end = begin + seconds
    times: list[float] = []
    counts = await asyncio.gather(
        *(_client(port, requests[i::clients] or requests, begin, end, times) for i in range(clients))
    )
    return Load(tuple(times), sum(counts), seconds)


async def _client(port: int, requests: Sequence[bytes], begin: float, end: float, times: list[float]) -> int:
    failures, sent = 0, 0
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        while (start := time.perf_counter()) < end:
            writer.write(requests[sent % len(requests)])
            sent += 1
            try:
                status = await _answer(reader)
            except (OSError, asyncio.IncompleteReadError):
                status = b""
                writer.close()
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            now = time.perf_counter()
            if begin <= start and now <= end:
                if status == b"200":
                    times.append(1000 * (now - start))
                else:
                    failures += 1
    finally:
        writer.close()
    return failures


async def _answer(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(line.partition(b":")[2])
        for line in head.lower().split(b"\r\n")
        if line.startswith(b"content-length")
    )
    await reader.readexactly(length)
    return head.split(b" ", 2)[1]


def _request(path: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body
