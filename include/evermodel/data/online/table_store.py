"""Looked-up features in the database: rows of a part, which counts from a last, short transaction on."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from sqlalchemy import delete, insert, select, update

from evermodel.core.database.schema import open_database
from evermodel.core.database.tables import online_parts, online_values
from evermodel.core.errors import DatabaseUnavailableError, FeatureStoreError

if TYPE_CHECKING:
    from evermodel.data.online.part import OnlinePart

_AT_ONCE = 2_000
_UNFINISHED_SECONDS = 86_400.0  # after which a part is left from a process that was killed
_PARTS, _VALUES = online_parts.c, online_values.c


class TableStore:
    """Parts in one database.

    Parameters
    ----------
    address
        See `open_database`.
    """

    def __init__(self, address: str) -> None:
        self._address = address

    def write(self, part: OnlinePart, values: Iterable[tuple[str, str]]) -> int:
        """Write the rows in several transactions, and make them count in the last; see `OnlineStore`."""
        database, place, now = open_database(self._address), _sha256(part.name), time.time()
        row = {"place_sha256": place, "expires": now + _UNFINISHED_SECONDS, "complete": False}
        with database.writing() as connection:
            inserted = connection.execute(insert(online_parts).values(**row)).inserted_primary_key
        assert inserted is not None
        number = inserted[0]
        count, rest = 0, iter(values)
        while some := list(islice(rest, _AT_ONCE)):
            rows = [{"part": number, "key_sha256": _sha256(key), "content": text} for key, text in some]
            with database.writing() as connection:
                connection.execute(insert(online_values), rows)
            count += len(rows)
        with database.writing() as connection:
            done = update(online_parts).where(_PARTS.id == number)
            connection.execute(done.values(complete=True, expires=now + part.kept.total_seconds()))
            earlier = (_PARTS.place_sha256 == place) & _PARTS.complete & (_PARTS.id != number)
            gone = list(connection.scalars(select(_PARTS.id).where(earlier | (_PARTS.expires < now))))
            for one in gone:
                connection.execute(delete(online_values).where(_VALUES.part == one))
                connection.execute(delete(online_parts).where(_PARTS.id == one))
        return count

    def read(self, part: OnlinePart, keys: Sequence[str]) -> list[str | None] | None:
        """See `OnlineStore`."""
        wanted = [_sha256(key) for key in keys]
        newest = select(_PARTS.id).where(_PARTS.place_sha256 == _sha256(part.name), _PARTS.complete)
        try:
            with open_database(self._address).reading() as connection:
                number = connection.scalar(newest.order_by(_PARTS.id.desc()).limit(1))
                if number is None:
                    return None
                rows = select(_VALUES.key_sha256, _VALUES.content).where(
                    _VALUES.part == number, _VALUES.key_sha256.in_(wanted)
                )
                found: dict[str, str] = dict(iter(connection.execute(rows)))
        except DatabaseUnavailableError as error:
            raise FeatureStoreError(error.problem, error.advice) from error
        return [found.get(key) for key in wanted]


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
