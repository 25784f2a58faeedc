"""The store of looked-up features: Redis, or a database."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol

from evermodel.core.logins import with_login

if TYPE_CHECKING:
    from evermodel.data.online.part import OnlinePart

_REDIS = ("redis://", "rediss://", "unix://")


class OnlineStore(Protocol):
    """Keeps parts; raises `FeatureStoreError` where it cannot be reached."""

    def write(self, part: OnlinePart, values: Iterable[tuple[str, str]]) -> int:
        """Put a part in the place of an earlier one of the same name, as a whole or not at all; return its keys.

        Parameters
        ----------
        values
            Keys, see `key_text`, each with its text.
        """

    def read(self, part: OnlinePart, keys: Sequence[str]) -> list[str | None] | None:
        """Return the text of each key, None for a key without one; None if there is no such part."""


class AsyncStore(Protocol):
    """Reads parts on an event loop; raises `FeatureStoreError` where the store cannot be reached."""

    async def read(self, part: OnlinePart, keys: Sequence[str]) -> list[str | None] | None:
        """See `OnlineStore`."""

    async def close(self) -> None:
        """Close its connections."""


class _InThread:
    """A store that blocks, in a thread of its own."""

    def __init__(self, store: OnlineStore) -> None:
        self._store = store
        self._pool = ThreadPoolExecutor(1, "look-up")

    async def read(self, part: OnlinePart, keys: Sequence[str]) -> list[str | None] | None:
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._store.read, part, keys)

    async def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


def open_store(address: str) -> OnlineStore:
    """Return the store at an address, whose login `core.logins` has.

    Raises
    ------
    MissingExtraError
        Its library is not installed.
    """
    if address.startswith(_REDIS):
        from evermodel.data.online.redis_store import RedisStore

        return RedisStore(with_login(address))
    from evermodel.data.online.table_store import TableStore

    return TableStore(address)


def open_async_store(address: str) -> AsyncStore:
    """Return the store at an address for an event loop; see `open_store`."""
    if address.startswith(_REDIS):
        from evermodel.data.online.redis_store import AsyncRedisStore

        return AsyncRedisStore(with_login(address))
    return _InThread(open_store(address))
