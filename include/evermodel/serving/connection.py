"""Uvicorn's HTTP connection, with limits on a request's head and its time, on chunks, and on requests in a row."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from evermodel.serving.request_body import ARRIVED, WHOLE

HEAD_BYTES = 65_536
HEAD_SECONDS = 10.0
URL_BYTES, HEADERS = 8_192, 128
WAITING = 32  # requests that are sent before the answers of those before them
CHUNKS = 2_000  # parts of a body that has fewer than `CHUNK_BYTES` in each, on average
CHUNK_BYTES = 256


class PatientConnection(HttpToolsProtocol):
    """Closes a connection whose request head does not end in time, or that continues to send a refused body.

    A connection whose head arrives in one piece, as nearly all do, needs no timer.
    """

    head_seconds = HEAD_SECONDS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._waiting = True  # for the end of a head
        self._in_head = False
        self._head_bytes = self._chunks = self._body_bytes = 0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        self._timer = self.loop.call_later(self.head_seconds, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read data."""
        super().data_received(data)
        if not self._waiting:
            if self._timer is not None:
                self._cancel()
            return
        if self._timer is None:
            self._timer = self.loop.call_later(self.head_seconds, self._give_up)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES and not self.transport.is_closing():
                self.send_400_response("The head of the request is too large.")

    def on_message_begin(self) -> None:
        """Start a head."""
        super().on_message_begin()
        self._waiting = self._in_head = True
        self._head_bytes = self._chunks = self._body_bytes = 0
        _limit(len(self.pipeline), WAITING)

    def on_url(self, url: bytes) -> None:
        """Read a part of the address."""
        super().on_url(url)
        _limit(len(self.url), URL_BYTES)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Read a header."""
        super().on_header(name, value)
        _limit(len(self.headers), HEADERS)

    def on_body(self, body: bytes) -> None:
        """Read a part of the body."""
        self._chunks += 1
        self._body_bytes += len(body)
        _limit(self._chunks, CHUNKS + self._body_bytes // CHUNK_BYTES)
        super().on_body(body)

    def on_headers_complete(self) -> None:
        """End a head."""
        self._waiting = self._in_head = False
        self.scope["state"][ARRIVED] = (
            time.perf_counter()
        )  # the app starts when those before it have had their turn
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """End a body; if it arrived with its head, the app starts only after this and needs no timer."""
        self.scope["state"][WHOLE] = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for the next request; the rest of this one is discarded for a limited time."""
        self._waiting = True
        super().on_response_complete()

    def _give_up(self) -> None:
        self._timer = None
        busy = self.cycle is not None and not self.cycle.response_complete
        if self._waiting and not busy and not self.transport.is_closing():
            self.transport.close()

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _limit(count: int, most: int) -> None:
    if count > most:
        raise ValueError("more than the limit")  # the parser makes it a 400, and the connection is closed
