"""The body of a request, read within a number of bytes and a time."""

from __future__ import annotations

import asyncio

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from evermodel.modeling.scoring.request_json import RequestRefusedError

# A slow body occupies a connection, never a thread, for no longer than this.
BODY_SECONDS = 10.0


# In the request's state, see `PatientConnection`: the whole body has arrived; when the head had, by `time.perf_counter`.
WHOLE, ARRIVED = "whole", "arrived"


async def read_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """Read a request's body, in at most `BODY_SECONDS`.

    Parameters
    ----------
    limit
        Most bytes; a longer body is refused as soon as its length is known, and not kept in memory.

    Raises
    ------
    RequestRefusedError
        The body is too large (413) or too slow (408).
    ClientDisconnect
        The caller closed the connection.
    """
    if scope["state"].get(WHOLE):
        return await _read(receive, limit)  # a timer would cost more than reading
    if _declared_length(scope) > limit:
        raise _too_large(limit)
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await _read(receive, limit)
    except TimeoutError:
        raise RequestRefusedError(
            408, f"the body did not arrive within {BODY_SECONDS:g} seconds", "send it without pauses"
        ) from None


def _declared_length(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() else 0
    return 0


async def _read(receive: Receive, limit: int) -> bytes:
    parts: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part: bytes = message.get("body", b"")
        parts.append(part)
        size += len(part)
        more = message.get("more_body", False)
        if size > limit:
            raise _too_large(limit)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _too_large(limit: int) -> RequestRefusedError:
    return RequestRefusedError(
        413, f"the body is larger than {limit} bytes", "send the rows in several requests"
    )
