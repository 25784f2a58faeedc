"""Work that would hold up the event loop: done one at a time in a thread that leaves the loop its turn after every piece."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from evermodel.modeling.scoring.request_json import TURN

Result = TypeVar("Result")
_PIECE_SECONDS = 0.0003
_LONGEST_TURN = 0.1


class SlowWork:
    """Does one kind of work of requests, one after the other.

    Several threads at once would each get as much of the interpreter as the event loop, and requests of other callers
    what is left.
    """

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(1, name)

    async def do(self, work: Callable[[], Result]) -> Result:
        """Return what the function returns; it may call `TURN` after each piece of its work."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, _in_turns, _Turns(loop), work)


class _Turns:
    """Waits, at most every 0.3 ms, until the event loop has done what was waiting for it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._since = time.perf_counter()

    def __call__(self) -> None:
        if time.perf_counter() - self._since < _PIECE_SECONDS:
            return
        done = threading.Event()
        self._loop.call_soon_threadsafe(done.set)
        done.wait(_LONGEST_TURN)
        self._since = time.perf_counter()


def _in_turns(turns: _Turns, work: Callable[[], Result]) -> Result:
    token = TURN.set(turns)
    try:
        return work()
    finally:
        TURN.reset(token)
