"""The store of looked-up features: Redis, or a database."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
