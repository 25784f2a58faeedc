"""Looked-up features in Redis: a hash for each part, which replaces the earlier one in one step."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, cast

from evermodel.core.errors import FeatureStoreError
from evermodel.core.extras import named_extras
from evermodel.core.logins import without_login

if TYPE_CHECKING:
    from evermodel.data.online.part import OnlinePart

_AT_ONCE = 5_000
_SECONDS = 2.0
# A field of every part, so that one without keys exists too; no key is empty.
_WRITTEN = ""


class RedisStore:
    """Parts in one Redis; it needs no persistence, as the next run writes all of a part again.

    Parameters
    ----------
    address
        Redis' URL, with its login.
    """

    def __init__(self, address: str) -> None:
        with named_extras("redis"):
            import redis
            from redis.backoff import NoBackoff
            from redis.retry import Retry
        self._errors = redis.RedisError
        self._told = without_login(address)
        self._redis = redis.Redis.from_url(
            address,
            decode_responses=True,
            socket_timeout=_SECONDS,
            socket_connect_timeout=_SECONDS,
            health_check_interval=30,
            retry=Retry(
                NoBackoff(), 1
            ),  # for a connection that the server has closed; its own default takes ten seconds
        )

    def write(self, part: OnlinePart, values: Iterable[tuple[str, str]]) -> int:
        """Write a hash beside the one that is read, and give it its name; see `OnlineStore`."""
        beside, seconds, count = f"{part.name}:{uuid.uuid4().hex}", int(part.kept.total_seconds()), 0
        rest = iter(values)
        with self._translated():
            self._redis.hset(beside, _WRITTEN, "1")
            self._redis.expire(beside, seconds)  # also where this process ends here
            while some := dict(islice(rest, _AT_ONCE)):
                self._redis.hset(beside, items=[text for pair in some.items() for text in pair])
                count += len(some)
            self._redis.rename(beside, part.name)
        return count

    def read(self, part: OnlinePart, keys: Sequence[str]) -> list[str | None] | None:
        """See `OnlineStore`."""
        with self._translated():
            written, *found = self._redis.hmget(part.name, [_WRITTEN, *keys])
        return None if written is None else cast(list[str | None], found)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (self._errors, OSError) as error:
            raise FeatureStoreError(
                f"the feature store {self._told} does not answer: {error}", "check EVERMODEL_FEATURE_STORE"
            ) from error
