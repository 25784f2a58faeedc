"""Looked-up features in Redis: a hash for each part, which replaces the earlier one in one step."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any

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
            from redis.retry import Retry
        self._address = address
        self._redis = redis.Redis.from_url(address, **_options(Retry))

    def write(self, part: OnlinePart, values: Iterable[tuple[str, str]]) -> int:
        """Write a hash beside the one that is read, and give it its name; see `OnlineStore`."""
        beside, seconds, count = f"{part.name}:{uuid.uuid4().hex}", int(part.kept.total_seconds()), 0
        rest = iter(values)
        with _translated(self._address):
            self._redis.hset(beside, _WRITTEN, "1")
            self._redis.expire(beside, seconds)  # also where this process ends here
            while some := dict(islice(rest, _AT_ONCE)):
                self._redis.hset(beside, items=[text for pair in some.items() for text in pair])
                count += len(some)
            self._redis.rename(beside, part.name)
        return count

    def read(self, part: OnlinePart, keys: Sequence[str]) -> list[str | None] | None:
        """See `OnlineStore`."""
        with _translated(self._address):
            return _texts(self._redis.hmget(part.name, _asked(keys)))


class AsyncRedisStore:
    """Reads parts for requests, on the event loop of the first one.

    Parameters
    ----------
    address
        Redis' URL, with its login.
    """

    def __init__(self, address: str) -> None:
        with named_extras("redis"):
            from redis.asyncio import Redis
            from redis.asyncio.retry import Retry
        self._address = address
        self._redis = Redis.from_url(address, **_options(Retry))

    async def read(self, part: OnlinePart, keys: Sequence[str]) -> list[str | None] | None:
        """See `OnlineStore`."""
        with _translated(self._address):
            return _texts(await self._redis.hmget(part.name, _asked(keys)))

    async def close(self) -> None:
        """Close its connections."""
        await self._redis.aclose()


@contextmanager
def _translated(address: str) -> Iterator[None]:
    """Turn Redis' errors into ours, which name its address without the login."""
    import redis

    try:
        yield
    except (redis.RedisError, OSError) as error:
        raise FeatureStoreError(
            f"the feature store {without_login(address)} does not answer: {error}",
            "check EVERMODEL_FEATURE_STORE",
        ) from error


def _asked(keys: Sequence[str]) -> list[str]:
    return [_WRITTEN, *keys]


def _texts(answer: Sequence[Any]) -> list[str | None] | None:
    """Return what Redis has for the keys that `_asked` names; None if the part is not written."""
    written, *found = answer
    return None if written is None else found


def _options(retry: Callable[..., Any]) -> dict[str, Any]:
    from redis.backoff import NoBackoff

    return {
        "decode_responses": True,
        "socket_timeout": _SECONDS,
        "socket_connect_timeout": _SECONDS,
        "health_check_interval": 30,
        # For a connection that the server has closed; its own default takes ten seconds.
        "retry": retry(NoBackoff(), 1),
    }
