"""Large bodies: parsed one at a time in a thread that leaves the event loop its turn after every piece."""

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


class LargeBodies:
    """Parses the bodies that would hold up the event loop.

    Several threads at once would each get as much of the interpreter as the event loop, and requests of other callers
    what is left.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "large-bodies")

    async def parse(self, parse: Callable[[], Result]) -> Result:
        """Return what the function returns, which calls `TURN` after each piece of its work."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, _in_turns, _Turns(loop), parse)


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


def _in_turns(turns: _Turns, parse: Callable[[], Result]) -> Result:
    token = TURN.set(turns)
    try:
        return parse()
    finally:
        TURN.reset(token)
